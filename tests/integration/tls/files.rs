//! Files that cannot be used, and what is said of them.

use std::fs;

use ringmain_tests::authority::{self, Authority, Holds};
use ringmain_tests::{Setup, TlsClient, Version};

use super::{BOTH, greeted};

/// The whole of what the program prints that does not start with this listener, and its exit code.
fn refused(keys: &str) -> String {
    let setup = Setup::shards(1).listener(&format!("bind = \"127.0.0.1:0\"\n{keys}")).no_persistence();
    let (code, printed) = setup.refused();
    assert_eq!(code, Some(2), "{printed}");
    printed
}

/// Goal: each mistake with files is one error that names the key, the file, what is wrong and what to do.
#[test]
fn mistakes_are_explained() {
    let (authority, broker) = authority::of_this_run();
    let other = authority.server("other", &["localhost"]);
    let directory = broker.key.parent().expect("a directory");
    let empty = directory.join("empty.pem");
    fs::write(&empty, "nothing\n").expect("it can be written");
    let encrypted = directory.join("encrypted.key");
    fs::write(&encrypted, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
        .expect("it can be written");
    let broken = directory.join("broken.crt");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").expect("it can be written");
    let pair = |certificate: &std::path::Path, key: &std::path::Path| {
        format!("transport = \"tls\"\ncertificate = {certificate:?}\nkey = {key:?}\n")
    };
    let good = pair(&broker.certificate, &broker.key);
    for (keys, key, what, remedy) in [
        ("transport = \"tls\"\n".to_owned(), "certificate", "missing", "write certificate = FILE and key = FILE"),
        (format!("transport = \"tls\"\ncertificate = {:?}\n", broker.certificate), "key", "missing", "beside"),
        (pair("/nowhere/a.crt".as_ref(), &broker.key), "certificate", "cannot be read: No such file", "name a file"),
        (pair(directory, &broker.key), "certificate", "is a directory", "name the file in it"),
        (pair(&empty, &broker.key), "certificate", "there is no certificate in it", "BEGIN CERTIFICATE"),
        (pair(&broken, &broker.key), "certificate", "not PEM", "write certificates in PEM"),
        (pair(&broker.certificate, &empty), "key", "there is no private key in it", "BEGIN PRIVATE KEY"),
        (pair(&broker.certificate, &encrypted), "key", "the key is encrypted", "openssl pkey"),
        (pair(&broker.certificate, &other.key), "key", "does not belong to the certificate in", "name the key"),
        (format!("{good}client_certificates = \"required\"\n"), "client_ca", "missing", "write client_ca"),
        (format!("{good}client_ca = {empty:?}\n"), "client_ca", "no client is asked", "client_certificates"),
        (
            format!("{good}client_certificates = \"required\"\nclient_ca = {empty:?}\n"),
            "client_ca",
            "there is no certificate in it",
            "authorities",
        ),
        (
            format!(
                "{good}client_certificates = \"required\"\nclient_ca = {:?}\nclient_crl = [{empty:?}]\n",
                authority.file
            ),
            "client_crl",
            "there is no revocation list in it",
            "BEGIN X509 CRL",
        ),
        (
            format!("transport = \"tls\"\ncertificates = [{{ certificate = {:?} }}]\n", broker.certificate),
            "certificates",
            "an entry has no key",
            "write a list such as",
        ),
        (
            format!("certificate = {:?}\n", broker.certificate),
            "certificate",
            "means nothing with",
            "\"tls\" or \"wss\"",
        ),
        (format!("{good}min_tls_version = \"1.1\"\n"), "min_tls_version", "not a known word", "\"1.2\" or \"1.3\""),
    ] {
        let printed = refused(&keys);
        for part in [&format!("].{key}"), what, remedy, "ringmain.toml:"] {
            assert!(printed.contains(part), "{part:?} is not in:\n{printed}\nfor\n{keys}");
        }
    }
}

/// Goal: a certificate that is over, not begun, or soon over is used, and told of at the start and by `ringmain check`.
#[test]
fn times_are_warned_of() {
    let (authority, _) = authority::of_this_run();
    for (holds, told) in [(Holds::Past, "the certificate expired"), (Holds::Future, "the certificate is not valid yet")]
    {
        let identity = authority.server_of("untimely", &["localhost"], holds);
        let keys = format!("bind = \"127.0.0.1:0\"\ntransport = \"tls\"\nname = \"late\"\n{}", identity.keys());
        let broker = Setup::shards(1).listener(&keys).start();
        broker.process_log(told);
        let error = TlsClient::new(BOTH, None).connect(broker.listening("tls, late")).expect_err("an honest client");
        assert!(error.to_string().contains("certificate"), "{error}");
        broker.process_log("TLS: our certificate is over for the client (its alert: certificate expired)");
        let file = identity.key.with_extension("toml");
        fs::write(&file, format!("[[listener]]\n{keys}")).expect("it can be written");
        let (code, printed) =
            ringmain_tests::program::run(&[], &["check", "-c", &file.display().to_string(), "--no-persistence"]);
        assert!(code == Some(0) && printed.contains(&format!("untimely-{}.crt: {told}", identity.serial)), "{printed}");
    }
}

/// Goal: RSA, Ed25519 and larger curves are served as well.
#[test]
fn keys_of_all_kinds() {
    // ECDSA P-256 is what every other test uses.
    let authority = Authority::new("kinds");
    for kind in ["rsa:2048", "ed25519", "ec -pkeyopt ec_paramgen_curve:P-384"] {
        let directory = authority.file.parent().expect("a directory");
        let (certificate, key) = (directory.join("kind.crt"), directory.join("kind.key"));
        let call = format!(
            "openssl req -x509 -newkey {kind} -nodes -days 30 -subj /CN=kind -addext subjectAltName=DNS:localhost \
             -addext basicConstraints=critical,CA:FALSE -keyout {} -out {} 2>&1",
            key.display(),
            certificate.display()
        );
        let (status, printed) = ringmain_tests::process::Process::run("sh", &["-c", &call], ringmain_tests::DEADLINE);
        assert!(status.success(), "{printed}");
        let keys = format!(
            "bind = \"127.0.0.1:0\"\ntransport = \"tls\"\nname = \"kind\"\ncertificate = {certificate:?}\nkey = {key:?}\n"
        );
        let broker = Setup::shards(1).listener(&keys).start();
        let client = TlsClient::trusting(&certificate, BOTH, None);
        let stream = client.connect(broker.listening("tls, kind")).expect(kind);
        greeted(stream, Version::V5, "kind").ping();
    }
}

/// Goal: SIGHUP reads the files again. Who connects from then on is shown the new certificate, on every shard; who was
/// connected stays; and files that cannot be used change nothing.
#[test]
fn certificates_are_read_again() {
    let authority = Authority::new("renewing");
    let (first, second) = (authority.server("first", &["localhost"]), authority.server("second", &["localhost"]));
    let directory = authority.file.parent().expect("a directory");
    let (certificate, key) = (directory.join("live.crt"), directory.join("live.key"));
    let install = |identity: &authority::Identity| {
        fs::copy(&identity.certificate, &certificate).expect("it can be written");
        fs::copy(&identity.key, &key).expect("it can be written");
    };
    install(&first);
    let keys = format!(
        "bind = \"127.0.0.1:0\"\ntransport = \"tls\"\nname = \"live\"\ncertificate = {certificate:?}\nkey = {key:?}\n"
    );
    let mut broker = Setup::shards(4).listener(&keys).start();
    let address = broker.listening("tls, live");
    let client = TlsClient::trusting(&authority.file, BOTH, None);
    let shown = || {
        // Not one that resumes, which is shown nothing.
        let client = TlsClient::trusting(&authority.file, BOTH, None);
        let stream = client.connect(address).expect("a handshake");
        stream.stream.conn.peer_certificates().expect("a certificate")[0].clone()
    };
    let mut stays = greeted(client.connect(address).expect("a handshake"), Version::V5, "stays");
    assert_eq!(shown(), first.der().0[0]);

    install(&second);
    broker.process().signal("HUP");
    broker.process_log("SIGHUP: certificates were read again: live");
    for _ in 0..16 {
        assert_eq!(shown(), second.der().0[0]);
    }
    fs::write(&key, "nothing\n").expect("it can be written");
    broker.process().signal("HUP");
    broker.process_log("SIGHUP: everything stays as it was: listener live: key = ");
    assert_eq!(shown(), second.der().0[0]);
    stays.ping();
}
