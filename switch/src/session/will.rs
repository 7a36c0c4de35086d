//! Wills: what a client leaves behind for when its connection ends badly (section 3.1.2.5).

use shard::{Effects, Instant};
use wire::entry::{self, Entry};
use wire::frame::{Frame, FrameHeader};
use wire::mqtt::QoS;

use super::SessionId;
use crate::access::asked::Right;
use crate::frames;
use crate::journal::restore::Recovery;
use crate::journal::wait::Own;
use crate::planted::{Fault, planted};
use crate::switch::Switch;

/// A client's will.
pub struct Will {
    topic: Box<str>,
    payload: Box<[u8]>,
    /// Properties to forward, as bytes ([MQTT-3.1.3-10]: in order).
    properties: Box<[u8]>,
    /// Message Expiry Interval, in seconds.
    pub expiry: Option<u32>,
    qos: QoS,
    retain: bool,
    /// Will Delay Interval, in seconds.
    pub delay: u32,
    /// Whose it is, as its frame tells it; known when it is fired, and not written to the journal.
    source: Option<Box<[u8]>>,
}

impl Will {
    /// Where it is published, and how.
    pub fn place(&self) -> (&str, QoS, bool) {
        (&self.topic, self.qos, self.retain)
    }

    /// Tells whose it is, where that is judged later.
    pub(crate) fn set_source(&mut self, source: Option<Box<[u8]>>) {
        self.source = source;
    }

    /// The will that a journal tells of.
    pub fn restored(from: crate::journal::state::Will) -> Will {
        Will {
            topic: from.topic,
            payload: from.payload,
            properties: from.properties,
            expiry: from.expiry,
            qos: from.qos,
            retain: from.retain,
            delay: from.delay,
            source: None,
        }
    }

    /// As the journal has it: that of a session's connection with this number.
    pub fn entry(&self, uid: u64, number: u32, publisher: u64) -> Entry<'_> {
        Entry::Will(entry::Will {
            uid,
            number,
            publisher,
            delay: self.delay,
            expiry: self.expiry,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            properties: &self.properties,
            payload: &self.payload,
        })
    }

    /// The will of a CONNECT.
    pub fn new(will: &wire::mqtt::Will<'_>) -> Will {
        Will {
            topic: will.topic.into(),
            payload: will.payload.into(),
            properties: will.properties.forwardable().flatten().copied().collect(),
            expiry: will.properties.message_expiry_interval,
            qos: will.qos,
            retain: will.retain,
            delay: will.delay_interval,
            source: None,
        }
    }
}

impl Switch {
    /// Publishes the will of a session and removes it ([MQTT-3.1.2-10]).
    pub fn fire_will(&mut self, id: SessionId, fx: &mut Effects) {
        if self.gate.is_some()
            && !planted(Fault::WillNotJudged)
            && let Some(will) = self.sessions.at_mut(id).will.take()
        {
            let right = self.may_fire(id, will.place());
            self.sessions.at_mut(id).will = Some(will);
            match right {
                Right::Yes => {}
                Right::No => return self.deny_will(id),
                Right::Asked => return self.hold_will(id, fx),
            }
        }
        let source = self.will_source(id);
        let session = self.sessions.at_mut(id);
        let client_hash = session.client_hash;
        let Some(mut will) = session.will.take() else { return };
        will.set_source(source);
        if let Some(kept) = session.kept.as_ref().filter(|_| self.journal.is_on()) {
            let (uid, number) = (kept.uid, kept.connections);
            let key = self.journal.own.insert(Own::Will { uid, number, will, client_hash });
            self.queue_kept(key);
            return self.run_own(fx);
        }
        let frame = self.will_frame(&will, client_hash, None);
        if planted(Fault::WillTwice) {
            self.sessions.at_mut(id).will = Some(will);
        }
        self.publish_own(frame, fx);
    }

    /// Whose the will of a session is.
    fn will_source(&self, id: SessionId) -> Option<Box<[u8]>> {
        let (topic, qos, retain) = self.sessions.at(id).will.as_ref()?.place();
        self.source(id, topic, qos).filter(|_| retain).map(|source| source.boxed())
    }

    /// The will of a session is not wanted any more.
    pub fn forget_will(&mut self, id: SessionId) {
        let session = self.sessions.at_mut(id);
        if session.will.take().is_some()
            && let Some(kept) = &session.kept
        {
            self.journal.note(&Entry::WillDone { uid: kept.uid, number: kept.connections });
        }
    }

    /// `mark`: what tells repeats of it.
    pub(crate) fn will_frame(&self, will: &Will, publisher: u64, mark: Option<u32>) -> Vec<u8> {
        let sourced = will.source.as_ref().map(|source| [&source[..], &will.properties].concat());
        let properties = sourced.as_deref().unwrap_or(&will.properties);
        let mut header = frames::header(&will.topic, properties.len(), &will.payload);
        header.arrived = self.now.as_nanos();
        header.expires = frames::expires(will.expiry, self.limits.message_expiry_interval, self.now);
        header.publisher = publisher;
        header.topic_hash = self.placement.topic_hash(&will.topic);
        header.qos = will.qos as u8;
        header.flags = if will.retain { frames::RETAIN } else { 0 };
        if sourced.is_some() {
            header.flags |= FrameHeader::SOURCED;
        }
        if let Some(count) = mark.filter(|_| will.qos > QoS::AtMostOnce) {
            header.flags |= FrameHeader::MARKED;
            header.number = u64::from(count) << 32;
        }
        let frame = Frame { header, topic: &will.topic, properties, payload: &will.payload };
        frames::to_vec(&frame)
    }

    /// The timer of a session without a connection: its will, its end, or both.
    pub fn session_timer(&mut self, id: SessionId, fx: &mut Effects) {
        let Some(session) = self.sessions.find(id) else { return };
        if session.connection.is_some() && !planted(Fault::SessionTimerKept) {
            return;
        }
        session.timer = None;
        if self.recovery != Recovery::Done {
            // Its will would miss those whose owners do not know them.
            return self.set_session_timer(id, self.now.after(std::time::Duration::from_millis(5)), fx);
        }
        let session = self.sessions.at_mut(id);
        let ends = session.ends();
        if ends <= self.now {
            self.counters.add(crate::counters::Counter::ClientsExpired, 1);
            return self.end_session(id, fx);
        }
        // The will's delay is over.
        self.fire_will(id, fx);
        self.set_session_timer(id, ends, fx);
    }

    /// Sets the timer of a session without a connection.
    pub fn set_session_timer(&mut self, id: SessionId, due: Instant, fx: &mut Effects) {
        let word = crate::switch::timer_word(crate::switch::TimerKind::Session, id.index, id.generation.get());
        self.sessions.at_mut(id).timer = Some(fx.timers.set(due, word));
    }
}
