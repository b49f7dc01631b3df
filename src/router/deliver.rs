//! One message to all who want it.

use std::rc::Rc;

use crate::account::Accounts;
use crate::outbound::{Link, LinkTable, OutboundLimits, Pool, Queue, SHARE_BYTES_MIN};
use crate::proto::encode::MsgHead;
use crate::proto::route::RoutedHead;
use crate::subject;
use crate::sublist::{Member, Owner, Subscription};

use super::{Delivered, Elsewhere, Message, Origin, Place, Reach, Router, is_named, queue_group};

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Clients of this shard that got it.
    pub local: u32,
    /// Bytes of headers and payload that they got: not all understand headers.
    pub local_bytes: u64,
    /// Subscriptions of the server itself that got it: nobody counts these as messages out.
    pub own: u32,
    /// Routes of this shard that got it.
    pub routes: u32,
    /// Whether other shards get it.
    pub remote: bool,
}

impl Delivery {
    /// Whether nobody wanted the message.
    #[must_use]
    pub const fn is_nobody(&self) -> bool {
        self.local == 0 && self.own == 0 && self.routes == 0 && !self.remote
    }
}

/// The parts of the router that a delivery changes while it reads the sublist.
struct Hand<'a> {
    subscriptions: &'a mut slab::Slab<Subscription>,
    links: &'a mut LinkTable,
    limits: &'a OutboundLimits,
    reach: &'a mut Reach,
    overflowed: &'a mut Vec<u32>,
    exhausted: &'a mut Vec<u32>,
    elsewhere: &'a mut Elsewhere,
    inbox: &'a mut Vec<Delivered>,
    drop_for_slow: bool,
    /// The message goes to no other server.
    stays_here: bool,
    dropped: &'a mut u64,
    /// Bytes of headers and payload that clients got.
    bytes: u64,
    traced: Option<&'a mut Vec<u32>>,
}

/// Messages for the server itself that one turn may bring; those beyond are dropped.
const INBOX_MAX: usize = 1024;

impl Router {
    /// Hands a message to every plain subscription and to one member of every queue group that wants
    /// it. What other shards are to get stands in `elsewhere` afterwards.
    pub fn deliver(&mut self, links: &mut LinkTable, message: &Message<'_>) -> Delivery {
        self.elsewhere.clear();
        let heard = self.inbox.len();
        let stays_here = self.stays_here(message.subject);
        let matches = self.sublists[message.account.index()].matches(message.subject);
        let mut hand = Hand {
            subscriptions: &mut self.subscriptions,
            links,
            limits: &self.limits,
            reach: &mut self.reach,
            overflowed: &mut self.overflowed,
            exhausted: &mut self.exhausted,
            elsewhere: &mut self.elsewhere,
            inbox: &mut self.inbox,
            drop_for_slow: self.drop_for_slow,
            stays_here,
            dropped: &mut self.dropped,
            bytes: 0,
            traced: self.trace.then_some(&mut self.traced),
        };
        let mut local = 0;
        let plain = if message.origin.is_for_plain() { &matches.plain[..] } else { &[] };
        for member in plain {
            local += u32::from(hand.give(*member, message));
        }
        for group in &matches.queues {
            // Drawn for every group, so that what is drawn next does not depend on who is asked.
            let random = self.random.u64(..);
            local += u32::from(hand.give_one(&group.name, &group.members, message, random));
        }
        let local_bytes = hand.bytes;
        let elsewhere = &self.elsewhere;
        let route = |place: &Place| matches!(place, Place::Route(_));
        let remote =
            elsewhere.shards != 0 || elsewhere.groups.iter().any(|(place, _)| !route(place));
        let routes = if elsewhere.routes.is_empty()
            && !elsewhere.groups.iter().any(|(place, _)| route(place))
        {
            0
        } else {
            self.write_to_routes(links, message)
        };
        let own = u32::try_from(self.inbox.len() - heard).unwrap_or(u32::MAX);
        Delivery { local: local - own, local_bytes, own, routes, remote }
    }

