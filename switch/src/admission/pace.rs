//! How fast somebody comes, by the generic cell rate algorithm (ITU-T I.371): what is remembered is the time at which
//! all that came before would be done, one after the other. A second's worth may come at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shard::Instant;

use super::table::{Table, VALUE_MASK, change, value, word};

/// Addresses whose pace is known at a time. Where there are more some come faster than they should.
const PLACES: usize = 65_536;
/// What their table takes.
pub const BYTES: u64 = PLACES as u64 * 8;
/// The unit of times in it: they come back after 127 days.
const TICK_NANOS: u64 = 10_000;
const TICKS_PER_SECOND: u64 = SECOND_NANOS / TICK_NANOS;
const SECOND_NANOS: u64 = 1_000_000_000;

/// How fast connections of everybody come.
pub struct Paces {
    table: Table,
    /// Between two connections, in ticks.
    interval: u64,
}

impl Paces {
    /// So many a second; none where that is 0.
    pub fn new(per_second: u32) -> Option<Paces> {
        let interval = TICKS_PER_SECOND.checked_div(per_second.into())?.max(1);
        Some(Paces { table: Table::new(PLACES), interval })
    }

    /// One connection more, unless it comes too fast.
    pub fn enter(&self, who: u64, now: Instant) -> bool {
        let (print, window) = self.table.place(who);
        let now = (now.as_nanos() / TICK_NANOS) & VALUE_MASK;
        let fits = Cell::new(true);
        let later = |done: u64| {
            let due = ahead(done, now) + self.interval;
            fits.set(due <= TICKS_PER_SECOND);
            fits.get().then(|| word(print, now.wrapping_add(due)))
        };
        let known = |old: u64| value(old, print).is_some();
        if window.clone().any(|word| known(word.load(Ordering::Relaxed))) {
            // Whose word it is may change meanwhile, once in a blue moon: that one is let in.
            let _ = change(window.filter(|word| known(word.load(Ordering::Relaxed))), |old| later(value(old, print)?));
            return fits.get();
        }
        // A word that is free, or whose time is over; where there is none it is let in.
        let _ = change(window, |old| if old == 0 || ahead(old, now) == 0 { later(now) } else { None });
        true
    }
}

/// How far a time is ahead of now. What is further ahead than a second's worth lies behind, long since: times come back.
fn ahead(time: u64, now: u64) -> u64 {
    let ahead = time.wrapping_sub(now) & VALUE_MASK;
    if ahead <= TICKS_PER_SECOND { ahead } else { 0 }
}

/// The pace of one listener, on the whole node.
#[derive(Debug)]
pub struct Pace {
    /// When all that came would be done, in nanoseconds.
    done: AtomicU64,
    interval_nanos: u64,
}

impl Pace {
    /// So many a second; none where that is 0.
    pub fn new(per_second: u32) -> Option<Pace> {
        let interval_nanos = SECOND_NANOS.checked_div(per_second.into())?;
        Some(Pace { done: AtomicU64::new(0), interval_nanos })
    }

    /// One has come.
    pub fn count(&self, now: Instant) {
        let later = |done: u64| Some(done.max(now.as_nanos()).saturating_add(self.interval_nanos));
        let _ = self.done.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// How many may come now; and where that is none, when the next may.
    pub fn room(&self, now: Instant) -> (u32, Option<Duration>) {
        let ahead = self.done.load(Ordering::Relaxed).saturating_sub(now.as_nanos());
        let room = SECOND_NANOS.saturating_sub(ahead) / self.interval_nanos;
        let due = (room == 0).then(|| Duration::from_nanos(ahead + self.interval_nanos - SECOND_NANOS));
        (room.try_into().unwrap_or(u32::MAX), due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(of: u64) -> u64 {
        of.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// A second's worth may come at once, then one after the other; others have a pace of their own, and times come
    /// back.
    #[test]
    fn a_pace_is_kept() {
        assert!(Paces::new(0).is_none());
        let pace = Paces::new(4).expect("there is a bound");
        let (one, other) = (number(1), number(2));
        // A little before the words come back to zero.
        let origin: u64 = (1 << 40) / 100 - 300;
        let come = |who, millis| pace.enter(who, at(origin + millis));
        assert_eq!([(); 6].map(|()| come(one, 0)), [true, true, true, true, false, false]);
        assert!(come(other, 0));
        assert_eq!([249, 250, 251, 499, 500].map(|millis| come(one, millis)), [false, true, false, false, true]);
        for days in [2, 70, 150] {
            let millis = days * 86_400_000;
            assert_eq!([(); 5].map(|()| come(one, millis)), [true, true, true, true, false], "{days} days later");
        }
        let slow = Paces::new(1).expect("there is a bound");
        assert_eq!([0, 999, 1000].map(|millis| slow.enter(one, at(millis))), [true, false, true]);
    }

    /// A listener is told when to go on; what came over its pace is paid for.
    #[test]
    fn a_listener_waits() {
        assert!(Pace::new(0).is_none());
        let pace = Pace::new(10).expect("there is a bound");
        for left in (1..=10).rev() {
            assert_eq!(pace.room(at(5000)), (left, None));
            pace.count(at(5000));
        }
        let due = |millis| (0, Some(Duration::from_millis(millis)));
        assert_eq!(pace.room(at(5000)), due(100));
        pace.count(at(5000));
        assert_eq!(pace.room(at(5000)), due(200));
        assert_eq!((pace.room(at(5199)), pace.room(at(5200))), (due(1), (1, None)));
    }
}
