//! Connections to other servers: how they begin, what the control plane makes of them, how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ring::{Errno, Op, Socket, Token};

use crate::close::CloseReason;
use crate::ids::{AccountId, ConnId};
use crate::mailbox::Door;
use crate::outbound::{Lanes, Link};
use crate::proto::encode;
use crate::proto::route::{encode_interest, interest_len_max};
use crate::router::{Part, Want, is_news};
use crate::session::{PingSent, Registration, Route, RoutePhase, SubjectRule};
use crate::sublist::Owner;
use crate::transport::tls::Tls;
use crate::transport::{Level, Mode, Progress, Transport};

use super::portions::Departed;
use super::timers::Timer;
use super::{End, Engine, Notice, RouteOptions};

/// What the control plane tells a shard about its routes.
pub enum RouteOrder {
    /// Dial another server.
    Dial {
        /// The control plane's number for the dial.
        dial: u64,
        /// Whom to dial.
        address: SocketAddr,
        /// The name that the server's certificate must show, where TLS is used.
        tls_name: Option<String>,
    },
    /// Send whole lines.
    Send {
        /// The connection.
        token: Token,
        /// The lines.
        bytes: Vec<u8>,
    },
    /// From here on both directions are compressed.
    Compress {
        /// The connection.
        token: Token,
        /// How.
        mode: Mode,
        /// Round trips for `s2_auto`.
        thresholds: Vec<Duration>,
    },
    /// Interest and messages may flow.
    Register {
        /// The connection.
        token: Token,
        /// What it is.
        registration: Box<Registration>,
    },
    /// What came last is in order: parse on.
    Continue {
        /// The connection.
        token: Token,
    },
    /// Send a PING.
    Ping {
        /// The connection.
        token: Token,
    },
    /// Drop what was learned on the connection about an account.
    Forget {
        /// The connection.
        token: Token,
        /// The account's name.
        account: String,
    },
    /// Interest of these accounts alone does not go with the pool from now on.
    SetApart {
        /// The connection.
        token: Token,
        /// The accounts' names.
        accounts: Vec<String>,
    },
    /// Who is to dial when the connection is lost has changed.
    SetSolicited {
        /// The connection.
        token: Token,
        /// Whether this server dials the other.
        solicited: bool,
        /// Whether the configuration asks for it.
        configured: bool,
    },
    /// End the connection.
    Close {
        /// The connection.
        token: Token,
        /// Why.
        reason: CloseReason,
        /// The text of the `-ERR` that goes before it.
        error: Option<String>,
    },
}

/// What a shard tells the control plane about its routes.
#[derive(Debug)]
pub enum RouteEvent {
    /// Another server has dialled.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// Its number.
        rid: u64,
        /// Its address.
        peer: SocketAddr,
    },
    /// A dial has succeeded.
    Dialed {
        /// Which one.
        dial: u64,
        /// The connection.
        conn: ConnId,
        /// Its number.
        rid: u64,
        /// Its address.
        peer: SocketAddr,
    },
    /// A dial has failed.
    DialFailed {
        /// Which one.
        dial: u64,
        /// Why.
        error: String,
    },
    /// CONNECT came; the connection waits.
    Connect {
        /// The connection.
        conn: ConnId,
        /// What it says.
        json: Vec<u8>,
    },
    /// INFO came; the connection waits.
    Info {
        /// The connection.
        conn: ConnId,
        /// What it says.
        json: Vec<u8>,
    },
    /// The answer to a PING came.
    Pong {
        /// The connection.
        conn: ConnId,
        /// The round trip.
        rtt: Duration,
    },
    /// The other server sent `-ERR` and is gone.
    Refused {
        /// The connection.
        conn: ConnId,
        /// What it said.
        text: String,
    },
    /// The connection is ending.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
}

/// A dial that is under way.
pub(super) struct Dial {
    id: u64,
    address: SocketAddr,
    tls_name: Option<String>,
    /// It took too long: the control plane has been told that it failed.
    given_up: bool,
}

/// A registered route, as far as it hears of interest. It stands apart from its session, which is
/// not in its place while its own bytes change what is wanted.
pub(super) struct Hearer {
    pub(super) index: u32,
    /// By account, whether it hears of that.
    carried: Arc<[bool]>,
}

/// An account, a subject and a queue group.
type OwnedWant = (AccountId, Box<[u8]>, Option<Box<[u8]>>);

