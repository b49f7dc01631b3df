//! What may go wrong in a simulation, and how often.

use std::time::Duration;

use super::rng::Rng;

/// How often each fault happens: so many times in ten thousand occasions. [`NONE`](Self::NONE), which
/// is the default, is a perfect world.
///
/// None of them breaks the contract of [`Ring`](crate::Ring); all of them are things that kernels and
/// networks do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A receive gives out less than is there, cut at any byte.
    pub cut: u32,
    /// A receive gives out nothing this turn although something is there, so that pieces merge.
    pub late_receive: u32,
    /// A receive ends with [`EndReason::Rearm`](crate::EndReason::Rearm), with bytes there or not.
    pub rearm: u32,
    /// A receive ends with [`EndReason::NoBuffers`](crate::EndReason::NoBuffers) although buffers are
    /// free, with bytes there or not.
    pub no_buffers: u32,
    /// A cancelled receive or accept goes on for a turn or more before it ends.
    pub late_cancel: u32,
    /// A send takes less than there is room for.
    pub short_send: u32,
    /// A [`SendMode::Try`](crate::SendMode::Try) takes nothing although there is room; any other send
    /// waits a turn more.
    pub refuse_send: u32,
    /// The notification of a zero-copy send comes late, by at most
    /// [`zero_copy_late_max`](Self::zero_copy_late_max).
    pub zero_copy_late: u32,
    /// See [`zero_copy_late`](Self::zero_copy_late).
    pub zero_copy_late_max: Duration,
    /// A zero-copy send is copied after all.
    pub zero_copy_copied: u32,
    /// An accept ends with EMFILE although descriptors are free; who waits to be accepted stays.
    pub accept_no_descriptors: u32,
    /// An accept ends for no reason.
    pub accept_ends: u32,
    /// A connection breaks while something is sent or received on it: reset, broken pipe, timed out.
    pub reset: u32,
    /// A connection falls silent for ever while something arrives on it: half-open.
    pub vanish: u32,
    /// A dial is refused although somebody listens.
    pub connect_refused: u32,
    /// The opening packet of a dial is lost.
    pub connect_silent: u32,
    /// A ring's wait ends although nothing happened.
    pub spurious_wake: u32,
    /// The clock of a server leaps forward at a turn, by at most
    /// [`clock_jump_max`](Self::clock_jump_max).
    pub clock_jump: u32,
    /// See [`clock_jump`](Self::clock_jump).
    pub clock_jump_max: Duration,
    /// A step of the simulation cuts two servers from each other, for at most
    /// [`partition_max`](Self::partition_max).
    pub partition: u32,
    /// See [`partition`](Self::partition).
    pub partition_max: Duration,
    /// The least time that a packet is under way.
    pub latency_min: Duration,
    /// The most time that a packet is under way. Packets of one direction of a connection do not
    /// overtake each other.
    pub latency_max: Duration,
    /// How many sockets a turn looks at before it returns, tries not counted; zero: all.
    pub sockets_per_turn_max: usize,
}

impl Faults {
    /// Nothing goes wrong, and packets take no time.
    pub const NONE: Self = Self {
        cut: 0,
        late_receive: 0,
        rearm: 0,
        no_buffers: 0,
        late_cancel: 0,
        short_send: 0,
        refuse_send: 0,
        zero_copy_late: 0,
        zero_copy_late_max: Duration::from_millis(300),
        zero_copy_copied: 0,
        accept_no_descriptors: 0,
        accept_ends: 0,
        reset: 0,
        vanish: 0,
        connect_refused: 0,
        connect_silent: 0,
        spurious_wake: 0,
        clock_jump: 0,
        clock_jump_max: Duration::from_secs(5),
        partition: 0,
        partition_max: Duration::from_secs(10),
        latency_min: Duration::ZERO,
        latency_max: Duration::ZERO,
        sockets_per_turn_max: 0,
    };

    /// Faults that lose no byte of a connection: what is left is only timing and shape.
    #[must_use]
    pub fn lossless(seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork("faults");
        let mut faults = Self::NONE;
        for (rate, max) in faults.lossless_rates() {
            *rate = pick(&mut rng, max);
        }
        if rng.happens(7_500) {
            faults.latency_max = Duration::from_nanos(rng.below_u64(20_000_000));
            faults.latency_min = faults.latency_max.mul_f64(0.2);
        }
        if rng.happens(5_000) {
            faults.sockets_per_turn_max = rng.between(1, 20);
        }
        faults
    }

    /// A random subset of all faults, each with a random rate ("swarm testing": what one fault hides,
    /// another seed without it shows).
    #[must_use]
    pub fn chaos(seed: u64) -> Self {
        let mut faults = Self::lossless(seed);
        let mut rng = Rng::new(seed).fork("lossy faults");
        for (rate, max) in faults.lossy_rates() {
            *rate = pick(&mut rng, max);
        }
        faults
    }

    /// The rates of [`lossless`](Self::lossless), each with the most that is of use.
    fn lossless_rates(&mut self) -> [(&mut u32, usize); 13] {
        [
            (&mut self.cut, 9_000),
            (&mut self.late_receive, 5_000),
            (&mut self.rearm, 2_000),
            (&mut self.no_buffers, 2_000),
            (&mut self.late_cancel, 5_000),
            (&mut self.short_send, 9_000),
            (&mut self.refuse_send, 5_000),
            (&mut self.zero_copy_late, 5_000),
            (&mut self.zero_copy_copied, 5_000),
            (&mut self.accept_no_descriptors, 2_000),
            (&mut self.accept_ends, 2_000),
            (&mut self.connect_silent, 1_000),
            (&mut self.spurious_wake, 2_000),
        ]
    }

    /// The rates that [`chaos`](Self::chaos) adds, each with the most that is of use.
    fn lossy_rates(&mut self) -> [(&mut u32, usize); 5] {
        [
            (&mut self.reset, 50),
            (&mut self.vanish, 10),
            (&mut self.connect_refused, 2_000),
            (&mut self.clock_jump, 5),
            (&mut self.partition, 10),
        ]
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::NONE
    }
}

/// No rate in half of the cases, else one up to `max`.
fn pick(rng: &mut Rng, max: usize) -> u32 {
    let rate = rng.between(1, max);
    if rng.happens(5_000) { u32::try_from(rate).unwrap_or(u32::MAX) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_picks_the_same_faults_and_seeds_differ() {
        assert_eq!(Faults::chaos(9), Faults::chaos(9));
        assert!((1..20).any(|seed| Faults::chaos(seed) != Faults::chaos(0)));
    }

    #[test]
    fn chaos_leaves_some_faults_out_and_uses_every_fault_for_some_seed() {
        let rates = |seed| {
            let mut faults = Faults::chaos(seed);
            let lossless = faults.lossless_rates().map(|(rate, _)| *rate);
            let lossy = faults.lossy_rates().map(|(rate, _)| *rate);
            [lossless.as_slice(), lossy.as_slice()].concat()
        };
        for seed in 0..20 {
            assert!(rates(seed).contains(&0), "seed {seed}");
        }
        let used = (0..20)
            .map(rates)
            .reduce(|sum, rates| sum.iter().zip(rates).map(|(sum, rate)| sum + rate).collect());
        assert!(!used.unwrap().contains(&0));
    }
}
