//! Machines of six shapes, and the plans for them: a plan that changes is seen, and why.
//!
//! The machines lie in `trees/`, the plans in `golden/`; `RINGMAIN_GOLDEN=write` writes the latter anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use tuning::advice::{How, Severity};
use tuning::facts::Facts;
use tuning::plan::Plan;
use tuning::profile::Profile;
use tuning::{inspect, tree};

/// Each machine, and the profiles that suit it.
const SHAPES: [(&str, &[&str]); 6] = [
    ("vm", &["low-latency", "throughput", "dense-connections", "shared-host"]),
    ("two-sockets", &["low-latency", "throughput"]),
    ("hybrid-laptop", &["low-latency", "shared-host"]),
    ("container", &["low-latency", "dense-connections"]),
    ("isolated", &["low-latency"]),
    ("many-queues", &["throughput", "dense-connections"]),
];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// What is known of each machine: looked at once, in memory where there is room for files.
fn facts(shape: &str) -> &'static Facts {
    static FACTS: OnceLock<BTreeMap<&str, Facts>> = OnceLock::new();
    let look = |shape| {
        let text = fs::read_to_string(here(&format!("trees/{shape}.tree"))).expect("a tree of ours");
        let directory = in_memory();
        tree::unpack(&text, directory.path()).unwrap_or_else(|error| panic!("{shape}: {error}"));
        (shape, inspect(directory.path()))
    };
    &FACTS.get_or_init(|| SHAPES.iter().map(|(shape, _)| look(*shape)).collect())[shape]
}

fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

fn plan(shape: &str, profile: &str) -> Plan {
    Plan::new(facts(shape), Profile::find(profile).expect("one of ours")).expect("it is known which cores there are")
}

/// What a plan comes to, without the words of its reasons.
fn gist(plan: &Plan) -> String {
    let layout = &plan.layout;
    let mut text = format!("shards {}, service {}, dedicated {}\n", layout.shards, layout.service, layout.dedicated);
    layout.reasons.iter().for_each(|reason| text += &format!("  {reason}\n"));
    for advice in &plan.advice {
        let (word, setting, wanted) = (advice.severity.word(), &advice.setting, &advice.wanted);
        text += &format!("{word:9} {setting}: {} -> {wanted}\n", advice.current);
    }
    for (name, file) in plan.files() {
        if name != "report.txt" && name != "plan.json" {
            text += &format!("==== {name}\n");
            file.lines().filter(|line| !line.starts_with('#')).for_each(|line| text += &format!("{line}\n"));
        }
    }
    text
}

/// Goal: each plan is what it was.
#[test]
fn plans_are_as_they_were() {
    let write = std::env::var("RINGMAIN_GOLDEN").is_ok_and(|word| word == "write");
    let mut wrong = Vec::new();
    for (shape, profiles) in SHAPES {
        for profile in profiles {
            let plan = plan(shape, profile);
            // One of them with every word.
            let words = if (shape, *profile) == ("vm", "low-latency") { plan.report() } else { String::new() };
            let text = gist(&plan) + &words;
            let golden = here(&format!("golden/{shape}.{profile}.txt"));
            if write {
                fs::create_dir_all(golden.parent().expect("a directory")).expect("made");
                fs::write(&golden, &text).expect("written");
            }
            let known = fs::read_to_string(&golden).unwrap_or_default();
            let differs = known.lines().zip(text.lines()).find(|(known, now)| known != now);
            if known != text {
                wrong.push(format!("{}: {:?}", golden.display(), differs));
            }
        }
    }
    assert!(wrong.is_empty(), "plans differ; RINGMAIN_GOLDEN=write writes them anew:\n{}", wrong.join("\n"));
}

/// Goal: a plan comes back from its file, and every change in it is one that `apply` understands.
#[test]
fn plans_come_back_and_can_be_applied() {
    for (shape, profiles) in SHAPES {
        for profile in profiles {
            let plan = plan(shape, profile);
            let directory = in_memory();
            plan.write(directory.path()).expect("written");
            assert_eq!(Plan::read(directory.path()).as_ref(), Ok(&plan), "{shape} {profile}");
            for change in plan.changes() {
                assert!(change.check().is_ok(), "{shape} {profile}: {change:?}");
            }
        }
    }
}

/// Goal: shards are where each shape wants them.
#[test]
fn shards_are_where_they_belong() {
    let layout = |shape, profile| {
        let layout = plan(shape, profile).layout;
        (layout.shards.to_string(), layout.service.to_string(), layout.dedicated)
    };
    let as_text = |shards: &str, service: &str, dedicated| (shards.to_owned(), service.to_owned(), dedicated);
    assert_eq!(layout("vm", "low-latency"), as_text("1", "0", true));
    assert_eq!(layout("vm", "throughput"), as_text("0-1", "0-1", false));
    // On the card's node; first threads alone, and a core of it serves with both of its threads.
    assert_eq!(layout("two-sockets", "low-latency"), as_text("9-15", "8,24", true));
    assert_eq!(layout("two-sockets", "throughput"), as_text("1-15,17-31", "0,16", true));
    assert_eq!(layout("hybrid-laptop", "low-latency"), as_text("0,2,4,6,8,10", "12-19", true));
    assert_eq!(layout("container", "low-latency"), as_text("5-6", "4", false));
    assert_eq!(layout("isolated", "low-latency"), as_text("2-15", "0-1", true));
    assert_eq!(layout("many-queues", "throughput"), as_text("4-63", "0-3", true));
}

/// Goal: what keeps the switch from running stands first.
#[test]
fn what_blocks_stands_first() {
    let plan = plan("container", "low-latency");
    let blocking: Vec<&str> = plan
        .advice
        .iter()
        .take_while(|advice| advice.severity == Severity::Blocking)
        .map(|advice| advice.setting.as_str())
        .collect();
    assert_eq!(blocking, ["kernel.io_uring_disabled", "limit on locked memory"]);
    // A shard of a group that is stopped by its quota does not spin.
    assert!(plan.advice.iter().all(|advice| advice.setting != "kernel.spin" || advice.severity == Severity::Fine));
}

/// Goal: on a shared host nothing of the system is changed.
#[test]
fn a_shared_host_is_left_alone() {
    for shape in ["vm", "two-sockets", "hybrid-laptop", "many-queues", "isolated"] {
        let plan = plan(shape, "shared-host");
        assert_eq!(plan.changes(), [], "{shape}");
        assert!(plan.advice.iter().all(|advice| !matches!(advice.how, How::Command(_) | How::Boot(_))), "{shape}");
    }
}

/// Goal: a machine of which nothing is known gets no plan, and is told why.
#[test]
fn nothing_known_no_plan() {
    let directory = tempfile::tempdir().expect("a directory");
    let profile = Profile::find("throughput").expect("one of ours");
    let why = Plan::new(&inspect(directory.path()), profile).expect_err("no cores");
    assert!(why.contains("sys/devices/system/cpu/online is not there"), "{why}");
}
