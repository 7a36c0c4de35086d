//! Hashes of passwords, as mosquitto writes them and as we do.
//!
//! ```text
//!   $6$SALT$HASH                            SHA-512 over password and salt
//!   $7$ITERATIONS$SALT$HASH                 PBKDF2 with HMAC-SHA-512
//!   $argon2id$v=19$m=..,t=..,p=..$SALT$HASH the PHC form (Argon2, RFC 9106)
//!   SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY   RFC 5803 in the words of PostgreSQL
//! ```
//! Only the last one can serve SCRAM: the server of that exchange never sees the password.

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

/// Bytes of a salt that we make.
const SALT_BYTES: usize = 16;
/// Memory, passes and lanes of Argon2id where nobody says (OWASP, password storage: 19 MiB, 2, 1).
const ARGON2_DEFAULT: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Memory of Argon2 that a file may ask for, in KiB.
const ARGON2_KIB_MAX: u32 = 1 << 20;
/// Iterations that a file may ask for.
const ITERATIONS_MAX: u32 = 10_000_000;
/// Iterations of a SCRAM entry that we make (RFC 7677, section 4: at least 4096; OWASP wants more of PBKDF2).
const SCRAM_ITERATIONS: u32 = 32_768;
const PBKDF2_ITERATIONS: u32 = 210_000;

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What we write.
    Argon2id,
    /// `$7$`, which older mosquittos read, too.
    Pbkdf2,
    /// For clients that authenticate by SCRAM-SHA-256; a password is checked against it as well.
    Scram,
}

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Hash {
    /// `$6$`.
    Sha512 {
        /// Appended to the password.
        salt: Vec<u8>,
        /// 64 bytes.
        hash: Vec<u8>,
    },
    /// `$7$`.
    Pbkdf2 {
        /// How often.
        iterations: NonZeroU32,
        /// The salt.
        salt: Vec<u8>,
        /// 64 bytes.
        hash: Vec<u8>,
    },
    /// `$argon2id$`.
    Argon2id {
        /// Memory in KiB, passes, lanes.
        costs: (u32, u32, u32),
        /// The salt.
        salt: Vec<u8>,
        /// The hash.
        hash: Vec<u8>,
    },
    /// SCRAM-SHA-256.
    Scram(Scram),
}

/// What the server of a SCRAM exchange knows of a user (RFC 5802, section 3).
#[derive(Clone, PartialEq, Eq)]
pub struct Scram {
    /// How often the password is hashed.
    pub iterations: NonZeroU32,
    /// The salt.
    pub salt: Vec<u8>,
    /// H(ClientKey).
    pub stored_key: Vec<u8>,
    /// Proves to the client that this server knows it.
    pub server_key: Vec<u8>,
}

