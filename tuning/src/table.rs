//! Facts as a table for people: one line for each thing, and why a thing is not known.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::cores::Cores;
use crate::fact::Fact;
use crate::facts::{Card, Core, CoreKind, Disk, Facts, Limit, Pairs};

/// The width of the first column.
const NAME: usize = 26;

/// All facts.
pub fn table(facts: &Facts) -> String {
    let mut out = Table::default();
    machine(&mut out, facts);
    processor(&mut out, facts);
    memory(&mut out, facts);
    interrupts(&mut out, facts);
    network(&mut out, facts);
    out.section("settings");
    facts.sysctls.iter().for_each(|(name, value)| out.fact(name, value));
    out.section("limits");
    out.each(&facts.limits, "limits", |out, name, limit: &Limit| {
        let of = |value: Option<u64>| value.map_or("none".to_owned(), |value| value.to_string());
        out.row(name, format!("{}, at most {}", of(limit.soft), of(limit.hard)));
    });
    out.section("disks");
    out.each(&facts.disks, "disks", |out, name, disk| out.row(name, disk_line(disk)));
    out.text
}

fn machine(out: &mut Table, facts: &Facts) {
    let (machine, kernel) = (&facts.machine, &facts.kernel);
    out.section("machine");
    out.fact("vendor", &machine.vendor);
    out.fact("product", &machine.product);
    out.fact("virtual", &yes(&machine.is_virtual));
    out.fact("hypervisor", &machine.hypervisor);
    out.fact("container", &machine.container);
    out.section("kernel");
    out.fact("release", &kernel.release);
    out.fact("version", &kernel.version);
    out.fact("command line", &kernel.command_line);
    out.fact("preemption", &kernel.preemption);
    out.fact("clock", &kernel.clock_source);
    out.fact("other clocks", &kernel.clock_sources.clone().map(|clocks| clocks.join(", ")));
    out.fact("io_uring", &kernel.io_uring.clone().map(|features| features.join(", ")));
    out.each(&kernel.mitigations, "mitigations", |out, flaw, what| {
        if what != "Not affected" {
            out.row(&format!("flaw {flaw}"), what);
        }
    });
}

fn processor(out: &mut Table, facts: &Facts) {
    let processor = &facts.processor;
    out.section("cores");
    out.fact("model", &processor.model);
    for (name, cores) in [
        ("online", &processor.online),
        ("offline", &processor.offline),
        ("isolated", &processor.isolated),
        ("nohz_full", &processor.nohz_full),
        ("allowed to this process", &processor.allowed),
        ("allowed to its group", &processor.cpuset),
    ] {
        out.fact(name, &list(cores));
    }
    let quota =
        |quota: Option<u64>| quota.map_or("none".to_owned(), |quota| format!("{} cores", quota as f64 / 1000.0));
    out.fact("quota", &processor.quota_millicores.clone().map(quota));
    out.fact("threads of a core", &processor.smt);
    out.fact("turbo", &yes(&processor.turbo));
    out.fact("idle driver", &processor.idle_driver);
    out.fact("idle governor", &processor.idle_governor);
    match &processor.cores {
        Fact::Unknown { unknown } => out.row("each core", format!("unknown: {unknown}")),
        // Most cores are alike but for their places.
        Fact::Known(cores) => {
            let mut alike = BTreeMap::<String, Vec<u32>>::new();
            cores.iter().for_each(|core| alike.entry(core_line(core)).or_default().push(core.number));
            for (line, numbers) in alike {
                out.row(&format!("core {}", numbers.into_iter().collect::<Cores>()), line);
            }
        }
    }
}

fn core_line(core: &Core) -> String {
    let kind = match core.kind.known() {
        Some(CoreKind::Performance) => ", performance",
        Some(CoreKind::Efficiency) => ", efficiency",
        _ => "",
    };
    let states = core.idle_states.clone().map(|states| {
        let on = states.iter().filter(|state| state.disabled.known() != Some(&true));
        on.map(|state| format!("{} {}us", state.name, state.latency_us)).collect::<Vec<_>>().join(" ")
    });
    format!(
        "socket {}, node {}{kind}, threads {}, last cache with {}; {}; frequency {}; sleeps in {}",
        short(&core.socket),
        short(&core.node),
        short(&core.siblings),
        short(&core.last_cache),
        core.caches.clone().map_or_unknown(|caches| caches.join(", ")),
        short(&core.governor),
        short(&states),
    )
}

