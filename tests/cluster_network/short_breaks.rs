//! What two Ringmesh know of each other outlives a short break of their connections.
//!
//! The wire between them is looked at here, as how much is said again is the point.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringmesh::proto::route::{Digest, encode_digest};

use crate::mesh::client::introduce_all;
use crate::mesh::layout::on_each;
use crate::mesh::relay::{Relay, Way};
use crate::mesh::{Client, Cluster, Layout, Plan, introduce};
use crate::support::{Kind, LIMIT, poll};

/// A connection may come back to the shard that it was on, or to another one.
fn shards() -> Vec<Layout> {
    let ours = |shards: u8| Kind::Ours { shards };
    [(1, 1), (2, 2), (1, 2), (2, 1)].map(|(a, b)| Layout(vec![ours(a), ours(b)])).into()
}

/// Accounts with a user of the same name each.
const ACCOUNTS: &str = "accounts {
    calm { users: [ { user: calm, password: calm } ] }
    busy { users: [ { user: busy, password: busy } ] }
    group { users: [ { user: group, password: group } ] }
}";

/// Two nodes that reach each other by the relay only.
fn behind_relay(layout: &Layout, top: &str) -> (Cluster, Relay) {
    let relay = Relay::new();
    // By a barrier what was given up last has gone before the break begins.
    let plan = Plan::new(layout).top("sub_barrier: cluster").top(top).each(|index, node| {
        if index == 1 {
            node.routes = vec![format!("nats://{}", relay.address)];
            // Nobody listens there: the first node does not help.
            node.cluster = "advertise: \"127.0.0.1:1\"".to_owned();
        }
    });
    let cluster = plan.launch();
    relay.lead_to(cluster.route_address(0));
    cluster.await_whole();
    (cluster, relay)
}

fn client(cluster: &Cluster, node: usize, user: &str) -> Client {
    cluster.client_with(node, &format!("\"user\":\"{user}\",\"pass\":\"{user}\""))
}

/// Cuts all connections, and comes back when both nodes know it.
#[track_caller]
fn begin_break(cluster: &Cluster, relay: &Relay) {
    relay.record();
    relay.cut();
    let alone = poll(|| (cluster.links(0).is_empty() && cluster.links(1).is_empty()).then_some(()));
    assert!(alone.is_some(), "{:?} {:?}", cluster.links(0), cluster.links(1));
}

#[track_caller]
fn end_break(cluster: &Cluster, relay: &Relay) {
    relay.lead_to(cluster.route_address(0));
    cluster.await_whole();
}

/// The lines in both directions that begin like this.
fn said(relay: &Relay, beginning: &str) -> Vec<String> {
    let lines = [Way::Out, Way::Back].into_iter().flat_map(|way| relay.lines(way));
    lines.filter(|line| line.starts_with(beginning)).collect()
}

fn restored(cluster: &Cluster, node: usize) -> u64 {
    cluster.nodes[node].counted("interest_restored")
}

/// Asks until there is nobody.
#[track_caller]
fn await_nobody(client: &mut Client, subject: &str) {
    let gone = poll(|| client.request_briefly(subject).then_some(()));
    assert!(gone.is_some(), "somebody still wants {subject}");
}

