//! The mesh itself: its tables, and which event goes where.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use ring::Time;

use crate::auth::{AuthConfig, AuthMethod, Authenticator, User};
use crate::close::CloseReason;
use crate::engine::RouteEvent;
use crate::ids::ConnId;
use crate::proto::info::LANGUAGE;
use crate::proto::route_info::{Ringmesh, RouteInfo};
use crate::transport::Mode;

use super::conn::{Conn, Remote, Role};
use super::event::{Action, Event};
use super::options::MeshOptions;
use super::target::{Attempt, Endpoint, Name, Target, Want};
use super::urls::ClientUrls;

/// The cluster as this server sees it.
#[derive(Debug)]
pub struct Mesh {
    pub(super) options: MeshOptions,
    pub(super) authenticator: Authenticator,
    pub(super) rng: Rng,
    pub(super) cluster: ClusterName,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) remotes: BTreeMap<String, Remote>,
    pub(super) targets: BTreeMap<Endpoint, Target>,
    pub(super) attempts: BTreeMap<Want, Attempt>,
    pub(super) names: BTreeMap<Endpoint, Name>,
    pub(super) urls: ClientUrls,
    /// Accounts that peers told to have connections of their own, whether configured here or not.
    pub(super) told: BTreeSet<String>,
    /// What peers were asked since the configuration was read: the account, by the question's name.
    pub(super) questions: BTreeMap<String, String>,
    pub(super) is_lame: bool,
    /// Names dials and lookups.
    pub(super) last_id: u64,
}

/// What the cluster is called.
#[derive(Debug)]
pub(super) struct ClusterName {
    pub(super) name: String,
    /// Whether it gives way to a configured name.
    pub(super) is_dynamic: bool,
    /// Whether it was made up here, which is what peers are told, whatever became of it.
    pub(super) was_made_up: bool,
}

/// One call: its time, and what is to be done.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    pub(super) out: &'a mut Vec<Action>,
}

impl Mesh {
    /// A mesh of one server. It dials with the first [`expire`](Self::expire).
    #[must_use]
    pub fn new(options: MeshOptions, seed: u64, now: Time) -> Self {
        let mut rng = Rng::with_seed(seed);
        let cluster = ClusterName::new(options.cluster.as_deref(), &mut rng);
        let mut mesh = Self {
            authenticator: authenticator(&options),
            rng,
            cluster,
            conns: BTreeMap::new(),
            remotes: BTreeMap::new(),
            targets: BTreeMap::new(),
            attempts: BTreeMap::new(),
            names: BTreeMap::new(),
            urls: ClientUrls::new(options.client_urls.clone()),
            told: BTreeSet::new(),
            questions: BTreeMap::new(),
            is_lame: false,
            last_id: 0,
            options,
        };
        tracing::info!("Cluster name is {}", mesh.cluster.name);
        if mesh.cluster.was_made_up {
            tracing::warn!("Cluster name was dynamically generated, consider setting one");
        }
        mesh.add_configured_routes(now);
        mesh
    }

