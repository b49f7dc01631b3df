//! Clusters that are cut, killed and restarted, and whole again in the end.

use std::time::Duration;

use fastrand::Rng;

use super::world::{World, address};
use crate::cluster::{Event, MeshOptions, RouteUrl};
use crate::transport::Mode;

const SECOND: Duration = Duration::from_secs(1);

/// A server of a cluster whose first two servers are everybody's seeds.
fn options(node: usize, id: String, rng: &mut Rng) -> MeshOptions {
    let seeds = [0, 1].into_iter().filter(|seed| *seed != node).map(|seed| RouteUrl {
        host: address(seed).ip().to_string(),
        port: address(seed).port(),
        auth: None,
    });
    let modes = [Mode::Off, Mode::Accept, Mode::Auto, Mode::Fast, Mode::NotSupported];
    MeshOptions {
        server_name: format!("n{node}-{id}"),
        server_id: id,
        version: "2.15.1".to_owned(),
        cluster: Some("C".to_owned()),
        host: address(node).ip().to_string(),
        port: address(node).port(),
        routes: seeds.collect(),
        pool_size: Some(3),
        accounts: ["$SYS".to_owned()].into(),
        accounts_known: ["$SYS".to_owned(), "$G".to_owned()].into(),
        compression: Some(modes[rng.usize(..modes.len())]),
        client_urls: vec![format!("10.0.0.1:{}", 4000 + node)],
        headers: true,
        max_payload: 1 << 20,
        ..MeshOptions::default()
    }
}

/// Only the first server is known to all.
fn one_seed(node: usize, id: String, rng: &mut Rng) -> MeshOptions {
    let mut options = options(node, id, rng);
    options.routes.retain(|url| url.port == address(0).port());
    options
}

fn mixed(node: usize, id: String, rng: &mut Rng) -> MeshOptions {
    let mut options = options(node, id, rng);
    options.pool_size = [None, Some(1), Some(3), Some(5)][rng.usize(..4)];
    options
}

fn nameless(node: usize, id: String, rng: &mut Rng) -> MeshOptions {
    let mut options = options(node, id, rng);
    options.cluster = None;
    options
}

fn everybody(world: &mut World) {
    for node in 0..world.nodes.len() {
        world.start(node);
    }
}

/// Checks that the cluster is whole and stays so.
#[track_caller]
fn check_calm(world: &mut World, seed: u64) {
    world.run_until_whole(90 * SECOND);
    let dials = world.dials;
    world.run(60 * SECOND);
    assert_eq!(world.defects(), None, "seed {seed}");
    assert_eq!(world.missing_links(), 0, "seed {seed}");
    let extra = world.dials - dials;
    assert!(extra <= 2 * world.nodes.len(), "seed {seed}: {extra} dials in a calm cluster");
    let all = world.nodes.iter().filter(|node| node.mesh.is_some()).count();
    for node in world.nodes.iter().filter(|node| node.mesh.is_some()) {
        assert_eq!(node.client_urls.len(), all, "seed {seed}: {:?}", node.client_urls);
    }
}

#[test]
fn a_cold_start_leads_to_a_whole_mesh() {
    for seed in 0..100 {
        for make in [options, one_seed] {
            let mut world = World::new(3, seed, make);
            everybody(&mut world);
            let took = world.run_until_whole(20 * SECOND);
            assert!(took < 2 * SECOND, "seed {seed}: {took:?}");
            check_calm(&mut world, seed);
        }
    }
}

#[test]
fn one_after_the_other_joins_by_one_seed() {
    for seed in 0..50 {
        let mut world = World::new(5, seed, one_seed);
        for node in 0..5 {
            world.start(node);
            world.run_until_whole(20 * SECOND);
        }
        check_calm(&mut world, seed);
    }
}

#[test]
fn pools_of_all_sizes_and_none_become_whole() {
    for seed in 0..100 {
        let mut world = World::new(4, seed, mixed);
        everybody(&mut world);
        check_calm(&mut world, seed);
    }
}

