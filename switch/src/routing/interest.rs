//! Interest: what a topic's owner is told of filters, and what it answers.
//!
//! A shard asks the owner for every SUBSCRIBE, and the owner's confirmation travels in the same order as its parcels
//! toward subscribers: what is published after it reaches the subscription. That a filter has lost its last subscriber
//! is told with a delay, since rooms flap.

use std::ops::ControlFlow;

use persistence::Position;
use shard::mesh::{Inbound, ShardId};
use shard::profile::Stage;
use shard::{Effects, Instant};

use super::parcel::{self, DELIVER, INTEREST, deliver, interest};
use super::place::Owner;
use super::publish::{Interest, put_frame};
use super::resolve::Remark;
use crate::delivery::deliver::Picks;
use crate::frames;
use crate::journal::wait::Held;
use crate::limits::{
    HELD_MAX, INTEREST_LINGER, JOBS_PER_TURN, OUTBOX_FILL_BYTES, PARCEL_INLINE_MAX, PARCELS_PER_TURN, RETAINED_SLICE,
};
use crate::planted::{Fault, planted};
use crate::switch::{Switch, TimerKind, timer_word};
use crate::topic::retained::{Cursor, Walk};
use crate::topic::shared::Group;
use crate::topic::tree::FilterId;

/// Topics that one slice of a walk over retained messages looks at.
const RETAINED_STEPS: u32 = 1024;
/// Bytes of a parcel that ends a slice, at most: two words and a cursor.
const SLICE_END_BYTES: usize = PARCEL_INLINE_MAX + 16;

/// The body of a parcel that asks for retained messages, or reports a group: two texts, told apart by U+0000, which no
/// filter contains.
const SEPARATOR: &str = "\0";

impl Switch {
    /// The shards that own topics of a filter.
    pub fn owners(&self, filter: &str) -> std::ops::Range<u16> {
        match self.placement.owner_of_filter(filter) {
            Owner::One(shard) => shard.0..shard.0 + 1,
            Owner::Every => 0..self.shards,
        }
    }

    /// Tells the owners, this shard among them, how many members of a group are here. Owners confirm to `request`,
    /// unless it is 0; returns how many will.
    pub fn report_group(&mut self, id: FilterId, key: u64, request: u64, fx: &mut Effects) -> u32 {
        if self.shards == 1 {
            return 0;
        }
        let node = self.filters.value(id);
        let members = node.groups.iter().find(|group| group.key == key).map_or(&[][..], |group| &group.members[..]);
        let online = members.iter().filter(|m| self.sessions.at(m.session).connection.is_some()).count() as u32;
        let offline = members.len() as u32 - online;
        let filter = self.filters.filter(id).to_owned();
        let counts = u64::from(online) << 32 | u64::from(offline);
        let mut asked = 0;
        for owner in self.owners(&filter) {
            if owner == self.id.0 {
                self.group_reported(self.id, &filter, key, (online, offline));
            } else {
                let words = [interest::GROUP, request, key, counts];
                self.courier.send(&mut fx.tx, ShardId(owner), INTEREST, &words, &[filter.as_bytes()]);
                asked += 1;
            }
        }
        asked
    }

    /// Asks the owners for what is published to a filter from now on. Returns how many will confirm to `request`.
    pub fn ask_owners(&mut self, filter: &str, request: u64, fx: &mut Effects) -> u32 {
        let mut asked = 0;
        for owner in self.owners(filter) {
            if owner != self.id.0 {
                let words = [interest::ADD, request, 0, 0];
                self.courier.send(&mut fx.tx, ShardId(owner), INTEREST, &words, &[filter.as_bytes()]);
                asked += 1;
            }
        }
        asked
    }

    /// A filter has lost a subscriber: if it was the last, its owners are told later.
    pub fn subscriber_gone(&mut self, id: FilterId) {
        let node = self.filters.value_mut(id);
        if node.wanted() || node.lingers.is_some() {
            return;
        }
        if self.shards == 1 {
            if node.is_empty() {
                self.filters.remove(id);
            }
            return;
        }
        let due = self.now.after(INTEREST_LINGER);
        node.lingers = Some(due);
        self.lingering.push_back((due, id));
    }

