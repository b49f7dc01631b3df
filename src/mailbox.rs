//! What shards, and the control thread, say to each other.
//!
//! Between each two shards runs one queue in each direction, in order: interest, messages and
//! acknowledgements keep the order in which they were said, which makes an acknowledgement a barrier.
//! Messages travel in parcels: a turn's messages for a shard in one block. The mailbox knows no
//! subscription and no ring; it rings the receiver's doorbell.
//!
//! Bounds: what lies in a box is counted in bytes; above the bound the box [is
//! full](Mailboxes::is_full), and the publisher that filled it is held. Letters that find the queue
//! itself full wait on the sender's side; interest and acknowledgements are never refused.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use ring::spsc::{self, Consumer, Producer};
use ring::{Doorbell, Socket, Time, Token};

use crate::engine::Inbound;
use crate::ids::AccountId;
use crate::router::{Delivered, Interest, Lost, Message, Origin, Place};

/// Letters that fit the queue between two shards.
const LETTERS_MAX: usize = 1024;
/// Bytes of parcels in a box above which it is full.
const BOX_BYTES_MAX: usize = 8 << 20;
/// A parcel of this size leaves before the turn ends.
const PARCEL_BYTES_MAX: usize = 128 << 10;

/// What one shard says to another.
pub enum Letter {
    /// A connection to serve.
    Adopt {
        /// The connection; it belongs to the receiver.
        socket: Socket,
        /// Who dialled.
        peer: SocketAddr,
        /// Which listener it came in by.
        door: Door,
    },
    /// The sender's clients, or servers behind its routes, want something more, or something less.
    Interest(Side, Interest),
    /// The sender has lost a connection to another server, and keeps what that wanted.
    Lost(Arc<Lost>),
    /// Messages for the receiver's clients.
    Parcel(Parcel),
    /// Say when everything before this has been done.
    Barrier {
        /// The sender's.
        token: Token,
        /// How often it was passed on, behind messages that were passed on.
        hops: u8,
    },
    /// Say when the servers behind the receiver's routes have done everything before this; the token
    /// is the sender's.
    RoutesBarrier(Token),
    /// Everything before that barrier has been done.
    BarrierDone(Token),
    /// A request of the receiver's client found nobody.
    Unserved(Unserved),
    /// All recipients of this publisher of the receiver's are slow here.
    Slow(Token),
    /// One of them is not slow any more.
    Moving(Token),
    /// Messages for the server itself. To the first shard, which publishes the answers: what the sender's
    /// clients want stands there when they come.
    ForServer(Inbound<Delivered>),
}

/// A request that a shard [was asked about](Sender::asks), and that nobody took.
pub struct Unserved {
    /// Who published it.
    pub publisher: Token,
    /// In which account.
    pub account: AccountId,
    /// Where.
    pub subject: Box<[u8]>,
    /// Where it wants its answer.
    pub reply: Box<[u8]>,
}

/// A listener of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Door {
    /// The one for clients.
    Clients,
    /// The one for other servers.
    Routes,
}

/// Whose interest a shard speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// That of its own clients, and of the server itself.
    Clients,
    /// That of the servers behind its routes.
    Routes,
}

/// Queue groups that another shard is to serve, as lists of names between blanks.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupLists<'a> {
    /// By one of its clients.
    pub clients: &'a [u8],
    /// By one of the servers behind its routes.
    pub routes: &'a [u8],
}

impl<'a> GroupLists<'a> {
    /// A group that is to be served in another place: the shard, and what it is told. Nothing for a
    /// route of this shard, which has been served.
    #[must_use]
    pub const fn elsewhere(place: Place, group: &'a [u8]) -> Option<(u16, Self)> {
        match place {
            Place::Shard(shard) => Some((shard, Self { clients: group, routes: &[] })),
            Place::ShardRoutes(shard) => Some((shard, Self { clients: &[], routes: group })),
            Place::Route(_) => None,
        }
    }
}

