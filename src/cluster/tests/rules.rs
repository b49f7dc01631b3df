//! The rules of the protocol, one by one: a mesh is told something, and answers.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use ring::{Time, Token};

use crate::close::CloseReason as R;
use crate::cluster::{Action, Event, Lane, Mesh, MeshOptions, Registration, RouteAuth, RouteUrl};
use crate::engine::RouteEvent;
use crate::ids::ConnId;
use crate::proto::route::pool_index;
use crate::proto::route_info::{Ringmesh, RouteConnect, RouteInfo, SubjectRules};
use crate::transport::Mode;

const NOW: Time = Time::from_nanos(1_000_000_000_000);
const US: &str = "NM";

/// A mesh, and short ways to talk to it.
struct Talk {
    mesh: Mesh,
    now: Time,
    conns: u32,
}

fn options() -> MeshOptions {
    MeshOptions {
        server_id: US.to_owned(),
        server_name: "us".to_owned(),
        version: "2.15.1".to_owned(),
        cluster: Some("C".to_owned()),
        host: "10.0.0.9".to_owned(),
        port: 6222,
        pool_size: Some(3),
        accounts: ["$SYS".to_owned()].into(),
        accounts_known: ["$SYS", "$G", "A"].map(str::to_owned).into(),
        headers: true,
        max_payload: 1 << 20,
        ..MeshOptions::default()
    }
}

fn route(host: &str, port: u16) -> RouteUrl {
    RouteUrl { host: host.to_owned(), port, auth: None }
}

fn connect() -> RouteConnect {
    RouteConnect {
        echo: true,
        headers: true,
        name: "NX".to_owned(),
        cluster: "C".to_owned(),
        ..RouteConnect::default()
    }
}

fn info(id: &str) -> RouteInfo {
    RouteInfo {
        server_id: id.to_owned(),
        server_name: format!("name-{id}"),
        proto: 3,
        host: "0.0.0.0".to_owned(),
        port: 6222,
        headers: true,
        cluster: "C".to_owned(),
        compression: Some("off".to_owned()),
        route_pool_size: 3,
        ..RouteInfo::default()
    }
}

/// What stands behind the verb.
fn json(encode: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut line = Vec::new();
    encode(&mut line);
    let text = String::from_utf8(line).unwrap();
    text.split_once(' ').unwrap().1.trim().as_bytes().to_vec()
}

fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 40_000))
}

/// Actions in a few words, INFOs with what differs.
fn words(actions: &[Action]) -> Vec<String> {
    actions.iter().map(word).collect()
}

fn word(action: &Action) -> String {
    match action {
        Action::Resolve { host, port, .. } => format!("resolve {host}:{port}"),
        Action::Dial { address, .. } => format!("dial {address}"),
        Action::CheckPassword { .. } => "check".to_owned(),
        Action::Send { bytes, .. } => {
            let text = std::str::from_utf8(bytes).unwrap();
            let (verb, rest) = text.split_once(' ').unwrap();
            if verb != "INFO" {
                return verb.to_owned();
            }
            let info = RouteInfo::parse(rest.trim().as_bytes()).unwrap();
            let mut said = format!("INFO {}", info.server_id);
            if let Some(mode) = info.compression.filter(|_| info.server_id == US) {
                said += &format!(" {mode}");
            }
            if info.route_pool_idx != 0 {
                said += &format!(" idx={}", info.route_pool_idx);
            }
            if !info.route_account.is_empty() {
                said += &format!(" acc={}", info.route_account);
            }
            if info.gossip_mode != 0 {
                said += &format!(" gossip={}", info.gossip_mode);
            }
            said
        }
        Action::Compress { mode, .. } => format!("compress {mode}"),
        Action::Register { registration, .. } => format!("register {:?}", registration.lane),
        Action::Ping { .. } => "PING".to_owned(),
        Action::Continue { .. } => "continue".to_owned(),
        Action::Close { reason, error, .. } => match error {
            Some(error) => format!("close {reason}: {error}"),
            None => format!("close {reason}"),
        },
        Action::ForgetAccount { account, .. } => format!("forget {account}"),
        Action::SetApart { accounts, .. } => format!("apart {}", accounts.join(" ")),
        Action::SetSolicited { configured, .. } => format!("solicited, configured: {configured}"),
        Action::PeerRules { .. } => "rules".to_owned(),
        Action::ClientUrls(urls) => format!("urls {}", urls.join(" ")),
        Action::ClusterName(name) => format!("name {name}"),
        Action::RemoteJoined { id, .. } => format!("joined {id}"),
        Action::RemoteLeft { id } => format!("left {id}"),
    }
}

impl Talk {
    fn new(options: MeshOptions) -> Self {
        Self { mesh: Mesh::new(options, 1, NOW), now: NOW, conns: 0 }
    }

    fn tell(&mut self, event: impl Into<Event>) -> Vec<Action> {
        let mut out = Vec::new();
        self.mesh.handle(self.now, event.into(), &mut out);
        out
    }

