//! Clients that users have, as they are: nats-py and the `nats` command line.
//!
//! The Python tests are in `tests/clients/`; here they run with each broker, but for those of a
//! cluster, which `tests/cluster` runs. What they need is made
//! by `scripts/tools`; without Go there is no `nats` command, and its test says SKIPPED.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod skipped;
mod support;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use support::{Broker, Kind, nats_cli, on_each_kind, python, root};

on_each_kind! { nats_py_works the_nats_command_works }

fn nats_py_works(kind: Kind) {
    let mut broker = vec![kind.binary().to_str().unwrap().to_owned()];
    if let Kind::Ours { shards } = kind {
        broker.extend(["--shards".to_owned(), shards.to_string()]);
    }
    let output = Command::new(python())
        .args(["-W", "ignore::ResourceWarning", "-m", "unittest", "-v"])
        .args(["test_messages", "test_trouble"])
        .current_dir(root().join("tests/clients"))
        .env("BROKER", serde_json::to_string(&broker).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{kind}:\n{report}");
    assert!(!report.contains("Ran 0 tests"), "{kind}: no Python test was found\n{report}");
}

fn the_nats_command_works(kind: Kind) {
    let Some(program) = nats_cli() else {
        skipped::skipped(&format!("the nats command with {kind}: Go is not installed"));
        return;
    };
    let broker = Broker::start(kind, &[] as &[&str]);
    let home = tempfile::tempdir().unwrap();
    let cli = Cli { program: &program, url: broker.url(), home: home.path() };

    cli.run(&["server", "check", "connection"], "OK Connection OK");
    cli.run(&["rtt", "3"], "nats://127.0.0.1");
    cli.publishes_and_subscribes();
    cli.asks_and_replies();
    cli.benchmarks();
}

/// The `nats` command, talking to one broker, with a home of its own so that no context of the
/// person who runs the tests has a say.
struct Cli<'a> {
    program: &'a Path,
    url: String,
    home: &'a Path,
}

impl Cli<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.arg("--server").arg(&self.url).args(args);
        command.env("HOME", self.home).env("XDG_CONFIG_HOME", self.home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str], wanted: &str) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "nats {args:?}: {}", said(&output));
        assert!(said(&output).contains(wanted), "no {wanted:?} from {args:?}: {}", said(&output));
        output
    }

    /// Starts a command that goes on, and waits until its subscription is live.
    ///
    /// The subscription is live once a request on its subject is taken: until then the broker
    /// answers that there is nobody.
    fn start(&self, args: &[&str], subject: &str) -> Child {
        let child = self.command(args).spawn().unwrap();
        let heard = support::poll(|| {
            let output =
                self.command(&["pub", subject, "probe", "--reply", "nobody.cares"]).output();
            let probe = self.command(&["request", subject, "probe", "--timeout", "100ms"]).output();
            let said = [said(&output.unwrap()), said(&probe.unwrap())].concat();
            (!said.contains("No responders")).then_some(())
        });
        assert!(heard.is_some(), "nats {args:?} does not subscribe");
        child
    }

    fn publishes_and_subscribes(&self) {
        let subscriber = self.start(&["sub", "news.>", "--count", "20"], "news.probe");
        self.run(&["pub", "news.today", "hello {{.Count}}", "--count", "20"], "");
        let output = subscriber.wait_with_output().unwrap();
        assert!(output.status.success(), "nats sub: {}", said(&output));
        assert!(said(&output).contains("Received on \"news.today\""), "{}", said(&output));
        assert!(said(&output).contains("hello "), "{}", said(&output));
    }

    fn asks_and_replies(&self) {
        let mut replier = self.start(&["reply", "echo", "re: {{.Request}}"], "echo");
        self.run(&["request", "echo", "hello"], "re: hello");
        replier.kill().unwrap();
        replier.wait().unwrap();
        self.run(&["request", "nobody", "hello"], "No responders are available");
    }

    fn benchmarks(&self) {
        let args = ["bench", "pub", "bench.subject", "--msgs", "5000", "--size", "64"];
        self.run(&[&args[..], &["--clients", "2", "--no-progress"]].concat(), "msgs/sec");
    }
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}