/// Messages, one behind the other in one block.
#[derive(Default)]
pub struct Parcel {
    bytes: Vec<u8>,
    /// How many messages.
    pub messages: u32,
    /// The turn that posted them.
    pub posted_at: Time,
}

/// One message of a parcel.
pub struct Posted<'a> {
    /// Who published it, where, and how it got here.
    pub sender: Sender,
    /// The message; its origin names the groups that the receiver is to serve.
    pub message: Message<'a>,
}

/// Who published a posted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The publisher, on its own shard.
    pub publisher: Token,
    /// That shard.
    pub home: u16,
    /// It does not want its own messages.
    pub quiet: bool,
    /// It is a route: its messages go to clients only.
    pub routed: bool,
    /// It wants to know if nobody takes the message, which goes to no other shard.
    pub asks: bool,
    /// Only the queue groups that are named want the message: others have had it.
    pub passed_on: bool,
    /// How many shards have passed the message on because they had no member of its queue group.
    pub hops: u8,
}

/// Lengths at the beginning of a posted message.
const HEAD: usize = 4 * 10;
/// In place of a length: not there.
const NONE: u32 = u32::MAX;

impl Parcel {
    fn add(&mut self, sender: Sender, message: &Message<'_>, groups: GroupLists<'_>) {
        let Sender { publisher, home, quiet, routed, asks, passed_on, hops } = sender;
        let flags = [quiet, routed, asks, passed_on];
        let flags = flags.iter().rev().fold(0, |flags, flag| flags << 1 | u32::from(*flag));
        let reply = message.reply.unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "a message's parts fit 32 bits")]
        let head = [
            publisher.index,
            publisher.generation,
            u32::from(home) << 16 | flags << 8 | u32::from(hops),
            u32::from(message.account.0),
            groups.routes.len() as u32,
            message.subject.len() as u32,
            message.reply.map_or(NONE, |reply| reply.len() as u32),
            groups.clients.len() as u32,
            message.header_len.unwrap_or(NONE),
            message.body.len() as u32,
        ];
        for word in head {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        for part in [groups.routes, message.subject, reply, groups.clients, message.body] {
            self.bytes.extend_from_slice(part);
        }
        self.messages += 1;
    }

    /// The messages, in order, as the shard that is `here` sees them.
    pub fn iter(&self, here: u16) -> impl Iterator<Item = Posted<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (head, mut parts) = rest.split_at_checked(HEAD)?;
            let mut words = head.chunks_exact(4).map(|word| {
                word.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
            });
            let mut word = || words.next().unwrap_or(0);
            let publisher = Token::new(word(), word());
            let [hops, flags, low, high] = word().to_le_bytes();
            let home = u16::from_le_bytes([low, high]);
            let [quiet, routed, asks, passed_on] = [1, 2, 4, 8].map(|flag| flags & flag != 0);
            let sender = Sender { publisher, home, quiet, routed, asks, passed_on, hops };
            #[expect(clippy::cast_possible_truncation, reason = "it was written from 16 bits")]
            let account = AccountId(word() as u16);
            let route_groups = word();
            let except = (sender.quiet && home == here).then_some(publisher.index);
            let [subject, reply, groups, header_len, body] = std::array::from_fn(|_| word());
            let mut part = |len: u32| {
                let (part, rest) = parts.split_at(len as usize);
                parts = rest;
                part
            };
            let route_groups = part(route_groups);
            let subject = part(subject);
            let reply = (reply != NONE).then(|| part(reply));
            let groups = part(groups);
            let message = Message {
                account,
                subject,
                reply,
                origin: Origin::Shard { groups, route_groups, passed_on, routed, except },
                header_len: (header_len != NONE).then_some(header_len),
                body: part(body),
                block: None,
            };
            rest = parts;
            Some(Posted { sender, message })
        })
    }
}

/// The boxes of one shard: one to and one from each other shard, and one from the control thread.
pub struct Mailboxes<C> {
    /// This shard's number.
    pub shard: u16,
    /// When this turn began, for whoever measures.
    pub now: Time,
    outgoing: Vec<Option<Outgoing>>,
    incoming: Vec<Option<Incoming>>,
    next_from: usize,
    control: mpsc::Receiver<C>,
}

