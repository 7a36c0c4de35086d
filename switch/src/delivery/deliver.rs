//! Fan-out on one shard: a frame, matched against this shard's filters, to feeds, outboxes and queues.

use persistence::{Position, Refused};
use shard::Effects;
use shard::buffer::Blob;
use shard::profile::Stage;
use wire::entry::{self, Entry, Owners};
use wire::frame::Frame;
use wire::mqtt::{PublishImage, PublishOffsets, QoS};
use wire::websocket::{FrameHeader, Opcode};

use super::fanout::{Fanout, Identifiers, Match};
use super::feed::{Feed, FeedId, Image};
use super::flush::Job;
use crate::access::live::{delivered, may_receive};
use crate::counters::Counter;
use crate::frames;
use crate::planted::{Fault, planted};
use crate::session::outgoing::Owed;
use crate::session::{Options, Session, SessionId};
use crate::switch::Switch;
use crate::topic::tree::FilterId;

/// Which groups of this shard a frame is for.
#[derive(Clone, Copy)]
pub enum Picks<'a> {
    /// All that match: this shard is the only one.
    All,
    /// Those that the owner picked, by key, as little-endian words.
    Listed(&'a [u8]),
    /// Those, and no other subscriber.
    Only(&'a [u8]),
}

/// What became of a frame on this shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Somebody subscribes.
    pub matched: bool,
    /// A session that is owed it could not keep it: the memory for messages is full, or the journal.
    pub refused: bool,
    /// What must hold before it is acknowledged.
    pub ticket: Position,
}

impl Switch {
    /// Delivers a frame to all subscribers on this shard.
    pub fn deliver(&mut self, frame: &Frame<'_>, blob: Option<&Blob>, picks: Picks<'_>, fx: &mut Effects) -> Delivered {
        if frames::is_sourced(frame) {
            let (_, plain) = frames::split_source(frame);
            return self.deliver(&plain, blob, picks, fx);
        }
        if matches!(picks, Picks::Only([])) {
            // The owner of a message that is for another shard's member: its own memory does not matter.
            return Delivered::default();
        }
        if frame.header.qos == 2 && !self.store.room(frames::len(frame)) {
            return Delivered { matched: true, refused: true, ticket: Position(0) };
        }
        if let Some(mark) = entry::Mark::of(frame) {
            return self.deliver_marked(mark, frame, blob, picks, fx);
        }
        self.deliver_new(frame, blob, picks, &[], fx)
    }

    /// Delivers a message whose repeats can be told: once.
    fn deliver_marked(
        &mut self,
        mark: entry::Mark,
        frame: &Frame<'_>,
        blob: Option<&Blob>,
        picks: Picks<'_>,
        fx: &mut Effects,
    ) -> Delivered {
        if self.journal.marks.contains(&mark) && !planted(Fault::MarksForgotten) {
            // It was taken before, and what it waits for was written before now.
            return Delivered { matched: true, refused: false, ticket: self.journal.tail() };
        }
        let taken = self.journal.marks.taken_by(&mark);
        let delivered = self.deliver_new(frame, blob, picks, &taken, fx);
        if !delivered.refused && delivered.matched {
            self.journal.marks.insert(mark);
        } else if !taken.is_empty() {
            self.journal.marks.take(mark, taken);
        }
        delivered
    }

