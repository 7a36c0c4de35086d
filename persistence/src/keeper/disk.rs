//! The files of one journal, on glommio: what the operations of its plan do.

use std::cell::{Cell, RefCell};
use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use std::{fs, io};

use glommio::GlommioError;
use glommio::io::{BufferedFile, Directory, OpenOptions};
use glommio::timer::Timer;

use super::Begin;
use super::plan::Outcome;
use crate::checkpoint::{self, Checkpoint};
use crate::header::Owner;
use crate::layout::{HEADER_BYTES, Position};
use crate::segment::{SegmentHeader, segment_file_name};

/// Zeros are written in pieces, and synced after so many bytes: what waits in the device's queue is what a sync of
/// another journal waits for.
const ZEROS_BYTES: u64 = 256 << 10;
const ZEROS_SYNC_BYTES: u64 = 1 << 20;

/// The files of one journal.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    owner: Owner,
    epoch: u32,
    /// Bytes of the log in a segment.
    segment_bytes: u64,
    retain: Rc<Retain>,
    sync_delay: Duration,
    /// The segment that is written and the one that is ready. They are opened before their first write and stay open,
    /// since the kernel reports what went wrong with a page once, and to who had the file open.
    open: RefCell<Vec<(u64, Rc<Segment>)>>,
}

/// A segment's file, open for each way of writing to it.
#[derive(Debug)]
struct Segment {
    later: BufferedFile,
    at_once: BufferedFile,
    here: File,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// By a thread of the kernel, to be synced later.
    Later,
    /// By a thread of the kernel, with their sync.
    AtOnce,
    /// With their sync, by the keeper's own thread, which does nothing else meanwhile.
    Here,
}

impl Disk {
    /// The files of this journal. Each sync takes `sync_delay` longer than it does.
    pub fn new(begin: &Begin, retain: Rc<Retain>, sync_delay: Duration) -> Disk {
        Disk {
            // Of a relative path the executor's directories want to know what it is relative to.
            directory: std::path::absolute(&begin.directory).unwrap_or_else(|_| begin.directory.clone()),
            owner: begin.owner,
            epoch: begin.epoch,
            segment_bytes: begin.limits.segment_bytes,
            retain,
            sync_delay,
            open: RefCell::new(Vec::new()),
        }
    }

    /// Closes what is open.
    pub async fn close(&self) {
        let open = std::mem::take(&mut *self.open.borrow_mut());
        for (_, file) in open {
            if let Ok(Segment { later, at_once, .. }) = Rc::try_unwrap(file) {
                // What was to be on disk was synced.
                let _ = later.close().await;
                let _ = at_once.close().await;
            }
        }
    }

