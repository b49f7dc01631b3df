//! What others ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::Time;
use serde::Serialize;
use serde_json::Value;

use super::event::{Action, Answer, Question};
use super::expected::Arrival;
use super::presence::{Events, is_token, publish};
use super::questions::Purpose;
use super::request::{
    self, Content, Counted, Envelope, Filter, Identity, OneClient, Problem, UserInfo, json,
};
use super::topic::{self, ACCOUNT_TOKEN, AccountTopic, INBOX_TOKEN, SERVER_TOKEN, Topic};
use crate::engine::ClientOrder;
use crate::ids::AccountId;
use crate::monitor::Body;
use crate::report::AccountReport;
use crate::router::Delivered;

/// The code of a request that cannot be read.
const UNREADABLE: u16 = 400;
/// The code of a request that makes no sense here.
const SENSELESS: u16 = 500;

impl Events {
    /// A message that was subscribed to.
    pub(super) fn on_delivery(&mut self, now: Time, message: &Delivered, out: &mut Vec<Action>) {
        let Some(topic) = self.topics.get(message.subscription as usize).copied() else { return };
        match topic {
            Topic::PeerAlive | Topic::PeerLeaves => self.on_peer(now, topic, message, out),
            Topic::Inbox => self.on_inbox(message, out),
            Topic::UserInfo => self.tell_user(now, message, out),
            Topic::OwnConnections => self.pass_request_on("CONNZ", now, message, out),
            Topic::OwnStats => self.pass_request_on("STATZ", now, message, out),
            Topic::Client(order) => self.on_client_request(order, message, out),
            Topic::Reload => {
                self.questions.ask(Question::Reload, Purpose::Done(message.reply.clone()), out);
            }
            Topic::Identity
            | Topic::Statistics
            | Topic::Body(_)
            | Topic::Nothing
            | Topic::Unsupported(_)
            | Topic::Account(_)
            | Topic::AccountStats
            | Topic::Subscribers
            | Topic::AllSubscribers => self.on_request(now, topic, message, out),
        }
    }

    fn on_peer(&mut self, now: Time, topic: Topic, message: &Delivered, out: &mut Vec<Action>) {
        let id = topic::token(&message.subject, SERVER_TOKEN);
        let Some(id) = id.filter(|id| *id != self.signer.facts.id) else { return };
        if topic == Topic::PeerLeaves {
            self.peers.leave(id);
            out.push(Action::PeerLeaves { id: id.to_owned() });
        } else if self.peers.hear(id, now) {
            self.hurry(now);
        }
    }

    /// An answer of another server, or of this one.
    fn on_inbox(&mut self, message: &Delivered, out: &mut Vec<Action>) {
        let Some(name) = topic::token(&message.subject, INBOX_TOKEN) else { return };
        let payload = message.body.get(message.header_len as usize..).unwrap_or_default();
        match self.expected.arrive(name, payload) {
            Arrival::PassOn(account, subject) => out.push(Action::Publish {
                account,
                subject: subject.into(),
                reply: None,
                header_len: message.header_len,
                body: message.body.to_vec(),
            }),
            Arrival::Sum(reply, sum) => publish(&reply, sum.to_string().into_bytes(), out),
            Arrival::Nothing => {}
        }
    }

    /// A client asks who it is.
    fn tell_user(&mut self, now: Time, message: &Delivered, out: &mut Vec<Action>) {
        let (Some(asker), Some(reply)) = (&message.asker, &message.reply) else { return };
        let accounts = Arc::clone(&self.accounts);
        let account = accounts.name(message.account);
        let data = UserInfo { user: &asker.user, account, account_name: account };
        let content = Content::Data { data };
        let body = json(&Envelope { server: self.signer.sign(now), content });
        out.push(Action::Publish {
            account: message.account,
            subject: reply.to_vec(),
            reply: None,
            header_len: 0,
            body,
        });
    }

