//! Who wants a subject: tables of different sizes and filters, with remembered results and without.
//!
//! Each message is wanted by one member. What is published goes over the whole table in no order, so
//! that a large table does not lie in the processor's caches; only what comes from the table's own
//! cache is few enough to be there.

use criterion::{BenchmarkId, Criterion, Throughput};
use ringmesh::sublist::{Member, Sublist};

/// The filter of a subscription that takes the subject `orders.<number>.new`.
type Filter = fn(u32) -> String;

const FILTERS: [(&str, Filter); 3] = [
    ("literal", |n| format!("orders.{n}.new")),
    ("star", |n| format!("*.{n}.new")),
    ("tail", |n| format!("orders.{n}.>")),
];

const SIZES: [u32; 3] = [1, 1000, 100_000];

/// So many different subjects are nearly all remembered.
const WARM_SUBJECTS: usize = 1000;

pub(crate) fn bench(criterion: &mut Criterion) {
    for (name, filter) in FILTERS {
        for size in SIZES {
            bench_table(criterion, name, filter, size);
        }
    }
}

fn bench_table(criterion: &mut Criterion, name: &str, filter: Filter, size: u32) {
    let subjects = shuffled_subjects(size);
    // Made at the first use: most runs measure a few benches only.
    let mut table = None;
    for (cache, is_cached) in [("warm", true), ("cold", false)] {
        let few = &subjects[..WARM_SUBJECTS.min(subjects.len())];
        let published = if is_cached { few } else { &subjects };
        let mut group = criterion.benchmark_group(format!("sublist/{cache}"));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            let table = table.get_or_insert_with(|| table_of(filter, size));
            table.set_cached(is_cached);
            // A result is remembered when its subject comes a second time.
            for subject in few.iter().chain(few) {
                assert_eq!(table.matches(subject.as_bytes()).plain.len(), 1, "{subject}");
            }
            let mut published = published.iter().cycle();
            bencher.iter(|| {
                published.next().map(|subject| table.matches(subject.as_bytes()).plain.len())
            });
        });
    }
}

/// They lie one behind the other, as in a receive buffer, whatever their numbers are.
fn shuffled_subjects(size: u32) -> Vec<String> {
    let mut numbers: Vec<_> = (0..size).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut numbers);
    numbers.iter().map(|n| format!("orders.{n}.new")).collect()
}

fn table_of(filter: Filter, size: u32) -> Sublist {
    let mut table = Sublist::new(1);
    for id in 0..size {
        table.insert(filter(id).as_bytes(), None, Member { id, weight: 1 });
    }
    table
}
