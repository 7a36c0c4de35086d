//! Records behind the handshake, which are ours, with clients whose TLS is not: every suite, and keys that are renewed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use ringmain_tests::packet::{Connect, subscribe};
use ringmain_tests::{Publish, TlsClient, Version};
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls13CipherSuite};

use super::{greeted, start};

/// Goal: packets go both ways with every suite that rustls's client has, in both versions, at lengths about a record's.
#[test]
fn every_suite() {
    let (_broker, address) = start(2, "");
    let mut served = 0;
    for suite in rustls::crypto::aws_lc_rs::default_provider().cipher_suites {
        // The certificate of these tests is ECDSA's.
        if format!("{suite:?}").contains("_RSA_") {
            continue;
        }
        let stream = TlsClient::offering(&[suite]).connect(address).expect("a handshake");
        assert_eq!(stream.stream.conn.negotiated_cipher_suite(), Some(suite));
        let mut client = greeted(stream, Version::V5, &format!("{suite:?}"));
        client.subscribe("suite", 0);
        for len in [1, 100, 16_000, 16_384, 33_000, 200_000] {
            let payload: Vec<u8> = (0..len).map(|at| (at * 31) as u8).collect();
            client.send_publish(&Publish::new("suite", 0, payload.clone()));
            assert!(client.message().payload == payload, "{suite:?}, {len}");
        }
        client.disconnect();
        served += 1;
    }
    assert_eq!(served, 6);
}

/// The same suite, whose keys seal so many records and no more.
fn renewed_after(records: u64, suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(suite) = suite else { panic!("TLS 1.2 renews no keys") };
    let CipherSuiteCommon { suite: id, hash_provider, .. } = suite.common;
    let common = CipherSuiteCommon { suite: id, hash_provider, confidentiality_limit: records };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite { common, ..*suite })))
}

/// Goal: a client that renews its keys every few records, and asks for ours to be renewed each time, loses nothing.
#[test]
fn keys_are_renewed_all_the_time() {
    let (_broker, address) = start(2, "");
    for suite in [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256] {
        let client = TlsClient::offering(&[renewed_after(8, suite)]);
        let mut client = greeted(client.connect(address).expect("a handshake"), Version::V5, &format!("{suite:?}"));
        client.subscribe("renewed", 0);
        for n in 0..200 {
            let payload = vec![n as u8; 20 * n];
            client.send_publish(&Publish::new("renewed", 0, payload.clone()));
            assert!(client.message().payload == payload, "{suite:?}, message {n}");
        }
        client.ping();
        client.disconnect();
    }
}

/// Goal: OpenSSL's client renews its key, and asks for ours (its commands `k` and `K`), and goes on.
#[test]
fn openssl_renews_its_keys() {
    let (_broker, address) = start(2, "");
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        // It ends by itself if what is waited for does not come.
        let call = format!("exec timeout 60 openssl s_client -connect {address} -ciphersuites {suite} 2>&1");
        let mut openssl = Command::new("sh");
        openssl.args(["-c", &call]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut openssl = openssl.spawn().expect("a shell");
        let (mut input, mut output) = (openssl.stdin.take().expect("piped"), openssl.stdout.take().expect("piped"));
        let mut said = Vec::new();
        let mut wait_for = |needle: &str, count: usize| {
            while said.windows(needle.len()).filter(|window| *window == needle.as_bytes()).count() < count {
                let mut more = [0; 4096];
                let len = output.read(&mut more).expect("its output");
                assert!(len > 0, "{suite}: no {needle} in {}", String::from_utf8_lossy(&said));
                said.extend_from_slice(&more[..len]);
            }
        };
        wait_for("Verify return code", 1);
        let subscribe = subscribe(Version::V311, 1, &[(suite, 0)], &[]);
        input.write_all(&[Connect::new(Version::V311, suite).bytes(), subscribe].concat()).expect("it reads");
        for (n, command) in ["K", "k", "K", "K", "k"].into_iter().enumerate() {
            // A command is one where it begins what openssl reads at once.
            let payload = format!("message {n}");
            input.write_all(&Publish::new(suite, 0, payload.clone()).bytes(Version::V311)).expect("it reads");
            wait_for(&payload, 1);
            input.write_all(format!("{command}\n").as_bytes()).expect("it reads");
            wait_for("KEYUPDATE", n + 1);
        }
        input.write_all(&Publish::new(suite, 0, "the last").bytes(Version::V311)).expect("it reads");
        wait_for("the last", 1);
        drop(input);
        openssl.wait().expect("it ends with its input");
    }
}
