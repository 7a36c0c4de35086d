//! A subscriber that checks what it was promised: every number of a topic, in order, at QoS 2 each once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ringmain_tests::packet::ack;
use ringmain_tests::{Client, DEADLINE, Options, Packet, Publish, SILENCE, Version};

/// A subscriber with a durable session.
pub struct Subscriber {
    id: String,
    version: Version,
    /// The last number of each topic.
    seen: BTreeMap<String, u64>,
    /// Identifiers of QoS 2 messages that are taken and not yet released.
    held: BTreeSet<u16>,
    known: bool,
    client: Option<Client>,
}

impl Subscriber {
    /// One that has not connected yet.
    pub fn new(number: usize, version: Version) -> Self {
        let id = format!("subscriber-{number}");
        Self { id, version, seen: BTreeMap::new(), held: BTreeSet::new(), known: false, client: None }
    }

    /// Connects, and subscribes to everything that `filter` matches if that was not done before.
    pub fn connect(&mut self, address: SocketAddr, filter: &str) {
        let mut client = Options::new(address, self.version, &self.id).durable().connect().mortal();
        assert_eq!(client.session_present, self.known, "the session of {}", self.id);
        if !self.known {
            assert_eq!(client.subscribe(filter, 2), 2);
        }
        self.known = true;
        self.client = Some(client);
    }

    /// Takes messages until the broker is gone.
    pub fn run(&mut self) {
        let mut client = self.client.take().expect("it is connected");
        loop {
            match client.next_within(DEADLINE) {
                Ok(Some(packet)) => self.take(&mut client, packet),
                // Publishers may wait for the disk; they tell if it takes too long.
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    /// Takes messages until it has seen these numbers of these topics, and leaves.
    pub fn finish(&mut self, sent: &BTreeMap<String, u64>) {
        let mut client = self.client.take().expect("it is connected");
        while !self.held.is_empty() || self.seen != *sent {
            match client.next_within(DEADLINE) {
                Ok(Some(packet)) => self.take(&mut client, packet),
                other => panic!("{}: {other:?}, and it has seen {:?} of {sent:?}", self.id, self.seen),
            }
        }
        // What the broker did not know to be acknowledged comes once more at QoS 1, also when nothing else was left to
        // come: this once was taken for a defect.
        while let Some(packet) = client.next_within(SILENCE).expect("the connection stays") {
            self.take(&mut client, packet);
        }
        assert_eq!(self.seen, *sent, "{}", self.id);
        client.disconnect();
    }

    fn take(&mut self, client: &mut Client, packet: Packet) {
        match packet {
            Packet::Publish(message) if message.qos == 1 => {
                let number = number(&message);
                let last = self.seen.entry(message.topic.clone()).or_default();
                // What comes again begins anywhere, but nothing is left out.
                assert!(number >= 1 && number <= *last + 1, "{}: {message:?} after number {last}", self.id);
                *last = number.max(*last);
                client.send(&ack(0x40, message.id, 0));
            }
            Packet::Publish(message) if message.qos == 2 => {
                if self.held.insert(message.id) {
                    let last = self.seen.entry(message.topic.clone()).or_default();
                    assert_eq!(number(&message), *last + 1, "{}: {message:?} after number {last}", self.id);
                    *last += 1;
                } else {
                    assert!(message.dup, "[MQTT-2.2.1-3] {}: {message:?} reuses an identifier", self.id);
                }
                client.send(&ack(0x50, message.id, 0));
            }
            Packet::Pubrel(id, code) => {
                assert_eq!(code, 0, "{}: PUBREL of {id}", self.id);
                self.held.remove(&id);
                client.send(&ack(0x70, id, 0));
            }
            // A stop in good order.
            Packet::Disconnect(0x8b, _) => {}
            other => panic!("{}: {other:?} was not expected", self.id),
        }
    }
}

/// The number that a message carries.
pub fn number(message: &Publish) -> u64 {
    message.text().trim_start().parse().unwrap_or_else(|_| panic!("{message:?} carries no number"))
}
