//! Any packet: decoding by type, encoding by type, and leaving out what does not fit.

use alloc::vec::Vec;

use super::ack::{Ack, AckKind};
use super::connack::Connack;
use super::connect::{Connect, decode_connect};
use super::control::{Auth, Disconnect};
use super::deframer::RawPacket;
use super::header::PacketType;
use super::publish::{self, Publish, decode_publish};
use super::suback::{Suback, Unsuback};
use super::subscribe::{Subscribe, Unsubscribe};
use super::{ProtocolVersion, UserProperties, varint};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::{Counter, Sink};

/// A control packet, borrowing from the bytes that it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the packet of its name, documented at its type")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Reads a packet that either side may send. A CONNECT decides its version itself.
pub fn decode<'a>(raw: &RawPacket<'a>, version: ProtocolVersion) -> Result<Packet<'a>, Malformed> {
    let packet_type = raw.packet_type()?;
    if version == ProtocolVersion::V5 && packet_type != PacketType::Connect {
        raw.check_length_form()?;
    }
    let body = Reader::new(raw.body);
    Ok(match packet_type {
        PacketType::Connect => Packet::Connect(decode_connect(raw)?),
        PacketType::Connack => Packet::Connack(Connack::read(body, version)?),
        PacketType::Publish => Packet::Publish(publish::read(raw, version)?),
        PacketType::Puback => Packet::Puback(Ack::read(AckKind::Puback, body, version)?),
        PacketType::Pubrec => Packet::Pubrec(Ack::read(AckKind::Pubrec, body, version)?),
        PacketType::Pubrel => Packet::Pubrel(Ack::read(AckKind::Pubrel, body, version)?),
        PacketType::Pubcomp => Packet::Pubcomp(Ack::read(AckKind::Pubcomp, body, version)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::read(body, version)?),
        PacketType::Suback => Packet::Suback(Suback::read(body, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::read(body, version)?),
        PacketType::Unsuback => Packet::Unsuback(Unsuback::read(body, version)?),
        PacketType::Pingreq => body.finish().map(|()| Packet::Pingreq)?,
        PacketType::Pingresp => body.finish().map(|()| Packet::Pingresp)?,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::read(body, version)?),
        PacketType::Auth => match version {
            ProtocolVersion::V311 => return Err(Malformed::ReservedPacketType),
            ProtocolVersion::V5 => Packet::Auth(Auth::read(body)?),
        },
    })
}

/// Reads a packet as a server takes it from a client whose CONNECT it has had: packets that only a server sends and a
/// second CONNECT \[MQTT-3.1.0-2\] are [`Malformed::UnexpectedPacketType`], before their bodies are looked at; a
/// PUBLISH is read by [`decode_publish`].
pub fn decode_from_client<'a>(raw: &RawPacket<'a>, version: ProtocolVersion) -> Result<Packet<'a>, Malformed> {
    match raw.packet_type()? {
        PacketType::Publish => decode_publish(raw, version).map(Packet::Publish),
        PacketType::Connect => Err(Malformed::UnexpectedPacketType),
        packet_type if packet_type.is_from_server() => Err(Malformed::UnexpectedPacketType),
        _ => decode(raw, version),
    }
}

