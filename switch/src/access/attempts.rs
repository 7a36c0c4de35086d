//! Who fails too often waits: attempts to prove an identity, counted by address.
//!
//! The table is bounded; at its bound the address that failed longest ago is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 65_536;
/// Addresses looked at for one that may be forgotten.
const LOOKS: usize = 64;

/// Failed attempts by address.
pub struct Attempts {
    by_address: HashMap<IpAddr, Failures>,
    free: u32,
    longest: Duration,
}

struct Failures {
    count: u32,
    last: Instant,
    until: Instant,
}

impl Attempts {
    /// `free` failures cost nothing (0: none ever does), and nobody waits longer than `longest`.
    pub fn new(free: u32, longest: Duration) -> Attempts {
        Attempts { by_address: HashMap::new(), free, longest }
    }

    /// Whether an address may try now.
    pub fn may_try(&self, address: IpAddr, now: Instant) -> bool {
        self.by_address.get(&network(address)).is_none_or(|failures| failures.until <= now)
    }

    /// An attempt has failed.
    pub fn failed(&mut self, address: IpAddr, now: Instant) {
        if self.free == 0 {
            return;
        }
        let (free, longest) = (self.free, self.longest);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&network(address)) {
            self.forget_one();
        }
        let failures = self.by_address.entry(network(address)).or_insert(Failures { count: 0, last: now, until: now });
        if now.saturating_duration_since(failures.last) > 2 * longest {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if failures.count > free {
            let doubled = Duration::from_secs(1) * 2_u32.saturating_pow((failures.count - free - 1).min(20));
            failures.until = now + doubled.min(longest);
        }
    }

    /// An attempt has succeeded: it makes up for one that failed, so that many users of one address do not wait for a
    /// few of them.
    pub fn succeeded(&mut self, address: IpAddr) {
        let address = network(address);
        if let Some(failures) = self.by_address.get_mut(&address) {
            failures.count = failures.count.saturating_sub(1);
            if failures.count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    fn forget_one(&mut self) {
        let oldest = self.by_address.iter().take(LOOKS).min_by_key(|(_, failures)| failures.last);
        if let Some(address) = oldest.map(|(address, _)| *address) {
            self.by_address.remove(&address);
        }
    }
}

/// What one person has: an address of version 4, or 64 bits of one of version 6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures beyond the free ones make an address wait, longer each time and up to the bound; others do not wait.
    #[test]
    fn failures_make_wait() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut attempts = Attempts::new(2, 4 * second);
        let [one, near, other] =
            ["2001:db8::1", "2001:db8::2", "10.0.0.1"].map(|text| text.parse().expect("an address"));
        attempts.failed(one, start);
        attempts.failed(near, start);
        assert!(attempts.may_try(one, start), "two are free");
        for (number, wait) in [(3, 1), (4, 2), (5, 4), (6, 4)] {
            attempts.failed(one, start);
            assert!(!attempts.may_try(near, start + second * wait - second / 2), "failure {number}");
            assert!(attempts.may_try(near, start + second * wait), "failure {number}");
            assert!(attempts.may_try(other, start));
        }
        for _ in 0..6 {
            attempts.succeeded(one);
        }
        assert!(attempts.may_try(one, start));
        let mut unbounded = Attempts::new(0, second);
        (0..100).for_each(|_| unbounded.failed(one, start));
        assert!(unbounded.may_try(one, start));
    }

    /// The table does not grow without bound.
    #[test]
    fn the_table_is_bounded() {
        let mut attempts = Attempts::new(1, Duration::from_secs(1));
        for number in 0..ADDRESSES_MAX as u32 + 100 {
            attempts.failed(IpAddr::from(number.to_be_bytes()), Instant::now());
        }
        assert_eq!(attempts.by_address.len(), ADDRESSES_MAX);
    }
}
