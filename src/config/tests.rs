//! Tests of the whole module. The tables' texts come from nats-server 2.15.1 itself.

mod accounts;
mod cluster;
mod cluster_flags;
mod cluster_reload;
mod page;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;

use super::parser::{World, parse_file};
use super::tree::{self, Map};
use super::*;
use crate::transport::Mode;

/// Parses a text as the file `x.conf`, beside two files it may include.
fn parse(text: &[u8]) -> Result<Map, String> {
    let world = World {
        read_file: &|path| match path {
            "x.conf" => Ok(text.to_vec()),
            "inc.conf" => Ok(b"debug: true\nport: x\n".to_vec()),
            "bad.conf" => Ok(b"a [".to_vec()),
            "loop.conf" => Ok(b"include loop.conf\n".to_vec()),
            "sub/dir/in.conf" => Ok(b"include ../up.conf\n".to_vec()),
            "sub/up.conf" => Ok(b"up: 1\n".to_vec()),
            _ => Err(format!("open {path}: no such file or directory")),
        },
        variable: &|name| match name {
            "EV" => Some("12".into()),
            "CYCLE" => Some("$CYCLE".into()),
            "TEXT" => Some("\"12\"".into()),
            "MAP" => Some("{ user: $EV }".into()),
            _ => None,
        },
    };
    parse_file("x.conf", &world)
}

fn reading(text: &str) -> keys::Reading {
    keys::read(&parse(text.as_bytes()).unwrap(), Settings::default())
}

/// What `-t` says of a text, without the program's name.
fn complaints(text: &str) -> String {
    match parse(text.as_bytes()) {
        Err(error) => error,
        Ok(tree) => {
            let empty = tree.is_empty().then(|| "x.conf: config has no values or is empty".into());
            let file = File {
                reading: keys::read(&tree, Settings::default()),
                digest: tree::digest(&tree),
                empty,
            };
            file.complaints().trim_end().to_owned()
        }
    }
}

fn options(text: &str) -> Result<Options, String> {
    let reading = reading(text);
    assert!(reading.errors.is_empty(), "{text:?}: {:?}", reading.errors);
    reading.settings.into_options(Surroundings::default())
}

#[test]
fn every_notation_gives_the_value_it_gives_the_peer() {
    for (text, json) in VALUES.iter().copied() {
        assert_eq!(
            parse(text.as_bytes()).map(|tree| tree::json(&tree)).as_deref(),
            Ok(json),
            "{text:?}"
        );
    }
}

#[test]
fn a_text_that_is_no_configuration_fails_in_the_peer_s_words() {
    for (text, error) in SYNTAX_ERRORS.iter().copied() {
        assert_eq!(parse(text.as_bytes()).map(|_| ()), Err(error.into()), "{text:?}");
    }
}

#[test]
fn a_wrong_value_is_told_in_the_peer_s_words_with_its_place() {
    for (text, expected) in WRONG_VALUES.iter().copied() {
        assert_eq!(complaints(text), expected, "{text:?}");
    }
}

#[test]
fn the_digest_is_the_peer_s() {
    for (text, digest) in [
        (
            "max_payload: 2MB\nmax_pending: 1MB",
            "sha256:3f4865c822be14c90290f2fc379739492765ef0b7f2e1a5c0a7de7e1c7cab088",
        ),
        ("port: $EV", "sha256:7d88f9705dcf6844abe6c34f175f745d7bee677657298b5792f96803f2528dfc"),
        (
            "x: 5\nport: $x",
            "sha256:2c5e6fd6870f5614a30d9fa16f626cef8f85600f99dff43b391b62faa056536f",
        ),
    ] {
        assert_eq!(tree::digest(&parse(text.as_bytes()).unwrap()), digest, "{text:?}");
    }
}

#[test]
fn all_errors_of_a_file_are_told_at_once_and_warnings_first() {
    let text = "port: x\nnosuch: 1\nping_interval: 5\nauthorization {\n  users: [{user: 5 }]\n}\n";
    assert_eq!(
        complaints(text).lines().collect::<Vec<_>>(),
        [
            "x.conf:3:1: invalid use of field \"ping_interval\": ping_interval should be converted \
             to a duration",
            "x.conf:1:0: interface conversion: interface {} is string, not int64",
            "x.conf:2:1: unknown field \"nosuch\"",
            "x.conf:5:12: interface conversion: interface {} is int64, not string",
        ]
    );
}

#[test]
fn a_key_that_a_variable_names_is_no_unknown_field() {
    assert_eq!(complaints("mine: 5\nport: $mine"), "");
    assert_eq!(options("mine: 5\nport: $mine").unwrap().port, 5);
    assert_eq!(complaints("authorization { mine: joe, user: $mine }"), "");
}

#[test]
fn the_environment_is_parsed_as_a_value_is() {
    assert_eq!(options("port: $EV").unwrap().port, 12);
    assert_eq!(
        complaints("port: $TEXT"),
        "x.conf:1:0: interface conversion: interface {} is string, not int64"
    );
    assert_eq!(tree::json(&parse(b"m: $MAP").unwrap()), "{\"m\":{\"user\":12}}");
    assert_eq!(
        complaints("port: $CYCLE"),
        "variable reference for 'CYCLE' on line 1 could not be parsed: variable reference for \
         'CYCLE' on line 1 could not be parsed: variable reference cycle for 'CYCLE'"
    );
}

#[test]
fn an_include_is_relative_to_the_file_that_names_it() {
    let tree = parse(b"include sub/dir/in.conf\n").unwrap();
    assert_eq!(tree::json(&tree), "{\"up\":1}");
}

#[test]
fn nesting_includes_and_variables_are_bounded() {
    let deep = [b"a: ".to_vec(), b"[".repeat(100_000)].concat();
    assert!(parse(&deep).unwrap_err().contains("levels of nesting"));
    let maps = b"a { ".repeat(100_000);
    assert!(parse(&maps).unwrap_err().contains("levels of nesting"));
    assert!(parse(b"include loop.conf\n").unwrap_err().contains("include each other"));
    let mut bomb = String::from("v0: [a, a]\n");
    for i in 1..64 {
        bomb.push_str(&format!("v{i}: [$v{0}, $v{0} ]\n", i - 1));
    }
    assert!(parse(bomb.as_bytes()).is_err());
    let mut tower = String::from("v0: [a ]\n");
    for i in 1..200 {
        tower.push_str(&format!("v{i}: [$v{} ]\n", i - 1));
    }
    assert!(parse(tower.as_bytes()).unwrap_err().contains("levels of nesting"));
}

