//! How many connections an address, a user and a listener may have, how fast they may come, and how fast they may publish.

use std::time::Instant;

use ringmain_tests::{Broker, Client, DEADLINE, Options, Packet, Publish, Setup, Transport, Version};

use super::{VERSIONS, code, of, ours, passwords, path, table};

/// Connects as soon as there is room: who was here a moment ago may still be counted.
fn get_in(broker: &Broker, options: &Options) -> Client {
    let end = Instant::now() + DEADLINE;
    loop {
        let mut client = options.send();
        if matches!(client.next(DEADLINE), Some(Packet::Connack(_, 0, _))) {
            return client;
        }
        assert!(Instant::now() < end, "{}", broker.log());
    }
}

/// Waits until a shard says that it has counted some of these.
fn counted(broker: &Broker, address: Options, counter: &str) {
    let mut watcher = get_in(broker, &address);
    watcher.subscribe(&format!("$SYS/broker/shards/+/{counter}"), 0);
    while watcher.message().text() == "0" {}
}

/// Goal: an address has so many connections and no more, over all shards, also when sockets go from shard to shard; who
/// leaves makes room.
#[test]
fn connections_of_an_address() {
    if !ours() || Transport::tested() != Transport::Tcp {
        return; // Who is one too many is closed before a handshake.
    }
    let broker = Setup::shards(3).toml("[limits]\nmax_connections_per_address = 4\n[sys]\ninterval = \"1s\"").start();
    for version in VERSIONS {
        for _ in 0..3 {
            let clients: Vec<Client> = (0..4)
                .map(|number| {
                    // Half of them are handed to their homes.
                    let options = broker.client(version, &format!("c{number}"));
                    get_in(&broker, &if number % 2 == 0 { options.durable() } else { options })
                })
                .collect();
            for _ in 0..6 {
                assert_eq!(broker.client(version, "more").send().turned_away(), None);
            }
            for mut client in clients {
                client.ping();
                client.disconnect();
            }
        }
    }
    counted(&broker, broker.client(Version::V5, "watcher"), "connections/over_address");
}

/// Goal: where a proxy is trusted its clients are counted by their own addresses, and not by the proxy's.
#[test]
fn connections_behind_a_proxy() {
    if !ours() {
        return;
    }
    let keys = "bind = \"127.0.0.1:0\"\nname = \"proxied\"\nproxy_protocol = true\nproxy_trusted = [\"127.0.0.1\"]";
    let broker = Setup::shards(2).listener(keys).toml("[limits]\nmax_connections_per_address = 2").start();
    let address = broker.listening("tcp, proxied");
    let from = |client: &str, id: String| {
        let mut socket = Client::over(Transport::Tcp.open(address), Version::V5);
        socket.send(format!("PROXY TCP4 {client} 127.0.0.1 4711 1883\r\n").as_bytes());
        socket.send(&broker.client(Version::V5, &id).packet.bytes());
        socket
    };
    let mut inside = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        for number in 0..2 {
            let mut socket = from(client, format!("{client}-{number}"));
            socket.connack();
            inside.push(socket);
        }
        assert_eq!(from(client, "more".to_owned()).turned_away(), None);
    }
    inside.iter_mut().for_each(Client::ping);
}

/// Goal: a user has so many clients and no more, whatever shard their homes are; who comes back takes its own place, and
/// other users have places of their own.
#[test]
fn clients_of_a_user() {
    if !ours() {
        return;
    }
    let users = path("password_file", &passwords(&["alice", "bob"]));
    let access = table(&[users, "no_match = \"allow\"".to_owned()]);
    let broker = Setup::shards(3).toml("[limits]\nmax_connections_per_user = 3").toml(&access).start();
    for version in VERSIONS {
        for _ in 0..3 {
            let alice = |number: u32| {
                let options = of(&broker, version, "alice", &format!("c{number}"));
                if number.is_multiple_of(2) { options.durable() } else { options }
            };
            let mut clients: Vec<Client> = (0..3).map(|number| get_in(&broker, &alice(number))).collect();
            for number in 3..9 {
                assert_eq!(alice(number).refused(), code(version, 0x97, 3));
            }
            of(&broker, version, "bob", "bob").connect().disconnect();
            for number in 0..3 {
                let again = alice(number).connect();
                std::mem::replace(&mut clients[number as usize], again).dropped(&[0x8e]);
            }
            clients.into_iter().for_each(Client::disconnect);
        }
    }
}

/// Goal: clients of an address that come too fast are refused, and the others are served.
#[test]
fn the_pace_of_an_address() {
    if !ours() || Transport::tested() != Transport::Tcp {
        return; // Who is one too many is closed before a handshake.
    }
    let broker = Setup::shards(2).toml("[limits]\nmax_conn_rate_per_address = \"2/s\"").start();
    for version in VERSIONS {
        let mut first = get_in(&broker, &broker.client(version, "first"));
        let end = Instant::now() + DEADLINE;
        // As many at once as no machine takes a second for each.
        loop {
            let crowd: Vec<Client> =
                (0..10).map(|number| broker.client(version, &format!("c{number}")).send()).collect();
            let told = crowd.into_iter().filter_map(|mut client| match client.next(DEADLINE) {
                Some(Packet::Connack(_, code, _)) => Some(code),
                _ => None,
            });
            let told: Vec<u8> = told.collect();
            if told.contains(&code(version, 0x9f, 3)) {
                break;
            }
            assert!(Instant::now() < end, "{told:?}: {}", broker.log());
        }
        first.ping();
    }
}

