//! What a turn of a simulated ring does: start what was pushed, look at sockets, hand out.
//!
//! Invariant: completions of one socket keep their order; those of different sockets come in any.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::network::{EndId, Packet};
use super::server::{Accept, Leaving, Notice, Receive, Sending, Stream, number};
use super::world::{Dialer, Event, World};
use crate::{
    Batch, Completion, Direction, EndReason, Errno, Lease, Op, Outcome, SendMode, Socket, Time,
    Token,
};

/// Completions of a turn, by what must keep its order.
#[derive(Default)]
struct Harvest {
    by_source: BTreeMap<Source, VecDeque<Completion>>,
    dials: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Socket(usize),
    Dial(usize),
}

impl Harvest {
    fn of_socket(&mut self, number: usize, token: Token, outcome: Outcome) {
        let completion = Completion { token, outcome };
        self.by_source.entry(Source::Socket(number)).or_default().push_back(completion);
    }

    /// Whether it is so many sends of which all has left, and nothing else.
    fn is_all_gone(&self, sends: usize) -> bool {
        let all_gone = |it: &Completion| match &it.outcome {
            Outcome::Sent { batch, bytes, error: None, .. } => *bytes == batch.remaining(),
            _ => false,
        };
        let all = || self.by_source.values().flatten();
        all().count() == sends && all().all(all_gone)
    }

    /// These sends, told after a sleep.
    fn untold(&mut self) -> Vec<Completion> {
        let mut all: Vec<_> = mem::take(&mut self.by_source).into_values().flatten().collect();
        for completion in &mut all {
            if let Outcome::Sent { timely, .. } = &mut completion.outcome {
                *timely = false;
            }
        }
        all
    }

    fn of_dial(&mut self, token: Token, outcome: Outcome) {
        self.dials += 1;
        let completion = Completion { token, outcome };
        self.by_source.entry(Source::Dial(self.dials)).or_default().push_back(completion);
    }
}

/// Pushing and turning.
impl World {
    pub(super) fn push(&mut self, ring: usize, token: Token, op: Op) {
        let server = self.rings[ring].server;
        if !self.servers[server].is_up {
            return;
        }
        self.servers[server].claim(&op);
        if has_completion(&op) {
            self.rings[ring].in_flight += 1;
        }
        // A kernel keeps 24 bits of the generation; whoever counts further must notice here too.
        self.rings[ring].pushed.push((Token::new(token.index, token.generation), op));
    }

    pub(super) fn turn(
        &mut self,
        ring: usize,
        wait: Duration,
        done: &mut Vec<Completion>,
    ) -> io::Result<()> {
        if !self.servers[self.rings[ring].server].is_up {
            return Err(io::Error::other("the simulated server is down"));
        }
        self.settle();
        self.counts.turns += 1;
        self.counts.leases_held_over += self.rings[ring].leases.held() as u64;
        self.tell_time(ring);
        let mut harvest = Harvest::default();
        let untold = mem::take(&mut self.rings[ring].untold);
        let started = mem::take(&mut self.rings[ring].pushed);
        let tries = started.iter().filter(|(_, op)| is_try(op)).count();
        let needs_no_entry = |(_, op): &(Token, Op)| is_try(op) || is_direct(op);
        let is_free = untold.is_empty() && started.iter().all(needs_no_entry);
        let may_sleep = is_free && !wait.is_zero() && !self.is_rung(ring);
        for completion in untold {
            self.note(ring, &completion);
            done.push(completion);
        }
        for (token, op) in started {
            self.start(ring, token, op, &mut harvest);
        }
        self.answer_dials(ring, &mut harvest);
        self.look_at_sockets(ring, &mut harvest);
        if may_sleep && harvest.is_all_gone(tries) {
            self.rings[ring].untold = harvest.untold();
        }
        let is_idle = is_free && harvest.by_source.is_empty();
        self.hand_out(ring, harvest, done);
        self.note_wait(ring, is_idle, wait);
        Ok(())
    }

