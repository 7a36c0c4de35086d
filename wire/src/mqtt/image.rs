//! A PUBLISH on its way out, made of the parts of a message that all subscribers share and of the few that differ.

use super::property::{Property, write_some};
use super::publish::first_byte;
use super::{ProtocolVersion, QoS, varint};
use crate::limits::VARINT_MAX;
use crate::writer::{Filler, Sink};

/// A PUBLISH to be encoded, assembled from the parts that a message is kept in.
#[derive(Clone, Copy, Debug)]
pub struct PublishImage<'a> {
    /// What the receiver speaks; MQTT 3.1.1 has none of the properties.
    pub version: ProtocolVersion,
    /// Whether it may have been sent before; false at QoS 0 \[MQTT-3.3.1-2\].
    pub dup: bool,
    /// How surely it is delivered.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic name; empty only with an alias that the receiver knows.
    pub topic: &'a str,
    /// Not 0 at QoS 1 and 2; ignored at QoS 0.
    pub packet_id: u16,
    /// Not 0.
    pub topic_alias: Option<u16>,
    /// Seconds that are left.
    pub message_expiry: Option<u32>,
    /// Checked property bytes that are passed on as they are:
    /// [`PublishProperties::forwardable`](super::PublishProperties::forwardable).
    pub properties: &'a [u8],
    /// Of the subscriptions that this delivery is for; none is 0.
    pub subscription_identifiers: &'a [u32],
    /// The message itself.
    pub payload: &'a [u8],
}

/// Where the fields of an encoded PUBLISH are that may be patched, in bytes from its first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOffsets {
    /// The packet identifier, two bytes, big-endian.
    pub packet_id: Option<u32>,
    /// The Message Expiry Interval's value, four bytes, big-endian.
    pub message_expiry: Option<u32>,
}

