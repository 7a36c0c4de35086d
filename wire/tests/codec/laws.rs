//! What must hold for any bytes whatever. The property tests and the fuzz targets run these same functions.

use wire::frame::{Frame, FrameHeader};
use wire::mqtt::topic::{self, TopicFilter, TopicName};
use wire::mqtt::{
    Deframed, Packet, ProtocolVersion, Publish, PublishImage, PublishProperties, QoS, RawPacket, decode,
    decode_connect, decode_from_client, decode_publish, deframe, deframe_connect,
};
use wire::{Malformed, limits};

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];

/// A stream yields packets until it is wrong or at its end, however it was cut; each of them keeps [`packet`]'s laws.
pub fn stream(bytes: &[u8], packet_bytes_max: u32) {
    let mut rest = bytes;
    while let Ok(Deframed::Packet(raw)) = deframe(rest, packet_bytes_max) {
        assert!(raw.len >= 2 && raw.len <= packet_bytes_max as usize);
        for cut in [0, 1, 2, 3, 4, 5, raw.len / 2, raw.len - 1] {
            prefix(rest, cut.min(raw.len - 1), packet_bytes_max);
        }
        packet(raw.first, raw.body);
        rest = &rest[raw.len..];
    }
    for cut in 0..rest.len().min(6) {
        prefix(rest, cut, packet_bytes_max);
    }
    if let Ok(Deframed::Packet(raw)) = deframe_connect(bytes, packet_bytes_max) {
        assert_eq!(deframe(bytes, packet_bytes_max), Ok(Deframed::Packet(raw)));
    }
}

/// What the first `cut` bytes tell is not taken back by the rest.
fn prefix(bytes: &[u8], cut: usize, packet_bytes_max: u32) {
    let whole = deframe(bytes, packet_bytes_max);
    let exact: Box<[u8]> = bytes[..cut].into();
    match deframe(&exact, packet_bytes_max) {
        Ok(Deframed::Packet(raw)) => assert_eq!(whole, Ok(Deframed::Packet(raw))),
        Err(error) => assert_eq!(whole, Err(error)),
        Ok(Deframed::Incomplete { at_least }) => {
            assert!(at_least > cut);
            match whole {
                Ok(Deframed::Packet(raw)) => assert!(raw.len >= at_least),
                Ok(Deframed::Incomplete { at_least: later }) => assert!(later >= at_least),
                Err(_) => {}
            }
        }
    }
}

/// No decoder panics on this packet; what one accepts encodes to bytes that decode to the same.
pub fn packet(first: u8, body: &[u8]) {
    // A buffer of its own, so that a sanitizer sees a read beyond its end.
    let body: Box<[u8]> = body.into();
    let raw = RawPacket { first, body: &body, len: 1 + length_bytes(body.len()) + body.len() };
    let _ = decode_connect(&raw);
    for version in VERSIONS {
        let decoded = decode(&raw, version);
        match decode_from_client(&raw, version) {
            Ok(packet) => assert_eq!(decoded, Ok(packet)),
            Err(Malformed::UnexpectedPacketType | Malformed::SubscriptionIdentifierFromClient) => {}
            Err(error) => assert_eq!(decoded, Err(error)),
        }
        match decoded {
            Ok(packet) => accepted(&packet, version),
            Err(error) => assert!(!error.to_string().is_empty() && error.reason().is_error()),
        }
        if let Ok(publish) = decode_publish(&raw, version) {
            assert_eq!(decode(&raw, version), Ok(Packet::Publish(publish)));
            forwarded(&publish, version);
        }
    }
}

fn accepted(packet: &Packet<'_>, version: ProtocolVersion) {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    assert_eq!(bytes.len(), packet.encoded_len(version), "{packet:?}");
    let Ok(Deframed::Packet(again)) = deframe(&bytes, limits::PACKET_BYTES_MAX) else { panic!("{packet:?}") };
    assert_eq!(again.len, bytes.len());
    assert_eq!(decode(&again, version).as_ref(), Ok(packet));
}

