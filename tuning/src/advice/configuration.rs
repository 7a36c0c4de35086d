//! Keys of `ringmain.toml`. Only keys that there are; the program's own tests start it with each plan.

use super::{Advice, Case, How, Severity, Words};
use crate::fact::Fact;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The program's defaults, where a row says what is changed. Another number of shards or cores has no fixed one.
const DEFAULTS: [(&str, &str); 14] = [
    ("kernel.cq_entries", "8192"),
    ("kernel.receive_buffer_bytes", "\"8KiB\""),
    ("kernel.spin", "\"0s\""),
    ("limits.feed_memory", "\"256MiB\""),
    ("limits.max_connections", "1000000"),
    ("limits.max_feed_age", "\"10s\""),
    ("limits.max_feed_bytes", "\"1MiB\""),
    ("limits.max_outbox_bytes", "\"256KiB\""),
    ("limits.mesh_memory", "\"64MiB\""),
    ("limits.queue_memory", "\"512MiB\""),
    ("listener.backlog", "4096"),
    ("listener.send_buffer", "\"128KiB\""),
    ("node.cores", "all that the process may use"),
    ("node.service_cores", "all that the process may use"),
];

/// Each key that a profile may set: why, what it brings, what it costs, and where that is known from.
const WORDS: [(&str, Words); 4] = [
    (
        "limits.max_feed_age",
        Words {
            why: "a message that is late is worth little; one that lags is brought back to what is new",
            gain: "bounds how old a delivered message can be",
            risk: "subscribers that lag lose more, counted",
            source: "docs/configuration.md",
        },
    ),
    (
        "limits.max_feed_bytes",
        Words {
            why: "how far a subscriber may lag in one feed before it loses messages",
            gain: "where a core cannot keep up: p99 50 ms with 64 KiB, 0.4 s with 1 MiB, 1.3 s with 4 MiB; the less \
                   there is, the more is lost",
            risk: "memory of feeds is bounded by limits.feed_memory in any case",
            source: "docs/tuning.md, Feeds",
        },
    ),
    (
        "limits.max_outbox_bytes",
        Words {
            why: "what may wait for one connection alone: with many connections it adds up",
            gain: "bounds the memory of clients that do not read",
            risk: "a slow client loses QoS 0 messages sooner, counted",
            source: "docs/configuration.md",
        },
    ),
    (
        "kernel.receive_buffer_bytes",
        Words {
            why: "what one receive brings at most: large for busy publishers, small for many quiet ones",
            gain: "not measured; 128 buffers in place of 1,024 made no difference to 500 pairs (0.99)",
            risk: "memory of each shard, which has 1,024 of them",
            source: "docs/performance.md, Fan-in",
        },
    ),
];

/// Where a profile sets a key without words of its own.
const OTHER: Words = Words {
    why: "the profile wants it",
    gain: "not measured",
    risk: "that of the profile",
    source: "the profile's file",
};

pub fn advise(case: &Case<'_>, all: &mut Vec<Advice>) {
    cores(case, all);
    memory(case, all);
    for (key, value) in &case.profile.configuration {
        let words = WORDS.iter().find(|(named, _)| named == key).map_or(&OTHER, |(_, words)| words);
        all.push(set(key, value, words));
    }
    const LISTENER: Words = Words {
        why: "clients that come back all at once wait here until they are accepted",
        gain: "a queue that is full makes clients try again after a second or more",
        risk: "the kernel lowers it to net.core.somaxconn",
        source: "docs/configuration.md",
    };
    all.push(set("listener.backlog", case.profile.listener.backlog, &LISTENER));
    if let Some(size) = &case.profile.listener.send_buffer {
        const BUFFER: Words = Words {
            why: "what the kernel may keep of one connection that stops reading; it doubles this for its overhead",
            gain: "bounds the kernel's memory for slow clients",
            risk: "a client far away gets at most this much in a round trip",
            source: "docs/configuration.md",
        };
        all.push(set("listener.send_buffer", toml::Value::from(size.as_str()), &BUFFER));
    }
}

fn cores(case: &Case<'_>, all: &mut Vec<Advice>) {
    const CORES: Words = Words {
        why: "each shard is one thread that owns its connections; two on one core take turns",
        gain: "two shards on one core cost 1.01 to 1.02 of one, so more shards than cores bring nothing",
        risk: "cores that are named must be there at each start",
        source: "docs/performance.md, A second shard; docs/tuning.md, Shards",
    };
    let layout = case.layout;
    let text = |cores: &crate::cores::Cores| toml::Value::from(cores.to_string());
    all.push(set("node.cores", text(&layout.shards), &CORES));
    const SERVICE: Words = Words {
        why: "the keeper of the journal writes and syncs on these; beside a shard it takes turns with it",
        gain: "p99 of a room while 480 MB of log are compacted: 0.84 of quiet with a core of its own, 1.78 without",
        risk: "that core has no shard",
        source: "docs/performance.md, The journal",
    };
    all.push(set("node.service_cores", text(&layout.service), &SERVICE));
    const SPIN: Words = Words {
        why: "a shard that sleeps must be woken for each message that comes alone",
        gain: "11 to 33 us off the median of a ping-pong; on the development machine 48 us became 31",
        risk: "the core is busy in every monitor; right only where each shard has its core for itself",
        source: "docs/performance.md, Ping-pong; docs/tuning.md, Spinning",
    };
    let spin = if layout.dedicated { case.profile.cores.spin.as_str() } else { "0s" };
    let row = set("kernel.spin", toml::Value::from(spin), &SPIN);
    all.push(if layout.dedicated {
        Advice { severity: at_least(row.severity, Severity::Important), ..row }
    } else {
        row
    });
}

