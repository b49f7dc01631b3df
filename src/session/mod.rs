//! One peer's state.
//!
//! A session knows what its peer said and may do; it knows no other peer, no queue and no ring.

mod client;
mod input;
mod line;
mod route;
mod sids;

use std::time::Duration;

pub use client::{About, Claim, Client, Hold, Phase, Pings};
pub use input::{CARRIED_MAX, Filling, Input, Waiting};
pub use line::Line;
pub(crate) use line::{Group, Recipient};
pub use route::{PingSent, Registration, Route, RouteLane, RoutePhase, SubjectRule};
pub use sids::Sids;

/// A round trip as nats-server tells it: below a millisecond it counts whole microseconds.
#[must_use]
pub fn round_trip(span: Duration) -> Duration {
    let nanos = span.subsec_nanos() % 1_000;
    if span < Duration::from_millis(1) { span - Duration::from_nanos(nanos.into()) } else { span }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_below_a_millisecond_is_told_in_whole_microseconds() {
        for (nanos, told) in [(0, 0), (999, 0), (287_912, 287_000), (1_000_001, 1_000_001)] {
            assert_eq!(round_trip(Duration::from_nanos(nanos)), Duration::from_nanos(told));
        }
    }
}
