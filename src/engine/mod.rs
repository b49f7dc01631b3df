//! One shard's core, sans-io: completions in, operations out.
//!
//! The engine owns the stages and hands one's result to the next: bytes to a session, what it asks
//! for to the router, what that queues to the links. It knows no ring and no clock: completions and
//! the time come in, operations collect in [`Engine::take_ops`].
//!
//! Invariant: outside a call, every client in the table has a link in the same slot, and a slot is
//! freed only when nothing is in flight on its socket.

mod client;
mod closing;
mod flow;
mod input;
mod latency;
mod letters;
mod options;
mod relay;
mod report;
mod timers;
mod trace;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use ring::{Completion, EndReason, Op, Outcome, Socket, Time, Token};

use crate::close::{CloseReason, ErrorText};
use crate::mailbox::{Letter, Mailboxes};
use crate::outbound::{Link, LinkTable};
use crate::report::ConnectionReport;
use crate::router::Router;
use crate::session::{Client, Filling, Phase};
use crate::stats::Counters;
use crate::timer::Wheel;

use latency::Latencies;
pub use options::{ClientLimits, Control, EngineOptions, Errand, Shared};
use timers::Timer;
pub use trace::TraceOptions;

/// Why a connection ends, and what its peer is told.
#[derive(Clone, Copy, Debug)]
struct End {
    reason: CloseReason,
    error: Option<ErrorText>,
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        Self { reason, error: reason.error() }
    }
}

/// A subject and perhaps a queue group: what interest is aggregated by.
type InterestKey = (Box<[u8]>, Option<Box<[u8]>>);

/// See the module's documentation.
pub struct Engine {
    options: Arc<EngineOptions>,
    shared: Arc<Shared>,
    links: LinkTable,
    clients: Vec<Option<Box<Client>>>,
    router: Router,
    mail: Mailboxes<Control>,
    errands: std::sync::mpsc::SyncSender<Errand>,
    timers: Wheel<(Token, Timer)>,
    due: Vec<(Token, Timer)>,
    /// Memory for large messages that come in, to be used again.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is used again")]
    fillings: Vec<Box<Filling>>,
    ops: Vec<(Token, Op)>,
    /// Clients whose receive found no buffer, in the order in which they get their turn.
    starved: VecDeque<Token>,
    /// Clients whose bytes wait because of slow recipients.
    held: VecDeque<Token>,
    held_checked_at: Time,
    /// A recipient that refused bytes took some in this turn.
    progress: bool,
    /// What this turn changed of the bytes that wait in the whole server.
    pending_change: isize,
    /// Other shards that the current publisher's messages of this turn went to.
    reached_shards: u64,
    /// What this shard's clients want, as other shards know it.
    announced: HashMap<InterestKey, u32, FixedState>,
    /// Slots of what other shards want.
    foreign: HashMap<(u16, InterestKey), u32, FixedState>,
    /// Publishers of other shards that were told that their recipients here are slow.
    told_slow: Vec<(u16, Token, Vec<Token>)>,
    /// Barriers of other shards that wait for third ones.
    relays: relay::Relays,
    closed: VecDeque<ConnectionReport>,
    counters: Counters,
    latency: Latencies,
    random: fastrand::Rng,
    seed: u64,
    now: Time,
    letters_waiting: bool,
    /// No more connections are accepted.
    deaf: bool,
    /// Who wants to know when the listener is closed.
    tell_when_deaf: Option<Box<dyn FnOnce() + Send>>,
    ending: bool,
}

/// Receives that are armed again in one turn after buffers ran out.
const REARMED_A_TURN: usize = 16;

