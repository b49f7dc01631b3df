//! Who wants a message on a subject: the subscription table of one account in one shard.
//!
//! A [`Sublist`] is a trie over the tokens of the filters, and a bounded cache of results in front
//! of it. It knows neither connections nor subscription ids: a [`Member`] is a number of the
//! caller's, and what it stands for (a local subscription, another shard, a server) is the
//! caller's business. It picks nobody either: a queue group comes out whole.
//!
//! Invariant: a cached result is served only while nothing was inserted, removed or re-weighted
//! since it was computed; `generation` says so.

mod cache;
mod groups;
mod hashing;
mod members;
mod subscription;
#[cfg(test)]
mod tests;
mod trie;

pub use subscription::{Owner, Subscription};

use std::rc::Rc;

use cache::{Cache, Probe};
use groups::Groups;
use hashing::Hashing;
use trie::{Trie, Walk};

/// One receiver, as the caller numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The caller's slab index of the subscription; unique within one filter and queue group.
    pub id: u32,
    /// How many receivers stand behind it: 1 for a local one. It counts only in a queue group.
    pub weight: u32,
}

/// Everyone who wants a message on one subject. The order says nothing.
#[derive(Debug, Default)]
pub struct Matches {
    /// These all get the message.
    pub plain: Vec<Member>,
    /// Of each of these one member gets the message.
    pub queues: Vec<QueueMatch>,
    /// Emptied member lists, kept for their capacity.
    spare: Vec<Vec<Member>>,
}

/// The members of one queue group, from all filters that match.
#[derive(Debug)]
pub struct QueueMatch {
    /// The queue group's name; unique within one [`Matches`].
    pub name: Rc<[u8]>,
    /// Never empty. A member that subscribed by two matching filters is there by two ids.
    pub members: Vec<Member>,
}

/// What `/subsz` reports of a table. Those of several tables add up with [`merge`](Self::merge).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SublistStats {
    /// Members that are in the table.
    pub num_subscriptions: u64,
    /// Results in the cache that are still valid.
    pub num_cache: u64,
    /// Members inserted since the beginning.
    pub num_inserts: u64,
    /// Members removed since the beginning.
    pub num_removes: u64,
    /// Calls of [`Sublist::matches`] since the beginning.
    pub num_matches: u64,
    /// How many of those the cache answered.
    pub cache_hits: u64,
    /// The most plain members and queue groups that one valid cached result holds.
    pub max_fanout: u64,
    /// Plain members and queue groups of all valid cached results together.
    pub total_fanout: u64,
}

/// The subscription table of one account in one shard. See the module.
#[derive(Debug)]
pub struct Sublist {
    hashing: Hashing,
    trie: Trie,
    groups: Groups,
    cache: Cache,
    walk: Walk,
    found: Matches,
    generation: u64,
    stats: SublistStats,
    /// Whether results are kept (`disable_sublist_cache`).
    is_cached: bool,
}

