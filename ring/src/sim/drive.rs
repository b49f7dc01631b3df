//! What turns the rings of a simulation, and lets time pass when all of them sleep.

use std::fmt;
use std::io;
use std::time::Duration;

use super::world::{Event, World};
use super::{RingId, SimWorld};
use crate::Time;

/// Something that turns a ring: a shard, or a test's own loop.
pub trait Node {
    /// Runs one turn of the ring, and handles what it gave out.
    ///
    /// # Errors
    /// When its ring is broken.
    fn turn(&mut self) -> io::Result<()>;
}

impl<F: FnMut() -> io::Result<()>> Node for F {
    fn turn(&mut self) -> io::Result<()> {
        self()
    }
}

/// Nothing can happen any more: all rings sleep for ever and nothing is under way; or the steps that
/// were allowed are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The seed of the world, to try again.
    pub seed: u64,
    /// How many steps were made.
    pub steps: usize,
    /// When it ended.
    pub at: Time,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, steps, at } = self;
        write!(f, "SEED={seed}: no end in sight after {steps} steps, at {at:?}")
    }
}

impl std::error::Error for Stuck {}

/// Nodes and the world they live in.
///
/// A node is turned only when its ring has something for it or its wait is over, so that a missing
/// doorbell or a wrong wait shows; faults may wake it besides.
pub struct Simulation<N> {
    world: SimWorld,
    nodes: Vec<(RingId, N)>,
}

impl<N: Node> Simulation<N> {
    /// A simulation without nodes.
    #[must_use]
    pub const fn new(world: SimWorld) -> Self {
        Self { world, nodes: Vec::new() }
    }

    /// Adds the node that turns this ring.
    pub fn add(&mut self, ring: RingId, node: N) {
        self.nodes.push((ring, node));
    }

    /// Takes a node out: dropping it, ring and all, is a crash of its process.
    pub fn remove(&mut self, ring: RingId) -> Option<N> {
        let at = self.nodes.iter().position(|(id, _)| *id == ring)?;
        Some(self.nodes.remove(at).1)
    }

    /// The node of this ring.
    pub fn node(&mut self, ring: RingId) -> Option<&mut N> {
        self.nodes.iter_mut().find(|(id, _)| *id == ring).map(|(_, node)| node)
    }

    /// All nodes, in the order in which they were added.
    pub fn nodes(&mut self) -> impl Iterator<Item = &mut N> {
        self.nodes.iter_mut().map(|(_, node)| node)
    }

    /// The world.
    #[must_use]
    pub const fn world(&self) -> &SimWorld {
        &self.world
    }

    /// Turns each node that has something to do, in random order, and lets time pass: a little, or
    /// when nobody has anything to do until something happens. False when nothing ever will.
    ///
    /// What it costs follows what happens, not how much time passes: faults are drawn for what
    /// happens as well, or many sleepers together would never sleep.
    ///
    /// # Errors
    /// Those of the nodes.
    pub fn step(&mut self) -> io::Result<bool> {
        self.world.write().misfortune();
        let mut order: Vec<_> = (0..self.nodes.len()).collect();
        self.world.write().order.shuffle(&mut order);
        for at in order {
            let (ring, node) = &mut self.nodes[at];
            if self.world.write().wakes(ring.0) {
                node.turn()?;
            }
        }
        let rings: Vec<_> = self.nodes.iter().map(|(ring, _)| ring.0).collect();
        Ok(self.world.write().pass_time(&rings))
    }

    /// Steps until something is so.
    ///
    /// # Errors
    /// [`Stuck`] when that is not so after `steps_max` steps, or never will be; those of the nodes.
    pub fn run_until(
        &mut self,
        mut is_done: impl FnMut(&mut Self) -> bool,
        steps_max: usize,
    ) -> io::Result<usize> {
        for steps in 0..steps_max {
            if is_done(self) {
                return Ok(steps);
            }
            if !self.step()? {
                return if is_done(self) { Ok(steps) } else { Err(self.stuck(steps)) };
            }
        }
        Err(self.stuck(steps_max))
    }

    /// Steps until this much time has passed.
    ///
    /// # Errors
    /// [`Stuck`] when it has not passed after `steps_max` steps; those of the nodes.
    pub fn run_for(&mut self, span: Duration, steps_max: usize) -> io::Result<usize> {
        let end = self.world.now() + span;
        self.world.write().schedule(end, Event::Due);
        self.run_until(|it| it.world.now() >= end, steps_max)
    }

    fn stuck(&self, steps: usize) -> io::Error {
        let world = self.world.read();
        io::Error::other(Stuck { seed: world.options.seed, steps, at: world.now })
    }
}

impl<N> fmt::Debug for Simulation<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simulation({} nodes in {:?})", self.nodes.len(), self.world)
    }
}

impl World {
    /// A fault that belongs to no connection: two servers do not reach each other for a while.
    fn misfortune(&mut self) {
        if self.servers.len() < 2 || !self.network.happens(self.options.faults.partition) {
            return;
        }
        let one = self.network.below(self.servers.len());
        let other = self.network.below(self.servers.len());
        let (a, b) = (self.servers[one].ip, self.servers[other].ip);
        if a != b {
            self.cut(a, b);
            let heals = self.now + self.random_span(self.options.faults.partition_max);
            self.schedule(heals, Event::Heal(a, b));
        }
    }

    /// Whether a ring's wait is over.
    fn wakes(&mut self, ring: usize) -> bool {
        self.settle();
        self.is_runnable(ring, true)
    }

    /// Moves the clock to when something is to be done; false when there is no such time.
    fn pass_time(&mut self, rings: &[usize]) -> bool {
        self.settle();
        let soon = self.now + self.options.step;
        if rings.iter().any(|ring| self.is_awake(*ring)) {
            self.advance_to(soon);
            return true;
        }
        let wakes = rings.iter().filter_map(|ring| self.rings[*ring].asleep_until);
        let next = wakes.chain(self.next_event()).min().filter(|next| *next < Time::MAX);
        let Some(next) = next else { return false };
        self.advance_to(next.max(soon));
        true
    }

    /// Whether a ring does not sleep, or would be woken at once.
    fn is_awake(&mut self, ring: usize) -> bool {
        self.rings[ring].asleep_until.is_none() || self.is_runnable(ring, false)
    }
}
