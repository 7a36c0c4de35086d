//! Every key, once: its name, how it is written, where its value lives, and what it does.
//!
//! The file reader, the environment, `ringmain check`, the annotated `ringmain.toml` and docs/configuration.md are all
//! made from these tables. Defaults are not in them: they are those of [`Settings::default`].

mod access;
mod journal;
mod listener;

use super::field::{Field, Kind};
use super::settings::Settings;
use crate::limits::SHARDS_MAX;
use crate::program::log::Level;
use crate::routing::place::RULES_MAX;

pub use listener::{LISTENER, LISTENER_DOC, LISTENER_KEYS, LISTENERS_MAX};

/// One key of a section whose values live in a `T`.
pub struct Key<T> {
    /// The name, as in the file.
    pub name: &'static str,
    /// How the value is written.
    pub kind: Kind,
    /// The place of the value.
    pub at: fn(&mut T) -> Field<'_>,
    /// What it does, and what happens at the bound; sentences in Markdown.
    pub doc: &'static str,
    /// What happens where nothing is written, for keys that have no value then.
    pub absent: Option<&'static str>,
    /// Whether a reload applies another value of it; all others wait for a start.
    pub live: bool,
}

impl<T> Key<T> {
    const fn new(name: &'static str, kind: Kind, at: fn(&mut T) -> Field<'_>, doc: &'static str) -> Key<T> {
        Key { name, kind, at, doc, absent: None, live: false }
    }

    const fn absent(self, absent: &'static str) -> Key<T> {
        Key { absent: Some(absent), ..self }
    }

    const fn live(self) -> Key<T> {
        Key { live: true, ..self }
    }
}

type SettingsKey = Key<Settings>;

/// One section of the file.
pub struct Section {
    /// The name in brackets.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key<Settings>],
}

/// Largest number that fits a `u32`.
const U32: u64 = u32::MAX as u64;
/// A size that no machine reaches.
const TIB: u64 = 1 << 40;
const DAY: u64 = 86_400_000;

/// All sections besides `[[listener]]`.
pub const SECTIONS: &[Section] = &[
    Section { name: "node", doc: "Which cores do what.", keys: NODE },
    Section {
        name: "limits",
        doc: "Every bound, and what happens at it. Limits on the whole node are divided among the shards.",
        keys: LIMITS,
    },
    Section { name: "journal", doc: journal::DOC, keys: journal::KEYS },
    Section { name: "access", doc: access::DOC, keys: access::KEYS },
    Section { name: "access_jwt", doc: access::JWT_DOC, keys: access::JWT_KEYS },
    Section { name: "access_http", doc: access::HTTP_DOC, keys: access::HTTP_KEYS },
    Section { name: "access_acl_http", doc: access::ACL_HTTP_DOC, keys: access::ACL_HTTP_KEYS },
    Section { name: "placement", doc: "Which topics belong together.", keys: PLACEMENT },
    Section {
        name: "kernel",
        doc: "How a shard uses io_uring. The switches turn optional features off; one that is on is used where the \
              kernel has it, and the banner says which are. They exist for kernels that misbehave and for measuring.",
        keys: KERNEL,
    },
    Section { name: "log", doc: "What is told on standard error.", keys: LOG },
    Section { name: "sys", doc: "What is published under `$SYS/broker/`.", keys: SYS },
];

