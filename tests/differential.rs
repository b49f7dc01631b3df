//! Random conversations, right and wrong, on which the real server and Ringmesh must agree.
//!
//! Each seed makes one stream of bytes: operations, some of them broken, that end in a violation so
//! that every conversation ends. What the two servers answer is compared line by line; only the
//! order of deliveries and how often a pedantic publisher is warned are left out, because
//! nats-server itself varies there. After all of it the broker must still serve.
//!
//! `DIFFERENTIAL_SEEDS=100000 cargo test --test differential` plays more of them;
//! `DIFFERENTIAL_SEED=7` plays one and is what a failure names.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use support::{Broker, Kind, LIMIT};

const SEEDS: u64 = 400;

#[test]
fn random_conversations_end_as_with_the_real_server() {
    let real = Broker::start(Kind::Real, &[] as &[&str]);
    let ours: Vec<_> = [1, 2, 4]
        .map(|shards| Kind::Ours { shards })
        .into_iter()
        .map(|kind| (kind, Broker::start(kind, &[] as &[&str])))
        .collect();
    for seed in seeds() {
        let stream = Conversation::new(seed).into_bytes();
        let expected = answer(&real, &stream);
        for (kind, broker) in &ours {
            let found = answer(broker, &stream);
            assert_eq!(
                found,
                expected,
                "{kind}, DIFFERENTIAL_SEED={seed}\n{}",
                stream.escape_ascii().to_string().replace("\\r\\n", "\n")
            );
        }
    }
    for (_, broker) in &ours {
        let probe = b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPUB a 2\r\nhi\r\nend\r\n";
        assert_eq!(answer(broker, probe)[0], r"-ERR \'Unknown Protocol Operation\'");
        assert_eq!(answer(broker, probe)[1..], ["MSG a 1 2", "hi"]);
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("DIFFERENTIAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DIFFERENTIAL_SEEDS").unwrap_or(SEEDS),
    }
}

