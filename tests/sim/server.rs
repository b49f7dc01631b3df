//! One server in a simulated world: a shard a ring, wired as the program wires them.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ring::sim::{Node, RingId, SimOptions, SimRing, SimWorld, Simulation};
use ring::{Doorbell, Ring};
use ringmesh::auth::{AuthConfig, AuthMethod, Authenticator};
use ringmesh::engine::{
    ClientLimits, Control, Engine, EngineOptions, Errand, RouteOptions, Shared,
};
use ringmesh::mailbox::{self, Door};
use ringmesh::outbound::OutboundLimits;
use ringmesh::proto::info::{InfoTemplate, ServerInfo};
use ringmesh::report::{AccountReport, ConnectionReport, ReportRequest, ShardReport, Slots};
use ringmesh::shard::Shard;
use ringmesh::stats::Counters;

/// Steps after which a run has no end.
pub const STEPS_MAX: usize = 2_000_000;

/// What a server is started with.
#[derive(Clone)]
pub struct Config {
    pub shards: u16,
    pub world: SimOptions,
    pub max_payload: u32,
    pub max_pending: usize,
    pub max_pending_total: usize,
    pub write_deadline: Duration,
    pub ping_interval: Duration,
    pub auth: AuthMethod,
    pub auth_timeout: Duration,
    /// PONG waits for routes, of which there are none.
    pub barrier: bool,
    pub changes_a_turn: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 1,
            world: SimOptions::default(),
            max_payload: 1 << 20,
            max_pending: 64 << 20,
            max_pending_total: 1 << 30,
            write_deadline: Duration::from_secs(10),
            ping_interval: Duration::from_secs(120),
            auth: AuthMethod::None,
            auth_timeout: Duration::from_secs(2),
            barrier: false,
            changes_a_turn: 512,
        }
    }
}

impl Config {
    fn engine_options(&self) -> EngineOptions {
        let info = ServerInfo {
            server_id: "NSIM".to_owned(),
            server_name: "sim".to_owned(),
            host: "sim".to_owned(),
            port: 4222,
            headers: true,
            max_payload: self.max_payload,
            ..ServerInfo::default()
        };
        let auth = AuthConfig {
            method: self.auth.clone(),
            no_auth_user: None,
            lets_anonymous_in: false,
            timeout: self.auth_timeout,
        };
        EngineOptions {
            limits: ClientLimits {
                max_payload: self.max_payload,
                max_control_line: 4096,
                max_connections: 65_536,
                max_subscriptions: 0,
                max_sub_tokens: 0,
            },
            outbound: OutboundLimits {
                max_pending: self.max_pending,
                write_deadline: self.write_deadline,
            },
            max_pending_total: self.max_pending_total,
            ping_interval: self.ping_interval,
            ping_max: 2,
            auth: Arc::new(Authenticator::new(auth)),
            auth_timeout: self.auth_timeout,
            headers: true,
            changes_a_turn: self.changes_a_turn,
            info: InfoTemplate::new(&info),
            drop_for_slow: false,
            max_closed: 10_000,
            trace: None,
            closes_late: false,
            sublist_cache: true,
            server_name: "test".into(),
            server_id: "NSIM".into(),
            cluster_name: "".into(),
            accounts: Arc::default(),
            routes: RouteOptions { barrier: self.barrier, ..RouteOptions::default() },
        }
    }
}

/// A shard that the simulation turns.
pub struct Turning(pub Shard<SimRing>);

impl Node for Turning {
    fn turn(&mut self) -> io::Result<()> {
        self.0.turn(Duration::MAX)
    }
}

pub struct Server {
    pub sim: Simulation<Turning>,
    pub address: SocketAddr,
    pub shards: u16,
    /// Clients who do no wrong may lose their connection all the same.
    pub may_close: bool,
    rings: Vec<RingId>,
    shared: Arc<Shared>,
    controls: Vec<mpsc::Sender<Control>>,
    bells: Vec<Doorbell>,
    errands: mpsc::Receiver<Errand>,
}

impl Server {
    pub fn start(config: &Config) -> Self {
        let world = SimWorld::with(config.world.clone());
        let options = Arc::new(config.engine_options());
        let shared = Arc::new(Shared::default());
        let (boxes, controls) = mailbox::connect(config.shards);
        let (errand_sender, errands) = mpsc::sync_channel(1024);
        let first = world.ring();
        let siblings: Vec<_> = (1..config.shards).map(|_| first.sibling()).collect();
        let all: Vec<SimRing> = std::iter::once(first).chain(siblings).collect();
        let bells: Vec<_> = all.iter().map(SimRing::doorbell).collect();
        let rings = all.iter().map(SimRing::id).collect();
        let (listener, address) = all[0].listen(SocketAddr::from(([0, 0, 0, 0], 4222))).unwrap();
        let mut sim = Simulation::new(world);
        for (mut mail, mut ring) in boxes.into_iter().zip(all) {
            let shard = mail.shard;
            for (other, bell) in (0..).zip(&bells).filter(|(other, _)| *other != shard) {
                mail.set_bell(other, bell.clone());
            }
            let (seed, now) = (ring.random_seed(), ring.now());
            let id = ring.id();
            let (options, shared) = (Arc::clone(&options), Arc::clone(&shared));
            let engine = Engine::new(options, shared, mail, errand_sender.clone(), seed, now);
            let mut turning = Turning(Shard::new(ring, engine));
            if shard == 0 {
                turning.0.listen(listener, Door::Clients, config.shards);
            }
            sim.add(id, turning);
        }
        let (shards, may_close) = (config.shards, false);
        Self { sim, address, shards, may_close, rings, shared, controls, bells, errands }
    }

