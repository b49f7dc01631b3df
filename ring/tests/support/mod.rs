//! What the conformance suite needs of a ring and of the world around it.

pub(crate) mod bench;
pub(crate) mod kernel;
pub(crate) mod simulated;

use std::net::SocketAddr;

use ring::{Doorbell, Ring, Socket};

/// A ring, and plain peers to talk to it.
pub(crate) trait World: Sized {
    type Ring: Ring;
    type Peer: Peer;

    /// How many runs differ: one for a kernel, many seeds for a simulation.
    const RUNS: u64;

    /// How many leases a ring gives out at most.
    const BUFFERS: usize;

    /// A world for one test. Run zero is the plainest.
    fn new(run: u64) -> Self;

    fn ring(&mut self) -> &mut Self::Ring;

    /// A listening socket of the ring's.
    fn listen(&mut self) -> (Socket, SocketAddr);

    /// An address at which nobody listens.
    fn nobody(&mut self) -> SocketAddr;

    fn dial(&mut self, to: SocketAddr) -> Self::Peer;

    /// Lets time pass after a turn, where a turn does not.
    fn pass(&mut self);

    /// Whether a send without copying is copied after all; `None` where that may be or not.
    fn copies(&self) -> Option<bool>;

    /// Rings the bell from elsewhere.
    fn ring_bell(&mut self, bell: Doorbell);
}

/// The other side of a connection. Nothing here blocks.
pub(crate) trait Peer {
    /// Writes what the socket takes, and says how much.
    fn write(&mut self, bytes: &[u8]) -> usize;

    /// Reads what is there.
    fn read(&mut self, into: &mut Vec<u8>) -> Reading;

    /// Ends its sending half.
    fn finish(&mut self);

    /// Closes in an orderly way.
    fn close(self);

    /// Breaks the connection.
    fn reset(self);
}

/// What a peer's reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// More may come.
    Open,
    /// The ring's side has sent its last byte.
    Eof,
    /// The connection is broken.
    Broken,
}
