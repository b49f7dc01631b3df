//! Where servers are dialled, and how often.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;
use ring::Time;

use crate::ids::ConnId;

use super::options::RouteAuth;

/// A host and a port, as configured or gossiped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    pub(super) fn new(host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Self { host, port }
    }

    /// Reads `host:port`, with or without a scheme, user-info and a path.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let rest = url.split_once("://").map_or(url, |(_scheme, rest)| rest);
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let rest = rest.rsplit_once('@').map_or(rest, |(_user, rest)| rest);
        let (host, port) = rest.rsplit_once(':')?;
        let is_host = !host.is_empty()
            && host.len() <= HOST_BYTES_MAX
            && host.bytes().all(|byte| byte.is_ascii_graphic());
        let port = port.parse().ok().filter(|port| *port != 0)?;
        is_host.then(|| Self::new(host, port))
    }

    /// The address, when the host is none that has to be looked up.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse().ok()?, self.port))
    }

    /// As a URL, the way peers write it.
    pub(super) fn url(&self) -> String {
        format!("nats-route://{self}/")
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address worth a connection.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) origin: Origin,
    pub(super) auth: Option<RouteAuth>,
    /// The name in the peer's certificate.
    pub(super) tls_name: Option<String>,
    /// The server that answered there last, or was said to.
    pub(super) remote: Option<String>,
    /// The name of the server that was lost there; empty when none was.
    pub(super) name: String,
    /// Whether that was a Ringmesh.
    pub(super) is_ringmesh: bool,
    /// The server that was lost there had said that it stops: it may come back, and is not missed.
    pub(super) has_ended: bool,
    /// This very server answered.
    pub(super) is_self: bool,
    /// What a connection from here says in its INFO, when it is the first to its server.
    pub(super) gossip_mode: i64,
    /// Dials that failed since the last that did not.
    pub(super) failures: u32,
    /// Whether anybody answered there ever.
    pub(super) reached: bool,
    /// When a gossiped address is given up.
    pub(super) forget_at: Time,
    /// Since when its server, which is lost, may not have heard what was said to it.
    pub(super) lost_at: Option<Time>,
    /// When that server came for the first time.
    pub(super) joined: Option<Time>,
}

/// Who told of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The configuration, as an address.
    Configured,
    /// The configuration, as this name.
    Name(Endpoint),
    /// A peer, or the server itself when it dialled us.
    Gossiped,
}

impl Target {
    pub(super) fn new(origin: Origin, auth: Option<RouteAuth>, tls_name: Option<String>) -> Self {
        Self {
            origin,
            auth,
            tls_name,
            remote: None,
            name: String::new(),
            is_ringmesh: false,
            has_ended: false,
            is_self: false,
            gossip_mode: 0,
            failures: 0,
            reached: false,
            forget_at: Time::MAX,
            lost_at: None,
            joined: None,
        }
    }

    /// Another server may have taken the address, and that one is new. Who has come since the earlier
    /// one was lost does not remember the address, and still has to be told.
    pub(super) fn set_remote(&mut self, id: &str) {
        if self.remote.as_deref() != Some(id) {
            self.remote = Some(id.to_owned());
            self.joined = None;
            self.has_ended = false;
        }
    }

    /// Whether the configuration told of it, so that it is dialled for ever.
    pub(super) fn is_configured(&self) -> bool {
        match self.origin {
            Origin::Configured | Origin::Name(_) => true,
            Origin::Gossiped => false,
        }
    }

    /// How long to wait after another dial has failed.
    pub(super) fn delay_after_failure(
        &self,
        retries: u32,
        has_backoff: bool,
        rng: &mut Rng,
    ) -> Duration {
        let doublings = self.failures.saturating_sub(1);
        let is_patient = self.is_configured() || self.failures <= retries;
        match (is_patient, has_backoff) {
            (true, false) => RETRY_DELAY,
            (true, true) => doubled(RETRY_DELAY, doublings),
            // The protocol gives gossiped peers up here, and with them the link for good, when the
            // network was cut between two members only. So they stay remembered for a while.
            (false, _) => {
                let slow = doubled(MEMORY_DELAY, doublings.saturating_sub(retries));
                slow + jitter(rng, slow / 4)
            }
        }
    }
}

