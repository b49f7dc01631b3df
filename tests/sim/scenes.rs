//! Rare meetings, set up on purpose.

use std::time::Duration;

use ring::Ring;
use ring::sim::{Faults, SimOptions};

use ringmesh::report::Stage;

use crate::client::{Client, Fate, Manners};
use crate::oracle::History;
use crate::server::{Config, Server};

/// A server, its clients, and what they saw.
struct Scene {
    server: Server,
    history: History,
    clients: Vec<Client>,
}

impl Scene {
    /// Some clients of a server, logged in; the first is on the first shard, and so on around.
    fn new(config: &Config, clients: usize) -> Self {
        let mut scene = Self {
            server: Server::start(config),
            history: History::default(),
            clients: Vec::new(),
        };
        for _ in 0..clients {
            let manners = Manners::default();
            let mut client = Client::dial(&scene.server, &mut scene.history, Fate::Stays, manners);
            client.connect(None);
            scene.clients.push(client);
            scene.flush(scene.clients.len() - 1);
        }
        scene
    }

    /// PING and PONG.
    #[track_caller]
    fn flush(&mut self, at: usize) {
        self.clients[at].ping(&mut self.history);
        self.wait("a PONG", |scene| scene.clients[at].is_answered());
    }

    #[track_caller]
    fn wait(&mut self, what: &str, is_done: impl Fn(&mut Self) -> bool) {
        for _ in 0..crate::server::STEPS_MAX {
            if is_done(self) {
                return;
            }
            let goes_on = self.server.step();
            for client in &mut self.clients {
                client.read(&mut self.history);
            }
            assert!(goes_on || is_done(self), "nothing will ever happen, but not yet: {what}");
        }
        panic!("no end in sight: {what}");
    }

    /// Lets time pass; then the clients read.
    fn run_for(&mut self, span: Duration) {
        self.server.run_for(span);
        for client in &mut self.clients {
            client.read(&mut self.history);
        }
    }

    fn subscribe(&mut self, at: usize, filter: &str) -> usize {
        let sub = self.clients[at].subscribe(&mut self.history, filter, None, 0, None);
        self.flush(at);
        sub
    }

    /// Turns one shard and no other, while time passes.
    fn turn_only(&mut self, shard: usize, times: usize) {
        for _ in 0..times {
            self.server.sim.world().advance(Duration::from_millis(10));
            self.server.sim.nodes().nth(shard).unwrap().0.turn(Duration::ZERO).unwrap();
        }
    }

    /// Turns one shard and no other until it has read everything, and then until it has fallen asleep.
    fn turn_to_sleep(&mut self, shard: usize) {
        self.turn_only(shard, 20);
        let node = self.server.sim.nodes().nth(shard).unwrap();
        let before = node.0.ring_mut().counters().sleeps;
        while node.0.ring_mut().counters().sleeps == before {
            node.0.turn(Duration::MAX).unwrap();
        }
    }

    fn publish(&mut self, at: usize, subject: &str, len: usize) {
        self.clients[at].publish(&mut self.history, subject, None, None, len);
    }

    /// How many messages a subscription has got.
    fn got(&self, sub: usize) -> usize {
        self.history.subs[sub].got.values().map(Vec::len).sum()
    }

    fn subscriptions(&mut self) -> u64 {
        self.server.reports().iter().map(|report| report.subscriptions_open).sum()
    }

    fn reasons(&mut self) -> Vec<&'static str> {
        self.server.closed().iter().filter_map(|report| Some(report.end.as_ref()?.reason)).collect()
    }
}

#[test]
fn a_send_that_is_the_last_to_end_frees_the_connection() {
    let faults = Faults { zero_copy_late: 10_000, ..Faults::NONE };
    let world = SimOptions { faults, ..SimOptions::default() };
    let mut scene = Scene::new(&Config { world, max_pending: 256 << 10, ..Config::default() }, 2);
    scene.subscribe(0, "big");
    scene.clients[0].peer.stop_reading();
    for _ in 0..4 {
        scene.publish(1, "big", 100_000);
    }
    scene.flush(1);
    scene.server.run_for(Duration::from_secs(1));
    assert_eq!(scene.reasons(), ["Slow Consumer (Pending Bytes)"]);
    scene.server.end();
}

