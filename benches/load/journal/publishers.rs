//! Publishers at QoS 1, each with so many messages unacknowledged, and a client that is away.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::layers::Carriage;
use crate::packet::{self, Connect, Publish, Version};
use crate::payload::{Payload, Stamp};
use crate::plan::{ClientPlan, Plan};
use crate::scenario::Stop;
use crate::socket::{self, Sources};
use crate::swarm::{Dial, Sink, Swarm};

/// No answer takes so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Topics below this have a subscriber that is away.
pub const TOPIC: &str = "journal";

/// The publishers.
pub struct Publishers {
    swarm: Swarm,
    answers: Answers,
    /// How many of each client's messages may be unacknowledged.
    window: usize,
    topics: Vec<String>,
    retain: bool,
    payload: Payload,
    sequence: u64,
}

/// What came back.
#[derive(Default)]
struct Answers {
    /// Who may publish once more, once for each message.
    ready: Vec<u32>,
    acknowledged: u64,
    wrong: Option<String>,
}

impl Publishers {
    /// `count` publishers of messages of `size` bytes, connected.
    ///
    /// # Errors
    /// They cannot connect.
    pub fn connect(
        to: SocketAddr,
        count: u32,
        window: usize,
        size: usize,
        stop: &Stop,
    ) -> Result<Publishers, Box<dyn Error>> {
        let plan = Plan { clients: vec![ClientPlan::default(); count as usize], ..Plan::default() };
        socket::make_room(plan.clients.len())?;
        let dial = Dial {
            carriage: Carriage::plain(),
            sources: Sources::new(None, plan.clients.len(), &[to]),
            targets: vec![to],
            version: Version::V5,
            keep_alive: 0,
            prefix: "publisher-".to_owned(),
            user_name: None,
            password: None,
            rate: None,
            spin: false,
        };
        let mut swarm = Swarm::new(dial, size + 64)?;
        let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
        swarm.connect(vec![Vec::new(); count as usize], PATIENCE, &stopped)?;
        let topics = (0..count).map(|client| format!("{TOPIC}/{client}")).collect();
        let payload = Payload::new(size);
        Ok(Publishers { swarm, answers: Answers::default(), window, topics, retain: false, payload, sequence: 0 })
    }

    /// The same with messages that are retained, each in place of the last one of its publisher, and that nobody is owed.
    pub fn retained(mut self) -> Publishers {
        self.topics.iter_mut().for_each(|topic| *topic = format!("retained/{topic}"));
        Publishers { retain: true, ..self }
    }

    /// Publishes until that holds, of the messages acknowledged and the time, and waits for the acknowledgements of the
    /// rest; how many were acknowledged each second, until then.
    ///
    /// # Errors
    /// A message was refused, or a connection was closed.
    pub fn run(&mut self, until: impl Fn(u64, Duration) -> bool) -> Result<f64, Box<dyn Error>> {
        let (begun, before) = (Instant::now(), self.answers.acknowledged);
        self.answers.ready.clear();
        for client in 0..self.topics.len() as u32 {
            self.answers.ready.extend(std::iter::repeat_n(client, self.window));
        }
        while !until(self.answers.acknowledged - before, begun.elapsed()) {
            self.publish();
            self.swarm.poll(Duration::from_millis(20), &mut self.answers)?;
            self.check()?;
        }
        let rate = (self.answers.acknowledged - before) as f64 / begun.elapsed().as_secs_f64();
        let end = Instant::now() + PATIENCE;
        while !self.swarm.settled() {
            self.swarm.poll(Duration::from_millis(20), &mut self.answers)?;
            self.check()?;
            if Instant::now() > end {
                return Err("publishes are not acknowledged".into());
            }
        }
        Ok(rate)
    }

    /// Messages acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.answers.acknowledged
    }

    fn publish(&mut self) {
        for client in std::mem::take(&mut self.answers.ready) {
            if !self.swarm.clients[client as usize].has_room(1) {
                self.answers.ready.push(client);
                continue;
            }
            let topic = self.topics[client as usize].as_bytes();
            let stamp = Stamp { stream: client, sequence: self.sequence, intended: 0 };
            self.sequence += 1;
            self.swarm.publish(client, 1, self.retain, topic, self.payload.stamp(topic, stamp));
        }
        self.swarm.flush(&mut self.answers);
    }

    fn check(&self) -> Result<(), String> {
        self.answers.wrong.clone().map_or(Ok(()), Err)
    }
}

impl Sink for Answers {
    fn message(&mut self, _: u32, _: &Publish<'_>, _: u64) {}

    fn acknowledged(&mut self, client: u32, reason: u8) {
        if reason >= 0x80 {
            self.wrong.get_or_insert_with(|| format!("a publish was refused with reason code {reason:#04x}"));
        }
        self.acknowledged += 1;
        self.ready.push(client);
    }

    fn writable(&mut self, _: u32) {}

    fn closed(&mut self, _: u32, why: &str) {
        self.wrong.get_or_insert_with(|| format!("a publisher's connection ended: {why}"));
    }
}

/// Leaves a session that is owed all that is published below [`TOPIC`].
///
/// # Errors
/// It is refused.
pub fn leave_session(to: SocketAddr) -> io::Result<()> {
    let mut bytes = Vec::new();
    connect("away", false).write(&mut bytes);
    let filter = format!("{TOPIC}/#");
    packet::put_subscribe(&mut bytes, Version::V311, [(filter.as_str(), 1)].into_iter());
    let mut answers = [0; 9];
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(&bytes)?;
    stream.read_exact(&mut answers)?;
    if answers[..4] != [0x20, 2, 0, 0] || answers[8] != 1 {
        return Err(io::Error::other(format!("a session was refused: {answers:02x?}")));
    }
    stream.write_all(&packet::DISCONNECT)
}

/// Waits until a client is accepted.
///
/// # Errors
/// It is refused.
pub fn accepted(to: SocketAddr) -> io::Result<()> {
    let mut bytes = Vec::new();
    connect("first", true).write(&mut bytes);
    let mut answer = [0; 4];
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(&bytes)?;
    stream.read_exact(&mut answer)?;
    if answer == [0x20, 2, 0, 0] { Ok(()) } else { Err(io::Error::other(format!("refused: {answer:02x?}"))) }
}

fn connect(client_id: &str, clean: bool) -> Connect<'_> {
    Connect { version: Version::V311, client_id, clean, keep_alive: 0, user_name: None, password: None }
}
