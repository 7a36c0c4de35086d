//! One ring, from both ends.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::ring::pair::{Receiver, Sender};
use crate::ring::{largest, pair};

/// A ring of `bytes` bytes, alone.
fn ring(bytes: u32) -> (Sender, Receiver) {
    pair(&[bytes]).expect("memory for a small ring")
}

fn send(sender: &mut Sender, bytes: &[u8], blob: Option<Blob>) -> bool {
    let Some(mut claim) = sender.claim(0, bytes.len(), blob) else { return false };
    claim.copy_from_slice(bytes);
    claim.commit();
    true
}

/// Whatever the position, an empty ring takes its largest parcel, and not one byte more.
#[test]
fn largest_fits_everywhere() {
    let (mut sender, mut receiver) = ring(256);
    let largest = sender.ring(0).largest();
    assert_eq!(largest, 256 / 2 - 24);
    for step in 0..64 {
        assert!(sender.room(0, largest) && !sender.room(0, largest + 1), "at step {step}");
        assert!(sender.claim(0, largest + 1, None).is_none());
        let blob = (step % 2 == 0).then(|| Blob::from(&b"b"[..]));
        assert!(send(&mut sender, &vec![step; largest], blob));
        // One small parcel more each time moves the position through the ring.
        assert!(send(&mut sender, &[step], None));
        sender.publish();
        assert!(receiver.snapshot());
        assert_eq!(receiver.peek(0).expect("large").bytes, vec![step; largest]);
        receiver.release(0);
        assert_eq!(receiver.peek(0).expect("small").bytes, [step]);
        receiver.release(0);
        assert!(receiver.publish() && !receiver.publish());
        assert_eq!(sender.ring(0).released(), sender.ring(0).tail());
    }
}

/// A consumer sees what was published at its snapshot: nothing uncommitted, unpublished or newer.
#[test]
fn snapshot_isolates() {
    let (mut sender, mut receiver) = ring(256);
    assert!(send(&mut sender, b"one", None));
    assert!(!receiver.snapshot(), "committed, not published");
    assert!(sender.publish() && !sender.publish());
    assert!(receiver.snapshot());
    assert!(send(&mut sender, b"two", None));
    sender.publish();
    assert_eq!(receiver.peek(0).expect("one").bytes, b"one");
    receiver.release(0);
    assert!(receiver.peek(0).is_none(), "newer than the snapshot");
    assert!(receiver.snapshot());
    assert_eq!(receiver.peek(0).expect("two").bytes, b"two");
}

/// A claim that is dropped leaves no trace, and its blob goes with it.
#[test]
fn dropped_claim() {
    let (mut sender, mut receiver) = ring(64);
    let blob = Blob::from(&b"large"[..]);
    let before = sender.ring(0).tail();
    drop(sender.claim(0, 8, Some(blob.clone())).expect("room"));
    assert_eq!((sender.ring(0).tail(), sender.publish(), blob.owners()), (before, false, 1));
    assert!(send(&mut sender, b"next", None));
    sender.publish();
    receiver.snapshot();
    assert_eq!(receiver.peek(0).expect("next").bytes, b"next");
}

/// Room comes back when a quarter of the ring was released, even before the consumer's turn ends.
#[test]
fn quarter_is_given_back_early() {
    let (mut sender, mut receiver) = ring(256);
    (0..8u8).for_each(|n| assert!(send(&mut sender, &[n; 24], None)));
    assert!(!sender.room(0, 0));
    sender.publish();
    receiver.snapshot();
    receiver.release(0);
    assert_eq!(sender.ring(0).released(), 0, "32 of 256 bytes are less than a quarter");
    receiver.release(0);
    assert_eq!(sender.ring(0).released(), 64);
    assert!(sender.room(0, 8));
}

/// A blob lives as long as its record, and may be kept by who reads it.
#[test]
fn blob_lives_with_its_record() {
    let (mut sender, mut receiver) = ring(256);
    let blob = Blob::from(&b"large"[..]);
    assert!(send(&mut sender, b"a", Some(blob.clone())));
    sender.publish();
    receiver.snapshot();
    let parcel = receiver.peek(0).expect("there");
    assert_eq!(parcel.blob.map(|blob| &blob[..]), Some(&b"large"[..]));
    let kept = parcel.blob.cloned();
    assert_eq!(blob.owners(), 3);
    receiver.release(0);
    assert_eq!(blob.owners(), 2);
    drop(kept);
    assert_eq!(blob.owners(), 1);
}

/// Blobs that nobody drained, published or not, go with the ring, whichever end goes last.
#[test]
fn undrained_blobs_are_dropped() {
    for sender_last in [false, true] {
        let (mut sender, mut receiver) = ring(256);
        let blob = Blob::from(&b"large"[..]);
        // From position 168 of 256 on, so that a skip record lies among them and they fill the ring.
        for _ in 0..3 {
            assert!(send(&mut sender, &[1; 48], None));
            sender.publish();
            receiver.snapshot();
            receiver.release(0);
            receiver.publish();
        }
        (0..4).for_each(|_| assert!(send(&mut sender, &[2; 30], Some(blob.clone()))));
        sender.publish();
        receiver.snapshot();
        receiver.release(0);
        receiver.publish();
        assert!(send(&mut sender, b"unpublished", Some(blob.clone())));
        assert_eq!(blob.owners(), 5);
        if sender_last {
            drop(receiver);
            drop(sender);
        } else {
            drop(sender);
            drop(receiver);
        }
        assert_eq!(blob.owners(), 1);
    }
}

