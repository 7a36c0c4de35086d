//! A service that knows who a client is, asked over HTTP.
//!
//! ```text
//!   204                                                          yes
//!   200 {"result": "allow", "is_superuser": false, "claims": {}, "acl": [], "expire_at": 0}
//!   200 {"result": "deny"}, 401, 403                             no
//!   200 {"result": "ignore"}, 404                                ask the next back end
//!   anything else, or nothing in time                            access_http.when_down
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, RequestBuilder};

use super::identity::{Credentials, Particulars};
use super::jwt::plain;
use super::users::unreadable;
use crate::config::access::{BodyForm, Http};

/// Answers that are remembered.
const CACHED_MAX: usize = 10_000;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a set of keys.
const KEYS_BYTES_MAX: u64 = 1 << 20;
/// Where the certificates of this machine are.
const CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What a service says.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The client is who it says it is.
    Yes(Particulars),
    /// It is not.
    No,
    /// It does not know.
    Unknown,
    /// There is no answer.
    Down,
}

/// A service, and what it said lately.
pub struct Service {
    agent: Agent,
    settings: Http,
    cached: Mutex<HashMap<[u8; 32], (Instant, Answer)>>,
}

impl Service {
    /// One that these settings tell of.
    ///
    /// # Errors
    /// Its certificates cannot be read.
    pub fn new(settings: &Http) -> Result<Service, String> {
        let agent = agent(settings.timeout, settings.ca_file.as_deref())?;
        Ok(Service { agent, settings: settings.clone(), cached: Mutex::default() })
    }

    /// Asks it about a client, or remembers.
    pub fn ask(&self, credentials: &Credentials, now: Instant) -> Answer {
        let key = key(credentials);
        let cached = || self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, answer)) = cached().get(&key)
            && *until > now
        {
            return answer.clone();
        }
        let answer = self.request(credentials);
        if !self.settings.cache.is_zero() && !matches!(answer, Answer::Down) {
            let mut cached = cached();
            if cached.len() >= CACHED_MAX {
                cached.retain(|_, (until, _)| *until > now);
                if cached.len() >= CACHED_MAX {
                    cached.clear();
                }
            }
            cached.insert(key, (now + self.settings.cache, answer.clone()));
        }
        answer
    }

    fn request(&self, credentials: &Credentials) -> Answer {
        let Some(url) = &self.settings.url else { return Answer::Unknown };
        let Some(fields) = self.fields(credentials) else { return Answer::No };
        let request = with_headers(self.agent.post(url), &self.settings.headers);
        let sent = match self.settings.body {
            BodyForm::Json => {
                let body = zeroize::Zeroizing::new(json(fields));
                request.header("content-type", "application/json").send(body.as_str())
            }
            BodyForm::Form => {
                let mut pairs = Vec::new();
                for (name, value) in &fields {
                    if let Some(value) = value {
                        pairs.push((name.as_str(), value.as_str()));
                    }
                }
                request.send_form(pairs)
            }
        };
        let Ok(mut response) = sent else { return Answer::Down };
        match response.status().as_u16() {
            204 => Answer::Yes(Particulars::default()),
            200 => text_of(&mut response).and_then(|body| understood(&body)).unwrap_or(Answer::Down),
            401 | 403 => Answer::No,
            404 => Answer::Unknown,
            _ => Answer::Down,
        }
    }

    /// The fields of a request. `None`: a password that is no text cannot be sent as one.
    fn fields(&self, credentials: &Credentials) -> Option<Vec<(String, Option<String>)>> {
        let password = credentials.password.as_ref().map(|bytes| std::str::from_utf8(bytes)).transpose().ok()?;
        let peer = credentials.peer.to_string();
        let value = |name: &str| match name {
            "username" => credentials.user.as_deref(),
            "password" => password,
            "clientid" => Some(&*credentials.client_id),
            "peerhost" => Some(peer.as_str()),
            "subject" => credentials.origin.subject.as_deref(),
            _ => None,
        };
        let standard = ["username", "password", "clientid", "peerhost"].map(|name| format!("{name}=${{{name}}}"));
        let fields = if self.settings.fields.is_empty() { &standard[..] } else { &self.settings.fields };
        let filled = fields.iter().filter_map(|field| field.split_once('='));
        Some(filled.map(|(name, text)| (name.to_owned(), fill(text, &value))).collect())
    }
}

/// A text with its placeholders filled in, at once: what a client says is never looked at for more of them. `None`: it is
/// one placeholder, and there is no such value.
pub(super) fn fill<'a>(text: &str, value: &impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        && !name.contains("${")
    {
        return value(name).map(str::to_owned);
    }
    Some(filled_in(text, |name, filled| filled.push_str(value(name).unwrap_or_default())))
}

/// A text in which `put` writes what stands for each placeholder.
pub(super) fn filled_in(text: &str, put: impl Fn(&str, &mut String)) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        filled.push_str(before);
        let Some((name, after)) = behind.split_once('}') else {
            filled.push_str("${");
            rest = behind;
            continue;
        };
        put(name, &mut filled);
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// A request with the headers of the settings, `Name: value` each.
pub(super) fn with_headers<B>(request: RequestBuilder<B>, headers: &[String]) -> RequestBuilder<B> {
    let headers = headers.iter().filter_map(|header| header.split_once(':'));
    headers.fold(request, |request, (name, value)| request.header(name.trim(), value.trim()))
}

