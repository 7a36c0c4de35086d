//! Cores: where they are, what they share, who may use them, and how they save power.

use crate::cores::Cores;
use crate::fact::Fact;
use crate::facts::{Core, CoreKind, IdleState, Processor};
use crate::root::Root;

use super::group;

const CPU: &str = "sys/devices/system/cpu";

/// Looks at them.
pub fn look(root: &Root) -> Processor {
    let online = root.cores(&format!("{CPU}/online"));
    let present = root.cores(&format!("{CPU}/present"));
    let cores = online.clone().map(|online| {
        let kinds = Kinds::look(root, &online);
        let nodes = super::memory::node_cores(root);
        online.iter().map(|number| core(root, number, &kinds, &nodes)).collect()
    });
    Processor {
        model: model(root),
        // What is only possible is not switched off: it is not there.
        offline: present.then(|present| online.clone().map(|online| present.without(&online))),
        online,
        isolated: root.cores(&format!("{CPU}/isolated")),
        nohz_full: root.cores(&format!("{CPU}/nohz_full")),
        allowed: allowed(root),
        cpuset: group::cpuset(root),
        quota_millicores: group::quota_millicores(root),
        smt: root.text(&format!("{CPU}/smt/control")),
        turbo: turbo(root),
        idle_driver: root.text(&format!("{CPU}/cpuidle/current_driver")),
        idle_governor: root
            .text(&format!("{CPU}/cpuidle/current_governor"))
            .or_else(|| root.text(&format!("{CPU}/cpuidle/current_governor_ro"))),
        cores,
    }
}

/// What `/proc/cpuinfo` says of the first core and does not change by itself.
pub fn cpuinfo(root: &Root) -> Fact<String> {
    root.lines("proc/cpuinfo", |text| {
        let first = text.lines().take_while(|line| !line.trim().is_empty());
        first.filter(|line| line.starts_with("model name") || line.starts_with("flags")).collect()
    })
}

fn model(root: &Root) -> Fact<String> {
    cpuinfo(root).then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"));
        match line.and_then(|line| line.split_once(':')) {
            Some((_, model)) => Fact::Known(model.trim().to_owned()),
            None => Fact::unknown("proc/cpuinfo names no model"),
        }
    })
}

fn allowed(root: &Root) -> Fact<Cores> {
    const KEY: &str = "Cpus_allowed_list:";
    root.lines("proc/self/status", |text| text.lines().filter(|line| line.starts_with(KEY)).collect()).then(|text| {
        match text.strip_prefix(KEY).map(str::parse) {
            Some(Ok(cores)) => Fact::Known(cores),
            _ => Fact::unknown("proc/self/status has no Cpus_allowed_list"),
        }
    })
}

fn turbo(root: &Root) -> Fact<bool> {
    let boost = root.value::<u8>(&format!("{CPU}/cpufreq/boost")).map(|on| on != 0);
    boost.or_else(|| root.value::<u8>(&format!("{CPU}/intel_pstate/no_turbo")).map(|off| off == 0))
}

/// What tells the kinds of cores apart.
struct Kinds {
    efficiency: Cores,
    performance: Cores,
}

impl Kinds {
    /// Hybrid processors of Intel have a device for each kind; others tell how much each core can do.
    fn look(root: &Root, online: &Cores) -> Kinds {
        let performance = root.cores("sys/devices/cpu_core/cpus").or_default();
        let efficiency = root.cores("sys/devices/cpu_atom/cpus").or_default();
        if !efficiency.is_empty() {
            return Kinds { efficiency, performance };
        }
        let capacity = |core| root.value::<u64>(&format!("{CPU}/cpu{core}/cpu_capacity")).known().copied();
        let capacities: Vec<(u32, u64)> = online.iter().filter_map(|core| Some((core, capacity(core)?))).collect();
        let most = capacities.iter().map(|(_, capacity)| *capacity).max().unwrap_or(0);
        let (performance, efficiency): (Vec<_>, Vec<_>) =
            capacities.into_iter().partition(|(_, capacity)| *capacity == most);
        let numbers = |cores: Vec<(u32, u64)>| cores.into_iter().map(|(core, _)| core).collect();
        Kinds { efficiency: numbers(efficiency), performance: numbers(performance) }
    }

    fn of(&self, core: u32) -> CoreKind {
        match (self.efficiency.is_empty(), self.performance.contains(core)) {
            (true, _) => CoreKind::Only,
            (false, true) => CoreKind::Performance,
            (false, false) => CoreKind::Efficiency,
        }
    }
}

fn core(root: &Root, number: u32, kinds: &Kinds, nodes: &Fact<Vec<(u32, Cores)>>) -> Core {
    let at = format!("{CPU}/cpu{number}");
    let (caches, last_cache) = caches(root, &format!("{at}/cache"));
    let node = nodes.clone().then(|nodes| match nodes.iter().find(|(_, cores)| cores.contains(number)) {
        Some((node, _)) => Fact::Known(*node),
        None => Fact::unknown(format!("no NUMA node has core {number}")),
    });
    Core {
        number,
        socket: root.value(&format!("{at}/topology/physical_package_id")),
        node,
        siblings: root
            .cores(&format!("{at}/topology/core_cpus_list"))
            .or_else(|| root.cores(&format!("{at}/topology/thread_siblings_list"))),
        last_cache,
        caches,
        kind: Fact::Known(kinds.of(number)),
        frequency_max: root.value(&format!("{at}/cpufreq/cpuinfo_max_freq")),
        governor: root.text(&format!("{at}/cpufreq/scaling_governor")),
        frequency_driver: root.text(&format!("{at}/cpufreq/scaling_driver")),
        idle_states: idle_states(root, &format!("{at}/cpuidle")),
    }
}

/// The caches, and who shares the last of them.
fn caches(root: &Root, at: &str) -> (Fact<Vec<String>>, Fact<Cores>) {
    let indices = root.numbered(at, "index");
    let mut last = Fact::unknown(format!("{at} has no caches"));
    let mut highest = 0;
    let caches = indices.map(|indices| {
        let mut names = Vec::new();
        for (_, index) in indices {
            let level: Fact<u32> = root.value(&format!("{index}/level"));
            let kind = root.text(&format!("{index}/type"));
            let size = root.text(&format!("{index}/size"));
            let (Fact::Known(level), Fact::Known(kind), Fact::Known(size)) = (level, kind, size) else { continue };
            let letter = match kind.as_str() {
                "Data" => "d",
                "Instruction" => "i",
                _ => "",
            };
            names.push(format!("L{level}{letter} {size}"));
            if level > highest {
                highest = level;
                last = root.cores(&format!("{index}/shared_cpu_list"));
            }
        }
        names
    });
    (caches, last)
}

fn idle_states(root: &Root, at: &str) -> Fact<Vec<IdleState>> {
    root.numbered(at, "state").map(|states| {
        let of = |(_, state): (u32, String)| {
            Some(IdleState {
                name: root.text(&format!("{state}/name")).known()?.clone(),
                latency_us: root.value(&format!("{state}/latency")),
                disabled: root.value::<u8>(&format!("{state}/disable")).map(|off| off != 0),
            })
        };
        states.into_iter().filter_map(of).collect()
    })
}
