//! CONNACK: the answer to CONNECT.

use alloc::vec::Vec;

use super::ack::read_reason;
use super::header::PacketType;
use super::packet::Body;
use super::property::{Properties, Property, WriteProperties, write_some};
use super::{ProtocolVersion, QoS, ReasonCode, UserProperties};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

/// A server's answer to CONNECT (section 3.2). All but the first two fields are absent in MQTT 3.1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Whether the server goes on with a session that it had; false where it refuses \[MQTT-3.2.2-6\].
    pub session_present: bool,
    /// Success, or why not. In MQTT 3.1.1 a return code says it: [`ReasonCode::to_return_code`].
    pub reason: ReasonCode,
    /// Seconds that the session outlives the connection, where the server decided otherwise than asked.
    pub session_expiry_interval: Option<u32>,
    /// Most PUBLISH of QoS 1 and 2 that the server takes unacknowledged, at least 1; absent is 65,535.
    pub receive_maximum: Option<u16>,
    /// Highest QoS that the server takes, 0 or 1; absent is 2.
    pub maximum_qos: Option<QoS>,
    /// Whether the server retains messages; absent is yes.
    pub retain_available: Option<bool>,
    /// Largest packet that the server takes, in bytes, at least 1; absent is any.
    pub maximum_packet_size: Option<u32>,
    /// The client identifier that the server gave to a client without one.
    pub assigned_client_identifier: Option<&'a str>,
    /// Largest topic alias that the server takes; absent is 0, which is none.
    pub topic_alias_maximum: Option<u16>,
    /// For a human reader.
    pub reason_string: Option<&'a str>,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
    /// Whether filters may have wildcards; absent is yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscriptions may have identifiers; absent is yes.
    pub subscription_identifiers_available: Option<bool>,
    /// Whether subscriptions may be shared; absent is yes.
    pub shared_subscription_available: Option<bool>,
    /// The keep alive that the client is to use instead of its own, in seconds.
    pub server_keep_alive: Option<u16>,
    /// What a client may build its response topics from.
    pub response_information: Option<&'a str>,
    /// Which server to use instead.
    pub server_reference: Option<&'a str>,
    /// Which enhanced authentication was used.
    pub authentication_method: Option<&'a str>,
    /// What that method says last.
    pub authentication_data: Option<&'a [u8]>,
}

/// The return code for a reason that MQTT 3.1.1 has none for: Server unavailable.
const RETURN_CODE_OTHERWISE: u8 = 3;

impl<'a> Connack<'a> {
    /// With a reason and nothing more.
    pub fn new(session_present: bool, reason: ReasonCode) -> Connack<'a> {
        Connack { session_present, reason, ..Connack::default() }
    }

    pub(crate) fn read(mut body: Reader<'a>, version: ProtocolVersion) -> Result<Connack<'a>, Malformed> {
        let flags = body.u8()?;
        if flags > 1 {
            return Err(Malformed::ReservedAcknowledgeFlags);
        }
        let reason = match version {
            ProtocolVersion::V311 => {
                let code = body.u8()?;
                ReasonCode::from_return_code(code).ok_or(Malformed::UndefinedReasonCode(code))?
            }
            ProtocolVersion::V5 => read_reason(&mut body, PacketType::Connack)?,
        };
        if flags == 1 && reason != ReasonCode::Success {
            return Err(Malformed::SessionPresentOnRefusal);
        }
        let mut connack = Connack::new(flags == 1, reason);
        if version == ProtocolVersion::V5 {
            connack.read_properties(Properties::open(&mut body)?)?;
        }
        body.finish().map(|()| connack)
    }

    fn read_properties(&mut self, mut from: Properties<'a>) -> Result<(), Malformed> {
        while let Some(property) = from.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => self.session_expiry_interval = Some(seconds),
                Property::ReceiveMaximum(maximum) => self.receive_maximum = Some(maximum),
                Property::MaximumQos(qos) => self.maximum_qos = Some(qos),
                Property::RetainAvailable(available) => self.retain_available = Some(available),
                Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
                Property::AssignedClientIdentifier(id) => self.assigned_client_identifier = Some(id),
                Property::TopicAliasMaximum(maximum) => self.topic_alias_maximum = Some(maximum),
                Property::ReasonString(string) => self.reason_string = Some(string),
                Property::WildcardSubscriptionAvailable(available) => {
                    self.wildcard_subscription_available = Some(available);
                }
                Property::SubscriptionIdentifiersAvailable(available) => {
                    self.subscription_identifiers_available = Some(available);
                }
                Property::SharedSubscriptionAvailable(available) => {
                    self.shared_subscription_available = Some(available);
                }
                Property::ServerKeepAlive(seconds) => self.server_keep_alive = Some(seconds),
                Property::ResponseInformation(information) => self.response_information = Some(information),
                Property::ServerReference(reference) => self.server_reference = Some(reference),
                Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
                Property::UserProperty(_) => {}
                other => return Err(Malformed::PropertyNotAllowed(other.id())),
            }
        }
        self.user_properties = from.user_properties();
        Ok(())
    }

    /// Bytes of the whole packet.
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        self.packet_len(version)
    }

    /// Appends the packet to `out`. In MQTT 3.1.1 a reason without a return code is sent as Server unavailable; ask
    /// [`ReasonCode::to_return_code`] first where closing without a CONNACK is better \[MQTT-3.2.2-6 of 3.1.1\]. Panics
    /// where a field is longer than 65,535 bytes.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        self.append_packet(PacketType::Connack.first_byte(), version, out);
    }
}

