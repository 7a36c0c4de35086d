//! Bytes that no client should send: at most the connection that sent them ends, with the right reason.

use ringmain_tests::case::Shape;
use ringmain_tests::packet::{PINGREQ, Will, ack, disconnect, packet, subscribe, unsubscribe};
use ringmain_tests::{Broker, Case, Client, DEADLINE, Packet, Property, Publish, Setup, Version, broker_tests};

broker_tests!(both: cut_anywhere, announced_too_large, garbage_first, garbage_later);
broker_tests!(both: text_that_is_not_utf8, sockets_that_say_nothing, half_a_packet);
broker_tests!(both ours: server_packets, lengths_of_five_bytes);
broker_tests!(both ours: shortened_anywhere, wrong_flags, every_bit_flipped, sys_is_not_theirs);
broker_tests!(v5 ours: auth_without_a_method, disconnect_reasons);

/// One of each packet that a client may send, whole and right.
fn right_packets(case: &Case) -> Vec<Vec<u8>> {
    let (version, topic) = (case.version, case.topic("t"));
    let properties = [
        Property::MessageExpiry(60),
        Property::User("name".into(), "value".into()),
        Property::CorrelationData(vec![1, 2]),
    ];
    vec![
        Publish::new(&topic, 0, "payload").with(&properties).bytes(version),
        Publish { id: 1, ..Publish::new(&topic, 1, "payload") }.bytes(version),
        Publish { id: 2, ..Publish::retained(&topic, 2, "") }.with(&properties).bytes(version),
        ack(0x62, 2, 0),
        ack(0x40, 100, 0),
        subscribe(version, 3, &[(&case.topic("#"), 1), ("$share/g/x", 0)], &[Property::SubscriptionId(5)]),
        unsubscribe(version, 4, &["$share/g/x", "y"]),
        PINGREQ.to_vec(),
        disconnect(version, 4, &[Property::ReasonString("why".into())]),
    ]
}

/// A CONNECT with everything in it.
fn full_connect(case: &Case) -> Vec<u8> {
    let will = Will {
        qos: 1,
        properties: vec![Property::WillDelay(0), Property::ContentType("c".into())],
        ..Will::new(&case.topic("will"), "w")
    };
    let mut options = case.client("full").will(will).expiry(0).property(Property::User("a".into(), "b".into()));
    options.packet.user_name = Some("user".into());
    options.packet.password = Some(b"password".to_vec());
    options.packet.bytes()
}

/// Goal: a connection that ends at any byte of any packet leaves nothing wrong behind.
fn cut_anywhere(case: &Case) {
    let mut bystander = case.connect("bystander");
    let connect = full_connect(case);
    for end in 0..connect.len() {
        let mut client = Client::open(case.broker().address(), case.version);
        client.send(&connect[..end]);
        client.abort();
    }
    for bytes in right_packets(case) {
        for end in 0..bytes.len() {
            let mut client = case.connect("a");
            client.send(&bytes[..end]);
            client.abort();
        }
    }
    bystander.silent();
}

/// Goal: a packet whose length says less than it has ends its connection, or is right as it is: never silence, never
/// harm.
fn shortened_anywhere(case: &Case) {
    let mut bystander = case.connect("bystander");
    let connect = full_connect(case);
    for end in 0..connect.len() - 2 {
        let mut client = Client::open(case.broker().address(), case.version);
        client.send(&packet(0x10, &connect[2..2 + end]));
        client.turned_away();
    }
    for bytes in right_packets(case) {
        for end in 2..bytes.len() {
            answers_or_ends(case, &packet(bytes[0], &bytes[2..end]));
        }
    }
    bystander.silent();
}

/// Goal: the same with any single bit of any packet turned over, and with one byte too many.
fn every_bit_flipped(case: &Case) {
    let mut bystander = case.connect("bystander");
    for bytes in right_packets(case) {
        for bit in 0..bytes.len() * 8 {
            // Lengths that say more leave the server waiting, as they should; the first two bytes have tests of their
            // own.
            if bit / 8 >= 2 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                answers_or_ends(case, &flipped);
            }
        }
        answers_or_ends(case, &packet(bytes[0], &[&bytes[2..], b"\0"].concat()));
    }
    bystander.ping();
}

/// Sends bytes that are whole packets by their length, then PINGREQ: it is answered or the connection ends.
fn answers_or_ends(case: &Case, bytes: &[u8]) {
    let mut client = case.connect("a");
    client.send(bytes);
    client.send(&PINGREQ);
    while let Some(answer) = client.next(DEADLINE) {
        if answer == Packet::Pingresp {
            return client.abort();
        }
    }
}

/// Goal: packets that only a server sends, and the reserved type, end the connection.
fn server_packets(case: &Case) {
    let body = if case.v5() { &b"\0\x01\0"[..] } else { b"\0\x01" };
    for first in [0x00, 0x0f, 0x20, 0x90, 0xb0, 0xd0] {
        let mut client = case.connect("a");
        client.send(&packet(first, if first == 0xd0 { b"" } else { body }));
        client.dropped(&[0x81, 0x82]);
    }
    if !case.v5() {
        let mut client = case.connect("a");
        client.send(&packet(0xf0, b""));
        client.closed();
    }
}

