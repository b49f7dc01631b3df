//! Who gets a message, and getting it there.
//!
//! The router knows subscriptions and links; it knows no protocol state of a peer and no ring. It
//! decides in two ways that give the same result: [`deliver`](Router::deliver) for one message, and
//! [`run`] for a run of messages that came with the same control line, the common case of a stream.
//!
//! Invariant: a subscription is in the sublist exactly while it is in `subscriptions`.

mod deliver;
mod interest;
mod queue_group;
pub mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use slab::Slab;

use crate::outbound::OutboundLimits;
use crate::sublist::{Sublist, Subscription};

pub use deliver::Delivery;
pub use interest::Interest;

/// A message on its way to whoever wants it.
#[derive(Clone, Copy)]
pub struct Message<'a> {
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
    /// Another shard, which left these queue groups to this one. It goes no further.
    Shard {
        /// Names of the groups, each ended by a line end.
        groups: &'a [u8],
        /// Only these groups want it: others have had it from the shard that it came from first.
        passed_on: bool,
        /// Its publisher is this client, which does not want its own messages.
        except: Option<u32>,
    },
    /// The server itself.
    Internal,
}

impl Origin<'_> {
    /// Whether plain subscriptions get the message, too.
    fn is_for_plain(&self) -> bool {
        !matches!(self, Self::Shard { passed_on: true, .. })
    }

    /// Whether a client is the publisher, and does not want its own messages.
    fn excludes(&self, client: u32) -> bool {
        match *self {
            Self::Client { index, echo } => index == client && !echo,
            Self::Shard { except, .. } => except == Some(client),
            Self::Internal => false,
        }
    }

    /// Whether a queue group is to be served here: always, but for messages from another shard that
    /// do not name it.
    fn names(&self, group: &[u8]) -> bool {
        match self {
            Self::Shard { groups, .. } => {
                groups.split(|byte| *byte == b'\n').any(|name| name == group)
            }
            Self::Client { .. } | Self::Internal => true,
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
}

/// Slow recipients that are remembered; with more of them, one at least will move again.
const REACH_SLOW_MAX: usize = 64;

impl Reach {
    /// Forgets everybody.
    pub fn clear(&mut self) {
        self.moving = false;
        self.slow.clear();
    }

    fn note(&mut self, index: u32, slow: bool) {
        if !slow {
            self.moving = true;
        } else if self.slow.last() != Some(&index) && self.slow.len() < REACH_SLOW_MAX {
            self.slow.push(index);
        }
    }

    /// Whether somebody was reached, and all of them are slow.
    #[must_use]
    pub fn all_slow(&self) -> bool {
        !self.moving && !self.slow.is_empty()
    }
}

/// See the module's documentation.
pub struct Router {
    /// What is wanted, by subject.
    pub sublist: Sublist,
    /// All subscriptions; the sublist's members are slots of this.
    pub subscriptions: Slab<Subscription>,
    /// How much may wait for a recipient.
    pub limits: OutboundLimits,
    /// Whom the current publisher reached.
    pub reach: Reach,
    /// Links whose queues a delivery would have taken over their limit: to be closed.
    pub overflowed: Vec<u32>,
    /// Subscriptions that have had their last message: to be removed.
    pub exhausted: Vec<u32>,
    /// Other shards that want the last message, one bit each.
    pub shards: u64,
    /// Queue groups of the last message that other shards serve: the shard and the group's name.
    pub shard_groups: Vec<(u16, std::rc::Rc<[u8]>)>,
    /// Queue groups of the last message from another shard that a client here took it for.
    pub served: Vec<std::rc::Rc<[u8]>>,
    /// Deliveries are to be remembered for the log.
    pub trace: bool,
    /// Subscriptions that the last message was delivered to, while they are remembered.
    pub traced: Vec<u32>,
    /// Messages are not delivered to recipients that are slow.
    pub drop_for_slow: bool,
    /// Deliveries that [`drop_for_slow`](Self::drop_for_slow) kept back.
    pub dropped: u64,
    /// For picking members of queue groups.
    random: fastrand::Rng,
    /// The links of members, grouped by sid, while a run is prepared.
    scratch: Vec<u8>,
}

impl Router {
    /// A router without subscriptions; `seed` decides which queue members it picks.
    #[must_use]
    pub fn new(limits: OutboundLimits, seed: u64) -> Self {
        Self {
            sublist: Sublist::new(seed),
            subscriptions: Slab::new(),
            limits,
            reach: Reach::default(),
            overflowed: Vec::new(),
            exhausted: Vec::new(),
            shards: 0,
            shard_groups: Vec::new(),
            served: Vec::new(),
            trace: false,
            traced: Vec::new(),
            drop_for_slow: false,
            dropped: 0,
            random: fastrand::Rng::with_seed(seed),
            scratch: Vec::new(),
        }
    }
}
