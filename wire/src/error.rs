//! How a packet can be wrong, clause by clause.

use core::fmt;

use crate::mqtt::{PropertyId, ReasonCode};

/// What is wrong with bytes that a peer sent. Always the peer's fault.
///
/// Each variant names the statement that the peer broke, and knows the reason code to answer with. Statement numbers
/// are those of MQTT 5.0 unless 3.1.1 is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    // Framing.
    /// A variable byte integer goes on after its fourth byte (section 1.5.5).
    IntegerTooLong,
    /// A variable byte integer is longer than it needs to be \[MQTT-1.5.5-1\].
    OverlongInteger,
    /// The packet is larger than the receiver accepts \[MQTT-3.2.2-15\].
    PacketTooLarge,
    /// The first packet of a connection is not a CONNECT \[MQTT-3.1.0-1\].
    FirstPacketNotConnect,
    /// The packet type is reserved: 0, or 15 in MQTT 3.1.1 (section 2.1.2).
    ReservedPacketType,
    /// Flags of the fixed header have a reserved value \[MQTT-2.1.3-1\].
    ReservedFlags,
    /// The packet is of a type that may not come now: a server's packet from a client, or a second CONNECT
    /// \[MQTT-3.1.0-2\].
    UnexpectedPacketType,
    /// The packet ends inside a field (section 4.13).
    Truncated,
    /// Bytes follow the packet's last field (section 4.13).
    TrailingBytes,
    // Terminals.
    /// A string is not well-formed UTF-8 \[MQTT-1.5.4-1\].
    NotUtf8,
    /// A string holds U+0000 \[MQTT-1.5.4-2\].
    NullCharacter,
    /// A packet identifier is 0 \[MQTT-2.2.1-3\].
    PacketIdZero,
    /// A reason code that this packet does not have (section 2.4).
    UndefinedReasonCode(u8),
    // Properties.
    /// No property has this identifier (section 2.2.2.2).
    UnknownProperty(u32),
    /// The packet may not carry this property (section 2.2.2.2).
    PropertyNotAllowed(PropertyId),
    /// A property occurs twice that may occur once (section 2.2.2.2).
    DuplicateProperty(PropertyId),
    /// A property has a value that it may not have, such as 0 for Receive Maximum (section 3.1.2.11.3).
    PropertyValue(PropertyId),
    /// More properties than [`limits::PROPERTIES_MAX`](crate::limits::PROPERTIES_MAX).
    TooManyProperties,
    /// More bytes of properties than [`limits::PROPERTY_BYTES_MAX`](crate::limits::PROPERTY_BYTES_MAX).
    PropertiesTooLong,
    // CONNECT and CONNACK.
    /// The protocol name is not `MQTT` \[MQTT-3.1.2-1\].
    UnsupportedProtocolName,
    /// The protocol version is neither 4 nor 5 \[MQTT-3.1.2-2\].
    UnsupportedProtocolVersion(u8),
    /// The reserved connect flag is set \[MQTT-3.1.2-3\].
    ReservedConnectFlag,
    /// Will QoS or Will Retain without a will \[MQTT-3.1.2-11\], \[MQTT-3.1.2-13\].
    WillFlagsWithoutWill,
    /// Will QoS is 3 \[MQTT-3.1.2-12\].
    WillQosOutOfRange,
    /// A password without a user name, in MQTT 3.1.1 \[MQTT-3.1.2-22 of 3.1.1\].
    PasswordWithoutUserName,
    /// Authentication Data without an Authentication Method (section 3.1.2.11.10).
    AuthenticationDataWithoutMethod,
    /// Reserved bits of the connect acknowledge flags are set \[MQTT-3.2.2-1\].
    ReservedAcknowledgeFlags,
    /// Session Present in a CONNACK that refuses \[MQTT-3.2.2-6\].
    SessionPresentOnRefusal,
    // PUBLISH.
    /// QoS is 3 (section 3.3.1.2; \[MQTT-3.3.1-4\]).
    QosOutOfRange,
    /// DUP at QoS 0 \[MQTT-3.3.1-2\].
    DupWithoutAcknowledgement,
    /// A topic name has a wildcard \[MQTT-3.3.2-2\].
    WildcardInTopicName,
    /// A topic name is empty where no topic alias stands for it \[MQTT-4.7.3-1\].
    EmptyTopicName,
    /// A topic alias is 0 \[MQTT-3.3.2-8\].
    TopicAliasZero,
    /// A client's PUBLISH carries a Subscription Identifier \[MQTT-3.3.4-6\].
    SubscriptionIdentifierFromClient,
    // SUBSCRIBE and UNSUBSCRIBE.
    /// No topic filter \[MQTT-3.8.3-2\], \[MQTT-3.10.3-2\].
    NoTopicFilter,
    /// Reserved bits of the subscription options are set \[MQTT-3.8.3-5\].
    ReservedSubscribeOptions,
    /// Maximum QoS is 3 (section 3.8.3.1).
    MaximumQosOutOfRange,
    /// Retain Handling is 3 (section 3.8.3.1).
    RetainHandlingOutOfRange,
    /// No Local on a shared subscription \[MQTT-3.8.3-4\].
    NoLocalOnSharedSubscription,
    /// SUBACK or UNSUBACK without a reason code \[MQTT-3.8.4-6\].
    NoReasonCode,
}

