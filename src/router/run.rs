//! Runs: messages of one publisher that come one after the other with the same control line.
//!
//! What the line leads to is found out once and kept with its encoded heads, until interest changes.
//! Then a run is encoded for each distinct head once, and shared by all recipients that get it alike.

use std::sync::Arc;

use crate::ids::AccountId;
use crate::outbound::{Closing, LinkTable, SHARE_BYTES_MIN};
use crate::proto::encode::MsgHead;
use crate::proto::route::RoutedHead;
use crate::session::{Group, Line, Recipient};
use crate::subject;
use crate::sublist::Owner;

use super::Router;
use super::deliver::note_route;

/// Groups of one line; with more distinct sids, messages go one by one.
const GROUPS_MAX: usize = 256;

/// A run to deliver: `count` messages of `stride` bytes each from the beginning of `bytes`.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The messages, as they came.
    pub bytes: &'a [u8],
    /// How many.
    pub count: usize,
    /// Bytes of each, line and payload.
    pub stride: usize,
}

/// How many deliveries a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunDelivery {
    /// To clients.
    pub local: u64,
    /// To other servers.
    pub routes: u64,
}

/// What the messages of a line have in common.
#[derive(Clone, Copy)]
pub struct Lead<'a> {
    /// The account in which they are published.
    pub account: AccountId,
    /// Where they are published.
    pub subject: &'a [u8],
    /// Where answers are wanted.
    pub reply: Option<&'a [u8]>,
    /// The client that does not want its own messages.
    pub except: Option<u32>,
    /// Another server sent them: they go to clients only, and to no queue group.
    pub routed: bool,
}

impl Router {
    /// Finds out what a line leads to, and whether its runs are simple: some plain subscriptions of
    /// this shard's clients and routes want them, none of which has an end, and nobody else does.
    pub fn prepare_run(&mut self, links: &LinkTable, line: &mut Line, lead: &Lead<'_>) {
        line.generation = Some(self.generation(lead.account));
        line.account = lead.account;
        line.heads.clear();
        line.groups.clear();
        line.members.clear();
        line.simple = self.collect(line, lead) && self.group(links, line, lead);
    }

    /// Collects the recipients; says whether all of them are simple, and there is one.
    fn collect(&mut self, line: &mut Line, lead: &Lead<'_>) -> bool {
        let stays_here = lead.routed || self.stays_here(lead.subject);
        let matches = self.sublists[lead.account.index()].matches(lead.subject);
        if !matches.queues.is_empty() && !lead.routed {
            return false;
        }
        for member in &matches.plain {
            let Some(subscription) = self.subscriptions.get(member.id as usize) else {
                return false;
            };
            let (index, is_route) = match subscription.owner {
                Owner::Client(index) if lead.except == Some(index) => continue,
                Owner::Client(index) => (index, false),
                Owner::Route(_) | Owner::ShardRoutes(_) if stays_here => continue,
                Owner::Route(index) => (index, true),
                Owner::Internal(_) | Owner::Shard(_) | Owner::ShardRoutes(_) => return false,
            };
            if subscription.max > 0 {
                return false;
            }
            let known = |to: &Recipient| to.is_route && to.index == index;
            if !is_route || !line.members.iter().any(known) {
                line.members.push(Recipient { index, subscription: member.id, is_route });
            }
        }
        !line.members.is_empty()
    }

    /// Sorts the recipients into groups that get the same head, and encodes the heads.
    fn group(&self, links: &LinkTable, line: &mut Line, lead: &Lead<'_>) -> bool {
        let subscriptions = &self.subscriptions;
        let names = |to: &Recipient| links.at(to.index).is_some_and(|link| link.names_accounts);
        let key = |to: &Recipient| {
            (to.is_route, to.is_route && names(to), &*subscriptions[to.subscription as usize].sid)
        };
        line.members.sort_by(|a, b| key(a).cmp(&key(b)));
        let mut from = 0;
        for chunk in line.members.chunk_by(|a, b| key(a) == key(b)) {
            let head = line.heads.len();
            let (is_route, names_account, sid) = key(&chunk[0]);
            let size = line.size;
            if is_route {
                let account = names_account.then(|| self.accounts.name(lead.account).as_bytes());
                let (subject, reply) = (lead.subject, lead.reply);
                let queues = std::iter::empty();
                let (queues_only, header_len) = (false, None);
                RoutedHead { account, subject, reply, queues, queues_only, header_len, size }
                    .encode(&mut line.heads);
            } else {
                let (subject, reply) = subject::delivered_as(lead.subject, lead.reply);
                MsgHead { subject, sid, reply, header_len: 0, size }.encode(&mut line.heads);
            }
            let members = from..from + chunk.len();
            from = members.end;
            line.groups.push(Group { head: head..line.heads.len(), members });
        }
        line.groups.len() <= GROUPS_MAX
    }

