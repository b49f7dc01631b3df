//! What other servers send, carried out.

use std::sync::Arc;

use crate::close::{CloseReason, ErrorText};
use crate::ids::AccountId;
use crate::mailbox::{GroupLists, Letter};
use crate::outbound::Closing;
use crate::proto::client::ParseError;
use crate::proto::encode;
use crate::proto::route::{self, Interest, RouteError, RouteOp, Routed, Step};
use crate::router::run::Lead;
use crate::router::{Message, Origin, Want, names};
use crate::session::{Input, Line, Route, RoutePhase};
use crate::subject;
use crate::transport::{Progress, Transport, TransportError};

use super::barrier::PINGS_MAX;
use super::input::{Frame, Speaker};
use super::routes::RouteEvent;
use super::{End, Engine, Notice};

/// Control lines up to this length are compared with the next one.
const LINE_COMPARED_MAX: usize = 512;

impl From<RouteError> for End {
    fn from(error: RouteError) -> Self {
        Self { reason: error.close_reason(), error: error.error() }
    }
}

impl Engine {
    /// Bytes came in over a route.
    pub(super) fn received_by_route(&mut self, index: u32, bytes: &[u8]) {
        let Some(mut route) = self.routes.remove(&index) else { return };
        route.heard_at = self.now;
        let Some(mut transport) = self.take_transport(index) else {
            let consumed = self.received_plain(index, &mut route, bytes);
            return self.finish_route(index, route, consumed);
        };
        if route.unread {
            let kept = transport.keep(&mut self.links.pool.scratch, bytes);
            let kept = kept.map_err(|error| not_understood(&route, &error));
            self.restore_transport(index, transport);
            return self.finish_route(index, route, kept);
        }
        self.open_some(index, route, transport, bytes);
    }

    /// Goes on with routes that have brought more than a turn may open: few compressed bytes can be many
    /// messages, and what these are sent to must get its turn in between.
    pub(super) fn read_on(&mut self) {
        for _ in 0..self.unread.len() {
            let Some(token) = self.unread.pop_front() else { break };
            if self.links.get_mut(token).is_some_and(|link| link.closing == Closing::No)
                && let Some(transport) = self.take_transport(token.index)
                && let Some(route) = self.routes.remove(&token.index)
            {
                self.open_some(token.index, route, transport, &[]);
            }
        }
    }

    /// Opens no more than one step of what came in, and carries it out.
    fn open_some(
        &mut self,
        index: u32,
        mut route: Box<Route>,
        mut transport: Box<Transport>,
        wire: &[u8],
    ) {
        let rtt = route.rtt;
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let opened = transport.open(&mut self.links.pool.scratch, wire, &mut plain);
        route.unread = opened == Ok(Progress::Paused);
        let consumed = match opened {
            Ok(Progress::Done | Progress::Paused) => self.received_plain(index, &mut route, &plain),
            Err(error) => Err(not_understood(&route, &error)),
        };
        self.plain = plain;
        if route.rtt != rtt {
            // A PONG was among them.
            route.choose_level(&mut transport);
        }
        self.restore_transport(index, transport);
        self.go_on_with(index, route, consumed);
    }

    fn take_transport(&mut self, index: u32) -> Option<Box<Transport>> {
        self.links.at_mut(index)?.transport.take()
    }

    fn restore_transport(&mut self, index: u32, transport: Box<Transport>) {
        if let Some((link, pool)) = self.links.with_pool(index) {
            link.transport = Some(transport);
            link.answer_handshake(pool);
            self.links.touch(index);
        }
    }

    fn received_plain(&mut self, index: u32, route: &mut Route, bytes: &[u8]) -> Result<(), End> {
        if route.is_held() {
            route.input.keep(bytes);
            return Ok(());
        }
        self.begin_publisher();
        self.consume_received(index, route, bytes)
    }

    fn on_route_op(&mut self, index: u32, route: &mut Route, op: &RouteOp<'_>) -> Result<(), End> {
        if route.phase == RoutePhase::Greeted && !matches!(op, RouteOp::Connect(_)) {
            return Err(CloseReason::AuthenticationFailure.into());
        }
        match *op {
            RouteOp::Connect(json) if route.phase == RoutePhase::Greeted => {
                route.phase = RoutePhase::Introduced;
                route.waits = true;
                let (conn, json) = (self.conn(index), json.to_vec());
                self.notify(Notice::Route(RouteEvent::Connect { conn, json }));
            }
            RouteOp::Info(json) => {
                // Also what a registered server tells later: so a flood of it waits at its source.
                route.waits = true;
                let (conn, json) = (self.conn(index), json.to_vec());
                self.notify(Notice::Route(RouteEvent::Info { conn, json }));
            }
            RouteOp::Ping => self.on_route_ping(index, route),
            RouteOp::Pong => self.on_route_pong(index, route),
            RouteOp::Err(text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                let conn = self.conn(index);
                self.notify(Notice::Route(RouteEvent::Refused { conn, text }));
                return Err(End { reason: CloseReason::ParseError, error: None });
            }
            RouteOp::Interest(interest) => {
                self.on_remote_interest(index, route, &interest);
                self.count_change_by_route(index, route);
            }
            RouteOp::Same { account, digest } => {
                return self.on_same_interest(index, route, account, &digest);
            }
            RouteOp::Differs { account } => {
                return self.on_different_interest(index, route, account);
            }
            RouteOp::Connect(_) | RouteOp::Ok | RouteOp::Ignored | RouteOp::Message(_) => {}
        }
        Ok(())
    }

