//! Received bytes to operations: a receive buffer full of lines, with the payloads between them.

use std::hint::black_box;

use criterion::Criterion;
use ringmesh::ids::AccountId;
use ringmesh::limits::MAX_CONTROL_LINE_DEFAULT;
use ringmesh::proto::client::{self, ClientOp};
use ringmesh::proto::route::{self, RouteOp};
use ringmesh::session::Line;

use crate::throughput;

/// What is read, a line by its number, and by whom.
type Case = (&'static str, fn(usize) -> String, fn(&[u8]) -> usize);

const CASES: &[Case] = &[
    ("client/pub", |n| format!("PUB orders.{n} 4\r\nabcd\r\n"), client_lines),
    ("client/pub reply", |n| format!("PUB orders.{n} _INBOX.{n} 4\r\nabcd\r\n"), client_lines),
    ("client/hpub", |n| format!("HPUB orders.{n} 12 16\r\n{HEADERS}abcd\r\n"), client_lines),
    // Not as clients write it, so that the parser for any line has to look.
    ("client/pub spaced", |n| format!("PUB  orders.{n} 4\r\nabcd\r\n"), client_lines),
    ("client/pub repeated", |_| "PUB orders.eu 4\r\nabcd\r\n".to_owned(), repeated_lines),
    ("client/sub", |n| format!("SUB orders.{n}.* {n}\r\n"), client_lines),
    ("client/sub queue", |n| format!("SUB orders.{n}.* workers {n}\r\n"), client_lines),
    ("route/rmsg", |n| format!("RMSG $G orders.{n} 4\r\nabcd\r\n"), route_lines),
    ("route/rmsg queue", |n| format!("RMSG $G orders.{n} | workers 4\r\nabcd\r\n"), route_lines),
    ("route/hmsg", |n| format!("HMSG $G orders.{n} 12 16\r\n{HEADERS}abcd\r\n"), route_lines),
    ("route/rs+", |n| format!("RS+ $G orders.{n}.*\r\n"), route_lines),
];

const HEADERS: &str = "NATS/1.0\r\n\r\n";

const BUFFER_LEN: usize = 64 << 10;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for &(name, line, parse) in CASES {
        let (buffer, count) = fill(line);
        assert_eq!(parse(&buffer), count, "{name}");
        group.throughput(throughput(count, buffer.len()));
        group.bench_function(name, |bencher| bencher.iter(|| parse(black_box(&buffer))));
    }
}

/// As many lines as a receive buffer holds, and how many they are.
fn fill(line: fn(usize) -> String) -> (Vec<u8>, usize) {
    let (mut buffer, mut count) = (Vec::with_capacity(BUFFER_LEN), 0);
    loop {
        let next = line(count % 1000);
        if buffer.len() + next.len() > BUFFER_LEN {
            return (buffer, count);
        }
        buffer.extend_from_slice(next.as_bytes());
        count += 1;
    }
}

fn client_lines(mut buffer: &[u8]) -> usize {
    let mut count = 0;
    while let client::Step::Op { op, line_len } = client::next(buffer, MAX_CONTROL_LINE_DEFAULT) {
        buffer = &buffer[line_len..];
        if let ClientOp::Publish(publish) = op {
            black_box(publish.subject);
            buffer = &buffer[publish.size as usize..];
            assert_eq!(client::payload_end(buffer), Ok(true));
            buffer = &buffer[2..];
        }
        count += 1;
    }
    count
}

/// A publisher that repeats its line is compared with it, not parsed.
fn repeated_lines(buffer: &[u8]) -> usize {
    let client::Step::Op { op: ClientOp::Publish(publish), line_len } =
        client::next(buffer, MAX_CONTROL_LINE_DEFAULT)
    else {
        return 0;
    };
    let mut line = Line::default();
    line.remember(&buffer[..line_len], publish.size, AccountId::GLOBAL);
    line.count(buffer).0
}

fn route_lines(mut buffer: &[u8]) -> usize {
    let mut count = 0;
    while let route::Step::Op { op, line_len } = route::next(buffer, true) {
        buffer = &buffer[line_len..];
        if let RouteOp::Message(message) = op {
            black_box(message.subject);
            buffer = &buffer[message.size as usize..];
            assert_eq!(route::payload_end(buffer), Ok(true));
            buffer = &buffer[2..];
        }
        count += 1;
    }
    count
}