/// Goal: clients that come faster than a listener takes them wait, and all are served.
#[test]
fn the_pace_of_a_listener() {
    if !ours() {
        return;
    }
    let keys = "bind = \"127.0.0.1:0\"\nname = \"slow\"\nmax_conn_rate = \"5/s\"";
    let broker = Setup::shards(2).listener(keys).toml("[sys]\ninterval = \"1s\"").start();
    let address = broker.listening("tcp, slow");
    let sent = (0..14).map(|number| {
        let mut client = Client::over(Transport::Tcp.open(address), Version::V5);
        client.send(&broker.client(Version::V5, &format!("c{number}")).packet.bytes());
        client
    });
    let mut sent: Vec<Client> = sent.collect();
    sent.iter_mut().for_each(Client::connack);
    counted(&broker, broker.client(Version::V5, "watcher"), "accepts/paused");
}

/// Goal: two devices with one client identifier that throw each other out are refused for a while; others are not, and
/// neither are these behind it.
#[test]
fn who_flaps_rests() {
    if !ours() {
        return;
    }
    let limits = "[limits]\nmax_reconnects = 6\nreconnect_ban = \"1s\"";
    let broker = Setup::shards(3).toml(limits).start();
    for version in VERSIONS {
        let device = || broker.client(version, "device").durable();
        let mut last = get_in(&broker, &device());
        let refused = loop {
            let mut next = device().answer();
            if next.code != 0 {
                break next.code;
            }
            next.ping();
            std::mem::replace(&mut last, next).dropped(&[0x8e]);
        };
        assert_eq!(refused, code(version, 0x9f, 3));
        // Whoever was there stays.
        last.ping();
        broker.client(version, "other").connect();
        get_in(&broker, &device());
    }
}

/// Goal: who publishes faster than it may is held back, in order and without loss, and others are not; it is served
/// behind what it was held back for.
#[test]
fn who_publishes_too_fast_is_held_back() {
    if !ours() {
        return;
    }
    let own = "bind = \"127.0.0.1:0\"\nname = \"free\"\nmax_publish_rate = \"0/s\"";
    let limits = "[limits]\nmax_publish_rate = \"8/s\"\n[sys]\ninterval = \"1s\"";
    let broker = Setup::shards(2).listener(own).toml(limits).start();
    let free = broker.listening("tcp, free");
    for version in VERSIONS {
        let mut subscriber = broker.client(version, "subscriber").connect();
        subscriber.subscribe("#", 0);
        let mut publisher = broker.client(version, "publisher").connect();
        let mut bytes = Vec::new();
        for number in 0..20 {
            let message = Publish { id: number + 1, ..Publish::new("t", (number % 2) as u8, number.to_string()) };
            bytes.extend(message.bytes(version));
        }
        publisher.send(&bytes);
        // One in no hurry, and one whom nothing bounds.
        let mut other = broker.client(version, "other").connect();
        other.publish("other", 1, "");
        let mut fast = Client::over(Transport::Tcp.open(free), version);
        fast.send(&broker.client(version, "fast").packet.bytes());
        fast.connack();
        for number in 0..20 {
            fast.publish("fast", 1, number.to_string());
        }
        let mut came = [Vec::new(), Vec::new()];
        while came.iter().map(Vec::len).sum::<usize>() < 40 {
            let message = subscriber.message();
            match message.topic.as_str() {
                "t" => came[0].push(message.text().to_owned()),
                "fast" => came[1].push(message.text().to_owned()),
                _ => {}
            }
        }
        let all: Vec<String> = (0..20).map(|number: u16| number.to_string()).collect();
        assert_eq!(came, [all.clone(), all]);
        for number in 0..10 {
            publisher.acknowledged(1, number * 2 + 2);
        }
        publisher.ping();
    }
    counted(&broker, broker.client(Version::V5, "watcher"), "connections/held_back");
}

/// Goal: bytes are bounded likewise: a packet that is larger than a second's worth passes, and what follows waits.
#[test]
fn bytes_are_held_back() {
    if !ours() {
        return;
    }
    let limits = "[limits]\nmax_publish_bytes_rate = \"10KB\"\n[sys]\ninterval = \"1s\"";
    let broker = Setup::shards(1).toml(limits).start();
    let mut subscriber = broker.client(Version::V5, "subscriber").connect();
    subscriber.subscribe("t", 0);
    let mut publisher = broker.client(Version::V311, "publisher").connect();
    publisher.publish("t", 0, vec![b'x'; 25_000]);
    publisher.publish("t", 0, "behind");
    assert_eq!(subscriber.message().payload.len(), 25_000);
    assert_eq!(subscriber.message().text(), "behind");
    counted(&broker, broker.client(Version::V5, "watcher"), "connections/held_back");
}

/// Goal: where patience is bounded, who never pauses is disconnected, and told so.
#[test]
fn patience_ends() {
    if !ours() {
        return;
    }
    let limits = "[limits]\nmax_publish_rate = \"20/s\"\nmax_held_back = \"1s\"";
    let broker = Setup::shards(1).toml(limits).start();
    for version in VERSIONS {
        let mut publisher = broker.client(version, "publisher").connect();
        let message = Publish::new("t", 0, "x").bytes(version);
        publisher.send(&message.repeat(500));
        publisher.dropped(&[0x96]);
    }
}
