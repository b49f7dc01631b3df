use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The simplest thing that could be right: all subscriptions in a list.
#[derive(Default)]
struct Model {
    entries: Vec<(Vec<u8>, Option<Vec<u8>>, Member)>,
}

/// A result in an order of its own: the plain members, and the members of each queue group.
type Sorted = (Vec<(u32, u32)>, BTreeMap<Vec<u8>, Vec<(u32, u32)>>);

impl Model {
    fn insert(&mut self, filter: &[u8], queue: Option<&[u8]>, member: Member) {
        self.remove(filter, queue, member.id);
        self.entries.push((filter.to_vec(), queue.map(<[u8]>::to_vec), member));
    }

    fn remove(&mut self, filter: &[u8], queue: Option<&[u8]>, id: u32) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(f, q, m)| f != filter || q.as_deref() != queue || m.id != id);
        self.entries.len() < before
    }

    fn set_weight(&mut self, filter: &[u8], queue: &[u8], id: u32, weight: u32) -> bool {
        let is_it = |e: &&mut (Vec<u8>, Option<Vec<u8>>, Member)| {
            e.0 == filter && e.1.as_deref() == Some(queue) && e.2.id == id
        };
        self.entries.iter_mut().find(is_it).map(|entry| entry.2.weight = weight).is_some()
    }

    fn matches(&self, subject: &[u8]) -> Sorted {
        let mut sorted = Sorted::default();
        for (filter, queue, member) in &self.entries {
            if is_match(filter, subject) {
                let list = match queue {
                    None => &mut sorted.0,
                    Some(name) => sorted.1.entry(name.clone()).or_default(),
                };
                list.push((member.id, member.weight));
            }
        }
        sorted.0.sort_unstable();
        sorted.1.values_mut().for_each(|list| list.sort_unstable());
        sorted
    }
}

fn is_match(filter: &[u8], subject: &[u8]) -> bool {
    let subject: Vec<_> = subject.split(|&byte| byte == b'.').collect();
    let filter: Vec<_> = filter.split(|&byte| byte == b'.').collect();
    if subject.iter().any(|token| token.is_empty()) {
        return false;
    }
    let (filter, is_len_right) = match filter.split_last() {
        Some((&b">", rest)) => (rest, subject.len() > rest.len()),
        _ => (&filter[..], subject.len() == filter.len()),
    };
    is_len_right && filter.iter().zip(&subject).all(|(f, s)| *f == b"*" || f == s)
}

fn sorted(matches: &Matches) -> Sorted {
    let pairs = |members: &[Member]| {
        let mut pairs: Vec<_> = members.iter().map(|m| (m.id, m.weight)).collect();
        pairs.sort_unstable();
        pairs
    };
    let queues: BTreeMap<_, _> =
        matches.queues.iter().map(|q| (q.name.to_vec(), pairs(&q.members))).collect();
    assert_eq!(queues.len(), matches.queues.len(), "a queue group is there once");
    (pairs(&matches.plain), queues)
}

fn local(id: u32) -> Member {
    Member { id, weight: 1 }
}

/// Of the filters in order, which get `subject`, by their place.
#[track_caller]
fn check(filters: &[&str], subject: &str, expected: &[u32]) {
    let mut list = Sublist::new(1);
    for (id, filter) in (0..).zip(filters) {
        list.insert(filter.as_bytes(), None, local(id));
    }
    let expected: Vec<_> = expected.iter().map(|&id| (id, 1)).collect();
    for round in ["new", "seen", "cached"] {
        let found = sorted(list.matches(subject.as_bytes()));
        assert_eq!(found.0, expected, "{round} {subject:?} of {filters:?}");
    }
}

#[test]
fn a_filter_matches_token_by_token() {
    let filters = ["a", "a.b", "a.*", "*.b", "a.>", ">", "*", "a.b.c", "*.*", "a.*.c", "a.b.>"];
    check(&filters, "a", &[0, 5, 6]);
    check(&filters, "a.b", &[1, 2, 3, 4, 5, 8]);
    check(&filters, "x.b", &[3, 5, 8]);
    check(&filters, "a.b.c", &[4, 5, 7, 9, 10]);
    check(&filters, "a.b.c.d", &[4, 5, 10]);
    check(&filters, "A", &[5, 6]);
}

