//! What may outlive a socket: subscriptions, what is owed to a client, what it has sent, and its will.
//!
//! An ephemeral session (expiry 0) lives on the shard that accepted its socket; a durable one at its session home,
//! where it stays when the connection closes. Neither ever moves.

pub mod admit;
pub mod alias;
pub mod connect;
pub mod fetch;
pub mod incoming;
pub mod outgoing;
pub mod publish;
pub mod route;
pub mod subscribe;
pub mod table;
pub mod will;

use std::num::NonZeroU32;

use compact_str::CompactString;
use shard::timer::TimerKey;
use smallvec::SmallVec;
use wire::mqtt::QoS;

use crate::access::live::Granted;
use crate::connection::ConnectionId;
use crate::delivery::feed::FeedId;
use crate::journal::entries::Kept;
use crate::topic::tree::FilterId;

pub use incoming::Incoming;
pub use outgoing::Outgoing;
pub use will::Will;

/// A session of this shard: its index, and which use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// Row in the session table.
    pub index: u32,
    /// Which use of the row; never 0, so that an optional one is no larger.
    pub generation: NonZeroU32,
}

impl SessionId {
    /// Both in one word; never 0.
    pub fn to_word(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// The inverse of [`SessionId::to_word`]; `None` for 0.
    pub fn from_word(word: u64) -> Option<SessionId> {
        let generation = NonZeroU32::new((word >> 32) as u32)?;
        Some(SessionId { index: word as u32, generation })
    }
}

/// Session Expiry Interval that never runs out ([MQTT-3.1.2-23], section 3.1.2.11.2).
pub const EXPIRY_NEVER: u32 = u32::MAX;

/// One session.
pub struct Session {
    /// The client identifier. One of 24 bytes or less takes no memory of its own; every server takes 23
    /// ([MQTT-3.1.3-5]).
    pub client_id: CompactString,
    /// Its stable hash: what frames carry as their publisher.
    pub client_hash: u64,
    /// The connection that serves it now.
    pub connection: Option<ConnectionId>,
    /// Session Expiry Interval in seconds; 0: it ends with the connection.
    pub expiry: u32,
    /// It lives at its session home and may outlive its connection.
    pub durable: bool,
    /// Its subscriptions, in no order. Most clients have one, which takes no memory of its own.
    pub subscriptions: SmallVec<[Subscription; 1]>,
    /// What it is owed; only where something of QoS 1 or 2 is or was.
    pub outgoing: Option<Box<Outgoing>>,
    /// What its client published and has not been acknowledged, and QoS 2 identifiers; only where there was some.
    pub incoming: Option<Box<Incoming>>,
    /// Its will, while one may fire.
    pub will: Option<Box<Will>>,
    /// Fires when the session or its will delay ends; only while no connection serves it.
    pub timer: Option<TimerKey>,
    /// It had a connection and has none.
    pub left: bool,
    /// The fan-out that last matched it.
    pub matched: Matched,
    /// What its journal knows it by; only of durable sessions.
    pub kept: Option<Box<Kept>>,
    /// Who its client is; only where there is access control.
    pub access: Option<Box<Granted>>,
}

impl Session {
    /// When it ends, if no connection serves it and its client does not come back.
    pub fn ends(&self) -> shard::Instant {
        self.kept.as_ref().map_or(shard::Instant::NEVER, |kept| kept.ends)
    }
}

/// Where a session stands in the list of one fan-out. Packed, so that it is three words of four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, packed(4))]
pub struct Matched {
    /// The fan-out; 0: none.
    pub tick: u64,
    /// The index in its list.
    pub index: u32,
}

/// One subscription of a session.
#[derive(Clone, Copy, Debug)]
pub struct Subscription {
    /// The filter; of a shared subscription the part after `$share/G/`.
    pub filter: FilterId,
    /// Subscription Identifier; 0: none.
    pub identifier: u32,
    /// What the client asked for, with the QoS that was granted.
    pub options: Options,
    /// How it is served.
    pub route: Route,
}

/// Subscription options in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options(u8);

impl Options {
    /// Packs granted QoS, No Local and Retain As Published.
    pub fn new(qos: QoS, no_local: bool, retain_as_published: bool) -> Options {
        Options(qos as u8 | u8::from(no_local) << 2 | u8::from(retain_as_published) << 3)
    }

    /// The same, for a filter with or without wildcards.
    pub fn with_wildcard(self, wildcard: bool) -> Options {
        Options(self.0 & !16 | u8::from(wildcard) << 4)
    }

    /// The same, for a subscription of which each message is judged, or not.
    pub fn with_judged(self, judged: bool) -> Options {
        Options(self.0 & !32 | u8::from(judged) << 5)
    }

    /// Each message is judged: its client may not receive all that the filter matches.
    pub fn judged(self) -> bool {
        self.0 & 32 != 0
    }

    /// The same, for a subscription that a service granted, or not.
    pub fn with_told(self, told: bool) -> Options {
        Options(self.0 & !64 | u8::from(told) << 6)
    }

    /// A service granted it, and rules say nothing of it.
    pub fn told(self) -> bool {
        self.0 & 64 != 0
    }

    /// The filter has a wildcard.
    pub fn wildcard(self) -> bool {
        self.0 & 16 != 0
    }

    /// The QoS that was granted.
    pub fn qos(self) -> QoS {
        QoS::from_bits(self.0 & 3).expect("packed from a QoS")
    }

    /// [MQTT-3.8.3-3].
    pub fn no_local(self) -> bool {
        self.0 & 4 != 0
    }

    /// [MQTT-3.3.1-13].
    pub fn retain_as_published(self) -> bool {
        self.0 & 8 != 0
    }
}

/// How a subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By the session's own outbox; the index in the filter's list of such subscribers.
    Direct(u32),
    /// By a feed.
    Feed(FeedId),
    /// As one of a group; the group's key, and the index in its list of members.
    Shared(u64, u32),
    /// Not at all: QoS 0 without a connection.
    Idle,
}

impl Route {
    /// The key of the group that it is one of.
    pub fn group(self) -> Option<u64> {
        if let Route::Shared(key, _) = self { Some(key) } else { None }
    }
}
