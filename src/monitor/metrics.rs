//! `/metrics`: the same numbers for Prometheus.
//!
//! What prometheus-nats-exporter makes of the JSON endpoints has the exporter's names (`gnatsd_…`),
//! types and labels, so that its charts work; what only we have begins with `ringmesh_`.

use std::fmt::{Display, Write as _};

use ring::Time;
use serde::Serialize;
use serde_json::Value;

use super::account_stats::AccountStats;
use super::subsz::{self, Subsz};
use super::varz::Varz;
use super::{Answer, Kind, LIST_DEFAULT};
use crate::hist::{CLASSIC_BOUNDS_NANOS, Hist};
use crate::report::{RouteReport, ShardReport, Stage};
use crate::stats::Counters;

/// What the metrics are made of.
pub(super) struct Scrape<'a> {
    /// The label of all metrics that the exporter gives.
    pub(super) server_id: &'a str,
    /// What the server calls itself.
    pub(super) server_name: &'a str,
    /// The general numbers.
    pub(super) varz: &'a Varz<'a>,
    /// The shards, with their histograms.
    pub(super) reports: &'a [ShardReport],
    /// The accounts that are told of.
    pub(super) accounts: &'a [AccountStats],
    /// Whether clients are served.
    pub(super) healthy: bool,
    /// How many connections to other servers are missing, in a cluster.
    pub(super) missing_links: Option<usize>,
    /// The time.
    pub(super) now: Time,
}

