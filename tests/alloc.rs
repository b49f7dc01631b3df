//! The warm data plane allocates nothing: not a block, not a list, not a string a message.
//!
//! A shard is turned by hand on a kernel ring, in the thread of its clients, and only what a turn
//! allocates is counted. Each case warms up first, until every pool and buffer has the size that the
//! case needs. Where the kernel has no io_uring the test says so and passes.

#![allow(clippy::print_stderr, reason = "what allocates is named")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod skipped;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ring::Ring;
use ring::uring::{BusyPoll, Uring, UringOptions};
use ringmesh::auth::{AuthConfig, AuthMethod, Authenticator};
use ringmesh::engine::{ClientLimits, Engine, EngineOptions, Shared};
use ringmesh::mailbox;
use ringmesh::outbound::OutboundLimits;
use ringmesh::proto::info::{InfoTemplate, ServerInfo};
use ringmesh::shard::Shard;

/// Counts what the threads that say so allocate.
struct Counting;

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count_one() {
    if IS_COUNTED.get() {
        COUNT.set(COUNT.get() + 1);
        if std::env::var_os("WHERE").is_some() {
            IS_COUNTED.set(false);
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
            IS_COUNTED.set(true);
        }
    }
}

// SAFETY: everything is passed on to the system's allocator as it came; counting allocates nothing
// that is counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller's promises are those of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those of this very function.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: the caller's promises are those of this very function.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A shard, and where it listens.
struct Rig {
    shard: Shard<Uring>,
    address: SocketAddr,
}

impl Rig {
    /// A server of one shard; none where the kernel does not allow it.
    fn start() -> Option<Self> {
        if let Err(error) = ring::uring::probe() {
            skipped::skipped(&format!("what counts allocations: {error}"));
            return None;
        }
        let (listener, address) = ring::uring::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let mut uring = Uring::new(UringOptions { busy_poll: BusyPoll::Off }).unwrap();
        let (mut boxes, _controls) = mailbox::connect(1);
        let (errands, _) = mpsc::sync_channel(1);
        let (seed, now) = (uring.random_seed(), uring.now());
        let (options, shared) = (Arc::new(options()), Arc::new(Shared::default()));
        let engine = Engine::new(options, shared, boxes.remove(0), errands, seed, now);
        let mut shard = Shard::new(uring, engine);
        shard.listen(listener, mailbox::Door::Clients, 1);
        Some(Self { shard, address })
    }

    /// One turn, and whatever it allocates is counted.
    fn turn(&mut self) {
        IS_COUNTED.set(true);
        let turned = self.shard.turn(Duration::from_millis(1));
        IS_COUNTED.set(false);
        turned.unwrap();
    }

    /// A client that has said this, and has had the answer.
    fn client(&mut self, says: &str) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client { stream, buffer: vec![0; 1 << 20] };
        let connect = r#"CONNECT {"verbose":false,"pedantic":false,"headers":true}"#;
        client.send(self, format!("{connect}\r\n{says}PING\r\n").as_bytes());
        let mut heard = Vec::new();
        while !heard.ends_with(b"PONG\r\n") {
            self.turn();
            heard.extend_from_slice(client.read_some());
        }
        client
    }
}

