//! The subscription table answers as a list of all subscriptions does.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ringmesh::subject;
use ringmesh::sublist::{Matches, Member, Sublist};

#[derive(Arbitrary, Debug)]
enum Op {
    Insert { filter: Tokens, queue: Queue, id: u8, weight: u8 },
    Remove { filter: Tokens, queue: Queue, id: u8 },
    SetWeight { filter: Tokens, queue: u8, id: u8, weight: u8 },
    Match { subject: Tokens },
    Cache { on: bool },
}

/// Tokens by number; few, so that filters and subjects meet.
#[derive(Arbitrary, Debug)]
struct Tokens(Vec<u8>);

#[derive(Arbitrary, Debug)]
struct Queue(Option<u8>);

impl Tokens {
    fn text(&self) -> Vec<u8> {
        const NAMES: [&[u8]; 8] = [b"a", b"b", b"c", b"aa", b"*", b">", b"a*", b"\xff"];
        let name = |number: &u8| NAMES[usize::from(*number) % NAMES.len()];
        self.0.iter().take(6).map(name).collect::<Vec<_>>().join(&b'.')
    }
}

impl Queue {
    fn name(&self) -> Option<&'static [u8]> {
        self.0.map(queue_name)
    }
}

fn queue_name(number: u8) -> &'static [u8] {
    [&b"q"[..], b"r", b"s"][usize::from(number) % 3]
}

/// Filter, queue group and id.
type Key = (Vec<u8>, Option<&'static [u8]>, u32);

#[derive(Default)]
struct Naive(BTreeMap<Key, u32>);

fuzz_target!(|ops: Vec<Op>| {
    let (mut list, mut naive) = (Sublist::new(1), Naive::default());
    for op in &ops {
        apply(op, &mut list, &mut naive);
        assert_eq!(list.len(), naive.0.len());
    }
});

fn apply(op: &Op, list: &mut Sublist, naive: &mut Naive) {
    match op {
        Op::Insert { filter, queue, id, weight } => {
            let (filter, queue, id) = (filter.text(), queue.name(), u32::from(*id % 8));
            if !subject::is_valid_filter(&filter) {
                return;
            }
            let weight = u32::from(*weight);
            list.insert(&filter, queue, Member { id, weight });
            naive.0.insert((filter, queue, id), weight);
        }
        Op::Remove { filter, queue, id } => {
            let (filter, queue, id) = (filter.text(), queue.name(), u32::from(*id % 8));
            let removed = list.remove(&filter, queue, id);
            assert_eq!(removed, naive.0.remove(&(filter, queue, id)).is_some());
        }
        Op::SetWeight { filter, queue, id, weight } => {
            let (filter, queue) = (filter.text(), queue_name(*queue));
            let (id, weight) = (u32::from(*id % 8), u32::from(*weight));
            let was_set = list.set_weight(&filter, queue, id, weight);
            let slot = naive.0.get_mut(&(filter, Some(queue), id));
            assert_eq!(was_set, slot.map(|slot| *slot = weight).is_some());
        }
        Op::Match { subject } => {
            let subject = subject.text();
            // The first answer may be computed, the second remembered.
            for _ in 0..2 {
                assert_eq!(sorted(list.matches(&subject)), naive.matches(&subject));
            }
        }
        Op::Cache { on } => list.set_cached(*on),
    }
}

/// Who gets a message, in an order of its own: by queue group, and without one.
type Sorted = BTreeMap<Option<Vec<u8>>, Vec<(u32, u32)>>;

fn sorted(matches: &Matches) -> Sorted {
    let pairs = |members: &[Member]| {
        let mut pairs: Vec<_> = members.iter().map(|m| (m.id, m.weight)).collect();
        pairs.sort_unstable();
        pairs
    };
    let queues =
        matches.queues.iter().map(|queue| (Some(queue.name.to_vec()), pairs(&queue.members)));
    let plain = [(None, pairs(&matches.plain))];
    queues.chain(plain).filter(|(_, members)| !members.is_empty()).collect()
}

impl Naive {
    fn matches(&self, subject: &[u8]) -> Sorted {
        let mut found = Sorted::default();
        for ((filter, queue, id), weight) in &self.0 {
            if subject::matches(filter, subject) {
                found.entry(queue.map(<[u8]>::to_vec)).or_default().push((*id, *weight));
            }
        }
        found.values_mut().for_each(|members| members.sort_unstable());
        found
    }
}
