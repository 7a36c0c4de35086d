//! Feeds: packets encoded once, read by cursor by every subscriber that gets the same bytes.
//!
//! ```text
//!            tail                                                     head
//!   entries:  │ 17 │ 18 │ 19 │ 20 │ 21 │ 22 │   one for each packet, numbered
//!              └──────┬───────┘ └─────┬────┘
//!   chunks:   [ bytes of 17..19 ] [ 20..22 ]    from the shard's arena; packets never straddle chunks
//!                    ▲                          ▲ ▲ ▲
//!   members:   slot 7, position 18         slots 3, 4, 9, position 23 (caught up)
//! ```
//!
//! Invariants:
//! - `behind` is the number of members whose position is not the head. At zero the feed holds no chunk.
//! - A member's position lies between tail and head: dropping moves it past whole packets, and counts them.
//! - A member without flags belongs to a connection that reads this feed alone and has nothing else waiting, so that
//!   a flush may send to it without looking at the connection.

use std::collections::VecDeque;

use shard::buffer::{Arena, Chunk};
use shard::{Instant, Slot};
use wire::mqtt::PublishOffsets;
use wire::websocket::frame_of_len;

use super::flush::FlushState;
use crate::limits::FEED_CHUNK_BYTES;
use crate::planted::{Fault, planted};
use crate::topic::tree::FilterId;

/// Which feed of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeedId(pub u32);

/// What makes two subscribers of a filter get the same bytes, besides the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    /// MQTT 5.0; else 3.1.1.
    pub v5: bool,
    /// Each packet is one WebSocket frame.
    pub framed: bool,
    /// The RETAIN flag as the publisher set it, else 0 ([MQTT-3.3.1-12], [MQTT-3.3.1-13]).
    pub retain_as_published: bool,
    /// Subscription Identifier; 0: none.
    pub subscription_identifier: u32,
}

/// One subscriber of a feed: where its socket is, and what it gets next.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The slot, and above it the flags.
    word: u32,
    /// Number of the entry that comes next.
    pub position: u32,
}

/// Its connection is encrypted: what it gets is sealed.
const ENCRYPTED: u32 = 1 << 29;
/// Served through the connection's own flush: it has other sources, a torn packet, or a limit on packet sizes.
const SLOW: u32 = 1 << 30;
/// Waits for its socket to take bytes again.
const BLOCKED: u32 = 1 << 31;

impl Member {
    /// The connection.
    pub fn slot(&self) -> Slot {
        Slot(self.word & !(SLOW | BLOCKED | ENCRYPTED))
    }

    /// Whether a flush of the feed may send to it straight, as it is.
    pub fn plain(&self) -> bool {
        self.word & (SLOW | BLOCKED | ENCRYPTED) == 0
    }

    /// Whether a flush of the feed may send to it straight, but for sealing.
    pub fn sealed_only(&self) -> bool {
        self.word & (SLOW | BLOCKED | ENCRYPTED) == ENCRYPTED
    }

    /// Whether it waits for its socket.
    pub fn blocked(&self) -> bool {
        self.word & BLOCKED != 0
    }

    /// Whether what it gets is sealed.
    pub fn encrypted(&self) -> bool {
        self.word & ENCRYPTED != 0
    }

    /// Sets how flushes treat it.
    pub fn set(&mut self, slow: bool, blocked: bool) {
        let flags = if slow { SLOW } else { 0 } | if blocked { BLOCKED } else { 0 };
        self.word = self.word & !(SLOW | BLOCKED) | flags;
    }
}

/// One packet of a feed.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which chunk, counted from the feed's beginning.
    chunk: u32,
    start: u32,
    len: u32,
    /// Where the message expiry interval stands in the packet; 0: it has none.
    expiry_at: u32,
    /// The fan-out that made it.
    pub tick: u64,
    /// When it was appended.
    pub at: Instant,
}

impl Entry {
    /// Bytes of the packet.
    pub fn bytes_len(&self) -> usize {
        self.len as usize
    }

