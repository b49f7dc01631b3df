//! How a mesh comes about, heals, and changes; and what clients are told of it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::mesh::client::introduce_all;
use crate::mesh::{Client, Cluster, Plan, on_each_layout};
use crate::support::{Kind, poll};

#[track_caller]
fn talk(cluster: &Cluster) {
    introduce_all(&mut cluster.clients());
}

/// Where an INFO says that clients may connect, without what is there twice.
fn connect_urls(info: &Value) -> BTreeSet<String> {
    let urls = info["connect_urls"].as_array().into_iter().flatten();
    urls.map(|url| url.as_str().unwrap().to_owned()).collect()
}

/// Waits until a client has been told these nodes and no others.
#[track_caller]
fn await_told(cluster: &Cluster, client: &mut Client, nodes: &[usize]) {
    let wanted: BTreeSet<_> = nodes.iter().map(|node| cluster.client_address(*node)).collect();
    client.await_info(|info| connect_urls(info) == wanted);
}

#[test]
fn a_node_needs_to_know_any_one_member_only() {
    on_each_layout(3, |layout| {
        // A chain: the last one knows a node that itself has just come.
        let plan = Plan::new(layout).each(|index, node| {
            if index == 2 {
                node.routes = vec!["nats://{1}".to_owned()];
            }
        });
        talk(&plan.start());
    });
}

#[test]
fn nodes_that_all_dial_each_other_keep_one_set_of_connections() {
    on_each_layout(3, |layout| {
        let everybody = ["{0}", "{1}", "{2}"].map(|address| format!("nats://{address}"));
        let plan = Plan::new(layout).each(|_, node| node.routes = everybody.to_vec());
        talk(&plan.start());
    });
}

#[test]
fn schemes_and_names_in_route_urls_are_understood() {
    on_each_layout(3, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            let urls = ["", "nats-route://{0}", "nats://localhost:{0.port}/"];
            node.routes = urls[index..=index].iter().map(|url| (*url).to_owned()).collect();
            node.routes.retain(|url| !url.is_empty());
        });
        talk(&plan.start());
    });
}

#[test]
fn a_newcomer_meets_everybody() {
    on_each_layout(4, |layout| {
        let mut plan = Plan::new(layout);
        let newcomer = plan.nodes.pop().unwrap();
        let mut cluster = plan.start();
        let mut old = cluster.clients();
        for client in &mut old {
            client.subscribe("hello");
        }
        cluster.join(newcomer);
        cluster.await_whole();
        // Interest that is older than the newcomer is told to it.
        let mut client = cluster.client(3);
        old.iter_mut().for_each(|old| crate::mesh::introduce(&mut client, old));
        client.publish("hello", "x");
        old.iter_mut().for_each(|old| assert_eq!(old.message().text(), "x"));
    });
}

#[test]
fn a_mesh_is_whole_again_after_any_node_was_killed_and_restarted() {
    on_each_layout(3, |layout| {
        let mut cluster = Plan::new(layout).start();
        for node in 0..3 {
            let id = cluster.varz(node)["server_id"].clone();
            cluster.kill(node);
            cluster.await_whole();
            cluster.restart(node);
            cluster.await_whole();
            assert_ne!(cluster.varz(node)["server_id"], id, "a new process has a new id");
            talk(&cluster);
        }
    });
}

#[test]
fn interest_is_told_again_after_a_restart() {
    on_each_layout(3, |layout| {
        let mut cluster = Plan::new(layout).start();
        for node in [0, 2] {
            let mut subscriber = cluster.client(1);
            let plain = subscriber.subscribe("before");
            let queued = subscriber.subscribe_in("before", "group");
            cluster.kill(node);
            cluster.await_whole();
            // What changes while a node is away must not be there when it comes back.
            let gone = subscriber.subscribe("gone");
            subscriber.flush();
            subscriber.unsubscribe(gone);
            cluster.restart(node);
            cluster.await_whole();
            let mut publisher = cluster.client(node);
            crate::mesh::introduce(&mut publisher, &mut subscriber);
            publisher.publish("before", "x");
            subscriber.message_of(plain);
            subscriber.message_of(queued);
            assert!(publisher.request("gone", "?").is_no_responders());
        }
    });
}

