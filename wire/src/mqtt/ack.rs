//! PUBACK, PUBREC, PUBREL, PUBCOMP: one shape, four names.

use alloc::vec::Vec;

use super::header::PacketType;
use super::packet::Body;
use super::property::{Properties, Property, WriteProperties, write_some};
use super::{PacketId, ProtocolVersion, ReasonCode, UserProperties};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// Answers a PUBLISH of QoS 1.
    Puback,
    /// Answers a PUBLISH of QoS 2.
    Pubrec,
    /// Answers PUBREC.
    Pubrel,
    /// Answers PUBREL.
    Pubcomp,
}

impl AckKind {
    /// The packet's type.
    pub const fn packet_type(self) -> PacketType {
        match self {
            AckKind::Puback => PacketType::Puback,
            AckKind::Pubrec => PacketType::Pubrec,
            AckKind::Pubrel => PacketType::Pubrel,
            AckKind::Pubcomp => PacketType::Pubcomp,
        }
    }
}

/// The contents of a PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet identifier of the PUBLISH \[MQTT-2.2.1-5\].
    pub packet_id: PacketId,
    /// Success in MQTT 3.1.1, which has none.
    pub reason: ReasonCode,
    /// For a human reader.
    pub reason_string: Option<&'a str>,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// With a reason and nothing more.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Ack<'a> {
        Ack { packet_id, reason, reason_string: None, user_properties: UserProperties::default() }
    }

    pub(crate) fn read(kind: AckKind, mut body: Reader<'a>, version: ProtocolVersion) -> Result<Ack<'a>, Malformed> {
        let packet_id = PacketId::new(body.u16()?).ok_or(Malformed::PacketIdZero)?;
        let mut ack = Ack::new(packet_id, ReasonCode::Success);
        if version == ProtocolVersion::V311 || body.is_empty() {
            return body.finish().map(|()| ack);
        }
        ack.reason = read_reason(&mut body, kind.packet_type())?;
        if body.is_empty() {
            return Ok(ack);
        }
        let mut properties = Properties::open(&mut body)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::ReasonString(string) => ack.reason_string = Some(string),
                Property::UserProperty(_) => {}
                other => return Err(Malformed::PropertyNotAllowed(other.id())),
            }
        }
        ack.user_properties = properties.user_properties();
        body.finish().map(|()| ack)
    }

    /// Bytes of the whole packet; the same for each kind.
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        self.packet_len(version)
    }

    /// Appends the packet to `out`, in the shortest form that says it; in MQTT 3.1.1 the identifier alone. Panics where
    /// a string is longer than 65,535 bytes.
    pub fn encode(&self, kind: AckKind, version: ProtocolVersion, out: &mut Vec<u8>) {
        self.append_packet(kind.packet_type().first_byte(), version, out);
    }
}

impl Body for Ack<'_> {
    #[inline]
    fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version == ProtocolVersion::V5 {
            write_reason_and_properties(self.reason, self, sink);
        }
    }
}

impl WriteProperties for Ack<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        write_some(self.reason_string, Property::ReasonString, sink);
        self.user_properties.write(sink);
    }
}

/// Reads a reason code that this packet may carry.
pub(crate) fn read_reason(body: &mut Reader<'_>, packet: PacketType) -> Result<ReasonCode, Malformed> {
    let value = body.u8()?;
    let reason = ReasonCode::from_u8(value).filter(|reason| reason.is_valid_in(packet));
    reason.ok_or(Malformed::UndefinedReasonCode(value))
}

