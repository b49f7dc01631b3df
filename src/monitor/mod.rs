//! What the server tells about itself: the monitoring endpoints over HTTP.
//!
//! Everything here runs on the control thread. Numbers come from the shards as
//! [`ShardReport`]s through a [`Source`]; what does not change while the server runs is in
//! [`ServerFacts`]. The monitor knows no shard, no mailbox, no ring and no clock.

mod account_stats;
mod accountz;
mod body;
mod connz;
mod format;
mod gather;
mod healthz;
mod http;
mod index;
mod latencyz;
mod links;
mod mesh;
mod metrics;
mod process;
mod query;
mod routez;
mod subsz;
mod varz;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use ring::Time;

use crate::account::Accounts;
use crate::report::{ReportRequest, ServerFacts, ShardReport};

pub use account_stats::{AccountStats, Traffic};
pub use body::{Body, Refused};
pub use http::{Monitor, MonitorLimits};
pub use mesh::{Member, MeshView, RouteRules};
pub use process::{ProcessMeter, cores, resident_bytes};

/// Where the monitor gets what it tells.
pub trait Source: 'static {
    /// The time.
    fn now(&self) -> Time;

    /// What changes at most with the configuration.
    fn facts(&self) -> Arc<ServerFacts>;

    /// Why the server cannot serve clients; `None` when it can.
    fn unready(&self) -> Option<String>;

    /// The accounts.
    fn accounts(&self) -> Arc<Accounts>;

    /// The cluster, where the server is part of one.
    fn mesh(&self) -> Option<MeshView>;

    /// Asks every shard, in the order of their numbers. A shard that ends meanwhile is left out.
    fn reports(&self, request: ReportRequest) -> impl Future<Output = Vec<ShardReport>>;
}

/// How often each endpoint was asked, by its path.
type RequestCounts = BTreeMap<&'static str, u64>;

/// What an endpoint answers.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    kind: Kind,
    body: String,
}

/// What an answer's body is; it decides the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Html,
    Text,
    Prometheus,
}

impl Answer {
    /// An answer in JSON, indented as the peer's are.
    fn json(value: &impl serde::Serialize) -> Self {
        Self { status: 200, kind: Kind::Json, body: format::json(value) }
    }

    /// The answer to a request whose parameters are wrong.
    const fn bad_request(text: String) -> Self {
        Self { status: 400, kind: Kind::Text, body: text }
    }
}

/// How many entries of a list are meant by `limit`; without one the peer's default.
fn list_limit(limit: i64) -> usize {
    match usize::try_from(limit) {
        Err(_) | Ok(0) => LIST_DEFAULT,
        Ok(limit) => limit.min(LIST_MAX),
    }
}

/// Entries of a list that are given when nobody asks for more or fewer.
const LIST_DEFAULT: usize = 1024;

/// Entries of a list that one answer has at most; about 10 MB. The rest is asked for by `offset`.
const LIST_MAX: usize = 16_384;

/// The account of everybody, where nothing is said of accounts.
const GLOBAL_ACCOUNT: &str = "$G";

#[cfg(test)]
mod tests;
