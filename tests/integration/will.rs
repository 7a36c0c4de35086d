//! The Will Message (3.1.2.5, 3.1.3.2).

use std::thread;
use std::time::{Duration, Instant};

use ringmain_tests::packet::{Will, packet};
use ringmain_tests::{Case, Client, DEADLINE, Options, Packet, Property, broker_tests};

broker_tests!(both:
    abnormal_close, normal_disconnect, protocol_error, keep_alive_lapses, takeover, race_of_claims, qos_and_retain,
    exactly_once
);
broker_tests!(both: replaced_by_the_next_connection);
broker_tests!(v5: disconnect_with_will, waits_for_its_delay, reconnecting_cancels, keeps_its_properties);
broker_tests!(both ours: invalid_topics);
broker_tests!(v5 ours: disconnect_with_errors, session_end_comes_first, clean_start_ends_the_session);

/// A client that has a will on the topic `will`, and a watcher of it.
fn watched(case: &Case) -> (Client, Options) {
    let mut watcher = case.connect("watcher");
    watcher.subscribe(&case.topic("will"), 2);
    (watcher, case.client("mortal").will(will(case)))
}

fn will(case: &Case) -> Will {
    Will::new(&case.topic("will"), "gone")
}

/// Goal: a socket that ends without DISCONNECT publishes the will `[MQTT-3.1.2-7]` (5.0) `[MQTT-3.1.2-8]` (3.1.1).
fn abnormal_close(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    mortal.connect().abort();
    let message = watcher.message();
    assert_eq!((message.text(), message.qos, message.retain, message.dup), ("gone", 0, false, false));
}

/// Goal: a normal DISCONNECT removes it `[MQTT-3.14.4-3]`, and what the client sends after that is ignored
/// `[MQTT-3.14.4-2]`.
fn normal_disconnect(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    mortal.connect().disconnect();
    let mut client = mortal.connect();
    let mut bytes = ringmain_tests::packet::disconnect(case.version, 0, &[]);
    bytes.extend(ringmain_tests::Publish::new(&case.topic("will"), 0, "late").bytes(case.version));
    client.send(&bytes);
    client.closed();
    watcher.silent();
}

/// Goal: an error of the client publishes it too.
fn protocol_error(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    let mut client = mortal.connect();
    client.send(&packet(0x00, b""));
    client.dropped(&[0x81, 0x82]);
    assert_eq!(watcher.message().text(), "gone");
    // A DISCONNECT with wrong flags is an error, not a farewell `[MQTT-3.14.1-1]`.
    let mut client = mortal.connect();
    client.send(&packet(0xe1, b""));
    client.dropped(&[0x81]);
    assert_eq!(watcher.message().text(), "gone");
}

/// Goal: silence beyond one and a half times the keep alive ends the connection and publishes the will
/// `[MQTT-3.1.2-22]`.
fn keep_alive_lapses(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    let mut client = mortal.keep_alive(1).connect();
    assert_eq!(watcher.message().text(), "gone");
    client.dropped(&[0x8d]);
}

/// Goal: a takeover of a session that ends publishes the will of the old connection, once.
fn takeover(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    let mut old = mortal.connect();
    let new = case.client("mortal").connect();
    old.dropped(&[0x8e]);
    assert_eq!(watcher.message().text(), "gone");
    new.disconnect();
    watcher.silent();
}

