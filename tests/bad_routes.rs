//! Bad routes: whatever comes in at the cluster port, compressed or not, the server answers as it is
//! documented, closes, serves on, and keeps nothing.
//!
//! Every stream has a connection of its own and comes from a number: a handshake that is good, cut,
//! damaged or missing, and behind it lines of the route protocol with damage in them, or under them
//! where they are compressed. `STREAMS=1000000 cargo test --release --test bad_routes` plays so many;
//! `SHARDS=2 FIRST=n STREAMS=m` plays some of them again with so many shards.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a long run tells how far it is")]

mod blame;
mod damage;
mod mesh;
mod pour;
mod support;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Mutex;

use damage::damage;
use mesh::ports::Port;
use pour::{play_all, pour};
use ringmesh::transport::{Level, Progress, Scratch, Transport};
use serde_json::Value;
use support::{Kind, LIMIT, poll};

/// Streams that are played when nobody asks for more, in all.
const STREAMS_USUAL: u64 = 4_000;
/// So many servers there seem to be: those that were here before are known by name.
const PEERS: u64 = 60;
/// The longest stream.
const STREAM_BYTES_MAX: usize = 128 << 10;
#[test]
fn whatever_comes_in_by_routes_the_server_answers_as_documented_and_keeps_nothing() {
    play_all(STREAMS_USUAL, &[1, 2], play);
}

/// Plays some streams against one server.
fn play(shards: u8, from: u64, count: u64) {
    let server = Server::start(shards);
    let tally = Tally::default();
    // Members hear of it, and so show that they are members.
    let mut client = Talk::dial(&server.client, "CONNECT {\"verbose\":false}\r\n");
    client.say("SUB wanted 1\r\nPING\r\n");
    client.hears("PONG\r\n");
    pour(
        shards,
        (from, count),
        |number| pour_one(&server, number, &tally),
        || server.serves(),
        || server.at_rest(),
    );
    let tally = tally.0.into_inner().unwrap();
    eprintln!("{tally:#?}");
    // A run that reaches nothing tests nothing.
    for reached in ["members", "members that compress", "Unknown Protocol Operation"] {
        assert!(
            tally.get(reached).is_some_and(|times| *times > count / 200),
            "{reached}: {tally:?}"
        );
    }
}

/// How often what came of a stream.
#[derive(Default)]
struct Tally(Mutex<std::collections::BTreeMap<String, u64>>);

impl Tally {
    fn count(&self, what: &str) {
        *self.0.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }
}

/// Sends one stream, ends its connection in one of two ways, and looks at what was answered.
fn pour_one(server: &Server, number: u64, tally: &Tally) {
    let mut random = fastrand::Rng::with_seed(number);
    let stream = Stream::make(&mut random);
    let mut socket = TcpStream::connect(("127.0.0.1", server.cluster.number)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.set_write_timeout(Some(LIMIT)).unwrap();
    let pieces = if random.u8(..) < 200 { 1 } else { random.usize(2..6) };
    for piece in stream.bytes.chunks(stream.bytes.len().div_ceil(pieces).max(1)) {
        // The server may have closed the connection by now, as it should.
        if socket.write_all(piece).is_err() {
            break;
        }
    }
    // One in four is gone without a word; unread bytes turn it into a reset.
    if random.u8(..4) > 0 {
        let _ = socket.shutdown(Shutdown::Write);
        let heard = read_to_end(&mut socket);
        check_answer(&heard, tally);
    }
}

fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return heard,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server does not close a connection that has ended");
            }
            Err(_) => return heard,
        }
    }
}

// --- Streams ---

/// What a peer sends.
struct Stream {
    bytes: Vec<u8>,
}

const CONNECT: &str = "CONNECT {\"echo\":true,\"verbose\":false,\"pedantic\":false,\
    \"tls_required\":false,\"headers\":true,\"name\":\"{id}\",\"cluster\":\"mesh\",\
    \"lnoc\":true,\"ln\":true}\r\n";
const INFO: &str = "INFO {\"server_id\":\"{id}\",\"server_name\":\"{name}\",\
    \"version\":\"2.15.1\",\"proto\":2,\"go\":\"rust\",\"host\":\"127.0.0.1\",\"port\":1,\
    \"headers\":true,\"max_payload\":1048576,\"cluster\":\"mesh\",\"compression\":\"{mode}\",\
    \"lnoc\":true,\"lnocu\":true,\"ln\":true,\"route_pool_size\":3{more}} \r\n";

