//! Several shards on one thread, and on their own.

use super::*;
use crate::buffer::Blob;

const SMALL: [RankSpec; 2] = [RankSpec { bytes: 64 }, RankSpec { bytes: 256 }];

fn mesh(shards: u16) -> Vec<MeshEnd> {
    Mesh::build(shards, &SMALL).expect("a small mesh")
}

fn send(tx: &mut Outbound, to: u16, rank: u8, bytes: &[u8]) -> bool {
    let Some(mut claim) = tx.claim(ShardId(to), Rank(rank), bytes.len(), None) else { return false };
    claim.copy_from_slice(bytes);
    claim.commit();
    true
}

fn turn_ends(end: &mut MeshEnd) {
    end.rx.publish();
    end.tx.publish();
}

/// A parcel goes to the shard and the rank that it was sent to and to no other, from each shard to each, itself too.
#[test]
fn every_pair_and_rank() {
    for shards in [1, 2, 3, 70] {
        let mut ends = mesh(shards);
        for (from, end) in (0..shards).zip(&mut ends) {
            for to in 0..shards {
                for rank in 0..2 {
                    assert!(send(&mut end.tx, to, rank, &[from as u8, to as u8, rank]));
                }
            }
            assert_eq!((end.id(), end.tx.shards(), end.rx.ranks()), (ShardId(from), shards, 2));
            turn_ends(end);
        }
        for (to, end) in (0..shards).zip(&mut ends) {
            assert!(end.rx.pending() && end.rx.sources().is_empty());
            end.rx.snapshot();
            assert!(!end.rx.pending());
            assert_eq!(end.rx.sources().count(), usize::from(shards));
            for from in end.rx.sources() {
                for rank in [0, 1] {
                    let parcel = end.rx.peek(from, Rank(rank)).expect("one from each");
                    assert_eq!(parcel.bytes, [from.0 as u8, to as u8, rank]);
                    end.rx.release(from, Rank(rank));
                    assert!(end.rx.peek(from, Rank(rank)).is_none());
                }
            }
            assert!(end.rx.sources().is_empty());
        }
    }
}

/// Each turn another source comes first, so that one that fills its ring in every turn does not starve the others.
#[test]
fn sources_rotate() {
    let mut ends = mesh(3);
    for end in &mut ends {
        assert!(send(&mut end.tx, 0, 0, b"x"));
        turn_ends(end);
    }
    let firsts: Vec<u16> = (0..3)
        .map(|_| {
            ends[0].rx.snapshot();
            ends[0].rx.sources().next().expect("all wait").0
        })
        .collect();
    assert_eq!(firsts, [1, 2, 0]);
}

/// Ranks of a pair do not wait for each other.
#[test]
fn a_full_rank_leaves_the_others() {
    let mut ends = mesh(2);
    while send(&mut ends[0].tx, 1, 0, b"lowest") {}
    assert!(!ends[0].tx.room(ShardId(1), Rank(0), 6));
    assert!(send(&mut ends[0].tx, 1, 1, b"higher"));
    assert!(ends[0].tx.room(ShardId(0), Rank(0), 8));
}

/// A job can tell that everything up to a position was released, and no earlier than it was.
#[test]
fn positions() {
    let mut ends = mesh(2);
    let (to, rank) = (ShardId(1), Rank(1));
    assert!(ends[0].tx.has_released(to, rank, ends[0].tx.tail(to, rank)));
    assert!(send(&mut ends[0].tx, 1, 1, b"one"));
    let first = ends[0].tx.tail(to, rank);
    assert!(send(&mut ends[0].tx, 1, 1, b"two"));
    turn_ends(&mut ends[0]);
    ends[1].rx.snapshot();
    ends[1].rx.release(ShardId(0), rank);
    assert!(!ends[0].tx.has_released(to, rank, first), "released, not yet published");
    turn_ends(&mut ends[1]);
    assert!(ends[0].tx.has_released(to, rank, first));
    assert_eq!(ends[0].tx.released(to, rank), first);
    assert!(!ends[0].tx.has_released(to, rank, ends[0].tx.tail(to, rank)));
}

/// The three words cross with the turn of who sets them, each to the one shard that it is for.
#[test]
fn words() {
    let mut ends = mesh(3);
    ends[1].rx.set_resolved(ShardId(0), 9);
    ends[1].rx.set_refused(ShardId(0), 4);
    assert_eq!((ends[0].tx.resolved(ShardId(1)), ends[0].tx.refused(ShardId(1))), (0, 0));
    turn_ends(&mut ends[1]);
    assert_eq!((ends[0].tx.resolved(ShardId(1)), ends[0].tx.refused(ShardId(1))), (9, 4));
    assert_eq!((ends[0].tx.resolved(ShardId(2)), ends[2].tx.resolved(ShardId(1))), (0, 0));
    assert!(ends[0].tx.has_resolved(ShardId(1), 9) && !ends[0].tx.has_resolved(ShardId(1), 10));

    ends[0].tx.set_seen(ShardId(1), 4);
    assert_eq!(ends[1].rx.seen(ShardId(0)), 0);
    turn_ends(&mut ends[0]);
    assert_eq!(ends[1].rx.seen(ShardId(0)), 4);
    assert!(ends[1].rx.pending(), "a word is news");
}

/// The bell rings for a shard that sleeps and for no other; one that is up is told by the notice alone.
#[test]
fn only_sleepers_are_rung() {
    let mut ends = mesh(3);
    ends[1].rx.sleeping(true);
    for to in [0, 1, 2] {
        assert!(send(&mut ends[0].tx, to, 0, b"x"));
    }
    turn_ends(&mut ends[0]);
    assert!(ends[1].doorbell().answer());
    assert!(!ends[0].doorbell().answer() && !ends[2].doorbell().answer());
    assert!(ends[0].rx.pending() && ends[2].rx.pending());

    ends[1].rx.sleeping(false);
    assert!(send(&mut ends[0].tx, 1, 0, b"x"));
    turn_ends(&mut ends[0]);
    assert!(!ends[1].doorbell().answer());
    turn_ends(&mut ends[0]);
    assert!(!ends[1].doorbell().answer(), "nothing published, nobody rung");
}

