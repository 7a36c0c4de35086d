//! A node on scripted drivers: its shards, each a real reactor with the real switch, take turns on one thread.

use std::sync::Arc;
use std::time::Duration;

use persistence::{Durability, Journal};
use shard::counters::CounterReader;
use shard::idle::IdlePolicy;
use shard::mesh::{Mesh, ShardId};
use shard::reactor::{Next, Reactor};
use shard::{Instant, Slot};
use switch::config::Settings;
use switch::counters::{Counter, DROPPED};
use switch::journal::WallClock;
use switch::journal::state::State;
use switch::journal::sweep::Compaction;
use switch::node::{Node as Shared, Part, Recovered};
use switch::program::log::LogSink;
use switch::program::stop::StopFlag;
use switch::routing::parcel::rank_specs;
use switch::routing::place::Placement;
use switch::switch::Switch;

use crate::client::{self, Version};
use crate::driver::ScriptedDriver;

/// What the clock moves with each turn of a shard.
const TURN: Duration = Duration::from_micros(20);
/// Turns until a node that has not come to rest never will.
const TURNS_MAX: u64 = 1_000_000;
/// The keys of hashes are the same in each run; any will do.
const SEEDS: [u64; 4] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

/// A connected client: its shard and slot.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    shard: usize,
    slot: Slot,
}

/// A running node.
pub struct Node {
    shards: Vec<Shard>,
    placement: Placement,
    counters: Vec<CounterReader<Counter>>,
    now: Instant,
    /// Turns are counted from now on.
    measured: bool,
}

/// The ring of a journal: nothing measured is written to it.
const JOURNAL_BYTES: u64 = 1 << 20;

struct Shard {
    reactor: Reactor<ScriptedDriver, Switch>,
    next: Next,
}

/// A turn whose instructions count: callgrind collects within this function and nowhere else.
#[inline(never)]
fn measured_turn(shard: &mut Shard) {
    shard.next = shard.reactor.turn();
}

impl Node {
    /// A node of `shards` shards with the default settings, at rest, with an empty journal each or without. `$SYS` is off:
    /// it costs by time, not by message.
    pub fn new(shards: u16, journals: bool) -> Node {
        let mut settings = Settings::default();
        settings.sys.interval = Duration::ZERO;
        let placement = Placement::new(shards, [7; 16], &settings.placement.rules).expect("no rules");
        let ranks = rank_specs(&settings.limits, shards);
        let slots = settings.kernel.slots;
        let (shared, writers) = Shared::new(Arc::new(settings), placement.clone(), SEEDS, shards);
        let (shared, stop) = (Arc::new(shared), StopFlag::default());
        let listeners = switch::listener::plain(shards);
        let mesh = Mesh::build(shards, &ranks).expect("memory for the rings");
        let shards = mesh.into_iter().zip(writers).map(|(end, counters)| {
            let (id, log, stop) = (end.id(), LogSink::none(), stop.clone());
            let journal = journals.then(|| Recovered {
                log: Journal::detached(JOURNAL_BYTES, Durability::Fsync).0,
                state: State::default(),
                sources: Vec::new(),
                epoch: 1,
                compaction: Compaction { ratio: 4, least_bytes: JOURNAL_BYTES, most_bytes: 0 },
            });
            let switch = Switch::new(
                Arc::clone(&shared),
                Part {
                    id,
                    slots,
                    listeners: listeners.clone(),
                    counters,
                    log,
                    stop,
                    journal,
                    wall: WallClock::default(),
                },
            );
            let reactor = Reactor::new(ScriptedDriver::new(slots), switch, end, IdlePolicy::SLEEP);
            Shard { reactor, next: Next::Again }
        });
        let shards = shards.collect();
        let counters = shared.counters.clone();
        let mut node = Node { shards, placement, counters, now: Instant::ZERO, measured: false };
        node.settle();
        node
    }

    /// A client of shard `shard` is connected. `attentive`: it takes part in handshakes of QoS 1 and 2.
    pub fn connect(&mut self, shard: usize, version: Version, id: &str, attentive: bool) -> Client {
        let slot = self.shards[shard].reactor.driver().connect(attentive);
        let client = Client { shard, slot };
        self.send(client, &client::connect(version, id));
        client
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// How many clients may connect to a shard before it turns again.
    pub fn newcomers(&mut self, shard: usize) -> usize {
        self.shards[shard].reactor.driver().accepts()
    }

    /// A client sends.
    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        self.shards[client.shard].reactor.driver().client_sends(client.slot, bytes);
    }

    /// Turns, and lets clients answer, until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.turn_all() && !self.clients_answer() {
                return;
            }
        }
        panic!("no rest within {TURNS_MAX} turns");
    }

    /// From now on turns count.
    pub fn measure(&mut self) {
        self.measured = true;
    }

    /// The sum over all shards.
    pub fn total(&self, counter: Counter) -> u64 {
        self.counters.iter().map(|counters| counters.read(counter)).sum()
    }

    /// Messages that were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        DROPPED.iter().map(|reason| self.total(*reason)).sum()
    }

    /// A topic that `shard` owns, whose name begins with `prefix`.
    pub fn topic_of(&self, shard: usize, prefix: &str) -> String {
        let owned = |topic: &String| self.placement.owner(self.placement.topic_hash(topic)) == ShardId(shard as u16);
        (0..).map(|number| format!("{prefix}/{number:04}")).find(owned).expect("each shard owns topics")
    }

    /// One turn of each shard that has something to do. Returns whether any had.
    fn turn_all(&mut self) -> bool {
        let mut some = false;
        for shard in &mut self.shards {
            shard.reactor.driver().receive();
            let due = matches!(shard.next, Next::Idle { until } if until <= self.now);
            if shard.next == Next::Again || due || shard.reactor.something_waits() {
                self.now = self.now.after(TURN);
                shard.reactor.driver().set_now(self.now);
                match self.measured {
                    true => measured_turn(shard),
                    false => shard.next = shard.reactor.turn(),
                }
                some = true;
            }
        }
        some
    }

    /// Every shard's clients answer. Returns whether any had something to say.
    fn clients_answer(&mut self) -> bool {
        let mut some = false;
        for shard in &mut self.shards {
            some |= shard.reactor.driver().clients_answer();
        }
        some
    }
}
