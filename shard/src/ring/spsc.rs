//! One ring: a bounded byte queue with one producer and one consumer.
//!
//! ```text
//!              released         snapshot       published     tail
//!   ───────────────┼─────────────────┼──────────────┼───────────┼──────────────▶ position (u64, only grows)
//!    free again    │ peek, release   │ next turn    │ committed │ room
//! ```
//! A position counts bytes since the beginning; its remainder by the capacity is the place in memory. The producer
//! writes records in place and shows them once a turn, by storing the tail; the consumer looks at the tail once a turn,
//! and gives room back once a turn or when a quarter of the ring has been released. So the two cores exchange a cache
//! line a turn, not a parcel.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use super::memory::Memory;
use super::pair::{Extent, Shared};
use super::record::{self, BLOB, HEADER, Header};
use super::sync::{Arc, Ordering};
use crate::buffer::Blob;

/// The writing end of a ring.
pub struct Producer {
    shared: Arc<Shared>,
    rank: usize,
    extent: Extent,
    /// The end of what was committed, and of what of that the consumer may see.
    tail: u64,
    published: u64,
    /// The consumer's position when it was last looked at.
    released: Cell<u64>,
}

/// The reading end of a ring.
pub struct Consumer {
    shared: Arc<Shared>,
    rank: usize,
    extent: Extent,
    /// The beginning of what was not released, and of what the producer may not reuse yet.
    head: u64,
    published: u64,
    /// The producer's position at the last snapshot.
    snapshot: u64,
}

/// A parcel being written. [`Claim::commit`] makes it the newest of its ring; dropped without, it was never there.
///
/// Its bytes are what was there before: write all of them.
#[must_use = "a claim that is not committed sends nothing"]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    header: Header,
    /// Where the record begins in the ring, and the tail once it is committed.
    at: usize,
    end: u64,
    blob: Option<Blob>,
}

/// A parcel being read.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'a> {
    /// The payload.
    pub bytes: &'a [u8],
    /// The large bytes that travel by reference; clone it to keep them.
    pub blob: Option<&'a Blob>,
}

impl Producer {
    pub(super) fn new(shared: Arc<Shared>, rank: usize) -> Self {
        let extent = shared.extent(rank);
        Producer { shared, rank, extent, tail: 0, published: 0, released: Cell::new(0) }
    }

    /// The largest payload that this ring can take, and takes whenever it is empty.
    pub fn largest(&self) -> usize {
        record::largest(self.extent.capacity)
    }

    /// Whether a payload of `len` bytes, with a blob or without, has room now.
    #[inline]
    pub fn room(&self, len: usize) -> bool {
        self.takes(len, true)
    }

    /// Whether [`Producer::claim`] would succeed.
    #[inline]
    pub fn takes(&self, len: usize, blob: bool) -> bool {
        len <= self.largest() && self.fits(self.place(Header::parcel(len as u32, blob)).1)
    }

    /// Room for a payload of `len` bytes, in place, with the blob that travels with it. `None` where there is no room
    /// now, or ever (see [`Producer::largest`]); the blob is dropped then.
    #[inline]
    pub fn claim(&mut self, len: usize, blob: Option<Blob>) -> Option<Claim<'_>> {
        if len > self.largest() {
            return None;
        }
        let header = Header::parcel(len as u32, blob.is_some());
        let (at, end) = self.place(header);
        if self.fits(end) { Some(Claim { producer: self, header, at, end, blob }) } else { None }
    }

    /// Lets the consumer see all that was committed. Returns whether there was something.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let moved = self.tail != self.published;
        if moved {
            self.published = self.tail;
            self.shared.sender.tails[self.rank].store(self.tail, Ordering::Release);
        }
        moved
    }

    /// The end of what was committed.
    #[inline]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Up to where the consumer has released, as it last published.
    #[inline]
    pub fn released(&self) -> u64 {
        let released = self.shared.receiver.heads[self.rank].load(Ordering::Acquire);
        debug_assert!(released >= self.released.get() && released <= self.published, "positions only grow");
        self.released.set(released);
        released
    }

    /// Where the next record goes: its place in the ring, and the tail after it.
    #[inline]
    fn place(&self, header: Header) -> (usize, u64) {
        let at = (self.tail & (self.extent.capacity as u64 - 1)) as usize;
        let (size, to_end) = (header.record(), self.extent.capacity - at);
        if size <= to_end { (at, self.tail + size as u64) } else { (0, self.tail + (to_end + size) as u64) }
    }

    /// Whether the ring holds no more than its capacity when the tail is at `end`. The consumer's word is looked at
    /// only where what is known of it does not suffice.
    #[inline]
    fn fits(&self, end: u64) -> bool {
        let least = end.saturating_sub(self.extent.capacity as u64);
        self.released.get() >= least || self.released() >= least
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.publish();
    }
}

