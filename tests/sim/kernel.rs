//! The simulated kernel: one clock, all sockets, and for each shard a table of slots with the ops that are armed.
//!
//! What a shard may rely on is what the contract of [`shard::driver`] says and no more. Within that the seed decides:
//! where received bytes are split, when a multishot receive stops, which completions come in this reap and which in a
//! later one, whether data or the cancel wins, how much of a send is taken, when there are no descriptors.
//!
//! Misuse is a defect of the switch and stops the run: an op on a slot that is not in use, a second receive on a slot,
//! a close with ops armed.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;
use shard::{Completion, Errno, Generation, Instant, ListenerId, Op, RecvBuffer, SendResult, Slot};

pub use crate::buffers::Buffers;
use crate::socket::Socket;
use crate::trace::say;

/// A socket, from the client's connect to the end of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// How often the kernel is unkind: in 65,536 chances; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A receive brings less than there is.
    pub split: u16,
    /// A multishot receive ends although it could go on.
    pub multishot_ends: u16,
    /// A completion that could come now comes with a later reap.
    pub late: u16,
    /// A send takes less than there is room for.
    pub short_send: u16,
    /// No descriptor for an accept (EMFILE), or no slot for a socket of another shard (ENFILE).
    pub no_descriptor: u16,
    /// No receive buffer is free (ENOBUFS) although one is.
    pub no_buffer: u16,
}

/// Accepts of one shard at most, unless a world says otherwise: as many as the program arms on one listener, or more.
const ACCEPTS_MAX: u16 = 1024;

/// How large the parts of a kernel are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Slots of each shard.
    pub slots: u32,
    /// Receive buffers of each shard.
    pub buffers: u16,
    /// Bytes of a receive buffer.
    pub buffer_bytes: u32,
    /// Bytes that wait in one socket toward its client.
    pub send_bytes: usize,
}

/// The kernel that all shards of a machine share.
pub struct Kernel {
    now: Instant,
    rng: Rng,
    /// How unkind it is at present.
    pub faults: Faults,
    /// Accepts that one shard may have armed; one more is answered with ENOBUFS, as the real driver does.
    pub accepts_max: u16,
    sizes: Sizes,
    /// All sockets that were ever made; a run makes some hundreds.
    sockets: Vec<Socket>,
    tables: Vec<Table>,
    /// Print each op and what became of it.
    pub print: bool,
}

/// One shard's side.
#[derive(Default)]
struct Table {
    slots: Vec<Row>,
    accepts: VecDeque<(ListenerId, Slot, Generation)>,
    backlog: VecDeque<SocketId>,
    /// Answers in the order in which they will be told.
    done: VecDeque<Completion>,
    /// Slots whose armed receive would complete now; each at most once.
    readable: VecDeque<u32>,
}

/// What is in a slot.
#[derive(Clone, Copy, Default)]
struct Row {
    socket: Option<SocketId>,
    generation: Generation,
    recv: Option<Armed>,
    poll: bool,
    /// It stands in `readable`.
    listed: bool,
}

#[derive(Clone, Copy)]
struct Armed {
    multishot: bool,
}

impl Kernel {
    /// A kernel of `shards` shards without sockets.
    pub fn new(seed: u64, shards: u16, sizes: Sizes, faults: Faults) -> Kernel {
        Kernel {
            now: Instant::from_nanos(1_000_000_000),
            rng: Rng::with_seed(seed),
            faults,
            accepts_max: ACCEPTS_MAX,
            sizes,
            sockets: Vec::new(),
            tables: tables(shards, sizes.slots),
            print: false,
        }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time passes.
    pub fn pass(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    /// The time becomes `at`, if it is not that late already.
    pub fn pass_until(&mut self, at: Instant) {
        self.now = self.now.max(at);
    }

    // The client's side.

    /// A client connects; the listener of `shard` gets it.
    pub fn connect(&mut self, shard: u16) -> SocketId {
        let id = SocketId(self.sockets.len() as u32);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1024 + (id.0 % 60_000) as u16));
        self.sockets.push(Socket::new(peer, self.sizes.send_bytes));
        self.tables[usize::from(shard)].backlog.push_back(id);
        id
    }

    /// A connection as it stands.
    pub fn socket(&self, id: SocketId) -> &Socket {
        &self.sockets[id.0 as usize]
    }

    /// The client sends.
    pub fn client_sends(&mut self, id: SocketId, bytes: &[u8]) {
        let socket = &mut self.sockets[id.0 as usize];
        if !socket.client_reset && !socket.client_fin {
            socket.to_switch.extend(bytes);
            self.list(id);
        }
    }

