//! The monitor over real sockets, with made-up shards behind it; and the same questions put to the
//! real nats-server.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ring::Time;
use tokio::sync::oneshot;

use super::{MeshView, Monitor, MonitorLimits, Source};
use crate::account::Accounts;
use crate::hist::Hist;
use crate::report::{
    AccountReport, ConnectionReport, End, ReportRequest, ServerFacts, ShardReport, Slots, Stage,
    SublistStats, SubscriptionReport,
};
use crate::stats::Counters;

mod cluster;
mod options;
#[path = "../../tests/tools/mod.rs"]
mod tools;

/// A server that stands still: its lists are whole in the reports, and are sliced when asked for.
#[derive(Clone, Debug)]
struct StillServer {
    facts: ServerFacts,
    unready: Option<String>,
    mesh: Option<MeshView>,
    hangs: bool,
    shards: Vec<ShardReport>,
    asked: Arc<Mutex<Vec<ReportRequest>>>,
}

impl Source for StillServer {
    fn now(&self) -> Time {
        at(100)
    }

    fn facts(&self) -> Arc<ServerFacts> {
        Arc::new(self.facts.clone())
    }

    fn unready(&self) -> Option<String> {
        self.unready.clone()
    }

    fn accounts(&self) -> Arc<Accounts> {
        let mut accounts = Accounts::default();
        for name in &self.facts.accounts {
            accounts.add(name, false);
        }
        Arc::new(accounts)
    }

    fn mesh(&self) -> Option<MeshView> {
        self.mesh.clone()
    }

    async fn reports(&self, request: ReportRequest) -> Vec<ShardReport> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.asked.lock().unwrap().push(request.clone());
        let reports = self.shards.iter().map(|shard| ShardReport {
            connection_slots: slots_of(&shard.connections),
            connections: slice(&shard.connections, request.connections),
            closed_slots: slots_of(&shard.closed),
            closed: slice(&shard.closed, request.closed),
            subscription_slots: slots_of(&shard.subscriptions)
                .max(slots_of(&shard.route_subscriptions)),
            subscriptions: slice(&shard.subscriptions, request.subscriptions),
            routes: if request.routes { shard.routes.clone() } else { Vec::new() },
            route_subscriptions: slice(&shard.route_subscriptions, request.route_subscriptions),
            accounts: if request.accounts { shard.accounts.clone() } else { Vec::new() },
            latency: if request.latency { shard.latency.clone() } else { Vec::new() },
            ..shard.clone()
        });
        reports.collect()
    }
}

fn slots_of<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap()
}

fn slice<T: Clone>(list: &[T], slots: Option<Slots>) -> Vec<T> {
    let Some(Slots { from, to }) = slots else {
        return Vec::new();
    };
    let (from, to) = (from as usize, to as usize);
    list.iter().skip(from).take(to - from).cloned().collect()
}

fn at(seconds: u64) -> Time {
    Time::from_nanos((1_700_000_000 + seconds) * 1_000_000_000)
}

fn facts() -> ServerFacts {
    ServerFacts {
        server_id: "NID".into(),
        server_name: "a<b>".into(),
        version: "2.15.1".into(),
        ringmesh: "0.1.0".into(),
        git_commit: Some("abc".into()),
        runtime: "rust".into(),
        host: "0.0.0.0".into(),
        port: 4222,
        auth_required: true,
        max_connections: 65536,
        max_subscriptions: 100,
        ping_interval: Duration::from_secs(120),
        ping_max: 2,
        http_host: "127.0.0.1".into(),
        http_port: 8222,
        auth_timeout: 2.0,
        tls_timeout: 2.0,
        max_control_line: 4096,
        max_payload: 1 << 20,
        max_pending: 64 << 20,
        write_deadline: Duration::from_secs(10),
        start: at(0),
        shards: 2,
        config_load_time: at(0),
        config_digest: "sha256:0".into(),
        tags: vec!["x".into(), "y".into()],
        metadata: BTreeMap::from([("k".into(), "v".into())]),
        feature_flags: FLAGS.iter().map(|flag| ((*flag).into(), false)).collect(),
        system_account: "$SYS".into(),
        accounts: vec!["$G".into(), "$SYS".into()],
        ..ServerFacts::default()
    }
}

