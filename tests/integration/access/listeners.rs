//! What listeners have of their own: back ends, rules, who is anonymous, how large a packet may be.

use std::net::SocketAddr;

use ringmain_tests::packet::Connect;
use ringmain_tests::{Broker, Client, DataDirectory, Options, Property, Setup, Transport, Version};
use switch::access::hash::{Hash, Kind};

use super::{VERSIONS, code, file, ours, passwords, path, table, with};

const ALL: &str = "user alice\ntopic readwrite #\n";
const INNER: &str = "topic read public/#\nuser alice\ntopic readwrite inner/#\n";

/// A broker whose second listener lets anybody read what is public, and where that is.
fn two_worlds(inner: &std::path::Path, data: Option<&DataDirectory>) -> (Broker, SocketAddr) {
    let access = table(&[path("password_file", &passwords(&["alice"])), path("acl_file", &file(ALL))]);
    let keys = format!(
        "bind = \"127.0.0.1:0\"\nname = \"inner\"\nallow_anonymous = true\nmax_packet_size = 1000\n{}",
        path("acl_file", inner)
    );
    let setup = Setup::shards(3).toml(&access).listener(&keys);
    let broker = data.map_or_else(|| setup.clone(), |data| setup.clone().on(data)).start();
    let address = broker.listening("tcp, inner");
    (broker, address)
}

fn at(address: SocketAddr, connect: &Connect) -> Client {
    let mut client = Client::over(Transport::Tcp.open(address), connect.version);
    client.send(&connect.bytes());
    client.connack();
    client
}

fn alice(options: Options) -> Options {
    with(options, Some("alice"), Some("alice-pw"))
}

/// Goal: who came in by a listener with rules of its own is judged by these alone, wherever its session lives; anonymous
/// clients are let in where that is said; a reload reads these rules, too.
#[test]
fn listeners_have_rules() {
    if !ours() {
        return;
    }
    let inner = file(INNER);
    let (mut broker, address) = two_worlds(&inner, None);
    for (version, durable) in VERSIONS.into_iter().flat_map(|version| [(version, false), (version, true)]) {
        let options =
            |id: &str| if durable { broker.client(version, id).durable() } else { broker.client(version, id) };
        let denied = code(version, 0x87, 0x80);
        assert_eq!(options("outer").refused(), code(version, 0x87, 5));
        let mut outer = alice(options("alice")).connect();
        assert_eq!(outer.subscribe("other/t", 1), 1);
        let mut anybody = at(address, &options("anybody").packet);
        assert_eq!((anybody.code, anybody.subscribe("public/t", 1), anybody.subscribe("other/t", 1)), (0, 1, denied));
        assert_eq!(anybody.publish("public/t", 1, "forged"), code(version, 0x87, 0));
        outer.publish("public/t", 1, "news");
        assert_eq!(anybody.delivery().text(), "news");
        // The same user, and another set of rules.
        let mut within = at(address, &alice(options("within")).packet);
        assert_eq!((within.subscribe("inner/t", 1), within.subscribe("other/t", 1)), (1, denied));
        assert_eq!(within.publish("other/t", 1, "forged"), code(version, 0x87, 0));
        outer.silent();
    }
    let mut anybody = at(address, &broker.client(Version::V5, "reader").packet);
    assert_eq!(anybody.subscribe("public/t", 0), 0);
    std::fs::write(&inner, "topic read other/#\n").expect("it can be written");
    broker.process().signal("HUP");
    broker.process_log("SIGHUP: read again");
    let mut outer = alice(broker.client(Version::V5, "publisher")).connect();
    // What is on its way to all shards is there when a client that is judged anew has what it may have.
    while anybody.subscribe("other/t", 0) != 0 {}
    outer.publish("public/t", 0, "lost");
    outer.publish("other/t", 0, "news");
    assert_eq!(anybody.message().text(), "news");
}

/// Goal: a session is judged by its listener's rules while its client is away, also after a restart.
#[test]
fn rules_outlive_a_restart() {
    if !ours() {
        return;
    }
    let (inner, data) = (file(INNER), DataDirectory::new());
    for version in VERSIONS {
        let (mut broker, address) = two_worlds(&inner, Some(&data));
        let options = broker.client(version, &format!("{version:?}")).durable();
        assert!(at(address, &options.packet).subscribe("#", 1) == 1);
        broker.terminate(ringmain_tests::DEADLINE);
        drop(broker);
        let (broker, address) = two_worlds(&inner, Some(&data));
        let mut outer = alice(broker.client(version, "publisher")).connect();
        outer.publish("secret/t", 1, "secret");
        outer.publish("public/t", 1, "news");
        let mut reader = at(address, &options.packet);
        assert!(reader.session_present);
        assert_eq!(reader.delivery().text(), "news");
        outer.publish("secret/t", 1, "secret");
        reader.silent();
    }
}

/// Goal: a listener asks the back ends that it lists, and no others.
#[test]
fn listeners_have_back_ends() {
    if !ours() {
        return;
    }
    let users = path("password_file", &passwords(&["alice"]));
    let secret = path("secret_file", &file("a secret of thirty-two bytes, or more\n"));
    let access = format!("{}[access_jwt]\n{secret}\n", table(&[users, path("acl_file", &file(ALL))]));
    let tokens = "bind = \"127.0.0.1:0\"\nname = \"tokens\"\nbackends = [\"jwt\"]\n";
    let names = "bind = \"127.0.0.1:0\"\nname = \"names\"\nbackends = [\"password_file\"]\n";
    let broker = Setup::shards(2).listener(tokens).listener(names).toml(&access).start();
    let (tokens, names) = (broker.listening("tcp, tokens"), broker.listening("tcp, names"));
    for version in VERSIONS {
        let connect = alice(broker.client(version, "a")).packet;
        assert_eq!(at(names, &connect).code, 0);
        alice(broker.client(version, "b")).connect();
        let connect = alice(broker.client(version, "c")).packet;
        assert_ne!(at(tokens, &connect).code, 0);
    }
}

