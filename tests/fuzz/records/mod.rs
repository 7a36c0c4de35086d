//! TLS behind the handshake: what a client seals, cut and changed on the way, through a channel; and what that answers.
//!
//! The model knows what was sealed, record by record, and by [`rules`] of its own what each means. It asks of the channel:
//!
//! - What arrives as it was sealed is opened, in order, as soon as it is whole, and nothing else is.
//! - The first record that was changed ends all, as does one that breaks a rule: by the alert that the rule has. Nothing is
//!   opened, sealed or kept behind that.
//! - What waits for its rest is less than a record.
//! - What it says is what it was told to say, with new keys where the client has asked for them, or where its own are used
//!   up, and goodbye where there are none.

mod client;
mod open;
mod rules;

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;

use self::client::{Client, pattern, shake};
use self::rules::{End, Rules};
use crate::script::Script;
use crate::tls::channel::{ARRIVED_BYTES_MAX, Channel, Opened};
use crate::tls::failure::Failure;
use crate::tls::record::{CONTENT_BYTES_MAX, HEADER_BYTES, Sealed, kind};
use crate::tls::traffic::Sealer;

/// Steps behind the handshake at most.
const STEPS_MAX: usize = 80;

/// What comes behind a record's header at most.
const BODY_BYTES_MAX: usize = CONTENT_BYTES_MAX + 2048;
const _: () = assert!(HEADER_BYTES + BODY_BYTES_MAX <= ARRIVED_BYTES_MAX);

/// How they shake hands, then what they do.
pub fn conversation(input: &[u8]) {
    let mut script = Script(input);
    let Some(mut case) = Case::greeted(&mut script) else { return };
    for _ in 0..STEPS_MAX {
        if !case.step(&mut script) {
            break;
        }
    }
    case.arrive(usize::MAX);
    case.send(1);
    case.client.say(1);
    case.arrive(usize::MAX);
}

/// A length, near those where something changes.
fn length(script: &mut Script<'_>) -> usize {
    match script.below(5) {
        0 => script.place(1 << 16),
        1 => CONTENT_BYTES_MAX - script.below(4),
        2 => 0,
        _ => script.below(64),
    }
}

/// The broker's end.
struct Server {
    channel: Channel,
    tx: Option<Sealer>,
    /// What was opened.
    heard: Vec<u8>,
}

impl Server {
    /// Takes what has arrived, as a shard does.
    fn take(&mut self, bytes: &[u8]) -> Opened {
        let mut answers = self.channel.unsent.take().unwrap_or_default();
        let mut joined = self.channel.arrived.take().map_or_else(Vec::new, |arrived| *arrived);
        let whole = joined.is_empty() && !self.channel.is_handshaking();
        joined.extend_from_slice(bytes);
        let opened = if whole {
            self.channel.open(bytes, &mut self.tx, &mut self.heard, &mut answers)
        } else {
            self.channel.shake_hands(&mut joined, &mut self.tx, &mut self.heard, &mut answers)
        };
        let rest = joined.split_off(opened.consumed);
        assert!(rest.len() <= ARRIVED_BYTES_MAX, "{} bytes wait", rest.len());
        self.channel.arrived = (!rest.is_empty()).then(|| Box::new(rest));
        self.channel.unsent = (!answers.is_empty()).then_some(answers);
        opened
    }
}

/// Both ends, and what is expected of one.
struct Case {
    client: Client,
    server: Server,
    /// Bytes of `client.pending` that belong to the handshake.
    handshake: usize,
    /// What has arrived behind it, and how much of that is as it was sealed.
    arrived: Vec<u8>,
    same: usize,
    /// Records that have arrived whole, and as they were sealed; and what they have come to.
    marks: usize,
    end: Option<End>,
    /// KeyUpdates that were asked for and answered; bytes that were said.
    answered: u32,
    said: usize,
    /// Records that the server's key has left, where that is known.
    left: Option<u64>,
    /// The server is to say goodbye, and it has.
    leaving: bool,
    parted: bool,
    /// Its keys are used up.
    dead: bool,
}

