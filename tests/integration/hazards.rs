//! What has brought other brokers down, tried here at the size at which it hurt them; docs/known-failures.md lists all
//! of it, and which test shows what.

mod chance;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ringmain_tests::broker_tests;
use ringmain_tests::packet::{Will, packet, put_string};
use ringmain_tests::program::Program;
use ringmain_tests::{Broker, Case, Client, DEADLINE, Options, Packet, Property, Publish, Setup, Transport, Version};

broker_tests!(both ours: one_identifier_over_and_over, levels_at_their_limit, sys_by_other_ways);
broker_tests!(both ours: branches_by_the_thousand);

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// A broker of its own for each number of shards; none where the broker under test is not ours.
fn brokers(settings: &str) -> Vec<Broker> {
    let shards: &[u32] = if Program::tested() == Program::Ringmain { &[1, 2] } else { &[] };
    shards.iter().map(|shards| Setup::shards(*shards).toml(settings).start()).collect()
}

/// Goal: lengths that are announced and not followed by bytes take no memory, before CONNECT and after.
#[test]
fn nothing_is_held_for_a_length() {
    for broker in brokers("") {
        // As large as a CONNECT and as another packet may be, and the first byte of each body.
        let connects: Vec<Client> = (0..500)
            .map(|_| {
                let mut client = Client::open(broker.address(), Version::V5);
                client.send(b"\x10\xfc\xff\x03\0");
                client
            })
            .collect();
        let mut publishers: Vec<Client> =
            (0..500).map(|number| broker.client(Version::V5, &format!("{number}")).connect()).collect();
        publishers.iter_mut().for_each(Client::ping);
        let before = broker.anonymous_bytes();
        publishers.iter_mut().for_each(|client| client.send(b"\x30\xfb\xff\x3f\0"));
        works(&broker);
        let after = broker.anonymous_bytes();
        // Half a gigabyte was announced, and each sent some bytes.
        assert!(before < 64 << 20 && after < before + (4 << 20), "{before} bytes before, {after} after");
        drop(connects);
    }
}

/// Goal: 100,000 CONNECTs that are wrong in as many ways leave no memory behind: will, properties and names are those of
/// one owner, which ends with its connection.
#[test]
fn malformed_connects_leave_nothing() {
    const COUNT: usize = 100_000;
    for broker in brokers("[log]\nlevel = \"error\"").into_iter().skip(1) {
        let wrong = wrong_connects(&broker);
        let storm = |count: usize| {
            thread::scope(|scope| {
                for thread in 0..4 {
                    let (wrong, address) = (&wrong, broker.address());
                    scope.spawn(move || {
                        for batch in 0..count / 4 / 50 {
                            let at = |number| (thread + 4 * (batch * 50 + number)) % wrong.len();
                            turn_away(address, (0..50).map(|number| wrong[at(number)].as_slice()));
                        }
                    });
                }
            });
            works(&broker);
            broker.anonymous_bytes()
        };
        // Every receive buffer has been used once after so many.
        let before = storm(COUNT / 10);
        let after = storm(COUNT);
        assert!(after < before + (2 << 20), "{before} bytes before, {after} after");
    }
}

/// Sends each CONNECT on a connection of its own and sees all of them end.
fn turn_away<'a>(address: SocketAddr, connects: impl Iterator<Item = &'a [u8]>) {
    let clients: Vec<Client> = connects
        .map(|bytes| {
            let mut client = Client::open(address, Version::V5);
            client.send(bytes);
            client
        })
        .collect();
    for mut client in clients {
        let answer = client.bytes_to_the_end();
        assert!(answer.is_empty() || answer[0] == 0x20 && answer[3] >= 0x80, "{answer:02x?}");
    }
}

/// A CONNECT with a will and all kinds of properties, too short by any number of bytes, or with any property twice or at
/// the wrong place.
fn wrong_connects(broker: &Broker) -> Vec<Vec<u8>> {
    let user = || Property::User("name".into(), "value".into());
    let will_properties = [
        Property::PayloadFormat(1),
        Property::ContentType("type".into()),
        Property::ResponseTopic("a/b".into()),
        Property::CorrelationData(vec![0; 100]),
        user(),
    ];
    let properties =
        [Property::SessionExpiry(1_000), Property::ReceiveMaximum(9), Property::MaximumPacketSize(900), user()];
    let with = |connect: &[Property], will: &[Property]| {
        let will = Will { qos: 2, properties: will.to_vec(), ..Will::new("w", &"p".repeat(500)) };
        let mut options = broker.client(Version::V5, "malformed").will(will);
        options.packet.properties = connect.to_vec();
        options.packet.user_name = Some("user".into());
        options.packet.password = Some(b"password".to_vec());
        options.packet.bytes()
    };
    let whole = with(&properties, &will_properties);
    let body = &whole[3..];
    let mut wrong: Vec<Vec<u8>> = (0..body.len()).map(|end| packet(0x10, &body[..end])).collect();
    wrong.push(packet(0x10, &[body, b"\0"].concat()));
    let misplaced = [
        Property::TopicAlias(1),
        Property::WillDelay(1),
        Property::SubscriptionId(1),
        Property::ReasonString("r".into()),
        Property::ServerKeepAlive(1),
        Property::ReceiveMaximum(0),
        Property::AuthenticationData(vec![1; 60]),
        Property::MaximumPacketSize(900),
    ];
    for extra in misplaced {
        wrong.push(with(&[&properties[..], std::slice::from_ref(&extra)].concat(), &will_properties));
        if !matches!(extra, Property::WillDelay(_)) {
            wrong.push(with(&properties, &[&will_properties[..], &[extra]].concat()));
        }
    }
    for twice in &will_properties[..4] {
        wrong.push(with(&properties, &[&will_properties[..], std::slice::from_ref(twice)].concat()));
    }
    wrong
}