/// Goal: fixed flags have one value each `[MQTT-2.1.3-1]`.
fn wrong_flags(case: &Case) {
    for bytes in right_packets(case) {
        if bytes[0] >> 4 == 3 {
            continue;
        }
        for flags in 0..16 {
            if flags != bytes[0] & 15 {
                let mut client = case.connect("a");
                client.send(&[&[bytes[0] & 0xf0 | flags], &bytes[1..]].concat());
                client.dropped(&[0x81, 0x82]);
            }
        }
    }
    for flags in 1..16 {
        let mut client = Client::open(case.broker().address(), case.version);
        client.send(&[&[0x10 | flags], &full_connect(case)[1..]].concat());
        client.turned_away();
    }
}

/// Goal: AUTH from a client that named no method is a protocol error `[MQTT-4.12.0-7]`, and malformed ones are that.
fn auth_without_a_method(case: &Case) {
    for bytes in [
        packet(0xf0, b""),
        packet(0xf0, b"\x18\0"),
        packet(0xf0, b"\x19\0"),
        packet(0xf1, b""),
        packet(0xf0, b"\x01\0"),
    ] {
        let mut client = case.connect("a");
        client.send(&bytes);
        client.dropped(&[0x81, 0x82]);
    }
}

/// Goal: a DISCONNECT with a reason that no client may give is malformed or a protocol error `[MQTT-3.14.2-1]`.
fn disconnect_reasons(case: &Case) {
    for code in [0x01, 0x10, 0x92, 0xff, 0x8b, 0x8d, 0x8e, 0x9d] {
        let mut client = case.connect("a");
        client.send(&packet(0xe0, &[code, 0]));
        match client.next(DEADLINE) {
            Some(Packet::Disconnect(0x81 | 0x82, _)) => client.closed(),
            other => panic!("{other:?} for {code:#04x}"),
        }
    }
}

/// Goal: a length that no packet may have is refused before its bytes come: no memory is held for it.
fn announced_too_large(case: &Case) {
    let mut client = case.connect("a");
    if case.ours() {
        client.send(b"\x30\xff\xff\xff\x7f");
        client.dropped(&[0x95]);
        let mut connect = Client::open(case.broker().address(), case.version);
        connect.send(b"\x10\xff\xff\xff\x7f");
        connect.turned_away();
    }
    let mut other = Client::open(case.broker().address(), case.version);
    other.send(b"\x30\xff\xff\xff\x7f");
    assert_eq!(other.bytes_to_the_end(), b"");
}

/// Goal: a length of more than four bytes is malformed, as the first packet and later `[MQTT-1.5.5-1]`.
fn lengths_of_five_bytes(case: &Case) {
    for bytes in [&b"\xc0\x80\x80\x80\x80\x00"[..], b"\x30\xff\xff\xff\xff\x7f", b"\x30\xff\xff\xff\xff"] {
        let mut client = case.connect("a");
        client.send(bytes);
        client.dropped(&[0x81]);
    }
    let mut client = Client::open(case.broker().address(), case.version);
    client.send(b"\x10\xff\xff\xff\xff\x7f");
    client.turned_away();
}

/// Pseudo-random bytes by xorshift: the same in each run.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 as u8
        };
        (0..len).map(|_| next()).collect()
    }
}

/// Goal: noise instead of CONNECT ends that connection alone.
fn garbage_first(case: &Case) {
    let mut bystander = case.connect("bystander");
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for len in 1..100 {
        let mut client = Client::open(case.broker().address(), case.version);
        let mut bytes = noise.bytes(len);
        bytes[0] |= 0x20; // Not CONNECT.
        client.send(&bytes);
        assert_eq!(client.bytes_to_the_end(), b"");
    }
    bystander.silent();
}

/// Goal: noise after CONNECT ends that connection or means something; others are served.
fn garbage_later(case: &Case) {
    let mut bystander = case.connect("bystander");
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    for len in (1..400).step_by(3) {
        let mut client = case.connect("a");
        client.send(&noise.bytes(len));
        // Whatever it is answered, the end of the connection is seen and taken.
        client.abort();
    }
    bystander.ping();
}

