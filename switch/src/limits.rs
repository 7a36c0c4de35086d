//! Every bound of the switch, by name. A queue, map, pool or loop without a line here does not exist.
//!
//! Operators set [`Limits`]; the constants below it are relations and slices that nobody needs to tune.

use std::time::Duration;

/// What an operator may bound. Each field is a key of the `[limits]` section with the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections at once, on the whole node; further clients wait in the listen backlog.
    pub max_connections: u32,
    /// Connections at once of one address, or one IPv6 network of 64 bits, on the whole node; 0: no bound.
    pub max_connections_per_address: u32,
    /// Clients at once of one user name, on the whole node; 0: no bound.
    pub max_connections_per_user: u32,
    /// Connections of one address in a second; 0: no bound.
    pub max_conn_rate_per_address: u32,
    /// How often one client may connect within the window; 0: no bound.
    pub max_reconnects: u32,
    /// The window of `max_reconnects`.
    pub reconnect_window: Duration,
    /// How long a client is refused that connects more often.
    pub reconnect_ban: Duration,
    /// How long a new connection may take to send its whole CONNECT.
    pub connect_timeout: Duration,
    /// Largest CONNECT packet, in bytes; a larger one closes the connection before it is read.
    pub max_connect_size: u32,
    /// Largest packet that a client may send after CONNECT, in bytes; announced to v5 clients as Maximum Packet Size.
    pub max_packet_size: u32,
    /// Longest keep alive that a client may ask for, in seconds; 0: no cap. v5 clients over it get Server Keep Alive.
    pub max_keepalive: u16,
    /// Messages that a client may publish in a second; 0: no bound.
    pub max_publish_rate: u32,
    /// Bytes of PUBLISH packets that a client may send in a second; 0: no bound.
    pub max_publish_bytes_rate: u32,
    /// How long a client may be held back without a pause before it is disconnected; zero: for ever.
    pub max_held_back: Duration,
    /// QoS 1 and 2 messages sent to one client and not yet acknowledged.
    pub max_inflight: u16,
    /// QoS 1 and 2 messages of one client being handled; announced to v5 clients as Receive Maximum.
    pub receive_maximum: u16,
    /// Messages that wait for one session besides those in flight.
    pub max_queued_messages: u32,
    /// Bytes that wait for one session.
    pub max_queued_bytes: u64,
    /// Longest session expiry interval; also that of 3.1.1 clients with clean session 0.
    pub session_expiry_interval: Duration,
    /// Sessions that outlive their connection, on the whole node.
    pub max_sessions: u32,
    /// Longest time that a message may wait; zero: what the publisher says.
    pub message_expiry_interval: Duration,
    /// Topic aliases that a client may set up; announced to v5 clients as Topic Alias Maximum.
    pub max_topic_alias: u16,
    /// Highest QoS that clients may publish with, and that subscriptions are granted.
    pub max_qos_allowed: u8,
    /// Levels in a topic name or filter.
    pub max_topic_levels: u16,
    /// Subscriptions of one session.
    pub max_subscriptions: u32,
    /// Whether retained messages are kept; announced to v5 clients as Retain Available.
    pub retain_available: bool,
    /// Retained messages on the whole node.
    pub max_retained_messages: u32,
    /// Bytes of retained messages on the whole node.
    pub max_retained_bytes: u64,
    /// Memory for messages that wait in sessions, on the whole node. When a shard's share is full, publishes of QoS 1
    /// and 2 that need it are refused (v5: 0x97, v3.1.1: the publisher is closed).
    pub queue_memory: u64,
    /// Memory for feeds (what subscribers of QoS 0 read by cursor), on the whole node.
    pub feed_memory: u64,
    /// Bytes that one feed keeps for subscribers that lag; over it the oldest messages are dropped for them.
    pub max_feed_bytes: u64,
    /// Oldest message that a subscriber that lags may still get from a feed.
    pub max_feed_age: Duration,
    /// Bytes that wait for one connection outside of feeds; over it QoS 0 messages for it are dropped.
    pub max_outbox_bytes: u32,
    /// Memory for the rings between shards.
    pub mesh_memory: u64,
    /// QoS 1 and 2 publishes that one shard may have unresolved at one topic owner.
    pub publish_credits: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 1_000_000,
            max_connections_per_address: 0,
            max_connections_per_user: 0,
            max_conn_rate_per_address: 0,
            max_reconnects: 0,
            reconnect_window: Duration::from_secs(60),
            reconnect_ban: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(10),
            max_connect_size: 64 << 10,
            max_packet_size: 1 << 20,
            max_keepalive: 0,
            max_publish_rate: 0,
            max_publish_bytes_rate: 0,
            max_held_back: Duration::ZERO,
            max_inflight: 32,
            receive_maximum: 1024,
            max_queued_messages: 1000,
            max_queued_bytes: 8 << 20,
            session_expiry_interval: Duration::from_secs(24 * 3600),
            max_sessions: 1_000_000,
            message_expiry_interval: Duration::ZERO,
            max_topic_alias: 32,
            max_qos_allowed: 2,
            max_topic_levels: 128,
            max_subscriptions: 4096,
            retain_available: true,
            max_retained_messages: 1_000_000,
            max_retained_bytes: 256 << 20,
            queue_memory: 512 << 20,
            feed_memory: 256 << 20,
            max_feed_bytes: 1 << 20,
            max_feed_age: Duration::from_secs(10),
            max_outbox_bytes: 256 << 10,
            mesh_memory: 64 << 20,
            publish_credits: 1024,
        }
    }
}