    fn tell_time(&mut self, ring: usize) {
        let server = self.rings[ring].server;
        if self.network.happens(self.options.faults.clock_jump) {
            let jump = self.random_span(self.options.faults.clock_jump_max);
            self.servers[server].clock_ahead += jump;
        }
        self.rings[ring].now = self.clock(ring);
    }

    /// A server's clock.
    pub(super) fn clock(&self, ring: usize) -> Time {
        self.now + self.servers[self.rings[ring].server].clock_ahead
    }

    /// A turn that found nothing would sleep; the turn after a sleep is the wait's return, after which
    /// the caller decides afresh how long to wait.
    fn note_wait(&mut self, ring: usize, is_idle: bool, wait: Duration) {
        let sleeps = is_idle && !self.is_rung(ring);
        let mut until = self.now + wait.max(SPIN_STEP);
        if sleeps && self.network.happens(self.options.faults.spurious_wake) {
            until = self.now + self.random_span(wait.clamp(SPIN_STEP, SPURIOUS_WAKE_MAX));
        }
        let state = &mut self.rings[ring];
        state.rung = false;
        let returns = state.asleep_until.is_some();
        state.asleep_until = (sleeps && !returns).then_some(until);
        state.sleeps += u64::from(state.asleep_until.is_some());
    }

    fn is_rung(&mut self, ring: usize) -> bool {
        let state = &mut self.rings[ring];
        state.rung |= state.bell.take();
        state.rung
    }

    fn hand_out(&mut self, ring: usize, mut harvest: Harvest, done: &mut Vec<Completion>) {
        let mut order: Vec<_> = harvest
            .by_source
            .iter()
            .flat_map(|(source, queue)| vec![*source; queue.len()])
            .collect();
        self.order.shuffle(&mut order);
        for source in order {
            let next = harvest.by_source.get_mut(&source).and_then(VecDeque::pop_front);
            let Some(completion) = next else { continue };
            self.note(ring, &completion);
            done.push(completion);
        }
    }

    fn note(&mut self, ring: usize, Completion { token, outcome }: &Completion) {
        self.trace.note(self.rings[ring].now, ring, *token, outcome);
        self.counts.completions += 1;
        if outcome.is_final() {
            let in_flight = &mut self.rings[ring].in_flight;
            *in_flight = in_flight.checked_sub(1).expect("two final completions of an operation");
        }
        match outcome {
            Outcome::Received { bytes } => self.counts.received_bytes += bytes.len() as u64,
            Outcome::Sent { bytes, .. } => self.counts.sent_bytes += *bytes as u64,
            Outcome::Accepted { .. }
            | Outcome::AcceptEnded { .. }
            | Outcome::ReceiveEnded { .. }
            | Outcome::HasRoom
            | Outcome::Connected { .. }
            | Outcome::ConnectFailed { .. } => {}
        }
    }

    /// Whether a turn of this ring would find something (or its wait is over, when `by_time`).
    pub(super) fn is_runnable(&mut self, ring: usize, by_time: bool) -> bool {
        let now = self.now;
        let state = &self.rings[ring];
        let by_time = by_time && state.asleep_until.is_none_or(|until| until <= now);
        by_time
            || !state.pushed.is_empty()
            || !state.dialed.is_empty()
            || self.is_rung(ring)
            || self.has_ready_socket(ring)
    }

    fn has_ready_socket(&mut self, ring: usize) -> bool {
        while let Some(number) = self.rings[ring].touched.pop_first() {
            if self.is_ready(ring, number) {
                self.rings[ring].touched.insert(number);
                return true;
            }
        }
        #[cfg(test)]
        self.check_nothing_is_ready(ring);
        false
    }

    /// Who changes something at a socket must have touched it.
    #[cfg(test)]
    fn check_nothing_is_ready(&self, ring: usize) {
        let all = self.servers[self.rings[ring].server].numbers();
        let ready: Vec<_> = all.filter(|number| self.is_ready(ring, *number)).collect();
        assert!(ready.is_empty(), "sockets {ready:?} of ring {ring} are ready and not touched");
    }

