//! What an account's clients ask of JetStream, which lives in the system account of other servers.
//!
//! A request to `$JS.API.>` leaves its account for the system account with a reply of this shard's
//! making; the answer finds its way back by that. Pulls and direct reads stay in their account, where
//! the servers that store the stream listen themselves.
//!
//! Bounds: so many requests may wait for their answer, each for two minutes; the oldest goes first.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use ring::{Time, Token};

use crate::ids::AccountId;
use crate::router::{Delivered, Delivery, Message, Origin, Want};
use crate::session::Client;
use crate::sublist::{Owner, Subscription};

use super::Engine;
use super::timers::Timer;

/// Requests that may wait for their answers.
const WAITING_MAX: usize = 16_384;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Requests that may wait to be tried again.
const DEFERRED_MAX: usize = 1024;
/// How soon a request is tried again, and how often.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const TRIES: u32 = 6;
/// The server's number for the subscription to which answers come.
pub(super) const ANSWERS: u32 = u32::MAX;

const PREFIX: &[u8] = b"$JS.API.";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEADER: &[u8] = b"Nats-Request-Info";
const VERSION_LINE: &[u8] = b"NATS/1.0\r\n";

/// Six characters that tell requests, or shards, apart.
type Name = [u8; 6];

/// A request to a stream or consumer of which nobody here knows yet.
struct Deferred {
    client: Token,
    account: AccountId,
    subject: Box<[u8]>,
    reply: Box<[u8]>,
    header_len: Option<u32>,
    body: Box<[u8]>,
    tries: u32,
}

/// Requests whose answers have not come.
#[derive(Default)]
pub(super) struct Imports {
    /// Requests that are tried again, in the order in which they are due.
    deferred: VecDeque<(Time, Deferred)>,
    /// This shard's part of the replies; none before the first request.
    shard: Option<Name>,
    waiting: HashMap<Name, Waiting, FixedState>,
    /// In the order in which they are given up.
    order: VecDeque<(Time, Name)>,
}

struct Waiting {
    account: AccountId,
    reply: Box<[u8]>,
}

/// Whether a subject of a client is for JetStream's interface in the system account.
pub(super) fn is_imported(subject: &[u8]) -> bool {
    subject.strip_prefix(PREFIX).is_some_and(|rest| {
        !rest.starts_with(b"CONSUMER.MSG.NEXT.") && !rest.starts_with(b"DIRECT.GET")
    })
}

impl Engine {
    /// Takes a client's request to the system account.
    pub(super) fn import(
        &mut self,
        index: u32,
        client: &Client,
        message: &Message<'_>,
    ) -> Delivery {
        let reply = message.reply.map(|reply| self.expect_answer(client.account, reply));
        let (header_len, body) = self.with_request_info(client, message);
        let imported = Message {
            account: AccountId::SYSTEM,
            reply: reply.as_deref(),
            header_len: Some(header_len),
            body: &body,
            block: None,
            origin: Origin::Client { index, echo: true },
            ..*message
        };
        let delivery = self.deliver(Some((index, client)), &imported);
        if delivery.remote {
            let shards = self.post_to_shards(self.links.token(index), &imported, false);
            self.reached_shards |= shards;
        }
        delivery
    }

    /// Puts a request off that nobody wants: the answer to the making of a consumer comes by one
    /// connection and the interest of that consumer by another, so a quick client may be ahead of it.
    /// Says whether it did.
    pub(super) fn defer(&mut self, index: u32, message: &Message<'_>) -> bool {
        let jetstream = message.subject.starts_with(PREFIX)
            && self.options.accounts.get(message.account).jetstream
            && !self.registered.is_empty();
        let Some(reply) = message.reply.filter(|_| jetstream) else { return false };
        if is_imported(message.subject) || self.imports.deferred.len() >= DEFERRED_MAX {
            return false;
        }
        let deferred = Deferred {
            client: self.links.token(index),
            account: message.account,
            subject: message.subject.into(),
            reply: reply.into(),
            header_len: message.header_len,
            body: message.body.into(),
            tries: 1,
        };
        self.put_off(deferred);
        true
    }

    fn put_off(&mut self, deferred: Deferred) {
        let (due, client) = (self.now + AGAIN_AFTER, deferred.client);
        self.imports.deferred.push_back((due, deferred));
        self.timers.schedule(due, (client, Timer::Deferred));
    }

    /// Tries requests again whose time has come.
    pub(super) fn try_deferred(&mut self) {
        while let Some((due, _)) = self.imports.deferred.front()
            && *due <= self.now
            && let Some((_, mut deferred)) = self.imports.deferred.pop_front()
        {
            let Deferred { client, account, subject, reply, header_len, body, .. } = &deferred;
            let index = client.index;
            if !self.links.is_live(*client) {
                continue;
            }
            let message = Message {
                account: *account,
                subject,
                reply: Some(reply),
                header_len: *header_len,
                body,
                block: None,
                origin: Origin::Client { index, echo: true },
            };
            let delivery = self.deliver(None, &message);
            if delivery.remote {
                self.post_to_shards(*client, &message, false);
            }
            if !delivery.is_nobody() {
                continue;
            }
            if deferred.tries < TRIES {
                deferred.tries += 1;
                self.put_off(deferred);
            } else {
                self.counters.unrouted_msgs += 1;
                self.say_no_responders(index, *account, reply, subject);
            }
        }
    }

