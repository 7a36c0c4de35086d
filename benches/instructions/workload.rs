//! What is measured: each workload brings a node to its steady state, then lets so many rounds pass that count.

use switch::counters::Counter;

use crate::client::{DISCONNECT, Message, Version, publish, subscribe};
use crate::node::{Client, Node};

/// What a workload's instructions are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One message to one subscriber.
    Delivery,
    /// One message from one publisher.
    Message,
    /// One client that comes, subscribes and goes.
    Connection,
}

impl Unit {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Delivery => "delivery",
            Unit::Message => "message",
            Unit::Connection => "connection",
        }
    }
}

/// A workload.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Names it in the baseline.
    pub name: &'static str,
    /// What its cost is divided by.
    pub unit: Unit,
    /// Rounds that count; as many come before them.
    pub rounds: u32,
    /// Shards of the node.
    shards: u16,
    shape: Shape,
}

/// How a workload differs from another one of which it is the dearer half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// It has two shards.
    SecondShard,
    /// Its node has a journal, which QoS 0 does not need.
    Journal,
}

impl Pair {
    /// All.
    pub const ALL: [Pair; 2] = [Pair::SecondShard, Pair::Journal];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Pair::SecondShard => "second shard",
            Pair::Journal => "journal",
        }
    }

    /// What it may add, in percent.
    pub fn budget_percent(self) -> f64 {
        match self {
            Pair::SecondShard => 5.0,
            Pair::Journal => 3.0,
        }
    }

    /// What begins the end of such a workload's name.
    fn mark(self) -> &'static str {
        match self {
            Pair::SecondShard => "-2-shards",
            Pair::Journal => JOURNAL,
        }
    }
}

/// Ends the name of a workload whose node has a journal.
const JOURNAL: &str = "-journal";

/// Who sends what to whom in a round.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// One publisher, one topic.
    Fanout(Fanout),
    /// Publisher i to subscriber i, one message each.
    Pairs(u32),
    /// So many publishers, one message each, to one subscriber.
    Fanin(u32),
    /// One message there, one back.
    PingPong,
    /// So many topics, four subscribers each; a tenth of them get a message, from ten publishers.
    Rooms(u32),
    /// So many retained messages, each in place of its predecessor.
    Retained(u32),
    /// So many clients connect, subscribe to a topic that others subscribe to, and disconnect.
    Storm(u32),
}

/// One publisher, one topic.
#[derive(Clone, Copy, Debug)]
struct Fanout {
    subscribers: u32,
    /// Messages of a round, which arrive together.
    messages: u16,
    qos: u8,
    version: Version,
    properties: &'static [u8],
    /// Bytes.
    payload: usize,
    /// The shard that owns the topic; the publisher is on the first.
    owner: usize,
    /// Subscriptions of other clients to other topics.
    strangers: u32,
}

const FANOUT: Fanout = Fanout {
    subscribers: 1000,
    messages: 1,
    qos: 0,
    version: Version::V311,
    properties: &[],
    payload: 100,
    owner: 0,
    strangers: 0,
};

/// Content Type, Response Topic, Correlation Data, and a User Property.
const PROPERTIES: &[u8] =
    b"\x03\x00\x0aimage/jpeg\x08\x00\x07answers\x09\x00\x04\x00\x00\x00\x07&\x00\x04user\x00\x05alice";