    /// Delivers a message to all subscribers on this shard but the durable sessions `taken`, which had it before.
    fn deliver_new(
        &mut self,
        frame: &Frame<'_>,
        blob: Option<&Blob>,
        picks: Picks<'_>,
        taken: &[u64],
        fx: &mut Effects,
    ) -> Delivered {
        self.profile.at(Stage::Match);
        let mut fanout = self.fanout.take().unwrap_or_default();
        self.tick += 1;
        fanout.begin(self.tick);
        self.filters.matches(frame.topic, &mut fanout.filters);
        let mut delivered = Delivered::default();
        for index in 0..fanout.filters.len() {
            delivered.matched |= self.match_filter(fanout.filters[index], frame, picks, &mut fanout);
        }
        if let Picks::Listed(keys) | Picks::Only(keys) = picks
            && fanout.groups < keys.len() / 8
        {
            self.return_unmatched(keys, frame, &fanout);
        }
        if !taken.is_empty() {
            fanout.leave_out(|id| self.sessions.at(id).kept.as_ref().is_some_and(|kept| taken.contains(&kept.uid)));
        }
        if !fanout.matches.is_empty() {
            self.profile.at(Stage::Encode);
            if frame.header.qos > 0 && self.journal.is_on() {
                match self.commit_owed(frame, &mut fanout) {
                    Ok(ticket) => delivered.ticket = ticket,
                    Err(_) => (fanout.unkept, delivered.refused) = (true, true),
                }
                if fanout.unkept && frame.header.qos == 2 {
                    // All or nothing, so that a repeat finds nothing done.
                    self.counters.add(Counter::JournalRefused, 1);
                    fanout.matches.clear();
                }
            }
        }
        for index in 0..fanout.matches.len() {
            delivered.refused |= !self.deliver_to(index, frame, blob, &mut fanout, fx);
        }
        if let Some(stored) = fanout.stored.take() {
            self.store.release(stored);
        }
        self.fanout = Some(fanout);
        delivered
    }

    /// Writes that durable sessions are owed the message, once for all of them. The ticket; 0 where none is.
    fn commit_owed(&mut self, frame: &Frame<'_>, fanout: &mut Fanout) -> Result<Position, Refused> {
        let bytes = frames::len(frame);
        let mut owners = std::mem::take(&mut self.journal.owners);
        let mut identifiers = std::mem::take(&mut self.journal.identifiers);
        owners.clear();
        for (index, found) in fanout.matches.iter().enumerate() {
            let session = self.sessions.at(found.session);
            let qos = found.qos.min(frames::qos(frame));
            let Some(kept) = session.kept.as_ref().filter(|_| qos > QoS::AtMostOnce) else { continue };
            if !self.queue_takes(session, bytes) {
                continue;
            }
            identifiers.clear();
            let of_match = fanout.identifiers_of(index as u32, found.identifier);
            of_match.iter().for_each(|identifier| entry::Identifiers::push(&mut identifiers, *identifier));
            let owner = entry::Owner {
                uid: kept.uid,
                group: found.group.unwrap_or(0),
                qos,
                retain: found.retain_as_published && frames::retain(frame),
                identifiers: entry::Identifiers::new(&identifiers),
            };
            Owners::push(&mut owners, &owner);
        }
        let written = if owners.is_empty() {
            Ok(Position(0))
        } else if fanout.stored.is_none() && !self.store.room(bytes) {
            Err(Refused::Full)
        } else {
            fanout.number = self.journal.next_message();
            let kept = self.journal.wall.kept(frame);
            self.journal.commit(&Entry::Owed { message: fanout.number, owners: Owners::new(&owners), frame: kept })
        };
        (self.journal.owners, self.journal.identifiers) = (owners, identifiers);
        written
    }

    /// Whether a session's queue takes one more message.
    fn queue_takes(&self, session: &Session, bytes: usize) -> bool {
        session.outgoing.as_ref().is_none_or(|outgoing| {
            outgoing.waiting().len() < self.limits.max_queued_messages as usize
                && outgoing.waiting_bytes() + bytes as u64 <= self.limits.max_queued_bytes
        })
    }