fn memory(out: &mut Table, facts: &Facts) {
    let memory = &facts.memory;
    out.section("memory");
    out.fact("all", &memory.total_kib.clone().map(|kib| format!("{} MiB", kib / 1024)));
    let limit = |limit: Option<u64>| limit.map_or("none".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    out.fact("limit of the group", &memory.limit.clone().map(limit));
    match &memory.nodes {
        Fact::Unknown { unknown } => out.row("nodes", format!("unknown: {unknown}")),
        Fact::Known(nodes) => nodes.iter().for_each(|node| {
            let size = node.total_kib.clone().map(|kib| format!("{} MiB", kib / 1024));
            let distances =
                node.distances.clone().map(|all| all.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
            let cores = list(&node.cores);
            out.row(&format!("node {}", node.number), format!("cores {cores}, {size}, distances {distances}"));
        }),
    }
    out.fact("transparent huge pages", &memory.transparent_huge_pages);
    out.fact("their defragmentation", &memory.defragmentation);
    out.each(&memory.huge_pages, "huge pages", |out, size, pages| out.row(&format!("pages of {size} KiB"), pages));
}

fn interrupts(out: &mut Table, facts: &Facts) {
    let interrupts = &facts.interrupts;
    out.section("interrupts");
    out.fact("irqbalance", &yes(&interrupts.irqbalance));
    out.fact("default cores", &list(&interrupts.default_cores));
    match &interrupts.lines {
        Fact::Unknown { unknown } => out.row("each", format!("unknown: {unknown}")),
        Fact::Known(lines) => lines.iter().for_each(|line| {
            let (cores, effective) = (list(&line.cores), list(&line.effective));
            out.row(&format!("{} {}", line.number, line.name), format!("may go to {cores}, goes to {effective}"));
        }),
    }
}

fn network(out: &mut Table, facts: &Facts) {
    out.section("network");
    out.each(&facts.network, "network", |out, name, card| {
        out.row(name, card_line(card));
        if !card.is_device {
            return;
        }
        if let Fact::Known(queues) = &card.receive {
            for (at, queue) in queues.iter().enumerate() {
                let (rps, flows) = (list(&queue.rps), &queue.rfs_flows);
                out.row(&format!("{name} receive {at}"), format!("dealt to {rps}, flows {flows}"));
            }
        }
        if let Fact::Known(queues) = &card.send {
            let cores = |(at, cores): (usize, &Fact<Cores>)| out.row(&format!("{name} send {at}"), list(cores));
            queues.iter().enumerate().for_each(cores);
        }
        for (what, pairs) in [
            ("rings", &card.rings),
            ("channels", &card.channels),
            ("coalescing", &card.coalescing),
            ("offloads", &card.offloads),
            ("spread", &card.spread),
        ] {
            out.fact(&format!("{name} {what}"), &pairs.clone().map(|pairs| pairs_line(&pairs)));
        }
    });
}

fn card_line(card: &Card) -> String {
    if !card.is_device {
        return format!("no device, {}", short(&card.state));
    }
    let interrupts = card.interrupts.clone().map(|lines| lines.into_iter().collect::<Cores>());
    format!(
        "{}, {}, {} Mbit/s, packets of {}, node {}, interrupts {}",
        short(&card.driver),
        short(&card.state),
        short(&card.speed),
        short(&card.mtu),
        short(&card.node),
        short(&interrupts)
    )
}

/// What is set: of features those that are on and those that could be.
fn pairs_line(pairs: &Pairs) -> String {
    let said = pairs.iter().filter(|(_, value)| *value != "n/a" && *value != "off [fixed]");
    said.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

fn disk_line(disk: &Disk) -> String {
    let size = disk.size_kib.clone().map(|kib| format!("{} MiB", kib / 1024));
    let kind = disk.rotational.clone().map(|rotates| if rotates { "rotates" } else { "does not rotate" });
    format!(
        "{}, {}, scheduler {}, {} requests, {}",
        short(&size),
        short(&kind),
        short(&disk.scheduler),
        short(&disk.requests),
        short(&disk.cache)
    )
}

fn yes(fact: &Fact<bool>) -> Fact<&'static str> {
    fact.clone().map(|yes| if yes { "yes" } else { "no" })
}

/// Cores, and a word where there are none.
fn list(cores: &Fact<Cores>) -> Fact<String> {
    cores.clone().map(|cores| if cores.is_empty() { "none".to_owned() } else { cores.to_string() })
}

/// A fact in the middle of a line, where the reason has no room: `--json` has it.
fn short<T: Display>(fact: &Fact<T>) -> String {
    fact.known().map_or("unknown".to_owned(), T::to_string)
}

impl<T> Fact<T> {
    fn map_or_unknown(self, of: impl FnOnce(T) -> String) -> String {
        short(&self.map(of))
    }
}

/// Rows below headings.
#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn section(&mut self, name: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        self.text += &format!("{gap}{name}\n");
    }

    fn row(&mut self, name: &str, value: impl Display) {
        self.text += format!("  {name:NAME$}  {value}").trim_end();
        self.text += "\n";
    }

    fn fact<T: Display>(&mut self, name: &str, fact: &Fact<T>) {
        self.row(name, fact);
    }

    fn each<K: Display, V>(&mut self, all: &Fact<BTreeMap<K, V>>, name: &str, row: impl Fn(&mut Table, &str, &V)) {
        match all {
            Fact::Unknown { unknown } => self.row(name, format!("unknown: {unknown}")),
            Fact::Known(all) => all.iter().for_each(|(name, value)| row(self, &name.to_string(), value)),
        }
    }
}