const FLAGS: [&str; 4] =
    ["js_ack_fc_v2", "js_api_reply_v2", "js_raft_delete_range", "js_snapshot_sources"];

fn connection(cid: u64) -> ConnectionReport {
    ConnectionReport {
        cid,
        kind: crate::report::ConnectionKind::Client,
        peer: "127.0.0.1:1000".parse().unwrap(),
        start: at(cid),
        last_activity: at(50),
        end: None,
        rtt: Duration::from_micros(424),
        pending_bytes: 0,
        in_msgs: 0,
        out_msgs: 0,
        in_bytes: 0,
        out_bytes: 0,
        stalls: 0,
        subscriptions: 0,
        name: "n<1>".into(),
        lang: "rust".into(),
        version: "1.0".into(),
        authorized_user: "al".into(),
        account: "$G".into(),
        closed_subscriptions: Vec::new(),
    }
}

fn closed(cid: u64, reason: &'static str, stop: u64) -> ConnectionReport {
    ConnectionReport { end: Some(End { at: at(stop), reason }), ..connection(cid) }
}

fn subscription(cid: u64, subject: &str) -> SubscriptionReport {
    SubscriptionReport {
        account: "$G".into(),
        subject: subject.into(),
        sid: "1".into(),
        cid,
        ..SubscriptionReport::default()
    }
}

fn server(shards: Vec<ShardReport>) -> StillServer {
    let asked = Arc::default();
    StillServer { facts: facts(), unready: None, mesh: None, hangs: false, shards, asked }
}

/// A monitor on a thread of its own; it ends when this is dropped.
struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(server: StillServer) -> Self {
        Self::with_limits(server, MonitorLimits::default())
    }

    fn with_limits(server: StillServer, limits: MonitorLimits) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let monitor = Monitor::new(server, limits);
                tokio::select! {
                    () = monitor.serve(listener) => {}
                    _ = stopped => {}
                }
            });
        };
        Self { address, stop: Some(stop), thread: Some(thread::spawn(run)) }
    }

    fn get(&self, path: &str) -> Reply {
        get(self.address, path)
    }

    fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path).body).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().map(JoinHandle::join);
    }
}

/// What came back over HTTP.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn get(address: SocketAddr, path: &str) -> Reply {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(address, request.as_bytes())
}

fn exchange(address: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().into();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), if name == "Date" { String::new() } else { value.to_owned() })
    };
    let mut headers: BTreeMap<_, _> = lines.map(header).collect();
    // The peer does not know the length of what is long before it has sent some of it.
    let body = match headers.remove("Transfer-Encoding") {
        Some(_) => unchunked(body),
        None => body.into(),
    };
    headers.entry("Content-Length".into()).or_insert_with(|| body.len().to_string());
    Reply { status, headers, body }
}

fn unchunked(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        out.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    out
}

