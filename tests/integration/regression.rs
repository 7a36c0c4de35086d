//! Defects that were found by reading the switch, each with its story. All of them passed the tests of its features.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use ringmain_tests::packet::{Will, disconnect, subscribe, unsubscribe};
use ringmain_tests::program::Program;
use ringmain_tests::{Broker, Case, Client, Packet, Property, Publish, Setup, Version, broker_tests};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

broker_tests!(both ours:
    requests_keep_their_order, one_puback_for_each_publish, group_beside_a_fetch_of_its_filter,
    many_groups_on_one_topic, longer_than_an_outbox
);
broker_tests!(v5 ours: redelivery_keeps_to_the_window, exact_packet_size_beside_aliases);

/// Goal: who resets its connection while its room is being flushed harms nobody else.
///
/// The result of a SEND that found the connection broken took its subscriber out of the room's feed at once. Another
/// one took its place there, and the results of that other one's own send named a place that was no more: the switch
/// ended itself.
#[test]
fn resets_in_the_midst_of_a_flush() {
    const READERS: usize = 100;
    let broker = Setup::shards(1).start();
    let mut readers: Vec<Client> = (0..READERS).flat_map(|_| into_the_room(&broker, 1)).collect();
    let mut publisher = broker.client(Version::V311, "publisher").connect();
    let mut published = 0;
    thread::scope(|scope| {
        let resets = scope.spawn(|| {
            for _ in 0..60 {
                into_the_room(&broker, 40).into_iter().for_each(reset);
            }
        });
        // One of the first to get a message sets the pace: the room is being flushed all the time.
        while !resets.is_finished() {
            publisher.send_publish(&Publish::new("room", 0, format!("{published}")));
            assert_eq!(readers[0].message().text(), published.to_string());
            published += 1;
        }
    });
    for reader in &mut readers[1..] {
        for number in 0..published {
            assert_eq!(reader.message().text(), number.to_string());
        }
    }
}

/// New subscribers of the room, all made at once.
fn into_the_room(broker: &Broker, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| broker.client(Version::V311, "").send()).collect();
    for client in &mut clients {
        client.send(&subscribe(Version::V311, 1, &[("room", 0)], &[]));
    }
    for client in &mut clients {
        client.connack();
        assert_eq!(client.receive(), Packet::Suback(1, vec![0]));
    }
    clients
}

/// Closes the connection by RST.
fn reset(client: Client) {
    set_socket_linger(client.stream(), Some(Duration::ZERO)).expect("a TCP socket");
}

/// Goal: what the last member of a group leaves unacknowledged ends there, and the switch goes on.
///
/// A shard without a member hands such a message to the topic's owner, for a member elsewhere. A node of one shard is
/// that owner itself, found no member, and handed the message to itself again, for ever.
#[test]
fn last_member_leaves_what_it_got() {
    for version in [Version::V311, Version::V5] {
        let broker = Setup::shards(1).start();
        let mut publisher = broker.client(version, "publisher").connect();
        for polite in [false, true] {
            let mut member = broker.client(version, "member").connect();
            member.subscribe("$share/g/t", 1);
            for _ in 0..3 {
                publisher.publish("t", 1, "left");
                member.delivery();
            }
            if polite {
                member.disconnect();
            } else {
                member.abort();
            }
            publisher.ping();
            let mut next = broker.client(version, "next").connect();
            next.subscribe("$share/g/t", 1);
            publisher.publish("t", 1, "new");
            assert_eq!(next.message().text(), "new");
        }
    }
}

