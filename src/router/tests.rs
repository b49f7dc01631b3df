//! Routers of several shards, joined by hand.

use ring::{Socket, Time};

use super::{Message, Origin, Place, Router, Want};
use crate::ids::AccountId;
use crate::outbound::{Closing, Link, LinkTable, OutboundLimits};
use crate::sublist::{Owner, Subscription};

/// One shard's router, and its clients' links.
struct Shard {
    router: Router,
    links: LinkTable,
}

impl Shard {
    fn new(seed: u64) -> Self {
        let limits = OutboundLimits { max_pending: usize::MAX, write_deadline: <_>::default() };
        Self {
            router: Router::new(limits, std::sync::Arc::default(), seed),
            links: LinkTable::default(),
        }
    }

    /// Adds a client with one member of the group.
    fn join(&mut self) {
        self.subscribe(Some(GROUP));
    }

    fn subscribe(&mut self, queue: Option<&[u8]>) {
        let client = self.links.insert(Link::new(Socket(0), Time::ZERO, false));
        self.router.subscribe(Subscription {
            owner: Owner::Client(client.index),
            account: AccountId::GLOBAL,
            weight: 1,
            sid: (*b"1").into(),
            subject: SUBJECT.into(),
            queue: queue.map(Into::into),
            max: 0,
            delivered: 0,
        });
    }

    /// Learns how many members another shard has.
    fn learn(&mut self, shard: u16, members: u32) {
        let want = Want { account: AccountId::GLOBAL, subject: SUBJECT, queue: Some(GROUP) };
        self.router.set_interest(Owner::Shard(shard), want, members);
    }

    fn deliver(&mut self, origin: Origin<'_>) -> u32 {
        self.router.deliver(&mut self.links, &message(origin)).local
    }

    fn received(&self) -> impl Iterator<Item = u64> {
        self.links.iter().map(|(_, link)| link.out_msgs)
    }
}

fn message(origin: Origin<'_>) -> Message<'_> {
    Message {
        account: AccountId::GLOBAL,
        subject: SUBJECT,
        reply: None,
        header_len: None,
        body: b"x\r\n",
        block: None,
        origin,
    }
}

const SUBJECT: &[u8] = b"q.share";
const GROUP: &[u8] = b"g";
const MESSAGES: u32 = 6000;

/// Shards with so many members each, in an order of joining and hearing that `seed` decides.
fn shards(members: &[u32], seed: u64) -> Vec<Shard> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut shards: Vec<Shard> = members.iter().map(|_| Shard::new(random.u64(..))).collect();
    for (here, shard) in shards.iter_mut().enumerate() {
        let mut joining: Vec<usize> = (0..members[here]).map(|_| here).collect();
        joining.extend((0..members.len()).filter(|other| *other != here && members[*other] > 0));
        random.shuffle(&mut joining);
        for who in joining {
            if who == here {
                shard.join();
            } else {
                shard.learn(u16::try_from(who).unwrap(), members[who]);
            }
        }
    }
    shards
}

/// Publishes on one shard, carries what it leaves to others there, and checks each member's share.
#[track_caller]
fn check_shares(members: &[u32], publisher: usize, seed: u64) {
    let mut shards = shards(members, seed);
    for _ in 0..MESSAGES {
        let mut taken = shards[publisher].deliver(Origin::Client { index: u32::MAX, echo: true });
        for (place, name) in std::mem::take(&mut shards[publisher].router.elsewhere.groups) {
            let Place::Shard(shard) = place else { panic!("{place:?}: there are only shards") };
            let origin = Origin::Shard {
                groups: &name,
                route_groups: b"",
                passed_on: false,
                routed: false,
                except: None,
            };
            taken += shards[usize::from(shard)].deliver(origin);
        }
        assert_eq!(taken, 1, "a message goes to one member");
    }
    let all = f64::from(members.iter().sum::<u32>());
    let expected = f64::from(MESSAGES) / all;
    // Five standard deviations: no seed here comes near, and a neighbour's share is far beyond.
    let slack = 5.0 * (expected * (1.0 - 1.0 / all)).sqrt();
    for received in shards.iter().flat_map(Shard::received) {
        let off = f64::from(u32::try_from(received).unwrap()) - expected;
        assert!(
            off.abs() <= slack,
            "{received} instead of {expected} +- {slack}: {members:?}, seed {seed}, {:?}",
            shards.iter().map(|shard| shard.received().collect::<Vec<_>>()).collect::<Vec<_>>(),
        );
    }
}

#[test]
fn every_member_of_a_queue_group_gets_the_same_share_whatever_shard_it_is_on() {
    let groups: [&[u32]; 6] = [&[4], &[2, 2], &[1, 5], &[1, 1, 1, 1], &[3, 0, 1, 2], &[5, 2, 7, 1]];
    for members in groups {
        for publisher in 0..members.len() {
            for seed in 0..8 {
                check_shares(members, publisher, seed);
            }
        }
    }
}

#[test]
fn the_share_of_a_publisher_without_echo_goes_to_all_others() {
    let mut shard = Shard::new(7);
    (0..5).for_each(|_| shard.join());
    for _ in 0..MESSAGES {
        assert_eq!(shard.deliver(Origin::Client { index: 2, echo: false }), 1);
    }
    let received: Vec<u64> = shard.received().collect();
    let expected = u64::from(MESSAGES / 4);
    let is_fair = |count: u64| count.abs_diff(expected) < 170;
    assert_eq!(received[2], 0);
    assert!((0..5).filter(|at| *at != 2).all(|at| is_fair(received[at])), "{received:?}");
}

