//! DISCONNECT and AUTH.

use alloc::vec::Vec;

use super::ack::{read_reason, write_reason_and_properties};
use super::header::PacketType;
use super::packet::Body;
use super::property::{Properties, Property, WriteProperties, write_some};
use super::{ProtocolVersion, ReasonCode, UserProperties};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

/// The last packet of a connection (section 3.14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Normal disconnection in MQTT 3.1.1, which has no other.
    pub reason: ReasonCode,
    /// Seconds that the session outlives the connection, where a client decided anew; a server sends none
    /// \[MQTT-3.14.2-2\].
    pub session_expiry_interval: Option<u32>,
    /// For a human reader.
    pub reason_string: Option<&'a str>,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
    /// Which server to use instead.
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// With a reason and nothing more.
    pub fn new(reason: ReasonCode) -> Disconnect<'a> {
        Disconnect { reason, ..Disconnect::default() }
    }

    pub(crate) fn read(mut body: Reader<'a>, version: ProtocolVersion) -> Result<Disconnect<'a>, Malformed> {
        let mut disconnect = Disconnect::default();
        if version == ProtocolVersion::V311 || body.is_empty() {
            return body.finish().map(|()| disconnect);
        }
        disconnect.reason = read_reason(&mut body, PacketType::Disconnect)?;
        if body.is_empty() {
            return Ok(disconnect);
        }
        let mut properties = Properties::open(&mut body)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => disconnect.session_expiry_interval = Some(seconds),
                Property::ReasonString(string) => disconnect.reason_string = Some(string),
                Property::ServerReference(reference) => disconnect.server_reference = Some(reference),
                Property::UserProperty(_) => {}
                other => return Err(Malformed::PropertyNotAllowed(other.id())),
            }
        }
        disconnect.user_properties = properties.user_properties();
        body.finish().map(|()| disconnect)
    }

    /// Bytes of the whole packet.
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        self.packet_len(version)
    }

    /// Appends the packet to `out`, in the shortest form that says it; in MQTT 3.1.1, where only clients send it,
    /// empty. Panics where a field is longer than 65,535 bytes.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        self.append_packet(PacketType::Disconnect.first_byte(), version, out);
    }
}

impl Body for Disconnect<'_> {
    fn write_body(&self, version: ProtocolVersion, sink: &mut impl Sink) {
        if version == ProtocolVersion::V5 {
            write_reason_and_properties(self.reason, self, sink);
        }
    }
}

impl WriteProperties for Disconnect<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        write_some(self.session_expiry_interval, Property::SessionExpiryInterval, sink);
        write_some(self.reason_string, Property::ReasonString, sink);
        self.user_properties.write(sink);
        write_some(self.server_reference, Property::ServerReference, sink);
    }
}

/// A step of an enhanced authentication, in MQTT 5.0 alone (section 3.15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// Which method; present in all but the empty form.
    pub authentication_method: Option<&'a str>,
    /// What that method says.
    pub authentication_data: Option<&'a [u8]>,
    /// For a human reader.
    pub reason_string: Option<&'a str>,
    /// For the applications.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn read(mut body: Reader<'a>) -> Result<Auth<'a>, Malformed> {
        let mut auth = Auth::default();
        if body.is_empty() {
            return Ok(auth);
        }
        auth.reason = read_reason(&mut body, PacketType::Auth)?;
        let mut properties = Properties::open(&mut body)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::AuthenticationMethod(method) => auth.authentication_method = Some(method),
                Property::AuthenticationData(data) => auth.authentication_data = Some(data),
                Property::ReasonString(string) => auth.reason_string = Some(string),
                Property::UserProperty(_) => {}
                other => return Err(Malformed::PropertyNotAllowed(other.id())),
            }
        }
        auth.user_properties = properties.user_properties();
        body.finish().map(|()| auth)
    }

    /// Bytes of the whole packet.
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        self.packet_len(version)
    }

    /// Appends the packet to `out`. Panics in MQTT 3.1.1, which has no AUTH, and where a field is longer than 65,535
    /// bytes.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        assert_eq!(version, ProtocolVersion::V5, "MQTT 3.1.1 has no AUTH");
        self.append_packet(PacketType::Auth.first_byte(), version, out);
    }
}

