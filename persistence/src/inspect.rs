//! A data directory looked at from outside: checked, shown, copied, mended.
//!
//! Checking, showing and copying work beside a process that uses the directory. They hold `RETAIN` meanwhile, so that
//! no file is removed or used again, and read files instead of mapping them, since the last one is being written.

mod copy;
mod repair;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

pub use copy::{Copied, backup, restore};
pub use repair::{Loss, repair, repair_in};

use crate::checkpoint::Checkpoint;
use crate::files::{Disk, Files, Held, Lock};
use crate::header::Owner;
use crate::layout::Position;
use crate::manifest::Manifest;
use crate::recover::{Damage, Entry, Live, Log, Torn};
use crate::segment::{SegmentHeader, segment_file_name};
use crate::store::{LOCK, RETAIN, StoreError, list, load, shard_dir};

/// How long to wait for who removes files, at most.
const RETAIN_TRIES: u32 = 500;
const RETAIN_PAUSE: Duration = Duration::from_millis(10);
/// How often a damaged last segment is read again: what is being written may have been seen half.
const TRIES: u32 = 4;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What the directory says of itself.
    pub manifest: Manifest,
    /// Whether a process uses it now.
    pub in_use: bool,
    /// One for each shard.
    pub shards: Vec<ShardInspection>,
}

/// What a check found in one shard's journal.
#[derive(Clone, Debug)]
pub struct ShardInspection {
    /// The shard.
    pub shard: u16,
    /// Segments whose records are needed.
    pub segments: usize,
    /// Bytes of all segment files.
    pub file_bytes: u64,
    /// Records that were gone through.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Nothing before this is needed.
    pub cut: Position,
    /// Where the log ends.
    pub end: Position,
    /// A torn tail, which the next start cuts.
    pub torn: Option<Torn>,
    /// What would keep the program from starting.
    pub damage: Option<Damage>,
}

impl Inspection {
    /// Whether nothing would keep the program from starting.
    pub fn is_whole(&self) -> bool {
        self.shards.iter().all(|shard| shard.damage.is_none())
    }
}

/// Goes through all records of a data directory.
pub fn verify(data_dir: &Path) -> Result<Inspection, StoreError> {
    verify_in(&Disk, data_dir)
}

/// The same, on these files.
pub fn verify_in(files: &dyn Files, data_dir: &Path) -> Result<Inspection, StoreError> {
    let retained = retain(files, data_dir)?;
    let manifest = manifest(files, data_dir)?;
    let in_use = in_use(files, data_dir);
    let inspect = |shard| {
        let source = Source::new(files, data_dir, &manifest, shard);
        let (log, file_bytes, damage) = source.read(&mut |_| ())?;
        Ok(ShardInspection {
            shard,
            segments: log.live.len(),
            file_bytes,
            records: log.records,
            bytes: log.bytes,
            cut: log.cut,
            end: log.end,
            torn: log.torn,
            damage,
        })
    };
    let shards = (0..manifest.shape.shards).map(inspect).collect::<Result<_, StoreError>>()?;
    drop(retained);
    Ok(Inspection { manifest, in_use, shards })
}

