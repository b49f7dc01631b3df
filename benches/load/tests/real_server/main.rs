//! The program as a whole against the real nats-server: counts, files and exit codes, no timings.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod server;
mod tls;

use server::{Server, check, check_fails, load, runs, tempfile};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

#[test]
fn every_message_of_an_open_loop_arrives() {
    let Some(server) = Server::start(&[]) else { return };
    for wait in ["spin", "sleep"] {
        let line = ["latency", "--rate", "1000,2000", "--duration", "300ms", "--wait", wait];
        let found = runs(&server, &[&line[..], &["--subs", "3"]].concat());
        assert_eq!(found.len(), 2);
        check(&found[0], &[("sent", 300.0), ("delivered", 900.0)]);
        check(&found[1], &[("sent", 600.0), ("delivered", 1800.0)]);
        assert!(found[1]["figures"]["p50_us"].as_f64().unwrap() > 0.0);
        assert!(found[1]["figures"]["cpu_per_delivery_us"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn every_request_is_answered() {
    let Some(server) = Server::start(&[]) else { return };
    check(&runs(&server, &["request", "--count", "500"])[0], &[("answered", 500.0)]);
    let sleeping =
        ["request", "--count", "50", "--wait", "sleep", "--subscribe-server", &server.url];
    check(&runs(&server, &sleeping)[0], &[("answered", 50.0)]);
}

#[test]
fn every_delivery_of_a_throughput_run_is_awaited() {
    let Some(server) = Server::start(&[]) else { return };
    let many =
        ["throughput", "--count", "10007", "--pubs", "3", "--subs", "4", "--subjects", "100"];
    check(&runs(&server, &many)[0], &[("sent", 10_007.0), ("delivered", 40_028.0)]);
    let large = ["throughput", "--count", "50", "--size", "100000", "--random"];
    check(&runs(&server, &large)[0], &[("sent", 50.0), ("delivered", 50.0)]);
    let fan = ["fan-out", "--count", "500", "--subs", "16"];
    check(&runs(&server, &fan)[0], &[("sent", 500.0), ("delivered", 8000.0)]);
}

#[test]
fn pings_in_the_middle_of_a_run_are_answered() {
    let directory = tempfile();
    let config = directory.join("ping.conf");
    std::fs::write(&config, "ping_interval: \"400ms\"\nping_max: 1\n").unwrap();
    let Some(server) = Server::start(&["-c", config.to_str().unwrap()]) else { return };
    let paced = ["latency", "--rate", "500", "--duration", "2s"];
    check(&runs(&server, &paced)[0], &[("delivered", 1000.0)]);
    let idle = ["idle", "--connections", "5", "--settle", "500ms", "--duration", "1s"];
    check(&runs(&server, &idle)[0], &[("connections", 5.0)]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn idle_connections_and_storms_are_counted() {
    let Some(server) = Server::start(&[]) else { return };
    let idle = ["idle", "--connections", "40", "--settle", "100ms", "--duration", "100ms"];
    let found = runs(&server, &idle);
    check(&found[0], &[("connections", 40.0)]);
    assert!(found[0]["figures"]["server_rss_kib"].as_f64().unwrap() > 0.0);
    let storm = ["storm", "--count", "100", "--at-once", "8"];
    check(&runs(&server, &storm)[0], &[("connections", 100.0)]);
}

#[test]
fn a_stalled_subscriber_that_overflows_is_seen_to_be_cut() {
    let directory = tempfile();
    let config = directory.join("pending.conf");
    std::fs::write(&config, "max_pending: 1MB\nmax_payload: 64KB\n").unwrap();
    let Some(server) = Server::start(&["-c", config.to_str().unwrap()]) else { return };
    let line = ["stall", "--rate", "2000", "--size", "32768", "--duration", "500ms"];
    let found = runs(&server, &line);
    check(&found[0], &[("sent", 1000.0), ("delivered", 1000.0)]);
    check(&found[1], &[("sent", 1000.0), ("delivered", 1000.0), ("stalled_was_cut", 1.0)]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn histograms_of_a_run_become_a_picture() {
    let directory = tempfile();
    let Some(server) = Server::start(&[]) else { return };
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (hgrm, svg, both) = (path("a.hgrm"), path("a.svg"), path("both.svg"));
    let files = ["--hgrm", &hgrm, "--svg", &svg, "--label", "peer"];
    let line = ["latency", "--rate", "1000,2000", "--duration", "100ms"];
    runs(&server, &[&line[..], &files[..]].concat());
    assert!(std::fs::read_to_string(&svg).unwrap().contains("peer, 1,000/s"));

    let (slow, fast) = (path("a.1000-s.hgrm"), format!("fast={}", path("a.2000-s.hgrm")));
    assert_eq!(load(&["plot", &slow, &fast, "-o", &both]).status.code(), Some(0));
    let picture = std::fs::read_to_string(&both).unwrap();
    assert!(picture.contains("a.1000-s") && picture.contains("fast"));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_login_in_the_url_lets_in_and_a_wrong_one_does_not() {
    let Some(server) = Server::start(&["--user", "ann", "--pass", "p@ss"]) else { return };
    let with = |login: &str| server.url.replace("nats://", &format!("nats://{login}@"));
    let run = |url: &str| load(&["request", "--count", "10", "--server", url]).status.code();
    assert_eq!(run(&with("ann:p%40ss")), Some(0));
    check_fails(&["request", "--server", &with("ann:no")], 2, "Authorization Violation");
    check_fails(&["storm", "--server", &server.url], 2, "Authorization Violation");
}

#[test]
fn what_cannot_run_says_why() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("nats://{free}");
    check_fails(&["latency", "--server", &nobody], 2, "refused");
    check_fails(&["idle", "--server", &nobody], 2, "refused");
    check_fails(&["latency", "--server-pid", "4000000000"], 2, "no process");
    check_fails(&["latency", "--cpu", "1023"], 2, "--cpu");
    check_fails(&["plot", "/nowhere.hgrm", "-o", "/nowhere.svg"], 2, "/nowhere.hgrm");
    let Some(server) = Server::start(&[]) else { return };
    check_fails(&["latency", "--size", "2000000", "--server", &server.url], 2, "1048576");
}

#[test]
fn a_server_that_answers_something_else_is_no_server() {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Held until the other side closes, so that no reset overtakes the answer.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    check_fails(&["latency", "--server", &address], 2, "not the NATS protocol");
    server.join().unwrap();
}

#[test]
fn lost_messages_end_the_run_after_the_bound() {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || swallow_everything(&listener));
    let line = ["latency", "--duration", "100ms", "--lost-after", "200ms", "--server", &address];
    check_fails(&line, 1, "lost: 0 of 100");
    let line = ["throughput", "-n", "10", "--lost-after", "200ms", "--server", &address];
    check_fails(&line, 1, "lost: 0 of 10");
    drop(std::net::TcpStream::connect(address.trim_start_matches("nats://")).unwrap());
    server.join().unwrap();
}

/// Greets everybody, answers PING, and delivers nothing; ends with a client that says nothing at all.
fn swallow_everything(listener: &TcpListener) {
    let mut sessions = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"INFO {\"version\":\"2.15.1\",\"max_payload\":1048576}\r\n").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).split(b'\n');
        let Some(Ok(_)) = lines.next() else { break };
        sessions.push(std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.starts_with(b"PING") && stream.write_all(b"PONG\r\n").is_err() {
                    break;
                }
            }
        }));
    }
    sessions.into_iter().for_each(|session| session.join().unwrap());
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("nats://{}", listener.local_addr().unwrap());
    (listener, address)
}
