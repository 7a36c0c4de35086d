//! Scripts: the steps of a case, one a line, read and run.
//!
//! | step | |
//! |---|---|
//! | `a > BYTES` | opens connection `a` unless it is open, and sends the bytes in one write |
//! | `a >> BYTES` | the same, each byte in a write of its own |
//! | `a < BYTES` | the next bytes that `a` receives are exactly these |
//! | `a <* P \| Q \| R` | the next bytes are exactly these, in any order; each alternative is whole packets |
//! | `a closed` | nothing more comes, and the broker ends the connection |
//! | `a quiet` | nothing has come: PINGREQ, and what comes next is PINGRESP |
//! | `a drop`, `a fin` | the client ends the connection without DISCONNECT, by RST or by FIN |
//! | `pass 1500ms`, `pass 2s` | time passes, and whatever needs time to come is expected behind it |
//! | `repeat 1..=300`, `end` | the steps between them for each number, which is `<i:u16>`, or `<i>` in texts |
//!
//! A step goes on in the next line while a bracket is open. At the end every connection that was accepted (CONNACK with
//! code 0) and that neither side has ended must be quiet: a case asserts all bytes, and the end state.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::broker::{Arrival, Broker, Goodbye};
use crate::notation::{self, Defines, Notation, Scope, Slot};
use crate::show;

/// Names that connections cannot have.
const KEYWORDS: [&str; 3] = ["pass", "repeat", "end"];

/// The longest `pass`: against a live broker it is real time.
const PASS_MAX: Duration = Duration::from_secs(3);

const PINGREQ: [u8; 2] = [0xc0, 0x00];
const PINGRESP: [Slot; 2] = [Slot::Exactly(0xd0), Slot::Exactly(0x00)];

/// A script, checked.
#[derive(Debug)]
pub struct Script {
    steps: Vec<Step>,
    /// Its last line.
    end: usize,
}

/// What is wrong with a script, or went wrong when it ran.
#[derive(Debug)]
pub struct Failure {
    /// The line of the script, from 0.
    pub line: usize,
    /// The step as written, then what was expected and what came.
    pub message: String,
}

#[derive(Debug)]
struct Step {
    line: usize,
    written: String,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Send { name: String, bytes: Notation, apart: bool },
    Expect { name: String, bytes: Notation },
    ExpectInAnyOrder { name: String, alternatives: Vec<Notation> },
    Closed { name: String },
    Quiet { name: String },
    HangUp { name: String, goodbye: Goodbye },
    Pass(Duration),
    Repeat { numbers: RangeInclusive<u32>, steps: Vec<Step> },
}

impl Script {
    /// Reads a script.
    pub fn read(text: &str, defines: &Defines) -> Result<Self, Failure> {
        // The steps of a repeat that is not at its end yet lie beside those around it.
        let mut steps = Vec::new();
        let mut around: Option<(Step, Vec<Step>)> = None;
        let mut lines = text.lines().enumerate();
        while let Some((line, first)) = lines.next() {
            let mut written = first.trim().to_owned();
            if written.is_empty() || written.starts_with('#') {
                continue;
            }
            while !notation::is_whole(&written) {
                let Some((_, more)) = lines.next() else { break };
                written = format!("{written}\n{}", more.trim());
            }
            let failed = |message: String| Failure { line, message: format!("{written}\n{message}") };
            if without_comment(&written) == "end" {
                let (mut repeat, outer) = around.take().ok_or_else(|| failed("no repeat is open".to_owned()))?;
                let inner = std::mem::replace(&mut steps, outer);
                let Action::Repeat { steps: place, .. } = &mut repeat.action else { unreachable!("kept as a repeat") };
                *place = inner;
                steps.push(repeat);
                continue;
            }
            let action = Action::read(&written, defines).map_err(failed)?;
            let repeats = matches!(action, Action::Repeat { .. });
            let step = Step { line, written, action };
            if repeats && around.is_some() {
                return Err(step.fails("a repeat within a repeat"));
            }
            match repeats {
                true => around = Some((step, std::mem::take(&mut steps))),
                false => steps.push(step),
            }
        }
        match around {
            Some((repeat, _)) => Err(repeat.fails("it has no end")),
            None => Ok(Self { steps, end: text.lines().count().saturating_sub(1) }),
        }
    }

    /// Runs it.
    pub fn run(&self, broker: &mut dyn Broker) -> Result<(), Failure> {
        let mut run = Run { broker, peers: BTreeMap::new(), scope: Scope::default() };
        run.steps(&self.steps)?;
        let open: Vec<String> =
            run.peers.iter().filter(|(_, peer)| peer.is_served()).map(|(name, _)| name.clone()).collect();
        for name in open {
            let failed = |message| Failure { line: self.end, message: format!("at the end: {name} quiet\n{message}") };
            run.quiet(&name).map_err(failed)?;
        }
        Ok(())
    }
}

