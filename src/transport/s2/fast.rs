//! The level Fast: one table, the first match that comes is taken.

use super::matching::{Table, common_before, common_len, half, hash, low_half, word};
use super::writer::{NotWorth, Writer};

/// Places in the table: with 64 KiB it stays in the second-level cache beside the block.
const BITS: u32 = 14;

/// A hash covers this many bytes: shorter matches are rarely worth a copy.
const BYTES: u32 = 6;

/// After so many bytes without a match, as a power of two, each step grows by one.
const PATIENCE: usize = 6;

/// What must lie behind a position that is looked at: a word, two bytes further.
const MARGIN: usize = 8 + 4;

/// Finds matches for [`Level::Fast`](crate::transport::Level::Fast).
pub(super) struct Fast {
    table: Table<{ 1 << BITS }>,
    /// Length of the block before, by which the table's base moves on.
    before: u32,
}

impl Fast {
    pub(super) fn new() -> Self {
        Self { table: Table::new(), before: 0 }
    }

    /// Writes a whole block.
    #[expect(clippy::cast_possible_truncation, reason = "a block is at most 1 MiB long")]
    pub(super) fn encode(&mut self, plain: &[u8], out: &mut Writer<'_>) -> Result<(), NotWorth> {
        self.table.begin(self.before, plain.len() as u32);
        self.before = plain.len() as u32;
        let Some(end) = plain.len().checked_sub(MARGIN) else { return Err(NotWorth) };
        let mut emitted = 0;
        let mut at = 0;
        while let Some(found) = self.search(plain, at, emitted, end, out.offset()) {
            let (mut start, mut offset) = found;
            start -= common_before(plain, start - offset, start, emitted);
            out.literal(plain, emitted, start)?;
            loop {
                let length = common_len(plain, start - offset, start);
                out.copy(offset, length)?;
                emitted = start + length;
                if emitted > end {
                    return out.literal(plain, emitted, plain.len());
                }
                // Another match often follows at once.
                let next = word(plain, emitted - 2);
                self.table.set(hash::<BYTES, BITS>(next), emitted - 2);
                let earlier = self.table.swap(hash::<BYTES, BITS>(next >> 16), emitted);
                if half(plain, earlier) != Some(low_half(next >> 16)) {
                    break;
                }
                start = emitted;
                offset = start - earlier;
            }
            at = emitted + 1;
        }
        out.literal(plain, emitted, plain.len())
    }

    /// The next place from `at` on where something that stood `offset` earlier stands again.
    #[inline]
    fn search(
        &mut self,
        plain: &[u8],
        mut at: usize,
        emitted: usize,
        end: usize,
        repeat: usize,
    ) -> Option<(usize, usize)> {
        while at <= end {
            let here = word(plain, at);
            let (first, second) = (hash::<BYTES, BITS>(here), hash::<BYTES, BITS>(here >> 8));
            let (one, two) = (self.table.at(first), self.table.at(second));
            self.table.set(first, at);
            self.table.set(second, at + 1);
            if repeat != 0 && half(plain, at + 1 - repeat) == Some(low_half(here >> 8)) {
                return Some((at + 1, repeat));
            }
            if half(plain, one) == Some(low_half(here)) {
                return Some((at, at - one));
            }
            if half(plain, two) == Some(low_half(here >> 8)) {
                return Some((at + 1, at + 1 - two));
            }
            let three = self.table.swap(hash::<BYTES, BITS>(here >> 16), at + 2);
            if half(plain, three) == Some(low_half(here >> 16)) {
                return Some((at + 2, at + 2 - three));
            }
            at += 4 + ((at - emitted) >> PATIENCE);
        }
        None
    }
}
