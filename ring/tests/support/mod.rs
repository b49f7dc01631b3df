//! What the conformance suite needs of a ring and of the world around it.

pub mod bench;
pub mod kernel;
pub mod simulated;

use std::net::SocketAddr;

use ring::{Doorbell, Ring, Socket};

/// How a world for one test is made.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Which of the world's runs this is; zero is the plainest.
    pub run: u64,
    /// How many receive buffers the ring has; a power of two.
    pub buffers: u16,
    /// How many bytes a receive buffer holds.
    pub buffer_bytes: u32,
}

/// A ring, and plain peers to talk to it.
pub trait World: Sized {
    type Ring: Ring;
    type Peer: Peer;

    /// How many runs differ: one for a kernel, many seeds for a simulation.
    const RUNS: u64;

    fn new(setup: Setup) -> Self;

    fn ring(&mut self) -> &mut Self::Ring;

    /// A listening socket of the ring's.
    fn listen(&mut self) -> (Socket, SocketAddr);

    /// An address at which nobody listens.
    fn nobody(&mut self) -> SocketAddr;

    fn dial(&mut self, to: SocketAddr) -> Self::Peer;

    /// Lets time pass after a turn, where a turn does not.
    fn pass(&mut self);

    /// Rings the bell from elsewhere.
    fn ring_bell(&mut self, bell: Doorbell);
}

/// The other side of a connection. Nothing here blocks.
pub trait Peer {
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
pub enum Reading {
    /// More may come.
    Open,
    /// The ring's side has sent its last byte.
    Eof,
    /// The connection is broken.
    Broken,
}
