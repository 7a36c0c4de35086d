//! Stopping: by signals, by kill -9, and starting again.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use ringmain_tests::program::Program;
use ringmain_tests::{Client, DEADLINE, Publish, Setup, Version};

/// What a stop may take.
const STOP: Duration = Duration::from_secs(5);

/// Goal: SIGTERM: 5.0 clients are told 0x8B, all are closed, the program ends with 0 in time; SIGINT does the same.
#[test]
fn sigterm_closes_everybody() {
    for (shards, signal) in [(1, "TERM"), (2, "INT"), (5, "TERM")] {
        let mut broker = Setup::shards(shards).start();
        let mut new: Vec<Client> =
            (0..20).map(|number| broker.client(Version::V5, &format!("n{number}")).connect()).collect();
        let mut old: Vec<Client> =
            (0..20).map(|number| broker.client(Version::V311, &format!("o{number}")).durable().connect()).collect();
        new.iter_mut().chain(&mut old).for_each(|client| assert_eq!(client.subscribe("t", 1), 1));
        // A socket that never said anything, and one in the middle of a packet.
        let _silent = Client::open(broker.address(), Version::V5);
        new[0].send(b"\x30\x50\x00");
        broker.process().signal(signal);
        new.iter_mut().for_each(|client| client.dropped(&[0x8b]));
        old.iter_mut().for_each(Client::closed);
        let status =
            broker.process().exit(STOP).unwrap_or_else(|| panic!("still running after {STOP:?}: {}", broker.log()));
        assert!(status.success(), "{status}, having printed {}", broker.log());
    }
}

/// Goal: a client that reads nothing does not hold up the end.
#[test]
fn sigterm_does_not_wait_for_slow_clients() {
    let mut broker = Setup::shards(2).start();
    let mut deaf = broker.client(Version::V5, "deaf").connect();
    deaf.subscribe("t", 0);
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    for _ in 0..200 {
        publisher.publish("t", 0, vec![0; 100_000]);
    }
    publisher.ping();
    let start = Instant::now();
    let status = broker.terminate(STOP + Duration::from_secs(1));
    assert!(status.success(), "{status}");
    assert!(start.elapsed() <= STOP + Duration::from_millis(500), "{:?}", start.elapsed());
}

/// Goal: a service manager hears when the switch is ready, reads its files again, and stops.
#[test]
fn a_service_manager_is_told() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    // A name that fits: 107 bytes are the most (unix(7)).
    let path = std::env::temp_dir().join(format!("ringmain-notify-{}", std::process::id()));
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a time");
    let told = || {
        let mut text = [0; 256];
        let len = socket.recv(&mut text).expect("the switch says something");
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let mut broker = Setup::shards(2).env("NOTIFY_SOCKET", path.to_str().expect("a path in ASCII")).start();
    assert_eq!(told().trim_end(), "READY=1");
    broker.process().signal("HUP");
    let again = told();
    assert!(again.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{again:?}");
    assert_eq!(told().trim_end(), "READY=1");
    assert!(broker.terminate(STOP).success());
    assert_eq!(told().trim_end(), "STOPPING=1");
    std::fs::remove_file(&path).expect("it is there");
}

/// Goal: SIGHUP changes nothing for clients.
#[test]
fn sighup_is_harmless() {
    if Program::tested() != Program::Ringmain {
        return; // Mosquitto reads its file again, which is its own test.
    }
    let mut broker = Setup::shards(2).start();
    let mut client = broker.client(Version::V5, "a").connect();
    client.subscribe("t", 0);
    broker.process().signal("HUP");
    broker.process().wait_for("HUP", DEADLINE).expect("the log tells of it");
    client.publish("t", 0, "x");
    assert_eq!(client.message().text(), "x");
    assert!(broker.terminate(STOP).success());
}

/// Goal: after kill -9 the port can be used again at once, and clients are served as before.
#[test]
fn kill_and_restart() {
    let mut broker = Setup::shards(2).start();
    let port = broker.address().port();
    let mut client = broker.client(Version::V5, "a").durable().connect();
    client.subscribe("t", 1);
    broker.process().kill();
    client.closed();
    let broker = Setup::shards(2).port(port).start();
    let mut client = broker.client(Version::V5, "a").durable().connect();
    client.subscribe("t", 1);
    client.publish_packet(&Publish::new("t", 1, "again"));
    assert_eq!(client.message().text(), "again");
}

/// Goal: the same after a stop in good order, with connections that linger in the kernel.
#[test]
fn stop_and_restart() {
    let mut broker = Setup::shards(2).start();
    let port = broker.address().port();
    let clients: Vec<Client> =
        (0..10).map(|number| broker.client(Version::V311, &format!("{number}")).connect()).collect();
    assert!(broker.terminate(STOP).success());
    drop(clients);
    let broker = Setup::shards(2).port(port).start();
    broker.client(Version::V311, "0").connect().ping();
}