impl Packet<'_> {
    /// Which packet it is.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Packet::Connect(_) => PacketType::Connect,
            Packet::Connack(_) => PacketType::Connack,
            Packet::Publish(_) => PacketType::Publish,
            Packet::Puback(_) => PacketType::Puback,
            Packet::Pubrec(_) => PacketType::Pubrec,
            Packet::Pubrel(_) => PacketType::Pubrel,
            Packet::Pubcomp(_) => PacketType::Pubcomp,
            Packet::Subscribe(_) => PacketType::Subscribe,
            Packet::Suback(_) => PacketType::Suback,
            Packet::Unsubscribe(_) => PacketType::Unsubscribe,
            Packet::Unsuback(_) => PacketType::Unsuback,
            Packet::Pingreq => PacketType::Pingreq,
            Packet::Pingresp => PacketType::Pingresp,
            Packet::Disconnect(_) => PacketType::Disconnect,
            Packet::Auth(_) => PacketType::Auth,
        }
    }

    /// Bytes of the whole packet, in this version (a CONNECT: in its own).
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        match self {
            Packet::Connect(packet) => packet.encoded_len(version),
            Packet::Connack(packet) => packet.encoded_len(version),
            Packet::Publish(packet) => packet.encoded_len(version),
            Packet::Puback(packet) | Packet::Pubrec(packet) => packet.encoded_len(version),
            Packet::Pubrel(packet) | Packet::Pubcomp(packet) => packet.encoded_len(version),
            Packet::Subscribe(packet) => packet.encoded_len(version),
            Packet::Suback(packet) => packet.encoded_len(version),
            Packet::Unsubscribe(packet) => packet.encoded_len(version),
            Packet::Unsuback(packet) => packet.encoded_len(version),
            Packet::Pingreq | Packet::Pingresp => 2,
            Packet::Disconnect(packet) => packet.encoded_len(version),
            Packet::Auth(packet) => packet.encoded_len(version),
        }
    }

    /// Appends the packet to `out`. Panics where the packet cannot be encoded: see each packet's `encode`.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        match self {
            Packet::Connect(packet) => packet.encode(version, out),
            Packet::Connack(packet) => packet.encode(version, out),
            Packet::Publish(packet) => packet.encode(version, out),
            Packet::Puback(packet) => packet.encode(AckKind::Puback, version, out),
            Packet::Pubrec(packet) => packet.encode(AckKind::Pubrec, version, out),
            Packet::Pubrel(packet) => packet.encode(AckKind::Pubrel, version, out),
            Packet::Pubcomp(packet) => packet.encode(AckKind::Pubcomp, version, out),
            Packet::Subscribe(packet) => packet.encode(version, out),
            Packet::Suback(packet) => packet.encode(version, out),
            Packet::Unsubscribe(packet) => packet.encode(version, out),
            Packet::Unsuback(packet) => packet.encode(version, out),
            Packet::Pingreq | Packet::Pingresp => out.put(&[self.packet_type().first_byte(), 0]),
            Packet::Disconnect(packet) => packet.encode(version, out),
            Packet::Auth(packet) => packet.encode(version, out),
        }
    }
}

/// What follows the fixed header, written once for its length and once for its bytes.
pub(crate) trait Body {
    fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink);

    /// Bytes of the whole packet.
    fn packet_len(&self, version: ProtocolVersion) -> usize {
        let remaining = Counter::of(|counter| self.write_body(version, counter));
        1 + varint::len(u32::try_from(remaining).unwrap_or(u32::MAX)) + remaining
    }

    /// Appends the whole packet. Panics over [`PACKET_BYTES_MAX`](crate::limits::PACKET_BYTES_MAX).
    fn append_packet(&self, first: u8, version: ProtocolVersion, out: &mut Vec<u8>) {
        let remaining = Counter::of(|counter| self.write_body(version, counter));
        out.u8(first);
        out.varint(u32::try_from(remaining).unwrap_or(u32::MAX));
        self.write_body(version, out);
    }
}

/// Gives packets that may explain themselves the means to be brief.
macro_rules! diagnostics {
    ($($packet:ident),*) => {
        $(impl<'a> $packet<'a> {
            /// The packet without Reason String and User Properties: what a client gets that asked for no problem
            /// information \[MQTT-3.1.2-29\].
            pub fn without_diagnostics(self) -> $packet<'a> {
                $packet { reason_string: None, user_properties: UserProperties::default(), ..self }
            }

            /// The packet as far as it fits into `packet_bytes_max` bytes: whole, else without Reason String, else
            /// without User Properties too (\[MQTT-3.4.2-2\], \[MQTT-3.4.2-3\] and their like); `None` where even that
            /// is too large.
            pub fn fitted(self, version: ProtocolVersion, packet_bytes_max: u32) -> Option<$packet<'a>> {
                [self, $packet { reason_string: None, ..self }, self.without_diagnostics()]
                    .into_iter()
                    .find(|packet| packet.encoded_len(version) <= packet_bytes_max as usize)
            }
        })*
    };
}

diagnostics!(Ack, Auth, Connack, Disconnect, Suback, Unsuback);