#[test]
fn interest_that_did_not_change_is_not_announced_again_after_a_break() {
    on_each(&shards(), |layout| {
        let (cluster, relay) = behind_relay(layout, "");
        let mut clients = cluster.clients();
        for (client, side) in clients.iter_mut().zip(["near", "far"]) {
            for number in 0..100 {
                client.subscribe(&format!("kept.{side}.{number}"));
                client.subscribe_in(&format!("kept.{side}.job.{number}"), "workers");
            }
        }
        introduce_all(&mut clients);
        begin_break(&cluster, &relay);
        // It is kept, but nobody is there.
        await_nobody(&mut clients[0], "kept.far.1");
        await_nobody(&mut clients[1], "kept.near.job.1");
        end_break(&cluster, &relay);
        introduce_all(&mut clients);
        let (again, asked) = (said(&relay, "RS+ $G kept."), said(&relay, "RI- $G"));
        assert_eq!((again.len(), asked.len()), (0, 0), "{layout}: {:?}", again.first());
        for way in [Way::Out, Way::Back] {
            let said = announced(&relay.lines(way), "RI= $G ");
            assert!(said > 0, "{layout}");
        }
        for node in 0..2 {
            assert!(restored(&cluster, node) >= 200, "{layout}: {}", restored(&cluster, node));
        }
        for (from, to, side) in [(0, 1, "far"), (1, 0, "near")] {
            for subject in [format!("kept.{side}.7"), format!("kept.{side}.job.7")] {
                clients[from].publish(&subject, "x");
                assert_eq!(clients[to].message().subject, subject, "{layout}");
            }
        }
    });
}

#[test]
fn only_accounts_whose_interest_changed_are_announced_again() {
    on_each(&shards(), |layout| {
        let (cluster, relay) = behind_relay(layout, ACCOUNTS);
        let users = ["calm", "busy", "group"];
        let [mut near_calm, mut near_busy, mut near_group] =
            users.map(|user| client(&cluster, 0, user));
        let [mut calm, mut busy, mut group] = users.map(|user| client(&cluster, 1, user));
        calm.subscribe("kept.0");
        let _stays = busy.subscribe("kept.0");
        let ends = busy.subscribe("kept.1");
        group.subscribe_in("jobs", "workers");
        for (near, far) in [
            (&mut near_calm, &mut calm),
            (&mut near_busy, &mut busy),
            (&mut near_group, &mut group),
        ] {
            introduce(near, far);
        }
        begin_break(&cluster, &relay);
        busy.unsubscribe(ends);
        let new = busy.subscribe("kept.2");
        group.subscribe_in("jobs", "workers");
        busy.flush();
        group.flush();
        end_break(&cluster, &relay);
        introduce(&mut near_calm, &mut calm);
        introduce(&mut near_group, &mut group);
        // What is asked for comes behind what is new: so a message of its own has to prove it.
        let arrives = poll(|| (!near_busy.request_briefly("kept.2")).then_some(()));
        assert!(arrives.is_some(), "{layout}");
        introduce(&mut near_busy, &mut busy);
        assert_eq!(busy.message_of(new).subject, "kept.2");
        assert!(near_busy.request("kept.1", "?").is_no_responders(), "{layout}");
        assert!(said(&relay, "RS+ calm kept.").is_empty(), "{layout}");
        assert!(said(&relay, "RS+ busy kept.1").is_empty(), "{layout}");
        for line in ["RS+ busy kept.0", "RS+ busy kept.2", "RS+ group jobs workers 2"] {
            assert_eq!(said(&relay, line).len(), 1, "{layout}: {line}");
        }
        near_calm.publish("kept.0", "x");
        assert_eq!(calm.message().subject, "kept.0");
        near_group.publish("jobs", "x");
        assert_eq!(group.message().subject, "jobs");
    });
}

#[test]
fn a_server_that_starts_again_is_told_everything_and_what_it_wanted_is_gone() {
    on_each(&shards(), |layout| {
        let (mut cluster, relay) = behind_relay(layout, "");
        let mut near = cluster.client(0);
        let mut old = cluster.client(1);
        near.subscribe("kept.near");
        old.subscribe("kept.far");
        introduce(&mut near, &mut old);
        introduce(&mut old, &mut near);
        relay.record();
        cluster.kill(1);
        cluster.restart(1);
        cluster.await_whole();
        let mut new = cluster.client(1);
        introduce(&mut new, &mut near);
        introduce(&mut near, &mut new);
        assert_eq!(said(&relay, "RI="), [""; 0], "{layout}");
        assert_eq!(said(&relay, "RS+ $G kept."), ["RS+ $G kept.near"], "{layout}");
        assert!(cluster.nodes[0].counted("interest_kept") > 0, "{layout}: what it wanted was kept");
        assert_eq!((restored(&cluster, 0), restored(&cluster, 1)), (0, 0), "{layout}");
        assert!(near.request("kept.far", "?").is_no_responders(), "{layout}");
        new.publish("kept.near", "x");
        assert_eq!(near.message().subject, "kept.near");
    });
}

