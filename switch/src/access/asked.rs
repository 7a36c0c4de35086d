//! What a service said of the packets of one connection: a bounded cache, and the answer to the packet at hand.
//!
//! An answer is found by the action and the topic, and by QoS and RETAIN where the service is told them. Places lie in
//! sets of four: the one of a set whose time is over first gives way.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use shard::Instant;
use wire::mqtt::QoS;

use super::rules::Actions;
use crate::config::access::AclHttp;

/// Places of one set.
const WAYS: usize = 4;
/// Bytes of a topic that is remembered.
const TOPIC_BYTES_MAX: usize = 256;

/// What a service says of one topic or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is allowed.
    Allow,
    /// It is denied.
    Deny,
    /// The rules decide.
    Ignore,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// It is allowed.
    Yes,
    /// It is denied.
    No,
    /// Somebody is asked; the packet comes again.
    Asked,
}

/// What is done, as far as the service is told: action, QoS and RETAIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(u8);

impl Shape {
    /// The action.
    pub fn action(self) -> Actions {
        if self.0 & 8 == 0 { Actions::PUBLISH } else { Actions::SUBSCRIBE }
    }

    /// The QoS; 0 where that does not matter.
    pub fn qos(self) -> u8 {
        self.0 & 3
    }

    /// RETAIN, likewise.
    pub fn retain(self) -> bool {
        self.0 & 4 != 0
    }
}

/// How a service is asked, as a shard knows it.
pub struct Manner {
    /// Bits of a [`Shape`] that the service is told.
    mask: u8,
    /// How long an answer is remembered.
    pub keeps: Duration,
    /// Sets of places of one connection; a power of two.
    sets: usize,
    /// How long a packet waits at most.
    pub patience: Duration,
}

impl Manner {
    /// As the settings have it: those of all services, which differ by their addresses alone. What any of them is told
    /// counts for all.
    pub fn new(services: &[AclHttp]) -> Manner {
        let told = |name, bits| if services.iter().any(|service| service.tells(name)) { bits } else { 0 };
        let default = AclHttp::default();
        let settings = services.first().unwrap_or(&default);
        Manner {
            mask: 8 | told("qos", 3) | told("retain", 4),
            keeps: settings.cache,
            sets: (settings.cache_size as usize).div_ceil(WAYS).next_power_of_two(),
            patience: settings.timeout * 3,
        }
    }

    /// A publish.
    pub fn publish(&self, qos: QoS, retain: bool) -> Shape {
        Shape((qos as u8 | u8::from(retain) << 2) & self.mask)
    }

    /// A subscription.
    pub fn subscribe(&self, qos: QoS) -> Shape {
        Shape((8 | qos as u8) & self.mask)
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What is done.
    pub shape: Shape,
    /// To which topic or filter.
    pub topic: Box<str>,
    /// What the service says of it.
    pub word: Word,
    /// It may be remembered.
    pub lasts: bool,
}

/// What is done to which topics or filters, by one packet.
pub type Items = [(Shape, Box<str>)];

/// A packet whose answer is awaited.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Which one of its connection.
    pub number: u32,
    /// What it does. A service that finds nobody else who has this need not look.
    pub items: Arc<Items>,
}

/// What is known for one connection.
pub struct Asked {
    /// Where the client comes from.
    pub peer: Option<IpAddr>,
    /// The last word allowed something; else the rules did.
    pub allowed: bool,
    /// Its subscriptions are to be asked about again.
    pub in_line: bool,
    /// The packet that waits.
    pub wait: Option<Wait>,
    numbers: u32,
    /// About the packet that is handled again.
    ready: Vec<Told>,
    /// It was used, for a packet that may not have been handled.
    used: bool,
    places: Vec<Place>,
}

#[derive(Clone)]
struct Place {
    topic: String,
    shape: Shape,
    word: Word,
    /// Until then; [`Instant::ZERO`]: nothing is here.
    until: Instant,
}

impl Asked {
    /// Nothing is known yet of a client from `peer`.
    pub fn new(peer: Option<IpAddr>) -> Asked {
        let (ready, places) = (Vec::new(), Vec::new());
        Asked { peer, allowed: false, in_line: false, wait: None, numbers: 0, ready, used: false, places }
    }

    /// What was said of this, if that is known.
    #[inline]
    pub fn word(&mut self, shape: Shape, topic: &str, now: Instant) -> Option<Word> {
        if !self.ready.is_empty()
            && let Some(told) = self.ready.iter().find(|told| told.shape == shape && *told.topic == *topic)
            && !self.used
        {
            return Some(told.word);
        }
        if self.places.is_empty() {
            return None;
        }
        let set = self.set(shape, topic);
        let found = self.places[set].iter().find(|place| place.shape == shape && place.topic == topic);
        found.filter(|place| place.until > now).map(|place| place.word)
    }

    /// The packet at hand goes on: what was said of it alone is used up.
    pub fn pass(&mut self) {
        self.used = true;
    }

    /// The packet at hand comes again.
    pub fn again(&mut self) {
        self.used = false;
    }

