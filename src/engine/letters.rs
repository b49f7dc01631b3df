//! What this shard and the others say to each other.

use ring::Token;

use crate::close::CloseReason;
use crate::mailbox::{Letter, Parcel, Posted, Sender};
use crate::outbound::Closing;
use crate::router::{Interest, Message, Origin};
use crate::session::{Client, Hold};

use super::{Control, Engine};

/// Letters that are read in one turn.
const LETTERS_A_TURN: usize = 256;
/// Parcels among them: what they bring must leave before more comes.
const PARCELS_A_TURN: usize = 8;
/// Shards that may pass a message on before it is given up.
const HOPS_MAX: u8 = 8;

impl Engine {
    /// Reads what came in, as far as one turn goes.
    pub fn read_letters(&mut self) {
        self.letters_waiting = false;
        let mut parcels = 0;
        while let Some(control) = self.mail.next_control() {
            self.on_control(control);
        }
        for _ in 0..LETTERS_A_TURN {
            let Some((from, letter)) = self.mail.next_letter() else { return };
            match letter {
                Letter::Adopt { socket, peer } => self.adopt(socket, peer),
                Letter::Interest(interest) => self.on_interest(from, interest),
                Letter::Parcel(parcel) => {
                    self.on_parcel(from, &parcel);
                    parcels += 1;
                    if parcels == PARCELS_A_TURN {
                        break;
                    }
                }
                Letter::Barrier { token, hops } => self.on_barrier(from, token, hops),
                Letter::BarrierDone(token) => self.on_barrier_done(from, token),
                Letter::Slow(token) => self.on_slow(from, token, true),
                Letter::Moving(token) => self.on_slow(from, token, false),
            }
        }
        self.letters_waiting = true;
    }

    fn on_control(&mut self, control: Control) {
        match control {
            Control::Verdict { token, identity } => self.on_verdict(token, identity),
            Control::Report { request, answer } => answer(self.report(&request)),
            Control::Options { options, recheck, announce } => {
                self.set_options(options, recheck, announce);
            }
            Control::StopAccepting(told) => {
                self.deaf = true;
                self.tell_when_deaf = Some(told);
            }
            Control::CloseSome { how_many, reason } => self.close_some(how_many, reason),
            Control::End => {
                self.ending = true;
                self.close_some(usize::MAX, CloseReason::ServerShutdown);
            }
        }
    }

    fn set_options(
        &mut self,
        options: std::sync::Arc<super::EngineOptions>,
        recheck: bool,
        announce: bool,
    ) {
        self.router.limits = options.outbound;
        self.router.drop_for_slow = options.drop_for_slow;
        self.router.trace = options.trace.is_some();
        let before = std::mem::replace(&mut self.options, options);
        let open: Vec<u32> = self
            .links
            .iter()
            .filter(|(_, link)| link.closing == Closing::No)
            .map(|(index, _)| index)
            .collect();
        for index in open {
            let Some(client) = self.clients[index as usize].as_deref() else { continue };
            let user = client.about.as_ref().map_or("", |about| &about.user);
            if recheck && !self.options.auth.keeps(&before.auth, user) {
                self.close(index, CloseReason::AuthenticationFailure.into());
            } else if announce && client.informed && client.ponged {
                self.send_info(index, None);
            }
        }
    }

    /// This shard's clients want more, or less, of something. Returns the shards that were told.
    pub(super) fn announce(&mut self, subject: &[u8], queue: Option<&[u8]>, change: i32) -> u64 {
        let others = self.mail.others();
        if others == 0 {
            return 0;
        }
        let key = (subject.into(), queue.map(Into::into));
        let count = self.announced.entry(key).or_default();
        let before = *count;
        *count = before.saturating_add_signed(change);
        let now = *count;
        if now == 0 {
            self.announced.remove(&(subject.into(), queue.map(Into::into)));
        }
        let told = if queue.is_some() { before != now } else { (before == 0) != (now == 0) };
        if told {
            self.mail.post_all(others, || {
                Letter::Interest(Interest {
                    subject: subject.into(),
                    queue: queue.map(Into::into),
                    weight: now,
                })
            });
        }
        // A barrier waits for all: another client's announcement may still be under way.
        others
    }

    fn on_interest(&mut self, from: u16, interest: Interest) {
        let key = (from, (interest.subject.clone(), interest.queue.clone()));
        let known = self.foreign.get(&key).copied();
        match self.router.set_shard_interest(from, &interest, known) {
            Some(id) => self.foreign.insert(key, id),
            None => self.foreign.remove(&key),
        };
    }

