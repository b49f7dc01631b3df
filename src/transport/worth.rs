//! Whether compressing is worth its time on one connection, by what it has saved and cost lately.
//!
//! `s2_auto` wants a level by the round trip. Bytes that do not compress, or cost more time than they
//! save, leave at a lower one, a step at a time. Now and then the next level is tried again, the less
//! often the more often that was in vain.
//!
//! ```text
//!            two bad windows: a level lower             the wait is over: a level higher
//!  Settled ────────────────────────────────▶ Settled ────────────────────────────────────▶ Trying
//!     ▲                                         ▲     one window that is not good: back      │
//!     │                                         └────────────────────────────────────────────┤
//!     └───────────────────────────────────────────────── one good window: it stays ──────────┘
//! ```
//!
//! It compresses nothing itself and reads no clock. Invariant: the level is never above the wanted one.

use std::time::Duration;

use ring::Time;

use super::Level;

/// Plain bytes that are looked at together: a few blocks.
const WINDOW_BYTES: u64 = 256 << 10;
/// So many bad windows in a row end a level: one alone may be a picture among text.
const BAD_WINDOWS: u32 = 2;
/// A level that stood for so many windows was no mistake.
const SETTLED_WINDOWS: u32 = 16;
/// When a higher level is tried again, at first and at the latest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(64);
/// Of a hundred bytes so many may leave without a level being bad, or good.
const BAD_PERCENT: u64 = 95;
const GOOD_PERCENT: u64 = 90;
/// What a saved byte may cost without a level being bad, or good: its time on a wire of 100 Mbit/s, which
/// is much for one connection over a long way.
const BAD_NANOS: u64 = 80;
const GOOD_NANOS: u64 = 60;

/// See the module's documentation.
#[derive(Debug)]
pub struct Worth {
    /// The highest level that is worth it, or tried.
    most: Level,
    trying: bool,
    window: Window,
    bad_windows: u32,
    /// Windows since the level has changed.
    stood: u32,
    /// How long the next failure keeps from trying.
    retry: Duration,
    try_at: Time,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    plain: u64,
    wire: u64,
    nanos: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Fair,
    Bad,
}

impl Default for Worth {
    fn default() -> Self {
        Self {
            most: Level::Best,
            trying: false,
            window: Window::default(),
            bad_windows: 0,
            stood: 0,
            retry: RETRY_MIN,
            try_at: Time::ZERO,
        }
    }
}

impl Worth {
    /// The level to use where the round trip wants this one.
    #[must_use]
    pub fn level(&self, wanted: Level) -> Level {
        wanted.min(self.most)
    }

    /// So many plain bytes have become so many on the wire, which took so long, at the level that
    /// [`level`](Self::level) told.
    pub fn note(&mut self, now: Time, wanted: Level, plain: u64, wire: u64, took: Duration) {
        let level = self.level(wanted);
        if level < wanted && !self.trying && now >= self.try_at {
            self.window = Window::default();
            (self.most, self.trying) = (level.above(), true);
            return;
        }
        if level == Level::Uncompressed {
            return;
        }
        self.window.plain += plain;
        self.window.wire += wire;
        self.window.nanos += u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if self.window.plain >= WINDOW_BYTES {
            let verdict = std::mem::take(&mut self.window).verdict();
            self.judge(now, level, verdict);
        }
    }

    fn judge(&mut self, now: Time, level: Level, verdict: Verdict) {
        if self.trying {
            self.trying = false;
            (self.stood, self.bad_windows) = (0, 0);
            if verdict == Verdict::Good {
                self.try_at = now + RETRY_MIN;
            } else {
                self.fall(now, level);
            }
            return;
        }
        self.stood = self.stood.saturating_add(1);
        self.bad_windows = if verdict == Verdict::Bad { self.bad_windows + 1 } else { 0 };
        if self.bad_windows == BAD_WINDOWS {
            if self.stood >= SETTLED_WINDOWS {
                self.retry = RETRY_MIN;
            }
            (self.stood, self.bad_windows) = (0, 0);
            self.fall(now, level);
        }
    }

    fn fall(&mut self, now: Time, from: Level) {
        self.most = from.below();
        self.try_at = now + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }
}

