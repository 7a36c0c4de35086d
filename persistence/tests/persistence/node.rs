//! A node of one shard on simulated files: its journal, and the keeper's own plan, whose operations are done here, one
//! after another, in whatever order they are to end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use persistence::checkpoint::{self, Checkpoint};
use persistence::files::sim::{Doing, Pick, SimFiles};
use persistence::files::{Files, Writing};
use persistence::keeper::plan::{Limits, Op, Outcome, Plan};
use persistence::layout::HEADER_BYTES;
use persistence::segment::{SegmentHeader, segment_file_name};
use persistence::{Handover, Journal, Position, Recovered, Refused, Shape, Store, StoreError, StoreOptions};

/// The data directory.
pub const DATA: &str = "/data";
/// The directory in memory.
pub const MEMORY: &str = "/memory";
/// Bytes of the log in a segment.
pub const SEGMENT_BYTES: u64 = 4096;
/// What all records of these tests are.
pub const KIND: u16 = 7;
/// Operations within which a plan must have done what it wants to do.
const OPERATIONS_MAX: u32 = 1_000;

/// A node of one shard, with little room.
pub fn options() -> StoreOptions {
    let shape = Shape { shards: 1, rules: Vec::new() };
    let sizes = StoreOptions { staging_bytes: 8192, segment_bytes: SEGMENT_BYTES, ..StoreOptions::new(DATA, shape) };
    StoreOptions { staging_dir: MEMORY.into(), threads: 2, ..sizes }
}

/// Ends and numbers of records.
pub type Records = Vec<(Position, u32)>;

/// The number of the record with this body.
pub fn number_of(kind: u16, body: &[u8]) -> u32 {
    let (number, rest) = body.split_first_chunk().expect("it has a number");
    let number = u32::from_le_bytes(*number);
    assert!(kind == KIND && rest.iter().all(|&byte| byte == number as u8), "a record that was not appended");
    number
}

/// What a start comes to: the store, its journal, what its keeper goes on with, and the records that were read.
pub fn start(files: &SimFiles) -> Result<(Store, Journal, Recovered, Records), StoreError> {
    let store = Store::open_in(Arc::new(files.clone()), options())?;
    let mut found = Vec::new();
    let (journal, recovered) = store.seats().remove(0).recover(|entry, _| {
        found.push((entry.end, number_of(entry.kind, entry.body)));
    })?;
    Ok((store, journal, recovered, found))
}

