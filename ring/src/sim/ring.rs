//! The simulated ring itself: a handle to one shard's part of the world.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::SimWorld;
use super::server::{LeaseCount, RingState};
use crate::{Completion, Counters, Doorbell, Op, Ring, Socket, Time, Token};

/// Names a ring of a world, for a [`Simulation`](super::Simulation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingId(pub(super) usize);

/// A ring in a simulated world. When the last ring of a server is dropped, the server's process is
/// dead: its sockets are closed.
pub struct SimRing {
    world: SimWorld,
    id: RingId,
    server: usize,
    bell: Doorbell,
}

impl SimRing {
    pub(super) fn new(world: SimWorld, server: usize) -> Self {
        let bell = Doorbell::new(None);
        let mut inner = world.write();
        let id = RingId(inner.rings.len());
        let leases = Rc::new(LeaseCount::new(inner.options.buffers));
        let seeds = super::Rng::new(inner.options.seed).fork(&format!("seeds of ring {}", id.0));
        let now = inner.now + inner.servers[server].clock_ahead;
        inner.rings.push(RingState {
            server,
            bell: bell.clone(),
            rung: false,
            pushed: Vec::new(),
            untold: Vec::new(),
            dialed: VecDeque::new(),
            touched: BTreeSet::new(),
            in_flight: 0,
            asleep_until: None,
            sleeps: 0,
            now,
            leases,
            seeds,
            is_dropped: false,
        });
        drop(inner);
        Self { world, id, server, bell }
    }

    /// Another ring of the same server: another shard, which shares its address and its sockets.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self::new(self.world.clone(), self.server)
    }

    /// Which ring this is.
    #[must_use]
    pub const fn id(&self) -> RingId {
        self.id
    }

    /// The world it lives in.
    #[must_use]
    pub const fn world(&self) -> &SimWorld {
        &self.world
    }

    /// The address of its server.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.world.read().servers[self.server].ip
    }

    /// Listens. Loopback and "any" mean the server's own address; port zero means any free one.
    /// Returns the address by which everybody reaches it.
    ///
    /// # Errors
    /// When somebody listens there already, or the server has no descriptor left.
    pub fn listen(&self, address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
        self.world.write().listen(self.server, address)
    }

    /// The addresses of a connection: this side's and the peer's. None when it is not open.
    #[must_use]
    pub fn addresses(&self, socket: Socket) -> Option<(SocketAddr, SocketAddr)> {
        self.world.write().addresses(self.server, socket)
    }

    /// How many of the operations pushed have not had their final completion.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.world.read().rings[self.id.0].in_flight
    }

    /// How many leases of received buffers are held.
    #[must_use]
    pub fn leases_held(&self) -> usize {
        self.world.read().rings[self.id.0].leases.held()
    }

    /// How many descriptors the server has open, of all its rings.
    #[must_use]
    pub fn sockets_open(&self) -> usize {
        self.world.read().servers[self.server].open()
    }

    /// Ends the server's process: the kernel closes all its sockets. Its rings turn no more.
    pub fn kill(&self) {
        self.world.write().bring_down(self.server, false);
    }

    /// Ends the server's machine: nobody hears of it. Its rings turn no more.
    pub fn power_off(&self) {
        self.world.write().bring_down(self.server, true);
    }
}

impl Ring for SimRing {
    fn now(&self) -> Time {
        self.world.read().rings[self.id.0].now
    }

    fn clock(&self) -> Time {
        self.world.read().clock(self.id.0)
    }

    fn push(&mut self, token: Token, op: Op) {
        self.world.write().push(self.id.0, token, op);
    }

    fn turn(&mut self, wait: Duration, done: &mut Vec<Completion>) -> io::Result<()> {
        self.world.write().turn(self.id.0, wait, done)
    }

    fn doorbell(&self) -> Doorbell {
        self.bell.clone()
    }

    /// A simulated ring does not poll.
    fn counters(&self) -> Counters {
        let sleeps = self.world.read().rings[self.id.0].sleeps;
        Counters { sleeps, ..Counters::default() }
    }

    fn random_seed(&mut self) -> u64 {
        self.world.write().rings[self.id.0].seeds.any()
    }
}

impl Drop for SimRing {
    fn drop(&mut self) {
        // While a test unwinds, the world may be borrowed; then nobody looks at it any more.
        let Ok(mut world) = self.world.world.try_borrow_mut() else { return };
        let state = &mut world.rings[self.id.0];
        state.is_dropped = true;
        drop(mem::take(&mut state.pushed));
        let is_last = world.rings.iter().all(|it| it.server != self.server || it.is_dropped);
        if is_last && world.servers[self.server].is_up {
            world.bring_down(self.server, false);
        }
    }
}

impl fmt::Debug for SimRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimRing({} of {})", self.id.0, self.ip())
    }
}