    /// Posts the message that was just delivered to the shards that want it, too.
    pub(super) fn post_to_shards(
        &mut self,
        index: u32,
        client: &mut Client,
        message: &Message<'_>,
    ) {
        let publisher = self.links.token(index);
        let groups = std::mem::take(&mut self.router.shard_groups);
        let named = groups.iter().fold(0, |set, (shard, _)| set | 1 << shard);
        let wanting = self.router.shards | named;
        let mut names = Vec::new();
        for shard in crate::mailbox::bits(wanting) {
            names.clear();
            for (_, name) in groups.iter().filter(|(of, _)| *of == shard) {
                names.extend_from_slice(name);
                names.push(b'\n');
            }
            self.mail.post_message(shard, publisher, message, &names);
        }
        self.router.shard_groups = groups;
        self.counters.mailbox_out_msgs += 1;
        client.touched_shards |= wanting;
        self.reached_shards |= wanting;
    }

    fn on_parcel(&mut self, from: u16, parcel: &Parcel) {
        self.counters.mailbox_in_msgs += u64::from(parcel.messages);
        self.latency.taken(self.now, parcel.posted_at, parcel.messages);
        let mut last = None;
        self.router.reach.clear();
        for posted in parcel.iter(self.mail.shard) {
            if last != Some(posted.sender) {
                self.tell_reach(from, last.replace(posted.sender));
            }
            let delivery = self.router.deliver(&mut self.links, &posted.message);
            self.count_out(delivery, posted.message.body.len() - 2);
            while let Some(id) = self.router.exhausted.pop() {
                self.end_exhausted(None, id);
            }
            self.bounce_unserved(from, &posted);
        }
        self.tell_reach(from, last);
        self.settle_overflowed();
    }

    /// Tells another shard how those keep up whom its publisher's messages reached here, if that is
    /// news to it.
    fn tell_reach(&mut self, shard: u16, sender: Option<Sender>) {
        if let Some(Sender { publisher, hops: 0, .. }) = sender {
            if self.router.reach.all_slow() {
                self.tell_slow(shard, publisher);
            } else if self.router.reach.moving {
                self.take_back_slow(shard, publisher);
            }
        }
        self.router.reach.clear();
    }

    /// A publisher's recipients were slow here, and now there is one that is not.
    fn take_back_slow(&mut self, shard: u16, publisher: Token) {
        let told = |told: &(u16, Token, Vec<Token>)| told.0 == shard && told.1 == publisher;
        if let Some(at) = self.told_slow.iter().position(told) {
            self.told_slow.swap_remove(at);
            self.mail.post(shard, Letter::Moving(publisher));
        }
    }

    /// Queue groups whose last member here has just left are served by another shard, if one has a
    /// member. It knows by then that this shard has none: the news went ahead of the message.
    fn bounce_unserved(&mut self, from: u16, posted: &Posted<'_>) {
        let Origin::Shard { groups, .. } = posted.message.origin else { return };
        if posted.sender.hops >= HOPS_MAX {
            return;
        }
        for group in groups.split(|byte| *byte == b'\n').filter(|name| !name.is_empty()) {
            let served = self.router.served.iter().any(|name| **name == *group);
            if !served && let Some(shard) = self.router.other_shard(posted.message.subject, group) {
                self.mail.pass_on(shard, posted, group);
                self.relays.note((from, posted.sender.hops), shard);
            }
        }
    }

    /// Tells another shard that its publisher's recipients here are slow, once.
    fn tell_slow(&mut self, shard: u16, publisher: Token) {
        let slow: Vec<Token> =
            self.router.reach.slow.iter().map(|index| self.links.token(*index)).collect();
        if self.one_moves(&slow) {
            return;
        }
        let known = |told: &&mut (u16, Token, Vec<Token>)| told.0 == shard && told.1 == publisher;
        if let Some(told) = self.told_slow.iter_mut().find(known) {
            told.2 = slow;
            return;
        }
        self.told_slow.push((shard, publisher, slow));
        self.mail.post(shard, Letter::Slow(publisher));
    }

    /// Tells other shards which of their publishers may go on.
    pub(super) fn tell_moving(&mut self) {
        let mut told = std::mem::take(&mut self.told_slow);
        told.retain(|(shard, publisher, slow)| {
            let moves = self.one_moves(slow);
            if moves {
                self.mail.post(*shard, Letter::Moving(*publisher));
            }
            !moves
        });
        self.told_slow = told;
    }

    fn on_slow(&mut self, from: u16, publisher: Token, slow: bool) {
        if !self.links.is_live(publisher) {
            return;
        }
        if let Some(client) = self.clients[publisher.index as usize].as_deref_mut() {
            if slow {
                client.slow_shards |= 1 << from;
            } else {
                client.slow_shards &= !(1 << from);
                self.progress = true;
            }
        }
    }

    pub(super) fn on_client_barrier_done(&mut self, from: u16, token: Token) {
        if !self.links.is_live(token) {
            return;
        }
        let Some(mut client) = self.clients[token.index as usize].take() else { return };
        let mut done = false;
        if let Some(Hold::Barrier(waiting)) = client.hold.as_deref_mut() {
            *waiting &= !(1 << from);
            done = *waiting == 0;
        }
        if done {
            self.pong(token.index, &mut client);
        }
        self.clients[token.index as usize] = Some(client);
        if done {
            self.resume(token.index);
        }
    }
}
