//! The handshake of one connection, which is rustls's, up to the byte behind it.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};

use super::Secrets;
use super::failure::Failure;
use super::record::HEADER_BYTES;

/// A handshake that is under way.
pub struct Handshake {
    /// What goes on with it, and has the keys in the end.
    pub connection: UnbufferedServerConnection,
    hello_units: u32,
    finish_units: u32,
    /// A flight of the client was answered.
    answered: bool,
    /// Whole records at the front of the input that rustls has seen and not done with: a message goes on behind them.
    seen: usize,
}

/// What has come of received bytes.
pub struct Shaken {
    /// Bytes that are done with.
    pub consumed: usize,
    /// How it ended, if it has.
    pub end: Option<Result<Done, Failure>>,
}

/// How a handshake may end that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There are keys, and rustls has nothing more to say.
    Complete,
    /// The client has said that it sends no more.
    Closed,
}

impl Handshake {
    /// Of a connection that has just been accepted.
    pub fn new(secrets: &Secrets) -> Handshake {
        let connection = UnbufferedServerConnection::new(Arc::clone(&secrets.config));
        Handshake {
            connection: connection.expect("nothing in our configurations is refused"),
            hello_units: secrets.hello_units,
            finish_units: secrets.finish_units,
            answered: false,
            seen: 0,
        }
    }

    /// What it may cost to take the client's next bytes.
    pub fn units(&self) -> u32 {
        if self.answered { self.finish_units } else { self.hello_units }
    }

    /// Goes on. rustls opens records where they lie, and all that it is given; what is behind the handshake is not for it.
    /// So it is given one record more at a time, until it has its last message: that ends a record, or it is an error.
    pub fn shake(&mut self, input: &mut [u8], answers: &mut Vec<u8>) -> Shaken {
        let before = answers.len();
        let (mut consumed, mut closed) = (0, false);
        let mut offered = self.seen;
        let end = loop {
            let offer = &mut input[consumed..consumed + offered];
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(offer);
            let mut waits = false;
            let failed = match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(answers, |out| data.encode(out));
                    None
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    None
                }
                Ok(state) => {
                    closed |= matches!(state, ConnectionState::PeerClosed);
                    waits = true;
                    None
                }
                Err(error) => Some(Failure::of(&error)),
            };
            (consumed, offered) = (consumed + discard, offered - discard);
            self.seen = self.seen.saturating_sub(discard);
            if let Some(failure) = failed {
                self.alert(&mut input[consumed..consumed + offered], answers);
                break Some(Err(failure));
            }
            if !waits {
                continue;
            }
            if closed {
                break Some(Ok(Done::Closed));
            }
            if !self.connection.is_handshaking() {
                // Nothing of ours can be left then: see above.
                break Some(if self.seen == 0 { Ok(Done::Complete) } else { Err(Failure::Violated) });
            }
            let rest = &input[consumed + self.seen..];
            if rest.is_empty() || offered > self.seen {
                break None;
            }
            match record_len(rest).filter(|len| *len <= rest.len()) {
                Some(len) => {
                    self.seen += len;
                    offered = self.seen;
                }
                // Its front may show already that it is no record.
                None => offered += rest.len(),
            }
        };
        self.answered |= answers.len() > before;
        Shaken { consumed, end }
    }

    /// The alert of an error waits to be encoded, behind what was to be answered before. rustls remembers where in its
    /// input handshake messages lie that it has not looked at, so it must be given what it had; and it looks at that
    /// again, and fails again, once nothing waits, so it is not asked for more than the alert.
    fn alert(&mut self, rest: &mut [u8], answers: &mut Vec<u8>) {
        loop {
            let start = answers.len();
            match self.connection.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(answers, |out| data.encode(out)),
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                _ => return,
            }
            if is_alert(&answers[start..]) {
                return;
            }
        }
    }
}

/// The length of the record that begins here, with its header, if that is whole.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// Whether a record of ours is an alert: by its type, or, where TLS 1.3 hides that, by its length. No other message has two
/// bytes, to which come the type within and the tag (RFC 8446, section 5.2).
fn is_alert(record: &[u8]) -> bool {
    matches!(record, [0x15, ..]) || matches!(record, [0x17, _, _, 0, 19, ..])
}

/// Appends a record that is encoded already.
fn encode(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = out.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = write(&mut []) {
        out.resize(start + required_size, 0);
        let written = write(&mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
    }
}