    /// Delivers a retained message to one new subscription ([MQTT-3.3.1-9]; RETAIN is 1), unless its own client
    /// published it and does not want that ([MQTT-3.8.3-3]).
    pub fn deliver_retained(
        &mut self,
        session: SessionId,
        options: Options,
        identifier: u32,
        frame: &Frame<'_>,
        blob: Option<&Blob>,
        fx: &mut Effects,
    ) {
        if frames::is_sourced(frame) {
            let (source, plain) = frames::split_source(frame);
            if self.may_still_publish(source, &plain) {
                self.deliver_retained(session, options, identifier, &plain, blob, fx);
            }
            return;
        }
        if options.no_local() && self.sessions.at(session).client_hash == frame.header.publisher {
            return;
        }
        let qos = options.qos().min(frames::qos(frame));
        if !options.told() && !self.may_receive_retained(session, frame, qos) {
            return;
        }
        let identifiers = if identifier == 0 { Identifiers::None } else { Identifiers::One([identifier]) };
        self.counters.add(Counter::MessagesMatched, 1);
        if qos == QoS::AtMostOnce {
            let connection = self.sessions.at(session).connection.expect("retained messages go to connections");
            return self.write_retained0(connection.slot, frame, &identifiers);
        }
        let found = Match { session, qos, retain_as_published: true, identifier, group: None };
        let mut fanout = self.fanout.take().unwrap_or_default();
        fanout.begin(0);
        if self.journal.is_on() && self.sessions.at(session).kept.is_some() {
            // A match of its own, for the entry. RETAIN is 1 whatever the publish said.
            fanout.matches.push(found);
            let header = wire::frame::FrameHeader { flags: frame.header.flags | frames::RETAIN, ..frame.header };
            fanout.unkept = self.commit_owed(&Frame { header, ..*frame }, &mut fanout).is_err();
        }
        self.owe(&found, frame, blob, (qos, true, &identifiers), &mut fanout, fx);
        if let Some(stored) = fanout.stored.take() {
            self.store.release(stored);
        }
        self.fanout = Some(fanout);
    }

    /// Appends to the feeds of a filter and collects its other subscribers. Whether there is any.
    fn match_filter(&mut self, id: FilterId, frame: &Frame<'_>, picks: Picks<'_>, fanout: &mut Fanout) -> bool {
        let only = matches!(picks, Picks::Only(_));
        let feeds = if only { 0 } else { self.filters.value(id).feeds.len() };
        for index in 0..feeds {
            let (image, feed) = self.filters.value(id).feeds[index];
            self.append_to_feed(feed, image, frame);
        }
        let node = self.filters.value_mut(id);
        let direct = if only { &[] } else { &node.direct[..] };
        // A subscription of QoS 0 whose client is away matches, too: 0x10 would say that nobody subscribes.
        let mut matched = feeds > 0 || !direct.is_empty() || (!only && node.idle > 0);
        for subscriber in direct {
            let session = self.sessions.at_mut(subscriber.session);
            if !planted(Fault::NoLocalIgnored)
                && subscriber.options.no_local()
                && session.client_hash == frame.header.publisher
            {
                continue;
            }
            if subscriber.options.judged()
                && !may_receive(self.gate.as_deref(), session, frame.topic, delivered(frame, subscriber.options.qos()))
            {
                continue;
            }
            fanout.collect(subscriber, &mut session.matched);
        }
        for group in &mut node.groups {
            let picked = match picks {
                Picks::All => true,
                Picks::Listed(keys) | Picks::Only(keys) => {
                    keys.chunks_exact(8).any(|key| key == group.key.to_le_bytes())
                }
            };
            if !picked {
                continue;
            }
            matched = true;
            fanout.groups += 1;
            let count = group.members.len();
            // Connected members first, in rotation; else the next one, which keeps it if its session can.
            let next = (0..count)
                .map(|step| (group.next as usize + step) % count)
                .find(|member| self.sessions.at(group.members[*member].session).connection.is_some())
                .unwrap_or(group.next as usize % count);
            group.next = (next + 1) as u32;
            fanout.matches.push(Match::of(&group.members[next], Some(group.key)));
        }
        matched
    }

    /// The owner picked groups that have no member here any more: it picks again.
    fn return_unmatched(&mut self, keys: &[u8], frame: &Frame<'_>, fanout: &Fanout) {
        for key in keys.chunks_exact(8) {
            let key = u64::from_le_bytes(key.try_into().expect("eight bytes"));
            if !fanout.matches.iter().any(|found| found.group == Some(key)) {
                self.return_to_owner(key, frame);
            }
        }
    }