impl Body for Auth<'_> {
    fn write_body(&self, _: ProtocolVersion, sink: &mut impl Sink) {
        // Unlike in DISCONNECT, a reason is never without a property length.
        if self.reason != ReasonCode::Success || self.properties_len() > 0 {
            sink.u8(self.reason as u8);
            self.write_with_length(sink);
        }
    }
}

impl WriteProperties for Auth<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        write_some(self.authentication_method, Property::AuthenticationMethod, sink);
        write_some(self.authentication_data, Property::AuthenticationData, sink);
        write_some(self.reason_string, Property::ReasonString, sink);
        self.user_properties.write(sink);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::testing::{V5, V311, assert_both_ways, assert_refused};
    use super::*;
    use crate::mqtt::PropertyId;

    /// The empty DISCONNECT is a normal one, in both versions.
    #[test]
    fn disconnect_short_forms() {
        for version in [V311, V5] {
            assert_both_ways(&Packet::Disconnect(Disconnect::default()), version, &[0xe0, 0]);
        }
        let taken_over = Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver));
        assert_both_ways(&taken_over, V5, &[0xe0, 1, 0x8e]);
    }

    /// Every property of DISCONNECT.
    #[test]
    fn disconnect_with_properties() {
        let disconnect = Disconnect {
            reason: ReasonCode::DisconnectWithWill,
            session_expiry_interval: Some(60),
            reason_string: Some("r"),
            user_properties: UserProperties::from_pairs(&[("k", "v")]),
            server_reference: Some("s"),
        };
        let bytes =
            [0xe0, 22, 0x04, 20, 0x11, 0, 0, 0, 60, 0x1f, 0, 1, b'r', 0x26, 0, 1, b'k', 0, 1, b'v', 0x1c, 0, 1, b's'];
        assert_both_ways(&Packet::Disconnect(disconnect), V5, &bytes);
    }

    /// What is refused, and why.
    #[test]
    fn disconnect_refusals() {
        assert_refused(0xe0, &[0], V311, Malformed::TrailingBytes);
        assert_refused(0xe0, &[0x01], V5, Malformed::UndefinedReasonCode(0x01));
        assert_refused(0xe0, &[0x00, 5], V5, Malformed::Truncated);
        assert_refused(0xe0, &[0x00, 5, 0x11, 0, 0, 0], V5, Malformed::Truncated);
        assert_refused(0xe0, &[0x00, 3, 0x21, 0, 1], V5, Malformed::PropertyNotAllowed(PropertyId::ReceiveMaximum));
        assert_refused(0xe0, &[0x00, 0, 0], V5, Malformed::TrailingBytes);
    }

    /// AUTH has an empty form and a full one, and nothing between.
    #[test]
    fn auth_forms() {
        assert_both_ways(&Packet::Auth(Auth::default()), V5, &[0xf0, 0]);
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            authentication_method: Some("m"),
            authentication_data: Some(&[0, 0xff]),
            reason_string: Some("r"),
            user_properties: UserProperties::from_pairs(&[("k", "v")]),
        };
        let bytes =
            [0xf0, 22, 0x18, 20, 0x15, 0, 1, b'm', 0x16, 0, 2, 0, 0xff, 0x1f, 0, 1, b'r', 0x26, 0, 1, b'k', 0, 1, b'v'];
        assert_both_ways(&Packet::Auth(auth), V5, &bytes);
        assert_refused(0xf0, &[0x18], V5, Malformed::Truncated);
        assert_refused(0xf0, &[0x80, 0], V5, Malformed::UndefinedReasonCode(0x80));
        assert_refused(0xf0, &[], V311, Malformed::ReservedPacketType);
    }

    /// MQTT 3.1.1 has no AUTH to encode.
    #[test]
    #[should_panic(expected = "MQTT 3.1.1 has no AUTH")]
    fn auth_is_not_for_the_old() {
        Auth::default().encode(V311, &mut Vec::new());
    }
}
