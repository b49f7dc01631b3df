//! One suite of behaviours for every ring: what the kernel does and what the simulation claims.
//!
//! A test here knows a ring, a plain peer, and nothing of what is behind them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use ring::{Batch, Direction, EndReason, Errno, Op, Ring, Segment, SendMode, Socket, Token};
use std::sync::Arc;
use std::time::Duration;

use support::bench::{Bench, Seen, accept_end, own, pattern};
use support::{Peer, Reading, World};

/// Makes each function below a test of each ring.
macro_rules! suite {
    ($($name:ident)*) => {
        mod simulated {
            $(#[test] fn $name() { super::every_run(super::$name::<super::support::simulated::Simulated>); })*
        }
        mod kernel {
            $(#[test] fn $name() { super::every_run(super::$name::<super::support::kernel::Kernel>); })*
        }
    };
}

suite! {
    an_accept_gives_out_every_connection_until_it_is_cancelled
    a_connection_made_while_no_accept_is_armed_waits
    bytes_arrive_whole_and_in_order_however_they_were_cut
    bytes_of_two_connections_do_not_mix
    a_receive_that_is_armed_late_gets_what_came_before
    a_try_completes_with_the_very_next_turn
    a_try_is_short_or_refused_when_the_peer_does_not_read
    a_waiting_send_goes_on_when_the_peer_reads
    room_that_is_awaited_comes_when_the_peer_reads
    a_shutdown_ends_a_wait_for_room
    a_peer_that_finishes_ends_a_wait_for_room
    a_waiting_send_does_not_keep_bytes_from_coming_in
    a_receive_for_one_piece_ends_after_it
    an_end_of_file_comes_after_all_bytes
    a_peer_that_has_finished_can_still_be_sent_to
    a_reset_ends_the_receive_with_its_error
    bytes_that_came_before_a_reset_are_given_out_before_it
    only_the_first_operation_hears_of_a_reset
    bytes_that_came_before_a_shutdown_are_given_out_before_its_end
    closing_with_unread_bytes_resets_the_peer
    a_send_to_a_peer_that_is_gone_fails
    a_cancelled_receive_loses_no_byte_and_can_be_armed_again
    cancelling_a_receive_that_has_ended_does_nothing
    shutting_down_for_writing_lets_the_peer_read_everything
    shutting_down_both_ways_ends_a_receive_and_a_waiting_send
    a_receive_without_buffers_ends_and_loses_no_byte
    the_doorbell_ends_a_wait
    a_bell_rung_before_the_wait_is_not_slept_over
    a_dial_reaches_a_listener
    a_dial_to_nobody_is_refused
    nothing_is_heard_of_a_closed_socket
    a_batch_of_many_segments_arrives_byte_for_byte
    a_send_without_copying_ends_with_the_notice_whether_it_was_copied
    a_send_without_copying_that_finds_no_room_goes_on_when_the_peer_reads
    a_send_without_copying_that_finds_no_room_ends_with_the_connection
    an_empty_batch_is_sent_at_once
    tokens_come_back_unchanged
    the_clock_does_not_go_backwards
}

/// Runs a test in every run of a world; the failing one is printed.
fn every_run<W: World>(test: fn(Bench<W>)) {
    for run in 0..W::RUNS {
        let context = Context(run);
        test(Bench::new(run));
        drop(context);
    }
}

/// Says which run it was when a test fails.
struct Context(u64);

impl Drop for Context {
    #[expect(clippy::print_stderr, reason = "a failing test says which run it was")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it failed in run {}", self.0);
        }
    }
}

fn an_accept_gives_out_every_connection_until_it_is_cancelled<W: World>(mut bench: Bench<W>) {
    let (listener, address) = bench.world.listen();
    let accept = bench.push(Op::Accept { listener });
    bench.turn();
    let _peers: Vec<_> = (0..5).map(|_| bench.world.dial(address)).collect();
    let mut sockets: Vec<_> =
        (0..5).map(|_| bench.until(|bench| bench.take_accepted(accept))).collect();
    sockets.sort_unstable();
    sockets.dedup();
    assert_eq!(sockets.len(), 5, "each is a socket of its own");
    bench.push_as(accept, Op::CancelReceive { socket: listener });
    assert_eq!(bench.until(|bench| bench.take(accept, accept_end)), None);
    assert_eq!(bench.count(accept), 0);
}

