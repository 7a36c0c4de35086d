//! The first bytes of a file of ours: what it is, whose it is, and three numbers that its kind gives a meaning.

use std::fmt;

use crc32c::crc32c;

use crate::layout::VERSION;

/// What segment and staging files begin with, but for their magic and version: [`crate::layout`] draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub epoch: u32,
    pub owner: Owner,
    pub flags: u16,
    pub numbers: [u64; 3],
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The data directory's random number.
    pub node: u64,
    /// The layout of shards and partition rules.
    pub generation: u32,
    /// The shard within it.
    pub shard: u16,
}

/// Why the first bytes of a file are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// The file ends before its header does.
    Short,
    /// It begins with another magic.
    Foreign,
    /// It was written by a newer version of this program.
    Newer(u32),
    /// Its checksum is wrong.
    Damaged,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFault::Short => f.write_str("ends before its header does"),
            HeaderFault::Foreign => f.write_str("is not a file of this program: it begins with other bytes"),
            HeaderFault::Newer(version) => write!(
                f,
                "has format {version}, and this program reads formats up to {VERSION}: start the newer program that \
                 wrote it"
            ),
            HeaderFault::Damaged => f.write_str("has a header whose checksum is wrong"),
        }
    }
}

impl std::error::Error for HeaderFault {}

impl FileHeader {
    /// Bytes of a header.
    pub const BYTES: usize = 64;

    /// Writes it.
    pub fn write(&self, magic: [u8; 8]) -> [u8; FileHeader::BYTES] {
        let mut out = [0; FileHeader::BYTES];
        out[..8].copy_from_slice(&magic);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        out[16..24].copy_from_slice(&self.owner.node.to_le_bytes());
        out[24..28].copy_from_slice(&self.owner.generation.to_le_bytes());
        out[28..30].copy_from_slice(&self.owner.shard.to_le_bytes());
        out[30..32].copy_from_slice(&self.flags.to_le_bytes());
        for (number, place) in self.numbers.iter().zip(out[32..56].chunks_exact_mut(8)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c(&out[..56]);
        out[56..60].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads it.
    pub fn read(magic: [u8; 8], bytes: &[u8]) -> Result<FileHeader, HeaderFault> {
        let bytes: &[u8; FileHeader::BYTES] = bytes.first_chunk().ok_or(HeaderFault::Short)?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..8] != magic {
            return Err(HeaderFault::Foreign);
        }
        // Another version may keep its checksum elsewhere, so this comes first.
        if u32_at(8) > VERSION {
            return Err(HeaderFault::Newer(u32_at(8)));
        }
        if u32_at(56) != crc32c(&bytes[..56]) {
            return Err(HeaderFault::Damaged);
        }
        let shard = u16::from_le_bytes([bytes[28], bytes[29]]);
        let owner = Owner { node: u64_at(16), generation: u32_at(24), shard };
        let flags = u16::from_le_bytes([bytes[30], bytes[31]]);
        Ok(FileHeader { epoch: u32_at(12), owner, flags, numbers: [u64_at(32), u64_at(40), u64_at(48)] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = *b"RINGTST\0";

    fn header() -> FileHeader {
        let owner = Owner { node: 1 << 60, generation: 2, shard: 9 };
        FileHeader { epoch: 3, owner, flags: 0x8001, numbers: [1, 2, u64::MAX] }
    }

    /// A header is read back as it was written, and every other state of its bytes is told apart.
    #[test]
    fn a_header_is_read_back_or_refused() {
        let bytes = header().write(MAGIC);
        assert_eq!(FileHeader::read(MAGIC, &bytes), Ok(header()));
        assert_eq!(FileHeader::read(*b"RINGSEG\0", &bytes), Err(HeaderFault::Foreign));
        assert_eq!(FileHeader::read(MAGIC, &bytes[..63]), Err(HeaderFault::Short));
        for bit in 12 * 8..60 * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::read(MAGIC, &bytes), Err(HeaderFault::Damaged), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(FileHeader::read(MAGIC, &newer), Err(HeaderFault::Newer(2)));
    }
}
