//! What a listener has of its own of access control: back ends, rules, and services.
//!
//! A back end of its own stands in place of that of all listeners, and everything else about it is as `[access_jwt]`,
//! `[access_http]` and `[access_acl_http]` say. Headers are not: those of another service may carry its secret.

use std::path::PathBuf;

use super::access::{Access, AclHttp, Backend, Http, Jwt};
use super::settings::{CertificateName, Listener};

/// Back ends and services of one listener alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// A public key for tokens, as PEM.
    pub jwt_key_file: Option<PathBuf>,
    /// A shared secret for tokens.
    pub jwt_secret_file: Option<PathBuf>,
    /// Where keys for tokens are published.
    pub jwt_jwks_url: Option<String>,
    /// Accepted issuers; empty: as everywhere.
    pub jwt_issuers: Vec<String>,
    /// Accepted audiences; empty: as everywhere.
    pub jwt_audiences: Vec<String>,
    /// A service that knows who a client is.
    pub http_url: Option<String>,
    /// `NAME: VALUE` of its headers.
    pub http_headers: Vec<String>,
    /// A service that decides about topics.
    pub acl_http_url: Option<String>,
    /// `NAME: VALUE` of its headers.
    pub acl_http_headers: Vec<String>,
}

impl Own {
    /// Whether tokens are held against keys of its own.
    pub fn has_keys(&self) -> bool {
        self.jwt_key_file.is_some() || self.jwt_secret_file.is_some() || self.jwt_jwks_url.is_some()
    }
}

impl Listener {
    /// Whether clients may connect here that do not say who they are.
    pub fn anonymous(&self, access: &Access) -> bool {
        self.allow_anonymous.unwrap_or_else(|| !self.public() && !self.authenticates(access))
    }

    /// Whether there is a way to find out who a client is.
    pub fn authenticates(&self, access: &Access) -> bool {
        self.tls.identity != CertificateName::None || !self.configured(access).is_empty()
    }

    /// All back ends that could be asked here, in order; one of its own is asked where that of all would be.
    pub fn configured(&self, access: &Access) -> Vec<Backend> {
        let own = [self.password_file.is_some(), self.own.has_keys(), self.own.http_url.is_some()];
        let own = |backend: Backend| own[backend as usize];
        let (all, of_all) = (Backend::ALL, access.chain());
        if access.backends.is_empty() {
            return all.into_iter().filter(|backend| own(*backend) || of_all.contains(backend)).collect();
        }
        // Those that only this listener has go before those whose order is written.
        let mine = all.into_iter().filter(|backend| own(*backend) && !of_all.contains(backend));
        mine.chain(of_all.iter().copied()).collect()
    }

    /// The back ends that are asked here, in order.
    pub fn chain(&self, access: &Access) -> Vec<Backend> {
        let all = self.configured(access);
        if self.backends.is_empty() {
            return all;
        }
        self.backends.iter().filter_map(|word| Backend::named(word)).filter(|backend| all.contains(backend)).collect()
    }

    /// Whether its clients are judged by rules of its own.
    pub fn has_rules(&self) -> bool {
        self.acl_file.is_some() || self.rules_file.is_some()
    }

    /// Whether a back end is its own, or says something of its own: who is called as somebody elsewhere is somebody else.
    pub fn has_users(&self) -> bool {
        let issued = self.own.has_keys() || !self.own.jwt_issuers.is_empty();
        self.password_file.is_some() || issued || self.own.http_url.is_some()
    }

    /// What its users are called after, where they are not those of all: itself, or the listener that it has them from.
    pub fn users(&self) -> Option<String> {
        self.users_of.clone().or_else(|| self.has_users().then(|| self.called()))
    }

    /// How tokens are looked at.
    pub fn jwt(&self, access: &Access) -> Jwt {
        let mut jwt = access.jwt.clone();
        if self.own.has_keys() {
            jwt.key_file.clone_from(&self.own.jwt_key_file);
            jwt.secret_file.clone_from(&self.own.jwt_secret_file);
            jwt.jwks_url.clone_from(&self.own.jwt_jwks_url);
        }
        for (own, all) in [(&self.own.jwt_issuers, &mut jwt.issuers), (&self.own.jwt_audiences, &mut jwt.audiences)] {
            if !own.is_empty() {
                all.clone_from(own);
            }
        }
        jwt
    }

    /// The service that knows who its clients are.
    pub fn http(&self, access: &Access) -> Http {
        match &self.own.http_url {
            None => access.http.clone(),
            url => Http { url: url.clone(), headers: self.own.http_headers.clone(), ..access.http.clone() },
        }
    }

    /// The service that is asked about what its clients publish and subscribe to, if one is.
    pub fn acl_http(&self, access: &Access) -> Option<AclHttp> {
        let service = match &self.own.acl_http_url {
            None => access.acl_http.clone(),
            url => AclHttp { url: url.clone(), headers: self.own.acl_http_headers.clone(), ..access.acl_http.clone() },
        };
        Some(service).filter(|service| service.url.is_some() && self.acl_http.unwrap_or(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is its own stands in place of what is for all, and keys of one kind never mix; headers stay with their service.
    #[test]
    fn what_is_its_own_goes_first() {
        let mut access = Access::default();
        access.jwt.key_file = Some("all.pem".into());
        access.jwt.issuers = vec!["all".into()];
        access.http.headers = vec!["Authorization: all".into()];
        access.acl_http.headers = vec!["Authorization: all".into()];
        let mut listener = Listener::default();
        assert_eq!((listener.jwt(&access), listener.users()), (access.jwt.clone(), None));
        listener.name = Some("own".into());
        listener.own.jwt_secret_file = Some("own.secret".into());
        let jwt = listener.jwt(&access);
        assert_eq!((jwt.key_file, jwt.secret_file), (None, Some("own.secret".into())));
        assert_eq!((jwt.issuers, listener.users()), (vec!["all".to_owned()], Some("own".to_owned())));
        listener.own.http_url = Some("http://own/".into());
        listener.own.acl_http_url = Some("http://own/acl".into());
        let acl = listener.acl_http(&access).expect("it is asked");
        assert!(listener.http(&access).headers.is_empty() && acl.headers.is_empty());
        assert_eq!(acl.url.as_deref(), Some("http://own/acl"));
        listener.acl_http = Some(false);
        assert_eq!(listener.acl_http(&access), None);
    }

    /// Back ends are asked in the written order; those of a listener alone where they would stand, or before it.
    #[test]
    fn chains_of_listeners() {
        let mut access = Access::default();
        access.jwt.key_file = Some("all.pem".into());
        let mut listener = Listener { password_file: Some("p".into()), ..Listener::default() };
        listener.own.http_url = Some("http://own/".into());
        assert_eq!(listener.chain(&access), Backend::ALL);
        access.backends = vec!["jwt".into()];
        assert_eq!(listener.chain(&access), [Backend::Passwords, Backend::Http, Backend::Jwt]);
        listener.backends = vec!["http".into(), "jwt".into()];
        assert_eq!(listener.chain(&access), [Backend::Http, Backend::Jwt]);
        assert_eq!(listener.chain(&Access::default()), [Backend::Http]);
    }
}
