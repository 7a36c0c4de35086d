//! Connections of durable sessions go to their session's shard, in the middle of whatever was under way.

use std::io::Write;

use ringmain_tests::packet::{Connect, subscribe};
use ringmain_tests::property::Property;
use ringmain_tests::stream::Stream;
use ringmain_tests::{Client, Packet, Publish, TlsClient, Transport, Version, WebSocket};

use super::{BOTH, TLS12, TLS13, start};

/// Goal: CONNECT, SUBSCRIBE and PUBLISH in one go, with half a packet behind them, over both versions and transports: what
/// was read before the socket moved, the rest of a record, and the numbers of both directions arrive with it.
#[test]
fn in_the_middle_of_everything() {
    const SHARDS: u32 = 4;
    let setup = ringmain_tests::Setup::shards(SHARDS);
    let setup = setup.encrypted(Transport::Tls, "name = \"a\"").encrypted(Transport::Wss, "name = \"b\"");
    let broker = setup.start();
    let (tls, wss) = (broker.listening("tls, a"), broker.listening("wss, b"));
    for versions in [TLS12, TLS13] {
        for n in 0..24 {
            let web = n % 2 == 1;
            let mut connect = Connect::new(Version::V5, &format!("moves-{n}"));
            connect.clean = n < 8;
            connect.properties.push(Property::SessionExpiry(300));
            let topic = format!("moved/{n}");
            let publish = Publish { id: 7, ..Publish::new(&topic, 1, vec![n as u8; 20_000]) };
            let first =
                [&connect.bytes()[..], &subscribe(Version::V5, 1, &[(&topic, 1)], &[]), &publish.bytes(Version::V5)]
                    .concat();
            let client = TlsClient::new(versions, None);
            let stream = client.connect(if web { wss } else { tls }).expect("a handshake");
            let mut stream = match web {
                true => Stream::Ws(WebSocket::connect_over(ringmain_tests::stream::Carrier::Tls(Box::new(stream)))),
                false => Stream::Tls(Box::new(stream)),
            };
            let (now, later) = first.split_at(first.len() - 5_000);
            stream.write_all(now).and_then(|()| stream.flush()).expect("the broker reads");
            stream.write_all(later).and_then(|()| stream.flush()).expect("the broker reads");
            let mut client = Client::over(stream, Version::V5);
            client.connack();
            assert_eq!(client.code, 0);
            client.wait_for(|packet| matches!(packet, Packet::Suback(1, _)).then_some(()));
            client.wait_for(|packet| matches!(packet, Packet::Puback(7, _)).then_some(()));
            let message = client.message();
            assert_eq!((message.topic, message.payload), (topic, vec![n as u8; 20_000]));
            client.ping();
            client.disconnect();
        }
    }
}

/// Goal: clients that take each other's place, each from another shard perhaps, over TLS.
#[test]
fn taken_over() {
    let (_broker, address) = start(4, "");
    let client = TlsClient::new(BOTH, None);
    let mut before: Option<Client> = None;
    for _ in 0..20 {
        let mut connect = Connect::new(Version::V5, "the one");
        connect.clean = false;
        connect.properties.push(Property::SessionExpiry(300));
        let stream = client.connect(address).expect("a handshake");
        let mut next = Client::over(Stream::Tls(Box::new(stream)), Version::V5);
        next.send(&connect.bytes());
        next.connack();
        assert_eq!((next.code, next.session_present), (0, before.is_some()));
        if let Some(mut before) = before {
            before.dropped(&[0x8e]);
        }
        before = Some(next);
    }
}