    /// Another server asks for a PONG: everything that it said before must be known on all shards.
    fn on_route_ping(&mut self, index: u32, route: &mut Route) {
        let concerned = std::mem::take(&mut route.touched_shards);
        if concerned == 0 && route.pongs.is_empty() {
            return self.say(index, encode::PONG);
        }
        if route.pongs.len() >= PINGS_MAX {
            // It asks faster than shards answer: the answers that it is owed are enough.
            return route.touched_shards = concerned;
        }
        let token = self.links.token(index);
        self.mail.post_all(concerned, || Letter::Barrier { token, hops: 0 });
        route.pongs.push_back(concerned);
    }

    /// Another shard has done everything before one of a route's PINGs.
    pub(super) fn on_route_barrier_done(&mut self, index: u32, from: u16) {
        let Some(mut route) = self.routes.remove(&index) else { return };
        if let Some(waiting) = route.pongs.iter_mut().find(|waiting| **waiting & 1 << from != 0) {
            *waiting &= !(1 << from);
        }
        while route.pongs.front() == Some(&0) {
            route.pongs.pop_front();
            self.say(index, encode::PONG);
        }
        self.routes.insert(index, route);
    }

    fn on_route_pong(&mut self, index: u32, route: &mut Route) {
        if let Some(ping) = route.pings.pop_front() {
            route.rtt = self.now - ping.at;
            if ping.is_void {
                return;
            }
            if let Some(round) = ping.round {
                return self.leave_round(round);
            }
            let (conn, rtt) = (self.conn(index), route.rtt);
            self.notify(Notice::Route(RouteEvent::Pong { conn, rtt }));
        }
    }

    pub(super) fn account_of(&self, route: &Route, named: Option<&[u8]>) -> Option<AccountId> {
        match named {
            Some(name) => self.options.accounts.find(name),
            None => route.account,
        }
    }

    fn on_remote_interest(&mut self, index: u32, route: &mut Route, interest: &Interest<'_>) {
        route.active_at = self.now;
        if route.phase != RoutePhase::Registered {
            return;
        }
        // An account that is not known here has no clients here either.
        let Some(account) = self.account_of(route, interest.account) else { return };
        if !subject::is_valid_filter(interest.subject) {
            return self.say_error(index, ErrorText::InvalidSubscription);
        }
        if !self.options.routes.export.permits(interest.subject) {
            return;
        }
        let want = Want { account, subject: interest.subject, queue: interest.queue };
        let now = match (interest.add, interest.queue) {
            (false, _) => 0,
            (true, None) => 1,
            (true, Some(_)) => interest.weight,
        };
        self.put_in_force(index, route, want, now);
    }

    fn on_routed(
        &mut self,
        index: u32,
        route: &mut Route,
        routed: &Routed<'_>,
        body: &[u8],
        block: Option<&Arc<Vec<u8>>>,
    ) -> Result<(), End> {
        if !route::payload_end(&body[routed.size as usize..])? {
            return Err(RouteError::UnknownOperation.into());
        }
        route.active_at = self.now;
        route.in_msgs += 1;
        route.in_bytes += u64::from(routed.size);
        self.counters.in_msgs += 1;
        self.counters.in_bytes += u64::from(routed.size);
        if route.phase != RoutePhase::Registered {
            return Ok(());
        }
        let Some(account) = self.account_of(route, routed.account) else { return Ok(()) };
        let message = Message {
            account,
            subject: routed.subject,
            reply: routed.reply,
            header_len: routed.header_len.filter(|len| *len > 0),
            body,
            block,
            origin: Origin::Route { groups: routed.queues.raw(), passed_on: routed.queues_only },
        };
        route.touched_shards |= self.deliver_routed(index, &message);
        Ok(())
    }

    /// Returns the other shards that the message went to.
    fn deliver_routed(&mut self, index: u32, message: &Message<'_>) -> u64 {
        let delivery = self.deliver(None, message);
        self.counters.routed_msgs += 1;
        self.hand_over_inbox(None);
        let Origin::Route { groups, .. } = message.origin else { return 0 };
        let token = self.links.token(index);
        let mut shards =
            if delivery.remote { self.post_to_shards(token, message, false) } else { 0 };
        for group in names(groups) {
            if !self.router.elsewhere.served.iter().any(|name| **name == *group) {
                let place = self.router.bounce(&mut self.links, message, group);
                if let Some((shard, groups)) =
                    place.and_then(|place| GroupLists::elsewhere(place, group))
                {
                    self.mail.hand_on(shard, token, message, groups);
                    shards |= 1 << shard;
                }
            }
        }
        while let Some(id) = self.router.exhausted.pop() {
            self.end_exhausted(None, id);
        }
        shards
    }

