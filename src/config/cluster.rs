//! The cluster's options: checked, typed, with their defaults filled in.
//!
//! They know no key and no flag.
//!
//! Invariant: a [`ClusterOptions`] that was loaded has passed every check, also those across
//! options.

use std::time::Duration;

use super::options::{Advertise, WriteTimeout};
use super::permissions::RoutePermissions;
use super::route_url::{CLUSTER_PORT_DEFAULT, RouteUrl};
use super::tls::TlsOptions;
use crate::transport::Mode;

/// `cluster {}` and its flags.
#[derive(Clone, PartialEq)]
pub struct ClusterOptions {
    /// `name`; `None` lets the servers of the cluster agree on a generated one.
    pub name: Option<String>,
    /// `host`, `net` or the host of `listen`: the address to listen on.
    pub host: String,
    /// `port` or the port of `listen`; 0 lets the system choose. `None`: no route is accepted and
    /// none is dialled, there is only a name. The server writes the bound port back, so that a
    /// reload compares with it.
    pub port: Option<u16>,
    /// `advertise`, `cluster_advertise`: the address told to other servers.
    pub advertise: Option<Advertise>,
    /// `no_advertise`: clients are told no other server's address.
    pub no_advertise: bool,
    /// `routes`: the servers to dial, each once, in the order given; one may be this server.
    pub routes: Vec<RouteUrl>,
    /// `authorization`, or `user` and `password` in the block: whom a route has to be.
    pub authorization: Option<RouteAuthorization>,
    /// `authorization.timeout`: how long a route may take to authenticate.
    pub auth_timeout: Duration,
    /// `connect_retries`: dials of a gossiped address after the first; configured ones never end.
    pub connect_retries: u32,
    /// `connect_backoff`: wait twice as long after each failed dial, from one second up to thirty.
    pub connect_backoff: bool,
    /// `pool_size`: connections that the accounts share; `None` is no pooling, as old peers have.
    pub pool_size: Option<u16>,
    /// `accounts` with connections of their own, each once. The system account is among them, if
    /// there is one and connections are pooled.
    pub accounts: Vec<String>,
    /// `compression`.
    pub compression: Mode,
    /// `compression.rtt_thresholds`: the round trips up to which `s2_auto` takes uncompressed, fast
    /// and better; zero leaves that level out. One to four of them.
    pub rtt_thresholds: Vec<Duration>,
    /// `ping_interval`, at most [`PING_INTERVAL_MAX`].
    pub ping_interval: Duration,
    /// `ping_max`: unanswered pings before a route is stale.
    pub ping_max: u32,
    /// `write_deadline`: how long queued bytes may make no progress.
    pub write_deadline: Duration,
    /// `write_timeout`: what happens at the deadline.
    pub write_timeout: WriteTimeout,
    /// `permissions`: what interest and messages may cross; `None` is everything.
    pub permissions: Option<RoutePermissions>,
    /// `tls`: both sides show certificates; `None` speaks plainly.
    pub tls: Option<TlsOptions>,
    /// `max_pending`, our own: bytes that may wait for one route.
    pub max_pending: u64,
}

/// Shows no password.
impl std::fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("name", &self.name)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

impl Default for ClusterOptions {
    /// A cluster that listens on its usual port and dials nobody.
    fn default() -> Self {
        Self {
            name: None,
            host: "0.0.0.0".into(),
            port: Some(CLUSTER_PORT_DEFAULT),
            advertise: None,
            no_advertise: false,
            routes: Vec::new(),
            authorization: None,
            auth_timeout: AUTH_TIMEOUT_DEFAULT,
            connect_retries: 0,
            connect_backoff: false,
            pool_size: Some(POOL_SIZE_DEFAULT),
            accounts: vec!["$SYS".into()],
            compression: Mode::Accept,
            rtt_thresholds: RTT_THRESHOLDS_DEFAULT.to_vec(),
            ping_interval: PING_INTERVAL_MAX,
            ping_max: 2,
            write_deadline: Duration::from_secs(10),
            write_timeout: WriteTimeout::Default,
            permissions: None,
            tls: None,
            max_pending: MAX_PENDING_DEFAULT,
        }
    }
}

/// Whom a route has to be.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteAuthorization {
    /// The user, never empty.
    pub user: String,
    /// The password, plain or bcrypt; may be empty.
    pub password: String,
}

impl std::fmt::Debug for RouteAuthorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteAuthorization").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Routes are pinged at least this often.
pub const PING_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Pooled connections unless `pool_size` says otherwise: the peer's number, because both ends of
/// a route have to agree on it.
pub(super) const POOL_SIZE_DEFAULT: u16 = 3;

/// Bytes that may wait for one route: four times what may wait for one client, because a route
/// carries the traffic of many.
pub(super) const MAX_PENDING_DEFAULT: u64 = 256 << 20;

pub(super) const AUTH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// The round trips at which `s2_auto` changes its level.
const RTT_THRESHOLDS_DEFAULT: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(100)];
