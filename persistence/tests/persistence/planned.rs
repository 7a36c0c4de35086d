//! The keeper's own plan, its operations done on simulated files one after another, in whatever order they may end;
//! disks that fail; and then the process is killed or the power fails, between any two operations of the disk, and
//! perhaps in the midst of the start that follows.

use std::io;
use std::path::PathBuf;

use persistence::checkpoint::{self, Checkpoint};
use persistence::files::sim::SimFiles;
use persistence::files::{Files, Writing};
use persistence::keeper::plan::{Limits, Op, Outcome, Plan};
use persistence::layout::HEADER_BYTES;
use persistence::segment::{SegmentHeader, segment_file_name};
use persistence::{Handover, Journal, Position, Store, StoreError};
use proptest::prelude::*;

use crate::crash::{self, Records, append, config, fail_after, lose_power};
use crate::keeper::SEGMENT_BYTES;

/// Operations within which a plan must have done what it wants to do.
const OPERATIONS_MAX: u32 = 1_000;

/// What is done.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// Nothing before this part of what was written is needed, in 256ths.
    Trim(u8),
    /// One of the operations under way ends.
    End(usize),
    /// It ends with this error.
    Fail(usize, i32),
    /// All operations end.
    Run,
    /// The process is killed after so many operations of the disk.
    Kill(u64),
    /// The power fails after so many.
    PowerFails(u64),
    /// The start that comes next is killed after so many operations, and the one after that is not.
    KillStart(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let errno = prop_oneof![2 => Just(libc::ENOSPC), 1 => Just(libc::EIO)];
    prop_oneof![
        12 => (0_usize..900).prop_map(Step::Append),
        12 => (0_usize..4).prop_map(Step::End),
        4 => Just(Step::Run),
        3 => any::<u8>().prop_map(Step::Trim),
        1 => (0_usize..4, errno).prop_map(|(which, errno)| Step::Fail(which, errno)),
        1 => (0_u64..12).prop_map(Step::Kill),
        2 => (0_u64..12).prop_map(Step::PowerFails),
        1 => (0_u64..24).prop_map(Step::KillStart),
    ]
}

/// A program that runs: its journal, and the keeper.
struct Running {
    _store: Store,
    journal: Journal,
    plan: Plan,
    from: Handover,
    under_way: Vec<Op>,
}

struct World {
    files: SimFiles,
    rng: fastrand::Rng,
    max_bytes: u64,
    batch_bytes: u64,
    /// All records that may be found.
    records: Records,
    next: u32,
    /// What was not needed any more, and the end of the log then: what makes it needless stands before that.
    trims: Vec<(Position, Position)>,
    running: Option<Running>,
    kill_start: Option<u64>,
}

impl Running {
    fn path(&self, number: u64) -> PathBuf {
        self.from.directory.join(segment_file_name(number))
    }

    /// What the plan wants now is under way.
    fn look(&mut self) {
        self.plan.step(&self.from.staged, &mut self.under_way);
    }

    /// The plan is told of the end of an operation.
    fn end(&mut self, op: Op, result: io::Result<()>) {
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

    fn do_one(&self, files: &SimFiles, op: Op) -> io::Result<()> {
        match op {
            Op::Prepare { number, reuse: Some(dead) } => {
                files.rename(&self.path(dead), &self.path(number))?;
                files.sync_dir(&self.from.directory)
            }
            Op::Prepare { number, reuse: None } => {
                let made = self.make(files, number);
                if made.is_err() {
                    // As the real one: what there was room for is no use.
                    drop(files.remove(&self.path(number)));
                }
                made
            }
            Op::Write { number, base, from, to, sync } => {
                self.write(files, number, base, (from, to))?;
                if sync { files.sync(&self.path(number)) } else { Ok(()) }
            }
            Op::Sync { number } => files.sync(&self.path(number)),
            Op::Checkpoint { sequence, cut } => self.checkpoint(files, sequence, cut),
            Op::Remove { number } => match files.remove(&self.path(number)) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                removed => removed,
            },
            Op::Rest { .. } => Ok(()),
        }
    }

    fn make(&self, files: &SimFiles, number: u64) -> io::Result<()> {
        let mut file = files.create(&self.path(number))?;
        file.write_at(0, &vec![0; (HEADER_BYTES + SEGMENT_BYTES) as usize])?;
        file.sync()?;
        files.sync_dir(&self.from.directory)
    }

    fn write(&self, files: &SimFiles, number: u64, base: Position, (from, to): (Position, Position)) -> io::Result<()> {
        let (mut at, mut bytes) = (HEADER_BYTES + (from.0 - base.0), Vec::new());
        if from == base {
            let Handover { epoch, owner, .. } = self.from;
            let header = SegmentHeader { epoch, owner, number, base, capacity: SEGMENT_BYTES, sealed: false };
            bytes.extend_from_slice(&header.write());
            bytes.resize(HEADER_BYTES as usize, 0);
            at = 0;
        }
        self.from.staged.copy(from, to, &mut bytes).expect("no page is gone");
        files.write_at(&self.path(number), at, &bytes)
    }

    fn checkpoint(&self, files: &SimFiles, sequence: u64, cut: Position) -> io::Result<()> {
        let Handover { epoch, owner, .. } = self.from;
        let slot = Checkpoint { epoch, owner, sequence, cut };
        let path = self.from.directory.join(checkpoint::FILE_NAME);
        let mut file: Box<dyn Writing> = files.open(&path).or_else(|_| files.create(&path))?;
        file.write_at(slot.offset(), &slot.write())?;
        file.sync()?;
        files.sync_dir(&self.from.directory)
    }
}

