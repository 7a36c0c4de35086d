//! PUBLISH: the packet that the switch exists for.
//!
//! What arrives is read in one pass by [`decode_publish`]. What leaves is a [`PublishImage`], made of the parts of a
//! message that all subscribers share and of the few that differ.

use alloc::vec::Vec;
use core::fmt;

use super::deframer::RawPacket;
use super::header::PacketType;
use super::packet::Body;
use super::property::{Checked, Properties, Property, PropertyId, UserProperties, WriteProperties, write_some};
use super::{PacketId, ProtocolVersion, QoS, utf8, varint};
use crate::error::Malformed;
use crate::limits::VARINT_MAX;
use crate::reader::Reader;
use crate::writer::{Filler, Sink};

/// A message as it is on the wire (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before.
    pub dup: bool,
    /// How surely it is delivered.
    pub qos: QoS,
    /// Whether it replaces the retained message of its topic, or is one.
    pub retain: bool,
    /// The topic name: UTF-8, without wildcards or U+0000. Empty only where a topic alias stands for it.
    pub topic: &'a str,
    /// Present at QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// None in MQTT 3.1.1.
    pub properties: PublishProperties<'a>,
    /// The message itself, which may be empty.
    pub payload: &'a [u8],
}

/// Reads a PUBLISH as a server takes it from a client: a Subscription Identifier is an error \[MQTT-3.3.4-6\].
///
/// The payload's format is not checked against the Payload Format Indicator.
#[inline]
pub fn decode_publish<'a>(raw: &RawPacket<'a>, version: ProtocolVersion) -> Result<Publish<'a>, Malformed> {
    let publish = read(raw, version)?;
    if publish.properties.subscription_identified {
        return Err(Malformed::SubscriptionIdentifierFromClient);
    }
    Ok(publish)
}

/// Reads a PUBLISH of either side.
#[inline]
pub(crate) fn read<'a>(raw: &RawPacket<'a>, version: ProtocolVersion) -> Result<Publish<'a>, Malformed> {
    if raw.packet_type()? != PacketType::Publish {
        return Err(Malformed::UnexpectedPacketType);
    }
    let qos = QoS::from_bits(raw.first >> 1 & 0b11).ok_or(Malformed::QosOutOfRange)?;
    let mut reader = Reader::new(raw.body);
    let topic = utf8::check_topic_name(reader.binary()?)?;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        _ => Some(PacketId::new(reader.u16()?).ok_or(Malformed::PacketIdZero)?),
    };
    let properties = match version {
        ProtocolVersion::V311 => PublishProperties::default(),
        ProtocolVersion::V5 => {
            raw.check_length_form()?;
            // Most messages have no property, which is one byte.
            match reader.rest() {
                [0, rest @ ..] => {
                    reader = Reader::new(rest);
                    PublishProperties::default()
                }
                _ => read_properties(&mut reader)?,
            }
        }
    };
    if topic.is_empty() && properties.topic_alias.is_none() {
        return Err(Malformed::EmptyTopicName);
    }
    Ok(Publish {
        dup: raw.first & 0b1000 != 0,
        qos,
        retain: raw.first & 0b0001 != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

#[inline(never)]
fn read_properties<'a>(reader: &mut Reader<'a>) -> Result<PublishProperties<'a>, Malformed> {
    let properties = Properties::open(reader)?.allow_repeated(PropertyId::SubscriptionIdentifier);
    PublishProperties::read(properties).map(|(properties, _)| properties)
}

impl Publish<'_> {
    /// Bytes of the whole packet. Over [`PACKET_BYTES_MAX`](crate::limits::PACKET_BYTES_MAX) it cannot be encoded.
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        self.packet_len(version)
    }

    /// Appends the packet to `out`. Panics where QoS 1 or 2 lacks a packet identifier, or the packet is larger than can
    /// be encoded.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        self.append_packet(first_byte(self.dup, self.qos, self.retain), version, out);
    }
}

