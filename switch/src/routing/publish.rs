//! A publish on its way: from the publisher's shard to the topic's owner, and from there to the shards that want it.
//!
//! Invariants:
//! - A publish is routed from one place at a time: straight from its connection, or from the head of a ring toward its
//!   owner, where it stays, marked per target served, until all interested rings took it.
//! - While the ring from this shard to itself holds publishes, those of local connections queue up behind them.
//! - A shard holds a credit for each publish of QoS 1 or 2 that an owner has not resolved; the ring back has a place
//!   for each, so that an acknowledgement never waits.

use persistence::{Position, Refused};
use shard::Effects;
use shard::buffer::Blob;
use shard::mesh::{Inbound, Outbound, ShardId};
use shard::profile::Stage;
use wire::entry::Entry;
use wire::frame::{Frame, FrameHeader};
use wire::mqtt::ReasonCode;

use super::parcel::{self, Body, DELIVER, PUBLISH, deliver};
use super::resolve::Unresolved;
use super::shard_set::ShardSet;
use crate::counters::Counter;
use crate::delivery::deliver::Picks;
use crate::frames;
use crate::journal::wait::Waiter;
use crate::limits::{PARCEL_INLINE_MAX, PARCELS_PER_TURN};
use crate::planted::{Fault, planted};
use crate::switch::Switch;
use crate::topic::shared::Group;

/// Who wants the topics of a filter, as their owner knows it.
#[derive(Default)]
pub struct Interest {
    /// Shards with a subscriber, this one not among them: it looks at its own filters.
    pub shards: ShardSet,
    /// Shared-subscription groups.
    pub groups: Vec<(u64, Group)>,
}

impl Interest {
    /// Whether nobody wants it.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty() && self.groups.is_empty()
    }
}

/// Where a publish came from, for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The publisher's shard.
    pub shard: ShardId,
    /// The session there, as a word; 0: the switch itself.
    pub session: u64,
    /// The publish's number in that session.
    pub number: u32,
}

/// What became of a publish for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// It is resolved.
    Done(ReasonCode),
    /// Other shards have it; its acknowledgement follows.
    Pending,
    /// A ring is full, and nothing was done that must not be repeated.
    Full,
}

/// The publish at the head of a ring, partly served.
#[derive(Default)]
pub struct Progress {
    started: bool,
    matched: bool,
    refused: bool,
    /// Its number among the publishes of this owner.
    number: u64,
    /// Shards that still must get it, and group keys with the shard picked for each.
    targets: ShardSet,
    picks: Vec<(ShardId, u64)>,
    /// The words of the parcel at hand.
    words: Vec<u64>,
    pending: Option<usize>,
    /// It is for the picked groups alone: a member that had it has gone.
    only: bool,
}

impl Switch {
    /// Routes a publish of a connection of this shard, or of the switch itself. `Full`: try again later.
    pub fn publish(&mut self, frame: &Frame<'_>, origin: Origin, fx: &mut Effects) -> Routed {
        let owner = self.placement.owner(frame.header.topic_hash);
        let acknowledged = frame.header.qos > 0;
        if acknowledged && self.credits[usize::from(owner.0)] == 0 {
            return Routed::Full;
        }
        let routed = if owner == self.id && self.queued_to_self == 0 {
            self.publish_straight(frame, origin, fx)
        } else {
            self.forward(frame, owner, fx)
        };
        if acknowledged && routed == Routed::Pending {
            self.credits[usize::from(owner.0)] -= 1;
        }
        routed
    }

    /// Takes publishes of one shard off its ring, as far as all interested rings have room. Whether some are left that
    /// could go on now.
    pub fn drain_publishes(&mut self, source: ShardId, rx: &mut Inbound, fx: &mut Effects) -> bool {
        for _ in 0..PARCELS_PER_TURN {
            self.profile.at(Stage::Ring);
            let Some(parcel) = rx.peek(source, PUBLISH) else { return false };
            let frame = frames::read(parcel::body(&parcel, 1));
            let only = Some(parcel::word(&parcel, 0)).filter(|group| *group != 0);
            let header = frame.header;
            let origin = Origin { shard: source, session: header.connection, number: header.number as u32 };
            let mut progress = std::mem::take(&mut self.heads[usize::from(source.0)]);
            if !progress.started {
                self.aim(&frame, only, &mut progress);
            }
            let routed = self.route(&frame, parcel.blob, origin, &mut progress, fx);
            if routed == Routed::Full {
                self.heads[usize::from(source.0)] = progress;
                return false;
            }
            if let Routed::Done(reason) = routed
                && header.qos > 0
            {
                self.acknowledge(origin, reason, fx);
            }
            progress.reset();
            self.heads[usize::from(source.0)] = progress;
            rx.release(source, PUBLISH);
            if source == self.id {
                self.queued_to_self -= 1;
            }
        }
        true
    }

