//! Who publishes what to whom: a scenario, written out before it runs.

use crate::zipf;

/// Unrelated subscriptions of one connection: fewer than any broker allows without being told.
const OTHERS_PER_CLIENT: u32 = 1000;

/// One unrelated subscription in so many has a wildcard.
const OTHERS_PER_WILDCARD: u32 = 10;

/// The clients and streams of a run.
#[derive(Default)]
pub struct Plan {
    /// The first of them, `others` many, hold unrelated subscriptions.
    pub clients: Vec<ClientPlan>,
    pub others: usize,
    pub streams: Vec<StreamPlan>,
    /// Streams 0 to this reach every client with `common` set.
    pub common: u32,
}

/// One connection.
#[derive(Clone, Default)]
pub struct ClientPlan {
    /// Filters and the QoS asked for; topic names, except for unrelated ones.
    pub subscriptions: Vec<(String, u8)>,
    /// Whether it gets the common streams.
    pub common: bool,
    /// The first of the streams that it gets besides, and how many.
    pub own: (u32, u32),
    /// Its losses do not count: it will stop reading.
    pub excused: bool,
}

/// One publisher, topic and QoS.
#[derive(Clone)]
pub struct StreamPlan {
    /// The publisher, as an index of the clients.
    pub client: u32,
    pub topic: String,
    pub qos: u8,
    /// How many clients, excused ones left out, get each message.
    pub receivers: u32,
    /// Its share of the messages of an open loop, against that of the others.
    pub weight: f64,
}

impl Plan {
    /// `publishers` clients publish to one topic, `subscribers` others get all of it. Fan-out and fan-in are this.
    pub fn one_topic(publishers: u32, subscribers: u32, topic: &str, qos: u8) -> Plan {
        Plan::rooms(1, publishers, subscribers, topic, qos)
    }

    /// `rooms` topics, each with its own publishers and subscribers.
    pub fn rooms(rooms: u32, publishers: u32, subscribers: u32, topic: &str, qos: u8) -> Plan {
        let mut plan = Plan::default();
        for room in 0..rooms {
            plan.room(numbered(topic, room), publishers, subscribers, qos);
        }
        plan
    }

    /// `rooms` topics, whose subscribers, so many in all, gather in them as Zipf's law with this exponent says.
    ///
    /// Who sits in a large room writes less: the messages of a room grow with the square root of its audience, so that
    /// one of 100 times the size has 10 times as many, and 1000 times the deliveries.
    ///
    /// # Errors
    /// There are fewer subscribers than rooms.
    pub fn zipf(
        rooms: u32,
        exponent: f64,
        publishers: u32,
        subscribers: u32,
        topic: &str,
        qos: u8,
    ) -> Result<Plan, String> {
        let sizes = zipf::sizes(subscribers, rooms, exponent).ok_or_else(|| {
            format!(
                "{subscribers} subscribers are too few for {rooms} rooms with one at least: raise -c or lower --rooms"
            )
        })?;
        let mut plan = Plan::default();
        for (room, size) in (0..).zip(sizes) {
            let first = plan.streams.len();
            plan.room(numbered(topic, room), publishers, size, qos);
            for stream in &mut plan.streams[first..] {
                stream.weight = f64::from(size).sqrt();
            }
        }
        Ok(plan)
    }

    fn room(&mut self, topic: String, publishers: u32, subscribers: u32, qos: u8) {
        let own = (self.streams.len() as u32, publishers);
        for _ in 0..publishers {
            let client = self.clients.len() as u32;
            self.clients.push(ClientPlan::default());
            self.streams.push(StreamPlan { client, topic: topic.clone(), qos, receivers: subscribers, weight: 1.0 });
        }
        let subscriber = ClientPlan { subscriptions: vec![(topic, qos)], own, ..ClientPlan::default() };
        self.clients.resize(self.clients.len() + subscribers as usize, subscriber);
    }

    /// The same beside `others` subscriptions to rooms in which nothing happens, of clients that come first: `chat` of
    /// a room each, and each tenth all of a room.
    #[must_use]
    pub fn beside(mut self, others: u32) -> Plan {
        let holders = others.div_ceil(OTHERS_PER_CLIENT);
        let holder = |number: u32| {
            let first = number * OTHERS_PER_CLIENT;
            let filter = |room: u32| {
                let what = if room.is_multiple_of(OTHERS_PER_WILDCARD) { "+" } else { "chat" };
                (format!("other/{room}/{what}"), 0)
            };
            let subscriptions = (first..others.min(first + OTHERS_PER_CLIENT)).map(filter).collect();
            ClientPlan { subscriptions, ..ClientPlan::default() }
        };
        self.clients.splice(0..0, (0..holders).map(holder));
        self.others = holders as usize;
        for stream in &mut self.streams {
            stream.client += holders;
        }
        self
    }

