//! Names of things that several threads of one server speak of.

use ring::Token;

/// A connection of this server: the shard that serves it, and its token there.
///
/// A token carries a generation, so a name that outlives its connection names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The shard.
    pub shard: u16,
    /// The connection on that shard.
    pub token: Token,
}

/// An account of this server, by its place in the table of accounts.
///
/// Places are given once and never to another account, so that a number may travel between threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u16);

impl AccountId {
    /// The account of everybody who belongs to no other: `$G`.
    pub const GLOBAL: Self = Self(0);
    /// The account in which servers speak to each other.
    pub const SYSTEM: Self = Self(1);

    /// The account's place in a table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