impl Sublist {
    /// An empty table. `seed` keeps peers from choosing names whose hashes collide.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            hashing: Hashing::new(seed),
            trie: Trie::new(),
            groups: Groups::default(),
            cache: Cache::default(),
            walk: Walk::default(),
            found: Matches::default(),
            generation: 1,
            stats: SublistStats::default(),
            is_cached: true,
        }
    }

    /// Adds a member under `filter`, which `subject::is_valid_filter` has passed, as a plain
    /// subscriber or in a queue group. A member that is there already gets the new weight.
    pub fn insert(&mut self, filter: &[u8], queue: Option<&[u8]>, member: Member) {
        let node = self.trie.find_or_add(&self.hashing, filter);
        let is_new = match queue {
            None => self.trie.node_mut(node).plain.insert(member),
            Some(name) => {
                let first = &mut self.trie.node_mut(node).first_group;
                self.groups.insert(&self.hashing, (node, first), name, member)
            }
        };
        self.generation += 1;
        self.stats.num_inserts += 1;
        self.stats.num_subscriptions += u64::from(is_new);
    }

    /// Takes a member out; false when it was not there.
    pub fn remove(&mut self, filter: &[u8], queue: Option<&[u8]>, id: u32) -> bool {
        let Some(node) = self.trie.find(&self.hashing, filter) else { return false };
        let is_removed = match queue {
            None => self.trie.node_mut(node).plain.remove(id),
            Some(name) => {
                let first = &mut self.trie.node_mut(node).first_group;
                self.groups.remove(&self.hashing, (node, first), name, id)
            }
        };
        if is_removed {
            self.trie.prune(&self.hashing, node);
            self.generation += 1;
            self.stats.num_removes += 1;
            self.stats.num_subscriptions -= 1;
            self.release();
        }
        is_removed
    }

    /// Sets how many receivers stand behind a queue member; false when it is not there.
    pub fn set_weight(&mut self, filter: &[u8], queue: &[u8], id: u32, weight: u32) -> bool {
        let is_set = self
            .trie
            .find(&self.hashing, filter)
            .and_then(|node| self.groups.members_mut(&self.hashing, node, queue))
            .is_some_and(|members| members.set_weight(id, weight));
        self.generation += u64::from(is_set);
        is_set
    }

    /// Who wants a message on `subject`, which may be anything that a client published to.
    ///
    /// The tokens of `subject` are taken literally, also `*` and `>`; one with an empty token is
    /// wanted by nobody. Allocates nothing once its buffers have grown.
    pub fn matches(&mut self, subject: &[u8]) -> &Matches {
        self.stats.num_matches += 1;
        if self.is_empty() {
            self.found.clear();
            return &self.found;
        }
        if !self.is_cached {
            self.compute(subject);
            return &self.found;
        }
        let hash = self.hashing.bytes(subject);
        let probe = self.cache.probe(hash, subject, self.generation);
        if let Probe::Hit(slot) = probe {
            self.stats.cache_hits += 1;
            return self.cache.matches(slot);
        }
        self.compute(subject);
        self.cache.store(probe, (hash, subject), self.generation, &self.found);
        &self.found
    }

    /// Keeps results from now on, or does not.
    pub fn set_cached(&mut self, is_cached: bool) {
        self.is_cached = is_cached;
    }

    /// Something about a subscription changed that whoever keeps results must know.
    pub fn invalidate(&mut self) {
        self.generation += 1;
    }

    /// Changes with every insertion, removal and change of a weight, and never repeats.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The counters so far; looks at every cached result.
    #[must_use]
    pub fn stats(&self) -> SublistStats {
        let mut stats = self.stats;
        for fanout in self.cache.fanouts(self.generation) {
            stats.num_cache += 1;
            stats.total_fanout += fanout;
            stats.max_fanout = stats.max_fanout.max(fanout);
        }
        stats
    }

    /// How many members are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.stats.num_subscriptions).unwrap_or(usize::MAX)
    }

    /// Whether nobody is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stats.num_subscriptions == 0
    }

    /// Gives back what results took, when nobody is left and it is much.
    fn release(&mut self) {
        if self.is_empty() && self.cache.heap_bytes() + self.found.heap_bytes() > RESULT_BYTES_KEPT
        {
            self.cache = Cache::default();
            self.found = Matches::default();
        }
    }

    fn compute(&mut self, subject: &[u8]) {
        let Self { hashing, trie, groups, walk, found, stats, .. } = self;
        found.clear();
        walk.run(trie, hashing, subject, |node| {
            found.plain.extend_from_slice(node.plain.as_slice());
            groups.collect(node.first_group, stats.num_matches, found);
        });
    }
}

impl Matches {
    /// Whether nobody wants the message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }

    fn clear(&mut self) {
        self.plain.clear();
        // Backwards, so that the same result finds the same capacities again.
        for mut queue in self.queues.drain(..).rev() {
            queue.members.clear();
            self.spare.push(queue.members);
        }
    }

    /// Adds a queue group and says where in `queues` it is.
    fn open_queue(&mut self, name: &Rc<[u8]>) -> usize {
        let members = self.spare.pop().unwrap_or_default();
        self.queues.push(QueueMatch { name: Rc::clone(name), members });
        self.queues.len() - 1
    }

    fn copy_from(&mut self, other: &Self) {
        self.clear();
        self.plain.extend_from_slice(&other.plain);
        for queue in &other.queues {
            let place = self.open_queue(&queue.name);
            self.queues[place].members.extend_from_slice(&queue.members);
        }
    }

    /// How many members it holds, in all lists.
    fn len(&self) -> usize {
        self.plain.len() + self.queues.iter().map(|queue| queue.members.len()).sum::<usize>()
    }

    fn fanout(&self) -> u64 {
        (self.plain.len() + self.queues.len()) as u64
    }

    fn heap_bytes(&self) -> usize {
        let queued = self.queues.iter().map(|queue| queue.members.capacity());
        let spare = self.spare.iter().map(Vec::capacity);
        (self.plain.capacity() + queued.chain(spare).sum::<usize>()) * size_of::<Member>()
            + self.queues.capacity() * size_of::<QueueMatch>()
            + self.spare.capacity() * size_of::<Vec<Member>>()
    }
}

impl SublistStats {
    /// The share of matches that the cache answered, 0 to 1.
    #[must_use]
    pub fn cache_hit_rate(&self) -> f64 {
        ratio(self.cache_hits, self.num_matches)
    }

    /// Plain members and queue groups that a valid cached result holds on average.
    #[must_use]
    pub fn avg_fanout(&self) -> f64 {
        ratio(self.total_fanout, self.num_cache)
    }

    /// Adds another table's counters.
    pub fn merge(&mut self, other: &Self) {
        self.num_subscriptions += other.num_subscriptions;
        self.num_cache += other.num_cache;
        self.num_inserts += other.num_inserts;
        self.num_removes += other.num_removes;
        self.num_matches += other.num_matches;
        self.cache_hits += other.cache_hits;
        self.max_fanout = self.max_fanout.max(other.max_fanout);
        self.total_fanout += other.total_fanout;
    }
}

/// An empty table keeps so many bytes of old results for their capacity.
const RESULT_BYTES_KEPT: usize = 256 << 10;

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
