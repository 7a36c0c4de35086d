//! The proof that the simulator would find a fault: one is planted, and it must be found.

use std::process::ExitCode;

use sim::trace::say;
use switch::planted::{Fault, plant as plant_in_process};

use super::{Args, run_all};

/// First seeds, far from each other and from those of daily runs.
const FIRST_SEEDS: [u64; 3] = [1, 1_000_000, 2_000_000_000];
/// Seeds within which a fault must be found.
const SEEDS_MAX: u64 = 1000;

/// Does what the arguments say of faults: an exit code where that is all.
pub fn plant(args: &Args) -> Result<Option<ExitCode>, String> {
    if args.faults {
        return Ok(Some(table(args)));
    }
    match args.fault.as_deref() {
        None => Ok(None),
        Some("list") => {
            Fault::ALL.iter().for_each(|fault| say(format_args!("{:32} {}", fault.name(), fault.what())));
            Ok(Some(ExitCode::SUCCESS))
        }
        Some(name) => {
            let fault = Fault::named(name).ok_or(format!("no fault is named {name:?}; `--fault list` prints all"))?;
            plant_in_process(Some(fault));
            Ok(None)
        }
    }
}

/// Plants each fault, and prints after how many seeds it was found from each first seed, and as what.
fn table(args: &Args) -> ExitCode {
    say(format_args!("| fault | breaks | seeds until found, from three first seeds | found as |\n|---|---|---|---|"));
    let mut missed = 0;
    for fault in Fault::ALL {
        plant_in_process(Some(*fault));
        let mut found = Vec::new();
        let mut why = String::new();
        for first in FIRST_SEEDS {
            let (_, failed) = run_all(&Args { keep_going: false, ..args.clone() }, first, SEEDS_MAX);
            match failed.into_iter().next() {
                Some((seed, violation)) => {
                    found.push((seed - first + 1).to_string());
                    why = violation;
                }
                None => found.push("not".into()),
            }
        }
        missed += usize::from(found.iter().any(|seeds| seeds == "not"));
        let why: String = why.chars().take(90).filter(|c| *c != '|').collect();
        let (name, what, breaks) = (fault.name(), fault.what(), fault.breaks());
        say(format_args!("| {name}: {what} | {breaks} | {} | {why} |", found.join(", ")));
    }
    plant_in_process(None);
    ExitCode::from(u8::from(missed > 0))
}
