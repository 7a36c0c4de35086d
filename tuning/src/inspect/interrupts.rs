//! Interrupts of devices: which cores may handle them, and which do. Counts are left out: they are never the same twice.

use crate::fact::Fact;
use crate::facts::{Interrupt, Interrupts};
use crate::root::Root;

/// Files beside the directory that is named after the device.
const FILES: [&str; 7] = [
    "affinity_hint",
    "effective_affinity",
    "effective_affinity_list",
    "node",
    "smp_affinity",
    "smp_affinity_list",
    "spurious",
];

/// Looks at them.
pub fn look(root: &Root) -> Interrupts {
    Interrupts {
        irqbalance: irqbalance(root),
        default_cores: root.mask("proc/irq/default_smp_affinity"),
        lines: root
            .numbered("proc/irq", "")
            .map(|lines| lines.into_iter().filter_map(|(number, at)| line(root, number, &at)).collect()),
    }
}

/// One that has a device; the others are the kernel's own or free.
fn line(root: &Root, number: u32, at: &str) -> Option<Interrupt> {
    let names: Vec<String> =
        root.names(at).known()?.iter().filter(|name| !FILES.contains(&name.as_str())).cloned().collect();
    if names.is_empty() {
        return None;
    }
    names.iter().for_each(|name| _ = root.has(&format!("{at}/{name}")));
    Some(Interrupt {
        number,
        name: names.join(", "),
        cores: root.cores(&format!("{at}/smp_affinity_list")),
        effective: root.cores(&format!("{at}/effective_affinity_list")),
    })
}

/// Whether a process of that name runs.
fn irqbalance(root: &Root) -> Fact<bool> {
    if !root.is_live() {
        return root.ask("irqbalance", || Fact::Known(String::new())).map(|found| found == "runs");
    }
    let found = root.peek("proc").map(|names| {
        let processes = names.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        processes
            .into_iter()
            .any(|process| root.peek_text(&format!("proc/{process}/comm")).as_deref() == Some("irqbalance"))
    });
    let said = found.map(|found| if found { "runs" } else { "does not run" }.to_owned());
    root.ask("irqbalance", || said).map(|found| found == "runs")
}
