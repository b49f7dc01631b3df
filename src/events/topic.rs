//! What is subscribed to, and what a message under it means.

use crate::engine::{ClientOrder, Scope};
use crate::monitor::Body;
use crate::proto::route::node_hash;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// Who the server is.
    Identity,
    /// How it is.
    Statistics,
    /// What the monitor tells.
    Body(Body),
    /// Something that this server has none of.
    Nothing,
    /// Something that this server does not do, by name.
    Unsupported(&'static str),
    /// Its configuration is to be read again.
    Reload,
    /// Something is to be done with a client.
    Client(ClientOrder),
    /// Something of one account, which the subject names.
    Account(AccountTopic),
    /// What the clients of several accounts do.
    AccountStats,
    /// How many subscriptions of this server a subject matches.
    Subscribers,
    /// How many subscriptions of the whole cluster a subject matches.
    AllSubscribers,
    /// Another server tells how it is.
    PeerAlive,
    /// Another server stops.
    PeerLeaves,
    /// An answer to what this server has asked.
    Inbox,
    /// A client asks who it is.
    UserInfo,
    /// A client asks for the connections of its account.
    OwnConnections,
    /// A client asks for the numbers of its account.
    OwnStats,
}

/// Something of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountTopic {
    Subscriptions,
    Connections,
    Leafs,
    JetStream,
    Info,
    Stats,
    Count,
}

/// Where the name of an account stands in the subject of a request about it.
pub(super) const ACCOUNT_TOKEN: usize = 3;
/// Where the id of a server stands in what it tells.
pub(super) const SERVER_TOKEN: usize = 2;
/// Where the name of a question stands in the subject of its answers.
pub(super) const INBOX_TOKEN: usize = 3;

/// What each request about a server is called.
const SERVER_REQUESTS: [(&str, Topic); 15] = [
    ("IDZ", Topic::Identity),
    ("STATSZ", Topic::Statistics),
    ("VARZ", Topic::Body(Body::Varz)),
    ("SUBSZ", Topic::Body(Body::Subsz)),
    ("CONNZ", Topic::Body(Body::Connz)),
    ("ROUTEZ", Topic::Body(Body::Routez)),
    ("GATEWAYZ", Topic::Body(Body::Gatewayz)),
    ("LEAFZ", Topic::Body(Body::Leafz)),
    ("JSZ", Topic::Body(Body::Jsz)),
    ("HEALTHZ", Topic::Body(Body::Healthz)),
    ("ACCOUNTZ", Topic::Body(Body::Accountz)),
    ("IPQUEUESZ", Topic::Nothing),
    ("RAFTZ", Topic::Nothing),
    ("PROFILEZ", Topic::Unsupported("profiling")),
    ("EXPVARZ", Topic::Unsupported("a list of Go's variables")),
];

/// What each request about an account is called.
const ACCOUNT_REQUESTS: [(&str, AccountTopic); 7] = [
    ("SUBSZ", AccountTopic::Subscriptions),
    ("CONNZ", AccountTopic::Connections),
    ("LEAFZ", AccountTopic::Leafs),
    ("JSZ", AccountTopic::JetStream),
    ("INFO", AccountTopic::Info),
    ("STATZ", AccountTopic::Stats),
    ("CONNS", AccountTopic::Count),
];

/// What a server subscribes to in the system account.
pub(super) fn of_the_system_account(id: &str, name: &str) -> Vec<(Topic, String)> {
    let mut topics = vec![
        (Topic::Statistics, "$SYS.REQ.SERVER.PING".to_owned()),
        (Topic::Reload, format!("$SYS.REQ.SERVER.{id}.RELOAD")),
        (Topic::Client(ClientOrder::Kick), format!("$SYS.REQ.SERVER.{id}.KICK")),
        (Topic::Client(ClientOrder::Warn), format!("$SYS.REQ.SERVER.{id}.LDM")),
        (Topic::AccountStats, "$SYS.REQ.ACCOUNT.PING.STATZ".to_owned()),
        (Topic::Subscribers, "$SYS.REQ.ACCOUNT.NSUBS".to_owned()),
        (Topic::AllSubscribers, "$SYS.DEBUG.SUBSCRIBERS".to_owned()),
        (Topic::PeerAlive, "$SYS.SERVER.*.STATSZ".to_owned()),
        (Topic::PeerLeaves, "$SYS.SERVER.*.SHUTDOWN".to_owned()),
        (Topic::PeerLeaves, "$SYS.SERVER.*.LAMEDUCK".to_owned()),
        (Topic::Inbox, format!("{}*", inbox(name))),
    ];
    for (what, topic) in SERVER_REQUESTS {
        topics.push((topic, format!("$SYS.REQ.SERVER.{id}.{what}")));
        topics.push((topic, format!("$SYS.REQ.SERVER.PING.{what}")));
    }
    for (what, topic) in ACCOUNT_REQUESTS {
        topics.push((Topic::Account(topic), format!("$SYS.REQ.ACCOUNT.*.{what}")));
    }
    topics
}

/// What a server subscribes to in every account, the system account excepted where it answers the
/// same subjects itself.
pub(super) const OF_EVERY_ACCOUNT: [(Topic, &str, Where); 4] = [
    (Topic::UserInfo, "$SYS.REQ.USER.INFO", Where::Everywhere),
    (Topic::OwnConnections, "$SYS.REQ.SERVER.PING.CONNZ", Where::NotInSystem),
    (Topic::OwnConnections, "$SYS.REQ.ACCOUNT.PING.CONNZ", Where::NotInSystem),
    (Topic::OwnStats, "$SYS.REQ.ACCOUNT.PING.STATZ", Where::NotInSystem),
];

/// In which accounts something is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Everywhere,
    NotInSystem,
}

/// What comes in one account only from its own clients here: other servers have the same of their own.
pub(super) const SCOPE_OF_ACCOUNTS: Scope = Scope::Shard;

/// Where answers to a server's own questions come, up to the question's name.
pub(super) fn inbox(server_name: &str) -> String {
    format!("$SYS._INBOX.{}.", node_hash(server_name))
}

/// One token of a subject.
pub(super) fn token(subject: &[u8], place: usize) -> Option<&str> {
    std::str::from_utf8(subject.split(|byte| *byte == b'.').nth(place)?).ok()
}
