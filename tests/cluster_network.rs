//! Clusters on bad networks: long, stuck and dead wires, cut cables, narrow links, private
//! addresses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mesh;
#[path = "cluster_network/short_breaks.rs"]
mod short_breaks;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::client::{introduce_all, publication};
use mesh::layout::{layouts, on_each};
use mesh::node::Home;
use mesh::relay::{Flow, Relay, Way};
use mesh::space::{Cable, Space, Switch, available};
use mesh::{Cluster, Layout, Plan, introduce, on_each_layout};
use support::{Kind, poll};

/// A node notices within about two seconds that nobody answers.
const IMPATIENT: &str = "ping_interval: \"1s\"\nping_max: 1";

/// Two nodes, of which the second dials the first through a relay, which leads there already.
fn with_relay(layout: &Layout, cluster_lines: &str) -> (Cluster, Relay) {
    let relay = Relay::new();
    let plan = Plan::new(layout).cluster(cluster_lines);
    let plan = plan.each(|index, node| {
        if index == 1 {
            node.routes = vec![format!("nats://{}", relay.address)];
        }
    });
    let cluster = plan.launch();
    relay.lead_to(cluster.route_address(0));
    cluster.await_whole();
    (cluster, relay)
}

/// Waits until every route of both nodes shows this compression.
#[track_caller]
fn await_compression(cluster: &Cluster, level: &str) {
    let shown = |node| {
        let routez = cluster.routez(node);
        let routes = routez["routes"].as_array().unwrap().iter();
        routes.map(|route| route["compression"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let settled =
        poll(|| [0, 1].into_iter().flat_map(shown).all(|shown| shown == level).then_some(()));
    assert!(settled.is_some(), "wanted {level}, have {:?} and {:?}", shown(0), shown(1));
}

#[test]
fn automatic_compression_follows_the_length_of_the_way() {
    on_each_layout(2, |layout| {
        let (cluster, relay) =
            with_relay(layout, "compression: s2_auto\nping_interval: \"500ms\"\nping_max: 20");
        let levels = [
            (0, "s2_uncompressed"),
            (30, "s2_fast"),
            (75, "s2_better"),
            (150, "s2_best"),
            (30, "s2_fast"),
            (0, "s2_uncompressed"),
        ];
        for (milliseconds, level) in levels {
            relay.set_round_trip(Duration::from_millis(milliseconds));
            await_compression(&cluster, level);
            introduce_all(&mut cluster.clients());
        }
    });
}

#[test]
fn thresholds_of_automatic_compression_are_those_configured() {
    on_each_layout(2, |layout| {
        let mode = "compression: { mode: s2_auto, rtt_thresholds: [\"0ms\", \"60ms\", \"120ms\"] }\n\
            ping_interval: \"500ms\"\nping_max: 20";
        let (cluster, relay) = with_relay(layout, mode);
        for (milliseconds, level) in [(0, "s2_fast"), (90, "s2_better"), (200, "s2_best")] {
            relay.set_round_trip(Duration::from_millis(milliseconds));
            await_compression(&cluster, level);
        }
    });
}

/// How the connection that has carried most is compressed.
fn busiest_compression(cluster: &Cluster, node: usize) -> String {
    let routez = cluster.routez(node);
    let routes = routez["routes"].as_array().unwrap().iter();
    let busiest = routes.max_by_key(|route| route["out_bytes"].as_u64()).unwrap();
    busiest["compression"].as_str().unwrap().to_owned()
}

#[test]
fn automatic_compression_gives_up_what_does_not_compress_and_takes_up_what_does() {
    // nats-server looks at the round trip alone; it may stand at the other end.
    let layouts: Vec<_> =
        layouts(2).into_iter().filter(|layout| layout.0[0] != Kind::Real).collect();
    on_each(&layouts, |layout| {
        let (cluster, relay) =
            with_relay(layout, "compression: s2_auto\nping_interval: \"500ms\"\nping_max: 20");
        relay.set_round_trip(Duration::from_millis(50));
        let (mut publisher, mut subscriber) = (cluster.client(0), cluster.client(1));
        subscriber.subscribe("bulk");
        introduce(&mut publisher, &mut subscriber);
        let mut random = fastrand::Rng::with_seed(11);
        // One at a time: twice the same noise would compress.
        let noise: Vec<u8> = (0..400_000).map(|_| random.u8(..)).collect();
        let text = "{\"name\":\"Ringmesh\",\"kind\":\"broker\"}\n".repeat(10_000).into_bytes();
        await_compression(&cluster, "s2_better");
        for (body, level) in [(&noise, "s2_uncompressed"), (&text, "s2_better")] {
            let settled = poll(|| {
                publisher.publish("bulk", body);
                assert!(subscriber.message().payload == **body, "{layout}: a body differs");
                (busiest_compression(&cluster, 0) == level).then_some(())
            });
            let shown = busiest_compression(&cluster, 0);
            assert!(settled.is_some(), "{layout}: wanted {level}, have {shown}");
        }
    });
}

#[test]
fn a_pong_may_wait_until_the_whole_cluster_knows_a_subscription() {
    // Ringmesh's own option: the real server has none like it.
    let layouts: Vec<_> = layouts(2)
        .into_iter()
        .filter(|layout| layout.0.iter().all(|kind| *kind != Kind::Real))
        .collect();
    on_each(&layouts, |layout| {
        let relay = Relay::new();
        let cluster = Plan::new(layout)
            .top("sub_barrier: cluster")
            .each(|index, node| {
                if index == 1 {
                    node.routes = vec![format!("nats://{}", relay.address)];
                }
            })
            .launch();
        relay.lead_to(cluster.route_address(0));
        cluster.await_whole();
        relay.set_round_trip(Duration::from_millis(40));
        let (mut near, mut far) = (cluster.client(0), cluster.client(1));
        for number in 0..10 {
            let subject = format!("fresh.{number}");
            let sid = far.subscribe(&subject);
            far.flush();
            near.publish(&subject, number.to_string());
            near.flush();
            assert_eq!(far.message_of(sid).text(), number.to_string());
            far.unsubscribe(sid);
            far.flush();
            assert!(near.request(&subject, "?").is_no_responders(), "{layout}");
        }
    });
}

#[test]
fn a_long_way_changes_no_order_and_loses_nothing() {
    on_each_layout(2, |layout| {
        const MESSAGES: usize = 20_000;
        let (cluster, relay) = with_relay(layout, "");
        relay.set_round_trip(Duration::from_millis(100));
        let mut clients = cluster.clients();
        let sid = clients[0].subscribe("far");
        introduce_all(&mut clients);
        let [near, far] = &mut clients[..] else { unreachable!("two clients") };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..MESSAGES {
                    far.publish("far", number.to_string());
                }
            });
            for number in 0..MESSAGES {
                assert_eq!(near.message_of(sid).text(), number.to_string());
            }
        });
    });
}

