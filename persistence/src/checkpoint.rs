//! Stand-in until merged.
use crate::header::{FileHeader, Owner};
use crate::layout::Position;
pub const FILE_NAME: &str = "checkpoint";
pub struct Checkpoint {
    pub epoch: u32,
    pub owner: Owner,
    pub sequence: u64,
    pub cut: Position,
}
impl Checkpoint {
    pub fn write(&self) -> [u8; 64] {
        FileHeader { epoch: self.epoch, owner: self.owner, numbers: [self.sequence, self.cut.0, 0] }
            .write(*b"RINGCHK\0")
    }
    pub fn offset(&self) -> u64 {
        self.sequence % 2 * 4096
    }
}
