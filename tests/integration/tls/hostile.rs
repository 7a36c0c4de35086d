//! Bytes that are no handshake, or not all of one. A broker that serves others meanwhile must be there afterwards.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use ringmain_tests::packet::Connect;
use ringmain_tests::{Client, DEADLINE, TlsClient, Version};

use super::{BOTH, TLS12, TLS13, client_hello, counted, drip, greeted, start};

fn tcp(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("the broker accepts");
    socket.set_read_timeout(Some(DEADLINE)).expect("a TCP socket");
    socket
}

/// All that comes until the end.
fn answer(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it stays open: {error}"),
        _ => bytes,
    }
}

/// A client that is served all the while.
fn witness(address: SocketAddr) -> Client {
    greeted(TlsClient::new(BOTH, None).connect(address).expect("a handshake"), Version::V5, "witness")
}

/// Goal: plain MQTT on a port of TLS is answered with an alert, closed, and explained in the log.
#[test]
fn plain_mqtt() {
    let (broker, address) = start(2, "");
    let mut witness = witness(address);
    for version in super::VERSIONS {
        let socket = tcp(address);
        (&socket).write_all(&Connect::new(version, "plain").bytes()).expect("the broker reads");
        let said = answer(&socket);
        assert!(said.first() == Some(&0x15) && said.len() == 7, "an alert: {said:02x?}");
    }
    broker.process_log("TLS: what came is no TLS; does the client speak plain MQTT?");
    counted(&broker, 2, "tls/failed_not_tls", 2);
    witness.ping();
}

/// Goal: garbage, records of lengths that no record may have, and records that are none, end their connection and
/// nothing else.
#[test]
fn garbage() {
    let (broker, address) = start(2, "");
    let mut witness = witness(address);
    let mut random = fastrand::Rng::with_seed(7);
    let mut hostile: Vec<Vec<u8>> = vec![
        vec![0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0],
        vec![0x16, 3, 1, 0x48, 0x01],
        vec![0x16, 3, 1, 0, 0],
        vec![0x17, 3, 3, 0, 1, 0],
        vec![0x14, 3, 3, 0, 1, 1, 0x14, 3, 3, 0, 1, 1],
        vec![0x15, 3, 3, 0, 2, 2, 40],
        // A handshake message of 16 MiB.
        vec![0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
        vec![0; 5],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        // SSL 2.0's ClientHello.
        vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10],
    ];
    for _ in 0..50 {
        hostile.push((0..random.usize(1..2000)).map(|_| random.u8(..)).collect());
    }
    for bytes in &hostile {
        let socket = tcp(address);
        // It may be closed before the last byte.
        let _ = (&socket).write_all(bytes);
        let _ = socket.shutdown(Shutdown::Write);
        let said = answer(&socket);
        assert!(said.is_empty() || said[0] == 0x15, "an alert or nothing: {bytes:02x?} {said:02x?}");
        witness.ping();
    }
    counted(&broker, 2, "tls/handshakes_failed", hostile.len() as u64);
}

/// Goal: a handshake that ends after any of its bytes is no more than a connection that closed: the ClientHello in both
/// versions, and the client's second flight.
#[test]
fn truncated_anywhere() {
    let (broker, address) = start(2, "");
    let mut witness = witness(address);
    let mut ended = 0;
    for tls in [TLS12, TLS13] {
        let (hello, _) = client_hello(&TlsClient::new(tls, None));
        for len in 0..hello.len() {
            let socket = tcp(address);
            (&socket).write_all(&hello[..len]).expect("the broker reads");
            socket.shutdown(Shutdown::Write).expect("it is open");
            assert!(answer(&socket).is_empty(), "{len} bytes");
            ended += 1;
        }
        witness.ping();
        for cut in 0.. {
            let socket = tcp(address);
            let (hello, mut client) = client_hello(&TlsClient::new(tls, None));
            (&socket).write_all(&hello).expect("the broker reads");
            let mut second = Vec::new();
            while second.is_empty() && client.is_handshaking() {
                client.read_tls(&mut &socket).expect("the broker answers");
                client.process_new_packets().expect("a good answer");
                while client.wants_write() {
                    client.write_tls(&mut second).expect("memory takes bytes");
                }
            }
            if cut >= second.len() {
                break;
            }
            (&socket).write_all(&second[..cut]).expect("the broker reads");
            socket.shutdown(Shutdown::Write).expect("it is open");
            answer(&socket);
            ended += 1;
        }
        witness.ping();
    }
    counted(&broker, 2, "tls/failed_closed", ended);
}

/// Goal: a bit that was changed on the way is noticed, in the handshake and after it, and ends the connection.
#[test]
fn changed_on_the_way() {
    let (_broker, address) = start(2, "");
    let mut witness = witness(address);
    for tls in [TLS12, TLS13] {
        let mut stream = TlsClient::new(tls, None).connect(address).expect("a handshake");
        let mut sealed = Vec::new();
        let conn = &mut stream.stream.conn;
        conn.writer().write_all(&Connect::new(Version::V5, "changed").bytes()).expect("memory takes bytes");
        while conn.wants_write() {
            conn.write_tls(&mut sealed).expect("memory takes bytes");
        }
        *sealed.last_mut().expect("a record") ^= 1;
        stream.socket().write_all(&sealed).expect("the broker reads");
        let mut byte = [0];
        let error = stream.stream.read(&mut byte).expect_err("an alert");
        assert!(error.to_string().contains("BadRecordMac") || error.to_string().contains("Decrypt"), "{error}");
        witness.ping();
    }
}