fn a_connection_made_while_no_accept_is_armed_waits<W: World>(mut bench: Bench<W>) {
    let (listener, address) = bench.world.listen();
    let mut peer = bench.world.dial(address);
    peer.write(b"early");
    bench.turn();
    let accept = bench.push(Op::Accept { listener });
    let socket = bench.until(|bench| bench.take_accepted(accept));
    let receive = bench.push(Op::Receive { socket });
    assert_eq!(bench.receive(receive, 5), b"early");
}

fn bytes_arrive_whole_and_in_order_however_they_were_cut<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let receive = bench.push(Op::Receive { socket });
    let sent = pattern(100_000);
    let (mut rest, mut size) = (sent.as_slice(), 1);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        bench.write_all(&mut peer, piece);
        bench.turn();
        rest = after;
        size = (size * 3) % 20_011;
    }
    let received = receive_all(&mut bench, socket, receive, sent.len());
    assert!(received == sent, "the bytes differ");
}

/// Receives so many bytes, arming again when the buffers were used up.
fn receive_all<W: World>(
    bench: &mut Bench<W>,
    socket: Socket,
    first: Token,
    count: usize,
) -> Vec<u8> {
    receive_while_writing(bench, socket, first, count, || {})
}

/// As `receive_all`, with a peer that writes before each turn.
fn receive_while_writing<W: World>(
    bench: &mut Bench<W>,
    socket: Socket,
    first: Token,
    count: usize,
    mut write: impl FnMut(),
) -> Vec<u8> {
    let (mut receive, mut received) = (first, Vec::new());
    loop {
        let ended = bench.until(|bench| {
            write();
            let ended = bench.log.iter().any(|(of, seen)| *of == receive && is_end(seen));
            let enough = received.len() + bench.bytes(receive).len() >= count;
            (ended || enough).then_some(ended)
        });
        received.extend(bench.bytes(receive));
        if received.len() >= count {
            return received;
        }
        assert!(ended);
        let reason = bench.end_of(receive);
        assert!(matches!(reason, EndReason::NoBuffers | EndReason::Rearm), "{reason:?}");
        receive = bench.push(Op::Receive { socket });
    }
}

fn is_end(seen: &Seen) -> bool {
    matches!(seen, Seen::Ended(_))
}

fn bytes_of_two_connections_do_not_mix<W: World>(mut bench: Bench<W>) {
    let (mut one, one_socket) = bench.connection();
    let (mut two, two_socket) = bench.connection();
    let one_receive = bench.push(Op::Receive { socket: one_socket });
    let two_receive = bench.push(Op::Receive { socket: two_socket });
    for _ in 0..50 {
        bench.write_all(&mut one, b"one ");
        bench.write_all(&mut two, b"two ");
        bench.turn();
    }
    assert_eq!(receive_all(&mut bench, one_socket, one_receive, 200), b"one ".repeat(50));
    assert_eq!(receive_all(&mut bench, two_socket, two_receive, 200), b"two ".repeat(50));
}

fn a_receive_that_is_armed_late_gets_what_came_before<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    bench.write_all(&mut peer, b"before");
    peer.finish();
    bench.turn();
    let receive = bench.push(Op::Receive { socket });
    assert_eq!(bench.end_of(receive), EndReason::Eof);
    assert_eq!(bench.bytes(receive), b"before");
}

fn a_try_completes_with_the_very_next_turn<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    for _ in 0..20 {
        let send = bench.push(Op::Send { socket, batch: own(b"hello"), mode: SendMode::Try });
        bench.turn_for(Duration::ZERO);
        let (batch, bytes, error) = bench.take_sent(send).expect("it is over");
        assert_eq!((batch.remaining(), error), (5, None));
        assert!(bytes <= 5);
        let mut heard = Vec::new();
        bench.until(|_| {
            peer.read(&mut heard);
            (heard.len() >= bytes).then_some(())
        });
        assert_eq!(heard, &b"hello"[..bytes]);
    }
}

fn a_try_is_short_or_refused_when_the_peer_does_not_read<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    read_nothing(&mut peer);
    let taken = bench.fill(socket);
    let mut heard = Vec::new();
    bench.until(|_| {
        peer.read(&mut heard);
        (heard.len() >= taken).then_some(())
    });
    assert_eq!(heard.len(), taken, "the count is what left");
    let heard = bench.send_all(socket, own(b"again"), SendMode::Try, &mut peer);
    assert_eq!(heard, b"again");
}

