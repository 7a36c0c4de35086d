//! Files in memory whose power can fail: for tests of a start, and for simulated nodes.
//!
//! A file has two images. What was written is in the *live* one, which is what is read, and what a process that is
//! killed leaves behind. What was synced is in the *stable* one. When the power fails ([`SimFiles::crash`]) the live
//! image is gone; of each sector that was written and not synced the new content may have reached the disk, or not, or
//! a part of it; and so may each name that was made, changed or removed in a directory that was not synced.
//!
//! A sync that fails is as bad as the real one: the sectors are not on disk, the live image has them none the less, and
//! the next sync says that all is well.
//!
//! Directories and files below one path are in memory, as in tmpfs: they survive the process and not the power.

mod node;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::node::{Bytes, Names, Node};
use super::{Access, Entry, Files, Held, Lock, Mapped, Writing};
use crate::map::Region;

/// Bytes that reach the disk together, unless they are torn.
pub const SECTOR_BYTES: usize = 512;

/// What became of something that was not synced when the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// It did not reach the disk.
    Old,
    /// It did.
    New,
    /// Its first so many bytes did. A name or a length is never torn: that is as `Old`.
    Front(usize),
    /// All but its first so many bytes did.
    Back(usize),
}

/// An operation that is about to be done, for who lets it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Reading, mapping or listing.
    Read,
    /// Making a file or a directory.
    Make,
    /// Writing to a file, or changing its length.
    Write,
    /// Syncing a file or a directory.
    Sync,
    /// Giving a file another name.
    Rename,
    /// Removing a file or a directory.
    Remove,
}

type Judge = Box<dyn FnMut(Doing, &Path) -> Option<i32> + Send>;

/// Files in memory. Clones are the same files.
#[derive(Clone)]
pub struct SimFiles {
    state: Arc<Mutex<State>>,
    /// Below this everything is in memory.
    memory: PathBuf,
}

struct State {
    nodes: Vec<Node>,
    locks: BTreeMap<PathBuf, (Lock, u32)>,
    judge: Option<Judge>,
    done: u64,
    space_bytes: Option<u64>,
    random: u64,
    /// How often the power has failed.
    crashes: u64,
}

impl std::fmt::Debug for SimFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimFiles").field("memory", &self.memory).finish_non_exhaustive()
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl SimFiles {
    /// An empty root directory, and `memory`, below which everything is in memory.
    pub fn new(memory: impl Into<PathBuf>) -> SimFiles {
        let memory = memory.into();
        let nodes = vec![Node::Directory(Names::default())];
        let state =
            State { nodes, locks: BTreeMap::new(), judge: None, done: 0, space_bytes: None, random: 0, crashes: 0 };
        let files = SimFiles { state: Arc::new(Mutex::new(state)), memory };
        files.make_memory();
        files
    }

    fn make_memory(&self) {
        let mut state = self.state();
        let above: Vec<PathBuf> = self.memory.ancestors().map(Path::to_path_buf).collect();
        for directory in above.iter().rev().skip(1) {
            if state.find(directory).is_err() {
                state.make(directory, Node::Directory(Names::default())).expect("the directory above was made");
            }
        }
        // The mount point is there at every start.
        (0..state.nodes.len()).for_each(|node| state.nodes[node].settle());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed in the middle of an operation has already said so.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `judge` is asked before each operation, and may let it fail with an error number. A failing write
    /// writes nothing.
    pub fn set_judge(&self, judge: impl FnMut(Doing, &Path) -> Option<i32> + Send + 'static) {
        self.state().judge = Some(Box::new(judge));
    }

    /// From now on no operation fails that could be done.
    pub fn acquit(&self) {
        self.state().judge = None;
    }

    /// From now on random bytes are those of this seed.
    pub fn set_seed(&self, seed: u64) {
        self.state().random = seed;
    }

    /// Bytes that all files that are not in memory may have; `None`: no limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space_bytes = bytes;
    }

    /// Operations that were tried, reads apart.
    pub fn done(&self) -> u64 {
        self.state().done
    }

    /// The power fails: what is in memory is gone, and of everything that was not synced `pick` says what became of it.
    /// All locks are free.
    pub fn crash(&self, mut pick: impl FnMut() -> Pick) {
        let mut state = self.state();
        if let Ok(memory) = state.find(&self.memory) {
            state.nodes[memory] = Node::Directory(Names::default());
        }
        for node in &mut state.nodes {
            match node {
                Node::Directory(names) => names.crash(&mut pick),
                Node::File(bytes) => bytes.crash(&mut pick),
                Node::Memory(_) => {}
            }
        }
        state.locks.clear();
        state.crashes += 1;
        drop(state);
        self.make_memory();
    }

    /// The live bytes of a file.
    pub fn bytes(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.state().read(file, 0, usize::MAX)
    }

    /// Writes to a file that is there.
    pub fn write_at(&self, file: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(file)?;
        state.write(node, file, at, bytes)
    }

    /// Gives a file that is there this length.
    pub fn truncate(&self, file: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Doing::Write, file)?;
        let node = state.find(file)?;
        state.make_room(node, bytes)?;
        match &mut state.nodes[node] {
            Node::File(file) => file.truncate(bytes as usize),
            Node::Memory(file) => file.set_len(bytes)?,
            Node::Directory(_) => return Err(error(libc::EISDIR)),
        }
        Ok(())
    }

    /// Brings to the stable image what was written to a file.
    pub fn sync(&self, file: &Path) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(file)?;
        state.sync(node, file)
    }

    fn open_node(&self, node: usize, path: &Path) -> Box<dyn Writing> {
        Box::new(Opened { files: self.clone(), node, path: path.into() })
    }
}

