//! The keys of `[journal]`.

use super::{Key, SettingsKey, TIB};
use crate::config::field::{Field, Kind};
use crate::config::settings::{Durability, Settings};

/// What the section is about.
pub const DOC: &str = "What survives a restart, a crash or a power cut, and where it lies: sessions that outlive their \
                       connection, what they are owed, retained messages.";

/// Its keys, in the order of the reference.
pub const KEYS: &[Key<Settings>] = &[
    SettingsKey::new(
        "enabled",
        Kind::Switch,
        |s| Field::Switch(&mut s.journal.enabled),
        "Whether there is a journal. Without one everything is in memory and ends with the process (`--no-persistence`).",
    ),
    SettingsKey::new(
        "data_dir",
        Kind::Path,
        |s| Field::MaybePath(&mut s.journal.data_dir),
        "The data directory (`--data-dir DIR`); made where it is missing. One process uses it at a time. A relative path \
         begins at the working directory of the process, wherever it is written.",
    )
    .absent("`$XDG_STATE_HOME/ringmain`, else `$HOME/.local/state/ringmain`"),
    SettingsKey::new(
        "staging_dir",
        Kind::Path,
        |s| Field::Path(&mut s.journal.staging_dir),
        "Where shards put what is not synced yet: a directory in tmpfs, which survives the process but not the machine. It \
         needs room for `staging_size` times the number of shards. A relative path begins at the working directory.",
    ),
    SettingsKey::new(
        "durability",
        Kind::Choice(Durability::WORDS, &[]),
        |s| Field::Choice(&mut s.journal.durability),
        "What an acknowledgement promises. `fsync`: what it acknowledges is on disk. `written`: it survives the end of the \
         process (kill -9 too), not that of the machine. `memory`: it is in memory alone; the disk follows soon after, but \
         nothing waits for it.",
    ),
    SettingsKey::new(
        "segment_size",
        Kind::Bytes(64 << 10..=1 << 32),
        |s| Field::U64(&mut s.journal.segment_size),
        "Size of one file of a journal, rounded up to whole pages of 4 KiB. It must hold the largest message: the larger \
         of `limits.max_packet_size` and `limits.max_connect_size`, and 68 KiB more. Segments are made before they are \
         needed, so an idle shard has a few of them.",
    ),
    SettingsKey::new(
        "staging_size",
        Kind::Bytes(64 << 10..=1 << 34),
        |s| Field::U64(&mut s.journal.staging_size),
        "Memory for what one shard has written and the disk does not have yet, rounded up to whole pages of 4 KiB. A \
         quarter of it must hold the largest message, as above. When it is full, publishes that need the journal are \
         refused (MQTT 5.0: 0x97; 3.1.1: the publisher is closed).",
    ),
    SettingsKey::new(
        "max_size",
        Kind::Bytes(0..=TIB),
        |s| Field::U64(&mut s.journal.max_size),
        "Most that the segments may take on disk, on the whole node; `0B`: no bound. Each shard's share must hold four \
         segments. At the bound publishes that need the journal are refused, as above, until compaction frees some.",
    ),
    SettingsKey::new(
        "compact_ratio",
        Kind::Count(2..=1000),
        |s| Field::U32(&mut s.journal.compact_ratio),
        "How many times as large as what is live in it a journal becomes before it is compacted. Less saves space on disk, \
         more saves writing. Below 64 MiB, and below two segments, it is left alone.",
    ),
    SettingsKey::new(
        "sync_delay",
        Kind::Duration(0..=60_000),
        |s| Field::Duration(&mut s.journal.sync_delay),
        "Waits so long before the end of each sync is told, to rehearse a disk that is slow: see what clients make of it.",
    ),
];
