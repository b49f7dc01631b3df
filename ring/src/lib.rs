//! The ring: the only seam between the broker and the world.
//!
//! A [`Ring`] takes operations on sockets and gives back completions. [`uring::Uring`] is the
//! kernel's io_uring; `sim::SimRing` (feature `sim`) is a virtual network and clock driven by a seed.
//! Everything above is written against the trait, so that whole clusters run deterministically in one
//! thread.
//!
//! The ring knows no protocol and no connection state. It promises:
//! - every operation ends in exactly one final completion (see [`Outcome::is_final`]), whose token is
//!   the one that was pushed;
//! - bytes of one socket arrive in order; nothing is promised between sockets;
//! - an operation owns its bytes until its final completion.
//!
//! The caller promises: at most one send in flight a socket, and a socket is closed only when no
//! operation on it is in flight.

#![cfg_attr(not(test), warn(missing_docs))]

mod block;
mod doorbell;
#[cfg(feature = "sim")]
pub mod sim;
pub mod spsc;
pub mod uring;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::{Add, Sub};
use std::time::Duration;

pub use block::{Batch, Lease, Segment};
pub use doorbell::Doorbell;

/// Where the bytes and the time come from.
pub trait Ring {
    /// The time of the current turn. It moves only in [`turn`](Self::turn), and never backwards.
    fn now(&self) -> Time;

    /// A fresh reading of the clock, for measuring; nothing may be decided by it.
    fn clock(&self) -> Time;

    /// Queues an operation. It starts with the next turn; it never blocks and never fails here.
    fn push(&mut self, token: Token, op: Op);

    /// Starts what was pushed, waits at most `wait` for something to complete or for the doorbell
    /// (a zero wait does not wait), and appends all completions that are there to `done`. Sends that
    /// may not wait ([`SendMode::Try`]) and go well need not end the wait.
    ///
    /// # Errors
    /// Only when the ring itself is broken; what goes wrong with one operation is its [`Outcome`].
    fn turn(&mut self, wait: Duration, done: &mut Vec<Completion>) -> io::Result<()>;

    /// What was counted since the ring was made.
    fn counters(&self) -> Counters;

    /// The bell that other threads ring to end this ring's wait.
    fn doorbell(&self) -> Doorbell;

    /// Bytes with which a seeded thing may be seeded: random in production, from the seed in a
    /// simulation.
    fn random_seed(&mut self) -> u64;
}

/// What a ring counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Waits that ended before the ring fell asleep, because it polled.
    pub spins: u64,
    /// Waits in which the ring fell asleep.
    pub sleeps: u64,
    /// Times polling was given up because others want the core.
    pub spin_backoffs: u64,
    /// Times the kernel was entered, to hand something over, to look, or to sleep.
    pub enters: u64,
}

/// Nanoseconds since the Unix epoch, from a clock that never goes backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The beginning of the Unix epoch; as a deadline: at once.
    pub const ZERO: Self = Self(0);
    /// Later than every other time; as a deadline: never.
    pub const MAX: Self = Self(u64::MAX);

    /// The time `nanos` nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// Names who asked for an operation: a slot of the caller's, and which life of the slot it was.
///
/// A completion for an earlier life of a slot carries the earlier generation, so that it never
/// reaches the slot's new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The caller's slot.
    pub index: u32,
    /// Which life of the slot; only the low 24 bits count.
    pub generation: u32,
}

impl Token {
    /// A token; of `generation` the low 24 bits count.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation: generation & 0x00ff_ffff }
    }
}

/// A socket: a descriptor number of the kernel's or of the simulation's.
///
/// It is a plain number. Whoever got it from an [`Outcome`] closes it with [`Op::Close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket(pub i32);

/// An operation. Its token comes back with every completion it causes.
#[derive(Debug)]
pub enum Op {
    /// Accepts connections until it ends: [`Outcome::Accepted`] each, at last
    /// [`Outcome::AcceptEnded`]. The caller arms it again when it wants more.
    Accept {
        /// A listening socket.
        listener: Socket,
    },
    /// Receives until it ends: [`Outcome::Received`] for each piece, at last
    /// [`Outcome::ReceiveEnded`].
    Receive {
        /// A connected socket.
        socket: Socket,
    },
    /// As [`Op::Receive`], for one piece, of one buffer at the most: after that it ends with
    /// [`EndReason::Rearm`].
    ReceiveOnce {
        /// A connected socket.
        socket: Socket,
    },
    /// Ends the [`Op::Receive`] (or [`Op::ReceiveOnce`], or [`Op::Accept`]) that was pushed with the same
    /// token. It has no completion of its own: the target's final one follows in any case.
    CancelReceive {
        /// The socket of the receive, or the listener of the accept.
        socket: Socket,
    },
    /// Sends the batch from its first unsent byte. Ends with [`Outcome::Sent`].
    Send {
        /// A connected socket.
        socket: Socket,
        /// What to send; it comes back with the completion.
        batch: Batch,
        /// Whether it may wait.
        mode: SendMode,
    },
    /// Waits until the socket has room for a send by its own reckoning, or one of its directions has
    /// ended: for who chooses as late as may be what leaves next. Ends with [`Outcome::HasRoom`]; no send
    /// is in flight meanwhile.
    AwaitRoom {
        /// A connected socket.
        socket: Socket,
    },
    /// Dials. Ends with [`Outcome::Connected`] or [`Outcome::ConnectFailed`].
    Connect {
        /// Whom to dial.
        address: SocketAddr,
    },
    /// Ends both directions: a receive in flight ends with [`EndReason::Eof`] or an error, a send in
    /// flight fails, a wait for room ends. It has no completion of its own.
    Shutdown {
        /// A connected socket.
        socket: Socket,
        /// Which direction: only the sending one, or both.
        how: Direction,
    },
    /// Adapts how much the socket may hold to what its wire carries, so that little waits where nothing
    /// overtakes it. For connections on which some bytes are urgent, now and then while more waits than
    /// the socket takes. It has no completion.
    Fit {
        /// A connected socket.
        socket: Socket,
        /// Bytes a second that the wire has carried; `None` where the system shall choose again.
        rate: Option<u64>,
    },
    /// Closes the socket; nothing else may be in flight on it. It has no completion.
    Close {
        /// Any socket.
        socket: Socket,
    },
}

