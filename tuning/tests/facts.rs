//! Facts agree with what other programs say of this machine, and with a captured tree of it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tuning::cores::Cores;
use tuning::{capture, inspect, tree};

/// What a program prints; nothing where it is not installed.
fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Goal: a captured machine gives the facts of the machine, and two looks at one are equal.
#[test]
fn a_capture_gives_the_same_facts() {
    let (here, text) = capture(Path::new("/"));
    let directory = tempfile::tempdir().expect("a directory");
    tree::unpack(&text, directory.path()).expect("what was written can be read");
    let (there, again) = capture(directory.path());
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&text), lines(&again));
    let [here, there] = [here, there].map(|facts| {
        let mut value = serde_json::to_value(facts).expect("plain data");
        // Virtual machines are given memory and lose it while they run.
        value["memory"] = Value::Null;
        forget_why(&mut value);
        value
    });
    assert_eq!(here, there);
}

/// Why a thing is not known is told in other words where it could only not be captured.
fn forget_why(value: &mut Value) {
    match value {
        Value::Object(fields) if fields.contains_key("unknown") => *value = Value::String("unknown".to_owned()),
        Value::Object(fields) => fields.values_mut().for_each(forget_why),
        Value::Array(values) => values.iter_mut().for_each(forget_why),
        _ => {}
    }
}

/// Goal: drivers and rings of cards are those that ethtool(8) tells.
#[test]
fn cards_are_those_of_ethtool() {
    let facts = inspect(Path::new("/"));
    for (name, card) in facts.network.known().expect("there is a network") {
        if let (Some(text), Some(driver)) = (printed("ethtool", &["-i", name]), card.driver.known()) {
            assert!(text.lines().any(|line| line == format!("driver: {driver}")), "{name} {driver}: {text}");
        }
        if let (Some(text), Some(rings)) = (printed("ethtool", &["-g", name]), card.rings.known()) {
            let current = text.split_once("Current hardware settings:").map_or("", |(_, current)| current);
            let receive = current.lines().find_map(|line| line.strip_prefix("RX:")).map(str::trim);
            assert_eq!(rings.get("RX").map(String::as_str), receive, "{name}: {text}");
        }
    }
}

/// Goal: facts survive being written as JSON.
#[test]
fn facts_come_back_from_json() {
    let facts = inspect(Path::new("/"));
    let text = serde_json::to_string(&facts).expect("plain data");
    assert_eq!(serde_json::from_str::<tuning::Facts>(&text).expect("the same form"), facts);
}

/// Goal: cores, sockets, nodes and caches are those that lscpu(1) finds.
#[test]
fn cores_are_those_of_lscpu() {
    let Some(text) = printed("lscpu", &["-p=CPU,CORE,SOCKET,NODE"]) else { return };
    let facts = inspect(Path::new("/"));
    let cores = facts.processor.cores.known().expect("cores can be read");
    let rows: Vec<Vec<u32>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(',').map(|field| field.parse().unwrap_or(0)).collect())
        .collect();
    assert_eq!(rows.len(), cores.len());
    for (row, core) in rows.iter().zip(cores) {
        assert_eq!(row[0], core.number);
        if let Some(socket) = core.socket.known() {
            assert_eq!(row[2], *socket);
        }
        if let Some(node) = core.node.known() {
            assert_eq!(row[3], *node);
        }
        let same_core: Cores = rows.iter().filter(|other| other[1] == row[1]).map(|other| other[0]).collect();
        if let Some(siblings) = core.siblings.known() {
            assert_eq!(*siblings, same_core);
        }
    }
    let whole = printed("lscpu", &[]).expect("it ran before");
    let said = |name: &str| whole.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    assert_eq!(said("Model name:").as_ref(), facts.processor.model.known());
    assert_eq!(
        said("On-line CPU(s) list:").and_then(|list| list.parse().ok()).as_ref(),
        facts.processor.online.known()
    );
    let is_virtual = said("Hypervisor vendor:").is_some() || said("Virtualization type:").is_some();
    assert!(facts.machine.is_virtual.known().is_none_or(|fact| *fact == is_virtual));
}

/// Goal: settings are those of sysctl(8), and what it does not know is unknown here too.
#[test]
fn settings_are_those_of_sysctl() {
    let facts = inspect(Path::new("/"));
    for (name, value) in &facts.sysctls {
        let printed = printed("sysctl", &["-n", name]);
        let printed = printed.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        if let (Some(printed), Some(value)) = (printed, value.known()) {
            assert_eq!(*value, printed, "{name}");
        }
    }
    assert!(facts.sysctls.values().filter(|value| value.known().is_some()).count() > 10);
}

/// Goal: cores that may be used, limits and the kernel are those that the process itself is told.
#[test]
fn the_process_agrees() {
    let facts = inspect(Path::new("/"));
    let allowed: Cores = shard::affinity::allowed_cores().into_iter().map(|core| core.0 as u32).collect();
    // The test's thread may have been pinned to fewer than its process.
    assert_eq!(facts.processor.allowed.known().map(|cores| cores.and(&allowed)), Some(allowed));
    let limits = facts.limits.known().expect("limits can be read");
    let printed = printed("sh", &["-c", "ulimit -Sn"]).expect("a shell");
    let soft = limits["open files"].soft.map_or("unlimited".to_owned(), |limit| limit.to_string());
    assert_eq!(soft, printed.trim());
    let release = self::printed("uname", &["-r"]).expect("uname");
    assert_eq!(facts.kernel.release.known().map(String::as_str), Some(release.trim()));
}

/// Goal: where nothing can be read nothing is said, and each thing says why.
#[test]
fn an_empty_root_knows_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let facts = inspect(directory.path());
    let why = facts.processor.online.why().expect("unknown");
    assert_eq!(why, "sys/devices/system/cpu/online is not there");
    assert!(facts.sysctls.values().all(|value| value.why().is_some_and(|why| why.ends_with("is not there"))));
    assert!(facts.network.known().is_none() && facts.limits.known().is_none() && facts.disks.known().is_none());
}
