//! What the data plane does for each message, step by step and without sockets.
//!
//! `cargo bench --bench micro -- sublist` measures the benches whose names contain `sublist`.
//! `cargo test --bench micro` runs each once and measures nothing.

#![forbid(unsafe_code)]

mod encode;
mod parse;
mod s2;
mod sublist;
mod timer;

use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    parse::bench(&mut criterion);
    encode::bench(&mut criterion);
    sublist::bench(&mut criterion);
    s2::bench(&mut criterion);
    timer::bench(&mut criterion);
    criterion.final_summary();
}

/// So many lines, messages or keys an iteration, and the bytes they take.
fn throughput(elements: usize, bytes: usize) -> Throughput {
    Throughput::ElementsAndBytes { elements: elements as u64, bytes: bytes as u64 }
}
