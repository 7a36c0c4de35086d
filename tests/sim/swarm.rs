//! What a seed chooses before a run begins: how large everything is, how unkind the kernel and the clients are. Every
//! rate may be zero, so that some runs are calm in one respect and wild in another, and corners need no luck to be met.

use std::time::Duration;

use fastrand::Rng;
use persistence::Durability;
use shard::mesh::RankSpec;
use switch::config::Settings;
use switch::routing::parcel::{ACK, DELIVER, PUBLISH, rank_specs};

use crate::disk::DiskPlan;
use crate::kernel::{Faults, Sizes};
use crate::machine::Plan;

/// How clients behave.
#[derive(Clone, Debug)]
pub struct Manners {
    /// How many client identifiers there are.
    pub clients: usize,
    /// How many of them share subscriptions instead of having their own.
    pub workers: usize,
    /// Relative weights of what a client does next.
    pub weights: Weights,
    /// Of 256 clients that connect, how many want a session that lasts.
    pub durable: u8,
    /// Of 256 connections, how many have a will.
    pub wills: u8,
    /// Of 256 connections, how many are made while the one before is still open.
    pub races: u8,
    /// Of 256 readings, how many are skipped; 255: a slow reader now and then reads nothing for long.
    pub lazy: u8,
    /// Of 256 acknowledgements that a client owes, how many it keeps back for a while.
    pub withheld: u8,
    /// Of 256 publishes, how many have a large payload.
    pub large: u8,
    /// Of 256 publishes, how many are retained.
    pub retained: u8,
    /// Of 256 publishes, how many expire.
    pub expiring: u8,
    /// Highest QoS that clients publish and subscribe with.
    pub qos_max: u8,
    /// Steps of the machine between two actions of clients, at most.
    pub steps_max: u32,
}

/// Relative weights of actions.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Connect.
    pub connect: u32,
    /// Publish.
    pub publish: u32,
    /// Subscribe.
    pub subscribe: u32,
    /// Unsubscribe.
    pub unsubscribe: u32,
    /// PINGREQ.
    pub ping: u32,
    /// DISCONNECT.
    pub disconnect: u32,
    /// Go without a goodbye.
    pub vanish: u32,
    /// Send what no client may send.
    pub hostile: u32,
    /// Stop reading, or begin again.
    pub pause: u32,
    /// Let everything come to rest and look at it.
    pub rest: u32,
    /// Let time pass.
    pub time: u32,
}

/// How a node with journals ends and comes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crashes {
    /// Of 65,536 actions, how many are crashes.
    pub rate: u16,
    /// Of 256 crashes, how many are power losses; the others end the process.
    pub power: u8,
    /// Of 256 crashes, how many are put off until a client has heard an answer, and are losses of power then: what was
    /// said before it was on disk is found out.
    pub sharp: u8,
    /// Of 256 crashes, behind how many the wall clock stands somewhere else.
    pub clock: u8,
    /// Of 256 crashes, behind how many there is another number of shards.
    pub reshards: u8,
    /// Of 256 crashes, behind how many durability is another.
    pub redecides: u8,
    /// Of 256 clients with a session, how many come back at once.
    pub prompt: u8,
    /// A journal may refuse what it is to keep: its ring is small, or its disk may fail.
    pub refuses: bool,
    /// Its disk may fail.
    pub fails: bool,
    /// Clients use the lowest packet identifier that is free.
    pub low_ids: bool,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// The node and its kernel.
    pub plan: Plan,
    /// The clients.
    pub manners: Manners,
    /// What happens to the node.
    pub crashes: Crashes,
}

impl Swarm {
    /// The choices of a seed.
    pub fn of(rng: &mut Rng) -> Swarm {
        Swarm { plan: plan(rng), manners: manners(rng), crashes: Crashes::default() }
    }

    /// Gives the node journals, and crashes.
    pub fn with_journals(&mut self, rng: &mut Rng) {
        let disk = disk(rng);
        self.plan.disk = Some(disk);
        self.crashes = Crashes {
            refuses: disk.ring < 1 << 20 || disk.fails > 0,
            fails: disk.fails > 0,
            rate: if rng.u8(..4) == 0 { 0 } else { rng.u16(10..300) },
            power: one_of(rng, &[0, 128, 255]),
            clock: byte(rng) / 4,
            reshards: if rng.bool() { 0 } else { rng.u8(..) },
            redecides: byte(rng) / 4,
            prompt: byte(rng),
            low_ids: rng.bool(),
            sharp: if rng.bool() { 0 } else { rng.u8(..) },
        };
        if rng.bool() {
            self.manners.durable = self.manners.durable.max(160);
        }
    }
}

