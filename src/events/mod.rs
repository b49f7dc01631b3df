//! What servers tell each other and their operators: the system account.
//!
//! [`Events`] is told what happens ([`Event`]) and answers with what is to be done ([`Action`]): it
//! tells how the server is, that it leaves, which clients its accounts have, who came and went, and
//! answers requests. Numbers it does not have: it asks for them and goes on when the answer comes.
//! It knows no shard, no socket and no clock.
//!
//! ```text
//!  Deliveries ─▶ Topic ─▶ Request ─▶ Ask ┄┄▶ Answer ─▶ Publish
//!                   └▶ peers, relays    └▶ Publish
//! ```
//!
//! Invariant: every message that carries [`ServerInfo`](server_info) has a greater number than the
//! one before; whatever peers send, so many questions wait and so many peers are known at most.

mod advisory;
mod connection_count;
mod event;
mod expected;
mod peers;
mod presence;
mod questions;
mod request;
mod requests;
mod server_info;
mod statsz;
mod topic;

#[cfg(test)]
mod tests;

pub use event::{Action, Answer, Event, Facts, Question, Statistics, TrafficOfRoute};
pub use presence::Events;
