//! Rounds of load, end and new start: publishers and subscribers that know what they were promised.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;

use ringmain_tests::{Broker, DEADLINE, DataDirectory, Setup, Version};

use crate::publisher::Publisher;
use crate::subscriber::{Subscriber, number};

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// kill -9, after a random number of acknowledgements.
    Kill,
    /// SIGTERM, likewise.
    Stop,
}

/// Acknowledgements in a round at most.
const ROUND: usize = 1500;

/// The clients of a node, and what they know.
pub struct Load {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    random: fastrand::Rng,
}

impl Load {
    /// Publishers and subscribers of both versions, at QoS 1 and 2. `RINGMAIN_FAULT_SEED` repeats a choice of moments.
    pub fn new() -> Self {
        let seed = std::env::var("RINGMAIN_FAULT_SEED").ok().map(|seed| seed.parse().expect("a number for a seed"));
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("RINGMAIN_FAULT_SEED={seed}");
        let both = [Version::V311, Version::V5];
        let publishers = (0..4).map(|number| Publisher::new(number, both[number % 2], if number < 2 { 1 } else { 2 }));
        let subscribers = (0..3).map(|number| Subscriber::new(number, both[number % 2]));
        Self {
            publishers: publishers.collect(),
            subscribers: subscribers.collect(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// What a node needs so that it drops nothing for subscribers that are away.
    pub fn setup(shards: u32, data: &DataDirectory) -> Setup {
        let limits = "[limits]\nmax_queued_messages = 10000000\nmax_queued_bytes = \"1GiB\"\nqueue_memory = \"4GiB\"";
        Setup::shards(shards).toml(limits).on(data)
    }

    /// One start for each number of shards, all on one data directory, and one more in which everything arrives.
    pub fn rounds(&mut self, shards: impl IntoIterator<Item = u32>, end: impl Fn(usize) -> End) {
        let data = DataDirectory::new();
        let mut last = 1;
        for (round, shards) in shards.into_iter().enumerate() {
            println!("round {round}: {shards} shards, {:?}", end(round));
            self.round(&mut Self::setup(shards, &data).start(), end(round));
            last = shards;
        }
        self.finish(&mut Self::setup(last, &data).start());
    }

    /// Publishes and subscribes until the end comes.
    pub fn round(&mut self, broker: &mut Broker, end: End) {
        let address = broker.address();
        self.check_retained(address);
        // All in the first round, so that each of them has a session before the first end.
        let new = self.publishers.iter().all(|publisher| publisher.topics.iter().all(|topic| topic.sent == 0));
        let random = &mut self.random;
        let online: Vec<bool> = self.subscribers.iter().map(|_| new || random.bool()).collect();
        let wanted = random.usize(1..=ROUND);
        self.publishers.iter_mut().for_each(|publisher| publisher.connect(address));
        let subscribers = self.subscribers.iter_mut().zip(online).filter(|(_, online)| *online);
        let mut subscribers: Vec<&mut Subscriber> = subscribers.map(|(subscriber, _)| subscriber).collect();
        subscribers.iter_mut().for_each(|subscriber| subscriber.connect(address, "load/#"));
        let (tell, told) = channel();
        thread::scope(|scope| {
            for publisher in &mut self.publishers {
                let tell = tell.clone();
                scope.spawn(move || publisher.run(&tell));
            }
            for subscriber in subscribers {
                scope.spawn(move || subscriber.run());
            }
            drop(tell);
            let acknowledged = (0..wanted).take_while(|_| told.recv_timeout(DEADLINE).is_ok()).count();
            match end {
                End::Kill => broker.process().kill(),
                End::Stop => assert!(broker.terminate(DEADLINE).success(), "{}", broker.log()),
            }
            assert_eq!(acknowledged, wanted, "no acknowledgement within {DEADLINE:?}: {}", broker.log());
        });
    }

    /// Lets publishers complete what is under way and subscribers take everything.
    pub fn finish(&mut self, broker: &mut Broker) {
        let address = broker.address();
        self.check_retained(address);
        for publisher in &mut self.publishers {
            publisher.connect(address);
            publisher.finish();
        }
        let topics = self.publishers.iter().flat_map(|publisher| &publisher.topics);
        let plain = topics.filter(|topic| !topic.retained && topic.sent > 0);
        let sent: BTreeMap<String, u64> = plain.map(|topic| (topic.name.clone(), topic.sent)).collect();
        for subscriber in &mut self.subscribers {
            subscriber.connect(address, "load/#");
            subscriber.finish(&sent);
        }
        self.check_retained(address);
    }

    /// The retained value of each topic is the last acknowledged one, or a later one that was sent.
    fn check_retained(&self, address: SocketAddr) {
        let topics = self.publishers.iter().flat_map(|publisher| &publisher.topics);
        let mut expected: BTreeMap<&str, (u64, u64)> = topics
            .filter(|topic| topic.retained && topic.sent > 0)
            .map(|topic| (topic.name.as_str(), (topic.acknowledged, topic.sent)))
            .collect();
        let mut reader = ringmain_tests::Options::new(address, Version::V5, "reader").connect();
        reader.subscribe("state/#", 1);
        while expected.values().any(|(acknowledged, _)| *acknowledged > 0) {
            let message = reader.message();
            let (acknowledged, sent) = expected
                .remove(message.topic.as_str())
                .unwrap_or_else(|| panic!("{message:?} comes twice, or was never sent"));
            let value = number(&message);
            assert!(message.retain && (acknowledged..=sent).contains(&value), "{message:?}: {acknowledged}..={sent}");
        }
        reader.disconnect();
    }
}
