//! How much the sockets of some connections may hold, by what their wires carry.
//!
//! A socket takes bytes as long as it has room, and the kernel makes room for throughput alone: on a
//! slow wire what it holds lasts for tens of milliseconds, and nothing that is sent later overtakes
//! it. Here it is given about two milliseconds of its wire, and of its round trip twice, and the
//! choice is the kernel's again where that would be much.
//!
//! Invariant: what is remembered of a socket is forgotten before its number is used again.

use std::time::Duration;

use super::socket;

/// What a socket may hold lasts so long on its wire, beside twice the round trip.
const HOLDS: Duration = Duration::from_millis(2);
/// A socket is not made smaller: it would run dry before we hear that it has room.
const BYTES_MIN: u64 = 32 << 10;
/// From here on the kernel's own choice stands: a fast wire, or a long one.
const BYTES_MAX: u64 = 192 << 10;
/// Single measurements lie; the middle one of so many does not.
const MEASUREMENTS: usize = 5;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Holding {
    flows: Vec<Flow>,
}

#[derive(Debug)]
struct Flow {
    socket: i32,
    /// Bytes a second that the wire has carried, the oldest first.
    rates: Vec<u64>,
    /// What the socket may hold now; nothing where the kernel chooses.
    bytes: Option<u64>,
}

impl Holding {
    /// Measures a socket's wire and adapts what the socket may hold.
    pub(super) fn fit(&mut self, socket: i32) {
        let Some((rate, round_trip)) = socket::wire(socket) else { return };
        let known = self.flows.iter().position(|flow| flow.socket == socket);
        let at = known.unwrap_or_else(|| {
            self.flows.push(Flow { socket, rates: Vec::new(), bytes: None });
            self.flows.len() - 1
        });
        let flow = &mut self.flows[at];
        let bytes = flow.measured(rate, round_trip);
        if is_news(flow.bytes, bytes) && socket::hold(socket, bytes).is_ok() {
            flow.bytes = bytes;
        }
    }

    /// The socket is closed.
    pub(super) fn forget(&mut self, socket: i32) {
        self.flows.retain(|flow| flow.socket != socket);
    }
}

impl Flow {
    /// What the socket is to hold after one more measurement.
    fn measured(&mut self, rate: u64, round_trip: Duration) -> Option<u64> {
        if self.rates.len() == MEASUREMENTS {
            self.rates.remove(0);
        }
        self.rates.push(rate);
        let mut sorted = self.rates.clone();
        sorted.sort_unstable();
        bytes_for(sorted[sorted.len() / 2], round_trip)
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
    fn a_slow_wire_gets_two_milliseconds_and_a_fast_or_long_one_what_the_kernel_gives() {
        check(10, 100, Some(32 << 10));
        check(200, 0, Some(50_000));
        check(200, 1000, Some(100_000));
        check(200, 10_000, None);
        check(1000, 100, None);
        check(10_000, 10, None);
        check(u64::MAX / 125_000, u64::MAX, None);
    }

    #[test]
    fn a_single_measurement_changes_nothing() {
        let mut flow = Flow { socket: 0, rates: Vec::new(), bytes: None };
        for _ in 0..MEASUREMENTS {
            flow.measured(25_000_000, Duration::ZERO);
        }
        assert_eq!(flow.measured(600_000_000, Duration::ZERO), Some(50_000));
        assert_eq!(flow.measured(25_000_000, Duration::ZERO), Some(50_000));
        for _ in 0..MEASUREMENTS {
            flow.measured(600_000_000, Duration::ZERO);
        }
        assert_eq!(flow.measured(600_000_000, Duration::ZERO), None);
    }

    #[test]
    fn small_changes_are_not_worth_a_call() {
        assert!(!is_news(Some(50_000), Some(55_000)) && is_news(Some(50_000), Some(100_000)));
        assert!(is_news(None, Some(50_000)) && is_news(Some(50_000), None));
        assert!(!is_news(None, None));
    }
}