/// A connection whose lines are looked at one by one.
struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { stream, heard: Vec::new() }
    }

    /// A server with one connection for everything, which adds this to its INFO.
    fn peer(cluster: &Cluster, extension: &str) -> Self {
        let mut peer = Self::new(TcpStream::connect(cluster.route_address(0)).unwrap());
        let connect = "CONNECT {\"echo\":true,\"verbose\":false,\"pedantic\":false,\
            \"tls_required\":false,\"headers\":true,\"name\":\"PEER\",\"cluster\":\"mesh\"}\r\n";
        let info = "INFO {\"server_id\":\"PEER\",\"server_name\":\"peer\",\"version\":\"2.15.1\",\
            \"proto\":2,\"go\":\"rust\",\"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\
            \"max_payload\":1048576,\"cluster\":\"mesh\",\"compression\":\"off\"";
        peer.send(format!("{connect}{info}{extension}}} \r\n").as_bytes());
        peer
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// PING, and what comes before its PONG.
    #[track_caller]
    fn flush(&mut self) -> Vec<String> {
        self.send(b"PING\r\n");
        self.lines_until("PONG")
    }

    /// The lines until one begins like this.
    #[track_caller]
    fn lines_until(&mut self, beginning: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while announced(&lines, beginning) == 0 {
            let line = self.line();
            lines.push(line.unwrap_or_else(|| panic!("the end after {lines:?}")));
        }
        lines
    }

    /// The next line, or the end.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.heard.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Whether more comes in a short time.
    fn hears_soon(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let hears = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(Some(LIMIT)).unwrap();
        hears
    }

    /// Goes, and comes back when its absence is known.
    #[track_caller]
    fn leave(self, cluster: &Cluster) {
        drop(self);
        let alone = poll(|| cluster.links(0).is_empty().then_some(()));
        assert!(alone.is_some(), "{:?}", cluster.links(0));
    }
}

/// One node, and what a peer of some kind adds to its INFO.
fn alone(shards: u8) -> Cluster {
    Plan::new(&Layout(vec![Kind::Ours { shards }])).launch()
}

const GRACEFUL: &str = ",\"ringmesh\":{\"v\":1,\"caps\":[\"pick\",\"interest-grace\"]}";

fn announced(lines: &[String], beginning: &str) -> usize {
    lines.iter().filter(|line| line.starts_with(beginning)).count()
}

#[test]
fn a_peer_that_does_not_keep_interest_is_told_all_of_it_each_time() {
    for shards in [1, 2] {
        for extension in ["", ",\"ringmesh\":{\"v\":1,\"caps\":[\"pick\"]}"] {
            let cluster = alone(shards);
            let mut client = cluster.client(0);
            client.subscribe("kept");
            client.flush();
            for _ in 0..2 {
                let mut peer = Wire::peer(&cluster, extension);
                let lines = peer.lines_until("RS+ $G kept");
                assert_eq!(announced(&lines, "RI"), 0, "{lines:?}");
                peer.leave(&cluster);
            }
            let mut peer = Wire::peer(&cluster, extension);
            peer.send(b"RI- $G\r\n");
            let mut last = None;
            while let Some(line) = peer.line() {
                last = Some(line);
            }
            assert_eq!(last.as_deref(), Some("-ERR 'Unknown Protocol Operation'"));
        }
    }
}

