//! The program as a process: flags, exit codes, files, signals, log, configuration check.
//!
//! Where only texts are compared, the real nats-server runs beside Ringmesh and says what is right,
//! so the tables below hold inputs and no outputs. Ringmesh answers under the name `nats-server`
//! there, which is when it promises the same texts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "mesh/http.rs"]
mod http;
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::{Broker, Kind, LIMIT, poll, send_signal};
use tempfile::TempDir;

const OURS: Kind = Kind::Ours { shards: 1 };

/// Runs a test on the real server, then on Ringmesh.
fn on_each_broker(test: impl Fn(Kind)) {
    for kind in [Kind::Real, OURS, Kind::Ours { shards: 4 }] {
        test(kind);
    }
}

// --- What the program says before it serves ---

/// What a run that ends by itself has shown.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    exit_code: Option<i32>,
    stderr: String,
    /// Usage texts name each program's own flags, so only their presence is compared.
    stdout: String,
}

fn say(kind: Kind, args: &[&str], dir: &Path) -> Said {
    let link = dir.join("nats-server");
    let _ = std::fs::remove_file(&link);
    symlink(kind.binary(), &link).unwrap();
    let output = support::run(&link, args, dir);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Said {
        exit_code: output.status.code(),
        stderr: sorted_lines(&String::from_utf8_lossy(&output.stderr)),
        stdout: if stdout.contains("Usage: ") { "usage".to_owned() } else { stdout },
    }
}

/// Of several errors nats-server tells now this and now that one first.
fn sorted_lines(text: &str) -> String {
    let (prefix, rest) = text.split_once(": ").unwrap_or(("", text));
    let mut lines: Vec<_> = rest.split('\n').collect();
    lines.sort_unstable();
    format!("{prefix}: {}", lines.join("\n"))
}

