//! MQTT over WebSocket: the handshake, frames of every shape, both ways to close, and that a client cannot tell what
//! lies below its packets.

mod autobahn;
mod proxied;

use std::io::Write;
use std::time::Duration;

use ringmain_tests::packet::{Connect, PINGREQ, Will, disconnect, subscribe};
use ringmain_tests::websocket::{ACCEPT, frame, request};
use ringmain_tests::{Broker, Client, DEADLINE, Packet, Publish, Setup, Transport, Version, WebSocket};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];
const PINGRESP: [u8; 2] = [0xd0, 0];

/// A broker with a listener for WebSocket, and where that is.
fn start(shards: u32, keys: &str) -> (Broker, std::net::SocketAddr) {
    let broker = Setup::shards(shards).ws(keys).start();
    let address = broker.listening("ws");
    (broker, address)
}

/// A WebSocket client that has its CONNACK.
fn connected(address: std::net::SocketAddr, version: Version, client_id: &str) -> WebSocket {
    let mut web = WebSocket::connect(address);
    web.send_frame(0x82, &Connect::new(version, client_id).bytes());
    let (first, payload) = web.frame().expect("a CONNACK");
    assert_eq!((first, payload[0], payload[3]), (0x82, 0x20, 0));
    web
}

/// Sees that the MQTT stream is in order: a PINGREQ comes back.
fn alive(web: &mut WebSocket) {
    web.send_frame(0x82, &PINGREQ);
    assert_eq!(web.frame(), Some((0x82, PINGRESP.to_vec())));
}

/// Goal: a subscriber gets the same over WebSocket as over TCP, from one feed or from its own queue, at every length at
/// which a frame's header grows.
#[test]
fn subscribers_get_the_same() {
    let broker = Setup::shards(2).ws("").start();
    let web = broker.listening("ws");
    for version in VERSIONS {
        for qos in [0, 1, 2] {
            let name = |who: &str| format!("{who}-{version:?}-{qos}");
            let topic = format!("t/{version:?}/{qos}");
            let clients = ["a", "b", "c"].map(|who| broker.client(version, &name(who)));
            let over_web = |who: &str| {
                let mut client = Client::over(Transport::Ws.open(web), version);
                client.send(&Connect::new(version, &name(who)).bytes());
                client.connack();
                client
            };
            let mut subscribers: Vec<Client> = clients.iter().map(ringmain_tests::Options::connect).collect();
            subscribers.extend(["d", "e", "f"].map(over_web));
            let publisher = over_web("publisher");
            let lens = [0, 100, 117, 118, 119, 120, 126, 130, 65_520, 65_535, 65_536, 300_000];
            all_arrive(publisher, &mut subscribers, &topic, qos, &lens);
        }
    }
}

/// Messages of each of these lengths reach all of these, who subscribe first.
pub fn all_arrive(mut publisher: Client, subscribers: &mut [Client], topic: &str, qos: u8, lens: &[usize]) {
    for subscriber in &mut *subscribers {
        assert_eq!(subscriber.subscribe(topic, qos), qos);
    }
    for len in lens {
        publisher.publish(topic, qos, vec![7; *len]);
        for subscriber in &mut *subscribers {
            let message = subscriber.message();
            assert_eq!((message.payload.len(), message.qos), (*len, qos));
        }
    }
    publisher.disconnect();
}

/// Goal: how a client cuts its stream into frames, and frames into segments, means nothing (mosquitto#3704,
/// ngx-mqtt#232, MQTT.js#1767: the first frame had one byte).
#[test]
fn frames_cut_anywhere() {
    let (_broker, address) = start(2, "");
    for version in VERSIONS {
        let connect = Connect::new(version, &format!("cut-{version:?}")).bytes();
        let all = [&connect[..], &subscribe(version, 1, &[("cut", 0)], &[]), &PINGREQ].concat();
        for size in [1, 2, 3, 7, all.len()] {
            let mut web = WebSocket::connect(address);
            for piece in all.chunks(size) {
                web.send_frame(0x82, piece);
                web.send_frame(0x82, &[]);
            }
            // SUBACK waits for the owners of its filters, PINGRESP does not.
            let mut seen: Vec<_> = (0..3).map(|_| web.frame().expect("an answer")).collect();
            seen.sort_by_key(|(_, payload)| payload[0]);
            let seen: Vec<_> = seen.iter().map(|(first, payload)| (*first, payload[0])).collect();
            assert_eq!(seen, [(0x82, 0x20), (0x82, 0x90), (0x82, 0xd0)], "pieces of {size}");
        }
        // One message in fragments with a ping between each, all of it a byte at a time.
        let mut web = WebSocket::connect(address);
        let mut bytes = Vec::new();
        for (index, piece) in all.chunks(5).enumerate() {
            bytes.extend(frame(if index == 0 { 0x02 } else { 0x00 }, piece, [1, 2, 3, 4]));
            bytes.extend(frame(0x89, b"?", [5, 6, 7, 8]));
        }
        bytes.extend(frame(0x80, &[], [0; 4]));
        bytes.chunks(1).for_each(|byte| web.send_raw(byte));
        let (mut pongs, mut packets) = (0, Vec::new());
        while packets.len() < 3 || pongs < all.chunks(5).len() {
            match web.frame().expect("an answer") {
                (0x8a, payload) => {
                    assert_eq!(payload, b"?");
                    pongs += 1;
                }
                (first, payload) => packets.push((first, payload[0])),
            }
        }
        packets.sort_unstable();
        assert_eq!(packets, [(0x82, 0x20), (0x82, 0x90), (0x82, 0xd0)]);
    }
}

