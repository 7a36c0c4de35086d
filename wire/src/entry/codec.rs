//! Entries as bytes. The kind of an entry travels beside its body.

use core::fmt;

use super::{Entry, Identifiers, Mark, Owner, Owners, Session, Stage, Subscription, Uids, Will};
use crate::error::Malformed;
use crate::frame::Frame;
use crate::mqtt::QoS;
use crate::reader::Reader;
use crate::writer::{Counter, Filler, Sink};

/// Why the bytes of an entry are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// No entry has this kind: a later version wrote it.
    Kind(u16),
    /// The body is not one of that kind.
    Body(u16),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryError::Kind(kind) => write!(f, "an entry of kind {kind}, which this version does not know"),
            EntryError::Body(kind) => write!(f, "an entry of kind {kind} ({}) whose body is not one", name_of(*kind)),
        }
    }
}

impl core::error::Error for EntryError {}

/// The names of the kinds, from 1 on.
const NAMES: [&str; 24] = [
    "session",
    "left",
    "session ended",
    "subscribed",
    "unsubscribed",
    "will",
    "will done",
    "owed",
    "body",
    "owing",
    "sent",
    "received",
    "done",
    "dropped",
    "handing",
    "handed on",
    "inbound",
    "released",
    "marked",
    "retained",
    "retained cleared",
    "sweep",
    "taken",
    "owner",
];

/// What a kind is called.
pub fn name_of(kind: u16) -> &'static str {
    NAMES.get(usize::from(kind).wrapping_sub(1)).copied().unwrap_or("unknown")
}

const NO_LOCAL: u8 = 1 << 2;
const RETAIN: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const TOLD: u8 = 1 << 4;
const EXPIRES: u8 = 1 << 3;

impl<'a> Entry<'a> {
    /// Its kind: never 0.
    pub fn kind(&self) -> u16 {
        match self {
            Entry::Session(_) => 1,
            Entry::Left { .. } => 2,
            Entry::SessionEnded { .. } => 3,
            Entry::Subscribed(_) => 4,
            Entry::Unsubscribed { .. } => 5,
            Entry::Will(_) => 6,
            Entry::WillDone { .. } => 7,
            Entry::Owed { .. } => 8,
            Entry::Body { .. } => 9,
            Entry::Owing { .. } => 10,
            Entry::Sent { .. } => 11,
            Entry::Received { .. } => 12,
            Entry::Done { .. } => 13,
            Entry::Dropped { .. } => 14,
            Entry::Handing { .. } => 15,
            Entry::HandedOn { .. } => 16,
            Entry::Inbound { .. } => 17,
            Entry::Released { .. } => 18,
            Entry::Marked(_) => 19,
            Entry::Retained { .. } => 20,
            Entry::RetainedCleared { .. } => 21,
            Entry::Sweep { .. } => 22,
            Entry::Taken { .. } => 23,
            Entry::Owner { .. } => 24,
        }
    }

    /// Bytes of its body.
    pub fn body_len(&self) -> usize {
        Counter::of(|sink| self.put(sink))
    }

    /// Writes its body into as many bytes as [`Entry::body_len`] says. Panics where `out` is shorter.
    pub fn write(&self, out: &mut [u8]) {
        self.put(&mut Filler::new(out));
    }

