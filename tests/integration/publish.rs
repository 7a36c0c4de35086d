//! PUBLISH and the three qualities of service (3.3 to 3.7, 4.3, 4.6).

use std::collections::HashSet;

use ringmain_tests::case::Shape;
use ringmain_tests::packet::{ack, packet};
use ringmain_tests::program::Program;
use ringmain_tests::{Case, Client, Property, Publish, Setup, Version, broker_tests};

broker_tests!(both:
    nine_combinations, payload_sizes, keeps_order, echoes_to_oneself, fan_out, fan_in, dup_is_not_forwarded
);
broker_tests!(both:
    qos_2_repeats, qos_1_repeats, unknown_acknowledgements, packet_id_zero, qos_3, topics_that_are_refused
);
broker_tests!(both: window_without_acknowledgements, acknowledgements_in_reverse, qos_2_stages);
broker_tests!(v5: errors_free_the_window);
broker_tests!(both ours: dup_at_qos_0);
broker_tests!(v5 ours: receive_maximum_of_the_client, unknown_pubrel, refusals_of_topics);

/// Goal: each pair of publisher's and subscriber's QoS delivers once, at the lower of the two, DUP and RETAIN clear
/// `[MQTT-3.8.4-8]` `[MQTT-3.3.4-1]` `[MQTT-4.3.1-1]` `[MQTT-4.3.2-2]` `[MQTT-4.3.3-2]`.
fn nine_combinations(case: &Case) {
    let mut publisher = case.connect("publisher");
    for granted in 0..=2 {
        let mut subscriber = case.connect("subscriber");
        let topic = case.topic(&format!("granted/{granted}"));
        assert_eq!(subscriber.subscribe(&topic, granted), granted);
        for qos in 0..=2 {
            let code = publisher.publish(&topic, qos, format!("{qos}"));
            assert!(matches!(code, 0 | 0x10), "{code:#04x}");
            let message = subscriber.message();
            assert_eq!((message.text(), message.qos), (format!("{qos}").as_str(), qos.min(granted)));
            assert_eq!((&message.topic, message.dup, message.retain), (&topic, false, false));
        }
        subscriber.silent();
    }
}

/// Goal: payloads of every size arrive byte for byte, around each step of the length encoding and far beyond one
/// receive buffer.
fn payload_sizes(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    for qos in 0..=2 {
        subscriber.subscribe(&topic, qos);
        for len in [0, 1, 100, 127, 128, 4_095, 8_192, 16_200, 16_384, 65_536, 300_000, 900_000] {
            let payload: Vec<u8> = (0..len).map(|index: u32| (index.wrapping_mul(31) >> 3) as u8).collect();
            publisher.publish(&topic, qos, &payload);
            let message = subscriber.message();
            assert!(message.payload == payload, "{len} bytes at QoS {qos} came as {}", message.payload.len());
        }
    }
}

/// Goal: one publisher's messages on one topic arrive in order, each exactly once, at every QoS `[MQTT-4.6.0-5]`.
fn keeps_order(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    for qos in 0..=2 {
        subscriber.subscribe(&topic, qos);
        for batch in 0..10 {
            let ids: Vec<u16> = (0..20)
                .map(|n| publisher.send_publish(&Publish::new(&topic, qos, format!("{}", batch * 20 + n))))
                .collect();
            ids.into_iter().for_each(|id| assert!(publisher.acknowledged(qos, id) < 0x80));
        }
        let expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        assert_eq!(subscriber.texts(200), expected, "QoS {qos}");
    }
    subscriber.silent();
}

/// Goal: a client that subscribes to its own topic gets its own messages.
fn echoes_to_oneself(case: &Case) {
    let mut client = case.connect("a");
    let topic = case.topic("t");
    client.subscribe(&topic, 2);
    for qos in 0..=2 {
        client.publish(&topic, qos, "mine");
        assert_eq!(client.message().qos, qos);
    }
}

