//! What rules let through, and what a client is told of what they do not.

use ringmain_tests::packet::Will;
use ringmain_tests::{Publish, Setup, Version};

use super::{VERSIONS, code, connect, file, guarded, of, ours, passwords, path, table};

const ACL: &str = "user alice\ntopic readwrite room/#\ntopic deny room/secret\nuser bob\ntopic read #\n\
                   topic write bob/out\nuser carol\ntopic readwrite #\npattern readwrite own/%u/%c/#\n";

/// Goal: publishing and subscribing by mosquitto's file: what is denied goes nowhere and is told as the version has it
/// (0x87 in PUBACK and PUBREC; 3.1.1 is acknowledged, [MQTT-3.3.5-2]; SUBACK 0x87, 0x80).
#[test]
fn mosquittos_file_is_obeyed() {
    if !ours() {
        return;
    }
    for shards in [1, 2] {
        let broker = guarded(shards, &["alice", "bob", "carol"], ACL, &[]);
        for version in VERSIONS {
            let mut carol = connect(&broker, version, "carol");
            assert_eq!(carol.subscribe("#", 0), 0);
            let mut alice = connect(&broker, version, "alice");
            for qos in [1, 2] {
                assert_eq!(alice.publish("room/1", qos, "seen"), 0);
                assert_eq!(alice.publish("room/secret", qos, "unseen"), code(version, 0x87, 0));
                assert_eq!(alice.publish("hall", qos, "unseen"), code(version, 0x87, 0));
            }
            alice.publish("hall", 0, "unseen");
            assert_eq!(alice.publish(&format!("own/alice/alice-{version:?}/x"), 1, "seen"), 0);
            assert_eq!(alice.publish("own/alice/another/x", 1, "unseen"), code(version, 0x87, 0));
            assert_eq!(alice.publish("own/bob/x/x", 1, "unseen"), code(version, 0x87, 0));
            assert_eq!(carol.texts(3), ["seen"; 3]);
            carol.silent();
            assert_eq!(alice.subscribe("hall", 0), code(version, 0x87, 0x80));
            assert_eq!(alice.subscribe("room/secret", 0), code(version, 0x87, 0x80));
            assert_eq!(alice.subscribe("room/+", 1), 1);
            let mut bob = connect(&broker, version, "bob");
            assert_eq!(bob.publish("bob/out", 1, "seen"), 0);
            assert_eq!(bob.publish("bob/in", 1, "unseen"), code(version, 0x87, 0));
            // A filter of which a part may be received: each message is judged.
            for (topic, text) in [("room/secret", "hidden"), ("room/2", "shown")] {
                carol.publish(topic, 1, text);
            }
            assert_eq!(alice.texts(1), ["shown"]);
            alice.silent();
        }
    }
}

/// Goal: a subscription that is wider than what may be received gets just that, live and retained, at every QoS; and no
/// allowed message is lost beside those that are denied.
#[test]
fn wide_subscriptions_are_judged() {
    if !ours() {
        return;
    }
    let broker = guarded(2, &["alice", "carol"], ACL, &[]);
    for version in VERSIONS {
        let mut carol = connect(&broker, version, "carol");
        for (topic, text) in [("room/a", "kept"), ("room/secret", "hidden"), ("hall", "hidden")] {
            carol.retain(topic, 1, text);
        }
        for qos in [0, 1, 2] {
            let mut alice = of(&broker, version, "alice", &format!("wide-{qos}")).connect();
            assert_eq!(alice.subscribe("#", qos), qos);
            let kept = alice.delivery();
            assert_eq!((kept.text(), kept.retain), ("kept", true));
            for number in 0..20 {
                carol.publish("hall", qos, "hidden");
                carol.publish("room/secret", qos, "hidden");
                carol.publish("room/b", qos, number.to_string());
            }
            let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
            assert_eq!(alice.texts(20), expected);
            alice.silent();
        }
    }
}