/// Ringmesh must say what the real server says, to the byte; all differences are told.
fn says_the_same(runs: &[&[&str]], prepare: impl Fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let differences: Vec<String> = runs
        .iter()
        .filter_map(|args| {
            let (real, ours) = (say(Kind::Real, args, dir.path()), say(OURS, args, dir.path()));
            (real != ours)
                .then(|| format!("{args:?}\n  nats-server: {real:?}\n  ringmesh:    {ours:?}"))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn flags_that_end_the_program_answer_as_the_real_server_does() {
    says_the_same(
        &[
            &["-v"],
            &["--version"],
            &["version"],
            &["-version=true"],
            &["-h"],
            &["--help"],
            &["help"],
            &["bogus"],
            &["-p", "4222", "bogus"],
            &["-nosuch"],
            &["--nosuch"],
            &["--nosuch=1"],
            &["---p"],
            &["-p"],
            &["-p", "abc"],
            &["--port=abc"],
            &["-p", "99999999999999999999"],
            &["-m", "x"],
            &["-T=maybe"],
            &["-D=2x"],
            &["--max_traced_msg_len", "x"],
            &["--log_size_limit", "x"],
            &["-c"],
            &["-signal"],
            &["-t"],
            &["-c", "missing.conf"],
            &["-t", "-c", "missing.conf"],
            &["-t", "--config=missing.conf"],
        ],
        |_| {},
    );
}

#[test]
fn signals_to_nobody_fail_as_with_the_real_server() {
    says_the_same(
        &[
            &["--signal", "foo=999999"],
            &["--signal", "reload=abc"],
            &["--signal", "reload=999999"],
            &["-sl", "stop=999999"],
            &["-sl=quit=999999"],
            &["--signal", "term=no/such.pid"],
            &["--signal", "stop=4000000000"],
            &["--signal", "stop=99999999999999999999"],
        ],
        |dir| std::fs::write(dir.join("empty.pid"), "").unwrap(),
    );
}

#[test]
fn under_its_own_name_the_program_says_its_own_version() {
    let dir = tempfile::tempdir().unwrap();
    let output = OURS.run(&["-v"], dir.path());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, format!("ringmesh: v{}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn help_about_tls_is_no_error() {
    for kind in [Kind::Real, OURS] {
        let dir = tempfile::tempdir().unwrap();
        let output = kind.run(&["--help_tls"], dir.path());
        assert_eq!(output.status.code(), Some(0), "{kind}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("cert_file"), "{kind}");
    }
}

// --- The configuration language ---

/// Files that `-t` accepts, warns of, or refuses; each is checked under the name `x.conf`.
const CONFIGURATIONS: &[&str] = &[
    // Forms of the language.
    "port: 4222\n",
    "port = 4222",
    "port 4222",
    "{ port: 4222 }",
    "{\"port\": 4222, \"max_payload\": 1024}",
    "PORT: 4222; Max_Payload: 1k",
    "# comment\nport: 4222 // more\n",
    "port: 4222,\nmax_payload: 2048,\n",
    "\"port\": 4222\n'max_payload': 5\n",
    "listen: 127.0.0.1:4222",
    "listen: \"127.0.0.1:-1\"",
    "listen: 4222",
    "listen: \":4222\"",
    "listen: localhost",
    "listen: \"[::1]:4222\"",
    "host: 127.0.0.1\nport: 4222",
    "net: 127.0.0.1",
    "port: -1",
    "port: 4222\nport: 4223",
    "max_payload: 1MB",
    "max_payload: 1mib",
    "max_payload: 64k",
    "max_payload: 64kb",
    "max_payload: 1G",
    "max_payload: 5ebb",
    "max_payload: 99999999999",
    "max_payload: -1",
    "max_payload: 1.5",
    "max_payload: \"1024\"",
    "max_control_line: 2048",
    "max_pending: 64MB",
    "max_connections: 100\nmax_subscriptions: 10\nmax_sub_tokens: 16",
    "max_conn: 5\nmax_subs: 5",
    "max_sub_tokens: 300",
    "max_sub_tokens: -1",
    "max_closed_clients: 5",
    "ping_interval: \"20s\"\nping_max: 3",
    "ping_interval: 20s",
    "ping_interval: 20",
    "ping_interval: 2m",
    "ping_interval: \"2m\"",
    "ping_interval: nonsense",
    "write_deadline: \"5s\"",
    "write_deadline: 5",
    "write_deadline: \"1h30m\"",
    "lame_duck_duration: \"30s\"",
    "lame_duck_duration: \"10s\"",
    "lame_duck_grace_period: \"5s\"",
    "lame_duck_grace_period: \"-5s\"",
    "debug: true\ntrace: yes\nlogtime: off",
    "debug: \"true\"",
    "debug: TRUE\ntrace: No",
    "debug: 1",
    "log_file: \"a.log\"\nlog_size_limit: 1000\nlog_max_num: 3",
    "logtime_utc: true",
    "server_name: ring",
    "server_name: \"a b\"",
    "client_advertise: \"example.com:4222\"",
    "no_fast_producer_stall: true",
    "no_header_support: true",
    "pid_file: \"x.pid\"\nports_file_dir: \".\"",
    "http: 8222",
    "http: \"127.0.0.1:8222\"",
    "http_port: 8222\nhttp_base_path: \"/nats\"",
    "monitor_port: 8222",
    // Credentials.
    "authorization { user: a, password: b }",
    "authorization { user: a, pass: b, timeout: 0.5 }",
    "authorization { token: t }",
    "authorization: { users: [ {user: a, pass: b}, {user: c, password: d} ] }",
    "authorization { user: a, pass: b, token: t }",
    "authorization { user: a, pass: b, users: [ {user: c, pass: d} ] }",
    "authorization { token: t, users: [ {user: c, pass: d} ] }",
    "authorization { users: [ {user: a, pass: b}, {user: a, pass: c} ] }",
    "authorization { nonsense: 1 }",
    "authorization { users: [ {user: a, pass: b, nonsense: 1} ] }",
    "authorization { timeout: \"3s\" }",
    "authorization { user: a, pass: b, timeout: 100 }",
    // Variables, includes, strings.
    "P = 4222\nport: $P",
    "port: $NOWHERE",
    "P: $P\nport: $P",
    "name: \"$P\"\nserver_name: $name",
    "S = \"ring\"\nserver_name: $S",
    "include other.conf\nport: 4222",
    "include 'other.conf'",
    "include missing.conf",
    "include: other.conf",
    "server_name: 'ra\\w'",
    "server_name: \"a\\tb\"",
    "server_name: \"a\\qb\"",
    "server_name: \"\\x41\"",
    "server_name: (\nblock\n)\n",
    "authorization { user: a, pass: $2a$04$abcdefghijklmnopqrstuu369LYjJlegQeGD0CWsjs58fASePKjWq }",
    "jetstream { enabled: false, store_dir: nowhere }",
    // What is wrong.
    "",
    "\n\n# nothing\n",
    "nonsense: 1",
    "port: 4222\n  nonsense: 1\n",
    "nonsense: 1\nother: 2\nport: x\n",
    "port: \"x\"",
    "port: [1]",
    "port: {}",
    "port:",
    "port: 4222 }",
    "{ port: 4222",
    "authorization { user: a",
    "authorization { users: [ {user: a, pass: b}",
    "authorization { users: [ {user: a, pass: b} {user: c, pass: d} ] }",
    "authorization { users: [ {user: a, pass: b},, ] }",
    "server_name: \"open",
    "server_name: 'open",
    "/* no */ port: 4222",
    "port: 4222 /* no */",
    ": 4222",
    "= 4222",
    "port: .5",
    "max_payload: 1e3",
    "server_name: 2026-01-02T03:04:05Z",
];

#[test]
fn a_configuration_is_judged_as_by_the_real_server() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("other.conf"), "max_payload: 1024\n").unwrap();
    let check = |text: &&str| {
        std::fs::write(dir.path().join("x.conf"), text).unwrap();
        let args = ["-t", "-c", "x.conf"];
        let (real, ours) = (say(Kind::Real, &args, dir.path()), say(OURS, &args, dir.path()));
        (real != ours)
            .then(|| format!("{text:?}\n  nats-server: {real:?}\n  ringmesh:    {ours:?}"))
    };
    let differences: Vec<String> = CONFIGURATIONS.iter().filter_map(check).collect();
    let (count, all) = (differences.len(), CONFIGURATIONS.len());
    assert!(count == 0, "{count} of {all} differ:\n{}", differences.join("\n"));
}

// --- Files ---

#[test]
fn the_pid_file_is_private_has_no_newline_and_stays() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.pid");
        let mut broker = Broker::start(kind, &[text("-P"), text(&path)]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), broker.pid().to_string(), "{kind}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{kind}");
        broker.signal("TERM");
        broker.wait_exit();
        assert!(path.exists(), "{kind}");
    });
}

