//! What the journal costs, and what it gives of what the disk gives: one running node beside bare loops, in rounds.
//!
//! ```text
//!   commit   publishers that wait for PUBACK            ÷ without a journal, ÷ a loop that writes and syncs as many bytes
//!   restart  from the start of the program to a CONNACK ÷ reading the files once
//!   offline  memory and disk of each message that waits for a client that is away
//!   beside   a room at QoS 0: while the log is compacted ÷ quiet, and while syncs take half a second ÷ quiet
//!   fanout   CPU time of a delivery at QoS 0 with the journal ÷ without one
//! ```
//!
//! The journals lie where `--directory` says: its disk is what is measured.

pub mod args;
mod beside;
mod commit;
mod fanout;
mod node;
mod publishers;
mod restart;

use std::error::Error;
use std::fs;

use serde_json::{Value, json};

use self::args::{Journal, Part};
use crate::out;
use crate::scenario::Stop;
use crate::suite::statistics::Spread;

/// One figure.
pub struct Figure {
    /// What it is.
    name: String,
    /// What it may be at most, or at least where that is said in the name.
    budget: Option<f64>,
    unit: &'static str,
    samples: Vec<f64>,
}

impl Figure {
    fn new(name: impl Into<String>, unit: &'static str, samples: Vec<f64>) -> Figure {
        Figure { name: name.into(), budget: None, unit, samples }
    }

    /// The same with the limit that it is held against.
    fn within(self, budget: f64) -> Figure {
        Figure { budget: Some(budget), ..self }
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "unit": self.unit, "budget": self.budget, "samples": self.samples})
    }

    fn row(&self) -> String {
        let Some(Spread { median, min, max, count }) = Spread::of(&self.samples) else {
            return format!("{:<76} nothing was measured", self.name);
        };
        let digits = if max < 10.0 { 2 } else { 0 };
        let budget = self.budget.map_or(String::new(), |budget| format!("  limit {budget}"));
        let (name, unit) = (&self.name, self.unit);
        format!("{name:<76} {median:>10.digits$} {unit} ({min:.digits$}–{max:.digits$}, {count}){budget}")
    }
}

/// Runs the parts that are wanted, and prints what they come to; returns the exit status.
///
/// # Errors
/// The program is not there, a node does not start, or a client is refused what it needs.
pub fn run(args: &Journal, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    fs::create_dir_all(&args.directory)
        .map_err(|error| format!("--directory {}: {error}", args.directory.display()))?;
    crate::pin(args.load_core)?;
    let mut all = Vec::new();
    for part in Part::ALL.into_iter().filter(|part| args.wants(*part)) {
        let figures = match part {
            Part::Commit => commit::measure(args, stop)?,
            Part::Restart => restart::measure(args, stop)?,
            Part::Offline => restart::offline(args, stop)?,
            Part::Beside => beside::measure(args, stop)?,
            Part::Fanout => fanout::measure(args, stop)?,
        };
        for figure in figures.iter().filter(|_| !args.json) {
            if !out::say_line(figure.row())? {
                return Ok(out::UNREAD);
            }
        }
        all.extend(figures);
    }
    if args.json {
        out::say_line(Value::from_iter(all.iter().map(Figure::json)))?;
    }
    Ok(0)
}
