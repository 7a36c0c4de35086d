//! A set of shards, as wide as a node can be.

use shard::mesh::ShardId;

use crate::limits::SHARDS_MAX;

const WORDS: usize = SHARDS_MAX as usize / 64;

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet([u64; WORDS]);

impl ShardSet {
    /// Adds a shard.
    pub fn insert(&mut self, shard: ShardId) {
        self.0[usize::from(shard.0) / 64] |= 1 << (shard.0 % 64);
    }

    /// Takes a shard away.
    pub fn remove(&mut self, shard: ShardId) {
        self.0[usize::from(shard.0) / 64] &= !(1 << (shard.0 % 64));
    }

    /// Whether a shard is in it.
    pub fn contains(&self, shard: ShardId) -> bool {
        self.0[usize::from(shard.0) / 64] & 1 << (shard.0 % 64) != 0
    }

    /// Adds all shards of `other`.
    pub fn extend(&mut self, other: &ShardSet) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Its shards, in order.
    #[inline]
    pub fn iter(&self) -> Iter {
        Iter { words: self.0, at: if self.is_empty() { WORDS } else { 0 } }
    }
}

/// The shards of a set, in order. Written out, as most sets are empty and each publish looks at one.
pub struct Iter {
    /// What has not come yet.
    words: [u64; WORDS],
    /// All words before this one are empty.
    at: usize,
}

impl Iterator for Iter {
    type Item = ShardId;

    #[inline]
    fn next(&mut self) -> Option<ShardId> {
        while self.at < WORDS {
            let word = &mut self.words[self.at];
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                return Some(ShardId((self.at * 64) as u16 + bit as u16));
            }
            self.at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards come back in order, over all words.
    #[test]
    fn iterates_in_order() {
        let mut set = ShardSet::default();
        for shard in [255, 0, 63, 64] {
            set.insert(ShardId(shard));
        }
        set.remove(ShardId(63));
        assert!(set.contains(ShardId(64)) && !set.contains(ShardId(63)));
        assert_eq!(set.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 64, 255]);
    }
}
