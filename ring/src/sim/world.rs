//! The state that all rings and peers of one simulation share: clock, events, network, servers.
//!
//! The world decides nothing that a kernel or a network would not decide. All its randomness comes
//! from the seed; all its order comes from that randomness, from event times and from counters.
//!
//! Invariants: the clock never goes backwards; an event is handled exactly once; an operation that was
//! pushed is in flight until its final completion, and there is exactly one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::SimOptions;
use super::network::{Arrival, Conn, End, EndId, Owner, Packet};
use super::rng::Rng;
use super::server::{RingState, Server};
use super::trace::Trace;
use crate::{Errno, Time, Token};

pub(super) struct World {
    pub(super) now: Time,
    events: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    pub(super) options: SimOptions,
    /// What the network and the faults draw from.
    pub(super) network: Rng,
    /// What the order of independent things draws from.
    pub(super) order: Rng,
    conns: Vec<Conn>,
    dials: Vec<Dial>,
    pub(super) listeners: BTreeMap<SocketAddr, ListenerOwner>,
    /// Pairs of addresses, the lesser first, between which nothing passes.
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    pub(super) servers: Vec<Server>,
    pub(super) rings: Vec<RingState>,
    pub(super) trace: Trace,
    pub(super) counts: Counts,
    peers: u16,
    port_last: u16,
}

/// What a simulation has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Turns of all rings.
    pub turns: u64,
    /// Completions of all rings.
    pub completions: u64,
    /// Received bytes of all rings.
    pub received_bytes: u64,
    /// Sent bytes of all rings.
    pub sent_bytes: u64,
    /// Leases that were still held when their ring's next turn began.
    pub leases_held_over: u64,
    /// Connections that a fault broke or silenced.
    pub broken: u64,
}

/// Something that is going to happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A packet arrives at an end.
    Arrive(EndId),
    /// The other side of an end has waited long enough for what it sent to arrive there.
    GiveUp(EndId),
    /// The opening packet of a dial arrives.
    Open(usize),
    /// The answer to a dial arrives.
    Answer(usize, Option<Errno>),
    /// Two addresses reach each other again.
    Heal(IpAddr, IpAddr),
    /// The kernel lets go of the bytes of a zero-copy send of an end.
    Notice(EndId),
    /// Somebody waits for this moment.
    Due,
}

/// Who listens.
pub(super) enum ListenerOwner {
    /// A socket of a server.
    Socket { server: usize, number: usize },
    /// A test, with those it has not accepted.
    Peer { backlog: VecDeque<EndId> },
}

/// Who dials.
#[derive(Clone, Copy)]
pub(super) enum Dialer {
    Ring { ring: usize, token: Token },
    Peer,
}

#[derive(Clone, Copy)]
struct Dial {
    end: EndId,
    by: Dialer,
    to: SocketAddr,
    give_up_at: Time,
    attempts: u32,
}

impl World {
    pub(super) fn new(options: SimOptions) -> Self {
        let root = Rng::new(options.seed);
        Self {
            now: options.epoch,
            events: BTreeMap::new(),
            scheduled: 0,
            network: root.fork("network"),
            order: root.fork("order"),
            options,
            conns: Vec::new(),
            dials: Vec::new(),
            listeners: BTreeMap::new(),
            cuts: BTreeSet::new(),
            servers: Vec::new(),
            rings: Vec::new(),
            trace: Trace::new(),
            counts: Counts::default(),
            peers: 0,
            port_last: EPHEMERAL_PORT_FIRST - 1,
        }
    }
}

