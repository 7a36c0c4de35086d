//! From files to what rustls needs. Each mistake is one error: which key, which file, what is wrong, what to do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SignatureAlgorithm, SupportedProtocolVersion};
use webpki::{EndEntityCert, KeyUsage};

use super::Secrets;
use super::names::Names;
use crate::config::{ClientCertificates, KeyPair, Listener, Settings, Tls, TlsVersion, Transport};
use crate::listener::ListenerPolicy;

/// A file is at most so long, in bytes: a revocation list of a large authority has a few MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// A certificate whose end is so near is warned of.
const SOON: std::time::Duration = std::time::Duration::from_secs(14 * 24 * 3600);

/// What a ClientHello costs with an ECDSA or Ed25519 key: some 240 µs, where a unit is 80 µs.
const UNITS_OF_ECDSA: u32 = 3;
/// With an RSA key of 2048 bits; larger ones are not told apart.
const UNITS_OF_RSA: u32 = 11;
/// The second flight, without and with a certificate of the client.
const UNITS_OF_FINISH: [u32; 2] = [1, 4];

/// Why a listener's files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The listener's number in the configuration.
    pub listener: usize,
    /// The key of the listener that names the file.
    pub key: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

impl TlsError {
    /// An error of a listener that is not known yet.
    fn new(key: &'static str, file: &Path, what: String, remedy: &'static str) -> TlsError {
        TlsError { listener: 0, key, file: file.to_owned(), what, remedy }
    }
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlsError { key, file, what, remedy, .. } = self;
        write!(f, "{key} = \"{}\": {what}\n  remedy: {remedy}", file.display())
    }
}

/// What was read, and what an operator should know of it though it can be used.
pub struct Loaded {
    /// For the listener.
    pub secrets: Arc<Secrets>,
    /// A line for each.
    pub warnings: Vec<String>,
}

/// Files that were read again, and are not used yet.
pub struct ReadAgain<'a> {
    read: Vec<(&'a ListenerPolicy, Arc<Secrets>)>,
    /// What an operator should know of them: a line for each.
    pub warnings: Vec<String>,
}

/// Reads the files of all listeners that speak TLS, in their order.
pub fn load_all(settings: &Settings) -> Result<Vec<Option<Loaded>>, TlsError> {
    let load_one = |(index, listener): (usize, &Listener)| {
        let loaded = listener.transport.is_encrypted().then(|| load(&listener.tls, listener.transport)).transpose();
        loaded.map_err(|error| TlsError { listener: index, ..error })
    };
    settings.listeners.iter().enumerate().map(load_one).collect()
}

/// Reads all files again that these settings name for the listeners in service. The error comes with the name of its
/// listener.
pub fn read_again<'a>(
    listeners: &'a [ListenerPolicy],
    settings: &Settings,
) -> Result<ReadAgain<'a>, (&'a str, TlsError)> {
    let (mut read, mut warnings) = (Vec::new(), Vec::new());
    // A listener is missing in service only where all are there by default, and none has TLS.
    for (policy, listener) in listeners.iter().zip(&settings.listeners).filter(|(policy, _)| policy.tls.is_some()) {
        let loaded = load(&listener.tls, policy.transport).map_err(|error| (&*policy.name, error))?;
        warnings.extend(loaded.warnings);
        read.push((policy, loaded.secrets));
    }
    Ok(ReadAgain { read, warnings })
}

impl<'a> ReadAgain<'a> {
    /// Puts what was read in the place of what is used. Returns the names of the listeners.
    pub fn swap(self) -> Vec<&'a str> {
        let swap = |(policy, secrets): (&'a ListenerPolicy, Arc<Secrets>)| {
            policy.tls.iter().for_each(|tls| tls.replace(&secrets));
            &*policy.name
        };
        self.read.into_iter().map(swap).collect()
    }
}