/// From now on the peer reads only when asked.
fn read_nothing<P: Peer>(peer: &mut P) {
    let mut heard = Vec::new();
    peer.read(&mut heard);
    assert_eq!(heard, b"");
}

fn a_waiting_send_goes_on_when_the_peer_reads<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    read_nothing(&mut peer);
    let taken = bench.fill(socket);
    let sent = pattern(300_000);
    let send = bench.push(Op::Send { socket, batch: own(&sent), mode: SendMode::Wait });
    for _ in 0..5 {
        bench.turn();
    }
    assert_eq!(bench.count(send), 0, "it waits");
    let mut heard = Vec::new();
    let (_, bytes, error) = bench.until(|bench| {
        peer.read(&mut heard);
        bench.take_sent(send)
    });
    assert_eq!(error, None);
    assert!(bytes > 0);
    bench.until(|_| {
        peer.read(&mut heard);
        (heard.len() >= taken + bytes).then_some(())
    });
    assert!(heard[taken..] == sent[..bytes], "the bytes differ");
}

fn room_that_is_awaited_comes_when_the_peer_reads<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let at_once = bench.push(Op::AwaitRoom { socket });
    bench.until(|bench| bench.take_room(at_once));
    read_nothing(&mut peer);
    let taken = bench.fill(socket);
    let room = bench.push(Op::AwaitRoom { socket });
    for _ in 0..5 {
        bench.turn();
    }
    assert_eq!(bench.count(room), 0, "it waits");
    let mut heard = Vec::new();
    bench.until(|bench| {
        peer.read(&mut heard);
        bench.take_room(room)
    });
    heard.extend(bench.send_all(socket, own(b"later"), SendMode::Try, &mut peer));
    hear_later_at_last(&mut bench, &mut peer, heard, taken);
}

/// Reads on until as much has come as the socket had taken, and what was sent after that, which is last.
#[track_caller]
fn hear_later_at_last<W: World>(
    bench: &mut Bench<W>,
    peer: &mut W::Peer,
    mut heard: Vec<u8>,
    taken: usize,
) {
    bench.until(|_| {
        peer.read(&mut heard);
        (heard.len() >= taken + 5).then_some(())
    });
    assert!(heard.ends_with(b"later") && heard.len() == taken + 5);
}

fn a_shutdown_ends_a_wait_for_room<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    read_nothing(&mut peer);
    bench.fill(socket);
    let room = bench.push(Op::AwaitRoom { socket });
    bench.turn();
    assert_eq!(bench.count(room), 0);
    bench.push(Op::Shutdown { socket, how: Direction::Both });
    bench.until(|bench| bench.take_room(room));
    let send = bench.push(Op::Send { socket, batch: own(b"never"), mode: SendMode::Try });
    assert_eq!(bench.sent(send).2, Some(Errno::BROKEN_PIPE));
    bench.push(Op::Close { socket });
    bench.turn();
}

fn a_peer_that_finishes_ends_a_wait_for_room<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    read_nothing(&mut peer);
    let taken = bench.fill(socket);
    peer.finish();
    let room = bench.push(Op::AwaitRoom { socket });
    bench.until(|bench| bench.take_room(room));
    let heard = bench.send_all(socket, own(b"later"), SendMode::Wait, &mut peer);
    hear_later_at_last(&mut bench, &mut peer, heard, taken);
}

fn a_waiting_send_does_not_keep_bytes_from_coming_in<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    read_nothing(&mut peer);
    bench.fill(socket);
    let receive = bench.push(Op::Receive { socket });
    let send = bench.push(Op::Send { socket, batch: own(b"later"), mode: SendMode::Wait });
    bench.write_all(&mut peer, b"PING");
    assert_eq!(bench.receive(receive, 4), b"PING");
    let mut heard = Vec::new();
    let (_, bytes, error) = bench.until(|bench| {
        peer.read(&mut heard);
        bench.take_sent(send)
    });
    assert!(bytes > 0 && error.is_none());
}

