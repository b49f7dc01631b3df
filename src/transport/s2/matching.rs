//! Reading words of a block, hashing them, and how far two places of it agree.

/// Eight bytes at `at`, which must lie within the block.
#[inline]
pub(super) fn word(source: &[u8], at: usize) -> u64 {
    match source[at..].first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => panic!("a word lies within the block"),
    }
}

/// Four bytes at `at`, or nothing when they do not lie within the block.
#[inline]
pub(super) fn half(source: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*source.get(at..)?.first_chunk()?))
}

/// The low four bytes of a word.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
pub(super) const fn low_half(word: u64) -> u32 {
    word as u32
}

/// Bits of a multiplicative hash over the low `BYTES` bytes of a word.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a hash has few bits")]
pub(super) const fn hash<const BYTES: u32, const BITS: u32>(word: u64) -> usize {
    /// Odd, and without a pattern in its bits.
    const SPREAD: u64 = 0x9e37_79b1_85eb_ca87;
    ((word << (64 - 8 * BYTES)).wrapping_mul(SPREAD) >> (64 - BITS)) as usize
}

/// How many bytes from `earlier` and from `later` on agree, up to the end of the block.
#[inline]
pub(super) fn common_len(source: &[u8], earlier: usize, later: usize) -> usize {
    let ahead = &source[later..];
    let behind = &source[earlier..];
    let mut length = 0;
    // Long agreements are compared in wide steps, short ones end in the first few words.
    while let (Some(a), Some(b)) = (behind.get(length..length + 8), ahead.get(length..length + 8))
        && length < 32
    {
        let differ = word(a, 0) ^ word(b, 0);
        if differ != 0 {
            return length + differ.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let wide = |at: usize| -> Option<bool> {
        let a: &[u8; 32] = behind.get(at..)?.first_chunk()?;
        let b: &[u8; 32] = ahead.get(at..)?.first_chunk()?;
        Some(a == b)
    };
    while wide(length) == Some(true) {
        length += 32;
    }
    while let (Some(a), Some(b)) = (behind.get(length), ahead.get(length))
        && a == b
    {
        length += 1;
    }
    length
}

/// How many bytes before `earlier` and before `later` agree, down to `floor` of the later place.
#[inline]
pub(super) fn common_before(source: &[u8], earlier: usize, later: usize, floor: usize) -> usize {
    let mut length = 0;
    while length < earlier
        && later - length > floor
        && source[earlier - length - 1] == source[later - length - 1]
    {
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
    #[inline]
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
/// block, so what an earlier block left lies below the base, which reads as a position far beyond
/// the end.
pub(super) struct Table<const SIZE: usize> {
    slots: Box<[u32; SIZE]>,
    base: u32,
}

impl<const SIZE: usize> Table<SIZE> {
    pub(super) fn new() -> Self {
        let slots = vec![0_u32; SIZE].into_boxed_slice();
        let Ok(slots) = slots.try_into() else { panic!("the slice has this size") };
        Self { slots, base: 1 }
    }

    /// Forgets what the block before left. `before` and `next` are the lengths of the two blocks.
    pub(super) fn begin(&mut self, before: u32, next: u32) {
        match self.base.checked_add(before).filter(|base| base.checked_add(next).is_some()) {
            Some(base) => self.base = base,
            None => {
                self.slots.fill(0);
                self.base = 1;
            }
        }
    }

    /// The last position with this hash; beyond the end of the block when there is none.
    #[inline]
    pub(super) fn at(&self, hash: usize) -> usize {
        self.slots[hash].wrapping_sub(self.base) as usize
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a block is at most 1 MiB long")]
    pub(super) fn set(&mut self, hash: usize, position: usize) {
        self.slots[hash] = self.base + position as u32;
    }

    /// The last position with this hash, which gives way to a new one.
    #[inline]
    pub(super) fn swap(&mut self, hash: usize, position: usize) -> usize {
        let last = self.at(hash);
        self.set(hash, position);
        last
    }
}
