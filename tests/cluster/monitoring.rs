//! What monitoring tells of a cluster.

use serde_json::Value;

use crate::mesh::client::publication;
use crate::mesh::{Cluster, Plan, on_each_layout};
use crate::support::poll;

/// What stands under a key in each pooled route of `/routez` to another node.
fn pooled<'a>(routez: &'a Value, remote: &str, key: &str) -> Vec<&'a Value> {
    let routes = routez["routes"].as_array().expect("routes");
    let pooled = routes.iter().filter(|route| route["account"].is_null());
    pooled.filter(|route| route["remote_name"] == *remote).map(|route| &route[key]).collect()
}

#[test]
fn routez_tells_what_is_wanted_and_what_passes() {
    on_each_layout(2, |layout| {
        let cluster = Plan::new(layout).start();
        let mut subscriber = cluster.client(0);
        subscriber.send(b"SUB foo.> q 1\r\nSUB bar 2\r\n");
        subscriber.flush();
        let listed = poll(|| {
            let routez = cluster.nodes[1].monitor("/routez?subs=1")?;
            let lists = pooled(&routez, "a", "subscriptions_list");
            let mut subjects: Vec<_> = lists.iter().filter_map(|list| list.as_array()).collect();
            subjects.retain(|subjects| subjects.len() == 2);
            (subjects.len() == 1).then_some(())
        });
        assert!(listed.is_some(), "{}", cluster.routez(1));
        let sum = |node, remote, key| -> u64 {
            let routez = cluster.routez(node);
            pooled(&routez, remote, key).iter().filter_map(|count| count.as_u64()).sum()
        };
        assert_eq!(sum(1, "a", "subscriptions"), 2);
        let mut publisher = cluster.client(1);
        publisher.send(b"PUB bar 5\r\nhello\r\n");
        publisher.flush();
        let passed = poll(|| (sum(0, "b", "in_bytes") == 5).then_some(()));
        assert!(passed.is_some(), "{}", cluster.routez(0));
        let sent = ["out_msgs", "out_bytes", "in_msgs"].map(|key| sum(1, "a", key));
        assert_eq!(sent, [1, 5, 0], "{}", cluster.routez(1));
    });
}

#[test]
fn varz_tells_of_the_cluster() {
    on_each_layout(2, |layout| {
        let cluster = Plan::new(layout).start();
        for node in 0..2 {
            let varz = cluster.varz(node);
            assert_eq!((&varz["remotes"], &varz["routes"]), (&1.into(), &4.into()), "{varz}");
            let block = &varz["cluster"];
            assert_eq!(
                (&block["name"], &block["pool_size"]),
                (&"mesh".into(), &3.into()),
                "{varz}"
            );
            assert_eq!(varz["connect_urls"].as_array().map(Vec::len), Some(2), "{varz}");
        }
        let urls = &cluster.varz(1)["cluster"]["urls"];
        assert_eq!(
            urls.as_array().map(Vec::as_slice),
            Some(&[cluster.route_address(0).into()][..])
        );
    });
}

#[test]
fn the_clients_of_an_account_are_counted_apart() {
    on_each_layout(2, |layout| {
        let accounts = "accounts {
            APP: { users: [{ user: app, password: app }] }
            OTHER: { users: [{ user: other, password: other }] }
        }";
        let cluster = Plan::new(layout).top(accounts).start();
        let _clients = ["app", "app", "other"].map(|user| {
            cluster.client_with(0, &format!("\"user\":\"{user}\",\"pass\":\"{user}\""))
        });
        let node = &cluster.nodes[0];
        let connz = |query: &str| node.monitor(&format!("/connz?{query}")).expect("/connz answers");
        assert_eq!(connz("acc=APP")["total"], 2);
        assert_eq!(connz("acc=OTHER&auth=1")["connections"][0]["account"], "OTHER");
        let accountz = node.monitor("/accountz?acc=APP").expect("/accountz answers");
        assert_eq!(accountz["account_detail"]["client_connections"], 2);
        let accstatz = node.monitor("/accstatz").expect("/accstatz answers");
        let counts = accstatz["account_statz"].as_array().expect("accounts").iter();
        let mut counts: Vec<_> =
            counts.map(|it| (it["acc"].as_str().unwrap(), it["conns"].as_u64())).collect();
        counts.sort_unstable();
        assert_eq!(counts, [("APP", Some(2)), ("OTHER", Some(1))]);
    });
}

