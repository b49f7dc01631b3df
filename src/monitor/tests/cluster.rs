//! What the monitor tells of routes, of the cluster and of accounts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Running, StillServer, at, server, subscription};
use crate::ids::AccountId;
use crate::monitor::{Member, MeshView, RouteRules};
use crate::proto::route_info::SubjectRules;
use crate::report::{
    AccountReport, ClusterSettings, RouteReport, Sealing, ShardReport, SublistStats,
    SubscriptionReport, WireCounts,
};

/// The keys of the real server's answers in a cluster of two, in their order.
const ROUTEZ_KEYS: &[&str] =
    &["server_id", "server_name", "now", "import", "export", "num_routes", "routes"];
const ROUTE_KEYS: &[&str] = &[
    "rid",
    "remote_id",
    "remote_name",
    "did_solicit",
    "is_configured",
    "ip",
    "port",
    "start",
    "last_activity",
    "rtt",
    "uptime",
    "idle",
    "import",
    "export",
    "pending_size",
    "in_msgs",
    "out_msgs",
    "in_bytes",
    "out_bytes",
    "subscriptions",
    "subscriptions_list",
    "account",
    "compression",
];
const CLUSTER_KEYS: &[&str] = &[
    "name",
    "addr",
    "cluster_port",
    "auth_timeout",
    "urls",
    "tls_timeout",
    "tls_required",
    "tls_verify",
    "pool_size",
    "write_deadline",
    "write_timeout",
];
const ACCOUNT_DETAIL_KEYS: &[&str] = &[
    "account_name",
    "update_time",
    "is_system",
    "expired",
    "complete",
    "jetstream_enabled",
    "leafnode_connections",
    "client_connections",
    "subscriptions",
    "name_tag",
    "sublist_stats",
];

