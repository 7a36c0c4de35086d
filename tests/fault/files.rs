//! Files that are not what they should be, and directories that are somebody else's.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ringmain_tests::{DEADLINE, DataDirectory, Version};

use crate::clients::Offline;
use crate::load::Load;

/// A data directory with a session and what it is owed, after a stop; on one shard.
pub fn used() -> (DataDirectory, Offline) {
    let data = DataDirectory::new();
    let mut broker = Load::setup(1, &data).start();
    let mut away = Offline::new(&broker, "away");
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    away.publish_all(&mut publisher, 200);
    drop(publisher);
    assert!(broker.terminate(DEADLINE).success());
    (data, away)
}

/// The first segment of the journal.
pub fn segment(data: &DataDirectory) -> PathBuf {
    let segment = |file: &PathBuf| file.extension().is_some_and(|name| name == "segment");
    data.files().into_iter().find(segment).expect("a segment")
}

/// Writes into a file of ours.
pub fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    let mut open = fs::OpenOptions::new().write(true).open(file).expect("our own file");
    open.seek(SeekFrom::Start(at)).and_then(|_| open.write_all(bytes)).expect("our own file");
}

/// Goal: damage before the end of the log is refused at the start, with the file and the remedy, and never passed over:
/// in the middle of what was synced, and in a segment's header.
#[test]
fn damage_is_refused_and_named() {
    for (at, bytes) in [(4096 + 1024, 64), (20, 4)] {
        let (data, _) = used();
        let segment = segment(&data);
        overwrite(&segment, at, &vec![0xff; bytes]);
        let (code, said) = Load::setup(1, &data).refused();
        assert_eq!(code, Some(1), "damage at byte {at}: {said}");
        let [directory, file] = [segment.parent(), segment.file_name().map(Path::new)]
            .map(|part| part.and_then(Path::to_str).expect("text"));
        for named in [directory, file, "ringmain journal repair"] {
            assert!(said.contains(named), "damage at byte {at}: {named} in {said}");
        }
    }
}

/// Goal: a file with the name of a segment and other content is refused, with its name.
#[test]
fn a_foreign_file_is_refused() {
    let (data, _) = used();
    let segment = segment(&data);
    overwrite(&segment, 0, b"somebody else's words");
    let (code, said) = Load::setup(1, &data).refused();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(segment.to_str().expect("text")), "{said}");
}

/// Goal: a file of a newer version is refused, with its name and what to do, and is not changed.
#[test]
fn a_newer_file_is_refused() {
    let (data, mut away) = used();
    let segment = segment(&data);
    let version = fs::read(&segment).expect("our own file")[8..12].to_vec();
    overwrite(&segment, 8, &250u32.to_le_bytes());
    let before = fs::read(&segment).expect("our own file");
    let (code, said) = Load::setup(1, &data).refused();
    assert_eq!(code, Some(1), "{said}");
    for named in [segment.to_str().expect("text"), "250", "newer"] {
        assert!(said.contains(named), "{named} in {said}");
    }
    assert!(fs::read(&segment).expect("our own file") == before, "it was changed");
    overwrite(&segment, 8, &version);
    away.collect(&Load::setup(1, &data).start());
}

/// Goal: files that somebody has put beside ours are left alone, and do no harm.
#[test]
fn files_beside_ours_are_left_alone() {
    let (data, mut away) = used();
    let beside = segment(&data).with_file_name("NOTES");
    let notes = [data.path().join("NOTES"), beside];
    notes.iter().for_each(|file| fs::write(file, "mine").expect("our own directory"));
    away.collect(&Load::setup(1, &data).start());
    notes.iter().for_each(|file| assert_eq!(fs::read_to_string(file).expect("it is still there"), "mine"));
}

/// Goal: a manifest that is damaged or missing beside a journal is refused, with its name.
#[test]
fn a_damaged_manifest_is_refused() {
    let (data, mut away) = used();
    let manifest = data.path().join("MANIFEST");
    let good = fs::read(&manifest).expect("a manifest");
    for bad in [&good[..good.len() / 2], b"nonsense", b""] {
        fs::write(&manifest, bad).expect("our own file");
        let (code, said) = Load::setup(1, &data).refused();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(manifest.to_str().expect("text")), "{said}");
    }
    fs::remove_file(&manifest).expect("our own file");
    let (code, said) = Load::setup(1, &data).refused();
    assert_eq!(code, Some(1), "{said}");
    for named in [data.path().to_str().expect("text"), "MANIFEST"] {
        assert!(said.contains(named), "{named} in {said}");
    }
    fs::write(&manifest, good).expect("our own file");
    away.collect(&Load::setup(1, &data).start());
}

/// Goal: a directory that holds somebody else's files and no journal is refused, and left as it is.
#[test]
fn a_directory_of_somebody_else_is_refused() {
    let data = DataDirectory::new();
    let file = data.path().join("thesis.tex");
    fs::write(&file, "mine").expect("our own directory");
    let (code, said) = Load::setup(1, &data).refused();
    assert_eq!(code, Some(1), "{said}");
    for named in [data.path().to_str().expect("text"), "thesis.tex", "--data-dir"] {
        assert!(said.contains(named), "{named} in {said}");
    }
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "mine");
}

/// Goal: a directory that others may write to is refused, with what to do.
#[test]
fn a_directory_open_to_others_is_refused() {
    let data = DataDirectory::new();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(data.path(), permissions).expect("our own directory");
    let (code, said) = Load::setup(1, &data).refused();
    assert_eq!(code, Some(1), "{said}");
    for named in [data.path().to_str().expect("text"), "chmod"] {
        assert!(said.contains(named), "{named} in {said}");
    }
}

/// Goal: a second process on one directory is refused, with the number of the first, which does not notice; after kill
/// -9 the directory is free.
#[test]
fn a_second_process_is_refused() {
    let data = DataDirectory::new();
    let mut broker = Load::setup(1, &data).start();
    let mut away = Offline::new(&broker, "away");
    let (code, said) = Load::setup(1, &data).refused();
    assert_eq!(code, Some(1), "{said}");
    for named in [data.path().to_str().expect("text"), &broker.process().id().to_string()] {
        assert!(said.contains(named), "{named} in {said}");
    }
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    away.publish_all(&mut publisher, 10);
    broker.process().kill();
    away.collect(&Load::setup(1, &data).start());
}

/// Goal: with `--no-persistence` nothing is written, and what a directory holds is neither used nor touched.
#[test]
fn without_persistence_nothing_is_written() {
    let (data, mut away) = used();
    let before: Vec<(PathBuf, Vec<u8>)> =
        data.files().into_iter().map(|file| (file.clone(), fs::read(file).expect("our own file"))).collect();
    let mut setup = Load::setup(1, &data).no_persistence();
    setup.environment.extend(data.environment());
    let mut broker = setup.start();
    let client = broker.client(Version::V5, "away").durable().connect();
    assert!(!client.session_present, "what the journal holds is not used");
    drop(client);
    assert!(broker.terminate(DEADLINE).success());
    let after: Vec<PathBuf> = data.files();
    assert_eq!(before.iter().map(|(file, _)| file.clone()).collect::<Vec<_>>(), after);
    assert!(before.iter().all(|(file, bytes)| fs::read(file).is_ok_and(|now| now == *bytes)), "a file was changed");
    away.collect(&Load::setup(1, &data).start());
}
