//! SUBSCRIBE and UNSUBSCRIBE.
//!
//! Lists of filters are walked, not collected: a decoder checks a list once and keeps its bytes, and the caller of an
//! encoder lends a slice.

use alloc::vec::Vec;
use core::fmt;

use super::header::PacketType;
use super::packet::Body;
use super::property::{Properties, Property, WriteProperties, write_some};
use super::{PacketId, ProtocolVersion, QoS, UserProperties};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

/// A request for subscriptions (section 3.8).
#[derive(Clone, Copy)]
pub struct Subscribe<'a> {
    /// What SUBACK will carry.
    pub packet_id: PacketId,
    /// Comes back with each message that one of these subscriptions matches; 1 to 268,435,455.
    pub subscription_identifier: Option<u32>,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
    filters: Filters<'a, (&'a str, SubscribeOptions)>,
}

/// What a client wants of one subscription (section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// The highest QoS that messages come with.
    pub qos: QoS,
    /// Not the client's own messages; false in MQTT 3.1.1.
    pub no_local: bool,
    /// The RETAIN flag as it was published; false in MQTT 3.1.1.
    pub retain_as_published: bool,
    /// When retained messages come.
    pub retain_handling: RetainHandling,
}

/// When retained messages come at SUBSCRIBE (section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// Always; so in MQTT 3.1.1.
    #[default]
    SendAtSubscribe = 0,
    /// Where the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl<'a> Subscribe<'a> {
    /// For these filters, of which there must be one \[MQTT-3.8.3-2\].
    pub fn new(packet_id: PacketId, filters: &'a [(&'a str, SubscribeOptions)]) -> Subscribe<'a> {
        let user_properties = UserProperties::default();
        Subscribe { packet_id, subscription_identifier: None, user_properties, filters: Filters::Given(filters) }
    }

    /// The filters and their options, in order. The strings are UTF-8 without U+0000; whether each is a topic filter is
    /// for [`TopicFilter::parse`](super::topic::TopicFilter::parse) to say, so that a wrong one fails alone.
    pub fn filters(&self) -> impl Iterator<Item = (&'a str, SubscribeOptions)> + Clone + use<'a> {
        self.filters.iter(read_filter_with_options)
    }

    pub(crate) fn read(mut body: Reader<'a>, version: ProtocolVersion) -> Result<Subscribe<'a>, Malformed> {
        let packet_id = PacketId::new(body.u16()?).ok_or(Malformed::PacketIdZero)?;
        let mut subscribe = Subscribe::new(packet_id, &[]);
        if version == ProtocolVersion::V5 {
            let mut properties = Properties::open(&mut body)?;
            while let Some(property) = properties.next()? {
                match property {
                    Property::SubscriptionIdentifier(id) => subscribe.subscription_identifier = Some(id),
                    Property::UserProperty(_) => {}
                    other => return Err(Malformed::PropertyNotAllowed(other.id())),
                }
            }
            subscribe.user_properties = properties.user_properties();
        }
        subscribe.filters = Filters::check(body, |reader| {
            let filter = reader.string()?;
            let options = SubscribeOptions::from_byte(reader.u8()?, version)?;
            if options.no_local && filter.starts_with("$share/") {
                return Err(Malformed::NoLocalOnSharedSubscription);
            }
            Ok(())
        })?;
        Ok(subscribe)
    }

    /// Bytes of the whole packet.
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        self.packet_len(version)
    }

    /// Appends the packet to `out`. Panics where a string is longer than 65,535 bytes or the packet larger than can be
    /// encoded.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        self.append_packet(PacketType::Subscribe.first_byte(), version, out);
    }
}

impl Body for Subscribe<'_> {
    fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version == ProtocolVersion::V5 {
            self.write_with_length(sink);
        }
        for (filter, options) in self.filters() {
            sink.string(filter);
            sink.u8(options.to_byte(version));
        }
    }
}

impl WriteProperties for Subscribe<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        write_some(self.subscription_identifier, Property::SubscriptionIdentifier, sink);
        self.user_properties.write(sink);
    }
}

impl PartialEq for Subscribe<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.packet_id == other.packet_id
            && self.subscription_identifier == other.subscription_identifier
            && self.user_properties == other.user_properties
            && self.filters().eq(other.filters())
    }
}

impl Eq for Subscribe<'_> {}

impl fmt::Debug for Subscribe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("packet_id", &self.packet_id)
            .field("subscription_identifier", &self.subscription_identifier)
            .field("user_properties", &self.user_properties)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

impl SubscribeOptions {
    fn from_byte(byte: u8, version: ProtocolVersion) -> Result<SubscribeOptions, Malformed> {
        let reserved = match version {
            ProtocolVersion::V311 => 0b1111_1100,
            ProtocolVersion::V5 => 0b1100_0000,
        };
        if byte & reserved != 0 {
            return Err(Malformed::ReservedSubscribeOptions);
        }
        Ok(SubscribeOptions {
            qos: QoS::from_bits(byte & 0b11).ok_or(Malformed::MaximumQosOutOfRange)?,
            no_local: byte & 0b100 != 0,
            retain_as_published: byte & 0b1000 != 0,
            retain_handling: match byte >> 4 & 0b11 {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(Malformed::RetainHandlingOutOfRange),
            },
        })
    }

