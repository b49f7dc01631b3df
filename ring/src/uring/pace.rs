//! How long to spin before sleeping.
//!
//! A sleep and a wake cost more than everything else a small message costs, so a ring that expects
//! the next arrival soon polls for it. What "soon" means comes from the gaps between recent arrivals;
//! whether polling is welcome comes from the machine. Knows no ring: it is told of arrivals and
//! asked for a window.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::Time;

/// Whether a waiting ring polls before it sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// Polls while recent gaps between arrivals make the next one likely soon, only where another
    /// processor is there for the others, and not while the core is shared.
    #[default]
    Auto,
    /// Sleeps at once.
    Off,
    /// Never sleeps: for a core of one's own.
    Always,
    /// Polls so long after the last arrival.
    For(Duration),
}

/// Mean gaps up to this make the next arrival likely enough to poll for; 5,000 a second must count.
const GAP_MAX: Duration = Duration::from_micros(250);
/// How long after an arrival `Auto` polls: twice the largest mean gap, for arrivals that are late.
const WINDOW: Duration = Duration::from_micros(500);
/// When one sender brings so much, its turn is not polled after: it is ahead of us anyway, and two servers
/// on one core only keep each other from it. Measured (routed, 4 KiB): 12 % less CPU.
const BULK_BYTES: usize = 32 << 10;
/// A longer gap counts as this long, so that traffic after a pause is noticed within a few arrivals.
const GAP_COUNTED_MAX: Duration = Duration::from_millis(2);
/// How often a polling ring asks whether it was driven from its core.
const CHECK_EVERY: Duration = Duration::from_millis(1);
/// More involuntary switches than this between two checks: somebody as busy wants this core, too.
const SWITCHES_MAX: i64 = 8;
/// Checks after which a look is taken at what they found together.
const CHECKS: u32 = 10;
/// More involuntary switches than this in so many checks: others want the core now and then.
const SWITCHES_NOW_AND_THEN_MAX: i64 = 1;
/// But only when we have waited longer than this for the core meanwhile, a twentieth of the time: the
/// kernel's own threads are there everywhere, each for microseconds.
const WAITED_MAX: Duration = Duration::from_micros(500);
/// First and longest time without polling after the core was found to be shared now and then.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The same when somebody as busy shares it: trying again costs both of them.
const LONG_BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

#[derive(Debug)]
pub(super) struct Pace {
    mode: BusyPoll,
    /// Whether this machine has a processor to spare for polling.
    spare: bool,
    gap_nanos: u64,
    last_arrival: Time,
    /// Whether that brought bulk.
    bulk: bool,
    back_off: Duration,
    resume_at: Time,
    checked_at: Time,
    switches: i64,
    waited: Duration,
    /// Checks since the last look at them together, and what they found.
    checks: u32,
    found: Found,
    schedule: Option<fs::File>,
}

/// What a check finds: how the core was shared since the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Involuntary switches.
    driven_off: i64,
    /// How long this thread waited for its core.
    waited: Duration,
}

impl Pace {
    /// For a ring of the calling thread.
    pub(super) fn new(mode: BusyPoll) -> Self {
        Self {
            mode,
            spare: mode == BusyPoll::Auto && processors_online() > 1 && !quota_of_one_or_less(),
            gap_nanos: nanos(GAP_COUNTED_MAX),
            last_arrival: Time::ZERO,
            bulk: false,
            back_off: BACK_OFF.0,
            resume_at: Time::ZERO,
            checked_at: Time::ZERO,
            switches: 0,
            waited: Duration::ZERO,
            checks: 0,
            found: Found::default(),
            schedule: schedule(),
        }
    }

    /// Something came in: so many bytes from one sender at the most, none when a bell rang.
    pub(super) fn arrived(&mut self, now: Time, bytes: usize) {
        let gap = nanos((now - self.last_arrival).min(GAP_COUNTED_MAX));
        self.gap_nanos = self.gap_nanos - self.gap_nanos / 8 + gap / 8;
        self.last_arrival = now;
        self.bulk = bytes >= BULK_BYTES;
    }