    fn wait(&mut self, span: Duration) -> Vec<Action> {
        let (mut out, end) = (Vec::new(), self.now + span);
        while let Some(at) = self.mesh.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.mesh.expire(self.now, &mut out);
        }
        self.now = end;
        out
    }

    fn accept(&mut self, last: u8) -> (ConnId, Vec<Action>) {
        self.conns += 1;
        let conn = ConnId { shard: 0, token: Token::new(self.conns, 0) };
        let out = self.tell(RouteEvent::Accepted { conn, rid: 1, peer: peer(last) });
        (conn, out)
    }

    fn connect(&mut self, conn: ConnId, connect: &RouteConnect) -> Vec<Action> {
        self.tell(RouteEvent::Connect { conn, json: json(|out| connect.encode_line(out)) })
    }

    fn info(&mut self, conn: ConnId, info: &RouteInfo) -> Vec<Action> {
        self.tell(RouteEvent::Info { conn, json: json(|out| info.encode_info_line(out)) })
    }

    /// A connection that the peer dialled, up to its CONNECT.
    fn connected(&mut self, last: u8) -> ConnId {
        let (conn, _) = self.accept(last);
        assert_eq!(words(&self.connect(conn, &connect())), ["continue"]);
        conn
    }

    /// A connection that the peer dialled, registered.
    fn joined(&mut self, last: u8, info: &RouteInfo) -> ConnId {
        let conn = self.connected(last);
        let out = words(&self.info(conn, info));
        assert!(out.iter().any(|word| word.starts_with("register")), "{out:?}");
        conn
    }

    /// Lets the dials among the actions reach their peers.
    fn dialed(&mut self, actions: &[Action]) -> Vec<(ConnId, Vec<Action>)> {
        let mut reached = Vec::new();
        for action in actions {
            if let Action::Dial { dial, address, .. } = action {
                self.conns += 1;
                let conn = ConnId { shard: 0, token: Token::new(self.conns, 0) };
                let event = RouteEvent::Dialed { dial: *dial, conn, rid: 1, peer: *address };
                reached.push((conn, self.tell(event)));
            }
        }
        reached
    }
}

fn registration(actions: &[Action]) -> &Registration {
    let found = actions.iter().find_map(|action| match action {
        Action::Register { registration, .. } => Some(registration),
        _other => None,
    });
    found.expect("a registration")
}

#[test]
fn accounts_fall_to_the_pool_indexes_that_peers_compute() {
    for (account, by_size) in [
        ("$G", [0, 2, 0, 3, 4]),
        ("$SYS", [0, 0, 0, 0, 0]),
        ("ACC1", [1, 2, 1, 2, 1]),
        ("tenant-a", [1, 0, 3, 1, 3]),
        ("ünï", [0, 2, 2, 1, 6]),
    ] {
        assert_eq!(
            [2, 3, 4, 5, 8].map(|size| pool_index(account.as_bytes(), size)),
            by_size,
            "{account}"
        );
    }
    assert_eq!((pool_index(b"A", 0), pool_index(b"A", 1)), (0, 0));
}

#[test]
fn who_accepts_speaks_first_and_registers_the_index_it_is_told() {
    let mut talk = Talk::new(options());
    let (conn, out) = talk.accept(1);
    assert_eq!(words(&out), ["INFO NM accept"]);
    assert_eq!(words(&talk.connect(conn, &connect())), ["continue"]);
    assert_eq!(words(&talk.connect(conn, &connect())), ["continue"], "a second one is tolerated");
    let out = talk.info(conn, &RouteInfo { route_pool_idx: 2, ..info("NX") });
    assert_eq!(words(&out), ["joined NX", "register Pool(2)"]);
    let found = registration(&out);
    assert!(!found.solicited && !found.ringmesh && found.headers && found.lane.names_accounts());
    assert_eq!((found.pool_size, found.url.as_str()), (3, "nats-route://10.0.0.1:6222/"));
    let conn = talk.connected(1);
    let out = talk.info(conn, &RouteInfo { route_account: "$SYS".to_owned(), ..info("NX") });
    assert_eq!(words(&out), ["register Account(\"$SYS\")"]);
    assert!(!registration(&out).lane.names_accounts());
}

#[test]
fn a_connect_that_does_not_fit_is_refused_in_the_peers_words() {
    let check = |change: fn(&mut RouteConnect), expected: &str| {
        let mut talk = Talk::new(MeshOptions {
            auth: Some(RouteAuth { user: "u".to_owned(), password: "p".to_owned() }),
            ..options()
        });
        let (conn, _) = talk.accept(1);
        let mut connect = RouteConnect { user: "u".to_owned(), pass: "p".to_owned(), ..connect() };
        change(&mut connect);
        assert_eq!(words(&talk.connect(conn, &connect)), [expected]);
    };
    check(|_| {}, "continue");
    let violation = "close Authentication Failure: Authorization Violation";
    check(|c| c.pass.clear(), violation);
    check(|c| c.user = "x".to_owned(), violation);
    check(|c| c.account = "A".to_owned(), violation);
    check(|c| c.lang = "go".to_owned(), "close Incorrect Port: attempted to connect to route port");
    check(
        |c| c.gateway = "GW".to_owned(),
        "close Wrong Gateway: Rejecting connection from gateway \"GW\" on the Route port",
    );
    check(
        |c| c.cluster = "_".to_owned(),
        "close Cluster Name Conflict: Rejecting connection, cluster name \"_\" is reserved",
    );
    check(
        |c| c.cluster = "D".to_owned(),
        "close Cluster Name Conflict: \
         Rejecting connection, cluster name \"D\" does not match \"C\"",
    );
    let mut talk = Talk::new(options());
    let (conn, _) = talk.accept(1);
    let out = talk.tell(RouteEvent::Connect { conn, json: b"{".to_vec() });
    assert_eq!(words(&out), ["close Protocol Violation"]);
    let (conn, _) = talk.accept(1);
    assert_eq!(words(&talk.info(conn, &info("NX"))), [violation], "CONNECT comes first");
}

