//! The broker's own latency histogram.
//!
//! A value falls into a log-linear bucket: sixteen steps a power of two, so that a percentile read
//! back is at most 1/16 above the truth. The table is fixed; recording is two shifts and one addition
//! and allocates nothing. The histogram knows no clock: callers hand in nanoseconds.
//!
//! Invariant: `count` is the sum of all buckets.

use std::time::Duration;

/// Counts of latencies from 0 ns to [`VALUE_MAX_NANOS`]; longer ones count as that long, but keep
/// their part in [`sum`](Self::sum_nanos) and [`max`](Self::max_nanos).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hist {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum_nanos: u64,
    max_nanos: u64,
}

impl Hist {
    /// An empty histogram; the only place that allocates.
    #[must_use]
    pub fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum_nanos: 0, max_nanos: 0 }
    }

    /// Counts one latency.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.record_n(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX), 1);
    }

    /// Counts one latency in nanoseconds.
    #[inline]
    pub fn record_nanos(&mut self, nanos: u64) {
        self.record_n(nanos, 1);
    }

    /// Counts `times` latencies of `nanos` nanoseconds each: a batch of messages that left together.
    #[inline]
    pub fn record_n(&mut self, nanos: u64, times: u64) {
        self.buckets[bucket_of(nanos)] += times;
        self.count += times;
        self.sum_nanos = self.sum_nanos.saturating_add(nanos.saturating_mul(times));
        if times > 0 {
            self.max_nanos = self.max_nanos.max(nanos);
        }
    }

    /// Adds what another histogram counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    /// How many latencies were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all latencies in nanoseconds; it stays at the largest number instead of wrapping.
    #[must_use]
    pub const fn sum_nanos(&self) -> u64 {
        self.sum_nanos
    }

    /// The longest latency in nanoseconds, exactly; zero when nothing was counted.
    #[must_use]
    pub const fn max_nanos(&self) -> u64 {
        self.max_nanos
    }

    /// The latency in nanoseconds that `percent` of all (0 to 100) do not exceed. It is the upper
    /// edge of a bucket, so at most 1/16 too high and never too low; zero when nothing was counted.
    #[must_use]
    pub fn percentile_nanos(&self, percent: f64) -> u64 {
        let rank = self.rank(percent);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return if bucket == BUCKETS - 1 {
                    self.max_nanos
                } else {
                    highest_of(bucket).min(self.max_nanos)
                };
            }
        }
        self.max_nanos
    }

    /// Cumulative counts under [`CLASSIC_BOUNDS_NANOS`], for a classic Prometheus histogram (whose
    /// `+Inf` is [`count`](Self::count)). A latency counts under a bound only when its whole bucket
    /// lies there: the figure is never too good.
    #[must_use]
    pub fn classic(&self) -> [u64; CLASSIC_BOUNDS_NANOS.len()] {
        let mut bucket = 0;
        let mut seen = 0;
        CLASSIC_BOUNDS_NANOS.map(|bound| {
            while bucket < BUCKETS && highest_of(bucket) <= bound {
                seen += self.buckets[bucket];
                bucket += 1;
            }
            seen
        })
    }

    /// Which observation, from 1, stands at `percent`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is rounded up anyway, and the clamp keeps it in range"
    )]
    fn rank(&self, percent: f64) -> u64 {
        let share = percent.clamp(0.0, 100.0) / 100.0;
        ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1))
    }
}

impl Default for Hist {
    fn default() -> Self {
        Self::new()
    }
}

/// The bucket that counts `nanos`.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.min(VALUE_MAX_NANOS);
    // Below 2 * STEPS the step is one nanosecond, so the first two rows of the table are one run.
    let shift = (nanos | (STEPS - 1)).ilog2() + 1 - STEP_BITS;
    let shift = shift.saturating_sub(1);
    // The sum stays under BUCKETS (checked below at compile time), far inside any usize.
    #[expect(clippy::cast_possible_truncation, reason = "the value is a bucket's number")]
    let bucket = (u64::from(shift) * STEPS + (nanos >> shift)) as usize;
    bucket.min(BUCKETS - 1)
}

