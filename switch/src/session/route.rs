//! How subscriptions are served: by a feed, by the session's outbox, as one of a group, or not at all for now.

use shard::{Effects, Slot};
use wire::mqtt::QoS;
use wire::mqtt::topic::overlap;

use super::{Route, SessionId, Subscription};
use crate::connection::{Connection, Seat};
use crate::counters::Counter;
use crate::delivery::feed::{Feed, FeedId, Image};
use crate::delivery::{DirectSubscriber, LocalGroup};
use crate::limits::FEEDS_PER_CONNECTION;
use crate::planted::{Fault, planted};
use crate::switch::Switch;
use crate::topic::tree::FilterId;

impl Switch {
    /// The connection of a session goes: what its feeds held for it is lost.
    pub fn release_feeds(&mut self, id: SessionId, fx: &mut Effects) {
        for index in 0..self.sessions.at(id).subscriptions.len() {
            let subscription = self.sessions.at(id).subscriptions[index];
            if matches!(subscription.route, Route::Feed(_)) {
                self.unroute(id, &subscription, fx);
                self.filters.value_mut(subscription.filter).idle += 1;
                self.sessions.at_mut(id).subscriptions[index].route = Route::Idle;
            }
        }
    }

    /// The session has no connection: its groups count it as offline.
    pub fn idle_subscriptions(&mut self, id: SessionId, fx: &mut Effects) {
        for index in 0..self.sessions.at(id).subscriptions.len() {
            let subscription = self.sessions.at(id).subscriptions[index];
            if let Route::Shared(key, _) = subscription.route {
                self.report_group(subscription.filter, key, 0, fx);
            }
        }
    }

    /// A connection serves the session again.
    pub fn wake_subscriptions(&mut self, id: SessionId, fx: &mut Effects) {
        for index in 0..self.sessions.at(id).subscriptions.len() {
            let subscription = self.sessions.at(id).subscriptions[index];
            match subscription.route {
                Route::Idle => {
                    self.unroute(id, &subscription, fx);
                    self.route_subscription(id, index);
                }
                Route::Shared(key, _) => {
                    self.report_group(subscription.filter, key, 0, fx);
                }
                Route::Direct(_) | Route::Feed(_) => {}
            }
        }
    }

    /// Decides how a subscription is served, and begins to.
    pub(crate) fn route_subscription(&mut self, session: SessionId, index: usize) {
        let Subscription { filter, identifier, options, .. } = self.sessions.at(session).subscriptions[index];
        let route = match self.feed_for(session, index) {
            Some((slot, image)) => {
                let feed = self.feed_of(filter, image);
                self.take_seat(slot, feed);
                Route::Feed(feed)
            }
            None if options.qos() == QoS::AtMostOnce && self.sessions.at(session).connection.is_none() => {
                self.filters.value_mut(filter).idle += 1;
                Route::Idle
            }
            None => {
                let direct = &mut self.filters.value_mut(filter).direct;
                direct.push(DirectSubscriber { session, identifier, options });
                Route::Direct((direct.len() - 1) as u32)
            }
        };
        self.sessions.at_mut(session).subscriptions[index].route = route;
    }

    /// Whether a feed can serve a subscription: QoS 0, nothing to leave out, no other subscription of the same client
    /// that a message may match too.
    pub(super) fn feed_for(&self, id: SessionId, index: usize) -> Option<(Slot, Image)> {
        let session = self.sessions.at(id);
        let subscription = &session.subscriptions[index];
        let conn: &Connection = self.connections.at(session.connection?.slot);
        let options = subscription.options;
        let plain = options.qos() == QoS::AtMostOnce && !options.no_local() && !options.judged();
        if !plain || conn.alias_max > 0 || conn.seats.len() >= FEEDS_PER_CONNECTION {
            return None;
        }
        let others = session.subscriptions.iter().enumerate().filter(|(other, _)| *other != index);
        if others.into_iter().any(|(_, other)| self.overlaps(subscription, other)) {
            return None;
        }
        let image = Image {
            v5: conn.v5(),
            framed: conn.framed,
            retain_as_published: subscription.options.retain_as_published(),
            subscription_identifier: subscription.identifier,
        };
        Some((session.connection?.slot, image))
    }

    pub(super) fn overlaps(&self, a: &Subscription, b: &Subscription) -> bool {
        if matches!(b.route, Route::Shared(..)) {
            return false;
        }
        if !a.options.wildcard() && !b.options.wildcard() {
            return a.filter == b.filter;
        }
        overlap(self.filters.filter(a.filter), self.filters.filter(b.filter))
    }

    /// Subscriptions of the session that are served by a feed and that a message of subscription `index` may match too
    /// are served by its outbox from now on, so that it gets such a message once.
    pub(super) fn serve_overlaps_directly(&mut self, id: SessionId, index: usize, fx: &mut Effects) {
        if planted(Fault::OverlapTwice) {
            return;
        }
        let added = self.sessions.at(id).subscriptions[index];
        for other in 0..self.sessions.at(id).subscriptions.len() {
            let subscription = self.sessions.at(id).subscriptions[other];
            if other == index || !matches!(subscription.route, Route::Feed(_)) || !self.overlaps(&added, &subscription)
            {
                continue;
            }
            self.unroute(id, &subscription, fx);
            let Subscription { filter, identifier, options, .. } = subscription;
            let direct = &mut self.filters.value_mut(filter).direct;
            direct.push(DirectSubscriber { session: id, identifier, options });
            let route = Route::Direct((direct.len() - 1) as u32);
            self.sessions.at_mut(id).subscriptions[other].route = route;
        }
    }