#[cfg(test)]
mod tests {
    use super::super::testing::{V5, V311, assert_both_ways, assert_refused, framed, whole};
    use super::*;
    use crate::mqtt::{PacketId, ReasonCode};

    /// Pings are two bytes, in both versions.
    #[test]
    fn pings() {
        for version in [V311, V5] {
            assert_both_ways(&Packet::Pingreq, version, &[0xc0, 0]);
            assert_both_ways(&Packet::Pingresp, version, &[0xd0, 0]);
            assert_refused(0xc0, &[0], version, Malformed::TrailingBytes);
            assert_refused(0xd0, &[0], version, Malformed::TrailingBytes);
        }
    }

    /// A server takes no server's packet and no second CONNECT, whatever is in them.
    #[test]
    fn packets_that_clients_do_not_send() {
        for first in [0x10, 0x20, 0x90, 0xb0, 0xd0] {
            for version in [V311, V5] {
                for body in [&[][..], &[0xff; 20]] {
                    let bytes = framed(first, body);
                    let refused = decode_from_client(&whole(&bytes), version);
                    assert_eq!(refused, Err(Malformed::UnexpectedPacketType), "{first:#x}");
                }
            }
        }
        assert_eq!(Malformed::UnexpectedPacketType.reason(), ReasonCode::ProtocolError);
        for bytes in [&[0xc0, 0][..], &[0xe0, 0], &[0x40, 2, 0, 1], &[0x62, 2, 0, 1], &[0x30, 3, 0, 1, b'a']] {
            assert!(decode_from_client(&whole(bytes), V311).is_ok());
        }
    }

    /// A padded Remaining Length is taken in MQTT 3.1.1 and refused in 5.0.
    #[test]
    fn padded_lengths() {
        let padded = [0xc0, 0x80, 0x80, 0x00];
        assert_eq!(decode(&whole(&padded), V311), Ok(Packet::Pingreq));
        assert_eq!(decode(&whole(&padded), V5), Err(Malformed::OverlongInteger));
    }

    /// Whoever reads a packet with two faults finds the same one: a padded length comes first.
    #[test]
    fn padded_and_truncated() {
        let publish = [0x30, 0x81, 0x00, 0x00];
        for decoded in [decode(&whole(&publish), V5), decode_from_client(&whole(&publish), V5)] {
            assert_eq!(decoded, Err(Malformed::OverlongInteger));
        }
        assert_eq!(decode(&whole(&publish), V311), Err(Malformed::Truncated));
    }

    /// What does not fit is left out: the reason string first, then the user properties, and then the packet is not
    /// sent.
    #[test]
    fn fitting() {
        let ack = Ack {
            reason_string: Some("reason"),
            user_properties: UserProperties::from_pairs(&[("k", "v")]),
            ..Ack::new(PacketId::MIN, ReasonCode::QuotaExceeded)
        };
        let whole = ack.encoded_len(V5) as u32;
        assert_eq!(whole, 2 + 3 + 1 + 9 + 7);
        assert_eq!(ack.fitted(V5, whole), Some(ack));
        let without_string = Ack { reason_string: None, ..ack };
        assert_eq!(ack.fitted(V5, whole - 1), Some(without_string));
        assert_eq!(ack.fitted(V5, 13), Some(without_string));
        assert_eq!(ack.fitted(V5, 12), Some(ack.without_diagnostics()));
        assert_eq!(ack.fitted(V5, 5), Some(ack.without_diagnostics()));
        assert_eq!(ack.fitted(V5, 4), None);
        assert_eq!(ack.fitted(V311, 4), Some(ack));
    }

    /// The two bytes of a packet's header grow with it.
    #[test]
    fn long_packets() {
        let payload = [0; 20_000];
        let publish = Publish {
            dup: false,
            qos: Default::default(),
            retain: false,
            topic: "t",
            packet_id: None,
            properties: Default::default(),
            payload: &payload,
        };
        let mut bytes = Vec::new();
        publish.encode(V5, &mut bytes);
        assert_eq!(bytes.len(), publish.encoded_len(V5));
        assert_eq!(bytes[..4], [0x30, 0xa4, 0x9c, 0x01]);
        assert_eq!(decode(&whole(&bytes), V5), Ok(Packet::Publish(publish)));
    }
}
