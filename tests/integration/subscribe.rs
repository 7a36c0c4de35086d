//! SUBSCRIBE, UNSUBSCRIBE and what they select (3.8 to 3.11, 4.7).

use ringmain_tests::packet::{ack, packet, put_string, subscribe, unsubscribe};
use ringmain_tests::{Case, Client, Packet, Property, Publish, Setup, Version, broker_tests};

broker_tests!(both: wildcards, slashes_and_letters, many_filters_at_once, resubscribing_replaces);
broker_tests!(both:
    unsubscribing, handshakes_outlive_unsubscribe, active_at_suback, malformed_requests, unusual_topics
);
broker_tests!(both ours: invalid_filters, overlapping_delivers, overlapping_is_one_copy);
broker_tests!(v5: no_local, retain_as_published, retain_handling, identifiers, reserved_options, unsubscribe_codes);
broker_tests!(v5 ours: identifiers_of_overlapping, identifier_zero);

const NO_LOCAL: u8 = 4;
const RETAIN_AS_PUBLISHED: u8 = 8;

/// Goal: each filter gets the topics that it matches and no others `[MQTT-3.3.2-3]` `[MQTT-4.7.1-2]`.
fn wildcards(case: &Case) {
    let topics = ["a", "a/b", "a/b/c", "b", "b/b", "/a", "a/", "a//c", "/", "a/b/c/d/e/f/g/h"];
    let filters: [(&str, &[&str]); 12] = [
        ("a", &["a"]),
        ("+", &["a", "b"]),
        ("#", &topics),
        ("a/#", &["a", "a/b", "a/b/c", "a/", "a//c", "a/b/c/d/e/f/g/h"]),
        ("a/+", &["a/b", "a/"]),
        ("+/b", &["a/b", "b/b"]),
        ("+/+", &["a/b", "b/b", "/a", "a/", "/"]),
        ("a/+/c", &["a/b/c", "a//c"]),
        ("/+", &["/a", "/"]),
        ("+/b/#", &["a/b", "a/b/c", "b/b", "a/b/c/d/e/f/g/h"]),
        ("a/b/+/#", &["a/b/c", "a/b/c/d/e/f/g/h"]),
        ("a/b/c/d/e/f/g/+", &["a/b/c/d/e/f/g/h"]),
    ];
    let mut subscribers: Vec<Client> = Vec::new();
    for (index, (filter, _)) in filters.iter().enumerate() {
        let mut subscriber = case.connect(&format!("s{index}"));
        assert_eq!(subscriber.subscribe(&case.topic(filter), 1), 1);
        subscribers.push(subscriber);
    }
    let mut publisher = case.connect("publisher");
    for topic in topics {
        publisher.publish(&case.topic(topic), 1, "x");
    }
    for (subscriber, (filter, matching)) in subscribers.iter_mut().zip(filters) {
        let mut got: Vec<String> = matching.iter().map(|_| subscriber.message().topic).collect();
        let mut expected: Vec<String> = matching.iter().map(|topic| case.topic(topic)).collect();
        // Topics have several owners, so their order among each other is free.
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "{filter}");
        subscriber.silent();
    }
}

/// Goal: topics differ by every slash, letter case and code point; nothing is normalised `[MQTT-4.7.3-4]`
/// `[MQTT-1.5.4-3]`.
fn slashes_and_letters(case: &Case) {
    let names =
        ["a/b", "/a/b", "a//b", "a/b/", "A/b", "a/B", "caf\u{e9}", "cafe\u{301}", "\u{feff}a/b", "a /b", "a/\u{1f600}"];
    let mut publisher = case.connect("publisher");
    for name in names {
        let mut subscriber = case.connect("subscriber");
        subscriber.subscribe(&case.topic(name), 1);
        for topic in names {
            publisher.publish(&case.topic(topic), 1, topic);
        }
        let message = subscriber.message();
        assert_eq!((message.text(), message.topic.as_str()), (name, case.topic(name).as_str()));
        subscriber.silent();
    }
}

