//! Clusters of whole servers, simulated: whatever broke between them, the mesh is whole again, and
//! every client of every server sees one subject space.
//!
//! A failure prints its seed; `SEED=n cargo test --test cluster_sim NAME` plays that one alone, and
//! `SEEDS=n` plays so many instead of the usual number.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a failure names its seed")]
#![allow(unreachable_pub, reason = "a test binary has no public interface")]

#[path = "cluster_sim/client.rs"]
mod client;
#[path = "cluster_sim/cluster.rs"]
mod cluster;
#[path = "cluster_sim/history.rs"]
mod history;
#[path = "cluster_sim/node.rs"]
mod node;
#[path = "cluster_sim/scenes.rs"]
mod scenes;
#[path = "sim/wire.rs"]
mod wire;

use std::ops::Range;

use scenes::{Findings, Plan, play};

/// Says which seed it was when its test fails.
struct Blame(&'static str, u64);

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={} cargo test --test cluster_sim {}", self.1, self.0);
        }
    }
}

/// What the environment says.
fn number(key: &str) -> Option<u64> {
    std::env::var(key).ok().map(|text| text.parse().unwrap())
}

/// Plays the seed that the environment names, or as many as usual.
fn play_seeds(name: &'static str, usual: Range<u64>, plan: fn(u64) -> Plan) {
    let play = |seed| {
        let _blame = Blame(name, seed);
        play(&plan(seed))
    };
    if let Some(seed) = number("SEED") {
        eprintln!("{:?}", play(seed));
        return;
    }
    let mut sum = Findings::default();
    for seed in number("SEEDS").map_or(usual, |seeds| 0..seeds) {
        sum.merge(&play(seed));
    }
    eprintln!("{name}: {sum:?}");
}

#[test]
fn while_nothing_fails_everything_comes_once_and_in_order_across_the_cluster() {
    let name = "while_nothing_fails_everything_comes_once_and_in_order_across_the_cluster";
    play_seeds(name, 0..8, Plan::calm);
}

#[test]
fn whatever_broke_the_mesh_is_whole_again_and_interest_is_the_union_of_all() {
    let name = "whatever_broke_the_mesh_is_whole_again_and_interest_is_the_union_of_all";
    play_seeds(name, 9..20, Plan::trouble);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [0, 2] {
        let _blame = Blame("the_same_seed_gives_the_same_run", seed);
        let plan = Plan::trouble(seed);
        assert_eq!(play(&plan).trace, play(&plan).trace);
    }
}
