//! Provided receive buffers: a ring of them shared with the kernel (io_uring_register_buf_ring(3)).

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::probe::diagnose;
use super::ring::Ring;
use crate::driver::RecvBuffer;
use crate::error::KernelError;

/// The only buffer group of a shard's ring.
pub(super) const GROUP: u16 = 0;

/// A power of two of equal buffers, each at any time either the kernel's (in the ring) or the shard's (held).
pub(super) struct BufferRing {
    /// The ring: `count` entries of 16 bytes; the kernel reads from its own head to the tail that we publish, a u16
    /// that lies in the otherwise unused last bytes of entry 0.
    entries: Mapping,
    /// The buffers' bytes, in order of their ids.
    memory: Mapping,
    count: u16,
    buffer_bytes: u32,
    /// Where the next recycled buffer goes. Runs ahead of the published tail until [`BufferRing::publish`].
    tail: u16,
    published: u16,
    /// One bit for each buffer: the shard has it, the kernel does not.
    held: Box<[u64]>,
}

impl BufferRing {
    /// Maps `count` buffers of `buffer_bytes` each, gives all to the kernel and registers the ring.
    pub(super) fn register(ring: &Ring, count: u16, buffer_bytes: u32) -> Result<BufferRing, KernelError> {
        assert!(count.is_power_of_two());
        let map = |bytes| Mapping::anonymous(bytes).map_err(|error| diagnose("mmap of receive buffers", &error));
        let mut buffers = BufferRing {
            entries: map(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: map(usize::from(count) * buffer_bytes as usize)?,
            count,
            buffer_bytes,
            tail: 0,
            published: 0,
            held: vec![0; usize::from(count).div_ceil(64)].into(),
        };
        for id in 0..count {
            buffers.append(id);
        }
        buffers.publish();
        let address = buffers.entries.start.as_ptr() as u64;
        // SAFETY: the mapping is page-aligned, holds `count` entries, and outlives the registration: the owner drops
        // this struct only after `unregister` or with the ring gone.
        let registered = unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0) };
        registered.map_err(|error| diagnose("IORING_REGISTER_PBUF_RING", &error))?;
        Ok(buffers)
    }

    /// Takes the buffers back from the kernel. No receive writes into them after that.
    pub(super) fn unregister(&self, ring: &Ring) -> io::Result<()> {
        ring.submitter().unregister_buf_ring(GROUP)
    }

    /// The most bytes that one receive can bring.
    pub(super) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// The kernel has filled `len` bytes of a buffer: the shard holds it now.
    pub(super) fn hold(&mut self, id: u16, len: u32) -> RecvBuffer {
        assert!(id < self.count && len <= self.buffer_bytes && !self.is_held(id), "buffer {id} was not the kernel's");
        self.held[usize::from(id / 64)] |= 1 << (id % 64);
        RecvBuffer { id, start: 0, len, done: true }
    }

    /// The bytes of a held buffer.
    pub(super) fn bytes(&self, buffer: &RecvBuffer) -> &[u8] {
        assert!(self.is_held(buffer.id), "buffer {} is not held", buffer.id);
        assert!(u64::from(buffer.start) + u64::from(buffer.len) <= u64::from(self.buffer_bytes));
        let start = usize::from(buffer.id) * self.buffer_bytes as usize + buffer.start as usize;
        // SAFETY: in bounds of the mapping by the assertions. The kernel does not write to a held buffer, and it can be
        // given back only through `&mut self`, after this borrow.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr().add(start), buffer.len as usize) }
    }

    /// Gives a held buffer back; the kernel sees it after the next [`BufferRing::publish`].
    pub(super) fn recycle(&mut self, id: u16) {
        assert!(self.is_held(id), "buffer {id} is not held");
        self.held[usize::from(id / 64)] &= !(1 << (id % 64));
        self.append(id);
    }

    /// Shows the kernel what was recycled since the last time.
    pub(super) fn publish(&mut self) {
        if self.tail == self.published {
            return;
        }
        self.published = self.tail;
        let first = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `first` is entry 0 of the mapping, zeroed or written by `append`. The tail in it is aligned, written
        // by this thread alone, and read by the kernel as an atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn append(&mut self, id: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        let address = self.memory.start.as_ptr() as u64 + u64::from(id) * u64::from(self.buffer_bytes);
        // SAFETY: `place` is in bounds. At most `count` buffers exist, so the kernel has consumed what lay here before
        // and does not look again until the tail has passed it. The fields written leave out the tail in entry 0.
        unsafe {
            let entry = self.entries.start.as_ptr().cast::<BufRingEntry>().add(place);
            (*entry).set_addr(address);
            (*entry).set_len(self.buffer_bytes);
            (*entry).set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn is_held(&self, id: u16) -> bool {
        self.held.get(usize::from(id / 64)).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }
}

/// Anonymous memory, zeroed, page-aligned, and populated at once, by the shard's own core: the kernel goes through all
/// buffers in turn, so they would all be touched soon, and a receive should not wait for a page.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn anonymous(bytes: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { start: NonNull::new(start.cast()).expect("mmap does not map address 0"), bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that was mapped, and this struct, its only owner, is going.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
