//! The staging ring: where a record lies from the moment it is appended until its segment is synced.
//!
//! `Staging` is the shard's end and places records; [`Reader`] is the keeper's and takes them away, in order.
//! [`layout`](crate::layout) draws where a position lies in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::header::{FileHeader, HeaderFault, Owner};
use crate::layout::{GRANULE, HEADER_BYTES, KIND_FILLER, POSITION_MAX, Position, RecordHeader, STAGING_MAGIC};
use crate::map::{self, Region};
use crate::shared::{Fence, Shared, Trouble};

/// The smallest ring that is of use: a quarter of it is the largest record.
pub const STAGING_BYTES_MIN: u64 = 16 * GRANULE;

/// What a staging file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagingHeader {
    /// The start of the program that made it.
    pub epoch: u32,
    /// Whose it is.
    pub owner: Owner,
    /// Bytes of the ring.
    pub capacity: u64,
    /// Where the log began in this epoch.
    pub base: Position,
}

impl StagingHeader {
    /// Bytes of a header.
    pub const BYTES: usize = FileHeader::BYTES;

    /// Writes it.
    pub fn write(&self) -> [u8; StagingHeader::BYTES] {
        let numbers = [self.capacity, self.base.0, 0];
        FileHeader { epoch: self.epoch, owner: self.owner, flags: 0, numbers }.write(STAGING_MAGIC)
    }

    /// Reads it from the front of a file's bytes.
    pub fn read(bytes: &[u8]) -> Result<StagingHeader, HeaderFault> {
        let FileHeader { epoch, owner, numbers: [capacity, base, _], .. } = FileHeader::read(STAGING_MAGIC, bytes)?;
        let whole = capacity.is_multiple_of(GRANULE) && base.is_multiple_of(GRANULE);
        if !whole || !(STAGING_BYTES_MIN..=POSITION_MAX).contains(&capacity) || base > POSITION_MAX {
            return Err(HeaderFault::Damaged);
        }
        Ok(StagingHeader { epoch, owner, capacity, base: Position(base) })
    }
}

/// The name of a shard's staging file.
pub fn staging_file_name(shard: u16, epoch: u32) -> String {
    format!("shard-{shard}.{epoch}.staging")
}

/// Shard and epoch of the staging file with this name.
pub fn parse_staging_file_name(name: &str) -> Option<(u16, u32)> {
    let (shard, epoch) = name.strip_prefix("shard-")?.strip_suffix(".staging")?.split_once('.')?;
    let found = (shard.parse().ok()?, epoch.parse().ok()?);
    // One file, one name: no signs, no zeros in front.
    (staging_file_name(found.0, found.1) == name).then_some(found)
}

/// The shard's end.
#[derive(Debug)]
pub(crate) struct Staging {
    writer: map::Writer,
    epoch: u32,
    /// The end of the last record.
    tail: Position,
}

/// Both ends of a ring in `region`, which becomes one of `header`'s.
pub(crate) fn ring(mut region: Region, header: StagingHeader, shared: Arc<Shared>) -> (Staging, Reader) {
    assert!(header.capacity >= STAGING_BYTES_MIN && header.capacity.is_multiple_of(GRANULE), "size of a ring");
    assert_eq!(region.bytes_mut().len() as u64, HEADER_BYTES + header.capacity, "size of a ring's region");
    assert!(header.base.0.is_multiple_of(GRANULE), "base of a ring");
    region.bytes_mut()[..StagingHeader::BYTES].copy_from_slice(&header.write());
    let (writer, reader) = region.ends(header.base);
    (Staging { writer, epoch: header.epoch, tail: header.base }, Reader { reader, shared, file: None })
}

