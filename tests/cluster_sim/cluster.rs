//! A cluster in a simulated world: servers that start, die and come back, as the program makes them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ring::sim::{RingId, Rng, SimOptions, SimRing, SimWorld, Simulation};
use ring::{Ring, Time};
use ringmesh::auth::{AuthConfig, AuthMethod, Authenticator};
use ringmesh::cluster::{Mesh, MeshOptions, RouteUrl};
use ringmesh::engine::{
    ClientLimits, Control, Engine, EngineOptions, Errand, RouteOptions, Shared,
};
use ringmesh::mailbox::{self, Door, Mailboxes};
use ringmesh::outbound::OutboundLimits;
use ringmesh::proto::info::{InfoTemplate, ServerInfo};
use ringmesh::report::{ReportRequest, ShardReport};
use ringmesh::shard::Shard;

use crate::node::{ControlLoop, Turning, Voices};
use crate::plan::Shape;

/// Steps after which a run has no end.
const STEPS_MAX: usize = 5_000_000;
const CLIENT_PORT: u16 = 4222;
const ROUTE_PORT: u16 = 6222;

pub struct Cluster {
    pub sim: Simulation<Turning>,
    pub shape: Shape,
    pub nodes: Vec<Server>,
    rng: Rng,
    /// Numbers lives of servers.
    lives: u64,
    pub dials: u64,
}

/// A place for a server, and the server there while it is up.
pub struct Server {
    pub ip: IpAddr,
    pub up: Option<Up>,
}

pub struct Up {
    rings: Vec<RingId>,
    control: RingId,
    shared: Arc<Shared>,
    voices: Voices,
    has_ended: Arc<AtomicBool>,
    /// No client of these servers must log in by a hash.
    _errands: mpsc::Receiver<Errand>,
}

