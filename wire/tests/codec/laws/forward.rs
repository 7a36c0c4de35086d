//! A message on its way through the switch: what a subscriber gets is what the publisher sent.

use wire::frame::{Frame, FrameHeader};
use wire::limits;
use wire::mqtt::{Packet, ProtocolVersion, Publish, PublishImage, PublishProperties, QoS, decode};

use super::{VERSIONS, whole};

/// A message that was accepted reaches a subscriber of either version as it was, by way of a frame, with the
/// subscriber's own topic alias and subscription identifiers and nothing of the publisher's.
pub fn forwarded(publish: &Publish<'_>, version: ProtocolVersion) {
    let properties: Vec<u8> = publish.properties.forwardable().flatten().copied().collect();
    assert_eq!(properties.len(), publish.properties.forwardable_len());
    let parsed = PublishProperties::parse(&properties).expect("what is forwarded is valid");
    assert_eq!((parsed.topic_alias, parsed.message_expiry_interval), (None, None));
    assert_eq!(parsed.forwardable_len(), properties.len());
    same_message(&parsed, &publish.properties);

    let frame = framed(publish, &properties);
    let frame = Frame::read(&frame).expect("what was written is a frame");
    assert_eq!((frame.topic, frame.payload), (publish.topic, publish.payload));
    assert_eq!(frame.properties, properties);

    // A topic that only an alias names here is another's to resolve.
    let topic = if publish.topic.is_empty() { "t" } else { publish.topic };
    for to in VERSIONS {
        for (topic, topic_alias) in [(topic, None), (topic, Some(1)), ("", Some(u16::MAX))] {
            if to == ProtocolVersion::V5 || topic_alias.is_none() {
                let image = PublishImage {
                    version: to,
                    dup: publish.dup,
                    qos: publish.qos,
                    retain: publish.retain,
                    topic,
                    packet_id: publish.packet_id.map_or(0, u16::from),
                    topic_alias,
                    message_expiry: publish.properties.message_expiry_interval,
                    properties: frame.properties,
                    subscription_identifiers: &[1, limits::VARINT_MAX],
                    payload: frame.payload,
                };
                delivered(&image, publish, version);
            }
        }
    }
}

/// The frame that this message travels in.
fn framed(publish: &Publish<'_>, properties: &[u8]) -> Vec<u8> {
    let header =
        FrameHeader { payload_len: publish.payload.len() as u32, qos: publish.qos as u8, ..Default::default() };
    let mut frame = vec![0; Frame::bytes_len(publish.topic.len(), properties.len(), publish.payload.len())];
    let written = Frame::write(&header, publish.topic, publish.properties.forwardable(), publish.payload, &mut frame);
    assert_eq!(written, frame.len());
    frame
}

/// The image decodes to the message that `publish` was, in the `version` that it came in.
fn delivered(image: &PublishImage<'_>, publish: &Publish<'_>, version: ProtocolVersion) {
    let mut out = vec![0; image.encoded_len()];
    let offsets = image.encode(&mut out);
    let Ok(Packet::Publish(received)) = decode(&whole(&out), image.version) else { panic!("{image:?}") };
    assert_eq!((received.dup, received.qos, received.retain), (publish.dup, publish.qos, publish.retain));
    assert_eq!((received.topic, received.payload), (image.topic, publish.payload));
    assert_eq!(received.packet_id, publish.packet_id);
    assert_eq!(offsets.packet_id.is_some(), publish.qos != QoS::AtMostOnce);
    if let (Some(at), Some(id)) = (offsets.packet_id, publish.packet_id) {
        assert_eq!(out[at as usize..][..2], id.get().to_be_bytes());
    }
    assert_eq!(received.properties.topic_alias, image.topic_alias);
    if image.version == ProtocolVersion::V311 {
        return assert_eq!(received.properties, PublishProperties::default());
    }
    assert!(received.properties.subscription_identifiers().eq([1, limits::VARINT_MAX]));
    assert!(received.properties.forwardable().flatten().eq(image.properties));
    if version == ProtocolVersion::V5 {
        assert_eq!(received.properties.message_expiry_interval, publish.properties.message_expiry_interval);
        same_message(&received.properties, &publish.properties);
    }
    if let (Some(at), Some(seconds)) = (offsets.message_expiry, image.message_expiry) {
        assert_eq!(out[at as usize..][..4], seconds.to_be_bytes());
    }
}

/// What publishers tell subscribers in properties.
fn same_message(one: &PublishProperties<'_>, other: &PublishProperties<'_>) {
    assert_eq!(one.payload_format_indicator(), other.payload_format_indicator());
    assert_eq!(one.content_type(), other.content_type());
    assert_eq!(one.response_topic(), other.response_topic());
    assert_eq!(one.correlation_data(), other.correlation_data());
    assert_eq!(one.user_properties(), other.user_properties());
}
