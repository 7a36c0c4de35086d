//! What entries come to: the state of a shard as its journal tells it, for a start.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use wire::entry::{self, Entry, Mark, Owner, Stage};
use wire::frame::Frame;
use wire::mqtt::QoS;

use crate::frames;

/// What was live when the last entry was written.
#[derive(Default)]
pub struct State {
    /// Sessions by number.
    pub sessions: BTreeMap<u64, Session>,
    /// Messages that somebody is owed, by number: they come nearly in this order, so that each is put where the one
    /// before was, and most are let go where others were.
    pub messages: BTreeMap<u64, Message>,
    /// Retained messages by topic, as frames with times of the wall clock.
    pub retained: HashMap<Box<str>, Vec<u8>, ahash::RandomState>,
    /// Wills by session and number of the connection.
    pub wills: BTreeMap<(u64, u32), Will>,
    /// Messages, each with a group, that wait for another member.
    pub handing: BTreeSet<(u64, u64)>,
    /// Marks of messages that were taken, oldest first.
    pub marks: Vec<Mark>,
    /// Sessions that had taken a message when others of this shard had not, by mark.
    pub taken: HashMap<Mark, Vec<u64>, ahash::RandomState>,
    /// Sessions whose end was not written.
    pub ended: Vec<u64>,
    /// Entries about what was not there (any more).
    pub ignored: u64,
    /// Messages of a sweep that is not complete: their owners may follow.
    pinned: Vec<u64>,
    sweeping: bool,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The client identifier.
    pub client_id: String,
    /// Session Expiry Interval, in seconds.
    pub expiry: u32,
    /// How many connections it has had.
    pub connections: u32,
    /// When its connection has gone, in milliseconds since 1970; 0: one served it.
    pub left_ms: u64,
    /// Who its client is, where there was access control.
    pub owner: Option<Box<str>>,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Messages that it is owed, by number and group, which is their order. Of those that were received only PUBREL is
    /// left, and no message is kept for them.
    pub owed: BTreeMap<(u64, u64), Owed>,
    /// QoS 2 identifiers from PUBLISH to PUBREL.
    pub inbound: Vec<u16>,
    /// How often identifiers were released.
    pub counts: hashbrown::HashMap<u16, u32, ahash::RandomState>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The filter, without `$share/GROUP/`.
    pub filter: Box<str>,
    /// The group; empty: none.
    pub group: Box<str>,
    /// The QoS that was granted.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// A service granted it.
    pub told: bool,
    /// Subscription Identifier; 0: none.
    pub identifier: u32,
}

/// What a session is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// Subscription Identifiers.
    pub identifiers: Box<[u32]>,
    /// How far it has come.
    pub stage: Stage,
    /// Its packet identifier; 0: none.
    pub packet_id: u16,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The frame, with times of the wall clock; where it was read from, if that can be.
    pub frame: Bytes,
    /// How many are owed it.
    pub references: u32,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Will Delay Interval, in seconds.
    pub delay: u32,
    /// Message Expiry Interval, in seconds.
    pub expiry: Option<u32>,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic.
    pub topic: Box<str>,
    /// Properties to forward.
    pub properties: Box<[u8]>,
    /// Payload.
    pub payload: Box<[u8]>,
    /// Hash of its client identifier.
    pub publisher: u64,
}

impl State {
    /// Takes the next entry.
    pub fn apply(&mut self, entry: &Entry<'_>) {
        self.apply_read(entry, &[], None);
    }

