//! Requests that are granted, and each reason for which one is not.

use alloc::string::ToString;
use alloc::vec;

use super::*;

const RULES: Rules<'static> = Rules { path: "/mqtt", origins: &[], request_bytes_max: 1024 };

/// A good request, changed.
fn request(change: impl Fn(&str) -> String) -> Vec<u8> {
    let good = "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://app.example\r\n\
                Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";
    change(good).into_bytes()
}

fn refused(bytes: &[u8], rules: &Rules<'_>) -> Refusal {
    read_request(bytes, 0, rules).expect_err("it must be refused")
}

fn answer(refusal: Refusal) -> String {
    let mut out = Vec::new();
    refusal.respond(&mut out);
    String::from_utf8(out).expect("text")
}

/// The example of RFC 6455, section 1.3, is answered as it stands there.
#[test]
fn the_example_of_the_rfc() {
    let mut bytes = request(str::to_string);
    let len = bytes.len();
    bytes.extend_from_slice(&[0x82, 0x80]);
    let upgrade = read_request(&bytes, 0, &RULES).expect("good").expect("whole");
    assert_eq!((upgrade.len, upgrade.subprotocol), (len, Subprotocol::Mqtt));
    let mut out = Vec::new();
    upgrade.respond(&mut out);
    let text = String::from_utf8(out).expect("text");
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
    assert!(text.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    assert!(!text.contains("Extensions"), "{text}");
}

/// Any prefix of a good request waits for more, however it comes.
#[test]
fn requests_come_in_pieces() {
    let bytes = request(str::to_string);
    for cut in 0..bytes.len() {
        assert_eq!(read_request(&bytes[..cut], 0, &RULES), Ok(None), "{cut}");
        assert!(read_request(&bytes, cut, &RULES).expect("good").is_some(), "{cut}");
    }
}

/// The first subprotocol of the client's list that means MQTT is chosen, exactly as it is written. Lists crashed a
/// handler elsewhere (VerneMQ#1149), and what was echoed did not match (MQTT.js#408).
#[test]
fn subprotocols_are_lists() {
    for (offered, chosen) in [
        ("mqtt", Some(Subprotocol::Mqtt)),
        ("mqttv3.1", Some(Subprotocol::MqttV31)),
        ("mqtt, mqttv3.1", Some(Subprotocol::Mqtt)),
        ("mqttv3.1,mqtt", Some(Subprotocol::MqttV31)),
        ("graphql-ws , mqtt", Some(Subprotocol::Mqtt)),
        (",, mqtt,", Some(Subprotocol::Mqtt)),
        ("wamp\r\nSec-WebSocket-Protocol: mqtt", Some(Subprotocol::Mqtt)),
        ("mqtt5", None),
        ("MQTT", None),
        ("", None),
    ] {
        let bytes = request(|good| good.replace("Protocol: mqtt", &format!("Protocol: {offered}")));
        let found = read_request(&bytes, 0, &RULES).map(|upgrade| upgrade.expect("whole").subprotocol);
        assert_eq!(found, chosen.ok_or(Refusal::Subprotocol), "{offered:?}");
    }
    let none = request(|good| good.replace("Sec-WebSocket-Protocol: mqtt\r\n", ""));
    assert_eq!(refused(&none, &RULES), Refusal::Subprotocol);
    assert!(answer(Refusal::Subprotocol).contains("`mqtt` is wanted in Sec-WebSocket-Protocol"));
}

/// What a handshake must have, and what is said where it lacks it.
#[test]
fn requests_that_are_refused() {
    for (from, to, refusal, status) in [
        ("GET ", "POST ", Refusal::Method, "405"),
        ("GET ", "\x10\x0c\0\x04", Refusal::NotHttp, "400"),
        ("GET ", "\x16\x03\x01\x02", Refusal::NotHttp, "400"),
        ("HTTP/1.1", "HTTP/1.0", Refusal::HttpVersion, "505"),
        ("HTTP/1.1", "XTTP/1.1", Refusal::NotHttp, "400"),
        ("/mqtt", "/", Refusal::Path, "404"),
        ("/mqtt", "/mqtt/", Refusal::Path, "404"),
        ("Upgrade: websocket", "Upgrade: h2c", Refusal::NotUpgrade, "426"),
        ("keep-alive, Upgrade", "keep-alive", Refusal::NotUpgrade, "426"),
        ("Host: broker.example\r\n", "", Refusal::Host, "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", Refusal::Key, "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j!Q==", Refusal::Key, "400"),
        ("Version: 13", "Version: 8", Refusal::Version, "426"),
        ("Sec-WebSocket-Version: 13\r\n", "", Refusal::Version, "426"),
        ("Host: broker.example", "Host : broker.example", Refusal::NotHttp, "400"),
    ] {
        let bytes = request(|good| good.replacen(from, to, 1));
        assert_eq!(refused(&bytes, &RULES), refusal, "{from:?} to {to:?}");
        let answer = answer(refusal);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        assert!(head.contains("Connection: close"), "{answer}");
    }
    assert!(answer(Refusal::Version).contains("\r\nSec-WebSocket-Version: 13\r\n"));
    let query = request(|good| good.replace("/mqtt", "/mqtt?token=1"));
    assert!(read_request(&query, 0, &RULES).is_ok());
    let lower = request(|good| good.replace("Upgrade: websocket", "upgrade: WebSocket").replace("Sec-", "sec-"));
    assert!(read_request(&lower, 0, &RULES).is_ok());
}

/// Bytes that cannot be a handshake are refused at the first of them: nobody waits for a CONNECT to become a request.
#[test]
fn other_protocols_are_refused_at_once() {
    assert_eq!(refused(b"\x10", &RULES), Refusal::NotHttp);
    assert_eq!(refused(b"\x16\x03", &RULES), Refusal::NotHttp);
    assert_eq!(refused(b"POST /mqtt HTTP/1.1\r\n", &RULES), Refusal::Method);
    assert_eq!(refused(b"get /", &RULES), Refusal::NotHttp);
}

/// The limit holds for a request that never ends, one that ends beyond it, and for the number of headers.
#[test]
fn requests_are_limited() {
    let mut endless = request(|good| good.replace("\r\n\r\n", "\r\nX: "));
    endless.resize(1023, b'x');
    assert_eq!(read_request(&endless, 0, &RULES), Ok(None));
    endless.push(b'x');
    assert_eq!(refused(&endless, &RULES), Refusal::TooLong);
    endless.extend_from_slice(b"\r\n\r\n");
    assert_eq!(refused(&endless, &RULES), Refusal::TooLong);
    let many = request(|good| good.replace("\r\n\r\n", &("\r\nX: y".repeat(HEADERS_MAX) + "\r\n\r\n")));
    assert_eq!(refused(&many, &Rules { request_bytes_max: 8192, ..RULES }), Refusal::TooLong);
    assert!(answer(Refusal::TooLong).starts_with("HTTP/1.1 431 "));
}

/// Pages of other origins are refused where origins are listed; who is no browser says nothing, and may.
#[test]
fn origins_are_checked() {
    let origins = vec!["https://app.example".to_string(), "http://localhost:3000".to_string()];
    let rules = Rules { origins: &origins, ..RULES };
    assert!(read_request(&request(str::to_string), 0, &rules).is_ok());
    assert!(read_request(&request(|good| good.replace("app.example", "APP.example")), 0, &rules).is_ok());
    assert!(read_request(&request(|good| good.replace("Origin: https://app.example\r\n", "")), 0, &rules).is_ok());
    for other in ["https://evil.example", "null", "http://app.example", "https://app.example.evil"] {
        let bytes = request(|good| good.replace("https://app.example", other));
        assert_eq!(refused(&bytes, &rules), Refusal::Origin, "{other}");
    }
    let two = request(|good| good.replace("Origin: ", "Origin: https://evil.example\r\nOrigin: "));
    assert_eq!(refused(&two, &rules), Refusal::Origin);
}
