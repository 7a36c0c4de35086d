//! Subscribers that stop reading.

use std::time::Duration;

use ringmain_tests::program::Program;
use ringmain_tests::{Packet, Publish, Setup, Version};

/// Goal: beside a subscriber that reads nothing the others get every message, the broker's memory stays bounded, and
/// the slow one, once it reads again, gets later messages in order: what it missed is missing in runs, never
/// repeated.
#[test]
fn qos_0_is_shed_for_the_slow_one_alone() {
    if Program::tested() != Program::Ringmain {
        return; // Mosquitto queues or disconnects by its own rules.
    }
    const MESSAGES: u32 = 30_000;
    for shards in [1, 2, 5] {
        let broker = Setup::shards(shards).start();
        let mut deaf = broker.client(Version::V5, "deaf").connect();
        deaf.subscribe("room", 0);
        let mut quick = broker.client(Version::V5, "quick").connect();
        quick.subscribe("room", 0);
        let mut publisher = broker.client(Version::V5, "publisher").connect();
        let mut payload = vec![b' '; 1_000];
        let mut first = 0;
        for number in 0..MESSAGES {
            payload[..8].copy_from_slice(format!("{number:08}").as_bytes());
            publisher.send_publish(&Publish::new("room", 0, &payload));
            // Closed loop: what is in flight to the quick one is bounded, so nothing of it may be shed.
            if number % 50 == 49 {
                for expected in number - 49..=number {
                    let message = quick.message();
                    assert_eq!(message.text()[..8].parse(), Ok(expected));
                }
            }
            if number == MESSAGES / 3 {
                first = broker.anonymous_bytes();
            }
        }
        let last = broker.anonymous_bytes();
        assert!(last < first + (8 << 20), "{first} bytes after a third of the messages, {last} after all");
        let mut previous = None;
        let mut received = 0;
        while let Ok(Some(Packet::Publish(message))) = deaf.next_within(Duration::from_millis(500)) {
            let number: u32 = message.text()[..8].parse().expect("a number");
            assert!(previous.is_none_or(|previous| previous < number), "{number} after {previous:?}");
            previous = Some(number);
            received += 1;
        }
        assert!(received < MESSAGES, "it missed some: {received}");
        publisher.publish("room", 0, "00099999");
        assert_eq!(deaf.message().text(), "00099999");
    }
}

/// Goal: what a slow reader owes at QoS 1 is bounded by its window; its ping is answered when it reads again, and
/// nothing is lost within the limits of its queue.
#[test]
fn qos_1_waits_for_the_slow_one() {
    let broker =
        Setup::shards(2).toml("[limits]\nmax_queued_messages = 1000").mosquitto("max_queued_messages 1000").start();
    let mut slow = broker.client(Version::V5, "slow").connect();
    slow.subscribe("t", 1);
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    for number in 0..800 {
        assert!(publisher.publish("t", 1, format!("{number}")) < 0x80);
    }
    let expected: Vec<String> = (0..800).map(|number| number.to_string()).collect();
    assert_eq!(slow.texts(800), expected);
    slow.silent();
}
