//! Stand-in until merged.
use crate::header::{FileHeader, Owner};
use crate::layout::{Position, SEGMENT_MAGIC};
pub struct SegmentHeader {
    pub epoch: u32,
    pub owner: Owner,
    pub number: u64,
    pub base: Position,
    pub capacity: u64,
}
impl SegmentHeader {
    pub fn write(&self) -> [u8; 64] {
        FileHeader { epoch: self.epoch, owner: self.owner, numbers: [self.number, self.base.0, self.capacity] }
            .write(SEGMENT_MAGIC)
    }
}
pub fn segment_file_name(number: u64) -> String {
    format!("{number:012}.segment")
}