/// What more an introduction may say.
const MORE: &[&str] = &[
    ",\"route_pool_idx\":2",
    "",
    ",\"route_pool_idx\":1",
    ",\"route_pool_idx\":7",
    ",\"route_account\":\"$SYS\"",
    ",\"route_account\":\"NOPE\"",
    ",\"gossip_mode\":2",
    ",\"ringmesh\":{\"v\":1,\"caps\":0}",
    ",\"ringmesh\":[1,{}]",
    ",\"import\":{\"allow\":[\">\"]},\"export\":{\"deny\":[\"a.>\"]}",
    ",\"nonce\":\"x\",\"auth_required\":true",
];

/// Lines of members, and what resembles them.
const LINES: &[&str] = &[
    "PING\r\n",
    "PONG\r\n",
    "+OK\r\n",
    "-ERR 'no'\r\n",
    "RS+ $G a\r\n",
    "RS+ $G a.*.> q 3\r\n",
    "RS- $G a\r\n",
    "RS- $G a.*.> q\r\n",
    "RS+ $G a q 0\r\nRS+ $G a q 4294967295\r\n",
    "RS+ NOPE a\r\n",
    "RS+ a\r\nRS- a\r\n",
    "RS+ $G a..b\r\n",
    "RS+ $SYS $SYS.REQ.> \r\n",
    "LS+ leaf $G a\r\nLS- leaf $G a\r\n",
    "LS+ leaf $G a q 2\r\nLS- leaf $G a q\r\n",
    "RMSG $G a 5\r\nhello\r\n",
    "RMSG $G a reply 5\r\nhello\r\n",
    "RMSG $G a | q r 5\r\nhello\r\n",
    "RMSG $G a + reply q r 5\r\nhello\r\n",
    "RMSG $G well 2\r\nhi\r\n",
    "RMSG a 5\r\nhello\r\n",
    "RMSG $SYS $SYS.REQ.SERVER.PING 0\r\n\r\n",
    "RMSG $SYS $SYS.REQ.SERVER.PING.VARZ _INBOX.x 2\r\n{}\r\n",
    "RMSG $G a 4294967295\r\n",
    "RMSG $G a -1\r\n",
    "HMSG $G a 12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
    "HMSG $G a r 23 23\r\nNATS/1.0\r\nA: b\r\nC:d\r\n\r\n\r\n",
    "HMSG $G a 99 12\r\nNATS/1.0\r\n\r\n\r\n",
    "LMSG leaf $G a 0 5\r\nhello\r\n",
    "A+ $G\r\nA- $G\r\n",
    "CONNECT {\"name\":\"again\",\"cluster\":\"mesh\"}\r\n",
    "INFO {\"server_id\":\"GWx\",\"gateway\":\"G\"}\r\n",
    "INFO {\"server_id\":\"other\",\"cluster\":\"mesh\",\"connect_urls\":[\"a:1\",\"b:2\"]}\r\n",
    "INFO {\"ldm\":true}\r\n",
    "INFO {}\r\n",
    "SUB a 1\r\n",
    "MSG a 1 5\r\nhello\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "\r\n",
    "\0",
];

impl Stream {
    fn make(random: &mut fastrand::Rng) -> Self {
        if random.u8(..16) == 0 {
            let len = random.usize(..2048);
            let bytes = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
            return Self { bytes };
        }
        let peer = random.u64(..PEERS);
        let mode = *random.choice(&["off", "off", "s2_fast", "s2_fast", "s2_auto", "x"]).unwrap();
        // A connection of the place that hears of what the client here wants, or any other one.
        let more = if random.bool() { MORE[0] } else { random.choice(MORE).unwrap() };
        let fill = |text: &str| {
            let text = text.replace("{id}", &format!("NBADROUTE{peer}"));
            let text = text.replace("{name}", &format!("bad-route-{peer}"));
            text.replace("{mode}", mode).replace("{more}", more).into_bytes()
        };
        let mut head = [fill(CONNECT), fill(INFO)].concat();
        // Half of all handshakes are good, so that what stands behind is heard.
        let good = random.bool();
        if !good {
            for _ in 0..random.usize(1..4) {
                damage(&mut head, random);
            }
        }
        let mut body = Vec::new();
        for _ in 0..random.usize(..16) {
            line(&mut body, random);
        }
        for _ in 0..random.usize(..4) {
            damage(&mut body, random);
        }
        body.truncate(STREAM_BYTES_MAX);
        if mode.starts_with("s2") {
            body = compressed(&body, random);
        }
        Self { bytes: [head, body].concat() }
    }
}