/// A message that was accepted reaches a subscriber of either version as it was, by way of a frame.
fn forwarded(publish: &Publish<'_>, version: ProtocolVersion) {
    let properties: Vec<u8> = publish.properties.forwardable().flatten().copied().collect();
    assert_eq!(properties.len(), publish.properties.forwardable_len());
    let parsed = PublishProperties::parse(&properties).expect("what is forwarded is valid");
    assert_eq!((parsed.topic_alias, parsed.message_expiry_interval), (None, None));
    assert_eq!(parsed.forwardable_len(), properties.len());

    let header =
        FrameHeader { payload_len: publish.payload.len() as u32, qos: publish.qos as u8, ..Default::default() };
    let mut frame = vec![0; Frame::bytes_len(publish.topic.len(), properties.len(), publish.payload.len())];
    let written = Frame::write(&header, publish.topic, publish.properties.forwardable(), publish.payload, &mut frame);
    assert_eq!(written, frame.len());
    let frame = Frame::read(&frame).expect("what was written is a frame");
    assert_eq!((frame.topic, frame.payload), (publish.topic, publish.payload));
    assert_eq!(frame.properties, properties);

    // A topic that only an alias names here is another's to resolve.
    let topic = if publish.topic.is_empty() { "t" } else { publish.topic };
    for to in VERSIONS {
        let image = PublishImage {
            version: to,
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic,
            packet_id: publish.packet_id.map_or(0, u16::from),
            topic_alias: None,
            message_expiry: publish.properties.message_expiry_interval,
            properties: frame.properties,
            subscription_identifiers: &[1, limits::VARINT_MAX],
            payload: frame.payload,
        };
        let mut out = vec![0; image.encoded_len()];
        let offsets = image.encode(&mut out);
        let Ok(Deframed::Packet(raw)) = deframe(&out, limits::PACKET_BYTES_MAX) else { panic!("{image:?}") };
        assert_eq!(raw.len, out.len());
        let Ok(Packet::Publish(received)) = decode(&raw, to) else { panic!("{image:?}") };
        assert_eq!((received.dup, received.qos, received.retain), (publish.dup, publish.qos, publish.retain));
        assert_eq!((received.topic, received.payload), (topic, publish.payload));
        assert_eq!(received.packet_id, publish.packet_id);
        assert_eq!(offsets.packet_id.is_some(), publish.qos != QoS::AtMostOnce);
        if let (Some(at), Some(id)) = (offsets.packet_id, publish.packet_id) {
            assert_eq!(out[at as usize..][..2], id.get().to_be_bytes());
        }
        if to == ProtocolVersion::V311 {
            continue;
        }
        assert!(received.properties.subscription_identifiers().eq([1, limits::VARINT_MAX]));
        assert!(received.properties.forwardable().flatten().eq(&properties));
        if version == ProtocolVersion::V5 {
            assert_eq!(received.properties.message_expiry_interval, publish.properties.message_expiry_interval);
            assert_eq!(received.properties.user_properties(), publish.properties.user_properties());
        }
        if let (Some(at), Some(seconds)) = (offsets.message_expiry, image.message_expiry) {
            assert_eq!(out[at as usize..][..4], seconds.to_be_bytes());
        }
    }
}

/// Filters and names: what parses is matched without a panic, and matching agrees with a model and with overlap.
pub fn topics(one: &str, other: &str) {
    let (Ok(filter), Ok(second)) = (TopicFilter::parse(one, 64), TopicFilter::parse(other, 64)) else {
        return;
    };
    assert_eq!(filter.levels().count(), topic::level_count(filter.filter()));
    assert_eq!(filter.has_wildcard(), filter.filter().contains(['+', '#']));
    let share = filter.group().map(|group| format!("$share/{group}/{}", filter.filter()));
    assert_eq!(share.as_deref().unwrap_or(filter.filter()), one);

    let (a, b) = (filter.filter(), second.filter());
    assert_eq!(topic::overlap(a, b), topic::overlap(b, a));
    if let Ok(name) = TopicName::parse(b) {
        assert_eq!(topic::matches(a, name.as_str()), model(a, name.as_str()), "{a} {b}");
        // A name is a filter that matches itself alone.
        assert_eq!(topic::matches(a, b), topic::overlap(a, b), "{a} {b}");
    }
}

/// Matching as section 4.7 tells it, level by level from the front.
fn model(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([wanted, filter @ ..], [level, topic @ ..]) => wanted == level && levels(filter, topic),
            _ => false,
        }
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    !(topic[0].starts_with('$') && matches!(filter[0], "+" | "#")) && levels(&filter, &topic)
}

/// Bytes that read as a frame are what writing that frame gives.
pub fn frame(bytes: &[u8]) {
    let exact: Box<[u8]> = bytes.into();
    if let Ok(frame) = Frame::read(&exact) {
        let mut written = vec![0; exact.len()];
        let properties = std::iter::once(frame.properties);
        let len = Frame::write(&frame.header, frame.topic, properties, frame.payload, &mut written);
        assert_eq!(written[..len], exact[..]);
    }
    if let Ok(frame) = Frame::read_external(&exact, b"beside") {
        assert_eq!(frame.payload, b"beside");
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
