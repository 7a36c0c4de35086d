//! Every interleaving of small runs, with every outcome that the memory model allows.

use loom::model::Builder;
use loom::thread;

use super::{Receiver, Sender, pair};
use crate::buffer::Blob;
use crate::mesh::{Mesh, MeshEnd, Rank, RankSpec, ShardId};

const RANK: Rank = Rank(0);

/// Runs `test` over all interleavings with at most three preemptions.
fn explore(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(4);
    builder.check(test);
}

fn ring() -> (Sender, Receiver) {
    pair(&[64]).expect("memory for a small ring")
}

/// Commits a parcel of 8 bytes (16 in the ring, 32 with a blob), or says that there is no room.
fn send(sender: &mut Sender, byte: u8, blob: Option<Blob>) -> bool {
    let Some(mut claim) = sender.claim(0, 8, blob) else { return false };
    claim.fill(byte);
    claim.commit();
    true
}

fn mesh() -> (MeshEnd, MeshEnd) {
    let mut ends = Mesh::build(2, &[RankSpec { bytes: 64 }]).expect("a small mesh").into_iter();
    (ends.next().expect("shard 0"), ends.next().expect("shard 1"))
}

/// Parcels arrive whole and in order through a ring that takes two of them, over its end and back: no byte is written
/// while it may be read. Before the third lies a skip record.
#[test]
fn loom_ring_transfers() {
    explore(|| {
        let (mut sender, mut receiver) = ring();
        let writer = thread::spawn(move || {
            for byte in 1..=3 {
                while !send(&mut sender, byte, (byte > 1).then(|| Blob::from(&[byte][..]))) {
                    thread::yield_now();
                }
                sender.publish();
            }
        });
        let mut next = 1;
        while next <= 3 {
            if !receiver.snapshot() {
                thread::yield_now();
            }
            while let Some(parcel) = receiver.peek(0) {
                assert_eq!(parcel.bytes, [next; 8]);
                assert_eq!(parcel.blob.is_some(), next > 1);
                receiver.release(0);
                next += 1;
            }
            receiver.publish();
        }
        writer.join().expect("the writer wrote all");
    });
}

/// A blob that crosses is dropped once, whether it was drained or not, whichever end goes last.
#[test]
fn loom_ring_drops_blobs() {
    explore(|| {
        let (mut sender, mut receiver) = ring();
        let blob = Blob::from(&b"large"[..]);
        let sent = blob.clone();
        let writer = thread::spawn(move || {
            assert!(send(&mut sender, 1, Some(sent)));
            sender.publish();
        });
        if receiver.snapshot() {
            assert_eq!(receiver.peek(0).and_then(|parcel| parcel.blob), Some(&blob));
            receiver.release(0);
        }
        drop(receiver);
        writer.join().expect("the writer wrote");
        assert_eq!(blob.owners(), 1);
    });
}

/// Who sees that a number was resolved sees that it was refused.
#[test]
fn loom_refused_before_resolved() {
    explore(|| {
        let (sender, mut receiver) = ring();
        let judge = thread::spawn(move || {
            receiver.set_refused(7);
            receiver.set_resolved(7);
            receiver.publish();
        });
        if sender.resolved() == 7 {
            assert_eq!(sender.refused(), 7);
        }
        judge.join().expect("the judge judged");
    });
}

/// A shard that goes to sleep while another publishes either sees that before it blocks, or is rung; and then the
/// parcel is in its snapshot.
#[test]
fn loom_sleeper_is_woken() {
    explore(|| {
        let (mut a, mut b) = mesh();
        let bell = b.doorbell();
        let poster = thread::spawn(move || {
            a.tx.claim(ShardId(1), RANK, 8, None).expect("room").commit();
            a.tx.publish();
            a
        });
        b.rx.sleeping(true);
        let saw = b.rx.pending();
        let _a = poster.join().expect("the poster posted");
        assert!(saw || bell.answer(), "asleep with a parcel in the ring");
        b.rx.sleeping(false);
        b.rx.snapshot();
        assert!(b.rx.peek(ShardId(0), RANK).is_some());
    });
}

/// A shard that sleeps because there was no room is told when there is, although the room comes in two steps and the
/// first telling may race with the second look.
#[test]
fn loom_waiter_for_room_is_woken() {
    explore(|| {
        let (mut a, mut b) = mesh();
        let bell = a.doorbell();
        let to = ShardId(1);
        (0..2).for_each(|_| a.tx.claim(to, RANK, 8, None).expect("room for two").commit());
        a.tx.publish();
        b.rx.snapshot();
        let drainer = thread::spawn(move || {
            for _ in 0..2 {
                b.rx.release(ShardId(0), RANK);
                b.rx.publish();
            }
            b
        });
        let position = a.tx.tail(to, RANK);
        let mut done = a.tx.has_released(to, RANK, position);
        if !done {
            // What was told so far is taken, as a turn does, and then it looks again.
            a.rx.snapshot();
            done = a.tx.has_released(to, RANK, position);
        }
        a.rx.sleeping(true);
        let saw = a.rx.pending();
        let _b = drainer.join().expect("the drainer drained");
        assert!(done || saw || bell.answer(), "asleep with room in the ring");
    });
}