impl Malformed {
    /// The reason code that says this, for CONNACK or DISCONNECT.
    pub const fn reason(self) -> ReasonCode {
        self.entry().0
    }

    /// What was wrong, with the statement that was broken; values left out.
    pub const fn description(self) -> &'static str {
        self.entry().1
    }

    const fn entry(self) -> (ReasonCode, &'static str) {
        use Malformed as M;
        use ReasonCode::{MalformedPacket, PacketTooLarge, ProtocolError, QuotaExceeded, UnsupportedProtocolVersion};
        match self {
            M::IntegerTooLong => (MalformedPacket, "a variable byte integer is longer than four bytes"),
            M::OverlongInteger => {
                (MalformedPacket, "a variable byte integer is not in its shortest form [MQTT-1.5.5-1]")
            }
            M::PacketTooLarge => (PacketTooLarge, "the packet is larger than accepted [MQTT-3.2.2-15]"),
            M::FirstPacketNotConnect => (ProtocolError, "the first packet is not CONNECT [MQTT-3.1.0-1]"),
            M::ReservedPacketType => (MalformedPacket, "the packet type is reserved"),
            M::ReservedFlags => (MalformedPacket, "flags of the fixed header are reserved [MQTT-2.1.3-1]"),
            M::UnexpectedPacketType => (ProtocolError, "a packet of this type may not come now [MQTT-3.1.0-2]"),
            M::Truncated => (MalformedPacket, "the packet ends inside a field"),
            M::TrailingBytes => (MalformedPacket, "bytes follow the last field"),
            M::NotUtf8 => (MalformedPacket, "a string is not well-formed UTF-8 [MQTT-1.5.4-1]"),
            M::NullCharacter => (MalformedPacket, "a string holds a null character [MQTT-1.5.4-2]"),
            M::PacketIdZero => (ProtocolError, "the packet identifier is 0 [MQTT-2.2.1-3]"),
            M::UndefinedReasonCode(_) => (ProtocolError, "the packet has no such reason code"),
            M::UnknownProperty(_) => (MalformedPacket, "a property identifier is unknown"),
            M::PropertyNotAllowed(_) => (MalformedPacket, "the packet may not carry this property"),
            M::DuplicateProperty(_) => (ProtocolError, "a property occurs twice"),
            M::PropertyValue(_) => (ProtocolError, "a property has a value out of its range"),
            M::TooManyProperties => (QuotaExceeded, "the packet carries too many properties"),
            M::PropertiesTooLong => (QuotaExceeded, "the packet's properties are too long"),
            M::UnsupportedProtocolName => (UnsupportedProtocolVersion, "the protocol name is not MQTT [MQTT-3.1.2-1]"),
            M::UnsupportedProtocolVersion(_) => {
                (UnsupportedProtocolVersion, "the protocol version is neither 3.1.1 nor 5.0 [MQTT-3.1.2-2]")
            }
            M::ReservedConnectFlag => (MalformedPacket, "the reserved connect flag is set [MQTT-3.1.2-3]"),
            M::WillFlagsWithoutWill => (MalformedPacket, "will flags without a will [MQTT-3.1.2-11] [MQTT-3.1.2-13]"),
            M::WillQosOutOfRange => (MalformedPacket, "the will's QoS is 3 [MQTT-3.1.2-12]"),
            M::PasswordWithoutUserName => {
                (MalformedPacket, "a password without a user name [MQTT-3.1.2-22 of MQTT 3.1.1]")
            }
            M::AuthenticationDataWithoutMethod => (ProtocolError, "authentication data without a method"),
            M::ReservedAcknowledgeFlags => {
                (MalformedPacket, "reserved connect acknowledge flags are set [MQTT-3.2.2-1]")
            }
            M::SessionPresentOnRefusal => (ProtocolError, "a refusal says that a session is present [MQTT-3.2.2-6]"),
            M::QosOutOfRange => (MalformedPacket, "QoS is 3 [MQTT-3.3.1-4]"),
            M::DupWithoutAcknowledgement => (MalformedPacket, "DUP is set at QoS 0 [MQTT-3.3.1-2]"),
            M::WildcardInTopicName => (MalformedPacket, "a topic name holds a wildcard [MQTT-3.3.2-2]"),
            M::EmptyTopicName => (ProtocolError, "a topic name is empty [MQTT-4.7.3-1]"),
            M::TopicAliasZero => (ReasonCode::TopicAliasInvalid, "a topic alias is 0 [MQTT-3.3.2-8]"),
            M::SubscriptionIdentifierFromClient => {
                (ProtocolError, "a client's PUBLISH carries a subscription identifier [MQTT-3.3.4-6]")
            }
            M::NoTopicFilter => (ProtocolError, "there is no topic filter [MQTT-3.8.3-2] [MQTT-3.10.3-2]"),
            M::ReservedSubscribeOptions => (MalformedPacket, "reserved subscription options are set [MQTT-3.8.3-5]"),
            M::MaximumQosOutOfRange => (ProtocolError, "a subscription's maximum QoS is 3"),
            M::RetainHandlingOutOfRange => (ProtocolError, "a subscription's retain handling is 3"),
            M::NoLocalOnSharedSubscription => (ProtocolError, "No Local on a shared subscription [MQTT-3.8.3-4]"),
            M::NoReasonCode => (MalformedPacket, "there is no reason code [MQTT-3.8.4-6]"),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())?;
        match self {
            Malformed::UndefinedReasonCode(code) => write!(f, ": 0x{code:02x}"),
            Malformed::UnknownProperty(id) => write!(f, ": 0x{id:02x}"),
            Malformed::UnsupportedProtocolVersion(level) => write!(f, ": level {level}"),
            Malformed::PropertyNotAllowed(id) | Malformed::DuplicateProperty(id) | Malformed::PropertyValue(id) => {
                write!(f, ": {}", id.name())
            }
            _ => Ok(()),
        }
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::mqtt::PacketType;

    /// An error is small enough to be returned by the hot path, and prints what was found.
    #[test]
    fn small_and_readable() {
        assert!(size_of::<Malformed>() <= 8);
        let error = Malformed::DuplicateProperty(PropertyId::ReceiveMaximum);
        assert_eq!(format!("{error}"), "a property occurs twice: Receive Maximum");
        let error = Malformed::UnsupportedProtocolVersion(6);
        assert_eq!(format!("{error}"), "the protocol version is neither 3.1.1 nor 5.0 [MQTT-3.1.2-2]: level 6");
    }

    /// Reason codes can be sent where they are needed: in DISCONNECT, or in CONNACK for what only CONNECT can do.
    #[test]
    fn reasons_can_be_sent() {
        for error in [Malformed::Truncated, Malformed::PacketTooLarge, Malformed::TooManyProperties] {
            assert!(error.reason().is_valid_in(PacketType::Connack));
            assert!(error.reason().is_valid_in(PacketType::Disconnect));
        }
        assert!(Malformed::UnsupportedProtocolName.reason().is_valid_in(PacketType::Connack));
        assert!(Malformed::TopicAliasZero.reason().is_valid_in(PacketType::Disconnect));
    }
}