impl Step {
    fn fails(&self, message: &str) -> Failure {
        Failure { line: self.line, message: format!("{}\n{message}", self.written) }
    }
}

impl Action {
    fn read(written: &str, defines: &Defines) -> Result<Self, String> {
        let (first, rest) = written.split_once(char::is_whitespace).unwrap_or((written, ""));
        match first {
            "pass" => return duration(without_comment(rest)).map(Self::Pass),
            "repeat" => {
                let numbers = without_comment(rest).split_once("..=");
                let numbers = numbers.and_then(|(begin, end)| Some(begin.parse().ok()?..=end.parse().ok()?));
                let numbers = numbers.ok_or("a repeat is written `repeat 1..=300`")?;
                return Ok(Self::Repeat { numbers, steps: Vec::new() });
            }
            name if !notation::is_name(name) || KEYWORDS.contains(&name) => {
                return Err(format!("`{name}` is no name of a connection"));
            }
            _ => {}
        }
        let (name, rest) = (first.to_owned(), rest.trim_start());
        let (verb, bytes) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let read = |text: &str| match Notation::read(text, defines)? {
            empty if empty.is_empty() => Err("bytes are missing".to_owned()),
            bytes => Ok(bytes),
        };
        match (verb, without_comment(bytes)) {
            (">", _) => Ok(Self::Send { name, bytes: read(bytes)?, apart: false }),
            (">>", _) => Ok(Self::Send { name, bytes: read(bytes)?, apart: true }),
            ("<", _) => Ok(Self::Expect { name, bytes: read(bytes)? }),
            ("<*", _) => {
                let alternatives = notation::alternatives(bytes).into_iter().map(read).collect::<Result<_, _>>()?;
                Ok(Self::ExpectInAnyOrder { name, alternatives })
            }
            ("closed", "") => Ok(Self::Closed { name }),
            ("quiet", "") => Ok(Self::Quiet { name }),
            ("drop", "") => Ok(Self::HangUp { name, goodbye: Goodbye::Reset }),
            ("fin", "") => Ok(Self::HangUp { name, goodbye: Goodbye::Fin }),
            _ => Err(format!("`{verb}` is no step")),
        }
    }
}

/// A line's words without what follows a `#`; for steps without bytes.
fn without_comment(words: &str) -> &str {
    words.split('#').next().unwrap_or(words).trim()
}

fn duration(text: &str) -> Result<Duration, String> {
    let millis = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => digits.parse().ok(),
        (None, Some(digits)) => digits.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1000)),
        (None, None) => None,
    };
    let time = Duration::from_millis(millis.ok_or("a pass is written `pass 1500ms` or `pass 2s`")?);
    if time > PASS_MAX { Err(format!("at most {PASS_MAX:?} may pass")) } else { Ok(time) }
}

struct Run<'a> {
    broker: &'a mut dyn Broker,
    peers: BTreeMap<String, Peer>,
    scope: Scope,
}

/// One connection, from the client's side.
struct Peer {
    connection: usize,
    /// Everything received; what lies before `taken` was expected.
    received: Vec<u8>,
    taken: usize,
    /// Whether the client has sent FIN.
    fin: bool,
}

