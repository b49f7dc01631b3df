//! What monitoring asks for.

use crate::outbound::Link;
use crate::report::{
    ConnectionKind, ConnectionReport, ReportRequest, ShardReport, Slots, SublistStats,
    SubscriptionReport,
};
use crate::session::Client;
use crate::stats::Counters;
use crate::sublist::{self, Owner, Subscription};

use super::Engine;

impl Engine {
    pub(super) fn report(&self, request: &ReportRequest) -> ShardReport {
        let pages = |slots: &Slots| slots.from as usize..slots.to as usize;
        ShardReport {
            shard: self.mail.shard,
            counters: self.counters_of_all(),
            connections_open: self.clients.iter().flatten().count() as u64,
            routes_open: self.registered_routes(),
            leafs_open: 0,
            subscriptions_open: self.own_subscriptions(),
            subscriptions_routed: self.routed_subscriptions(),
            pending_bytes: self.links.iter().map(|(_, l)| l.pending_bytes() as u64).sum(),
            held_publishers: self.held.len() as u64,
            sublist: self.sublist_stats(),
            connection_slots: slots(self.clients.len()),
            connections: request.connections.as_ref().map_or_else(Vec::new, |asked| {
                pages(asked).filter_map(|index| self.connection_at(index)).collect()
            }),
            closed_slots: slots(self.closed.len()),
            closed: request.closed.as_ref().map_or_else(Vec::new, |asked| {
                pages(asked).map_while(|at| self.closed.get(at).cloned()).collect()
            }),
            subscription_slots: slots(self.router.subscriptions.capacity()),
            subscriptions: request.subscriptions.as_ref().map_or_else(Vec::new, |asked| {
                pages(asked).filter_map(|id| self.subscription_at(id)).collect()
            }),
            routes: if request.routes { self.route_reports() } else { Vec::new() },
            route_subscriptions: request
                .route_subscriptions
                .as_ref()
                .map_or_else(Vec::new, |asked| {
                    pages(asked).filter_map(|id| self.route_subscription_at(id)).collect()
                }),
            latency: if request.latency { self.latency.report() } else { Vec::new() },
            accounts: if request.accounts { self.tallies.reports() } else { Vec::new() },
            account_sublists: if request.accounts {
                self.router.account_stats().map(|stats| sublist_stats(&stats)).collect()
            } else {
                Vec::new()
            },
        }
    }

    /// The counters; what clients do is counted by account.
    fn counters_of_all(&self) -> Counters {
        let clients = self.tallies.sum();
        Counters {
            in_client_msgs: clients.in_msgs,
            in_client_bytes: clients.in_bytes,
            out_client_msgs: clients.out_msgs,
            out_client_bytes: clients.out_bytes,
            ..self.counters
        }
    }

    /// Subscriptions of this shard's clients; what other shards want is counted there.
    fn own_subscriptions(&self) -> u64 {
        let foreign = self.router.foreign_len() + self.portions.departing_foreign();
        (self.router.subscriptions.len() - foreign - self.internal_subscriptions) as u64
    }

    fn sublist_stats(&self) -> SublistStats {
        SublistStats {
            subscriptions: self.own_subscriptions() + self.routed_subscriptions(),
            ..sublist_stats(&self.router.sublist_stats())
        }
    }

    fn connection_at(&self, index: usize) -> Option<ConnectionReport> {
        let client = self.clients.get(index)?.as_deref()?;
        let link = self.links.at(slots(index))?;
        Some(self.connection(client, link))
    }

    fn subscription_at(&self, id: usize) -> Option<SubscriptionReport> {
        let subscription = self.router.subscriptions.get(id)?;
        let Owner::Client(index) = subscription.owner else { return None };
        let cid = self.clients.get(index as usize)?.as_ref()?.cid;
        Some(self.subscription_report(subscription, cid))
    }
}

fn sublist_stats(stats: &sublist::SublistStats) -> SublistStats {
    SublistStats {
        subscriptions: stats.num_subscriptions,
        cache_entries: stats.num_cache,
        inserts: stats.num_inserts,
        removes: stats.num_removes,
        matches: stats.num_matches,
        cache_hits: stats.cache_hits,
        fanout_max: stats.max_fanout,
        fanout_total: stats.total_fanout,
    }
}

fn slots(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Subscriptions of a closed connection that are remembered.
const CLOSED_SUBSCRIPTIONS_MAX: usize = 32;

impl Engine {
    /// What is remembered of a closed connection's subscriptions.
    pub(super) fn closed_subscriptions(&self, client: &Client) -> Vec<SubscriptionReport> {
        let subscriptions = &self.router.subscriptions;
        let report =
            |id: &u32| Some(self.subscription_report(subscriptions.get(*id as usize)?, client.cid));
        client.sids.ids().iter().take(CLOSED_SUBSCRIPTIONS_MAX).filter_map(report).collect()
    }

    pub(super) fn subscription_report(
        &self,
        subscription: &Subscription,
        cid: u64,
    ) -> SubscriptionReport {
        SubscriptionReport {
            account: self.options.accounts.name(subscription.account).to_owned(),
            subject: text(&subscription.subject),
            queue: text(subscription.queue.as_deref().unwrap_or_default()),
            sid: text(&subscription.sid),
            msgs: subscription.delivered,
            max: subscription.max,
            cid,
        }
    }

    /// What is told of one connection.
    pub(super) fn connection(&self, client: &Client, link: &Link) -> ConnectionReport {
        let about = client.about.as_deref();
        let said = |field: fn(&crate::session::About) -> &str| {
            about.map_or_else(String::new, |about| field(about).to_owned())
        };
        ConnectionReport {
            cid: client.cid,
            kind: ConnectionKind::Client,
            peer: client.peer,
            start: client.start,
            last_activity: client.active_at.max(link.active_at),
            end: None,
            rtt: client.pings.rtt,
            pending_bytes: link.queue.pending_bytes() as u64,
            in_msgs: client.in_msgs,
            out_msgs: link.out_msgs,
            in_bytes: client.in_bytes,
            out_bytes: link.out_bytes,
            stalls: client.stalls,
            subscriptions: slots(client.sids.len()),
            name: said(|about| &about.name),
            lang: said(|about| &about.lang),
            version: said(|about| &about.version),
            authorized_user: said(|about| &about.user),
            account: self.options.accounts.name(client.account).to_owned(),
            closed_subscriptions: Vec::new(),
        }
    }
}
