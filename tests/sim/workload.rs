//! Many clients that do what comes into their heads, all of it from one seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ring::sim::{Faults, Rng, SimOptions};
use ringmesh::auth::{AuthMethod, User};
use ringmesh::close::CloseReason;
use ringmesh::engine::Control;
use ringmesh::stats::Counters;

use crate::client::{Client, Fate, Manners};
use crate::oracle::{History, mix};
use crate::server::{Config, Server};

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No connection breaks, and there is room for everything: nobody who reads is closed.
    Roomy,
    /// No connection breaks, but little may wait: slow clients are closed, publishers held.
    Tight,
    /// Anything may happen.
    Chaos,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub trace: u64,
    pub counters: Counters,
    pub deliveries: usize,
    pub barriers: usize,
    pub grouped: usize,
    /// How often a connection ended for each reason.
    pub reasons: BTreeMap<&'static str, usize>,
    pub refusals: usize,
}

impl Findings {
    pub fn merge(&mut self, other: &Self) {
        self.trace = mix(self.trace, other.trace);
        self.counters.merge(&other.counters);
        self.deliveries += other.deliveries;
        self.barriers += other.barriers;
        self.grouped += other.grouped;
        self.refusals += other.refusals;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

struct Run {
    kind: Kind,
    rng: Rng,
    config: Config,
    server: Server,
    history: History,
    clients: Vec<Client>,
    lengths: &'static [usize],
}

/// Plays one seed.
pub fn play(kind: Kind, seed: u64) -> Findings {
    let mut rng = Rng::new(seed).fork("workload");
    let config = configure(kind, seed, &mut rng);
    let mut server = Server::start(&config);
    server.may_close = kind != Kind::Roomy;
    let lengths = *pick(&mut rng, &LENGTHS);
    let mut run = Run {
        kind,
        rng,
        config,
        server,
        history: History::default(),
        clients: Vec::new(),
        lengths,
    };
    run.act();
    run.settle();
    run.finish()
}

/// What payloads a run has: mostly small, mostly mixed, often large.
const LENGTHS: [&[usize]; 4] = [
    &[0, 3, 12, 16, 16, 128],
    &[0, 12, 16, 128, 128, 1024, 1024, 4000],
    &[12, 16, 1024, 7_900, 8_192, 8_300, 20_000],
    &[0, 16, 128, 8_192, 65_500, 65_536, 70_000, 200_000],
];

fn configure(kind: Kind, seed: u64, rng: &mut Rng) -> Config {
    let faults = match kind {
        Kind::Roomy | Kind::Tight => Faults::lossless(seed),
        Kind::Chaos => Faults::chaos(seed),
    };
    let tight = kind == Kind::Tight || (kind == Kind::Chaos && rng.happens(3_000));
    let world = SimOptions {
        seed,
        faults,
        buffers: *pick(rng, &[2, 8, 64]),
        buffer_bytes: *pick(rng, &[512, 4 << 10, 32 << 10]),
        window: *pick(rng, &[4 << 10, 64 << 10, 256 << 10]),
        ..SimOptions::default()
    };
    let user = |password: &str| User {
        name: "sim".to_owned(),
        password: password.to_owned(),
        account: ringmesh::ids::AccountId::GLOBAL,
    };
    let auth = match rng.below(4) {
        0 => AuthMethod::User(user(PASSWORD)),
        1 => AuthMethod::User(user(&bcrypt::hash(PASSWORD, 4).unwrap())),
        _ => AuthMethod::None,
    };
    Config {
        shards: [1, 2, 4][usize::try_from(seed % 3).unwrap()],
        world,
        max_pending: if tight { *pick(rng, &[64 << 10, 256 << 10, 1 << 20]) } else { 64 << 20 },
        max_pending_total: if tight && rng.happens(3_000) { 300 << 10 } else { 1 << 30 },
        write_deadline: Duration::from_millis(*pick(rng, &[1_000, 2_000, 10_000])),
        ping_interval: Duration::from_secs(*pick(rng, &[20, 120])),
        auth,
        changes_a_turn: *pick(rng, &[1, 3, 512]),
        ..Config::default()
    }
}

const PASSWORD: &str = "secret";

fn pick<'a, T>(rng: &mut Rng, choices: &'a [T]) -> &'a T {
    &choices[rng.below(choices.len())]
}

