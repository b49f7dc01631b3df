//! What nobody wants any more is not sent.

use crate::mesh::layout::{on_each, ours};
use crate::mesh::{Client, Layout, Message, Plan, introduce, on_each_layout};
use crate::support::poll;

/// Asks until there is nobody.
#[track_caller]
fn await_nobody(client: &mut Client, subject: &str) {
    let gone = poll(|| client.request_briefly(subject).then_some(()));
    assert!(gone.is_some(), "somebody still wants {subject}");
}

#[test]
fn unsubscribing_withdraws_interest_from_every_node() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        let mut server = cluster.client(1);
        let mut clients = [cluster.client(0), cluster.client(2), cluster.client(1)];
        let plain = server.subscribe("service");
        let queued = server.subscribe_in("service", "group");
        for client in &mut clients {
            introduce(client, &mut server);
            client.publish_for("service", "answers", "?");
            introduce(client, &mut server);
            assert_eq!(server.take_all().len(), 2);
        }
        server.unsubscribe(plain);
        for client in &mut clients {
            introduce(client, &mut server);
            client.publish_for("service", "answers", "?");
            introduce(client, &mut server);
            assert_eq!(server.take_all().len(), 1);
        }
        server.unsubscribe(queued);
        for client in &mut clients {
            introduce(client, &mut server);
            assert!(client.request("service", "?").is_no_responders());
        }
    });
}

#[test]
fn a_subscription_that_ends_by_itself_withdraws_its_interest() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        for node in 0..3 {
            let (mut client, mut server) = (cluster.client(0), cluster.client(node));
            let sid = server.subscribe("few");
            server.unsubscribe_after(sid, 3);
            introduce(&mut client, &mut server);
            for number in 0..5 {
                client.publish("few", number.to_string());
            }
            introduce(&mut client, &mut server);
            let heard: Vec<_> = server.take_all().iter().map(|message| message.text()).collect();
            assert_eq!(heard, ["0", "1", "2"]);
            // The end was told when the third message came, which was after the introduction.
            introduce(&mut client, &mut server);
            assert!(client.request("few", "?").is_no_responders());
        }
    });
}

#[test]
fn a_client_that_goes_takes_its_interest_along() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        let mut client = cluster.client(0);
        for node in 0..3 {
            let mut server = cluster.client(node);
            server.subscribe("service");
            server.subscribe_in("service", "group");
            introduce(&mut client, &mut server);
            drop(server);
            await_nobody(&mut client, "service");
        }
    });
}

#[test]
fn the_last_of_many_subscribers_withdraws_the_interest() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        let mut client = cluster.client(2);
        let mut servers = [cluster.client(0), cluster.client(0)];
        let sids = servers.each_mut().map(|server| server.subscribe("shared"));
        servers.iter_mut().for_each(|server| introduce(&mut client, server));
        let [first, last] = &mut servers;
        first.unsubscribe(sids[0]);
        introduce(&mut client, first);
        client.publish("shared", "x");
        introduce(&mut client, last);
        assert_eq!(last.take_all().len(), 1);
        last.unsubscribe(sids[1]);
        introduce(&mut client, last);
        assert!(client.request("shared", "?").is_no_responders());
    });
}

#[test]
fn a_request_is_served_or_refused_while_the_last_responder_of_its_node_leaves() {
    const ROUNDS: usize = 300;
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        for node in 0..3 {
            // Connections go to the shards in turn.
            let (mut asker, mut responder) = (cluster.client(node), cluster.client(node));
            asker.subscribe("answers");
            for round in 0..ROUNDS {
                let sid = if round % 2 == 0 {
                    responder.subscribe("fleeting")
                } else {
                    responder.subscribe_in("fleeting", "group")
                };
                responder.flush();
                responder.unsubscribe(sid);
                asker.publish_for("fleeting", "answers", "?");
                asker.flush();
                responder.flush();
                let refused = asker.take_all();
                assert!(refused.iter().all(Message::is_no_responders), "{layout}: {refused:?}");
                let served = responder.take_all().len();
                assert_eq!((refused.len() + served, round), (1, round), "{layout}, node {node}");
            }
        }
    });
}

#[test]
fn a_node_that_joins_learns_every_one_of_many_subscriptions() {
    // Of nats-server it is known, and on a busy machine it takes its time.
    on_each(&[Layout(vec![ours(0), ours(1)])], |layout| {
        const SUBJECTS: usize = 50_000;
        let mut cluster = Plan::new(layout).start();
        cluster.kill(1);
        let mut subscriber = cluster.client(0);
        let lines = |line: fn(usize) -> String| (0..SUBJECTS).map(line).collect::<String>();
        // Numbers that other subscriptions of the client do not have.
        subscriber
            .send(lines(|n| format!("SUB orders.{n}.created {}\r\n", n + SUBJECTS)).as_bytes());
        subscriber.flush();
        cluster.restart(1);
        cluster.await_whole();
        let mut publisher = cluster.client(1);
        let all_known = poll(|| {
            let subsz = cluster.nodes[1].monitor("/subsz")?;
            (subsz["num_subscriptions"].as_u64()? >= SUBJECTS as u64).then_some(())
        });
        assert!(all_known.is_some(), "{layout}: subscriptions are missing");
        introduce(&mut publisher, &mut subscriber);
        std::thread::scope(|scope| {
            let publications = lines(|n| format!("PUB orders.{n}.created 0\r\n\r\n"));
            scope.spawn(move || publisher.send(publications.as_bytes()));
            for number in 0..SUBJECTS {
                assert_eq!(subscriber.message().subject, format!("orders.{number}.created"));
            }
        });
    });
}
