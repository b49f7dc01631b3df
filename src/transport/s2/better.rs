//! The level Better: two tables, and a look at the next position before a short match is taken.

use super::matching::{Match, Places, Table, common_before, common_len, half, hash, word};
use super::writer::{NotWorth, Writer};

/// Places in the table of eight bytes each: matches that are sure to be long.
const LONG_BITS: u32 = 16;

/// Places in the table of short matches.
const SHORT_BITS: u32 = 14;

/// After so many bytes without a match, as a power of two, each step grows by one.
const PATIENCE: usize = 7;

/// A match of so many bytes is taken without looking for a longer one.
const LENGTH_ENOUGH: usize = 64;

/// What must lie behind a position that is looked at: a word, one byte further.
const MARGIN: usize = 8 + 2;

/// Finds matches for [`Level::Better`](crate::transport::Level::Better).
pub(super) struct Better {
    long: Table<{ 1 << LONG_BITS }>,
    short: Table<{ 1 << SHORT_BITS }>,
}

/// The tables while one block is encoded.
struct Both<'a> {
    long: Places<'a, { 1 << LONG_BITS }>,
    short: Places<'a, { 1 << SHORT_BITS }>,
}

impl Better {
    pub(super) fn new() -> Self {
        Self { long: Table::new(), short: Table::new() }
    }

    /// Writes a whole block and returns its length.
    #[expect(clippy::cast_possible_truncation, reason = "a block is at most 1 MiB long")]
    pub(super) fn encode(&mut self, plain: &[u8], mut out: Writer<'_>) -> Result<usize, NotWorth> {
        let length = plain.len() as u32;
        let mut both = Both { long: self.long.begin(length), short: self.short.begin(length) };
        let end = plain.len().saturating_sub(MARGIN);
        let (mut emitted, mut at) = (0, 0);
        while let Some(found) = both.search(plain, at, emitted, end, out.offset()) {
            out.literal(plain, emitted, found.start)?;
            out.copy(found.offset, found.length)?;
            emitted = found.start + found.length;
            if emitted > end {
                break;
            }
            both.learn(plain, found.start + 1, emitted);
            at = emitted;
        }
        out.literal(plain, emitted, plain.len())?;
        out.finish()
    }
}

impl Both<'_> {
    /// The best match at the next place from `at` on where there is one.
    #[inline(always)]
    fn search(
        &mut self,
        plain: &[u8],
        mut at: usize,
        emitted: usize,
        end: usize,
        repeat: usize,
    ) -> Option<Match> {
        while at <= end {
            let here = word(plain, at);
            let long = self.long.swap(long_hash(here), at);
            let short = self.short.swap(short_hash(here), at);
            let mut best = None;
            if repeat != 0 {
                weigh(plain, at + 1 - repeat, at + 1, emitted, repeat, &mut best);
            }
            weigh(plain, long, at, emitted, repeat, &mut best);
            if short != long {
                weigh(plain, short, at, emitted, repeat, &mut best);
            }
            if let Some(found) = best {
                if found.length < LENGTH_ENOUGH {
                    // A long match one byte later may be better than a short one now.
                    let later = self.long.swap(long_hash(word(plain, at + 1)), at + 1);
                    weigh(plain, later, at + 1, emitted, repeat, &mut best);
                }
                return best;
            }
            at += 1 + ((at - emitted) >> PATIENCE);
        }
        None
    }

    /// Enters places inside a match, which the search steps over.
    fn learn(&mut self, plain: &[u8], from: usize, to: usize) {
        for place in [from, from + 1, to - 2, to - 1] {
            let here = word(plain, place);
            self.long.set(long_hash(here), place);
            self.short.set(short_hash(here), place);
        }
    }
}

/// Weighs what stands at `candidate` as a match for `at`.
#[inline(always)]
fn weigh(
    plain: &[u8],
    candidate: usize,
    at: usize,
    emitted: usize,
    repeat: usize,
    best: &mut Option<Match>,
) {
    if half(plain, candidate) != half(plain, at) {
        return;
    }
    let back = common_before(plain, candidate, at, emitted);
    let length = common_len(plain, candidate, at) + back;
    let found = Match::new(at - back, at - candidate, length, repeat);
    if found.gain > best.map_or(0, |best| best.gain) {
        *best = Some(found);
    }
}

#[inline(always)]
const fn long_hash(word: u64) -> usize {
    hash::<8, LONG_BITS>(word)
}

#[inline(always)]
const fn short_hash(word: u64) -> usize {
    hash::<5, SHORT_BITS>(word)
}
