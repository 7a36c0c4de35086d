//! What crosses cores, ranked.
//!
//! An effect ranks above its cause, ranks have separate rings, and no rank waits for a lower one, so that shards cannot
//! wait for each other in a circle. A parcel is a few little-endian words and a body; a large body travels beside the
//! ring by reference.
//!
//! ```text
//!   rank      from → to            words                                   body
//!   claim     acceptor → home      connection, flags, owner                client id
//!   evict     home → holder        connection                              -
//!   gone      holder → home        connection                              client id
//!   verdict   home → acceptor      connection, verdict, slot, reason       client id
//!   move      acceptor → home      slot, address (3) and listener          CONNECT and unread bytes
//!   answer    acceptor → home      connection, answer                      client id
//!   interest  subscriber → owner   kind, key, number, number               filter, and group or cursor
//!   publish   publisher → owner    group                                   frame
//!   deliver   owner → subscriber   kind, number or key, picks                    frame, or cursor
//!   ack       owner → publisher    session, number, reason                 -
//! ```

use std::collections::VecDeque;

use shard::buffer::Blob;
use shard::mesh::{Outbound, Parcel, Rank, RankSpec, ShardId};

use crate::limits::{Limits, PARCEL_INLINE_MAX};

/// A client id asks its session home.
pub const CLAIM: Rank = Rank(0);
/// The home tells a holder to let go.
pub const EVICT: Rank = Rank(1);
/// A holder has let go.
pub const GONE: Rank = Rank(2);
/// The home has decided.
pub const VERDICT: Rank = Rank(3);
/// A socket and what was read from it come home.
pub const MOVE: Rank = Rank(4);
/// What became of a verdict.
pub const ANSWER: Rank = Rank(5);
/// A shard wants a filter, or wants it no more, or wants retained messages.
pub const INTEREST: Rank = Rank(6);
/// A publish to its topic's owner.
pub const PUBLISH: Rank = Rank(7);
/// From a topic's owner toward subscribers: frames, confirmations and retained messages in one order.
pub const DELIVER: Rank = Rank(8);
/// A publish is resolved.
pub const ACK: Rank = Rank(9);
/// How many ranks there are.
pub const RANKS: usize = 10;

// An effect ranks above its cause.
const _: () = {
    assert!(CLAIM.0 < EVICT.0 && EVICT.0 < GONE.0 && GONE.0 < VERDICT.0);
    assert!(VERDICT.0 < MOVE.0 && MOVE.0 < ANSWER.0);
    assert!(INTEREST.0 < DELIVER.0 && PUBLISH.0 < DELIVER.0 && DELIVER.0 < ACK.0);
};

/// The kinds of [`INTEREST`] parcel, in their first word.
pub mod interest {
    /// A subscriber of this filter; confirm to this request.
    pub const ADD: u64 = 0;
    /// No subscriber of this filter any more.
    pub const REMOVE: u64 = 1;
    /// So many members of this group online, so many offline; confirm to this request unless it is 0.
    pub const GROUP: u64 = 2;
    /// Send retained messages that match this filter, after this cursor, published up to this number.
    pub const RETAINED: u64 = 3;
    /// This shard has taken up what its journal told, and all owners know of it.
    pub const RECOVERED: u64 = 4;
}

/// The kinds of [`DELIVER`] parcel, in the low byte of their first word.
pub mod deliver {
    /// A message; how many group picks follow stands from bit 16 on.
    pub const FRAME: u64 = 0;
    /// Bit of a [`FRAME`]: it is for the picked groups alone.
    pub const ONLY_GROUPS: u64 = 1 << 8;
    /// The filter of this request is known to this owner; the number of the publish that it routed last.
    pub const CONFIRM: u64 = 1;
    /// A retained message for this request.
    pub const RETAINED: u64 = 2;
    /// No more retained messages in this slice; the body is the cursor, empty at the end.
    pub const RETAINED_END: u64 = 3;
}

/// What the session home decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The session is where the socket is.
    Stay = 0,
    /// The socket moves to the home.
    Move = 1,
    /// A later claim came before this one was decided, or no session can be had.
    Refuse = 2,
}

impl Verdict {
    /// The inverse of `as u64`.
    pub fn from_word(word: u64) -> Verdict {
        match word {
            0 => Verdict::Stay,
            1 => Verdict::Move,
            _ => Verdict::Refuse,
        }
    }
}

/// What became of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The connection has its session on its own shard.
    Kept = 0,
    /// The connection broke before.
    GaveUp = 1,
}

/// Sizes of the rings of each rank for a node of `shards`, within the mesh's budget.
pub fn rank_specs(limits: &Limits, shards: u16) -> [RankSpec; RANKS] {
    let pairs = u64::from(shards) * u64::from(shards);
    let share = (limits.mesh_memory / pairs).max(64 << 10);
    let floor = |bytes: u64| 1u32 << bytes.clamp(4 << 10, 16 << 20).ilog2();
    let control = floor((share / 32).min(CONTROL_RING_BYTES_MAX));
    let mut specs = [RankSpec { bytes: control }; RANKS];
    specs[usize::from(PUBLISH.0)].bytes = floor(share / 4).max(8 * PARCEL_INLINE_MAX as u32);
    specs[usize::from(DELIVER.0)].bytes = floor(share / 4).max(8 * PARCEL_INLINE_MAX as u32);
    // One place for each credit: an acknowledgement never waits.
    specs[usize::from(ACK.0)].bytes =
        ((limits.publish_credits * ACK_BYTES).next_power_of_two() * 2).max(ACK_RING_BYTES_MIN);
    specs
}