/// Goal: a client that reads all the time, slower than messages come, costs what its limits say.
///
/// Its outbox was emptied only when all of it had been sent, which never happened: it kept every byte ever sent.
#[test]
fn outbox_that_is_never_empty() {
    if Program::tested() != Program::Ringmain {
        return; // Mosquitto queues by its own rules.
    }
    const NO_LOCAL: u8 = 4;
    const ROUNDS: u32 = 1_200;
    // What one send can take is less than what waits.
    let broker = Setup::shards(1).toml("[limits]\nmax_outbox_bytes = \"1MiB\"").start();
    let mut reader = broker.client(Version::V5, "reader").connect();
    set_socket_recv_buffer_size(reader.stream(), 32 << 10).expect("a TCP socket");
    // Not served by a feed: an outbox is what is looked at.
    reader.subscribe("t", NO_LOCAL);
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    let (mut first, mut previous) = (0, None);
    for round in 0..ROUNDS {
        for number in 0..32 {
            publisher.send_publish(&Publish::new("t", 0, format!("{:02000}", round * 32 + number)));
        }
        // Half of what was published; of the rest much is dropped.
        for _ in 0..16 {
            let number = reader.delivery().text().parse::<u32>().expect("a number");
            assert!(previous.is_none_or(|previous| previous < number), "{number} after {previous:?}");
            previous = Some(number);
        }
        if round == ROUNDS / 4 {
            first = broker.anonymous_bytes();
        }
    }
    let last = broker.anonymous_bytes();
    assert!(last < first + (8 << 20), "{first} bytes after a quarter of the messages, {last} after all");
}

/// Goal: names of any length pass between shards, whatever memory the rings have.
///
/// A claim or a filter larger than half its ring never had room there: it, and all that came behind it, waited for
/// ever. Twelve shards with rings of the default size were enough for names of a few thousand bytes.
#[test]
fn names_larger_than_a_ring() {
    let broker = Setup::shards(16).toml("[limits]\nmesh_memory = \"1MiB\"").start();
    for version in [Version::V311, Version::V5] {
        for number in 0..8 {
            let name = format!("{number}{}", "x".repeat(3_999));
            let mut client = broker.client(version, &name).connect();
            let (literal, below) = (format!("{name}/a"), format!("{name}/#"));
            client.retain(&literal, 1, "retained");
            assert_eq!(client.subscribe_all(&[(&literal, 1), (&format!("$share/g/{below}"), 1)], &[]), [1, 1]);
            assert_eq!(client.message().text(), "retained");
            assert_eq!(client.subscribe(&below, 1), 1);
            assert_eq!(client.message().text(), "retained");
            client.unsubscribe(&[&literal, &format!("$share/g/{below}")]);
            client.retain(&literal, 1, "");
            assert_eq!(client.message().topic, literal);
            client.disconnect();
            // A session that is kept moves to its home, which is elsewhere mostly.
            broker.client(version, &name).durable().connect().disconnect();
            assert!(broker.client(version, &name).durable().connect().session_present);
            broker.client(version, &name).connect().disconnect();
        }
    }
}

/// Goal: no acknowledgement sleeps.
///
/// An owner asks to be woken when a shard has resolved a publish, unless it has already. It asked before it looked, and
/// not again for the next publish; then after it looked, and took no notice of the answer that it had. Either way
/// nobody woke it until the timer that fires each second. So the bound is far from what a busy machine adds.
#[test]
fn acknowledgements_are_woken() {
    const PAIRS: usize = 8;
    const ROUNDS: usize = 1_200;
    let broker = Setup::shards(2).start();
    for pair in 0..PAIRS {
        // Owner, publisher and subscriber meet on the shards in every way.
        let topic = format!("t{pair}");
        let mut subscriber = broker.client(Version::V311, &format!("subscriber{pair}")).connect();
        subscriber.subscribe(&topic, 1);
        let mut publisher = broker.client(Version::V311, &format!("publisher{pair}")).connect();
        let packet = |id| Publish { id, ..Publish::new(&topic, 1, "x") }.bytes(Version::V311);
        let (first, second) = (packet(1), packet(2));
        for round in 0..ROUNDS {
            let start = Instant::now();
            publisher.send(&first);
            // The second publish comes at any stage of the first.
            (0..round * 37 % 2_000).for_each(|_| std::hint::spin_loop());
            publisher.send(&second);
            publisher.acknowledged(1, 1);
            publisher.acknowledged(1, 2);
            let took = start.elapsed();
            assert!(took < Duration::from_millis(500), "{took:?} in round {round} of {topic}");
            assert_eq!(subscriber.texts(2), ["x", "x"]);
        }
    }
}

