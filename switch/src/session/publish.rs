//! PUBLISH and acknowledgements between a client and its session.

use persistence::Position;
use shard::profile;
use shard::{Effects, Slot};
use wire::entry::Entry;
use wire::frame::{Frame, FrameHeader};
use wire::mqtt::topic::level_count;
use wire::mqtt::{Ack, PacketId, Publish, QoS, ReasonCode};

use super::SessionId;
use super::alias::Aliases;
use super::incoming::Pending;
use super::outgoing::Stage;
use crate::access::asked::Right;
use crate::config::access::DenyAction;
use crate::connection::ConnectionId;
use crate::connection::close::Cause;
use crate::connection::inbound::Flow;
use crate::counters::Counter;
use crate::frames;
use crate::journal::wait::Waiter;
use crate::packets;
use crate::planted::{Fault, planted};
use crate::routing::publish::{Origin, Routed};
use crate::switch::Switch;

impl Switch {
    /// Handles a PUBLISH of a client.
    pub fn client_publish(&mut self, slot: Slot, publish: &Publish<'_>, fx: &mut Effects) -> Flow {
        if publish.qos > self.qos_max() {
            return Flow::Close(ReasonCode::QosNotSupported);
        }
        if publish.retain && !self.limits.retain_available {
            return Flow::Close(ReasonCode::RetainNotSupported);
        }
        match publish.properties.topic_alias {
            None => self.publish_to(slot, publish, publish.topic, fx),
            Some(alias) => self.publish_by_alias(slot, publish, alias, fx),
        }
    }

    /// PUBREL: the identifier of a QoS 2 message is free again.
    pub fn publish_released(&mut self, slot: Slot, ack: &Ack<'_>) -> Flow {
        let (session, version) = self.parties(slot);
        if let Some(flow) = self.without_room(slot, session) {
            return flow;
        }
        let known = self.sessions.at_mut(session).incoming.as_mut().is_some_and(|i| {
            if planted(Fault::ReleaseForgotten) { i.repeats(ack.packet_id) } else { i.release(ack.packet_id) }
        });
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        let mut ticket = Position(0);
        if let Some(kept) = &mut self.sessions.at_mut(session).kept {
            let uid = kept.uid;
            let mut release = || kept.release(ack.packet_id.get());
            // An identifier that is not known may have been released a moment ago, on another connection.
            ticket = self.journal.tail();
            if known {
                let entry = Entry::Released { uid, packet_id: ack.packet_id.get(), count: release() };
                let Some(written) = self.journal.note_awaited(&entry) else {
                    return Flow::Close(ReasonCode::ImplementationSpecificError);
                };
                ticket = written;
            }
        }
        if self.journal.holds(ticket) || planted(Fault::CompletedBeforeWritten) {
            self.write(slot, |out| packets::pubcomp(version, ack.packet_id, reason, out));
        } else {
            let connection = self.connections.id(slot);
            self.journal.wait(ticket, Waiter::Complete(connection, ack.packet_id, reason));
        }
        Flow::Next
    }

    /// What a packet leads to whose notes the journal has no room for: it is handled later. A packet of a session that
    /// the journal does not know has none.
    fn without_room(&mut self, slot: Slot, session: SessionId) -> Option<Flow> {
        if self.journal.notes_fit() || self.sessions.at(session).kept.is_none() {
            return None;
        }
        let connection = self.connections.id(slot);
        self.wait_for_room(connection);
        Some(Flow::Wait)
    }

    /// Tells the journal that a message is done.
    fn note_done(&mut self, session: SessionId, packet_id: PacketId) {
        if let Some(kept) = &self.sessions.at(session).kept
            && !planted(Fault::DoneNotWritten)
        {
            self.journal.note(&Entry::Done { uid: kept.uid, packet_id: packet_id.get() });
        }
    }

    /// PUBACK or PUBCOMP: a delivery is over.
    pub fn delivery_acknowledged(&mut self, slot: Slot, ack: &Ack<'_>, stage: Stage, fx: &mut Effects) -> Flow {
        let (session, _) = self.parties(slot);
        if let Some(flow) = self.without_room(slot, session) {
            return flow;
        }
        let Some(outgoing) = self.sessions.at_mut(session).outgoing.as_mut() else { return Flow::Next };
        let expected = outgoing.find(ack.packet_id).is_some_and(|flight| flight.stage == stage);
        if !expected {
            return Flow::Next;
        }
        let flight = outgoing.land(ack.packet_id).expect("it was found");
        self.note_done(session, ack.packet_id);
        if stage == Stage::Puback {
            self.counters.add(Counter::MessagesDelivered, 1);
        }
        if let Some(owed) = flight.owed {
            self.store.release(owed.message);
        }
        self.window_opened(slot, session, fx);
        Flow::Next
    }

