//! TLS behind the handshake, with the keys that rustls has agreed on: data, alerts, and keys that are renewed.
//!
//! ```text
//!   records ─▶ cipher ─▶ type ─┬─ data ─▶ MQTT
//!                              ├─ alert: close_notify ends, all others break
//!                              └─ handshake: KeyUpdate, in TLS 1.3; anything else breaks
//! ```
//!
//! A rule that a client breaks has its alert here, with the section that says so. What rustls keeps is the secret from
//! which it makes the next keys.

use rustls::AlertDescription;
use rustls::ExtractedSecrets;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use smallvec::SmallVec;

use super::record::{CONTENT_BYTES_MAX, Cipher, HEADER_BYTES, Sealed, kind};

/// Records that AES-GCM may seal with one key (RFC 8446, section 5.5, allows 2^24.5), less some for the end.
/// ChaCha20 has no such limit, and does not mind.
const RECORDS_MAX: u64 = (1 << 24) - RECORDS_SPARE;
/// Records for KeyUpdate, an alert and close_notify, when no others are left.
const RECORDS_SPARE: u64 = 8;
/// Records in a row that bring no data: empty ones, warnings, renewed keys. Each costs us a decryption.
const IDLE_MAX: u8 = 32;

/// KeyUpdate (RFC 8446, section 4.6.3): type, a length of three bytes, and whether the other side is to renew its key too.
const KEY_UPDATE: [u8; KEY_UPDATE_BYTES as usize] = [KEY_UPDATE_TYPE, 0, 0, 1, NOT_REQUESTED];
const KEY_UPDATE_BYTES: u8 = 5;
const KEY_UPDATE_TYPE: u8 = 24;
const NOT_REQUESTED: u8 = 0;
const REQUESTED: u8 = 1;

/// Alert levels (RFC 8446, section 6).
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// Why nothing more is read of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has said that it sends no more: close_notify.
    Goodbye,
    /// It has sent an alert, after which nothing is sent.
    Alert(AlertDescription),
    /// It broke a rule, and is told by this alert.
    Breach(AlertDescription),
}

/// A record of few bytes, sealed.
pub type Message = SmallVec<[u8; 64]>;

/// What we send is sealed with. It is all that a delivery needs of a connection's TLS, so a shard keeps those of its
/// connections side by side, apart from the rest.
#[derive(Debug)]
pub struct Sealer {
    cipher: Cipher,
    /// Records that the key may still seal.
    left: u64,
}

/// A line of cache for each connection.
const _: () = assert!(size_of::<Option<Sealer>>() <= 64);

impl Sealer {
    /// Whether so many bytes of data can be sealed with the present key.
    pub fn takes(&self, content: usize) -> bool {
        content.div_ceil(CONTENT_BYTES_MAX) as u64 <= self.left
    }

    /// Appends data in records; the key [takes](Sealer::takes) them.
    pub fn seal(&mut self, data: &[u8], out: &mut Sealed) {
        for content in data.chunks(CONTENT_BYTES_MAX) {
            self.left -= 1;
            self.cipher.seal(kind::DATA, content, out.claim(self.cipher.sealed_len(content.len())));
        }
    }

    /// An alert that ends the connection (RFC 8446, section 6.2).
    pub fn fatal(&mut self, alert: AlertDescription) -> Message {
        self.message(kind::ALERT, &[FATAL, alert.into()])
    }

    /// close_notify (RFC 8446, section 6.1).
    pub fn goodbye(&mut self) -> Message {
        self.message(kind::ALERT, &[WARNING, AlertDescription::CloseNotify.into()])
    }

    /// Seals what is no data, from the records that are spared for it.
    fn message(&mut self, kind: u8, content: &[u8]) -> Message {
        let mut message = Message::from_elem(0, self.cipher.sealed_len(content.len()));
        self.cipher.seal(kind, content, &mut message);
        message
    }

    /// The present key seals so many records of data more. For tests: a key takes millions.
    pub fn leave(&mut self, records: u64) {
        self.left = records;
    }
}

/// The rest of a connection whose handshake is over.
pub struct Traffic {
    /// What we receive is opened with.
    rx: Cipher,
    /// The client has asked us to renew our key, which happens before the next data.
    update_due: bool,
    /// Records in a row that brought no data.
    idle: u8,
    /// How much of a KeyUpdate has come.
    fragment: u8,
    /// For the next keys; TLS 1.3 alone has such.
    keys: Option<Box<KernelConnection<ServerConnectionData>>>,
}

impl Traffic {
    /// From what a handshake has come to. `None`: a suite that rustls does not have with aws-lc.
    pub fn new(secrets: &ExtractedSecrets, keys: KernelConnection<ServerConnectionData>) -> Option<(Traffic, Sealer)> {
        let v13 = keys.protocol_version() == rustls::ProtocolVersion::TLSv1_3;
        let (tx, rx) = (&secrets.tx, &secrets.rx);
        let sealer = Sealer { cipher: Cipher::new(tx.0, &tx.1, v13)?, left: RECORDS_MAX - tx.0 };
        let rx = Cipher::new(rx.0, &rx.1, v13)?;
        let keys = v13.then(|| Box::new(keys));
        Some((Traffic { rx, update_due: false, idle: 0, fragment: 0, keys }, sealer))
    }

    /// Whether a KeyUpdate is to go before what is sent next.
    pub fn owes(&self) -> bool {
        self.update_due
    }