fn a_receive_for_one_piece_ends_after_it<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let sent = pattern(300_000);
    bench.write_all(&mut peer, &sent);
    let (mut heard, mut pieces) = (Vec::new(), 0);
    while heard.len() < sent.len() {
        let receive = bench.push(Op::ReceiveOnce { socket });
        let reason = bench.end_of(receive);
        assert!(matches!(reason, EndReason::Rearm | EndReason::NoBuffers), "{reason:?}");
        assert!(bench.count(receive) <= 2, "one piece and the end");
        pieces += bench.count(receive) - 1;
        heard.extend(bench.bytes(receive));
    }
    assert!(heard == sent && pieces > 1, "{pieces} pieces");
    let receive = bench.push(Op::ReceiveOnce { socket });
    bench.push_as(receive, Op::CancelReceive { socket });
    assert_eq!(bench.end_of(receive), EndReason::Cancelled);
}

fn an_end_of_file_comes_after_all_bytes<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let receive = bench.push(Op::Receive { socket });
    let sent = pattern(10_000);
    bench.write_all(&mut peer, &sent);
    peer.close();
    assert_eq!(bench.end_of(receive), EndReason::Eof);
    assert_eq!(bench.bytes(receive), sent);
    bench.push(Op::Close { socket });
    bench.turn();
}

fn a_peer_that_has_finished_can_still_be_sent_to<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let receive = bench.push(Op::Receive { socket });
    peer.finish();
    assert_eq!(bench.end_of(receive), EndReason::Eof);
    let heard = bench.send_all(socket, own(b"goodbye"), SendMode::Try, &mut peer);
    assert_eq!(heard, b"goodbye");
}

fn a_reset_ends_the_receive_with_its_error<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let receive = bench.push(Op::Receive { socket });
    bench.write_all(&mut peer, b"some");
    assert_eq!(bench.receive(receive, 4), b"some");
    peer.reset();
    assert_eq!(bench.end_of(receive), EndReason::Error(Errno::RESET));
    bench.push(Op::Close { socket });
    bench.turn();
}

fn bytes_that_came_before_a_reset_are_given_out_before_it<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    bench.write_all(&mut peer, b"last words");
    peer.reset();
    for _ in 0..5 {
        bench.turn();
    }
    let receive = bench.push(Op::Receive { socket });
    assert_eq!(bench.end_of(receive), EndReason::Error(Errno::RESET));
    assert_eq!(bench.bytes(receive), b"last words");
}

fn only_the_first_operation_hears_of_a_reset<W: World>(mut bench: Bench<W>) {
    let (peer, socket) = bench.connection();
    peer.reset();
    let error = bench.until(|bench| {
        let send = bench.push(Op::Send { socket, batch: own(b"hello?"), mode: SendMode::Try });
        bench.sent(send).2
    });
    assert_eq!(error, Errno::RESET);
    let send = bench.push(Op::Send { socket, batch: own(b"hello?"), mode: SendMode::Try });
    assert_eq!(bench.sent(send).2, Some(Errno::BROKEN_PIPE));
    let receive = bench.push(Op::Receive { socket });
    assert_eq!(bench.end_of(receive), EndReason::Eof);
}

fn bytes_that_came_before_a_shutdown_are_given_out_before_its_end<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    bench.write_all(&mut peer, b"read me");
    for _ in 0..5 {
        bench.turn();
    }
    bench.push(Op::Shutdown { socket, how: Direction::Both });
    let receive = bench.push(Op::Receive { socket });
    assert_eq!(bench.end_of(receive), EndReason::Eof);
    assert_eq!(bench.bytes(receive), b"read me");
}

fn closing_with_unread_bytes_resets_the_peer<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    bench.write_all(&mut peer, b"nobody reads this");
    for _ in 0..5 {
        bench.turn();
    }
    bench.push(Op::Close { socket });
    let reading = bench
        .until(|_| Some(peer.read(&mut Vec::new())).filter(|reading| *reading != Reading::Open));
    assert_eq!(reading, Reading::Broken);
}

fn a_send_to_a_peer_that_is_gone_fails<W: World>(mut bench: Bench<W>) {
    let (peer, socket) = bench.connection();
    peer.close();
    let error = bench.until(|bench| {
        let send = bench.push(Op::Send { socket, batch: own(b"hello?"), mode: SendMode::Try });
        bench.sent(send).2
    });
    assert!([Errno::RESET, Errno::BROKEN_PIPE].contains(&error), "{error:?}");
    let send = bench.push(Op::Send { socket, batch: own(b"hello?"), mode: SendMode::Wait });
    assert_eq!(bench.sent(send).2, Some(Errno::BROKEN_PIPE));
}

