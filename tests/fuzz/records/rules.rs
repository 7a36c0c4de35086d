//! What records mean behind the handshake (RFC 8446, sections 4.6.3, 5 and 6; RFC 5246, section 7.2), written down once
//! more: whole messages at a time, where the broker has a byte at a time.

use rustls::AlertDescription;

use crate::tls::record::kind;

/// Records in a row that may bring no data.
const IDLE_MAX: u32 = 32;

/// Why no record is taken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client sends no more.
    Goodbye,
    /// The client has sent this alert.
    Alert(AlertDescription),
    /// The client is told that it broke a rule.
    Breach(AlertDescription),
}

/// What a server makes of a client's records.
pub struct Rules {
    /// Whether the records are those of TLS 1.3.
    v13: bool,
    /// The front of a handshake message.
    message: Vec<u8>,
    /// Records that brought no data, since the last that did.
    idle: u32,
    /// Bytes of data.
    pub data: usize,
    /// KeyUpdates.
    pub renewals: u32,
    /// KeyUpdates that have asked for one.
    pub asked: u32,
    /// It has ended.
    pub end: Option<End>,
}

impl Rules {
    /// Before the first record.
    pub fn new(v13: bool) -> Rules {
        Rules { v13, message: Vec::new(), idle: 0, data: 0, renewals: 0, asked: 0, end: None }
    }

    /// The next record, which is as the client has sealed it.
    pub fn take(&mut self, kind: u8, content: &[u8]) {
        if self.end.is_none() {
            self.end = self.judge(kind, content).err();
        }
    }

    fn judge(&mut self, kind: u8, content: &[u8]) -> Result<(), End> {
        let breach = |alert| Err(End::Breach(alert));
        let cut = !self.message.is_empty();
        if kind == kind::DATA && !content.is_empty() && !cut {
            self.idle = 0;
            self.data += content.len();
            return Ok(());
        }
        self.idle += 1;
        let flood = self.idle > IDLE_MAX;
        match (kind, content) {
            // Nothing comes between the parts of a message.
            (other, _) if cut && other != kind::HANDSHAKE => breach(AlertDescription::UnexpectedMessage),
            _ if flood => breach(AlertDescription::UnexpectedMessage),
            (kind::DATA, _) => Ok(()),
            (kind::ALERT, [level, description]) => self.alert(*level, (*description).into()),
            (kind::ALERT, [_, ..]) => breach(AlertDescription::DecodeError),
            (kind::HANDSHAKE, [1, ..]) if !self.v13 => breach(AlertDescription::NoRenegotiation),
            (kind::HANDSHAKE, [_, ..]) if self.v13 => self.handshake(content),
            _ => breach(AlertDescription::UnexpectedMessage),
        }
    }

    fn alert(&self, level: u8, description: AlertDescription) -> Result<(), End> {
        match (level, description) {
            (_, AlertDescription::CloseNotify) => Err(End::Goodbye),
            (1, AlertDescription::UserCanceled) => Ok(()),
            (1, _) if !self.v13 => Ok(()),
            (1 | 2, _) => Err(End::Alert(description)),
            _ => Err(End::Breach(AlertDescription::IllegalParameter)),
        }
    }

    /// A part of a KeyUpdate, which ends a record.
    fn handshake(&mut self, content: &[u8]) -> Result<(), End> {
        let breach = |alert| Err(End::Breach(alert));
        self.message.extend_from_slice(content);
        match &self.message[..] {
            [first, ..] if *first != 24 => breach(AlertDescription::UnexpectedMessage),
            [_, length @ ..] if length.iter().zip([0, 0, 1]).any(|(is, should)| *is != should) => {
                breach(AlertDescription::DecodeError)
            }
            [_, _, _, _, asks, ..] if *asks > 1 => breach(AlertDescription::IllegalParameter),
            [_, _, _, _, asks] => {
                (self.renewals, self.asked) = (self.renewals + 1, self.asked + u32::from(*asks));
                self.message.clear();
                Ok(())
            }
            [_, _, _, _, _, ..] => breach(AlertDescription::UnexpectedMessage),
            _ => Ok(()),
        }
    }

    /// How many bytes follow a header behind the handshake, or what is wrong with it.
    pub fn body_len(v13: bool, header: [u8; 5]) -> Result<usize, AlertDescription> {
        let [kind, major, minor, a, b] = header;
        let len = usize::from(a) << 8 | usize::from(b);
        match (v13, kind) {
            (true, 23) if len <= 16384 + 256 => Ok(len),
            (false, 20..=23) if [major, minor] != [3, 3] => Err(AlertDescription::ProtocolVersion),
            (false, 20..=23) if len <= 16384 + 2048 => Ok(len),
            (true, 23) | (false, 20..=23) => Err(AlertDescription::RecordOverflow),
            _ => Err(AlertDescription::UnexpectedMessage),
        }
    }
}