impl Body for Publish<'_> {
    fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink) {
        sink.string(self.topic);
        if self.qos != QoS::AtMostOnce {
            sink.u16(self.packet_id.expect("QoS 1 and 2 have a packet identifier").get());
        }
        if version == ProtocolVersion::V5 {
            self.properties.write_with_length(sink);
        }
        sink.put(self.payload);
    }
}

/// The properties of a PUBLISH, or those of a will that it will become a PUBLISH with.
///
/// Two are fields, as each hop has its own: change them at will. The others stay bytes, checked.
#[derive(Clone, Copy, Default)]
pub struct PublishProperties<'a> {
    /// Stands for the topic name on this connection; not 0.
    pub topic_alias: Option<u16>,
    /// Seconds until nobody wants the message any more.
    pub message_expiry_interval: Option<u32>,
    /// All properties as they came, those that have fields included; checked.
    bytes: &'a [u8],
    /// How many of `bytes` are forwarded.
    forwardable_len: u32,
    /// Whether Subscription Identifiers are among them.
    subscription_identified: bool,
}

impl<'a> PublishProperties<'a> {
    /// Checks bytes of properties, as [`Property::append_to`] makes them, without a property length in front.
    pub fn parse(bytes: &'a [u8]) -> Result<PublishProperties<'a>, Malformed> {
        let properties = Properties::of(bytes)?.allow_repeated(PropertyId::SubscriptionIdentifier);
        PublishProperties::read(properties).map(|(properties, _)| properties)
    }

    /// Reads the properties of a will: what its PUBLISH will have, and the Will Delay Interval.
    pub(crate) fn read_will(reader: &mut Reader<'a>) -> Result<(PublishProperties<'a>, u32), Malformed> {
        PublishProperties::read_either(Properties::open(reader)?, true)
    }

    fn read(properties: Properties<'a>) -> Result<(PublishProperties<'a>, u32), Malformed> {
        PublishProperties::read_either(properties, false)
    }

    fn read_either(mut from: Properties<'a>, will: bool) -> Result<(PublishProperties<'a>, u32), Malformed> {
        let mut properties = PublishProperties { bytes: from.bytes(), ..PublishProperties::default() };
        let mut delay = 0;
        let mut remaining = from.remaining();
        while let Some(property) = from.next()? {
            let len = remaining - from.remaining();
            remaining -= len;
            match property {
                Property::MessageExpiryInterval(seconds) => properties.message_expiry_interval = Some(seconds),
                Property::TopicAlias(alias) if !will => properties.topic_alias = Some(alias),
                Property::SubscriptionIdentifier(_) if !will => properties.subscription_identified = true,
                Property::WillDelayInterval(seconds) if will => delay = seconds,
                Property::PayloadFormatIndicator(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::UserProperty(_) => properties.forwardable_len += len as u32,
                other => return Err(Malformed::PropertyNotAllowed(other.id())),
            }
        }
        Ok((properties, delay))
    }

    /// The bytes that every hop passes on unchanged, in order: all but Topic Alias, Message Expiry Interval, Subscription
    /// Identifier and Will Delay Interval. Neighbours come as one slice; no slice is empty.
    pub fn forwardable(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        // Most messages with properties have none that ends here, or none that goes on.
        let rest = if self.forwardable_len == 0 { &[] } else { self.bytes };
        Forwardable { rest, whole: self.forwardable_len() == rest.len() }
    }

    /// How many bytes [`forwardable`](Self::forwardable) yields.
    #[inline]
    pub const fn forwardable_len(&self) -> usize {
        self.forwardable_len as usize
    }

    /// Whether the payload is UTF-8 text (1) or unspecified (0, or absent).
    pub fn payload_format_indicator(&self) -> Option<bool> {
        self.find(|property| match property {
            Property::PayloadFormatIndicator(text) => Some(text),
            _ => None,
        })
    }

    /// What the payload is, in terms of the applications.
    pub fn content_type(&self) -> Option<&'a str> {
        self.find(|property| match property {
            Property::ContentType(content_type) => Some(content_type),
            _ => None,
        })
    }

    /// The topic name that an answer goes to.
    pub fn response_topic(&self) -> Option<&'a str> {
        self.find(|property| match property {
            Property::ResponseTopic(topic) => Some(topic),
            _ => None,
        })
    }

