//! `/routez`, `/gatewayz`, `/leafz` and `/jsz` of a server that has none of these: the answers that
//! tools which ask for everything can read.

use serde::Serialize;

use super::format::time;
use super::query::Query;
use super::{Answer, Source};

/// Answers `/routez`.
pub(super) fn routez(source: &impl Source, query: &Query) -> Answer {
    if query.text("subs") != "detail"
        && let Err(text) = query.boolean("subs")
    {
        return Answer::bad_request(text);
    }
    let facts = source.facts();
    Answer::json(&Routez {
        server_id: &facts.server_id,
        server_name: &facts.server_name,
        now: time(source.now()),
        num_routes: 0,
        routes: [],
    })
}

/// Answers `/gatewayz`.
pub(super) fn gatewayz(source: &impl Source) -> Answer {
    Answer::json(&Gatewayz {
        server_id: &source.facts().server_id,
        now: time(source.now()),
        outbound_gateways: Nothing {},
        inbound_gateways: Nothing {},
    })
}

/// Answers `/leafz`.
pub(super) fn leafz(source: &impl Source) -> Answer {
    Answer::json(&Leafz {
        server_id: &source.facts().server_id,
        now: time(source.now()),
        leafnodes: 0,
        leafs: [],
    })
}

/// Answers `/jsz`.
pub(super) fn jsz(source: &impl Source) -> Answer {
    Answer::json(&Jsz {
        api: JszApi::default(),
        server_id: &source.facts().server_id,
        now: time(source.now()),
        disabled: true,
        ..Jsz::default()
    })
}

#[derive(Debug, Serialize)]
struct Routez<'a> {
    server_id: &'a str,
    server_name: &'a str,
    now: String,
    num_routes: u64,
    routes: [Nothing; 0],
}

#[derive(Debug, Serialize)]
struct Gatewayz<'a> {
    server_id: &'a str,
    now: String,
    outbound_gateways: Nothing,
    inbound_gateways: Nothing,
}

#[derive(Debug, Serialize)]
struct Leafz<'a> {
    server_id: &'a str,
    now: String,
    leafnodes: u64,
    leafs: [Nothing; 0],
}

#[derive(Debug, Default, Serialize)]
struct Jsz<'a> {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: u64,
    ha_assets: u64,
    api: JszApi,
    server_id: &'a str,
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