impl Run {
    /// Clients come, and do things.
    fn act(&mut self) {
        let clients = self.rng.between(3, 10);
        for _ in 0..clients {
            self.welcome();
        }
        let actions = self.rng.between(40, 160);
        for _ in 0..actions {
            let at = self.rng.below(self.clients.len());
            if self.clients[at].is_up() && !self.clients[at].is_frozen {
                self.do_something(at);
            }
            for _ in 0..self.rng.below(6) {
                self.step();
            }
        }
    }

    fn step(&mut self) {
        self.server.step();
        for client in &mut self.clients {
            client.read(&mut self.history);
        }
    }

    fn welcome(&mut self) {
        let fate = self.fate();
        let rng = &mut self.rng;
        let manners = Manners {
            verbose: rng.happens(2_000),
            pedantic: rng.happens(2_000),
            no_echo: rng.happens(3_000),
            headers: rng.happens(6_000),
        };
        let mut client = Client::dial(&self.server, &mut self.history, fate, manners);
        client.serves = rng.happens(3_000);
        let password = match fate {
            Fate::Lies => Some("wrong"),
            _ => Some(PASSWORD),
        };
        if fate != Fate::IsMute {
            client.connect(password.filter(|_| self.config.auth != AuthMethod::None));
            if fate != Fate::Lies {
                let inbox = format!("_INBOX.{}.*", client.id);
                client.subscribe(&mut self.history, &inbox, None, 0, None);
            }
        }
        self.clients.push(client);
    }

    fn fate(&mut self) -> Fate {
        let has_auth = self.config.auth != AuthMethod::None;
        match self.rng.below(20) {
            0..=1 => Fate::Dawdles,
            2 => Fate::Freezes,
            3..=4 => Fate::Leaves,
            5 => Fate::Errs,
            6 if has_auth => Fate::Lies,
            7 if has_auth => Fate::IsMute,
            _ => Fate::Stays,
        }
    }

    fn do_something(&mut self, at: usize) {
        let fate = self.clients[at].fate;
        if matches!(fate, Fate::Lies | Fate::IsMute) {
            return;
        }
        match self.rng.below(100) {
            0..=17 => self.subscribe(at),
            18..=22 => {
                let which = self.rng.below(100);
                self.clients[at].unsubscribe(&mut self.history, which);
            }
            23..=42 => self.clients[at].ping(&mut self.history),
            43..=62 => self.publish_alike(at),
            63..=80 => self.publish_various(at),
            81..=86 => self.request(at),
            _ => self.misbehave(at),
        }
    }

    fn subscribe(&mut self, at: usize) {
        const FILTERS: [&str; 10] = [
            "t.>",
            "t.*.x",
            "t.a.>",
            "t.a.x",
            "t.a.x",
            "t.b.*",
            "t.b.y",
            "*.c.x",
            "t.*.*.*.*",
            "svc.*",
        ];
        let filter = *pick(&mut self.rng, &FILTERS);
        let queue = match self.rng.below(4) {
            0 => Some(*pick(&mut self.rng, &["q1", "q2"])),
            _ if filter == "svc.*" => Some("svc"),
            _ => None,
        };
        let max =
            if queue.is_none() && self.rng.happens(2_500) { self.rng.between(1, 12) } else { 0 };
        // Some subscribers have the same sid as others have, some one of their own.
        let sid = (queue.is_none() && self.rng.happens(2_000))
            .then(|| format!("own{}", self.history.subs.len()));
        let client = &mut self.clients[at];
        client.subscribe(&mut self.history, filter, queue, max, sid.as_deref());
    }

