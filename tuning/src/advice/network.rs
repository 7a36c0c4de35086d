//! Network cards: interrupts and packets come to the cores whose shards read them.

use super::{Advice, Case, How, Severity, Words};
use crate::change::Change;
use crate::cores::Cores;
use crate::fact::Fact;
use crate::facts::{Card, Interrupt};
use crate::layout::node_of;

/// Flows that are remembered, for all cards together.
const FLOWS: u64 = 32_768;

pub fn advise(case: &Case<'_>, all: &mut Vec<Advice>) {
    busy_polling(case, all);
    if !case.profile.system.steering {
        return;
    }
    let cards = case.facts.network.known();
    // A name becomes part of a command in the script.
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let up = |card: &Card| card.is_device && card.state.known().is_some_and(|state| state == "up");
    let cards: Vec<(&String, &Card)> =
        cards.into_iter().flatten().filter(|(name, card)| up(card) && plain(name)).collect();
    if cards.is_empty() {
        return;
    }
    irqbalance(case, all);
    flows(case, all);
    for (name, card) in cards {
        let near = near(case, card);
        interrupts(case, name, card, &near, all);
        if case.layout.shards.len() > 1 {
            receive_flows(name, card, all);
        }
        send_queues(name, card, &near, all);
        offered(case, name, card, &near, all);
    }
}

/// The shards' cores on the card's node; all of them where there are none.
fn near(case: &Case<'_>, card: &Card) -> Vec<u32> {
    let shards: Vec<u32> = case.layout.shards.iter().collect();
    let Some(node) = card.node.known() else { return shards };
    let near: Vec<u32> = shards.iter().copied().filter(|core| node_of(case.facts, *core) == Some(*node)).collect();
    if near.is_empty() { shards } else { near }
}

fn busy_polling(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "these settings are for poll(2) and blocking reads; a shard waits in io_uring, which asks a card only \
              where it was registered for that, and this version does not register",
        gain: "none",
        risk: "other programs would spin",
        source: "io_uring_register_napi(3)",
    };
    let current = case.sysctl("net.core.busy_poll");
    let Some(is_on) = current.known().map(|value| value != "0") else { return };
    let row = Advice::new("net.core.busy_poll", "0: it does nothing for this program", current, Severity::Note, &WORDS);
    all.push(if is_on { row } else { row.fine() });
}

fn irqbalance(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "it moves interrupts by itself every ten seconds, also those that were put somewhere on purpose",
        gain: "what is set stays",
        risk: "interrupts of all other devices stay where they are, too",
        source: "irqbalance(1)",
    };
    let current =
        case.facts.interrupts.irqbalance.clone().map(|runs| if runs { "runs" } else { "does not run" }.to_owned());
    let runs = case.facts.interrupts.irqbalance.known() == Some(&true);
    let unknown = current.known().is_none();
    let row = Advice::new("irqbalance", "does not run", current, Severity::Advised, &WORDS);
    all.push(match (runs, unknown) {
        (true, _) => row.by(How::Command("systemctl stop irqbalance".to_owned())),
        (false, true) => row.note(),
        (false, false) => row.fine(),
    });
}

fn flows(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "listeners share an address, so the kernel deals connections to shards by a hash of its own, and the card \
              deals packets to queues by another: most packets arrive on a core that does not read them. This table \
              remembers who reads",
        gain: "not measured: on the development machine the load comes over loopback",
        risk: "a table of 128 KiB, and a look into it for each packet",
        source: "Linux, networking/scaling.rst, RFS",
    };
    if case.layout.shards.len() > 1 {
        all.push(case.number("net.core.rps_sock_flow_entries", FLOWS, |now| now >= FLOWS, Severity::Advised, &WORDS));
    }
}

