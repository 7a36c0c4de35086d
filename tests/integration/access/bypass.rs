//! Ways around the rules that others have left open.

use ringmain_tests::packet::Will;
use ringmain_tests::{Broker, DataDirectory, Property, Publish, Setup, Version};

use super::backends::{SECRET, now, token};
use super::{VERSIONS, code, connect, file, guarded, of, ours, passwords, path, table, with};

/// Goal: wildcards in what a client calls itself open nothing, neither in its user name nor in its client identifier,
/// for publishing, subscribing and receiving (mosquitto's CVE-2017-7650).
#[test]
fn names_are_no_wildcards() {
    if !ours() {
        return;
    }
    let acl = "user root\ntopic readwrite #\npattern readwrite home/%u/#\npattern readwrite device/%c/#\n";
    let broker = guarded(2, &["a/#", "+", "a/b", "eve", "root"], acl, &[]);
    for version in VERSIONS {
        let mut root = connect(&broker, version, "root");
        // A client identifier is its user's, for a moment behind its DISCONNECT, too: each user has its own.
        for (number, (user, client)) in
            [("a/#", "x"), ("+", "z"), ("a/b", "w"), ("eve", "#"), ("eve", "+"), ("eve", "a/b")].iter().enumerate()
        {
            let mut hostile = of(&broker, version, user, client).connect();
            for filter in ["home/alice/#", "home/a/b/c", "home/a/#", "device/a/b", "device/y/#", "device/a/+"] {
                assert_eq!(hostile.subscribe(filter, 1), code(version, 0x87, 0x80), "{user} {client} {filter}");
            }
            // Each may have something of these, and none of what follows.
            for filter in ["#", "home/#", "home/+/x", "device/+", "device/+/x"] {
                hostile.subscribe(filter, 1);
            }
            for topic in ["home/alice/x", "home/a/b/c", "device/a/b", "device/y/x"] {
                assert_eq!(hostile.publish(topic, 1, "forged"), code(version, 0x87, 0), "{user} {client} {topic}");
            }
            root.publish("home/alice/x", 1, number.to_string());
            root.publish("device/y/x", 1, number.to_string());
            hostile.silent();
            hostile.disconnect();
        }
    }
}

/// Goal: `$SYS` is closed to all but operators and whom a rule names, by whatever spelling of the filter; what lies there
/// is not published to, and no user of that name owns it.
#[test]
fn sys_stays_closed() {
    if !ours() {
        return;
    }
    let acl = "user alice\ntopic readwrite #\nuser $SYS\ntopic readwrite mine\npattern readwrite %u/#\n";
    let more = ["operators = [\"root\"]"];
    let mut lines = vec![path("password_file", &passwords(&["alice", "$SYS", "root"])), path("acl_file", &file(acl))];
    lines.extend(more.map(str::to_owned));
    let broker = Setup::shards(2).toml(&table(&lines)).toml("[sys]\ninterval = \"1s\"").start();
    for version in VERSIONS {
        for user in ["alice", "$SYS"] {
            let mut client = connect(&broker, version, user);
            for filter in ["$SYS/#", "$SYS/broker/version", "$SYS/+/version", "$share/g/$SYS/#", "$SYS"] {
                assert_eq!(client.subscribe(filter, 0), code(version, 0x87, 0x80), "{user} {filter}");
            }
            assert_eq!(client.publish("$SYS/broker/version", 1, "forged"), code(version, 0x87, 0));
        }
        let mut root = connect(&broker, version, "root");
        assert_eq!(root.subscribe("$SYS/broker/version", 0), 0);
        assert!(root.message().topic.starts_with("$SYS/"));
        let mut all = of(&broker, version, "alice", "all").connect();
        all.subscribe("#", 0);
        all.silent();
    }
}

/// Goal: a shared subscription is judged as its filter: it opens nothing that the filter alone would not, and takes no
/// message away from those who may have it.
#[test]
fn shares_open_nothing() {
    if !ours() {
        return;
    }
    let acl = "user alice\ntopic read a/#\nuser bob\ntopic readwrite #\n";
    let broker = guarded(2, &["alice", "bob"], acl, &[]);
    for version in VERSIONS {
        let mut alice = connect(&broker, version, "alice");
        for filter in ["$share/g/#", "$share/g/b", "$share/g/+/x", "$share/a/b/#"] {
            assert_eq!(alice.subscribe(filter, 1), code(version, 0x87, 0x80), "{filter}");
        }
        assert_eq!(alice.subscribe("$share/g/a/+", 1), 1);
        let mut bob = connect(&broker, version, "bob");
        assert_eq!(bob.subscribe("$share/h/#", 1), 1);
        bob.publish("a/1", 1, "for both");
        bob.publish("b/1", 1, "for bob");
        assert_eq!(alice.texts(1), ["for both"]);
        let mut texts = bob.texts(2);
        texts.sort();
        assert_eq!(texts, ["for bob", "for both"]);
        alice.silent();
    }
}

