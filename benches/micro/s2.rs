//! What compression costs a route: batches as lanes give them, and such that do not compress.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringmesh::transport::Level;
use ringmesh::transport::s2::{Decoder, Encoder, Progress};

const BATCH_LEN: usize = 256 << 10;

pub(crate) fn bench(criterion: &mut Criterion) {
    let levels = [Level::Uncompressed, Level::Fast, Level::Better, Level::Best];
    for (name, batch) in [("text", text()), ("random", random())] {
        for level in levels {
            bench_encode(criterion, name, level, &batch);
            bench_decode(criterion, name, level, &batch);
        }
    }
}

fn bench_encode(criterion: &mut Criterion, name: &str, level: Level, batch: &[u8]) {
    let mut group = criterion.benchmark_group("s2/encode");
    group.throughput(Throughput::Bytes(batch.len() as u64));
    let (mut encoder, mut wire) = (Encoder::new(), Vec::new());
    group.bench_function(BenchmarkId::new(name, level.as_str()), |bencher| {
        bencher.iter(|| {
            wire.clear();
            encoder.seal(level, [black_box(batch)], &mut wire);
            wire.len()
        });
    });
}

fn bench_decode(criterion: &mut Criterion, name: &str, level: Level, batch: &[u8]) {
    let mut group = criterion.benchmark_group("s2/decode");
    group.throughput(Throughput::Bytes(batch.len() as u64));
    let (mut decoder, mut plain, mut wire) = (Decoder::new(usize::MAX), Vec::new(), Vec::new());
    group.bench_function(BenchmarkId::new(name, level.as_str()), |bencher| {
        if wire.is_empty() {
            Encoder::new().seal(level, [batch], &mut wire);
        }
        bencher.iter(|| {
            plain.clear();
            assert_eq!(decoder.open(black_box(&wire), &mut plain), Ok(Progress::Done));
            plain.len()
        });
        assert_eq!(plain, batch);
    });
}

/// Messages of an application that speaks JSON.
fn text() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut text = String::with_capacity(BATCH_LEN + 256);
    while text.len() < BATCH_LEN {
        let (id, cents) = (random.u32(..), random.u32(..100_000));
        let customer = ["Ada Lovelace", "Grace Hopper", "Edsger Dijkstra"][random.usize(..3)];
        let json = format!(r#"{{"id":{id},"customer":"{customer}","cents":{cents},"paid":false}}"#);
        let len = json.len();
        let _written = write!(text, "RMSG $G orders.{} {len}\r\n{json}\r\n", random.u8(..));
    }
    text.truncate(BATCH_LEN);
    text.into_bytes()
}

fn random() -> Vec<u8> {
    let mut bytes = vec![0; BATCH_LEN];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    bytes
}
