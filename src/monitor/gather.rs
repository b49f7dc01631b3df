//! Walks what the shards hold, a slice at a time, so that no shard is kept from its messages.

use super::Source;
use crate::report::{ConnectionReport, ReportRequest, ShardReport, Slots, SubscriptionReport};

/// Hands every open connection to `take`.
pub(super) async fn connections(source: &impl Source, mut take: impl FnMut(ConnectionReport)) {
    let ask = |slots| ReportRequest { connections: Some(slots), ..ReportRequest::default() };
    walk(source, ask, |report| {
        report.connections.into_iter().for_each(&mut take);
        report.connection_slots
    })
    .await;
}

/// Hands every closed connection that is still remembered to `take`.
pub(super) async fn closed(source: &impl Source, mut take: impl FnMut(ConnectionReport)) {
    let ask = |slots| ReportRequest { closed: Some(slots), ..ReportRequest::default() };
    walk(source, ask, |report| {
        report.closed.into_iter().for_each(&mut take);
        report.closed_slots
    })
    .await;
}

/// Hands every subscription to `take`.
pub(super) async fn subscriptions(source: &impl Source, mut take: impl FnMut(SubscriptionReport)) {
    let ask = |slots| ReportRequest { subscriptions: Some(slots), ..ReportRequest::default() };
    walk(source, ask, |report| {
        report.subscriptions.into_iter().for_each(&mut take);
        report.subscription_slots
    })
    .await;
}

/// Hands everything that other servers want over routes to `take`; the cid is the route's number.
pub(super) async fn route_subscriptions(
    source: &impl Source,
    mut take: impl FnMut(SubscriptionReport),
) {
    let ask = |slots| ReportRequest { route_subscriptions: Some(slots), ..Default::default() };
    walk(source, ask, |report| {
        report.route_subscriptions.into_iter().for_each(&mut take);
        report.subscription_slots
    })
    .await;
}

/// Asks for one slice after the other until `take`, which says where a shard's slots end, has seen
/// the last one.
async fn walk(
    source: &impl Source,
    ask: impl Fn(Slots) -> ReportRequest,
    mut take: impl FnMut(ShardReport) -> u32,
) {
    let mut from = 0;
    loop {
        let slots = Slots { from, to: from.saturating_add(SLICE_SLOTS) };
        let reports = source.reports(ask(slots)).await;
        let end = reports.into_iter().map(&mut take).max().unwrap_or(0);
        if end <= slots.to {
            return;
        }
        from = slots.to;
    }
}

/// What a shard looks through at one time: some tens of microseconds of its turn.
const SLICE_SLOTS: u32 = 256;
