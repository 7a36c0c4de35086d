//! Two configurations under the same load, side by side: is one better, and at what?
//!
//! ```text
//!   pairs: A B, B A, ... in random order ──▶ a fresh node for each run ──▶ figures ──▶ ratios B ÷ A of each pair
//!                                                                                          │
//!                                       verdict ◀── intervals that exclude 1, or do not ◀──┘
//! ```
//!
//! The confidence is that of the verdict as a whole: each of its figures is held to its share (Bonferroni), so that of a
//! hundred comparisons of a configuration with itself about one calls a difference at a confidence of 99 %.

pub mod args;
mod verdict;

use std::error::Error;
use std::process;
use std::sync::atomic::Ordering;

use args::Prove;
use clap::Parser;
use verdict::{Outcome, Verdict};

use crate::args::{Cli, Command};
use crate::bundle::record;
use crate::intervals;
use crate::node::{Configuration, Starter};
use crate::out;
use crate::scenario::Stop;
use serde_json::Value;

/// What is run where no load is named.
const LOAD: [&str; 5] = ["ping-pong", "--seconds", "1", "--warmup", "0.3"];

/// One of the two.
struct Side<'a> {
    configuration: Configuration,
    /// What is run before each of its nodes starts.
    prepare: Option<&'a str>,
}

/// Runs the pairs, prints the verdict and returns the exit status.
///
/// # Errors
/// A configuration cannot be read, a node does not start, a command fails, or a run is invalid: then nothing is said.
pub fn run(args: &Prove, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    let words = || args.load.iter().map(String::as_str);
    let load: Vec<&str> = if args.load.is_empty() { LOAD.to_vec() } else { words().collect() };
    let command = Cli::try_parse_from(std::iter::once("ringload").chain(load.iter().copied()))?.command;
    let needed = intervals::pairs_min(Verdict::share(args.confidence, crate::bundle::FIGURES.len()));
    if (args.pairs as usize) < needed {
        return Err(format!(
            "--pairs {}: a confidence of {} % needs {needed} at least",
            args.pairs,
            args.confidence * 100.0
        )
        .into());
    }
    let starter = Starter::new(&args.ringmain)?;
    let sides = [
        Side { configuration: Configuration::read("A", args.a())?, prepare: args.set_a.as_deref() },
        Side { configuration: Configuration::read("B", args.b())?, prepare: args.set_b.as_deref() },
    ];
    let mut reports: [Vec<Value>; 2] = Default::default();
    for (number, first) in (1..).zip(orders(args.pairs, args.seed)) {
        for side in [first, 1 - first] {
            let Some(report) = once(&sides[side], &starter, &command, stop)? else { return Ok(130) };
            reports[side].push(report);
        }
        eprintln!("pair {number} of {}", args.pairs);
    }
    let names = [args.a.display().to_string(), args.b.display().to_string()];
    let verdict = Verdict::of(&reports, args.confidence, names, format!("ringload {}", load.join(" ")));
    if args.json {
        out::say_line(serde_json::to_string(&verdict)?)?;
    } else {
        out::say(&verdict)?;
    }
    Ok(match verdict.outcome {
        Outcome::Gain => 0,
        Outcome::NoGain => 4,
    })
}

/// Which side is first in each pair: each as often as the other, in random order, so that nothing that changes with time
/// favours one.
fn orders(pairs: u32, seed: u64) -> Vec<usize> {
    let mut orders: Vec<usize> = (0..pairs as usize).map(|pair| pair % 2).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut orders);
    orders
}

/// One run; none where the user has interrupted it.
fn once(side: &Side, starter: &Starter, command: &Command, stop: &Stop) -> Result<Option<Value>, Box<dyn Error>> {
    if let Some(prepare) = side.prepare {
        let status = process::Command::new("sh").args(["-c", prepare]).status()?;
        if !status.success() {
            return Err(format!("`{prepare}` ended with {status}").into());
        }
    }
    let report = record::once(command, Some((starter, &side.configuration)), stop)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    if !report.valid {
        return Err(format!("a run is invalid, and proves nothing:\n{report}").into());
    }
    Ok(Some(serde_json::to_value(&report)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both are first equally often, in an order that the seed decides.
    #[test]
    fn orders_are_even() {
        let of = |seed| orders(20, seed);
        assert_eq!(of(1).iter().sum::<usize>(), 10);
        assert_eq!(of(1), of(1));
        assert!(of(1) != of(2) && of(1)[..10].iter().sum::<usize>() != 0);
    }
}