impl Run<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            if let Action::Repeat { numbers, steps } = &step.action {
                for number in numbers.clone() {
                    self.scope.number = Some(number);
                    self.steps(steps).map_err(|failure| Failure {
                        message: format!("{} (number {number})", failure.message),
                        ..failure
                    })?;
                }
                self.scope.number = None;
            } else {
                self.step(&step.action).map_err(|message| step.fails(&message))?;
            }
        }
        Ok(())
    }

    fn step(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Send { name, bytes, apart } => {
                let bytes = bytes.bytes(&self.scope)?;
                let connection = self.opened(name);
                for segment in bytes.chunks(if *apart { 1 } else { bytes.len() }) {
                    self.broker.send(connection, segment);
                }
            }
            Action::Expect { name, bytes } => {
                let expected = bytes.slots(&self.scope)?;
                self.expect(name, &expected)?;
            }
            Action::ExpectInAnyOrder { name, alternatives } => {
                let expected = alternatives.iter().map(|bytes| bytes.slots(&self.scope)).collect::<Result<_, _>>()?;
                self.expect_in_any_order(name, expected)?;
            }
            Action::Closed { name } => self.closed(name)?,
            Action::Quiet { name } => self.quiet(name)?,
            Action::HangUp { name, goodbye } => {
                let peer = self.peers.get_mut(name).ok_or_else(|| not_open(name))?;
                peer.fin = true;
                self.broker.hang_up(peer.connection, *goodbye);
                if *goodbye == Goodbye::Reset {
                    self.peers.remove(name);
                }
            }
            Action::Pass(time) => self.broker.pass(*time),
            Action::Repeat { .. } => unreachable!("run by its own steps"),
        }
        Ok(())
    }

    /// The connection of this name, opened unless it is open.
    fn opened(&mut self, name: &str) -> usize {
        if self.peers.get(name).is_none_or(|peer| peer.fin) {
            let connection = self.broker.open();
            self.peers.insert(name.to_owned(), Peer { connection, received: Vec::new(), taken: 0, fin: false });
        }
        self.peers[name].connection
    }

    fn expect(&mut self, name: &str, expected: &[Slot]) -> Result<(), String> {
        let peer = self.peers.get_mut(name).ok_or_else(|| not_open(name))?;
        // What came first is not looked at again with each piece that follows.
        let mut right = 0;
        loop {
            let came = &peer.received[peer.taken..];
            let wrong = expected.iter().zip(came).skip(right).position(|(slot, byte)| !slot.admits(*byte));
            if let Some(at) = wrong.map(|at| right + at) {
                return Err(format!("{}\ndiffers at byte {at}", comparison(&[expected], came, None)));
            }
            if came.len() >= expected.len() {
                break;
            }
            right = came.len();
            match self.broker.receive(peer.connection, &mut peer.received) {
                Arrival::Bytes => {}
                other => return Err(comparison(&[expected], &peer.received[peer.taken..], Some(other))),
            }
        }
        self.take(name, expected);
        Ok(())
    }

    fn expect_in_any_order(&mut self, name: &str, mut expected: Vec<Vec<Slot>>) -> Result<(), String> {
        let peer = self.peers.get_mut(name).ok_or_else(|| not_open(name))?;
        while !expected.is_empty() {
            let came = &peer.received[peer.taken..];
            let fits = |slots: &&Vec<Slot>| slots.iter().zip(came).all(|(slot, byte)| slot.admits(*byte));
            let complete = expected.iter().position(|slots| slots.len() <= came.len() && fits(&slots));
            if let Some(index) = complete {
                let slots = expected.swap_remove(index);
                self.take(name, &slots);
                return self.expect_in_any_order(name, expected);
            }
            let expected_slices: Vec<&[Slot]> = expected.iter().map(Vec::as_slice).collect();
            if !expected.iter().any(|slots| fits(&slots)) {
                return Err(comparison(&expected_slices, came, None));
            }
            match self.broker.receive(peer.connection, &mut peer.received) {
                Arrival::Bytes => {}
                other => return Err(comparison(&expected_slices, &peer.received[peer.taken..], Some(other))),
            }
        }
        Ok(())
    }

    /// Takes bytes that have come as expected, and keeps what was to be captured.
    fn take(&mut self, name: &str, expected: &[Slot]) {
        let peer = self.peers.get_mut(name).expect("the caller received from it");
        let came = &peer.received[peer.taken..];
        let mut captured: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (slot, byte) in expected.iter().zip(came) {
            if let Slot::Capture(name) = slot {
                captured.entry(name.clone()).or_default().push(*byte);
            }
        }
        peer.taken += expected.len();
        self.scope.captured.append(&mut captured);
    }

    fn closed(&mut self, name: &str) -> Result<(), String> {
        let mut peer = self.peers.remove(name).ok_or_else(|| not_open(name))?;
        loop {
            let came = &peer.received[peer.taken..];
            if !came.is_empty() {
                return Err(format!("expected  the end of the connection\n{}", received(came, None)));
            }
            match self.broker.receive(peer.connection, &mut peer.received) {
                Arrival::Bytes => {}
                Arrival::End => return Ok(()),
                Arrival::Nothing => {
                    return Err("expected  the end of the connection\nreceived  nothing: it is still open".to_owned());
                }
            }
        }
    }

    fn quiet(&mut self, name: &str) -> Result<(), String> {
        let peer = self.peers.get(name).filter(|peer| !peer.fin).ok_or_else(|| not_open(name))?;
        self.broker.settle();
        self.broker.send(peer.connection, &PINGREQ);
        self.expect(name, &PINGRESP)
    }
}

impl Peer {
    /// Whether the broker has accepted this connection and nobody has ended it.
    fn is_served(&self) -> bool {
        let code = show::packet_end(&self.received).and_then(|end| match self.received[..end] {
            // The length ends before the flags, with the only byte below 0x80.
            [0x20, ..] => {
                let flags = 2 + self.received[1..end].iter().position(|byte| *byte < 0x80)?;
                self.received.get(flags + 1)
            }
            _ => None,
        });
        !self.fin && code == Some(&0)
    }
}

