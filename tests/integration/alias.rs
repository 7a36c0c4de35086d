//! Topic aliases (3.3.2.3.4).

use std::collections::HashMap;

use ringmain_tests::{Case, Client, Property, Publish, broker_tests};

broker_tests!(v5: each_alias_works, belongs_to_its_connection, none_without_a_maximum, outgoing_within_the_maximum);
broker_tests!(v5 ours: forbidden_values);

fn with_alias(topic: &str, qos: u8, alias: u16, payload: &str) -> Publish {
    Publish::new(topic, qos, payload).with(&[Property::TopicAlias(alias)])
}

fn maximum(client: &Client) -> u16 {
    client
        .property(|property| if let Property::TopicAliasMaximum(maximum) = property { Some(*maximum) } else { None })
        .unwrap_or(0)
}

/// Goal: each alias from 1 to the maximum stands for its topic, at each QoS, until it is given to another
/// `[MQTT-3.3.2-12]`.
fn each_alias_works(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    subscriber.subscribe(&case.topic("#"), 2);
    let maximum = maximum(&publisher);
    assert!(maximum >= 1);
    for round in 0..3 {
        for alias in 1..=maximum {
            let topic = case.topic(&format!("{round}/{alias}"));
            publisher.publish_packet(&with_alias(&topic, round, alias, "set"));
            assert_eq!(subscriber.message().topic, topic);
        }
        for alias in (1..=maximum).rev() {
            publisher.publish_packet(&with_alias("", round, alias, "used"));
            let message = subscriber.message();
            assert_eq!((message.topic, message.qos), (case.topic(&format!("{round}/{alias}")), round));
        }
    }
}

/// Goal: 0 and more than the maximum are 0x94, one that was never set is 0x82 `[MQTT-3.3.2-8]` `[MQTT-3.3.2-9]`.
fn forbidden_values(case: &Case) {
    let limit = maximum(&case.connect("a"));
    for (topic, alias, code) in
        [("t", 0, 0x94), ("t", limit + 1, 0x94), ("t", 65_535, 0x94), ("", 0, 0x94), ("", 1, 0x82), ("", limit, 0x82)]
    {
        let mut client = case.connect("a");
        client.send(&with_alias(topic, 0, alias, "x").bytes(case.version));
        client.dropped(&[code]);
    }
}

/// Goal: aliases end with the connection, the session going on or not `[MQTT-3.3.2-7]`.
fn belongs_to_its_connection(case: &Case) {
    let mut client = case.client("a").durable().connect();
    client.publish_packet(&with_alias(&case.topic("t"), 1, 1, "x"));
    client.disconnect();
    let mut client = case.client("a").durable().connect();
    client.send(&with_alias("", 0, 1, "x").bytes(case.version));
    client.dropped(&[0x82]);
}

/// Goal: a publisher's alias is not the subscriber's: who gives no maximum gets none `[MQTT-3.1.2-27]`.
fn none_without_a_maximum(case: &Case) {
    let (mut publisher, mut subscriber) = (case.connect("publisher"), case.connect("subscriber"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 1);
    for _ in 0..3 {
        publisher.publish_packet(&with_alias(&topic, 1, 1, "x"));
        let message = subscriber.message();
        assert_eq!(message.topic, topic);
        assert!(!message.properties.iter().any(|property| matches!(property, Property::TopicAlias(_))));
    }
}

/// Goal: aliases toward a client stay within its maximum, and always stand for the right topic `[MQTT-3.1.2-26]`
/// `[MQTT-3.3.2-11]`.
fn outgoing_within_the_maximum(case: &Case) {
    let mut publisher = case.connect("publisher");
    let mut subscriber = case.client("subscriber").property(Property::TopicAliasMaximum(3)).connect();
    subscriber.subscribe(&case.topic("#"), 1);
    let mut known: HashMap<u16, String> = HashMap::new();
    for number in 0..60 {
        let topic = case.topic(&format!("{}", number * 7 % 6));
        publisher.publish(&topic, number as u8 % 2, "x");
        let message = subscriber.message();
        let alias = message
            .properties
            .iter()
            .find_map(|property| if let Property::TopicAlias(alias) = property { Some(*alias) } else { None });
        if let Some(alias) = alias {
            assert!((1..=3).contains(&alias), "alias {alias}");
            if !message.topic.is_empty() {
                known.insert(alias, message.topic.clone());
            }
        }
        let resolved =
            if message.topic.is_empty() { &known[&alias.expect("an alias for no topic")] } else { &message.topic };
        assert_eq!(*resolved, topic);
    }
}