/// The way to one connection, from the wait before the dial to the end of the handshake.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) stage: AttemptStage,
    /// Whether it comes first at its address, for the log.
    pub(super) is_first: bool,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptStage {
    Waiting { until: Time },
    Resolving { lookup: u64 },
    Dialing { dial: u64 },
    Handshake { conn: ConnId },
}

/// What an attempt is for: a connection to an address, pooled or for an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Want {
    pub(super) endpoint: Endpoint,
    pub(super) account: Option<String>,
}

/// A configured route whose host is a name.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) auth: Option<RouteAuth>,
    /// What the last answer was.
    pub(super) addresses: BTreeSet<SocketAddr>,
    /// How many answers in a row were the same.
    pub(super) same_answers: u32,
    /// Questions without an answer, in a row.
    pub(super) failures: u32,
    pub(super) stage: NameStage,
}

/// Whether a name is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameStage {
    /// Its addresses do not change any more, as far as it seems.
    Stable,
    /// It will be.
    Waiting { until: Time },
    /// It was.
    Resolving { lookup: u64 },
}

pub(super) fn doubled(delay: Duration, doublings: u32) -> Duration {
    // Five doublings of a second are more than the longest delay.
    delay.saturating_mul(1 << doublings.min(5)).min(RETRY_DELAY_MAX)
}

pub(super) fn jitter(rng: &mut Rng, most: Duration) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.u64(..=nanos))
}

/// Between dials that failed.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The longest time between dials.
pub(super) const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);

/// Between the dials to a peer that is only remembered, at first.
pub(super) const MEMORY_DELAY: Duration = Duration::from_secs(4);

/// Before a lost connection to a configured peer is dialled again, as peers do it.
pub(super) const REDIAL_DELAY: Duration = Duration::from_secs(1);

/// What two servers wait differently at random, so that one of them is first.
pub(super) const REDIAL_JITTER: Duration = Duration::from_millis(100);

/// How long the server that dialled first has for the next connection, before this one helps.
pub(super) const REPAIR_DELAY: Duration = Duration::from_secs(2);

/// How long a gossiped peer that cannot be reached is remembered: longer than a switch takes to be
/// replaced, shorter than an address takes to be somebody else's.
pub(super) const MEMORY: Duration = Duration::from_secs(3600);

/// Who says that it stops is gone within this time, or stays.
pub(super) const FAREWELL: Duration = Duration::from_secs(10);

/// The longest host name: that of DNS.
const HOST_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_from_what_peers_write() {
        let check = |url: &str, expected: Option<&str>| {
            let found = Endpoint::parse(url).map(|endpoint| endpoint.to_string());
            assert_eq!(found.as_deref(), expected, "{url}");
        };
        check("nats-route://127.0.0.1:6222/", Some("127.0.0.1:6222"));
        check("nats-route://u:p@Seed.example:6222", Some("seed.example:6222"));
        check("nats-route://[fd00::2]:6222/", Some("[fd00::2]:6222"));
        check("127.0.0.1:6222", Some("127.0.0.1:6222"));
        for bad in ["", "a", "a:", "a:0", "a:70000", ":1", "a b:1", "nats-route:///x"] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_configured_is_dialled_each_second_and_what_is_gossiped_less_and_less() {
        let mut rng = Rng::with_seed(1);
        let mut seconds = |origin: Origin, failures, retries, backoff| {
            let target = Target { failures, ..Target::new(origin, None, None) };
            target.delay_after_failure(retries, backoff, &mut rng).as_secs()
        };
        assert_eq!([1, 2, 99].map(|n| seconds(Origin::Configured, n, 0, false)), [1, 1, 1]);
        assert_eq!(
            [1, 2, 3, 6, 99].map(|n| seconds(Origin::Configured, n, 0, true)),
            [1, 2, 4, 30, 30]
        );
        assert_eq!([1, 2].map(|n| seconds(Origin::Gossiped, n, 2, false)), [1, 1]);
        assert!((4..=5).contains(&seconds(Origin::Gossiped, 3, 2, false)));
        assert!((30..=38).contains(&seconds(Origin::Gossiped, 99, 2, false)));
    }
}
