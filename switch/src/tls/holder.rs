//! Who holds a certificate: what a client is called by the one that it has shown.
//!
//! rustls has verified the certificate before; here only its names are read (RFC 5280, sections 4.1.2.6 and 4.2.1.6).

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::config::CertificateName;

/// Bytes of a user name, as MQTT has it ([MQTT-1.5.4]).
const NAME_BYTES_MAX: usize = u16::MAX as usize;

/// What a certificate says of who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its subject, as text.
    pub subject: String,
    /// The name that is the user's; absent where there is none, or not just one.
    pub user: Option<String>,
}

impl Holder {
    /// Of a certificate in DER; the user is called by `name`.
    pub fn of(certificate: &[u8], name: CertificateName) -> Holder {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Holder::default() };
        let user = match name {
            CertificateName::None => None,
            CertificateName::Cn => {
                let mut names = certificate.subject().iter_common_name();
                let first = names.next().and_then(|name| name.as_str().ok());
                // Of two, nothing tells which one an authority has looked at.
                first.filter(|_| names.next().is_none()).map(str::to_owned)
            }
            CertificateName::Dns | CertificateName::Email | CertificateName::Uri => alternative(&certificate, name),
        };
        let user = user.filter(|user| !user.is_empty() && user.len() <= NAME_BYTES_MAX && !user.contains('\0'));
        Holder { subject: certificate.subject().to_string(), user }
    }
}

/// The first alternative name of a kind.
fn alternative(certificate: &X509Certificate<'_>, name: CertificateName) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|general| match (general, name) {
        (GeneralName::DNSName(text), CertificateName::Dns)
        | (GeneralName::RFC822Name(text), CertificateName::Email)
        | (GeneralName::URI(text), CertificateName::Uri) => Some((*text).to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn holder(names: &[&str], alternatives: Vec<SanType>, name: CertificateName) -> Holder {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // rcgen keeps one value of each type: the second one is of another.
        for (text, kind) in names.iter().zip([DnType::CommonName, DnType::OrganizationName]) {
            params.distinguished_name.push(kind, *text);
        }
        params.subject_alt_names = alternatives;
        let key = KeyPair::generate().expect("a key");
        Holder::of(params.self_signed(&key).expect("a certificate").der(), name)
    }

    /// The name that was asked for is found, and no other takes its place.
    #[test]
    fn names_are_found() {
        let text = |text: &str| text.try_into().expect("ASCII");
        let all = || {
            vec![
                SanType::DnsName(text("a.example")),
                SanType::DnsName(text("b.example")),
                SanType::Rfc822Name(text("a@example.org")),
                SanType::URI(text("urn:dev:mac:0024befffe804ff1")),
            ]
        };
        let user = |name| holder(&["alice", "Org"], all(), name).user;
        assert_eq!(user(CertificateName::Cn).as_deref(), Some("alice"));
        assert_eq!(user(CertificateName::Dns).as_deref(), Some("a.example"));
        assert_eq!(user(CertificateName::Email).as_deref(), Some("a@example.org"));
        assert_eq!(user(CertificateName::Uri).as_deref(), Some("urn:dev:mac:0024befffe804ff1"));
        assert_eq!(user(CertificateName::None), None);
        let bare = |name| holder(&[], Vec::new(), name).user;
        for name in [CertificateName::Cn, CertificateName::Dns, CertificateName::Email, CertificateName::Uri] {
            assert_eq!(bare(name), None, "{name:?}");
        }
        assert_eq!(
            holder(&["alice", "Org"], Vec::new(), CertificateName::Dns).user,
            None,
            "no CN instead of a DNS name"
        );
        assert_eq!(holder(&["alice", "Org"], Vec::new(), CertificateName::None).subject, "CN=alice, O=Org");
    }

    /// What is no name is nobody's: an empty one, one with a NUL, what is no certificate.
    #[test]
    fn bad_names_are_nobodys() {
        for name in ["", "a\0b"] {
            assert_eq!(holder(&[name], Vec::new(), CertificateName::Cn).user, None, "{name:?}");
        }
        assert_eq!(Holder::of(b"no certificate", CertificateName::Cn), Holder::default());
    }
}
