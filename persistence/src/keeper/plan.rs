//! What the keeper does next for one journal, as a state machine: events in, operations out.
//!
//! It does no I/O, reads no clock and never waits. Whoever runs it calls [`Plan::step`] when the journal's words have
//! moved or an operation has completed, starts what comes out, and reports each end by [`Plan::complete`]
//! ([`Plan::rested`] for a rest). At most one operation of each [`Kind`] is under way, so a kind names it.
//!
//! ```text
//!   synced        written            staged
//!   ──┬───────────────┬──────────────────┬──▶ positions
//!     │ Sync goes here│   Write goes here│
//! ```
//!
//! What is written while a sync is under way counts for the next sync: the kernel may have taken its pages or not. A
//! segment is begun when everything before it is synced, so one sync never speaks of two files. Every position that
//! becomes synced is the end of a record, since the ring takes back what is synced, and recovery finds half a record
//! nowhere else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use self::op::{Closed, Files, Kind, Limits, Op, Outcome, Staged};
use crate::layout::Position;
pub use crate::recover::Dead;
use crate::shared::{Fence, Shared, Trouble};

mod op;

/// Dead segments that are kept to be used again; more are removed.
const DEAD_KEPT: usize = 2;
/// How long a failed operation rests before it is tried again, at first and at most.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(2);

/// One journal's plan.
#[derive(Debug)]
pub struct Plan {
    limits: Limits,
    shared: Arc<Shared>,
    closed: VecDeque<Closed>,
    /// The segment that is written: its number and its base.
    current: Option<(u64, Position)>,
    /// A segment that is ready to be begun.
    spare: Option<u64>,
    dead: VecDeque<Dead>,
    /// Dead segments that cannot be used again: they are removed.
    doomed: VecDeque<Dead>,
    next: u64,
    written: Position,
    synced: Position,
    /// Up to where the write under way goes, and whether it syncs.
    writing: Option<(Position, bool)>,
    /// What the sync under way covers.
    syncing: Option<Position>,
    /// The segment that is being prepared takes this dead one's file.
    preparing: Option<Option<u64>>,
    checkpointing: Option<Position>,
    removing: Option<Dead>,
    trim: Trim,
    prepare_rest: Rest,
    checkpoint_rest: Rest,
    remove_rest: Rest,
    /// The error of the last segment that could not be made; 0: none since one was.
    full: i32,
    /// The last try to use a dead segment met a copy under way.
    retained: bool,
    fenced: bool,
    stopping: bool,
}

/// How far the shard's trim has been carried out.
#[derive(Debug)]
struct Trim {
    /// What was asked for and is not on disk: the cut, and what must be synced before it may be.
    wanted: Option<(Position, Position)>,
    /// What the checkpoint on disk says, and its number.
    cut: Position,
    sequence: u64,
}

/// How an operation that failed waits for its next try.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    failures: u32,
    due: bool,
    resting: bool,
}

impl Rest {
    fn fail(&mut self) {
        *self = Rest { failures: self.failures.saturating_add(1), due: true, resting: true };
    }

    fn time(&self) -> Duration {
        REST_MIN.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(REST_MAX)
    }
}

impl Plan {
    /// The plan of a journal with these files. Its words say where the log ends: everything before is synced.
    pub fn new(shared: Arc<Shared>, limits: Limits, files: Files) -> Plan {
        let at = shared.synced();
        let (dead, doomed) = files.dead.into_iter().partition(|dead| dead.bytes == limits.file_bytes());
        let plan = Plan {
            limits,
            shared,
            closed: files.segments.into(),
            current: None,
            spare: None,
            dead,
            doomed,
            next: files.next,
            written: at,
            synced: at,
            writing: None,
            syncing: None,
            preparing: None,
            checkpointing: None,
            removing: None,
            trim: Trim { wanted: None, cut: files.cut, sequence: files.checkpoint },
            prepare_rest: Rest::default(),
            checkpoint_rest: Rest::default(),
            remove_rest: Rest::default(),
            full: 0,
            retained: false,
            fenced: false,
            stopping: false,
        };
        plan.show_files();
        plan
    }