    /// Writes the message to each route that is to get it, once, with the queue groups that the
    /// server behind it is to serve.
    fn write_to_routes(&mut self, links: &mut LinkTable, message: &Message<'_>) -> u32 {
        let Elsewhere { routes, groups, .. } = &mut self.elsewhere;
        for (place, _) in groups.iter() {
            if let Place::Route(index) = place
                && !routes.contains(index)
            {
                routes.push(*index);
            }
        }
        let mut written = 0;
        for index in routes.iter() {
            let names = groups
                .iter()
                .filter(|(place, _)| *place == Place::Route(*index))
                .map(|(_, name)| &**name);
            written += u32::from(write_to_route(
                links,
                *index,
                message,
                &Names {
                    accounts: &self.accounts,
                    groups: names,
                    only: message.origin.is_passed_on(),
                },
                (&self.route_limits, &mut self.reach),
            ));
        }
        written
    }

    /// Serves queue groups of a message that nobody here took: the last member has just left. Another
    /// server that has one gets it, or another shard, as the place that is returned says.
    pub fn bounce(
        &mut self,
        links: &mut LinkTable,
        message: &Message<'_>,
        group: &[u8],
    ) -> Option<Place> {
        let place = self.other_place(links, message, group)?;
        if let Place::Route(index) = place {
            let groups = std::iter::once(group);
            let names = Names { accounts: &self.accounts, groups, only: true };
            write_to_route(links, index, message, &names, (&self.route_limits, &mut self.reach));
        }
        Some(place)
    }

    /// Who else could serve a queue group. Also what another server sent may leave again: the member
    /// that it was meant for is gone.
    fn other_place(
        &mut self,
        links: &LinkTable,
        message: &Message<'_>,
        group: &[u8],
    ) -> Option<Place> {
        let stays_here = self.stays_here(message.subject);
        let matches = self.sublists[message.account.index()].matches(message.subject);
        let group = matches.queues.iter().find(|queue| *queue.name == *group)?;
        let subscriptions = &self.subscriptions;
        let place = |member: Member| match subscriptions.get(member.id as usize)?.owner {
            Owner::Shard(shard) => Some(Place::Shard(shard)),
            Owner::ShardRoutes(_) | Owner::Route(_) if stays_here => None,
            Owner::ShardRoutes(shard) => Some(Place::ShardRoutes(shard)),
            Owner::Route(index) => links.is_open(index).then_some(Place::Route(index)),
            Owner::Client(_) | Owner::Internal(_) => None,
        };
        let random = self.random.u64(..);
        let first = queue_group::first(&group.members, random, |member| place(member).is_some());
        queue_group::around(&group.members, first).find_map(place)
    }

    /// Whether a client has a plain subscription of its own that a subject matches, and its sid.
    pub fn own_sid(
        &mut self,
        account: crate::ids::AccountId,
        subject: &[u8],
        index: u32,
    ) -> Option<&[u8]> {
        let matches = self.sublists[account.index()].matches(subject);
        matches
            .plain
            .iter()
            .filter_map(|member| self.subscriptions.get(member.id as usize))
            .find(|subscription| subscription.owner == Owner::Client(index))
            .map(|subscription| &*subscription.sid)
    }
}

