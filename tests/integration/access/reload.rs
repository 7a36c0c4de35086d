//! SIGHUP: files are read again, and what is wrong changes nothing.

use std::fs;
use std::time::Instant;

use ringmain_tests::{Broker, DEADLINE, Setup, Version};

use super::{VERSIONS, code, connect, file, of, ours, passwords, path, table};

/// Tells the broker to read its files again, and waits until it says so.
pub(super) fn hang_up(broker: &mut Broker, says: &str) {
    let before = broker.log().matches(says).count();
    broker.process().signal("HUP");
    let end = Instant::now() + DEADLINE;
    while broker.log().matches(says).count() == before {
        assert!(Instant::now() < end, "{says:?} was expected: {}", broker.log());
        std::thread::yield_now();
    }
}

/// Goal: rules that are read again hold for subscriptions that are there: what is not allowed any more is not delivered, by
/// feed, outbox or group, and comes again when it is.
#[test]
fn rules_hold_for_live_subscriptions() {
    if !ours() {
        return;
    }
    const OPEN: &str = "user alice\ntopic read #\nuser bob\ntopic readwrite #\n";
    let acl = file(OPEN);
    let lines = [path("password_file", &passwords(&["alice", "bob"])), path("acl_file", &acl)];
    for version in VERSIONS {
        let mut broker = Setup::shards(2).toml(&table(&lines)).start();
        let mut bob = connect(&broker, version, "bob");
        let mut feed = of(&broker, version, "alice", "feed").connect();
        let mut outbox = of(&broker, version, "alice", "outbox").connect();
        let mut member = of(&broker, version, "alice", "member").connect();
        assert_eq!((feed.subscribe("#", 0), outbox.subscribe("#", 1)), (0, 1));
        assert_eq!(member.subscribe("$share/g/secret", 1), 1);
        let mut say = |topic: &str, text: &str| assert_eq!(bob.publish(topic, 1, text), 0);
        say("secret", "one");
        for client in [&mut feed, &mut outbox, &mut member] {
            assert_eq!(client.texts(1), ["one"]);
        }
        fs::write(&acl, "user alice\ntopic read open\nuser bob\ntopic readwrite #\n").expect("written");
        hang_up(&mut broker, "SIGHUP: read again");
        // Both of these have been through a turn of their shard since.
        [&mut feed, &mut outbox, &mut member].into_iter().for_each(ringmain_tests::Client::ping);
        let mut bob = of(&broker, version, "bob", "second").connect();
        bob.subscribe("#", 0);
        for (topic, text) in [("secret", "two"), ("open", "three")] {
            bob.publish(topic, 0, text);
        }
        let mut texts = bob.texts(2);
        texts.sort();
        assert_eq!(texts, ["three", "two"]);
        for client in [&mut feed, &mut outbox] {
            assert_eq!(client.texts(1), ["three"]);
        }
        [&mut feed, &mut outbox, &mut member].into_iter().for_each(ringmain_tests::Client::silent);
        assert_eq!(member.subscribe("secret", 0), code(version, 0x87, 0x80));
        fs::write(&acl, OPEN).expect("written");
        hang_up(&mut broker, "SIGHUP: read again");
        [&mut feed, &mut outbox, &mut member].into_iter().for_each(ringmain_tests::Client::ping);
        assert_eq!(member.subscribe("secret", 0), 0);
        bob.publish("secret", 0, "four");
        for client in [&mut feed, &mut outbox, &mut member] {
            assert_eq!(client.texts(1), ["four"]);
        }
        fs::write(&acl, OPEN).expect("written");
    }
}

/// Goal: a file that is broken, or gone, leaves everything as it was and says why (mosquitto's CVE-2017-7652); an empty one
/// denies (CVE-2018-12550).
#[test]
fn broken_files_change_nothing() {
    if !ours() {
        return;
    }
    let (acl, users) = (file("user alice\ntopic readwrite a\n"), passwords(&["alice"]));
    let lines = [path("password_file", &users), path("acl_file", &acl)];
    let mut broker = Setup::shards(1).toml(&table(&lines)).start();
    let mut alice = connect(&broker, Version::V5, "alice");
    let good = fs::read_to_string(&users).expect("it is there");
    for (place, text) in [(&acl, "user alice\ntopics #\n"), (&users, "alice:plain\n")] {
        let before = fs::read_to_string(place).expect("it is there");
        fs::write(place, text).expect("written");
        hang_up(&mut broker, "everything stays as it was");
        assert_eq!((alice.publish("a", 1, "x"), alice.publish("b", 1, "x")), (0x10, 0x87));
        of(&broker, Version::V5, "alice", "other").connect().disconnect();
        fs::remove_file(place).expect("it was there");
        hang_up(&mut broker, "everything stays as it was");
        assert_eq!((alice.publish("a", 1, "x"), alice.publish("b", 1, "x")), (0x10, 0x87));
        fs::write(place, before).expect("written");
    }
    assert!(!broker.log().contains("plain"), "nothing of a password file is printed");
    fs::write(&acl, "").expect("written");
    hang_up(&mut broker, "SIGHUP: read again");
    alice.ping();
    assert_eq!(alice.publish("a", 1, "x"), 0x87);
    // A user that is gone, or has another password, is not connected any more.
    fs::write(&users, good.replace("alice:", "eve:")).expect("written");
    hang_up(&mut broker, "SIGHUP: read again");
    alice.dropped(&[0x87]);
    assert_eq!(of(&broker, Version::V5, "alice", "other").refused(), 0x86);
}

/// Goal: who is banned is not let in, by name, identifier or address, and is disconnected when the list says so.
#[test]
fn bans() {
    if !ours() {
        return;
    }
    let (bans, users) = (file(""), passwords(&["alice", "bob"]));
    let lines = [path("password_file", &users), path("ban_file", &bans)];
    for version in VERSIONS {
        fs::write(&bans, "client bad\n").expect("written");
        let mut broker = Setup::shards(2).toml(&table(&lines)).start();
        assert_eq!(of(&broker, version, "alice", "bad").refused(), code(version, 0x8a, 5));
        let mut alice = of(&broker, version, "alice", "good").connect();
        fs::write(&bans, "user alice\n").expect("written");
        hang_up(&mut broker, "SIGHUP: read again");
        alice.dropped(&[0x98]);
        assert_eq!(of(&broker, version, "alice", "good").refused(), code(version, 0x8a, 5));
        let mut bob = of(&broker, version, "bob", "bad").connect();
        fs::write(&bans, "address 127.0.0.0/8\n").expect("written");
        hang_up(&mut broker, "SIGHUP: read again");
        bob.dropped(&[0x98]);
        assert_eq!(of(&broker, version, "bob", "good").refused(), code(version, 0x8a, 5));
    }
}

/// Goal: what cannot be used is refused at the start, with file and line, and with `-t`; nothing of it is printed.
#[test]
fn a_start_names_what_is_wrong() {
    if !ours() {
        return;
    }
    for (key, text, line) in [
        ("password_file", "# users\nalice:secretive\n", 2),
        ("acl_file", "topic read a/#/b\n", 1),
        ("rules_file", "[[rule]]\npermit = \"perhaps\"\n", 2),
    ] {
        let place = file(text);
        let (status, printed) = Setup::shards(1).toml(&table(&[path(key, &place)])).refused();
        assert_eq!(status, Some(2), "{printed}");
        assert!(printed.contains(&format!("{}:{line}: ", place.display())), "{printed}");
        assert!(!printed.contains("secretive"), "{printed}");
    }
}