    /// Encodes a frame once for all members of a feed.
    fn append_to_feed(&mut self, id: FeedId, image: Image, frame: &Frame<'_>) {
        self.profile.at(Stage::Encode);
        let feed = &mut self.feeds[id.0 as usize];
        let members = feed.members().len() as u64;
        let identifiers = [image.subscription_identifier];
        let packet = PublishImage {
            version: if image.v5 { wire::mqtt::ProtocolVersion::V5 } else { wire::mqtt::ProtocolVersion::V311 },
            dup: false,
            qos: QoS::AtMostOnce,
            retain: image.retain_as_published && frames::retain(frame),
            topic: frame.topic,
            packet_id: 0,
            topic_alias: None,
            message_expiry: frames::expiry_left(frame, self.now),
            properties: frame.properties,
            subscription_identifiers: if image.subscription_identifier == 0 { &[] } else { &identifiers },
            payload: frame.payload,
        };
        let mut dropped = 0;
        let stamp = (self.tick, self.now);
        let len = packet.encoded_len();
        let appended = if image.framed {
            // One frame each: what many subscribers share is ready to be sent.
            let header = FrameHeader::new(Opcode::Binary, len);
            let header = header.bytes();
            feed.append(&mut self.arena, header.len() + len, stamp, &mut dropped, |out| {
                let (front, out) = out.split_at_mut(header.len());
                front.copy_from_slice(header);
                let PublishOffsets { packet_id, message_expiry } = packet.encode(out);
                PublishOffsets { packet_id, message_expiry: message_expiry.map(|at| at + header.len() as u32) }
            })
        } else {
            feed.append(&mut self.arena, len, stamp, &mut dropped, |out| packet.encode(out))
        };
        while feed.bytes() > self.limits.max_feed_bytes && feed.chunks() > 1 {
            dropped += feed.drop_oldest(&mut self.arena);
        }
        self.counters.add(Counter::MessagesMatched, members);
        self.counters.add(Counter::DroppedLagging, dropped);
        match appended {
            Some(()) => self.queue_feed(id),
            None => self.counters.add(Counter::DroppedFeedMemory, members),
        }
    }

    /// Delivers to one subscriber. False: it is owed the message and could not keep it.
    fn deliver_to(
        &mut self,
        index: usize,
        frame: &Frame<'_>,
        blob: Option<&Blob>,
        fanout: &mut Fanout,
        fx: &mut Effects,
    ) -> bool {
        let found = fanout.matches[index];
        let mut qos = found.qos.min(frames::qos(frame));
        if planted(Fault::QosRaised) {
            qos = found.qos.max(frames::qos(frame));
        }
        let retain = found.retain_as_published && frames::retain(frame);
        self.counters.add(Counter::MessagesMatched, 1);
        let identifiers = fanout.identifiers_of(index as u32, found.identifier);
        if qos == QoS::AtMostOnce {
            match self.sessions.at(found.session).connection {
                Some(connection) if identifiers.len() <= 1 => {
                    self.write_template(connection.slot, &found, frame, (qos, retain), 0, fanout)
                }
                Some(connection) => self.write_publish0(connection.slot, frame, retain, &identifiers),
                None => self.counters.add(Counter::DroppedOffline, 1),
            }
            return true;
        }
        let session = self.sessions.at_mut(found.session);
        let keep = session.durable || found.group.is_some();
        let outgoing = session.outgoing.get_or_insert_default();
        if let Some(connection) = session.connection {
            let conn = self.connections.at(connection.slot);
            if outgoing.waiting().is_empty()
                && outgoing.all_sent()
                && outgoing.in_flight().len() < usize::from(conn.inflight_max)
                && conn.writable()
                && conn.outbox.as_ref().is_none_or(|outbox| outbox.len() < crate::limits::OUTBOX_FILL_BYTES)
                && identifiers.len() <= 1
                && conn.alias_max == 0
                && conn.packet_bytes_max == u32::MAX
                && !keep
            {
                let packet_id = outgoing.launch(qos, None);
                self.write_template(connection.slot, &found, frame, (qos, retain), packet_id.get(), fanout);
                return true;
            }
        }
        self.owe(&found, frame, blob, (qos, retain, &identifiers), fanout, fx)
    }

