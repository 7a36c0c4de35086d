//! Versions, names, protocols, tickets.

use std::net::SocketAddr;

use ringmain_tests::authority::{self, Authority};
use ringmain_tests::process::Process;
use ringmain_tests::{DEADLINE, Setup, TlsClient, Transport, Version};

use super::{BOTH, TLS12, TLS13, counted, greeted, start};

/// What `openssl s_client` says with these arguments and this input.
fn openssl(address: SocketAddr, args: &[&str], input: &str) -> String {
    let call = format!("printf '{input}' | timeout 10 openssl s_client -connect {address} {} 2>&1", args.join(" "));
    Process::run("sh", &["-c", &call], DEADLINE).1
}

/// Goal: TLS 1.2 and 1.3 are spoken, 1.3 alone where that is asked for, and 1.0 and 1.1 never; what is refused is told by
/// an alert and in the log.
#[test]
fn versions() {
    for (keys, v12) in [("", true), ("min_tls_version = \"1.3\"\n", false)] {
        let (broker, address) = start(2, keys);
        let spoken = |versions| {
            TlsClient::new(versions, None).connect(address).map(|mut stream| {
                let version = stream.stream.conn.protocol_version();
                stream.shake_hands().map(|()| version)
            })
        };
        assert_eq!(spoken(TLS13).expect("1.3").expect("1.3"), Some(rustls::ProtocolVersion::TLSv1_3));
        match spoken(TLS12) {
            Ok(version) => assert_eq!((v12, version.expect("1.2")), (true, Some(rustls::ProtocolVersion::TLSv1_2))),
            Err(error) => assert!(!v12 && error.to_string().contains("ProtocolVersion"), "{error}"),
        }
        for old in ["-tls1", "-tls1_1"] {
            // Security level 0, or openssl itself refuses to try.
            let said = openssl(address, &[old, "-cipher", "DEFAULT@SECLEVEL=0"], "");
            let refused = said.contains("alert protocol version") || said.contains("alert handshake failure");
            assert!(refused && said.contains("Cipher is (NONE)"), "{old}: {said}");
        }
        broker.process_log("TLS: the client speaks no version that is allowed (alert: protocol version or the like)");
        counted(&broker, 2, "tls/failed_version", 2);
    }
}

