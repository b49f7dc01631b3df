//! Headers are found where a simple search finds them, whatever the block is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh::proto::headers::{strip, value};

fuzz_target!(|block: &[u8]| {
    for key in [&b"A"[..], b"Nats-Msg-Id", b"", b"\r\n", b":"] {
        assert_eq!(value(block, key), naive(block, key), "key {}", key.escape_ascii());
    }
    for len in [0, 1, block.len() as u32, u32::MAX] {
        assert!(block.ends_with(strip(block, len)));
    }
});

/// All lines that end, but the first one.
fn naive<'a>(block: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut lines = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at + 1 < block.len() {
        if &block[at..at + 2] == b"\r\n" {
            lines.push(&block[start..at]);
            start = at + 2;
            at += 1;
        }
        at += 1;
    }
    let with_colon = [key, b":"].concat();
    let line = lines.iter().skip(1).find(|line| line.starts_with(&with_colon))?;
    Some(line[with_colon.len()..].trim_ascii())
}