    /// Ends how a subscription is served.
    pub(crate) fn unroute(&mut self, id: SessionId, subscription: &Subscription, fx: &mut Effects) {
        match subscription.route {
            Route::Idle => self.filters.value_mut(subscription.filter).idle -= 1,
            Route::Direct(index) => {
                let direct = &mut self.filters.value_mut(subscription.filter).direct;
                direct.swap_remove(index as usize);
                if let Some(moved) = direct.get(index as usize).map(|moved| moved.session) {
                    self.reindex(moved, subscription.filter, |route| {
                        matches!(route, Route::Direct(_)).then_some(Route::Direct(index))
                    });
                }
            }
            Route::Feed(feed) => self.leave_seat(id, feed),
            Route::Shared(key, index) => self.leave_group(id, subscription.filter, key, index, fx),
        }
    }

    /// A subscriber of a filter has another index now.
    pub(super) fn reindex(&mut self, moved: SessionId, filter: FilterId, change: impl Fn(&Route) -> Option<Route>) {
        // A session that is ending has no subscriptions to correct.
        let Some(session) = self.sessions.find(moved) else { return };
        for subscription in session.subscriptions.iter_mut().filter(|s| s.filter == filter) {
            if let Some(route) = change(&subscription.route) {
                subscription.route = route;
                return;
            }
        }
    }

    pub(super) fn feed_of(&mut self, filter: FilterId, image: Image) -> FeedId {
        if let Some((_, feed)) = self.filters.value(filter).feeds.iter().find(|(known, _)| *known == image) {
            return *feed;
        }
        let feed = FeedId(self.feeds.insert(Feed::new(filter, image)) as u32);
        self.filters.value_mut(filter).feeds.push((image, feed));
        feed
    }

    pub(super) fn take_seat(&mut self, slot: Slot, id: FeedId) {
        let feed = &mut self.feeds[id.0 as usize];
        let conn = self.connections.at_mut(slot);
        let member = feed.join(slot, conn.encrypted);
        conn.seats.push(Seat { feed: id, member });
        let alone = conn.seats.len() == 1;
        let slow = !alone || conn.flush_queued || conn.outbox_waits() || conn.is_gathered();
        feed.member_mut(member).set(slow, conn.blocked);
        if !alone {
            // All feeds of this connection are read through it from now on.
            for index in 0..conn.seats.len() {
                let seat = conn.seats.at(index).expect("counted");
                self.feeds[seat.feed.0 as usize].member_mut(seat.member).set(true, conn.blocked);
            }
        }
    }

    pub(super) fn leave_seat(&mut self, id: SessionId, feed_id: FeedId) {
        let connection = self.sessions.at(id).connection.expect("feeds serve connections");
        // What it has not read goes first, as far as there is room.
        if !self.connections.at(connection.slot).send_closed {
            self.gather(connection.slot);
            if self.connections.at(connection.slot).outbox_waits() {
                self.outbox(connection.slot);
            }
        }
        let conn = self.connections.at_mut(connection.slot);
        let Some(seat) = conn.seats.remove(feed_id) else { return };
        let feed = &mut self.feeds[feed_id.0 as usize];
        let (missed, moved) = feed.leave(&mut self.arena, seat.member);
        self.counters.add(Counter::DroppedConnectionClosed, u64::from(missed));
        let empty = feed.members().is_empty();
        let filter = feed.filter;
        if let Some(slot) = moved {
            self.connections.at_mut(slot).seats.moved(feed_id, seat.member);
        }
        if empty {
            feed.clear(&mut self.arena);
            self.filters.value_mut(filter).feeds.retain(|(_, feed)| *feed != feed_id);
            self.retire_feed(feed_id);
        }
    }

    pub(crate) fn join_group(&mut self, session: SessionId, index: usize, name: &str, key: u64) {
        let Subscription { filter, identifier, options, .. } = self.sessions.at(session).subscriptions[index];
        let groups = &mut self.filters.value_mut(filter).groups;
        let at = groups.iter().position(|group| group.key == key).unwrap_or_else(|| {
            groups.push(LocalGroup { name: name.into(), key, members: Vec::new(), next: 0 });
            groups.len() - 1
        });
        let members = &mut groups[at].members;
        members.push(DirectSubscriber { session, identifier, options });
        let route = Route::Shared(key, (members.len() - 1) as u32);
        self.sessions.at_mut(session).subscriptions[index].route = route;
    }

    pub(super) fn leave_group(&mut self, id: SessionId, filter: FilterId, key: u64, index: u32, fx: &mut Effects) {
        let groups = &mut self.filters.value_mut(filter).groups;
        let at = groups.iter().position(|group| group.key == key).expect("a member's group is there");
        let members = &mut groups[at].members;
        debug_assert_eq!(members[index as usize].session, id);
        members.swap_remove(index as usize);
        let moved = members.get(index as usize).map(|moved| moved.session);
        if members.is_empty() {
            groups.swap_remove(at);
        }
        if let Some(moved) = moved {
            self.reindex(moved, filter, |route| match route {
                Route::Shared(of, _) if *of == key => Some(Route::Shared(key, index)),
                _ => None,
            });
        }
        self.report_group(filter, key, 0, fx);
    }
}
