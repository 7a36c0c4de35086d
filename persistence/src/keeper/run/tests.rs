//! The keeper on real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::super::plan::{Files, Limits};
use super::*;
use crate::header::FileHeader;
use crate::journal::{Durability, Journal, Refused};
use crate::layout::{HEADER_BYTES, RecordHeader, SEGMENT_MAGIC};
use crate::{KeeperCounts, Owner};

const LIMITS: Limits = Limits { segment_bytes: 64 << 10, max_bytes: 0, batch_bytes: 16 << 10 };
const RING_BYTES: u64 = 32 << 10;
/// Longer than anything here takes on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A journal on a keeper.
struct Shard {
    journal: Journal,
    directory: PathBuf,
    appended: u32,
}

/// A keeper of journals in these directories.
fn start(directories: &[&Path], options: KeeperOptions) -> (Vec<Shard>, KeeperHandle) {
    let mut shards = Vec::new();
    let mut begins: Vec<(Begin, Doorbell)> = Vec::new();
    for directory in directories {
        let (journal, staged, _) = Journal::detached(RING_BYTES, Durability::Fsync);
        let directory = directory.to_path_buf();
        let owner = Owner { node: 1, generation: 0, shard: shards.len() as u16 };
        let files = Files { next: 1, ..Files::default() };
        let begin = Begin { directory: directory.clone(), owner, epoch: 1, limits: LIMITS, files, staged };
        begins.push((begin, Box::new(|| {})));
        shards.push(Shard { journal, directory, appended: 0 });
    }
    let keeper = Keeper::start(begins, options).expect("it starts");
    for (index, shard) in shards.iter_mut().enumerate() {
        shard.journal.set_bell(keeper.bell(index));
    }
    (shards, keeper)
}

fn body_length(number: u32) -> usize {
    4 + (number as usize * 37) % 900
}

impl Shard {
    /// Appends the next record, which tells its number.
    fn append(&mut self) -> Result<Position, Refused> {
        let number = self.appended;
        let end = self.journal.append(1, body_length(number), |body| {
            body.fill(number as u8);
            body[..4].copy_from_slice(&number.to_le_bytes());
        })?;
        self.appended += 1;
        self.journal.show();
        Ok(end)
    }

    /// Appends so many, and waits while the ring is full.
    fn append_all(&mut self, records: u32) {
        let (until, begun) = (self.appended + records, Instant::now());
        while self.appended < until {
            match self.append() {
                Ok(_) => {}
                Err(Refused::Full) if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_micros(200)),
                Err(refused) => panic!("{refused:?}: {:?}, {:?}", self.journal.fenced(), self.counts()),
            }
        }
    }

    fn await_durable(&self) {
        eventually("all of it is durable", || self.journal.durable() == self.journal.tail());
    }

    fn counts(&self) -> KeeperCounts {
        self.journal.shared().stats().counts()
    }

    fn trouble(&self) -> Option<(Trouble, i32)> {
        self.journal.fenced().map(|fence| (fence.trouble, fence.errno))
    }
}

/// Looks often: the keeper rings for shards, and not for all that tests ask.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn segment_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "segment")).collect();
    paths.sort();
    paths
}

/// The numbers of the records in a directory's segments, in order, and where they end.
fn read_back(directory: &Path) -> (Vec<u32>, Position) {
    let mut segments = Vec::new();
    for path in segment_files(directory) {
        let bytes = fs::read(&path).expect("a segment");
        assert_eq!(bytes.len() as u64, LIMITS.file_bytes());
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()).expect("a number");
        // One that is not begun has no header, or another's.
        if let Ok(FileHeader { numbers: [named, base, _], .. }) = FileHeader::read(SEGMENT_MAGIC, &bytes)
            && named == number
        {
            segments.push((Position(base), bytes));
        }
    }
    let mut numbers = Vec::new();
    let mut at = segments.first().map_or(Position(0), |(base, _)| *base);
    for (base, bytes) in segments {
        assert_eq!(base, at, "a segment begins where the one before it ends");
        let rest = |at: Position| &bytes[(HEADER_BYTES + at.0 - base.0) as usize..];
        while let Some((header, body)) = RecordHeader::check(rest(at), at) {
            if header.kind == 1 {
                let number = u32::from_le_bytes(*body.first_chunk().expect("a number"));
                assert!(body.len() == body_length(number) && body[4..].iter().all(|byte| *byte == number as u8));
                numbers.push(number);
            }
            at = header.end();
        }
    }
    (numbers, at)
}