/// Questions that are refused, or answered without naming times.
const PLAIN_QUESTIONS: &[&str] = &[
    "/connz?subs=foo",
    "/connz?subs=%22%0a%c3%bc%00%5c",
    "/connz?auth=yes",
    "/connz?offset=x",
    "/connz?limit=1e3",
    "/connz?limit=99999999999999999999",
    "/connz?cid=-1",
    "/connz?cid=%2B1",
    "/connz?cid=99999999999999999999",
    "/connz?state=bogus",
    "/connz?state=2&sort=bogus",
    "/connz?sort=bogus",
    "/connz?sort=stop",
    "/connz?sort=reason&state=all",
    "/connz?auth=2&subs=3&offset=x&limit=y&cid=z&state=a&sort=b",
    "/connz?subs=3&offset=x&limit=y&cid=z&state=a&sort=b",
    "/connz?offset=x&limit=y&cid=z&state=a&sort=b",
    "/connz?limit=y&cid=z&state=a&sort=b",
    "/connz?cid=z&state=a&sort=b",
    "/connz?state=a&sort=b",
    "/accountz?acc=nope",
    "/accstatz?unused=x",
    "/subsz?subs=foo",
    "/subsz?subs=detail",
    "/subsz?offset=a&limit=b",
    "/subsz?subs=x&offset=a&limit=b&test=a..b",
    "/subsz?limit=b&test=a..b",
    "/subsz?test=a..b",
    "/subsz?test=%3E",
    "/subsz?test=a.*",
    "/subsz?test=.a",
    "/routez?subs=x",
    "/gatewayz?accs=x",
    "/gatewayz?subs=x",
    "/gatewayz?subs=detail&accs=y",
    "/gatewayz?subs=x&accs=y",
    "/leafz?subs=x",
    "/leafz?subs=detail",
    "/jsz?accounts=x&streams=x&consumers=x&direct-consumers=x&config=x&offset=x&limit=x&leader-only=x&raft=x&stream-leader-only=x",
    "/jsz?streams=x&consumers=x&direct-consumers=x&config=x&offset=x&limit=x&leader-only=x&raft=x&stream-leader-only=x",
    "/jsz?consumers=x&direct-consumers=x&config=x&offset=x&limit=x&leader-only=x&raft=x&stream-leader-only=x",
    "/jsz?direct-consumers=x&config=x&offset=x&limit=x&leader-only=x&raft=x&stream-leader-only=x",
    "/jsz?config=x&offset=x&limit=x&leader-only=x&raft=x&stream-leader-only=x",
    "/jsz?offset=x&limit=x&leader-only=x&raft=x&stream-leader-only=x",
    "/jsz?limit=x&leader-only=x&raft=x&stream-leader-only=x",
    "/jsz?leader-only=x&raft=x&stream-leader-only=x",
    "/jsz?raft=x&stream-leader-only=x",
    "/jsz?stream-leader-only=x",
    "/jsz?leader-only=1",
    "/healthz",
    "/healthz?details=x",
    "/healthz?details=1",
    "/healthz?js-enabled-only=true",
    "/healthz?js-meta-only=zzz&details=q",
    "/healthz?js-enabled=a&js-enabled-only=b&js-server-only=c&js-meta-only=d",
    "/healthz?js-enabled-only=b&js-server-only=c",
    "/healthz?stream=x",
    "/healthz?stream=x&details=true",
    "/healthz?consumer=x&account=y&details=true",
    "/healthz?consumer=x",
    "/healthz?account=foo&stream=x&consumer=y",
    "/nope",
    "/varz/",
    "/varz/x",
    "//varz",
    "/a/../varz",
    "/a/./../varz/",
    "/VARZ",
];

/// Questions whose answers name times and numbers; their shape is compared.
const SHAPED_QUESTIONS: &[&str] = &[
    // First, because of refused requests the peer counts some and we count all.
    "/routez",
    "/varz",
    "/varz?callback=x",
    "/connz",
    "/connz?auth=1",
    "/connz?auth=1&subs=1",
    "/connz?auth=T&subs=detail&state=any",
    "/connz?subs=detail&state=CLOSED&sort=stop",
    "/connz?state=closed&auth=1&subs=true&sort=reason",
    "/connz?cid=999",
    "/connz?acc=nobody",
    "/connz?acc=$G&state=closed",
    "/connz?limit=-1&offset=-1&bad=%zz",
    "/connz?offset=5",
    "/subsz?acc=nobody&subs=1",
    "/subsz?subs=1&test=foo.bar",
    "/subscriptionsz?subs=1&test=foo.bar&acc=$G",
    "/subsz?test=foo.bar",
    "/routez?subs=detail",
    "/accountz",
    "/accstatz",
    "/accstatz?unused=1",
    "/gatewayz",
    "/leafz",
    "/jsz",
];

