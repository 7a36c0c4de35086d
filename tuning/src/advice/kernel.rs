//! The kernel: what the switch cannot run without, limits, settings, clock, pages, disks.

use super::{Advice, Case, How, Severity, Words};
use crate::change::Change;
use crate::fact::Fact;

/// The oldest kernel that a shard starts on.
const OLDEST: (u32, u32) = (6, 1);
/// The first that closes sockets of the ring's own table at once.
const DIRECT: (u32, u32) = (6, 13);
/// Locked memory that the keeper needs.
const LOCKED_BYTES: u64 = 512 << 10;

/// What the switch cannot run without.
pub fn must_run(case: &Case<'_>, all: &mut Vec<Advice>) {
    release(case, all);
    io_uring(case, all);
    locked_memory(case, all);
}

/// Everything else.
pub fn advise(case: &Case<'_>, all: &mut Vec<Advice>) {
    open_files(case, all);
    sockets(case, all);
    clock(case, all);
    pages(case, all);
    upkeep(case, all);
    disks(case, all);
}

fn release(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "6.1 is the first with deferred task work, without which fan-in costs half as much again; from 6.13 on \
              sockets are kept in the ring's own table",
        gain: "one percent for the table, and the limit on open files holds for each shard and not for all together",
        risk: "that of any new kernel",
        source: "docs/operating.md",
    };
    let current = case.facts.kernel.release.clone();
    let version = current.known().and_then(|release| version(release));
    let row = |severity| Advice::new("kernel", "6.13 or later", current.clone(), severity, &WORDS);
    all.push(match version {
        Some(version) if version < OLDEST => row(Severity::Blocking),
        Some(version) if version < DIRECT => row(Severity::Note),
        Some(_) => row(Severity::Fine),
        None => row(Severity::Note),
    });
}

/// `6.12.9-amd64` begins with a version.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|other: char| !other.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn io_uring(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "each shard has an io_uring; 1 forbids it to all but a group, 2 to everybody",
        gain: "the switch starts",
        risk: "other programs may use it, too; 1 with kernel.io_uring_group set to the switch's group is the narrower way",
        source: "Linux, admin-guide/sysctl/kernel.rst",
    };
    let name = "kernel.io_uring_disabled";
    all.push(case.number(name, 0, |now| now == 0, Severity::Blocking, &WORDS));
    if let Some(why) = case.facts.kernel.io_uring.why() {
        const TRIED: Words = Words {
            why: "a container's filter may forbid io_uring although the kernel allows it",
            gain: "known only when it is tried",
            risk: "none",
            source: "docs/operating.md",
        };
        all.push(Advice::new("io_uring, tried", "a shard could start", Fact::unknown(why), Severity::Note, &TRIED));
    }
}

fn locked_memory(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "the keeper of the journal registers buffers, for which it needs 512 KiB",
        gain: "the switch starts with a journal",
        risk: "none",
        source: "docs/operating.md",
    };
    limit(case, "locked memory", LOCKED_BYTES, "LimitMEMLOCK=64M", Severity::Blocking, &WORDS, all);
}

fn open_files(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "a descriptor for each connection, and tables of sockets are bounded by the same limit",
        gain: "as many connections as the configuration says; the banner tells how many fit",
        risk: "none",
        source: "docs/operating.md",
    };
    let wanted = connections(case).max(65_536);
    let unit = format!("LimitNOFILE={wanted}");
    limit(case, "open files", wanted, &unit, Severity::Advised, &WORDS, all);
    const MOST: Words = Words {
        why: "no limit on open files can be higher",
        gain: "that of the limit",
        risk: "none",
        source: "proc_sys_fs(5)",
    };
    all.push(case.number("fs.nr_open", wanted, |now| now >= wanted, Severity::Advised, &MOST));
}

/// How many connections the plan is for.
fn connections(case: &Case<'_>) -> u64 {
    match (case.profile.memory.connection_bytes, case.facts.memory.total_kib.known()) {
        (Some(each), Some(kib)) => (kib * 1024 / 2 / each.max(1)).clamp(1000, 16_000_000) / 1000 * 1000,
        _ => 0,
    }
}

