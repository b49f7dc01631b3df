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

/// The numbers of several accounts.
#[derive(Debug, Serialize)]
pub(super) struct StatsOfAccounts<'a> {
    pub(super) server_id: &'a str,
    pub(super) now: String,
    pub(super) account_statz: Vec<AccountStats<'a>>,
}

/// The accounts of a server, or one of them.
#[derive(Debug, Serialize)]
pub(super) struct AccountList<'a> {
    pub(super) server_id: &'a str,
    pub(super) now: String,
    pub(super) system_account: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) accounts: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account_detail: Option<AccountDetail<'a>>,
}

/// What is known of an account.
#[derive(Debug, Serialize)]
pub(super) struct AccountDetail<'a> {
    account_name: &'a str,
    update_time: String,
    #[serde(skip_serializing_if = "is_not")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: u64,
    client_connections: u64,
    subscriptions: u64,
    name_tag: &'a str,
}

impl<'a> AccountDetail<'a> {
    pub(super) fn new(report: &AccountReport, accounts: &'a Accounts, loaded: String) -> Self {
        let name = accounts.name(report.account);
        Self {
            account_name: name,
            update_time: loaded,
            is_system: report.account == crate::ids::AccountId::SYSTEM,
            expired: false,
            complete: true,
            jetstream_enabled: false,
            leafnode_connections: 0,
            client_connections: report.clients,
            subscriptions: report.subscriptions,
            name_tag: name,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}