impl Case {
    /// Both have shaken hands. `None`: they could not.
    fn greeted(script: &mut Script<'_>) -> Option<Case> {
        let (secrets, clients) = open::configurations();
        let config = Arc::clone(&clients[script.below(open::SUITES.len())]);
        let (size, changed) = (script.below(256), script.below(8));
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = UnbufferedClientConnection::new(config, name).expect("a configuration");
        let mut server = Server { channel: Channel::new(secrets), tx: None, heard: Vec::new() };
        let mut input = Vec::new();
        // In TLS 1.3 a client may speak behind its last flight, so that is left for later.
        let mut flights = 0;
        let flight = loop {
            let mut flight = shake(&mut client, &mut input);
            let size = if size == 0 { flight.len().max(1) } else { size };
            flights += 1;
            if flights == changed && !flight.is_empty() {
                let place = script.place(flight.len());
                flight[place] ^= 1 << script.below(8);
                let failures = flight.chunks(size).filter(|piece| server.take(piece).failed.is_some());
                assert!(failures.count() <= 1 && server.heard.is_empty(), "nothing follows a failure");
                return None;
            }
            if !client.is_handshaking() {
                break flight;
            }
            for piece in flight.chunks(size) {
                let opened = server.take(piece);
                assert!(opened.failed.is_none() && server.heard.is_empty(), "{opened:?}");
            }
            input.extend(server.channel.unsent.take().map_or_else(Vec::new, |answers| *answers));
        };
        let client = Client::new(client, flight);
        let handshake = client.pending.len();
        let (arrived, marks, left) = (Vec::new(), 0, None);
        let (same, end, answered, said) = (0, None, 0, 0);
        let (leaving, parted, dead) = (false, false, false);
        Some(Case { client, server, handshake, arrived, same, marks, end, answered, said, left, leaving, parted, dead })
    }

    /// One step; false: it was the last.
    fn step(&mut self, script: &mut Script<'_>) -> bool {
        match script.below(16) {
            0 | 1 => {
                let len = length(script).min(CONTENT_BYTES_MAX);
                self.client.say(len);
            }
            2 => {
                let len = length(script).min(CONTENT_BYTES_MAX - 1);
                self.client.pad(len, script.place(1 << 12));
            }
            3 if self.client.v13 => {
                let (asks, cut) = (script.below(2) == 1, script.below(6));
                self.client.renew(asks, cut, script.below(16) == 0);
            }
            4 => {
                let alert = [script.below(4) as u8, script.below(128) as u8];
                self.client.seal(kind::ALERT, &alert);
            }
            5 => {
                let kind = [kind::HANDSHAKE, kind::DATA, kind::ALERT, script.below(256) as u8][script.below(4)];
                let content: Vec<u8> = (0..script.below(7)).map(|_| script.below(256) as u8).collect();
                self.client.seal(kind, &content);
            }
            6 => self.client.tamper(script, self.handshake, self.arrived.len()),
            7 => self.arrive(1 + script.below(256)),
            8 => self.arrive(script.place(1 << 16)),
            9 | 10 => self.arrive(usize::MAX),
            11 | 12 => {
                let len = length(script);
                self.send(len);
            }
            13 => {
                let len = length(script);
                self.send_from_feed(len);
            }
            14 => match script.below(8) {
                0 => {
                    self.server.channel.end();
                    self.leaving |= self.is_alive();
                }
                left => {
                    if let Some(tx) = &mut self.server.tx {
                        tx.leave(left as u64 - 1);
                        self.left = Some(left as u64 - 1);
                    }
                }
            },
            15 => return false,
            _ => {}
        }
        true
    }

    /// Whether something can be sealed.
    fn is_alive(&self) -> bool {
        self.handshake == 0 && !self.dead && matches!(self.end, None | Some(End::Goodbye))
    }

    /// So many bytes arrive.
    fn arrive(&mut self, len: usize) {
        let arriving: Vec<u8> = self.client.pending.drain(..len.min(self.client.pending.len())).collect();
        let before = self.server.heard.len();
        let (was, leads) = (self.end, self.handshake.min(arriving.len()));
        let greets = self.handshake > 0 && leads == self.handshake;
        self.handshake -= leads;
        self.arrived.extend_from_slice(&arriving[leads..]);
        let opened = self.server.take(&arriving);
        if self.handshake > 0 {
            assert_eq!(opened.failed, None);
            assert!(self.server.heard.is_empty());
            return;
        }
        let (data, rest) = if self.dead { (before, 0) } else { self.expect() };
        assert!(self.server.heard.len() == data, "{} bytes were opened, of {data}", self.server.heard.len());
        assert!(self.server.heard[..] == self.client.data[..data], "what was opened is not what was sealed");
        let news = self.end.filter(|_| was.is_none());
        let failed = match news {
            Some(End::Alert(alert)) => Some(Failure::Alert(alert)),
            Some(End::Breach(_)) => Some(Failure::Violated),
            Some(End::Goodbye) | None => None,
        };
        assert_eq!(opened.failed, failed, "{news:?}");
        assert_eq!(opened.ended, self.end == Some(End::Goodbye), "{:?}", self.end);
        assert_eq!(opened.completed, greets);
        let waits = self.server.channel.arrived.as_ref().map_or(0, |arrived| arrived.len());
        assert_eq!(waits, rest);
        let answers = self.server.channel.unsent.take().map_or_else(Vec::new, |answers| *answers);
        let heard = self.client.hear(&answers);
        match news {
            Some(End::Breach(alert)) => assert_eq!(heard, [(kind::ALERT, vec![2, alert.into()])]),
            _ => assert_eq!(heard, []),
        }
        assert_eq!(self.server.tx.is_some(), self.is_alive());
        assert_eq!(self.server.channel.owes(), self.owes());
    }