fn plan(rng: &mut Rng) -> Plan {
    let shards = one_of(rng, &[1, 2, 2, 3, 4]);
    let mut settings = Settings::default();
    settings.sys.interval = Duration::ZERO;
    let limits = &mut settings.limits;
    limits.max_connections = 1_000_000;
    limits.max_sessions = 1000;
    limits.max_topic_alias = one_of(rng, &[0, 1, 4, 32]);
    limits.max_inflight = one_of(rng, &[1, 2, 5, 32]);
    limits.receive_maximum = one_of(rng, &[2, 4, 20, 1024]);
    limits.max_queued_messages = one_of(rng, &[3, 20, 1000, 1000]);
    limits.publish_credits = one_of(rng, &[2, 4, 16, 1024]);
    limits.max_feed_bytes = one_of(rng, &[64 << 10, 1 << 20, 1 << 20]);
    limits.max_feed_age = Duration::from_secs(one_of(rng, &[1, 10, 10]));
    limits.max_outbox_bytes = one_of(rng, &[4 << 10, 32 << 10, 256 << 10]);
    limits.queue_memory = one_of(rng, &[8 << 10, 512 << 20, 512 << 20, 512 << 20]);
    limits.feed_memory = one_of(rng, &[512 << 10, 16 << 20, 16 << 20]);
    let sizes = Sizes {
        // Clients that are gone keep their slots until they have lingered.
        slots: 4096,
        buffers: one_of(rng, &[1, 4, 32]),
        buffer_bytes: one_of(rng, &[16, 64, 512, 4096]),
        send_bytes: one_of(rng, &[64, 1000, 16 << 10, 64 << 10]),
    };
    let faults = Faults {
        split: rate(rng, 30_000),
        multishot_ends: rate(rng, 10_000),
        late: rate(rng, 20_000),
        short_send: rate(rng, 20_000),
        no_descriptor: rate(rng, 3_000),
        no_buffer: rate(rng, 10_000),
    };
    let mut ranks = rank_specs(&settings.limits, shards).to_vec();
    let tiny = one_of(rng, &[1 << 10, 2 << 10, 0, 0]);
    if tiny > 0 {
        for (rank, spec) in ranks.iter_mut().enumerate() {
            if rank != usize::from(ACK.0) {
                *spec = RankSpec { bytes: tiny };
            }
        }
    }
    // As small as the smallest that a configuration leads to.
    ranks[usize::from(PUBLISH.0)] = RankSpec { bytes: one_of(rng, &[32 << 10, 32 << 10, 1 << 20]) };
    ranks[usize::from(DELIVER.0)] = RankSpec { bytes: one_of(rng, &[32 << 10, 32 << 10, 1 << 20]) };
    let stalls = rate(rng, 2_000);
    Plan { shards, settings, sizes, faults, ranks, stalls, disk: None }
}

fn disk(rng: &mut Rng) -> DiskPlan {
    DiskPlan {
        // A quarter holds the largest message, as the configuration has it.
        ring: one_of(rng, &[64 << 10, 64 << 10, 128 << 10, 4 << 20, 4 << 20, 4 << 20]),
        durability: durability(rng),
        least_bytes: one_of(rng, &[0, 1 << 10, 16 << 10, 64 << 20]),
        most_bytes: one_of(rng, &[0, 0, 64 << 10]),
        sync_micros: one_of(rng, &[10, 300, 5_000, 50_000]),
        slow: rate(rng, 2_000),
        fails: if rng.u8(..4) > 0 { 0 } else { rng.u16(1..200) },
        keeps: byte(rng),
    }
}

/// Mostly what promises most.
pub fn durability(rng: &mut Rng) -> Durability {
    one_of(rng, &[Durability::Fsync, Durability::Fsync, Durability::Fsync, Durability::Written, Durability::Memory])
}

fn manners(rng: &mut Rng) -> Manners {
    let weight = |rng: &mut Rng, most: u32| if rng.u8(..4) == 0 { 0 } else { rng.u32(1..=most) };
    let weights = Weights {
        connect: rng.u32(4..30),
        publish: rng.u32(30..300),
        subscribe: rng.u32(5..30),
        unsubscribe: weight(rng, 15),
        ping: weight(rng, 5),
        disconnect: weight(rng, 8),
        vanish: weight(rng, 8),
        hostile: weight(rng, 4),
        pause: weight(rng, 8),
        rest: rng.u32(2..12),
        time: weight(rng, 4),
    };
    Manners {
        clients: rng.usize(2..9),
        workers: if rng.bool() { 0 } else { rng.usize(1..4) },
        weights,
        durable: byte(rng),
        wills: byte(rng),
        races: byte(rng) / 2,
        lazy: byte(rng) / 2,
        withheld: byte(rng),
        large: byte(rng) / one_of(rng, &[1, 8, 8]),
        retained: byte(rng) / 2,
        expiring: byte(rng) / 4,
        qos_max: one_of(rng, &[0, 1, 2, 2, 2]),
        steps_max: one_of(rng, &[1, 4, 16, 64]),
    }
}

/// A rate that is zero half of the time.
fn rate(rng: &mut Rng, most: u16) -> u16 {
    if rng.bool() { 0 } else { rng.u16(1..=most) }
}

fn byte(rng: &mut Rng) -> u8 {
    if rng.u8(..4) == 0 { 0 } else { rng.u8(..) }
}

fn one_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}
