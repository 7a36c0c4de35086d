//! What is measured: the table of the suite.

use super::broker::Broker::{
    self, Floor, Mosquitto, NatsServer, RabbitmqServer, Ringmain, RingmainSpinning, RingmainTwoShards, Rumqttd,
};

/// Measures whose figures are compared with one another, and so are interleaved: each round runs each measure once.
pub struct Group {
    pub title: &'static str,
    /// What the reader should know about its tables.
    pub about: &'static str,
    /// Five where a budget hangs on it.
    pub rounds: u32,
    pub measures: &'static [Measure],
}

/// One load, on several brokers.
pub struct Measure {
    pub name: &'static str,
    /// Arguments of ringload.
    pub load: &'static [&'static str],
    /// The cheapest mode of `floor` that does the same.
    pub floor: Option<&'static str>,
    pub brokers: &'static [Broker],
    /// Seconds measured in each run.
    pub seconds: f64,
}

const ALL: &[Broker] = &[Floor, Ringmain, Mosquitto, NatsServer, RabbitmqServer, Rumqttd];
/// Without rabbitmq-server, whose cost per connection and delivery makes its runs long, and which is an order of
/// magnitude behind wherever it takes part.
const BRISK: &[Broker] = &[Floor, Ringmain, Mosquitto, NatsServer, Rumqttd];
const NO_FLOOR: &[Broker] = &[Ringmain, Mosquitto, NatsServer, Rumqttd];
const OWN: &[Broker] = &[Floor, Ringmain];

const fn measure(
    name: &'static str,
    load: &'static [&'static str],
    floor: Option<&'static str>,
    brokers: &'static [Broker],
) -> Measure {
    Measure { name, load, floor, brokers, seconds: 1.0 }
}

