//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, as an enhanced authentication of MQTT 5.0 (section 4.12).
//!
//! ```text
//!   CONNECT  n,,n=USER,r=CNONCE                  ─▶
//!                                                ◀─  AUTH     r=CNONCE SNONCE,s=SALT,i=ITERATIONS
//!   AUTH     c=biws,r=CNONCE SNONCE,p=PROOF      ─▶
//!                                                ◀─  CONNACK  v=SIGNATURE
//! ```
//! Without channel binding: there is no channel to bind to that this program ends. A user who is not there gets a salt
//! like anybody, always the same, and is told so with the last step only.

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::hash::Scram;
use super::identity::Credentials;

/// The name of the method.
pub const METHOD: &str = "SCRAM-SHA-256";
/// Bytes of what a client may say in one step.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Bytes of our part of the nonce.
const NONCE_BYTES: usize = 18;

/// An exchange between its two steps. It knows what the client said of itself, which its connection does not keep.
pub struct Exchange {
    /// What CONNECT said.
    pub credentials: Credentials,
    /// The user that the client wants to be.
    pub user: Box<str>,
    known: bool,
    keys: Scram,
    nonce: String,
    /// client-first-message-bare and server-first-message, with a comma each.
    messages: String,
}

/// The client does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A client's first message: the user, its nonce, and the message without its header.
fn first(data: &[u8]) -> Result<(String, &str, &str), Broken> {
    let text = std::str::from_utf8(data).map_err(|_| Broken)?;
    // No channel binding, and no other identity to act as.
    let bare = text.strip_prefix("n,,").ok_or(Broken)?;
    let mut parts = bare.split(',');
    let user = parts.next().and_then(|part| part.strip_prefix("n=")).ok_or(Broken)?;
    let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(Broken)?;
    let printable = nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if nonce.is_empty() || !printable || text.len() > MESSAGE_BYTES_MAX {
        return Err(Broken);
    }
    Ok((unescaped(user)?, nonce, bare))
}

/// A user name as it is: `=2C` is a comma, `=3D` an equals sign (section 5.1).
fn unescaped(user: &str) -> Result<String, Broken> {
    let mut parts = user.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Broken),
        };
        name.push(character);
        name.push_str(rest);
    }
    if name.is_empty() { Err(Broken) } else { Ok(name) }
}

impl Exchange {
    /// Takes the client's first message. The exchange, and what to answer. `secret` makes up salts.
    ///
    /// # Errors
    /// The message is none, or there is no randomness.
    pub fn begin<'a>(
        credentials: Credentials,
        data: &[u8],
        find: impl FnOnce(&str) -> Option<&'a Scram>,
        secret: &[u8],
    ) -> Result<(Exchange, Vec<u8>), Broken> {
        let mut random = [0; NONCE_BYTES];
        rand::fill(&mut random).map_err(|_| Broken)?;
        Exchange::begin_with(credentials, data, find, secret, &STANDARD.encode(random))
    }

    fn begin_with<'a>(
        credentials: Credentials,
        data: &[u8],
        find: impl FnOnce(&str) -> Option<&'a Scram>,
        secret: &[u8],
        own_nonce: &str,
    ) -> Result<(Exchange, Vec<u8>), Broken> {
        let (user, nonce, bare) = first(data)?;
        let found = find(&user).cloned();
        let known = found.is_some();
        let keys = found.unwrap_or_else(|| made_up(secret, &user));
        let nonce = format!("{nonce}{own_nonce}");
        let answer = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let messages = format!("{bare},{answer},");
        let exchange = Exchange { credentials, user: user.into(), known, keys, nonce, messages };
        Ok((exchange, answer.into_bytes()))
    }

    /// Takes the client's last message. The last answer, if the client has proved itself.
    ///
    /// # Errors
    /// The message is none.
    pub fn finish(&self, data: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        let text = std::str::from_utf8(data).map_err(|_| Broken)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Broken)?;
        let rest = without_proof.strip_prefix("c=biws,r=").ok_or(Broken)?;
        // Extensions may follow the nonce.
        let nonce = rest.split(',').next().unwrap_or_default();
        let mut proof = STANDARD.decode(proof).map_err(|_| Broken)?;
        if nonce != self.nonce || proof.len() != self.keys.stored_key.len() {
            return Err(Broken);
        }
        let message = format!("{}{without_proof}", self.messages);
        let sign = |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
        let signature = sign(&self.keys.stored_key);
        proof.iter_mut().zip(signature.as_ref()).for_each(|(proof, signature)| *proof ^= signature);
        let stored = digest::digest(&digest::SHA256, &proof);
        let right = verify_slices_are_equal(stored.as_ref(), &self.keys.stored_key).is_ok();
        let answer = format!("v={}", STANDARD.encode(sign(&self.keys.server_key)));
        Ok((right && self.known).then(|| answer.into_bytes()))
    }
}

