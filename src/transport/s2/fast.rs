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
}

type Places<'a> = super::matching::Places<'a, { 1 << BITS }>;

impl Fast {
    pub(super) fn new() -> Self {
        Self { table: Table::new() }
    }

    /// Writes a whole block and returns its length.
    #[expect(clippy::cast_possible_truncation, reason = "a block is at most 1 MiB long")]
    pub(super) fn encode(&mut self, plain: &[u8], mut out: Writer<'_>) -> Result<usize, NotWorth> {
        let mut places = self.table.begin(plain.len() as u32);
        let end = plain.len().saturating_sub(MARGIN);
        // The first byte can repeat nothing.
        let (mut emitted, mut at) = (0, 1);
        while let Some((start, offset)) = search(&mut places, plain, at, emitted, end, out.offset())
        {
            let back = common_before(plain, start - offset, start, emitted);
            out.literal(plain, emitted, start - back)?;
            let mut length = common_len(plain, start - offset, start);
            emitted = start + length;
            length += back;
            let mut offset = offset;
            loop {
                out.copy(offset, length)?;
                if emitted > end {
                    break;
                }
                // Another match often follows at once.
                let next = word(plain, emitted - 2);
                places.set(slot(next), emitted - 2);
                let earlier = places.swap(slot(next >> 16), emitted);
                if half(plain, earlier) != Some(low_half(next >> 16)) {
                    break;
                }
                offset = emitted - earlier;
                length = common_len(plain, earlier, emitted);
                emitted += length;
            }
            at = emitted + 1;
        }
        out.literal(plain, emitted, plain.len())?;
        out.finish()
    }
}

/// The next place from `at` on where something stands again, and how much earlier it stood.
#[inline(always)]
fn search(
    places: &mut Places<'_>,
    plain: &[u8],
    mut at: usize,
    emitted: usize,
    end: usize,
    repeat: usize,
) -> Option<(usize, usize)> {
    // Without an offset to repeat, a run of one byte is as good a guess as any.
    let repeat = repeat.max(1);
    while at <= end {
        let here = word(plain, at);
        let (first, second, third) = (slot(here), slot(here >> 8), slot(here >> 16));
        // A slot of another block reads as beyond `at`. The beginning stands for it, without a
        // branch: whether the bytes agree is looked at in any case.
        let known = |place: usize| if place < at { place } else { 0 };
        let one = known(places.swap(first, at));
        let two = known(places.swap(second, at + 1));
        if half(plain, at + 1 - repeat) == Some(low_half(here >> 8)) {
            return Some((at + 1, repeat));
        }
        if half(plain, one) == Some(low_half(here)) {
            return Some((at, at - one));
        }
        if half(plain, two) == Some(low_half(here >> 8)) {
            return Some((at + 1, at + 1 - two));
        }
        let three = known(places.swap(third, at + 2));
        if half(plain, three) == Some(low_half(here >> 16)) {
            return Some((at + 2, at + 2 - three));
        }
        at += 4 + ((at - emitted) >> PATIENCE);
    }
    None
}

#[inline(always)]
const fn slot(word: u64) -> usize {
    hash::<BYTES, BITS>(word)
}