/// Goal: no client can make a connection of TLS 1.2 shake hands again, which has been a way to make a server work
/// (RFC 5246, section 7.4.1.1).
#[test]
fn renegotiation_is_refused() {
    let (_broker, address) = start(1, "");
    let call = format!("(sleep 0.5; echo R; sleep 0.5) | timeout 10 openssl s_client -connect {address} -tls1_2 2>&1");
    let (_, said) = Process::run("sh", &["-c", &call], DEADLINE);
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

/// Goal: a client finds the certificate for the name that it asks for: an exact one, one of a wildcard, and the first
/// for a name that nobody has and for no name.
#[test]
fn names_pick_certificates() {
    let (authority, _) = authority::of_this_run();
    let first = authority.server("first", &["localhost", "first.example"]);
    let exact = authority.server("exact", &["exact.example"]);
    let wild = authority.server("wild", &["*.wild.example"]);
    let pairs = [&exact, &wild].map(|id| format!("{{ certificate = {:?}, key = {:?} }}", id.certificate, id.key));
    let keys = format!(
        "bind = \"127.0.0.1:0\"\ntransport = \"tls\"\nname = \"many\"\n{}certificates = [{}]\n",
        first.keys(),
        pairs.join(", ")
    );
    let broker = Setup::shards(2).listener(&keys).start();
    let address = broker.listening("tls, many");
    for (name, identity) in
        [("localhost", &first), ("exact.example", &exact), ("EXACT.example", &exact), ("a.wild.example", &wild)]
    {
        let stream = TlsClient::new(BOTH, None).asking_for(name).connect(address).expect(name);
        let shown = &stream.stream.conn.peer_certificates().expect("a certificate")[0];
        assert_eq!(*shown, identity.der().0[0], "{name}");
    }
    // These are shown the first, which is not theirs.
    for name in ["other.example", "a.b.wild.example", "wild.example"] {
        let error = TlsClient::new(BOTH, None).asking_for(name).connect(address).expect_err(name);
        assert!(error.to_string().contains("first.example"), "{name}: {error}");
    }
    let said = openssl(address, &["-noservername"], "");
    assert!(said.contains("CN = first"), "{said}");
}

/// Goal: who names protocols (ALPN) finds MQTT, or HTTP/1.1 for WebSocket, and is refused where it wants neither; who
/// names none is served.
#[test]
fn protocols() {
    let setup = Setup::shards(2).encrypted(Transport::Tls, "name = \"a\"").encrypted(Transport::Wss, "name = \"b\"");
    let broker = setup.start();
    let (tls, wss) = (broker.listening("tls, a"), broker.listening("wss, b"));
    for (address, offered, chosen) in [
        (tls, &["mqtt"][..], Some("mqtt")),
        (tls, &["h2", "mqtt"], Some("mqtt")),
        (tls, &[], None),
        (wss, &["h2", "http/1.1"], Some("http/1.1")),
        (wss, &[], None),
    ] {
        let stream = TlsClient::new(BOTH, None).speaking(offered).connect(address).expect("a handshake");
        assert_eq!(stream.stream.conn.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
    }
    for (address, offered) in [(tls, "http/1.1"), (wss, "mqtt")] {
        let error = TlsClient::new(BOTH, None).speaking(&[offered]).connect(address).expect_err("no protocol");
        assert!(error.to_string().contains("NoApplicationProtocol"), "{offered}: {error}");
    }
    broker.process_log("TLS: the client wants another protocol (alert: no application protocol)");
}

/// Goal: a ticket of one shard is good on every other one, in both versions, and no data can be sent before the handshake.
#[test]
fn tickets_are_good_everywhere() {
    const SHARDS: u32 = 4;
    const CONNECTIONS: usize = 32;
    let (broker, address) = start(SHARDS, "");
    for (tls, id) in [(TLS12, "old"), (TLS13, "new")] {
        let mut client = TlsClient::new(tls, None);
        std::sync::Arc::make_mut(&mut client.config).enable_early_data = true;
        greeted(client.connect(address).expect("a handshake"), Version::V5, id).disconnect();
        for n in 0..CONNECTIONS {
            let mut stream = client.begin(address);
            assert!(stream.stream.conn.early_data().is_none(), "nobody is promised that it comes once");
            stream.shake_hands().expect("a handshake");
            assert_eq!(stream.stream.conn.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "connection {n}");
            // The next ticket comes behind the handshake.
            greeted(stream, Version::V5, id).disconnect();
        }
    }
    assert_eq!(counted(&broker, SHARDS, "tls/handshakes_resumed", 2 * CONNECTIONS as u64), 2 * CONNECTIONS as u64);
}

/// Goal: a client that does not know our authority refuses us, and the log tells that this is why.
#[test]
fn clients_refuse_who_they_do_not_know() {
    let (broker, address) = start(2, "");
    let stranger = Authority::new("stranger");
    let error = TlsClient::trusting(&stranger.file, BOTH, None).connect(address).expect_err("an unknown authority");
    assert!(error.to_string().contains("UnknownIssuer") || error.to_string().contains("BadSignature"), "{error}");
    broker.process_log("TLS: the client does not");
    counted(&broker, 2, "tls/failed_alert", 1);
}

/// Goal: 200 clients at once all get their connection: what exceeds a turn's share of handshakes waits and is not lost.
#[test]
fn many_at_once() {
    let (broker, address) = start(2, "");
    let client = TlsClient::new(BOTH, None);
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let client = client.clone();
            std::thread::spawn(move || {
                let streams: Vec<_> = (0..25).map(|_| client.begin(address)).collect();
                for (n, mut stream) in streams.into_iter().enumerate() {
                    stream.shake_hands().expect("a handshake");
                    greeted(stream, Version::V5, &format!("{thread}-{n}")).ping();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("all are served"));
    counted(&broker, 2, "tls/handshakes_completed", 200);
}
