//! Tokens of each algorithm, and what is wrong with others. The keys are for these tests alone.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
/// A time that no test will see: 2100.
const LATER: u64 = 4_102_444_800;

/// What a token is signed with.
fn signer(algorithm: Algorithm) -> EncodingKey {
    let key = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => EncodingKey::from_secret(SECRET),
        Algorithm::ES256 => EncodingKey::from_ec_pem(include_bytes!("keys/ec.pem")),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(include_bytes!("keys/ed.pem")),
        _ => EncodingKey::from_rsa_pem(include_bytes!("keys/rsa.pem")),
    };
    key.expect("a key of these tests")
}

fn token(algorithm: Algorithm, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &signer(algorithm)).expect("a token")
}

/// All keys of these tests.
fn keys() -> Keys {
    let all = [HMAC, RSA, EC, ED].concat();
    let mut keys = Keys::default();
    keys.add(None, HMAC, &all, DecodingKey::from_secret(SECRET).expect("a secret"));
    for pem in [&include_bytes!("keys/rsa.pub")[..], include_bytes!("keys/ec.pub"), include_bytes!("keys/ed.pub")] {
        let (algorithms, key) = public_key(pem).expect("a public key");
        keys.add(None, algorithms, &all, key);
    }
    keys
}

fn claims() -> Value {
    json!({ "sub": "alice", "exp": LATER, "room": 7, "acl": { "pub": ["room/${claim.room}"] } })
}

fn is_bad(token: &Token) -> bool {
    matches!(token, Token::Bad | Token::UnknownKey)
}

/// A token of each algorithm is accepted, with what it says.
#[test]
fn each_algorithm_is_known() {
    let settings = Jwt::default();
    for word in ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "EdDSA"] {
        let algorithm = Algorithm::from_str(word).expect("an algorithm");
        let found = check(&token(algorithm, &claims()), &[&keys()], &settings);
        let Token::Good(user, particulars) = found else { panic!("{word}: {found:?}") };
        assert_eq!((user.as_str(), particulars.expires_ms), ("alice", Some((LATER + 30) * 1000)));
        assert!(particulars.claims.contains(&("room".to_owned(), "7".to_owned())) && particulars.rules.is_some());
    }
}

/// A public key is no secret: a token that is signed with its text, as if it were one, is refused.
#[test]
fn a_public_key_is_no_secret() {
    let pem = include_bytes!("keys/rsa.pub");
    let forged = encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(pem).expect("bytes"));
    let mut only = Keys::default();
    let (algorithms, key) = public_key(pem).expect("a public key");
    only.add(None, algorithms, &[HMAC, RSA].concat(), key);
    assert!(is_bad(&check(&forged.expect("a token"), &[&only], &Jwt::default())));
}

/// What is wrong: signature, time, algorithm, audience, issuer, no user, claims of another type.
#[test]
fn wrong_tokens_are_refused() {
    let settings = Jwt { audiences: vec!["here".into()], issuers: vec!["us".into()], ..Jwt::default() };
    let good = json!({ "sub": "alice", "exp": LATER, "aud": "here", "iss": "us" });
    let of = |claims: &Value| check(&token(Algorithm::HS256, claims), &[&keys()], &settings);
    assert!(matches!(of(&good), Token::Good(..)));
    for (key, value) in [
        ("exp", json!(1)),
        ("exp", json!("4102444800x")),
        ("exp", Value::Null),
        ("nbf", json!(LATER)),
        ("nbf", json!(LATER.to_string())),
        ("aud", json!("there")),
        ("aud", Value::Null),
        ("iss", json!("them")),
        ("iss", Value::Null),
        ("sub", json!(7)),
        ("sub", Value::Null),
    ] {
        let mut claims = good.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().and_then(|claims| claims.remove(key))),
            value => claims[key] = value,
        }
        assert!(is_bad(&of(&claims)), "{claims}");
    }
    let token = token(Algorithm::HS256, &good);
    let cut = &token[..token.len() - 2];
    assert!(is_bad(&check(cut, &[&keys()], &settings)));
    // {"alg":"none"}, with the same claims and no signature.
    let body = token.split('.').nth(1).expect("claims");
    assert!(is_bad(&check(&format!("eyJhbGciOiJub25lIn0.{body}."), &[&keys()], &settings)));
    for other in ["", "secret", "a.b", "a.b.c", "not.a.token"] {
        assert!(matches!(check(other, &[&keys()], &settings), Token::None), "{other}");
    }
    let only = Jwt { algorithms: vec!["RS256".into()], ..Jwt::default() };
    assert_eq!(allowed(&only), Ok(vec![Algorithm::RS256]));
    assert!(allowed(&Jwt { algorithms: vec!["none".into()], ..Jwt::default() }).is_err());
}

/// Keys that are published are found by their name; a secret among them is none.
#[test]
fn published_keys() {
    let secret = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "s" }] });
    assert!(Keys::published(&secret.to_string(), &Jwt::default()).expect("a set").is_empty());
    assert!(Keys::published("[]", &Jwt::default()).is_err());
    let private = EncodingKey::from_rsa_pem(include_bytes!("keys/rsa.pem")).expect("a key");
    let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&private, Algorithm::RS256).expect("a key");
    jwk.common.key_id = Some("one".into());
    let text = serde_json::to_string(&JwkSet { keys: vec![jwk] }).expect("JSON");
    let keys = Keys::published(&text, &Jwt::default()).expect("a set");
    let signed = |kid: &str| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
        encode(&header, &claims(), &private).expect("a token")
    };
    assert!(matches!(check(&signed("one"), &[&keys], &Jwt::default()), Token::Good(..)));
    assert!(matches!(check(&signed("two"), &[&keys], &Jwt::default()), Token::UnknownKey));
}
