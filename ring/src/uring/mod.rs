//! The kernel ring: io_uring, one thread, deferred task running.
//!
//! Sends that may not wait are submitted without a completion of their own: the kernel carries them
//! out inside the submitting call, says only when one fell short, and is silent about the rest. So
//! one system call a turn sends everything and collects everything, and a send costs no completion
//! entry. The same call sleeps, where nothing is polled for: a message that ends a sleep costs one.
//! Sends that may wait, receives and accepts complete as usual.
//!
//! Invariant: what the kernel may still read or write (batches, addresses, receive buffers) is owned
//! here until the completion that ends it; dropping the ring waits for the kernel to let go.

mod buffers;
mod holding;
mod pace;
mod probe;
mod queue;
mod sends;
mod socket;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::{
    Completion, Counters, Doorbell, EndReason, Errno, Op, Outcome, Ring, Socket, Time, Token,
};
use buffers::Buffers;
use holding::Holding;
use pace::Pace;
use queue::Queues;
use sends::Sends;

pub use pace::BusyPoll;
pub use probe::{StartError, probe};
pub use socket::{close, keep_unsent_short, listen, raise_descriptor_limit};

const SQ_ENTRIES: u32 = 512;
const CQ_ENTRIES: u32 = 4096;
/// Completions of one turn beyond which no more are asked for: others want their turn too.
const TURN_COMPLETIONS: usize = 256;

/// How a kernel ring is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct UringOptions {
    /// Whether waits poll first.
    pub busy_poll: BusyPoll,
}

/// The kernel ring. It belongs to the thread that made it.
pub struct Uring {
    // Dropped in this order: the queues first, then what the kernel may read and write.
    queues: Queues,
    buffers: Buffers,
    sends: Sends,
    dials: Vec<Option<Dial>>,
    /// Completions that came while the submission queue was being emptied to make room.
    early: Vec<Completion>,
    pace: Pace,
    holding: Holding,
    counters: Counters,
    doorbell: Doorbell,
    wake: File,
    wake_armed: bool,
    /// The bell ended the wait of this turn.
    rung: bool,
    wake_count: Box<u64>,
    now: Time,
}

struct Dial {
    token: Token,
    socket: Socket,
    address: Box<libc::sockaddr_storage>,
}

/// What a completion's user data says about who asked: the top byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Ignored = 0,
    Accept = 1,
    Receive = 2,
    Send = 3,
    Connect = 4,
    Wake = 5,
    Room = 6,
}

impl Uring {
    /// A ring for the calling thread.
    ///
    /// # Errors
    /// Why the kernel refuses, with the cure.
    pub fn new(options: UringOptions) -> Result<Self, StartError> {
        let ring = build(CQ_ENTRIES).map_err(|error| probe::explain(&error))?;
        let queues = Queues::new(ring);
        let buffers = Buffers::new(&queues).map_err(|error| probe::explain(&error))?;
        let wake = File::from(socket::eventfd().map_err(|error| probe::explain(&error))?);
        let for_bell = wake.try_clone().map_err(|error| probe::explain(&error))?;
        Ok(Self {
            queues,
            buffers,
            sends: Sends::default(),
            dials: Vec::new(),
            early: Vec::new(),
            pace: Pace::new(options.busy_poll),
            holding: Holding::default(),
            counters: Counters::default(),
            doorbell: Doorbell::new(Some(for_bell)),
            wake,
            wake_armed: false,
            rung: false,
            wake_count: Box::new(0),
            now: clock(),
        })
    }

    fn push_entry(&mut self, entry: &squeue::Entry) {
        while !self.queues.push(entry) {
            self.make_room();
        }
    }

    /// Submits in the middle of a turn; what completes is kept for the turn.
    fn make_room(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        // A ring that is broken says so again in the turn, where it can be told.
        let _ = self.submit_all(&mut early);
        self.early = early;
    }

    fn push_send(
        &mut self,
        token: Token,
        socket: Socket,
        batch: crate::Batch,
        mode: crate::SendMode,
    ) {
        // Before the send is prepared: making room concludes all sends that were.
        while self.sends.is_full() || self.queues.sq.is_full() {
            self.make_room();
        }
        let (slot, entry) = self.sends.prepare(token, socket, batch, mode);
        self.push_entry(&entry.user_data(user_data(Kind::Send, slot, 0)));
    }