/// Tokens from here on are dials; no link has such a slot.
const DIALS: u32 = 1 << 31;
/// A dial that takes longer has failed.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Plain bytes that a compressed stream may bring before its server is known.
const UNTRUSTED_BYTES_MAX: usize = 1 << 20;
/// Bytes of a route that may wait, compressed or for the control plane.
const WAITING_MAX: usize = 256 << 10;
/// The first PING comes this soon, and measures the round trip.
const FIRST_PING: Duration = Duration::from_secs(1);

/// Whether a server hears of something over this connection.
pub(super) fn crosses(route: &Route, import: &SubjectRule, want: &Want<'_>) -> bool {
    route.carries(want.account) && import.permits(want.subject)
}

impl Engine {
    pub(super) fn conn(&self, index: u32) -> ConnId {
        ConnId { shard: self.mail.shard, token: self.links.token(index) }
    }

    pub(super) fn notify(&self, notice: Notice) {
        if let Some(tell) = &self.tell_control {
            tell(notice);
        }
    }

    /// Serves a connection to another server from now on.
    pub(super) fn adopt_route(&mut self, socket: Socket, peer: SocketAddr, dial: Option<Dial>) {
        if self.is_closed_to_newcomers(Door::Routes) {
            self.ops.push((Token::new(u32::MAX, 1), Op::Close { socket }));
            return;
        }
        let mut link = Link::new(socket, self.now, !peer.ip().is_loopback());
        link.lanes = Some(Box::new(Lanes::default()));
        link.outflow = (!peer.ip().is_loopback()).then(Box::default);
        link.names_accounts = true;
        if let Some(tls) = &self.options.routes.tls {
            let name = dial.as_ref().map(|dial| (dial, dial.tls_name.as_deref()));
            let made = match name {
                Some((_, Some(name))) => Tls::connect(&tls.connector, name),
                Some((_, None)) => Tls::connect(&tls.connector, &peer.ip().to_string()),
                None => Tls::accept(&tls.acceptor),
            };
            match made {
                Ok(tls) => link.transport = Some(Box::new(Transport::tls(tls))),
                Err(error) => {
                    tracing::error!("{peer} - TLS route handshake error: {error}");
                    return self.ops.push((Token::new(u32::MAX, 1), Op::Close { socket }));
                }
            }
        }
        let token = self.links.insert(link);
        let index = token.index as usize;
        if self.clients.len() <= index {
            self.clients.resize_with(index + 1, || None);
        }
        // Relaxed: numbers need only be distinct.
        let rid = self.shared.next_cid.fetch_add(1, Ordering::Relaxed);
        let phase = if dial.is_some() { RoutePhase::Introduced } else { RoutePhase::Greeted };
        self.routes.insert(token.index, Box::new(Route::new(rid, peer, self.now, phase)));
        self.counters.total_routes += 1;
        self.arm(token.index);
        if let Some(tls) = &self.options.routes.tls {
            self.timers.schedule(self.now + tls.timeout, (token, Timer::Handshake));
        }
        if let Some((link, pool)) = self.links.with_pool(token.index) {
            link.answer_handshake(pool);
        }
        self.links.touch(token.index);
        if dial.is_none()
            && let Some(timeout) = self.options.routes.auth_timeout
        {
            self.timers.schedule(self.now + timeout, (token, Timer::Login));
        }
        let spread = FIRST_PING.mul_f64(self.random.f64() * 0.2);
        self.timers.schedule(self.now + FIRST_PING + spread, (token, Timer::RoutePing));
        let conn = self.conn(token.index);
        self.notify(Notice::Route(match dial {
            Some(dial) => RouteEvent::Dialed { dial: dial.id, conn, rid, peer },
            None => RouteEvent::Accepted { conn, rid, peer },
        }));
    }

