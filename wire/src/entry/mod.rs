//! What a journal keeps: what became of a session, a message or a retained message, one entry a record.
//!
//! ```text
//!   session    Session ─▶ Owner, Subscribed, Unsubscribed, Will, WillDone ─▶ Left ─▶ SessionEnded
//!   message    Owed ─▶ Sent ─▶ Received ─▶ Done          toward each session that is owed it
//!                 └──▶ Dropped      └▶ (QoS 1: Done)
//!   publisher  Inbound ─▶ Released                       QoS 2 from a session
//!   topic      Retained ─▶ RetainedCleared
//! ```
//!
//! A session has a number that no other session of its shard ever has (*uid*), a message likewise (*message*). An entry
//! that names one of them that is not there says nothing any more: what it was about has ended.
//!
//! A shard that compacts its journal writes what is live once more, between two [`Entry::Sweep`]s: bodies of messages
//! first ([`Entry::Body`]), then each session with what it is owed ([`Entry::Owing`]).
//!
//! Integers are big-endian. In a frame that is kept, times are of the wall clock: milliseconds since 1970.

mod codec;
mod lists;

pub use codec::{EntryError, name_of};
pub use lists::OwnerIter;

use crate::frame::Frame;
use crate::mqtt::QoS;

/// One entry of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A client has a session, and a connection serves it.
    Session(Session<'a>),
    /// The connection of a session has gone.
    Left {
        /// The session.
        uid: u64,
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// Its Session Expiry Interval from then on, in seconds.
        expiry: u32,
    },
    /// A session has ended; its will may still be on its way.
    SessionEnded {
        /// The session.
        uid: u64,
    },
    /// The client of a session is this one; none in a journal from before there was access control.
    Owner {
        /// The session.
        uid: u64,
        /// Who it is, as the switch writes it.
        identity: &'a str,
    },
    /// A session has a subscription; one of the same filter and group is replaced.
    Subscribed(Subscription<'a>),
    /// A subscription has gone.
    Unsubscribed {
        /// The session.
        uid: u64,
        /// The filter, without `$share/GROUP/`.
        filter: &'a str,
        /// The group; empty: none.
        group: &'a str,
    },
    /// A connection of a session has this will.
    Will(Will<'a>),
    /// A will was published, or is not wanted any more.
    WillDone {
        /// The session.
        uid: u64,
        /// The number of the connection that had it.
        number: u32,
    },
    /// Sessions are owed a message.
    Owed {
        /// The message.
        message: u64,
        /// Who is owed it.
        owners: Owners<'a>,
        /// The message itself. A frame with a mark is dropped when it comes again.
        frame: Frame<'a>,
    },
    /// A message that is owed, while the journal is compacted: its owners follow.
    Body {
        /// The message.
        message: u64,
        /// The message itself.
        frame: Frame<'a>,
    },
    /// A session is owed a message, and how far that has come.
    Owing {
        /// The message.
        message: u64,
        /// Who is owed it.
        owner: Owner<'a>,
        /// How far it has come.
        stage: Stage,
        /// Its packet identifier; 0 while it waits.
        packet_id: u16,
    },
    /// A message was given a packet identifier toward a session.
    Sent {
        /// The session.
        uid: u64,
        /// The message.
        message: u64,
        /// The shared-subscription group that it was taken from; 0: none.
        group: u64,
        /// The identifier.
        packet_id: u16,
    },
    /// The client has a QoS 2 message: PUBREC came.
    Received {
        /// The session.
        uid: u64,
        /// The identifier.
        packet_id: u16,
    },
    /// The client has acknowledged a message for the last time.
    Done {
        /// The session.
        uid: u64,
        /// The identifier.
        packet_id: u16,
    },
    /// A message is not owed to a session any more.
    Dropped {
        /// The session.
        uid: u64,
        /// The message.
        message: u64,
        /// The group that it was taken from; 0: none.
        group: u64,
    },
    /// A message of a group waits for another member: it was not sent, or (QoS 1) not acknowledged.
    Handing {
        /// The message.
        message: u64,
        /// The group.
        group: u64,
    },
    /// Another member of the group, or nobody, has it.
    HandedOn {
        /// The message.
        message: u64,
        /// The group.
        group: u64,
    },
    /// A QoS 2 message of a session's client has been taken: PUBREC may be sent.
    Inbound {
        /// The session.
        uid: u64,
        /// The identifier.
        packet_id: u16,
    },
    /// The client has released an identifier, or it was refused.
    Released {
        /// The session.
        uid: u64,
        /// The identifier.
        packet_id: u16,
        /// How often it has been released now.
        count: u32,
    },
    /// A QoS 2 message with this mark was taken here.
    Marked(Mark),
    /// Of this shard's sessions only these had taken a QoS 2 message with this mark when sessions were dealt to other
    /// shards.
    Taken {
        /// The mark.
        mark: Mark,
        /// The sessions, eight bytes each.
        uids: Uids<'a>,
    },
    /// A topic has this retained message.
    Retained {
        /// The message, topic included.
        frame: Frame<'a>,
    },
    /// A topic has no retained message any more.
    RetainedCleared {
        /// The topic.
        topic: &'a str,
    },
    /// What is live is written once more from here on, or (`end`) has been.
    Sweep {
        /// Whether it is complete.
        end: bool,
    },
}

/// A session, as [`Entry::Session`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// Its number.
    pub uid: u64,
    /// The client identifier.
    pub client_id: &'a str,
    /// Session Expiry Interval, in seconds.
    pub expiry: u32,
    /// How many connections it has had.
    pub connections: u32,
    /// When its connection has gone, in milliseconds since 1970; 0: one serves it.
    pub left_ms: u64,
}

/// A subscription, as [`Entry::Subscribed`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The session.
    pub uid: u64,
    /// The filter, without `$share/GROUP/`.
    pub filter: &'a str,
    /// The group; empty: none.
    pub group: &'a str,
    /// The QoS that was granted.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// A service granted it: rules do not judge it.
    pub told: bool,
    /// Subscription Identifier; 0: none.
    pub identifier: u32,
}

