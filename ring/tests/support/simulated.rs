//! The simulated ring's world: run zero is perfect, the others bend time and shape by their seed.

use std::net::SocketAddr;
use std::time::Duration;

use ring::sim::{self, Faults, PeerEnd, SimOptions, SimRing, SimWorld};
use ring::{Doorbell, Socket, Time};

use super::{Peer, Reading, World};

pub(crate) struct Simulated {
    world: SimWorld,
    ring: SimRing,
    is_plain: bool,
}

impl World for Simulated {
    type Ring = SimRing;
    type Peer = SimPeer;

    const RUNS: u64 = 40;
    const BUFFERS: usize = 16;

    fn new(run: u64) -> Self {
        let world = SimWorld::with(SimOptions {
            seed: run,
            faults: if run == 0 { Faults::NONE } else { bent(run) },
            buffers: Self::BUFFERS,
            buffer_bytes: 4096,
            ..SimOptions::default()
        });
        let ring = world.ring();
        Self { world, ring, is_plain: run == 0 }
    }

    fn ring(&mut self) -> &mut SimRing {
        &mut self.ring
    }

    fn listen(&mut self) -> (Socket, SocketAddr) {
        self.ring.listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
    }

    fn nobody(&mut self) -> SocketAddr {
        SocketAddr::new(self.ring.ip(), 9)
    }

    fn dial(&mut self, to: SocketAddr) -> SimPeer {
        SimPeer(self.world.dial(to))
    }

    fn pass(&mut self) {
        if !self.world.advance_to_next(Time::MAX) {
            self.world.advance(Duration::from_millis(10));
        }
    }

    fn copies(&self) -> Option<bool> {
        self.is_plain.then_some(false)
    }

    fn ring_bell(&mut self, bell: Doorbell) {
        bell.ring();
    }
}

/// Faults that change when and in which pieces things happen, and nothing else: what a test of a
/// behaviour must not notice.
fn bent(seed: u64) -> Faults {
    Faults {
        rearm: 0,
        no_buffers: 0,
        accept_no_descriptors: 0,
        accept_ends: 0,
        ..Faults::lossless(seed)
    }
}

pub(crate) struct SimPeer(sim::Peer);

impl Peer for SimPeer {
    fn write(&mut self, bytes: &[u8]) -> usize {
        if self.0.unsent() > 0 {
            return 0;
        }
        self.0.send(bytes);
        bytes.len()
    }

    fn read(&mut self, into: &mut Vec<u8>) -> Reading {
        self.0.resume();
        into.extend(self.0.take());
        self.0.stop_reading();
        match self.0.ended() {
            None => Reading::Open,
            Some(PeerEnd::Eof) => Reading::Eof,
            Some(PeerEnd::Error(_)) => Reading::Broken,
        }
    }

    fn finish(&mut self) {
        self.0.finish();
    }

    fn close(self) {
        self.0.close();
    }

    fn reset(self) {
        self.0.reset();
    }
}
