//! What is wanted in one place, added up over all who want it there.
//!
//! Other shards and other servers are told sums: of a subject whether anybody wants it, of a queue
//! group how many. The table knows nobody by name.
//!
//! Invariant: an entry is there exactly while somebody wants what it stands for.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use hashbrown::HashTable;

use super::Want;

/// See the module's documentation.
pub struct LocalInterest {
    table: HashTable<Entry>,
    hasher: FixedState,
}

struct Entry {
    account: crate::ids::AccountId,
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
    sum: Sum,
}

/// How many want something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// On this shard.
    pub own: u32,
    /// On other shards.
    pub others: u32,
}

/// Which part of a sum changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// This shard's.
    Own,
    /// The other shards'.
    Others,
}

impl Sum {
    /// How many it are in this place, and in all.
    #[must_use]
    pub const fn all(self) -> u32 {
        self.own.saturating_add(self.others)
    }
}

impl Entry {
    fn want(&self) -> Want<'_> {
        Want { account: self.account, subject: &self.subject, queue: self.queue.as_deref() }
    }
}

impl LocalInterest {
    /// An empty table.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { table: HashTable::new(), hasher: FixedState::with_seed(seed) }
    }

    /// So many more, or fewer, want something. Returns the sums before and after.
    pub fn change(&mut self, part: Part, want: Want<'_>, change: i32) -> (Sum, Sum) {
        let hash = self.hasher.hash_one(want);
        let hasher = &self.hasher;
        let rehash = |entry: &Entry| hasher.hash_one(entry.want());
        let mut entry =
            self.table.entry(hash, |entry| entry.want() == want, rehash).or_insert_with(|| Entry {
                account: want.account,
                subject: want.subject.into(),
                queue: want.queue.map(Into::into),
                sum: Sum::default(),
            });
        let sum = &mut entry.get_mut().sum;
        let before = *sum;
        let changed = match part {
            Part::Own => &mut sum.own,
            Part::Others => &mut sum.others,
        };
        *changed = changed.saturating_add_signed(change);
        let after = *sum;
        if after == Sum::default() {
            entry.remove();
        }
        (before, after)
    }

    /// Everything that is wanted, and how much.
    pub fn iter(&self) -> impl Iterator<Item = (Want<'_>, Sum)> {
        self.table.iter().map(|entry| (entry.want(), entry.sum))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

/// Whether others must be told of a change: of a subject only whether it is wanted, of a queue group
/// every number.
#[must_use]
pub const fn is_news(want: &Want<'_>, before: u32, after: u32) -> bool {
    if want.queue.is_some() { before != after } else { (before == 0) != (after == 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;

    #[test]
    fn sums_add_up_and_go_away() {
        let mut table = LocalInterest::new(7);
        let want = Want { account: AccountId::GLOBAL, subject: b"a", queue: None };
        let sum = |own, others| Sum { own, others };
        assert_eq!(table.change(Part::Own, want, 1), (sum(0, 0), sum(1, 0)));
        assert_eq!(table.change(Part::Others, want, 2), (sum(1, 0), sum(1, 2)));
        assert_eq!(table.iter().map(|(_, sum)| sum.all()).collect::<Vec<_>>(), [3]);
        assert_eq!(table.change(Part::Own, want, -1), (sum(1, 2), sum(0, 2)));
        assert_eq!(table.change(Part::Others, want, -2), (sum(0, 2), sum(0, 0)));
        assert!(table.is_empty());
    }

    #[test]
    fn a_subject_is_news_once_and_a_group_with_every_number() {
        let want = |queue| Want { account: AccountId::GLOBAL, subject: b"a", queue };
        assert!(is_news(&want(None), 0, 1) && !is_news(&want(None), 1, 2));
        assert!(is_news(&want(Some(b"q")), 1, 2) && !is_news(&want(Some(b"q")), 2, 2));
    }
}
