//! A network of meshes in one thread, with a clock of its own: everything that happens comes from
//! one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use ring::{Time, Token};

use crate::close::CloseReason;
use crate::cluster::{Action, Event, Lane, Mesh, MeshOptions, Registration};
use crate::engine::RouteEvent;
use crate::ids::ConnId;

/// Where a server is and what it is told.
pub(super) type MakeOptions = fn(node: usize, id: String, rng: &mut Rng) -> MeshOptions;

pub(super) struct World {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) nodes: Vec<Node>,
    pub(super) dials: usize,
    pub(super) gossip: usize,
    /// Pairs of servers that cannot reach each other.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Which servers are taken for the peers' own, and take others so.
    pub(super) is_foreign: fn(usize) -> bool,
    pub(super) latency_max: Duration,
    conns: BTreeMap<End, Socket>,
    queue: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    made: u64,
    make_options: MakeOptions,
}

pub(super) struct Node {
    /// None while it is down.
    pub(super) mesh: Option<Mesh>,
    pub(super) life: u32,
    pub(super) client_urls: Vec<String>,
    options: MeshOptions,
}

/// One end of a connection: the server, in which of its lives, and its name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    node: usize,
    life: u32,
    conn: ConnId,
}

struct Socket {
    peer: End,
    inbox: VecDeque<Line>,
    /// Parsing waits for an answer of the mesh.
    waits: bool,
    reads_s2: bool,
    writes_s2: bool,
    registration: Option<Registration>,
    /// When what was sent last arrives: nothing overtakes on one connection.
    last_arrival: Time,
    pinged: VecDeque<Time>,
    /// What was sent since falls on the floor.
    is_cut: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    text: String,
    is_s2: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrives { at: End, line: Line },
    Eof { at: End },
    DialArrives { from: usize, life: u32, dial: u64, to: SocketAddr },
    DialEnds { from: usize, life: u32, dial: u64, reached: Option<End> },
    Resolved { node: usize, life: u32, lookup: u64 },
    Wake { node: usize, life: u32 },
    PingAll,
}

impl World {
    pub(super) fn new(nodes: usize, seed: u64, make_options: MakeOptions) -> Self {
        let mut world = Self {
            now: Time::from_nanos(1_000_000_000),
            rng: Rng::with_seed(seed),
            nodes: Vec::new(),
            dials: 0,
            gossip: 0,
            cut: BTreeSet::new(),
            is_foreign: |_| false,
            latency_max: Duration::from_millis(20),
            conns: BTreeMap::new(),
            queue: BinaryHeap::new(),
            made: 0,
            make_options,
        };
        world.later(PING_INTERVAL, Happening::PingAll);
        for node in 0..nodes {
            let options = world.options(node);
            world.nodes.push(Node { mesh: None, life: 0, client_urls: Vec::new(), options });
        }
        world
    }

    fn options(&mut self, node: usize) -> MeshOptions {
        let id = format!("N{:08X}", self.rng.u32(..));
        (self.make_options)(node, id, &mut self.rng)
    }

    pub(super) fn start(&mut self, node: usize) {
        assert!(self.nodes[node].mesh.is_none());
        let seed = self.rng.u64(..);
        if self.nodes[node].life > 0 {
            self.nodes[node].options = self.options(node);
        }
        let mesh = Mesh::new(self.nodes[node].options.clone(), seed, self.now);
        self.nodes[node].life += 1;
        self.nodes[node].mesh = Some(mesh);
        self.wake(node);
    }

