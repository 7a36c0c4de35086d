//! Retained messages (3.3.1.3).

use std::collections::BTreeSet;

use ringmain_tests::{Case, Client, Property, Publish, broker_tests};

broker_tests!(both:
    is_kept, is_replaced, is_cleared, is_not_stored_without_the_flag, outlives_its_publisher, wildcards_find_all
);
broker_tests!(both: comes_before_what_is_newer, churn);
broker_tests!(both ours: not_for_shared_subscriptions);
broker_tests!(v5: keeps_its_properties, expires);

/// Goal: a new subscriber gets the retained message with RETAIN 1, at the lower QoS `[MQTT-3.3.1-5]` `[MQTT-3.8.4-8]`.
fn is_kept(case: &Case) {
    let mut publisher = case.connect("publisher");
    for published in 0..=2 {
        let topic = case.topic(&format!("{published}"));
        // At QoS 0 only a subscriber knows when a message has been taken in.
        let mut witness = case.connect("witness");
        witness.subscribe(&topic, 0);
        publisher.retain(&topic, published, "kept");
        witness.message();
        for granted in 0..=2 {
            let mut subscriber = case.connect("subscriber");
            subscriber.subscribe(&topic, granted);
            let message = subscriber.message();
            assert_eq!((message.text(), message.retain, message.dup), ("kept", true, false));
            assert_eq!(message.qos, published.min(granted));
            subscriber.silent();
        }
    }
}

/// Goal: the last one counts.
fn is_replaced(case: &Case) {
    let topic = case.topic("t");
    let mut publisher = case.connect("publisher");
    for number in 0..20 {
        publisher.retain(&topic, number % 3, format!("{number}"));
    }
    has_retained(case, &topic, &["19"]);
}

/// A new subscriber gets this, and nothing after it. A live message may come in between: whoever publishes it has another
/// way to the topic's shard than who asks for what is retained, and a machine with much to do once had it there first.
#[track_caller]
fn has_retained(case: &Case, topic: &str, expected: &[&str]) {
    let mut subscriber = case.connect("reader");
    subscriber.subscribe(topic, 2);
    subscriber.ping();
    let mut publisher = case.connect("ender");
    publisher.publish(topic, 2, "live");
    let (mut texts, mut live) = (Vec::new(), false);
    while texts.len() < expected.len() || !live {
        let message = subscriber.message();
        if message.text() == "live" {
            live = true;
        } else {
            assert!(message.retain, "{message:?}");
            texts.push(message.text().to_owned());
        }
    }
    assert_eq!(texts, expected);
    subscriber.silent();
}

/// Goal: an empty payload removes it, and reaches live subscribers as any message `[MQTT-3.3.1-6]` `[MQTT-3.3.1-7]`.
fn is_cleared(case: &Case) {
    let topic = case.topic("t");
    let (mut publisher, mut live) = (case.connect("publisher"), case.connect("live"));
    live.subscribe(&topic, 1);
    for qos in 0..=2 {
        publisher.retain(&topic, qos, "kept");
        publisher.retain(&topic, qos, "");
        assert_eq!(live.message().text(), "kept");
        let empty = live.message();
        assert_eq!((empty.text(), empty.retain), ("", false));
        has_retained(case, &topic, &[]);
        live.message();
    }
}

/// Goal: a message without RETAIN neither is kept nor removes what is `[MQTT-3.3.1-8]`.
fn is_not_stored_without_the_flag(case: &Case) {
    let topic = case.topic("t");
    let mut publisher = case.connect("publisher");
    publisher.publish(&topic, 1, "passing");
    has_retained(case, &topic, &[]);
    publisher.retain(&topic, 1, "kept");
    publisher.publish(&topic, 1, "passing");
    publisher.publish(&topic, 1, "");
    has_retained(case, &topic, &["kept"]);
}

/// Goal: it belongs to no session.
fn outlives_its_publisher(case: &Case) {
    let topic = case.topic("t");
    let mut publisher = case.connect("publisher");
    publisher.retain(&topic, 1, "kept");
    publisher.disconnect();
    has_retained(case, &topic, &["kept"]);
}

/// Goal: a wildcard gets every retained message that matches, once each, however many, and no other.
fn wildcards_find_all(case: &Case) {
    const COUNT: usize = 1_200;
    let mut publisher = case.connect("publisher");
    retain_all(case, &mut publisher, COUNT, "kept");
    publisher.retain(&case.topic("b/0"), 1, "other");
    for filter in ["a/#", "a/+", "+/+"] {
        let mut seen = BTreeSet::new();
        let mut subscriber = case.connect("reader");
        subscriber.subscribe(&case.topic(filter), 0);
        for _ in 0..COUNT + usize::from(filter == "+/+") {
            let message = subscriber.message();
            assert!(seen.insert(message.topic.clone()), "{} twice", message.topic);
        }
        subscriber.silent();
    }
    retain_all(case, &mut publisher, COUNT, "");
    publisher.retain(&case.topic("b/0"), 1, "");
}

