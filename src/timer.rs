//! Deadlines of one shard: a hierarchical timer wheel.
//!
//! Each level has 64 slots, each as wide as the whole level below; together they reach to the end
//! of time. An entry lies at the level where its tick first differs from the wheel's, so an entry
//! that is far off is touched once a level on its way down, and an empty stretch of time costs
//! nothing, however long. Nothing is ever cancelled: the owner of a key asks itself, when the key
//! comes due, whether it still matters.
//!
//! Invariant: at every level, the occupied slots lie after the one that holds the wheel's tick, and
//! all slots of a level come before those of the next.

use std::time::Duration;

use ring::Time;

/// Keys, each with the time it is due.
#[derive(Debug)]
pub struct Wheel<K> {
    /// Everything up to this tick, inclusive, has come due.
    tick: u64,
    entries: Vec<Entry<K>>,
    /// The first of the unused entries.
    unused: u32,
    /// The first of the entries that were due when they were scheduled.
    overdue: u32,
    len: usize,
    levels: Box<[Level; LEVELS]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    tick: u64,
    key: K,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// One bit a slot.
    occupied: u64,
    first: [u32; SLOTS],
    /// The earliest tick in the slot, while it is occupied.
    earliest: [u64; SLOTS],
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel that begins at `now`.
    #[must_use]
    pub fn new(now: Time) -> Self {
        let level = Level { occupied: 0, first: [NIL; SLOTS], earliest: [u64::MAX; SLOTS] };
        Self {
            tick: tick_before(now),
            entries: Vec::new(),
            unused: NIL,
            overdue: NIL,
            len: 0,
            levels: Box::new([level; LEVELS]),
        }
    }

    /// Lets `key` come due at `at`, rounded up to the next tick of [`TICK`]; when that is past, with
    /// the next [`advance`](Self::advance).
    pub fn schedule(&mut self, at: Time, key: K) {
        let entry = Entry { tick: tick_after(at), key, next: NIL };
        let index = self.take_unused(entry);
        self.len += 1;
        self.link(index);
    }

    /// Moves on to `now`, and appends to `due` every key whose time has come. The order of those
    /// that come due together says nothing.
    pub fn advance(&mut self, now: Time, due: &mut Vec<K>) {
        let target = tick_before(now).max(self.tick);
        let mut passed = std::mem::replace(&mut self.overdue, NIL);
        while let Some((level, slot)) = self.earliest_slot() {
            if self.slot_start(level, slot) > target {
                break;
            }
            passed = self.prepend(level, slot, passed);
        }
        self.tick = target;
        self.sort_out(passed, due);
        if self.is_empty() && self.entries.capacity() > ENTRIES_KEPT {
            (self.entries, self.unused) = (Vec::new(), NIL);
        }
    }

    /// When the earliest key comes due, to the tick; nothing when the wheel is empty.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let tick = if self.overdue == NIL {
            let (level, slot) = self.earliest_slot()?;
            self.levels[level].earliest[slot]
        } else {
            self.tick
        };
        Some(Time::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// How many keys are scheduled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key is scheduled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn take_unused(&mut self, entry: Entry<K>) -> u32 {
        if self.unused == NIL {
            self.entries.push(entry);
            return u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 timers");
        }
        let index = self.unused;
        self.unused = std::mem::replace(&mut self.entries[index as usize], entry).next;
        index
    }

    /// Puts an entry where its tick belongs as seen from the wheel's tick.
    fn link(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if entry.tick <= self.tick {
            entry.next = std::mem::replace(&mut self.overdue, index);
            return;
        }
        let depth = (entry.tick ^ self.tick).ilog2() as usize / SLOT_BITS;
        let slot = slot_of(entry.tick, depth);
        let level = &mut self.levels[depth];
        if level.occupied & 1 << slot == 0 {
            level.occupied |= 1 << slot;
            level.earliest[slot] = entry.tick;
        }
        level.earliest[slot] = level.earliest[slot].min(entry.tick);
        entry.next = std::mem::replace(&mut level.first[slot], index);
    }

    fn earliest_slot(&self) -> Option<(usize, usize)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        Some((level, self.levels[level].occupied.trailing_zeros() as usize))
    }

    /// The first tick of a slot that lies ahead.
    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = level * SLOT_BITS;
        let above = self.tick >> shift >> SLOT_BITS << SLOT_BITS;
        (above | slot as u64) << shift
    }

    /// Empties a slot into the list that begins with `rest`.
    fn prepend(&mut self, level: usize, slot: usize, rest: u32) -> u32 {
        let level = &mut self.levels[level];
        level.occupied &= !(1 << slot);
        let first = std::mem::replace(&mut level.first[slot], NIL);
        let mut last = first;
        while self.entries[last as usize].next != NIL {
            last = self.entries[last as usize].next;
        }
        self.entries[last as usize].next = rest;
        first
    }

    /// Hands out what is due of a list, and links the rest again, further down.
    fn sort_out(&mut self, mut next: u32, due: &mut Vec<K>) {
        while next != NIL {
            let index = next;
            let entry = &mut self.entries[index as usize];
            next = entry.next;
            if entry.tick <= self.tick {
                due.push(entry.key);
                entry.next = std::mem::replace(&mut self.unused, index);
                self.len -= 1;
            } else {
                self.link(index);
            }
        }
    }
}

