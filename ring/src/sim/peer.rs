//! Virtual clients and servers that tests write: they need no ring and no turns.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::SimWorld;
use super::network::{End, EndId, Owner};
use super::world::{Dialer, ListenerOwner};
use crate::Errno;

/// One side of a connection, as a test sees it: a program that has unbounded memory and reads at once
/// what arrives, unless it is told to stop.
///
/// Dropping it does not close the connection.
pub struct Peer {
    world: SimWorld,
    end: EndId,
}

/// How a peer's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// The other side has sent its last byte; all of them are in [`Peer::take`].
    Eof,
    /// The dial failed or the connection broke.
    Error(Errno),
}

impl Peer {
    pub(super) fn dial(world: SimWorld, ip: IpAddr, to: SocketAddr) -> Self {
        let mut inner = world.write();
        let from = inner.fresh_address(ip);
        let end = inner.dial(from, to, Dialer::Peer);
        inner.settle();
        drop(inner);
        Self { world, end }
    }

    /// Writes. The bytes go out as the socket takes them.
    pub fn send(&self, bytes: &[u8]) {
        self.change(|end| {
            if !end.send_shut {
                end.peer.outbox.extend(bytes);
            }
        });
    }

    /// How many written bytes the socket has not taken yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.look(|end| end.peer.outbox.len())
    }

    /// Everything read since the last [`take`](Self::take).
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.look(|end| end.peer.inbox.clone())
    }

    /// Everything read since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.look(|end| std::mem::take(&mut end.peer.inbox))
    }

    /// How the connection ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<PeerEnd> {
        self.look(|end| match end.peer.died_of {
            Some(error) => Some(PeerEnd::Error(error)),
            None => (end.fin_seen && end.waiting() == 0).then_some(PeerEnd::Eof),
        })
    }

    /// Whether the dial has not been answered yet.
    #[must_use]
    pub fn is_dialing(&self) -> bool {
        self.look(|end| end.dialing)
    }

    /// Its own address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.look(|end| end.address)
    }

    /// Reads no more: the socket's buffer fills, and then the sender has no room.
    pub fn stop_reading(&self) {
        self.change(|end| end.peer.stopped = true);
    }

    /// Reads again.
    pub fn resume(&self) {
        self.change(|end| {
            end.peer.stopped = false;
            end.drain_to_inbox();
        });
        self.world.write().pump(self.end.other());
    }

    /// Reads at most `count` bytes and no more: for a reader that is slow, not stopped.
    pub fn read(&self, count: usize) {
        self.change(|end| {
            end.peer.stopped = true;
            let count = count.min(end.waiting());
            let bytes = end.read(count);
            end.peer.inbox.extend(bytes);
        });
        self.world.write().pump(self.end.other());
    }

    /// Sends an end of file after what was written; still reads.
    pub fn finish(&self) {
        self.change(|end| end.peer.finish = true);
    }

    /// Closes in an orderly way: what was written still goes out, and what comes is refused.
    pub fn close(&self) {
        self.change(|end| {
            end.peer.closed = true;
            end.peer.finish = true;
        });
        let mut world = self.world.write();
        if world.end(self.end).waiting() > 0 {
            world.reset(self.end);
        }
    }

    /// Breaks the connection: the other side sees a reset, and what was not taken yet is lost.
    pub fn reset(&self) {
        self.world.write().reset(self.end);
    }

    /// Disappears without a word: from now on nothing arrives on this connection, either way.
    pub fn vanish(&self) {
        self.world.write().vanish(self.end);
    }

    /// Looks at the end after what is due now has happened.
    fn look<T>(&self, read: impl FnOnce(&mut End) -> T) -> T {
        let mut world = self.world.write();
        world.settle();
        read(world.end(self.end))
    }

    /// Changes the end, and moves what it has written.
    fn change(&self, write: impl FnOnce(&mut End)) {
        self.look(write);
        self.world.write().pump(self.end);
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.address())
    }
}

/// A listener of a test's.
pub struct PeerListener {
    world: SimWorld,
    address: SocketAddr,
}

impl PeerListener {
    pub(super) fn new(world: SimWorld, address: SocketAddr) -> Self {
        let owner = ListenerOwner::Peer { backlog: VecDeque::new() };
        let earlier = world.write().listeners.insert(address, owner);
        assert!(earlier.is_none(), "somebody listens at {address} already");
        Self { world, address }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection that came in.
    #[must_use]
    pub fn accept(&self) -> Option<Peer> {
        let mut world = self.world.write();
        world.settle();
        let Some(ListenerOwner::Peer { backlog }) = world.listeners.get_mut(&self.address) else {
            return None;
        };
        let end = backlog.pop_front()?;
        world.end(end).owner = Owner::Peer;
        world.end(end).drain_to_inbox();
        world.pump(end.other());
        Some(Peer { world: self.world.clone(), end })
    }
}

impl Drop for PeerListener {
    fn drop(&mut self) {
        let Ok(mut world) = self.world.world.try_borrow_mut() else { return };
        let owner = world.listeners.remove(&self.address);
        if let Some(ListenerOwner::Peer { backlog }) = owner {
            for end in backlog {
                world.reset(end);
                world.end(end).owner = Owner::Gone;
            }
        }
    }
}

impl fmt::Debug for PeerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerListener({})", self.address)
    }
}