fn line(body: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let mut text = String::new();
    match random.u8(..16) {
        // A line of any length, also beyond what a control line may have.
        0 => {
            let verb = *random.choice(&["RS+ $G ", "RMSG $G ", "INFO {\"x\":\"", ""]).unwrap();
            let len = if random.u8(..8) == 0 { 70_000 } else { random.usize(..6000) };
            write!(text, "{verb}{} 1\r\n", "a".repeat(len)).unwrap();
        }
        // A payload of any length, announced right or wrong.
        1 => {
            let len = random.usize(..18_000);
            let announced = if random.bool() { len } else { random.usize(..20_000) };
            write!(text, "RMSG $G a {announced}\r\n{}\r\n", "x".repeat(len)).unwrap();
        }
        // Much interest of one server.
        2 => {
            for _ in 0..random.usize(..200) {
                write!(text, "RS+ $G s.{}.*\r\n", random.u16(..)).unwrap();
            }
        }
        _ => text.push_str(random.choice(LINES).unwrap()),
    }
    body.extend_from_slice(text.as_bytes());
}

/// The body as it goes over a compressed connection; half of the time the wire is damaged as well.
fn compressed(body: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let (mut transport, mut scratch) = (Transport::plain(), Scratch::default());
    let level = *random.choice(&[Level::Uncompressed, Level::Fast, Level::Best]).unwrap();
    let _ = transport.compress(level, usize::MAX, b"", &mut Vec::new()).unwrap();
    let mut wire = Vec::new();
    for part in body.chunks(body.len().div_ceil(random.usize(1..4)).max(1)) {
        transport.seal(&mut scratch, [part], &mut wire).unwrap();
    }
    if random.bool() {
        for _ in 0..random.usize(1..4) {
            damage(&mut wire, random);
        }
    }
    wire
}

// --- Answers ---

/// What the server says to peers that break the rules, and how each begins.
const ERRORS: &[&str] = &[
    "Authorization Violation",
    "Unknown Protocol Operation",
    "Invalid Subscription",
    "maximum control line exceeded",
    "attempted to connect to route port",
    "Rejecting connection",
    "Invalid route pool index",
    "Unable to lookup account",
    "No route for account",
    "Not possible to have a dedicated route",
    "unsupported route compression mode",
];

/// What begins the lines of a server.
const VERBS: &[&str] =
    &["INFO {", "PING", "PONG", "-ERR '", "RS+ ", "RS- ", "LS+ ", "LS- ", "RMSG ", "HMSG "];

/// The framing's name of itself.
const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00S2sTwO";

/// Every line is one that a server says, and every error one that is documented.
fn check_answer(heard: &[u8], tally: &Tally) {
    let switch = memchr::memmem::find(heard, IDENTIFIER);
    let (plain, wire) = heard.split_at(switch.unwrap_or(heard.len()));
    let mut text = plain.to_vec();
    if !wire.is_empty() {
        let (mut transport, mut scratch) = (Transport::plain(), Scratch::default());
        let _ = transport.compress(Level::Fast, usize::MAX, b"", &mut Vec::new()).unwrap();
        let mut part = wire;
        // A connection that was cut may end inside a chunk.
        while transport.open(&mut scratch, part, &mut text).unwrap() == Progress::Paused {
            part = b"";
        }
    }
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut registered = false;
    for line in text[..whole].split_inclusive(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        assert!(VERBS.iter().any(|verb| line.starts_with(verb)), "the server says {line:?}");
        registered |= line.starts_with("RS+ ");
        if let Some(error) = line.strip_prefix("-ERR '") {
            let known = ERRORS.iter().find(|known| error.contains(**known));
            let known = known.unwrap_or_else(|| panic!("not documented: {error:?}"));
            tally.count(known);
        }
        if line.starts_with("RMSG ") || line.starts_with("HMSG ") {
            // Payloads may hold anything.
            break;
        }
    }
    if registered {
        tally.count(if wire.is_empty() { "members" } else { "members that compress" });
    }
}

