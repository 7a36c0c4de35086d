//! What lies above TLS does not know of it.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use ringmain_tests::packet::{Connect, PINGREQ, Will, disconnect, subscribe};
use ringmain_tests::stream::Stream;
use ringmain_tests::{Client, Options, Publish, Setup, TlsClient, Transport, Version};

use super::{BOTH, TLS12, TLS13, VERSIONS, counted, greeted, start};
use crate::websocket::all_arrive;

/// Goal: a subscriber gets the same over TLS, over WebSocket over TLS and over TCP, from one feed or from its own queue,
/// at every length at which a record ends.
#[test]
fn subscribers_get_the_same() {
    let setup = Setup::shards(2).encrypted(Transport::Tls, "name = \"a\"").encrypted(Transport::Wss, "name = \"b\"");
    let broker = setup.start();
    let (tls, wss) = (broker.listening("tls, a"), broker.listening("wss, b"));
    for version in VERSIONS {
        for qos in [0, 1, 2] {
            let topic = format!("t/{version:?}/{qos}");
            let name = |who: usize| format!("{who}-{version:?}-{qos}");
            let mut subscribers = Vec::new();
            for who in 0..3 {
                let of = |transport: Transport, address, who| {
                    Options::new(address, version, &name(who)).connect_by(transport)
                };
                subscribers.push(of(Transport::Tls, tls, 3 * who));
                subscribers.push(of(Transport::Wss, wss, 3 * who + 1));
                subscribers.push(of(Transport::Tcp, broker.tcp(), 3 * who + 2));
            }
            let publisher = Options::new(tls, version, &name(99)).connect_by(Transport::Tls);
            let lens = [0, 100, 16_300, 16_383, 16_384, 16_385, 32_768, 65_536, 300_000];
            all_arrive(publisher, &mut subscribers, &topic, qos, &lens);
        }
    }
}

/// Goal: a subscriber that reads nothing while 10 MB come gets all of them, whole and in order, when it reads again: what
/// a socket does not take of sealed bytes leaves later as it is.
#[test]
fn a_slow_reader_gets_ten_megabytes() {
    let setup = Setup::shards(2).toml("[limits]\nmax_queued_bytes = \"64MB\"\nqueue_memory = \"256MB\"");
    let broker = setup.encrypted(Transport::Tls, "name = \"sealed\"\nsend_buffer = 65536\n").start();
    let (address, broker_address) = (broker.listening("tls, sealed"), broker.tcp());
    for (version, tls) in [(Version::V311, TLS12), (Version::V5, TLS13)] {
        let client = TlsClient::new(tls, None);
        let mut slow = greeted(client.connect(address).expect("a handshake"), version, &format!("slow-{version:?}"));
        slow.subscribe("large", 1);
        let mut publisher = Options::new(broker_address, version, "publisher").connect_by(Transport::Tcp);
        let payload = |n: usize| (0..700_000 + n).map(|at| (at * 31 + n) as u8).collect::<Vec<u8>>();
        for n in 0..15 {
            publisher.publish("large", 1, payload(n));
        }
        for n in 0..15 {
            assert!(slow.message().payload == payload(n), "message {n}");
        }
        slow.ping();
    }
}

/// Goal: keys that a client renews while it goes on are followed, and a client that asks for ours to be renewed is
/// answered (RFC 8446, section 4.6.3).
#[test]
fn keys_are_renewed() {
    let (_broker, address) = start(1, "");
    let client = TlsClient::new(TLS13, None);
    let mut stream = client.connect(address).expect("a handshake");
    stream.write_all(&Connect::new(Version::V5, "renews").bytes()).expect("the broker reads");
    let mut answer = [0; 4096];
    assert!(stream.read(&mut answer).expect("a CONNACK") > 4);
    for _ in 0..10 {
        stream.stream.conn.refresh_traffic_keys().expect("the handshake is over");
        stream.write_all(&PINGREQ).expect("the broker reads");
        let mut pong = [0; 2];
        stream.read_exact(&mut pong).expect("a PINGRESP");
        assert_eq!(pong, [0xd0, 0]);
    }
}

