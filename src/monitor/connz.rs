//! `/connz`: the connections, open and closed.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

use ring::Time;
use serde::{Deserialize, Serialize};

use super::format::{duration, is_zero, time, uptime};
use super::query::{Query, Subs};
use super::subsz::{SubscriptionDetail, matches};
use super::{GLOBAL_ACCOUNT, LIST_MAX, Source, gather};
use crate::report::{ConnectionReport, SubscriptionReport};

/// The body.
pub(super) async fn connz(source: &impl Source, mut asked: Asked) -> Connz {
    let (facts, now) = (source.facts(), source.now());
    if !asked.account.is_empty() && !facts.accounts.contains(&asked.account) {
        // The peer gives up here, before it has put its name under the answer.
        return Connz::nobody(&asked, now);
    }
    if !asked.subject.is_empty() {
        asked.find_subscribers(source).await;
    }
    let mut page = Page::new(asked, now);
    page.gather(source).await;
    let connections = page.connections(source).await;
    Connz {
        server_id: facts.server_id.clone(),
        now: time(now),
        num_connections: connections.len(),
        total: page.total,
        offset: page.asked.offset,
        limit: page.asked.limit,
        connections: Some(connections),
    }
}

/// The options of a request as they are given, by the peer's names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    sort: String,
    auth: bool,
    subscriptions: bool,
    subscriptions_detail: bool,
    offset: i64,
    limit: i64,
    cid: u64,
    /// 0 is open, 1 closed, 2 all.
    state: i64,
    user: String,
    acc: String,
    mqtt_client: String,
    /// Those that subscribed to the subject; HTTP has no such parameter.
    filter_subject: String,
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    sort: Sort,
    auth: bool,
    subs: Subs,
    offset: usize,
    limit: usize,
    cid: Option<u64>,
    state: State,
    user: String,
    account: String,
    mqtt_client: String,
    subject: String,
    /// Who subscribed to the subject, if one was named.
    subscribers: BTreeSet<u64>,
}

/// Which connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    All,
}

/// The order of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Cid,
    Subs,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    Rtt,
}

impl Asked {
    /// Reads the parameters of a request, in the order in which the peer complains.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_query(query: &Query) -> Result<Self, String> {
        let auth = query.boolean("auth")?;
        let subs = query.subs()?;
        Self::new(Options {
            auth,
            subscriptions: subs == Subs::Subjects,
            subscriptions_detail: subs == Subs::Detail,
            offset: query.int("offset")?,
            limit: query.int("limit")?,
            cid: query.uint("cid")?,
            state: State::parse(query.text("state"))?.number(),
            sort: query.text("sort").into(),
            user: query.text("user").into(),
            acc: query.text("acc").into(),
            mqtt_client: query.text("mqtt_client").into(),
            filter_subject: String::new(),
        })
    }

    /// Checks options.
    ///
    /// # Errors
    /// What makes no sense.
    pub(super) fn new(options: Options) -> Result<Self, String> {
        let state = State::from_number(options.state);
        if !options.filter_subject.is_empty() && options.acc.is_empty() {
            return Err("filter by subject only valid with account filtering".into());
        }
        let cid = Some(options.cid).filter(|cid| *cid > 0);
        Ok(Self {
            sort: Sort::parse(&options.sort, state)?,
            auth: options.auth,
            subs: Subs::new(options.subscriptions, options.subscriptions_detail),
            offset: usize::try_from(options.offset).unwrap_or(0),
            limit: if cid.is_some() { 1 } else { super::list_limit(options.limit) },
            cid,
            state,
            user: options.user,
            account: options.acc,
            mqtt_client: options.mqtt_client,
            subject: options.filter_subject,
            subscribers: BTreeSet::new(),
        })
    }

    /// Whether the connection counts in `total`: it is of the account that was asked for.
    fn counts(&self, connection: &ConnectionReport) -> bool {
        if self.account.is_empty() {
            return true;
        }
        // The peer forgets that a closed connection was in the global account.
        let forgotten = connection.end.is_some() && connection.account == GLOBAL_ACCOUNT;
        connection.account == self.account && !forgotten
    }

    /// Whether the connection is listed; it counts already.
    fn lists(&self, connection: &ConnectionReport) -> bool {
        self.cid.is_none_or(|cid| connection.cid == cid)
            && (self.user.is_empty() || connection.authorized_user == self.user)
            && self.mqtt_client.is_empty()
            && (self.subject.is_empty() || self.subscribers.contains(&connection.cid))
    }

    async fn find_subscribers(&mut self, source: &impl Source) {
        let (account, subject) = (&self.account, &self.subject);
        let subscribers = &mut self.subscribers;
        gather::subscriptions(source, |subscription| {
            if subscription.account == *account && matches(&subscription.subject, subject) {
                subscribers.insert(subscription.cid);
            }
        })
        .await;
    }

    /// How many connections have to be kept, in order, to answer.
    const fn kept(&self) -> usize {
        self.offset.saturating_add(self.limit)
    }
}

