//! Segments are checked ahead of who goes through them.
//!
//! ```text
//!   thread 0: segment 0, 2, 4 … ─▶ read, map, check each record ─▶ ┐ one waits at most
//!   thread 1: segment 1, 3, 5 … ─▶ read, map, check each record ─▶ ┴▶ take, in the order of the log
//! ```
//!
//! What a segment holds follows from its bytes alone, so that checking it needs nothing of the ones before. What it
//! means does not, and is one thread's.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bytes::Bytes;

use super::StoreError;
use crate::files::Mapped;
use crate::layout::Position;
use crate::recover::{Live, Walk};

/// Files of one journal that are kept as they are mapped; of the others copies are kept. Mappings are few
/// (`vm.max_map_count`), and the largest journals have thousands of segments.
const MAPPED_MAX: usize = 1024;

/// A file of the log that was read. Parts of its bytes can be kept without a copy.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    mapped: Arc<Mapped>,
    bytes: Bytes,
}

impl Source {
    pub(super) fn new(path: PathBuf, mapped: Mapped) -> Source {
        let mapped = Arc::new(mapped);
        Source { path, bytes: Bytes::from_owner(Owner(mapped.clone())), mapped }
    }

    /// The same in ordinary memory; itself, if some of it cannot be read.
    fn copied(self) -> Source {
        let copy = Source::new(self.path.clone(), Mapped::Copy(self.bytes.to_vec()));
        if self.damaged() { self } else { copy }
    }

    /// Whether what was read until now is to be believed.
    ///
    /// # Errors
    /// Some of it could not be read.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.damaged() {
            true => Err(StoreError::io("read", &self.path)(io::Error::from_raw_os_error(libc::EIO))),
            false => Ok(()),
        }
    }

    /// The bytes. They are believed only if [`Source::check`] has nothing against it after they were read.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether some of it could not be read.
    pub(super) fn damaged(&self) -> bool {
        self.mapped.damaged()
    }
}

struct Owner(Arc<Mapped>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// What a segment is, once it was checked.
type Checked = Result<(Source, Walk), StoreError>;

/// Gives each segment of a log to `take`, in order, with its records. `threads` check them; none: this one does.
pub(super) fn in_order(
    lives: &[Live],
    cut: Position,
    threads: usize,
    map: impl Fn(&Live) -> Result<Source, StoreError> + Sync,
    mut take: impl FnMut(&Live, Source, &Walk) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let check = |every: usize, first: usize, give: &mut dyn FnMut(usize, Checked) -> bool| {
        for index in (first..lives.len()).step_by(every) {
            let live = &lives[index];
            let walked = |source: Source| {
                let source = if index < MAPPED_MAX { source } else { source.copied() };
                let walk = Walk::of(live, source.bytes(), live.header.base.max(cut));
                (source, walk)
            };
            if !give(index, map(live).map(walked)) {
                break;
            }
        }
    };
    if threads == 0 || lives.len() < 2 {
        let mut outcome = Ok(());
        check(1, 0, &mut |index, checked| {
            outcome = checked.and_then(|(source, walk)| take(&lives[index], source, &walk));
            outcome.is_ok()
        });
        return outcome;
    }
    thread::scope(|scope| {
        let (every, check) = (threads.min(lives.len()), &check);
        let checked: Vec<Receiver<Checked>> = (0..every)
            .map(|first| {
                let (give, checked): (SyncSender<Checked>, _) = sync_channel(1);
                scope.spawn(move || check(every, first, &mut |_, checked| give.send(checked).is_ok()));
                checked
            })
            .collect();
        for (live, checked) in lives.iter().zip(checked.iter().cycle()) {
            let (source, walk) = checked.recv().expect("a thread checks all of its segments")?;
            take(live, source, &walk)?;
        }
        Ok(())
    })
}
