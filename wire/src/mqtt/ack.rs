//! PUBACK, PUBREC, PUBREL, PUBCOMP: one shape, four names.

use alloc::vec::Vec;

use super::header::PacketType;
use super::packet::Body;
use super::property::{Properties, Property, UserProperties, WriteProperties, write_some};
use super::{PacketId, ProtocolVersion, ReasonCode};
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

    /// Appends the packet to `out`, in the shortest form that says it; in MQTT 3.1.1 the identifier alone. Panics where a
    /// string is longer than 65,535 bytes.
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
