//! Disks, and how requests to them are ordered. A part of the machine's memory that is called a disk is left out.

use std::collections::BTreeMap;

use crate::fact::Fact;
use crate::facts::Disk;
use crate::root::Root;

const BLOCK: &str = "sys/block";
/// Kinds of devices that are no disks.
const OTHERS: [&str; 6] = ["loop", "ram", "zram", "fd", "sr", "nbd"];

/// Looks at all of them.
pub fn look(root: &Root) -> Fact<BTreeMap<String, Disk>> {
    root.names(BLOCK).map(|names| {
        let is_other = |name: &str| {
            OTHERS.iter().any(|other| name.strip_prefix(other).is_some_and(|rest| rest.parse::<u32>().is_ok()))
        };
        let disks = names.into_iter().filter(|name| !is_other(name));
        disks.map(|name| (name.clone(), disk(root, &format!("{BLOCK}/{name}")))).collect()
    })
}

fn disk(root: &Root, at: &str) -> Disk {
    let offered = root.text(&format!("{at}/queue/scheduler"));
    Disk {
        scheduler: root.choice(&format!("{at}/queue/scheduler")),
        schedulers: offered.map(|text| text.replace(['[', ']'], "").split_whitespace().map(str::to_owned).collect()),
        rotational: root.value::<u8>(&format!("{at}/queue/rotational")).map(|on| on != 0),
        requests: root.value(&format!("{at}/queue/nr_requests")),
        cache: root.text(&format!("{at}/queue/write_cache")),
        // The kernel counts in sectors of 512 bytes whatever the disk's own are.
        size_kib: root.value::<u64>(&format!("{at}/size")).map(|sectors| sectors / 2),
        model: root.text(&format!("{at}/device/model")),
    }
}
