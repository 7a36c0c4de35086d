//! Keep alive (3.1.2.10).

use std::time::{Duration, Instant};

use ringmain_tests::{Case, DEADLINE, Property, Publish, Setup, Version, broker_tests};

broker_tests!(both: silence_ends_the_connection, packets_keep_it_alive, zero_means_none, listening_is_not_speaking);

/// Goal: one and a half times the keep alive without a packet: the connection ends, not sooner, with 0x8D
/// `[MQTT-3.1.2-22]`.
fn silence_ends_the_connection(case: &Case) {
    let mut client = case.client("a").keep_alive(1).connect();
    let start = Instant::now();
    client.dropped(&[0x8d]);
    let silent = start.elapsed();
    assert!((Duration::from_millis(1_300)..Duration::from_secs(8)).contains(&silent), "after {silent:?}");
}

/// Goal: any packet counts, not PINGREQ alone; packets that come in pieces too.
fn packets_keep_it_alive(case: &Case) {
    let (mut pinging, mut publishing) =
        (case.client("a").keep_alive(1).connect(), case.client("b").keep_alive(1).connect());
    for _ in 0..5 {
        // The passing of time is what is tested.
        std::thread::sleep(Duration::from_millis(500));
        pinging.ping();
        publishing.send_publish(&Publish::new(&case.topic("t"), 0, "x"));
    }
    pinging.silent();
    publishing.silent();
}

/// Goal: keep alive 0 turns it off.
fn zero_means_none(case: &Case) {
    let mut client = case.client("a").keep_alive(0).connect();
    assert_eq!(client.next_within(Duration::from_millis(2_500)), Ok(None));
    client.ping();
}

/// Goal: what the server sends does not count: a client that only listens is closed.
fn listening_is_not_speaking(case: &Case) {
    let (mut publisher, mut listener) = (case.connect("publisher"), case.client("listener").keep_alive(1).connect());
    let topic = case.topic("t");
    listener.subscribe(&topic, 0);
    let end = Instant::now() + DEADLINE;
    loop {
        publisher.publish(&topic, 0, "x");
        match listener.next_within(Duration::from_millis(100)) {
            Ok(Some(ringmain_tests::Packet::Publish(_)) | None) => assert!(Instant::now() < end, "still open"),
            Ok(Some(ringmain_tests::Packet::Disconnect(0x8d, _))) | Err(_) => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Goal: `max_keepalive` caps it: 5.0 is told by Server Keep Alive, also who asked for none `[MQTT-3.2.2-22]`; in
/// 3.1.1 none stays none.
#[test]
fn server_keep_alive() {
    for shards in [1, 2] {
        let broker =
            Setup::shards(shards).toml("[limits]\nmax_keepalive = \"1s\"").mosquitto("max_keepalive 10").start();
        if ringmain_tests::program::Program::tested() != ringmain_tests::program::Program::Ringmain {
            return; // Mosquitto's least cap is ten seconds.
        }
        for asked in [0, 60] {
            let mut client = broker.client(Version::V5, "a").keep_alive(asked).connect();
            assert!(client.properties.contains(&Property::ServerKeepAlive(1)), "{:?}", client.properties);
            client.dropped(&[0x8d]);
        }
        let under = broker.client(Version::V5, "b").keep_alive(1).connect();
        assert!(!under.properties.iter().any(|property| matches!(property, Property::ServerKeepAlive(_))));
        let mut old = broker.client(Version::V311, "c").keep_alive(0).connect();
        assert_eq!(old.next_within(Duration::from_millis(2_000)), Ok(None));
        old.ping();
    }
}
