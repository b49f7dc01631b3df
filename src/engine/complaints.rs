//! What goes wrong with clients, in the log, in nats-server's words.
//!
//! Each is one bounded line, and goes the log's way: what the writer cannot follow is dropped there. What a
//! crowd of clients would have repeated word for word is said once in a while.

use std::fmt;
use std::time::Duration;

use ring::Time;

use crate::account::Accounts;
use crate::close::CloseReason;
use crate::proto::client::ParseError;
use crate::proto::encode::Violation;
use crate::proto::quote::{Plain, Quoted};
use crate::proto::{redact, refusal};
use crate::session::{About, Claim, Client, Phase};

use super::{End, Engine};

/// What is not to be said each time, and when it was said last.
#[derive(Default)]
pub(super) struct Said {
    max_connections: Option<Time>,
    max_subscriptions: Option<Time>,
}

/// Full servers say so once in such a time.
const MAX_CONNECTIONS_EVERY: Duration = Duration::from_secs(1);
/// So do those whose clients want too much.
const MAX_SUBSCRIPTIONS_EVERY: Duration = Duration::from_secs(2);

/// Whether something is to be said again, and notes that it is.
fn is_due(said: &mut Option<Time>, now: Time, every: Duration) -> bool {
    let due = said.is_none_or(|at| now - at >= every);
    if due {
        *said = Some(now);
    }
    due
}

impl Engine {
    /// What lines about a client begin with.
    pub(super) fn label<'a>(&'a self, client: &'a Client) -> Label<'a> {
        Label { client, accounts: &self.options.accounts }
    }

    /// Logs what a client did wrong.
    pub(super) fn complain(&self, client: &Client, text: impl fmt::Display) {
        tracing::error!("{} - {text}", self.label(client));
    }

    /// Logs why a client is closed, where the reason alone says it.
    pub(super) fn complain_of_end(&mut self, index: u32, reason: CloseReason) {
        let is_full = reason == CloseReason::MaxConnectionsExceeded;
        if is_full && !is_due(&mut self.said.max_connections, self.now, MAX_CONNECTIONS_EVERY) {
            return;
        }
        let Some(client) = self.clients[index as usize].as_deref() else { return };
        let Some(error) = reason.error() else { return };
        let about = client.about.as_deref();
        if is_full && client.connected {
            let account = self.options.accounts.name(client.account);
            let who = about.and_then(member).map_or_else(String::new, |who| format!(" - {who}"));
            self.complain(client, format_args!("{error} - Account:{account}{who}"));
        } else if reason == CloseReason::AuthenticationFailure {
            self.complain(client, format_args!("authentication error{}", Who(about)));
        } else if is_full
            || reason == CloseReason::BadClientProtocolVersion
            || reason == CloseReason::NoRespondersRequiresHeaders
        {
            self.complain(client, error);
        }
    }

    /// Logs that a client has all the subscriptions that it may have.
    pub(super) fn complain_of_subscriptions(&mut self, client: &Client) {
        if is_due(&mut self.said.max_subscriptions, self.now, MAX_SUBSCRIPTIONS_EVERY) {
            self.complain(client, "maximum subscriptions exceeded");
        }
    }

    /// Logs that a client may not do what it tried; `sid` is that of a subscription.
    pub(super) fn complain_of_violation(
        &self,
        client: &Client,
        violation: Violation<'_>,
        sid: &[u8],
    ) {
        let sid = Plain(sid);
        match violation {
            Violation::Publish(subject) => {
                let subject = Quoted(subject);
                self.complain(client, format_args!("Publish Violation - Subject {subject}"));
            }
            Violation::Reply(reply) => {
                let reply = Quoted(reply);
                self.complain(client, format_args!("Publish Violation - Reply {reply}"));
            }
            Violation::Subscription { subject, queue } => {
                let queue = queue.map_or_else(String::new, |q| format!(", Queue: {}", Quoted(q)));
                let what = format_args!("Subject {}{queue}, SID {sid}", Quoted(subject));
                self.complain(client, format_args!("Subscription Violation - {what}"));
            }
            Violation::TooManyTokens(subject) => {
                let what = format_args!("Subject {}, SID {sid}", Quoted(subject));
                self.complain(
                    client,
                    format_args!("Subscription Violation Too Many Tokens - {what}"),
                );
            }
        }
    }

    /// A client's line, which `bytes` begin with, is refused.
    #[cold]
    pub(super) fn refuse_line(&self, client: &Client, error: ParseError, bytes: &[u8]) -> End {
        match error {
            ParseError::UnknownOperation | ParseError::ControlLineTooLong { .. } => {}
            ParseError::BadArguments
            | ParseError::HeadersNotSupported
            | ParseError::PayloadTooLarge { .. } => self.trace_line(client, bytes),
        }
        self.complain(client, refusal::of_line(error, bytes));
        error.into()
    }

    /// Something else stands behind a client's payload than a line end; the operation has had `at` bytes
    /// before.
    #[cold]
    pub(super) fn refuse_end(
        &self,
        client: &Client,
        error: ParseError,
        at: usize,
        behind: &[u8],
    ) -> End {
        self.complain(client, refusal::of_end(at, behind));
        error.into()
    }
}

/// What lines about a client begin with: where it comes from, its number, and once it is logged in also
/// what it runs and who it is.
pub(super) struct Label<'a> {
    client: &'a Client,
    accounts: &'a Accounts,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Client { peer, cid, phase, account, about, .. } = self.client;
        write!(f, "{peer} - cid:{cid}")?;
        let is_in = *phase == Phase::Open && self.client.connected;
        let Some(about) = about.as_deref().filter(|_| is_in) else { return Ok(()) };
        let program = program(about);
        if !program.is_empty() {
            write!(f, " - {}", Quoted(program.as_bytes()))?;
        }
        if let Some(member) = member(about) {
            let member = format!("{}/{member}", self.accounts.name(*account));
            write!(f, " - {}", Quoted(member.as_bytes()))?;
        }
        Ok(())
    }
}

/// What a client runs: `v1.2:go:name`, as far as it has said so.
fn program(about: &About) -> String {
    let version = match &*about.version {
        "" => String::new(),
        version => format!("v{version}"),
    };
    let parts = [&*version, &*about.lang, &*about.name];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":")
}

/// Who a client is: `user:ann`.
fn member(about: &About) -> Option<String> {
    match &about.claim {
        Some(Claim::Nkey(key)) => Some(format!("nkey:{key}")),
        Some(Claim::User(user)) => Some(format!("user:{user}")),
        Some(Claim::Token) => Some("token".to_owned()),
        None if about.user.is_empty() => None,
        None => Some(format!("user:{}", about.user)),
    }
}

/// Who a client says it is, behind a dash: ` - User "ann"`.
struct Who<'a>(Option<&'a About>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.and_then(|about| about.claim.as_ref()) {
            Some(Claim::Nkey(key)) => write!(f, " - Nkey {}", Quoted(key.as_bytes())),
            Some(Claim::User(user)) => write!(f, " - User {}", Quoted(user.as_bytes())),
            Some(Claim::Token) => write!(f, " - Token {}", Quoted(redact::REDACTED.as_bytes())),
            None => Ok(()),
        }
    }
}