#[test]
fn what_is_not_supported_yet_is_refused_by_name() {
    for (text, start) in [
        ("gateway { port: 1 }", "x.conf:1:0: \"gateway\" is not supported yet: "),
        ("port: 1\njetstream: true", "x.conf:2:1: \"jetstream\" is not supported yet: "),
        ("jetstream {}", "x.conf:1:0: \"jetstream\" is not supported yet: "),
        ("jetstream: {}", "x.conf:1:0: \"jetstream\" is not supported yet: "),
        ("tls {}", "x.conf:1:0: \"tls\" is not supported yet: "),
        ("system_account: \"$G\"", "x.conf:1:0: system_account \"$G\" is not supported yet: "),
        ("TLS { a: 1 }", "x.conf:1:0: \"TLS\" is not supported yet: "),
        (
            "authorization { users: [{user: a, permissions { publish: b } }] }",
            "x.conf:1:34: \"permissions\" is not supported yet: ",
        ),
        (
            "authorization { auth_callout { issuer: b } }",
            "x.conf:1:16: \"auth_callout\" is not supported yet: ",
        ),
    ] {
        assert!(complaints(text).starts_with(start), "{text:?}: {}", complaints(text));
    }
    assert_eq!(complaints("jetstream: disabled\nsyslog: off\nprof_port: 0\n"), "");
}

#[track_caller]
fn check<T: PartialEq + Debug>(text: &str, option: impl Fn(&Options) -> T, expected: T) {
    assert_ne!(option(&Options::default()), expected, "{text:?} is the default");
    assert_eq!(option(&options(text).unwrap()), expected, "{text:?}");
}

#[test]
fn every_network_option_lands_where_it_belongs() {
    check("listen: \"h:5\"", |o| (o.host.clone(), o.port), ("h".into(), 5));
    check("listen: 5", |o| o.port, 5);
    check("listen: 127.0.0.1:-1", |o| (o.host.clone(), o.port), ("127.0.0.1".into(), 0));
    check("host: h", |o| o.host.clone(), "h".into());
    check("net: h", |o| o.http_host.clone(), "h".into());
    check("port: 5", |o| o.port, 5);
    check("http: \"h:5\"", |o| (o.http_host.clone(), o.http_port), ("h".into(), Some(5)));
    check("http_port: 5", |o| o.http_port, Some(5));
    check("monitor_port: -1", |o| o.http_port, Some(0));
    check("http_base_path: \"a//b/\"", |o| o.http_base_path.clone(), "/a/b".into());
    let advertise = Advertise { text: "h:5".into(), host: "h".into(), port: Some(5) };
    check("client_advertise: \"h:5\"", |o| o.client_advertise.clone(), Some(advertise));
    let advertise = Advertise { text: "h".into(), host: "h".into(), port: None };
    check("client_advertise: h", |o| o.client_advertise.clone(), Some(advertise));
}

#[test]
fn every_log_option_lands_where_it_belongs() {
    check("debug: on", |o| o.debug, true);
    check("trace: on", |o| o.trace, true);
    check("trace_verbose: on", |o| (o.trace, o.trace_verbose), (true, true));
    check("trace_headers: on", |o| (o.trace, o.trace_headers), (true, true));
    check("logtime: off", |o| o.logtime, false);
    check("logtime_utc: on", |o| o.logtime_utc, true);
    for key in ["log_file", "logfile"] {
        check(&format!("{key}: f"), |o| o.log_file.clone(), Some("f".into()));
    }
    for key in ["log_size_limit", "logfile_size_limit"] {
        check(&format!("{key}: 1k"), |o| o.log_size_limit, Some(1000));
    }
    for key in ["log_max_num", "logfile_max_num"] {
        check(&format!("{key}: 3"), |o| o.log_max_num, Some(3));
    }
    check("max_traced_msg_len: 5", |o| o.max_traced_msg_len, Some(5));
    for key in ["pid_file", "pidfile"] {
        check(&format!("{key}: f"), |o| o.pid_file.clone(), Some("f".into()));
    }
    check("ports_file_dir: d", |o| o.ports_file_dir.clone(), Some("d".into()));
    check("connect_error_reports: 5", |o| o.connect_error_reports, 5);
    check("reconnect_error_reports: 5", |o| o.reconnect_error_reports, 5);
}

#[test]
fn every_limit_lands_where_it_belongs() {
    for key in ["max_connections", "max_conn"] {
        check(&format!("{key}: 5"), |o| o.max_connections, 5);
        check(&format!("{key}: 0"), |o| o.max_connections, 0);
        check(&format!("{key}: -5"), |o| o.max_connections, 0);
    }
    for key in ["max_subscriptions", "max_subs"] {
        check(&format!("{key}: 5"), |o| o.max_subscriptions, Some(5));
    }
    for key in ["max_sub_tokens", "max_subscription_tokens"] {
        check(&format!("{key}: 5"), |o| o.max_sub_tokens, Some(5));
    }
    check("max_control_line: 2kb", |o| o.max_control_line, 2048);
    check("MAX_PAYLOAD: 2MB", |o| o.max_payload, 2 << 20);
    check("max_pending: 2MB", |o| o.max_pending, 2 << 20);
    check("max_pending_total: 2GB", |o| o.max_pending_total, 2 << 30);
    check("max_closed_clients: 5", |o| o.max_closed_clients, 5);
    check("ping_max: 5", |o| o.ping_max, 5);
    check("shards: 3", |o| o.shards, Shards::Count(3));
    check("no_header_support: on", |o| o.no_header_support, true);
    for key in ["disable_sublist_cache", "no_sublist_cache"] {
        check(&format!("{key}: on"), |o| o.disable_sublist_cache, true);
    }
}