/// Fields as a JSON object; what has no value is null.
pub(super) fn json<N: Into<String>>(fields: impl IntoIterator<Item = (N, Option<String>)>) -> String {
    let fields = fields.into_iter();
    let fields = fields.map(|(name, value)| (name.into(), value.map_or(Value::Null, Value::String)));
    Value::Object(fields.collect()).to_string()
}

/// The text of an answer, if it is one and not too long.
pub(super) fn text_of(response: &mut Response<Body>) -> Option<String> {
    response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().ok()
}

/// What an answer says. `None`: it is none.
fn understood(body: &str) -> Option<Answer> {
    let value: Value = serde_json::from_str(body).ok()?;
    let object = value.as_object()?;
    match object.get("result")?.as_str()? {
        "deny" => Some(Answer::No),
        "ignore" => Some(Answer::Unknown),
        "allow" => {
            let claims = object.get("claims").or(object.get("client_attrs"));
            let claims = claims.and_then(Value::as_object).map(plain).unwrap_or_default();
            let flag = object.get("is_superuser").filter(|flag| !flag.is_null());
            let superuser = flag.map_or(Some(false), Value::as_bool)?;
            let expires = object.get("expire_at").filter(|expires| !expires.is_null());
            let expires = expires.map(|expires| expires.as_u64().ok_or(())).transpose().ok()?;
            let rules = object.get("acl").filter(|rules| !rules.is_null()).cloned();
            let expires_ms = expires.map(|seconds| seconds.saturating_mul(1000));
            Some(Answer::Yes(Particulars { claims, rules, superuser, expires_ms }))
        }
        _ => None,
    }
}

/// What makes two clients the same for a service. A missing password is another than an empty one.
fn key(credentials: &Credentials) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut put = |part: Option<&[u8]>| {
        let len = part.map_or(u64::MAX, |part| part.len() as u64);
        context.update(&len.to_be_bytes());
        context.update(part.unwrap_or_default());
    };
    put(credentials.user.as_deref().map(str::as_bytes));
    put(credentials.password.as_ref().map(|password| password.as_slice()));
    put(Some(credentials.client_id.as_bytes()));
    put(Some(credentials.peer.to_string().as_bytes()));
    put(credentials.origin.subject.as_deref().map(str::as_bytes));
    let digest = context.finish();
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Fetches a text, the keys that somebody publishes.
pub fn fetch(url: &str, timeout: Duration, ca_file: Option<&Path>) -> Result<String, String> {
    let agent = agent(timeout, ca_file)?;
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    match response.status().as_u16() {
        200 => response.body_mut().with_config().limit(KEYS_BYTES_MAX).read_to_string().map_err(|e| e.to_string()),
        status => Err(format!("the answer has status {status}")),
    }
}

/// A client for services: no proxies, no redirects.
pub(super) fn agent(timeout: Duration, ca_file: Option<&Path>) -> Result<Agent, String> {
    let path = ca_file.unwrap_or(Path::new(CA_FILE));
    let certificates: Vec<Certificate<'static>> = match std::fs::read(path) {
        Ok(pem) => parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect(),
        // Without any an address of https is one that nobody can prove; one of http needs none.
        Err(_) if ca_file.is_none() => Vec::new(),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        // Who moves away takes nobody's password along.
        .max_redirects(0)
        .proxy(None)
        .tls_config(tls)
        .build();
    Ok(config.new_agent())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is understood as yes, no and unknown; everything else is no answer.
    #[test]
    fn answers_are_understood() {
        let yes = understood(r#"{"result":"allow","is_superuser":true,"claims":{"room":7},"acl":[],"expire_at":9}"#);
        let Some(Answer::Yes(particulars)) = yes else { panic!("{yes:?}") };
        assert!(particulars.superuser && particulars.rules.is_some() && particulars.expires_ms == Some(9000));
        assert_eq!(particulars.claims, [("room".to_owned(), "7".to_owned())]);
        assert!(matches!(understood(r#"{"result":"deny"}"#), Some(Answer::No)));
        assert!(matches!(understood(r#"{"result":"ignore"}"#), Some(Answer::Unknown)));
        for wrong in ["", "allow", "{}", r#"{"result":"yes"}"#, r#"{"result":"allow","is_superuser":"no"}"#] {
            assert!(understood(wrong).is_none(), "{wrong}");
        }
    }

    /// Placeholders are filled in once: a client cannot bring one, and a missing value is not an empty one.
    #[test]
    fn placeholders_are_filled_in_once() {
        let value = |name: &str| match name {
            "username" => Some("${password}"),
            "password" => Some("secret"),
            _ => None,
        };
        for (text, expected) in [
            ("${username}", Some("${password}")),
            ("u:${username}/${clientid}", Some("u:${password}/")),
            ("${clientid}", None),
            ("plain ${", Some("plain ${")),
            ("${username}${password}", Some("${password}secret")),
        ] {
            assert_eq!(fill(text, &value).as_deref(), expected, "{text}");
        }
    }
}
