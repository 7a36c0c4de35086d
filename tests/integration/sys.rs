//! `$SYS`: what operators of mosquitto know, and each shard's own.

use ringmain_tests::program::Program;
use ringmain_tests::{Broker, Case, Client, Setup, Version, broker_tests};

broker_tests!(both: version_and_uptime);
broker_tests!(both ours: each_shard_has_its_own);

/// Goal: version and uptime are there for whoever asks, retained.
fn version_and_uptime(case: &Case) {
    let mut client = case.connect("a");
    for topic in ["$SYS/broker/version", "$SYS/broker/uptime"] {
        client.subscribe(topic, 0);
        let message = client.message();
        assert!(!message.payload.is_empty());
        client.unsubscribe(&[topic]);
        while client.message_within(std::time::Duration::from_millis(20)).is_some() {}
    }
}

/// Goal: each shard publishes below its own number.
fn each_shard_has_its_own(case: &Case) {
    let mut client = case.connect("a");
    for shard in 0..case.shards {
        client.subscribe(&format!("$SYS/broker/shards/{shard}/#"), 0);
        let message = client.message();
        assert!(message.topic.starts_with(&format!("$SYS/broker/shards/{shard}/")), "{}", message.topic);
        client.unsubscribe(&[&format!("$SYS/broker/shards/{shard}/#")]);
        while client.message_within(std::time::Duration::from_millis(20)).is_some() {}
    }
}

fn broker(shards: u32) -> Broker {
    Setup::shards(shards).toml("[sys]\ninterval = \"1s\"").mosquitto("sys_interval 1").start()
}

/// Waits until a topic says `expected`.
fn says(client: &mut Client, topic: &str, expected: impl Fn(u64) -> bool) {
    client.subscribe(topic, 0);
    loop {
        let message = client.message();
        let number = message.text().split_ascii_whitespace().next().and_then(|number| number.parse().ok());
        if expected(number.unwrap_or_else(|| panic!("{topic} is {:?}", message.text()))) {
            break;
        }
    }
    client.unsubscribe(&[topic]);
    while client.message_within(std::time::Duration::from_millis(20)).is_some() {}
}

/// Goal: the number of clients goes up and down with them.
#[test]
fn counts_clients() {
    for shards in [1, 2, 5] {
        let broker = broker(shards);
        let mut watcher = broker.client(Version::V5, "watcher").connect();
        let mut clients: Vec<Client> =
            (0..7).map(|number| broker.client(Version::V5, &format!("{number}")).connect()).collect();
        says(&mut watcher, "$SYS/broker/clients/connected", |number| number == 8);
        clients.drain(..5).for_each(Client::disconnect);
        says(&mut watcher, "$SYS/broker/clients/connected", |number| number == 3);
    }
}

/// Goal: messages are counted as they come and go, and retained ones and subscriptions as they are.
#[test]
fn counts_messages() {
    for shards in [1, 2, 5] {
        let broker = broker(shards);
        let mut watcher = broker.client(Version::V5, "watcher").connect();
        let mut client = broker.client(Version::V311, "a").connect();
        client.subscribe("t", 1);
        for qos in [0, 1, 2, 0, 1, 2] {
            client.publish("t", qos, "12345");
            client.message();
        }
        client.retain("kept", 1, "x");
        // Mosquitto counts some of them late.
        let (received, sent) = if Program::tested() == Program::Ringmain { (7, 6) } else { (1, 1) };
        says(&mut watcher, "$SYS/broker/publish/messages/received", |number| number >= received);
        says(&mut watcher, "$SYS/broker/publish/messages/sent", |number| number >= sent);
        says(&mut watcher, "$SYS/broker/messages/received", |number| number >= received);
        says(&mut watcher, "$SYS/broker/messages/sent", |number| number >= sent);
        says(&mut watcher, "$SYS/broker/retained messages/count", |number| number >= 1);
        says(&mut watcher, "$SYS/broker/subscriptions/count", |number| number >= 1);
    }
}