impl Limits {
    /// The longest record that a journal may have to take, in bytes: the largest packet, a topic that was named by
    /// alias, and what the switch says beside them.
    pub fn record_bytes_max(&self) -> u64 {
        let packet = u64::from(self.max_packet_size.max(self.max_connect_size));
        packet + packet.min(u64::from(u16::MAX)) + RECORD_BESIDE_BYTES
    }
}

/// What a journal's record holds besides what a client sent, in bytes.
pub const RECORD_BESIDE_BYTES: u64 = 4 << 10;
/// A staging ring holds so many of the longest records, so that a long one never waits for the ring to be empty.
pub const RECORDS_STAGED_MIN: u64 = 4;
/// A journal may always have so many segments: one at hand, one prepared, and two that a compaction reads and fills.
pub const SEGMENTS_MIN: u64 = 4;
/// What sizes of journal files are rounded up to, in bytes.
pub const PAGE_BYTES: u64 = 4096;
/// Shards of a node at most: the width of a shard set.
pub const SHARDS_MAX: u16 = 256;
/// Bytes of one feed chunk; packets never straddle chunks, a larger packet gets a chunk of its own.
pub const FEED_CHUNK_BYTES: usize = 64 << 10;
/// What a connection's outbox takes from queues and feeds before it waits for the socket, in bytes.
pub const OUTBOX_FILL_BYTES: usize = 16 << 10;
/// Emptied outboxes kept for reuse, in bytes.
pub const OUTBOX_POOL_BYTES: usize = 64 << 20;
/// Sends in one flush slice; between slices completions and parcels are served.
pub const FLUSH_SLICE: usize = 256;
/// Sends that the pass of one feed may take before other feeds and connections come first.
pub const FLUSH_VISIT: u32 = 4 * FLUSH_SLICE as u32;
/// Bytes of one send at most.
pub const SEND_BYTES_MAX: usize = 256 << 10;
/// Bytes that are sealed for one connection ahead of its socket.
pub const SEALED_BYTES_MAX: usize = 64 << 10;
/// Sealed bytes of one flush slice, after which the connections that are left wait for the next.
pub const SEALED_BYTES_OF_SLICE: usize = 1 << 20;
/// What handshakes of TLS may cost in one turn, in units of some 80 µs: what goes beyond it waits, in order. One step goes
/// beyond it at most, as what it costs is known before, and an RSA key takes more than a turn should.
pub const HANDSHAKE_UNITS_PER_TURN: u32 = 6;
/// Accepts armed on each listener of a shard: newcomers of one turn.
pub const ACCEPTS_ARMED: u32 = 16;
/// Parcels taken from one ring in one turn.
pub const PARCELS_PER_TURN: usize = 256;
/// Jobs of one kind run in one turn.
pub const JOBS_PER_TURN: usize = 256;
/// A parcel larger than this travels as a counted reference beside the ring, in bytes.
pub const PARCEL_INLINE_MAX: usize = 4 << 10;
/// Feeds that one connection may read; further subscriptions are served by its outbox.
pub const FEEDS_PER_CONNECTION: usize = 8;
/// Retained messages in one slice.
pub const RETAINED_SLICE: usize = 64;
/// How long an owner is told that a shard has no subscriber of a filter any more.
pub const INTEREST_LINGER: Duration = Duration::from_secs(3);
/// How long a closing connection may take to read what was sent last.
pub const LINGER: Duration = Duration::from_secs(1);
/// How long a stop may take before the process exits regardless.
pub const STOP_MAX: Duration = Duration::from_millis(4500);
/// SUBSCRIBE and UNSUBSCRIBE packets of one connection being handled at once.
pub const REQUESTS_PER_CONNECTION: u32 = 64;

