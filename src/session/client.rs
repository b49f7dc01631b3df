//! A client's session.
//!
//! ```text
//!             CONNECT                  verdict: yes
//!  Greeted ───────────▶ Verifying ───────────────────▶ Open
//!     │                     │                            ▲
//!     │ authentication off  │ no, or too late            │ any operation
//!     └─────────────────────┼────────────────────────────┘
//!                           ▼
//!                        closed
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use ring::{Time, Token};

use crate::auth::{Credentials, Login};
use crate::ids::AccountId;
use crate::proto::connect::Connect;

use super::{Input, Line, Sids};

/// How far the log-in has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// INFO was sent; credentials are awaited.
    Greeted,
    /// The credentials are being checked elsewhere.
    Verifying,
    /// Everything is allowed that limits allow.
    Open,
}

/// Why a session's bytes wait unparsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// All recipients of its last messages are slow.
    Recipients {
        /// Those of this shard.
        slow: Vec<Token>,
        /// Other shards on which it has recipients, one bit each.
        shards: u64,
    },
    /// More waits for these routes than may, and its account has the most of it.
    Routes(Vec<Token>),
    /// The mailboxes of these other shards are full, one bit each.
    Mailbox(u64),
    /// Its password is being hashed.
    Verdict,
    /// Other shards have not yet seen what came before its PING: one bit each.
    Barrier(u64),
    /// The server holds as many bytes as it may.
    Memory,
    /// It has changed so much of its interest that the rest of what it says is for the next turn.
    Turn,
}

/// As whom a client speaks: the first of these that its CONNECT names. A secret is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A public key.
    Nkey(Box<str>),
    /// A user.
    User(Box<str>),
    /// Whoever has the token.
    Token,
}

impl Claim {
    /// The claim of a CONNECT; `None` when that names nobody.
    #[must_use]
    pub fn of(connect: &Connect) -> Option<Self> {
        let nkey = connect.nkey.clone().map(Self::Nkey);
        let user = || connect.user.clone().map(Self::User);
        nkey.or_else(user).or_else(|| connect.auth_token.as_ref().map(|_| Self::Token))
    }
}

/// What the client said about itself, for monitoring and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `name` of CONNECT.
    pub name: Box<str>,
    /// `lang` of CONNECT.
    pub lang: Box<str>,
    /// `version` of CONNECT.
    pub version: Box<str>,
    /// As whom it logged in.
    pub user: Box<str>,
    /// As whom it wanted to, log-ins being checked or not.
    pub claim: Option<Claim>,
}

/// PINGs that the server sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pings {
    /// PINGs without an answer so far.
    pub outstanding: u32,
    /// The one that follows CONNECT has its timer.
    pub first_scheduled: bool,
    /// When the last one was sent.
    pub sent_at: Time,
    /// The last round trip measured.
    pub rtt: Duration,
}

/// See the module's documentation.
pub struct Client {
    /// Its number, unique in the server.
    pub cid: u64,
    /// Where it dialled from.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub start: Time,
    /// When bytes last came in.
    pub heard_at: Time,
    /// When it last published or received, subscribed or unsubscribed.
    pub active_at: Time,
    /// How far the log-in has come.
    pub phase: Phase,
    /// The account that it is in.
    pub account: AccountId,
    /// It wants `+OK`. Before CONNECT, too.
    pub verbose: bool,
    /// It wants its subjects checked.
    pub pedantic: bool,
    /// It wants its own messages.
    pub echo: bool,
    /// It understands headers.
    pub headers: bool,
    /// It wants to know when nobody takes its requests.
    pub no_responders: bool,
    /// It understands INFO after the first one.
    pub informed: bool,
    /// It has sent its last byte, and is held.
    pub has_ended: bool,
    /// It has sent CONNECT.
    pub connected: bool,
    /// It has had its first PONG.
    pub ponged: bool,
    /// It counts among its account's connections.
    pub counts: bool,
    /// Why its bytes wait, while they do.
    pub hold: Option<Box<Hold>>,
    /// Its subscriptions.
    pub sids: Sids,
    /// Bytes that wait.
    pub input: Input,
    /// The last control line of a publisher.
    pub line: Option<Box<Line>>,
    /// What it said about itself.
    pub about: Option<Box<About>>,
    /// The credentials of its last CONNECT, if it had any: a further one may leave them out, and a
    /// reload checks them again.
    pub login: Option<Box<Login>>,
    /// PINGs to it.
    pub pings: Pings,
    /// Messages it published.
    pub in_msgs: u64,
    /// Bytes of headers and payload it published.
    pub in_bytes: u64,
    /// Times it was held as a publisher.
    pub stalls: u64,
    /// Other shards that its operations concerned since its last barrier, one bit each.
    pub touched_shards: u64,
    /// It has changed what it wants since its last barrier, and other servers are to know of it.
    pub touched_cluster: bool,
    /// Other shards where all its recipients are slow, one bit each.
    pub slow_shards: u64,
}

impl Client {
    /// The session of a client that was just accepted.
    #[must_use]
    pub fn new(cid: u64, peer: SocketAddr, now: Time, phase: Phase) -> Self {
        Self {
            cid,
            peer,
            start: now,
            heard_at: now,
            active_at: now,
            phase,
            account: AccountId::GLOBAL,
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            informed: false,
            has_ended: false,
            connected: false,
            ponged: false,
            counts: false,
            hold: None,
            sids: Sids::default(),
            input: Input::default(),
            line: None,
            about: None,
            login: None,
            pings: Pings::default(),
            in_msgs: 0,
            in_bytes: 0,
            stalls: 0,
            touched_shards: 0,
            touched_cluster: false,
            slow_shards: 0,
        }
    }

    /// What it has shown of itself.
    #[must_use]
    pub fn credentials(&self) -> Credentials<'_> {
        self.login.as_deref().map(Login::credentials).unwrap_or_default()
    }
}
