//! One shard: a ring, an engine, and the loop between them.
//!
//! Generic over the ring, so that the same loop runs on the kernel and in simulations. The shard that
//! has the listener accepts for all and hands connections out in turn.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ring::{Completion, Errno, Op, Outcome, Ring, Socket, Time, Token};

use crate::engine::Engine;
use crate::mailbox::Door;

/// Tokens of listeners have this index, which no link has, and tell them apart by the generation.
const LISTENERS: u32 = u32::MAX;
/// After an error of the accept, such as no descriptor left, it is tried again this much later.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// See the module's documentation.
pub struct Shard<R> {
    ring: R,
    engine: Engine,
    done: Vec<Completion>,
    acceptors: Vec<Acceptor>,
    pushed: bool,
}

struct Acceptor {
    listener: Socket,
    door: Door,
    armed: bool,
    closing: bool,
    again_at: Time,
    shards: u16,
    next: u16,
}

impl<R: Ring> Shard<R> {
    /// A shard without a listener.
    #[must_use]
    pub fn new(ring: R, engine: Engine) -> Self {
        Self { ring, engine, done: Vec::new(), acceptors: Vec::new(), pushed: false }
    }

    /// Accepts connections from now on, for `shards` shards. For each door once.
    pub fn listen(&mut self, listener: Socket, door: Door, shards: u16) {
        self.acceptors.push(Acceptor {
            listener,
            door,
            armed: false,
            closing: false,
            again_at: Time::ZERO,
            shards,
            next: 0,
        });
    }

    /// The ring, for what belongs to it alone.
    pub const fn ring_mut(&mut self) -> &mut R {
        &mut self.ring
    }

    /// The engine.
    pub const fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Runs until the server ends it.
    ///
    /// # Errors
    /// Only when the ring is broken.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.engine.has_ended() || !self.acceptors.is_empty() {
            self.turn(Duration::MAX)?;
        }
        Ok(())
    }

    /// One turn: waits at most `longest`, handles everything that came, and starts what follows.
    ///
    /// # Errors
    /// Only when the ring is broken.
    pub fn turn(&mut self, longest: Duration) -> io::Result<()> {
        self.arm_accept();
        let wait = self.wait().min(longest);
        let (before, sleeps_before) = (self.ring.now(), self.ring.counters().sleeps);
        self.ring.turn(wait, &mut self.done)?;
        if !self.acceptors.iter().any(|acceptor| acceptor.door == Door::Clients) {
            // What the turn before pushed has been carried out.
            self.engine.listener_is_closed();
        }
        let now = self.ring.now();
        let counters = self.ring.counters();
        let slept = counters.sleeps != sleeps_before;
        if slept && self.done.is_empty() && now == before {
            // A simulated ring has fallen asleep; the kernel's is away from here until that is over.
            return Ok(());
        }
        // The upper bound of when what is handled now came in.
        let waited = slept || (!wait.is_zero() && !self.pushed);
        let came_at = if waited { now } else { before };
        self.engine.begin_turn(now, came_at);
        self.engine.note_ring(&counters);
        let mut done = std::mem::take(&mut self.done);
        let mut all = done.drain(..).peekable();
        // What left before the ring slept does not count as waiting when the letters are read.
        while let Some(sent) = all.next_if(|it| matches!(it.outcome, Outcome::Sent { .. })) {
            self.engine.complete(sent);
        }
        self.engine.read_letters();
        for completion in all {
            self.complete(completion);
        }
        self.done = done;
        let ring = &self.ring;
        self.engine.end_turn(&|| ring.clock());
        let ops = self.engine.take_ops();
        self.pushed = !ops.is_empty();
        for (token, op) in ops.drain(..) {
            self.ring.push(token, op);
        }
        self.engine.measure_turn(self.ring.clock());
        self.end_accept_if_told();
        Ok(())
    }

    fn wait(&self) -> Duration {
        let unarmed = self.acceptors.iter().filter(|acceptor| !acceptor.armed);
        let now = self.ring.now();
        unarmed.fold(self.engine.wait(), |wait, acceptor| wait.min(acceptor.again_at - now))
    }

    fn complete(&mut self, completion: Completion) {
        let token = completion.token;
        let door = self.acceptors.iter().position(|acceptor| acceptor.token() == token);
        let Some(acceptor) = door else { return self.engine.complete(completion) };
        match completion.outcome {
            Outcome::Accepted { socket, peer } => self.accepted(acceptor, socket, peer),
            Outcome::AcceptEnded { error } => self.accept_ended(acceptor, error),
            Outcome::Received { .. }
            | Outcome::ReceiveEnded { .. }
            | Outcome::Sent { .. }
            | Outcome::HasRoom
            | Outcome::Connected { .. }
            | Outcome::ConnectFailed { .. } => {}
        }
    }

    fn accepted(&mut self, acceptor: usize, socket: Socket, peer: SocketAddr) {
        let acceptor = &mut self.acceptors[acceptor];
        let shard = acceptor.next;
        acceptor.next = (acceptor.next + 1) % acceptor.shards;
        self.engine.take_in(shard, socket, peer, acceptor.door);
    }

    fn accept_ended(&mut self, acceptor: usize, error: Option<Errno>) {
        let now = self.ring.now();
        let acceptor = &mut self.acceptors[acceptor];
        acceptor.armed = false;
        acceptor.again_at = now;
        if let Some(error) = error {
            self.engine.note_accept_error();
            tracing::error!("Error accepting a connection: {error}");
            acceptor.again_at = now + ACCEPT_AGAIN_AFTER;
        }
    }

    fn arm_accept(&mut self) {
        let now = self.ring.now();
        for acceptor in &mut self.acceptors {
            if !acceptor.armed && !acceptor.closing && now >= acceptor.again_at {
                acceptor.armed = true;
                self.ring.push(acceptor.token(), Op::Accept { listener: acceptor.listener });
            }
        }
    }

    /// Takes the listeners down through which the engine was told to accept no more.
    fn end_accept_if_told(&mut self) {
        let (engine, ring) = (&self.engine, &mut self.ring);
        self.acceptors.retain_mut(|acceptor| {
            if !engine.is_closed_to_newcomers(acceptor.door) {
                return true;
            }
            let token = acceptor.token();
            if acceptor.armed && !acceptor.closing {
                ring.push(token, Op::CancelReceive { socket: acceptor.listener });
            } else if !acceptor.armed {
                ring.push(token, Op::Close { socket: acceptor.listener });
                return false;
            }
            acceptor.closing = true;
            true
        });
    }
}

impl Acceptor {
    const fn token(&self) -> Token {
        Token::new(LISTENERS, self.door as u32)
    }
}
