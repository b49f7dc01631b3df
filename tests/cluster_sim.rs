//! Clusters of whole servers, simulated: whatever broke between them, the mesh is whole again, and
//! every client of every server sees one subject space.
//!
//! A failure prints its seed; `SEED=n cargo test --test cluster_sim NAME` plays that one alone.
//! `CLUSTER_SIM_SEEDS=0..1000` plays so many instead of the usual ones and names all that fail;
//! `CLUSTER_SIM_NODES=3..41` says how many servers a cluster has. As in Rust, ends are left out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a failure names its seed")]
#![allow(unreachable_pub, reason = "a test binary has no public interface")]

mod blame;
#[path = "cluster_sim/client.rs"]
mod client;
#[path = "cluster_sim/cluster.rs"]
mod cluster;
#[path = "cluster_sim/history.rs"]
mod history;
#[path = "cluster_sim/node.rs"]
mod node;
#[path = "cluster_sim/plan.rs"]
mod plan;
#[path = "cluster_sim/scenes.rs"]
mod scenes;
#[path = "cluster_sim/slow_routes.rs"]
mod slow_routes;
#[path = "sim/wire.rs"]
mod wire;

use std::ops::Range;
use std::panic::catch_unwind;

use blame::Blame;
use plan::{Findings, Plan};
use scenes::play;

/// Says how to play a seed again when its test fails.
fn blame(name: &'static str, seed: u64) -> Blame<impl Fn() -> String> {
    Blame(move || {
        let key = "CLUSTER_SIM_NODES";
        let nodes = std::env::var(key).map(|nodes| format!("{key}={nodes} "));
        format!("{}SEED={seed} cargo test --test cluster_sim {name}", nodes.unwrap_or_default())
    })
}

/// A range that the environment names: `3..8`, or `3` for it alone.
fn range(key: &str) -> Option<Range<u64>> {
    let text = std::env::var(key).ok()?;
    let number = |text: &str| text.parse::<u64>().unwrap();
    Some(match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    })
}

/// Plays the seed that the environment names, or those that it names, or the usual ones; says what
/// they came to.
fn play_seeds(name: &'static str, usual: Range<u64>, plan: fn(u64) -> Plan) -> Findings {
    let play = |seed| {
        let _blame = blame(name, seed);
        play(&plan(seed))
    };
    if let Some(seeds) = range("SEED") {
        let mut sum = Findings::default();
        seeds.for_each(|seed| {
            let found = play(seed);
            eprintln!("{found:?}");
            sum.merge(&found);
        });
        return sum;
    }
    let Some(seeds) = range("CLUSTER_SIM_SEEDS") else {
        let mut sum = Findings::default();
        usual.for_each(|seed| sum.merge(&play(seed)));
        eprintln!("{name}: {sum:?}");
        return sum;
    };
    let (mut sum, mut failed) = (Findings::default(), Vec::new());
    for seed in seeds {
        match catch_unwind(|| play(seed)) {
            Ok(found) => sum.merge(&found),
            Err(_panic) => failed.push(seed),
        }
        if seed % 50 == 0 {
            eprintln!("{name}: at seed {seed}, {} passed, failed: {failed:?}", sum.runs);
        }
    }
    eprintln!("{name}: {sum:?}");
    assert!(failed.is_empty(), "{name}: {} passed, failed: {failed:?}", sum.runs);
    sum
}

#[test]
fn while_nothing_fails_everything_comes_once_and_in_order_across_the_cluster() {
    let name = "while_nothing_fails_everything_comes_once_and_in_order_across_the_cluster";
    play_seeds(name, 0..256, Plan::calm);
}

#[test]
fn whatever_broke_the_mesh_is_whole_again_and_interest_is_the_union_of_all() {
    let name = "whatever_broke_the_mesh_is_whole_again_and_interest_is_the_union_of_all";
    let found = play_seeds(name, 0..384, Plan::trouble);
    let many = found.runs >= 20;
    assert!(found.restored > 0 || !many, "no server went on from interest that it had kept");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [0, 2] {
        let _blame = blame("the_same_seed_gives_the_same_run", seed);
        let plan = Plan::trouble(seed);
        assert_eq!(play(&plan).trace, play(&plan).trace);
    }
}