    /// PUBREC: the client has a QoS 2 message, or refuses it ([MQTT-4.4.0-2]).
    pub fn delivery_received(&mut self, slot: Slot, ack: &Ack<'_>, fx: &mut Effects) -> Flow {
        let (session, version) = self.parties(slot);
        if let Some(flow) = self.without_room(slot, session) {
            return flow;
        }
        let flight = self.sessions.at_mut(session).outgoing.as_mut().and_then(|o| o.find(ack.packet_id));
        let Some(flight) = flight.filter(|flight| flight.stage != Stage::Puback) else {
            if !ack.reason.is_error() {
                self.write(slot, |out| packets::pubrel_unknown(version, ack.packet_id, out));
            }
            return Flow::Next;
        };
        let first = flight.stage == Stage::Pubrec;
        if first {
            self.counters.add(Counter::MessagesDelivered, 1);
            if let Some(owed) = flight.owed.take_if(|_| !planted(Fault::ResentAfterPubrec)) {
                self.store.release(owed.message);
            }
        }
        if ack.reason.is_error() {
            let outgoing = self.sessions.at_mut(session).outgoing.as_mut();
            outgoing.expect("it has a flight").land(ack.packet_id);
            self.note_done(session, ack.packet_id);
            self.window_opened(slot, session, fx);
            return Flow::Next;
        }
        flight.stage = Stage::Pubcomp;
        let mut ticket = flight.ticket;
        if first && let Some(uid) = self.sessions.at(session).kept.as_ref().map(|kept| kept.uid) {
            let entry = Entry::Received { uid, packet_id: ack.packet_id.get() };
            let Some(written) = self.journal.note_awaited(&entry) else {
                return Flow::Close(ReasonCode::ImplementationSpecificError);
            };
            ticket = if planted(Fault::ReleasedBeforeWritten) { Position(0) } else { written };
            let outgoing = self.sessions.at_mut(session).outgoing.as_mut();
            outgoing.and_then(|o| o.find(ack.packet_id)).expect("it has this flight").ticket = ticket;
        }
        if self.journal.holds(ticket) {
            self.write(slot, |out| packets::pubrel(version, ack.packet_id, out));
        } else if first {
            let connection = self.connections.id(slot);
            self.journal.wait(ticket, Waiter::Release(session, connection, ack.packet_id));
        }
        Flow::Next
    }

    /// An owner has resolved a publish: acknowledgements whose turn has come go out.
    pub fn publish_resolved(&mut self, id: SessionId, number: u32, reason: ReasonCode, fx: &mut Effects) {
        let Some(incoming) = self.sessions.find(id).and_then(|session| session.incoming.as_mut()) else { return };
        incoming.resolve(number, reason);
        self.write_inbound(id, number);
        self.acknowledge_publishes(id, fx);
    }

    /// Tells the journal that a QoS 2 message of a durable session was taken, before its client hears of it.
    fn write_inbound(&mut self, id: SessionId, number: u32) {
        let session = self.sessions.at_mut(id);
        let (Some(incoming), Some(kept)) = (&mut session.incoming, &session.kept) else { return };
        let Some(packet_id) = incoming.unwritten(number) else { return };
        let entry = Entry::Inbound { uid: kept.uid, packet_id: packet_id.get() };
        match self.journal.note_awaited(&entry) {
            Some(ticket) => {
                let ticket = if planted(Fault::InboundNotAwaited) { Position(0) } else { ticket };
                incoming.written(number, ticket);
                if !self.journal.holds(ticket) {
                    self.journal.wait(ticket, Waiter::Incoming(id));
                }
            }
            None if self.journal.is_fenced() => incoming.refuse(|ticket| self.journal.holds(ticket)),
            // No room now: again when it is the next to be acknowledged and there is some.
            None => {
                let due = self.journal.tail();
                self.journal.wait(due, Waiter::Incoming(id));
            }
        }
    }

