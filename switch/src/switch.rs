//! The switch of one shard: all that it owns, and which event goes to whom.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashMap;
use shard::buffer::Arena;
use shard::counters::CounterWriter;
use shard::mesh::{Inbound, ShardId};
use shard::profile::{Profile, Stage};
use shard::stall::Stalls;
use shard::{Effects, Event, Handler, Instant, SendResult, Slot, Span};
use slab::Slab;

use crate::access::gate::Gate;
use crate::admission::flapping::Flapping;
use crate::connection::ConnectionId;
use crate::connection::close::Leaving;
use crate::connection::meter::Meters;
use crate::connection::recheck::Rechecking;
use crate::connection::secure::Secure;
use crate::connection::stacks::Stacks;
use crate::connection::table::ConnectionTable;
use crate::counters::Counter;
use crate::delivery::Subscribers;
use crate::delivery::fanout::Fanout;
use crate::delivery::feed::Feed;
use crate::delivery::flush::FlushQueue;
use crate::delivery::outbox::OutboxPool;
use crate::delivery::store::MessageStore;
use crate::journal::restore::Recovery;
use crate::journal::sweep::Compaction;
use crate::journal::wait::Held;
use crate::journal::{Journal, first_number};
use crate::limits::{FEED_CHUNK_BYTES, JOURNAL_MARKS_MAX, Limits};
use crate::listener::Listeners;
use crate::node::{Node, Part, Recovered};
use crate::program::log::LogSink;
use crate::program::stop::StopFlag;
use crate::routing::home::Home;
use crate::routing::own::OwnPublish;
use crate::routing::parcel::Courier;
use crate::routing::place::Placement;
use crate::routing::publish::{Interest, Progress};
use crate::routing::resolve::OwnerBook;
use crate::session::SessionId;
use crate::session::fetch::Fetch;
use crate::session::subscribe::Request;
use crate::session::table::SessionTable;
use crate::stopping::Stopping;
use crate::topic::retained::{Bounds, RetainedStore};
use crate::topic::tree::{FilterId, FilterTree};

/// One shard's switch.
pub struct Switch {
    pub(crate) id: ShardId,
    pub(crate) shards: u16,
    pub(crate) now: Instant,
    pub(crate) node: Arc<Node>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) placement: Placement,
    pub(crate) hasher: ahash::RandomState,
    pub(crate) counters: CounterWriter<Counter>,
    pub(crate) log: LogSink,
    pub(crate) profile: Profile,
    stalls: Option<Arc<Stalls>>,
    random: u64,
    stop: StopFlag,
    pub(crate) stopping: Stopping,
    started: bool,
    pub(crate) accepts: Vec<u32>,
    /// A timer is set for those that are to be armed later.
    pub(crate) accepts_later: bool,
    pub(crate) listeners: Listeners,

    // Connections and sessions.
    pub(crate) connections: ConnectionTable,
    pub(crate) sessions: SessionTable,
    pub(crate) moving: HashMap<ConnectionId, (Box<str>, ConnectionId), ahash::RandomState>,
    pub(crate) leaving: VecDeque<Leaving>,
    pub(crate) unparked: Vec<ConnectionId>,
    pub(crate) parked: Vec<VecDeque<ConnectionId>>,
    pub(crate) stacks: Stacks,
    pub(crate) secure: Secure,
    /// Certificates that are looked at again, where a listener speaks TLS.
    pub(crate) recheck: Option<Box<Rechecking>>,
    /// What is received through a stack, unwrapped.
    pub(crate) unwrapped: Vec<u8>,
    pub(crate) buffers: Vec<Box<Vec<u8>>>,
    /// What clients publish, where that is bounded.
    pub(crate) meters: Option<Box<Meters>>,

    // Subscribers of this shard.
    pub(crate) filters: FilterTree<Subscribers>,
    pub(crate) feeds: Slab<Feed>,
    pub(crate) arena: Arena,
    pub(crate) store: MessageStore,
    pub(crate) outboxes: OutboxPool,
    pub(crate) flush: FlushQueue,
    pub(crate) fanout: Option<Box<Fanout>>,
    pub(crate) tick: u64,
    pub(crate) requests: Slab<Request>,
    pub(crate) fetches: Slab<Fetch>,
    pub(crate) fetching: HashMap<Slot, VecDeque<usize>, ahash::RandomState>,
    pub(crate) lingering: VecDeque<(Instant, FilterId)>,
    pub(crate) inboxes: Vec<Inbox>,

    // Topics and clients that this shard owns.
    pub(crate) interest: FilterTree<Interest>,
    pub(crate) retained: RetainedStore,
    pub(crate) book: OwnerBook,
    pub(crate) heads: Vec<Progress>,
    pub(crate) home: Home,
    /// Clients that come and go too often, where that is bounded.
    pub(crate) flapping: Option<Box<Flapping>>,

    // Who may do what; none where there is no access control.
    pub(crate) gate: Option<Box<Gate>>,

    // What is durable, and what waits for that.
    pub(crate) journal: Journal,
    pub(crate) recovery: Recovery,
    /// Other shards that have recovered.
    pub(crate) recovered: u16,
    /// Parcels of some owner may wait for the journal.
    pub(crate) holding: bool,

    // Publishes of this shard.
    pub(crate) credits: Vec<u32>,
    pub(crate) own: Vec<VecDeque<OwnPublish>>,
    pub(crate) courier: Courier,
    pub(crate) queued_to_self: u64,

    // Scratch space, kept so that nothing allocates.
    pub(crate) straight: Option<Box<Progress>>,
    pub(crate) aimed: Vec<FilterId>,
    pub(crate) picked_here: Vec<u8>,
    pub(crate) joined_properties: Vec<u8>,
    pub(crate) alias_topic: String,
    pub(crate) sys: crate::sys::Sys,
}