/// Goal: filters by the thousand in one SUBSCRIBE are answered as fast as they come.
///
/// An owner takes 256 parcels of a ring in a turn. What was left of those about interest it did not remember, and slept
/// until somebody woke it, or until the timer that fires each second: a thousand filters took four seconds.
#[test]
fn filters_by_the_thousand() {
    const FILTERS: usize = 3_000;
    let broker = Setup::shards(2).start();
    let filters: Vec<String> = (0..FILTERS).map(|number| format!("{number}/+")).collect();
    let requests: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    // One of each shard, by and by.
    for number in 0..4 {
        let mut client = broker.client(Version::V311, &format!("client{number}")).connect();
        let start = Instant::now();
        assert_eq!(client.subscribe_all(&requests, &[]), vec![0; FILTERS]);
        // It took several seconds, and takes milliseconds.
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
}

/// Goal: a subscription that comes when the interest of its predecessor ends is in force at SUBACK.
///
/// Interest lingers for three seconds behind the last subscriber, and the timer that fires each second ends it. A
/// SUBSCRIBE that was waiting for the owners' confirmation did not count as a subscriber: the end of the interest
/// followed its beginning to the owners, and they forgot it. So SUBSCRIBE packets are under way all the time from the
/// third second to the fourth.
#[test]
fn subscription_at_the_end_of_lingering_interest() {
    const CLIENTS: usize = 4;
    let broker = Setup::shards(2).toml("[limits]\nmax_subscriptions = 20_000").start();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let broker = &broker;
            scope.spawn(move || subscribe_when_interest_ends(broker, number));
        }
    });
}

fn subscribe_when_interest_ends(broker: &Broker, number: usize) {
    const FILTERS: usize = 15_000;
    // Every shard owns topics of a filter with a wildcard.
    let filters: Vec<String> = (0..FILTERS).map(|index| format!("{number}/{index}/+")).collect();
    let mut client = broker.client(Version::V311, &format!("client{number}")).connect();
    for chunk in filters.chunks(1_000) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        client.subscribe_all(&chunk.iter().map(|filter| (*filter, 0)).collect::<Vec<_>>(), &[]);
        client.unsubscribe(&chunk);
    }
    let left = Instant::now();
    // Time itself is what is awaited.
    thread::sleep(Duration::from_millis(2_900));
    let mut back = 0;
    while back < FILTERS && left.elapsed() < Duration::from_millis(4_050) {
        client.subscribe(&filters[back], 0);
        back += 1;
    }
    let mut publisher = broker.client(Version::V311, &format!("publisher{number}")).connect();
    for chunk in filters[..back].chunks(100) {
        let topics: Vec<String> = chunk.iter().map(|filter| filter.replace('+', "x")).collect();
        topics.iter().for_each(|topic| _ = publisher.send_publish(&Publish::new(topic, 0, "x")));
        let mut got: Vec<String> = topics.iter().map(|_| client.message().topic).collect();
        got.sort_unstable_by_key(|topic| topics.iter().position(|sent| sent == topic));
        assert_eq!(got, topics);
    }
}

