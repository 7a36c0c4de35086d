//! A shard takes up what its journal tells, and begins to serve only when that is known to all owners.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use persistence::Position;
use persistence::store::Source;
use shard::mesh::ShardId;
use shard::{Effects, Instant};
use smallvec::SmallVec;
use wire::entry::{Entry, Stage};
use wire::frame::Frame;
use wire::mqtt::{PacketId, QoS};

use super::entries::Kept;
use super::kept::{self, Present};
use super::state::{self, State};
use super::wait::Own;
use crate::access::Identity;
use crate::counters::Counter;
use crate::delivery::store::MessageId;
use crate::frames;
use crate::routing::parcel::{INTEREST, interest};
use crate::session::outgoing::{self, InFlight, Outgoing, Owed};
use crate::session::will::Will;
use crate::session::{EXPIRY_NEVER, Incoming, Matched, Options, Route, Session, SessionId, Subscription};
use crate::switch::Switch;

/// The request that owners confirm to while a shard recovers: no other has this number.
pub const RECOVERY: u64 = u64::MAX;

/// How soon what is due at a start is looked at: not before all shards have recovered, mostly.
const RECOVERY_LOOK: Duration = Duration::from_millis(5);

/// How far a shard has come with its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// So many owners have not confirmed what it asked for.
    Asking(u32),
    /// It has recovered; other shards may not have.
    Waiting,
    /// All have: connections are accepted.
    Done,
}

/// Messages of a state as they lie in the store, by number, each with one reference that is taken away at the end.
struct Stored {
    rows: Vec<StoredMessage>,
    /// What is asked for next, mostly: who is owed messages is owed them in their order.
    next: usize,
}

#[derive(Clone, Copy)]
struct StoredMessage {
    number: u64,
    id: MessageId,
    bytes: u32,
}

impl Stored {
    /// The message with this number, which is there.
    fn get(&mut self, number: u64) -> StoredMessage {
        let at = match self.rows.get(self.next) {
            Some(row) if row.number == number => self.next,
            _ => self.rows.binary_search_by_key(&number, |row| row.number).expect("who is owed it holds it"),
        };
        self.next = at + 1;
        self.rows[at]
    }
}

impl Switch {
    /// Takes up what was live when the last entry was written. Before the first turn. Its messages lie in `sources`.
    pub fn restore(&mut self, state: State, sources: Vec<Source>) {
        let State { sessions, messages, retained, mut wills, handing, marks, taken, ended, .. } = state;
        ended.into_iter().for_each(|uid| self.journal.note(&Entry::SessionEnded { uid }));
        self.journal.sweeper.live_bytes = live_bytes(&sessions, &messages, &retained);
        let present = Present { wall: self.journal.wall, placement: self.placement.clone() };
        let of_each = |(number, message): (&u64, &state::Message)| (*number, message.frame.len() as u32);
        let numbers: Vec<(u64, u32)> = messages.iter().map(of_each).collect();
        let frames = messages.into_values().map(|message| message.frame).collect();
        let mut stored = Stored { rows: Vec::with_capacity(numbers.len()), next: 0 };
        let ids = self.store.restore(kept::Kept::new(frames, present.clone(), sources));
        for (id, (number, bytes)) in ids.zip(numbers) {
            self.store.set_number(id, number);
            stored.rows.push(StoredMessage { number, id, bytes });
        }
        for (uid, session) in sessions {
            let will = wills.remove(&(uid, session.connections));
            self.restore_session(uid, session, will, &mut stored);
        }
        for ((uid, number), will) in wills {
            let client_hash = will.publisher;
            self.journal.own.insert(Own::Will { uid, number, will: Box::new(Will::restored(will)), client_hash });
        }
        for (message, group) in handing {
            let frame = frames::to_vec(&self.store.frame(stored.get(message).id));
            self.journal.own.insert(Own::Handing { message, group, frame });
        }
        stored.rows.into_iter().for_each(|row| self.store.release(row.id));
        marks.into_iter().for_each(|mark| self.journal.marks.insert(mark));
        taken.into_iter().for_each(|(mark, uids)| self.journal.marks.take(mark, uids));
        for frame in retained.into_values() {
            self.restore_retained(present.frame(&frames::read(&frame)));
        }
    }

