//! MQTT over TLS: that a client cannot tell what lies below its packets, the handshake in all its shapes, certificates of
//! both sides, and what is hostile.

mod certificates;
mod example;
mod files;
mod handshake;
mod hostile;
mod identity;
mod moving;
mod records;
mod stream;
mod testssl;

use std::io::Write;
use std::net::SocketAddr;

use ringmain_tests::packet::Connect;
use ringmain_tests::stream::Stream;
use ringmain_tests::tls::TlsStream;
use ringmain_tests::{Broker, Client, Setup, Transport, Version};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];
const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
const BOTH: &[&rustls::SupportedProtocolVersion] = rustls::ALL_VERSIONS;

/// A broker with a listener for TLS, and where that is.
fn start(shards: u32, keys: &str) -> (Broker, SocketAddr) {
    let setup = Setup::shards(shards).toml("[sys]\ninterval = \"1s\"");
    let broker = setup.encrypted(Transport::Tls, &format!("name = \"sealed\"\n{keys}")).start();
    let address = broker.listening("tls, sealed");
    (broker, address)
}

/// An MQTT client over TLS that has its CONNACK.
fn greeted(stream: TlsStream, version: Version, client_id: &str) -> Client {
    let mut client = Client::over(Stream::Tls(Box::new(stream)), version);
    client.send(&Connect::new(version, client_id).bytes());
    client.connack();
    assert_eq!(client.code, 0, "{client_id} was refused");
    client
}

/// The bytes of a ClientHello, and the rest of the client.
fn client_hello(client: &ringmain_tests::TlsClient) -> (Vec<u8>, rustls::ClientConnection) {
    let name = rustls::pki_types::ServerName::try_from(client.name.clone()).expect("a name");
    let mut connection =
        rustls::ClientConnection::new(std::sync::Arc::clone(&client.config), name).expect("a configuration");
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).expect("memory takes bytes");
    }
    (bytes, connection)
}

/// Sends bytes one at a time, each in a segment of its own.
fn drip(mut socket: &std::net::TcpStream, bytes: &[u8]) {
    for byte in bytes {
        socket.write_all(&[*byte]).expect("the broker reads");
    }
}

/// Waits until a number below `$SYS/broker/shards/` has reached this, over all shards.
fn counted(broker: &Broker, shards: u32, topic: &str, least: u64) -> u64 {
    let mut client = ringmain_tests::Options::new(broker.tcp(), Version::V5, "counts").connect_by(Transport::Tcp);
    client.subscribe(&format!("$SYS/broker/shards/+/{topic}"), 0);
    let mut of = vec![0; shards as usize];
    loop {
        let message = client.message();
        let shard: usize = message.topic.split('/').nth(3).and_then(|n| n.parse().ok()).expect("a shard's number");
        of[shard] = message.text().parse().expect("a number");
        let sum = of.iter().sum();
        if sum >= least {
            return sum;
        }
    }
}