    /// A plain message's line is kept, in case the next one has the same.
    fn remember_routed(&self, route: &mut Route, routed: &Routed<'_>, line: &[u8]) {
        let plain = routed.header_len.is_none()
            && !routed.has_queue_list
            && self.options.trace.is_none()
            && line.len() <= LINE_COMPARED_MAX;
        let account = self.account_of(route, routed.account).filter(|_| plain);
        let Some(account) = account else {
            if let Some(line) = &mut route.line {
                line.forget();
            }
            return;
        };
        let kept = route.line.get_or_insert_default();
        if !kept.is(line) {
            kept.remember(line, routed.size, account);
        }
    }
}

/// A connection whose bytes cannot be understood ends.
fn not_understood(route: &Route, error: &TransportError) -> End {
    let (peer, rid) = (route.peer, route.rid);
    let tls = matches!(error, TransportError::Tls(_));
    let reason = if tls && route.phase != RoutePhase::Registered {
        tracing::error!("{peer} - rid:{rid} - TLS route handshake error: {error}");
        CloseReason::TlsHandshakeFailure
    } else {
        tracing::error!("{peer} - rid:{rid} - {error}");
        CloseReason::ReadError
    };
    End { reason, error: None }
}

impl Speaker for Route {
    fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    fn is_held(&self) -> bool {
        Self::is_held(self)
    }

    fn frame(&self, _engine: &Engine, bytes: &[u8]) -> Frame {
        match route::next(bytes, self.names_accounts()) {
            Step::Incomplete => Frame::Incomplete,
            Step::Op { op: RouteOp::Message(routed), line_len } => {
                Frame::Message { len: line_len + routed.size as usize + 2 }
            }
            Step::Op { .. } | Step::Failed(_) => Frame::Other,
        }
    }

    fn consume_run(&mut self, engine: &mut Engine, _index: u32, bytes: &[u8]) -> usize {
        if self.phase != RoutePhase::Registered {
            return 0;
        }
        let Some(mut line) = self.line.take_if(|line| line.is_set()) else { return 0 };
        let (account, names) = (line.account, self.names_accounts());
        let run = engine.deliver_run(&mut line, bytes, |bytes| match route::next(bytes, names) {
            Step::Op { op: RouteOp::Message(routed), .. } => Some(Lead {
                account,
                subject: routed.subject,
                reply: routed.reply,
                except: None,
                routed: true,
            }),
            Step::Op { .. } | Step::Incomplete | Step::Failed(_) => None,
        });
        let size = u64::from(line.size);
        self.line = Some::<Box<Line>>(line);
        let Some((count, stride, _)) = run else { return 0 };
        self.active_at = engine.now;
        self.in_msgs += count as u64;
        self.in_bytes += count as u64 * size;
        count * stride
    }

    fn consume_one(&mut self, engine: &mut Engine, index: u32, bytes: &[u8]) -> Result<usize, End> {
        match route::next(bytes, self.names_accounts()) {
            Step::Incomplete => Ok(0),
            Step::Failed(_) if self.phase == RoutePhase::Greeted => {
                Err(CloseReason::AuthenticationFailure.into())
            }
            Step::Failed(error) => Err(error.into()),
            Step::Op { op: RouteOp::Message(routed), line_len } => {
                if self.phase == RoutePhase::Greeted {
                    return Err(CloseReason::AuthenticationFailure.into());
                }
                let (line, rest) = bytes.split_at(line_len);
                let len = routed.size as usize + 2;
                if rest.len() < len {
                    return engine
                        .await_payload(&mut self.input, line, rest, len)
                        .map_err(End::from);
                }
                engine.remember_routed(self, &routed, line);
                engine.on_routed(index, self, &routed, &rest[..len], None)?;
                Ok(line_len + len)
            }
            Step::Op { op, line_len } => {
                engine.on_route_op(index, self, &op)?;
                Ok(line_len)
            }
        }
    }

    fn refuse_end(&self, _engine: &Engine, error: ParseError, _at: usize, _behind: &[u8]) -> End {
        error.into()
    }

    fn consume_filled(
        &mut self,
        engine: &mut Engine,
        index: u32,
        line: &[u8],
        body: &Arc<Vec<u8>>,
    ) -> Result<(), End> {
        match route::next(line, self.names_accounts()) {
            Step::Op { op: RouteOp::Message(routed), .. } => {
                engine.on_routed(index, self, &routed, body, Some(body))
            }
            Step::Op { .. } | Step::Incomplete | Step::Failed(_) => Ok(()),
        }
    }
}
