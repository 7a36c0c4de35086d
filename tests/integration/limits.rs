//! What the switch refuses to exceed, and how it says so. Each limit is set small, on a broker of its own.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ringmain_tests::packet::{ack, packet, put_string};
use ringmain_tests::program::Program;
use ringmain_tests::{Broker, Client, DEADLINE, Packet, Property, Publish, Setup, Transport, Version};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// A broker of two shards with small limits, for the tests of this module; `None` where the broker under test is not
/// ours.
fn strict() -> Option<&'static Broker> {
    static STRICT: OnceLock<Broker> = OnceLock::new();
    let limits = [
        "[limits]",
        "max_packet_size = 1000",
        "max_connect_size = 300",
        "max_topic_levels = 5",
        "max_subscriptions = 4",
        "connect_timeout = \"1s\"",
        "session_expiry_interval = \"60s\"",
        "message_expiry_interval = \"1s\"",
    ];
    let setup = || Setup::shards(2).toml(&limits.join("\n"));
    (Program::tested() == Program::Ringmain).then(|| STRICT.get_or_init(|| setup().start()))
}

/// Goal: a packet of the largest size passes; one byte more is announced too large and ends the connection with 0x95
/// `[MQTT-3.2.2-15]`.
#[test]
fn packets_from_the_client() {
    let Some(broker) = strict() else { return };
    for version in VERSIONS {
        let mut client = broker.client(version, &format!("packets-{version:?}")).connect();
        if version == Version::V5 {
            assert!(client.properties.contains(&Property::MaximumPacketSize(1000)), "{:?}", client.properties);
        }
        let overhead = Publish::new("large", 0, vec![0; 900]).bytes(version).len() - 900;
        client.subscribe("large", 0);
        client.publish("large", 0, vec![1; 1000 - overhead]);
        assert_eq!(client.message().payload.len(), 1000 - overhead);
        // The header alone is enough to know.
        client.send(&Publish::new("large", 0, vec![1; 1001 - overhead]).bytes(version)[..3]);
        client.dropped(&[0x95]);
    }
}

/// Goal: a CONNECT over its own limit is turned away.
#[test]
fn connect_packets() {
    let Some(broker) = strict() else { return };
    for version in VERSIONS {
        let id = "c".repeat(400);
        let mut client = broker.client(version, &id).send();
        client.turned_away();
    }
}

