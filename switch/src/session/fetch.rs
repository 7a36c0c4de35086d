//! Retained messages on their way to a new subscription: a slice at a time, as its connection has room.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use shard::buffer::Blob;
use shard::mesh::ShardId;
use shard::{Effects, Slot};
use wire::frame::Frame;
use wire::mqtt::QoS;

use super::subscribe::Add;
use super::{Options, SessionId};
use crate::connection::{ConnectionId, Phase};
use crate::delivery::write::waiting;
use crate::frames;
use crate::limits::{JOURNAL_LOOK, OUTBOX_FILL_BYTES, RETAINED_SLICE};
use crate::planted::{Fault, planted};
use crate::switch::{Switch, TimerKind, timer_word};
use crate::topic::retained::{Cursor, Walk};
use crate::topic::tree::FilterId;

/// Retained messages on their way to a new subscription, a slice at a time.
pub struct Fetch {
    connection: ConnectionId,
    session: SessionId,
    filter: Box<str>,
    options: Options,
    identifier: u32,
    /// The owner asked now, and the one after the last.
    owners: std::ops::Range<u16>,
    /// Up to which publish of each shard: what it routed later comes live.
    until: Box<[u64]>,
    cursor: String,
    /// A slice was asked for.
    asked: bool,
    /// The subscription has gone.
    cancelled: bool,
    /// SUBACK was written.
    granted: bool,
}

impl Switch {
    /// Goes on with the retained messages of a connection, if there is room for a slice.
    pub fn fetch_more(&mut self, slot: Slot, fx: &mut Effects) {
        while let Some(key) = self.fetching.get(&slot).and_then(|keys| keys.front().copied()) {
            let fetch = &mut self.fetches[key];
            if fetch.asked || !fetch.granted {
                return;
            }
            if fetch.cancelled || fetch.owners.is_empty() {
                self.end_fetch(slot, key);
                continue;
            }
            let conn = self.connections.at(slot);
            let owed = self.sessions.at(fetch.session).outgoing.as_ref().map_or(0, |o| o.waiting().len());
            if conn.blocked || waiting(conn) >= OUTBOX_FILL_BYTES || owed >= RETAINED_SLICE {
                return;
            }
            if fetch.options.qos() > QoS::AtMostOnce
                && self.sessions.at(fetch.session).kept.is_some()
                && !self.journal.takes(2 * OUTBOX_FILL_BYTES)
                && !self.journal.is_fenced()
            {
                let generation = self.connections.at(slot).generation;
                let word = timer_word(TimerKind::Fetch, slot.0, generation);
                fx.timers.set(self.now.after(JOURNAL_LOOK), word);
                return;
            }
            let owner = ShardId(fetch.owners.start);
            if owner != self.id {
                fetch.asked = true;
                let (filter, cursor) = (fetch.filter.clone(), std::mem::take(&mut fetch.cursor));
                let until = fetch.until[usize::from(owner.0)];
                return self.ask_retained(owner, (key as u64 + 1, until), &filter, &cursor, fx);
            }
            if self.fetch_here(key, fx) == Walk::More {
                // The next slice in the next turn: a filter may pass over many topics and find few.
                let generation = self.connections.at(slot).generation;
                fx.timers.set(self.now, timer_word(TimerKind::Fetch, slot.0, generation));
                return;
            }
        }
    }

    /// The next slice of retained messages of a connection, if it is still there.
    pub fn fetch_timer(&mut self, connection: ConnectionId, fx: &mut Effects) {
        if self.connections.find(connection).is_some_and(|conn| conn.phase == Phase::Open) {
            self.fetch_more(connection.slot, fx);
        }
    }

    /// A retained message from another owner.
    pub fn retained_came(&mut self, fetch: u64, frame: &Frame<'_>, blob: Option<&Blob>, fx: &mut Effects) {
        let fetch = &self.fetches[fetch as usize - 1];
        let (connection, session, cancelled) = (fetch.connection, fetch.session, fetch.cancelled);
        let (options, identifier) = (fetch.options, fetch.identifier);
        let alive = self.connections.find(connection).is_some_and(|conn| conn.phase == Phase::Open);
        if alive && !cancelled {
            self.deliver_retained(session, options, identifier, frame, blob, fx);
        }
    }

