//! What pairs of runs say.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use serde_json::Value;

use crate::bundle::{FIGURES, Figure, verdict};
use crate::histogram::median;
use crate::intervals::{self, Interval};
use crate::suite::markdown::number;

/// The whole.
#[derive(Debug, Serialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Figures at which B is better.
    better: Vec<&'static str>,
    /// Figures at which it is worse.
    worse: Vec<&'static str>,
    figures: Vec<Row>,
    pairs: usize,
    /// Of all of it, in percent.
    confidence: f64,
    names: [String; 2],
    load: String,
}

/// Whether B is worth having.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is better at something and worse at nothing.
    Gain,
    /// Nothing is better, or something is worse.
    NoGain,
}

/// One figure.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    a: f64,
    b: f64,
    /// Of B by A.
    ratio: Interval,
    verdict: &'static str,
}

impl Verdict {
    /// Of the reports of A and of B, pair by pair.
    pub fn of(reports: &[Vec<Value>; 2], confidence: f64, names: [String; 2], load: String) -> Verdict {
        let compared: Vec<_> = FIGURES.iter().filter_map(|figure| Some((figure, samples(figure, reports)?))).collect();
        let share = Verdict::share(confidence, compared.len());
        let row = |(figure, [a, b]): &(&'static Figure, [Vec<f64>; 2])| {
            let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| (b / a).ln()).collect();
            let ratio = intervals::paired(&ratios, share)?.exp();
            let verdict = verdict(&ratio, figure.better);
            Some(Row { name: figure.name, a: median(a.clone())?, b: median(b.clone())?, ratio, verdict })
        };
        let figures: Vec<Row> = compared.iter().filter_map(row).collect();
        let named =
            |what: &str| figures.iter().filter(|row| row.verdict == what).map(|row| row.name).collect::<Vec<_>>();
        let (better, worse) = (named("better"), named("worse"));
        let outcome = if !better.is_empty() && worse.is_empty() { Outcome::Gain } else { Outcome::NoGain };
        let pairs = reports[0].len();
        Verdict { outcome, better, worse, figures, pairs, confidence: confidence * 100.0, names, load }
    }

    /// The confidence that each of so many figures is held to.
    pub fn share(confidence: f64, figures: usize) -> f64 {
        1.0 - (1.0 - confidence) / figures.max(1) as f64
    }
}

/// The figure of each run; none where a run lacks it.
fn samples(figure: &Figure, reports: &[Vec<Value>; 2]) -> Option<[Vec<f64>; 2]> {
    let of = |reports: &[Value]| reports.iter().map(|report| figure.of(report)).collect::<Option<Vec<_>>>();
    Some([of(&reports[0])?, of(&reports[1])?])
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Verdict { names: [a, b], load, pairs, confidence, .. } = self;
        writeln!(f, "A  {a}\nB  {b}\n   {load}, {pairs} pairs, confidence {confidence} %")?;
        let width = 31;
        writeln!(f, "{:width$} {:>10} {:>10} {:>8}", "", "A", "B", "B ÷ A")?;
        for Row { name, a, b, ratio: Interval { low, estimate, high }, verdict } in &self.figures {
            let (a, b) = (number(*a), number(*b));
            writeln!(f, "{name:width$} {a:>10} {b:>10} {estimate:>8.3}  {low:.3} to {high:.3}  {verdict}")?;
        }
        match (self.better.join("; "), self.worse.join("; ")) {
            (better, worse) if better.is_empty() && worse.is_empty() => writeln!(f, "no gain seen"),
            (better, worse) if better.is_empty() => writeln!(f, "no gain seen; B is worse: {worse}"),
            (better, worse) if worse.is_empty() => writeln!(f, "B is better: {better}"),
            (better, worse) => writeln!(f, "B is better: {better}; and worse: {worse}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reports(p50: impl Fn(u32) -> f64, cpu: f64) -> Vec<Value> {
        let report = |pair: u32| {
            let drift = 1.0 + f64::from(pair);
            let cost = json!({"cpu_ns_per_delivery": cpu * drift * (1.0 + f64::from(pair % 3) / 100.0)});
            json!({"traffic": {"latency_us": {"p50": p50(pair) * drift}, "broker": cost}})
        };
        (0..15).map(report).collect()
    }

    fn of(a: Vec<Value>, b: Vec<Value>) -> Verdict {
        Verdict::of(&[a, b], 0.99, ["a".to_owned(), "b".to_owned()], "ringload ping-pong".to_owned())
    }

    /// A gain is seen however the machine drifts; what it costs is named, and then it is none.
    #[test]
    fn gain_and_its_price() {
        let (slow, fast) = (reports(|_| 30.0, 5.0), reports(|_| 20.0, 5.0));
        let verdict = of(slow.clone(), fast);
        assert_eq!((verdict.outcome, verdict.better.as_slice()), (Outcome::Gain, &["latency p50, µs"][..]));
        let verdict = of(slow.clone(), reports(|_| 20.0, 9.0));
        assert_eq!((verdict.outcome, verdict.worse.as_slice()), (Outcome::NoGain, &["CPU of a delivery, ns"][..]));
        let told = verdict.to_string();
        assert!(told.ends_with("B is better: latency p50, µs; and worse: CPU of a delivery, ns\n"), "{told}");
        let told = of(slow.clone(), slow).to_string();
        assert!(told.ends_with("no gain seen\n"), "{told}");
    }

    /// What differs to either side is no difference.
    #[test]
    fn noise_is_no_gain() {
        let verdict = of(reports(|_| 30.0, 5.0), reports(|pair| if pair % 2 == 0 { 20.0 } else { 45.0 }, 5.0));
        assert_eq!((verdict.outcome, verdict.better.len() + verdict.worse.len()), (Outcome::NoGain, 0));
    }
}
