//! Packets of MQTT 3.1.1 and 5.0 as bytes, and back: what a client sends, what it receives.

use wire::mqtt::{self, Deframed, ProtocolVersion};

use crate::property::{Property, put_properties};

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// What a client sends to connect.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The protocol version.
    pub version: Version,
    /// The client identifier, empty where the broker may choose.
    pub client_id: String,
    /// Clean Session of 3.1.1, Clean Start of 5.0.
    pub clean: bool,
    /// Keep Alive in seconds, 0 for none.
    pub keep_alive: u16,
    /// Properties of the CONNECT itself; none are written in 3.1.1.
    pub properties: Vec<Property>,
    /// The Will Message.
    pub will: Option<Will>,
    /// The user name.
    pub user_name: Option<String>,
    /// The password.
    pub password: Option<Vec<u8>>,
}

/// A Will Message as CONNECT carries it.
#[derive(Clone, Debug)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    /// What is published.
    pub payload: Vec<u8>,
    /// At which QoS.
    pub qos: u8,
    /// Whether it is retained.
    pub retain: bool,
    /// Will properties; none are written in 3.1.1.
    pub properties: Vec<Property>,
}

/// An application message on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// The topic name.
    pub topic: String,
    /// The application's bytes.
    pub payload: Vec<u8>,
    /// 0 to 2, or 3 for a hostile one.
    pub qos: u8,
    /// The RETAIN flag.
    pub retain: bool,
    /// The DUP flag.
    pub dup: bool,
    /// The packet identifier, 0 at QoS 0.
    pub id: u16,
    /// Properties; none are written in 3.1.1.
    pub properties: Vec<Property>,
}

/// What a broker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK: Session Present, reason code, properties.
    Connack(bool, u8, Vec<Property>),
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK: packet identifier, reason code.
    Puback(u16, u8),
    /// PUBREC: packet identifier, reason code.
    Pubrec(u16, u8),
    /// PUBREL: packet identifier, reason code.
    Pubrel(u16, u8),
    /// PUBCOMP: packet identifier, reason code.
    Pubcomp(u16, u8),
    /// SUBACK: packet identifier, a reason code for each filter.
    Suback(u16, Vec<u8>),
    /// UNSUBACK: packet identifier, in 5.0 a reason code for each filter.
    Unsuback(u16, Vec<u8>),
    /// PINGRESP.
    Pingresp,
    /// DISCONNECT: reason code, properties.
    Disconnect(u8, Vec<Property>),
    /// AUTH: reason code, properties.
    Auth(u8, Vec<Property>),
}

impl Connect {
    /// A clean connection without a keep alive.
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            user_name: None,
            password: None,
        }
    }

    /// The packet's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_string(&mut body, "MQTT");
        body.push(if self.version == Version::V5 { 5 } else { 4 });
        body.push(self.flags());
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            put_properties(&mut body, &self.properties);
        }
        put_string(&mut body, &self.client_id);
        if let Some(will) = &self.will {
            if self.version == Version::V5 {
                put_properties(&mut body, &will.properties);
            }
            put_string(&mut body, &will.topic);
            put_binary(&mut body, &will.payload);
        }
        if let Some(user_name) = &self.user_name {
            put_string(&mut body, user_name);
        }
        if let Some(password) = &self.password {
            put_binary(&mut body, password);
        }
        packet(0x10, &body)
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
        let user_name = u8::from(self.user_name.is_some()) << 7;
        let password = u8::from(self.password.is_some()) << 6;
        u8::from(self.clean) << 1 | will | user_name | password
    }
}

impl Will {
    /// A will at QoS 0, not retained.
    pub fn new(topic: &str, payload: &str) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: 0, retain: false, properties: Vec::new() }
    }
}

impl Publish {
    /// A message that is not retained; a client gives it its packet identifier when it sends it.
    pub fn new(topic: &str, qos: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { topic: topic.to_owned(), payload: payload.as_ref().to_vec(), qos, ..Self::default() }
    }

    /// The same, retained.
    pub fn retained(topic: &str, qos: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { retain: true, ..Self::new(topic, qos, payload) }
    }

    /// The same with properties.
    pub fn with(mut self, properties: &[Property]) -> Self {
        self.properties.extend_from_slice(properties);
        self
    }

