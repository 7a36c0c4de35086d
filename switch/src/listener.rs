//! Listeners as shards know them: what all connections that came in by one have in common.
//!
//! A connection names its listener by a number ([`ListenerId`](shard::ListenerId)), which is the index in [`Listeners`].
//! What else depends on the listener (who may connect, which topics are open) belongs into its [`ListenerPolicy`].

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::utils::CachePadded;
use shard::mesh::ShardId;

use crate::admission::pace::Pace;
use crate::config::field::Choice;
use crate::config::{Listener, Network, Transport};
use crate::connection::meter::Rates;
use crate::limits::Limits;
use crate::tls::recheck::Recheck;
use crate::tls::{ListenerTls, Secrets};

/// The listeners in service, by [`ListenerId`](shard::ListenerId).
pub type Listeners = Arc<[ListenerPolicy]>;

/// What is asked of every connection of one listener.
pub struct ListenerPolicy {
    /// What it is called.
    pub name: String,
    /// How MQTT travels on it.
    pub transport: Transport,
    /// Connections at once, on the whole node.
    pub connections_max: u32,
    /// How fast they come, where that is bounded.
    pub pace: Option<Pace>,
    /// Bytes of a packet at most, where that is not as for all.
    pub packet_bytes_max: Option<u32>,
    /// Messages, and bytes of them, that each client may publish in a second, where that is not as for all.
    pub publish_rate: Option<u32>,
    /// Likewise.
    pub publish_bytes_rate: Option<u32>,
    /// What a request for WebSocket must be like; absent: there is none.
    pub upgrade: Option<UpgradeRules>,
    /// Who is asked for a client's real address; absent: nobody.
    pub proxies: Option<Proxies>,
    /// What TLS is spoken with; absent: none.
    pub tls: Option<ListenerTls>,
    /// Where certificates are looked at again; absent: nowhere.
    pub recheck: Option<Arc<Recheck>>,
    /// Connections of each shard, written by that shard alone.
    open: Box<[CachePadded<AtomicU32>]>,
}

/// What a request for WebSocket must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRules {
    /// Its path.
    pub path: String,
    /// Origins that may ask; empty: all.
    pub origins: Vec<String>,
    /// Bytes at most.
    pub request_bytes_max: usize,
}

/// Which peers are proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// Those of these addresses.
    At(Vec<Network>),
    /// All: who may open a Unix socket.
    All,
}

impl Proxies {
    /// Whether this peer tells of a client.
    pub fn include(&self, peer: IpAddr) -> bool {
        match self {
            Proxies::At(networks) => networks.iter().any(|network| network.contains(peer)),
            Proxies::All => true,
        }
    }
}

impl ListenerPolicy {
    /// The policy of a listener that is open, on a node of `shards` shards.
    pub fn new(listener: &Listener, shards: u16) -> ListenerPolicy {
        let proxies = match listener.transport {
            Transport::Unix => Proxies::All,
            Transport::Tcp | Transport::Ws | Transport::Tls | Transport::Wss => {
                Proxies::At(listener.proxy_trusted.clone())
            }
        };
        ListenerPolicy {
            name: listener.called(),
            transport: listener.transport,
            connections_max: listener.max_connections.unwrap_or(u32::MAX),
            pace: Pace::new(listener.max_conn_rate),
            packet_bytes_max: listener.max_packet_size,
            publish_rate: listener.max_publish_rate,
            publish_bytes_rate: listener.max_publish_bytes_rate,
            upgrade: listener.transport.is_web().then(|| UpgradeRules {
                path: listener.path.clone(),
                origins: listener.allowed_origins.clone(),
                request_bytes_max: listener.max_header_size as usize,
            }),
            proxies: listener.proxy_protocol.then_some(proxies),
            tls: None,
            recheck: None,
            open: std::iter::repeat_with(CachePadded::default).take(shards.into()).collect(),
        }
    }

    /// The same for a listener that speaks TLS with these.
    pub fn with_tls(
        listener: &Listener,
        shards: u16,
        secrets: &Arc<Secrets>,
        recheck: &Arc<Recheck>,
    ) -> ListenerPolicy {
        let tls = ListenerTls::new(secrets, shards);
        ListenerPolicy { tls: Some(tls), recheck: Some(Arc::clone(recheck)), ..ListenerPolicy::new(listener, shards) }
    }

    /// What each of its clients may publish.
    pub fn rates(&self, limits: &Limits) -> Rates {
        Rates {
            messages: self.publish_rate.unwrap_or(limits.max_publish_rate),
            bytes: self.publish_bytes_rate.unwrap_or(limits.max_publish_bytes_rate),
        }
    }

    /// The name of its transport.
    pub fn transport_word(&self) -> &'static str {
        self.transport.word()
    }

    /// A shard has one connection more.
    pub fn opened(&self, shard: ShardId) {
        self.add(shard, 1);
    }

    /// A shard has one connection less.
    pub fn closed(&self, shard: ShardId) {
        self.add(shard, u32::MAX);
    }

    /// Connections that may come before the limit.
    pub fn room(&self) -> u32 {
        if self.connections_max == u32::MAX {
            return u32::MAX;
        }
        self.connections_max.saturating_sub(self.open())
    }

    /// Whether there are more connections than may be.
    pub fn is_over(&self) -> bool {
        self.connections_max != u32::MAX && self.open() > self.connections_max
    }

    fn open(&self) -> u32 {
        self.open.iter().map(|open| open.load(Ordering::Relaxed)).sum()
    }

    fn add(&self, shard: ShardId, count: u32) {
        let open = &self.open[usize::from(shard.0)];
        open.store(open.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

/// One listener of plain TCP, for nodes that are not the program's.
pub fn plain(shards: u16) -> Listeners {
    Arc::new([ListenerPolicy::new(&Listener::default(), shards)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit is of the whole node; without one nothing is counted up.
    #[test]
    fn limits_are_of_the_node() {
        let limited = Listener { max_connections: Some(3), ..Listener::default() };
        let policy = ListenerPolicy::new(&limited, 2);
        policy.opened(ShardId(0));
        policy.opened(ShardId(1));
        assert_eq!((policy.room(), policy.is_over()), (1, false));
        policy.opened(ShardId(1));
        policy.opened(ShardId(0));
        assert_eq!((policy.room(), policy.is_over()), (0, true));
        policy.closed(ShardId(1));
        policy.closed(ShardId(1));
        assert_eq!((policy.room(), policy.is_over()), (1, false));
        assert_eq!(ListenerPolicy::new(&Listener::default(), 1).room(), u32::MAX);
    }

    /// Only who is trusted is asked.
    #[test]
    fn proxies_are_trusted_by_address() {
        let trusted = "10.0.0.0/8".parse().expect("a network");
        let listener = Listener { proxy_protocol: true, proxy_trusted: vec![trusted], ..Listener::default() };
        let proxies = ListenerPolicy::new(&listener, 1).proxies.expect("it asks");
        assert!(proxies.include([10, 1, 2, 3].into()) && !proxies.include([127, 0, 0, 1].into()));
        assert_eq!(ListenerPolicy::new(&Listener::default(), 1).proxies, None);
    }
}
