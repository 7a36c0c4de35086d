//! `ringmain tune`: machines of six shapes are looked at, and the program starts with what is planned for them.

use std::fs;
use std::path::Path;

use ringmain_tests::process::Process;
use ringmain_tests::program::{self, Program, ringmain, root, scratch};
use ringmain_tests::{DEADLINE, DataDirectory};
use tempfile::TempDir;

/// Runs the program with arguments to its end: exit code and all that it printed.
fn run(args: &[&str]) -> (Option<i32>, String) {
    program::run(&[], args)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// A captured machine as a directory, in memory: it has a thousand files.
fn machine(tree: &Path) -> TempDir {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    tuning::tree::unpack(&fs::read_to_string(tree).expect("ours"), directory.path()).expect("a tree");
    directory
}

/// Goal: the program takes what is planned for each machine by each profile, and serves with it: on the cores that the
/// plan names where there are such, else on those that there are.
#[test]
fn each_plan_starts() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let scratch = scratch("tune-plans");
    let trees = fs::read_dir(root().join("tuning/tests/trees")).expect("ours");
    for tree in trees.map(|entry| entry.expect("ours").path()) {
        let machine = machine(&tree);
        for profile in ["low-latency", "throughput", "dense-connections", "shared-host"] {
            let out = scratch.join("plan");
            let args = ["tune", "plan", "--root", text(machine.path()), "--profile", profile, "--out", text(&out)];
            let (code, printed) = run(&args);
            assert_eq!(code, Some(0), "{printed}");
            let file = out.join("ringmain.toml");
            let data = DataDirectory::new();
            let (code, said) = program::run(&data.environment(), &["-t", "-c", text(&file)]);
            // What is wrong can only be that this machine lacks the cores.
            let lacks = code == Some(2) && (said.contains("node.cores") || said.contains("node.service_cores"));
            assert!(code == Some(0) || lacks, "{} {profile}: {said}", tree.display());
            let mut args = vec!["-c", text(&file), "--bind", "127.0.0.1:0", "--no-persistence"];
            if lacks {
                args.extend(["--cores", "0", "--service-cores", "0"]);
            }
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            let mut process = Process::start(text(&ringmain()), &args, &data.environment());
            let ready = process.wait_for("listening on 127.0.0.1:", DEADLINE);
            assert!(ready.is_ok(), "{} {profile}: {ready:?}", tree.display());
            process.signal("TERM");
            assert!(process.exit(DEADLINE).is_some_and(|status| status.success()), "{}", process.printed());
        }
    }
    fs::remove_dir_all(scratch).expect("our own directory");
}

/// Goal: a look is a table or JSON, and is kept as a text that gives the same again.
#[test]
fn inspect_tells_and_captures() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let scratch = scratch("tune-inspect");
    let machine = machine(&root().join("tuning/tests/trees/two-sockets.tree"));
    let capture = scratch.join("again.tree");
    let (code, json) = run(&["tune", "inspect", "--root", text(machine.path()), "--json", "--capture", text(&capture)]);
    assert_eq!(code, Some(0), "{json}");
    let facts: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(facts["processor"]["online"], "0-31");
    assert_eq!(facts["network"]["eth0"]["node"], 1);
    assert!(facts["network"]["eth0"]["rings"]["unknown"].is_string());
    let again = self::machine(&capture);
    assert_eq!(run(&["tune", "inspect", "--root", text(again.path()), "--json"]), (Some(0), json));
    let (code, table) = run(&["tune", "inspect", "--root", text(machine.path())]);
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains("Example Server CPU") && table.contains("unknown: "), "{table}");
    fs::remove_dir_all(scratch).expect("our own directory");
}

/// Goal: `apply` only says what it would do where that is asked for, does it otherwise, and `revert` takes it back.
#[test]
fn apply_and_revert() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let scratch = scratch("tune-apply");
    let machine = machine(&root().join("tuning/tests/trees/hybrid-laptop.tree"));
    let (root, plan) = (text(machine.path()), scratch.join("plan"));
    let setting = machine.path().join("proc/sys/net/ipv4/tcp_slow_start_after_idle");
    let says = || fs::read_to_string(&setting).expect("there");
    let args = ["tune", "plan", "--root", root, "--profile", "low-latency", "--out", text(&plan)];
    assert_eq!(run(&args).0, Some(0));
    let (code, printed) = run(&["tune", "apply", text(&plan), "--root", root, "--dry-run"]);
    assert!(code == Some(0) && printed.contains("would be") && says() == "1\n", "{printed}");
    let (code, printed) = run(&["tune", "apply", text(&plan), "--root", root]);
    assert!(code == Some(0) && printed.contains("done") && says() == "0\n", "{printed}");
    let (code, printed) = run(&["tune", "revert", "--root", root]);
    assert!(code == Some(0) && printed.contains("done") && says() == "1\n", "{printed}");
    let (code, printed) = run(&["tune", "revert", "--root", root]);
    assert!(code == Some(0) && printed.contains("nothing to do"), "{printed}");
    fs::remove_dir_all(scratch).expect("our own directory");
}

/// Goal: wrong names are told with those that there are, and a program that is not there by its name.
#[test]
fn wrong_usage_of_tune() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let (code, printed) = run(&["tune", "plan", "--profile", "lowlatency"]);
    assert!(code == Some(1) && printed.contains("low-latency"), "{printed}");
    let (code, printed) = run(&["tune", "apply", "no/such/plan"]);
    assert!(code == Some(1) && printed.contains("no/such/plan"), "{printed}");
    let (code, printed) = run(&["tune", "prove", "--ringload", "no/such/ringload", "a", "b"]);
    assert!(code == Some(1) && printed.contains("cannot start no/such/ringload"), "{printed}");
}
