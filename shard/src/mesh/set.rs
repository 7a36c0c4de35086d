//! A set of shards, small enough to be copied.

use super::{SHARDS_MAX, ShardId};

const WORDS: usize = SHARDS_MAX as usize / 64;

/// A set of shards. As an iterator it yields them from some shard upward, then the lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shards {
    bits: [u64; WORDS],
    first: u16,
}

impl Shards {
    /// Adds a shard.
    #[inline]
    pub(super) fn insert(&mut self, shard: ShardId) {
        self.bits[usize::from(shard.0) / 64] |= 1 << (shard.0 % 64);
    }

    /// Takes a shard out.
    #[inline]
    pub(super) fn remove(&mut self, shard: ShardId) {
        self.bits[usize::from(shard.0) / 64] &= !(1 << (shard.0 % 64));
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|&bits| bits == 0)
    }

    /// The same set, yielded from `first` on.
    pub(super) fn starting_at(mut self, first: ShardId) -> Self {
        self.first = first.0;
        self
    }

    /// The least member that is `at` or more.
    fn at_or_after(&self, at: u16) -> Option<u16> {
        let word = usize::from(at) / 64;
        let head = self.bits.get(word)? & (u64::MAX << (at % 64));
        let rest = self.bits[word + 1..].iter().copied();
        std::iter::once(head)
            .chain(rest)
            .zip(word..)
            .find(|&(bits, _)| bits != 0)
            .map(|(bits, word)| (word * 64) as u16 + bits.trailing_zeros() as u16)
    }
}

impl Iterator for Shards {
    type Item = ShardId;

    #[inline]
    fn next(&mut self) -> Option<ShardId> {
        let shard = ShardId(self.at_or_after(self.first).or_else(|| self.at_or_after(0))?);
        self.remove(shard);
        Some(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members come from the first on and then from the bottom, over word boundaries, and the end is the end.
    #[test]
    fn rotates() {
        let mut set = Shards::default();
        for shard in [0, 63, 64, 200, 511] {
            set.insert(ShardId(shard));
        }
        set.insert(ShardId(9));
        set.remove(ShardId(9));
        let order: Vec<u16> = set.starting_at(ShardId(64)).map(|shard| shard.0).collect();
        assert_eq!(order, [64, 200, 511, 0, 63]);
        assert_eq!(set.count(), 5);
        assert!(Shards::default().is_empty() && Shards::default().next().is_none());
    }
}