    /// The journal is fenced: what waits for it is refused.
    pub fn refuse_incoming(&mut self, id: SessionId, fx: &mut Effects) {
        let Some(incoming) = self.sessions.find(id).and_then(|session| session.incoming.as_mut()) else { return };
        incoming.refuse(|ticket| self.journal.holds(ticket));
        self.acknowledge_publishes(id, fx);
    }

    /// Whether clients may publish to this topic: what the switch says of itself is its own.
    pub fn may_publish(&self, topic: &str) -> bool {
        !topic.starts_with("$SYS/") && topic != "$SYS"
    }

    fn parties(&self, slot: Slot) -> (SessionId, wire::mqtt::ProtocolVersion) {
        let conn = self.connections.at(slot);
        (conn.session.expect("an open connection has a session"), conn.version)
    }

    fn window_opened(&mut self, slot: Slot, session: SessionId, fx: &mut Effects) {
        self.pump(session, fx);
        if self.connections.at(slot).fetching {
            self.fetch_more(slot, fx);
        }
    }

    fn publish_by_alias(&mut self, slot: Slot, publish: &Publish<'_>, alias: u16, fx: &mut Effects) -> Flow {
        // [MQTT-3.3.2-9], [MQTT-3.2.2-18].
        if alias == 0 || alias > self.limits.max_topic_alias {
            return Flow::Close(ReasonCode::TopicAliasInvalid);
        }
        let hasher = &self.hasher;
        let conn = self.connections.at_mut(slot);
        let aliases = conn.aliases.get_or_insert_with(|| Box::new(Aliases::new(hasher.clone())));
        if !publish.topic.is_empty() {
            aliases.set(alias, publish.topic);
            return self.publish_to(slot, publish, publish.topic, fx);
        }
        let Some(known) = aliases.resolve(alias) else { return Flow::Close(ReasonCode::ProtocolError) };
        let mut topic = std::mem::take(&mut self.alias_topic);
        topic.clear();
        topic.push_str(known);
        let flow = self.publish_to(slot, publish, &topic, fx);
        self.alias_topic = topic;
        flow
    }

    fn publish_to(&mut self, slot: Slot, publish: &Publish<'_>, topic: &str, fx: &mut Effects) -> Flow {
        // A topic has at most one level more than bytes, so that most are not counted.
        let levels_max = usize::from(self.limits.max_topic_levels);
        if topic.len() >= levels_max && level_count(topic) > levels_max {
            return Flow::Close(ReasonCode::TopicNameInvalid);
        }
        let (id, version) = self.parties(slot);
        let connection = self.connections.id(slot);
        let window = usize::from(self.limits.receive_maximum);
        let mut number = 0;
        if let Some(packet_id) = publish.packet_id {
            let incoming = self.sessions.at_mut(id).incoming.get_or_insert_default();
            if publish.qos == QoS::ExactlyOnce && incoming.repeats(packet_id) {
                // [MQTT-4.3.3-10]: it is here already, or on its way.
                if !incoming.repeat(packet_id, connection) {
                    return Flow::Wait;
                }
                self.acknowledge_publishes(id, fx);
                return Flow::Next;
            }
            let window = window + usize::from(planted(Fault::ReceiveMaximumPlusOne));
            if incoming.unacknowledged() >= window && version == wire::mqtt::ProtocolVersion::V5 {
                return Flow::Close(ReasonCode::ReceiveMaximumExceeded);
            }
            number = incoming.next_number();
            if publish.dup && publish.qos == QoS::ExactlyOnce && version == wire::mqtt::ProtocolVersion::V5 {
                let refused = self.sessions.at(id).kept.as_ref().is_some_and(|k| k.is_refused(packet_id.get()));
                if refused && !planted(Fault::RefusalForgotten) {
                    return self.refuse_again(id, packet_id, connection, fx);
                }
            }
        }
        if !self.may_publish(topic) {
            return self.refuse_publish(id, publish, connection, ReasonCode::NotAuthorized, fx);
        }
        if self.gate.is_some()
            && let Some(flow) = self.not_allowed(id, publish, topic, connection, fx)
        {
            return flow;
        }
        let mut routed = self.route_publish(id, publish, topic, number, fx);
        if routed == Routed::Full {
            self.untold(id);
            return Flow::WaitFor(self.placement.owner(self.placement.topic_hash(topic)));
        }
        if planted(Fault::AcknowledgedEarly) {
            routed = Routed::Done(ReasonCode::Success);
        }
        self.counters.add(Counter::PublishReceived, 1);
        if let Some(packet_id) = publish.packet_id {
            // The session may have ended meanwhile: its own message may have closed it.
            let Some(session) = self.sessions.find(id) else { return Flow::Next };
            let kept = session.kept.is_some();
            let incoming = session.incoming.get_or_insert_default();
            incoming.begin_kept(packet_id, publish.qos, connection, kept);
            if let Routed::Done(reason) = routed {
                self.publish_resolved(id, number, reason, fx);
            }
        }
        Flow::Next
    }

