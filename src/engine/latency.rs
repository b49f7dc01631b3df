//! How long things take in a shard, for monitoring. Nothing decides by it.
//!
//! When bytes came in is not known; that they came after the turn before had ended is. So every
//! latency is measured from there, and is never too short.

use std::time::Duration;

use ring::Time;

use crate::hist::Hist;
use crate::report::Stage;

/// Latencies by stage, and the moments from which the next ones are measured.
#[derive(Default)]
pub(super) struct Latencies {
    delivery: Hist,
    processing: Hist,
    send: Hist,
    turn: Hist,
    mailbox: Hist,
    /// The upper bound of when what this turn handles came in.
    came_at: Time,
    /// The same of the turn before, and when its sends were handed to the ring.
    before: (Time, Time),
    /// Sends of this turn.
    sends: u64,
    /// Sends that were over at a time that is not known, since the last one that was timed.
    untimed: u64,
}

/// So many sends may go by without one being timed.
const UNTIMED_MAX: u64 = 16;

impl Latencies {
    pub(super) fn begin_turn(&mut self, came_at: Time) {
        self.before.0 = std::mem::replace(&mut self.came_at, came_at);
    }

    /// A send begins. Returns what its link keeps for [`sent`](Self::sent).
    pub(super) fn send(&mut self) -> Time {
        self.sends += 1;
        self.came_at
    }

    /// A send is over whose bytes came in at `came_at`.
    pub(super) fn sent(&mut self, now: Time, came_at: Time) {
        let (last_came_at, flushed_at) = self.before;
        let (began, sends) = if came_at == last_came_at {
            (flushed_at, 1 + std::mem::take(&mut self.untimed))
        } else {
            // A send that waited is measured whole: what came before it is next to nothing. It stands for
            // itself alone.
            (came_at, 1)
        };
        self.delivery.record_n(nanos(now - came_at), sends);
        self.send.record_n(nanos(now - began), sends);
    }

    /// A send was over before the ring slept: the next one that is timed counts for it, too.
    pub(super) fn sent_at_some_time(&mut self) {
        self.untimed += 1;
    }

    /// Whether it is time to look when a send is over, which costs a call of the kernel more.
    pub(super) const fn is_one_to_be_timed(&self) -> bool {
        self.untimed >= UNTIMED_MAX
    }

    /// Messages were taken out of the mailbox that another shard's turn at `posted_at` filled.
    pub(super) fn taken(&mut self, now: Time, posted_at: Time, messages: u32) {
        self.mailbox.record_n(nanos(now - posted_at), u64::from(messages));
    }

    /// The turn that began at `now` has handed everything to the ring.
    pub(super) fn end_turn(&mut self, now: Time, clock: Time) {
        self.turn.record(clock - now);
        let sends = std::mem::take(&mut self.sends);
        self.processing.record_n(nanos(clock - self.came_at), sends);
        self.before.1 = clock;
    }

    pub(super) fn report(&self) -> Vec<(Stage, Hist)> {
        vec![
            (Stage::Delivery, self.delivery.clone()),
            (Stage::Processing, self.processing.clone()),
            (Stage::Send, self.send.clone()),
            (Stage::Turn, self.turn.clone()),
            (Stage::Mailbox, self.mailbox.clone()),
        ]
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn counted(latencies: &Latencies) -> Vec<(&'static str, u64, u64)> {
        let reports = latencies.report();
        reports.iter().map(|(stage, hist)| (stage.name(), hist.count(), hist.sum_nanos())).collect()
    }

    #[test]
    fn each_stage_is_measured_from_where_it_begins() {
        let mut latencies = Latencies::default();
        latencies.begin_turn(at(1000));
        let came_at = latencies.send();
        latencies.end_turn(at(1100), at(1400));
        latencies.begin_turn(at(1400));
        latencies.sent(at(1600), came_at);
        latencies.taken(at(1600), at(1500), 3);
        latencies.end_turn(at(1600), at(1610));
        let expected = [
            ("delivery", 1, 600),
            ("processing", 1, 400),
            ("send", 1, 200),
            ("turn", 2, 310),
            ("mailbox", 3, 300),
        ];
        assert_eq!(counted(&latencies), expected);
    }

    #[test]
    fn a_send_whose_end_was_slept_over_counts_as_the_next_one() {
        let mut latencies = Latencies::default();
        latencies.begin_turn(at(1000));
        let came_at = latencies.send();
        latencies.end_turn(at(1000), at(1200));
        for _ in 0..UNTIMED_MAX {
            assert!(!latencies.is_one_to_be_timed());
            latencies.sent_at_some_time();
        }
        assert!(latencies.is_one_to_be_timed());
        latencies.sent(at(1300), at(200));
        assert_eq!(counted(&latencies)[0], ("delivery", 1, 1100), "it waited, and is no measure");
        latencies.begin_turn(at(1400));
        latencies.sent(at(1500), came_at);
        assert!(!latencies.is_one_to_be_timed());
        let all = 1 + UNTIMED_MAX;
        assert_eq!(counted(&latencies)[0], ("delivery", 1 + all, 1100 + all * 500));
    }

    #[test]
    fn a_send_that_waited_for_turns_is_measured_whole() {
        let mut latencies = Latencies::default();
        latencies.begin_turn(at(1000));
        let came_at = latencies.send();
        latencies.end_turn(at(1100), at(1200));
        for turn in 2..5 {
            latencies.begin_turn(at(turn * 1000));
            latencies.end_turn(at(turn * 1000), at(turn * 1000 + 100));
        }
        latencies.begin_turn(at(5000));
        latencies.sent(at(5000), came_at);
        assert_eq!(counted(&latencies)[0], ("delivery", 1, 4000));
        assert_eq!(counted(&latencies)[2], ("send", 1, 4000));
    }
}