    /// What has arrived comes to so many bytes of data, and so many bytes that wait.
    fn expect(&mut self) -> (usize, usize) {
        let (arrived, sealed) = (&self.arrived[..], &self.client.sealed[..]);
        let fits = arrived[self.same..].iter().zip(&sealed[self.same..]).take_while(|(is, was)| is == was).count();
        // What has arrived before it was sealed is not what was sealed, though it may turn out to look like it.
        self.same += fits;
        while self.end.is_none()
            && let Some(mark) = self.client.marks.get(self.marks)
            && mark.end <= self.same
        {
            (self.marks, self.end) = (self.marks + 1, mark.outcome);
        }
        let last = self.marks.checked_sub(1).map(|last| self.client.marks[last]);
        let (data, from) = last.map_or((0, 0), |mark| (mark.data, mark.end));
        if self.end.is_some() {
            return (data, 0);
        }
        let rest = &arrived[from..];
        if let Some(header) = rest.first_chunk() {
            match Rules::body_len(self.client.v13, *header) {
                Ok(len) if rest.len() < HEADER_BYTES + len => {}
                Ok(_) => self.end = Some(End::Breach(rustls::AlertDescription::BadRecordMac)),
                Err(alert) => self.end = Some(End::Breach(alert)),
            }
        }
        (data, if self.end.is_some() { 0 } else { rest.len() })
    }

    /// KeyUpdates that were asked for.
    fn asked(&self) -> u32 {
        self.marks.checked_sub(1).map_or(0, |last| self.client.marks[last].asked)
    }

    /// Whether the server has something to send of its own.
    fn owes(&self) -> bool {
        self.is_alive() && (self.leaving && !self.parted || self.asked() > self.answered)
    }

    /// The server says so much, with all that is due, unless it has said goodbye.
    fn send(&mut self, len: usize) {
        if self.parted {
            return;
        }
        let (plain, mut out) = (pattern(self.said, len), Sealed::default());
        let Server { channel, tx, .. } = &mut self.server;
        let sealed = channel.seal(&plain, tx, &mut out);
        if sealed {
            channel.say_rest(true, tx, &mut out);
        }
        let heard = self.client.hear(out.bytes(0, out.len()));
        if !self.is_alive() {
            assert_eq!((sealed, heard.len()), (len == 0, 0));
            return;
        }
        let (mut expected, mut done) = (Vec::new(), true);
        for content in plain.chunks(CONTENT_BYTES_MAX) {
            if self.asked() > self.answered || self.left == Some(0) {
                if !self.client.v13 {
                    (done, self.dead) = (false, true);
                    expected.push((kind::ALERT, vec![1, 0]));
                    break;
                }
                self.renewed(&mut expected);
            }
            self.said += content.len();
            self.left = self.left.map(|left| left - 1);
            expected.push((kind::DATA, content.to_vec()));
        }
        if done && self.asked() > self.answered {
            self.renewed(&mut expected);
        }
        if done && self.leaving {
            expected.push((kind::ALERT, vec![1, 0]));
            self.parted = true;
        }
        assert_eq!(sealed, done);
        assert!(heard == expected, "{:?}, and not {:?}", outline(&heard), outline(&expected));
    }

    fn renewed(&mut self, expected: &mut Vec<(u8, Vec<u8>)>) {
        expected.push((kind::HANDSHAKE, vec![24, 0, 0, 1, 0]));
        (self.answered, self.left) = (self.asked(), None);
    }

    /// The server says so much for which nothing else is due, as a feed does.
    fn send_from_feed(&mut self, len: usize) {
        if self.server.channel.owes() || self.parted {
            return;
        }
        let Some(tx) = &mut self.server.tx else { return };
        let records = len.div_ceil(CONTENT_BYTES_MAX) as u64;
        assert_eq!(tx.takes(len), self.left.is_none_or(|left| records <= left));
        if tx.takes(len) {
            let (plain, mut out) = (pattern(self.said, len), Sealed::default());
            tx.seal(&plain, &mut out);
            let heard = self.client.hear(out.bytes(0, out.len()));
            let contents: Vec<u8> = heard.iter().flat_map(|(_, content)| content).copied().collect();
            assert!(contents == plain && heard.iter().all(|(kind, _)| *kind == kind::DATA), "{:?}", outline(&heard));
            self.said += len;
            self.left = self.left.map(|left| left - records);
        }
    }
}

/// Records by their kinds and lengths.
fn outline(records: &[(u8, Vec<u8>)]) -> Vec<(u8, usize)> {
    records.iter().map(|(kind, content)| (*kind, content.len())).collect()
}
