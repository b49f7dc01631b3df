//! Virtual connections: two ends, and for each the bytes under way to it.
//!
//! A connection is a pair of ordered byte streams with a bounded buffer each. It knows packets only
//! in so far as bytes, an end of file and a reset arrive in order after some time. Nothing here
//! knows when they arrive or who is told; that is the world's business.
//!
//! Invariant: bytes under way to an end and bytes waiting in it are together at most its `window`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::{Errno, Time};

/// One end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId {
    pub(super) conn: usize,
    pub(super) side: usize,
}

impl EndId {
    /// The end at the other side.
    pub(super) const fn other(self) -> Self {
        Self { conn: self.conn, side: 1 - self.side }
    }
}

/// A connection.
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    /// Nothing arrives any more, in either direction, and nobody is told.
    pub(super) vanished: bool,
}

/// Who has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The opening packet has not arrived.
    Nobody,
    /// It waits to be accepted.
    Backlog,
    /// A socket of a server; the server holds the number.
    Socket,
    /// A test.
    Peer,
    /// It was closed.
    Gone,
}

/// What is under way.
#[derive(Debug)]
pub(super) enum Packet {
    Data(Vec<u8>),
    Fin,
    Reset,
}

/// What an arrival did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// All is well.
    Taken,
    /// Nobody is there to take it: the sender is told by a reset.
    Unwanted,
}

/// An end of a connection.
pub(super) struct End {
    pub(super) owner: Owner,
    pub(super) address: SocketAddr,
    /// The server and the number of the socket that has it.
    pub(super) socket: Option<(usize, usize)>,
    /// The dial that made this end has not been answered: nothing can be sent.
    pub(super) dialing: bool,
    /// How many bytes may be under way to this end or wait in it.
    window: usize,
    flight: VecDeque<(Time, Packet)>,
    flight_bytes: usize,
    /// Packets of one direction do not overtake each other.
    arrival_last: Time,
    /// A give-up is scheduled for what is under way to this end.
    pub(super) doubted: bool,
    waiting: VecDeque<u8>,
    /// The other side has sent its last byte, and it has arrived.
    pub(super) fin_seen: bool,
    /// No packet goes out any more: shut down, closed or reset.
    pub(super) send_shut: bool,
    pub(super) receive_shut: bool,
    /// The connection is dead for this end.
    pub(super) dead: bool,
    /// Why; taken by the first operation that is told.
    pub(super) error: Option<Errno>,
    pub(super) peer: PeerSide,
}

/// What a test's end has besides: a program that reads and writes by itself.
#[derive(Default)]
pub(super) struct PeerSide {
    /// Written, and not yet taken by the socket.
    pub(super) outbox: VecDeque<u8>,
    /// Close for sending when the outbox is empty.
    pub(super) finish: bool,
    /// Does not read from the socket.
    pub(super) stopped: bool,
    /// The program is gone: whatever still comes is answered with a reset.
    pub(super) closed: bool,
    /// Read, and not yet taken by the test.
    pub(super) inbox: Vec<u8>,
    /// How the connection died, once it did.
    pub(super) died_of: Option<Errno>,
}

impl End {
    pub(super) fn new(owner: Owner, address: SocketAddr, window: usize) -> Self {
        Self {
            owner,
            address,
            socket: None,
            dialing: false,
            window,
            flight: VecDeque::new(),
            flight_bytes: 0,
            arrival_last: Time::ZERO,
            doubted: false,
            waiting: VecDeque::new(),
            fin_seen: false,
            send_shut: false,
            receive_shut: false,
            dead: false,
            error: None,
            peer: PeerSide::default(),
        }
    }

    /// How many bytes the other side may send to this end now.
    pub(super) fn room(&self) -> usize {
        self.window.saturating_sub(self.flight_bytes + self.waiting.len())
    }

    /// How many bytes wait to be received.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a receive would not have to wait.
    pub(super) fn is_readable(&self) -> bool {
        self.waiting() > 0 || self.is_at_end()
    }

    /// Whether nothing more can come than what waits.
    pub(super) const fn is_at_end(&self) -> bool {
        self.fin_seen || self.dead || self.receive_shut
    }

    /// Takes `count` of the waiting bytes.
    pub(super) fn read(&mut self, count: usize) -> Vec<u8> {
        self.waiting.drain(..count).collect()
    }

    /// Sends a packet to this end, to arrive at `at` or when those before it have. Returns when.
    pub(super) fn post(&mut self, at: Time, packet: Packet) -> Time {
        if let Packet::Data(bytes) = &packet {
            self.flight_bytes += bytes.len();
        }
        self.arrival_last = self.arrival_last.max(at);
        self.flight.push_back((self.arrival_last, packet));
        self.arrival_last
    }

    /// Whether anything is under way to this end.
    pub(super) fn has_flight(&self) -> bool {
        !self.flight.is_empty()
    }

    /// Forgets what is under way.
    pub(super) fn drop_flight(&mut self) {
        self.flight.clear();
        self.flight_bytes = 0;
    }

    /// The next packet that has arrived by `now`.
    pub(super) fn next_arrived(&mut self, now: Time) -> Option<Packet> {
        self.flight.front().filter(|(at, _)| *at <= now)?;
        let (_, packet) = self.flight.pop_front()?;
        if let Packet::Data(bytes) = &packet {
            self.flight_bytes -= bytes.len();
        }
        Some(packet)
    }

    /// Takes a packet in.
    pub(super) fn arrive(&mut self, packet: Packet) -> Arrival {
        match packet {
            Packet::Reset => self.die(Errno::RESET),
            Packet::Fin => self.fin_seen = true,
            Packet::Data(_) if self.refuses_data() => return Arrival::Unwanted,
            Packet::Data(bytes) => self.take_data(bytes),
        }
        Arrival::Taken
    }

    fn refuses_data(&self) -> bool {
        self.dead || self.owner == Owner::Gone || self.receive_shut || self.peer.closed
    }

    fn take_data(&mut self, bytes: Vec<u8>) {
        self.waiting.extend(bytes);
        if self.owner == Owner::Peer && !self.peer.stopped {
            self.drain_to_inbox();
        }
    }

    /// What the program behind a test's end does with what waits: it reads it.
    pub(super) fn drain_to_inbox(&mut self) {
        let waiting = self.waiting.drain(..);
        self.peer.inbox.extend(waiting);
    }

    /// The connection is over for this end, for this reason. What waits can still be read.
    pub(super) fn die(&mut self, error: Errno) {
        if self.dead {
            return;
        }
        self.dead = true;
        self.dialing = false;
        self.send_shut = true;
        self.error = Some(error);
        self.peer.died_of = Some(error);
        self.peer.outbox.clear();
        self.drop_flight();
    }
}
