//! What the kernel says about this process: resident memory, processor time, cores.

use std::fs;
use std::time::Duration;

use ring::Time;

/// Measures the process's use of the processor between two looks.
#[derive(Debug, Default)]
pub struct ProcessMeter {
    looked: Option<Look>,
    cpu_percent: f64,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Time,
    busy: Duration,
}

impl ProcessMeter {
    /// Percent of one core that the process used since the last look that lies at least a second
    /// back; the first time since `start`.
    pub fn cpu_percent(&mut self, start: Time, now: Time) -> f64 {
        let before = self.looked.unwrap_or(Look { at: start, busy: Duration::ZERO });
        let span = now.since(before.at);
        if self.looked.is_none() || span >= LOOK_INTERVAL_MIN {
            let busy = cpu_time().unwrap_or(before.busy);
            self.cpu_percent = percent(busy.saturating_sub(before.busy), span);
            self.looked = Some(Look { at: now, busy });
        }
        self.cpu_percent
    }
}

/// Percent to one digit, as the peer gives it.
fn percent(busy: Duration, span: Duration) -> f64 {
    if span.is_zero() {
        return 0.0;
    }
    (busy.as_secs_f64() / span.as_secs_f64() * 1000.0).round() / 10.0
}

/// Bytes of memory that the process has in core; zero when `/proc` is not there.
#[must_use]
pub fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Cores that the process may use.
#[must_use]
pub fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

/// Processor time of the process, user and system.
fn cpu_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in parentheses and may contain anything; the numbers follow the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// The kernel counts in ticks of some ms, so a shorter span says little.
const LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_and_answers() {
        assert!(resident_bytes() > 1_000_000);
        assert!(cores() > 0);
        assert!(cpu_time().is_some());
    }

    #[test]
    fn use_of_the_processor_is_a_percentage_of_one_core() {
        assert_eq!(percent(Duration::from_millis(505), Duration::from_secs(2)), 25.3);
        assert_eq!(percent(Duration::from_secs(1), Duration::ZERO), 0.0);
    }

    #[test]
    fn two_looks_within_a_second_read_the_same() {
        let mut meter = ProcessMeter::default();
        let at = Time::from_nanos(2_000_000_000);
        let first = meter.cpu_percent(Time::ZERO, at);
        assert_eq!(meter.cpu_percent(Time::ZERO, at + Duration::from_millis(999)), first);
    }
}
