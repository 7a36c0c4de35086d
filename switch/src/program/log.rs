//! What shards tell the operator, without ever waiting for one.
//!
//! ```text
//!  shard 0 ── LogSink ──▶ bounded queue ─┐
//!  shard 1 ── LogSink ──▶ bounded queue ─┼─▶ Logger (service thread) ──▶ standard error
//!  program ── Log ────────▶ (directly) ──┘
//! ```
//!
//! A shard writes one small fixed record into its own queue: no allocation, no lock, no system call, except for one
//! wake-up when the logger sleeps. What is more than the shard's rate, or finds the queue full, is counted, and the
//! count is printed.

mod format;
mod sink;
mod writer;

pub use sink::{LogSink, Peer};
pub use writer::{Log, Logger};

use crate::config::field::Choice;

/// Bytes of the queue from one shard to the logger.
pub fn queue_bytes() -> u64 {
    (sink::QUEUE_RECORDS * (size_of::<sink::Record>() + size_of::<usize>())) as u64
}

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something that was promised does not hold, or the program ends.
    Error,
    /// Something that an operator should change.
    Warn,
    /// What happened: start, stop, clients that come and go.
    Info,
    /// Why it happened: refused connections in full.
    Debug,
}

impl Level {
    /// The words for the levels, most important first.
    pub const WORDS: [&'static str; 4] = ["error", "warn", "info", "debug"];

    /// The level that a word names.
    pub fn named(word: &str) -> Option<Level> {
        [Level::Error, Level::Warn, Level::Info, Level::Debug].into_iter().find(|level| level.as_str() == word)
    }

    /// The word for this level.
    pub const fn as_str(self) -> &'static str {
        Level::WORDS[self as usize]
    }
}

impl Choice for Level {
    fn choose(&mut self, word: &str) {
        if let Some(level) = Level::named(word) {
            *self = level;
        }
    }

    fn word(&self) -> &'static str {
        self.as_str()
    }
}
