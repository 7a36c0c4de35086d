//! Facts about the machine that figures depend on.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Names and values, in the order of the report. What cannot be read is left out.
pub fn facts() -> Vec<(String, String)> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let all = [
        ("CPU", field(&cpuinfo, "model name")),
        ("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string())),
        ("memory", field(&meminfo, "MemTotal").and_then(|kib| gib(&kib))),
        ("kernel", line("/proc/sys/kernel/osrelease")),
        ("distribution", distribution()),
        ("virtualisation", virtualisation(&cpuinfo)),
        ("governor", line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        ("clock source", line("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ("congestion control", line("/proc/sys/net/ipv4/tcp_congestion_control")),
        ("transparent huge pages", line("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("mitigations", mitigations()),
        ("load average", line("/proc/loadavg")),
        ("rustc", said("rustc", &["--version"])),
        ("commit", commit()),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The time in UTC, as RFC 3339 has it.
pub fn now() -> String {
    said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_else(|| "unknown".to_owned())
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn gib(kib: &str) -> Option<String> {
    let kib = kib.split_whitespace().next()?.parse::<f64>().ok()?;
    Some(format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}

fn line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn distribution() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

fn virtualisation(cpuinfo: &str) -> Option<String> {
    let guest = field(cpuinfo, "flags")?.split_whitespace().any(|flag| flag == "hypervisor");
    let vendor = line("/sys/class/dmi/id/sys_vendor").map(|vendor| format!(", {vendor}")).unwrap_or_default();
    Some(if guest { format!("a virtual machine{vendor}") } else { format!("none{vendor}") })
}

/// What the kernel does against faults of the processor that costs system calls time.
fn mitigations() -> Option<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/sys/devices/system/cpu/vulnerabilities").ok()?.flatten() {
        let state = line(entry.path()).unwrap_or_default();
        if state != "Not affected" {
            all.push(format!("{}: {state}", entry.file_name().to_string_lossy()));
        }
    }
    all.sort();
    Some(if all.is_empty() { "none needed".to_owned() } else { all.join("; ") })
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

    /// Fields are found in the forms of /proc/cpuinfo and /proc/meminfo.
    #[test]
    fn fields() {
        let cpu = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu hypervisor sse\n";
        assert_eq!(field(cpu, "model name").as_deref(), Some("Some CPU"));
        assert!(virtualisation(cpu).unwrap().starts_with("a virtual machine"));
        assert_eq!(gib("25165824 kB").as_deref(), Some("24.0 GiB"));
    }

    /// There is something to say about this machine.
    #[test]
    fn this_machine() {
        let facts = facts();
        assert!(facts.iter().any(|(name, value)| name == "kernel" && !value.is_empty()), "{facts:?}");
    }
}