/// Goal: a topic alias that was set by a publish that was denied does not carry the next one past the rules, nor does one
/// that stands for an allowed topic carry over to another.
#[test]
fn aliases_are_judged_by_their_topic() {
    if !ours() {
        return;
    }
    let broker = guarded(2, &["alice", "bob"], "user alice\ntopic write a\nuser bob\ntopic read #\n", &[]);
    let mut bob = connect(&broker, Version::V5, "bob");
    bob.subscribe("#", 0);
    let mut alice = connect(&broker, Version::V5, "alice");
    let by = |topic: &str, alias| Publish::new(topic, 1, topic).with(&[Property::TopicAlias(alias)]);
    assert_eq!(alice.publish_packet(&by("b", 1)), 0x87);
    assert_eq!(alice.publish_packet(&by("", 1)), 0x87);
    assert_eq!(alice.publish_packet(&by("a", 1)), 0);
    assert_eq!(alice.publish_packet(&by("", 1)), 0);
    assert_eq!(alice.publish_packet(&by("b", 1)), 0x87);
    assert_eq!(alice.publish_packet(&by("", 1)), 0x87);
    assert_eq!(bob.texts(2), ["a", ""]);
    bob.silent();
}

/// Goal: what a client left behind as retained, by a publish or by its will, is not delivered once its rights have gone,
/// over restarts too; it is when they are back, or where the operator says so (mosquitto's CVE-2018-12546).
#[test]
fn retained_messages_lose_their_rights() {
    if !ours() {
        return;
    }
    let (full, less) = ("user alice\ntopic write #\npattern write own/%u/%c\n", "user alice\ntopic write other\n");
    let reader = "user bob\ntopic read #\n";
    for (checks, durable) in [(true, false), (true, true), (false, false)] {
        let (data, acl) = (DataDirectory::new(), file(&format!("{full}{reader}")));
        let check = format!("check_retain_source = {checks}");
        let lines = [path("password_file", &passwords(&["alice", "bob"])), path("acl_file", &acl), check];
        let start = || Setup::shards(3).toml(&table(&lines)).on(&data).start();
        let broker = start();
        let seen = |broker: &Broker, expected: &[&str]| {
            for version in VERSIONS {
                let mut bob = connect(broker, version, "bob");
                bob.subscribe("#", 1);
                let mut topics: Vec<String> = expected.iter().map(|_| bob.message().topic).collect();
                topics.sort();
                assert_eq!(topics, expected, "{checks} {durable}");
                bob.silent();
                bob.disconnect();
            }
        };
        let options = of(&broker, Version::V5, "alice", "alice");
        let options = if durable { options.durable() } else { options };
        let mut alice = options.will(Will { qos: 1, retain: true, ..Will::new("will", "x") }).connect();
        let property = Property::User("k".into(), "v".into());
        alice.publish_packet(&Publish { retain: true, properties: vec![property], ..Publish::new("a", 1, "x") });
        alice.retain("own/alice/alice", 0, "x");
        alice.disconnect_with(0x04, &[Property::SessionExpiry(0)]);
        let all = ["a", "own/alice/alice", "will"];
        seen(&broker, &all);
        drop(broker);
        std::fs::write(&acl, format!("{less}{reader}")).expect("it can be written");
        seen(&start(), if checks { &[] } else { &all });
        std::fs::write(&acl, format!("{full}{reader}")).expect("it can be written");
        seen(&start(), &all);
    }
}

