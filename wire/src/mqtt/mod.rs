//! MQTT 3.1.1 and 5.0: packets by conversation, both versions side by side.
//!
//! Receiving goes in two steps. [`deframe`] finds a whole packet at the front of the stream; a decoder turns it into a
//! value that borrows from it. Which decoder depends on who reads:
//!
//! | who | first packet | then |
//! |---|---|---|
//! | a server | [`deframe_connect`], [`decode_connect`] | [`decode_publish`] for PUBLISH, [`decode_from_client`] for all |
//! | a client, a test | [`deframe`], [`decode`] | [`decode`] |
//!
//! [`decode`] takes what either side may send. [`decode_from_client`] and [`decode_publish`] take what a server
//! accepts: no packet that only servers send, no second CONNECT, no Subscription Identifier in a PUBLISH.
//!
//! Sending is one step: [`PublishImage`] fills a slice of known length, all other packets append to a `Vec` that the
//! caller reuses.
//!
//! | what | MQTT 3.1.1 | MQTT 5.0 |
//! |---|---|---|
//! | properties | none; decoded as absent, not encoded | all |
//! | acknowledgements | two bytes of identifier | reason and properties, left out where Success and none |
//! | CONNACK | return codes, mapped from reason codes | reason codes |
//! | SUBACK | QoS or 0x80 | reason codes |
//! | DISCONNECT | from clients, empty | both ways |
//! | AUTH | no such packet | both ways |
//! | password without user name | refused | taken |
//! | padded Remaining Length | taken | refused |

mod ack;
mod connack;
mod connect;
mod control;
mod deframer;
mod header;
mod image;
mod packet;
mod property;
mod publish;
mod reason;
mod suback;
mod subscribe;
#[cfg(test)]
mod testing;
pub mod topic;
mod user_property;
pub(crate) mod utf8;
mod value;
pub(crate) mod varint;

use core::num::NonZeroU16;

pub use ack::{Ack, AckKind};
pub use connack::Connack;
pub use connect::{Connect, ConnectProperties, Will, decode_connect};
pub use control::{Auth, Disconnect};
pub use deframer::{Deframed, RawPacket, deframe, deframe_connect};
pub use header::PacketType;
pub use image::{PublishImage, PublishOffsets};
pub use packet::{Packet, decode, decode_from_client};
pub use property::{Property, PropertyId};
pub use publish::{Publish, PublishProperties, decode_publish};
pub use reason::ReasonCode;
pub use suback::{ReasonCodes, Suback, Unsuback};
pub use subscribe::{RetainHandling, Subscribe, SubscribeOptions, Unsubscribe};
pub use user_property::UserProperties;

/// Identifies a packet until it is acknowledged (section 2.2.1); never 0.
pub type PacketId = NonZeroU16;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol version 5.
    V5,
}

impl ProtocolVersion {
    /// The byte that CONNECT carries (section 3.1.2.2).
    pub const fn level(self) -> u8 {
        match self {
            ProtocolVersion::V311 => 4,
            ProtocolVersion::V5 => 5,
        }
    }
}

/// How surely a message is delivered (section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// At most once.
    #[default]
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with this value.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<QoS> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}