/// A ring sleeps when a send has gone well, unless it is told not to; nothing else wakes it here.
#[test]
fn what_is_more_than_a_batch_leaves_although_nothing_else_happens() {
    let faults = Faults { zero_copy_copied: 10_000, ..Faults::NONE };
    let (buffer_bytes, window) = (64 << 10, 64 << 20);
    let world = SimOptions { faults, buffer_bytes, window, ..SimOptions::default() };
    let mut scene = Scene::new(&Config { world, max_pending: 64 << 20, ..Config::default() }, 2);
    let sub = scene.subscribe(0, "much");
    // From now on it is copied.
    scene.publish(1, "much", 100_000);
    scene.flush(1);
    for _ in 0..40 {
        scene.publish(1, "much", 100_000);
    }
    scene.run_for(Duration::from_secs(1));
    assert_eq!(scene.got(sub), 41);
    scene.server.end();
}

#[test]
fn who_asks_again_while_the_answer_is_on_its_way_is_answered_at_once() {
    let mut scene = Scene::new(&Config { barrier: true, ..Config::default() }, 1);
    let before = scene.clients[0].pongs;
    for filter in ["a", "b", "c"] {
        scene.clients[0].subscribe(&mut scene.history, filter, None, 0, None);
        scene.clients[0].ping(&mut scene.history);
    }
    scene.run_for(Duration::from_millis(500));
    assert_eq!(scene.clients[0].pongs - before, 3);
    scene.server.end();
}

#[test]
fn who_is_refused_is_told_and_closed_although_nothing_else_happens() {
    let mut scene = Scene::new(&Config::default(), 1);
    scene.clients[0].peer.send(b"HELLO\r\n");
    scene.run_for(Duration::from_millis(500));
    assert!(scene.clients[0].peer.ended().is_some());
    assert_eq!(scene.clients[0].errors, ["Unknown Protocol Operation"]);
    scene.server.end();
}

#[test]
fn more_letters_than_a_turn_reads_are_read_in_the_next() {
    let mut scene = Scene::new(&Config { shards: 2, ..Config::default() }, 2);
    let began = scene.server.sim.world().now();
    for number in 0..3_000 {
        let filter = format!("s.{number}");
        scene.clients[0].subscribe(&mut scene.history, &filter, None, 0, None);
    }
    scene.flush(0);
    let spent = scene.server.sim.world().now() - began;
    assert!(spent < Duration::from_secs(1), "{spent:?}");
    scene.publish(1, "s.2999", 16);
    scene.flush(1);
    scene.flush(0);
    scene.server.end();
}

#[test]
fn letters_that_find_room_only_later_wake_their_reader() {
    let mut scene = Scene::new(&Config { shards: 2, ..Config::default() }, 1);
    for number in 0..1_100 {
        let filter = format!("s.{number}");
        scene.clients[0].subscribe(&mut scene.history, &filter, None, 0, None);
    }
    scene.clients[0].ping(&mut scene.history);
    // More is posted than the box holds; all that it holds is read; the rest is posted.
    scene.turn_only(0, 20);
    scene.turn_to_sleep(1);
    scene.turn_only(0, 20);
    scene.run_for(Duration::from_millis(500));
    assert!(scene.clients[0].is_answered());
    scene.server.end();
}

#[test]
fn who_comes_while_the_server_ends_does_not_keep_it_from_ending() {
    for shards in [1, 2, 4] {
        for steps in 0..20 {
            let mut server = Server::start(&Config { shards, ..Config::default() });
            let world = server.sim.world().clone();
            let _peers: Vec<_> = (0..8).map(|_| world.dial(server.address)).collect();
            for _ in 0..steps {
                server.step();
            }
            server.end();
        }
    }
}

