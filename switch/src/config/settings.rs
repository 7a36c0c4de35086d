//! The settings as the program trusts them: whoever holds a [`Settings`] need not check it again.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use shard::config::KernelConfig;
use shard::listen::{Endpoint, ListenOptions};

use super::access::Access;
use super::field::choice_of_words;
use super::network::Network;
use super::own::Own;
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
    /// What survives the process, and where.
    pub journal: Journal,
    /// Who may connect, publish and subscribe.
    pub access: Access,
    /// Which topics belong together.
    pub placement: Placement,
    /// The kernel's side: rings, buffers and optional features.
    pub kernel: KernelConfig,
    /// What is told on standard error.
    pub log: Log,
    /// What is published under `$SYS`.
    pub sys: Sys,
}

impl Settings {
    /// Whether clients are judged at all.
    pub fn judges(&self) -> bool {
        let judges = |listener: &Listener| {
            let asks = listener.acl_http(&self.access).is_some();
            asks || listener.has_rules() || listener.has_users() || listener.tls.identity != CertificateName::None
        };
        self.access.is_on() || self.listeners.iter().any(judges)
    }
}

impl Default for Settings {
    /// MQTT on the loopback addresses, one shard for each allowed core, a journal below the user's home.
    fn default() -> Settings {
        Settings {
            listeners: Listener::loopback(),
            node: Node::default(),
            limits: Limits::default(),
            journal: Journal::default(),
            access: Access::default(),
            placement: Placement::default(),
            kernel: KernelConfig::default(),
            log: Log::default(),
            sys: Sys::default(),
        }
    }
}

/// One `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where; port 0 lets the kernel choose. Always there once checked, and a path for [`Transport::Unix`] alone.
    pub bind: Option<Endpoint>,
    /// What it is called; absent: after its address.
    pub name: Option<String>,
    /// How MQTT travels on it.
    pub transport: Transport,
    /// Whether clients need no authentication; written or not. Checked: it is written, or this machine alone reaches the
    /// address, or there is a back end to ask.
    pub allow_anonymous: Option<bool>,
    /// Words of back ends in the order in which they are asked here; empty: as everywhere. Checked: all are configured.
    pub backends: Vec<String>,
    /// Users and their hashes, in place of those of all listeners.
    pub password_file: Option<PathBuf>,
    /// Other back ends and services of its own. Checked: what belongs to another of them is there with that.
    pub own: Own,
    /// The listener that it has these and `password_file` from, and whose users are its own. Checked: it has them then.
    pub users_of: Option<String>,
    /// Rules in mosquitto's form, in place of those of all listeners.
    pub acl_file: Option<PathBuf>,
    /// Rules in our own form, likewise.
    pub rules_file: Option<PathBuf>,
    /// Whether a service is asked about what its clients do; absent: where there is one.
    pub acl_http: Option<bool>,
    /// Bytes of a packet at most; absent: as everywhere. Checked: no more than that.
    pub max_packet_size: Option<u32>,
    /// Connections at once that came in by it, on the whole node; absent: as the node's own limit says.
    pub max_connections: Option<u32>,
    /// Connections that come in by it in a second, on the whole node; 0: no bound.
    pub max_conn_rate: u32,
    /// Messages that each client may publish in a second; absent: as for all.
    pub max_publish_rate: Option<u32>,
    /// Bytes of them; absent: as for all.
    pub max_publish_bytes_rate: Option<u32>,
    /// Where WebSocket is spoken. Checked: begins with `/`, and has no query.
    pub path: String,
    /// Origins that pages of browsers may come from; empty: any.
    pub allowed_origins: Vec<String>,
    /// Bytes of the request that opens a WebSocket at most.
    pub max_header_size: u32,
    /// Whether a proxy tells where a client really is.
    pub proxy_protocol: bool,
    /// The proxies that are believed. Checked: not empty where there must be some.
    pub proxy_trusted: Vec<Network>,
    /// What it shows and asks for, where it speaks TLS.
    pub tls: Tls,
    /// What its sockets are like.
    pub options: ListenOptions,
    /// Whether the program may go on without it: a default listener on a machine that has no such address family.
    pub optional: bool,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            bind: None,
            name: None,
            transport: Transport::Tcp,
            allow_anonymous: None,
            backends: Vec::new(),
            password_file: None,
            own: Own::default(),
            users_of: None,
            acl_file: None,
            rules_file: None,
            acl_http: None,
            max_packet_size: None,
            max_connections: None,
            max_conn_rate: 0,
            max_publish_rate: None,
            max_publish_bytes_rate: None,
            path: "/mqtt".to_owned(),
            allowed_origins: Vec::new(),
            max_header_size: 8 << 10,
            proxy_protocol: false,
            proxy_trusted: Vec::new(),
            tls: Tls::default(),
            options: ListenOptions::default(),
            optional: false,
        }
    }
}

impl Listener {
    /// A listener at `bind`, otherwise as the defaults say.
    pub fn at(bind: SocketAddr) -> Listener {
        Listener { bind: Some(Endpoint::Tcp(bind)), ..Listener::default() }
    }

