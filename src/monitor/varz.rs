//! `/varz`: the server at a glance.

use std::collections::BTreeMap;

use ring::Time;
use serde::Serialize;

use super::RequestCounts;
use super::format::{Float, is_false, is_zero, nanos, time, uptime};
use crate::report::{ClusterSettings, ServerFacts, ShardReport};
use crate::stats::Counters;

/// What the process itself is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessFacts {
    /// Bytes of resident memory.
    pub(super) resident_bytes: u64,
    /// Percent of a core.
    pub(super) cpu_percent: f64,
    /// Cores the process may use.
    pub(super) cores: u64,
}

/// The answer, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Varz<'a> {
    #[serde(flatten)]
    settings: Settings<'a>,
    start: String,
    now: String,
    uptime: String,
    mem: u64,
    cores: u64,
    gomaxprocs: u16,
    cpu: Float,
    #[serde(flatten)]
    traffic: Traffic,
    http_req_stats: &'a RequestCounts,
    config_load_time: String,
    config_digest: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    feature_flags: &'a BTreeMap<String, bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    system_account: &'a str,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    disk_io_wait_stats: DiskWaits,
}

/// Who the server is and how it is configured. `ringmesh` is our own addition.
#[derive(Debug, Serialize)]
struct Settings<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    proto: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    git_commit: Option<&'a str>,
    go: &'a str,
    ringmesh: &'a str,
    host: &'a str,
    port: u16,
    #[serde(skip_serializing_if = "is_false")]
    auth_required: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    connect_urls: &'a [String],
    max_connections: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_subscriptions: u64,
    ping_interval: u64,
    ping_max: i64,
    http_host: &'a str,
    http_port: u16,
    http_base_path: &'a str,
    https_port: u16,
    auth_timeout: Float,
    max_control_line: i64,
    max_payload: i64,
    max_pending: i64,
    cluster: Cluster<'a>,
    gateway: Off,
    leaf: Off,
    mqtt: Off,
    websocket: Off,
    jetstream: Off,
    tls_timeout: Float,
    write_deadline: u64,
}

/// What passes through the server.
#[derive(Debug, Serialize)]
struct Traffic {
    connections: u64,
    total_connections: u64,
    routes: u64,
    remotes: u64,
    leafnodes: u64,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    stale_connections: u64,
    stalled_clients: u64,
    subscriptions: u64,
}

/// A part of the server that is not configured.
#[derive(Debug, Serialize)]
struct Off {}

/// How the server is part of a cluster, in the peer's order; nothing where it is not.
#[derive(Debug, Default, Serialize)]
struct Cluster<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    addr: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    cluster_port: u64,
    #[serde(skip_serializing_if = "Float::is_zero")]
    auth_timeout: Float,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    urls: &'a [String],
    #[serde(skip_serializing_if = "Float::is_zero")]
    tls_timeout: Float,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_size: Option<i64>,
    #[serde(skip_serializing_if = "is_zero")]
    write_deadline: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    write_timeout: &'a str,
}

/// A count for each kind of connection.
#[derive(Debug, Serialize)]
struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

/// Waits for the disk; there are none without a store.
#[derive(Debug, Default, Serialize)]
struct DiskWaits {
    waiters: u64,
    waits: u64,
    wait_time: u64,
    max_wait_time: u64,
}

impl<'a> Varz<'a> {
    /// Joins what the server, the process and the shards say.
    pub(super) fn new(
        facts: &'a ServerFacts,
        process: ProcessFacts,
        requests: &'a RequestCounts,
        (reports, remotes): (&[ShardReport], u64),
        now: Time,
    ) -> Self {
        let counters = merged(reports);
        Self {
            settings: Settings::new(facts),
            start: time(facts.start),
            now: time(now),
            uptime: uptime(now.since(facts.start)),
            mem: process.resident_bytes,
            cores: process.cores,
            gomaxprocs: facts.shards,
            cpu: Float(process.cpu_percent),
            traffic: Traffic::new(&counters, reports, remotes),
            http_req_stats: requests,
            config_load_time: time(facts.config_load_time),
            config_digest: &facts.config_digest,
            tags: &facts.tags,
            metadata: &facts.metadata,
            feature_flags: &facts.feature_flags,
            system_account: &facts.system_account,
            slow_consumer_stats: slow_consumers_by_kind(&counters),
            stale_connection_stats: stale_by_kind(&counters),
            disk_io_wait_stats: DiskWaits::default(),
        }
    }
}

