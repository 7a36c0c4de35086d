//! One connection's TLS, as a value: records in, plaintext out, and the other way round.
//!
//! The handshake is rustls's. When it is over, and all that rustls has to say was said, the keys are taken from it and
//! [`Traffic`] goes on: rustls makes a vector for each record, and its state takes many lines of cache.
//!
//! Nothing is kept of what is whole: a connection that is idle has no buffers. The front of a record whose rest has not
//! come, and sealed bytes that the socket has not taken, are kept until they are gone.

use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;

use super::Secrets;
use super::failure::Failure;
use super::handshake::{Done, Handshake, Shaken};
use super::record::Sealed;
use super::traffic::{End, Sealer, Traffic};

/// Received bytes that wait for the rest of a record, or of a handshake message that spans records: RFC 8446 has records
/// of 16 KiB and 256 bytes, and messages of a handshake that rustls takes have 64 KiB, in records with headers.
pub const ARRIVED_BYTES_MAX: usize = 96 << 10;

/// The TLS of one connection, but for its [`Sealer`], which is kept by who owns this, and is there as long as something can
/// be sealed: from the end of the handshake until the connection fails.
pub struct Channel {
    stage: Stage,
    /// The front of what is not whole yet.
    pub arrived: Option<Box<Vec<u8>>>,
    /// Sealed bytes that have not left.
    pub unsent: Option<Box<Vec<u8>>>,
    /// Bytes at the front of the outbox that `unsent`, or what is being sent, stands for.
    pub covers: usize,
    /// The handshake was seen to be complete.
    complete: bool,
    /// The client has said that it sends no more.
    ended: bool,
    /// We are to say that we send no more, behind all that waits; and whether that was done.
    goodbye: Goodbye,
    /// The handshake took up an earlier session, by a ticket.
    resumed: bool,
    /// The certificates that the client has shown, its own first: they are looked at again when the files were.
    certificates: Box<[CertificateDer<'static>]>,
}

/// How far it has come.
enum Stage {
    /// The handshake is rustls's.
    Handshake(Box<Handshake>),
    /// It is over.
    Traffic(Traffic),
    /// It failed: nothing can be sealed or opened any more.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    No,
    Due,
    Said,
}

/// What has come of received bytes.
#[derive(Debug, Default, PartialEq, Eq)]
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
        Channel {
            stage: Stage::Handshake(Box::new(Handshake::new(secrets))),
            arrived: None,
            unsent: None,
            covers: 0,
            complete: false,
            ended: false,
            goodbye: Goodbye::No,
            resumed: false,
            certificates: Box::default(),
        }
    }

    /// Whether the handshake is not complete.
    pub fn is_handshaking(&self) -> bool {
        !self.complete
    }

    /// What it may cost to take the client's next bytes.
    pub fn units(&self) -> u32 {
        if let Stage::Handshake(handshake) = &self.stage { handshake.units() } else { 0 }
    }

    /// Whether the client has said that it sends no more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the handshake, which is complete, took up an earlier session, by a ticket.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The certificates that the client has shown in the handshake, which is complete, its own first; none, if it has not.
    pub fn client_certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Whether something is to be sent besides the outbox.
    pub fn owes(&self) -> bool {
        // One that has failed owes nothing: it cannot say goodbye any more.
        let says = matches!(&self.stage, Stage::Traffic(traffic) if self.goodbye == Goodbye::Due || traffic.owes());
        self.unsent.is_some() || says
    }

    /// Nothing more will be written: say so behind what waits.
    pub fn end(&mut self) {
        if self.goodbye == Goodbye::No && matches!(self.stage, Stage::Traffic(_)) {
            self.goodbye = Goodbye::Due;
        }
    }

    /// Takes received bytes while the handshake is under way, and what comes behind it with them. What is not done with
    /// must come again as it is then. Contents of records are appended to `plain`, answers to `answers`.
    pub fn shake_hands(
        &mut self,
        input: &mut [u8],
        tx: &mut Option<Sealer>,
        plain: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Opened {
        let Stage::Handshake(handshake) = &mut self.stage else { return self.open(input, tx, plain, answers) };
        let Shaken { consumed, end } = handshake.shake(input, answers);
        let all = Opened { consumed: input.len(), ..Opened::default() };
        match end {
            None => Opened { consumed, ..Opened::default() },
            Some(Ok(Done::Closed)) => {
                self.ended = true;
                Opened { ended: true, ..all }
            }
            Some(Ok(Done::Complete)) => {
                *tx = self.take_keys();
                if tx.is_none() {
                    return Opened { failed: Some(Failure::Cipher), ..all };
                }
                let opened = self.open(&input[consumed..], tx, plain, answers);
                Opened { consumed: consumed + opened.consumed, completed: true, ..opened }
            }
            Some(Err(failure)) => {
                self.stage = Stage::Failed;
                Opened { failed: Some(failure), ..all }
            }
        }
    }

    /// The handshake is over. `None`: with keys that we have no cipher for, which rustls does not have either.
    fn take_keys(&mut self) -> Option<Sealer> {
        let Stage::Handshake(handshake) = std::mem::replace(&mut self.stage, Stage::Failed) else { return None };
        let connection = handshake.connection;
        self.resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        self.certificates = connection.peer_certificates().unwrap_or_default().into();
        let (secrets, keys) = connection.dangerous_into_kernel_connection().ok()?;
        let (traffic, sealer) = Traffic::new(&secrets, keys)?;
        self.stage = Stage::Traffic(traffic);
        self.complete = true;
        Some(sealer)
    }

    /// The same behind the handshake.
    pub fn open(
        &mut self,
        input: &[u8],
        tx: &mut Option<Sealer>,
        plain: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Opened {
        let mut opened = Opened { consumed: input.len(), ended: self.ended, ..Opened::default() };
        let Stage::Traffic(traffic) = &mut self.stage else { return opened };
        if self.ended {
            return opened;
        }
        let (taken, end) = traffic.open(input, plain);
        match end {
            Ok(()) => opened.consumed = taken,
            Err(End::Goodbye) => (self.ended, opened.ended) = (true, true),
            Err(End::Alert(alert)) => opened.failed = Some(Failure::Alert(alert)),
            Err(End::Breach(alert)) => {
                tx.iter_mut().for_each(|tx| answers.extend_from_slice(&tx.fatal(alert)));
                opened.failed = Some(Failure::Violated);
            }
        }
        if opened.failed.is_some() {
            (self.stage, *tx) = (Stage::Failed, None);
        }
        opened
    }

    /// Appends `plain` in records. False: the keys are used up, and nothing can be sealed any more.
    pub fn seal(&mut self, plain: &[u8], tx: &mut Option<Sealer>, out: &mut Sealed) -> bool {
        let (Stage::Traffic(traffic), Some(sealer)) = (&mut self.stage, &mut *tx) else { return plain.is_empty() };
        let sealed = traffic.seal(plain, sealer, out);
        if !sealed {
            (self.stage, *tx) = (Stage::Failed, None);
        }
        sealed
    }

    /// Appends what is due besides data: a KeyUpdate that the client has asked for, and, if all that waited is sealed,
    /// close_notify (RFC 8446, section 6.1).
    pub fn say_rest(&mut self, all: bool, tx: &mut Option<Sealer>, out: &mut Sealed) {
        let (Stage::Traffic(traffic), Some(sealer)) = (&mut self.stage, &mut *tx) else { return };
        if traffic.owes() && !traffic.renew(sealer, out) {
            (self.stage, *tx) = (Stage::Failed, None);
        } else if all && self.goodbye == Goodbye::Due {
            self.goodbye = Goodbye::Said;
            out.append(&sealer.goodbye());
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No secrets in a log.
        f.debug_struct("Channel").field("complete", &self.complete).finish_non_exhaustive()
    }
}
