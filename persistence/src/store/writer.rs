//! A log that is written straight into segment files: for a layout that is not used yet, and by who repairs one.

use std::path::PathBuf;
use std::sync::Arc;

use super::StoreError;
use crate::files::{Files, Writing};
use crate::header::Owner;
use crate::layout::{HEADER_BYTES, KIND_FILLER, Position, RecordHeader};
use crate::segment::{SegmentHeader, segment_file_name};

/// Bytes that are gathered for one write.
const BATCH_BYTES: usize = 1 << 20;

/// Writes one shard's log from its beginning.
#[derive(Debug)]
pub struct LogWriter {
    files: Arc<dyn Files>,
    directory: PathBuf,
    owner: Owner,
    epoch: u32,
    segment_bytes: u64,
    segment: Option<Segment>,
    next: u64,
    end: Position,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: Box<dyn Writing>,
    number: u64,
    base: Position,
    capacity: u64,
    /// Bytes of the file that are written.
    written: u64,
    batch: Vec<u8>,
}

impl LogWriter {
    pub(crate) fn new(
        files: Arc<dyn Files>,
        directory: PathBuf,
        owner: Owner,
        epoch: u32,
        segment_bytes: u64,
    ) -> LogWriter {
        LogWriter { files, directory, owner, epoch, segment_bytes, segment: None, next: 1, end: Position(0) }
    }

    /// Whose log it is.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The end of the last record.
    pub fn tail(&self) -> Position {
        self.end
    }

    /// Appends a record with a body of `length` bytes, zeros that `fill` writes over. It is on disk when the log is
    /// finished.
    pub fn append(&mut self, kind: u16, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<Position, StoreError> {
        assert!(kind != KIND_FILLER, "the kind of fillers");
        let bytes = RecordHeader::record_bytes(length);
        if self.segment.as_ref().is_some_and(|segment| self.end.0 + bytes > segment.base.0 + segment.capacity) {
            self.end_segment()?;
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => {
                let path = self.directory.join(segment_file_name(self.next));
                let capacity = self.segment_bytes.max(bytes);
                let (number, base) = (self.next, self.end);
                let file = self.files.create(&path).map_err(StoreError::io("made", &path))?;
                // The header comes last, when it is known how much there is.
                let (written, batch) = (HEADER_BYTES, Vec::with_capacity(2 * BATCH_BYTES));
                self.next += 1;
                none.insert(Segment { path, file, number, base, capacity, written, batch })
            }
        };
        // Everything before the segment is synced when it begins.
        let (position, synced, epoch) = (self.end, segment.base, self.epoch);
        let header = RecordHeader { length: length as u32, position, synced, epoch, kind };
        let at = segment.batch.len();
        segment.batch.resize(at + bytes as usize, 0);
        let (front, body) = segment.batch[at..].split_first_chunk_mut().expect("a record has a header");
        fill(&mut body[..length]);
        header.write(&body[..length], front);
        self.end = header.end();
        if segment.batch.len() >= BATCH_BYTES {
            segment.flush()?;
        }
        Ok(self.end)
    }

    /// Brings the rest to disk.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.end_segment()?;
        self.files.sync_dir(&self.directory).map_err(StoreError::io("synced", &self.directory))
    }

    fn end_segment(&mut self) -> Result<(), StoreError> {
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        segment.flush()?;
        let Segment { number, base, .. } = segment;
        let (epoch, owner, capacity) = (self.epoch, self.owner, self.end.0 - base.0);
        let header = SegmentHeader { epoch, owner, number, base, capacity, sealed: true };
        let written = segment.file.write_at(0, &header.write());
        written.map_err(StoreError::io("written", &segment.path))?;
        segment.file.sync().map_err(StoreError::io("synced", segment.path))
    }
}

impl Segment {
    fn flush(&mut self) -> Result<(), StoreError> {
        let written = self.file.write_at(self.written, &self.batch);
        written.map_err(StoreError::io("written", &self.path))?;
        self.written += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }
}
