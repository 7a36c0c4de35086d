//! A channel and rustls's client, in memory.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self as provider, cipher_suite};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite};

use super::Secrets;
use super::channel::{Channel, Opened};
use super::failure::Failure;
use super::record::{Cipher, HEADER_BYTES, Sealed, kind};
use super::traffic::Sealer;

const V13: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];
const V12: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// What a listener has, and who trusts it.
fn secrets() -> &'static (Secrets, Arc<RootCertStore>) {
    static SECRETS: OnceLock<(Secrets, Arc<RootCertStore>)> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let chain = vec![made.cert.der().clone()];
        let mut roots = RootCertStore::empty();
        roots.add(chain[0].clone()).expect("an authority");
        let builder = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()));
        let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).expect("both versions");
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("a key that fits");
        config.ticketer = provider::Ticketer::new().expect("randomness");
        config.send_tls13_tickets = 1;
        config.enable_secret_extraction = true;
        (Secrets { config: Arc::new(config), hello_units: 3, finish_units: 1, verifier: None }, Arc::new(roots))
    })
}

fn client_config(suite: SupportedCipherSuite) -> ClientConfig {
    let provider = rustls::crypto::CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[suite.version()]).expect("a version of its suite");
    let mut config = builder.with_root_certificates(Arc::clone(&secrets().1)).with_no_client_auth();
    config.enable_secret_extraction = true;
    config
}

/// A client and its connection.
struct Pair {
    client: ClientConnection,
    channel: Channel,
    tx: Option<Sealer>,
    /// What the client was told, and what it has told.
    heard: Vec<u8>,
    said: Vec<u8>,
}

impl Pair {
    fn new(config: ClientConfig) -> Pair {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a configuration");
        client.set_buffer_limit(None);
        Pair { client, channel: Channel::new(&secrets().0), tx: None, heard: Vec::new(), said: Vec::new() }
    }

    /// One that has shaken hands.
    fn greeted(config: ClientConfig) -> Pair {
        let mut pair = Pair::new(config);
        let mut completed = 0;
        while pair.channel.is_handshaking() || pair.client.is_handshaking() {
            let bytes = pair.flight();
            completed += u32::from(pair.take(&bytes, bytes.len().max(1)).completed);
            pair.answer();
        }
        assert_eq!(completed, 1);
        pair
    }

    /// What the client has to send.
    fn flight(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).expect("memory takes bytes");
        }
        bytes
    }

    /// The channel takes these bytes, so many at a time.
    fn take(&mut self, bytes: &[u8], size: usize) -> Opened {
        let mut all = Opened::default();
        for piece in bytes.chunks(size) {
            let mut input = self.channel.arrived.take().map_or_else(Vec::new, |arrived| *arrived);
            input.extend_from_slice(piece);
            let mut answers = self.channel.unsent.take().unwrap_or_default();
            let opened = self.channel.shake_hands(&mut input, &mut self.tx, &mut self.said, &mut answers);
            if !answers.is_empty() {
                self.channel.unsent = Some(answers);
            }
            let rest = input.split_off(opened.consumed);
            self.channel.arrived = (!rest.is_empty()).then(|| Box::new(rest));
            all.completed |= opened.completed;
            all.failed = all.failed.or(opened.failed);
            all.ended = opened.ended;
        }
        all
    }

    /// The client takes these bytes.
    fn hear(&mut self, mut bytes: &[u8]) -> Result<(), rustls::Error> {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).expect("memory has bytes");
            let state = self.client.process_new_packets()?;
            let start = self.heard.len();
            self.heard.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut self.heard[start..]).expect("it was counted");
        }
        Ok(())
    }

    /// The client takes what the channel has answered.
    fn answer(&mut self) {
        if let Some(answers) = self.channel.unsent.take() {
            self.hear(&answers).expect("good answers");
        }
    }

    /// The channel sends, with all that is due.
    fn send(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Sealed::default();
        out.append(&self.channel.unsent.take().unwrap_or_default());
        assert!(self.channel.seal(plain, &mut self.tx, &mut out), "there is a key");
        self.channel.say_rest(true, &mut self.tx, &mut out);
        out.bytes(0, out.len()).to_vec()
    }

    /// The client's keys are taken from it: what it sends with, and what it receives with. It is another one then.
    fn take_keys(&mut self, suite: SupportedCipherSuite) -> (Cipher, Cipher) {
        let client = std::mem::replace(&mut self.client, Pair::new(client_config(suite)).client);
        let secrets = client.dangerous_extract_secrets().expect("it was enabled");
        let cipher = |(number, secrets)| Cipher::new(number, &secrets, V13.contains(&suite)).expect("a suite of both");
        (cipher(secrets.tx), cipher(secrets.rx))
    }
}

