//! Certificates of clients.

use std::io::Read;

use ringmain_tests::authority::{Authority, Holds, Identity};
use ringmain_tests::packet::Connect;
use ringmain_tests::stream::Stream;
use ringmain_tests::tls::TlsStream;
use ringmain_tests::{Client, TlsClient, Version};

use super::{TLS12, TLS13, VERSIONS, counted, greeted, start};

/// The error that a client sees which is refused: with TLS 1.3 it comes after the client's own part of the handshake.
fn refusal(client: &TlsClient, address: std::net::SocketAddr) -> String {
    let read = |mut stream: TlsStream| {
        let mut byte = [0];
        stream.stream.read(&mut byte).map(|_| ())
    };
    client.connect(address).and_then(read).expect_err("it is refused").to_string()
}

/// Goal: where a certificate is required, a good one is let in and each other kind is refused with its own alert, in both
/// versions; the log and the counters tell them apart.
#[test]
fn required() {
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let good = clients.client("good", Holds::Now);
    let revoked = clients.client("revoked", Holds::Now);
    let list = clients.revoke(&[&revoked]);
    let keys =
        format!("client_certificates = \"required\"\nclient_ca = {:?}\nclient_crl = [{:?}]\n", clients.file, list);
    let (broker, address) = start(2, &keys);
    let past = clients.client("past", Holds::Past);
    let future = clients.client("future", Holds::Future);
    let unknown = strangers.client("unknown", Holds::Now);
    let server = clients.server("server", &["localhost"]);
    for tls in [TLS12, TLS13] {
        let client = |identity: Option<&Identity>| TlsClient::new(tls, identity);
        let stream = client(Some(&good)).connect(address).expect("a good certificate");
        greeted(stream, Version::V5, "good").ping();
        for (identity, alert, counter) in [
            (&past, "CertificateExpired", "certificate_expired"),
            (&future, "CertificateExpired", "certificate_expired"),
            (&revoked, "CertificateRevoked", "certificate_revoked"),
            (&unknown, "UnknownCA", "certificate_unknown"),
            (&server, "UnsupportedCertificate", "certificate_bad"),
        ] {
            let said = refusal(&client(Some(identity)), address);
            assert!(said.contains(alert), "{alert}: {said}");
            counted(&broker, 2, &format!("tls/failed_{counter}"), 1);
        }
        let said = refusal(&client(None), address);
        // RFC 5246, section 7.4.6 has handshake_failure, RFC 8446 certificate_required.
        assert!(said.contains("CertificateRequired") || said.contains("HandshakeFailure"), "{said}");
        counted(&broker, 2, "tls/failed_certificate_missing", 1);
    }
    for told in
        ["is over or not begun", "was revoked", "issuer of the client's certificate", "has shown no certificate"]
    {
        broker.process_log(told);
    }
}

/// Goal: a certificate that is revoked ends the connections that were made with it at the next reload, wherever their
/// sessions live and however far they have come, and no others; so does an authority that is not named any more.
#[test]
fn revoked_while_connected() {
    let clients = Authority::new("members");
    let [good, doomed] = ["good", "doomed"].map(|name| clients.client(name, Holds::Now));
    let list = clients.revoke(&[]);
    let authority = list.with_file_name("members-now.crt");
    std::fs::copy(&clients.file, &authority).expect("it can be copied");
    let keys = format!("client_certificates = \"required\"\nclient_ca = {authority:?}\nclient_crl = [{list:?}]\n");
    let (mut broker, address) = start(3, &keys);
    let mut ended = 0;
    for round in 0..2 {
        let opened = |identity, tls| TlsClient::new(tls, Some(identity)).connect(address).expect("it is let in");
        let mut stays = Vec::new();
        let mut goes = Vec::new();
        for (tls, version) in [TLS12, TLS13].into_iter().flat_map(|tls| VERSIONS.map(|version| (tls, version))) {
            for number in 0..3 {
                let id = |name: &str| format!("{name}-{version:?}-{:?}-{number}", tls[0].version);
                stays.push(greeted(opened(&good, tls), version, &id("good")));
                let mut client = Client::over(Stream::Tls(Box::new(opened(&doomed, tls))), version);
                let mut connect = Connect::new(version, &id("doomed"));
                connect.clean = number == 0;
                client.send(&connect.bytes());
                client.connack();
                goes.push(client);
            }
        }
        let mut silent = Client::over(Stream::Tls(Box::new(opened(&doomed, TLS13))), Version::V5);
        if round == 0 {
            clients.revoke(&[&doomed]);
        } else {
            std::fs::copy(&Authority::new("successors").file, &authority).expect("it can be copied");
            goes.append(&mut stays);
        }
        broker.process().signal("HUP");
        goes.iter_mut().for_each(|client| client.dropped(&[0x87]));
        silent.ended();
        stays.iter_mut().for_each(Client::ping);
        // Those that were revoked are not let in again; those that stay are told of.
        ended += goes.len() as u64 + 1;
        if round == 0 {
            counted(&broker, 3, "tls/ended_certificate", ended);
            let said = refusal(&TlsClient::new(TLS13, Some(&doomed)), address);
            assert!(said.contains("CertificateRevoked"), "{said}");
            clients.revoke(&[]);
            broker.process().signal("HUP");
            // A list without it lets it in again.
            while TlsClient::new(TLS12, Some(&doomed)).connect(address).is_err() {}
        }
    }
}

/// Goal: where one is optional, who shows none is let in, and who shows a bad one is not.
#[test]
fn optional() {
    let (clients, strangers) = (Authority::new("guests"), Authority::new("others"));
    let keys = format!("client_certificates = \"optional\"\nclient_ca = {:?}\n", clients.file);
    let (_broker, address) = start(2, &keys);
    for tls in [TLS12, TLS13] {
        for identity in [None, Some(clients.client("guest", Holds::Now))] {
            let stream = TlsClient::new(tls, identity.as_ref()).connect(address).expect("it is let in");
            greeted(stream, Version::V5, "guest").ping();
        }
        let said = refusal(&TlsClient::new(tls, Some(&strangers.client("other", Holds::Now))), address);
        assert!(said.contains("UnknownCA"), "{said}");
    }
}
