//! What a PUBLISH carries beside its payload, and for how long (3.3.2.3).

use std::thread;
use std::time::Duration;

use ringmain_tests::packet::{packet, put_string};
use ringmain_tests::{Case, Property, Publish, broker_tests};

broker_tests!(v5:
    are_forwarded, user_properties_keep_their_order, absent_stays_absent, request_and_response, to_and_from_311
);
broker_tests!(v5: expiry_is_reduced, expired_messages_are_not_sent, expired_in_the_queue_alone);
broker_tests!(v5 ours: forbidden_in_a_publish);

fn every_property() -> Vec<Property> {
    vec![
        Property::PayloadFormat(1),
        Property::ContentType("application/json".into()),
        Property::ResponseTopic("answers/here".into()),
        Property::CorrelationData(vec![0, 1, 0, 255]),
        Property::User("name".into(), "value".into()),
    ]
}

/// Goal: all that belongs to the message reaches the subscriber unchanged, at each QoS
/// `[MQTT-3.3.2-4]` `[MQTT-3.3.2-15]` `[MQTT-3.3.2-16]` `[MQTT-3.3.2-20]`.
fn are_forwarded(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    for qos in 0..=2 {
        subscriber.subscribe(&topic, qos);
        publisher.publish_packet(&Publish::new(&topic, qos, "{}").with(&every_property()));
        let message = subscriber.message();
        assert!(every_property().iter().all(|property| message.properties.contains(property)), "{message:?}");
        assert_eq!(message.properties.len(), every_property().len());
    }
}

/// Goal: user properties keep their order, repeats and empty strings included `[MQTT-3.3.2-17]` `[MQTT-3.3.2-18]`.
fn user_properties_keep_their_order(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 1);
    let pairs = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("a", ""), ("ключ", "значение")];
    let sent: Vec<Property> =
        pairs.iter().map(|(name, value)| Property::User((*name).into(), (*value).into())).collect();
    publisher.publish_packet(&Publish::new(&topic, 1, "x").with(&sent));
    assert_eq!(subscriber.message().properties, sent);
}

/// Goal: what the publisher did not say is not said.
fn absent_stays_absent(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 1);
    publisher.publish(&topic, 1, "x");
    assert_eq!(subscriber.message().properties, []);
    // Topic alias and all that is of one hop goes no further.
    publisher.publish_packet(&Publish::new(&topic, 1, "x").with(&[Property::TopicAlias(1)]));
    assert_eq!(subscriber.message().properties, []);
}

/// Goal: request and response: the answer finds the requester by the topic and the data that it sent (4.10).
fn request_and_response(case: &Case) {
    let (mut requester, mut responder) = (case.connect("requester"), case.connect("responder"));
    let (requests, answers) = (case.topic("requests"), case.topic("answers/1"));
    responder.subscribe(&requests, 1);
    requester.subscribe(&answers, 1);
    let about = [Property::ResponseTopic(answers.clone()), Property::CorrelationData(b"42".to_vec())];
    requester.publish_packet(&Publish::new(&requests, 1, "what?").with(&about));
    let request = responder.message();
    let answer_to = request
        .properties
        .iter()
        .find_map(|property| if let Property::ResponseTopic(topic) = property { Some(topic) } else { None });
    let data: Vec<Property> = request
        .properties
        .iter()
        .filter(|property| matches!(property, Property::CorrelationData(_)))
        .cloned()
        .collect();
    responder.publish_packet(&Publish::new(answer_to.expect("a Response Topic"), 1, "that").with(&data));
    let answer = requester.message();
    assert_eq!(answer.properties, data);
    assert_eq!(answer.text(), "that");
}

/// Goal: the two versions exchange messages; what 3.1.1 has no place for is left out.
fn to_and_from_311(case: &Case) {
    let topic = case.topic("t");
    let mut new = case.connect("new");
    let mut old = case.broker().client(ringmain_tests::Version::V311, &case.id("old")).connect();
    for qos in 0..=2 {
        new.subscribe(&topic, qos);
        old.subscribe(&topic, qos);
        new.publish_packet(&Publish::new(&topic, qos, "from 5").with(&every_property()));
        assert_eq!((old.message().text(), new.message().properties.len()), ("from 5", every_property().len()));
        old.publish(&topic, qos, "from 3.1.1");
        assert_eq!(new.message().properties, []);
        assert_eq!(old.message().text(), "from 3.1.1");
    }
}