    /// What tells the asker which question an answer is for.
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.find(|property| match property {
            Property::CorrelationData(data) => Some(data),
            _ => None,
        })
    }

    /// The pairs of the applications.
    pub fn user_properties(&self) -> UserProperties<'a> {
        UserProperties::of_checked(self.bytes)
    }

    /// The identifiers of the subscriptions that this delivery is for.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        // Only a packet that has some is searched.
        let bytes = if self.subscription_identified { self.bytes } else { &[] };
        let mut properties = Checked::new(bytes);
        core::iter::from_fn(move || properties.next()).filter_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }

    fn find<T>(&self, pick: impl FnMut(Property<'a>) -> Option<T>) -> Option<T> {
        let mut properties = Checked::new(self.bytes);
        core::iter::from_fn(move || properties.next()).find_map(pick)
    }
}

impl WriteProperties for PublishProperties<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        write_some(self.topic_alias, Property::TopicAlias, sink);
        write_some(self.message_expiry_interval, Property::MessageExpiryInterval, sink);
        for identifier in self.subscription_identifiers() {
            Property::SubscriptionIdentifier(identifier).write(sink);
        }
        for bytes in self.forwardable() {
            sink.put(bytes);
        }
    }
}

impl PartialEq for PublishProperties<'_> {
    /// The same values, the order of what is forwarded included.
    fn eq(&self, other: &Self) -> bool {
        self.topic_alias == other.topic_alias
            && self.message_expiry_interval == other.message_expiry_interval
            && self.subscription_identifiers().eq(other.subscription_identifiers())
            && self.forwardable().flatten().eq(other.forwardable().flatten())
    }
}

impl Eq for PublishProperties<'_> {}

impl fmt::Debug for PublishProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut properties = Checked::new(self.bytes);
        f.debug_struct("PublishProperties")
            .field("topic_alias", &self.topic_alias)
            .field("message_expiry_interval", &self.message_expiry_interval)
            .finish_non_exhaustive()?;
        f.debug_list().entries(core::iter::from_fn(move || properties.next())).finish()
    }
}

/// Yields runs of neighbours that are forwarded.
#[derive(Clone)]
struct Forwardable<'a> {
    rest: &'a [u8],
    /// Whether all of `rest` is one run.
    whole: bool,
}

impl<'a> Iterator for Forwardable<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let run = if self.whole { core::mem::take(&mut self.rest) } else { self.next_run() };
        if run.is_empty() { None } else { Some(run) }
    }
}

impl<'a> Forwardable<'a> {
    /// Passes over what is not forwarded, and takes what is up to the next that is not.
    fn next_run(&mut self) -> &'a [u8] {
        let mut properties = Checked::new(self.rest);
        let (mut start, mut end) = (0, 0);
        while let Some((id, len)) = properties.next_extent() {
            let hop_by_hop = matches!(
                id,
                PropertyId::TopicAlias
                    | PropertyId::MessageExpiryInterval
                    | PropertyId::SubscriptionIdentifier
                    | PropertyId::WillDelayInterval
            );
            if !hop_by_hop {
                end += len;
            } else if start == end {
                (start, end) = (end + len, end + len);
            } else {
                break;
            }
        }
        let (before, rest) = self.rest.split_at(end);
        self.rest = rest;
        &before[start..]
    }
}

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
    /// Checked property bytes that are passed on as they are: [`PublishProperties::forwardable`].
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
    /// Bytes of the whole packet. Over [`PACKET_BYTES_MAX`](crate::limits::PACKET_BYTES_MAX), which adding properties to
    /// a message near that size can reach, it cannot be encoded.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        let remaining = self.remaining_len();
        // Only the value's own length matters to one that is too large.
        1 + varint::len(u32::try_from(remaining).unwrap_or(u32::MAX)) + remaining
    }

    /// Writes the packet into `out`, and tells where the fields are that may be patched.
    ///
    /// Panics where `out` is not exactly [`encoded_len`](Self::encoded_len) bytes long, or the packet cannot be encoded.
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