fn a_cancelled_receive_loses_no_byte_and_can_be_armed_again<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let sent = pattern(20_000);
    let mut received = Vec::new();
    for piece in sent.chunks(1000) {
        let receive = bench.push(Op::Receive { socket });
        bench.turn();
        bench.write_all(&mut peer, piece);
        bench.push_as(receive, Op::CancelReceive { socket });
        assert_eq!(bench.end_of(receive), EndReason::Cancelled);
        received.extend(bench.bytes(receive));
    }
    let receive = bench.push(Op::Receive { socket });
    received.extend(bench.receive(receive, sent.len() - received.len()));
    assert!(received == sent, "the bytes differ");
    let heard = bench.send_all(socket, own(b"still here"), SendMode::Try, &mut peer);
    assert_eq!(heard, b"still here");
}

fn cancelling_a_receive_that_has_ended_does_nothing<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let first = bench.push(Op::Receive { socket });
    bench.turn();
    bench.push_as(first, Op::CancelReceive { socket });
    assert_eq!(bench.end_of(first), EndReason::Cancelled);
    let second = bench.push(Op::Receive { socket });
    bench.push_as(first, Op::CancelReceive { socket });
    bench.turn();
    bench.write_all(&mut peer, b"heard");
    assert_eq!(bench.receive(second, 5), b"heard");
    assert_eq!(bench.count(first), 1, "an operation ends once");
}

fn shutting_down_for_writing_lets_the_peer_read_everything<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let receive = bench.push(Op::Receive { socket });
    let sent = pattern(30_000);
    let send = bench.push(Op::Send { socket, batch: own(&sent), mode: SendMode::Wait });
    let (_, taken, error) = bench.sent(send);
    assert_eq!(error, None);
    bench.push(Op::Shutdown { socket, how: Direction::Write });
    let mut heard = Vec::new();
    bench.until(|_| (peer.read(&mut heard) == Reading::Eof).then_some(()));
    assert!(heard == sent[..taken], "the bytes differ");
    bench.write_all(&mut peer, b"answer");
    assert_eq!(bench.receive(receive, 6), b"answer");
    peer.close();
    assert_eq!(bench.end_of(receive), EndReason::Eof);
}

fn shutting_down_both_ways_ends_a_receive_and_a_waiting_send<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    read_nothing(&mut peer);
    bench.fill(socket);
    let receive = bench.push(Op::Receive { socket });
    let send = bench.push(Op::Send { socket, batch: own(b"never"), mode: SendMode::Wait });
    bench.turn();
    assert_eq!((bench.count(receive), bench.count(send)), (0, 0));
    bench.push(Op::Shutdown { socket, how: Direction::Both });
    assert_eq!(bench.end_of(receive), EndReason::Eof);
    let (batch, bytes, error) = bench.sent(send);
    assert_eq!((batch.remaining(), bytes, error), (5, 0, Some(Errno::BROKEN_PIPE)));
    bench.push(Op::Close { socket });
    bench.turn();
}

fn a_receive_without_buffers_ends_and_loses_no_byte<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let receive = bench.push(Op::Receive { socket });
    bench.turn();
    bench.holding = true;
    let sent = pattern(W::BUFFERS * 100_000);
    let mut rest = sent.as_slice();
    let reason = bench.until(|bench| {
        rest = &rest[peer.write(rest)..];
        bench.take_end(receive)
    });
    assert_eq!(reason, EndReason::NoBuffers);
    assert!(bench.held.len() <= W::BUFFERS, "{} buffers", bench.held.len());
    let mut received = bench.held.iter().flat_map(|lease| lease.to_vec()).collect::<Vec<_>>();
    assert!(sent.starts_with(&received), "what is held has not changed");
    bench.held.clear();
    bench.holding = false;
    bench.log.clear();
    let receive = bench.push(Op::Receive { socket });
    let left = &sent[received.len()..];
    received.extend(receive_while_writing(&mut bench, socket, receive, left.len(), || {
        rest = &rest[peer.write(rest)..];
    }));
    assert!(received == sent, "the bytes differ");
}

fn the_doorbell_ends_a_wait<W: World>(mut bench: Bench<W>) {
    let bell = bench.world.ring().doorbell();
    for _ in 0..100 {
        let before = bench.world.ring().now();
        bench.world.ring_bell(bell.clone());
        bench.turn_for(Duration::from_secs(60));
        let waited = bench.world.ring().now().since(before);
        assert!(waited < Duration::from_secs(30), "slept {waited:?}");
    }
}

