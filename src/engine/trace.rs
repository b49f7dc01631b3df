//! Protocol lines in the log (`trace`), as operators read them with nats-server.
//!
//! Only for finding faults: while it is on, messages take the slow path and allocate.

use crate::outbound::Link;
use crate::router::Message;
use crate::session::Client;
use crate::sublist::Owner;

use super::Engine;

/// What of the traffic is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// Payloads are cut to so many bytes; 0 for whole ones.
    pub payload_bytes_max: usize,
    /// Of messages only the headers, not the payload.
    pub headers_only: bool,
}

/// Keys of CONNECT whose values stay secret.
const SECRETS: [&str; 5] = ["pass", "auth_token", "sig", "proxy_sig", "nkey"];

impl Engine {
    /// Logs a control line that came in.
    pub(super) fn trace_line(&self, client: &Client, line: &[u8]) {
        if self.options.trace.is_none() {
            return;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        match text.get(..7) {
            Some(verb) if verb.eq_ignore_ascii_case("CONNECT") => {
                say(client, &format!("<<- [CONNECT {}]", redact(text[7..].trim())));
            }
            Some(_) | None => say(client, &format!("<<- [{text}]")),
        }
    }

    /// Logs what came in behind a control line.
    pub(super) fn trace_payload(&self, client: &Client, body: &[u8], header_len: u32) {
        let Some(trace) = self.options.trace else { return };
        let size = body.len() - 2;
        let shown = if trace.headers_only { header_len as usize } else { size };
        if shown == 0 && trace.headers_only {
            return;
        }
        let most = if trace.payload_bytes_max == 0 { shown } else { trace.payload_bytes_max };
        let text = String::from_utf8_lossy(&body[..shown.min(most)]);
        let more = if shown > most { "..." } else { "" };
        say(client, &format!("<<- MSG_PAYLOAD: [{text:?}{more}]"));
    }

    /// Logs an answer.
    pub(super) fn trace_answer(&self, client: &Client, answer: &[u8]) {
        if self.options.trace.is_some() {
            let text = String::from_utf8_lossy(answer);
            say(client, &format!("->> [{}]", text.trim_end()));
        }
    }

    /// Logs the deliveries of the message that was just routed.
    pub(super) fn trace_deliveries(&mut self, own: (u32, &Client), message: &Message<'_>) {
        let taken = std::mem::take(&mut self.router.traced);
        for id in &taken {
            let Some(subscription) = self.router.subscriptions.get(*id as usize) else { continue };
            let Owner::Client(index) = subscription.owner else { continue };
            let client = if index == own.0 {
                Some(own.1)
            } else {
                self.clients.get(index as usize).and_then(Option::as_deref)
            };
            let headers = self.links.at(index).is_some_and(|link: &Link| link.headers);
            if let Some(client) = client {
                say(client, &format!("->> [{}]", head(message, &subscription.sid, headers)));
            }
        }
        self.router.traced = taken;
        self.router.traced.clear();
    }
}

/// The head of a delivery as its recipient gets it.
fn head(message: &Message<'_>, sid: &[u8], headers: bool) -> String {
    let header_len = message.header_len.unwrap_or(0) as usize;
    let size = message.body.len() - 2;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut words = vec![text(message.subject), text(sid)];
    words.extend(message.reply.map(text));
    if headers && header_len > 0 {
        format!("HMSG {} {header_len} {size}", words.join(" "))
    } else {
        format!("MSG {} {}", words.join(" "), size - header_len)
    }
}

fn say(client: &Client, text: &str) {
    let about = client.about.as_deref();
    let label = about.map_or_else(String::new, |about| {
        format!(" - \"v{}:{}:{}\"", about.version, about.lang, about.name)
    });
    tracing::trace!("{} - cid:{}{label} - {text}", client.peer, client.cid);
}

/// A CONNECT without its secrets; one that is no JSON is not shown at all.
fn redact(json: &str) -> String {
    let Ok(serde_json::Value::Object(mut keys)) = serde_json::from_str(json) else {
        return "[REDACTED]".to_owned();
    };
    for (key, value) in &mut keys {
        if SECRETS.iter().any(|secret| key.eq_ignore_ascii_case(secret)) {
            *value = "[REDACTED]".into();
        }
    }
    serde_json::Value::Object(keys).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_connect_are_not_shown() {
        let shown = redact(r#"{"user":"ann","Pass":"s3cret","auth_token":"t0ken"}"#);
        assert!(shown.contains("ann"), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
        assert_eq!(redact("{pass: s3cret"), "[REDACTED]");
    }
}
