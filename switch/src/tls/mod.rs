//! TLS without a socket: files become configurations, bytes come in and go out.
//!
//! ```text
//!   files ─▶ ServerConfig ─▶ listener's policy ─▶ a shard's own reference ─▶ channel of each connection
//! ```
//!
//! - [`files`] reads certificates, keys and revocation lists, and says what is wrong with them.
//! - [`names`] picks the certificate for the name that a client asks for.
//! - [`holder`] reads what a client is called by the certificate that it has shown.
//! - [`channel`] is one connection's TLS: a value that takes bytes and gives bytes. It begins with a [`handshake`] and goes
//!   on with [`traffic`], whose [`record`]s are sealed and opened here.
//! - [`recheck`] looks at the certificates of clients again, when the files were.
//! - [`failure`] is the closed list of reasons for which there is none.
//!
//! The handshake, and all that is decided in it, is rustls's; the cryptography is aws-lc's, for both. `connection/secure`
//! joins this to sockets.

pub mod channel;
pub mod failure;
pub mod files;
pub mod handshake;
pub mod holder;
pub mod names;
pub mod recheck;
pub mod record;
pub mod traffic;

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::queue::ArrayQueue;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use shard::mesh::ShardId;

/// The TLS of one listener: what was read, and a letter box for each shard into which a reload puts what replaces it.
/// A shard looks there when it accepts, so that no lock is taken; connections that are open keep what they began with.
pub struct ListenerTls {
    letters: Box<[ArrayQueue<Arc<Secrets>>]>,
    /// What looks at certificates now.
    verifier: Mutex<Option<Arc<dyn ClientCertVerifier>>>,
}

/// What a listener shows and asks for, as it was read.
pub struct Secrets {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// What the answer to a ClientHello costs, in units of [`crate::limits::HANDSHAKE_UNITS_PER_TURN`].
    pub hello_units: u32,
    /// What a client's second flight costs, in the same units.
    pub finish_units: u32,
    /// What looks at clients' certificates, where they are asked for one.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl ListenerTls {
    /// For `shards` shards, each of which finds `secrets` in its letter box.
    pub fn new(secrets: &Arc<Secrets>, shards: u16) -> ListenerTls {
        let tls =
            ListenerTls { letters: (0..shards).map(|_| ArrayQueue::new(1)).collect(), verifier: Mutex::default() };
        tls.replace(secrets);
        tls
    }

    /// From now on each shard begins connections with these.
    pub fn replace(&self, secrets: &Arc<Secrets>) {
        *self.verifier.lock().unwrap_or_else(PoisonError::into_inner) = secrets.verifier.clone();
        for letter in &self.letters {
            // What nobody has taken yet is out of date.
            let _ = letter.force_push(Arc::clone(secrets));
        }
    }

    /// What looks at clients' certificates now, where they are asked for one. For service threads.
    pub fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.verifier.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has come for a shard since it looked last.
    pub fn letter(&self, shard: ShardId) -> Option<Arc<Secrets>> {
        self.letters[usize::from(shard.0)].pop()
    }
}

#[cfg(test)]
mod tests;
