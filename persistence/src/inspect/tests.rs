//! Directories that are checked, copied and mended.

use std::sync::Arc;

use super::*;
use crate::files::sim::SimFiles;
use crate::manifest::Shape;
use crate::store::{Store, StoreOptions};

fn options(data_dir: &str, shards: u16) -> StoreOptions {
    let shape = Shape { shards, rules: Vec::new() };
    let sizes = StoreOptions { staging_bytes: 8192, segment_bytes: 4096, ..StoreOptions::new(data_dir, shape) };
    StoreOptions { staging_dir: "/memory".into(), ..sizes }
}

fn open(files: &SimFiles, data_dir: &str) -> Result<Store, StoreError> {
    Store::open_in(Arc::new(files.clone()), options(data_dir, 1))
}

/// A directory with one shard and three sealed segments, of 21 records each, and its records' values.
fn written() -> SimFiles {
    let files = SimFiles::new("/memory");
    drop(Store::open_in(Arc::new(files.clone()), options("/data", 2)).expect("it opens"));
    let mut store = open(&files, "/data").expect("it opens");
    let mut writers = store.rehome().expect("it begins");
    for value in 0..63 {
        writers[0].append(5, 150, |body| body.fill(value)).expect("it is written");
    }
    store.rehomed(writers).expect("it is re-homed");
    files
}

fn values(files: &SimFiles, data_dir: &str) -> Result<Vec<u8>, StoreError> {
    let store = open(files, data_dir)?;
    let mut found = Vec::new();
    store.seats().remove(0).recover(|entry, _| found.push(entry.body[0]))?;
    Ok(found)
}

fn segment(number: u64) -> PathBuf {
    Path::new("/data/generation-1/shard-0").join(segment_file_name(number))
}

/// Makes record `value` unreadable.
fn damage(files: &SimFiles, value: u64) {
    let at = 4096 + value % 21 * 192 + 50;
    files.write_at(&segment(1 + value / 21), at, &[0xff]).expect("it is written");
}

/// Goal: a whole directory is told from a damaged one, and the place is named.
#[test]
fn damage_is_told() {
    let files = written();
    let inspection = verify_in(&files, Path::new("/data")).expect("it is read");
    assert!(inspection.is_whole() && !inspection.in_use);
    let shard = &inspection.shards[0];
    assert_eq!((shard.segments, shard.records, shard.bytes), (3, 63, 63 * 192));
    damage(&files, 30);
    let inspection = verify_in(&files, Path::new("/data")).expect("it is read");
    let damage = inspection.shards[0].damage.expect("it is damaged");
    assert_eq!((damage.segment, damage.offset), (Some(2), 4096 + 9 * 192));
    let said = open(&files, "/data").and_then(|store| store.seats().remove(0).replay(|_, _| ())).expect_err("damage");
    let said = said.to_string();
    assert!(said.contains("000000000002.segment at byte 5824") && said.contains("ringmain journal repair"), "{said}");
    assert!(verify_in(&files, Path::new("/memory")).is_err());
}

/// Goal: a segment whose header is damaged is not taken for one that was never begun: neither by who checks or shows the
/// directory, nor by who copies it. The last one is told by records that say what was synced, which these do not.
#[test]
fn a_damaged_header_is_told() {
    for number in 1..=2 {
        let files = written();
        files.write_at(&segment(number), 20, &[1]).expect("it is written");
        let inspection = verify_in(&files, Path::new("/data")).expect("it is read");
        assert!(!inspection.is_whole(), "segment {number}");
        let copied = copy::copy(&files, Path::new("/data"), Path::new("/backup"));
        assert!(matches!(copied, Err(StoreError::Damaged { .. })), "segment {number}: {copied:?}");
        assert!(values(&files, "/data").is_err(), "segment {number}");
    }
}

/// Goal: a copy has what the directory had, opens, and is not written over.
#[test]
fn a_copy_opens() {
    let files = written();
    let (data, to) = (Path::new("/data"), Path::new("/backup/today"));
    let copied = copy::copy(&files, data, to).expect("it is copied");
    assert_eq!((copied.segments, copied.records), (3, 63));
    assert!(matches!(copy::copy(&files, data, to), Err(StoreError::NotEmpty(_))));
    assert_eq!(values(&files, "/backup/today").expect("it opens"), (0..63).collect::<Vec<u8>>());
    let inspection = verify_in(&files, to).expect("it is read");
    assert_eq!(inspection.shards[0].records, 63);
    damage(&files, 62);
    assert!(matches!(copy::copy(&files, data, Path::new("/other")), Err(StoreError::Damaged { .. })));
}

