//! Memory for what waits: cells of a few sizes, cut from mapped chunks.
//!
//! ```text
//!   chunk, 1 MiB, cells of one size
//!   ┌──────┬──────┬──────┬──────┬──────┬┄┄┄┄┄┄┄┄┄┄┄┄┄┄┐
//!   │ used │ free │ used │ free │ used │ never used   │
//!   └──────┴──┬───┴──────┴──▲───┴──────┴┄┄┄┄┄┄┄┄┄┄┄┄┄┄┘
//!             ╰─────────────╯ a free cell names the next one
//! ```
//!
//! Pages that were never used take no memory. A chunk without a used cell is given back to the kernel, a few apart, so
//! that a queue that has grown and was emptied does not stay in memory, whatever else was allocated meanwhile.

use memmap2::MmapMut;

/// Bytes of a chunk. What is larger than the largest cell has a chunk of its own.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that are kept though nothing is in them: a queue at a boundary does not map and unmap.
const SPARE_MAX: usize = 4;
/// Sizes of cells, eight to a doubling: 64 B, 72 B, 80 B and so on to 64 KiB.
const CLASSES: usize = 81;
/// The class of a chunk that holds one thing.
const LARGE: usize = CLASSES;
/// No free cell.
const NONE: u32 = u32::MAX;

/// Memory for so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    chunk: u32,
    at: u32,
    len: u32,
}

impl Cell {
    /// Bytes that were asked for.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether they are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// All cells of one owner.
#[derive(Debug)]
pub struct Cells {
    /// Chunks by number.
    chunks: Vec<Option<Chunk>>,
    /// Numbers of no chunk.
    vacant: Vec<u32>,
    /// By class, chunks with a free cell; each is in it once.
    open: [Vec<u32>; CLASSES],
    /// Memory of chunks that are not used.
    spare: Vec<Memory>,
}

#[derive(Debug)]
struct Chunk {
    memory: Memory,
    class: usize,
    /// Cells that are used.
    used: u32,
    /// Where cells begin that were never used.
    fresh: u32,
    /// The free cell that was freed last.
    free: u32,
}

#[derive(Debug)]
enum Memory {
    Mapped(MmapMut),
    /// The kernel has no mappings left (`vm.max_map_count`).
    Heap(Box<[u8]>),
}

impl Memory {
    fn new(bytes: usize) -> Memory {
        MmapMut::map_anon(bytes).map_or_else(|_| Memory::Heap(vec![0; bytes].into()), Memory::Mapped)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Mapped(map) => map,
            Memory::Heap(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Mapped(map) => map,
            Memory::Heap(bytes) => bytes,
        }
    }
}

impl Default for Cells {
    fn default() -> Cells {
        Cells { chunks: Vec::new(), vacant: Vec::new(), open: [const { Vec::new() }; CLASSES], spare: Vec::new() }
    }
}

impl Cells {
    /// A cell for `len` bytes. Whatever was there before is in it. At most 4 GiB.
    pub fn reserve(&mut self, len: usize) -> Cell {
        let class = class_of(len);
        if class >= CLASSES {
            let number = self.open_chunk(LARGE, Memory::new(len));
            self.chunk_mut(number).used = 1;
            return Cell { chunk: number, at: 0, len: u32::try_from(len).expect("a message has less than 4 GiB") };
        }
        let number = match self.open[class].last() {
            Some(number) => *number,
            None => {
                let memory = self.spare.pop().unwrap_or_else(|| Memory::new(CHUNK_BYTES));
                let number = self.open_chunk(class, memory);
                self.open[class].push(number);
                number
            }
        };
        let chunk = self.chunk_mut(number);
        let at = chunk.take();
        if chunk.is_full() {
            self.open[class].pop();
        }
        Cell { chunk: number, at, len: len as u32 }
    }

    /// What is in a cell.
    pub fn bytes(&self, cell: Cell) -> &[u8] {
        let chunk = self.chunks[cell.chunk as usize].as_ref().expect("a cell in use has a chunk");
        &chunk.memory.bytes()[cell.at as usize..][..cell.len as usize]
    }

    /// The same, to write.
    pub fn bytes_mut(&mut self, cell: Cell) -> &mut [u8] {
        &mut self.chunk_mut(cell.chunk).memory.bytes_mut()[cell.at as usize..][..cell.len as usize]
    }

    /// Nothing in a cell is needed any more.
    pub fn release(&mut self, cell: Cell) {
        let chunk = self.chunk_mut(cell.chunk);
        let class = chunk.class;
        chunk.used -= 1;
        if class != LARGE {
            let was_full = chunk.is_full();
            chunk.put(cell.at);
            if was_full {
                self.open[class].push(cell.chunk);
            }
        }
        if self.chunk_mut(cell.chunk).used == 0 {
            self.close_chunk(cell.chunk);
        }
    }

