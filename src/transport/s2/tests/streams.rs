//! What a decoder must take and what it must refuse, byte by byte.

use super::super::{BLOCK_MAX, IDENTIFIER, checksum};
use super::{Decoder, LEVELS, Progress, S2Error, messages, open, seal};

/// A flush of nats-server at `s2_fast`: twelve messages.
const PEER_FAST: &str = "\
    ff06000053327354774f0045010098c36106f408f04f524d534720244720736974652e302e742037320d\
    0a7b2273656e736f72223a226130222c2274656d7065726174757265223a32302e352c22756e6974223a\
    2243222c2273697465223a22706c616e742d012f286f6b223a747275657d0d0a325f00003115000b0037\
    15000900311500140031150013003215000b003415000900321500140032150013003015000b00311500\
    0900331500140030150013003115000b003815000900301500140031150013003215000b003515000900\
    311500140032150013003015000b003215000900321500140030150013003115000b0039150009003315\
    00140031150013003215000b003615000900301500140032150013003015000b00331500090031150014\
    0030150013003115000b003015000900321500140031150013003215000b003715000900331500140032\
    150006\
";
/// The same flush at `s2_better`.
const PEER_BETTER: &str = "\
    ff06000053327354774f00f9000098c36106f408f042524d534720244720736974652e302e742037320d\
    0a7b2273656e736f72223a226130222c2274656d7065726174757265223a32302e352c22756e6974223a\
    2243222c22013b5c223a22706c616e742d30222c226f6b223a747275657d0d0a325f00003115000b0037\
    15000900311500140031150013003215000b0034150009003215001400321500134e1d010031425f0000\
    33150014be1d010038425f000030150014be1d010035425f00727c01be1d010032425f00727c01be1d01\
    0039425f00727c01be1d010036425f00727c01be1d010033425f00727c01be1d010030425f00727c01be\
    1d0146b603727c013a1d01\
";
/// The same flush at `s2_best`.
const PEER_BEST: &str = "\
    ff06000053327354774f00dd000098c36106f408f042524d534720244720736974652e302e742037320d\
    0a7b2273656e736f72223a226130222c2274656d7065726174757265223a32302e352c22756e6974223a\
    2243222c22013b20223a22706c616e742d012f286f6b223a747275657d0d0a325f00003115000b003715\
    000900311500140031150013003215000b0034150009003215001400321500134e1d0100311500090033\
    1500440038b67c01be1d010035b67c01be1d010032b67c01be1d010039b67c01be1d010036b6f802be1d\
    010033b67c01be1d010030b67c01be1d010037b67c013a1d01\
";

fn from_hex(text: &str) -> Vec<u8> {
    let bytes = text.len() / 2;
    (0..bytes).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[kind], &length[..3], body].concat()
}

fn raw(plain: &[u8]) -> Vec<u8> {
    chunk(1, &[&checksum(plain).to_le_bytes(), plain].concat())
}