    /// Whether it would do something if the journal's words moved now. If not, it looks at them when an operation
    /// completes.
    pub fn listens(&self) -> bool {
        !self.fenced && self.writing.is_none() && self.syncing.is_none()
    }

    /// What is staged is the end: it becomes durable, and nothing else is begun.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// After [`Plan::stop`]: whether everything is on disk, or nothing more will be.
    pub fn is_done(&self) -> bool {
        let busy = self.writing.is_some()
            || self.syncing.is_some()
            || self.preparing.is_some()
            || self.checkpointing.is_some()
            || self.removing.is_some();
        !busy && (self.fenced || self.stopping && self.synced == self.shared.staged())
    }

    /// Takes nothing more, and does nothing more.
    pub fn fence(&mut self, trouble: Trouble, segment: Option<u64>, errno: i32) {
        self.fenced = true;
        self.shared.fence(Fence { trouble, segment, errno });
    }

    /// Looks at the journal's words and adds to `ops` what is to be started.
    pub fn step(&mut self, staged: &impl Staged, ops: &mut Vec<Op>) {
        // A shard that met trouble has fenced the journal itself.
        self.fenced |= self.shared.fenced().is_some();
        if self.fenced {
            return;
        }
        let end = self.shared.staged();
        self.sync(ops);
        self.write(staged, end, ops);
        if self.fenced {
            return;
        }
        // On a stop, only what may make room for the rest of it.
        if !self.stopping || self.synced < end {
            self.checkpoint(ops);
        }
        self.prepare(end, ops);
        if !self.stopping {
            self.remove(ops);
        }
        for (of, rest) in [
            (Kind::Prepare, &mut self.prepare_rest),
            (Kind::Checkpoint, &mut self.checkpoint_rest),
            (Kind::Remove, &mut self.remove_rest),
        ] {
            if std::mem::take(&mut rest.due) {
                ops.push(Op::Rest { of, time: rest.time() });
            }
        }
        self.shared.set_stuck(self.is_stuck(end).then_some(self.full));
    }

    /// Whether something is staged, and nothing under way that would let it be written: no segment has room, and none
    /// can be made now.
    fn is_stuck(&self, end: Position) -> bool {
        end > self.written
            && self.spare.is_none()
            && self.writing.is_none()
            && self.syncing.is_none()
            && self.preparing.is_none()
            && self.checkpointing.is_none()
    }

    fn sync(&mut self, ops: &mut Vec<Op>) {
        if self.syncing.is_none() && self.written > self.synced {
            let (number, _) = self.current.expect("what is written is in a segment");
            self.syncing = Some(self.written);
            ops.push(Op::Sync { number });
        }
    }

    fn write(&mut self, staged: &impl Staged, end: Position, ops: &mut Vec<Op>) {
        let waiting = end.0 - self.written.0;
        let worth = self.syncing.is_none() || waiting >= self.limits.small_bytes();
        if self.writing.is_some() || waiting == 0 || !worth {
            return;
        }
        if let Some((number, base)) = self.current
            && let Some(to) = self.batch(staged, base, end)
        {
            return self.begin_write(number, base, to, end, ops);
        }
        // The next record is the first of a new segment, once everything before it is on disk.
        let Some(number) = self.spare.filter(|_| self.written == self.synced) else { return };
        let base = self.written;
        // No record is longer than a segment; what reads like one lay on a page that is gone.
        let Some(to) = self.batch(staged, base, end) else { return self.fence(Trouble::Page, None, 0) };
        self.spare = None;
        if let Some((number, begin)) = self.current.replace((number, base)) {
            let bytes = self.limits.file_bytes();
            self.closed.push_back(Closed { number, base: begin, end: base, bytes });
        }
        self.begin_write(number, base, to, end, ops);
        self.show_files();
    }

    fn begin_write(&mut self, number: u64, base: Position, to: Position, end: Position, ops: &mut Vec<Op>) {
        let from = self.written;
        let sync = self.syncing.is_none() && to == end && to.0 - from.0 <= self.limits.small_bytes();
        self.writing = Some((to, sync));
        ops.push(Op::Write { number, base, from, to, sync });
    }

