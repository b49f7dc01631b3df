//! The two directions of one connection's socket, as far as bytes and flow are concerned.
//!
//! A link knows what is in flight on its socket, what waits to leave, and how the peer keeps up. It
//! knows no protocol. Links of a shard live in a [`LinkTable`]; a slot's index and generation are the
//! connection's token.

use std::time::Duration;

use ring::{Batch, Segment, Socket, Time, Token};

use crate::ids::AccountId;
use crate::transport::Transport;

use super::lanes::Lanes;
use super::outflow::{Narrow, Outflow};
use super::pool::Pool;
use super::queue::Queue;

/// Without a byte leaving for so long, a slow recipient counts as stalled: nobody waits for it.
const STALLED_AFTER: Duration = Duration::from_millis(50);
/// The high-water mark is a quarter of `max_pending`, and at most this: what waits longer leaves the
/// processor's cache. Measured (routed, 4 KiB): 4 and 8 MiB take 10-15 % more CPU, 512 KiB and 1 MiB 5-10 %.
const HIGH_WATER_MAX: usize = 2 << 20;
/// Above this, or three quarters of `max_pending`, a recipient is slow although its socket refuses nothing:
/// more than a turn brings it.
const SLOW_ANYWAY_MAX: usize = 24 << 20;
/// Bytes of a route's messages that are handed to its socket at a time while that has no room for more:
/// few, so that control and other accounts overtake what waits.
const ROUTE_BATCH_BYTES: usize = 256 << 10;
/// The same while the socket takes everything: no less than a turn brings in, or the queue would grow
/// out of the processor's cache although the wire is free.
const ROUTE_BATCH_BYTES_FREE: usize = 1 << 20;

/// How much may wait for one connection, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct OutboundLimits {
    /// Bytes above which the connection is closed as a slow consumer.
    pub max_pending: usize,
    /// How long bytes may wait while none leave.
    pub write_deadline: Duration,
}

impl OutboundLimits {
    /// Above this a recipient whose socket refuses bytes is slow.
    #[must_use]
    pub fn high_water(&self) -> usize {
        (self.max_pending / 4).min(HIGH_WATER_MAX)
    }

    /// Above this a recipient gets no more messages, where nobody waits for it: three quarters of
    /// `max_pending`, as with nats-server.
    #[must_use]
    pub const fn drop_mark(&self) -> usize {
        self.max_pending / 4 * 3
    }
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    /// It has not begun.
    #[default]
    No,
    /// What is queued still leaves, then the sending direction ends.
    Draining,
    /// The sending direction has ended; what the peer still sends is read and forgotten.
    Lingering,
    /// Both directions end; waits for the last completions.
    Ending,
    /// The socket is closed; subscriptions are still in the tables.
    Gone,
}

/// See the module's documentation.
pub struct Link {
    /// The socket.
    pub socket: Socket,
    /// What waits to leave; of a route what leaves next, as it goes over the wire.
    pub queue: Queue,
    /// What waits to leave by a route, by account.
    pub lanes: Option<Box<Lanes>>,
    /// How fast a route's bytes leave, where there is a real wire.
    pub outflow: Option<Box<Outflow>>,
    /// What stands between a route's bytes and those on the wire.
    pub transport: Option<Box<Transport>>,
    /// Lines to the server at the other end name the account.
    pub names_accounts: bool,
    /// The server at the other end knows the mark of messages that only their queue groups get.
    pub takes_passed_on: bool,
    /// What of `queue` the server's sum of waiting bytes has been told.
    pub counted_bytes: usize,
    /// Since when no byte left, while some wait.
    pub progress_at: Time,
    /// Since when the batch that is leaving has been leaving.
    pub batch_at: Time,
    /// The upper bound of when what is in flight came in.
    pub came_at: Time,
    /// When a message last left.
    pub active_at: Time,
    /// Messages handed to the queue.
    pub out_msgs: u64,
    /// Bytes of headers and payload handed to the queue.
    pub out_bytes: u64,
    /// The peer understands message headers.
    pub headers: bool,
    /// How far the end has come.
    pub closing: Closing,
    /// This turn has brought it messages.
    pub has_messages: bool,
    /// Subscriptions of it are still in the tables, although it ends.
    pub departing: bool,
    /// A receive is in flight.
    pub receiving: bool,
    /// It is received from piece by piece: what it sends goes over a narrow wire and had to wait, and
    /// much of it at once would keep from their turn those whose messages do not.
    pub piecewise: bool,
    /// A cancellation of the receive is under way.
    pub cancelling: bool,
    /// A send is in flight, or the wait for room before it.
    pub sending: bool,
    /// The socket took less than it was offered last time, or the wire is narrow and more waits.
    pub refused: bool,
    /// Somebody waits until less is queued here.
    pub is_awaited: bool,
    /// The socket has said that it has room.
    pub has_room: bool,
    /// Stands on the list of links to flush.
    pub dirty: bool,
    /// A write-deadline timer is running.
    pub timed: bool,
    /// A peer behind a real network: sends without copying may pay.
    pub zero_copy: bool,
}

