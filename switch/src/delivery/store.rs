//! Messages that wait in sessions: stored once a shard, counted, however many sessions they wait for.

use shard::buffer::Blob;
use wire::frame::Frame;

use crate::frames;

/// A stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(u32);

/// The messages that wait on one shard, with a bound on their bytes.
///
/// Buffers are kept by size class and used again, so that a steady stream of messages allocates nothing.
pub struct MessageStore {
    messages: Vec<Stored>,
    vacant: Vec<u32>,
    /// Emptied buffers by size class: class c holds buffers of `64 << c` bytes.
    spare: [Vec<Vec<u8>>; CLASSES],
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
    /// The bytes of a frame, in a buffer of ours.
    Own(Vec<u8>),
    /// The bytes of a frame that crossed cores by reference.
    Shared(Blob),
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Vacant => &[],
            Body::Own(bytes) => bytes,
            Body::Shared(blob) => blob,
        }
    }
}

impl MessageStore {
    /// An empty store that holds at most `bytes_max` bytes of frames.
    pub fn new(bytes_max: u64) -> MessageStore {
        MessageStore {
            messages: Vec::new(),
            vacant: Vec::new(),
            spare: [const { Vec::new() }; CLASSES],
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
                let len = frames::len(frame);
                let mut buffer = self.buffer(len);
                buffer.resize(len, 0);
                frames::write(frame, &mut buffer);
                Body::Own(buffer)
            }
        };
        self.insert(body)
    }

    /// Stores the frame in these bytes with one reference. They should lie in a buffer like those of [`buffer`], so that
    /// it can be used again.
    pub fn adopt(&mut self, bytes: Vec<u8>) -> MessageId {
        self.insert(Body::Own(bytes))
    }

    fn insert(&mut self, body: Body) -> MessageId {
        self.bytes += body.bytes().len() as u64;
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
        frames::read(stored.body.bytes())
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
        Some((if lives { stored.number } else { 0 }, lives.then(|| frames::read(stored.body.bytes()))))
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
        self.bytes -= body.bytes().len() as u64;
        self.vacant.push(id.0);
        if let Body::Own(mut buffer) = body {
            let class = class_of(buffer.capacity());
            if class < CLASSES && buffer.capacity() == class_bytes(class) && self.spare[class].len() < spare_max(class)
            {
                buffer.clear();
                self.spare[class].push(buffer);
            }
        }
    }

    fn buffer(&mut self, len: usize) -> Vec<u8> {
        let spare = self.spare.get_mut(class_of(len)).and_then(Vec::pop);
        spare.unwrap_or_else(|| buffer(len))
    }
}

/// An empty buffer for a frame of so many bytes, as the store uses them again.
pub fn buffer(len: usize) -> Vec<u8> {
    let class = class_of(len);
    Vec::with_capacity(if class < CLASSES { class_bytes(class) } else { len })
}

/// Size classes of reused buffers, four to a doubling: 64 B, 80 B, 96 B, 112 B, 128 B, 160 B and so on to 64 KiB.
const CLASSES: usize = 41;

const fn class_bytes(class: usize) -> usize {
    (4 + class % 4) << (4 + class / 4)
}

/// The smallest class that holds `len` bytes; [`CLASSES`] or more where none does.
const fn class_of(len: usize) -> usize {
    if len <= 64 {
        return 0;
    }
    let last = len - 1;
    let doublings = last.ilog2() - 6;
    4 * doublings as usize + (last >> (4 + doublings)) - 3
}

/// Spare buffers of one class: 4 MiB of them.
const fn spare_max(class: usize) -> usize {
    (4 << 20) / class_bytes(class)
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// A class is the smallest that holds its sizes, and the last one has 64 KiB.
    #[test]
    fn classes_fit() {
        for len in 1..=64 << 10 {
            let class = class_of(len);
            assert!(class_bytes(class) >= len && (class == 0 || class_bytes(class - 1) < len), "{len} in {class}");
        }
        assert_eq!((class_bytes(CLASSES - 1), class_of((64 << 10) + 1)), (64 << 10, CLASSES));
    }

    /// A released buffer serves the next message of its class.
    #[test]
    fn reuses_buffers() {
        let mut store = MessageStore::new(1 << 20);
        let id = store.put(&frame(&[7; 100]), None);
        let before = store.frame(id).payload.as_ptr();
        store.release(id);
        let id = store.put(&frame(&[8; 99]), None);
        assert_eq!(store.frame(id).payload.as_ptr(), before);
    }
}
