//! From received bytes to operations.
//!
//! Operations borrow the receive buffer and are gone before the next read. What is cut off at its end
//! is carried to the next; a large message that is cut off is assembled in the block that it will be
//! sent from.

use std::sync::Arc;

use memchr::memchr;
use ring::Token;

use crate::outbound::Closing;
use crate::proto::client::{self, ClientOp, ParseError, Publish, PublishLimits, Step};
use crate::proto::encode;
use crate::router::run::{Lead, Run, RunDelivery};
use crate::session::{CARRIED_MAX, Client, Input, Line, Phase};
use crate::subject;

use super::{End, Engine};

/// Control lines up to this length are compared with the next one.
const LINE_COMPARED_MAX: usize = 512;
/// Waiting bytes of a client whose password is being hashed above which it is refused.
const UNVERIFIED_MAX: usize = 2 << 20;
/// Memory for the lines of large messages that is kept for the next ones.
const FILLINGS_KEPT: usize = 16;
/// From a client that has much to send comes as much at a time, or more.
const PIECE_OF_MUCH_BYTES: usize = 16 << 10;
/// Waiting bytes of a held session above which its receive is cancelled.
const WAITING_MAX: usize = 64 << 10;

impl From<ParseError> for End {
    fn from(error: ParseError) -> Self {
        Self { reason: error.close_reason(), error: error.error() }
    }
}

impl Engine {
    pub(super) fn received(&mut self, token: Token, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(token) else { return };
        if link.closing != Closing::No {
            return;
        }
        // A piece shorter than that was all there was.
        link.piecewise &= bytes.len() >= PIECE_OF_MUCH_BYTES;
        let index = token.index;
        let Some(mut client) = self.clients[index as usize].take() else {
            return self.received_by_route(index, bytes);
        };
        // An answer to a PING says that the client is there, which is what the next one asks again.
        if !bytes.eq_ignore_ascii_case(encode::PONG) {
            client.heard_at = self.now;
        }
        if client.hold.is_some() {
            client.input.keep(bytes);
            self.clients[index as usize] = Some(client);
            self.pause_if_much_waits(index);
            return;
        }
        self.begin_publisher();
        let consumed = self.consume_received(index, &mut *client, bytes);
        self.finish(index, client, consumed);
    }

    /// Goes on with a client that is no longer held.
    pub(super) fn resume(&mut self, index: u32) {
        let Some(mut client) = self.clients[index as usize].take() else { return };
        client.hold = None;
        self.begin_publisher();
        let waiting = client.input.take();
        let consumed = self.consume(index, &mut *client, waiting.as_slice());
        let used = consumed.unwrap_or(0);
        client.input.put_back(waiting, used);
        let has_ended = client.has_ended && client.hold.is_none();
        self.finish(index, client, consumed.map(drop));
        if has_ended {
            return self.close(index, crate::close::CloseReason::ClientClosed.into());
        }
        if self.links.is_open(index) {
            self.arm_unless_held(index);
        }
    }

    /// A publisher's turn begins: nobody has been reached yet.
    pub(super) fn begin_publisher(&mut self) {
        self.router.reach.clear();
        self.reached_shards = 0;
    }

    /// A publisher's turn ends: its session goes back to its place, or ends.
    fn finish(&mut self, index: u32, client: Box<Client>, consumed: Result<(), End>) {
        let held = client.hold.is_some();
        self.clients[index as usize] = Some(client);
        if let Err(end) = consumed {
            self.close(index, end);
        } else if held {
            self.pause_if_much_waits(index);
        }
        self.settle_overflowed();
    }

    fn pause_if_much_waits(&mut self, index: u32) {
        let Some(client) = self.clients[index as usize].as_ref() else { return };
        // Before its log-in a client may not make the server keep more than one read brings.
        let most = if client.phase == Phase::Open { WAITING_MAX } else { 0 };
        if client.input.waiting() > UNVERIFIED_MAX && client.phase != Phase::Open {
            return self.close(index, crate::close::CloseReason::AuthenticationFailure.into());
        }
        if client.input.waiting() > most {
            self.stop_receiving(index);
        }
    }