    /// The reply under which an answer for `reply` comes back.
    fn expect_answer(&mut self, account: AccountId, reply: &[u8]) -> Vec<u8> {
        let shard = match self.imports.shard {
            Some(shard) => shard,
            None => self.begin_to_import(),
        };
        while self.imports.waiting.len() >= WAITING_MAX
            && let Some((_, oldest)) = self.imports.order.pop_front()
        {
            self.imports.waiting.remove(&oldest);
        }
        while let Some((due, name)) = self.imports.order.front()
            && *due <= self.now
        {
            self.imports.waiting.remove(name);
            self.imports.order.pop_front();
        }
        let request = self.random_name();
        self.imports.order.push_back((self.now + PATIENCE, request));
        self.imports.waiting.insert(request, Waiting { account, reply: reply.into() });
        [b"_R_.", &shard[..], b".", &request[..]].concat()
    }

    /// Subscribes to all answers.
    fn begin_to_import(&mut self) -> Name {
        let shard = self.random_name();
        self.imports.shard = Some(shard);
        let subject = [b"_R_.", &shard[..], b".>"].concat();
        let account = AccountId::SYSTEM;
        self.announce(Want { account, subject: &subject, queue: None }, 1);
        self.router.subscribe(Subscription {
            owner: Owner::Internal(ANSWERS),
            account,
            weight: 1,
            sid: Box::default(),
            subject: subject.into(),
            queue: None,
            max: 0,
            delivered: 0,
        });
        self.internal_subscriptions += 1;
        shard
    }

    /// An answer has come: it goes where it was asked for.
    pub(super) fn answer_import(&mut self, answer: &Delivered) {
        let Some(name) = answer.subject.last_chunk::<6>() else { return };
        let Some(Waiting { account, reply }) = self.imports.waiting.remove(name) else { return };
        let body = [&answer.body[..], b"\r\n"].concat();
        self.publish_internal(&Message {
            account,
            subject: &reply,
            reply: None,
            header_len: Some(answer.header_len).filter(|len| *len > 0),
            body: &body,
            block: None,
            origin: Origin::Internal,
        });
    }

    fn random_name(&mut self) -> Name {
        std::array::from_fn(|_| DIGITS[self.random.usize(..DIGITS.len())])
    }

    /// The body with a header that says who asks; one that the client wrote itself is left out.
    fn with_request_info(&self, client: &Client, message: &Message<'_>) -> (u32, Vec<u8>) {
        let (headers, payload) = message.body.split_at(message.header_len.unwrap_or(0) as usize);
        let mut body = Vec::with_capacity(message.body.len() + 512);
        let lines = headers.strip_prefix(VERSION_LINE);
        body.extend_from_slice(VERSION_LINE);
        body.extend_from_slice(HEADER);
        body.extend_from_slice(b": ");
        body.extend_from_slice(&self.request_info(client));
        body.extend_from_slice(b"\r\n");
        for line in lines.unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let is_ours = line.len() > HEADER.len()
                && line[..HEADER.len()].eq_ignore_ascii_case(HEADER)
                && line[HEADER.len()] == b':';
            if !is_ours && line != b"\r\n" {
                body.extend_from_slice(line);
            }
        }
        body.extend_from_slice(b"\r\n");
        let header_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        body.extend_from_slice(payload);
        (header_len, body)
    }

    fn request_info(&self, client: &Client) -> Vec<u8> {
        let about = client.about.as_deref();
        let said = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let info = RequestInfo {
            start: format_time(client.start),
            host: host(client.peer),
            id: client.cid,
            acc: self.options.accounts.name(client.account),
            user: said(about.map(|about| &*about.user)),
            name: said(about.map(|about| &*about.name)),
            lang: said(about.map(|about| &*about.lang)),
            ver: said(about.map(|about| &*about.version)),
            rtt: u64::try_from(client.pings.rtt.as_nanos()).unwrap_or(u64::MAX),
            server: &self.options.server_name,
            cluster: &self.options.cluster_name,
            kind: "Client",
            client_type: "nats",
        };
        serde_json::to_vec(&info).unwrap_or_default()
    }
}

/// What a JetStream server wants to know of who asks. The names are those of the header.
#[derive(serde::Serialize)]
struct RequestInfo<'a> {
    start: String,
    host: String,
    id: u64,
    acc: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ver: String,
    rtt: u64,
    server: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster: &'a str,
    kind: &'static str,
    client_type: &'static str,
}

fn host(peer: SocketAddr) -> String {
    peer.ip().to_string()
}

fn format_time(time: Time) -> String {
    let nanos = i128::from(time.nanos());
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_and_direct_reads_stay_in_their_account() {
        let check = |subject: &str, expected: bool| {
            assert_eq!(is_imported(subject.as_bytes()), expected, "{subject}");
        };
        check("$JS.API.INFO", true);
        check("$JS.API.STREAM.CREATE.S", true);
        check("$JS.API.CONSUMER.MSG.NEXT.S.C", false);
        check("$JS.API.DIRECT.GET.S", false);
        check("$JS.ACK.S.C.1.1.1.1.1", false);
        check("orders", false);
    }
}