/// Goal: filters that begin with a wildcard do not match topics that begin with `$`; a `$` further down is ordinary
/// `[MQTT-4.7.2-1]`. The broker is this test's own, as `#` would get the messages of all others.
#[test]
fn dollar_topics() {
    for shards in [1, 2, 5] {
        let broker = Setup::shards(shards).start();
        for version in [Version::V311, Version::V5] {
            let connect = |name: &str| broker.client(version, name).connect();
            let (mut all, mut first, mut exact) = (connect("all"), connect("first"), connect("exact"));
            all.subscribe("#", 1);
            first.subscribe_all(&[("+/x", 1), ("+/+", 1)], &[]);
            exact.subscribe("$own/#", 1);
            let mut publisher = connect("publisher");
            for qos in 0..=2 {
                publisher.publish("$own/x", qos, "hidden");
                assert_eq!(exact.message().text(), "hidden");
                publisher.publish("a/$own", qos, "seen");
                assert_eq!(first.message().topic, "a/$own");
                assert_eq!(all.message().topic, "a/$own");
            }
            all.silent();
            first.silent();
        }
    }
}

/// Goal: one SUBSCRIBE may have many filters: one SUBACK, a code for each at its place, each effective
/// `[MQTT-3.8.4-5]` `[MQTT-3.9.3-1]`.
fn many_filters_at_once(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topics: Vec<String> = (0..100).map(|number| case.topic(&format!("{number}"))).collect();
    let filters: Vec<(&str, u8)> =
        topics.iter().zip(0u8..).map(|(topic, number)| (topic.as_str(), number % 3)).collect();
    let expected: Vec<u8> = filters.iter().map(|(_, qos)| *qos).collect();
    assert_eq!(subscriber.subscribe_all(&filters, &[]), expected);
    for (topic, qos) in &filters {
        publisher.publish(topic, 2, "x");
        let message = subscriber.message();
        assert_eq!((message.topic.as_str(), message.qos), (*topic, *qos));
    }
    let filters: Vec<&str> = topics.iter().map(String::as_str).collect();
    subscriber.unsubscribe(&filters);
    topics.iter().step_by(9).for_each(|topic| assert!(publisher.publish(topic, 2, "x") < 0x80));
    subscriber.silent();
}

/// Goal: subscribing again with the same filter replaces the subscription: one copy, at the new QoS `[MQTT-3.8.4-3]`.
fn resubscribing_replaces(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    for filter in [case.topic("t"), case.topic("+"), case.topic("#")] {
        for qos in [0, 2, 1, 0] {
            assert_eq!(subscriber.subscribe(&filter, qos), qos);
            publisher.publish(&case.topic("t"), 2, "x");
            assert_eq!(subscriber.message().qos, qos);
            subscriber.silent();
        }
        subscriber.unsubscribe(&[&filter]);
    }
}

/// Goal: a client whose filters overlap gets a message at the highest QoS of those that match `[MQTT-3.3.4-2]`.
fn overlapping_delivers(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("a/b");
    subscriber.subscribe_all(&[(&case.topic("a/+"), 0), (&case.topic("#"), 2), (&topic, 1)], &[]);
    publisher.publish(&topic, 2, "x");
    let mut highest = subscriber.message().qos;
    publisher.publish(&topic, 2, "end");
    loop {
        let message = subscriber.message();
        highest = highest.max(message.qos);
        if message.text() == "end" {
            break;
        }
    }
    assert_eq!(highest, 2);
}

/// Goal: our choice for clients whose filters overlap: one copy.
fn overlapping_is_one_copy(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("a/b");
    subscriber.subscribe_all(&[(&case.topic("a/+"), 0), (&case.topic("#"), 1)], &[]);
    for qos in 0..=2 {
        publisher.publish(&topic, qos, "x");
        assert_eq!(subscriber.message().qos, qos.min(1));
        subscriber.silent();
    }
    subscriber.unsubscribe(&[&case.topic("#")]);
    publisher.publish(&topic, 2, "x");
    assert_eq!(subscriber.message().qos, 0);
    subscriber.silent();
}

