//! What happens to a cluster, and what must be so in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use ring::Time;
use ring::sim::{Faults, Rng, SimOptions};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::history::History;
use crate::plan::{Findings, Plan};

const SECOND: Duration = Duration::from_secs(1);
/// Between two looks at what came: a client must answer PINGs.
const SLICE: Duration = Duration::from_millis(100);
/// In this time everything that was sent arrives, while nothing fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// In this time servers find each other again: the longest pause between two dials, twice, and what
/// a half-open connection takes to be noticed.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);
/// A mesh that is whole for so long stays whole: dials that crossed have met by then.
const SETTLED: Duration = Duration::from_secs(1);
/// In this time a server notices that a client has vanished.
const STALE_WITHIN: Duration = Duration::from_secs(40);

const SUBJECTS: [&str; 6] = ["a.b", "a.c", "a.b.c", "x", "x.y.z", "nobody.is.here"];
const FILTERS: [&str; 10] =
    ["a.b", "a.c", "a.b.c", "x", "a.*", "a.>", "*.b", "x.*.z", "x.y.z", "*.*.*.never"];
const GROUPS: [(&str, &str); 7] = [
    ("a.b", "q1"),
    ("a.*", "q1"),
    ("a.*", "q2"),
    ("x.>", "q2"),
    ("x", "q3"),
    (">", "q4"),
    ("a.b.c", "q1"),
];

struct Scene {
    cluster: Cluster,
    clients: Vec<Client>,
    history: History,
    rng: Rng,
    calm: Faults,
    found: Findings,
}

/// Plays a plan to its end.
pub fn play(plan: &Plan) -> Findings {
    let mut scene = Scene::new(plan);
    for node in 0..plan.shape.nodes {
        scene.cluster.start(node);
        if scene.rng.below(3) == 0 {
            let pause = scene.rng.below(2_000) as u64;
            scene.pass(Duration::from_millis(pause));
        }
    }
    scene.found.whole_first = scene.become_whole();
    scene.cluster.check_effort();
    for at in 0..plan.clients * plan.shape.nodes {
        scene.arrive(at % plan.shape.nodes);
    }
    scene.settle();
    for _ in 0..plan.rounds {
        scene.round();
    }
    if plan.troubles > 0 {
        scene.history.is_troubled = true;
        for _ in 0..plan.troubles {
            scene.trouble();
        }
        scene.mend();
        scene.history.is_troubled = false;
        scene.probe();
        scene.round();
    }
    scene.check_interest();
    scene.finish()
}