#[test]
fn every_time_lands_where_it_belongs() {
    let seconds = Duration::from_secs;
    check("ping_interval: 30s", |o| o.ping_interval, seconds(30));
    check("ping_interval: 30", |o| o.ping_interval, seconds(30));
    check("write_deadline: \"2s\"", |o| o.write_deadline, seconds(2));
    check("write_timeout: close", |o| o.write_timeout, WriteTimeout::Close);
    check("write_timeout: retry", |o| o.write_timeout, WriteTimeout::Retry);
    check("lame_duck_duration: \"30s\"", |o| o.lame_duck_duration, seconds(30));
    check("lame_duck_grace_period: \"5s\"", |o| o.lame_duck_grace_period, seconds(5));
    check("no_fast_producer_stall: on", |o| o.no_fast_producer_stall, true);
    check("busy_poll: off", |o| o.busy_poll, BusyPoll::Off);
    check("busy_poll: always", |o| o.busy_poll, BusyPoll::Always);
    let spin = BusyPoll::For(Duration::from_micros(100));
    check("busy_poll: \"100us\"", |o| o.busy_poll, spin);
}

#[test]
fn every_identity_lands_where_it_belongs() {
    check("server_name: n", |o| o.server_name.clone(), Some("n".into()));
    check("server_tags: \" A\"", |o| o.server_tags.clone(), vec!["a".into()]);
    let tags = vec!["a".into(), "b".into()];
    check("server_tags: [a, B, A]", |o| o.server_tags.clone(), tags);
    let metadata = BTreeMap::from([("k".into(), "v".into())]);
    check("server_metadata { k: v }", |o| o.server_metadata.clone(), metadata);
    let text = |text: &str| Some(text.to_owned());
    let single = |o: &Options| (o.authorization.user.clone(), o.authorization.password.clone());
    check("authorization { user: u, password: $2a$11$p }", single, (text("u"), text("$2a$11$p")));
    check("authorization { username: u, pass: p }", single, (text("u"), text("p")));
    check("authorization { token: t }", |o| o.authorization.token.clone(), text("t"));
    let timeout = |o: &Options| o.authorization.timeout;
    check("authorization { timeout: 0.5 }", timeout, Duration::from_millis(500));
    check("authorization { timeout: 3 }", timeout, Duration::from_secs(3));
    check("authorization { timeout: \"4s\" }", timeout, Duration::from_secs(4));
    let users = vec![
        User { user: "a".into(), password: "b".into() },
        User { user: "c".into(), password: String::new() },
    ];
    let list = "authorization { users: [{user: a, password: b}, {user: c}] }\nno_auth_user: c";
    check(list, |o| o.authorization.users.clone(), users);
    check(list, |o| o.no_auth_user.clone(), text("c"));
    check(list, |o| o.authorization.required(), true);
}

#[test]
fn what_holds_without_a_configuration_is_the_default() {
    assert_eq!(options("x: 1\nport: $x\n").map(|o| o.port), Ok(1));
    assert_eq!(options("port: 0\nmax_payload: 0\nmax_pending: 0\n"), Ok(Options::default()));
}

#[test]
fn options_that_contradict_each_other_are_refused_at_start() {
    for (text, error) in [
        (
            "max_payload: 2MB\nmax_pending: 1MB",
            "max_payload (2097152) cannot be higher than max_pending (1048576)",
        ),
        ("max_pending: -5", "max_payload (1048576) cannot be higher than max_pending (-5)"),
        (
            "lame_duck_duration: 30s\nlame_duck_grace_period: 30s",
            "lame duck grace period (30s) should be strictly lower than lame duck duration (30s)",
        ),
        ("no_auth_user: a", "no_auth_user: \"a\" present, but users/nkeys are not defined"),
        (
            "no_auth_user: a\nauthorization { users: [{user: b}] }",
            "no_auth_user: \"a\" not present as user or nkey in authorization block or account \
             configuration",
        ),
        ("port: 70000", "invalid port 70000: use 1 to 65535, or -1 for any free one"),
        (
            "client_advertise: \"a:b:c\"",
            "invalid ClientAdvertise value of a:b:c, err=address a:b:c: too many colons in address",
        ),
        ("max_payload: -1", "max_payload can not be negative"),
    ] {
        assert_eq!(options(text).map(|_| ()), Err(error.into()), "{text:?}");
    }
}

/// Runs a command line under the peer's name.
fn run(args: &[&str]) -> Invocation {
    command_line(std::iter::once(&"/usr/bin/nats-server").chain(args).map(OsString::from))
}

/// Standard error and the exit code; `+ usage` where the usage is printed.
fn ended(args: &[&str]) -> (String, u8) {
    let Invocation::Exit { stdout, stderr, code } = run(args) else {
        panic!("{args:?} did not end: {:?}", run(args))
    };
    let usage = if stdout.contains("Usage: nats-server") { "+ usage" } else { stdout.trim_end() };
    (format!("{}{usage}", stderr.replace('\n', "|")), code)
}

#[test]
fn flags_fail_in_go_s_words() {
    for (args, text, code) in [
        (&["-nosuch"][..], "flag provided but not defined: -nosuch|+ usage", 0),
        (&["-p", "abc"], "invalid value \"abc\" for flag -p: parse error|+ usage", 0),
        (&["-p=08"], "invalid value \"08\" for flag -p: parse error|+ usage", 0),
        (
            &["--port", "99999999999999999999"],
            "invalid value \"99999999999999999999\" for flag -port: value out of range|+ usage",
            0,
        ),
        (&["-signal"], "flag needs an argument: -signal|+ usage", 0),
        (&["-D=maybe"], "invalid boolean value \"maybe\" for -D: parse error|+ usage", 0),
        (&["---x"], "bad flag syntax: ---x|+ usage", 0),
        (&["-=5"], "bad flag syntax: -=5|+ usage", 0),
        (&["-h"], "+ usage", 0),
        (&["help"], "+ usage", 0),
        (&["-v"], "nats-server: v2.15.1", 0),
        (&["-p", "0x1F", "--version=true", "bogus"], "nats-server: v2.15.1", 0),
        (&["VERSION"], "nats-server: v2.15.1", 0),
        (&["bogus", "-v"], "nats-server: unrecognized command: \"bogus\"|", 1),
        (&["--", "bogus"], "nats-server: unrecognized command: \"bogus\"|", 1),
        (
            &["-t"],
            "nats-server: must specify [-c, --config] option to check configuration file syntax|",
            1,
        ),
        (&["-c", "/nofile"], "nats-server: open /nofile: no such file or directory|", 1),
        (&["-t", "-c", "/"], "nats-server: read /: is a directory|", 1),
        (&["-n", "a b"], "nats-server: server name cannot contain spaces|", 1),
        (&["--signal", "foo=1"], "nats-server: unknown signal \"foo\"|", 1),
        (&["--signal", "reload=abc"], "nats-server: invalid pid: abc|", 1),
        (&["-sl=ldm=1=2=3"], "nats-server: invalid signal parameters: [2 3]|", 1),
        (
            &["-js"],
            "nats-server: flag -jetstream is not supported yet: leave it out, messages are not \
             stored|",
            1,
        ),
        (
            &["--shards", "65"],
            "invalid value \"65\" for flag -shards: shards must be 'auto' or a number from 1 to \
             64|+ usage",
            0,
        ),
    ] {
        assert_eq!(ended(args), (text.into(), code), "{args:?}");
    }
}