impl Staging {
    /// The end of the last record.
    #[inline]
    pub fn tail(&self) -> Position {
        self.tail
    }

    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        self.writer.capacity()
    }

    /// Bytes that nothing lies in.
    pub fn free(&self) -> u64 {
        self.writer.limit().0 - self.tail.0
    }

    /// Whether records of these sizes fit behind each other, with the fillers that they need.
    pub fn room(&self, record_bytes: impl Iterator<Item = u64>) -> bool {
        let capacity = self.writer.capacity();
        let mut rest = self.writer.rest(self.tail);
        let mut end = self.tail.0;
        for bytes in record_bytes {
            if bytes > rest {
                end += rest;
                rest = capacity;
            }
            end += bytes;
            rest -= bytes;
            if rest == 0 {
                rest = capacity;
            }
        }
        Position(end) <= self.writer.limit()
    }

    /// Places a record with a body of `length` bytes, which `fill` writes. `false`: it does not fit now.
    #[inline]
    pub fn place(&mut self, kind: u16, length: usize, synced: Position, fill: impl FnOnce(&mut [u8])) -> bool {
        let bytes = RecordHeader::record_bytes(length);
        let rest = self.writer.rest(self.tail);
        let filler = if bytes > rest { rest } else { 0 };
        if !self.writer.reaches(Position(self.tail.0 + filler + bytes)) {
            return false;
        }
        let epoch = self.epoch;
        if filler > 0 {
            let length = (filler - RecordHeader::BYTES as u64) as u32;
            let header = RecordHeader { length, position: self.tail, synced, epoch, kind: KIND_FILLER };
            let place = self.writer.claim(self.tail, RecordHeader::BYTES as u64);
            header.seal(place);
            self.tail = header.end();
        }
        let header = RecordHeader { length: length as u32, position: self.tail, synced, epoch, kind };
        let place = self.writer.claim(self.tail, bytes);
        let (body, padding) = place[RecordHeader::BYTES..].split_at_mut(length);
        fill(body);
        padding.fill(0);
        header.seal(place);
        self.tail = header.end();
        true
    }

    /// Gives what was placed to the keeper.
    pub fn give(&mut self) {
        self.writer.give(self.tail);
    }

    /// Whether a page of the ring has gone away.
    #[inline]
    pub fn damaged(&self) -> bool {
        self.writer.damaged()
    }
}

/// The keeper's end of a staging ring.
#[derive(Debug)]
pub struct Reader {
    reader: map::Reader,
    shared: Arc<Shared>,
    file: Option<PathBuf>,
}

impl Reader {
    /// The same, of a ring that is this file.
    pub(crate) fn in_file(mut self, file: PathBuf) -> Reader {
        self.file = Some(file);
        self
    }

