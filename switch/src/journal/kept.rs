//! Messages that lie where a start has read them, until they are copied.
//!
//! ```text
//!   log ─▶ state: where each message lies in it ─▶ the shard serves from there ─▶ a few a turn ─▶ cells of the store
//! ```
//!
//! Copying is most of what a start with a long log would take, and nobody needs to wait for it: the bytes were read just
//! now to be checked, so they are in memory.

use bytes::Bytes;
use persistence::store::Source;
use wire::frame::Frame;

use super::WallClock;
use crate::routing::place::Placement;

/// What is copied in a turn, in bytes and messages: some 30 µs.
const BYTES_PER_TURN: usize = 32 << 10;
const MESSAGES_PER_TURN: usize = 32;

/// What a frame of a log becomes in this start.
#[derive(Clone)]
pub struct Present {
    /// Times of the wall clock become times of the shard's.
    pub wall: WallClock,
    /// Topics may have another hash.
    pub placement: Placement,
}

impl Present {
    /// The frame with the times of this start, and its topic's hash among its shards.
    pub fn frame<'a>(&self, kept: &Frame<'a>) -> Frame<'a> {
        let mut frame = self.wall.current(kept, shard::Instant::ZERO);
        frame.header.topic_hash = self.placement.topic_hash(frame.topic);
        frame
    }
}

/// The messages that lie in the log.
#[derive(Default)]
pub struct Kept {
    frames: Vec<Bytes>,
    /// Those before this are copied.
    settled: usize,
    present: Option<Present>,
    sources: Vec<Source>,
}

impl Kept {
    /// These frames, which are read from `sources`.
    pub fn new(frames: Vec<Bytes>, present: Present, sources: Vec<Source>) -> Kept {
        Kept { frames, settled: 0, present: Some(present), sources }
    }

    /// Whether none lies there (any more).
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What the log has of each, in order.
    pub fn frames(&self) -> &[Bytes] {
        &self.frames
    }

    /// One of them.
    ///
    /// # Panics
    /// The disk fails, as in [`Kept::settle`].
    pub fn frame(&self, index: usize) -> Frame<'_> {
        let present = self.present.as_ref().expect("frames have it with them");
        let frame = Frame::read(&self.frames[index]);
        if frame.is_err() {
            self.check();
        }
        present.frame(&frame.expect("it was checked when it was read"))
    }

    fn check(&self) {
        if let Some(error) = self.sources.iter().find_map(|source| source.check().err()) {
            panic!("the journal fails while the node starts, which ends therefore: {error}");
        }
    }

    /// Has `copy` take the next few.
    ///
    /// # Panics
    /// The disk fails: a page of the log has gone from memory since it was checked, and cannot be read again. What was
    /// read this turn, for whomever, may be zeros, so that the node must end before it sends anything.
    pub fn settle(&mut self, mut copy: impl FnMut(usize, Frame<'_>)) {
        let (mut bytes, first) = (0, self.settled);
        while self.settled < self.frames.len() && self.settled - first < MESSAGES_PER_TURN && bytes < BYTES_PER_TURN {
            copy(self.settled, self.frame(self.settled));
            bytes += self.frames[self.settled].len();
            self.settled += 1;
        }
        self.check();
        if self.settled == self.frames.len() {
            *self = Kept::default();
        }
    }
}