    pub(super) fn on_route_order(&mut self, order: RouteOrder) {
        match order {
            RouteOrder::Dial { dial, address, tls_name } => self.dial(dial, address, tls_name),
            RouteOrder::Send { token, bytes } => {
                if self.links.is_live(token) {
                    self.write(token.index, |out| out.extend_from_slice(&bytes));
                }
            }
            RouteOrder::Compress { token, mode, thresholds } => {
                self.compress(token, mode, &thresholds);
            }
            RouteOrder::Register { token, registration } => self.register(token, *registration),
            RouteOrder::Continue { token } => {
                if self.links.is_live(token) {
                    self.continue_route(token.index);
                }
            }
            RouteOrder::Ping { token } => {
                if self.links.is_live(token) {
                    self.ping_route(token.index, None);
                }
            }
            RouteOrder::Forget { token, account } => self.forget_account(token, &account),
            RouteOrder::SetApart { token, accounts } => self.set_apart(token, accounts),
            RouteOrder::SetSolicited { token, solicited, configured } => {
                if self.links.is_live(token)
                    && let Some(route) = self.routes.get_mut(&token.index)
                    && let Some(registration) = &mut route.registration
                {
                    (registration.solicited, registration.configured) = (solicited, configured);
                }
            }
            RouteOrder::Close { token, reason, error } => {
                if self.links.is_live(token) && self.routes.contains_key(&token.index) {
                    if let Some(text) = error {
                        self.write(token.index, |out| encode::error_text(out, &text));
                    }
                    self.close(token.index, End { reason, error: None });
                }
            }
        }
    }

    fn dial(&mut self, id: u64, address: SocketAddr, tls_name: Option<String>) {
        let slot = self.dials.insert(Dial { id, address, tls_name, given_up: false });
        let token = dial_token(slot, id);
        self.ops.push((token, Op::Connect { address }));
        self.timers.schedule(self.now + DIAL_TIMEOUT, (token, Timer::Dial));
    }

    /// A dial has had its time.
    pub(super) fn dial_due(&mut self, token: Token) {
        let slot = (token.index - DIALS) as usize;
        if let Some(dial) = self.dials.get_mut(slot)
            && dial_token(slot, dial.id) == token
            && !dial.given_up
        {
            dial.given_up = true;
            let error = format!("dial tcp {}: i/o timeout", dial.address);
            let event = RouteEvent::DialFailed { dial: dial.id, error };
            self.notify(Notice::Route(event));
        }
    }

    pub(super) fn connected(&mut self, token: Token, outcome: Result<Socket, Errno>) {
        let Some(dial) = self.dials.try_remove((token.index - DIALS) as usize) else { return };
        match outcome {
            Ok(socket) if dial.given_up => {
                self.ops.push((Token::new(u32::MAX, 1), Op::Close { socket }));
            }
            Ok(socket) => {
                let address = dial.address;
                self.adopt_route(socket, address, Some(dial));
            }
            Err(_) if dial.given_up => {}
            Err(error) => {
                let error = format!("dial tcp {}: connect: {error}", dial.address);
                self.notify(Notice::Route(RouteEvent::DialFailed { dial: dial.id, error }));
            }
        }
    }

    /// Both directions are compressed from here on: what was queued leaves as it is, what waits to be
    /// parsed came compressed.
    fn compress(&mut self, token: Token, mode: Mode, thresholds: &[Duration]) {
        if !self.links.is_live(token) {
            return;
        }
        let index = token.index;
        let Some(mut route) = self.routes.remove(&index) else { return };
        if let Some((link, pool)) = self.links.with_pool(index) {
            link.release_control(pool);
            let waiting = route.input.take();
            let transport = link.transport.get_or_insert_default();
            let level = Level::of(mode, self.now - route.start, thresholds);
            (route.mode, route.thresholds) = (mode, thresholds.to_vec());
            let mut plain = Vec::new();
            let opened =
                transport.compress(level, UNTRUSTED_BYTES_MAX, waiting.as_slice(), &mut plain);
            transport.set_level(level, mode == Mode::Auto);
            route.input.keep(&plain);
            self.routes.insert(index, route);
            self.links.touch(index);
            // What stood behind one line of a read never makes a decoder pause.
            if !matches!(opened, Ok(Progress::Done)) {
                self.close(index, CloseReason::ReadError.into());
            }
        }
    }

    fn register(&mut self, token: Token, registration: Registration) {
        if !self.links.is_live(token) {
            return;
        }
        let index = token.index;
        let Some(mut route) = self.routes.remove(&index) else { return };
        route.phase = RoutePhase::Registered;
        let (headers, takes_passed_on) = (registration.headers, registration.takes_passed_on);
        route.registration = Some(Box::new(registration));
        route.assign_accounts(&self.options.accounts, self.options.routes.pool_size);
        if let Some(link) = self.links.at_mut(index) {
            link.names_accounts = route.names_accounts();
            link.headers = headers;
            link.takes_passed_on = takes_passed_on;
            if let Some(transport) = &mut link.transport {
                transport.set_budget(usize::MAX);
            }
        }
        if self.may_be_kept(&route) {
            self.tell_digests(index, &mut route);
        } else {
            self.tell_everything(index, &route, |_| true);
        }
        self.routes.insert(index, route);
        let carried = Arc::clone(&self.routes[&index].carried);
        self.registered.push(Hearer { index, carried });
        self.continue_route(index);
    }