/// Goal: who does not finish its CONNECT in time is closed: silent, with half of it, or sending a byte now and then.
#[test]
fn connect_timeout() {
    let Some(broker) = strict() else { return };
    let connect = broker.client(Version::V5, "late").packet.bytes();
    for pieces in [0, 1, 5, connect.len() - 1] {
        let mut client = Client::open(broker.address(), Version::V5);
        client.send(&connect[..pieces]);
        let start = Instant::now();
        client.turned_away();
        assert!(start.elapsed() > Duration::from_millis(700), "too soon with {pieces} bytes");
    }
    let mut client = Client::open(broker.address(), Version::V5);
    let start = Instant::now();
    for byte in connect {
        client.send(&[byte]);
        if client.next_within(Duration::from_millis(300)).is_err() {
            break;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(4), "a byte now and then kept it open for {:?}", start.elapsed());
}

/// Goal: topics and filters of too many levels are refused: 0x90 for a name, 0x8F or 0x80 for a filter.
#[test]
fn topic_levels() {
    let Some(broker) = strict() else { return };
    for version in VERSIONS {
        let mut client = broker.client(version, &format!("levels-{version:?}")).connect();
        assert_eq!(client.subscribe("1/2/3/4/5", 0), 0);
        let failure = if version == Version::V5 { 0x8f } else { 0x80 };
        assert_eq!(client.subscribe("1/2/3/4/5/6", 0), failure);
        assert_eq!(client.subscribe("/////", 0), failure);
        client.publish("1/2/3/4/5", 0, "x");
        assert_eq!(client.message().text(), "x");
        client.send(&Publish::new("1/2/3/4/5/6", 0, "x").bytes(version));
        client.dropped(&[0x90]);
    }
}

/// Goal: a session has only so many subscriptions; replacing one is not another.
#[test]
fn subscriptions() {
    let Some(broker) = strict() else { return };
    for version in VERSIONS {
        let mut client = broker.client(version, &format!("subscriptions-{version:?}")).connect();
        let failure = if version == Version::V5 { 0x97 } else { 0x80 };
        let codes = client.subscribe_all(&[("1", 0), ("2", 0), ("3", 0), ("4", 0), ("5", 0), ("1", 1)], &[]);
        assert_eq!(codes, [0, 0, 0, 0, failure, 1]);
        client.unsubscribe(&["2"]);
        assert_eq!(client.subscribe("5", 0), 0);
    }
}

/// Goal: the longest session expiry is told to who asks for more.
#[test]
fn session_expiry() {
    let Some(broker) = strict() else { return };
    let client = broker.client(Version::V5, "expiry").expiry(3600).connect();
    assert!(client.properties.contains(&Property::SessionExpiry(60)), "{:?}", client.properties);
    let client = broker.client(Version::V5, "expiry").expiry(10).connect();
    assert!(!client.properties.iter().any(|property| matches!(property, Property::SessionExpiry(_))));
}

/// Goal: the server's longest message expiry holds for a publisher that says none.
#[test]
fn message_expiry() {
    let Some(broker) = strict() else { return };
    let mut publisher = broker.client(Version::V5, "expiry-publisher").connect();
    let mut client = broker.client(Version::V5, "expiry-subscriber").durable().connect();
    client.subscribe("expiry", 1);
    client.disconnect();
    publisher.publish("expiry", 1, "old");
    // Time itself is what is awaited.
    std::thread::sleep(Duration::from_millis(1_300));
    let mut client = broker.client(Version::V5, "expiry-subscriber").durable().connect();
    client.silent();
}

/// Goal: a message larger than a client takes is not sent to it; the next one is, and the window has all its places
/// `[MQTT-3.1.2-24]` `[MQTT-3.1.2-25]`.
#[test]
fn packets_to_the_client() {
    let broker = Setup::shards(2).start();
    // Mosquitto loses the window's place of what it does not send.
    for qos in 0..=if Program::tested() == Program::Ringmain { 2 } else { 0 } {
        let mut publisher = broker.client(Version::V5, "publisher").connect();
        let options = broker
            .client(Version::V5, "small")
            .property(Property::MaximumPacketSize(100))
            .property(Property::ReceiveMaximum(2));
        let mut small = options.connect();
        let mut large = broker.client(Version::V5, "large").connect();
        small.subscribe("t", qos);
        large.subscribe("t", qos);
        let overhead = Publish { id: 1, ..Publish::new("t", qos, "") }.bytes(Version::V5).len();
        for _ in 0..5 {
            // Mosquitto is off by the one byte of the packet type.
            let over = if Program::tested() == Program::Ringmain { 101 } else { 102 };
            for size in [over, 100, 200, 5_000] {
                publisher.publish("t", qos, vec![b'x'; size - overhead]);
                assert_eq!(large.message().payload.len(), size - overhead);
            }
            assert_eq!(small.message().payload.len(), 100 - overhead);
        }
        small.silent();
        assert!(small.largest_packet() <= 100);
    }
}

/// Goal: answers fit the client's Maximum Packet Size or end the connection `[MQTT-3.9.2-2]` `[MQTT-3.14.2-4]`.
#[test]
fn answers_to_the_client() {
    let broker = Setup::shards(2).start();
    let mut small = broker.client(Version::V5, "small").property(Property::MaximumPacketSize(60)).connect();
    if Program::tested() == Program::Ringmain {
        assert_eq!(small.subscribe_all(&[("a#", 0), ("b", 0)], &[]), [0x8f, 0]);
    }
    small.send(&ack(0x62, 77, 0));
    small.pubcomp(77);
    small.send(&packet(0x00, b""));
    small.ended();
    assert!(small.largest_packet() <= 60);
}

/// Goal: with QoS 1 at most, 2 is granted as 1, publishing or a will at 2 is 0x9B, and CONNACK says so
/// `[MQTT-3.2.2-9]` to `[MQTT-3.2.2-12]`; without retained messages likewise 0x9A `[MQTT-3.2.2-13]` `[MQTT-3.2.2-14]`.
#[test]
fn reduced_features() {
    let tables = "[limits]\nmax_qos_allowed = 1\nretain_available = false";
    let broker = Setup::shards(2).toml(tables).mosquitto("max_qos 1\nretain_available false").start();
    let mut client = broker.client(Version::V5, "a").connect();
    assert!(client.properties.contains(&Property::MaximumQos(1)), "{:?}", client.properties);
    assert!(client.properties.contains(&Property::RetainAvailable(0)));
    assert_eq!(client.subscribe("t", 2), 1);
    client.publish("t", 1, "x");
    assert_eq!(client.message().qos, 1);
    client.send(&Publish { id: 5, ..Publish::new("t", 2, "x") }.bytes(Version::V5));
    client.dropped(&[0x9b]);
    let mut client = broker.client(Version::V5, "b").connect();
    client.send(&Publish::retained("t", 0, "x").bytes(Version::V5));
    client.dropped(&[0x9a]);
    let will = ringmain_tests::packet::Will::new("t", "x");
    let high = ringmain_tests::packet::Will { qos: 2, ..will.clone() };
    assert_eq!(broker.client(Version::V5, "c").will(high).refused(), 0x9b);
    let kept = ringmain_tests::packet::Will { retain: true, ..will };
    assert_eq!(broker.client(Version::V5, "d").will(kept).refused(), 0x9a);
}

/// Goal: beyond the connections that are allowed newcomers wait, and the first that leaves lets one in.
#[test]
fn connections() {
    // Over WebSocket a client that is not served yet cannot shake hands.
    if Program::tested() != Program::Ringmain || Transport::tested() != Transport::Tcp {
        return;
    }
    let broker = Setup::shards(1).toml("[limits]\nmax_connections = 8").start();
    let mut clients: Vec<Client> =
        (0..8).map(|number| broker.client(Version::V5, &format!("{number}")).connect()).collect();
    let mut waiting = broker.client(Version::V5, "waiting").send();
    match waiting.next_within(Duration::from_millis(300)) {
        Ok(None) => {
            clients.remove(0).disconnect();
            waiting.connack();
            assert_eq!(waiting.code, 0);
        }
        // Refusing it is good too.
        Ok(Some(Packet::Connack(false, 0x97 | 0x9f | 0x89, _))) | Err(_) => {}
        other => panic!("{other:?}"),
    }
    clients.iter_mut().for_each(Client::ping);
}

/// Goal: beyond the sessions that are kept, a client that wants one more is refused; one without is not.
#[test]
fn sessions() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let broker = Setup::shards(1).toml("[limits]\nmax_sessions = 3").start();
    for number in 0..3 {
        broker.client(Version::V5, &format!("{number}")).durable().connect().disconnect();
    }
    assert_eq!(broker.client(Version::V5, "more").durable().refused(), 0x97);
    assert_eq!(broker.client(Version::V311, "more").resume().refused(), 3);
    broker.client(Version::V5, "ephemeral").connect().ping();
    assert!(broker.client(Version::V5, "0").durable().connect().session_present);
    broker.client(Version::V5, "1").connect().disconnect();
    broker.client(Version::V5, "more").durable().connect().ping();
}

