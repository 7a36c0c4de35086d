//! A TLS client: rustls over a socket, as a stream.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::DEADLINE;
use crate::authority::{self, Identity};

/// What a client does by itself.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// For rustls; sessions are resumed among connections that share it.
    pub config: Arc<ClientConfig>,
    /// The name that is asked for.
    pub name: String,
}

impl TlsClient {
    /// One that trusts the authority of this run and speaks these versions.
    pub fn new(versions: &[&'static rustls::SupportedProtocolVersion], identity: Option<&Identity>) -> TlsClient {
        Self::trusting(&authority::of_this_run().0.file, versions, identity)
    }

    /// One that trusts the authority in this file.
    pub fn trusting(
        authority: &Path,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> TlsClient {
        Self::with(rustls::crypto::aws_lc_rs::default_provider(), authority, versions, identity)
    }

    /// One that trusts the authority of this run and has these suites of one version alone.
    pub fn offering(suites: &[rustls::SupportedCipherSuite]) -> TlsClient {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = suites.to_vec();
        Self::with(provider, &authority::of_this_run().0.file, &[suites[0].version()], None)
    }

    fn with(
        provider: rustls::crypto::CryptoProvider,
        authority: &Path,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).expect("the authority's file")).expect("an authority");
        let provider = Arc::new(provider);
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.expect("versions that rustls has").with_root_certificates(roots);
        let config = match identity.map(Identity::der) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a key that fits"),
            None => builder.with_no_client_auth(),
        };
        TlsClient { config: Arc::new(config), name: "localhost".to_owned() }
    }

    /// The client of this run, for suites that care for MQTT alone.
    pub fn of_this_run() -> &'static TlsClient {
        static CLIENT: OnceLock<TlsClient> = OnceLock::new();
        CLIENT.get_or_init(|| TlsClient::new(rustls::DEFAULT_VERSIONS, None))
    }

    /// The same with these protocols to choose from (ALPN).
    pub fn speaking(mut self, protocols: &[&str]) -> TlsClient {
        let config = Arc::make_mut(&mut self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// The same that asks for a server of this name.
    pub fn asking_for(mut self, name: &str) -> TlsClient {
        self.name = name.to_owned();
        self
    }

    /// A connection whose handshake is to come with the first read or write.
    pub fn begin(&self, address: SocketAddr) -> TlsStream {
        let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("the broker accepts");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_write_timeout(Some(DEADLINE)).expect("a TCP socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a TCP socket");
        self.over(socket)
    }

    /// The same over a socket that is connected.
    pub fn over(&self, socket: TcpStream) -> TlsStream {
        let name = ServerName::try_from(self.name.clone()).expect("the name of a server");
        let connection = ClientConnection::new(Arc::clone(&self.config), name).expect("a configuration");
        TlsStream { stream: StreamOwned::new(connection, socket) }
    }

    /// A connection that has shaken hands, as far as the client can tell: with TLS 1.3 the server may still refuse it.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TlsStream> {
        let mut stream = self.begin(address);
        stream.shake_hands()?;
        Ok(stream)
    }
}

/// A connection.
#[derive(Debug)]
pub struct TlsStream {
    /// For what only rustls can do.
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsStream {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }

    /// Comes to the end of the client's part of the handshake.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        while self.stream.conn.is_handshaking() {
            self.stream.conn.complete_io(&mut self.stream.sock)?;
        }
        Ok(())
    }
}

impl Read for TlsStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(out) {
            // A broker that was killed says no goodbye; whether one does otherwise has tests of its own.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
