//! What shards report when they are asked, and what the monitor asks.
//!
//! A shard never walks all its connections in one turn: the monitor asks for a [`Slots`] range of the
//! slab that holds them, and asks again until [`ShardReport::connection_slots`] is reached. A
//! connection keeps its slot as long as it lives, so nothing is seen twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ring::Time;

use crate::hist::Hist;
use crate::ids::AccountId;
use crate::stats::Counters;

mod route;

pub use route::{RouteReport, Sealing, WireCounts};

/// What the monitor asks of every shard. Counters, gauges and sublist statistics always come; the
/// lists only when asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportRequest {
    /// Reports of the open connections in these slots.
    pub connections: Option<Slots>,
    /// Reports of closed connections at these places of the ring of closed ones.
    pub closed: Option<Slots>,
    /// Reports of the subscriptions in these slots.
    pub subscriptions: Option<Slots>,
    /// Reports of the routes, of which there are few.
    pub routes: bool,
    /// Reports of what other servers want over routes, as far as it is in these slots.
    pub route_subscriptions: Option<Slots>,
    /// The latency histograms (4 KiB each).
    pub latency: bool,
    /// What the clients of each account do.
    pub accounts: bool,
}

/// The slots `from..to` of a slab; slots at or past its end, and vacant ones, give nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The first slot.
    pub from: u32,
    /// One past the last slot.
    pub to: u32,
}

/// What one shard reports.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    /// The shard's number, from 0.
    pub shard: u16,
    /// Its counters.
    pub counters: Counters,
    /// Open client connections.
    pub connections_open: u64,
    /// Open routes.
    pub routes_open: u64,
    /// Open leaf node connections.
    pub leafs_open: u64,
    /// Subscriptions of the shard's own connections.
    pub subscriptions_open: u64,
    /// What other servers want over the shard's routes.
    pub subscriptions_routed: u64,
    /// Bytes queued for all its connections.
    pub pending_bytes: u64,
    /// Publishers held right now.
    pub held_publishers: u64,
    /// Statistics of the subscription table.
    pub sublist: SublistStats,
    /// One past the last slot in use by a connection; where [`ReportRequest::connections`] ends.
    pub connection_slots: u32,
    /// The reports that [`ReportRequest::connections`] asked for.
    pub connections: Vec<ConnectionReport>,
    /// How many closed connections are kept; where [`ReportRequest::closed`] ends.
    pub closed_slots: u32,
    /// The reports that [`ReportRequest::closed`] asked for, with `end` set.
    pub closed: Vec<ConnectionReport>,
    /// One past the last slot in use by a subscription; where [`ReportRequest::subscriptions`] ends.
    pub subscription_slots: u32,
    /// The reports that [`ReportRequest::subscriptions`] asked for.
    pub subscriptions: Vec<SubscriptionReport>,
    /// The routes, if asked for.
    pub routes: Vec<RouteReport>,
    /// The reports that [`ReportRequest::route_subscriptions`] asked for.
    pub route_subscriptions: Vec<SubscriptionReport>,
    /// Latencies by stage, if asked for.
    pub latency: Vec<(Stage, Hist)>,
    /// Accounts that have, or had, clients, in the order of their numbers, if asked for.
    pub accounts: Vec<AccountReport>,
    /// Statistics of the accounts' tables by their numbers, if accounts are asked for; what shards
    /// tell each other is among the subscriptions.
    pub account_sublists: Vec<SublistStats>,
}

impl ShardReport {
    /// Subscriptions of its own connections and of other servers.
    #[must_use]
    pub fn subscriptions(&self) -> u64 {
        self.subscriptions_open + self.subscriptions_routed
    }
}

/// What the clients of one account do, those that are gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountReport {
    /// The account.
    pub account: AccountId,
    /// Clients that are connected.
    pub clients: u64,
    /// Their subscriptions.
    pub subscriptions: u64,
    /// Messages that they published.
    pub in_msgs: u64,
    /// Payload bytes that they published.
    pub in_bytes: u64,
    /// Messages that they received.
    pub out_msgs: u64,
    /// Payload bytes that they received.
    pub out_bytes: u64,
    /// How many were closed because they were slow.
    pub slow_consumers: u64,
}

impl AccountReport {
    /// Nothing yet.
    #[must_use]
    pub fn blank(account: AccountId) -> Self {
        Self { account, ..Self::default() }
    }

    /// Its clients have published so many messages.
    #[inline]
    pub const fn count_in(&mut self, msgs: u64, bytes: u64) {
        self.in_msgs += msgs;
        self.in_bytes += bytes;
    }

