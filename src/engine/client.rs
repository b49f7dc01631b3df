//! What clients ask for, carried out.

use std::sync::Arc;

use crate::auth::{Credentials, HashJob, Identity, Login, Verdict};
use crate::close::{CloseReason, ErrorText};
use crate::ids::AccountId;
use crate::limits;
use crate::mailbox::Letter;
use crate::proto::client::{ClientOp, ParseError, Publish};
use crate::proto::connect::Connect;
use crate::proto::encode::{self, Violation};
use crate::proto::headers;
use crate::proto::info::{ConnectInfo, InfoExtra};
use crate::proto::quote::Plain;
use crate::router::{Delivery, Message, Origin, Want};
use crate::session::{About, Claim, Client, Hold, Phase, round_trip};
use crate::subject;
use crate::sublist::{Owner, Subscription};

use super::barrier::Asker;
use super::trace::Way;
use super::{End, Engine, Errand, imports};

impl Engine {
    /// Carries out anything but a publish.
    pub(super) fn on_op(
        &mut self,
        index: u32,
        client: &mut Client,
        op: &ClientOp<'_>,
    ) -> Result<(), End> {
        if !matches!(op, ClientOp::Connect(_)) {
            self.admit_anonymous(client)?;
        }
        match *op {
            ClientOp::Connect(json) => self.on_connect(index, client, json)?,
            ClientOp::Subscribe { subject, queue, sid } => {
                self.on_subscribe(index, client, subject, queue, sid);
                self.count_change_by_client(index, client);
            }
            ClientOp::Unsubscribe { sid, max } => {
                self.on_unsubscribe(index, client, sid, max);
                self.count_change_by_client(index, client);
            }
            ClientOp::Ping => self.on_ping(index, client),
            ClientOp::Pong => {
                client.pings.outstanding = 0;
                if client.pings.sent_at > ring::Time::ZERO {
                    client.pings.rtt = round_trip(self.now - client.pings.sent_at);
                }
            }
            ClientOp::Err(text) => {
                self.complain(client, format_args!("Client Error {}", Plain(text)));
                return Err(End { reason: CloseReason::ParseError, error: None });
            }
            ClientOp::Publish(_) | ClientOp::Info | ClientOp::Ok => {}
        }
        Ok(())
    }

    fn on_connect(&mut self, index: u32, client: &mut Client, json: &[u8]) -> Result<(), End> {
        let mut connect = Connect::default();
        if let Some(last) = client.login.take() {
            (connect.user, connect.pass, connect.auth_token) = (last.user, last.pass, last.token);
        }
        // What it shows now counts.
        self.rechecks.forget(index);
        if client.connected {
            self.end_all_subscriptions(client);
            self.note_left_account(client);
            // What a further CONNECT leaves out stays as it was.
            (connect.verbose, connect.pedantic, connect.echo) =
                (client.verbose, client.pedantic, client.echo);
            (connect.headers, connect.no_responders) = (client.headers, client.no_responders);
            connect.protocol = i64::from(client.informed);
        }
        connect.update(json).map_err(|error| {
            self.complain(client, error);
            End::from(ParseError::BadArguments)
        })?;
        describe(client, &mut connect);
        if connect.account_used {
            return Err(CloseReason::AuthenticationFailure.into());
        }
        client.connected = true;
        if client.pings.rtt.is_zero() {
            // As the peer has it until a PING is answered.
            client.pings.rtt = round_trip(self.now - client.start);
        }
        let headers = connect.headers && self.options.headers;
        let refusal = if !(0..=1).contains(&connect.protocol) {
            Some(CloseReason::BadClientProtocolVersion)
        } else if connect.no_responders && !headers {
            Some(CloseReason::NoRespondersRequiresHeaders)
        } else {
            None
        };
        client.verbose = connect.verbose;
        client.pedantic = connect.pedantic;
        client.echo = connect.echo;
        client.headers = headers;
        client.no_responders = connect.no_responders;
        client.informed = connect.protocol == 1;
        if let Some(link) = self.links.at_mut(index) {
            link.headers = headers;
        }
        if let Some(line) = &mut client.line {
            line.forget();
        }
        client.login = Login::new(connect.user, connect.pass, connect.auth_token);
        let verdict = self.options.auth.check(&client.credentials());
        // As with the peer, only who may log in is told of it. Nothing is hashed for that.
        match (refusal, verdict) {
            (Some(reason), Verdict::Accepted(identity)) => {
                Self::enter(client, identity);
                Err(reason.into())
            }
            (Some(reason), Verdict::Hash(_)) => Err(reason.into()),
            (_, verdict) => self.log_in(index, client, verdict),
        }
    }