    /// Takes the next entry, which was read from `body`, a part of `source`.
    pub fn apply_read(&mut self, entry: &Entry<'_>, body: &[u8], source: Option<&Bytes>) {
        // A frame is the end of its entry.
        let frame_bytes = |frame: &Frame<'_>| match source {
            Some(source) => source.slice_ref(&body[body.len() - frames::len(frame)..]),
            None => frames::to_vec(frame).into(),
        };
        match *entry {
            Entry::Session(session) => self.session(&session),
            Entry::SessionEnded { uid } => self.end_session(uid),
            Entry::Will(ref will) => self.will(will),
            Entry::WillDone { uid, number } => {
                let known = self.wills.remove(&(uid, number)).is_some();
                self.ignored += u64::from(!known);
            }
            Entry::Owed { message, owners, frame } => {
                if let Some(mark) = Mark::of(&frame) {
                    self.taken.remove(&mark);
                    self.marks.push(mark);
                }
                let mut references = 0;
                for owner in owners {
                    references += u32::from(self.owe(message, &owner, Stage::Waiting, 0));
                }
                if references > 0 {
                    self.keep(message, || frame_bytes(&frame)).references += references;
                } else if self.sweeping {
                    self.keep(message, || frame_bytes(&frame));
                    self.pinned.push(message);
                }
            }
            Entry::Body { message, frame } => {
                self.keep(message, || frame_bytes(&frame));
                self.pinned.push(message);
            }
            Entry::Owing { message, ref owner, stage, packet_id } => {
                if stage == Stage::Received {
                    self.owe(message, owner, stage, packet_id);
                } else if !self.messages.contains_key(&message) {
                    self.ignored += 1;
                } else if self.owe(message, owner, stage, packet_id) {
                    self.messages.get_mut(&message).expect("as just seen").references += 1;
                }
            }
            Entry::Handing { message, group } => self.hand(message, group),
            Entry::HandedOn { message, group } => {
                if self.handing.remove(&(message, group)) {
                    self.let_go(message);
                }
            }
            Entry::Marked(mark) => self.marks.push(mark),
            Entry::Taken { mark, uids } => self.taken.entry(mark).or_default().extend(uids.iter()),
            Entry::Retained { frame } => {
                self.retained.insert(frame.topic.into(), frames::to_vec(&frame));
            }
            Entry::RetainedCleared { topic } => {
                self.retained.remove(topic);
            }
            Entry::Sweep { end } => {
                self.sweeping = !end;
                self.unpin();
            }
            _ => {
                let uid = entry.uid().expect("the others are about a session");
                let known = self.of_session(uid, entry);
                self.ignored += u64::from(!known);
            }
        }
    }

    /// No entry is left: lets go of what nobody is owed.
    pub fn complete(&mut self) {
        self.sweeping = false;
        self.unpin();
        // Of two sessions of a client the later one counts: the end of the other was not written in time.
        let mut newest: HashMap<&str, u64> = HashMap::new();
        for (uid, session) in &self.sessions {
            newest.insert(&session.client_id, *uid);
        }
        let stale = |(uid, session): &(&u64, &Session)| newest[&*session.client_id] != **uid;
        let stale: Vec<u64> = self.sessions.iter().filter(stale).map(|(uid, _)| *uid).collect();
        // And one of no expiry has ended with its connection, whenever that was.
        let over = self.sessions.iter().filter(|(_, session)| session.expiry == 0).map(|(uid, _)| *uid);
        self.ended = over.chain(stale).collect();
        self.ended.clone().into_iter().for_each(|uid| self.end_session(uid));
    }

    fn session(&mut self, of: &entry::Session<'_>) {
        let session = self.sessions.entry(of.uid).or_default();
        of.client_id.clone_into(&mut session.client_id);
        (session.expiry, session.connections, session.left_ms) = (of.expiry, of.connections, of.left_ms);
    }

    fn will(&mut self, will: &entry::Will<'_>) {
        let kept = Will {
            delay: will.delay,
            expiry: will.expiry,
            qos: will.qos,
            retain: will.retain,
            topic: will.topic.into(),
            properties: will.properties.into(),
            payload: will.payload.into(),
            publisher: will.publisher,
        };
        self.wills.insert((will.uid, will.number), kept);
    }

    /// An entry about something of a session. Whether that was there.
    fn of_session(&mut self, uid: u64, entry: &Entry<'_>) -> bool {
        let Some(session) = self.sessions.get_mut(&uid) else { return false };
        match *entry {
            Entry::Left { at_ms, expiry, .. } => (session.left_ms, session.expiry) = (at_ms, expiry),
            Entry::Owner { identity, .. } => session.owner = Some(identity.into()),
            Entry::Subscribed(ref subscription) => session.subscribe(subscription),
            Entry::Unsubscribed { filter, group, .. } => {
                session.subscriptions.retain(|known| *known.filter != *filter || *known.group != *group);
            }
            Entry::Sent { message, group, packet_id, .. } => {
                let Some(owed) = session.owed.get_mut(&(message, group)) else { return false };
                (owed.stage, owed.packet_id) = (Stage::Sent, packet_id);
            }
            Entry::Received { packet_id, .. } => {
                let Some((key, owed)) = session.in_flight(packet_id) else { return false };
                if owed.stage != Stage::Received {
                    owed.stage = Stage::Received;
                    self.let_go(key.0);
                }
            }
            Entry::Done { packet_id, .. } => {
                let Some((key, owed)) = session.in_flight(packet_id) else { return false };
                let held = owed.stage != Stage::Received;
                session.owed.remove(&key);
                if held {
                    self.let_go(key.0);
                }
            }
            Entry::Dropped { message, group, .. } => {
                if session.owed.remove(&(message, group)).is_none() {
                    return false;
                }
                self.let_go(message);
            }
            Entry::Inbound { packet_id, .. } => {
                if !session.inbound.contains(&packet_id) {
                    session.inbound.push(packet_id);
                }
            }
            Entry::Released { packet_id, count, .. } => {
                // One that compaction says again is no release: what has come under the identifier since stays.
                if session.counts.insert(packet_id, count) != Some(count) {
                    session.inbound.retain(|id| *id != packet_id);
                }
            }
            _ => unreachable!("the others are applied elsewhere"),
        }
        true
    }

    /// What it was owed is nobody's any more; but a message of a group that was not sent, or (QoS 1) not acknowledged,
    /// is another member's.
    fn end_session(&mut self, uid: u64) {
        let Some(session) = self.sessions.remove(&uid) else { return };
        for ((message, group), owed) in session.owed {
            let handed = group != 0
                && (owed.stage == Stage::Waiting || owed.stage == Stage::Sent && owed.qos == QoS::AtLeastOnce);
            if handed {
                self.hand(message, group);
            }
            if owed.stage != Stage::Received {
                self.let_go(message);
            }
        }
    }

    fn hand(&mut self, message: u64, group: u64) {
        if let Some(kept) = self.messages.get_mut(&message)
            && self.handing.insert((message, group))
        {
            kept.references += 1;
        }
    }

    fn keep(&mut self, message: u64, frame: impl FnOnce() -> Bytes) -> &mut Message {
        self.messages.entry(message).or_insert_with(|| Message { frame: frame(), references: 0 })
    }

    /// A session is owed a message. Whether that is news.
    fn owe(&mut self, message: u64, owner: &Owner<'_>, stage: Stage, packet_id: u16) -> bool {
        let Some(session) = self.sessions.get_mut(&owner.uid) else {
            self.ignored += 1;
            return false;
        };
        let identifiers = owner.identifiers.iter().collect();
        let owed = Owed { qos: owner.qos, retain: owner.retain, identifiers, stage, packet_id };
        session.owed.insert((message, owner.group), owed).is_none()
    }

    fn let_go(&mut self, message: u64) {
        if let Some(kept) = self.messages.get_mut(&message) {
            kept.references -= 1;
            self.let_go_unless_owed(message);
        }
    }

    fn let_go_unless_owed(&mut self, message: u64) {
        if self.messages.get(&message).is_some_and(|kept| kept.references == 0) {
            if self.sweeping {
                self.pinned.push(message);
            } else {
                self.messages.remove(&message);
            }
        }
    }

    fn unpin(&mut self) {
        let sweeping = std::mem::take(&mut self.sweeping);
        for message in std::mem::take(&mut self.pinned) {
            self.let_go_unless_owed(message);
        }
        self.sweeping = sweeping;
    }
}

impl Session {
    fn subscribe(&mut self, of: &entry::Subscription<'_>) {
        let subscription = Subscription {
            filter: of.filter.into(),
            group: of.group.into(),
            qos: of.qos,
            no_local: of.no_local,
            retain_as_published: of.retain_as_published,
            told: of.told,
            identifier: of.identifier,
        };
        let known =
            self.subscriptions.iter_mut().find(|known| *known.filter == *of.filter && *known.group == *of.group);
        match known {
            Some(known) => *known = subscription,
            None => self.subscriptions.push(subscription),
        }
    }

    /// What is in flight under an identifier: among the first, as identifiers are given in order.
    fn in_flight(&mut self, packet_id: u16) -> Option<((u64, u64), &mut Owed)> {
        let found = self.owed.iter_mut().find(|(_, owed)| owed.packet_id == packet_id && owed.stage != Stage::Waiting);
        found.map(|(key, owed)| (*key, owed))
    }
}

#[cfg(test)]
mod tests;
