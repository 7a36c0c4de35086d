//! The contract between a shard's loop and what runs on it: events in, effects out, `now` an argument.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::driver::{Errno, Generation, ListenerId, Op, SendResult, Slot};
use crate::mesh::{Inbound, Outbound};
use crate::stall::Stalls;
use crate::time::Instant;
use crate::timer::Wheel;

/// Why a receive brings no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer sent FIN.
    Eof,
    /// The handler cancelled it.
    Cancelled,
    /// The kernel found no free receive buffer; arm it again.
    NoBuffers,
    /// The connection broke.
    Error(Errno),
}

/// Something that happened to a shard.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection was accepted into `slot`.
    Accepted {
        /// Where it was accepted.
        listener: ListenerId,
        /// The slot that the accept was for.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// An accept failed; the slot is empty again. `ECANCELED` after the listener was closed.
    AcceptFailed {
        /// Where it was to be accepted.
        listener: ListenerId,
        /// The slot that the accept was for.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// Why.
        errno: Errno,
    },
    /// Bytes arrived. `armed` tells whether the receive goes on by itself.
    Received {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// At least one byte, valid during this call.
        bytes: &'a [u8],
        /// Whether the receive goes on.
        armed: bool,
    },
    /// The receive has ended and must be armed again if more is wanted.
    ReceiveEnded {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// Why.
        end: ReceiveEnd,
    },
    /// The socket takes bytes again, or (`Err`) the wait for that ended.
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
    /// The answer to [`Op::SendFd`].
    FdSent {
        /// Which connection.
        slot: Slot,
        /// Which use of the slot.
        generation: Generation,
        /// Whether it is there.
        result: Result<(), Errno>,
    },
    /// A timer fired; the word is the one that it was set with.
    Timer(u64),
}

/// What a handler may do: ask the kernel, write to other shards, set timers.
pub struct Effects {
    /// Ops for the kernel, in order; the reactor pushes them after each event.
    pub ops: Vec<Op>,
    /// The rings toward the other shards.
    pub tx: Outbound,
    /// This shard's timers.
    pub timers: Wheel,
}

/// A range of bytes that the handler wants sent, named by value so that planning may change state and sending may not.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The socket.
    pub slot: Slot,
    /// Where the bytes are, in the handler's own terms.
    pub source: u32,
    /// First byte, and how many.
    pub start: u32,
    /// How many bytes; never 0.
    pub len: u32,
    /// Two words that the handler gets back with the result.
    pub tag: [u32; 2],
}

/// What runs on a shard.
pub trait Handler {
    /// Takes what tells of turns that ran long, before the first turn.
    fn watch(&mut self, _stalls: Arc<Stalls>) {}

    /// Handles one event.
    fn handle(&mut self, now: Instant, event: Event<'_>, fx: &mut Effects);

    /// Drains the rings from the other shards and runs jobs, within a budget. Returns whether work is left that needs
    /// no event to go on; the shard does not sleep then.
    fn work(&mut self, now: Instant, rx: &mut Inbound, fx: &mut Effects) -> bool;

    /// Plans one slice of sends: appends spans, at most one for a socket. An empty plan means that nothing waits for
    /// sending that could be sent now.
    fn plan(&mut self, now: Instant, plan: &mut Vec<Span>, fx: &mut Effects);

    /// The bytes of a span of the current plan.
    fn bytes(&self, span: &Span) -> &[u8];

    /// Takes the results of a plan, one for each span.
    fn sent(&mut self, now: Instant, plan: &[Span], results: &[SendResult], fx: &mut Effects);

    /// Whether the handler has come to its end (a graceful stop is complete): the reactor returns.
    fn finished(&self) -> bool;
}