impl Link {
    /// Counts messages that are handed to the queue, and the bytes of their headers and payloads.
    pub fn count_out(&mut self, messages: u64, bytes: u64) {
        self.out_msgs += messages;
        self.out_bytes += bytes;
        self.has_messages = true;
    }

    /// A link to a fresh socket.
    #[must_use]
    pub fn new(socket: Socket, now: Time, zero_copy: bool) -> Self {
        Self {
            socket,
            queue: Queue::default(),
            lanes: None,
            outflow: None,
            transport: None,
            names_accounts: false,
            takes_passed_on: false,
            counted_bytes: 0,
            progress_at: now,
            batch_at: now,
            came_at: now,
            active_at: Time::ZERO,
            out_msgs: 0,
            out_bytes: 0,
            headers: false,
            closing: Closing::No,
            has_messages: false,
            departing: false,
            receiving: false,
            piecewise: false,
            cancelling: false,
            sending: false,
            refused: false,
            is_awaited: false,
            has_room: false,
            dirty: false,
            timed: false,
            zero_copy,
        }
    }

    /// Bytes that have not left yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.queue.pending_bytes() + self.lanes.as_ref().map_or(0, |lanes| lanes.pending_bytes())
    }

    /// In how many pieces they lie; those that are in flight are one.
    #[must_use]
    pub fn chunks(&self) -> usize {
        usize::from(self.sending) + self.queue.chunks()
    }

    /// Where an account's messages are appended.
    pub fn queue_of(&mut self, account: AccountId) -> &mut Queue {
        let is_narrow = self.narrow().is_some();
        let Some(lanes) = &mut self.lanes else { return &mut self.queue };
        let queue = lanes.queue(account);
        queue.is_narrow = is_narrow;
        queue
    }

    /// Where answers and what else precedes messages is appended.
    pub fn control_queue(&mut self) -> &mut Queue {
        match &mut self.lanes {
            Some(lanes) => &mut lanes.control,
            None => &mut self.queue,
        }
    }

    /// By how much the waiting bytes have changed since they were counted last.
    pub fn count_bytes(&mut self) -> isize {
        let now = self.pending_bytes();
        let before = std::mem::replace(&mut self.counted_bytes, now);
        now.cast_signed().wrapping_sub(before.cast_signed())
    }

    /// Whether the recipient does not keep up with an account's messages: its socket refuses bytes
    /// while much is queued.
    #[must_use]
    pub fn is_slow(&self, account: AccountId, limits: &OutboundLimits) -> bool {
        let pending = self.pending_of(account);
        let slow_anyway = || {
            let most = limits.drop_mark().min(SLOW_ANYWAY_MAX);
            self.narrow().map_or(most, |narrow| most.min(narrow.high_water() * 3))
        };
        pending > self.high_water(limits) && (self.refused || pending > slow_anyway())
    }

    /// Bytes of an account's messages that wait.
    #[must_use]
    pub fn pending_of(&self, account: AccountId) -> usize {
        match &self.lanes {
            Some(lanes) => lanes.pending_of(account),
            None => self.queue.pending_bytes(),
        }
    }

    /// The route's wire, where that carries little.
    #[must_use]
    pub fn narrow(&self) -> Option<Narrow> {
        self.outflow.as_ref().and_then(|outflow| outflow.narrow())
    }

    /// Above this the recipient is slow while its socket refuses bytes.
    #[must_use]
    pub fn high_water(&self, limits: &OutboundLimits) -> usize {
        let high = limits.high_water();
        self.narrow().map_or(high, |narrow| high.min(narrow.high_water()))
    }

    /// Below this it has caught up.
    #[must_use]
    pub fn low_water(&self, limits: &OutboundLimits) -> usize {
        self.high_water(limits) / 2
    }

    /// Whether no other account has more waiting for this route.
    #[must_use]
    pub fn is_heaviest(&self, account: AccountId) -> bool {
        self.lanes.as_ref().is_none_or(|lanes| lanes.is_heaviest(account))
    }

    /// Whether what leaves next is not to be chosen before the socket has room: on a narrow wire, where
    /// what has been chosen is over only after long, and what comes meanwhile may overtake the rest.
    #[must_use]
    pub fn awaits_room(&self) -> bool {
        let may_wait = self.refused && !self.has_room && self.narrow().is_some();
        may_wait && !self.queue.has_rest() && self.has_work()
    }

    /// Whether something is there to be sent.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.queue.has_work() || self.lanes.as_ref().is_some_and(|lanes| lanes.has_work())
    }

    /// Bytes have left, with or without the socket having refused some. Says whether it is time to look
    /// how much the socket should hold.
    pub fn note_outflow(&mut self, now: Time, bytes: usize, whole: bool) -> bool {
        let Some(mut outflow) = self.outflow.take() else { return false };
        outflow.note(now, bytes, whole, self.has_work());
        let is_due = self.refused && outflow.is_look_due(now);
        self.outflow = Some(outflow);
        is_due
    }

    /// Moves what leaves next from a route's lanes to its queue, once that is empty: not too much, so
    /// that control still overtakes what waits. By `clock` sealing is measured.
    pub fn refill(&mut self, pool: &mut Pool, clock: &dyn Fn() -> Time) {
        let narrow = self.narrow();
        let Some(lanes) = &mut self.lanes else { return };
        if self.queue.has_work() || !lanes.has_work() {
            return;
        }
        let mut segments = pool.list();
        let usual = if self.refused { ROUTE_BATCH_BYTES } else { ROUTE_BATCH_BYTES_FREE };
        let shrinks = self.transport.as_ref().map_or(1, |transport| transport.shrinks_to_one_in());
        let most = narrow.map_or(usual, |narrow| usual.min(narrow.batch_bytes() * shrinks));
        lanes.take(pool, most, &mut segments);
        if self.transport.as_ref().is_none_or(|transport| transport.is_plain()) {
            return self.append_sealed(pool, segments);
        }
        let plain = segments.iter().map(Segment::len).sum();
        let before = self.transport.as_ref().map(|transport| transport.counts());
        let began = clock();
        self.append_sealed(pool, segments);
        let ended = clock();
        if let Some(lanes) = &mut self.lanes {
            lanes.sealing.note(plain, ended - began);
        }
        if let (Some(transport), Some(before)) = (&mut self.transport, before) {
            transport.weigh(ended, before, ended - began);
        }
    }

    /// Hands what waits in the control lane to the queue as it is, ahead of any sealing.
    pub fn release_control(&mut self, pool: &mut Pool) {
        if let Some(lanes) = &mut self.lanes {
            let mut segments = pool.list();
            lanes.control.drain_to(pool, usize::MAX, &mut segments);
            self.append_sealed(pool, segments);
        }
    }

    /// Appends what a layer of the transport has to say of its own.
    pub fn answer_handshake(&mut self, pool: &mut Pool) {
        if let Some(transport) = &mut self.transport
            && transport.wants_write()
        {
            let mut block = pool.block(0);
            transport.take_wire(&mut block);
            self.queue.append_block(pool, block);
        }
    }

    /// Seals segments and appends what they leave as.
    fn append_sealed(&mut self, pool: &mut Pool, mut segments: Vec<Segment>) {
        match &mut self.transport {
            Some(transport) if !transport.is_plain() => {
                let plain = segments.iter().map(Segment::len).sum::<usize>();
                let mut block = pool.block(plain);
                let slices = segments.iter().map(Segment::as_slice);
                // A handshake that keeps too much waiting is ended by its own timer.
                let sealed = transport.seal(&mut pool.scratch, slices, &mut block);
                debug_assert!(sealed.is_ok() || transport.is_handshaking(), "TLS takes its input");
                self.queue.append_block(pool, block);
            }
            Some(_) | None => self.queue.append_all(pool, &mut segments),
        }
        pool.recycle(Batch::new(segments));
    }

    /// Drops everything that is not in flight.
    pub fn discard(&mut self, pool: &mut Pool) {
        self.queue.discard(pool);
        if let Some(lanes) = &mut self.lanes {
            lanes.discard(pool);
        }
    }

    /// Whether bytes wait, and some left not longer than `within` ago.
    #[must_use]
    pub fn drains(&self, now: Time, within: Duration) -> bool {
        self.pending_bytes() > 0 && now - self.progress_at < within
    }

    /// Whether a slow recipient has not taken a byte for so long that nobody shall wait for it.
    #[must_use]
    pub fn is_stalled(&self, now: Time) -> bool {
        (self.refused || self.sending) && now - self.progress_at >= STALLED_AFTER
    }
}

