//! Segment files: their names and their headers, and which of them are begun.

use std::fmt;

use crate::header::{FileHeader, HeaderFault, Owner};
use crate::layout::{GRANULE, POSITION_MAX, Position, SEALED, SEGMENT_MAGIC};

/// What a segment file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The start of the program that made it.
    pub epoch: u32,
    /// Whose it is.
    pub owner: Owner,
    /// Its number, which its name has, too.
    pub number: u64,
    /// Where it begins in the log.
    pub base: Position,
    /// Bytes of the log that it has room for.
    pub capacity: u64,
    /// It was written as a whole: its records reach to its capacity, and are of its epoch and of those before.
    pub sealed: bool,
}

/// Why a file in a shard's directory is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its header.
    Header(HeaderFault),
    /// It belongs to another node, generation or shard.
    Owner {
        /// What it says.
        found: Owner,
        /// Where it lies.
        expected: Owner,
    },
    /// It is the segment of this number, under another one's name.
    Number(u64),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Header(fault) => fault.fmt(f),
            Refusal::Owner { found, expected } if found.node != expected.node => write!(
                f,
                "belongs to node {:016x}, and this data directory to node {:016x}: move it back where it came from",
                found.node, expected.node
            ),
            Refusal::Owner { found, expected } => write!(
                f,
                "belongs to generation {}, shard {}, and lies with generation {}, shard {}: move it back",
                found.generation, found.shard, expected.generation, expected.shard
            ),
            Refusal::Number(number) => {
                write!(f, "is segment {number} by its header: give it back its name, {}", segment_file_name(*number))
            }
        }
    }
}

impl Refusal {
    /// Refuses a file of somebody else.
    pub(crate) fn unless_owned(found: Owner, expected: Owner) -> Result<(), Refusal> {
        if found == expected { Ok(()) } else { Err(Refusal::Owner { found, expected }) }
    }
}

impl SegmentHeader {
    /// Bytes of a header.
    pub const BYTES: usize = FileHeader::BYTES;

    /// Writes it.
    pub fn write(&self) -> [u8; SegmentHeader::BYTES] {
        let numbers = [self.number, self.base.0, self.capacity];
        let flags = if self.sealed { SEALED } else { 0 };
        FileHeader { epoch: self.epoch, owner: self.owner, flags, numbers }.write(SEGMENT_MAGIC)
    }

    /// Reads it from the front of a file's bytes.
    pub fn read(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let FileHeader { epoch, owner, flags, numbers } = FileHeader::read(SEGMENT_MAGIC, bytes)?;
        let [number, base, capacity] = numbers;
        if !base.is_multiple_of(GRANULE) || base > POSITION_MAX || capacity > POSITION_MAX || number > POSITION_MAX {
            return Err(HeaderFault::Damaged);
        }
        let sealed = flags & SEALED != 0;
        Ok(SegmentHeader { epoch, owner, number, base: Position(base), capacity, sealed })
    }

    /// The header of segment `number` of `owner`, if it is begun. One that is not is prepared: it has zeros or the
    /// header of the segment whose file it was before, or its first write was torn.
    pub fn begun(bytes: &[u8], owner: Owner, number: u64) -> Result<Option<SegmentHeader>, Refusal> {
        match SegmentHeader::read(bytes) {
            Ok(header) => {
                Refusal::unless_owned(header.owner, owner)?;
                match header.number {
                    found if found > number => Err(Refusal::Number(found)),
                    found => Ok((found == number).then_some(header)),
                }
            }
            Err(HeaderFault::Short | HeaderFault::Damaged) => Ok(None),
            // Of a torn write some bytes are there, and the others are zeros.
            Err(HeaderFault::Foreign) if bytes.iter().zip(SEGMENT_MAGIC).all(|(&is, ours)| is == 0 || is == ours) => {
                Ok(None)
            }
            Err(fault) => Err(Refusal::Header(fault)),
        }
    }
}

/// The name of a segment's file.
pub fn segment_file_name(number: u64) -> String {
    format!("{number:012}.segment")
}

/// The number of the segment file with this name.
pub fn parse_segment_file_name(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".segment")?.parse().ok()?;
    // One file, one name.
    (segment_file_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { node: 7, generation: 1, shard: 2 };

    fn header() -> SegmentHeader {
        SegmentHeader { epoch: 3, owner: OWNER, number: 12, base: Position(640), capacity: 4096, sealed: false }
    }

    /// A begun segment is told from one that is prepared, from a torn one, and from one that is not ours.
    #[test]
    fn only_a_begun_segment_has_a_header() {
        let bytes = header().write();
        assert_eq!(SegmentHeader::begun(&bytes, OWNER, 12), Ok(Some(header())));
        let sealed = SegmentHeader { sealed: true, ..header() };
        assert_eq!(SegmentHeader::begun(&sealed.write(), OWNER, 12), Ok(Some(sealed)));
        assert_eq!(SegmentHeader::begun(&bytes, OWNER, 13), Ok(None));
        assert_eq!(SegmentHeader::begun(&bytes, OWNER, 11), Err(Refusal::Number(12)));
        assert_eq!(SegmentHeader::begun(&[0; 64], OWNER, 12), Ok(None));
        assert_eq!(SegmentHeader::begun(&[], OWNER, 12), Ok(None));
        for torn in 0..60 {
            let mut front = bytes;
            front[torn..].fill(0);
            assert_eq!(SegmentHeader::begun(&front, OWNER, 12), Ok(None), "torn at {torn}");
            let mut back = bytes;
            back[..=torn].fill(0);
            assert_eq!(SegmentHeader::begun(&back, OWNER, 12), Ok(None), "torn up to {torn}");
        }
        let foreign = Refusal::Header(HeaderFault::Foreign);
        assert_eq!(SegmentHeader::begun(b"#!/bin/sh -e\n".repeat(9).as_slice(), OWNER, 12), Err(foreign));
    }

    /// A file of somebody else is refused with what it says and what was expected.
    #[test]
    fn a_stranger_is_refused() {
        let bytes = header().write();
        let other = Owner { node: 8, ..OWNER };
        let refusal = SegmentHeader::begun(&bytes, other, 12).expect_err("another node's");
        assert!(refusal.to_string().contains("belongs to node 0000000000000007"), "{refusal}");
        let other = Owner { shard: 5, ..OWNER };
        let refusal = SegmentHeader::begun(&bytes, other, 12).expect_err("another shard's");
        assert!(refusal.to_string().contains("belongs to generation 1, shard 2"), "{refusal}");
    }

    /// Only names that this program gives are read.
    #[test]
    fn names_are_read_back() {
        for number in [0, 17, 1 << 50] {
            assert_eq!(parse_segment_file_name(&segment_file_name(number)), Some(number));
        }
        for name in ["17.segment", "000000000017.segment.new", "+00000000017.segment", "checkpoint"] {
            assert_eq!(parse_segment_file_name(name), None, "{name}");
        }
    }
}