#[test]
fn servers_without_a_given_name_agree_on_one() {
    for seed in 0..100 {
        let mut world = World::new(4, seed, nameless);
        everybody(&mut world);
        check_calm(&mut world, seed);
        let names: Vec<_> = world.nodes.iter().map(|node| node.mesh.as_ref().unwrap()).collect();
        let first = names[0].cluster_name();
        assert!(names.iter().all(|mesh| mesh.cluster_name() == first), "seed {seed}");
    }
}

#[test]
fn among_servers_that_know_no_ringmesh_the_mesh_is_whole_too() {
    for seed in 0..100 {
        let mut world = World::new(4, seed, options);
        world.is_foreign = |node| node % 2 == 0;
        everybody(&mut world);
        check_calm(&mut world, seed);
    }
}

/// The third server and the fourth have one name.
fn moved(node: usize, id: String, rng: &mut Rng) -> MeshOptions {
    let mut options = one_seed(node, id, rng);
    if node >= 2 {
        options.server_name = "moved".to_owned();
    }
    options
}

#[test]
fn a_server_that_is_there_again_elsewhere_is_not_missed_where_it_was() {
    let mut world = World::new(4, 1, moved);
    (0..3).for_each(|node| world.start(node));
    world.run_until_whole(20 * SECOND);
    world.kill(2, false);
    world.run(5 * SECOND);
    let lost = |world: &World, node: usize| {
        let links = world.nodes[node].mesh.as_ref().unwrap().links();
        links.into_iter().find(|link| link.conns.is_empty()).map(|link| (link.name, link.ringmesh))
    };
    for node in [0, 1] {
        assert_eq!(lost(&world, node), Some(("moved".to_owned(), true)), "server {node}");
    }
    world.start(3);
    world.run(20 * SECOND);
    assert_eq!((lost(&world, 0), lost(&world, 1)), (None, None));
    assert_eq!(world.missing_links(), 0);
}

/// Lets things go wrong for a while, and mends them all.
fn trouble(world: &mut World, steps: usize) {
    let nodes = world.nodes.len();
    for _ in 0..steps {
        let (one, other) = (world.rng.usize(..nodes), world.rng.usize(..nodes));
        match world.rng.u8(..8) {
            0 | 1 => {
                let (silently, says_so) = (world.rng.bool(), world.rng.bool());
                if says_so {
                    world.say_goodbye(one);
                }
                world.kill(one, silently);
            }
            2 | 3 if world.nodes[one].mesh.is_none() => world.start(one),
            4 | 5 if one != other => world.set_cut(one, other, true),
            6 => {
                let border = world.rng.usize(..nodes);
                let pairs = (0..border).flat_map(|a| (border..nodes).map(move |b| (a, b)));
                pairs.for_each(|(a, b)| world.set_cut(a, b, true));
            }
            7 => world.cut.clear(),
            _nothing => {}
        }
        let pause = world.rng.u64(0..4000);
        world.run(Duration::from_millis(pause));
    }
    world.cut.clear();
    for node in 0..nodes {
        if world.nodes[node].mesh.is_none() {
            world.start(node);
        }
    }
}

#[test]
fn after_every_trouble_the_mesh_is_whole_again() {
    for seed in 0..200 {
        let nodes = 3 + usize::try_from(seed % 4).unwrap();
        let mut world = World::new(nodes, seed, if seed % 2 == 0 { options } else { one_seed });
        everybody(&mut world);
        trouble(&mut world, 20);
        check_calm(&mut world, seed);
    }
}

#[test]
fn a_peer_that_two_members_alone_lost_is_found_again() {
    for seed in 0..50 {
        let mut world = World::new(4, seed, one_seed);
        everybody(&mut world);
        world.run_until_whole(20 * SECOND);
        // The seed sees both all the time, so nobody tells either of the other again.
        world.set_cut(2, 3, true);
        world.run(300 * SECOND);
        world.set_cut(2, 3, false);
        let took = world.run_until_whole(60 * SECOND);
        assert!(took < 45 * SECOND, "seed {seed}: {took:?}");
        check_calm(&mut world, seed);
    }
}

