//! A short run of the fuzz targets, as they are: their seeds, those damaged, and random bytes.
//! `scripts/fuzz` runs them for longer and guided by coverage, which needs nightly Rust; this does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a failure names its input")]
#![allow(unreachable_pub, reason = "a test binary has no public interface")]

// What the targets import stands here in place of the fuzzer and of their own crate.
extern crate self as libfuzzer_sys;
extern crate self as ringmesh_fuzz;

mod blame;
#[path = "damage/mod.rs"]
mod damage;
#[path = "../fuzz/src/lib.rs"]
mod shared;

use std::fs;
use std::path::Path;

pub use arbitrary;
use blame::Blame;
pub use shared::{Next, check_cuts, message};

/// How often each target runs.
const RUNS: u64 = 20_000;
const RANDOM_BYTES_MAX: usize = 300;

/// A test for each target, which stands in the file of its name.
macro_rules! targets {
    ($($name:ident: $file:literal;)*) => {
        $(
            #[path = $file]
            #[allow(unused_attributes, reason = "the fuzzer brings its own main")]
            #[allow(clippy::cast_possible_truncation, reason = "inputs are short")]
            mod $name;
        )*

        mod on_stable_rust {
            $(
                #[test]
                fn $name() {
                    super::smoke(stringify!($name), super::$name::run);
                }
            )*

            #[test]
            fn no_target_is_missing() {
                let all = [$(concat!(stringify!($name), ".rs")),*];
                super::check_all_are_here(&all);
            }
        }
    };
}

targets! {
    client_parser: "../fuzz/fuzz_targets/client_parser.rs";
    config: "../fuzz/fuzz_targets/config.rs";
    headers: "../fuzz/fuzz_targets/headers.rs";
    route_parser: "../fuzz/fuzz_targets/route_parser.rs";
    s2_stream: "../fuzz/fuzz_targets/s2_stream.rs";
    sublist_vs_naive: "../fuzz/fuzz_targets/sublist_vs_naive.rs";
}

// Below the targets, so that they need their own import.
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:expr) => {
        pub fn run($input: &[u8]) {
            $body;
        }
    };
    (|$input:ident: $from:ty| $body:expr) => {
        pub fn run(bytes: &[u8]) {
            let mut source = libfuzzer_sys::arbitrary::Unstructured::new(bytes);
            if let Ok($input) = <$from as Arbitrary>::arbitrary(&mut source) {
                $body;
            }
        }
    };
}
pub(crate) use fuzz_target;

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

fn smoke(name: &'static str, target: fn(&[u8])) {
    let seeds = fs::read_dir(fuzz().join("seeds").join(name)).into_iter().flatten();
    let mut seeds: Vec<_> = seeds.map(|seed| fs::read(seed.unwrap().path()).unwrap()).collect();
    seeds.sort_unstable();
    for seed in &seeds {
        target(seed);
    }
    for run in 0..RUNS {
        let mut random = fastrand::Rng::with_seed(run);
        let seed = random.choice(&seeds).filter(|_| run % 4 > 0).cloned();
        let mut input = seed.unwrap_or_else(|| {
            let len = random.usize(..RANDOM_BYTES_MAX);
            std::iter::repeat_with(|| random.u8(..)).take(len).collect()
        });
        for _ in 0..random.usize(1..5) {
            damage::damage(&mut input, &mut random);
        }
        let _blame = Blame(|| format!("run {run} of {name}: b\"{}\"", input.escape_ascii()));
        target(&input);
    }
}

fn check_all_are_here(all: &[&str]) {
    let files = fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, all);
}
