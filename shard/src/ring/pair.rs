//! What one ordered pair of shards shares: a ring for each rank of parcel, and a few words.
//!
//! All that the sender writes for the receiver to look at lies in one padded block, and the other way round, so that a
//! turn's news of ten rings cross between cores in one cache line instead of ten:
//!
//! ```text
//!   sender writes   ┌ tail of each rank (14) ┬ seen     ┬ watch   ┐  128 bytes
//!   receiver writes ┌ head of each rank (14) ┬ resolved ┬ refused ┐  128 bytes
//! ```
//! `watch` alone has two writers: the sender sets it when it waits for the receiver, the receiver takes it down when it
//! tells the sender.

use std::io;

use crossbeam::utils::CachePadded;

use super::memory::Memory;
use super::record;
use super::spsc::{Consumer, Producer, drop_blobs};
use super::sync::{Arc, AtomicU64, Ordering, fence};
use crate::buffer::Blob;

/// How many ranks of parcel there may be.
pub const RANKS_MAX: usize = 14;

/// What the sender writes.
pub(super) struct SenderWords {
    pub(super) tails: [AtomicU64; RANKS_MAX],
    seen: AtomicU64,
    watch: AtomicU64,
}

/// What the receiver writes.
pub(super) struct ReceiverWords {
    pub(super) heads: [AtomicU64; RANKS_MAX],
    resolved: AtomicU64,
    refused: AtomicU64,
}

const _: () = assert!(RANKS_MAX <= u16::BITS as usize, "a rank has a bit");
#[cfg(not(loom))]
const _: () = assert!(size_of::<SenderWords>() == 128 && size_of::<ReceiverWords>() == 128);

/// Bytes of what a pair shares besides its rings.
pub const PAIR_WORDS_BYTES: usize = size_of::<Shared>();

/// Where a ring lies in the pair's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) at: usize,
    /// A power of two.
    pub(super) capacity: usize,
}

/// All that the two ends share. The last end to go frees it, and the blobs that nobody drained.
pub(super) struct Shared {
    pub(super) sender: CachePadded<SenderWords>,
    pub(super) receiver: CachePadded<ReceiverWords>,
    pub(super) memory: Memory,
    extents: Box<[Extent]>,
}

impl Shared {
    /// The ring of a rank lies there.
    pub(super) fn extent(&self, rank: usize) -> Extent {
        self.extents[rank]
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for (rank, &extent) in self.extents.iter().enumerate() {
            // Both ends published their positions when they went (see their `Drop`).
            let head = self.receiver.heads[rank].load(Ordering::Relaxed);
            let tail = self.sender.tails[rank].load(Ordering::Relaxed);
            // SAFETY: both ends are gone, so that this thread owns the memory, and all that lies between the released
            // and the published position is records that the producer committed and the consumer did not release.
            unsafe { drop_blobs(&self.memory, extent, head, tail) };
        }
    }
}

/// The sender's end of an ordered pair.
pub struct Sender {
    shared: Arc<Shared>,
    producers: Box<[Producer]>,
    /// Ranks in which something was claimed since the last [`Sender::publish`], a bit each.
    claimed: u16,
    /// `seen` as it was set, and as it was published.
    seen: u64,
    seen_published: u64,
}

/// The receiver's end of an ordered pair.
pub struct Receiver {
    shared: Arc<Shared>,
    consumers: Box<[Consumer]>,
    /// Ranks with parcels in the snapshot, a bit each.
    waiting: u16,
    resolved: u64,
    refused: u64,
    /// Ranks in which something was released since the last [`Receiver::publish`], a bit each.
    released: u16,
    /// Whether a word was set since then.
    judged: bool,
}

/// The bytes of a ring that was asked to have `bytes`: the next power of two, at least 64, at most 1 GiB.
pub fn ring_bytes(bytes: u32) -> u32 {
    bytes.clamp(record::RING_MIN, record::RING_MAX).next_power_of_two()
}

/// Makes the two ends of a pair with a ring of `ring_bytes(ranks[i])` bytes for rank `i`. The memory is touched where
/// and when parcels are written.
///
/// # Errors
/// `mmap(2)` failed: there is no such amount of memory.
pub fn pair(ranks: &[u32]) -> io::Result<(Sender, Receiver)> {
    assert!((1..=RANKS_MAX).contains(&ranks.len()), "one to {RANKS_MAX} ranks");
    let mut at = 0;
    let extents: Box<[Extent]> = ranks
        .iter()
        .map(|&bytes| {
            let extent = Extent { at, capacity: ring_bytes(bytes) as usize };
            at += extent.capacity;
            extent
        })
        .collect();
    let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
    let shared = Arc::new(Shared {
        sender: CachePadded::new(SenderWords { tails: zeros(), seen: AtomicU64::new(0), watch: AtomicU64::new(0) }),
        receiver: CachePadded::new(ReceiverWords {
            heads: zeros(),
            resolved: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }),
        memory: Memory::zeroed(at)?,
        extents,
    });
    let producers = (0..ranks.len()).map(|rank| Producer::new(Arc::clone(&shared), rank)).collect();
    let consumers = (0..ranks.len()).map(|rank| Consumer::new(Arc::clone(&shared), rank)).collect();
    Ok((
        Sender { shared: Arc::clone(&shared), producers, claimed: 0, seen: 0, seen_published: 0 },
        Receiver { shared, consumers, waiting: 0, resolved: 0, refused: 0, released: 0, judged: false },
    ))
}

impl Sender {
    /// The ring of a rank, to look at.
    #[inline]
    pub fn ring(&self, rank: usize) -> &Producer {
        &self.producers[rank]
    }

