//! Runs that are kept: all that another engineer needs to repeat one, and to know how far to trust a comparison.
//!
//! ```text
//!   record: rounds on fresh nodes ──▶ Bundle ──▶ archive: one file ──▶ Bundle ┬──▶ diff: facts that differ, figures
//!      ▲                                                                      ├──▶ html: one page
//!      └───────────────────────────── rerun ──────────────────────────────────┘
//! ```
//!
//! A bundle is a gzipped tar archive, so that it can be looked into without this program:
//!
//! ```text
//!   bundle.json               form, time, command, programs with their hashes, environment
//!   facts.json                the machine, as `ringmain tune inspect --json` tells it
//!   ringmain.toml             the node's configuration
//!   rounds/N/report.json      as `ringload --json` prints it
//!   rounds/N/NAME.hdr         latencies in ns, a histogram in HdrHistogram's V2 encoding
//! ```

mod archive;
pub mod args;
mod curves;
mod diff;
mod figure;
mod html;
pub mod record;

use std::collections::BTreeMap;
use std::error::Error;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::histogram::Latencies;
use crate::node::Configuration;
use crate::out;
use crate::scenario::Stop;
use crate::whole;
use args::{Diff, Report};

pub use diff::verdict;
pub use figure::{FIGURES, Figure};

/// What is kept of a run.
#[derive(Default, Serialize, Deserialize)]
pub struct Bundle {
    /// Files of another form are refused.
    pub form: u32,
    /// In UTC, as RFC 3339 has it.
    pub begun: String,
    /// What was typed, without passwords and without where it was kept.
    pub command: Vec<String>,
    /// The node that was started for it; none: a broker ran already.
    pub node: Option<Configuration>,
    /// The load generator and the broker.
    pub programs: Vec<Program>,
    /// The machine.
    #[serde(skip)]
    pub facts: Value,
    #[serde(skip)]
    pub rounds: Vec<Round>,
}

/// A program that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    /// What it says of its version, or its command line where it is not known how to ask it.
    pub version: String,
    /// SHA-256 of its file, in hexadecimal digits; empty: it could not be read.
    pub sha256: String,
}

/// One round.
#[derive(Default)]
pub struct Round {
    /// What ringload reported.
    pub report: Value,
    /// Latencies by name.
    pub histograms: BTreeMap<String, Latencies>,
}

impl Bundle {
    /// One figure of each round that has it.
    pub fn samples(&self, figure: &Figure) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| figure.of(&round.report)).collect()
    }

    /// Latencies of all rounds, by name.
    pub fn histograms(&self) -> BTreeMap<&str, Latencies> {
        let mut all = BTreeMap::new();
        for (name, latencies) in self.rounds.iter().flat_map(|round| &round.histograms) {
            all.entry(name.as_str()).or_insert_with(Latencies::new).add(latencies);
        }
        all.retain(|_, latencies| !latencies.is_empty());
        all
    }

    /// The command on one line.
    pub fn told(&self) -> String {
        format!("ringload {}", self.command.join(" "))
    }
}

/// Compares two bundles and prints that; returns the exit status.
///
/// # Errors
/// A file is not a bundle, or cannot be read.
pub fn diff(args: &Diff) -> Result<u8, Box<dyn Error>> {
    let difference = diff::of(&archive::read(&args.before)?, &archive::read(&args.after)?, args.confidence);
    if args.json {
        out::say_line(serde_json::to_string(&difference)?)?;
    } else {
        out::say(difference)?;
    }
    Ok(0)
}

/// Repeats a kept run, prints how it differs, and returns the exit status.
///
/// # Errors
/// The bundle cannot be read, or the run cannot be made.
pub fn rerun(args: &args::Rerun, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    let before = archive::read(&args.bundle)?;
    let Some(after) = record::again(&before, args, stop)? else { return Ok(130) };
    if let Some(path) = &args.keep {
        archive::write(&after, path)?;
    }
    out::say(diff::of(&before, &after, args.confidence))?;
    Ok(0)
}

/// Draws bundles as one page; returns the exit status.
///
/// # Errors
/// A file is not a bundle, or one cannot be read or written.
pub fn report(args: &Report) -> Result<u8, Box<dyn Error>> {
    let mut all = Vec::new();
    for path in &args.bundles {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        all.push((name.split('.').next().unwrap_or_default().to_owned(), archive::read(path)?));
    }
    whole::write(&args.output, html::page(&all)?.as_bytes())?;
    out::say_line(args.output.display())?;
    Ok(0)
}
