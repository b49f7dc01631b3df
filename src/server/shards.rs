//! The shards' threads, and what the control plane says to them.

use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use ring::uring::{BusyPoll, Uring, UringOptions};
use ring::{Doorbell, Ring, Socket};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::{self, Options};
use crate::engine::{Control, Engine, EngineOptions, Errand, Notice, Shared};
use crate::mailbox::{self, Door, Mailboxes};
use crate::shard::Shard;

use super::facts::{self, Identity, Known};

/// Threads that hash passwords: a hash takes about 100 ms of one.
const HASHERS: usize = 2;
/// Passwords that may wait to be hashed; a few seconds' work.
const HASHES_WAITING: usize = 64;

/// See the module's documentation.
pub(super) struct Shards {
    voices: Voices,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Where connections come in.
#[derive(Clone, Copy)]
pub(super) struct Listeners {
    /// Clients'.
    pub(super) clients: Socket,
    /// Other servers', where there are any.
    pub(super) routes: Option<Socket>,
}

/// How to speak to each shard.
#[derive(Clone)]
struct Voices(Arc<[(mpsc::Sender<Control>, Doorbell)]>);

impl Voices {
    fn tell(&self, shard: u16, control: Control) {
        if let Some((sender, bell)) = self.0.get(usize::from(shard)) {
            // A shard that has ended needs to be told nothing.
            let _ = sender.send(control);
            bell.ring();
        }
    }
}

/// What every shard's thread starts from.
struct Start {
    options: Arc<EngineOptions>,
    shared: Arc<Shared>,
    errands: mpsc::SyncSender<Errand>,
    busy_poll: BusyPoll,
    /// Doorbells by shard; whole once all threads have passed `gate`.
    bells: Mutex<Vec<(u16, Doorbell)>>,
    failure: Mutex<Option<String>>,
    gate: Barrier,
}

impl Shards {
    /// Starts the shards; the first one accepts.
    ///
    /// # Errors
    /// Why a ring cannot be made, with the cure.
    pub(super) fn start(
        options: &Options,
        identity: &Identity,
        known: &Known,
        listeners: Listeners,
        notices: &UnboundedSender<Notice>,
    ) -> Result<Self, String> {
        let count = shard_count(options.shards);
        let (boxes, controls) = mailbox::connect(count);
        let (errands, asked) = mpsc::sync_channel(HASHES_WAITING);
        let start = Arc::new(Start {
            options: Arc::new(facts::engine(options, identity, known, false)),
            shared: Arc::new(Shared::default()),
            errands,
            busy_poll: busy_poll(options.busy_poll),
            bells: Mutex::default(),
            failure: Mutex::default(),
            gate: Barrier::new(usize::from(count) + 1),
        });
        // Clients are numbered from 1 on.
        start.shared.next_cid.store(1, std::sync::atomic::Ordering::Relaxed);
        let mut threads = Vec::new();
        for mail in boxes {
            let (start, name) = (Arc::clone(&start), format!("shard-{}", mail.shard));
            let notices = notices.clone();
            let run = move || run_shard(&start, mail, listeners, count, notices);
            let spawned = thread::Builder::new().name(name).spawn(run);
            threads.push(spawned.map_err(|error| format!("A shard cannot start: {error}"))?);
        }
        start.gate.wait();
        if let Some(error) = lock(&start.failure).take() {
            return Err(error);
        }
        let mut bells = lock(&start.bells).clone();
        bells.sort_by_key(|(shard, _)| *shard);
        let voices = controls.into_iter().zip(bells.into_iter().map(|(_, bell)| bell)).collect();
        let voices = Voices(voices);
        start_hashers(asked, &voices)?;
        Ok(Self { voices, shared: Arc::clone(&start.shared), threads })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.voices.0.len()).unwrap_or(u16::MAX)
    }

    /// Clients of all shards.
    pub(super) fn clients(&self) -> usize {
        self.shared.clients.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Says something to one shard.
    pub(super) fn tell(&self, shard: u16, control: Control) {
        self.voices.tell(shard, control);
    }

    /// Says something to all shards.
    pub(super) fn tell_all(&self, control: impl Fn() -> Control) {
        for shard in 0..self.count() {
            self.tell(shard, control());
        }
    }

    /// Ends all shards, and waits until they have ended.
    pub(super) fn end(&mut self) {
        self.tell_all(|| Control::End);
        for thread in self.threads.drain(..) {
            // Its panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn run_shard(
    start: &Start,
    mut mail: Mailboxes<Control>,
    listeners: Listeners,
    shards: u16,
    notices: UnboundedSender<Notice>,
) {
    let ring = Uring::new(UringOptions { busy_poll: start.busy_poll });
    match &ring {
        Ok(ring) => lock(&start.bells).push((mail.shard, ring.doorbell())),
        Err(error) => *lock(&start.failure) = Some(error.to_string()),
    }
    start.gate.wait();
    let Ok(mut ring) = ring else { return };
    if lock(&start.failure).is_some() {
        return;
    }
    let shard = mail.shard;
    for (other, bell) in lock(&start.bells).iter().filter(|(other, _)| *other != shard) {
        mail.set_bell(*other, bell.clone());
    }
    let (seed, now) = (ring.random_seed(), ring.now());
    let (options, shared) = (Arc::clone(&start.options), Arc::clone(&start.shared));
    let mut engine = Engine::new(options, shared, mail, start.errands.clone(), seed, now);
    engine.set_tell_control(Box::new(move |notice| {
        // Nobody listens any more once the server ends.
        let _ = notices.send(notice);
    }));
    let mut loop_ = Shard::new(ring, engine);
    if shard == 0 {
        loop_.listen(listeners.clients, Door::Clients, shards);
        if let Some(routes) = listeners.routes {
            loop_.listen(routes, Door::Routes, shards);
        }
    }
    if let Err(error) = loop_.run() {
        // Its clients are lost; better that all of them notice and go elsewhere.
        tracing::error!(target: crate::logging::FATAL, "The ring of shard {shard} is broken: {error}");
        std::process::abort();
    }
}

/// Starts the threads that hash; they end when the shards have.
fn start_hashers(asked: mpsc::Receiver<Errand>, voices: &Voices) -> Result<(), String> {
    let asked = Arc::new(Mutex::new(asked));
    for number in 0..HASHERS {
        let (asked, voices) = (Arc::clone(&asked), voices.clone());
        let hash = move || {
            loop {
                let errand = lock(&asked).recv();
                let Ok(Errand::Hash { shard, token, job }) = errand else { return };
                let is_right = job.is_right();
                voices.tell(shard, Control::Verdict { token, job, is_right });
            }
        };
        let spawned = thread::Builder::new().name(format!("hasher-{number}")).spawn(hash);
        spawned.map_err(|error| format!("A thread cannot start: {error}"))?;
    }
    Ok(())
}

/// A lock whose other holders do not panic while they hold it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many shards; the choice for `auto` stands with its reason in ARCHITECTURE.md.
pub(super) fn shard_count(shards: config::Shards) -> u16 {
    match shards {
        config::Shards::Count(count) => u16::from(count),
        config::Shards::Auto => {
            let usable = thread::available_parallelism().map_or(1, usize::from);
            u16::try_from((usable / 4).clamp(1, 8)).unwrap_or(1)
        }
    }
}

fn busy_poll(option: config::BusyPoll) -> BusyPoll {
    match option {
        config::BusyPoll::Auto => BusyPoll::Auto,
        config::BusyPoll::Off => BusyPoll::Off,
        config::BusyPoll::Always => BusyPoll::Always,
        config::BusyPoll::For(window) => BusyPoll::For(window),
    }
}
