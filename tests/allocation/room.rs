//! Clients that exchange messages in rounds: all that is published in a round is received and acknowledged in it.

use ringmain_tests::packet::{PINGREQ, ack};
use ringmain_tests::{Client, Packet, Publish, Version};

use crate::node::Node;

/// Messages of one topic in a round; fewer than a session's window, so that each can be answered at once.
pub const ROUND: usize = 25;
/// Subscribers of the room that read alike, and so share feeds at QoS 0.
const SUBSCRIBERS: usize = 20;
/// Subscribers of the room that no feed may serve.
const APART: usize = 2;
/// Subscribers of the room whose sessions outlive their connections, and live at their homes.
const DURABLE: usize = 4;
/// Topics with one publisher and one subscriber.
const PAIRS: usize = 4;
/// No Local, in the options byte of a SUBSCRIBE.
const NO_LOCAL: u8 = 0x04;
/// Payloads have this many bytes.
const PAYLOAD: usize = 100;

/// A topic with its publisher and those that hear it.
struct Room {
    topic: String,
    qos: u8,
    publisher: Client,
    subscribers: Vec<Client>,
}

/// One topic with many subscribers of all kinds, and some with one.
pub struct Rooms {
    rooms: Vec<Room>,
    /// Subscribers that read nothing, alive as long as this is.
    _deaf: Vec<Client>,
}

impl Rooms {
    /// Connects all clients, `deaf` of them subscribers of the room that read nothing.
    pub fn open(node: &Node, qos: u8, deaf: usize) -> Rooms {
        let mut room = Room::new(node, "room", qos);
        for index in 0..SUBSCRIBERS {
            let version = if index % 2 == 0 { Version::V311 } else { Version::V5 };
            room.admit(node.client(version, &format!("reader-{index}")).connect(), qos);
        }
        for index in 0..APART {
            room.admit(node.client(Version::V5, &format!("apart-{index}")).connect(), qos | NO_LOCAL);
        }
        for index in 0..DURABLE {
            room.admit(node.client(Version::V5, &format!("durable-{index}")).durable().connect(), qos);
        }
        let pair = |index| {
            let mut pair = Room::new(node, &format!("pair-{index}"), qos);
            pair.admit(node.client(Version::V5, &format!("partner-{index}")).connect(), qos);
            pair
        };
        let rooms = std::iter::once(room).chain((0..PAIRS).map(pair)).collect();
        let deaf = (0..deaf).map(|index| {
            let mut client = node.client(Version::V311, &format!("deaf-{index}")).connect();
            client.subscribe("room", qos);
            client
        });
        Rooms { rooms, _deaf: deaf.collect() }
    }

    /// Lets so many rounds happen, and returns when the switch has come to rest.
    pub fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.rooms.iter_mut().for_each(Room::publish);
            self.rooms.iter_mut().for_each(Room::receive);
        }
        // What a client sent last has been handled when its ping is answered.
        for client in self.rooms.iter_mut().flat_map(|room| room.subscribers.iter_mut().chain([&mut room.publisher])) {
            client.send(&PINGREQ);
            assert_eq!(client.receive(), Packet::Pingresp);
        }
    }
}

impl Room {
    fn new(node: &Node, topic: &str, qos: u8) -> Room {
        let publisher = node.client(Version::V5, &format!("{topic}-publisher")).connect();
        Room { topic: topic.to_owned(), qos, publisher, subscribers: Vec::new() }
    }

    fn admit(&mut self, mut client: Client, options: u8) {
        assert_eq!(client.subscribe(&self.topic, options), self.qos);
        self.subscribers.push(client);
    }

    fn publish(&mut self) {
        let message = Publish::new(&self.topic, self.qos, [b'x'; PAYLOAD]);
        let mut bytes = Vec::new();
        for _ in 0..ROUND {
            let id = if self.qos == 0 { 0 } else { self.publisher.next_id() };
            bytes.extend(Publish { id, ..message.clone() }.bytes(Version::V5));
        }
        self.publisher.send(&bytes);
    }

    /// Every handshake of the round, to its end.
    fn receive(&mut self) {
        for client in &mut self.subscribers {
            match self.qos {
                0 => drop(round(client, 0)),
                1 => answer(client, 0x40),
                _ => {
                    answer(client, 0x50);
                    answer(client, 0x70);
                }
            }
        }
        match self.qos {
            0 => {}
            1 => drop(round(&mut self.publisher, 0)),
            _ => {
                answer(&mut self.publisher, 0x62);
                round(&mut self.publisher, 0);
            }
        }
    }
}

/// Answers each packet of the round with one whose first byte is `first`.
fn answer(client: &mut Client, first: u8) {
    let answers = round(client, first);
    client.send(&answers);
}

/// Takes as many packets as a round has; the answers to them.
fn round(client: &mut Client, first: u8) -> Vec<u8> {
    let mut answers = Vec::new();
    for _ in 0..ROUND {
        let id = match client.receive() {
            Packet::Publish(message) => message.id,
            Packet::Puback(id, 0) | Packet::Pubrec(id, 0) | Packet::Pubrel(id, 0) | Packet::Pubcomp(id, 0) => id,
            other => panic!("{other:?} in a round"),
        };
        answers.extend(ack(first, id, 0));
    }
    answers
}
