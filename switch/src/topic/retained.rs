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

pub use self::walk::{Cursor, Walk};
use super::id_table::IdTable;
use super::paged::Paged;

/// What an entry costs beside its topic and the buffer of its frame, in bytes, rounded up: both indices with the room
/// that they keep to grow, the entry, and the allocator's own (160 measured with a million entries).
pub const ENTRY_BYTES: u64 = 192;

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
    entries: Paged<Entry>,
    by_topic: IdTable,
    /// Topics with U+0000 for `/`.
    by_level: BTreeMap<Arc<str>, u32>,
    hasher: RandomState,
    bounds: Bounds,
    bytes: u64,
    /// How many entries expire some time.
    mortal: usize,
    /// Where [`RetainedStore::expire`] looks next.
    hand: u32,
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
    /// An empty store; nobody can guess how it hashes.
    pub fn new(bounds: Bounds) -> RetainedStore {
        RetainedStore::with_hasher(bounds, RandomState::new())
    }

    /// An empty store that hashes topics in this way.
    pub fn with_hasher(bounds: Bounds, hasher: RandomState) -> RetainedStore {
        RetainedStore {
            entries: Paged::default(),
            by_topic: IdTable::default(),
            by_level: BTreeMap::new(),
            hasher,
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
        self.entries.len() == 0
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
        let before = known.map_or(0, |id| self.entries[id].bytes());
        let capacity = capacity_for(known.map_or(0, |id| self.entries[id].retained.frame.capacity()), len);
        let after = entry_bytes(topic.len(), capacity);
        if known.is_none() && self.entries.len() >= self.bounds.messages_max as usize {
            return Err(Full::Messages);
        }
        if after > before && self.bytes - before + after > self.bounds.bytes_max {
            return Err(Full::Bytes);
        }
        let id = known.unwrap_or_else(|| self.add(hash, topic));
        let entry = &mut self.entries[id];
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
        Some(&self.entries[id].retained).filter(|retained| !retained.is_expired(now))
    }

    /// Every index of [`RetainedStore::at`] is below this.
    pub fn end(&self) -> u32 {
        self.entries.end()
    }

    /// The message at an index, if there is one.
    pub fn at(&self, index: u32) -> Option<&Retained> {
        self.entries.get(index).map(|entry| &entry.retained)
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
            self.hand = if at + 1 < self.entries.end() { at + 1 } else { 0 };
            if self.entries.get(at).is_some_and(|entry| entry.retained.is_expired(now)) {
                self.remove(at);
                removed += 1;
            }
        }
        removed
    }

    fn find(&self, hash: u64, topic: &str) -> Option<u32> {
        self.by_topic.find(hash, |id| is_key_of(&self.entries[id].key, topic))
    }

    /// Adds an entry with an empty frame. Its bytes are not counted yet.
    fn add(&mut self, hash: u64, topic: &str) -> u32 {
        let key: Arc<str> = topic.replace('/', "\0").into();
        let retained = Retained { frame: Vec::new(), arrived: Instant::ZERO, expires: Instant::NEVER };
        let id = self.entries.insert(Entry { key: key.clone(), retained });
        self.by_topic.insert(hash, id);
        self.by_level.insert(key, id);
        id
    }

    fn remove(&mut self, id: u32) {
        let entry = self.entries.remove(id);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::topic::strategy;

    const PLENTY: Bounds = Bounds { messages_max: 1_000, bytes_max: 1 << 20 };

    pub(super) fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    pub(super) fn put(store: &mut RetainedStore, topic: &str, frame: &[u8], expires: Instant) -> Result<(), Full> {
        store.set(topic, frame.len(), at(1), expires, |bytes| bytes.copy_from_slice(frame))
    }

    fn frame<'s>(store: &'s RetainedStore, topic: &str) -> Option<&'s [u8]> {
        store.get(topic, at(1)).map(Retained::frame)
    }

    /// The last message set is the one that is found, until it is cleared.
    #[test]
    fn the_last_message_is_kept() {
        let mut store = RetainedStore::new(PLENTY);
        put(&mut store, "a/b", b"one", Instant::NEVER).unwrap();
        put(&mut store, "a/b", b"other", at(9)).unwrap();
        assert_eq!(frame(&store, "a/b"), Some(&b"other"[..]));
        assert_eq!(store.get("a/b", at(1)).unwrap().expires(), at(9));
        assert_eq!(store.get("a/b", at(1)).unwrap().arrived(), at(1));
        assert_eq!((store.len(), frame(&store, "a"), frame(&store, "a/c")), (1, None, None));
        assert!(store.clear("a/b"));
        assert!(!store.clear("a/b"));
        assert_eq!((store.len(), store.bytes()), (0, 0));
    }

    /// A value of the same size, or a somewhat smaller one, is written into the buffer that is there; a much smaller
    /// one gives the memory back.
    #[test]
    fn buffers_are_used_again() {
        let mut store = RetainedStore::new(PLENTY);
        let mut buffer = |len: usize| {
            put(&mut store, "t", &vec![7; len], Instant::NEVER).unwrap();
            let frame = &store.get("t", at(1)).unwrap().frame;
            assert_eq!((frame.len(), store.bytes), (len, ENTRY_BYTES + 1 + frame.capacity() as u64));
            (frame.as_ptr(), frame.capacity())
        };
        let first = buffer(1000);
        assert_eq!(first.1, 1024);
        assert_eq!([buffer(1000), buffer(1024), buffer(600)], [first; 3]);
        assert_eq!(buffer(100).1, 128);
    }

    /// A full store says which bound it has met, and still holds what it held; replacing and shrinking always work.
    #[test]
    fn bounds_refuse_and_change_nothing() {
        let bytes_max = 2 * (ENTRY_BYTES + 1 + 32);
        let mut store = RetainedStore::new(Bounds { messages_max: 2, bytes_max });
        put(&mut store, "a", &[1; 32], Instant::NEVER).unwrap();
        put(&mut store, "b", &[2; 32], Instant::NEVER).unwrap();
        assert_eq!(put(&mut store, "c", b"", Instant::NEVER), Err(Full::Messages));
        assert_eq!(put(&mut store, "b", &[3; 33], Instant::NEVER), Err(Full::Bytes));
        assert_eq!(frame(&store, "b"), Some(&[2; 32][..]));
        put(&mut store, "b", &[4; 32], Instant::NEVER).unwrap();
        assert_eq!(store.bytes(), bytes_max);
        assert!(store.clear("a"));
        assert_eq!(put(&mut store, "dd", &[5; 32], Instant::NEVER), Err(Full::Bytes));
        put(&mut store, "d", &[5; 32], Instant::NEVER).unwrap();
    }

    /// An expired message is not found; looking for such takes bounded slices, and nothing where none can expire.
    #[test]
    fn expired_messages_go_in_slices() {
        let mut store = RetainedStore::new(PLENTY);
        for n in 0..100_u64 {
            let expires = if n % 2 == 0 { at(5 + n) } else { Instant::NEVER };
            put(&mut store, &format!("t/{n}"), b"x", expires).unwrap();
        }
        assert_eq!(frame(&store, "t/0"), Some(&b"x"[..]));
        assert!(store.get("t/0", at(5)).is_none());
        assert_eq!(store.expire(at(4), 1000), 0);
        store.hand = 0;
        assert_eq!(store.expire(at(200), 10), 5);
        assert_eq!(store.expire(at(200), 1000), 45);
        assert_eq!((store.len(), store.mortal), (50, 0));
        store.hand = 3;
        assert_eq!((store.expire(at(200), 1000), store.hand), (0, 3));
    }

    proptest! {
        /// Any sequence of changes leaves what a plain map holds, and the bytes that its entries come to.
        #[test]
        fn store_is_a_map(
            changes in prop::collection::vec((strategy::topic(), prop::option::of(0..100_usize), 0..4_u64), 0..80),
        ) {
            let mut store = RetainedStore::new(PLENTY);
            let mut model = BTreeMap::new();
            for (topic, len, expires) in changes {
                let expires = if expires == 0 { Instant::NEVER } else { at(expires) };
                match len {
                    Some(len) => {
                        put(&mut store, &topic, &vec![len as u8; len], expires).unwrap();
                        model.insert(topic, (len, expires));
                    }
                    None => prop_assert_eq!(store.clear(&topic), model.remove(&topic).is_some()),
                }
                prop_assert_eq!(store.mortal, model.values().filter(|value| value.1 != Instant::NEVER).count());
            }
            for (topic, (len, expires)) in &model {
                let expected = (*expires > at(1)).then(|| vec![*len as u8; *len]);
                prop_assert_eq!(frame(&store, topic), expected.as_deref());
            }
            prop_assert_eq!(store.bytes(), store.entries.iter().map(|(_, entry)| entry.bytes()).sum::<u64>());
            store.expire(at(2), 1000);
            model.retain(|_, value| value.1 > at(2));
            prop_assert_eq!(store.len(), model.len());
            prop_assert_eq!(store.by_level.len(), model.len());
        }
    }
}
