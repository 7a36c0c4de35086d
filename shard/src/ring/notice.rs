//! Who has news for a shard, and whether it must be woken for them.

use crossbeam::utils::CachePadded;

use super::sync::{AtomicU64, Ordering, fence};

/// A shard's notice board: one bit for each other shard, set by it when it has published something, and a flag that
/// says that the shard sleeps. An idle shard looks at one word for each 64 others, not at all of their rings.
///
/// No wake-up is lost, since each side first writes and then looks, with a SeqCst fence between:
///
/// ```text
///   poster                          sleeper
///   publish words, `post`           `sleep` (flag up)
///   fence                           fence (in `sleep`)
///   `asleep`? ring the doorbell     `news`? do not block
/// ```
/// Of two such sides at least one sees what the other wrote.
#[derive(Debug)]
pub struct Notice {
    news: Box<[CachePadded<AtomicU64>]>,
    asleep: CachePadded<AtomicU64>,
}

impl Notice {
    /// The board of a shard among `shards`.
    pub fn new(shards: u16) -> Self {
        let words = usize::from(shards).div_ceil(64);
        Notice {
            news: (0..words).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            asleep: CachePadded::new(AtomicU64::new(0)),
        }
    }

    /// Says that shard `from` has published something; all that it published before is seen by whoever sees this.
    #[inline]
    pub fn post(&self, from: u16) {
        self.news[usize::from(from) / 64].fetch_or(1 << (from % 64), Ordering::Release);
    }

    /// Whether the shard sleeps, or is about to. A SeqCst fence lies between [`Notice::post`] and this.
    #[inline]
    pub fn asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) != 0
    }

    /// Says that the shard is about to sleep; it looks for news once more after this.
    pub fn sleep(&self) {
        self.asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the shard is up.
    pub fn wake(&self) {
        self.asleep.store(0, Ordering::Relaxed);
    }

    /// Whether there are news.
    #[inline]
    pub fn news(&self) -> bool {
        self.news.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Takes the bits of shards `64 * word..64 * (word + 1)` down and returns them.
    #[inline]
    pub fn take(&self, word: usize) -> u64 {
        let bits = &self.news[word];
        // The look spares an idle turn the exclusive access to the line.
        if bits.load(Ordering::Relaxed) == 0 { 0 } else { bits.swap(0, Ordering::Acquire) }
    }

    /// How many words of bits there are.
    pub fn words(&self) -> usize {
        self.news.len()
    }
}