    /// A client that does not begin with CONNECT while log-ins are checked may still be nobody in
    /// particular.
    pub(super) fn admit_anonymous(&self, client: &mut Client) -> Result<(), End> {
        if client.phase != Phase::Greeted {
            return Ok(());
        }
        match self.options.auth.check(&Credentials::default()) {
            Verdict::Accepted(identity) => {
                Self::enter(client, identity);
                Ok(())
            }
            Verdict::Rejected | Verdict::Hash(_) => Err(CloseReason::AuthenticationFailure.into()),
        }
    }

    fn log_in(&mut self, index: u32, client: &mut Client, verdict: Verdict) -> Result<(), End> {
        match verdict {
            Verdict::Accepted(identity) => self.welcome(index, client, identity),
            Verdict::Rejected => {
                claim(client);
                return Err(CloseReason::AuthenticationFailure.into());
            }
            Verdict::Hash(job) => {
                claim(client);
                client.phase = Phase::Verifying;
                let due = self.now + self.options.auth_timeout;
                self.timers.schedule(due, (self.links.token(index), super::timers::Timer::Login));
                client.hold = Some(Box::new(Hold::Verdict));
                let token = Some(self.links.token(index));
                let errand = Errand::Hash { shard: self.mail.shard, token, job };
                if self.errands.try_send(errand).is_err() {
                    // More wait than can be hashed in time.
                    return Err(CloseReason::AuthenticationTimeout.into());
                }
            }
        }
        Ok(())
    }

    /// The client's CONNECT is accepted.
    fn welcome(&mut self, index: u32, client: &mut Client, identity: Identity) {
        Self::enter(client, identity);
        if !client.pings.first_scheduled && client.pings.sent_at == ring::Time::ZERO {
            client.pings.first_scheduled = true;
            self.schedule_first_ping(self.links.token(index));
        }
        self.note_connected(index, client);
        self.acknowledge(index, client);
    }

    /// The client may do what limits allow from now on.
    pub(super) fn enter(client: &mut Client, identity: Identity) {
        client.phase = Phase::Open;
        client.account = identity.account;
        match identity.user {
            Some(user) => client.about.get_or_insert_default().user = user,
            None => {
                if let Some(about) = &mut client.about {
                    about.user = Box::default();
                }
            }
        }
    }

    /// It has turned out whether the password that a client logs in with is right. A reload may have
    /// come meanwhile, and then something else may be asked of it.
    pub(super) fn on_verdict(&mut self, token: ring::Token, job: &HashJob, is_right: bool) {
        if !self.links.is_live(token) {
            return;
        }
        let Some(mut client) = self.clients[token.index as usize].take() else { return };
        if client.phase != Phase::Verifying {
            self.clients[token.index as usize] = Some(client);
            return;
        }
        let verdict = match self.options.auth.check(&client.credentials()) {
            Verdict::Hash(now) if now.is_same(job) && is_right => {
                Verdict::Accepted(now.into_identity())
            }
            Verdict::Hash(now) if now.is_same(job) => Verdict::Rejected,
            changed => changed,
        };
        let outcome = self.log_in(token.index, &mut client, verdict);
        let is_open = client.phase == Phase::Open;
        self.clients[token.index as usize] = Some(client);
        match outcome {
            Ok(()) if is_open => self.resume(token.index),
            Ok(()) => {}
            Err(end) => self.close(token.index, end),
        }
    }

