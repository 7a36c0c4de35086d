//! Settings of the kernel that matter here.

use std::collections::BTreeMap;

use crate::fact::Fact;
use crate::root::Root;

/// Which, by their names for sysctl(8).
const NAMES: [&str; 34] = [
    "fs.file-max",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "kernel.io_uring_group",
    "kernel.nmi_watchdog",
    "kernel.numa_balancing",
    "kernel.sched_autogroup_enabled",
    "kernel.sched_rt_runtime_us",
    "kernel.timer_migration",
    "kernel.watchdog",
    "net.core.busy_poll",
    "net.core.busy_read",
    "net.core.default_qdisc",
    "net.core.netdev_budget",
    "net.core.netdev_budget_usecs",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.rps_sock_flow_entries",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_autocorking",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
    "vm.max_map_count",
    "vm.stat_interval",
    "vm.swappiness",
];

/// Looks at them.
pub fn look(root: &Root) -> BTreeMap<String, Fact<String>> {
    NAMES.iter().map(|name| ((*name).to_owned(), root.text(&path(name)).map(|text| one_blank(&text)))).collect()
}

/// Where a setting lies.
fn path(name: &str) -> String {
    format!("proc/sys/{}", name.replace('.', "/"))
}

/// The kernel separates values by tabs, people by blanks.
fn one_blank(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
