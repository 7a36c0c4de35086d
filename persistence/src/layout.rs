//! What lies where, in the staging ring and in segment files. All integers are little-endian.
//!
//! The log of a journal is one sequence of bytes. A [`Position`] counts them from its beginning, over all segments and
//! restarts. The log is made of records, each a whole number of [`GRANULE`]s long:
//!
//! ```text
//!   0         4         8                   16                  24        28       30       32
//!   ┌─────────┬─────────┬───────────────────┬───────────────────┬─────────┬────────┬────────┐
//!   │ CRC-32C │ length  │ position          │ synced            │ epoch   │ kind   │ zero   │
//!   ├─────────┴─────────┴───────────────────┴───────────────────┴─────────┴────────┴────────┤
//!   │ body: `length` bytes, then zeros up to a whole number of granules                     │
//!   └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The checksum covers bytes 4 to 32 of the header and the body; of a [`KIND_FILLER`] the header alone. *synced* is the
//! position that its writer knew to be synced when it appended the record: a damaged record before that position was
//! whole on the disk once, one behind it may never have been.
//!
//! In the staging ring the byte at position `p` lies at `HEADER_BYTES + p % capacity`, and a record lies in one piece:
//! where the rest of the ring is too short a filler takes it. A segment file holds the positions from its `base` on,
//! the byte at `p` at `HEADER_BYTES + (p - base)`, and records in one piece, too: what is left at its end stays zero.
//!
//! ```text
//!   segment header                                staging header
//!   0   magic "RINGSEG\0"                         0   magic "RINGSTG\0"
//!   8   version (4)      12  epoch (4)            8   version (4)      12  epoch (4)
//!   16  node (8)         24  generation (4)       16  node (8)         24  generation (4)
//!   28  shard (2)  30 flags (2)                   28  shard (2)  30 zero (2)
//!   32  number (8)                                32  capacity (8)
//!   40  base (8)                                  40  base (8): where the log began in this epoch
//!   48  capacity (8)                              48  zero (8)
//!   56  CRC-32C of bytes 0 to 56 (4)              56  CRC-32C of bytes 0 to 56 (4)
//!   60  zero (4)                                  60  zero (4)
//! ```
//!
//! A segment with the flag [`SEALED`] was written and synced as a whole before it counted: its records reach to its
//! capacity, and are of its epoch and of those before. Any other one is written record by record, and a record of
//! another epoch in it is what its file held before.

use crc32c::{crc32c, crc32c_append};

/// A place in the log of a journal, in bytes since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// The layout that this version writes. Older ones are read; a newer one is refused.
pub const VERSION: u32 = 1;
/// What record sizes and positions are multiples of.
pub const GRANULE: u64 = 32;
/// No position and no size is larger: so sums of two of them fit, whatever a file says.
pub const POSITION_MAX: u64 = 1 << 62;
/// Bytes before the log in a segment file and in a staging file: one page.
pub const HEADER_BYTES: u64 = 4096;
/// First bytes of a segment file.
pub const SEGMENT_MAGIC: [u8; 8] = *b"RINGSEG\0";
/// First bytes of a staging file.
pub const STAGING_MAGIC: [u8; 8] = *b"RINGSTG\0";
/// In a segment's flags: it was written as a whole.
pub const SEALED: u16 = 1;
/// A record without meaning that takes the rest of the staging ring.
pub const KIND_FILLER: u16 = 0;

const _: () = assert!(RecordHeader::BYTES as u64 == GRANULE, "a rest of the ring always holds a filler's header");
const _: () = assert!(HEADER_BYTES.is_multiple_of(GRANULE));

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the body.
    pub length: u32,
    /// Where the record begins.
    pub position: Position,
    /// What was synced when it was appended.
    pub synced: Position,
    /// The start of the program that appended it.
    pub epoch: u32,
    /// What it says, in its user's terms; [`KIND_FILLER`] is this crate's.
    pub kind: u16,
}

impl RecordHeader {
    /// Bytes of a header.
    pub const BYTES: usize = 32;

    /// Bytes of a whole record with a body of `length` bytes.
    pub const fn record_bytes(length: usize) -> u64 {
        (RecordHeader::BYTES as u64 + length as u64).next_multiple_of(GRANULE)
    }

    /// Where the next record begins.
    pub const fn end(&self) -> Position {
        Position(self.position.0 + RecordHeader::record_bytes(self.length as usize))
    }