    /// What it is called: its name, or its address.
    pub fn called(&self) -> String {
        let address = || self.bind.as_ref().map(ToString::to_string).unwrap_or_default();
        self.name.clone().unwrap_or_else(address)
    }

    /// Whether other machines reach it.
    pub fn public(&self) -> bool {
        self.bind.as_ref().is_none_or(|bind| !bind.is_local())
    }

    /// What plain `ringmain` serves.
    pub fn loopback() -> Vec<Listener> {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, MQTT_PORT));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, MQTT_PORT));
        [v4, v6].into_iter().map(|bind| Listener { optional: true, ..Listener::at(bind) }).collect()
    }
}

choice_of_words! {
    /// How MQTT travels on a listener.
    Transport {
        /// MQTT over TCP.
        #[default]
        Tcp => "tcp",
        /// MQTT over WebSocket over TCP.
        Ws => "ws",
        /// MQTT over a Unix socket.
        Unix => "unix",
        /// MQTT over TLS over TCP.
        Tls => "tls",
        /// MQTT over WebSocket over TLS over TCP.
        Wss => "wss",
    }
}

impl Transport {
    /// Whether it is encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    /// Whether MQTT lies in the frames of a WebSocket.
    pub fn is_web(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }
}

/// What a listener with TLS shows, and what it asks of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and those that lead to its authority, where there is one for all names. Checked: [`Tls::pairs`]
    /// is not empty where TLS is spoken.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Certificates of which a client's Server Name Indication picks one.
    pub certificates: Vec<KeyPair>,
    /// What clients show.
    pub client_certificates: ClientCertificates,
    /// Who has issued what clients show. Checked: there where clients are asked.
    pub client_ca: Option<PathBuf>,
    /// Lists of certificates that hold no more.
    pub client_crl: Vec<String>,
    /// Which name in a client's certificate is its user name.
    pub identity: CertificateName,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

impl Tls {
    /// All certificates with their keys; the first is for clients that name no server, or one that no other has.
    pub fn pairs(&self) -> Vec<KeyPair> {
        let sole = self.certificate.clone().zip(self.key.clone());
        let sole = sole.map(|(certificate, key)| KeyPair { certificate, key });
        sole.into_iter().chain(self.certificates.iter().cloned()).collect()
    }
}

/// A certificate's file and that of its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate first, then those that lead to its authority; PEM.
    pub certificate: PathBuf,
    /// The private key; PEM.
    pub key: PathBuf,
}

choice_of_words! {
    /// Whether clients show certificates.
    ClientCertificates {
        /// Nobody is asked.
        #[default]
        None => "none",
        /// Who shows one shows a good one.
        Optional => "optional",
        /// Who shows none is refused.
        Required => "required",
    }
}

choice_of_words! {
    /// A name within a certificate.
    CertificateName {
        /// Certificates say nothing about who a client is.
        #[default]
        None => "none",
        /// The Common Name of the subject.
        Cn => "cn",
        /// The first DNS name of the Subject Alternative Name.
        Dns => "dns",
        /// The first address of mail there.
        Email => "email",
        /// The first URI there.
        Uri => "uri",
    }
}

choice_of_words! {
    /// A version of TLS. Older ones are refused.
    TlsVersion {
        /// TLS 1.2.
        #[default]
        V12 => "1.2",
        /// TLS 1.3.
        V13 => "1.3",
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
    /// Where `ringmain reload` reaches the node; absent: in the data directory, if there is one.
    pub control_socket: Option<PathBuf>,
}

/// The `[journal]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it lies; absent: below the user's home, see [`super::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// Where what is not synced yet lies: a directory in tmpfs.
    pub staging_dir: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Bytes of one segment file; a whole number of pages once checked.
    pub segment_size: u64,
    /// Bytes of one shard's staging ring; a whole number of pages once checked.
    pub staging_size: u64,
    /// Bytes of all segments on the whole node; 0: no bound. Checked: each shard's share holds
    /// [`crate::limits::SEGMENTS_MIN`] of them.
    pub max_size: u64,
    /// How many times as large as what is live a log becomes before it is compacted.
    pub compact_ratio: u32,
    /// How much longer each sync takes than it does.
    pub sync_delay: Duration,
}

impl Journal {
    /// What an acknowledgement promises in effect: without a journal there is only memory.
    pub fn durability(&self) -> Durability {
        if self.enabled { self.durability } else { Durability::Memory }
    }
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            enabled: true,
            data_dir: None,
            staging_dir: PathBuf::from("/dev/shm"),
            durability: Durability::Fsync,
            segment_size: 16 << 20,
            staging_size: 8 << 20,
            max_size: 0,
            compact_ratio: 4,
            sync_delay: Duration::ZERO,
        }
    }
}

choice_of_words! {
    /// What an acknowledgement promises about a message that a session is owed, strongest first.
    Durability {
        /// It is on disk.
        #[default]
        Fsync => "fsync",
        /// It survives the process, not the machine.
        Written => "written",
        /// The owing shards hold it in memory.
        Memory => "memory",
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
