//! How hard the sender tries to make its bytes few.

use std::time::Duration;

use super::Mode;

/// What a sender spends on compression. Each direction of a connection has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Frames and checksums alone.
    Uncompressed,
    /// Greedy matching with one small table.
    Fast,
    /// Two tables, and a look at the next position before a match is taken.
    Better,
    /// A search through chains of earlier positions.
    Best,
}

impl Level {
    /// The level's name, as peers have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uncompressed => Mode::Uncompressed.as_str(),
            Self::Fast => Mode::Fast.as_str(),
            Self::Better => Mode::Better.as_str(),
            Self::Best => Mode::Best.as_str(),
        }
    }

    /// The next lower one; the lowest is its own.
    #[must_use]
    pub const fn below(self) -> Self {
        match self {
            Self::Uncompressed | Self::Fast => Self::Uncompressed,
            Self::Better => Self::Fast,
            Self::Best => Self::Better,
        }
    }

    /// The next higher one; the highest is its own.
    #[must_use]
    pub const fn above(self) -> Self {
        match self {
            Self::Uncompressed => Self::Fast,
            Self::Fast => Self::Better,
            Self::Better | Self::Best => Self::Best,
        }
    }

    /// The level of a connection in a mode that compresses, with this round trip.
    #[must_use]
    pub fn of(mode: Mode, rtt: Duration, thresholds: &[Duration]) -> Self {
        match mode {
            Mode::Auto => level_for_rtt(rtt, thresholds),
            Mode::Uncompressed => Self::Uncompressed,
            Mode::Better => Self::Better,
            Mode::Best => Self::Best,
            Mode::Fast | Mode::Off | Mode::NotSupported | Mode::Accept => Self::Fast,
        }
    }
}

/// The levels in the order of the thresholds below which they are used.
const BY_THRESHOLD: [Level; 3] = [Level::Uncompressed, Level::Fast, Level::Better];

/// The level of `s2_auto` for a connection with this round trip.
///
/// The thresholds ascend; the first that the round trip does not exceed names the level, and above
/// all three it is [`Level::Best`]. A threshold of 0 leaves its level out. With fewer than three the
/// last one named is also the highest.
#[must_use]
pub fn level_for_rtt(rtt: Duration, thresholds: &[Duration]) -> Level {
    let below = thresholds.iter().position(|threshold| !threshold.is_zero() && rtt <= *threshold);
    let index = below.unwrap_or_else(|| match thresholds.len() {
        count @ (1 | 2) => count - 1,
        _none_or_all => BY_THRESHOLD.len(),
    });
    BY_THRESHOLD.get(index).copied().unwrap_or(Level::Best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rtt_ms: u64, thresholds_ms: &[u64], expected: Level) {
        let thresholds: Vec<_> =
            thresholds_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let level = level_for_rtt(Duration::from_millis(rtt_ms), &thresholds);
        assert_eq!(level, expected, "{rtt_ms} ms with {thresholds_ms:?}");
    }

    #[test]
    fn a_longer_round_trip_is_worth_more_compression() {
        check(0, &[10, 50, 100], Level::Uncompressed);
        check(10, &[10, 50, 100], Level::Uncompressed);
        check(11, &[10, 50, 100], Level::Fast);
        check(50, &[10, 50, 100], Level::Fast);
        check(51, &[10, 50, 100], Level::Better);
        check(100, &[10, 50, 100], Level::Better);
        check(101, &[10, 50, 100], Level::Best);
    }

    #[test]
    fn a_threshold_of_zero_leaves_its_level_out() {
        check(0, &[0, 50, 100], Level::Fast);
        check(5, &[10, 0, 100], Level::Uncompressed);
        check(20, &[10, 0, 100], Level::Better);
        check(20, &[0, 0, 10], Level::Best);
    }

    #[test]
    fn a_short_list_ends_with_its_last_level() {
        check(500, &[10], Level::Uncompressed);
        check(500, &[10, 50], Level::Fast);
    }
}