    /// Tells a server everything that is wanted here of some accounts.
    pub(super) fn tell_everything(
        &mut self,
        index: u32,
        route: &Route,
        is_told: impl Fn(AccountId) -> bool,
    ) {
        let Some((link, pool)) = self.links.writer(index) else { return };
        let names = link.names_accounts;
        let accounts = &self.options.accounts;
        for (want, sum) in self.wanted.iter() {
            if is_told(want.account) && crosses(route, &self.options.routes.import, &want) {
                self.counters.interest_announced += 1;
                let account = names.then(|| accounts.name(want.account).as_bytes());
                let room = interest_len_max(account, want.subject, want.queue);
                link.control_queue().write(pool, room, |out| {
                    encode_interest(out, true, account, want.subject, want.queue, sum.all());
                });
            }
        }
    }

    /// The options have changed: accounts may have been added or have connections of their own now,
    /// other subjects may cross, and levels of compression are other ones.
    pub(super) fn apply_to_routes(&mut self, before: &RouteOptions) {
        let options = Arc::clone(&self.options);
        let now = &options.routes;
        if !now.carries_alike(before) {
            self.kept.clear();
        }
        for at in 0..self.registered.len() {
            let index = self.registered[at].index;
            let Some(mut route) = self.routes.remove(&index) else { continue };
            self.reassign(at, &mut route, &before.import);
            if before.export != now.export {
                self.forget_forbidden(index, &mut route);
            }
            if now.compression.compresses() {
                (route.mode, route.thresholds) = (now.compression, now.thresholds.clone());
                if let Some(link) = self.links.at_mut(index)
                    && let Some(transport) = &mut link.transport
                {
                    route.choose_level(transport);
                }
            }
            self.routes.insert(index, route);
        }
    }

    /// Other accounts go with the pool to a server now.
    fn set_apart(&mut self, token: Token, accounts: Vec<String>) {
        let is_it = |hearer: &Hearer| hearer.index == token.index;
        let Some(at) = self.registered.iter().position(is_it) else { return };
        if !self.links.is_live(token) {
            return;
        }
        let Some(mut route) = self.routes.remove(&token.index) else { return };
        if let Some(registration) = &mut route.registration {
            registration.apart = accounts;
        }
        let options = Arc::clone(&self.options);
        self.reassign(at, &mut route, &options.routes.import);
        self.routes.insert(token.index, route);
    }

    /// Works out again which accounts a registered connection carries, by the rule that held so far, and
    /// tells its server what that changes.
    fn reassign(&mut self, at: usize, route: &mut Route, rule: &SubjectRule) {
        let carried = Arc::clone(&route.carried);
        route.assign_accounts(&self.options.accounts, self.options.routes.pool_size);
        let hearer = &mut self.registered[at];
        hearer.carried = Arc::clone(&route.carried);
        let index = hearer.index;
        self.tell_reassigned(index, route, &carried, rule);
    }

    /// Tells a server what it is to hear on this connection from now on, and takes back what not.
    fn tell_reassigned(&mut self, index: u32, route: &Route, carried: &[bool], rule: &SubjectRule) {
        let Some((link, pool)) = self.links.writer(index) else { return };
        let (names, rule_now) = (link.names_accounts, &self.options.routes.import);
        for (want, sum) in self.wanted.iter() {
            let carried = carried.get(want.account.index()).copied().unwrap_or(false);
            let was = carried && rule.permits(want.subject);
            let is = crosses(route, rule_now, &want);
            if was == is {
                continue;
            }
            let name = self.options.accounts.name(want.account).as_bytes();
            let account = names.then_some(name);
            let room = interest_len_max(account, want.subject, want.queue);
            link.control_queue().write(pool, room, |out| {
                encode_interest(out, is, account, want.subject, want.queue, sum.all());
            });
        }
    }

    /// Forgets what a server wants of subjects that may not cross any more.
    fn forget_forbidden(&mut self, index: u32, route: &mut Route) {
        let rule = &self.options.routes.export;
        let theirs = self.router.interest_of(Owner::Route(index));
        let wants: Vec<_> = theirs
            .filter(|sub| !rule.permits(&sub.subject))
            .map(|sub| (sub.account, sub.subject.clone(), sub.queue.clone()))
            .collect();
        self.forget_wants(index, route, &wants);
    }