impl PublishImage<'_> {
    /// Bytes of the whole packet. Over [`PACKET_BYTES_MAX`](crate::limits::PACKET_BYTES_MAX), which adding properties
    /// to a message near that size can reach, it cannot be encoded.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        let remaining = self.remaining_len();
        // Only the value's own length matters to one that is too large.
        1 + varint::len(u32::try_from(remaining).unwrap_or(u32::MAX)) + remaining
    }

    /// Writes the packet into `out`, and tells where the fields are that may be patched.
    ///
    /// Panics where `out` is not exactly [`encoded_len`](Self::encoded_len) bytes long, or the packet cannot be
    /// encoded.
    #[inline]
    pub fn encode(&self, out: &mut [u8]) -> PublishOffsets {
        let mut offsets = PublishOffsets::default();
        let len = out.len();
        let mut sink = Filler::new(out);
        debug_assert!(!self.dup || self.qos != QoS::AtMostOnce);
        sink.u8(first_byte(self.dup, self.qos, self.retain));
        sink.varint(u32::try_from(self.remaining_len()).unwrap_or(u32::MAX));
        sink.string(self.topic);
        if self.qos != QoS::AtMostOnce {
            debug_assert_ne!(self.packet_id, 0);
            offsets.packet_id = Some(sink.at() as u32);
            sink.u16(self.packet_id);
        }
        if self.version == ProtocolVersion::V5 {
            // No longer than the packet, whose length was encoded.
            sink.varint(self.properties_len() as u32);
            write_some(self.topic_alias, Property::TopicAlias, &mut sink);
            if let Some(seconds) = self.message_expiry {
                offsets.message_expiry = Some(sink.at() as u32 + 1);
                Property::MessageExpiryInterval(seconds).write(&mut sink);
            }
            for &identifier in self.subscription_identifiers {
                Property::SubscriptionIdentifier(identifier).write(&mut sink);
            }
            sink.put(self.properties);
        }
        sink.put(self.payload);
        assert_eq!(sink.at(), len, "the buffer is as long as the packet");
        offsets
    }

    #[inline]
    fn remaining_len(&self) -> usize {
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = match self.version {
            ProtocolVersion::V311 => 0,
            ProtocolVersion::V5 => {
                let len = self.properties_len();
                varint::len(u32::try_from(len).unwrap_or(VARINT_MAX)) + len
            }
        };
        2 + self.topic.len() + packet_id + properties + self.payload.len()
    }

    #[inline]
    fn properties_len(&self) -> usize {
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry.is_some() { 5 } else { 0 };
        let identifiers: usize =
            self.subscription_identifiers.iter().map(|&identifier| 1 + varint::len(identifier)).sum();
        alias + expiry + identifiers + self.properties.len()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::super::decode_publish;
    use super::super::testing::{V5, V311, framed, whole};
    use super::*;

    const ID: u16 = 0x0102;

    fn image<'a>(version: ProtocolVersion, properties: &'a [u8]) -> PublishImage<'a> {
        PublishImage {
            version,
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t",
            packet_id: 0,
            topic_alias: None,
            message_expiry: None,
            properties,
            subscription_identifiers: &[],
            payload: b"p",
        }
    }

    fn encoded(image: &PublishImage<'_>) -> (Vec<u8>, PublishOffsets) {
        let mut out = vec![0xaa; image.encoded_len()];
        let offsets = image.encode(&mut out);
        (out, offsets)
    }

    /// An image has exactly the bytes that its length announces, properties in the order of the documentation.
    #[test]
    fn images() {
        assert_eq!(encoded(&image(V311, &[])).0, framed(0x30, b"\0\x01tp"));
        assert_eq!(encoded(&image(V5, &[])).0, framed(0x30, b"\0\x01t\0p"));
        let full = PublishImage {
            dup: true,
            qos: QoS::ExactlyOnce,
            retain: true,
            packet_id: ID,
            topic_alias: Some(3),
            message_expiry: Some(0x0405_0607),
            subscription_identifiers: &[1, 128],
            ..image(V5, &[0x01, 1])
        };
        let (bytes, offsets) = encoded(&full);
        let body = b"\0\x01t\x01\x02\x0f\x23\0\x03\x02\x04\x05\x06\x07\x0b\x01\x0b\x80\x01\x01\x01p";
        assert_eq!(bytes, framed(0x3d, body));
        assert_eq!(offsets, PublishOffsets { packet_id: Some(5), message_expiry: Some(12) });
        assert_eq!(bytes[5..7], [1, 2]);
        assert_eq!(bytes[12..16], [4, 5, 6, 7]);
        // MQTT 3.1.1 has none of it, whatever the message brings.
        let (bytes, offsets) = encoded(&PublishImage { version: V311, ..full });
        assert_eq!(bytes, framed(0x3d, b"\0\x01t\x01\x02p"));
        assert_eq!(offsets, PublishOffsets { packet_id: Some(5), message_expiry: None });
    }

    /// Lengths are right where a length field grows by a byte: the packet's and the properties'.
    #[test]
    fn images_at_length_boundaries() {
        for len in [124, 125, 126, 127, 128, 129, 16_379, 16_380, 16_381, 16_382, 16_383, 16_384] {
            let payload = vec![0; len];
            let pad = vec![b'a'; len];
            let mut properties = Vec::new();
            Property::CorrelationData(&pad).append_to(&mut properties);
            for (properties, payload) in [(&[][..], &payload[..]), (&properties, b"")] {
                let image = PublishImage { payload, ..image(V5, properties) };
                let (bytes, _) = encoded(&image);
                let publish = decode_publish(&whole(&bytes), V5).unwrap();
                assert_eq!((publish.topic, publish.payload), ("t", payload));
                assert_eq!(publish.properties.forwardable().flatten().count(), properties.len());
            }
        }
    }

    /// A buffer of another length is the caller's error.
    #[test]
    #[should_panic(expected = "the buffer is as long as the packet")]
    fn buffers_are_exact() {
        let image = image(V311, &[]);
        image.encode(&mut vec![0; image.encoded_len() + 1]);
    }
}
