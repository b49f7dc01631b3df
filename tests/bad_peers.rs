//! Peers of a cluster that do what they must not: each gets the documented answer, and the server
//! goes on.
//!
//! The tables are lines that a peer says and what must come of them; nats-server has to give these
//! answers first. A peer here is a bare socket on the cluster port.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mesh;
mod support;

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

use mesh::certificates::Authority;
use mesh::layout::{layouts, on_each};
use mesh::{Cluster, Layout, Plan, on_each_layout};
use ringmesh::transport::{Level, Scratch, Transport};
use support::{LIMIT, poll};

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// An error with this text, and the end.
    Error(&'static str),
    /// The end without an error.
    Silence,
    /// The connection goes on, after an error with this text if there is one.
    GoesOn(&'static str),
}

use Answer::{Error, GoesOn, Silence};

/// What a good peer says to be let in. `{id}` and `{name}` are fresh in every case.
const CONNECT: &str = "CONNECT {\"echo\":true,\"verbose\":false,\"pedantic\":false,\
    \"tls_required\":false,\"headers\":true,\"name\":\"{id}\",\"cluster\":\"mesh\",\
    \"lnoc\":true,\"ln\":true}\r\n";
const INFO: &str = "INFO {\"server_id\":\"{id}\",\"server_name\":\"{name}\",\
    \"version\":\"2.15.1\",\"proto\":2,\"go\":\"rust\",\"host\":\"127.0.0.1\",\"port\":1,\
    \"headers\":true,\"max_payload\":1048576,\"cluster\":\"mesh\",\"compression\":\"off\",\
    \"lnoc\":true,\"lnocu\":true,\"ln\":true,\"route_pool_size\":3} \r\n";

/// Said by who is nobody yet.
const STRANGERS: &[(&str, Answer)] = &[
    ("PING\r\n", Error("Authorization Violation")),
    ("INFO {}\r\n", Error("Authorization Violation")),
    ("RS+ $G foo\r\n", Error("Authorization Violation")),
    ("GET / HTTP/1.1\r\n", Error("Authorization Violation")),
    ("\x16\x03\x01\x02\x00\x01", Error("Authorization Violation")),
    ("CONNECT {bad\r\n", Silence),
    ("CONNECT \r\n", Silence),
    (
        "CONNECT {\"lang\":\"go\",\"name\":\"{id}\",\"cluster\":\"mesh\"}\r\n",
        Error("attempted to connect to route port"),
    ),
    (
        "CONNECT {\"gateway\":\"GW\",\"name\":\"{id}\",\"cluster\":\"mesh\"}\r\n",
        Error("Rejecting connection from gateway \"GW\" on the Route port"),
    ),
    (
        "CONNECT {\"name\":\"{id}\",\"cluster\":\"other\"}\r\n",
        Error("Rejecting connection, cluster name \"other\" does not match \"mesh\""),
    ),
    (
        "CONNECT {\"name\":\"{id}\"}\r\n",
        Error("Rejecting connection, cluster name \"\" does not match \"mesh\""),
    ),
    (
        "CONNECT {\"name\":\"{id}\",\"cluster\":\"_\"}\r\n",
        Error("Rejecting connection, cluster name \"_\" is reserved"),
    ),
];

/// Said after a good CONNECT. The first word of each pair replaces the second in a good INFO.
const INTRODUCTIONS: &[(&str, &str, Answer)] = &[
    ("\"server_id\":\"{id}\"", "\"server_id\":\"{server_id}\"", Silence),
    ("\"server_name\":\"{name}\"", "\"server_name\":\"a\"", Silence),
    ("\"cluster\":\"mesh\"", "\"cluster\":\"other\"", Silence),
    ("\"cluster\":\"mesh\"", "\"cluster\":\"_\"", Silence),
    (
        "\"route_pool_size\":3",
        "\"route_pool_size\":3,\"route_pool_idx\":3",
        Error("Invalid route pool index: 3 - pool size is 3"),
    ),
    (
        "\"compression\":\"off\"",
        "\"compression\":\"zstd\"",
        Error("unsupported route compression mode \"zstd\""),
    ),
    (
        "\"route_pool_size\":3",
        "\"route_pool_size\":3,\"route_account\":\"NOPE\"",
        Error("Unable to lookup account \"NOPE\": account missing"),
    ),
    (
        "\"route_pool_size\":3",
        "\"route_pool_size\":3,\"route_account\":\"$G\"",
        Error("No route for account \"$G\""),
    ),
    (
        ",\"route_pool_size\":3",
        ",\"route_account\":\"$SYS\"",
        Error("Not possible to have a dedicated route for account \"$SYS\" between those servers"),
    ),
    ("{\"server_id\"", "{bad,\"server_id\"", Silence),
    ("\"port\":1", "\"port\":\"one\"", Silence),
    ("\"port\":1", "\"port\":1,\"unknown\":{\"deep\":[1,2,{}]}", GoesOn("")),
    ("\"route_pool_size\":3", "\"route_pool_size\":3,\"route_pool_idx\":2", GoesOn("")),
    ("\"route_pool_size\":3", "\"route_pool_size\":3,\"route_account\":\"$SYS\"", GoesOn("")),
];

/// Said by a member.
const MEMBERS: &[(&str, Answer)] = &[
    ("PING\r\n", GoesOn("")),
    ("PING xyz\r\n", GoesOn("")),
    ("ping\r\n", GoesOn("")),
    ("PING\n", GoesOn("")),
    ("PONG\r\n", GoesOn("")),
    ("+OK\r\n", GoesOn("")),
    ("XYZ\r\n", Error("Unknown Protocol Operation")),
    ("RX+ $G foo\r\n", Error("Unknown Protocol Operation")),
    ("MSG foo 1 2\r\nhi\r\n", Error("Unknown Protocol Operation")),
    ("\r\n", Error("Unknown Protocol Operation")),
    ("-ERR 'I do not like you'\r\n", Silence),
    // A second CONNECT is let pass.
    ("CONNECT {\"name\":\"{id}\",\"cluster\":\"mesh\"}\r\n", GoesOn("")),
    ("A+ $G\r\nA- $G\r\n", GoesOn("")),
    // Interest.
    ("RS+ $G foo\r\n", GoesOn("")),
    ("RS+\t$G\t foo  \r\n", GoesOn("")),
    ("rs+ $G foo\r\nrs- $G foo\r\n", GoesOn("")),
    ("RS+ $G foo group 3\r\nRS- $G foo group\r\n", GoesOn("")),
    ("RS+ $G foo group 0\r\n", GoesOn("")),
    ("RS+ $G foo\r\nRS+ $G foo\r\nRS- $G foo\r\nRS- $G foo\r\n", GoesOn("")),
    ("RS- $G never.announced\r\n", GoesOn("")),
    ("RS+ NOPE foo\r\nRS- NOPE foo\r\n", GoesOn("")),
    ("RS+\r\n", Error("Unknown Protocol Operation")),
    ("RS+ $G\r\n", Silence),
    ("RS+ $G foo group\r\n", Silence),
    ("RS+ $G foo group 1 2\r\n", Silence),
    ("RS- $G\r\n", Silence),
    ("RS- $G foo group 1\r\n", Silence),
    ("RS+ $G a..b\r\n", GoesOn("Invalid Subscription")),
    ("RS+ $G >.a\r\n", GoesOn("Invalid Subscription")),
    ("LS+ leaf $G foo\r\nLS- leaf $G foo\r\n", GoesOn("")),
    ("LS+ leaf $G foo group 2\r\nLS- leaf $G foo group\r\n", GoesOn("")),
    ("LS+ _ $G foo\r\nLS- _ $G foo\r\n", GoesOn("")),
    ("LS+ leaf\r\n", Silence),
    // Messages.
    ("RMSG $G foo 2\r\nhi\r\n", GoesOn("")),
    ("RMSG $G foo reply 2\r\nhi\r\n", GoesOn("")),
    ("RMSG $G foo | one two 2\r\nhi\r\n", GoesOn("")),
    ("RMSG $G foo + reply one 2\r\nhi\r\n", GoesOn("")),
    ("RMSG $G foo + reply 2\r\nhi\r\n", GoesOn("")),
    ("RMSG $G foo 0\r\n\r\n", GoesOn("")),
    ("HMSG $G foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", GoesOn("")),
    ("LMSG leaf $G foo 0 2\r\nhi\r\n", GoesOn("")),
    ("RMSG NOPE foo 2\r\nhi\r\n", GoesOn("")),
    ("RMSG $G foo 3\r\nhi\r\n", Error("Unknown Protocol Operation")),
    ("RMSG $G foo 1\r\nhi\r\n", Error("Unknown Protocol Operation")),
    ("RMSG $G\r\n", Silence),
    ("RMSG $G foo\r\n", Silence),
    ("RMSG $G foo x\r\n", Silence),
    ("RMSG $G foo -1\r\n", Silence),
    ("RMSG $G foo 99999999999999999999\r\n", Silence),
    ("RMSG $G foo reply one 2\r\nhi\r\n", Silence),
    ("RMSG $G foo * reply one 2\r\nhi\r\n", Silence),
    ("HMSG $G foo 2\r\nhi\r\n", Silence),
    ("HMSG $G foo 20 14\r\nNATS/1.0\r\n\r\nhi\r\n", Silence),
    ("LMSG leaf $G foo 2\r\nhi\r\n", Silence),
    // What servers tell each other later.
    ("INFO {bad\r\n", Silence),
    ("INFO {\"server_id\":\"GWx\",\"gateway\":\"G\"}\r\n", GoesOn("")),
    // A member that nobody has heard of, at a place where nobody answers.
    (
        "INFO {\"server_id\":\"{id}2\",\"server_name\":\"{name}2\",\"host\":\"127.0.0.1\",\"port\":1,\"cluster\":\"mesh\",\"ip\":\"nats-route://127.0.0.1:1/\",\"gossip_mode\":1}\r\n",
        GoesOn(""),
    ),
    ("INFO {\"server_id\":\"{id}3\",\"cluster\":\"mesh\",\"ip\":\"://nonsense\"}\r\n", GoesOn("")),
];

/// A peer that talks to a server's cluster port.
struct Peer {
    stream: TcpStream,
    heard: Vec<u8>,
    id: u32,
    /// How many PINGs were sent.
    pings: usize,
    server_id: String,
}

impl Peer {
    fn dial(cluster: &Cluster) -> Self {
        let node = &cluster.nodes[0];
        // This port opens a moment after that for clients.
        let stream = poll(|| node.connect(node.ports.cluster.number)).expect("a cluster port");
        let server_id = cluster.varz(0)["server_id"].as_str().unwrap().to_owned();
        Self::new(stream, server_id)
    }

    fn new(stream: TcpStream, server_id: String) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        // Relaxed is enough: only the number's uniqueness counts.
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { stream, heard: Vec::new(), id, pings: 0, server_id }
    }

    /// Another connection of the same peer.
    fn again(&self, cluster: &Cluster) -> Self {
        Self { id: self.id, ..Self::dial(cluster) }
    }

    /// A text that is this peer's own.
    fn fill(&self, text: &str) -> String {
        text.replace("{id}", &format!("NBADPEER{}", self.id))
            .replace("{name}", &format!("bad-peer-{}", self.id))
            .replace("{server_id}", &self.server_id)
    }

    /// Sends; the server may have closed already, which the answer will tell.
    fn say(&mut self, text: &str) {
        let text = self.fill(text);
        self.pings += text.lines().filter(|line| line.to_lowercase().starts_with("ping")).count();
        self.say_bytes(text.as_bytes());
    }

    fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads until these bytes have come; false when the end comes instead.
    fn hears(&mut self, wanted: &[u8]) -> Result<bool, String> {
        while memchr::memmem::find(&self.heard, wanted).is_none() {
            if !self.read()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read(&mut self) -> Result<bool, String> {
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(length) => {
                self.heard.extend_from_slice(&chunk[..length]);
                Ok(length > 0)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(_) => Err("neither an answer nor the end".to_owned()),
        }
    }

    /// The texts of all errors so far.
    fn errors(&self) -> Vec<String> {
        let heard = String::from_utf8_lossy(&self.heard).into_owned();
        let errors = heard.lines().filter_map(|line| line.strip_prefix("-ERR '"));
        errors.map(|line| line.trim_end().trim_end_matches('\'').to_owned()).collect()
    }

    /// What has come of all that was said.
    fn answer(&mut self, wanted: Answer) -> Result<(), String> {
        let (open, text) = match wanted {
            Error(text) => (false, text),
            Silence => (false, ""),
            GoesOn(text) => (true, text),
        };
        if open {
            // Answers come in order, so after the last PONG no error can come.
            self.say("PING\r\n");
            while memchr::memmem::find_iter(&self.heard, b"PONG\r\n").count() < self.pings {
                if !self.read()? {
                    return Err(format!("the end, after {:?}", self.errors()));
                }
            }
        } else {
            while self.read()? {}
        }
        let wanted: Vec<_> = [text].into_iter().filter(|text| !text.is_empty()).collect();
        let heard = self.errors();
        if heard == wanted { Ok(()) } else { Err(format!("errors {heard:?}")) }
    }
}

/// One line of a table on one program.
struct Case {
    name: String,
    says: Vec<String>,
    answer: Answer,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wants {:?}", self.name.escape_debug(), self.answer)
    }
}

/// All cases with one server after another; all that differ are told, and the server still serves.
#[track_caller]
fn check(plan: impl Fn(&Layout) -> Plan + Sync, cases: &[Case]) {
    on_each_layout(1, |layout| {
        let cluster = plan(layout).launch();
        let differing: Vec<_> = cases
            .iter()
            .filter_map(|case| {
                let mut peer = Peer::dial(&cluster);
                case.says.iter().for_each(|text| peer.say(text));
                let answer = peer.answer(case.answer);
                answer.err().map(|error| format!("{case}\n   but {error}"))
            })
            .collect();
        assert!(differing.is_empty(), "{layout}:\n{}", differing.join("\n"));
        still_serves(&cluster);
    });
}

/// A good peer is let in.
#[track_caller]
fn still_serves(cluster: &Cluster) {
    let mut peer = Peer::dial(cluster);
    peer.say(CONNECT);
    // The connection of a pool that carries what clients without an account want.
    peer.say(&INFO.replace("\"route_pool_size\":3", "\"route_pool_size\":3,\"route_pool_idx\":2"));
    peer.answer(GoesOn("")).unwrap();
    let mut client = cluster.client(0);
    client.subscribe("for.the.peer");
    client.flush();
    assert!(peer.hears(b"for.the.peer").unwrap());
}

fn case(name: &str, says: &[&str], answer: Answer) -> Case {
    let says = says.iter().map(|text| (*text).to_owned()).collect();
    Case { name: name.to_owned(), says, answer }
}

#[test]
fn strangers_get_the_documented_answers() {
    let cases: Vec<_> =
        STRANGERS.iter().map(|(says, answer)| case(says, &[says], *answer)).collect();
    check(Plan::new, &cases);
}

#[test]
fn introductions_get_the_documented_answers() {
    let cases: Vec<_> = INTRODUCTIONS
        .iter()
        .map(|(good, bad, answer)| {
            assert!(INFO.contains(good), "{good}");
            case(bad, &[CONNECT, &INFO.replace(good, bad)], *answer)
        })
        .collect();
    // Only who compresses looks at how others would.
    check(|layout| Plan::new(layout).cluster("compression: s2_fast"), &cases);
}

#[test]
fn members_get_the_documented_answers() {
    let cases: Vec<_> =
        MEMBERS.iter().map(|(says, answer)| case(says, &[CONNECT, INFO, says], *answer)).collect();
    check(Plan::new, &cases);
}

#[test]
fn lines_have_a_limit() {
    let line = |length: usize| format!("RS+ $G {}\r\n", "x".repeat(length));
    let cases = [
        case("a line of 60 kB", &[CONNECT, INFO, &line(60_000)], GoesOn("")),
        case(
            "a line of 70 kB",
            &[CONNECT, INFO, &line(70_000)],
            Error("maximum control line exceeded"),
        ),
        case(
            "a line without an end",
            &[CONNECT, INFO, &"RS+ $G ".repeat(20_000)],
            Error("maximum control line exceeded"),
        ),
    ];
    check(Plan::new, &cases);
}

#[test]
fn payloads_may_be_larger_than_those_of_clients() {
    let message = format!("RMSG $G foo 3000000\r\n{}\r\n", "x".repeat(3_000_000));
    check(Plan::new, &[case("a message of 3 MB", &[CONNECT, INFO, &message], GoesOn(""))]);
}

const SECRET: &str = "authorization { user: route, password: s3cret, timeout: 1 }";

#[test]
fn wrong_credentials_get_the_documented_answers() {
    let with = |more: &str| CONNECT.replace("\"cluster\"", &format!("{more}\"cluster\""));
    let violation = Error("Authorization Violation");
    let cases = [
        case("none", &[CONNECT], violation),
        case("a wrong password", &[&with("\"user\":\"route\",\"pass\":\"x\",")], violation),
        case("a wrong user", &[&with("\"user\":\"x\",\"pass\":\"s3cret\",")], violation),
        case("no password", &[&with("\"user\":\"route\",")], violation),
        case(
            "the right ones",
            &[&with("\"user\":\"route\",\"pass\":\"s3cret\","), INFO],
            GoesOn(""),
        ),
        case("nothing at all", &[], Error("Authentication Timeout")),
    ];
    on_each_layout(1, |layout| {
        let cluster = Plan::new(layout).cluster(SECRET).launch();
        for case in &cases {
            let mut peer = Peer::dial(&cluster);
            case.says.iter().for_each(|text| peer.say(text));
            let answer = peer.answer(case.answer);
            answer.unwrap_or_else(|error| panic!("{case}\n   but {error}"));
        }
    });
}

#[test]
fn who_speaks_plainly_on_a_tls_port_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let tls = authority.tls(dir.path(), "a", &["127.0.0.1"]);
    on_each_layout(1, |layout| {
        let cluster = Plan::new(layout).cluster(&tls).launch();
        let mut peer = Peer::dial(&cluster);
        peer.say(CONNECT);
        while peer.read().unwrap() {}
        // A TLS alert may come, but not a word of the protocol.
        assert!(memchr::memmem::find(&peer.heard, b"INFO").is_none(), "{:?}", peer.heard);
        cluster.nodes[0].await_log("TLS route handshake error");
    });
}

