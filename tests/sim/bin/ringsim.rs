//! `ringsim`: runs seeds of the simulator, and says how to repeat what went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use sim::trace::say;
use sim::world::Report;

#[cfg(feature = "planted-faults")]
mod faults;

/// How often a long run says on standard error how far it is.
const PROGRESS: Duration = Duration::from_secs(30);

/// Runs the switch on a simulated kernel, seed after seed, and checks its promises.
#[derive(Clone, Parser)]
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
    /// What the switch handles in each run: completions, results of sends, timers and parcels.
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// Threads that run seeds, each its own.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Plant this fault in the switch first; `list` prints all.
    #[cfg(feature = "planted-faults")]
    #[arg(long)]
    fault: Option<String>,
    /// Plant each fault in turn, look for it from three first seeds, and print a table.
    #[cfg(feature = "planted-faults")]
    #[arg(long, conflicts_with_all = ["fault", "seed"])]
    faults: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.trace {
        std::panic::set_hook(Box::new(|_| {}));
    }
    #[cfg(feature = "planted-faults")]
    match faults::plant(&args) {
        Ok(None) => {}
        Ok(Some(code)) => return code,
        Err(unknown) => {
            eprintln!("ringsim: {unknown}");
            return ExitCode::from(2);
        }
    }
    let count = if args.seed.is_some() { 1 } else { args.seeds };
    let first = args.seed.or(args.from).unwrap_or_else(fresh);
    let begun = Instant::now();
    let (sum, failed) = run_all(&args, first, count);
    let seconds = begun.elapsed().as_secs_f64();
    for (seed, why) in &failed {
        say(format_args!("seed {seed}: {why}\n  repeat: {}", command(&args, *seed)));
    }
    let Report { events, turns, messages, deliveries, crashes, fingerprint } = sum;
    say(format_args!(
        "{count} seeds from {first}, {} failed; {events} events, {turns} turns, {messages} messages, \
         {deliveries} deliveries, {crashes} crashes in {seconds:.1} s, {:.0} events/s; fingerprint {fingerprint:016x}",
        failed.len(),
        events as f64 / seconds,
    ));
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// A seed that nobody has run before.
fn fresh() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// The command that repeats a seed.
fn command(args: &Args, seed: u64) -> String {
    let fault = String::new();
    #[cfg(feature = "planted-faults")]
    let fault = args.fault.as_ref().map_or(fault, |fault| format!(" --fault {fault}"));
    format!("ringsim --seed {seed} --events {}{fault} --trace", args.events)
}

/// What runs came to.
struct Results {
    sum: Report,
    failed: Vec<(u64, String)>,
    done: u64,
    told: Instant,
}

impl Results {
    fn take(&mut self, seed: u64, run: Result<Report, String>, count: u64) {
        match run {
            Ok(report) => self.sum += report,
            Err(why) => self.failed.push((seed, why)),
        }
        self.done += 1;
        if self.told.elapsed() >= PROGRESS {
            eprintln!("{} of {count} seeds, {} failed", self.done, self.failed.len());
            self.told = Instant::now();
        }
    }
}

/// Runs seeds on all threads: the sum of what passed, and what failed, by seed.
fn run_all(args: &Args, first: u64, count: u64) -> (Report, Vec<(u64, String)>) {
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let results = Results { sum: Report::default(), failed: Vec::new(), done: 0, told: Instant::now() };
    let results = Mutex::new(results);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || stop.load(Ordering::Relaxed) {
                return;
            }
            let run = run(seed, args.events, args.trace);
            stop.fetch_or(run.is_err() && !args.keep_going, Ordering::Relaxed);
            results.lock().expect("runs that panic are caught").take(seed, run, count);
        }
    };
    std::thread::scope(|scope| (0..args.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    let Results { sum, mut failed, .. } = results.into_inner().expect("runs that panic are caught");
    failed.sort();
    (sum, failed)
}

fn run(seed: u64, events: u64, trace: bool) -> Result<Report, String> {
    match catch_unwind(AssertUnwindSafe(|| sim::run(seed, events, trace))) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(violation)) => Err(violation.0),
        Err(panic) => Err(format!("panic: {}", text_of(&*panic))),
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}