    fn subject(&mut self) -> &'static str {
        const SUBJECTS: [&str; 6] = ["t.a.x", "t.a.y", "t.b.x", "t.b.y", "t.c.x", "t.c.z"];
        pick::<&str>(&mut self.rng, &SUBJECTS)
    }

    fn length(&mut self) -> usize {
        *pick(&mut self.rng, self.lengths)
    }

    /// How many messages of a length a burst may have.
    fn burst(&mut self, len: usize) -> usize {
        let most = (300_000 / (len + 100)).clamp(1, 40);
        self.rng.between(1, most)
    }

    /// The same line over and over: what the server recognises as a run.
    fn publish_alike(&mut self, at: usize) {
        let (subject, len) = (self.subject(), self.length());
        for _ in 0..self.burst(len) {
            self.clients[at].publish(&mut self.history, subject, None, None, len);
        }
    }

    fn publish_various(&mut self, at: usize) {
        for _ in 0..self.rng.between(1, 12) {
            let (subject, len) = (self.subject(), self.length());
            let headers = self.rng.happens(3_000).then_some(&b"NATS/1.0\r\nA: b\r\n\r\n"[..]);
            let client = &mut self.clients[at];
            client.publish(&mut self.history, subject, None, headers, len);
        }
    }

    fn request(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.manners.headers && self.rng.happens(5_000) {
            client.request_in_vain(&mut self.history);
        } else {
            let number = self.history.messages[client.id].len();
            let reply = format!("_INBOX.{}.r{number}", client.id);
            client.publish(&mut self.history, "svc.x", Some(&reply), None, 20);
        }
    }

    fn misbehave(&mut self, at: usize) {
        let choice = self.rng.below(8);
        let amount = self.rng.between(1, 20_000);
        let client = &mut self.clients[at];
        match (client.fate, choice) {
            (Fate::Dawdles, 0..=3) => client.peer.stop_reading(),
            (Fate::Dawdles, 4..=5) => client.peer.read(amount),
            (Fate::Dawdles, _) => client.peer.resume(),
            (Fate::Freezes, 0..=2) => {
                client.peer.stop_reading();
                client.is_frozen = true;
            }
            (Fate::Leaves, 0) => {
                client.has_left = true;
                client.peer.close();
            }
            (Fate::Leaves, 1) => {
                client.has_left = true;
                client.peer.reset();
            }
            (Fate::Leaves, 2) => {
                client.has_left = true;
                client.peer.vanish();
            }
            (Fate::Errs, 0..=1) => {
                client.peer.send(b"NONSENSE\r\n");
                client.has_left = true;
            }
            (Fate::Errs, 2) => {
                let line = format!("PUB t.a.x {}\r\n", self.config.max_payload + 1);
                client.peer.send(line.as_bytes());
                client.has_left = true;
            }
            _ => {}
        }
    }

    /// Everybody reads again but the frozen, and asks twice: the first answers make all messages safe,
    /// the second ones show that they were delivered.
    fn settle(&mut self) {
        for _ in 0..2 {
            for client in self.clients.iter_mut().filter(|client| client.is_polite()) {
                client.peer.resume();
                client.ping(&mut self.history);
            }
            self.wait_for_answers();
        }
    }

    /// Waits until each PING is answered, or its client given up: by then the server must have, too.
    fn wait_for_answers(&mut self) {
        let began = self.server.sim.world().now();
        let patience = began + Duration::from_secs(1_000);
        let waits = |client: &Client| client.is_polite() && !client.is_answered();
        for _ in 0..crate::server::STEPS_MAX {
            if !self.clients.iter().any(waits) {
                return;
            }
            let goes_on = self.server.sim.world().now() < patience && self.server.step();
            for client in &mut self.clients {
                client.read(&mut self.history);
            }
            if !goes_on {
                return self.give_up_the_silent();
            }
        }
        let spent = self.server.sim.world().now() - began;
        panic!("a PING is not answered, and the shards do not rest: {spent:?}");
    }

    /// Connections that fell silent are half open: the client cannot know, but the server does.
    fn give_up_the_silent(&mut self) {
        assert!(self.kind == Kind::Chaos, "a PING is never answered");
        let closed = self.server.closed();
        for client in &mut self.clients {
            if client.is_polite() && !client.is_answered() {
                client.has_left = true;
                let is_closed = |cid| closed.iter().any(|report| report.cid == cid);
                assert!(
                    client.cid.is_none_or(is_closed),
                    "client {} waits for a PONG, and the server does not know",
                    client.id
                );
            }
        }
    }

    /// The server goes down: first some clients, then all.
    fn finish(mut self) -> Findings {
        for client in self.clients.iter_mut().filter(|client| client.is_polite()) {
            client.check_answers();
            client.has_stayed = true;
        }
        // By now the mute have waited long enough to be sent away.
        self.server.run_for(Duration::from_secs(3));
        let counters = self.server.counters();
        self.server.tell(0, Control::StopAccepting(Box::new(|| ())));
        let (left, reason) = (Arc::new(AtomicUsize::new(1)), CloseReason::ServerShutdown);
        self.server.tell_all(|| Control::CloseSome { left: Arc::clone(&left), reason });
        self.server.run_for(Duration::from_millis(500));
        self.server.end();
        for client in &mut self.clients {
            client.read(&mut self.history);
        }
        self.history.check_holes();
        let mut findings = Findings { counters, ..Findings::default() };
        self.check_ends(&mut findings);
        let clients = &self.clients;
        let has_left = |id: usize| !clients[id].has_stayed;
        findings.grouped = self.history.check_groups(has_left);
        findings.trace = mix(self.server.sim.world().trace_hash(), self.history.hash);
        findings.deliveries = self.history.deliveries;
        findings.barriers = self.history.barriers;
        findings.refusals = clients.iter().map(|client| client.refusals.len()).sum();
        findings
    }

    /// Every connection ended for a reason that its client gave.
    fn check_ends(&mut self, findings: &mut Findings) {
        let closed = self.server.closed();
        for client in &mut self.clients {
            let Some(cid) = client.cid else {
                assert!(!client.has_stayed, "client {} was never greeted", client.id);
                continue;
            };
            let mut ends = closed.iter().filter(|report| report.cid == cid);
            let report = ends.next().unwrap_or_else(|| panic!("cid {cid} is not closed"));
            assert!(ends.next().is_none(), "cid {cid} is closed twice");
            let reason = report.end.as_ref().unwrap().reason;
            *findings.reasons.entry(reason).or_default() += 1;
            assert!(
                self.kind == Kind::Chaos || may_end(self.kind, client, reason),
                "client {} ({:?}) ended: {reason}; it heard {:?}",
                client.id,
                client.fate,
                client.errors
            );
        }
    }
}

