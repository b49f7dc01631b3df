//! The timer wheel in its steady state: each tick one key comes due and another is scheduled.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use ring::Time;
use ringmesh::timer::{TICK, Wheel};

/// Two minutes, as between two pings.
const TICKS_AHEAD_MAX: u32 = 30_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer");
    group.throughput(Throughput::Elements(1));
    let mut turning = None;
    group.bench_function("schedule and advance", |bencher| {
        let turning = turning.get_or_insert_with(Turning::new);
        bencher.iter(|| turning.tick());
    });
}

struct Turning {
    wheel: Wheel<u32>,
    now: Time,
    due: Vec<u32>,
    random: fastrand::Rng,
}

impl Turning {
    fn new() -> Self {
        let (wheel, random) = (Wheel::new(Time::ZERO), fastrand::Rng::with_seed(1));
        let mut turning = Self { wheel, now: Time::ZERO, due: Vec::new(), random };
        // After so many ticks as many keys come due as are scheduled.
        (0..TICKS_AHEAD_MAX).for_each(|_| _ = turning.tick());
        turning
    }

    fn tick(&mut self) -> usize {
        let ahead: Duration = TICK * self.random.u32(..TICKS_AHEAD_MAX);
        self.wheel.schedule(self.now + ahead, 1);
        self.now = self.now + TICK;
        self.due.clear();
        self.wheel.advance(self.now, &mut self.due);
        self.due.len()
    }
}
