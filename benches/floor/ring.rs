//! One io_uring as `floor` uses it: the only file here with `unsafe`, and the whole argument for it.
//!
//! ```text
//!   multishot accept ──▶ direct slot ──▶ multishot receive ──▶ provided buffers ──▶ Done::Received
//!   send_batch: SEND with MSG_DONTWAIT, a batch in one io_uring_enter(2); returns when every one has completed
//! ```
//!
//! The ring lives as long as the process: it is leaked on purpose, which makes its queues `'static` without a
//! self-reference, and which means that no memory given to the kernel at set-up is ever freed.

use std::alloc::Layout;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fixed};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};

/// An index in the table of direct descriptors.
pub type Slot = u32;

/// What the kernel answered.
pub enum Done {
    /// A connection is in this slot.
    Accepted(Slot),
    /// Bytes arrived; the receive goes on where `armed`.
    Received { slot: Slot, buffer: Buffer, armed: bool },
    /// The receive ended for want of buffers: arm it again.
    Starved(Slot),
    /// The peer is gone, or the connection broke.
    Ended(Slot),
    /// The socket takes bytes again.
    Writable(Slot),
}

/// A provided buffer that the kernel filled. Only [`Ring::recycle`] ends it, so it never has two owners.
pub struct Buffer {
    id: u16,
    len: u32,
}

/// Which op an answer belongs to; the upper half of `user_data`, the lower half is a slot or an index in a batch.
const ACCEPT: u64 = 1 << 32;
const RECV: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const POLL: u64 = 4 << 32;
const OTHER: u64 = 5 << 32;

const SQ_ENTRIES: u32 = 1024;
const CQ_ENTRIES: u32 = 16 * 1024;
const BUFFERS: u16 = 2048;
const BUFFER_BYTES: usize = 4096;
const BUFFER_GROUP: u16 = 0;

/// The ring, its direct descriptors and its receive buffers.
pub struct Ring {
    submitter: Submitter<'static>,
    sq: SubmissionQueue<'static>,
    cq: CompletionQueue<'static>,
    buffers: BufferRing,
    listener: OwnedFd,
    /// What completed while a batch of sends was awaited.
    early: VecDeque<Done>,
    /// An accept ended without a successor; it is armed again at the next [`Ring::reap`].
    accept_again: bool,
}