fn a_bell_rung_before_the_wait_is_not_slept_over<W: World>(mut bench: Bench<W>) {
    bench.turn_for(Duration::ZERO);
    bench.world.ring().doorbell().ring();
    let before = bench.world.ring().now();
    bench.turn_for(Duration::from_secs(60));
    let waited = bench.world.ring().now().since(before);
    assert!(waited < Duration::from_secs(30), "slept {waited:?}");
}

fn a_dial_reaches_a_listener<W: World>(mut bench: Bench<W>) {
    let (listener, address) = bench.world.listen();
    let accept = bench.push(Op::Accept { listener });
    let dial = bench.push(Op::Connect { address });
    let near = bench.until(|bench| {
        bench.take(dial, |seen| match seen {
            Seen::Connected(socket) => Some(*socket),
            _ => None,
        })
    });
    let far = bench.until(|bench| bench.take_accepted(accept));
    assert_ne!(near, far);
    let receive = bench.push(Op::Receive { socket: far });
    let mut batch = own(b"from the dialler");
    while batch.remaining() > 0 {
        let send = bench.push(Op::Send { socket: near, batch, mode: SendMode::Wait });
        let (back, bytes, error) = bench.sent(send);
        assert_eq!(error, None);
        batch = back;
        batch.advance(bytes);
    }
    assert_eq!(bench.receive(receive, 16), b"from the dialler");
    bench.push(Op::Close { socket: near });
    assert_eq!(bench.end_of(receive), EndReason::Eof);
}

fn a_dial_to_nobody_is_refused<W: World>(mut bench: Bench<W>) {
    let address = bench.world.nobody();
    let dial = bench.push(Op::Connect { address });
    let error = bench.until(|bench| {
        bench.take(dial, |seen| match seen {
            Seen::ConnectFailed(error) => Some(*error),
            _ => None,
        })
    });
    assert_eq!(error, Errno::REFUSED);
    assert_eq!(bench.count(dial), 0);
}

fn nothing_is_heard_of_a_closed_socket<W: World>(mut bench: Bench<W>) {
    let (mut peer, socket) = bench.connection();
    let receive = bench.push(Op::Receive { socket });
    bench.turn();
    bench.close(socket, Some(receive));
    let heard = bench.count(receive);
    peer.write(b"too late");
    for _ in 0..5 {
        bench.turn();
    }
    assert_eq!(bench.count(receive), heard);
    let mut nothing = Vec::new();
    bench.until(|_| (peer.read(&mut nothing) != Reading::Open).then_some(()));
    assert_eq!(nothing, b"");
}

fn a_batch_of_many_segments_arrives_byte_for_byte<W: World>(mut bench: Bench<W>) {
    for mode in [SendMode::Try, SendMode::Wait, SendMode::ZeroCopy] {
        let (mut peer, socket) = bench.connection();
        let (batch, expected) = motley();
        assert!(batch.segments() > 1000 && batch.remaining() > 1 << 20);
        let heard = bench.send_all(socket, batch, mode, &mut peer);
        assert!(heard == expected, "the bytes differ, {mode:?}");
        bench.close(socket, None);
    }
}

/// A batch of segments of every kind and of all sizes, and what is in it.
fn motley() -> (Batch, Vec<u8>) {
    static FIXED: &[u8] = b"MSG a.subject 1 5\r\n";
    let block = Arc::new(pattern(1 << 20));
    let mut segments = vec![
        Segment::Shared { block: Arc::clone(&block), start: 0, end: 1 << 20 },
        Segment::Static(b""),
    ];
    for number in 0..400_u32 {
        let start = number * 997;
        segments.push(Segment::Static(FIXED));
        segments.push(Segment::Own(pattern(number as usize)));
        segments.push(Segment::Shared { block: Arc::clone(&block), start, end: start + number });
    }
    let bytes = segments.iter().flat_map(|segment| segment.as_slice().to_vec()).collect();
    (Batch::new(segments), bytes)
}

