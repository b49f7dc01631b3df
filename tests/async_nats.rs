//! async-nats, the Rust client, as applications use it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, RequestErrorKind};
use futures_util::StreamExt;
use futures_util::future::join_all;
use support::{Broker, Kind, LIMIT};

#[tokio::test]
async fn async_nats_works_with_the_real_server() {
    everything(Kind::Real).await;
}

#[tokio::test]
async fn async_nats_works_with_one_shard() {
    everything(Kind::Ours { shards: 1 }).await;
}

#[tokio::test]
async fn async_nats_works_with_two_shards() {
    everything(Kind::Ours { shards: 2 }).await;
}

#[tokio::test]
async fn async_nats_works_with_four_shards() {
    everything(Kind::Ours { shards: 4 }).await;
}

async fn everything(kind: Kind) {
    let broker = Broker::start(kind, &[] as &[&str]);
    messages_arrive_in_order(&broker).await;
    requests_are_answered(&broker).await;
    a_request_that_nobody_hears_fails_at_once(&broker).await;
    a_queue_group_delivers_each_message_to_one_member(&broker).await;
    headers_arrive(&broker).await;
    large_messages_arrive_whole(&broker).await;
    many_subscriptions_live_on_one_connection(&broker).await;
    a_subscription_ends_after_its_maximum(&broker).await;
    draining_loses_nothing(&broker).await;
    the_server_tells_its_limits(&broker).await;
    clients_come_back_after_a_restart(kind).await;
    credentials_open_and_close_the_door(kind).await;
    a_lame_duck_tells_its_clients(kind).await;
}

async fn messages_arrive_in_order(broker: &Broker) {
    let (publisher, subscriber) = (connect(broker).await, connect(broker).await);
    let mut subscription = subscriber.subscribe("order.*").await.unwrap();
    introduce(&publisher, &subscriber).await;
    publish_numbers(&publisher, "order.eu", 2000).await;
    assert_eq!(numbers(&mut subscription, 2000).await, (0..2000).collect::<Vec<_>>());
}

async fn requests_are_answered(broker: &Broker) {
    let (server, client) = (connect(broker).await, connect(broker).await);
    let mut asked = server.queue_subscribe("ask", "workers".to_owned()).await.unwrap();
    introduce(&client, &server).await;
    let answering = tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            server.publish(message.reply.unwrap(), message.payload).await.unwrap();
        }
    });
    let ask = |number: usize| client.request("ask", number.to_string().into());
    for number in 0..200 {
        assert_eq!(within(ask(number)).await.unwrap().payload, number.to_string());
    }
    let replies = within(join_all((0..200).map(ask))).await;
    for (number, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.unwrap().payload, number.to_string());
    }
    answering.abort();
}

async fn a_request_that_nobody_hears_fails_at_once(broker: &Broker) {
    let client = connect(broker).await;
    let error = within(client.request("nobody", "?".into())).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NoResponders);
}

async fn a_queue_group_delivers_each_message_to_one_member(broker: &Broker) {
    const MESSAGES: usize = 300;
    let publisher = connect(broker).await;
    let (told, mut received) = tokio::sync::mpsc::unbounded_channel();
    let mut members = Vec::new();
    for index in 0..4 {
        let member = connect(broker).await;
        let mut queue = member.queue_subscribe("work", "group".to_owned()).await.unwrap();
        introduce(&publisher, &member).await;
        let told = told.clone();
        let counting = tokio::spawn(async move {
            while let Some(message) = queue.next().await {
                told.send((index, number(&message))).unwrap();
            }
        });
        members.push((member, counting));
    }
    publish_numbers(&publisher, "work", MESSAGES).await;
    let mut messages = Vec::new();
    let mut counts = [0; 4];
    for _ in 0..MESSAGES {
        let (index, number) = within(received.recv()).await.unwrap();
        counts[index] += 1;
        messages.push(number);
    }
    messages.sort_unstable();
    assert_eq!(messages, (0..MESSAGES).collect::<Vec<_>>());
    assert!(counts.iter().all(|&count| count > 0), "a member got nothing: {counts:?}");
}

async fn headers_arrive(broker: &Broker) {
    let client = connect(broker).await;
    let mut subscription = client.subscribe("headed").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.append("Key", "one");
    headers.append("Key", "two");
    client.publish_with_headers("headed", headers.clone(), "body".into()).await.unwrap();
    let message = within(subscription.next()).await.unwrap();
    assert_eq!(message.headers, Some(headers));
    assert_eq!(message.payload, "body");
}

async fn large_messages_arrive_whole(broker: &Broker) {
    const SIZE: usize = 1024 * 1024;
    let (publisher, subscriber) = (connect(broker).await, connect(broker).await);
    let mut subscription = subscriber.subscribe("large").await.unwrap();
    introduce(&publisher, &subscriber).await;
    for fill in b'a'..=b'h' {
        publisher.publish("large", vec![fill; SIZE].into()).await.unwrap();
    }
    for fill in b'a'..=b'h' {
        let message = within(subscription.next()).await.unwrap();
        assert!(message.payload.len() == SIZE && message.payload.iter().all(|&b| b == fill));
    }
}

async fn many_subscriptions_live_on_one_connection(broker: &Broker) {
    const COUNT: usize = 2000;
    let client = connect(broker).await;
    let mut subscriptions = Vec::new();
    for number in 0..COUNT {
        subscriptions.push(client.subscribe(format!("many.{number}")).await.unwrap());
    }
    for number in 0..COUNT {
        client.publish(format!("many.{number}"), number.to_string().into()).await.unwrap();
    }
    for (number, subscription) in subscriptions.iter_mut().enumerate() {
        assert_eq!(numbers(subscription, 1).await, [number]);
    }
}