fn sealed(cipher: &mut Cipher, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut record = vec![0; cipher.sealed_len(content.len())];
    cipher.seal(kind, content, &mut record);
    record
}

/// The contents of all records.
fn opened(cipher: &mut Cipher, mut records: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((header, rest)) = records.split_first_chunk::<HEADER_BYTES>() {
        let (body, rest) = rest.split_at(cipher.body_len(*header).expect("a good header"));
        let mut content = Vec::new();
        let kind = cipher.open(*header, body, &mut content).expect("a good record");
        all.push((kind, content));
        records = rest;
    }
    all
}

/// Goal: every suite that rustls has is one that we have, and what both sides send at any length arrives.
#[test]
fn both_directions() {
    assert_eq!(provider::default_provider().cipher_suites.len(), 9, "three with RSA, which differ in the handshake");
    for suite in V13.into_iter().chain(V12) {
        let mut pair = Pair::greeted(client_config(suite));
        assert!(!pair.channel.is_resumed() && pair.channel.client_certificates().is_empty());
        for len in [0, 1, 100, 16_383, 16_384, 16_385, 70_000] {
            let plain: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            let records = pair.send(&plain);
            pair.hear(&records).expect("good records");
            assert!(pair.heard.split_off(0) == plain, "{suite:?}, {len} to the client");
            pair.client.writer().write_all(&plain).expect("there is room");
            let records = pair.flight();
            assert_eq!(pair.take(&records, 1000), Opened::default());
            assert!(pair.said.split_off(0) == plain, "{suite:?}, {len} from the client");
        }
        pair.client.send_close_notify();
        let records = pair.flight();
        assert!(pair.take(&records, 1).ended && pair.channel.has_ended());
        pair.channel.end();
        assert!(pair.channel.owes());
        let records = pair.send(b"the last");
        pair.hear(&records).expect("good records");
        assert_eq!(pair.heard, b"the last");
        assert_eq!(pair.client.reader().read(&mut [0]).expect("close_notify"), 0);
        assert!(!pair.channel.owes());
    }
}

/// Goal: a handshake that comes in pieces, a session that is taken up, and data that comes with the last flight.
#[test]
fn handshakes_in_pieces() {
    for suite in V13.into_iter().chain(V12) {
        let mut config = client_config(suite);
        config.resumption = Resumption::in_memory_sessions(4);
        for (round, size) in [1, 2, 7, 100, 100_000].into_iter().enumerate() {
            let mut pair = Pair::new(config.clone());
            pair.client.writer().write_all(b"early").expect("there is room");
            while pair.said != b"early" {
                let bytes = pair.flight();
                pair.take(&bytes, size);
                pair.answer();
            }
            assert_eq!(pair.channel.is_resumed(), round > 0, "{suite:?}");
            let records = pair.send(b"answer");
            pair.hear(&records).expect("good records");
            assert_eq!(pair.heard, b"answer");
        }
    }
}

/// Goal: whatever comes with the last flight of a handshake is ours, not rustls's: half a KeyUpdate, of which rustls would
/// keep the place, and whose rest comes later.
#[test]
fn half_a_message_behind_the_handshake() {
    let mut pair = Pair::new(client_config(V13[0]));
    let mut flight = pair.flight();
    while pair.client.is_handshaking() {
        pair.take(&flight, flight.len());
        pair.answer();
        flight = pair.flight();
    }
    assert!(pair.channel.is_handshaking(), "its last flight has not arrived");
    let (mut tx, _) = pair.take_keys(V13[0]);
    flight.extend(sealed(&mut tx, kind::HANDSHAKE, &[24, 0, 0]));
    let opened = pair.take(&flight, flight.len());
    assert!(opened.completed && opened.failed.is_none());
    assert!(!pair.send(b"meanwhile").is_empty());
    let rest = sealed(&mut tx, kind::HANDSHAKE, &[1, 0]);
    assert_eq!(pair.take(&rest, 1), Opened::default());
}