    fn push_connect(&mut self, token: Token, address: std::net::SocketAddr) {
        let socket = match socket::for_dialling(address) {
            Ok(socket) => socket,
            Err(error) => {
                self.early.push(Completion { token, outcome: Outcome::ConnectFailed { error } });
                return;
            }
        };
        let (storage, len) = socket::encode_address(address);
        let dial = Dial { token, socket, address: Box::new(storage) };
        let name: *const libc::sockaddr_storage = &raw const *dial.address;
        let slot = self.dials.iter().position(Option::is_none).unwrap_or_else(|| {
            self.dials.push(None);
            self.dials.len() - 1
        });
        self.dials[slot] = Some(dial);
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        let entry = opcode::Connect::new(types::Fd(socket.0), name.cast(), len).build();
        self.push_entry(&entry.user_data(user_data(Kind::Connect, slot, 0)));
    }

    /// Pushes an operation whose success nobody awaits.
    fn push_silent(&mut self, entry: squeue::Entry) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        self.push_entry(&entry.user_data(user_data(Kind::Ignored, 0, 0)));
    }

    /// Collects what is in the completion queue.
    fn reap(&mut self, done: &mut Vec<Completion>) {
        self.queues.cq.sync();
        while let Some(entry) = self.queues.cq.next() {
            self.take(&entry, done);
        }
        self.queues.cq.sync();
    }

    fn take(&mut self, entry: &cqueue::Entry, done: &mut Vec<Completion>) {
        let (kind, index, generation) = split_user_data(entry.user_data());
        let (result, flags) = (entry.result(), entry.flags());
        let token = Token::new(index, generation);
        match kind {
            Some(Kind::Receive) => self.take_received(token, result, flags, done),
            Some(Kind::Send) => self.sends.complete(index, result, flags, done),
            Some(Kind::Accept) => take_accepted(token, result, flags, done),
            Some(Kind::Connect) => self.take_connected(index, result, done),
            Some(Kind::Room) => done.push(Completion { token, outcome: Outcome::HasRoom }),
            Some(Kind::Wake) => self.wake_armed = false,
            Some(Kind::Ignored) | None => {}
        }
    }

    fn take_received(&mut self, token: Token, result: i32, flags: u32, done: &mut Vec<Completion>) {
        let len = u32::try_from(result).unwrap_or(0);
        if let Some(id) = cqueue::buffer_select(flags) {
            let bytes = self.buffers.take(id, len);
            if len > 0 {
                done.push(Completion { token, outcome: Outcome::Received { bytes } });
            }
        }
        if !cqueue::more(flags) {
            let reason = match result {
                1.. => EndReason::Rearm,
                0 => EndReason::Eof,
                error => match -error {
                    libc::ENOBUFS => EndReason::NoBuffers,
                    libc::ECANCELED => EndReason::Cancelled,
                    number => EndReason::Error(Errno(number)),
                },
            };
            done.push(Completion { token, outcome: Outcome::ReceiveEnded { reason } });
        }
    }

    fn take_connected(&mut self, slot: u32, result: i32, done: &mut Vec<Completion>) {
        let Some(dial) = self.dials.get_mut(slot as usize).and_then(Option::take) else { return };
        let outcome = if result >= 0 {
            Outcome::Connected { socket: dial.socket }
        } else {
            close(dial.socket);
            Outcome::ConnectFailed { error: Errno(-result) }
        };
        done.push(Completion { token: dial.token, outcome });
    }

    /// Submits, lets the kernel work, and collects; without waiting, and without a call for nothing.
    fn exchange(&mut self, done: &mut Vec<Completion>) -> io::Result<()> {
        while self.queues.has_work() {
            let before = done.len();
            self.submit_all(done)?;
            // The flag alone is no reason to go on: when another thread announces work in the moment in
            // which it is run, the flag stands afterwards, and would until other work comes.
            let is_fruitful = done.len() > before && done.len() < TURN_COMPLETIONS;
            if !is_fruitful {
                break;
            }
        }
        Ok(())
    }

    /// Submits everything that is queued, and concludes the sends among it: not before all entries are
    /// in the kernel's hands, and all completions that found no room have come out.
    fn submit_all(&mut self, done: &mut Vec<Completion>) -> io::Result<()> {
        loop {
            self.queues.submit()?;
            self.reap(done);
            if self.queues.sq.is_empty() && !self.queues.sq.cq_overflow() {
                break;
            }
        }
        self.sends.conclude(true, done);
        Ok(())
    }

    /// Whether what is to be handed over may be with the call that sleeps: only sends that say
    /// nothing when they go well, while nothing has completed and nothing is polled for. The sleep needs
    /// an entry of its own.
    fn may_submit_asleep(&mut self) -> bool {
        self.queues.sq.len() == self.sends.silent()
            && !self.queues.sq.is_full()
            && !self.queues.has_news()
            && self.pace.poll_until(self.now).is_none()
    }

    /// Polls until something completes, the bell rings, or the window ends.
    /// Returns whether the wait is over.
    fn poll(&mut self, deadline: Time, done: &mut Vec<Completion>) -> io::Result<bool> {
        let Some(until) = self.pace.poll_until(self.now) else { return Ok(false) };
        let until = until.min(deadline);
        loop {
            self.exchange(done)?;
            if !done.is_empty() {
                self.counters.spins += 1;
                return Ok(true);
            }
            if self.doorbell.take() {
                self.rung = true;
                self.counters.spins += 1;
                return Ok(true);
            }
            let now = self.clock();
            if now >= until {
                return Ok(now >= deadline);
            }
            if !self.pace.may_go_on(now) {
                self.counters.spin_backoffs += 1;
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    fn sleep(&mut self, deadline: Time, done: &mut Vec<Completion>) -> io::Result<()> {
        if !self.wake_armed {
            let count: *mut u64 = &raw mut *self.wake_count;
            let fd = types::Fd(self.wake.as_raw_fd());
            let entry = opcode::Read::new(fd, count.cast(), 8).build();
            self.push_entry(&entry.user_data(user_data(Kind::Wake, 0, 0)));
            self.wake_armed = true;
        }
        if !self.doorbell.sleep() {
            self.rung = self.doorbell.take();
            return self.exchange(done);
        }
        self.counters.sleeps += 1;
        let slept = self.queues.wait(deadline - self.clock());
        self.doorbell.awake();
        self.rung = self.doorbell.take();
        slept?;
        // What left before the sleep comes first; whether it did is known with what has come since.
        let mut came = std::mem::take(&mut self.early);
        self.reap(&mut came);
        if self.queues.sq.is_empty() && !self.queues.sq.cq_overflow() {
            self.sends.conclude(false, done);
        } else {
            self.submit_all(&mut came)?;
        }
        done.append(&mut came);
        self.early = came;
        Ok(())
    }
}

impl Ring for Uring {
    fn now(&self) -> Time {
        self.now
    }

    fn clock(&self) -> Time {
        clock()
    }

    fn counters(&self) -> Counters {
        Counters { enters: self.queues.enters, ..self.counters }
    }

    fn push(&mut self, token: Token, op: Op) {
        let Token { index, generation } = token;
        match op {
            Op::Receive { socket } => {
                let entry = opcode::RecvMulti::new(types::Fd(socket.0), buffers::GROUP).build();
                self.push_entry(&entry.user_data(user_data(Kind::Receive, index, generation)));
            }
            Op::ReceiveOnce { socket } => {
                let entry = opcode::Recv::new(types::Fd(socket.0), std::ptr::null_mut(), 0)
                    .buf_group(buffers::GROUP)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT);
                self.push_entry(&entry.user_data(user_data(Kind::Receive, index, generation)));
            }
            Op::Send { socket, batch, mode } => self.push_send(token, socket, batch, mode),
            Op::AwaitRoom { socket } => {
                let events = libc::POLLOUT.cast_unsigned().into();
                let entry = opcode::PollAdd::new(types::Fd(socket.0), events).build();
                self.push_entry(&entry.user_data(user_data(Kind::Room, index, generation)));
            }
            Op::Accept { listener } => {
                let entry =
                    opcode::AcceptMulti::new(types::Fd(listener.0)).flags(libc::SOCK_CLOEXEC);
                let data = user_data(Kind::Accept, index, generation);
                self.push_entry(&entry.build().user_data(data));
            }
            Op::CancelReceive { .. } => {
                for kind in [Kind::Receive, Kind::Accept] {
                    let target = user_data(kind, index, generation);
                    self.push_silent(opcode::AsyncCancel::new(target).build());
                }
            }
            Op::Connect { address } => self.push_connect(token, address),
            Op::Shutdown { socket, how } => socket::shutdown(socket, how),
            Op::Fit { socket, rate } => self.holding.fit(socket.0, rate),
            Op::Close { socket } => {
                self.holding.forget(socket.0);
                self.push_silent(opcode::Close::new(types::Fd(socket.0)).build());
            }
        }
    }

    fn turn(&mut self, wait: Duration, done: &mut Vec<Completion>) -> io::Result<()> {
        self.buffers.replenish();
        let before = done.len();
        done.append(&mut self.early);
        let may_wait = done.len() == before && !wait.is_zero();
        if may_wait && self.may_submit_asleep() {
            self.sleep(self.now + wait, done)?;
            self.now = self.clock();
        } else {
            self.exchange(done)?;
            self.now = self.clock();
            self.rung = self.doorbell.take();
            if done.len() == before && !self.rung && !wait.is_zero() {
                let deadline = self.now + wait;
                if !self.poll(deadline, done)? {
                    self.sleep(deadline, done)?;
                }
                self.now = self.clock();
            }
        }
        let received = |completion: &Completion| match &completion.outcome {
            Outcome::Received { bytes } => Some(bytes.len()),
            _ => None,
        };
        let most = done.iter().filter_map(received).max();
        if std::mem::take(&mut self.rung) || most.is_some() {
            self.pace.arrived(self.now, most.unwrap_or(0));
        }
        Ok(())
    }

    fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    fn random_seed(&mut self) -> u64 {
        let mut seed = [0_u8; 8];
        // SAFETY: writes at most the length passed into the array, which outlives the call.
        let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
        if got == 8 { u64::from_ne_bytes(seed) } else { self.clock().nanos() }
    }
}

/// The time. All rings of a process read one clock, so that what one has written down means the same
/// to another.
#[expect(clippy::disallowed_methods, reason = "this is the clock that the others read")]
fn clock() -> Time {
    static START: OnceLock<(Instant, Time)> = OnceLock::new();
    let (instant, time) = START.get_or_init(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        (Instant::now(), Time::ZERO + since_epoch.unwrap_or_default())
    });
    *time + Instant::now().duration_since(*instant)
}

