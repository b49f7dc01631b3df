//! What the server tells by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ring::Time;

use super::advisory::{Connected, Disconnected};
use super::connection_count::{CONNECTION_COUNT, ConnectionCount};
use super::event::{Action, Event, Facts, Question, Statistics};
use super::expected::Expected;
use super::peers::Peers;
use super::questions::{Purpose, Questions, ReplyTo};
use super::request::{Content, Envelope, json};
use super::server_info::{Signer, time};
use super::statsz::Statsz;
use super::topic::{self, OF_EVERY_ACCOUNT, SCOPE_OF_ACCOUNTS, Topic, Where};
use crate::account::Accounts;
use crate::engine::{ClientChange, ClientNews, Scope};
use crate::ids::AccountId;
use crate::monitor::AccountStats;
use crate::report::AccountReport;

/// The first heartbeat comes so soon, and each later one after twice the time.
const HEARTBEAT_FIRST: Duration = Duration::from_millis(250);
/// The longest time between heartbeats.
const HEARTBEAT_LONGEST: Duration = Duration::from_secs(10);
/// The shortest time between heartbeats that others bring about.
const HEARTBEAT_SHORTEST: Duration = Duration::from_secs(1);
/// Changes of accounts' clients are told no more often, so that a storm of them costs few messages.
const COUNTS_GATHERED: Duration = Duration::from_millis(250);
/// How often accounts that have clients are told again.
const COUNTS_AGAIN: Duration = Duration::from_secs(30);
/// Accounts that are told at one time; the others come next.
const COUNTS_AT_ONCE: usize = 256;

/// See the module's documentation.
#[derive(Debug)]
pub struct Events {
    pub(super) signer: Signer,
    pub(super) accounts: Arc<Accounts>,
    /// So many accounts have their subscriptions.
    subscribed: usize,
    /// What subscriptions are about, by their numbers.
    pub(super) topics: Vec<Topic>,
    pub(super) random: Rng,
    pub(super) peers: Peers,
    pub(super) questions: Questions,
    pub(super) expected: Expected,
    heartbeat: Heartbeat,
    counts: Counts,
}

/// When the server tells how it is.
#[derive(Debug)]
struct Heartbeat {
    due: Time,
    interval: Duration,
    last: Time,
}

/// When the server tells how many clients accounts have.
#[derive(Debug)]
struct Counts {
    changed: BTreeSet<AccountId>,
    /// When what has changed is told.
    due: Option<Time>,
    /// When it was last.
    told: Time,
    /// When all is told again.
    again: Time,
}

impl Events {
    /// The events of a server that starts now.
    #[must_use]
    pub fn new(facts: Facts, accounts: Arc<Accounts>, seed: u64, now: Time) -> Self {
        Self {
            signer: Signer::new(facts),
            accounts,
            subscribed: 0,
            topics: Vec::new(),
            random: Rng::with_seed(seed),
            peers: Peers::default(),
            questions: Questions::default(),
            expected: Expected::default(),
            heartbeat: Heartbeat {
                due: now + HEARTBEAT_FIRST,
                interval: HEARTBEAT_FIRST,
                last: Time::ZERO,
            },
            counts: Counts {
                changed: BTreeSet::new(),
                due: None,
                told: Time::ZERO,
                again: now + COUNTS_AGAIN,
            },
        }
    }

    /// Subscribes to all that the server listens to.
    pub fn begin(&mut self, out: &mut Vec<Action>) {
        let facts = &self.signer.facts;
        let system = topic::of_the_system_account(&facts.id, &facts.name);
        self.topics = OF_EVERY_ACCOUNT.iter().map(|(topic, ..)| *topic).collect();
        for (topic, subject) in system {
            let id = u32::try_from(self.topics.len()).unwrap_or(u32::MAX);
            self.topics.push(topic);
            let (account, scope) = (AccountId::SYSTEM, Scope::Cluster);
            out.push(Action::Subscribe { id, account, subject, scope });
        }
        self.subscribe_accounts(out);
    }

