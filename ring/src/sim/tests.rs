//! Tests of the simulation itself: that its faults happen, lose nothing they should not, and replay.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::*;
use crate::{
    Batch, Completion, Direction, EndReason, Errno, Op, Outcome, Ring, Segment, SendMode, Socket,
    Token,
};

/// A server that sends back whatever it gets.
struct Echo {
    ring: SimRing,
    listener: Socket,
    connections: BTreeMap<u32, Connection>,
    last: u32,
    done: Vec<Completion>,
    mode: SendMode,
    ends: Vec<EndReason>,
    accept_errors: usize,
    /// Nothing is accepted before this.
    accept_again_at: Option<Time>,
}

#[derive(Default)]
struct Connection {
    socket: i32,
    receiving: bool,
    sending: bool,
    ended: bool,
    shut: bool,
    pending: Vec<u8>,
}

const ACCEPT: Token = Token::new(0, 7);

impl Echo {
    fn new(mut ring: SimRing, mode: SendMode) -> (Self, SocketAddr) {
        let (listener, address) = ring.listen(SocketAddr::from(([0, 0, 0, 0], 4222))).unwrap();
        ring.push(ACCEPT, Op::Accept { listener });
        let echo = Self {
            ring,
            listener,
            connections: BTreeMap::new(),
            last: 0,
            done: Vec::new(),
            mode,
            ends: Vec::new(),
            accept_errors: 0,
            accept_again_at: None,
        };
        (echo, address)
    }

    fn handle(&mut self, Completion { token, outcome }: Completion) {
        match outcome {
            Outcome::Accepted { socket, .. } => {
                self.last += 1;
                let connection = Connection { socket: socket.0, ..Connection::default() };
                self.connections.insert(self.last, connection);
            }
            Outcome::AcceptEnded { error } => {
                self.accept_errors += usize::from(error.is_some());
                self.accept_again_at = Some(self.ring.now() + Duration::from_millis(100));
            }
            Outcome::Received { bytes } => self.at(token).pending.extend_from_slice(&bytes),
            Outcome::ReceiveEnded { reason } => self.on_end(token, reason),
            Outcome::Sent { mut batch, bytes, error, .. } => {
                let connection = self.at(token);
                connection.sending = false;
                connection.ended |= error.is_some();
                batch.advance(bytes);
                let mut rest = batch.slices().collect::<Vec<_>>().concat();
                rest.append(&mut connection.pending);
                connection.pending = rest;
            }
            Outcome::HasRoom | Outcome::Connected { .. } | Outcome::ConnectFailed { .. } => {
                unreachable!()
            }
        }
    }

    fn at(&mut self, token: Token) -> &mut Connection {
        self.connections.get_mut(&token.index).expect("a completion for a closed connection")
    }

    fn on_end(&mut self, token: Token, reason: EndReason) {
        self.ends.push(reason);
        let connection = self.at(token);
        connection.receiving = false;
        match reason {
            EndReason::Eof | EndReason::Error(_) => connection.ended = true,
            EndReason::NoBuffers | EndReason::Rearm | EndReason::Cancelled => {}
        }
    }

    /// Arms, sends and closes whatever is to be.
    fn flush(&mut self) {
        let mode = self.mode;
        let ring = &mut self.ring;
        self.connections.retain(|index, it| {
            let (token, socket) = (Token::new(*index, *index), Socket(it.socket));
            if !it.receiving && !it.ended {
                it.receiving = true;
                ring.push(token, Op::Receive { socket });
            }
            if !it.sending && !it.pending.is_empty() && !it.ended {
                it.sending = true;
                let batch = Batch::new(vec![Segment::Own(std::mem::take(&mut it.pending))]);
                ring.push(token, Op::Send { socket, batch, mode });
            }
            if it.ended && !it.shut && (it.receiving || it.sending) {
                it.shut = true;
                ring.push(token, Op::Shutdown { socket, how: Direction::Both });
            }
            let is_over = it.ended && !it.receiving && !it.sending;
            if is_over {
                ring.push(token, Op::Close { socket });
            }
            !is_over
        });
    }
}