/// The parcels of one owner, as counted here.
#[derive(Default)]
pub struct Inbox {
    /// How many were taken.
    pub taken: u64,
    /// The number of the owner's publish that was heard of last.
    pub routed: u64,
    /// What was remarked of one of them, until its owner has seen that.
    pub refused: Option<u64>,
    /// Those that were handled and are not resolved, in order.
    pub held: VecDeque<Held>,
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// A connection's: slot and generation.
    Connection = 1,
    /// A session's: index and generation.
    Session = 2,
    /// The shard's own: once a second.
    Second = 3,
    /// Interest that lingers ends.
    Interest = 4,
    /// A connection's next slice of retained messages.
    Fetch = 6,
    /// The stop's: often, while it lasts.
    Stop = 5,
    /// A connection's that publishes faster than it may.
    Meter = 7,
    /// The accepts' of a listener whose clients came too fast.
    Accept = 8,
    /// The next slice of compaction's.
    Sweep = 9,
}

/// The word of a timer: kind, index, generation.
pub fn timer_word(kind: TimerKind, index: u32, generation: u32) -> u64 {
    assert!(index < 1 << 28, "an index fits beside the kind");
    (kind as u64) << 60 | u64::from(index) << 32 | u64::from(generation)
}

/// How often a shard looks at what only time changes.
const SECOND: Duration = Duration::from_secs(1);
/// Retained messages looked at for expiry in one such look.
const RETAINED_EXPIRY_LOOKS: usize = 4096;
/// Spare receive residues.
const BUFFERS_SPARE: usize = 256;
/// Capacity of a spare residue at most, in bytes.
const BUFFER_BYTES_SPARE: usize = 64 << 10;

impl Switch {
    /// The switch of one shard, with what its journal tells.
    pub fn new(node: Arc<Node>, part: Part) -> Switch {
        let Part { journal, wall, .. } = part;
        let (log, found, epoch, compaction) = match journal {
            None => (None, None, 0, Compaction::default()),
            Some(Recovered { log, state, sources, epoch, compaction }) => {
                (Some(log), Some((state, sources)), epoch, compaction)
            }
        };
        let part = Part { journal: None, ..part };
        let mut journal = Journal::new(log, wall, first_number(epoch, part.id.0), JOURNAL_MARKS_MAX);
        journal.sweeper.when = compaction;
        let mut switch = Switch::with_journal(node, part, journal);
        if let Some((state, sources)) = found {
            switch.restore(state, sources);
        }
        switch
    }

