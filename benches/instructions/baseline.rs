//! The committed counts, and what became of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::measure::Cost;
use crate::workload::{Pair, WORKLOADS};

/// A rise, or a fall, of a workload's total that is told, in percent.
pub const TOLERANCE_PERCENT: f64 = 3.0;
/// Functions below this share of a workload's total are not kept.
pub const SHARE_KEPT: f64 = 0.02;

/// The file.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Baseline {
    /// What the counts depend on besides the sources.
    pub recorded_with: Tools,
    /// What the second shard adds, in percent, for each workload on two.
    pub second_shard_percent: BTreeMap<String, f64>,
    /// What a journal adds to each workload that does not need it.
    pub journal_percent: BTreeMap<String, f64>,
    /// Counts by workload.
    pub workloads: BTreeMap<String, Count>,
}

/// What counts depend on besides the sources.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Tools {
    /// `rustc --version`.
    pub rustc: String,
    /// The target triple.
    pub target: String,
    /// `valgrind --version`.
    pub valgrind: String,
}

/// One workload.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Count {
    /// Instructions for each unit.
    pub instructions: f64,
    /// What the unit is.
    pub per: String,
    /// Those functions that matter.
    pub functions: BTreeMap<String, f64>,
}

impl Baseline {
    /// Of what was measured.
    pub fn of(costs: &[Cost], recorded_with: Tools) -> Baseline {
        let count = |cost: &Cost| {
            let kept = |(_, count): &(&String, &f64)| **count >= SHARE_KEPT * cost.instructions;
            let functions = cost.functions.iter().filter(kept).map(|(name, count)| (name.clone(), rounded(*count)));
            Count {
                instructions: rounded(cost.instructions),
                per: cost.workload.unit.name().to_owned(),
                functions: functions.collect(),
            }
        };
        let workloads = costs.iter().map(|cost| (cost.workload.name.to_owned(), count(cost))).collect();
        let adds = |pair| added(costs, pair).map(|(name, percent)| (name.to_owned(), rounded(percent))).collect();
        let (second_shard_percent, journal_percent) = (adds(Pair::SecondShard), adds(Pair::Journal));
        Baseline { recorded_with, second_shard_percent, journal_percent, workloads }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// A sentence with the file, the error and the remedy.
    pub fn read(path: &Path) -> Result<Baseline, String> {
        let remedy = "`make instructions-record` writes it anew";
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}; {remedy}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}; {remedy}", path.display()))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// A sentence with the file and the error.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).expect("names and numbers") + "\n";
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// What `pair` adds to each workload that has it, in percent.
pub fn added(costs: &[Cost], pair: Pair) -> impl Iterator<Item = (&'static str, f64)> {
    let of = |name: &str| costs.iter().find(|cost| cost.workload.name == name).map(|cost| cost.instructions);
    WORKLOADS.iter().filter_map(move |workload| {
        let (with, without) = (of(workload.name)?, of(workload.without(pair)?)?);
        Some((workload.name, percent(without, with)))
    })
}

/// By how much `is` is more than `was`, in percent.
pub fn percent(was: f64, is: f64) -> f64 {
    100.0 * (is - was) / was
}

/// To a thousandth, so that the file shows changes and not the ends of fractions.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
