//! A table of words that all shards change without a lock, each of them somebody's.
//!
//! ```text
//!   63                  40 39                          0
//!   ┌─────────────────────┬─────────────────────────────┐
//!   │ who, never 0        │ a count, or a time          │    the whole word 0: free
//!   └─────────────────────┴─────────────────────────────┘
//! ```
//!
//! Who it is stands in one of the [`WINDOW`] words from a place on that a number names: a keyed hash, which nobody can
//! aim. Two shards that meet somebody new at the same moment may take two words.

use std::sync::atomic::{AtomicU64, Ordering};

/// Words in which somebody may stand.
pub(super) const WINDOW: usize = 32;
/// Bits of a value.
pub(super) const VALUE_BITS: u32 = 40;
/// The value in a word.
pub(super) const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;

pub(super) struct Table(Box<[AtomicU64]>);

impl Table {
    pub(super) fn new(words: usize) -> Table {
        Table(std::iter::repeat_with(AtomicU64::default).take(words).collect())
    }

    /// What stands for somebody, and where that may be.
    pub(super) fn place(&self, who: u64) -> (u64, impl Iterator<Item = &AtomicU64> + Clone) {
        let words = self.0.len();
        let from = (who % words as u64) as usize;
        ((who >> VALUE_BITS).max(1), (0..WINDOW.min(words)).map(move |index| &self.0[(from + index) % words]))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }
}

/// A word of somebody.
pub(super) fn word(print: u64, value: u64) -> u64 {
    print << VALUE_BITS | value & VALUE_MASK
}

/// The value of a word that is somebody's.
pub(super) fn value(word: u64, print: u64) -> Option<u64> {
    (word >> VALUE_BITS == print).then_some(word & VALUE_MASK)
}

/// Changes the first of these words that `to` makes something of; whether there was one.
pub(super) fn change<'a>(mut words: impl Iterator<Item = &'a AtomicU64>, to: impl Fn(u64) -> Option<u64>) -> bool {
    words.any(|word| word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, &to).is_ok())
}
