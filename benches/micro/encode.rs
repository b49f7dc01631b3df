//! The line in front of a message, to a client and to another server.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use ringmesh::proto::encode::MsgHead;
use ringmesh::proto::route::{Queues, RoutedHead};

use crate::throughput;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let msg = MsgHead { subject: b"orders.eu", sid: b"17", reply: None, header_len: 0, size: 128 };
    let reply = Some(&b"_INBOX.4Zq0hVSdEdUmvhMVPm5yEV.1"[..]);
    bench_head(&mut group, "msg", |out| black_box(&msg).encode(out));
    let request = MsgHead { reply, ..msg };
    bench_head(&mut group, "msg reply", |out| black_box(&request).encode(out));
    let hmsg = MsgHead { header_len: 12, ..msg };
    bench_head(&mut group, "hmsg", |out| black_box(&hmsg).encode(out));

    let rmsg = RoutedHead {
        account: Some(b"$G"),
        subject: b"orders.eu",
        reply: None,
        queues: Queues::new(b"").iter(),
        queues_only: false,
        header_len: None,
        size: 128,
    };
    bench_head(&mut group, "rmsg", |out| black_box(&rmsg).encode(out));
    let queue = RoutedHead { reply, queues: Queues::new(b"workers").iter(), ..rmsg };
    bench_head(&mut group, "rmsg queue", |out| black_box(&queue).encode(out));
}

fn bench_head(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, encode: impl Fn(&mut Vec<u8>)) {
    let mut out = Vec::new();
    encode(&mut out);
    group.throughput(throughput(1, out.len()));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(&mut out);
            black_box(out.as_slice());
        });
    });
}
