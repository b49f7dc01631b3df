//! What the clients of an account do, as servers tell it.

use serde::Serialize;

use super::server_info::ServerInfo;
use super::statsz::Traffic;
use crate::account::Accounts;
use crate::report::AccountReport;

/// One account, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct AccountStats<'a> {
    acc: &'a str,
    name: &'a str,
    conns: u64,
    leafnodes: u64,
    total_conns: u64,
    num_subscriptions: u64,
    sent: ByKind,
    received: ByKind,
    slow_consumers: u64,
}

/// Messages to and from clients, and what of them went another way, which is nothing.
#[derive(Debug, Default, Serialize)]
struct ByKind {
    #[serde(flatten)]
    all: Traffic,
    gateways: Traffic,
    routes: Traffic,
    leafs: Traffic,
}

impl<'a> AccountStats<'a> {
    pub(super) fn new(report: &AccountReport, accounts: &'a Accounts) -> Self {
        let name = accounts.name(report.account);
        let kinds = |msgs, bytes| ByKind { all: Traffic { msgs, bytes }, ..ByKind::default() };
        Self {
            acc: name,
            name,
            conns: report.clients,
            leafnodes: 0,
            total_conns: report.clients,
            num_subscriptions: report.subscriptions,
            sent: kinds(report.out_msgs, report.out_bytes),
            received: kinds(report.in_msgs, report.in_bytes),
            slow_consumers: report.slow_consumers,
        }
    }
}

/// The number of clients of an account has changed, or is told again.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionCount<'a> {
    pub(super) r#type: &'static str,
    pub(super) id: String,
    pub(super) timestamp: String,
    pub(super) server: ServerInfo<'a>,
    #[serde(flatten)]
    pub(super) stats: AccountStats<'a>,
}

/// What [`ConnectionCount`] is called.
pub(super) const CONNECTION_COUNT: &str = "io.nats.server.advisory.v1.account_connections";