fn options() -> EngineOptions {
    let auth = AuthConfig {
        method: AuthMethod::None,
        no_auth_user: None,
        lets_anonymous_in: false,
        timeout: Duration::from_secs(2),
    };
    EngineOptions {
        limits: ClientLimits {
            max_payload: 1 << 20,
            max_control_line: 4096,
            max_connections: 1024,
            max_subscriptions: 0,
            max_sub_tokens: 0,
        },
        outbound: OutboundLimits { max_pending: 64 << 20, write_deadline: Duration::from_secs(10) },
        max_pending_total: 1 << 30,
        ping_interval: Duration::from_secs(120),
        ping_max: 2,
        auth: Arc::new(Authenticator::new(auth)),
        auth_timeout: Duration::from_secs(2),
        headers: true,
        changes_a_turn: 512,
        info: InfoTemplate::new(&ServerInfo { headers: true, ..ServerInfo::default() }),
        drop_for_slow: false,
        max_closed: 0,
        closes_late: false,
        sublist_cache: true,
        server_name: "test".into(),
        server_id: "NSIM".into(),
        cluster_name: "".into(),
        accounts: Arc::default(),
        routes: ringmesh::engine::RouteOptions::default(),
        trace: None,
    }
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn send(&mut self, rig: &mut Rig, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => rig.turn(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// What is there to read.
    fn read_some(&mut self) -> &[u8] {
        match self.stream.read(&mut self.buffer) {
            Ok(count) => &self.buffer[..count],
            Err(error) if error.kind() == ErrorKind::WouldBlock => &[],
            Err(error) => panic!("{error}"),
        }
    }
}

impl Client {
    /// Reads what is there of what is missing. The PING that follows CONNECT after two seconds may be among
    /// it, where a machine is slow.
    fn read_towards(&mut self, missing: &mut usize) {
        let got = self.read_some().len();
        assert!(got <= *missing + "PING\r\n".len(), "{got} bytes instead of {missing}");
        *missing = missing.saturating_sub(got);
    }
}

/// What goes through the server in one round: from some clients to others.
struct Round {
    /// Bytes to send.
    bytes: Vec<u8>,
    /// How many bytes each recipient gets.
    expected: usize,
}

/// Messages on these subjects, with the reply if there is one, for subscriptions with sid 1.
fn round(subjects: impl Iterator<Item = String>, reply: Option<&str>, size: usize) -> Round {
    let (mut bytes, mut expected) = (Vec::new(), 0);
    let reply = reply.map_or_else(String::new, |reply| format!("{reply} "));
    for subject in subjects {
        bytes.extend_from_slice(format!("PUB {subject} {reply}{size}\r\n").as_bytes());
        bytes.resize(bytes.len() + size, b'x');
        bytes.extend_from_slice(b"\r\n");
        expected += format!("MSG {subject} 1 {reply}{size}\r\n").len() + size + 2;
    }
    Round { bytes, expected }
}

/// Sends a round, cut into writes of `piece` bytes, and waits until everybody has it.
fn play(rig: &mut Rig, from: &mut Client, to: &mut [Client], round: &Round, piece: usize) {
    let mut missing: Vec<usize> = to.iter().map(|_| round.expected).collect();
    for bytes in round.bytes.chunks(piece) {
        from.send(rig, bytes);
        rig.turn();
        for (client, missing) in to.iter_mut().zip(&mut missing) {
            client.read_towards(missing);
        }
    }
    while missing.iter().any(|missing| *missing > 0) {
        rig.turn();
        for (client, missing) in to.iter_mut().zip(&mut missing) {
            client.read_towards(missing);
        }
    }
}

const WARM_UP_ROUNDS: usize = 30;
const ROUNDS: usize = 60;

/// What is allocated in `ROUNDS` calls, after some to warm up.
fn count(mut play: impl FnMut(usize)) -> usize {
    (0..WARM_UP_ROUNDS).for_each(&mut play);
    COUNT.set(0);
    (WARM_UP_ROUNDS..WARM_UP_ROUNDS + ROUNDS).for_each(play);
    COUNT.get()
}

#[track_caller]
fn check(name: &str, fan_out: usize, piece: usize, make: impl Fn(usize) -> Round) {
    let Some(mut rig) = Rig::start() else { return };
    let mut to: Vec<Client> = (0..fan_out).map(|_| rig.client("SUB > 1\r\n")).collect();
    let mut from = rig.client("");
    let rounds: Vec<Round> = (0..WARM_UP_ROUNDS + ROUNDS).map(make).collect();
    let counted = count(|at| play(&mut rig, &mut from, &mut to, &rounds[at], piece));
    assert_eq!(counted, 0, "{name}: allocations in {ROUNDS} rounds");
}

const SIZES: [usize; 4] = [16, 128, 1 << 10, 64 << 10];

/// Messages a round: fewer when they are large, so that what waits for 64 recipients at once stays
/// within the memory that the server keeps.
fn messages(size: usize) -> usize {
    (40_000 / size).clamp(3, 100)
}

#[test]
fn a_stream_on_one_subject_allocates_nothing() {
    for size in SIZES {
        let same = |_| round((0..messages(size)).map(|_| "same".to_owned()), None, size);
        check(&format!("{size} B, 1:1"), 1, usize::MAX, same);
        check(&format!("{size} B, one by one"), 1, size + 40, same);
        check(&format!("{size} B, cut"), 1, 1000 + size / 4, same);
        check(&format!("{size} B to 64"), 64, usize::MAX, same);
    }
}

#[test]
fn a_thousand_subjects_in_rotation_allocate_nothing() {
    for size in SIZES {
        let rotating = |at: usize| {
            let first = at * messages(size);
            // All of them come three times while it warms up: the second time a subject is cached.
            let subjects = messages(size) * WARM_UP_ROUNDS / 3;
            let subject = |number: usize| format!("r.{:03}", number % subjects);
            round((first..first + messages(size)).map(subject), None, size)
        };
        check(&format!("{size} B, 1:1"), 1, usize::MAX, rotating);
        check(&format!("{size} B to 64"), 64, usize::MAX, rotating);
    }
}

#[test]
fn subjects_that_never_repeat_allocate_nothing() {
    for size in SIZES {
        let fresh = |at: usize| {
            let subject = |number: usize| format!("n.{at}.{number}");
            round((0..messages(size)).map(subject), None, size)
        };
        check(&format!("{size} B, 1:1"), 1, usize::MAX, fresh);
        check(&format!("{size} B to 64"), 64, usize::MAX, fresh);
    }
}

#[test]
fn requests_and_their_replies_allocate_nothing() {
    for size in SIZES {
        let Some(mut rig) = Rig::start() else { return };
        let mut asks = [rig.client("SUB _INBOX.a.* 1\r\n")];
        let mut serves = [rig.client("SUB service workers 1\r\n")];
        let pairs: Vec<(Round, Round)> = (0..WARM_UP_ROUNDS + ROUNDS)
            .map(|at| {
                let reply = format!("_INBOX.a.{at}");
                let request = round(std::iter::once("service".to_owned()), Some(&reply), size);
                (request, round(std::iter::once(reply), None, size))
            })
            .collect();
        let counted = count(|at| {
            let (request, reply) = &pairs[at];
            play(&mut rig, &mut asks[0], &mut serves, request, usize::MAX);
            play(&mut rig, &mut serves[0], &mut asks, reply, usize::MAX);
        });
        assert_eq!(counted, 0, "{size} B: allocations in {ROUNDS} rounds");
    }
}