#[test]
fn a_node_that_is_told_to_end_leaves_the_others_whole() {
    on_each_layout(3, |layout| {
        let mut cluster = Plan::new(layout).start();
        cluster.stop(1);
        cluster.await_whole();
        cluster.restart(1);
        cluster.await_whole();
        talk(&cluster);
    });
}

#[test]
fn clients_are_told_where_else_they_may_connect() {
    on_each_layout(3, |layout| {
        let mut plan = Plan::new(layout);
        let newcomer = plan.nodes.pop().unwrap();
        let mut cluster = plan.start();
        let mut clients = [cluster.client(0), cluster.client(1)];
        for client in &mut clients {
            await_told(&cluster, client, &[0, 1]);
        }
        cluster.join(newcomer);
        for client in &mut clients {
            await_told(&cluster, client, &[0, 1, 2]);
        }
        await_told(&cluster, &mut cluster.client(2), &[0, 1, 2]);
        cluster.kill(2);
        for client in &mut clients {
            await_told(&cluster, client, &[0, 1]);
        }
        cluster.restart(2);
        for client in &mut clients {
            await_told(&cluster, client, &[0, 1, 2]);
        }
    });
}

#[test]
fn a_node_may_tell_an_address_of_its_own_choice_to_clients() {
    on_each_layout(2, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            if index == 1 {
                node.top = "client_advertise: \"public.example:4333\"".to_owned();
            }
        });
        let cluster = plan.start();
        let first = cluster.client_address(0);
        for mut client in cluster.clients() {
            let wanted = BTreeSet::from([first.clone(), "public.example:4333".to_owned()]);
            client.await_info(|info| connect_urls(info) == wanted);
        }
    });
}

#[test]
fn a_node_that_does_not_advertise_tells_clients_nothing() {
    on_each_layout(3, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            if index == 1 {
                node.cluster = "no_advertise: true".to_owned();
            }
        });
        let cluster = plan.start();
        let mut clients = cluster.clients();
        // It is not named to others, and names nobody.
        await_told(&cluster, &mut clients[0], &[0, 2]);
        await_told(&cluster, &mut clients[2], &[0, 2]);
        introduce_all(&mut clients);
        assert_eq!(clients[1].info.get("connect_urls"), None, "{}", clients[1].info);
    });
}

#[test]
fn a_server_that_was_ended_in_order_is_not_missed_and_may_come_back() {
    on_each_layout(3, |layout| {
        let mut cluster = Plan::new(layout).start();
        cluster.stop(2);
        for node in [0, 1] {
            let is_content = || {
                let routez = cluster.routez(node);
                // Of nats-server nobody knows what it misses.
                let missing = routez.get("missing_links").is_none_or(|missing| *missing == 0);
                (missing && cluster.links(node).len() == 1).then_some(())
            };
            assert!(poll(is_content).is_some(), "{node}: {}", cluster.routez(node));
        }
        cluster.restart(2);
        cluster.await_whole();
    });
}

#[test]
fn a_server_that_was_ended_in_order_is_found_again_also_without_those_who_told_of_it() {
    on_each_layout(3, |layout| {
        if layout.0[2] == Kind::Real {
            // nats-server does not remember whom it only heard of.
            return;
        }
        let mut cluster = Plan::new(layout).start();
        cluster.kill(0);
        cluster.stop(1);
        cluster.restart(1);
        assert!(poll(|| cluster.links(1).contains_key("c").then_some(())).is_some());
    });
}

#[test]
fn a_lame_duck_is_no_longer_recommended_and_still_carries_messages() {
    on_each_layout(3, |layout| {
        let plan =
            Plan::new(layout).top("lame_duck_grace_period: \"10s\"\nlame_duck_duration: \"30s\"");
        let cluster = plan.start();
        let mut clients = cluster.clients();
        clients.iter_mut().for_each(|client| await_told(&cluster, client, &[0, 1, 2]));
        clients[0].subscribe("still");
        clients[1].subscribe("still");
        cluster.nodes[1].signal("USR2");
        await_told(&cluster, &mut clients[0], &[0, 2]);
        await_told(&cluster, &mut clients[2], &[0, 2]);
        let own = cluster.client_address(1);
        clients[1].await_info(|info| {
            let urls = info["connect_urls"].as_array().expect("where else to go");
            info["ldm"] == true && urls.len() == 2 && urls.iter().all(|url| *url != *own)
        });
        introduce_all(&mut clients);
        clients[2].publish("still", "here");
        assert_eq!(clients[1].message().text(), "here");
        clients[1].publish("still", "too");
        // There is no order between publishers.
        let mut heard = clients[0].messages(2);
        heard.sort_by_key(|message| message.text());
        assert_eq!(heard.iter().map(|message| message.text()).collect::<Vec<_>>(), ["here", "too"]);
    });
}

