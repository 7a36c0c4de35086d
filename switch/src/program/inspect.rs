//! `ringmain journal`: a data directory is looked at, copied or mended, from outside of the process that uses it.
//!
//! `persistence::inspect` does the work. Here the directory is found as the program finds it, records get the names and
//! words that the switch gives them, and everything is told to people, or as JSON to programs.

pub mod report;
pub mod summary;

use std::io::{self, Write};
use std::path::Path;

use persistence::inspect::{self, Copied, Inspection, Loss, ShardInspection};
use persistence::recover::{Damage, Entry};
use serde::Serialize;

use super::args::{Journal, Place};
use super::failure::{Failure, output};
use super::storage::Storage;
use crate::config::Configuration;
use crate::config::value::about_bytes;
use report::{Report, ShardReport};

/// Does what the command says and tells `out` about it.
pub fn run(command: &Journal, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Journal::Verify { place, json } => verify(&find(place)?.data_dir, *json, out),
        Journal::Dump { place, json } => dump(&find(place)?.data_dir, *json, out),
        Journal::Repair { place } => {
            let storage = find(place)?;
            let losses = inspect::repair(&storage.data_dir, &storage.staging_dir)?;
            output(out.write_all(given_up(&losses).as_bytes()))
        }
        Journal::Backup { to, place } => {
            let copied = inspect::backup(&find(place)?.data_dir, to)?;
            output(writeln!(out, "{} to {}", told(&copied), to.display()))
        }
        Journal::Restore { from, place } => {
            let data_dir = find(place)?.data_dir;
            let copied = inspect::restore(from, &data_dir)?;
            output(writeln!(out, "{} to {}", told(&copied), data_dir.display()))
        }
    }
}

/// The directories, found as the program finds them.
fn find(place: &Place) -> Result<Storage, Failure> {
    let configuration = Configuration::load(place.config.as_deref(), &place.flags())?;
    let storage = Storage::new(&configuration, 1)?;
    Ok(storage.expect("the flags want a journal"))
}

fn verify(data_dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let inspection = inspect::verify(data_dir)?;
    let mut report = report(data_dir, &inspection);
    // Once more for the kinds. Where that finds damage the report has it.
    let _ = inspect::dump(data_dir, |_, record| report.count(record.kind, record.end.0 - record.position.0));
    output(if json { writeln!(out, "{}", plain(&report)) } else { write!(out, "{report}") })?;
    match report.damage.len() {
        0 => Ok(()),
        places => Err(Failure::Damaged { directory: data_dir.to_owned(), places }),
    }
}

fn report(data_dir: &Path, inspection: &Inspection) -> Report {
    let manifest = &inspection.manifest;
    // The process has written its number into the file that it locks.
    let user = || std::fs::read_to_string(data_dir.join(persistence::store::LOCK)).ok()?.trim().parse().ok();
    let shard = |shard: &ShardInspection| ShardReport {
        shard: shard.shard,
        segments: shard.segments as u64,
        disk_bytes: shard.file_bytes,
        records: shard.records,
        bytes: shard.bytes,
        begin: shard.cut.0,
        end: shard.end.0,
        torn: shard.torn.map_or(0, |torn| torn.bytes),
    };
    let damaged = inspection.shards.iter().filter_map(|shard| Some((shard.shard, shard.damage?)));
    Report {
        directory: data_dir.to_owned(),
        node: manifest.node,
        generation: manifest.generation,
        epoch: manifest.epoch,
        in_use: inspection.in_use,
        used_by: if inspection.in_use { user() } else { None },
        shards: inspection.shards.iter().map(shard).collect(),
        kinds: Default::default(),
        damage: damaged.map(|(shard, damage)| found(data_dir, manifest.generation, shard, &damage)).collect(),
    }
}

/// Damage with the whole path of its file.
fn found(data_dir: &Path, generation: u32, shard: u16, damage: &Damage) -> report::Damage {
    let directory = data_dir.join(format!("generation-{generation}/shard-{shard}"));
    let said = damage.to_string();
    // It begins with its place.
    let what = said.split_once(": ").map_or(said.as_str(), |(_, what)| what).to_owned();
    match damage.segment {
        Some(number) => {
            let file = directory.join(persistence::segment::segment_file_name(number));
            report::Damage { file, offset: Some(damage.offset), what }
        }
        None => report::Damage { file: directory, offset: None, what: said },
    }
}

fn dump(data_dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut written = Ok(());
    let mut line = |shard: u16, record: Entry<'_>| {
        if written.is_ok() {
            written = if json {
                writeln!(out, "{}", plain(&Told::of(shard, &record)))
            } else {
                record_line(out, shard, &record)
            };
        }
    };
    let dumped = inspect::dump(data_dir, &mut line);
    output(written.and_then(|()| out.flush()))?;
    Ok(dumped?)
}

fn record_line(out: &mut dyn Write, shard: u16, record: &Entry<'_>) -> io::Result<()> {
    let Entry { kind, body, position, epoch, .. } = *record;
    let (name, bytes) = (summary::kind_name(kind), body.len());
    let summary = summary::of(kind, body).unwrap_or_else(|error| error.to_string());
    writeln!(out, "{shard:>3} {:>14} {epoch:>5}  {name:<16} {bytes:>8} B  {summary}", position.0)
}

/// A record, as programs read it.
#[derive(Serialize)]
struct Told {
    shard: u16,
    position: u64,
    epoch: u32,
    kind: &'static str,
    bytes: usize,
    summary: Option<String>,
    error: Option<String>,
}

impl Told {
    fn of(shard: u16, record: &Entry<'_>) -> Told {
        let (summary, error) = match summary::of(record.kind, record.body) {
            Ok(summary) => (Some(summary), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let (kind, bytes) = (summary::kind_name(record.kind), record.body.len());
        Told { shard, position: record.position.0, epoch: record.epoch, kind, bytes, summary, error }
    }
}

fn plain(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data can be written")
}

/// What was copied, in a few words.
fn told(copied: &Copied) -> String {
    let Copied { segments, records, bytes } = copied;
    format!("copied {segments} segments with {records} records, {}", about_bytes(*bytes))
}

/// What a repair has given up.
fn given_up(losses: &[Loss]) -> String {
    let mut text = String::new();
    for loss in losses {
        let Loss { shard, damage, records, kept, .. } = loss;
        text += &format!("shard {shard}: {damage}\n  given up, with {records} whole records behind it");
        for path in kept {
            text += &format!("\n  kept in {}", path.display());
        }
        text += "\n";
    }
    if losses.is_empty() { "nothing is damaged\n".to_owned() } else { text }
}