#[test]
fn the_write_deadline_holds_for_a_send_that_finds_no_room_at_all() {
    let config = Config { write_deadline: Duration::from_secs(2), ..Config::default() };
    let mut scene = Scene::new(&config, 2);
    scene.subscribe(0, "big");
    scene.clients[0].peer.stop_reading();
    // To the byte what the socket holds.
    let line = "MSG big 1 65517\r\n\r\n".len();
    scene.publish(1, "big", config.world.window - line);
    scene.flush(1);
    scene.server.run_for(Duration::from_millis(500));
    scene.publish(1, "big", 100_000);
    scene.flush(1);
    scene.server.run_for(Duration::from_secs(5));
    assert_eq!(scene.reasons(), ["Slow Consumer (Write Deadline)"]);
    scene.server.end();
}

#[test]
fn a_reserved_subject_stays_reserved_when_it_is_repeated() {
    let mut scene = Scene::new(&Config::default(), 2);
    scene.subscribe(0, ">");
    for line in ["PUB $GR.x 2\r\nhi\r\n", "PUB a $JS.ACK.x 2\r\nhi\r\n"] {
        scene.clients[1].peer.send(line.repeat(3).as_bytes());
        scene.flush(1);
    }
    scene.flush(0);
    assert_eq!(scene.clients[1].errors.len(), 6);
    scene.server.end();
}

/// Much room in sockets, so that a turn receives much.
fn wide() -> SimOptions {
    SimOptions { buffers: 4096, buffer_bytes: 64 << 10, window: 1 << 20, ..SimOptions::default() }
}

#[test]
fn a_full_mailbox_holds_its_publishers_until_it_is_emptied() {
    let mut scene = Scene::new(&Config { shards: 2, world: wide(), ..Config::default() }, 34);
    let sub = scene.subscribe(1, "s");
    let publishers: Vec<usize> = (0..34).step_by(2).collect();
    for at in &publishers {
        (0..40).for_each(|_| scene.publish(*at, "s", 100_000));
    }
    // The other shard has no turn for two seconds.
    for _ in 0..200 {
        scene.server.sim.nodes().next().unwrap().0.turn(Duration::ZERO).unwrap();
        scene.server.sim.world().advance(Duration::from_millis(10));
    }
    let unsent: usize = publishers.iter().map(|at| scene.clients[*at].peer.unsent()).sum();
    assert!(unsent > 25 << 20, "only {unsent} bytes of 68 MB wait at the publishers");
    let all = publishers.len() * 40;
    scene.wait("all messages", |scene| scene.got(sub) == all);
    assert!(scene.server.counters().stalled_clients > 0);
    scene.server.end();
}

#[test]
fn a_slow_recipient_on_another_shard_holds_nobody_who_publishes_to_others_there() {
    let config = Config { shards: 2, world: wide(), max_pending: 2 << 20, ..Config::default() };
    let mut scene = Scene::new(&config, 4);
    scene.subscribe(1, "slow");
    let fast = scene.subscribe(3, "fast");
    scene.clients[1].peer.stop_reading();
    (0..180).for_each(|_| scene.publish(0, "slow", 10_000));
    scene.flush(0);
    for _ in 0..20 {
        scene.publish(0, "fast", 16);
        // A trickle, so that it is slow and not stalled.
        scene.clients[1].peer.read(100);
        scene.server.run_for(Duration::from_millis(10));
    }
    scene.clients[3].read(&mut scene.history);
    assert!(scene.got(fast) >= 19, "{} of 20", scene.got(fast));
    scene.server.end();
}

#[test]
fn a_slow_recipient_delays_nobody_who_gets_the_same() {
    for shards in [1, 2, 4] {
        let config = Config { shards, world: wide(), max_pending: 2 << 20, ..Config::default() };
        let mut scene = Scene::new(&config, 5);
        scene.subscribe(1, "s");
        let fast = scene.subscribe(2, "s");
        scene.clients[1].peer.stop_reading();
        for number in 1..400 {
            scene.publish(0, "s", 10_000);
            scene.clients[1].peer.read(100);
            scene.server.run_for(Duration::from_micros(100));
            scene.clients[2].read(&mut scene.history);
            assert_eq!(scene.got(fast), number, "{shards} shards");
        }
        assert_eq!(scene.server.counters().stalled_clients, 0, "{shards} shards");
        assert_eq!(scene.reasons(), ["Slow Consumer (Pending Bytes)"]);
        scene.server.end();
    }
}

