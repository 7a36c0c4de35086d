//! A node on a simulated kernel: its shards, each a real reactor with the real switch, taking turns on one thread.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use shard::Instant;
use shard::counters::{Counter as _, CounterReader};
use shard::idle::IdlePolicy;
use shard::mesh::{Mesh, RankSpec};
use shard::reactor::{Next, Reactor};
use switch::access::Desk;
use switch::audit::Holdings;
use switch::config::Settings;
use switch::counters::Counter;
use switch::journal::state::State;
use switch::journal::sweep::Compaction;
use switch::journal::{WallClock, rehome};
use switch::node::{Node, Part, Recovered};
use switch::program::log::LogSink;
use switch::program::stop::StopFlag;
use switch::routing::place::Placement;
use switch::switch::Switch;

use crate::disk::{Crash, Disk, DiskPlan, Stand};
use crate::driver::SimDriver;
use crate::kernel::{Buffers, Faults, Kernel, Sizes};
use crate::trace::say;

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shards of the node.
    pub shards: u16,
    /// The settings of the switch.
    pub settings: Settings,
    /// The parts of the kernel.
    pub sizes: Sizes,
    /// What the kernel does to the switch.
    pub faults: Faults,
    /// The rings between shards, by rank.
    pub ranks: Vec<RankSpec>,
    /// How often a shard's turn is another's instead, for a while: in 65,536 turns.
    pub stalls: u16,
    /// What its journals are on, if it has any.
    pub disk: Option<DiskPlan>,
}

/// Where the wall clock stands at time zero of a machine, in milliseconds since 1970.
const WALL_ORIGIN_MS: u64 = 1_700_000_000_000;

/// A running node.
pub struct Machine {
    kernel: Rc<RefCell<Kernel>>,
    shards: Vec<Shard>,
    /// The journal of each shard, if there are any.
    disks: Vec<Disk>,
    /// What the disks do.
    disk_rng: Rng,
    /// The secret of the placement.
    place: [u8; 16],
    /// Starts of this node.
    epoch: u32,
    /// The wall clock, by the kernel's time.
    wall: WallClock,
    /// When this start was, by the kernel's time: the node's own begins there.
    origin: Instant,
    /// What nodes before the last crash had handled, and had counted.
    before: (u64, Vec<u64>),
    counters: Vec<CounterReader<Counter>>,
    /// Where clients are judged, if they are.
    access: Option<Arc<Desk>>,
    stop: StopFlag,
    rng: Rng,
    stalls: u16,
    /// A shard that takes no turn while another has something to do, and for how many turns.
    stalled: (u32, u32),
    /// Turns that were taken.
    pub turns: u64,
}

struct Shard {
    reactor: Reactor<SimDriver, Switch>,
    next: Next,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This shard took a turn.
    Turned(u16),
    /// No shard has anything to do before this time.
    Idle(Instant),
}

impl Machine {
    /// A node that has started. The same plan and seed make the same node.
    ///
    /// # Panics
    /// The plan's placement rules are not valid, or there is no memory for the rings.
    pub fn new(plan: &Plan, seed: u64) -> Machine {
        Machine::with_access(plan, seed, None)
    }

    /// The same, with clients that are judged. Whoever has the desk answers what shards ask, and wakes them.
    ///
    /// # Panics
    /// As [`Machine::new`].
    pub fn guarded(plan: &Plan, seed: u64, desk: Arc<Desk>) -> Machine {
        Machine::with_access(plan, seed, Some(desk))
    }

    fn with_access(plan: &Plan, seed: u64, access: Option<Arc<Desk>>) -> Machine {
        let mut rng = Rng::with_seed(seed);
        let kernel = Kernel::new(rng.u64(..), plan.shards, plan.sizes, plan.faults);
        let kernel = Rc::new(RefCell::new(kernel));
        let mut place = [0; 16];
        rng.fill(&mut place);
        let mut machine = Machine {
            kernel,
            shards: Vec::new(),
            disks: Vec::new(),
            disk_rng: Rng::with_seed(seed ^ 0x6469_736b),
            place,
            epoch: 0,
            wall: WallClock { origin_ms: WALL_ORIGIN_MS },
            origin: Instant::ZERO,
            before: (0, Vec::new()),
            counters: Vec::new(),
            access,
            stop: StopFlag::default(),
            rng,
            stalls: 0,
            stalled: (0, 0),
            turns: 0,
        };
        if plan.disk.is_some() {
            // The past has room for a clock that is set.
            machine.kernel.borrow_mut().pass(Duration::from_secs(100_000));
            machine.origin = machine.kernel.borrow().now();
        }
        machine.start(plan, Vec::new());
        machine.settle(100_000).expect("a node starts");
        machine.stalls = plan.stalls;
        machine
    }

