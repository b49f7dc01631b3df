//! Who is let into a cluster: passwords, certificates, names.

use std::collections::BTreeMap;

use crate::mesh::certificates::Authority;
use crate::mesh::client::introduce_all;
use crate::mesh::{Cluster, Plan, on_each_layout};
use crate::support::poll;

/// A hash of `secret` at the lowest cost there is.
fn hashed(secret: &str) -> String {
    bcrypt::hash(secret, 4).unwrap()
}

/// Everybody hears everybody, so the routes do not merely exist.
#[track_caller]
fn talk(cluster: &Cluster) {
    introduce_all(&mut cluster.clients());
}

/// The stranger has been told so, and neither side has a connection.
#[track_caller]
fn await_refused(cluster: &Cluster, at_home: &str, at_the_stranger: &str) {
    let stranger = cluster.nodes.len() - 1;
    cluster.nodes[0].await_log(at_home);
    cluster.nodes[stranger].await_log(at_the_stranger);
    cluster.await_links(&[(0, links(&[("b", 4)])), (stranger, links(&[]))]);
}

fn links(links: &[(&str, usize)]) -> BTreeMap<String, usize> {
    links.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn authorization(password: &str) -> String {
    format!("authorization {{ user: route, password: {password:?}, timeout: 5 }}")
}

/// The last node dials the first one with this user and password.
fn dialling_with(plan: Plan, userinfo: &str) -> Plan {
    plan.each(|_, node| {
        for route in &mut node.routes {
            *route = route.replace("nats://", &format!("nats://{userinfo}@"));
        }
    })
}

#[test]
fn routes_with_passwords_form_a_cluster() {
    on_each_layout(3, |layout| {
        let plan = Plan::new(layout).cluster(&authorization("s3cret"));
        talk(&dialling_with(plan, "route:s3cret").start());
    });
}

#[test]
fn the_accepting_side_may_keep_a_hash_only() {
    on_each_layout(3, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            // Who dials by gossip says its own password, so that must not be a hash.
            let password = if index == 0 { hashed("s3cret") } else { "s3cret".to_owned() };
            node.cluster = authorization(&password);
        });
        talk(&dialling_with(plan, "route:s3cret").start());
    });
}

#[test]
fn both_spellings_of_route_credentials_are_the_same() {
    on_each_layout(2, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            node.cluster = [
                "authorization { username: route, pass: s3cret }",
                "authorization { user: route, password: s3cret }",
            ][index]
                .to_owned();
        });
        talk(&dialling_with(plan, "route:s3cret").start());
    });
}

#[test]
fn wrong_passwords_are_refused_and_logged() {
    on_each_layout(3, |layout| {
        for wrong in ["route:no", "nobody:s3cret", ""] {
            let plan = Plan::new(layout).cluster(&authorization("s3cret"));
            let plan = dialling_with(plan, "route:s3cret").each(|index, node| {
                let userinfo = if wrong.is_empty() { String::new() } else { format!("{wrong}@") };
                if index == 2 {
                    node.routes = vec![format!("nats://{userinfo}{{0}}")];
                }
            });
            let cluster = plan.launch();
            await_refused(&cluster, "authentication error", "Authorization Violation");
        }
    });
}

#[test]
fn the_hash_itself_is_no_password() {
    on_each_layout(2, |layout| {
        let hash = hashed("s3cret");
        let plan = Plan::new(layout).cluster(&authorization(&hash)).each(|index, node| {
            if index == 1 {
                let hash = hash.replace('$', "%24").replace('/', "%2F");
                node.routes = vec![format!("nats://route:{hash}@{{0}}")];
            }
        });
        let cluster = plan.launch();
        cluster.nodes[1].await_log("Authorization Violation");
        cluster.await_links(&[(0, links(&[])), (1, links(&[]))]);
    });
}

#[test]
fn routes_with_tls_form_a_cluster() {
    on_each_layout(3, |layout| {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "authority");
        let plan = Plan::new(layout).each(|_, node| {
            let hosts = ["127.0.0.1", "localhost"];
            node.cluster = authority.tls(dir.path(), &node.name, &hosts);
        });
        let cluster = plan.start();
        talk(&cluster);
        assert_eq!(cluster.varz(0)["cluster"]["tls_required"], true);
        assert_eq!(cluster.varz(0)["cluster"]["tls_verify"], true);
    });
}

