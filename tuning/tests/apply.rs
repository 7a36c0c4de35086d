//! Changes and their way back: below a made root, and for real in a network namespace; killed anywhere.
//!
//! A process that is to be killed is this test's own program, started again to run [`child`] alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tuning::apply::{Done, Machine, Outcome, Step};
use tuning::change::Change;
use tuning::plan::Plan;
use tuning::profile::Profile;
use tuning::{inspect, tree};

const ROOT: &str = "RINGMAIN_TUNE_ROOT";
const JOURNAL: &str = "RINGMAIN_TUNE_JOURNAL";
const CHANGES: &str = "RINGMAIN_TUNE_CHANGES";
const DIE_AT: &str = "RINGMAIN_TUNE_DIE_AT";
const NAMESPACE: &str = "RINGMAIN_TUNE_NAMESPACE";

/// A machine as a directory, and some of the changes of a plan for it.
fn machine(shape: &str, profile: &str) -> (TempDir, Vec<Change>) {
    let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    let text = fs::read_to_string(trees.join(format!("{shape}.tree"))).expect("a tree of ours");
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    tree::unpack(&text, root.path()).expect("a tree");
    let plan = Plan::new(&inspect(root.path()), Profile::find(profile).expect("one of ours")).expect("a plan");
    (root, plan.changes())
}

/// What every file below a directory says; those that cannot be read are left out.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => left.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    if let Ok(bytes) = fs::read(entry.path()) {
                        found.insert(entry.path(), bytes);
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Applies, or reverts where there are no changes, in a process that ends itself with SIGKILL at a step. Whether it
/// did.
fn killed_at(step: usize, root: &Path, journal: &Path, changes: Option<&[Change]>) -> bool {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--nocapture"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.env(ROOT, root).env(JOURNAL, journal).env(DIE_AT, step.to_string());
    if let Some(changes) = changes {
        command.env(CHANGES, serde_json::to_string(changes).expect("plain data"));
    }
    let status = command.status().expect("it starts");
    assert!(status.success() || status.signal() == Some(9), "{status}");
    !status.success()
}

/// Goal: none; the body of the process that is killed.
#[test]
fn child() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let journal = std::env::var(JOURNAL).expect("given");
    let die_at: usize = std::env::var(DIE_AT).expect("given").parse().expect("a number");
    let machine = Machine::new(Path::new(&root), Some(Path::new(&journal)));
    let mut steps = 0;
    let mut watch = |_: Step<'_>| {
        if steps == die_at {
            let own = std::process::id().to_string();
            Command::new("kill").args(["-9", &own]).status().expect("kill(1)");
            unreachable!("this process is gone");
        }
        steps += 1;
    };
    match std::env::var(CHANGES) {
        Ok(changes) => {
            let changes: Vec<Change> = serde_json::from_str(&changes).expect("plain data");
            machine.apply(&changes, false, &mut watch).expect("a plan of ours");
        }
        Err(_) => _ = machine.revert(false, &mut watch).expect("a journal of ours"),
    }
}

fn results(outcomes: &[Outcome]) -> Vec<Done> {
    outcomes.iter().map(|outcome| outcome.result.clone()).collect()
}

/// Goal: all is done, seen to be done, not done twice, and taken back to the byte.
#[test]
fn applied_and_taken_back() {
    for (shape, profile) in [("two-sockets", "low-latency"), ("many-queues", "throughput"), ("isolated", "low-latency")]
    {
        let (root, changes) = machine(shape, profile);
        let before = snapshot(root.path());
        let machine = Machine::new(root.path(), None);
        let dry = machine.apply(&changes, true, &mut |_| {}).expect("understood");
        assert!(results(&dry).iter().all(|result| *result == Done::WouldBe), "{dry:?}");
        assert_eq!(snapshot(root.path()), before);

        let done = machine.apply(&changes, false, &mut |_| {}).expect("understood");
        assert!(results(&done).iter().all(|result| *result == Done::Changed), "{done:?}");
        let again = machine.apply(&changes, false, &mut |_| {}).expect("understood");
        assert!(results(&again).iter().all(|result| *result == Done::Already), "{again:?}");
        // What was advised is fine now.
        let plan = Plan::new(&inspect(root.path()), Profile::find(profile).expect("one of ours")).expect("a plan");
        assert_eq!(plan.changes(), [], "{shape}");

        let back = machine.revert(false, &mut |_| {}).expect("our journal");
        assert_eq!(back.len(), changes.len());
        assert_eq!(snapshot(root.path()), before, "{shape}");
        assert_eq!(machine.revert(false, &mut |_| {}), Ok(Vec::new()));
    }
}

/// Goal: wherever `apply` or `revert` is killed, a later `revert` restores every byte.
#[test]
fn killed_anywhere_and_taken_back() {
    let (root, mut changes) = machine("hybrid-laptop", "low-latency");
    changes.truncate(7);
    let journal = root.path().join("journal");
    let machine = Machine::new(root.path(), Some(&journal));
    let before = snapshot(root.path());
    let mut step = 0;
    while killed_at(step, root.path(), &journal, Some(&changes)) {
        if step % 3 == 0 {
            // Killed inside of the write: the file is empty.
            let noted = fs::read_to_string(&journal).expect("noted");
            let last: serde_json::Value = serde_json::from_str(noted.lines().last().expect("a line")).expect("whole");
            fs::write(root.path().join(last["path"].as_str().expect("a path")), "").expect("written");
        }
        // The way back is killed, too, and gone again.
        killed_at(step % 4, root.path(), &journal, None);
        machine.revert(false, &mut |_| {}).expect("our journal");
        assert_eq!(snapshot(root.path()), before, "killed at step {step}");
        step += 1;
    }
    assert_eq!(step, 3 * changes.len());
    machine.revert(false, &mut |_| {}).expect("our journal");
    assert_eq!(snapshot(root.path()), before);
}