    /// As owner, and nothing of this shard queues before it.
    fn publish_straight(&mut self, frame: &Frame<'_>, origin: Origin, fx: &mut Effects) -> Routed {
        let mut progress = self.straight.take().unwrap_or_default();
        self.aim(frame, None, &mut progress);
        let bytes = frames::len(frame).min(PARCEL_INLINE_MAX) + 8 * (2 + progress.picks.len());
        let room = progress.targets.iter().all(|shard| fx.tx.room(shard, DELIVER, bytes));
        let routed =
            if room { self.route(frame, None, origin, &mut progress, fx) } else { self.forward(frame, self.id, fx) };
        assert!(!room || routed != Routed::Full, "all rings had room");
        progress.reset();
        self.straight = Some(progress);
        routed
    }

    /// Writes a publish into the ring toward its owner.
    fn forward(&mut self, frame: &Frame<'_>, owner: ShardId, fx: &mut Effects) -> Routed {
        if !put_frame(&mut fx.tx, owner, parcel::PUBLISH, &[0], frame, None) {
            return Routed::Full;
        }
        if owner == self.id {
            self.queued_to_self += 1;
        }
        Routed::Pending
    }

    /// Finds out who gets a publish: all that match, or `only` this group.
    fn aim(&mut self, frame: &Frame<'_>, only: Option<u64>, progress: &mut Progress) {
        if self.shards == 1 {
            return;
        }
        self.profile.at(Stage::Match);
        let mut filters = std::mem::take(&mut self.aimed);
        filters.clear();
        self.interest.matches(frame.topic, &mut filters);
        for id in &filters {
            let interest = self.interest.value_mut(*id);
            if only.is_none() {
                progress.targets.extend(&interest.shards);
            }
            for (key, group) in &mut interest.groups {
                if only.is_some_and(|only| only != *key) {
                    continue;
                }
                let Some((shard, _)) = group.pick() else { continue };
                if progress.picks.len() < PICKS_MAX {
                    progress.picks.push((shard, *key));
                    progress.targets.insert(shard);
                } else {
                    self.counters.add(Counter::MessagesMatched, 1);
                    self.counters.add(Counter::DroppedNoMember, 1);
                }
            }
        }
        if only.is_some() && progress.picks.is_empty() {
            // The group has no member anywhere.
            self.counters.add(Counter::MessagesMatched, 1);
            self.counters.add(Counter::DroppedNoMember, 1);
        }
        progress.targets.remove(self.id);
        progress.only = only.is_some();
        self.aimed = filters;
    }

    /// Serves a publish: what is retained, this shard's subscribers, the other shards.
    fn route(
        &mut self,
        frame: &Frame<'_>,
        blob: Option<&Blob>,
        origin: Origin,
        progress: &mut Progress,
        fx: &mut Effects,
    ) -> Routed {
        if !progress.started {
            self.route_here(frame, blob, origin, progress, fx);
        }
        for shard in progress.targets.iter() {
            self.profile.at(Stage::Ring);
            let only = if progress.only { deliver::ONLY_GROUPS } else { 0 };
            let picks = progress.picks.iter().filter(|(picked, _)| *picked == shard).map(|(_, key)| *key);
            let words = &mut progress.words;
            words.clear();
            words.extend([deliver::FRAME | only, progress.number]);
            words.extend(picks);
            words[0] |= (words.len() as u64 - 2) << 16;
            if !put_frame(&mut fx.tx, shard, DELIVER, words, frame, blob) {
                return Routed::Full;
            }
            progress.targets.remove(shard);
            let toward = &mut self.book.toward[usize::from(shard.0)];
            toward.written += 1;
            if let Some(publish) = progress.pending {
                if toward.awaited.is_empty() && !planted(Fault::ResolutionUnwatched) {
                    fx.tx.has_resolved(shard, toward.written);
                }
                toward.awaited.push_back((toward.written, publish));
                self.book.pending[publish].waits += 1;
            }
        }
        match progress.pending.take() {
            None => Routed::Done(progress.reason()),
            Some(publish) => {
                // It waited for the routing itself; the shards have not been heard in between.
                self.book.pending[publish].waits -= 1;
                Routed::Pending
            }
        }
    }

    /// The part of routing that happens on this shard, once.
    fn route_here(
        &mut self,
        frame: &Frame<'_>,
        blob: Option<&Blob>,
        origin: Origin,
        progress: &mut Progress,
        fx: &mut Effects,
    ) {
        progress.started = true;
        self.book.routed += 1;
        progress.number = self.book.routed;
        let mut ticket = Position(0);
        if frames::retain(frame) && !progress.only {
            match self.retain(frame, progress.number) {
                Ok(written) => ticket = written,
                Err(_) => return self.refuse_here(progress),
            }
        }
        let delivered = if self.shards == 1 {
            self.deliver(frame, blob, Picks::All, fx)
        } else {
            let mut keys = std::mem::take(&mut self.picked_here);
            keys.clear();
            for (_, key) in progress.picks.iter().filter(|(shard, _)| *shard == self.id) {
                keys.extend_from_slice(&key.to_le_bytes());
            }
            let picks = if progress.only { Picks::Only(&keys) } else { Picks::Listed(&keys) };
            let delivered = self.deliver(frame, blob, picks, fx);
            self.picked_here = keys;
            delivered
        };
        progress.matched = delivered.matched || !progress.targets.is_empty();
        progress.refused = delivered.refused;
        ticket = ticket.max(delivered.ticket);
        let holds = self.journal.holds(ticket) || planted(Fault::AcknowledgedBeforeWritten);
        if frame.header.qos > 0 && (!holds || !progress.targets.is_empty()) {
            let reason = progress.reason();
            let unmatched = if delivered.matched { 0 } else { progress.targets.iter().count() as u32 };
            let waits = 1 + u32::from(!holds);
            let key = self.book.pending.insert(Unresolved { origin, waits, reason, unmatched });
            progress.pending = Some(key);
            if !holds {
                self.journal.wait(ticket, Waiter::Publish(key));
            }
        }
    }

