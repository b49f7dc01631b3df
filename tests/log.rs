//! What the log says of clients, line by line beside the real server.
//!
//! Conversations go to both; their lines must be the same but for times, ports and numbers, so the
//! tables below hold inputs and no outputs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use support::{Broker, Kind, LIMIT, poll};

const OURS: [Kind; 2] = [Kind::Ours { shards: 1 }, Kind::Ours { shards: 4 }];

/// Holds each conversation on a connection of its own; returns the lines about each.
fn heard_in_log(kind: Kind, args: &[&str], conversations: &[&[u8]]) -> Vec<Vec<String>> {
    let mut broker = Broker::start(kind, &[&["-T=false"], args].concat());
    let ports: Vec<u16> = conversations.iter().map(|bytes| converse(broker.port, bytes)).collect();
    broker.signal("TERM");
    broker.wait_exit();
    broker.await_log("Server Exiting..");
    let log = broker.log();
    ports.iter().map(|port| lines_about(&log, *port)).collect()
}

/// Says something, then nothing more, and listens until the server closes, too.
fn converse(port: u16, bytes: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut info = Vec::new();
    while !info.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        info.push(byte[0]);
    }
    stream.write_all(bytes).unwrap();
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
    stream.local_addr().unwrap().port()
}

/// The lines about the client with that port, without what no two runs have in common.
fn lines_about(log: &str, port: u16) -> Vec<String> {
    let client = format!("127.0.0.1:{port} - cid:");
    // Our server says more than that for those who look for faults in it.
    let is_known = |line: &&str| !line.contains("[DBG]") || line.contains("Client connection");
    let lines = log.lines().filter(|line| line.contains(&client)).filter(is_known);
    let bare = |line: &str| {
        let (level, text) = line.split_once(&client).unwrap();
        let text = text.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{}{text}", level.split_once(' ').unwrap().1)
    };
    lines.map(bare).collect()
}

