//! The data directory itself: its names, its lock, its first layout, and whose it is.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{LOCK, RETAIN, StoreError, StoreOptions};
use crate::files::{Files, Held, Lock};
use crate::manifest::{self, Manifest};

/// Who only looks whether the lock is held holds it for a moment.
const LOCK_PAUSES: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(20), Duration::ZERO];

/// The directory of a layout.
pub(crate) fn generation_dir(data_dir: &Path, generation: u32) -> PathBuf {
    data_dir.join(format!("generation-{generation}"))
}

/// The directory of a shard's journal.
pub(crate) fn shard_dir(data_dir: &Path, generation: u32, shard: u16) -> PathBuf {
    generation_dir(data_dir, generation).join(format!("shard-{shard}"))
}

/// The directory that a node stages in.
pub(crate) fn staging_dir(above: &Path, node: u64) -> PathBuf {
    above.join(format!("ringmain-{node:016x}"))
}

pub(super) fn parse_generation(name: &str) -> Option<u32> {
    name.strip_prefix("generation-")?.parse().ok()
}

/// Takes the lock of a data directory.
pub(crate) fn take_lock(files: &dyn Files, data_dir: &Path) -> Result<Held, StoreError> {
    let path = data_dir.join(LOCK);
    let mut held = None;
    for pause in LOCK_PAUSES {
        held = files.lock(&path, Lock::Alone).map_err(StoreError::io("locked", &path))?;
        if held.is_some() {
            break;
        }
        thread::sleep(pause);
    }
    let Some(held) = held else {
        let said = files.read_at(&path, 0, 32).unwrap_or_default();
        let process = String::from_utf8_lossy(&said).trim().parse().ok();
        return Err(StoreError::InUse { path, process });
    };
    // As wide as any number, so that nothing of the one before is left.
    let number = format!("{:<10}\n", std::process::id());
    let written = files.open(&path).and_then(|mut file| file.write_at(0, number.as_bytes()));
    written.map_err(StoreError::io("written", path))?;
    Ok(held)
}

/// The manifest of a data directory, if there is one.
pub(crate) fn load(files: &dyn Files, data_dir: &Path) -> Result<Option<Manifest>, StoreError> {
    let path = data_dir.join(manifest::FILE_NAME);
    match Manifest::load(files, data_dir).map_err(StoreError::io("read", &path))? {
        None => Ok(None),
        Some(Ok(manifest)) => Ok(Some(manifest)),
        Some(Err(fault)) => Err(StoreError::Manifest { path, fault }),
    }
}

/// Lays out an empty directory.
pub(super) fn first(files: &dyn Files, options: &StoreOptions) -> Result<Manifest, StoreError> {
    let data_dir = &options.data_dir;
    if let Some(found) = stranger(files, data_dir).map_err(StoreError::io("read", data_dir))? {
        return Err(StoreError::NotOurs { path: data_dir.clone(), found });
    }
    // Left by a first start that was killed here.
    let generation = generation_dir(data_dir, 0);
    remove_tree(files, &generation).map_err(StoreError::io("removed", &generation))?;
    make_generation(files, data_dir, 0, options.shape.shards)?;
    let (mut node, mut seed) = ([0; 8], [0; 16]);
    files.random(&mut node).and_then(|()| files.random(&mut seed)).map_err(StoreError::io("named", data_dir))?;
    Ok(Manifest { node: u64::from_le_bytes(node), seed, generation: 0, epoch: 1, shape: options.shape.clone() })
}

/// A file that no first start can have left.
fn stranger(files: &dyn Files, data_dir: &Path) -> io::Result<Option<String>> {
    for entry in files.list(data_dir)? {
        match entry.name.as_str() {
            LOCK | RETAIN | "MANIFEST.new" | "lost+found" => {}
            "generation-0" if entry.directory => {
                for shard in files.list(&data_dir.join(&entry.name))? {
                    let directory = data_dir.join(&entry.name).join(&shard.name);
                    if !shard.directory || !files.list(&directory)?.is_empty() {
                        return Ok(Some(entry.name));
                    }
                }
            }
            _ => return Ok(Some(entry.name)),
        }
    }
    Ok(None)
}

/// Makes the directories of a layout, durably.
pub(crate) fn make_generation(
    files: &dyn Files,
    data_dir: &Path,
    generation: u32,
    shards: u16,
) -> Result<(), StoreError> {
    let directory = generation_dir(data_dir, generation);
    let shard_dirs = (0..shards).map(|shard| shard_dir(data_dir, generation, shard));
    for directory in [directory.clone()].into_iter().chain(shard_dirs) {
        files.make_dir(&directory).map_err(StoreError::io("made", directory))?;
    }
    for directory in [directory.as_path(), data_dir] {
        files.sync_dir(directory).map_err(StoreError::io("synced", directory))?;
    }
    Ok(())
}

/// Makes a directory, and what is missing above it, durably.
pub(crate) fn make_dirs(files: &dyn Files, directory: &Path) -> Result<(), StoreError> {
    match files.access(directory) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(StoreError::NotDirectory(directory.into()));
        }
        Err(error) => return Err(StoreError::io("read", directory)(error)),
    }
    let above = match directory.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Err(StoreError::Missing(directory.into())),
    };
    make_dirs(files, above)?;
    files.make_dir(directory).map_err(StoreError::io("made", directory))?;
    files.sync_dir(above).map_err(StoreError::io("synced", above))
}

/// Refuses a directory that others could change.
pub(super) fn check_access(files: &dyn Files, directory: &Path) -> Result<(), StoreError> {
    let access = files.access(directory).map_err(StoreError::io("read", directory))?;
    let (path, user) = (directory.to_path_buf(), files.user());
    if access.user != user {
        return Err(StoreError::User { path, owner: access.user, user });
    }
    if access.mode & 0o022 != 0 {
        return Err(StoreError::Mode { path, mode: access.mode });
    }
    Ok(())
}

/// Removes a directory and all that is in it. That it is not there is no error.
pub(super) fn remove_tree(files: &dyn Files, directory: &Path) -> io::Result<()> {
    let entries = match files.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = directory.join(&entry.name);
        if entry.directory { remove_tree(files, &path)? } else { files.remove(&path)? }
    }
    files.remove_dir(directory)
}