/// Goal: our choice for subscription identifiers of overlapping filters: all of them in the one copy `[MQTT-3.3.4-4]`.
fn identifiers_of_overlapping(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("a/b");
    for (filter, qos, id) in [(case.topic("a/+"), 0, 5), (case.topic("#"), 1, 200), (topic.clone(), 2, 268_435_455)] {
        subscriber.subscribe_all(&[(&filter, qos)], &[Property::SubscriptionId(id)]);
    }
    subscriber.subscribe(&case.topic("+/b"), 0);
    publisher.publish(&topic, 2, "x");
    let message = subscriber.message();
    assert_eq!(message.qos, 2);
    let mut ids = identifiers_in(&message);
    ids.sort_unstable();
    assert_eq!(ids, [5, 200, 268_435_455]);
    subscriber.silent();
}

fn identifiers_in(message: &Publish) -> Vec<u32> {
    let id = |property: &Property| if let Property::SubscriptionId(id) = property { Some(*id) } else { None };
    message.properties.iter().filter_map(id).collect()
}

/// Goal: a message carries the identifier of its subscription; subscribing again changes or drops it `[MQTT-3.3.4-3]`
/// `[MQTT-3.3.4-5]`.
fn identifiers(case: &Case) {
    let (mut publisher, mut subscriber, mut plain) =
        (case.connect("publisher"), case.connect("subscriber"), case.connect("plain"));
    let topic = case.topic("t");
    plain.subscribe(&topic, 0);
    for ids in [vec![1], vec![128], vec![16_384], vec![268_435_455], vec![]] {
        let properties: Vec<Property> = ids.iter().map(|id| Property::SubscriptionId(*id)).collect();
        subscriber.subscribe_all(&[(&topic, 0)], &properties);
        publisher.publish(&topic, 0, "x");
        assert_eq!(identifiers_in(&subscriber.message()), ids);
        assert!(identifiers_in(&plain.message()).is_empty());
    }
}

/// Goal: subscription identifier 0, and two of them, are protocol errors.
fn identifier_zero(case: &Case) {
    for properties in
        [vec![Property::SubscriptionId(0)], vec![Property::SubscriptionId(1), Property::SubscriptionId(2)]]
    {
        let mut client = case.connect("a");
        client.send(&subscribe(case.version, 1, &[("t", 0)], &properties));
        client.dropped(&[0x82]);
    }
}

/// Goal: No Local keeps a client's own messages from it, at every QoS, and from nobody else `[MQTT-3.8.3-3]`.
fn no_local(case: &Case) {
    let (mut client, mut other) = (case.connect("a"), case.connect("b"));
    let topic = case.topic("t");
    client.subscribe(&topic, 2 | NO_LOCAL);
    other.subscribe(&topic, 2 | NO_LOCAL);
    for qos in 0..=2 {
        client.publish(&topic, qos, "from a");
        assert_eq!(other.message().text(), "from a");
        client.silent();
        other.publish(&topic, qos, "from b");
        assert_eq!(client.message().text(), "from b");
        other.silent();
    }
    if case.ours() {
        // Mosquitto keeps the options of the first SUBSCRIBE, against `[MQTT-3.8.4-3]`.
        client.subscribe(&topic, 0);
        client.publish(&topic, 0, "to oneself");
        assert_eq!(client.message().text(), "to oneself");
    }
}

/// Goal: Retain As Published passes RETAIN on, and without it a live message has RETAIN 0 `[MQTT-3.3.1-12]`
/// `[MQTT-3.3.1-13]`.
fn retain_as_published(case: &Case) {
    let (mut publisher, mut keeping, mut clearing) =
        (case.connect("publisher"), case.connect("keeping"), case.connect("clearing"));
    let topic = case.topic("t");
    for qos in 0..=2 {
        keeping.subscribe(&topic, qos | RETAIN_AS_PUBLISHED);
        clearing.subscribe(&topic, qos);
        publisher.retain(&topic, 2, "x");
        publisher.publish(&topic, 2, "y");
        assert!(keeping.message().retain);
        assert!(!keeping.message().retain);
        assert_eq!(clearing.texts(2), ["x", "y"], "QoS {qos}");
        publisher.retain(&topic, 2, "");
        assert!(keeping.message().retain);
        assert!(!clearing.message().retain);
    }
}