/// A will, as [`Entry::Will`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// The session.
    pub uid: u64,
    /// The number of the connection that has it.
    pub number: u32,
    /// Hash of its client identifier.
    pub publisher: u64,
    /// Will Delay Interval, in seconds.
    pub delay: u32,
    /// Message Expiry Interval, in seconds.
    pub expiry: Option<u32>,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic.
    pub topic: &'a str,
    /// Properties to forward.
    pub properties: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

/// What tells a QoS 2 message from a repeat of it: publisher, packet identifier, and how often that had been released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Hash of the publisher's client identifier.
    pub publisher: u64,
    /// The packet identifier; 0 for a will.
    pub packet_id: u16,
    /// How often it had been released, from a beginning that differs for each session; for a will, which connection of
    /// the session had it, likewise.
    pub count: u32,
}

/// How far a message has come toward a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has no packet identifier.
    Waiting = 0,
    /// It has one, and was sent or will be.
    Sent = 1,
    /// PUBREC has come.
    Received = 2,
}

/// A session that is owed a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The session.
    pub uid: u64,
    /// The shared-subscription group that it was taken from; 0: none.
    pub group: u64,
    /// QoS of the delivery: 1 or 2.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// Subscription Identifiers of all subscriptions that matched.
    pub identifiers: Identifiers<'a>,
}

/// Subscription Identifiers as they lie in an entry: four bytes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identifiers<'a>(&'a [u8]);

/// Numbers of sessions as they lie in an entry: eight bytes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uids<'a>(&'a [u8]);

/// The owners of a message as they lie in an entry; [`Owners::push`] makes such bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owners<'a>(&'a [u8]);

impl Mark {
    /// The mark of a frame, if it has one.
    pub fn of(frame: &Frame<'_>) -> Option<Mark> {
        let header = &frame.header;
        (header.flags & crate::frame::FrameHeader::MARKED != 0).then_some(Mark {
            publisher: header.publisher,
            packet_id: header.packet_id(),
            count: (header.number >> 32) as u32,
        })
    }
}

impl Entry<'_> {
    /// The session that it is about, if it is about one.
    pub fn uid(&self) -> Option<u64> {
        match *self {
            Entry::Session(Session { uid, .. })
            | Entry::Subscribed(Subscription { uid, .. })
            | Entry::Will(Will { uid, .. })
            | Entry::Owing { owner: Owner { uid, .. }, .. }
            | Entry::Left { uid, .. }
            | Entry::SessionEnded { uid }
            | Entry::Owner { uid, .. }
            | Entry::Unsubscribed { uid, .. }
            | Entry::WillDone { uid, .. }
            | Entry::Sent { uid, .. }
            | Entry::Received { uid, .. }
            | Entry::Done { uid, .. }
            | Entry::Dropped { uid, .. }
            | Entry::Inbound { uid, .. }
            | Entry::Released { uid, .. } => Some(uid),
            Entry::Owed { .. }
            | Entry::Body { .. }
            | Entry::Handing { .. }
            | Entry::HandedOn { .. }
            | Entry::Marked(_)
            | Entry::Taken { .. }
            | Entry::Retained { .. }
            | Entry::RetainedCleared { .. }
            | Entry::Sweep { .. } => None,
        }
    }
}