/// A shard that went to sleep for want of room, of a release or of a verdict is woken by it; one that wants nothing is
/// left asleep.
#[test]
fn who_waits_is_woken() {
    let (to, rank) = (ShardId(1), Rank(0));
    let drain_one = |end: &mut MeshEnd| {
        end.rx.snapshot();
        end.rx.release(ShardId(0), rank);
        turn_ends(end);
    };
    let mut ends = mesh(2);
    while send(&mut ends[0].tx, 1, 0, b"12345678") {}
    turn_ends(&mut ends[0]);
    ends[0].rx.sleeping(true);
    drain_one(&mut ends[1]);
    assert!(ends[0].doorbell().answer() && ends[0].rx.pending(), "it wanted room");
    ends[0].rx.snapshot();
    assert!(ends[0].rx.sources().is_empty());

    drain_one(&mut ends[1]);
    assert!(!ends[0].doorbell().answer() && !ends[0].rx.pending(), "it wants nothing more");

    let position = ends[0].tx.tail(to, rank);
    assert!(!ends[0].tx.has_released(to, rank, position));
    drain_one(&mut ends[1]);
    assert!(ends[0].doorbell().answer(), "it wanted a release");

    assert!(!ends[0].tx.has_resolved(to, 1));
    ends[1].rx.set_resolved(ShardId(0), 1);
    turn_ends(&mut ends[1]);
    assert!(ends[0].doorbell().answer(), "it wanted a verdict");
}

/// Blobs in rings that nobody drained go with the mesh.
#[test]
fn dropped_with_parcels() {
    let mut ends = mesh(2);
    let blob = Blob::from(&b"large"[..]);
    for to in [0, 1] {
        let claim = ends[0].tx.claim(ShardId(to), Rank(1), 3, Some(blob.clone())).expect("room");
        claim.commit();
    }
    turn_ends(&mut ends[0]);
    assert_eq!(blob.owners(), 3);
    drop(ends);
    assert_eq!(blob.owners(), 1);
}

/// What cannot be is refused with its reason, and what it would take is known before.
#[test]
fn shapes() {
    assert!(matches!(Mesh::build(0, &SMALL), Err(MeshError::Shards(0))));
    assert!(matches!(Mesh::build(SHARDS_MAX + 1, &SMALL), Err(MeshError::Shards(_))));
    assert!(matches!(Mesh::build(2, &[]), Err(MeshError::Ranks(0))));
    let error = Mesh::build(2, &[SMALL[0]; RANKS_MAX + 1]).err().expect("too many ranks");
    assert_eq!(error.to_string(), "a mesh has 1 to 14 ranks of parcels, not 15");
    let words = Mesh::bytes(1, &[RankSpec { bytes: 64 }]) - 64;
    assert_eq!(Mesh::bytes(3, &[RankSpec { bytes: 100 }, RankSpec { bytes: 0 }]), 9 * (128 + 64 + words));
    assert_eq!(mesh(1)[0].tx.largest(Rank(1)), 256 / 2 - 24);
}

/// Rings that were never used take no memory: a mesh of half a gigabyte grows the process by a small part of that.
#[test]
fn unused_rings_cost_nothing() {
    let resident = || -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("resident pages");
        pages * 4096
    };
    let ranks = [RankSpec { bytes: 1 << 20 }; 8];
    assert!(Mesh::bytes(8, &ranks) >= 512 << 20);
    let before = resident();
    let mut ends = Mesh::build(8, &ranks).expect("half a gigabyte of addresses");
    for end in &mut ends {
        assert!(send(&mut end.tx, 0, 3, b"x"));
        turn_ends(end);
    }
    assert!(resident().saturating_sub(before) < 64 << 20);
}

/// Three shards on three threads send to each other as fast as they can, sleep when there is nothing to do, and miss
/// nothing: all parcels arrive, in order for each pair.
#[test]
fn three_threads_sleep_and_wake() {
    const PARCELS: u32 = 20_000;
    let run = |mut end: MeshEnd| {
        let mut sent = [0u32; 3];
        let mut received = [0u32; 3];
        let bell = end.doorbell();
        loop {
            end.rx.snapshot();
            for from in end.rx.sources() {
                while let Some(parcel) = end.rx.peek(from, Rank(0)) {
                    let next = &mut received[usize::from(from.0)];
                    assert_eq!(parcel.bytes, next.to_le_bytes());
                    *next += 1;
                    end.rx.release(from, Rank(0));
                }
            }
            for (to, sent) in (0..3).zip(&mut sent) {
                while *sent < PARCELS && send(&mut end.tx, to, 0, &sent.to_le_bytes()) {
                    *sent += 1;
                }
            }
            turn_ends(&mut end);
            if sent == [PARCELS; 3] && received == [PARCELS; 3] {
                return end;
            }
            end.rx.sleeping(true);
            if !end.rx.pending() {
                assert!(bell.wait(10_000), "asleep for ten seconds");
                bell.answer();
            }
            end.rx.sleeping(false);
        }
    };
    let threads: Vec<_> = mesh(3).into_iter().map(|end| std::thread::spawn(move || run(end))).collect();
    let ends: Vec<MeshEnd> = threads.into_iter().map(|thread| thread.join().expect("a shard ran to its end")).collect();
    assert_eq!(ends.len(), 3);
}
