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

mod accounts;
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
