//! What an operator may choose about the kernel and the cores: plain data, with the defaults and their reasons.

use std::time::Duration;

/// How one shard uses io_uring. The same for every shard of a process.
///
/// The switches turn optional kernel features *off*; one that is on is used where the kernel has it (see
/// [`Features`](crate::uring::Features)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// Entries of the submission queue; a power of two, 8 to 32,768. A batch of sends larger than this is submitted in
    /// pieces of it, so it should be near the size of a flush slice. 64 B each.
    pub sq_entries: u32,
    /// Entries of the completion queue; a power of two, at least twice [`KernelConfig::sq_entries`]. Completions beyond
    /// it are kept by the kernel, but cost an allocation there. 16 B each.
    pub cq_entries: u32,
    /// How many provided receive buffers a shard has; a power of two, 1 to 32,768. They are shared by its connections
    /// and held only while a turn looks at them.
    pub receive_buffers: u16,
    /// Bytes of one receive buffer; a receive never brings more at once.
    pub receive_buffer_bytes: u32,
    /// Connections that a shard can hold at once: the size of its socket table, up to 1,048,576.
    pub slots: u32,
    /// Accepts that can be armed at once, over all listeners of a shard.
    pub accepts: u16,
    /// How long an idle shard looks at its queues before it sleeps. Zero: it sleeps at once, which is right unless its
    /// core is its own.
    pub spin: Duration,
    /// Run deferred work only where the shard asks for it (IORING_SETUP_DEFER_TASKRUN). Without it fan-in costs half
    /// as much again.
    pub defer_taskrun: bool,
    /// Leave out the index array of the submission queue (IORING_SETUP_NO_SQARRAY, Linux 6.6).
    pub no_sqarray: bool,
    /// Name the ring by a registered index in io_uring_enter(2), which saves a look-up in the descriptor table.
    pub registered_ring: bool,
    /// Keep sockets in the ring's own table instead of the process's (direct descriptors; used from Linux 6.13 on: a
    /// kernel before that delays closing a direct descriptor until every older request of the ring has ended, and a
    /// receive on a quiet connection never ends).
    pub direct_descriptors: bool,
    /// Let one receive bring bytes until it is cancelled (IORING_RECV_MULTISHOT).
    pub multishot_receive: bool,
}

impl Default for KernelConfig {
    fn default() -> KernelConfig {
        KernelConfig {
            sq_entries: 1024,
            cq_entries: 8 * 1024,
            receive_buffers: 1024,
            receive_buffer_bytes: 8192,
            slots: 16 * 1024,
            accepts: 1024,
            spin: Duration::ZERO,
            defer_taskrun: true,
            no_sqarray: true,
            registered_ring: true,
            direct_descriptors: true,
            multishot_receive: true,
        }
    }
}

impl KernelConfig {
    /// The defaults without what came after Linux 6.1, the oldest kernel that is supported.
    pub fn linux_6_1() -> KernelConfig {
        KernelConfig { no_sqarray: false, direct_descriptors: false, ..KernelConfig::default() }
    }

    /// Says which value is out of its range, if one is.
    pub fn check(&self) -> Result<(), ConfigError> {
        let power = |name, value: u32, least, most| match value.is_power_of_two() && (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(ConfigError { name, value, least, most, power_of_two: true }),
        };
        let range = |name, value: u32, least, most| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(ConfigError { name, value, least, most, power_of_two: false }),
        };
        power("sq_entries", self.sq_entries, 8, 32 * 1024)?;
        power("cq_entries", self.cq_entries, 2 * self.sq_entries, 64 * 1024)?;
        power("receive_buffers", u32::from(self.receive_buffers), 1, 32 * 1024)?;
        range("receive_buffer_bytes", self.receive_buffer_bytes, 64, 1 << 20)?;
        range("slots", self.slots, 1, SLOTS_MAX)?;
        range("accepts", u32::from(self.accepts), 1, 4096)
    }

    /// Bytes of memory that one shard's ring and receive buffers can take: touched as they are first used.
    pub fn bytes_max(&self) -> u64 {
        let queues = 64 * u64::from(self.sq_entries) + 16 * u64::from(self.cq_entries);
        let buffers = u64::from(self.receive_buffers) * (u64::from(self.receive_buffer_bytes) + 16);
        let sockets = u64::from(self.slots) * if self.direct_descriptors { 8 } else { 4 };
        queues + buffers + sockets + 64 * u64::from(self.accepts)
    }
}