/// Goal: a second `apply` after one that was killed still leads back to what was there at first.
#[test]
fn applied_again_after_a_kill() {
    let (root, changes) = machine("hybrid-laptop", "low-latency");
    let journal = root.path().join("journal");
    let machine = Machine::new(root.path(), Some(&journal));
    let before = snapshot(root.path());
    assert!(killed_at(4, root.path(), &journal, Some(&changes)));
    machine.apply(&changes, false, &mut |_| {}).expect("understood");
    // Somebody else changes a file, and it is applied once more.
    fs::write(root.path().join(&changes[0].path), "else\n").expect("written");
    machine.apply(&changes, false, &mut |_| {}).expect("understood");
    machine.revert(false, &mut |_| {}).expect("our journal");
    assert_eq!(snapshot(root.path()), before);
}

/// Goal: what is not understood refuses everything, before anything is done.
#[test]
fn what_is_not_understood_is_refused() {
    let (root, mut changes) = machine("hybrid-laptop", "low-latency");
    let before = snapshot(root.path());
    let machine = Machine::new(root.path(), None);
    for (path, value) in [("proc/sys/kernel/core_pattern", "|x"), ("proc/sys/net/core/somaxconn", "a lot")] {
        changes.push(Change { path: path.to_owned(), value: value.to_owned() });
        let why = machine.apply(&changes, false, &mut |_| {}).expect_err("not understood");
        assert!(why.contains(path), "{why}");
        changes.pop();
    }
    assert_eq!(snapshot(root.path()), before);
    // A journal that somebody has written does not lead elsewhere either.
    let journal = root.path().join("journal");
    let line = r#"{"path":"../x","was":"1","wanted":"2"}"#;
    fs::write(&journal, format!("{{\"ringmain_tune\":1,\"boot\":\"unknown\"}}\n{line}\n")).expect("written");
    let why = Machine::new(root.path(), Some(&journal)).revert(false, &mut |_| {}).expect_err("not understood");
    assert!(why.contains("../x"), "{why}");
}

/// Goal: what the machine does not give is told, and the rest is done.
#[test]
fn what_is_missing_is_told() {
    let (root, changes) = machine("hybrid-laptop", "low-latency");
    fs::remove_file(root.path().join(&changes[0].path)).expect("there");
    let done = Machine::new(root.path(), None).apply(&changes, false, &mut |_| {}).expect("understood");
    assert!(matches!(done[0].result, Done::Gone(_)));
    assert!(done[1..].iter().all(|outcome| outcome.result == Done::Changed));
}

/// Settings of a network namespace of its own, which nobody else sees.
fn namespace_changes() -> Vec<Change> {
    let all = [
        Change::sysctl("net.core.somaxconn", 12_345),
        Change::sysctl("net.ipv4.tcp_max_syn_backlog", 54_321),
        Change::sysctl("net.ipv4.tcp_slow_start_after_idle", 0),
    ];
    all.into_iter().filter(|change| Path::new("/").join(&change.path).exists()).collect()
}

/// Goal: the same for real, in a network namespace of its own: the kernel takes the settings, and gets its own back.
#[test]
fn in_a_network_namespace() {
    for flags in [&["-n"][..], &["-r", "-n"]] {
        let works = Command::new("unshare").args(flags).arg("true").stderr(Stdio::null()).status();
        if !works.is_ok_and(|status| status.success()) {
            continue;
        }
        let own = std::env::current_exe().expect("this program");
        let mut command = Command::new("unshare");
        command.args(flags).arg(own).args(["--exact", "inside", "--nocapture"]).env(NAMESPACE, "1");
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("namespace: restored"), "{output:?}");
        return;
    }
    println!("skipped: this machine gives no network namespace");
}

/// Goal: none; the body of the process inside of the namespace.
#[test]
fn inside() {
    if std::env::var(NAMESPACE).is_err() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let journal = place.path().join("journal");
    let (root, settings) = (Path::new("/"), Path::new("/proc/sys/net"));
    let machine = Machine::new(root, Some(&journal));
    let changes = namespace_changes();
    assert!(!changes.is_empty());
    let before = snapshot(settings);
    let mut step = 0;
    while killed_at(step, root, &journal, Some(&changes)) {
        if step > 0 {
            assert_ne!(snapshot(settings), before, "the kernel has taken a setting by step {step}");
        }
        machine.revert(false, &mut |_| {}).expect("our journal");
        assert_eq!(snapshot(settings), before, "killed at step {step}");
        step += 1;
    }
    assert_eq!(step, 3 * changes.len());
    // That process was not killed: all is done now. What the kernel refuses is told, and nothing is left of it.
    let forbidden = Change::sysctl("net.ipv4.tcp_slow_start_after_idle", -7);
    let outcomes = machine.apply(&[forbidden], false, &mut |_| {}).expect("understood");
    assert!(matches!(outcomes[0].result, Done::Forbidden(_)), "{outcomes:?}");
    let back = machine.revert(false, &mut |_| {}).expect("our journal");
    assert!(back.iter().all(|outcome| matches!(outcome.result, Done::Changed | Done::Already)), "{back:?}");
    assert_eq!(snapshot(settings), before);
    assert!(!journal.exists());
    println!("namespace: restored");
}