#[test]
fn a_publisher_goes_on_at_once_when_its_recipient_has_caught_up() {
    for size in [1_000, 10_000, 100_000] {
        let config = Config { world: wide(), max_pending: 2 << 20, ..Config::default() };
        let mut scene = Scene::new(&config, 2);
        let sub = scene.subscribe(1, "s");
        scene.clients[1].peer.stop_reading();
        let count = (4 << 20) / size;
        (0..count).for_each(|_| scene.publish(0, "s", size));
        scene.server.run_for(Duration::from_millis(30));
        assert_eq!(scene.server.counters().stalled_clients, 1);
        // What the socket refused leaves, then what it takes as it is; and nothing else happens.
        scene.clients[1].peer.resume();
        scene.server.run_for(Duration::from_millis(1));
        scene.clients[1].read(&mut scene.history);
        assert_eq!(scene.got(sub), count, "{size} bytes each");
        scene.server.end();
    }
}

#[test]
fn all_who_waited_for_the_same_recipient_go_on_at_once() {
    const PUBLISHERS: usize = 100;
    for shards in [1, 2] {
        let config = Config { shards, world: wide(), max_pending: 2 << 20, ..Config::default() };
        let mut scene = Scene::new(&config, PUBLISHERS + 1);
        let sub = scene.subscribe(0, "s");
        scene.clients[0].peer.stop_reading();
        for (count, size) in [(2, 10_000), (1, 100)] {
            for at in 1..=PUBLISHERS {
                (0..count).for_each(|_| scene.publish(at, "s", size));
            }
            scene.server.run_for(Duration::from_millis(10));
        }
        let held = scene.server.counters().stalled_clients;
        assert!(held > 20, "{held}, {shards} shards");
        scene.clients[0].peer.resume();
        scene.server.run_for(Duration::from_millis(2));
        scene.clients[0].read(&mut scene.history);
        assert_eq!(scene.got(sub), 3 * PUBLISHERS, "{shards} shards");
        scene.server.end();
    }
}

#[test]
fn a_queue_message_whose_member_has_just_left_goes_to_another_and_comes_to_nobody_twice() {
    for shards in [1, 2, 4] {
        for seed in 0..10 {
            let world = SimOptions { seed, window: 4 << 20, ..wide() };
            let mut scene = Scene::new(&Config { shards, world, ..Config::default() }, 6);
            let Scene { clients, history, .. } = &mut scene;
            let leaver = clients[1].subscribe(history, "s", Some("q"), 0, None);
            clients[1].subscribe(history, "bulk", None, 0, None);
            clients[2].subscribe(history, "s", Some("q"), 0, None);
            clients[2].subscribe(history, "s", None, 0, None);
            clients[4].subscribe(history, "s", None, 0, None);
            (0..5).for_each(|at| scene.flush(at));
            // So much comes first that the other shard cannot read it in one turn; meanwhile the
            // member there leaves.
            (0..15).for_each(|_| scene.publish(0, "bulk", 135_000));
            (0..100).for_each(|_| scene.publish(0, "s", 16));
            scene.history.end_sub(leaver);
            scene.clients[1].peer.send(b"UNSUB 1\r\n");
            scene.flush(0);
            scene.server.run_for(Duration::from_secs(1));
            (0..5).for_each(|at| scene.flush(at));
            assert_eq!(scene.history.check_groups(|_| false), 100, "{shards} shards");
            scene.server.end();
        }
    }
}

