//! `ringmain tune`: what the tuning crate finds, advises and changes, on the command line.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tuning::apply::{Done, Outcome, Step};
use tuning::plan::Plan;
use tuning::profile::Profile;
use tuning::table;

use super::failure::{Failure, output};
use super::prove::{self, Prove};

/// What is done with the machine.
#[derive(Debug, Subcommand)]
pub enum Tune {
    /// Look at the machine and print what is there; nothing is changed
    Inspect {
        /// Which machine.
        #[command(flatten)]
        machine: Machine,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Write all that was read into FILE, so that the same can be looked at elsewhere
        #[arg(long, value_name = "FILE")]
        capture: Option<PathBuf>,
    },
    /// Say what should be otherwise, and why; write it as files with --out; nothing is changed
    Plan {
        /// Which machine.
        #[command(flatten)]
        machine: Machine,
        /// What to tune for: low-latency, throughput, dense-connections, shared-host, or a file of your own
        #[arg(long, value_name = "NAME")]
        profile: String,
        /// Where to write ringmain.toml, system.sh, report.txt and what `apply` reads
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Change the system as a plan says; what was is noted first, so that it can be taken back
    #[command(after_help = APPLY_HELP)]
    Apply {
        /// The plan: the directory that `plan --out` wrote
        #[arg(value_name = "DIR")]
        plan: PathBuf,
        /// How.
        #[command(flatten)]
        doing: Doing,
    },
    /// Take back all that `apply` did since the machine was started
    #[command(after_help = APPLY_HELP)]
    Revert {
        /// How.
        #[command(flatten)]
        doing: Doing,
    },
    /// Compare two configurations, or the machine before and after a plan, by runs of `ringload` in pairs
    Prove(Prove),
}

const APPLY_HELP: &str = "\
Only files of /proc and /sys that the program understands are written; a restart of the machine undoes all of it.
Exit codes: 0 all is as it should be, 1 the machine forbids something, or the plan is refused, 2 wrong usage.";

/// How a change is made, or taken back.
#[derive(Debug, Args)]
pub struct Doing {
    /// Which machine.
    #[command(flatten)]
    machine: Machine,
    /// Where it is noted what was there [default: /var/lib/ringmain/tune.journal]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object for each file
    #[arg(long)]
    json: bool,
}

/// Which machine is looked at.
#[derive(Debug, Args)]
pub struct Machine {
    /// Below which directory /sys and /proc lie: that of a captured machine, for tests
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// Does what the command says and tells `out` about it.
pub fn run(command: &Tune, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Tune::Inspect { machine, json, capture } => {
            let (facts, tree) = tuning::capture(&machine.root);
            if let Some(file) = capture {
                fs::write(file, tree).map_err(Failure::io("cannot write what was captured"))?;
            }
            output(match json {
                true => writeln!(out, "{}", pretty(&facts)),
                false => out.write_all(table::table(&facts).as_bytes()),
            })
        }
        Tune::Plan { machine, profile, out: directory, json } => {
            let plan = plan(&machine.root, profile)?;
            if let Some(directory) = directory {
                plan.write(directory).map_err(Failure::io("cannot write the plan"))?;
            }
            output(match json {
                true => writeln!(out, "{}", pretty(&plan)),
                false => out.write_all(plan.report().as_bytes()),
            })
        }
        Tune::Apply { plan, doing } => {
            let plan = Plan::read(plan).map_err(Failure::Tuning)?;
            doing.run(out, |machine, watch| machine.apply(&plan.changes(), doing.dry_run, watch))
        }
        Tune::Revert { doing } => doing.run(out, |machine, watch| machine.revert(doing.dry_run, watch)),
        Tune::Prove(command) => prove::run(command),
    }
}

fn plan(root: &Path, profile: &str) -> Result<Plan, Failure> {
    let profile = Profile::find(profile).map_err(Failure::Tuning)?;
    Plan::new(&tuning::inspect(root), profile).map_err(Failure::Tuning)
}

impl Doing {
    /// Does it, and tells of each file when it is done.
    fn run(
        &self,
        out: &mut dyn Write,
        act: impl FnOnce(&tuning::apply::Machine, &mut dyn FnMut(Step<'_>)) -> Result<Vec<Outcome>, String>,
    ) -> Result<(), Failure> {
        let machine = tuning::apply::Machine::new(&self.machine.root, self.journal.as_deref());
        let mut told = Ok(());
        let mut watch = |step: Step<'_>| {
            if let Step::Finished(outcome) = step {
                // A reader who has gone away does not stop a change half-way.
                let line = self.line(outcome);
                told = std::mem::replace(&mut told, Ok(())).and_then(|()| writeln!(out, "{line}"));
            }
        };
        let outcomes = act(&machine, &mut watch).map_err(Failure::Tuning)?;
        if outcomes.is_empty() && !self.json {
            told = told.and_then(|()| writeln!(out, "there is nothing to do"));
        }
        output(told.and_then(|()| out.flush()))?;
        match outcomes.iter().filter(|outcome| matches!(outcome.result, Done::Forbidden(_))).count() {
            0 => Ok(()),
            1 => Err(Failure::Tuning("the machine forbids one of these".to_owned())),
            some => Err(Failure::Tuning(format!("the machine forbids {some} of these"))),
        }
    }

    fn line(&self, outcome: &Outcome) -> String {
        if self.json {
            return serde_json::to_string(outcome).expect("plain data can be written");
        }
        let Outcome { path, was, wanted, result } = outcome;
        let was = was.as_deref().unwrap_or("unknown");
        match result {
            Done::Already => format!("as it is    /{path}: {wanted}"),
            Done::WouldBe => format!("would be    /{path}: {was} -> {wanted}"),
            Done::Changed => format!("done        /{path}: {was} -> {wanted}"),
            Done::Forbidden(why) => format!("forbidden   /{path}: {was} -> {wanted}: {why}"),
            Done::Gone(why) => format!("not there   /{path}: {why}"),
        }
    }
}

/// JSON that people may read, too.
fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain data can be written")
}
