//! Recipients that take their bytes slowly, and what the options make of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::{Broker, Kind, LIMIT};

/// Bytes of each message, and how many messages: more than the sockets between hold.
const BYTES: usize = 64 << 10;
const MESSAGES: usize = 256;

/// Reads at a bounded speed, so that a batch takes longer than the deadline, until all is there or the
/// server ends the connection. Returns how many bytes came.
fn read_slowly(mut subscriber: TcpStream, all: usize) -> usize {
    let mut buffer = vec![0; 64 << 10];
    let mut got = 0;
    while got < all {
        // A slow reader is one that pauses; nothing is awaited here.
        std::thread::park_timeout(Duration::from_millis(20));
        match subscriber.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => got += read,
        }
    }
    got
}

fn slow_reader_of(write_timeout: &str) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("server.conf");
    let text = format!("write_deadline: \"200ms\"\nwrite_timeout: {write_timeout}\n");
    std::fs::write(&config, text).unwrap();
    let broker = Broker::start(Kind::Ours { shards: 1 }, &["-c", config.to_str().unwrap()]);
    let connect = || {
        let stream = TcpStream::connect(broker.url().trim_start_matches("nats://")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    };
    let mut subscriber = connect();
    subscriber.write_all(b"CONNECT {\"verbose\":false}\r\nSUB bulk 1\r\nPING\r\n").unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"PONG\r\n") {
        let mut byte = [0];
        subscriber.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    let head = format!("PUB bulk {BYTES}\r\n");
    let message = [head.as_bytes(), &vec![b'x'; BYTES], b"\r\n"].concat();
    let all = MESSAGES * (format!("MSG bulk 1 {BYTES}\r\n").len() + BYTES + 2);
    let mut publisher = connect();
    let publishing = std::thread::spawn(move || {
        publisher.write_all(b"CONNECT {\"verbose\":false}\r\n").unwrap();
        for _ in 0..MESSAGES {
            publisher.write_all(&message).unwrap();
        }
        publisher
    });
    let got = read_slowly(subscriber, all);
    drop(publishing.join().unwrap());
    (got, all)
}

#[test]
fn a_slow_reader_that_makes_progress_gets_everything() {
    for policy in ["default", "retry"] {
        let (got, all) = slow_reader_of(policy);
        assert_eq!(got, all, "write_timeout: {policy}");
    }
}

#[test]
fn a_batch_that_takes_too_long_ends_its_reader_where_that_is_wanted() {
    let (got, all) = slow_reader_of("close");
    assert!(got < all, "{got} of {all} bytes");
}
