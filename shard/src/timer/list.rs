//! Entries in doubly linked lists, by index: the wheel's storage.

use std::num::NonZeroU32;

/// The index that stands for none.
pub(super) const NONE: u32 = u32::MAX;

/// One timer, in use or free. Packed, so that it is seven words of four bytes.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub(super) struct Entry {
    pub(super) word: u64,
    pub(super) tick: u64,
    next: u32,
    prev: u32,
    generation: NonZeroU32,
}

/// What a timer costs, in bytes.
pub const TIMER_BYTES: usize = size_of::<Entry>();

const _: () = assert!(TIMER_BYTES == 28);

/// The first and the last entry of a list.
#[derive(Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: List = List { first: NONE, last: NONE };

    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

/// All entries. Each is in one list or free.
pub(super) struct Entries {
    slab: Vec<Entry>,
    /// Free entries, linked by `next`; the last one freed comes first.
    free: u32,
    in_use: u32,
}

impl Entries {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Entries { slab: Vec::with_capacity(entries), free: NONE, in_use: 0 }
    }

    pub(super) fn in_use(&self) -> usize {
        self.in_use as usize
    }

    /// Makes an entry, in no list yet, and returns its index and generation.
    pub(super) fn insert(&mut self, word: u64, tick: u64) -> (u32, NonZeroU32) {
        self.in_use += 1;
        if self.free == NONE {
            let index = u32::try_from(self.slab.len()).ok().filter(|&index| index != NONE).expect("2^32 timers");
            let generation = NonZeroU32::MIN;
            self.slab.push(Entry { word, tick, next: NONE, prev: NONE, generation });
            return (index, generation);
        }
        let index = self.free;
        let entry = &mut self.slab[index as usize];
        self.free = entry.next;
        *entry = Entry { word, tick, next: NONE, prev: NONE, generation: entry.generation };
        (index, entry.generation)
    }

    /// Frees an entry that is in no list. Its next use has another generation; an entry whose generations are used up
    /// is not used again, so that no key is ever valid twice.
    pub(super) fn remove(&mut self, index: u32) {
        self.in_use -= 1;
        let free = self.free;
        let entry = &mut self.slab[index as usize];
        // No key has the last generation: `insert` never hands it out, as such an entry does not become free.
        entry.generation = entry.generation.saturating_add(1);
        if entry.generation != NonZeroU32::MAX {
            entry.next = free;
            self.free = index;
        }
    }

    /// The entry, where it is still of that generation.
    pub(super) fn get(&self, index: u32, generation: NonZeroU32) -> Option<Entry> {
        self.slab.get(index as usize).copied().filter(|entry| entry.generation == generation)
    }

    /// Puts an entry that is in no list at the end of one.
    pub(super) fn push_back(&mut self, list: &mut List, index: u32) {
        let entry = &mut self.slab[index as usize];
        entry.prev = list.last;
        entry.next = NONE;
        match list.last {
            NONE => list.first = index,
            last => self.slab[last as usize].next = index,
        }
        list.last = index;
    }

    /// Takes the first entry out of a list that is being emptied: the next one is not told, so that each entry's memory
    /// is touched once. Nothing else may be done to such a list.
    pub(super) fn take_apart(&self, list: &mut List) -> Option<(u32, Entry)> {
        let index = list.first;
        let entry = *self.slab.get(index as usize)?;
        list.first = entry.next;
        Some((index, entry))
    }

    /// Takes an entry out of the list that it is in.
    pub(super) fn unlink(&mut self, list: &mut List, index: u32) {
        let Entry { next, prev, .. } = self.slab[index as usize];
        match prev {
            NONE => list.first = next,
            prev => self.slab[prev as usize].next = next,
        }
        match next {
            NONE => list.last = prev,
            next => self.slab[next as usize].prev = prev,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry whose generations are used up is never used again.
    #[test]
    fn generations_run_out() {
        let mut entries = Entries::with_capacity(1);
        let (index, _) = entries.insert(1, 1);
        let last = NonZeroU32::new(u32::MAX - 1).expect("not zero");
        entries.slab[index as usize].generation = last;
        assert!(entries.get(index, last).is_some());
        entries.remove(index);
        let (other, generation) = entries.insert(2, 2);
        assert_ne!(other, index);
        assert_eq!((generation, entries.in_use()), (NonZeroU32::MIN, 1));
        assert!(entries.get(index, last).is_none());
    }

    /// Taking from the middle and the ends keeps the rest in order.
    #[test]
    fn unlinks_anywhere() {
        let mut entries = Entries::with_capacity(4);
        let mut list = List::EMPTY;
        let indices: Vec<u32> = (0..5).map(|word| entries.insert(word, 0).0).collect();
        indices.iter().for_each(|&index| entries.push_back(&mut list, index));
        for middle in [2, 0, 4] {
            entries.unlink(&mut list, indices[middle]);
        }
        let words: Vec<u64> =
            std::iter::from_fn(|| entries.take_apart(&mut list)).map(|(_, entry)| entry.word).collect();
        assert_eq!(words, [1, 3]);
        assert!(list.is_empty());
    }
}
