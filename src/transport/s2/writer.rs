//! Literals and copies to the bytes of a block, with a bound above which compressing is given up.

/// Writes one block's tags.
///
/// Invariant: `at` never exceeds `limit`, and `limit` plus [`COPY_LEN_MAX`] lies within the buffer.
pub(super) struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
    limit: usize,
    offset: usize,
}

/// The block would not be smaller than its plain bytes by enough.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotWorth;

/// The most bytes that one copy takes: a copy with a four-byte offset and the longest repeat.
pub(super) const COPY_LEN_MAX: usize = 5 + 5;

/// The most bytes that stand before a literal's own.
const LITERAL_HEAD_MAX: usize = 4;

/// Bytes that are moved at once where there is room for them.
const WIDE: usize = 16;

impl<'a> Writer<'a> {
    /// A block of so many plain bytes that may take up to `limit` bytes.
    pub(super) fn new(bytes: &'a mut [u8], plain_len: usize, limit: usize) -> Self {
        assert!(limit + COPY_LEN_MAX <= bytes.len(), "the buffer holds what the limit allows");
        let mut writer = Self { bytes, at: 0, limit, offset: 0 };
        let mut left = plain_len;
        while left >= 0x80 {
            writer.push(low(left) | 0x80);
            left >>= 7;
        }
        writer.push(low(left));
        writer
    }

    /// The last offset that was copied from; 0 before the first.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes written so far.
    pub(super) const fn len(&self) -> usize {
        self.at
    }

    /// Adds `source[from..to]` as it is.
    #[inline]
    pub(super) fn literal(
        &mut self,
        source: &[u8],
        from: usize,
        to: usize,
    ) -> Result<(), NotWorth> {
        let length = to - from;
        if length == 0 {
            return Ok(());
        }
        if self.at + LITERAL_HEAD_MAX + length > self.limit {
            return Err(NotWorth);
        }
        let field = length - 1;
        if field < 60 {
            self.push(low(field << 2));
        } else if field < 1 << 8 {
            self.put([60 << 2, low(field)]);
        } else if field < 1 << 16 {
            self.put([61 << 2, low(field), low(field >> 8)]);
        } else {
            self.put([62 << 2, low(field), low(field >> 8), low(field >> 16)]);
        }
        if length <= WIDE
            && let Some(wide) = source.get(from..from + WIDE)
            && let Some(room) = self.bytes.get_mut(self.at..self.at + WIDE)
        {
            room.copy_from_slice(wide);
        } else {
            self.bytes[self.at..self.at + length].copy_from_slice(&source[from..to]);
        }
        self.at += length;
        Ok(())
    }

    /// Adds a copy of at least four bytes; the same offset as before costs less.
    #[inline]
    pub(super) fn copy(&mut self, offset: usize, length: usize) -> Result<(), NotWorth> {
        if self.at > self.limit {
            return Err(NotWorth);
        }
        if offset == self.offset {
            self.repeat(length);
            return Ok(());
        }
        self.offset = offset;
        if offset >= 1 << 16 {
            let first = length.min(64);
            // A rest of one to three bytes cannot be a repeat.
            let first = if length - first > 0 && length - first < 4 { length - 4 } else { first };
            let [a, b, c, d, ..] = offset.to_le_bytes();
            self.put([low((first - 1) << 2) | 3, a, b, c, d]);
            if length > first {
                self.repeat(length - first);
            }
        } else if length <= 11 && offset < 1 << 11 {
            self.put([low((offset >> 8) << 5 | (length - 4) << 2) | 1, low(offset)]);
        } else if length <= 64 {
            self.put([low((length - 1) << 2) | 2, low(offset), low(offset >> 8)]);
        } else if offset < 1 << 11 {
            // Two bytes with a copy of eight, and the repeat takes the rest.
            self.put([low((offset >> 8) << 5 | 4 << 2) | 1, low(offset)]);
            self.repeat(length - 8);
        } else {
            self.put([59 << 2 | 2, low(offset), low(offset >> 8)]);
            self.repeat(length - 60);
        }
        Ok(())
    }

    /// Adds a copy from the same offset as before.
    #[inline]
    fn repeat(&mut self, length: usize) {
        if length <= 8 {
            self.put([low((length - 4) << 2) | 1, 0]);
        } else if length <= 11 && self.offset < 1 << 11 {
            self.put([low((self.offset >> 8) << 5 | (length - 4) << 2) | 1, low(self.offset)]);
        } else if length < 8 + (1 << 8) {
            self.put([5 << 2 | 1, 0, low(length - 8)]);
        } else if length < 260 + (1 << 16) {
            let field = length - 260;
            self.put([6 << 2 | 1, 0, low(field), low(field >> 8)]);
        } else {
            let field = length - 65_540;
            self.put([7 << 2 | 1, 0, low(field), low(field >> 8), low(field >> 16)]);
        }
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.put([byte]);
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&bytes);
        self.at += N;
    }
}

/// The lowest eight bits.
#[inline]
const fn low(value: usize) -> u8 {
    value.to_le_bytes()[0]
}