    fn put(&self, sink: &mut impl Sink) {
        match self {
            Entry::Session(session) => {
                sink.u64(session.uid);
                sink.u64(session.left_ms);
                sink.u32(session.expiry);
                sink.u32(session.connections);
                sink.string(session.client_id);
            }
            Entry::Left { uid, at_ms, expiry } => {
                sink.u64(*uid);
                sink.u64(*at_ms);
                sink.u32(*expiry);
            }
            Entry::SessionEnded { uid } => sink.u64(*uid),
            Entry::Owner { uid, identity } => {
                sink.u64(*uid);
                sink.put(identity.as_bytes());
            }
            Entry::Subscribed(subscription) => {
                let flag = |set, bit| if set { bit } else { 0 };
                sink.u64(subscription.uid);
                sink.u32(subscription.identifier);
                sink.u8(subscription.qos as u8
                    | flag(subscription.no_local, NO_LOCAL)
                    | flag(subscription.retain_as_published, RETAIN_AS_PUBLISHED)
                    | flag(subscription.told, TOLD));
                sink.string(subscription.filter);
                sink.string(subscription.group);
            }
            Entry::Unsubscribed { uid, filter, group } => {
                sink.u64(*uid);
                sink.string(filter);
                sink.string(group);
            }
            Entry::Will(will) => put_will(will, sink),
            Entry::WillDone { uid, number } => {
                sink.u64(*uid);
                sink.u32(*number);
            }
            Entry::Owed { message, owners, frame } => {
                sink.u64(*message);
                sink.u32(owners.0.len() as u32);
                sink.put(owners.0);
                put_frame(frame, sink);
            }
            Entry::Body { message, frame } => {
                sink.u64(*message);
                put_frame(frame, sink);
            }
            Entry::Owing { message, owner, stage, packet_id } => {
                sink.u64(*message);
                sink.u8(*stage as u8);
                sink.u16(*packet_id);
                put_owner(owner, sink);
            }
            Entry::Sent { uid, message, group, packet_id } => {
                put_words(sink, &[*uid, *message, *group]);
                sink.u16(*packet_id);
            }
            Entry::Received { uid, packet_id } | Entry::Done { uid, packet_id } | Entry::Inbound { uid, packet_id } => {
                sink.u64(*uid);
                sink.u16(*packet_id);
            }
            Entry::Dropped { uid, message, group } => put_words(sink, &[*uid, *message, *group]),
            Entry::Handing { message, group } | Entry::HandedOn { message, group } => {
                put_words(sink, &[*message, *group]);
            }
            Entry::Released { uid, packet_id, count } => {
                sink.u64(*uid);
                sink.u16(*packet_id);
                sink.u32(*count);
            }
            Entry::Marked(Mark { publisher, packet_id, count }) => {
                sink.u64(*publisher);
                sink.u16(*packet_id);
                sink.u32(*count);
            }
            Entry::Retained { frame } => put_frame(frame, sink),
            Entry::RetainedCleared { topic } => sink.put(topic.as_bytes()),
            Entry::Sweep { end } => sink.u8(u8::from(*end)),
            Entry::Taken { mark: Mark { publisher, packet_id, count }, uids } => {
                sink.u64(*publisher);
                sink.u16(*packet_id);
                sink.u32(*count);
                sink.put(uids.0);
            }
        }
    }

    /// Reads the body of an entry of this kind. Frames are checked, too.
    pub fn read(kind: u16, body: &'a [u8]) -> Result<Entry<'a>, EntryError> {
        if kind == 0 || usize::from(kind) > NAMES.len() {
            return Err(EntryError::Kind(kind));
        }
        get(kind, &mut Reader::new(body)).map_err(|_| EntryError::Body(kind))
    }
}

fn get<'a>(kind: u16, reader: &mut Reader<'a>) -> Result<Entry<'a>, Malformed> {
    let entry = match kind {
        1 => {
            let (uid, left_ms) = (reader.u64()?, reader.u64()?);
            let (expiry, connections) = (reader.u32()?, reader.u32()?);
            Entry::Session(Session { uid, client_id: reader.string()?, expiry, connections, left_ms })
        }
        2 => Entry::Left { uid: reader.u64()?, at_ms: reader.u64()?, expiry: reader.u32()? },
        3 => Entry::SessionEnded { uid: reader.u64()? },
        4 => {
            let (uid, identifier, flags) = (reader.u64()?, reader.u32()?, reader.u8()?);
            Entry::Subscribed(Subscription {
                uid,
                filter: reader.string()?,
                group: reader.string()?,
                qos: qos(flags & 3)?,
                no_local: flags & NO_LOCAL != 0,
                retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
                told: flags & TOLD != 0,
                identifier,
            })
        }
        5 => Entry::Unsubscribed { uid: reader.u64()?, filter: reader.string()?, group: reader.string()? },
        6 => Entry::Will(get_will(reader)?),
        7 => Entry::WillDone { uid: reader.u64()?, number: reader.u32()? },
        8 => {
            let (message, len) = (reader.u64()?, reader.u32()?);
            let owners = Owners(reader.take(len as usize)?);
            owners.check()?;
            Entry::Owed { message, owners, frame: frame(reader)? }
        }
        9 => Entry::Body { message: reader.u64()?, frame: frame(reader)? },
        10 => {
            let (message, stage, packet_id) = (reader.u64()?, reader.u8()?, reader.u16()?);
            let stage = match stage {
                0 => Stage::Waiting,
                1 => Stage::Sent,
                2 => Stage::Received,
                _ => return Err(Malformed::Truncated),
            };
            Entry::Owing { message, owner: get_owner(reader)?, stage, packet_id }
        }
        11 => {
            let (uid, message, group) = (reader.u64()?, reader.u64()?, reader.u64()?);
            Entry::Sent { uid, message, group, packet_id: reader.u16()? }
        }
        12 => Entry::Received { uid: reader.u64()?, packet_id: reader.u16()? },
        13 => Entry::Done { uid: reader.u64()?, packet_id: reader.u16()? },
        14 => Entry::Dropped { uid: reader.u64()?, message: reader.u64()?, group: reader.u64()? },
        15 => Entry::Handing { message: reader.u64()?, group: reader.u64()? },
        16 => Entry::HandedOn { message: reader.u64()?, group: reader.u64()? },
        17 => Entry::Inbound { uid: reader.u64()?, packet_id: reader.u16()? },
        18 => Entry::Released { uid: reader.u64()?, packet_id: reader.u16()?, count: reader.u32()? },
        19 => Entry::Marked(Mark { publisher: reader.u64()?, packet_id: reader.u16()?, count: reader.u32()? }),
        20 => Entry::Retained { frame: frame(reader)? },
        21 => {
            let topic = core::str::from_utf8(reader.rest()).map_err(|_| Malformed::Truncated)?;
            reader.take(topic.len())?;
            Entry::RetainedCleared { topic }
        }
        22 => Entry::Sweep { end: reader.u8()? != 0 },
        24 => {
            let uid = reader.u64()?;
            let identity = core::str::from_utf8(reader.rest()).map_err(|_| Malformed::Truncated)?;
            reader.take(identity.len())?;
            Entry::Owner { uid, identity }
        }
        _ => {
            let mark = Mark { publisher: reader.u64()?, packet_id: reader.u16()?, count: reader.u32()? };
            let uids = reader.rest();
            reader.take(uids.len() / 8 * 8)?;
            Entry::Taken { mark, uids: Uids(uids) }
        }
    };
    reader.finish()?;
    Ok(entry)
}

