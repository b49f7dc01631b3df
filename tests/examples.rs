//! The configurations in `examples/`, each doing what it is there for.
//!
//! A server gets a copy of its file in which only addresses differ: ports are free ones of loopback,
//! and the names of other servers stand for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mesh;
mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use mesh::ports::Port;
use mesh::{Client, http, introduce};
use serde_json::Value;
use support::{Broker, Kind, LIMIT, poll, root};
use tempfile::TempDir;

/// A server that runs an example.
struct Server {
    broker: Broker,
    monitor: u16,
    _dir: TempDir,
}

impl Server {
    /// Starts an example; `changes` are texts of it and what stands in their places.
    #[track_caller]
    fn start(example: &str, changes: &[(&str, &str)]) -> Self {
        let mut text = std::fs::read_to_string(root().join("examples").join(example)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{example} has no {from}");
            text = text.replace(from, to);
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(example);
        std::fs::write(&file, text).unwrap();
        let args = ["-m", "-1", "-c", file.to_str().unwrap()];
        let broker = Broker::start(Kind::Ours { shards: 2 }, &args);
        let monitor = broker.monitor().strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
        Self { broker, monitor, _dir: dir }
    }

    fn client(&self) -> Client {
        Client::login(TcpStream::connect(("127.0.0.1", self.broker.port)).unwrap(), "")
    }

    /// The routes that the server tells of.
    fn routes(&self) -> Vec<Value> {
        let stream = TcpStream::connect(("127.0.0.1", self.monitor)).unwrap();
        let mut routez = http::get(stream, "/routez").expect("/routez answers");
        serde_json::from_value(routez["routes"].take()).unwrap()
    }

    /// Waits until the server has routes to exactly these.
    #[track_caller]
    fn await_routes_to(&self, names: &[&str]) {
        let settled = poll(|| {
            let mut found: Vec<_> = self.routes().iter().map(remote_name).collect();
            found.sort();
            found.dedup();
            (found == names).then_some(())
        });
        assert!(settled.is_some(), "not {names:?} but {:?}:\n{}", self.routes(), self.broker.log());
    }
}

fn remote_name(route: &Value) -> String {
    route["remote_name"].as_str().unwrap_or_default().to_owned()
}

fn at(port: &Port) -> String {
    format!("127.0.0.1:{}", port.number)
}

/// A message of one server's client reaches a client of the other.
#[track_caller]
fn carries_a_message(from: &Server, to: &Server) {
    let (mut publisher, mut subscriber) = (from.client(), to.client());
    let sid = subscriber.subscribe("greet.*");
    introduce(&mut publisher, &mut subscriber);
    publisher.publish("greet.you", "hello");
    assert_eq!(subscriber.message_of(sid).text(), "hello");
}

#[test]
fn three_nodes_form_a_mesh_that_carries_messages() {
    let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
    let addresses = ports.each_ref().map(at);
    let names = ["nats-1", "nats-2", "nats-3"];
    let hosts = names.map(|name| format!("{name}:6222"));
    let servers = [0, 1, 2].map(|own: usize| {
        let mut changes = vec![("0.0.0.0:6222", &*addresses[own])];
        let others = (0..3).filter(|other| *other != own);
        changes.extend(others.map(|other| (&*hosts[other], &*addresses[other])));
        Server::start(&format!("{}.conf", names[own]), &changes)
    });
    for (own, server) in servers.iter().enumerate() {
        let others: Vec<_> = (0..3).filter(|other| *other != own).map(|at| names[at]).collect();
        server.await_routes_to(&others);
    }
    carries_a_message(&servers[0], &servers[2]);
    carries_a_message(&servers[2], &servers[1]);
}

#[test]
fn the_right_password_opens_the_authenticated_cluster_and_a_wrong_one_does_not() {
    let example = "authentication.conf";
    // Hashing takes its time on a busy machine.
    let patient = ("timeout: 2", "timeout: 20");
    let ports = [(); 4].map(|()| Port::reserve());
    let [one, two, wrong, nobody] = ports.each_ref().map(at);
    let own = [("0.0.0.0:6222", &*one), ("nats-2:6222", &*two), ("nats-3:6222", &*nobody), patient];
    let server = Server::start(example, &own);
    let dials_it = [("nats-2:6222", &*one), ("nats-3:6222", &*nobody), patient];
    let friend = [("0.0.0.0:6222", &*two), ("nats-secure", "nats-2")];
    let friend = Server::start(example, &[&friend[..], &dials_it].concat());
    let stranger = [
        ("0.0.0.0:6222", &*wrong),
        ("nats-secure", "stranger"),
        ("cluster_route:cluster_password", "cluster_route:guessed"),
    ];
    let stranger = Server::start(example, &[&stranger[..], &dials_it].concat());
    server.broker.await_log("authentication error");
    stranger.broker.await_log("Authorization Violation");
    server.await_routes_to(&["nats-2"]);
    stranger.await_routes_to(&[]);
    carries_a_message(&friend, &server);
}

#[test]
fn a_server_behind_nat_tells_others_its_public_address() {
    let (own, elsewhere) = (Port::reserve(), Port::reserve());
    let _server = Server::start(
        "behind-nat.conf",
        &[
            ("0.0.0.0:6222", &at(&own)),
            ("public-ip-2.example.com:6222", &at(&elsewhere)),
            ("public-ip-3.example.com:6222", &at(&elsewhere)),
        ],
    );
    let stream = TcpStream::connect(("127.0.0.1", own.number)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let info: Value = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
    assert_eq!(info["ip"], "nats-route://public-ip-1.example.com:6222/", "{info}");
}

#[test]
fn routes_are_compressed_as_the_example_says() {
    let ports = [(); 3].map(|()| Port::reserve());
    let [one, two, nobody] = ports.each_ref().map(at);
    let start = |own: &str, other: &str, name: &str| {
        let addresses = [("0.0.0.0:6222", own), ("nats-2:6222", other), ("nats-3:6222", &*nobody)];
        Server::start("compression.conf", &[&addresses[..], &[("nats-compressed", name)]].concat())
    };
    let (server, other) = (start(&one, &two, "nats-1"), start(&two, &one, "nats-2"));
    server.await_routes_to(&["nats-2"]);
    for route in server.routes() {
        let compression = route["compression"].as_str().unwrap_or_default();
        assert!(compression.starts_with("s2_"), "{route}");
    }
    carries_a_message(&server, &other);
}
