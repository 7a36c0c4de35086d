//! The kernel as a trait: what a shard asks of it, and what it hears back.
//!
//! Two implementations exist: `uring::UringDriver`, the real one, and the simulator's. A contract suite runs the same
//! cases against both, so that the fake cannot drift from the kernel.

use std::net::SocketAddr;

use crate::time::Instant;

/// An index in the shard's table of direct descriptors, and so of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Which use of a slot: it grows by one each time that the slot is given to a new connection.
pub type Generation = u32;

/// An index in the list of listening sockets that the driver was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// An error number of the kernel (`errno(3)`), positive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

/// What a shard asks of the kernel. Every op owns what it names; none borrows memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Accept one connection into an empty `slot`. Answered by [`Completion::Accepted`].
    Accept {
        /// Where to accept.
        listener: ListenerId,
        /// Where to put it.
        slot: Slot,
        /// Which use of the slot that is.
        generation: Generation,
    },
    /// End the accept armed for this slot, if any. The accept's own completion tells that it has ended (with
    /// `ECANCELED`, or with a connection that came first); the cancel itself is not answered.
    CancelAccept {
        /// The slot that the accept was for.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
    },
    /// Receive into a buffer of the shard's pool: once, or until further notice. Answered by [`Completion::Received`].
    Recv {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// Go on until cancelled, where the kernel can.
        multishot: bool,
    },
    /// End the receive armed on this slot, if any. The receive's own last completion tells that it has ended (it has
    /// `armed: false`); the cancel itself is not answered.
    CancelRecv {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
    },
    /// Tell once when the socket takes bytes again. Answered by [`Completion::Writable`].
    PollOut {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
    },
    /// End the poll armed on this slot, if any; the poll's own completion (with `ECANCELED`) tells that it has ended.
    CancelPollOut {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
    },
    /// Shut down the sending half (`shutdown(2)`, SHUT_WR). Not answered.
    Shutdown {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
    },
    /// Close the slot. Only after every armed op of it has ended. Answered by [`Completion::Closed`].
    Close {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
    },
    /// Give a copy of the socket in `slot` to slot `to_slot` of shard `to` (IORING_OP_MSG_RING, IORING_MSG_SEND_FD).
    /// Answered by [`Completion::FdSent`] here; nothing is told over there, the parcel that follows does that.
    SendFd {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// The other shard.
        to: u16,
        /// An empty slot there.
        to_slot: Slot,
    },
}

/// A provided receive buffer that the kernel filled and the shard now holds; give it back with [`Driver::recycle`].
#[derive(Debug, PartialEq, Eq)]
pub struct RecvBuffer {
    /// Buffer id in the provided-buffer ring.
    pub id: u16,
    /// Where the bytes begin in it (other than 0 only with incremental buffers).
    pub start: u32,
    /// How many bytes the kernel wrote.
    pub len: u32,
    /// Whether the kernel is done with this buffer, so that recycling returns it (false: an incremental buffer of which
    /// more will be used).
    pub done: bool,
}

/// What the kernel answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Completion {
    /// A connection is in `slot`, or accepting failed and the slot is empty.
    Accepted {
        /// Where it was accepted.
        listener: ListenerId,
        /// The slot that the accept was for.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// The peer's address.
        result: Result<SocketAddr, Errno>,
    },
    /// Bytes arrived (`Ok(Some)`), the peer sent FIN (`Ok(None)`), or the receive ended with an error (ECANCELED,
    /// ENOBUFS, ECONNRESET...). `armed` tells whether the receive goes on.
    Received {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// Bytes, FIN, or the error.
        result: Result<Option<RecvBuffer>, Errno>,
        /// Whether the receive goes on.
        armed: bool,
    },
    /// The socket takes bytes again, or the poll ended with an error (ECANCELED after [`Op::CancelPollOut`]).
    Writable {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// Whether it does.
        result: Result<(), Errno>,
    },
    /// The slot is empty.
    Closed {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
    },
    /// The socket is in the other shard's table too, or it is not (ENFILE: that table is full).
    FdSent {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// Whether it is there.
        result: Result<(), Errno>,
    },
}

/// What one send came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// That many bytes, at least one, are the kernel's now; fewer than offered is possible.
    Sent(u32),
    /// The socket takes none now (EAGAIN): wait with [`Op::PollOut`].
    WouldBlock,
    /// The connection is broken (EPIPE, ECONNRESET...).
    Broken(Errno),
}

/// How long [`Driver::reap`] may wait for a first completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// Until then ([`Instant::NEVER`]: until something happens). A doorbell ends the wait too.
    Until(Instant),
}

/// One shard's kernel.
pub trait Driver {
    /// Monotonic time now.
    fn now(&mut self) -> Instant;

    /// Queues an op. It reaches the kernel at the next [`Driver::reap`] or [`Driver::send_batch`], in order.
    fn push(&mut self, op: Op);

    /// Sends to many sockets at once, each without waiting (MSG_DONTWAIT | MSG_NOSIGNAL), and returns when every send
    /// has its result; `results` is cleared and then holds one for each, in order.
    fn send_batch<'a, I>(&mut self, sends: I, results: &mut Vec<SendResult>)
    where
        I: IntoIterator<Item = (Slot, &'a [u8])>;

    /// Submits what is queued and appends completions to `out`.
    fn reap(&mut self, wait: Wait, out: &mut Vec<Completion>);

    /// Whether a [`Driver::reap`] with [`Wait::Poll`] would find something, seen without a system call: a completion in
    /// the queue, or the kernel's flag that task work waits (IORING_SQ_TASKRUN).
    fn ready(&mut self) -> bool;

    /// The bytes in a receive buffer.
    fn bytes(&self, buffer: &RecvBuffer) -> &[u8];

    /// Gives a receive buffer back to the kernel.
    fn recycle(&mut self, buffer: RecvBuffer);
}
