//! The level Best: every earlier place with the same four bytes is a candidate, newest first.
//!
//! The search is bounded: so many candidates a place, and none after a match that is long enough. So
//! input that repeats itself without end costs no more than other input.

use super::matching::{
    Match, Places, Table, common_before, common_len, half, hash, low_half, word,
};
use super::writer::{NotWorth, Writer};

/// Places in the table of the newest position of each hash.
const BITS: u32 = 16;

/// The most candidates that are compared for one place.
const CANDIDATES_MAX: usize = 48;

/// A match of so many bytes is taken without looking for a longer one.
const LENGTH_ENOUGH: usize = 256;

/// Of a match that is longer than this, only the first places are entered.
const LEARN_MAX: usize = 4096;

/// After so many bytes without a match, as a power of two, each step grows by one.
const PATIENCE: usize = 9;

/// What must lie behind a position that is looked at: a word, one byte further.
const MARGIN: usize = 8 + 2;

/// Finds matches for [`Level::Best`](crate::transport::Level::Best).
pub(super) struct Best {
    newest: Table<{ 1 << BITS }>,
    /// For each place of the block the place before it with the same hash.
    earlier: Vec<u32>,
}

/// The chains while one block is encoded.
struct Chains<'a> {
    newest: Places<'a, { 1 << BITS }>,
    earlier: &'a mut [u32],
}

impl Best {
    pub(super) fn new() -> Self {
        Self { newest: Table::new(), earlier: Vec::new() }
    }

    /// Writes a whole block and returns its length.
    #[expect(clippy::cast_possible_truncation, reason = "a block is at most 1 MiB long")]
    pub(super) fn encode(&mut self, plain: &[u8], mut out: Writer<'_>) -> Result<usize, NotWorth> {
        if self.earlier.len() < plain.len() {
            self.earlier.resize(plain.len(), 0);
        }
        let newest = self.newest.begin(plain.len() as u32);
        let mut chains = Chains { newest, earlier: &mut self.earlier };
        let end = plain.len().saturating_sub(MARGIN);
        let (mut emitted, mut at) = (0, 0);
        while at <= end {
            let Some(mut found) = chains.look(plain, at, emitted, out.offset()) else {
                at += 1 + ((at - emitted) >> PATIENCE);
                continue;
            };
            // As long as the next place gives more, this one becomes a literal.
            while found.length < LENGTH_ENOUGH && at < end {
                at += 1;
                match chains.look(plain, at, emitted, out.offset()) {
                    Some(later) if later.gain > found.gain => found = later,
                    Some(_) | None => break,
                }
            }
            out.literal(plain, emitted, found.start)?;
            out.copy(found.offset, found.length)?;
            emitted = found.start + found.length;
            let learned = emitted.min(end + 1).min(at + 1 + LEARN_MAX);
            for place in at + 1..learned {
                chains.enter(plain, place);
            }
            at = at.max(emitted);
        }
        out.literal(plain, emitted, plain.len())?;
        out.finish()
    }
}

impl Chains<'_> {
    /// The best match for a place, which is entered.
    fn look(&mut self, plain: &[u8], at: usize, emitted: usize, repeat: usize) -> Option<Match> {
        let bytes = Some(low_half(word(plain, at)));
        let mut best: Option<Match> = None;
        let mut consider = |candidate: usize| -> usize {
            let taken = best.map_or(0, |found| found.start + found.length);
            // What does not agree where the best match ends cannot be longer.
            if half(plain, candidate) != bytes
                || (taken > at && plain.get(candidate + taken - at) != plain.get(taken))
            {
                return 0;
            }
            let length = common_len(plain, candidate, at);
            let back = common_before(plain, candidate, at, emitted);
            let found = Match::new(at - back, at - candidate, length + back, repeat);
            if found.gain > best.map_or(0, |best| best.gain) {
                best = Some(found);
            }
            length
        };
        if repeat != 0 {
            consider(at - repeat);
        }
        let mut candidate = self.newest.at(slot(word(plain, at)));
        for _ in 0..CANDIDATES_MAX {
            // The places of a chain descend; a place of an earlier block lies beyond the end.
            if candidate >= at || consider(candidate) >= LENGTH_ENOUGH {
                break;
            }
            let next = self.earlier[candidate] as usize;
            if next >= candidate {
                break;
            }
            candidate = next;
        }
        self.enter(plain, at);
        best
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a block is at most 1 MiB long")]
    fn enter(&mut self, plain: &[u8], place: usize) {
        self.earlier[place] = self.newest.swap(slot(word(plain, place)), place) as u32;
    }
}

#[inline]
const fn slot(word: u64) -> usize {
    hash::<4, BITS>(word)
}