/// Goal: a running process keeps its files while they are copied, and is told from one that ended.
#[test]
fn a_running_node_is_copied() {
    let files = written();
    let store = open(&files, "/data").expect("it opens");
    let (_journal, recovered) = store.seats().remove(0).recover(|_, _| ()).expect("it recovers");
    assert!(verify_in(&files, Path::new("/data")).expect("it is read").in_use);
    let copied = copy::copy(&files, Path::new("/data"), Path::new("/backup")).expect("it is copied");
    assert_eq!(copied.records, recovered.report.records);
    drop(store);
    assert!(!verify_in(&files, Path::new("/data")).expect("it is read").in_use);
}

/// Goal: what is before the damage stays, what is behind it is kept beside, and the directory opens.
#[test]
fn a_damaged_directory_is_mended() {
    let files = written();
    damage(&files, 30);
    assert!(values(&files, "/data").is_err());
    let losses = repair::repair_in(&files, Path::new("/data"), Path::new("/memory")).expect("it is mended");
    let [loss] = &losses[..] else { panic!("{losses:?}") };
    assert_eq!((loss.position, loss.records), (Position(30 * 192), 21));
    let kept: Vec<_> = [3, 2].map(|number| segment(number).with_extension("segment.damaged")).into();
    assert_eq!(loss.kept, kept);
    assert_eq!(values(&files, "/data").expect("it opens"), (0..30).collect::<Vec<u8>>());
    let again = repair::repair_in(&files, Path::new("/data"), Path::new("/memory")).expect("there is nothing to mend");
    assert_eq!(again, []);
}

/// Story: a file was cut where the last record is filled up to a granule. The record was whole without that, so what was to
/// be kept was longer than the file, and repair set the whole segment aside, with all good records in it.
#[test]
fn a_file_that_is_cut_behind_a_body_keeps_what_is_before() {
    let files = written();
    files.truncate(&segment(2), 4096 + 10 * 192 - 5).expect("it is cut");
    let damage = verify_in(&files, Path::new("/data")).expect("it is read").shards[0].damage.expect("it is damaged");
    assert_eq!((damage.segment, damage.offset), (Some(2), 4096 + 9 * 192));
    assert!(values(&files, "/data").is_err());
    repair::repair_in(&files, Path::new("/data"), Path::new("/memory")).expect("it is mended");
    assert_eq!(values(&files, "/data").expect("it opens"), (0..30).collect::<Vec<u8>>());
}

/// Goal: whatever is missing or damaged, repair ends with a directory that opens, and killed half-way it is done again.
#[test]
fn repair_is_killed_anywhere() {
    for kind in 0..5 {
        for after in 0..40_u64 {
            let files = written();
            match kind {
                0 => damage(&files, 0),
                1 => damage(&files, 21),
                2 => files.remove(&segment(1)).expect("it is removed"),
                3 => files.remove(&segment(2)).expect("it is removed"),
                _ => files.write_at(&segment(3), 20, &[1]).expect("it is written"),
            }
            let mut left = after;
            files.set_judge(move |doing, _| {
                let counts = doing != crate::files::sim::Doing::Read;
                let over = counts && left == 0;
                left = left.saturating_sub(u64::from(counts));
                over.then_some(5)
            });
            let killed = repair::repair_in(&files, Path::new("/data"), Path::new("/memory")).is_err();
            files.acquit();
            repair::repair_in(&files, Path::new("/data"), Path::new("/memory")).expect("it is mended");
            let kept: std::ops::Range<u8> = match kind {
                0 => 0..0,
                1 | 3 => 0..21,
                2 => 21..63,
                _ => 0..42,
            };
            assert_eq!(values(&files, "/data").expect("it opens"), kept.collect::<Vec<u8>>(), "{kind} {after}");
            if !killed {
                break;
            }
        }
    }
}

/// Goal: what was staged behind a log that had to be cut is given up with it.
#[test]
fn staging_follows_the_log() {
    let files = written();
    let store = open(&files, "/data").expect("it opens");
    let (mut journal, recovered) = store.seats().remove(0).recover(|_, _| ()).expect("it recovers");
    journal.append(5, 100, |body| body.fill(63)).expect("it fits");
    journal.show();
    drop((journal, recovered, store));
    damage(&files, 40);
    let losses = repair::repair_in(&files, Path::new("/data"), Path::new("/memory")).expect("it is mended");
    assert_eq!(losses.iter().map(|loss| loss.records).collect::<Vec<_>>(), [22 + 20 - 21, 1]);
    assert_eq!(values(&files, "/data").expect("it opens"), (0..40).collect::<Vec<u8>>());
}