/// Goal: rules of our own form: conditions on QoS and RETAIN, clients by name, receiving apart from subscribing.
#[test]
fn native_rules_are_obeyed() {
    if !ours() {
        return;
    }
    let rules = "[[rule]]\npermit = \"deny\"\nactions = [\"receive\"]\ntopics = [\"t/quiet\"]\n\
                 [[rule]]\npermit = \"allow\"\nactions = [\"publish\"]\ntopics = [\"t/low\"]\nqos = [0, 1]\n\
                 retain = false\n\
                 [[rule]]\npermit = \"allow\"\nactions = [\"subscribe\"]\ntopics = [\"t/low\"]\nqos = [0]\n\
                 [[rule]]\npermit = \"allow\"\ntopics = [\"t/#\"]\nclients = [\"chief\"]\n\
                 [[rule]]\npermit = \"allow\"\nactions = [\"subscribe\"]\ntopics = [\"t/#\"]\n\
                 [[rule]]\npermit = \"allow\"\ntopics = [\"${username}/${clientid}\"]\n";
    let lines = [path("password_file", &passwords(&["alice"])), path("rules_file", &file(rules))];
    let broker = Setup::shards(2).toml(&table(&lines)).start();
    let mut chief = of(&broker, Version::V5, "alice", "chief").connect();
    let mut alice = of(&broker, Version::V5, "alice", "c").connect();
    assert_eq!(alice.subscribe("t/low", 2), 0, "QoS 0 is granted where the rule says so");
    assert_eq!(alice.publish("t/low", 1, "1"), 0);
    assert_eq!(alice.publish("t/low", 2, "2"), 0x87);
    assert_eq!(alice.retain("t/low", 1, "3"), 0x87);
    assert_eq!(alice.publish("t/x", 1, "4"), 0x87);
    assert_eq!(alice.publish("alice/c", 1, "5"), 0x10);
    assert_eq!(alice.publish("alice/d", 1, "6"), 0x87);
    assert_eq!(alice.message().text(), "1");
    assert_eq!(alice.subscribe("t/#", 1), 0, "the lowest QoS of all rules that speak of it");
    assert_eq!(alice.subscribe("t/quiet", 1), 0x87);
    assert_eq!(chief.publish("t/quiet", 1, "unheard"), 0);
    assert_eq!(chief.publish("t/loud", 1, "heard"), 0);
    assert_eq!(alice.texts(1), ["heard"]);
    alice.silent();
}

/// Goal: what a denial does is the operator's choice: told, ignored, or the end of the connection.
#[test]
fn denials_do_what_is_configured() {
    if !ours() {
        return;
    }
    for version in VERSIONS {
        let silent = guarded(1, &["alice"], ACL, &["deny_action = \"ignore\""]);
        assert_eq!(connect(&silent, version, "alice").publish("hall", 1, "x"), 0);
        assert_eq!(connect(&silent, version, "alice").publish("hall", 2, "x"), 0);
        let harsh = guarded(1, &["alice"], ACL, &["deny_action = \"disconnect\""]);
        for qos in [0, 1, 2] {
            let mut alice = connect(&harsh, version, "alice");
            let message = Publish::new("hall", qos, "x");
            alice.send_publish(&message);
            alice.dropped(&[0x87]);
        }
        let mut alice = connect(&harsh, version, "alice");
        alice.send(&ringmain_tests::packet::subscribe(version, 1, &[("hall", 0)], &[]));
        alice.dropped(&[0x87]);
    }
}

/// Goal: a will is judged with its CONNECT: topic, QoS and RETAIN.
#[test]
fn wills_are_judged() {
    if !ours() {
        return;
    }
    let broker = guarded(2, &["alice", "carol"], ACL, &[]);
    for version in VERSIONS {
        let refused = of(&broker, version, "alice", "w").will(Will::new("hall", "x")).refused();
        assert_eq!(refused, code(version, 0x87, 5));
        let mut carol = connect(&broker, version, "carol");
        carol.subscribe("room/#", 0);
        of(&broker, version, "alice", "w").will(Will::new("room/gone", "will")).connect().abort();
        assert_eq!(carol.message().text(), "will");
    }
}