/// Goal: one message reaches each of many subscribers once, in order, whatever shard they are on `[MQTT-4.5.0-1]`.
fn fan_out(case: &Case) {
    let topic = case.topic("room");
    let mut subscribers: Vec<Client> = (0..30).map(|number| case.connect(&format!("s{number}"))).collect();
    for (number, subscriber) in subscribers.iter_mut().enumerate() {
        subscriber.subscribe(&topic, (number % 3) as u8);
    }
    let mut publisher = case.connect("publisher");
    for number in 0..20 {
        publisher.publish(&topic, 2, format!("{number}"));
    }
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.texts(20), expected);
        subscriber.silent();
    }
}

/// Goal: many publishers to one subscriber: nothing lost or repeated, and each publisher's own order kept.
fn fan_in(case: &Case) {
    let topic = case.topic("t");
    let mut subscriber = case.connect("subscriber");
    subscriber.subscribe(&topic, 1);
    let mut publishers: Vec<Client> = (0..10).map(|number| case.connect(&format!("p{number}"))).collect();
    for number in 0..20 {
        for (publisher, client) in publishers.iter_mut().enumerate() {
            client.send_publish(&Publish::new(&topic, 1, format!("{publisher} {number}")));
        }
    }
    let mut next = [0; 10];
    for _ in 0..200 {
        let message = subscriber.message();
        let (publisher, number) = message.text().split_once(' ').expect("two numbers");
        let publisher: usize = publisher.parse().expect("a number");
        assert_eq!(number.parse(), Ok(next[publisher]), "from publisher {publisher}");
        next[publisher] += 1;
    }
    subscriber.silent();
}

/// Goal: DUP is of one hop: a repeat that is new to the server reaches the subscriber with DUP 0 `[MQTT-3.3.1-3]`.
fn dup_is_not_forwarded(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 2);
    for qos in 1..=2 {
        publisher.publish_packet(&Publish { dup: true, ..Publish::new(&topic, qos, "x") });
        assert!(!subscriber.message().dup);
    }
}

/// Goal: DUP at QoS 0 is malformed `[MQTT-3.3.1-2]`.
fn dup_at_qos_0(case: &Case) {
    let mut client = case.connect("a");
    client.send(&Publish { dup: true, ..Publish::new(&case.topic("t"), 0, "x") }.bytes(case.version));
    client.dropped(&[0x81]);
}

/// Goal: a QoS 2 message that is sent again before PUBREL is received again and delivered once; after PUBCOMP its
/// identifier is free `[MQTT-4.3.3-9]` to `[MQTT-4.3.3-12]`.
fn qos_2_repeats(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 2);
    let first = Publish { id: 7, ..Publish::new(&topic, 2, "once") };
    publisher.send(&first.bytes(case.version));
    assert!(publisher.pubrec(7) < 0x80);
    // Mosquitto ends a connection that repeats more than once.
    for _ in 0..if case.ours() { 3 } else { 1 } {
        publisher.send(&Publish { dup: true, ..first.clone() }.bytes(case.version));
        assert!(publisher.pubrec(7) < 0x80);
    }
    publisher.send(&ack(0x62, 7, 0));
    assert_eq!(publisher.pubcomp(7), 0);
    assert_eq!(subscriber.message().text(), "once");
    // The same identifier again is a new message.
    publisher.send(&Publish { payload: b"twice".to_vec(), ..first }.bytes(case.version));
    assert!(publisher.pubrec(7) < 0x80);
    publisher.send(&ack(0x62, 7, 0));
    assert_eq!(publisher.pubcomp(7), 0);
    assert_eq!(subscriber.message().text(), "twice");
    subscriber.silent();
}

/// Goal: after PUBACK the same identifier is a new message, even with DUP `[MQTT-4.3.2-5]`.
fn qos_1_repeats(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 1);
    for dup in [false, true, true] {
        publisher.send(&Publish { id: 3, dup, ..Publish::new(&topic, 1, "x") }.bytes(case.version));
        assert!(publisher.acknowledged(1, 3) < 0x80);
        assert!(!subscriber.message().dup);
    }
}