    /// [`Producer::room`], and [`Sender::watch`] where there is none.
    #[inline]
    pub fn room(&self, rank: usize, len: usize) -> bool {
        let ring = self.ring(rank);
        len <= ring.largest() && self.watch_until(|| ring.room(len))
    }

    /// [`Producer::claim`], and [`Sender::watch`] where there is no room.
    #[inline]
    pub fn claim(&mut self, rank: usize, len: usize, blob: Option<Blob>) -> Option<super::Claim<'_>> {
        let ring = self.ring(rank);
        if len > ring.largest() || !self.watch_until(|| ring.takes(len, blob.is_some())) {
            return None;
        }
        self.claimed |= 1 << rank;
        self.producers[rank].claim(len, blob)
    }

    /// Sets the word `seen`, to be published.
    pub fn set_seen(&mut self, seen: u64) {
        assert!(seen >= self.seen, "the word `seen` only grows");
        self.seen = seen;
    }

    /// Shows the receiver all that was committed and set. Returns whether there was something.
    pub fn publish(&mut self) -> bool {
        let mut moved = false;
        for rank in ranks_of(std::mem::take(&mut self.claimed)) {
            moved |= self.producers[rank].publish();
        }
        if self.seen != self.seen_published {
            self.seen_published = self.seen;
            self.shared.sender.seen.store(self.seen, Ordering::Release);
            moved = true;
        }
        moved
    }

    /// Up to where the receiver resolved. Read it before [`Sender::refused`]: what it covers was judged by then.
    #[inline]
    pub fn resolved(&self) -> u64 {
        self.shared.receiver.resolved.load(Ordering::Acquire)
    }

    /// The last that the receiver refused.
    #[inline]
    pub fn refused(&self) -> u64 {
        self.shared.receiver.refused.load(Ordering::Acquire)
    }

    /// Whether `reached` holds; where it does not, asks the receiver to tell ([`Sender::watch`]) and looks again.
    #[inline]
    pub fn watch_until(&self, reached: impl Fn() -> bool) -> bool {
        reached() || {
            self.watch();
            reached()
        }
    }

    /// Asks the receiver to tell this side when it next publishes something (a position or a word). What is read after
    /// this call is either new, or its change will be told.
    #[inline]
    pub fn watch(&self) {
        let watch = &self.shared.sender.watch;
        // Where it is up still, the receiver has yet to take it down, and will tell after that.
        if watch.load(Ordering::Relaxed) == 0 {
            watch.store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }
}

impl Receiver {
    /// Looks at what the sender has published so far. Returns whether any ring holds a parcel now.
    pub fn snapshot(&mut self) -> bool {
        for (rank, consumer) in self.consumers.iter_mut().enumerate() {
            if consumer.snapshot() {
                self.waiting |= 1 << rank;
            }
        }
        self.waiting != 0
    }

    /// Whether any ring holds a parcel of the snapshot.
    #[inline]
    pub fn waits(&self) -> bool {
        self.waiting != 0
    }

    /// The ring of a rank, to look at.
    #[inline]
    pub fn ring(&self, rank: usize) -> &Consumer {
        &self.consumers[rank]
    }

    /// The oldest parcel of a rank in the snapshot.
    #[inline]
    pub fn peek(&self, rank: usize) -> Option<super::Parcel<'_>> {
        if self.waiting & (1 << rank) == 0 { None } else { self.consumers[rank].peek() }
    }

    /// Frees the oldest parcel of a rank.
    #[inline]
    pub fn release(&mut self, rank: usize) {
        self.released |= 1 << rank;
        if !self.consumers[rank].release() {
            self.waiting &= !(1 << rank);
        }
    }

    /// Sets the word `resolved`, to be published.
    pub fn set_resolved(&mut self, resolved: u64) {
        assert!(resolved >= self.resolved, "the word `resolved` only grows");
        self.judged |= resolved != self.resolved;
        self.resolved = resolved;
    }

    /// Sets the word `refused`, to be published.
    pub fn set_refused(&mut self, refused: u64) {
        assert!(refused >= self.refused, "the word `refused` only grows");
        self.judged |= refused != self.refused;
        self.refused = refused;
    }

    /// The word `seen`.
    #[inline]
    pub fn seen(&self) -> u64 {
        self.shared.sender.seen.load(Ordering::Acquire)
    }

    /// Shows the sender all that was released and set. Returns whether there was something; then a fence and
    /// [`Receiver::watched`] must follow.
    pub fn publish(&mut self) -> bool {
        let (released, judged) = (std::mem::take(&mut self.released), std::mem::take(&mut self.judged));
        for rank in ranks_of(released) {
            self.consumers[rank].publish();
        }
        if judged {
            // In this order, so that who reads `resolved` first finds what was refused up to there.
            self.shared.receiver.refused.store(self.refused, Ordering::Release);
            self.shared.receiver.resolved.store(self.resolved, Ordering::Release);
        }
        // Room that was given back early, within the turn, has not been told of yet either.
        released != 0 || judged
    }

    /// Whether the sender waits for news, and takes down that it does: the caller tells it. Between
    /// [`Receiver::publish`] and this lies a SeqCst fence, as one lies between the sender's [`Sender::watch`] and its
    /// last look.
    #[inline]
    pub fn watched(&self) -> bool {
        let watch = &self.shared.sender.watch;
        watch.load(Ordering::Relaxed) != 0 && watch.swap(0, Ordering::Relaxed) != 0
    }
}

/// The ranks whose bits are set.
#[inline]
fn ranks_of(mut bits: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let rank = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(rank)
    })
}