    fn on_subscribe(
        &mut self,
        index: u32,
        client: &mut Client,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) {
        client.active_at = self.now;
        let limits = &self.options.limits;
        if limits.max_sub_tokens > 0 && subject::token_count(subject) > limits.max_sub_tokens {
            return self.deny(index, client, Violation::TooManyTokens(subject), sid);
        }
        if queue == Some(subject::RESERVED_QUEUE) {
            return self.deny(index, client, Violation::Subscription { subject, queue }, sid);
        }
        if limits.max_subscriptions > 0 && client.sids.len() >= limits.max_subscriptions {
            self.complain_of_subscriptions(client);
            return self.refuse(index, client, ErrorText::MaxSubscriptionsExceeded);
        }
        if client.sids.find(&self.router.subscriptions, sid).is_none() {
            if !subject::is_valid_filter(subject) {
                return self.refuse(index, client, ErrorText::InvalidSubject);
            }
            let id = self.router.subscribe(Subscription {
                owner: Owner::Client(index),
                account: client.account,
                weight: 1,
                sid: sid.into(),
                subject: subject.into(),
                queue: queue.map(Into::into),
                max: 0,
                delivered: 0,
            });
            client.sids.insert(&self.router.subscriptions, id, self.seed);
            self.tallies.of(client.account).subscriptions += 1;
            let want = Want { account: client.account, subject, queue };
            client.touched_cluster = self.options.routes.barrier;
            client.touched_shards |= self.announce(want, 1);
        }
        self.acknowledge(index, client);
    }

    fn on_unsubscribe(&mut self, index: u32, client: &mut Client, sid: &[u8], max: u64) {
        client.active_at = self.now;
        if let Some(id) = client.sids.find(&self.router.subscriptions, sid) {
            let subscription = &mut self.router.subscriptions[id as usize];
            if max > subscription.delivered {
                subscription.max = max;
                // Runs do not count: the subscription takes the other path from now on.
                self.router.invalidate(client.account);
            } else {
                self.end_subscription(client, id);
            }
        }
        self.acknowledge(index, client);
    }

    fn end_all_subscriptions(&mut self, client: &mut Client) {
        for id in client.sids.ids() {
            self.end_subscription(client, id);
        }
    }

    /// Removes a client's subscription.
    fn end_subscription(&mut self, client: &mut Client, id: u32) {
        let Some(subscription) = self.router.unsubscribe(id) else { return };
        self.trace_ended(client, &subscription.sid);
        client.sids.remove(id, &subscription.sid);
        self.tallies.of(subscription.account).subscriptions -= 1;
        client.touched_cluster = self.options.routes.barrier;
        client.touched_shards |= self.announce(subscription.want(), -1);
    }

    fn on_ping(&mut self, index: u32, client: &mut Client) {
        let mut concerned = std::mem::take(&mut client.touched_shards);
        let token = self.links.token(index);
        if std::mem::take(&mut client.touched_cluster) {
            // Its own routes are one more shard to wait for.
            concerned = self.mail.others() | 1 << self.mail.shard;
            self.mail.post_all(self.mail.others(), || Letter::RoutesBarrier(token));
            self.ask_routes(Asker { shard: self.mail.shard, token });
        } else if concerned == 0 {
            return self.pong(index, client);
        } else {
            self.mail.post_all(concerned, || Letter::Barrier { token, hops: 0 });
        }
        client.hold = Some(Box::new(Hold::Barrier(concerned)));
    }

    /// Answers a PING, whose barrier stands.
    pub(super) fn pong(&mut self, index: u32, client: &mut Client) {
        self.trace_answer(client, "PONG");
        self.say(index, encode::PONG);
        let first = client.connected && !client.ponged;
        client.ponged |= client.connected;
        if first && client.informed {
            let options = Arc::clone(&self.options);
            let connect_info = ConnectInfo {
                remote_account: options.accounts.name(client.account),
                is_system: client.account == AccountId::SYSTEM,
            };
            self.send_info_to(index, client, Some(connect_info));
        }
    }

