//! The records of one direction: what protects them, and nothing of what they mean.
//!
//! ```text
//!   TLS 1.3:             │ 23 3 3 length │ sealed: content, type │ tag │      nonce: iv ^ number
//!   TLS 1.2, AES-GCM:    │ type 3 3 length │ nonce │ sealed: content │ tag │      nonce: iv ^ number, in part told
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
        Cipher::with(number, algorithm, (key.as_ref(), iv.as_ref()), v13)
    }

    fn with(number: u64, algorithm: &'static Algorithm, (key, iv): (&[u8], &[u8]), v13: bool) -> Option<Cipher> {
        let shape = match (v13, *algorithm == CHACHA20_POLY1305) {
            (true, _) => Shape::V13,
            (false, true) => Shape::V12,
            (false, false) => Shape::V12Explicit,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Cipher { key, iv: iv.try_into().ok()?, number, shape })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("a byte");
        digits.chunks(2).map(byte).collect()
    }

    fn open(cipher: &mut Cipher, record: &[u8], plain: &mut Vec<u8>) -> Result<Option<u8>, AlertDescription> {
        let (header, body) = record.split_first_chunk::<HEADER_BYTES>().expect("a header");
        let len = cipher.body_len(*header)?;
        body.get(..len).map(|body| cipher.open(*header, body, plain)).transpose()
    }

    /// Goal: what is sealed and opened is what others seal and open: records of RFC 8448, section 3.
    #[test]
    fn records_of_rfc_8448() {
        let payload: Vec<u8> = (0..50).collect();
        let client = "17422dda596ed5d9acd890e3c63f5051 5b78923dee08579033e523d9";
        let server = "9f02283b6c9c07efc26bb9f2ac92e356 cf782b88dd83549aadf1e984";
        let of_client =
            "17030300 43 a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b6297
            4e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
        let of_server =
            "17030300 43 2e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc4
            9c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
        let goodbye = "17030300 13 c9872760655666b74d7ff1153efd6db6d0b0e3";
        // The server has sent a ticket before.
        for (keys, number, record, kind, content) in [
            (client, 0, of_client, kind::DATA, &payload[..]),
            (server, 1, of_server, kind::DATA, &payload),
            (client, 1, goodbye, kind::ALERT, &[1, 0]),
        ] {
            let (keys, record) = (hex(keys), hex(record));
            let cipher = || Cipher::with(number, &AES_128_GCM, keys.split_at(16), true).expect("a key");
            let mut plain = Vec::new();
            assert_eq!(open(&mut cipher(), &record, &mut plain), Ok(Some(kind)));
            assert_eq!(plain, content);
            let mut sealed = vec![0; cipher().sealed_len(content.len())];
            cipher().seal(kind, content, &mut sealed);
            assert_eq!(sealed, record);
        }
    }

    const SUITES: [(&Algorithm, bool); 6] = [
        (&AES_128_GCM, true),
        (&AES_256_GCM, true),
        (&CHACHA20_POLY1305, true),
        (&AES_128_GCM, false),
        (&AES_256_GCM, false),
        (&CHACHA20_POLY1305, false),
    ];

    fn ciphers(algorithm: &'static Algorithm, v13: bool) -> [Cipher; 2] {
        let key: Vec<u8> = (1..=algorithm.key_len() as u8).collect();
        // A number whose bytes all differ, as some are sent.
        let cipher = || Cipher::with(0x0102_0304_0506_0708, algorithm, (&key, &[9; 12]), v13).expect("a key");
        [cipher(), cipher()]
    }

    /// Goal: no bit of a record can be changed, no byte taken away or added, and none comes twice; and what was opened in
    /// vain leaves no trace.
    #[test]
    fn nothing_can_be_changed() {
        for (algorithm, v13) in SUITES {
            let [mut ours, mut theirs] = ciphers(algorithm, v13);
            let content: Vec<u8> = (0..100).collect();
            let mut record = vec![0; ours.sealed_len(content.len())];
            ours.seal(kind::DATA, &content, &mut record);
            let mut plain = vec![7];
            for bit in 0..8 * record.len() {
                let mut changed = record.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                // Of a length that was changed the rest may be waited for.
                assert_ne!(open(&mut theirs, &changed, &mut plain).ok().flatten(), Some(kind::DATA), "bit {bit}");
            }
            for len in (0..record.len() - HEADER_BYTES).chain([record.len() - HEADER_BYTES + 1]) {
                let mut other = record.clone();
                other.resize(HEADER_BYTES + len, 0);
                other[3..5].copy_from_slice(&(len as u16).to_be_bytes());
                assert_eq!(open(&mut theirs, &other, &mut plain), Err(AlertDescription::BadRecordMac), "{len} bytes");
            }
            assert_eq!(plain, [7]);
            assert_eq!(open(&mut theirs, &record, &mut plain), Ok(Some(kind::DATA)));
            assert_eq!(plain[1..], content);
            assert_eq!(open(&mut theirs, &record, &mut plain), Err(AlertDescription::BadRecordMac), "it came twice");
        }
    }

    /// Goal: contents up to the limit go through, and what is longer is refused, by its header where that tells.
    #[test]
    fn lengths_have_limits() {
        for (algorithm, v13) in SUITES {
            let [mut ours, mut theirs] = ciphers(algorithm, v13);
            for len in [0, 1, 15, 16, 17, 1000, CONTENT_BYTES_MAX - 1, CONTENT_BYTES_MAX] {
                let content = vec![len as u8; len];
                let mut record = vec![0; ours.sealed_len(len)];
                ours.seal(kind::HANDSHAKE, &content, &mut record);
                let mut plain = Vec::new();
                assert_eq!(open(&mut theirs, &record, &mut plain), Ok(Some(kind::HANDSHAKE)));
                assert_eq!(plain, content);
            }
            let most = SEALED_BYTES_MAX[usize::from(!v13)] as u16;
            let header =
                |len: u16| [&[kind::DATA, 3, 3], &len.to_be_bytes()[..]].concat().try_into().expect("five bytes");
            assert_eq!(theirs.body_len(header(most)), Ok(usize::from(most)));
            assert_eq!(theirs.body_len(header(most + 1)), Err(AlertDescription::RecordOverflow));
            // A record may be that long, its content not.
            let long = vec![1; CONTENT_BYTES_MAX + if v13 { 2 } else { 1 }];
            let aad = ours.authenticated(kind::DATA, long.len());
            let told = if ours.shape == Shape::V12Explicit { EXPLICIT_BYTES } else { 0 };
            let header: [u8; 5] = header((told + long.len() + TAG_BYTES) as u16);
            let aad = if v13 { Aad::from(&header[..]) } else { Aad::from(&aad[..]) };
            let mut body = long.clone();
            let nonce = Nonce::assume_unique_for_key(ours.nonce());
            ours.key.seal_in_place_append_tag(nonce, aad, &mut body).expect("the library does not mind");
            let record = [&header[..], &ours.nonce()[12 - told..], &body].concat();
            let mut plain = Vec::new();
            assert_eq!(open(&mut theirs, &record, &mut plain), Err(AlertDescription::RecordOverflow));
            assert!(plain.is_empty());
        }
    }

    /// Goal: TLS 1.3 pads with zeros behind the type, and a record without a type is none (RFC 8446, section 5.4).
    #[test]
    fn padding_is_taken_off() {
        let [mut ours, mut theirs] = ciphers(&AES_256_GCM, true);
        for (inner, opened) in [
            (&[b'a', 0, b'b', kind::DATA][..], Ok(Some(kind::DATA))),
            (&[b'a', 0, b'b', kind::DATA, 0, 0, 0, 0, 0], Ok(Some(kind::DATA))),
            (&[0, 0, 0, 0, 0], Err(AlertDescription::UnexpectedMessage)),
            (&[0], Err(AlertDescription::UnexpectedMessage)),
        ] {
            let (last, content) = inner.split_last().expect("a type");
            let mut record = vec![0; ours.sealed_len(content.len())];
            ours.seal(*last, content, &mut record);
            let mut plain = Vec::new();
            assert_eq!(open(&mut theirs, &record, &mut plain), opened);
            assert_eq!(plain, if opened.is_ok() { &b"a\0b"[..] } else { b"" });
        }
    }

    /// Goal: headers that no record has behind the handshake.
    #[test]
    fn headers_are_looked_at() {
        let [v13, _] = ciphers(&AES_128_GCM, true);
        let [v12, _] = ciphers(&AES_128_GCM, false);
        for kind in 0..=255 {
            let header = [kind, 3, 3, 0, 40];
            assert_eq!(v13.body_len(header).is_ok(), kind == 23, "in the clear: {kind}");
            assert_eq!(v12.body_len(header).is_ok(), (20..=23).contains(&kind), "{kind}");
        }
        assert_eq!(v12.body_len([23, 3, 1, 0, 40]), Err(AlertDescription::ProtocolVersion));
        assert_eq!(v13.body_len([23, 3, 1, 0, 40]), Ok(40), "of no meaning, and authenticated");
    }
}