/// Goal: requests of one client take effect in their order, even sent at once: after UNSUBACK nothing comes.
///
/// An UNSUBSCRIBE waits for the SUBSCRIBE packets before it. A SUBSCRIBE that no other shard had to confirm was done at
/// once and counted as one that had been waited for: then an UNSUBSCRIBE of the filter of an earlier one found nothing,
/// and the subscription came into force behind it.
fn requests_keep_their_order(case: &Case) {
    const PAIRS: u16 = 24;
    let mut publisher = case.connect("publisher");
    for number in 0..4 {
        let mut client = case.connect(&format!("client{number}"));
        let gone: Vec<String> = (0..PAIRS).map(|pair| case.topic(&format!("gone/{pair}"))).collect();
        let stays: Vec<String> = (0..PAIRS).map(|pair| case.topic(&format!("stays/{pair}"))).collect();
        for (pair, (gone, stays)) in (0..).zip(gone.iter().zip(&stays)) {
            let mut requests = subscribe(case.version, 3 * pair + 1, &[(gone, 1)], &[]);
            requests.extend(subscribe(case.version, 3 * pair + 2, &[(stays, 1)], &[]));
            requests.extend(unsubscribe(case.version, 3 * pair + 3, &[gone]));
            client.send(&requests);
            let codes = client.wait_for(|packet| match packet {
                Packet::Unsuback(id, codes) => (*id == 3 * pair + 3).then(|| codes.clone()),
                _ => None,
            });
            assert_eq!(codes, if case.v5() { vec![0] } else { vec![] });
            // They need not come in order.
            for _ in 0..2 {
                assert!(matches!(client.receive(), Packet::Suback(id, _) if (id - 1) / 3 == pair && id % 3 != 0));
            }
        }
        gone.iter().for_each(|topic| _ = publisher.publish(topic, 1, "gone"));
        stays.iter().for_each(|topic| _ = publisher.publish(topic, 1, "stays"));
        assert_eq!(client.texts(usize::from(PAIRS)), vec!["stays"; usize::from(PAIRS)]);
        client.silent();
        client.disconnect();
    }
}

/// Goal: what a client sent before it closed its side is handled, the DISCONNECT at its end included, though it had to
/// wait.
///
/// The end of a connection was taken as such at once. Where the client was waiting for room on the way to an owner, its
/// last packets were thrown away, the DISCONNECT among them, and so its will was published.
#[test]
fn burst_before_the_end() {
    const BURSTS: usize = 24;
    const MESSAGES: u16 = 60;
    // Two unresolved publishes for each owner: a burst waits all the time.
    let limits = "[limits]\npublish_credits = 2\nmesh_memory = \"1MiB\"";
    let broker = Setup::shards(2).toml(limits).start();
    for version in [Version::V311, Version::V5] {
        let mut watcher = broker.client(version, "watcher").connect();
        watcher.subscribe("burst/#", 1);
        watcher.subscribe("will", 1);
        for burst in 0..BURSTS {
            let topic = format!("burst/{burst}");
            let will = Will::new("will", "fired");
            let mut client = broker.client(version, &format!("client{burst}")).will(will).connect();
            let message = |id| Publish { id, ..Publish::new(&topic, u8::from(id % 8 != 0), format!("{id}")) };
            let mut bytes: Vec<u8> = (1..=MESSAGES).flat_map(|id| message(id).bytes(version)).collect();
            bytes.extend(disconnect(version, 0, &[]));
            client.send(&bytes);
            client.abort();
            // Both QoS have their own order.
            let mut got: Vec<u16> =
                watcher.texts(usize::from(MESSAGES)).iter().map(|text| text.parse().expect("a number")).collect();
            got.sort_unstable();
            assert_eq!(got, (1..=MESSAGES).collect::<Vec<_>>());
        }
        watcher.silent();
    }
}

/// Goal: one credit for each owner is few, and enough.
///
/// The ring of acknowledgements, sized by the credits, was so small for one of them that it took none: the switch ended
/// itself at the first publish to another shard.
#[test]
fn one_credit_for_each_owner() {
    let broker = Setup::shards(2).toml("[limits]\npublish_credits = 1").start();
    for version in [Version::V311, Version::V5] {
        let mut client = broker.client(version, "client").connect();
        client.subscribe("#", 2);
        for number in 0..40 {
            // Topics of both owners.
            assert_eq!(client.publish(&format!("{}", number % 10), 1 + number % 2, format!("{number}")), 0);
            assert_eq!(client.message().text(), number.to_string());
        }
    }
}

