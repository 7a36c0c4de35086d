//! A copy of a data directory that opens as one: of a running node as a backup, and back.

use std::io;
use std::path::Path;

use super::{Listing, Source, manifest, retain};
use crate::checkpoint;
use crate::files::{Disk, Files};
use crate::layout::{HEADER_BYTES, Position};
use crate::segment::segment_file_name;
use crate::store::{StoreError, make_dirs, make_generation, shard_dir};

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Segments.
    pub segments: u64,
    /// Records in them from the checkpoint on.
    pub records: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Copies the journal of a data directory, whose process may be running, into a directory that is empty or not there.
/// The copy is what a crash would have left at that moment, or a little later. A damaged journal is not copied.
pub fn backup(data_dir: &Path, to: &Path) -> Result<Copied, StoreError> {
    copy(&Disk, data_dir, to)
}

/// Makes a data directory, empty or not there, from a backup.
pub fn restore(from: &Path, data_dir: &Path) -> Result<Copied, StoreError> {
    copy(&Disk, from, data_dir)
}

pub(super) fn copy(files: &dyn Files, from: &Path, to: &Path) -> Result<Copied, StoreError> {
    let _retained = retain(files, from)?;
    let manifest = manifest(files, from)?;
    make_dirs(files, to)?;
    if !files.list(to).map_err(StoreError::io("read", to))?.is_empty() {
        return Err(StoreError::NotEmpty(to.into()));
    }
    make_generation(files, to, manifest.generation, manifest.shape.shards)?;
    let mut copied = Copied::default();
    for shard in 0..manifest.shape.shards {
        let source = Source::new(files, from, &manifest, shard);
        source.copy(&shard_dir(to, manifest.generation, shard), &mut copied)?;
    }
    // Without it the copy is no data directory, so it is the last.
    manifest.save(files, to).map_err(StoreError::io("written", to))?;
    Ok(copied)
}

impl Source<'_> {
    fn copy(&self, to: &Path, copied: &mut Copied) -> Result<(), StoreError> {
        let damaged = |damage| StoreError::Damaged { directory: self.directory.clone(), damage };
        // The checkpoint was read before the list was made, so it is no newer than the segments.
        let Listing { mut log, checkpoint, .. } = self.list()?.map_err(damaged)?;
        if let Some(checkpoint) = checkpoint {
            let at = checkpoint.offset();
            self.create(&to.join(checkpoint::FILE_NAME), at, &[&checkpoint.write()], copied)?;
        }
        for live in log.live.clone() {
            let (bytes, outcome) = self.replay(&mut log, &live, &mut |_| ())?;
            outcome.map_err(damaged)?;
            // What is behind the last whole record is of no use, and what is being written now would look like damage.
            let end = HEADER_BYTES + log.end.max(live.header.base).0 - live.header.base.0;
            let path = to.join(segment_file_name(live.header.number));
            let end = bytes.len().min(end as usize);
            self.create(&path, 0, &[&bytes[..end]], copied)?;
            copied.segments += 1;
        }
        if let Some(damage) = self.check_unbegun(&log)? {
            return Err(damaged(damage));
        }
        copied.records += log.records;
        self.files.sync_dir(to).map_err(StoreError::io("synced", to))
    }

    /// Makes a file with these bytes, durably but for its name.
    pub(super) fn create(&self, path: &Path, at: u64, pieces: &[&[u8]], copied: &mut Copied) -> Result<(), StoreError> {
        let written = || -> io::Result<u64> {
            let mut file = self.files.create(path)?;
            let mut end = Position(at);
            for piece in pieces {
                file.write_at(end.0, piece)?;
                end.0 += piece.len() as u64;
            }
            file.sync()?;
            Ok(end.0)
        };
        copied.bytes += written().map_err(StoreError::io("written", path))?;
        Ok(())
    }
}
