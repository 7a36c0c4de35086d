//! The real kernel behind [`Driver`]: one io_uring for each shard.
//!
//! ```text
//!  Op ──▶ submit ──▶ ┌────────────────────┐ ──▶ complete ──▶ Completion
//!                    │ ring (two queues)  │       │  ▲
//!  send_batch ─────▶ │ sockets · buf_ring │ ◀─────┘  └─ inflight: the only memory lent to the kernel
//!                    └────────────────────┘
//! ```
//!
//! Every request carries a token of kind, slot and generation. The driver keeps no state of a connection: whether a
//! completion is stale is judged by who knows the generation of the slot.

mod buf_ring;
mod complete;
mod inflight;
mod probe;
mod ring;
mod sockets;
mod submit;
mod token;

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use io_uring::squeue;
use io_uring::types::{self, CancelBuilder, Timespec};

pub use self::probe::Features;
pub use self::sockets::Peer;

use self::buf_ring::BufferRing;
use self::complete::Intake;
use self::inflight::{Accepts, Armed};
use self::probe::diagnose;
use self::ring::{Enter, Ring};
use self::sockets::Sockets;
use self::token::{Kind, Token};
use crate::config::KernelConfig;
use crate::driver::{Completion, Driver, Errno, ListenerId, Op, RecvBuffer, SendResult, Slot, Wait};
use crate::error::KernelError;
use crate::profile::{Profile, Stage};
use crate::ring::Doorbell;
use crate::time::Instant;

/// One shard's io_uring. Made, used and dropped on the shard's own thread, which alone may submit to it.
pub struct UringDriver {
    ring: Ring,
    intake: Intake,
    features: Features,
    listeners: Vec<OwnedFd>,
    doorbell: Doorbell,
    peers: Vec<Peer>,
    origin: std::time::Instant,
    slots: u32,
    profile: Profile,
}

impl UringDriver {
    /// Sets up the ring of the calling thread.
    ///
    /// `features` is what [`Features::probe`] found. [`ListenerId`] n is `listeners[n]`. Ringing `doorbell` ends
    /// a wait. `origin` is the instant zero, the same for all shards of the process.
    pub fn new(
        config: &KernelConfig,
        features: &Features,
        listeners: Vec<OwnedFd>,
        doorbell: Doorbell,
        origin: std::time::Instant,
    ) -> Result<UringDriver, KernelError> {
        config.check()?;
        let ring = Ring::open(config.sq_entries, config.cq_entries, features)?;
        if features.direct_descriptors {
            let registered = ring.submitter().register_files_sparse(config.slots);
            registered.map_err(|error| probe::diagnose_table(config.slots, &error))?;
        }
        // Shutdowns are all that ever goes to a worker thread, and they do not wait.
        let workers = ring.submitter().register_iowq_max_workers(&mut [1, 1]);
        workers.map_err(|error| diagnose("IORING_REGISTER_IOWQ_MAX_WORKERS", &error))?;
        let intake = Intake {
            sockets: Sockets::new(features.direct_descriptors, config.slots),
            accepts: Accepts::new(config.accepts),
            buffers: BufferRing::register(&ring, config.receive_buffers, config.receive_buffer_bytes)?,
            kept: Vec::with_capacity(config.cq_entries as usize),
            results: Vec::new(),
            owed: 0,
            shutdowns: Vec::new(),
            held_closes: Vec::new(),
            due: Vec::new(),
            rung: false,
            doorbell_armed: false,
        };
        let (features, slots) = (features.clone(), config.slots);
        let profile = Profile::of_this_thread();
        Ok(UringDriver { ring, intake, features, listeners, doorbell, peers: Vec::new(), origin, slots, profile })
    }

    /// What the other shards need in order to give this one a socket with [`Op::SendFd`].
    pub fn peer(&self) -> Peer {
        Peer::new(self.ring.as_raw_fd(), &self.intake.sockets)
    }

    /// The [`UringDriver::peer`]s of all shards, by shard id, this one's among them. Call it before the first
    /// [`Op::SendFd`], and keep the other drivers until the last one is answered.
    pub fn set_peers(&mut self, peers: Vec<Peer>) {
        self.peers = peers;
    }