    /// Up to where the next write into a segment that begins at `base` goes: to the end of a record. `None`: not one
    /// fits.
    fn batch(&self, staged: &impl Staged, base: Position, end: Position) -> Option<Position> {
        let room = base.0 + self.limits.segment_bytes - self.written.0;
        let mut bytes = self.limits.batch_bytes.min(room);
        loop {
            let to = staged.whole(self.written, end, bytes);
            if to > self.written {
                return Some(to);
            }
            if bytes == room {
                return None;
            }
            // The first record alone is longer than a batch.
            bytes = (2 * bytes).min(room);
        }
    }

    fn prepare(&mut self, end: Position, ops: &mut Vec<Op>) {
        if self.spare.is_some() || self.preparing.is_some() {
            return;
        }
        // Ahead of need: when the current segment is half full, or what is staged makes it so. On a stop, only if what
        // is staged needs it.
        let wanted = match self.current {
            None => end > self.written,
            Some((_, base)) if self.stopping => end.0 > base.0 + self.limits.segment_bytes,
            Some((_, base)) => end.0 - base.0 >= self.limits.segment_bytes / 2,
        };
        let files = self.closed.iter().map(|closed| closed.bytes).sum::<u64>()
            + u64::from(self.current.is_some()) * self.limits.file_bytes();
        let room = match self.limits.max_bytes {
            0 => true,
            max => files + self.limits.file_bytes() <= max.max(2 * self.limits.file_bytes()) || self.trim_frees(),
        };
        let reuse = self.dead.front().filter(|_| !self.retained).map(|dead| dead.number);
        if wanted && room && !self.prepare_rest.resting {
            self.preparing = Some(reuse);
            ops.push(Op::Prepare { number: self.next, reuse });
        }
    }

    fn checkpoint(&mut self, ops: &mut Vec<Op>) {
        // What makes the records before the cut needless was staged before the shard said so. It must be on disk before
        // the checkpoint is: until then the records before the cut are all that a crash would leave.
        let trimmed = self.shared.trimmed();
        if trimmed > self.trim.cut && !self.trim_frees() {
            self.trim.wanted = Some((trimmed, self.shared.trim_relies_on()));
        }
        // Where no segment would die nothing is written: a later trim counts instead, or this one once more are closed.
        let Some((cut, relies_on)) = self.trim.wanted.filter(|_| self.trim_frees()) else { return };
        if self.checkpointing.is_none() && !self.checkpoint_rest.resting && relies_on <= self.synced {
            self.checkpointing = Some(cut);
            ops.push(Op::Checkpoint { sequence: self.trim.sequence + 1, cut });
        }
    }

    /// Whether a segment dies once the trim that is wanted is on disk.
    fn trim_frees(&self) -> bool {
        let oldest = self.closed.front().map(|oldest| oldest.end);
        oldest.zip(self.trim.wanted).is_some_and(|(end, (cut, _))| end <= cut)
    }

    fn remove(&mut self, ops: &mut Vec<Op>) {
        if self.removing.is_some() || self.remove_rest.resting {
            return;
        }
        if self.doomed.is_empty() && self.dead.len() > DEAD_KEPT {
            // From the back: the front may be in use by a Prepare.
            self.doomed.extend(self.dead.pop_back());
        }
        if let Some(&dead) = self.doomed.front() {
            self.removing = Some(dead);
            ops.push(Op::Remove { number: dead.number });
        }
    }

