//! Properties of the codec that hold for packets and bytes by chance.

mod laws;
mod strategy;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use wire::limits::PACKET_BYTES_MAX;
use wire::mqtt::{Deframed, Packet, ProtocolVersion, RawPacket, decode, deframe};

fn encoded(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

fn version_and_packets(
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = (ProtocolVersion, Vec<Packet<'static>>)> {
    strategy::version().prop_flat_map(move |version| (Just(version), vec(strategy::packet(version), count.clone())))
}

/// One frame of a client: mostly a good one, its payload masked.
fn client_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(0x82u8), 2 => Just(0x02), 2 => Just(0x80), 1 => Just(0x00), 2 => Just(0x89), 1 => Just(0x8a),
        1 => Just(0x88), 1 => any::<u8>(),
    ];
    let payload = prop_oneof![4 => vec(any::<u8>(), 0..140), 1 => vec(any::<u8>(), 60_000..70_000)];
    (first, any::<[u8; 4]>(), payload).prop_map(|(first, key, payload)| {
        let header = wire::websocket::FrameHeader::new(wire::websocket::Opcode::Binary, payload.len());
        let mut frame = header.bytes().to_vec();
        (frame[0], frame[1]) = (first, frame[1] | 0x80);
        frame.extend_from_slice(&key);
        frame.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
        frame
    })
}

proptest! {
    /// However the frames of a client are split, and wherever the decoder goes in between, the stream is the same.
    #[test]
    fn frames_may_be_split(frames in vec(client_frame(), 0..8), cuts in vec(1u8.., 0..4)) {
        laws::websocket(&frames.concat(), &cuts);
    }

    /// A handshake that comes in two pieces is judged like one that comes whole, whatever else stands in it.
    #[test]
    fn handshakes_may_be_split(header in "[ -~]{0,40}", value in "[ -~\\r\\n]{0,40}", cut in any::<u8>()) {
        let head = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
        laws::handshake(format!("{head}Sec-WebSocket-Protocol: mqtt\r\n{header}: {value}\r\n\r\n").as_bytes(), cut);
        laws::handshake(format!("{head}{header}: {value}\r\n\r\n").as_bytes(), cut);
    }

    /// What is encoded decodes to the same packet, and is as long as announced.
    #[test]
    fn packets_survive_the_wire((version, packets) in version_and_packets(1..2)) {
        let bytes = encoded(&packets[0], version);
        prop_assert_eq!(bytes.len(), packets[0].encoded_len(version));
        let Ok(Deframed::Packet(raw)) = deframe(&bytes, PACKET_BYTES_MAX) else { panic!("no packet") };
        prop_assert_eq!(raw.len, bytes.len());
        prop_assert_eq!(decode(&raw, version), Ok(packets[0]));
        laws::body(raw.first, raw.body);
    }

    /// However a stream is split, the same packets come out, and nobody waits for bytes that do not come.
    #[test]
    fn splits_do_not_matter(
        (version, packets) in version_and_packets(1..6),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let stream: Vec<u8> = packets.iter().flat_map(|packet| encoded(packet, version)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).chain([stream.len()]).collect();
        cuts.sort_unstable();
        let mut received = 0;
        let mut seen = Vec::new();
        for arrived in cuts {
            while let Deframed::Packet(raw) = deframe(&stream[received..arrived], PACKET_BYTES_MAX).unwrap() {
                received += raw.len;
                seen.push(decode(&stream_packet(&stream, received, raw.len), version).unwrap());
            }
        }
        prop_assert_eq!(seen, packets);
        prop_assert_eq!(received, stream.len());
    }

    /// Every cut of a valid packet is refused or is another packet, and no decoder panics on it.
    #[test]
    fn truncations_do_not_panic((version, packets) in version_and_packets(1..2)) {
        let bytes = encoded(&packets[0], version);
        let Ok(Deframed::Packet(raw)) = deframe(&bytes, PACKET_BYTES_MAX) else { panic!("no packet") };
        // The field boundaries are near the ends; what is long is one string or payload.
        let cuts = (0..raw.body.len().min(300)).chain(raw.body.len().saturating_sub(100)..raw.body.len());
        for cut in cuts {
            laws::body(raw.first, &raw.body[..cut]);
        }
    }

    /// A valid packet with some bytes changed is refused or is another packet.
    #[test]
    fn mutations_do_not_panic(
        (version, packets) in version_and_packets(1..2),
        changes in vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encoded(&packets[0], version);
        for (at, value) in changes {
            let at = at.index(bytes.len().min(500));
            bytes[at] = value;
        }
        laws::stream(&bytes, &[7, 1], 1 << 20);
        laws::body(bytes[0], &bytes[2..]);
    }

    /// Bytes by chance do not panic, as a stream or as the body of each packet.
    #[test]
    fn noise_does_not_panic(
        first in any::<u8>(),
        bytes in vec(any::<u8>(), 0..200),
        cuts in vec(1..9u8, 0..5),
        limit in 0..300u32,
    ) {
        laws::stream(&bytes, &cuts, limit);
        laws::stream(&[&[first], &bytes[..]].concat(), &cuts, limit);
        laws::body(first, &bytes);
    }

    /// Matching agrees with its model and with overlap, whatever the filters.
    #[test]
    fn matching_agrees_with_its_model(one in strategy::filter(), other in strategy::filter(), name in strategy::topic()) {
        laws::topics(one, other);
        laws::topics(one, name);
        laws::topics(name, other);
    }

    /// A frame reads as it was written, whatever its header, parts and address.
    #[test]
    fn frames_survive(
        header in any::<[u8; 28]>(),
        topic in strategy::topic(),
        properties in vec(any::<u8>(), 0..20),
        payload in vec(any::<u8>(), 0..20),
    ) {
        let header = std::array::from_fn(|index| header[index / 2]);
        laws::written_frame(header, topic, &properties, &payload);
    }

    /// Bytes by chance are no frame that would not be written so.
    #[test]
    fn frames_are_canonical(mut bytes in vec(any::<u8>(), 60..120), topic in 0..20u8, properties in 0..20u8) {
        laws::frame(&bytes);
        // Lengths, QoS, flags and version that make a frame of most of them.
        if bytes.len() >= 64 {
            bytes[48..60].fill(0);
            bytes[48] = topic;
            bytes[52] = properties;
            bytes[56] = (bytes.len() - 64).saturating_sub(usize::from(topic + properties)) as u8;
            bytes[60] %= 3;
            bytes[61] %= 4;
            bytes[63] = 1;
            bytes[64..].iter_mut().for_each(|byte| *byte &= 0x7f);
            laws::frame(&bytes);
        }
    }
}

/// The packet of `len` bytes that ends at `end`, found again in the whole stream.
fn stream_packet(stream: &[u8], end: usize, len: usize) -> RawPacket<'_> {
    match deframe(&stream[end - len..], PACKET_BYTES_MAX) {
        Ok(Deframed::Packet(raw)) => raw,
        other => panic!("not a packet: {other:?}"),
    }
}
