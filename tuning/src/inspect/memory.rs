//! Memory: how much, on which nodes, in pages of which size.

use std::collections::BTreeMap;

use crate::cores::Cores;
use crate::fact::Fact;
use crate::facts::{Memory, Node};
use crate::root::Root;

use super::group;

const NODES: &str = "sys/devices/system/node";
const HUGE: &str = "sys/kernel/mm/hugepages";
const TRANSPARENT: &str = "sys/kernel/mm/transparent_hugepage";

/// Looks at it.
pub fn look(root: &Root) -> Memory {
    Memory {
        total_kib: total(root, "proc/meminfo"),
        limit: group::memory_limit(root),
        nodes: root.numbered(NODES, "node").map(|nodes| {
            let of = |(number, at): (u32, String)| Node {
                number,
                cores: root.cores(&format!("{at}/cpulist")),
                total_kib: total(root, &format!("{at}/meminfo")),
                distances: distances(root, &at),
            };
            nodes.into_iter().map(of).collect()
        }),
        transparent_huge_pages: root.choice(&format!("{TRANSPARENT}/enabled")),
        defragmentation: root.choice(&format!("{TRANSPARENT}/defrag")),
        huge_pages: huge_pages(root),
    }
}

/// The cores of each node.
pub fn node_cores(root: &Root) -> Fact<Vec<(u32, Cores)>> {
    root.numbered(NODES, "node").map(|nodes| {
        let of = |(number, at): (u32, String)| Some((number, root.cores(&format!("{at}/cpulist")).known()?.clone()));
        nodes.into_iter().filter_map(of).collect()
    })
}

/// `MemTotal`, the one line that does not change by itself.
fn total(root: &Root, name: &str) -> Fact<u64> {
    root.lines(name, |text| text.lines().filter(|line| line.contains("MemTotal:")).collect()).then(|line| {
        let number = line.split("MemTotal:").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.map_or_else(|| Fact::unknown(format!("{name} has no MemTotal")), Fact::Known)
    })
}

fn distances(root: &Root, at: &str) -> Fact<Vec<u32>> {
    root.text(&format!("{at}/distance"))
        .map(|text| text.split_whitespace().filter_map(|number| number.parse().ok()).collect())
}

fn huge_pages(root: &Root) -> Fact<BTreeMap<String, u64>> {
    root.names(HUGE).map(|names| {
        let of = |name: String| {
            let size = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.to_owned();
            Some((size, *root.value(&format!("{HUGE}/{name}/nr_hugepages")).known()?))
        };
        names.into_iter().filter_map(of).collect()
    })
}
