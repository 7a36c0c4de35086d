//! One connection's TLS, as a value: records in, plaintext out, and the other way round.
//!
//! Nothing is kept of what is whole: a connection that is idle has no buffers, neither rustls's nor its own. The front
//! of a record whose rest has not come, and sealed bytes that the socket has not taken, are kept until they are gone.

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};

use super::Secrets;
use super::failure::Failure;

/// Received bytes that wait for the rest of a record, or of a handshake message that spans records: RFC 8446 has records
/// of 16 KiB and 256 bytes, and messages of a handshake that rustls takes have 64 KiB, in records with headers.
pub const ARRIVED_BYTES_MAX: usize = 96 << 10;
/// What a record may add to its plaintext: header, explicit nonce, tag, and the type within (RFC 5246, RFC 8446).
const RECORD_BYTES: usize = 5 + 8 + 16 + 1;
/// Plaintext of one record.
const RECORD_PLAIN_BYTES: usize = 16 << 10;

/// The TLS of one connection.
pub struct Channel {
    connection: UnbufferedServerConnection,
    secrets: Units,
    /// The front of what is not whole yet.
    pub arrived: Option<Box<Vec<u8>>>,
    /// Sealed bytes that have not left.
    pub unsent: Option<Box<Vec<u8>>>,
    /// Bytes at the front of the outbox that `unsent`, or what is being sent, stands for.
    pub covers: usize,
    /// The handshake was seen to be complete.
    complete: bool,
    /// A flight of the client was answered.
    answered: bool,
    /// The client has said that it sends no more, or nothing more can be made of what it sends.
    ended: bool,
    /// It failed: nothing can be sealed any more but the alert that says so.
    failed: bool,
    /// We are to say that we send no more, behind all that waits; and whether that was done.
    goodbye: Goodbye,
}

/// What the flights of a handshake cost.
#[derive(Clone, Copy)]
struct Units {
    hello: u32,
    finish: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    No,
    Due,
    Said,
}

/// What has come of received bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes that are done with; the rest must come again with what follows.
    pub consumed: usize,
    /// The handshake has just been completed.
    pub completed: bool,
    /// The client has said that it sends no more, now or before.
    pub ended: bool,
    /// It has failed now.
    pub failed: Option<Failure>,
}

impl Channel {
    /// A connection that has just been accepted.
    pub fn new(secrets: &Secrets) -> Channel {
        let connection = UnbufferedServerConnection::new(Arc::clone(&secrets.config));
        Channel {
            connection: connection.expect("nothing in our configurations is refused"),
            secrets: Units { hello: secrets.hello_units, finish: secrets.finish_units },
            arrived: None,
            unsent: None,
            covers: 0,
            complete: false,
            answered: false,
            ended: false,
            failed: false,
            goodbye: Goodbye::No,
        }
    }

    /// Whether the handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        !self.complete
    }

    /// What it may cost to take the client's next bytes.
    pub fn units(&self) -> u32 {
        match (self.complete, self.answered) {
            (true, _) => 0,
            (false, false) => self.secrets.hello,
            (false, true) => self.secrets.finish,
        }
    }

    /// Whether the client has said that it sends no more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the handshake took up an earlier session, by a ticket.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificates that the client has shown, its own first.
    pub fn client_certificates(&self) -> Option<&[rustls::pki_types::CertificateDer<'static>]> {
        self.connection.peer_certificates()
    }

    /// Whether something is to be sent besides the outbox.
    pub fn owes(&self) -> bool {
        self.unsent.is_some() || self.goodbye == Goodbye::Due
    }

    /// Nothing more will be written: say so behind what waits.
    pub fn end(&mut self) {
        if self.goodbye == Goodbye::No && self.complete && !self.failed {
            self.goodbye = Goodbye::Due;
        }
    }

    /// Takes records. What they hold is appended to `plain`, what they are answered with to `answers`.
    pub fn open(&mut self, input: &mut [u8], plain: &mut Vec<u8>, answers: &mut Vec<u8>) -> Opened {
        let mut opened = Opened { consumed: 0, completed: false, ended: false, failed: None };
        if self.failed {
            return Opened { consumed: input.len(), ..opened };
        }
        let before = answers.len();
        loop {
            let rest = &mut input[opened.consumed..];
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(rest);
            let mut done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(answers, |out| data.encode(out)),
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => done = true,
                Err(error) => {
                    opened.failed = Some(Failure::of(&error));
                    (self.failed, done) = (true, true);
                }
            }
            opened.consumed += discard;
            if done {
                break;
            }
        }
        if self.failed {
            self.alert(&mut input[opened.consumed..], answers);
        } else if !self.complete && !self.connection.is_handshaking() {
            (self.complete, opened.completed) = (true, true);
        }
        self.answered |= answers.len() > before;
        opened.ended = self.ended;
        if self.ended || self.failed {
            opened.consumed = input.len();
        }
        opened
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

    /// Appends `plain` in records. False: the keys are used up, and nothing can be sealed any more.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        if self.failed || !self.complete {
            return plain.is_empty();
        }
        if plain.is_empty() {
            return true;
        }
        let records = plain.len().div_ceil(RECORD_PLAIN_BYTES);
        let room = plain.len() + records * RECORD_BYTES;
        let sealed = self.write(out, |traffic, out| fill(out, room, |out| traffic.encrypt(plain, out)));
        self.failed |= !sealed;
        sealed
    }

    /// Appends close_notify (RFC 8446, section 6.1), if it is due: all that waited is sealed.
    pub fn say_goodbye(&mut self, out: &mut Vec<u8>) {
        if self.goodbye != Goodbye::Due {
            return;
        }
        self.goodbye = Goodbye::Said;
        self.write(out, |traffic, out| fill(out, 2 + RECORD_BYTES, |out| traffic.queue_close_notify(out)));
    }

    /// Appends what was to be said before, then what `then` does; rustls is given what has arrived of the next message,
    /// from which it takes nothing as it has seen it before. False: nothing can be written.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        then: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> bool,
    ) -> bool {
        loop {
            let arrived = self.arrived.as_mut().map_or(&mut [][..], |arrived| &mut arrived[..]);
            match self.connection.process_tls_records(arrived).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(out, |out| data.encode(out)),
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => return then(&mut traffic, out),
                _ => return false,
            }
        }
    }
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

/// Appends what `write` makes of so many bytes, or of more if that is not enough. False: nothing.
fn fill(out: &mut Vec<u8>, most: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>) -> bool {
    let start = out.len();
    let mut room = most;
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return true;
            }
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) if required_size > room => {
                // A key update goes in front.
                room = required_size;
            }
            Err(_) => {
                out.truncate(start);
                return false;
            }
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No secrets in a log.
        f.debug_struct("Channel").field("complete", &self.complete).finish_non_exhaustive()
    }
}