    /// The name of the cluster, as far as it is agreed.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.cluster.name
    }

    /// Takes what happened, and appends what is to be done.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let turn = &mut Turn { now, out };
        match event {
            Event::Route(seen) => self.handle_route(seen, turn),
            Event::Verdict { conn, accepted } => self.handle_verdict(conn, accepted, turn),
            Event::Resolved { lookup, addresses } => self.handle_resolved(lookup, addresses, turn),
            Event::ClientUrls(urls) => {
                self.options.client_urls.clone_from(&urls);
                if self.urls.set_own(urls) {
                    turn.out.push(Action::ClientUrls(self.urls.list()));
                }
            }
            Event::LameDuck => self.handle_lame_duck(turn),
            Event::Leaving { id } => self.peer_leaves(&id, turn.now),
            Event::Options(options) => self.handle_options(*options, turn),
        }
    }

    fn handle_route(&mut self, seen: RouteEvent, turn: &mut Turn<'_>) {
        match seen {
            RouteEvent::Accepted { conn, rid, peer } => {
                self.handle_accepted(conn, Conn::new(rid, peer, Role::Acceptor), turn);
            }
            RouteEvent::Dialed { dial, conn, rid, peer } => {
                self.handle_dialed(dial, conn, (rid, peer), turn);
            }
            RouteEvent::DialFailed { dial, error } => self.handle_dial_failed(dial, &error, turn),
            RouteEvent::Connect { conn, json } => self.handle_connect(conn, &json, turn),
            RouteEvent::Info { conn, json } => self.handle_info(conn, &json, turn),
            RouteEvent::Pong { conn, rtt } => self.handle_pong(conn, rtt, turn),
            RouteEvent::Refused { conn, text } => self.handle_refused(conn, &text, turn),
            RouteEvent::Closed { conn, reason } => self.handle_closed(conn, reason, turn),
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let repairs = self.remotes.values().filter_map(|remote| remote.repair_at);
        self.dialing_deadline().into_iter().chain(repairs).min()
    }

    /// Does what has come due.
    pub fn expire(&mut self, now: Time, out: &mut Vec<Action>) {
        let turn = &mut Turn { now, out };
        self.expire_repairs(turn);
        self.expire_names(turn);
        self.expire_attempts(turn);
        // Gossiped addresses that nobody has answered at for long.
        self.forget_targets(|target| target.forget_at <= turn.now);
    }

    /// A number for a dial or a lookup.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// What this server says of itself.
    pub(super) fn own_info(&self) -> RouteInfo {
        let options = &self.options;
        let (host, port) = options.advertised();
        let ip = match &options.advertise {
            Some((host, port)) => Endpoint::new(host, *port).url(),
            None => String::new(),
        };
        RouteInfo {
            server_id: options.server_id.clone(),
            server_name: options.server_name.clone(),
            version: options.version.clone(),
            proto: PROTOCOL,
            go: LANGUAGE.to_owned(),
            host: host.to_owned(),
            port: port.into(),
            headers: options.headers,
            auth_required: self.authenticator.required(),
            tls_required: options.tls,
            tls_verify: options.tls,
            max_payload: options.max_payload.into(),
            ip,
            cluster: self.cluster.name.clone(),
            cluster_dynamic: self.cluster.was_made_up,
            connect_urls: if options.no_advertise {
                Vec::new()
            } else {
                options.client_urls.clone()
            },
            import: options.import.clone(),
            export: options.export.clone(),
            lnoc: true,
            lnocu: true,
            ln: true,
            route_pool_size: options.pool_size.map_or(0, i64::from),
            ringmesh: Some(Ringmesh { v: EXTENSION_VERSION, caps: CAPS.map(str::to_owned).into() }),
            ..RouteInfo::default()
        }
    }

    /// What this server says of itself on a new connection, with the mode it has or chose.
    pub(super) fn first_info(&self, compression: Mode) -> RouteInfo {
        // What auto comes to changes with the round trip, so peers are told the mode itself.
        let told = if self.options.mode() == Mode::Auto { Mode::Auto } else { compression };
        RouteInfo { compression: Some(told.as_str().to_owned()), ..self.own_info() }
    }
}

impl Turn<'_> {
    pub(super) fn close(&mut self, conn: ConnId, reason: CloseReason, error: Option<String>) {
        self.out.push(Action::Close { conn, reason, error });
    }

    pub(super) fn send_info(&mut self, conn: ConnId, info: &RouteInfo) {
        let mut bytes = Vec::new();
        info.encode_info_line(&mut bytes);
        self.out.push(Action::Send { conn, bytes });
    }
}

impl ClusterName {
    pub(super) fn new(configured: Option<&str>, rng: &mut Rng) -> Self {
        match configured {
            Some(name) => Self { name: name.to_owned(), is_dynamic: false, was_made_up: false },
            None => {
                let name = (0..MADE_UP_NAME_LEN).map(|_| rng.alphanumeric()).collect();
                Self { name, is_dynamic: true, was_made_up: true }
            }
        }
    }
}

/// Checks what dialling servers show.
pub(super) fn authenticator(options: &MeshOptions) -> Authenticator {
    let method = match &options.auth {
        Some(auth) => AuthMethod::User(User {
            name: auth.user.clone(),
            password: auth.password.clone(),
            account: crate::ids::AccountId::GLOBAL,
        }),
        None => AuthMethod::None,
    };
    // How long a peer may take is the business of its shard.
    let timeout = std::time::Duration::ZERO;
    Authenticator::new(AuthConfig { method, no_auth_user: None, lets_anonymous_in: false, timeout })
}

/// The level of the route protocol: accounts, but no message traces yet.
const PROTOCOL: i64 = 2;

/// The version of what a Ringmesh tells others beyond the protocol.
const EXTENSION_VERSION: i64 = 1;

/// This server picks one of two simultaneous dials by the smaller id.
const CAP_PICK: &str = "pick";

/// This server knows the mark of messages that only their queue groups get.
pub(super) const CAP_QUEUES_ONLY: &str = "queues-only";

/// This server keeps interest when a connection is lost, and goes on from there when it comes back.
pub(super) const CAP_INTEREST_GRACE: &str = "interest-grace";

/// What this server can do beyond the protocol.
const CAPS: [&str; 3] = [CAP_PICK, CAP_QUEUES_ONLY, CAP_INTEREST_GRACE];

/// As long as the names that peers make up.
const MADE_UP_NAME_LEN: usize = 22;

/// How many servers a mesh takes. Each costs a few kilobytes and some connections, and all are
/// gone through for each gossip.
pub(super) const REMOTES_MAX: usize = 1024;

/// How many connections may be in the middle of a handshake that peers began.
pub(super) const HANDSHAKES_MAX: usize = 1024;