#[test]
fn a_lame_duck_keeps_its_routes_until_its_last_client_is_gone() {
    on_each_layout(2, |layout| {
        let plan =
            Plan::new(layout).top("lame_duck_grace_period: \"1s\"\nlame_duck_duration: \"30s\"");
        let mut cluster = plan.start();
        let _clients = [0, 1, 2].map(|_| cluster.client(1));
        cluster.nodes[1].signal("USR2");
        cluster.nodes[1].await_log("Initiating Shutdown...");
        let log = cluster.nodes[1].log();
        cluster.nodes[1].wait_exit();
        let (_, closing) = log.split_once("Closing existing clients").expect("it has clients");
        let (closing, _) = closing.split_once("Initiating Shutdown...").expect("it stops then");
        assert!(!closing.contains("Router connection closed"), "{closing}");
    });
}

#[test]
fn a_lame_duck_without_clients_ends_at_once() {
    on_each_layout(2, |layout| {
        let mut cluster = Plan::new(layout).start();
        cluster.nodes[1].signal("USR2");
        cluster.nodes[1].wait_exit();
        cluster.await_whole();
    });
}

#[test]
fn routes_that_a_reload_adds_and_removes_come_and_go() {
    on_each_layout(3, |layout| {
        // The third node is alone at first.
        let mut plan = Plan::new(layout);
        plan.nodes[2].routes.clear();
        let mut cluster = plan.launch();
        cluster.await_links(&[(2, [].into()), (1, [("a".to_owned(), 4)].into())]);
        cluster.reload(2, |node| node.routes = vec!["nats://{1}".to_owned()]);
        cluster.await_whole();
        talk(&cluster);
    });
}

#[test]
fn monitoring_tells_of_every_connection() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).start();
        talk(&cluster);
        let ids: Vec<_> = (0..3).map(|node| cluster.varz(node)["server_id"].clone()).collect();
        for node in 0..3 {
            let routez = cluster.routez(node);
            assert_eq!(routez["server_id"], ids[node]);
            assert_eq!(routez["server_name"], cluster.nodes[node].plan.name);
            assert_eq!(routez["num_routes"], 8);
            for route in routez["routes"].as_array().unwrap() {
                check_route(route, &ids);
            }
            // Who dials is at one end only.
            let varz = cluster.varz(node);
            assert_eq!(varz["routes"], 8);
            assert_eq!(varz["remotes"], 2);
            assert_eq!(varz["cluster"]["name"], "mesh");
            assert_eq!(varz["cluster"]["cluster_port"], cluster.nodes[node].ports.cluster.number);
            assert_eq!(varz["cluster"]["pool_size"], 3);
        }
        let urls = cluster.varz(2)["cluster"]["urls"].clone();
        assert_eq!(urls, serde_json::json!([cluster.route_address(0)]));
    });
}

#[track_caller]
fn check_route(route: &Value, ids: &[Value]) {
    assert!(ids.contains(&route["remote_id"]), "{route}");
    for flag in ["did_solicit", "is_configured"] {
        assert!(route[flag].is_boolean(), "{flag} in {route}");
    }
    for text in ["remote_name", "ip", "start", "last_activity", "uptime", "idle", "compression"] {
        assert!(route[text].is_string(), "{text} in {route}");
    }
    let numbers = [
        "rid",
        "port",
        "pending_size",
        "in_msgs",
        "out_msgs",
        "in_bytes",
        "out_bytes",
        "subscriptions",
    ];
    for number in numbers {
        assert!(route[number].is_u64(), "{number} in {route}");
    }
}

#[test]
fn round_trips_of_routes_are_measured() {
    on_each_layout(2, |layout| {
        let cluster = Plan::new(layout).cluster("ping_interval: \"1s\"").start();
        for node in 0..2 {
            let measured = poll(|| {
                let routez = cluster.routez(node);
                let routes = routez["routes"].as_array().unwrap();
                routes.iter().all(|route| route["rtt"].is_string()).then_some(())
            });
            assert!(measured.is_some(), "{}", cluster.routez(node));
        }
    });
}