fn limit(
    case: &Case<'_>,
    name: &str,
    wanted: u64,
    unit: &str,
    severity: Severity,
    words: &Words,
    all: &mut Vec<Advice>,
) {
    let hard = case.facts.limits.clone().then(|limits| match limits.get(name) {
        Some(limit) => Fact::Known(limit.hard),
        None => Fact::unknown(format!("there is no limit on {name}")),
    });
    let enough = hard.known().is_some_and(|hard| hard.is_none_or(|hard| hard >= wanted));
    let unknown = hard.known().is_none();
    let current = hard.map(|hard| hard.map_or("none".to_owned(), |hard| hard.to_string()));
    let row = Advice::new(&format!("limit on {name}"), wanted, current, severity, words);
    all.push(match (enough, unknown) {
        (true, _) => row.fine(),
        (false, true) => Advice { severity: Severity::Note, ..row },
        (false, false) => row.by(How::Unit(unit.to_owned())),
    });
}

fn sockets(case: &Case<'_>, all: &mut Vec<Advice>) {
    const QUEUE: Words = Words {
        why: "the kernel lowers each listener's backlog to it",
        gain: "clients that come back all at once wait here, in place of trying again after a second",
        risk: "none",
        source: "listen(2)",
    };
    let backlog = case.profile.listener.backlog;
    let changes_system = case.profile.system.steering;
    if changes_system || case.sysctl("net.core.somaxconn").known().is_some() {
        let row = case.number("net.core.somaxconn", backlog, |now| now >= backlog, Severity::Advised, &QUEUE);
        all.push(if changes_system { row } else { only_told(row) });
    }
    if !changes_system {
        return;
    }
    const SYN: Words = Words {
        why: "half-open connections: over it the kernel answers without remembering (syncookies), and loses options",
        gain: "a storm of clients keeps its window scaling",
        risk: "a little memory for each",
        source: "tcp(7)",
    };
    all.push(case.number("net.ipv4.tcp_max_syn_backlog", backlog, |now| now >= backlog, Severity::Note, &SYN));
    const BUFFER: Words = Words {
        why: "the kernel lowers each listener's send_buffer to it",
        gain: "send_buffer means what it says",
        risk: "other programs may ask for more, too",
        source: "socket(7)",
    };
    all.push(case.number("net.core.wmem_max", 131_072, |now| now >= 131_072, Severity::Note, &BUFFER));
    if case.profile.system.slow_start_after_idle == Some(false) {
        const IDLE: Words = Words {
            why: "a connection that was quiet begins with a small window again: a burst after a pause takes round trips",
            gain: "those round trips, for clients far away; nothing on loopback",
            risk: "a burst into a path that has become narrow meanwhile",
            source: "tcp(7)",
        };
        let name = "net.ipv4.tcp_slow_start_after_idle";
        all.push(case.number(name, 0, |now| now == 0, Severity::Advised, &IDLE));
    }
}

/// A row of which a person should know, and nothing is done about.
fn only_told(row: Advice) -> Advice {
    if row.severity == Severity::Fine { row } else { Advice { severity: Severity::Note, how: How::Nothing, ..row } }
}

fn clock(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "a shard reads the clock in each turn; the clocks of the processor are read without a call of the kernel, \
              others take a microsecond",
        gain: "a microsecond each turn",
        risk: "the kernel gave up a clock for a reason: its log says which",
        source: "Linux, timers/timekeeping.rst",
    };
    const GOOD: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];
    let kernel = &case.facts.kernel;
    let offered = kernel.clock_sources.or_default();
    let wanted = GOOD.iter().find(|clock| offered.iter().any(|offered| offered == *clock));
    let is_good = kernel.clock_source.known().is_some_and(|clock| GOOD.contains(&clock.as_str()));
    let row = |wanted: &str| Advice::new("clock", wanted, kernel.clock_source.clone(), Severity::Important, &WORDS);
    all.push(match (is_good, wanted) {
        (true, _) => row("one of the processor").fine(),
        (false, Some(clock)) if case.profile.system.steering => row(clock).by(How::Write(vec![Change {
            path: "sys/devices/system/clocksource/clocksource0/current_clocksource".to_owned(),
            value: (*clock).to_owned(),
        }])),
        (false, _) => Advice { severity: Severity::Note, ..row("one of the processor") },
    });
}