    /// Consumes what came in, behind what waited; what is left waits.
    pub(super) fn consume_received<S: Speaker>(
        &mut self,
        index: u32,
        session: &mut S,
        mut bytes: &[u8],
    ) -> Result<(), End> {
        if session.input().filling.is_some() {
            bytes = self.fill(index, session, bytes)?;
        }
        if session.input().waiting() > 0 && !session.is_held() {
            bytes = self.finish_cut(index, session, bytes)?;
        }
        let used = if session.is_held() { 0 } else { self.consume(index, session, bytes)? };
        session.input().keep(&bytes[used..]);
        Ok(())
    }

    /// Completes the operation that the last read cut, from the front of `bytes`; returns the rest.
    fn finish_cut<'a, S: Speaker>(
        &mut self,
        index: u32,
        session: &mut S,
        mut bytes: &'a [u8],
    ) -> Result<&'a [u8], End> {
        let mut waiting = session.input().take();
        loop {
            let whole = match session.frame(self, waiting.as_slice()) {
                // To the end of the line.
                Frame::Incomplete => match memchr(b'\n', bytes) {
                    Some(at) => waiting.as_slice().len() + at + 1,
                    None => waiting.as_slice().len() + bytes.len(),
                },
                // A large one goes into a block of its own, which `consume` begins.
                Frame::Message { len } if len > CARRIED_MAX => waiting.as_slice().len(),
                Frame::Message { len } => len,
                Frame::Other => waiting.as_slice().len(),
            };
            let missing = whole.saturating_sub(waiting.as_slice().len());
            let (now, rest) = bytes.split_at(missing.min(bytes.len()));
            waiting.extend(now);
            bytes = rest;
            if missing == 0 || now.is_empty() {
                break;
            }
        }
        let consumed = self.consume(index, session, waiting.as_slice());
        session.input().put_back(waiting, consumed.unwrap_or(0));
        consumed?;
        if session.input().filling.is_some() {
            bytes = self.fill(index, session, bytes)?;
        }
        // Only a cut that is still not healed leaves something, and then all bytes went into it.
        Ok(bytes)
    }

    /// Fills a large message from the front of `bytes`; returns the rest.
    fn fill<'a, S: Speaker>(
        &mut self,
        index: u32,
        session: &mut S,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], End> {
        let Some(mut filling) = session.input().filling.take() else { return Ok(bytes) };
        let rest = filling.take(bytes);
        if !filling.is_whole() {
            // The last byte may be missing; what is there must be right already.
            let behind = filling.behind();
            client::payload_end(behind).map_err(|error| {
                session.refuse_end(self, error, filling.line.len() + filling.len - 2, behind)
            })?;
            session.input().filling = Some(filling);
            return Ok(rest);
        }
        let Some(body) = filling.body.take() else { return Ok(rest) };
        session.consume_filled(self, index, &filling.line, &body)?;
        self.links.pool.recycle_shared(body);
        if self.fillings.len() < FILLINGS_KEPT {
            self.fillings.push(filling);
        }
        Ok(rest)
    }

    /// Consumes whole operations until the bytes end, the session is held, or it ends.
    /// Returns how many bytes were used.
    pub(super) fn consume<S: Speaker>(
        &mut self,
        index: u32,
        session: &mut S,
        bytes: &[u8],
    ) -> Result<usize, End> {
        let mut at = 0;
        while at < bytes.len() && !session.is_held() {
            let rest = &bytes[at..];
            let run = session.consume_run(self, index, rest);
            let used = if run > 0 { run } else { session.consume_one(self, index, rest)? };
            if used == 0 {
                break;
            }
            at += used;
        }
        Ok(at)
    }

    /// A message's payload is not whole: `rest` is what there is of `len` bytes, its line end
    /// included. Returns how many bytes were used: all of them when it goes into a block of its own,
    /// else none.
    pub(super) fn await_payload(
        &mut self,
        input: &mut Input,
        line: &[u8],
        rest: &[u8],
        len: usize,
    ) -> Result<usize, ParseError> {
        if rest.len() >= len - 1 {
            // The last byte is missing; what is there must be right already.
            client::payload_end(&rest[len - 2..])?;
        }
        if line.len() + len <= CARRIED_MAX {
            return Ok(0);
        }
        let mut body = self.links.pool.shared(len);
        if let Some(body) = Arc::get_mut(&mut body) {
            body.extend_from_slice(rest);
        }
        let mut filling = self.fillings.pop().unwrap_or_default();
        filling.line.clear();
        filling.line.extend_from_slice(line);
        (filling.body, filling.len) = (Some(body), len);
        input.filling = Some(filling);
        Ok(line.len() + rest.len())
    }

    /// Delivers messages that repeat a line, as far as they reach in `bytes`; the line's leads are
    /// looked up with `lead` when interest has changed. Returns how many there were of how many bytes
    /// each, and how often they were delivered.
    pub(super) fn deliver_run<'a>(
        &mut self,
        line: &mut Line,
        bytes: &'a [u8],
        lead: impl FnOnce(&'a [u8]) -> Option<Lead<'a>>,
    ) -> Option<(usize, usize, RunDelivery)> {
        if !line.begins(bytes) {
            return None;
        }
        if line.generation != Some(self.router.generation(line.account)) {
            self.router.prepare_run(&self.links, line, &lead(bytes)?);
        }
        // Where messages may be dropped, each is looked at by itself.
        if !line.simple || self.router.drop_for_slow {
            return None;
        }
        let (count, stride) = line.count(bytes);
        if count == 0 {
            return None;
        }
        let run = Run { bytes, count, stride };
        let delivered = self.router.deliver_run(&mut self.links, line, &run);
        let (messages, size) = (count as u64, u64::from(line.size));
        self.counters.in_msgs += messages;
        self.counters.in_bytes += messages * size;
        self.counters.routed_msgs += messages;
        let (clients, routes) = (delivered.local, delivered.routes);
        self.count_deliveries(line.account, (clients, clients * size), (routes, routes * size));
        Some((count, stride, delivered))
    }
}

