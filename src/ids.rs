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