    /// Publishes one message; `body` holds its headers, payload and line end.
    pub(super) fn publish(
        &mut self,
        index: u32,
        client: &mut Client,
        publish: &Publish<'_>,
        body: &[u8],
        block: Option<&Arc<Vec<u8>>>,
    ) {
        self.trace_payload(client, Way::In, body, publish.header_len.unwrap_or(0));
        client.in_msgs += 1;
        client.in_bytes += u64::from(publish.size);
        self.counters.in_msgs += 1;
        self.counters.in_bytes += u64::from(publish.size);
        self.tallies.of(client.account).count_in(1, u64::from(publish.size));
        if client.pedantic && !subject::is_valid_literal(publish.subject) {
            self.refuse(index, client, ErrorText::InvalidPublishSubject);
        }
        if subject::is_reserved(publish.subject) {
            self.deny(index, client, Violation::Publish(publish.subject), b"");
            return;
        }
        if let Some(reply) = publish.reply.filter(|reply| subject::is_reserved_reply(reply)) {
            self.deny(index, client, Violation::Reply(reply), b"");
            return;
        }
        let headers = publish.header_len.map_or(&[][..], |len| &body[..len as usize]);
        if headers::is_probe(headers)
            && (self.is_for_jetstream(client, publish.subject)
                || self.router.is_wanted(client.account, publish.subject))
        {
            // Messages are not traced here, but a probe must not act as what it looks like.
            return self.acknowledge(index, client);
        }
        let message = Message {
            account: client.account,
            subject: publish.subject,
            reply: publish.reply,
            header_len: publish.header_len,
            body,
            block,
            origin: Origin::Client { index, echo: client.echo },
        };
        // Before its deliveries, as its own message may be among them.
        self.acknowledge(index, client);
        self.route(index, client, &message);
        self.after_publish(index, client);
    }

    /// Whether servers that store answer what a client publishes there.
    fn is_for_jetstream(&self, client: &Client, subject: &[u8]) -> bool {
        imports::is_imported(subject)
            && client.account != AccountId::SYSTEM
            && self.options.accounts.get(client.account).jetstream
    }

    fn route(&mut self, index: u32, client: &mut Client, message: &Message<'_>) {
        if self.is_for_jetstream(client, message.subject) {
            let delivery = self.import(index, client, message);
            return self.settle_unrouted(index, client, message, delivery);
        }
        let delivery = self.deliver(Some((index, client)), message);
        self.counters.routed_msgs += 1;
        self.hand_over_inbox(Some(client));
        if delivery.remote {
            let nobody_here = Delivery { remote: false, ..delivery }.is_nobody();
            let asks = client.no_responders && message.reply.is_some() && nobody_here;
            let shards = self.post_to_shards(self.links.token(index), message, asks);
            client.touched_shards |= shards;
            self.reached_shards |= shards;
        }
        self.settle_unrouted(index, client, message, delivery);
    }

    /// A publisher that wants to know learns that nobody took its request.
    fn settle_unrouted(
        &mut self,
        index: u32,
        client: &Client,
        message: &Message<'_>,
        delivery: Delivery,
    ) {
        if delivery.is_nobody() && !(client.no_responders && self.defer(index, message)) {
            self.counters.unrouted_msgs += 1;
            if let Some(reply) = message.reply.filter(|_| client.no_responders) {
                self.say_no_responders(index, client.account, reply, message.subject);
            }
        }
    }

    /// Delivers a message, which is traced and counted. A client that is being worked on is not in its
    /// place and stands in `own`.
    pub(super) fn deliver(
        &mut self,
        own: Option<(u32, &Client)>,
        message: &Message<'_>,
    ) -> Delivery {
        let delivery = self.router.deliver(&mut self.links, message);
        self.trace_deliveries(own, message);
        let size = (message.body.len() - encode::CRLF.len()) as u64;
        let clients = (delivery.local.into(), delivery.local_bytes);
        let routes = u64::from(delivery.routes);
        self.count_deliveries(message.account, clients, (routes, routes * size));
        delivery
    }

    /// Counts messages, and their bytes, that clients and routes got.
    pub(super) fn count_deliveries(
        &mut self,
        account: AccountId,
        clients: (u64, u64),
        routes: (u64, u64),
    ) {
        self.counters.out_msgs += clients.0 + routes.0;
        self.counters.out_bytes += clients.1 + routes.1;
        self.tallies.of(account).count_out(clients.0, clients.1);
    }

    /// What publishing brings about besides deliveries.
    pub(super) fn after_publish(&mut self, index: u32, client: &mut Client) {
        client.active_at = self.now;
        while let Some(id) = self.router.exhausted.pop() {
            self.end_exhausted(Some((index, client)), id);
        }
        self.hold_if_all_slow(index, client);
    }

    /// Removes a subscription that has had its last message. A client that is being worked on is not
    /// in its place and stands in `own`.
    pub(super) fn end_exhausted(&mut self, own: Option<(u32, &mut Client)>, id: u32) {
        let owner = self.router.subscriptions.get(id as usize).map(|sub| sub.owner);
        let Some(Owner::Client(owner)) = owner else { return };
        match own {
            Some((index, client)) if index == owner => self.end_subscription(client, id),
            Some(_) | None => {
                if let Some(mut client) = self.clients[owner as usize].take() {
                    self.end_subscription(&mut client, id);
                    self.clients[owner as usize] = Some(client);
                }
            }
        }
    }

