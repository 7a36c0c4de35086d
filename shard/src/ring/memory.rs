//! Zeroed memory straight from the kernel, which costs nothing until it is touched.

use std::io;
use std::ptr::{self, NonNull};

use super::sync::Tracker;

/// A private anonymous mapping (`mmap(2)`): all zero, each page there from its first touch on, and on the memory node
/// of the core that touched it first.
#[derive(Debug)]
pub(super) struct Memory {
    base: NonNull<u8>,
    len: usize,
    tracker: Tracker,
}

// SAFETY: a mapping belongs to the process, not to a thread. `Memory` hands out addresses only; whoever dereferences
// one argues for that access.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `len` bytes, more than zero.
    pub(super) fn zeroed(len: usize) -> io::Result<Self> {
        assert!(len > 0, "a mapping of no bytes");
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // With transparent huge pages "always", one touched byte would cost 2 MiB. Advice may fail: it is only advice.
        // SAFETY: the range is the mapping just made; the advice does not change its contents.
        let _ = unsafe { libc::madvise(address, len, libc::MADV_NOHUGEPAGE) };
        let base = NonNull::new(address.cast::<u8>()).expect("mmap chooses no null address");
        Ok(Memory { base, len, tracker: Tracker::new(len) })
    }

    /// The address of `len` bytes at `at`, for reading until their owner writes them again. Both are multiples of 8.
    #[inline(always)]
    pub(super) fn reading(&self, at: usize, len: usize) -> *const u8 {
        self.tracker.reads(at, len);
        self.address(at, len)
    }

    /// The address of `len` bytes at `at`, for writing by the one thread that owns them now. Both are multiples of 8.
    #[inline(always)]
    pub(super) fn writing(&self, at: usize, len: usize) -> *mut u8 {
        self.tracker.writes(at, len);
        self.address(at, len)
    }

    #[inline(always)]
    fn address(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at.is_multiple_of(8) && at <= self.len && len <= self.len - at, "outside of the mapping");
        // SAFETY: `at` is within the mapping, as just asserted, and mappings are smaller than isize::MAX.
        unsafe { self.base.as_ptr().add(at) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `zeroed` with this length and is unmapped once, here; no slice of it outlives
        // the ring ends, each of which keeps this alive.
        let outcome = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(outcome, 0, "munmap of our own mapping");
    }
}