/// Goal: each way to break a rule behind the handshake has the alert that RFC 8446 or RFC 5246 names.
#[test]
fn rules_that_are_broken() {
    use AlertDescription as A;
    const UPDATE: &[u8] = &[24, 0, 0, 1, 0];
    let both = [&V13[..], &V12[..]].concat();
    let hello: &[u8] = &[1, 0, 0, 40, 3, 3];
    let empty: &[u8] = &[];
    let flood = vec![(kind::DATA, empty); 33];
    let updates = [(kind::HANDSHAKE, &UPDATE[..3]), (kind::HANDSHAKE, &UPDATE[3..])];
    type Case<'a> = (&'a [SupportedCipherSuite], &'a [(u8, &'a [u8])], A);
    let cases: &[Case<'_>] = &[
        (&both, &[(kind::CHANGE_CIPHER_SPEC, &[1])], A::UnexpectedMessage),
        (&both, &[(kind::HANDSHAKE, empty)], A::UnexpectedMessage),
        (&both, &[(kind::HANDSHAKE, &[20, 0, 0, 0])], A::UnexpectedMessage),
        (&both, &[(kind::ALERT, empty)], A::UnexpectedMessage),
        (&both, &[(kind::ALERT, &[1])], A::DecodeError),
        (&both, &[(kind::ALERT, &[1, 0, 1])], A::DecodeError),
        (&both, &[(kind::ALERT, &[3, 40])], A::IllegalParameter),
        (&both, &flood, A::UnexpectedMessage),
        (&V13, &[(24, &[1])], A::UnexpectedMessage),
        (&V13, &[(kind::HANDSHAKE, hello)], A::UnexpectedMessage),
        (&V13, &[(kind::HANDSHAKE, &[24, 0, 0, 2, 0, 0])], A::DecodeError),
        (&V13, &[(kind::HANDSHAKE, &[24, 1, 0, 1])], A::DecodeError),
        (&V13, &[(kind::HANDSHAKE, &[24, 0, 0, 1, 2])], A::IllegalParameter),
        (&V13, &[(kind::HANDSHAKE, &[UPDATE, UPDATE].concat())], A::UnexpectedMessage),
        (&V13, &[(kind::HANDSHAKE, &[24]), (kind::DATA, b"between")], A::UnexpectedMessage),
        (&V13, &[(kind::HANDSHAKE, &[24]), (kind::ALERT, &[1, 0])], A::UnexpectedMessage),
        (&V13, &[(kind::HANDSHAKE, &[24]), (kind::HANDSHAKE, empty)], A::UnexpectedMessage),
        (&V13, &[updates[0], (kind::HANDSHAKE, &[1, 0, 24])], A::UnexpectedMessage),
        (&V12, &[(kind::HANDSHAKE, hello)], A::NoRenegotiation),
        (&V12, &[(kind::HANDSHAKE, UPDATE)], A::UnexpectedMessage),
        (&V12, &[(kind::ALERT, &[1, 41][..]); 33], A::UnexpectedMessage),
    ];
    for (suites, records, alert) in cases {
        for suite in *suites {
            let mut pair = Pair::greeted(client_config(*suite));
            let (mut tx, mut rx) = pair.take_keys(*suite);
            let mut bytes = Vec::new();
            records.iter().for_each(|(kind, content)| bytes.extend(sealed(&mut tx, *kind, content)));
            // The tickets of TLS 1.3 were heard before.
            let got = pair.take(&bytes, bytes.len());
            assert_eq!(got.failed, Some(Failure::Violated), "{suite:?} {records:?}");
            assert!(pair.said.is_empty(), "{suite:?} {records:?}");
            let answers = pair.channel.unsent.take().expect("an alert");
            assert_eq!(opened(&mut rx, &answers), [(kind::ALERT, vec![2, (*alert).into()])], "{suite:?} {records:?}");
            assert!(!pair.channel.seal(b"more", &mut pair.tx, &mut Sealed::default()), "nothing follows an alert");
        }
    }
}