impl Body for Connack<'_> {
    fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink) {
        sink.u8(u8::from(self.session_present));
        match version {
            ProtocolVersion::V311 => sink.u8(self.reason.to_return_code().unwrap_or(RETURN_CODE_OTHERWISE)),
            ProtocolVersion::V5 => {
                sink.u8(self.reason as u8);
                self.write_with_length(sink);
            }
        }
    }
}

impl WriteProperties for Connack<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        write_some(self.session_expiry_interval, Property::SessionExpiryInterval, sink);
        write_some(self.receive_maximum, Property::ReceiveMaximum, sink);
        write_some(self.maximum_qos, Property::MaximumQos, sink);
        write_some(self.retain_available, Property::RetainAvailable, sink);
        write_some(self.maximum_packet_size, Property::MaximumPacketSize, sink);
        write_some(self.assigned_client_identifier, Property::AssignedClientIdentifier, sink);
        write_some(self.topic_alias_maximum, Property::TopicAliasMaximum, sink);
        write_some(self.reason_string, Property::ReasonString, sink);
        self.user_properties.write(sink);
        write_some(self.wildcard_subscription_available, Property::WildcardSubscriptionAvailable, sink);
        write_some(self.subscription_identifiers_available, Property::SubscriptionIdentifiersAvailable, sink);
        write_some(self.shared_subscription_available, Property::SharedSubscriptionAvailable, sink);
        write_some(self.server_keep_alive, Property::ServerKeepAlive, sink);
        write_some(self.response_information, Property::ResponseInformation, sink);
        write_some(self.server_reference, Property::ServerReference, sink);
        write_some(self.authentication_method, Property::AuthenticationMethod, sink);
        write_some(self.authentication_data, Property::AuthenticationData, sink);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{V5, V311, assert_both_ways, assert_refused, framed};
    use super::super::{Packet, PropertyId};
    use super::*;

    /// CONNACK of MQTT 3.1.1: two bytes, return codes.
    #[test]
    fn connack_v311() {
        assert_both_ways(&Packet::Connack(Connack::new(true, ReasonCode::Success)), V311, &[0x20, 2, 1, 0]);
        let refused = Connack::new(false, ReasonCode::NotAuthorized);
        assert_both_ways(&Packet::Connack(refused), V311, &[0x20, 2, 0, 5]);
        let mut bytes = Vec::new();
        Connack::new(false, ReasonCode::UseAnotherServer).encode(V311, &mut bytes);
        assert_eq!(bytes, [0x20, 2, 0, 3]);
        assert_refused(0x20, &[0, 6], V311, Malformed::UndefinedReasonCode(6));
        assert_refused(0x20, &[0, 0, 0], V311, Malformed::TrailingBytes);
    }

    /// Every property of CONNACK, in the order in which we write them.
    #[test]
    fn connack_v5() {
        assert_both_ways(&Packet::Connack(Connack::default()), V5, &[0x20, 3, 0, 0, 0]);
        let connack = Connack {
            session_present: true,
            reason: ReasonCode::Success,
            session_expiry_interval: Some(1),
            receive_maximum: Some(2),
            maximum_qos: Some(QoS::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_size: Some(3),
            assigned_client_identifier: Some("i"),
            topic_alias_maximum: Some(4),
            reason_string: Some("r"),
            user_properties: UserProperties::from_pairs(&[("k", "v")]),
            wildcard_subscription_available: Some(true),
            subscription_identifiers_available: Some(false),
            shared_subscription_available: Some(true),
            server_keep_alive: Some(5),
            response_information: Some("p"),
            server_reference: Some("s"),
            authentication_method: Some("m"),
            authentication_data: Some(&[6]),
        };
        let properties = [
            0x11, 0, 0, 0, 1, 0x21, 0, 2, 0x24, 1, 0x25, 0, 0x27, 0, 0, 0, 3, 0x12, 0, 1, b'i', 0x22, 0, 4, 0x1f, 0, 1,
            b'r', 0x26, 0, 1, b'k', 0, 1, b'v', 0x28, 1, 0x29, 0, 0x2a, 1, 0x13, 0, 5, 0x1a, 0, 1, b'p', 0x1c, 0, 1,
            b's', 0x15, 0, 1, b'm', 0x16, 0, 1, 6,
        ];
        let bytes = [&[1, 0, properties.len() as u8], &properties[..]].concat();
        assert_both_ways(&Packet::Connack(connack), V5, &framed(0x20, &bytes));
    }

    /// What is refused in a CONNACK, and why.
    #[test]
    fn connack_refusals() {
        assert_refused(0x20, &[2, 0, 0], V5, Malformed::ReservedAcknowledgeFlags);
        assert_refused(0x20, &[1, 0x87, 0], V5, Malformed::SessionPresentOnRefusal);
        assert_refused(0x20, &[0, 0x8e, 0], V5, Malformed::UndefinedReasonCode(0x8e));
        assert_refused(0x20, &[0, 0], V5, Malformed::Truncated);
        assert_refused(0x20, &[0, 0, 2, 0x24, 2], V5, Malformed::PropertyValue(PropertyId::MaximumQos));
        assert_refused(
            0x20,
            &[0, 0, 2, 0x01, 1],
            V5,
            Malformed::PropertyNotAllowed(PropertyId::PayloadFormatIndicator),
        );
    }
}