impl State {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "" | "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            "any" | "all" => Ok(Self::All),
            _ => Err(format!("Error decoding state for {text}")),
        }
    }

    /// The state as options in JSON give it; the peer takes any other number for an open one.
    const fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Closed,
            2 => Self::All,
            _ => Self::Open,
        }
    }

    const fn number(self) -> i64 {
        match self {
            Self::Open => 0,
            Self::Closed => 1,
            Self::All => 2,
        }
    }
}

impl Sort {
    fn parse(text: &str, state: State) -> Result<Self, String> {
        let sort = match text {
            "" | "cid" | "start" => Self::Cid,
            "subs" => Self::Subs,
            "pending" => Self::Pending,
            "msgs_to" => Self::MsgsTo,
            "msgs_from" => Self::MsgsFrom,
            "bytes_to" => Self::BytesTo,
            "bytes_from" => Self::BytesFrom,
            "last" => Self::Last,
            "idle" => Self::Idle,
            "uptime" => Self::Uptime,
            "stop" => Self::Stop,
            "reason" => Self::Reason,
            "rtt" => Self::Rtt,
            _ => return Err(format!("invalid sorting option: {text}")),
        };
        if matches!(sort, Self::Stop | Self::Reason) && state != State::Closed {
            return Err(format!("sort by {text} only valid on closed connections"));
        }
        Ok(sort)
    }

    /// Compares two connections; of equal ones the older comes first.
    fn compare(self, a: &ConnectionReport, b: &ConnectionReport, now: Time) -> Ordering {
        let descending = |key: fn(&ConnectionReport) -> u64| Reverse(key(a)).cmp(&Reverse(key(b)));
        let order = match self {
            Self::Cid => Ordering::Equal,
            Self::Subs => descending(|c| u64::from(c.subscriptions)),
            Self::Pending => descending(|c| c.pending_bytes),
            Self::MsgsTo => descending(|c| c.out_msgs),
            Self::MsgsFrom => descending(|c| c.in_msgs),
            Self::BytesTo => descending(|c| c.out_bytes),
            Self::BytesFrom => descending(|c| c.in_bytes),
            Self::Last => descending(|c| c.last_activity.nanos()),
            Self::Idle => a.last_activity.cmp(&b.last_activity),
            Self::Uptime => {
                lifetime_end(a, now).since(a.start).cmp(&lifetime_end(b, now).since(b.start))
            }
            Self::Stop => b.end.map(|end| end.at).cmp(&a.end.map(|end| end.at)),
            Self::Reason => reason(a).cmp(reason(b)),
            Self::Rtt => b.rtt.cmp(&a.rtt),
        };
        order.then(a.cid.cmp(&b.cid))
    }
}

/// Until when the connection lived; for an open one, until now.
fn lifetime_end(connection: &ConnectionReport, now: Time) -> Time {
    connection.end.map_or(now, |end| end.at)
}

fn reason(connection: &ConnectionReport) -> &'static str {
    connection.end.map_or("", |end| end.reason)
}

/// Collects the connections of one answer. It holds at most twice what the answer needs.
struct Page {
    asked: Asked,
    now: Time,
    total: usize,
    found: Vec<ConnectionReport>,
}

impl Page {
    const fn new(asked: Asked, now: Time) -> Self {
        Self { asked, now, total: 0, found: Vec::new() }
    }

    async fn gather(&mut self, source: &impl Source) {
        if self.asked.state != State::Closed {
            gather::connections(source, |connection| self.take(connection)).await;
        }
        if self.asked.state != State::Open {
            gather::closed(source, |connection| self.take(connection)).await;
        }
        self.sort_and_cut();
    }

    fn take(&mut self, connection: ConnectionReport) {
        if !self.asked.counts(&connection) {
            return;
        }
        self.total += 1;
        if self.asked.lists(&connection) {
            self.found.push(connection);
        }
        if self.found.len() > self.asked.kept().saturating_mul(2).max(LIST_MAX) {
            self.sort_and_cut();
        }
    }

    fn sort_and_cut(&mut self) {
        let (sort, now) = (self.asked.sort, self.now);
        self.found.sort_unstable_by(|a, b| sort.compare(a, b, now));
        self.found.truncate(self.asked.kept());
    }

