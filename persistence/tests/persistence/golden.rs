//! Directories that released formats left behind: each must open, with exactly what is in it.
//!
//! `RINGMAIN_WRITE_GOLDEN=1 cargo test -p ringmain-persistence golden` writes the one of the present format anew. That
//! is right while a format is not released, and never after.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use persistence::files::Files;
use persistence::files::sim::SimFiles;
use persistence::keeper::plan::Op;
use persistence::segment::segment_file_name;
use persistence::{Journal, Shape, Store, StoreOptions, inspect};

use crate::node::{Keeper, SEGMENT_BYTES};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn options(data_dir: &Path, staging_dir: &Path, shards: u16) -> StoreOptions {
    let shape = Shape { shards, rules: vec!["room/+/#".into(), "stream/\"quoted\"/#".into()] };
    let sizes =
        StoreOptions { staging_bytes: 4096, segment_bytes: SEGMENT_BYTES, ..StoreOptions::new(data_dir, shape) };
    StoreOptions { staging_dir: staging_dir.into(), ..sizes }
}

fn append(journal: &mut Journal, values: std::ops::Range<u8>) {
    for value in values {
        let kind = u16::from(value) + 1;
        journal.append(kind, usize::from(value) * 7, |body| body.fill(value)).expect("it fits");
    }
    journal.show();
}

/// Makes the directory: re-homed once; shard 0 with a checkpoint, several segments, a torn tail, and records that are
/// staged alone; shard 1 with what re-homing gave it.
fn write(files: &SimFiles) {
    let (data, memory) = (Path::new("/data"), Path::new("/memory"));
    let open = |shards| Store::open_in(Arc::new(files.clone()), options(data, memory, shards)).expect("it opens");
    drop(open(1));
    let mut store = open(2);
    let mut writers = store.rehome().expect("it begins");
    for value in 0..40_u8 {
        let writer = &mut writers[usize::from(value % 2)];
        writer.append(u16::from(value) + 1, usize::from(value) * 7, |body| body.fill(value)).expect("it is written");
    }
    store.rehomed(writers).expect("it is re-homed");
    let (mut journal, recovered) = store.seats().remove(0).recover(|_, _| ()).expect("it recovers");
    let mut keeper = Keeper::new(files.clone(), &journal, recovered.handover, (0, 1024));
    let drain = |journal: &mut Journal, keeper: &mut Keeper, values| {
        append(journal, values);
        keeper.run_all();
    };
    for values in [100..102, 102..104, 104..106, 106..108] {
        drain(&mut journal, &mut keeper, values);
    }
    journal.trim(journal.synced());
    keeper.run_all();
    drain(&mut journal, &mut keeper, 108..110);
    drain(&mut journal, &mut keeper, 110..112);
    append(&mut journal, 112..114);
    // The power has taken half of this write, and of the next nothing was written.
    keeper.look();
    let (op, written) = keeper.perform(0);
    let (Op::Write { number, .. }, Ok(())) = (op, written) else { panic!("{op:?}") };
    let path = Path::new("/data/generation-1/shard-0").join(segment_file_name(number));
    let bytes = files.bytes(&path).expect("it is there");
    let end = bytes.iter().rposition(|&byte| byte == 112).expect("the record was written");
    files.write_at(&path, end as u64, &[0]).expect("it is written");
}

/// All files below a directory, by their paths from there, but the lock.
fn all(files: &dyn Files, root: &Path, below: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in files.list(&root.join(below)).expect("it is there") {
        let path = below.join(&entry.name);
        match entry.directory {
            true => found.extend(all(files, root, &path)),
            false if entry.name == "LOCK" || entry.name == "RETAIN" => {}
            false => {
                let bytes = files.read_at(&root.join(&path), 0, usize::MAX).expect("it is read");
                found.push((path, bytes));
            }
        }
    }
    found
}

/// Goal: what is written now is, byte for byte, what the present format's directory holds.
#[test]
fn golden_is_what_is_written() {
    let files = SimFiles::new("/memory");
    write(&files);
    let written = [("data", "/data"), ("staging", "/memory")].map(|(name, root)| {
        let found = all(&files, Path::new(root), Path::new(""));
        found.into_iter().map(move |(path, bytes)| (Path::new(name).join(path), bytes))
    });
    let mut written: Vec<_> = written.into_iter().flatten().collect();
    written.sort();
    if std::env::var_os("RINGMAIN_WRITE_GOLDEN").is_some() {
        if golden().exists() {
            fs::remove_dir_all(golden()).expect("it is removed");
        }
        for (path, bytes) in &written {
            let path = golden().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it is made");
            fs::write(path, bytes).expect("it is written");
        }
    }
    let mut committed = all(&persistence::files::Disk, &golden(), Path::new(""));
    committed.sort();
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&committed), names(&written));
    for ((path, committed), (_, written)) in committed.iter().zip(&written) {
        assert!(committed == written, "{} has changed", path.display());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it is made");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is read");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("it is copied")),
        }
    }
}

/// Goal: a directory of format 1 opens on the kernel's files, with exactly what is in it, and again after that.
#[test]
fn golden_v1_opens() {
    let root = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let (data, staging) = (root.path().join("data"), root.path().join("staging"));
    copy(&golden().join("data"), &data);
    copy(&golden().join("staging"), &staging);
    let inspection = inspect::verify(&data).expect("it is read");
    assert!(inspection.is_whole() && inspection.shards[0].torn.is_some());
    assert_eq!((inspection.manifest.epoch, inspection.manifest.generation), (2, 1));
    let even = (0..40).filter(|value| value % 2 == 1).collect::<Vec<u8>>();
    for start in 0..2 {
        let store = Store::open(options(&data, &staging, 2)).expect("it opens");
        assert!(!store.is_reshaped());
        for (shard, expected) in [(0, (108..114).collect()), (1, even.clone())] {
            let mut found = Vec::new();
            let (_, recovered) = store.seats()[shard]
                .clone()
                .recover(|entry, _| {
                    assert_eq!(entry.body.len(), usize::from(entry.kind - 1) * 7);
                    assert!(entry.body.iter().all(|&byte| u16::from(byte) == entry.kind - 1));
                    found.push((entry.kind - 1) as u8);
                })
                .expect("it recovers");
            assert_eq!(found, expected, "start {start}");
            let adopted = recovered.report.adopted.map_or(0, |adopted| adopted.staged_records);
            assert_eq!(adopted, if (start, shard) == (0, 0) { 2 } else { 0 });
        }
    }
}
