//! Listeners behind a proxy, and on Unix sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use ringmain_tests::packet::Connect;
use ringmain_tests::websocket::{frame, request};
use ringmain_tests::{DEADLINE, Setup, Version};

const BELIEVED: &str = "proxy_protocol = true\nproxy_trusted = [\"127.0.0.1\"]\n";

fn connack(stream: &mut (impl Read + Write), before: &[u8], client_id: &str) -> Vec<u8> {
    let connect = Connect::new(Version::V311, client_id).bytes();
    stream.write_all(&[before, &connect].concat()).expect("the broker accepts");
    let mut answer = vec![0; 4];
    match stream.read_exact(&mut answer) {
        Ok(()) => answer,
        Err(_) => Vec::new(),
    }
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the broker accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a TCP socket");
    stream
}

/// Goal: what a trusted proxy says of its client's address is what the log tells, in both versions of the protocol.
#[test]
fn proxies_tell_addresses() {
    let keys = format!("bind = \"127.0.0.1:0\"\nname = \"proxied\"\n{BELIEVED}");
    let broker = Setup::shards(2).listener(&keys).start();
    let address = broker.listening("tcp, proxied");
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[198, 51, 100, 9, 127, 0, 0, 1, 0, 7, 0, 9]].concat();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec();
    for (header, client_id, shown) in [
        (b"PROXY TCP4 192.0.2.77 127.0.0.1 4711 1883\r\n".to_vec(), "v1", "192.0.2.77:4711"),
        (b"PROXY TCP6 2001:db8::5 ::1 12 1883\r\n".to_vec(), "v1-6", "[2001:db8::5]:12"),
        (v2, "v2", "198.51.100.9:7"),
        (local, "check", "127.0.0.1:"),
    ] {
        let mut whole = tcp(address);
        assert_eq!(connack(&mut whole, &header, client_id), [0x20, 2, 0, 0], "{client_id}");
        let shown = format!("client \"{client_id}\" from {shown}");
        broker.process_log(&shown);
        // A byte at a time.
        let mut slow = tcp(address);
        header.iter().for_each(|byte| slow.write_all(&[*byte]).expect("the broker reads"));
        assert_eq!(connack(&mut slow, &[], client_id), [0x20, 2, 0, 0], "{client_id}");
    }
    // A trusted proxy that says nothing is not believed to be nobody.
    assert!(connack(&mut tcp(address), &[], "none").is_empty());
    broker.process_log("a trusted proxy sent no PROXY header");
}

/// Goal: nobody else is believed: a header from an address that is not trusted is no MQTT.
#[test]
fn others_are_not_believed() {
    let keys = "bind = \"127.0.0.1:0\"\nname = \"far\"\nproxy_protocol = true\nproxy_trusted = [\"10.0.0.0/8\"]";
    let broker = Setup::shards(1).listener(keys).start();
    let address = broker.listening("tcp, far");
    assert!(connack(&mut tcp(address), b"PROXY TCP4 192.0.2.77 127.0.0.1 4711 1883\r\n", "liar").is_empty());
    assert_eq!(connack(&mut tcp(address), &[], "plain"), [0x20, 2, 0, 0]);
}

/// Goal: a proxy may stand before WebSocket, too, and say all at once.
#[test]
fn proxies_before_websocket() {
    let broker = Setup::shards(2).ws(BELIEVED).start();
    let mut stream = tcp(broker.listening("ws"));
    let connect = Connect::new(Version::V311, "behind").bytes();
    let bytes = [
        b"PROXY TCP4 192.0.2.78 127.0.0.1 4711 1883\r\n".to_vec(),
        request("/mqtt", "mqtt", "").into_bytes(),
        frame(0x82, &connect, [1, 2, 3, 4]),
    ];
    stream.write_all(&bytes.concat()).expect("the broker reads");
    broker.process_log("client \"behind\" from 192.0.2.78:4711");
}

/// Goal: a Unix socket serves all shards, and one that a killed broker left behind is no hindrance.
#[test]
fn unix_sockets() {
    let folder = ringmain_tests::program::scratch("unix");
    let path = folder.join("mqtt.sock");
    let keys = format!("bind = \"{}\"\ntransport = \"unix\"", path.display());
    for round in 0..2 {
        let mut broker = Setup::shards(3).listener(&keys).start();
        broker.process_log("(unix)");
        for number in 0..20 {
            let mut stream = UnixStream::connect(&path).expect("it listens");
            stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
            assert_eq!(connack(&mut stream, &[], &format!("unix-{round}-{number}")), [0x20, 2, 0, 0]);
        }
        broker.process().kill();
    }
    std::fs::remove_dir_all(&folder).expect("it was ours");
}
