//! News of one client.

use std::time::Duration;

use serde::Serialize;

use super::server_info::{ServerInfo, time};
use crate::monitor::Traffic;
use crate::report::ConnectionReport;

/// A client has logged in.
#[derive(Debug, Serialize)]
pub(super) struct Connected<'a> {
    r#type: &'static str,
    id: String,
    timestamp: String,
    server: ServerInfo<'a>,
    client: Client<'a>,
}

/// A client is gone, or was refused.
#[derive(Debug, Serialize)]
pub(super) struct Disconnected<'a> {
    #[serde(flatten)]
    who: Connected<'a>,
    sent: Traffic,
    received: Traffic,
    reason: &'static str,
}

/// The client, in the peer's order.
#[derive(Debug, Serialize)]
struct Client<'a> {
    start: String,
    host: String,
    id: u64,
    acc: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ver: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    name_tag: &'a str,
    kind: &'static str,
    client_type: &'static str,
}

impl<'a> Connected<'a> {
    pub(super) fn new(
        client: &'a ConnectionReport,
        id: String,
        timestamp: String,
        server: ServerInfo<'a>,
    ) -> Self {
        let r#type = "io.nats.server.advisory.v1.client_connect";
        Self { r#type, id, timestamp, server, client: Client::new(client) }
    }
}

impl<'a> Disconnected<'a> {
    pub(super) fn new(
        client: &'a ConnectionReport,
        id: String,
        timestamp: String,
        server: ServerInfo<'a>,
    ) -> Self {
        let r#type = "io.nats.server.advisory.v1.client_disconnect";
        Self {
            who: Connected { r#type, ..Connected::new(client, id, timestamp, server) },
            sent: Traffic { msgs: client.in_msgs, bytes: client.in_bytes },
            received: Traffic { msgs: client.out_msgs, bytes: client.out_bytes },
            reason: client.end.map_or("", |end| end.reason),
        }
    }
}

impl<'a> Client<'a> {
    fn new(client: &'a ConnectionReport) -> Self {
        Self {
            start: time(client.start),
            host: client.peer.ip().to_canonical().to_string(),
            id: client.cid,
            acc: &client.account,
            user: &client.authorized_user,
            name: &client.name,
            lang: &client.lang,
            ver: &client.version,
            // Told when it goes, if it is known.
            rtt: client.end.and_then(|_| nanos(client.rtt)),
            stop: client.end.map(|end| time(end.at)),
            name_tag: &client.account,
            kind: client.kind.name(),
            client_type: "nats",
        }
    }
}

/// Nothing, if that is not known.
fn nanos(span: Duration) -> Option<u64> {
    (!span.is_zero()).then(|| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
