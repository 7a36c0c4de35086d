//! Sessions: what outlives a connection, and who owns a client identifier (3.1.2.4, 4.1, 4.4).

use std::thread;

use ringmain_tests::packet::ack;
use ringmain_tests::{Case, Client, Packet, Property, Publish, Setup, Version, broker_tests};

broker_tests!(both:
    resumes, clean_forgets, offline_queue, redelivers_qos_1, redelivers_qos_2, resends_pubrel,
    inbound_qos_2_survives
);
broker_tests!(both:
    takeover_of_an_ephemeral_session, takeover_of_a_durable_session, takeover_race, nothing_is_lost_at_takeover
);
broker_tests!(both: resubscribing_after_resume, queue_longer_than_the_window, subscriptions_end_with_the_session);
broker_tests!(v5: expires, never_expires, disconnect_lowers_the_expiry, expiry_counts_from_the_close);
broker_tests!(v5 ours: disconnect_may_not_raise_from_zero, error_acknowledgements_end_it);
broker_tests!(v5: versions_share_a_session);
broker_tests!(v311: clean_session_of_311);

/// Goal: a session that was kept is there again, with its subscriptions; another identifier has none
/// `[MQTT-3.1.2-5]` `[MQTT-3.1.3-2]` `[MQTT-3.2.2-3]`.
fn resumes(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    assert!(!client.session_present);
    client.subscribe(&topic, 1);
    for abrupt in [false, true] {
        if abrupt {
            client.abort()
        } else {
            client.disconnect()
        }
        client = case.client("a").durable().connect();
        assert!(client.session_present);
        publisher.publish(&topic, 1, "x");
        assert_eq!(client.message().text(), "x");
    }
    assert!(!case.client("b").durable().connect().session_present);
}

/// Goal: Clean Start wipes what was kept `[MQTT-3.1.2-4]` `[MQTT-3.2.2-2]`.
fn clean_forgets(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 1);
    client.disconnect();
    publisher.publish(&topic, 1, "kept");
    let mut client = case.connect("a");
    assert!(!client.session_present);
    publisher.publish(&topic, 1, "new");
    client.silent();
    client.disconnect();
    assert!(!case.client("a").durable().connect().session_present, "nothing was kept of a clean one");
}

/// Goal: QoS 1 and 2 messages wait for a client that is away, in order, each once; CONNACK comes first
/// `[MQTT-3.2.0-1]`.
fn offline_queue(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 2);
    client.disconnect();
    for number in 0..60 {
        publisher.publish(&topic, 1 + number % 2, format!("{number}"));
    }
    let mut client = case.client("a").durable().connect();
    for number in 0..60 {
        let message = client.message();
        assert_eq!((message.text(), message.qos, message.dup), (number.to_string().as_str(), 1 + number % 2, false));
    }
    client.silent();
}

/// Goal: a QoS 1 message without PUBACK is sent again after the reconnect, with DUP and its identifier, and before
/// newer ones `[MQTT-3.3.1-1]` `[MQTT-4.3.2-3]` `[MQTT-4.4.0-1]`.
fn redelivers_qos_1(case: &Case) {
    redelivers(case, 1);
}

/// Goal: the same for a QoS 2 message without PUBREC `[MQTT-4.3.3-3]`.
fn redelivers_qos_2(case: &Case) {
    redelivers(case, 2);
}

fn redelivers(case: &Case, qos: u8) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, qos);
    for number in 0..5 {
        publisher.publish(&topic, qos, format!("{number}"));
    }
    let first: Vec<Publish> = (0..5).map(|_| client.delivery()).collect();
    client.abort();
    publisher.publish(&topic, qos, "5");
    let mut client = case.client("a").durable().connect();
    assert!(client.session_present);
    for sent in first {
        let again = client.message();
        assert_eq!(again, Publish { dup: true, ..sent });
    }
    let last = client.message();
    assert_eq!((last.text(), last.dup), ("5", false));
    client.silent();
}

/// Goal: after PUBREC the PUBREL is sent again, not the PUBLISH `[MQTT-4.3.3-5]` `[MQTT-4.3.3-6]`.
fn resends_pubrel(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 2);
    publisher.publish(&topic, 2, "x");
    let id = client.delivery().id;
    client.send(&ack(0x50, id, 0));
    client.pubrel(id);
    client.abort();
    let mut client = case.client("a").durable().connect();
    assert_eq!(client.receive(), Packet::Pubrel(id, 0));
    client.send(&ack(0x70, id, 0));
    client.silent();
}

/// Goal: the server's half of QoS 2 survives too: a repeat after the reconnect is not delivered again
/// `[MQTT-4.3.3-10]`.
fn inbound_qos_2_survives(case: &Case) {
    let (mut watcher, topic) = (case.connect("watcher"), case.topic("t"));
    watcher.subscribe(&topic, 2);
    let mut publisher = case.client("publisher").durable().connect();
    let message = Publish { id: 9, ..Publish::new(&topic, 2, "once") };
    publisher.send(&message.bytes(case.version));
    publisher.pubrec(9);
    publisher.abort();
    let mut publisher = case.client("publisher").durable().connect();
    publisher.send(&Publish { dup: true, ..message }.bytes(case.version));
    publisher.pubrec(9);
    publisher.send(&ack(0x62, 9, 0));
    assert_eq!(publisher.pubcomp(9), 0);
    assert_eq!(watcher.message().text(), "once");
    watcher.silent();
}