/// The largest value that `bucket` counts.
const fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let step = bucket % STEPS + STEPS;
    ((step + 1) << shift) - 1
}

/// The bounds of the classic histogram in nanoseconds: 1 us to 1 s.
pub const CLASSIC_BOUNDS_NANOS: [u64; 19] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
];

/// The longest latency with a bucket of its own: 2^36 - 1 ns, 68.7 s.
pub const VALUE_MAX_NANOS: u64 = (1 << VALUE_BITS) - 1;

const VALUE_BITS: u32 = 36;
const STEP_BITS: u32 = 4;
const STEPS: u64 = 1 << STEP_BITS;
const BUCKETS: usize = ((VALUE_BITS - STEP_BITS + 1) as usize) << STEP_BITS;

const _: () = assert!(highest_of(BUCKETS - 1) == VALUE_MAX_NANOS, "the table ends at its maximum");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_bucket_begins_where_the_one_before_ends() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(highest_of(bucket)), bucket, "upper edge of {bucket}");
            let next = (bucket + 1).min(BUCKETS - 1);
            assert_eq!(bucket_of(highest_of(bucket) + 1), next, "above the edge of {bucket}");
        }
    }

    #[test]
    fn a_percentile_of_known_values_is_their_bucket() {
        let mut hist = Hist::new();
        (1..=1000_u64).for_each(|micros| hist.record(Duration::from_micros(micros)));
        let check = |percent, exact: u64| {
            let got = hist.percentile_nanos(percent);
            assert!((exact..=exact + exact / 16).contains(&got), "{percent}: {got}, not {exact}");
        };
        check(0.0, 1_000);
        check(50.0, 500_000);
        check(99.0, 990_000);
        check(100.0, 1_000_000);
        assert_eq!((hist.count(), hist.max_nanos()), (1000, 1_000_000));
        assert_eq!(hist.sum_nanos(), 500_500_000);
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        let hist = Hist::new();
        assert_eq!(hist.percentile_nanos(99.0), 0);
        assert_eq!(hist.classic(), [0; CLASSIC_BOUNDS_NANOS.len()]);
    }

    #[test]
    fn a_latency_beyond_the_table_keeps_its_maximum() {
        let mut hist = Hist::new();
        hist.record(Duration::MAX);
        hist.record_n(u64::MAX, 2);
        assert_eq!((hist.count(), hist.sum_nanos()), (3, u64::MAX));
        assert_eq!(hist.percentile_nanos(50.0), u64::MAX);
    }

    #[test]
    fn classic_buckets_are_cumulative_and_never_too_good() {
        let mut hist = Hist::new();
        hist.record_n(900, 3);
        hist.record_n(1_000, 1);
        hist.record_n(2_000_000_000, 5);
        let classic = hist.classic();
        assert_eq!(classic[0], 3, "1,000 ns shares a bucket with longer ones");
        assert_eq!(classic[1..], [4; CLASSIC_BOUNDS_NANOS.len() - 1]);
    }

    proptest! {
        #[test]
        fn a_value_read_back_is_at_most_a_sixteenth_too_high(nanos in 0..=VALUE_MAX_NANOS) {
            let edge = highest_of(bucket_of(nanos));
            prop_assert!(edge >= nanos && edge - nanos <= nanos / 16, "{nanos} reads {edge}");
        }

        #[test]
        fn merging_counts_as_if_recorded_together(
            left in proptest::collection::vec(any::<u32>(), 0..50),
            right in proptest::collection::vec(any::<u32>(), 0..50),
        ) {
            let of = |values: &[u32]| {
                let mut hist = Hist::new();
                values.iter().for_each(|v| hist.record_nanos(u64::from(*v)));
                hist
            };
            let mut merged = of(&left);
            merged.merge(&of(&right));
            prop_assert_eq!(merged, of(&[left, right].concat()));
        }
    }
}