impl Scene {
    fn new(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed).fork("scene");
        let is_perfect = rng.below(3) == 0;
        let calm = if is_perfect { Faults::NONE } else { Faults::lossless(plan.seed) };
        let world = SimOptions {
            seed: plan.seed,
            faults: calm.clone(),
            window: [2 << 10, 16 << 10, 64 << 10][rng.below(3)],
            connect_timeout: 5 * SECOND,
            give_up: 20 * SECOND,
            ..SimOptions::default()
        };
        let cluster = Cluster::new(plan.shape.clone(), world);
        let found = Findings { runs: 1, servers: plan.shape.nodes as u64, ..Findings::default() };
        let (clients, history) = (Vec::new(), History::default());
        Self { cluster, clients, history, rng, calm, found }
    }

    /// Lets time pass; clients read what comes.
    fn pass(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let now = left.min(SLICE);
            self.cluster.run_for(now);
            self.read();
            left -= now;
        }
    }

    fn read(&mut self) {
        for client in &mut self.clients {
            client.read(&mut self.history);
        }
    }

    fn since(&self, start: Time) -> Duration {
        self.cluster.now() - start
    }

    /// Lets time pass until the mesh is whole, and stays so: where two dialled each other at once, both of
    /// their connections may end after each has been there for a moment. Returns how long it took.
    fn become_whole(&mut self) -> Duration {
        let start = self.cluster.now();
        let mut whole_since = None;
        loop {
            match self.cluster.defect() {
                Some(defect) => {
                    let took = self.since(start);
                    assert!(took < WHOLE_WITHIN, "not whole after {WHOLE_WITHIN:?}: {defect}");
                    whole_since = None;
                }
                None => {
                    let now = self.cluster.now();
                    let since = *whole_since.get_or_insert(now);
                    if self.since(since) >= SETTLED {
                        return since - start;
                    }
                }
            }
            self.pass(SLICE);
        }
    }

    /// A client comes, and wants something.
    fn arrive(&mut self, node: usize) {
        let peer = self.cluster.sim.world().dial(self.cluster.client_address(node));
        let id = self.clients.len();
        self.clients.push(Client::new(id, node, peer, self.cluster.shape.barrier));
        for _ in 0..self.rng.below(4) {
            self.subscribe(id);
        }
        self.clients[id].ping();
    }

    fn subscribe(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if self.rng.below(3) == 0 {
            let (filter, queue) = GROUPS[self.rng.below(GROUPS.len())];
            client.subscribe(&mut self.history, filter, Some(queue));
        } else {
            let filter = FILTERS[self.rng.below(FILTERS.len())];
            client.subscribe(&mut self.history, filter, None);
        }
    }

    /// A client that is there does something.
    fn act(&mut self) {
        let present: Vec<_> = self.clients.iter().filter(|client| !client.is_gone).collect();
        if present.is_empty() {
            return;
        }
        let id = present[self.rng.below(present.len())].id;
        match self.rng.below(8) {
            0 => self.subscribe(id),
            1 => {
                let at = self.rng.below(16);
                self.clients[id].unsubscribe(&mut self.history, at);
            }
            2 => self.clients[id].ping(),
            _ => {
                let subject = SUBJECTS[self.rng.below(SUBJECTS.len())];
                for _ in 0..self.rng.between(1, 5) {
                    let padding = [0, 10, 100, 3_000, 20_000][self.rng.below(5)];
                    self.clients[id].publish(&mut self.history, subject, padding);
                }
            }
        }
    }

    /// Everything that clients asked so far is known in the whole cluster.
    fn settle(&mut self) {
        self.clients.iter_mut().filter(|client| !client.is_gone).for_each(Client::ping);
        self.wait("answers", |scene| {
            let client = scene.clients.iter().find(|client| !client.is_answered());
            client.map(|client| format!("client {}: a PING has no answer", client.id))
        });
        self.pass(2 * SECOND);
        self.history.all_live();
    }

    fn wait(&mut self, what: &str, lacks: impl Fn(&Self) -> Option<String>) {
        let (mut start, mut heard) = (self.cluster.now(), self.history.deliveries);
        while let Some(lack) = lacks(self) {
            // Where sockets hold little and the way is long, many large messages take their time.
            if std::mem::replace(&mut heard, self.history.deliveries) != self.history.deliveries {
                start = self.cluster.now();
            }
            assert!(self.since(start) < PATIENCE, "waited in vain for {what}: {lack}");
            self.pass(SLICE);
        }
    }

    /// While nothing fails everything arrives.
    fn round(&mut self) {
        self.history.begin_round();
        for _ in 0..self.rng.between(10, 60) {
            self.act();
            if self.rng.below(4) == 0 {
                let pause = self.rng.below(20_000) as u64;
                self.pass(Duration::from_micros(pause));
            }
        }
        self.complete();
    }

    fn complete(&mut self) {
        let gone = self.gone();
        self.wait("messages", |scene| scene.history.missing());
        self.settle();
        assert_eq!(self.gone(), gone, "a client lost its connection");
        assert_eq!(self.cluster.defect(), None);
    }

    fn gone(&self) -> usize {
        self.clients.iter().filter(|client| client.is_gone).count()
    }

    /// Something goes wrong, or is mended, and life goes on.
    fn trouble(&mut self) {
        let nodes = self.cluster.shape.nodes;
        let (one, other) = (self.rng.below(nodes), self.rng.below(nodes));
        match self.rng.below(10) {
            0 => self.kill(one),
            1 | 2 if !self.cluster.is_up(one) => self.cluster.start(one),
            3 | 4 if one != other => {
                self.cluster.partition(one, other);
                self.found.partitions += 1;
            }
            5 => self.cluster.heal(one, other),
            6 => self.split(one),
            7 => self.worsen(),
            _ => {}
        }
        for _ in 0..self.rng.between(1, 10) {
            self.act();
        }
        if self.cluster.is_up(one) && self.rng.below(2) == 0 {
            self.arrive(one);
        }
        let most = [100, 1_000, 4_000][self.rng.below(3)];
        let pause = self.rng.below(most) as u64;
        self.pass(Duration::from_millis(pause));
    }

    /// Ends a server, and with it its clients.
    fn kill(&mut self, node: usize) {
        let silently = self.rng.below(2) == 0;
        self.found.kills += u64::from(self.cluster.is_up(node));
        self.cluster.kill(node, silently);
        self.read();
        for client in self.clients.iter_mut().filter(|client| client.node == node) {
            client.leave(&mut self.history);
        }
    }

    /// The servers up to one do not reach those behind it.
    fn split(&mut self, border: usize) {
        for one in 0..=border {
            for other in border + 1..self.cluster.shape.nodes {
                self.cluster.partition(one, other);
                self.found.partitions += 1;
            }
        }
    }

    fn worsen(&mut self) {
        let mut faults = Faults::chaos(self.rng.any());
        if self.rng.below(2) == 0 {
            faults.latency_max = Duration::from_millis(self.rng.between(20, 800) as u64);
        }
        self.cluster.sim.world().set_faults(faults);
    }

    /// Everything is mended, and time passes: the mesh is whole, and stays so.
    fn mend(&mut self) {
        self.cluster.sim.world().set_faults(self.calm.clone());
        self.cluster.sim.world().heal_all();
        for node in 0..self.cluster.shape.nodes {
            if !self.cluster.is_up(node) {
                self.cluster.start(node);
            }
        }
        self.found.whole_again = self.become_whole();
        self.clients.iter_mut().filter(|client| !client.is_gone).for_each(Client::ping);
        self.pass(STALE_WITHIN);
        // Whose connection is half-open gets no answer, and is gone for its server.
        for client in self.clients.iter_mut().filter(|client| !client.is_answered()) {
            client.leave(&mut self.history);
        }
        self.found.clients_lost += self.gone() as u64;
        assert_eq!(self.cluster.defect(), None, "whole no more");
        self.history.all_live();
        self.check_interest();
    }

    /// A message on each subject from each server reaches everybody who wants it.
    fn probe(&mut self) {
        self.history.begin_round();
        for node in 0..self.cluster.shape.nodes {
            let id = self.clients.len();
            let peer = self.cluster.sim.world().dial(self.cluster.client_address(node));
            self.clients.push(Client::new(id, node, peer, self.cluster.shape.barrier));
            for subject in SUBJECTS.repeat(2) {
                self.clients[id].publish(&mut self.history, subject, 0);
            }
        }
        self.complete();
    }

    /// Each server knows what the clients of the others want, and nothing else.
    fn check_interest(&mut self) {
        let nodes = self.cluster.shape.nodes;
        let mut wanted = vec![BTreeSet::new(); nodes];
        for sub in self.history.subs.iter().filter(|sub| sub.ended_at.is_none()) {
            let node = self.clients[sub.client].node;
            wanted[node].insert((sub.filter.clone(), sub.queue.clone()));
        }
        let all: usize = wanted.iter().map(BTreeSet::len).sum();
        for (node, own) in wanted.iter().enumerate() {
            let reports = self.cluster.reports(node);
            let known: u64 = reports.iter().map(|report| report.subscriptions_routed).sum();
            let restored = reports.iter().map(|report| report.counters.interest_restored);
            self.found.restored += restored.sum::<u64>();
            assert_eq!(known, (all - own.len()) as u64, "interest known to server {node}");
            let routes: u64 = reports.iter().map(|report| report.routes_open).sum();
            let links = self.cluster.control(node).mesh.links();
            let conns: usize = links.iter().map(|link| link.conns.len()).sum();
            assert_eq!(routes, conns as u64, "routes of server {node}");
            let urls = self.cluster.control(node).client_urls.len();
            assert_eq!(urls, nodes, "URLs that clients of server {node} are told");
        }
    }

    fn finish(mut self) -> Findings {
        self.cluster.end();
        self.found.messages = self.history.messages.len() as u64;
        self.found.deliveries = self.history.deliveries;
        self.found.dials = self.cluster.dials;
        self.found.trace = self.cluster.sim.world().trace_hash();
        self.found
    }
}
