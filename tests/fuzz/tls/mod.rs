//! TLS without a socket, without the broker around it: instrumenting all of that would take minutes.

#[path = "../../../switch/src/tls/channel.rs"]
pub mod channel;
#[path = "../../../switch/src/tls/failure.rs"]
pub mod failure;
#[path = "../../../switch/src/tls/handshake.rs"]
pub mod handshake;
#[path = "../../../switch/src/tls/record.rs"]
pub mod record;
#[path = "../../../switch/src/tls/traffic.rs"]
pub mod traffic;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;

/// What a listener shows and asks for: the fields of the broker's own, which `replay` is built with.
pub struct Secrets {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// What the answer to a ClientHello costs.
    pub hello_units: u32,
    /// What a client's second flight costs.
    pub finish_units: u32,
    /// What looks at clients' certificates.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
}
