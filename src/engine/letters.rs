//! What this shard and the others say to each other.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ring::Token;

use crate::close::CloseReason;
use crate::ids::AccountId;
use crate::mailbox::{GroupLists, Letter, Parcel, Posted, Sender, Side, Unserved};
use crate::outbound::Closing;
use crate::router::{Interest, Message, Origin, Part, Place, Want, is_news, names};
use crate::session::{Client, Hold};
use crate::sublist::Owner;

use super::barrier::Asker;
use super::{Control, Engine, Notice};

/// A publisher of another shard that was told that all its recipients here are slow.
pub(super) struct ToldSlow {
    shard: u16,
    publisher: Token,
    account: AccountId,
    slow: Vec<Token>,
}

impl ToldSlow {
    fn is_of(&self, shard: u16, publisher: Token) -> bool {
        self.shard == shard && self.publisher == publisher
    }
}

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
                Letter::Adopt { socket, peer, door } => self.take_in_here(socket, peer, door),
                Letter::Interest(side, interest) => self.on_interest(from, side, &interest),
                Letter::Lost(lost) => {
                    self.note_lost(lost);
                }
                Letter::Parcel(parcel) => {
                    self.on_parcel(from, &parcel);
                    parcels += 1;
                    if parcels == PARCELS_A_TURN {
                        break;
                    }
                }
                Letter::Barrier { token, hops } => self.on_barrier(from, token, hops),
                Letter::RoutesBarrier(token) => self.ask_routes(Asker { shard: from, token }),
                Letter::BarrierDone(token) => self.on_barrier_done(from, token),
                Letter::Unserved(request) => self.on_unserved(&request),
                Letter::Slow(token) => self.on_slow(from, token, true),
                Letter::Moving(token) => self.on_slow(from, token, false),
                Letter::ForServer(list) => self.notify(Notice::Deliveries(list)),
            }
        }
        self.letters_waiting = true;
    }

    fn on_control(&mut self, control: Control) {
        match control {
            Control::Verdict { token: Some(token), job, is_right } => {
                self.on_verdict(token, &job, is_right);
            }
            Control::Verdict { token: None, job, is_right } => self.on_recheck(&job, is_right),
            Control::Report { request, answer } => answer(self.report(&request)),
            Control::Options { options, recheck, announce } => {
                self.set_options(options, recheck, announce);
            }
            Control::StopAccepting(told) => {
                self.deaf = true;
                self.tell_when_deaf = Some(told);
            }
            Control::Route(order) => self.on_route_order(order),
            Control::Internal(order) => self.on_internal_order(order),
            Control::Client { cid, order, answer } => answer(self.on_client_order(cid, order)),
            Control::CloseSome { left, reason } => self.close_some(&left, reason),
            Control::End => {
                self.ending = true;
                self.close_some(&AtomicUsize::new(usize::MAX), CloseReason::ServerShutdown);
                self.close_routes(CloseReason::ServerShutdown);
            }
        }
    }

    fn set_options(&mut self, options: Arc<super::EngineOptions>, recheck: bool, announce: bool) {
        self.router.limits = options.outbound;
        self.router.route_limits = options.routes.outbound;
        self.router.set_accounts(Arc::clone(&options.accounts));
        self.router.drop_for_slow = options.drop_for_slow;
        self.router.keep_here(&options.routes.export.deny);
        self.router.trace = options.trace.is_some();
        let before = std::mem::replace(&mut self.options, options);
        self.apply_to_routes(&before.routes);
        if recheck {
            self.recheck_clients(&before.auth);
        }
        if announce {
            self.announce_info();
        }
    }

    /// Clients that want to hear of changes do.
    fn announce_info(&mut self) {
        let informed = |client: &Client| client.informed && client.ponged;
        let listening: Vec<u32> = (self.links.iter())
            .filter(|(_, link)| link.closing == Closing::No)
            .filter(|(index, _)| self.clients[*index as usize].as_deref().is_some_and(informed))
            .map(|(index, _)| index)
            .collect();
        for index in listening {
            self.send_info(index, None);
        }
    }

    /// This shard's clients want more, or less, of something. Returns the shards that were told.
    pub(super) fn announce(&mut self, want: Want<'_>, change: i32) -> u64 {
        let others = self.mail.others();
        if others == 0 && !self.options.routes.enabled {
            return 0;
        }
        let (before, after) = self.wanted.change(Part::Own, want, change);
        if is_news(&want, before.own, after.own) {
            self.post_interest(Side::Clients, want, after.own);
        }
        self.tell_routes(want, before.all(), after.all());
        // A barrier waits for all: another client's announcement may still be under way.
        others
    }

    /// Tells the other shards how many want something.
    pub(super) fn post_interest(&mut self, side: Side, want: Want<'_>, weight: u32) {
        self.mail.post_all(self.mail.others(), || {
            let interest = Interest {
                account: want.account,
                subject: want.subject.into(),
                queue: want.queue.map(Into::into),
                weight,
            };
            Letter::Interest(side, interest)
        });
    }

    fn on_interest(&mut self, from: u16, side: Side, interest: &Interest) {
        let owner = match side {
            Side::Clients => Owner::Shard(from),
            Side::Routes => Owner::ShardRoutes(from),
        };
        let (want, now) = (interest.want(), interest.weight);
        let before = self.router.set_interest(owner, want, now);
        if side == Side::Clients && self.options.routes.enabled {
            let now = if want.queue.is_some() { now } else { now.min(1) };
            let change = now.cast_signed().wrapping_sub(before.cast_signed());
            let (before, after) = self.wanted.change(Part::Others, want, change);
            self.tell_routes(want, before.all(), after.all());
        }
    }

    /// Posts the message that was just delivered to the shards that want it, too. Returns these. A
    /// publisher that `asks` had nobody here: it is told when the one that wants it has nobody, too.
    pub(super) fn post_to_shards(
        &mut self,
        publisher: Token,
        message: &Message<'_>,
        asks: bool,
    ) -> u64 {
        let elsewhere = std::mem::take(&mut self.router.elsewhere);
        let wanting = elsewhere.all_shards();
        let asks = asks && wanting.count_ones() == 1;
        let (mut clients, mut routes) = (Vec::new(), Vec::new());
        for shard in crate::mailbox::bits(wanting) {
            clients.clear();
            routes.clear();
            for (place, name) in &elsewhere.groups {
                let list = match place {
                    Place::Shard(of) if *of == shard => &mut clients,
                    Place::ShardRoutes(of) if *of == shard => &mut routes,
                    Place::Shard(_) | Place::ShardRoutes(_) | Place::Route(_) => continue,
                };
                list.extend_from_slice(name);
                list.push(b' ');
            }
            let groups = GroupLists { clients: &clients, routes: &routes };
            self.mail.post_message(shard, (publisher, asks), message, groups);
        }
        self.router.elsewhere = elsewhere;
        self.counters.mailbox_out_msgs += 1;
        wanting
    }

    fn on_parcel(&mut self, from: u16, parcel: &Parcel) {
        self.counters.mailbox_in_msgs += u64::from(parcel.messages);
        self.latency.taken(self.now, parcel.posted_at, parcel.messages);
        let mut last = None;
        self.router.reach.clear();
        for posted in parcel.iter(self.mail.shard) {
            let sender = (posted.sender, posted.message.account);
            if last != Some(sender) {
                self.tell_reach(from, last.replace(sender));
            }
            let delivery = self.deliver(None, &posted.message);
            self.hand_over_inbox(None);
            while let Some(id) = self.router.exhausted.pop() {
                self.end_exhausted(None, id);
            }
            let bounced = self.bounce_unserved(from, &posted);
            if posted.sender.asks && delivery.is_nobody() && !bounced {
                self.tell_unserved(&posted);
            }
        }
        self.tell_reach(from, last);
        self.settle_overflowed();
    }

    /// Tells a publisher's shard that its request found nobody: those who wanted it have just left.
    fn tell_unserved(&mut self, posted: &Posted<'_>) {
        let Posted { sender, message } = posted;
        let request = Unserved {
            publisher: sender.publisher,
            account: message.account,
            subject: message.subject.into(),
            reply: message.reply.unwrap_or_default().into(),
        };
        if sender.home == self.mail.shard {
            self.on_unserved(&request);
        } else {
            self.mail.post(sender.home, Letter::Unserved(request));
        }
    }

    fn on_unserved(&mut self, request: &Unserved) {
        let Unserved { publisher, account, subject, reply } = request;
        if self.links.is_live(*publisher) {
            self.counters.unrouted_msgs += 1;
            self.say_no_responders(publisher.index, *account, reply, subject);
        }
    }

    /// Tells another shard how those keep up whom its publisher's messages reached here, if that is
    /// news to it.
    fn tell_reach(&mut self, shard: u16, sender: Option<(Sender, AccountId)>) {
        if let Some((Sender { publisher, hops: 0, .. }, account)) = sender {
            if self.router.reach.all_slow() {
                self.tell_slow(shard, publisher, account);
            } else if self.router.reach.moving {
                self.take_back_slow(shard, publisher);
            }
        }
        self.router.reach.clear();
    }

    /// A publisher's recipients were slow here, and now there is one that is not.
    fn take_back_slow(&mut self, shard: u16, publisher: Token) {
        if let Some(at) = self.told_slow.iter().position(|it| it.is_of(shard, publisher)) {
            self.told_slow.swap_remove(at);
            self.mail.post(shard, Letter::Moving(publisher));
        }
    }

    /// Queue groups whose last member here has just left are served by another shard or another
    /// server, if one has a member. It knows by then that this shard has none: the news went ahead of
    /// the message. Returns whether the message went anywhere.
    fn bounce_unserved(&mut self, from: u16, posted: &Posted<'_>) -> bool {
        let Origin::Shard { groups, route_groups, .. } = posted.message.origin else {
            return false;
        };
        if posted.sender.hops >= HOPS_MAX {
            return false;
        }
        let mut bounced = false;
        for group in names(groups).chain(names(route_groups)) {
            if self.router.elsewhere.served.iter().any(|name| **name == *group) {
                continue;
            }
            let place = self.router.bounce(&mut self.links, &posted.message, group);
            bounced |= place.is_some();
            if let Some((shard, groups)) =
                place.and_then(|place| GroupLists::elsewhere(place, group))
            {
                self.mail.pass_on(shard, posted, groups);
                self.relays.note((from, posted.sender.hops), shard);
            }
        }
        bounced
    }

    /// Tells another shard that its publisher's recipients here are slow, once.
    fn tell_slow(&mut self, shard: u16, publisher: Token, account: AccountId) {
        let slow: Vec<Token> =
            self.router.reach.slow.iter().map(|index| self.links.token(*index)).collect();
        if self.one_moves(&slow, account) {
            return;
        }
        self.await_progress(&slow);
        if let Some(told) = self.told_slow.iter_mut().find(|it| it.is_of(shard, publisher)) {
            (told.account, told.slow) = (account, slow);
            return;
        }
        self.told_slow.push(ToldSlow { shard, publisher, account, slow });
        self.mail.post(shard, Letter::Slow(publisher));
    }

    /// Tells other shards which of their publishers may go on.
    pub(super) fn tell_moving(&mut self) {
        let mut told = std::mem::take(&mut self.told_slow);
        told.retain(|told| {
            let moves = self.one_moves(&told.slow, told.account);
            if moves {
                self.mail.post(told.shard, Letter::Moving(told.publisher));
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