    const fn to_byte(self, version: ProtocolVersion) -> u8 {
        match version {
            ProtocolVersion::V311 => self.qos as u8,
            ProtocolVersion::V5 => {
                self.qos as u8
                    | (self.no_local as u8) << 2
                    | (self.retain_as_published as u8) << 3
                    | (self.retain_handling as u8) << 4
            }
        }
    }
}

/// A request to end subscriptions (section 3.10).
#[derive(Clone, Copy)]
pub struct Unsubscribe<'a> {
    /// What UNSUBACK will carry.
    pub packet_id: PacketId,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
    filters: Filters<'a, &'a str>,
}

impl<'a> Unsubscribe<'a> {
    /// For these filters, of which there must be one \[MQTT-3.10.3-2\].
    pub fn new(packet_id: PacketId, filters: &'a [&'a str]) -> Unsubscribe<'a> {
        Unsubscribe { packet_id, user_properties: UserProperties::default(), filters: Filters::Given(filters) }
    }

    /// The filters, in order: UTF-8 without U+0000, not looked into further.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.filters.iter(|reader| reader.string().ok())
    }

    pub(crate) fn read(mut body: Reader<'a>, version: ProtocolVersion) -> Result<Unsubscribe<'a>, Malformed> {
        let packet_id = PacketId::new(body.u16()?).ok_or(Malformed::PacketIdZero)?;
        let mut unsubscribe = Unsubscribe::new(packet_id, &[]);
        if version == ProtocolVersion::V5 {
            let mut properties = Properties::open(&mut body)?;
            while let Some(property) = properties.next()? {
                match property {
                    Property::UserProperty(_) => {}
                    other => return Err(Malformed::PropertyNotAllowed(other.id())),
                }
            }
            unsubscribe.user_properties = properties.user_properties();
        }
        unsubscribe.filters = Filters::check(body, |reader| reader.string().map(|_| ()))?;
        Ok(unsubscribe)
    }

    /// Bytes of the whole packet.
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        self.packet_len(version)
    }

    /// Appends the packet to `out`. Panics where a string is longer than 65,535 bytes or the packet larger than can be
    /// encoded.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        self.append_packet(PacketType::Unsubscribe.first_byte(), version, out);
    }
}

impl Body for Unsubscribe<'_> {
    fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version == ProtocolVersion::V5 {
            self.write_with_length(sink);
        }
        for filter in self.filters() {
            sink.string(filter);
        }
    }
}

impl WriteProperties for Unsubscribe<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        self.user_properties.write(sink);
    }
}

impl PartialEq for Unsubscribe<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.packet_id == other.packet_id
            && self.user_properties == other.user_properties
            && self.filters().eq(other.filters())
    }
}

impl Eq for Unsubscribe<'_> {}

impl fmt::Debug for Unsubscribe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsubscribe")
            .field("packet_id", &self.packet_id)
            .field("user_properties", &self.user_properties)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