    /// Whether a message expiry interval in it must be counted down or has run out: it waited a second or more.
    pub fn aged(&self, now: Instant) -> bool {
        self.expiry_at != 0 && now.since(self.at).as_secs() >= 1
    }
}

/// A run of packets that one send can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which chunk, counted from the feed's beginning.
    pub chunk: u32,
    /// First byte in it.
    pub start: u32,
    /// How many bytes.
    pub len: u32,
    /// Number of the entry after the run.
    pub until: u32,
}

struct FeedChunk {
    bytes: ChunkBytes,
    filled: usize,
    /// Number of its first entry.
    first: u32,
    /// Some entry carries a message expiry interval.
    perishable: bool,
}

enum ChunkBytes {
    Pooled(Chunk),
    /// One packet that is larger than a chunk.
    Single(Box<[u8]>),
}

impl ChunkBytes {
    fn bytes(&self) -> &[u8] {
        match self {
            ChunkBytes::Pooled(chunk) => chunk,
            ChunkBytes::Single(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            ChunkBytes::Pooled(chunk) => chunk,
            ChunkBytes::Single(bytes) => bytes,
        }
    }
}

/// One shard's log of encoded packets for one filter and image.
pub struct Feed {
    /// The filter that its members subscribed to.
    pub filter: FilterId,
    /// What its bytes look like.
    pub image: Image,
    chunks: VecDeque<FeedChunk>,
    /// Number of the chunk at the front.
    chunk_first: u32,
    entries: VecDeque<Entry>,
    /// Number of the entry at the front.
    tail: u32,
    bytes: u64,
    members: Vec<Member>,
    behind: u32,
    /// Where the flush goes on, and whether the feed waits in the flush queue.
    pub flush: FlushState,
    /// It has lost its last member while it waited in the flush queue, which ends it.
    pub retired: bool,
}

impl Feed {
    /// A feed without members.
    pub fn new(filter: FilterId, image: Image) -> Feed {
        Feed {
            filter,
            image,
            chunks: VecDeque::new(),
            chunk_first: 0,
            entries: VecDeque::new(),
            tail: 0,
            bytes: 0,
            members: Vec::new(),
            behind: 0,
            flush: FlushState::default(),
            retired: false,
        }
    }

    /// Its members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One member, to set its flags.
    pub fn member_mut(&mut self, member: u32) -> &mut Member {
        &mut self.members[member as usize]
    }

    /// Number of the entry that will come next.
    pub fn head(&self) -> u32 {
        self.tail.wrapping_add(self.entries.len() as u32)
    }

    /// Chunks that it holds.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Bytes of all packets that some member still wants.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Members that have not caught up.
    pub fn behind(&self) -> u32 {
        self.behind
    }

    /// Messages that wait for members, each counted once a member.
    pub fn waiting(&self) -> u64 {
        self.members.iter().map(|member| u64::from(self.head().wrapping_sub(member.position))).sum()
    }

    /// When the newest packet of the oldest chunk was appended.
    pub fn oldest_chunk_end(&self) -> Option<Instant> {
        self.chunks.front()?;
        self.entry(self.run_end(self.chunk_first).wrapping_sub(1)).map(|entry| entry.at)
    }

    /// Adds a member that gets what is appended from now on, sealed if its connection is `encrypted`. Returns its index.
    pub fn join(&mut self, slot: Slot, encrypted: bool) -> u32 {
        let word = slot.0 | if encrypted { ENCRYPTED } else { 0 };
        self.members.push(Member { word, position: self.head() });
        (self.members.len() - 1) as u32
    }

    /// Removes a member. Returns how many messages waited for it, and the slot of the member that has its index now.
    pub fn leave(&mut self, arena: &mut Arena, member: u32) -> (u32, Option<Slot>) {
        let gone = self.members.swap_remove(member as usize);
        let waited = self.head().wrapping_sub(gone.position);
        if waited > 0 {
            self.caught_up(arena);
        }
        // The member that moved may lie before the flush's place now: another pass looks at it.
        self.flush.again |= self.behind > 0;
        (waited, self.members.get(member as usize).map(Member::slot))
    }