/// A compressed chunk of these tags, which are to give these plain bytes.
fn block(tags: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut length = Vec::new();
    let mut left = plain.len();
    while left >= 0x80 {
        length.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    length.push(left.to_le_bytes()[0]);
    chunk(0, &[&checksum(plain).to_le_bytes(), &length[..], tags].concat())
}

/// A stream of these chunks.
fn stream(chunks: &[Vec<u8>]) -> Vec<u8> {
    [&IDENTIFIER[..], &chunks.concat()].concat()
}

#[test]
fn what_nats_server_sends_is_understood() {
    let mut expected = Vec::new();
    for index in 0..12 {
        let payload = format!(
            "{{\"sensor\":\"a{}\",\"temperature\":2{}.5,\"unit\":\"C\",\"site\":\"plant-{}\",\"ok\":true}}",
            index * 7 % 10,
            index % 4,
            index % 3
        );
        let head = format!("RMSG $G site.{}.t {}\r\n", index % 3, payload.len());
        expected.extend_from_slice(format!("{head}{payload}\r\n").as_bytes());
    }
    for flush in [PEER_FAST, PEER_BETTER, PEER_BEST] {
        let flush = from_hex(flush);
        for pieces in [&[][..], &[1], &[3, 50]] {
            assert!(open(&flush, pieces).as_ref() == Ok(&expected), "in pieces of {pieces:?}");
        }
    }
}

#[test]
fn all_that_s2_allows_is_taken() {
    let check = |wire: &[u8], expected: &[u8]| {
        for pieces in [&[][..], &[1], &[11]] {
            assert!(open(wire, pieces).as_deref() == Ok(expected), "{wire:02x?} in {pieces:?}");
        }
    };
    // Identifiers recur, of either kind; chunks without meaning and empty ones stand anywhere.
    let snappy = chunk(0xff, b"sNaPpY");
    check(
        &[
            &stream(&[raw(b"PI"), chunk(0xfe, &[0; 70_000]), raw(b"")])[..],
            &snappy,
            &raw(b"NG"),
            &stream(&[chunk(0x80, b"x"), raw(b"\r\n"), block(&[], b"")]),
        ]
        .concat(),
        b"PING\r\n",
    );
    check(&[&snappy[..], &block(b"\x14PING\r\n", b"PING\r\n")].concat(), b"PING\r\n");
    // Literals with lengths of one to four bytes.
    let long = vec![7; 100];
    for head in
        [&[60 << 2, 99][..], &[61 << 2, 99, 0], &[62 << 2, 99, 0, 0], &[63 << 2, 99, 0, 0, 0]]
    {
        check(&stream(&[block(&[head, &long[..]].concat(), &long)]), &long);
    }
    // Copies with offsets of eleven bits, two and four bytes, and all forms of repeats.
    let tags = |copies: &[u8]| [b"\x0cabcd", copies].concat();
    let text = |length: usize| b"abcd".iter().copied().cycle().take(length).collect::<Vec<_>>();
    check(&stream(&[block(&tags(&[1, 4]), &text(8))]), &text(8));
    check(&stream(&[block(&tags(&[3 << 2 | 2, 4, 0]), &text(8))]), &text(8));
    check(&stream(&[block(&tags(&[3 << 2 | 3, 4, 0, 0, 0]), &text(8))]), &text(8));
    let first = [1, 4];
    for (repeat, length) in [
        (&[1, 0][..], 4),
        (&[4 << 2 | 1, 0], 8),
        (&[5 << 2 | 1, 0, 10], 18),
        (&[6 << 2 | 1, 0, 10, 1], 526),
        (&[7 << 2 | 1, 0, 10, 0, 1], 131_086),
    ] {
        let copies = [&first[..], repeat].concat();
        check(&stream(&[block(&tags(&copies), &text(8 + length))]), &text(8 + length));
    }
    // A copy of what is still being written, byte by byte.
    check(&stream(&[block(&[0, b'x', 40 << 2 | 2, 1, 0], &[b'x'; 42])]), &[b'x'; 42]);
}

#[test]
fn what_is_wrong_is_refused() {
    let check = |wire: &[u8], expected: S2Error| {
        for pieces in [&[][..], &[1]] {
            assert_eq!(open(wire, pieces), Err(expected), "{wire:02x?} in {pieces:?}");
        }
    };
    check(b"PING\r\n", S2Error::NoIdentifier);
    check(&raw(b"PING\r\n"), S2Error::NoIdentifier);
    check(&chunk(0xff, b"s2StWo"), S2Error::UnknownIdentifier);
    check(&chunk(0xff, b"S2sTwO!"), S2Error::UnknownIdentifier);
    check(&stream(&[b"PING\r\n".to_vec()]), S2Error::UnknownChunk { kind: b'P' });
    check(&stream(&[chunk(2, b"x")]), S2Error::UnknownChunk { kind: 2 });
    check(&stream(&[chunk(1, b"abc")]), S2Error::ChunkTooShort);
    check(&stream(&[chunk(0, b"abcd")]), S2Error::ChunkTooShort);
    let mut spoilt = raw(b"PING\r\n");
    spoilt[10] ^= 1;
    check(&stream(&[spoilt]), S2Error::WrongChecksum);
    check(&stream(&[block(b"\x14PONG\r\n", b"PING\r\n")]), S2Error::WrongChecksum);
    // A copy from nowhere, a repeat of nothing, too much, too little, and tags that were cut.
    for tags in [
        &[1, 9][..],
        &[0, b'x', 1, 2],
        &[1, 0],
        b"\x14PONG\r\n\0x",
        b"\x08PON",
        b"\x14PON",
        &[0, b'x', 1],
        &[0, b'x', 2, 1],
        &[61 << 2, 1],
    ] {
        check(&stream(&[block(tags, b"PING\r\n")]), S2Error::CorruptBlock);
    }
}

#[test]
fn a_block_that_is_too_large_is_refused_before_it_arrives() {
    let large = |kind: u8, plain: usize, body: &[u8]| {
        let length = u32::try_from(plain).unwrap().to_le_bytes();
        [&[kind, length[0], length[1], length[2]][..], &[0; 4], body].concat()
    };
    let s2 = |chunk: &[u8]| open(&[&IDENTIFIER[..], chunk].concat(), &[1]);
    let snappy = |chunk: &[u8]| open(&[&b"\xff\x06\0\0sNaPpY"[..], chunk].concat(), &[1]);
    let too_large = |bytes: u64| Err(S2Error::BlockTooLarge { bytes });
    assert_eq!(s2(&large(1, BLOCK_MAX + 4, b"")), Ok(Vec::new()));
    assert_eq!(s2(&large(1, BLOCK_MAX + 5, b"")), too_large(BLOCK_MAX as u64 + 1));
    assert_eq!(snappy(&large(1, 65_536 + 5, b"")), too_large(65_537));
    assert_eq!(s2(&large(0, 100, b"\x80\x80\x80\x02")), Ok(Vec::new()));
    assert_eq!(s2(&large(0, 100, b"\x81\x80\x80\x02")), too_large(BLOCK_MAX as u64 + 1));
    assert_eq!(snappy(&large(0, 100, b"\x81\x80\x04")), too_large(65_537));
    assert!(matches!(s2(&large(0, 6 << 20, b"")), Err(S2Error::ChunkTooLong { .. })));
}

#[test]
fn no_more_comes_out_than_the_budget_allows() {
    let mut decoder = Decoder::new(10);
    let mut plain = Vec::new();
    let wire = stream(&[raw(b"PING\r\n"), raw(b"PONG\r\n")]);
    assert_eq!(decoder.open(&wire, &mut plain), Err(S2Error::OverBudget { left: 4 }));
    assert_eq!(plain, b"PING\r\n");

    let mut decoder = Decoder::new(10);
    let wire = stream(&[raw(b"PING\r\n")]);
    let mut plain = Vec::new();
    assert_eq!(decoder.open(&wire, &mut plain), Ok(Progress::Done));
    decoder.set_budget(usize::MAX);
    assert_eq!(decoder.open(&wire, &mut plain), Ok(Progress::Done));
    assert_eq!(plain.len(), 12);
}

#[test]
fn few_bytes_that_become_many_come_in_steps() {
    let zeros = vec![0; BLOCK_MAX];
    let wire: Vec<_> = (0..20).flat_map(|_| seal(crate::transport::Level::Fast, &zeros)).collect();
    assert!(wire.len() < 5000, "{}", wire.len());
    let mut decoder = Decoder::new(usize::MAX);
    let (mut total, mut steps, mut plain) = (0, 0, Vec::new());
    let mut rest = &wire[..];
    loop {
        let progress = decoder.open(rest, &mut plain).unwrap();
        rest = &[];
        assert!(plain.len() <= (1 << 20) + BLOCK_MAX && decoder.kept_bytes() <= wire.len());
        total += plain.len();
        steps += 1;
        plain.clear();
        if progress == Progress::Done {
            break;
        }
    }
    assert_eq!(total, 20 * BLOCK_MAX);
    assert!(steps >= 20, "{steps} steps");
}

#[test]
fn spoilt_streams_end_within_the_budget() {
    const BUDGET: usize = 4000;
    let mut random = fastrand::Rng::with_seed(7);
    let mut valid: Vec<_> = LEVELS.iter().map(|level| seal(*level, &messages(12, 5))).collect();
    valid.extend([PEER_FAST, PEER_BETTER, PEER_BEST].map(from_hex));
    valid.push(stream(&[chunk(0xfe, &[0; 300]), raw(b""), block(b"\x14PING\r\n", b"PING\r\n")]));
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut wire = valid[random.usize(..valid.len())].clone();
        for _ in 0..random.usize(1..4) {
            spoil(&mut wire, &mut random);
        }
        let mut decoder = Decoder::new(BUDGET);
        let mut plain = Vec::new();
        for piece in wire.chunks(random.usize(1..=400)) {
            let result = decoder.open(piece, &mut plain);
            assert!(plain.len() <= BUDGET && decoder.kept_bytes() <= wire.len());
            if result.is_err() {
                refused += 1;
                break;
            }
        }
    }
    assert!(refused > 10_000, "{refused} were refused");
}

/// Changes, cuts, doubles or invents some bytes.
fn spoil(wire: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if wire.is_empty() {
        return;
    }
    let at = random.usize(..wire.len());
    match random.u8(..4) {
        0 => wire[at] = random.u8(..),
        1 => wire[at] ^= 1 << random.u8(..8),
        2 => drop(wire.drain(at..(at + random.usize(..20)).min(wire.len()))),
        _more => {
            let copy = wire[at..(at + random.usize(..20)).min(wire.len())].to_vec();
            let to = random.usize(..wire.len());
            wire.splice(to..to, copy);
        }
    }
}