/// Goal: a handshake and the first frames in one segment, as eager clients send them.
#[test]
fn nobody_need_wait_for_the_answer() {
    let (_broker, address) = start(5, "");
    for number in 0..40 {
        // Durable ones move to their home with what is unread, and with the answer that has not left.
        let mut connect = Connect::new(Version::V311, &format!("eager-{number}"));
        connect.clean = number % 2 == 0;
        let mut web = WebSocket::open(address);
        let key = [9, 8, 7, 6];
        let bytes = [
            request("/mqtt", "mqtt", "").into_bytes(),
            frame(0x82, &connect.bytes(), key),
            frame(0x89, b"a", key),
            frame(0x82, &PINGREQ, key),
        ];
        web.send_raw(&bytes.concat());
        assert!(web.answer().contains(ACCEPT));
        let mut seen: Vec<u8> = (0..3).map(|_| web.frame().expect("an answer").1[0]).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0x20, b'a', 0xd0]);
    }
}

/// Goal: a socket that goes to another shard takes the decoder along, in the middle of a frame, its key and its fragments.
#[test]
fn frames_go_on_at_home() {
    let (_broker, address) = start(5, "");
    for number in 0..40 {
        let mut connect = Connect::new(Version::V5, &format!("home-{number}"));
        (connect.clean, connect.properties) = (false, vec![ringmain_tests::Property::SessionExpiry(60)]);
        let packets = [connect.bytes(), PINGREQ.to_vec(), PINGREQ.to_vec()].concat();
        let cut = connect.bytes().len() + 1;
        let first = frame(0x02, &packets, [number, 2, 3, 4]);
        let head = first.len() - packets.len() + cut;
        let mut web = WebSocket::connect(address);
        web.send_raw(&first[..head]);
        assert_eq!(web.frame().map(|(_, payload)| payload[0]), Some(0x20));
        web.send_raw(&first[head..]);
        web.send_frame(0x80, &PINGREQ);
        for _ in 0..3 {
            assert_eq!(web.frame(), Some((0x82, PINGRESP.to_vec())));
        }
    }
}

/// Goal: a Remaining Length beyond the end of its frame is waited for, not read (NanoMQ CVE-2026-25627).
#[test]
fn lengths_beyond_a_frame() {
    let (_broker, address) = start(1, "");
    let mut web = connected(address, Version::V311, "beyond");
    let packet = Publish::new("t", 0, [1; 500]).bytes(Version::V311);
    web.send_frame(0x82, &packet[..4]);
    web.send_frame(0x89, b"still there?");
    assert_eq!(web.frame(), Some((0x8a, b"still there?".to_vec())));
    web.send_frame(0x82, &packet[4..]);
    alive(&mut web);
}

/// Goal: no compression is agreed on, whatever is offered, so nothing can be inflated (autobahn#1909).
#[test]
fn compression_is_not_negotiated() {
    let (_broker, address) = start(1, "");
    let mut web = WebSocket::open(address);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame\r\n";
    web.send_raw(request("/mqtt", "mqtt", offer).as_bytes());
    let answer = web.answer();
    assert!(answer.starts_with("HTTP/1.1 101 ") && !answer.to_lowercase().contains("extensions"), "{answer}");
    web.send_frame(0xc2, &[0; 8]);
    web.closed(1002);
}

/// Goal: the first subprotocol that means MQTT is echoed, and who offers none is told what to offer (VerneMQ#1149,
/// MQTT.js#408).
#[test]
fn subprotocols() {
    let (_broker, address) = start(1, "");
    for (offered, chosen) in [
        ("mqtt", Some("mqtt")),
        ("mqttv3.1", Some("mqttv3.1")),
        ("mqttv3.1, mqtt", Some("mqttv3.1")),
        ("soap,mqtt", Some("mqtt")),
        ("soap", None),
        ("MQTT", None),
    ] {
        let mut web = WebSocket::open(address);
        web.send_raw(request("/mqtt", offered, "").as_bytes());
        let answer = web.answer();
        match chosen {
            Some(chosen) => {
                assert!(answer.contains(&format!("\r\nSec-WebSocket-Protocol: {chosen}\r\n")), "{offered}: {answer}");
            }
            None => assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("`mqtt` is wanted"), "{answer}"),
        }
    }
}

