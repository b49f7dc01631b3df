//! Hashes that a peer cannot foresee.

use std::fmt;
use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// Makes all hashes of one table from one seed.
pub(super) struct Hashing {
    seed: u64,
    shared: SharedSeed,
}

impl Hashing {
    pub(super) fn new(seed: u64) -> Self {
        // A small seed would leave short texts nearly as they are.
        let seed = fastrand::Rng::with_seed(seed).u64(..);
        Self { seed, shared: SharedSeed::from_u64(seed) }
    }

    pub(super) fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(bytes);
        hasher.finish()
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashing").finish_non_exhaustive()
    }
}

/// The hash of something (`inner`) that belongs to the slot `owner`.
pub(super) fn owned(owner: u32, inner: u64) -> u32 {
    let product = (inner ^ u64::from(owner).wrapping_mul(ODD)).wrapping_mul(ODD);
    (product >> 32) as u32
}

/// A hash for a table that takes its bucket from the low bits and its tag from the top ones.
pub(super) fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// A slab index as the tables store it.
pub(super) fn slot(index: usize) -> u32 {
    u32::try_from(index).expect("a table has fewer than 2^32 slots")
}

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

/// The golden ratio as a fraction of 2^64: its multiples spread well.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
