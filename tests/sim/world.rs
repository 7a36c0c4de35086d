//! A run: one node, its clients, what they believe, and the seed that decides what happens next.
//!
//! ```text
//!   loop  ─▶ act: one client does something            (`actions`)
//!         ─▶ advance: some shards take turns, clients read and answer   (`reactions`, `oracle::delivery`)
//!         ─▶ now and then everything comes to rest, and is looked at     (`oracle::rest`)
//!   at the end nothing is unkind any more: all that is owed must come, and all that is held must go (`oracle::end`)
//! ```

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fastrand::Rng;
use shard::Instant;
use switch::counters::{Counter, DROPPED};

use crate::kernel::SocketId;
use crate::machine::{Machine, Step};
use crate::model::{
    CLASSES, Client, ClientId, Conn, ConnId, GroupOwed, Left, Message, MessageId, Session, Stage, Tick,
};
use crate::packet::Version;
use crate::swarm::Swarm;
use crate::topics::{Matches, TOPICS};
use crate::trace::{Trace, trace};

/// A promise that was not kept, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// What a check comes to.
pub type Check<T = ()> = Result<T, Violation>;

/// Ends a check with a violation.
macro_rules! fail {
    ($($text:tt)*) => {
        return Err($crate::world::Violation(format!($($text)*)))
    };
}
pub(crate) use fail;

/// A run.
pub struct World {
    pub(crate) machine: Machine,
    pub(crate) swarm: Swarm,
    pub(crate) rng: Rng,
    pub(crate) matches: Matches,
    pub(crate) trace: Trace,
    pub(crate) tick: Tick,
    pub(crate) messages: Vec<Message>,
    pub(crate) clients: Vec<Client>,
    pub(crate) conns: Vec<Conn>,
    /// Connections that are not over.
    pub(crate) live: Vec<ConnId>,
    /// Sockets that their clients gave up, and when: the switch must let go of them.
    pub(crate) abandoned: Vec<(SocketId, Instant)>,
    /// Copies of messages that members of a shared subscription got.
    pub(crate) group_copies: HashMap<(usize, MessageId), u32>,
    /// When a connection of a member of a shared subscription ended last.
    pub(crate) member_gone: Tick,
    /// When subscriptions of an old session were forgotten last.
    pub(crate) forgotten: Tick,
    /// When everything was at rest last.
    pub(crate) rested: Tick,
    /// Messages that some member got, or may have got as such.
    pub(crate) group_came: HashSet<(usize, MessageId)>,
    /// Messages that some member of a shared subscription must get.
    pub(crate) group_owed: Vec<GroupOwed>,
    /// Wills that are published now, once everything is at rest.
    pub(crate) wills: Vec<MessageId>,
    /// Retained messages by topic, as they were published.
    pub(crate) retained: Vec<Vec<MessageId>>,
    /// All clients have come back: what they are owed must come now or never.
    pub(crate) ending: bool,
    /// Places of messages in flight, ever.
    pub(crate) order: u64,
    /// Filters that somebody ever asked for, a bit each.
    pub(crate) ever_asked: u64,
    /// Copies that were owed and did not come, by class: of each, what had been dropped until its message was made. The
    /// switch must have counted each since then.
    pub(crate) missing: [Vec<u64>; CLASSES],
    /// Shared subscriptions, by filter, that ever had a member of QoS 0: what that was sent may be lost.
    pub(crate) weak_groups: u64,
    /// Deliveries that oracles looked at.
    pub deliveries: u64,
    /// There were no descriptors now and then.
    pub(crate) scarce: bool,
    /// What happens to the node.
    pub(crate) chaos: Rng,
    /// When everything was at rest and on disk last: nothing of before can get lost.
    pub(crate) kept: Tick,
    /// The node is gone.
    pub(crate) crashing: bool,
    /// Kinds of packets that clients have heard since the last action, a bit each.
    pub(crate) heard: u16,
    /// The power fails when a client hears a packet of this kind.
    pub(crate) awaited: Option<u8>,
    /// There was a crash: of what is not certain anything may be back.
    pub(crate) crashed: bool,
    /// Wills that are not wanted any more, which the journal may not know.
    pub(crate) cancelled: Vec<MessageId>,
    /// Crashes.
    pub crashes: u64,
    /// Scratch space for packets.
    pub(crate) out: Vec<u8>,
    pub(crate) hostile: u32,
}

