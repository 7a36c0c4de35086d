//! The command line of `ringload suite`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::broker::Broker;

/// What `suite` runs, and where it writes.
#[derive(Args, Clone)]
pub struct Suite {
    /// How much: everything once and briefly, or everything that a report needs.
    #[arg(long, value_enum, default_value = "full")]
    pub profile: Profile,
    /// Rounds of each measure; the profile's where absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,
    /// Seconds measured in each run; the measure's where absent.
    #[arg(long, value_parser = crate::args::positive)]
    pub seconds: Option<f64>,
    /// Only measures of this name; `fanout-*` takes all that begin so. May be repeated.
    #[arg(long)]
    pub only: Vec<String>,
    /// Only these brokers.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub brokers: Vec<Broker>,
    /// Directory of the report; target/bench/DATE-TIME where absent.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub output: Option<PathBuf>,
    /// Go on with the report in this directory: runs that it has are not run again.
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Print the runs and how long they take, and run nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The `floor` program; beside this one where absent.
    #[arg(long, value_name = "PATH")]
    pub floor: Option<PathBuf>,
    /// The `ringmain` program; RINGMAIN_BIN or the one beside this program where absent.
    #[arg(long, value_name = "PATH")]
    pub ringmain: Option<PathBuf>,
    /// The folder that `benches/peers/install` filled; target/peers where absent. What it lacks is looked for in PATH.
    #[arg(long, value_name = "DIR")]
    pub peers: Option<PathBuf>,
    /// The brokers' core.
    #[arg(long, default_value_t = 0)]
    pub broker_core: usize,
    /// The core of the second shard, in measures that have one; the brokers' core where absent.
    #[arg(long)]
    pub second_core: Option<usize>,
    /// The load's core.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Instruction counts of the hot paths, shown with the budgets where the file exists.
    #[arg(long, value_name = "FILE", default_value = "benches/baselines/instructions.json")]
    pub instructions: PathBuf,
}

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// One round of each measure, with less time measured: is everything in order?
    Quick,
    /// Five rounds of what a budget hangs on, three of the rest; within 45 minutes.
    Full,
}

impl Suite {
    /// Whether a measure of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        let fits = |only: &String| match only.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == only,
        };
        self.only.is_empty() || self.only.iter().any(fits)
    }

    /// Whether this broker is wanted.
    pub fn wants_broker(&self, broker: Broker) -> bool {
        self.brokers.is_empty() || self.brokers.contains(&broker)
    }

    /// Rounds of a measure that asks for so many.
    pub fn rounds(&self, rounds: u32) -> u32 {
        self.rounds.unwrap_or(if self.profile == Profile::Quick { 1 } else { rounds })
    }

    /// Seconds of a measure that asks for so many.
    pub fn seconds(&self, seconds: f64) -> f64 {
        self.seconds.unwrap_or(if self.profile == Profile::Quick { seconds / 2.0 } else { seconds })
    }
}
