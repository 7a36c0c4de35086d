//! Why there is no TLS with a client: a closed list, for the log and the counters.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::counters::Counter;

/// Why a handshake failed, or an encrypted connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What came is no TLS.
    NotTls,
    /// The client speaks none of our versions.
    Version,
    /// No cipher suite, group or signature that both know.
    Cipher,
    /// The client wants another protocol than MQTT (or HTTP/1.1, for WebSocket).
    Protocol,
    /// The client has shown no certificate.
    CertificateMissing,
    /// Its certificate is over, or has not begun.
    CertificateExpired,
    /// Its certificate was revoked.
    CertificateRevoked,
    /// Nobody whom we know has issued its certificate, or nothing tells whether it was revoked.
    CertificateUnknown,
    /// Its certificate is wrong in another way.
    CertificateBad,
    /// The client has refused what we showed, or has ended it.
    Alert(AlertDescription),
    /// It broke a rule of TLS.
    Violated,
    /// It did not come to the end in time.
    Timeout,
    /// It closed the connection before the end.
    Closed,
}

impl Failure {
    /// What an error of rustls comes to.
    pub fn of(error: &Error) -> Failure {
        match error {
            Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)
            | Error::InvalidMessage(rustls::InvalidMessage::UnknownProtocolVersion) => Failure::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // TLS 1.2 has this extension, so its absence is that of an older client.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => Failure::Version,
            Error::PeerIncompatible(_) => Failure::Cipher,
            Error::NoApplicationProtocol => Failure::Protocol,
            Error::NoCertificatesPresented => Failure::CertificateMissing,
            Error::InvalidCertificate(error) => Failure::of_certificate(error),
            Error::AlertReceived(alert) => Failure::Alert(*alert),
            _ => Failure::Violated,
        }
    }

    fn of_certificate(error: &CertificateError) -> Failure {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
                Failure::CertificateExpired
            }
            E::Revoked => Failure::CertificateRevoked,
            E::UnknownIssuer
            | E::UnknownRevocationStatus
            | E::ExpiredRevocationList
            | E::ExpiredRevocationListContext { .. } => Failure::CertificateUnknown,
            _ => Failure::CertificateBad,
        }
    }

    /// For the log, with the alert that the client is sent (RFC 8446, section 6) where it is one for this reason alone.
    pub fn description(self) -> &'static str {
        match self {
            Failure::NotTls => "TLS: what came is no TLS; does the client speak plain MQTT?",
            Failure::Version => {
                "TLS: the client speaks no version that is allowed (alert: protocol version or the like)"
            }
            Failure::Cipher => "TLS: no cipher suite, group or signature in common (alert: handshake failure)",
            Failure::Protocol => "TLS: the client wants another protocol (alert: no application protocol)",
            Failure::CertificateMissing => "TLS: the client has shown no certificate (alert: certificate required)",
            Failure::CertificateExpired => "TLS: the client's certificate is over or not begun (alert: expired)",
            Failure::CertificateRevoked => "TLS: the client's certificate was revoked (alert: revoked)",
            Failure::CertificateUnknown => {
                "TLS: the issuer of the client's certificate is not known (alert: unknown CA)"
            }
            Failure::CertificateBad => "TLS: the client's certificate is not good (alert: bad certificate or the like)",
            Failure::Alert(alert) => alert_description(alert),
            Failure::Violated => "TLS: the client broke a rule of the protocol (alert: decode error or the like)",
            Failure::Timeout => "TLS: no handshake and CONNECT in time",
            Failure::Closed => "TLS: the client closed the connection in the handshake",
        }
    }

    /// What counts handshakes that failed for this reason.
    pub fn counter(self) -> Counter {
        match self {
            Failure::NotTls => Counter::TlsFailedNotTls,
            Failure::Version => Counter::TlsFailedVersion,
            Failure::Cipher => Counter::TlsFailedCipher,
            Failure::Protocol => Counter::TlsFailedProtocol,
            Failure::CertificateMissing => Counter::TlsFailedCertificateMissing,
            Failure::CertificateExpired => Counter::TlsFailedCertificateExpired,
            Failure::CertificateRevoked => Counter::TlsFailedCertificateRevoked,
            Failure::CertificateUnknown => Counter::TlsFailedCertificateUnknown,
            Failure::CertificateBad => Counter::TlsFailedCertificateBad,
            Failure::Alert(_) => Counter::TlsFailedAlert,
            Failure::Violated => Counter::TlsFailedViolated,
            Failure::Timeout => Counter::TlsFailedTimeout,
            Failure::Closed => Counter::TlsFailedClosed,
        }
    }
}

/// What a client means by its alert; those that tell an operator what to change.
fn alert_description(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::UnknownCA => "TLS: the client does not know who issued our certificate (its alert: unknown CA)",
        A::BadCertificate | A::CertificateUnknown | A::UnsupportedCertificate => {
            "TLS: the client does not take our certificate (its alert: bad certificate or the like)"
        }
        A::CertificateExpired => "TLS: our certificate is over for the client (its alert: certificate expired)",
        A::CertificateRevoked => "TLS: our certificate was revoked (the client's alert: certificate revoked)",
        A::ProtocolVersion => "TLS: the client does not take our version (its alert: protocol version)",
        A::HandshakeFailure => "TLS: the client found nothing in common (its alert: handshake failure)",
        A::UserCanceled => "TLS: the client gave up (its alert: user canceled)",
        _ => "TLS: the client ended it with an alert",
    }
}