    /// The shards begin, with what recovery has found of each.
    fn start(&mut self, plan: &Plan, mut stands: Vec<Stand>) {
        let placement = Placement::new(plan.shards, self.place, &plan.settings.placement.rules).expect("valid rules");
        let seeds = std::array::from_fn(|_| self.rng.u64(..));
        if self.kernel.borrow().print {
            for (shard, stand) in stands.iter().enumerate() {
                stand.entries().for_each(|entry| say(format_args!("{:>15}{shard} journal {entry:?}", "s")));
            }
        }
        let mut states: Vec<State> = stands.iter().map(Stand::state).collect();
        if !states.is_empty() && states.len() != usize::from(plan.shards) {
            states = rehome::deal(states, &placement, plan.shards);
            stands = states.iter().map(Stand::rehomed).collect();
        }
        self.epoch += 1;
        let (node, writers) = Node::new(Arc::new(plan.settings.clone()), placement, seeds, plan.shards);
        let node = Arc::new(Node { access: self.access.clone(), ..node });
        self.stop = StopFlag::default();
        let listeners = switch::listener::plain(plan.shards);
        let mesh = Mesh::build(plan.shards, &plan.ranks).expect("memory for the rings");
        let (mut states, mut stands) = (states.into_iter(), stands.into_iter());
        let wall = WallClock { origin_ms: self.wall.ms(self.origin) };
        self.disks.clear();
        self.shards.clear();
        for (end, counters) in mesh.into_iter().zip(writers) {
            let id = end.id();
            let buffers = Buffers::new(plan.sizes.buffers, plan.sizes.buffer_bytes);
            let driver = SimDriver::new(id.0, Rc::clone(&self.kernel), self.origin, buffers);
            let (slots, log, stop) = (plan.sizes.slots, LogSink::none(), self.stop.clone());
            let journal = plan.disk.map(|disk| {
                let (log, keeper) = Disk::new(disk, stands.next());
                self.disks.push(keeper);
                let (least_bytes, most_bytes) = (disk.least_bytes, disk.most_bytes);
                let compaction = Compaction { ratio: 3, least_bytes, most_bytes };
                let state = states.next().unwrap_or_default();
                Recovered { log, state, sources: Vec::new(), epoch: self.epoch, compaction }
            });
            let part = Part { id, slots, listeners: listeners.clone(), counters, log, stop, journal, wall };
            let switch = Switch::new(Arc::clone(&node), part);
            self.shards
                .push(Shard { reactor: Reactor::new(driver, switch, end, IdlePolicy::SLEEP), next: Next::Again });
        }
        self.counters = node.counters.clone();
    }

    /// The node ends without a goodbye and starts again, on what its disks have kept: as `plan` has it, and with a wall
    /// clock that was set to something else by so many milliseconds meanwhile.
    pub fn crash(&mut self, crash: Crash, plan: &Plan, set_ms: i64) {
        self.before.0 += self.shards.iter().map(|shard| shard.reactor.handled()).sum::<u64>();
        let counted: Vec<u64> = Counter::ALL.iter().map(|counter| self.total(*counter)).collect();
        self.before.1 = counted;
        let disks = std::mem::take(&mut self.disks);
        let stands = disks.into_iter().map(|disk| disk.survives(crash, &mut self.disk_rng)).collect();
        self.wall.origin_ms = self.wall.origin_ms.saturating_add_signed(set_ms);
        self.shards.clear();
        self.stalled = (0, 0);
        self.origin = self.kernel.borrow().now();
        self.kernel.borrow_mut().crash(plan.shards);
        self.start(plan, stands);
    }