    /// Forgets these of what a server wants.
    fn forget_wants(&mut self, index: u32, route: &mut Route, wants: &[OwnedWant]) {
        for (account, subject, queue) in wants {
            let want = Want { account: *account, subject, queue: queue.as_deref() };
            let before = self.router.set_interest(Owner::Route(index), want, 0);
            route.note_interest(before, 0);
            self.announce_for_routes(want, -before.cast_signed());
        }
    }

    /// Tells the servers that are concerned how many want something here.
    pub(super) fn tell_routes(&mut self, want: Want<'_>, before: u32, after: u32) {
        if self.registered.is_empty() || !is_news(&want, before, after) {
            return;
        }
        if !self.options.routes.import.permits(want.subject) {
            return;
        }
        for hearer in &self.registered {
            if !hearer.carried.get(want.account.index()).is_some_and(|carried| *carried) {
                continue;
            }
            let Some((link, pool)) = self.links.writer(hearer.index) else { continue };
            let name = self.options.accounts.name(want.account).as_bytes();
            let account = link.names_accounts.then_some(name);
            let room = interest_len_max(account, want.subject, want.queue);
            link.control_queue().write(pool, room, |out| {
                encode_interest(out, after > 0, account, want.subject, want.queue, after);
            });
        }
    }

    /// The control plane has judged what a connection said last.
    fn continue_route(&mut self, index: u32) {
        if let Some(route) = self.routes.get_mut(&index) {
            route.waits = false;
            self.resume_route(index);
        }
    }

    /// Goes on with a connection that need not wait for the control plane any more, or for this turn.
    pub(super) fn resume_route(&mut self, index: u32) {
        let Some(mut route) = self.routes.remove(&index) else { return };
        let waiting = route.input.take();
        let consumed = self.consume(index, &mut *route, waiting.as_slice());
        let used = consumed.unwrap_or(0);
        route.input.put_back(waiting, used);
        self.go_on_with(index, route, consumed.map(drop));
    }

    /// Something of what a route brought was carried out: the rest has its turn next, or it ends, or it may
    /// bring more.
    pub(super) fn go_on_with(&mut self, index: u32, route: Box<Route>, consumed: Result<(), End>) {
        if route.unread && !route.is_held() {
            self.unread.push_back(self.links.token(index));
        }
        let has_ended = route.has_ended && !route.is_behind();
        self.finish_route(index, route, consumed);
        if has_ended {
            return self.close(index, CloseReason::ClientClosed.into());
        }
        if self.links.is_open(index) {
            self.arm_route(index);
        }
    }

    /// Arms the receive of a route that need not wait.
    pub(super) fn arm_route(&mut self, index: u32) {
        if self.routes.get(&index).is_some_and(|route| !route.is_behind()) {
            self.rearm(index);
        }
    }

    /// A route's session goes back to its place, or ends. It is received from no longer once much waits.
    pub(super) fn finish_route(
        &mut self,
        index: u32,
        route: Box<Route>,
        consumed: Result<(), End>,
    ) {
        let link = self.links.at(index).filter(|_| route.unread);
        let transport = link.and_then(|link| link.transport.as_deref());
        let unread = transport.map_or(0, Transport::kept_bytes);
        let waiting = if route.is_held() { route.input.waiting() } else { 0 };
        self.routes.insert(index, route);
        if let Err(end) = consumed {
            self.close(index, end);
        }
        self.settle_overflowed();
        if waiting + unread > WAITING_MAX {
            self.stop_receiving(index);
        }
    }

    /// Takes a route's session and what its server wants out.
    pub(super) fn withdraw_route(&mut self, index: u32) {
        let Some(route) = self.routes.remove(&index) else { return };
        self.registered.retain(|hearer| hearer.index != index);
        let ids = self.router.disown(Owner::Route(index));
        let rounds = route.pings.iter().filter(|ping| !ping.is_void).filter_map(|ping| ping.round);
        for round in rounds.chain(route.rounds_again.iter().copied()) {
            self.leave_round(round);
        }
        self.depart(index, ids, Departed::Route { route, forgotten: Vec::new() });
    }