    /// The words of this journal.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        self.reader.capacity()
    }

    /// The end of what can be read.
    pub fn staged(&self) -> Position {
        self.reader.limit()
    }

    /// Where the ring begins: what is synced.
    pub fn synced(&self) -> Position {
        self.reader.released()
    }

    /// The end of the last record, from `from` on, that ends within `bytes_max` bytes and at `to` at the latest. It is
    /// `from` if the first one is too long.
    pub fn whole(&self, from: Position, to: Position, bytes_max: u64) -> Position {
        let limit = Position(to.0.min(from.0.saturating_add(bytes_max)));
        if limit == to {
            return to;
        }
        let mut at = from;
        while at < to {
            // Records lie in one piece, and a header is as long as the granule that its place is a multiple of.
            let [front, _] = self.reader.bytes(at, Position(at.0 + RecordHeader::BYTES as u64));
            let (header, _) = RecordHeader::read(front).expect("as many bytes as a header has");
            // Of a ring whose page is gone anything may be read; `copy` says so.
            if header.position != at || header.end() > limit {
                break;
            }
            at = header.end();
        }
        at
    }

    /// Copies what lies between `from` and `to` behind `out`. A ring that lost a page is fenced, and nothing of it is
    /// copied.
    pub fn copy(&self, from: Position, to: Position, out: &mut Vec<u8>) -> Result<(), Fence> {
        let before = out.len();
        for piece in self.reader.bytes(from, to) {
            out.extend_from_slice(piece);
        }
        // After the bytes were read: only now is it known whether they were there.
        if self.reader.damaged() {
            out.truncate(before);
            self.shared.fence(Fence { trouble: Trouble::Page, segment: None, errno: 0 });
        }
        match self.shared.fenced() {
            Some(Fence { trouble: Trouble::Page, .. }) => {
                Err(Fence { trouble: Trouble::Page, segment: None, errno: 0 })
            }
            _ => Ok(()),
        }
    }

    /// Everything before `to` is on disk: tells the shard so, and gives it the ring's bytes back. To be called where
    /// [`Shared::sync`] would be.
    pub fn sync(&mut self, to: Position) {
        self.reader.release(to);
        self.shared.sync(to);
    }

    /// Removes the ring's file, if it is one and everything in it is synced: the end of a program that stops in order.
    pub fn remove(self) -> io::Result<()> {
        match self.file.as_deref() {
            Some(file) if self.synced() == self.staged() => fs::remove_file(file),
            _ => Ok(()),
        }
    }

    /// The ring's file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> (Staging, Reader) {
        let header = StagingHeader {
            epoch: 1,
            owner: Owner { node: 1, generation: 0, shard: 0 },
            capacity: 512,
            base: Position(960),
        };
        let region = Region::anonymous(4096 + 512).expect("memory");
        ring(region, header, Arc::new(Shared::new(Position(960), Position(0))))
    }

    fn place(staging: &mut Staging, length: usize) -> bool {
        staging.place(5, length, Position(0), |body| body.fill(length as u8))
    }

    /// A record that does not fit before the turn of the ring lies behind it, and a filler takes the rest.
    #[test]
    fn a_filler_takes_the_rest() {
        let (mut staging, mut reader) = small();
        // Position 960 lies 64 bytes before the turn.
        assert!(staging.room([96].into_iter()));
        assert!(place(&mut staging, 40));
        assert_eq!(staging.tail(), Position(1024 + 96));
        staging.give();
        let mut bytes = Vec::new();
        reader.copy(Position(960), Position(1120), &mut bytes).expect("no page is gone");
        let (filler, _) = RecordHeader::check(&bytes, Position(960)).expect("a filler");
        assert_eq!((filler.kind, filler.end()), (KIND_FILLER, Position(1024)));
        let (header, body) = RecordHeader::check(&bytes[64..], Position(1024)).expect("a record");
        assert_eq!((header.kind, body), (5, &[40; 40][..]));
        // 512 - 160 bytes are free, and one byte of body takes two granules.
        assert!(staging.room([352].into_iter()) && !staging.room([352, 32].into_iter()));
        assert!(place(&mut staging, 320) && !place(&mut staging, 0));
        reader.sync(Position(1120));
        assert_eq!((staging.free(), reader.shared().synced()), (160, Position(1120)));
        assert!(place(&mut staging, 32));
    }

    /// The keeper can cut what is staged between records.
    #[test]
    fn what_is_staged_is_cut_between_records() {
        let (mut staging, reader) = small();
        for _ in 0..3 {
            assert!(place(&mut staging, 32));
        }
        staging.give();
        let (from, to) = (Position(960), Position(960 + 3 * 64));
        assert_eq!(reader.staged(), to);
        assert_eq!(reader.whole(from, to, 192), to);
        assert_eq!(reader.whole(from, to, 191), Position(960 + 128));
        assert_eq!(reader.whole(from, to, 63), from);
    }

    /// Only names that this program gives are read.
    #[test]
    fn names_are_read_back() {
        assert_eq!(parse_staging_file_name(&staging_file_name(3, 17)), Some((3, 17)));
        for name in ["shard-3.staging", "shard-03.17.staging", "shard-3.+17.staging", "shard-65536.1.staging", "x"] {
            assert_eq!(parse_staging_file_name(name), None, "{name}");
        }
    }

    /// The header's numbers are checked, since they steer where is read.
    #[test]
    fn a_header_that_makes_no_sense_is_refused() {
        let header = StagingHeader {
            epoch: 4,
            owner: Owner { node: 5, generation: 6, shard: 7 },
            capacity: 512,
            base: Position(96),
        };
        assert_eq!(StagingHeader::read(&header.write()), Ok(header));
        let odd = StagingHeader { capacity: 500, ..header };
        assert_eq!(StagingHeader::read(&odd.write()), Err(HeaderFault::Damaged));
    }
}
