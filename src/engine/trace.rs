//! Protocol lines in the log (`trace`), as operators read them with nats-server.
//!
//! Only for finding faults: while it is on, messages take the slow path and allocate.

use std::fmt;

use crate::close::ErrorText;
use crate::outbound::Link;
use crate::proto::client;
use crate::proto::encode::{self, Violation};
use crate::proto::quote::{Plain, Quoted};
use crate::proto::redact;
use crate::router::{Message, Want};
use crate::session::Client;
use crate::subject;
use crate::sublist::Owner;

use super::Engine;

/// What of the traffic is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// Payloads are cut to so many bytes; 0 for whole ones.
    pub payload_bytes_max: usize,
    /// Of messages only the headers, not the payload.
    pub headers_only: bool,
    /// Also what the server itself subscribes to and publishes.
    pub verbose: bool,
}

/// Who speaks when the server itself does.
const SYSTEM: &str = "SYSTEM";

/// Which way a message goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// From a client.
    In,
    /// To a client.
    Out,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "<<-",
            Self::Out => "->>",
        })
    }
}

impl Engine {
    /// Logs the control line that `bytes` begin with.
    pub(super) fn trace_line(&self, client: &Client, bytes: &[u8]) {
        if self.options.trace.is_none() {
            return;
        }
        let Some((verb, args)) = client::verb_and_args(bytes) else { return };
        let (name, plain) = (Plain(verb), Plain(args));
        match verb {
            b"INFO" | b"+OK" | b"-ERR" => {}
            b"PING" | b"PONG" => self.trace(client, format_args!("{} [{name}]", Way::In)),
            b"CONNECT" => {
                let shown = redact::connect(args);
                self.trace(client, format_args!("{} [{name} {}]", Way::In, Plain(&shown)));
            }
            _other => self.trace(client, format_args!("{} [{name} {plain}]", Way::In)),
        }
    }

    /// Logs the headers and the payload of a message; `body` ends with its line end.
    pub(super) fn trace_payload(&self, client: &Client, way: Way, body: &[u8], header_len: u32) {
        self.trace_payload_of(&self.label(client), way, body, header_len);
    }

    fn trace_payload_of(&self, who: &dyn fmt::Display, way: Way, body: &[u8], header_len: u32) {
        /// The empty line that ends headers, and the line end before it.
        const HEADERS_END: usize = "\r\n\r\n".len();
        let Some(options) = self.options.trace else { return };
        let shown = if options.headers_only {
            &body[..(header_len as usize).saturating_sub(HEADERS_END)]
        } else {
            &body[..body.len() - encode::CRLF.len()]
        };
        if shown.is_empty() {
            return;
        }
        match shown.get(..options.payload_bytes_max).filter(|cut| !cut.is_empty()) {
            Some(cut) if cut.len() < shown.len() => {
                let cut = Quoted(cut).to_string();
                let cut = cut.strip_suffix('"').unwrap_or(&cut);
                tracing::trace!("{who} - {way} MSG_PAYLOAD: [{cut}...\"]");
            }
            Some(_) | None => tracing::trace!("{who} - {way} MSG_PAYLOAD: [{}]", Quoted(shown)),
        }
    }

    /// Logs an answer.
    pub(super) fn trace_answer(&self, client: &Client, answer: &str) {
        self.trace(client, format_args!("{} [{answer}]", Way::Out));
    }

    /// Logs an `-ERR`.
    pub(super) fn trace_error(&self, client: &Client, error: ErrorText) {
        self.trace(client, format_args!("{} [-ERR {error}]", Way::Out));
    }

    /// Logs the `-ERR` about something that is not permitted.
    pub(super) fn trace_violation(&self, client: &Client, violation: Violation<'_>) {
        if self.options.trace.is_none() {
            return;
        }
        let mut line = Vec::new();
        encode::violation(&mut line, violation);
        let text = line.strip_prefix(b"-ERR '").and_then(|text| text.strip_suffix(b"'\r\n"));
        let text = Plain(text.unwrap_or(&line));
        self.trace(client, format_args!("{} [-ERR {text}]", Way::Out));
    }

    /// Logs what the server itself subscribes to.
    pub(super) fn trace_own_subscription(&self, id: u32, want: Want<'_>) {
        if self.options.trace.is_some_and(|options| options.verbose) {
            let (subject, queue) = (Plain(want.subject), Plain(want.queue.unwrap_or_default()));
            tracing::trace!("{SYSTEM} - {} [SUB {subject} {queue} {id}]", Way::In);
        }
    }

    /// Logs what the server itself publishes.
    pub(super) fn trace_own_message(&self, message: &Message<'_>) {
        if self.options.trace.is_some_and(|options| options.verbose) {
            let (subject, reply) =
                (Plain(message.subject), Plain(message.reply.unwrap_or_default()));
            let size = message.body.len() - encode::CRLF.len();
            tracing::trace!("{SYSTEM} - {} [PUB {subject} {reply} {size}]", Way::In);
            let header_len = message.header_len.unwrap_or(0);
            self.trace_payload_of(&SYSTEM, Way::In, message.body, header_len);
        }
    }

    /// Logs that a subscription has ended.
    pub(super) fn trace_ended(&self, client: &Client, sid: &[u8]) {
        self.trace(client, format_args!("<-> [DELSUB {}]", Plain(sid)));
    }

    /// Logs the deliveries of the message that was just [delivered](Self::deliver).
    pub(super) fn trace_deliveries(&mut self, own: Option<(u32, &Client)>, message: &Message<'_>) {
        if self.router.traced.is_empty() {
            return;
        }
        let taken = std::mem::take(&mut self.router.traced);
        for id in &taken {
            let Some(subscription) = self.router.subscriptions.get(*id as usize) else { continue };
            let Owner::Client(index) = subscription.owner else { continue };
            let own = own.filter(|own| own.0 == index).map(|own| own.1);
            let Some(client) = own.or_else(|| self.clients.get(index as usize)?.as_deref()) else {
                continue;
            };
            let headers = self.links.at(index).is_some_and(|link: &Link| link.headers);
            self.trace_delivery(client, message, &subscription.sid, headers);
        }
        self.router.traced = taken;
        self.router.traced.clear();
    }

    /// Logs a delivery as its recipient gets it.
    fn trace_delivery(&self, client: &Client, message: &Message<'_>, sid: &[u8], headers: bool) {
        let header_len = message.header_len.unwrap_or(0);
        let shown_len = if headers { header_len } else { 0 };
        let body = if headers { message.body } else { &message.body[header_len as usize..] };
        let size = body.len() - encode::CRLF.len();
        let (subject, reply) = subject::delivered_as(message.subject, message.reply);
        let words: Vec<&[u8]> = [subject, sid].into_iter().chain(reply).collect();
        let words = words.join(&b' ');
        let (words, out) = (Plain(&words), Way::Out);
        if shown_len > 0 {
            self.trace(client, format_args!("{out} [HMSG {words} {shown_len} {size}]"));
        } else {
            self.trace(client, format_args!("{out} [MSG {words} {size}]"));
        }
        self.trace_payload(client, out, body, shown_len);
    }

    fn trace(&self, client: &Client, text: fmt::Arguments<'_>) {
        if self.options.trace.is_some() {
            tracing::trace!("{} - {text}", self.label(client));
        }
    }
}