/// A small tmpfs of its own. `None` where we may not mount.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Tmpfs> {
        let directory = tempfile::tempdir().expect("a directory");
        Tmpfs::mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], directory.path())
            .then(|| Tmpfs(directory))
    }

    fn remount(&self, options: &str) {
        assert!(Tmpfs::mount(&["-o", &format!("remount,{options}")], self.0.path()), "remount with {options}");
    }

    fn mount(arguments: &[&str], at: &Path) -> bool {
        Command::new("mount").args(arguments).arg(at).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// What two shards append at once is in their files, in order and whole, over many segments; a stop brings the rest.
#[test]
fn what_is_appended_is_in_the_files() {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (shards, keeper) = start(&directories.each_ref().map(TempDir::path), KeeperOptions::default());
    let appending = shards.into_iter().map(|mut shard| {
        thread::spawn(move || {
            shard.append_all(2000);
            shard
        })
    });
    let shards: Vec<_> =
        appending.collect::<Vec<_>>().into_iter().map(|shard| shard.join().expect("a shard")).collect();
    assert!(keeper.stop(PATIENCE));
    for shard in shards {
        assert_eq!(shard.journal.durable(), shard.journal.tail());
        let (numbers, end) = read_back(&shard.directory);
        assert_eq!((numbers, end), ((0..2000).collect(), shard.journal.tail()));
        let counts = shard.counts();
        assert!(counts.made > 10 && counts.syncs > 10 && counts.bytes == shard.journal.tail().0, "{counts:?}");
        // Nothing becomes durable any more, and that is said.
        assert_eq!(shard.trouble(), Some((Trouble::Keeper, 0)));
    }
}

/// A keeper without records makes no file and ends at once.
#[test]
fn a_journal_without_records_has_no_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_shards, keeper) = start(&[directory.path()], KeeperOptions::default());
    assert!(keeper.stop(PATIENCE));
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
}

/// While a sync is slow the next batch gathers: a record's wait is two syncs at most, however many come.
#[test]
fn one_sync_serves_many() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = KeeperOptions { sync_delay: Duration::from_millis(100), ..KeeperOptions::default() };
    let (mut shards, keeper) = start(&[directory.path()], options);
    let shard = &mut shards[0];
    for _ in 0..20 {
        shard.append().expect("there is room");
        // They come while a sync is under way, which takes its time.
        thread::sleep(Duration::from_millis(5));
    }
    shard.await_durable();
    let counts = shard.counts();
    assert!(counts.syncs < 10 && counts.sync_micros_max >= 100_000, "{counts:?}");
    assert!(keeper.stop(PATIENCE));
}

/// What is trimmed becomes new segments, so a journal that is trimmed stays small; while somebody copies the files none
/// of them goes away.
#[test]
fn a_trimmed_journal_stays_small_unless_it_is_copied() {
    let directory = tempfile::tempdir().expect("a directory");
    let retain = directory.path().join("RETAIN");
    let journal = directory.path().join("journal");
    fs::create_dir(&journal).expect("a directory");
    let options = KeeperOptions { retain: Some(retain.clone()), ..KeeperOptions::default() };
    let (mut shards, keeper) = start(&[&journal], options);
    let shard = &mut shards[0];
    let round = |shard: &mut Shard| {
        shard.append_all(200);
        let tail = shard.journal.tail();
        shard.journal.trim(tail);
        shard.await_durable();
    };
    (0..10).for_each(|_| round(shard));
    let counts = shard.counts();
    assert!(counts.reused >= 5 && counts.checkpoints >= 5, "{counts:?}");
    eventually("what is too much is removed", || segment_files(&journal).len() <= 5);

    let copying = fs::File::open(&retain).expect("it is there");
    copying.lock_shared().expect("it is free");
    let reused = shard.counts().reused;
    (0..5).for_each(|_| round(shard));
    let counts = shard.counts();
    // One may have been under way.
    assert!(counts.reused <= reused + 1, "{counts:?}");
    assert!(segment_files(&journal).len() > 5);
    copying.unlock().expect("it was locked");
    (0..5).for_each(|_| round(shard));
    eventually("what is too much is removed", || segment_files(&journal).len() <= 5);
    assert_eq!(shard.trouble(), None);
    let bytes = segment_files(&journal).len() as u64 * LIMITS.file_bytes();
    assert!(keeper.stop(PATIENCE));
    assert!(shards[0].journal.disk_bytes() <= bytes + LIMITS.file_bytes());
}

