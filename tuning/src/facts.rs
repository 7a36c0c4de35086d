//! The machine as plain data. No field is a counter or changes by itself: two looks at a machine that nobody has
//! touched are equal, so that what differs between two of them is a difference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::fact::Fact;

/// The form of this data; it changes when a field changes its meaning.
pub const FORMAT: u32 = 1;

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// [`FORMAT`].
    pub format: u32,
    /// What kind of machine it is.
    pub machine: Machine,
    /// The kernel and what it was told.
    pub kernel: Kernel,
    /// Cores, and which of them this process may use.
    pub processor: Processor,
    /// Memory and its pages.
    pub memory: Memory,
    /// Interrupts, and who handles them.
    pub interrupts: Interrupts,
    /// Network cards, by name.
    pub network: Fact<BTreeMap<String, Card>>,
    /// Settings of the kernel that matter here, by their names for sysctl(8).
    pub sysctls: BTreeMap<String, Fact<String>>,
    /// Limits of this process, which are those of what is started from the same place.
    pub limits: Fact<BTreeMap<String, Limit>>,
    /// Disks, by name.
    pub disks: Fact<BTreeMap<String, Disk>>,
}

/// What kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Who made it, by its firmware.
    pub vendor: Fact<String>,
    /// What they call it.
    pub product: Fact<String>,
    /// Whether it is virtual: the processor says so (the `hypervisor` flag of x86).
    pub is_virtual: Fact<bool>,
    /// The hypervisor, where the kernel tells.
    pub hypervisor: Fact<String>,
    /// The container that this process runs in; `none` outside of one.
    pub container: Fact<String>,
}

/// The kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its release: `6.12.9-amd64`.
    pub release: Fact<String>,
    /// When and how it was built.
    pub version: Fact<String>,
    /// What it was started with.
    pub command_line: Fact<String>,
    /// How readily it gives a core to another thread (`none`, `voluntary`, `full`, `lazy`), where it can be told so.
    pub preemption: Fact<String>,
    /// Where its time comes from.
    pub clock_source: Fact<String>,
    /// Where it might come from.
    pub clock_sources: Fact<Vec<String>>,
    /// Flaws of the processor, and what the kernel does about each.
    pub mitigations: Fact<BTreeMap<String, String>>,
    /// The features of io_uring that a shard would use, as the kernel answers when it is tried.
    pub io_uring: Fact<Vec<String>>,
}

/// The cores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processor {
    /// What it calls itself.
    pub model: Fact<String>,
    /// Cores that the kernel runs on.
    pub online: Fact<Cores>,
    /// Cores that are there and switched off.
    pub offline: Fact<Cores>,
    /// Cores that the scheduler leaves alone (`isolcpus`).
    pub isolated: Fact<Cores>,
    /// Cores without a clock tick while one thread runs on them (`nohz_full`).
    pub nohz_full: Fact<Cores>,
    /// Cores that this process may use now (sched_getaffinity(2)).
    pub allowed: Fact<Cores>,
    /// Cores that its group of processes may use (cpuset).
    pub cpuset: Fact<Cores>,
    /// How much of a core's time its group of processes may use, in thousandths of a core; absent: all.
    pub quota_millicores: Fact<Option<u64>>,
    /// Whether cores have more than one thread: `on`, `off`, `forceoff`, `notsupported`, `notimplemented`.
    pub smt: Fact<String>,
    /// Whether cores may run above their rated frequency.
    pub turbo: Fact<bool>,
    /// Who puts idle cores to sleep.
    pub idle_driver: Fact<String>,
    /// What decides how deeply.
    pub idle_governor: Fact<String>,
    /// Each online core.
    pub cores: Fact<Vec<Core>>,
}

/// One core, or one thread of a core that has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// The kernel's number.
    pub number: u32,
    /// Which socket it is in.
    pub socket: Fact<u32>,
    /// Which NUMA node it belongs to.
    pub node: Fact<u32>,
    /// It and those that share its core.
    pub siblings: Fact<Cores>,
    /// It and those that share its last cache.
    pub last_cache: Fact<Cores>,
    /// Its caches: `L1d 32K`.
    pub caches: Fact<Vec<String>>,
    /// What kind of core it is.
    pub kind: Fact<CoreKind>,
    /// Its highest frequency, in kHz.
    pub frequency_max: Fact<u64>,
    /// Who sets its frequency.
    pub governor: Fact<String>,
    /// What they set it with.
    pub frequency_driver: Fact<String>,
    /// States in which it sleeps, the lightest first.
    pub idle_states: Fact<Vec<IdleState>>,
}

