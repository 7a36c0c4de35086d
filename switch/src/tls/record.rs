//! The records of one direction: what protects them, and nothing of what they mean.
//!
//! ```text
//!   TLS 1.3:             │ 23 3 3 length │ sealed: content, type │ tag │      nonce: iv ^ number
//!   TLS 1.2, AES-GCM:    │ type 3 3 length │ nonce │ sealed: content │ tag │      nonce: iv ^ number, its last 8 bytes told
//!   TLS 1.2, ChaCha20:   │ type 3 3 length │ sealed: content │ tag │      nonce: iv ^ number
//! ```
//!
//! RFC 8446, section 5.2; RFC 5246, section 6.2.3.3 with RFC 5288 and RFC 7905. Nothing is allocated for a record: it is
//! sealed from where its content lies to where it is sent from, and opened from where it was received to where it is read.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::{AlertDescription, ConnectionTrafficSecrets};

/// Content of one record at most (RFC 8446, section 5.1).
pub const CONTENT_BYTES_MAX: usize = 16 << 10;
/// The header of a record: its type, a version, its length.
pub const HEADER_BYTES: usize = 5;
/// All our suites have tags of this length.
const TAG_BYTES: usize = 16;
/// The part of a nonce that TLS 1.2 sends along with AES-GCM (RFC 5288, section 3).
const EXPLICIT_BYTES: usize = 8;
/// Bytes behind the header at most: RFC 8446, section 5.2, and RFC 5246, section 6.2.3.
const SEALED_BYTES_MAX: [usize; 2] = [CONTENT_BYTES_MAX + 256, CONTENT_BYTES_MAX + 2048];

/// The version in a record's header and in what is authenticated: that of TLS 1.2, in TLS 1.3 too.
const VERSION: [u8; 2] = [3, 3];

/// What a record is for (RFC 8446, section 5.1), as its number.
pub mod kind {
    /// change_cipher_spec
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// alert
    pub const ALERT: u8 = 21;
    /// handshake
    pub const HANDSHAKE: u8 = 22;
    /// application_data
    pub const DATA: u8 = 23;
}

/// How records look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The type is sealed.
    V13,
    /// A part of the nonce goes along.
    V12Explicit,
    /// The nonce is known.
    V12,
}

/// A key with all that a record needs besides its content.
pub struct Cipher {
    key: LessSafeKey,
    iv: [u8; 12],
    /// Number of the next record.
    number: u64,
    shape: Shape,
}

impl Cipher {
    /// For records from this number on. `None`: a suite that rustls does not have with aws-lc.
    pub fn new(number: u64, secrets: &ConnectionTrafficSecrets, v13: bool) -> Option<Cipher> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let shape = match (v13, *algorithm == CHACHA20_POLY1305) {
            (true, _) => Shape::V13,
            (false, true) => Shape::V12,
            (false, false) => Shape::V12Explicit,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        Some(Cipher { key, iv: iv.as_ref().try_into().ok()?, number, shape })
    }

    /// Whether the records are those of TLS 1.3.
    pub fn is_v13(&self) -> bool {
        self.shape == Shape::V13
    }

    /// Bytes of a record with so much content.
    pub fn sealed_len(&self, content: usize) -> usize {
        let more = match self.shape {
            Shape::V13 => 1,
            Shape::V12Explicit => EXPLICIT_BYTES,
            Shape::V12 => 0,
        };
        HEADER_BYTES + more + content + TAG_BYTES
    }

    /// Seals one record of this type. `out` is as long as [`Cipher::sealed_len`] says.
    pub fn seal(&mut self, kind: u8, content: &[u8], out: &mut [u8]) {
        assert!(content.len() <= CONTENT_BYTES_MAX, "a record has a length");
        let len = ((out.len() - HEADER_BYTES) as u16).to_be_bytes();
        let nonce = self.nonce();
        let (header, body) = out.split_at_mut(HEADER_BYTES);
        let sealed = match self.shape {
            Shape::V13 => {
                let outer = [kind::DATA, VERSION[0], VERSION[1], len[0], len[1]];
                header.copy_from_slice(&outer);
                let (sealed, end) = body.split_at_mut(content.len());
                let nonce = Nonce::assume_unique_for_key(nonce);
                self.key.seal_out_of_place_scatter(nonce, Aad::from(outer), content, sealed, &[kind], end)
            }
            Shape::V12 | Shape::V12Explicit => {
                header.copy_from_slice(&[kind, VERSION[0], VERSION[1], len[0], len[1]]);
                let told = if self.shape == Shape::V12Explicit { EXPLICIT_BYTES } else { 0 };
                let (explicit, body) = body.split_at_mut(told);
                explicit.copy_from_slice(&nonce[nonce.len() - told..]);
                let (sealed, tag) = body.split_at_mut(content.len());
                let aad = self.authenticated(kind, content.len());
                let nonce = Nonce::assume_unique_for_key(nonce);
                self.key.seal_out_of_place_scatter(nonce, Aad::from(aad), content, sealed, &[], tag)
            }
        };
        sealed.expect("lengths fit, and nothing else can be wrong");
        self.number += 1;
    }

