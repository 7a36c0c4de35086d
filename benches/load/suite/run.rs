//! One run: the load against a broker, and what became of it.

use std::error::Error;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::args::Suite;
use super::document::{Outcome, Run};
use super::launch::{self, Running};
use super::rounds::Job;
use crate::scenario::Stop;

/// A load that takes longer is ended: the broker makes no use of its time.
const LOAD_MAX: Duration = Duration::from_secs(150);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Seconds before the measured ones: the first messages find cold caches and buffers that grow.
pub const WARMUP: f64 = 0.3;

/// Runs the load of a job; none where the user has interrupted it.
///
/// # Errors
/// The load could not be started.
pub fn load(job: &Job, broker: &Running, args: &Suite, stop: &Stop) -> Result<Option<Run>, Box<dyn Error>> {
    let version_5 = job.measure.argument("-V") == Some("5");
    let mut child = Command::new(std::env::current_exe()?)
        .args(job.measure.load)
        .args(["--json", "--port", &broker.port(version_5).to_string(), "--broker-pid", &broker.pid().to_string()])
        .args(["--core", &args.load_core.to_string(), "--warmup", &WARMUP.to_string()])
        .args(["--seconds", &args.seconds(job.measure.seconds).to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (report, said) = (gather(child.stdout.take()), gather(child.stderr.take()));
    let begun = Instant::now();
    let mut late = false;
    while child.try_wait()?.is_none() {
        if stop.load(Ordering::Relaxed) || begun.elapsed() > LOAD_MAX {
            late = true;
            launch::end(&mut child, Signal::KILL);
        }
        thread::sleep(LOOK_AGAIN);
    }
    let (report, said) = (report.join().unwrap_or_default(), said.join().unwrap_or_default());
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let said = if late { format!("no end within {} s", LOAD_MAX.as_secs()) } else { said };
    Ok(Some(judge(job, &report, &said)))
}

/// A run that could not begin.
pub fn failed(job: &Job, why: String) -> Run {
    Run {
        measure: job.measure.name.to_owned(),
        broker: job.broker,
        round: job.round,
        outcome: Outcome::Failed,
        why,
        seconds: 0.0,
        load: Value::Null,
    }
}

fn gather(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || from.and_then(|mut from| io::read_to_string(&mut from).ok()).unwrap_or_default())
}

/// What the load's report, and what it said besides, make of the run.
fn judge(job: &Job, report: &str, said: &str) -> Run {
    let Ok(load) = serde_json::from_str::<Value>(report) else {
        let why = said.trim().trim_start_matches("ringload: ");
        return failed(job, if why.is_empty() { "the load ended without a report".to_owned() } else { why.to_owned() });
    };
    let faults = faults(&load["faults"]);
    let problems: Vec<_> = load["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let outcome = match (load["valid"] == true, faults.is_empty()) {
        (true, _) => Outcome::Valid,
        (false, false) => Outcome::Invalid,
        (false, true) => Outcome::Failed,
    };
    let why = [faults.join(", "), problems.join("; ")].into_iter().filter(|text| !text.is_empty());
    Run { outcome, why: why.collect::<Vec<_>>().join("; "), load, ..failed(job, String::new()) }
}

/// The counts that are not zero.
fn faults(counts: &Value) -> Vec<String> {
    let counted = counts.as_object().into_iter().flatten();
    let counted = counted.filter_map(|(name, count)| Some((name, count.as_u64().filter(|count| *count > 0)?)));
    counted.map(|(name, count)| format!("{name} {count}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::broker::Broker;
    use crate::suite::measure;

    /// A run is valid only if its report says so; otherwise the counts, or what was said, tell why.
    #[test]
    fn judged_by_the_report() {
        let job = Job { group: 0, measure: measure::find("fanout-1").unwrap(), broker: Broker::Rumqttd, round: 2 };
        let faults = r#""faults": {"lost": 3, "repeated": 0, "closed": 1}"#;
        let cases = [
            (format!("{{\"valid\": true, {faults}}}"), Outcome::Valid, ""),
            (
                format!("{{\"valid\": false, \"problems\": [\"no progress\"], {faults}}}"),
                Outcome::Invalid,
                "no progress",
            ),
            ("{\"valid\": false, \"problems\": [\"no progress\"]}".to_owned(), Outcome::Failed, "no progress"),
            (String::new(), Outcome::Failed, "connection refused"),
        ];
        for (report, outcome, why) in cases {
            let run = judge(&job, &report, "ringload: connection refused\n");
            assert_eq!(run.outcome, outcome, "{report}");
            assert!(run.why.contains(why) && !run.why.starts_with("ringload"), "{}", run.why);
            assert_eq!(run.why.contains("closed 1, lost 3"), report.contains("lost"), "{}", run.why);
            assert_eq!((run.measure.as_str(), run.broker, run.round), ("fanout-1", Broker::Rumqttd, 2));
        }
    }
}