#[test]
fn a_hashed_password_is_compared_elsewhere() {
    let hash = bcrypt::hash("p", 4).unwrap();
    for (right, expected) in
        [(true, "continue"), (false, "close Authentication Failure: Authorization Violation")]
    {
        let mut talk = Talk::new(MeshOptions {
            auth: Some(RouteAuth { user: "u".to_owned(), password: hash.clone() }),
            ..options()
        });
        let (conn, _) = talk.accept(1);
        let pass = if right { "p" } else { &hash }.to_owned();
        let out = talk.connect(conn, &RouteConnect { user: "u".to_owned(), pass, ..connect() });
        assert_eq!(words(&out), ["check"]);
        let Some(Action::CheckPassword { job, .. }) = out.into_iter().next() else { panic!() };
        let accepted = job.is_right();
        assert_eq!(words(&talk.tell(Event::Verdict { conn, accepted })), [expected]);
    }
}

#[test]
fn an_info_that_does_not_fit_is_refused_in_the_peers_words() {
    let check = |change: fn(&mut RouteInfo), expected: &str| {
        let mut talk = Talk::new(options());
        let conn = talk.connected(1);
        let mut info = info("NX");
        change(&mut info);
        assert_eq!(words(&talk.info(conn, &info)), [expected]);
        assert!(talk.mesh.links().is_empty(), "nothing is left of it");
    };
    check(|i| i.server_id = US.to_owned(), "close Duplicate Route");
    check(|i| i.server_id = "a.b".to_owned(), "close Protocol Violation");
    check(|i| i.cluster = "_".to_owned(), "close Cluster Name Conflict");
    check(|i| i.cluster = "D".to_owned(), "close Cluster Name Conflict");
    check(|i| i.server_name = "us".to_owned(), "close Duplicate Server Name");
    check(
        |i| i.compression = Some("zstd".to_owned()),
        "close Protocol Violation: unsupported route compression mode \"zstd\"",
    );
    check(
        |i| i.route_pool_idx = 3,
        "close Protocol Violation: Invalid route pool index: 3 - pool size is 3",
    );
    check(
        |i| i.route_account = "A".to_owned(),
        "close Protocol Violation: No route for account \"A\"",
    );
    check(
        |i| i.route_account = "NOPE".to_owned(),
        "close Missing Account: Unable to lookup account \"NOPE\": account missing",
    );
    check(
        |i| {
            i.route_account = "$SYS".to_owned();
            i.route_pool_size = 0;
        },
        "close Protocol Violation: Not possible to have a dedicated route for account \"$SYS\" \
         between those servers",
    );
}

#[test]
fn who_dials_takes_the_lowest_free_index_and_asks_for_the_next() {
    let mut talk = Talk::new(MeshOptions { routes: vec![route("10.0.0.1", 6222)], ..options() });
    let out = talk.wait(Duration::ZERO);
    assert_eq!(words(&out), ["dial 10.0.0.1:6222", "dial 10.0.0.1:6222"], "pool and $SYS");
    let dialed = talk.dialed(&out);
    assert!(dialed.iter().all(|(_, out)| words(out) == ["CONNECT"]));
    let told = RouteInfo { compression: Some("accept".to_owned()), ..info("NX") };
    let (conn, system) = (dialed[0].0, dialed[1].0);
    let out = talk.info(conn, &told);
    assert_eq!(words(&out), ["INFO NM off", "joined NX", "register Pool(0)", "PING"]);
    assert!(registration(&out).solicited && registration(&out).configured);
    let out = talk.info(system, &told);
    assert_eq!(words(&out), ["INFO NM off acc=$SYS", "register Account(\"$SYS\")"]);
    for (index, more) in [(1, true), (2, false)] {
        let last = ConnId { shard: 0, token: Token::new(talk.conns, 0) };
        let probe = if index == 1 { conn } else { last };
        let out = talk.tell(RouteEvent::Pong { conn: probe, rtt: Duration::from_millis(1) });
        assert_eq!(words(&out), ["dial 10.0.0.1:6222"]);
        let next = talk.dialed(&out)[0].0;
        let mut expected =
            vec![format!("INFO NM off idx={index}"), format!("register Pool({index})")];
        expected.extend(more.then(|| "PING".to_owned()));
        assert_eq!(words(&talk.info(next, &told)), expected);
    }
    assert_eq!((talk.mesh.missing_links(), talk.mesh.deadline()), (0, None));
}

#[test]
fn compression_begins_behind_the_right_line() {
    let fast = || MeshOptions { compression: Some(Mode::Fast), ..options() };
    let mut talk = Talk::new(fast());
    let conn = talk.connected(1);
    let told = RouteInfo { compression: Some("s2_better".to_owned()), ..info("NX") };
    let out = words(&talk.info(conn, &told));
    assert_eq!(out, ["compress s2_fast", "INFO NM s2_fast", "continue"]);
    let told = RouteInfo { route_pool_idx: 1, ..told };
    assert_eq!(words(&talk.info(conn, &told)), ["joined NX", "register Pool(1)"]);

    let mut talk = Talk::new(MeshOptions { routes: vec![route("10.0.0.1", 6222)], ..fast() });
    let out = talk.wait(Duration::ZERO);
    let (conn, _) = talk.dialed(&out)[0];
    let told = RouteInfo { compression: Some("accept".to_owned()), ..info("NX") };
    let out = words(&talk.info(conn, &told));
    assert_eq!(out, ["INFO NM s2_fast", "compress s2_fast", "continue"]);
    let out = words(&talk.info(conn, &told));
    assert_eq!(out, ["INFO NM s2_fast", "joined NX", "register Pool(0)", "PING"]);
}

