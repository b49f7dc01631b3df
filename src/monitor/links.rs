//! `/gatewayz`, `/leafz` and `/jsz` of a server that has none of these: the answers that
//! tools which ask for everything can read, and parameters that are wrong refused as by the peer.

use serde::Serialize;

use super::Source;
use super::format::time;
use super::query::Query;

/// Checks the parameters of a request for `/gatewayz`.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_gatewayz(query: &Query) -> Result<(), String> {
    query.subs()?;
    query.boolean("accs").map(drop)
}

/// The same for `/leafz`.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_leafz(query: &Query) -> Result<(), String> {
    query.boolean("subs").map(drop)
}

/// The same for `/jsz`.
///
/// # Errors
/// What is wrong with them, or that only a leader would answer.
pub(super) fn check_jsz(query: &Query) -> Result<(), String> {
    for key in ["accounts", "streams", "consumers", "direct-consumers", "config"] {
        query.boolean(key)?;
    }
    query.int("offset")?;
    query.int("limit")?;
    let only_leader = query.boolean("leader-only")?;
    query.boolean("raft")?;
    query.boolean("stream-leader-only")?;
    if only_leader { Err("filtered response: not leader".into()) } else { Ok(()) }
}

/// The body of `/gatewayz`.
pub(super) fn gatewayz(source: &impl Source) -> Gatewayz {
    Gatewayz {
        server_id: source.facts().server_id.clone(),
        now: time(source.now()),
        outbound_gateways: Nothing {},
        inbound_gateways: Nothing {},
    }
}

/// The body of `/leafz`.
pub(super) fn leafz(source: &impl Source) -> Leafz {
    Leafz {
        server_id: source.facts().server_id.clone(),
        now: time(source.now()),
        leafnodes: 0,
        leafs: [],
    }
}

/// The body of `/jsz`.
pub(super) fn jsz(source: &impl Source) -> Jsz {
    Jsz {
        api: JszApi::default(),
        server_id: source.facts().server_id.clone(),
        now: time(source.now()),
        disabled: true,
        ..Jsz::default()
    }
}

/// The answer, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Gatewayz {
    server_id: String,
    now: String,
    outbound_gateways: Nothing,
    inbound_gateways: Nothing,
}

/// The answer, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Leafz {
    server_id: String,
    now: String,
    leafnodes: u64,
    leafs: [Nothing; 0],
}

/// The answer, in the peer's order.
#[derive(Debug, Default, Serialize)]
pub(super) struct Jsz {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: u64,
    ha_assets: u64,
    api: JszApi,
    server_id: String,
    now: String,
    disabled: bool,
    config: JszConfig,
    streams: u64,
    consumers: u64,
    messages: u64,
    bytes: u64,
    total: u64,
}

#[derive(Debug, Default, Serialize)]
struct JszApi {
    level: u64,
    total: u64,
    errors: u64,
}

#[derive(Debug, Default, Serialize)]
struct JszConfig {
    max_memory: u64,
    max_storage: u64,
}

/// An object without members.
#[derive(Debug, Serialize)]
struct Nothing {}
