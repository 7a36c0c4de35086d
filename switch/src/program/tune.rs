//! `ringmain tune`: what the tuning crate finds, advises and changes, on the command line.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tuning::table;

use super::failure::{Failure, output};

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
    /// Compare two configurations by interleaved runs; not in this version
    #[command(hide = true)]
    Prove {
        /// The two configurations.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        configurations: Vec<String>,
    },
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
        Tune::Prove { .. } => Err(Failure::NotYet("`ringmain tune prove`")),
    }
}

/// JSON that people may read, too.
fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain data can be written")
}