    /// The client reads at most `most` bytes, appended to `out`.
    pub fn client_reads(&mut self, id: SocketId, most: usize, out: &mut Vec<u8>) {
        let socket = &mut self.sockets[id.0 as usize];
        let count = most.min(socket.to_client.len());
        out.extend(socket.to_client.drain(..count));
        if count > 0 {
            self.answer_poll(id);
        }
    }

    /// The client closes its sending half (FIN).
    pub fn client_finishes(&mut self, id: SocketId) {
        self.sockets[id.0 as usize].client_fin = true;
        self.list(id);
    }

    /// The client closes: FIN, and RST for what it has not read or will be sent.
    pub fn client_closes(&mut self, id: SocketId) {
        let socket = &mut self.sockets[id.0 as usize];
        (socket.client_fin, socket.client_closed) = (true, true);
        if !socket.to_client.is_empty() {
            socket.to_client.clear();
            socket.client_reset = true;
        }
        self.list(id);
        self.answer_poll(id);
    }

    /// The client is gone (RST). What it sent may have arrived before that, or not.
    pub fn client_resets(&mut self, id: SocketId) {
        let overtakes = self.rng.bool();
        let socket = &mut self.sockets[id.0 as usize];
        socket.client_reset = true;
        socket.to_client.clear();
        if overtakes {
            socket.to_switch.clear();
        }
        self.list(id);
        self.answer_poll(id);
    }

    /// The node is gone, and another one of `shards` shards begins: all connections are reset. Of what had left some
    /// came through.
    pub fn crash(&mut self, shards: u16) {
        for socket in &mut self.sockets {
            // Also of those that were closed before: their shard may be none of the next node's.
            socket.place = None;
            if socket.switch_fin && socket.holders == 0 {
                continue;
            }
            let came = match self.rng.u8(..4) {
                0 => 0,
                1 => self.rng.usize(..=socket.to_client.len()),
                _ => socket.to_client.len(),
            };
            socket.to_client.truncate(came);
            (socket.switch_reset, socket.switch_fin, socket.holders) = (true, true, 0);
        }
        self.tables = tables(shards, self.sizes.slots);
    }

    /// A client's side has changed: an armed receive may complete.
    fn list(&mut self, id: SocketId) {
        let Some((shard, slot)) = self.sockets[id.0 as usize].place else { return };
        let table = &mut self.tables[usize::from(shard)];
        let row = &mut table.slots[slot as usize];
        if row.socket == Some(id) && row.recv.is_some() && !row.listed {
            row.listed = true;
            table.readable.push_back(slot);
        }
    }

    /// The socket takes bytes again, or breaks: an armed poll completes.
    fn answer_poll(&mut self, id: SocketId) {
        let socket = &self.sockets[id.0 as usize];
        let Some((shard, slot)) = socket.place else { return };
        // As TCP has it: writable when a third is free.
        let writable = socket.client_reset || socket.room() * 3 >= socket.send_bytes_max;
        let table = &mut self.tables[usize::from(shard)];
        let row = &mut table.slots[slot as usize];
        if writable && row.socket == Some(id) && row.poll {
            row.poll = false;
            let (slot, generation) = (Slot(slot), row.generation);
            table.done.push_back(Completion::Writable { slot, generation, result: Ok(()) });
        }
    }

    // The shards' side.