    /// The connections of the answer, with their subscriptions if they were asked for.
    async fn connections(&mut self, source: &impl Source) -> Vec<Connection> {
        let first = self.asked.offset.min(self.found.len());
        let listed = self.found.split_off(first);
        let mut subscriptions = if self.asked.subs == Subs::No {
            BTreeMap::new()
        } else {
            subscriptions_of(source, &listed).await
        };
        let answer = |report: ConnectionReport| {
            let subs = subscriptions.remove(&report.cid).unwrap_or_default();
            Connection::new(report, subs, &self.asked, self.now)
        };
        listed.into_iter().map(answer).collect()
    }
}

/// The subscriptions of the open ones among `connections`, by their cid.
async fn subscriptions_of(
    source: &impl Source,
    connections: &[ConnectionReport],
) -> BTreeMap<u64, Vec<SubscriptionReport>> {
    let open = connections.iter().filter(|c| c.end.is_none() && c.subscriptions > 0);
    let mut found: BTreeMap<u64, Vec<SubscriptionReport>> =
        open.map(|c| (c.cid, Vec::new())).collect();
    if found.is_empty() {
        return found;
    }
    gather::subscriptions(source, |subscription| {
        if let Some(list) = found.get_mut(&subscription.cid) {
            list.push(subscription);
        }
    })
    .await;
    found
}

/// The answer, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Connz {
    server_id: String,
    now: String,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    connections: Option<Vec<Connection>>,
}

impl Connz {
    /// The answer about an account that does not exist.
    fn nobody(asked: &Asked, now: Time) -> Self {
        Self {
            server_id: String::new(),
            now: time(now),
            num_connections: 0,
            total: 0,
            offset: asked.offset,
            limit: asked.limit,
            connections: None,
        }
    }
}

/// One connection of the answer, in the peer's order.
#[derive(Debug, Serialize)]
struct Connection {
    cid: u64,
    kind: &'static str,
    r#type: &'static str,
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: u64,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    stalls: u64,
    subscriptions: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    authorized_user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubscriptionDetail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name_tag: String,
}

impl Connection {
    fn new(
        report: ConnectionReport,
        open_subscriptions: Vec<SubscriptionReport>,
        asked: &Asked,
        now: Time,
    ) -> Self {
        let until = lifetime_end(&report, now);
        let names = Names::of(&report, asked.auth);
        let (subscriptions_list, subscriptions_list_detail) =
            lists(open_subscriptions, report.closed_subscriptions, asked.subs);
        Self {
            cid: report.cid,
            kind: report.kind.name(),
            r#type: "nats",
            ip: report.peer.ip().to_canonical().to_string(),
            port: report.peer.port(),
            start: time(report.start),
            last_activity: time(report.last_activity),
            stop: report.end.map(|end| time(end.at)),
            reason: report.end.map_or("", |end| end.reason),
            rtt: if report.rtt.is_zero() { String::new() } else { duration(report.rtt) },
            uptime: uptime(until.since(report.start)),
            idle: uptime(until.since(report.last_activity)),
            pending_bytes: report.pending_bytes,
            in_msgs: report.in_msgs,
            out_msgs: report.out_msgs,
            in_bytes: report.in_bytes,
            out_bytes: report.out_bytes,
            stalls: report.stalls,
            subscriptions: report.subscriptions,
            name: report.name,
            lang: report.lang,
            version: report.version,
            authorized_user: names.authorized_user,
            account: names.account,
            subscriptions_list,
            subscriptions_list_detail,
            name_tag: names.name_tag,
        }
    }
}

/// What a request with `auth` sees besides.
#[derive(Default)]
struct Names {
    authorized_user: String,
    account: String,
    name_tag: String,
}

impl Names {
    /// The global account is not named, only tagged, and that only while the connection is open.
    fn of(report: &ConnectionReport, auth: bool) -> Self {
        if !auth {
            return Self::default();
        }
        let global = report.account == GLOBAL_ACCOUNT;
        let tagged = !global || report.end.is_none();
        let account = || report.account.clone();
        Self {
            authorized_user: report.authorized_user.clone(),
            account: if global { String::new() } else { account() },
            name_tag: if tagged { account() } else { String::new() },
        }
    }
}

/// The two forms of a list of subscriptions, one of which is empty. Only in the details of closed
/// connections does the peer name the account.
fn lists(
    open: Vec<SubscriptionReport>,
    closed: Vec<SubscriptionReport>,
    subs: Subs,
) -> (Vec<String>, Vec<SubscriptionDetail>) {
    match subs {
        Subs::No => (Vec::new(), Vec::new()),
        Subs::Subjects => {
            (open.into_iter().chain(closed).map(|sub| sub.subject).collect(), Vec::new())
        }
        Subs::Detail => {
            let open = open.into_iter().map(SubscriptionDetail::without_account);
            (Vec::new(), open.chain(closed.into_iter().map(SubscriptionDetail::new)).collect())
        }
    }
}
