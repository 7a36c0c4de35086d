//! What was there before each change, on disk before the change is made.
//!
//! ```text
//! {"ringmain_tune":1,"boot":"6f1d..."}                       the first line: the form, and the machine's start
//! {"path":"proc/sys/net/core/somaxconn","was":"4096\n","wanted":"65535"}
//! ```
//!
//! A line is written and synced before its change; so a line that is cut off at the end belongs to a change that was
//! never made. What a file says is kept as it was read, to the byte.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The form of the file.
const FORMAT: u32 = 1;

/// Below the root, where the journal lies unless another place is named.
pub const PLACE: &str = "var/lib/ringmain/tune.journal";

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Where, relative to the root.
    pub path: String,
    /// What the file said, to the byte.
    pub was: String,
    /// What it was to say.
    pub wanted: String,
}

#[derive(Serialize, Deserialize)]
struct Head {
    ringmain_tune: u32,
    boot: String,
}

/// An open journal; nobody else has it meanwhile.
pub struct Journal {
    path: PathBuf,
    file: File,
    records: Vec<Record>,
}

/// What there is at the journal's place.
pub enum Found {
    /// None.
    None,
    /// One of this start of the machine.
    Current(Journal),
    /// One of an earlier start: the machine has forgotten what it tells of.
    Stale,
}

impl Journal {
    /// The journal at `path` for this start of the machine; a new one where there is none, or one of an earlier start.
    pub fn open(path: &Path, boot: &str) -> Result<Journal, String> {
        match Journal::find(path, boot)? {
            Found::Current(journal) => return Ok(journal),
            Found::Stale => fs::remove_file(path).map_err(|error| told(path, &error))?,
            Found::None => {}
        }
        let head = serde_json::to_string(&Head { ringmain_tune: FORMAT, boot: boot.to_owned() }).expect("plain data");
        Journal::make(path, &head).map_err(|error| told(path, &error))?;
        match Journal::find(path, boot)? {
            Found::Current(journal) => Ok(journal),
            _ => Err(format!("{} is not there although it was written", path.display())),
        }
    }

    /// Looks for one.
    pub fn find(path: &Path, boot: &str) -> Result<Found, String> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None),
            Err(error) => return Err(told(path, &error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(format!("another process uses {}", path.display())),
            Err(TryLockError::Error(error)) => return Err(told(path, &error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| told(path, &error))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = std::str::from_utf8(&bytes[..whole]).map_err(|_| not_ours(path, 1))?;
        let mut lines = text.lines();
        let Some(head) = lines.next() else { return Err(not_ours(path, 1)) };
        let head: Head = serde_json::from_str(head).map_err(|_| not_ours(path, 1))?;
        if head.ringmain_tune != FORMAT {
            return Err(format!("{} has form {}; this version reads {FORMAT}", path.display(), head.ringmain_tune));
        }
        if head.boot != boot {
            return Ok(Found::Stale);
        }
        let records =
            lines.enumerate().map(|(at, line)| serde_json::from_str(line).map_err(|_| not_ours(path, at + 2)));
        let records = records.collect::<Result<Vec<Record>, String>>()?;
        // What was cut off is written over.
        file.set_len(whole as u64).map_err(|error| told(path, &error))?;
        file.seek(io::SeekFrom::End(0)).map_err(|error| told(path, &error))?;
        Ok(Found::Current(Journal { path: path.to_owned(), file, records }))
    }

    /// A file appears with its first line whole, or not at all.
    fn make(path: &Path, head: &str) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        writeln!(file, "{head}")?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    }

    /// Notes a change that is about to be made. When this returns it is on disk.
    pub fn note(&mut self, record: Record) -> Result<(), String> {
        let line = serde_json::to_string(&record).expect("plain data can be written") + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| told(&self.path, &error))?;
        self.records.push(record);
        Ok(())
    }

    /// What was noted, the oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Everything is as it was: the journal has nothing more to say.
    pub fn remove(self) -> Result<(), String> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let removed = fs::remove_file(&self.path).and_then(|()| File::open(directory)?.sync_all());
        removed.map_err(|error| told(&self.path, &error))
    }
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("the journal {}: {error}", path.display())
}

fn not_ours(path: &Path, line: usize) -> String {
    format!("{} is no journal of `ringmain tune`: line {line} is not understood; nothing is done", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record {
        Record { path: path.to_owned(), was: "1\n".to_owned(), wanted: "2".to_owned() }
    }

    /// A line that was cut off is forgotten, and written over.
    #[test]
    fn a_torn_line_was_never_acted_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/journal");
        let mut journal = Journal::open(&path, "now").expect("a new one");
        journal.note(record("a")).expect("written");
        drop(journal);
        let whole = fs::read(&path).expect("there");
        let line = whole.split(|byte| *byte == b'\n').nth(1).expect("a line");
        for cut in 0..=line.len() {
            fs::write(&path, [&whole, &line[..cut]].concat()).expect("written");
            let mut journal = Journal::open(&path, "now").expect("ours");
            assert_eq!(journal.records(), [record("a")]);
            journal.note(record("b")).expect("written");
            drop(journal);
            let Ok(Found::Current(journal)) = Journal::find(&path, "now") else { panic!("ours") };
            assert_eq!(journal.records(), [record("a"), record("b")]);
        }
    }

    /// One of an earlier start tells nothing of this one; one that is not ours is left alone.
    #[test]
    fn others_are_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        drop(Journal::open(&path, "then").expect("a new one"));
        assert!(matches!(Journal::find(&path, "now"), Ok(Found::Stale)));
        let held = Journal::open(&path, "now").expect("a new one in its place");
        assert!(Journal::open(&path, "now").err().is_some_and(|why| why.contains("another process")));
        drop(held);
        fs::write(&path, "something else\n").expect("written");
        assert!(Journal::find(&path, "now").is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "something else\n");
    }
}
