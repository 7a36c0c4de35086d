//! The shard's clock: nanoseconds since an origin that is the same for every shard of a process.

use std::time::Duration;

/// A point of monotonic time, in nanoseconds since the process's origin.
///
/// Our own type, so that a simulated clock is as good as the real one, and so that a frame can carry one between
/// shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);
    /// A time that never comes.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This instant `by` later; [`Instant::NEVER`] where that overflows.
    pub fn after(self, by: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this instant, zero where `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deadlines saturate instead of wrapping into the past.
    #[test]
    fn after_saturates() {
        assert_eq!(Instant::from_nanos(5).after(Duration::MAX), Instant::NEVER);
        assert_eq!(Instant::ZERO.since(Instant::from_nanos(9)), Duration::ZERO);
    }
}