/// Appends the record of this number, `length` bytes longer than that.
pub fn append(journal: &mut Journal, number: u32, length: usize) -> Result<Position, Refused> {
    journal.append(KIND, length + 4, |body| {
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

/// A keeper at work on simulated files.
pub struct Keeper {
    files: SimFiles,
    from: Handover,
    plan: Plan,
    /// Operations that have not ended.
    pub under_way: Vec<Op>,
}

impl Keeper {
    /// A keeper that goes on with what was handed over for this journal.
    pub fn new(files: SimFiles, journal: &Journal, from: Handover, (max_bytes, batch_bytes): (u64, u64)) -> Keeper {
        let limits = Limits { segment_bytes: SEGMENT_BYTES, max_bytes, batch_bytes };
        let plan = Plan::new(journal.shared().clone(), limits, (&from).into());
        Keeper { files, from, plan, under_way: Vec::new() }
    }

    /// Nothing before this was needed when it began.
    pub fn cut(&self) -> Position {
        self.from.cut
    }

    /// What the plan wants now is under way.
    pub fn look(&mut self) {
        self.plan.step(&self.from.staged, &mut self.under_way);
    }

    /// Does one of the operations under way, and says how it ended to nobody yet.
    pub fn perform(&mut self, which: usize) -> (Op, io::Result<()>) {
        let op = self.under_way.remove(which);
        (op, self.perform_op(op))
    }

    /// The plan is told of the end of an operation.
    pub fn end(&mut self, op: Op, result: io::Result<()>) {
        match (op, result) {
            (Op::Rest { of, .. }, _) => self.plan.rested(of),
            (_, Ok(())) => self.plan.complete(op.kind(), Outcome::Done, &mut self.from.staged),
            (_, Err(error)) => {
                let errno = error.raw_os_error().expect("simulated files fail with numbers");
                self.plan.complete(op.kind(), Outcome::Failed(errno), &mut self.from.staged);
            }
        }
        self.look();
    }

    /// Operations are done, as `which` picks them of so many, and the plan is told, until there are none or `goes_on`
    /// says no.
    pub fn run(&mut self, mut which: impl FnMut(usize) -> usize, mut goes_on: impl FnMut(Op) -> bool) {
        for done in 0.. {
            if self.under_way.is_empty() {
                return;
            }
            assert!(done < OPERATIONS_MAX, "no end of operations: {:?}, {:?}", self.under_way, self.plan);
            let (op, result) = self.perform(which(self.under_way.len()));
            if !goes_on(op) {
                return;
            }
            self.end(op, result);
        }
    }

    /// All operations end.
    pub fn run_all(&mut self) {
        self.look();
        self.run(|_| 0, |_| true);
    }

    fn path(&self, number: u64) -> PathBuf {
        self.from.directory.join(segment_file_name(number))
    }

    fn perform_op(&self, op: Op) -> io::Result<()> {
        let Keeper { files, from, .. } = self;
        match op {
            Op::Prepare { number, reuse: Some(dead) } => {
                files.rename(&self.path(dead), &self.path(number))?;
                files.sync_dir(&from.directory)
            }
            Op::Prepare { number, reuse: None } => {
                let made = self.make(number);
                if made.is_err() {
                    // As the real one: what there was room for is no use.
                    drop(files.remove(&self.path(number)));
                }
                made
            }
            Op::Write { number, base, from, to, sync } => {
                self.write(number, base, (from, to))?;
                if sync { files.sync(&self.path(number)) } else { Ok(()) }
            }
            Op::Sync { number } => files.sync(&self.path(number)),
            Op::Checkpoint { sequence, cut } => self.checkpoint(sequence, cut),
            Op::Remove { number } => match files.remove(&self.path(number)) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                removed => removed,
            },
            Op::Rest { .. } => Ok(()),
        }
    }

    fn make(&self, number: u64) -> io::Result<()> {
        let mut file = self.files.create(&self.path(number))?;
        file.write_at(0, &vec![0; (HEADER_BYTES + SEGMENT_BYTES) as usize])?;
        file.sync()?;
        self.files.sync_dir(&self.from.directory)
    }

    fn write(&self, number: u64, base: Position, (from, to): (Position, Position)) -> io::Result<()> {
        let (mut at, mut bytes) = (HEADER_BYTES + (from.0 - base.0), Vec::new());
        if from == base {
            let Handover { epoch, owner, .. } = self.from;
            let header = SegmentHeader { epoch, owner, number, base, capacity: SEGMENT_BYTES, sealed: false };
            bytes.extend_from_slice(&header.write());
            bytes.resize(HEADER_BYTES as usize, 0);
            at = 0;
        }
        self.from.staged.copy(from, to, &mut bytes).expect("no page is gone");
        self.files.write_at(&self.path(number), at, &bytes)
    }

    fn checkpoint(&self, sequence: u64, cut: Position) -> io::Result<()> {
        let Handover { epoch, owner, .. } = self.from;
        let slot = Checkpoint { epoch, owner, sequence, cut };
        let path = self.from.directory.join(checkpoint::FILE_NAME);
        let mut file: Box<dyn Writing> = self.files.open(&path).or_else(|_| self.files.create(&path))?;
        file.write_at(slot.offset(), &slot.write())?;
        file.sync()?;
        self.files.sync_dir(&self.from.directory)
    }
}
