//! What the keeper counts for each journal, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of sync times: bucket `n` counts those below 2^n microseconds and not below half of it; the last one all
/// longer.
pub const SYNC_BUCKETS: usize = 26;

/// Counters of one journal. The keeper alone writes them.
#[derive(Debug, Default)]
pub struct KeeperStats {
    writes: AtomicU64,
    bytes: AtomicU64,
    made: AtomicU64,
    reused: AtomicU64,
    removed: AtomicU64,
    checkpoints: AtomicU64,
    full: AtomicU64,
    sync_micros_max: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS],
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeeperCounts {
    /// Syncs of segments.
    pub syncs: u64,
    /// Writes to segments.
    pub writes: u64,
    /// Bytes written to segments.
    pub bytes: u64,
    /// Segments made of new files.
    pub made: u64,
    /// Segments made of dead ones.
    pub reused: u64,
    /// Dead segments removed.
    pub removed: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// How often something could not be made because the disk was full.
    pub full: u64,
    /// The longest sync, in microseconds.
    pub sync_micros_max: u64,
    /// How long syncs took: see [`SYNC_BUCKETS`].
    pub sync_buckets: [u64; SYNC_BUCKETS],
}

impl KeeperStats {
    /// The counts now.
    pub fn counts(&self) -> KeeperCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let sync_buckets = self.sync_buckets.each_ref().map(load);
        KeeperCounts {
            syncs: sync_buckets.iter().sum(),
            writes: load(&self.writes),
            bytes: load(&self.bytes),
            made: load(&self.made),
            reused: load(&self.reused),
            removed: load(&self.removed),
            checkpoints: load(&self.checkpoints),
            full: load(&self.full),
            sync_micros_max: load(&self.sync_micros_max),
            sync_buckets,
        }
    }

    pub(super) fn wrote(&self, bytes: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn synced(&self, time: Duration) {
        let micros = time.as_micros() as u64;
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.sync_buckets[bucket.min(SYNC_BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sync_micros_max.fetch_max(micros, Ordering::Relaxed);
    }

    pub(super) fn prepared(&self, reused: bool) {
        let count = if reused { &self.reused } else { &self.made };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn removed(&self) {
        self.removed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn checkpointed(&self) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn met_full_disk(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sync is counted where its time lies.
    #[test]
    fn syncs_fall_into_buckets() {
        let stats = KeeperStats::default();
        for micros in [0, 1, 1000, 1024, u64::MAX / 2000] {
            stats.synced(Duration::from_micros(micros));
        }
        let counts = stats.counts();
        assert_eq!((counts.syncs, counts.sync_micros_max), (5, u64::MAX / 2000));
        let filled: Vec<_> = (0..SYNC_BUCKETS).filter(|bucket| counts.sync_buckets[*bucket] == 1).collect();
        assert_eq!(filled, [0, 1, 10, 11, 25]);
    }
}
