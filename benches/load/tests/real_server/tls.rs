//! Every mode in TLS, with certificates that exist for one test.

use crate::listener;
use crate::server::{Server, check, check_fails, load, runs, tempfile};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// An authority, and a directory with the certificates that it signs.
struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    file: String,
}

impl Authority {
    fn new() -> Self {
        let (directory, key) = (tempfile(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = write(&directory, "ca.pem", &params.self_signed(&key).unwrap().pem());
        Self { directory, issuer: Issuer::new(params, key), file }
    }

    /// Files with a certificate for `host`, and with its key.
    fn issue(&self, host: &str) -> [String; 2] {
        let (params, key) =
            (CertificateParams::new(vec![host.into()]).unwrap(), KeyPair::generate().unwrap());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        [
            write(&self.directory, &format!("{host}-cert.pem"), &certificate.pem()),
            write(&self.directory, &format!("{host}-key.pem"), &key.serialize_pem()),
        ]
    }

    /// A server that shows a certificate for `host`, with `tls` more in its block and `more` beside it.
    fn server(&self, host: &str, tls: &str, more: &str) -> Option<Server> {
        let [cert, key] = self.issue(host);
        let ca = &self.file;
        let block = format!(
            "tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, timeout: 10\n{tls} }}"
        );
        let config = write(&self.directory, "server.conf", &format!("{block}\n{more}\n"));
        Server::start(&["-c", &config])
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The URL that asks for TLS.
fn secure(server: &Server) -> String {
    server.url.replace("nats://", "tls://")
}

/// Runs every mode with `options`. The server has to let a client wait with no more than 1 MB.
#[track_caller]
fn check_every_mode(server: &Server, options: &[&str]) {
    let run = |line: &str, counts: &[&[(&str, f64)]]| {
        let line: Vec<&str> = line.split(' ').chain(options.iter().copied()).collect();
        let found = runs(server, &line);
        assert_eq!(found.len(), counts.len(), "{line:?}");
        found.iter().zip(counts).for_each(|(run, counts)| check(run, counts));
    };
    for wait in ["spin", "sleep"] {
        let sweep = format!("latency --rate 1k,2k --duration 300ms --subs 3 --wait {wait}");
        let counts = |sent| [("sent", sent), ("delivered", 3.0 * sent)];
        run(&sweep, &[&counts(300.0), &counts(600.0)]);
        let large = format!("latency --rate 200 --duration 200ms --size 60000 --wait {wait}");
        run(&large, &[&[("delivered", 40.0)]]);
        run(&format!("request --count 300 --wait {wait}"), &[&[("answered", 300.0)]]);
    }
    run(
        "throughput --count 10007 --pubs 3 --subs 4 --subjects 100",
        &[&[("sent", 10_007.0), ("delivered", 40_028.0)]],
    );
    run("throughput --count 200 --size 60000 --random", &[&[("delivered", 200.0)]]);
    run("fan-out --count 500 --subs 16", &[&[("delivered", 8000.0)]]);
    run("idle --connections 20 --settle 100ms --duration 100ms", &[&[("connections", 20.0)]]);
    run("storm --count 60 --at-once 8", &[&[("connections", 60.0)]]);
    let all = [("sent", 1000.0), ("delivered", 1000.0)];
    run(
        "stall --rate 2000 --size 32768 --duration 500ms",
        &[&all, &[all[0], all[1], ("stalled_was_cut", 1.0)]],
    );
}

#[test]
fn every_mode_runs_after_an_upgrade_to_tls() {
    let authority = Authority::new();
    let Some(server) = authority.server("127.0.0.1", "", "max_pending: 1MB, max_payload: 64KB")
    else {
        return;
    };
    check_every_mode(&server, &["--tls-ca", &authority.file]);
}

#[test]
fn every_mode_runs_where_tls_comes_first_and_both_sides_show_a_certificate() {
    let authority = Authority::new();
    let tls = "verify: true, handshake_first: true";
    let Some(server) = authority.server("127.0.0.1", tls, "max_pending: 1MB, max_payload: 64KB")
    else {
        return;
    };
    let [cert, key] = authority.issue("client");
    let shown = ["--tls-cert", &cert, "--tls-key", &key, "--tls-first"];
    check_every_mode(&server, &[&["--tls-ca", &authority.file], &shown[..]].concat());
}

/// Runs a few requests and returns the URL of the report; the run must end well.
#[track_caller]
fn url_of_report(server: &str, options: &[&str]) -> String {
    let done = load(&[&["request", "--json", "-n", "10", "-s", server], options].concat());
    assert!(done.status.success(), "{options:?}: {}", String::from_utf8_lossy(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    report["url"].as_str().unwrap().to_owned()
}

#[test]
fn tls_is_spoken_where_the_url_or_the_server_asks_for_it_and_the_report_says_so() {
    let authority = Authority::new();
    let ca = ["--tls-ca", &authority.file];
    let Some(server) = authority.server("127.0.0.1", "", "") else { return };
    let url = secure(&server);
    assert_eq!(url_of_report(&server.url, &ca), url, "the server requires it");
    assert_eq!(url_of_report(&url, &ca), url, "both ask for it");
    assert_eq!(url_of_report(&url, &[&ca[..], &["--subscribe-server", &url]].concat()), url);

    let server = authority.server("127.0.0.1", "", "allow_non_tls: true").unwrap();
    let url = secure(&server);
    assert_eq!(url_of_report(&server.url, &[]), server.url, "nobody asks for it");
    assert_eq!(url_of_report(&url, &ca), url, "the URL asks for it");
    assert_eq!(url_of_report(&server.url, &ca), url, "an option asks for it");
}

#[test]
fn the_names_that_the_nats_command_gives_the_options_are_understood() {
    let authority = Authority::new();
    let tls = "verify: true, handshake_first: true";
    let Some(server) = authority.server("localhost", tls, "") else { return };
    let [cert, key] = authority.issue("client");
    let options = ["--tlsca", &authority.file, "--tlscert", &cert, "--tlskey", &key, "--tlsfirst"];
    let url = secure(&server).replace("127.0.0.1", "localhost");
    assert_eq!(url_of_report(&url, &options), url);
}

#[test]
fn the_system_s_authorities_are_trusted_unless_others_are_named() {
    let authority = Authority::new();
    let Some(server) = authority.server("127.0.0.1", "", "") else { return };
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_ringmesh-load"))
        .args(["request", "-n", "10", "--server", &server.url])
        .env("SSL_CERT_FILE", &authority.file)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn pings_in_the_middle_of_a_run_in_tls_are_answered() {
    let authority = Authority::new();
    let pings = "ping_interval: \"400ms\", ping_max: 1";
    let Some(server) = authority.server("127.0.0.1", "", pings) else { return };
    let ca = ["--tls-ca", &authority.file];
    let paced = ["latency", "--rate", "500", "--duration", "2s"];
    check(&runs(&server, &[&paced[..], &ca].concat())[0], &[("delivered", 1000.0)]);
    let idle = ["idle", "--connections", "5", "--settle", "500ms", "--duration", "1s"];
    check(&runs(&server, &[&idle[..], &ca].concat())[0], &[("connections", 5.0)]);
}

#[test]
fn a_server_that_is_not_to_be_trusted_gets_no_login() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let Some(server) = authority.server("127.0.0.1", "", "") else { return };
    for mode in ["latency", "idle", "storm"] {
        let line = [mode, "--server", &secure(&server), "--tls-ca", &stranger.file];
        check_fails(&line, 2, "invalid peer certificate");
    }
    check_fails(&["latency", "--server", &server.url], 2, "invalid peer certificate");

    let server = authority.server("elsewhere", "", "").unwrap();
    let line = ["latency", "--server", &server.url, "--tls-ca", &authority.file];
    check_fails(&line, 2, "not valid for name");
}

#[test]
fn a_server_that_demands_a_certificate_says_so() {
    let authority = Authority::new();
    let Some(server) = authority.server("127.0.0.1", "verify: true", "") else { return };
    let line = ["latency", "--server", &server.url, "--tls-ca", &authority.file];
    check_fails(&line, 2, "CertificateRequired");
    let stranger = Authority::new();
    let [cert, key] = stranger.issue("client");
    check_fails(&[&line[..], &["--tls-cert", &cert, "--tls-key", &key]].concat(), 2, "UnknownCA");
}

#[test]
fn a_server_without_tls_does_not_do_where_tls_was_asked_for() {
    let (authority, Some(server)) = (Authority::new(), Server::start(&[])) else { return };
    let why = "TLS was asked for, and the server has none";
    check_fails(&["latency", "--server", &secure(&server)], 2, why);
    check_fails(&["storm", "--server", &secure(&server)], 2, why);
    check_fails(&["idle", "--server", &server.url, "--tls-ca", &authority.file], 2, why);
    let first = ["storm", "--server", &server.url, "--tls-first"];
    check_fails(&first, 2, "what it says is not TLS");
}

#[test]
fn a_server_that_waits_for_tls_is_told_from_one_that_is_dead() {
    let authority = Authority::new();
    let tls = "handshake_first: true, timeout: 0.3";
    let Some(server) = authority.server("127.0.0.1", tls, "") else { return };
    let line = ["latency", "--server", &secure(&server), "--tls-ca", &authority.file];
    check_fails(&line, 2, "--tls-first");
}

#[test]
fn nothing_may_come_between_info_and_tls() {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"INFO {\"tls_required\":true}\r\nPING\r\n").unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        heard
    });
    check_fails(&["latency", "--server", &address], 2, "between INFO and TLS");
    assert_eq!(server.join().unwrap(), b"", "not a byte to a server that cannot be told");
}

#[test]
fn a_file_that_is_of_no_use_is_named() {
    let authority = Authority::new();
    let [cert, key] = authority.issue("client");
    let [_, other_key] = authority.issue("other");
    check_fails(&["latency", "--tls-ca", "/nowhere.pem"], 2, "/nowhere.pem");
    check_fails(&["latency", "--tls-ca", &key], 2, &format!("{key}: no certificate in it"));
    check_fails(&["latency", "--tls-cert", &cert, "--tls-key", &cert], 2, &cert);
    check_fails(&["latency", "--tls-cert", &cert, "--tls-key", &other_key], 2, &cert);
}
