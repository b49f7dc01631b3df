//! A compressed route: whatever arrives, cut anywhere, comes out as the same bytes and the same error,
//! and no more of them than the budget allows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh::transport::{Level, Progress, Scratch, Transport, TransportError};

/// What may come out before the peer is known.
const BUDGET: usize = 200_000;

fuzz_target!(|input: &[u8]| {
    // The framing's own name first, half of the time: hardly anything gets past it otherwise.
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let begin: &[u8] = if first % 2 == 0 { b"\xff\x06\x00\x00S2sTwO" } else { b"" };
    let stream = [begin, rest].concat();
    let whole = open(&[&stream]);
    assert!(whole.0.len() <= BUDGET);
    let pieces = |len: usize| stream.chunks(len.max(1)).collect::<Vec<_>>();
    assert_eq!(open(&pieces(1)), whole, "byte by byte");
    assert_eq!(open(&pieces(7)), whole, "seven bytes a piece");
    assert_eq!(open(&pieces(stream.len().div_ceil(2))), whole, "in two halves");
});

fn open(pieces: &[&[u8]]) -> (Vec<u8>, Option<TransportError>) {
    let (mut transport, mut scratch, mut plain) = (Transport::plain(), Scratch::default(), Vec::new());
    let begun = transport.compress(Level::Fast, BUDGET, b"", &mut plain);
    assert_eq!(begun, Ok(Progress::Done));
    for piece in pieces {
        let mut part = *piece;
        loop {
            match transport.open(&mut scratch, part, &mut plain) {
                Ok(Progress::Done) => break,
                Ok(Progress::Paused) => part = &[],
                Err(error) => return (plain, Some(error)),
            }
        }
    }
    (plain, None)
}