    /// Tells owners of filters that have had no subscriber for a while.
    pub fn end_interest(&mut self, fx: &mut Effects) {
        for _ in 0..JOBS_PER_TURN {
            let Some((due, id)) = self.lingering.front().copied().filter(|(due, _)| *due <= self.now) else { return };
            self.lingering.pop_front();
            let node = self.filters.value_mut(id);
            assert_eq!(node.lingers, Some(due), "a filter lingers once");
            node.lingers = None;
            if node.wanted() && !planted(Fault::InterestEndedEarly) {
                continue;
            }
            let forgotten = node.is_empty();
            let filter = self.filters.filter(id).to_owned();
            for owner in self.owners(&filter) {
                if owner != self.id.0 {
                    let words = [interest::REMOVE, 0, 0, 0];
                    self.courier.send(&mut fx.tx, ShardId(owner), INTEREST, &words, &[filter.as_bytes()]);
                }
            }
            if forgotten {
                self.filters.remove(id);
            }
        }
        // The rest in the next turn.
        fx.timers.set(self.now, timer_word(TimerKind::Interest, 0, 0));
    }

    /// Takes interest parcels of one shard, as owner. Whether some are left that could go on now.
    pub fn drain_interest(&mut self, source: ShardId, rx: &mut Inbound, fx: &mut Effects) -> bool {
        for _ in 0..PARCELS_PER_TURN {
            let Some(parcel) = rx.peek(source, INTEREST) else { return false };
            let [kind, key, third, fourth] = std::array::from_fn(|index| parcel::word(&parcel, index));
            let text = parcel::text(&parcel, 4);
            // What is answered stays at the head of its ring until the answer has room.
            if (kind == interest::ADD || kind == interest::GROUP && key != 0) && !fx.tx.room(source, DELIVER, 24) {
                return false;
            }
            match kind {
                interest::ADD => {
                    let id = self.interest.insert(text);
                    self.interest.value_mut(id).shards.insert(source);
                }
                interest::REMOVE => self.forget_interest(text, |entry| entry.shards.remove(source)),
                interest::RECOVERED => self.other_recovered(fx),
                interest::GROUP => {
                    self.group_reported(source, text, third, ((fourth >> 32) as u32, fourth as u32));
                }
                _ => {
                    let (filter, cursor) = text.split_once(SEPARATOR).expect("a shard sends both");
                    if !self.send_retained(source, (key, third), filter, cursor, fx) {
                        return false;
                    }
                }
            }
            if kind == interest::ADD || kind == interest::GROUP && key != 0 {
                self.confirm(source, key, fx);
            }
            rx.release(source, INTEREST);
        }
        true
    }

    /// Takes parcels of one owner, as the subscribers' shard. Whether some are left that could go on now.
    pub fn drain_deliveries(&mut self, owner: ShardId, rx: &mut Inbound, fx: &mut Effects) -> bool {
        for _ in 0..PARCELS_PER_TURN {
            self.profile.at(Stage::Ring);
            let inbox = &mut self.inboxes[usize::from(owner.0)];
            if inbox.held.len() >= HELD_MAX {
                return false;
            }
            let Some(parcel) = rx.peek(owner, DELIVER) else { return false };
            inbox.taken += 1;
            let number = inbox.taken;
            let head = parcel::word(&parcel, 0);
            let mut remark = None;
            let mut ticket = Position(0);
            match head & 0xff {
                deliver::FRAME => {
                    let picks = (head >> 16) as usize;
                    inbox.routed = parcel::word(&parcel, 1);
                    let frame = frames::read(parcel::body(&parcel, 2 + picks));
                    let keys = &parcel.bytes[16..16 + 8 * picks];
                    let only = head & deliver::ONLY_GROUPS != 0;
                    let picks = if only { Picks::Only(keys) } else { Picks::Listed(keys) };
                    let delivered = self.deliver(&frame, parcel.blob, picks, fx);
                    ticket = if frame.header.qos > 0 { delivered.ticket } else { ticket };
                    if frame.header.qos > 0 && delivered.refused {
                        remark = Some(Remark::Refused);
                    } else if frame.header.qos > 0 && !delivered.matched && keys.is_empty() {
                        remark = Some(Remark::Unmatched);
                    }
                }
                deliver::CONFIRM => {
                    inbox.routed = parcel::word(&parcel, 2);
                    self.confirmed(parcel::word(&parcel, 1), fx);
                }
                deliver::RETAINED => {
                    let frame = frames::read(parcel::body(&parcel, 2));
                    self.retained_came(parcel::word(&parcel, 1), &frame, parcel.blob, fx);
                }
                _ => {
                    let cursor = parcel::text(&parcel, 2).to_owned();
                    self.slice_ended(parcel::word(&parcel, 1), &cursor, head >> 8 != 0, fx);
                }
            }
            rx.release(owner, DELIVER);
            if ticket == Position(0) && remark.is_none() && !self.holding {
                rx.set_resolved(owner, number);
            } else {
                self.hold(owner, Held { number, about: number, ticket, remark }, rx);
            }
        }
        true
    }