async fn a_subscription_ends_after_its_maximum(broker: &Broker) {
    let client = connect(broker).await;
    let mut subscription = client.subscribe("few").await.unwrap();
    subscription.unsubscribe_after(3).await.unwrap();
    publish_numbers(&client, "few", 5).await;
    assert_eq!(numbers(&mut subscription, 3).await, [0, 1, 2]);
    assert!(within(subscription.next()).await.is_none());
}

async fn draining_loses_nothing(broker: &Broker) {
    let (publisher, subscriber) = (connect(broker).await, connect(broker).await);
    let mut subscription = subscriber.subscribe("drained").await.unwrap();
    introduce(&publisher, &subscriber).await;
    publish_numbers(&publisher, "drained", 500).await;
    introduce(&publisher, &subscriber).await;
    subscriber.drain().await.unwrap();
    assert_eq!(numbers(&mut subscription, 500).await, (0..500).collect::<Vec<_>>());
    assert!(within(subscription.next()).await.is_none());
}

async fn the_server_tells_its_limits(broker: &Broker) {
    let client = connect(broker).await;
    let info = client.server_info();
    assert_eq!(info.version, "2.15.1");
    assert_eq!(info.max_payload, 1024 * 1024);
    assert!(info.headers && !info.auth_required);
    assert!(client.is_server_compatible(2, 15, 0));
    assert!(client.publish("too.large", vec![0; 1024 * 1024 + 1].into()).await.is_err());
}

async fn clients_come_back_after_a_restart(kind: Kind) {
    let mut broker = Broker::start(kind, &[] as &[&str]);
    let port = i32::from(broker.port);
    let (options, mut events) = with_events(ConnectOptions::new());
    let client = options
        .reconnect_delay_callback(|_| Duration::from_millis(20))
        .connect(broker.url())
        .await
        .unwrap();
    let mut subscription = client.subscribe("still.here").await.unwrap();
    client.flush().await.unwrap();
    await_event(&mut events, &Event::Connected).await;
    broker.kill();
    await_event(&mut events, &Event::Disconnected).await;
    let _broker = Broker::start_on(kind, port, &[] as &[&str]);
    await_event(&mut events, &Event::Connected).await;
    barrier(&client).await;
    client.publish("still.here", "7".into()).await.unwrap();
    assert_eq!(numbers(&mut subscription, 1).await, [7]);
}

async fn credentials_open_and_close_the_door(kind: Kind) {
    let broker = Broker::start(kind, &["--user", "ann", "--pass", "secret"]);
    let with = |password: &str| {
        ConnectOptions::with_user_and_password("ann".to_owned(), password.to_owned())
    };
    let client = within(with("secret").connect(broker.url())).await.unwrap();
    barrier(&client).await;
    for options in [with("wrong"), ConnectOptions::new(), with("")] {
        let error = within(options.connect(broker.url())).await.unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::AuthorizationViolation, "{kind}");
    }
}

async fn a_lame_duck_tells_its_clients(kind: Kind) {
    let broker = Broker::start(kind, &[] as &[&str]);
    let (options, mut events) = with_events(ConnectOptions::new());
    let client = options.connect(broker.url()).await.unwrap();
    barrier(&client).await;
    broker.signal("USR2");
    await_event(&mut events, &Event::LameDuckMode).await;
    barrier(&client).await;
}

async fn connect(broker: &Broker) -> Client {
    within(async_nats::connect(broker.url())).await.unwrap()
}

type Events = tokio::sync::mpsc::UnboundedReceiver<Event>;

fn with_events(options: ConnectOptions) -> (ConnectOptions, Events) {
    let (told, events) = tokio::sync::mpsc::unbounded_channel();
    let options = options.event_callback(move |event| {
        let _ = told.send(event);
        async {}
    });
    (options, events)
}

async fn await_event(events: &mut Events, wanted: &Event) {
    while within(events.recv()).await.as_ref() != Some(wanted) {}
}

/// Comes back when the publisher's messages reach the subscriber: all that the subscriber has
/// subscribed to is live there, and all that the publisher has published before stands in its queue.
///
/// The library has no PING to wait for, so a message of its own kind takes the same way.
async fn introduce(publisher: &Client, subscriber: &Client) {
    let inbox = subscriber.new_inbox();
    let mut subscription = subscriber.subscribe(inbox.clone()).await.unwrap();
    subscriber.flush().await.unwrap();
    let arrives = async {
        loop {
            publisher.publish(inbox.clone(), "".into()).await.unwrap();
            publisher.flush().await.unwrap();
            let patience = Duration::from_millis(20);
            if let Ok(Some(_)) = tokio::time::timeout(patience, subscription.next()).await {
                return;
            }
        }
    };
    within(arrives).await;
}

/// Comes back when the server has answered: a message to oneself.
async fn barrier(client: &Client) {
    let inbox = client.new_inbox();
    let mut subscription = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    within(subscription.next()).await.unwrap();
}

async fn publish_numbers(client: &Client, subject: &'static str, count: usize) {
    for number in 0..count {
        client.publish(subject, number.to_string().into()).await.unwrap();
    }
    client.flush().await.unwrap();
}

async fn numbers(subscription: &mut async_nats::Subscriber, count: usize) -> Vec<usize> {
    let mut received = Vec::new();
    for _ in 0..count {
        received.push(number(&within(subscription.next()).await.unwrap()));
    }
    received
}

fn number(message: &async_nats::Message) -> usize {
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}

/// What must happen, but must not hold the test forever.
#[track_caller]
fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let answer = tokio::time::timeout(LIMIT, future).await;
        answer.unwrap_or_else(|_| panic!("nothing has come at {place}"))
    }
}
