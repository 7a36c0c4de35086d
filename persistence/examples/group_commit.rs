//! What the keeper reaches of what the disk gives: records of publishers that each wait for one acknowledgement, beside
//! a bare loop that writes and syncs as many bytes at a time on the same disk.
//!
//! `cargo run --release --example group_commit -- DIRECTORY [PUBLISHERS...]`: for each number the records a second, as
//! medians over short rounds by turns, and the median of the rounds' ratios; then the CPU time of an idle keeper. Disks
//! that are shared change their pace within seconds, so a round is short, and only what stands beside it is compared.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use persistence::keeper::plan::{Files, Limits};
use persistence::keeper::{Begin, Doorbell};
use persistence::staging::Reader;
use persistence::{Durability, Journal, Keeper, KeeperHandle, KeeperOptions, Owner};

const ROUNDS: usize = 25;
const TIME: Duration = Duration::from_millis(80);
/// Bytes of a record, with its header.
const RECORD_BYTES: usize = 256;
const BODY_BYTES: usize = RECORD_BYTES - 32;
/// What a turn of a shard receives at most, in bytes.
const TURN_BYTES: usize = 256 << 10;
const SEGMENT_BYTES: u64 = 16 << 20;
/// Segments written before the first round: from then on dead ones are used again.
const WARM_SEGMENTS: u64 = 4;
const RING_BYTES: u64 = 16 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| ".".into());
    let directory = Path::new(&directory);
    let mut numbers: Vec<usize> = arguments.map(|number| number.parse().expect("a number of publishers")).collect();
    if numbers.is_empty() {
        numbers = vec![1, 16, 64, 256, 1024, 4096, 16384];
    }
    let bare = Bare::new(directory);
    let (one, two) = (Rig::new(directory, 1), Rig::new(directory, 2));
    println!(
        "{:>10} {:>12} {:>12} {:>9} {:>12} {:>9}",
        "publishers", "bare/s", "journal/s", "of bare", "2 journals/s", "of bare"
    );
    for publishers in numbers {
        let mut rates = [const { Vec::new() }; 3];
        let mut ratios = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            let round = [bare.run(publishers), one.run(publishers), two.run(publishers)];
            rates.iter_mut().zip(round).for_each(|(rates, rate)| rates.push(rate));
            ratios.iter_mut().zip(&round[1..]).for_each(|(ratios, rate)| ratios.push(rate / round[0] * 100.0));
        }
        let ([bare, one, two], [of_one, of_two]) = (rates.map(median), ratios.map(median));
        println!("{publishers:>10} {bare:>12.0} {one:>12.0} {of_one:>8.0}% {two:>12.0} {of_two:>8.0}%");
    }
    one.stop();
    two.stop();
    idle(directory);
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A loop that writes and syncs.
struct Bare(File);

impl Bare {
    fn new(directory: &Path) -> Bare {
        let file = File::create(directory.join("bare.data")).expect("a file");
        (0..64).for_each(|at| file.write_all_at(&vec![0; 1 << 20], at << 20).expect("zeros"));
        file.sync_all().expect("synced");
        Bare(file)
    }

    /// Records a second, `records` of them at a time.
    fn run(&self, records: usize) -> f64 {
        let bytes = vec![7; records * RECORD_BYTES];
        let (begun, mut count, mut at) = (Instant::now(), 0, 0);
        while begun.elapsed() < TIME {
            self.0.write_all_at(&bytes, at).expect("written");
            self.0.sync_data().expect("synced");
            count += records;
            at = (at + bytes.len() as u64) % ((64 << 20) - bytes.len() as u64);
        }
        count as f64 / begun.elapsed().as_secs_f64()
    }
}

/// Journals on one keeper, whose publishers, as many for each, append a record when the one before is durable.
struct Rig {
    keeper: KeeperHandle,
    shards: Vec<(Sender<usize>, Receiver<f64>)>,
}