    /// The packet's bytes.
    pub fn bytes(&self, version: Version) -> Vec<u8> {
        let mut body = Vec::new();
        put_string(&mut body, &self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if version == Version::V5 {
            put_properties(&mut body, &self.properties);
        }
        body.extend(&self.payload);
        packet(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }

    /// The payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the tests publish text")
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP by its first byte: the short form when `code` is 0.
pub fn ack(first: u8, id: u16, code: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if code != 0 {
        body.push(code);
    }
    packet(first, &body)
}

/// SUBSCRIBE: filters with their options byte.
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)], properties: &[Property]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        put_properties(&mut body, properties);
    }
    for (filter, options) in filters {
        put_string(&mut body, filter);
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE.
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    filters.iter().for_each(|filter| put_string(&mut body, filter));
    packet(0xa2, &body)
}

/// DISCONNECT; the code and the properties are left out where they may be.
pub fn disconnect(version: Version, code: u8, properties: &[Property]) -> Vec<u8> {
    let mut body = Vec::new();
    if version == Version::V5 && (code != 0 || !properties.is_empty()) {
        body.push(code);
        put_properties(&mut body, properties);
    }
    packet(0xe0, &body)
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// Any packet: first byte, Remaining Length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    put_varint(&mut out, body.len() as u32);
    out.extend(body);
    out
}

/// Appends a UTF-8 string with its length.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    put_binary(out, text.as_bytes());
}

/// Appends bytes with their length, at most 65,535.
pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).expect("fits two length bytes").to_be_bytes());
    out.extend(bytes);
}

/// Appends a Variable Byte Integer.
pub fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Packet {
    /// The first whole packet in `bytes` and its length, or `None` when more bytes are needed. Panics where a broker
    /// breaks the protocol.
    pub fn read(bytes: &[u8], version: Version) -> Option<(Self, usize)> {
        let (len, header) = remaining_length(bytes.get(1..)?)?;
        let whole = 1 + header + len;
        let body = bytes.get(1 + header..whole)?;
        let packet = Self::parse(bytes[0], body, version);
        wire_agrees(&bytes[..whole], version);
        Some((packet, whole))
    }

    fn parse(first: u8, body: &[u8], version: Version) -> Self {
        let mut reader = Reader::new(body);
        let packet = match first {
            0x20 => parse_connack(&mut reader, version),
            0x30..=0x3f => return Self::Publish(parse_publish(first, reader, version)),
            0x40 | 0x50 | 0x62 | 0x70 => parse_ack(first, &mut reader),
            0x90 | 0xb0 => parse_codes(first, &mut reader, version),
            0xd0 => Self::Pingresp,
            0xe0 | 0xf0 => {
                assert_eq!(version, Version::V5, "only 5.0 has a DISCONNECT or AUTH from the server");
                let code = if reader.is_empty() { 0 } else { reader.byte() };
                let properties = properties_if_any(&mut reader);
                if first == 0xe0 { Self::Disconnect(code, properties) } else { Self::Auth(code, properties) }
            }
            other => panic!("a server does not send the first byte {other:#04x}"),
        };
        assert!(reader.is_empty(), "bytes after the end of {packet:?}");
        packet
    }
}

/// Gives the same packet to `wire`, which must take it too.
fn wire_agrees(bytes: &[u8], version: Version) {
    let version = match version {
        Version::V311 => ProtocolVersion::V311,
        Version::V5 => ProtocolVersion::V5,
    };
    let raw = match mqtt::deframe(bytes, u32::MAX) {
        Ok(Deframed::Packet(raw)) => raw,
        other => panic!("wire makes {other:?} of {bytes:02x?}"),
    };
    if let Err(error) = mqtt::decode(&raw, version) {
        panic!("wire refuses {bytes:02x?}: {error}");
    }
}

fn parse_connack(reader: &mut Reader<'_>, version: Version) -> Packet {
    let flags = reader.byte();
    assert!(flags <= 1, "[MQTT-3.2.2-1] CONNACK flags are {flags:#04x}");
    let code = reader.byte();
    let properties = if version == Version::V5 { Property::read_all(reader) } else { Vec::new() };
    Packet::Connack(flags == 1, code, properties)
}

