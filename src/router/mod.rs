//! Who gets a message, and getting it there.
//!
//! The router knows subscriptions and links; it knows no protocol state of a peer and no ring. It
//! decides in two ways that give the same result: [`deliver`](Router::deliver) for one message, and
//! [`run`] for a run of messages that came with the same control line, the common case of a stream.
//!
//! A message takes one hop between servers: what a route brought goes to clients only, on this shard
//! or on others.
//!
//! Invariant: a subscription is in its account's sublist exactly while it is in `subscriptions`.

mod deliver;
mod interest;
mod kept;
mod local;
mod queue_group;
pub mod run;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use slab::Slab;

use crate::account::Accounts;
use crate::ids::AccountId;
use crate::outbound::OutboundLimits;
use crate::subject;
use crate::sublist::{Sublist, SublistStats, Subscription};

pub use deliver::Delivery;
pub use interest::{Interest, Want};
pub use kept::{GRACE, Kept, Lost};
pub use local::{LocalInterest, Part, Sum, is_news};

/// A message on its way to whoever wants it.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The account in which it was published.
    pub account: AccountId,
    /// Where it was published.
    pub subject: &'a [u8],
    /// Where an answer is wanted.
    pub reply: Option<&'a [u8]>,
    /// How many bytes of the body are headers; `None` for a message without.
    pub header_len: Option<u32>,
    /// Headers, payload, and the line end after it.
    pub body: &'a [u8],
    /// The block that the body lies in from its first byte, when it has one of its own.
    pub block: Option<&'a Arc<Vec<u8>>>,
    /// Where it came from.
    pub origin: Origin<'a>,
}

/// Where a message came from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A client of this shard, by its link's slot.
    Client {
        /// The slot.
        index: u32,
        /// Whether it wants its own messages.
        echo: bool,
    },
    /// Another server, by a route of this shard. It goes to clients only.
    Route {
        /// The queue groups that this server is to serve, between blanks.
        groups: &'a [u8],
        /// Only these groups want it: others have had it from the server that it came from first.
        passed_on: bool,
    },
    /// Another shard, which left these queue groups to this one. It goes to no further shard.
    Shard {
        /// Groups that clients of this shard are to serve, between blanks.
        groups: &'a [u8],
        /// Groups that servers behind this shard's routes are to serve, between blanks.
        route_groups: &'a [u8],
        /// Only these groups want it: others have had it from the shard that it came from first.
        passed_on: bool,
        /// Another server sent it: it goes to clients only.
        routed: bool,
        /// Its publisher is this client, which does not want its own messages.
        except: Option<u32>,
    },
    /// The server itself.
    Internal,
}

/// Whether a list of queue groups names one.
fn is_named(groups: &[u8], group: &[u8]) -> bool {
    names(groups).any(|name| name == group)
}

/// The names in a list of queue groups.
pub fn names(groups: &[u8]) -> impl Iterator<Item = &[u8]> {
    groups.split(|byte| matches!(byte, b' ' | b'\t')).filter(|name| !name.is_empty())
}

impl Origin<'_> {
    /// Whether plain subscriptions get the message, too.
    const fn is_for_plain(&self) -> bool {
        !self.is_passed_on()
    }

    /// Whether only the queue groups that it names want the message.
    #[must_use]
    pub const fn is_passed_on(&self) -> bool {
        match self {
            Self::Route { passed_on, .. } | Self::Shard { passed_on, .. } => *passed_on,
            Self::Client { .. } | Self::Internal => false,
        }
    }

    /// Whether the message may go to other servers.
    const fn may_leave(&self) -> bool {
        match self {
            Self::Client { .. } | Self::Internal => true,
            Self::Shard { routed, .. } => !*routed,
            Self::Route { .. } => false,
        }
    }

    /// Whether the message may go to other shards.
    const fn may_cross(&self) -> bool {
        !matches!(self, Self::Shard { .. })
    }

    /// Whether a client is the publisher, and does not want its own messages.
    fn excludes(&self, client: u32) -> bool {
        match *self {
            Self::Client { index, echo } => index == client && !echo,
            Self::Shard { except, .. } => except == Some(client),
            Self::Route { .. } | Self::Internal => false,
        }
    }
}