/// Goal: what a PUBLISH of a client may not carry ends its connection and reaches nobody
/// `[MQTT-3.3.4-6]` `[MQTT-3.3.2-13]` `[MQTT-3.3.2-14]` `[MQTT-3.3.2-19]`.
fn forbidden_in_a_publish(case: &Case) {
    let topic = case.topic("t");
    let mut watcher = case.connect("watcher");
    watcher.subscribe(&topic, 0);
    let forbidden = [
        vec![Property::SubscriptionId(1)],
        vec![Property::PayloadFormat(2)],
        vec![Property::ResponseTopic("a/+".into())],
        vec![Property::ResponseTopic("#".into())],
        vec![Property::SessionExpiry(1)],
        vec![Property::ReasonString("r".into())],
        vec![Property::WillDelay(1)],
        vec![Property::MessageExpiry(1), Property::MessageExpiry(1)],
        vec![Property::ContentType("a".into()), Property::ContentType("a".into())],
        vec![Property::PayloadFormat(1), Property::PayloadFormat(1)],
        vec![Property::User("a\0".into(), "b".into())],
    ];
    for properties in forbidden {
        let mut client = case.connect("a");
        client.send(&Publish::new(&topic, 0, "x").with(&properties).bytes(case.version));
        client.dropped(&[0x81, 0x82]);
    }
    // Property lengths that lie, and text that is not UTF-8.
    for set in [
        &b"\x7f"[..],
        b"\x02\x01",
        b"\x03\x03\0\x05a",
        b"\x06\x26\0\x01\xff\0\0",
        b"\x80\x80\x80\x80\x01",
        b"\x02\xff\x01",
    ] {
        let mut body = Vec::new();
        put_string(&mut body, &topic);
        body.extend(set);
        let mut client = case.connect("a");
        client.send(&packet(0x30, &body));
        client.dropped(&[0x81, 0x82]);
    }
    watcher.silent();
}

fn seconds_left(message: &Publish) -> Option<u32> {
    message
        .properties
        .iter()
        .find_map(|property| if let Property::MessageExpiry(left) = property { Some(*left) } else { None })
}

/// Goal: the interval arrives lowered by the whole seconds that the message waited, and untouched when it did not
/// `[MQTT-3.3.2-6]`.
fn expiry_is_reduced(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 1);
    publisher.publish_packet(&Publish::new(&topic, 1, "at once").with(&[Property::MessageExpiry(100)]));
    assert!(matches!(seconds_left(&client.message()), Some(99 | 100)));
    client.disconnect();
    publisher.publish_packet(&Publish::new(&topic, 1, "later").with(&[Property::MessageExpiry(100)]));
    // Time itself is what is awaited.
    thread::sleep(Duration::from_millis(2_100));
    let mut client = case.client("a").durable().connect();
    let left = seconds_left(&client.message());
    assert!(matches!(left, Some(90..=98)), "{left:?}");
}

/// Goal: what has expired is not sent any more `[MQTT-3.3.2-5]`.
fn expired_messages_are_not_sent(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 2);
    client.disconnect();
    for qos in 1..=2 {
        publisher.publish_packet(&Publish::new(&topic, qos, "short").with(&[Property::MessageExpiry(1)]));
        publisher.publish_packet(&Publish::new(&topic, qos, "long").with(&[Property::MessageExpiry(100)]));
        publisher.publish(&topic, qos, "for ever");
    }
    // Time itself is what is awaited: nobody says that a message has expired.
    thread::sleep(Duration::from_millis(2_100));
    let mut client = case.client("a").durable().connect();
    assert_eq!(client.texts(4), ["long", "for ever", "long", "for ever"]);
    client.silent();
}

/// Goal: a queue of nothing but expired messages is empty, and the session works on.
fn expired_in_the_queue_alone(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 1);
    client.disconnect();
    for _ in 0..40 {
        publisher.publish_packet(&Publish::new(&topic, 1, "short").with(&[Property::MessageExpiry(1)]));
    }
    // As above.
    thread::sleep(Duration::from_millis(2_100));
    let mut client = case.client("a").durable().connect();
    client.silent();
    publisher.publish(&topic, 1, "new");
    assert_eq!(client.message().text(), "new");
}
