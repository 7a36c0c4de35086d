//! JSON Web Tokens (RFC 7519) as a proof of who a client is.
//!
//! Keys are a public key or a secret out of a file, and those that an address publishes (RFC 7517). Which algorithms a key
//! is for follows from the key, never from the token alone: a public key is no secret, and `none` is no algorithm.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::identity::Particulars;
use super::users::{read_text, unreadable};
use crate::config::access::Jwt;

/// Bytes of a token at most.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Keys that an address may publish.
const KEYS_MAX: usize = 64;
/// Bytes of a secret at least (RFC 7518, section 3.2, asks for as many as the hash has).
const SECRET_BYTES_MIN: usize = 32;

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
const EC: &[Algorithm] = &[Algorithm::ES256, Algorithm::ES384];
const ED: &[Algorithm] = &[Algorithm::EdDSA];

/// Keys, and what they may be used for.
#[derive(Default)]
pub struct Keys {
    keys: Vec<Key>,
}

struct Key {
    /// Its name where it was published with one.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// What a token comes to.
#[derive(Debug)]
pub enum Token {
    /// It is one, and good: the user, and what it says.
    Good(String, Particulars),
    /// It is a token, and not good.
    Bad,
    /// It names a key that is not here.
    UnknownKey,
    /// It is no token at all.
    None,
}

impl Keys {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// What is wrong, with the file.
    pub fn read(settings: &Jwt) -> Result<Keys, String> {
        let allowed = allowed(settings)?;
        let mut keys = Keys::default();
        if let Some(path) = &settings.secret_file {
            keys.add(None, HMAC, &allowed, secret(path)?);
        }
        if let Some(path) = &settings.key_file {
            let pem = read_text(path)?;
            let (algorithms, key) = public_key(pem.as_bytes())
                .ok_or_else(|| format!("{}: no public key of RSA, EC or Ed25519 as PEM", path.display()))?;
            keys.add(None, algorithms, &allowed, key);
        }
        Ok(keys)
    }

    /// Reads keys that were published. Those that this version cannot use are left out.
    ///
    /// # Errors
    /// The text is no set of keys.
    pub fn published(text: &str, settings: &Jwt) -> Result<Keys, String> {
        let set: JwkSet = serde_json::from_str(text).map_err(|error| format!("not a set of keys: {error}"))?;
        let allowed = allowed(settings)?;
        let mut keys = Keys::default();
        for jwk in set.keys.iter().take(KEYS_MAX) {
            use jsonwebtoken::jwk::AlgorithmParameters as Parameters;
            let algorithms = match jwk.algorithm {
                Parameters::RSA(_) => RSA,
                Parameters::EllipticCurve(_) => EC,
                Parameters::OctetKeyPair(_) => ED,
                // A secret that is published is none.
                _ => continue,
            };
            if let Ok(key) = DecodingKey::from_jwk(jwk) {
                keys.add(jwk.common.key_id.clone(), algorithms, &allowed, key);
            }
        }
        Ok(keys)
    }

    fn add(&mut self, id: Option<String>, algorithms: &[Algorithm], allowed: &[Algorithm], key: DecodingKey) {
        let algorithms: Vec<Algorithm> = algorithms.iter().copied().filter(|one| allowed.contains(one)).collect();
        if !algorithms.is_empty() {
            self.keys.push(Key { id, algorithms, key });
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Holds a token against keys: those of files and those that were published.
pub fn check(token: &str, keys: &[&Keys], settings: &Jwt) -> Token {
    if token.len() > TOKEN_BYTES_MAX || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Token::None;
    }
    let header = match decode_header(token) {
        Ok(header) => header,
        // `none`, and what else is no algorithm of ours, is a token all the same.
        Err(_) if token.starts_with("eyJ") => return Token::Bad,
        Err(_) => return Token::None,
    };
    let all = || keys.iter().flat_map(|keys| &keys.keys);
    let named = |key: &&Key| match (&header.kid, &key.id) {
        (Some(wanted), Some(id)) => wanted == id,
        _ => true,
    };
    let fits = |key: &&Key| key.algorithms.contains(&header.alg);
    let mut tried = false;
    for key in all().filter(named).filter(fits) {
        tried = true;
        if let Ok(token) = decode::<Value>(token, &key.key, &validation(&key.algorithms, settings))
            && let Some(claims) = token.claims.as_object()
        {
            return told(claims, settings);
        }
    }
    if tried { Token::Bad } else { Token::UnknownKey }
}

fn validation(algorithms: &[Algorithm], settings: &Jwt) -> Validation {
    let mut validation = Validation::new(algorithms[0]);
    validation.algorithms = algorithms.to_vec();
    validation.leeway = settings.leeway.as_secs();
    validation.validate_nbf = true;
    let mut required = HashSet::from(["exp".to_owned()]);
    if settings.audiences.is_empty() {
        validation.validate_aud = false;
    } else {
        validation.set_audience(&settings.audiences);
        required.insert("aud".to_owned());
    }
    if !settings.issuers.is_empty() {
        validation.set_issuer(&settings.issuers);
        required.insert("iss".to_owned());
    }
    validation.required_spec_claims = required;
    validation
}

/// What a good token says.
fn told(claims: &Map<String, Value>, settings: &Jwt) -> Token {
    let Some(user) = claims.get(&settings.user_claim).and_then(Value::as_str) else { return Token::Bad };
    let Some(expires) = claims.get("exp").and_then(Value::as_f64) else { return Token::Bad };
    let expires = (expires as u64).saturating_add(settings.leeway.as_secs());
    let particulars = Particulars {
        claims: plain(claims),
        rules: claims.get(&settings.acl_claim).cloned(),
        superuser: false,
        expires_ms: Some(expires.saturating_mul(1000)),
    };
    Token::Good(user.to_owned(), particulars)
}

/// Claims that can be a level of a topic.
pub fn plain(claims: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    claims.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

fn allowed(settings: &Jwt) -> Result<Vec<Algorithm>, String> {
    if settings.algorithms.is_empty() {
        return Ok([HMAC, RSA, EC, ED].concat());
    }
    let known = |word: &String| {
        Algorithm::from_str(word).map_err(|_| format!("access_jwt.algorithms: there is no algorithm {word:?}"))
    };
    settings.algorithms.iter().map(known).collect()
}

fn secret(path: &Path) -> Result<DecodingKey, String> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("{}: a secret has at least {SECRET_BYTES_MIN} bytes", path.display()));
    }
    DecodingKey::from_secret(secret).map_err(|_| format!("{}: the secret cannot be used", path.display()))
}

fn public_key(pem: &[u8]) -> Option<(&'static [Algorithm], DecodingKey)> {
    let rsa = DecodingKey::from_rsa_pem(pem).map(|key| (RSA, key));
    let ec = |_| DecodingKey::from_ec_pem(pem).map(|key| (EC, key));
    let ed = |_| DecodingKey::from_ed_pem(pem).map(|key| (ED, key));
    rsa.or_else(ec).or_else(ed).ok()
}

#[cfg(test)]
mod tests;
