//! Clients whose certificates say who they are.

use std::net::SocketAddr;

use ringmain_tests::authority::{Authority, Identity};
use ringmain_tests::packet::Connect;
use ringmain_tests::stream::Stream;
use ringmain_tests::{Broker, Client, DataDirectory, Setup, TlsClient, Transport, Version};
use switch::access::hash::{Hash, Kind};

use super::{TLS12, TLS13, VERSIONS};

const ACL: &str = "pattern readwrite home/%u/#\n";

fn file(text: &str) -> std::path::PathBuf {
    let place = DataDirectory::place();
    std::fs::write(&place, text).expect("the directory of the tests can be written");
    place
}

/// A broker that takes the names of certificates of `clients`, and where that is.
fn start(clients: &Authority, keys: &str, more: &str) -> (Broker, SocketAddr) {
    let keys = format!("name = \"named\"\nclient_ca = {:?}\nacl_file = {:?}\n{keys}", clients.file, file(ACL));
    let broker = Setup::shards(3).encrypted(Transport::Tls, &keys).toml(more).start();
    let address = broker.listening("tls, named");
    (broker, address)
}

fn over(client: &TlsClient, address: SocketAddr, connect: &Connect) -> Client {
    let stream = client.connect(address).expect("the certificate is good");
    let mut client = Client::over(Stream::Tls(Box::new(stream)), connect.version);
    client.send(&connect.bytes());
    client.connack();
    client
}

fn code(version: Version, v5: u8, v311: u8) -> u8 {
    if version == Version::V5 { v5 } else { v311 }
}

/// What a client of this user may and may not do.
fn judged(client: &mut Client, user: &str) {
    assert_eq!(client.subscribe("home/other/t", 1), code(client.version(), 0x87, 0x80), "{user}");
    assert_eq!(client.subscribe(&format!("home/{user}/t"), 1), 1, "{user}");
    client.publish(&format!("home/{user}/t"), 1, user);
    assert_eq!(client.delivery().text(), user);
}

/// Goal: a client is who its certificate says, whatever CONNECT says, also where its session lives elsewhere and where the
/// handshake took up an earlier one; a session belongs to that user.
#[test]
fn the_common_name() {
    let clients = Authority::new("cn");
    let keys = "client_certificates = \"required\"\nuse_identity_as_username = \"cn\"\n";
    let (_broker, address) = start(&clients, keys, "");
    let (alice, bob) = (clients.client_named("alice", &[]), clients.client_named("bob", &["alice"]));
    for (tls, version) in [(TLS12, Version::V311), (TLS13, Version::V5)] {
        let (alice, bob) = (TlsClient::new(tls, Some(&alice)), TlsClient::new(tls, Some(&bob)));
        for round in 0..4 {
            let mut connect = Connect::new(version, &format!("{version:?}-{round}"));
            (connect.user_name, connect.password) = (Some("bob".to_owned()), Some(b"guess".to_vec()));
            connect.clean = round % 2 == 0;
            let mut client = over(&alice, address, &connect);
            assert_eq!(client.code, 0);
            judged(&mut client, "alice");
            assert_eq!(over(&bob, address, &connect).code, code(version, 0x87, 5), "the client is alice's");
            client.disconnect();
            let mut client = over(&bob, address, &Connect::new(version, "bob"));
            assert_eq!(client.code, 0);
            judged(&mut client, "bob");
        }
    }
}

/// Goal: another name is found where it is asked for, and who has none is refused, however good its certificate; names are
/// no wildcards.
#[test]
fn alternative_names() {
    let clients = Authority::new("dns");
    let keys = "client_certificates = \"required\"\nuse_identity_as_username = \"dns\"\n";
    let (_broker, address) = start(&clients, keys, "");
    let of = |identity: &Identity| TlsClient::new(TLS13, Some(identity));
    let device = of(&clients.client_named("cn", &["device.example", "other.example"]));
    let nameless = of(&clients.client_named("device.example", &[]));
    let wild = of(&clients.client_named("wild", &["*"]));
    for version in VERSIONS {
        let mut client = over(&device, address, &Connect::new(version, "device"));
        assert_eq!(client.code, 0);
        judged(&mut client, "device.example");
        let connect = Connect { user_name: Some("device.example".to_owned()), ..Connect::new(version, "nameless") };
        assert_eq!(over(&nameless, address, &connect).code, code(version, 0x87, 5));
        let mut client = over(&wild, address, &Connect::new(version, "wild"));
        assert_eq!(client.subscribe("home/device.example/t", 0), code(version, 0x87, 0x80));
    }
}

/// Goal: where certificates are optional, who shows none is asked as everywhere.
#[test]
fn none_is_shown() {
    let clients = Authority::new("optional");
    let keys = "client_certificates = \"optional\"\nuse_identity_as_username = \"cn\"\n";
    let hash = Hash::make(Kind::Scram, b"secret").expect("randomness");
    let users = format!("[access]\npassword_file = {:?}\n", file(&format!("carol:{hash}\n")));
    let (_broker, address) = start(&clients, keys, &users);
    let (alice, nobody) = (clients.client_named("alice", &[]), TlsClient::new(TLS13, None));
    for version in VERSIONS {
        judged(&mut over(&TlsClient::new(TLS13, Some(&alice)), address, &Connect::new(version, "alice")), "alice");
        let mut connect = Connect::new(version, "carol");
        assert_eq!(over(&nobody, address, &connect).code, code(version, 0x87, 5));
        (connect.user_name, connect.password) = (Some("carol".to_owned()), Some(b"guess".to_vec()));
        assert_eq!(over(&nobody, address, &connect).code, code(version, 0x86, 4));
        connect.password = Some(b"secret".to_vec());
        judged(&mut over(&nobody, address, &connect), "carol");
    }
}
