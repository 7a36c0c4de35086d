//! One shard's place in the data directory: what was there becomes records, and then a journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::StoreError;
use super::ahead::{self, Source};
use crate::checkpoint::{self, Checkpoint};
use crate::files::Files;
use crate::header::Owner;
use crate::journal::{Durability, Journal};
use crate::layout::{HEADER_BYTES, Position};
use crate::map::Region;
use crate::recover::staged::Staged;
use crate::recover::{Damage, Dead, Entry, Fault, Listed, Live, Log, Torn};
use crate::segment::{SegmentHeader, parse_segment_file_name, segment_file_name};
use crate::shared::Shared;
use crate::staging::{Reader, StagingHeader, parse_staging_file_name, staging_file_name};

/// What a name ends with while its file is being written.
pub(crate) const NEW: &str = ".new";

/// One shard's place in the data directory.
#[derive(Clone, Debug)]
pub struct Seat {
    pub(super) files: Arc<dyn Files>,
    pub(super) directory: PathBuf,
    /// Where this node stages.
    pub(super) staging: Option<PathBuf>,
    pub(super) owner: Owner,
    pub(super) epoch: u32,
    pub(super) staging_bytes: u64,
    pub(super) segment_bytes: u64,
    pub(super) durability: Durability,
    /// Threads that check segments ahead; none: who recovers does it.
    pub(super) threads: usize,
}

/// What a recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that were gone through.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// A torn tail that was cut.
    pub torn: Option<Torn>,
    /// What was not known to be synced, and is now.
    pub adopted: Option<Adopted>,
}

/// What was written anew into a segment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The segment's number.
    pub segment: u64,
    /// Bytes of the log.
    pub bytes: u64,
    /// Records of them that were in staging alone.
    pub staged_records: u64,
}

/// A journal that was recovered, for who keeps it.
#[derive(Debug)]
pub struct Recovered {
    /// What the recovery did.
    pub report: Report,
    /// What the keeper begins with.
    pub handover: Handover,
    /// What the records were read from. What was kept of their bytes is to be believed if [`Source::check`] is right
    /// with each of these after it was looked at last.
    pub sources: Vec<Source>,
}

/// What the keeper begins with. The log goes on in a new segment, at [`Shared::synced`] of `staged`.
#[derive(Debug)]
pub struct Handover {
    /// Where the journal's files are.
    pub directory: PathBuf,
    /// Whose they are.
    pub owner: Owner,
    /// This start of the program.
    pub epoch: u32,
    /// Bytes of the log in a segment.
    pub segment_bytes: u64,
    /// The next segment's number. No file has it or a higher one.
    pub next: u64,
    /// Segments whose records are needed, oldest first. Each has an end.
    pub live: Vec<Live>,
    /// Segment files whose records are not.
    pub dead: Vec<Dead>,
    /// Nothing before this is needed.
    pub cut: Position,
    /// The sequence of the checkpoint that says so; 0: there is none.
    pub checkpoint: u64,
    /// The keeper's end of the staging ring.
    pub staged: Reader,
}

/// A log that was gone through, with what it was read from.
struct Found {
    log: Log,
    checkpoint: Option<Checkpoint>,
    sources: Vec<Source>,
    last: Option<(Live, Source)>,
    staged: Vec<Piece>,
    staged_records: u64,
    staging_files: Vec<PathBuf>,
}

/// What [`Found`] comes to when nothing of it is in doubt any more.
struct Brought {
    log: Log,
    /// The sequence of the checkpoint; 0: there is none.
    checkpoint: u64,
    report: Report,
    sources: Vec<Source>,
}

/// Where a part of the log lies in a staging file.
struct Piece {
    file: Source,
    from: Position,
    to: Position,
}

impl Seat {
    /// The shard's number.
    pub fn shard(&self) -> u16 {
        self.owner.shard
    }