impl Hand<'_> {
    fn owner(&self, member: Member) -> Option<Owner> {
        self.subscriptions.get(member.id as usize).map(|subscription| subscription.owner)
    }

    /// Gives the message to a plain subscription; says whether somebody here got it.
    fn give(&mut self, member: Member, message: &Message<'_>) -> bool {
        match self.owner(member) {
            Some(Owner::Client(index)) => return self.give_client(member.id, index, message),
            Some(Owner::Internal(id)) => return self.give_server(id, message),
            Some(Owner::Shard(shard)) if message.origin.may_cross() => {
                self.elsewhere.shards |= 1 << shard;
            }
            Some(Owner::Route(_) | Owner::ShardRoutes(_)) if self.stays_here => {}
            Some(Owner::ShardRoutes(shard))
                if message.origin.may_cross() && message.origin.may_leave() =>
            {
                self.elsewhere.shards |= 1 << shard;
            }
            Some(Owner::Route(index)) if message.origin.may_leave() => {
                if !self.elsewhere.routes.contains(&index) {
                    self.elsewhere.routes.push(index);
                }
            }
            Some(Owner::Shard(_) | Owner::ShardRoutes(_) | Owner::Route(_)) | None => {}
        }
        false
    }

    /// Whether a message may be given to this member of that group.
    fn may_take(&self, member: Member, group: &[u8], origin: &Origin<'_>) -> bool {
        let Some(owner) = self.owner(member) else { return false };
        match (*origin, owner) {
            // Its subscriptions are on their way out of the tables.
            (_, Owner::Client(index) | Owner::Route(index)) if !self.links.is_open(index) => false,
            (_, Owner::Client(index)) if origin.excludes(index) => false,
            (_, Owner::Route(_) | Owner::ShardRoutes(_)) if self.stays_here => false,
            (Origin::Client { .. } | Origin::Internal, _) => true,
            (Origin::Route { .. }, Owner::Client(_) | Owner::Internal(_) | Owner::Shard(_)) => true,
            (Origin::Shard { groups, .. }, Owner::Client(_) | Owner::Internal(_)) => {
                is_named(groups, group)
            }
            (Origin::Shard { route_groups, .. }, Owner::Route(_)) => is_named(route_groups, group),
            (Origin::Route { .. }, Owner::Route(_) | Owner::ShardRoutes(_))
            | (Origin::Shard { .. }, Owner::Shard(_) | Owner::ShardRoutes(_)) => false,
        }
    }

    /// Gives the message to one member of a group; says whether that is one of this shard.
    fn give_one(
        &mut self,
        name: &Rc<[u8]>,
        members: &[Member],
        message: &Message<'_>,
        random: u64,
    ) -> bool {
        let named = match message.origin {
            Origin::Client { .. } | Origin::Internal => false,
            Origin::Route { groups, .. } if is_named(groups, name) => true,
            Origin::Shard { groups, route_groups, .. }
                if is_named(groups, name) || is_named(route_groups, name) =>
            {
                true
            }
            Origin::Route { .. } | Origin::Shard { .. } => return false,
        };
        let may_take = |hand: &Self, member| hand.may_take(member, name, &message.origin);
        let first = queue_group::first(members, random, |member| may_take(self, member));
        for member in queue_group::around(members, first) {
            if !may_take(self, member) {
                continue;
            }
            let id = member.id;
            let place = match self.owner(member) {
                Some(Owner::Client(index)) if self.give_client(id, index, message) => None,
                Some(Owner::Internal(number)) if self.give_server(number, message) => None,
                Some(Owner::Shard(shard)) => Some(Place::Shard(shard)),
                Some(Owner::ShardRoutes(shard)) => Some(Place::ShardRoutes(shard)),
                Some(Owner::Route(index)) => Some(Place::Route(index)),
                Some(Owner::Client(_) | Owner::Internal(_)) | None => continue,
            };
            if named {
                self.elsewhere.served.push(Rc::clone(name));
            }
            if let Some(place) = place {
                self.elsewhere.groups.push((place, Rc::clone(name)));
            }
            return place.is_none();
        }
        false
    }

    fn give_server(&mut self, id: u32, message: &Message<'_>) -> bool {
        if self.inbox.len() >= INBOX_MAX {
            return false;
        }
        let body = &message.body[..message.body.len() - 2];
        self.inbox.push(Delivered {
            subscription: id,
            account: message.account,
            subject: message.subject.into(),
            reply: message.reply.map(Into::into),
            header_len: message.header_len.unwrap_or(0),
            body: body.into(),
            asker: None,
        });
        true
    }

    fn give_client(&mut self, id: u32, index: u32, message: &Message<'_>) -> bool {
        if message.origin.excludes(index) {
            return false;
        }
        let subscription = &mut self.subscriptions[id as usize];
        if subscription.max > 0 && subscription.delivered >= subscription.max {
            return false;
        }
        let Some((link, pool)) = self.links.writer(index) else { return false };
        let slow = link.is_slow(message.account, self.limits);
        let pending = link.queue.pending_bytes();
        if self.drop_for_slow && pending > self.limits.drop_mark() {
            *self.dropped += 1;
            return false;
        }
        if pending + message.body.len() > self.limits.max_pending {
            self.overflowed.push(index);
            return false;
        }
        subscription.delivered += 1;
        if subscription.delivered == subscription.max {
            self.exhausted.push(id);
        }
        self.reach.note(index, slow && !self.drop_for_slow);
        if let Some(traced) = &mut self.traced {
            traced.push(id);
        }
        self.bytes += write_to_client(link, pool, &subscription.sid, message);
        true
    }
}

