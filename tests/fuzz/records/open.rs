//! Handshakes without secrets: keys are agreed on, certificates signed and randomness drawn as everybody can tell.
//!
//! The same input has the same keys each time, and a handshake takes no arithmetic, of which one costs more than all
//! that a target does besides.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, NamedGroup, ServerConfig, SignatureAlgorithm, SignatureScheme,
};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::tls::Secrets;

/// Every kind of record: three of TLS 1.3, then three of TLS 1.2.
pub const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The only kind of signature.
const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// What the server shows, and a client for each of [`SUITES`].
pub fn configurations() -> &'static (Secrets, Vec<Arc<ClientConfig>>) {
    static MADE: OnceLock<(Secrets, Vec<Arc<ClientConfig>>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let clients = SUITES.iter().map(|suite| Arc::new(client(*suite)));
        let secrets = Secrets { config: Arc::new(server()), hello_units: 1, finish_units: 1, verifier: None };
        (secrets, clients.collect())
    })
}

fn provider(suites: &[SupportedCipherSuite]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites.to_vec(),
        kx_groups: vec![&Open],
        secure_random: &Open,
        ..aws_lc_rs::default_provider()
    })
}

fn server() -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider(&SUITES));
    let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).expect("both versions").with_no_client_auth();
    let shown = CertifiedKey::new(vec![CertificateDer::from_slice(b"certificate")], Arc::new(Open));
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.enable_secret_extraction = true;
    config
}

fn client(suite: SupportedCipherSuite) -> ClientConfig {
    let version: &'static SupportedProtocolVersion = suite.version();
    let builder = ClientConfig::builder_with_provider(provider(&[suite]));
    let builder = builder.with_protocol_versions(&[version]).expect("a version of its suite").dangerous();
    let mut config = builder.with_custom_certificate_verifier(Arc::new(Open)).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config
}

/// All that should be secret, and is not.
#[derive(Clone, Copy, Debug)]
struct Open;

impl SecureRandom for Open {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        bytes.fill(0x5a);
        Ok(())
    }
}

impl SupportedKxGroup for Open {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Open))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Open {
    fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, Error> {
        Ok(SharedSecret::from(&[0xa5; 32][..]))
    }

    fn pub_key(&self) -> &[u8] {
        &[1; 32]
    }

    fn group(&self) -> NamedGroup {
        self.name()
    }
}

impl SigningKey for Open {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(Open) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Open {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(b"signature".to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

impl ServerCertVerifier for Open {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SCHEME]
    }
}