#[test]
fn a_killed_server_is_back_within_two_seconds() {
    for seed in 0..100 {
        let mut world = World::new(3, seed, options);
        everybody(&mut world);
        world.run_until_whole(20 * SECOND);
        world.run(5 * SECOND);
        let victim = world.rng.usize(..3);
        world.kill(victim, false);
        world.run(SECOND);
        world.start(victim);
        let took = world.run_until_whole(20 * SECOND);
        assert!(took < 2 * SECOND, "seed {seed}: {took:?}");
    }
}

#[test]
fn dials_and_gossip_grow_no_faster_than_the_square_of_the_servers() {
    // Four connections a pair: 2 n² dials at least. Both ends may dial at the same time, which
    // doubles that. Each server that comes is told to each that is there: by each seed, and once
    // more where a connection was replaced.
    for nodes in [3, 5, 10, 20, 40] {
        for make in [options, one_seed] {
            let mut world = World::new(nodes, 7, make);
            everybody(&mut world);
            world.run_until_whole(60 * SECOND);
            let square = nodes * nodes;
            assert!(world.dials <= 4 * square, "{nodes}: {} dials", world.dials);
            assert!(world.gossip <= 3 * square, "{nodes}: {} INFOs", world.gossip);
        }
    }
}

#[test]
fn a_large_cluster_cut_in_two_is_whole_again_without_a_storm() {
    for nodes in [20, 40] {
        let mut world = World::new(nodes, 3, options);
        everybody(&mut world);
        world.run_until_whole(60 * SECOND);
        world.run(10 * SECOND);
        let (dials, gossip) = (world.dials, world.gossip);
        let pairs = (0..nodes / 2).flat_map(|a| (nodes / 2..nodes).map(move |b| (a, b)));
        for (a, b) in pairs.clone() {
            world.set_cut(a, b, true);
        }
        world.run(20 * SECOND);
        pairs.for_each(|(a, b)| world.set_cut(a, b, false));
        world.run_until_whole(60 * SECOND);
        let square = nodes * nodes;
        let (dials, gossip) = (world.dials - dials, world.gossip - gossip);
        assert!(dials <= 4 * square, "{nodes}: {dials} dials");
        assert!(gossip <= 4 * square, "{nodes}: {gossip} INFOs");
    }
}

#[test]
fn a_lame_duck_keeps_its_routes_and_loses_its_clients() {
    let mut world = World::new(3, 1, options);
    everybody(&mut world);
    world.run_until_whole(20 * SECOND);
    world.tell(2, Event::LameDuck);
    world.run(SECOND);
    assert_eq!(world.defects(), None);
    assert_eq!(world.nodes[0].client_urls.len(), 2);
    world.kill(2, false);
    world.run(10 * SECOND);
    assert_eq!(world.defects(), None);
    assert_eq!(world.missing_links(), 0, "nobody waits for who has said good-bye");
}

#[test]
fn a_reload_changes_routes_pools_and_accounts() {
    for seed in 0..30 {
        let mut world = World::new(3, seed, options);
        everybody(&mut world);
        world.run_until_whole(20 * SECOND);
        for node in 0..3 {
            world.set_options(node, |options| options.pool_size = Some(5));
            world.run(Duration::from_millis(300));
        }
        check_calm(&mut world, seed);
        for node in 0..3 {
            world.set_options(node, |options| {
                options.accounts_known.insert("A".to_owned());
                options.accounts.insert("A".to_owned());
            });
            world.run(Duration::from_millis(300));
        }
        check_calm(&mut world, seed);
        world.set_options(2, |options| options.routes.clear());
        check_calm(&mut world, seed);
    }
}
