//! Publishes of the switch's own: wills, `$SYS`, and messages of groups whose member has gone.

use shard::Effects;
use shard::mesh::ShardId;
use wire::frame::{Frame, FrameHeader};
use wire::mqtt::ReasonCode;

use super::parcel::PUBLISH;
use super::publish::{Origin, Routed, put_frame};
use crate::counters::Counter;
use crate::delivery::deliver::Picks;
use crate::delivery::store::MessageId;
use crate::frames;
use crate::journal::entries::will_count;
use crate::journal::restore::Recovery;
use crate::journal::wait::{Own, Refusals, Waiter};
use crate::limits::{OWN_RETRY_MAX, OWN_RETRY_MIN, WILL_TRIES};
use crate::switch::Switch;

/// A publish that waits for its owner to take it. There is at most one for each session's will, one for each `$SYS`
/// topic, and those that a session was owed as the member of a group, which its queue bounds.
pub struct OwnPublish {
    /// For this group alone.
    group: Option<u64>,
    frame: Vec<u8>,
    /// What the journal keeps until it is resolved.
    kept: Option<usize>,
}

impl Switch {
    /// Publishes a frame of the switch's own, now or as soon as its owner takes it.
    pub fn publish_own(&mut self, frame: Vec<u8>, fx: &mut Effects) {
        self.queue_own(None, frame, None);
        self.run_own(fx);
    }

    /// Queues a publish that the journal keeps until it is resolved. Before this shard has recovered it waits with those
    /// that were restored: a shard that has recovered may send clients whose sessions end here.
    pub(crate) fn queue_kept(&mut self, key: usize) {
        if self.recovery != Recovery::Done {
            return;
        }
        let (group, frame) = match &self.journal.own[key] {
            Own::Handing { group, frame, .. } => (Some(*group), frame.clone()),
            Own::Will { uid, number, will, client_hash } => {
                (None, self.will_frame(will, *client_hash, Some(will_count(*uid, *number))))
            }
        };
        let frame = frames::read(&frame);
        let number = frame.header.number & !u64::from(u32::MAX) | (key as u64 + 1);
        let header = FrameHeader { connection: 0, number, ..frame.header };
        self.queue_own(group, frames::to_vec(&Frame { header, ..frame }), Some(key));
    }

    /// A publish that the journal kept is resolved.
    pub(crate) fn own_resolved(&mut self, key: usize, reason: ReasonCode, fx: &mut Effects) {
        if reason == ReasonCode::QuotaExceeded && !self.journal.is_fenced() {
            // Nobody else can be told: it is tried again.
            let Some(why) = self.own_refused(key) else { return };
            self.count_dropped(why);
        }
        self.journal.forget_own(key);
        self.run_own(fx);
    }

    /// A publish of the switch itself is resolved that no journal keeps: it is not tried again.
    pub(crate) fn unkept_resolved(&mut self, reason: ReasonCode) {
        if reason == ReasonCode::QuotaExceeded {
            self.count_dropped(Counter::DroppedQueueMemory);
        }
    }

    /// What nobody was matched for yet comes to nobody.
    fn count_dropped(&mut self, why: Counter) {
        self.counters.add(Counter::MessagesMatched, 1);
        self.counters.add(why, 1);
    }

    /// A publish that the journal kept was refused by some shard. Why it is given up; `None`: it is not.
    ///
    /// What was meant for a group has come to nobody, and is tried until it expires. A will may have come to many, who
    /// get it again each time, at QoS 0 and 1: it is given up after some tries.
    fn own_refused(&mut self, key: usize) -> Option<Counter> {
        let now = self.now;
        let refusals = Refusals { count: 0, since: now, again: None };
        let refusals = self.journal.own_refused.entry(key).or_insert(refusals);
        refusals.count += 1;
        let rest = OWN_RETRY_MIN * (1 << (refusals.count - 1).min(16));
        refusals.again = Some(now.after(rest.min(OWN_RETRY_MAX)));
        let Refusals { count, since, .. } = *refusals;
        let bytes = match self.journal.own.get(key)? {
            Own::Handing { frame, .. } => frame.len(),
            Own::Will { will, client_hash, number, .. } => {
                if will.expiry.is_some_and(|expiry| now.since(since).as_secs() >= u64::from(expiry)) {
                    return Some(Counter::DroppedExpired);
                }
                if count >= WILL_TRIES {
                    return Some(Counter::DroppedWillRefused);
                }
                self.will_frame(will, *client_hash, Some(*number)).len()
            }
        };
        // With more shards than before a shard's share of `limits.queue_memory` may be less than this message.
        (!self.store.could_hold(bytes)).then_some(Counter::DroppedQueueMemory)
    }