    /// `count` clients, each of which is the only subscriber of the topic that it publishes to.
    pub fn echo(count: u32, topic: &str, qos: u8) -> Plan {
        let mut plan = Plan::default();
        for client in 0..count {
            let topic = numbered(topic, client);
            let subscriptions = vec![(topic.clone(), qos)];
            plan.clients.push(ClientPlan { subscriptions, own: (client, 1), ..ClientPlan::default() });
            plan.streams.push(StreamPlan { client, topic, qos, receivers: 1, weight: 1.0 });
        }
        plan
    }

    /// `count` clients, each with a topic of its own, to which its neighbour publishes, and all with one common topic,
    /// to which `publishers` of them publish; each publisher at every QoS of `levels`.
    pub fn common(count: u32, publishers: u32, topic: &str, levels: &[u8]) -> Plan {
        let shared = format!("{topic}/all");
        let mut plan = Plan { common: publishers * levels.len() as u32, ..Plan::default() };
        for publisher in 0..publishers {
            // Spread over the connections, so that they sit on different shards.
            let client = (u64::from(publisher) * u64::from(count) / u64::from(publishers)) as u32;
            plan.streams.extend(levels.iter().map(|qos| StreamPlan {
                client,
                topic: shared.clone(),
                qos: *qos,
                receivers: count,
                weight: 1.0,
            }));
        }
        let highest = levels.iter().copied().max().unwrap_or(0);
        for client in 0..count {
            let topic = format!("{topic}/{client}");
            let subscriptions = vec![(topic.clone(), highest), (shared.clone(), highest)];
            let own = (plan.streams.len() as u32, levels.len() as u32);
            plan.clients.push(ClientPlan { subscriptions, common: true, own, excused: false });
            let neighbour = (client + count - 1) % count;
            let stream =
                |qos: &u8| StreamPlan { client: neighbour, topic: topic.clone(), qos: *qos, receivers: 1, weight: 1.0 };
            plan.streams.extend(levels.iter().map(stream));
        }
        plan
    }

    /// What each client subscribes to; taken out, as a million filters are not for keeping twice.
    pub fn take_subscriptions(&mut self) -> Vec<Vec<(String, u8)>> {
        self.clients.iter_mut().map(|client| std::mem::take(&mut client.subscriptions)).collect()
    }
}

/// A topic with `%i` replaced by the number of its room or client; without one, the number is appended where it is not
/// the only one (0).
fn numbered(topic: &str, number: u32) -> String {
    if topic.contains("%i") {
        topic.replace("%i", &number.to_string())
    } else if number == 0 {
        topic.to_owned()
    } else {
        format!("{topic}/{number}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// In every plan the receivers of a stream are as many as the clients that expect it.
    #[test]
    fn receivers_add_up() {
        let plans = [
            Plan::one_topic(3, 5, "t", 0),
            Plan::rooms(4, 2, 3, "room/%i", 1),
            Plan::echo(7, "echo", 0),
            Plan::common(10, 3, "c", &[1, 2]),
            Plan::zipf(10, 1.0, 2, 100, "room/%i", 0).unwrap(),
            Plan::echo(7, "echo", 0).beside(2500),
        ];
        for plan in plans {
            for (stream, said) in (0..).zip(&plan.streams) {
                let expects = |client: &&ClientPlan| {
                    let (first, count) = client.own;
                    client.common && stream < plan.common || (first..first + count).contains(&stream)
                };
                let subscribed = plan.clients.iter().filter(expects).inspect(|client| {
                    assert!(client.subscriptions.iter().any(|(topic, _)| *topic == said.topic));
                });
                assert_eq!(subscribed.count(), said.receivers as usize);
                assert!((said.client as usize) < plan.clients.len());
            }
        }
    }
    /// Unrelated subscriptions are as many as asked for, all different, a tenth with a wildcard, 1000 a client at most;
    /// their clients come first, publish nothing and expect nothing.
    #[test]
    fn others_are_unrelated() {
        let plan = Plan::one_topic(1, 2, "t", 0).beside(2500);
        assert_eq!((plan.others, plan.clients.len(), plan.streams[0].client), (3, 6, 3));
        let (others, rest) = plan.clients.split_at(plan.others);
        assert!(others.iter().all(|client| client.subscriptions.len() <= 1000 && client.own.1 == 0));
        assert!(rest.iter().all(|client| client.subscriptions.iter().all(|(filter, _)| filter == "t")));
        let filters: HashSet<_> = others.iter().flat_map(|client| &client.subscriptions).collect();
        let wildcards = filters.iter().filter(|(filter, _)| filter.contains('+')).count();
        assert_eq!((filters.len(), wildcards), (2500, 250));
        assert_eq!(Plan::default().beside(0).others, 0);
    }

    /// A room of 100 times the size has 10 times the messages, and too few subscribers are refused with a remedy.
    #[test]
    fn large_rooms_write_less() {
        let plan = Plan::zipf(100, 1.0, 1, 51_874, "room/%i", 0).unwrap();
        let (first, last) = (&plan.streams[0], &plan.streams[99]);
        assert_eq!((first.receivers, last.receivers), (10_000, 100));
        assert!((first.weight / last.weight - 10.0).abs() < 1e-9);
        assert!(Plan::zipf(10, 1.0, 1, 9, "t", 0).is_err_and(|error| error.contains("-c")));
    }
}