/// Goal: what is in flight to a client that gives no Receive Maximum is bounded by `max_inflight`.
#[test]
fn inflight() {
    if Program::tested() != Program::Ringmain {
        return; // Mosquitto exceeds its own window when several places become free.
    }
    let broker = Setup::shards(2).toml("[limits]\nmax_inflight = 4").start();
    for version in VERSIONS {
        let mut client = broker.client(version, "a").connect();
        client.subscribe("t", 1);
        let mut publisher = broker.client(version, "publisher").connect();
        (0..10).for_each(|number| assert!(publisher.publish("t", 1, format!("{number}")) < 0x80));
        for first in [0, 4, 8] {
            let last = (first + 4).min(10);
            let flying: Vec<Publish> = (first..last).map(|_| client.delivery()).collect();
            client.silent();
            flying.iter().for_each(|message| client.acknowledge(message));
        }
        client.silent();
    }
}

/// Goal: when the memory for waiting messages is full, publishes that need it are refused, 0x97 in 5.0, by closing in
/// 3.1.1; what was acknowledged is delivered, and with room again all goes on.
#[test]
fn queue_memory() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let limits = "[limits]\nqueue_memory = \"2MiB\"\nmax_queued_messages = 100000\nmax_queued_bytes = \"100MB\"";
    for shards in [1, 2] {
        let broker = Setup::shards(shards).toml(limits).start();
        let mut away = broker.client(Version::V5, "away").durable().connect();
        away.subscribe("t", 1);
        away.disconnect();
        let mut publisher = broker.client(Version::V5, "publisher").connect();
        let code = |publisher: &mut Client| publisher.publish("t", 1, vec![b'x'; 50_000]);
        let accepted = (0..100).take_while(|_| code(&mut publisher) != 0x97).count();
        assert!((1..100).contains(&accepted), "{accepted} were accepted");
        let mut old = broker.client(Version::V311, "old").connect();
        old.send_publish(&Publish::new("t", 1, vec![b'x'; 50_000]));
        old.closed();
        let mut away = broker.client(Version::V5, "away").durable().connect();
        (0..accepted).for_each(|_| assert_eq!(away.message().payload.len(), 50_000));
        away.silent();
        assert!(code(&mut publisher) < 0x80);
        assert_eq!(away.message().payload.len(), 50_000);
    }
}

