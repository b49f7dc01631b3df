//! How many clients an account has, as servers tell each other.

use serde::Serialize;

use super::server_info::ServerInfo;
use crate::monitor::AccountStats;

/// The number of clients of an account has changed, or is told again.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionCount<'a> {
    pub(super) r#type: &'static str,
    pub(super) id: String,
    pub(super) timestamp: String,
    pub(super) server: ServerInfo<'a>,
    #[serde(flatten)]
    pub(super) stats: AccountStats,
}

/// What [`ConnectionCount`] is called.
pub(super) const CONNECTION_COUNT: &str = "io.nats.server.advisory.v1.account_connections";
