//! Writing to one connection: into its outbox, which the next flush sends.

use persistence::Position;
use shard::{Effects, Slot};
use wire::entry::Entry;
use wire::frame::Frame;
use wire::mqtt::{PacketId, PublishImage, QoS};
use wire::websocket::{FrameHeader, Opcode};

use super::flush::Job;
use super::outbox::Outbox;
use super::store::MessageId;
use crate::connection::{Connection, Phase};
use crate::counters::Counter;
use crate::frames;
use crate::journal::wait::Waiter;
use crate::limits::OUTBOX_FILL_BYTES;
use crate::planted::{Fault, planted};
use crate::session::alias::{Alias, Aliases};
use crate::session::outgoing::{Owed, Stage};
use crate::session::{Session, SessionId};
use crate::switch::Switch;

/// How a PUBLISH is written to one client, besides the message.
#[derive(Clone, Copy)]
pub struct Sending<'a> {
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// It was sent before on another connection ([MQTT-3.3.1-1]).
    pub dup: bool,
    /// Packet identifier; 0 at QoS 0.
    pub packet_id: u16,
    /// Subscription Identifiers.
    pub identifiers: &'a [u32],
}

/// Why a PUBLISH was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwritten {
    /// Larger than the client's Maximum Packet Size ([MQTT-3.1.2-24]).
    TooLarge,
    /// The outbox is full (QoS 0 only).
    OutboxFull,
}

impl Switch {
    /// The outbox of a connection that can be written to; a flush follows.
    pub fn outbox(&mut self, slot: Slot) -> &mut Outbox {
        let conn = self.connections.at_mut(slot);
        if !conn.outbox_waits()
            && let Some(seat) = conn.seats.sole()
        {
            self.feeds[seat.feed.0 as usize].member_mut(seat.member).set(true, conn.blocked);
        }
        if !conn.flush_queued && !conn.blocked {
            conn.flush_queued = true;
            self.flush.push(Job::Connection(slot));
        }
        conn.outbox.get_or_insert_with(|| self.outboxes.take())
    }

    /// Writes a control packet.
    pub fn write(&mut self, slot: Slot, encode: impl FnOnce(&mut Vec<u8>)) {
        let conn = self.connections.at(slot);
        if !conn.writable() {
            return;
        }
        let (max, framed) = (conn.packet_bytes_max as usize, conn.framed);
        let buffer = self.outbox(slot).buffer();
        let start = buffer.len();
        encode(buffer);
        let len = buffer.len() - start;
        if len > max {
            // [MQTT-3.1.2-24]: not even then.
            buffer.truncate(start);
        } else if framed && len > 0 {
            let header = FrameHeader::new(Opcode::Binary, len);
            buffer.extend_from_slice(header.bytes());
            buffer[start..].rotate_right(header.bytes().len());
        }
    }

    /// Writes a PUBLISH that is encoded already. At QoS 0 only where less than the limit waits, however long it is
    /// itself: what is longer than the limit comes through where nothing waits.
    pub fn write_encoded(&mut self, slot: Slot, qos: QoS, bytes: &[u8]) {
        let limit = self.limits.max_outbox_bytes as usize;
        let conn = self.connections.at(slot);
        if !conn.writable() || (qos == QoS::AtMostOnce && waiting(conn) >= limit) {
            return self.counters.add(Counter::DroppedOutboxFull, 1);
        }
        let framed = conn.framed;
        let outbox = self.outbox(slot);
        if framed {
            outbox.begin_frame(bytes.len());
        }
        outbox.buffer().extend_from_slice(bytes);
        if qos == QoS::AtMostOnce {
            outbox.note_unsettled();
        }
    }

    /// Writes a live QoS 0 PUBLISH, or counts why not.
    pub fn write_publish0(&mut self, slot: Slot, frame: &Frame<'_>, retain: bool, identifiers: &[u32]) {
        let limit = self.limits.max_outbox_bytes as usize;
        self.write_publish0_within(slot, frame, retain, identifiers, limit);
    }

    /// Writes a retained message at QoS 0: slices are asked for as the outbox drains, so that none is dropped because
    /// the outbox is full.
    pub fn write_retained0(&mut self, slot: Slot, frame: &Frame<'_>, identifiers: &[u32]) {
        self.write_publish0_within(slot, frame, true, identifiers, usize::MAX);
    }

    fn write_publish0_within(
        &mut self,
        slot: Slot,
        frame: &Frame<'_>,
        retain: bool,
        identifiers: &[u32],
        limit: usize,
    ) {
        let conn = self.connections.at(slot);
        let fits = conn.writable() && waiting(conn) < limit;
        let sending = Sending { qos: QoS::AtMostOnce, retain, dup: false, packet_id: 0, identifiers };
        let written = if fits {
            self.outbox(slot);
            let conn = self.connections.at_mut(slot);
            encode(conn, frame, sending, self.now, &self.hasher)
        } else {
            Err(Unwritten::OutboxFull)
        };
        match written {
            Ok(()) => {
                let outbox = self.connections.at_mut(slot).outbox.as_mut();
                outbox.expect("it was written to").note_unsettled();
            }
            Err(Unwritten::TooLarge) => self.counters.add(Counter::DroppedTooLarge, 1),
            Err(Unwritten::OutboxFull) => self.counters.add(Counter::DroppedOutboxFull, 1),
        }
    }