/// Appends the message, as its recipient understands it, to the recipient's queue. Returns how many bytes
/// its headers and payload are.
fn write_to_client(link: &mut Link, pool: &mut Pool, sid: &[u8], message: &Message<'_>) -> u64 {
    let (header_len, from) = headers_for(link, message);
    let (subject, reply) = subject::delivered_as(message.subject, message.reply);
    let size = size_of_body(&message.body[from as usize..]);
    let head = MsgHead { subject, sid, reply, header_len, size };
    link.count_out(1, size.into());
    write(
        &mut link.queue,
        pool,
        (head.len_max(), |out: &mut Vec<u8>| head.encode(out)),
        from,
        message,
    );
    size.into()
}

/// What stands in the line to a server beside the message itself.
struct Names<'a, I> {
    accounts: &'a Accounts,
    groups: I,
    /// Nobody else there is to get it, if the server understands that.
    only: bool,
}

/// Appends the message to a route's lane of its account; says whether the route is there.
fn write_to_route<'a, I: Iterator<Item = &'a [u8]> + Clone>(
    links: &mut LinkTable,
    index: u32,
    message: &Message<'a>,
    names: &Names<'a, I>,
    (limits, reach): (&OutboundLimits, &mut Reach),
) -> bool {
    let Some((link, pool)) = links.writer(index) else { return false };
    note_route(link, index, message.account, limits, reach);
    let (header_len, from) = headers_for(link, message);
    let size = size_of_body(&message.body[from as usize..]);
    let account = names.accounts.name(message.account).as_bytes();
    let head = RoutedHead {
        account: link.names_accounts.then_some(account),
        subject: message.subject,
        reply: message.reply,
        queues: names.groups.clone(),
        queues_only: names.only && link.takes_passed_on,
        header_len: (header_len > 0).then_some(header_len),
        size,
    };
    link.count_out(1, size.into());
    let (room, encode) = (head.len_max(), |out: &mut Vec<u8>| head.encode(out));
    write(link.queue_of(message.account), pool, (room, encode), from, message);
    true
}

/// Notes how a route keeps up with an account's messages.
pub(super) fn note_route(
    link: &Link,
    index: u32,
    account: crate::ids::AccountId,
    limits: &OutboundLimits,
    reach: &mut Reach,
) {
    reach.note(index, link.is_slow(account, limits));
    if link.pending_bytes() > limits.max_pending && link.is_heaviest(account) {
        reach.note_over(index);
    }
}

/// How many bytes of headers a recipient is told of, and where its body begins.
fn headers_for(link: &Link, message: &Message<'_>) -> (u32, u32) {
    let announced = message.header_len.unwrap_or(0);
    if link.headers { (announced, 0) } else { (0, announced) }
}

#[expect(clippy::cast_possible_truncation, reason = "a message's size fits 32 bits")]
const fn size_of_body(body: &[u8]) -> u32 {
    body.len() as u32 - 2
}

/// Appends a head and a body, as a copy or as a share of the message's block.
fn write(
    queue: &mut Queue,
    pool: &mut Pool,
    (head_len, encode): (usize, impl FnOnce(&mut Vec<u8>)),
    from: u32,
    message: &Message<'_>,
) {
    let body = &message.body[from as usize..];
    let shared = message.block.filter(|_| body.len() >= SHARE_BYTES_MIN);
    let copied = if shared.is_some() { 0 } else { body.len() };
    queue.write(pool, head_len + copied, |out| {
        encode(out);
        if shared.is_none() {
            out.extend_from_slice(body);
        }
    });
    if let Some(block) = shared {
        queue.share(pool, block, from, from + size_of_body(body) + 2);
    }
}
