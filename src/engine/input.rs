//! From received bytes to operations.
//!
//! Operations borrow the receive buffer and are gone before the next read. What is cut off at its end
//! is carried to the next; a large message that is cut off is assembled in the block that it will be
//! sent from.

use memchr::memchr;
use ring::Token;

use crate::outbound::Closing;
use crate::proto::client::{self, ClientOp, ParseError, Publish, PublishLimits, Step};
use crate::router::run::Run;
use crate::session::{CARRIED_MAX, Client, Line, Phase};
use crate::subject;

use super::{End, Engine};

/// Control lines up to this length are compared with the next one.
const LINE_COMPARED_MAX: usize = 512;
/// Waiting bytes of a client whose password is being hashed above which it is refused.
const UNVERIFIED_MAX: usize = 2 << 20;
/// Memory for the lines of large messages that is kept for the next ones.
const FILLINGS_KEPT: usize = 16;
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
        let index = token.index;
        let Some(mut client) = self.clients[index as usize].take() else { return };
        client.heard_at = self.now;
        if client.hold.is_some() {
            client.input.keep(bytes);
            self.clients[index as usize] = Some(client);
            self.pause_if_much_waits(index);
            return;
        }
        self.begin_publisher();
        let consumed = self.consume_received(index, &mut client, bytes);
        self.finish(index, client, consumed);
    }

    /// Goes on with a client that is no longer held.
    pub(super) fn resume(&mut self, index: u32) {
        let Some(mut client) = self.clients[index as usize].take() else { return };
        client.hold = None;
        self.begin_publisher();
        let waiting = client.input.take();
        let consumed = self.consume(index, &mut client, waiting.as_slice());
        let used = consumed.unwrap_or(0);
        client.input.put_back(waiting, used);
        let has_ended = client.has_ended && client.hold.is_none();
        self.finish(index, client, consumed.map(drop));
        if has_ended {
            return self.close(index, crate::close::CloseReason::ClientClosed.into());
        }
        if self.links.at(index).is_some_and(|link| link.closing == Closing::No) {
            self.arm_unless_held(index);
        }
    }

    /// A publisher's turn begins: nobody has been reached yet.
    fn begin_publisher(&mut self) {
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
        let token = self.links.token(index);
        let Some(client) = self.clients[index as usize].as_ref() else { return };
        // Before its log-in a client may not make the server keep more than one read brings.
        let most = if client.phase == Phase::Open { WAITING_MAX } else { 0 };
        if client.input.waiting() > UNVERIFIED_MAX && client.phase != Phase::Open {
            return self.close(index, crate::close::CloseReason::AuthenticationFailure.into());
        }
        if client.input.waiting() > most
            && let Some(link) = self.links.at_mut(index)
            && link.receiving
            && !link.cancelling
        {
            link.cancelling = true;
            self.ops.push((token, ring::Op::CancelReceive { socket: link.socket }));
        }
    }

    /// Consumes what came in, behind what waited; what is left waits.
    fn consume_received(
        &mut self,
        index: u32,
        client: &mut Client,
        mut bytes: &[u8],
    ) -> Result<(), End> {
        if client.input.filling.is_some() {
            bytes = self.fill(index, client, bytes)?;
        }
        if client.input.waiting() > 0 && client.hold.is_none() {
            bytes = self.finish_cut(index, client, bytes)?;
        }
        let used = if client.hold.is_none() { self.consume(index, client, bytes)? } else { 0 };
        client.input.keep(&bytes[used..]);
        Ok(())
    }

    /// Completes the operation that the last read cut, from the front of `bytes`; returns the rest.
    fn finish_cut<'a>(
        &mut self,
        index: u32,
        client: &mut Client,
        mut bytes: &'a [u8],
    ) -> Result<&'a [u8], End> {
        let mut waiting = client.input.take();
        loop {
            let whole = match client::next(waiting.as_slice(), self.options.limits.max_control_line)
            {
                // To the end of the line.
                Step::Incomplete => match memchr(b'\n', bytes) {
                    Some(at) => waiting.as_slice().len() + at + 1,
                    None => waiting.as_slice().len() + bytes.len(),
                },
                Step::Op { op: ClientOp::Publish(publish), line_len } => {
                    let whole = line_len + publish.size as usize + 2;
                    // A large one goes into a block of its own, which `consume` begins.
                    if whole > CARRIED_MAX { waiting.as_slice().len() } else { whole }
                }
                Step::Op { .. } | Step::Failed(_) => waiting.as_slice().len(),
            };
            let missing = whole.saturating_sub(waiting.as_slice().len());
            let (now, rest) = bytes.split_at(missing.min(bytes.len()));
            waiting.extend(now);
            bytes = rest;
            if missing == 0 || now.is_empty() {
                break;
            }
        }
        let consumed = self.consume(index, client, waiting.as_slice());
        client.input.put_back(waiting, consumed.unwrap_or(0));
        consumed?;
        if client.input.filling.is_some() {
            bytes = self.fill(index, client, bytes)?;
        }
        // Only a cut that is still not healed leaves something, and then all bytes went into it.
        Ok(bytes)
    }

    /// Fills a large message from the front of `bytes`; returns the rest.
    fn fill<'a>(
        &mut self,
        index: u32,
        client: &mut Client,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], End> {
        let Some(mut filling) = client.input.filling.take() else { return Ok(bytes) };
        let rest = filling.take(bytes);
        if !filling.is_whole() {
            // The last byte may be missing; what is there must be right already.
            client::payload_end(filling.behind())?;
            client.input.filling = Some(filling);
            return Ok(rest);
        }
        self.trace_line(client, &filling.line);
        let step = client::next(&filling.line, self.options.limits.max_control_line);
        let (Some(body), Step::Op { op: ClientOp::Publish(publish), .. }) =
            (filling.body.take(), step)
        else {
            return Ok(rest);
        };
        self.publish(index, client, &publish, &body, Some(&body))?;
        self.links.pool.recycle_shared(body);
        if self.fillings.len() < FILLINGS_KEPT {
            self.fillings.push(filling);
        }
        Ok(rest)
    }

    /// Consumes whole operations until the bytes end, the session is held, or it ends.
    /// Returns how many bytes were used.
    fn consume(&mut self, index: u32, client: &mut Client, bytes: &[u8]) -> Result<usize, End> {
        let mut at = 0;
        while at < bytes.len() && client.hold.is_none() {
            let rest = &bytes[at..];
            let run = self.consume_run(index, client, rest)?;
            let used = if run > 0 { run } else { self.consume_one(index, client, rest)? };
            if used == 0 {
                break;
            }
            at += used;
        }
        Ok(at)
    }

    /// Consumes messages that repeat the last control line, as far as they reach.
    fn consume_run(&mut self, index: u32, client: &mut Client, bytes: &[u8]) -> Result<usize, End> {
        let Some(mut line) = client.line.take_if(|line| line.is_set()) else { return Ok(0) };
        let used = self.publish_run(index, client, &mut line, bytes);
        client.line = Some(line);
        if used > 0 {
            self.after_publish(index, client);
        }
        Ok(used)
    }

    fn publish_run(
        &mut self,
        index: u32,
        client: &mut Client,
        line: &mut Line,
        bytes: &[u8],
    ) -> usize {
        if !line.begins(bytes) {
            return 0;
        }
        if line.generation != Some(self.router.sublist.generation()) {
            let max = self.options.limits.max_control_line;
            let Step::Op { op: ClientOp::Publish(publish), .. } = client::next(bytes, max) else {
                return 0;
            };
            self.router.prepare_run(line, publish.subject, publish.reply, index, client.echo);
        }
        if !line.simple {
            return 0;
        }
        let (count, stride) = line.count(bytes);
        if count == 0 {
            return 0;
        }
        let run = Run { bytes, count, stride };
        let size = u64::from(line.size);
        let delivered = self.router.deliver_run(&mut self.links, line, &run);
        let count = count as u64;
        client.in_msgs += count;
        client.in_bytes += count * size;
        self.counters.in_msgs += count;
        self.counters.in_bytes += count * size;
        self.counters.routed_msgs += count;
        self.counters.out_msgs += delivered;
        self.counters.out_bytes += delivered * size;
        run.count * stride
    }

    /// Consumes one operation. Returns 0 when it is not whole.
    fn consume_one(&mut self, index: u32, client: &mut Client, bytes: &[u8]) -> Result<usize, End> {
        if client.phase == Phase::Greeted && !client::may_be_connect(bytes) {
            self.admit_anonymous(client)?;
        }
        match client::next(bytes, self.options.limits.max_control_line) {
            Step::Incomplete => Ok(0),
            Step::Failed(error) => Err(error.into()),
            Step::Op { op: ClientOp::Publish(publish), line_len } => {
                self.consume_publish(index, client, &publish, line_len, bytes)
            }
            Step::Op { op, line_len } => {
                self.trace_line(client, &bytes[..line_len]);
                self.on_op(index, client, &op)?;
                Ok(line_len)
            }
        }
    }

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
        publish.check(&limits)?;
        let (line, rest) = bytes.split_at(line_len);
        let len = publish.size as usize + 2;
        if rest.len() < len {
            if rest.len() >= len - 1 {
                // The last byte is missing; what is there must be right already.
                client::payload_end(&rest[len - 2..])?;
            }
            if line_len + len <= CARRIED_MAX {
                return Ok(0);
            }
            self.begin_filling(client, line, rest, len);
            return Ok(bytes.len());
        }
        self.trace_line(client, line);
        self.remember_line(client, publish, line);
        self.publish(index, client, publish, &rest[..len], None)?;
        Ok(line_len + len)
    }

    fn begin_filling(&mut self, client: &mut Client, line: &[u8], part: &[u8], len: usize) {
        let mut body = self.links.pool.shared(len);
        if let Some(body) = std::sync::Arc::get_mut(&mut body) {
            body.extend_from_slice(part);
        }
        let mut filling = self.fillings.pop().unwrap_or_default();
        filling.line.clear();
        filling.line.extend_from_slice(line);
        (filling.body, filling.len) = (Some(body), len);
        client.input.filling = Some(filling);
    }

    /// A plain message's line is kept, in case the next one has the same.
    fn remember_line(&self, client: &mut Client, publish: &Publish<'_>, line: &[u8]) {
        let reserved = subject::is_reserved(publish.subject)
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
            kept.remember(line, publish.size);
        }
    }
}
