//! CONNECT: who a client is and what it wants.

use alloc::vec::Vec;

use super::deframer::RawPacket;
use super::header::PacketType;
use super::packet::Body;
use super::property::{Properties, Property, WriteProperties, write_some};
use super::publish::PublishProperties;
use super::{ProtocolVersion, QoS, UserProperties, utf8};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

/// A client's request to be connected (section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What the client speaks, and what its CONNECT is encoded in.
    pub version: ProtocolVersion,
    /// Whether the client says that it is a bridge (protocol level 0x84): a habit of brokers, in MQTT 3.1.1 alone.
    pub bridge: bool,
    /// Clean Start; Clean Session in MQTT 3.1.1.
    pub clean_start: bool,
    /// Longest silence of the client, in seconds; 0: any.
    pub keep_alive: u16,
    /// Empty where the client wants to be given one.
    pub client_id: &'a str,
    /// What is published when the connection ends badly.
    pub will: Option<Will<'a>>,
    /// Who the client says it is.
    pub user_name: Option<&'a str>,
    /// What proves it.
    pub password: Option<&'a [u8]>,
    /// The defaults in MQTT 3.1.1.
    pub properties: ConnectProperties<'a>,
}

/// The properties of CONNECT (section 3.1.2.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Seconds that the session outlives the connection; absent is 0, and 0xffffffff is for ever.
    pub session_expiry_interval: Option<u32>,
    /// Most PUBLISH of QoS 1 and 2 that the client takes unacknowledged, at least 1; absent is 65,535.
    pub receive_maximum: Option<u16>,
    /// Largest packet that the client takes, in bytes, at least 1; absent is any.
    pub maximum_packet_size: Option<u32>,
    /// Largest topic alias that the client takes; absent is 0, which is none.
    pub topic_alias_maximum: Option<u16>,
    /// Whether the client asks for Response Information; false where absent.
    pub request_response_information: bool,
    /// Whether Reason Strings and User Properties may come in any packet; true where absent.
    pub request_problem_information: bool,
    /// Which enhanced authentication the client wants.
    pub authentication_method: Option<&'a str>,
    /// What that method says first; only with a method.
    pub authentication_data: Option<&'a [u8]>,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
}

/// A message that a client leaves behind (section 3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// How surely it is delivered.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// A topic name of at least one character.
    pub topic: &'a str,
    /// The message itself.
    pub payload: &'a [u8],
    /// Seconds between the end of the connection and the will, at most; 0 where absent.
    pub delay_interval: u32,
    /// Those of the PUBLISH that it becomes.
    pub properties: PublishProperties<'a>,
}

const USER_NAME_FLAG: u8 = 0b1000_0000;
const PASSWORD_FLAG: u8 = 0b0100_0000;
const WILL_RETAIN_FLAG: u8 = 0b0010_0000;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_FLAG: u8 = 0b0000_0100;
const CLEAN_START_FLAG: u8 = 0b0000_0010;
const RESERVED_FLAG: u8 = 0b0000_0001;
const BRIDGE_BIT: u8 = 0x80;

