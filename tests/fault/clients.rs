//! Two small things that most faults are measured by: a durable session that is away, and QoS 0 traffic that goes on.

use ringmain_tests::{Broker, Client, Publish, Version};

use crate::subscriber::number;

/// The code of a publish that the journal cannot take: quota exceeded.
pub const REFUSED: u8 = 0x97;

/// A durable session that is away, and what was acknowledged for it.
pub struct Offline {
    id: String,
    topic: String,
    acknowledged: u64,
    /// How many it has taken.
    collected: u64,
}

impl Offline {
    /// A session with a subscription of its own.
    pub fn new(broker: &Broker, id: &str) -> Self {
        let topic = format!("offline/{id}");
        let mut client = broker.client(Version::V5, id).durable().connect();
        assert_eq!(client.subscribe(&topic, 1), 1);
        client.disconnect();
        Self { id: id.to_owned(), topic, acknowledged: 0, collected: 0 }
    }

    /// Publishes one message of so many bytes at QoS 1; the reason code of its acknowledgement.
    pub fn publish(&mut self, publisher: &mut Client, bytes: usize) -> u8 {
        let number = self.acknowledged + 1;
        let code = publisher.publish_packet(&Publish::new(&self.topic, 1, format!("{number:>bytes$}")));
        self.acknowledged += u64::from(code < 0x80);
        code
    }

    /// Publishes so many messages, which must be acknowledged.
    pub fn publish_all(&mut self, publisher: &mut Client, count: usize) {
        for _ in 0..count {
            let code = self.publish(publisher, 100);
            assert!(code < 0x80, "PUBACK {code:#04x} for message {} of {}", self.acknowledged + 1, self.topic);
        }
    }

    /// Publishes until one is refused, and sees that this is the code for it.
    pub fn publish_until_refused(&mut self, publisher: &mut Client, bytes: usize) {
        const MESSAGES_MAX: usize = 20_000;
        let code = (0..MESSAGES_MAX).map(|_| self.publish(publisher, bytes)).find(|code| *code >= 0x80);
        assert_eq!(code, Some(REFUSED), "{} messages were acknowledged", self.acknowledged);
    }

    /// Comes back, and sees what was acknowledged since it was there, in order. What was refused may come or not.
    pub fn collect(&mut self, broker: &Broker) {
        let mut client = broker.client(Version::V5, &self.id).durable().connect();
        assert!(client.session_present, "the session {}", self.id);
        let mut last = self.collected;
        while last < self.acknowledged {
            let message = client.message();
            let number = number(&message);
            assert!((1..=last + 1).contains(&number), "{message:?} after number {last}");
            last = last.max(number);
        }
        self.collected = last;
        client.disconnect();
    }

    /// How many were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}

/// Two clients that were connected before.
pub struct Live {
    subscriber: Client,
    publisher: Client,
}

impl Live {
    /// Connects both.
    pub fn new(broker: &Broker) -> Self {
        let mut subscriber = broker.client(Version::V5, "live-subscriber").connect();
        assert_eq!(subscriber.subscribe("live/#", 0), 0);
        Self { subscriber, publisher: broker.client(Version::V5, "live-publisher").connect() }
    }

    /// QoS 0 goes from one to the other, retained messages too, and new clients are served.
    pub fn goes_on(&mut self, broker: &Broker) {
        for number in 0..50 {
            let text = number.to_string();
            self.publisher.publish_packet(&Publish { retain: number % 5 == 0, ..Publish::new("live/0", 0, &text) });
            assert_eq!(self.subscriber.message().text(), text);
        }
        let mut new = broker.client(Version::V311, "live-new").connect();
        new.publish("live/new", 0, "hello");
        assert_eq!(self.subscriber.message().text(), "hello");
        new.disconnect();
    }
}