const fn fanout(name: &'static str, load: &'static [&'static str], brokers: &'static [Broker]) -> Measure {
    measure(name, load, Some("fanout-log"), brokers)
}

/// All of it, in the order of running and of the report.
pub const GROUPS: &[Group] = &[
    Group {
        title: "Fan-out 1 to 1000, messages in flight",
        about: "One publisher, 1000 subscribers, 100 B, QoS 0, MQTT 3.1.1. The publisher's next message leaves when the \
                oldest has reached all subscribers, so with one in flight every delivery is a send of its own.",
        rounds: 5,
        measures: &[
            fanout("fanout-1", &["fanout", "-c", "1000", "--inflight", "1"], ALL),
            fanout("fanout-4", &["fanout", "-c", "1000", "--inflight", "4"], BRISK),
            fanout("fanout-16", &["fanout", "-c", "1000", "--inflight", "16"], BRISK),
            fanout("fanout-64", &["fanout", "-c", "1000", "--inflight", "64"], ALL),
        ],
    },
    Group {
        title: "Fan-out, number of subscribers, 64 in flight",
        about: "The cost of a delivery may not grow with the room, nor with what else is subscribed: in the last row \
                1,000,000 subscriptions of other connections exist besides.",
        rounds: 5,
        measures: &[
            fanout("subscribers-10", &["fanout", "-c", "10", "--inflight", "64"], BRISK),
            fanout("subscribers-100", &["fanout", "-c", "100", "--inflight", "64"], BRISK),
            fanout("subscribers-1000", &["fanout", "-c", "1000", "--inflight", "64"], OWN),
            fanout(
                "subscribers-10000",
                &["fanout", "-c", "10000", "--inflight", "64"],
                &[Floor, Ringmain, Mosquitto, Rumqttd],
            ),
            fanout("subscribers-18000", &["fanout", "-c", "18000", "--inflight", "64"], OWN),
            fanout("others-1000000", &["fanout", "-c", "1000", "--inflight", "64", "--others", "1000000"], &[Ringmain]),
        ],
    },
    Group {
        title: "Fan-out, number of subscribers, 1 in flight",
        about: "The same with one message in flight.",
        rounds: 3,
        measures: &[
            fanout("subscribers-10-1", &["fanout", "-c", "10", "--inflight", "1"], BRISK),
            fanout("subscribers-100-1", &["fanout", "-c", "100", "--inflight", "1"], BRISK),
            fanout("subscribers-1000-1", &["fanout", "-c", "1000", "--inflight", "1"], BRISK),
            fanout("subscribers-10000-1", &["fanout", "-c", "10000", "--inflight", "1"], BRISK),
            fanout("subscribers-18000-1", &["fanout", "-c", "18000", "--inflight", "1"], BRISK),
        ],
    },
    Group {
        title: "QoS 1",
        about: "One publisher, 1000 subscribers, 16 in flight; every subscriber acknowledges every message.",
        rounds: 5,
        measures: &[measure(
            "qos1",
            &["fanout", "-c", "1000", "--inflight", "16", "-q", "1"],
            None,
            &[Ringmain, Mosquitto, NatsServer, RabbitmqServer, Rumqttd],
        )],
    },
    Group {
        title: "Fan-in and pairs",
        about: "Fan-in: 1000 publishers, one subscriber. Pairs: 500 publishers, each with its own topic and subscriber. \
                One message in flight for each publisher.",
        rounds: 5,
        measures: &[
            measure("fanin", &["fanin", "-c", "1000"], Some("fanin"), ALL),
            measure("pairs", &["pairs", "-c", "500"], Some("fanout-send"), ALL),
        ],
    },
    Group {
        title: "Latency",
        about: "Paced: 400 messages a second to 100 subscribers, 40,000 deliveries a second, which is about half of what \
                mosquitto, the slowest of the serious peers at this, can do on a core; latency counts from when a message \
                was due. Ping-pong: one client and its own message, again and again. rabbitmq-server would need more than \
                two cores for the pace.",
        rounds: 5,
        measures: &[
            Measure { seconds: 4.0, ..fanout("paced", &["fanout", "-c", "100", "--rate", "400"], BRISK) },
            measure(
                "ping-pong",
                &["ping-pong"],
                Some("fanout-send"),
                &[Floor, Ringmain, RingmainSpinning, Mosquitto, NatsServer, RabbitmqServer, Rumqttd],
            ),
        ],
    },
    Group {
        title: "Idle connections",
        about: "18,000 connections with one subscription to a common topic, waiting: growth of anonymous memory in user \
                space. rabbitmq-server makes a queue for each subscriber, which takes it milliseconds, and does not take \
                part.",
        rounds: 5,
        measures: &[measure("idle", &["idle", "-c", "18000", "--settle", "1"], None, NO_FLOOR)],
    },
    Group {
        title: "Payloads, versions, QoS 2",
        about: "Fan-out 1 to 1000, 16 in flight: compare with 100 B and MQTT 3.1.1 in the first table.",
        rounds: 3,
        measures: &[
            fanout("size-1000", &["fanout", "-c", "1000", "--inflight", "16", "-s", "1000"], BRISK),
            fanout("size-10000", &["fanout", "-c", "1000", "--inflight", "16", "-s", "10000"], BRISK),
            fanout("version-5", &["fanout", "-c", "1000", "--inflight", "16", "-V", "5"], BRISK),
            measure("qos2", &["fanout", "-c", "1000", "--inflight", "16", "-q", "2"], None, NO_FLOOR),
        ],
    },
    Group {
        title: "Two shards",
        about: "The same load on one and on two shards. Both run on the brokers' core unless a second one is given, so \
                this shows what crossing shards costs, not what a second core brings.",
        rounds: 3,
        measures: &[
            fanout("shards-1", &["fanout", "-c", "1000", "--inflight", "1"], &[Ringmain, RingmainTwoShards]),
            fanout("shards-64", &["fanout", "-c", "1000", "--inflight", "64"], &[Ringmain, RingmainTwoShards]),
            measure("shards-pairs", &["pairs", "-c", "500"], None, &[Ringmain, RingmainTwoShards]),
        ],
    },
    Group {
        title: "Rooms",
        about: "1,000 rooms whose sizes follow Zipf's law with exponent 1, 10,000 subscribers together, one publisher \
                and one message in flight for each room.",
        rounds: 3,
        measures: &[fanout("rooms", &["rooms", "--rooms", "1000", "-c", "10000", "--zipf", "1"], BRISK)],
    },
    Group {
        title: "Connection storm",
        about: "A room of 100 with paced messages, while 2,000 clients connect, subscribe and leave, as fast as they are \
                answered: connections a second, and the room's p99 in stormy windows by that in quiet ones.",
        rounds: 3,
        measures: &[measure("storm", &["storm", "-c", "100", "--storm", "2000"], None, NO_FLOOR)],
    },
];

impl Measure {
    /// The value of a flag of the load.
    pub fn argument(&self, flag: &str) -> Option<&'static str> {
        let at = self.load.iter().position(|argument| *argument == flag)?;
        self.load.get(at + 1).copied()
    }

    /// The value of a flag as a number.
    pub fn number(&self, flag: &str) -> Option<f64> {
        self.argument(flag)?.parse().ok()
    }

    /// Roughly the seconds of one run.
    pub fn estimate(&self, broker: Broker, seconds: f64, warmup: f64) -> f64 {
        let (start, connect, delivery) = broker.pace();
        let subscribers = self.number("-c").unwrap_or(1.0);
        let storm = self.load[0] == "storm";
        let windows = if storm { 6.0 } else { 1.0 };
        let under_way =
            if self.load[0] == "fanout" { self.number("--inflight").unwrap_or(0.0) * subscribers } else { 0.0 };
        let others = self.number("--others").unwrap_or(0.0) * 4e-6;
        let clients = subscribers + if storm { 3.0 * self.number("--storm").unwrap_or(0.0) } else { 0.0 };
        // What is under way is awaited at the end, and one window of it before the first message is measured.
        start + clients * connect + others + windows * (seconds + warmup) + 1.5 * under_way * delivery
    }
}

/// The measure of this name.
#[cfg(test)]
pub fn find(name: &str) -> Option<&'static Measure> {
    GROUPS.iter().flat_map(|group| group.measures).find(|measure| measure.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are unique, since runs are kept by them, and every measure has brokers.
    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = GROUPS.iter().flat_map(|group| group.measures).map(|measure| measure.name).collect();
        assert!(GROUPS.iter().flat_map(|group| group.measures).all(|measure| !measure.brokers.is_empty()));
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// Flags of the load are found by name.
    #[test]
    fn arguments() {
        let measure = find("fanout-16").unwrap();
        assert_eq!(
            (measure.number("-c"), measure.number("--inflight"), measure.argument("-q")),
            (Some(1000.0), Some(16.0), None)
        );
    }
}
