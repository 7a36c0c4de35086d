//! `ringmain tune prove`: `ringload`, which measures, between settings of the machine, which this program changes.
//!
//! ```text
//!   prove A B           ringload prove A B
//!   prove --plan DIR    ringload prove default DIR/ringmain.toml, before each run of
//!                         A `ringmain tune revert`, of B `ringmain tune apply DIR`;
//!                         at the end the plan stays applied if it is a gain, and else is taken back
//! ```

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::failure::{EXIT_RUN_TIME, Failure};

/// What is compared.
#[derive(Debug, Args)]
pub struct Prove {
    /// Compare the machine and the defaults as they are with this plan (the directory that `plan --out` wrote), which is
    /// applied and taken back between runs, and stays applied if it is a gain
    #[arg(long, value_name = "DIR")]
    plan: Option<PathBuf>,
    /// The load generator [default: the one beside this program, or in PATH]
    #[arg(long, value_name = "PATH")]
    ringload: Option<PathBuf>,
    /// Two configurations (files, or `default`; not with --plan), and flags of `ringload prove`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "A B ...")]
    arguments: Vec<OsString>,
}

/// Compares, and ends the program with the exit code of `ringload prove`: 0 a gain, 4 none, 1 it cannot be said.
pub fn run(prove: &Prove) -> Result<(), Failure> {
    let own = env::current_exe().map_err(Failure::io("cannot find this program"))?;
    let ringload = find(prove.ringload.as_deref(), &own)?;
    let mut command = Command::new(&ringload);
    command.arg("prove").env("RINGMAIN_BIN", &own);
    let Some(plan) = &prove.plan else {
        let error = command.args(&prove.arguments).exec();
        return Err(Failure::Tuning(format!("cannot start {}: {error}", ringload.display())));
    };
    let plan = std::path::absolute(plan).map_err(Failure::io("cannot find the plan"))?;
    let revert = format!("{} tune revert", quoted(&own));
    let apply = format!("{} tune apply {}", quoted(&own), quoted(&plan));
    let hooks = [("--set-a", &revert), ("--set-b", &apply)];
    for (flag, hook) in hooks {
        // What is changed is of interest once, and not in each of many runs.
        command.args([flag, &format!("{hook} > /dev/null")]);
    }
    command.arg("default").arg(plan.join("ringmain.toml")).args(&prove.arguments);
    // Whatever ends the runs, the machine is not left half-way.
    let told = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told)).map_err(Failure::io("cannot catch signals"))?;
    }
    let status = status(&mut command)?;
    let (hook, said) = match status.code() {
        Some(0) => (&apply, "a gain: the plan is applied; `ringmain tune revert` takes it back"),
        _ => (&revert, "the plan is taken back"),
    };
    let ended = self::status(Command::new("sh").arg("-c").arg(format!("{hook} > /dev/null")))?;
    if !ended.success() {
        return Err(Failure::Tuning(format!("`{hook}` ended with {ended}; look at the machine, and repeat it")));
    }
    eprintln!("{said}");
    std::process::exit(status.code().unwrap_or(EXIT_RUN_TIME.into()))
}

fn status(command: &mut Command) -> Result<ExitStatus, Failure> {
    let program = command.get_program().to_owned();
    command.status().map_err(|error| Failure::Tuning(format!("cannot start {}: {error}", program.display())))
}

/// The load generator.
fn find(flag: Option<&Path>, own: &Path) -> Result<PathBuf, Failure> {
    if let Some(flag) = flag {
        return Ok(flag.to_owned());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&folders).map(|folder| folder.join("ringload")).collect::<Vec<_>>();
    let mut all = std::iter::once(own.with_file_name("ringload")).chain(in_path);
    all.find(|path| path.is_file()).ok_or_else(|| {
        let remedy = "`cargo build --release -p ringmain-benches` builds it; --ringload names it elsewhere";
        Failure::Tuning(format!("ringload, which measures, is neither beside this program nor in PATH: {remedy}"))
    })
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path stays one word whatever is in it.
    #[test]
    fn paths_in_a_shell() {
        let output =
            Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(Path::new("/a b/it's $x")))).output();
        assert_eq!(output.unwrap().stdout, b"/a b/it's $x");
    }
}