/// Reads the files of a listener that speaks TLS. The start, a reload and `ringmain check` all come here.
pub fn load(tls: &Tls, transport: Transport) -> Result<Loaded, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut warnings = Vec::new();
    let pairs = tls.pairs();
    let keys = pairs.iter().map(|pair| certified_key(tls, pair, &provider, &mut warnings));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let rsa = keys.iter().any(|key| key.key.algorithm() == SignatureAlgorithm::RSA);

    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
    let builder = builder.expect("the provider has suites for both versions");
    let asks = tls.client_certificates != ClientCertificates::None;
    let mut verifies: Option<Arc<dyn ClientCertVerifier>> = None;
    let builder = match (asks, &tls.client_ca) {
        (true, Some(file)) => {
            let roots = authorities(file)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
            let verifier = verifier.with_crls(revocation_lists(&tls.client_crl)?).only_check_end_entity_revocation();
            let optional = tls.client_certificates == ClientCertificates::Optional;
            let verifier = if optional { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|error| {
                let file = tls.client_crl.first().map_or_else(|| file.clone(), PathBuf::from);
                let key = if tls.client_crl.is_empty() { "client_ca" } else { "client_crl" };
                TlsError::new(key, &file, error.to_string(), "name files that the authority made")
            })?;
            verifies = Some(Arc::clone(&verifier));
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Names::new(keys)));
    let protocol: &[u8] = if transport.is_web() { b"http/1.1" } else { b"mqtt" };
    config.alpn_protocols = vec![protocol.to_vec()];
    // Tickets carry the state themselves, so every shard resumes what another one began, and nobody keeps a table.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().expect("the system has randomness");
    // One is what one reconnect uses; a client gets the next with it.
    config.send_tls13_tickets = 1;
    // 0-RTT could be sent twice by anybody who has seen it.
    config.max_early_data_size = 0;
    // Records behind the handshake are ours (`tls/traffic`).
    config.enable_secret_extraction = true;
    let secrets = Secrets {
        config: Arc::new(config),
        hello_units: if rsa { UNITS_OF_RSA } else { UNITS_OF_ECDSA },
        finish_units: UNITS_OF_FINISH[usize::from(asks)],
        verifier: verifies,
    };
    Ok(Loaded { secrets: Arc::new(secrets), warnings })
}

/// A certificate with its key, which belong together.
fn certified_key(
    tls: &Tls,
    pair: &KeyPair,
    provider: &CryptoProvider,
    warnings: &mut Vec<String>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let sole = tls.certificate.as_ref() == Some(&pair.certificate) && tls.key.as_ref() == Some(&pair.key);
    let (certificate_key, key_key) = if sole { ("certificate", "key") } else { ("certificates", "certificates") };
    let refuse = |what: String, remedy| TlsError::new(certificate_key, &pair.certificate, what, remedy);
    let refuse_key = |what: String, remedy| TlsError::new(key_key, &pair.key, what, remedy);

    let bytes = read(certificate_key, &pair.certificate)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| refuse(not_pem(&error), "write certificates in PEM"))?;
    let Some(first) = chain.first() else {
        let remedy = "name a PEM file with -----BEGIN CERTIFICATE-----; openssl x509 -inform DER makes one of DER";
        return Err(refuse("there is no certificate in it".to_owned(), remedy));
    };
    if let Err(error) = EndEntityCert::try_from(first) {
        return Err(refuse(format!("its first certificate cannot be read: {error}"), "have it issued again"));
    }
    warnings.extend(about_its_time(first, &pair.certificate, provider));

    let bytes = read(key_key, &pair.key)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound if bytes.windows(21).any(|window| window == b"BEGIN ENCRYPTED PRIVA") => {
            refuse_key("the key is encrypted".to_owned(), "decrypt it: openssl pkey -in FILE -out FILE")
        }
        pem::Error::NoItemsFound => {
            refuse_key("there is no private key in it".to_owned(), "name a PEM file with -----BEGIN PRIVATE KEY-----")
        }
        error => refuse_key(not_pem(&error), "write the key in PEM"),
    })?;
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(key) => Ok(Arc::new(key)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(refuse_key(
            format!("the key does not belong to the certificate in {}", pair.certificate.display()),
            "name the key that the certificate was issued for",
        )),
        Err(error) => {
            let remedy = "write an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits and more) key";
            Err(refuse_key(format!("the key cannot be used: {error}"), remedy))
        }
    }
}