#[test]
fn a_second_connection_in_the_same_place_is_closed_silently() {
    on_each_layout(1, |layout| {
        let cluster = Plan::new(layout).launch();
        let account = INFO
            .replace("\"route_pool_size\":3", "\"route_pool_size\":3,\"route_account\":\"$SYS\"");
        for info in [INFO, &account] {
            let mut first = Peer::dial(&cluster);
            first.say(CONNECT);
            first.say(info);
            first.answer(GoesOn("")).unwrap();
            let mut second = first.again(&cluster);
            second.say(CONNECT);
            second.say(info);
            second.answer(Silence).unwrap();
            first.answer(GoesOn("")).unwrap();
        }
    });
}

#[test]
fn a_member_that_answers_no_ping_is_stale() {
    on_each_layout(1, |layout| {
        let lines = "ping_interval: \"1s\"\nping_max: 1";
        let cluster = Plan::new(layout).cluster(lines).launch();
        let mut peer = Peer::dial(&cluster);
        peer.say(CONNECT);
        peer.say(INFO);
        peer.answer(Error("Stale Connection")).unwrap();
    });
}

// --- Compressed streams ---

/// The framing's name of itself.
const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00S2sTwO";
const SNAPPY_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// CRC-32C, masked as the framing wants.
fn checksum(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    });
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A chunk of the framing.
fn chunk(kind: u8, checksum: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_le_bytes();
    [&[kind], &length[..3], &checksum.to_le_bytes(), body].concat()
}