    /// Whether what a ring has in flight on a socket has something to do.
    fn is_ready(&self, ring: usize, number: usize) -> bool {
        let server = &self.servers[self.rings[ring].server];
        if let Some(listener) = server.listener_ref(number) {
            let mut own = listener.accepts.iter().filter(|accept| accept.ring == ring);
            return own.any(|it| it.fresh || it.cancelled || !listener.backlog.is_empty());
        }
        let Some(stream) = server.stream_ref(number) else { return false };
        let end = stream.end;
        let receive = stream.receive.filter(|receive| receive.ring == ring);
        let send = stream.send.as_ref().filter(|send| send.ring == ring);
        let receives = |it: Receive| it.fresh || it.cancelled || self.end_ref(end).is_readable();
        let sends = |it: &Sending| match it.notice {
            Some(notice) => notice.at <= self.now,
            None => match &it.what {
                Leaving::Batch(batch, _) if batch.remaining() == 0 => true,
                Leaving::Batch(..) => self.is_writable(end),
                Leaving::Nothing => self.says_it_has_room(end),
            },
        };
        receive.is_some_and(receives) || send.is_some_and(sends)
    }

    fn is_writable(&self, end: EndId) -> bool {
        self.end_ref(end).send_shut || self.room(end) > 0
    }

    /// As a kernel, which wakes whoever polls for room also when the peer has finished.
    fn says_it_has_room(&self, end: EndId) -> bool {
        self.is_writable(end) || self.end_ref(end).is_at_end()
    }
}

/// Starting what was pushed.
impl World {
    fn start(&mut self, ring: usize, token: Token, op: Op, harvest: &mut Harvest) {
        let server = self.rings[ring].server;
        match op {
            Op::Accept { listener } => {
                let accept = Accept { ring, token, cancelled: false, fresh: true };
                let number = number(listener);
                if let Some(listener) = self.servers[server].listener(number) {
                    listener.accepts.push(accept);
                }
                self.touch_socket(server, number);
            }
            Op::Receive { socket } => self.start_receiving(ring, token, number(socket), false),
            Op::ReceiveOnce { socket } => self.start_receiving(ring, token, number(socket), true),
            Op::CancelReceive { socket } => self.cancel(server, number(socket), token),
            Op::Send { socket, batch, mode } => {
                self.start_sending(ring, token, number(socket), Leaving::Batch(batch, mode));
                // A try is over with this turn, however few sockets the turn looks at.
                if mode == SendMode::Try {
                    self.progress_send(ring, number(socket), harvest);
                }
            }
            Op::AwaitRoom { socket } => {
                self.start_sending(ring, token, number(socket), Leaving::Nothing);
            }
            Op::Connect { address } => {
                let from = self.fresh_address(self.servers[server].ip);
                let to = self.as_reached_from(server, address);
                self.dial(from, to, Dialer::Ring { ring, token });
                self.settle();
            }
            Op::Shutdown { socket, how } => self.shut_down(server, number(socket), how),
            // Sockets here hold the same on every wire.
            Op::Fit { .. } => {}
            Op::Close { socket } => self.close(server, number(socket)),
        }
    }

    fn start_receiving(&mut self, ring: usize, token: Token, number: usize, once: bool) {
        let server = self.rings[ring].server;
        let receive = Receive { ring, token, cancelled: false, once, fresh: true };
        self.stream(server, number).receive = Some(receive);
        self.touch_socket(server, number);
    }

    fn start_sending(&mut self, ring: usize, token: Token, number: usize, what: Leaving) {
        let server = self.rings[ring].server;
        let send = Sending { ring, token, what, notice: None };
        self.stream(server, number).send = Some(send);
        self.touch_socket(server, number);
    }

    fn stream(&mut self, server: usize, number: usize) -> &mut Stream {
        self.servers[server].stream(number).expect("`claim` has seen this connection open")
    }