fn pages(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "with `always` the kernel may stop a thread to make a huge page of what it touches",
        gain: "no such stalls; huge pages for all memory made deliveries neither cheaper nor dearer (1.02, 0.87 to 1.12)",
        risk: "programs that do not ask for huge pages get none",
        source: "docs/performance.md, The same cost from 10 to 18,000 subscribers",
    };
    let current = case.facts.memory.transparent_huge_pages.clone();
    let is_always = current.known().is_some_and(|now| now == "always");
    let row = Advice::new("transparent huge pages", "madvise", current, Severity::Advised, &WORDS);
    let change = Change { path: "sys/kernel/mm/transparent_hugepage/enabled".to_owned(), value: "madvise".to_owned() };
    all.push(match (is_always, case.profile.system.idle_latency_us) {
        (true, Some(_)) => row.by(How::Write(vec![change])),
        (true, None) => only_told(row),
        (false, _) if row.current.known().is_none() => only_told(row),
        (false, _) => row.fine(),
    });
}

/// What the kernel does beside, and when.
fn upkeep(case: &Case<'_>, all: &mut Vec<Advice>) {
    if let Some(most) = case.profile.system.swappiness {
        const SWAP: Words = Words {
            why: "a shard that waits for a page from the disk serves nobody meanwhile",
            gain: "idle sessions stay in memory",
            risk: "the cache of files is smaller",
            source: "Linux, admin-guide/sysctl/vm.rst",
        };
        all.push(case.number("vm.swappiness", most, |now| now <= most, Severity::Note, &SWAP));
    }
    if !case.profile.system.steering {
        return;
    }
    if case.facts.memory.nodes.known().is_some_and(|nodes| nodes.len() > 1) {
        const BALANCE: Words = Words {
            why: "the kernel takes pages away to see who uses them, to move them; shards do not move",
            gain: "no faults for that",
            risk: "other programs that do move have their memory far away",
            source: "Linux, admin-guide/sysctl/kernel.rst",
        };
        all.push(case.number("kernel.numa_balancing", 0, |now| now == 0, Severity::Advised, &BALANCE));
    }
    if case.profile.system.quiet_cores {
        const WATCHDOG: Words = Words {
            why: "it takes a counter of the processor and interrupts each core for it",
            gain: "one interrupt less every few seconds",
            risk: "a kernel that hangs is found later",
            source: "Linux, admin-guide/sysctl/kernel.rst",
        };
        all.push(case.number("kernel.nmi_watchdog", 0, |now| now == 0, Severity::Note, &WATCHDOG));
        const COUNTERS: Words = Words {
            why: "each core adds up its counters of memory once in this many seconds",
            gain: "one interruption less a second",
            risk: "counters of memory are older",
            source: "Linux, admin-guide/sysctl/vm.rst",
        };
        all.push(case.number("vm.stat_interval", 10, |now| now >= 10, Severity::Note, &COUNTERS));
    }
}

fn disks(case: &Case<'_>, all: &mut Vec<Advice>) {
    const WORDS: Words = Words {
        why: "the journal writes in large pieces and syncs; a disk without moving parts gains nothing from an order",
        gain: "not measured: the development machine's disk is virtual",
        risk: "no fairness between programs that share the disk",
        source: "Linux, block/switching-sched.rst",
    };
    if !case.profile.system.steering {
        return;
    }
    for (name, disk) in case.facts.disks.known().into_iter().flatten() {
        let offered = disk.schedulers.known().is_some_and(|all| all.iter().any(|scheduler| scheduler == "none"));
        if disk.rotational.known() != Some(&false) || !offered {
            continue;
        }
        let is_none = disk.scheduler.known().is_some_and(|scheduler| scheduler == "none");
        let setting = format!("scheduler of {name}");
        let row = Advice::new(&setting, "none", disk.scheduler.clone(), Severity::Note, &WORDS);
        let path = format!("sys/block/{name}/queue/scheduler");
        let change = Change { path, value: "none".to_owned() };
        all.push(if is_none { row.fine() } else { row.by(How::Write(vec![change])) });
    }
}
