//! CONNECT and CONNACK (3.1, 3.2).

use ringmain_tests::packet::{Connect, Will, packet, put_string};
use ringmain_tests::{Case, Client, DEADLINE, Packet, Property, broker_tests};

broker_tests!(both:
    is_accepted, reads_every_field, client_ids, first_packet_is_connect, second_connect, unknown_protocol
);
broker_tests!(both: flags_that_contradict, fields_that_are_missing, byte_by_byte, pipelined, nothing_after_a_refusal);
broker_tests!(both ours: bridge_bit);
broker_tests!(v311: empty_id_of_311, password_alone_of_311);
broker_tests!(v5: empty_id_of_5, password_alone_of_5, connack_properties, connack_fits, authentication_method);
broker_tests!(v5 ours: bad_properties, no_problem_information);

/// Goal: a plain client is accepted with exactly one CONNACK and keeps its connection `[MQTT-3.1.4-5]`
/// `[MQTT-3.2.0-2]`.
fn is_accepted(case: &Case) {
    let mut client = case.connect("a");
    assert!(!client.session_present, "[MQTT-3.2.2-3]");
    client.silent();
    client.disconnect();
}

/// Goal: a CONNECT with every field is understood: the will at its end is the proof `[MQTT-3.1.3-1]`.
fn reads_every_field(case: &Case) {
    let mut watcher = case.connect("watcher");
    watcher.subscribe(&case.topic("will"), 0);
    let mut options = case.client("full").keep_alive(60).expiry(0).will(Will::new(&case.topic("will"), "read"));
    options.packet.user_name = Some("user".to_owned());
    options.packet.password = Some(b"secret\0".to_vec());
    options = options.property(Property::User("a".into(), "b".into())).property(Property::ReceiveMaximum(7));
    options.connect().abort();
    assert_eq!(watcher.message().text(), "read");
}

/// Goal: any string is a client identifier: of 1 to 23 letters `[MQTT-3.1.3-5]`, long, with the names that languages
/// use inside, not ASCII.
fn client_ids(case: &Case) {
    let long = "n".repeat(1000);
    for id in [
        "0123456789abcdefghijABC",
        "__proto__",
        "constructor",
        "a/b",
        "#",
        "+",
        " ",
        "日本語",
        "\u{feff}",
        long.as_str(),
    ] {
        let mut client = case.broker().client(case.version, &case.id(id)).connect();
        client.ping();
    }
    let longest = case.id(&"L".repeat(65_535 - case.id("").len()));
    let mut longest = case.broker().client(case.version, &longest).send();
    match longest.next(DEADLINE) {
        None => {}
        Some(Packet::Connack(false, 0, _)) => longest.ping(),
        Some(Packet::Connack(false, 0x85 | 0x95 | 2, _)) => longest.closed(),
        other => panic!("{other:?}"),
    }
}

/// Goal: whatever packet comes instead of CONNECT, the connection ends and nothing is answered `[MQTT-3.1.0-1]`.
fn first_packet_is_connect(case: &Case) {
    for first in (0x20..=0xf0u8).step_by(0x10) {
        let mut client = Client::open(case.broker().address(), case.version);
        client.send(&packet(first | if matches!(first, 0x60 | 0x80 | 0xa0) { 2 } else { 0 }, b"\0\x01a\0"));
        assert_eq!(client.bytes_to_the_end(), b"", "after a first packet {first:#04x}");
    }
}

/// Goal: a second CONNECT ends the connection, for being the second whatever is in it `[MQTT-3.1.0-2]`.
fn second_connect(case: &Case) {
    for second in [case.client("a").packet.bytes(), packet(0x10, b"\0\x04MQTX\x09")] {
        let mut client = case.connect("a");
        client.send(&second);
        client.dropped(&[0x82]);
    }
}