struct Outgoing {
    queue: Producer<Letter>,
    /// Letters of this turn, and those that found the queue full.
    waiting: VecDeque<Letter>,
    open: Parcel,
    /// Bytes of parcels that the receiver has not taken yet.
    bytes: Arc<AtomicUsize>,
    bell: Option<Doorbell>,
}

struct Incoming {
    queue: Consumer<Letter>,
    bytes: Arc<AtomicUsize>,
}

/// Makes the boxes of `shards` shards, and what the control thread speaks to them with.
#[must_use]
pub fn connect<C>(shards: u16) -> (Vec<Mailboxes<C>>, Vec<mpsc::Sender<C>>) {
    let mut controls = Vec::new();
    let mut all: Vec<Mailboxes<C>> = (0..shards)
        .map(|shard| {
            let (sender, control) = mpsc::channel();
            controls.push(sender);
            let none = || std::iter::repeat_with(|| None).take(usize::from(shards)).collect();
            Mailboxes {
                shard,
                now: Time::ZERO,
                outgoing: none(),
                incoming: (0..shards).map(|_| None).collect(),
                next_from: 0,
                control,
            }
        })
        .collect();
    for from in 0..usize::from(shards) {
        for to in (0..usize::from(shards)).filter(|to| *to != from) {
            let (queue, other_end) = spsc::channel(LETTERS_MAX);
            let bytes = Arc::new(AtomicUsize::new(0));
            let taken = Arc::clone(&bytes);
            let (waiting, open) = (VecDeque::new(), Parcel::default());
            let outgoing = Outgoing { queue, waiting, open, bytes, bell: None };
            all[from].outgoing[to] = Some(outgoing);
            all[to].incoming[from] = Some(Incoming { queue: other_end, bytes: taken });
        }
    }
    (all, controls)
}