    /// A shard asks for something.
    pub fn submit(&mut self, shard: u16, op: Op) {
        if self.print {
            say(format_args!("{:>14} s{shard} {op:?}", self.now.as_nanos() / 1000));
        }
        match op {
            Op::Accept { listener, slot, generation } => {
                let table = &mut self.tables[usize::from(shard)];
                assert!(table.slots[slot.0 as usize].socket.is_none(), "an accept into a slot in use: {op:?}");
                if table.accepts.len() == usize::from(self.accepts_max) {
                    let result = Err(Errno(libc::ENOBUFS));
                    return self.done(shard, Completion::Accepted { listener, slot, generation, result });
                }
                table.accepts.push_back((listener, slot, generation));
            }
            Op::CancelAccept { slot, generation } => self.cancel_accept(shard, slot, generation),
            Op::Recv { slot, generation, multishot } => {
                let id = self.held(shard, slot, generation, op);
                let row = self.row(shard, slot);
                assert!(row.recv.is_none(), "a second receive: {op:?}");
                row.recv = Some(Armed { multishot });
                if self.sockets[id.0 as usize].readable() {
                    self.list(id);
                }
            }
            Op::CancelRecv { slot, generation } => {
                if self.row(shard, slot).generation == generation && self.row(shard, slot).recv.take().is_some() {
                    let (result, armed) = (Err(Errno(libc::ECANCELED)), false);
                    self.done(shard, Completion::Received { slot, generation, result, armed });
                }
            }
            Op::PollOut { slot, generation } => {
                let id = self.held(shard, slot, generation, op);
                let row = self.row(shard, slot);
                assert!(!row.poll, "a second poll: {op:?}");
                row.poll = true;
                self.answer_poll(id);
            }
            Op::CancelPollOut { slot, generation } => {
                if self.row(shard, slot).generation == generation && std::mem::take(&mut self.row(shard, slot).poll) {
                    let result = Err(Errno(libc::ECANCELED));
                    self.done(shard, Completion::Writable { slot, generation, result });
                }
            }
            Op::Shutdown { slot, generation } => {
                let id = self.held(shard, slot, generation, op);
                self.sockets[id.0 as usize].switch_fin = true;
            }
            Op::Close { slot, generation } => self.close(shard, slot, generation, op),
            Op::SendFd { slot, generation, to, to_slot } => {
                let id = self.held(shard, slot, generation, op);
                let full = self.chance(self.faults.no_descriptor);
                let row = &mut self.tables[usize::from(to)].slots[to_slot.0 as usize];
                let result = match row.socket {
                    Some(_) => panic!("a socket is sent into a slot in use: {op:?}"),
                    None if full => Err(Errno(libc::ENFILE)),
                    None => {
                        // The generation is the receiving shard's own: it names it with its first op.
                        *row = Row { socket: Some(id), ..Row::default() };
                        self.sockets[id.0 as usize].holders += 1;
                        self.sockets[id.0 as usize].place = Some((to, to_slot.0));
                        Ok(())
                    }
                };
                self.done(shard, Completion::FdSent { slot, generation, result });
            }
        }
    }

    /// Sends without waiting.
    pub fn send(&mut self, shard: u16, slot: Slot, bytes: &[u8]) -> SendResult {
        assert!(!bytes.is_empty(), "an empty send has no result");
        let id = self.row(shard, slot).socket.expect("a send on a slot in use");
        let short = self.chance(self.faults.short_send);
        let socket = &mut self.sockets[id.0 as usize];
        assert!(!socket.switch_fin, "a send behind a shutdown");
        if socket.client_reset {
            return SendResult::Broken(Errno(libc::ECONNRESET));
        }
        let mut count = bytes.len().min(socket.room());
        if short && count > 0 {
            count = self.rng.usize(1..=count);
        }
        if self.print {
            let (now, len) = (self.now.as_nanos() / 1000, bytes.len());
            say(format_args!("{now:>14} s{shard} {slot:?} sends {count} of {len} B"));
        }
        if count == 0 {
            return SendResult::WouldBlock;
        }
        if socket.client_closed {
            // Nobody is there: the answer is RST.
            socket.client_reset = true;
            self.list(id);
        } else {
            socket.to_client.extend(&bytes[..count]);
        }
        SendResult::Sent(count as u32)
    }

    /// Whether a reap would find something.
    pub fn ready(&self, shard: u16) -> bool {
        let table = &self.tables[usize::from(shard)];
        !table.done.is_empty() || !table.readable.is_empty() || (!table.accepts.is_empty() && !table.backlog.is_empty())
    }

    /// Tells a shard what has happened. `buffer` gives a free receive buffer, with its memory, or nothing.
    pub fn reap(&mut self, shard: u16, memory: &mut Buffers, out: &mut Vec<Completion>) {
        let before = out.len();
        self.accept(shard);
        self.receive(shard, memory);
        let late = self.faults.late;
        while let Some(completion) = self.tables[usize::from(shard)].done.pop_front() {
            out.push(completion);
            if late > 0 && self.chance(late) {
                break;
            }
        }
        if self.print {
            let now = self.now.as_nanos() / 1000;
            out[before..].iter().for_each(|completion| say(format_args!("{now:>14} s{shard} = {completion:?}")));
        }
    }

    fn accept(&mut self, shard: u16) {
        loop {
            let table = &mut self.tables[usize::from(shard)];
            if table.accepts.is_empty() || table.backlog.is_empty() {
                return;
            }
            let (listener, slot, generation) = table.accepts.pop_front().expect("looked at");
            if self.chance(self.faults.no_descriptor) {
                let result = Err(Errno(libc::EMFILE));
                self.done(shard, Completion::Accepted { listener, slot, generation, result });
                continue;
            }
            let table = &mut self.tables[usize::from(shard)];
            let id = table.backlog.pop_front().expect("looked at");
            table.slots[slot.0 as usize] = Row { socket: Some(id), generation, ..Row::default() };
            let socket = &mut self.sockets[id.0 as usize];
            (socket.holders, socket.place) = (1, Some((shard, slot.0)));
            let result = Ok(socket.peer);
            self.done(shard, Completion::Accepted { listener, slot, generation, result });
        }
    }

