//! What the members of a subscription table stand for.

/// Who holds a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A client of this shard, by its link's slot.
    Client(u32),
    /// Another shard, for all its clients.
    Shard(u16),
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    /// Who holds it.
    pub owner: Owner,
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