    /// The wall clock now, in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.wall.ms(self.kernel.borrow().now())
    }

    /// Whether the journal of any shard takes nothing more.
    pub fn is_fenced(&self) -> bool {
        self.disks.iter().any(Disk::is_fenced)
    }

    /// Disks are not unkind any more.
    pub fn be_kind(&mut self) {
        self.disks.iter_mut().for_each(Disk::be_kind);
    }

    /// When a disk has something to do, if any has.
    fn disk_due(&self) -> Option<Instant> {
        self.disks.iter().filter_map(Disk::due).min()
    }

    /// No shard has anything to do: time passes until a disk has. False: none has, before a timer is due.
    pub fn wait_for_disks(&mut self, timer: Instant) -> bool {
        match self.disk_due() {
            Some(due) if due <= timer => {
                self.kernel.borrow_mut().pass_until(due);
                true
            }
            _ => false,
        }
    }

    /// The kernel, to look at.
    pub fn kernel(&self) -> Ref<'_, Kernel> {
        self.kernel.borrow()
    }

    /// The kernel, for what clients do.
    pub fn kernel_mut(&self) -> RefMut<'_, Kernel> {
        self.kernel.borrow_mut()
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    /// One shard that has something to do takes a turn; which one is the seed's choice. A shard that a turn left idle
    /// takes none before the kernel, another shard or a timer stirs it: a wake-up that is lost stays lost.
    pub fn step(&mut self) -> Step {
        let now = self.kernel.borrow().now();
        for (disk, shard) in self.disks.iter_mut().zip(&mut self.shards) {
            if disk.turn(now, &mut self.disk_rng) {
                shard.next = Next::Again;
            }
        }
        let origin = self.origin;
        let own = |until: Instant| match until {
            Instant::NEVER => until,
            until => origin.after(until.since(Instant::ZERO)),
        };
        let mut ready = 0u64;
        let mut first = Instant::NEVER;
        for (index, shard) in self.shards.iter_mut().enumerate() {
            match shard.next {
                Next::Again => ready |= 1 << index,
                Next::Idle { until } if own(until) <= now || shard.reactor.something_waits() => ready |= 1 << index,
                Next::Idle { until } => first = first.min(own(until)),
                Next::Finished => {}
            }
        }
        if ready == 0 {
            return Step::Idle(first);
        }
        ready = self.without_stalled(ready);
        let nth = self.rng.u32(..ready.count_ones());
        for _ in 0..nth {
            ready &= ready - 1;
        }
        let index = ready.trailing_zeros() as usize;
        // A turn takes time: deadlines pass while others run.
        let nanos = 200 + u64::from(self.rng.u16(..20_000));
        self.kernel.borrow_mut().pass(Duration::from_nanos(nanos));
        self.shards[index].next = self.shards[index].reactor.turn();
        self.turns += 1;
        Step::Turned(index as u16)
    }

    /// The shards that may turn, of those that have something to do.
    fn without_stalled(&mut self, ready: u64) -> u64 {
        let (shard, turns) = self.stalled;
        if turns > 0 {
            self.stalled.1 -= 1;
        } else if self.stalls > 0 && self.rng.u16(..) < self.stalls {
            self.stalled = (self.rng.u32(..self.shards.len() as u32), self.rng.u32(1..200));
        }
        let others = ready & !(1 << shard);
        if turns > 0 && others != 0 { others } else { ready }
    }

    /// Steps until no shard has anything to do, and no disk; returns when the next timer is due. Time passes as the
    /// disks need it. `None`: it did not come to rest within `turns_max` turns.
    pub fn settle(&mut self, turns_max: u64) -> Option<Instant> {
        for _ in 0..turns_max {
            if let Step::Idle(until) = self.step() {
                match self.disk_due() {
                    None => return Some(until),
                    Some(due) => self.kernel.borrow_mut().pass_until(due.min(until)),
                }
            }
        }
        None
    }

    /// Lets time pass, and all that is due by then happen, as [`Machine::settle`] does.
    pub fn pass(&mut self, by: Duration, turns_max: u64) -> Option<Instant> {
        let end = self.kernel.borrow().now().after(by);
        loop {
            let until = self.settle(turns_max)?;
            if until > end {
                self.kernel.borrow_mut().pass_until(end);
                return Some(until);
            }
            self.kernel.borrow_mut().pass_until(until);
        }
    }

    /// Rings every shard's doorbell.
    pub fn wake_all(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.next = Next::Again);
    }

    /// Whether no shard has anything to do before a timer is due.
    pub fn is_idle(&mut self) -> bool {
        self.shards.iter_mut().all(|shard| matches!(shard.next, Next::Idle { .. }) && !shard.reactor.something_waits())
    }

    /// Asks the node to stop; all shards look at their next turn.
    pub fn stop(&mut self) {
        self.stop.request();
        self.shards.iter_mut().for_each(|shard| shard.next = Next::Again);
    }

    /// What the switch has handled: completions, results of sends, timers and parcels.
    pub fn handled(&self) -> u64 {
        self.before.0 + self.shards.iter().map(|shard| shard.reactor.handled()).sum::<u64>()
    }

    /// Whether every shard has come to its end.
    pub fn finished(&self) -> bool {
        self.shards.iter().all(|shard| shard.next == Next::Finished)
    }

    /// The sum over all shards, and over all starts.
    pub fn total(&self, counter: Counter) -> u64 {
        self.before.1.get(counter.index()).copied().unwrap_or(0) + self.total_of_start(counter)
    }

    /// The sum over all shards since the node started last.
    pub fn total_of_start(&self, counter: Counter) -> u64 {
        self.counters.iter().map(|counters| counters.read(counter)).sum()
    }

    /// What a shard counts.
    pub fn counters(&self, shard: u16) -> &CounterReader<Counter> {
        &self.counters[usize::from(shard)]
    }

    /// What a shard holds.
    pub fn holdings(&mut self, shard: u16) -> Holdings {
        self.shards[usize::from(shard)].reactor.handler().holdings()
    }

    /// Whether all receive buffers of a shard are free.
    pub fn buffers_home(&mut self, shard: u16) -> bool {
        self.shards[usize::from(shard)].reactor.driver().buffers().all_home()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SocketId;
    use switch::routing::parcel::rank_specs;

    fn plan(shards: u16) -> Plan {
        let settings = Settings::default();
        let ranks = rank_specs(&settings.limits, shards).to_vec();
        let sizes = Sizes { slots: 64, buffers: 8, buffer_bytes: 512, send_bytes: 4096 };
        Plan { shards, settings, sizes, faults: Faults::default(), ranks, stalls: 0, disk: None }
    }

    /// A node of three shards, and a connection to this one whose CONNECT was answered.
    fn connected(shard: u16) -> (Machine, SocketId) {
        let mut machine = Machine::new(&plan(3), 7);
        machine.settle(1000).expect("it comes to rest");
        let id = machine.kernel_mut().connect(shard);
        machine.kernel_mut().client_sends(id, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a");
        machine.settle(1000).expect("it comes to rest");
        (machine, id)
    }

    /// A client that sends CONNECT to any shard gets CONNACK without time passing, and PINGRESP.
    #[test]
    fn a_client_is_served() {
        for shard in 0..3 {
            let (mut machine, id) = connected(shard);
            let mut bytes = Vec::new();
            machine.kernel_mut().client_reads(id, 100, &mut bytes);
            assert_eq!(bytes, [0x20, 2, 0, 0]);
            machine.kernel_mut().client_sends(id, &[0xc0, 0]);
            machine.settle(1000).expect("it comes to rest");
            machine.kernel_mut().client_reads(id, 100, &mut bytes);
            assert_eq!(bytes[4..], [0xd0, 0]);
            machine.kernel_mut().client_finishes(id);
            machine.pass(Duration::from_secs(10), 1_000_000).expect("it comes to rest");
            assert!(machine.kernel().socket(id).ended());
            for shard in 0..3 {
                assert_eq!(machine.holdings(shard), Holdings::default(), "shard {shard}");
                assert!(machine.buffers_home(shard));
            }
        }
    }

    /// A node that is asked to stop closes its clients and comes to its end.
    #[test]
    fn a_node_stops() {
        let mut machine = Machine::new(&plan(2), 1);
        machine.settle(1000).expect("it comes to rest");
        let id = machine.kernel_mut().connect(0);
        machine.kernel_mut().client_sends(id, b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a");
        machine.settle(1000).expect("it comes to rest");
        machine.stop();
        machine.pass(Duration::from_secs(5), 1_000_000).expect("it comes to rest");
        assert!(machine.finished() && machine.kernel().socket(id).switch_fin);
    }

    /// Story: a client read what a node had sent before it closed the connection, on a shard that the node after a crash
    /// had no more; the simulated kernel looked for a poll there.
    #[test]
    fn what_was_sent_before_a_close_is_read_after_a_crash() {
        let (mut machine, id) = connected(2);
        machine.kernel_mut().client_sends(id, b"\xe0\x00");
        machine.kernel_mut().client_finishes(id);
        machine.settle(1000).expect("it comes to rest");
        assert_eq!(machine.kernel().socket(id).holders, 0, "DISCONNECT ends it");
        machine.kernel_mut().crash(1);
        let mut bytes = Vec::new();
        machine.kernel_mut().client_reads(id, 64, &mut bytes);
        assert_eq!(bytes, b"\x20\x02\x00\x00");
    }
}
