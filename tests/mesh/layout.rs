//! Which program each node of a cluster runs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Condvar, Mutex, Once};

use crate::support::Kind;

/// The mixes that run unless the variable `CLUSTER_MIXES` names others, in the same form.
///
/// `peer` is nats-server alone, `ours` Ringmesh alone, and `mixed` all Ringmesh but one node, which
/// takes every place in turn.
const MIXES: &str = "peer,ours,mixed";

/// Every mix there is.
const ALL: [&str; 3] = ["peer", "ours", "mixed"];

/// So many clusters run at once in a test binary; more would only wait for the processors.
const CLUSTERS_AT_ONCE: usize = 4;

/// Which program each node runs, the first being the one that the others know.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Layout(pub(crate) Vec<Kind>);

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(" + "))
    }
}

/// The layouts of that many nodes in the mixes that run here.
pub(crate) fn layouts(nodes: usize) -> Vec<Layout> {
    let mut found = Vec::new();
    for mix in chosen() {
        match mix.as_str() {
            "peer" => found.push(Layout(vec![Kind::Real; nodes])),
            "ours" => found.push(Layout((0..nodes).map(ours).collect())),
            _ => found.extend((0..nodes).map(|place| {
                let kind = |node| if node == place { Kind::Real } else { ours(node) };
                Layout((0..nodes).map(kind).collect())
            })),
        }
    }
    found
}

/// The programs that a single node runs, where all others are nats-server.
pub(crate) fn kinds() -> Vec<Kind> {
    let chosen = chosen();
    let peer = chosen.contains("peer").then_some(Kind::Real);
    let ours = if chosen.len() > usize::from(peer.is_some()) { 2 } else { 0 };
    peer.into_iter().chain((0..ours).map(self::ours)).collect()
}

/// Ringmesh with another number of shards in each place.
pub(crate) fn ours(place: usize) -> Kind {
    Kind::Ours { shards: [1, 2, 4][place % 3] }
}

fn chosen() -> BTreeSet<String> {
    let mixes = std::env::var("CLUSTER_MIXES").unwrap_or_else(|_| MIXES.to_owned());
    let chosen: BTreeSet<_> = mixes.split(',').map(|mix| mix.trim().to_owned()).collect();
    assert!(chosen.iter().all(|mix| ALL.contains(&mix.as_str())), "CLUSTER_MIXES={mixes}");
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        for mix in ALL.iter().filter(|mix| !chosen.contains(**mix)) {
            super::skipped(&format!("clusters of the mix {mix:?}: not in CLUSTER_MIXES={mixes}"));
        }
    });
    chosen
}

/// Runs a test on every layout of that many nodes, several at a time.
///
/// # Panics
/// When one of them fails, with the names of all that failed.
#[track_caller]
pub(crate) fn on_each_layout(nodes: usize, test: impl Fn(&Layout) + Sync) {
    on_each(&layouts(nodes), test);
}

/// Runs a test for every case, several at a time.
#[track_caller]
pub(crate) fn on_each<T: fmt::Display + Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    let run = |case| {
        let _place = Place::take();
        test(case);
    };
    let failed: Vec<_> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> =
            cases.iter().map(|case| (case, scope.spawn(move || run(case)))).collect();
        let ended = threads.into_iter().map(|(case, thread)| (case, thread.join()));
        ended.filter(|(_, end)| end.is_err()).map(|(case, _)| case.to_string()).collect()
    });
    assert!(failed.is_empty(), "failed with {failed:#?}");
}

/// The right to run a cluster; given back when dropped.
struct Place;

static FREE_PLACES: Mutex<usize> = Mutex::new(CLUSTERS_AT_ONCE);
static PLACE_FREED: Condvar = Condvar::new();

impl Place {
    fn take() -> Self {
        let free = FREE_PLACES.lock().unwrap();
        *PLACE_FREED.wait_while(free, |free| *free == 0).unwrap() -= 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *FREE_PLACES.lock().unwrap() += 1;
        PLACE_FREED.notify_one();
    }
}