/// What to say of a certificate that is over, that has not begun, or that is soon over. It is shown nevertheless: a
/// client may have its clock wrong on purpose, and a node that does not start serves nobody.
fn about_its_time(certificate: &CertificateDer<'_>, file: &Path, provider: &CryptoProvider) -> Option<String> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let algorithms = provider.signature_verification_algorithms.all;
    // Its own time is looked at before anything else, so no authority is needed to learn of it.
    let at = |time| parsed.verify_for_usage(algorithms, &[], &[], time, KeyUsage::server_auth(), None, None).err();
    let now = UnixTime::now();
    let file = file.display();
    match at(now)? {
        webpki::Error::CertExpired { not_after, .. } => {
            let days = now.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            return Some(format!("{file}: the certificate expired {days} days ago: clients will refuse it"));
        }
        webpki::Error::CertNotValidYet { .. } => {
            return Some(format!("{file}: the certificate is not valid yet: clients will refuse it"));
        }
        _ => {}
    }
    let soon = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs()) + SOON);
    match at(soon)? {
        webpki::Error::CertExpired { not_after, .. } => {
            let days = not_after.as_secs().saturating_sub(now.as_secs()) / 86_400;
            Some(format!("{file}: the certificate expires in {days} days"))
        }
        _ => None,
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let refuse = |what, remedy| TlsError::new("client_ca", file, what, remedy);
    let bytes = read("client_ca", file)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| refuse(not_pem(&error), "write certificates in PEM"))?;
        let added = roots.add(certificate);
        added.map_err(|error| refuse(format!("a certificate cannot be used: {error}"), "name authorities alone"))?;
    }
    if roots.is_empty() {
        let remedy = "name a PEM file with the certificates of the authorities that issue to clients";
        return Err(refuse("there is no certificate in it".to_owned(), remedy));
    }
    Ok(roots)
}

fn revocation_lists(files: &[String]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let mut lists = Vec::new();
    for file in files {
        let refuse = |what, remedy| TlsError::new("client_crl", Path::new(file), what, remedy);
        let bytes = read("client_crl", Path::new(file))?;
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(&bytes) {
            lists.push(list.map_err(|error| refuse(not_pem(&error), "write lists in PEM or DER"))?);
        }
        // A SEQUENCE: what authorities publish over HTTP is mostly DER.
        if lists.len() == before && bytes.first() == Some(&0x30) {
            lists.push(CertificateRevocationListDer::from(bytes));
        } else if lists.len() == before {
            let remedy = "name a file with -----BEGIN X509 CRL-----, or one in DER";
            return Err(refuse("there is no revocation list in it".to_owned(), remedy));
        }
    }
    Ok(lists)
}

fn not_pem(error: &pem::Error) -> String {
    format!("not PEM: {error}")
}

fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    let refuse = |what: String, remedy| TlsError::new(key, file, what, remedy);
    let metadata = std::fs::metadata(file)
        .map_err(|error| refuse(format!("cannot be read: {error}"), "name a file that exists and may be read"))?;
    if metadata.is_dir() {
        return Err(refuse("is a directory".to_owned(), "name the file in it"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(refuse(format!("is {} bytes long", metadata.len()), "at most 64 MiB are read"));
    }
    std::fs::read(file)
        .map_err(|error| refuse(format!("cannot be read: {error}"), "let the user that the program runs as read it"))
}