/// Goal: QoS 2 with one identifier again and again, never released: an answer for each, one delivery, no memory.
fn one_identifier_over_and_over(case: &Case) {
    const COUNT: usize = 2_000;
    let (mut subscriber, mut client) = (case.connect("subscriber"), case.connect("client"));
    let topic = case.topic("t");
    subscriber.subscribe(&topic, 2);
    let again = Publish { id: 7, dup: true, ..Publish::new(&topic, 2, vec![b'x'; 200]) }.bytes(case.version);
    client.send(&Publish { id: 7, ..Publish::new(&topic, 2, vec![b'x'; 200]) }.bytes(case.version));
    assert_eq!(client.pubrec(7), 0);
    for _ in 0..COUNT / 100 {
        client.send(&again.repeat(100));
        (0..100).for_each(|_| assert_eq!(client.pubrec(7), 0));
    }
    client.send(&ringmain_tests::packet::ack(0x62, 7, 0));
    assert_eq!(client.pubcomp(7), 0);
    assert_eq!(subscriber.message().payload.len(), 200);
    subscriber.silent();
}

/// Goal: as many levels as are allowed work in every place; one more, and 65,535 slashes, are refused in every place with
/// the reason code of that place, and recursion is nowhere.
fn levels_at_their_limit(case: &Case) {
    let refused = if case.v5() { 0x8f } else { 0x80 };
    let (mut bystander, mut client) = (case.connect("bystander"), case.connect("a"));
    // The topic of this test has two levels, and the limit is 128.
    let deepest = case.topic(&"/".repeat(126));
    let plus = format!("+{}", "/+".repeat(127));
    assert_eq!(client.subscribe_all(&[(&deepest, 1), (&case.topic(&"+/".repeat(126)), 1)], &[]), [1, 1]);
    assert_eq!(client.publish(&deepest, 1, "x"), 0);
    assert_eq!(client.message().topic, deepest);
    for filter in [format!("{deepest}/"), format!("{plus}/+"), "/".repeat(65_535), "+/".repeat(32_767) + "#"] {
        let mut body = vec![0, 9];
        body.extend(case.v5().then_some(0));
        put_string(&mut body, &filter);
        body.push(1);
        client.send(&packet(0x82, &body));
        let codes =
            client.wait_for(|packet| if let Packet::Suback(9, codes) = packet { Some(codes.clone()) } else { None });
        assert_eq!(codes, [refused], "{} levels", filter.len());
    }
    for name in [format!("{deepest}/"), "/".repeat(65_535)] {
        for qos in 0..=2 {
            let mut other = case.connect("b");
            other.send(&Publish { id: u16::from(qos), ..Publish::retained(&name, qos, "x") }.bytes(case.version));
            other.dropped(&[0x90]);
        }
        let mut willing = case.client("c").will(Will::new(&name, "x")).send();
        // The larger of the two is more than a CONNECT may be.
        assert!(willing.turned_away().is_none_or(|code| code == 0x90));
    }
    bystander.silent();
    client.silent();
}

/// Goal: a name that follows thousands of branches of wildcards at once is one delivery, and soon.
fn branches_by_the_thousand(case: &Case) {
    const LEVELS: usize = 11;
    let mut client = case.connect("a");
    // Every filter of `a` and `+` on each level: all of them match.
    let filters: Vec<String> = (0..1 << LEVELS)
        .map(|bits: usize| {
            let levels: Vec<&str> = (0..LEVELS).map(|level| if bits >> level & 1 == 1 { "+" } else { "a" }).collect();
            case.topic(&levels.join("/"))
        })
        .collect();
    for some in filters.chunks(256) {
        let some: Vec<(&str, u8)> = some.iter().map(|filter| (filter.as_str(), 1)).collect();
        assert!(client.subscribe_all(&some, &[]).iter().all(|code| *code == 1));
    }
    let name = case.topic(&["a"; LEVELS].join("/"));
    for number in 0..20 {
        client.publish(&name, 1, format!("{number}"));
        assert_eq!(client.message().text(), format!("{number}"));
    }
    client.silent();
}

