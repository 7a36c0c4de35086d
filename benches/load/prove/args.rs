//! The command line of `ringload prove`.

use std::path::{Path, PathBuf};

use clap::Args;

/// What is compared, and how.
#[derive(Args, Clone)]
pub struct Prove {
    /// A configuration of ringmain: a file, or `default`.
    pub a: PathBuf,
    /// The one that may be better.
    pub b: PathBuf,
    /// Pairs of runs.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub pairs: u32,
    /// That no difference is called where there is none, in percent.
    #[arg(long, default_value = "99", value_parser = crate::bundle::args::confidence)]
    pub confidence: f64,
    /// Decides which of a pair is first.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A shell command before each run of A: it sets the machine as A needs it.
    #[arg(long, value_name = "COMMAND")]
    pub set_a: Option<String>,
    /// The same for B.
    #[arg(long, value_name = "COMMAND")]
    pub set_b: Option<String>,
    /// The `ringmain` program; RINGMAIN_BIN or the one beside this program where absent.
    #[arg(long, value_name = "PATH")]
    pub ringmain: Option<PathBuf>,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// The load, as ringload takes it; `ping-pong --seconds 1 --warmup 0.3` where absent.
    #[arg(last = true, value_name = "LOAD")]
    pub load: Vec<String>,
}

impl Prove {
    /// The file of A, if it is not the defaults.
    pub fn a(&self) -> Option<&Path> {
        file(&self.a)
    }

    /// The file of B, if it is not the defaults.
    pub fn b(&self) -> Option<&Path> {
        file(&self.b)
    }
}

fn file(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| path.as_os_str() != "default")
}