    /// Steps until something is so.
    #[track_caller]
    pub fn run_until(&mut self, what: &str, mut is_done: impl FnMut() -> bool) {
        let mut answers = Vec::new();
        for _ in 0..STEPS_MAX {
            if is_done() {
                return;
            }
            self.hash(&mut answers);
            let goes_on = self.sim.step().unwrap();
            assert!(goes_on || is_done(), "nothing will ever happen, but not yet: {what}");
        }
        panic!("no end in sight: {what}");
    }

    /// One step. False when nothing will ever happen any more.
    pub fn step(&mut self) -> bool {
        self.hash(&mut Vec::new());
        self.sim.step().unwrap()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        /// How long a password's hash may take.
        const SLICE: Duration = Duration::from_millis(50);
        let mut left = span;
        while !left.is_zero() {
            let now = left.min(SLICE);
            self.sim.run_for(now, STEPS_MAX).unwrap();
            self.hash(&mut Vec::new());
            left -= now;
        }
    }

    /// Hashes the passwords that shards ask for, as the control thread does.
    fn hash(&self, answers: &mut Vec<(u16, Control)>) {
        while let Ok(Errand::Hash { shard, token, job }) = self.errands.try_recv() {
            let is_right = job.is_right();
            answers.push((shard, Control::Verdict { token, job, is_right }));
        }
        for (shard, control) in answers.drain(..) {
            self.tell(shard, control);
        }
    }

    /// Says something to a shard.
    pub fn tell(&self, shard: u16, control: Control) {
        self.controls[usize::from(shard)].send(control).unwrap();
        self.bells[usize::from(shard)].ring();
    }

    /// Says something to all shards.
    pub fn tell_all(&self, control: impl Fn() -> Control) {
        (0..self.shards).for_each(|shard| self.tell(shard, control()));
    }

    /// What all shards report, with all their closed connections.
    pub fn reports(&mut self) -> Vec<ShardReport> {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let all = Some(Slots { from: 0, to: u32::MAX });
        for shard in 0..self.shards {
            let answers = Arc::clone(&answers);
            let request = ReportRequest {
                closed: all,
                latency: true,
                accounts: true,
                ..ReportRequest::default()
            };
            let answer = Box::new(move |report| answers.lock().unwrap().push(report));
            self.tell(shard, Control::Report { request, answer });
        }
        let wanted = usize::from(self.shards);
        self.run_until("every shard reports", || answers.lock().unwrap().len() == wanted);
        std::mem::take(&mut *answers.lock().unwrap())
    }

    /// Counters of all shards together.
    pub fn counters(&mut self) -> Counters {
        let mut sum = Counters::default();
        self.reports().iter().for_each(|report| sum.merge(&report.counters));
        sum
    }

    /// All connections that are closed.
    pub fn closed(&mut self) -> Vec<ConnectionReport> {
        self.reports().into_iter().flat_map(|report| report.closed).collect()
    }

    /// Ends the server, and looks at what it leaves: nothing.
    #[track_caller]
    pub fn end(&mut self) {
        let began = self.sim.world().now();
        self.tell_all(|| Control::End);
        let sim = RefCell::new(&mut self.sim);
        for _ in 0..STEPS_MAX {
            let mut sim = sim.borrow_mut();
            let ended = sim.nodes().all(|node| node.0.engine_mut().has_ended());
            let sockets = sim.nodes().map(|node| node.0.ring_mut().sockets_open()).max();
            if ended && sockets == Some(0) {
                break;
            }
            assert!(sim.step().unwrap(), "the server does not end: {sockets:?} sockets are open");
        }
        self.check_nothing_left();
        // Half of it for who does not take what is told him last, the rest for late completions.
        let spent = self.sim.world().now() - began;
        assert!(spent < Duration::from_secs(2), "the server took {spent:?} to end");
    }

    #[track_caller]
    fn check_nothing_left(&mut self) {
        for ring in &self.rings {
            let node = self.sim.node(*ring).unwrap();
            assert!(node.0.engine_mut().has_ended(), "a shard has not ended");
            let ring = node.0.ring_mut();
            assert_eq!(ring.sockets_open(), 0, "sockets are open");
            assert_eq!(ring.leases_held(), 0, "receive buffers are held");
            assert_eq!(ring.in_flight(), 0, "operations are in flight");
        }
        assert_eq!(self.shared.clients.load(Ordering::Relaxed), 0, "clients are counted");
        assert_eq!(self.shared.pending_bytes.load(Ordering::Relaxed), 0, "bytes are counted");
        for report in self.reports() {
            assert_eq!(report.connections_open, 0, "connections are open");
            assert_eq!(report.subscriptions_open, 0, "subscriptions are left");
            assert_eq!(report.pending_bytes, 0, "bytes are queued");
            assert_eq!(report.held_publishers, 0, "publishers are held");
            check_accounts(&report);
        }
        assert_eq!(self.sim.world().counts().leases_held_over, 0, "leases outlive their turn");
    }
}

/// What is counted by account is, together, what each client's connection has counted; nobody is left.
#[track_caller]
fn check_accounts(report: &ShardReport) {
    let mut sum = AccountReport::default();
    report.accounts.iter().for_each(|account| sum.merge(account));
    let clients = |of: fn(&ConnectionReport) -> u64| report.closed.iter().map(of).sum();
    let all = AccountReport {
        in_msgs: clients(|client| client.in_msgs),
        in_bytes: clients(|client| client.in_bytes),
        out_msgs: clients(|client| client.out_msgs),
        out_bytes: clients(|client| client.out_bytes),
        slow_consumers: report.counters.slow_consumers_clients,
        ..AccountReport::default()
    };
    assert_eq!(sum, all, "accounts and clients count differently");
}