/// Reads a CONNECT, whose version it decides.
///
/// A protocol name or level that is not ours is [`Malformed::UnsupportedProtocolName`] or
/// [`Malformed::UnsupportedProtocolVersion`] before anything behind it is looked at, so that the caller may answer with
/// CONNACK 0x01 or 0x84. Level 0x84 is MQTT 3.1.1 from a bridge.
pub fn decode_connect<'a>(raw: &RawPacket<'a>) -> Result<Connect<'a>, Malformed> {
    if raw.packet_type()? != PacketType::Connect {
        return Err(Malformed::UnexpectedPacketType);
    }
    let mut body = Reader::new(raw.body);
    if body.binary()? != b"MQTT" {
        return Err(Malformed::UnsupportedProtocolName);
    }
    let (version, bridge) = match body.u8()? {
        4 => (ProtocolVersion::V311, false),
        0x84 => (ProtocolVersion::V311, true),
        5 => (ProtocolVersion::V5, false),
        level => return Err(Malformed::UnsupportedProtocolVersion(level)),
    };
    if version == ProtocolVersion::V5 {
        raw.check_length_form()?;
    }
    let flags = body.u8()?;
    check_flags(flags, version)?;
    let keep_alive = body.u16()?;
    let properties = match version {
        ProtocolVersion::V311 => ConnectProperties::default(),
        ProtocolVersion::V5 => ConnectProperties::read(Properties::open(&mut body)?)?,
    };
    let client_id = body.string()?;
    let will = match flags & WILL_FLAG {
        0 => None,
        _ => Some(Will::read(&mut body, flags, version)?),
    };
    let user_name = match flags & USER_NAME_FLAG {
        0 => None,
        _ => Some(body.string()?),
    };
    let password = match flags & PASSWORD_FLAG {
        0 => None,
        _ => Some(body.binary()?),
    };
    body.finish()?;
    let clean_start = flags & CLEAN_START_FLAG != 0;
    Ok(Connect { version, bridge, clean_start, keep_alive, client_id, will, user_name, password, properties })
}

fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), Malformed> {
    if flags & RESERVED_FLAG != 0 {
        return Err(Malformed::ReservedConnectFlag);
    }
    let will_qos = flags >> WILL_QOS_SHIFT & 0b11;
    if flags & WILL_FLAG == 0 && (will_qos != 0 || flags & WILL_RETAIN_FLAG != 0) {
        return Err(Malformed::WillFlagsWithoutWill);
    }
    if will_qos == 3 {
        return Err(Malformed::WillQosOutOfRange);
    }
    if version == ProtocolVersion::V311 && flags & (USER_NAME_FLAG | PASSWORD_FLAG) == PASSWORD_FLAG {
        return Err(Malformed::PasswordWithoutUserName);
    }
    Ok(())
}

impl Connect<'_> {
    /// Bytes of the whole packet, in its own version; the argument is there for uniformity.
    pub fn encoded_len(&self, _: ProtocolVersion) -> usize {
        self.packet_len(self.version)
    }

    /// Appends the packet to `out`, in its own version; the argument is there for uniformity. Panics where a field is
    /// longer than 65,535 bytes.
    pub fn encode(&self, _: ProtocolVersion, out: &mut Vec<u8>) {
        self.append_packet(PacketType::Connect.first_byte(), self.version, out);
    }

    fn flags(&self) -> u8 {
        let set = |flag: u8, condition: bool| if condition { flag } else { 0 };
        let will = self
            .will
            .map_or(0, |will| WILL_FLAG | (will.qos as u8) << WILL_QOS_SHIFT | set(WILL_RETAIN_FLAG, will.retain));
        will | set(CLEAN_START_FLAG, self.clean_start)
            | set(USER_NAME_FLAG, self.user_name.is_some())
            | set(PASSWORD_FLAG, self.password.is_some())
    }
}

impl Default for Connect<'_> {
    /// MQTT 5.0, a clean start, no keep alive, an empty client identifier, nothing else.
    fn default() -> Self {
        Connect {
            version: ProtocolVersion::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id: "",
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }
}

impl Body for Connect<'_> {
    fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink) {
        sink.string("MQTT");
        sink.u8(version.level() | if self.bridge { BRIDGE_BIT } else { 0 });
        sink.u8(self.flags());
        sink.u16(self.keep_alive);
        if version == ProtocolVersion::V5 {
            self.properties.write_with_length(sink);
        }
        sink.string(self.client_id);
        if let Some(will) = &self.will {
            if version == ProtocolVersion::V5 {
                will.write_with_length(sink);
            }
            sink.string(will.topic);
            sink.binary(will.payload);
        }
        if let Some(user_name) = self.user_name {
            sink.string(user_name);
        }
        if let Some(password) = self.password {
            sink.binary(password);
        }
    }
}

