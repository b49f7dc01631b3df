//! Under load nothing is lost, doubled, or out of order.

use std::collections::BTreeMap;

use crate::mesh::client::{introduce_all, publication};
use crate::mesh::{Client, Cluster, Plan, on_each_layout};

const EACH: usize = 20_000;

/// One publisher on each node sends numbered messages of changing size, all at once.
fn publish_from_each(publishers: &mut [Client]) {
    std::thread::scope(|scope| {
        for (index, publisher) in publishers.iter_mut().enumerate() {
            scope.spawn(move || publish_numbers(index, publisher));
        }
    });
}

fn publish_numbers(index: usize, publisher: &mut Client) {
    let mut random = fastrand::Rng::with_seed(index as u64);
    let mut number = 0;
    while number < EACH {
        // As applications do: now one message, now a pile.
        let pile = random.usize(1..=200).min(EACH - number);
        let mut bytes = Vec::new();
        for number in number..number + pile {
            let filler = "x".repeat(random.usize(0..300));
            let text = format!("{index} {number} {filler}");
            bytes.extend(publication("load", "", text.as_bytes()));
        }
        publisher.send(&bytes);
        number += pile;
    }
    publisher.flush();
}

/// The publisher and the number in a message.
fn parse(text: &str) -> (usize, usize) {
    let mut words = text.split(' ').map(|word| word.parse().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

/// Every number of every publisher, once and in order.
#[track_caller]
fn expect_all(subscriber: &mut Client, publishers: usize) {
    let mut next = vec![0; publishers];
    for _ in 0..publishers * EACH {
        let (publisher, number) = parse(&subscriber.message().text());
        assert_eq!(number, next[publisher], "of publisher {publisher}");
        next[publisher] += 1;
    }
    assert_eq!(next, vec![EACH; publishers]);
}

fn everybody_hears_everybody(cluster: &Cluster) {
    let nodes = cluster.nodes.len();
    let mut publishers = cluster.clients();
    let mut subscribers = cluster.clients();
    for subscriber in &mut subscribers {
        subscriber.subscribe("load");
    }
    // Introduces every publisher to every subscriber.
    let mut all: Vec<_> = publishers.drain(..).chain(subscribers.drain(..)).collect();
    introduce_all(&mut all);
    let (publishers, subscribers) = all.split_at_mut(nodes);
    std::thread::scope(|scope| {
        for subscriber in subscribers.iter_mut() {
            scope.spawn(move || expect_all(subscriber, nodes));
        }
        publish_from_each(publishers);
    });
    introduce_all(&mut all);
    let more: Vec<_> = all.iter_mut().flat_map(Client::take_all).collect();
    assert_eq!(more, [], "more than was published");
}

#[test]
fn every_subscriber_hears_every_publisher_in_order_and_once() {
    on_each_layout(3, |layout| everybody_hears_everybody(&Plan::new(layout).start()));
}

#[test]
fn every_subscriber_hears_every_publisher_in_order_and_once_through_compression() {
    on_each_layout(3, |layout| {
        everybody_hears_everybody(&Plan::new(layout).cluster("compression: s2_fast").start());
    });
}

#[test]
fn a_queue_group_takes_everything_once_and_each_member_in_order() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        let mut all = cluster.clients();
        all.extend(cluster.clients());
        for member in &mut all[3..] {
            member.subscribe_in("load", "group");
        }
        introduce_all(&mut all);
        publish_from_each(&mut all[..3]);
        introduce_all(&mut all);
        let mut seen = BTreeMap::new();
        for member in &mut all[3..] {
            let mut last = [None; 3];
            for message in member.take_all() {
                let (publisher, number) = parse(&message.text());
                assert!(last[publisher] < Some(number), "out of order: {publisher} {number}");
                last[publisher] = Some(number);
                *seen.entry((publisher, number)).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), 3 * EACH);
        assert!(seen.values().all(|count| *count == 1), "a message came twice");
    });
}