    /// An operation has ended.
    pub fn complete(&mut self, kind: Kind, outcome: Outcome, staged: &mut impl Staged) {
        match kind {
            Kind::Write => {
                let (to, sync) = self.writing.take().expect("a write is under way");
                let number = self.current.map(|(number, _)| number);
                match outcome {
                    Outcome::Done => {
                        self.written = to;
                        if sync {
                            self.synced(to, staged);
                        }
                    }
                    Outcome::Gone => self.fence(Trouble::Page, None, 0),
                    Outcome::Retained => unreachable!("a write takes no file away"),
                    Outcome::Failed(errno) => self.fence(Trouble::Write, number, errno),
                }
            }
            Kind::Sync => {
                let to = self.syncing.take().expect("a sync is under way");
                match outcome {
                    Outcome::Done => self.synced(to, staged),
                    _ => self.fence(Trouble::Sync, self.current.map(|(number, _)| number), outcome.errno()),
                }
            }
            Kind::Prepare => self.prepared(outcome),
            Kind::Checkpoint => self.checkpointed(outcome),
            Kind::Remove => {
                let dead = self.removing.take().expect("a removal is under way");
                match outcome {
                    Outcome::Done => {
                        debug_assert_eq!(self.doomed.front(), Some(&dead));
                        self.doomed.pop_front();
                        self.remove_rest = Rest::default();
                        self.retained = false;
                    }
                    // A file too many does no harm: it is tried again.
                    _ => self.remove_rest.fail(),
                }
            }
        }
        self.show_files();
    }

    fn synced(&mut self, to: Position, staged: &mut impl Staged) {
        // After any other error of the journal the disk's word is not taken either.
        if !self.fenced {
            self.synced = to;
            staged.sync(to);
        }
    }

    fn prepared(&mut self, outcome: Outcome) {
        let reuse = self.preparing.take().expect("a preparation is under way");
        match (outcome, reuse) {
            (Outcome::Done, reuse) => {
                if reuse.is_some() {
                    self.dead.pop_front();
                }
                self.spare = Some(self.next);
                self.next += 1;
                self.full = 0;
                self.retained = false;
                self.prepare_rest = Rest::default();
            }
            // A new file does as well.
            (Outcome::Retained, _) => self.retained = true,
            (Outcome::Failed(libc::ENOENT), Some(_)) => drop(self.dead.pop_front()),
            // The disk is full, which may pass: until then the ring takes what it can, and the shard refuses the rest.
            (Outcome::Failed(libc::ENOSPC | libc::EDQUOT), _) => {
                self.retained = false;
                self.full = outcome.errno();
                self.prepare_rest.fail();
            }
            _ => self.fence(Trouble::Prepare, Some(self.next), outcome.errno()),
        }
    }

    fn checkpointed(&mut self, outcome: Outcome) {
        let cut = self.checkpointing.take().expect("a checkpoint is under way");
        match outcome {
            Outcome::Done => {
                self.checkpoint_rest = Rest::default();
                // What dies now may be used where there was no room for a new one.
                self.prepare_rest = Rest::default();
                self.trim = Trim { wanted: None, cut, sequence: self.trim.sequence + 1 };
                let dying = self.closed.iter().take_while(|closed| closed.end <= cut).count();
                for oldest in self.closed.drain(..dying) {
                    let dead = Dead { number: oldest.number, bytes: oldest.bytes };
                    let list = if dead.bytes == self.limits.file_bytes() { &mut self.dead } else { &mut self.doomed };
                    list.push_back(dead);
                }
            }
            // The older checkpoint still holds, and nothing has died.
            Outcome::Failed(libc::ENOSPC | libc::EDQUOT) => self.checkpoint_rest.fail(),
            _ => self.fence(Trouble::Checkpoint, None, outcome.errno()),
        }
    }

    /// A rest is over: the operation is tried again.
    pub fn rested(&mut self, of: Kind) {
        match of {
            Kind::Prepare => self.prepare_rest.resting = false,
            Kind::Checkpoint => self.checkpoint_rest.resting = false,
            Kind::Remove => self.remove_rest.resting = false,
            Kind::Write | Kind::Sync => unreachable!("it is not tried again"),
        }
    }

    /// Shows what the files come to.
    fn show_files(&self) {
        let begun = self.closed.front().map(|oldest| oldest.base).or(self.current.map(|(_, base)| base));
        let whole = u64::from(self.current.is_some()) + u64::from(self.spare.is_some());
        let bytes = self.closed.iter().map(|closed| closed.bytes).sum::<u64>()
            + self.dead.iter().chain(&self.doomed).map(|dead| dead.bytes).sum::<u64>()
            + whole * self.limits.file_bytes();
        self.shared.set_files(begun.unwrap_or(self.written), bytes);
    }
}

#[cfg(test)]
mod tests;
