//! The words that one shard and the keeper share about a journal: each has one writer.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::keeper::KeeperStats;
use crate::layout::Position;

/// What one journal's shard and the keeper tell each other.
#[derive(Debug, Default)]
pub struct Shared {
    /// The end of what the shard has appended and shown. Written by the shard.
    staged: CachePadded<AtomicU64>,
    /// Nothing before this is needed any more. Written by the shard.
    trim: CachePadded<AtomicU64>,
    /// What was staged when that was said: what makes it true lies before this. Written by the shard.
    trim_relies_on: AtomicU64,
    /// Up to where segment files are synced. Written by the keeper.
    synced: CachePadded<AtomicU64>,
    /// Bytes of the journal's files on disk. Written by the keeper.
    disk_bytes: AtomicU64,
    /// Where the oldest segment begins. Written by the keeper.
    oldest: AtomicU64,
    /// Written by the keeper.
    stats: KeeperStats,
    /// Why what is staged cannot be written for now: 0: it can; else 1 and the kernel's error number, 0 where a bound
    /// is met. Written by the keeper.
    stuck: AtomicU32,
    /// Why nothing more is taken. Set once, by whoever meets the trouble first.
    fence: OnceLock<Fence>,
}

/// Why a journal takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// What happened.
    pub trouble: Trouble,
    /// The segment's number, where it was one.
    pub segment: Option<u64>,
    /// The kernel's error number; 0 where there is none.
    pub errno: i32,
}

/// What happened to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A segment could not be made.
    Prepare,
    /// A segment could not be written.
    Write,
    /// A sync failed.
    Sync,
    /// A page of a mapping is gone (SIGBUS): the file was cut, or its device failed.
    Page,
    /// The checkpoint could not be written.
    Checkpoint,
    /// The keeper has ended.
    Keeper,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.trouble {
            Trouble::Prepare => "a segment could not be made",
            Trouble::Write => "a segment could not be written",
            Trouble::Sync => "a sync failed",
            Trouble::Page => "a page of its memory is gone (SIGBUS)",
            Trouble::Checkpoint => "its checkpoint could not be written",
            Trouble::Keeper => "the keeper has ended",
        })?;
        if let Some(segment) = self.segment {
            write!(f, " (segment {segment})")?;
        }
        if self.errno != 0 {
            write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))?;
        }
        Ok(())
    }
}

impl Shared {
    /// A journal whose log ends at `position`, all of it synced, and begins at `oldest`.
    pub fn new(position: Position, oldest: Position) -> Shared {
        let shared = Shared::default();
        for word in [&*shared.staged, &*shared.synced] {
            word.store(position.0, Ordering::Relaxed);
        }
        for word in [&*shared.trim, &shared.oldest] {
            word.store(oldest.0, Ordering::Relaxed);
        }
        shared
    }

    /// The end of what the shard has shown.
    pub fn staged(&self) -> Position {
        Position(self.staged.load(Ordering::Acquire))
    }

    /// Shard: shows what it has appended. The bytes were written before.
    pub fn stage(&self, to: Position) {
        self.staged.store(to.0, Ordering::Release);
    }

    /// What is not needed any more.
    pub fn trimmed(&self) -> Position {
        Position(self.trim.load(Ordering::Acquire))
    }

    /// Shard: nothing before `cut` is needed any more. What makes that true was shown before.
    pub fn trim(&self, cut: Position) {
        self.trim_relies_on.store(self.staged.load(Ordering::Relaxed), Ordering::Relaxed);
        self.trim.store(cut.0, Ordering::Release);
    }

    /// What must be synced before [`Shared::trimmed`], if it was read before this, may be acted on.
    pub fn trim_relies_on(&self) -> Position {
        Position(self.trim_relies_on.load(Ordering::Relaxed))
    }

    /// Up to where segment files are synced: the ring is free up to there.
    #[inline]
    pub fn synced(&self) -> Position {
        Position(self.synced.load(Ordering::Acquire))
    }

    /// Keeper: everything before `to` is on disk.
    pub fn sync(&self, to: Position) {
        self.synced.store(to.0, Ordering::Release);
    }

    /// Bytes of the journal's files.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    /// Where the oldest segment begins.
    pub fn oldest(&self) -> Position {
        Position(self.oldest.load(Ordering::Relaxed))
    }

    /// Keeper: what the files come to.
    pub fn set_files(&self, oldest: Position, disk_bytes: u64) {
        self.oldest.store(oldest.0, Ordering::Relaxed);
        self.disk_bytes.store(disk_bytes, Ordering::Relaxed);
    }

    /// What the keeper has counted.
    pub fn stats(&self) -> &KeeperStats {
        &self.stats
    }

    /// Why what is staged cannot be written for now: the kernel's error number, or 0 where the journal's own bound is
    /// met. It may pass.
    #[inline]
    pub fn stuck(&self) -> Option<i32> {
        match self.stuck.load(Ordering::Acquire) {
            0 => None,
            word => Some(word as i32 - 1),
        }
    }

    /// Keeper: what is staged cannot be written for now, or can again.
    pub fn set_stuck(&self, why: Option<i32>) {
        self.stuck.store(why.map_or(0, |errno| errno as u32 + 1), Ordering::Release);
    }

    /// Why the journal takes nothing more.
    #[inline]
    pub fn fenced(&self) -> Option<&Fence> {
        self.fence.get()
    }

    /// Fences the journal. The first reason stays.
    pub fn fence(&self, why: Fence) {
        let _ = self.fence.set(why);
    }
}

/// Wakes the keeper, which is one for all journals: whoever shows something rings, and only a keeper that sleeps is
/// woken, by `wake`.
pub struct Bell {
    sleeping: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    /// A bell of a keeper that `wake` wakes.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Bell {
        Bell { sleeping: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// Something was shown.
    pub fn ring(&self) {
        // Pairs with the fence in `sleep`: either the keeper sees what was shown, or it is seen to sleep here.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Keeper: it is about to sleep. It must look for work once more after this, and sleep only if there is none.
    pub fn sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Keeper: it is up.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("sleeping", &self.sleeping).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Only a keeper that sleeps is woken, and once.
    #[test]
    fn a_sleeper_is_woken_once() {
        let woken = Arc::new(AtomicU32::new(0));
        let count = woken.clone();
        let bell = Bell::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        bell.ring();
        bell.sleep();
        bell.ring();
        bell.ring();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    /// The first reason for a fence stays, and reads as a sentence.
    #[test]
    fn the_first_fence_stays() {
        let shared = Shared::new(Position(64), Position(0));
        let why = Fence { trouble: Trouble::Sync, segment: Some(3), errno: 5 };
        shared.fence(why);
        shared.fence(Fence { trouble: Trouble::Write, segment: None, errno: 28 });
        assert_eq!(shared.fenced(), Some(&why));
        assert_eq!(why.to_string(), "a sync failed (segment 3): Input/output error (os error 5)");
    }
}