#[test]
fn a_server_without_compression_sends_the_info_of_an_account_at_once() {
    let routes = vec![route("10.0.0.1", 6222)];
    let off = MeshOptions { compression: Some(Mode::Off), routes, ..options() };
    let mut talk = Talk::new(off.clone());
    let out = talk.wait(Duration::ZERO);
    let dialed = talk.dialed(&out);
    assert_eq!(words(&dialed[0].1), ["CONNECT"]);
    assert_eq!(words(&dialed[1].1), ["CONNECT", "INFO NM off acc=$SYS"]);
    let mut talk = Talk::new(MeshOptions { pool_size: None, ..off });
    let out = talk.wait(Duration::ZERO);
    assert_eq!(out.len(), 1, "no pool, no accounts");
    let (conn, out) = talk.dialed(&out).remove(0);
    assert_eq!(words(&out), ["CONNECT", "INFO NM off"]);
    assert_eq!(words(&talk.info(conn, &info("NX"))), ["joined NX", "register Everything"]);
}

#[test]
fn of_two_connections_for_one_place_peers_keep_the_older() {
    let mut talk = Talk::new(options());
    talk.joined(1, &info("NX"));
    let second = talk.connected(1);
    assert_eq!(words(&talk.info(second, &info("NX"))), ["close Duplicate Route"]);
}

#[test]
fn of_two_dials_at_once_the_one_of_the_smaller_id_survives() {
    for (id, expected) in [
        ("NA", vec!["close Duplicate Route", "register Pool(0)"]),
        ("NZ", vec!["close Duplicate Route"]),
    ] {
        let routes = vec![route("10.0.0.1", 6222)];
        let mut talk = Talk::new(MeshOptions { routes, ..options() });
        let theirs = RouteInfo { ringmesh: Some(Ringmesh::default()), ..info(id) };
        let out = talk.wait(Duration::ZERO);
        let (ours, _) = talk.dialed(&out)[0];
        assert!(words(&talk.info(ours, &theirs)).contains(&"register Pool(0)".to_owned()));
        let second = talk.connected(1);
        let out = talk.info(second, &theirs);
        assert_eq!(words(&out), expected, "{id}");
        let closed = out.iter().find_map(|action| match action {
            Action::Close { conn, .. } => Some(*conn),
            _other => None,
        });
        assert_eq!(closed, Some(if id == "NA" { ours } else { second }));
    }
}

#[test]
fn a_pool_that_is_full_takes_no_more_and_is_not_dialled_again() {
    let mut talk = Talk::new(MeshOptions { routes: vec![route("10.0.0.1", 6222)], ..options() });
    let dials = talk.wait(Duration::ZERO);
    let dialed = talk.dialed(&dials);
    for index in 0..3 {
        talk.joined(2, &RouteInfo { route_pool_idx: index, ..info("NX") });
    }
    let conn = talk.joined(2, &RouteInfo { route_account: "$SYS".to_owned(), ..info("NX") });
    let out = dialed.iter().flat_map(|(conn, _)| words(&talk.info(*conn, &info("NX"))));
    let (closed, marks): (Vec<_>, Vec<_>) = out.partition(|word| word.starts_with("close"));
    assert_eq!(closed, ["close Duplicate Route", "close Duplicate Route"]);
    assert_eq!(marks, ["solicited, configured: true"; 4], "operators see it of those that stay");
    assert!(talk.wait(Duration::from_secs(30)).is_empty());
    // What stays is dialled again in place of what went.
    let out = talk.tell(RouteEvent::Closed { conn, reason: R::ClientClosed });
    assert!(out.is_empty());
    assert!(talk.wait(Duration::from_millis(999)).is_empty());
    assert_eq!(words(&talk.wait(Duration::from_millis(200))), ["dial 10.0.0.1:6222"]);
}

#[test]
fn a_route_to_oneself_is_given_up() {
    let mut talk = Talk::new(MeshOptions {
        routes: vec![route("10.0.0.1", 6222), route("10.0.0.9", 6222)],
        interfaces: vec!["10.0.0.9".parse().unwrap()],
        ..options()
    });
    let dials = talk.wait(Duration::ZERO);
    assert_eq!(dials.len(), 2, "the own address is not even dialled");
    for (conn, _) in talk.dialed(&dials) {
        assert_eq!(words(&talk.info(conn, &info(US))), ["close Duplicate Route"]);
    }
    assert!(talk.wait(Duration::from_secs(60)).is_empty());
    assert_eq!(talk.mesh.missing_links(), 0);
}

#[test]
fn a_configured_route_is_dialled_for_ever() {
    for (backoff, at_least) in [(false, 250), (true, 10)] {
        let mut talk = Talk::new(MeshOptions {
            routes: vec![route("10.0.0.1", 6222)],
            connect_backoff: backoff,
            ..options()
        });
        let mut dials = 0;
        let mut out = talk.wait(Duration::ZERO);
        for _ in 0..300 * 20 {
            for action in std::mem::take(&mut out) {
                let Action::Dial { dial, .. } = action else { panic!("{action:?}") };
                dials += 1;
                let error = "refused".to_owned();
                assert!(talk.tell(RouteEvent::DialFailed { dial, error }).is_empty());
            }
            out = talk.wait(Duration::from_millis(50));
        }
        assert!((at_least..at_least + 60).contains(&dials), "{backoff}: {dials}");
        assert_eq!(talk.mesh.missing_links(), 4);
    }
}