/// Goal: a publish gets one acknowledgement, on the connection that sent it.
///
/// Publishes under way were tied to the generation of their connection's place, not to the place. A session that was
/// resumed at another place of the same generation got the acknowledgements of its last connection too.
fn one_puback_for_each_publish(case: &Case) {
    const PUBLISHES: u16 = 200;
    let topics: Vec<String> = (0..4).map(|number| case.topic(&format!("{number}"))).collect();
    let burst = |dup| -> Vec<u8> {
        let topic = |id| &topics[usize::from(id) % topics.len()];
        let publish = |id| Publish { id, dup, ..Publish::new(topic(id), 1, "x") };
        (1..=PUBLISHES).flat_map(|id| publish(id).bytes(case.version)).collect()
    };
    let options = case.client("a").durable();
    let mut old = options.connect();
    for _ in 0..30 {
        let mut new = Client::open(case.broker().address(), case.version);
        old.send(&burst(false));
        new.send(&[options.packet.bytes(), burst(true)].concat());
        new.connack();
        assert!(new.session_present);
        let got: Vec<Packet> = (0..PUBLISHES).map(|_| new.receive()).collect();
        let ids = got.iter().map(|packet| if let Packet::Puback(id, _) = packet { *id } else { 0 });
        assert!(ids.eq(1..=PUBLISHES), "{got:?}");
        new.ping();
        old.ended();
        old = new;
    }
    old.silent();
}

/// Goal: a session that is resumed with a smaller Receive Maximum gets again what was in flight within that
/// `[MQTT-3.3.4-9]` `[MQTT-4.4.0-1]`.
///
/// All that was in flight was sent again at once.
fn redelivery_keeps_to_the_window(case: &Case) {
    const IN_FLIGHT: usize = 32;
    const MESSAGES: usize = 40;
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut client = case.client("a").durable().connect();
    client.subscribe(&topic, 2);
    for number in 0..MESSAGES {
        publisher.publish(&topic, 1 + number as u8 % 2, format!("{number}"));
    }
    let before: Vec<Publish> = (0..IN_FLIGHT).map(|_| client.delivery()).collect();
    client.silent();
    client.abort();
    let mut client = case.client("a").durable().property(Property::ReceiveMaximum(1)).connect();
    for number in 0..MESSAGES {
        let message = client.delivery();
        match before.get(number) {
            Some(sent) => assert_eq!(message, Publish { dup: true, ..sent.clone() }),
            None => assert_eq!((message.text(), message.dup), (number.to_string().as_str(), false)),
        }
        // Nothing else comes while it is not acknowledged.
        client.send(&ringmain_tests::packet::PINGREQ);
        assert_eq!(client.receive(), Packet::Pingresp);
        client.acknowledge(&message);
    }
    client.silent();
}

/// Goal: a message reaches every group, however many have its topic.
///
/// Beyond sixty-four, groups got nothing, and nobody counted it.
fn many_groups_on_one_topic(case: &Case) {
    const CLIENTS: usize = 5;
    const GROUPS: usize = 20;
    const MESSAGES: usize = 10;
    let topic = case.topic("t");
    let member = |client: usize| {
        let groups: Vec<String> = (0..GROUPS).map(|group| format!("$share/{client}-{group}/{topic}")).collect();
        let mut member = case.connect(&format!("member{client}"));
        let codes = member.subscribe_all(&groups.iter().map(|group| (group.as_str(), 1)).collect::<Vec<_>>(), &[]);
        assert_eq!(codes, vec![1; GROUPS]);
        member
    };
    let mut members: Vec<Client> = (0..CLIENTS).map(member).collect();
    let mut publisher = case.connect("publisher");
    (0..MESSAGES).for_each(|number| _ = publisher.publish(&topic, 1, format!("{number}")));
    for member in &mut members {
        let mut copies = HashMap::new();
        member.texts(GROUPS * MESSAGES).into_iter().for_each(|text| *copies.entry(text).or_insert(0) += 1);
        assert!(copies.len() == MESSAGES && copies.values().all(|count| *count == GROUPS), "{copies:?}");
        member.silent();
    }
}