#[test]
fn the_ports_file_names_what_listens_and_goes_on_exit() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let mut broker = Broker::start(kind, &[text("--ports_file_dir"), text(dir.path())]);
        let exe = kind.binary().file_name().unwrap().to_string_lossy().into_owned();
        let path = dir.path().join(format!("{exe}_{}.ports", broker.pid()));
        let expected = format!("{{\"nats\":[\"{}\"]}}", broker.url());
        let read = || std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('}'));
        assert_eq!(poll(read).as_deref(), Some(&expected[..]), "{kind}");
        broker.signal("INT");
        assert_eq!(broker.wait_exit().code(), Some(0), "{kind}");
        assert!(!path.exists(), "{kind}");
    });
}

#[test]
fn a_log_file_is_opened_again_on_sigusr1() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let (log, moved) = (dir.path().join("broker.log"), dir.path().join("moved.log"));
        let mut broker = Quiet::start(kind, &[text("-l"), text(&log)]);
        await_in_file(&log, "Server is ready");
        std::fs::rename(&log, &moved).unwrap();
        send_signal(broker.child.id(), "USR1");
        await_in_file(&log, "[INF] File log re-opened");
        assert_eq!(broker.stop(), "", "{kind} writes to standard error beside its log file");
        await_in_file(&log, "Server Exiting..");
    });
}

#[test]
fn files_that_cannot_be_written_are_named() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = dir.path().join("no/such");
        let missing = format!("open {}: no such file or directory", text(&nowhere));
        let fails = |flag, expected: &str| {
            let output =
                kind.run(&["-a", "127.0.0.1", "-p", "-1", flag, &text(&nowhere)], dir.path());
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.ends_with(&format!("{expected}{missing}\n")), "{kind}: {said}");
            assert_eq!(output.status.code(), Some(1), "{kind}");
        };
        fails("-l", "error opening file: ");
        fails("-P", "[FTL] Could not write pidfile: ");

        let broker = Broker::start(kind, &[text("--ports_file_dir"), text(&nowhere)]);
        broker.await_log(&format!("[ERR] Error writing ports file ({}/", text(&nowhere)));
        broker.await_log(".ports: no such file or directory");
    });
}

#[test]
fn a_reload_goes_on_without_files_that_cannot_be_written() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let (path, nowhere) = (dir.path().join("x.conf"), dir.path().join("no/such"));
        std::fs::write(&path, "max_payload: 100\n").unwrap();
        let broker = Broker::start(kind, &[text("-c"), text(&path)]);
        let nowhere = text(&nowhere);
        let files = format!("pid_file: \"{nowhere}\"\nports_file_dir: \"{nowhere}\"\n");
        std::fs::write(&path, format!("max_payload: 100\n{files}")).unwrap();
        broker.signal("HUP");
        let missing = format!("open {nowhere}: no such file or directory");
        broker.await_log(&format!("[ERR] Failed to write pidfile: {missing}"));
        broker.await_log(&format!("[ERR] Error writing ports file ({nowhere}/"));
        broker.await_log("[INF] Reloaded server configuration (sha256:");
    });
}

