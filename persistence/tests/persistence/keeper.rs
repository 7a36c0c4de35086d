//! A keeper that does one thing at a time, on simulated files.

use std::path::PathBuf;

use persistence::checkpoint::{self, Checkpoint};
use persistence::files::Files;
use persistence::files::sim::SimFiles;
use persistence::layout::HEADER_BYTES;
use persistence::segment::{SegmentHeader, segment_file_name};
use persistence::{Handover, Position};

/// Bytes of the log in a segment.
pub const SEGMENT_BYTES: u64 = 4096;
const FILE_BYTES: u64 = HEADER_BYTES + SEGMENT_BYTES;

/// A keeper that does one thing at a time, on simulated files.
pub struct Keeper {
    files: SimFiles,
    from: Handover,
    segment: Option<(u64, Position)>,
    written: Position,
    begun: Vec<(u64, Position)>,
    dead: Vec<u64>,
    fenced: bool,
}

impl Keeper {
    /// What a recovery leaves, on these files.
    pub fn new(files: SimFiles, from: Handover) -> Keeper {
        let written = from.staged.synced();
        let begun = from.live.iter().map(|live| (live.header.number, live.header.base)).collect();
        let whole = from.dead.iter().filter(|dead| dead.bytes == FILE_BYTES);
        let dead = whole.map(|dead| dead.number).collect();
        Keeper { files, from, segment: None, written, begun, dead, fenced: false }
    }

    /// Nothing before this is needed.
    pub fn cut(&self) -> Position {
        self.from.cut
    }

    fn path(&self, number: u64) -> PathBuf {
        self.from.directory.join(segment_file_name(number))
    }

    /// A segment's file, made or used again.
    fn prepare(&mut self) -> u64 {
        let number = self.from.next;
        self.from.next += 1;
        match self.dead.pop() {
            Some(dead) => self.files.rename(&self.path(dead), &self.path(number)).expect("it is there"),
            None => {
                let mut file = self.files.create(&self.path(number)).expect("it is new");
                file.write_at(0, &vec![0; FILE_BYTES as usize]).expect("it is written");
                file.sync().expect("it is synced");
            }
        }
        self.files.sync_dir(&self.from.directory).expect("it is synced");
        number
    }

    /// Writes at most so many bytes of what is staged, or a record.
    pub fn write(&mut self, bytes_max: u64) {
        let staged = &self.from.staged;
        let whole = |room: u64| staged.whole(self.written, staged.staged(), room);
        let room = self.segment.map_or(0, |(_, base)| SEGMENT_BYTES - (self.written.0 - base.0));
        let fits = whole(bytes_max.max(1024).min(room)) > self.written;
        if self.fenced || self.written == staged.staged() || !fits && self.written != staged.synced() {
            return;
        }
        let mut bytes = Vec::new();
        if !fits {
            let (number, base) = (self.prepare(), self.written);
            self.segment = Some((number, base));
            self.begun.push((number, base));
            let (epoch, owner) = (self.from.epoch, self.from.owner);
            let header = SegmentHeader { epoch, owner, number, base, capacity: SEGMENT_BYTES, sealed: false };
            bytes.extend_from_slice(&header.write());
            bytes.resize(HEADER_BYTES as usize, 0);
        }
        let (number, base) = self.segment.expect("it was begun");
        let at = if bytes.is_empty() { HEADER_BYTES + self.written.0 - base.0 } else { 0 };
        let staged = &self.from.staged;
        let room = SEGMENT_BYTES - (self.written.0 - base.0);
        let to = staged.whole(self.written, staged.staged(), bytes_max.max(1024).min(room));
        staged.copy(self.written, to, &mut bytes).expect("no page is gone");
        self.files.write_at(&self.path(number), at, &bytes).expect("it is written");
        self.written = to;
    }

    /// Syncs what was written.
    pub fn sync(&mut self) {
        let Some((number, _)) = self.segment.filter(|_| !self.fenced) else { return };
        match self.files.sync(&self.path(number)) {
            Ok(()) => self.from.staged.sync(self.written),
            Err(_) => self.fenced = true,
        }
    }

    /// Writes a checkpoint, and if that is the whole of it, gives up segments.
    pub fn checkpoint(&mut self, cut: Position, whole: bool) {
        if self.fenced || cut <= self.from.cut {
            return;
        }
        (self.from.cut, self.from.checkpoint) = (cut, self.from.checkpoint + 1);
        let (epoch, owner, sequence) = (self.from.epoch, self.from.owner, self.from.checkpoint);
        let slot = Checkpoint { epoch, owner, sequence, cut };
        let path = self.from.directory.join(checkpoint::FILE_NAME);
        let mut file = self.files.open(&path).or_else(|_| self.files.create(&path)).expect("it is opened");
        file.write_at(slot.offset(), &slot.write()).expect("it is written");
        self.fenced = !whole;
        if !whole {
            return;
        }
        file.sync().expect("it is synced");
        self.files.sync_dir(&self.from.directory).expect("it is synced");
        while let [(oldest, _), (_, next), ..] = self.begun[..] {
            if next > cut {
                break;
            }
            self.begun.remove(0);
            match self.files.bytes(&self.path(oldest)) {
                Ok(bytes) if bytes.len() as u64 == FILE_BYTES => self.dead.push(oldest),
                _ => self.files.remove(&self.path(oldest)).expect("it is removed"),
            }
        }
    }
}
