//! What the members of a subscription table stand for.

use crate::ids::AccountId;

/// Who holds a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A client of this shard, by its link's slot.
    Client(u32),
    /// The server itself, by its own number for the subscription.
    Internal(u32),
    /// Another server, by the slot of the link of a route of this shard.
    Route(u32),
    /// Another shard, for all its clients.
    Shard(u16),
    /// Another shard, for all the servers behind its routes.
    ShardRoutes(u16),
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    /// Who holds it.
    pub owner: Owner,
    /// The account that it belongs to.
    pub account: AccountId,
    /// How many receivers stand behind it: 1 for a client's own. It counts only in a queue group.
    pub weight: u32,
    /// The client's own name for it.
    pub sid: Box<[u8]>,
    /// What it wants.
    pub subject: Box<[u8]>,
    /// The queue group that it is a member of.
    pub queue: Option<Box<[u8]>>,
    /// It ends with this message; 0 for never.
    pub max: u64,
    /// Messages delivered so far.
    pub delivered: u64,
}