impl Engine {
    /// An engine without clients.
    #[must_use]
    pub fn new(
        options: Arc<EngineOptions>,
        shared: Arc<Shared>,
        mail: Mailboxes<Control>,
        errands: std::sync::mpsc::SyncSender<Errand>,
        seed: u64,
        now: Time,
    ) -> Self {
        let hasher = || FixedState::with_seed(seed);
        let mut router = Router::new(options.outbound, seed);
        router.drop_for_slow = options.drop_for_slow;
        router.sublist.set_cached(options.sublist_cache);
        router.trace = options.trace.is_some();
        Self {
            router,
            options,
            shared,
            links: LinkTable::default(),
            clients: Vec::new(),
            mail,
            errands,
            timers: Wheel::new(now),
            due: Vec::new(),
            fillings: Vec::new(),
            ops: Vec::new(),
            starved: VecDeque::new(),
            held: VecDeque::new(),
            held_checked_at: now,
            progress: false,
            pending_change: 0,
            reached_shards: 0,
            announced: HashMap::with_hasher(hasher()),
            foreign: HashMap::with_hasher(hasher()),
            told_slow: Vec::new(),
            relays: relay::Relays::default(),
            closed: VecDeque::new(),
            counters: Counters::default(),
            latency: Latencies::default(),
            random: fastrand::Rng::with_seed(seed.rotate_left(17)),
            seed,
            now,
            letters_waiting: false,
            deaf: false,
            tell_when_deaf: None,
            ending: false,
        }
    }

    /// A turn begins; what it handles came in at `came_at` at the latest.
    pub fn begin_turn(&mut self, now: Time, came_at: Time) {
        self.now = now;
        self.mail.now = now;
        self.latency.begin_turn(came_at);
        self.counters.turns += 1;
    }

    /// A connection came in for one of the shards.
    pub fn take_in(&mut self, shard: u16, socket: Socket, peer: SocketAddr) {
        if shard == self.mail.shard {
            self.adopt(socket, peer);
        } else {
            self.mail.post(shard, Letter::Adopt { socket, peer });
        }
    }

    /// Whether the server accepts no more connections.
    #[must_use]
    pub const fn is_closed_to_newcomers(&self) -> bool {
        self.deaf || self.ending
    }

    /// The listener is closed.
    pub fn listener_is_closed(&mut self) {
        if let Some(tell) = self.tell_when_deaf.take() {
            tell();
        }
    }

    /// Serves a connection from now on.
    pub fn adopt(&mut self, socket: Socket, peer: SocketAddr) {
        if self.is_closed_to_newcomers() {
            // It came in while the listener was being closed.
            self.ops.push((Token::new(u32::MAX, 1), Op::Close { socket }));
            return;
        }
        let zero_copy = !peer.ip().is_loopback();
        let token = self.links.insert(Link::new(socket, self.now, zero_copy));
        let index = token.index as usize;
        if self.clients.len() <= index {
            self.clients.resize_with(index + 1, || None);
        }
        let auth = self.options.auth.required();
        let phase = if auth { Phase::Greeted } else { Phase::Open };
        // Relaxed: numbers need only be distinct.
        let cid = self.shared.next_cid.fetch_add(1, Ordering::Relaxed);
        let open = self.shared.clients.fetch_add(1, Ordering::Relaxed);
        self.clients[index] = Some(Box::new(Client::new(cid, peer, self.now, phase)));
        self.counters.total_connections += 1;
        tracing::debug!("{peer} - cid:{cid} - Client connection created");
        self.send_info(token.index, None);
        self.arm(token.index);
        if open >= self.options.limits.max_connections {
            tracing::error!("{peer} - cid:{cid} - maximum connections exceeded");
            self.close(token.index, CloseReason::MaxConnectionsExceeded.into());
            return;
        }
        if auth {
            self.timers.schedule(self.now + self.options.auth_timeout, (token, Timer::Login));
        }
        self.schedule_ping(token, self.options.ping_interval);
    }

    /// Something that was pushed has come back.
    pub fn complete(&mut self, completion: Completion) {
        let Completion { token, outcome } = completion;
        match outcome {
            Outcome::Received { bytes } => self.received(token, &bytes),
            Outcome::ReceiveEnded { reason } => self.receive_ended(token, reason),
            Outcome::Sent { batch, bytes, error, copied } => {
                self.sent(token, batch, bytes, error, copied);
            }
            Outcome::Accepted { .. }
            | Outcome::AcceptEnded { .. }
            | Outcome::Connected { .. }
            | Outcome::ConnectFailed { .. } => {}
        }
    }