    /// Appends one packet of `len` bytes, written by `encode`. `None` where no memory is left for it, even after
    /// dropping the oldest; the number of messages dropped for members that lag is added to `dropped`.
    pub fn append(
        &mut self,
        arena: &mut Arena,
        len: usize,
        (tick, now): (u64, Instant),
        dropped: &mut u64,
        encode: impl FnOnce(&mut [u8]) -> PublishOffsets,
    ) -> Option<()> {
        self.reserve(arena, len, dropped)?;
        let head = self.head();
        let chunk_last = self.chunk_first.wrapping_add(self.chunks.len() as u32 - 1);
        let chunk = self.chunks.back_mut().expect("reserve made room");
        let start = chunk.filled;
        let offsets = encode(&mut chunk.bytes.bytes_mut()[start..start + len]);
        if start == 0 {
            chunk.first = head;
        }
        chunk.filled += len;
        chunk.perishable |= offsets.message_expiry.is_some();
        self.entries.push_back(Entry {
            chunk: chunk_last,
            start: start as u32,
            len: len as u32,
            expiry_at: offsets.message_expiry.unwrap_or(0),
            tick,
            at: now,
        });
        self.bytes += len as u64;
        self.behind = self.members.len() as u32;
        Some(())
    }

    /// Drops the oldest chunk, moving members past it. Returns the messages dropped, each counted once a member.
    pub fn drop_oldest(&mut self, arena: &mut Arena) -> u64 {
        let Some(chunk) = self.chunks.pop_front() else { return 0 };
        let tail = self.chunks.front().map_or(self.head(), |next| next.first);
        let head = self.head();
        let mut dropped = 0;
        for member in &mut self.members {
            let lag = tail.wrapping_sub(member.position);
            // A position at or after the new tail gives zero or a number that has wrapped.
            if lag != 0 && lag <= self.entries.len() as u32 {
                dropped += u64::from(lag);
                member.position = tail;
                if tail == head {
                    self.behind -= 1;
                }
            }
        }
        let gone = tail.wrapping_sub(self.tail) as usize;
        self.entries.drain(..gone);
        self.tail = tail;
        self.bytes -= chunk.filled as u64;
        self.chunk_first = self.chunk_first.wrapping_add(1);
        if !planted(Fault::FeedChunkLeaked) {
            give(arena, chunk);
        }
        dropped
    }

    /// The longest run from `position` that lies in one piece. `None` at the head, or where some packet in it must be
    /// looked at on its own because it may have expired.
    pub fn run(&self, position: u32, now: Instant) -> Option<Run> {
        let entry = self.entry(position)?;
        let index = entry.chunk.wrapping_sub(self.chunk_first) as usize;
        let chunk = &self.chunks[index];
        if chunk.perishable && entry.at.after(std::time::Duration::from_secs(1)) <= now {
            return None;
        }
        let len = (chunk.filled - entry.start as usize) as u32;
        Some(Run { chunk: entry.chunk, start: entry.start, len, until: self.run_end(entry.chunk) })
    }

    /// Number of the entry after the last one in a chunk: where a run in it ends.
    pub fn run_end(&self, chunk: u32) -> u32 {
        let index = chunk.wrapping_sub(self.chunk_first) as usize;
        self.chunks.get(index + 1).map_or(self.head(), |next| next.first)
    }

    /// The bytes of a run.
    pub fn run_bytes(&self, chunk: u32, start: u32, len: u32) -> &[u8] {
        let chunk = &self.chunks[chunk.wrapping_sub(self.chunk_first) as usize];
        &chunk.bytes.bytes()[start as usize..(start + len) as usize]
    }