    /// Completes receives, as far as there are buffers and the seed lets them.
    fn receive(&mut self, shard: u16, memory: &mut Buffers) {
        for _ in 0..self.tables[usize::from(shard)].readable.len() {
            let slot = self.tables[usize::from(shard)].readable.pop_front().expect("counted");
            if self.chance(self.faults.late) {
                self.tables[usize::from(shard)].readable.push_back(slot);
                continue;
            }
            self.row(shard, Slot(slot)).listed = false;
            self.receive_one(shard, Slot(slot), memory);
        }
    }

    fn receive_one(&mut self, shard: u16, slot: Slot, memory: &mut Buffers) {
        let row = *self.row(shard, slot);
        let (Some(id), Some(Armed { multishot })) = (row.socket, row.recv) else { return };
        let generation = row.generation;
        let (split, starved) = (self.chance(self.faults.split), self.chance(self.faults.no_buffer));
        let ends = self.chance(self.faults.multishot_ends);
        let socket = &mut self.sockets[id.0 as usize];
        let waiting = socket.to_switch.len();
        let (result, armed) = if waiting > 0 {
            let buffer = if starved { None } else { memory.take() };
            match buffer {
                None => (Err(Errno(libc::ENOBUFS)), false),
                Some(id) => {
                    let most = waiting.min(memory.bytes as usize);
                    let count = if split { self.rng.usize(1..=most) } else { most };
                    memory.fill(id, socket.to_switch.drain(..count));
                    (Ok(Some(RecvBuffer { id, start: 0, len: count as u32, done: true })), multishot && !ends)
                }
            }
        } else if socket.client_reset {
            (Err(Errno(libc::ECONNRESET)), false)
        } else if socket.client_fin {
            (Ok(None), false)
        } else {
            return;
        };
        if !armed {
            self.row(shard, slot).recv = None;
        }
        self.done(shard, Completion::Received { slot, generation, result, armed });
        if armed && self.sockets[id.0 as usize].readable() {
            self.list(id);
        }
    }

    fn close(&mut self, shard: u16, slot: Slot, generation: Generation, op: Op) {
        let id = self.held(shard, slot, generation, op);
        let row = self.row(shard, slot);
        assert!(row.recv.is_none() && !row.poll, "a close with ops armed: {op:?}");
        row.socket = None;
        let socket = &mut self.sockets[id.0 as usize];
        socket.holders -= 1;
        if socket.holders == 0 {
            socket.switch_fin = true;
            // As TCP has it: who closes with bytes unread resets the connection, and what it sent may be lost.
            if !socket.to_switch.is_empty() {
                socket.switch_reset = true;
                socket.to_client.clear();
            }
        }
        self.done(shard, Completion::Closed { slot, generation });
    }

    fn cancel_accept(&mut self, shard: u16, slot: Slot, generation: Generation) {
        let table = &mut self.tables[usize::from(shard)];
        let armed = table.accepts.iter().position(|(_, at, of)| (*at, *of) == (slot, generation));
        let Some((listener, ..)) = armed.and_then(|index| table.accepts.remove(index)) else { return };
        let result = Err(Errno(libc::ECANCELED));
        self.done(shard, Completion::Accepted { listener, slot, generation, result });
    }

    /// The socket that this use of a slot holds.
    fn held(&mut self, shard: u16, slot: Slot, generation: Generation, op: Op) -> SocketId {
        let row = self.row(shard, slot);
        let Some(id) = row.socket else { panic!("an op on an empty slot of shard {shard}: {op:?}") };
        if row.generation == 0 {
            row.generation = generation;
        }
        assert_eq!(row.generation, generation, "an op on another use of the slot, shard {shard}: {op:?}");
        id
    }

    fn row(&mut self, shard: u16, slot: Slot) -> &mut Row {
        &mut self.tables[usize::from(shard)].slots[slot.0 as usize]
    }

    fn done(&mut self, shard: u16, completion: Completion) {
        self.tables[usize::from(shard)].done.push_back(completion);
    }

    fn chance(&mut self, rate: u16) -> bool {
        rate > 0 && self.rng.u16(..) < rate
    }
}

fn tables(shards: u16, slots: u32) -> Vec<Table> {
    let table = || Table { slots: vec![Row::default(); slots as usize], ..Table::default() };
    std::iter::repeat_with(table).take(shards.into()).collect()
}