/// Which half of a connection a shutdown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// No more sends: the peer reads an end of file after what was sent.
    Write,
    /// Neither sends nor receives.
    Both,
}

/// Whether a send may wait for room in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendMode {
    /// Takes what the socket takes at once; `Sent` comes with the very next turn. A short or refused
    /// send says so by its count, and is no error. When all was taken, and the turn may wait, `Sent` may
    /// come no sooner than what ends the wait, and then before it: who has more to do after it lets the
    /// turn not wait.
    Try,
    /// Waits until the socket takes at least one byte.
    Wait,
    /// As `Wait`, without copying where the kernel can. The batch stays with the kernel until
    /// [`Outcome::Sent`], which comes with the kernel's notification and says whether it copied.
    ZeroCopy,
}

/// What became of an operation.
#[derive(Debug)]
pub struct Completion {
    /// The token that the operation was pushed with.
    pub token: Token,
    /// The result.
    pub outcome: Outcome,
}

/// The result of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// A connection came in.
    Accepted {
        /// The new connection; whoever takes the completion owns it.
        socket: Socket,
        /// Who is at the other end.
        peer: SocketAddr,
    },
    /// The accept is over; arm it again when there is reason to hope.
    AcceptEnded {
        /// `None` when it was cancelled or just ended, else the error (EMFILE, ...).
        error: Option<Errno>,
    },
    /// Bytes came in; at least one.
    Received {
        /// The bytes, in a buffer that goes back to the ring when this is dropped. Drop it before the
        /// next turn, or the ring runs out of buffers.
        bytes: Lease,
    },
    /// The receive is over. Bytes received before it have all been given out.
    ReceiveEnded {
        /// Why.
        reason: EndReason,
    },
    /// The send is over.
    Sent {
        /// What was pushed; [`Batch::advance`] has not been called.
        batch: Batch,
        /// How many bytes of it the socket took.
        bytes: usize,
        /// The connection is dead. (A socket without room is not an error.)
        error: Option<Errno>,
        /// For [`SendMode::ZeroCopy`]: the kernel copied after all.
        copied: bool,
        /// It is told as soon as it was over; else it was over before the turn fell asleep.
        timely: bool,
    },
    /// The socket has room; or it is dead, or the peer has finished, and a send that waits says more.
    HasRoom,
    /// The dial succeeded.
    Connected {
        /// The new connection; whoever takes the completion owns it.
        socket: Socket,
    },
    /// The dial failed.
    ConnectFailed {
        /// Why.
        error: Errno,
    },
}

impl Outcome {
    /// Whether this is the operation's last completion.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Accepted { .. } | Self::Received { .. })
    }
}

/// Why a receive is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The peer sent its last byte, or this side shut down.
    Eof,
    /// No receive buffer was free; arm it again when leases have been dropped.
    NoBuffers,
    /// [`Op::CancelReceive`] ended it.
    Cancelled,
    /// It just ended (the kernel may do so at any time); arm it again.
    Rearm,
    /// The connection is dead.
    Error(Errno),
}

/// An error number of the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The peer reset the connection.
    pub const RESET: Self = Self(libc::ECONNRESET);
    /// Nobody listens there.
    pub const REFUSED: Self = Self(libc::ECONNREFUSED);
    /// The process has no descriptor left.
    pub const NO_DESCRIPTORS: Self = Self(libc::EMFILE);
    /// The peer does not answer.
    pub const TIMED_OUT: Self = Self(libc::ETIMEDOUT);
    /// The connection was shut down for sending.
    pub const BROKEN_PIPE: Self = Self(libc::EPIPE);
}

/// The system's text in small letters.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        f.write_str(&text.split(" (os error").next().unwrap_or_default().to_lowercase())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}