    /// Appends data in records, with new keys where one is due. False: not all of it, as the key is used up, and there is
    /// no next one. In TLS 1.2 that is said by close_notify.
    pub fn seal(&mut self, data: &[u8], tx: &mut Sealer, out: &mut Sealed) -> bool {
        for content in data.chunks(CONTENT_BYTES_MAX) {
            if (self.update_due || !tx.takes(content.len())) && !self.renew(tx, out) {
                out.append(&tx.goodbye());
                return false;
            }
            tx.seal(content, out);
        }
        true
    }

    /// Renews our key and tells the client (RFC 8446, section 4.6.3). False: this version cannot.
    pub fn renew(&mut self, tx: &mut Sealer, out: &mut Sealed) -> bool {
        let next = self.keys.as_mut().and_then(|keys| keys.update_tx_secret().ok());
        let next = next.and_then(|(number, secrets)| Cipher::new(number, &secrets, true));
        let Some(cipher) = next else { return false };
        out.append(&tx.message(kind::HANDSHAKE, &KEY_UPDATE));
        *tx = Sealer { cipher, left: RECORDS_MAX };
        self.update_due = false;
        true
    }

    /// Takes whole records from the front of `input`, up to the first that ends all. What they hold is appended to
    /// `plain`. Returns how many bytes were taken, and why there will be no more.
    pub fn open(&mut self, input: &[u8], plain: &mut Vec<u8>) -> (usize, Result<(), End>) {
        let mut taken = 0;
        while let Some(&header) = input[taken..].first_chunk::<HEADER_BYTES>() {
            let len = match self.rx.body_len(header) {
                Ok(len) => len,
                Err(alert) => return (taken, Err(End::Breach(alert))),
            };
            let start = taken + HEADER_BYTES;
            let Some(body) = input.get(start..start + len) else { break };
            taken = start + len;
            if let Err(end) = self.open_one(header, body, plain) {
                return (taken, Err(end));
            }
        }
        (taken, Ok(()))
    }

    fn open_one(&mut self, header: [u8; HEADER_BYTES], body: &[u8], plain: &mut Vec<u8>) -> Result<(), End> {
        let before = plain.len();
        let kind = self.rx.open(header, body, plain).map_err(End::Breach)?;
        if kind == kind::DATA {
            // Messages of the handshake may be cut, with nothing in between (RFC 8446, section 5.1).
            if self.fragment > 0 {
                plain.truncate(before);
                return Err(End::Breach(AlertDescription::UnexpectedMessage));
            }
            if plain.len() > before {
                self.idle = 0;
                return Ok(());
            }
        }
        let content: SmallVec<[u8; 16]> = plain[before..].into();
        plain.truncate(before);
        self.idle += 1;
        if self.idle > IDLE_MAX {
            return Err(End::Breach(AlertDescription::UnexpectedMessage));
        }
        match kind {
            kind::DATA => Ok(()),
            kind::ALERT if self.fragment == 0 => self.alert(&content),
            kind::HANDSHAKE if self.rx.is_v13() => self.handshake(&content),
            // A new handshake within TLS 1.2 is what we do not do; RFC 5746, section 4.5, leaves it to us how to say so.
            kind::HANDSHAKE if content.first() == Some(&1) => Err(End::Breach(AlertDescription::NoRenegotiation)),
            _ => Err(End::Breach(AlertDescription::UnexpectedMessage)),
        }
    }

    /// RFC 8446, section 6; RFC 5246, section 7.2.
    fn alert(&mut self, content: &[u8]) -> Result<(), End> {
        let &[level, description] = content else {
            // It is never empty and never cut (RFC 8446, sections 5.1 and 5.4).
            let empty = content.is_empty();
            let alert = if empty { AlertDescription::UnexpectedMessage } else { AlertDescription::DecodeError };
            return Err(End::Breach(alert));
        };
        let description = AlertDescription::from(description);
        match (level, description) {
            (_, AlertDescription::CloseNotify) => Err(End::Goodbye),
            (WARNING, AlertDescription::UserCanceled) => Ok(()),
            // In TLS 1.2 a warning means what its reader makes of it.
            (WARNING, _) if !self.rx.is_v13() => Ok(()),
            (WARNING | FATAL, _) => Err(End::Alert(description)),
            _ => Err(End::Breach(AlertDescription::IllegalParameter)),
        }
    }

    /// A message of the handshake when that is over, or a part of it: KeyUpdate is the only one that a client may send us
    /// (RFC 8446, section 4.6; we ask for no certificate then).
    fn handshake(&mut self, content: &[u8]) -> Result<(), End> {
        let breach = |alert| Err(End::Breach(alert));
        if content.is_empty() {
            return breach(AlertDescription::UnexpectedMessage);
        }
        for &byte in content {
            match (self.fragment, byte) {
                (0, KEY_UPDATE_TYPE) | (1 | 2, 0) | (3, 1) | (4, NOT_REQUESTED) => {}
                // However often it asks before we send something, one answer does (section 4.6.3).
                (4, REQUESTED) => self.update_due = true,
                (0, _) => return breach(AlertDescription::UnexpectedMessage),
                (1..=3, _) => return breach(AlertDescription::DecodeError),
                (4, _) => return breach(AlertDescription::IllegalParameter),
                // Nothing may follow in the record: it would have been sealed with a key that is no more (section 5.1).
                _ => return breach(AlertDescription::UnexpectedMessage),
            }
            self.fragment += 1;
        }
        if self.fragment == KEY_UPDATE_BYTES {
            self.fragment = 0;
            let next = self.keys.as_mut().and_then(|keys| keys.update_rx_secret().ok());
            let next = next.and_then(|(number, secrets)| Cipher::new(number, &secrets, true));
            self.rx = next.ok_or(End::Breach(AlertDescription::InternalError))?;
        }
        Ok(())
    }
}
