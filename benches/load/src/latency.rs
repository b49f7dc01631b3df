//! Latencies as a histogram, and the `.hgrm` text that every HdrHistogram plotter reads.
//!
//! Values go in as nanoseconds and come out as microseconds.

use hdrhistogram::Histogram;
use std::fmt::Write as _;

/// Longest latency told apart: beyond it is counted as this long.
const LATENCY_NS_MAX: u64 = 600 * crate::sys::SECOND_NS;
/// Percentile lines between one halving of the distance to 100 % and the next.
const TICKS_PER_HALF: u32 = 5;
const NS_PER_US: f64 = 1000.0;
/// The first line of a percentile distribution.
const HGRM_HEAD: &str = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";

/// Latencies with three exact digits.
#[derive(Clone)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .expect("the bounds are constants that the histogram accepts");
        Self { histogram }
    }

    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    pub(crate) fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// Microseconds that `percent` (0 to 100) of the latencies do not exceed.
    pub(crate) fn percentile_us(&self, percent: f64) -> f64 {
        self.histogram.value_at_percentile(percent) as f64 / NS_PER_US
    }

    pub(crate) fn max_us(&self) -> f64 {
        self.histogram.max() as f64 / NS_PER_US
    }

    /// The percentile distribution as HdrHistogram's own programs print it, in microseconds.
    pub(crate) fn to_hgrm(&self) -> String {
        let mut text = String::from(HGRM_HEAD);
        let mut count = 0;
        for step in self.histogram.iter_quantiles(TICKS_PER_HALF) {
            count += step.count_since_last_iteration();
            let value = step.value_iterated_to() as f64 / NS_PER_US;
            push_line(&mut text, value, step.quantile_iterated_to(), count);
        }
        self.push_footer(&mut text);
        text
    }

    fn push_footer(&self, text: &mut String) {
        let mean = self.histogram.mean() / NS_PER_US;
        let deviation = self.histogram.stdev() / NS_PER_US;
        let (max, count, buckets) = (self.max_us(), self.len(), self.histogram.buckets());
        let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
        let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {count:12}]");
        let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {:12}]", 2048);
    }
}

fn push_line(text: &mut String, value: f64, share: f64, count: u64) {
    let _ = write!(text, "{value:12.3} {share:14.12} {count:10}");
    // The last line stands at 100 %, where the last column has no number.
    let _ = match share < 1.0 {
        true => writeln!(text, " {:14.2}", 1.0 / (1.0 - share)),
        false => writeln!(text),
    };
}

/// A percentile curve: what is drawn, and what a `.hgrm` file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    pub(crate) label: String,
    /// Share of all latencies (0 to 1) and the microseconds that they do not exceed, both ascending.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Reads a `.hgrm` file in microseconds.
    ///
    /// # Errors
    /// Says which line is not one of a percentile distribution.
    pub(crate) fn parse(label: &str, text: &str) -> Result<Self, String> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') || line.starts_with("Value") {
                continue;
            }
            let Some((share, value)) = parse_line(line) else {
                return Err(format!("line {number} is not `value percentile count`: {line:.40}"));
            };
            if points.last().is_some_and(|before| share < before.0 || value < before.1) {
                return Err(format!("line {number}: the percentiles do not ascend"));
            }
            points.push((share, value));
        }
        if points.is_empty() {
            return Err("no percentile in it".into());
        }
        Ok(Self { label: label.into(), points })
    }
}

fn parse_line(line: &str) -> Option<(f64, f64)> {
    let mut words = line.split_whitespace();
    let value: f64 = words.next()?.parse().ok()?;
    let share: f64 = words.next()?.parse().ok()?;
    words.next()?.parse::<u64>().ok()?;
    (value >= 0.0 && (0.0..=1.0).contains(&share)).then_some((share, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_to_a_thousand_us() -> Latencies {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|us| latencies.record(us * 1000));
        latencies
    }

    /// Microseconds at `share`, by the first point that reaches it.
    fn at(curve: &Curve, share: f64) -> f64 {
        curve.points.iter().find(|point| point.0 >= share).expect("a curve ends at 1").1
    }

    #[test]
    fn percentiles_come_back_within_two_thousandths() {
        let latencies = one_to_a_thousand_us();
        for (percent, us) in [(50.0, 500.0), (90.0, 900.0), (99.0, 990.0), (99.9, 999.0)] {
            let found = latencies.percentile_us(percent);
            assert!((found - us).abs() <= us / 500.0, "p{percent}: {found}");
        }
        assert_eq!(latencies.len(), 1000);
    }

    #[test]
    fn a_latency_beyond_the_range_is_kept_as_the_longest() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX);
        assert!(latencies.max_us() >= 600e6 * 0.999);
    }

    #[test]
    fn what_is_written_as_hgrm_reads_back() {
        let text = one_to_a_thousand_us().to_hgrm();
        let curve = Curve::parse("a", &text).unwrap();
        assert!((at(&curve, 0.5) - 500.0).abs() < 1.0, "{}", at(&curve, 0.5));
        assert!((at(&curve, 0.99) - 990.0).abs() < 2.0, "{}", at(&curve, 0.99));
        assert_eq!(curve.points.last().map(|point| point.0), Some(1.0));
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }

    #[test]
    fn the_hgrm_has_the_columns_that_plotters_expect() {
        let text = one_to_a_thousand_us().to_hgrm();
        let columns = |line: &str| line.split_whitespace().count();
        let rows = text.strip_prefix(HGRM_HEAD).unwrap().lines();
        let rows: Vec<&str> = rows.take_while(|line| !line.starts_with('#')).collect();
        let (last, others) = rows.split_last().unwrap();
        assert_eq!(columns(last), 3, "{last}");
        assert!(others.len() > 10 && others.iter().all(|row| columns(row) == 4), "{text}");
        assert_eq!(last.split_whitespace().nth(2), Some("1000"), "{last}");
    }

    #[test]
    fn the_hgrm_of_another_program_is_read() {
        let rows = " 0.921 0.00 1 1.00\n 3.000 0.50 10 2.00\n 12.000 1.00 20 inf\n#[Mean = 1]\n";
        let curve = Curve::parse("other", &format!("{HGRM_HEAD}{rows}")).unwrap();
        assert_eq!(curve.points, [(0.0, 0.921), (0.5, 3.0), (1.0, 12.0)]);
    }

    #[test]
    fn text_that_is_no_hgrm_is_refused() {
        for text in ["", "hello\n", "1 2 3\n", "1 0.5 x\n", "2 0.9 3\n1 0.5 9\n", "-1 0.5 1\n"] {
            assert!(Curve::parse("x", text).is_err(), "{text:?}");
        }
    }
}