#[test]
fn a_route_that_takes_nothing_is_closed_and_comes_back() {
    on_each_layout(2, |layout| {
        let (cluster, relay) = with_relay(layout, "write_deadline: \"2s\"");
        let mut publisher = cluster.client(0);
        let (mut near, mut far) = (cluster.client(0), cluster.client(1));
        near.subscribe("bulk");
        far.subscribe("bulk");
        introduce(&mut publisher, &mut near);
        introduce(&mut publisher, &mut far);
        relay.set_flow(Way::Back, Flow::Stall);
        // More than all buffers on the way take together.
        let body = vec![b'x'; 500_000];
        let mut sent = 0;
        let closed = poll(|| {
            if sent < 100 {
                publisher.publish("bulk", &body);
                // Who keeps up is served while the route is stuck.
                assert_eq!(near.message().payload.len(), body.len());
                sent += 1;
            }
            (cluster.links(0).get("b") == Some(&3)).then_some(())
        });
        assert!(closed.is_some(), "the route stays open: {:?}", cluster.links(0));
        assert!(cluster.nodes[0].log().contains("Slow Consumer"), "the reason is not logged");
        relay.set_flow(Way::Back, Flow::Pass);
        cluster.await_whole();
        introduce_all(&mut cluster.clients());
    });
}

#[test]
fn a_route_whose_peer_says_nothing_is_closed_and_comes_back() {
    on_each_layout(2, |layout| {
        let (cluster, relay) = with_relay(layout, IMPATIENT);
        for way in [Way::Out, Way::Back] {
            relay.set_flow(way, Flow::Lose);
        }
        for node in 0..2 {
            let alone = poll(|| cluster.links(node).is_empty().then_some(()));
            assert!(alone.is_some(), "node {node} still has {:?}", cluster.links(node));
        }
        // Who notices first closes, and the other one sees that.
        let told = cluster.nodes.iter().any(|node| node.log().contains("Stale Connection"));
        assert!(told, "the reason is not logged");
        for way in [Way::Out, Way::Back] {
            relay.set_flow(way, Flow::Pass);
        }
        cluster.await_whole();
        introduce_all(&mut cluster.clients());
    });
}

