//! Results of the subjects that come again and again.
//!
//! Sets of four ways. A set also remembers the hashes of the subjects it saw last, and a subject
//! is stored only when it comes a second time: subjects that never repeat cost the cache nothing
//! and push nobody out. A slot keeps its buffers when another subject moves in, so a warm cache
//! allocates nothing. A slot of an older generation counts as free.
//!
//! Invariant: the slots' buffers together hold at most [`BYTES_MAX`] (and the last one stored).

use super::Matches;

/// The cache of one table. Empty, it has no memory.
#[derive(Debug, Default)]
pub(super) struct Cache {
    sets: Box<[Set]>,
    slots: Vec<Slot>,
    heap_bytes: usize,
    /// The slot that gives up its buffers next when they are too much.
    hand: usize,
    /// Counts evictions, to spread them over the ways.
    turn: usize,
}

/// What is known of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// The result in this slot is valid.
    Hit(usize),
    /// The result in this slot is out of date.
    Stale(usize),
    /// It is not there, but was asked for before.
    Seen,
    /// It is new.
    New,
}

#[derive(Clone, Copy, Debug, Default)]
struct Set {
    /// Hashes of the subjects in `slots`; 0 for none.
    tags: [u32; WAYS],
    /// Hashes of subjects that were asked for once, the latest first.
    ghosts: [u32; WAYS],
    slots: [u16; WAYS],
}

#[derive(Debug, Default)]
struct Slot {
    /// The generation of the result; 0 is older than all.
    generation: u64,
    subject: Vec<u8>,
    matches: Matches,
}

impl Cache {
    /// Looks a subject up; a new one is new only once.
    pub(super) fn probe(&mut self, hash: u64, subject: &[u8], generation: u64) -> Probe {
        if self.sets.is_empty() {
            self.sets = vec![Set::default(); SETS].into_boxed_slice();
        }
        let tag = tag(hash);
        let set = &mut self.sets[index(hash)];
        for way in 0..WAYS {
            if set.tags[way] == tag {
                let place = usize::from(set.slots[way]);
                let slot = &self.slots[place];
                if slot.subject == subject {
                    let is_valid = slot.generation == generation;
                    return if is_valid { Probe::Hit(place) } else { Probe::Stale(place) };
                }
            }
        }
        if set.ghosts.contains(&tag) {
            return Probe::Seen;
        }
        set.ghosts.copy_within(..WAYS - 1, 1);
        set.ghosts[0] = tag;
        Probe::New
    }

    pub(super) fn matches(&self, slot: usize) -> &Matches {
        &self.slots[slot].matches
    }

    /// Keeps the result of a subject that [`probe`](Self::probe) has seen before.
    pub(super) fn store(
        &mut self,
        probe: Probe,
        (hash, subject): (u64, &[u8]),
        generation: u64,
        found: &Matches,
    ) {
        if found.len() > MEMBERS_MAX || subject.len() > SUBJECT_MAX {
            return;
        }
        let place = match probe {
            Probe::Hit(_) | Probe::New => return,
            Probe::Stale(place) => place,
            Probe::Seen => self.make_room(hash, generation),
        };
        let slot = &mut self.slots[place];
        let before = slot.heap_bytes();
        slot.generation = generation;
        slot.subject.clear();
        slot.subject.extend_from_slice(subject);
        slot.matches.copy_from(found);
        self.heap_bytes = self.heap_bytes - before + slot.heap_bytes();
        self.shrink(place);
    }

    /// What the slots' buffers take.
    pub(super) fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let counted: usize = self.slots.iter().map(Slot::heap_bytes).sum();
        assert_eq!(counted, self.heap_bytes);
        assert!(counted <= BYTES_MAX);
    }

    /// Plain members and queue groups of each valid result.
    pub(super) fn fanouts(&self, generation: u64) -> impl Iterator<Item = u64> {
        self.slots
            .iter()
            .filter(move |slot| slot.generation == generation)
            .map(|slot| slot.matches.fanout())
    }

    /// A slot for the subject with this hash: a new one, an outdated one, or somebody else's.
    fn make_room(&mut self, hash: u64, generation: u64) -> usize {
        let set = &mut self.sets[index(hash)];
        if let Some(way) = set.tags.iter().position(|&tag| tag == 0) {
            let place = self.slots.len();
            self.slots.push(Slot::default());
            set.tags[way] = tag(hash);
            set.slots[way] = u16::try_from(place).expect("all ways together have u16 places");
            return place;
        }
        let is_outdated = |&place: &u16| self.slots[usize::from(place)].generation != generation;
        let way = set.slots.iter().position(is_outdated).unwrap_or(self.turn % WAYS);
        self.turn = self.turn.wrapping_add(1);
        set.tags[way] = tag(hash);
        usize::from(set.slots[way])
    }

    /// Takes the buffers of other slots in turn until all together are within bounds.
    fn shrink(&mut self, but: usize) {
        let mut tries = self.slots.len();
        while self.heap_bytes > BYTES_MAX && tries > 0 {
            tries -= 1;
            self.hand = (self.hand + 1) % self.slots.len();
            if self.hand != but {
                let slot = std::mem::take(&mut self.slots[self.hand]);
                self.heap_bytes -= slot.heap_bytes();
            }
        }
    }
}

impl Slot {
    fn heap_bytes(&self) -> usize {
        self.subject.capacity() + self.matches.heap_bytes()
    }
}

/// Never 0, which stands for nothing.
fn tag(hash: u64) -> u32 {
    ((hash >> 32) as u32).max(1)
}

fn index(hash: u64) -> usize {
    (hash & SETS_MASK) as usize
}

const WAYS: usize = 4;

/// A thousand subjects fill an eighth of the ways: hardly ever do five of them share a set.
const SETS: usize = 2048;
const SETS_MASK: u64 = 0x7ff;

/// The heap memory of all slots together. The slots themselves take less than 1 MiB more.
const BYTES_MAX: usize = 8 << 20;

/// The largest result that is stored: a fan-out to more costs far more than finding them.
const MEMBERS_MAX: usize = 32 << 10;

/// The longest subject that is stored, in bytes.
const SUBJECT_MAX: usize = 1024;

const _: () = assert!(SETS_MASK == SETS as u64 - 1 && SETS * WAYS <= 1 << 16);
const _: () = assert!(size_of::<Slot>() * SETS * WAYS <= 1 << 20);