    /// Sends what a session is owed, as far as its window and its outbox have room.
    pub fn pump(&mut self, id: SessionId, _fx: &mut Effects) {
        let behind = self.sessions.at(id).outgoing.as_ref().is_some_and(|outgoing| !outgoing.all_sent());
        if behind {
            self.redeliver(id);
        }
        while let Some(slot) = self.pump_target(id) {
            let session = self.sessions.at_mut(id);
            let outgoing = session.outgoing.as_mut().expect("something waits");
            let owed = outgoing.take_next().expect("something waits");
            let frame = self.store.frame(owed.message);
            let kept = session.kept.as_ref().filter(|_| self.journal.is_on()).map(|kept| kept.uid);
            if frames::expired(&frame, self.now) && !planted(Fault::ExpiredDelivered) {
                self.counters.add(Counter::DroppedExpired, 1);
                if let Some(uid) = kept {
                    let (message, group) = (self.store.number(owed.message), owed.group.unwrap_or(0));
                    self.journal.note(&Entry::Dropped { uid, message, group });
                }
                self.store.release(owed.message);
                continue;
            }
            if let Some(uid) = kept {
                if !self.prepare(id, uid, owed) {
                    return;
                }
                self.redeliver(id);
                continue;
            }
            let keep = session.durable || owed.group.is_some();
            let packet_id = outgoing.launch(owed.qos, None);
            let identifiers = owed.identifiers.clone().unwrap_or_default();
            let sending = Sending {
                qos: owed.qos,
                retain: owed.retain,
                dup: false,
                packet_id: packet_id.get(),
                identifiers: &identifiers,
            };
            self.outbox(slot);
            let session = self.sessions.at_mut(id);
            let outgoing = session.outgoing.as_mut().expect("something was owed");
            let frame = self.store.frame(owed.message);
            match encode(self.connections.at_mut(slot), &frame, sending, self.now, &self.hasher) {
                Ok(()) if keep => outgoing.find(packet_id).expect("just launched").owed = Some(owed),
                Ok(()) => self.store.release(owed.message),
                Err(_) => {
                    // [MQTT-3.1.2-25]: as if it had been sent.
                    outgoing.land(packet_id);
                    self.store.release(owed.message);
                    self.counters.add(Counter::DroppedTooLarge, 1);
                }
            }
        }
    }

    /// Sends again what is in flight, in the original order and under the original identifiers ([MQTT-4.4.0-1]), as far
    /// as the window and the outbox have room ([MQTT-3.3.4-9]).
    fn redeliver(&mut self, id: SessionId) {
        while let Some(slot) = self.window_target(id) {
            let outgoing = self.sessions.at_mut(id).outgoing.as_mut().expect("something is in flight");
            if !outgoing.next_ticket().is_some_and(|ticket| self.journal.holds(ticket)) {
                return;
            }
            let Some(flight) = outgoing.send_next() else { return };
            let packet_id = flight.packet_id;
            if flight.stage == Stage::Pubcomp && !planted(Fault::ResentAfterPubrec) {
                let version = self.connections.at(slot).version;
                self.write(slot, |out| crate::packets::pubrel(version, packet_id, out));
                continue;
            }
            let owed = flight.owed.expect("a session that resumes kept its messages");
            if flight.fresh
                && frames::expired(&self.store.frame(owed.message), self.now)
                && !planted(Fault::ExpiredDelivered)
            {
                // [MQTT-3.3.2-5]: its connection ended before it was sent.
                self.lands_unsent(id, packet_id, owed.message);
                self.counters.add(Counter::DroppedExpired, 1);
                continue;
            }
            let Owed { message, qos, retain, identifiers, .. } = owed;
            let identifiers = identifiers.unwrap_or_default();
            let dup = !flight.fresh;
            let sending = Sending { qos, retain, dup, packet_id: packet_id.get(), identifiers: &identifiers };
            self.outbox(slot);
            let frame = self.store.frame(message);
            if encode(self.connections.at_mut(slot), &frame, sending, self.now, &self.hasher).is_err() {
                self.lands_unsent(id, packet_id, message);
                self.counters.add(Counter::DroppedTooLarge, 1);
            }
        }
    }

    /// A message in flight ends without having been sent on this connection.
    fn lands_unsent(&mut self, id: SessionId, packet_id: PacketId, message: MessageId) {
        let session = self.sessions.at_mut(id);
        session.outgoing.as_mut().expect("it has flights").land(packet_id);
        if let Some(kept) = &session.kept {
            self.journal.note(&Entry::Done { uid: kept.uid, packet_id: packet_id.get() });
        }
        self.store.release(message);
    }

