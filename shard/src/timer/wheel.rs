//! A hierarchical timer wheel: setting and cancelling cost the same however many timers there are.
//!
//! ```text
//!   tick of a deadline (1 ms each, rounded up), six bits a level:
//!
//!     level 7 …   level 2    level 1    level 0
//!   ┌──────────┬──────────┬──────────┬──────────┐
//!   │ 64 slots │ 64 slots │ 64 slots │ 64 slots │   8 levels reach as far as an Instant does
//!   └──────────┴──────────┴──────────┴──────────┘
//!    each 2^42 ms … 4.1 s      64 ms       1 ms
//! ```
//! A timer lies at the highest level at which its tick differs from the tick that was expired last, in the slot that
//! its six bits name. So all timers of a level come before all of the next one, and a slot's timers move down, in
//! order, when time reaches the slot. Timers of one tick therefore fire in the order in which they were set.

use std::num::NonZeroU32;

use super::list::{Entries, List};
use crate::time::Instant;

const LEVELS: usize = 8;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const TICK_NANOS: u64 = 1_000_000;

const _: () = assert!(u64::MAX / TICK_NANOS + 1 < 1 << (LEVELS as u32 * SLOT_BITS), "every Instant has a place");

/// The timers of one shard. A timer is a word that comes back when its deadline has passed.
///
/// Memory: [`TIMER_BYTES`](super::TIMER_BYTES) for each timer that was ever set at once, and 4 KiB.
pub struct Wheel {
    entries: Entries,
    slots: Box<[[List; SLOTS]; LEVELS]>,
    /// Which slots of each level hold timers.
    occupied: [u64; LEVELS],
    /// Timers that were set when their deadline had passed already.
    overdue: List,
    /// The tick that was expired last.
    now: u64,
}

/// Names a timer until it fires or is cancelled; afterwards it names nothing, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    /// Not zero, so that an optional key is no larger than a key.
    generation: NonZeroU32,
}

const _: () = assert!(size_of::<Option<TimerKey>>() == 8);

impl Wheel {
    /// A wheel without timers.
    pub fn new(now: Instant) -> Self {
        Wheel::with_capacity(now, 0)
    }

    /// A wheel without timers that allocates nothing more as long as no more than `timers` are set at once.
    pub fn with_capacity(now: Instant, timers: usize) -> Self {
        Wheel {
            entries: Entries::with_capacity(timers),
            slots: Box::new([[List::EMPTY; SLOTS]; LEVELS]),
            occupied: [0; LEVELS],
            overdue: List::EMPTY,
            now: now.as_millis(),
        }
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.entries.in_use()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets a timer. It fires at the first [`Wheel::expire`] whose `now` has reached the deadline rounded up to a whole
    /// millisecond; where the wheel's time has passed that already, at the next one.
    pub fn set(&mut self, deadline: Instant, word: u64) -> TimerKey {
        let tick = deadline.as_nanos().div_ceil(TICK_NANOS);
        let (index, generation) = self.entries.insert(word, tick);
        self.place(index, tick);
        TimerKey { index, generation }
    }

    /// Cancels a timer. Returns whether it was set still; a key whose timer has fired or was cancelled is harmless.
    pub fn cancel(&mut self, key: TimerKey) -> bool {
        let Some(entry) = self.entries.get(key.index, key.generation) else { return false };
        match self.position(entry.tick) {
            None => self.entries.unlink(&mut self.overdue, key.index),
            Some((level, slot)) => {
                let list = &mut self.slots[level][slot];
                self.entries.unlink(list, key.index);
                if list.is_empty() {
                    self.occupied[level] &= !(1 << slot);
                }
            }
        }
        self.entries.remove(key.index);
        true
    }

    /// When to call [`Wheel::expire`] next: at the earliest deadline or before it, never after it. `None` where no
    /// timer is set.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.overdue.is_empty() {
            return Some(instant(self.now));
        }
        self.first_slot().map(|(_, _, start)| instant(start))
    }

    /// Appends the words of all timers that are due at `now`, earliest tick first and in the order of setting within
    /// one, and forgets those timers. Does not allocate where `due` has the capacity.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<u64>) {
        let mut overdue = std::mem::replace(&mut self.overdue, List::EMPTY);
        self.fire(&mut overdue, due);

        let until = now.as_millis();
        while let Some((level, slot, start)) = self.first_slot().filter(|&(_, _, start)| start <= until) {
            self.now = start;
            let mut list = std::mem::replace(&mut self.slots[level][slot], List::EMPTY);
            self.occupied[level] &= !(1 << slot);
            if level == 0 {
                self.fire(&mut list, due);
                continue;
            }
            while let Some((index, entry)) = self.entries.take_apart(&mut list) {
                if entry.tick == start {
                    due.push(entry.word);
                    self.entries.remove(index);
                } else {
                    self.place(index, entry.tick);
                }
            }
        }
        // A clock that steps back moves nothing back.
        self.now = self.now.max(until);
    }

    /// Forgets the timers of a list and appends their words.
    fn fire(&mut self, list: &mut List, due: &mut Vec<u64>) {
        while let Some((index, entry)) = self.entries.take_apart(list) {
            due.push(entry.word);
            self.entries.remove(index);
        }
    }

    /// Puts an entry where its tick belongs now.
    fn place(&mut self, index: u32, tick: u64) {
        let Some((level, slot)) = self.position(tick) else {
            return self.entries.push_back(&mut self.overdue, index);
        };
        self.occupied[level] |= 1 << slot;
        self.entries.push_back(&mut self.slots[level][slot], index);
    }

    /// The level and slot of a tick; `None` where it is over.
    ///
    /// Time moves on under a timer that stays in its slot, and still this finds it: its level changes only when time
    /// reaches its slot, and then it is moved.
    fn position(&self, tick: u64) -> Option<(usize, usize)> {
        if tick <= self.now {
            return None;
        }
        let level = (tick ^ self.now).ilog2() / SLOT_BITS;
        Some((level as usize, (tick >> (level * SLOT_BITS)) as usize % SLOTS))
    }

    /// The earliest slot that holds timers, and its first tick.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = level as u32 * SLOT_BITS;
        let above = self.now >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot, above | (slot as u64) << shift))
    }
}

/// The beginning of a tick.
fn instant(tick: u64) -> Instant {
    Instant::from_nanos(tick.saturating_mul(TICK_NANOS))
}

#[cfg(test)]
mod tests;