#[test]
fn a_wildcard_inside_a_token_is_a_letter() {
    let filters = ["foo*", "*x", "a>", "foo", "**"];
    check(&filters, "foo*", &[0]);
    check(&filters, "foox", &[]);
    check(&filters, "foo", &[3]);
    check(&filters, "a>", &[2]);
    check(&filters, "**", &[4]);
}

#[test]
fn a_published_wildcard_is_a_letter() {
    let filters = ["foo.*", "foo.bar", "foo.>", "*", ">", "foo.*.x"];
    check(&filters, "foo.*", &[0, 2, 4]);
    check(&filters, "foo.>", &[0, 2, 4]);
    check(&filters, "*", &[3, 4]);
    check(&filters, ">", &[3, 4]);
    check(&filters, "*.*", &[4]);
    check(&filters, "foo.>.x", &[2, 4, 5]);
}

#[test]
fn a_subject_with_an_empty_token_matches_nothing() {
    for subject in ["", ".", "a.", ".a", "a..b"] {
        check(&[">", "*", "*.*", "a.>", "a.*.b"], subject, &[]);
    }
}

#[test]
fn queue_groups_of_one_name_are_one_group_whichever_filter_they_come_from() {
    let mut list = Sublist::new(1);
    list.insert(b"a.b", Some(b"q"), local(1));
    list.insert(b"a.*", Some(b"q"), local(2));
    list.insert(b"a.>", Some(b"r"), local(3));
    list.insert(b"a.b", None, local(4));
    for _ in 0..3 {
        let (plain, queues) = sorted(list.matches(b"a.b"));
        assert_eq!(plain, [(4, 1)]);
        let expected = [(b"q".to_vec(), vec![(1, 1), (2, 1)]), (b"r".to_vec(), vec![(3, 1)])];
        assert_eq!(queues, expected.into_iter().collect());
    }
    assert!(list.set_weight(b"a.*", b"q", 2, 9));
    assert!(!list.set_weight(b"a.*", b"q", 1, 9));
    assert_eq!(sorted(list.matches(b"a.b")).1[&b"q".to_vec()], [(1, 1), (2, 9)]);
}

#[test]
fn what_was_not_inserted_is_not_removed() {
    let mut list = Sublist::new(1);
    list.insert(b"a.b", None, local(1));
    list.insert(b"a.b", Some(b"q"), local(2));
    let generation = list.generation();
    for (filter, queue, id) in [
        (&b"a.b"[..], None, 2),
        (b"a.b", Some(&b"q"[..]), 1),
        (b"a.b", Some(b"r"), 2),
        (b"a", None, 1),
        (b"a.*", None, 1),
        (b"a.b.c", None, 1),
    ] {
        assert!(!list.remove(filter, queue, id), "{filter:?} {queue:?} {id}");
    }
    assert_eq!(list.generation(), generation);
    assert_eq!(list.len(), 2);
    assert!(list.remove(b"a.b", None, 1) && list.remove(b"a.b", Some(b"q"), 2));
    check_empty(&mut list);
}

#[test]
fn a_deep_filter_and_a_long_subject_cost_no_recursion() {
    let mut list = Sublist::new(1);
    let deep = vec!["x"; 2048].join(".");
    let stars = vec!["*"; 2048].join(".");
    let rest = format!("{stars}.>");
    for (id, filter) in (0..).zip([&deep, &stars, &rest]) {
        list.insert(filter.as_bytes(), None, local(id));
    }
    for id in 0..2047 {
        let filter = format!("{}.>", vec!["*"; id + 1].join("."));
        list.insert(filter.as_bytes(), None, local(10));
    }
    assert_eq!(list.matches(deep.as_bytes()).plain.len(), 2 + 2047);
    let longer = format!("{deep}.x");
    assert_eq!(list.matches(longer.as_bytes()).plain.len(), 2048);
}