impl Claim<'_> {
    /// Makes the parcel the newest of its ring. The consumer sees it after the next publication.
    #[inline]
    pub fn commit(mut self) {
        let Extent { at: base, capacity } = self.producer.extent;
        let memory = &self.producer.shared.memory;
        let tail_at = (self.producer.tail & (capacity as u64 - 1)) as usize;
        if tail_at != self.at {
            let skip = memory.writing(base + tail_at, HEADER).cast::<u64>();
            // SAFETY: the bytes from the tail to the end of the ring are part of this claim: `fits` has seen that the
            // consumer released them. They are aligned, as every record and ring is a multiple of 8.
            unsafe { skip.write(Header::skip().word()) };
        }
        let record = memory.writing(base + self.at, self.header.payload_at());
        // SAFETY: the claimed record is this producer's alone, as above; header and blob lie within it, aligned to 8.
        unsafe {
            record.cast::<u64>().write(self.header.word());
            if let Some(blob) = self.blob.take() {
                blob.store(record.add(HEADER));
            }
        }
        self.producer.tail = self.end;
    }

    #[inline]
    fn payload(&self) -> *mut u8 {
        let at = self.producer.extent.at + self.at + self.header.payload_at();
        self.producer.shared.memory.writing(at, self.header.len().next_multiple_of(8))
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the payload lies within the claimed record, whose bytes are initialised (zeroed when mapped) and are
        // not the consumer's before the tail is published, which needs this borrow of the producer to end.
        unsafe { std::slice::from_raw_parts(self.payload(), self.header.len()) }
    }
}

impl DerefMut for Claim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `&mut self` makes it the only slice.
        unsafe { std::slice::from_raw_parts_mut(self.payload(), self.header.len()) }
    }
}

impl Consumer {
    pub(super) fn new(shared: Arc<Shared>, rank: usize) -> Self {
        let extent = shared.extent(rank);
        Consumer { shared, rank, extent, head: 0, published: 0, snapshot: 0 }
    }

    /// Looks at what has been published so far. Returns whether there is a parcel.
    #[inline]
    pub fn snapshot(&mut self) -> bool {
        let tail = self.shared.sender.tails[self.rank].load(Ordering::Acquire);
        assert!(
            tail >= self.snapshot && tail - self.head <= self.extent.capacity as u64,
            "the tail grows, and not past a full ring"
        );
        self.snapshot = tail;
        self.head != tail
    }

    /// The oldest parcel that was there at the snapshot.
    #[inline]
    pub fn peek(&self) -> Option<Parcel<'_>> {
        if self.head == self.snapshot {
            return None;
        }
        // SAFETY: between the released position and the snapshot lie committed records, which the producer published
        // and does not touch before this consumer has released them and published that. Releasing needs `&mut self`,
        // so that no parcel is borrowed then.
        unsafe {
            let (header, at, _) = oldest(&self.shared.memory, self.extent, self.head, self.snapshot);
            let record = self.shared.memory.reading(self.extent.at + at, header.record());
            Some(Parcel {
                bytes: std::slice::from_raw_parts(record.add(header.payload_at()), header.len()),
                blob: header.has_blob().then(|| Blob::stored(record.add(HEADER))),
            })
        }
    }

    /// Frees the oldest parcel, which must be there, and drops its blob. Returns whether the snapshot holds another.
    #[inline]
    pub fn release(&mut self) -> bool {
        assert!(self.head != self.snapshot, "released a parcel that is not there");
        // SAFETY: as in `peek`; the blob is taken once, as the head moves past it here and never comes back.
        unsafe {
            let (header, at, next) = oldest(&self.shared.memory, self.extent, self.head, self.snapshot);
            if header.has_blob() {
                drop(Blob::take(self.shared.memory.reading(self.extent.at + at + HEADER, BLOB)));
            }
            self.head = next;
        }
        if self.head - self.published >= self.extent.capacity as u64 / 4 {
            self.publish();
        }
        self.head != self.snapshot
    }

    /// Gives the released room back to the producer. Returns whether there was some.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let moved = self.head != self.published;
        if moved {
            self.published = self.head;
            self.shared.receiver.heads[self.rank].store(self.head, Ordering::Release);
        }
        moved
    }

    /// Up to where this end has released.
    #[inline]
    pub fn released(&self) -> u64 {
        self.head
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.publish();
    }
}

/// The header of the oldest record between `head` and `tail`, its place in the ring, and the position after it.
///
/// # Safety
/// From `head` to `tail` lie whole committed records, at least one, and nobody writes them meanwhile.
#[inline(always)]
unsafe fn oldest(memory: &Memory, extent: Extent, head: u64, tail: u64) -> (Header, usize, u64) {
    let mask = extent.capacity as u64 - 1;
    let read = |position: u64| {
        let word = memory.reading(extent.at + (position & mask) as usize, HEADER).cast::<u64>();
        // SAFETY: a record begins at this position, as the caller promises, aligned to 8.
        Header::from_word(unsafe { word.read() })
    };
    let (mut position, mut header) = (head, read(head));
    if header.is_skip() {
        position = (head | mask) + 1;
        header = read(position);
    }
    let end = position + header.record() as u64;
    assert!(end <= tail, "a record ends within what was published");
    (header, (position & mask) as usize, end)
}

/// Drops the blobs of all records between `head` and `tail`.
///
/// # Safety
/// As for [`oldest`], without the minimum of one; the blobs there are owned by the records alone, and nobody takes them
/// afterwards.
pub(super) unsafe fn drop_blobs(memory: &Memory, extent: Extent, mut head: u64, tail: u64) {
    while head != tail {
        // SAFETY: whole records lie from `head` on, as the caller promises, and `next` begins the one after.
        unsafe {
            let (header, at, next) = oldest(memory, extent, head, tail);
            if header.has_blob() {
                drop(Blob::take(memory.reading(extent.at + at + HEADER, BLOB)));
            }
            head = next;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
