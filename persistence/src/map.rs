//! Mapped bytes, and all the `unsafe` of this crate.
//!
//! A [`Region`] is a mapping: ordinary memory, a file in tmpfs, or a file that is only read. One that holds a staging
//! ring is cut into two ends, which the shard and the keeper own:
//!
//! ```text
//!        released          written              released + capacity
//!   ────────┬─────────────────┬──────────────────────┬────────
//!           │  Reader's bytes │    Writer's bytes     │
//!   ────────┴─────────────────┴──────────────────────┴────────
//! ```
//!
//! Both positions only grow. The writer alone moves `written`, and the reader alone moves `released`; each gives its
//! bytes away while it lends none, which `&mut self` makes sure of. So no byte is ever in reach of both, and no lock is
//! needed.
//!
//! A page of a file mapping can go away: the file was cut, or its device failed. The kernel then sends SIGBUS to the
//! thread that touches it, which would end the process and all its connections. `guard` catches that for the mappings
//! made here: the page is replaced by one of zeros, the region is *damaged* for ever, and who used it looks at that
//! before it believes what it read.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use memmap2::{MmapOptions, MmapRaw};

use crate::layout::{HEADER_BYTES, Position};

/// A mapped range of bytes.
#[derive(Debug)]
pub struct Region {
    /// Dropped before the mapping goes away, so that the guard never names memory of somebody else.
    guard: Option<guard::Guard>,
    map: MmapRaw,
}

impl Region {
    /// Ordinary memory of `len` bytes, all zero.
    pub fn anonymous(len: usize) -> io::Result<Region> {
        let map = MmapOptions::new().len(len).map_anon()?;
        Ok(Region { guard: None, map: map.into() })
    }

    /// A file's first `len` bytes, for reading and writing. The file is made as long as that first, with every page
    /// of it there:
    /// where there is no room for it (ENOSPC), that is an error here and not a fault later.
    pub fn allocated(file: &File, len: usize) -> io::Result<Region> {
        // SAFETY: the call takes a descriptor that `file` keeps open, and two numbers.
        let errno = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len as libc::off_t) };
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let map = MmapOptions::new().len(len).map_raw(file)?;
        let guard = Some(guard::Guard::new(map.as_ptr() as usize, len, true)?);
        Ok(Region { guard, map })
    }

    /// A whole file, for reading. Nobody may write to it meanwhile: it is a segment or a staging file of a directory
    /// whose lock is held. `None` for an empty file, which cannot be mapped.
    pub fn read_only(file: &File) -> io::Result<Option<Region>> {
        let len = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if len == 0 {
            return Ok(None);
        }
        let map = MmapOptions::new().len(len).map_raw_read_only(file)?;
        bring(file);
        let guard = Some(guard::Guard::new(map.as_ptr() as usize, len, false)?);
        Ok(Some(Region { guard, map }))
    }

    /// The bytes. They are believed only if [`Region::damaged`] says no after they were read.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is this long and readable, and lives as long as `self`; pages that go away are replaced
        // by zeros. Nobody writes: a region whose bytes this crate writes is written through `&mut self`, or is taken
        // apart by `ends`, and a file that is mapped for reading only is nobody's to write meanwhile (`read_only`).
        unsafe { std::slice::from_raw_parts(self.map.as_ptr(), self.map.len()) }
    }

    /// The bytes of a region that can be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.guard.as_ref().is_none_or(guard::Guard::writable), "a region for reading");
        // SAFETY: as in `bytes`; the mapping is writable, as just asserted (ordinary memory has no guard), and `&mut
        // self` makes this the only slice of it.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr(), self.map.len()) }
    }

    /// Whether a page of it has gone away. It stays so.
    #[inline]
    pub fn damaged(&self) -> bool {
        self.guard.as_ref().is_some_and(guard::Guard::damaged)
    }

    /// Cuts a region that can be written into the two ends of a ring whose log begins at `start`. The first
    /// [`HEADER_BYTES`] stay as they are.
    pub fn ends(self, start: Position) -> (Writer, Reader) {
        assert!(self.guard.as_ref().is_none_or(guard::Guard::writable), "a region for reading");
        let capacity = (self.map.len() as u64).checked_sub(HEADER_BYTES).expect("a ring has a header");
        assert!(capacity > 0, "a ring of no bytes");
        let ring = Arc::new(Ring {
            region: self,
            capacity,
            written: CachePadded::new(AtomicU64::new(start.0)),
            released: CachePadded::new(AtomicU64::new(start.0)),
        });
        let lap = start.0 - start.0 % capacity;
        (Writer { ring: ring.clone(), written: start.0, released: start.0, lap }, Reader { ring, released: start.0 })
    }
}