    pub async fn prepare(&self, number: u64, reuse: Option<u64>) -> Outcome {
        let path = self.path(number);
        let made = match reuse {
            Some(dead) => {
                let Some(_held) = self.retain.hold() else { return Outcome::Retained };
                self.take(dead, &path).await
            }
            None => {
                let made = self.make(&path).await;
                if made.is_err() {
                    // What there was room for is no use, and may be what another needs.
                    let _ = glommio::io::remove(&path).await;
                }
                made
            }
        };
        let opened = async {
            let later = made?;
            let at_once = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).buffered_open(&path).await?;
            let here = fs::OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(&path)?;
            Ok::<_, GlommioError<()>>(Segment { later, at_once, here })
        };
        match opened.await {
            Ok(segment) => {
                self.open.borrow_mut().push((number, Rc::new(segment)));
                Outcome::Done
            }
            Err(error) => failed(&error),
        }
    }

    /// A new file full of zeros. Its blocks are there and written, so that a later sync has only the log's bytes to
    /// write.
    async fn make(&self, path: &Path) -> Result<BufferedFile, GlommioError<()>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).buffered_open(path).await?;
        let bytes = HEADER_BYTES + self.segment_bytes;
        match file.pre_allocate(bytes, false).await {
            // Not every file system can. A disk that is full is then found by the zeros.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            allocated => allocated?,
        }
        let (mut at, mut synced) = (0, 0);
        while at < bytes {
            let zeros = vec![0; ZEROS_BYTES.min(bytes - at) as usize];
            at += match file.write_at(zeros, at).await? {
                0 => return Err(io::Error::from_raw_os_error(libc::EIO).into()),
                written => written as u64,
            };
            if at - synced >= ZEROS_SYNC_BYTES || at == bytes {
                file.fdatasync().await?;
                synced = at;
            }
        }
        self.sync_directory().await?;
        Ok(file)
    }

    /// The file of a dead segment, under another name.
    async fn take(&self, dead: u64, path: &Path) -> Result<BufferedFile, GlommioError<()>> {
        let file = OpenOptions::new().write(true).buffered_open(self.path(dead)).await?;
        glommio::io::rename(self.path(dead), path).await?;
        self.sync_directory().await?;
        Ok(file)
    }

    /// What a write begins with: where it goes in the file, and the header if it is a segment's first.
    pub fn front(&self, number: u64, base: Position, from: Position, bytes: &mut Vec<u8>) -> u64 {
        if from > base {
            return HEADER_BYTES + (from.0 - base.0);
        }
        let header = SegmentHeader {
            epoch: self.epoch,
            owner: self.owner,
            number,
            base,
            capacity: self.segment_bytes,
            sealed: false,
        };
        bytes.extend_from_slice(&header.write());
        bytes.resize(HEADER_BYTES as usize, 0);
        0
    }

    pub async fn write(&self, number: u64, at: u64, bytes: Vec<u8>, how: Write) -> Outcome {
        let segment = self.segment(number);
        if how != Write::Later {
            self.delay().await;
        }
        let len = bytes.len();
        let written = match how {
            Write::Later => segment.later.write_at(bytes, at).await,
            Write::AtOnce => segment.at_once.write_at(bytes, at).await,
            Write::Here => segment.here.write_at(&bytes, at).map_err(GlommioError::from),
        };
        match written {
            Ok(written) if written == len => Outcome::Done,
            // The file has all its blocks, so there is no good reason for it.
            Ok(_) => Outcome::Failed(libc::EIO),
            Err(error) => failed(&error),
        }
    }

    pub async fn sync(&self, number: u64) -> Outcome {
        let segment = self.segment(number);
        self.delay().await;
        outcome(segment.later.fdatasync().await)
    }

    async fn delay(&self) {
        if !self.sync_delay.is_zero() {
            Timer::new(self.sync_delay).await;
        }
    }

    pub async fn checkpoint(&self, sequence: u64, cut: Position) -> Outcome {
        outcome(self.write_checkpoint(sequence, cut).await)
    }

    async fn write_checkpoint(&self, sequence: u64, cut: Position) -> Result<(), GlommioError<()>> {
        let path = self.directory.join(checkpoint::FILE_NAME);
        let file = OpenOptions::new().write(true).create(true).mode(0o600).buffered_open(&path).await?;
        let slot = Checkpoint { epoch: self.epoch, owner: self.owner, sequence, cut };
        let bytes = slot.write().to_vec();
        let len = bytes.len();
        if file.write_at(bytes, slot.offset()).await? != len {
            return Err(io::Error::from_raw_os_error(libc::EIO).into());
        }
        file.fdatasync().await?;
        file.close().await?;
        // It may be new.
        self.sync_directory().await
    }

    pub async fn remove(&self, number: u64) -> Outcome {
        let Some(_held) = self.retain.hold() else { return Outcome::Retained };
        match glommio::io::remove(self.path(number)).await {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Outcome::Done,
            removed => outcome(removed),
        }
    }

    async fn sync_directory(&self) -> Result<(), GlommioError<()>> {
        let directory = Directory::open(&self.directory).await?;
        directory.sync().await?;
        directory.close().await
    }

    /// The open file of the segment that is written. Older ones are closed: they are synced.
    fn segment(&self, number: u64) -> Rc<Segment> {
        let mut open = self.open.borrow_mut();
        open.retain(|(other, _)| *other >= number);
        open.iter().find(|(other, _)| *other == number).expect("it was prepared").1.clone()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(segment_file_name(number))
    }
}

/// The lock that keeps files where they are while somebody copies them: the copier holds it shared, who removes a file
/// or gives it another name holds it alone for that long.
#[derive(Debug)]
pub(super) struct Retain {
    file: Option<File>,
    holders: Cell<usize>,
}

/// The right to remove.
#[derive(Debug)]
pub(super) struct Held(Rc<Retain>);

impl Retain {
    /// The lock in the file of this path, which is made if it is not there; `None`: nobody copies.
    pub fn new(path: Option<&Path>) -> io::Result<Rc<Retain>> {
        let open = |path| fs::File::options().create(true).append(true).open(path);
        Ok(Rc::new(Retain { file: path.map(open).transpose()?, holders: Cell::new(0) }))
    }

    /// `None`: somebody copies, or the lock does not work, and then nothing is taken away either.
    fn hold(self: &Rc<Retain>) -> Option<Held> {
        if self.holders.get() == 0
            && let Some(file) = &self.file
        {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
            }
        }
        self.holders.set(self.holders.get() + 1);
        Some(Held(self.clone()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let holders = self.0.holders.get() - 1;
        self.0.holders.set(holders);
        if let (0, Some(file)) = (holders, &self.0.file) {
            // An unlock of a lock that is held does not fail; the end of the process would do it, too.
            let _ = file.unlock();
        }
    }
}

fn outcome(result: Result<(), GlommioError<()>>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) => failed(&error),
    }
}

fn failed(error: &GlommioError<()>) -> Outcome {
    Outcome::Failed(error.raw_os_error().unwrap_or(libc::EIO))
}