    /// Says `+OK` to a client that wants it.
    fn acknowledge(&mut self, index: u32, client: &Client) {
        if client.verbose {
            self.trace_answer(client, "OK");
            self.say(index, encode::OK);
        }
    }

    pub(super) fn say(&mut self, index: u32, bytes: &'static [u8]) {
        if let Some((link, pool)) = self.links.writer(index) {
            link.control_queue().push_static(pool, bytes);
        }
    }

    pub(super) fn say_error(&mut self, index: u32, text: ErrorText) {
        self.write(index, |out| encode::error(out, text));
    }

    /// Tells a client what it did wrong, and serves it on.
    fn refuse(&mut self, index: u32, client: &Client, text: ErrorText) {
        self.trace_error(client, text);
        self.say_error(index, text);
    }

    /// Tells a client and the log that it may not do what it tried; `sid` is that of a subscription.
    fn deny(&mut self, index: u32, client: &Client, violation: Violation<'_>, sid: &[u8]) {
        self.complain_of_violation(client, violation, sid);
        self.trace_violation(client, violation);
        self.write(index, |out| encode::violation(out, violation));
    }

    pub(super) fn say_no_responders(
        &mut self,
        index: u32,
        account: AccountId,
        reply: &[u8],
        subject: &[u8],
    ) {
        let Some(sid) = self.router.own_sid(account, reply, index) else { return };
        if let Some((link, pool)) = self.links.writer(index) {
            let room = limits::no_responders_len_max(reply.len() + sid.len() + subject.len());
            // No message of anybody's: as with the peer, nothing counts it.
            link.queue.write(pool, room, |out| encode::no_responders(out, reply, sid, subject));
        }
    }

    /// Appends a short answer.
    pub(super) fn write(&mut self, index: u32, write: impl FnOnce(&mut Vec<u8>)) {
        /// Answers quote at most a control line; a longer one grows the block.
        const ANSWER_LEN: usize = 512;
        if let Some((link, pool)) = self.links.writer(index) {
            link.control_queue().write(pool, ANSWER_LEN, write);
        }
    }

    /// Sends INFO to a client in its place.
    pub(super) fn send_info(&mut self, index: u32, connect_info: Option<ConnectInfo<'_>>) {
        if let Some(client) = self.clients[index as usize].take() {
            self.send_info_to(index, &client, connect_info);
            self.clients[index as usize] = Some(client);
        }
    }

    /// Tells one client that it should find another server.
    pub(super) fn warn_client(&mut self, index: u32) {
        let Some(client) = self.clients[index as usize].take() else { return };
        if client.informed {
            let extra = InfoExtra { lame_duck: true, ..InfoExtra::default() };
            let options = Arc::clone(&self.options);
            self.write(index, |out| options.info.encode(out, client.cid, client.peer.ip(), extra));
        }
        self.clients[index as usize] = Some(client);
    }

    fn send_info_to(&mut self, index: u32, client: &Client, connect_info: Option<ConnectInfo<'_>>) {
        let extra = InfoExtra { connect_info, ..InfoExtra::default() };
        let options = Arc::clone(&self.options);
        self.write(index, |out| options.info.encode(out, client.cid, client.peer.ip(), extra));
    }
}

/// Keeps what a CONNECT says about its client.
fn describe(client: &mut Client, connect: &mut Connect) {
    let (name, lang, version) = (connect.name.take(), connect.lang.take(), connect.version.take());
    if name.is_some() || lang.is_some() || version.is_some() {
        let about: &mut About = client.about.get_or_insert_default();
        about.name = name.unwrap_or_default();
        about.lang = lang.unwrap_or_default();
        about.version = version.unwrap_or_default();
    }
    if let Some(claim) = Claim::of(connect) {
        client.about.get_or_insert_default().claim = Some(claim);
    }
}

/// Shows who the client says it is to those who look at log-ins that fail.
fn claim(client: &mut Client) {
    if let Some(user) = client.login.as_ref().and_then(|login| login.user.clone()) {
        client.about.get_or_insert_default().user = user;
    }
}
