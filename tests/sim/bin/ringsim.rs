//! `ringsim`: runs seeds of the simulator, and says how to repeat what went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sim::world::{Report, World};

/// Runs the switch on a simulated kernel, seed after seed, and checks its promises.
#[derive(Parser)]
#[command(name = "ringsim", version)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed; absent: a fresh one, from the clock.
    #[arg(long)]
    from: Option<u64>,
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print one line for each event.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Completions that the switch handles in each run.
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let fresh = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    let first = args.seed.or(args.from).unwrap_or_else(fresh);
    let count = if args.seed.is_some() { 1 } else { args.seeds };
    let begun = Instant::now();
    let mut sum = Report::default();
    let mut failed = 0;
    for seed in first..first + count {
        match run(seed, args.events, args.trace) {
            Ok(report) => {
                sum.events += report.events;
                sum.turns += report.turns;
                sum.messages += report.messages;
                sum.deliveries += report.deliveries;
                sum.fingerprint ^= report.fingerprint;
            }
            Err(why) => {
                println!("seed {seed}: {why}\n  repeat: ringsim --seed {seed} --events {} --trace", args.events);
                failed += 1;
                if !args.keep_going {
                    break;
                }
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{count} seeds from {first}, {failed} failed: {} events, {} turns, {} messages, {} deliveries in {seconds:.1} s, {:.0} events/s, fingerprint {:016x}",
        sum.events, sum.turns, sum.messages, sum.deliveries, sum.events as f64 / seconds, sum.fingerprint,
    );
    ExitCode::from(u8::from(failed > 0))
}

fn run(seed: u64, events: u64, trace: bool) -> Result<Report, String> {
    let run = catch_unwind(AssertUnwindSafe(|| World::new(seed, trace).run(events)));
    match run {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(violation)) => Err(violation.0),
        Err(panic) => Err(format!("panic: {}", text_of(&*panic))),
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}