fn parse_publish(first: u8, mut reader: Reader<'_>, version: Version) -> Publish {
    let qos = first >> 1 & 3;
    assert!(qos < 3, "[MQTT-3.3.1-4] a PUBLISH with QoS 3");
    let dup = first & 8 != 0;
    assert!(qos > 0 || !dup, "[MQTT-3.3.1-2] DUP at QoS 0");
    let topic = reader.string();
    let id = if qos > 0 { reader.two() } else { 0 };
    assert!(qos == 0 || id != 0, "[MQTT-2.2.1-4] packet identifier 0");
    let properties = if version == Version::V5 { Property::read_all(&mut reader) } else { Vec::new() };
    Publish { topic, payload: reader.rest().to_vec(), qos, retain: first & 1 != 0, dup, id, properties }
}

fn parse_ack(first: u8, reader: &mut Reader<'_>) -> Packet {
    let id = reader.two();
    let code = if reader.is_empty() { 0 } else { reader.byte() };
    properties_if_any(reader);
    match first {
        0x40 => Packet::Puback(id, code),
        0x50 => Packet::Pubrec(id, code),
        0x62 => Packet::Pubrel(id, code),
        _ => Packet::Pubcomp(id, code),
    }
}

fn parse_codes(first: u8, reader: &mut Reader<'_>, version: Version) -> Packet {
    let id = reader.two();
    if version == Version::V5 {
        Property::read_all(reader);
    }
    let codes = reader.rest().to_vec();
    if first == 0x90 { Packet::Suback(id, codes) } else { Packet::Unsuback(id, codes) }
}

fn properties_if_any(reader: &mut Reader<'_>) -> Vec<Property> {
    if reader.is_empty() { Vec::new() } else { Property::read_all(reader) }
}

/// The Remaining Length and how many bytes it took.
fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        assert!(index < 4, "a Remaining Length of more than four bytes");
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// A cursor over one packet's body. It panics at the end: what a broker sends must be whole.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at_checked(len).expect("the packet ends inside a field");
        self.rest = rest;
        head
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(self.rest.len())
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    /// A Two Byte Integer.
    pub fn two(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A Four Byte Integer.
    pub fn four(&mut self) -> u32 {
        u32::from(self.two()) << 16 | u32::from(self.two())
    }

    /// A Variable Byte Integer.
    pub fn varint(&mut self) -> u32 {
        let (value, len) = remaining_length(self.rest).expect("the packet ends inside a length");
        self.take(len);
        value as u32
    }

    /// Binary Data.
    pub fn binary(&mut self) -> Vec<u8> {
        let len = self.two();
        self.take(usize::from(len)).to_vec()
    }

    /// A UTF-8 Encoded String.
    pub fn string(&mut self) -> String {
        String::from_utf8(self.binary()).expect("[MQTT-1.5.4-1] a string is UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the bytes of the packets that everything else rests on are those of the standard.
    #[test]
    fn bytes_of_the_standard() {
        assert_eq!(Connect::new(Version::V311, "a").bytes(), b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a");
        assert_eq!(Connect::new(Version::V5, "a").bytes(), b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a");
        let publish = Publish { id: 10, dup: true, ..Publish::new("a/b", 1, "x") };
        assert_eq!(publish.bytes(Version::V311), b"\x3a\x08\x00\x03a/b\x00\x0ax");
        assert_eq!(publish.bytes(Version::V5), b"\x3a\x09\x00\x03a/b\x00\x0a\x00x");
        assert_eq!(subscribe(Version::V5, 1, &[("a", 2)], &[]), b"\x82\x07\x00\x01\x00\x00\x01a\x02");
        assert_eq!(disconnect(Version::V311, 4, &[]), b"\xe0\x00");
    }

    /// Goal: a PUBLISH reads back as it was written, its properties in order, and a part of it is no packet yet.
    #[test]
    fn publish_reads_back() {
        let properties =
            [Property::User("k".into(), "v".into()), Property::SubscriptionId(300), Property::MessageExpiry(7)];
        let publish = Publish { id: 9, ..Publish::new("t", 2, "payload") }.with(&properties);
        let bytes = publish.bytes(Version::V5);
        assert_eq!(Packet::read(&bytes, Version::V5), Some((Packet::Publish(publish), bytes.len())));
        assert!((0..bytes.len()).all(|end| Packet::read(&bytes[..end], Version::V5).is_none()));
    }
}