const NODE: &[Key<Settings>] = &[
    SettingsKey::new(
        "shards",
        Kind::Count(1..=SHARDS_MAX as u64),
        |s| Field::MaybeU16(&mut s.node.shards),
        "How many shards. Each is one thread with its own sockets and its part of the topics. More shards than cores \
         work, but cost more than they bring.",
    )
    .absent("one for each of `cores`"),
    SettingsKey::new(
        "cores",
        Kind::Cores,
        |s| Field::Cores(&mut s.node.cores),
        "Cores that shards are pinned to, dealt in turn. Each must be online and within the cpuset of the process.",
    )
    .absent("all that the process may use"),
    SettingsKey::new(
        "service_cores",
        Kind::Cores,
        |s| Field::Cores(&mut s.node.service_cores),
        "Cores of the service threads (log and signals), which are never on the path of a message.",
    )
    .absent("all that the process may use"),
    SettingsKey::new(
        "profile",
        Kind::Switch,
        |s| Field::Switch(&mut s.node.profile),
        "Whether each shard measures how long it spends with each stage of a message. `$SYS/broker/shards/N/profile/` \
         shows it, and a table when the switch stops. It costs some 10 ns for each stage of a message.",
    ),
    SettingsKey::new(
        "control_socket",
        Kind::File,
        |s| Field::MaybePath(&mut s.node.control_socket),
        "Where `ringmain reload` reaches this node: a Unix socket that its user and root may use.",
    )
    .absent("`control.sock` in the data directory; without a journal none"),
];

