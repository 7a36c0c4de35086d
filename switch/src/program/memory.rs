//! The memory that a configuration bounds, pool by pool.

use std::fmt;

use shard::mesh::Mesh;

use crate::admission::Counts;
use crate::config::value::{about_bytes, show_bytes};
use crate::config::{Durability, Listener, Settings, Transport};
use crate::limits::OUTBOX_POOL_BYTES;
use crate::routing::parcel::rank_specs;

use super::log;
use super::plan::Plan;

/// User-space memory of one idle connection with one subscription to a common topic, in bytes: what a release may take
/// at most.
pub const CONNECTION_BYTES_MAX: u64 = 512;

/// What WebSocket adds to that, in bytes.
pub const WEBSOCKET_BYTES_MAX: u64 = 128;

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// What it holds.
    pub name: &'static str,
    /// Its bound in bytes.
    pub bytes: u64,
    /// Where the bound comes from.
    pub from: String,
}

/// All pools of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory(pub Vec<Pool>);

impl Memory {
    /// The memory that these settings bound on this machine.
    pub fn of(settings: &Settings, plan: &Plan) -> Memory {
        let (limits, shards) = (&settings.limits, u64::from(plan.shards()));
        let pool = |name, bytes, from: String| Pool { name, bytes, from };
        let of_ws = settings.listeners.iter().filter(|listener| listener.transport == Transport::Ws);
        let most = |listener: &Listener| listener.max_connections.map_or(u64::MAX, u64::from);
        let websocket = of_ws.map(most).fold(0, u64::saturating_add).min(plan.connections_max);
        Memory(vec![
            pool(
                "io_uring queues and receive buffers",
                plan.kernel.bytes_max().saturating_mul(shards),
                format!("shards: {shards}, each {} buffers of {}", plan.kernel.receive_buffers, {
                    show_bytes(u64::from(plan.kernel.receive_buffer_bytes))
                }),
            ),
            pool(
                "rings between shards",
                Mesh::bytes(plan.shards(), &rank_specs(limits, plan.shards())),
                "limits.mesh_memory; rings have a least size".into(),
            ),
            pool("feeds", limits.feed_memory, "limits.feed_memory".into()),
            pool("messages that wait in sessions", limits.queue_memory, "limits.queue_memory".into()),
            pool("retained messages", limits.max_retained_bytes, "limits.max_retained_bytes".into()),
            pool("outboxes kept for reuse", OUTBOX_POOL_BYTES as u64, "fixed".into()),
            pool(
                "connections, idle",
                plan.connections_max.saturating_mul(CONNECTION_BYTES_MAX),
                format!("{} x at most {CONNECTION_BYTES_MAX} B", plan.connections_max),
            ),
            pool("WebSocket connections, idle, besides", websocket.saturating_mul(WEBSOCKET_BYTES_MAX), {
                format!("{websocket} x at most {WEBSOCKET_BYTES_MAX} B")
            }),
            pool(
                "journal, not yet on disk",
                if settings.journal.enabled { settings.journal.staging_size.saturating_mul(shards) } else { 0 },
                match settings.journal.durability() {
                    _ if !settings.journal.enabled => "no journal".into(),
                    Durability::Memory => format!("shards: {shards}, each journal.staging_size"),
                    _ => format!(
                        "shards: {shards}, each journal.staging_size, in {}",
                        settings.journal.staging_dir.display()
                    ),
                },
            ),
            pool("counts of addresses and users", Counts::bytes(limits), "limits.max_connections_per_...".into()),
            pool("log records", shards.saturating_mul(log::queue_bytes()), format!("shards: {shards}")),
        ])
    }

    /// The sum of all pools, in bytes.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, pool| sum.saturating_add(pool.bytes))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pool in &self.0 {
            writeln!(f, "  {:<36} {:>9}  {}", pool.name, about_bytes(pool.bytes), pool.from)?;
        }
        writeln!(f, "  {:<36} {:>9}", "sum", about_bytes(self.total()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;
    use crate::connection::stack::Stack;
    use crate::delivery::feed::Member;
    use crate::routing::home;
    use crate::session::{Subscription, table};
    use crate::topic::id_table;

    /// All that a shard keeps for one idle client: MQTT over TCP, a keep alive, one subscription to a topic that others
    /// have too, a client identifier of 24 bytes at most. Each part is a ratchet: who needs more of one takes it from
    /// another or says why (the last 8 of a session are who its client is). What the pools above bound, and pages that are
    /// only reserved, are not in it.
    #[test]
    fn an_idle_client_is_small() {
        let parts = [
            ("connection", size_of::<Connection>(), 128),
            ("session", table::ROW_BYTES, 160),
            ("client at its home", home::CLIENT_BYTES, 48),
            ("its index at its home", id_table::ID_BYTES_MAX, 21),
            ("place in a feed", size_of::<Member>(), 8),
            ("timer", shard::timer::TIMER_BYTES, 28),
        ];
        for (part, bytes, most) in parts {
            assert!(bytes <= most, "{part}: {bytes} bytes instead of {most}");
        }
        let sum: usize = parts.iter().map(|(_, bytes, _)| bytes).sum();
        assert!(sum as u64 <= CONNECTION_BYTES_MAX * 4 / 5, "{sum} bytes leave too little for what the allocator adds");
    }

    /// What a WebSocket connection has besides: its stack, what the allocator adds, and a place to find it by.
    #[test]
    fn a_stack_is_small() {
        let bytes = size_of::<Stack>() as u64;
        assert!(bytes + 16 + 8 <= WEBSOCKET_BYTES_MAX, "{bytes} bytes");
    }

    /// Each subscription behind the first one costs this much, or twice where their list has just doubled.
    #[test]
    fn a_subscription_is_small() {
        assert!(size_of::<Subscription>() <= 32, "{} bytes", size_of::<Subscription>());
    }
}