    /// The turn's work is done: what it queued leaves, and who may go on goes on.
    pub fn end_turn(&mut self) {
        self.expire();
        self.settle_overflowed();
        self.release_held();
        self.rearm_starved();
        self.flush();
        self.letters_waiting |= self.mail.flush();
    }

    /// The operations that the turn asked for; the vector keeps its memory here.
    pub fn take_ops(&mut self) -> &mut Vec<(Token, Op)> {
        &mut self.ops
    }

    /// How long the next turn may wait.
    #[must_use]
    pub fn wait(&self) -> Duration {
        /// How often held publishers and stalled recipients are looked at.
        const HELD_TICK: Duration = Duration::from_millis(10);
        /// Nothing is so far away that a turn now and then would hurt.
        const LONGEST: Duration = Duration::from_secs(60);
        let deaf = self.deaf && self.tell_when_deaf.is_some();
        if !self.starved.is_empty() || self.letters_waiting || deaf {
            return Duration::ZERO;
        }
        let timer = self.timers.next_deadline().map_or(LONGEST, |at| at - self.now);
        let tick = !self.held.is_empty() || !self.told_slow.is_empty();
        timer.min(if tick { HELD_TICK } else { LONGEST })
    }

    /// Whether the shard was told to end, and has.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ending && self.links.is_empty()
    }

    /// A turn's work is done and handed to the ring, at `clock`.
    pub fn measure_turn(&mut self, clock: Time) {
        self.latency.end_turn(self.now, clock);
    }

    /// What the ring has counted.
    pub fn note_ring(&mut self, ring: &ring::Counters) {
        self.counters.spins = ring.spins;
        self.counters.sleeps = ring.sleeps;
        self.counters.spin_backoffs = ring.spin_backoffs;
    }

    /// An accept ended with an error.
    pub fn note_accept_error(&mut self) {
        self.counters.accept_errors += 1;
    }

    /// Arms the receive of a client that may receive and does not; says whether it did.
    fn arm(&mut self, index: u32) -> bool {
        let token = self.links.token(index);
        let Some(link) = self.links.at_mut(index).filter(|link| !link.receiving) else {
            return false;
        };
        link.receiving = true;
        self.ops.push((token, Op::Receive { socket: link.socket }));
        true
    }

    fn receive_ended(&mut self, token: Token, reason: EndReason) {
        let Some(link) = self.links.get_mut(token) else { return };
        link.receiving = false;
        link.cancelling = false;
        if link.closing != crate::outbound::Closing::No {
            self.advance_closing(
                token.index,
                matches!(reason, EndReason::Eof | EndReason::Error(_)),
            );
            return;
        }
        match reason {
            EndReason::Eof => self.on_eof(token.index),
            EndReason::Error(_) => self.close(token.index, CloseReason::ReadError.into()),
            EndReason::NoBuffers => {
                self.counters.receive_no_buffers += 1;
                self.starved.push_back(token);
            }
            EndReason::Cancelled | EndReason::Rearm => self.arm_unless_held(token.index),
        }
    }

    /// The peer has said everything. What of it still waits is carried out first.
    fn on_eof(&mut self, index: u32) {
        match self.clients[index as usize].as_deref_mut() {
            Some(client) if client.hold.is_some() => client.has_ended = true,
            Some(_) | None => self.close(index, CloseReason::ClientClosed.into()),
        }
    }

    fn arm_unless_held(&mut self, index: u32) {
        let free = |client: &Client| client.hold.is_none();
        if self.clients[index as usize].as_deref().is_some_and(free) {
            self.counters.receive_rearms += u64::from(self.arm(index));
        }
    }

    fn rearm_starved(&mut self) {
        for _ in 0..self.starved.len().min(REARMED_A_TURN) {
            if let Some(token) = self.starved.pop_front()
                && self.links.is_live(token)
            {
                self.arm_unless_held(token.index);
            }
        }
    }
}
