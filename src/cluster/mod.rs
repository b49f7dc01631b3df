//! Which servers form the cluster, and over which connections: membership without sockets.
//!
//! A [`Mesh`] is told what happens ([`Event`]) and answers with what is to be done ([`Action`]). It
//! decides the handshake of every route, which of two connections for one purpose survives, whom to
//! dial and when again, what peers and clients are told of each other. It knows no socket, no clock
//! and no message: shards carry bytes and keep the interest of each connection.
//!
//! A route goes through these stages; a peer that is not [`Registered`](Action::Register) waits
//! for the answer to each line it sends:
//!
//! ```text
//!  accepted ─ INFO ▶ expects CONNECT ─▶ (password) ─▶ expects INFO ─┬─ plain ────────────────▶ registered
//!                                                                   └─ S2: INFO ▶ expects INFO ▶ registered
//!  dialled ─ CONNECT ▶ expects INFO ─┬─ plain ─────────────────────────────▶ registered ─ INFO, interest ▶
//!                                    └─ INFO, then S2 ▶ expects INFO in S2 ▶ registered ─ INFO, interest ▶
//! ```
//!
//! Pooled connections are opened one after the other: the PONG behind one allows the next.
//! Connections for accounts are dialled beside them.
//!
//! Invariant: between two servers each pool index and each account has one registered connection
//! at most, and whatever peers say, tables stay within their bounds.

mod close;
mod conn;
mod dialing;
mod event;
mod gossip;
mod handshake;
mod links;
mod mesh;
mod name;
mod names;
mod options;
mod orders;
mod register;
mod reload;
mod target;
mod urls;

#[cfg(test)]
mod tests;

pub use event::{Action, Event, Lane, Registration};
pub use links::{Link, LinkConn};
pub use mesh::Mesh;
pub use options::{MeshOptions, RouteAuth, RouteUrl};
pub use orders::Task;

/// The pool index that carries an account, unless it has a connection of its own: all servers
/// compute the same one.
#[must_use]
pub fn pool_index(account: &str, pool_size: u16) -> u16 {
    if pool_size <= 1 {
        return 0;
    }
    let hash = account
        .bytes()
        .fold(FNV_OFFSET, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME));
    u16::try_from(hash % u32::from(pool_size)).unwrap_or_default()
}

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;