#[test]
fn a_pong_covers_a_queue_message_that_was_passed_on_to_a_third_shard() {
    let mut passed_on = 0;
    for seed in 0..10 {
        let world = SimOptions { seed, window: 4 << 20, ..wide() };
        let mut scene = Scene::new(&Config { shards: 3, world, ..Config::default() }, 3);
        let Scene { clients, history, .. } = &mut scene;
        let leaver = clients[1].subscribe(history, "s", Some("q"), 0, None);
        clients[1].subscribe(history, "bulk", None, 0, None);
        let stayer = clients[2].subscribe(history, "s", Some("q"), 0, None);
        (0..3).for_each(|at| scene.flush(at));
        // So much comes first that the second shard cannot read it in one turn; meanwhile its member
        // leaves. The third shard has no turn.
        (0..15).for_each(|_| scene.publish(0, "bulk", 135_000));
        scene.publish(0, "s", 16);
        let Scene { clients, history, .. } = &mut scene;
        clients[0].ping(history);
        scene.turn_only(0, 20);
        scene.history.end_sub(leaver);
        scene.clients[1].peer.send(b"UNSUB 1\r\n");
        scene.turn_only(1, 20);
        scene.turn_only(0, 20);
        let Scene { clients, history, .. } = &mut scene;
        clients[0].read(history);
        assert!(!clients[0].is_answered(), "seed {seed}: a PONG before the third shard's turn");
        (0..3).for_each(|at| scene.flush(at));
        assert_eq!((scene.got(leaver), scene.got(stayer)), (0, 1));
        passed_on += scene.server.counters().mailbox_in_msgs - 16;
        scene.server.end();
    }
    assert!(passed_on > 0, "no message was passed on");
}

#[test]
fn a_queue_message_does_not_come_back_to_a_publisher_without_echo() {
    let manners = Manners { no_echo: true, headers: false, ..Manners::default() };
    let world = SimOptions { window: 4 << 20, ..wide() };
    for (shards, own) in [(1, 0), (2, 2), (4, 4)] {
        let mut scene =
            Scene::new(&Config { shards, world: world.clone(), ..Config::default() }, own.max(2));
        let Scene { server, clients, history } = &mut scene;
        let mut quiet = Client::dial(server, history, Fate::Stays, manners);
        quiet.connect(None);
        clients.push(quiet);
        let quiet = clients.len() - 1;
        clients[quiet].subscribe(history, "s", Some("q"), 0, None);
        let leaver = clients[1].subscribe(history, "s", Some("q"), 0, None);
        clients[1].subscribe(history, "bulk", None, 0, None);
        scene.flush(1);
        scene.flush(quiet);
        (0..15).for_each(|_| scene.publish(quiet, "bulk", 135_000));
        (0..100).for_each(|_| scene.publish(quiet, "s", 16));
        scene.history.end_sub(leaver);
        scene.clients[1].peer.send(b"UNSUB 1\r\n");
        scene.flush(quiet);
        scene.flush(1);
        scene.flush(quiet);
        scene.server.end();
    }
}

#[test]
fn every_stage_of_a_message_between_shards_is_measured() {
    let mut scene = Scene::new(&Config { shards: 2, ..Config::default() }, 2);
    let sub = scene.subscribe(0, "far");
    scene.publish(1, "far", 16);
    scene.wait("the message", |scene| scene.got(sub) == 1);
    let reports = scene.server.reports();
    let counted = |shard: u16, stage: Stage| -> u64 {
        let latencies = reports.iter().filter(|report| report.shard == shard);
        let hists = latencies.flat_map(|report| &report.latency);
        hists.filter(|(of, _)| *of == stage).map(|(_, hist)| hist.count()).sum()
    };
    for stage in [Stage::Delivery, Stage::Processing, Stage::Send, Stage::Turn] {
        assert!(counted(0, stage) > 0 && counted(1, stage) > 0, "{}", stage.name());
    }
    assert_eq!((counted(0, Stage::Mailbox), counted(1, Stage::Mailbox)), (1, 0));
    scene.server.end();
}

