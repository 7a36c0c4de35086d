//! The data directory: taken at a start, and laid out anew when the number of shards or the partition rules change.
//!
//! ```text
//!   Store::open ──▶ lock, manifest with the next epoch
//!        │
//!        ├── same shape ──▶ seats() ──▶ Seat::recover, on each shard's thread ──▶ Journal, Recovered
//!        │
//!        └── another one ──▶ seats() ──▶ Seat::replay ──▶ rehome(): writers ──▶ rehomed() ──▶ seats() as above
//! ```
//!
//! A process may be killed anywhere in this, and the next start does it again.

mod ahead;
mod directory;
mod error;
mod seat;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use ahead::Source;
use directory::{check_access, first, generation_dir, parse_generation, remove_tree};
pub(crate) use directory::{load, make_dirs, make_generation, shard_dir, staging_dir, take_lock};
pub use error::StoreError;
pub use seat::{Adopted, Handover, Recovered, Report, Seat};
pub(crate) use seat::{NEW, list};
pub use writer::LogWriter;

use crate::files::{Disk, Files, Held, Lock};
use crate::header::Owner;
use crate::journal::Durability;
use crate::layout::HEADER_BYTES;
use crate::manifest::{self, Manifest, Shape};
use crate::segment::parse_segment_file_name;
use crate::staging::{STAGING_BYTES_MIN, parse_staging_file_name};

/// Bytes of a shard's staging ring where nothing else is said.
pub const STAGING_BYTES: u64 = 8 << 20;
/// Bytes of the log in a segment where nothing else is said.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Where staging files are where nothing else is said.
pub const STAGING_DIR: &str = "/dev/shm";

/// The lock against a second process.
pub const LOCK: &str = "LOCK";
/// The lock against removal, for who copies files.
pub const RETAIN: &str = "RETAIN";

const SEGMENT_BYTES_MIN: u64 = HEADER_BYTES;

/// What a start wants.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory; it is made if it is not there.
    pub data_dir: PathBuf,
    /// A directory in tmpfs. Not used, except to look for what an earlier start left, with [`Durability::Memory`].
    pub staging_dir: PathBuf,
    /// Bytes of a shard's staging ring; made a whole number of pages.
    pub staging_bytes: u64,
    /// Bytes of the log in a segment; made a whole number of pages.
    pub segment_bytes: u64,
    /// When a position counts as durable.
    pub durability: Durability,
    /// Threads that check segments of each journal ahead of who goes through them; none: who does that checks them.
    pub threads: usize,
    /// Shards and partition rules.
    pub shape: Shape,
}

impl StoreOptions {
    /// The usual sizes and places.
    pub fn new(data_dir: impl Into<PathBuf>, shape: Shape) -> StoreOptions {
        StoreOptions {
            data_dir: data_dir.into(),
            staging_dir: STAGING_DIR.into(),
            staging_bytes: STAGING_BYTES,
            segment_bytes: SEGMENT_BYTES,
            durability: Durability::Fsync,
            threads: 0,
            shape,
        }
    }
}

/// A data directory that this process uses.
#[derive(Debug)]
pub struct Store {
    files: Arc<dyn Files>,
    options: StoreOptions,
    manifest: Manifest,
    is_new: bool,
    /// Where this node stages.
    staging: Option<PathBuf>,
    _staging_lock: Option<Held>,
    _lock: Held,
}

impl Store {
    /// Takes the data directory: from here on no other process does.
    pub fn open(options: StoreOptions) -> Result<Store, StoreError> {
        Store::open_in(Arc::new(Disk), options)
    }

    /// The same, on these files.
    pub fn open_in(files: Arc<dyn Files>, mut options: StoreOptions) -> Result<Store, StoreError> {
        options.staging_bytes = options.staging_bytes.max(STAGING_BYTES_MIN).next_multiple_of(HEADER_BYTES);
        options.segment_bytes = options.segment_bytes.max(SEGMENT_BYTES_MIN).next_multiple_of(HEADER_BYTES);
        let data_dir = options.data_dir.clone();
        make_dirs(&*files, &data_dir)?;
        check_access(&*files, &data_dir)?;
        let lock = take_lock(&*files, &data_dir)?;
        let loaded = load(&*files, &data_dir)?;
        let is_new = loaded.is_none();
        let manifest = loaded.map_or_else(|| first(&*files, &options), Ok)?;
        let mut store = Store { files, options, manifest, is_new, staging: None, _staging_lock: None, _lock: lock };
        if is_new {
            store.save(store.manifest.clone())?;
        }
        // Before anything is removed: a manifest that was put back may be of an earlier layout.
        store.find_shards()?;
        store.remove_other_generations()?;
        store.open_staging()?;
        if !is_new {
            store.count_start()?;
        }
        Ok(store)
    }

