//! Packets by chance: every packet, every field, both versions.
//!
//! What a packet borrows is leaked, as a strategy's value must own what it shows; it is little, and the test ends soon.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use wire::mqtt::{
    Ack, Auth, Connack, Connect, ConnectProperties, Disconnect, Packet, PacketId, PacketType, Property,
    ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Suback, Subscribe, SubscribeOptions,
    Unsuback, Unsubscribe, UserProperties, Will,
};

pub fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![Just(ProtocolVersion::V311), Just(ProtocolVersion::V5)]
}

/// A packet that this version can say.
pub fn packet(version: ProtocolVersion) -> BoxedStrategy<Packet<'static>> {
    let v5 = version == ProtocolVersion::V5;
    let auth = auth().prop_map(Packet::Auth).prop_filter("MQTT 5.0 alone", move |_| v5);
    let either = prop_oneof![
        2 => connect(version).prop_map(Packet::Connect),
        2 => connack(version).prop_map(Packet::Connack),
        4 => publish(version).prop_map(Packet::Publish),
        1 => ack(PacketType::Puback, version).prop_map(Packet::Puback),
        1 => ack(PacketType::Pubrec, version).prop_map(Packet::Pubrec),
        1 => ack(PacketType::Pubrel, version).prop_map(Packet::Pubrel),
        1 => ack(PacketType::Pubcomp, version).prop_map(Packet::Pubcomp),
        2 => subscribe(version).prop_map(Packet::Subscribe),
        1 => suback(version).prop_map(Packet::Suback),
        1 => unsubscribe(version).prop_map(Packet::Unsubscribe),
        1 => unsuback(version).prop_map(Packet::Unsuback),
        1 => Just(Packet::Pingreq),
        1 => Just(Packet::Pingresp),
        1 => disconnect(version).prop_map(Packet::Disconnect),
    ];
    if v5 { prop_oneof![16 => either, 1 => auth].boxed() } else { either.boxed() }
}

/// Any string that the wire can carry, mostly short.
fn string() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        20 => "[a-z/+#$ \u{1}é€\u{feff}\u{10ffff}]{0,12}".boxed(),
        1 => "[ab]{100,300}".boxed(),
        1 => Just("x".repeat(65_535)).boxed(),
    ]
    .prop_map(|string| &*string.leak())
}

/// A topic name.
pub fn topic() -> impl Strategy<Value = &'static str> {
    "[a-c/$é]{1,10}".prop_map(|topic| &*topic.leak())
}

/// A filter, valid or not.
pub fn filter() -> impl Strategy<Value = &'static str> {
    "(\\$share/[a-b+]{0,2}/)?[a-b/+#$]{0,8}".prop_map(|filter| &*filter.leak())
}

fn binary() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..20).prop_map(|bytes| &*bytes.leak())
}

fn payload() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![vec(any::<u8>(), 0..200), vec(Just(0), 16_300..16_400)].prop_map(|bytes| &*bytes.leak())
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<PacketId>()
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let valid: Vec<ReasonCode> = ReasonCode::ALL.iter().copied().filter(|code| code.is_valid_in(packet)).collect();
    proptest::sample::select(valid)
}

/// A value in MQTT 5.0; the default in 3.1.1, which cannot say it.
fn v5<T: Clone + Default + std::fmt::Debug + 'static>(
    version: ProtocolVersion,
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    match version {
        ProtocolVersion::V311 => Just(T::default()).boxed(),
        ProtocolVersion::V5 => value.boxed(),
    }
}

fn user_properties() -> impl Strategy<Value = UserProperties<'static>> {
    let pairs = vec(("[a-z]{0,5}", "[a-zé]{0,5}"), 0..4);
    pairs.prop_map(|pairs| {
        let pairs: Vec<(&str, &str)> = pairs.into_iter().map(|(name, value)| (&*name.leak(), &*value.leak())).collect();
        UserProperties::from_pairs(pairs.leak())
    })
}