    /// Bytes that the cells take, used or not.
    pub fn mapped_bytes(&self) -> u64 {
        let used = self.chunks.iter().flatten().map(|chunk| &chunk.memory);
        used.chain(&self.spare).map(|memory| memory.bytes().len() as u64).sum()
    }

    fn chunk_mut(&mut self, number: u32) -> &mut Chunk {
        self.chunks[number as usize].as_mut().expect("a cell in use has a chunk")
    }

    fn open_chunk(&mut self, class: usize, memory: Memory) -> u32 {
        let chunk = Chunk { memory, class, used: 0, fresh: 0, free: NONE };
        if let Some(number) = self.vacant.pop() {
            self.chunks[number as usize] = Some(chunk);
            return number;
        }
        self.chunks.push(Some(chunk));
        (self.chunks.len() - 1) as u32
    }

    /// A chunk without a used cell is for any class, or goes.
    fn close_chunk(&mut self, number: u32) {
        let chunk = self.chunks[number as usize].take().expect("it was just used");
        self.vacant.push(number);
        if chunk.class == LARGE {
            return;
        }
        let open = &mut self.open[chunk.class];
        let index = open.iter().rposition(|open| *open == number).expect("a chunk with a free cell is open");
        open.swap_remove(index);
        if self.spare.len() < SPARE_MAX {
            self.spare.push(chunk.memory);
        }
    }
}

impl Chunk {
    /// A free cell.
    fn take(&mut self) -> u32 {
        self.used += 1;
        if self.free != NONE {
            let at = self.free;
            let next = self.memory.bytes()[at as usize..].first_chunk().expect("a cell has 64 bytes");
            self.free = u32::from_le_bytes(*next);
            return at;
        }
        let at = self.fresh;
        self.fresh += class_bytes(self.class) as u32;
        at
    }

    fn put(&mut self, at: u32) {
        let next = self.free.to_le_bytes();
        self.memory.bytes_mut()[at as usize..][..next.len()].copy_from_slice(&next);
        self.free = at;
    }

    fn is_full(&self) -> bool {
        self.free == NONE && self.fresh as usize + class_bytes(self.class) > CHUNK_BYTES
    }
}

const fn class_bytes(class: usize) -> usize {
    (8 + class % 8) << (3 + class / 8)
}

/// The smallest class that holds `len` bytes; [`CLASSES`] or more where none does.
const fn class_of(len: usize) -> usize {
    if len <= 64 {
        return 0;
    }
    let last = len - 1;
    let doublings = last.ilog2() - 6;
    8 * doublings as usize + (last >> (3 + doublings)) - 7
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A class is the smallest that holds its sizes, and the last one has 64 KiB.
    #[test]
    fn classes_fit() {
        for len in 0..=64 << 10 {
            let class = class_of(len);
            assert!(class_bytes(class) >= len && (class == 0 || class_bytes(class - 1) < len), "{len} in {class}");
        }
        assert_eq!((class_bytes(CLASSES - 1), class_of((64 << 10) + 1)), (64 << 10, CLASSES));
    }

    /// A queue that was emptied leaves nothing but the chunks that are kept for the next one.
    #[test]
    fn empties() {
        let mut cells = Cells::default();
        let queue: Vec<Cell> = (0..20_000).map(|_| cells.reserve(1000)).collect();
        assert!(cells.mapped_bytes() >= 20_000_000);
        queue.into_iter().for_each(|cell| cells.release(cell));
        assert_eq!(cells.mapped_bytes(), (SPARE_MAX * CHUNK_BYTES) as u64);
        let large = cells.reserve(5 << 20);
        assert_eq!(cells.mapped_bytes(), (SPARE_MAX * CHUNK_BYTES + (5 << 20)) as u64);
        cells.release(large);
        assert_eq!(cells.mapped_bytes(), (SPARE_MAX * CHUNK_BYTES) as u64);
    }

    proptest! {
        /// What is in a cell stays there until it is released, whatever becomes of others; and cells are used again.
        #[test]
        fn cells_keep_what_they_hold(steps in prop::collection::vec((any::<bool>(), 0_usize..3000, any::<u8>()), 1..400)) {
            let mut cells = Cells::default();
            let mut held: Vec<(Cell, u8)> = Vec::new();
            for (releases, number, byte) in steps {
                if releases && !held.is_empty() {
                    let (cell, byte) = held.swap_remove(number % held.len());
                    prop_assert!(cells.bytes(cell).iter().all(|is| *is == byte));
                    cells.release(cell);
                } else {
                    // Some large ones.
                    let cell = cells.reserve(if number > 2990 { number * 50 } else { number });
                    cells.bytes_mut(cell).fill(byte);
                    held.push((cell, byte));
                }
            }
            for (cell, byte) in &held {
                prop_assert!(cells.bytes(*cell).iter().all(|is| is == byte));
            }
            held.into_iter().for_each(|(cell, _)| cells.release(cell));
            prop_assert!(cells.chunks.iter().all(Option::is_none) && cells.open.iter().all(Vec::is_empty));
        }
    }
}