/// Ringmesh must say of each conversation what the real server says; all differences are told.
fn says_the_same(args: &[&str], conversations: &[&[u8]]) {
    let real = heard_in_log(Kind::Real, args, conversations);
    for kind in OURS {
        let ours = heard_in_log(kind, args, conversations);
        let differences: Vec<String> = conversations
            .iter()
            .zip(real.iter().zip(&ours))
            .filter(|(_, (real, ours))| real != ours)
            .map(|(bytes, (real, ours))| {
                let bytes = bytes.escape_ascii();
                format!("{bytes}\n  nats-server: {real:#?}\n  {kind}: {ours:#?}")
            })
            .collect();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

/// The same with a configuration file.
fn says_the_same_with(config: &str, args: &[&str], conversations: &[&[u8]]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    std::fs::write(&path, config).unwrap();
    says_the_same(&[args, &["-c", text(&path)]].concat(), conversations);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_a_client_sends_wrong_is_logged_as_by_the_real_server() {
    let long = [b"SUB ".as_slice(), &[b'a'; 5000], b" 1\r\n"].concat();
    says_the_same(
        &[],
        &[
            b"PUB a\r\n",
            b"CONNECT {\"lang\":\"py\",\"version\":\"1\",\"name\":\"n\"}\r\nPUB a\r\n",
            b"CONNECT {\"user\":\"u\",\"pass\":\"hush\",\"name\":\"n\\n\"}\r\nPUB a\r\n",
            b"CONNECT {\"auth_token\":\"hush\"}\r\nPUB a\r\n",
            b"CONNECT {\"nkey\":\"UABC\"}\r\nPUB a\r\n",
            b"PUB a x\r\n",
            b"PUB a.*  \xff\xfe\0\r\n",
            b"HPUB a 1 2\r\n",
            b"CONNECT {\"headers\":true}\r\nHPUB a\r\n",
            b"CONNECT {\"headers\":true}\r\nHPUB a x 3\r\n",
            b"CONNECT {\"headers\":true}\r\nHPUB a 1 x\r\n",
            b"CONNECT {\"headers\":true}\r\nHPUB a 5 3\r\n",
            b"FOO\r\n",
            b"FOO\xff\0\r\n",
            b"PIXX\r\n",
            b"SUB\r\n",
            b"UNSUB\r\n",
            b"PUB a 2\r\nhixx\r\n",
            b"PUB a 2\r\nhi\rx\r\n",
            b"-ERR foo\r\n",
            b"-ERR 'foo bar'\r\n",
            b"PUB a 99999999\r\n",
            b"SUB a\r\n",
            b"SUB a b c d\r\n",
            b"UNSUB a b c\r\n",
            b"INFO x\r\n",
            b"CONNECT {\"protocol\":2}\r\n",
            b"CONNECT {\"no_responders\":true}\r\n",
            b"CONNECT {\"verbose\":1}\r\n",
            b"CONNECT {\"pass\":1234}\r\n",
            b"CONNECT {x\r\n",
            b"CONNECT xx\r\n",
            b"CONNECT {\"user\":\"u\"\r\n",
            b"CONNECT []\r\n",
            b"CONNECT\r\n",
            b"CONNECT {\"account\":\"x\"}\r\n",
            b"CONNECT {\"user\":\"u\",\"account\":\"x\"}\r\n",
            b"SUB a _sys_ 1\r\n",
            b"PUB a _R_.x 0\r\n\r\n",
            b"PUB $GR.x 0\r\n\r\n",
            &long,
        ],
    );
}

#[test]
fn limits_that_are_reached_are_logged_as_by_the_real_server() {
    says_the_same_with(
        "max_subscriptions: 1\nmax_sub_tokens: 2\n",
        &[],
        &[b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n", b"SUB a.b.c 1\r\nSUB a.b.c q 2\r\n"],
    );
    says_the_same_with("max_connections: 0\n", &[], &[b""]);
    says_the_same_with(
        "no_header_support: true\n",
        &[],
        &[b"CONNECT {\"no_responders\":true,\"headers\":true}\r\n", b"HPUB a 1 2\r\n"],
    );
}

#[test]
fn a_login_that_fails_is_logged_as_by_the_real_server() {
    let hash = "$2a$04$abcdefghijklmnopqrstuu369LYjJlegQeGD0CWsjs58fASePKjWq";
    let users = format!("{{user: u, pass: p}}, {{user: v, pass: \"{hash}\"}}");
    says_the_same_with(
        &format!("authorization {{ users: [ {users} ] }}\n"),
        &[],
        &[
            b"PUB a\r\n",
            b"CONNECT {}\r\n",
            b"CONNECT {\"user\":\"u\",\"pass\":\"hush\"}\r\n",
            b"CONNECT {\"user\":\"v\",\"pass\":\"hush\",\"name\":\"x\"}\r\n",
            b"CONNECT {\"user\":\"u\\\"q\",\"pass\":\"hush\"}\r\n",
            b"CONNECT {\"auth_token\":\"hush\"}\r\n",
            b"CONNECT {\"nkey\":\"UABC\",\"sig\":\"hush\"}\r\n",
            b"CONNECT {\"nkey\":\"UABC\",\"user\":\"u\"}\r\n",
            b"CONNECT {\"user\":\"u\",\"pass\":\"p\",\"name\":\"x\"}\r\nPUB a\r\n",
        ],
    );
}

#[test]
fn a_trace_shows_the_protocol_as_the_real_server_does() {
    let conversations: &[&[u8]] = &[
        b"CONNECT {\"verbose\":false,\"lang\":\"py\",\"version\":\"1\",\"name\":\"n\",\"user\":\"u\",\
          \"pass\":\"hush\",\"z\":1,\"a\" : \"b\"}\r\nSUB a.* 1\r\nPUB a.b 5\r\nhello\r\n\
          PUB a.b rep 5\r\nhel\0\xff\r\nPUB a.b 0\r\n\r\nUNSUB 1 1\r\nUNSUB 1\r\nSUB b q 2\r\n\
          UNSUB 2\r\nPING\r\nPONG\r\n",
        b"CONNECT {}\r\nSUB a 1\r\nSUB a\r\n",
        b"+OK\r\nINFO {}\r\nPING\r\n",
        b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB x 1\r\nUNSUB 1 2\r\n\
          HPUB x 12 17\r\nNATS/1.0\r\n\r\nhello\r\nHPUB x r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        b"CONNECT {\"verbose\":false}\r\nSUB x 1\r\nPUB x 3\r\n\"\\\t\r\n",
        b"HPUB x 12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
        b"sub  a   1 \r\nPub  a\t2 \r\nhi\r\nping x\r\n",
        b"PUB a 99999999\r\n",
        b"PUB a\r\n",
        b"SUB a. 1\r\n",
        b"CONNECT {\"pedantic\":true,\"verbose\":true}\r\nPUB a..b 0\r\n\r\n",
        b"CONNECT {\"pass\":1234,\"passcode\":\"t\"}\r\n",
        b"CONNECT {\"auth_token\": \"x y\" , \"nkey\":\"Uabc\",\"sig\":\"s\", \"mysig\":\"b\"}\r\n",
        b"CONNECT {\"account\":\"x\"}\r\n",
    ];
    says_the_same(&["-DV"], conversations);
    says_the_same(&["-V", "--max_traced_msg_len", "3"], conversations);
    says_the_same_with("trace_headers: true\n", &["-V"], conversations);
}

#[test]
fn an_error_that_a_client_is_told_is_traced() {
    for kind in [Kind::Real, OURS[0], OURS[1]] {
        let broker = Broker::start(kind, &["-V"]);
        converse(broker.port, b"FOO\r\n");
        broker.await_log(" - ->> [-ERR Unknown Protocol Operation]\n");
        converse(broker.port, b"PUB $GR.x 0\r\n\r\n");
        broker.await_log(" - ->> [-ERR Permissions Violation for Publish to \"$GR.x\"]\n");
    }
}

#[test]
fn no_secret_is_logged_whatever_is_wrong_with_it() {
    for kind in OURS {
        let broker = Broker::start(kind, &["-DV", "--user", "ann", "--pass", "x"]);
        for secret in [
            b"CONNECT {\"user\":\"ann\",\"pass\":\"hush\\\"hush\"}\r\n".as_slice(),
            b"CONNECT {\"user\":\"ann\",\"Pass\":\"hush\"}\r\n",
            b"CONNECT {\"user\":\"ann\",\"p\\u0061ss\":\"hush\"}\r\n",
            b"CONNECT {\"auth_token\":[\"hush\"]}\r\n",
            b"CONNECT {pass:hush}\r\n",
            b"CONNEC {\"pass\":\"hush\"}\r\n",
        ] {
            converse(broker.port, secret);
        }
        let count = |log: &str| log.matches("Client connection closed").count();
        assert!(poll(|| (count(&broker.log()) == 6).then_some(())).is_some(), "{}", broker.log());
        assert!(!broker.log().contains("hush"), "{kind} logs a secret:\n{}", broker.log());
    }
}

#[test]
fn a_reload_says_how_many_connections_it_closes() {
    for kind in [Kind::Real, OURS[0], OURS[1]] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        std::fs::write(&path, "max_connections: 9\n").unwrap();
        let broker = Broker::start(kind, &["-c", text(&path)]);
        let clients: Vec<TcpStream> = (0..3).map(|_| connected(broker.port)).collect();
        std::fs::write(&path, "max_connections: 1\n").unwrap();
        broker.signal("HUP");
        broker.await_log("[INF] Closed 2 connections to fall within max_connections");
        broker.await_log("[INF] Reloaded server configuration");
        broker.await_log(" - maximum connections exceeded - Account:$G\n");
        drop(clients);
    }
}

#[test]
fn a_reload_closes_as_many_as_are_too_many_wherever_they_are() {
    for kind in [Kind::Real, OURS[0], OURS[1]] {
        // Shards take clients in turn: those that stay are on one shard, whichever.
        for stays in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.conf");
            std::fs::write(&path, "max_connections: 9\n").unwrap();
            let broker = Broker::start(kind, &["-D", "-c", text(&path)]);
            let await_closed = |wanted: usize, why: &str| {
                let count = || broker.log().matches(why).count();
                assert!(poll(|| (count() >= wanted).then_some(())).is_some(), "{kind}");
                count()
            };
            let mut clients: Vec<TcpStream> = (0..8).map(|_| connected(broker.port)).collect();
            for index in (0..8).rev().filter(|index| index % 4 != stays) {
                clients.remove(index);
            }
            await_closed(6, "Client connection closed: Client Closed");
            std::fs::write(&path, "max_connections: 1\n").unwrap();
            broker.signal("HUP");
            broker.await_log("[INF] Closed 1 connections to fall within max_connections");
            assert_eq!(await_closed(1, "maximum connections exceeded - Account"), 1, "{kind}");
        }
    }
}

/// A client that has said CONNECT.
fn connected(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"PONG\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
    stream
}

#[test]
fn slow_consumers_are_told_of_as_by_the_real_server() {
    for kind in [Kind::Real, OURS[0], OURS[1]] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        std::fs::write(&path, "write_deadline: \"500ms\"\nmax_pending: 100MB\n").unwrap();
        let broker = Broker::start(kind, &["-c", text(&path)]);
        let mut slow = connected(broker.port);
        slow.write_all(b"SUB a 1\r\nPING\r\n").unwrap();
        slow.read_exact(&mut [0; 6]).unwrap();
        let mut publisher = connected(broker.port);
        let message = [b"PUB a 500000\r\n".as_slice(), &[b'x'; 500_000], b"\r\n"].concat();
        for _ in 0..40 {
            publisher.write_all(&message).unwrap();
        }
        let text = " - Slow Consumer Detected: WriteDeadline of 500ms exceeded with ";
        broker.await_log(text);
        let log = broker.log();
        let line = log.lines().find(|line| line.contains(text)).unwrap();
        assert!(line.contains("[INF] 127.0.0.1:") && line.ends_with(" total bytes."), "{line}");
    }
}

/// What the server itself says while a client of an account comes, without what no two runs have in common.
fn said_by_the_server(kind: Kind, flag: &str) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    let accounts = "accounts {
        A: { users: [{ user: a, password: a }] }
        SYS: { users: [{ user: s, password: s }] }
    }
    system_account: SYS";
    std::fs::write(&path, accounts).unwrap();
    let mut broker = Broker::start(kind, &["-T=false", flag, "-c", text(&path)]);
    let mut listener = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    listener.set_read_timeout(Some(LIMIT)).unwrap();
    let connect = b"CONNECT {\"user\":\"s\",\"pass\":\"s\"}\r\n";
    listener.write_all(connect).unwrap();
    listener.write_all(b"SUB $SYS.ACCOUNT.A.SERVER.CONNS 1\r\nPING\r\n").unwrap();
    let mut heard = Vec::new();
    let mut hear = |what: &str| {
        while !String::from_utf8_lossy(&heard).contains(what) {
            let mut bytes = [0; 1024];
            let len = listener.read(&mut bytes).unwrap();
            heard.extend_from_slice(&bytes[..len]);
        }
    };
    hear("PONG");
    converse(broker.port, b"CONNECT {\"user\":\"a\",\"pass\":\"a\"}\r\nPING\r\n");
    // The server has said that; whether it is in the log is the question.
    hear("MSG $SYS.ACCOUNT.A.SERVER.CONNS 1");
    broker.signal("TERM");
    broker.wait_exit();
    broker.await_log("Server Exiting..");
    let log = broker.log();
    let said = log.lines().filter_map(|line| line.split_once("[TRC] SYSTEM - "));
    let bare = said.map(|(_, said)| {
        let digits = said.split_inclusive(|c: char| !c.is_ascii_digit());
        let numbered = |part: &str| match part.trim_start_matches(|c: char| c.is_ascii_digit()) {
            rest if rest.len() == part.len() => part.to_owned(),
            rest => format!("#{rest}"),
        };
        digits.map(numbered).collect::<String>()
    });
    let is_about_a = |said: &String| said.contains("ACCOUNT.A.") || said.contains("PING.VARZ");
    // Of a payload the beginning: what follows tells of the server.
    let bare = bare.map(|said| said.split("\\\"id\\\"").next().unwrap().to_owned());
    bare.filter(|said| is_about_a(said) || said.contains("account_connections")).collect()
}

#[test]
fn a_verbose_trace_shows_what_the_server_itself_says() {
    let kinds = [&[Kind::Real], &OURS[..]].concat();
    let said = kinds.iter().map(|kind| (kind, said_by_the_server(*kind, "-VV")));
    let said: Vec<_> = said.collect();
    for expected in [
        "<<- [SUB $SYS.REQ.SERVER.PING.VARZ  #]",
        "<<- [PUB $SYS.ACCOUNT.A.SERVER.CONNS  #]",
        "<<- [PUB $SYS.SERVER.ACCOUNT.A.CONNS  #]",
        r#"<<- MSG_PAYLOAD: ["{\"type\":\"io.nats.server.advisory.v#.account_connections\","#,
    ] {
        for (kind, said) in &said {
            assert!(said.contains(expected), "{kind}, {expected}: {said:#?}");
        }
    }
    for kind in OURS {
        assert_eq!(said_by_the_server(kind, "-V"), BTreeSet::new(), "{kind}");
    }
}
