//! What operators see: the `nats` command in the system account.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::mesh::{Cluster, Plan, on_each_layout, skipped};
use crate::support::{nats_cli, poll};

const ACCOUNTS: &str = "accounts {
    APP: { users: [{ user: app, password: app }] }
    $SYS: { users: [{ user: sys, password: sys }] }
}";

/// Starts the command as the system account's user of a node, and gives what it says.
fn nats(program: &Path, cluster: &Cluster, node: usize, args: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let url = format!("nats://sys:sys@{}", cluster.client_address(node));
    let output = Command::new(program)
        .args(["--server", &url, "--timeout", "5s"])
        .args(args)
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Until every node has heard of every other, a command may see fewer.
#[track_caller]
fn await_said(cluster: &Cluster, args: &[&str], fits: impl Fn(&str) -> bool) {
    let Some(program) = nats_cli() else {
        skipped(&format!("nats {}: Go is not installed", args.join(" ")));
        return;
    };
    for node in 0..cluster.nodes.len() {
        let mut said = String::new();
        let settled = poll(|| {
            said = nats(&program, cluster, node, args);
            fits(&said).then_some(())
        });
        assert!(settled.is_some(), "nats {args:?} at node {node}: {said}");
    }
}

/// The lines of a table that begin with this name.
fn rows<'a>(said: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let cells = |line: &'a str| -> Vec<&'a str> {
        line.split(['│', '|']).map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    said.lines().map(cells).filter(|cells| cells.first() == Some(&name)).collect()
}

#[test]
fn server_list_shows_every_node() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).top(ACCOUNTS).start();
        await_said(&cluster, &["server", "list", "3"], |said| {
            ["a", "b", "c"].iter().all(|name| {
                let rows = rows(said, name);
                rows.len() == 1 && rows[0].contains(&"mesh")
            })
        });
    });
}

#[test]
fn a_heartbeat_counts_the_subscriptions_that_monitoring_counts() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).top(ACCOUNTS).start();
        let mut client = cluster.client_with(0, "\"user\":\"app\",\"pass\":\"app\"");
        for number in 0..50 {
            client.subscribe(&format!("wanted.{number}"));
        }
        client.flush();
        let mut system = cluster.client_with(0, "\"user\":\"sys\",\"pass\":\"sys\"");
        system.subscribe("answers");
        for node in 0..3 {
            let id = cluster.varz(node)["server_id"].as_str().expect("an id").to_owned();
            // The two are not asked in one moment.
            let same = poll(|| {
                system
                    .send(format!("PUB $SYS.REQ.SERVER.{id}.STATSZ answers 0\r\n\r\n").as_bytes());
                let answer: Value = serde_json::from_str(&system.message().text()).expect("JSON");
                let told = answer["statsz"]["subscriptions"].as_u64()?;
                (told >= 50 && cluster.varz(node)["subscriptions"] == told).then_some(())
            });
            assert!(same.is_some(), "node {node}: {}", cluster.varz(node));
        }
    });
}

#[test]
fn server_ping_is_answered_by_every_node() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).top(ACCOUNTS).start();
        await_said(&cluster, &["server", "ping", "3"], |said| {
            ["a ", "b ", "c "].iter().all(|name| said.lines().any(|line| line.starts_with(name)))
        });
    });
}

#[test]
fn server_report_connections_shows_the_clients_of_every_node() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).top(ACCOUNTS).start();
        let login = |node| {
            let name = format!("client-of-{node}");
            let fields = format!("\"user\":\"app\",\"pass\":\"app\",\"name\":\"{name}\"");
            cluster.client_with(node, &fields)
        };
        let _clients: Vec<_> = (0..3).map(login).collect();
        await_said(&cluster, &["server", "report", "connections", "3"], |said| {
            (0..3).all(|node| said.contains(&format!("client-of-{node}")))
        });
    });
}

#[test]
fn server_report_routes_shows_every_connection() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).top(ACCOUNTS).start();
        await_said(&cluster, &["server", "report", "routes", "3"], |said| {
            // Of each node towards two others: three in the pool, one of the system account.
            said.matches("rid:").count() == 3 * 2 * 4
        });
    });
}

#[test]
fn server_info_and_requests_reach_every_node() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).top(ACCOUNTS).start();
        for name in ["a", "b", "c"] {
            await_said(&cluster, &["server", "info", name], |said| {
                said.contains(&format!("Server information for {name} "))
            });
        }
        for what in ["variables", "connections", "routes", "subscriptions"] {
            await_said(&cluster, &["server", "request", what, "3"], |said| {
                ["a", "b", "c"].iter().all(|name| said.contains(&format!("\"name\":\"{name}\"")))
            });
        }
        await_said(&cluster, &["server", "report", "health", "3"], |said| {
            ["a", "b", "c"].iter().all(|name| rows(said, name).len() == 1)
        });
    });
}
