//! Enhanced authentication by SCRAM-SHA-256 (MQTT 5.0, section 4.12; RFC 5802, RFC 7677).

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringmain_tests::{Broker, Client, Options, Packet, Property, Version};
use wire::mqtt::{Auth, ProtocolVersion, ReasonCode};

use super::{guarded, ours};

const METHOD: &str = "SCRAM-SHA-256";
const ACL: &str = "user alice\ntopic readwrite #\nuser bob\ntopic readwrite #\n";

/// A client's side of one exchange.
struct Scram {
    first: String,
    server_signature: String,
}

impl Scram {
    fn new(user: &str) -> Scram {
        Scram { first: format!("n={user},r=clientnonce"), server_signature: String::new() }
    }

    fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first).into_bytes()
    }

    /// The last message, by what the server has said.
    fn last(&mut self, password: &str, server: &[u8]) -> Vec<u8> {
        let server = std::str::from_utf8(server).expect("text");
        let field = |name: &str| server.split(',').find_map(|part| part.strip_prefix(name)).expect("a field");
        let (nonce, salt, iterations) = (field("r="), STANDARD.decode(field("s=")).expect("base64"), field("i="));
        assert!(nonce.starts_with("clientnonce") && nonce.len() > 30, "{nonce}");
        let iterations: NonZeroU32 = iterations.parse().expect("a count");
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{server},{without_proof}", self.first);
        let signature = sign(stored.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = sign(&salted, b"Server Key");
        self.server_signature = format!("v={}", STANDARD.encode(sign(server_key.as_ref(), message.as_bytes())));
        format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes()
    }
}

fn auth(reason: ReasonCode, data: &[u8]) -> Vec<u8> {
    let auth = Auth { reason, authentication_method: Some(METHOD), authentication_data: Some(data), ..Auth::default() };
    let mut bytes = Vec::new();
    auth.encode(ProtocolVersion::V5, &mut bytes);
    bytes
}

fn begin(options: Options, method: &str, data: &[u8]) -> Client {
    let options = options.property(Property::AuthenticationMethod(method.into()));
    options.property(Property::AuthenticationData(data.to_vec())).send()
}

/// The data of an AUTH that must come, with this reason.
fn challenged(client: &mut Client, reason: u8) -> Vec<u8> {
    client.wait_for(|packet| match packet {
        Packet::Auth(code, properties) if *code == reason => data_of(properties),
        _ => None,
    })
}

fn data_of(properties: &[Property]) -> Option<Vec<u8>> {
    assert!(properties.contains(&Property::AuthenticationMethod(METHOD.into())), "{properties:?}");
    properties.iter().find_map(|property| match property {
        Property::AuthenticationData(data) => Some(data.clone()),
        _ => None,
    })
}

fn connect(broker: &Broker, id: &str, user: &str, durable: bool) -> Client {
    let mut scram = Scram::new(user);
    let options = broker.client(Version::V5, id);
    let options = if durable { options.durable() } else { options };
    let mut client = begin(options, METHOD, &scram.first());
    let server = challenged(&mut client, 0x18);
    client.send(&auth(ReasonCode::ContinueAuthentication, &scram.last(&format!("{user}-pw"), &server)));
    client.connack();
    assert_eq!(client.code, 0);
    assert_eq!(data_of(&client.properties).as_deref(), Some(scram.server_signature.as_bytes()));
    client
}

/// Goal: a client proves that it knows the password without saying it, and the server that it knows it, too; on whichever
/// shard its session lives. What is wrong is refused: password, user, a proof of another exchange, another method.
#[test]
fn scram() {
    if !ours() {
        return;
    }
    let broker = guarded(3, &["alice", "bob"], ACL, &["max_failures = 0"]);
    for number in 0..6 {
        let mut alice = connect(&broker, &format!("c{number}"), "alice", number % 2 == 0);
        assert_eq!(alice.subscribe("t", 1), 1);
        alice.publish("t", 1, "x");
        assert_eq!(alice.texts(1), ["x"]);
    }
    for (user, password) in [("alice", "bob-pw"), ("nobody", "nobody-pw")] {
        let mut scram = Scram::new(user);
        let mut client = begin(broker.client(Version::V5, "w"), METHOD, &scram.first());
        let server = challenged(&mut client, 0x18);
        client.send(&auth(ReasonCode::ContinueAuthentication, &scram.last(password, &server)));
        assert_eq!(client.turned_away(), Some(0x87), "{user}");
    }
    let mut client = begin(broker.client(Version::V5, "w"), METHOD, b"y,,n=alice,r=x");
    assert_eq!(client.turned_away(), Some(0x87));
    let mut client = begin(broker.client(Version::V5, "w"), "PLAIN", b"x");
    assert_eq!(client.turned_away(), Some(0x8c));
    // Between the two steps only AUTH may come.
    let mut client = begin(broker.client(Version::V5, "w"), METHOD, &Scram::new("alice").first());
    challenged(&mut client, 0x18);
    client.send(&ringmain_tests::packet::subscribe(Version::V5, 1, &[("t", 0)], &[]));
    assert_eq!(client.turned_away(), Some(0x82));
}

/// Goal: a client proves again who it is while messages go on; another user, or a wrong proof, ends the connection, and so
/// does an AUTH where there was none at the start.
#[test]
fn again() {
    if !ours() {
        return;
    }
    let broker = guarded(2, &["alice", "bob"], ACL, &["max_failures = 0"]);
    let mut alice = connect(&broker, "c", "alice", false);
    alice.subscribe("t", 0);
    for _ in 0..3 {
        let mut scram = Scram::new("alice");
        alice.send(&auth(ReasonCode::ReAuthenticate, &scram.first()));
        alice.publish("t", 0, "meanwhile");
        let server = challenged(&mut alice, 0x18);
        alice.send(&auth(ReasonCode::ContinueAuthentication, &scram.last("alice-pw", &server)));
        assert_eq!(challenged(&mut alice, 0), scram.server_signature.as_bytes());
        assert_eq!(alice.texts(1), ["meanwhile"]);
    }
    for (user, password) in [("bob", "bob-pw"), ("alice", "wrong")] {
        let mut client = connect(&broker, "d", "alice", false);
        let mut scram = Scram::new(user);
        client.send(&auth(ReasonCode::ReAuthenticate, &scram.first()));
        let server = challenged(&mut client, 0x18);
        client.send(&auth(ReasonCode::ContinueAuthentication, &scram.last(password, &server)));
        client.dropped(&[0x87]);
    }
    let mut plain = super::of(&broker, Version::V5, "alice", "e").connect();
    plain.send(&auth(ReasonCode::ReAuthenticate, &Scram::new("alice").first()));
    plain.dropped(&[0x82]);
    let mut alice = connect(&broker, "f", "alice", false);
    alice.send(&auth(ReasonCode::ContinueAuthentication, b"x"));
    alice.dropped(&[0x82]);
}
