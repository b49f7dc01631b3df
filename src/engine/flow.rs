//! Who waits when somebody is slow, and what leaves at the end of a turn.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ring::{Batch, Errno, Op, SendMode, Time, Token};

use crate::close::CloseReason;
use crate::ids::AccountId;
use crate::mailbox::bits;
use crate::outbound::{Closing, Link};
use crate::session::{Client, Hold};

use super::Engine;
use super::timers::Timer;

/// Publishers that may go on in one turn: each may land what it has in hand at once.
const RELEASED_A_TURN: usize = 16;
/// How often held publishers and stalled recipients are looked at when no recipient moves.
pub(super) const HELD_TICK: Duration = Duration::from_millis(10);
/// From this length on a send without copying may pay.
const ZERO_COPY_BYTES_MIN: usize = 64 << 10;

/// What may leave before a sleep without being heard of: what is still counted then as waiting, and held in
/// memory, has left.
const UNHEARD_BYTES_MAX: usize = 64 << 10;
const UNHEARD_SENDS_MAX: usize = 16;

/// The sends of a turn.
#[derive(Default)]
pub(super) struct Leaving {
    sends: usize,
    bytes: usize,
    /// Something follows when they are over.
    has_sequel: bool,
}

impl Leaving {
    /// Whether the turn that carries them out is not to sleep before it tells of them.
    pub(super) const fn is_awaited(&self) -> bool {
        let is_much = self.sends > UNHEARD_SENDS_MAX || self.bytes > UNHEARD_BYTES_MAX;
        self.has_sequel || is_much
    }
}

impl Engine {
    /// Holds a publisher that must wait for somebody.
    pub(super) fn hold_if_all_slow(&mut self, index: u32, client: &mut Client) {
        let Some(hold) = self.reason_to_hold(client) else { return };
        let is_narrow =
            |slow: &Token| self.links.at(slow.index).is_some_and(|it| it.narrow().is_some());
        let piecewise =
            matches!(&hold, Hold::Recipients { slow, .. } if slow.iter().any(is_narrow));
        if let Some(link) = self.links.at_mut(index) {
            link.piecewise = piecewise;
        }
        client.hold = Some(Box::new(hold));
        client.stalls += 1;
        self.counters.stalled_clients += 1;
        self.await_progress(match client.hold.as_deref() {
            Some(Hold::Recipients { slow, .. }) => slow,
            Some(Hold::Routes(over)) => over,
            _ => &[],
        });
        self.held.push_back(self.links.token(index));
    }

    /// Somebody waits until these have caught up.
    pub(super) fn await_progress(&mut self, slow: &[Token]) {
        for token in slow {
            if let Some(link) = self.links.at_mut(token.index) {
                link.is_awaited = true;
            }
        }
    }

    /// Whether what a publisher's turn has brought so far is more than the server or a mailbox may
    /// hold, or all its recipients are slow, and one of them still moves.
    fn reason_to_hold(&self, client: &Client) -> Option<Hold> {
        let (reach, shards) = (&self.router.reach, self.reached_shards);
        if self.is_over_memory() {
            return Some(Hold::Memory);
        }
        let full = bits(shards).filter(|shard| self.mail.is_full(*shard));
        let full = full.fold(0, |set, shard| set | 1 << shard);
        if full != 0 {
            return Some(Hold::Mailbox(full));
        }
        if !reach.over.is_empty() {
            let over = reach.over.iter().map(|index| self.links.token(*index)).collect();
            return Some(Hold::Routes(over));
        }
        if reach.moving || self.router.drop_for_slow || shards & !client.slow_shards != 0 {
            return None;
        }
        let stalled =
            |index: &u32| self.links.at(*index).is_none_or(|link| link.is_stalled(self.now));
        if shards == 0 && reach.slow.iter().all(stalled) {
            return None;
        }
        let slow = reach.slow.iter().map(|slow| self.links.token(*slow)).collect();
        Some(Hold::Recipients { slow, shards })
    }

    fn is_over_memory(&self) -> bool {
        // Relaxed: a bound, not an order.
        self.shared.pending_bytes.load(Ordering::Relaxed) > self.options.max_pending_total
    }

