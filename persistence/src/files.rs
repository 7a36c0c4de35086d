//! The file operations that a start needs, as a trait: the kernel's, and a simulator's whose power can fail.
//!
//! They block, and are called before the first client is served, or on threads of their own. What the keeper does while
//! clients are served goes another way.

pub mod sim;

use std::any::Any;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::map::Region;

/// What lies in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Bytes of a file.
    pub bytes: u64,
}

/// Who may do what with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whose it is.
    pub user: u32,
    /// Permission bits.
    pub mode: u32,
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// By nobody else.
    Alone,
    /// Only by others who lock it so, too.
    Shared,
}

/// Holds a lock until it is dropped.
pub struct Held(Box<dyn Any + Send + Sync>);

impl Held {
    /// A lock that ends when `what` is dropped.
    pub fn new(what: impl Any + Send + Sync) -> Held {
        Held(Box::new(what))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = &self.0;
        f.write_str("Held")
    }
}

/// A file that is open for writing. It stays open from its first write to its last sync: the kernel reports what went
/// wrong with a page once, and to who had the file open.
pub trait Writing: fmt::Debug + Send {
    /// Writes all of `bytes` at this place.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Brings what was written, and the file's length, to disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The bytes of a whole file, for reading.
#[derive(Debug)]
pub enum Mapped {
    /// A mapping of it.
    Region(Region),
    /// A copy.
    Copy(Vec<u8>),
}

impl Mapped {
    /// The bytes. They are believed only if [`Mapped::damaged`] says no after they were read.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Mapped::Region(region) => region.bytes(),
            Mapped::Copy(bytes) => bytes,
        }
    }

    /// Whether some of it could not be read.
    pub fn damaged(&self) -> bool {
        match self {
            Mapped::Region(region) => region.damaged(),
            Mapped::Copy(_) => false,
        }
    }
}

/// Files, by their paths.
pub trait Files: fmt::Debug + Send + Sync {
    /// What is in a directory, by name. Names that are no UTF-8 are left out: none of ours is among them.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;

    /// Who may do what with a directory; what is none is an error (`NotADirectory`).
    fn access(&self, directory: &Path) -> io::Result<Access>;

    /// Makes a directory that only its user may use. Those above it are there.
    fn make_dir(&self, directory: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, directory: &Path) -> io::Result<()>;