/// What somebody who is not there is shown: the same each time, and like what others are shown.
fn made_up(secret: &[u8], user: &str) -> Scram {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, user.as_bytes());
    let iterations = NonZeroU32::new(32_768).expect("it is not 0");
    let (stored_key, server_key) = (tag.as_ref().to_vec(), tag.as_ref().to_vec());
    Scram { iterations, salt: tag.as_ref()[..16].to_vec(), stored_key, server_key }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::identity::Origin;
    use super::*;

    fn credentials() -> Credentials {
        let peer = IpAddr::from([127, 0, 0, 1]);
        let client_id = "c".into();
        Credentials {
            user: None,
            password: None,
            client_id,
            peer,
            listener: 0,
            origin: Origin::default(),
            anonymous: false,
        }
    }

    /// The keys of `pencil` with the salt and the count of RFC 7677.
    fn pencil() -> Scram {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let iterations = NonZeroU32::new(4096).expect("not 0");
        let mut salted = [0; 32];
        let algorithm = aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;
        aws_lc_rs::pbkdf2::derive(algorithm, iterations, &salt, b"pencil", &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
        let server_key = hmac::sign(&key, b"Server Key").as_ref().to_vec();
        Scram { iterations, salt, stored_key: stored.as_ref().to_vec(), server_key }
    }

    /// The exchange of RFC 7677, section 3, byte for byte.
    #[test]
    fn the_vector_of_rfc_7677() {
        let keys = pencil();
        let own = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let (exchange, answer) =
            Exchange::begin_with(credentials(), first, |_| Some(&keys), b"", own).expect("a good message");
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(String::from_utf8(answer).as_deref(), Ok(expected));
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let answer = exchange.finish(last.as_bytes()).expect("a good message").expect("the right proof");
        assert_eq!(String::from_utf8(answer).as_deref(), Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        let forged = last.replace("dHzb", "dHzc");
        assert_eq!(exchange.finish(forged.as_bytes()), Ok(None));
        let bound = last.replace("c=biws", "c=eSws");
        assert_eq!(exchange.finish(bound.as_bytes()), Err(Broken));
        assert_eq!(exchange.finish(last.replace("k0,", "k1,").as_bytes()), Err(Broken));
    }

    /// Somebody who is not there is asked like anybody, with the same salt each time, and never let in.
    #[test]
    fn nobody_is_asked_too() {
        let first = b"n,,n=nobody,r=abc";
        let begin = || Exchange::begin_with(credentials(), first, |_| None, b"secret", "x").expect("a good message");
        let ((exchange, one), (_, other)) = (begin(), begin());
        assert_eq!(one, other);
        let last = format!("c=biws,r=abcx,p={}", STANDARD.encode([0; 32]));
        assert_eq!(exchange.finish(last.as_bytes()), Ok(None));
    }

    /// What is no first message is refused: other bindings, another identity, wrong escapes.
    #[test]
    fn first_messages() {
        assert_eq!(super::first(b"n,,n=a=2Cb=3Dc,r=x").expect("good").0, "a,b=c");
        for wrong in [
            "",
            "n,,",
            "p=tls-unique,,n=a,r=b",
            "n,a=admin,n=a,r=b",
            "n,,n=,r=b",
            "n,,n=a,r=",
            "n,,n=a=2,r=b",
            "n,,r=b",
        ] {
            assert!(super::first(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