    /// Goes through the records that are there, and makes a journal that goes on behind them. The bytes that `visit` is
    /// given with an entry hold its body, and can be kept.
    pub fn recover(self, mut visit: impl FnMut(Entry<'_>, &Bytes)) -> Result<(Journal, Recovered), StoreError> {
        let Brought { log, checkpoint, report, sources } = self.bring(&mut visit)?;
        let shared = Arc::new(Shared::new(log.end, log.cut));
        let (owner, epoch) = (self.owner, self.epoch);
        let header = StagingHeader { epoch, owner, capacity: self.staging_bytes, base: log.end };
        let bytes = HEADER_BYTES + self.staging_bytes;
        let file = self.staging_file();
        let region = match &file {
            Some(file) => self.files.stage(file, bytes as usize),
            None => Region::anonymous(bytes as usize),
        };
        let region = region.map_err(|error| {
            let path = file.clone().unwrap_or_default();
            StoreError::StagingRoom { path, bytes, error }
        })?;
        let (journal, reader) = Journal::new(region, header, shared, self.durability, self.segment_bytes);
        let staged = match file {
            Some(file) => reader.in_file(file),
            None => reader,
        };
        let handover = Handover {
            directory: self.directory,
            owner,
            epoch,
            segment_bytes: self.segment_bytes,
            next: log.next,
            live: log.live,
            dead: log.dead,
            cut: log.cut,
            checkpoint,
            staged,
        };
        Ok((journal, Recovered { report, handover, sources }))
    }

    /// Goes through the records that are there, and leaves them where they are: to write them elsewhere.
    pub fn replay(&self, mut visit: impl FnMut(Entry<'_>, &Bytes)) -> Result<(Report, Vec<Source>), StoreError> {
        let brought = self.bring(&mut visit)?;
        Ok((brought.report, brought.sources))
    }

    fn staging_file(&self) -> Option<PathBuf> {
        let staging = self.staging.as_ref().filter(|_| self.durability != Durability::Memory)?;
        Some(staging.join(staging_file_name(self.owner.shard, self.epoch)))
    }

    /// Goes through everything, and brings what is not known to be synced into a segment of its own.
    fn bring(&self, visit: &mut impl FnMut(Entry<'_>, &Bytes)) -> Result<Brought, StoreError> {
        let mut found = self.find(visit)?;
        let torn = found.log.torn;
        let adopted = self.adopt(&mut found)?;
        self.settle(&mut found)?;
        // Only now: what was in them is on disk.
        for file in &found.staging_files {
            self.files.remove(file).map_err(StoreError::io("removed", file))?;
        }
        let Found { log, checkpoint, sources, .. } = found;
        let checkpoint = checkpoint.map_or(0, |checkpoint| checkpoint.sequence);
        let report = Report { records: log.records, bytes: log.bytes, torn, adopted };
        Ok(Brought { log, checkpoint, report, sources })
    }

    fn find(&self, visit: &mut impl FnMut(Entry<'_>, &Bytes)) -> Result<Found, StoreError> {
        self.remove_unfinished()?;
        let (files, checkpoint) = list(&*self.files, &self.directory, self.owner)?;
        let cut = checkpoint.map_or(Position(0), |checkpoint| checkpoint.cut);
        let mut log = Log::arrange(&files, cut).map_err(|damage| self.damaged(damage))?;
        let (mut last, mut sources) = (None, Vec::new());
        let lives = log.live.clone();
        let map = |live: &Live| self.map(live.header.number);
        ahead::in_order(&lives, cut, self.threads, map, |live, source, walk| {
            let bytes = source.bytes();
            let passed = log.pass_through(live, bytes, walk, &mut |entry| visit(entry, bytes));
            self.check_readable(&source, live.header.number, &log)?;
            passed.map_err(|damage| self.damaged(damage))?;
            sources.push(source.clone());
            last = Some((*live, source));
            Ok(())
        })?;
        let begun = last.as_ref().map_or(0, |(live, _)| live.header.number);
        for file in files.iter().filter(|file| file.header.is_none() && file.number > begun) {
            let mapped = self.map(file.number)?;
            let checked = log.check_unbegun(self.owner, file.number, mapped.bytes());
            checked.map_err(|damage| self.damaged(damage))?;
        }
        let mut found =
            Found { log, checkpoint, sources, last, staged: Vec::new(), staged_records: 0, staging_files: Vec::new() };
        self.find_staged(&mut found, visit)?;
        Ok(found)
    }

    /// Goes on in what processes that were killed left in staging, the oldest first.
    fn find_staged(&self, found: &mut Found, visit: &mut impl FnMut(Entry<'_>, &Bytes)) -> Result<(), StoreError> {
        let Some(directory) = &self.staging else { return Ok(()) };
        let entries = self.files.list(directory).map_err(StoreError::io("read", directory))?;
        let mut epochs: Vec<u32> = entries
            .iter()
            .filter_map(|entry| parse_staging_file_name(&entry.name))
            .filter_map(|(shard, epoch)| (shard == self.owner.shard).then_some(epoch))
            .collect();
        epochs.sort_unstable();
        for epoch in epochs {
            let path = directory.join(staging_file_name(self.owner.shard, epoch));
            let file = self.files.map(&path).map_err(StoreError::io("read", &path))?;
            let file = Source::new(path.clone(), file);
            let refused = |refusal| StoreError::Refused { path: path.clone(), refusal };
            let (from, records) = (found.log.end, found.log.records);
            if let Some(staged) = Staged::read(file.bytes(), self.owner).map_err(refused)? {
                let synced = staged.synced();
                let begins_behind = from < staged.header.base;
                if !begins_behind {
                    staged.replay(&mut found.log, &mut |entry| visit(entry, file.bytes()));
                }
                if begins_behind || found.log.end < synced {
                    let (directory, bytes) = (self.directory.clone(), synced.0 - found.log.end.0);
                    return Err(StoreError::Behind { path, directory, bytes });
                }
            }
            file.check()?;
            found.staged_records += found.log.records - records;
            let to = found.log.end;
            if to > from {
                found.sources.push(file.clone());
                found.staged.push(Piece { file, from, to });
            }
            found.staging_files.push(path);
        }
        Ok(())
    }

    /// Writes what is not known to be synced into a segment of its own.
    fn adopt(&self, found: &mut Found) -> Result<Option<Adopted>, StoreError> {
        let log = &mut found.log;
        let (base, end, number) = (log.proven, log.end, log.next);
        if base == end {
            if let Some(last) = log.live.last_mut() {
                last.end = Some(end);
            }
            return Ok(None);
        }
        let bytes = end.0 - base.0;
        let (epoch, owner) = (self.epoch, self.owner);
        let header = SegmentHeader { epoch, owner, number, base, capacity: bytes, sealed: true };
        let path = self.directory.join(segment_file_name(number));
        let new = self.directory.join(segment_file_name(number) + NEW);
        let mut file = self.files.create(&new).map_err(StoreError::io("made", &new))?;
        let mut front = header.write().to_vec();
        front.resize(HEADER_BYTES as usize, 0);
        let mut at = 0;
        let mut write = |bytes: &[u8]| {
            let written = file.write_at(at, bytes);
            at += bytes.len() as u64;
            written.map_err(StoreError::io("written", &new))
        };
        write(&front)?;
        if let Some((live, mapped)) = &found.last {
            // The rest is in staging.
            let to = found.staged.first().map_or(end, |piece| piece.from);
            let place = |position: Position| (HEADER_BYTES + position.0 - live.header.base.0) as usize;
            if base < to {
                write(&mapped.bytes()[place(base)..place(to)])?;
            }
        }
        for piece in &found.staged {
            let staged = Staged::read(piece.file.bytes(), self.owner);
            let staged = staged.ok().flatten().expect("it was gone through");
            for bytes in staged.bytes(piece.from, piece.to) {
                write(bytes)?;
            }
        }
        let mut read = found.last.iter().map(|(_, source)| source).chain(found.staged.iter().map(|piece| &piece.file));
        read.try_for_each(Source::check)?;
        file.sync().map_err(StoreError::io("synced", &new))?;
        self.files.rename(&new, &path).map_err(StoreError::io("renamed", &new))?;
        log.append_segment(Live { header, bytes: HEADER_BYTES + bytes, end: Some(end) });
        Ok(Some(Adopted { segment: number, bytes, staged_records: found.staged_records }))
    }

    /// Names that were found, and the checkpoint, may be in the kernel's memory alone, if the process before was killed
    /// at the wrong moment. From here on segments and staging files are given up because of them.
    fn settle(&self, found: &mut Found) -> Result<(), StoreError> {
        if let Some(before) = found.checkpoint {
            // Into the other slot: the one that was read may have failed to reach the disk, and would not be tried
            // again.
            let slot = Checkpoint { epoch: self.epoch, sequence: before.sequence + 1, ..before };
            let path = self.directory.join(checkpoint::FILE_NAME);
            let mut file = self.files.open(&path).map_err(StoreError::io("opened", &path))?;
            file.write_at(slot.offset(), &slot.write()).map_err(StoreError::io("written", &path))?;
            file.sync().map_err(StoreError::io("synced", &path))?;
            found.checkpoint = Some(slot);
        }
        self.files.sync_dir(&self.directory).map_err(StoreError::io("synced", &self.directory))
    }

    /// Removes what an earlier recovery had not finished.
    fn remove_unfinished(&self) -> Result<(), StoreError> {
        let entries = self.files.list(&self.directory).map_err(StoreError::io("read", &self.directory))?;
        for entry in entries.iter().filter(|entry| entry.name.ends_with(NEW)) {
            let path = self.directory.join(&entry.name);
            self.files.remove(&path).map_err(StoreError::io("removed", path))?;
        }
        Ok(())
    }

    fn map(&self, number: u64) -> Result<Source, StoreError> {
        let path = self.directory.join(segment_file_name(number));
        let mapped = self.files.map(&path).map_err(StoreError::io("read", &path))?;
        Ok(Source::new(path, mapped))
    }

    fn check_readable(&self, mapped: &Source, number: u64, log: &Log) -> Result<(), StoreError> {
        if !mapped.damaged() {
            return Ok(());
        }
        let position = log.end;
        let live = log.live.iter().find(|live| live.header.number == number);
        let offset = live.map_or(0, |live| HEADER_BYTES + position.0.saturating_sub(live.header.base.0));
        Err(self.damaged(Damage { segment: Some(number), offset, position, fault: Fault::Unreadable }))
    }

    fn damaged(&self, damage: Damage) -> StoreError {
        StoreError::Damaged { directory: self.directory.clone(), damage }
    }
}

/// The segment files of a shard's directory, in the order of their numbers, and its checkpoint.
pub(crate) fn list(
    files: &dyn Files,
    directory: &Path,
    owner: Owner,
) -> Result<(Vec<Listed>, Option<Checkpoint>), StoreError> {
    let path = directory.join(checkpoint::FILE_NAME);
    let bytes = match files.read_at(&path, 0, 2 * HEADER_BYTES as usize) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes.map_err(StoreError::io("read", &path))?,
    };
    let refused = |refusal| StoreError::Refused { path, refusal };
    let checkpoint = Checkpoint::newest(&bytes, owner).map_err(refused)?;
    let mut listed = Vec::new();
    for entry in files.list(directory).map_err(StoreError::io("read", directory))? {
        let Some(number) = parse_segment_file_name(&entry.name) else { continue };
        let path = directory.join(&entry.name);
        let front = files.read_at(&path, 0, SegmentHeader::BYTES).map_err(StoreError::io("read", &path))?;
        let refused = |refusal| StoreError::Refused { path, refusal };
        let header = SegmentHeader::begun(&front, owner, number).map_err(refused)?;
        listed.push(Listed { number, bytes: entry.bytes, header });
    }
    listed.sort_by_key(|listed| listed.number);
    Ok((listed, checkpoint))
}