/// Goal: Retain Handling: 0 sends retained messages at each SUBSCRIBE, 1 at a new subscription only, 2 never
/// `[MQTT-3.3.1-9]` `[MQTT-3.3.1-10]` `[MQTT-3.3.1-11]`.
fn retain_handling(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    publisher.retain(&topic, 1, "kept");
    for (handling, first, again) in [(0u8, 1, 1), (1, 1, 0), (2, 0, 0)] {
        for count in [first, again] {
            subscriber.subscribe(&topic, handling << 4);
            (0..count).for_each(|_| assert!(subscriber.message().retain));
            subscriber.silent();
        }
        subscriber.unsubscribe(&[&topic]);
    }
    publisher.retain(&topic, 1, "");
}

/// Goal: reserved bits of the options, QoS 3 and Retain Handling 3 end the connection `[MQTT-3.8.3-5]`.
fn reserved_options(case: &Case) {
    for options in [0x40, 0x80, 0x03, 0x30] {
        let mut client = case.connect("a");
        client.send(&subscribe(case.version, 1, &[("t", options)], &[]));
        client.dropped(&[0x81, 0x82]);
    }
}

/// Goal: a filter that cannot be gets a failure at its place; the others of that SUBSCRIBE work `[MQTT-3.9.3-1]`
/// `[MQTT-4.7.1-1]`.
fn invalid_filters(case: &Case) {
    let failure = if case.v5() { 0x8f } else { 0x80 };
    let mut client = case.connect("a");
    let (good, other) = (case.topic("good"), case.topic("other/#"));
    let bad = [
        "a#",
        "a/#/b",
        "#/a",
        "##",
        "a+",
        "+a/b",
        "a/+b/c",
        "a/b+",
        "++",
        "",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
    ];
    for bad in bad.into_iter().chain(["$share/+/a", "$share/#/a", "$share/g+/a", "$share/g/a#"]) {
        assert_eq!(client.subscribe_all(&[(&good, 1), (bad, 1), (&other, 2)], &[]), [1, failure, 2], "{bad:?}");
    }
    client.publish(&good, 1, "x");
    assert_eq!(client.message().text(), "x");
}

/// Goal: after UNSUBACK nothing arrives; only the very same filter is removed `[MQTT-3.10.4-1]` `[MQTT-3.10.4-2]`.
fn unsubscribing(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let (exact, plus) = (case.topic("a/b"), case.topic("a/+"));
    subscriber.subscribe_all(&[(&exact, 1), (&plus, 1)], &[]);
    subscriber.unsubscribe(&[&plus, &case.topic("#"), &case.topic("a")]);
    publisher.publish(&exact, 1, "x");
    assert_eq!(subscriber.message().text(), "x");
    subscriber.unsubscribe(&[&exact]);
    for qos in 0..=2 {
        publisher.publish(&exact, qos, "x");
    }
    subscriber.silent();
    subscriber.subscribe(&plus, 0);
    publisher.publish(&exact, 1, "back");
    assert_eq!(subscriber.message().text(), "back");
}

/// Goal: UNSUBACK says for each filter, in order, whether there was a subscription `[MQTT-3.10.4-5]` `[MQTT-3.11.3-1]`.
fn unsubscribe_codes(case: &Case) {
    let mut client = case.connect("a");
    let (one, two) = (case.topic("1"), case.topic("2/#"));
    client.subscribe_all(&[(&one, 0), (&two, 0)], &[]);
    assert_eq!(client.unsubscribe(&[&case.topic("no"), &one, &case.topic("2"), &two]), [0x11, 0, 0x11, 0]);
    assert_eq!(client.unsubscribe(&[&one]), [0x11]);
}

/// Goal: a delivery that has begun is completed after UNSUBACK `[MQTT-3.10.4-3]`.
fn handshakes_outlive_unsubscribe(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 2);
    publisher.publish(&topic, 2, "x");
    let message = subscriber.delivery();
    subscriber.unsubscribe(&[&topic]);
    subscriber.send(&ack(0x50, message.id, 0));
    assert_eq!(subscriber.pubrel(message.id), 0);
    subscriber.send(&ack(0x70, message.id, 0));
    subscriber.silent();
}

