//! A client that seals what it is told to, and what becomes of its bytes on the way.

use std::sync::OnceLock;

use rustls::AlertDescription;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};

use super::rules::{End, Rules};
use crate::script::Script;
use crate::tls::record::{CONTENT_BYTES_MAX, Cipher, HEADER_BYTES, kind};

/// What a KeyUpdate begins with; whether it asks for one follows.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// Goes on with a client's handshake, as far as what has come reaches. Returns what it has to send.
pub fn shake(client: &mut UnbufferedClientConnection, input: &mut Vec<u8>) -> Vec<u8> {
    let mut flight = Vec::new();
    loop {
        let UnbufferedStatus { discard, state } = client.process_tls_records(input);
        let goes_on = match state.expect("the server keeps the rules") {
            ConnectionState::EncodeTlsData(mut data) => {
                let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else { panic!("it has a length") };
                let start = flight.len();
                flight.resize(start + size.required_size, 0);
                data.encode(&mut flight[start..]).expect("there is room");
                true
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                true
            }
            _ => false,
        };
        input.drain(..discard);
        if !goes_on {
            return flight;
        }
    }
}

/// What a server has come to behind one record more, if that arrives as it was sealed.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Where the record begins and ends.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
    /// Bytes of data in all.
    pub data: usize,
    /// KeyUpdates that have asked for one.
    pub asked: u32,
    /// Why there is nothing more.
    pub outcome: Option<End>,
}

/// One that has shaken hands.
pub struct Client {
    /// Whether the records are those of TLS 1.3.
    pub v13: bool,
    tx: Cipher,
    rx: Cipher,
    keys: KernelConnection<ClientConnectionData>,
    rules: Rules,
    /// It does not renew its key the next time that it says so; and it has not.
    forgets: bool,
    forgot: bool,
    /// All that was sealed: records, and the data in them.
    pub sealed: Vec<u8>,
    pub data: Vec<u8>,
    pub marks: Vec<Mark>,
    /// What has not arrived: the flight that ends the handshake, then what was sealed, or what has become of it.
    pub pending: Vec<u8>,
}

impl Client {
    /// With what a handshake has come to, and its last flight, if that has not arrived.
    pub fn new(client: UnbufferedClientConnection, flight: Vec<u8>) -> Client {
        let (secrets, keys) = client.dangerous_into_kernel_connection().expect("the handshake is over");
        let v13 = keys.protocol_version() == rustls::ProtocolVersion::TLSv1_3;
        let cipher = |(number, secrets)| Cipher::new(number, &secrets, v13).expect("a suite of both");
        Client {
            v13,
            tx: cipher(secrets.tx),
            rx: cipher(secrets.rx),
            keys,
            rules: Rules::new(v13),
            forgets: false,
            forgot: false,
            sealed: Vec::new(),
            data: Vec::new(),
            marks: Vec::new(),
            pending: flight,
        }
    }

    /// Data, no two pieces of which are the same.
    pub fn say(&mut self, len: usize) {
        let content = pattern(self.data.len(), len);
        self.seal(kind::DATA, &content);
    }

    /// The same with zeros behind it (RFC 8446, section 5.4).
    pub fn pad(&mut self, len: usize, zeros: usize) {
        let mut inner = pattern(self.data.len(), len);
        if !self.v13 {
            return self.seal(kind::DATA, &inner);
        }
        inner.push(kind::DATA);
        inner.resize((inner.len() + zeros).min(CONTENT_BYTES_MAX), 0);
        // The last zero stands for a type.
        self.seal_as(0, &inner, kind::DATA, len);
    }

    /// A KeyUpdate, in two records if it is cut.
    pub fn renew(&mut self, asks: bool, cut: usize, forgets: bool) {
        let message = [&KEY_UPDATE[..], &[u8::from(asks)]].concat();
        self.forgets |= forgets;
        let (front, rest) = message.split_at(cut.min(message.len()));
        for part in [front, rest] {
            if !part.is_empty() {
                self.seal(kind::HANDSHAKE, part);
            }
        }
    }

    /// Any record. In TLS 1.3 a type of zero is padding: the last byte that is not is the type.
    pub fn seal(&mut self, kind: u8, content: &[u8]) {
        let (read, len) = match content.iter().rposition(|byte| *byte != 0) {
            _ if !self.v13 || kind != 0 => (kind, content.len()),
            Some(last) => (content[last], last),
            None => (0, 0),
        };
        self.seal_as(kind, content, read, len);
    }