    /// Delivers a run whose line was [prepared](Self::prepare_run).
    pub fn deliver_run(
        &mut self,
        links: &mut LinkTable,
        line: &Line,
        run: &Run<'_>,
    ) -> RunDelivery {
        let mut delivered = RunDelivery::default();
        for group in &line.groups {
            let head = &line.heads[group.head.clone()];
            let members = &line.members[group.members.clone()];
            let count = match members {
                [one] => self.run_to_one(links, line, run, head, *one),
                many => self.run_to_many(links, line, run, head, many),
            };
            if members.first().is_some_and(|member| member.is_route) {
                delivered.routes += count;
            } else {
                delivered.local += count;
            }
        }
        delivered
    }

    fn run_to_one(
        &mut self,
        links: &mut LinkTable,
        line: &Line,
        run: &Run<'_>,
        head: &[u8],
        to: Recipient,
    ) -> u64 {
        let body = line.size as usize + 2;
        let each = head.len() + body;
        if !self.admit(links, to, line, run.count, each * run.count) {
            return 0;
        }
        let Some((link, pool)) = links.writer(to.index) else { return 0 };
        let mut messages = run.bytes[..run.count * run.stride].chunks_exact(run.stride);
        let mut left = run.count;
        while left > 0 {
            // As many as one block takes.
            let queue = link.queue_of(line.account);
            let some = left.min((queue.block_bytes() / each).max(1));
            queue.write(pool, some * each, |out| {
                for message in messages.by_ref().take(some) {
                    out.extend_from_slice(head);
                    out.extend_from_slice(&message[line.bytes.len()..]);
                }
            });
            left -= some;
        }
        run.count as u64
    }

    fn run_to_many(
        &mut self,
        links: &mut LinkTable,
        line: &Line,
        run: &Run<'_>,
        head: &[u8],
        to: &[Recipient],
    ) -> u64 {
        let each = head.len() + line.size as usize + 2;
        let bytes = each * run.count;
        let messages = run.bytes[..run.count * run.stride].chunks_exact(run.stride);
        let encode = |out: &mut Vec<u8>| {
            for message in messages.clone() {
                out.extend_from_slice(head);
                out.extend_from_slice(&message[line.bytes.len()..]);
            }
        };
        let mut delivered = 0;
        if bytes < SHARE_BYTES_MIN {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            encode(&mut scratch);
            for recipient in to {
                delivered += self.give_run(links, *recipient, (line, run.count), &scratch, None);
            }
            self.scratch = scratch;
            return delivered;
        }
        let mut block = links.pool.shared(bytes);
        if let Some(bytes) = Arc::get_mut(&mut block) {
            encode(bytes);
        }
        for recipient in to {
            delivered += self.give_run(links, *recipient, (line, run.count), &block, Some(&block));
        }
        links.pool.recycle_shared(block);
        delivered
    }

    /// Gives encoded messages to one recipient: a share of their block when it keeps up, or when the
    /// block is well filled; else a copy, so that what waits long wastes no memory.
    fn give_run(
        &mut self,
        links: &mut LinkTable,
        to: Recipient,
        (line, count): (&Line, usize),
        bytes: &[u8],
        block: Option<&Arc<Vec<u8>>>,
    ) -> u64 {
        let account = line.account;
        if !self.admit(links, to, line, count, bytes.len()) {
            return 0;
        }
        let Some((link, pool)) = links.writer(to.index) else { return 0 };
        match block {
            Some(block)
                if !to.is_route && (!link.refused || bytes.len() * 2 >= block.capacity()) =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "a run is a receive's length")]
                link.queue.share(pool, block, 0, bytes.len() as u32);
            }
            Some(_) | None => link.queue_of(account).copy(pool, bytes),
        }
        count as u64
    }

    /// Checks a recipient's limits and counts the delivery.
    fn admit(
        &mut self,
        links: &mut LinkTable,
        to: Recipient,
        line: &Line,
        count: usize,
        bytes: usize,
    ) -> bool {
        let (account, size) = (line.account, line.size);
        let Some(link) = links.at_mut(to.index).filter(|link| link.closing == Closing::No) else {
            return false;
        };
        if to.is_route {
            note_route(link, to.index, account, &self.route_limits, &mut self.reach);
        } else {
            let slow = link.is_slow(account, &self.limits);
            if link.queue.pending_bytes() + bytes > self.limits.max_pending {
                self.overflowed.push(to.index);
                return false;
            }
            self.reach.note(to.index, slow);
        }
        link.count_out(count as u64, count as u64 * u64::from(size));
        self.subscriptions[to.subscription as usize].delivered += count as u64;
        true
    }
}