/// A full disk refuses, fences nothing, and is forgotten when there is room again.
#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let Some(disk) = Tmpfs::new("300k") else { return eprintln!("skipped: no mount") };
    let (mut shards, keeper) = start(&[disk.0.path()], KeeperOptions::default());
    let shard = &mut shards[0];
    eventually("the ring is full", || {
        while shard.append().is_ok() {}
        shard.counts().full >= 2
    });
    assert_eq!(shard.trouble(), None);
    let end = shard.journal.durable();
    assert!(end > Position(0) && end < shard.journal.tail());
    disk.remount("size=4m");
    shard.append_all(100);
    shard.await_durable();
    let tail = shard.journal.tail();
    assert!(keeper.stop(PATIENCE));
    assert_eq!(read_back(disk.0.path()), ((0..shards[0].appended).collect(), tail));
}

/// A trim makes room on a full disk, if what it relies on still had room.
#[test]
fn a_trim_makes_room_on_a_full_disk() {
    let Some(disk) = Tmpfs::new("300k") else { return eprintln!("skipped: no mount") };
    let (mut shards, keeper) = start(&[disk.0.path()], KeeperOptions::default());
    let shard = &mut shards[0];
    // The next segment is asked for when this one is half full.
    eventually("the disk is full", || {
        shard.append_all(1);
        shard.await_durable();
        shard.counts().full >= 1
    });
    let tail = shard.journal.tail();
    shard.journal.trim(tail);
    shard.append_all(300);
    shard.await_durable();
    assert_eq!(shard.trouble(), None);
    assert!(keeper.stop(PATIENCE));
}

/// A directory that takes no file fences its journal, and not the one beside it.
#[test]
fn a_journal_that_cannot_make_a_segment_is_fenced_alone() {
    let (gone, well) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let read_only = Tmpfs::new("300k");
    let mut directories = vec![gone.path(), well.path()];
    directories.extend(read_only.as_ref().map(|disk| disk.0.path()));
    let (mut shards, keeper) = start(&directories, KeeperOptions::default());
    fs::remove_dir(gone.path()).expect("it is empty");
    if let Some(disk) = &read_only {
        disk.remount("ro");
    }
    for shard in &mut shards {
        shard.append().expect("there is room in the ring");
    }
    shards[1].await_durable();
    eventually("it is fenced", || shards[0].trouble() == Some((Trouble::Prepare, libc::ENOENT)));
    assert_eq!(shards[0].append(), Err(Refused::Fenced));
    if let Some(shard) = shards.get_mut(2) {
        eventually("it is fenced", || shard.trouble() == Some((Trouble::Prepare, libc::EROFS)));
    }
    // It goes on without those.
    shards[1].append_all(300);
    shards[1].await_durable();
    assert!(keeper.stop(PATIENCE));
    assert_eq!(read_back(well.path()).0, (0..301).collect::<Vec<_>>());
}

/// A stop that cannot come to its end in time says so, and does not wait.
#[test]
fn a_stop_has_a_deadline() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = KeeperOptions { sync_delay: Duration::from_secs(3), ..KeeperOptions::default() };
    let (mut shards, keeper) = start(&[directory.path()], options);
    shards[0].append().expect("there is room");
    assert!(!keeper.stop(Duration::from_millis(50)));
    // It goes on alone, as long as the process lives.
    shards[0].await_durable();
    assert_eq!(read_back(directory.path()).0, [0]);
}

/// Cores that are not there, and a lock file that cannot be, are errors that name them.
#[test]
fn what_is_asked_for_and_cannot_be_is_an_error() {
    let start = |options| Keeper::start(Vec::new(), options).err().map(|error| error.to_string());
    let cores = KeeperOptions { cores: vec![CpuSet::MAX_CPU - 1], ..KeeperOptions::default() };
    let error = start(cores).expect("there is no such core");
    assert!(error.contains(&(CpuSet::MAX_CPU - 1).to_string()), "{error}");
    let retain = KeeperOptions { retain: Some("/dev/null/RETAIN".into()), ..KeeperOptions::default() };
    let error = start(retain).expect("there is no such directory");
    assert!(error.starts_with("/dev/null/RETAIN"), "{error}");
    let error = KeeperError::MemoryLock(64 << 10).to_string();
    assert!(error.contains("64 KiB") && error.contains("ulimit -l 512") && error.contains("LimitMEMLOCK="), "{error}");
}

/// A journal that is alone syncs on the keeper's thread, and no longer once another one wants it.
#[test]
fn only_who_is_alone_syncs_here() {
    let [one, other] = [(); 2].map(|()| Arc::new(Shared::default()));
    let syncs = Syncs::default();
    let sync = |of| {
        syncs.announce();
        let here = syncs.begin(of);
        syncs.end();
        here
    };
    assert_eq!([&one, &one, &one].map(sync), [false, true, true]);
    assert_eq!([&other, &one, &one].map(sync), [false, false, true], "another one was there since");
    syncs.announce();
    assert!(!sync(&one), "another one's has been announced");
    syncs.end();
    assert!(sync(&one));
}