/// The clock and what is going to happen.
impl World {
    pub(super) fn schedule(&mut self, at: Time, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    /// When the next event is due.
    pub(super) fn next_event(&self) -> Option<Time> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves the clock, never backwards, and lets happen what is due by then.
    pub(super) fn advance_to(&mut self, time: Time) {
        while let Some(at) = self.next_event().filter(|at| *at <= time) {
            self.now = self.now.max(at);
            self.settle();
        }
        self.now = self.now.max(time);
    }

    /// Lets happen what is due now.
    pub(super) fn settle(&mut self) {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now)
        {
            let event = entry.remove();
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive(end) => self.on_arrive(end),
            Event::GiveUp(end) => self.on_give_up(end),
            Event::Open(dial) => self.on_open(dial),
            Event::Answer(dial, error) => self.on_answer(dial, error),
            Event::Heal(a, b) => self.heal(a, b),
            Event::Notice(end) => self.touch(end),
            Event::Due => {}
        }
    }
}

/// Connections.
impl World {
    /// An end, to be changed. What its socket, or the one at the other side, waits for may be
    /// there after that.
    pub(super) fn end(&mut self, id: EndId) -> &mut End {
        self.touch(id);
        self.touch(id.other());
        &mut self.conns[id.conn].ends[id.side]
    }

    /// Something has changed at an end.
    fn touch(&mut self, id: EndId) {
        if let Some((server, number)) = self.end_ref(id).socket {
            self.touch_socket(server, number);
        }
    }

    pub(super) fn end_ref(&self, id: EndId) -> &End {
        &self.conns[id.conn].ends[id.side]
    }

    /// How many bytes an end can send now.
    pub(super) fn room(&self, from: EndId) -> usize {
        if self.end_ref(from).dialing { 0 } else { self.end_ref(from.other()).room() }
    }

    /// Sends a packet to the other side.
    pub(super) fn transmit(&mut self, from: EndId, packet: Packet) {
        let at = self.now + self.latency();
        let to = from.other();
        let at = self.end(to).post(at, packet);
        self.schedule(at, Event::Arrive(to));
    }

    /// A random time under way.
    pub(super) fn latency(&mut self) -> Duration {
        let (low, high) = (self.options.faults.latency_min, self.options.faults.latency_max);
        low + self.random_span(high.saturating_sub(low))
    }

    /// A random time below `max`.
    pub(super) fn random_span(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.network.below_u64(nanos))
    }

    /// Whether nothing arrives on a connection.
    fn is_blocked(&self, conn: usize) -> bool {
        let Conn { ends: [one, two], vanished } = &self.conns[conn];
        *vanished || self.is_cut(one.address.ip(), two.address.ip())
    }

    fn on_arrive(&mut self, to: EndId) {
        if self.network.happens(self.options.faults.vanish) {
            self.vanish(to);
        }
        if self.is_blocked(to.conn) {
            self.doubt(to);
            return;
        }
        let now = self.now;
        while let Some(packet) = self.end(to).next_arrived(now) {
            if self.end(to).arrive(packet) == Arrival::Unwanted {
                self.end(to).die(Errno::BROKEN_PIPE);
                self.transmit(to, Packet::Reset);
            }
        }
        self.pump(to.other());
    }

    /// From now on nothing arrives on a connection.
    pub(super) fn vanish(&mut self, end: EndId) {
        if !self.conns[end.conn].vanished {
            self.conns[end.conn].vanished = true;
            self.counts.broken += 1;
        }
    }

    /// What is under way to `to` does not arrive: the sender will give up some day.
    fn doubt(&mut self, to: EndId) {
        if !self.end_ref(to).has_flight() || self.end_ref(to).doubted {
            return;
        }
        self.end(to).doubted = true;
        let at = self.now + self.options.give_up;
        self.schedule(at, Event::GiveUp(to));
    }

    fn on_give_up(&mut self, to: EndId) {
        self.end(to).doubted = false;
        if self.is_blocked(to.conn) && self.end(to).has_flight() {
            self.end(to).drop_flight();
            self.end(to.other()).die(Errno::TIMED_OUT);
        }
    }

    /// Moves what the program behind a test's end has written into its socket.
    pub(super) fn pump(&mut self, from: EndId) {
        let room = self.room(from);
        let end = self.end(from);
        if end.owner != Owner::Peer || end.send_shut || end.dialing {
            return;
        }
        let count = room.min(end.peer.outbox.len());
        let bytes: Vec<u8> = end.peer.outbox.drain(..count).collect();
        let finish = end.peer.finish && end.peer.outbox.is_empty();
        end.send_shut = finish;
        if count > 0 {
            self.transmit(from, Packet::Data(bytes));
        }
        if finish {
            self.transmit(from, Packet::Fin);
        }
    }

    /// Takes `count` of the bytes that wait at an end; the other side gets room.
    pub(super) fn read(&mut self, at: EndId, count: usize) -> Vec<u8> {
        let bytes = self.end(at).read(count);
        self.pump(at.other());
        bytes
    }

    /// Ends the sending half of an end.
    pub(super) fn shut_sending(&mut self, from: EndId) {
        if !self.end(from).send_shut {
            self.end(from).send_shut = true;
            self.transmit(from, Packet::Fin);
        }
    }

    /// Closes an end as a kernel does: with a reset when there is something unread.
    pub(super) fn close_end(&mut self, end: EndId) {
        if self.end_ref(end).waiting() > 0 {
            self.reset(end);
        } else {
            self.shut_sending(end);
        }
        self.end(end).owner = Owner::Gone;
        self.end(end).socket = None;
    }

    /// Breaks a connection from one end.
    pub(super) fn reset(&mut self, from: EndId) {
        if !self.end(from).dead {
            self.end(from).die(Errno::RESET);
            self.transmit(from, Packet::Reset);
        }
    }

    /// A fault: the connection dies for both ends, or for one while the other hears nothing.
    pub(super) fn break_connection(&mut self, end: EndId) {
        let error = match self.network.below(3) {
            0 => Errno::RESET,
            1 => Errno::BROKEN_PIPE,
            _ => Errno::TIMED_OUT,
        };
        if error == Errno::TIMED_OUT {
            self.vanish(end);
        } else {
            self.counts.broken += 1;
            self.transmit(end, Packet::Reset);
        }
        self.end(end).die(error);
    }
}

