//! Which certificate a client is shown: the one for the name that it asks for (RFC 6066, section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// The certificates of a listener, by the names within them. Names compare without regard to case; `*.example.org` stands
/// for one level (RFC 6125, section 6.4.3). Where two have a name, the first is shown.
#[derive(Debug)]
pub struct Names {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    below: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For clients that ask for no name, or one that nobody has.
    default: Arc<CertifiedKey>,
}

impl Names {
    /// The first of these is the default; there is one at least.
    pub fn new(keys: Vec<Arc<CertifiedKey>>) -> Names {
        let default = Arc::clone(keys.first().expect("a listener with TLS has a certificate"));
        let mut names = Names { exact: HashMap::new(), below: HashMap::new(), default };
        for key in keys {
            // One that cannot be read shows no names; the files were checked before.
            let Some(Ok(certificate)) = key.cert.first().map(EndEntityCert::try_from) else { continue };
            for name in certificate.valid_dns_names() {
                let name = name.to_ascii_lowercase();
                let (table, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut names.below, rest),
                    None => (&mut names.exact, &*name),
                };
                table.entry(name.into()).or_insert_with(|| Arc::clone(&key));
            }
        }
        names
    }

    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        // rustls has made it lower case where it needs to be; this is a handshake, not a message.
        let name = name.to_ascii_lowercase();
        let below = || self.below.get(name.split_once('.')?.1);
        self.exact.get(&*name).or_else(below).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = hello.server_name().map_or(&self.default, |name| self.find(name));
        Some(Arc::clone(key))
    }
}