/// Goal: beyond the retained messages that fit, messages are still delivered.
#[test]
fn retained_messages() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let broker = Setup::shards(1).toml("[limits]\nmax_retained_messages = 10").start();
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    let mut live = broker.client(Version::V5, "live").connect();
    live.subscribe("t/#", 1);
    for number in 0..20 {
        publisher.retain(&format!("t/{number}"), 1, "x");
        assert_eq!(live.message().topic, format!("t/{number}"));
    }
    let mut late = broker.client(Version::V5, "late").connect();
    late.subscribe("t/#", 0);
    let kept = std::iter::from_fn(|| late.message_within(Duration::from_millis(300))).count();
    assert_eq!(kept, 10);
    // Replacing and removing need no room.
    publisher.retain("t/0", 1, "y");
    publisher.retain("t/1", 1, "");
    publisher.retain("t/19", 1, "z");
}

/// Goal: user properties by the thousand cost what their bytes cost: accepted or refused at once, others served
/// meanwhile.
#[test]
fn user_properties() {
    let broker = Setup::shards(1).start();
    let mut bystander = broker.client(Version::V5, "bystander").connect();
    let properties = vec![Property::User(String::new(), String::new()); 60_000];
    let start = Instant::now();
    let mut many = broker.client(Version::V5, "many").connect();
    many.send(&Publish { id: 1, ..Publish::new("t", 1, "x") }.with(&properties).bytes(Version::V5));
    many.next(DEADLINE);
    bystander.ping();
    let mut connect = broker.client(Version::V5, "connecting");
    connect.packet.properties = properties;
    connect.send().next(DEADLINE);
    bystander.ping();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Goal: a topic of 65,535 slashes is refused, or served, without harm.
#[test]
fn slashes() {
    let broker = Setup::shards(1).start();
    let mut bystander = broker.client(Version::V5, "bystander").connect();
    let slashes = "/".repeat(65_535);
    for first in [0x82, 0xa2] {
        let mut client = broker.client(Version::V5, "a").connect();
        let mut body = vec![0, 1, 0];
        put_string(&mut body, &slashes);
        if first == 0x82 {
            body.push(0);
        }
        client.send(&packet(first, &body));
        client.next(DEADLINE);
    }
    for qos in 0..=1 {
        let mut client = broker.client(Version::V5, "a").connect();
        client.send(&Publish { id: u16::from(qos), ..Publish::retained(&slashes, qos, "x") }.bytes(Version::V5));
        client.send(&ringmain_tests::packet::PINGREQ);
        client.next(DEADLINE);
    }
    bystander.ping();
}