/// All workloads.
pub const WORKLOADS: &[Workload] = &[
    fanout("fanout-100-w1", 1, 400, Fanout { subscribers: 100, ..FANOUT }),
    fanout("fanout-100-w64", 1, 100, Fanout { subscribers: 100, messages: 64, ..FANOUT }),
    fanout("fanout-1000-w1", 1, 100, FANOUT),
    fanout("fanout-1000-w64", 1, 50, Fanout { messages: 64, ..FANOUT }),
    fanout("fanout-1000-w16-qos1", 1, 20, Fanout { messages: 16, qos: 1, ..FANOUT }),
    fanout("fanout-100-w16-qos2", 1, 50, Fanout { subscribers: 100, messages: 16, qos: 2, ..FANOUT }),
    fanout("fanout-100-w16-1kB", 1, 100, Fanout { subscribers: 100, messages: 16, payload: 1000, ..FANOUT }),
    fanout("fanout-100-w16-10kB", 1, 50, Fanout { subscribers: 100, messages: 16, payload: 10_000, ..FANOUT }),
    fanout(
        "fanout-100-w16-v5-properties",
        1,
        100,
        Fanout { subscribers: 100, messages: 16, version: Version::V5, properties: PROPERTIES, ..FANOUT },
    ),
    fanout("fanout-1000-w1-journal", 1, 100, FANOUT),
    fanout("fanout-100-w64-journal", 1, 100, Fanout { subscribers: 100, messages: 64, ..FANOUT }),
    fanout("fanout-1000-w1-100k-strangers", 1, 100, Fanout { strangers: 100_000, ..FANOUT }),
    fanout("fanout-100-w1-2-shards", 2, 400, Fanout { subscribers: 100, ..FANOUT }),
    fanout("fanout-100-w1-2-shards-far", 2, 400, Fanout { subscribers: 100, owner: 1, ..FANOUT }),
    fanout("fanout-100-w64-2-shards", 2, 100, Fanout { subscribers: 100, messages: 64, ..FANOUT }),
    fanout("fanout-100-w64-2-shards-far", 2, 100, Fanout { subscribers: 100, messages: 64, owner: 1, ..FANOUT }),
    fanout("fanout-1000-w1-2-shards", 2, 100, FANOUT),
    fanout("fanout-1000-w1-2-shards-far", 2, 100, Fanout { owner: 1, ..FANOUT }),
    fanout("fanout-1000-w64-2-shards", 2, 50, Fanout { messages: 64, ..FANOUT }),
    fanout("fanout-1000-w64-2-shards-far", 2, 50, Fanout { messages: 64, owner: 1, ..FANOUT }),
    fanout("fanout-1000-w16-qos1-2-shards", 2, 20, Fanout { messages: 16, qos: 1, ..FANOUT }),
    fanout("fanout-1000-w16-qos1-2-shards-far", 2, 20, Fanout { messages: 16, qos: 1, owner: 1, ..FANOUT }),
    Workload { name: "pairs-500", unit: Unit::Message, rounds: 60, shards: 1, shape: Shape::Pairs(500) },
    Workload { name: "fanin-1000", unit: Unit::Message, rounds: 60, shards: 1, shape: Shape::Fanin(1000) },
    Workload { name: "ping-pong", unit: Unit::Message, rounds: 2000, shards: 1, shape: Shape::PingPong },
    Workload { name: "rooms-1000", unit: Unit::Delivery, rounds: 100, shards: 1, shape: Shape::Rooms(1000) },
    Workload { name: "retained-publish", unit: Unit::Message, rounds: 200, shards: 1, shape: Shape::Retained(64) },
    Workload {
        name: "connect-subscribe-disconnect",
        unit: Unit::Connection,
        rounds: 100,
        shards: 1,
        shape: Shape::Storm(10),
    },
];

const fn fanout(name: &'static str, shards: u16, rounds: u32, shape: Fanout) -> Workload {
    Workload { name, unit: Unit::Delivery, rounds, shards, shape: Shape::Fanout(shape) }
}

impl Workload {
    /// Runs it, and tells how many units were measured. As many rounds as count come first, so that tables, pools and
    /// chunks have their steady size.
    ///
    /// # Panics
    /// The node dropped a message, or delivered another number than the workload has.
    pub fn run(&self) -> u64 {
        let mut node = Node::new(self.shards, self.name.ends_with(JOURNAL));
        let mut cast = Cast::of(self.shape, &mut node);
        for round in 0..self.rounds {
            cast.round(round, &mut node);
        }
        let before = self.units(&node);
        node.measure();
        for round in 0..self.rounds {
            cast.round(round, &mut node);
        }
        let units = self.units(&node) - before;
        assert_eq!(node.dropped(), 0, "{}: messages were dropped", self.name);
        assert_eq!(units, u64::from(self.rounds) * cast.units, "{}: not what was to be delivered", self.name);
        units
    }

    /// The workload that differs in this alone.
    pub fn without(&self, what: Pair) -> Option<&'static str> {
        let name = self.name.split_once(what.mark()).map(|(name, _)| name);
        name.and_then(|name| WORKLOADS.iter().map(|workload| workload.name).find(|other| *other == name))
    }

    fn units(&self, node: &Node) -> u64 {
        node.total(match (self.unit, self.shape) {
            (Unit::Connection, _) => Counter::ConnectionsAccepted,
            (_, Shape::Retained(_)) => Counter::PublishReceived,
            _ => Counter::MessagesDelivered,
        })
    }
}

/// The clients of a workload, connected, and what they do.
struct Cast {
    /// What is sent in round n, n + 1...: who, and which bytes.
    volleys: Vec<Vec<(Client, Vec<u8>)>>,
    /// Newcomers of each round.
    storm: u32,
    /// What each round adds to the count.
    units: u64,
}

impl Cast {
    fn of(shape: Shape, node: &mut Node) -> Cast {
        let mut cast = Cast { volleys: Vec::new(), storm: 0, units: 0 };
        match shape {
            Shape::Fanout(fanout) => cast.fanout(fanout, node),
            Shape::Pairs(pairs) => cast.pairs(pairs, node),
            Shape::Fanin(publishers) => {
                subscriber(node, 0, Version::V311, &["fanin"], 0);
                let volley = (0..publishers).map(|_| (publisher(node, Version::V311, 0), message("fanin"))).collect();
                (cast.volleys, cast.units) = (vec![volley], publishers.into());
            }
            Shape::PingPong => {
                let ping = subscriber(node, 0, Version::V311, &["pong"], 0);
                let pong = subscriber(node, 0, Version::V311, &["ping"], 0);
                (cast.volleys, cast.units) = (vec![vec![(ping, message("ping"))], vec![(pong, message("pong"))]], 1);
            }
            Shape::Rooms(rooms) => cast.rooms(rooms, node),
            Shape::Retained(topics) => {
                let publisher = publisher(node, Version::V311, 0);
                let retained = |topic: u32| {
                    let topic = format!("retained/{topic}");
                    publish(Version::V311, &Message { retain: true, ..MESSAGE.on(&topic) }, 0)
                };
                let bytes = (0..topics).flat_map(retained).collect();
                (cast.volleys, cast.units) = (vec![vec![(publisher, bytes)]], topics.into());
            }
            Shape::Storm(newcomers) => {
                subscriber(node, 0, Version::V311, &["room"], 0);
                (cast.storm, cast.units) = (newcomers, newcomers.into());
            }
        }
        node.settle();
        cast
    }