/// Whom a publisher's messages of this turn reached.
#[derive(Debug, Default)]
pub struct Reach {
    /// Somebody who keeps up.
    pub moving: bool,
    /// Those who do not, by their links' slots.
    pub slow: Vec<u32>,
    /// Routes for which more waits than may, of which this publisher's account is the most.
    pub over: Vec<u32>,
}

/// Slow recipients that are remembered; with more of them, one at least will move again.
const REACH_SLOW_MAX: usize = 64;

impl Reach {
    /// Forgets everybody.
    pub fn clear(&mut self) {
        self.moving = false;
        self.slow.clear();
        self.over.clear();
    }

    fn note(&mut self, index: u32, slow: bool) {
        if !slow {
            self.moving = true;
        } else if self.slow.last() != Some(&index) && self.slow.len() < REACH_SLOW_MAX {
            self.slow.push(index);
        }
    }

    fn note_over(&mut self, index: u32) {
        if !self.over.contains(&index) {
            self.over.push(index);
        }
    }

    /// Whether somebody was reached, and all of them are slow.
    #[must_use]
    pub fn all_slow(&self) -> bool {
        !self.moving && !self.slow.is_empty()
    }
}

/// Where else than to clients of this shard the last message goes.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// Other shards whose plain subscriptions want it, one bit each.
    pub shards: u64,
    /// Routes of this shard whose servers' plain subscriptions want it, by their links' slots.
    pub routes: Vec<u32>,
    /// Queue groups that are served elsewhere.
    pub groups: Vec<(Place, Rc<[u8]>)>,
    /// Queue groups of a message that named some, of which somebody took it.
    pub served: Vec<Rc<[u8]>>,
}

/// Who serves a queue group elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A client of another shard.
    Shard(u16),
    /// A server behind a route of another shard.
    ShardRoutes(u16),
    /// The server behind a route of this shard, by its link's slot.
    Route(u32),
}

impl Elsewhere {
    fn clear(&mut self) {
        self.shards = 0;
        self.routes.clear();
        self.groups.clear();
        self.served.clear();
    }

    /// All other shards that get the message, one bit each.
    #[must_use]
    pub fn all_shards(&self) -> u64 {
        self.groups.iter().fold(self.shards, |set, (place, _)| match place {
            Place::Shard(shard) | Place::ShardRoutes(shard) => set | 1 << shard,
            Place::Route(_) => set,
        })
    }
}

/// A message for the server itself.
#[derive(Debug)]
pub struct Delivered {
    /// The server's number for the subscription.
    pub subscription: u32,
    /// The account.
    pub account: AccountId,
    /// Where it was published.
    pub subject: Box<[u8]>,
    /// Where an answer is wanted.
    pub reply: Option<Box<[u8]>>,
    /// How many bytes of the body are headers.
    pub header_len: u32,
    /// Headers and payload.
    pub body: Box<[u8]>,
    /// The client of the server that published it, where the shard that it came to serves it.
    pub asker: Option<Asker>,
}

/// Who asks the server itself for something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The client's number.
    pub cid: u64,
    /// As whom it logged in; empty for nobody in particular.
    pub user: Box<str>,
}