    /// Submits all that is queued, with `enter` as the way to do it. Completions that arrive are kept.
    ///
    /// Ends the process where the kernel takes nothing for a second: it has no memory for requests then, and a shard
    /// that can neither send nor receive is of no use.
    fn submit(&mut self, enter: Enter) {
        self.intake.buffers.publish();
        for attempt in 0.. {
            // From the second time on, also fetch what has overflowed: it may be what the kernel wants room for.
            let stage = self.profile.enter(if self.intake.owed > 0 { Stage::KernelSend } else { Stage::KernelPoll });
            let entered = self.ring.enter(if attempt == 0 { enter } else { Enter::Collect });
            drop(stage);
            match entered {
                Ok(()) if self.ring.is_empty() => return,
                Ok(()) | Err(Errno(libc::EINTR)) => {}
                // No memory for requests, or for completions that the queue has no room for.
                Err(Errno(libc::EAGAIN | libc::EBUSY)) => {}
                Err(errno) => die(&format!("io_uring_enter: {errno}")),
            }
            self.drain();
            if attempt >= PATIENCE {
                die("io_uring_enter takes no requests: the kernel is out of memory");
            }
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Queues an entry, making room first where there is none.
    ///
    /// # Safety
    ///
    /// As [`Ring::push`].
    unsafe fn queue(&mut self, entry: &squeue::Entry) {
        if self.ring.is_full() {
            self.submit(Enter::Submit);
            self.drain();
        }
        // SAFETY: the caller's promise.
        unsafe { self.ring.push(entry) };
    }

    fn drain(&mut self) {
        let intake = &mut self.intake;
        self.ring.drain(|entry| intake.take(entry));
    }

    /// Queues what completions have made necessary.
    fn queue_due(&mut self) {
        while let Some(op) = self.intake.due.pop() {
            self.push(op);
        }
        if !self.intake.doorbell_armed {
            self.intake.doorbell_armed = true;
            let poll = submit::poll_doorbell(types::Fd(self.doorbell.as_raw_fd()));
            // SAFETY: a poll names no memory.
            unsafe { self.queue(&poll) };
        }
    }

    fn push_accept(&mut self, accept: Armed) {
        let Armed { listener: ListenerId(listener), slot, generation } = accept;
        assert!(slot.0 < self.slots, "slot {} is outside of the table", slot.0);
        let Some((index, place)) = self.intake.accepts.arm(accept) else {
            let (listener, result) = (accept.listener, Err(Errno(libc::ENOBUFS)));
            self.intake.kept.push(Completion::Accepted { listener, slot, generation, result });
            return;
        };
        let socket = types::Fd(self.listeners[usize::from(listener)].as_raw_fd());
        let entry = submit::accept(socket, self.features.direct_descriptors.then_some(slot), index, place);
        // SAFETY: `inflight` keeps the place until the accept completes, and `Drop` until no accept is armed.
        unsafe { self.queue(&entry) };
    }

    /// The entry of an op that names no memory; `None` where there is nothing to ask of the kernel.
    fn entry(&mut self, op: Op) -> Option<squeue::Entry> {
        Some(match op {
            Op::Accept { .. } => unreachable!("an accept names memory"),
            Op::CancelAccept { slot, generation } => {
                submit::cancel(Token::index(Kind::Accept, self.intake.accepts.find(slot, generation)?))
            }
            Op::Recv { slot, generation, multishot } => {
                let socket = self.intake.sockets.at(slot);
                match multishot && self.features.multishot_receive {
                    true => submit::receive_multishot(socket, slot, generation),
                    false => submit::receive_once(socket, slot, generation, self.intake.buffers.buffer_bytes()),
                }
            }
            Op::CancelRecv { slot, generation } => submit::cancel(Token::of(Kind::Recv, slot, generation)),
            Op::PollOut { slot, generation } => submit::poll_out(self.intake.sockets.at(slot), slot, generation),
            Op::CancelPollOut { slot, generation } => submit::cancel(Token::of(Kind::PollOut, slot, generation)),
            Op::Shutdown { slot, generation } => {
                self.intake.shutdowns.push(slot);
                submit::shutdown(self.intake.sockets.at(slot), slot, generation)
            }
            Op::Close { slot, generation } if self.intake.shutdowns.contains(&slot) => {
                self.intake.held_closes.push((slot, generation));
                return None;
            }
            Op::Close { slot, generation } => {
                let entry = submit::close(self.intake.sockets.at(slot), slot, generation);
                self.intake.sockets.forget(slot);
                entry
            }
            Op::SendFd { slot, generation, to, to_slot } => {
                let peer = &self.peers[usize::from(to)];
                match (&self.intake.sockets, &peer.table) {
                    (Sockets::Plain(from), Some(table)) => {
                        let result = sockets::share(from, slot, table, to_slot);
                        self.intake.kept.push(Completion::FdSent { slot, generation, result });
                        return None;
                    }
                    _ => submit::send_fd(types::Fd(peer.ring), slot, generation, to_slot),
                }
            }
        })
    }

    /// Submits a piece of a batch and returns when each of its sends has its result.
    ///
    /// Deferred work runs in the same entry: what has arrived meanwhile is then there for the next reap, which saves
    /// that one's entry. Worth some 2 % of an echo among 20 to 500 sockets; no difference seen with one, nor at
    /// fan-out.
    fn complete_sends(&mut self) {
        self.submit(Enter::Collect);
        self.drain();
        while self.intake.owed > 0 {
            // The sends have all completed, but the queue had no room for some of their completions.
            if !self.ring.has_overflowed() {
                die("a send with MSG_DONTWAIT did not complete inside its submission");
            }
            self.submit(Enter::Collect);
            self.drain();
        }
    }
}

/// How many times in a row, a millisecond apart, the kernel may refuse to take requests.
const PATIENCE: u32 = 1000;

impl Driver for UringDriver {
    fn now(&mut self) -> Instant {
        Instant::ZERO.after(self.origin.elapsed())
    }

    fn push(&mut self, op: Op) {
        if let Op::Accept { listener, slot, generation } = op {
            return self.push_accept(Armed { listener, slot, generation });
        }
        if let Some(entry) = self.entry(op) {
            // SAFETY: these entries name no memory; a receive takes a buffer of the registered ring.
            unsafe { self.queue(&entry) };
        }
    }

    fn send_batch<'a, I>(&mut self, sends: I, results: &mut Vec<SendResult>)
    where
        I: IntoIterator<Item = (Slot, &'a [u8])>,
    {
        // Unwinding would end the borrows of bytes that queued entries name.
        let unwinding = AbortOnDrop;
        results.clear();
        std::mem::swap(results, &mut self.intake.results);
        for (slot, bytes) in sends {
            assert!(!bytes.is_empty(), "an empty send has no result");
            if self.ring.is_full() {
                self.complete_sends();
            }
            let entry = submit::send(self.intake.sockets.at(slot), bytes, self.intake.results.len() as u32);
            // SAFETY: the bytes are borrowed for longer than this call, and it does not return before the send has
            // completed.
            unsafe { self.ring.push(&entry) };
            self.intake.results.push(SendResult::WouldBlock);
            self.intake.owed += 1;
        }
        if self.intake.owed > 0 {
            self.complete_sends();
        }
        std::mem::swap(results, &mut self.intake.results);
        std::mem::forget(unwinding);
    }

    fn reap(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        self.drain();
        self.queue_due();
        match wait {
            Wait::Until(deadline) if self.intake.kept.is_empty() && !self.intake.rung => self.wait(deadline),
            _ if !self.ring.is_empty() || self.ring.wants_collecting() => self.submit(Enter::Collect),
            _ => self.intake.buffers.publish(),
        }
        self.drain();
        self.intake.rung = false;
        out.append(&mut self.intake.kept);
    }

    fn ready(&mut self) -> bool {
        !self.intake.kept.is_empty()
            || !self.intake.due.is_empty()
            || self.intake.rung
            || self.ring.has_completions()
            || self.ring.wants_collecting()
    }

    fn bytes(&self, buffer: &RecvBuffer) -> &[u8] {
        self.intake.buffers.bytes(buffer)
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        if buffer.done {
            self.intake.buffers.recycle(buffer.id);
        }
    }
}

impl UringDriver {
    /// Enters the kernel until a completion arrives or `deadline` has come. May return early: after a signal, or where
    /// the kernel was short of memory; the caller looks again anyway.
    fn wait(&mut self, deadline: Instant) {
        self.intake.buffers.publish();
        let timeout = match deadline {
            Instant::NEVER => None,
            deadline => Some(deadline.since(self.now())),
        };
        let waiting = self.profile.enter_wait();
        let entered = self.ring.enter(Enter::Wait(timeout));
        drop(waiting);
        match entered {
            Ok(()) | Err(Errno(libc::EINTR)) => {}
            Err(Errno(libc::EAGAIN | libc::EBUSY)) => {
                self.drain();
                self.submit(Enter::Collect);
            }
            Err(errno) => die(&format!("io_uring_enter: {errno}")),
        }
    }
}

impl Drop for UringDriver {
    /// Ends all requests, so that the kernel writes no more to what is freed now.
    fn drop(&mut self) {
        let cancelled = ring_is_quiet(self);
        if !cancelled {
            die("armed requests do not end: their memory cannot be given back");
        }
    }
}

/// Cancels everything, and says whether nothing is left that names memory.
fn ring_is_quiet(driver: &mut UringDriver) -> bool {
    for _ in 0..PATIENCE {
        driver.submit(Enter::Collect);
        driver.drain();
        if driver.intake.accepts.is_empty() {
            return driver.intake.buffers.unregister(&driver.ring).is_ok();
        }
        // The error (nothing found, or not yet ended) says no more than the look at the accepts above.
        let millisecond = Timespec::from(Duration::from_millis(1));
        let _ = driver.ring.submitter().register_sync_cancel(Some(millisecond), CancelBuilder::any());
    }
    false
}

/// Ends the process if it is dropped, which only unwinding does.
struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        die("a panic while sends were queued");
    }
}

/// Ends the process: an invariant that memory safety rests on is broken.
fn die(why: &str) -> ! {
    eprintln!("ringmain: {why}");
    std::process::abort();
}