/// The kernel's limit on direct descriptors of one ring (IORING_MAX_FIXED_FILES).
const SLOTS_MAX: u32 = 1 << 20;

/// A value of [`KernelConfig`] that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field.
    pub name: &'static str,
    /// What it was set to.
    pub value: u32,
    /// The smallest value that it may have.
    pub least: u32,
    /// The largest value that it may have.
    pub most: u32,
    /// Whether it must be a power of two.
    pub power_of_two: bool,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.power_of_two { "a power of two" } else { "a number" };
        write!(f, "{} = {}: must be {kind} from {} to {}", self.name, self.value, self.least, self.most)
    }
}

impl std::error::Error for ConfigError {}

/// A logical CPU, by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub usize);

impl std::fmt::Display for CoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which thread runs where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorePlan {
    /// One entry for each shard: the core that its thread is pinned to, or `None` to leave it to the scheduler.
    pub shards: Vec<Option<CoreId>>,
    /// The cores of the service threads; empty: wherever the process may run.
    pub service_cores: Vec<CoreId>,
}

impl CorePlan {
    /// `shards` shards, dealt to `cores` in turn; unpinned where `cores` is empty.
    pub fn spread(shards: u16, cores: &[CoreId]) -> CorePlan {
        let core = |shard: usize| if cores.is_empty() { None } else { Some(cores[shard % cores.len()]) };
        CorePlan { shards: (0..usize::from(shards)).map(core).collect(), service_cores: Vec::new() }
    }

    /// Whether each shard has a core that no other shard and no service thread runs on. Only then is spinning harmless.
    pub fn is_dedicated(&self) -> bool {
        let unique = |core: &CoreId| self.shards.iter().flatten().filter(|other| *other == core).count() == 1;
        !self.service_cores.is_empty()
            && self
                .shards
                .iter()
                .all(|core| core.is_some_and(|core| unique(&core) && !self.service_cores.contains(&core)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The presets can be used as they are.
    #[test]
    fn presets_are_valid() {
        assert_eq!(KernelConfig::default().check(), Ok(()));
        assert_eq!(KernelConfig::linux_6_1().check(), Ok(()));
    }

    /// A value out of range is named with the range.
    #[test]
    fn bad_values_are_named() {
        let config = KernelConfig { receive_buffers: 1000, ..KernelConfig::default() };
        let message = config.check().unwrap_err().to_string();
        assert_eq!(message, "receive_buffers = 1000: must be a power of two from 1 to 32768");
        let config = KernelConfig { cq_entries: 1024, ..KernelConfig::default() };
        assert_eq!(config.check().unwrap_err().name, "cq_entries");
    }

    /// Shards are dealt to the cores in turn, and a core with two of them is not dedicated.
    #[test]
    fn shards_are_dealt_to_cores() {
        let cores = [CoreId(2), CoreId(5)];
        let mut plan = CorePlan::spread(3, &cores);
        assert_eq!(plan.shards, [Some(CoreId(2)), Some(CoreId(5)), Some(CoreId(2))]);
        plan.service_cores = vec![CoreId(0)];
        assert!(!plan.is_dedicated());
        plan.shards.pop();
        assert!(plan.is_dedicated());
        plan.service_cores = vec![CoreId(5)];
        assert!(!plan.is_dedicated());
        assert_eq!(CorePlan::spread(1, &[]).shards, [None]);
    }
}
