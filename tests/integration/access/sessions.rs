//! A session belongs to the user that made it.

use std::time::Instant;

use ringmain_tests::packet::Will;
use ringmain_tests::{Broker, DEADLINE, DataDirectory, Property, Setup, Version};

use super::{VERSIONS, code, file, guarded, of, ours, passwords, path, table};

const ACL: &str = "user alice\ntopic readwrite #\nuser bob\ntopic readwrite #\n";

/// Goal: another user with the same client identifier neither takes over a connection, nor resumes, nor wipes a session
/// (mosquitto's #3551, #3553); its own user does.
#[test]
fn another_user_is_refused() {
    if !ours() {
        return;
    }
    for shards in [1, 3] {
        let broker = guarded(shards, &["alice", "bob"], ACL, &[]);
        for version in VERSIONS {
            let refused = code(version, 0x87, 5);
            // Connected, on each shard that the listener may choose.
            let mut alice = of(&broker, version, "alice", "shared").durable().connect();
            assert_eq!(alice.subscribe("t", 1), 1);
            for _ in 0..4 {
                assert_eq!(of(&broker, version, "bob", "shared").refused(), refused);
                assert_eq!(of(&broker, version, "bob", "shared").durable().refused(), refused);
            }
            alice.ping();
            // Away.
            alice.disconnect();
            assert_eq!(of(&broker, version, "bob", "shared").durable().refused(), refused);
            assert_eq!(of(&broker, version, "bob", "shared").refused(), refused, "a clean start would wipe it");
            of(&broker, version, "bob", "publisher").connect().publish("t", 1, "owed");
            let mut alice = of(&broker, version, "alice", "shared").durable().connect();
            assert!(alice.session_present);
            assert_eq!(alice.texts(1), ["owed"]);
            // Its own user takes over, and ends it.
            let again = of(&broker, version, "alice", "shared").connect();
            assert!(!again.session_present);
            alice.dropped(&[0x8e]);
            again.disconnect();
            // It is anybody's when its home has heard that it is free.
            let end = Instant::now() + DEADLINE;
            while of(&broker, version, "bob", "shared").answer().code != 0 {
                assert!(Instant::now() < end, "{}", broker.log());
            }
        }
    }
}

/// Goal: where the operator says so anybody takes over.
#[test]
fn takeover_can_be_everybodys() {
    if !ours() {
        return;
    }
    let broker = guarded(2, &["alice", "bob"], ACL, &["takeover = \"anybody\""]);
    let mut alice = of(&broker, Version::V5, "alice", "shared").durable().connect();
    let bob = of(&broker, Version::V5, "bob", "shared").durable().connect();
    assert!(bob.session_present);
    alice.dropped(&[0x8e]);
}

fn on(data: &DataDirectory, shards: u32, lines: &[String]) -> Broker {
    Setup::shards(shards).on(data).toml(&table(lines)).start()
}

/// Goal: whose a session is survives kill -9, compaction aside, and a start with another number of shards; a session from
/// before there was access control is its first user's.
#[test]
fn owners_survive_a_restart() {
    if !ours() {
        return;
    }
    let data = DataDirectory::new();
    let lines = [path("password_file", &passwords(&["alice", "bob"])), path("acl_file", &file(ACL))];
    let mut before = Setup::shards(2).on(&data).start();
    let old = before.client(Version::V5, "old").durable().connect();
    drop(old);
    before.terminate(DEADLINE);
    let mut first = on(&data, 2, &lines);
    let mut alice = of(&first, Version::V5, "alice", "shared").durable().connect();
    alice.subscribe("t", 1);
    assert!(of(&first, Version::V5, "alice", "old").durable().connect().session_present);
    first.process().kill();
    for shards in [2, 3] {
        let mut broker = on(&data, shards, &lines);
        for id in ["shared", "old"] {
            assert_eq!(of(&broker, Version::V5, "bob", id).durable().refused(), 0x87, "{id} of {shards} shards");
            assert_eq!(of(&broker, Version::V5, "bob", id).refused(), 0x87);
            assert!(of(&broker, Version::V5, "alice", id).durable().connect().session_present);
        }
        broker.process().kill();
    }
}

/// Goal: what waits for a client whose rights shrink meanwhile is not delivered, and its will is not published; what it
/// still may have is.
#[test]
fn rights_that_shrink() {
    if !ours() {
        return;
    }
    let acl = file(ACL);
    let lines = [path("password_file", &passwords(&["alice", "bob"])), path("acl_file", &acl)];
    let data = DataDirectory::new();
    let mut broker = on(&data, 2, &lines);
    let mut bob = of(&broker, Version::V5, "bob", "bob").durable().connect();
    bob.subscribe("will", 1);
    bob.subscribe("heritage", 1);
    let late = |topic: &str| {
        let mut will = Will::new(topic, topic);
        will.properties.push(Property::WillDelay(250));
        will
    };
    let mut alice = of(&broker, Version::V5, "alice", "alice").durable().will(late("will")).connect();
    assert_eq!(alice.subscribe("#", 1), 1);
    alice.abort();
    of(&broker, Version::V5, "alice", "testator").durable().will(late("will")).connect().abort();
    of(&broker, Version::V5, "alice", "heir").durable().will(late("heritage")).connect().abort();
    assert_eq!(bob.publish("secret", 1, "hidden"), 0);
    assert_eq!(bob.publish("open", 1, "shown"), 0);
    broker.terminate(DEADLINE);
    std::fs::write(&acl, "user alice\ntopic read open\ntopic write heritage\nuser bob\ntopic readwrite #\n")
        .expect("written");
    let broker = on(&data, 2, &lines);
    let mut bob = of(&broker, Version::V5, "bob", "bob").durable().connect();
    let mut alice = of(&broker, Version::V5, "alice", "alice").durable().connect();
    assert_eq!(alice.texts(1), ["shown"]);
    bob.publish("secret", 1, "hidden");
    bob.publish("open", 1, "again");
    assert_eq!(alice.texts(1), ["again"]);
    alice.silent();
    // Their sessions end, and with that their wills are due.
    for id in ["testator", "heir"] {
        of(&broker, Version::V5, "alice", id).connect().ping();
    }
    assert_eq!(bob.texts(1), ["heritage"]);
    bob.silent();
}