/// Writes what may be left out from the end: the properties where there are none, then the reason where it is Success.
pub(crate) fn write_reason_and_properties(reason: ReasonCode, properties: &impl WriteProperties, sink: &mut impl Sink) {
    if properties.properties_len() > 0 {
        sink.u8(reason as u8);
        properties.write_with_length(sink);
    } else if reason != ReasonCode::Success {
        sink.u8(reason as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::testing::{V5, V311, assert_both_ways, assert_refused};
    use super::*;
    use crate::mqtt::PropertyId;

    const ID: PacketId = PacketId::new(0x1234).unwrap();

    /// Success without properties is two bytes, in both versions.
    #[test]
    fn short_form() {
        let ack = Ack::new(ID, ReasonCode::Success);
        for version in [V311, V5] {
            assert_both_ways(&Packet::Puback(ack), version, &[0x40, 2, 0x12, 0x34]);
            assert_both_ways(&Packet::Pubrec(ack), version, &[0x50, 2, 0x12, 0x34]);
            assert_both_ways(&Packet::Pubrel(ack), version, &[0x62, 2, 0x12, 0x34]);
            assert_both_ways(&Packet::Pubcomp(ack), version, &[0x70, 2, 0x12, 0x34]);
        }
    }

    /// A reason without properties is three bytes; MQTT 3.1.1 cannot say it.
    #[test]
    fn reason_alone() {
        let ack = Ack::new(ID, ReasonCode::QuotaExceeded);
        assert_both_ways(&Packet::Puback(ack), V5, &[0x40, 3, 0x12, 0x34, 0x97]);
        let released = Ack::new(ID, ReasonCode::PacketIdentifierNotFound);
        assert_both_ways(&Packet::Pubcomp(released), V5, &[0x70, 3, 0x12, 0x34, 0x92]);
        let mut bytes = Vec::new();
        ack.encode(AckKind::Puback, V311, &mut bytes);
        assert_eq!(bytes, [0x40, 2, 0x12, 0x34]);
    }

    /// Properties bring the reason with them, Success too.
    #[test]
    fn with_properties() {
        let user_properties = UserProperties::from_pairs(&[("a", "b"), ("a", "")]);
        let ack = Ack { reason_string: Some("ok"), user_properties, ..Ack::new(ID, ReasonCode::Success) };
        let bytes =
            [0x50, 22, 0x12, 0x34, 0x00, 18, 0x1f, 0, 2, b'o', b'k', 0x26, 0, 1, b'a', 0, 1, b'b', 0x26, 0, 1, b'a', 0];
        assert_both_ways(&Packet::Pubrec(ack), V5, &[&bytes[..], &[0]].concat());
    }

    /// A reason with an empty set of properties is understood too.
    #[test]
    fn long_form_without_properties() {
        let body = Reader::new(&[0x12, 0x34, 0x00, 0]);
        assert_eq!(Ack::read(AckKind::Puback, body, V5), Ok(Ack::new(ID, ReasonCode::Success)));
    }

    /// What is refused, and why.
    #[test]
    fn refusals() {
        for version in [V311, V5] {
            assert_refused(0x40, &[], version, Malformed::Truncated);
            assert_refused(0x40, &[1], version, Malformed::Truncated);
            assert_refused(0x40, &[0, 0], version, Malformed::PacketIdZero);
        }
        assert_refused(0x40, &[0, 1, 0], V311, Malformed::TrailingBytes);
        assert_refused(0x40, &[0, 1, 0x92], V5, Malformed::UndefinedReasonCode(0x92));
        assert_refused(0x62, &[0, 1, 0x97], V5, Malformed::UndefinedReasonCode(0x97));
        assert_refused(0x40, &[0, 1, 0x03], V5, Malformed::UndefinedReasonCode(0x03));
        assert_refused(0x40, &[0, 1, 0, 1], V5, Malformed::Truncated);
        assert_refused(0x40, &[0, 1, 0, 0, 0], V5, Malformed::TrailingBytes);
        assert_refused(
            0x40,
            &[0, 1, 0, 2, 0x01, 1],
            V5,
            Malformed::PropertyNotAllowed(PropertyId::PayloadFormatIndicator),
        );
        let twice = [0, 1, 0, 6, 0x1f, 0, 0, 0x1f, 0, 0];
        assert_refused(0x40, &twice, V5, Malformed::DuplicateProperty(PropertyId::ReasonString));
    }
}