impl<'a> Settings<'a> {
    fn new(facts: &'a ServerFacts) -> Self {
        Self {
            server_id: &facts.server_id,
            server_name: &facts.server_name,
            version: &facts.version,
            proto: 1,
            git_commit: facts.git_commit.as_deref(),
            go: &facts.runtime,
            ringmesh: &facts.ringmesh,
            host: &facts.host,
            port: facts.port,
            auth_required: facts.auth_required,
            connect_urls: &facts.connect_urls,
            max_connections: facts.max_connections,
            max_subscriptions: facts.max_subscriptions,
            ping_interval: nanos(facts.ping_interval),
            ping_max: facts.ping_max,
            http_host: &facts.http_host,
            http_port: facts.http_port,
            http_base_path: &facts.http_base_path,
            https_port: facts.https_port,
            auth_timeout: Float(facts.auth_timeout),
            max_control_line: facts.max_control_line,
            max_payload: facts.max_payload,
            max_pending: facts.max_pending,
            cluster: facts.cluster.as_ref().map_or_else(Cluster::default, Cluster::new),
            gateway: Off {},
            leaf: Off {},
            mqtt: Off {},
            websocket: Off {},
            jetstream: Off {},
            tls_timeout: Float(facts.tls_timeout),
            write_deadline: nanos(facts.write_deadline),
        }
    }
}

impl<'a> Cluster<'a> {
    fn new(settings: &'a ClusterSettings) -> Self {
        Self {
            name: &settings.name,
            addr: &settings.addr,
            cluster_port: settings.cluster_port.into(),
            auth_timeout: Float(settings.auth_timeout),
            urls: &settings.urls,
            tls_timeout: Float(settings.tls_timeout),
            tls_required: settings.tls_required,
            tls_verify: settings.tls_verify,
            pool_size: Some(settings.pool_size).filter(|size| *size != 0),
            write_deadline: nanos(settings.write_deadline),
            write_timeout: &settings.write_timeout,
        }
    }
}

impl Traffic {
    fn new(counters: &Counters, reports: &[ShardReport], remotes: u64) -> Self {
        let sum = |of: fn(&ShardReport) -> u64| reports.iter().map(of).sum::<u64>();
        Self {
            connections: sum(|report| report.connections_open),
            total_connections: counters.total_connections,
            routes: sum(|report| report.routes_open),
            remotes,
            leafnodes: sum(|report| report.leafs_open),
            in_msgs: counters.in_msgs,
            in_bytes: counters.in_bytes,
            in_client_msgs: counters.in_client_msgs,
            in_client_bytes: counters.in_client_bytes,
            out_msgs: counters.out_msgs,
            out_bytes: counters.out_bytes,
            out_client_msgs: counters.out_client_msgs,
            out_client_bytes: counters.out_client_bytes,
            slow_consumers: counters.slow_consumers(),
            stale_connections: counters.stale_connections(),
            stalled_clients: counters.stalled_clients,
            subscriptions: sum(ShardReport::subscriptions),
        }
    }
}

/// All shards' counters together.
fn merged(reports: &[ShardReport]) -> Counters {
    let mut sum = Counters::default();
    reports.iter().for_each(|report| sum.merge(&report.counters));
    sum
}

const fn slow_consumers_by_kind(counters: &Counters) -> ByKind {
    ByKind {
        clients: counters.slow_consumers_clients,
        routes: counters.slow_consumers_routes,
        gateways: counters.slow_consumers_gateways,
        leafs: counters.slow_consumers_leafs,
    }
}

const fn stale_by_kind(counters: &Counters) -> ByKind {
    ByKind {
        clients: counters.stale_clients,
        routes: counters.stale_routes,
        gateways: counters.stale_gateways,
        leafs: counters.stale_leafs,
    }
}