impl Hash {
    /// Reads one; what is wrong with it otherwise.
    pub fn parse(text: &str) -> Result<Hash, &'static str> {
        let decode = |part: &str| STANDARD.decode(part).map_err(|_| "its salt or hash is not base64");
        let parts: Vec<&str> = text.split('$').collect();
        match parts[..] {
            ["", "6", salt, hash] => Hash::Sha512 { salt: decode(salt)?, hash: decode(hash)? }.checked(64),
            ["", "7", iterations, salt, hash] => {
                let iterations = count(iterations)?;
                Hash::Pbkdf2 { iterations, salt: decode(salt)?, hash: decode(hash)? }.checked(64)
            }
            ["", "argon2id", version, costs, salt, hash] => {
                if version != "v=19" {
                    return Err("its version of Argon2 is not 19");
                }
                let bare = |part: &str| STANDARD_NO_PAD.decode(part).map_err(|_| "its salt or hash is not base64");
                let costs = argon2_costs(costs).ok_or("its costs are not m=KIB,t=PASSES,p=LANES within reason")?;
                Hash::Argon2id { costs, salt: bare(salt)?, hash: bare(hash)? }.checked(4)
            }
            ["SCRAM-SHA-256", head, keys] => {
                let (iterations, salt) = head.split_once(':').ok_or("it lacks iterations or salt")?;
                let (stored, server) = keys.split_once(':').ok_or("it lacks a key")?;
                let (iterations, salt) = (count(iterations)?, decode(salt)?);
                let (stored_key, server_key) = (decode(stored)?, decode(server)?);
                if stored_key.len() != 32 || server_key.len() != 32 || salt.is_empty() {
                    return Err("its keys have another length");
                }
                Ok(Hash::Scram(Scram { iterations, salt, stored_key, server_key }))
            }
            _ => Err("it is none of $6$, $7$, $argon2id$ and SCRAM-SHA-256$"),
        }
    }

    fn checked(self, least: usize) -> Result<Hash, &'static str> {
        let (salt, hash) = match &self {
            Hash::Sha512 { salt, hash } | Hash::Pbkdf2 { salt, hash, .. } | Hash::Argon2id { salt, hash, .. } => {
                (salt, hash)
            }
            Hash::Scram(_) => return Ok(self),
        };
        let fits = match self {
            Hash::Argon2id { .. } => salt.len() >= 8 && (least..=64).contains(&hash.len()),
            _ => !salt.is_empty() && hash.len() == least,
        };
        if fits { Ok(self) } else { Err("its salt or hash has another length") }
    }

    /// Hashes a password. `None`: there is no randomness to be had, or no memory.
    pub fn make(kind: Kind, password: &[u8]) -> Option<Hash> {
        let mut salt = vec![0; SALT_BYTES];
        rand::fill(&mut salt).ok()?;
        Some(match kind {
            Kind::Argon2id => {
                let hash = argon2(ARGON2_DEFAULT, password, &salt, 32)?.to_vec();
                Hash::Argon2id { costs: ARGON2_DEFAULT, salt, hash }
            }
            Kind::Pbkdf2 => {
                let iterations = NonZeroU32::new(PBKDF2_ITERATIONS)?;
                let mut hash = vec![0; 64];
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &salt, password, &mut hash);
                Hash::Pbkdf2 { iterations, salt, hash }
            }
            Kind::Scram => {
                let iterations = NonZeroU32::new(SCRAM_ITERATIONS)?;
                let (stored_key, server_key) = scram_keys(iterations, password, &salt);
                Hash::Scram(Scram { iterations, salt, stored_key, server_key })
            }
        })
    }

    /// Whether this is the password. Costs what the hash says, and no less where it is wrong.
    pub fn verify(&self, password: &[u8]) -> bool {
        // HMAC fills a key up with zeros, so that PBKDF2 takes those at its end for nothing (RFC 2104, section 2).
        let padded = matches!(self, Hash::Pbkdf2 { .. } | Hash::Scram(_)) && password.last() == Some(&0);
        self.hashes_to(password) & !padded
    }

    fn hashes_to(&self, password: &[u8]) -> bool {
        match self {
            Hash::Sha512 { salt, hash } => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                verify_slices_are_equal(context.finish().as_ref(), hash).is_ok()
            }
            Hash::Pbkdf2 { iterations, salt, hash } => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, *iterations, salt, password, hash).is_ok()
            }
            Hash::Argon2id { costs, salt, hash } => argon2(*costs, password, salt, hash.len())
                .is_some_and(|made| verify_slices_are_equal(&made, hash).is_ok()),
            Hash::Scram(scram) => {
                let (stored, _) = scram_keys(scram.iterations, password, &scram.salt);
                verify_slices_are_equal(&stored, &scram.stored_key).is_ok()
            }
        }
    }

    /// What SCRAM needs to know.
    pub fn scram(&self) -> Option<&Scram> {
        match self {
            Hash::Scram(scram) => Some(scram),
            _ => None,
        }
    }
}

/// As it stands in a file.
impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = |bytes: &[u8]| STANDARD.encode(bytes);
        match self {
            Hash::Sha512 { salt, hash } => write!(f, "$6${}${}", code(salt), code(hash)),
            Hash::Pbkdf2 { iterations, salt, hash } => write!(f, "$7${iterations}${}${}", code(salt), code(hash)),
            Hash::Argon2id { costs: (memory, passes, lanes), salt, hash } => {
                let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
                write!(f, "$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
            }
            Hash::Scram(scram) => {
                let (stored, server) = (code(&scram.stored_key), code(&scram.server_key));
                write!(f, "SCRAM-SHA-256${}:{}${stored}:{server}", scram.iterations, code(&scram.salt))
            }
        }
    }
}

