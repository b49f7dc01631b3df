//! What monitoring asks of connections to other servers.

use crate::report::{RouteReport, SubscriptionReport, WireCounts};
use crate::session::{Route, RouteLane};
use crate::sublist::{Owner, Subscription};
use crate::transport::{Level, Mode};

use super::Engine;

impl Engine {
    /// All registered routes.
    pub(super) fn route_reports(&self) -> Vec<RouteReport> {
        self.registered.iter().filter_map(|hearer| self.route_report(hearer.index)).collect()
    }

    /// How much other servers want over the routes.
    pub(super) fn routed_subscriptions(&self) -> u64 {
        let routes = self.registered.iter().filter_map(|hearer| self.routes.get(&hearer.index));
        routes.map(|route| u64::from(route.subscriptions)).sum()
    }

    /// What another server wants, if that is what is in the slot.
    pub(super) fn route_subscription_at(&self, id: usize) -> Option<SubscriptionReport> {
        let subscription = self.router.subscriptions.get(id)?;
        let Owner::Route(index) = subscription.owner else { return None };
        let route = self.routes.get(&index)?;
        let report = self.subscription_report(subscription, route.rid);
        Some(SubscriptionReport { sid: route_sid(route, subscription, &report.account), ..report })
    }

    fn route_report(&self, index: u32) -> Option<RouteReport> {
        let (route, link) = (self.routes.get(&index)?, self.links.at(index)?);
        let registration = route.registration.as_deref()?;
        let (pool_index, account) = match &registration.lane {
            RouteLane::Pool(index) => (Some(*index), None),
            RouteLane::Account(name) => (None, Some(name.clone())),
            RouteLane::Everything => (None, None),
        };
        let transport = link.transport.as_deref();
        let level = transport.and_then(|transport| transport.level());
        Some(RouteReport {
            rid: route.rid,
            remote_id: registration.remote_id.to_string(),
            remote_name: registration.remote_name.to_string(),
            did_solicit: registration.solicited,
            is_configured: registration.configured,
            is_ringmesh: registration.is_ringmesh,
            peer: route.peer,
            start: route.start,
            last_activity: route.active_at.max(link.active_at),
            rtt: route.rtt,
            pending_bytes: link.pending_bytes() as u64,
            in_msgs: route.in_msgs,
            out_msgs: link.out_msgs,
            in_bytes: route.in_bytes,
            out_bytes: link.out_bytes,
            subscriptions: route.subscriptions,
            account,
            pool_index,
            compression: level.map_or(Mode::Off.as_str(), Level::as_str),
            wire: transport.map_or_else(WireCounts::default, |transport| {
                let counts = transport.counts();
                WireCounts {
                    wire_in: counts.wire_in,
                    plain_in: counts.plain_in,
                    plain_out: counts.plain_out,
                    wire_out: counts.wire_out,
                }
            }),
            sealing: link.lanes.as_ref().map_or_else(<_>::default, |lanes| lanes.sealing),
        })
    }
}

/// The name that peers give to a route's subscription: the line that announced it.
fn route_sid(route: &Route, subscription: &Subscription, account: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut sid = "R".to_owned();
    let account = route.names_accounts().then(|| account.to_owned());
    let queue = subscription.queue.as_deref().map(text);
    for part in account.into_iter().chain([text(&subscription.subject)]).chain(queue) {
        sid.push(' ');
        sid.push_str(&part);
    }
    sid
}