#[test]
fn every_flag_form_means_the_same() {
    let port = |args: &[&str]| match run(args) {
        Invocation::Run(loaded) => loaded.options.port,
        other => panic!("{args:?}: {other:?}"),
    };
    for args in [&["-p", "5"][..], &["--p", "5"], &["-p=5"], &["--port=5"], &["-p=7", "-port", "5"]]
    {
        assert_eq!(port(args), 5, "{args:?}");
    }
    assert_eq!(port(&["-p", "-1"]), 0);
    assert_eq!(port(&["-js=false", "--cluster", "", "-s=0", "-p=5"]), 5);
}

#[test]
fn every_flag_lands_where_it_belongs() {
    let line = "-a h -p 5 -n name -P pid -m 6 --client_advertise c:7 --ports_file_dir d -l log \
                -T=false --logtime_utc --log_size_limit 8 --max_traced_msg_len 9 --user u --pass p \
                --shards 2 --busy_poll always -DVV";
    let Invocation::Run(loaded) = run(&line.split_whitespace().collect::<Vec<_>>()) else {
        panic!("does not run")
    };
    let expected = options(
        "host: h, port: 5, server_name: name, pid_file: pid, http_port: 6, ports_file_dir: d, \
         client_advertise: \"c:7\", log_file: log, logtime: off, logtime_utc: on, \
         log_size_limit: 8, max_traced_msg_len: 9, authorization { user: u, pass: p }, shards: 2, \
         busy_poll: always, debug: on, trace_verbose: on",
    );
    let max_pending_total = loaded.options.max_pending_total;
    let mut expected = Options { max_pending_total, ..expected.unwrap() };
    expected.authorization.present = false;
    assert_eq!(loaded.options, expected);
    let Invocation::Run(loaded) = run(&["--auth", "t", "-DVV", "-DV=false"]) else {
        panic!("does not run")
    };
    assert_eq!(loaded.options.authorization.token.as_deref(), Some("t"));
    assert!(loaded.options.trace_verbose, "the longer combination wins");
}

