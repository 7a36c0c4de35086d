//! What runs after what: rounds in which every broker has its turn, in another order each time.

use super::args::Suite;
use super::broker::Broker;
use super::document::{Document, Outcome};
use super::measure::{GROUPS, Measure};
use super::run::WARMUP;

/// One run that is to be made.
#[derive(Clone, Copy)]
pub struct Job {
    /// Index of its group.
    pub group: usize,
    pub measure: &'static Measure,
    pub broker: Broker,
    pub round: u32,
}

/// After so many failures in a row a broker's other rounds of a measure are not run: they would take long and tell
/// nothing new.
const FAILURES_MAX: usize = 2;

/// All runs that are wanted, of brokers that are there, in order.
pub fn schedule(args: &Suite, is_there: impl Fn(Broker) -> bool) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (index, group) in GROUPS.iter().enumerate() {
        for round in 0..args.rounds(group.rounds) {
            for measure in group.measures.iter().filter(|measure| args.wants(measure.name)) {
                let able = |broker: &Broker| {
                    args.wants_broker(*broker) && is_there(*broker) && broker.lacks(measure).is_none()
                };
                let mut brokers: Vec<_> = measure.brokers.iter().copied().filter(able).collect();
                let turn = round as usize % brokers.len().max(1);
                brokers.rotate_left(turn);
                jobs.extend(brokers.into_iter().map(|broker| Job { group: index, measure, broker, round }));
            }
        }
    }
    jobs
}

impl Job {
    /// Whether the report has this run, or has seen the broker fail at it often enough.
    pub fn is_done(&self, document: &Document) -> bool {
        let mut failures = 0;
        for run in document.runs(self.measure.name, self.broker) {
            if run.round == self.round {
                return true;
            }
            failures = if run.outcome == Outcome::Failed { failures + 1 } else { 0 };
        }
        failures >= FAILURES_MAX
    }

    /// Roughly the seconds that it takes.
    pub fn estimate(&self, args: &Suite) -> f64 {
        self.measure.estimate(self.broker, args.seconds(self.measure.seconds), WARMUP)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::suite::document::tests::{document, run};
    use crate::suite::document::{Outcome, Run};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        suite: Suite,
    }

    fn args(line: &str) -> Suite {
        Line::parse_from(std::iter::once("suite").chain(line.split_whitespace())).suite
    }

    /// Every broker runs once in each round, and each is first in turn.
    #[test]
    fn rounds_rotate() {
        let jobs = schedule(&args("--only fanout-1 --rounds 3 --brokers floor,ringmain,mosquitto"), |_| true);
        let order: Vec<_> = jobs.iter().map(|job| (job.round, job.broker)).collect();
        let (f, r, m) = (Broker::Floor, Broker::Ringmain, Broker::Mosquitto);
        assert_eq!(order, [(0, f), (0, r), (0, m), (1, r), (1, m), (1, f), (2, m), (2, f), (2, r)]);
    }

    /// What is not installed, and what a broker cannot do, is not run.
    #[test]
    fn only_what_can_run() {
        let jobs = schedule(&args("--rounds 1"), |broker| broker != Broker::Mosquitto);
        assert!(jobs.iter().all(|job| job.broker != Broker::Mosquitto && job.broker.lacks(job.measure).is_none()));
        let jobs = schedule(&args("--only version-5 --rounds 1"), |_| true);
        assert!(!jobs.is_empty() && jobs.iter().all(|job| job.broker != Broker::NatsServer));
    }

    /// A resumed suite runs what is not in the report, and no more of what failed twice.
    #[test]
    fn resume_skips_what_is_there() {
        let jobs = schedule(&args("--only fanout-1 --rounds 4 --brokers ringmain"), |_| true);
        let failed = |round| Run { outcome: Outcome::Failed, ..run("fanout-1", Broker::Ringmain, round, 1.0) };
        let left = |runs| {
            let document = document(runs);
            jobs.iter().filter(|job| !job.is_done(&document)).map(|job| job.round).collect::<Vec<_>>()
        };
        assert_eq!(left(vec![]), [0, 1, 2, 3]);
        assert_eq!(left(vec![run("fanout-1", Broker::Ringmain, 1, 1.0)]), [0, 2, 3]);
        assert_eq!(left(vec![run("fanout-1", Broker::Mosquitto, 1, 1.0)]), [0, 1, 2, 3]);
        assert_eq!(left(vec![failed(0)]), [1, 2, 3]);
        assert_eq!(left(vec![failed(0), failed(1)]), [] as [u32; 0]);
    }

    /// The full suite stays within its time.
    #[test]
    fn full_suite_fits() {
        let args = args("");
        let seconds: f64 = schedule(&args, |_| true).iter().map(|job| job.estimate(&args)).sum();
        assert!(seconds < 45.0 * 60.0, "{seconds} s");
    }
}
