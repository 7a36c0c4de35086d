//! What the tests of this folder share: a packet, its bytes, and that they are the same thing.

use alloc::vec::Vec;

use super::{Deframed, Packet, ProtocolVersion, RawPacket, decode, deframe};
use crate::error::Malformed;
use crate::limits::PACKET_BYTES_MAX;

pub(crate) use super::ProtocolVersion::{V5, V311};

/// The one packet that `bytes` are.
pub(crate) fn whole(bytes: &[u8]) -> RawPacket<'_> {
    match deframe(bytes, PACKET_BYTES_MAX) {
        Ok(Deframed::Packet(raw)) if raw.len == bytes.len() => raw,
        other => panic!("not one packet: {other:?}"),
    }
}

/// The bytes of a packet with this first byte and body.
pub(crate) fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    let mut bytes = Vec::from([first, body.len() as u8]);
    bytes.extend_from_slice(body);
    bytes
}

/// Asserts that the packet encodes to these bytes, is as long as it says, and decodes from them; and that no part of
/// the bytes decodes to the same packet.
pub(crate) fn assert_both_ways(packet: &Packet<'_>, version: ProtocolVersion, bytes: &[u8]) {
    let mut encoded = Vec::new();
    packet.encode(version, &mut encoded);
    assert_eq!(encoded, bytes, "{packet:?}");
    assert_eq!(packet.encoded_len(version), bytes.len());
    assert_eq!(decode(&whole(bytes), version).as_ref(), Ok(packet));
    for cut in 2..bytes.len() {
        let body = Vec::from(&bytes[2..cut]).into_boxed_slice();
        let raw = RawPacket { first: bytes[0], body: &body, len: cut };
        assert_ne!(decode(&raw, version).as_ref(), Ok(packet), "cut at {cut}");
    }
}

/// Asserts that a packet with this first byte and body is refused for this reason.
pub(crate) fn assert_refused(first: u8, body: &[u8], version: ProtocolVersion, error: Malformed) {
    assert_eq!(decode(&whole(&framed(first, body)), version), Err(error), "{body:x?}");
}