    /// Publishes again what was refused some time ago. Once a second.
    pub(crate) fn retry_own(&mut self, fx: &mut Effects) {
        let now = self.now;
        let due = |refusals: &mut Refusals| refusals.again.take_if(|again| *again <= now).is_some();
        let keys: Vec<usize> =
            self.journal.own_refused.iter_mut().filter_map(|(key, refusals)| due(refusals).then_some(*key)).collect();
        for key in keys {
            self.queue_kept(key);
        }
        self.run_own(fx);
    }

    /// A message that a member of a group was owed goes to another one: its session has ended before it was sent, or
    /// (QoS 1) acknowledged.
    pub fn hand_on(&mut self, group: u64, message: MessageId) {
        let frame = self.store.frame(message);
        if frames::expired(&frame, self.now) {
            // [MQTT-3.3.2-5]: nobody has begun to get it.
            return self.counters.add(Counter::DroppedExpired, 1);
        }
        self.counters.add(Counter::DroppedHandedOn, 1);
        let frame = without_origin(&frame);
        match self.store.number(message) {
            0 => self.queue_own(Some(group), frame, None),
            message => {
                let key = self.journal.own.insert(Own::Handing { message, group, frame });
                self.queue_kept(key);
            }
        }
    }

    /// A frame came for a group that has no member here any more.
    pub fn return_to_owner(&mut self, group: u64, frame: &Frame<'_>) {
        // A node of one shard knows its members: there is no other.
        if frame.header.qos == 0 || self.shards == 1 {
            return self.count_dropped(Counter::DroppedNoMember);
        }
        self.count_dropped(Counter::DroppedHandedOn);
        self.queue_own(Some(group), without_origin(frame), None);
    }

    /// Publishes what the switch has of its own, as far as owners take it.
    pub fn run_own(&mut self, fx: &mut Effects) {
        for owner in 0..self.own.len() {
            while let Some(own) = self.own[owner].pop_front() {
                if !self.publish_one(ShardId(owner as u16), &own, fx) {
                    self.own[owner].push_front(own);
                    break;
                }
            }
        }
    }

    fn queue_own(&mut self, group: Option<u64>, frame: Vec<u8>, kept: Option<usize>) {
        let owner = self.placement.owner(frames::read(&frame).header.topic_hash);
        self.own[usize::from(owner.0)].push_back(OwnPublish { group, frame, kept });
    }

    /// False: its owner does not take it now.
    fn publish_one(&mut self, owner: ShardId, own: &OwnPublish, fx: &mut Effects) -> bool {
        let frame = frames::read(&own.frame);
        if own.group.is_some() && frames::expired(&frame, self.now) {
            // [MQTT-3.3.2-5]: also where it was refused until then.
            self.count_dropped(Counter::DroppedExpired);
            own.kept.and_then(|key| self.journal.forget_own(key));
            return true;
        }
        match own.group {
            None => {
                let number = own.kept.map_or(0, |key| key as u32 + 1);
                let routed = self.publish(&frame, Origin { shard: self.id, session: 0, number }, fx);
                match (routed, own.kept) {
                    (Routed::Done(reason), Some(key)) => self.own_resolved(key, reason, fx),
                    (Routed::Done(reason), None) => self.unkept_resolved(reason),
                    // Nobody acknowledges a publish of QoS 0.
                    (Routed::Pending, Some(key)) if frame.header.qos == 0 => {
                        self.own_resolved(key, ReasonCode::Success, fx);
                    }
                    _ => {}
                }
                routed != Routed::Full
            }
            Some(group) if self.shards == 1 => {
                let delivered = self.deliver(&frame, None, Picks::Only(&group.to_le_bytes()), fx);
                if let Some(key) = own.kept {
                    if delivered.refused {
                        self.own_resolved(key, ReasonCode::QuotaExceeded, fx);
                    } else if self.journal.holds(delivered.ticket) {
                        self.own_resolved(key, ReasonCode::Success, fx);
                    } else {
                        self.journal.wait(delivered.ticket, Waiter::Own(key));
                    }
                }
                true
            }
            Some(group) => {
                let credits = self.credits[usize::from(owner.0)];
                let sent = credits > 0 && put_frame(&mut fx.tx, owner, PUBLISH, &[group], &frame, None);
                if sent {
                    self.credits[usize::from(owner.0)] -= 1;
                    self.queued_to_self += u64::from(owner == self.id);
                }
                sent
            }
        }
    }
}

/// The frame in bytes of its own, as a new cause: nobody waits for its acknowledgement.
fn without_origin(frame: &Frame<'_>) -> Vec<u8> {
    let flags = frame.header.flags & !FrameHeader::MARKED;
    let header = FrameHeader { connection: 0, number: 0, flags, ..frame.header }.with_packet_id(0);
    frames::to_vec(&Frame { header, ..*frame })
}
