//! The ring itself: the two queues, held open, and the system call.

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, squeue};

use super::probe::{Features, diagnose};
use crate::driver::Errno;
use crate::error::KernelError;

/// An io_uring with its halves split once and for good: the crate remembers a registered ring descriptor in one
/// `Submitter` only, and splitting anew for each entry would reload the queue's shared words.
///
/// Neither `Send` nor `Sync` (`Submitter` holds raw pointers), which is what IORING_SETUP_SINGLE_ISSUER wants.
pub(super) struct Ring {
    halves: ManuallyDrop<Halves>,
    /// What the halves borrow; from `Box::leak`, freed after them.
    ring: NonNull<IoUring>,
}

struct Halves {
    submitter: Submitter<'static>,
    submission: SubmissionQueue<'static>,
    completion: CompletionQueue<'static>,
}

/// Whether an entry into the kernel waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enter {
    /// Submit only; deferred work does not run.
    Submit,
    /// Submit, and run deferred work.
    Collect,
    /// Submit, run deferred work, and wait for a completion; `None`: for ever.
    Wait(Option<Duration>),
}

impl Ring {
    /// Sets up a ring for the calling thread.
    pub(super) fn open(sq_entries: u32, cq_entries: u32, features: &Features) -> Result<Ring, KernelError> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(cq_entries).setup_submit_all().setup_single_issuer();
        builder.setup_coop_taskrun().setup_taskrun_flag();
        if features.defer_taskrun {
            builder.setup_defer_taskrun();
        }
        if features.no_sqarray {
            builder.setup_no_sqarray();
        }
        let ring: IoUring = builder.build(sq_entries).map_err(|error| diagnose("io_uring_setup", &error))?;
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: the box was leaked just now, so the pointer is valid and nothing else refers to it. The halves borrow
        // it for as long as they live; `Drop` ends them before it frees the box, and hands out neither.
        let (submitter, submission, completion) = unsafe { (*ring.as_ptr()).split() };
        let halves = ManuallyDrop::new(Halves { submitter, submission, completion });
        let mut ring = Ring { halves, ring };
        if features.registered_ring {
            let registered = ring.halves.submitter.register_ring_fd();
            registered.map_err(|error| diagnose("IORING_REGISTER_RING_FDS", &error))?;
        }
        Ok(ring)
    }

    /// What io_uring_register(2) is called through.
    pub(super) fn submitter(&self) -> &Submitter<'static> {
        &self.halves.submitter
    }

    /// The descriptor, by which other rings name this one.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        // SAFETY: `ring` is valid until `Drop`; the halves hold shared borrows or pointers into its mappings, never a
        // unique borrow of the struct that this shared one could invalidate.
        unsafe { self.ring.as_ref() }.as_raw_fd()
    }

    /// Whether no entry can be queued before the next entry into the kernel.
    pub(super) fn is_full(&self) -> bool {
        self.halves.submission.is_full()
    }

    /// Whether nothing is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.halves.submission.is_empty()
    }

    /// Queues an entry. Panics where the queue is full: ask [`Ring::is_full`] first.
    ///
    /// # Safety
    ///
    /// All memory that the entry names stays valid until the request has completed.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.halves.submission.push(entry) };
        assert!(pushed.is_ok(), "the submission queue is full");
    }

    /// Whether the kernel has something that only an entry with [`Enter::Collect`] brings: deferred work, or
    /// completions that did not fit into the queue. Looks at one shared word.
    pub(super) fn wants_collecting(&self) -> bool {
        self.halves.submission.taskrun() || self.halves.submission.cq_overflow()
    }

    /// Whether completions did not fit into the queue and wait in the kernel.
    pub(super) fn has_overflowed(&self) -> bool {
        self.halves.submission.cq_overflow()
    }

    /// Whether a completion is in the queue.
    pub(super) fn has_completions(&mut self) -> bool {
        self.halves.completion.sync();
        !self.halves.completion.is_empty()
    }

    /// Takes the completions that are in the queue, and makes room for as many.
    pub(super) fn drain(&mut self, mut take: impl FnMut(&cqueue::Entry)) {
        self.halves.completion.sync();
        for entry in &mut self.halves.completion {
            take(&entry);
        }
        self.halves.completion.sync();
    }

    /// One io_uring_enter(2) with all that is queued. A time-out is not an error.
    pub(super) fn enter(&mut self, enter: Enter) -> Result<(), Errno> {
        let Halves { submitter, submission, .. } = &mut *self.halves;
        submission.sync();
        let queued = submission.len() as u32;
        let collect = EnterFlags::GETEVENTS.bits();
        // SAFETY: the flags agree with the argument: none, or the structure that EXT_ARG announces, which (with the
        // time it points to) outlives the call. What the queued entries name is valid by the contract of `push`.
        let result = unsafe {
            match enter {
                Enter::Submit => submitter.enter::<libc::sigset_t>(queued, 0, 0, None),
                Enter::Collect => submitter.enter::<libc::sigset_t>(queued, 0, collect, None),
                Enter::Wait(None) => submitter.enter::<libc::sigset_t>(queued, 1, collect, None),
                Enter::Wait(Some(timeout)) => {
                    let timeout = Timespec::from(timeout);
                    let args = SubmitArgs::new().timespec(&timeout);
                    submitter.enter(queued, 1, collect | EnterFlags::EXT_ARG.bits(), Some(&args))
                }
            }
        };
        submission.sync();
        match result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)) {
            Ok(_) | Err(libc::ETIME) => Ok(()),
            Err(errno) => Err(Errno(errno)),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, and not used after.
        unsafe { ManuallyDrop::drop(&mut self.halves) };
        // SAFETY: the pointer is from `Box::leak` in `open`, and the halves, its only borrowers, are gone.
        drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
    }
}