/// The filters of a request.
#[derive(Clone, Copy)]
enum Filters<'a, T> {
    /// Checked bytes of a packet.
    Encoded(&'a [u8]),
    /// The caller's own.
    Given(&'a [T]),
}

impl<'a, T: Copy> Filters<'a, T> {
    /// Takes the rest of a packet: one filter at least, each as `check_one` reads it.
    fn check(
        mut body: Reader<'a>,
        mut check_one: impl FnMut(&mut Reader<'a>) -> Result<(), Malformed>,
    ) -> Result<Filters<'a, T>, Malformed> {
        let filters = Filters::Encoded(body.rest());
        if body.is_empty() {
            return Err(Malformed::NoTopicFilter);
        }
        while !body.is_empty() {
            check_one(&mut body)?;
        }
        Ok(filters)
    }

    /// The filters, each as `read_one` reads it.
    fn iter<F>(&self, read_one: F) -> impl Iterator<Item = T> + Clone + use<'a, T, F>
    where
        F: Fn(&mut Reader<'a>) -> Option<T> + Clone,
    {
        let (encoded, given) = match *self {
            Filters::Encoded(bytes) => (bytes, &[][..]),
            Filters::Given(filters) => (&[][..], filters),
        };
        let mut reader = Reader::new(encoded);
        core::iter::from_fn(move || read_one(&mut reader)).chain(given.iter().copied())
    }
}

/// Reads what was checked before. What MQTT 3.1.1 lacks was checked to be zero, so one reading serves both versions.
fn read_filter_with_options<'a>(reader: &mut Reader<'a>) -> Option<(&'a str, SubscribeOptions)> {
    let filter = reader.string().ok()?;
    let options = SubscribeOptions::from_byte(reader.u8().ok()?, ProtocolVersion::V5).ok()?;
    Some((filter, options))
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::testing::{V5, V311, assert_both_ways, assert_refused};
    use super::*;
    use crate::mqtt::PropertyId;

    const ID: PacketId = PacketId::new(7).unwrap();

    fn options(qos: QoS) -> SubscribeOptions {
        SubscribeOptions { qos, ..SubscribeOptions::default() }
    }

    /// SUBSCRIBE of both versions, with every option and property.
    #[test]
    fn subscribe() {
        let filters = [("a/+", options(QoS::AtLeastOnce)), ("", options(QoS::ExactlyOnce))];
        let subscribe = Subscribe::new(ID, &filters);
        let bytes = [0x82, 11, 0, 7, 0, 3, b'a', b'/', b'+', 1, 0, 0, 2];
        assert_both_ways(&Packet::Subscribe(subscribe), V311, &bytes);
        let all = SubscribeOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        let new_only = SubscribeOptions { retain_handling: RetainHandling::SendIfNew, ..options(QoS::AtMostOnce) };
        let filters = [("a", all), ("b", new_only)];
        let subscribe = Subscribe {
            subscription_identifier: Some(128),
            user_properties: UserProperties::from_pairs(&[("k", "v")]),
            ..Subscribe::new(ID, &filters)
        };
        let bytes =
            [0x82, 21, 0, 7, 10, 0x0b, 0x80, 1, 0x26, 0, 1, b'k', 0, 1, b'v', 0, 1, b'a', 0x2e, 0, 1, b'b', 0x10];
        assert_both_ways(&Packet::Subscribe(subscribe), V5, &bytes);
    }

    /// What is refused in SUBSCRIBE, and why.
    #[test]
    fn subscribe_refusals() {
        let share = [&[0, 7, 0, 0, 10][..], b"$share/g/a", &[0x04]].concat();
        assert_refused(0x82, &share, V5, Malformed::NoLocalOnSharedSubscription);
        assert_refused(0x82, &[0, 7], V311, Malformed::NoTopicFilter);
        assert_refused(0x82, &[0, 7], V5, Malformed::Truncated);
        for (body, error) in [
            (&[0, 0, 0, 0, 1, b'a', 0][..], Malformed::PacketIdZero),
            (&[0, 7, 0], Malformed::NoTopicFilter),
            (&[0, 7, 0, 0, 1, b'a'], Malformed::Truncated),
            (&[0, 7, 0, 0, 3, b'a', 1], Malformed::Truncated),
            (&[0, 7, 0, 0, 1, 0xff, 0], Malformed::NotUtf8),
            (&[0, 7, 0, 0, 1, 0, 0], Malformed::NullCharacter),
            (&[0, 7, 0, 0, 1, b'a', 3], Malformed::MaximumQosOutOfRange),
            (&[0, 7, 0, 0, 1, b'a', 0x30], Malformed::RetainHandlingOutOfRange),
            (&[0, 7, 0, 0, 1, b'a', 0x40], Malformed::ReservedSubscribeOptions),
            (&[0, 7, 0, 0, 1, b'a', 0x80], Malformed::ReservedSubscribeOptions),
            (&[0, 7, 2, 0x0b, 0, 0, 1, b'a', 0], Malformed::PropertyValue(PropertyId::SubscriptionIdentifier)),
            (&[0, 7, 4, 0x0b, 1, 0x0b, 2], Malformed::DuplicateProperty(PropertyId::SubscriptionIdentifier)),
            (&[0, 7, 3, 0x1f, 0, 0], Malformed::PropertyNotAllowed(PropertyId::ReasonString)),
        ] {
            assert_refused(0x82, body, V5, error);
        }
        assert_refused(0x82, &[0, 7, 0, 1, b'a', 4], V311, Malformed::ReservedSubscribeOptions);
        assert_refused(0x82, &[0, 7, 0, 1, b'a', 3], V311, Malformed::MaximumQosOutOfRange);
    }

    /// UNSUBSCRIBE of both versions, and what is refused in it.
    #[test]
    fn unsubscribe() {
        let unsubscribe = Unsubscribe::new(ID, &["a", "b/#"]);
        let bytes = [0xa2, 10, 0, 7, 0, 1, b'a', 0, 3, b'b', b'/', b'#'];
        assert_both_ways(&Packet::Unsubscribe(unsubscribe), V311, &bytes);
        let user_properties = UserProperties::from_pairs(&[("k", "v")]);
        let unsubscribe = Unsubscribe { user_properties, ..Unsubscribe::new(ID, &["a"]) };
        let bytes = [0xa2, 13, 0, 7, 7, 0x26, 0, 1, b'k', 0, 1, b'v', 0, 1, b'a'];
        assert_both_ways(&Packet::Unsubscribe(unsubscribe), V5, &bytes);
        assert_refused(0xa2, &[0, 7], V311, Malformed::NoTopicFilter);
        assert_refused(0xa2, &[0, 7, 0], V5, Malformed::NoTopicFilter);
        assert_refused(0xa2, &[0, 7, 0, 0, 1, 0xff], V5, Malformed::NotUtf8);
        let identified = [0, 7, 2, 0x0b, 1, 0, 1, b'a'];
        assert_refused(0xa2, &identified, V5, Malformed::PropertyNotAllowed(PropertyId::SubscriptionIdentifier));
    }
}
