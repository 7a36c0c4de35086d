//! The kernel: its release, what it was started with, its clock, what it does about flaws, and io_uring.

use std::collections::BTreeMap;

use shard::config::KernelConfig;
use shard::uring::Features;

use crate::fact::Fact;
use crate::facts::Kernel;
use crate::root::{Root, chosen};

const CLOCK: &str = "sys/devices/system/clocksource/clocksource0";
const FLAWS: &str = "sys/devices/system/cpu/vulnerabilities";

/// Looks at it.
pub fn look(root: &Root) -> Kernel {
    Kernel {
        release: root.text("proc/sys/kernel/osrelease"),
        version: root.text("proc/sys/kernel/version"),
        command_line: root.text("proc/cmdline"),
        preemption: preemption(root),
        clock_source: root.text(&format!("{CLOCK}/current_clocksource")),
        clock_sources: root
            .text(&format!("{CLOCK}/available_clocksource"))
            .map(|text| text.split_whitespace().map(str::to_owned).collect()),
        mitigations: mitigations(root),
        io_uring: root.ask("io_uring", features).map(|text| text.lines().map(str::to_owned).collect()),
    }
}

/// Only a kernel with PREEMPT_DYNAMIC has the file; one without says what it does in its version.
fn preemption(root: &Root) -> Fact<String> {
    root.text("sys/kernel/debug/sched/preempt").map(|text| {
        let open = text.find('(').map_or(0, |at| at + 1);
        let close = text.find(')').unwrap_or(text.len());
        chosen(&text[open..close.max(open)]).to_owned()
    })
}

fn mitigations(root: &Root) -> Fact<BTreeMap<String, String>> {
    root.names(FLAWS).map(|names| {
        let of = |name: String| Some((name.clone(), root.text(&format!("{FLAWS}/{name}")).known()?.clone()));
        names.into_iter().filter_map(of).collect()
    })
}

/// Tries out what a shard would use.
fn features() -> Fact<String> {
    match Features::probe(&KernelConfig::default()) {
        Err(error) => Fact::unknown(format!("a shard could not start: {error}")),
        Ok(features) => {
            let all = [
                (features.defer_taskrun, "defer_taskrun"),
                (features.no_sqarray, "no_sqarray"),
                (features.registered_ring, "registered_ring"),
                (features.direct_descriptors, "direct_descriptors"),
                (features.multishot_receive, "multishot_receive"),
            ];
            let used: Vec<&str> = all.iter().filter(|(used, _)| *used).map(|(_, name)| *name).collect();
            Fact::Known(used.join("\n"))
        }
    }
}