/// Partitions.
impl World {
    pub(super) fn cut(&mut self, a: IpAddr, b: IpAddr) {
        self.cuts.insert((a.min(b), a.max(b)));
    }

    fn is_cut(&self, a: IpAddr, b: IpAddr) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn heal(&mut self, a: IpAddr, b: IpAddr) {
        if self.cuts.remove(&(a.min(b), a.max(b))) {
            self.resend();
        }
    }

    pub(super) fn heal_all(&mut self) {
        self.cuts.clear();
        self.resend();
    }

    /// What did not get through is sent once more.
    fn resend(&mut self) {
        for end in (0..self.conns.len()).flat_map(|conn| [0, 1].map(|side| EndId { conn, side })) {
            if self.end_ref(end).has_flight() {
                let at = self.now + self.latency();
                self.schedule(at, Event::Arrive(end));
            }
        }
    }
}

/// Dialling and listening.
impl World {
    /// Dials; the answer arrives as [`Event::Answer`].
    pub(super) fn dial(&mut self, from: SocketAddr, to: SocketAddr, by: Dialer) -> EndId {
        let window = self.options.window;
        let owner = match by {
            Dialer::Ring { .. } => Owner::Socket,
            Dialer::Peer => Owner::Peer,
        };
        let mut near = End::new(owner, from, window);
        near.dialing = true;
        let far = End::new(Owner::Nobody, to, window);
        let end = EndId { conn: self.conns.len(), side: 0 };
        self.conns.push(Conn { ends: [near, far], vanished: false });
        let give_up_at = self.now + self.options.connect_timeout;
        self.dials.push(Dial { end, by, to, give_up_at, attempts: 0 });
        let at = self.now + self.latency();
        self.schedule(at, Event::Open(self.dials.len() - 1));
        end
    }