/// What a run was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the switch handled: completions, results of sends, timers and parcels.
    pub events: u64,
    /// Turns of shards.
    pub turns: u64,
    /// Messages that clients published.
    pub messages: u64,
    /// Deliveries that oracles looked at.
    pub deliveries: u64,
    /// Crashes.
    pub crashes: u64,
    /// The trace in one number.
    pub fingerprint: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.events += other.events;
        self.turns += other.turns;
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.crashes += other.crashes;
        // In whatever order runs end.
        self.fingerprint ^= other.fingerprint;
    }
}

/// Turns within which a machine must come to rest.
pub(crate) const TURNS_MAX: u64 = 200_000;

/// After so long nobody waits for what is tried again and again.
const REST_MAX: Duration = Duration::from_secs(600);

impl World {
    /// The run of a seed, at its beginning.
    pub fn new(seed: u64, print: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let mut swarm = Swarm::of(&mut rng);
        let mut chaos = Rng::with_seed(seed ^ 0x0063_6861_6f73);
        if chaos.bool() {
            swarm.with_journals(&mut chaos);
        }
        let machine = Machine::new(&swarm.plan, rng.u64(..));
        let clients = (0..swarm.manners.clients + swarm.manners.workers).map(|index| Client {
            name: format!("c{index}"),
            version: if rng.bool() { Version::V5 } else { Version::V311 },
            worker: index >= swarm.manners.clients,
            session: Session { certain: true, ..Session::default() },
            subs: Vec::new(),
            owed: Vec::new(),
            conns: Vec::new(),
            left_at: None,
            packet_id: 0,
            left: Left::default(),
            changed: 0,
        });
        let mut world = World {
            scarce: swarm.plan.faults.no_descriptor > 0,
            clients: clients.collect(),
            machine,
            swarm,
            rng,
            matches: Matches::new(),
            trace: Trace::new(print),
            tick: 0,
            messages: Vec::new(),
            conns: Vec::new(),
            live: Vec::new(),
            abandoned: Vec::new(),
            group_copies: HashMap::new(),
            member_gone: 0,
            forgotten: 0,
            rested: 0,
            group_came: HashSet::new(),
            group_owed: Vec::new(),
            wills: Vec::new(),
            retained: vec![Vec::new(); TOPICS.len()],
            ending: false,
            order: 0,
            ever_asked: 0,
            missing: Default::default(),
            weak_groups: 0,
            deliveries: 0,
            chaos,
            kept: 0,
            crashing: false,
            heard: 0,
            awaited: None,
            crashed: false,
            cancelled: Vec::new(),
            crashes: 0,
            out: Vec::new(),
            hostile: 0,
        };
        for client in &mut world.clients {
            if client.worker {
                // Shared subscriptions need v5.
                client.version = Version::V5;
            }
        }
        world.machine.kernel_mut().print = print;
        trace!(world, "seed {seed}: {:?}", world.swarm);
        world
    }

    /// Runs until the switch has handled that many events, and then to the end.
    ///
    /// # Errors
    /// The first promise that was not kept.
    pub fn run(&mut self, events: u64) -> Check<Report> {
        self.machine.settle(TURNS_MAX);
        while self.machine.handled() < events {
            self.act()?;
            self.may_crash()?;
            self.heard = 0;
            self.advance()?;
            self.may_crash_as_awaited()?;
        }
        self.end()?;
        Ok(self.report())
    }

    /// What the run was like so far.
    pub fn report(&self) -> Report {
        Report {
            events: self.machine.handled(),
            turns: self.machine.turns,
            messages: self.messages.len() as u64,
            deliveries: self.deliveries,
            crashes: self.crashes,
            fingerprint: self.trace.fingerprint(),
        }
    }

    /// Shards take turns, and clients read.
    fn advance(&mut self) -> Check {
        let steps = self.rng.u32(1..=self.swarm.manners.steps_max);
        for _ in 0..steps {
            if let Step::Idle(timer) = self.machine.step()
                && (self.chaos.bool() || !self.machine.wait_for_disks(timer))
            {
                break;
            }
        }
        self.read_all(self.swarm.manners.lazy).map(drop)
    }

    /// Clients read what has come; each is too lazy to in `lazy` of 256 cases. Whether anybody read anything.
    pub(crate) fn read_all(&mut self, lazy: u8) -> Check<bool> {
        let mut any = false;
        let mut index = 0;
        while let Some(&conn) = self.live.get(index) {
            if !self.conns[conn].paused && (lazy == 0 || self.rng.u8(..) >= lazy) {
                any |= self.read(conn, lazy > 0)?;
            }
            // A connection that is over has made room for the next.
            index += usize::from(self.live.get(index) == Some(&conn));
        }
        Ok(any)
    }

