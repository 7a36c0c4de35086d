//! A hash table of slab indices, keyed by strings that live elsewhere.
//!
//! Each slot keeps 32 bits of hash beside the index. Most slots of other keys are told apart by these without touching
//! the slab, and growing rehashes from the table alone, without reading one key.
//!
//! The table is made of parts that grow each on its own. Doubling a table of a million in one go would stop the shard
//! for 15 ms; a part takes a quarter of a millisecond.

use hashbrown::HashTable;

/// An index and the hash of its key.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    id: u32,
}

/// Slab indices by the hash of their keys. The caller hashes and compares.
#[derive(Debug)]
pub(crate) struct IdTable {
    parts: Box<[HashTable<Slot>; PARTS]>,
}

const PARTS: usize = 64;

/// Bytes of an index at the worst: a table that has just doubled is 7/16 full, and has a byte of tag for each slot.
#[cfg(test)]
pub(crate) const ID_BYTES_MAX: usize = ((size_of::<Slot>() + 1) * 16).div_ceil(7);

impl IdTable {
    /// The index with this hash for which `is_key` holds.
    pub(crate) fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = fold(hash);
        self.parts[part(hash)].find(spread(hash), |slot| slot.hash == hash && is_key(slot.id)).map(|slot| slot.id)
    }

    /// Adds an index whose key is not in the table yet.
    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        let hash = fold(hash);
        self.parts[part(hash)].insert_unique(spread(hash), Slot { hash, id }, |slot| spread(slot.hash));
    }

    /// Removes an index. Panics if it is not there under this hash: table and slab would disagree.
    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        let hash = fold(hash);
        let entry = self.parts[part(hash)].find_entry(spread(hash), |slot| slot.id == id);
        entry.expect("an index is in the table from insert to remove").remove();
    }
}

/// The 32 bits of a hash that a slot keeps.
fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// The part that a hash belongs to: by the six bits below the top seven, see [`spread`].
fn part(hash: u32) -> usize {
    (hash >> 19) as usize % PARTS
}

/// A hash for a part, which takes the bucket from the low bits and a tag from the top seven. Bucket, part and tag are
/// distinct bits of the 32 up to 2^19 buckets in a part; beyond it is slower, but right.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Default for IdTable {
    fn default() -> IdTable {
        IdTable { parts: Box::new([const { HashTable::new() }; PARTS]) }
    }
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
