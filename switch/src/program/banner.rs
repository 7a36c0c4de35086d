//! What the program says of itself when it starts.

use std::fmt::Write;

use shard::config::CoreId;
use shard::listen::Endpoint;

use super::plan::{Bound, Plan};
use crate::config::field::Choice;
use crate::config::value::CoreList;
use crate::config::{Durability, Settings};
use crate::listener::ListenerPolicy;

/// The version, as `--version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The last line of the banner: from here on clients are served.
pub const READY: &str = "ready";

/// The banner, one line for each thing, when clients are served. `features` lists the optional kernel features in use,
/// `listeners` the addresses in service.
pub fn text(
    settings: &Settings,
    plan: &Plan,
    features: &dyn std::fmt::Display,
    listeners: &[(&Endpoint, &ListenerPolicy)],
) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "ringmain {VERSION}");
    let _ = writeln!(out, "kernel: {features}");
    let _ = writeln!(out, "shards: {}", shards(plan));
    let _ = writeln!(out, "connections: {}", connections(plan));
    let _ = writeln!(out, "durability: {}", durability(settings, plan));
    for (endpoint, policy) in listeners {
        let place = endpoint.to_string();
        let name = if policy.name == place { String::new() } else { format!(", {}", policy.name) };
        let _ = writeln!(out, "listening on {place} ({}{name})", policy.transport_word());
    }
    let _ = writeln!(out, "{READY}");
    out
}

/// What an acknowledgement promises, and where that lies.
pub fn durability(settings: &Settings, plan: &Plan) -> String {
    let word = settings.journal.durability().word();
    match (&plan.storage, settings.journal.durability()) {
        (None, _) => format!("{word}, without a journal: nothing survives a restart"),
        (Some(storage), Durability::Memory) => format!("{word}, and soon after in {}", storage.data_dir.display()),
        (Some(storage), Durability::Written) => {
            format!("{word} in {}, and soon after in {}", storage.staging_dir.display(), storage.data_dir.display())
        }
        (Some(storage), Durability::Fsync) => format!("{word} in {}", storage.data_dir.display()),
    }
}

/// How many shards, on which cores.
pub fn shards(plan: &Plan) -> String {
    let list = |cores: &mut dyn Iterator<Item = CoreId>| cores.collect::<CoreList>();
    let pinned = list(&mut plan.cores.shards.iter().flatten().copied());
    let service = list(&mut plan.cores.service_cores.iter().copied());
    let shards = plan.shards();
    let shared = if usize::from(shards) > pinned.cores().len() { ", more shards than cores" } else { "" };
    format!("{shards} on cores {pinned}{shared}; service threads on cores {service}")
}

/// How many connections fit, and why not more.
pub fn connections(plan: &Plan) -> String {
    let most = plan.connections_max;
    match plan.connections_bound {
        Bound::Configured => format!("{most} fit (limits.max_connections)"),
        Bound::OpenFiles(hard) => {
            format!("{most} fit (the hard limit on open files is {hard}; raise it for more: LimitNOFILE=, ulimit -Hn)")
        }
    }
}
