//! Facts about the machine that figures depend on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tuning::facts::Machine;
use tuning::{Fact, Facts};

/// Names and values, in the order of the report. What is not known is left out.
pub fn facts() -> Vec<(String, String)> {
    let mut all = of_machine(&tuning::inspect(Path::new("/")));
    // What changes by itself, and what the programs were built with, is no fact of the machine.
    let more = [
        ("distribution", distribution()),
        ("load average", line("/proc/loadavg")),
        ("rustc", said("rustc", &["--version"])),
        ("commit", commit()),
    ];
    all.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    all
}

fn of_machine(facts: &Facts) -> Vec<(String, String)> {
    let Facts { machine, kernel, processor, memory, sysctls, .. } = facts;
    let text = |fact: &Fact<String>| fact.known().cloned();
    let first = processor.cores.known().and_then(|cores| cores.first());
    let congestion = sysctls.get("net.ipv4.tcp_congestion_control");
    let all = [
        ("CPU", text(&processor.model)),
        ("cores", processor.allowed.known().map(|cores| cores.len().to_string())),
        ("memory", memory.total_kib.known().map(|kib| format!("{:.1} GiB", *kib as f64 / 1024.0 / 1024.0))),
        ("kernel", text(&kernel.release)),
        ("virtualisation", virtualisation(machine)),
        ("governor", first.and_then(|core| text(&core.governor))),
        ("clock source", text(&kernel.clock_source)),
        ("congestion control", congestion.and_then(text)),
        ("transparent huge pages", text(&memory.transparent_huge_pages)),
        ("mitigations", kernel.mitigations.known().map(mitigations)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The time in UTC, as RFC 3339 has it.
pub fn now() -> String {
    said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_else(|| "unknown".to_owned())
}

fn line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn distribution() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

fn virtualisation(machine: &Machine) -> Option<String> {
    let what = if *machine.is_virtual.known()? { "a virtual machine" } else { "none" };
    let vendor = machine.vendor.known().map(|vendor| format!(", {vendor}")).unwrap_or_default();
    Some(format!("{what}{vendor}"))
}

/// What the kernel does against faults of the processor that costs system calls time.
fn mitigations(flaws: &BTreeMap<String, String>) -> String {
    let there = flaws.iter().filter(|(_, state)| *state != "Not affected");
    let all: Vec<_> = there.map(|(flaw, state)| format!("{flaw}: {state}")).collect();
    if all.is_empty() { "none needed".to_owned() } else { all.join("; ") }
}

fn commit() -> Option<String> {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]).is_some();
    Some(if changed { format!("{commit}, with changes") } else { commit })
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what is done against a flaw is told.
    #[test]
    fn flaws_that_are_not_there_are_left_out() {
        let flaws = |all: &[(&str, &str)]| all.iter().map(|(flaw, state)| ((*flaw).into(), (*state).into())).collect();
        assert_eq!(mitigations(&flaws(&[("meltdown", "Not affected")])), "none needed");
        let two = flaws(&[("meltdown", "Mitigation: PTI"), ("mds", "Not affected"), ("spectre_v1", "Vulnerable")]);
        assert_eq!(mitigations(&two), "meltdown: Mitigation: PTI; spectre_v1: Vulnerable");
    }

    /// There is something to say about this machine.
    #[test]
    fn this_machine() {
        let facts = facts();
        assert!(facts.iter().any(|(name, value)| name == "kernel" && !value.is_empty()), "{facts:?}");
    }
}