impl<'a> ConnectProperties<'a> {
    fn read(mut from: Properties<'a>) -> Result<ConnectProperties<'a>, Malformed> {
        let mut properties = ConnectProperties::default();
        while let Some(property) = from.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => properties.session_expiry_interval = Some(seconds),
                Property::ReceiveMaximum(maximum) => properties.receive_maximum = Some(maximum),
                Property::MaximumPacketSize(bytes) => properties.maximum_packet_size = Some(bytes),
                Property::TopicAliasMaximum(maximum) => properties.topic_alias_maximum = Some(maximum),
                Property::RequestResponseInformation(wanted) => properties.request_response_information = wanted,
                Property::RequestProblemInformation(wanted) => properties.request_problem_information = wanted,
                Property::AuthenticationMethod(method) => properties.authentication_method = Some(method),
                Property::AuthenticationData(data) => properties.authentication_data = Some(data),
                Property::UserProperty(_) => {}
                other => return Err(Malformed::PropertyNotAllowed(other.id())),
            }
        }
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(Malformed::AuthenticationDataWithoutMethod);
        }
        properties.user_properties = from.user_properties();
        Ok(properties)
    }
}

impl Default for ConnectProperties<'_> {
    /// What an absent property means.
    fn default() -> Self {
        ConnectProperties {
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: None,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

impl WriteProperties for ConnectProperties<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        write_some(self.session_expiry_interval, Property::SessionExpiryInterval, sink);
        write_some(self.receive_maximum, Property::ReceiveMaximum, sink);
        write_some(self.maximum_packet_size, Property::MaximumPacketSize, sink);
        write_some(self.topic_alias_maximum, Property::TopicAliasMaximum, sink);
        if self.request_response_information {
            Property::RequestResponseInformation(true).write(sink);
        }
        if !self.request_problem_information {
            Property::RequestProblemInformation(false).write(sink);
        }
        write_some(self.authentication_method, Property::AuthenticationMethod, sink);
        write_some(self.authentication_data, Property::AuthenticationData, sink);
        self.user_properties.write(sink);
    }
}

impl<'a> Will<'a> {
    fn read(body: &mut Reader<'a>, flags: u8, version: ProtocolVersion) -> Result<Will<'a>, Malformed> {
        let (properties, delay_interval) = match version {
            ProtocolVersion::V311 => (PublishProperties::default(), 0),
            ProtocolVersion::V5 => PublishProperties::read_will(body)?,
        };
        let topic = utf8::check_topic_name(body.binary()?)?;
        if topic.is_empty() {
            return Err(Malformed::EmptyTopicName);
        }
        let qos = QoS::from_bits(flags >> WILL_QOS_SHIFT & 0b11).ok_or(Malformed::WillQosOutOfRange)?;
        let retain = flags & WILL_RETAIN_FLAG != 0;
        Ok(Will { qos, retain, topic, payload: body.binary()?, delay_interval, properties })
    }
}

impl WriteProperties for Will<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        if self.delay_interval != 0 {
            Property::WillDelayInterval(self.delay_interval).write(sink);
        }
        self.properties.write_properties(sink);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::testing::{V5, V311, assert_both_ways, assert_refused, framed, whole};
    use super::*;
    use crate::mqtt::PropertyId;

    const MQTT: [u8; 6] = [0, 4, b'M', b'Q', b'T', b'T'];

    fn body(parts: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::from(MQTT);
        body.extend(parts.concat());
        body
    }

    /// The smallest CONNECT of each version, and that of a bridge.
    #[test]
    fn smallest() {
        let v5 = Connect { keep_alive: 60, client_id: "a", ..Connect::default() };
        let bytes = framed(0x10, &body(&[&[5, 0x02, 0, 60], &[0], &[0, 1, b'a']]));
        assert_both_ways(&Packet::Connect(v5), V5, &bytes);
        let v311 = Connect { version: V311, ..v5 };
        let bytes = framed(0x10, &body(&[&[4, 0x02, 0, 60], &[0, 1, b'a']]));
        assert_both_ways(&Packet::Connect(v311), V311, &bytes);
        let bridge = Connect { bridge: true, ..v311 };
        let bytes = framed(0x10, &body(&[&[0x84, 0x02, 0, 60], &[0, 1, b'a']]));
        assert_both_ways(&Packet::Connect(bridge), V311, &bytes);
    }