    /// An owner has sent a slice of retained messages.
    pub fn slice_ended(&mut self, fetch: u64, cursor: &str, more: bool, fx: &mut Effects) {
        let key = fetch as usize - 1;
        let fetch = &mut self.fetches[key];
        fetch.asked = false;
        if more {
            fetch.cursor.push_str(cursor);
        } else {
            fetch.owners.start += 1;
        }
        let connection = fetch.connection;
        let alive = self.connections.find(connection).is_some_and(|conn| conn.phase == Phase::Open);
        if alive {
            self.fetch_more(connection.slot, fx);
        } else {
            self.fetches.remove(key);
        }
    }

    /// The connection has gone: its fetches end, those that were asked for when the answer comes.
    pub fn abandon_fetches(&mut self, slot: Slot) {
        self.connections.at_mut(slot).fetching = false;
        for key in self.fetching.remove(&slot).into_iter().flatten() {
            if !self.fetches[key].asked {
                self.fetches.remove(key);
            }
        }
    }

    /// A subscription wants retained messages, once SUBACK was written. The key of the fetch.
    pub(super) fn begin_fetch(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        add: &Add,
        granted: bool,
    ) -> usize {
        let options =
            Options::new(add.options.qos, add.options.no_local, add.options.retain_as_published).with_told(add.told);
        let key = self.fetches.insert(Fetch {
            connection,
            session,
            filter: add.filter.clone(),
            options,
            identifier: add.identifier,
            owners: self.owners(&add.filter),
            until: (0..self.shards).map(|shard| self.routed_by(ShardId(shard))).collect(),
            cursor: String::new(),
            asked: false,
            cancelled: false,
            granted,
        });
        self.fetching.entry(connection.slot).or_default().push_back(key);
        self.connections.at_mut(connection.slot).fetching = true;
        key
    }

    /// SUBACK was written: these fetches of an open connection may begin.
    pub(super) fn release_fetches(&mut self, keys: &[usize]) {
        for key in keys {
            self.fetches[*key].granted = true;
        }
    }

    /// The publish of an owner that this shard's subscribers have heard of last.
    pub(super) fn routed_by(&self, owner: ShardId) -> u64 {
        if owner == self.id { self.book.routed } else { self.inboxes[usize::from(owner.0)].routed }
    }

    pub(super) fn end_fetch(&mut self, slot: Slot, key: usize) {
        self.fetches.remove(key);
        let keys: &mut VecDeque<usize> = self.fetching.get_mut(&slot).expect("it was fetching");
        keys.retain(|other| *other != key);
        if keys.is_empty() {
            self.fetching.remove(&slot);
            self.connections.at_mut(slot).fetching = false;
        }
    }

    pub(super) fn cancel_fetches(&mut self, id: SessionId, filter: FilterId) {
        let Some(connection) = self.sessions.at(id).connection else { return };
        let Some(keys) = self.fetching.get(&connection.slot) else { return };
        let filter = self.filters.filter(filter);
        for key in keys {
            let fetch = &mut self.fetches[*key];
            fetch.cancelled |= *fetch.filter == *filter;
        }
    }

    /// A slice of retained messages that this shard owns itself.
    pub(super) fn fetch_here(&mut self, key: usize, fx: &mut Effects) -> Walk {
        let fetch = &mut self.fetches[key];
        let (session, options, identifier) = (fetch.session, fetch.options, fetch.identifier);
        let filter = fetch.filter.clone();
        let until = fetch.until[usize::from(self.id.0)];
        let mut cursor = Cursor::from_text(&std::mem::take(&mut fetch.cursor));
        let mut slice: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        let walk = self.retained.walk(&filter, &mut cursor, self.now, 1024, |_, retained| {
            if frames::read(retained.frame()).header.number > until && !planted(Fault::RetainedSliceTooLong) {
                return ControlFlow::Continue(());
            }
            if slice.len() == RETAINED_SLICE || bytes > OUTBOX_FILL_BYTES {
                return ControlFlow::Break(());
            }
            bytes += retained.frame().len();
            slice.push(retained.frame().to_vec());
            ControlFlow::Continue(())
        });
        let fetch = &mut self.fetches[key];
        if walk == Walk::Done {
            fetch.owners.start += 1;
        } else {
            fetch.cursor.push_str(cursor.as_str());
        }
        for frame in &slice {
            self.deliver_retained(session, options, identifier, &frames::read(frame), None, fx);
        }
        walk
    }
}
