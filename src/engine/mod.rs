//! One shard's core, sans-io: completions in, operations out.
//!
//! The engine owns the stages and hands one's result to the next: bytes to a session, what it asks
//! for to the router, what that queues to the links. It knows no ring and no clock: completions and
//! the time come in, operations collect in [`Engine::take_ops`].
//!
//! Invariant: outside a call, every client in the table has a link in the same slot, and a slot is
//! freed only when nothing is in flight on its socket and nothing in the tables names it.

mod barrier;
mod client;
mod closing;
mod complaints;
mod flow;
mod grace;
mod imports;
mod inbound;
mod input;
mod internal;
mod latency;
mod letters;
mod news;
mod options;
mod portions;
mod recheck;
mod relay;
mod report;
mod route_input;
mod route_report;
mod routes;
mod tallies;
mod timers;
mod trace;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use ring::{Completion, EndReason, Op, Outcome, Socket, Time, Token};

use crate::close::{CloseReason, ErrorText};
use crate::ids::AccountId;
use crate::mailbox::{Door, Letter, Mailboxes};
use crate::outbound::{Link, LinkTable};
use crate::report::ConnectionReport;
use crate::router::{Delivered, Kept, LocalInterest, Router};
use crate::session::{Client, Filling, Phase, Route};
use crate::stats::Counters;
use crate::timer::Wheel;

pub use inbound::Inbound;
pub use internal::{InternalOrder, Scope};
use latency::Latencies;
pub use news::{ClientChange, ClientNews};
pub use options::{
    ClientLimits, ClientOrder, Control, EngineOptions, Errand, RouteOptions, RouteTls, Shared,
};
use routes::{Dial, Hearer};
pub use routes::{RouteEvent, RouteOrder};
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

/// What a shard tells the control plane.
#[derive(Debug)]
pub enum Notice {
    /// Something happened to a route.
    Route(RouteEvent),
    /// Messages that the control plane wanted.
    Deliveries(Inbound<Delivered>),
    /// These accounts have more clients now, or fewer.
    Accounts(BTreeSet<AccountId>),
    /// Clients came and went, and somebody wants to know.
    Clients(Inbound<ClientNews>),
}