fn a_send_without_copying_ends_with_the_notice_whether_it_was_copied<W: World>(
    mut bench: Bench<W>,
) {
    let (mut peer, socket) = bench.connection();
    let sent = pattern(300_000);
    let (mut at, mut heard) = (0, Vec::new());
    while at < sent.len() {
        let batch = own(&sent[at..]);
        let send = bench.push(Op::Send { socket, batch, mode: SendMode::ZeroCopy });
        let (batch, bytes, copied) = bench.until(|bench| {
            peer.read(&mut heard);
            assert!(bench.count(send) <= 1, "an operation ends once");
            bench.take(send, |seen| match seen {
                Seen::Sent { batch, bytes, error: None, copied } => {
                    Some((batch.slices().collect::<Vec<_>>().concat(), *bytes, *copied))
                }
                _ => None,
            })
        });
        assert!(bytes > 0 && batch == sent[at..], "the batch comes back as it was");
        assert!(bench.world.copies().is_none_or(|copies| copies == copied));
        at += bytes;
    }
    bench.until(|_| {
        peer.read(&mut heard);
        (heard.len() >= sent.len()).then_some(())
    });
    assert!(heard == sent, "the bytes differ");
}

fn a_send_without_copying_that_finds_no_room_goes_on_when_the_peer_reads<W: World>(
    mut bench: Bench<W>,
) {
    let (mut peer, socket) = bench.connection();
    read_nothing(&mut peer);
    let taken = bench.fill(socket);
    let sent = pattern(300_000);
    let send = bench.push(Op::Send { socket, batch: own(&sent), mode: SendMode::ZeroCopy });
    for _ in 0..5 {
        bench.turn();
    }
    assert_eq!(bench.count(send), 0, "it waits");
    let mut heard = Vec::new();
    let (_, bytes, error) = bench.until(|bench| {
        peer.read(&mut heard);
        bench.take_sent(send)
    });
    assert!(bytes > 0 && error.is_none());
    bench.until(|_| {
        peer.read(&mut heard);
        (heard.len() >= taken + bytes).then_some(())
    });
    assert!(heard[taken..] == sent[..bytes], "the bytes differ");
}

fn a_send_without_copying_that_finds_no_room_ends_with_the_connection<W: World>(
    mut bench: Bench<W>,
) {
    let (mut peer, socket) = bench.connection();
    read_nothing(&mut peer);
    bench.fill(socket);
    let send = bench.push(Op::Send { socket, batch: own(b"never"), mode: SendMode::ZeroCopy });
    bench.turn();
    assert_eq!(bench.count(send), 0);
    bench.push(Op::Shutdown { socket, how: Direction::Both });
    let (batch, bytes, error) = bench.sent(send);
    assert_eq!((batch.remaining(), bytes, error), (5, 0, Some(Errno::BROKEN_PIPE)));
    bench.push(Op::Close { socket });
    bench.turn();
}

fn an_empty_batch_is_sent_at_once<W: World>(mut bench: Bench<W>) {
    let (_peer, socket) = bench.connection();
    for mode in [SendMode::Try, SendMode::Wait] {
        let send = bench.push(Op::Send { socket, batch: Batch::default(), mode });
        let (_, bytes, error) = bench.sent(send);
        assert_eq!((bytes, error), (0, None), "{mode:?}");
    }
}

fn tokens_come_back_unchanged<W: World>(mut bench: Bench<W>) {
    let extreme = |index| Token::new(index, 0x00ff_ffff);
    let (listener, address) = bench.world.listen();
    let (accept, dial) = (extreme(u32::MAX), extreme(0));
    bench.push_as(accept, Op::Accept { listener });
    bench.push_as(dial, Op::Connect { address });
    let socket = bench.until(|bench| bench.take_accepted(accept));
    bench.until(|bench| (bench.count(dial) == 1).then_some(()));
    let (receive, send) = (extreme(u32::MAX - 1), Token::new(u32::MAX, 0x0080_0001));
    bench.push_as(receive, Op::Receive { socket });
    bench.push_as(send, Op::Send { socket, batch: own(b"x"), mode: SendMode::Wait });
    assert_eq!(bench.sent(send).1, 1);
    bench.push_as(receive, Op::CancelReceive { socket });
    assert_eq!(bench.end_of(receive), EndReason::Cancelled);
    assert_eq!(bench.count(Token::new(0, 0)), 0);
}

fn the_clock_does_not_go_backwards<W: World>(mut bench: Bench<W>) {
    let mut last = bench.world.ring().now();
    for _ in 0..50 {
        bench.turn_for(Duration::from_micros(100));
        bench.world.pass();
        let now = bench.world.ring().now();
        assert!(now >= last);
        assert!(bench.world.ring().clock() >= now);
        last = now;
    }
}