    fn restore_retained(&mut self, mut frame: Frame<'_>) {
        frame.header.number = 0;
        if frames::expired(&frame, self.now) {
            return;
        }
        let expires = Instant::from_nanos(frame.header.expires);
        let len = frames::len(&frame);
        let kept = self.retained.set(frame.topic, len, self.now, expires, |out| frames::write(&frame, out));
        if kept.is_err() {
            // The bounds are lower than before.
            self.counters.add(Counter::RetainedRefused, 1);
            self.journal.note(&Entry::RetainedCleared { topic: frame.topic });
        }
    }

    fn restore_session(&mut self, uid: u64, from: state::Session, will: Option<state::Will>, stored: &mut Stored) {
        let now = self.now;
        // A connection that the last start did not see end has ended with it: its time begins now.
        let left_ms = if from.left_ms == 0 { self.journal.wall.ms(now) } else { from.left_ms };
        if from.left_ms == 0 {
            // Written, so that its time does not begin once more with the next start.
            self.journal.note(&Entry::Left { uid, at_ms: left_ms, expiry: from.expiry });
        }
        let expiry = Duration::from_secs(u64::from(from.expiry));
        let ends = match from.expiry {
            EXPIRY_NEVER => Instant::NEVER,
            _ => now.after(self.journal.wall.left(expiry, left_ms, now)),
        };
        let kept = Kept { uid, connections: from.connections, left_ms, ends, counts: from.counts };
        let mut incoming = Incoming::default();
        from.inbound.iter().filter_map(|id| PacketId::new(*id)).for_each(|id| incoming.restore(id));
        let owner = from.owner.as_deref().map(|stored| Arc::new(Identity::restored(&from.client_id, stored)));
        let id = self.sessions.insert(Session {
            client_id: from.client_id.as_str().into(),
            client_hash: self.placement.client_hash(&from.client_id),
            connection: None,
            expiry: from.expiry,
            durable: true,
            subscriptions: SmallVec::new(),
            outgoing: None,
            incoming: (!from.inbound.is_empty()).then(|| Box::new(incoming)),
            will: will.map(|will| Box::new(Will::restored(will))),
            timer: None,
            left: true,
            matched: Matched::default(),
            kept: Some(Box::new(kept)),
            access: owner.map(|identity| Box::new(self.granted_before(identity))),
        });
        self.counters.add(Counter::ClientsDisconnected, 1);
        if !from.owed.is_empty() {
            let outgoing = self.restore_owed(from.owed, stored);
            self.sessions.at_mut(id).outgoing = Some(Box::new(outgoing));
        }
        from.subscriptions.iter().for_each(|subscription| self.restore_subscription(id, subscription));
    }

    fn restore_owed(&mut self, owed: BTreeMap<(u64, u64), state::Owed>, stored: &mut Stored) -> Outgoing {
        let mut outgoing = Outgoing::default();
        // Those of which only PUBREL is left count as delivered already.
        let matched = owed.values().filter(|owed| owed.stage != Stage::Received).count();
        self.counters.add(Counter::MessagesMatched, matched as u64);
        for ((number, group), state::Owed { qos, retain, identifiers, stage, packet_id }) in owed {
            let kept = (stage != Stage::Received).then(|| {
                let StoredMessage { id: message, bytes, .. } = stored.get(number);
                self.store.retain(message);
                let identifiers = (!identifiers.is_empty()).then_some(identifiers);
                Owed { message, bytes, qos, retain, group: (group != 0).then_some(group), identifiers }
            });
            match (PacketId::new(packet_id).filter(|_| stage != Stage::Waiting), kept) {
                (None, Some(kept)) => outgoing.wait(kept),
                (None, None) => {}
                (Some(packet_id), kept) => {
                    let stage = match (stage, qos) {
                        (Stage::Received, _) => outgoing::Stage::Pubcomp,
                        (_, QoS::ExactlyOnce) => outgoing::Stage::Pubrec,
                        _ => outgoing::Stage::Puback,
                    };
                    let flight =
                        InFlight { packet_id, stage, owed: kept, message: number, ticket: Position(0), fresh: false };
                    outgoing.restore(flight);
                }
            }
        }
        outgoing
    }

