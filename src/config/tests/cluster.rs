//! The cluster's block and its flags. The tables' texts come from nats-server 2.15.1.

use super::*;
use crate::config::cluster_settings::ClusterSettings;

#[test]
fn a_wrong_cluster_is_told_in_the_peer_s_words_with_its_place() {
    let said = WRONG_VALUES.iter().map(|(text, _)| (*text, complaints(text)));
    let wrong: Vec<_> =
        said.zip(WRONG_VALUES).filter(|((_, said), (_, expected))| said != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn listening(inside: &str) -> String {
    format!("cluster {{ port: -1\n{inside}\n}}")
}

fn cluster(text: &str) -> ClusterOptions {
    options(text).unwrap().cluster.unwrap_or_else(|| panic!("no cluster in {text:?}"))
}

/// What an option is with the line in a listening cluster, where it is not the default.
#[track_caller]
fn sets<T: PartialEq + Debug>(line: &str, option: impl Fn(&ClusterOptions) -> T, expected: T) {
    assert_ne!(option(&cluster(&listening(""))), expected, "{line:?} is the default");
    assert_eq!(option(&cluster(&listening(line))), expected, "{line:?}");
}

#[test]
fn a_cluster_listens_where_it_is_told_or_on_its_usual_port() {
    let at = |text: &str| cluster(text).port.map(|port| (cluster(text).host, port));
    let any = |port| Some((String::from("0.0.0.0"), port));
    for (text, expected) in [
        ("cluster { listen: \"h:5\" }", Some(("h".into(), 5))),
        ("cluster { listen: 5 }", any(5)),
        ("cluster { host: h }", Some(("h".into(), 6222))),
        ("cluster { net: h, port: 5 }", Some(("h".into(), 5))),
        ("cluster { port: -1 }", any(0)),
        ("cluster { port: 5 }", any(5)),
        ("cluster { routes: [\"nats://h:5\"] }", any(6222)),
        ("cluster { name: n }", None),
        ("cluster { name: n, port: 0 }", None),
    ] {
        assert_eq!(at(text), expected, "{text:?}");
    }
    for text in ["cluster {}", "cluster { port: 0 }", "cluster { routes: [] }", "port: 1"] {
        assert_eq!(options(text).unwrap().cluster, None, "{text:?}");
    }
}

#[test]
fn a_cluster_that_says_nothing_has_the_defaults() {
    let expected = ClusterOptions { port: Some(0), ..ClusterOptions::default() };
    assert_eq!(cluster("cluster { port: -1 }"), expected);
}

#[test]
fn every_option_about_addresses_lands_where_it_belongs() {
    sets("name: n", |c| c.name.clone(), Some("n".into()));
    for key in ["advertise", "cluster_advertise"] {
        for (text, host, port) in [
            ("h", "h", None),
            ("h:5", "h", Some(5)),
            ("h:-1", "h", None),
            ("nats://h:5", "h", Some(5)),
            ("nats://u:p@h:5/x", "h", Some(5)),
            ("nats://h", "h", None),
            ("nats://[::1]:5", "::1", Some(5)),
        ] {
            let advertise = Advertise { text: text.into(), host: host.into(), port };
            sets(&format!("{key}: \"{text}\""), |c| c.advertise.clone(), Some(advertise));
        }
    }
    sets("no_advertise: on", |c| c.no_advertise, true);
    sets("connect_retries: 5", |c| c.connect_retries, 5);
    assert_eq!(cluster(&listening("connect_retries: -1")).connect_retries, 0);
    sets("connect_backoff: on", |c| c.connect_backoff, true);
    sets("max_pending: 1MB", |c| c.max_pending, 1 << 20);
}

#[test]
fn routes_are_urls_with_a_host_and_the_usual_port_unless_they_have_one() {
    let check =
        |url: &str, scheme: &str, host: &str, port, user: Option<&str>, pass: Option<&str>| {
            let routes = cluster(&listening(&format!("routes: [\"{url}\"]"))).routes;
            let expected = RouteUrl {
                scheme: scheme.into(),
                host: host.into(),
                port,
                user: user.map(Into::into),
                password: pass.map(Into::into),
            };
            assert_eq!(routes, [expected], "{url}");
        };
    check("nats://h:5", "nats", "h", 5, None, None);
    check(" nats-route://h:5/ ", "nats-route", "h", 5, None, None);
    check("TLS://h", "tls", "h", 6222, None, None);
    check("nats://u@h:5", "nats", "h", 5, Some("u"), None);
    check("nats://u:p@h:5", "nats", "h", 5, Some("u"), Some("p"));
    check("nats://u:p%40%3A@h:5", "nats", "h", 5, Some("u"), Some("p@:"));
    check("nats://u:p:q@h:5", "nats", "h", 5, Some("u"), Some("p:q"));
    check("nats://[::1]:5?x#y", "nats", "::1", 5, None, None);
    check("nats://[::1]", "nats", "::1", 6222, None, None);
    check("//h:5", "", "h", 5, None, None);
    let routes = "routes: [\"nats://a:1\", \"nats://a:1\", \"nats://b:1\"]";
    assert_eq!(cluster(&listening(routes)).routes.len(), 2, "a duplicate counts once");
}

#[test]
fn a_route_without_a_host_is_refused_with_the_form_that_has_one() {
    for (url, rest) in [
        ("h:6222", ": no host, write it as nats://host:6222"),
        ("nats://:5", ": no host, write it as nats://host:6222"),
        ("", ": no host, write it as nats://host:6222"),
        ("nats://h:0", ": the port must be 1 to 65535"),
        ("nats://h:70000", ": the port must be 1 to 65535"),
        ("127.0.0.1:6222", ""),
        ("nats://h:x", ""),
        ("nats://a b:1", ""),
    ] {
        let said = complaints(&format!("cluster {{ routes: [\"{url}\"] }}"));
        assert_eq!(said, format!("x.conf:1:20: error parsing route url [\"{url}\"]{rest}"));
    }
}

#[test]
fn a_route_is_shown_without_its_password() {
    for (url, shown) in [
        ("nats://u:secret@h:5", "nats://u:xxxxx@h:5"),
        ("tls://u@[::1]", "tls://u@[::1]:6222"),
        ("//h", "nats://h:6222"),
    ] {
        let route = RouteUrl::parse(url).unwrap();
        assert_eq!(route.to_string(), shown);
        assert!(!format!("{route:?}").contains("secret"));
    }
    let text = listening("authorization { user: u, password: secret }");
    assert!(!format!("{:?}", options(&text)).contains("secret"));
}

#[test]
fn both_spellings_of_the_routes_credentials_act() {
    let authorization = |user: &str, password: &str| {
        Some(RouteAuthorization { user: user.into(), password: password.into() })
    };
    for (line, expected) in [
        ("username: u, password: p", authorization("u", "p")),
        ("user: u\npass: p", authorization("u", "p")),
        ("authorization { user: u, password: p }", authorization("u", "p")),
        ("authorization { username: u, pass: p }", authorization("u", "p")),
        ("authorization { user: u }", authorization("u", "")),
    ] {
        sets(line, |c| c.authorization.clone(), expected);
    }
    let nobody = cluster(&listening("authorization { password: p }"));
    assert_eq!(nobody.authorization, None, "a password without a user protects nothing");
    sets("authorization { timeout: 0.5 }", |c| c.auth_timeout, Duration::from_millis(500));
    sets("authorization { timeout: \"4s\" }", |c| c.auth_timeout, Duration::from_secs(4));
    sets("tls { timeout: 4 }", |c| c.auth_timeout, Duration::from_secs(5));
}

#[test]
fn a_pool_has_three_connections_unless_a_number_says_otherwise() {
    for (line, size) in [
        ("", Some(3)),
        ("pool_size: 0", Some(3)),
        ("pool_size: -1", Some(3)),
        ("pool_size: 1", Some(1)),
        ("pool_size: 7", Some(7)),
        ("pool_size: -2", None),
    ] {
        assert_eq!(cluster(&listening(line)).pool_size, size, "{line:?}");
    }
    let without = cluster(&listening("pool_size: -2"));
    assert!(without.accounts.is_empty(), "without a pool no account has connections of its own");
}

#[test]
fn under_the_peer_s_name_minus_one_is_no_pool_and_otherwise_a_line_says_what_it_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    std::fs::write(&path, listening("pool_size: -1")).unwrap();
    let loaded =
        |name: &str| match command_line([name, "-c", &path].into_iter().map(OsString::from)) {
            Invocation::Run(loaded) => loaded,
            other => panic!("{other:?}"),
        };
    let peer = loaded("nats-server");
    assert_eq!((peer.options.cluster.unwrap().pool_size, peer.notices.len()), (None, 0));
    let own = loaded("ringmesh");
    assert_eq!(own.options.cluster.clone().unwrap().pool_size, Some(3));
    assert_eq!(
        own.notices,
        ["cluster pool_size -1 means automatic here, which is 3 connections; -2 switches pooling \
          off"]
    );
    let again = reload(&peer_of(&path)).unwrap();
    assert_eq!(again.loaded.options.cluster.unwrap().pool_size, None, "a reload reads it the same");
}

pub(super) fn peer_of(path: &str) -> Loaded {
    match run(&["-c", path]) {
        Invocation::Run(loaded) => *loaded,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_system_account_has_connections_of_its_own() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (text, expected) in [
        (listening(""), names(&["$SYS"])),
        (listening("accounts: [A, B]"), names(&["A", "B", "$SYS"])),
        (listening("accounts: A"), names(&["A", "$SYS"])),
        (listening("accounts: [\"$SYS\", A]"), names(&["$SYS", "A"])),
        (listening("") + "\nsystem_account: X\naccounts: [X]", names(&["X"])),
        (listening("accounts: [A]") + "\nno_system_account: true", names(&["A"])),
    ] {
        assert_eq!(cluster(&text).accounts, expected, "{text:?}");
    }
}

#[test]
fn compression_is_a_word_a_truth_or_a_map() {
    for (line, mode) in [
        ("compression: s2_fast", Mode::Fast),
        ("compression: on", Mode::Fast),
        ("compression: \"enabled\"", Mode::Fast),
        ("compression: off", Mode::Off),
        ("compression: disabled", Mode::Off),
        ("compression: \"not supported\"", Mode::NotSupported),
        ("compression: { mode: best }", Mode::Best),
        ("compression: S2_Better", Mode::Better),
        ("compression: auto", Mode::Auto),
    ] {
        sets(line, |c| c.compression, mode);
    }
    for line in ["", "compression: accept", "compression: \"\"", "compression {}"] {
        assert_eq!(cluster(&listening(line)).compression, Mode::Accept, "{line:?}");
    }
    let millis =
        |times: &[u64]| times.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
    for key in ["rtt_thresholds", "thresholds", "rtts", "rtt"] {
        let line = |list: &str| format!("compression {{ mode: s2_auto, {key}: {list} }}");
        sets(&line("[1ms, 2ms]"), |c| c.rtt_thresholds.clone(), millis(&[1, 2]));
        sets(
            &line("[\"0s\", 5ms, \"0s\", 9ms]"),
            |c| c.rtt_thresholds.clone(),
            millis(&[0, 5, 0, 9]),
        );
        sets(&line("[5ms, \"0s\", \"-3s\"]"), |c| c.rtt_thresholds.clone(), millis(&[5]));
    }
}

#[test]
fn times_are_the_server_s_unless_the_cluster_has_its_own() {
    let seconds = Duration::from_secs;
    sets("ping_interval: 5s", |c| c.ping_interval, seconds(5));
    sets("ping_interval: 5", |c| c.ping_interval, seconds(5));
    sets("ping_max: 5", |c| c.ping_max, 5);
    sets("write_deadline: \"5s\"", |c| c.write_deadline, seconds(5));
    sets("write_deadline: 5", |c| c.write_deadline, seconds(5));
    sets("write_timeout: close", |c| c.write_timeout, WriteTimeout::Close);
    let c = cluster(&listening("ping_interval: 40s"));
    assert_eq!(c.ping_interval, seconds(30), "routes are pinged at least twice a minute");
    let server = "\nping_interval: 7s\nping_max: 9\nwrite_deadline: 8s";
    let c = cluster(&(listening("") + server));
    assert_eq!((c.ping_interval, c.ping_max, c.write_deadline), (seconds(7), 9, seconds(8)));
}

#[test]
fn permissions_say_what_is_imported_and_exported() {
    let list = |subjects: &[&str]| subjects.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let rules =
        |allow: &[&str], deny: &[&str]| Some(SubjectRules { allow: list(allow), deny: list(deny) });
    for (inside, import, export) in [
        ("import: a", rules(&["a"], &[]), None),
        ("export: [a, \"b.>\"]", None, rules(&["a", "b.>"], &[])),
        (
            "import: { allow: a, deny: [b, c] }, export: { deny: d }",
            rules(&["a"], &["b", "c"]),
            rules(&[], &["d"]),
        ),
        ("publish: a, subscribe: b", rules(&["a"], &[]), rules(&["b"], &[])),
        ("import: {}", None, None),
    ] {
        let expected = Some(RoutePermissions { import, export });
        sets(&format!("permissions {{ {inside} }}"), |c| c.permissions.clone(), expected);
    }
    let both = "authorization { permissions { import: x } }\npermissions { import: a }";
    let swapped = "permissions { import: a }\nauthorization { permissions { import: x } }";
    for text in [both, swapped] {
        let permissions = cluster(&listening(text)).permissions.unwrap();
        assert_eq!(permissions.import, rules(&["a"], &[]), "the block's own win: {text:?}");
    }
    let old = cluster(&listening("authorization { permissions { export: x } }"));
    assert_eq!(old.permissions.unwrap().export, rules(&["x"], &[]));
}

#[test]
fn tls_names_files_that_can_be_read() {
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pem.path(), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let path = pem.path().display().to_string();
    let files = || CertificateFiles { cert_file: path.clone(), key_file: path.clone() };
    let pair = format!("cert_file: \"{path}\", key_file: \"{path}\"");
    let tls = |inside: &str| cluster(&listening(&format!("tls {{ {inside} }}"))).tls.unwrap();
    assert_eq!(tls(""), TlsOptions::default());
    assert_eq!(tls(&pair).certificates, [files()]);
    for key in ["certs", "certificates"] {
        assert_eq!(
            tls(&format!("{key}: [{{{pair}}}, {{{pair}}}]")).certificates,
            [files(), files()]
        );
    }
    assert_eq!(tls(&format!("ca_file: \"{path}\"")).ca_file, Some(path.clone()));
    assert!(tls("verify: true").verify);
    assert!(tls("insecure: true").insecure);
    assert_eq!(tls("timeout: 0.5").timeout, Duration::from_millis(500));
    assert_eq!(tls("timeout: \"3s\"").timeout, Duration::from_secs(3));
    assert_eq!(tls("min_version: \"1.3\"").min_version, TlsVersion::Tls13);
    let hash = "ab".repeat(32);
    let upper = hash.to_uppercase();
    assert_eq!(tls(&format!("pinned_certs: [\"{hash}\", \"{upper}\"]")).pinned_certs, [[0xab; 32]]);
    std::fs::write(pem.path(), "no certificate").unwrap();
    for (inside, error) in [
        (
            format!("tls {{ {pair} }}"),
            "error parsing X509 certificate/key pair: tls: failed to find any PEM data in \
             certificate input",
        ),
        (format!("tls {{ ca_file: \"{path}\" }}"), "failed to parse root ca certificate"),
    ] {
        let said = complaints(&format!("cluster {{ {inside} }}"));
        assert_eq!(said, format!("x.conf:1:10: {error}"));
    }
}

#[test]
fn what_tls_cannot_do_yet_is_refused_by_name() {
    for key in [
        "verify_and_map: true",
        "verify_cert_and_check_known_urls: true",
        "cipher_suites: [a]",
        "curve_preferences: [a]",
        "handshake_first: true",
        "connection_rate_limit: 5",
        "ocsp_peer: true",
        "cert_store: a",
    ] {
        let name = key.split(':').next().unwrap();
        let said = complaints(&format!("cluster {{ tls {{ {key} }} }}"));
        let start = format!("x.conf:1:16: \"{name}\" is not supported yet: ");
        assert!(said.starts_with(&start), "{key}: {said}");
    }
    assert_eq!(complaints("cluster { tls { verify_and_map: false, first: off } }"), "");
    let callout = "cluster { authorization { auth_callout { issuer: a } } }";
    assert_eq!(complaints(callout), "x.conf:1:10: Cluster authorization does not support callouts");
}

#[test]
fn a_cluster_that_contradicts_itself_is_refused_at_start() {
    for (line, error) in [
        ("compression: foo", "unsupported compression mode \"foo\""),
        ("compression: s2_uncompressed", "unsupported compression mode \"s2_uncompressed\""),
        (
            "compression: {mode: s2_auto, rtts: [10ms, 5ms]}",
            "RTT threshold values [10ms 5ms] should be in ascending order",
        ),
        (
            "compression: {mode: s2_auto, rtts: [10ms, 20ms, 30ms, 40ms, 50ms]}",
            "compression mode \"s2_auto\" should have no more than 4 RTT thresholds: [10ms 20ms \
             30ms 40ms 50ms]",
        ),
        (
            "compression: {mode: s2_auto, rtts: [\"-10ms\"]}",
            "compression mode \"s2_auto\" requires at least one RTT threshold",
        ),
        (
            "pool_size: -2, accounts: [A]",
            "pool_size cannot be negative if pinned accounts are specified",
        ),
        (
            "accounts: [A, A]",
            "found duplicate account name \"A\" in pinned accounts list [\"A\" \"A\" \"$SYS\"]",
        ),
        (
            "advertise: \"a:b:c\"",
            "invalid Cluster.Advertise value of a:b:c, err=address a:b:c: too many colons in \
             address",
        ),
        ("port: 70000", "invalid port 70000: use 1 to 65535, or -1 for any free one"),
        ("ping_interval: \"-5s\"", "cluster ping_interval can not be negative"),
        ("ping_max: -1", "cluster ping_max can not be negative"),
        ("pool_size: 70000", "cluster pool_size value is too big"),
        ("max_pending: -1", "cluster max_pending can not be negative"),
    ] {
        assert_eq!(options(&listening(line)).map(|_| ()), Err(error.into()), "{line:?}");
    }
}

#[test]
fn sub_barrier_is_local_or_cluster() {
    check("sub_barrier: cluster", |o| o.sub_barrier, SubBarrier::Cluster);
    assert_eq!(options("sub_barrier: local"), Ok(Options::default()));
    let said = "x.conf:1:0: sub_barrier must be 'local' or 'cluster'";
    assert_eq!(complaints("sub_barrier: x"), said);
}

#[test]
fn nothing_said_is_no_cluster() {
    assert!(!ClusterSettings::default().listens());
}

/// A text, and what nats-server 2.15.1 says of it with `-t`; nothing where it is valid.
const WRONG_VALUES: &[(&str, &str)] = &[
    ("cluster: 5", "x.conf:1:0: Expected map to define cluster, got int64"),
    ("cluster {}", ""),
    ("cluster { name: \"a b\", port: -1 }", "x.conf:1:10: cluster name cannot contain spaces"),
    ("cluster { name: \"_\", port: -1 }", "x.conf:1:10: cluster name is reserved"),
    ("cluster { name: 5 }", "x.conf:1:10: interface conversion: interface {} is int64, not string"),
    ("cluster { listen: x }", "x.conf:1:10: could not parse address string \"x\""),
    ("cluster { listen: \"h:x\" }", "x.conf:1:10: could not parse port \"x\""),
    ("cluster {port: x}", "x.conf:1:9: interface conversion: interface {} is string, not int64"),
    ("cluster { nosuch: 1 }", "x.conf:1:10: unknown field \"nosuch\""),
    ("cluster {\n  nosuch: 1\n}", "x.conf:2:3: unknown field \"nosuch\""),
    (
        "cluster { routes: 5 }",
        "x.conf:1:10: interface conversion: interface {} is int64, not []interface {}",
    ),
    (
        "cluster { routes: \"nats://a:1\" }",
        "x.conf:1:10: interface conversion: interface {} is string, not []interface {}",
    ),
    (
        "cluster { routes: [\"nats://a:1\", \"nats://a:1\"] }",
        "x.conf:1:34: invalid use of field \"nats://a:1\": Duplicate route entry detected",
    ),
    (
        "cluster { routes: [\"nats://a:1\", \"nats://a:1\", \"nats://b:1\"], port: -1 }",
        "x.conf:1:34: invalid use of field \"nats://a:1\": Duplicate route entry detected",
    ),
    ("cluster { routes: [\"a b://x\"] }", "x.conf:1:20: error parsing route url [\"a b://x\"]"),
    ("cluster { routes: [\"http://a:1\"] }", ""),
    ("cluster { routes: [\":::\"] }", "x.conf:1:20: error parsing route url [\":::\"]"),
    (
        "cluster { routes: [5 ] }",
        "x.conf:1:19: interface conversion: interface {} is int64, not string",
    ),
    (
        "cluster { authorization { users: [{user: a}] } }",
        "x.conf:1:10: Cluster authorization does not allow multiple users",
    ),
    (
        "cluster { authorization { token: a } }",
        "x.conf:1:10: Cluster authorization does not support tokens",
    ),
    (
        "cluster { authorization { user: a, password: b, timeout: 61 } }",
        "x.conf:1:48: invalid use of field \"timeout\": timeout of 61 (61.000000 seconds) is high, consider keeping it under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
    ),
    (
        "cluster { authorization { timeout: \"x\" } }",
        "x.conf:1:26: error parsing authorization config, 'timeout' time: invalid duration \"x\"",
    ),
    ("cluster { authorization { nosuch: 1 } }", "x.conf:1:26: unknown field \"nosuch\""),
    (
        "cluster { pool_size: x }",
        "x.conf:1:10: interface conversion: interface {} is string, not int64",
    ),
    ("cluster { pool_size: -2 }", ""),
    ("cluster { accounts: 5}", "x.conf:1:10: error parsing accounts: unsupported type int64"),
    ("cluster { accounts: A}", ""),
    (
        "cluster { accounts: [A, 5 ]}",
        "x.conf:1:24: error parsing accounts: unsupported type in array int64",
    ),
    (
        "cluster { compression: 5 }",
        "x.conf:1:10: field \"compression\" should be a boolean or a structure, got int64",
    ),
    ("cluster { compression: foo }", ""),
    ("cluster { compression: true }", ""),
    ("cluster { compression { mode: foo } }", ""),
    ("cluster { compression { mode: s2_auto, rtt_thresholds: [10ms, 5ms] } }", ""),
    (
        "cluster { compression { mode: s2_auto, rtt_thresholds: [10ms, 20ms, 30ms, 40ms, 50ms] } }",
        "",
    ),
    (
        "cluster { compression { mode: s2_auto, rtt_thresholds: 10 } }",
        "x.conf:1:39: interface conversion: interface {} is int64, not []interface {}",
    ),
    (
        "cluster { compression { mode: s2_auto, rtt_thresholds: [10 ] } }",
        "x.conf:1:56: interface conversion: interface {} is int64, not string",
    ),
    (
        "cluster { compression { mode: s2_auto, rtt_thresholds: [x] } }",
        "x.conf:1:39: time: invalid duration \"x\"",
    ),
    (
        "cluster { compression { mode: 5 } }",
        "x.conf:1:24: interface conversion: interface {} is int64, not string",
    ),
    ("cluster { compression { nosuch: 5 } }", "x.conf:1:24: unknown field \"nosuch\""),
    (
        "cluster { ping_interval: 5 }",
        "x.conf:1:10: invalid use of field \"ping_interval\": ping_interval should be converted to a duration",
    ),
    (
        "cluster { ping_interval: 40s }",
        "x.conf:1:10: Cluster 'ping_interval' will reset to 30s which is the max for routes",
    ),
    (
        "cluster { ping_interval: \"x\" }",
        "x.conf:1:10: error parsing ping_interval: time: invalid duration \"x\"",
    ),
    (
        "cluster { ping_max: x }",
        "x.conf:1:10: interface conversion: interface {} is string, not int64",
    ),
    (
        "cluster { write_deadline: 5 }",
        "x.conf:1:10: invalid use of field \"write_deadline\": write_deadline should be converted to a duration",
    ),
    (
        "cluster { write_deadline: \"x\" }",
        "x.conf:1:10: error parsing write_deadline: time: invalid duration \"x\"",
    ),
    (
        "cluster { write_timeout: x }",
        "x.conf:1:10: write_timeout must be 'default', 'close' or 'retry'",
    ),
    ("cluster { permissions: 5 }", "Expected permissions to be a map/struct, got 5"),
    (
        "cluster { permissions { import: 5 } }",
        "Expected subject permissions to be a subject, or array of subjects, got int64",
    ),
    ("cluster { permissions { import: [\"a..b\"] } }", "subject \"a..b\" is not a valid subject"),
    (
        "cluster { permissions { import: {allow: a, deny: [b], c: 1} } }",
        "x.conf:1:54: Unknown field name \"c\" parsing subject permissions, only 'allow' or 'deny' are permitted",
    ),
    (
        "cluster { permissions { nosuch: a } }",
        "x.conf:1:24: Unknown field \"nosuch\" parsing permissions",
    ),
    ("cluster { permissions { publish: a , subscribe: b} }", ""),
    (
        "cluster { connect_retries: x }",
        "x.conf:1:10: interface conversion: interface {} is string, not int64",
    ),
    (
        "cluster { connect_backoff: x }",
        "x.conf:1:10: interface conversion: interface {} is string, not bool",
    ),
    (
        "cluster { no_advertise: 5 }",
        "x.conf:1:10: interface conversion: interface {} is int64, not bool",
    ),
    (
        "cluster { advertise: 5 }",
        "x.conf:1:10: interface conversion: interface {} is int64, not string",
    ),
    (
        "cluster { tls: 5 }",
        "x.conf:1:10: interface conversion: interface {} is int64, not map[string]interface {}",
    ),
    ("cluster { tls {} }", ""),
    ("cluster { tls { cert_file: a } }", "x.conf:1:10: missing 'key_file' in TLS configuration"),
    (
        "cluster { tls { cert_file: a, key_file: b } }",
        "x.conf:1:10: error parsing X509 certificate/key pair: open a: no such file or directory",
    ),
    (
        "cluster { tls { nosuch: 1 } }",
        "x.conf:1:16: error parsing tls config, unknown field \"nosuch\"",
    ),
    (
        "cluster { tls { cert_file: 5 } }",
        "x.conf:1:16: error parsing tls config, expected 'cert_file' to be filename",
    ),
    (
        "cluster { tls { timeout: x } }",
        "x.conf:1:16: error parsing tls config, 'timeout' time: invalid duration \"x\"",
    ),
    (
        "cluster { tls { min_version: \"1.1\" } }",
        "x.conf:1:16: error parsing tls config: unsupported TLS version: TLS 1.1",
    ),
    (
        "cluster { tls { pinned_certs: [a] } }",
        "x.conf:1:31: error parsing tls config, 'pinned_certs' key a does not look like hex-encoded sha256 of DER encoded SubjectPublicKeyInfo",
    ),
    (
        "cluster { authorization { user: a, password: b, permissions { import: a } } }",
        "x.conf:1:10: invalid use of field \"authorization\": setting \"permissions\" within cluster authorization block is deprecated",
    ),
    (
        "cluster { authorization { user: a, default_permissions { nosuch: 1 } } }",
        "x.conf:1:10: invalid use of field \"authorization\": setting \"permissions\" within cluster authorization block is deprecated\nx.conf:1:57: Unknown field \"nosuch\" parsing permissions",
    ),
    ("cluster { cluster_advertise: a }", ""),
    ("cluster { host: 5 }", "x.conf:1:10: interface conversion: interface {} is int64, not string"),
    ("cluster { net: a}", ""),
    (
        "cluster { permissions { import: [5 ] } }",
        "x.conf:1:33: Subject in permissions array cannot be cast to string",
    ),
    (
        "cluster { permissions { import: {allow: 5} } }",
        "x.conf:1:33: Expected subject permissions to be a subject, or array of subjects, got int64",
    ),
    (
        "cluster { permissions { import: {allow: [\"a..b\"]} } }",
        "x.conf:1:33: subject \"a..b\" is not a valid subject",
    ),
    (
        "cluster { permissions { export: \"a b\" } }",
        "x.conf:1:10: cluster export allow: subject \"a b\" is not a valid subject",
    ),
    ("cluster { permissions { export: \"a b c\" } }", "subject \"a b c\" is not a valid subject"),
    (
        "cluster { permissions { export: {allow: \"a b\"} } }",
        "x.conf:1:10: cluster export allow: subject \"a b\" is not a valid subject",
    ),
    (
        "cluster { permissions { allow_responses: true } }",
        "x.conf:1:10: Cluster permissions do not support dynamic responses",
    ),
    ("cluster { permissions { import: {} } }", ""),
    (
        "cluster { permissions { import: a } , authorization { permissions { import: \"x y\" } } }",
        "x.conf:1:38: invalid use of field \"authorization\": setting \"permissions\" within cluster authorization block is deprecated\nsubject \"x y\" is not a valid subject",
    ),
    ("cluster { permissions { import: \"\" } }", "subject \"\" is not a valid subject"),
    (
        "cluster { authorization { permissions { export: \"a b\" } } }",
        "x.conf:1:10: cluster export allow: subject \"a b\" is not a valid subject",
    ),
    (
        "cluster { authorization { users: [] } }",
        "x.conf:1:10: Cluster authorization does not allow multiple users",
    ),
    (
        "cluster { authorization { user: a, token: x } }",
        "x.conf:1:10: Cluster authorization does not support tokens",
    ),
    (
        "cluster { tls { cert_file: a, key_file: b, nosuch: 1, min_version: 5 } }",
        "x.conf:1:43: error parsing tls config, unknown field \"nosuch\"",
    ),
    (
        "cluster { tls { min_version: \"2\" } }",
        "x.conf:1:16: error parsing tls config: unknown version: 2",
    ),
    (
        "cluster { tls { pinned_certs: 5 } }",
        "x.conf:1:16: error parsing tls config, expected 'pinned_certs' to be a list of hex-encoded sha256 of DER encoded SubjectPublicKeyInfo",
    ),
    (
        "cluster { tls { pinned_certs: [5 ] } }",
        "x.conf:1:31: interface conversion: interface {} is int64, not string",
    ),
    (
        "cluster { tls { certs: 5 } }",
        "x.conf:1:16: error parsing certificates config: unsupported type map[string]interface {}",
    ),
    (
        "cluster { tls { certs: [{cert_file: a}] } }",
        "x.conf:1:25: error parsing certificates config: both 'cert_file' and 'cert_key' options are required",
    ),
    (
        "cluster { tls { certs: [{cert_file: a, key_file: b}] } }",
        "x.conf:1:10: error parsing X509 certificate/key pair 1/1: open a: no such file or directory",
    ),
    (
        "cluster { tls { certs: [{cert_file: a, key_file: b}], cert_file: x, key_file: y } }",
        "x.conf:1:10: error parsing tls config, cannot combine 'cert_file' option with 'certs' option",
    ),
    (
        "cluster { tls { certs: [{nosuch: b}] } }",
        "x.conf:1:25: error parsing tls certs config, unknown field \"nosuch\"",
    ),
    (
        "cluster { tls { certs: [{cert_file: 5}] } }",
        "x.conf:1:25: error parsing certificates config: unsupported type int64",
    ),
    ("cluster { tls { ca_file: nofile } }", "x.conf:1:10: open nofile: no such file or directory"),
    (
        "cluster { tls { ca_file: 5 } }",
        "x.conf:1:16: error parsing tls config, expected 'ca_file' to be filename",
    ),
    ("cluster { tls { key_file: a } }", "x.conf:1:10: missing 'cert_file' in TLS configuration"),
    (
        "cluster { tls { timeout: true } }",
        "x.conf:1:16: error parsing tls config, 'timeout' wrong type",
    ),
    (
        "cluster { tls { insecure: 5 } }",
        "x.conf:1:16: error parsing tls config, expected 'insecure' to be a boolean",
    ),
    ("cluster { tls { min_version: \"1.3\" } }", ""),
    (
        "cluster { tls { min_version: \"TLS1.3\" } }",
        "x.conf:1:16: error parsing tls config: unknown version: TLS1.3",
    ),
    ("cluster { tls { cert_file: \"\" } }", ""),
    (
        "cluster { tls { certs: [{}] } }",
        "x.conf:1:26: error parsing certificates config: both 'cert_file' and 'cert_key' options are required",
    ),
    ("cluster { routes: [] }", ""),
    ("cluster { ping_interval: \"-5s\" }", ""),
    (
        "cluster { compression { mode: s2_auto, nosuch: 5, rtts: x } }",
        "x.conf:1:39: unknown field \"nosuch\"",
    ),
    (
        "cluster { permissions { import: a, import: 5 } }",
        "Expected subject permissions to be a subject, or array of subjects, got int64",
    ),
];