/// How finely the wheel tells times apart: a key is never early, and late by less than this.
pub const TICK: Duration = Duration::from_nanos(TICK_NANOS);

fn tick_before(time: Time) -> u64 {
    time.nanos() / TICK_NANOS
}

fn tick_after(time: Time) -> u64 {
    time.nanos().div_ceil(TICK_NANOS)
}

fn slot_of(tick: u64, level: usize) -> usize {
    (tick >> (level * SLOT_BITS) & 0x3f) as usize
}

const TICK_NANOS: u64 = 4_000_000;
const SLOT_BITS: usize = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough levels for every tick of a [`Time`].
const LEVELS: usize = 8;

/// A wheel with room for so many entries does not bother to give it back when it is empty.
const ENTRIES_KEPT: usize = 16 << 10;

/// No entry.
const NIL: u32 = u32::MAX;

const _: () = assert!((u64::MAX / TICK_NANOS) >> (LEVELS * SLOT_BITS) == 0);
const _: () = assert!(size_of::<Entry<u64>>() == 24);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The simplest thing that could be right: all entries in a list.
    struct Model {
        now: u64,
        entries: Vec<(u64, u32)>,
    }

    impl Model {
        fn new(now: u64) -> (Self, Wheel<u32>) {
            (Self { now, entries: Vec::new() }, Wheel::new(Time::from_nanos(now)))
        }

        fn schedule(&mut self, wheel: &mut Wheel<u32>, at: u64, key: u32) {
            self.entries.push((at, key));
            wheel.schedule(Time::from_nanos(at), key);
        }

        /// Moves both on, and holds the wheel to its promises.
        fn advance(&mut self, wheel: &mut Wheel<u32>, now: u64) {
            self.now = self.now.max(now);
            let mut due = Vec::new();
            wheel.advance(Time::from_nanos(now), &mut due);
            due.sort_unstable();
            for key in due {
                let place = self.entries.iter().position(|entry| entry.1 == key);
                let (at, _) = self.entries.swap_remove(place.expect("due once"));
                assert!(at <= self.now, "early: {at} at {now}");
            }
            let late = self.entries.iter().find(|entry| entry.0 + TICK_NANOS <= self.now);
            assert_eq!(late, None, "late at {now}");
            self.check_deadline(wheel);
        }

        fn check_deadline(&self, wheel: &Wheel<u32>) {
            assert_eq!(wheel.len(), self.entries.len());
            let earliest = self.entries.iter().map(|entry| entry.0).min();
            let told = wheel.next_deadline().map(Time::nanos);
            assert_eq!(told.is_some(), earliest.is_some());
            if let (Some(told), Some(earliest)) = (told, earliest) {
                let range = earliest..=earliest.saturating_add(TICK_NANOS - 1);
                let is_past = earliest <= self.now && told <= self.now;
                assert!(range.contains(&told) || is_past, "told {told} for {earliest}");
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u64),
        Advance(u64),
        /// As a shard does: sleep until the wheel says.
        Sleep,
    }

    fn span() -> impl Strategy<Value = u64> {
        (0_u32..48).prop_flat_map(|bits| 0_u64..(1 << bits) + 1)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => span().prop_map(Step::Schedule),
            2 => span().prop_map(Step::Advance),
            2 => Just(Step::Sleep),
        ]
    }

    proptest! {
        #[test]
        fn a_key_comes_due_once_never_early_and_less_than_a_tick_late(
            start in span(),
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let (mut model, mut wheel) = Model::new(start);
            for (key, step) in (0..).zip(steps) {
                match step {
                    Step::Schedule(span) => {
                        let at = (model.now + span).saturating_sub(TICK_NANOS * 2);
                        model.schedule(&mut wheel, at, key);
                    }
                    Step::Advance(span) => {
                        let now = model.now + span;
                        model.advance(&mut wheel, now);
                    }
                    Step::Sleep => {
                        let now = wheel.next_deadline().map_or(model.now, Time::nanos);
                        model.advance(&mut wheel, now);
                    }
                }
            }
            while let Some(at) = wheel.next_deadline() {
                model.advance(&mut wheel, at.nanos());
            }
            prop_assert!(model.entries.is_empty());
        }
    }

    #[test]
    fn sleeping_until_the_deadline_wakes_once_for_a_far_key() {
        let mut wheel = Wheel::new(Time::from_nanos(123_456_789));
        let at = Time::from_nanos(123_456_789) + Duration::from_secs(120);
        wheel.schedule(at, 1);
        let mut due = Vec::new();
        wheel.advance(wheel.next_deadline().unwrap(), &mut due);
        assert_eq!(due, [1]);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_key_that_is_past_comes_due_with_the_next_advance_even_at_the_same_time() {
        let now = Time::from_nanos(50 * TICK_NANOS);
        let mut wheel = Wheel::new(now);
        wheel.schedule(Time::ZERO, 1);
        wheel.schedule(now, 2);
        assert_eq!(wheel.next_deadline(), Some(now));
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due.sort_unstable();
        assert_eq!(due, [1, 2]);
    }

    #[test]
    fn a_clock_that_stands_or_steps_back_moves_nothing() {
        let mut wheel = Wheel::new(Time::from_nanos(1000 * TICK_NANOS));
        wheel.schedule(Time::from_nanos(1001 * TICK_NANOS), 1);
        let mut due = Vec::new();
        wheel.advance(Time::ZERO, &mut due);
        assert!(due.is_empty());
        wheel.advance(Time::from_nanos(1001 * TICK_NANOS), &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn the_end_of_time_is_a_deadline_like_any_other() {
        let mut wheel = Wheel::new(Time::ZERO);
        wheel.schedule(Time::MAX, 1);
        wheel.schedule(Time::from_nanos(1), 2);
        let mut due = Vec::new();
        wheel.advance(Time::from_nanos(u64::MAX / 2), &mut due);
        assert_eq!(due, [2]);
        assert!(wheel.next_deadline().is_some());
    }

    #[test]
    fn a_jump_of_years_brings_everything_at_once() {
        let mut wheel = Wheel::new(Time::ZERO);
        for key in 0..10_000_u64 {
            wheel.schedule(Time::from_nanos(key * 12_345_678_901), key);
        }
        let mut due = Vec::new();
        wheel.advance(Time::ZERO + Duration::from_secs(10 * 365 * 86_400), &mut due);
        due.sort_unstable();
        assert_eq!(due, (0..10_000).collect::<Vec<_>>());
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_key_comes_down_through_every_level() {
        for bits in 0..63 {
            for at in [1_u64 << bits, (1 << bits) + TICK_NANOS, (1 << bits) - 1] {
                let (mut model, mut wheel) = Model::new(0);
                model.schedule(&mut wheel, at, 1);
                // One wake-up for each power of two, as other keys would bring them.
                for passed in 0..=bits {
                    model.advance(&mut wheel, (1 << passed) - 1);
                }
                let deadline = wheel.next_deadline().map_or(at, Time::nanos);
                model.advance(&mut wheel, deadline);
                assert!(model.entries.is_empty(), "{at}");
            }
        }
    }

    #[test]
    fn a_crowd_that_has_left_gives_its_memory_back() {
        let mut wheel = Wheel::new(Time::ZERO);
        (0..100_000).for_each(|key| wheel.schedule(Time::from_nanos(1), key));
        let mut due = Vec::new();
        wheel.advance(Time::from_nanos(TICK_NANOS), &mut due);
        assert_eq!((due.len(), wheel.entries.capacity()), (100_000, 0));
        wheel.schedule(Time::ZERO, 1);
        wheel.advance(Time::ZERO, &mut due);
        assert_eq!(due.len(), 100_001);
    }

    #[test]
    fn a_warm_wheel_keeps_its_entries() {
        let mut wheel = Wheel::new(Time::ZERO);
        let mut due = Vec::new();
        for round in 0..1000_u64 {
            for key in 0..10 {
                wheel.schedule(Time::from_nanos((round * 7 + key) * TICK_NANOS), key);
            }
            due.clear();
            wheel.advance(Time::from_nanos((round * 7 + 20) * TICK_NANOS), &mut due);
            assert_eq!(due.len(), 10);
        }
        assert_eq!(wheel.entries.len(), 10);
    }
}