    /// A parcel of an owner was handled: it is resolved once its ticket holds, and those before it are.
    fn hold(&mut self, owner: ShardId, held: Held, rx: &mut Inbound) {
        let plain = held.remark.is_none() && self.journal.holds(held.ticket);
        let inbox = &mut self.inboxes[usize::from(owner.0)];
        match inbox.held.back_mut() {
            None if plain && inbox.refused.is_none() => return rx.set_resolved(owner, held.number),
            Some(last) if plain && last.remark.is_none() => last.number = held.number,
            _ => inbox.held.push_back(held),
        }
        self.holding = true;
        self.resolve_held_of(owner, rx);
    }

    /// Asks one owner for a slice of retained messages: of those that it routed up to `until`. What came later was, or
    /// will be, delivered live.
    pub fn ask_retained(
        &mut self,
        owner: ShardId,
        (fetch, until): (u64, u64),
        filter: &str,
        cursor: &str,
        fx: &mut Effects,
    ) {
        let words = [interest::RETAINED, fetch, until, 0];
        let body = [filter.as_bytes(), SEPARATOR.as_bytes(), cursor.as_bytes()];
        self.courier.send(&mut fx.tx, owner, INTEREST, &words, &body);
    }

    /// Owner: a shard has so many members of a group.
    fn group_reported(&mut self, shard: ShardId, filter: &str, key: u64, (online, offline): (u32, u32)) {
        let id = self.interest.insert(filter);
        let groups = &mut self.interest.value_mut(id).groups;
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.report(shard, online, offline),
            None => {
                let mut group = Group::default();
                group.report(shard, online, offline);
                groups.push((key, group));
            }
        }
        groups.retain(|(_, group)| !group.is_empty());
        self.forget_interest(filter, |_| {});
    }

    fn forget_interest(&mut self, filter: &str, change: impl FnOnce(&mut Interest)) {
        if let Some(id) = self.interest.get(filter) {
            let entry = self.interest.value_mut(id);
            change(entry);
            if entry.is_empty() {
                self.interest.remove(id);
            }
        }
    }

    /// Owner: the activation point of a subscription. The caller made sure of room.
    fn confirm(&mut self, to: ShardId, request: u64, fx: &mut Effects) {
        let words = [deliver::CONFIRM, request, self.book.routed];
        let written = parcel::put(&mut fx.tx, to, DELIVER, &words, parcel::Body::NONE);
        assert!(written, "room was made sure of");
        self.book.note_written(to);
    }

    /// Owner: writes a slice of retained messages toward a shard. False where not even one has room now.
    fn send_retained(
        &mut self,
        to: ShardId,
        (fetch, until): (u64, u64),
        filter: &str,
        cursor: &str,
        fx: &mut Effects,
    ) -> bool {
        if !fx.tx.room(to, DELIVER, SLICE_END_BYTES) {
            return false;
        }
        let mut cursor = Cursor::from_text(cursor);
        let (mut count, mut bytes) = (0, 0);
        let tx = &mut fx.tx;
        let walk = self.retained.walk(filter, &mut cursor, self.now, RETAINED_STEPS, |_, retained| {
            let frame = frames::read(retained.frame());
            if frame.header.number > until && !planted(Fault::RetainedSliceTooLong) {
                return ControlFlow::Continue(());
            }
            let len = frames::len(&frame).min(PARCEL_INLINE_MAX) + 16;
            if count == RETAINED_SLICE || bytes > OUTBOX_FILL_BYTES || !tx.room(to, DELIVER, len + 32 + SLICE_END_BYTES)
            {
                return ControlFlow::Break(());
            }
            let written = put_frame(tx, to, DELIVER, &[deliver::RETAINED, fetch], &frame, None);
            assert!(written, "room was made sure of");
            (count, bytes) = (count + 1, bytes + frames::len(&frame));
            ControlFlow::Continue(())
        });
        (0..count).for_each(|_| self.book.note_written(to));
        if count == 0 && walk == Walk::More && cursor.as_str().is_empty() {
            // A literal filter whose message has no room now.
            return false;
        }
        let rest = if walk == Walk::Done { "" } else { cursor.as_str() };
        let more = u64::from(walk == Walk::More) << 8;
        let words = [deliver::RETAINED_END | more, fetch];
        let written = parcel::put(&mut fx.tx, to, DELIVER, &words, parcel::Body::Pieces(&[rest.as_bytes()]));
        assert!(written, "room was made sure of");
        self.book.note_written(to);
        true
    }

    /// When interest ends next.
    pub fn interest_due(&self) -> Option<Instant> {
        self.lingering.front().map(|(due, _)| *due)
    }
}