/// Brings a file into memory. For a gibibyte read(2) takes 0.6 s where MADV_WILLNEED, and touching the pages then, takes
/// 0.9 to 1.2 s. What cannot be read is met again where it is needed.
fn bring(file: &File) {
    let mut buffer = vec![0; 128 << 10];
    let mut at = 0;
    while let Ok(len) = file.read_at(&mut buffer, at)
        && len > 0
    {
        at += len as u64;
    }
}

/// What the two ends share.
#[derive(Debug)]
struct Ring {
    region: Region,
    capacity: u64,
    written: CachePadded<AtomicU64>,
    released: CachePadded<AtomicU64>,
}

impl Ring {
    /// The address of `len` bytes at the offset `at` of the ring.
    #[inline]
    fn address(&self, at: u64, len: u64) -> *mut u8 {
        assert!(at <= self.capacity && len <= self.capacity - at, "outside of the ring");
        // SAFETY: header and ring make up the mapping, and `at` is within the ring, as just asserted.
        unsafe { self.region.map.as_mut_ptr().add((HEADER_BYTES + at) as usize) }
    }
}

/// The shard's end: what is not written, and what was released again.
#[derive(Debug)]
pub struct Writer {
    ring: Arc<Ring>,
    /// Its own copy of the ring's word.
    written: u64,
    /// What the reader had released when it was last looked at.
    released: u64,
    /// Where the lap of the ring began that holds `written`: spares a division for each record.
    lap: u64,
}

impl Writer {
    /// Bytes of the ring.
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.ring.capacity
    }

    /// Up to where this end's bytes reach now.
    pub fn limit(&self) -> Position {
        Position(self.ring.released.load(Ordering::Acquire) + self.ring.capacity)
    }

    /// Whether this end's bytes reach up to `to`. The reader's word is looked at only if it must be.
    #[inline]
    pub fn reaches(&mut self, to: Position) -> bool {
        if to.0 <= self.released + self.ring.capacity {
            return true;
        }
        self.released = self.ring.released.load(Ordering::Acquire);
        to.0 <= self.released + self.ring.capacity
    }

    /// Bytes from `position` to the end of the lap.
    #[inline]
    pub fn rest(&self, position: Position) -> u64 {
        self.ring.capacity - self.offset(position)
    }

    /// The `len` bytes at `position`, which lie within this end's bytes and in one piece.
    #[inline]
    pub fn claim(&mut self, position: Position, len: u64) -> &mut [u8] {
        assert!(position.0 >= self.written, "bytes that were given away");
        assert!(position.0 + len <= self.released + self.ring.capacity, "bytes that are not released");
        let address = self.ring.address(self.offset(position), len);
        // SAFETY: `address` has `len` bytes of the mapping behind it (`Ring::address`), which lives as long as the
        // ring. They are between `written` and `released + capacity`, as just asserted: the reader lends nothing there,
        // and its own reads of them happened before it released them (Acquire in `reaches`). `&mut self` makes this the
        // only slice of this end.
        unsafe { std::slice::from_raw_parts_mut(address, len as usize) }
    }

    /// Gives everything before `to` to the reader.
    #[inline]
    pub fn give(&mut self, to: Position) {
        assert!(to.0 >= self.written && to.0 <= self.released + self.ring.capacity, "bytes of somebody else");
        if to.0 - self.lap >= self.ring.capacity {
            self.lap += self.ring.capacity;
        }
        self.written = to.0;
        self.ring.written.store(to.0, Ordering::Release);
    }

    /// Whether a page of the ring has gone away.
    #[inline]
    pub fn damaged(&self) -> bool {
        self.ring.region.damaged()
    }

    #[inline]
    fn offset(&self, position: Position) -> u64 {
        let at = position.0 - self.lap;
        if at >= self.ring.capacity { at - self.ring.capacity } else { at }
    }
}

