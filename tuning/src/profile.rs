//! Profiles: what a machine is tuned for. Each is a file, with its trade-offs in words.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Those that come with the program.
const OURS: [(&str, &str); 4] = [
    ("low-latency", include_str!("../profiles/low-latency.toml")),
    ("throughput", include_str!("../profiles/throughput.toml")),
    ("dense-connections", include_str!("../profiles/dense-connections.toml")),
    ("shared-host", include_str!("../profiles/shared-host.toml")),
];

/// What to tune for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// What it costs, one sentence each.
    pub trade_offs: Vec<String>,
    /// Which cores do what.
    pub cores: CoreWishes,
    /// How memory is shared out.
    pub memory: MemoryWishes,
    /// Keys of `ringmain.toml` and their values, as they are.
    pub configuration: BTreeMap<String, toml::Value>,
    /// Keys of each listener.
    pub listener: ListenerWishes,
    /// What the system should do.
    pub system: SystemWishes,
}

/// Which cores do what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreWishes {
    /// Cores of which NUMA nodes have shards.
    pub nodes: Nodes,
    /// What the second thread of a shard's core does.
    pub siblings: Siblings,
    /// What the saving cores of a hybrid processor do.
    pub efficiency: Efficiency,
    /// Whether cores that the scheduler leaves alone are for the shards.
    pub isolated: bool,
    /// With so many cores, and more, some serve and have no shard; 0: never.
    pub service_from: u32,
    /// One core in so many serves.
    pub service_one_in: u32,
    /// How much of the cores may be used at all.
    pub share_percent: u32,
    /// `kernel.spin`, where each shard has its core for itself.
    pub spin: String,
}

/// Cores of which NUMA nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nodes {
    /// That of the network card.
    Card,
    /// All.
    All,
}

/// What the second thread of a shard's core does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Siblings {
    /// Nothing.
    Idle,
    /// It has a shard of its own.
    Shards,
}

/// What saving cores do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Efficiency {
    /// They serve.
    Service,
    /// They have shards.
    Shards,
}

/// How memory is shared out: parts of what there is, up to a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryWishes {
    /// `limits.feed_memory` is one part in so many.
    pub feed_share: u64,
    /// And at most this.
    pub feed_most: String,
    /// `limits.queue_memory` is one part in so many.
    pub queue_share: u64,
    /// And at most this.
    pub queue_most: String,
    /// `limits.max_connections` is as many as fit into half of the memory at so many bytes each; absent: the default.
    #[serde(default)]
    pub connection_bytes: Option<u64>,
}

/// Keys of each listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerWishes {
    /// Connections that may wait.
    pub backlog: u64,
    /// What the kernel may keep of one connection.
    #[serde(default)]
    pub send_buffer: Option<String>,
}

/// What the system should do. What is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemWishes {
    /// Who sets the frequency of shards' cores.
    #[serde(default)]
    pub governor: Option<String>,
    /// The longest time that waking up a shard's core may take.
    #[serde(default)]
    pub idle_latency_us: Option<u64>,
    /// Whether interrupts and packets are brought to the cores of the shards.
    pub steering: bool,
    /// How long a card may gather packets.
    #[serde(default)]
    pub gather_us: Option<u64>,
    /// Whether a card's rings should be as large as they can be.
    #[serde(default)]
    pub largest_rings: bool,
    /// `net.ipv4.tcp_slow_start_after_idle`.
    #[serde(default)]
    pub slow_start_after_idle: Option<bool>,
    /// Whether the kernel should keep its own work away from the shards' cores.
    #[serde(default)]
    pub quiet_cores: bool,
    /// `vm.swappiness`, at most.
    #[serde(default)]
    pub swappiness: Option<u64>,
}

impl Profile {
    /// Names of those that come with the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        OURS.iter().map(|(name, _)| *name)
    }

    /// One of ours by its name, or one in a file where `name` has a slash or ends in `.toml`.
    pub fn find(name: &str) -> Result<Profile, String> {
        if name.contains('/') || name.ends_with(".toml") {
            let text = fs::read_to_string(Path::new(name)).map_err(|error| format!("{name}: {error}"))?;
            return toml::from_str(&text).map_err(|error| format!("{name}: {error}"));
        }
        let Some((_, text)) = OURS.iter().find(|(ours, _)| *ours == name) else {
            let names: Vec<&str> = Profile::names().collect();
            return Err(format!("there is no profile `{name}`; there are {}, and files of your own", names.join(", ")));
        };
        toml::from_str(text).map_err(|error| format!("profile {name}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our profiles can be read, and each says what it costs.
    #[test]
    fn our_profiles_can_be_read() {
        for name in Profile::names() {
            let profile = Profile::find(name).expect("one of ours");
            assert_eq!(profile.name, name);
            assert!(!profile.trade_offs.is_empty());
        }
        assert!(Profile::find("low-latencie").unwrap_err().contains("low-latency"));
    }
}
