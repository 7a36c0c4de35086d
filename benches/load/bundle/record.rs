//! Runs with all that is known about them.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::atomic::Ordering;

use aws_lc_rs::digest;
use clap::Parser;
use serde_json::Value;

use super::args::Rerun;
use super::{Bundle, Program, Round, archive};
use crate::args::{Cli, Command};
use crate::node::{Configuration, Starter};
use crate::report::Report;
use crate::scenario::{self, Stop};
use crate::suite::machine;

/// Rounds of a run that is kept: fewer give no intervals.
const ROUNDS: u32 = 5;
/// Flags with a value that are about where a run is made and kept, and not about what it is.
const ASIDE: [&str; 2] = ["--keep", "--ringmain"];
const NO_RUN: &str = "only runs can be kept and compared: fanout, fanin, pairs and so on";
const PASSWORD: [&str; 2] = ["-P", "--password"];

/// Makes a run in rounds, on nodes of its own or on a broker that runs, and keeps it where that is wanted; returns the exit
/// status.
///
/// # Errors
/// A run could not be made, or the file cannot be written.
pub fn run(command: &mut Command, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    let run = command.run_mut().ok_or(NO_RUN)?;
    let (keep, json, broker_pid) = (run.keep.clone(), run.target.json, run.target.broker_pid);
    let node = match &keep.node {
        Some(path) => Some((Starter::new(&keep.ringmain)?, Configuration::read("--node", path.as_deref())?)),
        None => None,
    };
    // What is not kept takes no look at machine and programs.
    let arguments = || shareable(std::env::args().skip(1));
    let mut bundle = keep.keep.as_ref().map(|_| begin(arguments(), node.as_ref(), broker_pid)).transpose()?;
    let count = keep.rounds.unwrap_or(if bundle.is_some() { ROUNDS } else { 1 });
    let node = node.as_ref().map(|(starter, configuration)| (starter, configuration));
    let mut status = 0;
    for _ in 0..count {
        let report = once(command, node, stop)?;
        status = status.max(crate::tell(&report, json)?);
        if let Some(bundle) = &mut bundle {
            bundle.rounds.push(round(report)?);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(130);
        }
    }
    if let (Some(bundle), Some(path)) = (&bundle, &keep.keep) {
        archive::write(bundle, path)?;
        eprintln!("kept in {}", path.display());
    }
    Ok(status)
}

/// Repeats a kept run; none where the user has interrupted it.
///
/// # Errors
/// It was not made on a node of its own, or cannot be made now.
pub fn again(before: &Bundle, args: &Rerun, stop: &Stop) -> Result<Option<Bundle>, Box<dyn Error>> {
    let configuration = before.node.clone().ok_or(
        "it was made with a broker that ran already; only what was made with --node, which keeps the configuration, can be \
         repeated",
    )?;
    let words = std::iter::once("ringload").chain(before.command.iter().map(String::as_str));
    let command =
        Cli::try_parse_from(words).map_err(|error| format!("this version does not take its command: {error}"))?.command;
    let node = (Starter::new(&args.ringmain)?, configuration);
    let mut after = begin(before.command.clone(), Some(&node), None)?;
    let count = args.rounds.unwrap_or(before.rounds.len() as u32);
    for number in 1..=count {
        eprintln!("round {number} of {count}");
        let report = once(&command, Some((&node.0, &node.1)), stop)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        after.rounds.push(round(report)?);
    }
    Ok(Some(after))
}

/// One run, on a fresh node where one is named.
///
/// # Errors
/// It could not be made.
pub fn once(
    command: &Command,
    node: Option<(&Starter, &Configuration)>,
    stop: &Stop,
) -> Result<Report, Box<dyn Error>> {
    let mut command = command.clone();
    let run = command.run_mut().ok_or(NO_RUN)?;
    // A node that is started must not inherit the core that the load takes.
    let node = node.map(|(starter, configuration)| starter.start(configuration)).transpose()?;
    if let Some(node) = &node {
        *run = node.target(run);
    }
    if let Some(core) = run.target.core {
        crate::pin(core)?;
    }
    scenario::run(&command, stop)
}

/// A bundle without rounds.
fn begin(
    arguments: Vec<String>,
    node: Option<&(Starter, Configuration)>,
    broker_pid: Option<u32>,
) -> Result<Bundle, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let mut programs = vec![program("ringload", &own, format!("ringload {}", env!("CARGO_PKG_VERSION")))];
    match (node, broker_pid) {
        (Some((starter, _)), _) => programs.push(program("ringmain", starter.program(), version(starter.program()))),
        (None, Some(pid)) => programs.push(running(pid)),
        (None, None) => {}
    }
    Ok(Bundle {
        form: archive::FORM,
        begun: machine::now(),
        command: arguments,
        node: node.map(|(_, configuration)| configuration.clone()),
        programs,
        facts: serde_json::to_value(tuning::inspect(Path::new("/")))?,
        rounds: Vec::new(),
    })
}

fn round(report: Report) -> Result<Round, Box<dyn Error>> {
    let value: Value = serde_json::to_value(&report)?;
    let named = report.histograms.into_iter().filter(|(_, latencies)| !latencies.is_empty());
    Ok(Round { report: value, histograms: named.map(|(name, latencies)| (name.to_owned(), latencies)).collect() })
}

/// The arguments without what is nobody else's business.
fn shareable(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let (flag, joined) = argument.split_once('=').map_or((argument.as_str(), false), |(flag, _)| (flag, true));
        if ASIDE.contains(&flag) {
            arguments.next_if(|_| !joined);
        } else if PASSWORD.contains(&flag) || argument.starts_with("-P") {
            arguments.next_if(|_| !joined && argument.len() == flag.len() && PASSWORD.contains(&flag));
        } else if flag == "--node" {
            // Its text is kept instead of its path.
            arguments.next_if(|next| !joined && !next.starts_with('-'));
            kept.push(flag.to_owned());
        } else {
            kept.push(argument);
        }
    }
    kept
}

fn program(name: &str, path: &Path, version: String) -> Program {
    let hash = |bytes: Vec<u8>| {
        let hash = digest::digest(&digest::SHA256, &bytes);
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    Program { name: name.to_owned(), version, sha256: fs::read(path).map(hash).unwrap_or_default() }
}

fn version(path: &Path) -> String {
    let output = process::Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// The broker that runs as this process.
fn running(pid: u32) -> Program {
    let path = PathBuf::from(format!("/proc/{pid}/exe"));
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
    let name = fs::read_link(&path).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    program(&name.unwrap_or_else(|| "broker".to_owned()), &path, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passwords and paths are not in what is shared, in any form in which they can be written.
    #[test]
    fn what_is_shared() {
        let of = |line: &str| shareable(line.split(' ').map(str::to_owned)).join(" ");
        assert_eq!(of("fanout -c 5 -P geheim -u a --keep x.tar.gz -q 1"), "fanout -c 5 -u a -q 1");
        assert_eq!(of("fanout -Pgeheim --password=geheim --keep=x --ringmain /a/b"), "fanout");
        assert_eq!(of("fanout --node /a/b.toml --seconds 1"), "fanout --node --seconds 1");
        assert_eq!(of("fanout --node=/a/b.toml --node"), "fanout --node --node");
        assert_eq!(of("fanout --password geheim -p 1883"), "fanout -p 1883");
    }
}
