//! The settings as the program trusts them: whoever holds a [`Settings`] need not check it again.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use shard::config::KernelConfig;
use shard::listen::ListenOptions;

use super::field::Choice;
use super::value::CoreList;
use crate::limits::Limits;
use crate::program::log::Level;

/// The port of MQTT over TCP, registered with IANA.
pub const MQTT_PORT: u16 = 1883;

/// Everything that an operator may decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where clients connect; never empty once checked.
    pub listeners: Vec<Listener>,
    /// Which cores do what.
    pub node: Node,
    /// Every bound.
    pub limits: Limits,
    /// Which topics belong together.
    pub placement: Placement,
    /// The kernel's side: rings, buffers and optional features.
    pub kernel: KernelConfig,
    /// What is told on standard error.
    pub log: Log,
    /// What is published under `$SYS`.
    pub sys: Sys,
}

impl Default for Settings {
    /// MQTT on the loopback addresses, one shard for each allowed core, everything in memory.
    fn default() -> Settings {
        Settings {
            listeners: Listener::loopback(),
            node: Node::default(),
            limits: Limits::default(),
            placement: Placement::default(),
            kernel: KernelConfig::default(),
            log: Log::default(),
            sys: Sys::default(),
        }
    }
}

/// One `[[listener]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 lets the kernel choose. Always there once checked.
    pub bind: Option<SocketAddr>,
    /// How MQTT travels on it.
    pub transport: Transport,
    /// Whether clients need no authentication; written or not. Checked: never `Some(false)`, and `Some(true)` unless
    /// the address is a loopback one.
    pub allow_anonymous: Option<bool>,
    /// What its sockets are like.
    pub options: ListenOptions,
    /// Whether the program may go on without it: a default listener on a machine that has no such address family.
    pub optional: bool,
}

impl Listener {
    /// A listener at `bind`, otherwise as the defaults say.
    pub fn at(bind: SocketAddr) -> Listener {
        Listener { bind: Some(bind), ..Listener::default() }
    }

    /// What plain `ringmain` serves.
    pub fn loopback() -> Vec<Listener> {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, MQTT_PORT));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, MQTT_PORT));
        [v4, v6].into_iter().map(|bind| Listener { optional: true, ..Listener::at(bind) }).collect()
    }
}

/// How MQTT travels on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// MQTT over TCP.
    #[default]
    Tcp,
}

impl Choice for Transport {
    fn choose(&mut self, _word: &str) {
        *self = Transport::Tcp;
    }

    fn word(&self) -> &'static str {
        "tcp"
    }
}

/// The `[node]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// How many shards; absent: one for each of `cores`.
    pub shards: Option<u16>,
    /// Cores that shards are pinned to; absent: all that the process may use.
    pub cores: Option<CoreList>,
    /// Cores of the service threads; absent: all that the process may use.
    pub service_cores: Option<CoreList>,
    /// Whether shards measure what they spend their time with.
    pub profile: bool,
    /// What an acknowledgement promises.
    pub durability: Durability,
}

/// What an acknowledgement promises about a message that a session is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The owing shards hold it in memory.
    #[default]
    Memory,
}

impl Choice for Durability {
    fn choose(&mut self, _word: &str) {
        *self = Durability::Memory;
    }

    fn word(&self) -> &'static str {
        "memory"
    }
}

/// The `[placement]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Partition rules: filters whose literal and `+` levels make up a topic's placement key.
    pub rules: Vec<String>,
}

/// The `[log]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is printed.
    pub level: Level,
    /// Lines that one shard may print in a second; more are counted, not printed.
    pub max_rate: u32,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: Level::Info, max_rate: 100 }
    }
}

/// The `[sys]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sys {
    /// Time between two publications of the `$SYS` topics; zero: none.
    pub interval: Duration,
}

impl Default for Sys {
    fn default() -> Sys {
        Sys { interval: Duration::from_secs(10) }
    }
}