/// Goal: what a client with a token left behind as retained is judged by the rules of the files with its claims, or,
/// where its token's own rules allowed it, by bans alone, over restarts too.
#[test]
fn retained_messages_of_tokens() {
    if !ours() {
        return;
    }
    let (data, bans, secret) = (DataDirectory::new(), file(""), file(SECRET));
    let room = "[[rule]]\npermit = \"allow\"\nactions = [\"publish\"]\ntopics = [\"room/${claim.room}\"]\n";
    let rules = file(room);
    let lines = [
        path("password_file", &passwords(&["bob"])),
        path("acl_file", &file("user bob\ntopic read #\n")),
        path("rules_file", &rules),
        path("ban_file", &bans),
    ];
    let toml = format!("{}[access_jwt]\n{}\n", table(&lines), path("secret_file", &secret));
    let start = || Setup::shards(2).toml(&toml).on(&data).start();
    let broker = start();
    let claims = serde_json::json!({
        "sub": "alice", "exp": now() + 1000, "room": "7",
        "acl": [{ "permission": "allow", "action": "publish", "topic": "own" }],
    });
    let token = token(&claims);
    let mut alice = with(broker.client(Version::V5, "alice"), Some("alice"), Some(&token)).connect();
    for (topic, code) in [("room/7", 0x10), ("own", 0x10), ("room/8", 0x87)] {
        assert_eq!(alice.retain(topic, 1, "x"), code, "{topic}");
    }
    drop((alice, broker));
    for (rule, ban, expected) in [
        (room, "", &["own", "room/7"][..]),
        ("", "", &["own"]),
        (room, "user alice\n", &[]),
        (room, "client alice\n", &[]),
        (room, "user eve\n", &["own", "room/7"]),
    ] {
        std::fs::write(&rules, rule).expect("it can be written");
        std::fs::write(&bans, ban).expect("it can be written");
        let broker = start();
        let mut bob = connect(&broker, Version::V5, "bob");
        bob.subscribe("#", 1);
        let mut topics: Vec<String> = expected.iter().map(|_| bob.message().topic).collect();
        topics.sort();
        assert_eq!(topics, expected, "{rule} {ban}");
        bob.silent();
    }
}

/// Goal: a missing password is not an empty one, and neither a name alone nor a password alone is a proof (RabbitMQ's
/// CVE-2016-9877).
#[test]
fn a_missing_password_is_no_password() {
    if !ours() {
        return;
    }
    let place = passwords(&["alice"]);
    let text = place.display().to_string();
    let (status, printed) = ringmain_tests::program::run(&[], &["passwd", "-b", &text, "empty", ""]);
    assert_eq!(status, Some(0), "{printed}");
    let lines = [path("password_file", &place), "max_failures = 0".to_owned()];
    let broker = Setup::shards(1).toml(&table(&lines)).start();
    for version in VERSIONS {
        let of = |user, password| with(broker.client(version, "c"), user, password);
        let wrong = code(version, 0x86, 4);
        of(Some("empty"), Some("")).connect().disconnect();
        assert_eq!(of(Some("empty"), None).refused(), wrong);
        assert_eq!(of(Some("alice"), None).refused(), wrong);
        assert_eq!(of(Some("alice"), Some("")).refused(), wrong);
        assert_eq!(of(Some("alice"), Some("alice-pw\0")).refused(), wrong);
        assert_eq!(of(Some("nobody"), Some("")).refused(), wrong);
        assert_eq!(of(Some(""), Some("")).refused(), wrong);
        assert_eq!(of(None, None).refused(), code(version, 0x87, 5));
    }
    assert_eq!(with(broker.client(Version::V5, "c"), None, Some("alice-pw")).refused(), 0x86);
    let log = broker.log();
    assert!(!log.contains("alice") && !log.contains("-pw"), "{log}");
}

/// Goal: nothing is done for a client that is not let in yet: what it sends behind its CONNECT is handled after the
/// verdict, or never.
#[test]
fn nothing_overtakes_the_verdict() {
    if !ours() {
        return;
    }
    let broker = guarded(2, &["alice", "bob"], "user alice\ntopic readwrite #\nuser bob\ntopic readwrite #\n", &[]);
    for version in VERSIONS {
        let mut bob = connect(&broker, version, "bob");
        bob.subscribe("t", 0);
        for (password, seen) in [("wrong", false), ("alice-pw", true)] {
            let options = with(broker.client(version, "pipeline"), Some("alice"), Some(password));
            let mut client = ringmain_tests::Client::open(broker.address(), version);
            let message = Publish::new("t", 0, password);
            client.send(&[options.packet.bytes(), message.bytes(version)].concat());
            client.connack();
            assert_eq!(client.code == 0, seen);
            if seen {
                assert_eq!(bob.message().text(), password);
            }
        }
        bob.silent();
    }
}
