//! `/latencyz`: how long messages take inside the broker, by shard and stage. It has no counterpart
//! in nats-server.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Source;
use super::format::time;
use crate::hist::Hist;
use crate::report::{ReportRequest, ShardReport, Stage};

/// The body.
pub(super) async fn latencyz(source: &impl Source) -> Latencyz {
    let request = ReportRequest { latency: true, ..ReportRequest::default() };
    let reports = source.reports(request).await;
    Latencyz {
        server_id: source.facts().server_id.clone(),
        now: time(source.now()),
        stages: merged(&reports).iter().map(|(stage, hist)| Latency::new(*stage, hist)).collect(),
        shards: reports.iter().map(ShardLatency::new).collect(),
    }
}

/// All shards' histograms together, by stage.
fn merged(reports: &[ShardReport]) -> BTreeMap<Stage, Hist> {
    let mut all: BTreeMap<Stage, Hist> = BTreeMap::new();
    for (stage, hist) in reports.iter().flat_map(|report| &report.latency) {
        all.entry(*stage).or_default().merge(hist);
    }
    all
}

/// The body, in its order.
#[derive(Debug, Serialize)]
pub(super) struct Latencyz {
    server_id: String,
    now: String,
    stages: Vec<Latency>,
    shards: Vec<ShardLatency>,
}

#[derive(Debug, Serialize)]
struct ShardLatency {
    shard: u16,
    stages: Vec<Latency>,
}

impl ShardLatency {
    fn new(report: &ShardReport) -> Self {
        let stages = report.latency.iter().map(|(stage, hist)| Latency::new(*stage, hist));
        Self { shard: report.shard, stages: stages.collect() }
    }
}

/// Percentiles of one stage since the start. Each is at most 1/16 too high, `max_ns` is exact.
#[derive(Debug, Serialize)]
struct Latency {
    stage: &'static str,
    count: u64,
    mean_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    p9999_ns: u64,
    max_ns: u64,
}

impl Latency {
    fn new(stage: Stage, hist: &Hist) -> Self {
        Self {
            stage: stage.name(),
            count: hist.count(),
            mean_ns: hist.sum_nanos().checked_div(hist.count()).unwrap_or(0),
            p50_ns: hist.percentile_nanos(50.0),
            p90_ns: hist.percentile_nanos(90.0),
            p99_ns: hist.percentile_nanos(99.0),
            p999_ns: hist.percentile_nanos(99.9),
            p9999_ns: hist.percentile_nanos(99.99),
            max_ns: hist.max_nanos(),
        }
    }
}