/// Goal: the newer connection wins; the older is told 0x8E `[MQTT-3.1.4-3]`, and the newer one works.
fn takeover_of_an_ephemeral_session(case: &Case) {
    let topic = case.topic("t");
    let mut old = case.connect("a");
    old.subscribe(&topic, 0);
    let mut new = case.connect("a");
    old.dropped(&[0x8e]);
    assert!(!new.session_present);
    new.publish(&topic, 0, "nobody");
    new.silent();
    new.subscribe(&topic, 0);
    new.publish(&topic, 0, "x");
    assert_eq!(new.message().text(), "x");
}

/// Goal: the newer connection of a session that is kept takes it over as it is.
fn takeover_of_a_durable_session(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut old = case.client("a").durable().connect();
    old.subscribe(&topic, 1);
    publisher.publish(&topic, 1, "in flight");
    let sent = old.delivery();
    let mut new = case.client("a").durable().connect();
    old.dropped(&[0x8e]);
    assert!(new.session_present);
    assert_eq!(new.message(), Publish { dup: true, ..sent });
    publisher.publish(&topic, 1, "next");
    assert_eq!(new.message().text(), "next");
}

/// Goal: however many claim a client identifier at once, one stays, it works, and each of the others is told or closed.
fn takeover_race(case: &Case) {
    const CLAIMS: usize = 16;
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    for durable in [false, true] {
        let options = if durable { case.client("a").durable() } else { case.client("a") };
        for _ in 0..3 {
            let claims: Vec<Client> = thread::scope(|scope| {
                let claim = || scope.spawn(|| options.send());
                let threads: Vec<_> = (0..CLAIMS).map(|_| claim()).collect();
                threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
            });
            // Those that lost end; the one that stays is found by a client that answers a ping.
            let mut open: Vec<Client> = claims.into_iter().filter_map(stays).collect();
            assert_eq!(open.len(), 1, "one connection stays");
            let mut winner = open.remove(0);
            winner.subscribe(&topic, 1);
            publisher.publish(&topic, 1, "x");
            assert_eq!(winner.message().text(), "x");
            winner.silent();
        }
    }
}

/// The client if its connection stays; the end of the race is when all others have ended.
fn stays(mut client: Client) -> Option<Client> {
    match client.next_within(ringmain_tests::DEADLINE) {
        Err(_) => return None,
        Ok(Some(Packet::Connack(_, 0, _))) => {}
        other => panic!("{other:?} instead of a CONNACK or the end"),
    }
    client.send(&ringmain_tests::packet::PINGREQ);
    match client.next(ringmain_tests::DEADLINE) {
        Some(Packet::Pingresp) => {}
        Some(Packet::Disconnect(0x8e, _)) | None => return None,
        other => panic!("{other:?}"),
    }
    // It answered; it may still have lost to a claim that is being decided.
    match client.next_within(std::time::Duration::from_millis(200)) {
        Ok(None) => Some(client),
        Ok(Some(Packet::Disconnect(0x8e, _))) | Err(_) => None,
        other => panic!("{other:?}"),
    }
}

/// Goal: a stream of QoS 1 and 2 messages reaches a session through repeated takeovers: in order, none missing, QoS 2
/// once each.
fn nothing_is_lost_at_takeover(case: &Case) {
    const COUNT: usize = 120;
    let topic = case.topic("t");
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = case.connect("publisher");
            for number in 0..COUNT {
                publisher.publish(&topic, 2, format!("{number}"));
            }
        });
        for number in 0..COUNT {
            if number % 20 == 19 {
                client = case.client("a").durable().connect();
                assert!(client.session_present);
            }
            assert_eq!(client.message().text(), number.to_string());
        }
    });
    client.silent();
}

/// Goal: clients that subscribe again at each reconnect get each message once, and retained ones again.
fn resubscribing_after_resume(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    publisher.retain(&topic, 1, "kept");
    for _ in 0..3 {
        let mut client = case.client("a").durable().connect();
        client.subscribe(&topic, 1);
        assert_eq!(client.message().text(), "kept");
        publisher.publish(&topic, 1, "x");
        assert_eq!(client.message().text(), "x");
        client.silent();
        client.disconnect();
    }
    publisher.retain(&topic, 1, "");
}

/// Goal: a queue longer than any window comes out whole.
fn queue_longer_than_the_window(case: &Case) {
    const COUNT: usize = 400;
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 1);
    client.disconnect();
    for number in 0..COUNT {
        publisher.publish(&topic, 1, format!("{number}"));
    }
    let mut client = case.client("a").durable().property(Property::ReceiveMaximum(7)).connect();
    let expected: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(client.texts(COUNT), expected);
    client.silent();
}