// --- The server ---

/// A server that writes its log to a file that stays short.
struct Server {
    child: Child,
    client: Port,
    cluster: Port,
    monitor: Port,
    dir: tempfile::TempDir,
}

impl Server {
    fn start(shards: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [client, cluster, monitor] = std::array::from_fn(|_| Port::reserve());
        let config = dir.path().join("server.conf");
        let log = dir.path().join("server.log");
        // What is kept of those that are gone is bounded by time, and a fast machine would see it grow
        // for minutes: so timers end soon.
        let text = format!(
            "server_name: a\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nlog_file: {log:?}\n\
             logfile_size_limit: 4M\nlogfile_max_num: 2\nmax_closed_clients: 100\nping_interval: 1h\n\
             cluster {{ name: mesh, listen: \"127.0.0.1:{}\", compression: s2_fast, ping_interval: 2 }}\n",
            client.number, monitor.number, cluster.number
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Kind::Ours { shards }.command();
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: command.spawn().unwrap(), client, cluster, monitor, dir };
        let open = |port: u16| TcpStream::connect(("127.0.0.1", port)).ok();
        for port in [&server.client, &server.monitor, &server.cluster] {
            assert!(poll(|| open(port.number)).is_some(), "no server:\n{}", server.log());
        }
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    fn look(&self, path: &str) -> Value {
        let stream = TcpStream::connect(("127.0.0.1", self.monitor.number));
        let stream = stream.unwrap_or_else(|error| panic!("no server: {error}\n{}", self.log()));
        mesh::http::get(stream, path).expect("monitoring answers")
    }

    /// Waits until no server is connected and nothing is left of what others wanted; the memory then.
    fn at_rest(&self) -> u64 {
        let rest = poll(|| {
            let (varz, routez) = (self.look("/varz"), self.look("/routez"));
            let left = [&varz["connections"], &varz["subscriptions"], &routez["num_routes"]];
            // Only the client that stays is there, and what the server itself subscribes to.
            let [clients, wanted, routes] = left.map(|value| value.as_u64().unwrap());
            let rests = clients == 1 && wanted <= OWN_SUBSCRIPTIONS_MAX && routes == 0;
            rests.then(|| varz["mem"].as_u64().unwrap())
        });
        rest.unwrap_or_else(|| panic!("something is left: {:#}", self.look("/varz")))
    }

    /// Clients are served, and a good server is let in and gets their messages.
    fn serves(&self) {
        let mut client = Talk::dial(&self.client, "CONNECT {\"verbose\":false}\r\n");
        client.say("SUB well 1\r\nPING\r\n");
        client.hears("PONG\r\n");
        let fill = |text: &str| {
            let text = text.replace("{id}", "NGOODROUTE").replace("{name}", "good");
            text.replace("{mode}", "off").replace("{more}", ",\"route_pool_idx\":2")
        };
        let mut route = Talk::dial(&self.cluster, &fill(CONNECT));
        route.say(&fill(INFO));
        route.hears("RS+ $G well\r\n");
        route.say("RMSG $G well 2\r\nhi\r\n");
        client.hears("MSG well 1 2\r\nhi\r\n");
    }
}

/// More than this the server and the client that stays do not subscribe to.
const OWN_SUBSCRIPTIONS_MAX: u64 = 100;

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection as usual.
struct Talk {
    socket: TcpStream,
    heard: Vec<u8>,
}

impl Talk {
    fn dial(port: &Port, greeting: &str) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port.number)).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let mut talk = Self { socket, heard: Vec::new() };
        talk.say(greeting);
        talk
    }

    fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    fn hears(&mut self, wanted: &str) {
        let mut buffer = [0; 4096];
        while memchr::memmem::find(&self.heard, wanted.as_bytes()).is_none() {
            let count = self.socket.read(&mut buffer).expect("an answer in time");
            assert!(count > 0, "the end: {:?}", String::from_utf8_lossy(&self.heard));
            self.heard.extend_from_slice(&buffer[..count]);
        }
    }
}