/// The keys in a body that stand at this depth, each once, without those that only we have.
fn keys(body: &str, depth: usize) -> Vec<&str> {
    let indent = "  ".repeat(depth);
    let mut keys = Vec::new();
    for line in body.lines() {
        let key = line.strip_prefix(indent.as_str()).and_then(|text| text.strip_prefix('"'));
        let Some((key, _)) = key.and_then(|text| text.split_once("\":")) else { continue };
        if !keys.contains(&key) && !["ringmesh", "mesh", "missing_links"].contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn route(rid: u64, remote: &str, pool_index: Option<u16>, account: Option<&str>) -> RouteReport {
    RouteReport {
        rid,
        remote_id: format!("N{remote}"),
        remote_name: remote.into(),
        did_solicit: true,
        is_configured: false,
        is_ringmesh: true,
        peer: "127.0.0.1:6222".parse().unwrap(),
        start: at(0),
        last_activity: at(90),
        rtt: Duration::from_micros(459),
        pending_bytes: 7,
        in_msgs: 1,
        out_msgs: 2,
        in_bytes: 3,
        out_bytes: 4,
        subscriptions: 1,
        account: account.map(Into::into),
        pool_index,
        compression: "off",
        wire: WireCounts::default(),
        sealing: Sealing::default(),
    }
}

fn rules(allow: &[&str]) -> Option<SubjectRules> {
    let allow = allow.iter().map(ToString::to_string).collect();
    Some(SubjectRules { allow, deny: Vec::new() })
}

/// Two shards with the routes to one server, and another server that is not there.
fn clustered() -> StillServer {
    let wanted = |rid, subject: &str| SubscriptionReport {
        sid: format!("R A {subject}"),
        ..subscription(rid, subject)
    };
    let mut compressed = route(8, "b", Some(0), None);
    compressed.compression = "s2_fast";
    compressed.wire = WireCounts { plain_out: 3000, wire_out: 900, ..WireCounts::default() };
    compressed.sealing = Sealing { nanos: 6000, bytes: 3000, batches: 4 };
    let mut server = server(vec![
        ShardReport {
            routes_open: 2,
            subscriptions_routed: 2,
            routes: vec![route(9, "b", None, Some("A")), compressed],
            route_subscriptions: vec![wanted(9, "x"), wanted(8, "foo.>")],
            ..ShardReport::default()
        },
        ShardReport {
            routes_open: 1,
            subscriptions_open: 3,
            subscriptions_routed: 1,
            routes: vec![route(7, "b", Some(1), None)],
            route_subscriptions: vec![wanted(7, "y")],
            ..ShardReport::default()
        },
    ]);
    let member = |name: &str, actual, missing| Member {
        name: name.into(),
        expected: actual + missing,
        actual,
        missing,
        ..Member::default()
    };
    let remote = RouteRules { import: rules(&["foo.>"]), export: rules(&[">"]) };
    server.mesh = Some(MeshView {
        members: vec![member("b", 3, 1), member("", 0, 4)],
        own_rules: RouteRules { import: rules(&["a"]), export: rules(&["b"]) },
        remote_rules: [7, 8, 9].map(|rid| (rid, remote.clone())).into(),
    });
    server.facts.cluster = Some(ClusterSettings {
        name: "C".into(),
        addr: "127.0.0.1".into(),
        cluster_port: 6222,
        auth_timeout: 2.0,
        urls: vec!["127.0.0.1:1".into()],
        tls_timeout: 2.0,
        tls_required: true,
        tls_verify: true,
        pool_size: 3,
        write_deadline: Duration::from_secs(3),
        write_timeout: "retry".into(),
    });
    server.facts.accounts.push("A".into());
    server
}

#[test]
fn routes_have_the_peers_keys_in_its_order() {
    let running = Running::start(clustered());
    let body = running.get("/routez?subs=1").body;
    assert_eq!(keys(&body, 1), ROUTEZ_KEYS);
    let account = body.split_once("\"rid\": 9,").unwrap().1;
    let account = account.split_once("\n    }").unwrap().0;
    assert_eq!(keys(&format!("      \"rid\": 9,{account}"), 3), ROUTE_KEYS);
    let body = running.get("/varz").body;
    let cluster = body.split_once("\"cluster\": {").unwrap().1.split_once("},").unwrap().0;
    assert_eq!(keys(cluster, 2), CLUSTER_KEYS);
}

#[test]
fn routes_are_listed_by_server_pool_and_account() {
    let routez = Running::start(clustered()).json("/routez");
    let rids: Vec<_> =
        routez["routes"].as_array().unwrap().iter().map(|route| &route["rid"]).collect();
    assert_eq!(rids, [8, 7, 9]);
    assert_eq!((&routez["num_routes"], &routez["import"]), (&json!(3), &json!({"allow": ["a"]})));
    let first = &routez["routes"][0];
    let check = |key: &str, expected: Value| assert_eq!(first[key], expected, "{key}");
    check("remote_name", "b".into());
    check("rtt", "459µs".into());
    check("uptime", "1m40s".into());
    check("idle", "10s".into());
    check("pending_size", 7.into());
    check("compression", "s2_fast".into());
    check("export", json!({"allow": [">"]}));
    check("subscriptions_list", Value::Null);
    check("account", Value::Null);
}

#[test]
fn a_route_tells_what_its_compression_is_worth_and_costs() {
    let routez = Running::start(clustered()).json("/routez");
    let check = |index: usize, expected: Value| {
        assert_eq!(routez["routes"][index]["ringmesh"], expected, "{index}");
    };
    check(0, json!({"pool_index": 0, "ratio": 3.333, "ns_per_byte": 2, "added_delay_us": 1.5}));
    check(1, json!({"pool_index": 1, "ratio": 1, "ns_per_byte": 0, "added_delay_us": 0}));
    check(2, json!({"ratio": 1, "ns_per_byte": 0, "added_delay_us": 0}));
}

#[test]
fn routez_tells_which_links_of_the_mesh_are_missing() {
    let routez = Running::start(clustered()).json("/routez");
    assert_eq!(routez["missing_links"], 5);
    let member = |name: &str, expected: u64, actual: u64| {
        json!({
            "id": "", "name": name, "ringmesh": false, "expected": expected, "actual": actual,
            "missing": expected - actual, "lame_duck": false, "url": "",
        })
    };
    assert_eq!(routez["mesh"], json!([member("b", 4, 3), member("", 4, 0)]));
}

#[test]
fn what_other_servers_want_is_listed_under_their_routes() {
    let running = Running::start(clustered());
    let lists = |query: &str, key: &str| -> BTreeMap<u64, Value> {
        let routez = running.json(&format!("/routez?subs={query}"));
        let routes = routez["routes"].as_array().unwrap();
        routes.iter().map(|route| (route["rid"].as_u64().unwrap(), route[key].clone())).collect()
    };
    let subjects = lists("true", "subscriptions_list");
    let expected = [(7, json!(["y"])), (8, json!(["foo.>"])), (9, json!(["x"]))];
    assert_eq!(subjects, expected.into());
    let detail = lists("detail", "subscriptions_list_detail");
    let expected = json!([{"subject": "foo.>", "sid": "R A foo.>", "msgs": 0, "cid": 8}]);
    assert_eq!(detail[&8], expected);
}

#[test]
fn varz_counts_routes_servers_and_what_they_want() {
    let varz = Running::start(clustered()).json("/varz");
    let check = |key: &str, expected: Value| assert_eq!(varz[key], expected, "{key}");
    check("routes", 3.into());
    check("remotes", 1.into());
    check("subscriptions", 6.into());
    let cluster = &varz["cluster"];
    assert_eq!(
        (&cluster["pool_size"], &cluster["write_deadline"]),
        (&3.into(), &3_000_000_000_u64.into())
    );
}

#[test]
fn a_cluster_that_is_but_a_name_is_told_as_one() {
    let mut server = server(Vec::new());
    let name = ClusterSettings { name: "C".into(), ..ClusterSettings::default() };
    server.facts.cluster = Some(name);
    let running = Running::start(server);
    assert_eq!(running.json("/varz")["cluster"], json!({"name": "C"}));
    assert_eq!(running.json("/routez")["mesh"], Value::Null);
}

#[test]
fn metrics_of_routes_have_the_exporters_names() {
    let body = Running::start(clustered()).get("/metrics").body;
    let check = |line: &str| {
        assert!(body.lines().any(|l| l == line), "{line:?} is missing in {body}");
    };
    check(r#"gnatsd_varz_routes{server_id="NID"} 3"#);
    check(r#"gnatsd_varz_remotes{server_id="NID"} 1"#);
    check(r#"gnatsd_varz_cluster_pool_size{server_id="NID"} 3"#);
    check(r#"gnatsd_routez_num_routes{server_id="NID"} 3"#);
    check(
        r#"gnatsd_routez_route_info{server_id="NID",rid="9",remote_id="Nb",remote_name="b",account="A",ip="127.0.0.1",compression="off"} 1"#,
    );
    check(r#"gnatsd_routez_route_rtt_seconds{server_id="NID",rid="8"} 0.000459"#);
    check(r#"gnatsd_routez_route_uptime_seconds{server_id="NID",rid="8"} 100"#);
    check(r#"gnatsd_routez_route_out_msgs{server_id="NID",rid="7"} 2"#);
    check(r#"ringmesh_mesh_missing_links{server_id="NID"} 5"#);
    check(r#"ringmesh_route_pending_bytes{rid="8",remote_name="b",pool_index="0",account=""} 7"#);
    check(
        r#"ringmesh_route_rtt_seconds{rid="9",remote_name="b",pool_index="",account="A"} 0.000459"#,
    );
}

/// Two shards whose clients belong to three accounts.
fn with_accounts() -> StillServer {
    let share = |account, clients, in_msgs| AccountReport {
        account,
        clients,
        subscriptions: clients * 2,
        in_msgs,
        in_bytes: in_msgs * 10,
        out_msgs: 1,
        out_bytes: 5,
        slow_consumers: 1,
    };
    let shard = |accounts| ShardReport {
        accounts,
        account_sublists: vec![
            SublistStats { matches: 4, subscriptions: 9, ..Default::default() };
            3
        ],
        ..ShardReport::default()
    };
    let a = AccountId(2);
    let mut server = server(vec![
        shard(vec![share(AccountId::GLOBAL, 1, 0), share(a, 2, 3)]),
        shard(vec![share(AccountId::SYSTEM, 0, 2), share(a, 1, 4)]),
    ]);
    server.facts.accounts.push("A".into());
    server
}

#[test]
fn accounts_are_listed_and_described() {
    let running = Running::start(with_accounts());
    let accountz = running.json("/accountz");
    assert_eq!(accountz["accounts"], json!(["$G", "$SYS", "A"]));
    assert_eq!(accountz["system_account"], "$SYS");
    let detail = &running.json("/accountz?acc=A")["account_detail"];
    let check = |key: &str, expected: Value| assert_eq!(detail[key], expected, "{key}");
    check("account_name", "A".into());
    check("is_system", Value::Null);
    check("client_connections", 3.into());
    check("subscriptions", 6.into());
    assert_eq!(detail["sublist_stats"]["num_matches"], 8);
    assert_eq!(detail["sublist_stats"]["num_subscriptions"], 6);
    let body = running.get("/accountz?acc=$SYS").body;
    assert_eq!(keys(&body, 2), ACCOUNT_DETAIL_KEYS);
    let refused = running.get("/accountz?acc=nope");
    assert_eq!(refused.status, "HTTP/1.1 400 Bad Request");
    assert_eq!(refused.body, "Account nope does not exist");
}

#[test]
fn what_the_clients_of_accounts_do_is_added_up_over_all_shards() {
    let running = Running::start(with_accounts());
    let check = |query: &str, names: &[&str]| {
        let accstatz = running.json(&format!("/accstatz{query}"));
        let listed = accstatz["account_statz"].as_array().unwrap();
        let found: Vec<_> = listed.iter().map(|account| account["acc"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{query}");
    };
    check("", &["$G", "A"]);
    check("?unused=1", &["$G", "$SYS", "A"]);
    let accstatz = running.json("/accstatz");
    let a = &accstatz["account_statz"][1];
    assert_eq!((&a["conns"], &a["num_subscriptions"]), (&3.into(), &6.into()));
    assert_eq!((&a["received"]["msgs"], &a["received"]["bytes"]), (&7.into(), &70.into()));
    assert_eq!((&a["sent"]["msgs"], &a["slow_consumers"]), (&2.into(), &2.into()));
    assert_eq!(a["sent"]["routes"], json!({"msgs": 0, "bytes": 0}));
    let metrics = running.get("/metrics").body;
    for (key, of_a, of_system) in [
        ("current_connections", 3, 0),
        ("total_connections", 3, 0),
        ("subscriptions", 6, 0),
        ("leaf_nodes", 0, 0),
        ("sent_messages", 2, 1),
        ("sent_bytes", 10, 5),
        ("received_messages", 7, 2),
        ("received_bytes", 70, 20),
        ("slow_consumers", 2, 1),
    ] {
        for (name, value) in [("A", of_a), ("$SYS", of_system)] {
            let labels = format!(
                r#"server_id="NID",account="{name}",account_id="{name}",account_name="{name}""#
            );
            let line = format!("gnatsd_accstatz_{key}{{{labels}}} {value}");
            assert!(metrics.lines().any(|found| found == line), "{line} is missing in {metrics}");
        }
        assert!(metrics.contains(&format!("# TYPE gnatsd_accstatz_{key} gauge\n")));
    }
}

#[test]
fn the_subscription_table_of_one_account_is_told_apart() {
    let running = Running::start(with_accounts());
    let check = |account: &str, subscriptions: u64, matches: u64| {
        let subsz = running.json(&format!("/subsz?acc={account}"));
        let found = (&subsz["num_subscriptions"], &subsz["num_matches"]);
        assert_eq!(found, (&subscriptions.into(), &matches.into()), "{account}");
    };
    check("A", 6, 8);
    check("$G", 2, 8);
    check("nobody", 0, 0);
}