impl Node for Echo {
    fn turn(&mut self) -> io::Result<()> {
        let mut done = std::mem::take(&mut self.done);
        let wait = self.accept_again_at.map_or(Duration::MAX, |at| at.since(self.ring.now()));
        self.ring.turn(wait, &mut done)?;
        for completion in done.drain(..) {
            self.handle(completion);
        }
        self.done = done;
        if self.accept_again_at.is_some_and(|at| at <= self.ring.now()) {
            self.accept_again_at = None;
            self.ring.push(ACCEPT, Op::Accept { listener: self.listener });
        }
        self.flush();
        Ok(())
    }
}

/// A world with an echo server in it.
fn echo_world(options: SimOptions) -> (Simulation<Echo>, RingId, SocketAddr) {
    let world = SimWorld::with(options);
    let ring = world.ring();
    let id = ring.id();
    let mode = match world.rng("mode").below(3) {
        0 => SendMode::Try,
        1 => SendMode::Wait,
        _ => SendMode::ZeroCopy,
    };
    let (echo, address) = Echo::new(ring, mode);
    let mut simulation = Simulation::new(world);
    simulation.add(id, echo);
    (simulation, id, address)
}

fn with_faults(seed: u64, faults: Faults) -> SimOptions {
    // Small buffers, so that their limits are met.
    let (buffers, buffer_bytes, window) = (4, 64, 512);
    SimOptions { seed, faults, buffers, buffer_bytes, window, ..SimOptions::default() }
}

const STEPS_MAX: usize = 200_000;

/// Five clients send to the echo server and hear the same back.
fn echo_run(seed: u64, faults: Faults) -> (u64, Counts) {
    let (mut simulation, id, address) = echo_world(with_faults(seed, faults));
    let world = simulation.world().clone();
    let mut rng = world.rng("workload");
    let peers: Vec<_> = (0..5).map(|_| world.dial(address)).collect();
    let sent: Vec<Vec<u8>> = peers
        .iter()
        .map(|_| (0..rng.between(1, 3000)).map(|_| rng.any().to_le_bytes()[0]).collect())
        .collect();
    for (peer, bytes) in peers.iter().zip(&sent) {
        peer.send(bytes);
    }
    let heard = |_: &mut Simulation<Echo>| {
        peers.iter().zip(&sent).all(|(peer, sent)| peer.received().len() == sent.len())
    };
    simulation.run_until(heard, STEPS_MAX).unwrap();
    for (peer, sent) in peers.iter().zip(&sent) {
        assert_eq!(peer.received(), *sent, "seed {seed}");
        peer.close();
    }
    let closed = |it: &mut Simulation<Echo>| it.node(id).unwrap().ring.sockets_open() == 1;
    simulation.run_until(closed, STEPS_MAX).unwrap();
    let echo = simulation.node(id).unwrap();
    assert_eq!(echo.ring.leases_held(), 0);
    assert!(echo.ring.in_flight() <= 1, "the accept, or nothing");
    (world.trace_hash(), world.counts())
}

#[test]
fn an_echo_server_loses_no_byte_whatever_bends_time_and_shape() {
    for seed in 0..200 {
        let context = Context(seed);
        echo_run(seed, Faults::lossless(seed));
        drop(context);
    }
}

/// Says which seed it was when a test fails.
struct Context(u64);

impl Drop for Context {
    #[expect(clippy::print_stderr, reason = "a failing test says its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={}", self.0);
        }
    }
}

#[test]
fn the_same_seed_does_the_same_things_and_another_seed_others() {
    for seed in 0..20 {
        let (first, again) =
            (echo_run(seed, Faults::lossless(seed)), echo_run(seed, Faults::lossless(seed)));
        assert_eq!(first, again, "seed {seed}");
        assert_ne!(first.0, echo_run(seed + 1000, Faults::lossless(seed)).0);
    }
}