impl Scrape<'_> {
    /// All metrics as text.
    pub(super) fn answer(&self) -> Answer {
        let mut text = Text { out: String::with_capacity(TEXT_BYTES) };
        let subsz = Subsz::new(self.server_id.to_owned(), &subsz::merged(self.reports), self.now);
        self.endpoint(&mut text, "gnatsd_varz", self.varz);
        self.endpoint(&mut text, "gnatsd_subsz", &subsz);
        self.connz(&mut text);
        self.routez(&mut text);
        self.accstatz(&mut text);
        self.healthz(&mut text);
        self.shards(&mut text);
        self.latencies(&mut text);
        Answer { status: 200, kind: Kind::Prometheus, body: text.out }
    }

    fn endpoint(&self, text: &mut Text, prefix: &str, endpoint: &impl Serialize) {
        if let Ok(value) = serde_json::to_value(endpoint) {
            self.flatten(text, prefix, "", &value);
        }
    }

    /// Every number of an endpoint under the path of its keys, as the exporter does.
    fn flatten(&self, text: &mut Text, prefix: &str, path: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let key = key.trim_start_matches('/');
                    let path =
                        if path.is_empty() { key.to_owned() } else { format!("{path}_{key}") };
                    if !key.is_empty() {
                        self.flatten(text, prefix, &path, member);
                    }
                }
            }
            Value::Number(number) => self.gauge(text, &format!("{prefix}_{path}"), path, number),
            Value::String(string) => self.string(text, prefix, path, string),
            Value::Null | Value::Bool(_) | Value::Array(_) => {}
        }
    }

    /// Of the strings, times become milliseconds, and who answers becomes a label.
    fn string(&self, text: &mut Text, prefix: &str, path: &str, string: &str) {
        let name = format!("{prefix}_{path}");
        match path {
            "start" | "config_load_time" => {
                if let Ok(time) = string.parse::<jiff::Timestamp>() {
                    self.gauge(text, &name, path, &time.as_millisecond());
                }
            }
            "server_id" | "server_name" | "version" | "ringmesh" => {
                text.head(&name, path, "gauge");
                let labels = [("server_id", self.server_id), ("value", string)];
                text.sample(&name, &labels, &1);
            }
            _ => {}
        }
    }

    fn gauge(&self, text: &mut Text, name: &str, help: &str, value: &impl Display) {
        text.head(name, help, "gauge");
        text.sample(name, &[("server_id", self.server_id)], value);
    }

    /// The exporter sums up the connections that are open; these are the counters of all clients,
    /// which do not fall when one leaves.
    fn connz(&self, text: &mut Text) {
        let sum = |of: fn(&ShardReport) -> u64| self.reports.iter().map(of).sum::<u64>();
        let open = sum(|report| report.connections_open);
        let rows: [(&str, &str, u64); 10] = [
            ("num_connections", "gauge", open.min(LIST_DEFAULT as u64)),
            ("total", "gauge", open),
            ("offset", "gauge", 0),
            ("limit", "gauge", LIST_DEFAULT as u64),
            ("pending_bytes", "gauge", sum(|report| report.pending_bytes)),
            ("subscriptions", "gauge", sum(|report| report.subscriptions_open)),
            ("in_bytes", "counter", sum(|report| report.counters.in_client_bytes)),
            ("in_msgs", "counter", sum(|report| report.counters.in_client_msgs)),
            ("out_bytes", "counter", sum(|report| report.counters.out_client_bytes)),
            ("out_msgs", "counter", sum(|report| report.counters.out_client_msgs)),
        ];
        for (key, kind, value) in rows {
            let name = format!("gnatsd_connz_{key}");
            text.head(&name, key, kind);
            text.sample(&name, &[("server_id", self.server_id)], &value);
        }
    }

    /// The exporter's numbers of each route, and what only we have of them.
    fn routez(&self, text: &mut Text) {
        let open: u64 = self.reports.iter().map(|report| report.routes_open).sum();
        self.string(text, "gnatsd_routez", "server_id", self.server_id);
        self.string(text, "gnatsd_routez", "server_name", self.server_name);
        self.gauge(text, "gnatsd_routez_num_routes", "num_routes", &open);
        if let Some(missing) = self.missing_links {
            let help =
                "Connections to other servers of the cluster that should be there and are not.";
            self.gauge(text, "ringmesh_mesh_missing_links", help, &missing);
        }
        let routes: Vec<_> = self.reports.iter().flat_map(|report| &report.routes).collect();
        if routes.is_empty() {
            return;
        }
        text.head("gnatsd_routez_route_info", "route_info", "gauge");
        for route in &routes {
            let labels = [
                ("server_id", self.server_id),
                ("rid", &route.rid.to_string()),
                ("remote_id", &route.remote_id),
                ("remote_name", &route.remote_name),
                ("account", route.account.as_deref().unwrap_or_default()),
                ("ip", &route.peer.ip().to_canonical().to_string()),
                ("compression", route.compression),
            ];
            text.sample("gnatsd_routez_route_info", &labels, &1);
        }
        for (name, help, of) in ROUTE_ROWS {
            let name = format!("gnatsd_routez_route_{name}");
            text.head(&name, help, "gauge");
            for route in &routes {
                let labels = [("server_id", self.server_id), ("rid", &route.rid.to_string())];
                text.sample(&name, &labels, &of(route, self.now));
            }
        }
        for (name, help, of) in OWN_ROUTE_ROWS {
            text.head(name, help, "gauge");
            for route in &routes {
                let rid = route.rid.to_string();
                let pool_index = route.pool_index.map_or_else(String::new, |i| i.to_string());
                let labels = [
                    ("rid", rid.as_str()),
                    ("remote_name", &route.remote_name),
                    ("pool_index", &pool_index),
                    ("account", route.account.as_deref().unwrap_or_default()),
                ];
                text.sample(name, &labels, &of(route, self.now));
            }
        }
    }

    /// The exporter's numbers of each account.
    fn accstatz(&self, text: &mut Text) {
        for (key, of) in ACCOUNT_ROWS {
            let name = format!("gnatsd_accstatz_{key}");
            text.head(&name, key, "gauge");
            for account in self.accounts {
                let labels = [
                    ("server_id", self.server_id),
                    ("account", &account.acc),
                    ("account_id", &account.acc),
                    ("account_name", &account.name),
                ];
                text.sample(&name, &labels, &of(account));
            }
        }
    }

    fn healthz(&self, text: &mut Text) {
        let status = if self.healthy { "ok" } else { "error" };
        self.gauge(text, "gnatsd_healthz_status", "status", &u8::from(!self.healthy));
        text.head("gnatsd_healthz_status_value", "status", "gauge");
        let labels = [("server_id", self.server_id), ("value", status)];
        text.sample("gnatsd_healthz_status_value", &labels, &1);
    }

    /// What each shard counts and holds.
    fn shards(&self, text: &mut Text) {
        let gauges: [(&str, &str, Gauge); 4] = [
            ("ringmesh_connections", "Open client connections.", |r| r.connections_open),
            ("ringmesh_subscriptions", "Subscriptions of clients.", |r| r.subscriptions_open),
            ("ringmesh_pending_bytes", "Bytes queued for connections.", |r| r.pending_bytes),
            ("ringmesh_held_publishers", "Publishers held right now.", |r| r.held_publishers),
        ];
        for (name, help, of) in gauges {
            text.head(name, help, "gauge");
            self.reports.iter().for_each(|report| {
                text.sample(name, &[("shard", &report.shard.to_string())], &of(report));
            });
        }
        for (index, (name, help)) in counter_names().into_iter().enumerate() {
            let name = format!("ringmesh_{name}_total");
            text.head(&name, help, "counter");
            for report in self.reports {
                let value = counter_values(&report.counters)[index];
                text.sample(&name, &[("shard", &report.shard.to_string())], &value);
            }
        }
    }

    fn latencies(&self, text: &mut Text) {
        for (stage, help) in STAGES {
            let name = format!("ringmesh_{}_latency_seconds", stage.name());
            let mut headed = false;
            for report in self.reports {
                for (_, hist) in report.latency.iter().filter(|(of, _)| of == stage) {
                    if !headed {
                        text.head(&name, help, "histogram");
                        headed = true;
                    }
                    text.histogram(&name, &report.shard.to_string(), hist);
                }
            }
        }
    }
}