/// Goal: of many that claim one client identifier at once, each that was accepted and taken over publishes its own will,
/// once, and the others none.
fn race_of_claims(case: &Case) {
    const CLAIMS: usize = 12;
    let (mut watcher, mortal) = watched(case);
    for round in 0..4 {
        let text = |claim: usize| format!("{round}/{claim}");
        let claim = |claim| mortal.clone().will(Will::new(&case.topic("will"), &text(claim))).send();
        let claims: Vec<Client> = thread::scope(|scope| {
            let claim = &claim;
            let threads: Vec<_> = (0..CLAIMS).map(|number| scope.spawn(move || claim(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
        });
        let mut accepted = Vec::new();
        let mut open = Vec::new();
        for (number, mut client) in claims.into_iter().enumerate() {
            match client.next(DEADLINE) {
                Some(Packet::Connack(_, 0, _)) => {
                    accepted.push(text(number));
                    open.push(client);
                }
                None => {}
                other => panic!("{other:?} instead of a CONNACK or the end"),
            }
        }
        // Whoever is left loses to this one.
        let last = case.connect("mortal");
        open.iter_mut().for_each(Client::ended);
        let mut fired = watcher.texts(accepted.len());
        watcher.silent();
        fired.sort_unstable();
        accepted.sort_unstable();
        assert_eq!(fired, accepted);
        last.disconnect();
    }
}

/// Goal: it is published at its QoS, and retained if it says so `[MQTT-3.1.2-14]` `[MQTT-3.1.2-15]`.
fn qos_and_retain(case: &Case) {
    for qos in 0..=2 {
        for retain in [false, true] {
            let (mut watcher, mortal) = watched(case);
            mortal.will(Will { qos, retain, ..will(case) }).connect().abort();
            let message = watcher.message();
            assert_eq!((message.qos, message.retain), (qos, false));
            let mut late = case.connect("late");
            late.subscribe(&case.topic("will"), 2);
            if retain {
                let message = late.message();
                assert_eq!((message.text(), message.qos, message.retain), ("gone", qos, true));
                late.retain(&case.topic("will"), 1, "");
                late.message();
            } else {
                late.silent();
            }
        }
    }
}

/// Goal: one will for each abnormal end `[MQTT-3.1.2-10]`.
fn exactly_once(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    for _ in 0..5 {
        mortal.connect().abort();
        assert_eq!(watcher.message().text(), "gone");
    }
    case.client("mortal").connect().abort();
    watcher.silent();
}

/// Goal: a connection's will is the one that its own CONNECT brought.
fn replaced_by_the_next_connection(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    mortal.clone().resume().connect().disconnect();
    let other = mortal.will(Will::new(&case.topic("will"), "other"));
    other.connect().abort();
    assert_eq!(watcher.message().text(), "other");
    watcher.silent();
}

/// Goal: DISCONNECT 0x04 asks for the will.
fn disconnect_with_will(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    mortal.connect().disconnect_with(0x04, &[]);
    assert_eq!(watcher.message().text(), "gone");
}

/// Goal: any reason but 0 leaves the will in force `[MQTT-3.14.4-3]`.
fn disconnect_with_errors(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    for code in [0x80, 0x81, 0x93, 0x99] {
        mortal.connect().disconnect_with(code, &[]);
        assert_eq!(watcher.message().text(), "gone");
    }
}

/// Goal: the will waits for its delay while the session lasts, and not longer `[MQTT-3.1.2-8]`.
fn waits_for_its_delay(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    let delayed = Will { properties: vec![Property::WillDelay(1)], ..will(case) };
    mortal.will(delayed).expiry(60).connect().abort();
    let waited = wait(&mut watcher);
    assert!(waited >= Duration::from_millis(900), "after {waited:?}");
}

fn wait(watcher: &mut Client) -> Duration {
    let start = Instant::now();
    assert_eq!(watcher.message().text(), "gone");
    start.elapsed()
}

/// Goal: reconnecting to the session before the delay is over cancels the will `[MQTT-3.1.3-9]`.
fn reconnecting_cancels(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    let delayed = Will { properties: vec![Property::WillDelay(1)], ..will(case) };
    mortal.clone().will(delayed).expiry(60).connect().abort();
    let back = case.client("mortal").durable().connect();
    assert!(back.session_present);
    // Another client's will with the same delay, begun later, is the clock.
    let clock = Will { properties: vec![Property::WillDelay(1)], ..Will::new(&case.topic("will"), "clock") };
    case.client("clock").will(clock).expiry(60).connect().abort();
    assert_eq!(watcher.message().text(), "clock");
    back.disconnect();
    watcher.silent();
}

/// Goal: the end of the session comes before a longer delay: at its expiry, and at once where it has none.
fn session_end_comes_first(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    let delayed = Will { properties: vec![Property::WillDelay(600)], ..will(case) };
    mortal.clone().will(delayed.clone()).connect().abort();
    assert!(wait(&mut watcher) < Duration::from_secs(10));
    mortal.will(delayed).expiry(1).connect().abort();
    let waited = wait(&mut watcher);
    assert!(waited >= Duration::from_millis(900), "after {waited:?}");
}

/// Goal: a Clean Start ends the session, and with it the delay.
fn clean_start_ends_the_session(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    let delayed = Will { properties: vec![Property::WillDelay(600)], ..will(case) };
    mortal.will(delayed).expiry(600).connect().abort();
    watcher.silent();
    let new = case.client("mortal").connect();
    assert!(!new.session_present);
    assert_eq!(watcher.message().text(), "gone");
}

/// Goal: the will carries its properties in their order, without the delay `[MQTT-3.1.3-10]`.
fn keeps_its_properties(case: &Case) {
    let (mut watcher, mortal) = watched(case);
    let kept = [
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".into()),
        Property::ResponseTopic("r".into()),
        Property::CorrelationData(vec![0, 255]),
        Property::User("b".into(), "1".into()),
        Property::User("a".into(), "2".into()),
        Property::User("b".into(), "1".into()),
    ];
    let properties = [&kept[..], &[Property::WillDelay(0)]].concat();
    mortal.will(Will { properties, ..will(case) }).connect().abort();
    let message = watcher.message();
    assert!(kept.iter().all(|property| message.properties.contains(property)), "{message:?}");
    let user = |property: &&Property| matches!(property, Property::User(..));
    assert!(message.properties.iter().filter(user).eq(kept.iter().filter(user)));
    assert!(!message.properties.iter().any(|property| matches!(property, Property::WillDelay(_))));
}

/// Goal: a will that could not be published is refused with the CONNECT.
fn invalid_topics(case: &Case) {
    for topic in ["", "a/#", "+", "$SYS/broker/version"] {
        let mut client = case.client("a").will(Will::new(topic, "x")).send();
        assert!(client.turned_away().is_none_or(|code| code != 0), "{topic:?}");
    }
}
