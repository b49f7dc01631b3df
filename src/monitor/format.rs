//! Values in the form in which nats-server prints them: Go's JSON, times and durations.

use std::time::Duration;

use jiff::Timestamp;
use ring::Time;
use serde::{Serialize, Serializer};

/// JSON, indented by two spaces, with the characters escaped that mean something in HTML.
pub(super) fn json(value: &impl Serialize) -> String {
    escape_html(&serde_json::to_string_pretty(value).expect(PLAIN))
}

/// JSON in one line, escaped the same way.
pub(super) fn json_compact(value: &impl Serialize) -> String {
    escape_html(&serde_json::to_string(value).expect(PLAIN))
}

pub(super) const PLAIN: &str = "a plain struct with string keys always has a JSON form";

/// In JSON these characters occur only inside strings, so they can be replaced wherever they stand.
fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 16);
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

/// A time as RFC 3339 in UTC, with as many fractional digits as it needs.
pub(super) fn time(time: Time) -> String {
    let nanos = i128::from(time.nanos());
    Timestamp::from_nanosecond(nanos).map_or_else(|_| String::new(), |at| at.to_string())
}

/// How long something has lasted, in whole seconds: `1y2d3h4m5s`.
pub(super) fn uptime(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let years = days / 365;
    if years > 0 {
        format!("{years}y{}d{}h{}m{}s", days % 365, hours % 24, minutes % 60, seconds % 60)
    } else if days > 0 {
        format!("{days}d{}h{}m{}s", hours % 24, minutes % 60, seconds % 60)
    } else if hours > 0 {
        format!("{hours}h{}m{}s", minutes % 60, seconds % 60)
    } else if minutes > 0 {
        format!("{minutes}m{}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// A duration in Go's form: `1m2.5s`, `1.5ms`, `424µs`.
pub(super) fn duration(span: Duration) -> String {
    let nanos = span.as_nanos();
    let fraction = |unit: u128, digits: usize, name: &str| {
        let text = format!("{}.{:0digits$}", nanos / unit, nanos % unit);
        format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(1_000, 3, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, 6, "ms"),
        _ => whole_minutes(span.as_secs(), &fraction),
    }
}

/// Hours and minutes apart, then the seconds with their fraction.
fn whole_minutes(seconds: u64, fraction: &impl Fn(u128, usize, &str) -> String) -> String {
    let all = fraction(1_000_000_000, 9, "");
    let tail = all.split_once('.').map_or_else(String::new, |(_, digits)| format!(".{digits}"));
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = format!("{}{tail}s", seconds % 60);
    if hours > 0 {
        format!("{hours}h{minutes}m{rest}")
    } else if minutes > 0 {
        format!("{minutes}m{rest}")
    } else {
        rest
    }
}

/// A floating-point number, printed without a fraction when it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Float(pub(super) f64);

impl Float {
    /// With three digits after the point, which is more than measuring gives.
    pub(super) fn rounded(self) -> Self {
        Self((self.0 * 1000.0).round() / 1000.0)
    }

    /// For `skip_serializing_if`.
    pub(super) fn is_zero(&self) -> bool {
        self.0 == 0.0
    }
}

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < WHOLE_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number under 2^53")]
            return serializer.serialize_i64(self.0 as i64);
        }
        serializer.serialize_f64(self.0)
    }
}

/// Up to here every whole number has a floating-point form of its own.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The quotient of two counts; zero when nothing was counted.
pub(super) fn ratio(part: u64, whole: u64) -> Float {
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
    Float(if whole == 0 { 0.0 } else { part as f64 / whole as f64 })
}

/// A duration in nanoseconds, as configuration values are reported.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// For `skip_serializing_if`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
pub(super) const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// For `skip_serializing_if`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_as_in_go() {
        let check = |nanos, text: &str| assert_eq!(duration(Duration::from_nanos(nanos)), text);
        check(0, "0s");
        check(1, "1ns");
        check(424_000, "424µs");
        check(1_100, "1.1µs");
        check(1_500_000, "1.5ms");
        check(1_000_000_000, "1s");
        check(1_000_000_001, "1.000000001s");
        check(62_500_000_000, "1m2.5s");
        check(3_600_000_000_000, "1h0m0s");
    }

    #[test]
    fn an_uptime_leaves_out_leading_zeros_only() {
        let check = |seconds, text: &str| assert_eq!(uptime(Duration::from_secs(seconds)), text);
        check(0, "0s");
        check(60, "1m0s");
        check(3_601, "1h0m1s");
        check(86_400, "1d0h0m0s");
        check(366 * 86_400 + 62, "1y1d0h1m2s");
    }

    #[test]
    fn a_time_has_the_digits_it_needs() {
        let check = |nanos, text: &str| assert_eq!(time(Time::from_nanos(nanos)), text);
        check(0, "1970-01-01T00:00:00Z");
        check(1_795_425_444_949_520_000, "2026-11-23T09:17:24.94952Z");
    }

    #[test]
    fn json_escapes_what_means_something_in_html() {
        assert_eq!(json_compact(&"a<b>&c\u{2028}µ\n"), r#""a\u003cb\u003e\u0026c\u2028µ\n""#);
    }

    #[test]
    fn a_whole_number_has_no_fraction() {
        let check = |value, text: &str| assert_eq!(json_compact(&Float(value)), text);
        check(0.0, "0");
        check(2.0, "2");
        check(1.0 / 6.0, "0.16666666666666666");
        check(0.5, "0.5");
    }
}
