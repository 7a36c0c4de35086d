//! A feed that fills, is read and loses what is old.

use super::*;

fn feed() -> (Feed, Arena) {
    let image = Image { v5: false, framed: false, retain_as_published: false, subscription_identifier: 0 };
    (Feed::new(FilterId(0), image), Arena::new(FEED_CHUNK_BYTES, 4))
}

fn append(feed: &mut Feed, arena: &mut Arena, byte: u8, len: usize) -> (bool, u64) {
    let mut dropped = 0;
    let done = feed.append(arena, len, (1, Instant::ZERO), &mut dropped, |out| {
        out.fill(byte);
        PublishOffsets { packet_id: None, message_expiry: None }
    });
    (done.is_some(), dropped)
}

/// Members that caught up share nothing with the feed's memory: it goes home.
#[test]
fn memory_goes_home_when_all_have_caught_up() {
    let (mut feed, mut arena) = feed();
    let (a, b) = (feed.join(Slot(1), false), feed.join(Slot(2), true));
    assert!(append(&mut feed, &mut arena, 1, 100).0);
    assert!(append(&mut feed, &mut arena, 2, 50).0);
    assert_eq!((feed.behind(), feed.waiting(), arena.in_use()), (2, 4, 1));
    let run = feed.run(0, Instant::ZERO).expect("two packets in one run");
    assert_eq!((run.len, run.until), (150, 2));
    assert_eq!(feed.split(0, 120), (1, 20));
    assert_eq!(feed.advance(&mut arena, a, 2), 2);
    assert_eq!(arena.in_use(), 1);
    assert_eq!(feed.advance(&mut arena, b, 2), 2);
    assert_eq!((arena.in_use(), feed.bytes()), (0, 0));
    assert_eq!(feed.run(2, Instant::ZERO), None);
}

/// Without memory the oldest go first, and each member that missed them is counted.
#[test]
fn oldest_are_dropped_for_those_that_lag() {
    let (mut feed, mut arena) = feed();
    feed.join(Slot(1), false);
    let quick = feed.join(Slot(2), true);
    for n in 0..4 {
        assert_eq!(append(&mut feed, &mut arena, n, FEED_CHUNK_BYTES), (true, 0));
    }
    feed.advance(&mut arena, quick, 4);
    assert_eq!(append(&mut feed, &mut arena, 4, FEED_CHUNK_BYTES), (true, 1));
    assert_eq!(feed.members()[0].position, 1);
    assert_eq!(feed.waiting(), 4 + 1);
    let (waited, moved) = feed.leave(&mut arena, 0);
    assert_eq!((waited, moved), (4, Some(Slot(2))));
}

/// A packet larger than a chunk gets a chunk of its own.
#[test]
fn large_packets_stand_alone() {
    let (mut feed, mut arena) = feed();
    let member = feed.join(Slot(9), false);
    append(&mut feed, &mut arena, 1, 10);
    append(&mut feed, &mut arena, 2, FEED_CHUNK_BYTES + 1);
    append(&mut feed, &mut arena, 3, 10);
    let first = feed.run(0, Instant::ZERO).expect("a run");
    assert_eq!((first.len, first.until), (10, 1));
    let second = feed.run(1, Instant::ZERO).expect("a run");
    assert_eq!((second.len as usize, second.until), (FEED_CHUNK_BYTES + 1, 2));
    feed.advance(&mut arena, member, 3);
    assert_eq!(arena.in_use(), 0);
}
