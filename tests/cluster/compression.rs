//! Routes compress as both ends agree, and no byte changes.

use std::fmt;

use super::matrix::MODES;
use crate::mesh::layout::{layouts, on_each};
use crate::mesh::{Client, Layout, Plan, introduce};

/// Two nodes, each with a mode.
struct Modes(Layout, [&'static str; 2]);

impl fmt::Display for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {:?}", self.0, self.1)
    }
}

/// What a node with mode `own` uses towards one with mode `remote`; `None` when plain.
fn agreed<'a>(own: &'a str, remote: &'a str) -> Option<&'a str> {
    let plain = ["off", "\"not supported\""];
    if plain.contains(&own) || plain.contains(&remote) || (own == "accept" && remote == "accept") {
        return None;
    }
    Some(match (own, remote) {
        ("accept", "s2_auto" | "on") | ("on", _) => "s2_fast",
        ("accept", _) => remote,
        _ => own,
    })
}

/// Text that compresses well, bytes that do not, and a mixture, some of it larger than a block.
fn bodies() -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(7);
    let text = "{\"name\":\"Ringmesh\",\"kind\":\"broker\",\"value\":12345}\n";
    let noise: Vec<u8> = (0..300_000).map(|_| random.u8(..)).collect();
    let mixed: Vec<u8> =
        noise.chunks(97).flat_map(|chunk| [chunk, text.as_bytes()].concat()).collect();
    let mut bodies: Vec<_> =
        (0..200).map(|number| format!("{text}{number}").into_bytes()).collect();
    bodies.extend([noise, mixed, text.repeat(20_000).into_bytes(), Vec::new(), vec![0; 1_000_000]]);
    bodies
}

/// Sends the bodies one way and compares.
#[track_caller]
fn carry(from: &mut Client, to: &mut Client, bodies: &[Vec<u8>]) {
    let sid = to.subscribe("bulk");
    introduce(from, to);
    std::thread::scope(|scope| {
        scope.spawn(|| bodies.iter().for_each(|body| from.publish("bulk", body)));
        for (index, body) in bodies.iter().enumerate() {
            let heard = to.message().payload;
            assert!(heard == *body, "body {index} of {} bytes differs", body.len());
        }
    });
    to.unsubscribe(sid);
    to.flush();
}

#[test]
fn two_nodes_agree_on_compression_in_every_pair_of_modes() {
    let bodies = bodies();
    let cases: Vec<_> = layouts(2)
        .iter()
        .flat_map(|layout| MODES.map(|one| MODES.map(|other| Modes(layout.clone(), [one, other]))))
        .flatten()
        .collect();
    on_each(&cases, |Modes(layout, modes)| {
        let plan = Plan::new(layout).each(|index, node| {
            node.pool_size = Some(1);
            node.cluster = format!("compression: {}", modes[index]);
        });
        let cluster = plan.start();
        let mut clients = cluster.clients();
        let [first, second] = &mut clients[..] else { unreachable!("two clients") };
        carry(first, second, &bodies);
        carry(second, first, &bodies);
        for node in 0..2 {
            let agreed = agreed(modes[node], modes[1 - node]);
            let routez = cluster.routez(node);
            for route in routez["routes"].as_array().unwrap() {
                let shown = route["compression"].as_str().unwrap_or_default();
                let fits = match agreed {
                    None => ["off", "not supported"].contains(&shown),
                    // On loopback there is nothing to gain, but a slow start may look like a way.
                    Some("s2_auto") => shown.starts_with("s2_"),
                    Some(level) => shown == level,
                };
                assert!(fits, "node {node} shows {shown:?}, agreed was {agreed:?}");
            }
        }
    });
}
