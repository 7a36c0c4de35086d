//! Conformance as data: cases, each of which names the normative statements that it shows, run against worlds.
//!
//! ```text
//! statement.rs  the statements of both versions, from statements/*.tsv
//! notation.rs   packets as text                         script.rs  steps
//! case.rs       the files in cases/                     show.rs    bytes as a person reads them
//! broker.rs     what a script runs against              live.rs    the real program over sockets
//! coverage.rs   statement → cases, or why there can     simulated.rs  the switch on a simulated kernel
//!               be none: docs/conformance.md
//! ```
//!
//! `cargo test -p ringmain-tests --test conformance -- v311::connect` runs the cases of one file, a longer name one
//! case; `-- --write-table` writes the table anew.

mod broker;
mod case;
mod coverage;
mod live;
mod notation;
mod script;
mod show;
mod simulated;
mod statement;

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use broker::Broker;
use case::{Case, File};
use coverage::Coverage;
use live::Live;
use simulated::Simulated;

/// How a world for one case is made.
type MakeWorld = fn(&Case) -> Box<dyn Broker>;

/// What the cases as a whole must fulfil.
type Demand = fn(&Coverage) -> Result<(), String>;

/// The worlds that each case runs in, by the last part of the trial's name; another world is another line.
const WORLDS: [(&str, MakeWorld); 4] = [
    ("sim_1", |case| Box::new(Simulated::calm(case))),
    ("sim_3", |case| Box::new(Simulated::unkind(case))),
    ("shards_1", |case| Box::new(Live::start(1, &case.settings))),
    ("shards_2", |case| Box::new(Live::start(2, &case.settings))),
];

fn main() -> ExitCode {
    let files = case::files();
    let coverage = Coverage::of(&files);
    if env::args().any(|argument| argument == "--write-table") {
        return match coverage.and_then(|coverage| coverage.write()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(what) => {
                eprintln!("{what}");
                ExitCode::FAILURE
            }
        };
    }
    let mut arguments = Arguments::from_args();
    // Most of a case is waiting for the broker's process; other test binaries read this variable, too.
    let threads = env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
    arguments.test_threads = arguments.test_threads.or(threads);
    let laws: [(&str, fn()); 2] = [("notation::laws", notation::laws), ("script::laws", script::laws)];
    let mut trials: Vec<Trial> = laws
        .map(|(name, law)| {
            Trial::test(name, move || {
                law();
                Ok(())
            })
        })
        .into();
    let coverage = Arc::new(coverage);
    let demands: [(&str, Demand); 2] =
        [("coverage::is_complete", Coverage::is_complete), ("coverage::is_written", Coverage::is_written)];
    trials.extend(demands.map(|(name, demand)| {
        let coverage = Arc::clone(&coverage);
        Trial::test(name, move || Ok(demand((*coverage).as_ref()?)?))
    }));
    trials.extend(files.into_iter().flat_map(trials_of));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One trial for each case and world; for a file that cannot be read, one that says so.
fn trials_of(file: File) -> Vec<Trial> {
    let prefix = format!("{}::{}", file.standard.folder(), file.name);
    match file.cases {
        Err(what) => vec![Trial::test(prefix, || Err(Failed::from(what)))],
        Ok(cases) => {
            let cases = cases.into_iter().map(Arc::new);
            cases.flat_map(|case| WORLDS.map(|world| trial(&prefix, &case, world))).collect()
        }
    }
}

fn trial(prefix: &str, case: &Arc<Case>, (world, make): (&str, MakeWorld)) -> Trial {
    let case = Arc::clone(case);
    Trial::test(format!("{prefix}::{}::{world}", case.name), move || run(&case, make))
}

fn run(case: &Case, make: MakeWorld) -> Result<(), Failed> {
    let script = case.script.as_ref()?;
    let mut world = make(case);
    script.run(&mut *world).map_err(|failure| {
        let log = world.log();
        let log = if log.is_empty() { log } else { format!("\n{log}") };
        Failed::from(format!("{}{log}", case.describe(&failure)))
    })
}
