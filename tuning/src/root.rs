//! Reading below a root: the machine that this runs on, or one that was captured.
//!
//! What is read is remembered, so that it can be written down as a [captured tree](crate::tree): what one look has seen,
//! and nothing else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use crate::cores::Cores;
use crate::fact::Fact;
use crate::tree::Entry;

/// Below a captured root, where the output of programs lies, one file for each command.
const COMMANDS: &str = "commands";

/// A place to read from.
pub struct Root {
    path: PathBuf,
    live: bool,
    seen: RefCell<BTreeMap<String, Entry>>,
}

impl Root {
    /// The machine itself where `path` is `/`, else a captured one.
    pub fn new(path: &Path) -> Root {
        Root { path: path.to_owned(), live: path == Path::new("/"), seen: RefCell::default() }
    }

    /// Whether it is the machine itself: its kernel can be asked, and programs be run.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Everything that was read so far.
    pub fn seen(&self) -> BTreeMap<String, Entry> {
        self.seen.borrow().clone()
    }

    /// The path of `name`, which is relative to the root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is such a file or directory.
    pub fn has(&self, name: &str) -> bool {
        let there = self.path(name).exists();
        if there {
            self.see(name, Entry::There);
        }
        there
    }

    /// What a file says, without blanks around it.
    pub fn text(&self, name: &str) -> Fact<String> {
        match fs::read(self.path(name)) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                self.see(name, Entry::Text(text.clone()));
                Fact::Known(text)
            }
            Err(error) => Fact::unknown(reason(name, &error)),
        }
    }

    /// Some lines of a file: of what changes by itself the rest would be.
    pub fn lines(&self, name: &str, keep: impl Fn(&str) -> Vec<&str>) -> Fact<String> {
        match fs::read(self.path(name)) {
            Ok(bytes) => {
                let kept = keep(&String::from_utf8_lossy(&bytes)).join("\n");
                self.see(name, Entry::Text(kept.trim().to_owned()));
                Fact::Known(kept.trim().to_owned())
            }
            Err(error) => Fact::unknown(reason(name, &error)),
        }
    }

    /// What a file says, as a number or another value.
    pub fn value<T: FromStr>(&self, name: &str) -> Fact<T> {
        self.text(name).then(|text| match text.parse() {
            Ok(value) => Fact::Known(value),
            Err(_) => Fact::unknown(format!("{name} says `{text}`, which is not understood")),
        })
    }

    /// What a file says, as a list of cores.
    pub fn cores(&self, name: &str) -> Fact<Cores> {
        self.value(name)
    }

    /// What a file says, as a mask of cores.
    pub fn mask(&self, name: &str) -> Fact<Cores> {
        self.text(name).then(|text| match Cores::from_mask(&text) {
            Ok(cores) => Fact::Known(cores),
            Err(why) => Fact::unknown(format!("{name}: {why}")),
        })
    }

    /// The word in brackets of a file that offers several: `none [mq-deadline] bfq`. A file without brackets is one word.
    pub fn choice(&self, name: &str) -> Fact<String> {
        self.text(name).map(|text| chosen(&text).to_owned())
    }

    /// Names in a directory, numbers in them by their value.
    pub fn names(&self, name: &str) -> Fact<Vec<String>> {
        let read = fs::read_dir(self.path(name)).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()
        });
        match read {
            Ok(mut names) => {
                names.sort_by_cached_key(|name| sort_key(name));
                self.see(name, Entry::There);
                Fact::Known(names)
            }
            Err(error) => Fact::unknown(reason(name, &error)),
        }
    }

    /// Names in a directory that begin with `prefix` and go on with a number: `cpu` finds `cpu0` and not `cpufreq`.
    pub fn numbered(&self, name: &str, prefix: &str) -> Fact<Vec<(u32, String)>> {
        let number = |entry: &str| entry.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
        let all = self.names(name);
        let found = all.map(|names| {
            names.into_iter().filter_map(|entry| Some((number(&entry)?, format!("{name}/{entry}")))).collect::<Vec<_>>()
        });
        found.known().into_iter().flatten().for_each(|(_, path)| self.see(path, Entry::There));
        found
    }

    /// Names in a directory that changes all the time: they are not remembered.
    pub fn peek(&self, name: &str) -> Fact<Vec<String>> {
        let read = fs::read_dir(self.path(name));
        match read {
            Ok(entries) => {
                Fact::Known(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            }
            Err(error) => Fact::unknown(reason(name, &error)),
        }
    }

    /// What a file there says; it may be gone already.
    pub fn peek_text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok().map(|text| text.trim().to_owned())
    }

    /// Where a symbolic link leads.
    pub fn target(&self, name: &str) -> Fact<String> {
        match fs::read_link(self.path(name)) {
            Ok(target) => {
                let target = target.to_string_lossy().into_owned();
                self.see(name, Entry::Link(target.clone()));
                Fact::Known(target)
            }
            Err(error) => Fact::unknown(reason(name, &error)),
        }
    }

    /// The last name of where a symbolic link leads.
    pub fn link(&self, name: &str) -> Fact<String> {
        match fs::read_link(self.path(name)) {
            Ok(target) => {
                let last = target.file_name().map(|last| last.to_string_lossy().into_owned()).unwrap_or_default();
                self.see(name, Entry::Link(last.clone()));
                Fact::Known(last)
            }
            Err(error) => Fact::unknown(reason(name, &error)),
        }
    }

    /// What a program prints, below a captured root what it printed then. No shell is involved.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Fact<String> {
        let words = [&[program], arguments].concat();
        let place = format!("{COMMANDS}/{}", words.join(" "));
        if !self.live {
            let captured = self.text(&place);
            return captured.or_else(|| Fact::unknown(format!("`{}` was not captured", words.join(" "))));
        }
        // What it says is in the words of no language.
        let run = Command::new(program).args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output();
        match run {
            Ok(output) if output.status.success() => {
                let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                self.see(&place, Entry::Text(text.clone()));
                Fact::Known(text)
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().next().unwrap_or("nothing").trim();
                Fact::unknown(format!("`{}` says: {said}", words.join(" ")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Fact::unknown(format!("not read: the program `{program}` is not installed"))
            }
            Err(error) => Fact::unknown(format!("not read: `{program}`: {error}")),
        }
    }

    /// What only the running kernel can answer, below a captured root what it answered then.
    pub fn ask(&self, what: &str, kernel: impl FnOnce() -> Fact<String>) -> Fact<String> {
        let place = format!("{COMMANDS}/{what}");
        if !self.live {
            return self.text(&place).or_else(|| Fact::unknown("only the running kernel can be asked"));
        }
        let answer = kernel();
        if let Fact::Known(text) = &answer {
            self.see(&place, Entry::Text(text.clone()));
        }
        answer
    }

    fn see(&self, name: &str, entry: Entry) {
        let mut seen = self.seen.borrow_mut();
        match seen.get(name) {
            Some(known) if *known != Entry::There => {}
            _ => _ = seen.insert(name.to_owned(), entry),
        }
    }
}

/// The word in brackets, or all of it.
pub fn chosen(text: &str) -> &str {
    match (text.find('['), text.find(']')) {
        (Some(open), Some(close)) if open < close => &text[open + 1..close],
        _ => text,
    }
}

/// Why a file could not be read, for people.
fn reason(name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{name} is not there"),
        io::ErrorKind::PermissionDenied => format!("no right to read {name}"),
        // Files of the kernel answer so where the device has nothing to say.
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => format!("{name} has no value here"),
        _ => format!("{name}: {error}"),
    }
}

/// Orders names by their letters, and then the numbers at their end.
fn sort_key(name: &str) -> (String, u64, String) {
    let letters = name.trim_end_matches(|last: char| last.is_ascii_digit());
    (letters.to_owned(), name[letters.len()..].parse().unwrap_or(0), name.to_owned())
}
