//! `report.json`: every run with all that was counted in it, and where it was made. It is written after each run, and
//! `--resume` reads it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::broker::Broker;
use super::budget::Verdict;
use super::statistics::Series;
use crate::whole;

/// Files of another form are refused.
const FORM: u32 = 1;
const FILE: &str = "report.json";

/// The whole report.
#[derive(Serialize, Deserialize)]
pub struct Document {
    pub form: u32,
    /// In UTC, as RFC 3339 has it.
    pub begun: String,
    /// What was typed.
    pub command: String,
    /// Facts about the machine, by name.
    pub machine: Vec<(String, String)>,
    pub programs: Vec<Program>,
    /// Programs that are not installed, and how to get them.
    pub missing: Vec<(String, String)>,
    pub runs: Vec<Run>,
    pub verdicts: Vec<Verdict>,
}

/// A program that was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub version: String,
    /// Flags and files, as far as they are the same in each run.
    pub configuration: String,
}

/// One run of the load against one broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub measure: String,
    pub broker: Broker,
    pub round: u32,
    pub outcome: Outcome,
    /// In words, where it is not valid.
    pub why: String,
    /// What it took, start and end of the broker included.
    pub seconds: f64,
    /// What ringload reported, whole.
    pub load: Value,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Valid,
    /// Messages were lost, repeated, reordered, corrupted or misrouted, or connections were closed.
    Invalid,
    /// There is no report, or the load gave up.
    Failed,
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// CPU time of the broker for each delivery, the kernel's share included, in ns.
    Cpu,
    /// CPU time of the broker by wall time.
    Share,
    /// Latency in µs.
    P50,
    P99,
    /// Anonymous memory for each connection, in bytes.
    Memory,
    /// Connections in a second, of a storm.
    StormRate,
    /// The room's p99 in a storm by that without.
    StormRatio,
    /// CPU time for each connection of a storm, in ns.
    StormCpu,
}

impl Figure {
    fn pointer(self) -> &'static str {
        match self {
            Figure::Cpu => "/traffic/broker/cpu_ns_per_delivery",
            Figure::Share => "/traffic/broker/cpu_share",
            Figure::P50 => "/traffic/latency_us/p50",
            Figure::P99 => "/traffic/latency_us/p99",
            Figure::Memory => "/connect/broker/anonymous_per_connection",
            Figure::StormRate => "/storm/connections_per_second",
            Figure::StormRatio => "/storm/p99_ratio",
            Figure::StormCpu => "/storm/cpu_ns_per_connection",
        }
    }

    /// Of one run.
    pub fn of(self, run: &Run) -> Option<f64> {
        run.load.pointer(self.pointer())?.as_f64()
    }
}

impl Document {
    /// One without runs.
    pub fn new(begun: String, command: String, machine: Vec<(String, String)>, programs: Vec<Program>) -> Document {
        let (missing, runs, verdicts) = (Vec::new(), Vec::new(), Vec::new());
        Document { form: FORM, begun, command, machine, programs, missing, runs, verdicts }
    }

    /// The one in this directory.
    ///
    /// # Errors
    /// There is none, or it is not such a file.
    pub fn read(directory: &Path) -> Result<Document, Box<dyn Error>> {
        let path = directory.join(FILE);
        let text = fs::read_to_string(&path).map_err(|error| format!("--resume: {}: {error}", path.display()))?;
        let form =
            serde_json::from_str::<BTreeMap<String, Value>>(&text).ok().and_then(|all| all.get("form")?.as_u64());
        if form != Some(u64::from(FORM)) {
            return Err(format!("--resume: {} is not a report of this version; start a new one", path.display()).into());
        }
        serde_json::from_str(&text).map_err(|error| format!("--resume: {}: {error}", path.display()).into())
    }

    /// Writes it into this directory: the file is whole at every moment.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        let text = serde_json::to_string(self)? + "\n";
        whole::write(&directory.join(FILE), text.as_bytes())
    }

    /// The runs of one measure on one broker.
    pub fn runs<'a>(&'a self, measure: &'a str, broker: Broker) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.measure == measure && run.broker == broker)
    }

    /// One figure of the valid runs of one measure on one broker.
    pub fn series(&self, measure: &str, broker: Broker, figure: Figure) -> Series {
        let valid = self.runs(measure, broker).filter(|run| run.outcome == Outcome::Valid);
        valid.filter_map(|run| Some((run.round, figure.of(run)?))).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    /// A valid run with this CPU time and twice that as p99, and half of it as p50.
    pub fn run(measure: &str, broker: Broker, round: u32, cpu: f64) -> Run {
        let load = json!({
            "traffic": {
                "latency_us": { "p50": cpu / 2.0, "p99": cpu * 2.0 },
                "broker": { "cpu_ns_per_delivery": cpu, "cpu_share": 0.5 },
            },
            "connect": { "broker": { "anonymous_per_connection": cpu } },
        });
        Run {
            measure: measure.to_owned(),
            broker,
            round,
            outcome: Outcome::Valid,
            why: String::new(),
            seconds: 1.0,
            load,
        }
    }

    pub fn document(runs: Vec<Run>) -> Document {
        let machine = vec![("kernel".to_owned(), "6.18".to_owned())];
        let mut document =
            Document::new("2026-01-02T03:04:05Z".to_owned(), "ringload suite".to_owned(), machine, Vec::new());
        document.runs = runs;
        document
    }

    /// What is written is what is read, and invalid runs give no figures.
    #[test]
    fn round_trip() {
        let directory = tempfile::tempdir().unwrap();
        let invalid = Run { outcome: Outcome::Invalid, ..run("fanout-1", Broker::Mosquitto, 1, 6.0) };
        document(vec![run("fanout-1", Broker::Mosquitto, 0, 5.0), invalid]).write(directory.path()).unwrap();
        let read = Document::read(directory.path()).unwrap();
        assert_eq!(read.runs.len(), 2);
        assert_eq!(read.series("fanout-1", Broker::Mosquitto, Figure::Cpu), [(0, 5.0)]);
        assert_eq!(read.series("fanout-1", Broker::Mosquitto, Figure::P99), [(0, 10.0)]);
        assert_eq!(read.series("fanout-1", Broker::Ringmain, Figure::Cpu), []);
    }

    /// What is not a report is refused, by name.
    #[test]
    fn foreign_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Document::read(directory.path()).is_err());
        fs::write(directory.path().join(FILE), "{\"form\": 99}").unwrap();
        let said = Document::read(directory.path()).err().unwrap().to_string();
        assert!(said.contains(FILE) && said.contains("new one"), "{said}");
        fs::write(directory.path().join(FILE), "{}").unwrap();
        assert!(Document::read(directory.path()).is_err());
    }
}