/// Leaves `payload` on the topics `a/0` to `a/count`, some at a time, and returns when all are acknowledged.
fn retain_all(case: &Case, publisher: &mut Client, count: usize, payload: &str) {
    for batch in 0..count / 20 {
        let message = |number| Publish::retained(&case.topic(&format!("a/{}", batch * 20 + number)), 1, payload);
        let ids: Vec<u16> = (0..20).map(|number| publisher.send_publish(&message(number))).collect();
        ids.into_iter().for_each(|id| assert!(publisher.acknowledged(1, id) < 0x80));
    }
}

/// Goal: no retained message comes after a newer live one of its topic, while it changes all the time.
fn comes_before_what_is_newer(case: &Case) {
    let topic = case.topic("t");
    let mut publisher = case.connect("publisher");
    let mut subscribers: Vec<Client> = (0..20).map(|number| case.connect(&format!("s{number}"))).collect();
    let mut number = 0;
    publisher.retain(&topic, 1, "0");
    for subscriber in &mut subscribers {
        subscriber.send(&ringmain_tests::packet::subscribe(case.version, 1, &[(&topic, 1)], &[]));
        for _ in 0..5 {
            number += 1;
            publisher.send_publish(&Publish::retained(&topic, 1, format!("{number}")));
        }
    }
    publisher.ping();
    for subscriber in &mut subscribers {
        subscriber.wait_for(|packet| matches!(packet, ringmain_tests::Packet::Suback(1, _)).then_some(()));
        let mut last = -1;
        while last < number {
            let message = subscriber.message();
            let this: i32 = message.text().parse().expect("a number");
            // Whether it was stored or on its way when the subscription began: it comes once.
            assert!(this > last, "{this} after {last}");
            assert!(last < 0 || this == last + 1, "{} lost between {last} and {this}", this - last - 1);
            last = this;
        }
    }
}

/// Goal: setting, clearing and subscribing on one topic at once ends well.
fn churn(case: &Case) {
    let topic = case.topic("t");
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let topic = &topic;
            scope.spawn(move || {
                let mut publisher = case.connect(&format!("w{writer}"));
                for number in 0..60 {
                    publisher.retain(topic, number % 3, if number % 2 == 0 { "set" } else { "" });
                }
            });
        }
        for reader in 0..2 {
            let topic = &topic;
            scope.spawn(move || {
                let mut subscriber = case.connect(&format!("r{reader}"));
                for _ in 0..30 {
                    subscriber.subscribe(topic, 0);
                    subscriber.unsubscribe(&[topic]);
                }
            });
        }
    });
    let mut publisher = case.connect("last");
    publisher.retain(&topic, 1, "last");
    has_retained(case, &topic, &["last"]);
}

/// Goal: a shared subscription gets no retained messages when it begins (4.8.2).
fn not_for_shared_subscriptions(case: &Case) {
    let topic = case.topic("t");
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    publisher.retain(&topic, 1, "kept");
    subscriber.subscribe(&format!("$share/{}/{topic}", case.id("g")), 1);
    subscriber.silent();
    publisher.publish(&topic, 1, "live");
    assert_eq!(subscriber.message().text(), "live");
}

/// Goal: a retained message keeps all that belongs to it, in order `[MQTT-3.3.2-18]`.
fn keeps_its_properties(case: &Case) {
    let topic = case.topic("t");
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let properties = [
        Property::User("b".into(), "1".into()),
        Property::PayloadFormat(1),
        Property::User("a".into(), "2".into()),
        Property::ContentType("text/plain".into()),
        Property::User("b".into(), "1".into()),
    ];
    publisher.publish_packet(&Publish::retained(&topic, 1, "kept").with(&properties));
    subscriber.subscribe_all(&[(&topic, 1)], &[Property::SubscriptionId(9)]);
    let message = subscriber.message();
    for property in &properties {
        assert!(message.properties.contains(property), "{property:?} in {message:?}");
    }
    assert!(message.properties.contains(&Property::SubscriptionId(9)));
    let names = |property: &Property| if let Property::User(name, _) = property { Some(name.clone()) } else { None };
    assert_eq!(message.properties.iter().filter_map(names).collect::<Vec<_>>(), ["b", "a", "b"]);
}

/// Goal: a retained message that has expired is not sent; before, it comes with the seconds that are left
/// `[MQTT-3.3.2-6]`.
fn expires(case: &Case) {
    let topic = case.topic("t");
    let mut publisher = case.connect("publisher");
    publisher.publish_packet(&Publish::retained(&topic, 1, "short").with(&[Property::MessageExpiry(1)]));
    let seconds = |message: &Publish| {
        let left = |property: &Property| if let Property::MessageExpiry(left) = property { Some(*left) } else { None };
        message.properties.iter().find_map(left)
    };
    let mut subscriber = case.connect("early");
    subscriber.subscribe(&topic, 1);
    assert!(matches!(seconds(&subscriber.message()), Some(0 | 1)));
    // Time itself is what is awaited.
    std::thread::sleep(std::time::Duration::from_millis(1_300));
    has_retained(case, &topic, &[]);
    publisher.publish_packet(&Publish::retained(&topic, 1, "long").with(&[Property::MessageExpiry(100)]));
    has_retained(case, &topic, &["long"]);
}
