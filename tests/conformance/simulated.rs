//! The switch on the simulated kernel: all shards on one thread, and a clock that moves only as a script says.
//!
//! Two worlds. In the calm one each step of a script is followed by all its consequences. In the unkind one clients do not
//! wait for more than they expect: the rest goes on beside what comes next, in an order that the seed chooses, while the
//! kernel splits what it receives, takes less than it is sent, completes late, runs out of buffers and ends receives;
//! buffers and rings are tiny. In both, silence is looked at when nothing can happen any more, and what comes without a
//! `pass` before it needs no time.
//!
//! The seed is made from the case's name, so that a failure repeats itself; `RINGMAIN_SEED=7` makes other ones.

use std::time::Duration;
use std::{env, thread};

use fastrand::Rng;
use sim::kernel::{Faults, Sizes, SocketId};
use sim::machine::{Machine, Plan, Step};
use switch::config::source::{self, Source};
use switch::config::{Configuration, Flags, Settings};
use switch::routing::parcel::{ACK, DELIVER, PUBLISH, rank_specs};

use crate::broker::{Arrival, Broker, Goodbye};
use crate::case::Case;

/// Turns within which everything that needs no time has happened, in any case.
const TURNS_MAX: u64 = 2_000_000;

/// Slots of each shard: connections of any case, those that linger included.
const SLOTS: u32 = 512;

/// A kernel that does nothing that it need not do.
const CALM: Faults = Faults { split: 0, multishot_ends: 0, late: 0, short_send: 0, no_descriptor: 0, no_buffer: 0 };

/// One that does so often, in all from which the switch recovers without time.
const UNKIND: Faults = Faults {
    split: 30_000,
    multishot_ends: 10_000,
    late: 20_000,
    short_send: 20_000,
    no_descriptor: 0,
    no_buffer: 10_000,
};

/// How often a shard stands still for a while, in 65,536 turns.
const STALLS: u16 = 2_000;

/// Bytes of the rings that carry neither messages nor acknowledgements.
const TINY_RING_BYTES: u32 = 1 << 10;

/// Bytes of the rings that carry messages, as small as the smallest that a configuration leads to.
const SMALL_RING_BYTES: u32 = 32 << 10;

/// A node on the simulated kernel and the connections to it.
pub struct Simulated {
    machine: Machine,
    connections: Vec<Connection>,
    /// Whether clients go on while the switch is still at work.
    hasty: bool,
    /// How this world came to be.
    story: String,
}

/// The client's end of a connection.
struct Connection {
    socket: SocketId,
    /// What has come and nobody has asked for yet.
    inbox: Vec<u8>,
    /// The client has reset it.
    reset: bool,
}

impl Simulated {
    /// One shard, large buffers and a kernel that does all at once.
    pub fn calm(case: &Case) -> Self {
        let sizes = Sizes { slots: SLOTS, buffers: 64, buffer_bytes: 4096, send_bytes: 64 << 10 };
        Self::new(case, 1, false, |_| (sizes, CALM))
    }

    /// Three shards, and the least of everything that the switch must be able to live with.
    pub fn unkind(case: &Case) -> Self {
        Self::new(case, 3, true, |rng| {
            let mut one_of = |choices: [u32; 3]| choices[rng.usize(..choices.len())];
            let (buffers, buffer_bytes) = (one_of([1, 2, 8]) as u16, one_of([16, 64, 512]));
            let send_bytes = one_of([64, 1000, 16 << 10]) as usize;
            (Sizes { slots: SLOTS, buffers, buffer_bytes, send_bytes }, UNKIND)
        })
    }

    fn new(case: &Case, shards: u16, hasty: bool, kernel: impl Fn(&mut Rng) -> (Sizes, Faults)) -> Self {
        let seed = seed_of(&case.name);
        let mut rng = Rng::with_seed(seed);
        let (sizes, faults) = kernel(&mut rng);
        let settings = settings(&case.settings, shards);
        let mut ranks = rank_specs(&settings.limits, shards).to_vec();
        if hasty {
            for (rank, ring) in ranks.iter_mut().enumerate() {
                ring.bytes = match rank {
                    // One place for each credit, as it must be.
                    rank if rank == usize::from(ACK.0) => ring.bytes,
                    rank if rank == usize::from(PUBLISH.0) || rank == usize::from(DELIVER.0) => SMALL_RING_BYTES,
                    _ => TINY_RING_BYTES,
                };
            }
        }
        let story = format!("simulated: seed {seed}, {shards} shards, {sizes:?}, {faults:?}");
        let stalls = if hasty { STALLS } else { 0 };
        let plan = Plan { shards, settings, sizes, faults, ranks, stalls, disk: None };
        let mut world = Self { machine: Machine::new(&plan, seed), connections: Vec::new(), hasty, story };
        world.rest();
        world
    }

