//! How the server is, as it tells every ten seconds.

use ring::Time;
use serde::Serialize;

use super::event::{Statistics, TrafficOfRoute};
use super::server_info::time;
use crate::monitor::Traffic;
use crate::proto::info::OWN_VERSION;
use crate::stats::Counters;

/// The body, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Statsz {
    start: String,
    mem: u64,
    cores: u64,
    cpu: f64,
    connections: u64,
    total_connections: u64,
    active_accounts: usize,
    subscriptions: u64,
    sent: Traffic,
    sent_to_clients: Traffic,
    received: Traffic,
    received_from_clients: Traffic,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_consumer_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "is_zero")]
    stale_connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_connection_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "is_zero")]
    stalled_clients: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    active_servers: usize,
    gomaxprocs: u16,
    /// Our own version, which nats-server's servers do not have.
    ringmesh: &'static str,
}

/// A count for each kind of connection.
#[derive(Debug, Serialize)]
struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

impl ByKind {
    /// Nothing where all are zero.
    const fn new(clients: u64, routes: u64, gateways: u64, leafs: u64) -> Option<Self> {
        if clients + routes + gateways + leafs == 0 {
            return None;
        }
        Some(Self { clients, routes, gateways, leafs })
    }
}

/// A connection to another server.
#[derive(Debug, Serialize)]
struct Route {
    rid: u64,
    name: String,
    sent: Traffic,
    received: Traffic,
    pending: u64,
}

impl Statsz {
    /// Of a server that started at `start` and knows of so many servers, itself included.
    pub(super) fn new(statistics: Statistics, start: Time, active_servers: usize) -> Self {
        let count = &statistics.counters;
        Self {
            start: time(start),
            mem: statistics.memory_bytes,
            cores: statistics.cores,
            cpu: statistics.cpu_percent,
            connections: statistics.connections,
            total_connections: count.total_connections,
            active_accounts: statistics.active_accounts,
            subscriptions: statistics.subscriptions,
            sent: Traffic { msgs: count.out_msgs, bytes: count.out_bytes },
            sent_to_clients: Traffic { msgs: count.out_client_msgs, bytes: count.out_client_bytes },
            received: Traffic { msgs: count.in_msgs, bytes: count.in_bytes },
            received_from_clients: Traffic {
                msgs: count.in_client_msgs,
                bytes: count.in_client_bytes,
            },
            slow_consumers: count.slow_consumers(),
            slow_consumer_stats: slow(count),
            stale_connections: count.stale_connections(),
            stale_connection_stats: stale(count),
            stalled_clients: count.stalled_clients,
            routes: statistics.routes.into_iter().map(Route::from).collect(),
            active_servers,
            gomaxprocs: statistics.shards,
            ringmesh: OWN_VERSION,
        }
    }
}

impl From<TrafficOfRoute> for Route {
    fn from(route: TrafficOfRoute) -> Self {
        Self {
            rid: route.rid,
            name: route.name,
            sent: Traffic { msgs: route.out_msgs, bytes: route.out_bytes },
            received: Traffic { msgs: route.in_msgs, bytes: route.in_bytes },
            pending: route.pending_bytes,
        }
    }
}

const fn slow(count: &Counters) -> Option<ByKind> {
    ByKind::new(
        count.slow_consumers_clients,
        count.slow_consumers_routes,
        count.slow_consumers_gateways,
        count.slow_consumers_leafs,
    )
}

const fn stale(count: &Counters) -> Option<ByKind> {
    ByKind::new(count.stale_clients, count.stale_routes, count.stale_gateways, count.stale_leafs)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}
