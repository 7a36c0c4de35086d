//! The atomics that the rings are built on: the standard library's, or loom's when a test explores every interleaving
//! (`RUSTFLAGS="--cfg loom" cargo test -p ringmain-shard --release loom`).

#[cfg(not(loom))]
pub(crate) use std::sync::Arc;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::Arc;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Knows which words of a ring are touched by whom, so that loom can object to a word that is written while it may be
/// read. Outside loom it is nothing and costs nothing.
///
/// The bytes of a ring are plain memory that is seen through slices, which loom cannot watch; so each 8-byte word of it
/// has a cell here, accessed in the same places.
#[derive(Debug)]
pub(super) struct Tracker {
    #[cfg(loom)]
    words: Box<[loom::cell::UnsafeCell<()>]>,
}

impl Tracker {
    /// A tracker of `bytes` bytes.
    pub(super) fn new(bytes: usize) -> Self {
        #[cfg(loom)]
        return Tracker { words: (0..bytes / 8).map(|_| loom::cell::UnsafeCell::new(())).collect() };
        #[cfg(not(loom))]
        {
            let _ = bytes;
            Tracker {}
        }
    }

    /// Says that bytes are being read. `at` and `len` are multiples of 8.
    #[inline(always)]
    pub(super) fn reads(&self, at: usize, len: usize) {
        #[cfg(loom)]
        self.words[at / 8..(at + len) / 8].iter().for_each(|word| word.with(|_| ()));
        #[cfg(not(loom))]
        let _ = (at, len);
    }

    /// Says that bytes are being written. `at` and `len` are multiples of 8.
    #[inline(always)]
    pub(super) fn writes(&self, at: usize, len: usize) {
        #[cfg(loom)]
        self.words[at / 8..(at + len) / 8].iter().for_each(|word| word.with_mut(|_| ()));
        #[cfg(not(loom))]
        let _ = (at, len);
    }
}
