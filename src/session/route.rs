//! The session of another server.
//!
//! ```text
//!                 CONNECT                 INFO, and the control plane's word
//!  Greeted ─────────────────▶ Introduced ─────────────────────────────────▶ Registered
//!  (it dialled)                 ▲                                               │
//!                               │ (this server dialled)                         ▼
//!                                                                  interest and messages
//! ```
//!
//! Who may join, and as what, is decided by the control plane: what a server says of itself is handed
//! on, and the session waits for the answer. Invariant: while it waits, nothing behind is parsed.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ring::{Time, Token};

use crate::account::Accounts;
use crate::ids::AccountId;
use crate::proto::route::pool_index;
use crate::subject;
use crate::transport::{Level, Mode, Transport};

use super::{Input, Line};

/// How far the handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutePhase {
    /// The other server dialled and has not sent CONNECT.
    Greeted,
    /// INFO is awaited.
    Introduced,
    /// Interest and messages flow.
    Registered,
}

/// What a connection to another server is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteLane {
    /// The accounts of one place in the pool.
    Pool(u16),
    /// One account, which no line names.
    Account(String),
    /// All accounts: the other server knows no pools.
    Everything,
}

/// Subjects that a rule lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectRule {
    /// If any: only what one of these matches.
    pub allow: Option<Vec<String>>,
    /// Nothing that one of these matches.
    pub deny: Vec<String>,
}

impl SubjectRule {
    /// Whether the rule lets a subject through, which may have wildcards.
    #[must_use]
    pub fn permits(&self, filter: &[u8]) -> bool {
        let matches = |rule: &String| subject::matches(rule.as_bytes(), filter);
        self.allow.as_ref().is_none_or(|allow| allow.iter().any(matches))
            && !self.deny.iter().any(matches)
    }
}

/// What the control plane made of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The other server's id.
    pub remote_id: Box<str>,
    /// Its name.
    pub remote_name: Box<str>,
    /// What the connection is for.
    pub lane: RouteLane,
    /// Accounts that do not go with the pool, having connections of their own.
    pub apart: Vec<String>,
    /// The other server understands message headers.
    pub headers: bool,
    /// It is one of our kind.
    pub is_ringmesh: bool,
    /// It knows the mark of messages that only their queue groups get.
    pub takes_passed_on: bool,
    /// Both ends keep each other's interest for a while when the connection is lost.
    pub keeps_interest: bool,
    /// This server dials the other, if need be.
    pub solicited: bool,
    /// The connection is one that the configuration asks for.
    pub configured: bool,
    /// How the connection is compressed.
    pub compression: Mode,
}

/// A PING that was sent.
#[derive(Clone, Copy, Debug)]
pub struct PingSent {
    /// When.
    pub at: Time,
    /// The round of barriers that waits for its answer; without one, it asks for life.
    pub round: Option<Token>,
    /// The round waits for a later PING: this one came before what it is to prove.
    pub is_void: bool,
}

/// See the module's documentation.
pub struct Route {
    /// Its number, unique in the server among all connections.
    pub rid: u64,
    /// The address at the other end.
    pub peer: SocketAddr,
    /// When the connection was made.
    pub start: Time,
    /// When bytes last came in.
    pub heard_at: Time,
    /// When interest or messages last came in.
    pub active_at: Time,
    /// How far the handshake has come.
    pub phase: RoutePhase,
    /// What came last is for the control plane to judge.
    pub waits: bool,
    /// It has changed so much that the rest of what it says is for the next turn.
    pub spent: bool,
    /// More has come in than a turn may open; the rest has its turn later.
    pub unread: bool,
    /// The other server has sent its last byte, and not all of them are carried out.
    pub has_ended: bool,
    /// Bytes that wait.
    pub input: Input,
    /// The last control line of a message.
    pub line: Option<Box<Line>>,
    /// What the connection became.
    pub registration: Option<Box<Registration>>,
    /// By account, whether the connection carries its interest.
    pub carried: Arc<[bool]>,
    /// The account of a connection whose lines name none.
    pub account: Option<AccountId>,
    /// PINGs without an answer so far, the oldest first.
    pub pings: VecDeque<PingSent>,
    /// Other shards that its lines concerned since its last PING, one bit each.
    pub touched_shards: u64,
    /// Its PINGs, the oldest first: other shards that must have done what came before, one bit each.
    pub pongs: VecDeque<u64>,
    /// The last round trip measured.
    pub rtt: Duration,
    /// How what is sent is compressed.
    pub mode: Mode,
    /// Round trips that decide on the level.
    pub thresholds: Vec<Duration>,
    /// Messages that came in.
    pub in_msgs: u64,
    /// Bytes of headers and payload that came in.
    pub in_bytes: u64,
    /// How much the other server wants over this connection.
    pub subscriptions: u32,
    /// Accounts whose interest the other server was told in one line, and may ask for once.
    pub summed_up: BTreeSet<AccountId>,
    /// Accounts whose interest it has asked for in this turn.
    pub asked_for: BTreeSet<AccountId>,
    /// Rounds of barriers that are to have a PING behind that.
    pub rounds_again: Vec<Token>,
}

