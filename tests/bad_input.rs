//! Bad input: whatever clients send, the broker goes on serving, and nothing of them is left in it.
//!
//! Every stream has a connection of its own and comes from a number: parts of real conversations, cut,
//! doubled, mixed and with bytes changed, or noise. `STREAMS=1000000 cargo test --release --test
//! bad_input` plays so many; `SHARDS=2 FIRST=n STREAMS=m` plays some of them again with so many shards.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a long run tells how far it is")]

mod blame;
mod damage;
mod pour;
mod support;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use damage::damage;
use pour::{play_all, pour};
use serde_json::Value;
use support::{Broker, Kind, LIMIT, poll};

/// Streams that are played when nobody asks for more, in all.
const STREAMS_USUAL: u64 = 6_000;
/// The longest stream that is made of parts; noise is shorter.
const STREAM_BYTES_MAX: usize = 24 << 10;
#[test]
fn whatever_clients_send_the_broker_serves_on_and_keeps_nothing_of_them() {
    play_all(STREAMS_USUAL, &[1, 2, 4], play);
}

/// Plays some streams against one broker.
fn play(shards: u8, from: u64, count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("server.conf");
    // Few closed connections are remembered, and their timers end soon: what is kept of clients that
    // are gone is bounded by time, and a fast machine would see it grow for minutes.
    let bounds = "max_closed_clients: 100\nmax_payload: 16K\nmax_pending: 1M\nping_interval: 2s\n";
    std::fs::write(&config, bounds).unwrap();
    let args = ["-m", "-1", "-c", config.to_str().unwrap()];
    let broker = Broker::start(Kind::Ours { shards }, &args);
    let monitor = Monitor::of(&broker);
    pour(
        shards,
        (from, count),
        |number| pour_one(broker.port, number),
        || serves(&broker),
        || monitor.at_rest(),
    );
    let closed = monitor.ask("/connz?state=closed");
    assert_eq!(closed["total"], 100, "of all shards together");
}

/// Sends one stream and ends its connection in one of three ways.
fn pour_one(port: u16, number: u64) {
    let mut random = fastrand::Rng::with_seed(number);
    let stream = make(&mut random);
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the broker accepts");
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.set_write_timeout(Some(LIMIT)).unwrap();
    let pieces = if random.u8(..) < 200 { 1 } else { random.usize(2..6) };
    for piece in stream.chunks(stream.len().div_ceil(pieces).max(1)) {
        // The broker may have closed the connection by now, as it should.
        if socket.write_all(piece).is_err() {
            return;
        }
    }
    match random.u8(..4) {
        // Gone without a word; unread bytes turn it into a reset.
        0 => {}
        // Everything was said: the broker answers what there is to answer, and closes.
        _ => {
            if socket.shutdown(Shutdown::Write).is_ok() {
                read_to_end(&mut socket);
            }
        }
    }
}

fn read_to_end(socket: &mut TcpStream) {
    let mut buffer = [0; 16 << 10];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the broker does not close a connection that has ended");
            }
            Err(_) => return,
        }
    }
}

// --- Streams ---

/// What real conversations are made of, and what resembles it.
const PARTS: &[&str] = &[
    "CONNECT {}\r\n",
    "CONNECT {\"verbose\":false,\"pedantic\":true,\"headers\":true,\"no_responders\":true}\r\n",
    "CONNECT {\"echo\":false,\"protocol\":1,\"lang\":\"x\",\"name\":\"\\u0000\\ud800\",\"user\":null}\r\n",
    "CONNECT {\"protocol\":99999999999999999999,\"verbose\":1}\r\n",
    "CONNECT {\"a\":[[[[[[[[[[[[[[[[{}]]]]]]]]]]]]]]]]}\r\n",
    "PING\r\n",
    "PONG\r\n",
    "ping\r\nPiNg\r\n",
    "SUB a 1\r\n",
    "SUB > 2\r\n",
    "SUB *.b.> q 3\r\n",
    "SUB a..b 4\r\n",
    "SUB a.>.b 5\r\n",
    "SUB  a\tq  6 \r\n",
    "UNSUB 1\r\n",
    "UNSUB 2 5\r\n",
    "UNSUB 3 18446744073709551616\r\n",
    "PUB a 5\r\nhello\r\n",
    "PUB a b 0\r\n\r\n",
    "PUB a.b.c _INBOX.x 11\r\nhello world\r\n",
    "PUB a 4294967295\r\n",
    "PUB a -1\r\n",
    "PUB a 16385\r\n",
    "PUB > 2\r\nhi\r\n",
    "HPUB a 12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
    "HPUB a r 23 23\r\nNATS/1.0\r\nA: b\r\nC:d\r\n\r\n\r\n",
    "HPUB a 99 12\r\nNATS/1.0\r\n\r\n\r\n",
    "HPUB a 2 2\r\nhi\r\n",
    "INFO {\"server_id\":\"x\"}\r\n",
    "+OK\r\n",
    "-ERR 'no'\r\n",
    "MSG a 1 5\r\nhello\r\n",
    "RMSG $G a 5\r\nhello\r\n",
    "RS+ $G a q 1\r\nRS- $G a\r\n",
    "A+ x\r\nA- x\r\n",
    "LS+ a\r\nLMSG a 2\r\nhi\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "\r\n",
    "\n",
    " ",
    "\0",
    "\u{16}\u{3}\u{1}\u{2}\u{0}",
];

