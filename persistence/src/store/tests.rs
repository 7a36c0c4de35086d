//! The data directory over several starts, on simulated files and on the kernel's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::files::sim::{Pick, SimFiles};
use crate::journal::Journal;
use crate::layout::Position;
use crate::segment::segment_file_name;

fn shape(shards: u16) -> Shape {
    Shape { shards, rules: vec!["room/+/#".into()] }
}

fn options(shards: u16) -> StoreOptions {
    let sizes =
        StoreOptions { staging_bytes: 8192, segment_bytes: 4096, ..StoreOptions::new("/data/one", shape(shards)) };
    StoreOptions { staging_dir: "/memory".into(), ..sizes }
}

fn sim() -> SimFiles {
    SimFiles::new("/memory")
}

fn open(files: &SimFiles, shards: u16) -> Store {
    Store::open_in(Arc::new(files.clone()), options(shards)).expect("it opens")
}

/// Recovers a shard: its journal, and the first bytes of its records' bodies.
fn recover(store: &Store, shard: u16) -> (Journal, Recovered, Vec<u8>) {
    let mut found = Vec::new();
    let seat = store.seats().swap_remove(shard.into());
    let (journal, recovered) = seat.recover(|entry, _| found.push(entry.body[0])).expect("it recovers");
    (journal, recovered, found)
}

fn append(journal: &mut Journal, values: impl IntoIterator<Item = u8>) {
    for value in values {
        journal.append(1, 32, |body| body.fill(value)).expect("it fits");
    }
    journal.show();
}

/// Goal: a first start lays out the directory, and each later one counts.
#[test]
fn starts_are_counted() {
    let files = sim();
    let store = open(&files, 2);
    assert!(store.is_new() && !store.is_reshaped());
    assert_eq!((store.epoch(), store.generation(), store.shape()), (1, 0, &shape(2)));
    let identity = (store.node(), store.seed());
    drop(store);
    let store = open(&files, 2);
    assert!(!store.is_new());
    assert_eq!((store.epoch(), (store.node(), store.seed())), (2, identity));
    drop(store);
    let store = open(&files, 3);
    assert!(store.is_reshaped());
    assert_eq!(store.seats().len(), 2);
}

/// Story: a manifest was put back from an earlier time, and the start after that counted an epoch a second time. What it
/// brought into a segment of its own held records of later starts than the segment's, so the next one found it damaged.
#[test]
fn a_manifest_of_an_earlier_time_counts_no_start_twice() {
    let files = sim();
    let path = Path::new("/data/one").join(manifest::FILE_NAME);
    drop(open(&files, 1));
    let first = files.bytes(&path).expect("it is there");
    for start in 0..4 {
        let store = open(&files, 1);
        let (mut journal, recovered, found) = recover(&store, 0);
        assert_eq!(found, (0..start).collect::<Vec<u8>>());
        append(&mut journal, [start]);
        drop((journal, recovered, store));
    }
    drop(recover(&open(&files, 1), 0));
    let epoch = open(&files, 1).epoch();
    files.write_at(&path, 0, &first).expect("it is put back");
    for start in 0..2 {
        let store = open(&files, 1);
        // The last start before this appended nothing, and left a staging file alone.
        assert_eq!(store.epoch(), epoch + start);
        assert_eq!(recover(&store, 0).2, [0, 1, 2, 3]);
    }
}

/// Story: a manifest was put back from a time before the directory was laid out anew, and the start after that removed
/// the layout with all that was in it.
#[test]
fn a_manifest_of_an_earlier_layout_removes_nothing() {
    let files = sim();
    let path = Path::new("/data/one").join(manifest::FILE_NAME);
    let store = open(&files, 1);
    let (mut journal, recovered, _) = recover(&store, 0);
    append(&mut journal, 0..4);
    drop((journal, recovered, store));
    let before = files.bytes(&path).expect("it is there");
    rehome(&files, 2).expect("it is re-homed");
    let after = files.bytes(&path).expect("it is there");
    let put_back = |bytes: &[u8]| {
        files.write_at(&path, 0, bytes).expect("it is written");
        files.truncate(&path, bytes.len() as u64).expect("it is cut");
    };
    put_back(&before);
    for _ in 0..2 {
        let error = Store::open_in(Arc::new(files.clone()), options(1)).expect_err("it is refused");
        assert!(error.to_string().contains("generation-0/shard-0 is gone"), "{error}");
    }
    put_back(&after);
    assert_eq!(all(&files, 2), [vec![0, 2], vec![1, 3]]);
}