    /// Until when to poll, seen from `now`; `None` for not at all.
    pub(super) fn poll_until(&self, now: Time) -> Option<Time> {
        match self.mode {
            BusyPoll::Off => None,
            BusyPoll::Always => Some(Time::MAX),
            BusyPoll::For(window) => self.window(window, now),
            // Other completions than arrivals, such as accepts and ends, open no window.
            BusyPoll::Auto => {
                let likely = self.gap_nanos <= nanos(GAP_MAX);
                let may = self.spare && likely && !self.bulk && now >= self.resume_at;
                may.then(|| self.window(WINDOW, now)).flatten()
            }
        }
    }

    fn window(&self, window: Duration, now: Time) -> Option<Time> {
        Some(self.last_arrival + window).filter(|end| *end > now)
    }

    /// Called now and then while polling: steps back when the core turns out to be shared.
    /// Returns whether polling may go on.
    pub(super) fn may_go_on(&mut self, now: Time) -> bool {
        if self.mode != BusyPoll::Auto || now - self.checked_at < CHECK_EVERY {
            return true;
        }
        let since_check = now - self.checked_at;
        let switches = involuntary_switches();
        // Where the system does not tell, switches alone must do.
        let waited = self.schedule.as_ref().and_then(waited);
        let waited = waited.unwrap_or(self.waited + WAITED_MAX * 2);
        let found = Found {
            driven_off: switches - self.switches,
            waited: waited.saturating_sub(self.waited),
        };
        (self.checked_at, self.switches, self.waited) = (now, switches, waited);
        // A count from before the last sleep says nothing about polling.
        if since_check > CHECK_EVERY * 4 {
            (self.checks, self.found) = (0, Found::default());
            return true;
        }
        self.judge(now, found)
    }

    /// Whether polling may go on after what a check has found.
    fn judge(&mut self, now: Time, found: Found) -> bool {
        self.checks += 1;
        self.found.driven_off += found.driven_off;
        self.found.waited += found.waited;
        if found.driven_off > SWITCHES_MAX {
            self.step_back(now, LONG_BACK_OFF);
            return false;
        }
        if self.checks < CHECKS {
            return true;
        }
        let all = std::mem::take(&mut self.found);
        self.checks = 0;
        if all.driven_off > SWITCHES_NOW_AND_THEN_MAX && all.waited > WAITED_MAX {
            self.step_back(now, BACK_OFF);
            return false;
        }
        if all.driven_off == 0 {
            self.back_off = (self.back_off - self.back_off / 8).max(BACK_OFF.0);
        }
        true
    }