fn not_open(name: &str) -> String {
    format!("no connection {name} is open")
}

/// What was expected and what came, packet by packet.
fn comparison(expected: &[&[Slot]], came: &[u8], after: Option<Arrival>) -> String {
    let expected: Vec<String> = expected.iter().map(|slots| show::packets(slots, "          ")).collect();
    format!("expected  {}\n{}", expected.join("\n       or "), received(came, after))
}

fn received(came: &[u8], after: Option<Arrival>) -> String {
    let slots: Vec<Slot> = came.iter().copied().map(Slot::Exactly).collect();
    let ending = match after {
        None => "",
        Some(Arrival::End) => "\nthen      the broker ended the connection",
        Some(_) => "\nthen      nothing more came",
    };
    format!("received  {}{ending}", show::packets(&slots, "          "))
}

/// Goal: a script that does not tell what happens fails, at the right step; one that does passes.
pub fn laws() {
    let right = [
        "a > 10 00\na < 20 02 00 00\na > 30 01 07\na < 30 <x:1> ??\na > 30 $x 07\na < 30 01 07",
        "a >> 10 00\na < 20 02 00 00\na quiet\na drop\na > 10 00\na < 20 02 00 00\na > E0 00\na closed",
        "a > 10 00\na < 20 02 00 00\na > 32 00 34 00\na <* 34 00 | 32 00",
        "repeat 1..=3\na > 30 <i:u16>\na < 30 <i:u16>\nend",
        "a > 10 00 # accepted\na < [ 20\n02 00 00 ]*1 # over two lines\na fin\na closed",
    ];
    for script in right {
        let script = Script::read(script, &Defines::new()).expect("it is right");
        script.run(&mut Echo::default()).unwrap_or_else(|failure| panic!("{}", failure.message));
    }
    let wrong = [
        ("a < 20", 0),
        ("a > 30 00\na < 30 01", 1),
        ("a > 30 00\na < 30 00 30", 1),
        ("a > 30 00\na closed", 1),
        ("a > E0 00\na quiet", 1),
        ("a > E0 00\na < 30", 1),
        ("a > 30 00\na quiet", 1),
        ("a > 32 00 34 00\na <* 34 00 | 34 00", 1),
        ("a > 32 00 34 00\na <* 34 00 | 32 00 | 36 00", 1),
        ("a > 10 00\na < 20 02 00 00\na > 30 00\n# not taken", 3),
        ("a > 10 00\na < 20 02 00 00\na > E0 00", 2),
        ("a > 30 00\nrepeat 1..=2\na < 30 00\nend", 2),
        ("a > 30 00\na > $never", 1),
    ];
    for (text, line) in wrong {
        let script = Script::read(text, &Defines::new()).expect("it can be read");
        let failure = script.run(&mut Echo::default()).expect_err(text);
        assert_eq!(failure.line, line, "{text}\n{}", failure.message);
    }
    let unreadable = [
        "a",
        "a >",
        "a < # nothing",
        "a <* 01 |",
        "A > 01",
        "end",
        "repeat 1..=2",
        "repeat 1\nend",
        "a closed 01",
        "pass 4s",
        "pass > 01",
    ];
    for text in unreadable {
        assert!(Script::read(text, &Defines::new()).is_err(), "{text} was read");
    }
}

/// A broker that accepts every CONNECT, answers PINGREQ, closes on DISCONNECT and FIN, and sends back all else.
#[derive(Default)]
struct Echo {
    connections: Vec<(Vec<u8>, bool)>,
}

impl Broker for Echo {
    fn open(&mut self) -> usize {
        self.connections.push((Vec::new(), false));
        self.connections.len() - 1
    }

    fn send(&mut self, connection: usize, bytes: &[u8]) {
        let (waiting, ended) = &mut self.connections[connection];
        match bytes {
            _ if *ended => {}
            [0x10, ..] => waiting.extend([0x20, 0x02, 0x00, 0x00]),
            [0xc0, 0x00] => waiting.extend([0xd0, 0x00]),
            [0xe0, ..] => *ended = true,
            // What came in a write of its own behind the first byte of a CONNECT.
            [0x00] => {}
            _ => waiting.extend(bytes),
        }
    }

    fn receive(&mut self, connection: usize, into: &mut Vec<u8>) -> Arrival {
        let (waiting, ended) = &mut self.connections[connection];
        match (waiting.is_empty(), ended) {
            (false, _) => {
                into.append(waiting);
                Arrival::Bytes
            }
            (true, true) => Arrival::End,
            (true, false) => Arrival::Nothing,
        }
    }

    fn hang_up(&mut self, connection: usize, _: Goodbye) {
        self.connections[connection].1 = true;
    }

    fn pass(&mut self, _: Duration) {}
}