    /// An account gets a connection of its own: what was learned of it on this one is forgotten.
    fn forget_account(&mut self, token: Token, account: &str) {
        let Some(account) = self.options.accounts.find(account.as_bytes()) else { return };
        if !self.links.is_live(token) || !self.routes.contains_key(&token.index) {
            return;
        }
        let theirs = self.router.interest_of(Owner::Route(token.index));
        let wants: Vec<_> = theirs
            .filter(|sub| sub.account == account)
            .map(|sub| (account, sub.subject.clone(), sub.queue.clone()))
            .collect();
        let Some(mut route) = self.routes.remove(&token.index) else { return };
        self.forget_wants(token.index, &mut route, &wants);
        self.routes.insert(token.index, route);
    }

    /// The servers behind this shard's routes want more, or less, of something.
    pub(super) fn announce_for_routes(&mut self, want: Want<'_>, change: i32) {
        if change == 0 || self.mail.others() == 0 {
            return;
        }
        let (before, after) = self.wanted_by_routes.change(Part::Own, want, change);
        if is_news(&want, before.own, after.own) {
            self.post_interest(crate::mailbox::Side::Routes, want, after.own);
        }
    }

    /// Tells the control plane that a route is ending.
    pub(super) fn report_closed_route(&self, index: u32, reason: CloseReason) {
        if self.routes.contains_key(&index) {
            self.notify(Notice::Route(RouteEvent::Closed { conn: self.conn(index), reason }));
        }
    }

    /// Closes all routes of this shard.
    pub(super) fn close_routes(&mut self, reason: CloseReason) {
        let all: Vec<u32> = self.routes.keys().copied().collect();
        for index in all {
            self.close(index, reason.into());
        }
    }

    /// The TLS handshake must be done.
    pub(super) fn handshake_due(&mut self, token: Token) {
        let transport = self.links.get_mut(token).and_then(|link| link.transport.as_deref());
        if transport.is_some_and(Transport::is_handshaking) {
            let error = "tls: handshake timeout";
            self.close_failed_handshake(token.index, error);
        }
    }

    pub(super) fn close_failed_handshake(&mut self, index: u32, error: &str) {
        if let Some(route) = self.routes.get(&index) {
            let (peer, rid) = (route.peer, route.rid);
            tracing::error!("{peer} - rid:{rid} - TLS route handshake error: {error}");
        }
        self.close(index, CloseReason::TlsHandshakeFailure.into());
    }

    /// How many routes are registered.
    pub(super) fn registered_routes(&self) -> u64 {
        self.registered.len() as u64
    }

    /// Sends a PING, for a round of barriers or to ask for life.
    pub(super) fn ping_route(&mut self, index: u32, round: Option<Token>) {
        if let Some(route) = self.routes.get_mut(&index) {
            route.pings.push_back(PingSent { at: self.now, round, is_void: false });
            self.say(index, encode::PING);
        }
    }

    pub(super) fn route_ping_due(&mut self, token: Token) {
        let (interval, most) = (self.options.routes.ping_interval, self.options.routes.ping_max);
        let Some(route) = self.routes.get_mut(&token.index) else { return };
        if route.phase != RoutePhase::Registered {
            // The handshake must come to an end, too.
            let patience = interval.saturating_mul(most.saturating_add(1));
            if self.now - route.start >= patience {
                self.counters.stale_routes += 1;
                return self.close(token.index, CloseReason::StaleConnection.into());
            }
            let soon = FIRST_PING.min(interval);
            return self.timers.schedule(self.now + soon, (token, Timer::RoutePing));
        }
        // A PING that waits behind bulk, or a PONG that does, says nothing while the bulk moves.
        let now = self.now;
        let hears = now - route.heard_at < interval;
        let drains = self.links.at(token.index).is_some_and(|link| link.drains(now, interval));
        let outstanding = route.pings_outstanding();
        if outstanding > 0 && (hears || drains) {
            return self.timers.schedule(now + interval, (token, Timer::RoutePing));
        }
        if outstanding >= most as usize {
            self.counters.stale_routes += 1;
            return self.close(token.index, CloseReason::StaleConnection.into());
        }
        self.ping_route(token.index, None);
        self.timers.schedule(self.now + interval, (token, Timer::RoutePing));
    }
}

fn dial_token(slot: usize, id: u64) -> Token {
    #[expect(clippy::cast_possible_truncation, reason = "the low bits tell lives of a slot apart")]
    Token::new(DIALS + slot as u32, id as u32)
}
