//! Floor, ringmain and other brokers in interleaved rounds on one machine, and a report of it.
//!
//! ```text
//!   measure: what is measured   ┐
//!   broker, programs: by whom   ├▶ rounds: in which order ──▶ launch: a fresh broker ──▶ run: ringload against it
//!   args: what the user wants   ┘                                                            │
//!                                                                                            ▼
//!   report.md ◀── markdown ◀── budget, statistics ◀───────── document: report.json, written after each run
//!   *.svg     ◀── plot     ◀──────┘
//! ```
//!
//! Read next: `measure`, then `budget`.

pub mod args;
mod broker;
mod budget;
mod document;
pub mod launch;
pub mod machine;
pub mod markdown;
mod measure;
pub mod plot;
pub mod programs;
mod rounds;
mod run;
pub mod statistics;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::out;
use crate::scenario::Stop;
use args::Suite;
use broker::Broker;
use document::{Document, Figure, Outcome};
use launch::Running;
use programs::Programs;
use rounds::Job;

/// Runs the suite and writes the report; returns the exit status.
///
/// # Errors
/// A program that was named does not exist, a report cannot be continued, or the directory cannot be written. A run that
/// fails is part of the report.
pub fn run(args: &Suite, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    let programs = Programs::find(args)?;
    let jobs = rounds::schedule(args, |broker| programs.path(broker).is_some());
    if jobs.is_empty() {
        return Err("nothing to run: --only and --brokers leave no measure that an installed program can do".into());
    }
    for (name, remedy) in programs.missing(|broker| args.wants_broker(broker)) {
        eprintln!("{name} is not installed and left out; {remedy}");
    }
    if args.dry_run {
        return print_plan(args, &jobs);
    }
    let (directory, mut document) = open(args, &programs)?;
    let todo: Vec<_> = jobs.into_iter().filter(|job| !job.is_done(&document)).collect();
    let minutes = todo.iter().map(|job| job.estimate(args)).sum::<f64>() / 60.0;
    eprintln!("{} runs, about {minutes:.0} min; the report will be in {}", todo.len(), directory.display());
    let ended = Loop { args, programs: &programs, stop, directory: &directory, kept: None }.run(&todo, &mut document);
    document.verdicts = budget::verdicts(&document, &args.instructions);
    document.write(&directory)?;
    plot::write(&document, &directory)?;
    fs::write(directory.join("report.md"), markdown::report(&document))?;
    ended?;
    eprintln!("{}", directory.join("report.md").display());
    Ok(if stop.load(Ordering::Relaxed) { 130 } else { 0 })
}

/// The directory of the report, and what is in it already.
fn open(args: &Suite, programs: &Programs) -> Result<(PathBuf, Document), Box<dyn Error>> {
    let described = programs.describe(|broker| args.wants_broker(broker));
    if let Some(directory) = &args.resume {
        let document = Document::read(directory)?;
        for program in &described {
            let before = document.programs.iter().find(|before| before.name == program.name);
            if let Some(before) = before.filter(|before| before.version != program.version) {
                let (name, old, new) = (&program.name, &before.version, &program.version);
                return Err(format!("--resume: {name} was {old:?} and is {new:?}; start a new report").into());
            }
        }
        return Ok((directory.clone(), document));
    }
    let begun = machine::now();
    let directory = args.output.clone().unwrap_or_else(|| Path::new("target/bench").join(begun.replace(':', "")));
    fs::create_dir_all(&directory).map_err(|error| format!("--output {}: {error}", directory.display()))?;
    if directory.join("report.json").exists() {
        return Err(
            format!("--output {0}: there is a report; --resume {0} goes on with it", directory.display()).into()
        );
    }
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let mut document = Document::new(begun, format!("ringload {command}"), machine::facts(), described);
    document.missing = programs.missing(|broker| args.wants_broker(broker));
    Ok((directory, document))
}