/// A stream: some parts, then some damage; one in eight is noise.
fn make(random: &mut fastrand::Rng) -> Vec<u8> {
    if random.u8(..8) == 0 {
        let len = random.usize(..2048);
        return std::iter::repeat_with(|| random.u8(..)).take(len).collect();
    }
    let mut stream = Vec::new();
    for _ in 0..random.usize(1..16) {
        part(&mut stream, random);
    }
    for _ in 0..random.usize(..6) {
        damage(&mut stream, random);
    }
    stream.truncate(STREAM_BYTES_MAX);
    stream
}

fn part(stream: &mut Vec<u8>, random: &mut fastrand::Rng) {
    match random.u8(..16) {
        // A line of any length, also beyond what a control line may have.
        0 => {
            let verb = *random.choice(&["PUB ", "SUB ", "CONNECT {\"name\":\"", ""]).unwrap();
            stream.extend_from_slice(verb.as_bytes());
            let byte = *random.choice(b"a. \t\"{[").unwrap();
            stream.resize(stream.len() + random.usize(..6000), byte);
            stream.extend_from_slice(b" 1\r\n");
        }
        // A payload of any length, announced right or wrong.
        1 => {
            let len = random.usize(..18_000);
            let announced = if random.bool() { len } else { random.usize(..20_000) };
            let mut line = String::new();
            write!(line, "PUB a {announced}\r\n").unwrap();
            stream.extend_from_slice(line.as_bytes());
            stream.resize(stream.len() + len, b'x');
            stream.extend_from_slice(b"\r\n");
        }
        // Many subscriptions of one connection.
        2 => {
            for sid in 0..random.usize(..100) {
                let mut line = String::new();
                write!(line, "SUB s.{}.* {sid}\r\n", random.u16(..)).unwrap();
                stream.extend_from_slice(line.as_bytes());
            }
        }
        _ => stream.extend_from_slice(random.choice(PARTS).unwrap().as_bytes()),
    }
}

// --- What is left ---

/// A conversation as usual.
fn serves(broker: &Broker) {
    let mut socket = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
        .write_all(b"CONNECT {\"verbose\":false}\r\nSUB well 1\r\nPUB well 2\r\nhi\r\nPING\r\n")
        .unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !heard.ends_with(b"PONG\r\n") {
        let count = socket.read(&mut buffer).unwrap();
        assert!(count > 0, "the broker closes: {:?}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&buffer[..count]);
    }
    assert!(String::from_utf8_lossy(&heard).contains("MSG well 1 2\r\nhi\r\n"));
}

/// The broker's monitoring.
struct Monitor(String);

impl Monitor {
    fn of(broker: &Broker) -> Self {
        Self(broker.monitor())
    }

    fn varz(&self) -> Value {
        self.ask("/varz")
    }

    fn ask(&self, path: &str) -> Value {
        let mut socket = TcpStream::connect(&self.0).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        serde_json::from_str(body).unwrap()
    }

    /// Waits until nobody is connected and nothing is subscribed; the memory then.
    fn at_rest(&self) -> u64 {
        let rest = poll(|| {
            let varz = self.varz();
            let left = (varz["connections"].as_u64(), varz["subscriptions"].as_u64());
            (left == (Some(0), Some(0))).then(|| varz["mem"].as_u64().unwrap())
        });
        rest.unwrap_or_else(|| panic!("something is left: {:#}", self.varz()))
    }
}