/// A row that is to be done matters at least so much.
fn at_least(severity: Severity, least: Severity) -> Severity {
    if severity == Severity::Fine { severity } else { severity.max(least) }
}

fn memory(case: &Case<'_>, all: &mut Vec<Advice>) {
    const FEEDS: Words = Words {
        why: "what subscribers of QoS 0 read by cursor: it holds what those who lag have not read",
        gain: "less is dropped while rooms burst",
        risk: "memory that other programs do not have",
        source: "docs/tuning.md, Feeds",
    };
    const QUEUES: Words = Words {
        why: "messages that wait in sessions, for those who are away or slow",
        gain: "publishes of QoS 1 and 2 are refused later",
        risk: "memory that other programs do not have",
        source: "docs/configuration.md",
    };
    const MESH: Words = Words {
        why: "the rings between each two shards share it, so it must grow with the square of their number",
        gain: "a ring that is full holds publishers back",
        risk: "memory, touched as it is used",
        source: "docs/configuration.md",
    };
    let memory = &case.facts.memory;
    let total = memory.total_kib.known().map(|kib| kib * KIB);
    let limit = memory.limit.known().copied().flatten();
    let Some(bytes) = total.into_iter().chain(limit).min() else {
        return all.push(Advice::new(
            "limits.feed_memory",
            "a part of the memory",
            Fact::unknown(memory.total_kib.why().unwrap_or("the memory was not looked at")),
            Severity::Note,
            &FEEDS,
        ));
    };
    let wishes = &case.profile.memory;
    let part = |share: u64, most: &str| floor_size((bytes / share.max(1)).clamp(16 * MIB, size(most).max(16 * MIB)));
    all.push(set("limits.feed_memory", written(part(wishes.feed_share, &wishes.feed_most)), &FEEDS));
    all.push(set("limits.queue_memory", written(part(wishes.queue_share, &wishes.queue_most)), &QUEUES));
    let pairs = (case.layout.shards.len() as u64).pow(2);
    all.push(set("limits.mesh_memory", written(floor_size((pairs * 128 * KIB).clamp(64 * MIB, 8 * GIB))), &MESH));
    if let Some(each) = wishes.connection_bytes {
        const CONNECTIONS: Words = Words {
            why: "as many as fit into half of the memory, the kernel's part of each included",
            gain: "what does not fit waits, in place of what is there being killed",
            risk: "an idle connection takes 389 B of the switch and some KiB of the kernel; busy ones take more",
            source: "docs/performance.md, Budgets",
        };
        let most = (bytes / 2 / each.max(1)).clamp(1000, 16_000_000);
        all.push(set("limits.max_connections", most / 1000 * 1000, &CONNECTIONS));
    }
}

/// A key and its value.
fn set(key: &str, value: impl Into<TomlValue>, words: &Words) -> Advice {
    let value = value.into().0;
    let default = DEFAULTS.iter().find(|(named, _)| *named == key).map(|(_, default)| (*default).to_owned());
    let current = default.map_or_else(|| Fact::unknown("the default follows from the machine"), Fact::Known);
    let same = current.known() == Some(&value);
    let row = Advice::new(key, &value, current, Severity::Advised, words);
    match same {
        true => row.fine(),
        false => row.by(How::Configuration { key: key.to_owned(), value }),
    }
}

/// A value as TOML.
struct TomlValue(String);

impl From<&toml::Value> for TomlValue {
    fn from(value: &toml::Value) -> TomlValue {
        TomlValue(match value {
            toml::Value::String(text) => format!("{text:?}"),
            toml::Value::Array(values) => {
                let values: Vec<String> = values.iter().map(|value| TomlValue::from(value).0).collect();
                format!("[{}]", values.join(", "))
            }
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(on) => on.to_string(),
            toml::Value::Float(number) => number.to_string(),
            other => format!("{other:?}"),
        })
    }
}

impl From<toml::Value> for TomlValue {
    fn from(value: toml::Value) -> TomlValue {
        TomlValue::from(&value)
    }
}

impl From<u64> for TomlValue {
    fn from(number: u64) -> TomlValue {
        TomlValue(number.to_string())
    }
}

/// A size as the profile's file has it; one that is not understood counts as none.
fn size(text: &str) -> u64 {
    let units = [("KiB", KIB), ("MiB", MIB), ("GiB", GIB)];
    let found = units.iter().find_map(|(unit, by)| Some(text.strip_suffix(unit)?.parse::<u64>().ok()? * by));
    found.unwrap_or(0)
}

/// Two significant figures in powers of two are enough: 24,105 MiB say 23 GiB.
fn floor_size(bytes: u64) -> u64 {
    match bytes {
        0..MIB => bytes / KIB * KIB,
        MIB..GIB => bytes / MIB * MIB,
        GIB.. => bytes / GIB * GIB,
    }
}

/// A size as `ringmain.toml` has it.
fn written(bytes: u64) -> toml::Value {
    let text = match bytes {
        bytes if bytes % GIB == 0 => format!("{}GiB", bytes / GIB),
        bytes if bytes % MIB == 0 => format!("{}MiB", bytes / MIB),
        bytes => format!("{}KiB", bytes / KIB),
    };
    toml::Value::from(text)
}
