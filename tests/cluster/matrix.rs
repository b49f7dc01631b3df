//! Options of routes meet each other: passwords, TLS, compression, pools, and who is the seed.
//!
//! The whole matrix is 1,024 meshes a layout: `CLUSTER_MATRIX=whole`. Without, some of them run, chosen
//! so that each value of each option occurs.

use std::collections::BTreeSet;
use std::fmt;

use crate::mesh::certificates::Authority;
use crate::mesh::client::introduce_all;
use crate::mesh::layout::{layouts, on_each};
use crate::mesh::{Layout, Plan};

/// Every mode that a configuration may name, without the aliases.
pub(super) const MODES: [&str; 8] =
    ["\"not supported\"", "off", "accept", "on", "s2_auto", "s2_fast", "s2_better", "s2_best"];
const POOLS: [i32; 4] = [1, 3, 5, -1];
/// One of so many meshes runs by default. It shares no factor with the sizes of the options, so the
/// chosen ones walk through all values of each.
const ONE_IN: usize = 99;

/// What the nodes of one mesh are and say.
struct Mesh {
    layout: Layout,
    passwords: bool,
    tls: bool,
    pool_size: i32,
    modes: [&'static str; 3],
}

impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layout, passwords, tls, pool_size, modes } = self;
        write!(f, "{layout}: passwords {passwords}, tls {tls}, pool {pool_size}, {modes:?}")
    }
}

/// All meshes. Each two nodes of the 64 with the same other options meet in every pair of modes.
fn all() -> Vec<Mesh> {
    let mut meshes = Vec::new();
    for layout in layouts(3) {
        for (passwords, tls) in [(false, false), (false, true), (true, false), (true, true)] {
            for pool_size in POOLS {
                for pair in 0..MODES.len().pow(2) {
                    let (one, other) = (pair % MODES.len(), pair / MODES.len());
                    let modes = [one, other, (one + other) % MODES.len()].map(|mode| MODES[mode]);
                    let layout = layout.clone();
                    meshes.push(Mesh { layout, passwords, tls, pool_size, modes });
                }
            }
        }
    }
    meshes
}

fn some_of(meshes: Vec<Mesh>) -> Vec<Mesh> {
    let chosen: Vec<_> = meshes.into_iter().step_by(ONE_IN).collect();
    for place in 0..3 {
        let seen: BTreeSet<_> = chosen.iter().map(|mesh| mesh.modes[place]).collect();
        assert_eq!(seen.len(), MODES.len(), "the choice leaves out modes");
    }
    assert_eq!(chosen.iter().map(|mesh| mesh.pool_size).collect::<BTreeSet<_>>().len(), 4);
    chosen
}

#[test]
fn whatever_the_options_every_client_reaches_every_other_and_groups_exactly_once() {
    const EACH: usize = 50;
    let whole = std::env::var("CLUSTER_MATRIX").is_ok_and(|matrix| matrix == "whole");
    let meshes = if whole { all() } else { some_of(all()) };
    on_each(&meshes, |mesh| {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "authority");
        let plan = Plan::new(&mesh.layout).each(|index, node| {
            node.pool_size = Some(mesh.pool_size);
            let mut lines = vec![format!("compression: {}", mesh.modes[index])];
            if mesh.tls {
                lines.push(authority.tls(dir.path(), &node.name, &["127.0.0.1"]));
            }
            if mesh.passwords {
                lines.push("authorization { user: route, password: s3cret, timeout: 5 }".into());
                for route in &mut node.routes {
                    *route = route.replace("nats://", "nats://route:s3cret@");
                }
            }
            node.cluster = lines.join("\n");
        });
        let cluster = plan.start();
        let mut clients = cluster.clients();
        for client in &mut clients {
            client.subscribe_in("work", "group");
            client.subscribe("news");
        }
        introduce_all(&mut clients);
        for client in &mut clients {
            for number in 0..EACH {
                client.publish("work", number.to_string());
            }
            client.publish("news", "to everybody");
        }
        introduce_all(&mut clients);
        let heard: Vec<_> = clients.iter_mut().flat_map(|client| client.take_all()).collect();
        let news = heard.iter().filter(|message| message.text() == "to everybody").count();
        assert_eq!((news, heard.len() - news), (3 * 3, 3 * EACH), "{mesh}");
    });
}