/// What a session's bytes begin with.
pub(super) enum Frame {
    /// A line that is not whole.
    Incomplete,
    /// A message of so many bytes, line and line ends included.
    Message {
        /// The bytes.
        len: usize,
    },
    /// Something else.
    Other,
}

/// A session whose bytes are consumed operation by operation.
pub(super) trait Speaker {
    /// Bytes that wait.
    fn input(&mut self) -> &mut Input;
    /// Whether the session's bytes are to wait.
    fn is_held(&self) -> bool;
    /// What these bytes begin with.
    fn frame(&self, engine: &Engine, bytes: &[u8]) -> Frame;
    /// Consumes messages that repeat the last control line, as far as they reach.
    fn consume_run(&mut self, engine: &mut Engine, index: u32, bytes: &[u8]) -> usize;
    /// Consumes one operation. Returns 0 when it is not whole.
    fn consume_one(&mut self, engine: &mut Engine, index: u32, bytes: &[u8]) -> Result<usize, End>;
    /// The end of a session that sends something else behind a payload than a line end; the operation
    /// has had `at` bytes before.
    fn refuse_end(&self, engine: &Engine, error: ParseError, at: usize, behind: &[u8]) -> End;
    /// Consumes a large message that was put together in a block.
    fn consume_filled(
        &mut self,
        engine: &mut Engine,
        index: u32,
        line: &[u8],
        body: &Arc<Vec<u8>>,
    ) -> Result<(), End>;
}

impl Speaker for Client {
    fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    fn frame(&self, engine: &Engine, bytes: &[u8]) -> Frame {
        match client::next(bytes, engine.options.limits.max_control_line) {
            Step::Incomplete => Frame::Incomplete,
            Step::Op { op: ClientOp::Publish(publish), line_len } => {
                Frame::Message { len: line_len + publish.size as usize + 2 }
            }
            Step::Op { .. } | Step::Failed(_) => Frame::Other,
        }
    }

    fn consume_run(&mut self, engine: &mut Engine, index: u32, bytes: &[u8]) -> usize {
        let Some(mut line) = self.line.take_if(|line| line.is_set()) else { return 0 };
        let max = engine.options.limits.max_control_line;
        let (account, except) = (self.account, (!self.echo).then_some(index));
        let run = engine.deliver_run(&mut line, bytes, |bytes| match client::next(bytes, max) {
            Step::Op { op: ClientOp::Publish(publish), .. } => Some(Lead {
                account,
                subject: publish.subject,
                reply: publish.reply,
                except,
                routed: false,
            }),
            Step::Op { .. } | Step::Incomplete | Step::Failed(_) => None,
        });
        let size = u64::from(line.size);
        self.line = Some(line);
        let Some((count, stride, _)) = run else { return 0 };
        self.in_msgs += count as u64;
        self.in_bytes += count as u64 * size;
        engine.tallies.of(account).count_in(count as u64, count as u64 * size);
        engine.after_publish(index, self);
        count * stride
    }

