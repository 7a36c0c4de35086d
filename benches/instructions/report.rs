//! Tables for people.

use std::fmt::{self, Write};

use crate::baseline::{Baseline, Count, SHARE_KEPT, TOLERANCE_PERCENT, Tools, added, percent};
use crate::measure::Cost;
use crate::workload::Pair;

/// Functions that `show` tells of a workload.
const FUNCTIONS_SHOWN: usize = 30;
/// Functions that are told of a workload that costs more.
const CULPRITS_SHOWN: usize = 8;
/// What a count may differ by because the baseline is rounded.
const ROUNDING: f64 = 0.001;

/// Each workload with its crates and functions, then the budgets of the second shard and of the journal.
pub fn show(costs: &[Cost]) -> String {
    let mut text = String::new();
    for cost in costs {
        write_profile(&mut text, cost).expect("memory takes it");
    }
    write_totals(&mut text, costs).expect("memory takes it");
    text
}

fn write_profile(out: &mut String, cost: &Cost) -> fmt::Result {
    let unit = cost.workload.unit.name();
    writeln!(out, "{}: {:.2} instructions a {unit}", cost.workload.name, cost.instructions)?;
    for (owner, count) in descending(cost.owners.iter()) {
        writeln!(out, "  {count:>10.2} {:>6.1} %  {owner}", 100.0 * count / cost.instructions)?;
    }
    writeln!(out, "  by function, what is inlined from elsewhere included:")?;
    for (function, count) in descending(cost.functions.iter()).into_iter().take(FUNCTIONS_SHOWN) {
        writeln!(out, "  {count:>10.2} {:>6.1} %  {function}", 100.0 * count / cost.instructions)?;
    }
    writeln!(out)
}

fn write_totals(out: &mut String, costs: &[Cost]) -> fmt::Result {
    writeln!(out, "{:<36} {:>12}  {:<11} {:>12}", "workload", "instructions", "per", "driver's own")?;
    for cost in costs {
        let (name, unit) = (cost.workload.name, cost.workload.unit.name());
        writeln!(out, "{name:<36} {:>12.2}  {unit:<11} {:>12.2}", cost.instructions, cost.bench)?;
    }
    for pair in Pair::ALL {
        let budget = pair.budget_percent();
        let mut added = added(costs, pair).peekable();
        if added.peek().is_some() {
            writeln!(out, "\n{:<36} {:>12}  budget: {budget} %", pair.name(), "adds")?;
        }
        for (name, percent) in added {
            let verdict = if percent <= budget { "met" } else { "not met" };
            writeln!(out, "{name:<36} {percent:>+10.1} %  {verdict}")?;
        }
    }
    Ok(())
}

/// What became of the counts.
pub struct Verdict {
    /// The table and what follows from it.
    pub text: String,
    /// A workload costs more, by the same tools.
    pub failed: bool,
}

/// Compares with the baseline.
pub fn compare(costs: &[Cost], baseline: &Baseline, tools: &Tools) -> Verdict {
    let mut text = String::new();
    let worse = write_comparison(&mut text, costs, baseline).expect("memory takes it");
    if *tools == baseline.recorded_with {
        return Verdict { text, failed: worse };
    }
    let Tools { rustc, target, valgrind } = &baseline.recorded_with;
    text += &format!(
        "NOT JUDGED: the baseline was recorded with {rustc}, {target}, {valgrind}; this is {}, {}, {}.\n\
         Recording the commit before with these tools, and checking this one, tells what is ours.\n",
        tools.rustc, tools.target, tools.valgrind
    );
    Verdict { text, failed: false }
}

/// Writes the table; returns whether a workload costs more than it may, or is not in the baseline.
fn write_comparison(out: &mut String, costs: &[Cost], baseline: &Baseline) -> Result<bool, fmt::Error> {
    let (mut worse, mut better) = (false, 0.0f64);
    writeln!(out, "{:<36} {:>12} {:>12} {:>9}", "workload", "was", "is", "change")?;
    for cost in costs {
        let name = cost.workload.name;
        let Some(was) = baseline.workloads.get(name) else {
            writeln!(
                out,
                "{name:<36} {:>12} {:>12.2}            not in the baseline: record it",
                "", cost.instructions
            )?;
            worse = true;
            continue;
        };
        let change = percent(was.instructions, cost.instructions);
        let remark = if change > TOLERANCE_PERCENT { "  MORE" } else { "" };
        writeln!(out, "{name:<36} {:>12.2} {:>12.2} {change:>+7.2} %{remark}", was.instructions, cost.instructions)?;
        if change > TOLERANCE_PERCENT {
            worse = true;
            write_culprits(out, cost, was)?;
        }
        better = better.min(change);
    }
    if better < -TOLERANCE_PERCENT {
        writeln!(out, "better by {:.1} %: record it (`make instructions-record`)", -better)?;
    }
    if worse {
        writeln!(
            out,
            "more than {TOLERANCE_PERCENT} % above the baseline: make it cheaper, or record it and say why in the commit"
        )?;
    }
    Ok(worse)
}