const LIMITS: &[Key<Settings>] = &[
    SettingsKey::new(
        "max_connections",
        Kind::Count(1..=16_000_000),
        |s| Field::U32(&mut s.limits.max_connections),
        "Connections at once, on the whole node. Further clients wait in the listen backlog. The limit on open files \
         may allow fewer; the banner tells how many fit.",
    ),
    SettingsKey::new(
        "max_connections_per_address",
        Kind::Count(0..=16_000_000),
        |s| Field::U32(&mut s.limits.max_connections_per_address),
        "Connections at once of one address (IPv6: of one /64), on the whole node; 0: no such bound. Further ones are \
         closed at once, counted. Unix sockets have no address.",
    ),
    SettingsKey::new(
        "max_connections_per_user",
        Kind::Count(0..=16_000_000),
        |s| Field::U32(&mut s.limits.max_connections_per_user),
        "Clients at once of one user name, on the whole node; 0: no such bound. A further one is refused (0x97, 3.1.1: \
         3), counted. Clients that a back end of `[access]` has not named are not counted.",
    ),
    SettingsKey::new(
        "max_conn_rate_per_address",
        Kind::Rate(0..=100_000),
        |s| Field::U32(&mut s.limits.max_conn_rate_per_address),
        "Connections of one address (IPv6: of one /64) in each second, of which a second's worth may come at once; `0/s`: \
         no such bound. Further ones are refused (0x9F, 3.1.1: 3), with TLS closed before the handshake, counted.",
    ),
    SettingsKey::new(
        "max_reconnects",
        Kind::Count(0..=1_000_000),
        |s| Field::U32(&mut s.limits.max_reconnects),
        "How often a client may connect within `reconnect_window`, such as two devices with one client identifier that \
         throw each other out; 0: no such bound. Who connects more often is refused for `reconnect_ban` (0x9F, 3.1.1: \
         3), counted. Clients are told apart by client identifier and user.",
    ),
    SettingsKey::new(
        "reconnect_window",
        Kind::Duration(1000..=DAY),
        |s| Field::Duration(&mut s.limits.reconnect_window),
        "The time in which a client may connect `max_reconnects` times.",
    ),
    SettingsKey::new(
        "reconnect_ban",
        Kind::Duration(1000..=DAY),
        |s| Field::Duration(&mut s.limits.reconnect_ban),
        "How long a client is refused that connects more often. Whoever is connected stays.",
    ),
    SettingsKey::new(
        "connect_timeout",
        Kind::Duration(100..=600_000),
        |s| Field::Duration(&mut s.limits.connect_timeout),
        "How long a new connection may take to send its whole CONNECT; it is closed then.",
    ),
    SettingsKey::new(
        "max_connect_size",
        Kind::Bytes(64..=256 << 20),
        |s| Field::U32(&mut s.limits.max_connect_size),
        "Largest CONNECT packet. A larger one closes the connection before it is read.",
    ),
    SettingsKey::new(
        "max_packet_size",
        // Less than MQTT's own 256 MiB: what is published by alias goes on by name, with identifiers of subscribers.
        Kind::Bytes(256..=255 << 20),
        |s| Field::U32(&mut s.limits.max_packet_size),
        "Largest packet that a client may send after CONNECT, header included. MQTT 5.0 clients are told (Maximum Packet \
         Size); a larger packet closes its connection (0x95).",
    ),
    SettingsKey::new(
        "max_keepalive",
        Kind::Duration(0..=65_535_000),
        |s| Field::Seconds(&mut s.limits.max_keepalive),
        "Longest keep alive that a client may ask for, in whole seconds; `0s`: no cap. MQTT 5.0 clients over it, or \
         without one, get it as Server Keep Alive.",
    ),
    SettingsKey::new(
        "max_publish_rate",
        Kind::Rate(0..=1_000_000),
        |s| Field::U32(&mut s.limits.max_publish_rate),
        "Messages that each client may publish in a second, of which a second's worth may come at once; `0/s`: no such \
         bound. A client that is faster is not read until it may go on, so that TCP holds it back; it is counted.",
    ),
    SettingsKey::new(
        "max_publish_bytes_rate",
        Kind::Bytes(0..=U32),
        |s| Field::U32(&mut s.limits.max_publish_bytes_rate),
        "Bytes of PUBLISH packets that each client may send in a second, likewise; 0: no such bound. A packet that is \
         larger than that is let through, and the client pays for it with silence.",
    ),
    SettingsKey::new(
        "max_held_back",
        Kind::Duration(0..=DAY),
        |s| Field::Duration(&mut s.limits.max_held_back),
        "How long a client may publish faster than it may, without a pause, before it is disconnected (0x96); `0s`: it is \
         held back, and never disconnected for it.",
    ),
    SettingsKey::new(
        "max_inflight",
        Kind::Count(1..=65_535),
        |s| Field::U16(&mut s.limits.max_inflight),
        "QoS 1 and 2 messages sent to one client and not yet acknowledged by it. A client's own Receive Maximum may \
         lower it.",
    ),
    SettingsKey::new(
        "receive_maximum",
        Kind::Count(1..=65_535),
        |s| Field::U16(&mut s.limits.receive_maximum),
        "QoS 1 and 2 messages from one client being handled. MQTT 5.0 clients are told (Receive Maximum); one that \
         exceeds it is closed (0x93).",
    ),
    SettingsKey::new(
        "max_queued_messages",
        Kind::Count(1..=100_000_000),
        |s| Field::U32(&mut s.limits.max_queued_messages),
        "Messages that wait for one session besides those in flight. Further ones for that session are dropped and \
         counted.",
    ),
    SettingsKey::new(
        "max_queued_bytes",
        Kind::Bytes(1024..=TIB),
        |s| Field::U64(&mut s.limits.max_queued_bytes),
        "Bytes that wait for one session. Further messages for it are dropped and counted.",
    ),
    SettingsKey::new(
        "session_expiry_interval",
        Kind::Duration(0..=36_500 * DAY),
        |s| Field::Duration(&mut s.limits.session_expiry_interval),
        "Longest time that a session outlives its connection. MQTT 5.0 clients that ask for more get this; sessions of \
         3.1.1 clients with Clean Session 0 get it always.",
    ),
    SettingsKey::new(
        "max_sessions",
        Kind::Count(0..=100_000_000),
        |s| Field::U32(&mut s.limits.max_sessions),
        "Sessions that outlive their connection, on the whole node. A client that would add one is refused (0x97).",
    ),
    SettingsKey::new(
        "message_expiry_interval",
        Kind::Duration(0..=36_500 * DAY),
        |s| Field::Duration(&mut s.limits.message_expiry_interval),
        "Longest time that a message may wait for a subscriber; a publisher may ask for less. `0s`: as the publisher \
         says.",
    ),
    SettingsKey::new(
        "max_topic_alias",
        Kind::Count(0..=65_535),
        |s| Field::U16(&mut s.limits.max_topic_alias),
        "Topic aliases that a client may set up. MQTT 5.0 clients are told (Topic Alias Maximum); one that exceeds it is \
         closed (0x94).",
    ),
    SettingsKey::new(
        "max_qos_allowed",
        Kind::Count(0..=2),
        |s| Field::U8(&mut s.limits.max_qos_allowed),
        "Highest QoS that clients may publish with and that subscriptions are granted. MQTT 5.0 clients are told \
         (Maximum QoS); one that exceeds it is closed (0x9B).",
    ),
    SettingsKey::new(
        "max_topic_levels",
        Kind::Count(1..=65_535),
        |s| Field::U16(&mut s.limits.max_topic_levels),
        "Levels in a topic name or filter. More are refused: 0x90 for a name, 0x8F for a filter.",
    ),
    SettingsKey::new(
        "max_subscriptions",
        Kind::Count(1..=10_000_000),
        |s| Field::U32(&mut s.limits.max_subscriptions),
        "Subscriptions of one session. Further ones are refused (0x97).",
    ),
    SettingsKey::new(
        "retain_available",
        Kind::Switch,
        |s| Field::Switch(&mut s.limits.retain_available),
        "Whether retained messages are kept. MQTT 5.0 clients are told (Retain Available); one that sends a retained \
         message nevertheless is closed (0x9A).",
    ),
    SettingsKey::new(
        "max_retained_messages",
        Kind::Count(0..=U32),
        |s| Field::U32(&mut s.limits.max_retained_messages),
        "Retained messages on the whole node. A new topic beyond it is delivered but not retained, and counted.",
    ),
    SettingsKey::new(
        "max_retained_bytes",
        Kind::Bytes(0..=TIB),
        |s| Field::U64(&mut s.limits.max_retained_bytes),
        "Bytes of retained messages on the whole node. What does not fit is delivered but not retained, and counted.",
    ),
    SettingsKey::new(
        "queue_memory",
        Kind::Bytes(1 << 20..=TIB),
        |s| Field::U64(&mut s.limits.queue_memory),
        "Memory for messages that wait in sessions, on the whole node. When a shard's share is full, publishes of QoS 1 \
         and 2 that need it are refused (MQTT 5.0: 0x97; 3.1.1: the publisher is closed).",
    ),
    SettingsKey::new(
        "feed_memory",
        Kind::Bytes(1 << 20..=TIB),
        |s| Field::U64(&mut s.limits.feed_memory),
        "Memory for feeds, what subscribers of QoS 0 read by cursor, on the whole node. When it is full the oldest \
         messages go, and subscribers that had not read them lose them, counted.",
    ),
    SettingsKey::new(
        "max_feed_bytes",
        Kind::Bytes(65_536..=TIB),
        |s| Field::U64(&mut s.limits.max_feed_bytes),
        "Bytes that one feed keeps for subscribers that lag. Over it the oldest messages are dropped for them, counted.",
    ),
    SettingsKey::new(
        "max_feed_age",
        Kind::Duration(10..=DAY),
        |s| Field::Duration(&mut s.limits.max_feed_age),
        "Oldest QoS 0 message that a subscriber that lags may still get from a feed. What is older is dropped for it, \
         counted.",
    ),
    SettingsKey::new(
        "max_outbox_bytes",
        Kind::Bytes(4096..=U32),
        |s| Field::U32(&mut s.limits.max_outbox_bytes),
        "Bytes that wait for one connection outside of feeds. Over it QoS 0 messages for it are dropped, counted.",
    ),
    SettingsKey::new(
        "mesh_memory",
        Kind::Bytes(1 << 20..=TIB),
        |s| Field::U64(&mut s.limits.mesh_memory),
        "Memory for the rings between shards, on the whole node; each ring has a least size, so that many shards may take \
         more (`ringmain check` tells). A full ring holds publishers back.",
    ),
    SettingsKey::new(
        "publish_credits",
        Kind::Count(1..=1_000_000),
        |s| Field::U32(&mut s.limits.publish_credits),
        "QoS 1 and 2 publishes that one shard may have unresolved at one topic owner. Publishers wait beyond it.",
    ),
];

