//! What a client might say, right and wrong, chosen by bytes: a fuzzer's input, or the random numbers of a seed.
//!
//! Names, identifiers and aliases come from small sets, so that packets meet each other's state: the same session is
//! taken over, the same identifier acknowledged, the same topic subscribed to and left. Most packets are right; some are
//! spoilt in one place, as only nearly right ones come past the first checks.

use crate::packet::{Connect, PINGREQ, Publish, Version, Will, ack, disconnect, packet, subscribe, unsubscribe};
use crate::property::Property;

const CLIENTS: [&str; 5] = ["x", "y", "z", "__proto__", ""];
const TOPICS: [&str; 9] = ["a", "a/b", "a/b/c", "/", "$x/y", "$SYS/x", "é", "constructor", "a//b"];
const FILTERS: [&str; 12] =
    ["#", "a", "a/+", "+/b", "a/#", "a/b/c", "$share/g/a/#", "$share/g/#", "$share/h/a/b", "$SYS/#", "$x/+", "/+/"];
const IDS: [u16; 6] = [1, 2, 3, 4, 255, 65_535];

/// One client's part of a conversation.
pub struct Speaker<'a> {
    /// What it speaks.
    pub version: Version,
    choices: &'a [u8],
}

impl<'a> Speaker<'a> {
    /// Chooses by these bytes; when they have run out, always the first.
    pub fn new(choices: &'a [u8]) -> Self {
        let mut speaker = Self { version: Version::V5, choices };
        if speaker.below(3) == 1 {
            speaker.version = Version::V311;
        }
        speaker
    }

    /// Whether it has more to say.
    pub fn goes_on(&self) -> bool {
        !self.choices.is_empty()
    }

    /// A number below `end`, which is at most 256.
    pub fn below(&mut self, end: usize) -> usize {
        let Some((&first, rest)) = self.choices.split_first() else { return 0 };
        self.choices = rest;
        usize::from(first) % end
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A CONNECT that is right.
    pub fn connect(&mut self) -> Connect {
        let mut connect = Connect::new(self.version, "");
        connect.clean = !self.one_in(2);
        connect.client_id = self.one_of(&CLIENTS).to_owned();
        if connect.client_id.is_empty() {
            connect.clean = true;
        }
        connect.keep_alive = self.one_of(&[0, 60, 65_535]);
        connect.properties = self.some_of(&[
            Property::SessionExpiry(1),
            Property::SessionExpiry(u32::MAX),
            Property::ReceiveMaximum(1),
            Property::MaximumPacketSize(40),
            Property::TopicAliasMaximum(1),
            Property::RequestProblemInformation(0),
            Property::RequestResponseInformation(1),
        ]);
        if self.one_in(3) {
            let topic = self.one_of(&["a", "a/b", "é"]);
            let properties = self.some_of(&[
                Property::WillDelay(1),
                Property::MessageExpiry(1),
                Property::PayloadFormat(1),
                Property::ResponseTopic("a".into()),
            ]);
            connect.will =
                Some(Will { qos: self.below(3) as u8, retain: self.one_in(2), properties, ..Will::new(topic, "will") });
        }
        connect.user_name = self.one_in(4).then(|| "user".into());
        connect.password = (connect.user_name.is_some() && self.one_in(2)).then(|| b"\0\xff".to_vec());
        connect
    }

    /// A packet that is right by itself, whether or not it may come now.
    pub fn packet(&mut self) -> Vec<u8> {
        let id = self.one_of(&IDS);
        match self.below(16) {
            0..=4 => self.publish(id),
            5 => ack(0x40, id, 0),
            6 => ack(0x50, id, self.code(&[0, 0x10, 0x80])),
            7 => ack(0x62, id, self.code(&[0, 0x92])),
            8 => ack(0x70, id, 0),
            9 | 10 => {
                let count = 1 + self.below(3);
                let filters: Vec<(&str, u8)> = (0..count)
                    .map(|_| (self.one_of(&FILTERS), self.below(3) as u8 | self.code(&[0, 8, 0x10, 0x20])))
                    .collect();
                let properties = self.some_of(&[Property::SubscriptionId(7), Property::User("k".into(), "v".into())]);
                subscribe(self.version, id, &filters, &properties)
            }
            11 | 12 => {
                let filters = [self.one_of(&FILTERS), self.one_of(&FILTERS)];
                unsubscribe(self.version, id, &filters[..1 + self.below(2)])
            }
            13 | 14 => PINGREQ.to_vec(),
            _ => {
                let code = self.code(&[0, 4, 0x82]);
                let properties = self.some_of(&[Property::SessionExpiry(2), Property::ReasonString("r".into())]);
                disconnect(self.version, code, &properties)
            }
        }
    }

    fn publish(&mut self, id: u16) -> Vec<u8> {
        let qos = self.below(3) as u8;
        let (topic, payload) = (self.one_of(&TOPICS), self.one_of(&["", "payload"]));
        let properties = self.some_of(&[
            Property::TopicAlias(1),
            Property::TopicAlias(2),
            Property::MessageExpiry(1),
            Property::ContentType("text".into()),
            Property::ResponseTopic("a/b".into()),
            Property::CorrelationData(vec![0, 255]),
            Property::User("k".into(), "v".into()),
        ]);
        let aliased = properties.iter().any(|property| matches!(property, Property::TopicAlias(_)));
        let topic = if aliased && self.version == Version::V5 && self.one_in(2) { "" } else { topic };
        let message = Publish::new(topic, qos, payload).with(&properties);
        let (retain, dup) = (self.one_in(3), qos > 0 && self.one_in(3));
        Publish { id, retain, dup, ..message }.bytes(self.version)
    }

    /// Wrong in one place: a bit, a byte too few or too many, a length that lies, another type, twice the same.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(256) % bytes.len();
        match self.below(6) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes.truncate(at.max(1)),
            2 => bytes.insert(at, self.below(256) as u8),
            3 => bytes[1] = self.below(256) as u8,
            4 => {
                let body = bytes.get(2..).unwrap_or_default().to_vec();
                *bytes = packet(self.below(256) as u8, &body[..at.min(body.len())]);
            }
            _ => bytes.extend(bytes.clone()),
        }
    }

    /// Whether to spoil the next packet.
    pub fn errs(&mut self) -> bool {
        self.one_in(12)
    }

    /// A reason code or options; 0 in 3.1.1.
    fn code(&mut self, all: &[u8]) -> u8 {
        let code = self.one_of(all);
        if self.version == Version::V5 { code } else { 0 }
    }

    /// Some of the properties, each kind once and in their order; none in 3.1.1 are written.
    fn some_of(&mut self, all: &[Property]) -> Vec<Property> {
        if self.one_in(2) {
            let (first, step) = (self.below(all.len()), 1 + self.below(3));
            let mut some: Vec<Property> = all[first..].iter().step_by(step).cloned().collect();
            some.dedup_by_key(|property| std::mem::discriminant(property));
            return some;
        }
        Vec::new()
    }
}
