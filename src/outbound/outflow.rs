//! How fast the bytes of a route leave, and so how many of them to let go at a time.
//!
//! What has left the lanes is overtaken by nobody. On a fast wire that is over in no time; on a slow
//! one as much as a turn brings in would keep the other accounts waiting for long. So bytes are
//! counted while more wait than the socket takes: what leaves then is what the wire carries.
//!
//! It knows no socket; time comes from the ring.

use std::time::Duration;

use ring::Time;

/// Bytes are counted for so long, at least.
const WINDOW: Duration = Duration::from_millis(10);
/// What leaves the lanes at once is to be over in so long.
const BATCH_MILLIS: u64 = 1;
/// So much leaves at once also over the slowest wire: less would make it wait for us.
const BATCH_BYTES_MIN: u64 = 16 << 10;
/// How often a socket that has no room is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Outflow {
    since: Time,
    bytes: u64,
    refused: bool,
    /// Bytes a second, while the socket takes less than there is.
    rate: Option<u64>,
    /// Bytes have waited since then.
    waits: bool,
    looked_at: Time,
}

impl Outflow {
    /// Bytes have left: all that were offered, or not; more wait, or not.
    pub fn note(&mut self, now: Time, bytes: usize, whole: bool, more: bool) {
        // How long the first bytes after a pause took is not known.
        if !std::mem::replace(&mut self.waits, more) {
            (self.since, self.bytes, self.refused) = (now, 0, !whole);
            return;
        }
        self.bytes += bytes as u64;
        self.refused |= !whole;
        let took = now - self.since;
        // When nothing waits any more, the time says nothing of the wire.
        if !more || took < WINDOW {
            return;
        }
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let rate = self.bytes.saturating_mul(1000) / millis;
        // Where the socket took everything the wire carries more, and how much more shows soon; we may
        // also have been late ourselves.
        self.rate = match self.rate {
            Some(before) if !self.refused => Some(rate.max(before.saturating_mul(2))),
            None if !self.refused => None,
            Some(_) | None => Some(rate),
        };
        (self.since, self.bytes, self.refused) = (now, 0, false);
    }

    /// How much is to leave the lanes at a time, where the wire is too slow for `usual`.
    #[must_use]
    pub fn batch_bytes(&self, usual: usize) -> Option<usize> {
        let bytes = (self.rate? / 1000 * BATCH_MILLIS).max(BATCH_BYTES_MIN);
        usize::try_from(bytes).ok().filter(|bytes| *bytes < usual)
    }

    /// Whether it is time to look what the socket holds.
    pub fn is_look_due(&mut self, now: Time) -> bool {
        let due = now - self.looked_at >= LOOK;
        if due {
            self.looked_at = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: usize = 256 << 10;

    fn at(micros: u64) -> Time {
        Time::from_nanos(1_000_000_000 + micros * 1000)
    }

    /// So many bytes leave a millisecond, in pieces, for that long.
    fn run(outflow: &mut Outflow, from_ms: u64, to_ms: u64, bytes: usize, whole: bool, more: bool) {
        for quarter in from_ms * 4..to_ms * 4 {
            outflow.note(at(quarter * 250), bytes / 4, whole, more);
        }
    }

    #[test]
    fn a_slow_wire_gets_a_millisecond_of_it_at_a_time() {
        let mut outflow = Outflow::default();
        assert_eq!(outflow.batch_bytes(USUAL), None);
        run(&mut outflow, 0, 50, 25_000, false, true);
        let batch = outflow.batch_bytes(USUAL).unwrap();
        assert!((24_000..27_000).contains(&batch), "{batch}");
        run(&mut outflow, 50, 100, 1000, false, true);
        assert_eq!(outflow.batch_bytes(USUAL), Some(16 << 10));
    }

    #[test]
    fn a_fast_wire_gets_as_much_as_ever() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 1_000_000, false, true);
        assert_eq!(outflow.batch_bytes(USUAL), None);
    }

    #[test]
    fn a_socket_that_takes_everything_is_not_slow_however_little_there_is() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, true, true);
        assert_eq!(outflow.batch_bytes(USUAL), None);
    }

    #[test]
    fn the_time_in_which_nothing_waited_says_nothing_of_the_wire() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, false, true);
        let before = outflow.batch_bytes(USUAL);
        outflow.note(at(50_000), 1000, true, false);
        for pause in 1..100 {
            // A piece, and then the rest.
            outflow.note(at(50_000 + pause * 1_000_000), 2, false, true);
            outflow.note(at(50_001 + pause * 1_000_000), 4, true, false);
        }
        assert_eq!(outflow.batch_bytes(USUAL), before);
    }

    #[test]
    fn a_wire_that_becomes_fast_is_found_out_step_by_step() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, false, true);
        run(&mut outflow, 50, 61, 25_000, true, true);
        assert!(outflow.batch_bytes(USUAL).unwrap() < 60_000, "one moment tells little");
        run(&mut outflow, 61, 110, 25_000, true, true);
        assert_eq!(outflow.batch_bytes(USUAL), None);
    }

    #[test]
    fn what_trickles_says_nothing_of_the_wire() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, false, true);
        let before = outflow.batch_bytes(USUAL);
        run(&mut outflow, 50, 1000, 100, false, false);
        assert_eq!(outflow.batch_bytes(USUAL), before);
        run(&mut outflow, 1000, 1050, 50_000, false, true);
        assert!(outflow.batch_bytes(USUAL) > before);
    }
}