    /// Queues a QoS 1 or 2 message for a session, and sends it if the window is open.
    fn owe(
        &mut self,
        found: &Match,
        frame: &Frame<'_>,
        blob: Option<&Blob>,
        (qos, retain, identifiers): (QoS, bool, &[u32]),
        fanout: &mut Fanout,
        fx: &mut Effects,
    ) -> bool {
        let bytes = frames::len(frame);
        let session = self.sessions.at(found.session);
        if !self.queue_takes(session, bytes) {
            self.counters.add(Counter::DroppedQueueFull, u64::from(!planted(Fault::DropNotCounted)));
            return true;
        }
        if fanout.unkept && session.kept.is_some() {
            self.counters.add(Counter::DroppedJournal, 1);
            return false;
        }
        let message = match fanout.stored {
            Some(message) => {
                self.store.retain(message);
                message
            }
            None if !self.store.room(bytes) => {
                self.counters.add(Counter::DroppedQueueMemory, 1);
                return false;
            }
            None => {
                let message = self.store.put(frame, blob);
                self.store.set_number(message, fanout.number);
                self.store.retain(message);
                fanout.stored = Some(message);
                message
            }
        };
        let identifiers = (!identifiers.is_empty()).then(|| identifiers.into());
        let outgoing = self.sessions.at_mut(found.session).outgoing.get_or_insert_default();
        outgoing.wait(Owed { message, bytes: bytes as u32, qos, retain, group: found.group, identifiers });
        self.pump(found.session, fx);
        true
    }

    /// Writes the frame from a template that all subscribers of one kind share.
    fn write_template(
        &mut self,
        slot: shard::Slot,
        found: &Match,
        frame: &Frame<'_>,
        (qos, retain): (QoS, bool),
        packet_id: u16,
        fanout: &mut Fanout,
    ) {
        let conn = self.connections.at(slot);
        let own = found.identifier != 0 && !planted(Fault::IdentifierOfAnother);
        let special = own || conn.alias_max > 0 || conn.packet_bytes_max != u32::MAX;
        if special && qos == QoS::AtMostOnce {
            let identifiers = [found.identifier];
            let identifiers = if found.identifier == 0 { &[][..] } else { &identifiers[..] };
            return self.write_publish0(slot, frame, retain, identifiers);
        }
        let v5 = conn.v5();
        let version = conn.version;
        let template = &mut fanout.templates[usize::from(v5) << 3 | (qos as usize) << 1 | usize::from(retain)];
        if special || template.tick != fanout.tick {
            // A template with a Subscription Identifier serves one subscriber only.
            template.tick = if special { 0 } else { fanout.tick };
            let identifiers = [found.identifier];
            let packet = PublishImage {
                version,
                dup: false,
                qos,
                retain,
                topic: frame.topic,
                packet_id,
                topic_alias: None,
                message_expiry: frames::expiry_left(frame, self.now),
                properties: frame.properties,
                subscription_identifiers: if found.identifier == 0 { &[] } else { &identifiers },
                payload: frame.payload,
            };
            template.bytes.resize(packet.encoded_len(), 0);
            template.packet_id_at = packet.encode(&mut template.bytes).packet_id.unwrap_or(0) as usize;
        }
        if qos != QoS::AtMostOnce {
            let at = template.packet_id_at;
            template.bytes[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        self.write_encoded(slot, qos, &template.bytes);
    }

    /// A feed has something for its members.
    pub fn queue_feed(&mut self, id: FeedId) {
        let feed: &mut Feed = &mut self.feeds[id.0 as usize];
        feed.flush.again = true;
        if !feed.flush.queued {
            feed.flush.queued = true;
            self.flush.push(Job::Feed(id));
        }
    }
}