/// Goal: acknowledgements of identifiers that are not in flight do no harm: PUBREL is still answered by PUBCOMP
/// `[MQTT-4.3.3-11]`.
fn unknown_acknowledgements(case: &Case) {
    let mut client = case.connect("a");
    client.send(&ack(0x40, 900, 0));
    client.send(&ack(0x70, 902, 0));
    client.send(&ack(0x62, 903, 0));
    let code = client.pubcomp(903);
    assert!(matches!(code, 0 | 0x92), "{code:#04x}");
    client.ping();
}

/// Goal: the PUBCOMP of an unknown identifier says so, and an unknown PUBREC gets a PUBREL that says so
/// `[MQTT-3.7.2-1]` `[MQTT-3.6.2-1]`.
fn unknown_pubrel(case: &Case) {
    let mut client = case.connect("a");
    client.send(&ack(0x62, 903, 0));
    assert_eq!(client.pubcomp(903), 0x92);
    client.send(&ack(0x50, 904, 0));
    assert_eq!(client.pubrel(904), 0x92);
    client.ping();
}

/// Goal: packet identifier 0 ends the connection `[MQTT-2.2.1-3]`.
fn packet_id_zero(case: &Case) {
    for qos in 1..=2 {
        let mut client = case.connect("a");
        client.send(&Publish::new(&case.topic("t"), qos, "x").bytes(case.version));
        client.dropped(&[0x81, 0x82]);
    }
}

/// Goal: QoS 3 ends the connection `[MQTT-3.3.1-4]`.
fn qos_3(case: &Case) {
    let mut client = case.connect("a");
    client.send(&Publish { id: 1, ..Publish::new(&case.topic("t"), 3, "x") }.bytes(case.version));
    client.dropped(&[0x81]);
}

/// Goal: a PUBLISH to a filter, or to nothing, ends the connection or is refused, and reaches nobody `[MQTT-3.3.2-2]`
/// `[MQTT-4.7.3-1]`.
fn topics_that_are_refused(case: &Case) {
    let mut watcher = case.connect("watcher");
    watcher.subscribe(&case.topic("#"), 0);
    for topic in ["a/#", "a/+", "+", "#", "a+b", "a#"] {
        let mut client = case.connect("a");
        client.send(&Publish::new(&case.topic(topic), 0, "x").bytes(case.version));
        client.dropped(&[0x81, 0x82, 0x90]);
    }
    let mut client = case.connect("a");
    client.send(&Publish::new("", 0, "x").bytes(case.version));
    client.dropped(&[0x81, 0x82, 0x90]);
    watcher.silent();
}

/// Goal: the reasons: malformed or 0x90 for a topic name with a wildcard, 0x82 for none without an alias.
fn refusals_of_topics(case: &Case) {
    for (topic, codes) in [("a/#", &[0x81, 0x90][..]), ("+", &[0x81, 0x90]), ("", &[0x82])] {
        let mut client = case.connect("a");
        client.send(&Publish { id: 1, ..Publish::new(topic, 1, "x") }.bytes(case.version));
        client.dropped(codes);
    }
}

/// Goal: the server stops at its window when nothing is acknowledged, goes on serving the client, and goes on as
/// acknowledgements come; identifiers in flight are distinct `[MQTT-2.2.1-4]` `[MQTT-3.3.4-10]`.
fn window_without_acknowledgements(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    for qos in 1..=2u8 {
        subscriber.subscribe(&topic, qos);
        for number in 0..100 {
            publisher.publish(&topic, qos, format!("{number}"));
        }
        let mut ids = HashSet::new();
        let mut expected = 0;
        while expected < 100 {
            let message = subscriber.delivery();
            assert_eq!(message.text(), expected.to_string());
            assert!(ids.insert(message.id), "[MQTT-2.2.1-4] {} twice in flight", message.id);
            expected += 1;
            // Let half of the messages gather before the first acknowledgement.
            if ids.len() > 10 {
                subscriber.ping();
                for id in ids.drain() {
                    finish(&mut subscriber, qos, id);
                }
            }
        }
        for id in ids.drain() {
            finish(&mut subscriber, qos, id);
        }
    }
    subscriber.silent();
}