    /// A packet is asked about.
    pub fn ask(&mut self, items: Arc<Items>) -> Wait {
        self.numbers = self.numbers.wrapping_add(1);
        let wait = Wait { number: self.numbers, items };
        self.wait = Some(wait.clone());
        wait
    }

    /// What was asked about packet `number` was answered. False: nobody waits for that.
    pub fn answered(&mut self, number: u32, told: Vec<Told>, manner: &Manner, now: Instant) -> bool {
        if self.wait.take_if(|wait| wait.number == number).is_none() {
            return false;
        }
        told.iter().for_each(|told| self.keep(told, manner, now));
        (self.ready, self.used) = (told, false);
        true
    }

    /// Remembers an answer.
    pub fn keep(&mut self, told: &Told, manner: &Manner, now: Instant) {
        if !told.lasts || manner.keeps.is_zero() || told.topic.len() > TOPIC_BYTES_MAX {
            return;
        }
        if self.places.is_empty() {
            let empty = Place { topic: String::new(), shape: told.shape, word: Word::Deny, until: Instant::ZERO };
            self.places = vec![empty; manner.sets * WAYS];
        }
        let set = self.set(told.shape, &told.topic);
        let places = &mut self.places[set];
        let same = places.iter().position(|place| place.shape == told.shape && place.topic == *told.topic);
        let first = || (0..WAYS).min_by_key(|index| places[*index].until).expect("a set has places");
        let place = &mut places[same.unwrap_or_else(first)];
        (place.shape, place.word, place.until) = (told.shape, told.word, now.after(manner.keeps));
        place.topic.clear();
        place.topic.push_str(&told.topic);
    }

    /// Forgets everything but that a packet waits.
    pub fn forget(&mut self) {
        self.places.iter_mut().for_each(|place| place.until = Instant::ZERO);
        self.ready.clear();
    }

    /// The places of a topic: FNV-1a, which a client cannot use against others, as this is its own cache.
    fn set(&self, shape: Shape, topic: &str) -> std::ops::Range<usize> {
        let seed = 0xcbf2_9ce4_8422_2325 ^ u64::from(shape.0);
        let hash = topic.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let first = ((hash ^ hash >> 32) as usize & (self.places.len() / WAYS - 1)) * WAYS;
        first..first + WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(cache_size: u32, fields: &[&str]) -> Manner {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        Manner::new(&[AclHttp { cache_size, fields, ..AclHttp::default() }])
    }

    fn told(shape: Shape, topic: &str, word: Word, lasts: bool) -> Told {
        Told { shape, topic: topic.into(), word, lasts }
    }

    /// An answer counts for its own topic and action until its time is over, and the cache keeps to its bound.
    #[test]
    fn answers_are_remembered() {
        let (manner, now) = (manner(8, &[]), Instant::from_nanos(1_000_000_000));
        let (publish, subscribe) = (manner.publish(QoS::AtMostOnce, false), manner.subscribe(QoS::AtMostOnce));
        let mut asked = Asked::new(None);
        let wait = asked.ask([(publish, "a".into())].into());
        assert!(!asked.answered(wait.number + 1, Vec::new(), &manner, now));
        assert!(asked.answered(wait.number, vec![told(publish, "a", Word::Allow, true)], &manner, now));
        assert_eq!(Arc::strong_count(&wait.items), 1, "nobody wants to know any more");
        asked.pass();
        assert_eq!(asked.word(publish, "a", now), Some(Word::Allow));
        assert_eq!((asked.word(publish, "b", now), asked.word(subscribe, "a", now)), (None, None));
        assert_eq!(asked.word(manner.publish(QoS::AtLeastOnce, false), "a", now), None, "the service is told the QoS");
        assert_eq!(asked.word(publish, "a", now.after(manner.keeps)), None);
        for number in 0..1000 {
            let topic = number.to_string();
            asked.keep(&told(publish, &topic, Word::Deny, true), &manner, now.after(Duration::from_nanos(number)));
            assert_eq!(asked.word(publish, &topic, now), Some(Word::Deny));
        }
        assert_eq!(asked.places.len(), 8);
        asked.forget();
        assert!((0..1000).all(|number| asked.word(publish, &number.to_string(), now).is_none()));
    }

    /// What is said of one packet alone is used once, and again where that packet comes again.
    #[test]
    fn some_answers_are_for_one_packet() {
        let (manner, now) = (manner(8, &["t=${topic}"]), Instant::from_nanos(1));
        let publish = manner.publish(QoS::AtLeastOnce, true);
        assert_eq!(publish, manner.publish(QoS::AtMostOnce, false), "the service is told neither");
        let mut asked = Asked::new(None);
        let wait = asked.ask([(publish, "a".into())].into());
        assert!(asked.answered(wait.number, vec![told(publish, "a", Word::Ignore, false)], &manner, now));
        assert_eq!(asked.word(publish, "a", now), Some(Word::Ignore));
        asked.pass();
        assert_eq!(asked.word(publish, "a", now), None);
        asked.again();
        assert_eq!(asked.word(publish, "a", now), Some(Word::Ignore));
    }
}
