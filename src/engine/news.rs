//! What the control plane hears when a turn ends: messages for the server itself, which accounts have
//! more clients or fewer, and who came and went.
//!
//! Who came and went is told only while somebody in the cluster listens, which costs a connection one
//! comparison otherwise. Which accounts changed is told once a turn, however many clients it brought.

use std::collections::BTreeSet;

use crate::close::CloseReason;
use crate::ids::AccountId;
use crate::mailbox::Letter;
use crate::report::{ConnectionReport, End};
use crate::router::Delivered;
use crate::session::{Client, Phase};

use super::{ClientOrder, Engine, Inbound, Notice};

/// What the report of a client takes beside its texts.
const NEWS_BYTES: usize = 512;
/// What a message takes beside its subject and body.
const DELIVERED_BYTES: usize = 192;
/// Messages, and clients, of one turn that are told; the others are not.
const TOLD_A_TURN: usize = 1024;

/// The shard that publishes what the server itself has to say.
const FIRST: u16 = 0;

/// A client came or went.
#[derive(Debug)]
pub struct ClientNews {
    /// Which of both.
    pub change: ClientChange,
    /// The client; with its end, if it went.
    pub client: ConnectionReport,
}

/// What became of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientChange {
    /// It has logged in.
    Connected,
    /// It is gone.
    Disconnected,
    /// Its log-in was refused.
    Refused,
}

/// What this turn has brought.
#[derive(Default)]
pub(super) struct News {
    deliveries: Vec<Delivered>,
    accounts: BTreeSet<AccountId>,
    clients: Vec<ClientNews>,
    /// Who listens, by account, as far as it is known.
    listening: Vec<Listening>,
    /// Who listens to refusals.
    refusals: Listening,
}

impl News {
    /// Whether the control plane has been told everything.
    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.accounts.is_empty() && self.clients.is_empty()
    }
}

/// Whether somebody listens. It holds as long as the interest of the system account stays the same.
#[derive(Clone, Copy, Default)]
struct Listening {
    generation: Option<u64>,
    connects: bool,
    disconnects: bool,
}

impl Engine {
    /// The server itself wanted these messages.
    pub(super) fn note_deliveries(&mut self, mut deliveries: Vec<Delivered>) {
        let room = TOLD_A_TURN - self.news.deliveries.len();
        if self.tell_control.is_none() {
            return;
        }
        self.counters.unheard += u64::from(deliveries.len() > room);
        deliveries.truncate(room);
        self.news.deliveries.append(&mut deliveries);
    }

    /// A client has logged in.
    pub(super) fn note_connected(&mut self, index: u32, client: &mut Client) {
        client.counts = true;
        self.tallies.of(client.account).clients += 1;
        self.note_account(client.account);
        if self.listening(client.account).connects {
            self.push_news(index, client, ClientChange::Connected, None);
        }
    }

    /// A client leaves its account, perhaps for another one.
    pub(super) fn note_left_account(&mut self, client: &mut Client) {
        if std::mem::take(&mut client.counts) {
            self.tallies.of(client.account).clients -= 1;
            self.note_account(client.account);
        }
    }

    /// A connection is being closed; it stands in its place.
    pub(super) fn note_closed(&mut self, index: u32, reason: CloseReason) {
        let Some(mut client) = self.clients[index as usize].take() else { return };
        let refused = reason == CloseReason::AuthenticationFailure && client.phase != Phase::Open;
        if refused && self.listening_to_refusals() {
            self.push_news(index, &client, ClientChange::Refused, Some(reason));
        }
        if (client.counts || refused) && self.listening(client.account).disconnects {
            self.push_news(index, &client, ClientChange::Disconnected, Some(reason));
        }
        self.note_left_account(&mut client);
        self.clients[index as usize] = Some(client);
    }

    /// The global account belongs to nobody who would count its clients.
    fn note_account(&mut self, account: AccountId) {
        if account != AccountId::GLOBAL && self.tell_control.is_some() {
            self.news.accounts.insert(account);
        }
    }