/// Goal: what is no record of the client's is answered at once, before as much has come as its header says.
#[test]
fn headers_that_are_none() {
    use AlertDescription as A;
    for (suites, header, alert) in [
        (V13, [21, 3, 3, 0, 2], A::UnexpectedMessage),
        (V13, [23, 3, 3, 0x41, 1], A::RecordOverflow),
        (V12, [23, 3, 3, 0x48, 1], A::RecordOverflow),
        (V12, [23, 3, 4, 0, 40], A::ProtocolVersion),
        (V12, [0x30, 3, 3, 0, 40], A::UnexpectedMessage),
    ] {
        let mut pair = Pair::greeted(client_config(suites[1]));
        let (_, mut rx) = pair.take_keys(suites[1]);
        assert_eq!(pair.take(&header, 5).failed, Some(Failure::Violated), "{header:?}");
        let answers = pair.channel.unsent.take().expect("an alert");
        assert_eq!(opened(&mut rx, &answers), [(kind::ALERT, vec![2, alert.into()])], "{header:?}");
    }
}

/// Goal: alerts of a client end the connection and are not answered; of those that do not, a few pass. Empty records do,
/// too, and data in between begins the count again.
#[test]
fn alerts_of_a_client() {
    for suite in [V13[0], V12[0]] {
        let v13 = suite == V13[0];
        let new = || {
            let mut pair = Pair::greeted(client_config(suite));
            let (tx, _) = pair.take_keys(suite);
            (pair, tx)
        };
        for (content, failed) in [([2, 40], true), ([1, 48], v13), ([2, 90], true), ([1, 90], false), ([2, 255], true)]
        {
            let (mut pair, mut tx) = new();
            let bytes = [sealed(&mut tx, kind::ALERT, &content), sealed(&mut tx, kind::DATA, b"more")].concat();
            let failure = failed.then_some(Failure::Alert(content[1].into()));
            assert_eq!(pair.take(&bytes, bytes.len()).failed, failure, "{suite:?} {content:?}");
            assert_eq!((pair.said.is_empty(), pair.channel.owes()), (failed, false));
        }
        let (mut pair, mut tx) = new();
        for n in 0..200 {
            let content: &[u8] = if n % 33 == 32 { b"x" } else { b"" };
            let record = sealed(&mut tx, kind::DATA, content);
            assert_eq!(pair.take(&record, 3), Opened::default(), "record {n}");
        }
        let bytes = [sealed(&mut tx, kind::ALERT, &[1, 0]), sealed(&mut tx, kind::DATA, b"too late")].concat();
        assert!(pair.take(&bytes, bytes.len()).ended);
        assert_eq!(pair.said, b"xxxxxx");
        pair.take(&bytes, 5);
        assert!(pair.channel.arrived.is_none(), "nothing is kept");
    }
}

/// Goal: with TLS 1.2 a key that is used up ends the connection, and the client hears that nothing was cut off; with TLS
/// 1.3 there is a next one.
#[test]
fn keys_are_used_up() {
    for suite in [V12[0], V13[0]] {
        let mut pair = Pair::greeted(client_config(suite));
        let tx = pair.tx.as_mut().expect("there is a key");
        tx.leave(2);
        assert!(tx.takes(20_000) && !tx.takes(40_000));
        pair.channel.end();
        let mut out = Sealed::default();
        let sealed = pair.channel.seal(&[7; 60_000], &mut pair.tx, &mut out);
        assert_eq!(sealed, suite == V13[0]);
        assert_eq!(pair.channel.owes(), sealed, "goodbye is said once, and there is none without a key");
        let records = out.bytes(0, out.len()).to_vec();
        pair.hear(&records).expect("good records");
        assert_eq!(pair.heard.len(), if sealed { 60_000 } else { 32_768 });
        if !sealed {
            assert_eq!(pair.client.reader().read(&mut [0]).expect("close_notify"), 0);
            assert!(!pair.channel.seal(b"more", &mut pair.tx, &mut out) && pair.tx.is_none());
        }
    }
}

