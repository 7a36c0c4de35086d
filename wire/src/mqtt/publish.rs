//! PUBLISH: the packet that the switch exists for.
//!
//! What arrives is read in one pass by [`decode_publish`]. What leaves is a [`PublishImage`](super::PublishImage).

use alloc::vec::Vec;
use core::fmt;

use super::deframer::RawPacket;
use super::header::PacketType;
use super::packet::Body;
use super::property::{Checked, Properties, Property, PropertyId, WriteProperties, write_some};
use super::{PacketId, ProtocolVersion, QoS, UserProperties, utf8};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

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
    if version == ProtocolVersion::V5 {
        raw.check_length_form()?;
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
        // Most messages have no property, which is one byte.
        ProtocolVersion::V5 => match reader.rest() {
            [0, rest @ ..] => {
                reader = Reader::new(rest);
                PublishProperties::default()
            }
            _ => read_properties(&mut reader)?,
        },
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

    /// The bytes that every hop passes on unchanged, in order: all but Topic Alias, Message Expiry Interval,
    /// Subscription Identifier and Will Delay Interval. Neighbours come as one slice; no slice is empty.
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
        f.debug_struct("PublishProperties")
            .field("topic_alias", &self.topic_alias)
            .field("message_expiry_interval", &self.message_expiry_interval)
            .field("as_received", &Checked::new(self.bytes))
            .finish()
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

/// The first byte of a PUBLISH with these flags.
#[inline]
pub(crate) fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4 | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

#[cfg(test)]
mod tests {
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
}