#[inline]
fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4 | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::testing::{V5, V311, assert_both_ways, assert_refused, framed, whole};
    use super::super::{Packet, decode};
    use super::*;

    const ID: u16 = 0x0102;

    fn publish<'a>(qos: QoS, payload: &'a [u8]) -> Publish<'a> {
        Publish {
            dup: false,
            qos,
            retain: false,
            topic: "a/b",
            packet_id: if qos == QoS::AtMostOnce { None } else { PacketId::new(ID) },
            properties: PublishProperties::default(),
            payload,
        }
    }

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

    /// PUBLISH of both versions at each QoS.
    #[test]
    fn plain() {
        let bytes = framed(0x30, b"\0\x03a/bhi");
        assert_both_ways(&Packet::Publish(publish(QoS::AtMostOnce, b"hi")), V311, &bytes);
        let bytes = framed(0x30, b"\0\x03a/b\0hi");
        assert_both_ways(&Packet::Publish(publish(QoS::AtMostOnce, b"hi")), V5, &bytes);
        let again = Publish { dup: true, retain: true, ..publish(QoS::AtLeastOnce, b"") };
        assert_both_ways(&Packet::Publish(again), V311, &framed(0x3b, b"\0\x03a/b\x01\x02"));
        let exactly = publish(QoS::ExactlyOnce, b"\0");
        assert_both_ways(&Packet::Publish(exactly), V5, &framed(0x34, b"\0\x03a/b\x01\x02\0\0"));
    }

    /// Every property of PUBLISH: what is a field, what is an accessor, what is forwarded.
    #[test]
    fn properties() {
        let bytes = [
            0x01, 1, 0x23, 0, 9, 0x03, 0, 1, b'c', 0x08, 0, 1, b'r', 0x0b, 1, 0x09, 0, 1, 0, 0x02, 0, 0, 0, 60, 0x0b,
            2, 0x26, 0, 1, b'k', 0, 1, b'v',
        ];
        let properties = PublishProperties::parse(&bytes).unwrap();
        assert_eq!(properties.topic_alias, Some(9));
        assert_eq!(properties.message_expiry_interval, Some(60));
        assert_eq!(properties.payload_format_indicator(), Some(true));
        assert_eq!(properties.content_type(), Some("c"));
        assert_eq!(properties.response_topic(), Some("r"));
        assert_eq!(properties.correlation_data(), Some(&[0][..]));
        assert!(properties.subscription_identifiers().eq([1, 2]));
        assert!(properties.user_properties().iter().eq([("k", "v")]));
        let runs: Vec<&[u8]> = properties.forwardable().collect();
        assert_eq!(runs, [&bytes[..2], &bytes[5..13], &bytes[15..19], &bytes[26..]]);
        assert_eq!(properties.forwardable_len(), runs.concat().len());
        let alone = PublishProperties::parse(&bytes[5..13]).unwrap();
        assert_eq!(alone.forwardable().collect::<Vec<_>>(), [&bytes[5..13]]);
        assert_eq!(alone.content_type(), Some("c"));
        assert_eq!(alone.payload_format_indicator(), None);
        let none = PublishProperties::parse(&bytes[19..26]).unwrap();
        assert_eq!((none.forwardable().count(), none.forwardable_len()), (0, 0));
    }

    /// Properties re-encode with alias, expiry and identifiers in front, and fields that were changed as they are now.
    #[test]
    fn properties_round_trip() {
        let bytes = [0x01, 0, 0x0b, 5, 0x02, 0, 0, 0, 9, 0x23, 0, 1];
        let properties = PublishProperties::parse(&bytes).unwrap();
        let packet = Publish { properties, ..publish(QoS::AtMostOnce, b"") };
        let body = b"\0\x03a/b\x0c\x23\0\x01\x02\0\0\0\x09\x0b\x05\x01\0";
        assert_both_ways(&Packet::Publish(packet), V5, &framed(0x30, body));
        let hop = PublishProperties { topic_alias: None, message_expiry_interval: Some(8), ..properties };
        let mut bytes = Vec::new();
        Publish { properties: hop, ..packet }.encode(V5, &mut bytes);
        assert_eq!(bytes, framed(0x30, b"\0\x03a/b\x09\x02\0\0\0\x08\x0b\x05\x01\0"));
    }

    /// A server takes no Subscription Identifier from a client; a client takes it from a server.
    #[test]
    fn subscription_identifiers_come_from_servers() {
        let bytes = framed(0x30, b"\0\x01t\x02\x0b\x01");
        let refused = decode_publish(&whole(&bytes), V5);
        assert_eq!(refused, Err(Malformed::SubscriptionIdentifierFromClient));
        assert!(decode(&whole(&bytes), V5).is_ok());
    }

    /// An empty topic stands for an alias, and nothing else.
    #[test]
    fn empty_topics() {
        assert_refused(0x30, b"\0\0", V311, Malformed::EmptyTopicName);
        assert_refused(0x30, b"\0\0\0", V5, Malformed::EmptyTopicName);
        let bytes = framed(0x30, b"\0\0\x03\x23\0\x01x");
        let publish = decode_publish(&whole(&bytes), V5).unwrap();
        assert_eq!((publish.topic, publish.properties.topic_alias, publish.payload), ("", Some(1), &b"x"[..]));
    }

    /// What is refused, and why.
    #[test]
    fn refusals() {
        for version in [V311, V5] {
            assert_refused(0x30, b"", version, Malformed::Truncated);
            assert_refused(0x30, b"\0", version, Malformed::Truncated);
            assert_refused(0x30, b"\0\x02a", version, Malformed::Truncated);
            assert_refused(0x32, b"\0\x01a", version, Malformed::Truncated);
            assert_refused(0x32, b"\0\x01a\0", version, Malformed::Truncated);
            assert_refused(0x32, b"\0\x01a\0\0", version, Malformed::PacketIdZero);
            assert_refused(0x30, b"\0\x01+", version, Malformed::WildcardInTopicName);
            assert_refused(0x30, b"\0\x03a/#", version, Malformed::WildcardInTopicName);
            assert_refused(0x30, b"\0\x01\0", version, Malformed::NullCharacter);
            assert_refused(0x30, b"\0\x01\xff", version, Malformed::NotUtf8);
            assert_eq!(decode_publish(&whole(&[0xc0, 0]), version), Err(Malformed::UnexpectedPacketType));
        }
        assert_refused(0x30, b"\0\x01a", V5, Malformed::Truncated);
        assert_refused(0x30, b"\0\x01a\x03\x23\0", V5, Malformed::Truncated);
        assert_refused(0x30, b"\0\x01a\x03\x23\0\0", V5, Malformed::TopicAliasZero);
        assert_refused(0x30, b"\0\x01a\x80\0", V5, Malformed::OverlongInteger);
        for id in [PropertyId::WillDelayInterval, PropertyId::ReceiveMaximum, PropertyId::ReasonString] {
            let body = [b"\0\x01a\x05", &[id as u8, 0, 1, b'a', 1][..]].concat();
            assert!(
                matches!(decode(&whole(&framed(0x30, &body)), V5), Err(Malformed::PropertyNotAllowed(other)) if other == id)
            );
        }
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
