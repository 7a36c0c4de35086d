//! The one look at the machine. Everything is read below a root, so that captured machines can be looked at too.
//!
//! What cannot be read becomes an unknown fact that says why. Nothing is guessed, and nothing is changed.

mod ethtool;
mod group;
mod interrupts;
mod kernel;
mod machine;
mod memory;
mod network;
mod processor;
mod storage;
mod sysctl;

use std::collections::BTreeMap;

use crate::fact::Fact;
use crate::facts::{FORMAT, Facts, Limit};
use crate::root::Root;

/// Looks at everything.
pub fn inspect(root: &Root) -> Facts {
    Facts {
        format: FORMAT,
        machine: machine::look(root),
        kernel: kernel::look(root),
        processor: processor::look(root),
        memory: memory::look(root),
        interrupts: interrupts::look(root),
        network: network::look(root),
        sysctls: sysctl::look(root),
        limits: limits(root),
        disks: storage::look(root),
    }
}

/// The limits of this process that matter here.
fn limits(root: &Root) -> Fact<BTreeMap<String, Limit>> {
    const NAMES: [(&str, &str); 3] = [
        ("Max open files", "open files"),
        ("Max locked memory", "locked memory"),
        ("Max realtime priority", "real time"),
    ];
    root.text("proc/self/limits").map(|text| {
        let of = |line: &str| {
            let (name, ours) = NAMES.iter().find(|(name, _)| line.starts_with(name))?;
            let mut values = line[name.len()..].split_whitespace().map(|value| match value {
                "unlimited" => Some(None),
                number => number.parse().ok().map(Some),
            });
            Some(((*ours).to_owned(), Limit { soft: values.next()??, hard: values.next()?? }))
        };
        text.lines().filter_map(of).collect()
    })
}