/// What kind of core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoreKind {
    /// All cores are of this kind.
    Only,
    /// The fast kind of a hybrid processor.
    Performance,
    /// The saving kind.
    Efficiency,
}

/// A state in which a core sleeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleState {
    /// Its name.
    pub name: String,
    /// How long waking up from it takes, in µs.
    pub latency_us: Fact<u64>,
    /// Whether it is switched off.
    pub disabled: Fact<bool>,
}

/// Memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it, in KiB.
    pub total_kib: Fact<u64>,
    /// What the group of processes may use, in bytes; absent: all.
    pub limit: Fact<Option<u64>>,
    /// NUMA nodes.
    pub nodes: Fact<Vec<Node>>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Fact<String>,
    /// When such pages are made by moving others.
    pub defragmentation: Fact<String>,
    /// Huge pages that are set aside, by their size in KiB.
    pub huge_pages: Fact<BTreeMap<String, u64>>,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The kernel's number.
    pub number: u32,
    /// Its cores.
    pub cores: Fact<Cores>,
    /// Its memory, in KiB.
    pub total_kib: Fact<u64>,
    /// How far each node is, 10 being itself.
    pub distances: Fact<Vec<u32>>,
}

/// Interrupts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupts {
    /// Whether irqbalance runs, which moves interrupts by itself.
    pub irqbalance: Fact<bool>,
    /// Cores that new interrupts may go to.
    pub default_cores: Fact<Cores>,
    /// Each interrupt of a device.
    pub lines: Fact<Vec<Interrupt>>,
}

/// One interrupt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// The kernel's number.
    pub number: u32,
    /// What its driver calls it; often the device and the queue.
    pub name: String,
    /// Cores that it may go to.
    pub cores: Fact<Cores>,
    /// Cores that it does go to.
    pub effective: Fact<Cores>,
}

/// A network card, or a device that looks like one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its driver; unknown for devices of the kernel's own, which have none.
    pub driver: Fact<String>,
    /// Whether it has hardware behind it, real or virtual.
    pub is_device: bool,
    /// `up`, `down`, `unknown`.
    pub state: Fact<String>,
    /// Mbit/s.
    pub speed: Fact<u64>,
    /// Bytes in a packet.
    pub mtu: Fact<u32>,
    /// The NUMA node that it is attached to.
    pub node: Fact<u32>,
    /// Its interrupts, by the kernel's numbers.
    pub interrupts: Fact<Vec<u32>>,
    /// Queues for what comes in.
    pub receive: Fact<Vec<ReceiveQueue>>,
    /// Queues for what goes out: cores that use each (XPS).
    pub send: Fact<Vec<Fact<Cores>>>,
    /// How many times it may put off its interrupts while it is looked at anyway.
    pub deferred_interrupts: Fact<u64>,
    /// For how long, in ns.
    pub flush_timeout_ns: Fact<u64>,
    /// Whether packets are handled in a thread of the kernel.
    pub threaded: Fact<bool>,
    /// Entries of its rings, by ethtool(8).
    pub rings: Fact<Pairs>,
    /// How many queues it uses, and could, by ethtool(8).
    pub channels: Fact<Pairs>,
    /// How long it gathers packets before it interrupts, by ethtool(8).
    pub coalescing: Fact<Pairs>,
    /// What it does in place of the processor, by ethtool(8): offloads, steering (`ntuple-filters`), hashing.
    pub offloads: Fact<Pairs>,
    /// How packets are spread over its queues (RSS), by ethtool(8).
    pub spread: Fact<Pairs>,
}

/// Names and values as a program prints them.
pub type Pairs = BTreeMap<String, String>;

/// A queue for what comes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveQueue {
    /// Cores that packets of this queue are dealt to in software (RPS); none: that of the interrupt.
    pub rps: Fact<Cores>,
    /// Flows that are steered to the core of their reader (RFS).
    pub rfs_flows: Fact<u64>,
}

/// A limit of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What holds now; absent: no limit.
    pub soft: Option<u64>,
    /// Up to where a process may raise it; absent: no limit.
    pub hard: Option<u64>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What orders its requests.
    pub scheduler: Fact<String>,
    /// What else might.
    pub schedulers: Fact<Vec<String>>,
    /// Whether it rotates.
    pub rotational: Fact<bool>,
    /// Requests that may wait for it.
    pub requests: Fact<u64>,
    /// `write back` where it keeps in a cache what it has taken, else `write through`.
    pub cache: Fact<String>,
    /// Its size, in KiB.
    pub size_kib: Fact<u64>,
    /// Its model.
    pub model: Fact<String>,
}
