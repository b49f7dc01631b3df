//! What an engine is told from outside, and what it asks of the control thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use ring::Token;

use crate::account::Accounts;
use crate::auth::{Authenticator, HashJob};
use crate::close::CloseReason;
use crate::outbound::{Link, OutboundLimits};
use crate::proto::info::InfoTemplate;
use crate::report::{ReportRequest, ShardReport};
use crate::session::SubjectRule;
use crate::transport::Mode;
use crate::transport::tls::{TlsAcceptor, TlsConnector};

use super::{InternalOrder, RouteOrder, TraceOptions};

/// What clients may do.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Bytes of headers and payload of one message.
    pub max_payload: u32,
    /// Bytes of a control line's arguments.
    pub max_control_line: usize,
    /// Clients of the whole server.
    pub max_connections: usize,
    /// Subscriptions of one client; 0 for any number.
    pub max_subscriptions: usize,
    /// Tokens of a subscription's subject; 0 for any number.
    pub max_sub_tokens: usize,
}

/// An engine's share of the options.
pub struct EngineOptions {
    /// What clients may do.
    pub limits: ClientLimits,
    /// What may wait for one client.
    pub outbound: OutboundLimits,
    /// What may wait for all clients of the server, in bytes.
    pub max_pending_total: usize,
    /// Between PINGs.
    pub ping_interval: Duration,
    /// PINGs without an answer after which a client is stale.
    pub ping_max: u32,
    /// Who may log in.
    pub auth: Arc<Authenticator>,
    /// How long a client may take to log in.
    pub auth_timeout: Duration,
    /// Whether messages may have headers.
    pub headers: bool,
    /// Changes of interest that a turn makes, about.
    pub changes_a_turn: usize,
    /// What clients are told about the server.
    pub info: InfoTemplate,
    /// Messages for slow recipients are dropped, publishers never wait (`no_fast_producer_stall`).
    pub drop_for_slow: bool,
    /// Closed connections that are remembered for monitoring.
    pub max_closed: usize,
    /// What of the traffic is logged, if anything.
    pub trace: Option<TraceOptions>,
    /// Clients end that take longer than the deadline for one batch, although bytes leave
    /// (`write_timeout: close`).
    pub closes_late: bool,
    /// Whether subscriptions' match results are cached.
    pub sublist_cache: bool,
    /// The server's id.
    pub server_id: Arc<str>,
    /// The server's name.
    pub server_name: Arc<str>,
    /// The cluster's name; empty where there is none.
    pub cluster_name: Arc<str>,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// What holds for other servers.
    pub routes: RouteOptions,
}

impl EngineOptions {
    /// Whether a link ends that takes too long for one batch, although bytes leave.
    #[must_use]
    pub const fn closes_late(&self, link: &Link) -> bool {
        if link.lanes.is_some() { self.routes.closes_late } else { self.closes_late }
    }

    /// How long a link's bytes may wait while none leave.
    #[must_use]
    pub fn write_deadline(&self, link: &Link) -> Duration {
        self.outbound_of(link).write_deadline
    }

    /// Below so many waiting bytes a link that was slow has caught up.
    #[must_use]
    pub fn low_water(&self, link: &Link) -> usize {
        link.low_water(self.outbound_of(link))
    }

    fn outbound_of(&self, link: &Link) -> &OutboundLimits {
        if link.lanes.is_some() { &self.routes.outbound } else { &self.outbound }
    }
}

impl Default for RouteOptions {
    /// A server that stands alone.
    fn default() -> Self {
        Self {
            enabled: false,
            outbound: OutboundLimits {
                max_pending: 256 << 20,
                write_deadline: Duration::from_secs(10),
            },
            closes_late: false,
            auth_timeout: None,
            ping_interval: Duration::from_secs(30),
            ping_max: 2,
            pool_size: 1,
            import: SubjectRule::default(),
            export: SubjectRule::default(),
            compression: Mode::Accept,
            thresholds: Vec::new(),
            barrier: false,
            tls: None,
        }
    }
}

