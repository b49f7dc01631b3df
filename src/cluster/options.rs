//! What a mesh is told about its own server.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::proto::route_info::SubjectRules;
use crate::transport::Mode;

use super::target::Endpoint;

/// Everything that the mesh must know of its server. Taken apart from the configuration by who
/// makes the mesh; checked there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshOptions {
    /// The server's public key, new at each start.
    pub server_id: String,
    /// The server's name.
    pub server_name: String,
    /// The version that peers see.
    pub version: String,
    /// The configured name of the cluster; without one it is made up, and negotiated.
    pub cluster: Option<String>,
    /// Where routes are accepted; empty when they are not.
    pub host: String,
    /// The port that was bound.
    pub port: u16,
    /// The addresses of this machine, so that a name that leads back here is not dialled.
    pub interfaces: Vec<IpAddr>,
    /// What peers are told instead of `host` and `port`.
    pub advertise: Option<(String, u16)>,
    /// Whether clients are told nothing of the cluster, and the cluster nothing of clients' ports.
    pub no_advertise: bool,
    /// The configured routes.
    pub routes: Vec<RouteUrl>,
    /// What a route must show.
    pub auth: Option<RouteAuth>,
    /// How often a gossiped peer is dialled again before it is only remembered.
    pub connect_retries: u32,
    /// Whether the time between dials doubles, up to half a minute.
    pub connect_backoff: bool,
    /// Pooled connections to each peer; none: as peers of before pools.
    pub pool_size: Option<u16>,
    /// The accounts with a connection of their own, the system account among them.
    pub accounts: BTreeSet<String>,
    /// All accounts that this server knows.
    pub accounts_known: BTreeSet<String>,
    /// One failed dial in so many is logged as an error, of a server that was never there.
    pub connect_error_reports: u32,
    /// The same of a configured one that was.
    pub reconnect_error_reports: u32,
    /// How routes are compressed.
    pub compression: Option<Mode>,
    /// Whether routes use TLS.
    pub tls: bool,
    /// What this server announces.
    pub import: Option<SubjectRules>,
    /// What this server takes announcements of.
    pub export: Option<SubjectRules>,
    /// Where clients connect to this server.
    pub client_urls: Vec<String>,
    /// Whether messages may have headers.
    pub headers: bool,
    /// The largest message of clients.
    pub max_payload: u32,
}

/// A configured route.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteUrl {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What the other server wants to see.
    pub auth: Option<RouteAuth>,
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteAuth {
    /// The user.
    pub user: String,
    /// The password; on the accepting side also a bcrypt hash of it.
    pub password: String,
}

impl MeshOptions {
    /// How routes are compressed, by default as the other end wants.
    pub(super) fn mode(&self) -> Mode {
        self.compression.unwrap_or(Mode::Accept)
    }

    /// Where peers are told to dial.
    pub(super) fn advertised(&self) -> (&str, u16) {
        match &self.advertise {
            Some((host, port)) => (host, *port),
            None => (&self.host, self.port),
        }
    }

    /// The server name that a certificate must carry when only an address was dialled.
    pub(super) fn tls_name(&self) -> Option<&str> {
        let mut names = self.routes.iter().map(|url| url.host.as_str());
        names.find(|host| host.parse::<IpAddr>().is_err())
    }
}

impl RouteUrl {
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.host, self.port)
    }
}

/// Without the password.
impl fmt::Debug for RouteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nats-route://{}", self.endpoint())
    }
}

/// Without the password.
impl fmt::Debug for RouteAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteAuth").field("user", &self.user).finish_non_exhaustive()
    }
}