    /// Whether a record with this header can be one: how many bytes follow, or the alert that says what is wrong.
    pub fn body_len(&self, header: [u8; HEADER_BYTES]) -> Result<usize, AlertDescription> {
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let known = match self.shape {
            // The type is within; in the clear nothing may come any more. The version has no meaning (section 5.1).
            Shape::V13 => header[0] == kind::DATA,
            Shape::V12 | Shape::V12Explicit => (kind::CHANGE_CIPHER_SPEC..=kind::DATA).contains(&header[0]),
        };
        if !known {
            return Err(AlertDescription::UnexpectedMessage);
        }
        if !self.is_v13() && header[1..3] != VERSION {
            return Err(AlertDescription::ProtocolVersion);
        }
        if len > SEALED_BYTES_MAX[usize::from(!self.is_v13())] {
            return Err(AlertDescription::RecordOverflow);
        }
        Ok(len)
    }

    /// Opens a record, whose header was found good, and appends its content. Returns its type, or the alert that says what
    /// is wrong; then nothing is appended.
    pub fn open(
        &mut self,
        header: [u8; HEADER_BYTES],
        body: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u8, AlertDescription> {
        let start = plain.len();
        let opened = self.decrypt(header, body, plain);
        if opened.is_err() {
            plain.truncate(start);
        }
        opened
    }

    fn decrypt(
        &mut self,
        header: [u8; HEADER_BYTES],
        body: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u8, AlertDescription> {
        let mut nonce = self.nonce();
        let told = if self.shape == Shape::V12Explicit { EXPLICIT_BYTES } else { 0 };
        // Too short for what is around the content: no key has made it.
        let (explicit, body) = body.split_at_checked(told).ok_or(AlertDescription::BadRecordMac)?;
        let content = body.len().checked_sub(TAG_BYTES).ok_or(AlertDescription::BadRecordMac)?;
        let (sealed, tag) = body.split_at(content);
        let start = plain.len();
        plain.resize(start + content, 0);
        let out = &mut plain[start..];
        let opened = if self.is_v13() {
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.key.open_separate_gather(nonce, Aad::from(header), sealed, tag, out)
        } else {
            // The fixed part of the nonce is ours, the rest as it was told (RFC 5288, section 3).
            let fixed = nonce.len() - told;
            nonce[fixed..].copy_from_slice(explicit);
            let aad = self.authenticated(header[0], content);
            self.key.open_separate_gather(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed, tag, out)
        };
        opened.map_err(|_| AlertDescription::BadRecordMac)?;
        self.number += 1;
        let mut kind = header[0];
        if self.is_v13() {
            if content > CONTENT_BYTES_MAX + 1 {
                return Err(AlertDescription::RecordOverflow);
            }
            // Zeros pad it, behind the type (section 5.4).
            let padding = plain[start..].iter().rev().take_while(|byte| **byte == 0).count();
            if padding == content {
                return Err(AlertDescription::UnexpectedMessage);
            }
            let at = plain.len() - padding - 1;
            kind = plain[at];
            plain.truncate(at);
        } else if content > CONTENT_BYTES_MAX {
            return Err(AlertDescription::RecordOverflow);
        }
        Ok(kind)
    }

    /// The nonce of the next record (RFC 8446, section 5.3; RFC 7905, section 2). With AES-GCM in TLS 1.2 it is ours to
    /// choose, and the same does.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        let tail = nonce.last_chunk_mut::<8>().expect("twelve bytes");
        *tail = (u64::from_be_bytes(*tail) ^ self.number).to_be_bytes();
        nonce
    }

    /// What TLS 1.2 authenticates besides the content (RFC 5246, section 6.2.3.3).
    fn authenticated(&self, kind: u8, content: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.number.to_be_bytes());
        aad[8..11].copy_from_slice(&[kind, VERSION[0], VERSION[1]]);
        aad[11..].copy_from_slice(&(content as u16).to_be_bytes());
        aad
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No secrets in a log.
        f.debug_struct("Cipher").field("shape", &self.shape).field("number", &self.number).finish_non_exhaustive()
    }
}

/// Records that were sealed, one behind the other. What was written once is written over: none of it is cleared in between.
#[derive(Default)]
pub struct Sealed {
    bytes: Vec<u8>,
    filled: usize,
}

impl Sealed {
    /// Bytes of all records.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Appends room for so many bytes, in which something is left that was sent before.
    pub fn claim(&mut self, len: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled += len;
        if self.bytes.len() < self.filled {
            self.bytes.resize(self.filled, 0);
        }
        &mut self.bytes[start..self.filled]
    }

    /// Appends what is sealed already.
    pub fn append(&mut self, bytes: &[u8]) {
        self.claim(bytes.len()).copy_from_slice(bytes);
    }

    /// Some of them.
    pub fn bytes(&self, start: usize, len: usize) -> &[u8] {
        assert!(start + len <= self.filled, "it was sealed");
        &self.bytes[start..start + len]
    }
}