    /// The random number that names the data directory.
    pub fn node(&self) -> u64 {
        self.manifest.node
    }

    /// The seed of placement.
    pub fn seed(&self) -> [u8; 16] {
        self.manifest.seed
    }

    /// This start of the program.
    pub fn epoch(&self) -> u32 {
        self.manifest.epoch
    }

    /// Which layout of shards and rules counts.
    pub fn generation(&self) -> u32 {
        self.manifest.generation
    }

    /// What the directory is laid out for.
    pub fn shape(&self) -> &Shape {
        &self.manifest.shape
    }

    /// Whether it was made by this start.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether it is laid out for other shards or rules than are wanted: it is to be re-homed.
    pub fn is_reshaped(&self) -> bool {
        self.manifest.shape != self.options.shape
    }

    /// `RETAIN`, for the keeper: who holds it shared keeps files from being removed.
    pub fn retain_path(&self) -> PathBuf {
        self.options.data_dir.join(RETAIN)
    }

    /// Bytes of all segment files: what a start reads, and what is kept to be used again.
    pub fn segment_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for shard in 0..self.manifest.shape.shards {
            let directory = self.shard_dir(shard);
            let entries = self.files.list(&directory).map_err(StoreError::io("read", directory))?;
            let segments = entries.iter().filter(|entry| parse_segment_file_name(&entry.name).is_some());
            bytes += segments.map(|segment| segment.bytes).sum::<u64>();
        }
        Ok(bytes)
    }

    /// One seat for each shard that the directory is laid out for.
    pub fn seats(&self) -> Vec<Seat> {
        (0..self.manifest.shape.shards).map(|shard| self.seat(shard)).collect()
    }

    fn seat(&self, shard: u16) -> Seat {
        Seat {
            files: self.files.clone(),
            directory: self.shard_dir(shard),
            staging: self.staging.clone(),
            owner: self.owner(shard),
            epoch: self.manifest.epoch,
            staging_bytes: self.options.staging_bytes,
            segment_bytes: self.options.segment_bytes,
            durability: self.options.durability,
            threads: self.options.threads,
        }
    }

    /// Begins a layout for the shape that is wanted: one writer for each of its shards. All seats were replayed.
    pub fn rehome(&self) -> Result<Vec<LogWriter>, StoreError> {
        let wanted = &self.options.shape;
        let generation = self.manifest.generation + 1;
        let directory = generation_dir(&self.options.data_dir, generation);
        // Tried before, and given up.
        remove_tree(&*self.files, &directory).map_err(StoreError::io("removed", &directory))?;
        make_generation(&*self.files, &self.options.data_dir, generation, wanted.shards)?;
        let writer = |shard| {
            let owner = Owner { node: self.manifest.node, generation, shard };
            let directory = shard_dir(&self.options.data_dir, generation, shard);
            LogWriter::new(self.files.clone(), directory, owner, self.manifest.epoch, self.options.segment_bytes)
        };
        Ok((0..wanted.shards).map(writer).collect())
    }

    /// Ends it: what the writers wrote is what the directory holds from now on.
    pub fn rehomed(&mut self, writers: Vec<LogWriter>) -> Result<(), StoreError> {
        let generation = self.manifest.generation + 1;
        let shards: Vec<_> = writers.iter().map(|writer| (writer.owner().generation, writer.owner().shard)).collect();
        let expected: Vec<_> = (0..self.options.shape.shards).map(|shard| (generation, shard)).collect();
        assert_eq!(shards, expected, "the writers that `rehome` gave");
        if let Some(StagingFile { path, .. }) = self.staging_files()?.into_iter().next() {
            return Err(StoreError::Stray(path));
        }
        for writer in writers {
            writer.finish()?;
        }
        let manifest = Manifest { generation, shape: self.options.shape.clone(), ..self.manifest.clone() };
        self.save(manifest)?;
        self.remove_other_generations()
    }

    fn owner(&self, shard: u16) -> Owner {
        Owner { node: self.manifest.node, generation: self.manifest.generation, shard }
    }

    fn shard_dir(&self, shard: u16) -> PathBuf {
        shard_dir(&self.options.data_dir, self.manifest.generation, shard)
    }

    /// Whether the directories that the manifest speaks of are there.
    fn find_shards(&self) -> Result<(), StoreError> {
        for shard in 0..self.manifest.shape.shards {
            let directory = self.shard_dir(shard);
            self.files.access(&directory).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => StoreError::Missing(directory),
                _ => StoreError::io("read", directory)(error),
            })?;
        }
        Ok(())
    }

    /// Gives this start its epoch: the one after the last that the directory knows of. That is in its manifest, unless one
    /// of an earlier time was put back: then files of it know better. Epochs tell apart what two starts wrote at one
    /// position.
    fn count_start(&mut self) -> Result<(), StoreError> {
        let mut last = self.manifest.epoch;
        for shard in 0..self.manifest.shape.shards {
            let (segments, checkpoint) = list(&*self.files, &self.shard_dir(shard), self.owner(shard))?;
            let begun = segments.iter().filter_map(|segment| Some(segment.header?.epoch));
            last = begun.chain(checkpoint.map(|checkpoint| checkpoint.epoch)).fold(last, u32::max);
        }
        let ahead = self.staging_files()?.into_iter().find(|file| file.epoch > last);
        if let Some(StagingFile { path, epoch, .. }) = ahead {
            return Err(StoreError::Ahead { path, epoch, last });
        }
        let epoch = last.checked_add(1).expect("starts are counted in 32 bits");
        self.save(Manifest { epoch, ..self.manifest.clone() })
    }

    /// Makes it what the directory holds, durably.
    fn save(&mut self, manifest: Manifest) -> Result<(), StoreError> {
        let path = self.options.data_dir.join(manifest::FILE_NAME);
        manifest.save(&*self.files, &self.options.data_dir).map_err(StoreError::io("written", path))?;
        self.manifest = manifest;
        Ok(())
    }

    /// Removes layouts that were replaced, and such as were not finished.
    fn remove_other_generations(&self) -> Result<(), StoreError> {
        let data_dir = &self.options.data_dir;
        let entries = self.files.list(data_dir).map_err(StoreError::io("read", data_dir))?;
        let old = entries.into_iter().filter(|entry| {
            parse_generation(&entry.name).is_some_and(|generation| generation != self.manifest.generation)
        });
        let old: Vec<_> = old.map(|entry| data_dir.join(entry.name)).collect();
        if old.is_empty() {
            return Ok(());
        }
        let retain = self.retain_path();
        // Somebody copies: a later start removes them.
        let Some(_held) = self.files.lock(&retain, Lock::Alone).map_err(StoreError::io("locked", retain))? else {
            return Ok(());
        };
        for directory in old {
            remove_tree(&*self.files, &directory).map_err(StoreError::io("removed", &directory))?;
        }
        self.files.sync_dir(data_dir).map_err(StoreError::io("synced", data_dir))
    }

    /// Makes the directory that this node stages in, and takes it.
    fn open_staging(&mut self) -> Result<(), StoreError> {
        let above = self.options.staging_dir.clone();
        let directory = staging_dir(&above, self.manifest.node);
        let unusable = |path: &Path| {
            let path = path.to_path_buf();
            |error| StoreError::Staging { path, error }
        };
        if self.options.durability == Durability::Memory {
            if self.files.access(&directory).is_err() {
                return Ok(());
            }
        } else {
            self.files.access(&above).map_err(unusable(&above))?;
            if !self.files.in_memory(&above).map_err(unusable(&above))? {
                return Err(StoreError::NotMemory(above));
            }
            match self.files.make_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(&above)(error)),
                _ => {}
            }
        }
        check_access(&*self.files, &directory)?;
        let lock = self.files.lock(&directory, Lock::Alone).map_err(unusable(&directory))?;
        self._staging_lock = Some(lock.ok_or_else(|| StoreError::Copied(directory.clone()))?);
        self.staging = Some(directory);
        let shards = self.manifest.shape.shards;
        match self.staging_files()?.into_iter().find(|file| file.shard >= shards) {
            Some(StagingFile { path, .. }) => Err(StoreError::Stray(path)),
            None => Ok(()),
        }
    }

    fn staging_files(&self) -> Result<Vec<StagingFile>, StoreError> {
        let Some(directory) = &self.staging else { return Ok(Vec::new()) };
        let entries = self.files.list(directory).map_err(StoreError::io("read", directory))?;
        let ours = |entry: crate::files::Entry| {
            let (shard, epoch) = parse_staging_file_name(&entry.name)?;
            Some(StagingFile { path: directory.join(entry.name), shard, epoch })
        };
        Ok(entries.into_iter().filter_map(ours).collect())
    }
}

/// A file that an earlier start staged in.
struct StagingFile {
    path: PathBuf,
    shard: u16,
    epoch: u32,
}

#[cfg(test)]
mod tests;
