//! One shard: a ring, an engine, and the loop between them.
//!
//! Generic over the ring, so that the same loop runs on the kernel and in simulations. The shard that
//! has the listener accepts for all and hands connections out in turn.

use std::io;
use std::time::Duration;

use ring::{Completion, Errno, Op, Outcome, Ring, Socket, Time, Token};

use crate::engine::Engine;

/// The listener's token; no link has this slot.
const LISTENER: Token = Token::new(u32::MAX, 0);
/// After an error of the accept, such as no descriptor left, it is tried again this much later.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// See the module's documentation.
pub struct Shard<R> {
    ring: R,
    engine: Engine,
    done: Vec<Completion>,
    acceptor: Option<Acceptor>,
    pushed: bool,
}

struct Acceptor {
    listener: Socket,
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
        Self { ring, engine, done: Vec::new(), acceptor: None, pushed: false }
    }

    /// Accepts connections from now on, for `shards` shards.
    pub fn listen(&mut self, listener: Socket, shards: u16) {
        let acceptor = Acceptor {
            listener,
            armed: false,
            closing: false,
            again_at: Time::ZERO,
            shards,
            next: 0,
        };
        self.acceptor = Some(acceptor);
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
        while !self.engine.has_ended() || self.acceptor.is_some() {
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
        let before = self.ring.now();
        self.ring.turn(wait, &mut self.done)?;
        if self.acceptor.is_none() {
            // What the turn before pushed has been carried out.
            self.engine.listener_is_closed();
        }
        let now = self.ring.now();
        // The upper bound of when what is handled now came in.
        let waited = !wait.is_zero() && !self.pushed;
        let came_at = if waited { now } else { before };
        self.engine.begin_turn(now, came_at);
        self.engine.note_ring(&self.ring.counters());
        self.engine.read_letters();
        let mut done = std::mem::take(&mut self.done);
        for completion in done.drain(..) {
            self.complete(completion);
        }
        self.done = done;
        self.engine.end_turn();
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
        let wait = self.engine.wait();
        match &self.acceptor {
            Some(acceptor) if !acceptor.armed => wait.min(acceptor.again_at - self.ring.now()),
            Some(_) | None => wait,
        }
    }

    fn complete(&mut self, completion: Completion) {
        if completion.token != LISTENER {
            return self.engine.complete(completion);
        }
        match completion.outcome {
            Outcome::Accepted { socket } => self.accepted(socket),
            Outcome::AcceptEnded { error } => self.accept_ended(error),
            Outcome::Received { .. }
            | Outcome::ReceiveEnded { .. }
            | Outcome::Sent { .. }
            | Outcome::Connected { .. }
            | Outcome::ConnectFailed { .. } => {}
        }
    }

    fn accepted(&mut self, socket: Socket) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let shard = acceptor.next;
        acceptor.next = (acceptor.next + 1) % acceptor.shards;
        match self.ring.peer_address(socket) {
            Some(peer) => self.engine.take_in(shard, socket, peer),
            // Gone before it was looked at.
            None => self.ring.push(LISTENER, Op::Close { socket }),
        }
    }

    fn accept_ended(&mut self, error: Option<Errno>) {
        let now = self.ring.now();
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.armed = false;
            acceptor.again_at = now;
            if let Some(error) = error {
                self.engine.note_accept_error();
                tracing::error!("Error accepting a connection: {error}");
                acceptor.again_at = now + ACCEPT_AGAIN_AFTER;
            }
        }
    }

    fn arm_accept(&mut self) {
        if let Some(acceptor) = &mut self.acceptor
            && !acceptor.armed
            && !acceptor.closing
            && self.ring.now() >= acceptor.again_at
        {
            acceptor.armed = true;
            self.ring.push(LISTENER, Op::Accept { listener: acceptor.listener });
        }
    }

    /// Takes the listener down once the engine was told to accept no more.
    fn end_accept_if_told(&mut self) {
        let Some(acceptor) = &mut self.acceptor else { return };
        if !self.engine.is_closed_to_newcomers() {
            return;
        }
        if acceptor.armed && !acceptor.closing {
            self.ring.push(LISTENER, Op::CancelReceive { socket: acceptor.listener });
        } else if !acceptor.armed {
            self.ring.push(LISTENER, Op::Close { socket: acceptor.listener });
            self.acceptor = None;
            return;
        }
        acceptor.closing = true;
    }
}