    fn on_open(&mut self, dial: usize) {
        let Dial { end, to, by, .. } = self.dials[dial];
        // A client that gave up would be missed by those who count on it, and says nothing of a server.
        let is_ring = matches!(by, Dialer::Ring { .. });
        let lost = self.network.happens(self.options.faults.connect_silent) && is_ring;
        if lost || self.is_blocked(end.conn) || !self.is_reachable(to.ip()) {
            self.try_again(dial, Event::Open(dial));
            return;
        }
        let refused = self.network.happens(self.options.faults.connect_refused);
        if refused || !self.listeners.contains_key(&to) {
            let at = self.now + self.latency();
            self.schedule(at, Event::Answer(dial, Some(Errno::REFUSED)));
        } else if self.enter_backlog(to, end.other()) {
            let at = self.now + self.latency();
            self.schedule(at, Event::Answer(dial, None));
        } else {
            self.try_again(dial, Event::Open(dial));
        }
    }

    /// A packet of a dial was lost: it is sent again after a while, longer each time, until the
    /// dial times out.
    fn try_again(&mut self, dial: usize, event: Event) {
        let Dial { give_up_at, attempts, .. } = self.dials[dial];
        if self.now >= give_up_at {
            self.finish_dial(dial, Some(Errno::TIMED_OUT));
            return;
        }
        self.dials[dial].attempts += 1;
        let pause = Duration::from_secs(1 << attempts.min(6));
        self.schedule((self.now + pause).min(give_up_at), event);
    }

    /// Whether any machine answers at an address.
    fn is_reachable(&self, ip: IpAddr) -> bool {
        self.servers.iter().any(|server| server.is_up && server.ip == ip)
            || self.listeners.keys().any(|address| address.ip() == ip)
    }

    /// Puts an end where it waits to be accepted; false when there is no room.
    fn enter_backlog(&mut self, to: SocketAddr, end: EndId) -> bool {
        let backlog_max = self.options.backlog_max;
        let Some(backlog) = self.backlog(to).filter(|backlog| backlog.len() < backlog_max) else {
            return false;
        };
        backlog.push_back(end);
        if let Some(ListenerOwner::Socket { server, number }) = self.listeners.get(&to) {
            self.touch_socket(*server, *number);
        }
        self.end(end).owner = Owner::Backlog;
        true
    }

    fn backlog(&mut self, address: SocketAddr) -> Option<&mut VecDeque<EndId>> {
        match self.listeners.get_mut(&address)? {
            ListenerOwner::Peer { backlog } => Some(backlog),
            ListenerOwner::Socket { server, number } => {
                Some(&mut self.servers[*server].listener(*number)?.backlog)
            }
        }
    }

    fn on_answer(&mut self, dial: usize, error: Option<Errno>) {
        if self.is_blocked(self.dials[dial].end.conn) {
            self.try_again(dial, Event::Answer(dial, error));
        } else {
            self.finish_dial(dial, error);
        }
    }

    fn finish_dial(&mut self, dial: usize, error: Option<Errno>) {
        let Dial { end, by, .. } = self.dials[dial];
        self.end(end).dialing = false;
        if let Some(error) = error {
            self.end(end).die(error);
        }
        match by {
            Dialer::Peer => self.pump(end),
            Dialer::Ring { ring, .. } if !self.servers[self.rings[ring].server].is_up => {
                self.close_end(end);
            }
            Dialer::Ring { ring, token } => {
                let result = error.map_or(Ok(end), Err);
                self.rings[ring].dialed.push_back((token, result));
            }
        }
    }

    /// An address of `ip` that nobody has used for long.
    pub(super) fn fresh_address(&mut self, ip: IpAddr) -> SocketAddr {
        self.port_last = self.port_last.checked_add(1).unwrap_or(EPHEMERAL_PORT_FIRST);
        SocketAddr::new(ip, self.port_last)
    }

    /// The address of a test's client, in a range that is kept for benchmarks.
    pub(super) fn fresh_peer_ip(&mut self) -> IpAddr {
        self.peers = self.peers.wrapping_add(1);
        let [high, low] = self.peers.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(198, 18, high, low))
    }
}

const EPHEMERAL_PORT_FIRST: u16 = 32_768;