    /// What a client asks of its account is asked of all servers; their answers go to the client.
    fn pass_request_on(
        &mut self,
        what: &str,
        now: Time,
        message: &Delivered,
        out: &mut Vec<Action>,
    ) {
        // Clients of other servers ask there.
        let (Some(_), Some(reply)) = (&message.asker, &message.reply) else { return };
        let account = self.accounts.name(message.account);
        if !is_token(account) {
            return;
        }
        let subject = format!("$SYS.REQ.ACCOUNT.{account}.{what}");
        let name = self.event_id();
        if self.expected.relay(&name, message.account, reply, now) {
            out.push(Action::Publish {
                account: AccountId::SYSTEM,
                subject: subject.into_bytes(),
                reply: Some(self.inbox(&name)),
                header_len: message.header_len,
                body: message.body.to_vec(),
            });
        }
    }

    fn inbox(&self, name: &str) -> Vec<u8> {
        let mut inbox = topic::inbox(&self.signer.facts.name).into_bytes();
        inbox.extend_from_slice(name.as_bytes());
        inbox
    }

    /// Something is to be done with a client. Requests that cannot be read are not answered.
    fn on_client_request(
        &mut self,
        order: ClientOrder,
        message: &Delivered,
        out: &mut Vec<Action>,
    ) {
        let asked = request::options(message).ok().filter(|options| !options.is_null());
        if let Some(OneClient { cid }) = asked.and_then(|options| request::read(&options).ok()) {
            let question = Question::Client { cid, order };
            self.questions.ask(question, Purpose::Done(message.reply.clone()), out);
        }
    }

    /// A request that is about this server, unless it filters it out.
    fn on_request(&mut self, now: Time, topic: Topic, message: &Delivered, out: &mut Vec<Action>) {
        let Some(reply) = message.reply.as_deref() else { return };
        let facts = &self.signer.facts;
        if topic == Topic::Identity {
            let identity = Identity { name: &facts.name, host: &facts.host, id: &facts.id };
            return publish(reply, json(&identity), out);
        }
        if topic == Topic::AllSubscribers {
            return self.count_everywhere(now, message, reply, out);
        }
        let asked = request::options(message);
        let filtered = asked.and_then(|options| Ok((request::read::<Filter>(&options)?, options)));
        match filtered {
            Ok((filter, _)) if !filter.means(&self.signer.facts) => {}
            Ok((_, options)) => {
                if let Err(text) = self.ask_for(now, topic, (message, reply), options, out) {
                    self.refuse(now, reply, UNREADABLE, text, out);
                }
            }
            Err(text) => self.refuse(now, reply, UNREADABLE, text, out),
        }
    }

    /// Asks for what a request is about.
    fn ask_for(
        &mut self,
        now: Time,
        topic: Topic,
        (message, reply): (&Delivered, &[u8]),
        options: Value,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        match topic {
            Topic::Statistics => {
                if !self.questions.share_statistics(reply) {
                    let purpose = Purpose::Statistics(vec![reply.into()]);
                    self.questions.ask(Question::Statistics, purpose, out);
                }
            }
            Topic::Body(body) => self.ask_for_body(body, options, reply, out),
            Topic::Nothing => self.tell(now, reply, &BTreeMap::<&str, &str>::new(), out),
            Topic::Unsupported(what) => return Err(format!("{what} is not supported")),
            Topic::AccountStats => self.ask_for_stats(options, reply, out),
            Topic::Subscribers => self.count_here(&request::read(&options)?, reply, out),
            Topic::Account(topic) => {
                let name = topic::token(&message.subject, ACCOUNT_TOKEN).unwrap_or_default();
                self.ask_of_account(now, topic, name, (reply, options), out);
            }
            Topic::Identity
            | Topic::AllSubscribers
            | Topic::Reload
            | Topic::Client(_)
            | Topic::PeerAlive
            | Topic::PeerLeaves
            | Topic::Inbox
            | Topic::UserInfo
            | Topic::OwnConnections
            | Topic::OwnStats => {}
        }
        Ok(())
    }

