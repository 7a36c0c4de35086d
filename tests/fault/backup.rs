//! `ringmain journal`: what an operator does with a data directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;

use ringmain_tests::program::run;
use ringmain_tests::{DEADLINE, DataDirectory, Version};
use serde_json::Value;

use crate::clients::{Live, Offline};
use crate::files::{overwrite, segment, used};
use crate::load::Load;

/// Runs `ringmain journal` on a data directory: exit code and what was printed.
fn journal(command: &[&str], data: &Path) -> (Option<i32>, String) {
    let args = [&["journal"], command, &["--data-dir", data.to_str().expect("text")]].concat();
    run(&[], &args)
}

/// A directory that does not exist yet.
fn missing() -> (PathBuf, String) {
    let place = DataDirectory::place();
    let name = place.to_str().expect("text").to_owned();
    (place, name)
}

/// Goal: a backup of a running node under load, restored elsewhere, has everything that was acknowledged before it
/// began; the node does not notice.
#[test]
fn a_running_node_is_backed_up() {
    let data = DataDirectory::new();
    let mut broker = Load::setup(2, &data).start();
    let mut live = Live::new(&broker);
    let mut all: Vec<Offline> = (0..8).map(|number| Offline::new(&broker, &format!("away-{number}"))).collect();
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    all.iter_mut().for_each(|away| away.publish_all(&mut publisher, 50));
    let (backup, name) = missing();
    let mut beside = Offline::new(&broker, "beside");
    let (stop, stopped) = channel::<()>();
    thread::scope(|scope| {
        let beside = &mut beside;
        scope.spawn(move || {
            // Until the sender is gone.
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                beside.publish_all(&mut publisher, 10);
            }
        });
        let (code, said) = journal(&["backup", &name], data.path());
        drop(stop);
        assert_eq!(code, Some(0), "{said}");
    });
    live.goes_on(&broker);
    beside.collect(&broker);
    assert!(broker.terminate(DEADLINE).success());

    assert_eq!(journal(&["verify"], &backup).0, Some(0), "a backup is a data directory");
    let (elsewhere, _) = missing();
    let (code, said) = journal(&["restore", &name], &elsewhere);
    assert_eq!(code, Some(0), "{said}");
    let broker = Load::setup(3, &DataDirectory::at(&elsewhere)).start();
    all.iter_mut().for_each(|away| away.collect(&broker));
}

/// Goal: nothing is overwritten: neither by a backup nor by a restore, and a directory in use is not restored into.
#[test]
fn nothing_is_overwritten() {
    let (data, mut away) = used();
    let (_, name) = missing();
    assert_eq!(journal(&["backup", &name], data.path()).0, Some(0));
    let (code, said) = journal(&["backup", &name], data.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&name), "{said}");
    let (code, said) = journal(&["restore", &name], data.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(data.path().to_str().expect("text")), "{said}");
    away.collect(&Load::setup(1, &data).start());
}

/// Goal: `verify` finds nothing wrong with a directory in use and after a stop, and says in tables and in JSON how many
/// records there are.
#[test]
fn verify_counts_records() {
    let (data, _) = used();
    let (code, said) = journal(&["verify"], data.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("shard"), "{said}");
    let (code, said) = journal(&["verify", "--json"], data.path());
    assert_eq!(code, Some(0), "{said}");
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said}"));
    let records = report["shards"][0]["records"].as_u64();
    assert!(records.is_some_and(|records| records >= 200), "{said}");
    assert_eq!(report["damage"].as_array().map(Vec::len), Some(0), "{said}");
    let broker = Load::setup(1, &data).start();
    assert_eq!(journal(&["verify"], data.path()).0, Some(0), "while it runs");
    drop(broker);
}

/// Goal: `dump` prints a line for each record, and in JSON an object for each.
#[test]
fn dump_prints_every_record() {
    let (data, _) = used();
    let (code, said) = journal(&["dump"], data.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.lines().count() >= 200, "{said}");
    let (code, said) = journal(&["dump", "--json"], data.path());
    assert_eq!(code, Some(0), "{said}");
    let positions = said.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        record["position"].as_u64().unwrap_or_else(|| panic!("no position in {line}"))
    });
    let positions: Vec<u64> = positions.collect();
    assert!(positions.len() >= 200 && positions.is_sorted(), "{positions:?}");
}

/// Goal: damage is found by `verify` (exit code 1, file and offset) and given up by `repair`, after which the program
/// starts; `repair` keeps what it gives up, and refuses a directory in use.
#[test]
fn damage_is_found_and_given_up() {
    // In the middle of what was synced, and in a segment's header.
    for (at, bytes) in [(4096 + 1024, 64), (20, 4)] {
        let (data, _) = used();
        let segment = segment(&data);
        overwrite(&segment, at, &vec![0xff; bytes]);
        let (code, said) = journal(&["verify"], data.path());
        assert_eq!(code, Some(1), "damage at byte {at}: {said}");
        assert!(said.contains(segment.to_str().expect("text")), "{said}");
        let (code, said) = journal(&["verify", "--json"], data.path());
        assert_eq!(code, Some(1), "{said}");
        // What follows is said on standard error.
        let report: Value = serde_json::from_str(said.lines().next().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error} in {said}"));
        assert!(report["damage"].as_array().is_some_and(|damage| !damage.is_empty()), "{said}");
        let (code, said) = journal(&["repair"], data.path());
        assert_eq!(code, Some(0), "{said}");
        let kept = data.files().into_iter().find(|file| file.extension().is_some_and(|name| name == "damaged"));
        let kept = kept.unwrap_or_else(|| panic!("nothing is kept: {said}"));
        assert!(said.contains(kept.to_str().expect("text")), "{said}");
        assert_eq!(journal(&["verify"], data.path()).0, Some(0), "after the repair");
        let broker = Load::setup(1, &data).start();
        broker.client(Version::V5, "new").connect().ping();
        let (code, said) = journal(&["repair"], data.path());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(data.path().to_str().expect("text")), "{said}");
    }
}

/// Goal: wrong usage exits with 2 and names what is wrong.
#[test]
fn wrong_usage_of_journal() {
    let (missing, name) = missing();
    for command in [&["verify"][..], &["dump"], &["repair"], &["backup", "x"]] {
        let (code, said) = journal(command, &missing);
        assert_eq!(code, Some(2), "{command:?}: {said}");
        assert!(said.contains(&name), "{command:?}: {said}");
    }
    let empty = DataDirectory::new();
    fs::write(empty.path().join("file"), "mine").expect("our own directory");
    let (code, said) = journal(&["verify"], empty.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("MANIFEST"), "{said}");
    assert_eq!(run(&[], &["journal"]).0, Some(2));
    assert_eq!(run(&[], &["journal", "backup"]).0, Some(2));
}
