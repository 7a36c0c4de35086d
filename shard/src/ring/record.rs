//! How a parcel lies in a ring.
//!
//! ```text
//!   0        4        8                         24 (8 without a blob)
//!   ┌────────┬────────┬─────────────────────────┬───────────────────┬─────────┐
//!   │ len    │ flags  │ blob, only when flagged │ payload, len bytes│ padding │  to a multiple of 8
//!   │ u32    │ u32    │ 16 bytes                │                   │         │
//!   └────────┴────────┴─────────────────────────┴───────────────────┴─────────┘
//! ```
//! A record never straddles the end of its ring: where it would, a *skip* record (a header alone, flagged) fills what
//! is left, and the record begins at the start. Records are multiples of 8 and so are rings, so a header always fits.

/// Bytes of a header.
pub(super) const HEADER: usize = 8;
/// Bytes that a blob takes in a record: its reference, not what it holds.
pub(super) const BLOB: usize = size_of::<crate::buffer::Blob>();
/// The smallest ring, in bytes.
pub const RING_MIN: u32 = 64;
/// The largest ring, in bytes.
pub const RING_MAX: u32 = 1 << 30;

const FLAG_BLOB: u32 = 1;
const FLAG_SKIP: u32 = 2;

const _: () = assert!(BLOB == 16 && align_of::<crate::buffer::Blob>() <= 8);
const _: () = assert!(RING_MIN.is_power_of_two() && RING_MAX.is_power_of_two());
const _: () = assert!(RING_MIN as usize / 2 >= HEADER + BLOB + 8);

/// The first eight bytes of a record, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header(u64);

impl Header {
    /// Of a parcel with a payload of `len` bytes.
    #[inline]
    pub(super) fn parcel(len: u32, blob: bool) -> Self {
        Header(u64::from(len) | u64::from(if blob { FLAG_BLOB } else { 0 }) << 32)
    }

    /// Of what fills the ring to its end.
    pub(super) fn skip() -> Self {
        Header(u64::from(FLAG_SKIP) << 32)
    }

    /// As it was read.
    #[inline]
    pub(super) fn from_word(word: u64) -> Self {
        Header(word)
    }

    /// To be written.
    #[inline]
    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// Whether the next record is at the start of the ring.
    #[inline]
    pub(super) fn is_skip(self) -> bool {
        self.flags() & FLAG_SKIP != 0
    }

    /// Whether a blob follows.
    #[inline]
    pub(super) fn has_blob(self) -> bool {
        self.flags() & FLAG_BLOB != 0
    }

    /// Bytes of payload.
    #[inline]
    pub(super) fn len(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    /// Where the payload begins in the record.
    #[inline]
    pub(super) fn payload_at(self) -> usize {
        if self.has_blob() { HEADER + BLOB } else { HEADER }
    }

    /// Bytes of the whole record.
    #[inline]
    pub(super) fn record(self) -> usize {
        (self.payload_at() + self.len()).next_multiple_of(8)
    }

    #[inline]
    fn flags(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The largest payload that a ring of `capacity` bytes takes, with a blob or without: its record is half of the ring,
/// so that it fits an empty ring wherever that ring's position is.
#[inline]
pub const fn largest(capacity: usize) -> usize {
    capacity / 2 - HEADER - BLOB
}
