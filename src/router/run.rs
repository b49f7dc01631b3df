//! Runs: messages of one publisher that come one after the other with the same control line.
//!
//! What the line leads to is found out once and kept with its encoded heads, until interest changes.
//! Then a run is encoded for each distinct head once, and shared by all recipients that get it alike.

use std::sync::Arc;

use crate::outbound::{BLOCK_BYTES, Closing, LinkTable, SHARE_BYTES_MIN};
use crate::proto::encode::MsgHead;
use crate::session::{Group, Line, Recipient};
use crate::sublist::Owner;

use super::Router;

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

impl Router {
    /// Finds out what a line leads to, and whether its runs are simple: some plain subscriptions of
    /// this shard's clients want them, none of which has an end, and nobody else does.
    pub fn prepare_run(
        &mut self,
        line: &mut Line,
        subject: &[u8],
        reply: Option<&[u8]>,
        publisher: u32,
        echo: bool,
    ) {
        line.generation = Some(self.sublist.generation());
        line.heads.clear();
        line.groups.clear();
        line.members.clear();
        line.simple =
            self.collect(line, publisher, echo, subject) && self.group(line, subject, reply);
    }

    /// Collects the recipients; says whether all of them are simple, and there is one.
    fn collect(&mut self, line: &mut Line, publisher: u32, echo: bool, subject: &[u8]) -> bool {
        let matches = self.sublist.matches(subject);
        if !matches.queues.is_empty() {
            return false;
        }
        for member in &matches.plain {
            let Some(subscription) = self.subscriptions.get(member.id as usize) else {
                return false;
            };
            let Owner::Client(index) = subscription.owner else { return false };
            if subscription.max > 0 {
                return false;
            }
            if index != publisher || echo {
                line.members.push(Recipient { index, subscription: member.id });
            }
        }
        !line.members.is_empty()
    }

    /// Sorts the recipients into groups of the same sid and encodes their heads.
    fn group(&self, line: &mut Line, subject: &[u8], reply: Option<&[u8]>) -> bool {
        let subscriptions = &self.subscriptions;
        let sid = |member: &Recipient| &subscriptions[member.subscription as usize].sid;
        line.members.sort_by(|a, b| sid(a).cmp(sid(b)));
        let mut from = 0;
        for chunk in line.members.chunk_by(|a, b| sid(a) == sid(b)) {
            let head = line.heads.len();
            let (sid, size) = (sid(&chunk[0]), line.size);
            MsgHead { subject, sid, reply, header_len: 0, size }.encode(&mut line.heads);
            let members = from..from + chunk.len();
            from = members.end;
            line.groups.push(Group { head: head..line.heads.len(), members });
        }
        line.groups.len() <= GROUPS_MAX
    }

    /// Delivers a run whose line was [prepared](Self::prepare_run).
    /// Returns how many deliveries it made.
    pub fn deliver_run(&mut self, links: &mut LinkTable, line: &Line, run: &Run<'_>) -> u64 {
        let mut delivered = 0;
        for group in &line.groups {
            let head = &line.heads[group.head.clone()];
            delivered += match &line.members[group.members.clone()] {
                [one] => self.run_to_one(links, line, run, head, *one),
                many => self.run_to_many(links, line, run, head, many),
            };
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
        if !self.admit(links, to, run.count, each * run.count, line.size) {
            return 0;
        }
        let Some((link, pool)) = links.writer(to.index) else { return 0 };
        let mut messages = run.bytes[..run.count * run.stride].chunks_exact(run.stride);
        let mut left = run.count;
        while left > 0 {
            // As many as one block takes.
            let some = left.min((BLOCK_BYTES / each).max(1));
            link.queue.write(pool, some * each, |out| {
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
                delivered += self.give_run(links, *recipient, run.count, &scratch, None, line.size);
            }
            self.scratch = scratch;
            return delivered;
        }
        let mut block = links.pool.shared(bytes);
        if let Some(bytes) = Arc::get_mut(&mut block) {
            encode(bytes);
        }
        for recipient in to {
            delivered +=
                self.give_run(links, *recipient, run.count, &block, Some(&block), line.size);
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
        count: usize,
        bytes: &[u8],
        block: Option<&Arc<Vec<u8>>>,
        size: u32,
    ) -> u64 {
        if !self.admit(links, to, count, bytes.len(), size) {
            return 0;
        }
        let Some((link, pool)) = links.writer(to.index) else { return 0 };
        match block {
            Some(block) if !link.refused || bytes.len() * 2 >= block.capacity() => {
                #[expect(clippy::cast_possible_truncation, reason = "a run is a receive's length")]
                link.queue.share(pool, block, 0, bytes.len() as u32);
            }
            Some(_) | None => link.queue.copy(pool, bytes),
        }
        count as u64
    }

    /// Checks a recipient's limits and counts the delivery.
    fn admit(
        &mut self,
        links: &mut LinkTable,
        to: Recipient,
        count: usize,
        bytes: usize,
        size: u32,
    ) -> bool {
        let Some(link) = links.at_mut(to.index).filter(|link| link.closing == Closing::No) else {
            return false;
        };
        let slow = link.is_slow(&self.limits);
        if slow && self.drop_for_slow {
            self.dropped += count as u64;
            return false;
        }
        if link.queue.pending_bytes() + bytes > self.limits.max_pending {
            self.overflowed.push(to.index);
            return false;
        }
        self.reach.note(to.index, slow);
        link.out_msgs += count as u64;
        link.out_bytes += count as u64 * u64::from(size);
        self.subscriptions[to.subscription as usize].delivered += count as u64;
        true
    }
}