/// Shows the records of a data directory, shard by shard, each from its checkpoint on, up to damage if there is any.
pub fn dump(data_dir: &Path, visit: impl FnMut(u16, Entry<'_>)) -> Result<(), StoreError> {
    dump_in(&Disk, data_dir, visit)
}

/// The same, of these files.
pub fn dump_in(files: &dyn Files, data_dir: &Path, mut visit: impl FnMut(u16, Entry<'_>)) -> Result<(), StoreError> {
    let _retained = retain(files, data_dir)?;
    let manifest = manifest(files, data_dir)?;
    for shard in 0..manifest.shape.shards {
        let source = Source::new(files, data_dir, &manifest, shard);
        if let (_, _, Some(damage)) = source.read(&mut |entry| visit(shard, entry))? {
            return Err(StoreError::Damaged { directory: source.directory, damage });
        }
    }
    Ok(())
}

fn manifest(files: &dyn Files, data_dir: &Path) -> Result<Manifest, StoreError> {
    load(files, data_dir)?.ok_or_else(|| StoreError::NoManifest(data_dir.into()))
}

fn in_use(files: &dyn Files, data_dir: &Path) -> bool {
    let there = files.read_at(&data_dir.join(LOCK), 0, 1).is_ok();
    there && !matches!(files.lock(&data_dir.join(LOCK), Lock::Shared), Ok(Some(_)))
}

/// Keeps files from being removed. `None`: nobody ever removed any.
fn retain(files: &dyn Files, data_dir: &Path) -> Result<Option<Held>, StoreError> {
    let path = data_dir.join(RETAIN);
    match files.read_at(&path, 0, 1) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    for _ in 0..RETAIN_TRIES {
        if let Some(held) = files.lock(&path, Lock::Shared).map_err(StoreError::io("locked", &path))? {
            return Ok(Some(held));
        }
        // A removal is under way, and takes no longer than that.
        thread::sleep(RETAIN_PAUSE);
    }
    Err(StoreError::InUse { path, process: None })
}

/// One shard's files, for reading.
struct Source<'a> {
    files: &'a dyn Files,
    directory: PathBuf,
    owner: Owner,
}

/// A shard's files at one moment.
struct Listing {
    log: Log,
    checkpoint: Option<Checkpoint>,
    file_bytes: u64,
}

impl<'a> Source<'a> {
    fn new(files: &'a dyn Files, data_dir: &Path, manifest: &Manifest, shard: u16) -> Source<'a> {
        let owner = Owner { node: manifest.node, generation: manifest.generation, shard };
        Source { files, directory: shard_dir(data_dir, manifest.generation, shard), owner }
    }

    fn list(&self) -> Result<Result<Listing, Damage>, StoreError> {
        let (files, checkpoint) = list(self.files, &self.directory, self.owner)?;
        let cut = checkpoint.map_or(Position(0), |checkpoint| checkpoint.cut);
        let file_bytes = files.iter().map(|file| file.bytes).sum();
        Ok(Log::arrange(&files, cut).map(|log| Listing { log, checkpoint, file_bytes }))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(segment_file_name(number))
    }

    /// Goes through the log, up to damage if there is any.
    fn read(&self, visit: &mut impl FnMut(Entry<'_>)) -> Result<(Log, u64, Option<Damage>), StoreError> {
        let Listing { mut log, file_bytes, .. } = match self.list()? {
            Ok(listing) => listing,
            Err(damage) => {
                let empty = Log::arrange(&[], damage.position).expect("no files");
                return Ok((empty, 0, Some(damage)));
            }
        };
        for live in log.live.clone() {
            let (_, outcome) = self.replay(&mut log, &live, visit)?;
            if let Err(damage) = outcome {
                return Ok((log, file_bytes, Some(damage)));
            }
        }
        let damage = self.check_unbegun(&log)?;
        Ok((log, file_bytes, damage))
    }

    /// Looks into the files behind the last segment, which are not begun, unless the header of one of them is damaged. One
    /// that the keeper has begun meanwhile is passed over; that may be seen half, and is looked at again.
    fn check_unbegun(&self, log: &Log) -> Result<Option<Damage>, StoreError> {
        let last = log.live.last().map_or(0, |live| live.header.number);
        for number in log.dead.iter().map(|dead| dead.number).filter(|&number| number > last) {
            let path = self.path(number);
            let mut tries = TRIES;
            loop {
                let bytes = match self.files.read_at(&path, 0, usize::MAX) {
                    // A running process has used it for something else.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    read => read.map_err(StoreError::io("read", &path))?,
                };
                let begun = SegmentHeader::begun(&bytes, self.owner, number);
                let begun = begun.map_err(|refusal| StoreError::Refused { path: path.clone(), refusal })?;
                let checked = log.check_unbegun(self.owner, number, &bytes);
                tries -= 1;
                match checked {
                    Err(damage) if begun.is_none() && tries == 0 => return Ok(Some(damage)),
                    Err(_) if begun.is_none() => {}
                    _ => break,
                }
            }
        }
        Ok(None)
    }

    /// Reads a segment and goes through it. One that is being written may be seen with a hole that is not there a
    /// moment later: it is read again, from where it was whole.
    fn replay(
        &self,
        log: &mut Log,
        live: &Live,
        visit: &mut impl FnMut(Entry<'_>),
    ) -> Result<(Vec<u8>, Result<(), Damage>), StoreError> {
        let path = self.path(live.header.number);
        let mut tries = TRIES;
        loop {
            let bytes = self.files.read_at(&path, 0, usize::MAX).map_err(StoreError::io("read", &path))?;
            let outcome = log.replay(live, &bytes, visit);
            tries -= 1;
            if outcome.is_ok() || live.end.is_some() || tries == 0 {
                return Ok((bytes, outcome));
            }
        }
    }
}

#[cfg(test)]
mod tests;