#[test]
fn both_branches_at_every_level_cost_no_more_than_the_nodes_there_are() {
    let mut list = Sublist::new(1);
    for id in 0..1 << 10 {
        let token = |level: u32| if id >> level & 1_u32 == 0 { "a" } else { "*" };
        let filter: Vec<_> = (0..10).map(token).collect();
        list.insert(filter.join(".").as_bytes(), None, local(id));
    }
    assert_eq!(list.matches(b"a.a.a.a.a.a.a.a.a.a").plain.len(), 1 << 10);
    assert_eq!(list.matches(b"a.a.a.a.b.a.a.a.a.a").plain.len(), 1 << 9);
    assert!(list.matches(b"a.a.a.a.a.a.a.a.a").is_empty());
}

#[test]
fn a_crowd_leaves_one_by_one_in_any_order() {
    for queue in [None, Some(&b"q"[..])] {
        let mut list = Sublist::new(1);
        (0..10_000).for_each(|id| list.insert(b"a", queue, local(id)));
        // 7 and 10,000 have no common factor: every id comes once.
        for step in 0..10_000 {
            assert!(list.remove(b"a", queue, step * 7 % 10_000));
            assert!(!list.remove(b"a", queue, step * 7 % 10_000));
        }
        check_empty(&mut list);
    }
}

#[test]
fn ten_thousand_queue_groups_of_one_filter_come_and_go() {
    let mut list = Sublist::new(1);
    let name = |id: u32| id.to_string().into_bytes();
    for id in 0..10_000 {
        list.insert(b"a.b", Some(&name(id)), local(id));
        list.insert(b"a.*", Some(&name(id)), local(id));
    }
    let matches = list.matches(b"a.b");
    assert_eq!(matches.queues.len(), 10_000);
    assert!(matches.queues.iter().all(|queue| queue.members.len() == 2));
    for id in (0..10_000).rev() {
        assert!(list.remove(b"a.b", Some(&name(id)), id));
        assert!(list.remove(b"a.*", Some(&name(id)), id));
    }
    check_empty(&mut list);
}

#[test]
fn ten_thousand_idle_filters_take_less_than_200_bytes_each() {
    let mut list = Sublist::new(1);
    (0..10_000).for_each(|id| list.insert(format!("idle.{id}").as_bytes(), None, local(id)));
    let bytes = list.trie.heap_bytes();
    assert!(bytes < 10_000 * 200, "{bytes}");
    (0..10_000).for_each(|id| assert!(list.remove(format!("idle.{id}").as_bytes(), None, id)));
    check_empty(&mut list);
    assert!(list.trie.heap_bytes() < 4096);
}

#[test]
fn a_thousand_subjects_in_rotation_hit_the_cache() {
    let mut list = Sublist::new(1);
    list.insert(b"rotation.>", None, local(1));
    for _ in 0..10 {
        for id in 0..1000 {
            assert_eq!(list.matches(format!("rotation.{id}").as_bytes()).plain.len(), 1);
        }
    }
    let stats = list.stats();
    assert_eq!(stats.num_matches, 10_000);
    assert!(stats.cache_hits > 7_900, "{stats:?}");
    assert!(stats.num_cache > 990, "{stats:?}");
    assert_eq!((stats.max_fanout, stats.avg_fanout()), (1, 1.0));
    list.insert(b"other", None, local(2));
    assert_eq!(list.stats().num_cache, 0, "a change makes every result invalid");
}

#[test]
fn subjects_that_never_repeat_are_not_cached() {
    let mut list = Sublist::new(1);
    list.insert(b"once.*", None, local(1));
    for id in 0..100_000 {
        assert_eq!(list.matches(format!("once.{id}").as_bytes()).plain.len(), 1);
    }
    assert!(list.stats().num_cache < 4, "{:?}", list.stats());
}