    fn consume_one(&mut self, engine: &mut Engine, index: u32, bytes: &[u8]) -> Result<usize, End> {
        if self.phase == Phase::Greeted && !client::may_be_connect(bytes) {
            engine.admit_anonymous(self)?;
        }
        match client::next(bytes, engine.options.limits.max_control_line) {
            Step::Incomplete => Ok(0),
            Step::Failed(error) => Err(engine.refuse_line(self, error, bytes)),
            Step::Op { op: ClientOp::Publish(publish), line_len } => {
                engine.consume_publish(index, self, &publish, line_len, bytes)
            }
            Step::Op { op, line_len } => {
                engine.trace_line(self, &bytes[..line_len]);
                engine.on_op(index, self, &op)?;
                Ok(line_len)
            }
        }
    }

    fn refuse_end(&self, engine: &Engine, error: ParseError, at: usize, behind: &[u8]) -> End {
        engine.refuse_end(self, error, at, behind)
    }

    fn consume_filled(
        &mut self,
        engine: &mut Engine,
        index: u32,
        line: &[u8],
        body: &Arc<Vec<u8>>,
    ) -> Result<(), End> {
        engine.trace_line(self, line);
        match client::next(line, engine.options.limits.max_control_line) {
            Step::Op { op: ClientOp::Publish(publish), .. } => {
                let size = publish.size as usize;
                engine.check_end(self, line.len() + size, &body[size..])?;
                engine.publish(index, self, &publish, body, Some(body));
            }
            Step::Op { .. } | Step::Incomplete | Step::Failed(_) => {}
        }
        Ok(())
    }
}

impl Engine {
    fn consume_publish(
        &mut self,
        index: u32,
        client: &mut Client,
        publish: &Publish<'_>,
        line_len: usize,
        bytes: &[u8],
    ) -> Result<usize, End> {
        let limits =
            PublishLimits { max_payload: self.options.limits.max_payload, headers: client.headers };
        publish.check(&limits).map_err(|error| self.refuse_line(client, error, bytes))?;
        let (line, rest) = bytes.split_at(line_len);
        let len = publish.size as usize + 2;
        if rest.len() < len {
            let awaited = self.await_payload(&mut client.input, line, rest, len);
            let size = len - 2;
            return awaited
                .map_err(|error| self.refuse_end(client, error, line_len + size, &rest[size..]));
        }
        self.trace_line(client, line);
        self.check_end(client, line_len + len - 2, &rest[len - 2..])?;
        self.remember_line(client, publish, line);
        self.publish(index, client, publish, &rest[..len], None);
        Ok(line_len + len)
    }

    /// A line end must stand behind a payload; the operation has had `at` bytes before.
    #[inline]
    fn check_end(&self, client: &Client, at: usize, behind: &[u8]) -> Result<(), End> {
        match client::payload_end(behind) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => {
                Err(self.refuse_end(client, ParseError::UnknownOperation, at, behind))
            }
        }
    }

    /// A plain message's line is kept, in case the next one has the same.
    fn remember_line(&self, client: &mut Client, publish: &Publish<'_>, line: &[u8]) {
        let reserved = publish.subject.starts_with(b"$")
            || subject::is_reserved(publish.subject)
            || publish.reply.is_some_and(subject::is_reserved_reply);
        let plain = self.options.trace.is_none()
            && !client.verbose
            && !client.pedantic
            && publish.header_len.is_none()
            && !reserved;
        if !plain || line.len() > LINE_COMPARED_MAX {
            if let Some(line) = &mut client.line {
                line.forget();
            }
            return;
        }
        let kept = client.line.get_or_insert_default();
        if !kept.is(line) {
            kept.remember(line, publish.size, client.account);
        }
    }
}