    /// Gives a message toward a durable session its packet identifier, which the journal knows before a QoS 2 message is
    /// sent. False: there is no room for that now.
    fn prepare(&mut self, id: SessionId, uid: u64, owed: Owed) -> bool {
        let (message, group) = (self.store.number(owed.message), owed.group.unwrap_or(0));
        let outgoing = self.sessions.at_mut(id).outgoing.as_mut().expect("something waited");
        let packet_id = outgoing.next_packet_id();
        let entry = Entry::Sent { uid, message, group, packet_id: packet_id.get() };
        let exactly_once = owed.qos == QoS::ExactlyOnce;
        let ticket = match self.journal.note_awaited(&entry) {
            Some(ticket) if exactly_once && !planted(Fault::SentBeforeWritten) => ticket,
            Some(_) => Position(0),
            // What the journal of a failed disk cannot tell is not promised at QoS 2.
            None if !exactly_once && self.journal.is_fenced() => Position(0),
            None => {
                outgoing.put_back(owed);
                if !self.journal.is_fenced() {
                    let due = self.journal.tail();
                    self.journal.wait(due, Waiter::Outgoing(id));
                }
                return false;
            }
        };
        outgoing.prepare(packet_id, owed, message, ticket);
        if !self.journal.holds(ticket) {
            self.journal.wait(ticket, Waiter::Outgoing(id));
        }
        true
    }

    /// The connection that a session may send QoS 1 and 2 to now.
    fn window_target(&self, id: SessionId) -> Option<Slot> {
        let session: &Session = self.sessions.at(id);
        let outgoing = session.outgoing.as_ref()?;
        let slot = session.connection?.slot;
        let conn = self.connections.at(slot);
        let open = conn.phase == Phase::Open && conn.writable();
        let window = usize::from(conn.inflight_max) + usize::from(planted(Fault::WindowPlusOne));
        let room = outgoing.window() < window && waiting(conn) < OUTBOX_FILL_BYTES;
        (open && room).then_some(slot)
    }

    /// The same, if a message waits and all that was in flight before has been sent again.
    fn pump_target(&self, id: SessionId) -> Option<Slot> {
        let session = self.sessions.at(id);
        let outgoing = session.outgoing.as_ref()?;
        if outgoing.waiting().is_empty() {
            return None;
        }
        // What waits for its ticket is in flight already, too.
        let room = |slot: &Slot| outgoing.in_flight().len() < usize::from(self.connections.at(*slot).inflight_max);
        let prepared = session.kept.is_some() && self.journal.is_on();
        self.window_target(id).filter(|slot| outgoing.all_sent() || prepared && room(slot))
    }
}

/// Bytes that wait in a connection's outbox.
pub fn waiting(conn: &Connection) -> usize {
    conn.outbox.as_ref().map_or(0, |outbox| outbox.len())
}

/// What an alias beside the name adds at most: its property, and one more byte for each of two lengths.
const ALIAS_BYTES: usize = 5;

/// Appends a PUBLISH to the outbox, which exists.
fn encode(
    conn: &mut Connection,
    frame: &Frame<'_>,
    sending: Sending<'_>,
    now: shard::Instant,
    hasher: &ahash::RandomState,
) -> Result<(), Unwritten> {
    let mut packet = PublishImage {
        version: conn.version,
        dup: sending.dup,
        qos: sending.qos,
        retain: sending.retain,
        topic: frame.topic,
        packet_id: sending.packet_id,
        topic_alias: None,
        message_expiry: frames::expiry_left(frame, now),
        properties: frame.properties,
        subscription_identifiers: sending.identifiers,
        payload: frame.payload,
    };
    let (len, max) = (packet.encoded_len(), conn.packet_bytes_max as usize);
    if len > max {
        return Err(Unwritten::TooLarge);
    }
    // MQTT.js (5.16) loses the topic of a QoS 2 message that comes by alias, so those come by name.
    if conn.alias_max > 0 && sending.qos != QoS::ExactlyOnce && len + ALIAS_BYTES <= max {
        let aliases = conn.aliases.get_or_insert_with(|| Box::new(Aliases::new(hasher.clone())));
        let max = conn.alias_max.saturating_add(u16::from(planted(Fault::AliasPlusOne)));
        match aliases.give(frame.topic, max) {
            Alias::Name => {}
            Alias::Introduce(alias) => packet.topic_alias = Some(alias),
            Alias::Known(alias) => (packet.topic_alias, packet.topic) = (Some(alias), ""),
        }
    }
    let outbox = conn.outbox.as_mut().expect("the caller made sure of it");
    let len = packet.encoded_len();
    if conn.framed {
        outbox.begin_frame(len);
    }
    packet.encode(outbox.claim(len));
    Ok(())
}
