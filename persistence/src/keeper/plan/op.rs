//! The words of a plan: what it is told, and what it asks for.

use std::time::Duration;

use crate::layout::{HEADER_BYTES, Position};
use crate::recover::{Dead, Live};
use crate::store::Handover;

/// How large things become.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the log in one segment. No record is longer.
    pub segment_bytes: u64,
    /// Bytes of segment files, beyond which no new one is made until old ones die; 0: no limit. Two always may be, and
    /// for a trim whose records are staged and not yet on disk there is room, since it frees more.
    pub max_bytes: u64,
    /// Bytes of one write, unless a single record is longer.
    pub batch_bytes: u64,
}

impl Limits {
    /// Half a batch. While a sync is under way, what gathers is written behind it from this size on: each write costs the
    /// keeper two changes of thread, however small it is. And up to this size a batch that is all there is is written and
    /// synced by one operation, which spares two of them: 4 KiB 47 % more often a second than by two operations, 64 KiB
    /// 18 %, 256 KiB 20 % where the disk takes 0.2 ms for a sync. A longer one is synced by a second operation, so that
    /// the next batch is written meanwhile.
    pub(super) const fn small_bytes(&self) -> u64 {
        self.batch_bytes / 2
    }

    /// Bytes of a segment's file.
    pub const fn file_bytes(&self) -> u64 {
        HEADER_BYTES + self.segment_bytes
    }
}

/// A segment that is written no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub number: u64,
    /// Where it begins.
    pub base: Position,
    /// Where it ends: the next one's beginning.
    pub end: Position,
    /// Bytes of its file.
    pub bytes: u64,
}

/// What a journal's files hold when its plan begins.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The number of the next segment. There is no file of this number or a higher one.
    pub next: u64,
    /// Segments whose records are needed, oldest first.
    pub segments: Vec<Closed>,
    /// Segments whose records are not, and such as were never begun.
    pub dead: Vec<Dead>,
    /// What the checkpoint says.
    pub cut: Position,
    /// The number of that checkpoint; 0: there is none.
    pub checkpoint: u64,
}

impl From<&Handover> for Files {
    fn from(handover: &Handover) -> Files {
        let closed = |live: &Live| Closed {
            number: live.header.number,
            base: live.header.base,
            end: live.end.expect("a recovered segment has an end"),
            bytes: live.bytes,
        };
        Files {
            next: handover.next,
            segments: handover.live.iter().map(closed).collect(),
            dead: handover.dead.clone(),
            cut: handover.cut,
            checkpoint: handover.checkpoint,
        }
    }
}

/// What is to be done on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes a segment's file, as large as it becomes, and syncs it and its directory. A new one is full of zeros. With
    /// `reuse` the file of that number takes the new name and keeps its bytes: its header, which names another number,
    /// tells that it is not begun.
    Prepare {
        /// The segment's number.
        number: u64,
        /// The dead segment whose file it takes.
        reuse: Option<u64>,
    },
    /// Writes `from..to` of the log to a segment. Where `from` is its base it is begun: its header is written with it.
    /// With `sync` that is on disk when the operation is done; everything before `from` is already.
    Write {
        /// The segment's number.
        number: u64,
        /// Where it begins.
        base: Position,
        /// The first byte to write.
        from: Position,
        /// The end of what is written.
        to: Position,
        /// Whether it is synced, too.
        sync: bool,
    },
    /// Syncs a segment's bytes.
    Sync {
        /// The segment's number.
        number: u64,
    },
    /// Writes a checkpoint over the older one of the two, and syncs it.
    Checkpoint {
        /// Its number: odd and even ones have a place each.
        sequence: u64,
        /// Nothing before this is needed.
        cut: Position,
    },
    /// Removes a segment's file. That it was not there is no error.
    Remove {
        /// Its number.
        number: u64,
    },
    /// Completes after a time.
    Rest {
        /// What is tried again then.
        of: Kind,
        /// The time.
        time: Duration,
    },
}

impl Op {
    /// Which it is; of a rest, what it is for.
    pub fn kind(self) -> Kind {
        match self {
            Op::Prepare { .. } => Kind::Prepare,
            Op::Write { .. } => Kind::Write,
            Op::Sync { .. } => Kind::Sync,
            Op::Checkpoint { .. } => Kind::Checkpoint,
            Op::Remove { .. } => Kind::Remove,
            Op::Rest { of, .. } => of,
        }
    }
}

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Op::Prepare`].
    Prepare,
    /// [`Op::Write`].
    Write,
    /// [`Op::Sync`].
    Sync,
    /// [`Op::Checkpoint`].
    Checkpoint,
    /// [`Op::Remove`].
    Remove,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Somebody copies the files (`RETAIN`): nothing was changed. Of Remove, and of Prepare with `reuse`, alone.
    Retained,
    /// The staged bytes cannot be believed: a page of them is gone. Of Write alone.
    Gone,
    /// It failed, with the kernel's error number.
    Failed(i32),
}

/// The keeper's end of the staged log.
pub trait Staged {
    /// The end of the last record, from `from` on, that ends within `bytes_max` bytes and at `to` at the latest; `from`
    /// if the first one is too long. Both are ends of records.
    fn whole(&self, from: Position, to: Position, bytes_max: u64) -> Position;

    /// Everything before `to` is on disk: tells the shard so, and gives it the ring's bytes back.
    fn sync(&mut self, to: Position);
}

impl Outcome {
    pub(super) fn errno(self) -> i32 {
        match self {
            Outcome::Failed(errno) => errno,
            _ => 0,
        }
    }
}
