//! The server as its messages name it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ring::Time;
use serde::Serialize;

use super::event::Facts;

/// Who sends a message, when, and as the how many-th. Receivers ignore what comes out of order.
#[derive(Debug, Serialize)]
pub(super) struct ServerInfo<'a> {
    name: &'a str,
    host: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster: &'a str,
    ver: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    /// Whether it stores streams.
    jetstream: bool,
    /// What its store can do.
    flags: u64,
    seq: u64,
    time: String,
}

/// Signs messages.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) facts: Facts,
    seq: u64,
}

impl Signer {
    pub(super) const fn new(facts: Facts) -> Self {
        Self { facts, seq: 0 }
    }

    /// The next message's sender.
    pub(super) fn sign(&mut self, now: Time) -> ServerInfo<'_> {
        self.seq += 1;
        let facts = &self.facts;
        ServerInfo {
            name: &facts.name,
            host: &facts.host,
            id: &facts.id,
            cluster: &facts.cluster,
            ver: &facts.version,
            tags: &facts.tags,
            metadata: &facts.metadata,
            jetstream: false,
            flags: 0,
            seq: self.seq,
            time: time(now),
        }
    }
}

/// A time as RFC 3339 in UTC, with as many fractional digits as it needs.
pub(super) fn time(time: Time) -> String {
    let nanos = i128::from(time.nanos());
    Timestamp::from_nanosecond(nanos).map_or_else(|_| String::new(), |at| at.to_string())
}