const PLACEMENT: &[Key<Settings>] = &[SettingsKey::new(
    "rules",
    Kind::Words(RULES_MAX),
    |s| Field::Words(&mut s.placement.rules),
    "Partition rules, filters that end in `#`: `room/+/#` makes the first two levels the placement key of each topic \
     that it matches, so that all topics of a room have one owner and filters such as `room/7/#` ask one shard. The \
     first rule that matches counts; a topic that none matches is placed by its whole name.",
)];

const KERNEL: &[Key<Settings>] = &[
    SettingsKey::new(
        "sq_entries",
        Kind::Count(8..=32_768),
        |s| Field::U32(&mut s.kernel.sq_entries),
        "Entries of a shard's submission queue; a power of two. Larger batches of sends are submitted in pieces.",
    ),
    SettingsKey::new(
        "cq_entries",
        Kind::Count(16..=65_536),
        |s| Field::U32(&mut s.kernel.cq_entries),
        "Entries of a shard's completion queue; a power of two, at least twice `sq_entries`.",
    ),
    SettingsKey::new(
        "receive_buffers",
        Kind::Count(1..=32_768),
        |s| Field::U16(&mut s.kernel.receive_buffers),
        "Receive buffers of a shard; a power of two. All its connections share them.",
    ),
    SettingsKey::new(
        "receive_buffer_bytes",
        Kind::Bytes(64..=1 << 20),
        |s| Field::U32(&mut s.kernel.receive_buffer_bytes),
        "Size of one receive buffer: what one receive brings at most.",
    ),
    SettingsKey::new(
        "spin",
        Kind::Duration(0..=1000),
        |s| Field::Duration(&mut s.kernel.spin),
        "How long an idle shard looks at its queues before it sleeps. 20 to 50 microseconds (`\"50us\"`) halve the latency \
         of a message that comes alone, at the price of a busy core; right only where a shard has its core for itself.",
    ),
    SettingsKey::new(
        "defer_taskrun",
        Kind::Switch,
        |s| Field::Switch(&mut s.kernel.defer_taskrun),
        "Run deferred work only where the shard asks for it (IORING_SETUP_DEFER_TASKRUN).",
    ),
    SettingsKey::new(
        "no_sqarray",
        Kind::Switch,
        |s| Field::Switch(&mut s.kernel.no_sqarray),
        "Leave out the index array of the submission queue (IORING_SETUP_NO_SQARRAY, Linux 6.6).",
    ),
    SettingsKey::new(
        "registered_ring",
        Kind::Switch,
        |s| Field::Switch(&mut s.kernel.registered_ring),
        "Name the ring by a registered index in io_uring_enter(2).",
    ),
    SettingsKey::new(
        "direct_descriptors",
        Kind::Switch,
        |s| Field::Switch(&mut s.kernel.direct_descriptors),
        "Keep sockets in the ring's own table (used from Linux 6.13 on). Without it each connection takes one of the \
         process's open files, and all shards share that limit.",
    ),
    SettingsKey::new(
        "multishot_receive",
        Kind::Switch,
        |s| Field::Switch(&mut s.kernel.multishot_receive),
        "Let one receive bring bytes until it is cancelled (IORING_RECV_MULTISHOT).",
    ),
];

const LOG: &[Key<Settings>] = &[
    SettingsKey::new(
        "level",
        Kind::Choice(&Level::WORDS, &["trace"]),
        |s| Field::Choice(&mut s.log.level),
        "The least important level that is printed. Clients that come and go are `info`.",
    ),
    SettingsKey::new(
        "max_rate",
        Kind::Rate(0..=1_000_000),
        |s| Field::U32(&mut s.log.max_rate),
        "Lines below `warn` that one shard may print in a second. More are counted, and the count is printed.",
    ),
];

const SYS: &[Key<Settings>] = &[SettingsKey::new(
    "interval",
    Kind::Duration(0..=DAY),
    |s| Field::Duration(&mut s.sys.interval),
    "Time between two publications of the `$SYS/broker/` topics; `0s`: they are not published.",
)];

#[cfg(test)]
mod tests;