#[test]
fn a_peer_that_takes_no_connection_for_an_account_is_asked_again_each_second() {
    let mut talk = Talk::new(MeshOptions { routes: vec![route("10.0.0.1", 6222)], ..options() });
    let dials = talk.wait(Duration::ZERO);
    let dialed = talk.dialed(&dials);
    for (conn, _) in &dialed {
        talk.info(*conn, &info("NX"));
    }
    let refused = |conn| {
        let text = "No route for account \"$SYS\"".to_owned();
        RouteEvent::Refused { conn, text }
    };
    let mut conn = dialed[1].0;
    for round in 0..5 {
        let out = words(&talk.tell(refused(conn)));
        // The first time the account goes over to the pool.
        assert_eq!(
            out,
            if round == 0 {
                vec!["apart ", "close Parse Error"]
            } else {
                vec!["close Parse Error"]
            }
        );
        assert_eq!(talk.mesh.missing_links(), 3, "two of the pool, and the account");
        let dials = talk.wait(Duration::from_millis(1200));
        let again = talk.dialed(&dials);
        assert_eq!(again.len(), 1, "{dials:?}");
        conn = again[0].0;
        talk.info(conn, &info("NX"));
    }
    let out = words(&talk.tell(RouteEvent::Pong { conn, rtt: Duration::ZERO }));
    assert_eq!(out, ["forget $SYS", "apart $SYS"], "it takes it now");
    assert_eq!(talk.mesh.missing_links(), 2);
}

#[test]
fn accounts_that_a_peer_refuses_do_not_hurry_each_other() {
    let accounts = ["$SYS", "$G", "A"].map(str::to_owned).into();
    let routes = vec![route("10.0.0.1", 6222)];
    let mut talk = Talk::new(MeshOptions { routes, accounts, ..options() });
    let dials = talk.wait(Duration::ZERO);
    let mut dialed = talk.dialed(&dials);
    let (pooled, _) = dialed.remove(0);
    talk.info(pooled, &info("NX"));
    let mut tries = 0;
    for _ in 0..100 {
        tries += dialed.len();
        let mut out = Vec::new();
        for (conn, _) in dialed {
            out.extend(talk.info(conn, &info("NX")));
            let text = "No route for account \"A\"".to_owned();
            out.extend(talk.tell(RouteEvent::Refused { conn, text }));
        }
        out.extend(talk.wait(Duration::from_millis(100)));
        dialed = talk.dialed(&out);
    }
    assert!((20..=35).contains(&tries), "{tries} in ten seconds");
}

#[test]
fn a_newcomer_is_told_to_the_others_by_the_rules_of_gossip() {
    let mut talk = Talk::new(options());
    talk.joined(1, &info("NX"));
    let second = talk.connected(2);
    let out = words(&talk.info(second, &info("NY")));
    assert_eq!(out, ["joined NY", "register Pool(0)", "INFO NY gossip=1"]);
    let third = talk.connected(3);
    let out = words(&talk.info(third, &RouteInfo { gossip_mode: 1, ..info("NZ") }));
    assert_eq!(out, ["joined NZ", "register Pool(0)"], "whoever dials by gossip is no news");

    // A configured peer is told on by those who hear of it, and hears itself in that mode.
    let mut talk = Talk::new(MeshOptions { routes: vec![route("10.0.0.1", 6222)], ..options() });
    let out = talk.wait(Duration::ZERO);
    talk.joined(2, &info("NY"));
    let (conn, _) = talk.dialed(&out)[0];
    let out = words(&talk.info(conn, &info("NX")));
    assert!(out.contains(&"INFO NX gossip=2".to_owned()), "{out:?}");
    let third = talk.connected(3);
    let out = words(&talk.info(third, &info("NZ")));
    assert_eq!(out[2..], ["INFO NZ gossip=2", "INFO NZ gossip=1"]);
}

#[test]
fn a_ringmesh_hears_of_a_newcomer_whose_pool_never_comes() {
    let mut talk = Talk::new(options());
    talk.joined(1, &RouteInfo { ringmesh: Some(Ringmesh::default()), ..info("NX") });
    // Its connection for the pool was refused: the cluster's name that it gave there was out of date.
    let for_account = RouteInfo { route_account: "$SYS".to_owned(), ..info("NY") };
    let second = talk.connected(2);
    let out = words(&talk.info(second, &for_account));
    assert!(out.contains(&"INFO NY acc=$SYS gossip=1".to_owned()), "{out:?}");
}

#[test]
fn who_came_since_a_server_was_lost_is_told_of_another_that_answers_in_its_place() {
    let mut talk = Talk::new(MeshOptions { pool_size: None, ..options() });
    let lost = talk.joined(1, &info("NX"));
    talk.joined(2, &info("NY"));
    talk.wait(Duration::from_secs(1));
    talk.tell(RouteEvent::Closed { conn: lost, reason: R::ClientClosed });
    talk.joined(3, &RouteInfo { gossip_mode: 1, ..info("NZ") });
    let out = talk.wait(Duration::from_secs(5));
    assert_eq!(words(&out), ["dial 10.0.0.1:6222"]);
    let (conn, _) = talk.dialed(&out)[0];
    let out = words(&talk.info(conn, &info("NX2")));
    let told = out.iter().filter(|word| word.starts_with("INFO NX2")).collect::<Vec<_>>();
    assert_eq!(told, ["INFO NX2 gossip=1"], "NY remembers the address, NZ cannot: {out:?}");
}