#[test]
fn tls_passwords_and_compression_go_together() {
    on_each_layout(3, |layout| {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "authority");
        let plan = Plan::new(layout).each(|_, node| {
            let tls = authority.tls(dir.path(), &node.name, &["localhost"]);
            node.cluster = [&tls, &authorization("s3cret"), "compression: s2_fast"].join("\n");
        });
        // The certificates name a host and no address. Dials by gossip know addresses only, and
        // take the name from the configured routes.
        let plan = plan.each(|index, node| {
            if index > 0 {
                node.routes = vec!["nats://route:s3cret@localhost:{0.port}".to_owned()];
            }
        });
        talk(&plan.start());
    });
}

#[test]
fn certificates_of_strangers_are_refused_and_logged() {
    on_each_layout(3, |layout| {
        let dir = tempfile::tempdir().unwrap();
        let ours = Authority::new(dir.path(), "ours");
        let theirs = Authority::new(dir.path(), "theirs");
        let plan = Plan::new(layout).each(|index, node| {
            let authority = if index == 2 { &theirs } else { &ours };
            node.cluster = authority.tls(dir.path(), &node.name, &["127.0.0.1"]);
        });
        let cluster = plan.launch();
        await_refused(&cluster, "TLS route handshake error", "TLS route handshake error");
    });
}

#[test]
fn certificates_for_another_host_are_refused_and_logged() {
    on_each_layout(2, |layout| {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "authority");
        let plan = Plan::new(layout).each(|_, node| {
            node.cluster = authority.tls(dir.path(), &node.name, &["elsewhere.example"]);
        });
        let cluster = plan.launch();
        cluster.nodes[1].await_log("TLS route handshake error");
        cluster.await_links(&[(0, links(&[])), (1, links(&[]))]);
    });
}

#[test]
fn a_node_without_tls_does_not_get_in() {
    on_each_layout(3, |layout| {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "authority");
        let plan = Plan::new(layout).each(|index, node| {
            if index < 2 {
                node.cluster = authority.tls(dir.path(), &node.name, &["127.0.0.1"]);
            }
        });
        let cluster = plan.launch();
        await_refused(&cluster, "TLS route handshake error", "Router connection closed");
    });
}

#[test]
fn a_node_of_another_cluster_is_refused_and_logged() {
    on_each_layout(3, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            if index == 2 {
                node.cluster_name = Some("other".to_owned());
            }
        });
        let cluster = plan.launch();
        let refused = "cluster name \"other\" does not match \"mesh\"";
        await_refused(&cluster, refused, refused);
    });
}

#[test]
fn nodes_without_a_cluster_name_agree_on_one() {
    on_each_layout(3, |layout| {
        let cluster = Plan::new(layout).each(|_, node| node.cluster_name = None).start();
        let name = |node| cluster.varz(node)["cluster"]["name"].clone();
        let agreed = poll(|| (name(0) == name(1) && name(1) == name(2)).then_some(()));
        assert!(agreed.is_some(), "{} {} {}", name(0), name(1), name(2));
        talk(&cluster);
    });
}

#[test]
fn a_configured_cluster_name_wins_wherever_it_is() {
    on_each_layout(3, |layout| {
        // nats-server goes on calling a name generated after it has adopted a configured one. So
        // a name that others are to learn at second hand wins for sure only if it is the greatest.
        for (named, chosen) in [(0, "0"), (1, "zzzz"), (2, "zzzz")] {
            let plan = Plan::new(layout).each(|index, node| {
                node.cluster_name = (index == named).then(|| chosen.to_owned());
            });
            let cluster = plan.start();
            let agreed = poll(|| {
                (0..3).all(|node| cluster.varz(node)["cluster"]["name"] == chosen).then_some(())
            });
            assert!(agreed.is_some(), "with the name at {named}");
            talk(&cluster);
        }
    });
}

#[test]
fn a_second_node_of_the_same_name_is_refused_and_logged() {
    on_each_layout(3, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            if index == 2 {
                node.name = "a".to_owned();
            }
        });
        let cluster = plan.launch();
        await_refused(&cluster, "duplicate name", "Router connection closed");
    });
}

#[test]
fn a_node_that_dials_itself_stops_doing_so() {
    on_each_layout(2, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            if index == 0 {
                node.routes = vec!["nats://{0}".to_owned(), "nats://localhost:{0.port}".to_owned()];
            }
        });
        let cluster = plan.start();
        talk(&cluster);
    });
}
