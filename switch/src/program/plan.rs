//! From settings and the machine to what will run where, and how many connections fit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use shard::affinity::{allowed_cores, check_core};
use shard::config::{CoreId, CorePlan, KernelConfig};
use shard::error::AffinityError;

use super::failure::Failure;
use super::storage::Storage;
use crate::config::source::Table;
use crate::config::value::CoreList;
use crate::config::{Configuration, Settings};
use crate::limits::{ACCEPTS_ARMED, SHARDS_MAX};

/// Open files that the program needs besides connections: standard streams, signals, and so on.
const FILES_BASE: u64 = 64;
/// Open files that a shard needs besides connections and listeners: its ring, its doorbell, and a few to spare.
const FILES_PER_SHARD: u64 = 8;
/// Sockets in one shard's table at most (IORING_MAX_FIXED_FILES).
const SLOTS_MAX: u64 = 1 << 20;

/// What will run where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Threads and cores.
    pub cores: CorePlan,
    /// The kernel's side of each shard, with the size of its socket table.
    pub kernel: KernelConfig,
    /// Connections that fit on the whole node.
    pub connections_max: u64,
    /// What bounds them.
    pub connections_bound: Bound,
    /// Where the journal lies; absent: there is none.
    pub storage: Option<Storage>,
}

/// What bounds the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `limits.max_connections`.
    Configured,
    /// The hard limit on open files, which is this.
    OpenFiles(u64),
}

impl Plan {
    /// Plans for this machine. The limit on open files is taken at its hard value, see [`raise_open_files`].
    pub fn new(configuration: &Configuration) -> Result<Plan, Failure> {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let plan = Plan::of(&configuration.settings, &allowed_cores(), hard).map_err(|(key, error)| {
            let origin = configuration.origin(Table::named("node"), key);
            Failure::Cores { origin, key, error }
        })?;
        let storage = Storage::new(configuration, plan.shards())?;
        Ok(Plan { storage, ..plan })
    }

    /// The same for a machine with these cores and this limit on open files, without a journal.
    fn of(settings: &Settings, allowed: &[CoreId], open_files: u64) -> Result<Plan, (&'static str, AffinityError)> {
        let chosen = |key, list: &Option<CoreList>| match list {
            None => Ok(allowed.to_vec()),
            Some(list) => {
                list.cores().iter().try_for_each(|core| check_core(*core, allowed)).map_err(|error| (key, error))?;
                Ok(list.cores().to_vec())
            }
        };
        let cores = chosen("cores", &settings.node.cores)?;
        let shards = settings.node.shards.unwrap_or_else(|| (cores.len().max(1)).min(usize::from(SHARDS_MAX)) as u16);
        let plan = CorePlan {
            service_cores: chosen("service_cores", &settings.node.service_cores)?,
            ..CorePlan::spread(shards, &cores)
        };

        let listeners = settings.listeners.len() as u64;
        let taken = FILES_BASE + u64::from(shards) * (FILES_PER_SHARD + listeners);
        let free = open_files.saturating_sub(taken).max(1);
        let wanted = u64::from(settings.limits.max_connections);
        // Sockets in the ring's own table are no open files of the process; the limit bounds each table instead. The
        // kernel deals connections to shards by a hash, so any shard may get more than its share.
        let direct = settings.kernel.direct_descriptors;
        let slots = wanted.min(free).min(SLOTS_MAX);
        let fit = if direct { slots * u64::from(shards) } else { free };
        Ok(Plan {
            cores: plan,
            kernel: KernelConfig {
                slots: slots as u32,
                accepts: (u64::from(ACCEPTS_ARMED) * listeners.max(1)).min(4096) as u16,
                ..settings.kernel.clone()
            },
            connections_max: wanted.min(fit),
            connections_bound: if fit < wanted { Bound::OpenFiles(open_files) } else { Bound::Configured },
            storage: None,
        })
    }

    /// How many shards.
    pub fn shards(&self) -> u16 {
        self.cores.shards.len() as u16
    }
}

/// Raises the soft limit on open files to the hard one (setrlimit(2)); says what it is then.
pub fn raise_open_files() -> std::io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Moves the calling thread to the service cores. Where the kernel refuses it stays where it is, which costs latency
/// at worst.
pub fn move_to_service_cores(plan: &CorePlan) {
    let mut set = CpuSet::new();
    plan.service_cores.iter().filter(|core| core.0 < CpuSet::MAX_CPU).for_each(|core| set.set(core.0));
    if set.count() > 0 {
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [CoreId; 2] = [CoreId(0), CoreId(1)];

    /// Without a word about it there is one shard for each core, pinned to it.
    #[test]
    fn one_shard_for_each_core() {
        let plan = Plan::of(&Settings::default(), &TWO, 1 << 24).expect("a plan");
        assert_eq!(plan.cores.shards, TWO.map(Some));
        assert_eq!(plan.cores.service_cores, TWO);
        assert_eq!((plan.connections_max, plan.connections_bound), (1_000_000, Bound::Configured));
    }

    /// A low limit on open files bounds the tables, and the plan says that this is why.
    #[test]
    fn open_files_bound_connections() {
        let mut settings = Settings::default();
        let plan = Plan::of(&settings, &TWO, 1024).expect("a plan");
        assert_eq!(plan.connections_bound, Bound::OpenFiles(1024));
        assert_eq!(plan.connections_max, 2 * u64::from(plan.kernel.slots));
        settings.kernel.direct_descriptors = false;
        let shared = Plan::of(&settings, &TWO, 1024).expect("a plan");
        assert_eq!(shared.connections_max, u64::from(plan.kernel.slots));
    }

    /// A core outside of the cpuset is refused, for shards and for service threads.
    #[test]
    fn cores_outside_of_the_cpuset_are_refused() {
        let one: CoreList = "1".parse().expect("a list");
        let mut settings = Settings::default();
        settings.node.cores = Some(one.clone());
        assert!(Plan::of(&settings, &TWO[..1], 1024).is_err());
        settings.node.cores = None;
        settings.node.service_cores = Some(one);
        assert!(Plan::of(&settings, &TWO[..1], 1024).is_err());
    }
}
