//! A socket, from accepted to closed.
//!
//! ```text
//!                         Authenticating ◀─▶ Challenged
//!                              ▲     │
//!                              │     ▼
//!   Empty ─▶ Accepting ─▶ Handshake ─▶ Claimed ─┬─▶ Open ───────────────┬─▶ Lingering ─▶ Closing ─▶ Empty
//!                              │                └─▶ Moving ─▶ Closing   │
//!   Empty ─▶ Arriving (reserved for a socket of another shard) ─▶ Open  └─▶ Closing
//! ```
//! A connection is its slot: the index of the direct descriptor is the index here, and the generation tells an old use
//! of the slot from the new one. Sends never linger, so only receives and polls must end before a slot is closed.

pub mod accept;
pub mod address;
pub mod close;
pub mod inbound;
pub mod keepalive;
pub mod meter;
pub mod recheck;
pub mod secure;
pub mod stack;
pub mod stacks;
pub mod table;

use shard::mesh::ShardId;
use shard::timer::TimerKey;
use shard::{Generation, Slot};
use wire::mqtt::ProtocolVersion;

use address::Address;

use crate::delivery::feed::FeedId;
use crate::delivery::outbox::Outbox;
use crate::session::SessionId;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The slot is free.
    Empty,
    /// An accept is armed on the slot.
    Accepting,
    /// Reserved for a socket that another shard will hand over.
    Arriving,
    /// The CONNECT packet is awaited.
    Handshake,
    /// Who the client is is being found out; nothing is read.
    Authenticating,
    /// The client is to answer a step of its enhanced authentication.
    Challenged,
    /// The session home has been asked; nothing is read.
    Claimed,
    /// The socket is being handed to the session home; nothing is read.
    Moving,
    /// CONNACK with success has been written.
    Open,
    /// The last packet has been written; what the client still sends is thrown away until it closes.
    Lingering,
    /// Armed ops are ending; then the slot is closed.
    Closing,
}

/// One connection.
pub struct Connection {
    /// Which use of the slot this is.
    pub generation: Generation,
    /// How far it has come.
    pub phase: Phase,
    /// What the client speaks; meaningful once CONNECT was read.
    pub version: ProtocolVersion,
    /// A receive is armed; and whether it is a multishot one.
    pub receiving: bool,
    /// A poll for POLLOUT is armed.
    pub polling: bool,
    /// The socket took no more bytes.
    pub blocked: bool,
    /// It waits in the flush queue.
    pub flush_queued: bool,
    /// It stands in the plan at hand.
    pub planned: bool,
    /// Retained messages are being fetched for it.
    pub fetching: bool,
    /// Its next packet cannot be passed on yet; nothing is read.
    pub parked: bool,
    /// The owner that it waits for, where that is why it is parked.
    pub waits_for: Option<ShardId>,
    /// The client closed its side while this connection was parked: what it sent before is handled first.
    pub ended: bool,
    /// Its receive was cancelled because it is parked or loud.
    pub cancelling: bool,
    /// The sending half is shut down, or broken.
    pub send_closed: bool,
    /// Request Problem Information ([MQTT-3.1.2-29]).
    pub problem_information: bool,
    /// What comes passes through a [`stack`] before it is MQTT.
    pub wrapped: bool,
    /// Each packet for it is one WebSocket frame.
    pub framed: bool,
    /// What it is sent is sealed by the channel of its stack.
    pub encrypted: bool,
    /// A CONNECT with the bridge bit: own messages are not echoed.
    pub bridge: bool,
    /// It is counted to its address.
    pub counted: bool,
    /// It came too fast behind others of its address.
    pub hasty: bool,
    /// The listener that it came in by.
    pub listener: u16,
    /// SUBSCRIBE and UNSUBSCRIBE packets that wait for owners.
    pub requests: u16,
    /// The session that it serves.
    pub session: Option<SessionId>,
    /// The client's address.
    pub peer: Address,
    /// The one timer: connect timeout, keep alive or linger, by phase.
    pub timer: Option<TimerKey>,
    /// When something was last received: the low bits of [`shard::Instant::as_millis`], which come back after 49 days. No
    /// keep alive is longer than 27 hours.
    pub heard_ms: u32,
    /// 1.5 times the keep alive, in milliseconds; 0: none.
    pub keepalive_ms: u32,
    /// The client's Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// The client's Receive Maximum, or our own bound where that is lower.
    pub inflight_max: u16,
    /// Topic aliases that the client takes from us.
    pub alias_max: u16,
    /// Received bytes that are not handled yet: the front of a packet, or all from a packet that cannot be passed on.
    pub residue: Option<Box<Vec<u8>>>,
    /// Encoded packets for this connection alone.
    pub outbox: Option<Box<Outbox>>,
    /// Its places in feeds.
    pub seats: Seats,
    /// Topic aliases, both ways; only where some are in use.
    pub aliases: Option<Box<crate::session::alias::Aliases>>,
}

impl Connection {
    /// A free slot.
    pub fn empty() -> Connection {
        Connection {
            generation: 0,
            phase: Phase::Empty,
            version: ProtocolVersion::V311,
            receiving: false,
            polling: false,
            blocked: false,
            flush_queued: false,
            planned: false,
            fetching: false,
            parked: false,
            waits_for: None,
            ended: false,
            cancelling: false,
            send_closed: false,
            problem_information: true,
            wrapped: false,
            framed: false,
            encrypted: false,
            bridge: false,
            counted: false,
            hasty: false,
            listener: 0,
            requests: 0,
            session: None,
            peer: Address::UNKNOWN,
            timer: None,
            heard_ms: 0,
            keepalive_ms: 0,
            packet_bytes_max: u32::MAX,
            inflight_max: 0,
            alias_max: 0,
            residue: None,
            outbox: None,
            seats: Seats::default(),
            aliases: None,
        }
    }

