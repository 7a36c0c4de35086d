//! What differs between two kept runs: facts by name, and figures with intervals.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use serde_json::Value;

use super::figure::{Better, FIGURES};
use super::{Bundle, Program};
use crate::histogram::median;
use crate::intervals::{self, Interval};
use crate::suite::markdown::number;

/// Facts, by the beginning of their names, without which figures of two machines cannot be compared.
const DECISIVE: &[&str] = &[
    "machine",
    "kernel.release",
    "kernel.version",
    "kernel.mitigations",
    "processor.model",
    "processor.online",
    "processor.allowed",
    "processor.quota_millicores",
    "processor.smt",
    "memory.total_kib",
    "memory.limit",
];

/// The whole difference.
#[derive(Serialize)]
pub struct Difference {
    before: String,
    after: String,
    /// What is not the same, but the machine's facts.
    runs: Vec<Differing>,
    facts: Vec<Differing>,
    /// Why there is no verdict, if there is none.
    incomparable: Vec<String>,
    figures: Vec<Compared>,
    /// In percent.
    confidence: f64,
}

/// Something that differs.
#[derive(Debug, PartialEq, Serialize)]
struct Differing {
    name: String,
    before: String,
    after: String,
}

/// A figure of both.
#[derive(Serialize)]
struct Compared {
    name: &'static str,
    before: f64,
    after: f64,
    /// Of `after` by `before`; none where there are too few rounds.
    ratio: Option<Interval>,
    verdict: Option<&'static str>,
}

/// Of two bundles, with a confidence of 0 to 1.
pub fn of(before: &Bundle, after: &Bundle, confidence: f64) -> Difference {
    let mut facts = differing(&leaves(before), &leaves(after));
    facts.retain(|fact| !is_about_the_same(fact));
    let mut incomparable: Vec<_> =
        facts.iter().filter(|fact| begins(&fact.name, DECISIVE)).map(|fact| format!("{} differs", fact.name)).collect();
    if before.told() != after.told() {
        incomparable.push("the load differs".to_owned());
    }
    for (which, bundle) in [("the first", before), ("the second", after)] {
        let invalid = bundle.rounds.iter().filter(|round| round.report["valid"] != true).count();
        if invalid > 0 {
            incomparable.push(format!("{invalid} rounds of {which} are invalid"));
        }
    }
    let comparable = incomparable.is_empty();
    let figures = FIGURES.iter().filter_map(|figure| {
        let (old, new) = (before.samples(figure), after.samples(figure));
        let logarithms = |samples: &[f64]| samples.iter().map(|sample| sample.ln()).collect::<Vec<_>>();
        let ratio = intervals::apart(&logarithms(&old), &logarithms(&new), confidence).map(Interval::exp);
        Some(Compared {
            name: figure.name,
            before: median(old)?,
            after: median(new)?,
            ratio,
            verdict: ratio.filter(|_| comparable).map(|ratio| verdict(&ratio, figure.better)),
        })
    });
    let figures = figures.collect();
    Difference {
        before: before.begun.clone(),
        after: after.begun.clone(),
        runs: differing(&run(before), &run(after)),
        facts,
        incomparable,
        figures,
        confidence: confidence * 100.0,
    }
}

/// What the interval of a ratio says.
pub fn verdict(ratio: &Interval, better: Better) -> &'static str {
    match better {
        _ if ratio.low <= 1.0 && ratio.high >= 1.0 => "no difference seen",
        Better::Lower if ratio.high < 1.0 => "better",
        Better::Higher if ratio.low > 1.0 => "better",
        _ => "worse",
    }
}

/// The leaves of the machine's facts, by their paths.
pub fn leaves(bundle: &Bundle) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    flatten(&bundle.facts, String::new(), &mut leaves);
    leaves
}

/// What is known of the run itself.
fn run(bundle: &Bundle) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("command".to_owned(), bundle.told())]);
    for Program { name, version, sha256 } in &bundle.programs {
        all.insert(format!("{name} version"), version.clone());
        all.insert(format!("{name} sha256"), sha256.clone());
    }
    if let Some(node) = &bundle.node {
        all.insert("configuration".to_owned(), node.text.clone());
        all.extend(node.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    all
}

fn flatten(value: &Value, path: String, into: &mut BTreeMap<String, String>) {
    let deeper = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("unknown") => {
            into.insert(path, format!("unknown: {}", fields["unknown"].as_str().unwrap_or_default()));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(value, deeper(name), into)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            let named = |at: usize, item: &Value| match (&item["name"], &item["number"]) {
                (Value::String(name), _) => name.clone(),
                (_, Value::Number(number)) => number.to_string(),
                _ => at.to_string(),
            };
            items.iter().enumerate().for_each(|(at, item)| flatten(item, deeper(&named(at, item)), into));
        }
        Value::String(text) => drop(into.insert(path, text.clone())),
        Value::Null => {}
        other => drop(into.insert(path, other.to_string())),
    }
}