    /// Subscribes to what every account has, in those that are new.
    fn subscribe_accounts(&mut self, out: &mut Vec<Action>) {
        for (account, _) in self.accounts.iter().skip(self.subscribed) {
            for (id, (_, subject, place)) in (0..).zip(OF_EVERY_ACCOUNT) {
                if account == AccountId::SYSTEM && place == Where::NotInSystem {
                    continue;
                }
                let (subject, scope) = (subject.to_owned(), SCOPE_OF_ACCOUNTS);
                out.push(Action::Subscribe { id, account, subject, scope });
            }
        }
        self.subscribed = self.accounts.len();
    }

    /// Something happened.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Deliveries(deliveries) => {
                for delivered in &deliveries {
                    self.on_delivery(now, delivered, out);
                }
            }
            Event::Accounts(accounts) => {
                self.accounts = accounts;
                self.subscribe_accounts(out);
            }
            Event::Facts(facts) => self.signer.facts = *facts,
            Event::Changed(accounts) => self.on_changed(now, accounts),
            Event::Clients(news) => {
                for news in &news {
                    self.tell_news(now, news, out);
                }
            }
            Event::Joined => self.hurry(now + HEARTBEAT_FIRST),
            Event::Left { id } => self.peers.leave(&id),
            Event::Answer { question, answer } => {
                if let Some(purpose) = self.questions.answered(question, out) {
                    self.on_answer(now, purpose, answer, out);
                }
            }
            Event::LameDuck => self.tell_leaving(now, "LAMEDUCK", out),
            Event::Shutdown => self.tell_leaving(now, "SHUTDOWN", out),
        }
    }

    /// When there is something to do without anything having happened.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let soonest = self.heartbeat.due.min(self.counts.again);
        let soonest = self.counts.due.map_or(soonest, |due| due.min(soonest));
        self.expected.deadline().map_or(soonest, |due| due.min(soonest))
    }

    /// It is time.
    pub fn expire(&mut self, now: Time, out: &mut Vec<Action>) {
        for (reply, sum) in self.expected.take_due(now) {
            publish(&reply, sum.to_string().into_bytes(), out);
        }
        if self.heartbeat.due <= now {
            self.beat(now, out);
        }
        let all = self.counts.again <= now;
        if all {
            self.counts.again = now + COUNTS_AGAIN;
        }
        if self.counts.due.is_some_and(|due| due <= now) || all {
            self.count(now, all, out);
        }
    }

    fn beat(&mut self, now: Time, out: &mut Vec<Action>) {
        let heartbeat = &mut self.heartbeat;
        heartbeat.interval = (heartbeat.interval * 2).min(HEARTBEAT_LONGEST);
        heartbeat.due = now + heartbeat.interval;
        heartbeat.last = now;
        self.peers.forget_silent(now);
        self.expected.forget_late(now);
        if !self.questions.is_measuring() {
            self.questions.ask_now(Question::Statistics, Purpose::Heartbeat, out);
        }
    }

    /// Somebody should hear soon how the server is.
    pub(super) fn hurry(&mut self, at: Time) {
        let soonest = at.max(self.heartbeat.last + HEARTBEAT_SHORTEST);
        self.heartbeat.due = self.heartbeat.due.min(soonest);
    }

    /// Tells everybody how the server is, or those who asked.
    pub(super) fn tell_statistics(
        &mut self,
        now: Time,
        statistics: Statistics,
        replies: Option<Vec<ReplyTo>>,
        out: &mut Vec<Action>,
    ) {
        let statsz = Statsz::new(statistics, self.signer.facts.start, self.peers.len() + 1);
        let to_all = || vec![self.subject_of("STATSZ").into_bytes().into()];
        for reply in replies.unwrap_or_else(to_all) {
            let content = Content::Statistics { statsz: &statsz };
            let envelope = Envelope { server: self.signer.sign(now), content };
            publish(&reply, json(&envelope), out);
        }
    }

    /// Where the server tells something.
    fn subject_of(&self, what: &str) -> String {
        format!("$SYS.SERVER.{}.{what}", self.signer.facts.id)
    }

    fn tell_leaving(&mut self, now: Time, what: &str, out: &mut Vec<Action>) {
        let subject = self.subject_of(what);
        publish(subject.as_bytes(), json(&self.signer.sign(now)), out);
    }

    fn on_changed(&mut self, now: Time, mut accounts: BTreeSet<AccountId>) {
        self.counts.changed.append(&mut accounts);
        let soonest = now.max(self.counts.told + COUNTS_GATHERED);
        self.counts.due.get_or_insert(soonest);
    }

    /// Asks for the clients of accounts: of those that changed, or of all.
    fn count(&mut self, now: Time, all: bool, out: &mut Vec<Action>) {
        if self.questions.is_counting() {
            // The answer is as old as the question: what has changed since is asked for again.
            self.counts.due = Some(now + COUNTS_GATHERED);
            return;
        }
        (self.counts.due, self.counts.told) = (None, now);
        let accounts = std::mem::take(&mut self.counts.changed);
        self.questions.ask_now(Question::Accounts, Purpose::Counts { accounts, all }, out);
    }

    /// Tells how many clients accounts have.
    pub(super) fn tell_counts(
        &mut self,
        now: Time,
        mut wanted: BTreeSet<AccountId>,
        all: bool,
        reports: &[AccountReport],
        out: &mut Vec<Action>,
    ) {
        if all {
            let used = reports.iter().filter(|report| report.clients > 0);
            wanted.extend(used.map(|report| report.account));
        }
        wanted.remove(&AccountId::GLOBAL);
        for account in wanted.iter().take(COUNTS_AT_ONCE) {
            self.tell_count(now, &AccountReport::find(reports, *account), out);
        }
        if wanted.len() > COUNTS_AT_ONCE {
            self.on_changed(now, wanted.into_iter().skip(COUNTS_AT_ONCE).collect());
        }
    }

    fn tell_count(&mut self, now: Time, report: &AccountReport, out: &mut Vec<Action>) {
        let id = self.event_id();
        let accounts = Arc::clone(&self.accounts);
        let name = accounts.name(report.account);
        if !is_token(name) {
            return;
        }
        for subject in [
            format!("$SYS.SERVER.ACCOUNT.{name}.CONNS"),
            format!("$SYS.ACCOUNT.{name}.SERVER.CONNS"),
        ] {
            let body = self.count_of(now, report, id.clone());
            publish(subject.as_bytes(), body, out);
        }
    }

    /// How many clients an account has.
    pub(super) fn count_of(&mut self, now: Time, report: &AccountReport, id: String) -> Vec<u8> {
        json(&ConnectionCount {
            r#type: CONNECTION_COUNT,
            id,
            timestamp: time(now),
            server: self.signer.sign(now),
            stats: AccountStats::new(self.accounts.name(report.account), report),
        })
    }

    /// Tells that a client came or went.
    fn tell_news(&mut self, now: Time, news: &ClientNews, out: &mut Vec<Action>) {
        let ClientNews { change, client } = news;
        if !is_token(&client.account) {
            return;
        }
        let (id, at) = (self.event_id(), client.end.map_or(now, |end| end.at));
        let of_account = |what| format!("$SYS.ACCOUNT.{}.{what}", client.account);
        let subject = match change {
            ClientChange::Connected => of_account("CONNECT"),
            ClientChange::Disconnected => of_account("DISCONNECT"),
            ClientChange::Refused => self.subject_of("CLIENT.AUTH.ERR"),
        };
        let server = self.signer.sign(now);
        let body = match change {
            ClientChange::Connected => json(&Connected::new(client, id, time(at), server)),
            ClientChange::Disconnected | ClientChange::Refused => {
                json(&Disconnected::new(client, id, time(at), server))
            }
        };
        publish(subject.as_bytes(), body, out);
    }

    /// A name that no other event has.
    pub(super) fn event_id(&mut self) -> String {
        /// What others' have, too.
        const LEN: usize = 22;
        (0..LEN).map(|_| self.random.alphanumeric()).collect()
    }
}

/// Publishes something in the system account.
pub(super) fn publish(subject: &[u8], body: Vec<u8>, out: &mut Vec<Action>) {
    out.push(Action::Publish {
        account: AccountId::SYSTEM,
        subject: subject.to_vec(),
        reply: None,
        header_len: 0,
        body,
    });
}

/// Whether a name may stand in a subject.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && !name.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
}