// --- The log ---

#[test]
fn the_log_has_the_lines_that_tools_look_for() {
    on_each_broker(|kind| {
        let cluster = ["--cluster", "nats://127.0.0.1:-1", "--cluster_name", "ring"];
        let mut broker = Broker::start(kind, &[&["--name", "ring-one"], &cluster[..]].concat());
        broker.signal("TERM");
        assert_eq!(broker.wait_exit().code(), Some(0), "{kind}");
        broker.await_log("Server Exiting..");
        let log = broker.log();
        let markers = [
            "[INF] Starting nats-server".to_owned(),
            "[INF]   Version:  2.15.1".to_owned(),
            "[INF]   Cluster:  ring".to_owned(),
            "[INF]   Name:     ring-one".to_owned(),
            "[INF]   ID:       N".to_owned(),
            format!("[INF] Listening for client connections on 127.0.0.1:{}", broker.port),
            "[INF] Server is ready".to_owned(),
            "[INF] Trapped \"terminated\" signal".to_owned(),
            "[INF] Initiating Shutdown...".to_owned(),
            "[INF] Server Exiting..".to_owned(),
        ];
        let mut rest = &log[..];
        for marker in markers {
            let (_, after) = rest.split_once(&marker[..]).unwrap_or_else(|| {
                panic!("{kind}: no {marker:?} at its place in\n{log}");
            });
            rest = after;
        }
        for line in log.lines() {
            assert!(is_log_line(line, broker.pid()), "{kind}: {line:?}");
        }
        for marker in ["Cluster name is ring", "Listening for route connections on 127.0.0.1:"] {
            assert!(log.contains(&format!("[INF] {marker}")), "{kind}: no {marker:?} in\n{log}");
        }
    });
}

/// `[pid] YYYY/MM/DD HH:MM:SS.micros [INF] text`
fn is_log_line(line: &str, pid: u32) -> bool {
    let Some(rest) = line.strip_prefix(&format!("[{pid}] ")) else { return false };
    let shape: String =
        rest.chars().take(26).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let level = rest.get(26..33);
    let levels = [" [INF] ", " [WRN] ", " [ERR] ", " [DBG] ", " [TRC] ", " [FTL] "];
    shape == "0000/00/00 00:00:00.000000" && level.is_some_and(|level| levels.contains(&level))
}

#[test]
fn the_log_may_come_without_times() {
    on_each_broker(|kind| {
        let broker = Broker::start(kind, &["-T=false"]);
        let prefix = format!("[{}] [INF] ", broker.pid());
        for line in broker.log().lines() {
            assert!(line.starts_with(&prefix), "{kind}: {line:?}");
        }
    });
}

#[test]
fn a_port_that_is_taken_is_fatal() {
    on_each_broker(|kind| {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let dir = tempfile::tempdir().unwrap();
        let output = kind.run(&["-a", "127.0.0.1", "-p", &port], dir.path());
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{kind}: {log}");
        let reason = format!(
            "[FTL] Error listening on port: 127.0.0.1:{port}, \
             \"listen tcp 127.0.0.1:{port}: bind: address already in use\"\n"
        );
        assert!(log.contains(&reason), "{kind}: {log}");
    });
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    on_each_broker(|kind| {
        let args = ["-a", "::1", "-m", "-1", "--cluster", "nats://[::1]:-1"];
        let broker = Broker::start(kind, &args);
        broker.await_log("Listening for client connections on [::1]:");
        broker.await_log("Starting http monitor on [::1]:");
        broker.await_log("Listening for route connections on [::1]:");
    });
}

#[test]
fn a_start_tells_of_large_payloads_and_of_the_system_account() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        std::fs::write(&path, "max_payload: 10MB\n").unwrap();
        let broker = Broker::start(kind, &[text("-D"), text("-c"), text(&path)]);
        broker.await_log("[WRN] Maximum payloads over 8.00 MB are generally discouraged");
        broker.await_log("[DBG] Created system account: \"$SYS\"");
    });
}

