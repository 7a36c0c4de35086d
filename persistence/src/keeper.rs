//! The storage executor: one thread that brings the staged bytes of all journals to disk.
//!
//! [`plan`] decides, as a state machine that a simulator can run on files of its own; [`Keeper::start`] runs it on a
//! glommio executor with real ones. What a write and its sync need goes through one task queue with nearly all shares,
//! and what can wait (segments made ahead, checkpoints, removals) through another, in small pieces.
//!
//! ```text
//!   shard ── stage, ring ──▶ eventfd ──▶ drive ──▶ Plan::step ──▶ operations ──▶ files
//!     ▲                                   ▲                          │
//!     └──────── doorbell ── Plan::complete ┴───────── outcomes ───────┘
//! ```
//!
//! A keeper without work sleeps in its ring and costs nothing. A shard wakes it only when it has said that it sleeps;
//! while an operation of a journal is under way that journal does not wake it at all.

mod disk;
pub mod plan;
mod run;
mod stats;
mod wake;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use run::{Doorbell, Keeper, KeeperHandle};
pub use stats::{KeeperCounts, KeeperStats, SYNC_BUCKETS};

use crate::header::Owner;
use crate::staging::Reader;

/// What the executor locks of memory, at least: its own limit.
const MEMLOCK_BYTES: u64 = 512 << 10;

/// A journal that the keeper takes over, as recovery leaves it.
#[derive(Debug)]
pub struct Begin {
    /// Where its files are.
    pub directory: PathBuf,
    /// Whose they are.
    pub owner: Owner,
    /// This start of the program.
    pub epoch: u32,
    /// How large they become.
    pub limits: plan::Limits,
    /// What there is.
    pub files: plan::Files,
    /// The keeper's end of what is staged.
    pub staged: Reader,
}

/// How the keeper runs.
#[derive(Clone, Debug, Default)]
pub struct KeeperOptions {
    /// The cores that it may use; none named: any.
    pub cores: Vec<usize>,
    /// `RETAIN` of the data directory. Whoever holds it locked keeps files from being removed or used again.
    pub retain: Option<PathBuf>,
    /// Makes every sync take this much longer. For tests: what a slow disk is to the rest of the program.
    pub sync_delay: Duration,
}

/// Why there is no keeper.
#[derive(Debug)]
pub enum KeeperError {
    /// Too little memory may be locked: this many bytes.
    MemoryLock(u64),
    /// The kernel gives no io_uring.
    Ring(io::Error),
    /// Its thread cannot run on these cores.
    Cores(Vec<usize>, io::Error),
    /// `RETAIN` cannot be opened.
    Retain(PathBuf, io::Error),
    /// Its thread or its eventfd cannot be made.
    Thread(io::Error),
    /// The executor says no, in its own words.
    Executor(String),
}

impl fmt::Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeeperError::MemoryLock(bytes) => write!(
                f,
                "the journal needs {} KiB of locked memory, and {} KiB are allowed: raise it with `ulimit -l {}`, or \
                 LimitMEMLOCK={}K in the systemd unit",
                MEMLOCK_BYTES >> 10,
                bytes >> 10,
                MEMLOCK_BYTES >> 10,
                MEMLOCK_BYTES >> 10
            ),
            KeeperError::Ring(error) => write!(
                f,
                "the journal needs io_uring: {error}. Allow it (sysctl kernel.io_uring_disabled=0, or the container's \
                 seccomp profile)"
            ),
            KeeperError::Cores(cores, error) => {
                write!(f, "the journal's keeper cannot run on cores {cores:?}: {error}")
            }
            KeeperError::Retain(path, error) => write!(f, "{} cannot be opened: {error}", path.display()),
            KeeperError::Thread(error) => write!(f, "the journal's keeper cannot be started: {error}"),
            KeeperError::Executor(error) => write!(f, "the journal's keeper cannot be started: {error}"),
        }
    }
}

impl std::error::Error for KeeperError {}