    /// All packets from `position`, which is not the head, to the end of its chunk: what [`Feed::run`] tells of.
    pub fn rest_of_chunk(&self, position: u32) -> &[u8] {
        let entry = self.entry(position).expect("a run begins with a packet");
        let chunk = &self.chunks[entry.chunk.wrapping_sub(self.chunk_first) as usize];
        &chunk.bytes.bytes()[entry.start as usize..chunk.filled]
    }

    /// The entry at `position`, if it is not the head.
    pub fn entry(&self, position: u32) -> Option<&Entry> {
        self.entries.get(position.wrapping_sub(self.tail) as usize)
    }

    /// The packet at `position`, which must exist.
    pub fn packet(&self, entry: &Entry) -> &[u8] {
        self.run_bytes(entry.chunk, entry.start, entry.len)
    }

    /// Bytes of MQTT in the packet of `entry`: without the frame around it.
    pub fn mqtt_len(&self, entry: &Entry) -> usize {
        entry.bytes_len() - if self.image.framed { frame_of_len(entry.bytes_len()) } else { 0 }
    }

    /// Copies the packet of `entry` with its message expiry interval counted down to `now`. False: it has expired.
    pub fn copy_aged(&self, entry: &Entry, now: Instant, out: &mut [u8]) -> bool {
        out.copy_from_slice(self.packet(entry));
        let at = entry.expiry_at as usize;
        let interval = u32::from_be_bytes(out[at..at + 4].try_into().expect("four bytes"));
        let waited = now.since(entry.at).as_secs();
        let left = u64::from(interval).saturating_sub(waited);
        out[at..at + 4].copy_from_slice(&(left as u32).to_be_bytes());
        left > 0
    }

    /// Moves a member to `position`, which is further on. Returns how many messages it passed.
    pub fn advance(&mut self, arena: &mut Arena, member: u32, position: u32) -> u32 {
        let head = self.head();
        let member = &mut self.members[member as usize];
        let passed = position.wrapping_sub(member.position);
        member.position = position;
        if passed > 0 && position == head {
            self.caught_up(arena);
        }
        passed
    }

    /// How many of the first `bytes` bytes from `position` are whole packets: their count, and the bytes of the packet
    /// after them that are among the first.
    pub fn split(&self, position: u32, bytes: usize) -> (u32, usize) {
        let mut left = bytes;
        let mut packets = 0;
        while let Some(entry) = self.entry(position.wrapping_add(packets)) {
            if left < entry.bytes_len() {
                break;
            }
            left -= entry.bytes_len();
            packets += 1;
        }
        (packets, left)
    }

    /// Gives all memory back; for a feed whose last member has gone.
    pub fn clear(&mut self, arena: &mut Arena) {
        let head = self.head();
        self.chunk_first = self.chunk_first.wrapping_add(self.chunks.len() as u32);
        for chunk in self.chunks.drain(..) {
            give(arena, chunk);
        }
        self.entries.clear();
        self.tail = head;
        self.bytes = 0;
    }

    fn caught_up(&mut self, arena: &mut Arena) {
        self.behind -= 1;
        if self.behind == 0 {
            self.clear(arena);
        }
    }

    fn reserve(&mut self, arena: &mut Arena, len: usize, dropped: &mut u64) -> Option<()> {
        if let Some(chunk) = self.chunks.back()
            && chunk.bytes.bytes().len() - chunk.filled >= len
        {
            return Some(());
        }
        let bytes = if len > FEED_CHUNK_BYTES {
            ChunkBytes::Single(vec![0; len].into_boxed_slice())
        } else {
            loop {
                match arena.take() {
                    Some(chunk) => break ChunkBytes::Pooled(chunk),
                    None if self.chunks.is_empty() => return None,
                    None => *dropped += self.drop_oldest(arena),
                }
            }
        };
        self.chunks.push_back(FeedChunk { bytes, filled: 0, first: self.head(), perishable: false });
        Some(())
    }
}

fn give(arena: &mut Arena, chunk: FeedChunk) {
    if let ChunkBytes::Pooled(chunk) = chunk.bytes {
        arena.give(chunk);
    }
}

#[cfg(test)]
mod tests;
