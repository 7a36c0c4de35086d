//! What must hold for any bytes whatever. The property tests, the fuzz targets and the replay of their corpora run
//! these same functions.
//!
//! | law | says |
//! |---|---|
//! | [`stream`] | any split and any limit give the packets that a plain reading of section 2.1 finds |
//! | [`packet`] | what is accepted is what [`standard`] allows, and decoding, encoding, decoding changes nothing |
//! | [`forwarded`] | an accepted message reaches a subscriber of either version as it was, by way of a frame |
//! | [`topics`] | names and filters are those of section 4.7, and matching and overlap those of its models |
//! | [`websocket`] | any split of a client's frames gives the payload and the events of a plain reading of RFC 6455 |
//! | [`handshake`] | any bytes are a request, the front of one, or refused with an answer |
//! | [`frame`], [`written_frame`] | a frame that is read is the one that was written, at any address |

mod forward;
mod frames;
mod framing;
mod standard;
mod topics;
mod websocket;

use wire::mqtt::{
    Deframed, Packet, ProtocolVersion, RawPacket, decode, decode_connect, decode_from_client, decode_publish, deframe,
};
use wire::{Malformed, limits};

pub use forward::forwarded;
pub use frames::{frame, written_frame};
pub use framing::stream;
pub use topics::topics;
pub use websocket::{handshake, websocket};

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];

/// [`packet`] for a body whose Remaining Length has its shortest form.
pub fn body(first: u8, body: &[u8]) {
    // A buffer of its own, so that a sanitizer sees a read beyond its end.
    let body: Box<[u8]> = body.into();
    packet(&RawPacket { first, body: &body, len: 1 + length_bytes(body.len()) + body.len() });
}

/// No decoder panics on this packet, and all of them agree; what is accepted is what the standard allows, and encodes
/// to bytes that decode to the same.
pub fn packet(raw: &RawPacket<'_>) {
    let connect = decode_connect(raw);
    for version in VERSIONS {
        let decoded = decode(raw, version);
        let padded = raw.len - raw.body.len() > 1 + length_bytes(raw.body.len());
        match decoded {
            // Ours alone, and no fault of the grammar's.
            Err(Malformed::TooManyProperties | Malformed::PropertiesTooLong) => {}
            _ => {
                let allowed = standard::allows(raw.first, raw.body, padded, version);
                assert_eq!(decoded.is_ok(), allowed, "{version:?} {:#04x} {:02x?}: {decoded:?}", raw.first, raw.body);
            }
        }
        match decode_from_client(raw, version) {
            Ok(packet) => assert_eq!(decoded, Ok(packet)),
            Err(Malformed::UnexpectedPacketType) => assert!(standard::not_from_client(raw.first)),
            Err(Malformed::SubscriptionIdentifierFromClient) => assert_eq!(raw.first >> 4, 3),
            Err(error) => assert_eq!(decoded, Err(error)),
        }
        match decoded {
            Ok(packet) => accepted(&packet, version),
            Err(error) => assert!(!error.to_string().is_empty() && error.reason().is_error()),
        }
        if raw.first == 0x10 {
            assert_eq!(decoded, connect.map(Packet::Connect));
        }
        if let Ok(publish) = decode_publish(raw, version) {
            assert_eq!(decoded, Ok(Packet::Publish(publish)));
            assert_eq!(publish.properties.subscription_identifiers().count(), 0);
            forwarded(&publish, version);
        }
    }
}

fn accepted(packet: &Packet<'_>, version: ProtocolVersion) {
    let bytes = encoded(packet, version);
    let again = whole(&bytes);
    assert_eq!(decode(&again, version).as_ref(), Ok(packet));
    // What we write is already as we write it.
    assert_eq!(encoded(&decode(&again, version).expect("it was decoded"), version), bytes);
    fitted(packet, version, bytes.len() as u32);
}

/// A packet that may explain itself is brief enough for any limit, or is not sent.
fn fitted(packet: &Packet<'_>, version: ProtocolVersion, len: u32) {
    for limit in [0, 2, 4, 5, len / 2, len.saturating_sub(1), len] {
        let brief = match *packet {
            Packet::Connack(packet) => packet.fitted(version, limit).map(Packet::Connack),
            Packet::Puback(packet) => packet.fitted(version, limit).map(Packet::Puback),
            Packet::Suback(packet) => packet.fitted(version, limit).map(Packet::Suback),
            Packet::Unsuback(packet) => packet.fitted(version, limit).map(Packet::Unsuback),
            Packet::Disconnect(packet) => packet.fitted(version, limit).map(Packet::Disconnect),
            Packet::Auth(packet) => packet.fitted(version, limit).map(Packet::Auth),
            _ => return,
        };
        assert!(limit < len || brief == Some(*packet));
        if let Some(brief) = brief {
            let bytes = encoded(&brief, version);
            assert!(bytes.len() <= limit as usize);
            assert_eq!(decode(&whole(&bytes), version), Ok(brief));
        }
    }
}

/// The packet's bytes, as many as it announces.
fn encoded(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    assert_eq!(bytes.len(), packet.encoded_len(version), "{packet:?}");
    bytes
}

/// The one packet that these bytes are.
fn whole(bytes: &[u8]) -> RawPacket<'_> {
    match deframe(bytes, limits::PACKET_BYTES_MAX) {
        Ok(Deframed::Packet(raw)) if raw.len == bytes.len() => raw,
        other => panic!("{bytes:02x?} is {other:?}"),
    }
}

/// How many bytes a Remaining Length takes.
fn length_bytes(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}
