//! The retained messages of one owner's topics: one for each topic, found by name or walked by filter.
//!
//! A topic is found through a hash table, for the publish that replaces its message. For filters the topics are also
//! kept in order, with their levels separated by U+0000 instead of `/`. No topic contains that character
//! \[MQTT-1.5.4-2\] and it sorts first, so a topic is followed at once by all topics below it:
//!
//! ```text
//!   room␀1           a walk of room/+/gift seeks   room␀        finds room␀1
//!   room␀1␀chat                                    room␀1␀gift  finds it: a match
//!   room␀1␀gift                                    room␀1␁      finds room␀10␀gift: a match
//!   room␀10␀gift                                   room␀10␁     finds room␀9
//!   room␀9                                         room␀9␀gift  finds rules: nothing can follow
//!   rules
//! ```
//!
//! A walk keeps nothing but the place to seek next, so that it goes on across any change of the store.

mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ahash::RandomState;
use shard::Instant;
use slab::Slab;

pub use self::walk::{Cursor, Walk};
use super::id_table::IdTable;

/// What an entry costs beside its topic and the buffer of its frame, in bytes, rounded up: both indices with the room
/// that they keep to grow, the entry, and the allocator's own.
pub const ENTRY_BYTES: u64 = 256;

/// Buffers of frames are sized in steps of this many bytes, so that values that vary a little reuse them.
const BUFFER_STEP: usize = 32;

/// The retained message of a topic.
#[derive(Debug)]
pub struct Retained {
    frame: Vec<u8>,
    arrived: Instant,
    expires: Instant,
}

/// Retained messages by topic, bounded by number and by bytes.
pub struct RetainedStore {
    entries: Slab<Entry>,
    by_topic: IdTable,
    /// Topics with U+0000 for `/`.
    by_level: BTreeMap<Arc<str>, u32>,
    hasher: RandomState,
    bounds: Bounds,
    bytes: u64,
    /// How many entries expire some time.
    mortal: usize,
    /// Where [`RetainedStore::expire`] looks next.
    hand: usize,
    /// The topic of the entry at hand, put together from its key; kept so that it does not allocate.
    topic: String,
}

/// How much a [`RetainedStore`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Messages.
    pub messages_max: u32,
    /// Bytes: topics, frames and [`ENTRY_BYTES`] for each message.
    pub bytes_max: u64,
}

/// Which bound keeps a message out of a [`RetainedStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// [`Bounds::messages_max`].
    Messages,
    /// [`Bounds::bytes_max`].
    Bytes,
}

struct Entry {
    /// The key in `by_level`.
    key: Arc<str>,
    retained: Retained,
}

impl Retained {
    /// The message as a frame.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// When the switch received it.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// When it expires; [`Instant::NEVER`] if it does not.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }

    fn is_mortal(&self) -> bool {
        self.expires != Instant::NEVER
    }

    fn write(&mut self, len: usize, arrived: Instant, expires: Instant, fill: impl FnOnce(&mut [u8])) {
        let capacity = capacity_for(self.frame.capacity(), len);
        if capacity != self.frame.capacity() {
            self.frame = Vec::with_capacity(capacity);
        }
        self.frame.resize(len, 0);
        fill(&mut self.frame);
        (self.arrived, self.expires) = (arrived, expires);
    }
}

impl RetainedStore {
    /// An empty store.
    pub fn new(bounds: Bounds) -> RetainedStore {
        RetainedStore {
            entries: Slab::new(),
            by_topic: IdTable::default(),
            by_level: BTreeMap::new(),
            hasher: RandomState::new(),
            bounds,
            bytes: 0,
            mortal: 0,
            hand: 0,
            topic: String::new(),
        }
    }

    /// How many messages it holds, expired ones not yet removed among them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of [`Bounds::bytes_max`] are used.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps a message as the topic's retained one, in place of the one before it.
    ///
    /// The frame's `len` bytes are written by `fill`, once, into the store's own buffer; that of the message before is
    /// used again where it fits and is not much too large. If the store is full nothing changes, the message before
    /// included: who delivers the new one all the same must [`clear`](RetainedStore::clear) the topic, or later
    /// subscribers would get an older message than earlier ones.
    pub fn set(
        &mut self,
        topic: &str,
        len: usize,
        arrived: Instant,
        expires: Instant,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        let hash = self.hasher.hash_one(topic);
        let known = self.find(hash, topic);
        let before = known.map_or(0, |id| self.entries[id as usize].bytes());
        let capacity = capacity_for(known.map_or(0, |id| self.entries[id as usize].retained.frame.capacity()), len);
        let after = entry_bytes(topic.len(), capacity);
        if known.is_none() && self.entries.len() >= self.bounds.messages_max as usize {
            return Err(Full::Messages);
        }
        if after > before && self.bytes - before + after > self.bounds.bytes_max {
            return Err(Full::Bytes);
        }
        let id = known.unwrap_or_else(|| self.add(hash, topic));
        let entry = &mut self.entries[id as usize];
        self.mortal -= usize::from(entry.retained.is_mortal());
        entry.retained.write(len, arrived, expires, fill);
        self.mortal += usize::from(entry.retained.is_mortal());
        self.bytes = self.bytes - before + entry.bytes();
        Ok(())
    }

