//! `/routez`: the connections to other servers, and what is missing of them.

use std::collections::BTreeMap;

use ring::Time;
use serde::{Deserialize, Serialize};

use super::format::{Float, duration, ratio, time, uptime};
use super::mesh::{Member, MeshView, RouteRules};
use super::query::{Query, Subs};
use super::subsz::SubscriptionDetail;
use super::{LIST_MAX, Source, gather};
use crate::report::{ReportRequest, RouteReport, ShardReport, SubscriptionReport};

/// The options of a request, by the peer's names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    subscriptions: bool,
    subscriptions_detail: bool,
}

impl Asked {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_query(query: &Query) -> Result<Self, String> {
        let subs = query.subs()?;
        Ok(Self {
            subscriptions: subs == Subs::Subjects,
            subscriptions_detail: subs == Subs::Detail,
        })
    }

    /// Whether the answer needs more than one look at each shard.
    pub(super) const fn walks(&self) -> bool {
        self.subscriptions || self.subscriptions_detail
    }
}

/// The body.
pub(super) async fn routez(source: &impl Source, asked: &Asked) -> Routez {
    let mut reports = routes(source).await;
    reports.sort_by(|a, b| place(a).cmp(&place(b)));
    let subs = Subs::new(asked.subscriptions, asked.subscriptions_detail);
    let mut subscriptions = match subs {
        Subs::No => BTreeMap::new(),
        Subs::Subjects | Subs::Detail => subscriptions(source).await,
    };
    let (facts, now, mesh) = (source.facts(), source.now(), source.mesh());
    let rules = |rid| mesh.as_ref().and_then(|mesh| mesh.remote_rules.get(&rid)).cloned();
    let routes = reports.into_iter().map(|report| {
        let of_route = subscriptions.remove(&report.rid).unwrap_or_default();
        Route::new(&report, rules(report.rid).unwrap_or_default(), lists(of_route, subs), now)
    });
    let routes: Vec<_> = routes.collect();
    Routez {
        server_id: facts.server_id.clone(),
        server_name: facts.server_name.clone(),
        now: time(now),
        own_rules: mesh.as_ref().map(|mesh| mesh.own_rules.clone()).unwrap_or_default(),
        num_routes: routes.len(),
        routes,
        missing_links: mesh.as_ref().map(MeshView::missing_links),
        mesh: mesh.map(|mesh| mesh.members),
    }
}

/// All routes of all shards.
async fn routes(source: &impl Source) -> Vec<RouteReport> {
    let request = ReportRequest { routes: true, ..ReportRequest::default() };
    let reports = source.reports(request).await;
    reports.into_iter().flat_map(|report: ShardReport| report.routes).collect()
}

/// By server; first the pool in its order, then the accounts' own.
fn place(route: &RouteReport) -> (&str, bool, Option<u16>, Option<&str>, u64) {
    let account = route.account.as_deref();
    (&route.remote_id, account.is_some(), route.pool_index, account, route.rid)
}

/// What other servers want, by their routes' numbers; not more than a list may have.
async fn subscriptions(source: &impl Source) -> BTreeMap<u64, Vec<SubscriptionReport>> {
    let (mut found, mut count) = (BTreeMap::<u64, Vec<_>>::new(), 0);
    gather::route_subscriptions(source, |subscription| {
        if count < LIST_MAX {
            count += 1;
            found.entry(subscription.cid).or_default().push(subscription);
        }
    })
    .await;
    found
}

/// The two forms of a list of subscriptions, one of which is empty.
fn lists(subscriptions: Vec<SubscriptionReport>, subs: Subs) -> Lists {
    let mut lists = Lists::default();
    match subs {
        Subs::No => {}
        Subs::Subjects => {
            lists.subjects = subscriptions.into_iter().map(|sub| sub.subject).collect();
        }
        Subs::Detail => {
            let detail = subscriptions.into_iter().map(SubscriptionDetail::without_account);
            lists.detail = detail.collect();
        }
    }
    lists
}

#[derive(Debug, Default, Serialize)]
struct Lists {
    #[serde(rename = "subscriptions_list", skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<String>,
    #[serde(rename = "subscriptions_list_detail", skip_serializing_if = "Vec::is_empty")]
    detail: Vec<SubscriptionDetail>,
}

/// The answer, in the peer's order; `mesh` and `missing_links` are our own.
#[derive(Debug, Serialize)]
pub(super) struct Routez {
    server_id: String,
    server_name: String,
    now: String,
    #[serde(flatten)]
    own_rules: RouteRules,
    num_routes: usize,
    routes: Vec<Route>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mesh: Option<Vec<Member>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_links: Option<usize>,
}

/// One route, in the peer's order; `ringmesh` is our own.
#[derive(Debug, Serialize)]
struct Route {
    rid: u64,
    remote_id: String,
    remote_name: String,
    did_solicit: bool,
    is_configured: bool,
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    rtt: String,
    uptime: String,
    idle: String,
    #[serde(flatten)]
    rules: RouteRules,
    pending_size: u64,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: u32,
    #[serde(flatten)]
    lists: Lists,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    compression: &'static str,
    ringmesh: Beyond,
}

/// What the peer does not tell.
#[derive(Debug, Serialize)]
struct Beyond {
    /// The place in the pool; none for an account's own connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_index: Option<u16>,
    /// How many plain bytes a byte on the wire carries; 1 where bytes leave as they are.
    ratio: Float,
    /// What compression and encryption cost lately; 0 where there is neither.
    ns_per_byte: Float,
    /// How much later bytes leave because of it.
    added_delay_us: Float,
}

impl Route {
    fn new(report: &RouteReport, rules: RouteRules, lists: Lists, now: Time) -> Self {
        Self {
            rid: report.rid,
            remote_id: report.remote_id.clone(),
            remote_name: report.remote_name.clone(),
            did_solicit: report.did_solicit,
            is_configured: report.is_configured,
            ip: report.peer.ip().to_canonical().to_string(),
            port: report.peer.port(),
            start: time(report.start),
            last_activity: time(report.last_activity),
            rtt: if report.rtt.is_zero() { String::new() } else { duration(report.rtt) },
            uptime: uptime(now.since(report.start)),
            idle: uptime(now.since(report.last_activity)),
            rules,
            pending_size: report.pending_bytes,
            in_msgs: report.in_msgs,
            out_msgs: report.out_msgs,
            in_bytes: report.in_bytes,
            out_bytes: report.out_bytes,
            subscriptions: report.subscriptions,
            lists,
            account: report.account.clone(),
            compression: report.compression,
            ringmesh: Beyond::new(report),
        }
    }
}

impl Beyond {
    fn new(report: &RouteReport) -> Self {
        let (wire, sealing) = (&report.wire, &report.sealing);
        let none = wire.wire_out == 0;
        Self {
            pool_index: report.pool_index,
            ratio: if none { Float(1.0) } else { ratio(wire.plain_out, wire.wire_out).rounded() },
            ns_per_byte: ratio(sealing.nanos, sealing.bytes).rounded(),
            added_delay_us: Float(sealing.delay().as_secs_f64() * 1e6).rounded(),
        }
    }
}
