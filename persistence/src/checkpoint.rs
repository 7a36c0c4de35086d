//! The checkpoint of a journal: before which position nothing is needed any more.
//!
//! It is a file with two slots, a page each, that are written in turn: while one is being written the other holds. A
//! slot is a header like a segment's, with the magic `RINGCHK\0`, and as its numbers the slot's sequence, the cut, and
//! zero.

use crate::header::{FileHeader, HeaderFault, Owner};
use crate::layout::{GRANULE, HEADER_BYTES, POSITION_MAX, Position};
use crate::segment::Refusal;

/// The name of the file, in a shard's directory.
pub const FILE_NAME: &str = "checkpoint";

const MAGIC: [u8; 8] = *b"RINGCHK\0";
const SLOTS: u64 = 2;

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The start of the program that wrote it.
    pub epoch: u32,
    /// Whose it is.
    pub owner: Owner,
    /// How many were written, with this one.
    pub sequence: u64,
    /// Nothing before this is needed.
    pub cut: Position,
}

impl Checkpoint {
    /// Bytes of a slot that are written.
    pub const BYTES: usize = FileHeader::BYTES;

    /// What its slot holds.
    pub fn write(&self) -> [u8; Checkpoint::BYTES] {
        let numbers = [self.sequence, self.cut.0, 0];
        FileHeader { epoch: self.epoch, owner: self.owner, flags: 0, numbers }.write(MAGIC)
    }

    /// Where its slot lies in the file.
    pub const fn offset(&self) -> u64 {
        self.sequence % SLOTS * HEADER_BYTES
    }

    /// The newest checkpoint in a file with these bytes. `None`: not one was ever written whole.
    pub fn newest(bytes: &[u8], owner: Owner) -> Result<Option<Checkpoint>, Refusal> {
        let mut newest: Option<Checkpoint> = None;
        for slot in bytes.chunks(HEADER_BYTES as usize).take(SLOTS as usize) {
            match FileHeader::read(MAGIC, slot) {
                Ok(FileHeader { epoch, owner: found, numbers: [sequence, cut, _], .. }) => {
                    Refusal::unless_owned(found, owner)?;
                    let possible = cut.is_multiple_of(GRANULE) && cut <= POSITION_MAX && sequence <= POSITION_MAX;
                    if possible && newest.is_none_or(|newest| newest.sequence < sequence) {
                        newest = Some(Checkpoint { epoch, owner, sequence, cut: Position(cut) });
                    }
                }
                Err(fault @ HeaderFault::Newer(_)) => return Err(Refusal::Header(fault)),
                // A slot that is not written yet, or whose write was torn: the other one holds.
                Err(HeaderFault::Short | HeaderFault::Foreign | HeaderFault::Damaged) => {}
            }
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { node: 7, generation: 1, shard: 2 };

    fn write(file: &mut Vec<u8>, sequence: u64) -> Checkpoint {
        let checkpoint = Checkpoint { epoch: 1, owner: OWNER, sequence, cut: Position(sequence * 320) };
        let at = checkpoint.offset() as usize;
        file.resize(file.len().max(at + Checkpoint::BYTES), 0);
        file[at..at + Checkpoint::BYTES].copy_from_slice(&checkpoint.write());
        checkpoint
    }

    /// The newest slot wins, and while one is torn the one before it holds.
    #[test]
    fn the_newest_whole_slot_wins() {
        let mut file = Vec::new();
        assert_eq!(Checkpoint::newest(&file, OWNER), Ok(None));
        let mut before = None;
        for sequence in 1..6 {
            let now = write(&mut file, sequence);
            assert_eq!(Checkpoint::newest(&file, OWNER), Ok(Some(now)));
            let mut torn = file.clone();
            torn[now.offset() as usize + 40] ^= 1;
            assert_eq!(Checkpoint::newest(&torn, OWNER), Ok(before));
            before = Some(now);
        }
    }

    /// Another shard's checkpoint, and a newer version's, are refused.
    #[test]
    fn a_stranger_is_refused() {
        let mut file = Vec::new();
        write(&mut file, 1);
        assert!(Checkpoint::newest(&file, Owner { shard: 3, ..OWNER }).is_err());
        file[HEADER_BYTES as usize + 8] = 9;
        assert_eq!(Checkpoint::newest(&file, OWNER), Err(Refusal::Header(HeaderFault::Newer(9))));
    }
}