    /// A publish that the journal cannot keep as its topic's retained message goes to nobody.
    fn refuse_here(&mut self, progress: &mut Progress) {
        self.counters.add(Counter::JournalRefused, 1);
        progress.targets = ShardSet::default();
        progress.picks.clear();
        (progress.matched, progress.refused) = (true, true);
    }

    /// Keeps or clears the retained message of a topic ([MQTT-3.3.1-5], [MQTT-3.3.1-6]). It carries the number of its
    /// publish, so that who had it live does not get it again.
    fn retain(&mut self, frame: &Frame<'_>, number: u64) -> Result<Position, Refused> {
        self.profile.at(Stage::Match);
        let ticket = self.write_retained(frame)?;
        if frame.payload.is_empty() && !planted(Fault::RetainedClearedLate) {
            self.retained.clear(frame.topic);
            return Ok(ticket);
        }
        let frame = Frame { header: FrameHeader { number, ..frame.header }, ..*frame };
        let mut expires = shard::Instant::from_nanos(frame.header.expires);
        if planted(Fault::RetainedClearedLate) && frame.payload.is_empty() {
            expires = self.now.after(std::time::Duration::from_secs(1));
        }
        let len = frames::len(&frame);
        let kept = self.retained.set(frame.topic, len, self.now, expires, |out| frames::write(&frame, out));
        if kept.is_err() {
            // Nobody may get an older message than those who are subscribed now.
            self.retained.clear(frame.topic);
            self.journal.note(&Entry::RetainedCleared { topic: frame.topic });
            self.counters.add(Counter::RetainedRefused, 1);
        }
        Ok(ticket)
    }

    /// Writes what becomes of a topic's retained message. At QoS 0 nobody is told where that cannot be: the message is
    /// retained in memory alone.
    fn write_retained(&mut self, frame: &Frame<'_>) -> Result<Position, Refused> {
        if !self.journal.is_on() || frames::own(frame) {
            return Ok(Position(0));
        }
        let written = if frame.payload.is_empty() {
            // Where memory has none, too: what has expired is in the journal still, and lives again by a wall clock that
            // was set back; what was cleared in memory alone, likewise.
            self.journal.commit(&Entry::RetainedCleared { topic: frame.topic })
        } else {
            self.journal.commit(&Entry::Retained { frame: self.journal.wall.kept(frame) })
        };
        if written.is_err() && frame.header.qos == 0 {
            self.counters.add(Counter::RetainedUnkept, 1);
            return Ok(Position(0));
        }
        written
    }
}

impl Progress {
    /// Whether a publish is half-way through.
    pub fn begun(&self) -> bool {
        self.started
    }

    /// As new, with the capacity of its lists.
    fn reset(&mut self) {
        let Progress { started, matched, refused, number, targets, picks, words, pending, only } = self;
        (*started, *matched, *refused, *number, *pending, *only) = (false, false, false, 0, None, false);
        *targets = ShardSet::default();
        picks.clear();
        words.clear();
    }

    fn reason(&self) -> ReasonCode {
        if self.refused {
            ReasonCode::QuotaExceeded
        } else if self.matched {
            ReasonCode::Success
        } else {
            ReasonCode::NoMatchingSubscribers
        }
    }
}

/// Writes a frame behind some words, by reference where it is large.
pub fn put_frame(
    tx: &mut Outbound,
    to: ShardId,
    rank: shard::mesh::Rank,
    words: &[u64],
    frame: &Frame<'_>,
    blob: Option<&Blob>,
) -> bool {
    let len = frames::len(frame);
    if let Some(blob) = blob {
        return parcel::put(tx, to, rank, words, Body::Shared(blob));
    }
    if len > PARCEL_INLINE_MAX {
        // Room first: a large frame is not copied in vain.
        return tx.room(to, rank, words.len() * 8) && {
            let blob = Blob::build(len, |out| frames::write(frame, out));
            parcel::put(tx, to, rank, words, Body::Shared(&blob))
        };
    }
    let Some(mut claim) = tx.claim(to, rank, words.len() * 8 + len, None) else { return false };
    for (word, out) in words.iter().zip(claim.chunks_exact_mut(8)) {
        out.copy_from_slice(&word.to_le_bytes());
    }
    frames::write(frame, &mut claim[words.len() * 8..]);
    claim.commit();
    true
}

/// Groups that one message is picked for; a parcel toward subscribers names them, and must fit its ring.
const PICKS_MAX: usize = 1024;