/// What connections to other servers show and want to see.
pub struct RouteTls {
    /// For those that dial.
    pub acceptor: TlsAcceptor,
    /// For those that are dialled.
    pub connector: TlsConnector,
    /// How long a handshake may take.
    pub timeout: Duration,
}

/// What holds for connections to other servers.
#[derive(Clone)]
pub struct RouteOptions {
    /// Whether there are any.
    pub enabled: bool,
    /// What may wait for one of them.
    pub outbound: OutboundLimits,
    /// The same as for clients: `cluster.write_timeout: close`.
    pub closes_late: bool,
    /// How long a server that dials may take to send CONNECT, where it must log in.
    pub auth_timeout: Option<Duration>,
    /// Between PINGs.
    pub ping_interval: Duration,
    /// PINGs without an answer after which a route is stale.
    pub ping_max: u32,
    /// How many places of a pool this server's accounts are shared out over.
    pub pool_size: u16,
    /// What this server announces of its interest.
    pub import: SubjectRule,
    /// What it accepts of other servers'.
    pub export: SubjectRule,
    /// How this server compresses where a connection is compressed; a mode that does not compress
    /// leaves it to what was agreed.
    pub compression: Mode,
    /// Round trips for `s2_auto`.
    pub thresholds: Vec<Duration>,
    /// A PONG tells a client that its subscriptions are known in the whole cluster.
    pub barrier: bool,
    /// Certificates, where connections use TLS.
    pub tls: Option<Arc<RouteTls>>,
}

impl RouteOptions {
    /// Whether the same interest crosses the same connections by both options.
    #[must_use]
    pub fn carries_alike(&self, other: &Self) -> bool {
        self.pool_size == other.pool_size
            && self.import == other.import
            && self.export == other.export
    }
}

/// What all shards of a server count together.
#[derive(Debug, Default)]
pub struct Shared {
    /// The next client's number.
    pub next_cid: AtomicU64,
    /// Clients that are connected.
    pub clients: AtomicUsize,
    /// Bytes that wait for clients.
    pub pending_bytes: AtomicUsize,
    /// Bytes that shards have handed to the control plane and it has not looked at.
    pub inbound_bytes: AtomicUsize,
}

/// What the control thread says to a shard.
pub enum Control {
    /// Whether a password is right.
    Verdict {
        /// The client that logs in; none for clients that are checked again.
        token: Option<Token>,
        /// The password and its hash.
        job: HashJob,
        /// What came of it.
        is_right: bool,
    },
    /// Answer with a report.
    Report {
        /// What is asked for.
        request: ReportRequest,
        /// Where the answer goes.
        answer: Box<dyn FnOnce(ShardReport) + Send>,
    },
    /// These options hold from now on.
    Options {
        /// The options.
        options: Arc<EngineOptions>,
        /// Log-ins are judged again.
        recheck: bool,
        /// Clients that understand it are sent the new INFO.
        announce: bool,
    },
    /// Something about routes.
    Route(RouteOrder),
    /// Something about the server's own messages.
    Internal(InternalOrder),
    /// Accept no more connections, and say when the listener is closed. For the shard that has it.
    StopAccepting(Box<dyn FnOnce() + Send>),
    /// Something about one client.
    Client {
        /// Its number.
        cid: u64,
        /// What is to be done with it.
        order: ClientOrder,
        /// Whether it is here.
        answer: Box<dyn FnOnce(bool) + Send>,
    },
    /// Close clients, as many as are left to close.
    CloseSome {
        /// How many; all shards that are told count down the same number.
        left: Arc<AtomicUsize>,
        /// Why; it decides what they are told.
        reason: CloseReason,
    },
    /// Close all clients, and end.
    End,
}

/// What is to be done with one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOrder {
    /// It is closed.
    Kick,
    /// It is told to find another server, as if this one were about to stop.
    Warn,
}

/// What a shard asks of the control thread.
pub enum Errand {
    /// Hash this client's password.
    Hash {
        /// The shard that asks.
        shard: u16,
        /// The client that logs in; none for clients that are checked again.
        token: Option<Token>,
        /// The work.
        job: HashJob,
    },
}