/// The functions that grew most. One that the baseline does not name was below what it keeps, and is taken to have been
/// just that.
fn write_culprits(out: &mut String, cost: &Cost, was: &Count) -> fmt::Result {
    let least = SHARE_KEPT * was.instructions;
    let grown = cost.functions.iter().map(|(name, now)| {
        let before = was.functions.get(name).copied();
        (name, before, *now, now - before.unwrap_or(least))
    });
    let mut grown: Vec<_> = grown.filter(|(.., by)| *by > ROUNDING).collect();
    grown.sort_by(|(.., by), (.., other)| other.total_cmp(by));
    for (name, before, now, _) in grown.into_iter().take(CULPRITS_SHOWN) {
        let before = before.map_or(format!("below {least:.2}"), |before| format!("{before:.2}"));
        writeln!(out, "{:36} {before:>12} {now:>12.2}            {name}", "")?;
    }
    Ok(())
}

fn descending<'a>(counts: impl Iterator<Item = (&'a String, &'a f64)>) -> Vec<(&'a String, f64)> {
    let mut counts: Vec<_> = counts.map(|(name, count)| (name, *count)).collect();
    counts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::WORKLOADS;

    fn tools() -> Tools {
        Tools { rustc: "rustc 1".to_owned(), target: "x".to_owned(), valgrind: "valgrind-3".to_owned() }
    }

    /// The first workload, at so many instructions in `hot` besides 90 elsewhere.
    fn cost(hot: f64) -> Vec<Cost> {
        let functions = [("switch/src/a.rs hot", hot), ("switch/src/b.rs other", 90.0)];
        vec![Cost {
            workload: &WORKLOADS[0],
            instructions: hot + 90.0,
            bench: 7.0,
            functions: functions.map(|(name, count)| (name.to_owned(), count)).into(),
            owners: [("switch".to_owned(), hot + 90.0)].into(),
        }]
    }

    /// Goal: more than the tolerance fails and names the function, less does not.
    #[test]
    fn a_rise_fails_and_is_named() {
        let baseline = Baseline::of(&cost(10.0), tools());
        let verdict = compare(&cost(13.1), &baseline, &tools());
        assert!(verdict.failed && verdict.text.contains("a.rs hot"), "{}", verdict.text);
        assert!(!verdict.text.contains("b.rs other"), "it did not grow: {}", verdict.text);
        assert!(!compare(&cost(12.9), &baseline, &tools()).failed);
    }

    /// Goal: a function that was too small for the baseline is named when it grows.
    #[test]
    fn a_new_function_is_named() {
        let verdict = compare(&cost(10.0), &Baseline::of(&cost(0.5), tools()), &tools());
        assert!(verdict.failed && verdict.text.contains("below 1.81"), "{}", verdict.text);
    }

    /// Goal: a fall passes and is to be recorded.
    #[test]
    fn a_fall_is_to_be_recorded() {
        let verdict = compare(&cost(5.0), &Baseline::of(&cost(10.0), tools()), &tools());
        assert!(!verdict.failed && verdict.text.contains("better by 5.0 %: record it"), "{}", verdict.text);
    }

    /// Goal: another compiler's counts are shown and not judged.
    #[test]
    fn another_compiler_is_no_regression() {
        let other = Tools { rustc: "rustc 2".to_owned(), ..tools() };
        let verdict = compare(&cost(50.0), &Baseline::of(&cost(10.0), tools()), &other);
        assert!(!verdict.failed && verdict.text.contains("MORE") && verdict.text.contains("NOT JUDGED: "));
    }

    /// Goal: a workload that nobody recorded fails.
    #[test]
    fn a_new_workload_is_to_be_recorded() {
        let verdict = compare(&cost(10.0), &Baseline::of(&[], tools()), &tools());
        assert!(verdict.failed && verdict.text.contains("not in the baseline"));
    }
}