/// Goal: a listener's users are its own: neither the password, nor the session, nor the rank of a user of the same name
/// elsewhere is theirs; a reload reads this file, too, and only whose line has changed is disconnected.
#[test]
fn listeners_have_users() {
    if !ours() {
        return;
    }
    let own = file("");
    let users = |password: &str| {
        let hash = Hash::make(Kind::Scram, password.as_bytes()).expect("randomness");
        std::fs::write(&own, format!("alice:{hash}\n")).expect("it can be written");
    };
    users("inner-pw");
    let keys = format!("bind = \"127.0.0.1:0\"\nname = \"inner\"\n{}\n", path("password_file", &own));
    let access = [path("password_file", &passwords(&["alice", "bob"])), path("acl_file", &file(ALL))];
    let operators = "operators = [\"alice\"]".to_owned();
    let setup = |access: &[String]| Setup::shards(2).toml(&table(access)).listener(&keys);
    let mut broker = setup(&[access[0].clone(), access[1].clone(), operators]).start();
    let inner = broker.listening("tcp, inner");
    for version in VERSIONS {
        let options = |id: &str| broker.client(version, id);
        let within = |id: &str, password| with(options(id), Some("alice"), Some(password)).packet;
        assert_eq!(at(inner, &within("i", "alice-pw")).code, code(version, 0x86, 4));
        assert_eq!(with(options("o"), Some("alice"), Some("inner-pw")).refused(), code(version, 0x86, 4));
        let nobody = with(options("i"), Some("bob"), Some("bob-pw")).packet;
        assert_eq!(at(inner, &nobody).code, code(version, 0x86, 4));
        let mut mine = alice(options("mine")).connect();
        assert_eq!(at(inner, &within("mine", "inner-pw")).code, code(version, 0x87, 5), "it is another alice's");
        assert_eq!((mine.subscribe("$SYS/#", 0), mine.subscribe("a", 1)), (0, 1));
        let mut theirs = at(inner, &within("theirs", "inner-pw"));
        assert_eq!((theirs.subscribe("$SYS/#", 0), theirs.subscribe("a", 1)), (code(version, 0x87, 0x80), 1));
        assert_eq!(alice(options("theirs")).refused(), code(version, 0x87, 5));
        theirs.disconnect();
    }
    let mut outer = alice(broker.client(Version::V5, "outer")).connect();
    let mut theirs = at(inner, &with(broker.client(Version::V5, "i"), Some("alice"), Some("inner-pw")).packet);
    users("other-pw");
    broker.process().signal("HUP");
    theirs.dropped(&[0x87]);
    outer.ping();
    drop(broker);
    // It needs no other back end.
    let broker = setup(&access[1..]).start();
    let inner = broker.listening("tcp, inner");
    broker.client(Version::V5, "anybody").connect();
    assert_eq!(at(inner, &broker.client(Version::V5, "anybody").packet).code, 0x87);
    let connect = with(broker.client(Version::V5, "i"), Some("alice"), Some("other-pw")).packet;
    assert_eq!(at(inner, &connect).code, 0);
}

/// Goal: a listener's own bound on packets is told and kept; others have theirs.
#[test]
fn listeners_bound_packets() {
    if !ours() {
        return;
    }
    let (broker, address) = two_worlds(&file("topic readwrite #\n"), None);
    for version in VERSIONS {
        let mut outer = alice(broker.client(version, "alice")).connect();
        outer.publish("t", 1, vec![b'x'; 5000]);
        let mut inner = at(address, &broker.client(version, "inner").packet);
        if version == Version::V5 {
            assert!(inner.properties.contains(&Property::MaximumPacketSize(1000)), "{:?}", inner.properties);
        }
        inner.publish("t", 1, vec![b'x'; 900]);
        inner.send(&ringmain_tests::Publish::new("t", 0, vec![b'x'; 1000]).bytes(version));
        inner.dropped(&[0x95]);
    }
}

/// Goal: a listener that lists what is not configured, or allows more than all do, is refused with the key.
#[test]
fn what_cannot_be_is_refused() {
    if !ours() {
        return;
    }
    for (keys, told) in [
        ("backends = [\"http\"]", "neither [access] nor this listener configures it"),
        ("backends = [\"ldap\"]", "there is no back end \"ldap\""),
        ("max_packet_size = \"2MiB\"", "larger than limits.max_packet_size"),
        ("use_identity_as_username = \"cn\"", "means nothing with transport"),
        ("acl_file = \"/nowhere/acl\"", "/nowhere/acl"),
        ("password_file = \"/nowhere/users\"", "/nowhere/users"),
    ] {
        let keys = format!("bind = \"127.0.0.1:0\"\nname = \"inner\"\n{keys}");
        let (status, printed) = Setup::shards(1).listener(&keys).refused();
        assert!(status != Some(0) && printed.contains(told), "{keys}: {printed}");
    }
}