/// The links of one shard.
#[derive(Default)]
pub struct LinkTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    /// Memory of all queues.
    pub pool: Pool,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    link: Option<Box<Link>>,
}

impl LinkTable {
    /// Puts a link into a free slot.
    pub fn insert(&mut self, link: Link) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        slot.link = Some(Box::new(link));
        Token::new(index, slot.generation)
    }

    /// Takes the link out; its token never names another one.
    pub fn remove(&mut self, index: u32) -> Option<Box<Link>> {
        let slot = self.slots.get_mut(index as usize)?;
        let link = slot.link.take()?;
        slot.generation = (slot.generation + 1) & 0x00ff_ffff;
        self.free.push(index);
        Some(link)
    }

    /// The link in a slot.
    #[must_use]
    pub fn at(&self, index: u32) -> Option<&Link> {
        self.slots.get(index as usize)?.link.as_deref()
    }

    /// The link in a slot.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Link> {
        self.slots.get_mut(index as usize)?.link.as_deref_mut()
    }

    /// The link that a token names, unless it is gone.
    pub fn get_mut(&mut self, token: Token) -> Option<&mut Link> {
        let slot = self.slots.get_mut(token.index as usize)?;
        (slot.generation == token.generation).then_some(slot.link.as_deref_mut()).flatten()
    }

    /// Whether the token's link is there.
    #[must_use]
    pub fn is_live(&self, token: Token) -> bool {
        self.slots
            .get(token.index as usize)
            .is_some_and(|slot| slot.generation == token.generation && slot.link.is_some())
    }

    /// The token of the link in a slot.
    #[must_use]
    pub fn token(&self, index: u32) -> Token {
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        Token::new(index, generation)
    }

    /// Whether there is a link in a slot, and it is not being closed.
    #[must_use]
    pub fn is_open(&self, index: u32) -> bool {
        self.at(index).is_some_and(|link| link.closing == Closing::No)
    }

    /// A queue to append to, and the memory for it. The link is flushed at the end of the turn.
    /// `None` when the link is gone or is being closed.
    pub fn writer(&mut self, index: u32) -> Option<(&mut Link, &mut Pool)> {
        let link = self.slots.get_mut(index as usize)?.link.as_deref_mut()?;
        if link.closing != Closing::No {
            return None;
        }
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(index);
        }
        Some((link, &mut self.pool))
    }

    /// The link in a slot together with the memory of all queues.
    pub fn with_pool(&mut self, index: u32) -> Option<(&mut Link, &mut Pool)> {
        let link = self.slots.get_mut(index as usize)?.link.as_deref_mut()?;
        Some((link, &mut self.pool))
    }

    /// Puts a link on the list of those to flush.
    pub fn touch(&mut self, index: u32) {
        if let Some(link) = self.slots.get_mut(index as usize).and_then(|slot| slot.link.as_mut())
            && !link.dirty
        {
            link.dirty = true;
            self.dirty.push(index);
        }
    }

    /// The links to flush; give the list back with [`restore_dirty`](Self::restore_dirty).
    pub fn take_dirty(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dirty)
    }

    /// Gives the list back, for its memory. Whoever became dirty meanwhile stays on it.
    pub fn restore_dirty(&mut self, mut list: Vec<u32>) {
        list.clear();
        list.append(&mut self.dirty);
        self.dirty = list;
    }

    /// Whether a link is to be flushed.
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// All links that are there, with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Link)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| Some((index, slot.link.as_deref()?)))
    }

    /// How many links there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