impl Ring {
    /// Sets up the ring on the calling thread, which alone may use it, and starts accepting.
    ///
    /// # Errors
    /// What io_uring_setup(2) or io_uring_register(2) answered.
    pub fn open(listener: OwnedFd, slots: u32) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(CQ_ENTRIES)
            .build(SQ_ENTRIES)?;
        let (mut submitter, sq, cq) = Box::leak(Box::new(ring)).split();
        submitter.register_ring_fd()?;
        submitter.register_files_sparse(slots)?;
        let buffers = BufferRing::register(&submitter)?;
        Ok(Ring { submitter, sq, cq, buffers, listener, early: VecDeque::new(), accept_again: true })
    }

    /// Arms a multishot receive.
    pub fn receive(&mut self, slot: Slot) {
        self.push(opcode::RecvMulti::new(Fixed(slot), BUFFER_GROUP).build().user_data(RECV | u64::from(slot)));
    }

    /// Asks to be told once when the socket takes bytes again.
    pub fn poll_writable(&mut self, slot: Slot) {
        let events = libc::POLLOUT as u32;
        self.push(opcode::PollAdd::new(Fixed(slot), events).build().user_data(POLL | u64::from(slot)));
    }

    /// Ends the connection: its receive then completes with [`Done::Ended`].
    pub fn shutdown(&mut self, slot: Slot) {
        self.push(opcode::Shutdown::new(Fixed(slot), libc::SHUT_RDWR).build().user_data(OTHER));
    }

    /// Empties the slot.
    pub fn close(&mut self, slot: Slot) {
        self.push(opcode::Close::new(Fixed(slot)).build().user_data(OTHER));
    }

    /// Sends to many sockets without waiting, and returns when each send has its result: bytes, or a negated errno.
    pub fn send_batch<'a, I>(&mut self, sends: I, results: &mut Vec<i32>)
    where
        I: Iterator<Item = (Slot, &'a [u8])>,
    {
        results.clear();
        let mut open = 0;
        for (slot, bytes) in sends {
            if self.sq.is_full() {
                open -= self.finish_sends(results, open);
            }
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let send = opcode::Send::new(Fixed(slot), bytes.as_ptr(), bytes.len() as u32).flags(flags);
            let entry = send.build().user_data(SEND | results.len() as u64);
            // SAFETY: The kernel reads `bytes` until the send completes. `bytes` lives for 'a, which outlives this
            // call, and this call does not return before `finish_sends` has seen the completion of every send pushed.
            // A panic in between ends the process: `floor` has one thread and never catches one.
            unsafe { self.sq.push(&entry) }.expect("the queue has room");
            results.push(0);
            open += 1;
        }
        self.finish_sends(results, open);
    }

    /// Submits, and reaps until `open` sends have completed; returns `open`.
    fn finish_sends(&mut self, results: &mut [i32], open: usize) -> usize {
        let mut left = open;
        self.sq.sync();
        self.enter(0);
        self.sq.sync();
        while left > 0 {
            self.cq.sync();
            if self.cq.is_empty() {
                self.enter(1);
                continue;
            }
            while let Some(entry) = self.cq.next() {
                if entry.user_data() & !u64::from(u32::MAX) == SEND {
                    results[entry.user_data() as u32 as usize] = entry.result();
                    left -= 1;
                } else if let Some(done) = self.translate(&entry) {
                    self.early.push_back(done);
                }
            }
        }
        open
    }

    /// Waits for at least one completion and appends all there are to `out`.
    pub fn reap(&mut self, out: &mut Vec<Done>) {
        if std::mem::take(&mut self.accept_again) {
            let fd = io_uring::types::Fd(self.listener.as_raw_fd());
            self.push(opcode::AcceptMulti::new(fd).allocate_file_index(true).build().user_data(ACCEPT));
        }
        self.sq.sync();
        self.enter(usize::from(self.early.is_empty()));
        self.sq.sync();
        out.extend(self.early.drain(..));
        self.cq.sync();
        while let Some(entry) = self.cq.next() {
            out.extend(self.translate(&entry));
        }
    }

    /// The bytes that the kernel wrote.
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        self.buffers.bytes(buffer)
    }

    /// Gives a buffer back to the kernel.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.buffers.give(buffer.id);
    }

    fn translate(&mut self, entry: &cqueue::Entry) -> Option<Done> {
        let slot = entry.user_data() as u32;
        let result = entry.result();
        let armed = cqueue::more(entry.flags());
        match entry.user_data() & !u64::from(u32::MAX) {
            ACCEPT => {
                self.accept_again |= !armed;
                u32::try_from(result).ok().map(Done::Accepted)
            }
            RECV => Some(match cqueue::buffer_select(entry.flags()) {
                Some(id) if result > 0 => Done::Received { slot, buffer: Buffer { id, len: result as u32 }, armed },
                given => {
                    if let Some(id) = given {
                        self.buffers.give(id);
                    }
                    if result == -libc::ENOBUFS { Done::Starved(slot) } else { Done::Ended(slot) }
                }
            }),
            POLL => Some(Done::Writable(slot)),
            _ => None,
        }
    }

    /// Queues an op that borrows nothing.
    fn push(&mut self, entry: squeue::Entry) {
        while self.sq.is_full() {
            self.sq.sync();
            self.enter(0);
            self.sq.sync();
        }
        // SAFETY: Every op that comes here names descriptors and buffer groups by number and no memory.
        unsafe { self.sq.push(&entry) }.expect("the queue has room");
    }

    /// io_uring_enter(2), waiting for `want` completions.
    fn enter(&mut self, want: usize) {
        match self.submitter.submit_and_wait(want) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(error) => panic!("io_uring_enter: {error}"),
        }
    }
}

/// Memory that the kernel fills: one allocation for the ring of entries, one for the buffers, both never freed.
struct BufferRing {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

impl BufferRing {
    fn register(submitter: &Submitter<'_>) -> io::Result<BufferRing> {
        let layout = |bytes| Layout::from_size_align(bytes, 4096).expect("a small multiple of the page size");
        // SAFETY: Both sizes are constants above zero.
        let (entries, memory) = unsafe {
            (
                std::alloc::alloc_zeroed(layout(usize::from(BUFFERS) * size_of::<BufRingEntry>())),
                std::alloc::alloc_zeroed(layout(usize::from(BUFFERS) * BUFFER_BYTES)),
            )
        };
        if entries.is_null() || memory.is_null() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // SAFETY: The entries are page-aligned, zeroed, as many as said, and never freed.
        unsafe { submitter.register_buf_ring_with_flags(entries as u64, BUFFERS, BUFFER_GROUP, 0)? };
        let mut ring = BufferRing { entries: entries.cast(), memory, tail: 0 };
        for id in 0..BUFFERS {
            ring.give(id);
        }
        Ok(ring)
    }

    fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let start = usize::from(buffer.id) * BUFFER_BYTES;
        let len = (buffer.len as usize).min(BUFFER_BYTES);
        // SAFETY: The id is below BUFFERS, since the kernel only hands out what `give` gave, so the range is inside the
        // allocation. The kernel does not write here before the buffer is given back, for which it must be moved out
        // of the reference that this slice borrows.
        unsafe { std::slice::from_raw_parts(self.memory.add(start), len) }
    }

    /// Puts a buffer at the tail of the ring.
    fn give(&mut self, id: u16) {
        assert!(id < BUFFERS, "buffer {id} is not one of ours");
        let at = usize::from(self.tail % BUFFERS);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `at` is below BUFFERS, so the entry is inside the allocation, and it is free: at most BUFFERS buffers
        // exist and each is in the ring once. The fields are written one by one because the first entry's last field is
        // the tail. The tail is a u16 inside the first entry, aligned, and shared with the kernel, hence atomic.
        unsafe {
            let entry = &mut *self.entries.add(at);
            entry.set_addr(self.memory.add(usize::from(id) * BUFFER_BYTES) as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(self.entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}