    /// Whether it speaks MQTT 5.0.
    pub fn v5(&self) -> bool {
        self.version == ProtocolVersion::V5
    }

    /// Whether packets can be written to it.
    pub fn writable(&self) -> bool {
        use Phase::{Authenticating, Challenged, Claimed, Handshake, Open};
        matches!(self.phase, Handshake | Authenticating | Challenged | Claimed | Open) && !self.send_closed
    }

    /// Whether what it reads from feeds goes through its outbox, one packet after the other, as each is looked at.
    pub fn is_gathered(&self) -> bool {
        self.packet_bytes_max != u32::MAX
    }

    /// Whether something waits in its outbox.
    pub fn outbox_waits(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty())
    }
}

/// A connection's place in one feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The feed.
    pub feed: FeedId,
    /// The index among its members.
    pub member: u32,
}

/// The feeds that a connection reads: mostly one.
pub struct Seats {
    /// The first one's feed, or [`NO_FEED`]: an option of a [`Seat`] would take four bytes more.
    feed: u32,
    member: u32,
    more: Option<Box<Vec<Seat>>>,
}

/// The index that no feed has.
const NO_FEED: u32 = u32::MAX;

impl Seats {
    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(!self.is_empty()) + self.more.as_ref().map_or(0, |more| more.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.feed == NO_FEED
    }

    /// The only seat.
    pub fn sole(&self) -> Option<Seat> {
        self.first().filter(|_| self.more.is_none())
    }

    /// The seat at `index`.
    pub fn at(&self, index: usize) -> Option<Seat> {
        match index {
            0 => self.first(),
            _ => self.more.as_ref().and_then(|more| more.get(index - 1).copied()),
        }
    }

    /// Adds one.
    pub fn push(&mut self, seat: Seat) {
        assert_ne!(seat.feed.0, NO_FEED, "the last number is no feed's");
        match self.first() {
            None => self.set_first(Some(seat)),
            Some(_) => self.more.get_or_insert_default().push(seat),
        }
    }

    /// Takes the seat in `feed` away.
    pub fn remove(&mut self, feed: FeedId) -> Option<Seat> {
        if let Some(first) = self.first()
            && first.feed == feed
        {
            let next = self.more.as_mut().and_then(|more| more.pop());
            self.set_first(next);
            self.tidy();
            return Some(first);
        }
        let more = self.more.as_mut()?;
        let index = more.iter().position(|seat| seat.feed == feed)?;
        let seat = more.swap_remove(index);
        self.tidy();
        Some(seat)
    }

    /// Takes any seat away.
    pub fn pop(&mut self) -> Option<Seat> {
        let feed = self.first()?.feed;
        self.remove(feed)
    }

    /// Tells that the member index in `feed` has changed.
    pub fn moved(&mut self, feed: FeedId, member: u32) {
        if self.feed == feed.0 {
            self.member = member;
            return;
        }
        let seat = self.more.iter_mut().flat_map(|more| more.iter_mut()).find(|seat| seat.feed == feed);
        seat.expect("a feed knows members that have a seat in it").member = member;
    }

    fn first(&self) -> Option<Seat> {
        (self.feed != NO_FEED).then_some(Seat { feed: FeedId(self.feed), member: self.member })
    }

    fn set_first(&mut self, seat: Option<Seat>) {
        (self.feed, self.member) = seat.map_or((NO_FEED, 0), |seat| (seat.feed.0, seat.member));
    }

    fn tidy(&mut self) {
        if self.more.as_ref().is_some_and(|more| more.is_empty()) {
            self.more = None;
        }
    }
}

impl Default for Seats {
    fn default() -> Seats {
        Seats { feed: NO_FEED, member: 0, more: None }
    }
}

/// A slot and which use of it: what survives the connection without naming another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// The slot.
    pub slot: Slot,
    /// Which use of it.
    pub generation: Generation,
}

impl ConnectionId {
    /// Both in one word.
    pub fn to_word(self) -> u64 {
        u64::from(self.slot.0) << 32 | u64::from(self.generation)
    }

    /// The inverse of [`ConnectionId::to_word`].
    pub fn from_word(word: u64) -> ConnectionId {
        ConnectionId { slot: Slot((word >> 32) as u32), generation: word as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seats are found by feed, whichever came first.
    #[test]
    fn seats_come_and_go() {
        let mut seats = Seats::default();
        for n in 0..3 {
            seats.push(Seat { feed: FeedId(n), member: n });
        }
        assert_eq!((seats.len(), seats.sole()), (3, None));
        seats.moved(FeedId(2), 9);
        assert_eq!(seats.remove(FeedId(0)), Some(Seat { feed: FeedId(0), member: 0 }));
        assert_eq!(seats.remove(FeedId(1)), Some(Seat { feed: FeedId(1), member: 1 }));
        assert_eq!(seats.sole(), Some(Seat { feed: FeedId(2), member: 9 }));
        assert_eq!(seats.pop(), Some(Seat { feed: FeedId(2), member: 9 }));
        assert!(seats.is_empty());
    }
}