    /// Writes the header of a record with this body.
    pub fn write(&self, body: &[u8], out: &mut [u8; RecordHeader::BYTES]) {
        self.write_fields(out);
        let body = if self.kind == KIND_FILLER { &[] } else { body };
        let checksum = crc32c_append(crc32c(&out[4..]), body);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Writes the header to the front of `record`, where the body stands behind it already.
    #[inline]
    pub fn seal(&self, record: &mut [u8]) {
        let front = record.first_chunk_mut().expect("a record has a header");
        self.write_fields(front);
        let length = if self.kind == KIND_FILLER { 0 } else { self.length as usize };
        let checksum = crc32c(&record[4..RecordHeader::BYTES + length]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
    }

    #[inline]
    fn write_fields(&self, out: &mut [u8; RecordHeader::BYTES]) {
        out[4..8].copy_from_slice(&self.length.to_le_bytes());
        out[8..16].copy_from_slice(&self.position.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.synced.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.epoch.to_le_bytes());
        out[28..30].copy_from_slice(&self.kind.to_le_bytes());
        out[30..32].copy_from_slice(&[0; 2]);
    }

    /// Reads the header at the front of `bytes`, whatever its checksum says. `None`: too short.
    pub fn read(bytes: &[u8]) -> Option<(RecordHeader, u32)> {
        let bytes: &[u8; RecordHeader::BYTES] = bytes.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let header = RecordHeader {
            length: u32_at(4),
            position: Position(u64_at(8)),
            synced: Position(u64_at(16)),
            epoch: u32_at(24),
            kind: u16::from_le_bytes([bytes[28], bytes[29]]),
        };
        Some((header, u32_at(0)))
    }

    /// The record at the front of `bytes`, if it is whole and begins at `position`: its header and its body.
    pub fn check(bytes: &[u8], position: Position) -> Option<(RecordHeader, &[u8])> {
        let (header, checksum) = RecordHeader::read(bytes)?;
        if header.position != position {
            return None;
        }
        let length = if header.kind == KIND_FILLER { 0 } else { header.length as usize };
        let covered = bytes.get(4..RecordHeader::BYTES + length)?;
        let actual = crc32c(covered);
        let body = &covered[RecordHeader::BYTES - 4..];
        (actual == checksum).then_some((header, body))
    }

    /// The same, if all that it stands for is there: what fills it up to a granule, and the bytes that a filler skips.
    #[inline]
    pub fn check_all(bytes: &[u8], position: Position) -> Option<(RecordHeader, &[u8])> {
        let found = RecordHeader::check(bytes, position)?;
        (found.0.end().0 - position.0 <= bytes.len() as u64).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: &[u8], kind: u16) -> Vec<u8> {
        let header =
            RecordHeader { length: body.len() as u32, position: Position(64), synced: Position(32), epoch: 7, kind };
        let mut bytes = vec![0; RecordHeader::record_bytes(body.len()) as usize];
        let (front, rest) = bytes.split_first_chunk_mut().expect("a header");
        header.write(body, front);
        rest[..body.len()].copy_from_slice(body);
        let mut sealed = bytes.clone();
        header.seal(&mut sealed);
        assert_eq!(sealed, bytes, "the two ways to write a header agree");
        bytes
    }

    /// A record is found where it was written, with what was written.
    #[test]
    fn a_record_is_read_back() {
        let bytes = record(b"hello", 3);
        assert_eq!(bytes.len(), 64);
        let (header, body) = RecordHeader::check(&bytes, Position(64)).expect("it is whole");
        assert_eq!((header.kind, header.epoch, header.synced, body), (3, 7, Position(32), &b"hello"[..]));
        assert_eq!(header.end(), Position(128));
        assert_eq!(RecordHeader::check(&bytes, Position(96)), None);
    }

    /// Any bit that changes in header or body is found, and so is a body that is cut off.
    #[test]
    fn damage_is_found() {
        let bytes = record(b"hello", 3);
        for bit in 0..(RecordHeader::BYTES + 5) * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::check(&bytes, Position(64)), None, "bit {bit}");
        }
        assert_eq!(RecordHeader::check(&bytes[..36], Position(64)), None);
    }

    /// Of a filler only the header counts.
    #[test]
    fn a_filler_has_no_body() {
        let header = RecordHeader { length: 1 << 20, position: Position(0), synced: Position(0), epoch: 1, kind: 0 };
        let mut bytes = [0; 32];
        header.write(&[], &mut bytes);
        assert_eq!(RecordHeader::check(&bytes, Position(0)), Some((header, &[][..])));
    }
}