/// How a shard tells the control plane something; it does not wait.
pub type TellControl = Box<dyn Fn(Notice) + Send>;

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
    /// Sessions of other servers, by their links' slots.
    routes: HashMap<u32, Box<Route>, FixedState>,
    /// Those that are registered.
    registered: Vec<Hearer>,
    /// Dials that are under way.
    dials: slab::Slab<Dial>,
    /// What clients want here, and on other shards: as other shards and other servers know it.
    wanted: LocalInterest,
    /// What the servers behind this shard's routes want, as other shards know it.
    wanted_by_routes: LocalInterest,
    /// What servers wanted whose connections were lost, here or on other shards.
    kept: Kept,
    /// Routes whose servers asked in this turn for what is wanted here.
    asked: Vec<u32>,
    /// What waits for other servers' answers.
    barriers: barrier::Barriers,
    /// Requests to JetStream that wait for their answers.
    imports: imports::Imports,
    /// Subscriptions of the server itself.
    internal_subscriptions: usize,
    /// Plain bytes of what came sealed.
    plain: Vec<u8>,
    /// Routes that have brought more than a turn may open.
    unread: VecDeque<Token>,
    tell_control: Option<TellControl>,
    /// Publishers of other shards that were told that their recipients here are slow.
    told_slow: Vec<letters::ToldSlow>,
    /// Barriers of other shards that wait for third ones.
    relays: relay::Relays,
    closed: VecDeque<ConnectionReport>,
    /// What the control plane is to hear of clients when the turn ends.
    news: news::News,
    /// Clients whose passwords are to be hashed after a reload.
    rechecks: recheck::Rechecks,
    tallies: tallies::Tallies,
    portions: portions::Portions,
    counters: Counters,
    latency: Latencies,
    leaving: flow::Leaving,
    said: complaints::Said,
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
        let mut router = Router::new(options.outbound, Arc::clone(&options.accounts), seed);
        router.route_limits = options.routes.outbound;
        router.drop_for_slow = options.drop_for_slow;
        router.keep_here(&options.routes.export.deny);
        router.set_cached(options.sublist_cache);
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
            routes: HashMap::with_hasher(FixedState::with_seed(seed)),
            registered: Vec::new(),
            dials: slab::Slab::new(),
            wanted: LocalInterest::new(seed),
            wanted_by_routes: LocalInterest::new(seed),
            kept: Kept::default(),
            asked: Vec::new(),
            barriers: barrier::Barriers::default(),
            imports: imports::Imports::default(),
            internal_subscriptions: 0,
            plain: Vec::new(),
            unread: VecDeque::new(),
            tell_control: None,
            told_slow: Vec::new(),
            relays: relay::Relays::default(),
            closed: VecDeque::new(),
            news: news::News::default(),
            rechecks: recheck::Rechecks::new(seed),
            tallies: tallies::Tallies::default(),
            portions: portions::Portions::default(),
            counters: Counters::default(),
            latency: Latencies::default(),
            leaving: flow::Leaving::default(),
            said: complaints::Said::default(),
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
        self.begin_portion();
        self.read_on();
    }

    /// Whom to tell what the control plane must know; without, it learns nothing.
    pub fn set_tell_control(&mut self, tell: TellControl) {
        self.tell_control = Some(tell);
    }

    /// A connection came in for one of the shards.
    pub fn take_in(&mut self, shard: u16, socket: Socket, peer: SocketAddr, door: Door) {
        if shard == self.mail.shard {
            self.take_in_here(socket, peer, door);
        } else {
            self.mail.post(shard, Letter::Adopt { socket, peer, door });
        }
    }

    fn take_in_here(&mut self, socket: Socket, peer: SocketAddr, door: Door) {
        match door {
            Door::Clients => self.adopt(socket, peer),
            Door::Routes => self.adopt_route(socket, peer, None),
        }
    }

    /// Whether the server accepts no more connections by a door.
    #[must_use]
    pub const fn is_closed_to_newcomers(&self, door: Door) -> bool {
        self.ending || (self.deaf && matches!(door, Door::Clients))
    }

    /// The listener is closed.
    pub fn listener_is_closed(&mut self) {
        if let Some(tell) = self.tell_when_deaf.take() {
            tell();
        }
    }

    /// Serves a connection from now on.
    pub fn adopt(&mut self, socket: Socket, peer: SocketAddr) {
        if self.is_closed_to_newcomers(Door::Clients) {
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
            Outcome::Sent { batch, bytes, error, copied, timely } => {
                self.sent(token, batch, bytes, error, copied, timely);
            }
            Outcome::HasRoom => self.has_room(token),
            Outcome::Connected { socket } => self.connected(token, Ok(socket)),
            Outcome::ConnectFailed { error } => self.connected(token, Err(error)),
            Outcome::Accepted { .. } | Outcome::AcceptEnded { .. } => {}
        }
    }

    /// The turn's work is done: what it queued leaves, and who may go on goes on. A clock is read to
    /// measure what sealing costs, and for nothing else.
    pub fn end_turn(&mut self, clock: &dyn Fn() -> Time) {
        self.expire();
        self.settle_overflowed();
        self.release_held();
        self.rearm_starved();
        self.tell_news();
        self.answer_asked();
        self.ping_for_barriers();
        self.flush(clock);
        self.letters_waiting |= self.mail.flush();
    }

    /// The operations that the turn asked for; the vector keeps its memory here.
    pub fn take_ops(&mut self) -> &mut Vec<(Token, Op)> {
        &mut self.ops
    }

    /// How long the next turn may wait.
    #[must_use]
    pub fn wait(&self) -> Duration {
        /// Nothing is so far away that a turn now and then would hurt.
        const LONGEST: Duration = Duration::from_secs(60);
        let deaf = self.deaf && self.tell_when_deaf.is_some();
        if !self.is_at_rest() || self.letters_waiting || self.leaving.is_awaited() || deaf {
            return Duration::ZERO;
        }
        let timer = self.timers.next_deadline().map_or(LONGEST, |at| at - self.now);
        let tick = !self.held.is_empty() || !self.told_slow.is_empty();
        timer.min(if tick { flow::HELD_TICK } else { LONGEST })
    }

    /// Whether nothing is left for another turn; what is left may come up after its part of a turn's end.
    fn is_at_rest(&self) -> bool {
        let is_heard = self.unread.is_empty() && self.portions.is_empty();
        let is_served = self.starved.is_empty() && is_heard;
        // More of the held may go on than a turn lets go.
        let is_released = !self.progress || self.held.is_empty();
        let is_told = self.news.is_empty() && self.asked.is_empty();
        is_served && is_released && is_told && !self.barriers.is_asked() && !self.links.has_dirty()
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
        self.counters.enters = ring.enters;
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
        let socket = link.socket;
        let receive =
            if link.piecewise { Op::ReceiveOnce { socket } } else { Op::Receive { socket } };
        self.ops.push((token, receive));
        true
    }

    /// Ends the receive of a connection for which enough waits.
    fn stop_receiving(&mut self, index: u32) {
        let token = self.links.token(index);
        if let Some(link) = self.links.at_mut(index)
            && link.receiving
            && !link.cancelling
        {
            link.cancelling = true;
            self.ops.push((token, Op::CancelReceive { socket: link.socket }));
        }
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
            Some(client) if client.hold.is_some() => return client.has_ended = true,
            Some(_) => {}
            None => {
                if let Some(route) = self.routes.get_mut(&index)
                    && route.is_behind()
                {
                    return route.has_ended = true;
                }
            }
        }
        self.close(index, CloseReason::ClientClosed.into());
    }

    pub(super) fn rearm(&mut self, index: u32) {
        self.counters.receive_rearms += u64::from(self.arm(index));
    }

    fn arm_unless_held(&mut self, index: u32) {
        let free = |client: &Client| client.hold.is_none();
        match self.clients[index as usize].as_deref() {
            Some(client) if free(client) => self.rearm(index),
            Some(_) => {}
            None => self.arm_route(index),
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
