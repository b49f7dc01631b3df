//! Reloads of the cluster. The lines come from nats-server 2.15.1.

use super::cluster::peer_of;
use super::*;

#[test]
fn a_reload_of_the_cluster_has_the_peer_s_lines() {
    let tail = "\naccounts: [A, B]";
    let old = format!("cluster {{ port: -1, host: h, name: c }}{tail}");
    for line in [
        "advertise: \"a:1\"",
        "no_advertise: true",
        "authorization {user: a, password: b}",
        "authorization {timeout: 3}",
        "connect_retries: 3",
        "connect_backoff: true",
        "permissions {import: a}",
        "pool_size: 5",
        "pool_size: -1",
        "accounts: [A]",
        "compression: fast",
        "ping_interval: 5s",
        "ping_max: 5",
        "write_deadline: 5s",
        "write_timeout: close",
        "tls {}",
    ] {
        let new = format!("cluster {{ port: -1, host: h, name: c, {line} }}{tail}");
        assert_eq!(reloaded(&[], &old, &new), Ok(vec!["Reloaded: cluster".into()]), "{line:?}");
    }
    let check = |new: &str, lines: &[&str]| {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(reloaded(&[], &old, &format!("{new}{tail}")), Ok(lines), "{new:?}");
    };
    check("cluster { port: -1, host: h, name: c }", &[]);
    check("cluster { port: -1, host: h, name: c, accounts: [\"$SYS\"] }", &[]);
    check(
        "cluster { port: -1, host: h, name: d }",
        &["Cluster name updated to d", "Reloaded: cluster"],
    );
    check(
        "cluster { port: -1, host: h, name: c, routes: [\"nats://a:1\"] }",
        &["Reloaded: cluster routes"],
    );
    check(
        "cluster { port: -1, host: h, name: c }\nping_interval: 5s\nping_max: 7\nwrite_deadline: 3s",
        &[
            "Reloaded: ping_interval = 5s",
            "Reloaded: ping_max = 7",
            "Reloaded: write_deadline = 3s",
        ],
    );
    check(
        "cluster { port: -1, host: h, name: d, routes: [\"nats://a:1\"] }\ndebug: true\n\
         max_payload: 5000\npid_file: f\nwrite_deadline: 3s\nping_interval: 5s\nserver_tags: [a]",
        &[
            "Reloaded: debug = true",
            "Reloaded: ping_interval = 5s",
            "Reloaded: max_payload = 5000",
            "Cluster name updated to d",
            "Reloaded: cluster",
            "Reloaded: pid_file = f",
            "Reloaded: cluster routes",
            "Reloaded: write_deadline = 3s",
            "Reloaded: tags",
        ],
    );
    let swapped = |a: &str, b: &str| {
        format!("cluster {{ port: -1, routes: [\"nats://{a}:1\", \"nats://{b}:1\"] }}")
    };
    assert_eq!(reloaded(&[], &swapped("a", "b"), &swapped("b", "a")), Ok(Vec::new()));
    assert_eq!(
        reloaded(&[], "port: 5", "port: 5\ncluster { name: y }"),
        Ok(vec!["Cluster name updated to y".into(), "Reloaded: cluster".into()])
    );
}

#[test]
fn where_a_cluster_listens_only_a_restart_changes() {
    let fixed = |rest: &str| Err(format!("config reload not supported for cluster {rest}"));
    for (old, new, change) in [
        ("cluster { listen: \"h:5\" }", "cluster { listen: \"i:5\" }", "host: old=h, new=i"),
        ("cluster { listen: \"h:5\" }", "cluster { listen: \"h:6\" }", "port: old=5, new=6"),
        ("port: 5", "port: 5\ncluster { listen: \"h:5\" }", "host: old=, new=h"),
        ("port: 5\ncluster { listen: \"h:5\" }", "port: 5", "host: old=h, new="),
    ] {
        assert_eq!(reloaded(&[], old, new), fixed(change), "{old:?} to {new:?}");
    }
    assert_eq!(
        reloaded(&[], "cluster { port: 5 }", "cluster { port: 5, accounts: [Z] }"),
        Err("unable to add account \"Z\" to the list of dedicated routes: account missing".into())
    );
    let flag = &["--cluster", "nats://h:-1"];
    assert_eq!(reloaded(flag, "port: 5", "port: 5\ncluster { port: 9 }"), Ok(Vec::new()));
}

#[test]
fn a_reload_keeps_the_port_that_the_system_chose() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    std::fs::write(&path, "cluster { port: -1 }").unwrap();
    let mut loaded = peer_of(&path);
    loaded.options.cluster.as_mut().unwrap().port = Some(4711);
    let again = reload(&loaded).unwrap();
    assert_eq!(again.loaded.options.cluster.unwrap().port, Some(4711));
}

#[test]
fn each_change_of_the_cluster_is_named_beside_the_line() {
    let changed = |line: &str| {
        let old = options("cluster { port: 1 }").unwrap();
        let new = options(&format!("cluster {{ port: 1\n{line}\n}}")).unwrap();
        let changes = reload::compare(&old, &new).unwrap();
        let always = [ChangedOption::Users, ChangedOption::Accounts];
        let named = changes.into_iter().map(|change| change.option);
        named.filter(|option| !always.contains(option)).collect::<Vec<_>>()
    };
    use ChangedOption as O;
    for (line, option) in [
        ("name: n", O::ClusterName),
        ("advertise: a", O::ClusterAdvertise),
        ("no_advertise: true", O::ClusterNoAdvertise),
        ("username: u", O::ClusterAuthorization),
        ("authorization { timeout: 9 }", O::ClusterAuthorization),
        ("connect_retries: 1", O::ClusterConnectRetries),
        ("connect_backoff: on", O::ClusterConnectRetries),
        ("permissions { import: a }", O::ClusterPermissions),
        ("pool_size: 1", O::ClusterPoolSize),
        ("accounts: [\"$G\"]", O::ClusterAccounts),
        ("compression: best", O::ClusterCompression),
        ("max_pending: 1", O::ClusterMaxPending),
        ("ping_interval: 1s", O::ClusterPing),
        ("ping_max: 1", O::ClusterPing),
        ("write_deadline: 1s", O::ClusterWriteDeadline),
        ("write_timeout: close", O::ClusterWriteDeadline),
    ] {
        assert_eq!(changed(line), [option, O::Cluster], "{line:?}");
    }
    // Where TLS is on, the time to authenticate is longer too.
    assert_eq!(changed("tls {}"), [O::ClusterAuthorization, O::ClusterTls, O::Cluster]);
    assert_eq!(changed("routes: [\"nats://a:1\"]"), [O::ClusterRoutes]);
}