#[test]
fn a_log_that_is_put_aside_says_where_it_went() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("broker.log");
        let args = [text("-l"), text(&log), text("--log_size_limit"), text("300")];
        let mut broker = Quiet::start(kind, &args);
        let prefix = format!("[INF] Rotated log, backup saved as \"{}.", text(&log));
        let said = || {
            let files = std::fs::read_dir(dir.path()).unwrap();
            let read = |file: std::io::Result<std::fs::DirEntry>| {
                std::fs::read_to_string(file.unwrap().path()).unwrap_or_default()
            };
            files.map(read).any(|text| text.contains(&prefix)).then_some(())
        };
        assert!(poll(said).is_some(), "{kind}");
        assert_eq!(broker.stop(), "", "{kind}");
    });
}

#[test]
fn plain_passwords_are_warned_of() {
    on_each_broker(|kind| {
        for args in [
            &["--user", "ann", "--pass", "secret"][..],
            &["--pass", "secret"],
            &["--user", "ann", "--pass", "secret", "--auth", "token"],
        ] {
            let broker = Broker::start(kind, args);
            broker.await_log("[WRN] Plaintext passwords detected, use nkeys or bcrypt");
        }
    });
}

#[test]
fn a_user_or_a_token_by_flag_does_not_go_with_accounts() {
    let config = "accounts { A: { users: [ {user: a, password: b} ] } }\n";
    says_the_same(
        &[
            &["-c", "x.conf", "--user", "u", "--pass", "p"],
            &["-c", "x.conf", "--auth", "t"],
            &["-c", "x.conf", "--user", "u", "--pass", "p", "--auth", "t"],
            &["-t", "-c", "x.conf", "--user", "u"],
        ],
        |dir| std::fs::write(dir.join("x.conf"), config).unwrap(),
    );
}

// --- Signals ---

#[test]
fn sigterm_and_sigint_end_with_success() {
    on_each_broker(|kind| {
        for (signal, name) in [("TERM", "terminated"), ("INT", "interrupt")] {
            let mut broker = Broker::start(kind, &[] as &[&str]);
            broker.signal(signal);
            assert_eq!(broker.wait_exit().code(), Some(0), "{kind} on {signal}");
            broker.await_log(&format!("Trapped \"{name}\" signal"));
            broker.await_log("Server Exiting..");
        }
    });
}

#[test]
fn the_program_signals_a_running_broker_by_pid_and_by_pid_file() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.pid");
        let mut broker = Broker::start(kind, &[text("-P"), text(&path)]);
        let by_number = kind.run(&["--signal", &format!("reload={}", broker.pid())], dir.path());
        assert_eq!(by_number.status.code(), Some(0), "{kind}: {by_number:?}");
        assert!(by_number.stderr.is_empty(), "{kind}: {by_number:?}");
        broker.await_log("Trapped \"hangup\" signal");
        let by_file = kind.run(&["-sl", &format!("term={}", text(&path))], dir.path());
        assert_eq!(by_file.status.code(), Some(0), "{kind}: {by_file:?}");
        assert_eq!(broker.wait_exit().code(), Some(0), "{kind}");
    });
}

#[test]
fn a_reload_needs_a_file() {
    on_each_broker(|kind| {
        let broker = Broker::start(kind, &[] as &[&str]);
        broker.signal("HUP");
        broker.await_log(
            "[ERR] Failed to reload server configuration: can only reload config when a file is \
             provided using -c or --config",
        );
    });
}

#[test]
fn a_reload_acts_or_is_refused_whole() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        let write = |config: &str| std::fs::write(&path, config).unwrap();
        write("max_payload: 100\n");
        let broker = Broker::start(kind, &[text("-c"), text(&path)]);
        let mut client = Client::connect(broker.port);

        write("max_payload: 200\nmax_subscriptions: 5\n");
        broker.signal("HUP");
        broker.await_log(
            "[ERR] Failed to reload server configuration: config reload not supported for \
             MaxSubs: old=0, new=5",
        );
        write("max_payload: 200\nnonsense: 1\n");
        broker.signal("HUP");
        broker.await_log("x.conf:2:1: unknown field \"nonsense\"");
        client.say("PUB a 50\r\n");
        client.say(&format!("{}\r\nPING\r\n", "x".repeat(50)));
        client.hear("PONG\r\n");

        write("max_payload: 40\n");
        broker.signal("HUP");
        broker.await_log("[INF] Reloaded: max_payload = 40");
        broker.await_log("[INF] Reloaded server configuration (sha256:");
        client.say("PUB a 50\r\n");
        client.hear("-ERR 'Maximum Payload Violation'\r\n");
    });
}