#[test]
fn a_connection_on_which_the_kernel_copies_gets_no_more_sends_without_copying() {
    for copied in [0, 10_000] {
        let faults = Faults { zero_copy_copied: copied, ..Faults::NONE };
        let world = SimOptions { faults, ..SimOptions::default() };
        let mut scene = Scene::new(&Config { world, ..Config::default() }, 2);
        let sub = scene.subscribe(0, "big");
        for count in 1..=5 {
            scene.publish(1, "big", 100_000);
            scene.wait("the message", |scene| scene.got(sub) == count);
        }
        let counters = scene.server.counters();
        let (tried, told) = (counters.zero_copy_sends, counters.zero_copy_copied);
        assert!(if copied == 0 { tried >= 5 && told == 0 } else { tried == 1 && told == 1 });
        scene.server.end();
    }
}

#[test]
fn a_client_that_only_answers_is_asked_in_every_interval() {
    let ping_interval = Duration::from_millis(500);
    let mut scene = Scene::new(&Config { ping_interval, ..Config::default() }, 1);
    let mut asked = 0;
    // The first question comes when the log-in is two seconds old, the tenth nine intervals later.
    for _ in 0..130 {
        scene.server.run_for(Duration::from_millis(50));
        let pings = scene.clients[0].peer.take().windows(6).filter(|at| at == b"PING\r\n").count();
        for _ in 0..pings {
            scene.clients[0].peer.send(b"PONG\r\n");
        }
        asked += pings;
    }
    assert!(asked >= 9, "asked {asked} times");
    assert_eq!(scene.reasons(), [""; 0]);
    scene.server.end();
}

#[test]
fn a_client_that_takes_what_waits_before_a_ping_is_not_stale() {
    let ping_interval = Duration::from_millis(500);
    let mut scene = Scene::new(&Config { ping_interval, ..Config::default() }, 2);
    let sub = scene.subscribe(0, "bulk");
    scene.clients[0].peer.stop_reading();
    (0..20).for_each(|_| scene.publish(1, "bulk", 100_000));
    scene.flush(1);
    let goes_on = |scene: &mut Scene, bytes| {
        scene.clients[0].peer.read(bytes);
        scene.server.run_for(Duration::from_millis(100));
        scene.clients[1].read(&mut scene.history);
    };
    // Ten intervals, after which a part of the bulk still waits, and the PING behind it.
    (0..50).for_each(|_| goes_on(&mut scene, 20_000));
    assert!(scene.got(sub) < 20);
    assert_eq!(scene.reasons(), [""; 0]);
    // Without a byte taken, it is.
    (0..50).for_each(|_| goes_on(&mut scene, 0));
    assert_eq!(scene.reasons(), ["Stale Connection"]);
    scene.server.end();
}

/// A client says a thousand SUBs in one go, and leaves: others are heard and served in between.
#[test]
fn who_changes_much_of_what_it_wants_holds_up_nobody() {
    const MANY: u64 = 1_000;
    let world = SimOptions { buffer_bytes: 64 << 10, window: 64 << 20, ..SimOptions::default() };
    let config = Config { world, changes_a_turn: 8, ..Config::default() };
    let mut scene = Scene::new(&config, 3);
    let sub = scene.subscribe(1, "beside");
    for at in 0..MANY {
        let filter = format!("many.{at}");
        scene.clients[0].subscribe(&mut scene.history, &filter, None, 0, None);
    }
    scene.clients[0].ping(&mut scene.history);
    scene.publish(2, "beside", 16);
    scene.wait("a message", |scene| scene.got(sub) == 1);
    assert!(!scene.clients[0].is_answered(), "all SUBs were carried out before");
    scene.wait("a PONG", |scene| scene.clients[0].is_answered());
    assert_eq!(scene.subscriptions(), MANY + 1);

    scene.clients[0].peer.reset();
    scene.wait("the end of a client", |scene| !scene.reasons().is_empty());
    scene.publish(2, "beside", 16);
    scene.wait("another message", |scene| scene.got(sub) == 2);
    assert!(scene.subscriptions() > MANY / 2, "all were taken out before");
    scene.wait("the end of its subscriptions", |scene| scene.subscriptions() == 1);
    scene.server.end();
}
