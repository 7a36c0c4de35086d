//! Gives up what cannot be read, so that a damaged directory opens again.
//!
//! The records before the damage stay, and those behind it go: a log with a hole says things about messages that nobody
//! knows. What goes is kept beside, under names that end with `.damaged`.

use std::io;
use std::path::{Path, PathBuf};

use super::copy::Copied;
use super::{Listing, Source, manifest};
use crate::checkpoint::{self, Checkpoint};
use crate::files::{Disk, Files};
use crate::layout::{HEADER_BYTES, Position};
use crate::recover::staged::Staged;
use crate::recover::{Damage, Fault, Live, Log};
use crate::segment::{SegmentHeader, segment_file_name};
use crate::staging::parse_staging_file_name;
use crate::store::{NEW, StoreError, staging_dir, take_lock};

const DAMAGED: &str = ".damaged";

/// What was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The shard.
    pub shard: u16,
    /// What was wrong.
    pub damage: Damage,
    /// Where the log ends now, or, if its beginning was missing, begins.
    pub position: Position,
    /// Whole records that were found behind the damage, and do not count any more.
    pub records: u64,
    /// Where what was given up is now.
    pub kept: Vec<PathBuf>,
}

/// Mends a data directory that no process uses, with what its node left in staging below `staging`. What was lost is
/// returned, damage by damage; nothing, if there was none.
pub fn repair(data_dir: &Path, staging: &Path) -> Result<Vec<Loss>, StoreError> {
    repair_in(&Disk, data_dir, staging)
}

/// The same, on these files.
pub fn repair_in(files: &dyn Files, data_dir: &Path, staging: &Path) -> Result<Vec<Loss>, StoreError> {
    // Before the lock, which would make a file in any directory.
    manifest(files, data_dir)?;
    let _lock = take_lock(files, data_dir)?;
    let manifest = manifest(files, data_dir)?;
    let mut losses = Vec::new();
    for shard in 0..manifest.shape.shards {
        let source = Source::new(files, data_dir, &manifest, shard);
        let end = loop {
            match source.find_damage()? {
                Found::Whole(log) => break log.end,
                // Each turn takes at least one file, or the gap in front of all of them, out of the way.
                Found::Damaged(log, damage) => losses.push(source.mend(log, damage)?),
            }
        };
        source.mend_staging(&staging_dir(staging, manifest.node), end, &mut losses)?;
    }
    Ok(losses)
}

enum Found {
    Whole(Log),
    Damaged(Option<Log>, Damage),
}