/// Goal: requests that cannot be granted get an answer of HTTP that says why, and the log says it too.
#[test]
fn requests_are_refused_with_a_reason() {
    let keys = "path = \"/live\"\nallowed_origins = [\"https://app.example\"]\nmax_header_size = \"512B\"";
    let (broker, address) = start(1, keys);
    let good = request("/live", "mqtt", "Origin: https://app.example\r\n");
    for (request, status) in [
        (good.clone(), "101"),
        (good.replace("/live", "/live?room=7"), "101"),
        (good.replace("Origin: https://app.example\r\n", ""), "101"),
        (good.replace("app.example", "evil.example"), "403"),
        (good.replace("/live", "/mqtt"), "404"),
        (good.replace("GET", "POST"), "405"),
        (good.replace("Version: 13", "Version: 7"), "426"),
        (good.replace("Upgrade: websocket\r\n", ""), "426"),
        (good.replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "y".repeat(512))), "431"),
        (String::from_utf8(Connect::new(Version::V311, "a").bytes()).expect("ASCII"), "400"),
        ("\x16\x03\x01\x02\0\x01".to_owned(), "400"),
    ] {
        let mut web = WebSocket::open(address);
        web.send_raw(request.as_bytes());
        let answer = web.answer();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    for said in ["this origin is not allowed", "no MQTT at this path", "only version 13"] {
        broker.process_log(said);
    }
}

/// Goal: who shakes hands slowly has the time for CONNECT and no more.
#[test]
fn slow_handshakes_end() {
    let broker = Setup::shards(1).toml("[limits]\nconnect_timeout = \"300ms\"").ws("").start();
    let address = broker.listening("ws");
    let mut silent = WebSocket::open(address);
    let mut half = WebSocket::open(address);
    half.send_raw(b"GET /mqtt HTTP/1.1\r\nHost: ");
    let mut upgraded = WebSocket::connect(address);
    upgraded.send_frame(0x82, &Connect::new(Version::V311, "slow").bytes()[..5]);
    assert_eq!(silent.frame(), None);
    assert_eq!(half.frame(), None);
    upgraded.closed(1008);
}

/// Goal: both sides can close, each with the code that fits, and the will knows who closed and how.
#[test]
fn closing() {
    let (mut broker, address) = start(2, "");
    let mut watcher = broker.client(Version::V5, "watcher").connect();
    watcher.subscribe("will/#", 0);
    let will = |name: &str, end: &dyn Fn(&mut WebSocket)| {
        let mut connect = Connect::new(Version::V5, name);
        connect.will = Some(Will::new(&format!("will/{name}"), "gone"));
        let mut web = WebSocket::connect(address);
        web.send_frame(0x82, &connect.bytes());
        web.frame().expect("a CONNACK");
        end(&mut web);
        web
    };
    // DISCONNECT: no will, 1000.
    will("said", &|web| web.send_frame(0x82, &disconnect(Version::V5, 0, &[]))).closed(1000);
    // A close frame without DISCONNECT: the will; code and emptiness are answered as they came.
    will("code", &|web| web.send_frame(0x88, &1001u16.to_be_bytes())).closed(1001);
    let mut bare = will("bare", &|web| web.send_frame(0x88, &[]));
    assert_eq!((bare.frame(), bare.frame()), (Some((0x88, vec![])), None));
    // DISCONNECT and the close frame at once, as MQTT.js sends them.
    let bytes = [frame(0x82, &disconnect(Version::V5, 0, &[]), [1; 4]), frame(0x88, &1000u16.to_be_bytes(), [2; 4])];
    will("both", &|web| web.send_raw(&bytes.concat())).closed(1000);
    // A malformed packet: DISCONNECT says it in MQTT, then the close frame.
    let mut bad = will("bad", &|web| web.send_frame(0x82, &[0x00, 0x00]));
    assert_eq!(bad.frame().map(|(first, payload)| (first, payload[..1].to_vec())), Some((0x82, vec![0xe0])));
    bad.closed(1002);
    // The connection is lost.
    drop(will("lost", &|_| {}));
    let mut wills: Vec<String> = (0..4).map(|_| watcher.message().topic).collect();
    wills.sort();
    assert_eq!(wills, ["will/bad", "will/bare", "will/code", "will/lost"]);
    // Taken over.
    let mut first = connected(address, Version::V311, "twice");
    let second = connected(address, Version::V311, "twice");
    first.closed(1008);
    // The switch stops.
    assert!(broker.terminate(DEADLINE).success());
    let mut second = second;
    second.closed(1001);
}