impl<C> Mailboxes<C> {
    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.outgoing.len()
    }

    /// All other shards, one bit each.
    #[must_use]
    pub fn others(&self) -> u64 {
        (0..self.shards()).filter(|other| *other != usize::from(self.shard)).map(|o| 1 << o).sum()
    }

    /// Learns another shard's doorbell.
    pub fn set_bell(&mut self, shard: u16, bell: Doorbell) {
        if let Some(outgoing) = &mut self.outgoing[usize::from(shard)] {
            outgoing.bell = Some(bell);
        }
    }

    /// Posts a letter, behind everything posted to that shard before.
    pub fn post(&mut self, shard: u16, letter: Letter) {
        if let Some(outgoing) = &mut self.outgoing[usize::from(shard)] {
            outgoing.close_parcel(self.now);
            outgoing.waiting.push_back(letter);
        }
    }

    /// Posts a letter to each of a set of shards.
    pub fn post_all(&mut self, shards: u64, letter: impl Fn() -> Letter) {
        for shard in bits(shards) {
            self.post(shard, letter());
        }
    }

    /// Posts the message of a publisher of this shard, who may [ask](Sender::asks) what becomes of it.
    pub fn post_message(
        &mut self,
        shard: u16,
        (publisher, asks): (Token, bool),
        message: &Message<'_>,
        groups: GroupLists<'_>,
    ) {
        let quiet = matches!(message.origin, Origin::Client { echo: false, .. });
        let routed = matches!(message.origin, Origin::Route { .. });
        let (home, passed_on) = (self.shard, message.origin.is_passed_on());
        let sender = Sender { publisher, home, quiet, routed, asks, passed_on, hops: 0 };
        self.post_from(shard, sender, message, groups);
    }

    /// Passes a message on to a shard that has a member of a queue group that this one has none of.
    pub fn pass_on(&mut self, shard: u16, posted: &Posted<'_>, groups: GroupLists<'_>) {
        let hops = posted.sender.hops.saturating_add(1);
        let sender = Sender { hops, passed_on: true, ..posted.sender };
        self.post_from(shard, sender, &posted.message, groups);
    }

    /// Passes a message that a route of this shard brought on to a shard that is to serve these queue
    /// groups of it, and nobody else.
    pub fn hand_on(
        &mut self,
        shard: u16,
        route: Token,
        message: &Message<'_>,
        groups: GroupLists<'_>,
    ) {
        let (home, asks) = (self.shard, false);
        let (quiet, routed, passed_on) = (false, true, true);
        let sender = Sender { publisher: route, home, quiet, routed, asks, passed_on, hops: 0 };
        self.post_from(shard, sender, message, groups);
    }

    fn post_from(
        &mut self,
        shard: u16,
        sender: Sender,
        message: &Message<'_>,
        groups: GroupLists<'_>,
    ) {
        if let Some(outgoing) = &mut self.outgoing[usize::from(shard)] {
            outgoing.open.add(sender, message, groups);
            if outgoing.open.bytes.len() >= PARCEL_BYTES_MAX {
                outgoing.close_parcel(self.now);
            }
        }
    }

    /// Whether a shard has been posted more than it has taken by the bound of its box.
    #[must_use]
    pub fn is_full(&self, shard: u16) -> bool {
        self.outgoing[usize::from(shard)].as_ref().is_some_and(|outgoing| {
            // Relaxed: a bound, not an order.
            outgoing.bytes.load(Ordering::Relaxed) + outgoing.open.bytes.len() > BOX_BYTES_MAX
                || outgoing.waiting.len() > LETTERS_MAX
        })
    }

    /// Sends off what was posted in this turn. Returns whether letters wait for room.
    pub fn flush(&mut self) -> bool {
        let mut waiting = false;
        for outgoing in self.outgoing.iter_mut().flatten() {
            outgoing.close_parcel(self.now);
            waiting |= outgoing.flush();
        }
        waiting
    }

    /// The next letter, and who posted it.
    pub fn next_letter(&mut self) -> Option<(u16, Letter)> {
        let shards = self.incoming.len();
        for step in 0..shards {
            // Each sender in turn, so that none is read before the others for ever.
            let from = (self.next_from + step) % shards;
            if let Some(letter) = self.incoming[from].as_mut().and_then(Incoming::next) {
                self.next_from = (from + 1) % shards;
                return Some((u16::try_from(from).unwrap_or(u16::MAX), letter));
            }
        }
        None
    }

    /// What the control thread said.
    pub fn next_control(&mut self) -> Option<C> {
        self.control.try_recv().ok()
    }
}

impl Outgoing {
    fn close_parcel(&mut self, now: Time) {
        if self.open.messages > 0 {
            let mut parcel = std::mem::take(&mut self.open);
            parcel.posted_at = now;
            self.bytes.fetch_add(parcel.bytes.len(), Ordering::Relaxed);
            self.waiting.push_back(Letter::Parcel(parcel));
        }
    }

    fn flush(&mut self) -> bool {
        // Also for what was posted in a turn before and finds room only now: its reader may sleep again.
        let is_news = !self.waiting.is_empty();
        while let Some(letter) = self.waiting.pop_front() {
            if let Err(letter) = self.queue.push(letter) {
                self.waiting.push_front(letter);
                break;
            }
        }
        if is_news {
            self.bell.iter().for_each(Doorbell::ring);
        }
        !self.waiting.is_empty()
    }
}

impl Incoming {
    fn next(&mut self) -> Option<Letter> {
        let letter = self.queue.pop()?;
        if let Letter::Parcel(parcel) = &letter {
            self.bytes.fetch_sub(parcel.bytes.len(), Ordering::Relaxed);
        }
        Some(letter)
    }
}

/// The members of a set of shards.
pub fn bits(mut set: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let lowest = u16::try_from(set.trailing_zeros()).ok().filter(|_| set != 0)?;
        set &= set - 1;
        Some(lowest)
    })
}
