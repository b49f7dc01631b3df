//! Every client reaches every other, wherever it is connected.

use std::collections::BTreeSet;

use crate::mesh::client::introduce_all;
use crate::mesh::{Message, Plan, introduce, on_each_layout};

/// Payloads that have arrived, in order.
fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(Message::text).collect()
}

#[test]
fn every_client_reaches_every_other() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        let mut clients = cluster.clients();
        for (index, client) in clients.iter_mut().enumerate() {
            client.subscribe(&format!("to.{index}"));
            client.subscribe("all.>");
            client.subscribe("all.*.now");
        }
        introduce_all(&mut clients);
        for (index, client) in clients.iter_mut().enumerate() {
            for other in 0..3 {
                client.publish(&format!("to.{other}"), format!("{index} to {other}"));
            }
            client.publish("all.of.you", format!("{index} to all"));
            client.publish("all.of.now", format!("{index} to all, twice"));
            client.publish("all", "to nobody");
        }
        introduce_all(&mut clients);
        for (index, client) in clients.iter_mut().enumerate() {
            let mut heard = texts(&client.take_all());
            // There is no order between publishers.
            heard.sort();
            let wanted = |from| {
                // `all.of.now` fits two subscriptions of each client.
                let twice = format!("{from} to all, twice");
                [format!("{from} to {index}"), format!("{from} to all"), twice.clone(), twice]
            };
            let mut wanted: Vec<_> = (0..3).flat_map(wanted).collect();
            wanted.sort();
            assert_eq!(heard, wanted, "client {index}");
        }
    });
}

#[test]
fn requests_are_answered_from_every_node() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        for answering in 0..3 {
            let mut server = cluster.client(answering);
            server.subscribe("service.add");
            for asking in 0..3 {
                let mut client = cluster.client(asking);
                let inbox = client.subscribe("answers.*");
                introduce(&mut client, &mut server);
                for number in 0..20 {
                    client.publish_for("service.add", &format!("answers.{number}"), "1");
                    client.flush();
                    let question = server.message();
                    server.publish(&question.reply.unwrap(), format!("{number}+1"));
                    let answer = client.message_of(inbox);
                    assert_eq!(answer.text(), format!("{number}+1"));
                    assert_eq!(answer.subject, format!("answers.{number}"));
                }
            }
        }
    });
}

#[test]
fn a_request_that_nobody_hears_fails_at_once_on_every_node() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        for mut client in cluster.clients() {
            let answer = client.request("nobody", "?");
            assert!(answer.is_no_responders(), "{answer:?}");
        }
    });
}

#[test]
fn headers_arrive_whole_and_only_where_they_are_understood() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        let mut publisher = cluster.client(0);
        for node in 0..3 {
            let mut modern = cluster.client(node);
            let mut plain = cluster.client_with(node, "\"headers\":false,\"no_responders\":false");
            for client in [&mut modern, &mut plain] {
                client.subscribe("headed");
                introduce(&mut publisher, client);
            }
            publisher.publish_headed("headed", &["One: 1", "Two: two  words"], "body");
            publisher.publish_headed("headed", &["Empty:"], "");
            publisher.flush();
            let heard = modern.messages(2);
            let blocks: Vec<_> = heard.iter().map(|message| message.headers.clone()).collect();
            assert_eq!(blocks[0].as_deref(), Some("NATS/1.0\r\nOne: 1\r\nTwo: two  words\r\n\r\n"));
            assert_eq!(blocks[1].as_deref(), Some("NATS/1.0\r\nEmpty:\r\n\r\n"));
            assert_eq!(texts(&heard), ["body", ""]);
            let heard = plain.messages(2);
            assert!(heard.iter().all(|message| message.headers.is_none()), "{heard:?}");
            assert_eq!(texts(&heard), ["body", ""]);
        }
    });
}

#[test]
fn a_client_without_echo_hears_others_only() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        let mut clients: Vec<_> =
            (0..3).map(|node| cluster.client_with(node, "\"echo\":false")).collect();
        for client in &mut clients {
            client.subscribe("talk");
        }
        // A message to oneself cannot introduce here, and need not.
        introduce_all(&mut clients);
        for (index, client) in clients.iter_mut().enumerate() {
            client.publish("talk", index.to_string());
        }
        introduce_all(&mut clients);
        for (index, client) in clients.iter_mut().enumerate() {
            let heard: BTreeSet<_> = texts(&client.take_all()).into_iter().collect();
            let others: BTreeSet<_> =
                (0..3).filter(|other| *other != index).map(|other| other.to_string()).collect();
            assert_eq!(heard, others, "client {index}");
        }
    });
}

#[test]
fn messages_of_every_size_arrive_whole() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        let mut random = fastrand::Rng::with_seed(5);
        let sizes = [0, 1, 511, 512, 4096, 65_535, 65_536, 65_537, 1_000_000, 1_048_576];
        let bodies: Vec<Vec<u8>> =
            sizes.iter().map(|size| (0..*size).map(|_| random.u8(..)).collect()).collect();
        for (from, to) in [(0, 1), (1, 2), (2, 0), (2, 1), (1, 0), (0, 2)] {
            let (mut publisher, mut subscriber) = (cluster.client(from), cluster.client(to));
            subscriber.subscribe("size");
            introduce(&mut publisher, &mut subscriber);
            for body in &bodies {
                publisher.publish("size", body);
            }
            publisher.flush();
            for body in &bodies {
                let heard = subscriber.message().payload;
                assert!(heard == *body, "{from} to {to}: {} bytes differ", body.len());
            }
        }
    });
}