impl Rig {
    fn new(directory: &Path, journals: usize) -> Rig {
        let (mut begins, mut threads, mut shards): (Vec<Begin>, Vec<(Sender<_>, JoinHandle<()>)>, _) =
            Default::default();
        for journal in 0..journals {
            let path = directory.join(format!("journal-{journal}-of-{journals}"));
            // What an earlier run has left.
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).expect("a directory");
            let (mut journal, staged, _) = Journal::detached(RING_BYTES, Durability::Fsync);
            let (bell, hung) = bounded(1);
            let (go, orders) = bounded::<usize>(1);
            let (done, rates) = bounded(1);
            let shard = thread::spawn(move || {
                journal.set_bell(hung.recv().expect("a bell"));
                run(&mut journal, 4096, &|bytes, _| bytes >= WARM_SEGMENTS * SEGMENT_BYTES);
                for publishers in orders {
                    let rate = run(&mut journal, publishers, &|_, time| time >= TIME);
                    done.send(rate).expect("somebody waits");
                }
            });
            threads.push((bell, shard));
            Vec::push(&mut shards, (go, rates));
            begins.push(begin(path, staged));
        }
        let doorbell = |(_, shard): &(_, JoinHandle<_>)| {
            let shard = shard.thread().clone();
            Box::new(move || shard.unpark()) as Doorbell
        };
        let journals = begins.into_iter().zip(threads.iter().map(doorbell)).collect();
        let keeper = Keeper::start(journals, KeeperOptions::default()).expect("it starts");
        for (index, (bell, _)) in threads.iter().enumerate() {
            bell.send(keeper.bell(index)).expect("the shard waits");
        }
        Rig { keeper, shards }
    }

    /// Records a second, of all journals.
    fn run(&self, publishers: usize) -> f64 {
        self.shards.iter().for_each(|(go, _)| go.send(publishers).expect("a shard"));
        self.shards.iter().map(|(_, rate)| rate.recv().expect("a shard")).sum()
    }

    fn stop(self) {
        drop(self.shards);
        assert!(self.keeper.stop(Duration::from_secs(10)), "it stops");
    }
}

fn begin(directory: PathBuf, staged: Reader) -> Begin {
    let limits = Limits { segment_bytes: SEGMENT_BYTES, max_bytes: 0, batch_bytes: 1 << 20 };
    let owner = Owner { node: 1, generation: 0, shard: 0 };
    Begin { directory, owner, epoch: 1, limits, files: Files { next: 1, ..Files::default() }, staged }
}

/// Keeps `publishers` records under way until so many bytes became durable or so long has passed; how many records did,
/// each second. It waits for its doorbell as a reactor would.
fn run(journal: &mut Journal, publishers: usize, until: &dyn Fn(u64, Duration) -> bool) -> f64 {
    let (begin, begun) = (journal.durable(), Instant::now());
    let (mut seen, mut under_way) = (begin, 0);
    loop {
        let durable = journal.durable();
        under_way -= (durable.0 - seen.0) as usize / RECORD_BYTES;
        seen = durable;
        if until(durable.0 - begin.0, begun.elapsed()) {
            break;
        }
        if under_way == publishers {
            thread::park();
            continue;
        }
        // As a turn of a shard: it takes so many bytes of receives, and shows what it has written.
        let count = (publishers - under_way).min(TURN_BYTES / RECORD_BYTES);
        for _ in 0..count {
            journal.append(1, BODY_BYTES, |body| body.fill(7)).expect("there is room");
        }
        under_way += count;
        // Nothing is kept, so that dead segments become new ones.
        match durable.0 - journal.shared().trimmed().0 >= SEGMENT_BYTES {
            true => journal.trim(durable),
            false => journal.show(),
        }
    }
    let rate = (seen.0 - begin.0) as f64 / RECORD_BYTES as f64 / begun.elapsed().as_secs_f64();
    while journal.durable() < journal.tail() {
        thread::park();
    }
    rate
}

/// CPU time and wake-ups of a keeper that has nothing to do.
fn idle(directory: &Path) {
    let (_journal, staged, _shared) = Journal::detached(RING_BYTES, Durability::Fsync);
    let begin = begin(directory.into(), staged);
    let keeper = Keeper::start(vec![(begin, Box::new(|| {}))], KeeperOptions::default()).expect("it starts");
    thread::sleep(Duration::from_millis(200));
    let before = keeper_time();
    thread::sleep(Duration::from_secs(5));
    let after = keeper_time();
    println!("idle for 5 s: {} ns of CPU, run {} times", after.0 - before.0, after.1 - before.1);
    assert!(keeper.stop(Duration::from_secs(1)), "it stops");
}

/// Nanoseconds on a core, and how often it was put on one: of the keeper's threads.
fn keeper_time() -> (u64, u64) {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads").flatten().map(|task| task.path());
    let name = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).unwrap_or_default();
    let keepers = tasks.filter(|task| name(task).trim() == "ringmain-keeper");
    let stats = keepers.flat_map(|task| std::fs::read_to_string(task.join("schedstat")));
    stats.fold((0, 0), |sum, stat| {
        let numbers: Vec<u64> = stat.split_whitespace().flat_map(str::parse).collect();
        (sum.0 + numbers[0], sum.1 + numbers[2])
    })
}