#[test]
fn the_cache_stays_within_its_bytes() {
    let mut list = Sublist::new(1);
    (0..10_000).for_each(|id| list.insert(b"big.*", None, local(id)));
    for round in 0..3 {
        for id in 0..1000 {
            let matches = list.matches(format!("big.{id}").as_bytes());
            assert_eq!(matches.plain.len(), 10_000, "{round}");
        }
        list.cache.check();
    }
    let stats = list.stats();
    assert!(stats.num_cache > 10, "{stats:?}");
    (0..10_000).for_each(|id| assert!(list.remove(b"big.*", None, id)));
    assert_eq!(list.cache.heap_bytes() + list.found.heap_bytes(), 0);
    check_empty(&mut list);
}

#[test]
fn a_result_that_takes_the_place_of_another_has_nothing_of_it() {
    let mut list = Sublist::new(1);
    let (mut rng, mut model) = (fastrand::Rng::with_seed(7), Model::default());
    for id in 0..60 {
        let filter = format!("{}.>", id % 20).into_bytes();
        let queue = (id % 3 > 0).then(|| vec![b'a' + rng.u8(..9)]);
        list.insert(&filter, queue.as_deref(), local(id));
        model.insert(&filter, queue.as_deref(), local(id));
    }
    for id in 0..20_000 {
        // Asked for twice, it moves in; the cache has room for fewer.
        let subject = format!("{}.{id}", id % 20).into_bytes();
        let expected = model.matches(&subject);
        (0..3).for_each(|_| assert_eq!(sorted(list.matches(&subject)), expected));
    }
    let stats = list.stats();
    assert_eq!(stats.cache_hits, 20_000);
    assert!((6000..10_000).contains(&stats.num_cache), "{stats:?}");
    list.cache.check();
}

#[test]
fn stats_count_what_happened() {
    let mut list = Sublist::new(1);
    list.insert(b"a", None, local(1));
    list.insert(b"a", Some(b"q"), local(2));
    list.insert(b"b", None, local(3));
    assert!(list.remove(b"b", None, 3));
    (0..4).for_each(|_| drop(sorted(list.matches(b"a"))));
    let expected = SublistStats {
        num_subscriptions: 2,
        num_cache: 1,
        num_inserts: 3,
        num_removes: 1,
        num_matches: 4,
        cache_hits: 2,
        max_fanout: 2,
        total_fanout: 2,
    };
    assert_eq!(list.stats(), expected);
    let mut both = expected;
    both.merge(&SublistStats { max_fanout: 1, total_fanout: 1, ..expected });
    assert_eq!((both.num_matches, both.max_fanout), (8, 2));
    assert_eq!((both.cache_hit_rate(), both.avg_fanout()), (0.5, 1.5));
}

/// An empty table holds no node, group or name.
#[track_caller]
fn check_empty(list: &mut Sublist) {
    assert!(list.is_empty());
    list.cache.check();
    assert_eq!(list.trie.len(), 0);
    assert_eq!(list.groups.len(), (0, 0));
    assert!(list.matches(b"a").is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Insert {
        filter: Vec<u8>,
        queue: Option<Vec<u8>>,
        member: Member,
    },
    /// Removes the subscription that stands at this place of the model, or anything.
    Remove {
        place: usize,
    },
    SetWeight {
        place: usize,
        weight: u32,
    },
    Matches {
        subject: Vec<u8>,
    },
}

fn filter() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![3 => "[ab]", 2 => Just("*".to_owned()), 1 => "[ab*>]{2}", 1 => "a{30}"];
    (proptest::collection::vec(token, 1..5), any::<bool>()).prop_map(|(mut tokens, is_open)| {
        if is_open {
            tokens.pop();
            tokens.push(">".to_owned());
        }
        tokens.join(".").into_bytes()
    })
}

fn subject() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![8 => "[ab]", 1 => "[*>]", 1 => "[ab*>]{2}", 1 => "a{30}"];
    let tidy = proptest::collection::vec(token, 1..6).prop_map(|t| t.join(".").into_bytes());
    prop_oneof![9 => tidy, 1 => "[ab.]{0,6}".prop_map(String::into_bytes)]
}

