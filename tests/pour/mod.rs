//! Streams that come from numbers, poured into a server that is to keep nothing of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a long run tells how far it is")]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::blame::Blame;

/// Connections at once.
const AT_ONCE: u64 = 8;
/// What memory may grow by between two readings that should be equal: pools, and the allocator's whims.
const MEMORY_SLACK: u64 = 12 << 20;

/// Plays the streams that the environment names, or as many as usual: the same share of them with
/// each number of shards, from a number on.
pub(crate) fn play_all(usual: u64, shards: &[u8], play: impl Fn(u8, u64, u64)) {
    let streams = number("STREAMS").unwrap_or(usual);
    let first = number("FIRST").unwrap_or(0);
    if let Some(shards) = number("SHARDS") {
        return play(u8::try_from(shards).unwrap(), first, streams);
    }
    let part = streams.div_ceil(shards.len() as u64);
    for (round, shards) in (0..).zip(shards) {
        let from = first + round * part;
        play(*shards, from, part.min((first + streams).saturating_sub(from)));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Pours streams into a server. It serves before and afterwards, and its memory `at_rest` does not
/// grow.
pub(crate) fn pour(
    shards: u8,
    (from, count): (u64, u64),
    one: impl Fn(u64) + Sync,
    serves: impl Fn(),
    at_rest: impl Fn() -> u64,
) {
    serves();
    // What every server grows to is there after the first tenth.
    let warm = (count / 10).max(200).min(count);
    pour_part(from, warm, &one);
    let before = at_rest();
    pour_part(from + warm, count - warm, &one);
    serves();
    let after = at_rest();
    let mib = |bytes: u64| bytes >> 20;
    eprintln!("{shards} shards, {count} streams: {} MiB before, {} after", mib(before), mib(after));
    assert!(after <= before + MEMORY_SLACK, "{shards} shards: {before} bytes, then {after}");
}

/// Several streams at once.
fn pour_part(from: u64, count: u64, one: &(impl Fn(u64) + Sync)) {
    let next = AtomicU64::new(from);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    // Relaxed is enough: only the number's uniqueness counts.
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= from + count {
                        return;
                    }
                    let _blame = Blame(|| format!("failed at FIRST={number}"));
                    one(number);
                }
            });
        }
    });
}
