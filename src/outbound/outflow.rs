//! How fast the bytes of a route leave, and so how many of them to let go at a time.
//!
//! What has left the lanes is overtaken by nobody. On a fast wire that is over in no time; on a narrow
//! one as much as a turn brings in would keep the other accounts waiting for long. So bytes are
//! counted while more wait than the socket takes: what leaves then is what the wire carries.
//!
//! It knows no socket; time comes from the ring.

use std::time::Duration;

use ring::Time;

/// Bytes are counted for so long, at least.
const WINDOW: Duration = Duration::from_millis(10);
/// A wire that carries less a second is narrow: what leaves at a time over others lasts a millisecond.
const NARROW_BELOW: u64 = 256 << 20;
/// What leaves the lanes of a narrow wire at once is to be over in so many microseconds.
const BATCH_MICROS: u64 = 150;
/// So much leaves at once also over the narrowest wire: less would make it wait for us.
const BATCH_BYTES_MIN: u64 = 4 << 10;
/// An account that has so much waiting for a narrow wire is slow. It is less than for others, so that its
/// own messages are not late for nothing, and no turn is long that brings so much.
const HIGH_WATER_MILLIS: u64 = 20;
/// But so much may wait also for the narrowest wire.
const HIGH_WATER_MIN: u64 = 256 << 10;
/// How often it is looked at how much a socket should hold.
const LOOK: Duration = Duration::from_millis(50);

/// A wire that is narrow, by what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// Bytes a second.
    pub rate: u64,
}

impl Narrow {
    /// How much is to leave the lanes at a time.
    #[must_use]
    pub fn batch_bytes(self) -> usize {
        usize::try_from((self.rate / 1000 * BATCH_MICROS / 1000).max(BATCH_BYTES_MIN))
            .unwrap_or(usize::MAX)
    }

    /// Above so much an account is slow.
    #[must_use]
    pub fn high_water(self) -> usize {
        usize::try_from((self.rate / 1000 * HIGH_WATER_MILLIS).max(HIGH_WATER_MIN))
            .unwrap_or(usize::MAX)
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Outflow {
    since: Time,
    bytes: u64,
    refused: bool,
    /// The turn in which it was asked for room.
    asked_in: u64,
    /// Bytes a second, while the socket takes less than there is.
    rate: Option<u64>,
    /// Bytes have waited since then.
    waits: bool,
    looked_at: Time,
}

impl Outflow {
    /// Bytes have left: the whole of what the socket was offered, at once, or not; more wait, or not.
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

    /// In this turn of the shard the socket is asked for room.
    pub const fn asks_for_room(&mut self, turn: u64) {
        self.asked_in = turn;
    }

    /// In this turn it has room. When that was not so at once, the wire is what was waited for.
    pub const fn has_room(&mut self, turn: u64) {
        self.refused |= turn > self.asked_in + 1;
    }

    /// What the wire carries, where that is little.
    #[must_use]
    pub fn narrow(&self) -> Option<Narrow> {
        self.rate.filter(|rate| *rate < NARROW_BELOW).map(|rate| Narrow { rate })
    }

    /// Whether it is time to look how much the socket should hold.
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
    fn a_narrow_wire_gets_a_fraction_of_a_millisecond_of_it_at_a_time() {
        let mut outflow = Outflow::default();
        assert_eq!(outflow.narrow(), None);
        run(&mut outflow, 0, 50, 100_000, false, true);
        let narrow = outflow.narrow().unwrap();
        assert!((14_000..17_000).contains(&narrow.batch_bytes()), "{narrow:?}");
        assert!((1_900_000..2_200_000).contains(&narrow.high_water()), "{narrow:?}");
        run(&mut outflow, 50, 100, 1000, false, true);
        let narrow = outflow.narrow().unwrap();
        assert_eq!((narrow.batch_bytes(), narrow.high_water()), (4 << 10, 256 << 10));
    }

    #[test]
    fn a_fast_wire_gets_as_much_as_ever() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 1_000_000, false, true);
        assert_eq!(outflow.narrow(), None);
    }

    #[test]
    fn a_socket_that_takes_everything_is_not_slow_however_little_there_is() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, true, true);
        assert_eq!(outflow.narrow(), None);
    }

    #[test]
    fn the_time_in_which_nothing_waited_says_nothing_of_the_wire() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, false, true);
        let before = outflow.narrow();
        outflow.note(at(50_000), 1000, true, false);
        for pause in 1..100 {
            // A piece, and then the rest.
            outflow.note(at(50_000 + pause * 1_000_000), 2, false, true);
            outflow.note(at(50_001 + pause * 1_000_000), 4, true, false);
        }
        assert_eq!(outflow.narrow(), before);
    }

    #[test]
    fn a_wire_that_becomes_fast_is_found_out_step_by_step() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, false, true);
        run(&mut outflow, 50, 61, 25_000, true, true);
        assert!(outflow.narrow().unwrap().rate < 60_000_000, "one moment tells little");
        run(&mut outflow, 61, 110, 25_000, true, true);
        assert_eq!(outflow.narrow(), None);
    }

    /// As `run`, each piece after asking for room, which comes so many turns later.
    fn run_asking(outflow: &mut Outflow, from_ms: u64, to_ms: u64, bytes: usize, turns: u64) {
        for quarter in from_ms * 4..to_ms * 4 {
            outflow.asks_for_room(quarter * 100);
            outflow.has_room(quarter * 100 + turns);
            outflow.note(at(quarter * 250), bytes / 4, true, true);
        }
    }

    #[test]
    fn a_socket_that_has_room_at_once_is_not_what_keeps_bytes_waiting() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, false, true);
        run_asking(&mut outflow, 50, 100, 5_000, 2);
        let narrow = outflow.narrow().unwrap();
        assert!((4_800_000..5_200_000).contains(&narrow.rate), "{narrow:?}");
        run_asking(&mut outflow, 100, 150, 5_000, 1);
        assert!(outflow.narrow().is_none_or(|narrow| narrow.rate > 50_000_000));
    }

    #[test]
    fn what_trickles_says_nothing_of_the_wire() {
        let mut outflow = Outflow::default();
        run(&mut outflow, 0, 50, 25_000, false, true);
        let before = outflow.narrow();
        run(&mut outflow, 50, 1000, 100, false, false);
        assert_eq!(outflow.narrow(), before);
        run(&mut outflow, 1000, 1050, 50_000, false, true);
        assert!(outflow.narrow().unwrap().rate > before.unwrap().rate);
    }
}