/// Goal: a session that ends takes its subscriptions along, so that a client that is not durable leaves nothing.
fn subscriptions_end_with_the_session(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.connect("a");
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut client = case.client("a").durable().connect();
    assert!(!client.session_present);
    publisher.publish(&topic, 1, "x");
    client.silent();
}

/// Goal: a session ends its expiry after the close `[MQTT-4.1.0-2]`, and not before `[MQTT-3.1.2-23]`.
fn expires(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").resume().expiry(1).connect();
    client.subscribe(&topic, 1);
    client.abort();
    let mut client = case.client("a").resume().expiry(1).connect();
    assert!(client.session_present);
    client.ping();
    client.abort();
    publisher.publish(&topic, 1, "x");
    // Time itself is what is awaited.
    thread::sleep(std::time::Duration::from_millis(2_300));
    let mut client = case.client("a").durable().connect();
    assert!(!client.session_present);
    client.silent();
}

/// Goal: the interval 0xFFFFFFFF and one that is absent are the two ends.
fn never_expires(case: &Case) {
    case.client("a").resume().expiry(u32::MAX).connect().disconnect();
    assert!(case.client("a").resume().connect().session_present);
    let ended = case.client("a").resume().connect();
    assert!(!ended.session_present, "the last connection asked for no expiry");
}

/// Goal: DISCONNECT may change the interval: to 0 it ends the session.
fn disconnect_lowers_the_expiry(case: &Case) {
    case.client("a").durable().connect().disconnect_with(0, &[Property::SessionExpiry(0)]);
    assert!(!case.client("a").durable().connect().session_present);
    case.client("b").resume().expiry(1).connect().disconnect_with(0, &[Property::SessionExpiry(600)]);
    assert!(case.client("b").durable().connect().session_present);
}

/// Goal: DISCONNECT may not give a session an expiry that had none: a protocol error.
fn disconnect_may_not_raise_from_zero(case: &Case) {
    let mut client = case.connect("a");
    client.send(&ringmain_tests::packet::disconnect(case.version, 0, &[Property::SessionExpiry(60)]));
    client.dropped(&[0x82]);
    assert!(!case.client("a").durable().connect().session_present);
}

/// Goal: while the connection lives no interval runs.
fn expiry_counts_from_the_close(case: &Case) {
    let mut client = case.client("a").resume().expiry(1).connect();
    // Longer than the interval, which is what must not matter.
    thread::sleep(std::time::Duration::from_millis(1_500));
    client.ping();
    client.abort();
    assert!(case.client("a").durable().connect().session_present);
}

/// Goal: a message that was answered by an error is done, and is not sent again `[MQTT-4.4.0-2]`.
fn error_acknowledgements_end_it(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 2);
    for qos in 1..=2 {
        publisher.publish(&topic, qos, "x");
        let id = client.delivery().id;
        client.send(&ack(if qos == 1 { 0x40 } else { 0x50 }, id, 0x83));
    }
    client.silent();
    client.abort();
    let mut client = case.client("a").durable().connect();
    client.silent();
}

/// Goal: a client that learns 5.0 finds the session that it had with 3.1.1.
fn versions_share_a_session(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut old = case.broker().client(Version::V311, &case.id("a")).resume().connect();
    old.subscribe(&topic, 1);
    old.disconnect();
    publisher.publish(&topic, 1, "x");
    let mut new = case.client("a").durable().connect();
    assert!(new.session_present);
    assert_eq!(new.message().text(), "x");
}

/// Goal: Clean Session 1 both forgets and leaves nothing `[MQTT-3.1.2-6]`.
fn clean_session_of_311(case: &Case) {
    case.client("a").connect().disconnect();
    assert!(!case.client("a").resume().connect().session_present);
    assert!(case.client("a").resume().connect().session_present);
    assert!(!case.client("a").connect().session_present);
    assert!(!case.client("a").resume().connect().session_present);
}

/// Goal: the queue of a client that is away is bounded, and the connection of the publisher is not hurt.
#[test]
fn offline_queue_is_bounded() {
    for shards in [1, 2, 5] {
        let setup = Setup::shards(shards).toml("[limits]\nmax_queued_messages = 10\nmax_inflight = 1");
        let broker = setup.mosquitto("max_queued_messages 10\nmax_inflight_messages 1").start();
        let mut publisher = broker.client(Version::V5, "publisher").connect();
        let mut client = broker.client(Version::V5, "a").durable().connect();
        client.subscribe("t", 1);
        client.disconnect();
        for number in 0..50 {
            publisher.publish("t", 1, format!("{number}"));
        }
        let mut client = broker.client(Version::V5, "a").durable().connect();
        client.ping();
        let mut got = Vec::new();
        while let Ok(Some(Packet::Publish(message))) = client.next_within(std::time::Duration::from_millis(100)) {
            client.send(&ack(0x40, message.id, 0));
            got.push(message.text().parse::<u32>().expect("a number"));
        }
        assert!(got.len() <= 11 && got.len() >= 10, "{got:?}");
        assert!(got.is_sorted());
    }
}
