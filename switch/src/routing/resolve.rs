//! The way back of a publish: other shards resolve it, its owner hears of that, and tells the publisher's shard.

use std::collections::VecDeque;

use shard::Effects;
use shard::mesh::{Inbound, ShardId};
use slab::Slab;
use wire::mqtt::ReasonCode;

use super::parcel::{self, ACK, Body};
use super::publish::Origin;
use crate::planted::{Fault, planted};
use crate::session::SessionId;
use crate::switch::Switch;

/// Publishes of QoS 1 and 2 that other shards have not resolved, as their owner keeps them.
pub struct OwnerBook {
    pub(super) pending: Slab<Unresolved>,
    pub(super) toward: Vec<Toward>,
    /// Publishes that this owner has routed: the number of the last one.
    pub routed: u64,
}

/// One of them.
pub(super) struct Unresolved {
    /// Where it came from.
    pub(super) origin: Origin,
    /// Shards that have not resolved it, one more while it is being routed.
    pub(super) waits: u32,
    /// What becomes of it, as far as is known.
    pub(super) reason: ReasonCode,
    /// Shards that may yet say that nobody subscribes there, where nobody else does: 0 when somebody does.
    pub(super) unmatched: u32,
}

/// What a shard says of one publish beside that it is resolved. It stands in one word with the publish's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// A session that is owed it could not keep it.
    Refused = 0,
    /// Nobody subscribes there any more: interest lingers.
    Unmatched = 1,
}

impl Remark {
    /// In one word, which grows with the number.
    pub fn of(self, number: u64) -> u64 {
        number << 1 | self as u64
    }

    /// The inverse of [`Remark::of`].
    fn from_word(word: u64) -> (u64, Remark) {
        (word >> 1, if word & 1 == 0 { Remark::Refused } else { Remark::Unmatched })
    }
}

/// The parcels toward one shard.
#[derive(Default)]
pub(super) struct Toward {
    /// How many were written.
    pub(super) written: u64,
    /// Those that somebody waits for: their number, and the publish.
    pub(super) awaited: VecDeque<(u64, usize)>,
    /// The refusal that was seen last.
    seen: u64,
}

impl OwnerBook {
    /// Nothing unresolved toward `shards` shards.
    pub fn new(shards: u16) -> OwnerBook {
        let toward = std::iter::repeat_with(Toward::default).take(usize::from(shards)).collect();
        OwnerBook { pending: Slab::new(), toward, routed: 0 }
    }

    /// A parcel other than a publish was written toward a shard.
    pub fn note_written(&mut self, to: ShardId) {
        self.toward[usize::from(to.0)].written += 1;
    }

    /// Publishes that are not resolved.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether all are resolved.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

impl Switch {
    /// Takes acknowledgements of one owner off its ring.
    pub fn drain_acks(&mut self, owner: ShardId, rx: &mut Inbound, fx: &mut Effects) {
        while let Some(parcel) = rx.peek(owner, ACK) {
            let (session, number) = (parcel::word(&parcel, 0), parcel::word(&parcel, 1) as u32);
            let reason = ReasonCode::from_u8(parcel::word(&parcel, 2) as u8).expect("a shard sends reason codes");
            rx.release(owner, ACK);
            self.acknowledged(owner, session, number, reason, fx);
        }
    }

    /// Looks at what the other shards have resolved, as owner.
    pub fn settle(&mut self, fx: &mut Effects) {
        if self.book.is_empty() {
            return;
        }
        for index in 0..self.book.toward.len() {
            while self.settle_one(ShardId(index as u16), fx) {}
        }
    }

    /// Looks at what one shard has resolved. Whether it has resolved more meanwhile: else this shard is woken by that.
    fn settle_one(&mut self, shard: ShardId, fx: &mut Effects) -> bool {
        let index = usize::from(shard.0);
        let toward = &mut self.book.toward[index];
        if toward.awaited.is_empty() {
            return false;
        }
        // In this order: what is refused was written before what is resolved.
        let resolved = fx.tx.resolved(shard);
        let refused = fx.tx.refused(shard);
        if refused > toward.seen {
            toward.seen = refused;
            let (about, remark) = Remark::from_word(refused);
            if let Some((_, publish)) = toward.awaited.iter().find(|(number, _)| *number == about) {
                self.book.pending[*publish].heard(remark);
            }
            fx.tx.set_seen(shard, refused);
        }
        while let Some((number, publish)) = self.book.toward[index].awaited.front().copied()
            && number <= resolved
        {
            self.book.toward[index].awaited.pop_front();
            self.resolve_one(publish, fx);
        }
        let next = self.book.toward[index].awaited.front().filter(|_| !planted(Fault::ResolutionUnwatched));
        next.is_some_and(|(next, _)| fx.tx.has_resolved(shard, *next))
    }

    /// One of those that a publish waited for has resolved it.
    pub(crate) fn resolve_one(&mut self, publish: usize, fx: &mut Effects) {
        let unresolved = &mut self.book.pending[publish];
        unresolved.waits -= 1;
        if unresolved.waits == 0 {
            let Unresolved { origin, reason, .. } = self.book.pending.remove(publish);
            self.acknowledge(origin, reason, fx);
        }
    }

    /// This shard's part of a publish cannot be promised.
    pub(crate) fn refuse_one(&mut self, publish: usize, fx: &mut Effects) {
        self.book.pending[publish].reason = ReasonCode::QuotaExceeded;
        self.resolve_one(publish, fx);
    }

    /// Tells the publisher's shard what became of its publish.
    pub(super) fn acknowledge(&mut self, origin: Origin, reason: ReasonCode, fx: &mut Effects) {
        if origin.shard == self.id {
            return self.acknowledged(self.id, origin.session, origin.number, reason, fx);
        }
        let words = [origin.session, u64::from(origin.number), reason as u64];
        let written = parcel::put(&mut fx.tx, origin.shard, ACK, &words, Body::NONE);
        assert!(written, "the ring back has a place for each credit");
    }

    /// A publish of this shard is resolved: its credit is back.
    fn acknowledged(&mut self, owner: ShardId, session: u64, number: u32, reason: ReasonCode, fx: &mut Effects) {
        let session = SessionId::from_word(session);
        if !planted(Fault::CreditLeaked) || session.is_some_and(|id| self.sessions.find(id).is_some()) {
            self.credits[usize::from(owner.0)] += 1;
        }
        match session {
            Some(session) => self.publish_resolved(session, number, reason, fx),
            None if number > 0 => self.own_resolved(number as usize - 1, reason, fx),
            None => self.unkept_resolved(reason),
        }
    }
}

impl Unresolved {
    /// A shard says something of it.
    fn heard(&mut self, remark: Remark) {
        match remark {
            Remark::Refused => self.reason = ReasonCode::QuotaExceeded,
            Remark::Unmatched if self.unmatched == 1 && self.reason == ReasonCode::Success => {
                self.reason = ReasonCode::NoMatchingSubscribers;
            }
            Remark::Unmatched => self.unmatched = self.unmatched.saturating_sub(1),
        }
    }
}
