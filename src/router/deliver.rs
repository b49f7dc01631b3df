//! One message to all who want it.

use std::rc::Rc;

use crate::outbound::{Link, LinkTable, Pool, SHARE_BYTES_MIN};
use crate::proto::encode::MsgHead;
use crate::sublist::{Member, Owner, Subscription};

use super::{Message, Origin, Router, queue_group};

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Clients of this shard that got it.
    pub local: u32,
    /// Whether other shards get it.
    pub remote: bool,
}

/// The parts of the router that a delivery changes while it reads the sublist.
struct Hand<'a> {
    subscriptions: &'a mut slab::Slab<Subscription>,
    links: &'a mut LinkTable,
    limits: &'a crate::outbound::OutboundLimits,
    reach: &'a mut super::Reach,
    overflowed: &'a mut Vec<u32>,
    exhausted: &'a mut Vec<u32>,
    shards: &'a mut u64,
    drop_for_slow: bool,
    dropped: &'a mut u64,
    traced: Option<&'a mut Vec<u32>>,
}

impl Router {
    /// Hands a message to every plain subscription and to one member of every queue group that wants
    /// it. What other shards are to get stands in `shards` and `shard_groups` afterwards.
    pub fn deliver(&mut self, links: &mut LinkTable, message: &Message<'_>) -> Delivery {
        self.shards = 0;
        self.shard_groups.clear();
        self.served.clear();
        let matches = self.sublist.matches(message.subject);
        let mut hand = Hand {
            subscriptions: &mut self.subscriptions,
            links,
            limits: &self.limits,
            reach: &mut self.reach,
            overflowed: &mut self.overflowed,
            exhausted: &mut self.exhausted,
            shards: &mut self.shards,
            drop_for_slow: self.drop_for_slow,
            dropped: &mut self.dropped,
            traced: self.trace.then_some(&mut self.traced),
        };
        let mut local = 0;
        let plain = if message.origin.is_for_plain() { &matches.plain[..] } else { &[] };
        for member in plain {
            local += u32::from(hand.give(*member, message));
        }
        for group in &matches.queues {
            let random = self.random.u64(..);
            if !message.origin.names(&group.name) {
                continue;
            }
            match hand.give_one(&group.members, message, random) {
                Taker::Client => {
                    local += 1;
                    if matches!(message.origin, Origin::Shard { .. }) {
                        self.served.push(Rc::clone(&group.name));
                    }
                }
                Taker::Shard(shard) => self.shard_groups.push((shard, Rc::clone(&group.name))),
                Taker::Nobody => {}
            }
        }
        Delivery { local, remote: self.shards != 0 || !self.shard_groups.is_empty() }
    }

    /// Where a queue group's message goes whose chosen shard no longer has a member: another shard
    /// that has one.
    pub fn other_shard(&mut self, subject: &[u8], group: &[u8]) -> Option<u16> {
        let matches = self.sublist.matches(subject);
        let group = matches.queues.iter().find(|queue| *queue.name == *group)?;
        let shard = |member: Member| match self.subscriptions.get(member.id as usize)?.owner {
            Owner::Shard(shard) => Some(shard),
            Owner::Client(_) => None,
        };
        let random = self.random.u64(..);
        let first = queue_group::pick(&group.members, random, |member| shard(member).is_some());
        queue_group::from(&group.members, first).find_map(shard)
    }

    /// Whether a client has a plain subscription of its own that a subject matches, and its sid.
    pub fn own_sid(&mut self, subject: &[u8], index: u32) -> Option<&[u8]> {
        let matches = self.sublist.matches(subject);
        matches
            .plain
            .iter()
            .filter_map(|member| self.subscriptions.get(member.id as usize))
            .find(|subscription| subscription.owner == Owner::Client(index))
            .map(|subscription| &*subscription.sid)
    }
}

/// Who took a queue group's message.
enum Taker {
    Client,
    Shard(u16),
    Nobody,
}

impl Hand<'_> {
    /// Gives the message to a plain subscription; says whether a client got it.
    fn give(&mut self, member: Member, message: &Message<'_>) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(member.id as usize) else {
            return false;
        };
        match subscription.owner {
            Owner::Client(index) => self.give_client(member.id, index, message),
            Owner::Shard(shard) => {
                if !matches!(message.origin, Origin::Shard { .. }) {
                    *self.shards |= 1 << shard;
                }
                false
            }
        }
    }

    /// Gives the message to one member of a group.
    fn give_one(&mut self, members: &[Member], message: &Message<'_>, random: u64) -> Taker {
        let routed = matches!(message.origin, Origin::Shard { .. });
        let first =
            queue_group::pick(members, random, |member| self.may_take(member, message.origin));
        for member in queue_group::from(members, first) {
            let owner = self.subscriptions.get(member.id as usize).map(|sub| sub.owner);
            match owner {
                Some(Owner::Client(index)) if self.give_client(member.id, index, message) => {
                    return Taker::Client;
                }
                Some(Owner::Shard(shard)) if !routed => return Taker::Shard(shard),
                Some(Owner::Client(_) | Owner::Shard(_)) | None => {}
            }
        }
        Taker::Nobody
    }

    /// Whether a member of a group comes into question at all.
    fn may_take(&self, member: Member, origin: Origin<'_>) -> bool {
        if matches!(origin, Origin::Client { echo: true, .. } | Origin::Internal) {
            return true;
        }
        match self.subscriptions.get(member.id as usize).map(|subscription| subscription.owner) {
            Some(Owner::Client(index)) => !origin.excludes(index),
            Some(Owner::Shard(_)) => !matches!(origin, Origin::Shard { .. }),
            None => false,
        }
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
        let slow = link.is_slow(self.limits);
        if slow && self.drop_for_slow {
            *self.dropped += 1;
            return false;
        }
        if link.queue.pending_bytes() + message.body.len() > self.limits.max_pending {
            self.overflowed.push(index);
            return false;
        }
        subscription.delivered += 1;
        if subscription.delivered == subscription.max {
            self.exhausted.push(id);
        }
        self.reach.note(index, slow);
        if let Some(traced) = &mut self.traced {
            traced.push(id);
        }
        write(link, pool, &subscription.sid, message);
        true
    }
}

/// Appends the message, as its recipient understands it, to the recipient's queue.
fn write(link: &mut Link, pool: &mut Pool, sid: &[u8], message: &Message<'_>) {
    let announced = message.header_len.unwrap_or(0);
    let header_len = if link.headers { announced } else { 0 };
    let from = if link.headers { 0 } else { announced };
    let body = &message.body[from as usize..];
    #[expect(clippy::cast_possible_truncation, reason = "a message's size fits 32 bits")]
    let len = body.len() as u32;
    let size = len - 2;
    let head = MsgHead { subject: message.subject, sid, reply: message.reply, header_len, size };
    link.out_msgs += 1;
    link.out_bytes += u64::from(size);
    let shared = message.block.filter(|_| body.len() >= SHARE_BYTES_MIN);
    let copied = if shared.is_some() { 0 } else { body.len() };
    link.queue.write(pool, head.len_max() + copied, |out| {
        head.encode(out);
        if shared.is_none() {
            out.extend_from_slice(body);
        }
    });
    if let Some(block) = shared {
        link.queue.share(pool, block, from, from + len);
    }
}