/// Goal: each side says when it sends no more (close_notify), so nobody can cut a stream unnoticed: after DISCONNECT,
/// after the client's own close_notify, and when the broker stops.
#[test]
fn goodbyes_are_said() {
    let (mut broker, address) = start(2, "");
    for tls in [TLS12, TLS13] {
        let client = TlsClient::new(tls, None);
        let connect = |id: &str| {
            let mut stream = client.connect(address).expect("a handshake");
            stream.write_all(&Connect::new(Version::V5, id).bytes()).expect("the broker reads");
            let mut first = [0; 4];
            stream.read_exact(&mut first).expect("a CONNACK");
            assert_eq!((first[0], first[3]), (0x20, 0));
            stream
        };
        let to_the_end = |stream: &mut ringmain_tests::tls::TlsStream| {
            // Not the harness's own reading: an end without close_notify is an error here.
            let mut rest = Vec::new();
            stream.stream.read_to_end(&mut rest).map(|_| rest)
        };
        let mut polite = connect("polite");
        polite.write_all(&disconnect(Version::V5, 0, &[])).expect("the broker reads");
        to_the_end(&mut polite).expect("close_notify");

        let mut closing = connect("closing");
        closing.stream.conn.send_close_notify();
        closing.stream.flush().expect("the broker reads");
        to_the_end(&mut closing).expect("close_notify");

        let mut stays = connect("stays");
        if tls == TLS13 {
            broker.terminate(ringmain_tests::DEADLINE);
            let said = to_the_end(&mut stays).expect("close_notify");
            assert!(said.ends_with(&[0xe0, 2, 0x8b, 0]) || said.ends_with(&[0xe0, 1, 0x8b]), "{said:02x?}");
        }
    }
}

/// Goal: a client that closes TLS without DISCONNECT has not said goodbye to MQTT: its will is published.
#[test]
fn an_end_without_disconnect_fires_the_will() {
    let (broker, address) = start(2, "");
    let mut watcher = Options::new(broker.tcp(), Version::V5, "watcher").connect_by(Transport::Tcp);
    watcher.subscribe("gone", 0);
    for (round, (tls, notify)) in [(TLS12, true), (TLS13, true), (TLS13, false)].into_iter().enumerate() {
        let mut stream = TlsClient::new(tls, None).connect(address).expect("a handshake");
        let mut connect = Connect::new(Version::V5, &format!("mortal-{round}"));
        connect.will = Some(Will::new("gone", "yes"));
        stream.write_all(&connect.bytes()).expect("the broker reads");
        let mut first = [0; 4];
        stream.read_exact(&mut first).expect("a CONNACK");
        if notify {
            stream.stream.conn.send_close_notify();
            stream.stream.flush().expect("the broker reads");
        } else {
            stream.socket().shutdown(Shutdown::Both).expect("it is open");
        }
        assert_eq!(watcher.message().text(), "yes");
    }
}

/// Goal: packets cut into records anywhere, many packets in one record, empty records between.
#[test]
fn records_cut_anywhere() {
    let (_broker, address) = start(2, "");
    for tls in [TLS12, TLS13] {
        for version in VERSIONS {
            let connect = Connect::new(version, "cut").bytes();
            let all = [&connect[..], &subscribe(version, 1, &[("cut", 0)], &[]), &PINGREQ].concat();
            for size in [1, 2, 7, all.len()] {
                let mut stream = TlsClient::new(tls, None).connect(address).expect("a handshake");
                for piece in all.chunks(size) {
                    stream.write_all(piece).and_then(|()| stream.flush()).expect("the broker reads");
                }
                let mut client = Client::over(Stream::Tls(Box::new(stream)), version);
                client.connack();
                client.wait_for(|packet| matches!(packet, ringmain_tests::Packet::Suback(..)).then_some(()));
                client.wait_for(|packet| (*packet == ringmain_tests::Packet::Pingresp).then_some(()));
                client.disconnect();
            }
        }
    }
}