    /// Every field of an MQTT 3.1.1 CONNECT.
    #[test]
    fn fullest_v311() {
        let connect = Connect {
            version: V311,
            bridge: false,
            clean_start: false,
            keep_alive: 0x0102,
            client_id: "c",
            will: Some(Will {
                qos: QoS::ExactlyOnce,
                retain: true,
                topic: "w",
                payload: &[0],
                delay_interval: 0,
                properties: PublishProperties::default(),
            }),
            user_name: Some("u"),
            password: Some(&[1, 2]),
            properties: ConnectProperties::default(),
        };
        let payload = [0, 1, b'c', 0, 1, b'w', 0, 1, 0, 0, 1, b'u', 0, 2, 1, 2];
        assert_both_ways(&Packet::Connect(connect), V311, &framed(0x10, &body(&[&[4, 0xf4, 1, 2], &payload])));
    }

    /// Every field and every property of an MQTT 5.0 CONNECT, in the order in which we write them.
    #[test]
    fn fullest_v5() {
        let mut will_properties = Vec::new();
        for property in [
            Property::MessageExpiryInterval(5),
            Property::PayloadFormatIndicator(true),
            Property::ContentType("t"),
            Property::ResponseTopic("r"),
            Property::CorrelationData(&[9]),
            Property::UserProperty(("k", "v")),
        ] {
            property.append_to(&mut will_properties);
        }
        let connect = Connect {
            version: V5,
            bridge: false,
            clean_start: true,
            keep_alive: 10,
            client_id: "c",
            will: Some(Will {
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: "w",
                payload: b"p",
                delay_interval: 7,
                properties: PublishProperties::parse(&will_properties).unwrap(),
            }),
            user_name: None,
            password: Some(&[]),
            properties: ConnectProperties {
                session_expiry_interval: Some(u32::MAX),
                receive_maximum: Some(20),
                maximum_packet_size: Some(256),
                topic_alias_maximum: Some(0),
                request_response_information: true,
                request_problem_information: false,
                authentication_method: Some("m"),
                authentication_data: Some(&[]),
                user_properties: UserProperties::from_pairs(&[("", "é")]),
            },
        };
        let properties = [
            0x11, 0xff, 0xff, 0xff, 0xff, 0x21, 0, 20, 0x27, 0, 0, 1, 0, 0x22, 0, 0, 0x19, 1, 0x17, 0, 0x15, 0, 1,
            b'm', 0x16, 0, 0, 0x26, 0, 0, 0, 2, 0xc3, 0xa9,
        ];
        let will = [
            0x18, 0, 0, 0, 7, 0x02, 0, 0, 0, 5, 0x01, 1, 0x03, 0, 1, b't', 0x08, 0, 1, b'r', 0x09, 0, 1, 9, 0x26, 0, 1,
            b'k', 0, 1, b'v',
        ];
        let bytes = body(&[
            &[5, 0x4e, 0, 10],
            &[properties.len() as u8],
            &properties,
            &[0, 1, b'c'],
            &[will.len() as u8],
            &will,
            &[0, 1, b'w', 0, 1, b'p'],
            &[0, 0],
        ]);
        assert_both_ways(&Packet::Connect(connect), V5, &framed(0x10, &bytes));
    }

    /// Other protocols and versions are told apart from bytes that make no sense, whatever follows.
    #[test]
    fn other_protocols() {
        let refused = |body: &[u8]| decode_connect(&whole(&framed(0x10, body))).unwrap_err();
        assert_eq!(refused(b"\0\x06MQIsdp\x03"), Malformed::UnsupportedProtocolName);
        assert_eq!(refused(b"\0\x04MQTX\x05"), Malformed::UnsupportedProtocolName);
        assert_eq!(refused(b"\0\x00"), Malformed::UnsupportedProtocolName);
        for level in [0, 3, 6, 0x83, 0x85, 0xff] {
            assert_eq!(refused(&body(&[&[level]])), Malformed::UnsupportedProtocolVersion(level));
        }
        assert_eq!(refused(b"\0\x04MQ"), Malformed::Truncated);
        assert_eq!(refused(&MQTT), Malformed::Truncated);
        assert_eq!(decode_connect(&whole(&[0xc0, 0])), Err(Malformed::UnexpectedPacketType));
    }