/// Whether a client's connection may have ended for this reason, where no connection breaks by itself.
fn may_end(kind: Kind, client: &Client, reason: &str) -> bool {
    let is_slow = reason.starts_with("Slow Consumer");
    let silent = is_slow || reason == "Stale Connection" || reason == "Server Shutdown";
    match client.fate {
        Fate::Stays => {
            reason == "Server Shutdown" || (kind == Kind::Tight && reason == SLOW_BY_BYTES)
        }
        Fate::Dawdles | Fate::Freezes => silent,
        Fate::Leaves if client.has_left => {
            // Who vanishes may do so before it is logged in.
            let gone = ["Client Closed", "Read Error", "Write Error", "Authentication Timeout"];
            silent || gone.contains(&reason)
        }
        Fate::Errs if client.has_left => {
            ["Protocol Violation", "Maximum Message Payload Exceeded"].contains(&reason)
                || (kind == Kind::Tight && reason == SLOW_BY_BYTES)
        }
        Fate::Leaves | Fate::Errs => {
            reason == "Server Shutdown" || (kind == Kind::Tight && reason == SLOW_BY_BYTES)
        }
        Fate::Lies => reason == "Authentication Failure",
        Fate::IsMute => reason == "Authentication Timeout",
    }
}

const SLOW_BY_BYTES: &str = "Slow Consumer (Pending Bytes)";

impl Client {
    /// Whether it is there and reads.
    fn is_polite(&self) -> bool {
        self.is_up() && !self.is_frozen && !matches!(self.fate, Fate::Lies | Fate::IsMute)
    }
}