/// Goal: what a killed process had staged is there again, once, however often it is killed.
#[test]
fn what_was_staged_is_adopted() {
    let files = sim();
    let store = open(&files, 1);
    let (mut journal, recovered, found) = recover(&store, 0);
    assert_eq!((found.len(), recovered.report), (0, Report::default()));
    append(&mut journal, 0..20);
    drop((journal, recovered, store));
    for start in 0..3 {
        let store = open(&files, 1);
        let (mut journal, recovered, found) = recover(&store, 0);
        assert_eq!(found, (0..20 + start).collect::<Vec<u8>>());
        let adopted = recovered.report.adopted.expect("something was staged");
        assert_eq!(adopted.staged_records, if start == 0 { 20 } else { 1 });
        assert_eq!(journal.tail(), Position(64 * u64::from(20 + start)));
        assert_eq!(recovered.handover.live.last().and_then(|live| live.end), Some(journal.tail()));
        append(&mut journal, [20 + start]);
    }
    // The power fails: what was adopted is on disk, and what was staged since is gone.
    files.crash(|| Pick::Old);
    let store = open(&files, 1);
    assert_eq!(recover(&store, 0).2, (0..22).collect::<Vec<u8>>());
}

/// Goal: with `memory` nothing is staged in files, and what an earlier start left is found all the same.
#[test]
fn memory_stages_nothing() {
    let files = sim();
    let store = open(&files, 1);
    let (mut journal, recovered, _) = recover(&store, 0);
    append(&mut journal, 0..3);
    drop((journal, recovered, store));
    let options = StoreOptions { durability: Durability::Memory, ..options(1) };
    let store = Store::open_in(Arc::new(files.clone()), options).expect("it opens");
    let (mut journal, recovered, found) = recover(&store, 0);
    assert_eq!(found, [0, 1, 2]);
    assert!(recovered.handover.staged.file().is_none());
    append(&mut journal, [3]);
    assert_eq!(journal.durable(), journal.tail());
    drop((journal, recovered, store));
    assert_eq!(recover(&open(&files, 1), 0).2, [0, 1, 2]);
}

/// Re-homes everything into `shards` shards: records of value v go to shard v % shards.
fn rehome(files: &SimFiles, shards: u16) -> Result<(), StoreError> {
    let mut store = Store::open_in(Arc::new(files.clone()), options(shards))?;
    assert!(store.is_reshaped());
    let mut values = Vec::new();
    for seat in store.seats() {
        seat.replay(|entry, _| values.push(entry.body[0]))?;
    }
    let mut writers = store.rehome()?;
    for value in values {
        let writer = &mut writers[usize::from(value) % usize::from(shards)];
        writer.append(1, 100, |body| body.fill(value))?;
    }
    store.rehomed(writers)
}

fn all(files: &SimFiles, shards: u16) -> Vec<Vec<u8>> {
    let store = open(files, shards);
    assert!(!store.is_reshaped());
    (0..shards).map(|shard| recover(&store, shard).2).collect()
}

/// Goal: records move to their new owners, and the old layout is gone.
#[test]
fn a_directory_is_rehomed() {
    let files = sim();
    let store = open(&files, 1);
    let (mut journal, recovered, _) = recover(&store, 0);
    append(&mut journal, 0..90);
    drop((journal, recovered, store));
    rehome(&files, 3).expect("it is re-homed");
    files.crash(|| Pick::Old);
    let dealt = |shards: u8| (0..shards).map(move |shard| (0..90).filter(|value| value % shards == shard).collect());
    assert_eq!(all(&files, 3), dealt(3).collect::<Vec<Vec<u8>>>());
    let names = files.list(Path::new("/data/one")).expect("it is there").into_iter().map(|entry| entry.name);
    assert_eq!(names.collect::<Vec<_>>(), [LOCK, "MANIFEST", RETAIN, "generation-1"]);
    rehome(&files, 2).expect("it is re-homed");
    let even: Vec<_> = all(&files, 2).concat();
    assert_eq!(even.len(), 90);
}

/// Goal: how many threads check segments is nobody's business: the records come in order, and damage is told alike.
#[test]
fn segments_are_checked_ahead() {
    let files = sim();
    let store = open(&files, 1);
    let (mut journal, recovered, _) = recover(&store, 0);
    append(&mut journal, 0..100);
    drop((journal, recovered, store));
    rehome(&files, 2).expect("it is re-homed");
    let recover = |threads| {
        let options = StoreOptions { threads, ..options(2) };
        let store = Store::open_in(Arc::new(files.clone()), options).expect("it opens");
        let (mut found, mut lives) = (Vec::new(), 0);
        let outcome = store.seats().remove(0).recover(|entry, bytes| {
            assert_eq!(bytes.slice_ref(entry.body), entry.body);
            found.push(entry.body[0]);
        });
        let outcome = outcome.map(|(_, recovered)| lives = recovered.sources.len());
        (found, lives, outcome.map_err(|error| error.to_string()))
    };
    let (found, lives, _) = recover(0);
    assert_eq!(found, (0..100).step_by(2).collect::<Vec<u8>>());
    assert!(lives > 1, "{lives} segments");
    assert_eq!(recover(1), (found.clone(), lives, Ok(())));
    assert_eq!(recover(3), (found, lives, Ok(())));
    let first = Path::new("/data/one/generation-1/shard-0").join(segment_file_name(1));
    files.write_at(&first, 4096 + 1000, &[0xff; 8]).expect("it is written");
    let (found, _, outcome) = recover(0);
    assert!(outcome.as_ref().is_err_and(|error| error.contains("a record is not whole")), "{outcome:?}");
    assert_eq!(recover(2), (found, 0, outcome));
}