/// A chunk of bytes as they are.
fn plain(bytes: &[u8]) -> Vec<u8> {
    chunk(1, checksum(bytes), bytes)
}

#[test]
fn compressed_streams_that_are_broken_end_silently() {
    let ping = plain(b"PING\r\n");
    // A literal of six bytes; lengths that lie; a copy from before the beginning.
    let good_block = b"\x06\x14PING\r\n";
    let long_block = b"\x07\x14PING\r\n";
    let bad_copy = b"\x0a\x00P\x15\xff";
    let repeat_first = b"\x08\x01\x00\x00";
    let huge = b"\xff\xff\xff\xff\x7f\x14PING\r\n";
    let of = |body: &[u8]| chunk(0, checksum(b"PING\r\n"), body);
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        ("a good stream", [IDENTIFIER, &ping].concat(), true),
        ("a good block", [IDENTIFIER, &of(good_block)].concat(), true),
        ("an identifier in between", [IDENTIFIER, IDENTIFIER, &ping].concat(), true),
        ("a snappy stream", [SNAPPY_IDENTIFIER, &ping].concat(), true),
        ("padding", [IDENTIFIER, b"\xfe\x03\x00\x00abc", &ping].concat(), true),
        ("what may be skipped", [IDENTIFIER, b"\x80\x03\x00\x00abc", &ping].concat(), true),
        ("plain text", b"PING\r\n".to_vec(), false),
        ("no identifier", ping.clone(), false),
        ("another identifier", [b"\xff\x06\x00\x00sTrAnG", &ping[..]].concat(), false),
        ("a wrong checksum", [IDENTIFIER, &chunk(1, 1, b"PING\r\n")].concat(), false),
        ("what may not be skipped", [IDENTIFIER, b"\x02\x03\x00\x00abc", &ping].concat(), false),
        ("a block that is too short", [IDENTIFIER, &of(long_block)].concat(), false),
        ("a copy from nowhere", [IDENTIFIER, &of(bad_copy)].concat(), false),
        ("a repeat of nothing", [IDENTIFIER, &of(repeat_first)].concat(), false),
        ("a block that claims to be huge", [IDENTIFIER, &of(huge)].concat(), false),
        ("a chunk without a checksum", [IDENTIFIER, b"\x01\x02\x00\x00ab"].concat(), false),
        (
            "a chunk that snappy does not have",
            [SNAPPY_IDENTIFIER, &plain(&b"PING\r\n".repeat(12_000))].concat(),
            false,
        ),
    ];
    on_each_layout(1, |layout| {
        let cluster = Plan::new(layout).cluster("compression: s2_fast").launch();
        for (name, bytes, good) in &cases {
            let mut peer = Peer::dial(&cluster);
            peer.say(CONNECT);
            let info = INFO.replace("\"compression\":\"off\"", "\"compression\":\"s2_fast\"");
            peer.say(&info);
            assert!(peer.hears(IDENTIFIER).unwrap(), "the server does not compress");
            peer.say_bytes(bytes);
            let answered =
                peer.hears(b"PONG\r\n").unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(answered, *good, "{layout}: {name}");
            assert!(memchr::memmem::find(&peer.heard, b"-ERR").is_none(), "{layout}: {name}");
        }
    });
}