#[test]
fn what_was_passed_on_for_a_group_comes_to_nobody_else() {
    let mut shard = Shard::new(7);
    shard.subscribe(None);
    shard.join();
    let routed = |passed_on| Origin::Route { groups: GROUP, passed_on };
    assert_eq!(shard.deliver(routed(true)), 1);
    assert_eq!(shard.received().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(shard.deliver(routed(false)), 2);
    assert_eq!(shard.received().collect::<Vec<_>>(), [1, 2]);
}

/// What a server whose last member has left writes to the one that has another.
#[track_caller]
fn check_bounced(takes_passed_on: bool, expected: &str) {
    let mut shard = Shard::new(7);
    let mut link = Link::new(Socket(0), Time::ZERO, false);
    (link.names_accounts, link.takes_passed_on) = (true, takes_passed_on);
    let route = shard.links.insert(link);
    for queue in [None, Some(GROUP)] {
        let want = Want { account: AccountId::GLOBAL, subject: SUBJECT, queue };
        shard.router.set_interest(Owner::Route(route.index), want, 1);
    }
    let origin = Origin::Route { groups: GROUP, passed_on: false };
    assert_eq!(shard.deliver(origin), 0);
    let place = shard.router.bounce(&mut shard.links, &message(origin), GROUP);
    assert_eq!(place, Some(Place::Route(route.index)));
    let (link, pool) = shard.links.writer(route.index).unwrap();
    let batch = link.queue.take(pool).unwrap();
    assert_eq!(batch.slices().collect::<Vec<_>>().concat(), expected.as_bytes());
}

#[test]
fn what_is_passed_on_to_another_server_says_so_if_that_understands_it() {
    check_bounced(true, "RMSG $G q.share || g 1\r\nx\r\n");
    check_bounced(false, "RMSG $G q.share | g 1\r\nx\r\n");
}

#[test]
fn what_is_kept_here_goes_to_no_other_server_and_to_none_of_its_queue_members() {
    let mut shard = Shard::new(7);
    let route = shard.links.insert(Link::new(Socket(0), Time::ZERO, false));
    let account = AccountId::GLOBAL;
    for owner in [Owner::Route(route.index), Owner::ShardRoutes(1)] {
        for queue in [None, Some(GROUP)] {
            shard.router.set_interest(owner, Want { account, subject: b"q.*", queue }, 5);
        }
    }
    let origin = Origin::Client { index: u32::MAX, echo: true };
    let deliver = |shard: &mut Shard| shard.router.deliver(&mut shard.links, &message(origin));
    let generation = shard.router.generation(account);
    shard.router.keep_here(&["q.share".to_owned()]);
    assert_ne!(shard.router.generation(account), generation, "kept lines are of no use any more");
    assert!(deliver(&mut shard).is_nobody());
    let bounced = Origin::Route { groups: GROUP, passed_on: false };
    assert_eq!(shard.router.bounce(&mut shard.links, &message(bounced), GROUP), None);

    shard.join();
    for _ in 0..100 {
        assert_eq!((deliver(&mut shard).local, deliver(&mut shard).routes), (1, 0));
    }
    shard.router.keep_here(&[]);
    let delivery = deliver(&mut shard);
    assert!(delivery.routes == 1 && delivery.remote, "{delivery:?}");
}

#[test]
fn a_run_of_what_is_kept_here_goes_to_clients_only() {
    let mut shard = Shard::new(7);
    shard.subscribe(None);
    let route = shard.links.insert(Link::new(Socket(0), Time::ZERO, false));
    let account = AccountId::GLOBAL;
    let want = Want { account, subject: b">", queue: None };
    shard.router.set_interest(Owner::Route(route.index), want, 1);
    let mut recipients = |kept: &[String]| {
        shard.router.keep_here(kept);
        let mut line = crate::session::Line::default();
        let lead = super::run::Lead {
            account,
            subject: SUBJECT,
            reply: None,
            except: None,
            routed: false,
        };
        shard.router.prepare_run(&shard.links, &mut line, &lead);
        assert!(line.simple);
        line.members.len()
    };
    assert_eq!(recipients(&["*.share".to_owned()]), 1);
    assert_eq!(recipients(&["*.other".to_owned()]), 2);
}

#[test]
fn a_group_passes_over_members_whose_connections_are_ending() {
    let mut shard = Shard::new(7);
    let route = shard.links.insert(Link::new(Socket(0), Time::ZERO, false)).index;
    let want = Want { account: AccountId::GLOBAL, subject: SUBJECT, queue: Some(GROUP) };
    shard.router.set_interest(Owner::Route(route), want, 5);
    (0..3).for_each(|_| shard.join());
    for leaving in [route, route + 1] {
        shard.links.at_mut(leaving).unwrap().closing = Closing::Ending;
    }
    for _ in 0..1_000 {
        assert_eq!(shard.deliver(Origin::Client { index: u32::MAX, echo: true }), 1);
    }
    let received: Vec<u64> = shard.received().collect();
    assert_eq!(received[..2], [0, 0]);
    assert!(received[2..].iter().all(|share| (400..600).contains(share)), "{received:?}");
    let bounced = Origin::Route { groups: GROUP, passed_on: false };
    assert_eq!(shard.router.bounce(&mut shard.links, &message(bounced), GROUP), None);
}
