//! SUBACK and UNSUBACK: a reason code for each filter, kept as bytes or lent as a slice.

use alloc::vec::Vec;
use core::fmt;

use super::header::PacketType;
use super::packet::Body;
use super::property::{Properties, Property, WriteProperties, write_some};
use super::{PacketId, ProtocolVersion, ReasonCode, UserProperties};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

/// The answer to SUBSCRIBE (section 3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// That of the SUBSCRIBE \[MQTT-2.2.1-6\].
    pub packet_id: PacketId,
    /// For a human reader.
    pub reason_string: Option<&'a str>,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
    /// One for each filter, in order \[MQTT-3.8.4-6\]: the granted QoS, or why not.
    pub reasons: ReasonCodes<'a>,
}

/// The answer to UNSUBSCRIBE (section 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// That of the UNSUBSCRIBE \[MQTT-2.2.1-6\].
    pub packet_id: PacketId,
    /// For a human reader.
    pub reason_string: Option<&'a str>,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
    /// One for each filter, in order; none in MQTT 3.1.1.
    pub reasons: ReasonCodes<'a>,
}

/// The two answers differ in name and table alone.
macro_rules! subscription_ack {
    ($packet:ident) => {
        impl<'a> $packet<'a> {
            /// With reason codes and nothing more.
            pub fn new(packet_id: PacketId, reasons: &'a [ReasonCode]) -> $packet<'a> {
                let user_properties = UserProperties::default();
                $packet { packet_id, reason_string: None, user_properties, reasons: ReasonCodes::from(reasons) }
            }

            pub(crate) fn read(mut body: Reader<'a>, version: ProtocolVersion) -> Result<$packet<'a>, Malformed> {
                let packet_id = PacketId::new(body.u16()?).ok_or(Malformed::PacketIdZero)?;
                let mut packet = $packet::new(packet_id, &[]);
                if version == ProtocolVersion::V5 {
                    let mut properties = Properties::open(&mut body)?;
                    while let Some(property) = properties.next()? {
                        match property {
                            Property::ReasonString(string) => packet.reason_string = Some(string),
                            Property::UserProperty(_) => {}
                            other => return Err(Malformed::PropertyNotAllowed(other.id())),
                        }
                    }
                    packet.user_properties = properties.user_properties();
                }
                packet.reasons = ReasonCodes::read(body, PacketType::$packet, version)?;
                Ok(packet)
            }

            /// Bytes of the whole packet.
            pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
                self.packet_len(version)
            }

            /// Appends the packet to `out`. Panics where a string is longer than 65,535 bytes or the packet larger than
            /// can be encoded.
            pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
                self.append_packet(PacketType::$packet.first_byte(), version, out);
            }
        }

        impl Body for $packet<'_> {
            fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink) {
                sink.u16(self.packet_id.get());
                if version == ProtocolVersion::V5 {
                    self.write_with_length(sink);
                }
                self.reasons.write(PacketType::$packet, version, sink);
            }
        }

        impl WriteProperties for $packet<'_> {
            fn write_properties(&self, sink: &mut impl Sink) {
                write_some(self.reason_string, Property::ReasonString, sink);
                self.user_properties.write(sink);
            }
        }
    };
}

subscription_ack!(Suback);
subscription_ack!(Unsuback);

/// Reason codes in order: one for each filter of the request.
#[derive(Clone, Copy)]
pub struct ReasonCodes<'a>(Codes<'a>);