/// What is said about clients and filters is short, and a ring is walked from end to end before its first byte is used
/// again: a larger one only takes more memory, and more of the cache.
const CONTROL_RING_BYTES_MAX: u64 = 64 << 10;
/// A ring takes payloads of a little less than half of it, so a few credits need more than their own bytes.
const ACK_RING_BYTES_MIN: u32 = 4 << 10;
/// Three words and the ring's own header.
const ACK_BYTES: u32 = 3 * 8 + 8;

/// A body: pieces that are written one behind the other, or bytes that travel by reference.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// Pieces.
    Pieces(&'a [&'a [u8]]),
    /// Counted bytes.
    Shared(&'a Blob),
}

impl Body<'_> {
    /// No body.
    pub const NONE: Body<'static> = Body::Pieces(&[]);

    fn len(&self) -> usize {
        match self {
            Body::Pieces(pieces) => pieces.iter().map(|piece| piece.len()).sum(),
            Body::Shared(blob) => blob.len(),
        }
    }

    /// Whether it goes beside the ring, which takes payloads of at most `largest` bytes.
    fn external(&self, words: usize, largest: usize) -> bool {
        match self {
            Body::Pieces(_) => self.len() > PARCEL_INLINE_MAX || words * 8 + self.len() > largest,
            Body::Shared(_) => true,
        }
    }

    fn to_blob(self) -> Blob {
        match self {
            Body::Pieces(pieces) => Blob::build(self.len(), |mut out| {
                for piece in pieces {
                    let (front, rest) = out.split_at_mut(piece.len());
                    front.copy_from_slice(piece);
                    out = rest;
                }
            }),
            Body::Shared(blob) => blob.clone(),
        }
    }
}

/// Writes a parcel, if its ring has room.
pub fn put(tx: &mut Outbound, to: ShardId, rank: Rank, words: &[u64], body: Body<'_>) -> bool {
    let blob = body.external(words.len(), tx.largest(rank)).then(|| body.to_blob());
    let inline_body = blob.is_none();
    let inline = words.len() * 8 + if inline_body { body.len() } else { 0 };
    let Some(mut claim) = tx.claim(to, rank, inline, blob) else { return false };
    let mut at = 0;
    for word in words {
        claim[at..at + 8].copy_from_slice(&word.to_le_bytes());
        at += 8;
    }
    if inline_body && let Body::Pieces(pieces) = body {
        for piece in pieces {
            claim[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    }
    claim.commit();
    true
}

/// The word at `index` of a parcel.
pub fn word(parcel: &Parcel<'_>, index: usize) -> u64 {
    let bytes = &parcel.bytes[index * 8..index * 8 + 8];
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// The body of a parcel behind its words.
pub fn body<'a>(parcel: &Parcel<'a>, words: usize) -> &'a [u8] {
    match parcel.blob {
        Some(blob) => blob,
        None => &parcel.bytes[words * 8..],
    }
}

/// The body of a parcel that is text, as this switch wrote it.
pub fn text<'a>(parcel: &Parcel<'a>, words: usize) -> &'a str {
    std::str::from_utf8(body(parcel, words)).expect("a shard sends text as text")
}

/// Control parcels that found their ring full, in order. Handlers hand over here and never wait; there are at most a
/// few for each connection and each request in progress, which are bounded themselves.
pub struct Courier {
    queues: Vec<VecDeque<Waiting>>,
    waiting: usize,
}

struct Waiting {
    words: Vec<u64>,
    body: Vec<u8>,
}

impl Courier {
    /// A courier toward `shards` shards.
    pub fn new(shards: u16) -> Courier {
        let queues = std::iter::repeat_with(VecDeque::new).take(usize::from(shards) * RANKS).collect();
        Courier { queues, waiting: 0 }
    }

    /// Sends a control parcel now, or as soon as there is room.
    pub fn send(&mut self, tx: &mut Outbound, to: ShardId, rank: Rank, words: &[u64], body: &[&[u8]]) {
        let queue = &mut self.queues[usize::from(to.0) * RANKS + usize::from(rank.0)];
        if queue.is_empty() && put(tx, to, rank, words, Body::Pieces(body)) {
            return;
        }
        queue.push_back(Waiting { words: words.to_vec(), body: body.concat() });
        self.waiting += 1;
    }

    /// Sends what has room now.
    pub fn run(&mut self, tx: &mut Outbound) {
        if self.waiting == 0 {
            return;
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let (to, rank) = (ShardId((index / RANKS) as u16), Rank((index % RANKS) as u8));
            while let Some(waiting) = queue.front()
                && put(tx, to, rank, &waiting.words, Body::Pieces(&[&waiting.body]))
            {
                queue.pop_front();
                self.waiting -= 1;
            }
        }
    }

    /// How many parcels wait, for any shard.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many parcels of a rank wait for a shard.
    pub fn waiting(&self, to: ShardId, rank: Rank) -> usize {
        self.queues[usize::from(to.0) * RANKS + usize::from(rank.0)].len()
    }
}
