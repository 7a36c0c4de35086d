//! Disks that are full, read-only or broken, and memory that goes away: the journal refuses, the node goes on.

use std::fs;

use ringmain_tests::{Broker, DEADLINE, DataDirectory, Publish, Setup, Version};

use crate::clients::{Live, Offline, REFUSED};
use crate::load::Load;
use crate::mount::Mount;

/// Bytes of a large message.
const LARGE: usize = 8 << 10;

/// Waits for a line of the log that contains `needle`.
fn logged(broker: &mut Broker, needle: &str) {
    if let Err(log) = broker.process().wait_for(needle, DEADLINE) {
        panic!("{needle} is not in the log:\n{log}");
    }
}

/// A data directory on this file system.
fn on(mount: &Mount) -> DataDirectory {
    DataDirectory::at(&mount.path().join("data"))
}

/// Goal: a full disk: what needs it is refused (5.0: 0x97; 3.1.1: closed), QoS 0 goes on, and with room again a restart
/// brings everything that was acknowledged.
#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let disk = Mount::tmpfs("24m");
    let data = on(&disk);
    let mut broker = Load::setup(1, &data).start();
    let mut live = Live::new(&broker);
    let mut away = Offline::new(&broker, "away");
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    away.publish_until_refused(&mut publisher, LARGE);
    assert!(away.acknowledged() > 100, "only {} messages fit on the disk", away.acknowledged());
    logged(&mut broker, "No space left on device");
    let mut old = broker.client(Version::V311, "old").connect();
    old.send_publish(&Publish::new("offline/away", 1, "x"));
    old.closed();
    live.goes_on(&broker);
    publisher.ping();
    broker.process().kill();
    disk.remount("size=128m");
    let broker = Load::setup(1, &data).start();
    away.collect(&broker);
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    away.publish_all(&mut publisher, 10);
    away.collect(&broker);
}

/// Goal: at `journal.max_size` publishes are refused until a subscriber has taken what it is owed and compaction has
/// made room; the journal's files stay within the bound.
#[test]
fn the_bound_on_the_journal_holds() {
    const BOUND: u64 = 8 << 20;
    let data = DataDirectory::new();
    let mut broker = Load::setup(1, &data).env("RINGMAIN__JOURNAL__MAX_SIZE", &BOUND.to_string()).start();
    let mut live = Live::new(&broker);
    let mut away = Offline::new(&broker, "away");
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    away.publish_until_refused(&mut publisher, LARGE);
    live.goes_on(&broker);
    let segments = data.files().into_iter().filter(|file| file.extension().is_some_and(|name| name == "segment"));
    let bytes: u64 = segments.map(|file| fs::metadata(file).map_or(0, |file| file.len())).sum();
    // Each of four segments has a header of one page.
    assert!(bytes <= BOUND + 4 * 4096, "{bytes} bytes of segments");
    away.collect(&broker);
    // Nothing but a refusal or an acknowledgement says when there is room again.
    let code = (0..10_000).map(|_| away.publish(&mut publisher, LARGE)).find(|code| *code != REFUSED);
    assert!(code.is_some_and(|code| code < 0x80), "still refused: {code:?}\n{}", broker.log());
    assert!(broker.terminate(DEADLINE).success());
    let broker = Load::setup(1, &data).start();
    away.collect(&broker);
}

/// Goal: a disk that fails: the journal is fenced and says where, QoS 0 goes on, and the program stops when it is told.
#[test]
fn a_broken_disk_fences_the_journal() {
    let disk = Mount::ext4(128 << 20);
    let data = on(&disk);
    let mut broker = Load::setup(1, &data).start();
    let mut live = Live::new(&broker);
    let mut away = Offline::new(&broker, "away");
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    away.publish_all(&mut publisher, 50);
    disk.cut();
    away.publish_until_refused(&mut publisher, LARGE);
    logged(&mut broker, "Input/output error");
    assert!(broker.log().contains("segment"), "the log names the segment: {}", broker.log());
    live.goes_on(&broker);
    // It stays so.
    assert_eq!(away.publish(&mut publisher, 100), REFUSED);
    live.goes_on(&broker);
    broker.terminate(DEADLINE);
}