#[test]
fn gossip_leads_to_dials_unless_the_server_is_known() {
    let mut talk = Talk::new(MeshOptions { routes: vec![route("10.0.0.7", 6222)], ..options() });
    let conn = talk.joined(1, &info("NX"));
    let told = |id: &str, ip: &str| RouteInfo {
        ip: format!("nats-route://{ip}:6222/"),
        gossip_mode: 2,
        ..info(id)
    };
    for known in [told("NX", "10.0.0.1"), told(US, "10.0.0.9"), told("NS", "10.0.0.7")] {
        assert_eq!(words(&talk.info(conn, &known)), [""; 0], "{known:?}");
    }
    let out = talk.info(conn, &told("NY", "10.0.0.2"));
    assert_eq!(words(&out), ["dial 10.0.0.2:6222", "dial 10.0.0.2:6222"]);
    assert!(talk.info(conn, &told("NY", "10.0.0.2")).is_empty(), "once is enough");
    let (dialed, _) = talk.dialed(&out)[0];
    let out = words(&talk.info(dialed, &info("NY")));
    assert_eq!(out[0], "INFO NM off gossip=2");
    assert!(out.contains(&"INFO NY".to_owned()), "mode 2 is told on: {out:?}");
    for bad in ["", "nats-route://", "nats-route://h", "nats-route://h:0"] {
        let told = RouteInfo { ip: bad.to_owned(), ..info("NQ") };
        assert!(talk.info(conn, &told).is_empty(), "{bad}");
    }
}

#[test]
fn a_hash_does_not_keep_a_server_from_dialling_gossiped_peers() {
    let auth = |password: &str| Some(RouteAuth { user: "u".into(), password: password.into() });
    let seed = RouteUrl { auth: auth("clear"), ..route("10.0.0.7", 6222) };
    let hash = bcrypt::hash("clear", 4).unwrap();
    let mut talk = Talk::new(MeshOptions { routes: vec![seed], auth: auth(&hash), ..options() });
    let dials = talk.wait(Duration::ZERO);
    let (conn, _) = talk.dialed(&dials)[0];
    talk.info(conn, &info("NX"));
    let ip = "nats-route://10.0.0.2:6222/".to_owned();
    let out = talk.info(conn, &RouteInfo { ip, auth_required: true, ..info("NY") });
    let (_, out) = talk.dialed(&out).remove(0);
    let Action::Send { bytes, .. } = &out[0] else { panic!() };
    assert!(String::from_utf8_lossy(bytes).contains("\"user\":\"u\",\"pass\":\"clear\""));
}

#[test]
fn who_said_that_it_stops_is_not_missed_and_still_looked_for() {
    for says_so_in_time in [true, false] {
        let mut talk = Talk::new(options());
        let conns = [0, 1, 2].map(|index| {
            let conn = talk.connected(1);
            talk.info(conn, &RouteInfo { route_pool_idx: index, ..info("NX") });
            conn
        });
        let leaving = || Event::Leaving { id: "NX".to_owned() };
        if says_so_in_time {
            talk.tell(leaving());
        }
        for conn in conns {
            talk.tell(RouteEvent::Closed { conn, reason: R::ClientClosed });
        }
        if !says_so_in_time {
            assert_eq!(talk.mesh.missing_links(), 4);
            talk.tell(leaving());
        }
        assert_eq!(talk.mesh.missing_links(), 0, "{says_so_in_time}");
        // It may only be started again, where nobody else knows this server.
        let out = words(&talk.wait(Duration::from_secs(10)));
        assert_eq!(out, ["dial 10.0.0.1:6222"], "{says_so_in_time}");
        assert_eq!(talk.mesh.missing_links(), 0, "{says_so_in_time}");
    }
}

#[test]
fn who_is_said_to_stop_and_stays_is_missed_when_it_is_lost() {
    let mut talk = Talk::new(MeshOptions { pool_size: None, ..options() });
    let conn = talk.joined(1, &info("NX"));
    let out = talk.tell(Event::Leaving { id: "NX".to_owned() });
    assert!(out.is_empty() && !talk.mesh.links()[0].lame_duck, "{out:?}");
    talk.wait(Duration::from_secs(11));
    talk.tell(RouteEvent::Closed { conn, reason: R::ClientClosed });
    assert_eq!(talk.mesh.missing_links(), 1);
}

/// How often a server dials another one for ten minutes that takes each connection and then denies it,
/// with a word or without.
fn dials_of_who_is_denied(mut talk: Talk, mut out: Vec<Action>, silently: bool) -> usize {
    let (mut dials, end) = (0, talk.now + Duration::from_secs(600));
    while talk.now < end {
        // Others answer elsewhere.
        out.retain(|action| !matches!(action, Action::Dial { address, .. } if address.ip() != peer(2).ip()));
        let dialed = talk.dialed(&out);
        dials += dialed.len();
        out = Vec::new();
        for (conn, _) in dialed {
            let known = RouteInfo { auth_required: true, ..info("NY") };
            let known = RouteInfo { ip: "nats-route://10.0.0.2:6222/".to_owned(), ..known };
            out.extend(talk.info(conn, &known));
            let text = "Authorization Violation".to_owned();
            out.extend(talk.tell(if silently {
                RouteEvent::Closed { conn, reason: R::ClientClosed }
            } else {
                RouteEvent::Refused { conn, text }
            }));
        }
        out.extend(talk.wait(Duration::from_millis(100)));
    }
    dials
}

#[test]
fn who_is_not_let_in_by_a_gossiped_server_tries_less_and_less_often() {
    let hash = bcrypt::hash("clear", 4).unwrap();
    for (pool_size, silently) in [(None, false), (None, true), (Some(3), false), (Some(3), true)] {
        let auth = Some(RouteAuth { user: "u".into(), password: hash.clone() });
        let mut talk = Talk::new(MeshOptions { auth, pool_size, ..options() });
        let (conn, _) = talk.accept(1);
        let hello = RouteConnect { user: "u".to_owned(), pass: "clear".to_owned(), ..connect() };
        assert_eq!(words(&talk.connect(conn, &hello)), ["check"]);
        talk.tell(Event::Verdict { conn, accepted: true });
        talk.info(conn, &info("NX"));
        let ip = "nats-route://10.0.0.2:6222/".to_owned();
        let out = talk.info(conn, &RouteInfo { ip, auth_required: true, ..info("NY") });
        let dials = dials_of_who_is_denied(talk, out, silently);
        // After 1, 2, 4, 8, 16 seconds and then each 30; for the pool, and for the system account.
        let lanes = if pool_size.is_some() { 2 } else { 1 };
        let expected = 20 * lanes..=25 * lanes;
        assert!(expected.contains(&dials), "{pool_size:?}, {silently}: {dials}");
    }
}

