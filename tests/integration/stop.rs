//! Stopping: by signals, by kill -9, and starting again.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringmain_tests::program::{Program, root};
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
    let manager = Manager::open("told");
    let setup = Setup::shards(2).env("NOTIFY_SOCKET", &manager.path);
    let mut broker = setup.start();
    assert_eq!(manager.told(), READY);
    broker.process().signal("HUP");
    let again = manager.told();
    assert!(again.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{again:?}");
    assert_eq!(manager.told(), READY);
    assert!(broker.terminate(STOP).success());
    assert_eq!(manager.told(), "STOPPING=1");
    let mut broker = setup.on(&broker.data()).start();
    let reads = manager.told();
    assert!(reads.starts_with("STATUS=reading the journals of 2 shards in /"), "{reads:?}");
    assert_eq!(manager.told(), READY);
    assert!(broker.terminate(STOP).success());
}

/// Goal: a service manager that has a watchdog hears that the switch lives, also where nothing is to be done, until one
/// shard hangs, while everything else goes on; and again when it turns again.
#[test]
fn the_watchdog_sees_a_shard_that_hangs() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    const LIMIT: Duration = Duration::from_secs(2);
    let manager = Manager::open("watchdog");
    let setup = Setup::shards(2).env("NOTIFY_SOCKET", &manager.path);
    let mut broker = setup.env("WATCHDOG_USEC", &LIMIT.as_micros().to_string()).start();
    assert_eq!(manager.told(), READY);
    for _ in 0..2 {
        assert_eq!(manager.told(), "WATCHDOG=1");
    }
    let hold = root().join("tests/clients/python/hold_thread.py");
    let mut holder = Command::new("python3");
    holder.arg(hold).arg(thread_of(broker.process().id(), "ringmain-1"));
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python 3");
    let mut held = String::new();
    BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut held).expect("a line");
    assert_eq!(held, "held\n", "who runs the tests may trace processes of its own (ptrace(2))");
    broker.process_log("no turn since it was woken: shard 1; the service manager is not told");
    // What was said before is read; then nothing comes for as long as the service manager would wait.
    manager.socket.set_read_timeout(Some(LIMIT)).expect("a time");
    while manager.hears().is_some() {}
    manager.socket.set_read_timeout(Some(DEADLINE)).expect("a time");
    drop(holder.stdin.take());
    assert!(holder.wait().is_ok_and(|status| status.success()));
    broker.process_log("every shard turns again");
    assert_eq!(manager.told(), "WATCHDOG=1");
    assert!(broker.terminate(STOP).success());
}

/// The id of a process's thread with this name.
fn thread_of(process: u32, name: &str) -> OsString {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("a process of our own");
    let mut threads = threads.map(|thread| thread.expect("an entry"));
    let named = threads.find(|thread| {
        let comm = std::fs::read_to_string(thread.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    });
    named.expect("a thread of that name").file_name()
}

/// What it hears when clients are served.
const READY: &str = "READY=1\nSTATUS=clients are served";

/// What a service manager has: the socket that `NOTIFY_SOCKET` names.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn open(name: &str) -> Manager {
        // A name that fits: 107 bytes are the most (unix(7)).
        let path = std::env::temp_dir().join(format!("ringmain-{name}-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a time");
        Manager { socket, path: path.to_str().expect("a path in ASCII").to_owned() }
    }

    /// The next message, if one comes in time.
    fn hears(&self) -> Option<String> {
        let mut text = [0; 256];
        let len = self.socket.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..len]).trim_end().to_owned())
    }

    #[track_caller]
    fn told(&self) -> String {
        self.hears().expect("the switch says something")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // It may be gone.
        let _ = std::fs::remove_file(&self.path);
    }
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
