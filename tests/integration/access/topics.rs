//! A service that decides about each publish and subscription: there, slow, down, and with another mind than before.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use ringmain_tests::packet::{PINGREQ, Will};
use ringmain_tests::{Broker, DEADLINE, DataDirectory, Options, Packet, Publish, Setup, Version};
use serde_json::{Value, json};

use super::backends::{reply, service};
use super::{VERSIONS, code, file, ours, passwords, path};

/// A broker whose clients `alice`, `bob` and `eve` are asked about there.
fn asking(address: SocketAddr, acl: &str, more: &str) -> Setup {
    let users = path("password_file", &passwords(&["alice", "bob", "eve"]));
    let acl = path("acl_file", &file(acl));
    Setup::shards(2).toml(&format!(
        "[access]\nmax_failures = 0\n{users}\n{acl}\n[access_acl_http]\nurl = \"http://{address}/acl\"\n{more}\n"
    ))
}

fn of(broker: &Broker, version: Version, user: &str) -> Options {
    super::of(broker, version, user, &format!("{user}-{version:?}"))
}

fn asked(bodies: &Receiver<String>) -> Value {
    serde_json::from_str(&bodies.recv_timeout(DEADLINE).expect("it was asked")).expect("JSON")
}

fn allow() -> String {
    reply(200, r#"{"result":"allow"}"#)
}

/// Goal: the service is told who does what, is obeyed, is not asked twice, and leaves to the rules what it does not know;
/// what the switch says of itself is not its to give.
#[test]
fn a_service_decides() {
    if !ours() {
        return;
    }
    let (address, bodies) = service(|body| {
        let asked: Value = serde_json::from_str(body).expect("JSON");
        match asked["topic"].as_str().expect("a topic").split('/').next() {
            Some("open") => allow(),
            Some("read") if asked["action"] == "subscribe" => "HTTP/1.1 204 X\r\n\r\n".to_owned(),
            Some("rules") => reply(404, ""),
            Some("ignored") => reply(200, r#"{"result":"ignore"}"#),
            _ => reply(403, ""),
        }
    });
    let broker = asking(address, "user alice\ntopic readwrite rules/mine\ntopic readwrite closed\n", "").start();
    for version in VERSIONS {
        let mut alice = of(&broker, version, "alice").connect();
        let denied = code(version, 0x87, 0);
        assert_eq!(alice.publish("open/1", 1, "x"), code(version, 0x10, 0));
        assert_eq!(
            asked(&bodies),
            json!({
                "username": "alice", "clientid": format!("alice-{version:?}"), "peerhost": "127.0.0.1",
                "action": "publish", "topic": "open/1", "qos": "1", "retain": "false",
            })
        );
        for _ in 0..3 {
            assert_eq!(alice.publish("open/1", 1, "x"), code(version, 0x10, 0));
        }
        assert!(bodies.try_recv().is_err(), "it is not asked twice");
        assert_eq!((alice.publish("read/1", 1, "x"), alice.publish("closed", 1, "x")), (denied, denied));
        assert_eq!(alice.publish("rules/mine", 1, "x"), code(version, 0x10, 0));
        assert_eq!(alice.publish("rules/others", 1, "x"), denied);
        // One packet, decided as one.
        let filters = [("open/#", 1), ("closed", 1), ("rules/mine", 0), ("ignored", 0), ("$SYS/#", 0), ("read/+", 2)];
        let refused = code(version, 0x87, 0x80);
        let granted = alice.subscribe_all(&filters, &[]);
        assert_eq!(granted, [1, refused, 0, refused, refused, 2]);
        assert_eq!(alice.subscribe("$share/g/read/x", 1), 1);
        while let Ok(body) = bodies.try_recv() {
            assert!(!body.contains("$SYS") && !body.contains("$share"), "{body}");
        }
        alice.publish("open/1", 1, "mine");
        assert_eq!(alice.texts(1), ["mine"]);
        alice.publish("rules/mine", 0, "too");
        assert_eq!(alice.texts(1), ["too"]);
        while bodies.try_recv().is_ok() {}
    }
}

/// Goal: nothing overtakes a packet that is asked about, and others go on.
#[test]
fn packets_wait_in_order() {
    if !ours() {
        return;
    }
    let (go, held) = channel::<()>();
    let held = Mutex::new(held);
    let (address, bodies) = service(move |body| {
        if body.contains("slow") {
            held.lock().expect("no panic").recv().expect("the test says when");
        }
        allow()
    });
    let broker = asking(address, "", "timeout = \"60s\"\n").start();
    for version in VERSIONS {
        let mut bob = of(&broker, version, "bob").connect();
        assert_eq!(bob.subscribe("#", 0), 0);
        let mut alice = of(&broker, version, "alice").connect();
        let mut bytes = Vec::new();
        for (topic, text) in [("slow/1", "one"), ("fast", "two"), ("slow/1", "three")] {
            bytes.extend(Publish::new(topic, 0, text).bytes(version));
        }
        bytes.extend(PINGREQ);
        alice.send(&bytes);
        while !bodies.recv_timeout(DEADLINE).is_ok_and(|body| body.contains("#")) {}
        // Somebody else is not held up.
        let mut eve = of(&broker, version, "eve").connect();
        assert_eq!(eve.publish("fast", 1, "zero"), 0);
        assert_eq!(bob.texts(1), ["zero"]);
        bob.silent();
        go.send(()).expect("it waits");
        // Of different topics, whose owners differ, the order is open.
        let came = bob.texts(3);
        let at = |text: &str| came.iter().position(|came| came == text).expect("it came");
        assert!(at("one") < at("three") && at("two") < 3, "{came:?}");
        assert_eq!(alice.receive(), Packet::Pingresp);
        while bodies.try_recv().is_ok() {}
    }
}

/// Goal: where there is no answer the operator's word counts, for that packet; a listener whose clients are not asked about
/// does not notice, nor does who is connected and does nothing new.
#[test]
fn a_service_that_is_down() {
    if !ours() {
        return;
    }
    let (refusing, _bodies) = service(|_| reply(500, "{}"));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let inner = "bind = \"127.0.0.1:0\"\nname = \"inner\"\nacl_http = false\n";
    for address in [refusing, silent.local_addr().expect("it is bound"), closed] {
        for (word, expected) in [("deny", [0x87, 0x87]), ("allow", [0x10, 0x10]), ("next", [0x10, 0x87])] {
            let lines = format!("timeout = \"200ms\"\nwhen_down = {word:?}\nthreads = 1\n");
            let broker = asking(address, "user alice\ntopic readwrite mine\n", &lines).listener(inner).start();
            let mut alice = of(&broker, Version::V5, "alice").connect();
            for _ in 0..2 {
                assert_eq!([alice.publish("mine", 1, "x"), alice.publish("others", 1, "x")], expected, "{address}");
            }
            let mut inner = ringmain_tests::Client::over(
                ringmain_tests::Transport::Tcp.open(broker.listening("tcp, inner")),
                Version::V5,
            );
            inner.send(&super::of(&broker, Version::V5, "alice", "inner").packet.bytes());
            inner.connack();
            assert_eq!([inner.publish("mine", 1, "x"), inner.publish("others", 1, "x")], [0x10, 0x87]);
        }
    }
}

/// Goal: a service that takes no more than it can is asked no more than that: further packets count as not answered.
#[test]
fn waiting_is_bounded() {
    if !ours() {
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let broker = asking(address, "", "timeout = \"60s\"\nthreads = 1\nmax_waiting = 1\n").start();
    let mut clients: Vec<_> =
        (0..4).map(|n| super::of(&broker, Version::V5, "alice", &format!("c{n}")).connect()).collect();
    clients.iter_mut().for_each(|client| {
        client.send_publish(&Publish::new("t", 1, "x"));
    });
    // One is asked about, one waits: of the other two each is told at once.
    let end = std::time::Instant::now() + DEADLINE;
    let mut told = 0;
    while told < 2 {
        assert!(std::time::Instant::now() < end, "{}", broker.log());
        for client in &mut clients {
            if let Ok(Some(packet)) = client.next_within(std::time::Duration::from_millis(1)) {
                assert!(matches!(packet, Packet::Puback(_, 0x87)), "{packet:?}");
                told += 1;
            }
        }
    }
}

/// Goal: a will is decided about with its CONNECT, and again when it is published.
#[test]
fn wills() {
    if !ours() {
        return;
    }
    let mind = Arc::new(AtomicBool::new(true));
    let changed = Arc::clone(&mind);
    let (address, bodies) = service(move |body| match body.contains("never") || !changed.load(Ordering::SeqCst) {
        true => reply(403, ""),
        false => allow(),
    });
    let will = |topic: &str| Will { qos: 1, ..Will::new(topic, "gone") };
    for version in VERSIONS {
        for cache in ["0s", "1h"] {
            mind.store(true, Ordering::SeqCst);
            let broker = asking(address, "", &format!("cache = {cache:?}\n")).start();
            let mut bob = of(&broker, version, "bob").connect();
            assert_eq!(bob.subscribe("wills/#", 0), 0);
            let denied = of(&broker, version, "alice").will(will("wills/never")).refused();
            assert_eq!(denied, code(version, 0x87, 5));
            for durable in [false, true] {
                while bodies.try_recv().is_ok() {}
                let left = of(&broker, version, "alice").will(will("wills/1"));
                let left = if durable { left.durable() } else { left };
                left.connect().abort();
                assert_eq!(bob.texts(1), ["gone"]);
                let times = std::iter::from_fn(|| bodies.try_recv().ok()).count();
                assert_eq!(times, if cache == "0s" { 2 } else { 1 }, "{version:?} {durable}");
                left.connect().disconnect();
            }
            if cache == "1h" {
                continue;
            }
            let alice = of(&broker, version, "alice").will(will("wills/1")).connect();
            mind.store(false, Ordering::SeqCst);
            while bodies.try_recv().is_ok() {}
            alice.abort();
            asked(&bodies);
            mind.store(true, Ordering::SeqCst);
            of(&broker, version, "alice").will(will("wills/2")).connect().abort();
            let message = bob.message();
            assert_eq!(message.topic, "wills/2", "the other was denied when it was to be published");
        }
    }
}

/// Goal: a subscription that was granted stays for a durable session, beside rules that would not allow it: through a
/// reload, while its client is away, and after a restart; what is asked again is asked after a reload.
#[test]
fn what_was_granted_stays() {
    if !ours() {
        return;
    }
    let (address, bodies) = service(|_| allow());
    let data = DataDirectory::new();
    let setup = asking(address, "", "");
    for version in VERSIONS {
        let mut broker = setup.clone().on(&data).start();
        let durable = of(&broker, version, "alice").durable();
        let mut alice = durable.connect();
        let mut bob = of(&broker, version, "bob").connect();
        bob.retain("room/1", 1, "kept");
        assert_eq!(alice.subscribe("room/#", 1), 1);
        assert_eq!(alice.texts(1), ["kept"]);
        bob.publish("room/2", 1, "live");
        assert_eq!(alice.texts(1), ["live"]);
        while bodies.try_recv().is_ok() {}
        broker.process().signal("HUP");
        broker.process_log("SIGHUP: read again");
        // What is on its way to a shard is there when it has forgotten what was said.
        while bodies.try_recv().is_err() {
            bob.publish("room/2", 1, "more");
            assert_eq!(alice.texts(1), ["more"]);
        }
        alice.abort();
        bob.publish("room/2", 1, "while away");
        bob.disconnect();
        broker.terminate(DEADLINE);
        drop(broker);
        let broker = setup.clone().on(&data).start();
        let mut bob = of(&broker, version, "bob").connect();
        bob.publish("room/2", 1, "after a restart");
        let mut alice = of(&broker, version, "alice").durable().connect();
        assert!(alice.session_present);
        assert_eq!(alice.texts(2), ["while away", "after a restart"]);
        bob.retain("room/1", 1, "");
        alice.disconnect();
    }
}

/// Goal: by GET the fields are the query; what a client says stays within its place there, and in the path.
#[test]
fn requests_by_get() {
    if !ours() {
        return;
    }
    let (address, bodies) = service(|_| allow());
    let users = path("password_file", &passwords(&["alice"]));
    let lines = format!(
        "[access]\n{users}\n[access_acl_http]\nurl = \"http://{address}/${{username}}/${{topic}}\"\nmethod = \"get\"\n\
         fields = [\"t=${{topic}}\", \"a=${{action}}\", \"s=${{subject}}\"]\ncache_size = 1\n"
    );
    let broker = Setup::shards(1).toml(&lines).start();
    let mut alice = of(&broker, Version::V5, "alice").connect();
    assert_eq!(alice.publish("a/b&c=d ?", 1, "x"), 0x10);
    let line = bodies.recv_timeout(DEADLINE).expect("it was asked");
    assert!(line.starts_with("GET /alice/a%2Fb%26c%3Dd%20%3F?t=a"), "{line}");
    assert!(line.contains("&a=publish") && line.contains("%26c%3Dd") && !line.contains("s="), "{line}");
    // Neither QoS nor RETAIN is told, so neither matters.
    assert_eq!((alice.publish("a/b&c=d ?", 2, "x"), alice.retain("a/b&c=d ?", 1, "")), (0x10, 0x10));
    assert!(bodies.try_recv().is_err());
    for (toml, told) in [
        ("[access_acl_http]\nurl = \"http://${username}.example/\"\n", "names no host"),
        ("[access_acl_http]\nurl = \"auth.example/acl\"\n", "names no host"),
        ("[[listener]]\nbind = \"127.0.0.1:0\"\nacl_http = true\n", "nobody could be asked"),
    ] {
        let place = file(toml).display().to_string();
        let (status, printed) = ringmain_tests::program::run(&[], &["-t", "--no-persistence", "-c", &place]);
        assert!(status == Some(2) && printed.contains(told), "{printed}");
    }
}