/// Goal: staging memory that goes away (SIGBUS) fences that shard's journal and no other, the node goes on, and a
/// restart brings everything that was acknowledged.
#[test]
fn staging_that_goes_away_fences_one_journal() {
    let data = DataDirectory::new();
    let mut broker = Load::setup(2, &data).start();
    let mut live = Live::new(&broker);
    let mut all: Vec<Offline> = (0..16).map(|number| Offline::new(&broker, &format!("away-{number}"))).collect();
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    all.iter_mut().for_each(|away| away.publish_all(&mut publisher, 5));
    let shard_0 = |file: &std::path::PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("shard-0.") && name.ends_with(".staging")
    };
    let staging = data.files().into_iter().find(shard_0).expect("the staging file of shard 0");
    fs::OpenOptions::new().write(true).open(&staging).and_then(|file| file.set_len(0)).expect("our own file");
    // Ten each: the ring may have a page at hand that is mapped still.
    let refused: Vec<bool> = all
        .iter_mut()
        .map(|away| (0..10).map(|_| away.publish(&mut publisher, LARGE)).any(|code| code == REFUSED))
        .collect();
    assert!(refused.contains(&true), "sessions of shard 0 are refused");
    assert!(refused.contains(&false), "sessions of shard 1 are served");
    logged(&mut broker, "SIGBUS");
    live.goes_on(&broker);
    broker.process().kill();
    let broker = Load::setup(2, &data).start();
    all.iter_mut().for_each(|away| away.collect(&broker));
}

/// Goal: a data directory that cannot be written is refused at the start, with its name, the system's words and a
/// remedy.
#[test]
fn a_read_only_disk_is_refused_at_the_start() {
    let disk = Mount::tmpfs("16m");
    let data = on(&disk);
    assert!(Load::setup(1, &data).start().terminate(DEADLINE).success());
    disk.remount("ro");
    let missing = DataDirectory::at(&disk.path().join("missing"));
    for data in [&data, &missing] {
        let (code, said) = Load::setup(1, data).refused();
        assert_eq!(code, Some(1), "{said}");
        for named in [data.path().to_str().expect("text"), "Read-only file system", "--data-dir"] {
            assert!(said.contains(named), "{named} in {said}");
        }
    }
}

/// Goal: the same for a staging directory that is no directory, or too small for the rings.
#[test]
fn staging_without_room_is_refused_at_the_start() {
    let small = Mount::tmpfs("1m");
    let data = DataDirectory::new();
    let missing = small.path().join("missing/too");
    for (staging, named) in [(small.path(), "No space left on device"), (&missing, "No such file or directory")] {
        let staging = staging.to_str().expect("text");
        let setup = Setup::shards(2).on(&data).env("RINGMAIN__JOURNAL__STAGING_DIR", staging);
        let (code, said) = setup.refused();
        assert_eq!(code, Some(1), "{said}");
        for named in [staging, named] {
            assert!(said.contains(named), "{named} in {said}");
        }
    }
}

/// Goal: directories that may not be read or written are refused at the start, with their name.
#[test]
fn wrong_permissions_are_refused_at_the_start() {
    // Root may do everything unless it gives that up.
    let bound =
        ["setpriv", "--inh-caps=-dac_override,-dac_read_search", "--bounding-set=-dac_override,-dac_read_search"];
    let setup = |data: &DataDirectory| Load::setup(1, data).under(&bound);
    let data = DataDirectory::new();
    assert!(setup(&data).start().terminate(DEADLINE).success());
    for mode in [0o000, 0o555] {
        set_mode(data.path(), mode);
        let (code, said) = setup(&data).refused();
        set_mode(data.path(), 0o755);
        assert_eq!(code, Some(1), "{said}");
        for named in [data.path().to_str().expect("text"), "Permission denied", "--data-dir"] {
            assert!(said.contains(named), "mode {mode:o}: {named} in {said}");
        }
    }
    assert!(setup(&data).start().terminate(DEADLINE).success());
}

fn set_mode(path: &std::path::Path, mode: u32) {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, permissions).expect("our own directory");
}
