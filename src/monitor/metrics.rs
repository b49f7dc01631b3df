//! `/metrics`: the same numbers for Prometheus.
//!
//! What prometheus-nats-exporter makes of the JSON endpoints has the exporter's names (`gnatsd_…`),
//! types and labels, so that its charts work; what only we have begins with `ringmesh_`.

use std::fmt::{Display, Write as _};

use ring::Time;
use serde::Serialize;
use serde_json::Value;

use super::subsz::{self, Subsz};
use super::varz::Varz;
use super::{Answer, Kind, LIST_DEFAULT};
use crate::hist::{CLASSIC_BOUNDS_NANOS, Hist};
use crate::report::{ShardReport, Stage};
use crate::stats::Counters;

/// What the metrics are made of.
pub(super) struct Scrape<'a> {
    /// The label of all metrics that the exporter gives.
    pub(super) server_id: &'a str,
    /// The general numbers.
    pub(super) varz: &'a Varz<'a>,
    /// The shards, with their histograms.
    pub(super) reports: &'a [ShardReport],
    /// Whether clients are served.
    pub(super) healthy: bool,
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
        let routes: u64 = self.reports.iter().map(|report| report.routes_open).sum();
        self.gauge(&mut text, "gnatsd_routez_num_routes", "num_routes", &routes);
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
