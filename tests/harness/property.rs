//! The properties of MQTT 5.0 (section 2.2.2.2), as values.

use crate::packet::{Reader, put_binary, put_string, put_varint};

/// One property with its value, named as in the standard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// Whether the payload is UTF-8 (1) or bytes (0).
    PayloadFormat(u8),
    /// Seconds until the message expires.
    MessageExpiry(u32),
    /// What the payload is.
    ContentType(String),
    /// Where an answer goes.
    ResponseTopic(String),
    /// What an answer carries back.
    CorrelationData(Vec<u8>),
    /// The subscription that matched.
    SubscriptionId(u32),
    /// Seconds that a session outlives its connection.
    SessionExpiry(u32),
    /// The client identifier that the broker chose.
    AssignedClientId(String),
    /// The keep alive in seconds that the broker wants.
    ServerKeepAlive(u16),
    /// The extended authentication's name.
    AuthenticationMethod(String),
    /// The extended authentication's bytes.
    AuthenticationData(Vec<u8>),
    /// Whether reason strings may come on failures.
    RequestProblemInformation(u8),
    /// Seconds between the end of the connection and the will.
    WillDelay(u32),
    /// Whether response information is asked for.
    RequestResponseInformation(u8),
    /// The basis of response topics.
    ResponseInformation(String),
    /// Another server to use.
    ServerReference(String),
    /// Why, for people.
    ReasonString(String),
    /// How many QoS 1 and 2 messages may be in flight.
    ReceiveMaximum(u16),
    /// The highest alias that the sender accepts.
    TopicAliasMaximum(u16),
    /// A number that stands for the topic.
    TopicAlias(u16),
    /// The highest QoS that the broker takes.
    MaximumQos(u8),
    /// Whether retained messages exist here.
    RetainAvailable(u8),
    /// A name and a value of the application.
    User(String, String),
    /// The largest packet in bytes that the sender accepts.
    MaximumPacketSize(u32),
    /// Whether wildcard subscriptions exist here.
    WildcardAvailable(u8),
    /// Whether subscription identifiers exist here.
    SubscriptionIdAvailable(u8),
    /// Whether shared subscriptions exist here.
    SharedAvailable(u8),
}

/// Appends a property set: its length, then each property in the order given.
pub fn put_properties(out: &mut Vec<u8>, properties: &[Property]) {
    let mut set = Vec::new();
    properties.iter().for_each(|property| property.write(&mut set));
    put_varint(out, set.len() as u32);
    out.extend(set);
}

impl Property {
    /// Reads a property set with its length; panics on what the standard does not know.
    pub fn read_all(reader: &mut Reader<'_>) -> Vec<Self> {
        let len = reader.varint() as usize;
        let mut set = Reader::new(reader.take(len));
        let mut properties = Vec::new();
        while !set.is_empty() {
            properties.push(Self::read(&mut set));
        }
        properties
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        match reader.byte() {
            0x01 => Self::PayloadFormat(reader.byte()),
            0x02 => Self::MessageExpiry(reader.four()),
            0x03 => Self::ContentType(reader.string()),
            0x08 => Self::ResponseTopic(reader.string()),
            0x09 => Self::CorrelationData(reader.binary()),
            0x0b => Self::SubscriptionId(reader.varint()),
            0x11 => Self::SessionExpiry(reader.four()),
            0x12 => Self::AssignedClientId(reader.string()),
            0x13 => Self::ServerKeepAlive(reader.two()),
            0x15 => Self::AuthenticationMethod(reader.string()),
            0x16 => Self::AuthenticationData(reader.binary()),
            0x17 => Self::RequestProblemInformation(reader.byte()),
            0x18 => Self::WillDelay(reader.four()),
            0x19 => Self::RequestResponseInformation(reader.byte()),
            0x1a => Self::ResponseInformation(reader.string()),
            0x1c => Self::ServerReference(reader.string()),
            0x1f => Self::ReasonString(reader.string()),
            0x21 => Self::ReceiveMaximum(reader.two()),
            0x22 => Self::TopicAliasMaximum(reader.two()),
            0x23 => Self::TopicAlias(reader.two()),
            0x24 => Self::MaximumQos(reader.byte()),
            0x25 => Self::RetainAvailable(reader.byte()),
            0x26 => Self::User(reader.string(), reader.string()),
            0x27 => Self::MaximumPacketSize(reader.four()),
            0x28 => Self::WildcardAvailable(reader.byte()),
            0x29 => Self::SubscriptionIdAvailable(reader.byte()),
            0x2a => Self::SharedAvailable(reader.byte()),
            other => panic!("no property has the identifier {other:#04x}"),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::PayloadFormat(value) => byte(out, 0x01, *value),
            Self::MessageExpiry(value) => four(out, 0x02, *value),
            Self::ContentType(value) => string(out, 0x03, value),
            Self::ResponseTopic(value) => string(out, 0x08, value),
            Self::CorrelationData(value) => binary(out, 0x09, value),
            Self::SubscriptionId(value) => {
                out.push(0x0b);
                put_varint(out, *value);
            }
            Self::SessionExpiry(value) => four(out, 0x11, *value),
            Self::AssignedClientId(value) => string(out, 0x12, value),
            Self::ServerKeepAlive(value) => two(out, 0x13, *value),
            Self::AuthenticationMethod(value) => string(out, 0x15, value),
            Self::AuthenticationData(value) => binary(out, 0x16, value),
            Self::RequestProblemInformation(value) => byte(out, 0x17, *value),
            Self::WillDelay(value) => four(out, 0x18, *value),
            Self::RequestResponseInformation(value) => byte(out, 0x19, *value),
            Self::ResponseInformation(value) => string(out, 0x1a, value),
            Self::ServerReference(value) => string(out, 0x1c, value),
            Self::ReasonString(value) => string(out, 0x1f, value),
            Self::ReceiveMaximum(value) => two(out, 0x21, *value),
            Self::TopicAliasMaximum(value) => two(out, 0x22, *value),
            Self::TopicAlias(value) => two(out, 0x23, *value),
            Self::MaximumQos(value) => byte(out, 0x24, *value),
            Self::RetainAvailable(value) => byte(out, 0x25, *value),
            Self::User(name, value) => {
                string(out, 0x26, name);
                put_string(out, value);
            }
            Self::MaximumPacketSize(value) => four(out, 0x27, *value),
            Self::WildcardAvailable(value) => byte(out, 0x28, *value),
            Self::SubscriptionIdAvailable(value) => byte(out, 0x29, *value),
            Self::SharedAvailable(value) => byte(out, 0x2a, *value),
        }
    }
}

fn byte(out: &mut Vec<u8>, id: u8, value: u8) {
    out.extend([id, value]);
}

fn two(out: &mut Vec<u8>, id: u8, value: u16) {
    out.push(id);
    out.extend(value.to_be_bytes());
}

fn four(out: &mut Vec<u8>, id: u8, value: u32) {
    out.push(id);
    out.extend(value.to_be_bytes());
}

fn string(out: &mut Vec<u8>, id: u8, value: &str) {
    out.push(id);
    put_string(out, value);
}

fn binary(out: &mut Vec<u8>, id: u8, value: &[u8]) {
    out.push(id);
    put_binary(out, value);
}