impl State {
    /// Counts an operation, and asks whether it fails.
    fn begin(&mut self, doing: Doing, path: &Path) -> io::Result<()> {
        if doing != Doing::Read {
            self.done += 1;
        }
        match self.judge.as_mut().and_then(|judge| judge(doing, path)) {
            Some(errno) => Err(error(errno)),
            None => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for name in path.components().skip(1) {
            let name = name.as_os_str().to_str().ok_or(error(libc::EINVAL))?;
            at = self.names(at)?.get(name).ok_or(error(libc::ENOENT))?;
        }
        Ok(at)
    }

    fn names(&self, node: usize) -> io::Result<&Names> {
        match &self.nodes[node] {
            Node::Directory(names) => Ok(names),
            _ => Err(error(libc::ENOTDIR)),
        }
    }

    /// The directory above, and the name in it.
    fn place(&mut self, path: &Path) -> io::Result<(&mut Names, String)> {
        let above = self.find(path.parent().ok_or(error(libc::EINVAL))?)?;
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(error(libc::EINVAL))?.to_owned();
        match &mut self.nodes[above] {
            Node::Directory(names) => Ok((names, name)),
            _ => Err(error(libc::ENOTDIR)),
        }
    }

    fn make(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let index = self.nodes.len();
        let (names, name) = self.place(path)?;
        if names.get(&name).is_some() {
            return Err(error(libc::EEXIST));
        }
        names.put(name, index);
        self.nodes.push(node);
        Ok(index)
    }

    /// Refuses what would need more than there is.
    fn make_room(&self, node: usize, bytes: u64) -> io::Result<()> {
        let (Some(space), Node::File(file)) = (self.space_bytes, &self.nodes[node]) else { return Ok(()) };
        let more = bytes.saturating_sub(file.live().len() as u64);
        let all = self.linked().map(|file| file.live().len() as u64).sum::<u64>();
        if more > 0 && all + more > space { Err(error(libc::ENOSPC)) } else { Ok(()) }
    }

    /// Files that have a name.
    fn linked(&self) -> impl Iterator<Item = &Bytes> {
        let names = self.nodes.iter().filter_map(|node| match node {
            Node::Directory(names) => Some(names),
            _ => None,
        });
        names.flat_map(Names::nodes).filter_map(|node| match &self.nodes[node] {
            Node::File(bytes) => Some(bytes),
            _ => None,
        })
    }

    fn read(&mut self, path: &Path, at: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.begin(Doing::Read, path)?;
        let node = self.find(path)?;
        let bytes = match &self.nodes[node] {
            Node::File(bytes) => bytes.live().to_vec(),
            Node::Memory(file) => Region::read_only(file)?.map_or(Vec::new(), |region| region.bytes().to_vec()),
            Node::Directory(_) => return Err(error(libc::EISDIR)),
        };
        let from = (at as usize).min(bytes.len());
        let to = from.saturating_add(bytes_max).min(bytes.len());
        Ok(bytes[from..to].to_vec())
    }

    fn write(&mut self, node: usize, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.begin(Doing::Write, path)?;
        self.make_room(node, at + bytes.len() as u64)?;
        match &mut self.nodes[node] {
            Node::File(file) => file.write(at as usize, bytes),
            Node::Memory(file) => Writing::write_at(file, at, bytes)?,
            Node::Directory(_) => return Err(error(libc::EISDIR)),
        }
        Ok(())
    }

    fn sync(&mut self, node: usize, path: &Path) -> io::Result<()> {
        let begun = self.begin(Doing::Sync, path);
        match (&mut self.nodes[node], &begun) {
            (Node::File(file), Ok(())) => file.sync(),
            (Node::File(file), Err(_)) => file.fail_sync(),
            _ => {}
        }
        begun
    }
}

/// A file that is open: it stays the same whatever becomes of its name.
#[derive(Debug)]
struct Opened {
    files: SimFiles,
    node: usize,
    path: PathBuf,
}

impl Writing for Opened {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.files.state().write(self.node, &self.path, at, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.files.state().sync(self.node, &self.path)
    }
}

/// One holder of a lock.
struct Holder {
    files: SimFiles,
    path: PathBuf,
    crashes: u64,
}

impl Drop for Holder {
    fn drop(&mut self) {
        let mut state = self.files.state();
        // Whatever it held before the power failed is free.
        if state.crashes != self.crashes {
            return;
        }
        if let Some((_, holders)) = state.locks.get_mut(&self.path) {
            *holders -= 1;
            if *holders == 0 {
                state.locks.remove(&self.path);
            }
        }
    }
}

impl Files for SimFiles {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.state();
        state.begin(Doing::Read, directory)?;
        let node = state.find(directory)?;
        let entry = |(name, node): (&String, usize)| match &state.nodes[node] {
            Node::Directory(_) => Ok(Entry { name: name.clone(), directory: true, bytes: 0 }),
            Node::File(bytes) => Ok(Entry { name: name.clone(), directory: false, bytes: bytes.live().len() as u64 }),
            Node::Memory(file) => Ok(Entry { name: name.clone(), directory: false, bytes: file.metadata()?.len() }),
        };
        state.names(node)?.iter().map(entry).collect()
    }