impl Source<'_> {
    fn find_damage(&self) -> Result<Found, StoreError> {
        let Listing { mut log, .. } = match self.list()? {
            Ok(listing) => listing,
            Err(damage) => return Ok(Found::Damaged(None, damage)),
        };
        for live in log.live.clone() {
            let number = live.header.number;
            match self.replay(&mut log, &live, &mut |_| ()) {
                Ok((_, Ok(()))) => {}
                Ok((_, Err(damage))) => return Ok(Found::Damaged(Some(log), damage)),
                // The device does not give its bytes.
                Err(StoreError::Io { error, .. }) if error.raw_os_error() == Some(libc::EIO) => {
                    let position = log.end.max(live.header.base);
                    let damage = Damage { segment: Some(number), offset: 0, position, fault: Fault::Unreadable };
                    return Ok(Found::Damaged(Some(log), damage));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(damage) = self.check_unbegun(&log)? {
            return Ok(Found::Damaged(Some(log), damage));
        }
        Ok(Found::Whole(log))
    }

    /// Takes one damage out of the way.
    fn mend(&self, log: Option<Log>, damage: Damage) -> Result<Loss, StoreError> {
        let mut loss =
            Loss { shard: self.owner.shard, damage, position: damage.position, records: 0, kept: Vec::new() };
        let damaged =
            log.as_ref().and_then(|log| log.live.iter().find(|live| Some(live.header.number) == damage.segment));
        if let (None, Fault::Missing(base)) = (damage.segment, damage.fault) {
            // The beginning is gone, and all the rest is there: the log begins with that.
            self.write_checkpoint(base)?;
            loss.position = base;
            return Ok(loss);
        }
        let number = damage.segment.expect("a log without files has no damage");
        // From the last one on, so that the log is damaged in the same place until this is through.
        let (files, _) = crate::store::list(self.files, &self.directory, self.owner)?;
        for file in files.iter().rev().filter(|file| file.number > number && file.header.is_some()) {
            self.give_up(file.number, &mut loss)?;
            self.sync_directory()?;
        }
        match damaged {
            Some(live) => self.keep_front(live, damage, &mut loss)?,
            None => self.give_up(number, &mut loss)?,
        }
        self.sync_directory()?;
        Ok(loss)
    }

    /// Writes the good front of a segment anew in its place. The old one is copied first, so at each moment the log is
    /// damaged as it was, or mended.
    fn keep_front(&self, live: &Live, damage: Damage, loss: &mut Loss) -> Result<(), StoreError> {
        let SegmentHeader { number, base, .. } = live.header;
        let path = self.path(number);
        let end = damage.position.max(base);
        // The rest of it may be what the device does not give.
        let bytes = (HEADER_BYTES + end.0 - base.0) as usize;
        let front = self.files.read_at(&path, 0, bytes).map_err(StoreError::io("read", &path))?;
        if end == base || front.len() < bytes {
            return self.give_up(number, loss);
        }
        let whole = self.files.read_at(&path, 0, usize::MAX).unwrap_or_else(|_| front.clone());
        loss.records += self.whole_records(live, end, &whole);
        self.set_aside(number, &whole, loss)?;
        let new = self.directory.join(segment_file_name(number) + NEW);
        self.remove_if_there(&new)?;
        let header = SegmentHeader { capacity: end.0 - base.0, sealed: true, ..live.header };
        let pieces = [&header.write()[..], &front[SegmentHeader::BYTES..]];
        self.create(&new, 0, &pieces, &mut Copied::default())?;
        self.files.rename(&new, &path).map_err(StoreError::io("renamed", new))?;
        self.sync_directory()
    }

    /// Gives a segment another name.
    fn give_up(&self, number: u64, loss: &mut Loss) -> Result<(), StoreError> {
        let path = self.path(number);
        let bytes = self.files.read_at(&path, 0, usize::MAX).unwrap_or_default();
        if let Ok(Some(header)) = SegmentHeader::begun(&bytes, self.owner, number) {
            let live = Live { header, bytes: bytes.len() as u64, end: None };
            loss.records += self.whole_records(&live, header.base, &bytes);
        }
        let kept = self.directory.join(segment_file_name(number) + DAMAGED);
        self.files.rename(&path, &kept).map_err(StoreError::io("renamed", path))?;
        loss.kept.push(kept);
        Ok(())
    }

    /// Whole records of a segment's bytes from a position on, as far as they follow each other.
    fn whole_records(&self, live: &Live, from: Position, bytes: &[u8]) -> u64 {
        let mut log = Log::arrange(&[], from).expect("no files");
        let live = Live { end: None, ..*live };
        // It ends at the first that is not whole, whatever is said about that.
        let _ = log.replay(&live, bytes, &mut |_| ());
        log.records
    }

    fn set_aside(&self, number: u64, bytes: &[u8], loss: &mut Loss) -> Result<(), StoreError> {
        let kept = self.directory.join(segment_file_name(number) + DAMAGED);
        self.remove_if_there(&kept)?;
        self.create(&kept, 0, &[bytes], &mut Copied::default())?;
        self.sync_directory()?;
        loss.kept.push(kept);
        Ok(())
    }

    fn write_checkpoint(&self, cut: Position) -> Result<(), StoreError> {
        let (_, before) = crate::store::list(self.files, &self.directory, self.owner)?;
        let (epoch, sequence) = before.map_or((0, 1), |before| (before.epoch, before.sequence + 1));
        let slot = Checkpoint { epoch, owner: self.owner, sequence, cut };
        let path = self.directory.join(checkpoint::FILE_NAME);
        let written = || -> io::Result<()> {
            let mut file = self.files.open(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => self.files.create(&path),
                _ => Err(error),
            })?;
            file.write_at(slot.offset(), &slot.write())?;
            file.sync()
        };
        written().map_err(StoreError::io("written", &path))?;
        self.sync_directory()
    }

    /// What was staged behind a log that is shorter now does not follow it any more.
    fn mend_staging(&self, staging: &Path, end: Position, losses: &mut Vec<Loss>) -> Result<(), StoreError> {
        let entries = match self.files.list(staging) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(StoreError::io("read", staging))?,
        };
        let ours = |name: &str| parse_staging_file_name(name).is_some_and(|(shard, _)| shard == self.owner.shard);
        for name in entries.into_iter().map(|entry| entry.name).filter(|name| ours(name)) {
            let path = staging.join(&name);
            let bytes = self.files.read_at(&path, 0, usize::MAX).map_err(StoreError::io("read", &path))?;
            let Ok(Some(staged)) = Staged::read(&bytes, self.owner) else { continue };
            let mut log = Log::arrange(&[], end).expect("no files");
            staged.replay(&mut log, &mut |_| ());
            let known = staged.synced();
            if log.end >= known {
                continue;
            }
            let kept = self.directory.join(name + DAMAGED);
            self.remove_if_there(&kept)?;
            self.create(&kept, 0, &[&bytes], &mut Copied::default())?;
            self.sync_directory()?;
            self.files.remove(&path).map_err(StoreError::io("removed", path))?;
            let damage = Damage { segment: None, offset: 0, position: end, fault: Fault::Missing(known) };
            let mut lost = Log::arrange(&[], known).expect("no files");
            staged.replay(&mut lost, &mut |_| ());
            let (shard, records) = (self.owner.shard, lost.records);
            losses.push(Loss { shard, damage, position: end, records, kept: vec![kept] });
        }
        Ok(())
    }

    fn remove_if_there(&self, path: &Path) -> Result<(), StoreError> {
        match self.files.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(StoreError::io("removed", path)),
        }
    }

    fn sync_directory(&self) -> Result<(), StoreError> {
        self.files.sync_dir(&self.directory).map_err(StoreError::io("synced", &self.directory))
    }
}
