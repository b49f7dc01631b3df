//! The simulated ring: a virtual network, clock and set of servers, all from one seed.
//!
//! A [`SimWorld`] is one universe. [`SimRing`]s live in it (one a shard; several may belong to one
//! server), and so do [`Peer`]s, which are the clients that tests write. Everything runs in one
//! thread. Time moves only when somebody moves it: a test by [`SimWorld::advance`], or a
//! [`Simulation`], which turns rings in random order and lets time pass when all of them sleep.
//!
//! [`SimRing::turn`](crate::Ring::turn) does not wait: with nothing to do it returns at once, and the
//! world remembers how long the caller wanted to sleep.
//!
//! The simulation knows nothing of what is sent through it. It holds its callers to the contract of
//! [`Ring`](crate::Ring): two sends in flight on a socket, or a close with something in flight, panic.
//!
//! Invariant: what happens is a pure function of the seed, the faults and what callers do;
//! [`SimWorld::trace_hash`] tells two runs apart.

mod drive;
mod faults;
mod network;
mod peer;
mod ring;
mod rng;
mod server;
mod trace;
mod turn;
mod world;

#[cfg(test)]
mod tests;

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

pub use self::drive::{Node, Simulation, Stuck};
pub use self::faults::Faults;
pub use self::peer::{Peer, PeerEnd, PeerListener};
pub use self::ring::{RingId, SimRing};
pub use self::rng::Rng;
pub use self::world::Counts;

use self::world::World;
use crate::Time;

/// What a simulation is made with.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Where all randomness comes from.
    pub seed: u64,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// When it begins.
    pub epoch: Time,
    /// How many receive buffers a ring has: so many leases can be held.
    pub buffers: usize,
    /// How many bytes a receive buffer holds.
    pub buffer_bytes: usize,
    /// How many bytes a direction of a connection holds that the receiver has not read.
    pub window: usize,
    /// How many connections wait at a listener to be accepted.
    pub backlog_max: usize,
    /// How many descriptors a server has.
    pub descriptors_max: usize,
    /// After how long a dial that nobody answers fails.
    pub connect_timeout: Duration,
    /// After how long a connection fails whose bytes do not arrive.
    pub give_up: Duration,
    /// How much time a step of a [`Simulation`] takes.
    pub step: Duration,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            faults: Faults::NONE,
            // Some day in 2023; not zero, so that a forgotten deadline is not by chance right.
            epoch: Time::from_nanos(1_700_000_000_000_000_000),
            buffers: 64,
            buffer_bytes: 32 * 1024,
            window: 64 * 1024,
            backlog_max: 128,
            descriptors_max: 10_000,
            // What Linux does by default is two minutes and up to a quarter of an hour.
            connect_timeout: Duration::from_secs(127),
            give_up: Duration::from_secs(900),
            step: Duration::from_micros(1),
        }
    }
}

/// A simulated universe; clones are the same one.
#[derive(Clone)]
pub struct SimWorld {
    world: Rc<RefCell<World>>,
}

impl SimWorld {
    /// A perfect world, in which the seed decides only the order of independent things.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(SimOptions { seed, ..SimOptions::default() })
    }

    /// A world as ordered.
    #[must_use]
    pub fn with(options: SimOptions) -> Self {
        Self { world: Rc::new(RefCell::new(World::new(options))) }
    }

    /// A new server with one ring, at an address of its own. More rings for it come from
    /// [`SimRing::sibling`].
    #[must_use]
    pub fn ring(&self) -> SimRing {
        let count = self.read().servers.len() + 1;
        let [.., b, c, d] = count.to_be_bytes();
        self.ring_at(IpAddr::V4(Ipv4Addr::new(10, b, c, d)))
    }

    /// A new server with one ring at this address.
    ///
    /// # Panics
    /// When a server that is up has that address.
    #[must_use]
    pub fn ring_at(&self, ip: IpAddr) -> SimRing {
        let server = self.write().add_server(ip);
        SimRing::new(self.clone(), server)
    }

    /// A client of its own address dials. It can be used at once: what it sends leaves when the
    /// connection stands.
    #[must_use]
    pub fn dial(&self, to: SocketAddr) -> Peer {
        let ip = self.write().fresh_peer_ip();
        self.dial_from(ip, to)
    }

    /// As [`dial`](Self::dial), from this address.
    #[must_use]
    pub fn dial_from(&self, ip: IpAddr, to: SocketAddr) -> Peer {
        Peer::dial(self.clone(), ip, to)
    }

    /// A listener that no ring owns, for rings to dial.
    ///
    /// # Panics
    /// When somebody listens there already.
    #[must_use]
    pub fn listen(&self, address: SocketAddr) -> PeerListener {
        PeerListener::new(self.clone(), address)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.read().now
    }

    /// Moves the clock, never backwards; what is due on the way happens.
    pub fn advance_to(&self, time: Time) {
        self.write().advance_to(time);
    }

    /// Moves the clock; what is due on the way happens.
    pub fn advance(&self, span: Duration) {
        let mut world = self.write();
        let time = world.now + span;
        world.advance_to(time);
    }

    /// Moves the clock to the next event if that is due by `limit`, and lets it happen.
    pub fn advance_to_next(&self, limit: Time) -> bool {
        let mut world = self.write();
        let Some(at) = world.next_event().filter(|at| *at <= limit) else { return false };
        world.advance_to(at);
        true
    }

    /// From now on nothing passes between two addresses; what is under way waits.
    pub fn partition(&self, a: IpAddr, b: IpAddr) {
        self.write().cut(a, b);
    }

    /// Two addresses reach each other again; what waited arrives.
    pub fn heal(&self, a: IpAddr, b: IpAddr) {
        self.write().heal(a, b);
    }

    /// All addresses reach each other again.
    pub fn heal_all(&self) {
        self.write().heal_all();
    }

    /// What goes wrong, and how often.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.read().options.faults.clone()
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.write().options.faults = faults;
    }

    /// A stream of random numbers for a concern of the test's, from the world's seed.
    #[must_use]
    pub fn rng(&self, label: &str) -> Rng {
        Rng::new(self.read().options.seed).fork(label)
    }

    /// A fingerprint of every completion so far: the same seed gives the same one.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.read().trace.hash()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.read().counts
    }

    fn read(&self) -> Ref<'_, World> {
        self.world.borrow()
    }

    fn write(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }
}

impl fmt::Debug for SimWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.read();
        write!(f, "SimWorld(seed {}, {:?})", world.options.seed, world.counts)
    }
}
