//! `ringcost`: how many instructions of user space the hot paths take, counted by callgrind, and what became of the
//! counts that are committed.
//!
//! ```text
//!   ringcost check ─▶ valgrind ringcost run NAME, for each workload    (`measure`)
//!                       └─ workload ─▶ node: reactors + switches, real ─▶ driver: scripted
//!        │ profile of each instruction                                 (`callgrind`)
//!        ├─▶ by function, through inlining                             (`place`)
//!        └─▶ compared with the baseline                                (`baseline`, `report`)
//! ```
//!
//! Counts are exact: the same program and the same workload take the same instructions, whatever else the machine does.

mod baseline;
mod callgrind;
mod client;
mod driver;
mod measure;
mod node;
mod place;
mod report;
mod workload;

use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baseline::{Baseline, Tools};
use clap::{Args, Parser, Subcommand};
use measure::Cost;
use switch::program::failure::{Failure, output};
use workload::{WORKLOADS, Workload};

#[derive(Parser)]
#[command(name = "ringcost", about = "Counts the instructions of the hot paths under callgrind", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count, compare with the baseline, and fail where a workload takes over 3 % more
    Check(Counting),
    /// Count, and write the baseline
    Record(Counting),
    /// Count, and tell the cost of each crate and function
    Show {
        #[command(flatten)]
        counting: Counting,
        /// Which workloads (default: all)
        workloads: Vec<String>,
    },
    /// Name the workloads
    List,
    /// Run one workload and print how many units it has: what valgrind is given
    #[command(hide = true)]
    Run {
        /// Which
        workload: String,
    },
}

#[derive(Args)]
struct Counting {
    /// The file with the counts
    #[arg(long, default_value = "benches/baselines/instructions.json")]
    baseline: PathBuf,
    /// Keep callgrind's profiles in this folder, for kcachegrind
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringcost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Check(counting) => {
            let baseline = Baseline::read(&counting.baseline)?;
            let verdict = report::compare(&counting.count(&[])?, &baseline, &tools()?);
            print(&verdict.text)?;
            return Ok(if verdict.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        Command::Record(counting) => {
            let costs = counting.count(&[])?;
            Baseline::of(&costs, tools()?).write(&counting.baseline)?;
            print(format_args!("{}: {} workloads\n", counting.baseline.display(), costs.len()))?;
        }
        Command::Show { counting, workloads } => print(report::show(&counting.count(&workloads)?))?,
        Command::List => {
            print(WORKLOADS.iter().map(|workload| format!("{}\n", workload.name)).collect::<String>())?;
        }
        Command::Run { workload } => print(format_args!("{}\n", find(&workload)?.run()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints to standard output; that its reader has seen enough is no failure.
fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    output(write!(out, "{text}").and_then(|()| out.flush()))
}

impl Counting {
    /// Counts the named workloads, or all.
    fn count(&self, names: &[String]) -> Result<Vec<Cost>, Box<dyn Error>> {
        measure::valgrind_version()?;
        let workloads: Vec<&'static Workload> = if names.is_empty() {
            WORKLOADS.iter().collect()
        } else {
            names.iter().map(|name| find(name)).collect::<Result<_, _>>()?
        };
        let folder = self.keep.clone().unwrap_or_else(|| scratch(std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let costs = measure::all(&workloads, &folder);
        if self.keep.is_none() {
            remove(&folder);
        }
        Ok(costs?)
    }
}

fn find(name: &str) -> Result<&'static Workload, String> {
    let found = WORKLOADS.iter().find(|workload| workload.name == name);
    found.ok_or_else(|| format!("there is no workload `{name}`: `ringcost list` names them"))
}

fn tools() -> Result<Tools, measure::Failure> {
    let (rustc, target) = (env!("RINGCOST_RUSTC").to_owned(), env!("RINGCOST_TARGET").to_owned());
    Ok(Tools { rustc, target, valgrind: measure::valgrind_version()? })
}

/// Where profiles are while they are read.
fn scratch(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("ringcost-{process}"))
}

/// What cannot be removed stays for whoever cleans the machine's temporary files.
fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}