/// The keeper's end: what is written and not released.
#[derive(Debug)]
pub struct Reader {
    ring: Arc<Ring>,
    /// Its own copy of the ring's word.
    released: u64,
}

impl Reader {
    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        self.ring.capacity
    }

    /// What was released.
    pub fn released(&self) -> Position {
        Position(self.released)
    }

    /// Up to where this end's bytes reach now.
    pub fn limit(&self) -> Position {
        Position(self.ring.written.load(Ordering::Acquire))
    }

    /// The bytes from `from` to `to`, which lie within this end's bytes: in two pieces where the ring turns. They are
    /// believed only if [`Reader::damaged`] says no after they were read.
    pub fn bytes(&self, from: Position, to: Position) -> [&[u8]; 2] {
        assert!(self.released <= from.0 && from <= to && to <= self.limit(), "bytes of somebody else");
        let at = from.0 % self.ring.capacity;
        let len = to.0 - from.0;
        let first = len.min(self.ring.capacity - at);
        let piece = |at: u64, len: u64| {
            let address = self.ring.address(at, len);
            // SAFETY: `address` has `len` bytes of the mapping behind it (`Ring::address`), which lives as long as the
            // ring. They are between `released` and `written`, as just asserted: the writer wrote them before it gave
            // them away (Acquire in `limit`) and writes them again only when they are released, which takes `&mut
            // self`.
            unsafe { std::slice::from_raw_parts(address, len as usize) }
        };
        [piece(at, first), piece(0, len - first)]
    }

    /// Gives everything before `to` back to the writer.
    pub fn release(&mut self, to: Position) {
        assert!(self.released <= to.0 && to <= self.limit(), "bytes of somebody else");
        self.released = to.0;
        self.ring.released.store(to.0, Ordering::Release);
    }

    /// Whether a page of the ring has gone away.
    pub fn damaged(&self) -> bool {
        self.ring.region.damaged()
    }
}

mod guard {
    //! What happens when a page of a file mapping is gone.
    //!
    //! The handler runs on the thread that touched the page, and does only what a signal handler may: it reads
    //! atomics, and calls mmap(2). A fault at any other address goes to whoever handled SIGBUS before.

    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

    /// Mappings that can be guarded at once: a few for each shard, and at a start the segments of its journal.
    const MAPPINGS_MAX: usize = 16 << 10;

    static MAPPINGS: [Mapping; MAPPINGS_MAX] = [const {
        Mapping {
            taken: AtomicBool::new(false),
            version: AtomicU32::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            writable: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
        }
    }; MAPPINGS_MAX];
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
    static BEFORE: OnceLock<Result<libc::sigaction, i32>> = OnceLock::new();

    /// One mapping in the table.
    struct Mapping {
        taken: AtomicBool,
        /// Odd while the words below change. A mapping in use does not change, so who meets another's change passes
        /// it by.
        version: AtomicU32,
        start: AtomicUsize,
        len: AtomicUsize,
        writable: AtomicBool,
        damaged: AtomicBool,
    }

    impl Mapping {
        /// The one writer of a mapping's words is who took it, so the version needs no more than this.
        fn set(&self, start: usize, len: usize, writable: bool) {
            self.version.fetch_add(1, Ordering::SeqCst);
            self.start.store(start, Ordering::SeqCst);
            self.len.store(len, Ordering::SeqCst);
            self.writable.store(writable, Ordering::SeqCst);
            self.damaged.store(false, Ordering::SeqCst);
            self.version.fetch_add(1, Ordering::SeqCst);
        }

        /// Whether `address` lies in it.
        fn holds(&self, address: usize) -> bool {
            let version = self.version.load(Ordering::SeqCst);
            let offset = address.wrapping_sub(self.start.load(Ordering::SeqCst));
            let within = offset < self.len.load(Ordering::SeqCst);
            within && version.is_multiple_of(2) && version == self.version.load(Ordering::SeqCst)
        }
    }

    /// A mapping's place in the table. It must go before the mapping does.
    #[derive(Debug)]
    pub(super) struct Guard {
        index: usize,
    }

