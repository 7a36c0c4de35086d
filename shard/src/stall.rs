//! Turns that ran long: while one runs, nothing else of its shard moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Instant;

/// Watches the length of turns.
#[derive(Debug)]
pub struct StallWatch {
    threshold: Duration,
    began: Option<Instant>,
    stalls: Arc<Stalls>,
}

/// What a [`StallWatch`] has seen. Written by its shard alone, read by anyone at any time.
#[derive(Debug, Default)]
pub struct Stalls {
    turns: AtomicU64,
    count: AtomicU64,
    longest_nanos: AtomicU64,
}

impl StallWatch {
    /// The threshold that is used unless another is asked for: what one flush of a thousand sockets takes.
    pub const THRESHOLD: Duration = Duration::from_millis(5);

    /// A watch that counts turns longer than `threshold`.
    pub fn new(threshold: Duration) -> StallWatch {
        StallWatch { threshold, began: None, stalls: Arc::default() }
    }

    /// A turn begins; the one before, if it was not ended by [`StallWatch::idle`], ends.
    pub fn turn(&mut self, now: Instant) {
        self.end(now);
        self.stalls.turns.store(self.stalls.turns() + 1, Ordering::Relaxed);
        self.began = Some(now);
    }

    /// The current turn ends and none begins: the shard is about to wait.
    pub fn idle(&mut self, now: Instant) {
        self.end(now);
    }

    /// What was and will be seen.
    pub fn stalls(&self) -> Arc<Stalls> {
        self.stalls.clone()
    }

    fn end(&mut self, now: Instant) {
        let Some(began) = self.began.take() else { return };
        let length = now.since(began);
        if length > self.threshold {
            self.stalls.count.store(self.stalls.count() + 1, Ordering::Relaxed);
        }
        if length > self.stalls.longest() {
            self.stalls.longest_nanos.store(length.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

impl Stalls {
    /// Turns that have begun: a shard that was woken and does not count on is stuck.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Turns that ran longer than the threshold.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The longest turn of all.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long turns are counted, waiting is not.
    #[test]
    fn only_turns_are_measured() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut watch = StallWatch::new(StallWatch::THRESHOLD);
        let stalls = watch.stalls();
        watch.turn(at(0));
        watch.turn(at(4)); // 4 ms
        watch.idle(at(10)); // 6 ms: a stall
        watch.turn(at(1000)); // 990 ms of sleep
        watch.turn(at(1009)); // 9 ms: a stall
        assert_eq!((stalls.count(), stalls.longest(), stalls.turns()), (2, Duration::from_millis(9), 4));
    }
}
