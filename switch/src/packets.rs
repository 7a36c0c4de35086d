//! Packets that the switch writes, besides PUBLISH.

use wire::mqtt::{Ack, AckKind, Disconnect, PacketId, ProtocolVersion, QoS, ReasonCode, Suback, Unsuback};

/// PUBACK.
pub fn puback(version: ProtocolVersion, packet_id: PacketId, reason: ReasonCode, out: &mut Vec<u8>) {
    Ack::new(packet_id, reason).encode(AckKind::Puback, version, out);
}

/// PUBREC.
pub fn pubrec(version: ProtocolVersion, packet_id: PacketId, reason: ReasonCode, out: &mut Vec<u8>) {
    Ack::new(packet_id, reason).encode(AckKind::Pubrec, version, out);
}

/// PUBREL with reason 0.
pub fn pubrel(version: ProtocolVersion, packet_id: PacketId, out: &mut Vec<u8>) {
    Ack::new(packet_id, ReasonCode::Success).encode(AckKind::Pubrel, version, out);
}

/// PUBREL for an identifier that is not known.
pub fn pubrel_unknown(version: ProtocolVersion, packet_id: PacketId, out: &mut Vec<u8>) {
    Ack::new(packet_id, ReasonCode::PacketIdentifierNotFound).encode(AckKind::Pubrel, version, out);
}

/// PUBCOMP.
pub fn pubcomp(version: ProtocolVersion, packet_id: PacketId, reason: ReasonCode, out: &mut Vec<u8>) {
    Ack::new(packet_id, reason).encode(AckKind::Pubcomp, version, out);
}

/// SUBACK.
pub fn suback(version: ProtocolVersion, packet_id: PacketId, codes: &[ReasonCode], out: &mut Vec<u8>) {
    Suback::new(packet_id, codes).encode(version, out);
}

/// Bytes of a SUBACK of v5.
pub fn suback_len(codes: &[ReasonCode]) -> usize {
    Suback::new(PacketId::MIN, codes).encoded_len(ProtocolVersion::V5)
}

/// UNSUBACK; 3.1.1 has no codes in it.
pub fn unsuback(version: ProtocolVersion, packet_id: PacketId, codes: &[ReasonCode], out: &mut Vec<u8>) {
    let codes = if version == ProtocolVersion::V5 { codes } else { &[] };
    Unsuback::new(packet_id, codes).encode(version, out);
}

/// Bytes of an UNSUBACK of v5.
pub fn unsuback_len(codes: &[ReasonCode]) -> usize {
    Unsuback::new(PacketId::MIN, codes).encoded_len(ProtocolVersion::V5)
}

/// PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// DISCONNECT from the server; v5 only ([MQTT-3.14.2-2]: no Session Expiry Interval).
pub fn disconnect(reason: ReasonCode, out: &mut Vec<u8>) {
    Disconnect::new(reason).encode(ProtocolVersion::V5, out);
}

/// The SUBACK code for a granted QoS.
pub fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::GrantedQos0,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
