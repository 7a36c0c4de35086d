//! What the keeper reaches of what the disk gives: records of publishers that each wait for one acknowledgement, beside
//! bare loops that write and sync as many bytes at a time on the same disk.
//!
//! `cargo run --release --example group_commit -- DIRECTORY`: for each number of publishers the records a second,
//! rounds
//! interleaved, medians; then the CPU time of an idle keeper.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use persistence::keeper::plan::{Files, Limits};
use persistence::keeper::{Begin, Doorbell};
use persistence::staging::Reader;
use persistence::{Durability, Journal, Keeper, KeeperOptions, Owner};

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_millis(500);
/// Bytes of a record, with its header.
const RECORD_BYTES: usize = 256;
const BODY_BYTES: usize = RECORD_BYTES - 32;
const SEGMENT_BYTES: u64 = 8 << 20;
/// Segments written before the clock runs.
const WARM_SEGMENTS: u64 = 4;
const RING_BYTES: u64 = 16 << 20;

fn main() {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let directory = Path::new(&directory);
    println!(
        "{:>10} {:>14} {:>22} {:>14} {:>8} {:>14}",
        "publishers", "bare/s", "one journal/s", "syncs/s", "of bare", "two journals/s"
    );
    for publishers in [1, 16, 256, 1024, 4096, 16384] {
        let (mut bare, mut one, mut two, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(bare_loop(directory, publishers));
            let (rate, sync_rate) = keeper(directory, publishers, 1);
            one.push(rate);
            syncs.push(sync_rate);
            two.push(keeper(directory, publishers, 2).0);
        }
        let [bare, one, syncs, two] = [bare, one, syncs, two].map(median);
        println!("{publishers:>10} {bare:>14.0} {one:>22.0} {syncs:>14.0} {:>7.0}% {two:>14.0}", one / bare * 100.0);
    }
    idle(directory);
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Records a second of a loop that writes and syncs `records` of them at a time.
fn bare_loop(directory: &Path, records: usize) -> f64 {
    let path = directory.join("bare.data");
    if !path.exists() {
        let file = File::create(&path).expect("a file");
        (0..64).for_each(|at| file.write_all_at(&vec![0; 1 << 20], at << 20).expect("zeros"));
        file.sync_all().expect("synced");
    }
    let file = File::options().write(true).open(&path).expect("the file");
    let bytes = vec![7; records * RECORD_BYTES];
    let (begun, mut count, mut at) = (Instant::now(), 0, 0);
    while begun.elapsed() < TIME {
        file.write_all_at(&bytes, at).expect("written");
        file.sync_data().expect("synced");
        count += records;
        at = (at + bytes.len() as u64) % ((64 << 20) - bytes.len() as u64);
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Records and syncs a second of journals whose publishers, `publishers` for each, append a record when the one
/// before is
/// durable.
fn keeper(directory: &Path, publishers: usize, journals: usize) -> (f64, f64) {
    let paths = (0..journals).map(|journal| {
        let path = directory.join(format!("journal-{journal}"));
        // What an earlier round has left.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory");
        path
    });
    run(paths.collect(), publishers)
}

fn run(paths: Vec<PathBuf>, publishers: usize) -> (f64, f64) {
    let mut begins = Vec::new();
    let mut shards = Vec::new();
    for directory in paths {
        let (mut journal, staged, _) = Journal::detached(RING_BYTES, Durability::Fsync);
        let (bell, hung) = crossbeam::channel::bounded(1);
        let shard = thread::spawn(move || {
            journal.set_bell(hung.recv().expect("a bell"));
            shard(journal, publishers)
        });
        shards.push((bell, shard));
        begins.push(begin(directory, staged));
    }
    let doorbell = |(_, shard): &(_, thread::JoinHandle<_>)| {
        let shard = shard.thread().clone();
        Box::new(move || shard.unpark()) as Doorbell
    };
    let journals = begins.into_iter().zip(shards.iter().map(doorbell)).collect();
    let keeper = Keeper::start(journals, KeeperOptions::default()).expect("it starts");
    for (index, (bell, _)) in shards.iter().enumerate() {
        bell.send(keeper.bell(index)).expect("the shard waits");
    }
    let rates: Vec<_> = shards.into_iter().map(|(_, shard)| shard.join().expect("a shard")).collect();
    assert!(keeper.stop(Duration::from_secs(10)), "it stops");
    rates.into_iter().fold((0.0, 0.0), |sum, rate| (sum.0 + rate.0, sum.1 + rate.1))
}

fn begin(directory: PathBuf, staged: Reader) -> Begin {
    let limits = Limits { segment_bytes: SEGMENT_BYTES, max_bytes: 0, batch_bytes: 1 << 20 };
    let owner = Owner { node: 1, generation: 0, shard: 0 };
    Begin { directory, owner, epoch: 1, limits, files: Files { next: 1, ..Files::default() }, staged }
}

/// One shard, which waits for its doorbell as a reactor would.
fn shard(mut journal: Journal, publishers: usize) -> (f64, f64) {
    go(&mut journal, 4096, &|bytes| bytes >= WARM_SEGMENTS * SEGMENT_BYTES);
    let syncs = journal.shared().stats().counts().syncs;
    let begun = Instant::now();
    let records = go(&mut journal, publishers, &|_| begun.elapsed() >= TIME);
    let time = begun.elapsed().as_secs_f64();
    (records as f64 / time, (journal.shared().stats().counts().syncs - syncs) as f64 / time)
}

/// Keeps `publishers` records under way, until so many bytes became durable; how many records did.
fn go(journal: &mut Journal, publishers: usize, until: &dyn Fn(u64) -> bool) -> u64 {
    let begin = journal.durable();
    let mut seen = begin;
    let mut under_way = 0;
    loop {
        let durable = journal.durable();
        under_way -= (durable.0 - seen.0) as usize / RECORD_BYTES;
        seen = durable;
        if until(durable.0 - begin.0) {
            break;
        }
        if under_way == publishers {
            thread::park();
            continue;
        }
        for _ in under_way..publishers {
            journal.append(1, BODY_BYTES, |body| body.fill(7)).expect("there is room");
        }
        under_way = publishers;
        // Nothing is kept, so that dead segments become new ones.
        match durable.0 - journal.shared().trimmed().0 >= SEGMENT_BYTES {
            true => journal.trim(durable),
            false => journal.show(),
        }
    }
    while journal.durable() < journal.tail() {
        thread::park();
    }
    (seen.0 - begin.0) / RECORD_BYTES as u64
}

/// CPU time and wake-ups of a keeper that has nothing to do.
fn idle(directory: &Path) {
    let (_journal, staged, _shared) = Journal::detached(RING_BYTES, Durability::Fsync);
    let begin = begin(directory.into(), staged);
    let keeper = Keeper::start(vec![(begin, Box::new(|| {}))], KeeperOptions::default()).expect("it starts");
    thread::sleep(Duration::from_millis(200));
    let used = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
        let of_keeper = tasks.filter(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "ringmain-keeper")
        });
        let stats = of_keeper.flat_map(|task| std::fs::read_to_string(task.path().join("schedstat")));
        stats.fold((0, 0), |sum: (u64, u64), stat| {
            let numbers: Vec<u64> = stat.split_whitespace().flat_map(str::parse).collect();
            (sum.0 + numbers[0], sum.1 + numbers[2])
        })
    };
    let before = used();
    thread::sleep(Duration::from_secs(5));
    let after = used();
    println!("idle for 5 s: {} ns of CPU, run {} times", after.0 - before.0, after.1 - before.1);
    assert!(keeper.stop(Duration::from_secs(1)), "it stops");
}
