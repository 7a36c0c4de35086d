//! Certificates for tests: an authority of each run's own, what it issues, and what it revokes.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::program::scratch;

/// Who issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub file: PathBuf,
    directory: PathBuf,
    name: String,
}

/// A certificate that was issued, and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// What an authority revokes it by.
    pub serial: u64,
}

/// How long a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// From 2020 until 2090.
    Now,
    /// Until the end of 2020.
    Past,
    /// From 2080 on.
    Future,
}

/// The authority of this run, whom its clients trust, and the identity of its brokers: `localhost` and 127.0.0.1.
pub fn of_this_run() -> &'static (Authority, Identity) {
    static RUN: OnceLock<(Authority, Identity)> = OnceLock::new();
    RUN.get_or_init(|| {
        let authority = Authority::new("run");
        let broker = authority.server("broker", &["localhost", "127.0.0.1"]);
        (authority, broker)
    })
}

impl Authority {
    /// A new one, whose files have names with this one.
    pub fn new(name: &str) -> Authority {
        let directory = scratch(&format!("authority-{name}"));
        let mut params = params(&[], &format!("Ringmain tests, {name}"), Holds::Now);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = directory.join(format!("{name}.crt"));
        fs::write(&file, certificate.pem()).expect("the scratch directory can be written");
        Authority { issuer: Issuer::new(params, key), file, directory, name: name.to_owned() }
    }

    /// An identity of a server with these names.
    pub fn server(&self, file: &str, names: &[&str]) -> Identity {
        self.issue(file, names, Holds::Now, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same for another time.
    pub fn server_of(&self, file: &str, names: &[&str], holds: Holds) -> Identity {
        self.issue(file, names, holds, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// An identity of a client with this common name.
    pub fn client(&self, name: &str, holds: Holds) -> Identity {
        self.issue(name, &[], holds, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The same with these alternative names, all of hosts.
    pub fn client_named(&self, name: &str, hosts: &[&str]) -> Identity {
        self.issue(name, hosts, Holds::Now, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, file: &str, names: &[&str], holds: Holds, purpose: ExtendedKeyUsagePurpose) -> Identity {
        static SERIAL: AtomicU64 = AtomicU64::new(1000);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut params = params(names, file, holds);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let of = |kind: &str| self.directory.join(format!("{}-{file}-{serial}.{kind}", self.name));
        let identity = Identity { certificate: of("crt"), key: of("key"), serial };
        fs::write(&identity.certificate, certificate.pem()).expect("the scratch directory can be written");
        fs::write(&identity.key, key.serialize_pem()).expect("the scratch directory can be written");
        identity
    }

    /// A list that revokes these, in a file.
    pub fn revoke(&self, identities: &[&Identity]) -> PathBuf {
        let revoked = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2089, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: identities.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        let file = self.directory.join(format!("{}.crl", self.name));
        fs::write(&file, list.pem().expect("a list in PEM")).expect("the scratch directory can be written");
        file
    }
}

impl Identity {
    /// As a listener is configured with it.
    pub fn keys(&self) -> String {
        format!("certificate = {:?}\nkey = {:?}\n", self.certificate, self.key)
    }

    /// For a client of ours.
    pub fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        use rustls::pki_types::pem::PemObject;
        let chain = CertificateDer::pem_file_iter(&self.certificate).expect("it was written");
        let chain = chain.collect::<Result<_, _>>().expect("it is PEM");
        (chain, PrivateKeyDer::from_pem_file(&self.key).expect("it is PEM"))
    }
}

fn params(names: &[&str], common_name: &str, holds: Holds) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params.distinguished_name.push(DnType::CommonName, common_name);
    let (from, until) = match holds {
        Holds::Now => (2020, 2090),
        Holds::Past => (2019, 2020),
        Holds::Future => (2080, 2090),
    };
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 12, 31));
    params
}