#[test]
fn a_peer_that_kept_something_else_asks_once_and_is_told_all_of_it() {
    for shards in [1, 2] {
        let cluster = alone(shards);
        let mut client = cluster.client(0);
        client.subscribe("kept");
        client.flush();
        let mut peer = Wire::peer(&cluster, GRACEFUL);
        peer.lines_until("RS+ $G kept");
        peer.leave(&cluster);
        let mut peer = Wire::peer(&cluster, GRACEFUL);
        let lines = peer.lines_until("RI= $G ");
        assert_eq!(announced(&lines, "RS+ $G"), 0, "{lines:?}");
        peer.send(b"RI- $G\r\n");
        peer.lines_until("RS+ $G kept");
        peer.send(b"RI- $G\r\n");
        let lines = peer.flush();
        assert_eq!(announced(&lines, "RS+ $G"), 0, "{lines:?}");
    }
}

/// Says that this is wanted, by its digest.
fn same(subjects: &[&str]) -> Vec<u8> {
    let mut digest = Digest::new(42);
    subjects.iter().for_each(|subject| digest.add(subject.as_bytes(), None, 1));
    let mut line = Vec::new();
    encode_digest(&mut line, Some(b"$G"), &digest);
    line
}

#[test]
fn what_a_peer_wanted_is_in_force_again_when_its_digest_agrees_and_only_then() {
    for shards in [1, 2] {
        let cluster = alone(shards);
        let mut client = cluster.client(0);
        let mut check = |said: Vec<u8>, asks: usize, wanted: &[&str]| {
            let mut peer = Wire::peer(&cluster, GRACEFUL);
            peer.send(b"RS+ $G a\r\nRS+ $G b\r\n");
            peer.flush();
            assert!(!client.request_briefly("a"));
            peer.leave(&cluster);
            await_nobody(&mut client, "a");
            let mut peer = Wire::peer(&cluster, GRACEFUL);
            assert!(client.request_briefly("a"), "nothing was said yet");
            peer.send(&said);
            let lines = peer.flush();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert_eq!(announced(&lines, "RI- $G"), asks, "{said}: {lines:?}");
            for subject in ["a", "b"] {
                let nobody = client.request_briefly(subject);
                assert_eq!(nobody, !wanted.contains(&subject), "{said}: {subject}");
            }
            peer.leave(&cluster);
        };
        check(same(&["b", "a"]), 0, &["a", "b"]);
        check(same(&["a"]), 1, &[]);
        check(same(&["a", "c"]), 1, &[]);
        check(b"RS+ $G b\r\n".into(), 0, &["b"]);
        // What changes behind the digest changes what it stood for.
        check([same(&["a", "b"]), b"RS- $G a\r\n".into()].concat(), 0, &["b"]);
        // The first answer uses up what was kept.
        check([same(&["a"]), same(&["a", "b"])].concat(), 2, &[]);
    }
}

#[test]
fn the_wait_for_the_whole_cluster_includes_interest_that_had_to_be_asked_for() {
    for shards in [1, 2] {
        let layout = Layout(vec![Kind::Ours { shards }]);
        let cluster = Plan::new(&layout).top("sub_barrier: cluster").launch();
        let mut other = cluster.client(0);
        other.subscribe("kept");
        other.flush();
        let mut peer = Wire::peer(&cluster, GRACEFUL);
        peer.lines_until("RS+ $G kept");
        peer.leave(&cluster);
        let node = &cluster.nodes[0];
        let mut client = Wire::new(node.connect(node.ports.client.number).unwrap());
        client.send(b"CONNECT {\"verbose\":false}\r\nPING\r\n");
        client.lines_until("PONG");
        client.send(b"SUB new 1\r\n");
        let mut peer = Wire::peer(&cluster, GRACEFUL);
        peer.lines_until("RI= $G ");
        client.send(b"PING\r\n");
        peer.lines_until("PING");
        // The PONG comes behind the question, and so proves nothing.
        peer.send(b"RI- $G\r\nPONG\r\n");
        peer.lines_until("RS+ $G kept");
        assert!(!client.hears_soon(), "the client was answered too early");
        // One for each PING that may be under way.
        peer.send(b"PONG\r\nPONG\r\nPONG\r\n");
        client.lines_until("PONG");
    }
}