    fn restore_subscription(&mut self, id: SessionId, from: &state::Subscription) {
        let filter = self.filters.insert(&from.filter);
        let options = Options::new(from.qos, from.no_local, from.retain_as_published)
            .with_wildcard(from.filter.contains(['+', '#']))
            .with_told(from.told);
        let key = (!from.group.is_empty()).then(|| self.group_key(&from.group, &from.filter));
        let route = key.map_or(Route::Idle, |key| Route::Shared(key, 0));
        let subscriptions = &mut self.sessions.at_mut(id).subscriptions;
        subscriptions.push(Subscription { filter, identifier: from.identifier, options, route });
        let index = subscriptions.len() - 1;
        self.counters.add(Counter::Subscriptions, 1);
        match key {
            Some(key) => self.join_group(id, index, &from.group, key),
            None => self.route_subscription(id, index),
        }
    }

    /// Asks the owners for what was restored.
    pub(crate) fn start_recovery(&mut self, fx: &mut Effects) {
        let wanted: Vec<_> = self.filters.iter().map(|(id, _, _)| id).collect();
        let mut asked = 0;
        for id in wanted {
            let node = self.filters.value(id);
            let groups: Vec<u64> = node.groups.iter().map(|group| group.key).collect();
            if node.wanted() {
                let filter = self.filters.filter(id).to_owned();
                asked += self.ask_owners(&filter, RECOVERY, fx);
            }
            for key in groups {
                asked += self.report_group(id, key, RECOVERY, fx);
            }
        }
        self.recovery = Recovery::Asking(asked);
        for row in 0..self.sessions.rows() {
            if let Some(id) = self.sessions.in_row(row) {
                self.time_restored(id, fx);
            }
        }
        self.recover(fx);
    }

    /// An owner knows one of the filters that were restored.
    pub(crate) fn recovery_confirmed(&mut self, fx: &mut Effects) {
        if let Recovery::Asking(left) = &mut self.recovery {
            *left -= 1;
        }
        self.recover(fx);
    }

    /// Goes on with the start, as far as the owners and the other shards are.
    fn recover(&mut self, fx: &mut Effects) {
        if self.recovery == Recovery::Asking(0) {
            self.recovery = Recovery::Waiting;
            for shard in (0..self.shards).map(ShardId).filter(|shard| *shard != self.id) {
                self.courier.send(&mut fx.tx, shard, INTEREST, &[interest::RECOVERED, 0, 0, 0], &[]);
            }
        }
        if self.recovery == Recovery::Waiting && self.recovered + 1 == self.shards {
            self.recovery = Recovery::Done;
            self.publish_restored(fx);
            self.arm_accepts(fx);
        }
    }

    /// Another shard has recovered.
    pub(crate) fn other_recovered(&mut self, fx: &mut Effects) {
        self.recovered += 1;
        self.recover(fx);
    }

    /// Wills that were fired, and messages of groups, go out once everybody who is owed them is known to their owners.
    fn publish_restored(&mut self, fx: &mut Effects) {
        let keys: Vec<usize> = self.journal.own.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.queue_kept(key));
        self.run_own(fx);
    }

    /// Sets the timer of a session without a connection: for its end, and for its will.
    pub(crate) fn time_restored(&mut self, id: SessionId, fx: &mut Effects) {
        let now = self.now;
        let session = self.sessions.at(id);
        let Some(kept) = &session.kept else { return };
        let delay = session.will.as_ref().map(|will| Duration::from_secs(u64::from(will.delay)));
        let due = delay.map_or(Instant::NEVER, |delay| {
            // Not before everybody who is owed it is known to its owner.
            now.after(self.journal.wall.left(delay, kept.left_ms, now).max(RECOVERY_LOOK))
        });
        let due = due.min(kept.ends);
        if due != Instant::NEVER {
            self.set_session_timer(id, due.max(now.after(RECOVERY_LOOK)), fx);
        }
    }
}

/// About what a state takes in a log.
fn live_bytes(
    sessions: &BTreeMap<u64, state::Session>,
    messages: &BTreeMap<u64, state::Message>,
    retained: &HashMap<Box<str>, Vec<u8>, ahash::RandomState>,
) -> u64 {
    let record = |body: usize| persistence::RecordHeader::record_bytes(body);
    let of_session = |session: &state::Session| {
        let small = session.owed.len() + session.counts.len() + session.inbound.len() + session.subscriptions.len();
        record(session.client_id.len() + 32) + small as u64 * 64
    };
    sessions.values().map(of_session).sum::<u64>()
        + messages.values().map(|message| record(message.frame.len() + 8)).sum::<u64>()
        + retained.values().map(|frame| record(frame.len())).sum::<u64>()
}