/// Goal: pings are answered however many come, and who asks without reading is not read either: memory stays bounded, and
/// all comes once it reads.
#[test]
fn pings_without_end() {
    let broker = Setup::shards(1).toml("[limits]\nmax_outbox_bytes = \"4KiB\"").ws("send_buffer = \"4KiB\"").start();
    let mut web = connected(broker.listening("ws"), Version::V311, "pings");
    let pings: Vec<u8> = (0..4000).flat_map(|_| frame(0x89, &[b'p'; 125], [3; 4])).collect();
    let mut writer = web.socket().try_clone().expect("a descriptor");
    let sender = std::thread::spawn(move || writer.write_all(&pings));
    let before = broker.anonymous_bytes();
    for _ in 0..4000 {
        assert_eq!(web.frame(), Some((0x8a, vec![b'p'; 125])));
    }
    sender.join().expect("no panic").expect("all was taken");
    assert!(broker.anonymous_bytes() < before + (4 << 20));
    alive(&mut web);
}

/// Goal: pings of the WebSocket are no packets of MQTT: they do not put off the keep alive ([MQTT-3.1.2-22]).
#[test]
fn pings_keep_nobody_alive() {
    let (_broker, address) = start(1, "");
    let mut connect = Connect::new(Version::V311, "asleep");
    connect.keep_alive = 1;
    let mut web = WebSocket::connect(address);
    web.send_frame(0x82, &connect.bytes());
    web.frame().expect("a CONNACK");
    loop {
        web.send_frame(0x89, b"");
        match web.frame() {
            // Often within the keep alive, and not as fast as it goes.
            Some((0x8a, _)) => std::thread::sleep(Duration::from_millis(50)),
            Some((0x88, payload)) => break assert_eq!(payload, 1008u16.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
}

/// Goal: a subscriber that does not read loses whole messages and never half a frame: what it gets later is in order.
#[test]
fn slow_readers_get_whole_frames() {
    let broker = Setup::shards(1).ws("send_buffer = \"4KiB\"").start();
    let mut web = connected(broker.listening("ws"), Version::V311, "slow");
    web.send_frame(0x82, &subscribe(Version::V311, 1, &[("firehose", 0)], &[]));
    web.frame().expect("a SUBACK");
    let mut publisher = broker.client(Version::V311, "publisher").connect();
    for number in 0..3000u32 {
        let payload = [&number.to_be_bytes()[..], &vec![7; (number % 5000) as usize]].concat();
        publisher.send_publish(&Publish::new("firehose", 0, payload));
        if number % 100 == 0 {
            publisher.ping();
        }
    }
    publisher.publish("firehose", 1, "end");
    let mut last = None;
    loop {
        let (first, payload) = web.frame().expect("a message");
        assert_eq!(first, 0x82);
        match Packet::read(&payload, Version::V311) {
            Some((Packet::Publish(message), len)) => {
                assert_eq!(len, payload.len(), "one packet in one frame");
                if message.payload == b"end" {
                    break;
                }
                let number = u32::from_be_bytes(message.payload[..4].try_into().expect("four bytes"));
                assert!(last.is_none_or(|last| last < number) && message.payload.len() == 4 + (number % 5000) as usize);
                last = Some(number);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Goal: a listener takes as many connections as it may, whichever shards they come to.
#[test]
fn listeners_have_limits() {
    let (broker, address) = start(3, "max_connections = 2");
    let mut first = connected(address, Version::V311, "first");
    let second = connected(address, Version::V311, "second");
    // Either it waits in the backlog or it is closed: it is not served.
    let mut third = WebSocket::open(address);
    third.send_raw(request("/mqtt", "mqtt", "").as_bytes());
    third.socket().set_read_timeout(Some(Duration::from_millis(200))).expect("a TCP socket");
    let mut byte = [0];
    assert!(!matches!(std::io::Read::read(&mut third.socket(), &mut byte), Ok(1)));
    alive(&mut first);
    drop((second, third));
    // The other listener has no such limit.
    broker.client(Version::V311, "plain").connect().ping();
    // Places come back; a connection that was in the backlog may be served first and closed.
    let again = (0..100).find_map(|_| {
        let mut web = WebSocket::open(address);
        web.send_raw(request("/mqtt", "mqtt", "").as_bytes());
        let mut byte = [0];
        let served = matches!(web.socket().peek(&mut byte), Ok(1));
        // Who finds no place is told nothing but that: it comes again.
        (!served).then(|| std::thread::sleep(Duration::from_millis(20)));
        served.then_some(web)
    });
    assert!(again.is_some(), "no place came back");
}
