//! A set of shards, small enough to be copied.

use super::{SHARDS_MAX, ShardId};

const WORDS: usize = SHARDS_MAX as usize / 64;

/// A set of shards. As an iterator it yields them from some shard upward, then the lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shards {
    bits: [u64; WORDS],
    /// Which words have bits, so that few members are found fast.
    words: u8,
    first: u16,
}

const _: () = assert!(SHARDS_MAX.is_multiple_of(64) && WORDS <= u8::BITS as usize);

impl Shards {
    /// Adds a shard.
    #[inline]
    pub(super) fn insert(&mut self, shard: ShardId) {
        let word = usize::from(shard.0) / 64;
        self.bits[word] |= 1 << (shard.0 % 64);
        self.words |= 1 << word;
    }

    /// Takes a shard out.
    #[inline]
    pub(super) fn remove(&mut self, shard: ShardId) {
        let word = usize::from(shard.0) / 64;
        self.bits[word] &= !(1 << (shard.0 % 64));
        if self.bits[word] == 0 {
            self.words &= !(1 << word);
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// The same set, yielded from `first` on.
    #[inline]
    pub(super) fn starting_at(mut self, first: ShardId) -> Self {
        self.first = first.0;
        self
    }

    /// The least member that is `at` or more.
    #[inline]
    fn at_or_after(&self, at: u16) -> Option<u16> {
        let word = at / 64;
        let here = self.bits[usize::from(word)] & (u64::MAX << (at % 64));
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as u16);
        }
        let above = u16::from(self.words) >> (word + 1) << (word + 1);
        (above != 0).then(|| {
            let word = above.trailing_zeros() as u16;
            word * 64 + self.bits[usize::from(word)].trailing_zeros() as u16
        })
    }
}

impl Iterator for Shards {
    type Item = ShardId;

    #[inline]
    fn next(&mut self) -> Option<ShardId> {
        if self.is_empty() {
            return None;
        }
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
