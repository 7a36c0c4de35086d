//! Subscriptions that were granted, and a service with another mind since: asked again as the client comes back, and after
//! a reload.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ringmain_tests::{Broker, Client, DEADLINE, DataDirectory, Options, Setup, Version};
use serde_json::Value;

use super::backends::{reply, service};
use super::reload::hang_up;
use super::{VERSIONS, code, file, ours, passwords, path};

/// What a service denies, ignores, and does not answer.
#[derive(Default)]
struct Mind {
    denies: HashSet<&'static str>,
    ignores: HashSet<&'static str>,
    down: bool,
}

/// A service with a mind that the test changes; everything else is allowed.
struct Decider {
    address: SocketAddr,
    asked: Receiver<String>,
    mind: Arc<Mutex<Mind>>,
}

impl Decider {
    fn new() -> Decider {
        let mind: Arc<Mutex<Mind>> = Arc::default();
        let now = Arc::clone(&mind);
        let (address, asked) = service(move |body| {
            let (asked, mind): (Value, _) = (serde_json::from_str(body).expect("JSON"), now.lock().expect("no panic"));
            let topic = asked["topic"].as_str().filter(|_| asked["action"] == "subscribe").unwrap_or_default();
            match topic {
                _ if mind.down => reply(500, ""),
                _ if mind.denies.contains(topic) => reply(403, ""),
                _ if mind.ignores.contains(topic) => reply(404, ""),
                _ => reply(204, ""),
            }
        });
        Decider { address, asked, mind }
    }

    /// Changes its mind, and forgets what it was asked before.
    fn set(&self, change: impl FnOnce(&mut Mind)) {
        let mut mind = self.mind.lock().expect("no panic");
        while self.asked.try_recv().is_ok() {}
        change(&mut mind);
    }

    /// Waits until it was asked about a subscription to this.
    fn was_asked(&self, filter: &str) {
        loop {
            let body = self.asked.recv_timeout(DEADLINE).expect("it was asked");
            let asked: Value = serde_json::from_str(&body).expect("JSON");
            if asked["action"] == "subscribe" && asked["topic"] == filter {
                return;
            }
        }
    }

    fn setup(&self, acl: &str) -> Setup {
        let users = path("password_file", &passwords(&["alice", "bob"]));
        let (acl, address) = (path("acl_file", &file(acl)), self.address);
        Setup::shards(2).toml(&format!(
            "[access]\nmax_failures = 0\n{users}\n{acl}\n[access_acl_http]\nurl = \"http://{address}/acl\"\n"
        ))
    }
}

fn of(broker: &Broker, version: Version, user: &str) -> Options {
    super::of(broker, version, user, &format!("{user}-{version:?}"))
}

/// Publishes to a topic that is withdrawn from clients until nothing of it comes to them; what goes on tells that.
fn until_gone(bob: &mut Client, [withdrawn, goes_on]: [&str; 2], clients: &mut [Client]) {
    let end = Instant::now() + DEADLINE;
    let mut came = true;
    while came {
        assert!(Instant::now() < end, "it was to be withdrawn");
        bob.publish(withdrawn, 1, "denied");
        bob.publish(goes_on, 1, "end");
        came = false;
        for client in &mut *clients {
            while client.message().text() != "end" {
                came = true;
            }
        }
    }
}