/// Goal: retained messages on their way to a subscription all come, whatever its client does meanwhile with a group of
/// the same filter.
///
/// The end of a group's subscription, and its repetition, ended the fetches of the filter inside it as well.
fn group_beside_a_fetch_of_its_filter(case: &Case) {
    const MESSAGES: usize = 400;
    let (filter, mut publisher) = (case.topic("#"), case.connect("publisher"));
    let topics: Vec<String> = (0..MESSAGES).map(|number| case.topic(&format!("{number}"))).collect();
    // More than sockets hold: the fetch is under way until its client reads.
    topics.iter().for_each(|topic| _ = publisher.retain(topic, 1, [b'x'; 4_000]));
    let group = format!("$share/g/{filter}");
    let mut client = case.connect("client");
    let mut requests = subscribe(case.version, 101, &[(&filter, 0)], &[]);
    requests.extend(subscribe(case.version, 102, &[(&group, 0)], &[]));
    requests.extend(subscribe(case.version, 103, &[(&group, 1)], &[]));
    requests.extend(unsubscribe(case.version, 104, &[&group]));
    client.send(&requests);
    let (mut got, mut answers) = (Vec::new(), 0);
    while got.len() < MESSAGES || answers < 4 {
        match client.receive() {
            Packet::Publish(message) => got.push(message.topic),
            Packet::Suback(..) | Packet::Unsuback(..) => answers += 1,
            other => panic!("{other:?}"),
        }
    }
    client.silent();
    got.sort_unstable();
    let mut expected = topics.clone();
    expected.sort_unstable();
    assert_eq!(got, expected);
    topics.iter().for_each(|topic| _ = publisher.retain(topic, 0, ""));
    publisher.ping();
}

/// Goal: a QoS 0 message that is longer than `limits.max_outbox_bytes` reaches those who have nothing waiting, whatever QoS
/// they subscribed with.
///
/// It was held against what is free of the limit, so that for subscribers of QoS 1 and 2, who read no feed, it was always
/// too long: dropped, and counted as that of a full outbox. A page in a browser waited for it in vain.
fn longer_than_an_outbox(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    let mut subscribers = [0, 1, 2].map(|qos| {
        let mut client = case.connect(&format!("subscriber-{qos}"));
        assert_eq!(client.subscribe(&topic, qos), qos);
        client
    });
    for len in [(256 << 10) - 100, 256 << 10, 300_000, 700_000] {
        publisher.publish(&topic, 0, vec![b'x'; len]);
        for client in &mut subscribers {
            assert_eq!(client.message().payload.len(), len);
        }
    }
}

/// Goal: a message that fits the client's Maximum Packet Size by name comes, aliases or not, and one that does not fit
/// does not `[MQTT-3.1.2-24]`.
///
/// A client that takes aliases lost messages up to the bytes that an alias might have added.
fn exact_packet_size_beside_aliases(case: &Case) {
    let (mut publisher, topic) = (case.connect("publisher"), case.topic("t"));
    for qos in 0..=2 {
        let by_name = Publish::new(&topic, qos, [b'x'; 200]).bytes(case.version).len();
        for spare in -1..=8 {
            let size = u32::try_from(by_name as i32 + spare).expect("not negative");
            let options = case.client("client").property(Property::TopicAliasMaximum(4));
            let mut client = options.property(Property::MaximumPacketSize(size)).connect();
            client.subscribe(&topic, qos);
            for _ in 0..3 {
                publisher.publish(&topic, qos, [b'x'; 200]);
                publisher.publish(&topic, qos, "small");
                if spare >= 0 {
                    assert_eq!(client.message().payload.len(), 200, "QoS {qos}, {spare} to spare");
                }
                assert_eq!(client.message().text(), "small");
            }
            client.silent();
            assert!(client.largest_packet() <= size as usize);
        }
    }
}