#[test]
fn a_route_that_is_deaf_in_one_direction_is_closed_and_comes_back() {
    on_each_layout(2, |layout| {
        for way in [Way::Out, Way::Back] {
            let (cluster, relay) = with_relay(layout, IMPATIENT);
            relay.set_flow(way, Flow::Lose);
            let alone =
                poll(|| (cluster.links(0).is_empty() && cluster.links(1).is_empty()).then_some(()));
            assert!(alone.is_some(), "{:?} {:?}", cluster.links(0), cluster.links(1));
            relay.set_flow(way, Flow::Pass);
            cluster.await_whole();
            introduce_all(&mut cluster.clients());
        }
    });
}

/// Each node in a network of its own, all on one switch.
fn on_a_switch(layout: &Layout, lines: &str) -> (Plan, Switch) {
    let switch = Switch::new(layout.0.len());
    let plan = Plan::new(layout).cluster(lines).each(|index, node| {
        let space = std::sync::Arc::clone(&switch.spaces[index]);
        node.home = Some(Home { space, address: Switch::address(index) });
    });
    (plan, switch)
}

#[test]
fn a_cut_cable_parts_the_mesh_and_a_healed_one_joins_it() {
    if !available("a cut cable") {
        return;
    }
    on_each_layout(3, |layout| {
        let (plan, switch) = on_a_switch(layout, IMPATIENT);
        // Routes learned by gossip are dialled once only, so those that must heal are configured.
        let everybody = ["{0}", "{1}", "{2}"].map(|address| format!("nats://{address}"));
        let cluster = plan.each(|_, node| node.routes = everybody.to_vec()).start();
        let mut clients = cluster.clients();
        clients[2].subscribe("news");
        introduce_all(&mut clients);
        for cut in [2, 0] {
            switch.cables[cut].cut();
            let others: Vec<_> = (0..3).filter(|node| *node != cut).collect();
            let name = |node: usize| cluster.nodes[node].plan.name.clone();
            let pair = |one: usize, other: usize| (one, BTreeMap::from([(name(other), 4)]));
            cluster.await_links(&[
                (cut, BTreeMap::new()),
                pair(others[0], others[1]),
                pair(others[1], others[0]),
            ]);
            // Those that still see each other go on.
            introduce_all(&mut others.iter().map(|node| cluster.client(*node)).collect::<Vec<_>>());
            switch.cables[cut].heal();
            cluster.await_whole();
            introduce_all(&mut clients);
        }
        clients[0].publish("news", "healed");
        assert_eq!(clients[2].message().text(), "healed");
    });
}

#[test]
fn a_narrow_link_that_moves_is_not_taken_for_a_stuck_one() {
    if !available("a narrow link") {
        return;
    }
    on_each_layout(2, |layout| {
        // 12 MB take some five seconds at 20 Mbit/s: several deadlines, each with progress.
        const MESSAGES: usize = 120;
        let (plan, switch) = on_a_switch(layout, "write_deadline: \"1s\"");
        if !switch.cables[0].limit(20) {
            return;
        }
        let cluster = plan.start();
        let (mut publisher, mut subscriber) = (cluster.client(0), cluster.client(1));
        subscriber.subscribe("bulk");
        introduce(&mut publisher, &mut subscriber);
        let mut random = fastrand::Rng::with_seed(3);
        let body: Vec<u8> = (0..100_000).map(|_| random.u8(..)).collect();
        publisher.send(&publication("bulk", "", &body).repeat(MESSAGES));
        for number in 0..MESSAGES {
            assert!(subscriber.message().payload == body, "message {number} differs");
        }
        cluster.await_whole();
        let log = cluster.nodes[0].log();
        assert!(!log.contains("Router connection closed: Slow"), "the route was closed");
    });
}

#[test]
fn a_node_behind_address_translation_is_reached_where_it_says() {
    if !available("an address behind NAT") {
        return;
    }
    on_each_layout(3, |layout| {
        // The last node lives in a private network behind a router that translates addresses.
        let (plan, switch) = on_a_switch(&Layout(layout.0[..2].to_vec()), "");
        let (router, private) = (&switch.spaces[0], Space::new());
        let _cable = Cable::new(router, "10.98.0.1", &private, "10.98.0.2");
        let inwards = Relay::between(router, &Switch::address(0), router);
        let outwards = Relay::between(router, "10.98.0.1", router);
        let mut cluster = plan.start();
        outwards.lead_to(cluster.route_address(0));
        let mut hidden = Plan::new(layout).nodes.pop().unwrap();
        hidden.home = Some(Home { space: private, address: "10.98.0.2".to_owned() });
        hidden.routes = vec![format!("nats://{}", outwards.address)];
        hidden.cluster = format!("advertise: \"{}\"", inwards.address);
        let hidden = cluster.join(hidden);
        inwards.lead_to(cluster.route_address(hidden));
        // The second node hears of the hidden one by gossip, and dials what was advertised.
        cluster.await_whole();
        introduce_all(&mut cluster.clients());
    });
}