impl Window {
    fn verdict(self) -> Verdict {
        let saved = self.plain.saturating_sub(self.wire);
        let within = |percent, nanos| {
            self.wire * 100 <= self.plain * percent && self.nanos <= saved.saturating_mul(nanos)
        };
        if within(GOOD_PERCENT, GOOD_NANOS) {
            Verdict::Good
        } else if within(BAD_PERCENT, BAD_NANOS) {
            Verdict::Fair
        } else {
            Verdict::Bad
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose bytes become so many of a hundred, at a cost a plain byte.
    struct Play {
        worth: Worth,
        wanted: Level,
        now: Time,
        changes: usize,
    }

    impl Play {
        fn new(wanted: Level) -> Self {
            let now = Time::from_nanos(1_000_000_000_000);
            Self { worth: Worth::default(), wanted, now, changes: 0 }
        }

        fn level(&self) -> Level {
            self.worth.level(self.wanted)
        }

        /// One window every tenth of a second.
        fn run(&mut self, windows: usize, percent: u64, nanos_per_byte: u64) -> Level {
            for _ in 0..windows {
                let before = self.level();
                let took = Duration::from_nanos(WINDOW_BYTES * nanos_per_byte);
                let wire = WINDOW_BYTES * percent / 100;
                self.now = self.now + Duration::from_millis(100);
                self.worth.note(self.now, self.wanted, WINDOW_BYTES, wire, took);
                self.changes += usize::from(self.level() != before);
            }
            self.level()
        }
    }

    #[test]
    fn what_pays_stays_as_the_round_trip_wants_it() {
        for wanted in [Level::Uncompressed, Level::Fast, Level::Better, Level::Best] {
            assert_eq!(Play::new(wanted).run(1000, 30, 5), wanted);
        }
    }

    #[test]
    fn what_does_not_compress_comes_down_a_level_at_a_time() {
        let mut play = Play::new(Level::Best);
        assert_eq!(play.run(1, 100, 1), Level::Best, "one bad window is none");
        assert_eq!(play.run(1, 100, 1), Level::Better);
        assert_eq!(play.run(2, 100, 1), Level::Fast);
        assert_eq!(play.run(2, 100, 1), Level::Uncompressed);
    }

    #[test]
    fn what_costs_more_than_it_saves_comes_down_as_well() {
        let mut play = Play::new(Level::Best);
        assert_eq!(play.run(2, 50, 39), Level::Best, "78 ns for a saved byte");
        assert_eq!(play.run(2, 50, 41), Level::Better, "82 ns for a saved byte");
    }

    #[test]
    fn what_compresses_again_goes_up_again() {
        let mut play = Play::new(Level::Better);
        assert_eq!(play.run(10, 100, 1), Level::Uncompressed);
        assert_eq!(play.run(200, 20, 2), Level::Better);
        let changes = play.changes;
        assert_eq!(play.run(1000, 20, 2), Level::Better);
        assert_eq!(play.changes, changes, "it stays there");
    }

    #[test]
    fn trying_in_vain_becomes_rare() {
        let mut play = Play::new(Level::Fast);
        play.run(10, 100, 1);
        let tries = |play: &mut Play, windows| {
            let before = play.changes;
            play.run(windows, 100, 1);
            (play.changes - before) / 2
        };
        // A hundred seconds first, then each thousand.
        let early = tries(&mut play, 1000);
        assert!((4..=7).contains(&early), "{early}");
        let late = tries(&mut play, 10_000);
        assert!((13..=17).contains(&late), "{late}");
    }

    #[test]
    fn a_ratio_around_the_bound_does_not_make_it_flap() {
        for spread in [1, 2, 4] {
            let mut play = Play::new(Level::Fast);
            let mut random = fastrand::Rng::with_seed(spread);
            for _ in 0..10_000 {
                let percent = random.u64(BAD_PERCENT - spread..=BAD_PERCENT + spread);
                play.run(1, percent, 1);
            }
            // A thousand seconds.
            assert!(play.changes < 60, "{spread}: {} changes", play.changes);
        }
    }

    #[test]
    fn a_picture_among_text_changes_nothing() {
        let mut play = Play::new(Level::Fast);
        for _ in 0..1000 {
            play.run(1, 100, 1);
            play.run(1, 20, 1);
        }
        assert_eq!(play.changes, 0);
    }

    #[test]
    fn below_the_first_threshold_nothing_is_tried() {
        let mut play = Play::new(Level::Fast);
        play.run(10, 100, 1);
        play.wanted = Level::Uncompressed;
        assert_eq!(play.run(10_000, 100, 1), Level::Uncompressed);
        assert!(!play.worth.trying);
    }
}