fn put_words(sink: &mut impl Sink, words: &[u64]) {
    words.iter().for_each(|word| sink.u64(*word));
}

fn put_will(will: &Will<'_>, sink: &mut impl Sink) {
    sink.u64(will.uid);
    sink.u32(will.number);
    sink.u64(will.publisher);
    sink.u32(will.delay);
    let expires = if will.expiry.is_some() { EXPIRES } else { 0 };
    sink.u8(will.qos as u8 | if will.retain { RETAIN } else { 0 } | expires);
    sink.u32(will.expiry.unwrap_or(0));
    sink.string(will.topic);
    sink.u32(will.properties.len() as u32);
    sink.put(will.properties);
    sink.put(will.payload);
}

fn get_will<'a>(reader: &mut Reader<'a>) -> Result<Will<'a>, Malformed> {
    let (uid, number, publisher, delay) = (reader.u64()?, reader.u32()?, reader.u64()?, reader.u32()?);
    let (flags, expiry) = (reader.u8()?, reader.u32()?);
    let (topic, properties) = (reader.string()?, reader.u32()?);
    let properties = reader.take(properties as usize)?;
    let payload = reader.rest();
    reader.take(payload.len())?;
    let expiry = (flags & EXPIRES != 0).then_some(expiry);
    let retain = flags & RETAIN != 0;
    Ok(Will { uid, number, publisher, delay, expiry, qos: qos(flags & 3)?, retain, topic, properties, payload })
}

pub(super) fn put_owner(owner: &Owner<'_>, sink: &mut impl Sink) {
    put_words(sink, &[owner.uid, owner.group]);
    sink.u8(owner.qos as u8 | if owner.retain { RETAIN } else { 0 });
    sink.u16((owner.identifiers.0.len() / 4) as u16);
    sink.put(owner.identifiers.0);
}

pub(super) fn get_owner<'a>(reader: &mut Reader<'a>) -> Result<Owner<'a>, Malformed> {
    let (uid, group, flags, count) = (reader.u64()?, reader.u64()?, reader.u8()?, reader.u16()?);
    let identifiers = Identifiers(reader.take(4 * usize::from(count))?);
    Ok(Owner { uid, group, qos: qos(flags & 3)?, retain: flags & RETAIN != 0, identifiers })
}

fn qos(bits: u8) -> Result<QoS, Malformed> {
    QoS::from_bits(bits).ok_or(Malformed::Truncated)
}

fn put_frame(frame: &Frame<'_>, sink: &mut impl Sink) {
    sink.put(&frame.head());
    [frame.topic.as_bytes(), frame.properties, frame.payload].into_iter().for_each(|part| sink.put(part));
}

