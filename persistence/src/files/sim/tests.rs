//! What a simulated disk keeps and loses.

use super::*;

fn path(name: &str) -> PathBuf {
    PathBuf::from("/").join(name)
}

fn written(files: &SimFiles, name: &str, bytes: &[u8]) -> Box<dyn Writing> {
    let mut file = files.create(&path(name)).expect("it is made");
    file.write_at(0, bytes).expect("it is written");
    file
}

/// Goal: what is synced survives the power, names need their directory's sync, and the rest is as it is picked.
#[test]
fn only_what_is_synced_survives() {
    for (pick, kept) in
        [(Pick::Old, &b"aaaa"[..]), (Pick::New, b"bbbb"), (Pick::Front(1), b"baaa"), (Pick::Back(1), b"abbb")]
    {
        let files = SimFiles::new("/memory");
        let mut file = written(&files, "one", b"aaaa");
        file.sync().expect("it is synced");
        files.sync_dir(&path("")).expect("it is synced");
        file.write_at(0, b"bbbb").expect("it is written");
        files.crash(|| pick);
        assert_eq!(files.bytes(&path("one")).expect("it has a name"), kept);
    }
    let files = SimFiles::new("/memory");
    written(&files, "two", b"aaaa").sync().expect("it is synced");
    files.crash(|| Pick::Old);
    assert!(files.bytes(&path("two")).is_err());
}

/// Goal: a name that is replaced is the old one or the new one.
#[test]
fn a_rename_is_whole() {
    for (pick, kept) in [(Pick::Old, &b"old"[..]), (Pick::New, b"new")] {
        let files = SimFiles::new("/memory");
        written(&files, "one", b"old").sync().expect("it is synced");
        files.sync_dir(&path("")).expect("it is synced");
        written(&files, "new", b"new").sync().expect("it is synced");
        files.rename(&path("new"), &path("one")).expect("it is renamed");
        files.crash(|| pick);
        assert_eq!(files.bytes(&path("one")).expect("it has a name"), kept);
    }
}

/// Goal: after a sync that failed the next one says that all is well, and it is not.
#[test]
fn a_failed_sync_is_forgotten() {
    let files = SimFiles::new("/memory");
    let mut file = written(&files, "one", b"aaaa");
    file.sync().expect("it is synced");
    files.sync_dir(&path("")).expect("it is synced");
    file.write_at(0, b"bbbb").expect("it is written");
    files.set_judge(|doing, _| (doing == Doing::Sync).then_some(libc::EIO));
    assert_eq!(file.sync().expect_err("it fails").raw_os_error(), Some(libc::EIO));
    files.acquit();
    file.sync().expect("it says so");
    assert_eq!(files.bytes(&path("one")).expect("it is there"), b"bbbb");
    files.crash(|| Pick::New);
    assert_eq!(files.bytes(&path("one")).expect("it is there"), b"aaaa");
}

/// Goal: a full disk takes what is overwritten and nothing more, until something is removed.
#[test]
fn a_disk_is_full() {
    let files = SimFiles::new("/memory");
    files.set_space(Some(8));
    let mut one = written(&files, "one", b"aaaaaa");
    let mut two = files.create(&path("two")).expect("a name needs no room");
    assert_eq!(two.write_at(0, b"abc").expect_err("no room").raw_os_error(), Some(libc::ENOSPC));
    one.write_at(2, b"bbbb").expect("the room is there");
    files.remove(&path("one")).expect("it is removed");
    two.write_at(0, b"abc").expect("there is room again");
    assert!(files.truncate(&path("two"), 9).is_err());
}

/// Goal: what is in memory survives the process, and not the power.
#[test]
fn memory_goes_with_the_power() {
    let files = SimFiles::new("/memory/of/mine");
    let mut region = files.stage(&path("memory/of/mine/ring"), 8192).expect("it is made");
    region.bytes_mut()[0] = 7;
    drop(region);
    assert_eq!(files.bytes(&path("memory/of/mine/ring")).expect("it is there")[0], 7);
    files.crash(|| Pick::New);
    assert!(files.bytes(&path("memory/of/mine/ring")).is_err());
    assert!(files.list(&path("memory/of/mine")).expect("it is there").is_empty());
}
