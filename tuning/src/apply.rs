//! Making changes, and taking them back: look, note, act, look again.
//!
//! Nothing is changed that was not noted on disk before ([`crate::journal`]), so a process that is killed anywhere leaves
//! behind what it takes to restore every file. A change that the machine does not take is undone at once and told.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::change::{Change, Kind};
use crate::journal::{Found, Journal, PLACE, Record};
use crate::root::chosen;

/// Where the kernel tells which start of the machine this is.
const BOOT: &str = "proc/sys/kernel/random/boot_id";

/// What came of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Which.
    pub path: String,
    /// What it said before; nothing where it could not be read.
    pub was: Option<String>,
    /// What it was to say.
    pub wanted: String,
    /// What came of it.
    pub result: Done,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It was so already.
    Already,
    /// It would be done.
    WouldBe,
    /// It is done, and was seen to be.
    Changed,
    /// The machine does not allow it, or took something else; the file is as it was.
    Forbidden(String),
    /// The file is not there (any more).
    Gone(String),
}

/// What happens to a file; those who watch see it before the next thing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// What it said is on disk.
    Noted(&'a str),
    /// It was written to.
    Written(&'a str),
    /// What came of it.
    Finished(&'a Outcome),
}

/// A machine to change.
pub struct Machine {
    root: PathBuf,
    journal: PathBuf,
}

impl Machine {
    /// The machine below `root`, with its journal at the usual place or at another one.
    pub fn new(root: &Path, journal: Option<&Path>) -> Machine {
        Machine { root: root.to_owned(), journal: journal.map_or_else(|| root.join(PLACE), Path::to_owned) }
    }

    /// Where the journal lies.
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// Makes changes. All of them are checked before the first is made; one that is not understood refuses all.
    pub fn apply(
        &self,
        changes: &[Change],
        dry: bool,
        watch: &mut dyn FnMut(Step<'_>),
    ) -> Result<Vec<Outcome>, String> {
        let kinds: Vec<(&Change, Kind)> =
            changes.iter().map(|change| Ok((change, change.check()?))).collect::<Result<_, String>>()?;
        let mut journal = None;
        let mut outcomes = Vec::new();
        for (change, kind) in kinds {
            let (was, result) = match self.read(&change.path) {
                Err(done) => (None, done),
                Ok(was) if kind.plain(&was) == kind.plain(&change.value) => (Some(was), Done::Already),
                Ok(was) if dry => (Some(was), Done::WouldBe),
                Ok(was) => {
                    let journal = match &mut journal {
                        Some(journal) => journal,
                        none => none.insert(Journal::open(&self.journal, &self.boot())?),
                    };
                    let done = self.change(change, kind, &was, journal, watch)?;
                    (Some(was), done)
                }
            };
            let was = was.map(|was| kind.plain(&was));
            let outcome = Outcome { path: change.path.clone(), was, wanted: change.value.clone(), result };
            watch(Step::Finished(&outcome));
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn change(
        &self,
        change: &Change,
        kind: Kind,
        was: &str,
        journal: &mut Journal,
        watch: &mut dyn FnMut(Step<'_>),
    ) -> Result<Done, String> {
        let record = Record { path: change.path.clone(), was: was.to_owned(), wanted: change.value.clone() };
        journal.note(record)?;
        watch(Step::Noted(&change.path));
        let written = self.write(&change.path, &self.text(kind, was, &change.value));
        watch(Step::Written(&change.path));
        if let Err(error) = written {
            return Ok(Done::Forbidden(error.to_string()));
        }
        let now = match self.read(&change.path) {
            Ok(now) => now,
            Err(done) => return Ok(done),
        };
        if kind.plain(&now) == kind.plain(&change.value) {
            return Ok(Done::Changed);
        }
        let took = format!("it says `{}` in place of `{}`", kind.plain(&now), change.value);
        Ok(Done::Forbidden(match self.restore(&change.path, kind, was) {
            Ok(()) => took,
            Err(why) => format!("{took}, and cannot be put back: {why}"),
        }))
    }

    /// Puts everything back that the journal tells of, the newest first, and removes it when all is as it was.
    pub fn revert(&self, dry: bool, watch: &mut dyn FnMut(Step<'_>)) -> Result<Vec<Outcome>, String> {
        let journal = match Journal::find(&self.journal, &self.boot())? {
            Found::None => return Ok(Vec::new()),
            Found::Stale if dry => return Ok(Vec::new()),
            Found::Stale => {
                fs::remove_file(&self.journal).map_err(|error| format!("{}: {error}", self.journal.display()))?;
                return Ok(Vec::new());
            }
            Found::Current(journal) => journal,
        };
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (at, record) in journal.records().iter().enumerate().rev() {
            // The first note about a file is what it was; later ones are what an earlier change had made of it.
            if journal.records()[..at].iter().any(|earlier| earlier.path == record.path) {
                continue;
            }
            let change = Change { path: record.path.clone(), value: record.wanted.clone() };
            let kind = change.check().map_err(|why| format!("{}: {why}", self.journal.display()))?;
            let (was, result) = match self.read(&record.path) {
                Err(done) => (None, done),
                Ok(now) if self.is_back(kind, &now, &record.was) => (Some(now), Done::Already),
                Ok(now) if dry => (Some(now), Done::WouldBe),
                Ok(now) => {
                    let restored = self.restore(&record.path, kind, &record.was);
                    watch(Step::Written(&record.path));
                    (Some(now), restored.map_or_else(Done::Forbidden, |()| Done::Changed))
                }
            };
            let was = was.map(|was| kind.plain(&was));
            let outcome = Outcome { path: record.path.clone(), was, wanted: kind.plain(&record.was), result };
            watch(Step::Finished(&outcome));
            outcomes.push(outcome);
        }
        // A device that is gone takes its settings with it. What is forbidden stays noted.
        let all_back = outcomes.iter().all(|outcome| !matches!(outcome.result, Done::Forbidden(_)));
        if all_back && !dry {
            journal.remove()?;
        }
        Ok(outcomes)
    }

    fn restore(&self, path: &str, kind: Kind, was: &str) -> Result<(), String> {
        let text = match (self.is_live(), kind) {
            (false, _) => was.to_owned(),
            (true, Kind::Choice) => format!("{}\n", chosen(was.trim())),
            (true, _) => format!("{}\n", was.trim()),
        };
        self.write(path, &text).map_err(|error| error.to_string())?;
        match self.read(path) {
            Ok(now) if self.is_back(kind, &now, was) => Ok(()),
            Ok(now) => Err(format!("it says `{}` in place of `{}`", kind.plain(&now), kind.plain(was))),
            Err(_) => Err("it cannot be read".to_owned()),
        }
    }

    /// Whether a file says again what it said: to the byte where it is a file like any other. The kernel writes what it
    /// is told in a form of its own.
    fn is_back(&self, kind: Kind, now: &str, was: &str) -> bool {
        now == was || self.is_live() && kind.plain(now) == kind.plain(was)
    }

    /// What to write so that a file says `value`. The kernel itself moves the brackets of a choice; below another root
    /// nobody would.
    fn text(&self, kind: Kind, now: &str, value: &str) -> String {
        if self.is_live() || kind != Kind::Choice || !now.contains('[') {
            return format!("{value}\n");
        }
        let word = |word: &str| match (chosen(word), chosen(word) == value) {
            (word, true) => format!("[{word}]"),
            (word, false) => word.to_owned(),
        };
        now.split_whitespace().map(word).collect::<Vec<_>>().join(" ") + "\n"
    }

    fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    fn boot(&self) -> String {
        fs::read_to_string(self.root.join(BOOT)).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    }

    fn read(&self, path: &str) -> Result<String, Done> {
        match fs::read_to_string(self.root.join(path)) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Done::Gone("it is not there".to_owned())),
            Err(error) => Err(Done::Forbidden(format!("it cannot be read: {error}"))),
        }
    }

    /// In one write, as files of the kernel want it; no file is made.
    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        OpenOptions::new().write(true).truncate(true).open(self.root.join(path))?.write_all(text.as_bytes())
    }
}
