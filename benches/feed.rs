//! A feed: what is encoded once, and what each of its thousand subscribers costs besides its send.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shard::buffer::Arena;
use shard::{Instant, Slot};
use switch::delivery::feed::{Feed, Image};
use switch::limits::FEED_CHUNK_BYTES;
use switch::topic::tree::FilterId;
use wire::mqtt::{ProtocolVersion, PublishImage, QoS};

const MEMBERS: u32 = 1000;

const MESSAGE: PublishImage<'static> = PublishImage {
    version: ProtocolVersion::V311,
    dup: false,
    qos: QoS::AtMostOnce,
    retain: false,
    topic: "room/4711/comments",
    packet_id: 0,
    topic_alias: None,
    message_expiry: None,
    properties: &[],
    subscription_identifiers: &[],
    payload: &[b'x'; 100],
};

/// Messages gather, and every member is shown its run and moved past it, as a flush does.
fn turns(c: &mut Criterion) {
    let mut group = c.benchmark_group("feed, 1000 members");
    for gathered in [1, 64] {
        let mut arena = Arena::new(FEED_CHUNK_BYTES, 64);
        let mut feed = Feed::new(
            FilterId(0),
            Image { v5: false, framed: false, retain_as_published: false, subscription_identifier: 0 },
        );
        for slot in 0..MEMBERS {
            feed.join(Slot(slot), false);
        }
        let (now, mut dropped) = (Instant::from_nanos(1), 0);
        group.throughput(Throughput::Elements(u64::from(MEMBERS) * gathered));
        group.bench_function(format!("{gathered} gathered"), |b| {
            b.iter(|| {
                for tick in 0..gathered {
                    let len = black_box(&MESSAGE).encoded_len();
                    feed.append(&mut arena, len, (tick, now), &mut dropped, |out| MESSAGE.encode(out)).expect("room");
                }
                for member in 0..MEMBERS {
                    while let Some(run) = feed.run(feed.members()[member as usize].position, now) {
                        black_box(feed.run_bytes(run.chunk, run.start, run.len));
                        feed.advance(&mut arena, member, run.until);
                    }
                }
            });
        });
        assert_eq!((feed.behind(), dropped), (0, 0), "everybody got everything");
    }
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