impl World {
    fn new(seed: u64, max_bytes: u64, batch_bytes: u64) -> World {
        let mut world = World {
            files: SimFiles::new("/memory"),
            rng: fastrand::Rng::with_seed(seed),
            max_bytes,
            batch_bytes,
            records: Vec::new(),
            next: 0,
            trims: Vec::new(),
            running: None,
            kill_start: None,
        };
        world.start(Position(0), Position(0));
        world
    }

    fn try_start(&self) -> Result<(Running, Records), StoreError> {
        let (store, journal, from, found) = crash::start(&self.files)?;
        let limits = Limits { segment_bytes: SEGMENT_BYTES, max_bytes: self.max_bytes, batch_bytes: self.batch_bytes };
        let plan = Plan::new(journal.shared().clone(), limits, (&from).into());
        Ok((Running { _store: store, journal, plan, from, under_way: Vec::new() }, found))
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
        let (running, found) = self.try_start().expect("nothing is damaged");
        let cut = running.from.cut;
        self.records.retain(|(end, _)| *end > cut);
        let lost = self.records.split_off(found.len().min(self.records.len()));
        assert_eq!(found, self.records, "what was found, and what was appended");
        // Where the log was cut off positions are given once more: what else was said of them counts no longer.
        self.trims.retain(|(trimmed, _)| *trimmed == cut);
        let kept = self.trims.first().map_or(kept, |(_, relied)| kept.max(*relied));
        assert!(lost.first().is_none_or(|(end, _)| *end > kept), "lost: {lost:?}, kept: {kept:?}");
        self.running = Some(running);
    }

    /// The program ends after so many operations of the disk, or when there is nothing more to do.
    fn stop_after(&mut self, operations: u64, power: bool) {
        let mut running = self.running.take().expect("it runs");
        fail_after(&self.files, operations, libc::EIO);
        let end = self.files.done() + operations;
        for done in 0.. {
            if running.under_way.is_empty() {
                break;
            }
            assert!(done < OPERATIONS_MAX, "no end of operations: {:?}, {:?}", running.under_way, running.plan);
            let op = running.under_way.remove(self.rng.usize(..running.under_way.len()));
            let result = running.do_one(&self.files, op);
            if self.files.done() > end {
                // Nobody hears of this one any more.
                break;
            }
            // A rest takes time; what is left to do without it is enough here.
            if !matches!(op, Op::Rest { .. }) {
                running.end(op, result);
            }
        }
        self.files.acquit();
        let (tail, synced) = (running.journal.tail(), running.journal.synced());
        drop(running);
        if power {
            lose_power(&self.files, &mut self.rng);
        }
        self.start(if power { synced } else { tail }, synced);
    }

    fn take(&mut self, step: &Step) {
        let running = self.running.as_mut().expect("it runs");
        match *step {
            Step::Append(length) => {
                let number = self.next;
                if let Ok(end) = append(&mut running.journal, number, length) {
                    self.records.push((end, number));
                    self.next += 1;
                }
                running.journal.show();
                running.look();
            }
            Step::Trim(part) => {
                let cut = self.records.get(self.records.len() * usize::from(part) / 256);
                if let Some(&(cut, _)) = cut.filter(|(cut, _)| *cut > running.journal.shared().trimmed()) {
                    self.trims.push((cut, running.journal.tail()));
                    running.journal.trim(cut);
                    running.journal.show();
                    running.look();
                }
            }
            Step::End(which) if !running.under_way.is_empty() => {
                let op = running.under_way.remove(which % running.under_way.len());
                let result = running.do_one(&self.files, op);
                running.end(op, result);
            }
            Step::Fail(which, errno) if !running.under_way.is_empty() => {
                let op = running.under_way.remove(which % running.under_way.len());
                fail_after(&self.files, 0, errno);
                let result = running.do_one(&self.files, op);
                self.files.acquit();
                running.end(op, result);
            }
            Step::End(_) | Step::Fail(..) => {}
            Step::Run => {
                for done in 0.. {
                    if running.under_way.is_empty() {
                        break;
                    }
                    assert!(done < OPERATIONS_MAX, "no end of operations: {:?}, {:?}", running.under_way, running.plan);
                    let op = running.under_way.remove(0);
                    let result = running.do_one(&self.files, op);
                    running.end(op, result);
                }
            }
            Step::Kill(after) => self.stop_after(after, false),
            Step::PowerFails(after) => self.stop_after(after, true),
            Step::KillStart(after) => self.kill_start = Some(after),
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever the keeper's plan does, and wherever it is cut off: what the shard was told is synced is there after
    /// the power failed, everything that was appended after a kill, in order, and nothing else.
    #[test]
    fn what_the_plan_called_synced_is_there(
        steps in prop::collection::vec(step(), 1..200),
        seed: u64,
        segments_max in prop_oneof![Just(0_u64), Just(4)],
        batch_bytes in prop_oneof![Just(1024_u64), Just(16 << 10)],
    ) {
        let mut world = World::new(seed, segments_max * (HEADER_BYTES + SEGMENT_BYTES), batch_bytes);
        steps.iter().for_each(|step| world.take(step));
        world.take(&Step::PowerFails(u64::MAX >> 1));
        world.take(&Step::PowerFails(0));
    }
}
