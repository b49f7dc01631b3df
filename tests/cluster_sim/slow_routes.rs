//! Routes that are slow, and what `write_timeout` makes of them.

use std::time::Duration;

use ring::sim::{Faults, SimOptions};
use ringmesh::close::CloseReason;
use ringmesh::transport::Mode;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::history::History;
use crate::plan::Shape;

const LATENCY: Duration = Duration::from_millis(10);
/// What a socket takes while nothing arrives: much less than a batch.
const WINDOW: usize = 4 << 10;
const MESSAGES: usize = 8;
const MESSAGE_LEN: usize = 4_000;
/// What the servers have in `write_deadline` is five seconds.
const LONGER_THAN_THE_DEADLINE: Duration = Duration::from_secs(7);
const SHORTER_THAN_THE_DEADLINE: Duration = Duration::from_secs(2);
/// PINGs come so seldom that no route ends by them.
const RARELY: Duration = Duration::from_secs(60);

/// Two servers with a client each: one publishes, one subscribes.
struct Pair {
    cluster: Cluster,
    history: History,
    publisher: Client,
    subscriber: Client,
}

impl Pair {
    /// Nothing ends but by a deadline for writes, unless `ping_interval` is short.
    fn new(closes_late: bool, ping_interval: Duration) -> Self {
        let shape = Shape {
            nodes: 2,
            shards: 1,
            pool_size: Some(1),
            dedicated: false,
            named: true,
            seeds: 2,
            barrier: true,
            ping_interval,
            closes_late,
            compressions: vec![Mode::Off],
            changes_a_turn: 512,
        };
        let faults = Faults { latency_min: LATENCY, latency_max: LATENCY, ..Faults::NONE };
        let world = SimOptions {
            seed: 7,
            faults,
            window: WINDOW,
            connect_timeout: Duration::from_secs(5),
            ..SimOptions::default()
        };
        let mut cluster = Cluster::new(shape, world);
        (0..2).for_each(|node| cluster.start(node));
        let client = |cluster: &Cluster, node| {
            let peer = cluster.sim.world().dial(cluster.client_address(node));
            Client::new(node, node, peer, true)
        };
        let (publisher, subscriber) = (client(&cluster, 0), client(&cluster, 1));
        let mut pair = Self { cluster, history: History::default(), publisher, subscriber };
        pair.pass_until("a mesh", |pair| pair.cluster.defect().is_none());
        pair.subscriber.subscribe(&mut pair.history, "a.b", None);
        pair.subscriber.ping();
        pair.pass_until("interest", |pair| pair.subscriber.is_answered());
        // Both have dialled.
        (0..2).for_each(|node| pair.cluster.control(node).ended.clear());
        pair
    }

    fn pass(&mut self, span: Duration) {
        self.cluster.run_for(span);
        self.publisher.read(&mut self.history);
        self.subscriber.read(&mut self.history);
    }

    fn pass_until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let patience = self.cluster.now() + Duration::from_secs(60);
        while !is_so(self) {
            assert!(self.cluster.now() < patience, "waited in vain for {what}");
            self.pass(Duration::from_millis(100));
        }
    }

    /// The publisher sends more than sockets take.
    fn flood(&mut self) {
        self.history.begin_round();
        for _ in 0..MESSAGES {
            self.publisher.publish(&mut self.history, "a.b", MESSAGE_LEN);
        }
    }

    /// Between the servers passes what sockets hold, once in a while, and nothing else.
    fn trickle(&mut self, pause: Duration) {
        self.cluster.partition(0, 1);
        self.pass(pause);
        self.cluster.heal(0, 1);
        self.pass(LATENCY.mul_f64(1.5));
    }

    /// Why the publisher's server has ended routes.
    fn ended(&mut self) -> &[CloseReason] {
        &self.cluster.control(0).ended
    }

    /// The servers keep their routes until everything has come, which takes more than so many pauses.
    fn gets_everything(&mut self, pauses: usize) {
        let mut times = 0;
        while !self.has_everything() {
            self.trickle(SHORTER_THAN_THE_DEADLINE);
            times += 1;
            assert!(times < 4 * pauses, "waited in vain for the messages");
        }
        assert!(times > pauses, "the route was not slow");
        assert_eq!(self.ended(), []);
        assert_eq!(self.cluster.control(1).ended, []);
    }

    fn has_everything(&self) -> bool {
        self.history.missing().is_none()
    }
}

#[test]
fn a_route_that_takes_nothing_ends_at_the_deadline_and_is_dialled_again() {
    for closes_late in [false, true] {
        let mut pair = Pair::new(closes_late, RARELY);
        pair.cluster.partition(0, 1);
        pair.flood();
        pair.pass(LONGER_THAN_THE_DEADLINE);
        assert_eq!(pair.ended(), [CloseReason::SlowConsumerWriteDeadline]);
        pair.cluster.heal(0, 1);
        pair.pass_until("a mesh", |pair| pair.cluster.defect().is_none());
        pair.pass(Duration::from_secs(2));
        pair.history.begin_round();
        pair.publisher.publish(&mut pair.history, "a.b", 0);
        pair.pass_until("a message", |pair| pair.has_everything());
    }
}

#[test]
fn a_route_that_only_is_slow_ends_where_a_batch_must_leave_within_the_deadline() {
    let mut pair = Pair::new(true, RARELY);
    pair.flood();
    let mut times = 0;
    while pair.ended().is_empty() && times < 6 {
        pair.trickle(SHORTER_THAN_THE_DEADLINE);
        times += 1;
    }
    assert_eq!(pair.ended(), [CloseReason::SlowConsumerWriteDeadline]);
}

#[test]
fn a_route_that_only_is_slow_goes_on_where_it_is_tried_again() {
    let mut pair = Pair::new(false, RARELY);
    pair.flood();
    pair.gets_everything(3);
}

#[test]
fn a_route_whose_pings_wait_behind_bulk_is_not_stale_while_that_moves() {
    let interval = SHORTER_THAN_THE_DEADLINE.mul_f64(1.5);
    let mut pair = Pair::new(false, interval);
    pair.flood();
    // Two PINGs may wait for answers; at the third the route was stale.
    pair.gets_everything(4);
}
