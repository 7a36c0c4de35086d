//! Appends, syncs and cuts in any order, then the process is killed or the power fails, and what the next start finds
//! is compared with what was promised: everything that was synced is there, in order, and nothing else.

use std::path::Path;
use std::sync::Arc;

use persistence::files::sim::{Doing, Pick, SimFiles};
use persistence::{Handover, Journal, Position, Refused, Shape, Store, StoreError, StoreOptions};
use proptest::prelude::*;

use crate::keeper::{Keeper, SEGMENT_BYTES};

const DATA: &str = "/data";

/// What is done.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// The keeper writes at most so many bytes of what is staged.
    Write(u64),
    Sync,
    /// Nothing before this part of what is synced is needed, in 256ths.
    Trim(u8),
    /// The same, and the keeper gets no further than to write it.
    TrimHalf(u8),
    /// A sync fails.
    FailSync,
    Kill,
    PowerFails,
    /// The start that comes next is killed after so many operations, and the one after that is not.
    KillStart(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..900).prop_map(Step::Append),
        4 => (1_u64..5000).prop_map(Step::Write),
        4 => Just(Step::Sync),
        1 => any::<u8>().prop_map(Step::Trim),
        1 => any::<u8>().prop_map(Step::TrimHalf),
        1 => Just(Step::FailSync),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerFails),
        1 => (0_u64..24).prop_map(Step::KillStart),
    ]
}

/// A node with one shard.
struct World {
    files: SimFiles,
    rng: fastrand::Rng,
    /// All records that may be found.
    records: Records,
    next: u32,
    running: Option<(Store, Journal, Keeper)>,
    kill_start: Option<u64>,
}

/// A node of one shard, with little room.
fn options() -> StoreOptions {
    let shape = Shape { shards: 1, rules: Vec::new() };
    let sizes = StoreOptions { staging_bytes: 8192, segment_bytes: SEGMENT_BYTES, ..StoreOptions::new(DATA, shape) };
    StoreOptions { staging_dir: "/memory".into(), threads: 2, ..sizes }
}

/// Ends and numbers of records.
pub type Records = Vec<(Position, u32)>;

/// What a start comes to: the store, its journal, what its keeper goes on with, and the records that were read.
pub fn start(files: &SimFiles) -> Result<(Store, Journal, Handover, Records), StoreError> {
    let store = Store::open_in(Arc::new(files.clone()), options())?;
    let mut found = Vec::new();
    let (journal, recovered) = store.seats().remove(0).recover(|entry, _| {
        let (number, rest) = entry.body.split_first_chunk().expect("it has a number");
        let number = u32::from_le_bytes(*number);
        assert!(entry.kind == 7 && rest.iter().all(|&byte| byte == number as u8), "a record that was not appended");
        found.push((entry.end, number));
    })?;
    Ok((store, journal, recovered.handover, found))
}

/// Appends the record of this number, `length` bytes longer than that.
pub fn append(journal: &mut Journal, number: u32, length: usize) -> Result<Position, Refused> {
    journal.append(7, length + 4, |body| {
        body[..4].copy_from_slice(&number.to_le_bytes());
        body[4..].fill(number as u8);
    })
}

/// The power fails: of each sector that was not synced the old, the new, or a part of either is left.
pub fn lose_power(files: &SimFiles, rng: &mut fastrand::Rng) {
    files.crash(|| match rng.u8(..4) {
        0 => Pick::Old,
        1 => Pick::New,
        2 => Pick::Front(rng.usize(..512)),
        _ => Pick::Back(rng.usize(..512)),
    });
}

/// Lets all operations but reads fail once so many are done.
pub fn fail_after(files: &SimFiles, mut left: u64, errno: i32) {
    files.set_judge(move |doing, _| {
        let over = doing != Doing::Read && left == 0;
        left = left.saturating_sub(u64::from(doing != Doing::Read));
        over.then_some(errno)
    });
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            files: SimFiles::new("/memory"),
            rng: fastrand::Rng::with_seed(seed),
            records: Vec::new(),
            next: 0,
            running: None,
            kill_start: None,
        };
        world.start(Position(0), Position(0));
        world
    }

    fn try_start(&self) -> Result<(Store, Journal, Keeper, Records), StoreError> {
        let (store, journal, handover, found) = start(&self.files)?;
        Ok((store, journal, Keeper::new(self.files.clone(), handover), found))
    }

    /// Starts, perhaps after a start that is killed, and compares. Everything up to `kept` must be there, or up to
    /// `synced` if the power fails once more.
    fn start(&mut self, mut kept: Position, synced: Position) {
        if let Some(after) = self.kill_start.take() {
            fail_after(&self.files, after, libc::EIO);
            drop(self.try_start());
            self.files.acquit();
            if self.rng.bool() {
                lose_power(&self.files, &mut self.rng);
                kept = synced;
            }
        }
        let (store, journal, keeper, found) = self.try_start().expect("nothing is damaged");
        let cut = keeper.cut();
        self.records.retain(|(end, _)| *end > cut);
        let lost = self.records.split_off(found.len().min(self.records.len()));
        assert_eq!(found, self.records, "what was found, and what was appended");
        assert!(lost.first().is_none_or(|(end, _)| *end > kept), "lost: {lost:?}, kept: {kept:?}");
        // A filler may be what is last.
        assert!(self.records.last().is_none_or(|(end, _)| *end <= journal.tail()));
        self.running = Some((store, journal, keeper));
    }

    fn take(&mut self, step: Step) {
        let (_, journal, keeper) = self.running.as_mut().expect("it runs");
        match step {
            Step::Append(length) => {
                let number = self.next;
                if let Ok(end) = append(journal, number, length) {
                    self.records.push((end, number));
                    self.next += 1;
                }
                journal.show();
            }
            Step::Write(bytes_max) => keeper.write(bytes_max),
            Step::Sync => {
                keeper.sync();
                self.files.acquit();
            }
            Step::Trim(part) | Step::TrimHalf(part) => {
                let synced = journal.synced();
                let ends = self.records.iter().map(|(end, _)| *end).take_while(|end| *end <= synced);
                let ends: Vec<_> = ends.collect();
                if let Some(&cut) = ends.get(ends.len() * usize::from(part) / 256) {
                    keeper.checkpoint(cut, matches!(step, Step::Trim(_)));
                }
            }
            Step::FailSync => {
                self.files.set_judge(|doing, path| {
                    let segment = path.extension().is_some_and(|extension| extension == "segment");
                    (doing == Doing::Sync && segment && path.starts_with(Path::new(DATA))).then_some(5)
                });
                keeper.sync();
                self.files.acquit();
            }
            Step::Kill => {
                let (tail, synced) = (journal.tail(), journal.synced());
                self.running = None;
                self.start(tail, synced);
            }
            Step::PowerFails => {
                let synced = journal.synced();
                self.running = None;
                lose_power(&self.files, &mut self.rng);
                self.start(synced, synced);
            }
            Step::KillStart(after) => self.kill_start = Some(after),
        }
    }
}

/// `PROPTEST_CASES`, or what takes half a second.
pub fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    ProptestConfig { cases, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Everything that was synced is there after the power failed, everything that was appended after a kill, in order,
    /// and nothing else; also when starts are killed, and after syncs that failed.
    #[test]
    fn what_was_promised_is_there(steps in prop::collection::vec(step(), 1..120), seed: u64) {
        let mut world = World::new(seed);
        for step in steps {
            world.take(step);
        }
        world.take(Step::PowerFails);
        world.take(Step::PowerFails);
    }
}