fn differing(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Differing> {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let absent = || "absent".to_owned();
    let pairs = names.map(|name| Differing {
        name: name.clone(),
        before: before.get(name).cloned().unwrap_or_else(absent),
        after: after.get(name).cloned().unwrap_or_else(absent),
    });
    let mut all: Vec<_> = pairs.filter(|pair| pair.before != pair.after).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// Virtual machines are given memory and lose it while they run: an eighth of it is no other machine.
fn is_about_the_same(fact: &Differing) -> bool {
    let of = |text: &str| text.parse::<f64>().ok().filter(|_| fact.name.ends_with(".total_kib"));
    of(&fact.before).zip(of(&fact.after)).is_some_and(|(before, after)| (after / before - 1.0).abs() < 0.125)
}

fn begins(name: &str, with: &[&str]) -> bool {
    with.iter().any(|start| name.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// A value in a table: of a text of several lines only how many.
fn shown(text: &str) -> String {
    match text.lines().count() {
        0 => "empty".to_owned(),
        1 if text.chars().count() <= 60 => text.trim_end().to_owned(),
        1 => text.chars().take(57).chain("...".chars()).collect(),
        lines => format!("{lines} lines"),
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "first   {}\nsecond  {}", self.before, self.after)?;
        for (title, all) in [("the runs", &self.runs), ("the machines", &self.facts)] {
            if all.is_empty() {
                writeln!(f, "{title} are the same")?;
                continue;
            }
            writeln!(f, "{title} differ:")?;
            for Differing { name, before, after } in all {
                if name == "configuration" {
                    writeln!(f, "  {name}:")?;
                    lines(f, before, after)?;
                } else {
                    writeln!(f, "  {name}: {} → {}", shown(before), shown(after))?;
                }
            }
        }
        let (width, confidence) = (31, format!("{:.1} %", self.confidence));
        writeln!(f, "{:width$} {:>10} {:>10} {:>14}  {confidence:>13}", "", "first", "second", "second÷first")?;
        for Compared { name, before, after, ratio, verdict } in &self.figures {
            write!(f, "{name:width$} {:>10} {:>10}", number(*before), number(*after))?;
            match ratio {
                Some(Interval { low, estimate, high }) => {
                    writeln!(f, " {estimate:>14.3}  {low:.3} to {high:.3}  {}", verdict.unwrap_or(""))?;
                }
                None => writeln!(f, " {:>14}  too few rounds for an interval", "")?,
            }
        }
        if !self.incomparable.is_empty() {
            writeln!(f, "no verdict: {}", self.incomparable.join(", "))?;
        }
        Ok(())
    }
}

/// The lines that only one of two texts has.
fn lines(f: &mut Formatter<'_>, before: &str, after: &str) -> fmt::Result {
    for (sign, of, other) in [('-', before, after), ('+', after, before)] {
        for line in of.lines().filter(|line| !line.trim().is_empty() && !other.lines().any(|other| other == *line)) {
            writeln!(f, "    {sign} {line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::archive::tests::bundle;

    /// Of two bundles that differ in one sysctl exactly that is named, and figures get their verdicts all the same.
    #[test]
    fn one_sysctl() {
        let (before, mut after) = (bundle(6, 10.0), bundle(6, 20.0));
        after.facts["sysctls"]["net.core.somaxconn"] = "128".into();
        let difference = of(&before, &after, 0.95);
        let name = "sysctls.net.core.somaxconn".to_owned();
        assert_eq!(difference.facts, [Differing { name, before: "4096".to_owned(), after: "128".to_owned() }]);
        assert!(difference.runs.is_empty() && difference.incomparable.is_empty());
        let verdicts: Vec<_> = difference.figures.iter().map(|figure| (figure.name, figure.verdict)).collect();
        let expected = [
            ("latency p50, µs", Some("worse")),
            ("latency p99, µs", Some("worse")),
            ("deliveries a second", Some("no difference seen")),
        ];
        assert_eq!(verdicts, expected);
        assert!(difference.to_string().contains("sysctls.net.core.somaxconn: 4096 → 128"), "{difference}");
    }

    /// Another kernel, another load and invalid rounds leave no verdict, and few rounds no interval.
    #[test]
    fn no_verdict() {
        let before = bundle(6, 10.0);
        let mut after = bundle(6, 20.0);
        after.facts["kernel"]["release"] = "6.18".into();
        let difference = of(&before, &after, 0.95);
        assert_eq!(difference.incomparable, ["kernel.release differs"]);
        assert!(difference.figures.iter().all(|figure| figure.verdict.is_none() && figure.ratio.is_some()));
        let mut after = bundle(6, 20.0);
        after.command = vec!["fanout".to_owned()];
        after.rounds[0].report["valid"] = false.into();
        let difference = of(&before, &after, 0.95);
        assert_eq!(difference.incomparable, ["the load differs", "1 rounds of the second are invalid"]);
        assert!(of(&before, &bundle(1, 2.0), 0.95).figures.iter().all(|figure| figure.ratio.is_none()));
    }

    /// A virtual machine that was given a little memory is the same; one with twice as much is another.
    #[test]
    fn a_little_more_memory() {
        let memory = |kib: u64| {
            let mut bundle = bundle(6, 10.0);
            bundle.facts["memory"] = serde_json::json!({"total_kib": kib});
            bundle
        };
        let of = |after: u64| of(&memory(1_000_000), &memory(after), 0.95).incomparable;
        assert!(of(1_050_000).is_empty());
        assert_eq!(of(2_000_000), ["memory.total_kib differs"]);
    }

    /// Higher is better of some figures, and lower of others.
    #[test]
    fn directions() {
        let ratio = |low, high| Interval { low, estimate: f64::midpoint(low, high), high };
        assert_eq!(verdict(&ratio(0.8, 0.9), Better::Lower), "better");
        assert_eq!(verdict(&ratio(0.8, 0.9), Better::Higher), "worse");
        assert_eq!(verdict(&ratio(1.1, 1.2), Better::Higher), "better");
        assert_eq!(verdict(&ratio(0.9, 1.2), Better::Lower), "no difference seen");
    }

    /// Lines of a configuration are told, and not its whole.
    #[test]
    fn configurations() {
        let (before, mut after) = (bundle(1, 10.0), bundle(1, 10.0));
        after.node.as_mut().unwrap().text = "[limits]\nmax_inflight = 9\n".to_owned();
        let text = of(&before, &after, 0.95).to_string();
        assert!(text.contains("    + max_inflight = 9") && !text.contains("[limits]"), "{text}");
    }
}
