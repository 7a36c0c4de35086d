//! What a shard does when nothing waits: spin for a while, then sleep.

use std::time::Duration;

use crate::time::Instant;

/// How an idle shard waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdlePolicy {
    /// How long it looks at its queues before it sleeps. 20 to 50 µs halve the median of a ping-pong and cost a core
    /// whenever there is anything to do at all; zero is right where cores are shared.
    pub spin: Duration,
}

impl IdlePolicy {
    /// Sleep at once.
    pub const SLEEP: IdlePolicy = IdlePolicy { spin: Duration::ZERO };

    /// When spinning that began at `now` ends: at the latest at `deadline`, when a timer is due.
    pub fn spin_until(self, now: Instant, deadline: Instant) -> Instant {
        now.after(self.spin).min(deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spinning never outlasts the next timer.
    #[test]
    fn spinning_ends_with_the_next_timer() {
        let policy = IdlePolicy { spin: Duration::from_nanos(50) };
        let now = Instant::from_nanos(1000);
        assert_eq!(policy.spin_until(now, Instant::NEVER), Instant::from_nanos(1050));
        assert_eq!(policy.spin_until(now, Instant::from_nanos(1020)), Instant::from_nanos(1020));
        assert_eq!(IdlePolicy::SLEEP.spin_until(now, Instant::NEVER), now);
    }
}