impl Drop for Uring {
    fn drop(&mut self) {
        let everything = types::CancelBuilder::any();
        // A kernel that does not know the call cancels when the ring is closed.
        let _ = self.queues.submitter.register_sync_cancel(None, everything);
        let mut done = Vec::new();
        for _ in 0..100 {
            if self.sends.in_flight() == 0 && self.dials.iter().all(Option::is_none) {
                return;
            }
            let _ = self.queues.wait(Duration::from_millis(10));
            self.reap(&mut done);
            // What was not handed over is not to be let go.
            if self.queues.sq.is_empty() {
                self.sends.conclude(false, &mut done);
            }
        }
        // The kernel still holds on to something: leave it the memory.
        std::mem::forget(std::mem::take(&mut self.sends));
        std::mem::forget(std::mem::take(&mut self.dials));
    }
}

fn build(cq_entries: u32) -> io::Result<IoUring> {
    let built = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(cq_entries)
        .build(SQ_ENTRIES);
    match built {
        // The memory limit is shared by all of a user's processes: a smaller ring may still fit.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && cq_entries > 1024 => {
            build(cq_entries / 2)
        }
        built => built,
    }
}

fn take_accepted(token: Token, result: i32, flags: u32, done: &mut Vec<Completion>) {
    if result >= 0 {
        let socket = Socket(result);
        match socket::welcome(socket) {
            Ok(peer) => {
                done.push(Completion { token, outcome: Outcome::Accepted { socket, peer } })
            }
            // Gone before it was looked at.
            Err(_) => close(socket),
        }
    }
    if !cqueue::more(flags) {
        let error = (result < 0 && result != -libc::ECANCELED).then_some(Errno(-result));
        done.push(Completion { token, outcome: Outcome::AcceptEnded { error } });
    }
}

