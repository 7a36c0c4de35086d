//! Cores: their frequency, how deeply they sleep, and what else runs on them.

use super::{Advice, Case, How, Severity, Words};
use crate::change::Change;
use crate::cores::Cores;
use crate::fact::Fact;
use crate::facts::Core;

const CPU: &str = "sys/devices/system/cpu";

pub fn advise(case: &Case<'_>, all: &mut Vec<Advice>) {
    governor(case, all);
    sleep(case, all);
    quota(case, all);
    virtual_machine(case, all);
    quiet(case, all);
    given(case, all);
}

/// The shards' cores, as they were found.
fn of_shards<'a>(case: &'a Case<'_>) -> Vec<&'a Core> {
    let cores = case.facts.processor.cores.known();
    cores.into_iter().flatten().filter(|core| case.layout.shards.contains(core.number)).collect()
}

fn governor(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "a core that has slowed down while it was idle is slow for the message that wakes it",
        gain: "not measured: the cores of the development machine have no governor",
        risk: "power and heat",
        source: "Linux, admin-guide/pm/cpufreq.rst",
    };
    let Some(wanted) = &case.profile.system.governor else { return };
    let cores = of_shards(case);
    let known: Vec<(&Core, &String)> = cores.iter().filter_map(|core| Some((*core, core.governor.known()?))).collect();
    let current = match cores.first() {
        Some(core) if known.is_empty() => core.governor.clone(),
        _ => Fact::Known(summary(known.iter().map(|(core, governor)| (core.number, governor.as_str())))),
    };
    let others = known.iter().filter(|(_, governor)| *governor != wanted);
    let changes: Vec<Change> = others
        .map(|(core, _)| Change {
            path: format!("{CPU}/cpu{}/cpufreq/scaling_governor", core.number),
            value: wanted.clone(),
        })
        .collect();
    let row = Advice::new("governor of the shards' cores", wanted, current, Severity::Advised, &WORDS);
    all.push(if known.is_empty() { row.note() } else { row.by_writing(changes) });
}

/// `powersave (0-3), performance (4)`.
fn summary<'a>(values: impl Iterator<Item = (u32, &'a str)>) -> String {
    let mut by_value = std::collections::BTreeMap::<&str, Vec<u32>>::new();
    values.for_each(|(core, value)| by_value.entry(value).or_default().push(core));
    let parts =
        by_value.into_iter().map(|(value, cores)| format!("{value} ({})", cores.into_iter().collect::<Cores>()));
    parts.collect::<Vec<_>>().join(", ")
}

fn sleep(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "a core that sleeps deeply takes longer to wake up than a message takes to be delivered",
        gain: "up to the time that the state takes to wake up from, for a message that comes alone",
        risk: "power, and less turbo for the other cores",
        source: "Linux, admin-guide/pm/cpuidle.rst",
    };
    let Some(most) = case.profile.system.idle_latency_us else { return };
    let cores = of_shards(case);
    let mut changes = Vec::new();
    let mut deep = Vec::new();
    for core in &cores {
        for (index, state) in core.idle_states.known().into_iter().flatten().enumerate() {
            let too_deep = state.latency_us.known().is_some_and(|latency| *latency > most);
            if too_deep && state.disabled.known() == Some(&false) {
                let path = format!("{CPU}/cpu{}/cpuidle/state{index}/disable", core.number);
                changes.push(Change { path, value: "1".to_owned() });
                deep.push((core.number, state.name.as_str()));
            }
        }
    }
    let wanted = format!("states that wake up within {most} us");
    let current = match cores.first().map(|core| &core.idle_states) {
        Some(Fact::Unknown { unknown }) => Fact::unknown(unknown.clone()),
        _ if deep.is_empty() => Fact::Known("no others".to_owned()),
        _ => Fact::Known(summary(deep.into_iter())),
    };
    let unknown = current.known().is_none();
    let row = Advice::new("sleep of the shards' cores", wanted, current, Severity::Advised, &WORDS);
    all.push(if unknown { row.note() } else { row.by_writing(changes) });
}

fn quota(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "a group that has used up its time is stopped until the next period, all of its threads at once",
        gain: "stalls of up to a period (100 ms as a rule) go away",
        risk: "the neighbours have less",
        source: "Linux, admin-guide/cgroup-v2.rst, cpu.max",
    };
    if let Some(millicores) = case.facts.processor.quota_millicores.known().copied().flatten() {
        let current = format!("{} cores", millicores as f64 / 1000.0);
        let wanted = "none, and a cpuset in its place";
        all.push(Advice::new("quota of the group", wanted, Fact::Known(current), Severity::Important, &WORDS));
    }
}

fn virtual_machine(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "a host may take a core away at any time, and what is set here says nothing about what the host does",
        gain: "on the development machine the host takes 3 % of the time, which is most of every broker's p99",
        risk: "none",
        source: "docs/performance.md, Latency at a pace",
    };
    if case.facts.machine.is_virtual.known() == Some(&true) {
        let current = Fact::Known("a virtual machine".to_owned());
        all.push(Advice::new("machine", "cores that the host leaves alone", current, Severity::Note, &WORDS));
    }
}

fn quiet(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "the scheduler's tick and other programs interrupt a shard that has its core for itself",
        gain: "not measured; what is left is the tail of the tail",
        risk: "those cores run nothing that is not told to; it needs a restart of the machine",
        source: "Linux, admin-guide/kernel-parameters.txt",
    };
    if !case.profile.system.quiet_cores || !case.layout.dedicated || case.layout.shards.len() < 3 {
        return;
    }
    let isolated = case.facts.processor.isolated.clone();
    let shards = &case.layout.shards;
    let is_quiet = isolated.known().is_some_and(|isolated| shards.without(isolated).is_empty());
    let current = isolated.map(|cores| if cores.is_empty() { "no core".to_owned() } else { cores.to_string() });
    let row = Advice::new("isolated cores", shards, current, Severity::Note, &WORDS);
    let words = format!("isolcpus=managed_irq,domain,{shards} nohz_full={shards} rcu_nocbs={shards}");
    all.push(if is_quiet { row.fine() } else { row.by(How::Boot(words)) });
}

fn given(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "no process has isolated cores by itself: the service manager must name them",
        gain: "the switch does not start without them",
        risk: "none",
        source: "systemd.exec(5), CPUAffinity=",
    };
    if case.layout.to_be_given.is_empty() {
        return;
    }
    let wanted = case.layout.shards.or(&case.layout.service);
    let current = case.facts.processor.allowed.clone().map(|cores| cores.to_string());
    let row = Advice::new("cores of the process", &wanted, current, Severity::Important, &WORDS);
    all.push(row.by(How::Unit(format!("CPUAffinity={}", wanted.to_string().replace(',', " ")))));
}
