//! What QoS 0 costs with the journal and without, in pairs.

use std::error::Error;
use std::process::Command;

use serde_json::Value;

use super::Figure;
use super::args::Journal;
use super::node::{Home, Node};
use crate::scenario::Stop;

/// Measures it with one message in flight, and with 64.
pub fn measure(args: &Journal, stop: &Stop) -> Result<Vec<Figure>, Box<dyn Error>> {
    let mut figures = Vec::new();
    for inflight in [1, 64] {
        let (mut ratios, mut spread) = (Vec::new(), Vec::new());
        for _ in 0..3 * args.rounds {
            // Twice without: what two runs of the same differ by.
            let [with, without, again] = [true, false, false].map(|journal| {
                let home = Home::new(args, journal)?;
                let node = home.start()?;
                cpu(args, &node, inflight)
            });
            let (with, without, again) = (with?, without?, again?);
            ratios.push(with / without);
            spread.push(again / without);
            if stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Err("interrupted".into());
            }
        }
        let name = format!("CPU of a delivery at QoS 0, 1 to 1000, {inflight} in flight: journal ÷ none");
        figures.push(Figure::new(name, "", ratios));
        figures.push(Figure::new("two runs without one, for comparison", "", spread));
    }
    Ok(figures)
}

/// Nanoseconds of CPU time of one delivery.
fn cpu(args: &Journal, node: &Node, inflight: u32) -> Result<f64, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["fanout", "--json", "--seconds", "1", "--inflight", &inflight.to_string()])
        .args(["--port", &node.address().port().to_string(), "--broker-pid", &node.process().0.to_string()])
        .args(["--core", &args.load_core.to_string()])
        .output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    if report["valid"] != true {
        return Err(format!("a run is invalid: {}", report["problems"]).into());
    }
    report["traffic"]["broker"]["cpu_ns_per_delivery"].as_f64().ok_or_else(|| "the report has no CPU time".into())
}