    /// Lets publishers go on whose recipients have caught up; a few at a time.
    pub(super) fn release_held(&mut self) {
        let due = self.progress || self.now - self.held_checked_at >= HELD_TICK;
        if !due {
            return;
        }
        self.progress = false;
        self.held_checked_at = self.now;
        self.tell_moving();
        let mut released = 0;
        for _ in 0..self.held.len() {
            let Some(token) = self.held.pop_front() else { break };
            if !self.links.is_live(token) {
                continue;
            }
            if released < RELEASED_A_TURN && self.may_go_on(token) {
                released += 1;
                self.resume(token.index);
            } else {
                self.held.push_back(token);
            }
        }
        // The next are for the next turn, at once.
        self.progress |= released == RELEASED_A_TURN;
    }

    fn may_go_on(&self, publisher: Token) -> bool {
        let Some(client) = self.clients[publisher.index as usize].as_deref() else { return true };
        match client.hold.as_deref() {
            Some(Hold::Memory) => !self.is_over_memory(),
            Some(Hold::Routes(over)) => {
                let most = self.options.routes.outbound.max_pending;
                over.iter().all(|token| self.is_gone_or(*token, |it| it.pending_bytes() <= most))
            }
            Some(Hold::Mailbox(full)) => bits(*full).all(|shard| !self.mail.is_full(shard)),
            Some(Hold::Recipients { slow, shards }) => {
                self.one_moves(slow, client.account) || shards & !client.slow_shards != 0
            }
            Some(Hold::Verdict | Hold::Barrier(_) | Hold::Turn) => false,
            None => true,
        }
    }

    /// Whether of these slow recipients of an account's messages one has caught up or is gone, or nobody
    /// takes anything.
    pub(super) fn one_moves(&self, slow: &[Token], account: AccountId) -> bool {
        let caught_up = |token: &Token| {
            let is_short = |it: &Link| it.pending_of(account) < self.options.low_water(it);
            self.is_gone_or(*token, is_short)
        };
        let stalled =
            |token: &Token| self.links.at(token.index).is_some_and(|l| l.is_stalled(self.now));
        !slow.is_empty() && (slow.iter().any(caught_up) || slow.iter().all(stalled))
    }

    /// Whether a connection is gone or on its way out, or else is as asked.
    fn is_gone_or(&self, token: Token, is: impl Fn(&Link) -> bool) -> bool {
        !self.links.is_live(token)
            || !self.links.is_open(token.index)
            || self.links.at(token.index).is_some_and(is)
    }

    /// What was sent, or was not.
    pub(super) fn sent(
        &mut self,
        token: Token,
        batch: Batch,
        bytes: usize,
        error: Option<Errno>,
        copied: bool,
        timely: bool,
    ) {
        let now = self.now;
        let Some((link, pool)) = self.links.with_pool(token.index) else { return };
        debug_assert!(link.sending, "a completion for nothing");
        link.sending = false;
        link.zero_copy &= !copied;
        let whole = bytes == batch.remaining();
        // Also when the socket refused nothing: what it refused may have left in the turn before.
        self.progress |= bytes > 0 && (link.refused || link.is_awaited);
        if bytes > 0 {
            link.progress_at = now;
        }
        link.queue.settle(pool, batch, bytes);
        link.is_awaited &= link.pending_bytes() > 0;
        link.refused = !whole || (link.narrow().is_some() && link.has_work());
        if link.note_outflow(now, bytes, whole) {
            let rate = link.narrow().map(|narrow| narrow.rate);
            self.ops.push((token, Op::Fit { socket: link.socket, rate }));
        }
        self.pending_change += link.count_bytes();
        let came_at = link.came_at;
        if timely {
            self.latency.sent(now, came_at);
        } else {
            self.latency.sent_at_some_time();
        }
        self.counters.sends += 1;
        self.counters.short_sends += u64::from(!whole && error.is_none());
        self.counters.zero_copy_copied += u64::from(copied);
        if error.is_some() {
            link.discard(pool);
            if link.closing == Closing::No {
                self.close(token.index, CloseReason::WriteError.into());
            } else {
                self.cut(token.index);
            }
            return;
        }
        let goes_on = link.has_work() || link.closing != Closing::No;
        if !whole {
            self.watch_progress(token);
        }
        if goes_on {
            self.links.touch(token.index);
        }
    }