    fn ask_for_body(&mut self, body: Body, options: Value, reply: &[u8], out: &mut Vec<Action>) {
        let purpose = if body == Body::Healthz {
            // Who asks for a stream asks the wrong server.
            let named = options.get("stream").is_some() || options.get("consumer").is_some();
            let code = if named { UNREADABLE } else { SENSELESS };
            Purpose::Health { reply: reply.into(), code }
        } else {
            Purpose::Data(reply.into())
        };
        self.questions.ask(Question::Body { body, options }, purpose, out);
    }

    /// Asks what the clients of some accounts do.
    fn ask_for_stats(&mut self, options: Value, reply: &[u8], out: &mut Vec<Action>) {
        let question = Question::Body { body: Body::Accstatz, options };
        self.questions.ask(question, Purpose::AccountStats(reply.into()), out);
    }

    /// Asks for something of one account, which may not exist.
    fn ask_of_account(
        &mut self,
        now: Time,
        topic: AccountTopic,
        name: &str,
        (reply, mut options): (&[u8], Value),
        out: &mut Vec<Action>,
    ) {
        let found = self.accounts.find(name.as_bytes());
        match (topic, found) {
            (AccountTopic::Connections, _) => {
                request::set(&mut options, "acc", name);
                self.ask_for_body(Body::Connz, options, reply, out);
            }
            (AccountTopic::Subscriptions, _) => {
                request::set(&mut options, "account", name);
                request::set(&mut options, "subscriptions", true);
                self.ask_for_body(Body::Subsz, options, reply, out);
            }
            (AccountTopic::Leafs, _) => self.ask_for_body(Body::Leafz, options, reply, out),
            (AccountTopic::JetStream, _) => {
                self.refuse(now, reply, SENSELESS, "jetstream not enabled".into(), out);
            }
            (AccountTopic::Info, _) => {
                request::set(&mut options, "account", name);
                let question = Question::Body { body: Body::Accountz, options };
                self.questions.ask(question, Purpose::AccountDetail(reply.into()), out);
            }
            (AccountTopic::Stats, _) => {
                request::set(&mut options, "accounts", vec![name]);
                self.ask_for_stats(options, reply, out);
            }
            (AccountTopic::Count, Some(account)) => {
                let purpose = Purpose::Count { reply: reply.into(), account };
                self.questions.ask(Question::Accounts, purpose, out);
            }
            (AccountTopic::Count, None) => {}
        }
    }

    /// How many subscriptions here a subject matches.
    fn count_here(&mut self, counted: &Counted, reply: &[u8], out: &mut Vec<Action>) {
        if self.accounts.find(counted.acc.as_bytes()).is_none() {
            return;
        }
        let mut options = Value::Null;
        request::set(&mut options, "account", counted.acc.as_str());
        request::set(&mut options, "test", counted.subject.as_str());
        request::set(&mut options, "subscriptions", true);
        request::set(&mut options, "limit", 1);
        let question = Question::Body { body: Body::Subsz, options };
        self.questions.ask(question, Purpose::Subscribers(reply.into()), out);
    }

    /// Asks all servers how many subscriptions of the system account a subject matches.
    fn count_everywhere(
        &mut self,
        now: Time,
        message: &Delivered,
        reply: &[u8],
        out: &mut Vec<Action>,
    ) {
        let payload = message.body.get(message.header_len as usize..).unwrap_or_default();
        let Ok(text) = std::str::from_utf8(payload) else { return };
        let mut words = text.split_ascii_whitespace();
        let mut word = || words.next().unwrap_or_default().to_owned();
        let acc = self.accounts.name(AccountId::SYSTEM).to_owned();
        let counted = Counted { acc, subject: word(), queue: word() };
        let name = self.event_id();
        if self.expected.add_up(&name, reply, self.peers.len() + 1, now) {
            out.push(Action::Publish {
                account: AccountId::SYSTEM,
                subject: b"$SYS.REQ.ACCOUNT.NSUBS".to_vec(),
                reply: Some(self.inbox(&name)),
                header_len: 0,
                body: json(&counted),
            });
        }
    }