/// The rest of the bytes, which must be a frame.
fn frame<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, Malformed> {
    let bytes = reader.rest();
    reader.take(bytes.len())?;
    Frame::read(bytes).map_err(|_| Malformed::Truncated)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::frame::FrameHeader;

    fn frame_bytes() -> Vec<u8> {
        let header = FrameHeader { payload_len: 2, ..FrameHeader::default() };
        let mut bytes = vec![0; Frame::bytes_len(3, 0, 2)];
        Frame::write(&header, "a/b", core::iter::empty(), b"hi", &mut bytes);
        bytes
    }

    /// Every kind reads back as what was written, and no shorter or longer body is taken for one.
    #[test]
    fn every_kind_reads_back() {
        let bytes = frame_bytes();
        let frame = Frame::read(&bytes).expect("a frame");
        let mut identifiers = Vec::new();
        Identifiers::push(&mut identifiers, 7);
        let identifiers = Identifiers::new(&identifiers);
        let owner = Owner { uid: 3, group: 4, qos: QoS::ExactlyOnce, retain: true, identifiers };
        let mut owners = Vec::new();
        Owners::push(&mut owners, &owner);
        Owners::push(&mut owners, &Owner { uid: 5, identifiers: Identifiers::default(), ..owner });
        assert_eq!(owners.len(), Owners::bytes_of(1) + Owners::bytes_of(0));
        let will = Will {
            uid: 1,
            number: 2,
            publisher: 9,
            delay: 3,
            expiry: Some(4),
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "t",
            properties: b"pp",
            payload: b"payload",
        };
        let entries = [
            Entry::Session(Session { uid: 1, client_id: "c", expiry: 2, connections: 3, left_ms: 4 }),
            Entry::Left { uid: 1, at_ms: 2, expiry: 3 },
            Entry::SessionEnded { uid: 1 },
            Entry::Subscribed(Subscription {
                uid: 1,
                filter: "a/+",
                group: "g",
                qos: QoS::AtLeastOnce,
                no_local: true,
                retain_as_published: true,
                told: true,
                identifier: 9,
            }),
            Entry::Unsubscribed { uid: 1, filter: "a/#", group: "" },
            Entry::Will(will),
            Entry::WillDone { uid: 1, number: 2 },
            Entry::Owed { message: 1, owners: Owners::new(&owners), frame },
            Entry::Body { message: 1, frame },
            Entry::Owing { message: 1, owner, stage: Stage::Received, packet_id: 5 },
            Entry::Sent { uid: 1, message: 2, group: 3, packet_id: 4 },
            Entry::Received { uid: 1, packet_id: 2 },
            Entry::Done { uid: 1, packet_id: 2 },
            Entry::Dropped { uid: 1, message: 2, group: 3 },
            Entry::Handing { message: 1, group: 2 },
            Entry::HandedOn { message: 1, group: 2 },
            Entry::Inbound { uid: 1, packet_id: 2 },
            Entry::Released { uid: 1, packet_id: 2, count: 3 },
            Entry::Marked(Mark { publisher: 1, packet_id: 2, count: 3 }),
            Entry::Retained { frame },
            Entry::RetainedCleared { topic: "a/b" },
            Entry::Sweep { end: true },
            Entry::Taken { mark: Mark { publisher: 1, packet_id: 2, count: 3 }, uids: Uids::new(&[7; 16]) },
            Entry::Owner { uid: 1, identity: r#"{"user":"alice"}"# },
        ];
        for (index, entry) in entries.iter().enumerate() {
            assert_eq!(usize::from(entry.kind()), index + 1);
            assert_ne!(name_of(entry.kind()), "unknown");
            let mut body = vec![0; entry.body_len()];
            entry.write(&mut body);
            assert_eq!(Entry::read(entry.kind(), &body).as_ref(), Ok(entry));
            let free = matches!(entry, Entry::Will(_) | Entry::RetainedCleared { .. } | Entry::Owner { .. });
            if !free {
                assert_eq!(Entry::read(entry.kind(), &body[..body.len() - 1]), Err(EntryError::Body(entry.kind())));
                body.push(0);
                assert_eq!(Entry::read(entry.kind(), &body), Err(EntryError::Body(entry.kind())));
            }
        }
        assert_eq!(Entry::read(25, &[]), Err(EntryError::Kind(25)));
        assert_eq!(Entry::read(0, &[]), Err(EntryError::Kind(0)));
    }

    /// Owners come back in order, with their identifiers.
    #[test]
    fn owners_keep_their_order() {
        let (mut owners, mut identifiers) = (Vec::new(), Vec::new());
        (1..=3).for_each(|identifier| Identifiers::push(&mut identifiers, identifier));
        for uid in 1..4 {
            let identifiers = Identifiers::new(&identifiers);
            Owners::push(&mut owners, &Owner { uid, group: 0, qos: QoS::AtLeastOnce, retain: false, identifiers });
        }
        let uids: Vec<u64> = Owners::new(&owners).into_iter().map(|owner| owner.uid).collect();
        assert_eq!(uids, [1, 2, 3]);
        let first = Owners::new(&owners).into_iter().next().expect("three");
        assert!(first.identifiers.iter().eq(1..=3));
    }
}