    /// Everything comes to rest: no shard has anything to do, and clients that read have read all.
    pub(crate) fn rest(&mut self) -> Check {
        let begun = self.now();
        loop {
            if self.now().since(begun) > REST_MAX && self.will_is_tried_again() {
                // What a full shard refuses is published again now and then, while disks take their time.
                return Ok(());
            }
            if self.machine.settle(TURNS_MAX).is_none() {
                fail!("the switch does not come to rest within {TURNS_MAX} turns");
            }
            let pinged = self.keep_alive();
            if !self.read_all(0)? && !pinged {
                return Ok(());
            }
        }
    }

    /// Disks have taken their time: whoever keeps a keep alive says so. Whether anybody did.
    fn keep_alive(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.live.len() {
            let conn = self.live[index];
            let state = &self.conns[conn];
            let quiet = self.now().since(state.sent_at).as_secs();
            let due = quiet * 2 > u64::from(state.keep_alive) && self.swarm.plan.disk.is_some();
            if state.stage == Stage::Open && state.keep_alive > 0 && !state.silent && due {
                self.ping(conn);
                any = true;
            }
        }
        any
    }

    /// Time passes; whoever has a keep alive keeps it, but for those who are silent on purpose.
    pub(crate) fn pass(&mut self, mut time: Duration) -> Check {
        const SLICE: Duration = Duration::from_secs(2);
        while !time.is_zero() {
            let slice = time.min(SLICE);
            time -= slice;
            for index in 0..self.live.len() {
                let conn = &self.conns[self.live[index]];
                if conn.stage == Stage::Open && conn.keep_alive > 0 && !conn.silent {
                    self.ping(self.live[index]);
                }
            }
            if self.machine.pass(slice, TURNS_MAX).is_none() {
                fail!("the switch does not come to rest within {TURNS_MAX} turns");
            }
            self.rest()?;
        }
        Ok(())
    }

    /// The time.
    pub(crate) fn now(&self) -> Instant {
        self.machine.kernel().now()
    }

    /// The next moment.
    pub(crate) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    /// Copies that the switch says it dropped, for whatever reason.
    pub(crate) fn dropped(&self) -> u64 {
        DROPPED.iter().map(|counter: &Counter| self.machine.total(*counter)).sum()
    }

    /// Copies that the switch says it dropped, for reasons that QoS 0 may have, or QoS 1 and 2.
    pub(crate) fn dropped_at(&self, class: usize) -> u64 {
        const REASONS: [&[Counter]; CLASSES] = [
            &[
                Counter::DroppedLagging,
                Counter::DroppedFeedMemory,
                Counter::DroppedOutboxFull,
                Counter::DroppedTooLarge,
                Counter::DroppedExpired,
                Counter::DroppedOffline,
                Counter::DroppedConnectionClosed,
                Counter::DroppedNoMember,
            ],
            &[
                Counter::DroppedQueueFull,
                Counter::DroppedQueueMemory,
                Counter::DroppedTooLarge,
                Counter::DroppedExpired,
                Counter::DroppedSessionEnded,
                Counter::DroppedNoMember,
            ],
            &DROPPED,
            // What a member of a group did not acknowledge is another's when its session ends.
            &[
                Counter::DroppedQueueFull,
                Counter::DroppedQueueMemory,
                Counter::DroppedTooLarge,
                Counter::DroppedExpired,
                Counter::DroppedNoMember,
            ],
        ];
        REASONS[class].iter().map(|counter| self.machine.total(*counter)).sum()
    }

    pub(crate) fn dropped_by_class(&self) -> [u64; CLASSES] {
        std::array::from_fn(|class| self.dropped_at(class))
    }

    /// The client sends what is in `out`.
    pub(crate) fn send(&mut self, conn: ConnId) {
        let now = self.now();
        let state = &mut self.conns[conn];
        state.sent_at = now;
        self.trace.fold(conn as u64, &self.out);
        self.machine.kernel_mut().client_sends(state.socket, &self.out);
        self.out.clear();
    }

    /// The open connection of a client.
    pub(crate) fn open_conn(&self, client: ClientId) -> Option<ConnId> {
        self.clients[client].conns.iter().copied().find(|conn| self.conns[*conn].stage == Stage::Open)
    }
}