/// What may stand in the properties of a PUBLISH, in any order, each as often as it may.
fn publish_properties(will: bool) -> impl Strategy<Value = PublishProperties<'static>> {
    let once = (
        of(any::<bool>().prop_map(Property::PayloadFormatIndicator)),
        of(any::<u32>().prop_map(Property::MessageExpiryInterval)),
        of(string().prop_map(Property::ContentType)),
        of(topic().prop_map(Property::ResponseTopic)),
        of(binary().prop_map(Property::CorrelationData)),
        of((1..=u16::MAX).prop_map(Property::TopicAlias)),
    );
    let user = vec(("[a-z]{0,5}", "[a-z]{0,5}"), 0..3);
    let identifiers = vec(1..=268_435_455u32, 0..3);
    let all = (once, user, identifiers).prop_map(move |(once, user, identifiers)| {
        let mut all: Vec<Property<'static>> = [once.0, once.1, once.2, once.3, once.4].into_iter().flatten().collect();
        all.extend(user.into_iter().map(|(name, value)| Property::UserProperty((&*name.leak(), &*value.leak()))));
        if !will {
            all.extend(once.5);
            all.extend(identifiers.into_iter().map(Property::SubscriptionIdentifier));
        }
        all
    });
    all.prop_shuffle().prop_map(|all| {
        let mut bytes = Vec::new();
        all.iter().for_each(|property| property.append_to(&mut bytes));
        PublishProperties::parse(bytes.leak()).expect("each property is valid, and occurs as often as it may")
    })
}

fn publish(version: ProtocolVersion) -> impl Strategy<Value = Publish<'static>> {
    let rest = (any::<bool>(), packet_id(), v5(version, publish_properties(false)), payload());
    (qos(), any::<bool>(), topic(), rest).prop_map(|(qos, retain, topic, (dup, id, properties, payload))| {
        let acknowledged = qos != QoS::AtMostOnce;
        let topic = if properties.topic_alias.is_some() && dup { "" } else { topic };
        let packet_id = acknowledged.then_some(id);
        Publish { dup: dup && acknowledged, qos, retain, topic, packet_id, properties, payload }
    })
}

fn will(version: ProtocolVersion) -> impl Strategy<Value = Will<'static>> {
    let properties = v5(version, publish_properties(true));
    (qos(), any::<bool>(), topic(), binary(), v5(version, any::<u32>()), properties).prop_map(
        |(qos, retain, topic, payload, delay_interval, properties)| Will {
            qos,
            retain,
            topic,
            payload,
            delay_interval,
            properties,
        },
    )
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties<'static>> {
    let numbers = (of(any::<u32>()), of(1..=u16::MAX), of(1..=u32::MAX), of(any::<u16>()));
    let authentication = of((string(), of(binary())));
    (numbers, any::<(bool, bool)>(), authentication, user_properties()).prop_map(
        |(numbers, wanted, authentication, user_properties)| ConnectProperties {
            session_expiry_interval: numbers.0,
            receive_maximum: numbers.1,
            maximum_packet_size: numbers.2,
            topic_alias_maximum: numbers.3,
            request_response_information: wanted.0,
            request_problem_information: wanted.1,
            authentication_method: authentication.map(|(method, _)| method),
            authentication_data: authentication.and_then(|(_, data)| data),
            user_properties,
        },
    )
}

fn connect(version: ProtocolVersion) -> impl Strategy<Value = Connect<'static>> {
    let head = (any::<(bool, bool, u16)>(), string(), of(will(version)));
    let properties = v5(version, connect_properties());
    (head, of(string()), of(binary()), properties).prop_map(
        move |((flags, client_id, will), user_name, password, properties)| Connect {
            version,
            bridge: flags.0 && version == ProtocolVersion::V311,
            clean_start: flags.1,
            keep_alive: flags.2,
            client_id,
            will,
            user_name,
            password: password.filter(|_| user_name.is_some() || version == ProtocolVersion::V5),
            properties,
        },
    )
}

fn connack_v5() -> impl Strategy<Value = Connack<'static>> {
    let numbers = (of(any::<u32>()), of(1..=u16::MAX), of(1..=u32::MAX), of(any::<u16>()), of(any::<u16>()));
    let maximum_qos = of(prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce)]);
    let available = any::<[Option<bool>; 4]>();
    let strings = [of(string()), of(string()), of(string()), of(string()), of(string())];
    (numbers, maximum_qos, available, strings, of(binary()), user_properties()).prop_map(
        |(numbers, maximum_qos, available, strings, authentication_data, user_properties)| Connack {
            session_expiry_interval: numbers.0,
            receive_maximum: numbers.1,
            maximum_qos,
            retain_available: available[0],
            maximum_packet_size: numbers.2,
            assigned_client_identifier: strings[0],
            topic_alias_maximum: numbers.3,
            reason_string: strings[1],
            user_properties,
            wildcard_subscription_available: available[1],
            subscription_identifiers_available: available[2],
            shared_subscription_available: available[3],
            server_keep_alive: numbers.4,
            response_information: strings[2],
            server_reference: strings[3],
            authentication_method: strings[4],
            authentication_data,
            ..Connack::default()
        },
    )
}