#[test]
fn a_reload_that_removes_a_user_or_changes_its_password_closes_it() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        let users = |list: &str| {
            std::fs::write(&path, format!("authorization {{ users: [ {list} ] }}\n")).unwrap();
        };
        users("{user: ann, pass: a}, {user: bob, pass: b}");
        let broker = Broker::start(kind, &[text("-c"), text(&path)]);
        let mut ann = Client::connect(broker.port);
        ann.say("CONNECT {\"verbose\":false,\"user\":\"ann\",\"pass\":\"a\"}\r\nPING\r\n");
        ann.hear("PONG\r\n");
        let mut bob = Client::connect(broker.port);
        bob.say("CONNECT {\"verbose\":false,\"user\":\"bob\",\"pass\":\"b\"}\r\nPING\r\n");
        bob.hear("PONG\r\n");

        users("{user: ann, pass: a}");
        broker.signal("HUP");
        bob.hear_silent_end();
        ann.say("PING\r\n");
        ann.hear("PONG\r\n");
        broker.await_log("[INF] Reloaded: authorization users");

        users("{user: ann, pass: changed}");
        broker.signal("HUP");
        ann.hear("-ERR 'Authorization Violation'\r\n");
        ann.hear_end();
    });
}

#[test]
#[expect(clippy::print_stderr, reason = "a failure shows the case")]
fn a_reload_keeps_who_still_has_the_right_credentials() {
    let named = ",\"user\":\"u\",\"pass\":\"p\"";
    let token = ",\"auth_token\":\"t\"";
    let user = |password: &str| format!("[ {{user: u, password: \"{password}\"}} ]");
    let users = |password: &str| format!("authorization {{ users: {} }}", user(password));
    let account = |name: &str, password: &str| {
        format!("accounts {{ {name}: {{ users: {} }} }}", user(password))
    };
    let by_token = |token: &str| format!("authorization {{ token: \"{token}\" }}");
    let open = || "max_payload: 1000".to_owned();
    let single = || "authorization { user: u, password: p }".to_owned();
    let anonymous = |config: String| format!("{config}\nno_auth_user: u");
    let (stays, leaves, refused) = (After::Stays, After::Leaves, After::Refused);
    let cases = [
        (open(), by_token("t"), token, stays),
        (open(), by_token("x"), token, refused),
        (open(), users("p"), named, stays),
        (open(), users("q"), named, refused),
        (open(), users("p"), "", refused),
        (open(), single(), named, leaves),
        (open(), account("A", "p"), named, leaves),
        (single(), users("p"), named, stays),
        (single(), open(), named, leaves),
        (users("p"), users(P_HASH), named, stays),
        (users("p"), users(T_HASH), named, refused),
        (users(P_HASH), users("p"), named, stays),
        (users("p"), open(), named, leaves),
        (users("p"), single(), named, stays),
        (by_token("t"), by_token(T_HASH), token, stays),
        (by_token("t"), by_token(P_HASH), token, refused),
        (by_token(T_HASH), by_token("t"), token, stays),
        (by_token("t"), open(), token, stays),
        (account("A", "p"), account("A", P_HASH), named, stays),
        (account("A", P_HASH), account("A", "p"), named, stays),
        (account("A", "p"), account("B", "p"), named, leaves),
        (account("A", "p"), open(), named, leaves),
        (anonymous(account("A", "p")), anonymous(account("A", P_HASH)), "", stays),
        (anonymous(account("A", "p")), anonymous(account("A", "q")), "", refused),
        (anonymous(account("A", "p")), anonymous(account("B", "p")), "", leaves),
    ];
    on_each_broker(|kind| {
        for (before, after, credentials, expected) in &cases {
            eprintln!("{kind}: {before} to {after} with {credentials:?}");
            reload_with_a_client(kind, [before, after], credentials, *expected);
        }
    });
}

/// The hashes of `p` and `t`, which cost little.
const P_HASH: &str = "$2b$04$abcdefghijklmnopqrstuudMegMbPN37MbpdEfAtP66w1z0RBCtLG";
const T_HASH: &str = "$2b$04$abcdefghijklmnopqrstuueS/Ms9iFHHLj0u1TUrroHJNenyIHvcm";

/// What becomes of a client when a reload comes.
#[derive(Clone, Copy)]
enum After {
    Stays,
    /// It is closed without a word.
    Leaves,
    Refused,
}