#[test]
fn who_is_not_let_in_by_a_configured_server_tries_each_second() {
    let routes = vec![route("10.0.0.2", 6222)];
    let mut talk = Talk::new(MeshOptions { routes, pool_size: None, ..options() });
    let out = talk.wait(Duration::ZERO);
    let dials = dials_of_who_is_denied(talk, out, false);
    assert!((540..=601).contains(&dials), "{dials}");
}

#[test]
fn a_name_is_asked_for_until_its_addresses_are_stable_and_each_is_dialled() {
    let mut talk = Talk::new(MeshOptions {
        routes: vec![route("seed.example", 6222)],
        interfaces: vec!["10.0.0.9".parse().unwrap()],
        tls: true,
        ..options()
    });
    let address = |last: u8| SocketAddr::from(([10, 0, 0, last], 6222));
    let mut asked = 0;
    let mut out = talk.wait(Duration::ZERO);
    let mut dialled = Vec::new();
    for _ in 0..40 {
        for action in std::mem::take(&mut out) {
            match action {
                Action::Resolve { lookup, .. } => {
                    asked += 1;
                    let some = if asked == 1 { vec![1, 9] } else { vec![1, 2, 9] };
                    let addresses = Ok(some.into_iter().map(address).collect());
                    out.extend(talk.tell(Event::Resolved { lookup, addresses }));
                }
                Action::Dial { address, tls_name, .. } => {
                    assert_eq!(tls_name.as_deref(), Some("seed.example"));
                    dialled.push(address);
                }
                other => panic!("{other:?}"),
            }
        }
        if out.is_empty() {
            out = talk.wait(Duration::from_secs(1));
        }
    }
    assert_eq!(asked, 5, "the second answer, and then three that are the same");
    let (one, other) = (address(1), address(2));
    assert_eq!(dialled, [one, one, other, other], "but not this server itself");
}

#[test]
fn an_account_that_gets_its_own_route_is_forgotten_where_it_was() {
    let mut talk = Talk::new(options());
    let conn = talk.joined(1, &RouteInfo { route_pool_idx: 0, ..info("NX") });
    let question = RouteInfo {
        route_pool_size: 3,
        route_account: "A".to_owned(),
        route_acc_add_reqid: "r1".to_owned(),
        ..RouteInfo::default()
    };
    assert_eq!(words(&talk.info(conn, &question)), ["forget A", "apart $SYS A", "INFO "]);
    let (own, _) = talk.accept(1);
    talk.connect(own, &connect());
    let registering = RouteInfo { route_account: "A".to_owned(), ..info("NX") };
    let out = talk.info(own, &registering);
    assert!(words(&out).contains(&"register Account(\"A\")".to_owned()), "{out:?}");
    let reason = R::ClientClosed;
    let out = words(&talk.tell(RouteEvent::Closed { conn: own, reason }));
    assert_eq!(out, ["apart $SYS"], "the account goes with the pool again");
    let unknown = RouteInfo { route_account: "NOPE".to_owned(), ..question };
    assert!(talk.info(conn, &unknown).is_empty());
}

#[test]
fn an_account_that_the_configuration_gives_its_own_route_is_asked_about_and_then_dialled() {
    let mut talk = Talk::new(options());
    let conn = talk.joined(1, &info("NX"));
    let with_account = |talk: &mut Talk| {
        let accounts = ["$SYS", "A"].map(str::to_owned).into();
        talk.tell(Event::Options(Box::new(MeshOptions { accounts, ..options() })))
    };
    // Its index in the pool of three is 0.
    let out = with_account(&mut talk);
    assert_eq!(words(&out), ["INFO  acc=A"]);
    let Action::Send { bytes, .. } = &out[0] else { panic!("{out:?}") };
    let line = std::str::from_utf8(bytes).unwrap();
    let question = RouteInfo::parse(line[5..].trim().as_bytes()).unwrap();
    assert_eq!((question.route_pool_size, question.server_id.as_str()), (3, ""));
    assert!(!question.route_acc_add_reqid.is_empty());
    let answer = RouteInfo { route_account: String::new(), ..question };
    let out = words(&talk.info(conn, &answer));
    assert_eq!(out[..2], ["forget A", "apart $SYS A"]);
    assert!(out[2..].contains(&"dial 10.0.0.1:6222".to_owned()), "{out:?}");
    let out = words(&talk.tell(Event::Options(Box::new(options()))));
    assert_eq!(out, ["apart $SYS"]);
}

#[test]
fn who_is_configured_counts_as_dialled_whoever_was_first() {
    let mut talk = Talk::new(options());
    let first = talk.joined(1, &info("NX"));
    let routes = vec![route("10.0.0.1", 6222)];
    let reloaded = MeshOptions { routes: routes.clone(), ..options() };
    let out = talk.tell(Event::Options(Box::new(reloaded)));
    let found = out.iter().find_map(|action| match action {
        Action::SetSolicited { conn, configured, .. } => Some((*conn, *configured)),
        _ => None,
    });
    assert_eq!(found, Some((first, true)), "{out:?}");

    let mut talk = Talk::new(MeshOptions { routes, ..options() });
    let (conn, _) = talk.accept(1);
    talk.connect(conn, &connect());
    let out = talk.info(conn, &info("NX"));
    assert!(registration(&out).solicited && registration(&out).configured);
}

