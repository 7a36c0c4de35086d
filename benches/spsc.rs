//! The ring between two cores, on one: what a parcel costs when no cache line has to travel.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shard::ring;

/// Parcels written and shown, then read and given back, a turn each: the batch is what a turn gathers.
fn turns(c: &mut Criterion) {
    let mut group = c.benchmark_group("spsc");
    for (parcel_bytes, batch) in [(200, 1), (200, 64), (4000, 64)] {
        let (mut sender, mut receiver) = ring::pair(&[1 << 20]).expect("memory for a ring");
        let bytes = vec![7; parcel_bytes];
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("{parcel_bytes} B, {batch} a turn"), |b| {
            b.iter(|| {
                for _ in 0..batch {
                    let mut claim = sender.claim(0, parcel_bytes, None).expect("an empty ring has room");
                    claim.copy_from_slice(black_box(&bytes));
                    claim.commit();
                }
                sender.publish();
                receiver.snapshot();
                while let Some(parcel) = receiver.peek(0) {
                    black_box(parcel.bytes);
                    receiver.release(0);
                }
                receiver.publish();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