    fn route_publish(
        &mut self,
        id: SessionId,
        publish: &Publish<'_>,
        topic: &str,
        number: u32,
        fx: &mut Effects,
    ) -> Routed {
        self.profile.at(profile::Stage::Frame);
        let mut joined = std::mem::take(&mut self.joined_properties);
        let mut pieces = publish.properties.forwardable();
        let sourced = publish.retain && self.gate.is_some() && self.write_source(id, topic, publish.qos, &mut joined);
        let properties = if sourced {
            publish.properties.forwardable().for_each(|piece| joined.extend_from_slice(piece));
            &joined[..]
        } else {
            match (pieces.next(), pieces.next()) {
                (None, _) => &[][..],
                (Some(only), None) => only,
                _ => {
                    joined.clear();
                    publish.properties.forwardable().for_each(|piece| joined.extend_from_slice(piece));
                    &joined[..]
                }
            }
        };
        let mut header = frames::header(topic, properties.len(), publish.payload);
        header.arrived = self.now.as_nanos();
        let interval = publish.properties.message_expiry_interval;
        header.expires = frames::expires(interval, self.limits.message_expiry_interval, self.now);
        header.publisher = self.sessions.at(id).client_hash;
        header.connection = id.to_word();
        header.number = u64::from(number);
        header.topic_hash = self.placement.topic_hash(topic);
        header.qos = publish.qos as u8;
        header.flags = (u8::from(publish.retain) * frames::RETAIN) | (u8::from(sourced) * FrameHeader::SOURCED);
        if let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id)
            && let Some(kept) = &self.sessions.at(id).kept
        {
            header.flags |= FrameHeader::MARKED;
            header = header.with_packet_id(packet_id.get());
            header.number |= u64::from(kept.count(packet_id.get())) << 32;
        }
        let frame = Frame { header, topic, properties, payload: publish.payload };
        let origin = Origin { shard: self.id, session: header.connection, number };
        let routed = self.publish(&frame, origin, fx);
        self.joined_properties = joined;
        routed
    }

    /// What a publish leads to that a session may not make, or about which somebody else is asked first.
    fn not_allowed(
        &mut self,
        id: SessionId,
        publish: &Publish<'_>,
        topic: &str,
        connection: ConnectionId,
        fx: &mut Effects,
    ) -> Option<Flow> {
        match self.is_allowed(id, publish, topic) {
            Right::Yes => return None,
            Right::Asked => return Some(Flow::Wait),
            Right::No => {}
        }
        Some(match self.deny_action() {
            DenyAction::Reason => self.refuse_publish(id, publish, connection, ReasonCode::NotAuthorized, fx),
            DenyAction::Ignore => self.refuse_publish(id, publish, connection, ReasonCode::Success, fx),
            DenyAction::Disconnect => {
                self.counters.add(Counter::MessagesMatched, 1);
                self.counters.add(Counter::DroppedNotAuthorized, 1);
                Flow::Close(ReasonCode::NotAuthorized)
            }
        })
    }

    /// A publish where clients may not: v5 is told at QoS 1 and 2; 3.1.1 is acknowledged as if it had been passed on
    /// ([MQTT-3.3.5-2] of 3.1.1).
    fn refuse_publish(
        &mut self,
        id: SessionId,
        publish: &Publish<'_>,
        connection: ConnectionId,
        reason: ReasonCode,
        fx: &mut Effects,
    ) -> Flow {
        self.counters.add(Counter::MessagesMatched, 1);
        self.counters.add(Counter::DroppedNotAuthorized, 1);
        if let Some(packet_id) = publish.packet_id {
            let session = self.sessions.at_mut(id);
            // Some shard may have taken it when it came first and was allowed.
            let kept = publish.dup && session.kept.is_some();
            let incoming = session.incoming.get_or_insert_default();
            let number = incoming.begin_kept(packet_id, publish.qos, connection, kept);
            incoming.resolve(number, reason);
            self.acknowledge_publishes(id, fx);
        }
        Flow::Next
    }

    /// A QoS 2 PUBLISH is sent again, and the last one with its identifier was refused: either the client did not hear
    /// that, or it did and this is another message, whose first copy got lost. Who had taken the one must not get it
    /// twice, and the other must not be taken for the one: so it is refused, too, which is right for both.
    fn refuse_again(&mut self, id: SessionId, packet_id: PacketId, connection: ConnectionId, fx: &mut Effects) -> Flow {
        let incoming = self.sessions.at_mut(id).incoming.get_or_insert_default();
        let number = incoming.begin_kept(packet_id, QoS::ExactlyOnce, connection, true);
        incoming.resolve(number, ReasonCode::QuotaExceeded);
        self.acknowledge_publishes(id, fx);
        Flow::Next
    }

    pub(crate) fn acknowledge_publishes(&mut self, id: SessionId, fx: &mut Effects) {
        while let Some(session) = self.sessions.find(id)
            && let Some(incoming) = session.incoming.as_mut()
            && let Some(front) = incoming.front().copied()
        {
            let number = incoming.first_number();
            if front.ticket.is_none() && incoming.unwritten(number).is_some() {
                self.write_inbound(id, number);
                let incoming = self.sessions.at_mut(id).incoming.as_mut();
                if incoming.is_some_and(|incoming| incoming.unwritten(number).is_some()) {
                    return;
                }
                continue;
            }
            if front.ticket.is_none() && front.frees_identifier() {
                if !self.write_refused(id, number, &front) {
                    return;
                }
                continue;
            }
            if !front.ticket.is_none_or(|ticket| self.journal.holds(ticket)) {
                return;
            }
            let (pending, reason) = incoming.acknowledge().expect("its outcome is known");
            let Some(connection) = session.connection.filter(|c| *c == pending.connection) else { continue };
            self.write_acknowledgement(connection.slot, pending.packet_id, pending.qos, reason, fx);
        }
    }

    /// A client of v5 that is told that a QoS 2 message was refused may use its identifier for another one, which shards
    /// that had taken the first must not take for its repeat: not after a crash either, so it is told when that is
    /// written. Where the disk takes nothing it is told at once. False: there is no room now.
    #[must_use]
    fn write_refused(&mut self, id: SessionId, number: u32, refused: &Pending) -> bool {
        let session = self.sessions.at_mut(id);
        let told = session.connection == Some(refused.connection) && self.connections.at(refused.connection.slot).v5();
        let mut ticket = Position(0);
        if let Some(kept) = session.kept.as_mut().filter(|_| told) {
            let packet_id = refused.packet_id.get();
            let count = kept.count_refused(packet_id);
            let entry = Entry::Released { uid: kept.uid, packet_id, count };
            match self.journal.note_awaited(&entry) {
                Some(written) if !self.journal.is_stuck() => ticket = written,
                Some(_) => {}
                None if self.journal.is_fenced() => {}
                None => {
                    self.journal.wait(self.journal.tail(), Waiter::Incoming(id));
                    return false;
                }
            }
            kept.counts.insert(packet_id, count);
        }
        if let Some(incoming) = &mut session.incoming {
            incoming.written(number, ticket);
        }
        if !self.journal.holds(ticket) {
            self.journal.wait(ticket, Waiter::Incoming(id));
        }
        true
    }

    fn write_acknowledgement(
        &mut self,
        slot: Slot,
        packet_id: PacketId,
        qos: QoS,
        reason: ReasonCode,
        fx: &mut Effects,
    ) {
        let conn = self.connections.at(slot);
        let version = conn.version;
        if reason == ReasonCode::QuotaExceeded && !conn.v5() {
            // 3.1.1 has no way to refuse: without an acknowledgement the client sends again.
            return self.close(slot, Cause::Reason(reason), fx);
        }
        self.write(slot, |out| match qos {
            QoS::ExactlyOnce => packets::pubrec(version, packet_id, reason, out),
            _ => packets::puback(version, packet_id, reason, out),
        });
    }
}
