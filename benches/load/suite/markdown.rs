//! `report.md`: budgets, figures, and all that is needed to judge and repeat them.

use std::fmt::Write;

use super::broker::{BROKERS, Broker};
use super::budget::Verdict;
use super::document::{Document, Figure, Outcome, Run};
use super::measure::{GROUPS, Group, Measure};
use super::plot::PLOTS;
use super::statistics::{Spread, values};

/// The whole report.
pub fn report(document: &Document) -> String {
    let mut text = String::new();
    let runs = document.runs.len();
    let usable = document.runs.iter().filter(|run| run.outcome == Outcome::Valid).count();
    let _ = writeln!(
        text,
        "# Ringmain beside the floor and its peers\n\nBegun {}; {runs} runs, {usable} of them valid. Each cell is the \
         median of its rounds with the range in brackets. All brokers run on one core and the load on another; CPU is \
         that of the broker's process with the kernel's share, so on loopback it holds the receiver's half of TCP too. \
         Trust ratios: absolute times drift on a shared machine. A run in which any message was lost, repeated, \
         reordered, corrupted or misrouted, or a connection was closed, is invalid and in no figure, whoever did it.\n",
        document.begun
    );
    budgets(&mut text, &document.verdicts);
    for (file, title) in PLOTS.iter().filter(|plot| plot.has_points(document)).map(|plot| (plot.file, plot.title)) {
        let _ = writeln!(text, "![{title}]({file})\n");
    }
    for shown in GROUPS {
        group(&mut text, document, shown);
    }
    unusable(&mut text, document);
    circumstances(&mut text, document);
    text
}

/// A number with three significant digits, and thousands apart.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        0.0 => 0,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// Median and range.
fn spread(spread: &Spread) -> String {
    let Spread { median, min, max, count } = spread;
    if *count == 1 {
        return number(*median);
    }
    format!("{} ({}–{})", number(*median), number(*min), number(*max))
}

fn budgets(text: &mut String, verdicts: &[Verdict]) {
    text.push_str("## Budgets\n\n| budget | of | at most | measured | rounds | |\n|---|---|---:|---:|---:|---|\n");
    for Verdict { what, measure, against, limit, measured, met, .. } in verdicts {
        let against = if against == "nothing" { String::new() } else { format!(" ÷ {against}") };
        let cell = measured.as_ref().map_or("not measured".to_owned(), spread);
        let rounds = measured.map_or(0, |measured| measured.count);
        let met = met.map_or("", |met| if met { "met" } else { "**missed**" });
        let _ = writeln!(text, "| {what}{against} | `{measure}` | {limit} | {cell} | {rounds} | {met} |");
    }
    text.push('\n');
    for Verdict { what, note, .. } in verdicts.iter().filter(|verdict| !verdict.note.is_empty()) {
        let _ = writeln!(text, "- {what}: {}.", escaped(note));
    }
    text.push('\n');
}

/// What the tables of a group show.
fn figures(group: &Group) -> &'static [(Figure, &'static str)] {
    match group.measures[0].load[0] {
        "idle" => &[(Figure::Memory, "Bytes of anonymous memory a connection")],
        "storm" => &[
            (Figure::StormRate, "Connections a second"),
            (Figure::StormRatio, "p99 of the room in the storm, by that without"),
            (Figure::StormCpu, "CPU a connection, ns"),
        ],
        _ => &[
            (Figure::Cpu, "CPU a delivery, ns"),
            (Figure::P50, "Latency p50, µs"),
            (Figure::P99, "Latency p99, µs"),
            (Figure::Share, "Share of its core that the broker used (1: the broker was the limit)"),
        ],
    }
}

fn group(text: &mut String, document: &Document, group: &Group) {
    let has_runs = |measure: &&Measure| document.runs.iter().any(|run| run.measure == measure.name);
    let measures: Vec<_> = group.measures.iter().filter(has_runs).collect();
    if measures.is_empty() {
        return;
    }
    let _ = writeln!(text, "## {}\n\n{}\n", group.title, group.about);
    let takes_part = |broker: &Broker| measures.iter().any(|measure| measure.brokers.contains(broker));
    let brokers: Vec<_> = BROKERS.into_iter().filter(takes_part).collect();
    for (figure, title) in figures(group) {
        let heads = brokers.iter().map(|broker| format!(" {} |", broker.title())).collect::<String>();
        let _ = writeln!(text, "**{title}**\n\n| |{heads}\n|---|{}", "---:|".repeat(brokers.len()));
        for measure in &measures {
            let cells = brokers.iter().map(|broker| format!(" {} |", cell(document, measure, *broker, *figure)));
            let _ = writeln!(text, "| `{}` |{}", measure.name, cells.collect::<String>());
        }
        text.push('\n');
    }
    for measure in &measures {
        let _ = writeln!(text, "- `{}`: `ringload {}`", measure.name, measure.load.join(" "));
    }
    text.push('\n');
}

