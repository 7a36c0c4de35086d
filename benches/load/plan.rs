//! Who publishes what to whom: a scenario, written out before it runs.

/// The clients and streams of a run.
#[derive(Default)]
pub struct Plan {
    pub clients: Vec<ClientPlan>,
    pub streams: Vec<StreamPlan>,
    /// Streams 0 to this reach every client with `common` set.
    pub common: u32,
}

/// One connection.
#[derive(Clone, Default)]
pub struct ClientPlan {
    /// Filters, each a topic name, and the QoS asked for.
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
            let topic = numbered(topic, room);
            let first = plan.streams.len() as u32;
            for _ in 0..publishers {
                let client = plan.clients.len() as u32;
                plan.clients.push(ClientPlan::default());
                plan.streams.push(StreamPlan { client, topic: topic.clone(), qos, receivers: subscribers });
            }
            let own = (first, publishers);
            let subscriber = ClientPlan { subscriptions: vec![(topic, qos)], own, ..ClientPlan::default() };
            plan.clients.resize(plan.clients.len() + subscribers as usize, subscriber);
        }
        plan
    }

    /// `count` clients, each of which is the only subscriber of the topic that it publishes to.
    pub fn echo(count: u32, topic: &str, qos: u8) -> Plan {
        let mut plan = Plan::default();
        for client in 0..count {
            let topic = numbered(topic, client);
            let subscriptions = vec![(topic.clone(), qos)];
            plan.clients.push(ClientPlan { subscriptions, own: (client, 1), ..ClientPlan::default() });
            plan.streams.push(StreamPlan { client, topic, qos, receivers: 1 });
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
            let stream = |qos: &u8| StreamPlan { client, topic: shared.clone(), qos: *qos, receivers: count };
            plan.streams.extend(levels.iter().map(stream));
        }
        let highest = levels.iter().copied().max().unwrap_or(0);
        for client in 0..count {
            let topic = format!("{topic}/{client}");
            let subscriptions = vec![(topic.clone(), highest), (shared.clone(), highest)];
            let own = (plan.streams.len() as u32, levels.len() as u32);
            plan.clients.push(ClientPlan { subscriptions, common: true, own, excused: false });
            let neighbour = (client + count - 1) % count;
            let stream = |qos: &u8| StreamPlan { client: neighbour, topic: topic.clone(), qos: *qos, receivers: 1 };
            plan.streams.extend(levels.iter().map(stream));
        }
        plan
    }

    /// What each client subscribes to.
    pub fn subscriptions(&self) -> Vec<Vec<(String, u8)>> {
        self.clients.iter().map(|client| client.subscriptions.clone()).collect()
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
    use super::*;

    /// In every plan the receivers of a stream are as many as the clients that expect it.
    #[test]
    fn receivers_add_up() {
        let plans = [
            Plan::one_topic(3, 5, "t", 0),
            Plan::rooms(4, 2, 3, "room/%i", 1),
            Plan::echo(7, "echo", 0),
            Plan::common(10, 3, "c", &[1, 2]),
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
}
