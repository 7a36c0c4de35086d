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
        while let Some(property) = from.next()? {
            match property {
                Property::MessageExpiryInterval(seconds) => properties.message_expiry_interval = Some(seconds),
                Property::TopicAlias(alias) if !will => properties.topic_alias = Some(alias),
                Property::SubscriptionIdentifier(_) if !will => properties.subscription_identified = true,
                Property::WillDelayInterval(seconds) if will => delay = seconds,
                Property::PayloadFormatIndicator(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::UserProperty(_) => {}
                other => return Err(Malformed::PropertyNotAllowed(other.id())),
            }
        }
        let forwardable: usize = properties.forwardable().map(<[u8]>::len).sum();
        properties.forwardable_len = forwardable as u32;
        Ok((properties, delay))
    }

    /// The bytes that every hop passes on unchanged, in order: all but Topic Alias, Message Expiry Interval, Subscription
    /// Identifier and Will Delay Interval. Neighbours come as one slice; no slice is empty.
    pub fn forwardable(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        Forwardable(self.bytes)
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
struct Forwardable<'a>(&'a [u8]);

impl<'a> Iterator for Forwardable<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut properties = Checked::new(self.0);
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
        let (before, rest) = self.0.split_at(end);
        self.0 = rest;
        let run = &before[start..];
        if run.is_empty() { None } else { Some(run) }
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
