//! Random numbers that are a pure function of a seed: xoshiro256++, seeded by splitmix64.
//!
//! Each concern (network, schedule, workload) draws from a stream of its own, so that one more draw
//! in one of them does not change the others.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let mut mix = seed;
        let mut state = [0; 4];
        let mut word = 0;
        while word < state.len() {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            state[word] = scramble(mix);
            word += 1;
        }
        Self { state }
    }

    /// A stream of its own for the concern named `label`.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        let folded =
            label.bytes().fold(self.state[0] ^ self.state[2].rotate_left(17), |sum, byte| {
                scramble(sum ^ u64::from(byte))
            });
        Self::new(folded)
    }

    /// Any number.
    pub const fn any(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`; zero when the bound is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.below_u64(bound as u64)).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included; `low` when `high` is below it.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A number below `bound`; zero when the bound is zero. The bias of the remainder is far below
    /// what a simulation could notice.
    pub const fn below_u64(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.any() % bound }
    }

    /// Whether something happens that happens `rate` times in ten thousand. A rate of zero draws
    /// nothing.
    pub const fn happens(&mut self, rate: u32) -> bool {
        rate > 0 && self.below_u64(10_000) < rate as u64
    }

    /// Puts the items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The finaliser of splitmix64: every bit of the input moves every bit of the output.
pub(super) const fn scramble(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_seed_another() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..8).map(|_| rng.any()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn streams_of_different_concerns_differ() {
        let root = Rng::new(1);
        assert_eq!(root.fork("network").any(), root.fork("network").any());
        assert_ne!(root.fork("network").any(), root.fork("schedule").any());
    }

    #[test]
    fn a_rate_is_met_within_a_tenth() {
        let mut rng = Rng::new(3);
        let hits = (0..100_000).filter(|_| rng.happens(2_500)).count();
        assert!((22_500..27_500).contains(&hits), "{hits}");
        assert!(!(0..1000).any(|_| rng.happens(0)));
        assert!((0..1000).all(|_| rng.happens(10_000)));
    }

    #[test]
    fn a_shuffle_keeps_the_items() {
        let mut items: Vec<_> = (0..100).collect();
        Rng::new(5).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