const fn user_data(kind: Kind, index: u32, generation: u32) -> u64 {
    (kind as u64) << 56 | ((generation & 0x00ff_ffff) as u64) << 32 | index as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the parts are masked")]
const fn split_user_data(data: u64) -> (Option<Kind>, u32, u32) {
    let kind = match data >> 56 {
        0 => Some(Kind::Ignored),
        1 => Some(Kind::Accept),
        2 => Some(Kind::Receive),
        3 => Some(Kind::Send),
        4 => Some(Kind::Connect),
        5 => Some(Kind::Wake),
        6 => Some(Kind::Room),
        _ => None,
    };
    (kind, data as u32, (data >> 32) as u32 & 0x00ff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Segment, SendMode};

    #[test]
    fn user_data_holds_all_24_generation_bits() {
        let (kind, index, generation) =
            split_user_data(user_data(Kind::Send, u32::MAX, 0x00ff_ffff));
        assert!(kind == Some(Kind::Send));
        assert_eq!((index, generation), (u32::MAX, 0x00ff_ffff));
    }

    #[test]
    fn more_sends_than_the_queue_holds_reach_the_right_sockets() {
        use std::io::Read;
        use std::os::unix::net::UnixStream;

        let mut ring = Uring::new(UringOptions { busy_poll: BusyPoll::Off }).expect("a ring");
        let count = SQ_ENTRIES + 100;
        let pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().expect("a pair")).collect();
        for (number, (ours, _)) in (0..).zip(&pairs) {
            let mut segments = vec![Segment::Own(format!("{number};").into_bytes())];
            if number % 2 == 0 {
                // Two slices go as a message with a header, one as a plain send.
                segments.push(Segment::Static(b"!"));
            }
            let socket = Socket(ours.as_raw_fd());
            let (batch, mode) = (Batch::new(segments), SendMode::Try);
            ring.push(Token::new(number, 0), Op::Send { socket, batch, mode });
        }
        let mut done = Vec::new();
        ring.turn(Duration::ZERO, &mut done).expect("a turn");
        assert_eq!(done.len(), count as usize);
        for (number, (ours, mut theirs)) in (0_u32..).zip(pairs) {
            drop(ours);
            let mut heard = String::new();
            theirs.read_to_string(&mut heard).expect("what was sent");
            let end = if number % 2 == 0 { "!" } else { "" };
            assert_eq!(heard, format!("{number};{end}"));
        }
    }

    /// Sends pieces to a peer that does not read until it has to wait, each after the socket has said that
    /// it has room, or with sends that wait for it; how many bytes the socket holds then.
    fn held(asks: bool) -> u64 {
        use std::net::{TcpListener, TcpStream};

        const PIECE: usize = 4 << 10;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("a dial");
        let _far = listener.accept().expect("a connection");
        let mut ring = Uring::new(UringOptions { busy_poll: BusyPoll::Off }).expect("a ring");
        let (token, socket) = (Token::new(1, 1), Socket(near.as_raw_fd()));
        let mut done = Vec::new();
        let mut ends = |op| {
            done.clear();
            ring.push(token, op);
            ring.turn(Duration::from_millis(20), &mut done).expect("a turn");
            !done.is_empty()
        };
        // The first bytes make a round trip, so that there is one to go by.
        for number in 0.. {
            if asks && !ends(Op::AwaitRoom { socket }) {
                break;
            }
            let batch = Batch::new(vec![Segment::Own(vec![1; PIECE])]);
            if !ends(Op::Send { socket, batch, mode: SendMode::Wait }) {
                assert!(number > 4, "the peer's window takes more than {number} pieces");
                break;
            }
            if number == 0 {
                ends(Op::Fit { socket, rate: Some(80_000_000) });
            }
        }
        socket::held_bytes(socket.0)
    }

    #[test]
    fn who_asks_for_room_leaves_some_that_a_waiting_send_takes() {
        let (asking, waiting) = (held(true), held(false));
        assert!(asking <= 16 << 10 && waiting > 32 << 10, "{asking} bytes, {waiting} bytes");
    }

    #[test]
    fn a_message_that_ends_a_sleep_costs_one_call() {
        use std::io::{Read, Write};
        use std::os::unix::net::UnixStream;

        let mut ring = Uring::new(UringOptions { busy_poll: BusyPoll::Off }).expect("a ring");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let (token, socket) = (Token::new(1, 1), Socket(ours.as_raw_fd()));
        let mut done = Vec::new();
        ring.push(token, Op::Receive { socket });
        ring.turn(Duration::ZERO, &mut done).expect("a turn");
        let rounds = 20;
        let before = ring.counters();
        let asker = std::thread::spawn(move || {
            for _ in 0..rounds {
                theirs.write_all(b"?").expect("room");
                theirs.read_exact(&mut [0]).expect("an answer");
            }
            theirs
        });
        let (mut received, mut sent) = (0, 0);
        while received < rounds {
            ring.turn(Duration::MAX, &mut done).expect("a turn");
            for Completion { outcome, .. } in done.drain(..) {
                match outcome {
                    Outcome::Received { .. } => {
                        assert_eq!(received, sent, "the answer before was not told first");
                        received += 1;
                        let batch = Batch::new(vec![Segment::Static(b"!")]);
                        ring.push(token, Op::Send { socket, batch, mode: SendMode::Try });
                    }
                    Outcome::Sent { bytes, .. } => sent += bytes as u64,
                    other => panic!("{other:?}"),
                }
            }
        }
        ring.turn(Duration::ZERO, &mut done).expect("a turn");
        let _theirs = asker.join().expect("the other end");
        for _ in 0..rounds {
            ring.turn(Duration::ZERO, &mut done).expect("a turn");
        }
        let after = ring.counters();
        // One hands over the answer and sleeps; none where there is nothing to do. Now and then one more: a
        // message that comes while the kernel looks for others is announced twice.
        let enters = after.enters - before.enters;
        assert!((rounds..rounds + rounds / 2).contains(&enters), "{enters} calls");
        assert_eq!(done.len(), 1, "the last answer");
    }

    #[test]
    fn a_queue_full_of_sends_is_not_slept_over() {
        use std::os::unix::net::UnixStream;

        let mut ring = Uring::new(UringOptions { busy_poll: BusyPoll::Off }).expect("a ring");
        let mut done = Vec::new();
        // After this the sleep has to ask for the bell again, for which there is no room then.
        let bell = ring.doorbell();
        let other = std::thread::spawn(move || bell.ring());
        ring.turn(Duration::from_secs(3600), &mut done).expect("a turn");
        other.join().expect("the other thread");
        let pairs: Vec<_> = (0..SQ_ENTRIES).map(|_| UnixStream::pair().expect("a pair")).collect();
        for (number, (ours, _)) in (0..).zip(&pairs) {
            let (batch, socket) =
                (Batch::new(vec![Segment::Static(b"!")]), Socket(ours.as_raw_fd()));
            ring.push(Token::new(number, 0), Op::Send { socket, batch, mode: SendMode::Try });
        }
        while done.len() < SQ_ENTRIES as usize {
            ring.turn(Duration::from_secs(3600), &mut done).expect("a turn");
        }
    }

    #[test]
    fn a_bell_that_was_rung_before_does_not_keep_what_is_to_be_sent() {
        use std::io::Read;
        use std::os::unix::net::UnixStream;

        let mut ring = Uring::new(UringOptions { busy_poll: BusyPoll::Off }).expect("a ring");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let (token, socket) = (Token::new(1, 1), Socket(ours.as_raw_fd()));
        let batch = Batch::new(vec![Segment::Static(b"!")]);
        ring.push(token, Op::Send { socket, batch, mode: SendMode::Try });
        ring.doorbell().ring();
        let mut done = Vec::new();
        ring.turn(Duration::from_secs(3600), &mut done).expect("a turn");
        assert!(matches!(done[..], [Completion { outcome: Outcome::Sent { bytes: 1, .. }, .. }]));
        theirs.read_exact(&mut [0]).expect("what was sent");
    }

    #[test]
    fn a_bell_rung_from_another_thread_ends_a_sleep() {
        let mut ring = Uring::new(UringOptions { busy_poll: BusyPoll::Off }).expect("a ring");
        let bell = ring.doorbell();
        let other = std::thread::spawn(move || bell.ring());
        // Far longer than the suite may run: only the bell ends it.
        ring.turn(Duration::from_secs(3600), &mut Vec::new()).expect("a turn");
        other.join().expect("the other thread");
    }
}