/// Each queue's interrupt goes to one core; those of one queue alone go to a core that serves.
fn interrupts(case: &Case<'_>, name: &str, card: &Card, near: &[u32], all: &mut Vec<Advice>) {
    const MANY: Words = Words {
        why: "each queue is handled on the core of a shard, in turn, so that the work is spread",
        gain: "not measured: the development machine's card has one queue",
        risk: "a shard's core does the kernel's part for the queue, too",
        source: "Linux, networking/scaling.rst",
    };
    const ONE: Words = Words {
        why: "one queue is handled on one core: better on one that has no shard",
        gain: "that shard is not interrupted",
        risk: "packets go from that core's caches to the shards'",
        source: "Linux, networking/scaling.rst",
    };
    let lines = queue_lines(case, card);
    let alone = lines.len() == 1 || card.receive.known().is_some_and(|queues| queues.len() == 1);
    let service: Vec<u32> = case.layout.service.without(&case.layout.shards).iter().collect();
    if lines.is_empty() || alone && service.is_empty() {
        return;
    }
    let targets = if alone { &service[..1] } else { near };
    let mut wanted = Vec::new();
    let mut changes = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let core = targets[at % targets.len()];
        wanted.push(format!("{} to {core}", line.number));
        if line.cores.known() != Some(&[core].into_iter().collect()) {
            let path = format!("proc/irq/{}/smp_affinity_list", line.number);
            changes.push(Change { path, value: core.to_string() });
        }
    }
    let now =
        |line: &&Interrupt| format!("{} to {}", line.number, line.effective.clone().or_else(|| line.cores.clone()));
    let current = Fact::Known(lines.iter().map(now).collect::<Vec<_>>().join(", "));
    let words = if alone { &ONE } else { &MANY };
    let setting = format!("interrupts of {name}");
    let row = Advice::new(&setting, wanted.join(", "), current, Severity::Advised, words);
    all.push(row.by_writing(changes));
}

/// The interrupts of a card's queues: drivers number those, and have others for the card's own affairs.
fn queue_lines<'a>(case: &'a Case<'_>, card: &Card) -> Vec<&'a Interrupt> {
    const OTHERS: [&str; 5] = ["async", "config", "control", "ctrl", "mgmt"];
    let numbers: Cores = card.interrupts.or_default().into_iter().collect();
    let is_queue = |line: &&Interrupt| {
        // Some add the device's address.
        let name = line.name.split('@').next().unwrap_or_default();
        name.ends_with(|last: char| last.is_ascii_digit()) && !OTHERS.iter().any(|other| name.contains(other))
    };
    let lines = case.facts.interrupts.lines.known().into_iter().flatten();
    lines.filter(|line| numbers.contains(line.number)).filter(is_queue).collect()
}

fn receive_flows(name: &str, card: &Card, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "the part of the flow table that this queue keeps",
        gain: "that of net.core.rps_sock_flow_entries, which does nothing without it",
        risk: "memory: 8 B for each",
        source: "Linux, networking/scaling.rst, RFS",
    };
    let Fact::Known(queues) = &card.receive else { return };
    let each = (FLOWS / (queues.len() as u64).max(1).next_power_of_two()).max(256);
    let low = queues.iter().enumerate().filter(|(_, queue)| queue.rfs_flows.known().is_some_and(|flows| *flows < each));
    let changes: Vec<Change> = low
        .map(|(at, _)| Change {
            path: format!("sys/class/net/{name}/queues/rx-{at}/rps_flow_cnt"),
            value: each.to_string(),
        })
        .collect();
    let current = queues.first().map_or(Fact::unknown("it has no queues"), |queue| queue.rfs_flows.clone());
    let current = current.map(|flows| format!("{flows} in the first of {}", queues.len()));
    let setting = format!("flows of each receive queue of {name}");
    let unknown = current.known().is_none();
    let row = Advice::new(&setting, each, current, Severity::Advised, &WORDS);
    all.push(if unknown { row.note() } else { row.by_writing(changes) });
}

fn send_queues(name: &str, card: &Card, near: &[u32], all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "a send queue that one shard uses alone is locked by nobody else",
        gain: "not measured: the development machine's card has one queue",
        risk: "a core that no queue names takes one by a hash",
        source: "Linux, networking/scaling.rst, XPS",
    };
    let Fact::Known(queues) = &card.send else { return };
    if queues.len() < 2 {
        return;
    }
    let mut changes = Vec::new();
    for (at, queue) in queues.iter().enumerate() {
        let ours: Cores = near.iter().skip(at).step_by(queues.len()).copied().collect();
        if !ours.is_empty() && queue.known().is_some_and(|now| *now != ours) {
            let path = format!("sys/class/net/{name}/queues/tx-{at}/xps_cpus");
            changes.push(Change { path, value: ours.mask() });
        }
    }
    let current = queues[0].clone().map(|cores| {
        let cores = if cores.is_empty() { "none".to_owned() } else { cores.to_string() };
        format!("{cores} in the first of {}", queues.len())
    });
    let setting = format!("cores of each send queue of {name}");
    let row = Advice::new(&setting, "the shards, in turn", current, Severity::Note, &WORDS);
    all.push(row.by_writing(changes));
}

