//! Chunks of one size, recycled: the memory of feeds.

use std::ops::{Deref, DerefMut};

/// A pool of chunks of one size. It holds what was ever in use at once, up to its limit; the chunk given back last is
/// taken first, as the cache may still know it.
#[derive(Debug)]
pub struct Arena {
    chunk_bytes: usize,
    chunks_max: usize,
    /// Chunks that exist, in use or free.
    made: usize,
    free: Vec<Chunk>,
}

/// A chunk of an [`Arena`]. Give it back with [`Arena::give`]: one that is dropped instead counts as in use for ever.
///
/// Its bytes are what the last user left there, zeros at first.
#[must_use = "a chunk that is dropped is lost to its arena"]
#[derive(Debug)]
pub struct Chunk(Box<[u8]>);

impl Arena {
    /// A pool of at most `chunks_max` chunks of `chunk_bytes` bytes each. Nothing is allocated yet.
    pub fn new(chunk_bytes: usize, chunks_max: usize) -> Self {
        assert!(chunk_bytes > 0, "chunks of no bytes");
        Arena { chunk_bytes, chunks_max, made: 0, free: Vec::new() }
    }

    /// A chunk, or `None` where all are in use.
    pub fn take(&mut self) -> Option<Chunk> {
        if let Some(chunk) = self.free.pop() {
            return Some(chunk);
        }
        if self.made == self.chunks_max {
            return None;
        }
        self.made += 1;
        // The way back is paved here, so that giving never allocates.
        self.free.reserve(self.made);
        // Zeroed by the allocator, which takes fresh pages as they are: they are touched when they are used.
        Some(Chunk(vec![0; self.chunk_bytes].into_boxed_slice()))
    }

    /// Takes a chunk back.
    pub fn give(&mut self, chunk: Chunk) {
        assert!(chunk.len() == self.chunk_bytes && self.free.len() < self.made, "a chunk of another arena");
        self.free.push(chunk);
    }

    /// Bytes of each chunk.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Chunks that are out.
    pub fn in_use(&self) -> usize {
        self.made - self.free.len()
    }

    /// Chunks that could be taken now.
    pub fn available(&self) -> usize {
        self.chunks_max - self.in_use()
    }

    /// Bytes of all the chunks that there may ever be.
    pub fn bytes_max(&self) -> u64 {
        (self.chunk_bytes as u64).saturating_mul(self.chunks_max as u64)
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Chunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit holds, and what is given back can be taken again, the last one first.
    #[test]
    fn bounded_and_recycled() {
        let mut arena = Arena::new(64, 2);
        assert_eq!((arena.bytes_max(), arena.in_use(), arena.available()), (128, 0, 2));
        let mut first = arena.take().expect("first");
        let second = arena.take().expect("second");
        assert!(arena.take().is_none());
        first[0] = 7;
        arena.give(second);
        arena.give(first);
        assert_eq!((arena.in_use(), arena.available()), (0, 2));
        let again = arena.take().expect("again");
        assert_eq!((again[0], again.len(), arena.in_use()), (7, 64, 1));
    }

    /// An arena of nothing gives nothing.
    #[test]
    fn none_allowed() {
        assert!(Arena::new(64, 0).take().is_none());
    }

    /// A chunk of the wrong size stops the process instead of corrupting the pool.
    #[test]
    #[should_panic(expected = "a chunk of another arena")]
    fn foreign_chunk() {
        let mut arena = Arena::new(64, 1);
        let other = Arena::new(32, 1).take().expect("chunk");
        arena.give(other);
    }
}