/// What a server says to a stream, without its INFO, sorted.
fn answer(broker: &Broker, stream: &[u8]) -> Vec<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    // The server may close before it has all of it.
    let _ = connection.write_all(stream);
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = connection.read(&mut chunk) {
        heard.extend_from_slice(&chunk[..length]);
    }
    let _ = connection.shutdown(Shutdown::Both);
    let mut lines: Vec<String> = heard
        .escape_ascii()
        .to_string()
        .split("\\r\\n")
        .filter(|line| !line.is_empty() && !line.starts_with("INFO "))
        .filter(|line| !line.contains("Invalid Publish Subject"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

/// A stream in the making.
struct Conversation {
    chance: fastrand::Rng,
    bytes: Vec<u8>,
}

impl Conversation {
    fn new(seed: u64) -> Self {
        Self { chance: fastrand::Rng::with_seed(seed), bytes: Vec::new() }
    }

    fn into_bytes(mut self) -> Vec<u8> {
        if self.chance.u8(0..10) > 0 {
            self.connect();
        }
        for _ in 0..self.chance.usize(1..30) {
            self.operation();
        }
        // Whatever the server waits for, a payload or a verb, this many empty lines end it.
        self.bytes.extend(b"\r\n".repeat(200));
        self.bytes
    }

    fn operation(&mut self) {
        match self.chance.u8(0..100) {
            0..30 => self.publish(),
            30..45 => self.publish_with_headers(),
            45..70 => self.subscribe(),
            70..80 => self.unsubscribe(),
            80..90 => self.line("PING"),
            90..93 => self.line("PONG"),
            93..95 => self.connect(),
            95..96 => self.line("+OK"),
            96..97 => self.line("INFO {}"),
            _ => self.nonsense(),
        }
    }

    fn connect(&mut self) {
        let mut fields = Vec::new();
        // Not no_responders: a subscription of the conversation before may linger for a moment.
        for name in ["verbose", "pedantic", "echo", "headers"] {
            match self.chance.u8(0..20) {
                0..7 => fields.push(format!("\"{name}\":true")),
                7..12 => fields.push(format!("\"{name}\":false")),
                12 => fields.push(format!("\"{name}\":null")),
                13 => fields.push(format!("\"{}\":true", name.to_uppercase())),
                _ => {}
            }
        }
        // Protocol 1 would bring a second INFO, whose place among the answers is its own test.
        fields.push(self.pick(&[
            "\"protocol\":0",
            "\"name\":\"n\"",
            "\"x\":[{}]",
            "\"lang\":\"\"",
        ]));
        if self.chance.u8(0..40) == 0 {
            fields.push(self.pick(&["\"protocol\":3", "\"verbose\":1", "\"user\":5", "}", "\"\""]));
        }
        self.line(&format!("CONNECT {{{}}}", fields.join(",")));
    }

    fn publish(&mut self) {
        let (subject, size) = (self.subject(), self.chance.usize(0..40));
        let reply = self.reply();
        let verb = self.pick(&["PUB", "PUB", "PUB", "pub", "Pub"]);
        let claimed = self.claim(size);
        self.line(&format!("{verb} {subject}{reply} {claimed}"));
        self.payload(size);
    }

    fn publish_with_headers(&mut self) {
        let (subject, reply) = (self.subject(), self.reply());
        let body = self.chance.usize(0..20);
        let headers = "NATS/1.0\r\nA: b\r\n\r\n";
        let (length, total) = (self.claim(headers.len()), self.claim(headers.len() + body));
        self.line(&format!("HPUB {subject}{reply} {length} {total}"));
        self.bytes.extend(headers.bytes());
        self.payload(body);
    }

    fn subscribe(&mut self) {
        let (subject, sid) = (self.subject(), self.chance.u8(1..9));
        // A group of its own for each sid: which member is picked is chance.
        let group = if self.chance.u8(0..4) == 0 { format!(" g{sid}") } else { String::new() };
        let space = self.pick(&[" ", " ", " ", "\t", "  "]);
        self.line(&format!("SUB{space}{subject}{group}{space}{sid}"));
    }

    fn unsubscribe(&mut self) {
        let sid = self.chance.u8(1..9);
        let max = match self.chance.u8(0..10) {
            0..5 => String::new(),
            5..9 => format!(" {}", self.chance.u8(0..5)),
            _ => " x".to_owned(),
        };
        self.line(&format!("UNSUB {sid}{max}"));
    }

    fn nonsense(&mut self) {
        let text = self.pick(&[
            "PUB",
            "PUB a",
            "PUB a b c 1",
            "SUB",
            "SUB a",
            "SUB a b c d",
            "UNSUB",
            "HPUB a 1",
            "MSG a 1 1",
            "-ERR 'x'",
            "P",
            "HELLO",
            "PUBa 1",
            "PING ",
            "PINGx",
            " PING",
            "\tPING",
            "CONNECT",
            "CONNECT {",
            "RS+ a",
            "\u{0}",
            "SUB a 1 ",
            "PUB a 1x",
            "PUB a -1",
            "PUB a 0x1",
            "UNSUB 1 1 1",
            "GET / HTTP/1.1",
        ]);
        self.line(&text);
    }

    /// Mostly what matches something, at times what is no subject.
    fn subject(&mut self) -> String {
        let mut subject = String::new();
        for index in 0..self.chance.usize(1..4) {
            let dot = if index == 0 { "" } else { "." };
            let token = match self.chance.u8(0..40) {
                0..30 => self.pick(&["a", "b"]),
                30..35 => "*".to_owned(),
                35..38 => ">".to_owned(),
                38 => self.pick(&["*a", "a>", "**", "$SYS", "_INBOX"]),
                _ => String::new(),
            };
            write!(subject, "{dot}{token}").unwrap();
        }
        subject
    }

    fn reply(&mut self) -> String {
        match self.chance.u8(0..10) {
            0..6 => String::new(),
            6..9 => format!(" {}", self.pick(&["a", "b", "a.b", "b.a", "r.1"])),
            _ => format!(" {}", self.pick(&["_R_.x", "$JS.ACK.x", "*", "a..b"])),
        }
    }

    /// A size as it is written: at times not the right one.
    fn claim(&mut self, size: usize) -> String {
        match self.chance.u8(0..60) {
            0 => (size + 1).to_string(),
            1 => size.saturating_sub(1).to_string(),
            3 => self.pick(&["2000000", "-1", "1.0", "9999999999"]),
            _ => size.to_string(),
        }
    }

    fn payload(&mut self, size: usize) {
        let fill = self.pick(&["x", "PING\r\n", "\r\n"]);
        let bytes: Vec<u8> = fill.bytes().cycle().take(size).collect();
        self.bytes.extend(bytes);
        self.bytes.extend(b"\r\n");
    }

    fn line(&mut self, text: &str) {
        self.bytes.extend(text.bytes());
        self.bytes.extend(if self.chance.u8(0..12) == 0 { &b"\n"[..] } else { b"\r\n" });
    }

    fn pick(&mut self, choices: &[&str]) -> String {
        (*self.chance.choice(choices).unwrap()).to_owned()
    }
}