/// Goal: what the broker tells about itself is its own: by will, by alias and by an empty retained message it is not
/// forged or removed either.
fn sys_by_other_ways(case: &Case) {
    const VERSION: &str = "$SYS/broker/version";
    let mut watcher = case.connect("watcher");
    watcher.subscribe(VERSION, 0);
    let told = watcher.message();
    let refused = case.client("a").will(Will { retain: true, ..Will::new(VERSION, "forged") }).send().turned_away();
    assert_eq!(refused, Some(if case.v5() { 0x87 } else { 5 }));
    let mut client = case.connect("b");
    client.send(&Publish::retained(VERSION, 0, "").bytes(case.version));
    client.abort();
    if case.v5() {
        let mut client = case.connect("c");
        let alias = [Property::TopicAlias(1)];
        assert_eq!(client.publish_packet(&Publish::new(VERSION, 1, "forged").with(&alias)), 0x87);
        assert_eq!(client.publish_packet(&Publish::new("", 1, "forged").with(&alias)), 0x87);
    }
    let mut late = case.connect("late");
    late.subscribe(VERSION, 0);
    assert_eq!(late.message().payload, told.payload);
    // The broker tells it again in each interval; nobody else does.
    watcher.ping();
    while let Some(again) = watcher.message_within(Duration::from_millis(20)) {
        assert_eq!(again.payload, told.payload);
    }
}

/// Goal: one wildcard over 100,000 retained messages gets each of them exactly once, and meanwhile others are served.
#[test]
fn a_hundred_thousand_retained() {
    const COUNT: usize = 100_000;
    for broker in brokers("") {
        let mut publisher = broker.client(Version::V5, "publisher").connect();
        for batch in 0..COUNT / 1_000 {
            let topic = |number| format!("room/{batch}/{number}");
            let bytes = (0..1_000).flat_map(|number| Publish::retained(&topic(number), 0, "kept").bytes(Version::V5));
            publisher.send(&bytes.collect::<Vec<u8>>());
        }
        // Acknowledged by each owner, behind all that came before.
        (0..64).for_each(|number| assert_eq!(publisher.retain(&format!("room/0/{number}"), 1, "kept"), 0x10));
        let mut subscriber = broker.client(Version::V311, "subscriber").connect();
        subscriber.send(&ringmain_tests::packet::subscribe(Version::V311, 1, &[("room/#", 0)], &[]));
        let mut seen = BTreeSet::new();
        assert_eq!(subscriber.receive(), Packet::Suback(1, vec![0]));
        for number in 0..COUNT {
            let message = subscriber.message();
            assert!(message.retain && message.text() == "kept", "{message:?}");
            assert!(seen.insert(message.topic.clone()), "{} twice", message.topic);
            if number % (COUNT / 10) == 0 {
                works(&broker);
            }
        }
        subscriber.silent();
    }
}

/// Goal: setting, clearing, expiring and looking up one retained message from all sides at once trips nothing, and the
/// last word holds.
#[test]
fn retained_under_churn() {
    for broker in brokers("") {
        thread::scope(|scope| {
            for writer in 0..3 {
                let broker = &broker;
                scope.spawn(move || {
                    let mut client = broker.client(Version::V5, &format!("w{writer}")).connect();
                    for number in 0..500 {
                        let expiry = [Property::MessageExpiry(number % 2)];
                        let message = match (number + writer) % 3 {
                            0 => Publish::retained("t/t", 0, ""),
                            1 => Publish::retained("t/t", 1, "expires").with(&expiry),
                            _ => Publish::retained("t/t", 2, vec![b'x'; 3_000]),
                        };
                        assert!(client.publish_packet(&message) < 0x80);
                    }
                });
            }
            for (reader, filter) in ["t/t", "t/#", "+/t", "#"].into_iter().enumerate() {
                let broker = &broker;
                scope.spawn(move || {
                    let mut client = broker.client(VERSIONS[reader % 2], &format!("r{reader}")).connect();
                    for number in 0..200 {
                        client.subscribe(filter, number % 3);
                        if number % 2 == 0 {
                            client.unsubscribe(&[filter]);
                        }
                        if number % 50 == 49 {
                            client.abort();
                            client = broker.client(VERSIONS[reader % 2], &format!("r{reader}")).connect();
                        }
                    }
                });
            }
        });
        let mut client = broker.client(Version::V5, "last").connect();
        client.retain("t/t", 1, "last");
        client.subscribe("t/#", 0);
        assert_eq!(client.message().text(), "last");
        client.silent();
    }
}