/// What ethtool(8) can change. The script does it; `apply` does not, as it could not promise to take it back.
fn offered(case: &Case<'_>, name: &str, card: &Card, near: &[u32], all: &mut Vec<Advice>) {
    const CHANNELS: Words = Words {
        why: "a queue for each shard: fewer make shards share, more interrupt more often",
        gain: "not measured",
        risk: "the link goes down for a moment",
        source: "ethtool(8), -L",
    };
    const GATHER: Words = Words {
        why: "how long the card waits for more packets before it interrupts: a message that comes alone waits so long",
        gain: "that time, of each message; or fewer interrupts",
        risk: "short: more interrupts under load; long: latency",
        source: "ethtool(8), -C",
    };
    const RINGS: Words = Words {
        why: "a burst that does not fit into the ring is lost, and sent again by TCP",
        gain: "no loss while a shard is busy with something else",
        risk: "memory, and colder caches; the link may go down for a moment",
        source: "ethtool(8), -G",
    };
    const STEER: Words = Words {
        why: "the card itself brings a connection's packets to the queue of the core that reads them",
        gain: "that of the flow table, without a hop between cores",
        risk: "a table in the card that is full falls back to the hash",
        source: "Linux, networking/scaling.rst, accelerated RFS",
    };
    let pair = |pairs: &Fact<crate::facts::Pairs>, key: &str| pairs.known().and_then(|pairs| pairs.get(key).cloned());
    let mut push = |setting: String, wanted: String, current: Option<String>, command: String, words: &Words| {
        let Some(current) = current else { return };
        let same = current == wanted;
        let row = Advice::new(&setting, wanted, Fact::Known(current), Severity::Advised, words);
        all.push(if same { row.fine() } else { row.by(How::Command(command)) });
    };
    if let Some(most) = pair(&card.channels, "max Combined").and_then(|most| most.parse::<usize>().ok()) {
        let wanted = near.len().min(most).to_string();
        let command = format!("ethtool -L {name} combined {wanted}");
        push(format!("queues of {name}"), wanted, pair(&card.channels, "Combined"), command, &CHANNELS);
    }
    if let Some(gather) = case.profile.system.gather_us {
        let adaptive = pair(&card.coalescing, "adaptive RX").filter(|adaptive| adaptive != "n/a");
        let off = if adaptive.is_some() { "adaptive-rx off " } else { "" };
        let command = format!("ethtool -C {name} {off}rx-usecs {gather}");
        let current = pair(&card.coalescing, "rx-usecs").filter(|usecs| usecs != "n/a");
        // A card that adapts does not keep to the number.
        let current =
            current.map(|usecs| if adaptive.as_deref() == Some("on") { format!("{usecs}, adaptive") } else { usecs });
        push(format!("gathering of {name}, us"), gather.to_string(), current, command, &GATHER);
    }
    if case.profile.system.largest_rings
        && let Some(most) = pair(&card.rings, "max RX")
    {
        let command = format!("ethtool -G {name} rx {most}");
        push(format!("receive ring of {name}"), most, pair(&card.rings, "RX"), command, &RINGS);
    }
    let ntuple = pair(&card.offloads, "ntuple-filters").filter(|now| !now.contains("[fixed]"));
    push(format!("steering in {name}"), "on".to_owned(), ntuple, format!("ethtool -K {name} ntuple on"), &STEER);
    if let Some(why) = card.rings.why() {
        const UNREAD: Words = Words {
            why: "rings, queues, gathering and offloads of a card are known through ethtool(8) alone",
            gain: "advice about them",
            risk: "none",
            source: "ethtool(8)",
        };
        let setting = format!("rings and offloads of {name}");
        all.push(Advice::new(&setting, "known", Fact::unknown(why), Severity::Note, &UNREAD));
    }
}