    /// The answer to a question has come.
    pub(super) fn on_answer(
        &mut self,
        now: Time,
        purpose: Purpose,
        answer: Answer,
        out: &mut Vec<Action>,
    ) {
        match (purpose, answer) {
            (Purpose::Heartbeat, Answer::Statistics(statistics)) => {
                self.tell_statistics(now, *statistics, None, out);
            }
            (Purpose::Statistics(replies), Answer::Statistics(statistics)) => {
                self.tell_statistics(now, *statistics, Some(replies), out);
            }
            (purpose, Answer::Accounts(reports)) => self.on_accounts(now, purpose, &reports, out),
            (Purpose::Subscribers(reply), Answer::Body(body)) => {
                let total = body.ok().and_then(|body| body.get("total").and_then(Value::as_u64));
                publish(&reply, total.unwrap_or(0).to_string().into_bytes(), out);
            }
            (Purpose::Health { reply, code }, Answer::Body(Ok(mut health))) => {
                let is_well = health.get("status").is_some_and(|status| status == "ok");
                request::set(&mut health, "status_code", if is_well { 200 } else { code });
                self.tell(now, &reply, &health, out);
            }
            (Purpose::Data(reply), Answer::Body(Ok(data))) => self.tell(now, &reply, &data, out),
            (Purpose::AccountStats(reply), Answer::Body(Ok(stats))) => {
                // Whoever asks many servers for an account wants to hear of those that know it.
                if stats
                    .get("account_statz")
                    .and_then(Value::as_array)
                    .is_some_and(|all| !all.is_empty())
                {
                    self.tell(now, &reply, &stats, out);
                }
            }
            (Purpose::AccountDetail(reply), Answer::Body(Ok(list))) => {
                self.tell(now, &reply, &list.get("account_detail"), out);
            }
            (
                Purpose::Data(reply)
                | Purpose::Health { reply, .. }
                | Purpose::AccountStats(reply)
                | Purpose::AccountDetail(reply),
                Answer::Body(Err((code, text))),
            ) => self.refuse(now, &reply, code, text, out),
            (Purpose::Done(Some(reply)), Answer::Done(done)) => {
                let content: Content<()> = match done {
                    Ok(()) => Content::Done {},
                    Err(description) => {
                        Content::Unreadable { error: Problem { code: SENSELESS, description } }
                    }
                };
                let envelope = Envelope { server: self.signer.sign(now), content };
                publish(&reply, json(&envelope), out);
            }
            // What a question is not answered with says nothing.
            (_, Answer::Statistics(_) | Answer::Body(_) | Answer::Done(_) | Answer::Nothing) => {}
        }
    }

    /// What the clients of each account do is known.
    fn on_accounts(
        &mut self,
        now: Time,
        purpose: Purpose,
        reports: &[AccountReport],
        out: &mut Vec<Action>,
    ) {
        match purpose {
            Purpose::Counts { accounts, all } => self.tell_counts(now, accounts, all, reports, out),
            Purpose::Count { reply, account } => {
                let report = AccountReport::find(reports, account);
                if report.clients > 0 {
                    let id = self.event_id();
                    let body = self.count_of(now, &report, id);
                    publish(&reply, body, out);
                }
            }
            Purpose::Heartbeat
            | Purpose::Statistics(_)
            | Purpose::Data(_)
            | Purpose::Health { .. }
            | Purpose::Done(_)
            | Purpose::AccountStats(_)
            | Purpose::AccountDetail(_)
            | Purpose::Subscribers(_) => {}
        }
    }

    /// Answers a request.
    fn tell(&mut self, now: Time, reply: &[u8], data: &impl Serialize, out: &mut Vec<Action>) {
        let content = Content::Data { data };
        publish(reply, json(&Envelope { server: self.signer.sign(now), content }), out);
    }

    /// Answers a request that cannot be carried out.
    fn refuse(
        &mut self,
        now: Time,
        reply: &[u8],
        code: u16,
        description: String,
        out: &mut Vec<Action>,
    ) {
        let error = Problem { code, description };
        let content: Content<()> = if code == UNREADABLE {
            Content::Unreadable { error }
        } else {
            Content::Refused { data: (), error }
        };
        publish(reply, json(&Envelope { server: self.signer.sign(now), content }), out);
    }
}