#[test]
fn under_chaos_every_connection_ends_and_nothing_is_left_over() {
    let mut broken = 0;
    for seed in 0..100 {
        let context = Context(seed);
        let give_up = Duration::from_secs(20);
        let options = SimOptions { give_up, ..with_faults(seed, Faults::chaos(seed)) };
        let (mut simulation, id, address) = echo_world(options);
        let world = simulation.world().clone();
        let peers: Vec<_> = (0..10).map(|_| world.dial(address)).collect();
        for round in 0..10_u8 {
            for peer in &peers {
                peer.send(&[round; 100]);
            }
            simulation.run_for(Duration::from_millis(50), STEPS_MAX).unwrap();
        }
        for peer in &peers {
            let heard = peer.received();
            assert!(heard.is_sorted() && heard.len() <= 1000, "out of order, or said twice");
            peer.reset();
        }
        simulation.run_for(Duration::from_secs(60), STEPS_MAX).unwrap();
        let echo = simulation.node(id).unwrap();
        // Who vanished without owing anything may stay: nobody can know.
        let open = echo.ring.sockets_open() as u64 - 1;
        assert!(open <= world.counts().broken, "{open} left");
        assert_eq!(echo.ring.leases_held(), 0);
        broken += world.counts().broken;
        drop(context);
    }
    assert!(broken > 20, "chaos broke only {broken} connections");
}

#[test]
fn every_kind_of_end_is_met_by_some_seed() {
    let mut ends = Vec::new();
    let mut accept_errors = 0;
    for seed in 0..60 {
        let (mut simulation, id, address) = echo_world(with_faults(seed, Faults::chaos(seed)));
        let world = simulation.world().clone();
        let peers: Vec<_> = (0..8).map(|_| world.dial(address)).collect();
        for peer in &peers {
            peer.send(&[1; 2000]);
        }
        simulation.run_for(Duration::from_secs(1), STEPS_MAX).unwrap();
        peers[0].finish();
        peers[1].reset();
        simulation.run_for(Duration::from_secs(1), STEPS_MAX).unwrap();
        let echo = simulation.node(id).unwrap();
        ends.append(&mut echo.ends);
        accept_errors += echo.accept_errors;
    }
    for end in [
        EndReason::Eof,
        EndReason::NoBuffers,
        EndReason::Rearm,
        EndReason::Error(Errno::RESET),
        EndReason::Error(Errno::TIMED_OUT),
        EndReason::Error(Errno::BROKEN_PIPE),
    ] {
        assert!(ends.contains(&end), "{end:?} never happened");
    }
    assert!(accept_errors > 0);
}