    impl Guard {
        /// Guards the mapping at `start`. The first one installs the handler.
        pub(super) fn new(start: usize, len: usize, writable: bool) -> io::Result<Guard> {
            if let Err(errno) = BEFORE.get_or_init(install) {
                return Err(io::Error::from_raw_os_error(*errno));
            }
            let free = |mapping: &Mapping| {
                mapping.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
            };
            let index = MAPPINGS.iter().position(free).ok_or_else(|| {
                io::Error::new(io::ErrorKind::QuotaExceeded, format!("{MAPPINGS_MAX} files are mapped already"))
            })?;
            MAPPINGS[index].set(start, len, writable);
            Ok(Guard { index })
        }

        #[inline]
        pub(super) fn damaged(&self) -> bool {
            MAPPINGS[self.index].damaged.load(Ordering::Acquire)
        }

        pub(super) fn writable(&self) -> bool {
            MAPPINGS[self.index].writable.load(Ordering::Relaxed)
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            MAPPINGS[self.index].set(0, 0, false);
            MAPPINGS[self.index].taken.store(false, Ordering::Release);
        }
    }

    /// Installs the handler; what was there before, or the error number.
    fn install() -> Result<libc::sigaction, i32> {
        let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        // SAFETY: a call that reads a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        PAGE_BYTES.store(usize::try_from(page).map_err(|_| libc::EINVAL)?, Ordering::SeqCst);
        let mut before = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: all zeros is a valid `sigaction`: the default action, no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
        action.sa_sigaction = handler as usize;
        // On the stack for signals where a thread has one: std gives each of its threads one.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `action` is a whole `sigaction` whose handler has the signature that SA_SIGINFO asks for, and does
        // only what is allowed in one; the call fills `before` if it succeeds.
        unsafe {
            if libc::sigaction(libc::SIGBUS, &raw const action, before.as_mut_ptr()) != 0 {
                return Err(errno());
            }
            Ok(before.assume_init())
        }
    }

    extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO; for SIGBUS it has an address. The
        // address of `errno` is always this thread's.
        let (address, errno) = unsafe { ((*info).si_addr() as usize, libc::__errno_location()) };
        // SAFETY: as above.
        let kept = unsafe { *errno };
        let replaced = MAPPINGS.iter().find(|mapping| mapping.holds(address)).is_some_and(|mapping| {
            // Before the zeros, so that whoever sees them sees this too.
            mapping.damaged.store(true, Ordering::SeqCst);
            replace_page(address, mapping.writable.load(Ordering::SeqCst))
        });
        if !replaced {
            pass_on(signal, info, context);
        }
        // SAFETY: as above.
        unsafe { *errno = kept };
    }

    /// Puts a page of zeros where `address` lies.
    fn replace_page(address: usize, writable: bool) -> bool {
        let page_bytes = PAGE_BYTES.load(Ordering::SeqCst);
        let page = address & !(page_bytes - 1);
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page lies in a guarded mapping, which is ours and whole pages long, and whose user is this
        // thread, in the access that failed. To the program it is a write of zeros by the outside to a page whose bytes
        // were lost.
        let got = unsafe { libc::mmap(ptr::with_exposed_provenance_mut(page), page_bytes, protection, flags, -1, 0) };
        got != libc::MAP_FAILED
    }

    /// The fault is not ours: does what would have been done without us.
    fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let before = match BEFORE.get() {
            Some(Ok(before)) if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN => before,
            _ => {
                // SAFETY: back to the default action; the access is tried again when this returns, and ends the
                // process.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
                return;
            }
        };
        let handler = ptr::with_exposed_provenance::<()>(before.sa_sigaction);
        if before.sa_flags & libc::SA_SIGINFO != 0 {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: whoever installed this with SA_SIGINFO gave a function of this signature.
            let handler = unsafe { std::mem::transmute::<*const (), Handler>(handler) };
            handler(signal, info, context);
        } else {
            // SAFETY: whoever installed this without SA_SIGINFO gave a function of this signature.
            let handler = unsafe { std::mem::transmute::<*const (), extern "C" fn(libc::c_int)>(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests;
