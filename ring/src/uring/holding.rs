//! How much the sockets of some connections may hold, by what their wires carry.
//!
//! A socket takes bytes as long as it has room, and the kernel makes room for throughput alone: on a
//! slow wire what it holds lasts for tens of milliseconds, and nothing that is sent later overtakes
//! it. Here it is given a fraction of a millisecond of its wire, and of its round trip twice, and the
//! choice is the kernel's again where that would be much.
//!
//! Invariant: what is remembered of a socket is forgotten before its number is used again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::socket;

/// What a socket may hold lasts so long on its wire, beside twice the round trip: about the time that a
/// shard needs to hear of room, and to use it.
const HOLDS: Duration = Duration::from_micros(100);
/// A socket is not made smaller: it would run dry before we hear that it has room.
const BYTES_MIN: u64 = 4 << 10;
/// From here on the kernel's own choice stands: a fast wire, or a long one.
const BYTES_MAX: u64 = 192 << 10;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Sockets for which the kernel does not choose, and how much they may hold.
    fitted: BTreeMap<i32, u64>,
}

impl Holding {
    /// Adapts what a socket may hold to a wire that has carried `rate` bytes a second.
    pub(super) fn fit(&mut self, socket: i32, rate: Option<u64>) {
        let wanted = rate
            .and_then(|rate| Some((rate, socket::round_trip(socket)?)))
            .and_then(|(rate, round_trip)| bytes_for(rate, round_trip))
            // Step by step: a socket has no room before two thirds of its size are enough for what it
            // holds, and until then nobody sees that bytes leave.
            .map(|bytes| bytes.max(socket::held_bytes(socket)));
        let now = self.fitted.get(&socket).copied();
        if is_news(now, wanted) && socket::hold(socket, wanted).is_ok() {
            self.forget(socket);
            self.fitted.extend(wanted.map(|bytes| (socket, bytes)));
        }
    }

    /// The socket is closed.
    pub(super) fn forget(&mut self, socket: i32) {
        self.fitted.remove(&socket);
    }
}

/// What a socket is to hold whose wire carries `rate` bytes a second.
fn bytes_for(rate: u64, round_trip: Duration) -> Option<u64> {
    let micros = u64::try_from((HOLDS + round_trip * 2).as_micros()).unwrap_or(u64::MAX);
    let bytes = (rate / 1000).saturating_mul(micros) / 1000;
    (bytes < BYTES_MAX).then_some(bytes.max(BYTES_MIN))
}

/// Whether a change is worth a call.
fn is_news(now: Option<u64>, wanted: Option<u64>) -> bool {
    match (now, wanted) {
        (Some(now), Some(wanted)) => now.abs_diff(wanted) > now / 4,
        (now, wanted) => now != wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mbit: u64, round_trip_micros: u64, expected: Option<u64>) {
        let round_trip = Duration::from_micros(round_trip_micros);
        assert_eq!(bytes_for(mbit * 125_000, round_trip), expected, "{mbit} Mbit/s");
    }

    #[test]
    fn a_slow_wire_gets_a_fraction_of_a_millisecond_and_a_long_one_what_the_kernel_gives() {
        check(10, 100, Some(4 << 10));
        check(1000, 0, Some(12_500));
        check(200, 1000, Some(52_500));
        check(200, 10_000, None);
        check(20_000, 10, None);
        check(u64::MAX / 125_000, u64::MAX, None);
    }

    #[test]
    fn small_changes_are_not_worth_a_call() {
        assert!(!is_news(Some(50_000), Some(55_000)) && is_news(Some(50_000), Some(100_000)));
        assert!(is_news(None, Some(50_000)) && is_news(Some(50_000), None));
        assert!(!is_news(None, None));
    }
}