    /// Brings to disk what was made, renamed and removed in a directory.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// At most `bytes_max` bytes of a file from `at` on; fewer if it ends before.
    fn read_at(&self, file: &Path, at: u64, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// A whole file, which nobody writes to meanwhile.
    fn map(&self, file: &Path) -> io::Result<Mapped>;

    /// Makes a file, which was not there, for its user only.
    fn create(&self, file: &Path) -> io::Result<Box<dyn Writing>>;

    /// Opens a file that is there.
    fn open(&self, file: &Path) -> io::Result<Box<dyn Writing>>;

    /// Gives a file another name. One that has that name goes away, in the same instant.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;

    /// Locks a file, which is made if it is not there, or a directory. `None`: somebody else has locked it.
    fn lock(&self, path: &Path, how: Lock) -> io::Result<Option<Held>>;

    /// Makes a file of this length, which was not there, in tmpfs, and maps it for writing.
    fn stage(&self, file: &Path, bytes: usize) -> io::Result<Region>;

    /// Whether a directory lies in tmpfs.
    fn in_memory(&self, directory: &Path) -> io::Result<bool>;

    /// The user that this process runs as.
    fn user(&self) -> u32;

    /// Bytes that nobody can guess.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The kernel's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Writing for File {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Files for Disk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(metadata) => {
                    entries.push(Entry { name, directory: metadata.is_dir(), bytes: metadata.len() });
                }
                // Removed in between, beside a process that runs.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn access(&self, directory: &Path) -> io::Result<Access> {
        let metadata = fs::metadata(directory)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Access { user: metadata.uid(), mode: metadata.mode() & 0o7777 })
    }

    fn make_dir(&self, directory: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(directory)
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        fs::remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn read_at(&self, file: &Path, at: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let file = File::open(file)?;
        let there = file.metadata()?.len().saturating_sub(at);
        let mut bytes = vec![0; bytes_max.min(usize::try_from(there).unwrap_or(usize::MAX))];
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(&mut bytes[read..], at + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    fn map(&self, file: &Path) -> io::Result<Mapped> {
        let region = Region::read_only(&File::open(file)?)?;
        Ok(region.map_or(Mapped::Copy(Vec::new()), Mapped::Region))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn Writing>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?))
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn Writing>> {
        Ok(Box::new(OpenOptions::new().write(true).open(file)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn lock(&self, path: &Path, how: Lock) -> io::Result<Option<Held>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?
            }
            opened => opened?,
        };
        let locked = match how {
            Lock::Alone => file.try_lock(),
            Lock::Shared => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(Some(Held::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn stage(&self, file: &Path, bytes: usize) -> io::Result<Region> {
        let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(file)?;
        Region::allocated(&opened, bytes).inspect_err(|_| {
            // What there was room for is no use.
            let _ = fs::remove_file(file);
        })
    }

    fn in_memory(&self, directory: &Path) -> io::Result<bool> {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        let kind = rustix::fs::statfs(directory)?.f_type as i64;
        Ok(kind == TMPFS || kind == RAMFS)
    }

    fn user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        // So few are never short.
        let got = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        if got == bytes.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::sim::SimFiles;
    use super::*;

    /// The contract, on the kernel's files and on simulated ones.
    fn keeps_the_contract(files: Arc<dyn Files>, root: PathBuf) {
        let kind = |outcome: io::Result<()>| outcome.map_err(|error| error.kind());
        let directory = root.join("a");
        files.make_dir(&directory).expect("a directory");
        assert_eq!(kind(files.make_dir(&directory)), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(files.access(&directory).expect("it is there"), Access { user: files.user(), mode: 0o700 });
        let (one, two) = (directory.join("one"), directory.join("two"));
        assert_eq!(kind(files.open(&one).map(drop)), Err(io::ErrorKind::NotFound));
        let mut writing = files.create(&one).expect("a file");
        writing.write_at(4, b"hello").expect("it is written");
        writing.sync().expect("it is synced");
        assert_eq!(kind(files.create(&one).map(drop)), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(files.read_at(&one, 2, 100).expect("it is read"), b"\0\0hello");
        assert_eq!(files.read_at(&one, 4, 3).expect("it is read"), b"hel");
        assert_eq!(files.read_at(&one, 40, 3).expect("it is read"), b"");
        assert_eq!(files.map(&one).expect("it is mapped").bytes(), b"\0\0\0\0hello");
        files.create(&two).expect("a file");
        assert_eq!(files.map(&two).expect("it is mapped").bytes(), b"");
        files.rename(&one, &two).expect("it is renamed");
        let entry = Entry { name: "two".into(), directory: false, bytes: 9 };
        assert_eq!(files.list(&directory).expect("it is listed"), [entry]);
        writing.write_at(0, b"----").expect("an open file is written under any name");
        assert_eq!(files.read_at(&two, 0, 6).expect("it is read"), b"----he");
        assert_eq!(kind(files.remove_dir(&directory)), Err(io::ErrorKind::DirectoryNotEmpty));
        files.remove(&two).expect("it is removed");
        assert_eq!(kind(files.remove(&two)), Err(io::ErrorKind::NotFound));
        let lock = directory.join("lock");
        let first = files.lock(&lock, Lock::Shared).expect("it works").expect("it is free");
        let second = files.lock(&lock, Lock::Shared).expect("it works").expect("it is shared");
        assert!(files.lock(&lock, Lock::Alone).expect("it works").is_none());
        drop((first, second));
        let held = files.lock(&lock, Lock::Alone).expect("it works").expect("it is free");
        assert!(files.lock(&lock, Lock::Shared).expect("it works").is_none());
        drop(held);
        files.sync_dir(&directory).expect("it is synced");
        files.remove(&lock).expect("it is removed");
        files.remove_dir(&directory).expect("it is removed");
        assert_eq!(kind(files.access(&directory).map(drop)), Err(io::ErrorKind::NotFound));
        let staged = root.join("staged");
        files.stage(&staged, 8192).expect("it is made").bytes_mut()[5000] = 7;
        assert_eq!(files.map(&staged).expect("it is mapped").bytes()[5000], 7);
        assert_eq!(kind(files.stage(&staged, 8192).map(drop)), Err(io::ErrorKind::AlreadyExists));
        assert!(files.in_memory(&root).expect("it is known"));
    }

    /// The kernel's files do what the trait says.
    #[test]
    fn the_disk_keeps_the_contract() {
        let root = tempfile::tempdir_in("/dev/shm").expect("a directory");
        keeps_the_contract(Arc::new(Disk), root.path().into());
    }

    /// Simulated files do the same.
    #[test]
    fn the_simulated_disk_keeps_the_contract() {
        let files = SimFiles::new("/memory");
        keeps_the_contract(Arc::new(files), "/memory".into());
    }
}