/// Goal: a proxy's header comes in the clear before TLS, and the log tells the client's own address.
#[test]
fn a_proxy_header_comes_first() {
    let (broker, address) = start(2, "proxy_protocol = true\nproxy_trusted = [\"127.0.0.1\"]\n");
    for (id, whole) in [("whole", true), ("cut", false)] {
        let socket = std::net::TcpStream::connect(address).expect("the broker accepts");
        socket.set_read_timeout(Some(ringmain_tests::DEADLINE)).expect("a TCP socket");
        let header = b"PROXY TCP4 192.0.2.77 127.0.0.1 4711 8883\r\n";
        let client = TlsClient::new(BOTH, None);
        if whole {
            let (hello, _) = super::client_hello(&client);
            // What matters is that both come in one segment; this client goes no further.
            let both = [&header[..], &hello].concat();
            (&socket).write_all(&both).expect("the broker reads");
            let mut answer = [0; 5];
            (&socket).read_exact(&mut answer).expect("a ServerHello");
            assert_eq!(answer[0], 0x16, "a handshake record");
        }
        let socket = std::net::TcpStream::connect(address).expect("the broker accepts");
        socket.set_read_timeout(Some(ringmain_tests::DEADLINE)).expect("a TCP socket");
        super::drip(&socket, header);
        let mut stream = client.over(socket);
        stream.shake_hands().expect("a handshake");
        greeted(stream, Version::V5, id).ping();
        broker.process_log(&format!("client \"{id}\" from 192.0.2.77:4711"));
    }
}

/// Goal: WebSocket over TLS is WebSocket: pings of its own, and a close frame before close_notify.
#[test]
fn frames_over_tls() {
    let broker = Setup::shards(2).encrypted(Transport::Wss, "name = \"web\"").start();
    let address = broker.listening("wss, web");
    let Stream::Ws(mut web) = Transport::Wss.open(address) else { panic!("a WebSocket") };
    web.send_frame(0x82, &Connect::new(Version::V5, "web").bytes());
    assert_eq!(web.frame().map(|(first, payload)| (first, payload[0])), Some((0x82, 0x20)));
    web.send_frame(0x89, b"?");
    assert_eq!(web.frame(), Some((0x8a, b"?".to_vec())));
    web.send_frame(0x82, &PINGREQ);
    assert_eq!(web.frame(), Some((0x82, vec![0xd0, 0])));
    web.send_frame(0x82, &disconnect(Version::V5, 0, &[]));
    web.closed(1000);
}

/// Goal: no byte is lost or sent twice where many publish to many that read slowly, over records that leave in part.
#[test]
fn a_room_over_tls() {
    let (broker, address) = start(2, "send_buffer = 16384\n");
    let client = TlsClient::new(BOTH, None);
    let connect = |id: String| greeted(client.connect(address).expect("a handshake"), Version::V5, &id);
    let mut viewers: Vec<Client> = (0..8).map(|n| connect(format!("viewer-{n}"))).collect();
    for viewer in &mut viewers {
        viewer.subscribe("room/#", 0);
    }
    let mut host = connect("host".to_owned());
    const MESSAGES: usize = 200;
    for n in 0..MESSAGES {
        host.send_publish(&Publish::new("room/one", 0, format!("{n:0>2000}")));
    }
    for viewer in &mut viewers {
        for n in 0..MESSAGES {
            assert_eq!(viewer.message().text().trim_start_matches('0').parse().unwrap_or(0), n);
        }
    }
    assert!(counted(&broker, 2, "tls/handshakes_completed", 9) >= 9);
}

/// Goal: what the harness hides is not there: a read that ends without close_notify is an error of rustls.
#[test]
fn a_cut_is_an_error_here() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    let cut = std::thread::spawn(move || drop(listener.accept()));
    let error = TlsClient::new(BOTH, None).connect(address).expect_err("nobody answers");
    assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
    cut.join().expect("it ends");
}