    fn fanout(&mut self, fanout: Fanout, node: &mut Node) {
        let Fanout { subscribers, messages, qos, version, properties, payload, owner, strangers } = fanout;
        let others: Vec<String> = (0..strangers).map(|topic| format!("other/{}/{topic}", topic % 1000)).collect();
        for filters in others.chunks(100) {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            subscriber(node, 0, version, &filters, 0);
        }
        let topic = node.topic_of(owner, "room");
        for index in 0..subscribers {
            subscriber(node, index as usize % node.shards(), version, &[&topic], qos);
        }
        let message = Message { topic: &topic, qos, retain: false, payload, properties };
        let bytes = (1..=messages).flat_map(|id| publish(version, &message, id)).collect();
        self.volleys = vec![vec![(publisher(node, version, qos), bytes)]];
        self.units = u64::from(messages) * u64::from(subscribers);
    }

    fn pairs(&mut self, pairs: u32, node: &mut Node) {
        let mut volley = Vec::new();
        for pair in 0..pairs {
            let topic = format!("pair/{pair}");
            subscriber(node, 0, Version::V311, &[&topic], 0);
            volley.push((publisher(node, Version::V311, 0), message(&topic)));
        }
        (self.volleys, self.units) = (vec![volley], pairs.into());
    }

    fn rooms(&mut self, rooms: u32, node: &mut Node) {
        let topics: Vec<String> = (0..rooms).map(|room| format!("room/{room}/chat")).collect();
        for topic in &topics {
            for _ in 0..VIEWERS {
                subscriber(node, 0, Version::V311, &[topic], 0);
            }
        }
        let publishers: Vec<Client> = (0..10).map(|_| publisher(node, Version::V311, 0)).collect();
        let tenth = rooms as usize / 10;
        self.units = tenth as u64 * VIEWERS;
        // Neighbours of a round are far from each other in the list of rooms.
        let of_round = |round| topics.iter().skip(round).step_by(10);
        self.volleys = (0..10)
            .map(|round| {
                let share = |publisher: usize| of_round(round).skip(publisher).step_by(publishers.len());
                let bytes = |publisher| share(publisher).flat_map(|topic| message(topic)).collect();
                publishers.iter().enumerate().map(|(index, client)| (*client, bytes(index))).collect()
            })
            .collect();
    }

    /// One round, from what is sent to the rest behind it.
    fn round(&mut self, round: u32, node: &mut Node) {
        if self.storm > 0 {
            return storm(self.storm, node);
        }
        for (client, bytes) in &self.volleys[round as usize % self.volleys.len()] {
            node.send(*client, bytes);
        }
        node.settle();
    }
}

/// Viewers of each room, where there are many rooms.
const VIEWERS: u64 = 4;

const MESSAGE: Message<'static> = Message { topic: "", qos: 0, retain: false, payload: 100, properties: &[] };

impl Message<'_> {
    /// The same on another topic.
    fn on<'a>(self, topic: &'a str) -> Message<'a>
    where
        Self: 'a,
    {
        Message { topic, ..self }
    }
}

fn message(topic: &str) -> Vec<u8> {
    publish(Version::V311, &MESSAGE.on(topic), 0)
}

fn storm(newcomers: u32, node: &mut Node) {
    assert!(node.newcomers(0) >= newcomers as usize, "as many accepts are armed as clients come");
    let clients: Vec<Client> =
        (0..newcomers).map(|number| node.connect(0, Version::V311, &format!("viewer-{number}"), false)).collect();
    node.settle();
    for client in &clients {
        node.send(*client, &subscribe(Version::V311, ["room"].into_iter(), 0));
    }
    node.settle();
    clients.iter().for_each(|client| node.send(*client, &DISCONNECT));
    node.settle();
}

fn publisher(node: &mut Node, version: Version, qos: u8) -> Client {
    connected(node, 0, version, qos)
}

fn subscriber(node: &mut Node, shard: usize, version: Version, filters: &[&str], qos: u8) -> Client {
    let client = connected(node, shard, version, qos);
    node.send(client, &subscribe(version, filters.iter().copied(), qos));
    node.settle();
    client
}

/// Only who takes part in handshakes looks at what comes.
fn connected(node: &mut Node, shard: usize, version: Version, qos: u8) -> Client {
    let id = format!("client-{}", node.total(Counter::ConnectionsAccepted));
    let client = node.connect(shard, version, &id, qos > 0);
    node.settle();
    client
}
