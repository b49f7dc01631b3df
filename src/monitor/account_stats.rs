//! What the clients of an account do, in the peer's form, which `/accstatz` and the system account share.

use serde::Serialize;

use crate::report::AccountReport;

/// One account, in the peer's order.
#[derive(Debug, Serialize)]
pub struct AccountStats {
    pub(super) acc: String,
    pub(super) name: String,
    pub(super) conns: u64,
    pub(super) leafnodes: u64,
    pub(super) total_conns: u64,
    pub(super) num_subscriptions: u64,
    pub(super) sent: ByKind,
    pub(super) received: ByKind,
    pub(super) slow_consumers: u64,
}

/// Messages of clients, and what of them went another way, which is not counted by account.
#[derive(Debug, Default, Serialize)]
pub(super) struct ByKind {
    #[serde(flatten)]
    pub(super) all: Traffic,
    gateways: Traffic,
    routes: Traffic,
    leafs: Traffic,
}

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Traffic {
    /// Messages.
    pub msgs: u64,
    /// Bytes of their payloads, headers among them.
    pub bytes: u64,
}

impl AccountStats {
    /// Puts what the shards counted together into the form.
    #[must_use]
    pub fn new(name: &str, report: &AccountReport) -> Self {
        let kinds = |msgs, bytes| ByKind { all: Traffic { msgs, bytes }, ..ByKind::default() };
        Self {
            acc: name.to_owned(),
            name: name.to_owned(),
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