    /// Its clients have been handed so many messages.
    #[inline]
    pub const fn count_out(&mut self, msgs: u64, bytes: u64) {
        self.out_msgs += msgs;
        self.out_bytes += bytes;
    }

    /// What all shards report of each account, in the order of their numbers.
    #[must_use]
    pub fn joined(reports: &[ShardReport]) -> Vec<Self> {
        let mut joined: BTreeMap<AccountId, Self> = BTreeMap::new();
        for report in reports.iter().flat_map(|report| &report.accounts) {
            let sum = joined.entry(report.account).or_insert_with(|| Self::blank(report.account));
            sum.merge(report);
        }
        joined.into_values().collect()
    }

    /// The report of one account among those that were [joined](Self::joined); blank if nothing was reported.
    #[must_use]
    pub fn find(joined: &[Self], account: AccountId) -> Self {
        match joined.binary_search_by_key(&account, |report| report.account) {
            Ok(place) => joined[place],
            Err(_) => Self::blank(account),
        }
    }

    /// Adds what another shard reports of the same account.
    pub fn merge(&mut self, other: &Self) {
        self.clients += other.clients;
        self.subscriptions += other.subscriptions;
        self.in_msgs += other.in_msgs;
        self.in_bytes += other.in_bytes;
        self.out_msgs += other.out_msgs;
        self.out_bytes += other.out_bytes;
        self.slow_consumers += other.slow_consumers;
    }
}

/// What a latency was measured over. The names are those of `/latencyz` and `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// From the end of the turn before, as the upper bound of arrival, to the completion of the send.
    Delivery,
    /// From the end of the turn before to the end of the flush: what the broker itself spent.
    Processing,
    /// From the flush to the completion of the send: what the kernel and the socket took.
    Send,
    /// What a turn spends on what it found, without its sleep and without the kernel's work.
    Turn,
    /// From the turn that posts into another shard's mailbox to the turn that takes it out.
    Mailbox,
}

impl Stage {
    /// The stage's name in JSON and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Processing => "processing",
            Self::Send => "send",
            Self::Turn => "turn",
            Self::Mailbox => "mailbox",
        }
    }
}

/// Statistics of one shard's subscription table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SublistStats {
    /// Subscriptions in the table.
    pub subscriptions: u64,
    /// Results in the match cache.
    pub cache_entries: u64,
    /// Subscriptions inserted since the start.
    pub inserts: u64,
    /// Subscriptions removed since the start.
    pub removes: u64,
    /// Matches since the start, cached ones included.
    pub matches: u64,
    /// Matches that the cache answered.
    pub cache_hits: u64,
    /// The largest number of subscriptions in one cached result.
    pub fanout_max: u64,
    /// The sum of the subscriptions of all cached results.
    pub fanout_total: u64,
}

impl SublistStats {
    /// Adds another table's statistics.
    pub fn merge(&mut self, other: &Self) {
        self.subscriptions += other.subscriptions;
        self.cache_entries += other.cache_entries;
        self.inserts += other.inserts;
        self.removes += other.removes;
        self.matches += other.matches;
        self.cache_hits += other.cache_hits;
        self.fanout_max = self.fanout_max.max(other.fanout_max);
        self.fanout_total += other.fanout_total;
    }
}

/// What kind of peer a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionKind {
    /// A client.
    #[default]
    Client,
    /// A leaf node.
    Leafnode,
}

impl ConnectionKind {
    /// The kind as `/connz` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Leafnode => "Leafnode",
        }
    }
}