fn step() -> impl Strategy<Value = Step> {
    let queue = proptest::option::of("[qr]".prop_map(String::into_bytes));
    let insert = (filter(), queue, 0_u32..8, 1_u32..5).prop_map(|(filter, queue, id, weight)| {
        Step::Insert { filter, queue, member: Member { id, weight } }
    });
    prop_oneof![
        4 => insert,
        3 => any::<usize>().prop_map(|place| Step::Remove { place }),
        1 => (any::<usize>(), 1_u32..5)
            .prop_map(|(place, weight)| Step::SetWeight { place, weight }),
        6 => subject().prop_map(|subject| Step::Matches { subject }),
    ]
}

fn run(list: &mut Sublist, model: &mut Model, step: Step) {
    let at = |place: usize, model: &Model| {
        let len = model.entries.len();
        (len > 0).then(|| model.entries[place % len].clone())
    };
    match step {
        Step::Insert { filter, queue, member } => {
            list.insert(&filter, queue.as_deref(), member);
            model.insert(&filter, queue.as_deref(), member);
        }
        Step::Remove { place } => {
            if let Some((filter, queue, member)) = at(place, model) {
                assert!(list.remove(&filter, queue.as_deref(), member.id));
                assert!(model.remove(&filter, queue.as_deref(), member.id));
            }
        }
        Step::SetWeight { place, weight } => {
            if let Some((filter, Some(queue), member)) = at(place, model) {
                assert!(list.set_weight(&filter, &queue, member.id, weight));
                assert!(model.set_weight(&filter, &queue, member.id, weight));
            }
        }
        Step::Matches { subject } => {
            let expected = model.matches(&subject);
            // New, seen before, and from the cache.
            for _ in 0..3 {
                assert_eq!(sorted(list.matches(&subject)), expected, "{subject:?}");
            }
        }
    }
    assert_eq!(list.len(), model.entries.len());
}

fn empty(list: &mut Sublist, model: &mut Model) {
    for (filter, queue, member) in std::mem::take(&mut model.entries) {
        assert!(list.remove(&filter, queue.as_deref(), member.id));
    }
    check_empty(list);
}

proptest! {
    #[test]
    fn the_table_finds_what_a_list_finds(
        seed: u64,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let (mut list, mut model) = (Sublist::new(seed), Model::default());
        steps.into_iter().for_each(|step| run(&mut list, &mut model, step));
        empty(&mut list, &mut model);
    }
}

#[test]
fn a_long_life_of_a_table_finds_what_a_list_finds() {
    let mut rng = fastrand::Rng::with_seed(20_260_511);
    let (mut list, mut model) = (Sublist::new(rng.u64(..)), Model::default());
    let token = |rng: &mut fastrand::Rng| *rng.choice(["a", "b", "c", "*", "long"].iter()).unwrap();
    for round in 0..20_000 {
        let tokens: Vec<_> = (0..rng.usize(1..5)).map(|_| token(&mut rng)).collect();
        let text = tokens.join(".").into_bytes();
        let queue = rng.bool().then(|| vec![b'q', rng.u8(b'0'..b'4')]);
        // The table grows for a while, and shrinks for a while.
        let is_growing = round / 1000 % 2 == 0;
        let step = match rng.u32(0..10) {
            0..4 if is_growing => Step::Insert { filter: text, queue, member: local(rng.u32(..)) },
            0..=4 => Step::Remove { place: rng.usize(..) },
            5 => Step::SetWeight { place: rng.usize(..), weight: rng.u32(1..9) },
            _ => Step::Matches { subject: text },
        };
        run(&mut list, &mut model, step);
    }
    empty(&mut list, &mut model);
}

#[test]
fn without_a_cache_every_subject_is_matched_anew() {
    let mut sublist = Sublist::new(7);
    sublist.set_cached(false);
    sublist.insert(b"a.*", None, Member { id: 1, weight: 1 });
    for _ in 0..3 {
        assert_eq!(sublist.matches(b"a.b").plain.len(), 1);
    }
    assert_eq!(sublist.stats().cache_hits, 0);
    assert_eq!(sublist.stats().num_cache, 0);
}
