//! What a seed plays, and what a run came to.

use std::time::Duration;

use ring::sim::Rng;
use ringmesh::transport::Mode;

/// So many servers are in the largest clusters.
const NODES_MAX: usize = 40;

/// What all servers of a cluster have in common.
#[derive(Clone, Debug)]
pub struct Shape {
    pub nodes: usize,
    pub shards: u16,
    pub pool_size: Option<u16>,
    /// The system account has connections of its own.
    pub dedicated: bool,
    pub named: bool,
    /// How many servers everybody knows from the start.
    pub seeds: usize,
    pub barrier: bool,
    pub ping_interval: Duration,
    /// Routes end that take longer than the write deadline for one batch (`write_timeout: close`).
    pub closes_late: bool,
    pub compressions: Vec<Mode>,
    /// Changes of interest that a turn makes.
    pub changes_a_turn: usize,
}

/// What a seed plays.
pub struct Plan {
    pub seed: u64,
    pub shape: Shape,
    pub clients: usize,
    pub rounds: usize,
    /// How often something goes wrong.
    pub troubles: usize,
}

impl Plan {
    fn new(seed: u64, label: &str, nodes: (usize, usize)) -> Self {
        let mut rng = Rng::new(seed).fork(label);
        // Most clusters are small, and some are large.
        let (least, most) = if seed.is_multiple_of(64) { (12, NODES_MAX) } else { nodes };
        let nodes = match crate::range("CLUSTER_SIM_NODES") {
            Some(asked) => {
                let [least, most] =
                    [asked.start, asked.end - 1].map(|it| usize::try_from(it).unwrap());
                let most = rng.between(least, most);
                rng.between(least, most)
            }
            None => rng.between(least, most),
        };
        let pool_size = [None, Some(1), Some(3), Some(3)][rng.below(4)];
        let modes = [Mode::Off, Mode::Accept, Mode::Auto, Mode::Fast];
        let compressions = match rng.below(3) {
            0 => vec![Mode::Off],
            1 => vec![modes[rng.below(4)]],
            _ => modes.to_vec(),
        };
        let shape = Shape {
            nodes,
            shards: [1, 1, 2][rng.below(3)],
            pool_size,
            dedicated: rng.below(2) == 0,
            named: rng.below(4) > 0,
            // With two of them one may be down and another one still finds the cluster.
            seeds: rng.between(2, 3),
            barrier: rng.below(2) == 0,
            ping_interval: Duration::from_secs(5),
            closes_late: false,
            compressions,
            changes_a_turn: [1, 4, 512][rng.below(3)],
        };
        Self { seed, shape, clients: 3, rounds: 2, troubles: 0 }
    }

    /// Nothing is lost; there is only time.
    pub fn calm(seed: u64) -> Self {
        Self { rounds: 6, ..Self::new(seed, "calm", (3, 5)) }
    }

    pub fn trouble(seed: u64) -> Self {
        let most = [5, 5, 5, 8][(seed % 4) as usize];
        Self { rounds: 1, troubles: 25, ..Self::new(seed, "trouble", (3, most)) }
    }
}

/// What a run, or several, came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Findings {
    pub runs: u64,
    pub servers: u64,
    pub messages: u64,
    pub deliveries: u64,
    pub kills: u64,
    pub partitions: u64,
    pub clients_lost: u64,
    pub dials: u64,
    /// Subjects that servers knew of each other, and went on from, when a route came back.
    pub restored: u64,
    /// The longest time that a cluster took to become whole at first, and again.
    pub whole_first: Duration,
    pub whole_again: Duration,
    pub trace: u64,
}

impl Findings {
    pub fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.servers += other.servers;
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.kills += other.kills;
        self.partitions += other.partitions;
        self.clients_lost += other.clients_lost;
        self.dials += other.dials;
        self.restored += other.restored;
        self.whole_first = self.whole_first.max(other.whole_first);
        self.whole_again = self.whole_again.max(other.whole_again);
        self.trace ^= other.trace;
    }
}
