//! Advice: what should be otherwise, why, what it brings and what it costs. Pure: facts and a profile in, rows out.

mod configuration;
mod cores;
mod kernel;
mod network;

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::fact::Fact;
use crate::facts::Facts;
use crate::layout::Layout;
use crate::profile::Profile;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// Which.
    pub setting: String,
    /// What it should be.
    pub wanted: String,
    /// What it is.
    pub current: Fact<String>,
    /// How much it matters.
    pub severity: Severity,
    /// Why.
    pub why: String,
    /// What it brings, with the measurement where there is one.
    pub gain: String,
    /// What it costs, or may break.
    pub risk: String,
    /// Where this is known from.
    pub source: String,
    /// How it is brought about.
    pub how: How,
}

/// How much a setting matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It is as it should be.
    Fine,
    /// Good to know; nobody needs to do anything.
    Note,
    /// It helps.
    Advised,
    /// The profile does not reach its purpose without it.
    Important,
    /// The switch cannot run without it.
    Blocking,
}

/// How a setting is brought about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By nothing that is written here.
    Nothing,
    /// A key of `ringmain.toml`, with its value as TOML.
    Configuration {
        /// `limits.max_inflight`; of each listener `listener.backlog`.
        key: String,
        /// As TOML.
        value: String,
    },
    /// Files of the kernel: `ringmain tune apply` and the script do it.
    Write(Vec<Change>),
    /// A command: the script does it.
    Command(String),
    /// A word for the kernel's command line, for a person to add.
    Boot(String),
    /// A line for the service's unit: a drop-in is written.
    Unit(String),
}

/// All advice, the most important first, and what is fine at the end.
pub fn advise(facts: &Facts, profile: &Profile, layout: &Layout) -> Vec<Advice> {
    let mut all = Vec::new();
    let case = Case { facts, profile, layout };
    kernel::must_run(&case, &mut all);
    configuration::advise(&case, &mut all);
    cores::advise(&case, &mut all);
    network::advise(&case, &mut all);
    kernel::advise(&case, &mut all);
    all.sort_by_key(|advice| std::cmp::Reverse(advice.severity));
    all
}

/// What advice follows from.
struct Case<'a> {
    facts: &'a Facts,
    profile: &'a Profile,
    layout: &'a Layout,
}

/// Words of a row.
struct Words {
    why: &'static str,
    gain: &'static str,
    risk: &'static str,
    source: &'static str,
}

impl Advice {
    /// A row. Where what is wanted is there already it is fine, and nothing is to be done.
    fn new(setting: &str, wanted: impl ToString, current: Fact<String>, severity: Severity, words: &Words) -> Advice {
        Advice {
            setting: setting.to_owned(),
            wanted: wanted.to_string(),
            current,
            severity,
            why: words.why.to_owned(),
            gain: words.gain.to_owned(),
            risk: words.risk.to_owned(),
            source: words.source.to_owned(),
            how: How::Nothing,
        }
    }

    fn by(mut self, how: How) -> Advice {
        self.how = how;
        self
    }

    /// To be done by these changes; where there are none all is as it should be.
    fn by_writing(self, changes: Vec<Change>) -> Advice {
        if changes.is_empty() { self.fine() } else { self.by(How::Write(changes)) }
    }

    /// The same row where nobody knows whether there is anything to do.
    fn note(self) -> Advice {
        Advice { severity: Severity::Note, ..self }
    }

    /// The same row where there is nothing to do.
    fn fine(mut self) -> Advice {
        self.severity = Severity::Fine;
        self.how = How::Nothing;
        self
    }
}

impl Case<'_> {
    /// A setting for sysctl(8).
    fn sysctl(&self, name: &str) -> Fact<String> {
        self.facts.sysctls.get(name).cloned().unwrap_or_else(|| Fact::unknown(format!("{name} was not looked at")))
    }

    /// A row about a setting that is a number: fine where `good` says so; where it is not known nothing is done.
    fn number(&self, name: &str, wanted: u64, good: impl Fn(u64) -> bool, severity: Severity, words: &Words) -> Advice {
        let current = self.sysctl(name);
        let number = current.known().and_then(|text| text.parse::<u64>().ok());
        let known = current.known().is_some();
        let row = Advice::new(name, wanted, current, severity, words);
        match number {
            Some(number) if good(number) => row.fine(),
            _ if known => row.by(How::Write(vec![Change::sysctl(name, wanted)])),
            // What is not there cannot be changed; the row says why.
            _ => Advice { severity: Severity::Note, ..row },
        }
    }
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Fine => "fine",
            Severity::Note => "note",
            Severity::Advised => "advised",
            Severity::Important => "important",
            Severity::Blocking => "blocking",
        }
    }
}