fn reload_with_a_client(
    kind: Kind,
    [before, after]: [&str; 2],
    credentials: &str,
    expected: After,
) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    std::fs::write(&path, before).unwrap();
    let broker = Broker::start(kind, &[text("-c"), text(&path), "-D".to_owned()]);
    let mut client = Client::connect(broker.port);
    client.say(&format!("CONNECT {{\"verbose\":false{credentials}}}\r\nPING\r\n"));
    client.hear("PONG\r\n");
    std::fs::write(&path, after).unwrap();
    broker.signal("HUP");
    broker.await_log("[INF] Reloaded server configuration (sha256:");
    match expected {
        After::Stays => {
            // A log-in that needs a hash comes behind the hash that the reload needs.
            let mut next = Client::connect(broker.port);
            next.say(&format!("CONNECT {{\"verbose\":false{credentials}}}\r\nPING\r\n"));
            next.hear_either("PONG\r\n", "-ERR");
            client.say("PING\r\n");
            client.hear("PONG\r\n");
        }
        After::Leaves => {
            client.hear_silent_end();
            broker.await_log("Client connection closed: Client Closed");
        }
        After::Refused => {
            client.hear("-ERR 'Authorization Violation'\r\n");
            client.hear_silent_end();
            broker.await_log("Client connection closed: Authentication Failure");
        }
    }
}

#[test]
fn a_server_whose_only_users_are_the_system_accounts_takes_in_who_says_nothing() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        std::fs::write(&path, "accounts { \"$SYS\": { users: [ {user: s, password: p} ] } }\n")
            .unwrap();
        let broker = Broker::start(kind, &[text("-c"), text(&path)]);
        for first in ["PING\r\n", "SUB a 1\r\nPING\r\n"] {
            let mut client = Client::connect(broker.port);
            client.say(first);
            client.hear("PONG\r\n");
        }
    });
}

#[test]
fn a_lame_duck_listens_no_more_and_ignores_sigterm() {
    on_each_broker(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        std::fs::write(&path, "lame_duck_grace_period: \"1s\"\nlame_duck_duration: \"30s\"\n")
            .unwrap();
        let mut broker = Broker::start(kind, &[text("-c"), text(&path)]);
        let mut client = Client::connect(broker.port);
        client.say("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n");
        client.hear("PONG\r\n");
        broker.signal("USR2");
        client.hear("\"ldm\":true");
        assert!(TcpStream::connect(("127.0.0.1", broker.port)).is_err(), "{kind} still listens");
        broker.signal("TERM");
        broker.await_log("Trapped \"terminated\" signal");
        client.say("PING\r\n");
        client.hear("PONG\r\n");
        client.hear_end();
        assert_eq!(broker.wait_exit().code(), Some(0), "{kind}");
    });
}

#[test]
fn who_only_listens_is_active_when_a_message_comes() {
    on_each_broker(|kind| {
        let broker = Broker::start(kind, &["-m", "-1"]);
        let mut clients = [(); 2].map(|()| Client::connect(broker.port));
        for (client, sub) in clients.iter_mut().zip(["SUB x 1\r\n", ""]) {
            client.say(&format!("CONNECT {{\"verbose\":false}}\r\n{sub}PING\r\n"));
            client.hear("PONG\r\n");
        }
        let [listener, talker] = &mut clients;
        talker.say("PUB x 2\r\nhi\r\n");
        listener.hear("MSG x 1 2\r\nhi\r\n");
        let stream = TcpStream::connect(broker.monitor()).unwrap();
        let connz = http::get(stream, "/connz").expect("/connz answers");
        let active = |at: usize| connz["connections"][at]["last_activity"].as_str().unwrap();
        // Without the zone letter the order of the texts is that of the times.
        let [listener, talker] = [0, 1].map(|at| active(at).trim_end_matches('Z'));
        assert!(listener >= talker, "{kind}: {connz:#}");
    });
}

// --- Helpers ---

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

fn await_in_file(path: &Path, wanted: &str) {
    let read = || std::fs::read_to_string(path).ok().filter(|text| text.contains(wanted));
    assert!(poll(read).is_some(), "no {wanted:?} in {}", path.display());
}

/// A broker that logs to a file, so that its standard error tells nothing.
struct Quiet {
    child: std::process::Child,
    dir: TempDir,
}

impl Quiet {
    fn start(kind: Kind, args: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stderr = std::fs::File::create(dir.path().join("stderr")).unwrap();
        let mut command: Command = kind.command();
        command.args(["-a", "127.0.0.1", "-p", "-1"]).args(args).stderr(stderr);
        Self { child: command.spawn().unwrap(), dir }
    }

