//! One server, simulated, with many clients under faults: the promises of ARCHITECTURE.md hold
//! whatever the seed.
//!
//! A failure prints its seed; `SEED=n cargo test --test sim NAME` plays that one alone, and
//! `SEEDS=n` plays so many instead of the usual number.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a failure names its seed")]
#![allow(unreachable_pub, reason = "a test binary has no public interface")]

mod blame;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/oracle.rs"]
mod oracle;
#[path = "sim/scenes.rs"]
mod scenes;
#[path = "sim/server.rs"]
mod server;
#[path = "sim/wire.rs"]
mod wire;
#[path = "sim/workload.rs"]
mod workload;

use blame::Blame;
use workload::{Findings, Kind, play};

/// Says how to play a seed again when its test fails.
fn blame(name: &'static str, seed: u64) -> Blame<impl Fn() -> String> {
    Blame(move || format!("SEED={seed} cargo test --test sim {name}"))
}

/// Plays the seed that the environment names, or as many as usual; the findings of all of them,
/// unless it was one.
fn play_seeds(name: &'static str, kind: Kind, usual: u64) -> Option<Findings> {
    let number = |key| std::env::var(key).ok().map(|text| text.parse::<u64>().unwrap());
    let play = |seed| {
        let _blame = blame(name, seed);
        play(kind, seed)
    };
    if let Some(seed) = number("SEED") {
        eprintln!("{:?}", play(seed));
        return None;
    }
    let mut sum = Findings::default();
    (0..number("SEEDS").unwrap_or(usual)).for_each(|seed| sum.merge(&play(seed)));
    eprintln!("{name}: {sum:?}");
    Some(sum)
}

#[test]
fn whoever_stays_gets_everything_once_and_in_order() {
    play_seeds("whoever_stays_gets_everything_once_and_in_order", Kind::Roomy, 120);
}

#[test]
fn with_little_room_slow_clients_are_closed_and_nobody_else_loses_anything() {
    let name = "with_little_room_slow_clients_are_closed_and_nobody_else_loses_anything";
    play_seeds(name, Kind::Tight, 120);
}

#[test]
fn whatever_breaks_nothing_comes_twice_or_out_of_order_and_nothing_is_left_behind() {
    let name = "whatever_breaks_nothing_comes_twice_or_out_of_order_and_nothing_is_left_behind";
    let Some(found) = play_seeds(name, Kind::Chaos, 120) else { return };
    let moved = |name: &str| {
        let mut value = 0;
        found.counters.each(|of, _, count| value += if of == name { count } else { 0 });
        value > 0
    };
    for counter in [
        "sleeps",
        "sends",
        "short_sends",
        "zero_copy_sends",
        "zero_copy_copied",
        "receive_rearms",
        "receive_no_buffers",
        "accept_errors",
        "auth_errors",
        "stale_clients",
        "mailbox_in_msgs",
    ] {
        assert!(moved(counter), "{counter} has not moved");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for kind in [Kind::Roomy, Kind::Tight, Kind::Chaos] {
        for seed in 0..6 {
            let _blame = blame("the_same_seed_gives_the_same_run", seed);
            assert_eq!(play(kind, seed).trace, play(kind, seed).trace, "{kind:?}");
        }
    }
}
