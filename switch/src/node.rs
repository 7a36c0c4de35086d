//! A node: what its switches share, and what makes one for each shard.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use crossbeam::queue::SegQueue;
use shard::counters::{CounterReader, CounterWriter, block};
use shard::mesh::ShardId;

use crate::access::Desk;
use crate::admission::Counts;
use crate::config::Settings;
use crate::connection::secure::Moving;
use crate::counters::Counter;
use crate::journal::WallClock;
use crate::journal::state::State;
use crate::journal::sweep::Compaction;
use crate::listener::Listeners;
use crate::program::log::LogSink;
use crate::program::serve::Seat;
use crate::program::stop::StopFlag;
use crate::routing::place::{Placement, RuleError};
use crate::switch::Switch;

/// What the switches of a node are built from and share.
pub struct Node {
    /// The checked settings.
    pub settings: Arc<Settings>,
    /// Who owns topics and clients.
    pub placement: Placement,
    /// Seeds of in-memory maps, and of client identifiers that are given out: unpredictable in production.
    pub seeds: [u64; 4],
    /// What each shard counts.
    pub counters: Vec<CounterReader<Counter>>,
    /// Shards that have closed all their connections, while the node stops.
    pub quiet: AtomicU32,
    /// The TLS of connections that move, by the shard that they move to: each is pushed before the parcel that tells of
    /// its connection, and taken with it. There is one at most for each slot that the shard has reserved.
    pub channels: Vec<SegQueue<Moving>>,
    /// Who may do what, where that is asked.
    pub access: Option<Arc<Desk>>,
    /// Who has how many connections, where that is bounded.
    pub counts: Counts,
}

/// What one switch gets of its own.
pub struct Part {
    /// Which shard it is.
    pub id: ShardId,
    /// Slots of its connection table.
    pub slots: u32,
    /// Listeners that were opened: a default one may be missing on a machine without IPv6.
    pub listeners: Listeners,
    /// Its counters.
    pub counters: CounterWriter<Counter>,
    /// Where its lines go.
    pub log: LogSink,
    /// Whether to come to the end.
    pub stop: StopFlag,
    /// Its journal, and what that tells.
    pub journal: Option<Recovered>,
    /// The wall clock of the shard's clock.
    pub wall: WallClock,
}

/// A journal that was read.
pub struct Recovered {
    /// To write to from now on.
    pub log: persistence::Journal,
    /// What was live.
    pub state: State,
    /// Where its messages lie.
    pub sources: Vec<persistence::store::Source>,
    /// Which start of the node this is.
    pub epoch: u32,
    /// When it is compacted.
    pub compaction: Compaction,
}

impl Node {
    /// A node of `shards` shards, and the counters of each.
    pub fn new(
        settings: Arc<Settings>,
        placement: Placement,
        seeds: [u64; 4],
        shards: u16,
    ) -> (Node, Vec<CounterWriter<Counter>>) {
        let (writers, counters) = (0..shards).map(|_| block::<Counter>()).unzip();
        let channels = (0..shards).map(|_| SegQueue::new()).collect();
        let quiet = AtomicU32::new(0);
        let counts = Counts::new(&settings.limits);
        (Node { settings, placement, seeds, counters, quiet, channels, access: None, counts }, writers)
    }
}

/// A node of `shards` shards, and what makes each shard's switch on its own thread. `journals` tell of the seed of
/// placement and of what each shard goes on with; `access` is where clients are judged.
pub fn switches(
    settings: &Settings,
    shards: u16,
    journals: Option<([u8; 16], Vec<Recovered>)>,
    access: Option<Arc<Desk>>,
) -> Result<(Arc<Node>, impl Fn(Seat) -> Switch + Clone + Send + use<>), RuleError> {
    let (seed, journals) = match journals {
        Some((seed, journals)) => (seed, journals.into_iter().map(Some).collect()),
        None => (random_seed(), std::iter::repeat_with(|| None).take(shards.into()).collect::<Vec<_>>()),
    };
    let placement = Placement::new(shards, seed, &settings.placement.rules)?;
    let seeds = std::array::from_fn(|_| unpredictable());
    let (node, writers) = Node::new(Arc::new(settings.clone()), placement, seeds, shards);
    let node = Arc::new(Node { access, ..node });
    let parts = writers.into_iter().zip(journals).map(Some).collect::<Vec<_>>();
    let parts = Arc::new(Mutex::new(parts));
    let shared = node.clone();
    let make = move |seat: Seat| {
        let part = parts.lock().expect("no shard fails while it is made")[usize::from(seat.shard.0)].take();
        let (counters, mut journal) = part.expect("each shard is made once");
        let Seat { shard: id, slots, listeners, log, stop, bell, wall, .. } = seat;
        if let (Some(journal), Some(bell)) = (&mut journal, bell) {
            journal.log.set_bell(bell);
        }
        Switch::new(node.clone(), Part { id, slots, listeners, counters, log, stop, journal, wall })
    };
    Ok((shared, make))
}

fn random_seed() -> [u8; 16] {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&unpredictable().to_le_bytes());
    seed[8..].copy_from_slice(&unpredictable().to_le_bytes());
    seed
}

/// A number that nobody can guess: the standard library keys its hashers from the kernel's randomness.
fn unpredictable() -> u64 {
    RandomState::new().build_hasher().finish()
}