    /// Others hear in the system account that a server stops, whether it does or not.
    pub(super) fn say_goodbye(&mut self, node: usize) {
        let id = self.nodes[node].options.server_id.clone();
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if self.nodes[other].mesh.is_some() && self.rng.bool() {
                self.tell(other, Event::Leaving { id: id.clone() });
            }
        }
    }

    /// Ends a server at once. Its peers notice, or not before a PING would have told.
    pub(super) fn kill(&mut self, node: usize, silently: bool) {
        self.nodes[node].mesh = None;
        let ends: Vec<_> = self.conns.keys().filter(|end| end.node == node).copied().collect();
        for end in ends {
            if let Some(socket) = self.conns.remove(&end) {
                self.announce_eof(socket.peer, silently);
            }
        }
    }

    /// Cuts the network between two servers, or mends it.
    pub(super) fn set_cut(&mut self, one: usize, other: usize, is_cut: bool) {
        let pair = (one.min(other), one.max(other));
        if !is_cut {
            self.cut.remove(&pair);
            return;
        }
        self.cut.insert(pair);
        let ends: Vec<_> = self
            .conns
            .iter()
            .filter(|(end, socket)| {
                let ends = (end.node.min(socket.peer.node), end.node.max(socket.peer.node));
                ends == pair && !socket.is_cut
            })
            .map(|(end, _)| *end)
            .collect();
        for end in ends {
            if let Some(socket) = self.conns.get_mut(&end) {
                socket.is_cut = true;
            }
            self.announce_eof(end, true);
        }
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(Reverse((at, _, _))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, happening))) = self.queue.pop() else { break };
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    /// Lets time pass until the cluster is whole, for so long at most.
    pub(super) fn run_until_whole(&mut self, most: Duration) -> Duration {
        let start = self.now;
        while self.defects().is_some() {
            let passed = self.now.since(start);
            assert!(passed < most, "not whole: {}", self.defects().unwrap_or_default());
            self.run(Duration::from_millis(50));
        }
        self.now.since(start)
    }

    /// What is wrong with the connections between the servers that are up.
    pub(super) fn defects(&self) -> Option<String> {
        let mut lanes: BTreeMap<(usize, usize, Lane), usize> = BTreeMap::new();
        for (end, socket) in &self.conns {
            let (a, b) = (end.node, socket.peer.node);
            let Some(registration) = &socket.registration else {
                return Some(format!("{a} to {b}: one in the middle of its handshake"));
            };
            if !self.conns.contains_key(&socket.peer) {
                return Some(format!("{a} to {b}: half open"));
            }
            *lanes.entry((a, b, registration.lane.clone())).or_default() += 1;
        }
        let up: Vec<_> = (0..self.nodes.len()).filter(|n| self.nodes[*n].mesh.is_some()).collect();
        let mut expected = 0;
        for (&one, &other) in up.iter().flat_map(|a| up.iter().map(move |b| (a, b))) {
            if one == other {
                continue;
            }
            for lane in self.expected_lanes(one, other) {
                expected += 1;
                let found = lanes.get(&(one, other, lane.clone())).copied().unwrap_or_default();
                if found != 1 {
                    return Some(format!("{one} to {other}: {lane:?} {found} times"));
                }
            }
        }
        let found: usize = lanes.values().sum();
        (found != expected).then(|| format!("{found} connections instead of {expected}"))
    }

    fn expected_lanes(&self, one: usize, other: usize) -> Vec<Lane> {
        let (one, other) = (&self.nodes[one].options, &self.nodes[other].options);
        match (one.pool_size, other.pool_size) {
            (Some(a), Some(b)) => {
                let accounts = one.accounts.intersection(&other.accounts);
                let accounts = accounts.map(|account| Lane::Account(account.clone()));
                (0..a.max(b)).map(Lane::Pool).chain(accounts).collect()
            }
            _ => vec![Lane::Everything],
        }
    }

    /// What every server says of its own links.
    pub(super) fn missing_links(&self) -> usize {
        let up = self.nodes.iter().filter_map(|node| node.mesh.as_ref());
        up.map(Mesh::missing_links).sum()
    }

    pub(super) fn set_options(&mut self, node: usize, change: impl Fn(&mut MeshOptions)) {
        change(&mut self.nodes[node].options);
        let options = Box::new(self.nodes[node].options.clone());
        self.tell(node, Event::Options(options));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { at, line } => {
                if let Some(socket) = self.conns.get_mut(&at)
                    && !socket.is_cut
                {
                    socket.inbox.push_back(line);
                    self.parse(at);
                }
            }
            Happening::Eof { at } => {
                if self.conns.remove(&at).is_some() && self.nodes[at.node].life == at.life {
                    let reason = CloseReason::ClientClosed;
                    self.tell(at.node, RouteEvent::Closed { conn: at.conn, reason });
                }
            }
            Happening::DialArrives { from, life, dial, to } => self.connect(from, life, dial, to),
            Happening::DialEnds { from, life, dial, reached } => {
                self.dial_ends(from, life, dial, reached);
            }
            Happening::Resolved { node, life, lookup } => {
                if self.nodes[node].life == life {
                    let all = (0..self.nodes.len()).map(address).collect();
                    self.tell(node, Event::Resolved { lookup, addresses: Ok(all) });
                }
            }
            Happening::PingAll => self.ping_all(),
            Happening::Wake { node, life } => {
                if self.nodes[node].life == life {
                    self.wake(node);
                }
            }
        }
    }

    /// Every connection that is not dead carries a PING and a PONG now and then.
    fn ping_all(&mut self) {
        let is_alive = |socket: &Socket| {
            let peer = self.conns.get(&socket.peer);
            socket.registration.is_some() && !socket.is_cut && peer.is_some()
        };
        let alive = self.conns.iter().filter(|(_, socket)| is_alive(socket));
        let alive: Vec<_> = alive.map(|(end, _)| *end).collect();
        for End { node, conn, .. } in alive {
            self.tell(node, RouteEvent::Pong { conn, rtt: self.latency_max });
        }
        self.later(PING_INTERVAL, Happening::PingAll);
    }

    fn connect(&mut self, from: usize, life: u32, dial: u64, to: SocketAddr) {
        let node = usize::from(to.port() - PORT);
        let is_cut = self.cut.contains(&(from.min(node), from.max(node)));
        let is_up = self.nodes.get(node).is_some_and(|node| node.mesh.is_some());
        if self.nodes[from].life != life || self.nodes[from].mesh.is_none() {
            return;
        }
        if is_cut || !is_up {
            let delay = if is_cut { Duration::from_secs(1) } else { self.latency() };
            return self.later(delay, Happening::DialEnds { from, life, dial, reached: None });
        }
        let (here, there) = (self.end(node), self.end(from));
        self.conns.insert(here, Socket::new(there, self.now));
        // The dialler reads nothing before it knows of its connection.
        self.conns.insert(there, Socket { waits: true, ..Socket::new(here, self.now) });
        let delay = self.latency();
        self.later(delay, Happening::DialEnds { from, life, dial, reached: Some(there) });
        let (conn, rid) = (here.conn, self.made);
        self.tell(node, RouteEvent::Accepted { conn, rid, peer: ephemeral(from) });
    }

    fn dial_ends(&mut self, from: usize, life: u32, dial: u64, reached: Option<End>) {
        if self.nodes[from].life != life || self.nodes[from].mesh.is_none() {
            return;
        }
        let Some(end) = reached else {
            let error = "connection refused".to_owned();
            return self.tell(from, RouteEvent::DialFailed { dial, error });
        };
        match self.conns.get_mut(&end) {
            Some(socket) => {
                socket.waits = false;
                let peer = address(socket.peer.node);
                let (conn, rid) = (end.conn, self.made);
                self.tell(from, RouteEvent::Dialed { dial, conn, rid, peer });
                self.parse(end);
            }
            None => self.tell(from, RouteEvent::DialFailed { dial, error: "reset".to_owned() }),
        }
    }

    fn end(&mut self, node: usize) -> End {
        self.made += 1;
        let index = u32::try_from(self.made).unwrap();
        End {
            node,
            life: self.nodes[node].life,
            conn: ConnId { shard: 0, token: Token::new(index, 0) },
        }
    }

    /// Reads what has arrived, as far as the mesh lets.
    fn parse(&mut self, at: End) {
        while let Some(socket) = self.conns.get_mut(&at) {
            if socket.waits {
                return;
            }
            let Some(line) = socket.inbox.pop_front() else { return };
            assert_eq!(line.is_s2, socket.reads_s2, "compressed or not: {}", line.text);
            let is_registered = socket.registration.is_some();
            let conn = at.conn;
            let event = match line.text.split_once(' ').unwrap_or((&line.text, "")) {
                ("PING", _) => {
                    self.send(at, "PONG".to_owned());
                    continue;
                }
                ("PONG", _) => {
                    let sent = socket.pinged.pop_front().unwrap();
                    RouteEvent::Pong { conn, rtt: self.now.since(sent) }
                }
                ("CONNECT", json) => {
                    socket.waits = !is_registered;
                    RouteEvent::Connect { conn, json: json.trim().into() }
                }
                ("INFO", json) => {
                    socket.waits = !is_registered;
                    RouteEvent::Info { conn, json: json.trim().into() }
                }
                other => panic!("{other:?}"),
            };
            self.tell(at.node, event);
        }
    }

    pub(super) fn tell(&mut self, node: usize, event: impl Into<Event>) {
        let mut out = Vec::new();
        if let Some(mesh) = &mut self.nodes[node].mesh {
            mesh.handle(self.now, event.into(), &mut out);
        }
        self.act(node, out);
    }

    fn wake(&mut self, node: usize) {
        let mut out = Vec::new();
        if let Some(mesh) = &mut self.nodes[node].mesh {
            if mesh.deadline().is_some_and(|at| at > self.now) {
                return self.plan_wake(node);
            }
            mesh.expire(self.now, &mut out);
        }
        self.act(node, out);
    }

    fn plan_wake(&mut self, node: usize) {
        let Some(mesh) = &self.nodes[node].mesh else { return };
        if let Some(at) = mesh.deadline() {
            let life = self.nodes[node].life;
            self.at(at.max(self.now), Happening::Wake { node, life });
        }
    }

    fn act(&mut self, node: usize, actions: Vec<Action>) {
        let life = self.nodes[node].life;
        let mut resumed = Vec::new();
        for action in actions {
            match action {
                Action::Resolve { lookup, .. } => {
                    self.later(LOOKUP, Happening::Resolved { node, life, lookup });
                }
                Action::Dial { dial, address, .. } => {
                    self.dials += 1;
                    let delay = self.latency();
                    self.later(
                        delay,
                        Happening::DialArrives { from: node, life, dial, to: address },
                    );
                }
                Action::CheckPassword { .. } => panic!("no hashes here"),
                Action::ClientUrls(urls) => self.nodes[node].client_urls = urls,
                Action::ClusterName(_)
                | Action::RemoteJoined { .. }
                | Action::RemoteLeft { .. }
                | Action::ForgetAccount { .. }
                | Action::SetApart { .. }
                | Action::SetSolicited { .. }
                | Action::PeerRules { .. } => {}
                Action::Send { conn, bytes } => self.send_lines(End { node, life, conn }, &bytes),
                Action::Ping { conn } => {
                    let end = End { node, life, conn };
                    let now = self.now;
                    self.conns.get_mut(&end).unwrap().pinged.push_back(now);
                    self.send(end, "PING".to_owned());
                }
                Action::Compress { conn, mode } => {
                    assert!(mode.compresses());
                    let socket = self.conns.get_mut(&End { node, life, conn }).unwrap();
                    assert!(!socket.reads_s2);
                    (socket.reads_s2, socket.writes_s2) = (true, true);
                }
                Action::Register { conn, registration } => {
                    let end = End { node, life, conn };
                    let socket = self.conns.get_mut(&end).unwrap();
                    assert!(socket.waits && socket.registration.is_none());
                    socket.waits = false;
                    socket.registration = Some(*registration);
                    resumed.push(end);
                }
                Action::Continue { conn } => {
                    let end = End { node, life, conn };
                    let socket = self.conns.get_mut(&end).unwrap();
                    assert!(socket.waits, "who does not wait is not let go on");
                    socket.waits = false;
                    resumed.push(end);
                }
                Action::Close { conn, .. } => {
                    // It may have ended by itself, which the mesh is about to hear.
                    if let Some(socket) = self.conns.remove(&End { node, life, conn }) {
                        self.announce_eof(socket.peer, socket.is_cut);
                    }
                }
            }
        }
        self.plan_wake(node);
        for end in resumed {
            self.parse(end);
        }
    }

    fn send_lines(&mut self, from: End, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        for line in text.split_inclusive("\r\n") {
            let line = line.strip_suffix("\r\n").expect("whole lines");
            if let Some(json) = line.strip_prefix("INFO ") {
                let info: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
                let id = &self.nodes[from.node].options.server_id;
                self.gossip += usize::from(info["server_id"] != id.as_str());
            }
            self.send(from, line.to_owned());
        }
    }

    fn send(&mut self, from: End, mut text: String) {
        let latency = self.latency();
        let Some(socket) = self.conns.get_mut(&from) else { return };
        let peer = socket.peer;
        if (self.is_foreign)(from.node) || (self.is_foreign)(peer.node) {
            let ours =
                ",\"ringmesh\":{\"v\":1,\"caps\":[\"pick\",\"queues-only\",\"interest-grace\"]}";
            text = text.replace(ours, "");
        }
        socket.last_arrival = socket.last_arrival.max(self.now + latency);
        let at = socket.last_arrival;
        let line = Line { text, is_s2: socket.writes_s2 };
        if !socket.is_cut {
            self.at(at, Happening::Arrives { at: peer, line });
        }
    }

    fn announce_eof(&mut self, at: End, silently: bool) {
        let delay =
            if silently { Duration::from_millis(self.rng.u64(0..5000)) } else { self.latency_max };
        self.later(delay, Happening::Eof { at });
    }

    fn latency(&mut self) -> Duration {
        let most = u64::try_from(self.latency_max.as_nanos()).unwrap();
        Duration::from_nanos(self.rng.u64(most / 100..=most))
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.made += 1;
        self.queue.push(Reverse((at, self.made, happening)));
    }
}

impl Socket {
    fn new(peer: End, now: Time) -> Self {
        Self {
            peer,
            inbox: VecDeque::new(),
            waits: false,
            reads_s2: false,
            writes_s2: false,
            registration: None,
            last_arrival: now,
            pinged: VecDeque::new(),
            is_cut: false,
        }
    }
}

/// Where the servers listen: all on one machine, by port.
pub(super) fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], PORT + u16::try_from(node).unwrap()))
}

fn ephemeral(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 40_000 + u16::try_from(node).unwrap()))
}

const PORT: u16 = 6000;

const PING_INTERVAL: Duration = Duration::from_secs(5);

const LOOKUP: Duration = Duration::from_millis(5);
