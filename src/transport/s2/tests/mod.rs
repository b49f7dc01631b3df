//! What holds for encoder and decoder together.

mod streams;

use proptest::prelude::*;

use super::{Decoder, Encoder, Progress, S2Error};
use crate::transport::Level;

const LEVELS: [Level; 4] = [Level::Uncompressed, Level::Fast, Level::Better, Level::Best];

fn seal(level: Level, plain: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    Encoder::new().seal(level, [plain], &mut wire);
    wire
}

/// Decodes a stream that arrives in pieces of these sizes, over and over.
fn open(wire: &[u8], pieces: &[usize]) -> Result<Vec<u8>, S2Error> {
    let mut decoder = Decoder::new(usize::MAX);
    let (mut plain, mut rest) = (Vec::new(), wire);
    let mut sizes = pieces.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (now, later) = rest.split_at(size);
        let mut progress = decoder.open(now, &mut plain)?;
        while progress == Progress::Paused {
            progress = decoder.open(&[], &mut plain)?;
        }
        rest = later;
    }
    Ok(plain)
}

/// Text in the manner of messages: it repeats itself, but not to the letter.
fn messages(count: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = Vec::new();
    for number in 0..count {
        let payload = format!(
            "{{\"sensor\":\"a{}\",\"temperature\":{}.{},\"site\":\"plant-{}\",\"ok\":{}}}",
            random.u32(0..100),
            random.u32(10..30),
            random.u32(0..10),
            random.u32(0..5),
            random.bool()
        );
        let head = format!("RMSG $G site.{}.t {}\r\n", number % 7, payload.len());
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(payload.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text
}

#[test]
fn every_level_gives_back_what_it_took() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut noise = vec![0; 70_000];
    random.fill(&mut noise);
    let mut inputs = vec![messages(3000, 1), noise, vec![b'x'; 300_000], b"PONG\r\n".to_vec()];
    inputs.extend((1..200).map(|length| messages(4, 2)[..length].to_vec()));
    // Places far apart, whose offsets take four bytes.
    let far = messages(700, 3);
    inputs.push([&far[..], &vec![0; 90_000], &far[..], &vec![1; 200_000], &far[..]].concat());
    let mut encoder = Encoder::new();
    for level in LEVELS {
        for plain in &inputs {
            let mut wire = Vec::new();
            encoder.seal(level, [&plain[..]], &mut wire);
            assert!(open(&wire, &[]).as_ref() == Ok(plain), "{level:?}, {} bytes", plain.len());
        }
    }
}

#[test]
fn a_level_that_costs_more_sends_less() {
    let text = messages(2000, 4);
    let lengths: Vec<_> = LEVELS.iter().map(|level| seal(*level, &text).len()).collect();
    assert!(lengths.is_sorted_by(|more, less| more > less), "{lengths:?}");
    assert!(lengths[1] * 3 < lengths[0], "{lengths:?}");
}

proptest! {
    #[test]
    fn a_stream_may_be_cut_anywhere(
        seed in any::<u64>(),
        pieces in proptest::collection::vec(1_usize..5000, 1..6),
        slices in proptest::collection::vec(0_usize..2000, 1..6),
    ) {
        let text = messages(200, seed);
        let mut rest = &text[..];
        let mut parts = Vec::new();
        let mut sizes = slices.iter().cycle();
        while !rest.is_empty() && parts.len() < 1000 {
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            parts.push(now);
            rest = later;
        }
        parts.push(rest);
        let mut encoder = Encoder::new();
        for level in LEVELS {
            let mut wire = Vec::new();
            encoder.seal(level, parts.iter().copied(), &mut wire);
            encoder.seal(level, [&b"PING\r\n"[..]], &mut wire);
            let expected = [&text[..], b"PING\r\n"].concat();
            prop_assert!(open(&wire, &pieces).as_ref() == Ok(&expected), "{:?}", level);
        }
    }
}