/// See the module's documentation.
pub struct Router {
    /// What is wanted, by account and subject.
    sublists: Vec<Sublist>,
    /// The accounts, for their names.
    accounts: Arc<Accounts>,
    /// All subscriptions; the sublists' members are slots of this.
    pub subscriptions: Slab<Subscription>,
    /// Subscriptions of others than clients and the server itself, by what they want.
    foreign: HashTable<u32>,
    hasher: FixedState,
    /// How much may wait for a client.
    pub limits: OutboundLimits,
    /// How much may wait for a route.
    pub route_limits: OutboundLimits,
    /// Whom the current publisher reached.
    pub reach: Reach,
    /// Links whose queues a delivery would have taken over their limit: to be closed.
    pub overflowed: Vec<u32>,
    /// Subscriptions that have had their last message: to be removed.
    pub exhausted: Vec<u32>,
    /// Where else the last message goes.
    pub elsewhere: Elsewhere,
    /// Messages that the server itself wanted.
    pub inbox: Vec<Delivered>,
    /// Deliveries are to be remembered for the log.
    pub trace: bool,
    /// Subscriptions that the last message was delivered to, while they are remembered.
    pub traced: Vec<u32>,
    /// Messages are not delivered to recipients that are slow.
    pub drop_for_slow: bool,
    /// Deliveries that [`drop_for_slow`](Self::drop_for_slow) kept back.
    pub dropped: u64,
    /// Filters of subjects that go to no other server, whatever wider interest it has.
    kept_here: Vec<String>,
    /// For picking members of queue groups.
    random: fastrand::Rng,
    /// The bytes of a run while it is copied to several recipients.
    scratch: Vec<u8>,
    seed: u64,
    is_cached: bool,
}

impl Router {
    /// A router without subscriptions; `seed` decides which queue members it picks.
    #[must_use]
    pub fn new(limits: OutboundLimits, accounts: Arc<Accounts>, seed: u64) -> Self {
        let mut router = Self {
            sublists: Vec::new(),
            accounts: Arc::default(),
            subscriptions: Slab::new(),
            foreign: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            limits,
            route_limits: limits,
            reach: Reach::default(),
            overflowed: Vec::new(),
            exhausted: Vec::new(),
            elsewhere: Elsewhere::default(),
            inbox: Vec::new(),
            trace: false,
            traced: Vec::new(),
            drop_for_slow: false,
            dropped: 0,
            kept_here: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            scratch: Vec::new(),
            seed,
            is_cached: true,
        };
        router.set_accounts(accounts);
        router
    }

    /// Learns which accounts there are; those that were there keep their numbers.
    pub fn set_accounts(&mut self, accounts: Arc<Accounts>) {
        let (seed, is_cached) = (self.seed, self.is_cached);
        self.sublists.resize_with(accounts.len(), || {
            let mut sublist = Sublist::new(seed);
            sublist.set_cached(is_cached);
            sublist
        });
        self.accounts = accounts;
    }

    /// Learns which subjects go to no other server. One may still want them, by a wildcard that holds
    /// others, too.
    pub fn keep_here(&mut self, filters: &[String]) {
        if self.kept_here != filters {
            self.kept_here = filters.to_vec();
            // What kept lines lead to was found out by the old ones.
            self.sublists.iter_mut().for_each(Sublist::invalidate);
        }
    }

    /// Whether messages of a subject go to no other server.
    fn stays_here(&self, subject: &[u8]) -> bool {
        self.kept_here.iter().any(|filter| subject::matches(filter.as_bytes(), subject))
    }

    /// The accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Keeps results of matches from now on, or does not.
    pub fn set_cached(&mut self, is_cached: bool) {
        self.is_cached = is_cached;
        self.sublists.iter_mut().for_each(|sublist| sublist.set_cached(is_cached));
    }

    /// The state of an account's interest: another number whenever something has changed.
    #[must_use]
    pub fn generation(&self, account: AccountId) -> u64 {
        self.sublists[account.index()].generation()
    }

    /// Something about a subscription changed that whoever keeps results must know.
    pub fn invalidate(&mut self, account: AccountId) {
        self.sublists[account.index()].invalidate();
    }

    /// Whether anybody, here or elsewhere, wants messages of that subject.
    pub fn is_wanted(&mut self, account: AccountId, subject: &[u8]) -> bool {
        let matches = self.sublists[account.index()].matches(subject);
        !matches.plain.is_empty() || !matches.queues.is_empty()
    }

    /// Statistics of the accounts' tables, in the order of their numbers.
    pub fn account_stats(&self) -> impl Iterator<Item = SublistStats> {
        self.sublists.iter().map(Sublist::stats)
    }

    /// Statistics of all accounts' tables together.
    #[must_use]
    pub fn sublist_stats(&self) -> SublistStats {
        let mut all = SublistStats::default();
        self.sublists.iter().for_each(|sublist| all.merge(&sublist.stats()));
        all
    }
}