    fn access(&self, directory: &Path) -> io::Result<Access> {
        let state = self.state();
        state.names(state.find(directory)?)?;
        Ok(Access { user: self.user(), mode: 0o700 })
    }

    fn make_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Doing::Make, directory)?;
        state.make(directory, Node::Directory(Names::default())).map(drop)
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Doing::Remove, directory)?;
        let node = state.find(directory)?;
        if state.names(node)?.iter().next().is_some() {
            return Err(error(libc::ENOTEMPTY));
        }
        let (names, name) = state.place(directory)?;
        names.take(&name);
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Doing::Sync, directory)?;
        let node = state.find(directory)?;
        state.names(node)?;
        state.nodes[node].settle();
        Ok(())
    }

    fn read_at(&self, file: &Path, at: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.state().read(file, at, bytes_max)
    }

    fn map(&self, file: &Path) -> io::Result<Mapped> {
        Ok(Mapped::Copy(self.state().read(file, 0, usize::MAX)?))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn Writing>> {
        let mut state = self.state();
        state.begin(Doing::Make, file)?;
        let node = state.make(file, Node::File(Bytes::default()))?;
        drop(state);
        Ok(self.open_node(node, file))
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn Writing>> {
        let node = self.state().find(file)?;
        Ok(self.open_node(node, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Doing::Rename, from)?;
        if from.parent() != to.parent() {
            return Err(error(libc::EXDEV));
        }
        let node = state.find(from)?;
        let (names, from) = state.place(from)?;
        let to = to.file_name().and_then(|name| name.to_str()).ok_or(error(libc::EINVAL))?.to_owned();
        names.rename(from, to, node);
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Doing::Remove, file)?;
        let node = state.find(file)?;
        if state.names(node).is_ok() {
            return Err(error(libc::EISDIR));
        }
        let (names, name) = state.place(file)?;
        names.take(&name);
        Ok(())
    }

    fn lock(&self, path: &Path, how: Lock) -> io::Result<Option<Held>> {
        let mut state = self.state();
        if state.find(path).is_err() {
            state.begin(Doing::Make, path)?;
            state.make(path, Node::File(Bytes::default()))?;
        }
        let (held, holders) = state.locks.entry(path.into()).or_insert((how, 0));
        if *holders > 0 && (*held, how) != (Lock::Shared, Lock::Shared) {
            return Ok(None);
        }
        (*held, *holders) = (how, *holders + 1);
        let crashes = state.crashes;
        Ok(Some(Held::new(Holder { files: self.clone(), path: path.into(), crashes })))
    }

    fn stage(&self, file: &Path, bytes: usize) -> io::Result<Region> {
        let mut state = self.state();
        state.begin(Doing::Make, file)?;
        // A real file without a name: it outlives its mapping, as one in tmpfs does.
        let memory = rustix::fs::memfd_create("staging", rustix::fs::MemfdFlags::CLOEXEC)?.into();
        let region = Region::allocated(&memory, bytes)?;
        state.make(file, Node::Memory(memory))?;
        Ok(region)
    }

    fn in_memory(&self, directory: &Path) -> io::Result<bool> {
        Ok(directory.starts_with(&self.memory))
    }

    fn user(&self) -> u32 {
        1000
    }

    /// The same bytes for the same seed.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        for byte in bytes {
            // SplitMix64.
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state.random ^ state.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = ((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 56) as u8;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