#[derive(Clone, Copy)]
enum Codes<'a> {
    /// Checked bytes of a packet.
    Encoded(&'a [u8]),
    /// The caller's own.
    Given(&'a [ReasonCode]),
}

impl<'a> ReasonCodes<'a> {
    /// The codes.
    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        let (encoded, given) = match self.0 {
            Codes::Encoded(bytes) => (bytes, &[][..]),
            Codes::Given(codes) => (&[][..], codes),
        };
        encoded.iter().filter_map(|&byte| ReasonCode::from_u8(byte)).chain(given.iter().copied())
    }

    /// How many.
    pub const fn len(&self) -> usize {
        match self.0 {
            Codes::Encoded(bytes) => bytes.len(),
            Codes::Given(codes) => codes.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the rest of a packet.
    fn read(body: Reader<'a>, packet: PacketType, version: ProtocolVersion) -> Result<ReasonCodes<'a>, Malformed> {
        let codes = ReasonCodes(Codes::Encoded(body.rest()));
        if packet == PacketType::Unsuback && version == ProtocolVersion::V311 {
            return body.finish().map(|()| codes);
        }
        let valid = |code: ReasonCode| match version {
            ProtocolVersion::V311 => code <= ReasonCode::GrantedQos2 || code == ReasonCode::UnspecifiedError,
            ProtocolVersion::V5 => code.is_valid_in(packet),
        };
        let wrong = body.rest().iter().find(|&&byte| !ReasonCode::from_u8(byte).is_some_and(valid));
        match wrong {
            Some(&byte) => Err(Malformed::UndefinedReasonCode(byte)),
            None if codes.is_empty() => Err(Malformed::NoReasonCode),
            None => Ok(codes),
        }
    }

    /// MQTT 3.1.1 knows one failure, in SUBACK, and no code in UNSUBACK.
    fn write(&self, packet: PacketType, version: ProtocolVersion, sink: &mut impl Sink) {
        for code in self.iter() {
            match version {
                ProtocolVersion::V5 => sink.u8(code as u8),
                ProtocolVersion::V311 if packet == PacketType::Unsuback => {}
                ProtocolVersion::V311 if code.is_error() => sink.u8(ReasonCode::UnspecifiedError as u8),
                ProtocolVersion::V311 => sink.u8(code as u8),
            }
        }
    }
}

impl<'a> From<&'a [ReasonCode]> for ReasonCodes<'a> {
    fn from(codes: &'a [ReasonCode]) -> ReasonCodes<'a> {
        ReasonCodes(Codes::Given(codes))
    }
}

impl PartialEq for ReasonCodes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ReasonCodes<'_> {}

impl fmt::Debug for ReasonCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::testing::{V5, V311, assert_both_ways, assert_refused};
    use super::*;

    const ID: PacketId = PacketId::new(7).unwrap();

    /// SUBACK of both versions; MQTT 3.1.1 has one failure.
    #[test]
    fn suback() {
        let granted = [ReasonCode::GrantedQos0, ReasonCode::GrantedQos2, ReasonCode::UnspecifiedError];
        let suback = Suback::new(ID, &granted);
        assert_both_ways(&Packet::Suback(suback), V311, &[0x90, 5, 0, 7, 0, 2, 0x80]);
        let codes = [ReasonCode::TopicFilterInvalid];
        let suback = Suback { reason_string: Some("r"), ..Suback::new(ID, &codes) };
        assert_both_ways(&Packet::Suback(suback), V5, &[0x90, 8, 0, 7, 4, 0x1f, 0, 1, b'r', 0x8f]);
        let mut bytes = Vec::new();
        suback.encode(V311, &mut bytes);
        assert_eq!(bytes, [0x90, 3, 0, 7, 0x80]);
        assert_refused(0x90, &[0, 7, 0x8f], V311, Malformed::UndefinedReasonCode(0x8f));
        assert_refused(0x90, &[0, 7, 0, 0x11], V5, Malformed::UndefinedReasonCode(0x11));
        assert_refused(0x90, &[0, 7], V311, Malformed::NoReasonCode);
        assert_refused(0x90, &[0, 7, 0], V5, Malformed::NoReasonCode);
    }

    /// UNSUBACK has reason codes in MQTT 5.0 alone.
    #[test]
    fn unsuback() {
        assert_both_ways(&Packet::Unsuback(Unsuback::new(ID, &[])), V311, &[0xb0, 2, 0, 7]);
        let codes = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        let unsuback = Unsuback::new(ID, &codes);
        assert_both_ways(&Packet::Unsuback(unsuback), V5, &[0xb0, 5, 0, 7, 0, 0, 0x11]);
        let mut bytes = Vec::new();
        unsuback.encode(V311, &mut bytes);
        assert_eq!(bytes, [0xb0, 2, 0, 7]);
        assert_refused(0xb0, &[0, 7, 0], V311, Malformed::TrailingBytes);
        assert_refused(0xb0, &[0, 7, 0, 0x01], V5, Malformed::UndefinedReasonCode(0x01));
    }
}
