//! Runs that are kept, repeated, compared and drawn, and configurations that are proved against each other: `ringload` as a
//! performance engineer uses it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ringmain_tests::program::{Program, ringload, ringmain, scratch};
use serde_json::Value;

/// A directory, and commands in it.
struct Bench {
    directory: PathBuf,
}

impl Bench {
    /// None where another broker is tested.
    fn new(name: &str) -> Option<Bench> {
        (Program::tested() == Program::Ringmain).then(|| Bench { directory: scratch(name) })
    }

    fn ringload(&self, line: &str, environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(ringload());
        command.args(line.split_whitespace()).current_dir(&self.directory).env("RINGMAIN_BIN", ringmain());
        command.envs(environment.iter().copied()).output().expect("ringload starts")
    }

    /// What a command that succeeds prints.
    fn told(&self, line: &str, environment: &[(&str, &str)]) -> String {
        let output = self.ringload(line, environment);
        assert!(output.status.success(), "ringload {line}: {}\n{}", output.status, all(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.told(line, &[])).expect("one JSON object")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn all(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn names(differing: &Value) -> Vec<&str> {
    differing.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect()
}

/// Goal: a run that was kept is repeated from its file alone, and nothing is said to differ; one with another key of the
/// configuration differs in exactly that.
#[test]
fn kept_repeated_compared_and_drawn() {
    let Some(bench) = Bench::new("bundles-kept") else { return };
    fs::write(bench.path("node.toml"), "[limits]\nmax_inflight = 20\n").expect("written");
    let run = "ping-pong --messages 300 --rounds 4 -u guest -P secret --node";
    bench.told(&format!("{run} node.toml --keep a.tar.gz"), &[]);
    // Elsewhere: neither the configuration nor the directory is there.
    fs::remove_file(bench.path("node.toml")).expect("removed");
    let told = bench.told("rerun a.tar.gz --keep b.tar.gz", &[]);
    assert!(told.contains("the runs are the same") && told.contains("latency p50"), "{told}");
    let same = bench.json("diff a.tar.gz b.tar.gz --json");
    assert_eq!((names(&same["runs"]), names(&same["facts"])), (vec![], vec![]), "{same}");
    assert!(same["figures"][0]["ratio"]["estimate"].as_f64().is_some_and(|ratio| ratio > 0.0), "{same}");

    fs::write(bench.path("other.toml"), "[limits]\nmax_inflight = 20\n").expect("written");
    bench.told(&format!("{run} other.toml --keep c.tar.gz"), &[("RINGMAIN__LIMITS__MAX_QUEUED_MESSAGES", "77")]);
    let other = bench.json("diff a.tar.gz c.tar.gz --json");
    assert_eq!(names(&other["runs"]), ["RINGMAIN__LIMITS__MAX_QUEUED_MESSAGES"], "{other}");

    bench.told("report a.tar.gz c.tar.gz -o page.html", &[]);
    let page = fs::read_to_string(bench.path("page.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("max_inflight = 20") && page.ends_with("</html>\n"));
    assert!(!page.contains("secret"), "a password is nobody's business");
    // The archive is one, for other programs too.
    let listed = Command::new("tar").arg("tzf").arg(bench.path("a.tar.gz")).output().expect("tar is there");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for member in ["bundle.json", "facts.json", "ringmain.toml", "rounds/4/report.json", "rounds/4/latency.hdr"] {
        assert!(listed.lines().any(|line| line == member), "{member} in {listed}");
    }
}

/// Goal: two configurations are compared in pairs, and the verdict says of what: with so few and short runs any verdict is
/// allowed.
#[test]
fn configurations_are_proved() {
    let Some(bench) = Bench::new("bundles-proved") else { return };
    fs::write(bench.path("spin.toml"), "[kernel]\nspin = \"50us\"\n").expect("written");
    let line = "prove default spin.toml --pairs 6 --confidence 50 --set-b true --json -- ping-pong --messages 100";
    let output = bench.ringload(line, &[]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", all(&output));
    let verdict: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&verdict["pairs"], &verdict["names"][1]), (&6.into(), &"spin.toml".into()));
    assert_eq!(verdict["outcome"] == "gain", output.status.success(), "{verdict}");
    assert!(verdict["figures"].as_array().is_some_and(|figures| figures.len() >= 3), "{verdict}");
}

/// Goal: `ringmain tune prove` does the same, and compares a plan with the machine as it is. The plan is one that changes
/// nothing of the system.
#[test]
fn plans_are_proved() {
    let Some(bench) = Bench::new("bundles-plans") else { return };
    let run = |line: &str| {
        let mut command = Command::new(ringmain());
        let output = command.args(line.split_whitespace()).current_dir(&bench.directory).output();
        output.expect("ringmain starts")
    };
    let planned = run("tune plan --profile shared-host --out plan");
    assert!(planned.status.success(), "{}", all(&planned));
    let how = format!("--ringload {} --plan plan --pairs 6 --confidence 50", ringload().display());
    let output = run(&format!("tune prove {how} -- ping-pong --messages 100"));
    let said = all(&output);
    match output.status.code() {
        Some(0) => assert!(said.contains("B is better") && said.contains("the plan is applied"), "{said}"),
        Some(4) => assert!(said.contains("6 pairs") && said.contains("the plan is taken back"), "{said}"),
        other => panic!("{other:?}: {said}"),
    }
    let output = run(&format!("tune prove --ringload {} default absent.toml --pairs 20", ringload().display()));
    assert!(output.status.code() == Some(1) && all(&output).contains("B absent.toml: "), "{}", all(&output));
}

/// Goal: what cannot be said, repeated or read is one clear error.
#[test]
fn errors_name_their_cause() {
    let Some(bench) = Bench::new("bundles-errors") else { return };
    fs::write(bench.path("wrong.toml"), "[limits]\nmax_inflght = 1\n").expect("written");
    fs::write(bench.path("no.tar.gz"), "no archive").expect("written");
    let cases = [
        ("prove default default --pairs 3", "--pairs 3: a confidence of 99 % needs"),
        ("prove default absent.toml --pairs 20", "B absent.toml: "),
        ("prove default default --set-a false --pairs 20", "`false` ended with"),
        ("fanout --node wrong.toml --messages 1", "max_inflght"),
        ("diff no.tar.gz absent.tar.gz", "wanted: a file that `ringload ... --keep FILE` wrote"),
        ("rerun absent.tar.gz", "absent.tar.gz: "),
        ("fanout --node --port 1883", "cannot be used with"),
    ];
    for (line, expected) in cases {
        let output = bench.ringload(line, &[]);
        assert!(!output.status.success() && all(&output).contains(expected), "ringload {line}: {}", all(&output));
    }
    let left = fs::read_dir(&bench.directory).expect("a directory").flatten().map(|entry| entry.path());
    let left: Vec<_> = left.filter(|path| path.extension() == Some(OsStr::new("next"))).collect();
    assert_eq!(left, [] as [&Path; 0]);
}