    /// A socket has room for what is to leave next.
    pub(super) fn has_room(&mut self, token: Token) {
        let Some(link) = self.links.at_mut(token.index) else { return };
        debug_assert!(link.sending, "a completion for nothing");
        link.sending = false;
        link.has_room = true;
        if let Some(outflow) = &mut link.outflow {
            outflow.has_room(self.counters.turns);
        }
        self.links.touch(token.index);
    }

    /// Each link that something was queued for sends it, if it is not sending already.
    pub(super) fn flush(&mut self, clock: &dyn Fn() -> Time) {
        self.leaving = Leaving::default();
        let dirty = self.links.take_dirty();
        for index in &dirty {
            self.flush_link(*index, clock);
        }
        self.links.restore_dirty(dirty);
        if !self.router.overflowed.is_empty() {
            self.leaving.has_sequel = true;
            self.settle_overflowed();
        }
        let change = std::mem::take(&mut self.pending_change);
        if change != 0 {
            // Relaxed: a bound, not an order. Adding a negative number wraps around to less.
            self.shared.pending_bytes.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        }
        let somebody_waits = !self.held.is_empty() || !self.told_slow.is_empty();
        let is_awaited = somebody_waits || self.latency.is_one_to_be_timed();
        self.leaving.has_sequel |= self.leaving.sends > 0 && is_awaited;
    }

    fn flush_link(&mut self, index: u32, clock: &dyn Fn() -> Time) {
        let token = self.links.token(index);
        let Some((link, pool)) = self.links.with_pool(index) else { return };
        link.dirty = false;
        if std::mem::take(&mut link.has_messages) {
            link.active_at = self.now;
        }
        self.pending_change += link.count_bytes();
        let pending = link.queue.pending_bytes();
        let bounded = link.lanes.is_none() && link.closing == Closing::No;
        if bounded && pending > self.options.outbound.max_pending {
            // Answers count, too: who asks must listen.
            self.router.overflowed.push(index);
        }
        if link.sending {
            return;
        }
        if link.closing == Closing::Ending {
            return self.advance_closing(index, false);
        }
        if link.awaits_room() {
            link.sending = true;
            link.batch_at = self.now;
            link.came_at = self.latency.send();
            if let Some(outflow) = &mut link.outflow {
                outflow.asks_for_room(self.counters.turns);
            }
            self.ops.push((token, Op::AwaitRoom { socket: link.socket }));
            return self.watch_progress(token);
        }
        let has_room = std::mem::take(&mut link.has_room);
        link.refill(pool, clock);
        if !link.queue.has_rest() {
            link.batch_at = self.now;
        }
        let Some(batch) = link.queue.take(pool) else {
            if link.closing != Closing::No {
                self.advance_closing(index, false);
            }
            return;
        };
        let mode = if link.zero_copy && batch.remaining() >= ZERO_COPY_BYTES_MIN {
            SendMode::ZeroCopy
        } else if link.refused && !has_room {
            SendMode::Wait
        } else {
            SendMode::Try
        };
        if !link.refused {
            link.progress_at = self.now;
        }
        link.sending = true;
        if !has_room {
            link.came_at = self.latency.send();
        }
        self.counters.zero_copy_sends += u64::from(mode == SendMode::ZeroCopy);
        self.leaving.sends += 1;
        self.leaving.bytes += batch.remaining();
        // A send that waited for room is timed whatever it costs: the wait says how the route does.
        self.leaving.has_sequel |= link.has_work() || link.closing != Closing::No || has_room;
        self.ops.push((token, Op::Send { socket: link.socket, batch, mode }));
        if mode != SendMode::Try {
            self.watch_progress(token);
        }
    }

    /// From now on bytes wait that the socket may not take.
    fn watch_progress(&mut self, token: Token) {
        if let Some(link) = self.links.at_mut(token.index)
            && !link.timed
        {
            link.timed = true;
            let at = self.now + self.options.write_deadline(link);
            self.timers.schedule(at, (token, Timer::Write));
        }
    }
}