/// What happens between two that renew their keys.
#[derive(Clone, Debug)]
enum Step {
    ClientSends(usize),
    /// In pieces of this length.
    ClientArrives(usize),
    ClientRenews,
    ServerSends(usize),
    /// Its key has so many records left.
    ServerUses(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..40_000).prop_map(Step::ClientSends),
        (1_usize..20_000).prop_map(Step::ClientArrives),
        Just(Step::ClientRenews),
        (0_usize..40_000).prop_map(Step::ServerSends),
        (0_u64..3).prop_map(Step::ServerUses),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: nothing is lost where both sides renew their keys at any time, and ask each other to.
    #[test]
    fn keys_are_renewed_at_any_time(steps in proptest::collection::vec(step(), 1..40), suite in 0_usize..3) {
        let mut pair = Pair::greeted(client_config(V13[suite]));
        let (mut by_client, mut by_server, mut renewed) = (Vec::new(), Vec::new(), 0);
        for (n, step) in steps.into_iter().chain([Step::ClientArrives(4096), Step::ServerSends(1)]).enumerate() {
            match step {
                Step::ClientSends(len) => {
                    by_client.extend(vec![n as u8; len]);
                    pair.client.writer().write_all(&vec![n as u8; len]).expect("there is room");
                }
                Step::ClientArrives(size) => {
                    renewed = 0;
                    let bytes = pair.flight();
                    prop_assert_eq!(pair.take(&bytes, size), Opened::default());
                }
                Step::ClientRenews if renewed < 32 => {
                    renewed += 1;
                    pair.client.refresh_traffic_keys().expect("the handshake is over");
                }
                Step::ClientRenews => {}
                Step::ServerSends(len) => {
                    by_server.extend(vec![n as u8; len]);
                    let records = pair.send(&vec![n as u8; len]);
                    pair.hear(&records).expect("good records");
                    prop_assert!(!pair.channel.owes());
                }
                Step::ServerUses(left) => pair.tx.as_mut().expect("there is a key").leave(left),
            }
        }
        prop_assert!(pair.said == by_client && pair.heard == by_server);
    }

    /// Goal: whatever a client seals, and whatever it sends besides, ends in data, or in one alert behind which nothing is
    /// taken or said.
    #[test]
    fn anything_at_all(
        records in proptest::collection::vec(
            (
                prop_oneof![20_u8..25, any::<u8>()],
                proptest::collection::vec(prop_oneof![0_u8..3, Just(24), any::<u8>()], 0..7),
            ),
            0..60,
        ),
        garbage in proptest::collection::vec(any::<u8>(), 0..100),
        size in 1_usize..200,
        suite in 0_usize..6,
    ) {
        let suite = [V13, V12].concat()[suite];
        let mut pair = Pair::greeted(client_config(suite));
        let (mut tx, mut rx) = pair.take_keys(suite);
        let mut bytes = Vec::new();
        records.iter().for_each(|(kind, content)| bytes.extend(sealed(&mut tx, *kind, content)));
        bytes.extend(garbage);
        let before = pair.take(&bytes, size);
        let said = pair.said.len();
        let answers = pair.channel.unsent.take().unwrap_or_default();
        let alerts = opened(&mut rx, &answers);
        prop_assert_eq!(alerts.len(), usize::from(before.failed == Some(Failure::Violated)), "{:?}", before);
        prop_assert!(alerts.iter().all(|(kind, content)| *kind == kind::ALERT && content.len() == 2 && content[0] == 2));
        let more = pair.take(&sealed(&mut tx, kind::DATA, b"more"), 1);
        if before.failed.is_some() || before.ended {
            prop_assert!(more.failed.is_none() && pair.said.len() == said && pair.channel.unsent.is_none());
        }
        prop_assert_eq!(pair.tx.is_none(), before.failed.or(more.failed).is_some());
    }
}
