//! Any bytes at all from clients: the server lives, says only what is documented, says the same
//! however the bytes are cut, and keeps nothing of those who are gone.
//!
//! `STREAMS=n cargo test --test streams` sends so many instead of the usual number, and `SEED=n`
//! begins with that one; a failure prints its number.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a failure names its seed")]
#![allow(unreachable_pub, reason = "a test binary has no public interface")]

mod blame;
#[path = "streams/foresight.rs"]
mod foresight;
#[path = "streams/heard.rs"]
mod heard;
#[path = "streams/make.rs"]
mod make;
#[path = "sim/server.rs"]
#[expect(dead_code, reason = "the simulations use all of it")]
mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::sim::{Faults, SimOptions};
use ringmesh::engine::Control;
use ringmesh::report::ReportRequest;

use blame::Blame;
use foresight::{Foresight, foresee};
use heard::Heard;
use server::{Config, Server};

/// How many streams one server sees, one after the other.
const STREAMS_PER_SERVER: u64 = 250;

/// Small enough that streams come across it.
const MAX_PAYLOAD: u32 = 12_000;

#[test]
fn a_server_answers_any_stream_as_documented_however_it_is_cut() {
    let number = |key, usual| {
        std::env::var(key).map_or(usual, |text| text.parse::<u64>().expect("a number"))
    };
    let (first, count) = (number("SEED", 0), number("STREAMS", 20_000));
    let mut tally = Tally::default();
    for from in (first..first + count).step_by(usize::try_from(STREAMS_PER_SERVER).unwrap()) {
        let to = (first + count).min(from + STREAMS_PER_SERVER);
        play(from, to, &mut tally);
    }
    eprintln!("{tally:?}");
    if count >= 10_000 {
        assert!(tally.closed > count / 10 && tally.stayed > count / 10, "{tally:?}");
        assert!(tally.messages > count / 10 && tally.errors > count / 50, "{tally:?}");
    }
}

/// What streams came to, so that nobody tests nothing.
#[derive(Debug, Default)]
struct Tally {
    stayed: u64,
    closed: u64,
    errors: u64,
    messages: u64,
}

/// Plays some streams, each to a server that sees it in one piece and to one that sees it cut.
fn play(from: u64, to: u64, tally: &mut Tally) {
    let start = |faults| {
        let world = SimOptions { seed: from, faults, ..SimOptions::default() };
        Server::start(&Config { shards: 2, world, max_payload: MAX_PAYLOAD, ..Config::default() })
    };
    let mut smooth = start(Faults::NONE);
    let mut rough = start(Faults::lossless(from));
    for number in from..to {
        let _blame = blame(number);
        let mut rng = fastrand::Rng::with_seed(number);
        let stream = make::stream(&mut rng);
        let whole = send(&mut smooth, &[&stream]);
        let cut = send(&mut rough, &make::cut(&mut rng, &stream));
        let shown = stream.escape_ascii();
        assert_eq!(whole.shown(), cut.shown(), "whole and cut: {shown}");
        assert_eq!(whole.end.is_some(), cut.end.is_some(), "whole and cut: {shown}");
        check(&whole, &foresee(&stream, MAX_PAYLOAD), &shown.to_string());
        tally.stayed += u64::from(whole.end.is_none());
        tally.closed += u64::from(whole.end.is_some());
        tally.errors += u64::from(whole.errors() > 0);
        tally.messages += u64::from(whole.messages() > 0);
    }
    let _blame = blame(to - 1);
    for mut server in [smooth, rough] {
        check_nothing_kept(&mut server);
        server.end();
    }
}

/// Sends a stream as one client's, and hears what comes back until nothing more does.
fn send(server: &mut Server, pieces: &[&[u8]]) -> Heard {
    /// Longer than a large message is under way in many small pieces.
    const QUIET: Duration = Duration::from_secs(1);
    let peer = server.sim.world().dial(server.address);
    server.run_until("INFO", || peer.received().ends_with(b"\r\n"));
    for piece in pieces {
        if peer.ended().is_some() {
            break;
        }
        peer.send(piece);
        for _ in 0..4 {
            server.step();
        }
    }
    server.run_for(QUIET);
    let end = peer.ended();
    let heard = Heard::parse(&peer.take(), end);
    peer.close();
    server.run_for(QUIET);
    heard
}

#[track_caller]
fn check(heard: &Heard, foreseen: &Foresight, stream: &str) {
    assert_eq!(heard.end.is_some(), foreseen.closes, "closed: {stream}");
    assert_eq!(heard.pongs(), foreseen.pongs, "answers to PING: {stream}");
    assert_eq!(heard.last_error(), foreseen.error, "the last words: {stream}");
}

/// Nobody is connected any more, and nothing that they had is there.
#[track_caller]
fn check_nothing_kept(server: &mut Server) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    for shard in 0..server.shards {
        let reports = Arc::clone(&reports);
        let answer = Box::new(move |report| reports.lock().unwrap().push(report));
        server.tell(shard, Control::Report { request: ReportRequest::default(), answer });
    }
    let wanted = usize::from(server.shards);
    server.run_until("every shard reports", || reports.lock().unwrap().len() == wanted);
    for report in reports.lock().unwrap().iter() {
        assert_eq!(report.connections_open, 0, "connections are open");
        assert_eq!(report.subscriptions_open, 0, "subscriptions are left");
        assert_eq!(report.sublist.subscriptions, 0, "filters are left");
        assert_eq!(report.pending_bytes, 0, "bytes are queued");
        assert_eq!(report.held_publishers, 0, "publishers are held");
    }
    for node in server.sim.nodes() {
        assert_eq!(node.0.ring_mut().leases_held(), 0, "receive buffers are held");
    }
}

/// Says how to play a stream again when the test fails.
fn blame(number: u64) -> Blame<impl Fn() -> String> {
    Blame(move || format!("SEED={number} STREAMS=1 cargo test --test streams"))
}
