//! Messages that wait in sessions: stored once a shard, counted, however many sessions they wait for.

use shard::buffer::{Blob, Cell, Cells};
use wire::frame::Frame;

use crate::frames;
use crate::journal::kept::Kept;

/// A stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(u32);

/// The messages that wait on one shard, with a bound on their bytes.
///
/// They lie in cells that are used again, so that a steady stream of messages allocates nothing.
pub struct MessageStore {
    messages: Vec<Stored>,
    vacant: Vec<u32>,
    cells: Cells,
    /// What a journal told lies where it was read, for now.
    kept: Kept,
    bytes: u64,
    bytes_max: u64,
}

struct Stored {
    references: u32,
    /// Its number in the journal; 0: none.
    number: u64,
    body: Body,
}

enum Body {
    Vacant,
    /// In the journal, as [`Kept`] knows by its identifier.
    Kept,
    /// The bytes of a frame, in a cell of ours.
    Own(Cell),
    /// The bytes of a frame that crossed cores by reference.
    Shared(Blob),
}

impl MessageStore {
    /// An empty store that holds at most `bytes_max` bytes of frames.
    pub fn new(bytes_max: u64) -> MessageStore {
        MessageStore {
            messages: Vec::new(),
            vacant: Vec::new(),
            cells: Cells::default(),
            kept: Kept::default(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Whether a frame of that many bytes fits.
    pub fn room(&self, frame_bytes: usize) -> bool {
        self.bytes + frame_bytes as u64 <= self.bytes_max
    }

    /// Whether a frame of that many bytes fits when nothing else is stored.
    pub fn could_hold(&self, frame_bytes: usize) -> bool {
        frame_bytes as u64 <= self.bytes_max
    }

    /// Bytes of all stored frames.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many messages are stored.
    pub fn len(&self) -> usize {
        self.messages.len() - self.vacant.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores a frame with one reference. `blob` holds the frame's bytes where it came by reference.
    pub fn put(&mut self, frame: &Frame<'_>, blob: Option<&Blob>) -> MessageId {
        let body = match blob {
            Some(blob) => Body::Shared(blob.clone()),
            None => {
                let cell = self.cells.reserve(frames::len(frame));
                frames::write(frame, self.cells.bytes_mut(cell));
                Body::Own(cell)
            }
        };
        self.insert(body)
    }

    /// Stores what a journal keeps, each with one reference: they have the identifiers from the first on. Before anything
    /// else is stored.
    pub fn restore(&mut self, kept: Kept) -> impl Iterator<Item = MessageId> + use<> {
        assert!(self.messages.is_empty(), "a start comes first");
        self.bytes = kept.frames().iter().map(|frame| frame.len() as u64).sum();
        let count = kept.frames().len();
        self.messages.extend((0..count).map(|_| Stored { references: 1, number: 0, body: Body::Kept }));
        self.kept = kept;
        (0..count as u32).map(MessageId)
    }

    /// Copies some of what lies in the journal still. Whether more does.
    ///
    /// # Panics
    /// The disk fails.
    #[inline]
    pub fn settle(&mut self) -> bool {
        !self.kept.is_empty() && self.settle_some()
    }

    #[cold]
    fn settle_some(&mut self) -> bool {
        let cells = &mut self.cells;
        self.kept.settle(|index, frame| {
            let stored = &mut self.messages[index];
            if stored.references > 0 && matches!(stored.body, Body::Kept) {
                let cell = cells.reserve(frames::len(&frame));
                frames::write(&frame, cells.bytes_mut(cell));
                stored.body = Body::Own(cell);
            }
        });
        !self.kept.is_empty()
    }

    /// Whether something lies in the journal still: none of it may be given up.
    pub fn is_settled(&self) -> bool {
        self.kept.is_empty()
    }

    fn frame_of<'a>(&'a self, index: usize, body: &'a Body) -> Frame<'a> {
        match body {
            Body::Vacant => unreachable!("it was released"),
            Body::Kept => self.kept.frame(index),
            Body::Own(cell) => frames::read(self.cells.bytes(*cell)),
            Body::Shared(blob) => frames::read(blob),
        }
    }

    fn insert(&mut self, body: Body) -> MessageId {
        self.bytes += self.len_of(0, &body) as u64;
        let stored = Stored { references: 1, number: 0, body };
        match self.vacant.pop() {
            Some(index) => {
                self.messages[index as usize] = stored;
                MessageId(index)
            }
            None => {
                self.messages.push(stored);
                MessageId((self.messages.len() - 1) as u32)
            }
        }
    }

    /// The frame of a stored message.
    pub fn frame(&self, id: MessageId) -> Frame<'_> {
        let stored = &self.messages[id.0 as usize];
        assert!(stored.references > 0, "a released message was read");
        self.frame_of(id.0 as usize, &stored.body)
    }

    /// What the journal calls this message.
    pub fn set_number(&mut self, id: MessageId, number: u64) {
        self.messages[id.0 as usize].number = number;
    }

    /// What the journal calls this message; 0: it does not know it.
    pub fn number(&self, id: MessageId) -> u64 {
        self.messages[id.0 as usize].number
    }

    /// The message at an index with its number, 0 where there is none; `None` behind the last.
    pub fn numbered(&self, index: u32) -> Option<(u64, Option<Frame<'_>>)> {
        let stored = self.messages.get(index as usize)?;
        let lives = stored.references > 0 && stored.number != 0;
        Some((if lives { stored.number } else { 0 }, lives.then(|| self.frame_of(index as usize, &stored.body))))
    }

    /// One more session waits for this message.
    pub fn retain(&mut self, id: MessageId) {
        let stored = &mut self.messages[id.0 as usize];
        assert!(stored.references > 0, "a released message was retained");
        stored.references += 1;
    }

    /// One session less waits for this message; the last one frees it.
    pub fn release(&mut self, id: MessageId) {
        let stored = &mut self.messages[id.0 as usize];
        assert!(stored.references > 0, "a message was released twice");
        stored.references -= 1;
        if stored.references > 0 {
            return;
        }
        let body = std::mem::replace(&mut stored.body, Body::Vacant);
        self.bytes -= self.len_of(id.0 as usize, &body) as u64;
        self.vacant.push(id.0);
        if let Body::Own(cell) = body {
            self.cells.release(cell);
        }
    }

    fn len_of(&self, index: usize, body: &Body) -> usize {
        match body {
            Body::Vacant => 0,
            Body::Kept => self.kept.frames()[index].len(),
            Body::Own(cell) => cell.len(),
            Body::Shared(blob) => blob.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::WallClock;
    use crate::journal::kept::Present;
    use crate::routing::place::Placement;
    use wire::frame::FrameHeader;

    fn frame(payload: &[u8]) -> Frame<'_> {
        Frame {
            header: FrameHeader { topic_len: 1, payload_len: payload.len() as u32, ..FrameHeader::default() },
            topic: "t",
            properties: &[],
            payload,
        }
    }

    /// A message lives until the last session lets it go, and its bytes are counted exactly once.
    #[test]
    fn counts_references_and_bytes() {
        let mut store = MessageStore::new(1 << 20);
        let id = store.put(&frame(b"hello"), None);
        store.retain(id);
        let bytes = store.bytes();
        assert_eq!(bytes, frames::len(&frame(b"hello")) as u64);
        store.release(id);
        assert_eq!(store.frame(id).payload, b"hello");
        store.release(id);
        assert_eq!((store.bytes(), store.len()), (0, 0));
    }

    /// A released cell serves the next message of its size.
    #[test]
    fn reuses_cells() {
        let mut store = MessageStore::new(1 << 20);
        let id = store.put(&frame(&[7; 100]), None);
        let before = store.frame(id).payload.as_ptr();
        store.release(id);
        let id = store.put(&frame(&[8; 99]), None);
        assert_eq!(store.frame(id).payload.as_ptr(), before);
    }

    /// What a journal keeps is there from the start on, with the times of this start, and is copied while it is used.
    #[test]
    fn what_is_kept_settles() {
        let wall = WallClock { origin_ms: 5_000 };
        let placement = Placement::new(2, [7; 16], &[]).expect("no rules");
        let present = Present { wall, placement: placement.clone() };
        let kept = |n: u8| {
            let mut frame = frame(&[7; 3000]);
            (frame.header.arrived, frame.header.expires) = (4_000, 6_000 + u64::from(n));
            frames::to_vec(&frame).into()
        };
        let mut store = MessageStore::new(1 << 20);
        let ids: Vec<MessageId> = store.restore(Kept::new((0..100).map(kept).collect(), present, Vec::new())).collect();
        let len = frames::len(&frame(&[7; 3000])) as u64;
        assert_eq!((store.len(), store.bytes()), (100, 100 * len));
        let expires = |n: u64| (1_000 + n) * 1_000_000;
        let holds = |store: &MessageStore, n: usize| {
            let frame = store.frame(ids[n]);
            assert_eq!((frame.payload, frame.header.expires), (&[7; 3000][..], expires(n as u64)));
            assert_eq!(frame.header.topic_hash, placement.topic_hash("t"));
        };
        store.release(ids[3]);
        store.release(ids[90]);
        // Its place is taken before its turn comes.
        let newer = store.put(&frame(b"newer"), None);
        assert!([ids[3], ids[90]].contains(&newer) && !store.is_settled());
        let mut turns = 1;
        while store.settle() {
            [0, 1, 50, 99].iter().for_each(|n| holds(&store, *n));
            turns += 1;
        }
        assert!(turns > 3 && store.is_settled());
        [0, 1, 50, 99].iter().for_each(|n| holds(&store, *n));
        assert_eq!(store.frame(newer).payload, b"newer");
        store.release(newer);
        ids.iter().filter(|id| ![ids[3], ids[90]].contains(id)).for_each(|id| store.release(*id));
        assert_eq!((store.bytes(), store.len()), (0, 0));
    }
}