    fn cancel(&mut self, server: usize, number: usize, token: Token) {
        self.touch_socket(server, number);
        if let Some(listener) = self.servers[server].listener(number) {
            for accept in listener.accepts.iter_mut().filter(|accept| accept.token == token) {
                accept.cancelled = true;
            }
            return;
        }
        let receive = self.stream(server, number).receive.as_mut();
        if let Some(receive) = receive.filter(|receive| receive.token == token) {
            receive.cancelled = true;
        }
    }

    fn shut_down(&mut self, server: usize, number: usize, how: Direction) {
        let end = self.stream(server, number).end;
        self.shut_sending(end);
        if how == Direction::Both {
            self.end(end).receive_shut = true;
        }
    }
}

/// Looking at what is in flight.
impl World {
    fn answer_dials(&mut self, ring: usize, harvest: &mut Harvest) {
        while let Some((token, dialed)) = self.rings[ring].dialed.pop_front() {
            let server = self.rings[ring].server;
            let adopted = dialed.and_then(|end| {
                let socket = self.adopt(server, end);
                if socket.is_none() {
                    self.close_end(end);
                }
                socket.ok_or(Errno::NO_DESCRIPTORS)
            });
            harvest.of_dial(
                token,
                match adopted {
                    Ok(socket) => Outcome::Connected { socket },
                    Err(error) => Outcome::ConnectFailed { error },
                },
            );
        }
    }

    fn look_at_sockets(&mut self, ring: usize, harvest: &mut Harvest) {
        let server = self.rings[ring].server;
        let touched = self.rings[ring].touched.iter().copied();
        let mut numbers: Vec<_> = touched.filter(|it| self.is_ready(ring, *it)).collect();
        self.order.shuffle(&mut numbers);
        let max = self.options.faults.sockets_per_turn_max;
        if max > 0 {
            numbers.truncate(max);
        }
        for number in numbers {
            if self.servers[server].listener(number).is_some() {
                self.progress_accept(ring, number, harvest);
            } else if self.order.below(2) == 0 {
                self.progress_receive(ring, number, harvest);
                self.progress_send(ring, number, harvest);
            } else {
                self.progress_send(ring, number, harvest);
                self.progress_receive(ring, number, harvest);
            }
        }
    }