#[test]
fn the_real_server_answers_the_same() {
    let peer = Peer::start();
    let ours = Running::start(like_the_peer());
    for question in PLAIN_QUESTIONS {
        assert_eq!(ours.get(question), get(peer.monitor, question), "{question}");
    }
    for question in SHAPED_QUESTIONS {
        let (our, their) = (ours.get(question), get(peer.monitor, question));
        assert_eq!(our.status, their.status, "{question}");
        assert_eq!(shape(&our.body), shape(&their.body), "{question}");
        let headers = |reply: Reply| reply.headers.into_keys().collect::<Vec<_>>();
        assert_eq!(headers(our), headers(their), "{question}");
    }
}

/// The lines of indented JSON with their values' kinds instead of the values, without our own key
/// and what the peer measures when it likes.
fn shape(json: &str) -> Vec<String> {
    let kind = |value: &str| match value.as_bytes()[0] {
        b'"' => "string".to_owned(),
        b'0'..=b'9' | b'-' => "number".into(),
        b't' | b'f' => "boolean".into(),
        _ => value.to_owned(),
    };
    let line = |line: &str| {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        let comma = if text.ends_with(',') { "," } else { "" };
        match text.trim_end_matches(',').split_once("\": ") {
            Some((key, value)) => format!("{indent}{key}: {}{comma}", kind(value)),
            None if text.starts_with('"') => format!("{indent}string{comma}"),
            None => line.to_owned(),
        }
    };
    let ours_or_optional =
        |line: &&str| !line.contains("\"ringmesh\":") && !line.contains("\"rtt\":");
    json.lines().filter(ours_or_optional).map(line).collect()
}

/// What the peer of the test looks like: one client with a subscription, and one that has left.
fn like_the_peer() -> StillServer {
    let mut gone = closed(6, "Client Closed", 60);
    gone.subscriptions = 1;
    gone.closed_subscriptions = vec![subscription(6, "gone")];
    let mut here = connection(5);
    here.subscriptions = 1;
    let queue = SubscriptionReport { queue: "q".into(), max: 7, ..subscription(5, "foo.*") };
    server(vec![ShardReport {
        connections_open: 1,
        subscriptions_open: 1,
        connections: vec![here],
        closed: vec![gone],
        subscriptions: vec![queue],
        accounts: vec![AccountReport { clients: 1, subscriptions: 1, ..Default::default() }],
        ..ShardReport::default()
    }])
}

/// The real nats-server with its two clients.
struct Peer {
    process: Child,
    monitor: SocketAddr,
    _directory: tempfile::TempDir,
    _client: TcpStream,
}

impl Peer {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("peer.conf");
        std::fs::write(&config, PEER_CONFIG).unwrap();
        let mut process =
            Command::new(tools::tool("server").expect("scripts/tools makes nats-server"))
                .arg("-c")
                .arg(&config)
                .arg("--ports_file_dir")
                .arg(directory.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
        let ports = await_ports(directory.path(), &mut process);
        let url = |kind: &str, scheme: &str| {
            let url = ports[kind][0].as_str().unwrap().strip_prefix(scheme).unwrap();
            url.parse::<SocketAddr>().unwrap()
        };
        let (nats, monitor) = (url("nats", "nats://"), url("monitoring", "http://"));
        let client = client(nats, "SUB foo.* q 1\r\nUNSUB 1 7\r\n");
        drop(client_that_leaves(nats));
        let peer = Self { process, monitor, _directory: directory, _client: client };
        peer.await_closed();
        peer
    }