impl Cluster {
    pub fn new(shape: Shape, world: SimOptions) -> Self {
        let world = SimWorld::with(world);
        let rng = world.rng("cluster");
        let ip = |node: usize| IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(node + 1).unwrap()));
        let nodes = (0..shape.nodes).map(|node| Server { ip: ip(node), up: None }).collect();
        Self { sim: Simulation::new(world), shape, nodes, rng, lives: 0, dials: 0 }
    }

    pub fn now(&self) -> Time {
        self.sim.world().now()
    }

    pub fn client_address(&self, node: usize) -> SocketAddr {
        SocketAddr::new(self.nodes[node].ip, CLIENT_PORT)
    }

    pub fn start(&mut self, node: usize) {
        assert!(self.nodes[node].up.is_none());
        self.lives += 1;
        // Ids decide who of two dials wins: they must not follow the order of the starts.
        let id = format!("N{:016X}{}", self.rng.any(), self.lives);
        let ip = self.nodes[node].ip;
        let first = self.sim.world().ring_at(ip);
        let siblings: Vec<_> = (1..self.shape.shards).map(|_| first.sibling()).collect();
        let control = first.sibling();
        let all: Vec<SimRing> = std::iter::once(first).chain(siblings).collect();
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let (clients, _) = all[0].listen(any(CLIENT_PORT)).unwrap();
        let (routes, _) = all[0].listen(any(ROUTE_PORT)).unwrap();
        let (boxes, controls) = mailbox::connect(self.shape.shards);
        let (notices, noticed) = mpsc::channel();
        let (errands, asked) = mpsc::sync_channel(1024);
        let bells: Vec<_> = all.iter().map(SimRing::doorbell).collect();
        let voices = Voices(controls.into_iter().zip(bells.iter().cloned()).collect());
        let options = Arc::new(self.engine_options(node, &id));
        let shared = Arc::new(Shared::default());
        let rings = all.iter().map(SimRing::id).collect();
        for (mut mail, mut ring) in boxes.into_iter().zip(all) {
            let shard = mail.shard;
            connect_bells(&mut mail, &bells);
            let (seed, now) = (ring.random_seed(), ring.now());
            let ring_id = ring.id();
            let (options, shared) = (Arc::clone(&options), Arc::clone(&shared));
            let mut engine = Engine::new(options, shared, mail, errands.clone(), seed, now);
            let (notices, bell) = (notices.clone(), control.doorbell());
            engine.set_tell_control(Box::new(move |notice| {
                // Nobody listens any more once the server ends.
                let _ = notices.send(notice);
                bell.ring();
            }));
            let mut turning = Shard::new(ring, engine);
            if shard == 0 {
                turning.listen(clients, Door::Clients, self.shape.shards);
                turning.listen(routes, Door::Routes, self.shape.shards);
            }
            self.sim.add(ring_id, Turning::Shard(Box::new(turning)));
        }
        let has_ended = Arc::new(AtomicBool::new(false));
        let seed = self.rng.any();
        let mesh = Mesh::new(self.mesh_options(node, &id), seed, control.now());
        let up = Up {
            rings,
            control: control.id(),
            shared,
            voices: voices.clone(),
            has_ended: Arc::clone(&has_ended),
            _errands: asked,
        };
        let control = ControlLoop {
            ring: control,
            mesh,
            notices: noticed,
            voices,
            has_ended,
            client_urls: Vec::new(),
            dials: 0,
            lines: 0,
            ended: Vec::new(),
        };
        self.sim.add(up.control, Turning::Control(Box::new(control)));
        self.nodes[node].up = Some(up);
    }

    /// Ends a server's process, or its whole machine, of which nobody hears.
    pub fn kill(&mut self, node: usize, silently: bool) {
        let Some(up) = self.nodes[node].up.take() else { return };
        for ring in up.rings.iter().chain([&up.control]) {
            match self.sim.remove(*ring).unwrap() {
                Turning::Control(control) => {
                    self.dials += control.dials;
                    if silently {
                        control.ring.power_off();
                    }
                }
                Turning::Shard(mut shard) => {
                    if silently {
                        shard.ring_mut().power_off();
                    } else {
                        shard.ring_mut().kill();
                    }
                }
            }
        }
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].up.is_some()
    }

    pub fn partition(&self, one: usize, other: usize) {
        self.sim.world().partition(self.nodes[one].ip, self.nodes[other].ip);
    }

    pub fn heal(&self, one: usize, other: usize) {
        self.sim.world().heal(self.nodes[one].ip, self.nodes[other].ip);
    }

    pub fn run_for(&mut self, span: Duration) {
        self.sim.run_for(span, STEPS_MAX).unwrap();
    }

    /// The control loop of a server that is up.
    pub fn control(&mut self, node: usize) -> &mut ControlLoop {
        let ring = self.nodes[node].up.as_ref().expect("a server that is up").control;
        match self.sim.node(ring) {
            Some(Turning::Control(control)) => control,
            Some(Turning::Shard(_)) | None => panic!("no control loop"),
        }
    }

    /// What keeps the mesh from being whole, if anything: all servers are up.
    pub fn defect(&mut self) -> Option<String> {
        let all = self.shape.nodes;
        for node in 0..all {
            let mesh = &self.control(node).mesh;
            let (missing, links) = (mesh.missing_links(), mesh.links());
            let connected = links.iter().filter(|link| !link.conns.is_empty()).count();
            if missing > 0 || connected != all - 1 || links.len() != all - 1 {
                let links: Vec<_> = links
                    .iter()
                    .map(|link| (&link.id, &link.url, link.expected(), link.conns.len()))
                    .collect();
                return Some(format!("server {node}: {missing} links are missing: {links:?}"));
            }
        }
        None
    }

    /// A mesh that has formed took no more dials, and lines of handshakes and gossip, than so many for
    /// each of its connections, of which there are as many as the square of its servers.
    pub fn check_effort(&mut self) {
        let nodes = self.shape.nodes as u64;
        let pool = u64::from(self.shape.pool_size.unwrap_or(1)) + self.dedicated().len() as u64;
        let conns = nodes * (nodes - 1) / 2 * pool;
        // Those that are known from the start are dialled every second until they are up.
        let waiting = 20 * nodes;
        let (mut dials, mut lines) = (0, 0);
        for node in 0..self.shape.nodes {
            let control = self.control(node);
            dials += control.dials;
            lines += control.lines;
        }
        let sums = format!("{dials} dials and {lines} lines for {conns} connections");
        // Two that dial at once have one of their connections too many. Who has no name for its cluster
        // takes up greater ones, one after another, and begins its routes again each time.
        let (dials_max, lines_max) = if self.shape.named { (2, 12) } else { (4, 24) };
        let bounds = (dials_max * conns + waiting, lines_max * conns + waiting);
        assert!(dials <= bounds.0 && lines <= bounds.1, "{sums}");
    }

    /// What a server's shards report.
    pub fn reports(&mut self, node: usize) -> Vec<ShardReport> {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let up = self.nodes[node].up.as_ref().expect("a server that is up");
        let shards = self.shape.shards;
        for shard in 0..shards {
            let answers = Arc::clone(&answers);
            let request = ReportRequest { routes: true, ..ReportRequest::default() };
            let answer = Box::new(move |report| answers.lock().unwrap().push(report));
            up.voices.tell(shard, Control::Report { request, answer });
        }
        let done = |_: &mut _| answers.lock().unwrap().len() == usize::from(shards);
        self.sim.run_until(done, STEPS_MAX).unwrap();
        std::mem::take(&mut *answers.lock().unwrap())
    }

    /// Ends all servers, and looks at what they leave: nothing.
    pub fn end(&mut self) {
        for node in 0..self.shape.nodes {
            self.dials += self.control(node).dials;
        }
        for up in self.nodes.iter().filter_map(|node| node.up.as_ref()) {
            up.has_ended.store(true, Relaxed);
            (0..self.shape.shards).for_each(|shard| up.voices.tell(shard, Control::End));
        }
        let has_ended = |sim: &mut Simulation<Turning>| {
            sim.nodes().all(|node| match node {
                Turning::Shard(shard) => {
                    shard.engine_mut().has_ended() && shard.ring_mut().sockets_open() == 0
                }
                Turning::Control(_) => true,
            })
        };
        self.sim.run_until(has_ended, STEPS_MAX).unwrap();
        for node in 0..self.shape.nodes {
            self.check_nothing_left(node);
        }
        assert_eq!(self.sim.world().counts().leases_held_over, 0, "leases outlive their turn");
    }

    fn check_nothing_left(&mut self, node: usize) {
        let up = self.nodes[node].up.as_ref().expect("a server that is up");
        for ring in &up.rings {
            let Some(Turning::Shard(shard)) = self.sim.node(*ring) else { panic!("no shard") };
            assert_eq!(shard.ring_mut().leases_held(), 0, "receive buffers are held");
            assert_eq!(shard.ring_mut().in_flight(), 0, "operations are in flight");
        }
        assert_eq!(up.shared.clients.load(Relaxed), 0, "clients are counted");
        assert_eq!(up.shared.pending_bytes.load(Relaxed), 0, "bytes are counted");
        assert_eq!(
            up.shared.inbound_bytes.load(Relaxed),
            0,
            "bytes are held for the control plane"
        );
        for report in self.reports(node) {
            assert_eq!(report.connections_open, 0, "connections are open");
            assert_eq!(report.routes_open, 0, "routes are open");
            assert_eq!(report.subscriptions_open, 0, "subscriptions are left");
            assert_eq!(report.subscriptions_routed, 0, "interest is left");
            assert_eq!(report.pending_bytes, 0, "bytes are queued");
            assert_eq!(report.held_publishers, 0, "publishers are held");
        }
    }

    fn dedicated(&self) -> Vec<String> {
        let has_pool = self.shape.pool_size.is_some();
        (self.shape.dedicated && has_pool).then(|| "$SYS".to_owned()).into_iter().collect()
    }

    fn mesh_options(&mut self, node: usize, id: &str) -> MeshOptions {
        let seeds = (0..self.shape.seeds).filter(|seed| *seed != node);
        let routes = seeds.map(|seed| RouteUrl {
            host: self.nodes[seed].ip.to_string(),
            port: ROUTE_PORT,
            auth: None,
        });
        let ip = self.nodes[node].ip;
        let mut options = MeshOptions {
            server_id: id.to_owned(),
            server_name: format!("n{node}"),
            version: "2.15.1".to_owned(),
            cluster: self.shape.named.then(|| "C".to_owned()),
            host: "0.0.0.0".to_owned(),
            port: ROUTE_PORT,
            interfaces: vec![ip],
            routes: routes.collect(),
            pool_size: self.shape.pool_size,
            accounts: self.dedicated().into_iter().collect(),
            accounts_known: ["$G".to_owned(), "$SYS".to_owned()].into(),
            client_urls: vec![format!("{ip}:{CLIENT_PORT}")],
            headers: true,
            max_payload: 1 << 20,
            ..MeshOptions::default()
        };
        let modes = &self.shape.compressions;
        options.compression = Some(modes[self.rng.below(modes.len())]);
        options
    }

    fn engine_options(&self, node: usize, id: &str) -> EngineOptions {
        let info = ServerInfo {
            server_id: id.to_owned(),
            server_name: format!("n{node}"),
            host: self.nodes[node].ip.to_string(),
            port: CLIENT_PORT,
            headers: true,
            max_payload: 1 << 20,
            ..ServerInfo::default()
        };
        let auth = AuthConfig {
            method: AuthMethod::None,
            no_auth_user: None,
            lets_anonymous_in: false,
            timeout: Duration::from_secs(2),
        };
        let outbound =
            OutboundLimits { max_pending: 64 << 20, write_deadline: Duration::from_secs(5) };
        EngineOptions {
            limits: ClientLimits {
                max_payload: 1 << 20,
                max_control_line: 4096,
                max_connections: 65_536,
                max_subscriptions: 0,
                max_sub_tokens: 0,
            },
            outbound,
            max_pending_total: 1 << 30,
            ping_interval: self.shape.ping_interval,
            ping_max: 2,
            auth: Arc::new(Authenticator::new(auth)),
            auth_timeout: Duration::from_secs(2),
            headers: true,
            changes_a_turn: self.shape.changes_a_turn,
            info: InfoTemplate::new(&info),
            closes_late: false,
            drop_for_slow: false,
            max_closed: 100,
            trace: None,
            sublist_cache: true,
            server_name: format!("n{node}").into(),
            server_id: id.into(),
            cluster_name: if self.shape.named { "C" } else { "" }.into(),
            accounts: Arc::default(),
            routes: RouteOptions {
                enabled: true,
                outbound,
                ping_interval: self.shape.ping_interval,
                pool_size: self.shape.pool_size.unwrap_or(1),
                barrier: self.shape.barrier,
                closes_late: self.shape.closes_late,
                ..RouteOptions::default()
            },
        }
    }
}

fn connect_bells(mail: &mut Mailboxes<Control>, bells: &[ring::Doorbell]) {
    let own = mail.shard;
    for (other, bell) in (0..).zip(bells).filter(|(other, _)| *other != own) {
        mail.set_bell(other, bell.clone());
    }
}
