//! A queue group is one group in the whole cluster.

use crate::mesh::client::{introduce_all, publication};
use crate::mesh::{Client, Plan, introduce, on_each_layout};

/// How many messages of each client were for a group, after everything has arrived.
fn counts(clients: &mut [Client]) -> Vec<usize> {
    introduce_all(clients);
    clients.iter_mut().map(|client| client.take_all().len()).collect()
}

#[test]
fn a_queue_group_takes_each_message_once_in_the_whole_cluster() {
    on_each_layout(3, |layout| {
        const EACH: usize = 400;
        let cluster = Plan::new(layout).start();
        let mut clients = cluster.clients();
        for client in &mut clients {
            client.subscribe_in("work", "group");
        }
        introduce_all(&mut clients);
        for client in &mut clients {
            for number in 0..EACH {
                client.publish("work", number.to_string());
            }
        }
        let counts = counts(&mut clients);
        assert_eq!(counts.iter().sum::<usize>(), 3 * EACH, "{counts:?}");
        assert!(counts.iter().all(|count| *count > EACH / 2), "{counts:?}");
    });
}

#[test]
fn every_group_and_every_plain_subscriber_gets_its_own_copy() {
    on_each_layout(3, |layout| {
        const MESSAGES: usize = 100;
        let cluster = Plan::new(layout).start();
        let mut clients = cluster.clients();
        // The same group under a wildcard is still the same group.
        for (client, subject) in clients.iter_mut().zip(["jobs.x", "jobs.*", "jobs.>"]) {
            client.subscribe_in(subject, "one");
            client.subscribe_in(subject, "two");
            client.subscribe("jobs.>");
        }
        introduce_all(&mut clients);
        for number in 0..MESSAGES {
            clients[number % 3].publish("jobs.x", number.to_string());
        }
        introduce_all(&mut clients);
        let mut by_sid = [0; 3];
        for message in clients.iter_mut().flat_map(Client::take_all) {
            by_sid[message.sid as usize - 1] += 1;
        }
        // Two groups at once each, and three plain subscribers.
        assert_eq!(by_sid, [MESSAGES, MESSAGES, 3 * MESSAGES]);
    });
}

#[test]
fn a_node_with_more_members_gets_more() {
    on_each_layout(3, |layout| {
        const MESSAGES: usize = 2000;
        let cluster = Plan::new(layout).start();
        let mut clients = cluster.clients();
        for (client, members) in clients.iter_mut().zip([0, 1, 4]) {
            for _ in 0..members {
                client.subscribe_in("work", "group");
            }
        }
        introduce_all(&mut clients);
        for number in 0..MESSAGES {
            clients[0].publish("work", number.to_string());
        }
        let counts = counts(&mut clients);
        assert_eq!(counts.iter().sum::<usize>(), MESSAGES, "{counts:?}");
        // Four of five members: 1600 by chance, with a deviation of 18.
        assert!((1450..1750).contains(&counts[2]), "{counts:?}");
    });
}

#[test]
fn members_that_come_and_go_change_the_share_of_their_node() {
    on_each_layout(3, |layout| {
        const MESSAGES: usize = 1000;
        let cluster = Plan::new(layout).start();
        let mut clients = cluster.clients();
        let sids: Vec<_> = (0..3).map(|_| clients[1].subscribe_in("work", "group")).collect();
        clients[2].subscribe_in("work", "group");
        introduce_all(&mut clients);
        for sid in &sids[1..] {
            clients[1].unsubscribe(*sid);
        }
        introduce_all(&mut clients);
        for number in 0..MESSAGES {
            clients[0].publish("work", number.to_string());
        }
        let counts = counts(&mut clients);
        assert_eq!(counts.iter().sum::<usize>(), MESSAGES, "{counts:?}");
        // One of two members: 500 by chance, with a deviation of 16. Of four it would be 750.
        assert!((400..600).contains(&counts[1]), "{counts:?}");
    });
}

#[test]
fn what_was_meant_for_a_member_that_just_left_goes_to_another() {
    on_each_layout(3, |layout| {
        const MESSAGES: usize = 20_000;
        let cluster = Plan::new(layout).start();
        let mut clients = cluster.clients();
        let leaving = clients[1].subscribe_in("work", "group");
        clients[2].subscribe_in("work", "group");
        introduce_all(&mut clients);
        let [publisher, leaver, stayer] = &mut clients[..] else { unreachable!("three clients") };
        // Publishing goes on while the member leaves.
        let taken = std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..MESSAGES / 100 {
                    publisher.send(&publication("work", "", b"x").repeat(100));
                }
                publisher.flush();
            });
            for _ in 0..200 {
                leaver.message();
            }
            leaver.unsubscribe(leaving);
            leaver.flush();
            200 + leaver.take_all().len()
        });
        introduce(publisher, stayer);
        introduce(leaver, stayer);
        let stayed = stayer.take_all().len();
        assert_eq!(taken + stayed, MESSAGES, "{taken} and {stayed}");
        assert!(taken < MESSAGES / 2 + 1000, "the member left too late for this test: {taken}");
    });
}
