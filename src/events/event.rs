//! What goes into the events and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ring::Time;
use serde_json::Value;

use crate::account::Accounts;
use crate::engine::{ClientNews, ClientOrder, Scope};
use crate::ids::AccountId;
use crate::monitor::{Body, Refused};
use crate::report::AccountReport;
use crate::router::Delivered;
use crate::stats::Counters;

/// What of the server its messages name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The server's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub host: String,
    /// The version that it stands for.
    pub version: String,
    /// Its cluster; empty where there is none.
    pub cluster: String,
    /// `server_tags`.
    pub tags: Vec<String>,
    /// `server_metadata`.
    pub metadata: BTreeMap<String, String>,
    /// When it started.
    pub start: Time,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// Messages that were subscribed to.
    Deliveries(Vec<Delivered>),
    /// The accounts that there are now.
    Accounts(Arc<Accounts>),
    /// Something about the server itself changed.
    Facts(Box<Facts>),
    /// These accounts have more clients now, or fewer.
    Changed(BTreeSet<AccountId>),
    /// Clients came and went.
    Clients(Vec<ClientNews>),
    /// Another server is connected now.
    Joined,
    /// The last connection to a server is gone.
    Left {
        /// The server's id.
        id: String,
    },
    /// The answer to a question.
    Answer {
        /// Which one.
        question: u64,
        /// The answer.
        answer: Answer,
    },
    /// The server is about to stop.
    LameDuck,
    /// The server stops now.
    Shutdown,
}

/// Something to be done, in this order.
#[derive(Debug)]
pub enum Action {
    /// Subscribe.
    Subscribe {
        /// The number that deliveries are to carry.
        id: u32,
        /// The account.
        account: AccountId,
        /// The subject.
        subject: String,
        /// Whose messages are wanted; those of each shard's clients on that shard.
        scope: Scope,
    },
    /// Publish.
    Publish {
        /// The account.
        account: AccountId,
        /// The subject.
        subject: Vec<u8>,
        /// Where answers go.
        reply: Option<Vec<u8>>,
        /// How many bytes of the body are headers.
        header_len: u32,
        /// Headers and payload.
        body: Vec<u8>,
    },
    /// Another server said that it stops.
    PeerLeaves {
        /// Its id.
        id: String,
    },
    /// Find something out, or have it done; exactly one [answer](Event::Answer) must come.
    Ask {
        /// Names the question.
        question: u64,
        /// What is asked.
        what: Question,
    },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// How the server is.
    Statistics,
    /// What the clients of each account do.
    Accounts,
    /// What the monitor tells.
    Body {
        /// Which of its bodies.
        body: Body,
        /// The options, as its requests name them.
        options: Value,
    },
    /// Read the configuration again.
    Reload,
    /// Do something with a client.
    Client {
        /// Its number.
        cid: u64,
        /// What.
        order: ClientOrder,
    },
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::Statistics`].
    Statistics(Box<Statistics>),
    /// To [`Question::Accounts`], each account once.
    Accounts(Vec<AccountReport>),
    /// To [`Question::Body`].
    Body(Result<Value, Refused>),
    /// To what was to be done: why it was not, if it was not.
    Done(Result<(), String>),
    /// There is none.
    Nothing,
}

/// How the server is.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Bytes of memory in core.
    pub memory_bytes: u64,
    /// Cores that it may use.
    pub cores: u64,
    /// Percent of a core that it uses.
    pub cpu_percent: f64,
    /// Threads that carry messages.
    pub shards: u16,
    /// Clients.
    pub connections: u64,
    /// Accounts that have clients.
    pub active_accounts: usize,
    /// Clients' subscriptions.
    pub subscriptions: u64,
    /// What was counted.
    pub counters: Counters,
    /// Connections to other servers.
    pub routes: Vec<TrafficOfRoute>,
}

/// What passes over a connection to another server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficOfRoute {
    /// The connection's number.
    pub rid: u64,
    /// The other server's name.
    pub name: String,
    /// Messages sent.
    pub out_msgs: u64,
    /// Bytes sent.
    pub out_bytes: u64,
    /// Messages received.
    pub in_msgs: u64,
    /// Bytes received.
    pub in_bytes: u64,
    /// Bytes that wait.
    pub pending_bytes: u64,
}
