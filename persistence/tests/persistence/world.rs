//! A node that appends and trims, whose disk fails, that is killed or loses its power between any two operations of the
//! disk, and perhaps in the midst of the start that follows; what each start finds is compared with what was promised.

use persistence::files::sim::SimFiles;
use persistence::keeper::plan::Op;
use persistence::{Journal, Position, Store, StoreError};

use crate::node::{self, Keeper, MEMORY, Records, append, fail_after, lose_power};

/// What is done.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A record of so many bytes, and its number, is appended.
    Append(usize),
    /// Nothing before this part of what was written is needed, in 256ths.
    Trim(u8),
    /// One of the operations under way ends.
    End(usize),
    /// One fails with this error, once so much of it was done.
    Fail(usize, u64, i32),
    /// All operations end.
    Run,
    /// The process is killed after so many operations of the disk.
    Kill(u64),
    /// The power fails after so many.
    PowerFails(u64),
    /// The start that comes next is killed after so many operations, and the one after that is not.
    KillStart(u64),
}

/// A program that runs: its journal, and the keeper.
struct Running {
    _store: Store,
    journal: Journal,
    keeper: Keeper,
}

/// The node, and what it was told.
pub struct World {
    /// Its files.
    pub files: SimFiles,
    rng: fastrand::Rng,
    /// Bytes of segments at most, and of a write.
    sizes: (u64, u64),
    /// All records that may be found.
    records: Records,
    /// All that were ever appended.
    pub ever: Records,
    next: u32,
    /// What was not needed any more, and the end of the log then: what makes it needless stands before that.
    trims: Vec<(Position, Position)>,
    running: Option<Running>,
    kill_start: Option<u64>,
}

impl World {
    /// A node on empty files. `seed` decides what becomes of what was not synced when the power fails, and which
    /// operation ends when.
    pub fn new(seed: u64, sizes: (u64, u64)) -> World {
        let files = SimFiles::new(MEMORY);
        files.set_seed(seed);
        let mut world = World {
            files,
            rng: fastrand::Rng::with_seed(seed),
            sizes,
            records: Vec::new(),
            ever: Vec::new(),
            next: 0,
            trims: Vec::new(),
            running: None,
            kill_start: None,
        };
        world.start(Position(0), Position(0));
        world
    }

    fn try_start(&self) -> Result<(Running, Records), StoreError> {
        let (store, journal, recovered, found) = node::start(&self.files)?;
        let keeper = Keeper::new(self.files.clone(), &journal, recovered.handover, self.sizes);
        Ok((Running { _store: store, journal, keeper }, found))
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
        let cut = running.keeper.cut();
        self.records.retain(|(end, _)| *end > cut);
        let lost = self.records.split_off(found.len().min(self.records.len()));
        assert_eq!(found, self.records, "what was found, and what was appended");
        // Where the log was cut off positions are given once more: what else was said of them counts no longer.
        self.trims.retain(|(trimmed, _)| *trimmed == cut);
        let kept = self.trims.first().map_or(kept, |(_, relied)| kept.max(*relied));
        assert!(lost.first().is_none_or(|(end, _)| *end > kept), "lost: {lost:?}, kept: {kept:?}");
        // A filler may be what is last.
        assert!(self.records.last().is_none_or(|(end, _)| *end <= running.journal.tail()));
        self.running = Some(running);
    }

    /// The program ends after so many operations of the disk, or when there is nothing more to do. What must be found
    /// now, and what if the power fails once more.
    pub fn stop_after(&mut self, operations: u64, power: bool) -> (Position, Position) {
        let Running { mut keeper, journal, _store: store } = self.running.take().expect("it runs");
        fail_after(&self.files, operations, libc::EIO);
        let end = self.files.done() + operations;
        let (files, rng) = (self.files.clone(), &mut self.rng);
        // A rest takes time; what is left to do without it is enough here. Of what comes behind the end nobody hears.
        while !keeper.under_way.is_empty() {
            let mut rests = false;
            keeper.run(
                |count| rng.usize(..count),
                |op| {
                    rests = matches!(op, Op::Rest { .. });
                    !rests && files.done() <= end
                },
            );
            if !rests {
                break;
            }
        }
        self.files.acquit();
        let (tail, synced) = (journal.tail(), journal.synced());
        drop((keeper, journal, store));
        if power {
            lose_power(&self.files, &mut self.rng);
        }
        (if power { synced } else { tail }, synced)
    }

    /// Does a step.
    pub fn take(&mut self, step: Step) {
        let Running { journal, keeper, .. } = self.running.as_mut().expect("it runs");
        match step {
            Step::Append(length) => {
                let number = self.next;
                if let Ok(end) = append(journal, number, length) {
                    self.records.push((end, number));
                    self.ever.push((end, number));
                    self.next += 1;
                }
                journal.show();
                keeper.look();
            }
            Step::Trim(part) => {
                let cut = self.records.get(self.records.len() * usize::from(part) / 256);
                if let Some(&(cut, _)) = cut.filter(|(cut, _)| *cut > journal.shared().trimmed()) {
                    self.trims.push((cut, journal.tail()));
                    journal.trim(cut);
                    journal.show();
                    keeper.look();
                }
            }
            Step::End(which) if !keeper.under_way.is_empty() => {
                let (op, result) = keeper.perform(which % keeper.under_way.len());
                keeper.end(op, result);
            }
            Step::Fail(which, after, errno) if !keeper.under_way.is_empty() => {
                fail_after(&self.files, after, errno);
                let (op, result) = keeper.perform(which % keeper.under_way.len());
                self.files.acquit();
                keeper.end(op, result);
            }
            Step::End(_) | Step::Fail(..) => {}
            Step::Run => keeper.run(|_| 0, |_| true),
            Step::Kill(after) => self.restart(after, false),
            Step::PowerFails(after) => self.restart(after, true),
            Step::KillStart(after) => self.kill_start = Some(after),
        }
    }

    fn restart(&mut self, after: u64, power: bool) {
        let (kept, synced) = self.stop_after(after, power);
        self.start(kept, synced);
    }
}
