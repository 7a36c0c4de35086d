//! A driver without a kernel: completions are scripted, every send is taken whole. What it costs is its own and is
//! left out of the counts, so nothing here that runs within a turn may allocate or call into a library.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use shard::{Completion, Driver, Errno, Generation, Instant, ListenerId, Op, RecvBuffer, SendResult, Slot, Wait};

use crate::client::Answers;

/// Bytes that one receive brings at most, as in the default configuration.
const RECEIVE_BYTES: usize = 8192;
/// ECANCELED, errno(3).
const CANCELED: Errno = Errno(125);

/// One shard's scripted kernel.
pub struct ScriptedDriver {
    now: Instant,
    accepts: VecDeque<(ListenerId, Slot, Generation)>,
    sockets: Vec<Socket>,
    /// Sockets with input that no receive has brought yet.
    readable: Vec<Slot>,
    /// What the next reap tells.
    completions: Vec<Completion>,
    buffers: Vec<Box<[u8]>>,
    free: Vec<u16>,
    /// Sockets whose client has something to say to what it got.
    answering: Vec<Slot>,
}

/// One connection: the receive armed on it, and its client.
#[derive(Default)]
struct Socket {
    generation: Generation,
    armed: Armed,
    /// What the client sent and no receive has brought.
    input: Vec<u8>,
    /// Whether the client answers at all: who hears QoS 0 alone has no need to look.
    attentive: bool,
    answers: Answers,
}

/// The receive of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Armed {
    #[default]
    No,
    Once,
    Multishot,
}

impl ScriptedDriver {
    /// A driver for `slots` connections.
    pub fn new(slots: u32) -> ScriptedDriver {
        ScriptedDriver {
            now: Instant::ZERO,
            accepts: VecDeque::new(),
            sockets: std::iter::repeat_with(Socket::default).take(slots as usize).collect(),
            readable: Vec::new(),
            completions: Vec::new(),
            buffers: Vec::new(),
            free: Vec::new(),
            answering: Vec::new(),
        }
    }

    /// Sets the clock.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// A client connects: the slot that it is accepted into.
    ///
    /// # Panics
    /// No accept is armed.
    pub fn connect(&mut self, attentive: bool) -> Slot {
        let (listener, slot, generation) = self.accepts.pop_front().expect("an accept is armed");
        let socket = &mut self.sockets[slot.0 as usize];
        *socket = Socket { generation, attentive, ..Socket::default() };
        let result = Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)));
        self.completions.push(Completion::Accepted { listener, slot, generation, result });
        slot
    }

    /// Accepts that are armed.
    pub fn accepts(&self) -> usize {
        self.accepts.len()
    }

    /// A client sends.
    pub fn client_sends(&mut self, slot: Slot, bytes: &[u8]) {
        let socket = &mut self.sockets[slot.0 as usize];
        if socket.input.is_empty() {
            self.readable.push(slot);
        }
        socket.input.extend_from_slice(bytes);
    }

    /// All clients of this shard send what they have to say to what they got. Returns whether any had.
    pub fn clients_answer(&mut self) -> bool {
        let answering = std::mem::take(&mut self.answering);
        for slot in &answering {
            let mut answers = std::mem::take(&mut self.sockets[slot.0 as usize].answers);
            self.client_sends(*slot, answers.bytes());
            answers.clear();
            self.sockets[slot.0 as usize].answers = answers;
        }
        let some = !answering.is_empty();
        self.answering = answering;
        self.answering.clear();
        some
    }

    /// Completes receives, as far as they are armed and there is input.
    pub fn receive(&mut self) {
        let mut readable = std::mem::take(&mut self.readable);
        readable.retain(|slot| {
            let mut input = std::mem::take(&mut self.sockets[slot.0 as usize].input);
            let mut at = 0;
            while at < input.len() && self.sockets[slot.0 as usize].armed != Armed::No {
                let end = input.len().min(at + RECEIVE_BYTES);
                self.receive_one(*slot, &input[at..end]);
                at = end;
            }
            input.drain(..at);
            let waits = !input.is_empty();
            self.sockets[slot.0 as usize].input = input;
            waits
        });
        self.readable = readable;
    }

    fn receive_one(&mut self, slot: Slot, bytes: &[u8]) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.buffers.push(vec![0; RECEIVE_BYTES].into());
            (self.buffers.len() - 1) as u16
        });
        self.buffers[usize::from(id)][..bytes.len()].copy_from_slice(bytes);
        let socket = &mut self.sockets[slot.0 as usize];
        let armed = socket.armed == Armed::Multishot;
        if !armed {
            socket.armed = Armed::No;
        }
        let result = Ok(Some(RecvBuffer { id, start: 0, len: bytes.len() as u32, done: true }));
        self.completions.push(Completion::Received { slot, generation: socket.generation, result, armed });
    }

    /// Ends an armed receive: the client's FIN, or a cancel.
    fn end_receive(&mut self, slot: Slot, result: Result<Option<RecvBuffer>, Errno>) {
        let socket = &mut self.sockets[slot.0 as usize];
        if std::mem::take(&mut socket.armed) != Armed::No {
            let generation = socket.generation;
            self.completions.push(Completion::Received { slot, generation, result, armed: false });
        }
    }
}

impl Driver for ScriptedDriver {
    #[inline(never)]
    fn now(&mut self) -> Instant {
        self.now
    }

    #[inline(never)]
    fn push(&mut self, op: Op) {
        match op {
            Op::Accept { listener, slot, generation } => self.accepts.push_back((listener, slot, generation)),
            Op::Recv { slot, multishot, .. } => {
                let armed = if multishot { Armed::Multishot } else { Armed::Once };
                self.sockets[slot.0 as usize].armed = armed;
            }
            Op::CancelRecv { slot, .. } => self.end_receive(slot, Err(CANCELED)),
            // The client has read all and goes, too.
            Op::Shutdown { slot, .. } => self.end_receive(slot, Ok(None)),
            Op::Close { slot, generation } => self.completions.push(Completion::Closed { slot, generation }),
            Op::CancelAccept { .. } | Op::PollOut { .. } | Op::CancelPollOut { .. } | Op::SendFd { .. } => {
                panic!("no workload leads to {op:?}")
            }
        }
    }

    #[inline(never)]
    fn send_batch<'a, I>(&mut self, sends: I, results: &mut Vec<SendResult>)
    where
        I: IntoIterator<Item = (Slot, &'a [u8])>,
    {
        results.clear();
        for (slot, bytes) in sends {
            results.push(SendResult::Sent(bytes.len() as u32));
            let socket = &mut self.sockets[slot.0 as usize];
            if socket.attentive && socket.answers.read(bytes) {
                self.answering.push(slot);
            }
        }
    }

    #[inline(never)]
    fn reap(&mut self, _: Wait, out: &mut Vec<Completion>) {
        if out.is_empty() {
            std::mem::swap(out, &mut self.completions);
        } else {
            for completion in self.completions.drain(..) {
                out.push(completion);
            }
        }
    }

    #[inline(never)]
    fn ready(&mut self) -> bool {
        !self.completions.is_empty()
    }

    #[inline(never)]
    fn bytes(&self, buffer: &RecvBuffer) -> &[u8] {
        &self.buffers[usize::from(buffer.id)][..buffer.len as usize]
    }

    #[inline(never)]
    fn recycle(&mut self, buffer: RecvBuffer) {
        self.free.push(buffer.id);
    }
}