/// Releasing what is not there is a broken invariant, not a silent slip.
#[test]
#[should_panic(expected = "released a parcel that is not there")]
fn release_of_nothing() {
    ring(64).1.release(0);
}

/// A claim's bytes may be read back while it is written, and a payload of no bytes is a parcel.
#[test]
fn in_place_and_empty() {
    let (mut sender, mut receiver) = ring(64);
    let mut claim = sender.claim(0, 3, None).expect("room");
    claim[..2].copy_from_slice(b"xy");
    claim[2] = claim[0];
    assert_eq!(&claim[..], b"xyx");
    claim.commit();
    assert!(send(&mut sender, b"", None));
    sender.publish();
    receiver.snapshot();
    assert_eq!(receiver.peek(0).expect("first").bytes, b"xyx");
    receiver.release(0);
    assert!(receiver.peek(0).is_some_and(|parcel| parcel.bytes.is_empty() && parcel.blob.is_none()));
}

#[derive(Clone, Debug)]
enum Step {
    Send { len: usize, blob: bool, commit: bool },
    Publish,
    Snapshot,
    Release,
    GiveBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..60usize, any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(len, blob, commit)| Step::Send { len, blob, commit }),
        2 => Just(Step::Publish),
        2 => Just(Step::Snapshot),
        4 => Just(Step::Release),
        1 => Just(Step::GiveBack),
    ]
}

proptest! {
    /// Any sequence of steps at both ends is that of a queue: same parcels, same order, blobs counted exactly; where
    /// room was promised there is room, and the refused one would not have fit.
    #[test]
    fn is_a_queue(bytes in prop::sample::select(vec![64u32, 128, 256]), steps in prop::collection::vec(step(), 1..200)) {
        let (mut sender, mut receiver) = ring(bytes);
        let (mut unpublished, mut published, mut seen) = (0usize, 0usize, 0usize);
        let mut queue: VecDeque<(Vec<u8>, bool)> = VecDeque::new();
        let blob = Blob::from(&b"shared"[..]);
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send { len, blob: with, commit } => {
                    let payload = vec![n as u8; len];
                    let room = sender.room(0, len);
                    let empty = sender.ring(0).released() == sender.ring(0).tail();
                    let claim = sender.claim(0, len, with.then(|| blob.clone()));
                    prop_assert!(claim.is_some() || !room);
                    prop_assert!(claim.is_none() || len <= largest(bytes as usize));
                    prop_assert!(claim.is_some() || !empty || len > largest(bytes as usize));
                    if let (Some(mut claim), true) = (claim, commit) {
                        claim.copy_from_slice(&payload);
                        claim.commit();
                        queue.push_back((payload, with));
                        unpublished += 1;
                    }
                }
                Step::Publish => {
                    prop_assert_eq!(sender.publish(), unpublished > 0);
                    published += std::mem::take(&mut unpublished);
                }
                Step::Snapshot => {
                    prop_assert_eq!(receiver.snapshot(), seen + published > 0);
                    seen += std::mem::take(&mut published);
                }
                Step::Release => match receiver.peek(0) {
                    None => prop_assert_eq!(seen, 0),
                    Some(parcel) => {
                        let (payload, with) = queue.pop_front().expect("the model has it too");
                        prop_assert_eq!(parcel.bytes, &payload[..]);
                        prop_assert_eq!(parcel.blob.is_some(), with);
                        receiver.release(0);
                        seen -= 1;
                    }
                },
                Step::GiveBack => {
                    receiver.publish();
                    prop_assert_eq!(sender.ring(0).released(), receiver.ring(0).released());
                }
            }
            prop_assert_eq!(blob.owners(), 1 + queue.iter().filter(|(_, with)| *with).count());
        }
        drop((sender, receiver));
        prop_assert_eq!(blob.owners(), 1);
    }
}

/// Parcels of all sizes, some with blobs, between two threads at full speed: every byte arrives, in order, once.
#[test]
fn two_threads() {
    const PARCELS: u64 = 300_000;
    let (mut sender, mut receiver) = ring(4096);
    let mix = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let writer = std::thread::spawn(move || {
        let mut n = 0;
        while n < PARCELS {
            let len = 8 + mix(n) as usize % 300;
            let blob = n.is_multiple_of(16).then(|| Blob::from(&mix(!n).to_le_bytes()[..]));
            let Some(mut claim) = sender.claim(0, len, blob) else {
                sender.publish();
                std::thread::yield_now();
                continue;
            };
            claim[..8].copy_from_slice(&n.to_le_bytes());
            claim[8..].fill(mix(n) as u8);
            claim.commit();
            n += 1;
            if mix(n) % 7 == 0 {
                sender.publish();
            }
        }
        sender.publish();
    });
    let mut n = 0;
    while n < PARCELS {
        if !receiver.snapshot() {
            std::thread::yield_now();
        }
        while let Some(parcel) = receiver.peek(0) {
            assert_eq!(parcel.bytes[..8], n.to_le_bytes());
            assert_eq!(parcel.bytes.len(), 8 + mix(n) as usize % 300);
            assert!(parcel.bytes[8..].iter().all(|&byte| byte == mix(n) as u8));
            assert_eq!(parcel.blob.is_some(), n.is_multiple_of(16));
            assert!(parcel.blob.is_none_or(|blob| **blob == mix(!n).to_le_bytes()));
            receiver.release(0);
            n += 1;
        }
        receiver.publish();
    }
    writer.join().expect("the writer wrote all");
}