/// Bytes that may wait for a subscriber, and so many times that come of one read of the route's wire.
const PENDING_MAX: usize = 128 << 20;
const TIMES: usize = 2;

#[test]
fn few_compressed_bytes_that_are_many_messages_cut_no_subscriber() {
    let message = format!("RMSG $G a 4096\r\n{}\r\n", "x".repeat(4096));
    let count = TIMES * PENDING_MAX / 4096;
    let (mut transport, mut scratch) = (Transport::plain(), Scratch::default());
    let _ = transport.compress(Level::Fast, usize::MAX, b"", &mut Vec::new()).unwrap();
    let (mut wire, at_once) = (Vec::new(), message.repeat(256));
    for _ in 0..count / 256 {
        transport.seal(&mut scratch, [at_once.as_bytes()], &mut wire).unwrap();
    }
    assert!(wire.len() < 128 << 10, "{} bytes", wire.len());
    on_each_layout(1, |layout| {
        let plan = Plan::new(layout).cluster("compression: s2_fast");
        let cluster = plan.top(&format!("max_pending: {PENDING_MAX}")).launch();
        let mut subscriber = TcpStream::connect(cluster.client_address(0)).unwrap();
        subscriber.set_read_timeout(Some(LIMIT)).unwrap();
        subscriber.write_all(b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPING\r\n").unwrap();
        let mut heard = vec![0; 1 << 20];
        let mut len = 0;
        while !heard[..len].ends_with(b"PONG\r\n") {
            len += subscriber.read(&mut heard[len..]).unwrap();
        }
        let mut peer = Peer::dial(&cluster);
        peer.say(CONNECT);
        let compresses = INFO.replace("\"compression\":\"off\"", "\"compression\":\"s2_fast\"");
        peer.say(&compresses);
        assert!(peer.hears(IDENTIFIER).unwrap(), "the server does not compress");
        let registers = compresses.replace("_size\":3", "_size\":3,\"route_pool_idx\":2");
        peer.say_bytes(&[IDENTIFIER, &plain(peer.fill(&registers).as_bytes())].concat());
        let is_in = || (cluster.routez(0)["num_routes"] == 1).then_some(());
        assert!(poll(is_in).is_some(), "the server does not let the peer in");
        peer.say_bytes(&wire);
        let mut missing = count * ("MSG a 1 4096\r\n".len() + 4096 + 2);
        while missing > 0 {
            let len = subscriber.read(&mut heard).unwrap();
            assert!(len > 0, "{layout}: the subscriber is cut, {missing} bytes are missing");
            missing -= len;
        }
    });
}

// --- Peers that the server dials ---

/// What a dialled peer says first, and what the server answers to it.
const DIALLED: &[(&str, Answer)] = &[
    ("HTTP/1.1 400 Bad Request\r\n\r\n", Error("Unknown Protocol Operation")),
    ("INFO {bad\r\n", Silence),
    ("-ERR 'Authorization Violation'\r\n", Silence),
    ("", Silence),
];

/// The same in a good INFO: a part of it, and what stands there instead.
const DIALLED_INTRODUCTIONS: &[(&str, &str, Answer)] = &[
    (
        "\"route_pool_size\":3",
        "\"route_pool_size\":3,\"route_pool_idx\":1",
        Error("Route pool index should not be set but is set to 1"),
    ),
    ("\"cluster\":\"mesh\"", "\"cluster\":\"other\"", Silence),
    (
        "\"compression\":\"off\"",
        "\"compression\":\"zstd\"",
        Error("unsupported route compression mode \"zstd\""),
    ),
];

#[test]
fn bad_peers_that_are_dialled_get_the_documented_answers_and_are_dialled_again() {
    let mut cases: Vec<_> =
        DIALLED.iter().map(|(says, answer)| case(says, &[says], *answer)).collect();
    cases.extend(
        DIALLED_INTRODUCTIONS
            .iter()
            .map(|(good, bad, answer)| case(bad, &[&INFO.replace(good, bad)], *answer)),
    );
    let all: Vec<_> = layouts(1)
        .into_iter()
        .flat_map(|layout| cases.iter().map(move |case| Dialled { layout: layout.clone(), case }))
        .collect();
    on_each(&all, |Dialled { layout, case }| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = Plan::new(layout).cluster("compression: s2_fast").each(|_, node| {
            node.routes = vec![format!("nats://{}", listener.local_addr().unwrap())];
        });
        let _cluster = plan.launch();
        // An account's connection is dialled beside that of the pool; either gets the answer.
        for round in 0..3 {
            let mut peer = Peer::new(listener.accept().unwrap().0, String::new());
            assert!(peer.hears(b"CONNECT").unwrap(), "round {round}");
            case.says.iter().for_each(|text| peer.say(text));
            if case.says.iter().all(String::is_empty) {
                let _ = peer.stream.shutdown(std::net::Shutdown::Write);
            }
            peer.answer(case.answer).unwrap_or_else(|error| panic!("{case}\n   but {error}"));
        }
    });
}

struct Dialled<'a> {
    layout: Layout,
    case: &'a Case,
}

impl fmt::Display for Dialled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layout, self.case)
    }
}