/// Goal: subscribers of everything that read nothing cost their share and no more, whatever is published: their queues
/// are bounded, a payload is not copied for each, and who reads gets all.
#[test]
fn firehose_to_everything_unread() {
    for broker in brokers("") {
        let deaf: Vec<Client> = (0..40)
            .map(|number| {
                let mut client = broker.client(Version::V5, &format!("deaf{number}")).connect();
                client.subscribe("#", u8::from(number >= 30));
                client
            })
            .collect();
        let mut quick = broker.client(Version::V5, "quick").connect();
        quick.subscribe("#", 0);
        let mut publisher = broker.client(Version::V5, "publisher").connect();
        for number in 0..20_000 {
            let (qos, payload) = (u8::from(number % 20 == 19), vec![b'x'; 1_000]);
            publisher.publish(&format!("t/{}", number % 10), qos, payload);
            assert_eq!(quick.message().payload.len(), 1_000);
        }
        let bytes = broker.anonymous_bytes();
        // 820 MB were owed. At QoS 1 a thousand wait for each of ten, and ten outboxes may be full.
        assert!(bytes < 96 << 20, "{bytes} bytes");
        drop(deaf);
        works(&broker);
    }
}

/// Goal: when the process has no descriptor left, those who are connected are served as before, the refusal is told, and
/// newcomers are let in as soon as there is one.
#[test]
fn out_of_descriptors() {
    for mut broker in brokers("[kernel]\ndirect_descriptors = false") {
        let mut client = broker.client(Version::V5, "there").connect();
        let process = broker.process().id();
        let open = fs::read_dir(format!("/proc/{process}/fd")).expect("a process of our own").count();
        let limit = format!("--nofile={}:", open + 20);
        let set = Command::new("prlimit").args([format!("--pid={process}"), limit]).status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit (of util-linux) failed");
        // By TCP, in which a client can come halfway: over TLS it would wait for the handshake of who is not accepted.
        let newcomer = |number| Options::new(broker.tcp(), Version::V5, &format!("crowd{number}"));
        let mut crowd: Vec<Client> = (0..60).map(|number| newcomer(number).send_by(Transport::Tcp)).collect();
        broker.process().wait_for("accept failed", DEADLINE).expect("the log tells");
        client.subscribe("t", 1);
        client.publish("t", 1, "x");
        assert_eq!(client.message().text(), "x");
        // Each that leaves makes room for another, until all have been in.
        while !crowd.is_empty() {
            let mut next = crowd.remove(0);
            next.connack();
            next.ping();
            next.disconnect();
        }
        works(&broker);
    }
}

/// Goal: 9,000 conversations by chance, right and wrong, with clients that leave in every way, end each in answers that
/// keep the protocol; and all the while one client that keeps the rules gets what it is owed. `RINGMAIN_SEED` repeats one
/// run.
#[test]
fn conversations_by_chance() {
    const CONVERSATIONS: u64 = 3_000;
    const THREADS: u64 = 4;
    let fresh =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let seed = std::env::var("RINGMAIN_SEED").map_or_else(|_| fresh(), |seed| seed.parse().expect("a number"));
    // Shown where the test fails.
    println!("RINGMAIN_SEED={seed}");
    for (shards, mut broker) in [1, 2, 5].into_iter().map(|shards| (shards, Setup::shards(shards).start())) {
        if Program::tested() != Program::Ringmain {
            return;
        }
        let done = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let broker = &broker;
                    let numbers = (0..CONVERSATIONS / THREADS).map(move |number| number * THREADS + thread);
                    scope.spawn(move || {
                        numbers.for_each(|number| chance::conversation(broker, seed ^ number << 8 ^ u64::from(shards)))
                    })
                })
                .collect();
            let mut client = broker.client(Version::V5, "well-behaved").connect();
            client.subscribe("well/behaved", 2);
            let mut number = 0;
            while threads.iter().any(|thread| !thread.is_finished()) {
                let qos = number % 3;
                client.publish("well/behaved", qos as u8, format!("{number}"));
                assert_eq!(client.message().text(), format!("{number}"));
                number += 1;
            }
            client.silent();
            threads.into_iter().all(|thread| thread.join().is_ok())
        });
        assert!(done, "seed {seed}");
        works(&broker);
        let status = broker.terminate(DEADLINE);
        assert_eq!(status.code(), Some(0), "seed {seed}: {}", broker.log());
    }
}

/// A client that keeps the rules gets what it asks for, in good time.
fn works(broker: &Broker) {
    let start = Instant::now();
    for version in VERSIONS {
        let mut client = broker.client(version, "works").connect();
        client.subscribe("works/+", 2);
        for qos in 0..=2 {
            client.publish("works/x", qos, [qos]);
            assert_eq!(client.message().payload, [qos]);
        }
        client.unsubscribe(&["works/+"]);
        client.disconnect();
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