fn count(text: &str) -> Result<NonZeroU32, &'static str> {
    let number = text.parse().ok().filter(|count: &NonZeroU32| count.get() <= ITERATIONS_MAX);
    number.ok_or("its number of iterations is none, or beyond reason")
}

fn argon2_costs(text: &str) -> Option<(u32, u32, u32)> {
    let mut costs = (None, None, None);
    for part in text.split(',') {
        let (name, value) = part.split_once('=')?;
        let value: u32 = value.parse().ok()?;
        match name {
            "m" => costs.0 = Some(value).filter(|kib| *kib <= ARGON2_KIB_MAX),
            "t" => costs.1 = Some(value).filter(|passes| *passes <= 1000),
            "p" => costs.2 = Some(value).filter(|lanes| *lanes <= 64),
            _ => return None,
        }
    }
    let costs = (costs.0?, costs.1?, costs.2?);
    Params::new(costs.0, costs.1, costs.2, None).is_ok().then_some(costs)
}

fn argon2(
    (memory, passes, lanes): (u32, u32, u32),
    password: &[u8],
    salt: &[u8],
    len: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    let params = Params::new(memory, passes, lanes, Some(len)).ok()?;
    let mut hash = Zeroizing::new(vec![0; len]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}

/// StoredKey and ServerKey (RFC 5802, section 3; RFC 7677).
fn scram_keys(iterations: NonZeroU32, password: &[u8], salt: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut *salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    (stored_key.as_ref().to_vec(), hmac::sign(&key, b"Server Key").as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What mosquitto_passwd 2.0.11 has written for the password `secret` is accepted, and nothing near it.
    #[test]
    fn hashes_of_mosquitto() {
        for text in [
            "$6$ImsUlcN8TkrLd/4s$\
             IK2z0SFwHS0Wk+IRCSvTrX9fg2Q0+tJ0x49A/IZQR5meyp0CK4DZEmZnDK4VGz6jjjYj1aPPG8WMNPVv81W2WA==",
            "$7$101$HDk2wzBsgkjV1oZU$\
             yOSGMXjF/3jSKcHSVqnTHmCIT/tm7e1p6c2h6VJ8BmfYKWDhR1SPlXERPNjhT+94dzvuC+mtFoCAi6BlAzCLbA==",
        ] {
            let hash = Hash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(hash.verify(b"secret"), "{text}");
            assert!(!hash.verify(b"Secret") && !hash.verify(b"") && !hash.verify(b"secret\0"), "{text}");
            assert_eq!(hash.to_string(), text);
        }
    }

    /// The vector of RFC 9106 is made with a secret; this one is of the reference implementation's test suite.
    #[test]
    fn argon2id_of_the_reference() {
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = Hash::parse(text).expect("a PHC string");
        assert!(hash.verify(b"password") && !hash.verify(b"Password"));
        assert_eq!(hash.to_string(), text);
    }

    /// What we write we read.
    #[test]
    fn made_hashes_are_verified() {
        for kind in [Kind::Argon2id, Kind::Pbkdf2, Kind::Scram] {
            let made = Hash::make(kind, b"").expect("randomness");
            let read = Hash::parse(&made.to_string()).expect("our own form");
            assert!(read == made && read.verify(b"") && !read.verify(b"x"));
            assert!(Hash::make(kind, b"").expect("randomness") != made, "each has a salt of its own");
        }
    }

    /// Wrong and absurd hashes are refused when they are read, not when somebody logs in.
    #[test]
    fn wrong_hashes_are_refused() {
        for text in [
            "",
            "secret",
            "$5$a$b",
            "$6$YWJj$YWJj",
            "$7$0$YWJj$YWJj",
            "$7$99999999$YWJj$YWJj",
            "$6$!$YWJj",
            "$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$AAAA",
            "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$AAAAAAAA",
            "$argon2id$v=19$t=1,p=1$c29tZXNhbHQ$AAAAAAAA",
            "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA",
        ] {
            assert!(Hash::parse(text).is_err(), "{text}");
        }
    }
}