/// Goal: text that is not UTF-8, or holds U+0000, ends the connection wherever it stands
/// `[MQTT-1.5.4-1]` `[MQTT-1.5.4-2]` `[MQTT-3.1.3-4]` `[MQTT-3.1.3-11]` `[MQTT-3.8.3-1]`.
fn text_that_is_not_utf8(case: &Case) {
    let mut bystander = case.connect("bystander");
    let bad: [&[u8]; 8] = [
        b"\xff",
        b"\xc0\x80",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"a\0",
    ];
    for bad in bad {
        // A placeholder of the same length is replaced byte for byte.
        let placeholder = "X".repeat(bad.len());
        let spoil = |mut bytes: Vec<u8>| {
            let at =
                bytes.windows(bad.len()).rposition(|window| window == placeholder.as_bytes()).expect("the placeholder");
            bytes[at..at + bad.len()].copy_from_slice(bad);
            bytes
        };
        let mut named = case.client("a");
        named.packet.user_name = Some(placeholder.clone());
        let willing = case.client("a").will(Will::new(&placeholder, ""));
        for connect in [case.broker().client(case.version, &placeholder), named, willing] {
            let mut client = Client::open(case.broker().address(), case.version);
            client.send(&spoil(connect.packet.bytes()));
            client.turned_away();
        }
        let requests = [
            Publish::new(&placeholder, 0, "").bytes(case.version),
            subscribe(case.version, 1, &[(&placeholder, 0)], &[]),
            unsubscribe(case.version, 1, &[&placeholder]),
        ];
        for bytes in requests {
            let mut client = case.connect("a");
            client.send(&spoil(bytes));
            client.dropped(&[0x81, 0x82]);
        }
    }
    bystander.silent();
}

/// Goal: sockets that say nothing keep nobody out.
fn sockets_that_say_nothing(case: &Case) {
    let silent: Vec<Client> = (0..100).map(|_| Client::open(case.broker().address(), case.version)).collect();
    let mut client = case.connect("a");
    client.subscribe(&case.topic("t"), 1);
    client.publish(&case.topic("t"), 1, "x");
    assert_eq!(client.message().text(), "x");
    drop(silent);
}

/// Goal: half a packet, its sender gone quiet, is ended by the keep alive.
fn half_a_packet(case: &Case) {
    let mut client = case.client("a").keep_alive(1).connect();
    let bytes = Publish::new(&case.topic("t"), 0, "never whole").bytes(case.version);
    client.send(&bytes[..bytes.len() / 2]);
    client.dropped(&[0x8d]);
}

/// Goal: clients cannot publish below `$SYS`: 5.0 gets 0x87 where there is an answer, and nobody gets the message.
fn sys_is_not_theirs(case: &Case) {
    let topic = format!("$SYS/{}", case.topic("t"));
    let (mut watcher, mut client) = (case.connect("watcher"), case.connect("a"));
    watcher.subscribe(&topic, 2);
    if case.v5() {
        for qos in 1..=2 {
            assert_eq!(client.publish(&topic, qos, "forged"), 0x87);
        }
        client.ping();
    }
    client.send(&Publish::retained(&topic, 0, "forged").bytes(case.version));
    client.abort();
    watcher.silent();
    let mut late = case.connect("late");
    late.subscribe(&topic, 0);
    late.silent();
}

/// Goal: a storm of bad CONNECTs leaves no memory behind.
#[test]
fn bad_connects_leave_nothing() {
    let broker = Setup::shards(2).start();
    let mut bad = broker
        .client(Version::V5, &"i".repeat(2_000))
        .will(Will { qos: 2, ..Will::new("w", &"p".repeat(20_000)) })
        .packet
        .bytes();
    // A will property in the set of CONNECT itself.
    bad = spoil_properties(&bad);
    let round = |count: usize| {
        for _ in 0..count {
            let mut client = Client::open(broker.address(), Version::V5);
            client.send(&bad);
            client.ended();
        }
        broker.anonymous_bytes()
    };
    // Every receive buffer has been used once after so many.
    let before = round(1_500);
    let after = round(1_500);
    assert!(after < before + (2 << 20), "{before} bytes before, {after} after");
    alive(&broker);
}

fn spoil_properties(connect: &[u8]) -> Vec<u8> {
    let body = &connect[1 + connect[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1..];
    let mut spoilt = body[..10].to_vec();
    spoilt.extend(b"\x05\x18\0\0\0\x05");
    spoilt.extend(&body[11..]);
    packet(0x10, &spoilt)
}

fn alive(broker: &Broker) {
    let mut client = broker.client(Version::V5, "alive").connect();
    client.subscribe("t", 0);
    client.publish("t", 0, "x");
    assert_eq!(client.message().text(), "x");
}

/// Goal: one byte at a time, with pauses, a client is served as any other and slows nobody down.
#[test]
fn one_byte_at_a_time() {
    let test = |case: &Case| {
        let mut quick = case.connect("quick");
        let topic = case.topic("t");
        quick.subscribe(&topic, 1);
        let mut slow = case.connect("slow");
        let bytes = Publish { id: 1, ..Publish::new(&topic, 1, "slowly") }.bytes(case.version);
        for byte in bytes {
            slow.send(&[byte]);
            quick.publish(&case.topic("other"), 1, "meanwhile");
        }
        assert_eq!(slow.acknowledged(1, 1), 0);
        assert_eq!(quick.message().text(), "slowly");
    };
    for version in [Version::V311, Version::V5] {
        Case::run(concat!(module_path!(), "::one_byte"), Shape::Two, version, false, test);
    }
}
