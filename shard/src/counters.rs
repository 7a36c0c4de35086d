//! Named counters with one writer and any number of readers.
//!
//! A crate lists its counters once, with [`counters!`](crate::counters!); whatever shows them (`$SYS`, logs, docs) goes
//! through that list. Counting is a load and a store of the writer's own cache line: no locked instruction, no sharing
//! between shards.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// A list of counters: an enum that [`counters!`](crate::counters!) makes.
pub trait Counter: Copy + Send + Sync + 'static {
    /// How many there are.
    const COUNT: usize;
    /// All of them, in the order of [`Counter::index`].
    const ALL: &'static [Self];

    /// Its place in the list, below [`Counter::COUNT`].
    fn index(self) -> usize;

    /// Its name, in snake case.
    fn label(self) -> &'static str;
}

/// Declares an enum of counters and implements [`Counter`](crate::counters::Counter) for it.
///
/// ```
/// shard::counters! {
///     /// What a door counts.
///     pub enum Door {
///         /// Times that it was opened.
///         Opened => "opened",
///         /// Times that it was shut.
///         Shut => "shut",
///     }
/// }
/// use shard::counters::{Counter, block};
/// let (mut writer, reader) = block::<Door>();
/// writer.add(Door::Opened, 2);
/// assert_eq!((reader.read(Door::Opened), Door::Shut.label()), (2, "shut"));
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $counter:ident => $label:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$doc])* $counter,)+
        }

        impl $crate::counters::Counter for $name {
            const COUNT: usize = <Self as $crate::counters::Counter>::ALL.len();
            const ALL: &'static [Self] = &[$($name::$counter),+];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            fn label(self) -> &'static str {
                match self {
                    $($name::$counter => $label,)+
                }
            }
        }
    };
}

/// Counters in one padded line.
const LINE: usize = 16;

/// The shared words of a block of counters, in cache lines of its own.
#[derive(Debug)]
pub struct CounterBlock<E> {
    lines: Box<[CachePadded<[AtomicU64; LINE]>]>,
    counters: PhantomData<E>,
}

/// The one that counts.
#[derive(Debug)]
pub struct CounterWriter<E> {
    block: Arc<CounterBlock<E>>,
}

/// One that looks.
#[derive(Debug)]
pub struct CounterReader<E> {
    block: Arc<CounterBlock<E>>,
}

/// A block of counters, all zero.
pub fn block<E: Counter>() -> (CounterWriter<E>, CounterReader<E>) {
    let lines = (0..E::COUNT.div_ceil(LINE)).map(|_| CachePadded::new(Default::default())).collect();
    let block = Arc::new(CounterBlock { lines, counters: PhantomData });
    (CounterWriter { block: Arc::clone(&block) }, CounterReader { block })
}

impl<E: Counter> CounterBlock<E> {
    #[inline]
    fn word(&self, counter: E) -> &AtomicU64 {
        let index = counter.index();
        &self.lines[index / LINE][index % LINE]
    }
}

impl<E: Counter> CounterWriter<E> {
    /// Adds `n`.
    #[inline]
    pub fn add(&mut self, counter: E, n: u64) {
        let word = self.block.word(counter);
        // One writer: nobody stores between this load and this store.
        word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn count(&mut self, counter: E) {
        self.add(counter, 1);
    }

    /// Takes `n` off a counter that shows a level instead of a sum.
    #[inline]
    pub fn sub(&mut self, counter: E, n: u64) {
        self.add(counter, n.wrapping_neg());
    }

    /// Sets a counter that shows a level instead of a sum.
    #[inline]
    pub fn set(&mut self, counter: E, value: u64) {
        self.block.word(counter).store(value, Ordering::Relaxed);
    }

    /// What the counter has come to.
    #[inline]
    pub fn read(&self, counter: E) -> u64 {
        self.block.word(counter).load(Ordering::Relaxed)
    }

    /// Another reader.
    pub fn reader(&self) -> CounterReader<E> {
        CounterReader { block: Arc::clone(&self.block) }
    }
}

impl<E: Counter> CounterReader<E> {
    /// What the counter has come to. Two counters that are read one after the other are of two moments.
    #[inline]
    pub fn read(&self, counter: E) -> u64 {
        self.block.word(counter).load(Ordering::Relaxed)
    }

    /// All counters with their values.
    pub fn iter(&self) -> impl Iterator<Item = (E, u64)> + '_ {
        E::ALL.iter().map(|&counter| (counter, self.read(counter)))
    }
}

impl<E> Clone for CounterReader<E> {
    fn clone(&self) -> Self {
        CounterReader { block: Arc::clone(&self.block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    counters! {
        /// More than one line of counters.
        enum Many {
            A => "a", B => "b", C => "c", D => "d", E => "e", F => "f", G => "g", H => "h", I => "i",
            J => "j", K => "k", L => "l", M => "m", N => "n", O => "o", P => "p", Q => "q",
        }
    }

    /// Each counter has a word of its own, the seventeenth in a second line.
    #[test]
    fn words_are_distinct() {
        let (mut writer, reader) = block::<Many>();
        for (n, &counter) in Many::ALL.iter().enumerate() {
            writer.add(counter, n as u64);
            writer.count(counter);
        }
        assert_eq!((Many::COUNT, writer.block.lines.len()), (17, 2));
        assert!(reader.clone().iter().zip(1..).all(|((_, value), n)| value == n));
        writer.set(Many::Q, 5);
        assert_eq!((writer.read(Many::Q), writer.reader().read(Many::Q), Many::Q.label()), (5, 5, "q"));
    }

    /// A reader on another thread sees sums that never go back, and at last the whole.
    #[test]
    fn seen_from_elsewhere() {
        let (mut writer, reader) = block::<Many>();
        let looker = std::thread::spawn(move || {
            let mut last = 0;
            while last < 100_000 {
                let value = reader.read(Many::B);
                assert!(value >= last);
                last = value;
            }
        });
        (0..100_000).for_each(|_| writer.count(Many::B));
        looker.join().expect("the reader saw every sum in order");
    }
}