/// Goal: a session that is resumed has what the service grants now: what it denies is gone with what waited for it, also
/// after a restart; what it leaves to the rules is judged by these; more subscriptions than one batch are all asked about.
#[test]
fn resumed_sessions_are_asked_about() {
    if !ours() {
        return;
    }
    let (decider, data) = (Decider::new(), DataDirectory::new());
    let setup = decider.setup("user alice\ntopic read ruled/+\n");
    for version in VERSIONS {
        decider.set(|mind| *mind = Mind::default());
        let mut broker = setup.clone().on(&data).start();
        let mut alice = of(&broker, version, "alice").durable().connect();
        for filter in ["denied", "kept", "ruled/+", "unruled/+", "$share/g/shared"] {
            assert_eq!(alice.subscribe(filter, 1), 1);
        }
        for index in 0..30 {
            assert_eq!(alice.subscribe(&format!("many/{index}"), 1), 1);
        }
        alice.disconnect();
        let mut bob = of(&broker, version, "bob").connect();
        for topic in ["denied", "unruled/1", "shared", "many/0", "ruled/1", "kept"] {
            bob.publish(topic, 1, topic);
        }
        decider.set(|mind| {
            mind.denies = ["denied", "shared", "many/0", "many/29"].into();
            mind.ignores = ["ruled/+", "unruled/+"].into();
        });
        let mut alice = of(&broker, version, "alice").durable().connect();
        assert!(alice.session_present);
        let mut came = alice.texts(2);
        came.sort();
        assert_eq!(came, ["kept", "ruled/1"]);
        bob.disconnect();
        alice.disconnect();
        decider.set(|mind| *mind = Mind::default());
        let mut bob = of(&broker, version, "bob").connect();
        let say = |bob: &mut Client| {
            // Nobody has those any more: the journal does not know them, either.
            let nobody = code(version, 0x10, 0);
            let topics = ["denied", "many/29", "shared", "many/28"];
            assert_eq!(topics.map(|topic| bob.publish(topic, 1, topic)), [nobody, nobody, nobody, 0]);
        };
        say(&mut bob);
        broker.terminate(DEADLINE);
        drop(broker);
        let broker = setup.clone().on(&data).start();
        let mut bob = of(&broker, version, "bob").connect();
        say(&mut bob);
        let mut alice = of(&broker, version, "alice").durable().connect();
        assert_eq!(alice.texts(2), ["many/28", "many/28"]);
        alice.silent();
        of(&broker, version, "alice").connect().disconnect();
    }
}

/// Goal: a service that is down costs no subscription: what was granted stays, and is asked about again when it answers.
#[test]
fn nothing_is_withdrawn_by_a_service_that_is_down() {
    if !ours() {
        return;
    }
    let decider = Decider::new();
    let mut broker = decider.setup("").start();
    for version in VERSIONS {
        decider.set(|mind| *mind = Mind::default());
        let mut alice = of(&broker, version, "alice").durable().connect();
        assert_eq!((alice.subscribe("kept", 1), alice.subscribe("denied", 1)), (1, 1));
        alice.disconnect();
        let mut bob = of(&broker, version, "bob").connect();
        // It is known that he may.
        bob.publish("kept", 1, "one");
        decider.set(|mind| (mind.down, mind.denies) = (true, ["denied"].into()));
        let mut alice = of(&broker, version, "alice").durable().connect();
        assert!(alice.session_present);
        assert_eq!(alice.texts(1), ["one"]);
        bob.publish("kept", 1, "two");
        assert_eq!(alice.texts(1), ["two"]);
        for reload in [false, true] {
            if reload {
                decider.set(|mind| mind.down = true);
                hang_up(&mut broker, "SIGHUP: read again");
                decider.was_asked("kept");
                alice.ping();
            }
            decider.set(|mind| mind.down = false);
            decider.was_asked("kept");
        }
        until_gone(&mut bob, ["denied", "kept"], std::slice::from_mut(&mut alice));
        of(&broker, version, "alice").connect().disconnect();
    }
}

/// Goal: after a reload connected clients are asked about, without a word of theirs: what is denied now is not delivered
/// any more, to a feed, an outbox or a group, and what is allowed goes on.
#[test]
fn a_reload_asks_about_live_subscriptions() {
    if !ours() {
        return;
    }
    let decider = Decider::new();
    let mut broker = decider.setup("").start();
    for version in VERSIONS {
        decider.set(|mind| *mind = Mind::default());
        let mut bob = of(&broker, version, "bob").connect();
        let mut clients = ["feed", "outbox", "member"].map(|id| super::of(&broker, version, "alice", id).connect());
        for (client, (filter, qos)) in clients.iter_mut().zip([("room/+", 0), ("room/+", 1), ("$share/g/room/+", 1)]) {
            assert_eq!((client.subscribe(filter, qos), client.subscribe("open", 0)), (qos, 0));
        }
        bob.publish("room/1", 0, "one");
        clients.iter_mut().for_each(|client| assert_eq!(client.texts(1), ["one"]));
        decider.set(|mind| mind.denies = ["room/+"].into());
        hang_up(&mut broker, "SIGHUP: read again");
        (0..clients.len()).for_each(|_| decider.was_asked("room/+"));
        until_gone(&mut bob, ["room/1", "open"], &mut clients);
        clients.iter_mut().for_each(Client::silent);
        // The client may ask, and is told.
        decider.set(|mind| mind.denies.clear());
        hang_up(&mut broker, "SIGHUP: read again");
        // What was said is forgotten when the shard has heard of the reload.
        while clients[0].subscribe("room/+", 0) != 0 {}
        bob.publish("room/1", 0, "three");
        assert_eq!(clients[0].texts(1), ["three"]);
    }
}