/// What is known of the server and changes at most with its configuration.
///
/// The names and the order are those of `/varz`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerFacts {
    /// The server's public nkey.
    pub server_id: String,
    /// Its name; the id when none is configured.
    pub server_name: String,
    /// The version of nats-server that this one stands for; clients gate on it.
    pub version: String,
    /// Our own version.
    pub ringmesh: String,
    /// The commit that was built, if known.
    pub git_commit: Option<String>,
    /// What stands under `go`: the language and its version.
    pub runtime: String,
    /// The host that clients are told; `client_advertise` if that is set.
    pub host: String,
    /// The port that clients are told.
    pub port: u16,
    /// Whether a client must authenticate.
    pub auth_required: bool,
    /// Addresses that clients are told besides.
    pub connect_urls: Vec<String>,
    /// At most so many clients.
    pub max_connections: i64,
    /// At most so many subscriptions a connection; zero is no bound.
    pub max_subscriptions: u64,
    /// Time between PINGs.
    pub ping_interval: Duration,
    /// Unanswered PINGs after which a connection is stale.
    pub ping_max: i64,
    /// Where the monitor listens; empty when it does not.
    pub http_host: String,
    /// The monitor's port; zero when it does not listen.
    pub http_port: u16,
    /// What stands before every endpoint's path: empty, or `/` and a path without one at its end.
    pub http_base_path: String,
    /// The monitor's TLS port; zero when it does not listen.
    pub https_port: u16,
    /// Seconds that a client has to authenticate.
    pub auth_timeout: f64,
    /// The longest protocol line.
    pub max_control_line: i64,
    /// The largest payload.
    pub max_payload: i64,
    /// The most bytes queued for one client.
    pub max_pending: i64,
    /// How the server is part of a cluster, if it is.
    pub cluster: Option<ClusterSettings>,
    /// Seconds that a TLS handshake may take.
    pub tls_timeout: f64,
    /// How long a peer may take no byte.
    pub write_deadline: Duration,
    /// When the server started.
    pub start: Time,
    /// Shards, as what the peer calls `gomaxprocs`.
    pub shards: u16,
    /// When the configuration was last loaded.
    pub config_load_time: Time,
    /// The configuration's digest; empty without a file.
    pub config_digest: String,
    /// `server_tags`.
    pub tags: Vec<String>,
    /// `server_metadata`.
    pub metadata: BTreeMap<String, String>,
    /// `feature_flags`.
    pub feature_flags: BTreeMap<String, bool>,
    /// The system account's name; empty without one.
    pub system_account: String,
    /// All accounts' names.
    pub accounts: Vec<String>,
}

/// How a server is part of a cluster. The names and the order are those of `/varz`; what is empty or
/// zero is not told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterSettings {
    /// The cluster's name.
    pub name: String,
    /// Where routes are accepted.
    pub addr: String,
    /// The port for them.
    pub cluster_port: u16,
    /// Seconds that a route has to authenticate.
    pub auth_timeout: f64,
    /// The configured routes' hosts and ports.
    pub urls: Vec<String>,
    /// Seconds that a TLS handshake may take.
    pub tls_timeout: f64,
    /// Whether routes speak TLS.
    pub tls_required: bool,
    /// Whether they show certificates.
    pub tls_verify: bool,
    /// Connections that the accounts share; -1 is no pooling.
    pub pool_size: i64,
    /// How long a peer may take no byte, where that is not what clients may.
    pub write_deadline: Duration,
    /// What happens then, where it is configured.
    pub write_timeout: String,
}

/// One connection, open or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionReport {
    /// The client id, unique in the server.
    pub cid: u64,
    /// What kind of peer it is.
    pub kind: ConnectionKind,
    /// The peer's address.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub start: Time,
    /// When it last published, received a message, subscribed or unsubscribed.
    pub last_activity: Time,
    /// When and why it ended; only for closed connections.
    pub end: Option<End>,
    /// The last measured round trip; zero when none was measured.
    pub rtt: Duration,
    /// Bytes queued for it.
    pub pending_bytes: u64,
    /// Messages it published.
    pub in_msgs: u64,
    /// Messages it received.
    pub out_msgs: u64,
    /// Payload bytes it published.
    pub in_bytes: u64,
    /// Payload bytes it received.
    pub out_bytes: u64,
    /// Times it was held as a publisher.
    pub stalls: u64,
    /// How many subscriptions it has.
    pub subscriptions: u32,
    /// `name` of its CONNECT.
    pub name: String,
    /// `lang` of its CONNECT.
    pub lang: String,
    /// `version` of its CONNECT.
    pub version: String,
    /// `user` of its CONNECT, also when nobody asked for it; for a token the redacted form that
    /// `/connz` shows.
    pub authorized_user: String,
    /// Its account; `$G` for the global one.
    pub account: String,
    /// What a closed connection was subscribed to; empty for an open one, whose subscriptions are
    /// asked for apart.
    pub closed_subscriptions: Vec<SubscriptionReport>,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Time,
    /// Why, in the words of `/connz`.
    pub reason: &'static str,
}

/// One subscription of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionReport {
    /// Its account; `$G` for the global one.
    pub account: String,
    /// The subject filter.
    pub subject: String,
    /// The queue group; empty when there is none.
    pub queue: String,
    /// The client's id for it.
    pub sid: String,
    /// Messages delivered to it.
    pub msgs: u64,
    /// After how many messages it ends; zero when it does not.
    pub max: u64,
    /// Whose it is.
    pub cid: u64,
}