    /// Asks until the peer has noticed who left.
    fn await_closed(&self) {
        while !get(self.monitor, "/connz?state=closed").body.contains("\"total\": 1") {
            thread::yield_now();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

const PEER_CONFIG: &str = r#"
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
server_name: "a<b>"
server_tags: [x, y]
server_metadata: {k: v}
max_subscriptions: 100
authorization { user: al, password: pw }
"#;

fn await_ports(directory: &Path, process: &mut Child) -> serde_json::Value {
    let path = directory.join(format!("nats-server_{}.ports", process.id()));
    loop {
        assert!(process.try_wait().unwrap().is_none(), "the peer has ended");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if let Ok(ports) = serde_json::from_str(&text) {
            return ports;
        }
        thread::yield_now();
    }
}

/// A client that has sent `commands` and got its PONG.
fn client(address: SocketAddr, commands: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let connect =
        r#"{"verbose":false,"name":"n<1>","lang":"rust","version":"1.0","user":"al","pass":"pw"}"#;
    write!(stream, "CONNECT {connect}\r\n{commands}PING\r\n").unwrap();
    read_until(&mut stream, b"PONG\r\n");
    stream
}

fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
}

fn client_that_leaves(address: SocketAddr) -> TcpStream {
    client(address, "SUB gone 1\r\n")
}

#[test]
fn a_wrong_parameter_is_refused_with_the_peers_text() {
    let running = Running::start(like_the_peer());
    let check = |path: &str, body: &str| {
        let reply = running.get(path);
        assert_eq!(
            (reply.status.as_str(), reply.body.as_str()),
            ("HTTP/1.1 400 Bad Request", body)
        );
        assert_eq!(reply.headers["Content-Type"], "text/plain; charset=utf-8");
    };
    check("/connz?state=2", "Error decoding state for 2");
    check("/connz?sort=bogus", "invalid sorting option: bogus");
    check("/connz?sort=stop", "sort by stop only valid on closed connections");
    check("/subsz?test=a..b", "invalid test subject, must be valid publish subject: a..b");
    check(
        "/connz?offset=x",
        "Error decoding int for 'offset': strconv.Atoi: parsing \"x\": invalid syntax",
    );
}

/// Two shards with four open connections and two closed ones.
fn two_shards() -> StillServer {
    let mut connections = [connection(5), connection(6), connection(7), connection(8)];
    for (connection, (subs, msgs, last)) in
        connections.iter_mut().zip([(0, 5, 40), (1, 0, 60), (2, 9, 30), (3, 1, 50)])
    {
        connection.subscriptions = subs;
        (connection.out_msgs, connection.in_bytes) = (msgs, msgs * 10);
        (connection.in_msgs, connection.pending_bytes) = (10 - msgs, u64::from(subs) * 7);
        connection.last_activity = at(last);
        connection.rtt = Duration::from_micros(500 - msgs);
        connection.authorized_user = if connection.cid % 2 == 0 { "bo" } else { "al" }.into();
    }
    let [c5, c6, c7, c8] = connections;
    let mut other = closed(9, "Client Closed", 70);
    other.account = "A".into();
    let shard = |number, connections: [ConnectionReport; 2], closed, subscriptions| ShardReport {
        shard: number,
        counters: Counters { in_msgs: 3, total_connections: 3, ..Counters::default() },
        connections_open: 2,
        subscriptions_open: 3,
        pending_bytes: 10,
        sublist: SublistStats { subscriptions: 3, matches: 6, cache_hits: 1, ..Default::default() },
        connections: connections.into(),
        closed: vec![closed],
        subscriptions,
        latency: vec![(Stage::Delivery, hist(&[2_000, 3_000_000]))],
        ..ShardReport::default()
    };
    let mut server = server(vec![
        shard(0, [c5, c6], other, vec![subscription(6, "foo.*")]),
        shard(
            1,
            [c8, c7],
            closed(10, "Authentication Failure", 80),
            vec![subscription(8, "a.>"), subscription(7, "foo.bar"), subscription(8, "foo.x")],
        ),
    ]);
    server.facts.accounts.push("A".into());
    server
}

fn hist(nanos: &[u64]) -> Hist {
    let mut hist = Hist::new();
    nanos.iter().for_each(|nanos| hist.record_nanos(*nanos));
    hist
}

#[test]
fn connections_are_sorted_filtered_and_paged_over_all_shards() {
    let running = Running::start(two_shards());
    let check = |query: &str, cids: &[u64], total: u64| {
        let connz = running.json(&format!("/connz?{query}"));
        let listed = connz["connections"].as_array().unwrap();
        let found: Vec<u64> = listed.iter().map(|c| c["cid"].as_u64().unwrap()).collect();
        assert_eq!((found.as_slice(), &connz["total"]), (cids, &total.into()), "{query}");
        assert_eq!(connz["num_connections"], cids.len(), "{query}");
    };
    check("", &[5, 6, 7, 8], 4);
    check("sort=start", &[5, 6, 7, 8], 4);
    check("sort=subs", &[8, 7, 6, 5], 4);
    check("sort=pending", &[8, 7, 6, 5], 4);
    check("sort=msgs_to", &[7, 5, 8, 6], 4);
    check("sort=msgs_from", &[6, 8, 5, 7], 4);
    check("sort=bytes_from", &[7, 5, 8, 6], 4);
    check("sort=bytes_to", &[5, 6, 7, 8], 4);
    check("sort=last", &[6, 8, 5, 7], 4);
    check("sort=idle", &[7, 5, 8, 6], 4);
    check("sort=uptime", &[8, 7, 6, 5], 4);
    check("sort=rtt", &[6, 8, 5, 7], 4);
    check("state=closed&sort=stop", &[10, 9], 2);
    check("state=closed&sort=reason", &[10, 9], 2);
    check("state=all", &[5, 6, 7, 8, 9, 10], 6);
    check("offset=1&limit=2", &[6, 7], 4);
    check("offset=9", &[], 4);
    check("user=bo", &[6, 8], 4);
    check("cid=7", &[7], 4);
    check("cid=9", &[], 4);
    check("cid=9&state=any", &[9], 6);
    check("cid=5&user=bo", &[], 4);
    check("acc=$G", &[5, 6, 7, 8], 4);
    check("acc=A&state=all", &[9], 1);
    check("acc=$SYS", &[], 0);
    check("mqtt_client=x", &[], 4);
}

#[test]
fn subscriptions_are_listed_under_their_connection_and_by_subject() {
    let running = Running::start(two_shards());
    let connz = running.json("/connz?subs=1");
    let subs = |index: usize| &connz["connections"][index]["subscriptions_list"];
    assert_eq!(subs(0), &serde_json::Value::Null);
    assert_eq!(subs(1), &serde_json::json!(["foo.*"]));
    assert_eq!(subs(3), &serde_json::json!(["a.>", "foo.x"]));
    let check = |query: &str, subjects: &[&str], total: u64| {
        let subsz = running.json(&format!("/subsz?{query}"));
        let listed = subsz["subscriptions_list"].as_array().cloned().unwrap_or_default();
        let found: Vec<_> = listed.iter().map(|s| s["subject"].as_str().unwrap()).collect();
        assert_eq!((found.as_slice(), &subsz["total"]), (subjects, &total.into()), "{query}");
    };
    check("", &[], 0);
    check("subs=1", &["foo.*", "a.>", "foo.bar", "foo.x"], 4);
    check("subs=1&test=foo.bar", &["foo.*", "foo.bar"], 2);
    check("subs=1&offset=1&limit=1", &["a.>"], 4);
    check("subs=1&acc=A", &[], 0);
    let subsz = running.json("/subsz");
    assert_eq!((&subsz["num_subscriptions"], &subsz["num_matches"]), (&6.into(), &12.into()));
}

#[test]
fn no_shard_is_asked_for_many_connections_at_once() {
    let mut server = server(vec![
        ShardReport { connections: (1..=1000).map(connection).collect(), ..ShardReport::default() },
        ShardReport::default(),
    ]);
    server.shards[1].connections = (1001..=1003).map(connection).collect();
    let asked = Arc::clone(&server.asked);
    let running = Running::start(server);
    let connz = running.json("/connz?limit=1000000&offset=1000");
    assert_eq!((&connz["num_connections"], &connz["total"]), (&3.into(), &1003.into()));
    assert_eq!((&connz["connections"][0]["cid"], &connz["limit"]), (&1001.into(), &16_384.into()));
    let slices = asked.lock().unwrap();
    assert_eq!(slices.len(), 4);
    assert!(slices.iter().all(|asked| {
        let slots = asked.connections.unwrap();
        slots.to - slots.from == 256
    }));
}

#[test]
fn varz_adds_the_shards_up_and_counts_its_own_requests() {
    let running = Running::start(two_shards());
    running.get("/connz?subs=nonsense");
    running.get("/nope");
    let varz = running.json("/varz");
    let check = |key: &str, expected: serde_json::Value| assert_eq!(varz[key], expected, "{key}");
    check("server_name", "a<b>".into());
    check("ringmesh", "0.1.0".into());
    check("in_msgs", 6.into());
    check("connections", 4.into());
    check("subscriptions", 6.into());
    check("uptime", "1m40s".into());
    check("http_req_stats", serde_json::json!({"/connz": 1, "/varz": 1}));
    assert!(varz["mem"].as_u64().unwrap() > 1_000_000);
}

#[test]
fn metrics_have_the_exporters_names_and_each_is_described_once() {
    let running = Running::start(two_shards());
    let reply = running.get("/metrics");
    assert_eq!(reply.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8");
    let check = |line: &str| {
        assert!(reply.body.lines().any(|l| l == line), "{line:?} is missing in {}", reply.body);
    };
    check("# TYPE gnatsd_varz_in_msgs gauge");
    check(r#"gnatsd_varz_in_msgs{server_id="NID"} 6"#);
    check(r#"gnatsd_varz_start{server_id="NID"} 1700000000000"#);
    check(r#"gnatsd_varz_slow_consumer_stats_clients{server_id="NID"} 0"#);
    check(r#"gnatsd_varz_http_req_stats_metrics{server_id="NID"} 1"#);
    check(r#"gnatsd_varz_version{server_id="NID",value="2.15.1"} 1"#);
    check(r#"gnatsd_connz_num_connections{server_id="NID"} 4"#);
    check(r#"gnatsd_subsz_num_matches{server_id="NID"} 12"#);
    check(r#"gnatsd_routez_num_routes{server_id="NID"} 0"#);
    check(r#"gnatsd_routez_server_id{server_id="NID",value="NID"} 1"#);
    check(r#"gnatsd_healthz_status_value{server_id="NID",value="ok"} 1"#);
    check(r#"ringmesh_connections{shard="1"} 2"#);
    check(r#"ringmesh_in_msgs_total{shard="0"} 3"#);
    check("# TYPE ringmesh_delivery_latency_seconds histogram");
    check(r#"ringmesh_delivery_latency_seconds_bucket{shard="0",le="0.000001"} 0"#);
    check(r#"ringmesh_delivery_latency_seconds_bucket{shard="0",le="0.0025"} 1"#);
    check(r#"ringmesh_delivery_latency_seconds_bucket{shard="1",le="1"} 2"#);
    check(r#"ringmesh_delivery_latency_seconds_bucket{shard="1",le="+Inf"} 2"#);
    check(r#"ringmesh_delivery_latency_seconds_sum{shard="1"} 0.003002"#);
    let mut heads: Vec<_> = reply.body.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let count = heads.len();
    heads.sort_unstable();
    heads.dedup();
    assert_eq!(heads.len(), count, "a metric is described twice");
}

#[test]
fn latencies_are_given_by_shard_and_together() {
    let running = Running::start(two_shards());
    let latencyz = running.json("/latencyz");
    let all = &latencyz["stages"][0];
    assert_eq!((&all["stage"], &all["count"]), (&"delivery".into(), &4.into()));
    assert_eq!((&all["mean_ns"], &all["max_ns"]), (&1_501_000.into(), &3_000_000.into()));
    assert_eq!(latencyz["shards"][1]["shard"], 1);
    assert_eq!(latencyz["shards"][1]["stages"][0]["p50_ns"], 2_047);
}

#[test]
fn a_server_that_cannot_serve_is_not_healthy() {
    let unready = Some("not listening".into());
    let running = Running::start(StillServer { unready, ..two_shards() });
    let check = |path: &str, body: &str| {
        let reply = running.get(path);
        assert_eq!(reply.status, "HTTP/1.1 500 Internal Server Error");
        assert_eq!(reply.body, body);
    };
    check("/healthz", r#"{"status":"error","error":"not listening"}"#);
    check(
        "/healthz?details=1",
        r#"{"status":"error","errors":[{"type":"CONNECTION","error":"not listening"}]}"#,
    );
}

#[test]
fn a_base_path_stands_before_every_endpoint() {
    let mut server = two_shards();
    server.facts.http_base_path = "/nats/x".into();
    let running = Running::start(server);
    let check = |path: &str, status: &str| assert_eq!(running.get(path).status, status, "{path}");
    check("/nats/x/varz", "HTTP/1.1 200 OK");
    check("/nats/x", "HTTP/1.1 200 OK");
    check("/nats/x/", "HTTP/1.1 200 OK");
    check("/varz", "HTTP/1.1 404 Not Found");
    check("/", "HTTP/1.1 404 Not Found");
    check("/nats/xvarz", "HTTP/1.1 404 Not Found");
    assert!(running.get("/nats/x/").body.contains("href=\"./nats/x/connz\""));
}

#[test]
fn a_request_that_is_too_long_or_too_slow_ends() {
    let limits =
        MonitorLimits { head_timeout: Duration::from_millis(20), ..MonitorLimits::default() };
    let running = Running::with_limits(two_shards(), limits);
    let long = format!("GET /varz?{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    assert_ne!(exchange(running.address, long.as_bytes()).status, "HTTP/1.1 200 OK");
    let mut slow = TcpStream::connect(running.address).unwrap();
    slow.write_all(b"GET /varz HT").unwrap();
    slow.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(running.get("/healthz").status, "HTTP/1.1 200 OK");
}

#[test]
fn a_shard_that_hangs_does_not_hang_the_monitor() {
    let limits =
        MonitorLimits { answer_timeout: Duration::from_millis(20), ..MonitorLimits::default() };
    let running = Running::with_limits(StillServer { hangs: true, ..two_shards() }, limits);
    for path in ["/varz", "/connz", "/subsz", "/connz", "/metrics", "/latencyz"] {
        assert_eq!(running.get(path).status, "HTTP/1.1 503 Service Unavailable", "{path}");
    }
    assert_eq!(running.get("/healthz").status, "HTTP/1.1 200 OK");
}

#[test]
fn a_connection_beyond_the_bound_waits_for_one_to_end() {
    let limits = MonitorLimits { connections_max: 1, ..MonitorLimits::default() };
    let running = Running::with_limits(two_shards(), limits);
    let mut first = TcpStream::connect(running.address).unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    read_until(&mut first, b"}");
    let mut second = TcpStream::connect(running.address).unwrap();
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // While the first is answered twice more, the second could be.
    for _ in 0..2 {
        first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        read_until(&mut first, b"}");
    }
    second.set_nonblocking(true).unwrap();
    assert!(second.read(&mut [0]).is_err(), "the second is not answered beside the first");
    second.set_nonblocking(false).unwrap();
    drop(first);
    read_until(&mut second, b"}");
}

#[test]
fn the_monitor_runs_on_the_control_threads_runtime() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (done, asked) = oneshot::channel::<()>();
    let asker = thread::spawn(move || {
        // Whatever becomes of the question, the monitor ends after it.
        let _done = done;
        get(address, "/connz").status
    });
    tokio_uring::start(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let monitor = Monitor::new(two_shards(), MonitorLimits::default());
        tokio::select! {
            () = monitor.serve(listener) => {}
            _ = asked => {}
        }
    });
    assert_eq!(asker.join().unwrap(), "HTTP/1.1 200 OK");
}