/// Goal: what is published after SUBACK was seen arrives, whichever shards the topic, the subscriber and the
/// publisher are on.
fn active_at_suback(case: &Case) {
    let mut publishers: Vec<Client> = (0..4).map(|number| case.connect(&format!("p{number}"))).collect();
    let mut subscribers: Vec<Client> = (0..4).map(|number| case.connect(&format!("s{number}"))).collect();
    for round in 0..40 {
        let topic = case.topic(&format!("{round}/t"));
        let filter = if round % 4 == 3 { case.topic(&format!("{round}/+")) } else { topic.clone() };
        let (publisher, subscriber) = (&mut publishers[round % 4], &mut subscribers[round / 4 % 4]);
        subscriber.subscribe(&filter, (round % 3) as u8);
        publisher.send_publish(&Publish::new(&topic, 0, format!("{round}")));
        assert_eq!(subscriber.message().text(), round.to_string());
        subscriber.unsubscribe(&[&filter]);
    }
}

/// Goal: requests without a filter, with a cut one, with identifier 0, wrong flags or bad text end the connection
/// `[MQTT-3.8.1-1]` `[MQTT-3.8.3-1]` `[MQTT-3.8.3-2]` `[MQTT-3.10.1-1]` `[MQTT-3.10.3-2]`.
fn malformed_requests(case: &Case) {
    let version = case.version;
    let good = subscribe(version, 1, &[("t", 0)], &[]);
    let ungood = unsubscribe(version, 1, &["t"]);
    let with_first = |bytes: &[u8], first: u8| [&[first], &bytes[1..]].concat();
    let mut bad = vec![
        subscribe(version, 1, &[], &[]),
        unsubscribe(version, 1, &[]),
        subscribe(version, 0, &[("t", 0)], &[]),
        unsubscribe(version, 0, &["t"]),
        packet(0x82, &good[2..good.len() - 1]),
        packet(0xa2, &ungood[2..ungood.len() - 1]),
        packet(0x82, b"\0\x01"),
        packet(0x82, b"\0"),
        packet(0xa2, b""),
    ];
    bad.extend([0x80, 0x81, 0x83, 0x8a].map(|first| with_first(&good, first)));
    bad.extend([0xa0, 0xa1, 0xa3, 0xaa].map(|first| with_first(&ungood, first)));
    for text in ["\0", "a\0b"] {
        bad.push(subscribe(version, 1, &[(text, 0)], &[]));
        bad.push(unsubscribe(version, 1, &[text]));
    }
    for bytes in bad {
        let mut client = case.connect("a");
        client.send(&bytes);
        client.dropped(&[0x81, 0x82]);
    }
}

/// Goal: topics and filters with the names that languages use inside, spaces, controls and 65,535 bytes work or are
/// refused, and hurt nobody `[MQTT-4.7.3-3]`.
fn unusual_topics(case: &Case) {
    let mut bystander = case.connect("bystander");
    let mut client = case.connect("a");
    for name in ["__proto__", "constructor", "toString", " ", "%s%n", "..", "日本語/トピック"] {
        let topic = case.topic(name);
        assert_eq!(client.subscribe(&topic, 1), 1);
        client.publish(&topic, 1, "x");
        assert_eq!(client.message().topic, topic);
    }
    let mut longest = case.topic("");
    longest.push_str(&"x".repeat(65_535 - longest.len()));
    let mut giant = case.connect("giant");
    let mut body = vec![0, 1];
    if case.v5() {
        body.push(0);
    }
    put_string(&mut body, &longest);
    body.push(0);
    giant.send(&packet(0x82, &body));
    if let Some(Packet::Suback(1, codes)) = giant.next(ringmain_tests::DEADLINE) {
        giant.send_publish(&Publish::new(&longest, 0, "x"));
        if codes == [0] {
            assert!(giant.message().topic == longest);
        }
    }
    bystander.ping();
}