    /// Removes the topic's retained message. Returns whether there was one.
    pub fn clear(&mut self, topic: &str) -> bool {
        let hash = self.hasher.hash_one(topic);
        match self.find(hash, topic) {
            Some(id) => {
                self.remove(id);
                true
            }
            None => false,
        }
    }

    /// The topic's retained message, unless it has expired.
    pub fn get(&self, topic: &str, now: Instant) -> Option<&Retained> {
        let id = self.find(self.hasher.hash_one(topic), topic)?;
        Some(&self.entries[id as usize].retained).filter(|retained| !retained.is_expired(now))
    }

    /// Looks at the next `budget` places of the store in turn and removes those messages that have expired. Returns how
    /// many. Called again and again it comes to every message; where none ever expires it costs nothing.
    pub fn expire(&mut self, now: Instant, budget: usize) -> usize {
        let mut removed = 0;
        for _ in 0..budget {
            if self.mortal == 0 {
                break;
            }
            let at = self.hand;
            self.hand = if at + 1 < self.entries.capacity() { at + 1 } else { 0 };
            if self.entries.get(at).is_some_and(|entry| entry.retained.is_expired(now)) {
                self.remove(at as u32);
                removed += 1;
            }
        }
        removed
    }

    fn find(&self, hash: u64, topic: &str) -> Option<u32> {
        self.by_topic.find(hash, |id| is_key_of(&self.entries[id as usize].key, topic))
    }

    /// Adds an entry with an empty frame. Its bytes are not counted yet.
    fn add(&mut self, hash: u64, topic: &str) -> u32 {
        let key: Arc<str> = topic.replace('/', "\0").into();
        let retained = Retained { frame: Vec::new(), arrived: Instant::ZERO, expires: Instant::NEVER };
        let id =
            u32::try_from(self.entries.insert(Entry { key: key.clone(), retained })).expect("at most messages_max");
        self.by_topic.insert(hash, id);
        self.by_level.insert(key, id);
        id
    }

    fn remove(&mut self, id: u32) {
        let entry = self.entries.remove(id as usize);
        topic_of(&entry.key, &mut self.topic);
        self.by_topic.remove(self.hasher.hash_one(&*self.topic), id);
        self.by_level.remove(&*entry.key);
        self.bytes -= entry.bytes();
        self.mortal -= usize::from(entry.retained.is_mortal());
    }
}

impl Entry {
    fn bytes(&self) -> u64 {
        entry_bytes(self.key.len(), self.retained.frame.capacity())
    }
}

fn entry_bytes(topic: usize, buffer: usize) -> u64 {
    ENTRY_BYTES + topic as u64 + buffer as u64
}

/// The buffer to hold `len` bytes where one of `have` bytes is at hand: that one, unless it is too small or wastes more
/// than half.
fn capacity_for(have: usize, len: usize) -> usize {
    if (len..=2 * len + BUFFER_STEP).contains(&have) { have } else { len.next_multiple_of(BUFFER_STEP) }
}

/// Whether a key of `by_level` is that of a topic.
fn is_key_of(key: &str, topic: &str) -> bool {
    let differs = |(k, t): (u8, u8)| k ^ if t == b'/' { 0 } else { t };
    // Without an early exit the comparison takes many bytes at once.
    key.len() == topic.len() && key.bytes().zip(topic.bytes()).map(differs).fold(0, |all, byte| all | byte) == 0
}

/// Puts the topic of a key into `topic`.
fn topic_of(key: &str, topic: &mut String) {
    topic.clear();
    let mut levels = key.split('\0');
    topic.extend(levels.next());
    for level in levels {
        topic.push('/');
        topic.push_str(level);
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Full::Messages => "as many retained messages as allowed",
            Full::Bytes => "as many bytes of retained messages as allowed",
        })
    }
}

impl std::error::Error for Full {}