    fn push_news(
        &mut self,
        index: u32,
        client: &Client,
        change: ClientChange,
        reason: Option<CloseReason>,
    ) {
        let Some(link) = self.links.at(index) else { return };
        if self.news.clients.len() == TOLD_A_TURN {
            return;
        }
        let end = reason.map(|reason| End { at: self.now, reason: reason.as_str() });
        let client = ConnectionReport { end, ..self.connection(client, link) };
        self.news.clients.push(ClientNews { change, client });
    }

    fn listening(&mut self, account: AccountId) -> Listening {
        if self.tell_control.is_none() {
            return Listening::default();
        }
        let generation = Some(self.router.generation(AccountId::SYSTEM));
        let place = account.index();
        if self.news.listening.len() <= place {
            self.news.listening.resize(place + 1, Listening::default());
        }
        if self.news.listening[place].generation != generation {
            let name = self.options.accounts.name(account).as_bytes();
            let mut wanted = |what: &[u8]| {
                let subject = [b"$SYS.ACCOUNT.", name, what].concat();
                self.router.is_wanted(AccountId::SYSTEM, &subject)
            };
            let (connects, disconnects) = (wanted(b".CONNECT"), wanted(b".DISCONNECT"));
            self.news.listening[place] = Listening { generation, connects, disconnects };
        }
        self.news.listening[place]
    }

    fn listening_to_refusals(&mut self) -> bool {
        if self.tell_control.is_none() {
            return false;
        }
        let generation = Some(self.router.generation(AccountId::SYSTEM));
        if self.news.refusals.generation != generation {
            let id = self.options.server_id.as_bytes();
            let subject = [b"$SYS.SERVER.", id, b".CLIENT.AUTH.ERR"].concat();
            let disconnects = self.router.is_wanted(AccountId::SYSTEM, &subject);
            self.news.refusals = Listening { generation, connects: false, disconnects };
        }
        self.news.refusals.disconnects
    }

    /// Tells the control plane what the turn has brought.
    pub(super) fn tell_news(&mut self) {
        if !self.news.accounts.is_empty() {
            let accounts = std::mem::take(&mut self.news.accounts);
            self.notify(Notice::Accounts(accounts));
        }
        let size = |one: &Delivered| DELIVERED_BYTES + one.subject.len() + one.body.len();
        let deliveries = std::mem::take(&mut self.news.deliveries);
        self.tell_inbound(deliveries, size, Self::pass_to_server);
        let size = |news: &ClientNews| {
            let client = &news.client;
            let texts = [&client.name, &client.lang, &client.version, &client.authorized_user];
            NEWS_BYTES + texts.iter().map(|text| text.len()).sum::<usize>()
        };
        let clients = std::mem::take(&mut self.news.clients);
        self.tell_inbound(clients, size, |engine, list| engine.notify(Notice::Clients(list)));
    }

    /// Messages for the server go by way of the shard that its answers come from.
    fn pass_to_server(&mut self, list: Inbound<Delivered>) {
        if self.mail.shard == FIRST {
            self.notify(Notice::Deliveries(list));
        } else {
            self.mail.post(FIRST, Letter::ForServer(list));
        }
    }

    /// Tells the control plane a list, unless too much waits for it.
    fn tell_inbound<T>(
        &mut self,
        list: Vec<T>,
        size: impl Fn(&T) -> usize,
        tell: impl FnOnce(&mut Self, Inbound<T>),
    ) {
        if list.is_empty() {
            return;
        }
        let bytes = list.iter().map(size).sum();
        match Inbound::new(list, bytes, &self.shared) {
            Some(list) => tell(self, list),
            None => self.counters.unheard += 1,
        }
    }

    /// Does something with one client; says whether it is here.
    pub(super) fn on_client_order(&mut self, cid: u64, order: ClientOrder) -> bool {
        let is_it = |client: &Option<Box<Client>>| client.as_ref().is_some_and(|it| it.cid == cid);
        let Some(place) = self.clients.iter().position(is_it) else { return false };
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        match order {
            ClientOrder::Kick => self.close(index, CloseReason::Kicked.into()),
            ClientOrder::Warn => self.warn_client(index),
        }
        true
    }
}