/// Goal: a ClientHello, and all that follows, a byte at a time.
#[test]
fn a_byte_at_a_time() {
    let (_broker, address) = start(2, "");
    for tls in [TLS12, TLS13] {
        let socket = tcp(address);
        socket.set_nodelay(true).expect("a TCP socket");
        let (hello, mut client) = client_hello(&TlsClient::new(tls, None));
        drip(&socket, &hello);
        let mut plain = Vec::new();
        client.writer().write_all(&Connect::new(Version::V5, "drips").bytes()).expect("memory takes bytes");
        while plain.is_empty() {
            client.read_tls(&mut &socket).expect("the broker answers");
            let state = client.process_new_packets().expect("a good answer");
            if state.plaintext_bytes_to_read() > 0 {
                plain.resize(state.plaintext_bytes_to_read(), 0);
                client.reader().read_exact(&mut plain).expect("it is there");
            }
            let mut next = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut next).expect("memory takes bytes");
            }
            drip(&socket, &next);
        }
        assert_eq!((plain[0], plain[3]), (0x20, 0));
    }
}

/// A record of TLS 1.3 with this content and type, sealed with a client's key (RFC 8446, section 5.2).
fn record(secrets: &rustls::ConnectionTrafficSecrets, number: u64, content: &[u8], kind: u8) -> Vec<u8> {
    use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let (algorithm, key, iv) = match secrets {
        rustls::ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
        rustls::ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
        _ => panic!("the first suite of both sides is AES-GCM"),
    };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).expect("a key"));
    let mut nonce: [u8; 12] = iv.as_ref().try_into().expect("twelve bytes");
    nonce.iter_mut().rev().zip(number.to_le_bytes()).for_each(|(byte, of)| *byte ^= of);
    let mut sealed = [content, &[kind]].concat();
    let len = (sealed.len() + 16) as u16;
    let header = [&[23, 3, 3][..], &len.to_be_bytes()].concat();
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut sealed).expect("a record");
    [header, sealed].concat()
}

/// Goal: a client that sends half of a message of the handshake, when the handshake is over, and no more of it, is sent
/// what is published meanwhile, and ends nothing but itself. (rustls keeps the place of such a half in its input, and
/// indexes beyond an input that does not have it.)
#[test]
fn half_a_message_of_the_handshake() {
    let (_broker, address) = start(2, "");
    let mut witness = witness(address);
    let mut client = TlsClient::new(TLS13, None);
    std::sync::Arc::make_mut(&mut client.config).enable_secret_extraction = true;
    for (round, rest) in [&[0_u8][..], &[7], &[]].into_iter().enumerate() {
        let topic = format!("half/{round}");
        let mut stream = client.connect(address).expect("a handshake");
        let connect = Connect::new(Version::V5, &topic).bytes();
        let subscribe = ringmain_tests::packet::subscribe(Version::V5, 1, &[(&topic, 0)], &[]);
        stream.write_all(&[connect, subscribe].concat()).expect("the broker reads");
        // CONNACK and SUBACK, which tells that it has five bytes and one code behind them.
        let mut said = Vec::new();
        while !said.windows(2).any(|window| window == [0x90, 4]) {
            let mut bytes = [0; 512];
            let len = stream.read(&mut bytes).expect("answers");
            said.extend_from_slice(&bytes[..len]);
        }
        let (conn, mut socket) = (stream.stream.conn, stream.stream.sock);
        let (number, secrets) = conn.dangerous_extract_secrets().expect("it was enabled").tx;
        // KeyUpdate, whose one byte is missing.
        socket.write_all(&record(&secrets, number, &[24, 0, 0, 1], 22)).expect("the broker reads");
        for _ in 0..3 {
            witness.publish(&topic, 1, b"meanwhile");
            let mut header = [0; 5];
            socket.read_exact(&mut header).expect("a record");
            let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
            socket.read_exact(&mut body).expect("a record");
        }
        if !rest.is_empty() {
            socket.write_all(&record(&secrets, number + 1, rest, 22)).expect("the broker reads");
        }
        witness.publish(&topic, 1, b"afterwards");
        drop(socket);
        witness.ping();
    }
}

/// Goal: who begins a handshake and does not go on, or shakes hands and sends no CONNECT, is closed when its time is
/// over; the time is the same for all of it.
#[test]
fn slow_handshakes_end() {
    let setup =
        ringmain_tests::Setup::shards(2).toml("[limits]\nconnect_timeout = \"300ms\"\n[sys]\ninterval = \"1s\"");
    let broker = setup.encrypted(ringmain_tests::Transport::Tls, "name = \"sealed\"").start();
    let address = broker.listening("tls, sealed");
    let (hello, _) = client_hello(&TlsClient::new(BOTH, None));
    let silent = tcp(address);
    let half = tcp(address);
    (&half).write_all(&hello[..hello.len() / 2]).expect("the broker reads");
    let answered = tcp(address);
    (&answered).write_all(&hello).expect("the broker reads");
    let mut idle = TlsClient::new(BOTH, None).connect(address).expect("a handshake");
    assert!(answer(&silent).is_empty());
    assert!(answer(&half).is_empty());
    assert!(!answer(&answered).is_empty());
    let mut rest = Vec::new();
    idle.stream.read_to_end(&mut rest).expect("it is told that nothing follows");
    assert!(rest.is_empty());
    counted(&broker, 2, "tls/failed_timeout", 3);
}