    /// A record that its reader has for one of `kind`, with so many of its bytes.
    fn seal_as(&mut self, sealed: u8, inner: &[u8], kind: u8, len: usize) {
        let start = self.sealed.len();
        let end = start + self.tx.sealed_len(inner.len());
        self.sealed.resize(end, 0);
        self.tx.seal(sealed, inner, &mut self.sealed[start..]);
        self.pending.extend_from_slice(&self.sealed[start..]);
        if self.forgot && self.rules.end.is_none() {
            self.rules.end = Some(End::Breach(AlertDescription::BadRecordMac));
        }
        let (data, renewals) = (self.rules.data, self.rules.renewals);
        self.rules.take(kind, &inner[..len]);
        if self.rules.data > data {
            self.data.extend_from_slice(&inner[..len]);
        }
        if self.rules.renewals > renewals && !self.forgets {
            let (number, secrets) = self.keys.update_tx_secret().expect("TLS 1.3 has a next key");
            self.tx = Cipher::new(number, &secrets, true).expect("the same suite");
        }
        self.forgot |= self.rules.renewals > renewals && self.forgets;
        let Rules { data, asked, end: outcome, .. } = self.rules;
        self.marks.push(Mark { start, end, data, asked, outcome });
    }

    /// The contents of all records of a server.
    pub fn hear(&mut self, mut records: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut heard = Vec::new();
        while let Some((header, rest)) = records.split_first_chunk::<HEADER_BYTES>() {
            let (body, rest) = rest.split_at(self.rx.body_len(*header).expect("a good header"));
            let mut content = Vec::new();
            let kind = self.rx.open(*header, body, &mut content).expect("a good record");
            if kind == kind::HANDSHAKE {
                let (number, secrets) = self.keys.update_rx_secret().expect("TLS 1.3 has a next key");
                self.rx = Cipher::new(number, &secrets, true).expect("the same suite");
            }
            heard.push((kind, content));
            records = rest;
        }
        assert!(records.is_empty(), "half a record was sent");
        heard
    }

    /// Something happens to what has not arrived, behind the handshake, of which so much has not.
    pub fn tamper(&mut self, script: &mut Script<'_>, handshake: usize, arrived: usize) {
        let (what, len) = (script.below(6), self.pending.len() - handshake);
        let place = handshake + script.place(len);
        let as_sealed = self.pending[handshake..] == self.sealed[arrived.min(self.sealed.len())..];
        let whole = self.marks.iter().filter(|mark| as_sealed && mark.start >= arrived).copied().collect::<Vec<_>>();
        let at = |place: usize| handshake + place - arrived;
        match what {
            0 if len > 0 => self.pending[place] ^= 1 << script.below(8),
            1 if len > 0 => drop(self.pending.drain(place..(place + 1 + script.below(24)).min(handshake + len))),
            2 => {
                let more: Vec<u8> = (0..=script.below(8)).map(|_| script.below(256) as u8).collect();
                self.pending.splice(place..place, more);
            }
            // A record comes twice.
            3 if !self.marks.is_empty() => {
                let mark = self.marks[script.below(self.marks.len().min(256))];
                let at = if script.below(2) == 0 { handshake } else { handshake + len };
                self.pending.splice(at..at, self.sealed[mark.start..mark.end].iter().copied());
            }
            // One does not come.
            4 if !whole.is_empty() => {
                let mark = whole[script.below(whole.len().min(256))];
                self.pending.drain(at(mark.start)..at(mark.end));
            }
            // One overtakes another.
            5 if whole.len() > 1 => {
                let first = script.below((whole.len() - 1).min(256));
                let (one, two) = (whole[first], whole[first + 1]);
                self.pending[at(one.start)..at(two.end)].rotate_left(one.end - one.start);
            }
            _ => {}
        }
    }
}

/// So many bytes, as the stream has them here: it comes again after half a mebibyte.
pub fn pattern(start: usize, len: usize) -> Vec<u8> {
    const PERIOD: usize = 1 << 19;
    static STREAM: OnceLock<Vec<u8>> = OnceLock::new();
    let byte = |at: usize| ((at * 31) >> 3) as u8 ^ (at >> 11) as u8;
    let stream = STREAM.get_or_init(|| (0..PERIOD + (1 << 16)).map(|at| byte(at % PERIOD)).collect());
    stream[start % PERIOD..][..len].to_vec()
}