/// A number of a route's.
type RouteGauge = fn(&RouteReport, Time) -> f64;

/// What the exporter tells of a route, by its names.
const ROUTE_ROWS: [(&str, &str, RouteGauge); 7] = [
    ("rtt_seconds", "rtt_seconds", |route, _| route.rtt.as_secs_f64()),
    ("subscriptions", "subscriptions", |route, _| route.subscriptions.into()),
    ("uptime_seconds", "uptime_seconds", |route, now| now.since(route.start).as_secs_f64()),
    ("in_msgs", "in_msgs", |route, _| float(route.in_msgs)),
    ("out_msgs", "out_msgs", |route, _| float(route.out_msgs)),
    ("in_bytes", "in_bytes", |route, _| float(route.in_bytes)),
    ("out_bytes", "out_bytes", |route, _| float(route.out_bytes)),
];

/// A number of an account's.
type AccountGauge = fn(&AccountStats) -> u64;

/// What the exporter tells of an account, by its names.
const ACCOUNT_ROWS: [(&str, AccountGauge); 9] = [
    ("current_connections", |account| account.conns),
    ("total_connections", |account| account.total_conns),
    ("subscriptions", |account| account.num_subscriptions),
    ("leaf_nodes", |account| account.leafnodes),
    ("sent_messages", |account| account.sent.all.msgs),
    ("sent_bytes", |account| account.sent.all.bytes),
    ("received_messages", |account| account.received.all.msgs),
    ("received_bytes", |account| account.received.all.bytes),
    ("slow_consumers", |account| account.slow_consumers),
];

/// What only we tell of a route.
const OWN_ROUTE_ROWS: [(&str, &str, RouteGauge); 3] = [
    ("ringmesh_route_rtt_seconds", "The last round trip of a route.", |route, _| {
        route.rtt.as_secs_f64()
    }),
    ("ringmesh_route_pending_bytes", "Bytes queued for a route.", |route, _| {
        float(route.pending_bytes)
    }),
    (
        "ringmesh_route_sealing_seconds",
        "How much later bytes leave by a route because they are compressed or encrypted.",
        |route, _| route.sealing.delay().as_secs_f64(),
    ),
];

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// A number of a shard's.
type Gauge = fn(&ShardReport) -> u64;

fn counter_names() -> Vec<(&'static str, &'static str)> {
    let mut names = Vec::new();
    Counters::default().each(|name, help, _| names.push((name, help)));
    names
}

fn counter_values(counters: &Counters) -> Vec<u64> {
    let mut values = Vec::new();
    counters.each(|_, _, value| values.push(value));
    values
}

/// The text format, version 0.0.4. Writing into a string cannot fail.
struct Text {
    out: String,
}

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &impl Display) {
        self.out.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.out, "{before}{label}=\"{}\"", escape(value));
        }
        let _ = writeln!(self.out, "}} {value}");
    }

    fn histogram(&mut self, name: &str, shard: &str, hist: &Hist) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in CLASSIC_BOUNDS_NANOS.iter().zip(hist.classic()) {
            let labels = [("shard", shard), ("le", &seconds(*bound).to_string())];
            self.sample(&bucket, &labels, &count);
        }
        self.sample(&bucket, &[("shard", shard), ("le", "+Inf")], &hist.count());
        let labels = [("shard", shard)];
        self.sample(&format!("{name}_sum"), &labels, &seconds(hist.sum_nanos()));
        self.sample(&format!("{name}_count"), &labels, &hist.count());
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[expect(clippy::cast_precision_loss, reason = "53 bits of nanoseconds are 104 days")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// What the stages' histograms say.
const STAGES: &[(Stage, &str)] = &[
    (
        Stage::Delivery,
        "From the end of the turn before, as the upper bound of arrival, to the completion of the send.",
    ),
    (Stage::Processing, "From the end of the turn before to the end of the flush."),
    (Stage::Send, "From the flush to the completion of the send."),
    (Stage::Turn, "What a turn spends on what it found, without its sleep."),
    (
        Stage::Mailbox,
        "From the turn that posts into another shard's mailbox to the turn that takes it out.",
    ),
];

/// About what a scrape of four shards takes.
const TEXT_BYTES: usize = 32 * 1024;
