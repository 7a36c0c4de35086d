//! How many connections somebody has on the whole node.

use std::sync::atomic::Ordering;

use super::table::{Table, WINDOW, change, value, word};

/// How many connections everybody has, of so many that everybody may have.
pub struct Census {
    table: Table,
    most: u64,
}

/// What became of one who wanted to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is counted, and is to leave some day.
    Counted,
    /// There is no place to count it at: it is let in, and is not to leave.
    Uncounted,
    /// There are as many as there may be.
    Full,
}

impl Census {
    /// A table for `connections`, of which everybody may have `most`; none where that is 0.
    pub fn new(connections: u32, most: u32) -> Option<Census> {
        (most > 0).then(|| Census { table: Table::new(Census::words(connections)), most: most.into() })
    }

    /// Its bytes.
    pub fn bytes(connections: u32) -> u64 {
        Census::words(connections) as u64 * 8
    }

    /// Twice as many as can be taken, so that each window has free ones.
    fn words(connections: u32) -> usize {
        (connections as usize).saturating_mul(2).max(WINDOW)
    }

    /// One connection more, unless there are as many as there may be. Of two shards that ask at the same moment for the
    /// last place both may get it.
    pub fn enter(&self, who: u64) -> Entry {
        let (print, window) = self.table.place(who);
        let count: u64 =
            window.clone().filter_map(|word| value(word.load(Ordering::Relaxed), print)).fold(0, u64::saturating_add);
        if count >= self.most {
            return Entry::Full;
        }
        let more = |old| value(old, print).map(|count| word(print, count + 1));
        if change(window.clone(), more) || change(window, |old| (old == 0).then(|| word(print, 1))) {
            Entry::Counted
        } else {
            Entry::Uncounted
        }
    }

    /// One connection less.
    pub fn leave(&self, who: u64) {
        let (print, window) = self.table.place(who);
        change(window, |old| value(old, print).map(|count| if count <= 1 { 0 } else { word(print, count - 1) }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::VALUE_BITS;
    use super::Entry::{Counted, Full, Uncounted};
    use super::*;

    fn number(of: u64) -> u64 {
        of.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Everybody has a bound of one's own, and whoever leaves makes room.
    #[test]
    fn everybody_is_counted() {
        assert!(Census::new(10, 0).is_none());
        let census = Census::new(100, 3).expect("there is a bound");
        for who in (1..30).map(number) {
            assert_eq!([(); 5].map(|()| census.enter(who)), [Counted, Counted, Counted, Full, Full]);
        }
        for who in (1..30).map(number) {
            census.leave(who);
            assert_eq!([(); 2].map(|()| census.enter(who)), [Counted, Full]);
            (0..4).for_each(|_| census.leave(who));
        }
        assert!(census.table.is_empty());
    }

    /// Shards that count at once lose nothing: what was counted up comes down to nothing.
    #[test]
    fn nothing_is_lost_between_threads() {
        let census = Census::new(64, 1000).expect("there is a bound");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..1000 {
                        let who = number(round % 5 + 1);
                        assert_eq!([census.enter(who), census.enter(who)], [Counted, Counted]);
                        census.leave(who);
                        census.leave(who);
                    }
                });
            }
        });
        assert!(census.table.is_empty());
    }

    /// A full window lets in uncounted, and those that were counted keep their bound.
    #[test]
    fn a_full_table_lets_in() {
        let census = Census::new(1, 1).expect("there is a bound");
        let window = WINDOW as u64;
        assert!((1..=window).all(|who| census.enter(who << VALUE_BITS) == Counted));
        assert!((window + 1..window + 5).all(|who| census.enter(who << VALUE_BITS) == Uncounted));
        assert_eq!(census.enter(1 << VALUE_BITS), Full);
    }
}