    /// Connect flags that contradict each other.
    #[test]
    fn wrong_flags() {
        for (level, flags, error) in [
            (5, 0x01, Malformed::ReservedConnectFlag),
            (4, 0x03, Malformed::ReservedConnectFlag),
            (5, 0x08, Malformed::WillFlagsWithoutWill),
            (4, 0x20, Malformed::WillFlagsWithoutWill),
            (5, 0x18, Malformed::WillFlagsWithoutWill),
            (5, 0x1c, Malformed::WillQosOutOfRange),
            (4, 0x40, Malformed::PasswordWithoutUserName),
        ] {
            let version = if level == 5 { V5 } else { V311 };
            assert_refused(0x10, &body(&[&[level, flags, 0, 0, 0, 0, 0, 0, 0]]), version, error);
        }
    }

    /// Fields that are missing, superfluous or ill-formed.
    #[test]
    fn wrong_fields() {
        for (tail, error) in [
            (&[4, 2, 0, 0][..], Malformed::Truncated),
            (&[4, 2, 0, 0, 0, 1], Malformed::Truncated),
            (&[4, 2, 0, 0, 0, 1, 0xff], Malformed::NotUtf8),
            (&[4, 2, 0, 0, 0, 1, 0], Malformed::NullCharacter),
            (&[4, 2, 0, 0, 0, 0, 0], Malformed::TrailingBytes),
            (&[4, 0x82, 0, 0, 0, 0], Malformed::Truncated),
            (&[4, 0x06, 0, 0, 0, 0, 0, 0, 0, 0], Malformed::EmptyTopicName),
            (&[4, 0x06, 0, 0, 0, 0, 0, 1, b'+', 0, 0], Malformed::WildcardInTopicName),
            (&[4, 0x06, 0, 0, 0, 0, 0, 1, b'w'], Malformed::Truncated),
            (&[5, 2, 0, 0, 3, 0x21, 0, 0, 0, 0], Malformed::PropertyValue(PropertyId::ReceiveMaximum)),
            (&[5, 2, 0, 0, 5, 0x27, 0, 0, 0, 0, 0, 0], Malformed::PropertyValue(PropertyId::MaximumPacketSize)),
            (&[5, 2, 0, 0, 2, 0x17, 2, 0, 0], Malformed::PropertyValue(PropertyId::RequestProblemInformation)),
            (&[5, 2, 0, 0, 3, 0x16, 0, 0, 0, 0], Malformed::AuthenticationDataWithoutMethod),
            (&[5, 2, 0, 0, 5, 0x18, 0, 0, 0, 0, 0, 0], Malformed::PropertyNotAllowed(PropertyId::WillDelayInterval)),
            (
                &[5, 6, 0, 0, 0, 0, 0, 3, 0x23, 0, 1, 0, 1, b'w', 0, 0],
                Malformed::PropertyNotAllowed(PropertyId::TopicAlias),
            ),
            (
                &[5, 6, 0, 0, 0, 0, 0, 2, 0x0b, 1, 0, 1, b'w', 0, 0],
                Malformed::PropertyNotAllowed(PropertyId::SubscriptionIdentifier),
            ),
        ] {
            let version = if tail[0] == 5 { V5 } else { V311 };
            assert_refused(0x10, &body(&[tail]), version, error);
        }
    }

    /// A padded Remaining Length is for MQTT 3.1.1 alone.
    #[test]
    fn padded_length() {
        let pad = |body: &[u8]| [&[0x10, body.len() as u8 | 0x80, 0][..], body].concat();
        let old = pad(&body(&[&[4, 2, 0, 0, 0, 0]]));
        assert!(decode_connect(&whole(&old)).is_ok());
        let new = pad(&body(&[&[5, 2, 0, 0, 0, 0, 0]]));
        assert_eq!(decode_connect(&whole(&new)), Err(Malformed::OverlongInteger));
    }
}
