//! What `ringmain journal verify` has found, as tables for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::summary::kind_name;
use crate::config::value::about_bytes;

/// What a data directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The data directory.
    pub directory: PathBuf,
    /// The random number that names it.
    #[serde(serialize_with = "hexadecimal")]
    pub node: u64,
    /// Which layout of shards and rules counts.
    pub generation: u32,
    /// How often the program was started on it.
    pub epoch: u32,
    /// Whether a process uses it now.
    pub in_use: bool,
    /// Its number.
    pub used_by: Option<u32>,
    /// The journals, in order.
    pub shards: Vec<ShardReport>,
    /// Records by kind, of all shards.
    #[serde(serialize_with = "named")]
    pub kinds: BTreeMap<u16, Kind>,
    /// What is wrong; empty: nothing.
    pub damage: Vec<Damage>,
}

/// One shard's journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShardReport {
    /// Which shard.
    pub shard: u16,
    /// Segments whose records are needed.
    pub segments: u64,
    /// Bytes of all segment files.
    pub disk_bytes: u64,
    /// Records from the checkpoint on.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where the log begins.
    pub begin: u64,
    /// Where it ends.
    pub end: u64,
    /// Bytes of a torn tail, which the next start cuts.
    #[serde(rename = "torn_bytes")]
    pub torn: u64,
}

/// Records of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// How many.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// In which file.
    pub file: PathBuf,
    /// At which byte.
    pub offset: Option<u64>,
    /// What it is.
    pub what: String,
}

impl Report {
    /// Counts a record.
    pub fn count(&mut self, kind: u16, bytes: u64) {
        let of = self.kinds.entry(kind).or_default();
        of.records += 1;
        of.bytes += bytes;
    }
}

/// 64 bits are more than a number of JSON holds everywhere.
fn hexadecimal<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{number:016x}"))
}

fn named<S: Serializer>(kinds: &BTreeMap<u16, Kind>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(kinds.iter().map(|(number, kind)| (kind_name(*number), kind)))
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "data directory {}", self.directory.display())?;
        write!(f, "node {:016x}, generation {}, start {}", self.node, self.generation, self.epoch)?;
        match (self.in_use, self.used_by) {
            (true, Some(pid)) => writeln!(f, ", in use by process {pid}")?,
            (true, None) => writeln!(f, ", in use")?,
            (false, _) => writeln!(f, ", not in use")?,
        }
        writeln!(
            f,
            "\n{:>5}{:>10}{:>12}{:>12}{:>12}{:>12}",
            "shard", "segments", "on disk", "records", "size", "torn tail"
        )?;
        for shard in &self.shards {
            let [disk, size, torn] = [shard.disk_bytes, shard.bytes, shard.torn].map(about_bytes);
            let ShardReport { shard, segments, records, .. } = shard;
            writeln!(f, "{shard:>5}{segments:>10}{disk:>12}{records:>12}{size:>12}{torn:>12}")?;
        }
        if !self.kinds.is_empty() {
            writeln!(f, "\n{:<18}{:>12}{:>12}", "kind", "records", "size")?;
        }
        for (number, kind) in &self.kinds {
            writeln!(f, "{:<18}{:>12}{:>12}", kind_name(*number), kind.records, about_bytes(kind.bytes))?;
        }
        match self.damage.len() {
            0 => writeln!(f, "\nno damage"),
            _ => {
                writeln!(f, "\ndamage:")?;
                self.damage.iter().try_for_each(|damage| writeln!(f, "  {damage}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let shard = ShardReport {
            shard: 1,
            segments: 2,
            disk_bytes: 4 << 20,
            records: 3,
            bytes: 2048,
            ..ShardReport::default()
        };
        let mut report =
            Report { directory: "/d".into(), node: 10, epoch: 3, shards: vec![shard], ..Report::default() };
        [(1, 64), (8, 960), (8, 1024)].into_iter().for_each(|(kind, bytes)| report.count(kind, bytes));
        report
    }

    /// A table names shards and kinds, and says that nothing is wrong, or what and where.
    #[test]
    fn a_report_for_people() {
        let mut report = report();
        let text = report.to_string();
        for line in [
            "node 000000000000000a, generation 0, start 3, not in use",
            "owed                         2     1.9 KiB",
            "no damage",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} in\n{text}");
        }
        report.damage.push(Damage { file: "/d/s".into(), offset: Some(7), what: "a record is not whole".into() });
        assert!(report.to_string().ends_with("damage:\n  /d/s at byte 7: a record is not whole\n"), "{report}");
    }

    /// The same for programs.
    #[test]
    fn a_report_for_programs() {
        let text = serde_json::to_string(&report()).expect("plain data");
        assert!(
            text.starts_with(r#"{"directory":"/d","node":"000000000000000a","generation":0,"epoch":3,"in_use":false,"#)
        );
        assert!(
            text.contains(r#""kinds":{"session":{"records":1,"bytes":64},"owed":{"records":2,"bytes":1984}}"#),
            "{text}"
        );
        assert!(text.ends_with(r#""damage":[]}"#), "{text}");
    }
}