#[test]
fn a_peers_new_rules_reach_the_shard() {
    let mut talk = Talk::new(options());
    let conn = talk.joined(1, &info("NX"));
    assert!(talk.info(conn, &info("NX")).is_empty());
    let export = Some(SubjectRules { allow: vec!["a.>".to_owned()], deny: Vec::new() });
    let changed = RouteInfo { export, ..info("NX") };
    assert_eq!(words(&talk.info(conn, &changed)), ["rules"]);
    let gateway = RouteInfo { gateway: "GW".to_owned(), ..info("GWx") };
    assert!(talk.info(conn, &gateway).is_empty());
}

#[test]
fn a_better_name_is_taken_and_what_had_the_old_one_is_left() {
    let mut talk = Talk::new(MeshOptions { cluster: None, ..options() });
    let name = talk.mesh.cluster_name().to_owned();
    let (conn, _) = talk.accept(1);
    let smaller = RouteConnect { cluster: "!".into(), cluster_dynamic: true, ..connect() };
    assert!(words(&talk.connect(conn, &smaller))[0].contains("does not match"));
    let (conn, _) = talk.accept(1);
    talk.connect(conn, &RouteConnect { cluster: name.clone(), ..connect() });
    talk.info(conn, &RouteInfo { cluster: name, ..info("NX") });
    let (other, _) = talk.accept(2);
    let given = RouteConnect { name: "NY".into(), ..connect() };
    let out = words(&talk.connect(other, &given));
    assert_eq!(out, ["name C", "close Cluster Name Conflict", "left NX", "continue"]);
    let (third, _) = talk.accept(3);
    let other = RouteConnect { cluster: "D".into(), ..connect() };
    assert!(words(&talk.connect(third, &other))[0].contains("does not match"), "C is given now");
}

#[test]
fn clients_are_told_the_urls_of_all_servers() {
    let own = vec!["10.0.0.9:4222".to_owned()];
    for (no_advertise, expected) in [(false, vec!["urls 10.0.0.9:4222 a:1 b:1"]), (true, vec![])] {
        let mut talk =
            Talk::new(MeshOptions { client_urls: own.clone(), no_advertise, ..options() });
        let urls = vec!["a:1".to_owned(), "b:1".to_owned()];
        let conn = talk.connected(1);
        let out = words(&talk.info(conn, &RouteInfo { connect_urls: urls, ..info("NX") }));
        assert_eq!(out[2..], expected);
        let out = words(&talk.tell(RouteEvent::Closed { conn, reason: R::ClientClosed }));
        assert_eq!(out.last().unwrap(), "left NX");
        assert_eq!(out.len(), 1 + expected.len());
    }
}

#[test]
fn peers_cannot_fill_the_tables() {
    let mut talk = Talk::new(options());
    let refused = (0..2000)
        .map(|_| talk.accept(1).1)
        .filter(|out| words(out) == ["close Maximum Connections Exceeded"]);
    assert_eq!(refused.count(), 2000 - 1024);
    let mut talk = Talk::new(options());
    let conn = talk.joined(1, &info("NX"));
    let mut dials = 0;
    for n in 0..6000_u32 {
        let ip = format!("nats-route://10.1.{}.{}:6222/", n / 250, n % 250);
        dials += talk.info(conn, &RouteInfo { ip, ..info(&format!("N{n}")) }).len();
    }
    assert!(dials <= 256, "{dials} dials at once");
    assert!(talk.mesh.links().len() <= 4097);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_said_breaks_nothing(
        seed in any::<u64>(),
        steps in proptest::collection::vec((0_u8..10, 0_usize..8, any::<u16>()), 0..80),
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let routes = vec![route("10.0.0.1", 6222), route("seed.example", 6222)];
        let mut talk = Talk::new(MeshOptions { routes, ..options() });
        let mut pending = talk.wait(Duration::ZERO);
        for (step, which, number) in steps {
            let index = u32::try_from(which).unwrap() + 1;
            let conn = ConnId { shard: 0, token: Token::new(index, 0) };
            let mut theirs = info(["NX", "NY", US, "", "a b"][which % 5]);
            theirs.route_pool_idx = i64::from(number % 7) - 2;
            theirs.route_pool_size = i64::from(number % 11) - 3;
            theirs.ip = ["", "nats-route://10.0.0.3:1/", "x"][which % 3].to_owned();
            theirs.route_account = ["", "$SYS", "A", "NOPE"][usize::from(number % 4)].to_owned();
            theirs.ringmesh = rng.bool().then(Ringmesh::default);
            let out = match step {
                0 | 1 => talk.accept(1).1,
                2 => talk.connect(conn, &connect()),
                3 | 4 => talk.info(conn, &theirs),
                5 => talk.tell(RouteEvent::Info { conn, json: number.to_le_bytes().to_vec() }),
                6 => talk.tell(RouteEvent::Closed { conn, reason: R::ClientClosed }),
                7 => talk.tell(RouteEvent::Pong { conn, rtt: Duration::from_nanos(number.into()) }),
                8 => talk.dialed(&std::mem::take(&mut pending)).into_iter().flat_map(|d| d.1).collect(),
                _ => talk.wait(Duration::from_millis(number.into())),
            };
            pending.extend(out);
            let lanes: Vec<Lane> = talk.mesh.links().into_iter()
                .flat_map(|link| link.conns.into_iter().map(|conn| conn.lane)).collect();
            prop_assert!(lanes.len() <= 2 * (10 + 1));
        }
    }
}
