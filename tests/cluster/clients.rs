//! Clients that users have, in a cluster: nats-py, JetStream included, and async-nats.

use std::process::{Command, Stdio};

use async_nats::{ConnectOptions, Event};
use futures_util::StreamExt;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::mesh::layout::{kinds, on_each};
use crate::mesh::{Plan, on_each_layout, skipped};
use crate::support::{Kind, LIMIT, nats_cli, python, real_server, root};

/// The tests of one class of `tests/clients/test_cluster.py`, with each program in the place
/// where clients connect.
#[track_caller]
fn nats_py(class: &str) {
    on_each(&kinds(), |kind| {
        let mut broker = vec![kind.binary().to_str().unwrap().to_owned()];
        if let Kind::Ours { shards } = kind {
            broker.extend(["--shards".to_owned(), shards.to_string()]);
        }
        let output = Command::new(python())
            .args(["-W", "ignore::ResourceWarning", "-m", "unittest", "-v"])
            .arg(format!("test_cluster.{class}"))
            .current_dir(root().join("tests/clients"))
            .env("BROKER", serde_json::to_string(&broker).unwrap())
            .env("PEER", real_server())
            .envs(nats_cli().map(|program| ("NATS_CLI", program)))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let report = [&output.stderr[..], &output.stdout].map(String::from_utf8_lossy).concat();
        assert!(output.status.success(), "{kind}:\n{report}");
        assert!(!report.contains("Ran 0 tests"), "{kind}: no Python test was found\n{report}");
    });
}

/// The same for the tests of JetStream, one of which runs the `nats` command.
#[track_caller]
fn nats_py_and_the_command(class: &str) {
    if nats_cli().is_none() {
        skipped("the nats command with JetStream: Go is not installed");
    }
    nats_py(class);
}

#[test]
fn nats_py_goes_to_another_node_when_its_own_is_lost() {
    nats_py("Reconnect");
}

#[test]
fn nats_py_uses_jetstream_of_other_nodes() {
    nats_py_and_the_command("WithoutAccounts");
}

#[test]
fn nats_py_uses_jetstream_of_other_nodes_in_its_account() {
    nats_py_and_the_command("WithAccounts");
}

#[test]
fn async_nats_goes_to_another_node_when_its_own_is_lost() {
    on_each_layout(3, |layout| {
        let mut cluster = Plan::new(layout).start();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
        let client = runtime.block_on(async {
            let options = ConnectOptions::new().event_callback(move |event| {
                let _ = sender.send(event);
                async {}
            });
            options.connect(cluster.client_address(0)).await.unwrap()
        });
        let mut heard = runtime.block_on(client.subscribe("still.here")).unwrap();
        runtime.block_on(client.flush()).unwrap();
        cluster.kill(0);
        let back = async {
            let mut gone = false;
            while let Some(event) = events.recv().await {
                gone |= event == Event::Disconnected;
                if gone && event == Event::Connected {
                    return;
                }
            }
        };
        runtime.block_on(async { timeout(LIMIT, back).await }).expect("the client comes back");
        let mut publisher = cluster.client(1);
        let message = runtime.block_on(async {
            loop {
                publisher.publish("still.here", "yes");
                publisher.flush();
                let wait = std::time::Duration::from_millis(50);
                if let Ok(Some(message)) = timeout(wait, heard.next()).await {
                    return message;
                }
            }
        });
        assert_eq!(&message.payload[..], b"yes");
    });
}