    fn progress_accept(&mut self, ring: usize, number: usize, harvest: &mut Harvest) {
        let server = self.rings[ring].server;
        let Some(listener) = self.servers[server].listener(number) else { return };
        let is_mine = |accept: &Accept| accept.ring == ring;
        let Some(at) = listener.accepts.iter().position(is_mine) else { return };
        listener.accepts[at].fresh = false;
        let (accept, is_shared) = (listener.accepts[at], listener.accepts.len() > 1);
        let ended = loop {
            match self.accept_one(server, number, accept) {
                Ok(Some((socket, peer))) => {
                    harvest.of_socket(number, accept.token, Outcome::Accepted { socket, peer });
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
            // Another shard may be the one to take the next.
            if is_shared && self.order.below(2) == 0 {
                break None;
            }
        };
        let Some(error) = ended else { return };
        harvest.of_socket(number, accept.token, Outcome::AcceptEnded { error });
        if let Some(listener) = self.servers[server].listener(number) {
            listener.accepts.remove(at);
            listener.busy -= 1;
        }
    }

    /// The next connection, none if nobody waits, or why the accept ends.
    fn accept_one(
        &mut self,
        server: usize,
        number: usize,
        accept: Accept,
    ) -> Result<Option<(Socket, SocketAddr)>, Option<Errno>> {
        if accept.cancelled && !self.network.happens(self.options.faults.late_cancel) {
            return Err(None);
        }
        if self.network.happens(self.options.faults.accept_ends) {
            return Err(None);
        }
        let Some(listener) = self.servers[server].listener(number) else { return Err(None) };
        let Some(end) = listener.backlog.front().copied() else { return Ok(None) };
        if self.network.happens(self.options.faults.accept_no_descriptors) {
            return Err(Some(Errno::NO_DESCRIPTORS));
        }
        let socket = self.adopt(server, end).ok_or(Some(Errno::NO_DESCRIPTORS))?;
        if let Some(listener) = self.servers[server].listener(number) {
            listener.backlog.pop_front();
        }
        Ok(Some((socket, self.end_ref(end.other()).address)))
    }

    fn progress_receive(&mut self, ring: usize, number: usize, harvest: &mut Harvest) {
        let server = self.rings[ring].server;
        let stream = self.stream(server, number);
        let end = stream.end;
        let Some(receive) = stream.receive.as_mut().filter(|it| it.ring == ring) else { return };
        let Receive { token, cancelled, once, fresh, .. } = *receive;
        receive.fresh = false;
        let mut ended = self.end_by_fault(ring, fresh);
        for _ in 0..PIECES_PER_TURN_MAX {
            if ended.is_some() {
                break;
            }
            match self.receive_one(ring, end, cancelled) {
                Piece::Bytes(bytes) => {
                    harvest.of_socket(number, token, Outcome::Received { bytes });
                    ended = once.then_some(EndReason::Rearm);
                }
                Piece::Nothing => return,
                Piece::End(reason) => ended = Some(reason),
            }
        }
        let Some(reason) = ended else { return };
        harvest.of_socket(number, token, Outcome::ReceiveEnded { reason });
        let stream = self.stream(server, number);
        stream.receive = None;
        stream.receiving = false;
    }

    /// Whether a receive ends although its connection gives no cause.
    fn end_by_fault(&mut self, ring: usize, fresh: bool) -> Option<EndReason> {
        if self.network.happens(self.options.faults.rearm) {
            return Some(EndReason::Rearm);
        }
        // A kernel picks the buffer first, so a receive that starts with none fails without data too.
        let exhausted = fresh && self.rings[ring].leases.is_exhausted();
        let no_buffers = self.network.happens(self.options.faults.no_buffers);
        (no_buffers || exhausted).then_some(EndReason::NoBuffers)
    }

    fn receive_one(&mut self, ring: usize, end: EndId, cancelled: bool) -> Piece {
        let faults = &self.options.faults;
        let waiting = self.end_ref(end).waiting();
        if cancelled && (waiting == 0 || self.order.below(2) == 0) {
            let late = self.network.happens(faults.late_cancel);
            return if late { Piece::Nothing } else { Piece::End(EndReason::Cancelled) };
        }
        if waiting == 0 {
            return self.receive_nothing(end);
        }
        if self.network.happens(faults.late_receive) {
            return Piece::Nothing;
        }
        if self.rings[ring].leases.is_exhausted() {
            return Piece::End(EndReason::NoBuffers);
        }
        let most = waiting.min(self.options.buffer_bytes);
        let cut = self.network.happens(faults.cut);
        let count = if cut { self.network.between(1, most) } else { most };
        let leases = Rc::clone(&self.rings[ring].leases);
        leases.take();
        let bytes = self.read(end, count);
        if self.network.happens(self.options.faults.reset) {
            self.break_connection(end);
        }
        Piece::Bytes(Lease::own(bytes, Some(leases)))
    }

    fn receive_nothing(&mut self, end: EndId) -> Piece {
        if let Some(error) = self.end(end).error.take() {
            return Piece::End(EndReason::Error(error));
        }
        if self.end_ref(end).is_at_end() { Piece::End(EndReason::Eof) } else { Piece::Nothing }
    }

    fn progress_send(&mut self, ring: usize, number: usize, harvest: &mut Harvest) {
        let server = self.rings[ring].server;
        let stream = self.stream(server, number);
        let end = stream.end;
        let Some(mut send) = stream.send.take_if(|send| send.ring == ring) else { return };
        let token = send.token;
        match self.send_some(end, &mut send) {
            Some((bytes, error, copied)) => {
                self.stream(server, number).sending = false;
                let outcome = match send.what {
                    Leaving::Batch(batch, _) => {
                        Outcome::Sent { batch, bytes, error, copied, timely: true }
                    }
                    Leaving::Nothing => Outcome::HasRoom,
                };
                harvest.of_socket(number, token, outcome);
            }
            None => self.stream(server, number).send = Some(send),
        }
    }

    /// What a send has come to, unless it goes on.
    fn send_some(
        &mut self,
        end: EndId,
        send: &mut Sending,
    ) -> Option<(usize, Option<Errno>, bool)> {
        let Leaving::Batch(batch, mode) = &send.what else {
            return self.says_it_has_room(end).then_some((0, None, false));
        };
        if let Some(Notice { at, bytes, copied }) = send.notice {
            return (at <= self.now).then_some((bytes, None, copied));
        }
        if self.end_ref(end).send_shut {
            let error = self.end(end).error.take().unwrap_or(Errno::BROKEN_PIPE);
            return Some((0, Some(error), false));
        }
        let taken = self.take_bytes(end, batch);
        match mode {
            SendMode::Try => Some((taken, None, false)),
            SendMode::Wait | SendMode::ZeroCopy if taken == 0 && batch.remaining() > 0 => None,
            SendMode::Wait => Some((taken, None, false)),
            SendMode::ZeroCopy => {
                let notice = self.zero_copy_notice(end, taken);
                send.notice = Some(notice);
                (notice.at <= self.now).then_some((taken, None, notice.copied))
            }
        }
    }

    /// Moves what the socket takes of a batch, and returns how much that was.
    fn take_bytes(&mut self, end: EndId, batch: &Batch) -> usize {
        let most = self.room(end).min(batch.remaining());
        if most == 0 || self.network.happens(self.options.faults.refuse_send) {
            return 0;
        }
        let short = self.network.happens(self.options.faults.short_send);
        let count = if short { self.network.between(1, most) } else { most };
        let mut bytes = Vec::with_capacity(count);
        for slice in batch.slices() {
            let part = slice.len().min(count - bytes.len());
            bytes.extend_from_slice(&slice[..part]);
        }
        self.transmit(end, Packet::Data(bytes));
        if self.network.happens(self.options.faults.reset) {
            self.break_connection(end);
        }
        count
    }

    /// The kernel lets go of the bytes when they have been acknowledged, or later.
    fn zero_copy_notice(&mut self, end: EndId, bytes: usize) -> Notice {
        let mut at = self.now + self.latency();
        if self.network.happens(self.options.faults.zero_copy_late) {
            at = at + self.random_span(self.options.faults.zero_copy_late_max);
        }
        if at > self.now {
            self.schedule(at, Event::Notice(end));
        }
        let copied = self.network.happens(self.options.faults.zero_copy_copied);
        Notice { at, bytes, copied }
    }
}

/// What a receive finds.
enum Piece {
    Bytes(Lease),
    Nothing,
    End(EndReason),
}

/// Whether it is over with the turn that starts it, and silent when all has left.
const fn is_try(op: &Op) -> bool {
    matches!(op, Op::Send { mode: SendMode::Try, .. })
}

/// What the kernel ring does while it is pushed.
const fn is_direct(op: &Op) -> bool {
    matches!(op, Op::Shutdown { .. } | Op::Fit { .. })
}

/// Whether a completion follows.
const fn has_completion(op: &Op) -> bool {
    match op {
        Op::Accept { .. }
        | Op::Receive { .. }
        | Op::ReceiveOnce { .. }
        | Op::Send { .. }
        | Op::AwaitRoom { .. }
        | Op::Connect { .. } => true,
        Op::CancelReceive { .. } | Op::Shutdown { .. } | Op::Fit { .. } | Op::Close { .. } => false,
    }
}

/// How many pieces a receive gives out a turn, as the kernel's own limit.
const PIECES_PER_TURN_MAX: usize = 32;

/// A sleep that ends for no reason does so within this time.
const SPURIOUS_WAKE_MAX: Duration = Duration::from_secs(1);

/// How long a turn takes that does not wait and finds nothing.
const SPIN_STEP: Duration = Duration::from_micros(5);
