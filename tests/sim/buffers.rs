//! The receive buffers of a simulated shard.

use shard::RecvBuffer;

/// The receive buffers of one shard.
pub struct Buffers {
    memory: Vec<u8>,
    free: Vec<u16>,
    count: u16,
    pub(crate) bytes: u32,
}

impl Buffers {
    /// `count` free buffers of `bytes` bytes.
    pub fn new(count: u16, bytes: u32) -> Buffers {
        Buffers { memory: vec![0; usize::from(count) * bytes as usize], free: (0..count).rev().collect(), count, bytes }
    }

    /// Whether all are free.
    pub fn all_home(&self) -> bool {
        self.free.len() == usize::from(self.count)
    }

    /// The bytes in a buffer.
    pub fn filled(&self, buffer: &RecvBuffer) -> &[u8] {
        let at = usize::from(buffer.id) * self.bytes as usize + buffer.start as usize;
        &self.memory[at..at + buffer.len as usize]
    }

    /// Takes a buffer back.
    pub fn give(&mut self, id: u16) {
        assert!(!self.free.contains(&id), "buffer {id} is given back twice");
        self.free.push(id);
    }

    pub(crate) fn take(&mut self) -> Option<u16> {
        self.free.pop()
    }

    pub(crate) fn fill(&mut self, id: u16, bytes: impl Iterator<Item = u8>) {
        let at = usize::from(id) * self.bytes as usize;
        self.memory[at..].iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    }
}