/// Goal: killed anywhere in it, by hand or by the power, re-homing leaves the old layout or the new one, whole.
#[test]
fn rehoming_is_killed_anywhere() {
    for (step, pick) in (0..).zip([Pick::Old, Pick::New, Pick::Front(100), Pick::Back(300)].into_iter().cycle()) {
        let files = sim();
        let store = open(&files, 1);
        let (mut journal, recovered, _) = recover(&store, 0);
        append(&mut journal, 0..90);
        drop((journal, recovered, store));
        let mut left = step / 2;
        files.set_judge(move |doing, _| {
            if doing == crate::files::sim::Doing::Read {
                return None;
            }
            left -= 1;
            (left < 0).then_some(libc::EIO)
        });
        let done = rehome(&files, 3).is_ok();
        files.acquit();
        // What was staged is gone with the power, unless it was adopted; so only then it may fail.
        let staged = files
            .list(Path::new("/memory"))
            .expect("it is there")
            .iter()
            .any(|node| !files.list(&Path::new("/memory").join(&node.name)).expect("it is there").is_empty());
        if step % 2 == 0 && !staged {
            files.crash(|| pick);
        }
        let reshaped = open(&files, 3).is_reshaped();
        let whole = match reshaped {
            true => all(&files, 1).concat(),
            false => all(&files, 3).concat(),
        };
        assert_eq!(whole.len(), 90, "step {step}");
        if done {
            break;
        }
    }
}

/// Goal: what cannot be used is refused with the file, what it is, and what helps.
#[test]
fn a_directory_that_cannot_be_used_is_refused() {
    let root = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let data = root.path().join("a/data");
    let options =
        || StoreOptions { staging_dir: root.path().into(), staging_bytes: 8192, ..StoreOptions::new(&data, shape(1)) };
    let refused = |options: StoreOptions| Store::open(options).expect_err("it is refused").to_string();

    let store = Store::open(options()).expect("it opens");
    let said = refused(options());
    assert!(said.contains(&format!("LOCK is locked by process {}", std::process::id())), "{said}");
    // A copy of it would use the same staging.
    let copy = root.path().join("copy");
    fs::create_dir_all(copy.join("generation-0/shard-0")).expect("it is made");
    fs::copy(data.join("MANIFEST"), copy.join("MANIFEST")).expect("it is copied");
    let said = refused(StoreOptions { data_dir: copy.clone(), ..options() });
    assert!(said.contains("whose data directory this one is a copy of"), "{said}");
    let _recovered = store.seats().remove(0).recover(|_, _| ()).expect("it recovers");
    drop(store);
    let (_, next) =
        Store::open(options()).expect("it opens").seats().remove(0).recover(|_, _| ()).expect("it recovers");
    drop(next);
    fs::copy(data.join("MANIFEST"), copy.join("MANIFEST")).expect("it is copied");
    let store = Store::open(options()).expect("it opens");
    let _newer = store.seats().remove(0).recover(|_, _| ()).expect("it recovers");
    drop(store);
    for _ in 0..2 {
        let said = refused(StoreOptions { data_dir: copy.clone(), ..options() });
        assert!(said.contains("shard-0.3.staging was left by start 3, and the data directory knows of 2"), "{said}");
    }

    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).expect("it is changed");
    let said = refused(options());
    assert!(said.contains("may be written by others (mode 0777): chmod go-w it"), "{said}");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("it is changed");
    let said = refused(StoreOptions { staging_dir: root.path().join("nowhere"), ..options() });
    assert!(said.contains("--staging-dir"), "{said}");
    fs::rename(data.join("generation-0/shard-0"), root.path().join("away")).expect("it is renamed");
    let said = refused(options());
    assert!(said.contains("generation-0/shard-0 is gone"), "{said}");
    fs::remove_file(data.join("MANIFEST")).expect("it is removed");
    fs::write(data.join("generation-0/note"), "mine").expect("it is written");
    let said = refused(options());
    assert!(said.contains("has generation-0 in it and no MANIFEST"), "{said}");
    fs::write(root.path().join("file"), "").expect("it is written");
    let said = refused(StoreOptions { data_dir: root.path().join("file"), ..options() });
    assert!(said.contains("is not a directory"), "{said}");
}

/// Goal: of what a directory holds, only its user reads anything, whatever its own permissions are.
#[test]
fn files_are_private() {
    let root = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let data = root.path().join("data");
    let options = StoreOptions { staging_dir: root.path().into(), ..StoreOptions::new(&data, shape(1)) };
    let store = Store::open(options).expect("it opens");
    let (_journal, recovered) = store.seats().remove(0).recover(|_, _| ()).expect("it recovers");
    let staging = recovered.handover.staged.file().expect("it is a file").to_path_buf();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    for directory in [&data, &data.join("generation-0"), staging.parent().expect("it has one")] {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
    for file in [&data.join("MANIFEST"), &data.join("LOCK"), &staging] {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}
