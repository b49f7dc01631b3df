//! Reading words of a block, hashing them, and how far two places of it agree.

/// Bytes that are compared at once in a long match.
const WIDE: usize = 32;

/// Eight bytes at `at`, which must lie within the block.
#[inline(always)]
pub(super) fn word(source: &[u8], at: usize) -> u64 {
    match source[at..at + 8].first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => panic!("eight bytes are a word"),
    }
}

/// Four bytes at `at`, or nothing when they do not lie within the block.
#[inline(always)]
pub(super) fn half(source: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*source.get(at..at + 4)?.first_chunk()?))
}

/// The low four bytes of a word.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
pub(super) const fn low_half(word: u64) -> u32 {
    word as u32
}

/// Bits of a multiplicative hash over the low `BYTES` bytes of a word.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a hash has few bits")]
pub(super) const fn hash<const BYTES: u32, const BITS: u32>(word: u64) -> usize {
    /// Odd, and without a pattern in its bits.
    const SPREAD: u64 = 0x9e37_79b1_85eb_ca87;
    ((word << (64 - 8 * BYTES)).wrapping_mul(SPREAD) >> (64 - BITS)) as usize
}

/// How many bytes from `earlier` and from `later` on agree, up to the end of the block.
#[inline(always)]
pub(super) fn common_len(source: &[u8], earlier: usize, later: usize) -> usize {
    let ahead = &source[later..];
    let behind = &source[earlier..earlier + ahead.len()];
    // Most matches end within the first two steps.
    for at in [0, 16] {
        let (Some(a), Some(b)) = (double(behind, at), double(ahead, at)) else { break };
        if a != b {
            return at + (a ^ b).trailing_zeros() as usize / 8;
        }
    }
    long_common_len(behind, ahead)
}

/// How many bytes of two slices of one length agree.
#[inline(never)]
fn long_common_len(behind: &[u8], ahead: &[u8]) -> usize {
    let mut length = 0;
    while length + WIDE <= ahead.len()
        && behind[length..length + WIDE] == ahead[length..length + WIDE]
    {
        length += WIDE;
    }
    while let (Some(a), Some(b)) = (double(behind, length), double(ahead, length)) {
        if a != b {
            return length + (a ^ b).trailing_zeros() as usize / 8;
        }
        length += 16;
    }
    while length < ahead.len() && behind[length] == ahead[length] {
        length += 1;
    }
    length
}

#[inline(always)]
fn double(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(*bytes.get(at..at + 16)?.first_chunk()?))
}

/// How many bytes before `earlier` and before `later` agree, down to `floor` of the later place.
#[inline(always)]
pub(super) fn common_before(source: &[u8], earlier: usize, later: usize, floor: usize) -> usize {
    let most = earlier.min(later - floor);
    let mut length = 0;
    while earlier - length >= 8 {
        let differ = word(source, earlier - length - 8) ^ word(source, later - length - 8);
        if differ != 0 {
            return most.min(length + differ.leading_zeros() as usize / 8);
        }
        length += 8;
        if length >= most {
            return most;
        }
    }
    while length < most && source[earlier - length - 1] == source[later - length - 1] {
        length += 1;
    }
    length
}

/// A match that could be taken.
#[derive(Clone, Copy)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) offset: usize,
    pub(super) length: usize,
    /// Bytes that the match spares.
    pub(super) gain: usize,
}

impl Match {
    /// A match that is weighed against others; `repeat` is the offset of the last copy.
    #[inline(always)]
    pub(super) fn new(start: usize, offset: usize, length: usize, repeat: usize) -> Self {
        let gain = length.saturating_sub(cost(offset, length, offset == repeat));
        Self { start, offset, length, gain }
    }
}

/// Bytes that a copy takes.
const fn cost(offset: usize, length: usize, repeated: bool) -> usize {
    let head = if repeated {
        return if length <= 8 { 2 } else { 3 };
    } else if offset < 1 << 11 {
        2
    } else if offset < 1 << 16 {
        3
    } else {
        5
    };
    if length <= 64 { head + (head == 2 && length > 11) as usize } else { head + 3 }
}

/// Positions of a block by the hash of what stands there.
///
/// The table is not cleared between blocks: positions are stored with a base that grows with every
/// block, so what an earlier block left lies below the base, and reads as a position far beyond the
/// end.
pub(super) struct Table<const SIZE: usize> {
    slots: Box<[u32; SIZE]>,
    /// What positions of the next block are stored with.
    base: u32,
}

/// The table while one block is encoded.
pub(super) struct Places<'a, const SIZE: usize> {
    slots: &'a mut [u32; SIZE],
    base: u32,
}

impl<const SIZE: usize> Table<SIZE> {
    pub(super) fn new() -> Self {
        let slots = vec![0_u32; SIZE].into_boxed_slice();
        let Ok(slots) = slots.try_into() else { panic!("the slice has this size") };
        Self { slots, base: 1 }
    }

    /// Places of a block of this length; none is known yet.
    pub(super) fn begin(&mut self, block_len: u32) -> Places<'_, SIZE> {
        let base = self.base;
        let next = base.checked_add(block_len);
        let base = if next.is_some() {
            base
        } else {
            self.slots.fill(0);
            1
        };
        self.base = base + block_len;
        Places { slots: &mut self.slots, base }
    }
}

impl<const SIZE: usize> Places<'_, SIZE> {
    /// The last position with this hash; beyond the end of the block when there is none.
    #[inline(always)]
    pub(super) fn at(&self, hash: usize) -> usize {
        self.slots[hash].wrapping_sub(self.base) as usize
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a block is at most 1 MiB long")]
    pub(super) fn set(&mut self, hash: usize, position: usize) {
        self.slots[hash] = self.base.wrapping_add(position as u32);
    }

    /// The last position with this hash, which gives way to a new one.
    #[inline(always)]
    pub(super) fn swap(&mut self, hash: usize, position: usize) -> usize {
        let last = self.at(hash);
        self.set(hash, position);
        last
    }
}
