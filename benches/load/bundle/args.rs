//! The command lines about kept runs.

use std::path::PathBuf;

use clap::Args;

/// Who serves a run, how often it is made, and where it is kept.
#[derive(Args, Clone, Default)]
pub struct Keep {
    /// Start ringmain with this configuration (its defaults where no file is named), on a port of its own, instead of
    /// loading a broker that runs.
    #[arg(long, value_name = "CONFIG", num_args = 0..=1, conflicts_with_all = ["port", "host", "broker_pid"])]
    pub node: Option<Option<PathBuf>>,
    /// The `ringmain` program of --node; RINGMAIN_BIN or the one beside this program where absent.
    #[arg(long, value_name = "PATH")]
    pub ringmain: Option<PathBuf>,
    /// Make the run so often, each time on a fresh node (--node).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// Keep the run in this file, with all that is needed to repeat and to judge it (a .tar.gz; see `diff`, `rerun` and
    /// `report`). Five rounds where --rounds is absent.
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
}

/// What is compared.
#[derive(Args, Clone)]
pub struct Diff {
    /// A kept run.
    pub before: PathBuf,
    /// Another one.
    pub after: PathBuf,
    /// With this confidence, in percent.
    #[arg(long, default_value = "95", value_parser = confidence)]
    pub confidence: f64,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What is repeated.
#[derive(Args, Clone)]
pub struct Rerun {
    /// A kept run.
    pub bundle: PathBuf,
    /// The `ringmain` program; RINGMAIN_BIN or the one beside this program where absent.
    #[arg(long, value_name = "PATH")]
    pub ringmain: Option<PathBuf>,
    /// So often; as often as before where absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// Keep the new run in this file.
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Compare with this confidence, in percent.
    #[arg(long, default_value = "95", value_parser = confidence)]
    pub confidence: f64,
}

/// What is drawn.
#[derive(Args, Clone)]
pub struct Report {
    /// Kept runs.
    #[arg(required = true)]
    pub bundles: Vec<PathBuf>,
    /// The page.
    #[arg(short = 'o', long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
}

/// A confidence in percent, as a share of 1.
pub fn confidence(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (50.0..=99.9).contains(&percent) { Ok(percent / 100.0) } else { Err("wanted: percent, 50 to 99.9".to_owned()) }
}