fn finish(client: &mut Client, qos: u8, id: u16) {
    if qos == 1 {
        return client.send(&ack(0x40, id, 0));
    }
    client.send(&ack(0x50, id, 0));
    client.pubrel(id);
    client.send(&ack(0x70, id, 0));
}

/// Goal: acknowledgements in any order are good, and each frees its place.
fn acknowledgements_in_reverse(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 2);
    for round in 0..5 {
        for qos in 1..=2 {
            (0..8).for_each(|number| {
                publisher.publish(&topic, qos, format!("{round} {number}"));
            });
            let ids: Vec<u16> = (0..8).map(|_| subscriber.delivery().id).collect();
            ids.into_iter().rev().for_each(|id| finish(&mut subscriber, qos, id));
        }
    }
    subscriber.silent();
}

/// Goal: at QoS 2 the server holds PUBREL back until PUBREC, answers each with the same identifier, and sends nothing
/// twice meanwhile `[MQTT-4.3.3-4]` `[MQTT-2.2.1-5]` `[MQTT-4.4.0-1]`.
fn qos_2_stages(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 2);
    publisher.publish(&topic, 2, "x");
    let message = subscriber.delivery();
    subscriber.silent();
    subscriber.send(&ack(0x50, message.id, 0));
    assert_eq!(subscriber.pubrel(message.id), 0);
    subscriber.silent();
    subscriber.send(&ack(0x70, message.id, 0));
    subscriber.silent();
}

/// Goal: the client's Receive Maximum bounds what is in flight to it, exactly, QoS 1 and 2 together; QoS 0 is not
/// held back `[MQTT-3.3.4-9]` `[MQTT-4.9.0-2]` `[MQTT-4.9.0-3]`.
fn receive_maximum_of_the_client(case: &Case) {
    for maximum in [1, 3] {
        let mut publisher = case.connect("publisher");
        let mut subscriber = case.client("subscriber").property(Property::ReceiveMaximum(maximum)).connect();
        let topic = case.topic(&format!("t{maximum}"));
        subscriber.subscribe(&topic, 2);
        for number in 0..8 {
            publisher.publish(&topic, 1 + number % 2, format!("{number}"));
        }
        let mut flying: Vec<Publish> = (0..maximum).map(|_| subscriber.delivery()).collect();
        subscriber.silent();
        assert_eq!(subscriber.subscribe(&case.topic("other"), 0), 0);
        for number in u8::try_from(maximum).expect("small")..8 {
            let first = flying.remove(0);
            finish(&mut subscriber, first.qos, first.id);
            let next = subscriber.delivery();
            assert_eq!(next.text(), number.to_string());
            flying.push(next);
            subscriber.silent();
        }
        flying.into_iter().for_each(|message| finish(&mut subscriber, message.qos, message.id));
        subscriber.silent();
    }
}

/// Goal: an acknowledgement with an error ends that message: PUBREC gets no PUBREL, and the window is free again
/// `[MQTT-4.3.3-4]`.
fn errors_free_the_window(case: &Case) {
    let mut publisher = case.connect("publisher");
    let mut subscriber = case.client("subscriber").property(Property::ReceiveMaximum(1)).connect();
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 2);
    for number in 0..6 {
        publisher.publish(&topic, 1 + number % 2, format!("{number}"));
    }
    for number in 0..6 {
        let message = subscriber.delivery();
        assert_eq!(message.text(), number.to_string());
        subscriber.send(&ack(if message.qos == 1 { 0x40 } else { 0x50 }, message.id, 0x80));
    }
    subscriber.silent();
}