fn connack(version: ProtocolVersion) -> impl Strategy<Value = Connack<'static>> {
    let reason = match version {
        ProtocolVersion::V311 => (0..=5u8).prop_map(|code| ReasonCode::from_return_code(code).unwrap()).boxed(),
        ProtocolVersion::V5 => reason(PacketType::Connack).boxed(),
    };
    (any::<bool>(), reason, v5(version, connack_v5())).prop_map(|(present, reason, connack)| Connack {
        session_present: present && reason == ReasonCode::Success,
        reason,
        ..connack
    })
}

fn ack(packet: PacketType, version: ProtocolVersion) -> impl Strategy<Value = Ack<'static>> {
    let rest = (v5(version, reason(packet)), v5(version, of(string())), v5(version, user_properties()));
    (packet_id(), rest).prop_map(|(packet_id, (reason, reason_string, user_properties))| Ack {
        packet_id,
        reason,
        reason_string,
        user_properties,
    })
}

fn options(version: ProtocolVersion) -> impl Strategy<Value = SubscribeOptions> {
    let handling = prop_oneof![
        Just(RetainHandling::SendAtSubscribe),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DoNotSend),
    ];
    (qos(), v5(version, any::<(bool, bool)>()), v5(version, handling)).prop_map(|(qos, flags, retain_handling)| {
        SubscribeOptions { qos, no_local: flags.0, retain_as_published: flags.1, retain_handling }
    })
}

fn subscribe(version: ProtocolVersion) -> impl Strategy<Value = Subscribe<'static>> {
    let filters = vec((string(), options(version)), 1..5).prop_map(|mut filters| {
        for (filter, options) in &mut filters {
            options.no_local &= !filter.starts_with("$share/");
        }
        &*filters.leak()
    });
    let identifier = v5(version, of(1..=268_435_455u32));
    (packet_id(), filters, identifier, v5(version, user_properties())).prop_map(
        |(packet_id, filters, subscription_identifier, user_properties)| {
            let mut subscribe = Subscribe::new(packet_id, filters);
            subscribe.subscription_identifier = subscription_identifier;
            subscribe.user_properties = user_properties;
            subscribe
        },
    )
}

fn unsubscribe(version: ProtocolVersion) -> impl Strategy<Value = Unsubscribe<'static>> {
    let filters = vec(string(), 1..5).prop_map(|filters| &*filters.leak());
    (packet_id(), filters, v5(version, user_properties())).prop_map(|(packet_id, filters, user_properties)| {
        let mut unsubscribe = Unsubscribe::new(packet_id, filters);
        unsubscribe.user_properties = user_properties;
        unsubscribe
    })
}

fn suback(version: ProtocolVersion) -> impl Strategy<Value = Suback<'static>> {
    let code = reason(PacketType::Suback).prop_map(move |code| match version {
        ProtocolVersion::V311 if code.is_error() => ReasonCode::UnspecifiedError,
        _ => code,
    });
    let codes = vec(code, 1..5).prop_map(|codes| &*codes.leak());
    (packet_id(), codes, v5(version, of(string())), v5(version, user_properties())).prop_map(
        |(packet_id, codes, reason_string, user_properties)| Suback {
            reason_string,
            user_properties,
            ..Suback::new(packet_id, codes)
        },
    )
}

fn unsuback(version: ProtocolVersion) -> impl Strategy<Value = Unsuback<'static>> {
    let codes = v5(version, vec(reason(PacketType::Unsuback), 1..5)).prop_map(|codes| &*codes.leak());
    (packet_id(), codes, v5(version, of(string())), v5(version, user_properties())).prop_map(
        |(packet_id, codes, reason_string, user_properties)| Unsuback {
            reason_string,
            user_properties,
            ..Unsuback::new(packet_id, codes)
        },
    )
}

fn disconnect(version: ProtocolVersion) -> impl Strategy<Value = Disconnect<'static>> {
    let all = (reason(PacketType::Disconnect), of(any::<u32>()), of(string()), user_properties(), of(string()));
    let all = all.prop_map(|(reason, session_expiry_interval, reason_string, user_properties, server_reference)| {
        Disconnect { reason, session_expiry_interval, reason_string, user_properties, server_reference }
    });
    v5(version, all)
}

fn auth() -> impl Strategy<Value = Auth<'static>> {
    (reason(PacketType::Auth), of(string()), of(binary()), of(string()), user_properties()).prop_map(
        |(reason, authentication_method, authentication_data, reason_string, user_properties)| Auth {
            reason,
            authentication_method,
            authentication_data,
            reason_string,
            user_properties,
        },
    )
}