    fn with_journal(node: Arc<Node>, part: Part, journal: Journal) -> Switch {
        let shards = node.counters.len() as u16;
        let share = |whole: u64| whole.div_ceil(u64::from(shards));
        let limits = Arc::new(node.settings.limits.clone());
        let recheck = part.listeners.iter().find_map(|listener| listener.recheck.clone());
        let [a, b, c, d] = node.seeds;
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        let chunks = (share(limits.feed_memory) / FEED_CHUNK_BYTES as u64).max(4) as usize;
        let bounds = Bounds {
            messages_max: share(limits.max_retained_messages.into()) as u32,
            bytes_max: share(limits.max_retained_bytes),
        };
        Switch {
            id: part.id,
            shards,
            now: Instant::ZERO,
            placement: node.placement.clone(),
            counters: part.counters,
            log: part.log,
            profile: Profile::of_this_thread(),
            stalls: None,
            random: a ^ u64::from(part.id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            stop: part.stop,
            stopping: Stopping::No,
            started: false,
            accepts: vec![0; part.listeners.len()],
            accepts_later: false,
            meters: Meters::new(&limits, &part.listeners),
            flapping: Flapping::new(&limits, hasher.clone()),
            recheck: recheck.map(|shared| Box::new(Rechecking::new(shared))),
            listeners: part.listeners,
            connections: ConnectionTable::new(part.slots),
            sessions: SessionTable::new(hasher.clone()),
            moving: HashMap::with_hasher(hasher.clone()),
            leaving: VecDeque::new(),
            unparked: Vec::new(),
            parked: std::iter::repeat_with(VecDeque::new).take(shards.into()).collect(),
            stacks: Stacks::default(),
            secure: Secure::default(),
            unwrapped: Vec::new(),
            buffers: Vec::new(),
            filters: FilterTree::with_hasher(hasher.clone()),
            feeds: Slab::new(),
            arena: Arena::new(FEED_CHUNK_BYTES, chunks),
            store: MessageStore::new(share(limits.queue_memory)),
            outboxes: OutboxPool::default(),
            flush: FlushQueue::default(),
            fanout: Some(Box::default()),
            tick: 0,
            requests: Slab::new(),
            fetches: Slab::new(),
            fetching: HashMap::with_hasher(hasher.clone()),
            lingering: VecDeque::new(),
            inboxes: std::iter::repeat_with(Inbox::default).take(shards.into()).collect(),
            interest: FilterTree::with_hasher(hasher.clone()),
            retained: RetainedStore::with_hasher(bounds, hasher.clone()),
            book: OwnerBook::new(shards),
            heads: std::iter::repeat_with(Progress::default).take(shards.into()).collect(),
            home: Home::new(hasher.clone()),
            gate: node.access.clone().map(|desk| Box::new(Gate::new(desk, hasher.clone()))),
            journal,
            recovery: Recovery::Asking(0),
            recovered: 0,
            holding: false,
            credits: vec![limits.publish_credits; shards.into()],
            own: std::iter::repeat_with(VecDeque::new).take(shards.into()).collect(),
            courier: Courier::new(shards),
            queued_to_self: 0,
            straight: Some(Box::default()),
            aimed: Vec::new(),
            picked_here: Vec::new(),
            joined_properties: Vec::new(),
            alias_topic: String::new(),
            sys: crate::sys::Sys::default(),
            hasher,
            limits,
            node,
        }
    }

    /// Sessions that may outlive their connection on this shard.
    pub(crate) fn sessions_max(&self) -> usize {
        self.limits.max_sessions.div_ceil(u32::from(self.shards)) as usize
    }

    /// An unpredictable number (SplitMix64 over the node's seed).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// An empty residue.
    pub(crate) fn take_buffer(&mut self) -> Box<Vec<u8>> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes a residue back.
    pub(crate) fn give_buffer(&mut self, mut buffer: Box<Vec<u8>>) {
        if self.buffers.len() < BUFFERS_SPARE && buffer.capacity() <= BUFFER_BYTES_SPARE {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    fn timer(&mut self, word: u64, fx: &mut Effects) {
        let (index, generation) = ((word >> 32) as u32 & 0x0fff_ffff, word as u32);
        match word >> 60 {
            1 => self.connection_timer(ConnectionId { slot: Slot(index), generation }, fx),
            2 => {
                let id = SessionId::from_word(u64::from(generation) << 32 | u64::from(index));
                self.session_timer(id.expect("a session's timer names it"), fx);
            }
            3 => self.second(fx),
            5 => self.stop_timer(fx),
            6 => self.fetch_timer(ConnectionId { slot: Slot(index), generation }, fx),
            7 => self.meter_timer(ConnectionId { slot: Slot(index), generation }),
            8 => {
                self.accepts_later = false;
                self.arm_accepts(fx);
            }
            // Each turn looks whether compaction goes on.
            9 => {}
            _ => self.end_interest(fx),
        }
    }

    /// What only time changes: feeds and retained messages grow old, levels are shown.
    fn second(&mut self, fx: &mut Effects) {
        fx.timers.set(self.now.after(SECOND), timer_word(TimerKind::Second, 0, 0));
        let mut dropped = 0;
        for (_, feed) in &mut self.feeds {
            while feed.oldest_chunk_end().is_some_and(|at| self.now.since(at) > self.limits.max_feed_age) {
                dropped += feed.drop_oldest(&mut self.arena);
            }
        }
        self.counters.add(Counter::DroppedLagging, dropped);
        self.retained.expire(self.now, RETAINED_EXPIRY_LOOKS);
        if let Some(stalls) = &self.stalls {
            self.counters.set(Counter::TurnsLong, stalls.count());
            self.counters.set(Counter::TurnLongestMicros, stalls.longest().as_micros() as u64);
        }
        self.counters.set(Counter::RetainedMessages, self.retained.len() as u64);
        self.counters.set(Counter::MessagesStored, self.store.len() as u64);
        self.counters.set(Counter::BytesStored, self.store.bytes());
        if let Some(log) = self.journal.log() {
            let (tail, trimmed, synced) = (log.tail().0, log.shared().trimmed().0, log.synced().0);
            self.counters.set(Counter::JournalBytes, tail - trimmed);
            self.counters.set(Counter::JournalStaged, tail - synced);
            self.counters.set(Counter::JournalSweeps, self.journal.sweeper.count);
        }
        self.retry_own(fx);
        self.end_interest(fx);
        self.end_expired(fx);
        self.end_patience(fx);
        self.end_recalls(fx);
        self.recheck_later();
        self.arm_accepts(fx);
        self.publish_sys(fx);
    }

    fn start(&mut self, fx: &mut Effects) {
        self.started = true;
        fx.timers.set(self.now.after(SECOND), timer_word(TimerKind::Second, 0, 0));
        self.start_recovery(fx);
        self.start_sys();
    }

    /// Takes what other shards have sent. Whether some is left that could go on now.
    fn drain(&mut self, rx: &mut Inbound, fx: &mut Effects) -> bool {
        let mut more = false;
        // Who has subscribed and asks for what is retained gets that before what another shard's client published then.
        for source in rx.sources() {
            self.drain_clients(source, rx, fx);
            more |= self.drain_interest(source, rx, fx);
        }
        for source in rx.sources() {
            self.drain_acks(source, rx, fx);
            more |= self.drain_deliveries(source, rx, fx);
            more |= self.drain_publishes(source, rx, fx);
        }
        more
    }
}

impl Handler for Switch {
    fn watch(&mut self, stalls: Arc<Stalls>) {
        self.stalls = Some(stalls);
    }

    fn handle(&mut self, now: Instant, event: Event<'_>, fx: &mut Effects) {
        self.now = now;
        let known = |switch: &mut Switch, slot, generation| {
            switch.connections.find(ConnectionId { slot, generation }).is_some()
        };
        match event {
            Event::Accepted { listener, slot, generation, peer } => {
                self.accepted(listener, ConnectionId { slot, generation }, peer, fx);
            }
            Event::AcceptFailed { listener, slot, errno, .. } => self.accept_failed(listener, slot, errno),
            Event::Received { slot, generation, bytes, armed } => {
                if known(self, slot, generation) {
                    self.received(slot, bytes, armed, fx);
                }
            }
            Event::ReceiveEnded { slot, generation, end } => {
                if known(self, slot, generation) {
                    self.receive_ended(slot, end, fx);
                }
            }
            Event::Writable { slot, generation, result } => {
                if known(self, slot, generation) {
                    self.writable(slot, result, fx);
                }
            }
            Event::Closed { slot, .. } => self.closed(slot, fx),
            Event::FdSent { slot, generation, result } => {
                self.socket_sent(ConnectionId { slot, generation }, result, fx);
            }
            Event::Timer(word) => self.timer(word, fx),
        }
    }

    fn work(&mut self, now: Instant, rx: &mut Inbound, fx: &mut Effects) -> bool {
        self.now = now;
        if !self.started {
            self.start(fx);
        }
        let mut more = self.shake_hands(fx);
        more |= self.gate.is_some() && self.hear_news(fx);
        more |= self.recheck.is_some() && self.recheck_certificates(fx);
        if rx.waits() {
            more |= self.drain(rx, fx);
        }
        self.settle(fx);
        self.settle_journal(rx, fx);
        self.courier.run(&mut fx.tx);
        self.profile.at(Stage::Other);
        self.run_own(fx);
        self.retry_parked(fx);
        self.tell_departures(fx);
        if self.stop.requested() {
            self.stop_on(fx);
        }
        more || !self.unparked.is_empty() || self.sweep_waits() || !self.store.is_settled()
    }

    fn plan(&mut self, now: Instant, plan: &mut Vec<Span>, fx: &mut Effects) {
        self.now = now;
        // What a flush has set free may go on before the shard sleeps.
        self.retry_unparked(fx);
        self.run_own(fx);
        while plan.is_empty() && !self.flush.is_empty() {
            self.plan_flush(plan, fx);
        }
        self.store.settle();
        // What this turn has written; what comes of the sends is shown by the plan after them.
        self.journal.show();
    }

    fn bytes(&self, span: &Span) -> &[u8] {
        self.span_bytes(span)
    }

    fn sent(&mut self, now: Instant, plan: &[Span], results: &[SendResult], fx: &mut Effects) {
        self.now = now;
        self.flushed(plan, results, fx);
    }

    fn finished(&self) -> bool {
        self.stopping == Stopping::Quiet && self.node.quiet.load(Ordering::Acquire) == u32::from(self.shards)
    }
}
