//! A hash table of slab indices, keyed by strings that live elsewhere.
//!
//! Each slot keeps 32 bits of hash beside the index. Most slots of other keys are told apart by these without touching
//! the slab, and growing rehashes from the table alone, in one sequential pass: a table of a million strings grows
//! without reading one of them.

use hashbrown::HashTable;

/// An index and the hash of its key.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    id: u32,
}

/// Slab indices by the hash of their keys. The caller hashes and compares.
#[derive(Debug, Default)]
pub(super) struct IdTable {
    slots: HashTable<Slot>,
}

impl IdTable {
    /// The index with this hash for which `is_key` holds.
    pub(super) fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = fold(hash);
        self.slots.find(spread(hash), |slot| slot.hash == hash && is_key(slot.id)).map(|slot| slot.id)
    }

    /// Adds an index whose key is not in the table yet.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        let hash = fold(hash);
        self.slots.insert_unique(spread(hash), Slot { hash, id }, |slot| spread(slot.hash));
    }

    /// Removes an index. Panics if it is not there under this hash: table and slab would disagree.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let hash = fold(hash);
        let entry = self.slots.find_entry(spread(hash), |slot| slot.id == id);
        entry.expect("an index is in the table from insert to remove").remove();
    }
}

/// The 32 bits of a hash that a slot keeps.
fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// A hash for the table, which takes the bucket from the low bits and a tag from the top seven: distinct bits of the 32
/// up to 2^25 buckets, slower but right beyond.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys with equal hashes are told apart by the caller's comparison, and by index when removed.
    #[test]
    fn equal_hashes_are_distinct_keys() {
        let mut table = IdTable::default();
        table.insert(7, 1);
        table.insert(7, 2);
        assert_eq!(table.find(7, |id| id == 2), Some(2));
        table.remove(7, 1);
        assert_eq!(table.find(7, |_| true), Some(2));
        assert_eq!(table.find(8, |_| true), None);
    }
}
