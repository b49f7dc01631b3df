//! Literals and copies to the bytes of a block, with a bound above which compressing is given up.

/// Writes one block's tags.
///
/// Invariant: `at` never exceeds `limit`, and `limit` plus [`SLACK`] lies within the buffer.
pub(super) struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
    limit: usize,
    offset: usize,
}

/// The block would not be smaller than its plain bytes by enough.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotWorth;

/// Room behind the limit: the longest copy with its repeat, each stored as a whole word, and the
/// bytes that are stored too many behind a short literal.
pub(super) const SLACK: usize = 32;

/// The most bytes that stand before a literal's own.
const LITERAL_HEAD_MAX: usize = 4;

/// Bytes that are moved at once where there is room for them.
const WIDE: usize = 16;

impl<'a> Writer<'a> {
    /// A block of so many plain bytes that may take up to `limit` bytes.
    pub(super) fn new(bytes: &'a mut [u8], plain_len: usize, limit: usize) -> Self {
        assert!(limit + SLACK <= bytes.len(), "the buffer holds what the limit allows");
        let (mut at, mut left) = (0, plain_len as u64);
        while left >= 0x80 {
            at = put(bytes, at, left & 0x7f | 0x80, 1);
            left >>= 7;
        }
        at = put(bytes, at, left, 1);
        Self { bytes, at, limit, offset: 0 }
    }

    /// The last offset that was copied from; 0 before the first.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// The length of the finished block.
    pub(super) const fn finish(self) -> Result<usize, NotWorth> {
        if self.at > self.limit { Err(NotWorth) } else { Ok(self.at) }
    }

    /// Adds `source[from..to]` as it is.
    #[inline(always)]
    pub(super) fn literal(
        &mut self,
        source: &[u8],
        from: usize,
        to: usize,
    ) -> Result<(), NotWorth> {
        let length = to - from;
        if self.at + LITERAL_HEAD_MAX + length > self.limit {
            return Err(NotWorth);
        }
        if length <= WIDE
            && let Some(wide) = source.get(from..from + WIDE)
        {
            // Most literals are short or empty, and moving a fixed number of bytes without asking
            // is cheaper than a branch.
            let room = &mut self.bytes[self.at..self.at + 1 + WIDE];
            room[0] = low(length.wrapping_sub(1) << 2);
            room[1..].copy_from_slice(wide);
            self.at += length + usize::from(length != 0);
        } else if length > 0 {
            self.at = long_literal(self.bytes, self.at, &source[from..to]);
        }
        Ok(())
    }

    /// Adds a copy of at least four bytes; the same offset as before costs less.
    #[inline(always)]
    pub(super) fn copy(&mut self, offset: usize, length: usize) -> Result<(), NotWorth> {
        if self.at > self.limit {
            return Err(NotWorth);
        }
        if offset != self.offset && offset < 1 << 16 && length <= 64 {
            let (word, bytes) = short_copy(offset as u64, length as u64);
            self.at = put(self.bytes, self.at, word, bytes);
        } else {
            self.at = any_copy(self.bytes, self.at, self.offset, offset, length);
        }
        self.offset = offset;
        Ok(())
    }
}

#[inline(never)]
fn long_literal(out: &mut [u8], at: usize, literal: &[u8]) -> usize {
    let field = literal.len() as u64 - 1;
    let at = match field {
        0..60 => put(out, at, field << 2, 1),
        60..0x100 => put(out, at, 60 << 2 | field << 8, 2),
        0x100..0x1_0000 => put(out, at, 61 << 2 | field << 8, 3),
        _longest => put(out, at, 62 << 2 | field << 8, 4),
    };
    out[at..at + literal.len()].copy_from_slice(literal);
    at + literal.len()
}

/// A copy of up to 64 bytes from an offset of up to two bytes, and how many bytes it takes.
#[inline(always)]
const fn short_copy(offset: u64, length: u64) -> (u64, usize) {
    if length <= 11 && offset < 1 << 11 {
        (1 | (length - 4) << 2 | (offset >> 8) << 5 | (offset & 0xff) << 8, 2)
    } else {
        (2 | (length - 1) << 2 | offset << 8, 3)
    }
}

#[inline(never)]
fn any_copy(out: &mut [u8], mut at: usize, last: usize, offset: usize, length: usize) -> usize {
    let first = if offset == last {
        0
    } else if offset >= 1 << 16 {
        // A rest of one to three bytes cannot be a repeat.
        let first = if length > 64 && length < 68 { length - 4 } else { length.min(64) };
        at = put(out, at, 3 | (first as u64 - 1) << 2 | (offset as u64) << 8, 5);
        first
    } else {
        // A copy of eight bytes may take two, and a repeat takes the rest.
        let first = if length <= 64 {
            length
        } else if offset < 1 << 11 {
            8
        } else {
            60
        };
        let (word, bytes) = short_copy(offset as u64, first as u64);
        at = put(out, at, word, bytes);
        first
    };
    if length > first { repeat(out, at, offset as u64, length as u64 - first as u64) } else { at }
}

/// Adds a copy from the same offset as before.
fn repeat(out: &mut [u8], at: usize, offset: u64, length: u64) -> usize {
    if length <= 8 {
        put(out, at, 1 | (length - 4) << 2, 2)
    } else if length <= 11 && offset < 1 << 11 {
        put(out, at, short_copy(offset, length).0, 2)
    } else if length < 8 + (1 << 8) {
        put(out, at, 1 | 5 << 2 | (length - 8) << 16, 3)
    } else if length < 260 + (1 << 16) {
        put(out, at, 1 | 6 << 2 | (length - 260) << 16, 4)
    } else {
        put(out, at, 1 | 7 << 2 | (length - 65_540) << 16, 5)
    }
}

/// Adds the low bytes of a word. All eight are stored, which costs no more than one.
#[inline(always)]
fn put(out: &mut [u8], at: usize, word: u64, bytes: usize) -> usize {
    out[at..at + 8].copy_from_slice(&word.to_le_bytes());
    at + bytes
}

/// The lowest eight bits.
#[inline]
const fn low(value: usize) -> u8 {
    value.to_le_bytes()[0]
}