/// A ring without faults, one of its sockets, and the peer of that.
fn pair(options: SimOptions) -> (SimRing, Socket, Peer) {
    let world = SimWorld::with(options);
    let mut ring = world.ring();
    let (listener, address) = ring.listen(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
    let peer = world.dial(address);
    ring.push(ACCEPT, Op::Accept { listener });
    let done = turn(&mut ring);
    let Outcome::Accepted { socket, .. } = done[0].outcome else { panic!("{done:?}") };
    (ring, socket, peer)
}

fn turn(ring: &mut SimRing) -> Vec<Completion> {
    let mut done = Vec::new();
    ring.turn(Duration::from_secs(1), &mut done).unwrap();
    done
}

fn send(socket: Socket, bytes: &[u8], mode: SendMode) -> Op {
    Op::Send { socket, batch: Batch::new(vec![Segment::Own(bytes.to_vec())]), mode }
}

#[track_caller]
fn check_breach(expected: &str, push: impl FnOnce(&mut SimRing, Socket)) {
    let (mut ring, socket, _peer) = pair(SimOptions::default());
    let panic = catch_unwind(AssertUnwindSafe(|| push(&mut ring, socket))).unwrap_err();
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_breach_of_the_contract_panics_where_it_happens() {
    let token = Token::new(1, 1);
    check_breach("two sends in flight", |ring, socket| {
        ring.push(token, send(socket, b"a", SendMode::Try));
        ring.push(token, send(socket, b"b", SendMode::Try));
    });
    check_breach("two receives in flight", |ring, socket| {
        ring.push(token, Op::Receive { socket });
        turn(ring);
        ring.push(token, Op::Receive { socket });
    });
    check_breach("closed with a receive in flight", |ring, socket| {
        ring.push(token, Op::Receive { socket });
        ring.push(token, Op::CancelReceive { socket });
        ring.push(token, Op::Close { socket });
    });
    check_breach("closed with a send in flight", |ring, socket| {
        ring.push(token, send(socket, b"a", SendMode::Try));
        ring.push(token, Op::Close { socket });
    });
    check_breach("no open connection", |ring, socket| {
        ring.push(token, Op::Close { socket });
        ring.push(token, Op::Receive { socket });
    });
    check_breach("not open", |ring, socket| {
        ring.push(token, Op::Close { socket });
        turn(ring);
        ring.push(token, Op::Close { socket });
    });
}

#[test]
fn a_number_that_was_closed_is_given_out_again_at_once() {
    let (mut ring, socket, peer) = pair(SimOptions::default());
    ring.push(Token::new(1, 1), Op::Close { socket });
    let again = ring.world().dial(ring.addresses(socket).unwrap().0);
    let done = turn(&mut ring);
    assert!(matches!(done[0].outcome, Outcome::Accepted { socket: it, .. } if it == socket));
    assert_eq!(peer.ended(), Some(PeerEnd::Eof));
    assert_eq!(again.ended(), None);
}

#[test]
fn a_server_without_descriptors_keeps_who_waits() {
    let world = SimWorld::with(SimOptions { descriptors_max: 2, ..SimOptions::default() });
    let mut ring = world.ring();
    let (listener, address) = ring.listen(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
    let _peers = [world.dial(address), world.dial(address)];
    ring.push(ACCEPT, Op::Accept { listener });
    let done = turn(&mut ring);
    let Outcome::Accepted { socket, .. } = done[0].outcome else { panic!("{done:?}") };
    let error = Some(Errno::NO_DESCRIPTORS);
    assert!(matches!(done[1].outcome, Outcome::AcceptEnded { error: it } if it == error));
    ring.push(ACCEPT, Op::Close { socket });
    ring.push(ACCEPT, Op::Accept { listener });
    let done = turn(&mut ring);
    assert!(matches!(done[0].outcome, Outcome::Accepted { .. }), "{done:?}");
}

#[test]
fn what_left_before_a_sleep_is_told_before_what_ended_it() {
    let (mut ring, socket, peer) = pair(SimOptions::default());
    ring.push(Token::new(1, 1), Op::Receive { socket });
    turn(&mut ring);
    ring.push(Token::new(1, 1), send(socket, b"hello", SendMode::Try));
    assert!(turn(&mut ring).is_empty(), "nothing to wake up for");
    ring.world().advance(Duration::from_millis(1));
    assert_eq!(peer.received(), b"hello");
    peer.send(b"hi");
    ring.world().advance(Duration::from_secs(1));
    let done = turn(&mut ring);
    assert!(matches!(done[0].outcome, Outcome::Sent { bytes: 5, timely: false, .. }), "{done:?}");
    assert!(matches!(done[1].outcome, Outcome::Received { .. }), "{done:?}");

    ring.push(Token::new(1, 1), send(socket, b"again", SendMode::Try));
    let mut done = Vec::new();
    ring.turn(Duration::ZERO, &mut done).unwrap();
    assert!(matches!(done[0].outcome, Outcome::Sent { bytes: 5, timely: true, .. }), "{done:?}");
}

#[test]
fn a_zero_copy_send_keeps_its_batch_until_the_late_notice() {
    let late = Faults { zero_copy_late: 10_000, ..Faults::NONE };
    let (mut ring, socket, peer) = pair(SimOptions { faults: late, ..SimOptions::default() });
    ring.push(Token::new(1, 1), send(socket, b"hello", SendMode::ZeroCopy));
    assert!(turn(&mut ring).is_empty());
    assert_eq!(peer.received(), b"hello", "the bytes have left long since");
    assert_eq!(ring.in_flight(), 2, "the accept and the send");
    ring.world().advance(Duration::from_secs(1));
    let done = turn(&mut ring);
    assert!(matches!(done[0].outcome, Outcome::Sent { bytes: 5, error: None, .. }), "{done:?}");
}

#[test]
fn a_partition_holds_bytes_back_and_healing_lets_them_through() {
    let (mut ring, socket, peer) = pair(SimOptions::default());
    let world = ring.world().clone();
    world.partition(ring.ip(), peer.address().ip());
    ring.push(Token::new(1, 1), send(socket, b"held", SendMode::Try));
    turn(&mut ring);
    world.advance(Duration::from_secs(60));
    assert_eq!(peer.received(), b"");
    world.heal(ring.ip(), peer.address().ip());
    assert_eq!(peer.received(), b"held");
    assert_eq!(peer.ended(), None);
}

#[test]
fn a_send_into_a_partition_that_lasts_times_out() {
    let (mut ring, socket, peer) = pair(SimOptions::default());
    peer.vanish();
    ring.push(Token::new(1, 1), Op::Receive { socket });
    ring.push(Token::new(1, 2), send(socket, b"anybody?", SendMode::Try));
    assert!(matches!(turn(&mut ring)[0].outcome, Outcome::Sent { bytes: 8, error: None, .. }));
    ring.world().advance(Duration::from_secs(899));
    assert!(turn(&mut ring).is_empty(), "a half-open connection looks like an idle one");
    ring.world().advance(Duration::from_secs(2));
    let done = turn(&mut ring);
    let timed_out = EndReason::Error(Errno::TIMED_OUT);
    assert!(matches!(done[0].outcome, Outcome::ReceiveEnded { reason } if reason == timed_out));
}

#[test]
fn a_dial_into_a_partition_times_out_and_through_a_short_one_succeeds() {
    for (heals_after, connects) in [(Duration::from_secs(5), true), (Duration::MAX, false)] {
        let world = SimWorld::new(1);
        let (mut one, two) = (world.ring(), world.ring());
        let (_, address) = two.listen(SocketAddr::from(([0, 0, 0, 0], 6222))).unwrap();
        world.partition(one.ip(), two.ip());
        one.push(Token::new(1, 1), Op::Connect { address });
        assert!(turn(&mut one).is_empty());
        if heals_after < Duration::MAX {
            world.advance(heals_after);
            world.heal_all();
        }
        world.advance(Duration::from_secs(130));
        let done = turn(&mut one);
        match done[0].outcome {
            Outcome::Connected { .. } => assert!(connects),
            Outcome::ConnectFailed { error } => {
                assert!(!connects && error == Errno::TIMED_OUT, "{error:?}");
            }
            _ => panic!("{done:?}"),
        }
    }
}

#[test]
fn a_killed_server_closes_and_a_vanished_one_says_nothing() {
    for silently in [false, true] {
        let (ring, _socket, peer) = pair(SimOptions::default());
        if silently {
            ring.power_off()
        } else {
            ring.kill()
        }
        assert_eq!(peer.ended().is_none(), silently);
        let address = SocketAddr::new(ring.ip(), 4222);
        drop(ring.world().ring_at(ring.ip()));
        let late = ring.world().dial(address);
        assert_eq!(late.ended(), None, "nobody is there to refuse");
    }
}

#[test]
fn shards_of_one_server_share_its_sockets() {
    let (mut one, socket, peer) = pair(SimOptions::default());
    let mut two = one.sibling();
    two.push(Token::new(9, 9), Op::Receive { socket });
    peer.send(b"hello");
    let done = turn(&mut two);
    assert!(matches!(&done[0].outcome, Outcome::Received { bytes } if **bytes == *b"hello"));
    assert!(turn(&mut one).is_empty(), "completions go to who pushed");
    drop(done);
    two.push(Token::new(9, 9), send(socket, b"from two", SendMode::Try));
    turn(&mut two);
    assert_eq!(peer.take(), b"from two");
}

#[test]
fn a_script_can_listen_and_be_dialled() {
    let world = SimWorld::new(1);
    let mut ring = world.ring();
    let listener = world.listen(SocketAddr::from(([192, 0, 2, 1], 6222)));
    ring.push(Token::new(1, 1), Op::Connect { address: listener.address() });
    let done = turn(&mut ring);
    let Outcome::Connected { socket } = done[0].outcome else { panic!("{done:?}") };
    let peer = listener.accept().unwrap();
    peer.send(b"INFO");
    ring.push(Token::new(1, 1), Op::Receive { socket });
    let done = turn(&mut ring);
    assert!(matches!(&done[0].outcome, Outcome::Received { bytes } if **bytes == *b"INFO"));
}

#[test]
fn a_peer_that_stops_reading_leaves_no_room_until_it_reads() {
    let (mut ring, socket, peer) = pair(SimOptions { window: 100, ..SimOptions::default() });
    let token = Token::new(1, 1);
    peer.stop_reading();
    ring.push(token, send(socket, &[7; 150], SendMode::Try));
    assert!(matches!(turn(&mut ring)[0].outcome, Outcome::Sent { bytes: 100, error: None, .. }));
    ring.push(token, send(socket, &[8; 50], SendMode::Wait));
    assert!(turn(&mut ring).is_empty());
    peer.read(30);
    assert!(matches!(turn(&mut ring)[0].outcome, Outcome::Sent { bytes: 30, error: None, .. }));
    peer.resume();
    assert_eq!(peer.received().len(), 130);
}

#[test]
fn a_lease_kept_over_a_turn_is_counted() {
    let (mut ring, socket, peer) = pair(SimOptions::default());
    ring.push(Token::new(1, 1), Op::Receive { socket });
    peer.send(b"hello");
    let kept = turn(&mut ring);
    assert_eq!((ring.leases_held(), ring.world().counts().leases_held_over), (1, 0));
    turn(&mut ring);
    assert_eq!(ring.world().counts().leases_held_over, 1);
    drop(kept);
    assert_eq!(ring.leases_held(), 0);
}

#[test]
fn the_clock_of_a_server_can_leap_forward_and_never_back() {
    let faults = Faults { clock_jump: 3_000, ..Faults::NONE };
    let world = SimWorld::with(SimOptions { faults, ..SimOptions::default() });
    let mut ring = world.ring();
    let (mut last, begin) = (ring.now(), ring.now());
    for _ in 0..100 {
        turn(&mut ring);
        assert!(ring.now() >= last && ring.clock() >= ring.now());
        last = ring.now();
    }
    assert!(last.since(begin) > Duration::from_secs(1));
}

/// A node that sleeps until a bell or its own time, and counts.
struct Sleeper {
    ring: SimRing,
    wait: Duration,
    woken_at: Vec<Time>,
}

impl Node for Sleeper {
    fn turn(&mut self) -> io::Result<()> {
        self.ring.turn(self.wait, &mut Vec::new())?;
        self.woken_at.push(self.ring.now());
        Ok(())
    }
}

#[test]
fn a_sleeping_ring_is_turned_when_its_wait_is_over_or_its_bell_rings() {
    let world = SimWorld::new(1);
    let ring = world.ring();
    let (id, bell, begin) = (ring.id(), ring.doorbell(), ring.now());
    let wait = Duration::from_millis(10);
    let mut simulation = Simulation::new(world);
    simulation.add(id, Sleeper { ring, wait, woken_at: Vec::new() });
    simulation.run_for(Duration::from_millis(95), 1000).unwrap();
    let turns = simulation.node(id).unwrap().woken_at.len();
    assert!((10..=20).contains(&turns), "{turns} turns for 9 waits");
    simulation.node(id).unwrap().wait = Duration::MAX;
    simulation.run_for(Duration::from_secs(1), 1000).unwrap();
    let turns = simulation.node(id).unwrap().woken_at.len();
    simulation.run_for(Duration::from_secs(1), 1000).unwrap();
    assert_eq!(simulation.node(id).unwrap().woken_at.len(), turns, "it sleeps");
    bell.ring();
    simulation.run_for(Duration::from_secs(1), 1000).unwrap();
    assert!(simulation.node(id).unwrap().woken_at.len() > turns, "the bell was slept over");
    let error = simulation.run_until(|_| false, 1000).unwrap_err();
    assert!(error.to_string().starts_with("SEED=1: "), "{error}");
    assert!(simulation.world().now() > begin);
}