#[test]
fn what_clients_of_an_account_did_stays_counted_when_they_are_gone() {
    on_each_layout(3, |layout| {
        let accounts = "accounts { APP: { users: [{ user: app, password: app }] } }";
        let cluster = Plan::new(layout).top(accounts).start();
        // With another number of shards each.
        (0..3).for_each(|node| check_account_counts(&cluster, node));
    });
}

#[track_caller]
fn check_account_counts(cluster: &Cluster, node: usize) {
    let client = || cluster.client_with(node, r#""user":"app","pass":"app""#);
    let counts = || {
        let accstatz = cluster.nodes[node].monitor("/accstatz?unused=1")?;
        let app = accstatz["account_statz"].as_array()?.iter().find(|it| it["acc"] == "APP")?;
        let (received, sent) = (&app["received"], &app["sent"]);
        let traffic = [&received["msgs"], &received["bytes"], &sent["msgs"], &sent["bytes"]];
        let here = [&app["conns"], &app["num_subscriptions"]];
        Some((here.map(|it| it.as_u64().unwrap()), traffic.map(|it| it.as_u64().unwrap())))
    };
    let mut subscriber = client();
    // nats-server counts what it imports into each account.
    let ([_, imports], _) = counts().expect("the account");
    let wait = |[clients, subscriptions]: [u64; 2]| {
        let expected = Some(([clients, imports + subscriptions], [101, 301, 100, 300]));
        let has_come = poll(|| (counts() == expected).then_some(())).is_some();
        assert!(has_come, "{expected:?}, not {:?}", counts());
    };
    let subject = format!("of.{node}");
    subscriber.subscribe(&subject);
    let unused = subscriber.subscribe("unused");
    subscriber.flush();
    let mut publisher = client();
    publisher.send(&publication(&subject, "", b"abc").repeat(100));
    publisher.publish("nobody", "x");
    assert!(subscriber.messages(100).iter().all(|message| message.text() == "abc"));
    publisher.flush();
    wait([2, 2]);
    subscriber.unsubscribe(unused);
    wait([2, 1]);
    drop(publisher);
    wait([1, 1]);
    drop(subscriber);
    wait([0, 0]);
}

#[test]
fn only_what_clients_get_counts_as_messages_to_clients() {
    on_each_layout(2, |layout| {
        let cluster = Plan::new(layout).start();
        let mut client = cluster.client(0);
        // The server says that nobody is there, which is no message.
        client.send(b"SUB r 1\r\nPUB nobody r 2\r\nhi\r\n");
        assert!(client.message().text().is_empty());
        let connz = cluster.nodes[0].monitor("/connz").expect("/connz answers");
        let counts = ["out_msgs", "out_bytes"].map(|key| connz["connections"][0][key].as_u64());
        assert_eq!(counts, [Some(0), Some(0)]);
        for node in 0..2 {
            assert_eq!(cluster.varz(node)["out_client_msgs"], 0, "node {node}");
        }
        client.send(b"PUB r 2\r\nhi\r\n");
        assert_eq!(client.message().text(), "hi");
        // nats-server counts a moment after the message has left.
        let counts_it = || (cluster.varz(0)["out_client_msgs"] == 1).then_some(());
        assert!(poll(counts_it).is_some(), "{:?}", cluster.varz(0));
    });
}

#[test]
fn a_lame_duck_is_not_ready() {
    on_each_layout(2, |layout| {
        let plan =
            Plan::new(layout).top("lame_duck_grace_period: \"10s\"\nlame_duck_duration: \"30s\"");
        let cluster = plan.start();
        let mut client = cluster.client(1);
        let health = |node: usize| cluster.nodes[node].monitor("/healthz").expect("an answer");
        assert_eq!(health(1)["status"], "ok");
        cluster.nodes[1].signal("USR2");
        client.await_info(|info| info["ldm"] == true);
        let said = health(1);
        assert_eq!(said["status"], "error");
        assert_eq!(said["error"], "failed to be ready for connections after 1ms: server");
        assert_eq!(health(0)["status"], "ok");
    });
}