    /// Everything happens that needs no time, and clients take all that comes.
    fn rest(&mut self) {
        loop {
            let rested = self.machine.settle(TURNS_MAX);
            assert!(rested.is_some(), "it does not come to rest within {TURNS_MAX} turns");
            if !self.read_all() {
                return;
            }
        }
    }

    /// Clients take what has come. Whether there was anything.
    fn read_all(&mut self) -> bool {
        let mut kernel = self.machine.kernel_mut();
        let mut any = false;
        for connection in &mut self.connections {
            let before = connection.inbox.len();
            kernel.client_reads(connection.socket, usize::MAX, &mut connection.inbox);
            any |= connection.inbox.len() > before;
        }
        any
    }

    /// One shard takes a turn, and clients take what has come. Whether there was anything to do.
    fn step(&mut self) -> bool {
        let turned = matches!(self.machine.step(), Step::Turned(_));
        self.read_all() || turned
    }

    /// Whether the switch has yet to receive what this client sent, and can.
    fn is_under_way(&self, connection: usize) -> bool {
        let kernel = self.machine.kernel();
        let socket = kernel.socket(self.connections[connection].socket);
        !socket.to_switch.is_empty() && !socket.ended()
    }
}

impl Broker for Simulated {
    fn open(&mut self) -> usize {
        let shard = self.connections.len() % usize::from(self.machine.shards());
        let socket = self.machine.kernel_mut().connect(shard as u16);
        self.connections.push(Connection { socket, inbox: Vec::new(), reset: false });
        self.connections.len() - 1
    }

    fn send(&mut self, connection: usize, bytes: &[u8]) {
        // What was sent before has been taken apart from this, unless the switch does not read.
        while self.is_under_way(connection) && self.step() {}
        self.machine.kernel_mut().client_sends(self.connections[connection].socket, bytes);
        if !self.hasty {
            self.rest();
        }
    }

    fn receive(&mut self, connection: usize, into: &mut Vec<u8>) -> Arrival {
        if !self.hasty {
            self.rest();
        }
        while self.connections[connection].inbox.is_empty() && self.step() {}
        let Connection { socket, inbox, reset } = &mut self.connections[connection];
        if !inbox.is_empty() {
            into.append(inbox);
            return Arrival::Bytes;
        }
        if *reset || self.machine.kernel().socket(*socket).ended() { Arrival::End } else { Arrival::Nothing }
    }

    fn hang_up(&mut self, connection: usize, goodbye: Goodbye) {
        let Connection { socket, inbox, reset } = &mut self.connections[connection];
        match goodbye {
            Goodbye::Fin => self.machine.kernel_mut().client_finishes(*socket),
            Goodbye::Reset => {
                *reset = true;
                inbox.clear();
                self.machine.kernel_mut().client_resets(*socket);
            }
        }
        if !self.hasty {
            self.rest();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.machine.kernel().now().after(time);
        loop {
            self.rest();
            let due = self.machine.settle(TURNS_MAX).filter(|due| *due <= end);
            self.machine.kernel_mut().pass_until(due.unwrap_or(end));
            if due.is_none() {
                return;
            }
        }
    }

    fn settle(&mut self) {
        self.rest();
    }

    fn log(&self) -> String {
        self.story.clone()
    }
}

impl Drop for Simulated {
    /// A panic of the switch, or of the kernel about it, has no message of ours.
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.story);
        }
    }
}

/// The settings of a case, read as the program reads them.
fn settings(tables: &str, shards: u16) -> Settings {
    let flags = Flags { shards: Some(shards.to_string()), ..Flags::default() };
    let configuration = Configuration::merge(source::from_file("settings", tables), Source::default(), &flags);
    configuration.unwrap_or_else(|errors| panic!("the case's settings: {errors}")).settings
}

/// A number for a name (FNV-1a), the same in every run, mixed with one that is asked for.
fn seed_of(name: &str) -> u64 {
    let other = env::var("RINGMAIN_SEED").map_or(0, |seed| seed.parse::<u64>().expect("RINGMAIN_SEED is a number"));
    let bytes = name.bytes().chain(other.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