/// Goal: a client that goes over the server's Receive Maximum is told 0x93 and dropped; one at the limit is not
/// `[MQTT-3.3.4-7]`.
#[test]
fn receive_maximum_of_the_server() {
    if Program::tested() != Program::Ringmain {
        return; // Mosquitto answers a PUBREC with 0x97.
    }
    for shards in [1, 2, 5] {
        let setup = Setup::shards(shards).toml("[limits]\nreceive_maximum = 5");
        let broker = setup.start();
        let mut client = broker.client(Version::V5, "loud").connect();
        assert!(client.properties.contains(&Property::ReceiveMaximum(5)), "{:?}", client.properties);
        for id in 1..=5 {
            client.send(&Publish { id, ..Publish::new("t", 2, "x") }.bytes(Version::V5));
            assert!(client.pubrec(id) < 0x80);
        }
        client.ping();
        client.send(&Publish { id: 6, ..Publish::new("t", 2, "x") }.bytes(Version::V5));
        client.dropped(&[0x93]);
    }
}

/// Goal: packet identifiers wrap around one that stays in flight: more than 65,535 messages, none with its identifier
/// `[MQTT-2.2.1-4]`.
#[test]
fn identifiers_wrap() {
    let test = |case: &Case| {
        let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
        let topic = case.topic("t");
        subscriber.subscribe(&topic, 1);
        publisher.publish(&topic, 1, "stays");
        let stays = subscriber.delivery().id;
        for batch in 0..6_600 {
            for _ in 0..10 {
                publisher.send(&Publish { id: 1, ..Publish::new(&topic, 1, "x") }.bytes(case.version));
                publisher.acknowledged(1, 1);
            }
            for _ in 0..10 {
                let id = subscriber.message().id;
                assert_ne!(id, stays, "in batch {batch}");
            }
        }
    };
    Case::run(concat!(module_path!(), "::identifiers_wrap"), Shape::Two, Version::V5, false, test);
}

/// Goal: the fixed flags of PUBREL are checked `[MQTT-3.6.1-1]`, and bytes after the end of an acknowledgement too.
#[test]
fn flags_of_acknowledgements() {
    let test = |case: &Case| {
        let bad = [
            packet(0x60, b"\0\x01"),
            packet(0x61, b"\0\x01"),
            packet(0x6a, b"\0\x01"),
            packet(0x42, b"\0\x01"),
            packet(0x51, b"\0\x01"),
        ];
        for bytes in bad.into_iter().chain([
            packet(0x40, b"\0"),
            packet(0x40, b""),
            packet(0x40, b"\0\0"),
            packet(0x71, b"\0\x01"),
        ]) {
            let mut client = case.connect("a");
            client.send(&bytes);
            client.dropped(&[0x81, 0x82]);
        }
    };
    Case::run(concat!(module_path!(), "::flags"), Shape::Two, Version::V5, true, test);
    Case::run(concat!(module_path!(), "::flags"), Shape::One, Version::V311, true, test);
}

/// Goal: codes of acknowledgements that their packet does not have are malformed.
#[test]
fn codes_of_acknowledgements() {
    let test = |case: &Case| {
        for bytes in
            [ack(0x40, 1, 0x92), ack(0x62, 1, 0x10), ack(0x70, 1, 0x80), ack(0x40, 1, 1), packet(0x40, b"\0\x01\0\0\0")]
        {
            let mut client = case.connect("a");
            client.send(&bytes);
            client.dropped(&[0x81, 0x82]);
        }
        // A property that an acknowledgement may carry is no error.
        let mut client = case.connect("b");
        client.send(&packet(0x40, b"\0\x01\x10\x04\x1f\0\x01r"));
        client.ping();
    };
    Case::run(concat!(module_path!(), "::codes"), Shape::Two, Version::V5, true, test);
}