    fn step_back(&mut self, now: Time, (first, longest): (Duration, Duration)) {
        let back_off = self.back_off.max(first);
        self.resume_at = now + back_off;
        // A long one found before is not cut short by a lighter finding.
        self.back_off = (back_off * 2).min(longest.max(back_off));
        (self.checks, self.found) = (0, Found::default());
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Processors that the system runs, whatever this process is bound to.
fn processors_online() -> usize {
    // SAFETY: takes and returns plain numbers.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(online).unwrap_or(1)
}

/// Whether a control group allows this process one processor's time or less.
fn quota_of_one_or_less() -> bool {
    let Ok(groups) = fs::read_to_string("/proc/self/cgroup") else { return false };
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let mut path = format!("/sys/fs/cgroup{own}");
    loop {
        if fs::read_to_string(format!("{path}/cpu.max")).is_ok_and(|max| is_one_or_less(&max)) {
            return true;
        }
        match path.rfind('/') {
            Some(at) if at >= "/sys/fs/cgroup".len() => path.truncate(at),
            _ => return false,
        }
    }
}

/// Reads "quota period", where the quota may be the word max.
fn is_one_or_less(cpu_max: &str) -> bool {
    let mut words = cpu_max.split_whitespace().map(str::parse::<u64>);
    matches!((words.next(), words.next()), (Some(Ok(quota)), Some(Ok(period))) if quota <= period)
}

/// Where the system tells how this thread is scheduled, if it does.
fn schedule() -> Option<fs::File> {
    fs::File::open("/proc/thread-self/schedstat").ok()
}

/// How long the thread has waited for a core so far.
fn waited(schedule: &fs::File) -> Option<Duration> {
    let mut text = [0; 64];
    let len = schedule.read_at(&mut text, 0).ok()?;
    // Time on a core, time waiting for one, and turns on one.
    let nanos = std::str::from_utf8(&text[..len]).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// How often this thread was driven from its core.
fn involuntary_switches() -> i64 {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes the structure passed, which outlives the call.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    usage.ru_nivcsw
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_nanos(micros * 1000)
    }

    fn found(driven_off: i64, waited_micros: u64) -> Found {
        Found { driven_off, waited: Duration::from_micros(waited_micros) }
    }

    fn after_arrivals_every(gap_micros: u64) -> Pace {
        let mut pace = Pace { spare: true, ..Pace::new(BusyPoll::Auto) };
        for n in 0..64 {
            pace.arrived(at(n * gap_micros), 100);
        }
        pace
    }

    #[test]
    fn auto_polls_for_five_thousand_a_second_and_not_for_one_thousand() {
        assert!(after_arrivals_every(200).poll_until(at(64 * 200)).is_some());
        assert!(after_arrivals_every(1000).poll_until(at(64 * 1000)).is_none());
    }

    #[test]
    fn bulk_is_not_polled_after() {
        let mut pace = after_arrivals_every(50);
        pace.arrived(at(64 * 50), BULK_BYTES);
        assert_eq!(pace.poll_until(at(64 * 50)), None);
        pace.arrived(at(65 * 50), 100);
        assert!(pace.poll_until(at(65 * 50)).is_some());
    }

    #[test]
    fn auto_needs_a_processor_to_spare() {
        let pace = Pace { spare: false, ..after_arrivals_every(10) };
        assert_eq!(pace.poll_until(at(640)), None);
    }

    /// Whether it would poll if something had come in just now.
    fn polls(pace: &mut Pace, now: Time) -> bool {
        pace.last_arrival = now;
        pace.poll_until(now).is_some()
    }

    #[test]
    fn somebody_as_busy_on_the_core_is_given_way_at_once_and_for_long() {
        let mut pace = after_arrivals_every(50);
        assert!(pace.judge(at(10_000), found(SWITCHES_MAX, 100)));
        assert!(!pace.judge(at(11_000), found(20, 100)));
        assert!(!polls(&mut pace, at(500_000)));
        assert!(polls(&mut pace, at(11_000 + 1_000_000)));
        assert!(!pace.judge(at(2_000_000), found(20, 100)));
        assert!(!polls(&mut pace, at(2_000_000 + 1_900_000)), "longer each time");
    }

    #[test]
    fn what_is_no_arrival_opens_no_window() {
        let pace = after_arrivals_every(50);
        let end = pace.last_arrival + WINDOW;
        assert_eq!(pace.poll_until(pace.last_arrival + WINDOW / 2), Some(end));
        assert_eq!(pace.poll_until(end), None);
    }

    #[test]
    fn a_core_that_is_shared_now_and_then_is_given_way_for_a_moment() {
        let mut pace = after_arrivals_every(50);
        let share = |n: &u64| pace.judge(at(10_000 + n * 1000), found(1, 100));
        assert_eq!((0..u64::from(CHECKS)).filter(share).count() + 1, CHECKS as usize);
        assert!(!polls(&mut pace, at(20_000)));
        assert!(polls(&mut pace, at(19_000 + 50_000)));
    }

    #[test]
    fn those_who_take_the_core_for_microseconds_are_not_given_way() {
        let mut pace = after_arrivals_every(50);
        assert!((0..1000).all(|n| pace.judge(at(10_000 + n * 1000), found(2, 40))));
    }

    #[test]
    fn the_system_tells_how_long_a_thread_has_waited() {
        let schedule = schedule().expect("a kernel that counts");
        let before = waited(&schedule).expect("an answer");
        assert!(waited(&schedule).expect("another answer") >= before);
    }

    #[test]
    fn a_window_counts_from_the_last_arrival() {
        let mut pace = Pace::new(BusyPoll::For(Duration::from_micros(50)));
        pace.arrived(at(100), 100);
        assert_eq!(pace.poll_until(at(120)), Some(at(150)));
        assert_eq!(pace.poll_until(at(150)), None);
    }

    #[test]
    fn a_quota_is_read_as_the_kernel_writes_it() {
        for (text, expected) in [
            ("max 100000", false),
            ("100000 100000", true),
            ("50000 100000", true),
            ("200000 100000", false),
            ("", false),
        ] {
            assert_eq!(is_one_or_less(text), expected, "{text:?}");
        }
    }
}
