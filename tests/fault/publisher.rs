//! A publisher that knows what it was promised: it numbers its messages, keeps what is not acknowledged, and sends that
//! again after a crash, as MQTT wants it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;

use ringmain_tests::packet::ack;
use ringmain_tests::{Client, DEADLINE, Options, Packet, Publish, Version};

/// Messages that a publisher has under way.
const WINDOW: usize = 16;
/// One in so many messages is retained.
const RETAINED_EVERY: u64 = 5;

/// What is known about one topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The last number that was sent; the first is 1.
    pub sent: u64,
    /// The last number that was acknowledged.
    pub acknowledged: u64,
    /// Whether its messages are retained.
    pub retained: bool,
}

/// A message that waits for an acknowledgement.
#[derive(Clone, Debug)]
struct Flight {
    message: Publish,
    /// Which topic, and which number.
    topic: usize,
    number: u64,
    /// Whether PUBREC has come.
    received: bool,
}

/// A publisher with a durable session.
pub struct Publisher {
    /// Its topics: some for messages, the last one for what is retained.
    pub topics: Vec<Topic>,
    id: String,
    version: Version,
    qos: u8,
    flight: VecDeque<Flight>,
    published: u64,
    last_id: u16,
    known: bool,
    client: Option<Client>,
}

impl Publisher {
    /// One that has not connected yet, with topics of its own.
    pub fn new(number: usize, version: Version, qos: u8) -> Self {
        let topic = |name: String, retained| Topic { name, sent: 0, acknowledged: 0, retained };
        let mut topics: Vec<Topic> = (0..3).map(|t| topic(format!("load/{qos}/{number}/{t}"), false)).collect();
        topics.push(topic(format!("state/{number}"), true));
        Self {
            topics,
            id: format!("publisher-{number}"),
            version,
            qos,
            flight: VecDeque::new(),
            published: 0,
            last_id: 0,
            known: false,
            client: None,
        }
    }

    /// Connects, and sends what is not acknowledged again, in its order [MQTT-4.4.0-1].
    pub fn connect(&mut self, address: SocketAddr) {
        let mut client = Options::new(address, self.version, &self.id).durable().connect().mortal();
        assert_eq!(client.session_present, self.known, "the session of {}", self.id);
        self.known = true;
        for flight in &mut self.flight {
            if flight.received {
                client.send(&ack(0x62, flight.message.id, 0));
            } else {
                flight.message.dup = true;
                client.send(&flight.message.bytes(self.version));
            }
        }
        self.client = Some(client);
    }

    /// Publishes until the broker is gone, and tells of each acknowledgement.
    pub fn run(&mut self, acknowledged: &Sender<()>) {
        let mut client = self.client.take().expect("it is connected");
        loop {
            while self.flight.len() < WINDOW {
                let message = self.next();
                client.send(&message.bytes(self.version));
            }
            // The other end closes when it has heard enough; the broker's end is what counts.
            match client.next_within(DEADLINE) {
                Ok(Some(packet)) => {
                    if self.take(&mut client, &packet) {
                        let _ = acknowledged.send(());
                    }
                }
                Ok(None) => panic!("{}: no acknowledgement within {DEADLINE:?} of {:?}", self.id, self.flight),
                Err(_) => return,
            }
        }
    }

    /// Waits until everything is acknowledged.
    pub fn finish(&mut self) {
        let mut client = self.client.take().expect("it is connected");
        while !self.flight.is_empty() {
            let packet = client.receive();
            self.take(&mut client, &packet);
        }
        client.disconnect();
    }

    /// The next message, which is under way now.
    fn next(&mut self) -> Publish {
        self.published += 1;
        let last = self.topics.len() - 1;
        let topic = match self.published.is_multiple_of(RETAINED_EVERY) {
            true => last,
            false => (self.published % last as u64) as usize,
        };
        let id = self.free_id();
        let place = &mut self.topics[topic];
        place.sent += 1;
        let payload = place.sent.to_string().into_bytes();
        let (name, retain) = (place.name.clone(), place.retained);
        let message = Publish { topic: name, payload, qos: self.qos, retain, id, ..Publish::default() };
        self.flight.push_back(Flight {
            message: message.clone(),
            topic,
            number: self.topics[topic].sent,
            received: false,
        });
        message
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % u16::MAX + 1;
            if self.flight.iter().all(|flight| flight.message.id != self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Takes a packet; whether a message is acknowledged with it, so that it is the broker's now.
    fn take(&mut self, client: &mut Client, packet: &Packet) -> bool {
        match *packet {
            Packet::Puback(id, code) => {
                let flight = self.done(id, packet);
                assert!(self.qos == 1 && code < 0x80, "{}: {packet:?} for {flight:?}", self.id);
                self.own(flight.topic, flight.number);
                true
            }
            Packet::Pubrec(id, code) => {
                let flight = self.flight.iter_mut().find(|flight| flight.message.id == id);
                let flight = flight.unwrap_or_else(|| panic!("{}: {packet:?} for no message", self.id));
                assert!(self.qos == 2 && code < 0x80, "{}: {packet:?} for {flight:?}", self.id);
                let first = !std::mem::replace(&mut flight.received, true);
                let (topic, number) = (flight.topic, flight.number);
                client.send(&ack(0x62, id, 0));
                self.own(topic, number);
                first
            }
            // After a crash it may have been released before [MQTT-3.7.2.1]: 0x92, packet identifier not found.
            Packet::Pubcomp(id, code) => {
                let flight = self.done(id, packet);
                assert!(flight.received && matches!(code, 0 | 0x92), "{}: {packet:?} for {flight:?}", self.id);
                false
            }
            // A stop in good order.
            Packet::Disconnect(0x8b, _) => false,
            ref other => panic!("{}: {other:?} was not expected", self.id),
        }
    }

    fn done(&mut self, id: u16, packet: &Packet) -> Flight {
        let at = self.flight.iter().position(|flight| flight.message.id == id);
        let at = at.unwrap_or_else(|| panic!("{}: {packet:?} for no message", self.id));
        self.flight.remove(at).expect("it is there")
    }

    fn own(&mut self, topic: usize, number: u64) {
        let topic = &mut self.topics[topic];
        topic.acknowledged = topic.acknowledged.max(number);
    }
}