#[test]
fn a_signal_request_says_what_and_to_whom() {
    let pid_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pid_file.path(), "77\n").unwrap();
    let from_file = format!("term={}", pid_file.path().display());
    for (text, signal, target) in [
        ("reload", ServerSignal::Reload, SignalTarget::Only),
        ("reload=", ServerSignal::Reload, SignalTarget::Only),
        ("ldm=12", ServerSignal::LameDuck, SignalTarget::Process(12)),
        ("stop=12*", ServerSignal::Stop, SignalTarget::Prefix("12".into())),
        ("quit=*", ServerSignal::Quit, SignalTarget::Prefix(String::new())),
        (&from_file, ServerSignal::Term, SignalTarget::Process(77)),
    ] {
        match run(&["-sl", text]) {
            Invocation::Signal(request) => assert_eq!(request, SignalRequest { signal, target }),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(ended(&["-sl", "quit=-5"]), ("nats-server: invalid pid: -5|".into(), 1));
}

#[test]
fn the_program_speaks_under_its_own_name_unless_it_stands_in_for_the_peer() {
    let said = |name: &str| match command_line([name, "-v"].into_iter().map(OsString::from)) {
        Invocation::Exit { stdout, .. } => stdout,
        other => panic!("{other:?}"),
    };
    assert_eq!(said("nats-server"), "nats-server: v2.15.1\n");
    assert_eq!(said("./ringmesh"), format!("ringmesh: v{}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_checked_file_is_valid_or_told_what_is_wrong_and_a_warning_is_wrong() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    std::fs::write(&path, "max_payload: 2MB\nmax_pending: 1MB").unwrap();
    let digest = "sha256:3f4865c822be14c90290f2fc379739492765ef0b7f2e1a5c0a7de7e1c7cab088";
    let valid = format!("nats-server: configuration file {path} is valid ({digest})|");
    assert_eq!(ended(&["-t", "-c", &path]), (valid, 0));
    std::fs::write(&path, "").unwrap();
    let empty = format!("nats-server: {path}: config has no values or is empty||");
    assert_eq!(ended(&["-t", "-c", &path]), (empty, 1));
    match run(&["-c", &path]) {
        Invocation::Run(loaded) => assert_eq!(loaded.warnings.len(), 1),
        other => panic!("{other:?}"),
    }
}

/// The log lines of a reload from one text to another, or its error.
fn reloaded(args: &[&str], old: &str, new: &str) -> Result<Vec<String>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    std::fs::write(&path, old).unwrap();
    let Invocation::Run(loaded) = run(&[args, &["-c", &path]].concat()) else {
        panic!("{old:?} does not run")
    };
    std::fs::write(&path, new).unwrap();
    let reloaded = reload(&loaded).map_err(|error| error.replace(&path, "x.conf"))?;
    let lines = reloaded.changes.into_iter().filter_map(|change| change.line);
    // These two stand in every reload.
    let always = ["Reloaded: authorization users", "Reloaded: accounts"];
    Ok(lines.filter(|line| !always.contains(&line.as_str())).collect())
}

#[test]
fn a_reload_names_each_change_as_the_peer_does() {
    for (new, line) in [
        ("debug: true", "Reloaded: debug = true"),
        ("trace: true", "Reloaded: trace = true"),
        ("logtime: false", "Reloaded: logtime = false"),
        ("logtime_utc: true", "Reloaded: logtime_utc = true"),
        ("log_file: f", "Reloaded: log_file = f"),
        ("max_connections: 0", "Reloaded: max_connections = -1"),
        ("max_connections: 5", "Reloaded: max_connections = 5"),
        ("authorization { user: a }", "Reloaded: authorization username"),
        ("authorization { pass: a }", "Reloaded: authorization password"),
        ("authorization { token: a }", "Reloaded: authorization token"),
        ("authorization { timeout: 1.5 }", "Reloaded: authorization timeout = 1.5"),
        ("authorization { timeout: 5 }", "Reloaded: authorization timeout = 5"),
        ("max_control_line: 5000", "Reloaded: max_control_line = 5000"),
        ("max_payload: 5000", "Reloaded: max_payload = 5000"),
        ("ping_interval: 30s", "Reloaded: ping_interval = 30s"),
        ("ping_max: 5", "Reloaded: ping_max = 5"),
        ("write_deadline: 90s", "Reloaded: write_deadline = 1m30s"),
        ("no_fast_producer_stall: true", "Reloaded: fast producers will not be stalled"),
        ("client_advertise: \"a:1\"", "Reload: client_advertise = a:1"),
        ("pid_file: f", "Reloaded: pid_file = f"),
        ("ports_file_dir: f", "Reloaded: ports_file_dir = f"),
        ("max_traced_msg_len: 5", "Reloaded: max_traced_msg_len = 5"),
        ("connect_error_reports: 5", "Reloaded: connect_error_reports = 5"),
        ("reconnect_error_reports: 5", "Reloaded: reconnect_error_reports = 5"),
        ("server_tags: a", "Reloaded: tags"),
        ("server_metadata {a: b}", "Reloaded: metadata"),
    ] {
        let new = format!("{new}\nport: 5");
        assert_eq!(reloaded(&[], "port: 5", &new), Ok(vec![line.into()]), "{new:?}");
    }
    let verbose = ["Reloaded: trace = true", "Reloaded: trace_verbose = true"];
    assert_eq!(reloaded(&[], "port: 5", "port: 5\ntrace_verbose: on").unwrap(), verbose);
    assert_eq!(reloaded(&[], "pid_file: f", "port: 0"), Ok(Vec::new()));
    assert_eq!(reloaded(&[], "debug: on", "port: 0").unwrap(), ["Reloaded: debug = false"]);
}

#[test]
fn one_change_that_needs_a_restart_refuses_the_whole_reload() {
    for (new, change) in [
        ("server_name: foo", "ServerName: old=, new=foo"),
        ("host: h", "Host: old=0.0.0.0, new=h"),
        ("port: 5", "Port: old=4222, new=5"),
        ("disable_sublist_cache: true", "NoSublistCache: old=false, new=true"),
        ("no_header_support: true", "NoHeaderSupport: old=false, new=true"),
        ("max_subscriptions: 10", "MaxSubs: old=0, new=10"),
        ("max_sub_tokens: 5", "MaxSubTokens: old=0, new=5"),
        ("http_port: -1", "HTTPPort: old=0, new=-1"),
        ("max_pending: 5MB", "MaxPending: old=67108864, new=5242880"),
        ("log_size_limit: 5", "LogSizeLimit: old=0, new=5"),
        ("log_max_num: 5", "LogMaxFiles: old=0, new=5"),
        ("write_timeout: retry", "WriteTimeout: old=, new=retry"),
        ("max_closed_clients: 5", "MaxClosedClients: old=10000, new=5"),
        ("lame_duck_duration: 60s", "LameDuckDuration: old=2m0s, new=1m0s"),
        ("lame_duck_grace_period: 5s", "LameDuckGracePeriod: old=10s, new=5s"),
        ("no_auth_user: a\nauthorization { users: [{user: a}] }", "NoAuthUser: old=, new=a"),
        ("shards: 2", "Shards: old=auto, new=2"),
        ("busy_poll: 100us", "BusyPoll: old=auto, new=100µs"),
    ] {
        let new = format!("{new}\ndebug: on");
        let error = format!("config reload not supported for {change}");
        assert_eq!(reloaded(&[], "debug: off", &new), Err(error), "{new:?}");
    }
    assert_eq!(reloaded(&[], "port: 0", "x: 1"), Err("x.conf:1:0: unknown field \"x\"".into()));
    assert_eq!(
        reload(&Loaded::with_options(Options::default())).map(|_| ()),
        Err("can only reload config when a file is provided using -c or --config".into())
    );
}

#[test]
fn the_user_of_nameless_clients_may_go_only_with_its_entry() {
    let users = "authorization { users: [{user: a}] }";
    let both = format!("no_auth_user: a\n{users}");
    assert_eq!(reloaded(&[], &both, "debug: off"), Ok(Vec::new()));
    assert_eq!(
        reloaded(&[], &both, users),
        Err("config reload not supported for NoAuthUser: old=a, new=".into())
    );
}

#[test]
fn flags_win_over_the_file_at_every_reload() {
    let args = &["-D=false", "-n", "n", "-p", "5"];
    assert_eq!(reloaded(args, "debug: off", "debug: on\nport: 9\nserver_name: n"), Ok(Vec::new()));
    assert_eq!(
        reloaded(args, "debug: off", "server_name: m"),
        Err("config reload not supported for ServerName: old=n, new=m".into()),
        "the name is the one that a reload wants to find in the file, as the peer does"
    );
    assert_eq!(reloaded(args, "server_name: m", "debug: on"), Ok(Vec::new()));
    assert_eq!(reloaded(&["-p", "-1"], "debug: off", "port: 9"), Ok(Vec::new()));
}

/// Pieces from which odd configurations are made.
const PIECES: &[&str] = &[
    "a",
    "foo",
    "\"q k\"",
    "'s'",
    "=",
    ":",
    " ",
    "\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    ";",
    "#c\n",
    "//c\n",
    "/",
    "12",
    "-3",
    "1k",
    "5ebb",
    "2m",
    "1.5",
    ".5",
    "127.0.0.1:4222",
    "true",
    "\"true\"",
    "$a",
    "$2a$11$abc",
    "$EV",
    "$MAP",
    "$CYCLE",
    "\"x\\x41y\"",
    "\\x4",
    "\\n",
    "2026-01-02T03:04:05Z",
    "2026-1",
    "(\nb\n)\n",
    "(x)",
    "include inc.conf\n",
    "include 'loop.conf'\n",
    "include 5",
    "é",
    "\u{a0}",
    "\r\n",
    "\t",
    "\"",
    "'",
    "\\",
    "\0",
    "\u{2028}",
    "authorization {",
    "users: [{",
    "user: ",
    "timeout: 61",
    "port: ",
    "shards: ",
    "busy_poll: ",
    "server_tags: [",
    "cluster {",
    "routes: [\"nats://u:p%4@[::1]:5\"",
    "advertise: \"nats://h:x\"",
    "compression {",
    "rtts: [",
    "permissions { import:",
    "tls {",
    "pinned_certs: [",
    "accounts {",
    "jetstream:",
    "pool_size:",
];

/// Parses, and if that works reads all keys; neither may panic.
fn digest_bytes(bytes: &[u8]) {
    if let Ok(tree) = parse(bytes) {
        let reading = keys::read(&tree, Settings::default());
        let _ = (tree::digest(&tree), reading.settings.into_options(Surroundings::default()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        digest_bytes(&bytes);
    }

    #[test]
    fn no_pieces_make_the_parser_panic(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..30),
    ) {
        digest_bytes(pieces.concat().as_bytes());
    }
}

/// A text, and its tree as JSON.
const VALUES: &[(&str, &str)] = &[
    ("a: 1", "{\"a\":1}"),
    ("a 1", "{\"a\":1}"),
    ("a = 1", "{\"a\":1}"),
    ("a: 1;b: 2, c: 3\nd: 4", "{\"a\":1,\"b\":2,\"c\":3,\"d\":4}"),
    ("{\"a\": 1, \"b\": [true, false]}", "{\"a\":1,\"b\":[true,false]}"),
    ("a: yes\nb: ON\nc: \"true\"", "{\"a\":true,\"b\":true,\"c\":\"true\"}"),
    (
        "a: 1k\nb: 1kb\nc: 1Ki\nd: 1KIB\ne: 2m\nf: 2MB\ng: 3g\nh: -1k",
        "{\"a\":1000,\"b\":1024,\"c\":1024,\"d\":1024,\"e\":2000000,\"f\":2097152,\"g\":3000000000,\"h\":-1000}",
    ),
    ("a: 5ebb\nb: 1", "{\"b\":1}"),
    ("m { a: 5ebb\n b: 1 }", "{\"a\":{\"b\":1}}"),
    (
        "a: 10s\nb: 2h30m\nc: 127.0.0.1:4222\nd: 0K1abc",
        "{\"a\":\"10s\",\"b\":\"2h30m\",\"c\":\"127.0.0.1:4222\",\"d\":\"0K1abc\"}",
    ),
    (
        "a: 1.5\nb: -0.25\nc: 0.0000001\nd: 1000000000000000000000.0",
        "{\"a\":1.5,\"b\":-0.25,\"c\":1e-7,\"d\":1e+21}",
    ),
    ("a: 2026-01-02T03:04:05Z", "{\"a\":\"2026-01-02T03:04:05Z\"}"),
    (
        "a: 'x\\ty'\nb: \"x\\ty\\x41\\\\\\\"\"\nc: x\\ty",
        "{\"a\":\"x\\\\ty\",\"b\":\"x\\tyA\\\\\\\"\",\"c\":\"x\\ty\"}",
    ),
    (
        "a: (\nline <1>\n  line 2\n)\nb: 1",
        "{\"a\":\"\\nline \\u003c1\\u003e\\n  line 2\\n\",\"b\":1}",
    ),
    ("a: (\nx\n)", "{\"a\":\"\\nx\\n)\"}"),
    ("a: [1, 2,]\nb: [\n x\n y # c\n \"z\"\n]", "{\"a\":[1,2],\"b\":[\"x\",\"y\",\"z\"]}"),
    ("a: x # c\n# c\nb: y // c\n// c\nc: 1", "{\"a\":\"x\",\"b\":\"y\",\"c\":1}"),
    (
        "x: 5\na: $x\nm { x: 6, a: $x, n { b: $x } }",
        "{\"a\":5,\"m\":{\"a\":6,\"n\":{\"b\":6},\"x\":6},\"x\":5}",
    ),
    ("a: \"$x\"\nb: $2a$11$abc", "{\"a\":\"$x\",\"b\":\"$2a$11$abc\"}"),
    ("a: 1\na: 2", "{\"a\":2}"),
    ("Port: 1\nport: 2", "{\"Port\":1,\"port\":2}"),
    ("a\n\n: 5", "{\"a\":5}"),
    ("a\nb", "{\"a\":\"b\"}"),
    ("a: \"multi\nline\"", "{\"a\":\"multi\\nline\"}"),
    ("a: <&>\u{2028}\x7f", "{\"a\":\"\\u003c\\u0026\\u003e\\u2028\x7f\"}"),
    ("a: $EV\nb: [$EV]", "{\"a\":12,\"b\":[12]}"),
    ("include: x", "{\"include\":\"x\"}"),
    ("m { include \"inc.conf\", b: 2 }", "{\"m\":{\"b\":2,\"debug\":true,\"port\":\"x\"}}"),
    ("a: {b: 1;c: 2}", "{\"a\":{\"b\":1,\"c\":2}}"),
    ("a: true'", "{\"a\":\"true\"}"),
    (
        "k: -9223372036854775808\nl: 8e\nm: 16eb",
        "{\"k\":-9223372036854775808,\"l\":8000000000000000000,\"m\":0}",
    ),
];

/// A text, and why it is no configuration.
const SYNTAX_ERRORS: &[(&str, &str)] = &[
    ("a", "config is invalid (x.conf:1:1)"),
    (
        "a b c\n",
        "Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got 'c' instead.'",
    ),
    (
        "a: [1, 2",
        "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '\0' instead.'",
    ),
    (
        "a: [1 2]",
        "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '2' instead.'",
    ),
    ("a: [1,,2]", "Parse error on line 1: 'Unexpected array value terminator ','.'"),
    (
        "a: {b: 1",
        "Parse error on line 1: 'Expected a map value terminator \",\" or a map terminator \"}\", but got '\0' instead.'",
    ),
    ("a: {b ,}", "Parse error on line 1: 'Unexpected map value terminator \",\".'"),
    ("= 5", "Parse error on line 1: 'Unexpected key separator '=''"),
    ("m { = 5 }", "Parse error on line 1: 'Unexpected key separator '='.'"),
    ("m { ] }", "Parse error on line 1: 'Unexpected array end ']' processing map.'"),
    ("a: .5", "Parse error on line 1: 'Floats must start with a digit'"),
    (
        "a: 1.",
        "Parse error on line 1: 'Floats must have a digit after the '.', but got '\0' instead.'",
    ),
    ("a: -x", "Parse error on line 1: 'Expected a digit but got 'x'.'"),
    ("a: -.5", "Parse error on line 1: 'Floats must start with a digit, not '.'.'"),
    ("a:\n", "Parse error on line 2: 'Expected value but found new line'"),
    ("a = \n5", "Parse error on line 2: 'Expected value but found new line'"),
    (
        "a: \"x\\q\"",
        "Parse error on line 1: 'Invalid escape character 'q'. Only the following escape characters are allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.'",
    ),
    (
        "a: \"x\\x4\"",
        "Parse error on line 1: 'Expected two hexadecimal digits after '\\x', but got '4\"''",
    ),
    (
        "a: \"x\\x4g\"",
        "Parse error on line 1: 'Expected two hexadecimal digits after '\\x', but got '4g''",
    ),
    ("a: \"x", "Parse error on line 1: 'Unexpected EOF.'"),
    ("a: 'x", "Parse error on line 1: 'Unexpected EOF.'"),
    ("a: [\"x", "Parse error on line 1: 'Unexpected EOF.'"),
    ("a: (x", "Parse error on line 1: 'Unexpected EOF processing block.'"),
    (
        "{ a: 1",
        "Parse error on line 1: 'Expected a block-level value to end with a new line, comment or EOF, but got '\0' instead.'",
    ),
    (
        "{ a: 1 ] }",
        "Parse error on line 1: 'Expected a block-level value to end with a new line, comment or EOF, but got ']' instead.'",
    ),
    (
        "{ a: 1 } x ] }",
        "Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got ']' instead.'",
    ),
    (
        "a: 2026-1",
        "Parse error on line 1: 'Expected digit in ISO8601 datetime, but found '\0' instead.'",
    ),
    ("a: 20-1", "Parse error on line 1: 'All ISO8601 dates must be in full Zulu form.'"),
    ("a: 2026-13-01T00:00:00Z", "expected Zulu formatted DateTime, but got '2026-13-01T00:00:00Z'"),
    (
        "a: 2026-01-01X00:00:00Z",
        "Parse error on line 1: 'Expected 'T' in ISO8601 datetime, but found 'X' instead.'",
    ),
    ("a: 9223372036854775808", "integer '9223372036854775808' is out of the range"),
    ("a: $nope", "variable reference for 'nope' on line 1 can not be found"),
    ("b: 1\n\n  a: $nope", "variable reference for 'nope' on line 3 can not be found"),
    ("a: [$G]", "variable reference for 'G' on line 1 can not be found"),
    ("include", "config is invalid (x.conf:1:7)"),
    ("include 5", "Parse error on line 1: 'Expected include value but found start of a number'"),
    ("include [", "Parse error on line 1: 'Expected include value but found start of an array'"),
    ("include {", "Parse error on line 1: 'Expected include value but found start of a map'"),
    ("include (x", "Parse error on line 1: 'Expected include value but found start of a block'"),
    ("include \\x", "Parse error on line 1: 'Expected include value but found escape sequence'"),
    ("include\nx", "Parse error on line 2: 'Expected include value but found new line'"),
    ("include \"x", "Parse error on line 1: 'Unexpected EOF in double quoted include'"),
    (
        "include nofile.conf",
        "error parsing include file 'nofile.conf', open nofile.conf: no such file or directory",
    ),
    (
        "include bad.conf",
        "error parsing include file 'bad.conf', Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '\0' instead.'",
    ),
    (
        "m { include \"bad.conf\" }",
        "error parsing include file 'bad.conf', Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '\0' instead.'",
    ),
    (
        "a: 1 / 2",
        "Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got '2' instead.'",
    ),
    ("/ a: 1", "Parse error on line 1: 'Unexpected EOF.'"),
    ("m { \"x", "Parse error on line 1: 'Unexpected EOF processing double quoted map key.'"),
    ("m { x", "Parse error on line 1: 'Unexpected EOF processing map key.'"),
    (
        "a: [1 / 2]",
        "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '\0' instead.'",
    ),
];

/// A text, and what `-t` says of it.
const WRONG_VALUES: &[(&str, &str)] = &[
    ("nosuch: 5", "x.conf:1:0: unknown field \"nosuch\""),
    ("port: 1\n  nosuch: 5", "x.conf:2:3: unknown field \"nosuch\""),
    ("port: \"x\"", "x.conf:1:0: interface conversion: interface {} is string, not int64"),
    ("port: 1.5", "x.conf:1:0: interface conversion: interface {} is float64, not int64"),
    (
        "port: [1]",
        "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '\0' instead.'",
    ),
    (
        "port: {a: 1}",
        "x.conf:1:0: interface conversion: interface {} is map[string]interface {}, not int64",
    ),
    (
        "port: 2026-01-02T03:04:05Z",
        "x.conf:1:0: interface conversion: interface {} is time.Time, not int64",
    ),
    ("debug: \"true\"", "x.conf:1:0: interface conversion: interface {} is string, not bool"),
    ("server_name: true", "x.conf:1:0: interface conversion: interface {} is bool, not string"),
    ("server_name: \"a b\"", "x.conf:1:0: server name cannot contain spaces"),
    ("listen: localhost", "x.conf:1:0: could not parse address string \"localhost\""),
    ("listen: \"h:x\"", "x.conf:1:0: could not parse port \"x\""),
    ("listen: \"a:b:c\"", "x.conf:1:0: could not parse address string \"a:b:c\""),
    ("listen: true", "x.conf:1:0: expected port or host:port, got bool"),
    ("listen: 1.5", "x.conf:1:0: expected port or host:port, got float64"),
    ("http: \"[::1]\"", "x.conf:1:0: could not parse address string \"[::1]\""),
    (
        "ping_interval: 2m",
        "x.conf:1:0: invalid use of field \"ping_interval\": ping_interval should be converted to a duration",
    ),
    (
        "ping_interval: \"5\"",
        "x.conf:1:0: error parsing ping_interval: time: missing unit in duration \"5\"",
    ),
    (
        "ping_interval: \"5x\"",
        "x.conf:1:0: error parsing ping_interval: time: unknown unit \"x\" in duration \"5x\"",
    ),
    ("ping_interval: x", "x.conf:1:0: error parsing ping_interval: time: invalid duration \"x\""),
    (
        "ping_interval: true",
        "x.conf:1:0: invalid use of field \"ping_interval\": ping_interval should be converted to a duration\nx.conf:1:0: interface conversion: interface {} is bool, not int64",
    ),
    (
        "write_deadline: 5",
        "x.conf:1:0: invalid use of field \"write_deadline\": write_deadline should be converted to a duration",
    ),
    ("write_timeout: never", "x.conf:1:0: write_timeout must be 'default', 'close' or 'retry'"),
    (
        "lame_duck_duration: \"29s\"",
        "x.conf:1:0: invalid lame_duck_duration of 29s, minimum is 30 seconds",
    ),
    (
        "lame_duck_duration: 60",
        "x.conf:1:0: interface conversion: interface {} is int64, not string",
    ),
    (
        "lame_duck_duration: \"x\"",
        "x.conf:1:0: error parsing lame_duck_duration: time: invalid duration \"x\"",
    ),
    (
        "lame_duck_grace_period: \"-5s\"",
        "x.conf:1:0: invalid lame_duck_grace_period, needs to be positive",
    ),
    ("max_control_line: 3000000000", "x.conf:1:0: max_control_line value is too big"),
    ("Max_Payload: 3000000000", "x.conf:1:0: Max_Payload value is too big"),
    ("max_sub_tokens: 256", "x.conf:1:0: max_sub_tokens value is too big"),
    ("max_sub_tokens: 0", "x.conf:1:0: max_sub_tokens value can not be negative"),
    ("server_tags: 5", "x.conf:1:0: error parsing tags: unsupported type int64"),
    (
        "server_tags: [a, 5]",
        "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '\0' instead.'",
    ),
    ("server_metadata: 5", "x.conf:1:0: error parsing metadata: unsupported type int64"),
    (
        "server_metadata {\n a: b\n c: 5\n}",
        "x.conf:3:2: interface conversion: interface {} is int64, not string",
    ),
    ("authorization { user: a, token: b }", "x.conf:1:0: Cannot have a user/pass and token"),
    (
        "authorization { users: [], user: a }",
        "x.conf:1:0: Can not have a single user/pass and a users array",
    ),
    ("authorization { users: [], token: a }", "x.conf:1:0: Can not have a token and a users array"),
    (
        "authorization { users: [{user: a}, {user: a}] }",
        "x.conf:1:0: Duplicate user \"a\" detected",
    ),
    ("authorization { users: 5 }", "x.conf:1:16: Expected users field to be an array, got 5"),
    (
        "authorization { users: [5] }",
        "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '}' instead.'",
    ),
    ("authorization { users: [{password: b}] }", "x.conf:1:25: User entry requires a user"),
    ("authorization { users: [{}] }", "x.conf:1:26: User entry requires a user"),
    ("authorization { users: [{user: a,\n nosuch: 5}] }", "x.conf:2:2: unknown field \"nosuch\""),
    ("authorization {\n  nosuch: 1\n}", "x.conf:2:3: unknown field \"nosuch\""),
    (
        "authorization { timeout: 61 }",
        "x.conf:1:16: invalid use of field \"timeout\": timeout of 61 (61.000000 seconds) is high, consider keeping it under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
    ),
    (
        "authorization { timeout: 70.5 }",
        "x.conf:1:16: invalid use of field \"timeout\": timeout of 70.5 (70.500000 seconds) is high, consider keeping it under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
    ),
    (
        "authorization { timeout: \"2m\" }",
        "x.conf:1:16: invalid use of field \"timeout\": timeout of 2m (120.000000 seconds) is high, consider keeping it under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
    ),
    (
        "authorization { timeout: \"2\" }",
        "x.conf:1:16: error parsing authorization config, 'timeout' time: missing unit in duration \"2\"",
    ),
    (
        "authorization { timeout: true }",
        "x.conf:1:16: error parsing authorization config, 'timeout' wrong type",
    ),
    ("include inc.conf", "inc.conf:2:1: interface conversion: interface {} is string, not int64"),
    ("# nothing", "x.conf: config has no values or is empty"),
    (
        "ping_max: 1\nPING_MAX: \"x\"",
        "x.conf:2:1: interface conversion: interface {} is string, not int64",
    ),
    ("x: y\nport: $x", "x.conf:2:1: interface conversion: interface {} is string, not int64"),
    ("port: 5ebb", "x.conf: config has no values or is empty"),
    (
        "{\"port\": 1, \"debug\": \"true\"}",
        "x.conf:1:13: interface conversion: interface {} is string, not bool",
    ),
    (
        "a: 1\nport: x\nping_interval: 5\n",
        "x.conf:3:1: invalid use of field \"ping_interval\": ping_interval should be converted to a duration\nx.conf:1:0: unknown field \"a\"\nx.conf:2:1: interface conversion: interface {} is string, not int64",
    ),
];
