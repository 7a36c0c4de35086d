//! `ringload`: loads an MQTT broker from one thread, and counts exactly what became of each message.
//!
//! ```text
//!   scenario ──▶ plan: who publishes what to whom
//!                  │
//!                  ▼
//!   traffic: window or schedule, account of arrivals ◀──▶ swarm: connections around one epoll ◀──▶ broker
//!                  │                                                                                 │
//!                  └──▶ report: percentiles, faults ◀──── CPU time and memory from /proc ◀───────────┘
//! ```
//!
//! Every payload carries its publisher's stream, running number, intended send time and a checksum (`payload`), and
//! every receiver keeps account by stream (`tally`), so a run in which a message was lost, repeated, reordered,
//! corrupted or misrouted says INVALID and ends with status 3.
//!
//! Read next: `scenario`, then `traffic`.

mod args;
mod broker;
mod bundle;
mod client;
mod histogram;
mod intervals;
mod journal;
mod layers;
mod node;
mod out;
mod packet;
mod payload;
mod plan;
mod prove;
mod report;
mod scenario;
mod schedule;
mod socket;
mod suite;
mod swarm;
mod tally;
mod traffic;
mod whole;
mod windows;
mod zipf;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{Cli, Command};
use crate::report::Report;
use crate::scenario::Stop;

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    match run(&mut cli.command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("ringload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &mut Command) -> Result<u8, Box<dyn Error>> {
    let stop = Stop::default();
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the process at once.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    match command {
        Command::Journal(args) => journal::run(args, &stop),
        Command::Suite(args) => suite::run(args, &stop),
        Command::Prove(args) => prove::run(args, &stop),
        Command::Diff(args) => bundle::diff(args),
        Command::Rerun(args) => bundle::rerun(args, &stop),
        Command::Report(args) => bundle::report(args),
        runs => match bundle::record::run(runs, &stop) {
            Err(_) if stop.load(Ordering::Relaxed) => {
                eprintln!("ringload: interrupted before all clients were connected");
                Ok(130)
            }
            other => other,
        },
    }
}

/// Prints a report as the command wants it; returns the exit status.
fn tell(report: &Report, json: bool) -> Result<u8, Box<dyn Error>> {
    if json {
        out::say_line(serde_json::to_string(report)?)?;
    } else {
        out::say(report)?;
    }
    Ok(status(report))
}

fn status(report: &Report) -> u8 {
    match (report.interrupted, report.valid) {
        (true, _) => 130,
        (false, true) => 0,
        (false, false) => 3,
    }
}

fn pin(core: usize) -> Result<(), String> {
    if core >= CpuSet::MAX_CPU {
        return Err(format!("--core {core}: there is no such core"));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
        .map_err(|error| format!("--core {core}: {error}; `taskset -p $$` shows the cores allowed here"))
}