impl Route {
    /// The session of a connection that was just made.
    #[must_use]
    pub fn new(rid: u64, peer: SocketAddr, now: Time, phase: RoutePhase) -> Self {
        Self {
            rid,
            peer,
            start: now,
            heard_at: now,
            active_at: now,
            phase,
            waits: false,
            spent: false,
            unread: false,
            has_ended: false,
            input: Input::default(),
            line: None,
            registration: None,
            carried: Arc::from([]),
            account: None,
            pings: VecDeque::new(),
            touched_shards: 0,
            pongs: VecDeque::new(),
            rtt: Duration::ZERO,
            mode: Mode::Off,
            thresholds: Vec::new(),
            in_msgs: 0,
            in_bytes: 0,
            subscriptions: 0,
            summed_up: BTreeSet::new(),
            asked_for: BTreeSet::new(),
            rounds_again: Vec::new(),
        }
    }

    /// Whether its bytes wait unparsed.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.waits || self.spent
    }

    /// Whether what came in is to be carried out before more of it is received.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_held() || self.unread
    }

    /// Whether this server's interest of an account goes over this connection.
    #[must_use]
    pub fn carries(&self, account: AccountId) -> bool {
        self.carried.get(account.index()).copied().unwrap_or(false)
    }

    /// Works out which accounts the connection carries; to be done again when accounts are added.
    ///
    /// This server shares its accounts out over so many places of the pool, but for those that go apart.
    pub fn assign_accounts(&mut self, accounts: &Accounts, pool_size: u16) {
        let Some(registration) = &self.registration else { return };
        self.carried = accounts
            .iter()
            .map(|(_, account)| match &registration.lane {
                RouteLane::Everything => true,
                RouteLane::Account(name) => **name == *account.name,
                RouteLane::Pool(index) => {
                    !registration.apart.iter().any(|name| **name == *account.name)
                        && pool_index(account.name.as_bytes(), pool_size) == *index
                }
            })
            .collect();
        self.account = match &registration.lane {
            RouteLane::Account(name) => accounts.find(name.as_bytes()),
            RouteLane::Everything | RouteLane::Pool(_) => None,
        };
    }

    /// Tells what seals its bytes which level the last round trip wants.
    pub fn choose_level(&self, transport: &mut Transport) {
        let level = Level::of(self.mode, self.rtt, &self.thresholds);
        transport.set_level(level, self.mode == Mode::Auto);
    }

    /// PINGs that asked for life and have no answer.
    #[must_use]
    pub fn pings_outstanding(&self) -> usize {
        self.pings.iter().filter(|ping| ping.round.is_none()).count()
    }

    /// So many want something at the other end now, and so many did before.
    pub fn note_interest(&mut self, before: u32, now: u32) {
        match (before > 0, now > 0) {
            (false, true) => self.subscriptions += 1,
            (true, false) => self.subscriptions = self.subscriptions.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
    }

    /// Whether lines of the connection name the account.
    #[must_use]
    pub fn names_accounts(&self) -> bool {
        !matches!(
            self.registration.as_deref(),
            Some(Registration { lane: RouteLane::Account(_), .. })
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_lets_through_what_is_allowed_and_not_denied() {
        let rule = |allow: Option<&[&str]>, deny: &[&str]| SubjectRule {
            allow: allow.map(|list| list.iter().map(ToString::to_string).collect()),
            deny: deny.iter().map(ToString::to_string).collect(),
        };
        let check = |rule: SubjectRule, subject: &str, expected: bool| {
            assert_eq!(rule.permits(subject.as_bytes()), expected, "{rule:?} {subject}");
        };
        check(SubjectRule::default(), "a", true);
        check(rule(Some(&["a.>"]), &[]), "a.b", true);
        check(rule(Some(&["a.>"]), &[]), "b", false);
        check(rule(Some(&["a.>"]), &["a.b"]), "a.b", false);
        check(rule(Some(&[]), &[]), "a", false);
    }
}