fn print_plan(args: &Suite, jobs: &[Job]) -> Result<u8, Box<dyn Error>> {
    let (mut seconds, mut plan) = (0.0, String::new());
    for job in jobs {
        plan += &format!("{:<20} round {}  {}\n", job.measure.name, job.round + 1, job.broker.title());
        seconds += job.estimate(args);
    }
    out::say(format_args!("{plan}{} runs, about {:.0} min\n", jobs.len(), seconds / 60.0))?;
    Ok(0)
}

/// The loop over the runs.
struct Loop<'a> {
    args: &'a Suite,
    programs: &'a Programs,
    stop: &'a Stop,
    directory: &'a Path,
    /// A broker that starts slowly, frozen until its next turn in this group.
    kept: Option<(usize, Broker, Running)>,
}

impl Loop<'_> {
    /// Makes the runs, until all are made or the user interrupts.
    fn run(mut self, jobs: &[Job], document: &mut Document) -> Result<(), Box<dyn Error>> {
        let begun = Instant::now();
        for (index, job) in jobs.iter().enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            if job.is_done(document) {
                continue;
            }
            let run_begun = Instant::now();
            let mut run = match self.once(job) {
                Ok(Some(run)) => run,
                Ok(None) => break,
                Err(_) if self.stop.load(Ordering::Relaxed) => break,
                Err(error) => run::failed(job, error.to_string()),
            };
            run.seconds = run_begun.elapsed().as_secs_f64();
            let minutes = begun.elapsed().as_secs() / 60;
            let seconds = begun.elapsed().as_secs() % 60;
            let (count, all, name) = (index + 1, jobs.len(), job.measure.name);
            eprintln!(
                "[{count:>3}/{all} {minutes:>2}:{seconds:02}] {name:<20} round {}  {:<20} {}",
                job.round + 1,
                job.broker.title(),
                told(&run)
            );
            document.runs.push(run);
            document.write(self.directory)?;
        }
        Ok(())
    }

    /// One run on a fresh broker, or on the one that was kept.
    fn once(&mut self, job: &Job) -> Result<Option<document::Run>, Box<dyn Error>> {
        let mut broker = self.broker(job)?;
        let run = run::load(job, &broker, self.args, self.stop)?;
        // One that a run broke has earned a new start.
        let is_well = run.as_ref().is_some_and(|run| run.outcome == Outcome::Valid);
        if job.broker.starts_slowly() && is_well {
            broker.freeze(true)?;
            self.kept = Some((job.group, job.broker, broker));
        }
        Ok(run)
    }

    fn broker(&mut self, job: &Job) -> Result<Running, Box<dyn Error>> {
        if self.kept.as_ref().is_some_and(|(group, _, _)| *group != job.group) {
            self.kept = None;
        }
        match self.kept.take_if(|(_, broker, _)| *broker == job.broker) {
            Some((_, _, mut running)) => {
                running.freeze(false)?;
                Ok(running)
            }
            None => Running::start(job.broker, job.measure, self.programs, self.args),
        }
    }
}

/// A run in a few words.
fn told(run: &document::Run) -> String {
    let shown = [
        (Figure::Cpu, "ns a delivery"),
        (Figure::P99, "µs p99"),
        (Figure::StormRate, "connections/s"),
        (Figure::StormRatio, "x p99"),
    ];
    let figure = |(figure, unit): &(Figure, &str)| Some(format!("{} {unit}", markdown::number(figure.of(run)?)));
    match run.outcome {
        Outcome::Valid => {
            let memory = Figure::Memory.of(run).filter(|_| run.measure == "idle");
            let memory = memory.map(|bytes| format!("{} B a connection", markdown::number(bytes)));
            memory.unwrap_or_else(|| shown.iter().filter_map(figure).collect::<Vec<_>>().join(", "))
        }
        Outcome::Invalid => format!("INVALID: {}", run.why),
        Outcome::Failed => format!("failed: {}", run.why),
    }
}
