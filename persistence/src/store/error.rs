//! Why a data directory cannot be used: each error names the file, what it is, and what helps.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::manifest::ManifestFault;
use crate::recover::Damage;
use crate::segment::Refusal;

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// The kernel says no.
    Io {
        /// What was to be done to it.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// It is no directory.
    NotDirectory(PathBuf),
    /// It is another user's.
    User {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who this process is.
        user: u32,
    },
    /// Others may write to it.
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process uses it.
    InUse {
        /// The lock.
        path: PathBuf,
        /// The process, if it said so.
        process: Option<u32>,
    },
    /// Another process stages in the directory of this node.
    Copied(PathBuf),
    /// It has files, and no manifest that says that they are ours.
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// One of the files.
        found: String,
    },
    /// There is no journal in it.
    NoManifest(PathBuf),
    /// Its manifest is not taken.
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        fault: ManifestFault,
    },
    /// A directory that the manifest speaks of is gone.
    Missing(PathBuf),
    /// A file in it is not taken.
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// A log is damaged.
    Damaged {
        /// The shard's directory.
        directory: PathBuf,
        /// Where, and how.
        damage: Damage,
    },
    /// The directory for staging is not there, or may not be used.
    Staging {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The directory for staging is on a disk.
    NotMemory(PathBuf),
    /// There is no room for staging.
    StagingRoom {
        /// The file.
        path: PathBuf,
        /// Bytes that it was to have.
        bytes: u64,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A staging file of a later start than the data directory knows of.
    Ahead {
        /// The staging file.
        path: PathBuf,
        /// Its start.
        epoch: u32,
        /// The last one that the data directory knows of.
        last: u32,
    },
    /// A staging file goes on behind where the journal ends.
    Behind {
        /// The staging file.
        path: PathBuf,
        /// The shard's directory.
        directory: PathBuf,
        /// Bytes that are missing between the two.
        bytes: u64,
    },
    /// A staging file of a shard that there is not.
    Stray(PathBuf),
    /// A directory that must be empty is not.
    NotEmpty(PathBuf),
}

impl StoreError {
    /// Makes errors of the kernel into this.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |error| StoreError::Io { doing, path, error }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Io { doing, path, error } => {
                write!(f, "{} cannot be {doing}: {error}", path.display())?;
                f.write_str(match error.raw_os_error() {
                    Some(libc::ENOSPC | libc::EDQUOT) => ". Make room on that disk and start again: nothing is lost",
                    Some(libc::EROFS) => ". Mount it for writing, or name another directory with --data-dir",
                    Some(libc::EACCES | libc::EPERM) => {
                        ". Give its directory to the user that the program runs as, or name another one with --data-dir"
                    }
                    Some(libc::EIO) => {
                        ". The device fails: copy what can be copied to another one, and restore a backup there"
                    }
                    _ => "",
                })
            }
            StoreError::NotDirectory(path) => {
                write!(f, "{} is not a directory: name one with --data-dir", path.display())
            }
            StoreError::User { path, owner, user } => write!(
                f,
                "{} belongs to user {owner}, and the program runs as user {user}: chown it, or run as its owner",
                path.display()
            ),
            StoreError::Mode { path, mode } => {
                write!(f, "{} may be written by others (mode {mode:04o}): chmod go-w it", path.display())
            }
            StoreError::InUse { path, process: Some(process) } => {
                write!(
                    f,
                    "{} is locked by process {process}: stop it, or name another directory with --data-dir",
                    path.display()
                )
            }
            StoreError::InUse { path, process: None } => {
                write!(
                    f,
                    "{} is locked by another process: stop it, or name another directory with --data-dir",
                    path.display()
                )
            }
            StoreError::Copied(path) => write!(
                f,
                "{} is used by another process, whose data directory this one is a copy of: stop it first",
                path.display()
            ),
            StoreError::NotOurs { path, found } => write!(
                f,
                "{} has {found} in it and no MANIFEST: it is not a data directory. Name an empty one with --data-dir, or \
                 bring back its MANIFEST",
                path.display()
            ),
            StoreError::NoManifest(path) => write!(f, "{} has no MANIFEST: there is no journal in it", path.display()),
            StoreError::Manifest { path, fault } => write!(f, "{} {fault}", path.display()),
            StoreError::Missing(path) => write!(f, "{} is gone: bring it back, or restore a backup", path.display()),
            StoreError::Refused { path, refusal } => write!(f, "{} {refusal}", path.display()),
            StoreError::Damaged { directory, damage } => write!(
                f,
                "the journal in {} is damaged: {damage}. Restore a backup, or give up what cannot be read with \
                 `ringmain journal repair`",
                directory.display()
            ),
            StoreError::Staging { path, error } => write!(
                f,
                "the journal stages in {}, which cannot be used: {error}. Mount a tmpfs there, or name another one with \
                 --staging-dir",
                path.display()
            ),
            StoreError::NotMemory(path) => write!(
                f,
                "{} is not in a tmpfs, and staging there would wait for a disk: name one with --staging-dir",
                path.display()
            ),
            StoreError::StagingRoom { path, bytes, error } => write!(
                f,
                "{} cannot have its {} KiB: {error}. Make that tmpfs larger (in containers --shm-size), or staging smaller",
                path.display(),
                bytes >> 10
            ),
            StoreError::Ahead { path, epoch, last } => write!(
                f,
                "{} was left by start {epoch}, and the data directory knows of {last}: it is a copy or a backup. \
                 To go on without what is staged there remove that file",
                path.display()
            ),
            StoreError::Behind { path, directory, bytes } => write!(
                f,
                "{} goes on {bytes} bytes behind the end of the journal in {}: that directory is a copy or a backup, or \
                 its disk has lost what was synced. To go on without what is staged remove that file",
                path.display(),
                directory.display()
            ),
            StoreError::Stray(path) => write!(
                f,
                "{} was left by a shard that the data directory does not have: to go on without what is staged there \
                 remove that file",
                path.display()
            ),
            StoreError::NotEmpty(path) => write!(f, "{} is not empty: name a directory that is", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}