/// A figure, or why there is none.
fn cell(document: &Document, measure: &Measure, broker: Broker, figure: Figure) -> String {
    let is_missing = document.missing.iter().any(|(name, _)| name == broker.program());
    let series = document.series(measure.name, broker, figure);
    let bad = |outcome| document.runs(measure.name, broker).filter(|run| run.outcome == outcome).count();
    let (invalid, failed) = (bad(Outcome::Invalid), bad(Outcome::Failed));
    let is_run = document.runs(measure.name, broker).next().is_some();
    match Spread::of(&values(&series)) {
        Some(all) if invalid + failed > 0 => format!("{}; {} more not valid", spread(&all), invalid + failed),
        Some(all) => spread(&all),
        None if invalid > 0 => format!("invalid ({invalid} of {invalid})"),
        None if failed > 0 => "failed".to_owned(),
        None if is_run => "–".to_owned(),
        None if !measure.brokers.contains(&broker) => "–".to_owned(),
        None if broker.lacks(measure).is_some() => "not supported".to_owned(),
        None if is_missing => "not installed".to_owned(),
        None => "not run".to_owned(),
    }
}

/// Everything that has no figure, and why.
fn unusable(text: &mut String, document: &Document) {
    text.push_str("## What has no figure\n\n");
    for (name, remedy) in &document.missing {
        let _ = writeln!(text, "- {name}: not installed; {remedy}.");
    }
    for measure in GROUPS.iter().flat_map(|group| group.measures) {
        for broker in BROKERS.into_iter().filter(|broker| measure.brokers.contains(broker)) {
            if let Some(why) = broker.lacks(measure) {
                let _ = writeln!(text, "- `{}`, {}: not supported: {why}.", measure.name, broker.title());
            }
            let bad = |run: &&Run| run.outcome != Outcome::Valid;
            for Run { round, outcome, why, .. } in document.runs(measure.name, broker).filter(bad) {
                let outcome = if *outcome == Outcome::Invalid { "INVALID" } else { "failed" };
                let (name, title, round) = (measure.name, broker.title(), round + 1);
                let _ = writeln!(text, "- `{name}`, {title}, round {round}: {outcome}: {}", escaped(why));
            }
        }
    }
    text.push('\n');
}

fn circumstances(text: &mut String, document: &Document) {
    text.push_str("## Machine\n\n| | |\n|---|---|\n");
    for (name, value) in &document.machine {
        let _ = writeln!(text, "| {name} | {} |", escaped(value));
    }
    text.push_str(
        "\n## Programs\n\nNone keeps anything on disk or asks who a client is. Every run has a fresh process, except that \
         rabbitmq-server, which takes seconds to start, serves all rounds of a group and is stopped (SIGSTOP) while \
         others run.\n\n",
    );
    for program in &document.programs {
        let _ = writeln!(text, "### {}\n\n{}\n", program.name, program.version);
        let _ = writeln!(text, "```\n{}\n```\n", program.configuration.trim_end());
    }
    let _ = writeln!(
        text,
        "## To repeat it\n\n```\nmake all peers\ncargo build --release --locked -p ringmain-benches\n{}\n```",
        document.command
    );
}

/// In one line, and without what would end a cell.
fn escaped(text: &str) -> String {
    text.trim().replace('|', "\\|").lines().map(str::trim).collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::budget;
    use crate::suite::document::tests::{document, run};

    /// Three significant digits, with thousands apart.
    #[test]
    fn numbers() {
        let cases = [
            (1_234_567.8, "1,234,568"),
            (999.6, "1,000"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.149, "1.15"),
            (0.01268, "0.0127"),
            (0.0, "0"),
            (-17_073.2, "-17,073"),
        ];
        for (value, want) in cases {
            assert_eq!(number(value), want);
        }
    }

    /// The report names each budget, shows invalid runs with their counts, and leaves no cell without a reason.
    #[test]
    fn report_tells_all() {
        let invalid = Run {
            outcome: Outcome::Invalid,
            why: "lost 7 | reordered 1".to_owned(),
            ..run("fanout-1", Broker::NatsServer, 0, 9.0)
        };
        let mut document = document(vec![
            run("fanout-1", Broker::Ringmain, 0, 100.0),
            run("fanout-1", Broker::Ringmain, 1, 120.0),
            run("fanout-1", Broker::Floor, 0, 100.0),
            run("fanout-1", Broker::Floor, 1, 100.0),
            invalid,
        ]);
        document.missing = vec![("mosquitto".to_owned(), "`make peers`".to_owned())];
        document.verdicts = budget::verdicts(&document, std::path::Path::new("/nonexistent"));
        let text = report(&document);
        for want in [
            "| CPU a delivery, 1 to 1000, 1 in flight ÷ floor | `fanout-1` | 1.15 | 1.10 (1.00–1.20) | 2 | met |",
            "| `fanout-1` | 100 (100–100) | 110 (100–120) | not installed | invalid (1 of 1) | not run | not run |",
            "- `fanout-1`, nats-server, round 1: INVALID: lost 7 \\| reordered 1",
            "- `qos2`, nats-server: not supported: nats-server 2.9 has no QoS 2.",
            "- mosquitto: not installed; `make peers`.",
            "| kernel | 6.18 |",
            "ringload suite",
        ] {
            assert!(text.contains(want), "{want} is not in\n{text}");
        }
    }
}