    /// Ends it and gives what it wrote to standard error.
    fn stop(&mut self) -> String {
        send_signal(self.child.id(), "TERM");
        self.child.wait().unwrap();
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that speaks the protocol by hand.
struct Client {
    stream: TcpStream,
    heard: String,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut client = Self { stream, heard: String::new() };
        client.hear("\r\n");
        client
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `wanted` has come, and forgets what came up to its end.
    #[track_caller]
    fn hear(&mut self, wanted: &str) {
        while !self.heard.contains(wanted) {
            assert!(self.read() > 0, "no {wanted:?}, only {:?}", self.heard);
        }
        let (_, rest) = self.heard.split_once(wanted).unwrap();
        self.heard = rest.to_owned();
    }

    /// Reads until one of the two has come, or the server closes.
    fn hear_either(&mut self, one: &str, other: &str) {
        while !self.heard.contains(one) && !self.heard.contains(other) && self.read() > 0 {}
    }

    /// Reads until the server closes, without a word before.
    #[track_caller]
    fn hear_silent_end(&mut self) {
        self.hear_end();
        assert_eq!(self.heard, "");
    }

    /// Reads until the server closes.
    fn hear_end(&mut self) {
        while self.read() > 0 {}
    }

    fn read(&mut self) -> usize {
        let mut chunk = [0; 4096];
        let length = self.stream.read(&mut chunk).expect("bytes or the end");
        self.heard.push_str(&String::from_utf8_lossy(&chunk[..length]));
        length
    }
}

#[test]
fn a_trace_shows_both_directions_and_no_secret() {
    on_each_broker(|kind| {
        let broker = Broker::start(kind, &["-V"]);
        let mut client = Client::connect(broker.port);
        client.say("CONNECT {\"verbose\":false,\"pass\":\"hush\"}\r\nSUB t 1\r\n");
        client.say("PUB t r 2\r\nhi\r\nPING\r\n");
        client.hear("PONG\r\n");
        for text in [
            "\"pass\":\"[REDACTED]\"",
            "<<- [SUB t 1]",
            "<<- [PUB t r 2]",
            "<<- MSG_PAYLOAD: [\"hi\"]",
            "->> [MSG t 1 r 2]",
            "->> [PONG]",
        ] {
            broker.await_log(text);
        }
        assert!(!broker.log().contains("hush"), "{kind} logs a secret");
    });
}

#[test]
fn where_producers_are_not_stalled_a_slow_recipient_misses_what_does_not_fit() {
    const COUNT: usize = 60;
    const SIZE: usize = 500_000;
    on_each_broker(|kind| {
        for (max_pending, misses) in [("64MB", false), ("4MB", true)] {
            let dir = TempDir::new().unwrap();
            let config = dir.path().join("x.conf");
            let text = format!("no_fast_producer_stall: true\nmax_pending: {max_pending}\n");
            std::fs::write(&config, text).unwrap();
            let broker = Broker::start(kind, &["-c".as_ref(), config.as_os_str()]);
            let join = |subscribe: &str| {
                let mut stream = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                let hello = format!("CONNECT {{\"verbose\":false}}\r\n{subscribe}PING\r\n");
                stream.write_all(hello.as_bytes()).unwrap();
                hear_pong(&mut stream);
                stream
            };
            let (mut slow, mut publisher) = (join("SUB a 1\r\n"), join(""));
            let message = [format!("PUB a {SIZE}\r\n").as_bytes(), &[b'x'; SIZE], b"\r\n"].concat();
            for _ in 0..COUNT {
                publisher.write_all(&message).unwrap();
            }
            publisher.write_all(b"PING\r\n").unwrap();
            hear_pong(&mut publisher);
            slow.write_all(b"PING\r\n").unwrap();
            let got = hear_pong(&mut slow) / SIZE;
            assert!(got >= 6 && (got < COUNT) == misses, "{kind:?}, {max_pending}: {got}");
        }
    });
}

/// Reads to the end of a PONG; returns how many bytes that was.
fn hear_pong(stream: &mut TcpStream) -> usize {
    let (mut count, mut end) = (0, Vec::new());
    let mut bytes = vec![0; 1 << 16];
    while !end.ends_with(b"PONG\r\n") {
        let len = stream.read(&mut bytes).unwrap();
        assert!(len > 0, "closed after {count} bytes");
        count += len;
        end.extend_from_slice(&bytes[..len]);
        end.drain(..end.len().saturating_sub(6));
    }
    count
}