/// The share of a journal's staging ring that is left to notes: one part in so many.
pub const JOURNAL_RESERVE_SHARE: u64 = 4;
/// Bytes of the ring that the notes of one packet take at most: an UNSUBSCRIBE of many filters is the longest.
pub const JOURNAL_NOTE_BYTES: u64 = 4 << 10;
/// How soon what found no room in a journal is tried again where nothing tells that there is some.
pub const JOURNAL_LOOK: Duration = Duration::from_millis(10);
/// Bytes that compaction writes in one turn: a slice.
pub const JOURNAL_SWEEP_BYTES_PER_TURN: u64 = 32 << 10;
/// What one turn of it looks at, most of which may need no writing.
pub const JOURNAL_SWEEP_LOOKS_PER_TURN: u32 = 1024;
/// How far apart slices are, unless the log grows faster, or is too long: 64 MiB/s. A shard that compacts as fast as it can
/// never sleeps, and the kernel then lets it wait for a core that it shares with the keeper as long as it lets any program
/// that computes.
pub const JOURNAL_SWEEP_PACE: Duration = Duration::from_micros(500);
/// Turns with messages to send that compaction lets pass by, one after another: a slice takes some 20 µs, and in the next
/// turn it keeps nobody waiting. A shard that always has something to send compacts in each ninth turn.
pub const JOURNAL_SWEEP_PASSES: u32 = 8;
/// How long a publish of the switch itself rests that some shard refused: twice as long each time, up to a maximum.
pub const OWN_RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest such rest.
pub const OWN_RETRY_MAX: Duration = Duration::from_secs(60);
/// How often a will is published that some shard refuses: for four minutes, with the rests above.
pub const WILL_TRIES: u32 = 10;
/// A log below this many bytes, on one shard, is not compacted.
pub const JOURNAL_SWEEP_LEAST_BYTES: u64 = 64 << 20;
/// Marks of QoS 2 messages that a shard keeps, of all publishers.
pub const JOURNAL_MARKS_MAX: usize = 1 << 20;
/// Parcels of one owner that wait for the journal before no more are taken.
pub const HELD_MAX: usize = 64 << 10;

const _: () = assert!(FEED_CHUNK_BYTES.is_power_of_two());
const _: () = assert!(OUTBOX_FILL_BYTES < FEED_CHUNK_BYTES);