/// Goal: another protocol name or level is turned away, with a CONNACK that says so or none `[MQTT-3.1.2-1]`
/// `[MQTT-3.1.2-2]`.
fn unknown_protocol(case: &Case) {
    let good = case.client("a").packet.bytes();
    let name_at = good.windows(4).position(|window| window == b"MQTT").expect("the protocol name");
    for (name, level) in
        [(b"MQTX", good[name_at + 4]), (b"mqtt", good[name_at + 4]), (b"MQTT", 6), (b"MQTT", 0), (b"MQTT", 255)]
    {
        let mut bytes = good.clone();
        bytes[name_at..name_at + 4].copy_from_slice(name);
        bytes[name_at + 4] = level;
        let mut client = Client::open(case.broker().address(), case.version);
        client.send(&bytes);
        let answer = client.bytes_to_the_end();
        let allowed: [&[u8]; 3] = [b"", b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00"];
        assert!(allowed.contains(&answer.as_slice()), "{answer:02x?} for {name:?} level {level}");
    }
}

/// Goal: a bridge of 3.1.1 that sets the high bit of its level is served as 3.1.1; there is no such bit in 5.0.
fn bridge_bit(case: &Case) {
    let mut bytes = case.client("a").packet.bytes();
    let level_at = bytes.windows(4).position(|window| window == b"MQTT").expect("the protocol name") + 4;
    bytes[level_at] |= 0x80;
    let mut client = Client::open(case.broker().address(), case.version);
    client.send(&bytes);
    if case.v5() {
        let answer = client.bytes_to_the_end();
        assert!(answer.is_empty() || answer.starts_with(b"\x20"), "{answer:02x?}");
    } else {
        client.connack();
        assert_eq!(client.code, 0);
    }
}

/// Goal: flags that say two things end the connection: the reserved one, a will's without a will, Will QoS 3
/// `[MQTT-3.1.2-3]` `[MQTT-3.1.2-11]` `[MQTT-3.1.2-12]` `[MQTT-3.1.2-13]`.
fn flags_that_contradict(case: &Case) {
    let good = case.client("a").packet.bytes();
    let flags_at = good.windows(4).position(|window| window == b"MQTT").expect("the protocol name") + 5;
    for flags in [0x03, 0x0a, 0x12, 0x22, 0x1e] {
        let mut bytes = good.clone();
        bytes[flags_at] = flags;
        if flags & 4 != 0 {
            // A will that is whole but for its QoS.
            let mut connect = case.client("a").will(Will { qos: 3, ..Will::new("t", "p") }).packet;
            connect.clean = true;
            bytes = connect.bytes();
        }
        turned_away(case, &bytes);
    }
}

/// Goal: a field that a flag promises and that is missing, and one that nothing promises, end the connection
/// `[MQTT-3.1.2-9]` `[MQTT-3.1.2-16]` to `[MQTT-3.1.2-19]` `[MQTT-3.1.3-3]`.
fn fields_that_are_missing(case: &Case) {
    let good = case.client("a").packet.bytes();
    let flags_at = good.windows(4).position(|window| window == b"MQTT").expect("the protocol name") + 5;
    for flags in [0x06, 0x82, 0xc2] {
        let mut bytes = good.clone();
        bytes[flags_at] = flags;
        turned_away(case, &bytes);
    }
    let mut trailing = good[2..].to_vec();
    put_string(&mut trailing, "user");
    turned_away(case, &packet(0x10, &trailing));
    // Without payload, and without anything.
    let without_id = &good[2..flags_at + 3 + usize::from(case.v5())];
    turned_away(case, &packet(0x10, without_id));
    turned_away(case, &packet(0x10, b""));
}

fn turned_away(case: &Case, bytes: &[u8]) {
    let mut client = Client::open(case.broker().address(), case.version);
    client.send(bytes);
    client.turned_away();
}

/// Goal: packets may come in pieces of one byte.
fn byte_by_byte(case: &Case) {
    let mut client = Client::open(case.broker().address(), case.version);
    for byte in case.client("a").packet.bytes() {
        client.send(&[byte]);
    }
    client.connack();
    assert_eq!(client.code, 0);
    client.ping();
}

/// Goal: what is sent in one piece with CONNECT is served in its order.
fn pipelined(case: &Case) {
    let topic = case.topic("t");
    let mut bytes = case.client("a").packet.bytes();
    bytes.extend(ringmain_tests::packet::subscribe(case.version, 1, &[(&topic, 1)], &[]));
    bytes.extend(ringmain_tests::Publish { id: 2, ..ringmain_tests::Publish::new(&topic, 1, "x") }.bytes(case.version));
    bytes.extend(ringmain_tests::packet::PINGREQ);
    let mut client = Client::open(case.broker().address(), case.version);
    client.send(&bytes);
    client.connack();
    let codes =
        client.wait_for(|packet| if let Packet::Suback(1, codes) = packet { Some(codes.clone()) } else { None });
    assert_eq!(codes, [1]);
    client.acknowledged(1, 2);
    assert_eq!(
        client.wait_for(|packet| if let Packet::Publish(message) = packet {
            Some(message.payload.clone())
        } else {
            None
        }),
        b"x"
    );
    client.wait_for(|packet| (*packet == Packet::Pingresp).then_some(()));
}

/// Goal: what follows a refused CONNECT in the same bytes has no effect `[MQTT-3.1.4-6]`.
fn nothing_after_a_refusal(case: &Case) {
    let topic = case.topic("t");
    let mut watcher = case.connect("watcher");
    watcher.subscribe(&topic, 0);
    let mut bytes = packet(0x10, b"\0\x04MQTX\x04\x02\0\0\0\x01a");
    bytes.extend(case.client("a").packet.bytes());
    bytes.extend(ringmain_tests::Publish::new(&topic, 0, "no").bytes(case.version));
    let mut client = Client::open(case.broker().address(), case.version);
    client.send(&bytes);
    client.bytes_to_the_end();
    watcher.silent();
}

/// Goal: an empty client identifier needs Clean Session 1 in 3.1.1; two such clients coexist `[MQTT-3.1.3-6]`
/// `[MQTT-3.1.3-8]`.
fn empty_id_of_311(case: &Case) {
    let empty = case.broker().client(case.version, "");
    let (mut one, mut other) = (empty.connect(), empty.connect());
    one.ping();
    other.ping();
    assert_eq!(empty.clone().resume().refused(), 2);
}

/// Goal: an empty client identifier gets one from the server in 5.0, whatever Clean Start says: a new one each time,
/// good for resuming `[MQTT-3.1.3-6]` `[MQTT-3.1.3-7]` `[MQTT-3.2.2-16]`.
fn empty_id_of_5(case: &Case) {
    let assigned = |client: &Client| {
        let id = client
            .property(|property| if let Property::AssignedClientId(id) = property { Some(id.clone()) } else { None });
        id.expect("an Assigned Client Identifier")
    };
    let empty = case.broker().client(case.version, "").expiry(60);
    let ids: Vec<String> = (0..20)
        .map(|number| assigned(&if number % 2 == 0 { empty.clone() } else { empty.clone().resume() }.connect()))
        .collect();
    assert!(ids.iter().all(|id| !id.is_empty() && ids.iter().filter(|other| *other == id).count() == 1), "{ids:?}");
    let mut resumed = case.broker().client(case.version, &ids[0]).durable().connect();
    assert!(resumed.session_present);
    resumed.ping();
    let given = case.connect("own");
    assert!(given.property(|property| matches!(property, Property::AssignedClientId(_)).then_some(())).is_none());
}

/// Goal: a password needs a user name in 3.1.1 `[MQTT-3.1.2-22]`.
fn password_alone_of_311(case: &Case) {
    let mut options = case.client("a");
    options.packet.password = Some(b"p".to_vec());
    turned_away(case, &options.packet.bytes());
}

/// Goal: a password needs no user name in 5.0 `[MQTT-3.1.2-19]`.
fn password_alone_of_5(case: &Case) {
    let mut options = case.client("a");
    options.packet.password = Some(b"p".to_vec());
    options.connect().ping();
}

/// Goal: the CONNACK says what clients must know, each thing once, and nothing that was not asked for
/// `[MQTT-3.1.2-28]` `[MQTT-4.12.0-6]`.
fn connack_properties(case: &Case) {
    let client = case.client("a").expiry(120).connect();
    for (index, property) in client.properties.iter().enumerate() {
        let again = |other: &Property| std::mem::discriminant(other) == std::mem::discriminant(property);
        assert!(!client.properties[index + 1..].iter().any(again), "{property:?} twice");
        match property {
            Property::ReceiveMaximum(0) | Property::MaximumPacketSize(0) => panic!("{property:?} is a protocol error"),
            Property::ResponseInformation(_) | Property::AuthenticationMethod(_) | Property::AuthenticationData(_) => {
                panic!("{property:?} was not asked for")
            }
            Property::MaximumQos(_)
            | Property::RetainAvailable(0)
            | Property::SharedAvailable(0)
            | Property::WildcardAvailable(0) => {
                panic!("{property:?}: the default is all that the protocol has")
            }
            Property::SessionExpiry(seconds) => assert!(*seconds <= 120, "a longer session than asked for"),
            _ => {}
        }
    }
    let aliases = client
        .property(|property| if let Property::TopicAliasMaximum(maximum) = property { Some(*maximum) } else { None });
    // Clients exist that use the aliases 1 to 8 without looking.
    assert!(aliases.is_some_and(|maximum| maximum >= 10), "Topic Alias Maximum {aliases:?}");
}

/// Goal: the CONNACK fits the client's Maximum Packet Size, or is not sent `[MQTT-3.2.2-19]` `[MQTT-3.2.2-20]`.
fn connack_fits(case: &Case) {
    for maximum in [1, 8, 20, 40, 80] {
        let mut client = case.client("a").property(Property::MaximumPacketSize(maximum)).send();
        if let Some(packet) = client.next(DEADLINE) {
            assert!(matches!(packet, Packet::Connack(false, _, _)), "{packet:?}");
            assert!(
                client.largest_packet() <= maximum as usize,
                "{} bytes for a limit of {maximum}",
                client.largest_packet()
            );
        }
    }
}

/// Goal: properties with values that the standard forbids, twice, of other packets, or cut off, turn the client away.
fn bad_properties(case: &Case) {
    let single = [
        Property::ReceiveMaximum(0),
        Property::MaximumPacketSize(0),
        Property::RequestProblemInformation(2),
        Property::RequestResponseInformation(2),
        Property::TopicAlias(1),
        Property::MessageExpiry(1),
        Property::ServerKeepAlive(1),
        Property::SubscriptionId(1),
        Property::AuthenticationData(vec![1]),
    ];
    for property in single {
        turned_away(case, &case.client("a").property(property).packet.bytes());
    }
    let twice = case.client("a").expiry(1).expiry(1);
    turned_away(case, &twice.packet.bytes());
    // An identifier that no property has, and a set that announces more than there is.
    turned_away(case, &packet(0x10, b"\0\x04MQTT\x05\x02\0\0\x02\x7f\0\0\x01a"));
    turned_away(case, &packet(0x10, b"\0\x04MQTT\x05\x02\0\0\x09\x21\0\x01\0\x01a"));
    turned_away(case, &packet(0x10, b"\0\x04MQTT\x05\x02\0\0\xff\xff\xff\xff\x7f\0\x01a"));
}

/// Goal: an authentication method that the server does not have is refused, 0x8C if anything is said `[MQTT-4.12.0-1]`.
fn authentication_method(case: &Case) {
    let connect: Connect = case.client("a").property(Property::AuthenticationMethod("SCRAM-NONE".into())).packet;
    let mut client = Client::open(case.broker().address(), case.version);
    client.send(&connect.bytes());
    assert!(matches!(client.turned_away(), None | Some(0x8c)));
}

/// Goal: with Request Problem Information 0 only PUBLISH, CONNACK and DISCONNECT say why `[MQTT-3.1.2-29]`.
fn no_problem_information(case: &Case) {
    let mut client = case.client("a").property(Property::RequestProblemInformation(0)).connect();
    client.send(&ringmain_tests::packet::subscribe(case.version, 1, &[("a#", 0)], &[]));
    client.send(&ringmain_tests::packet::unsubscribe(case.version, 2, &["none"]));
    client.send(&ringmain_tests::packet::ack(0x62, 3, 0));
    client.send(&ringmain_tests::packet::disconnect(case.version, 0, &[]));
    let mut expected = packet(0x90, b"\0\x01\0\x8f");
    expected.extend(packet(0xb0, b"\0\x02\0\x11"));
    let answer = client.bytes_to_the_end();
    assert!(answer.starts_with(&expected), "{answer:02x?}");
    let pubcomp = &answer[expected.len()..];
    assert!([&b"\x70\x03\0\x03\x92"[..], b"\x70\x04\0\x03\x92\0"].contains(&pubcomp), "{pubcomp:02x?}");
}
