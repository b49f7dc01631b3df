//! One peer's state.
//!
//! A session knows what its peer said and may do; it knows no other peer, no queue and no ring.

mod client;
mod input;
mod line;
mod route;
mod sids;

pub use client::{About, Claim, Client, Hold, Phase, Pings};
pub use input::{CARRIED_MAX, Filling, Input, Waiting};
pub use line::Line;
pub(crate) use line::{Group, Recipient};
pub use route::{PingSent, Registration, Route, RouteLane, RoutePhase, SubjectRule};
pub use sids::Sids;
