//! SUBSCRIBE and UNSUBSCRIBE: asking owners, activation, retained messages, and how a subscription is served.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use shard::buffer::Blob;
use shard::mesh::ShardId;
use shard::{Effects, Slot};
use wire::frame::Frame;
use wire::mqtt::topic::{TopicFilter, overlap};
use wire::mqtt::{PacketId, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe};

use super::{Options, Route, SessionId, Subscription};
use crate::connection::inbound::Flow;
use crate::connection::{Connection, ConnectionId, Phase, Seat};
use crate::counters::Counter;
use crate::delivery::feed::{Feed, FeedId, Image};
use crate::delivery::write::waiting;
use crate::delivery::{DirectSubscriber, LocalGroup};
use crate::frames;
use crate::limits::{FEEDS_PER_CONNECTION, OUTBOX_FILL_BYTES, REQUESTS_PER_CONNECTION, RETAINED_SLICE};
use crate::packets;
use crate::switch::{Switch, TimerKind, timer_word};
use crate::topic::retained::{Cursor, Walk};
use crate::topic::tree::FilterId;

/// A SUBSCRIBE that waits for owners to confirm.
pub struct Request {
    connection: ConnectionId,
    session: SessionId,
    packet_id: PacketId,
    /// Confirmations that have not come.
    waits: u32,
    codes: Vec<ReasonCode>,
    adds: Vec<Add>,
    /// How many of them the session does not have.
    new: usize,
}

/// One filter of a SUBSCRIBE, to be active when all owners know it.
struct Add {
    filter: Box<str>,
    /// The group's name and key.
    group: Option<(Box<str>, u64)>,
    options: SubscribeOptions,
    identifier: u32,
}

impl Add {
    fn is(&self, filter: &str, group: Option<&str>) -> bool {
        *self.filter == *filter && self.group.as_ref().map(|(name, _)| &**name) == group
    }
}

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
}

impl Switch {
    /// Handles a SUBSCRIBE.
    pub fn subscribe(&mut self, slot: Slot, packet: &Subscribe<'_>, fx: &mut Effects) -> Flow {
        let conn = self.connections.at(slot);
        if u32::from(conn.requests) >= REQUESTS_PER_CONNECTION {
            return Flow::Wait;
        }
        let (session, v5, bridge) = (conn.session.expect("an open connection has one"), conn.v5(), conn.bridge);
        let mut request = Request {
            connection: self.connections.id(slot),
            session,
            packet_id: packet.packet_id,
            waits: 0,
            codes: Vec::new(),
            adds: Vec::new(),
            new: 0,
        };
        let asked: usize = self.requests.iter().filter(|(_, r)| r.session == session).map(|(_, r)| r.new).sum();
        let have = self.sessions.at(session).subscriptions.len() + asked;
        let levels_max = usize::from(self.limits.max_topic_levels);
        for (text, mut options) in packet.filters() {
            let parsed = TopicFilter::parse(text, levels_max);
            let Ok(filter) = parsed else {
                request.codes.push(if v5 { ReasonCode::TopicFilterInvalid } else { ReasonCode::UnspecifiedError });
                continue;
            };
            if filter.group().is_some() && options.no_local {
                // [MQTT-3.8.3-4].
                return Flow::Close(ReasonCode::ProtocolError);
            }
            let known = self.find_subscription(session, filter.filter(), filter.group()).is_some()
                || request.adds.iter().any(|add| add.is(filter.filter(), filter.group()));
            if !known && have + request.new >= self.limits.max_subscriptions as usize {
                request.codes.push(if v5 { ReasonCode::QuotaExceeded } else { ReasonCode::UnspecifiedError });
                continue;
            }
            request.new += usize::from(!known);
            options.no_local |= bridge && filter.group().is_none();
            options.qos = options.qos.min(self.qos_max());
            request.codes.push(packets::granted(options.qos));
            let group = filter.group().map(|name| (name.into(), self.group_key(name, filter.filter())));
            let identifier = packet.subscription_identifier.unwrap_or(0);
            request.adds.push(Add { filter: filter.filter().into(), group, options, identifier });
        }
        self.ask(request, fx);
        Flow::Next
    }

    /// Handles an UNSUBSCRIBE.
    pub fn unsubscribe(&mut self, slot: Slot, packet: &Unsubscribe<'_>, fx: &mut Effects) -> Flow {
        let conn = self.connections.at(slot);
        if conn.requests > 0 {
            // A SUBSCRIBE before it has not come into force.
            return Flow::Wait;
        }
        let session = conn.session.expect("an open connection has one");
        let mut codes = Vec::new();
        for text in packet.filters() {
            let removed = TopicFilter::parse(text, usize::from(u16::MAX))
                .ok()
                .and_then(|filter| self.find_subscription(session, filter.filter(), filter.group()))
                .map(|index| self.remove_subscription(session, index, fx));
            codes.push(if removed.is_some() { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted });
        }
        let version = self.connections.at(slot).version;
        self.write(slot, |out| packets::unsuback(version, packet.packet_id, &codes, out));
        Flow::Next
    }

    /// An owner knows the filter of a request.
    pub fn confirmed(&mut self, request: u64, fx: &mut Effects) {
        let key = request as usize - 1;
        let waiting = &mut self.requests[key];
        waiting.waits -= 1;
        if waiting.waits == 0 {
            let request = self.requests.remove(key);
            if let Some(conn) = self.connections.find(request.connection) {
                conn.requests -= 1;
            }
            self.activate(request, fx);
        }
    }

    /// Takes subscription `index` of a session away.
    pub fn remove_subscription(&mut self, id: SessionId, index: usize, fx: &mut Effects) {
        let subscription = self.sessions.at_mut(id).subscriptions.swap_remove(index);
        self.counters.sub(Counter::Subscriptions, 1);
        self.unroute(id, &subscription, fx);
        if !matches!(subscription.route, Route::Shared(..)) {
            self.cancel_fetches(id, subscription.filter);
        }
        self.subscriber_gone(subscription.filter);
    }

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

    /// Goes on with the retained messages of a connection, if there is room for a slice.
    pub fn fetch_more(&mut self, slot: Slot, fx: &mut Effects) {
        while let Some(key) = self.fetching.get(&slot).and_then(|keys| keys.front().copied()) {
            let fetch = &mut self.fetches[key];
            if fetch.asked {
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

    /// The number of a group, the same on every shard: a hash of its name and filter.
    fn group_key(&self, name: &str, filter: &str) -> u64 {
        self.placement.client_hash(&format!("{name}\0{filter}")).max(1)
    }

    fn ask(&mut self, mut request: Request, fx: &mut Effects) {
        let key = self.requests.vacant_key();
        let word = key as u64 + 1;
        let mut waits = 0;
        for index in 0..request.adds.len() {
            let add = &request.adds[index];
            match &add.group {
                // A member is there before the owners pick it.
                Some((_, group)) => {
                    let group = *group;
                    let id = self.filters.insert(&add.filter);
                    self.add_subscription(request.session, id, add, fx);
                    waits += self.report_group(id, group, word, fx);
                }
                None => {
                    let id = self.filters.insert(&add.filter);
                    self.filters.value_mut(id).asked += 1;
                    waits += self.ask_owners(&add.filter.clone(), word, fx);
                }
            }
        }
        request.waits = waits;
        if waits == 0 {
            return self.activate(request, fx);
        }
        if let Some(conn) = self.connections.find(request.connection) {
            conn.requests += 1;
        }
        assert_eq!(self.requests.insert(request), key);
    }

    /// All owners know the filters: the subscriptions are in force.
    fn activate(&mut self, request: Request, fx: &mut Effects) {
        let Request { connection, session, packet_id, codes, adds, .. } = request;
        let alive = self.connections.find(connection).is_some_and(|conn| conn.phase == Phase::Open);
        if self.sessions.find(session).is_none() {
            // Its subscriptions ended with it; owners that just learned of a filter forget it again.
            for add in adds.iter().filter(|add| add.group.is_none()) {
                let id = self.answered_filter(&add.filter);
                self.subscriber_gone(id);
            }
            return;
        }
        if alive {
            let version = self.connections.at(connection.slot).version;
            self.write(connection.slot, |out| packets::suback(version, packet_id, &codes, out));
        }
        for add in &adds {
            if add.group.is_some() {
                continue;
            }
            let id = self.answered_filter(&add.filter);
            let is_new = self.add_subscription(session, id, add, fx);
            let wanted = match add.options.retain_handling {
                RetainHandling::SendAtSubscribe => true,
                RetainHandling::SendIfNew => is_new,
                RetainHandling::DoNotSend => false,
            };
            if alive && wanted && self.limits.retain_available {
                self.begin_fetch(connection, session, add);
            }
        }
        if alive {
            self.fetch_more(connection.slot, fx);
            self.unpark_soon(connection.slot);
        }
    }

    /// The filter of a subscription that all owners know.
    fn answered_filter(&mut self, filter: &str) -> FilterId {
        let id = self.filters.get(filter).expect("a filter that was asked for stays");
        self.filters.value_mut(id).asked -= 1;
        id
    }

    /// Adds a subscription, or replaces that of the same filter ([MQTT-3.8.4-3]). Whether it is new.
    fn add_subscription(&mut self, session: SessionId, id: FilterId, add: &Add, fx: &mut Effects) -> bool {
        let wildcard = add.filter.contains(['+', '#']);
        let options = Options::new(add.options.qos, add.options.no_local, add.options.retain_as_published)
            .with_wildcard(wildcard);
        let route = match add.group {
            Some((_, key)) => Route::Shared(key, 0),
            None => Route::Idle,
        };
        let subscription = Subscription { filter: id, identifier: add.identifier, options, route };
        let known = self.find_subscription(session, &add.filter, add.group.as_ref().map(|(name, _)| &**name));
        let index = match known {
            Some(index) => {
                let old = self.sessions.at(session).subscriptions[index];
                self.unroute(session, &old, fx);
                if add.group.is_none() {
                    self.cancel_fetches(session, id);
                }
                self.sessions.at_mut(session).subscriptions[index] = subscription;
                index
            }
            None => {
                self.counters.add(Counter::Subscriptions, 1);
                let subscriptions = &mut self.sessions.at_mut(session).subscriptions;
                if subscriptions.capacity() == 0 {
                    subscriptions.reserve_exact(1);
                }
                subscriptions.push(subscription);
                subscriptions.len() - 1
            }
        };
        match &add.group {
            Some((name, key)) => self.join_group(session, index, name, *key),
            None => {
                self.serve_overlaps_directly(session, index, fx);
                self.route_subscription(session, index);
            }
        }
        known.is_none()
    }

    /// Decides how a subscription is served, and begins to.
    fn route_subscription(&mut self, session: SessionId, index: usize) {
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
    fn feed_for(&self, id: SessionId, index: usize) -> Option<(Slot, Image)> {
        let session = self.sessions.at(id);
        let subscription = &session.subscriptions[index];
        let conn: &Connection = self.connections.at(session.connection?.slot);
        let plain = subscription.options.qos() == QoS::AtMostOnce && !subscription.options.no_local();
        if !plain || conn.alias_max > 0 || conn.seats.len() >= FEEDS_PER_CONNECTION {
            return None;
        }
        let others = session.subscriptions.iter().enumerate().filter(|(other, _)| *other != index);
        if others.into_iter().any(|(_, other)| self.overlaps(subscription, other)) {
            return None;
        }
        let image = Image {
            v5: conn.v5(),
            retain_as_published: subscription.options.retain_as_published(),
            subscription_identifier: subscription.identifier,
        };
        Some((session.connection?.slot, image))
    }

    fn overlaps(&self, a: &Subscription, b: &Subscription) -> bool {
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
    fn serve_overlaps_directly(&mut self, id: SessionId, index: usize, fx: &mut Effects) {
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
    fn unroute(&mut self, id: SessionId, subscription: &Subscription, fx: &mut Effects) {
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
    fn reindex(&mut self, moved: SessionId, filter: FilterId, change: impl Fn(&Route) -> Option<Route>) {
        // A session that is ending has no subscriptions to correct.
        let Some(session) = self.sessions.find(moved) else { return };
        for subscription in session.subscriptions.iter_mut().filter(|s| s.filter == filter) {
            if let Some(route) = change(&subscription.route) {
                subscription.route = route;
                return;
            }
        }
    }

    fn feed_of(&mut self, filter: FilterId, image: Image) -> FeedId {
        if let Some((_, feed)) = self.filters.value(filter).feeds.iter().find(|(known, _)| *known == image) {
            return *feed;
        }
        let feed = FeedId(self.feeds.insert(Feed::new(filter, image)) as u32);
        self.filters.value_mut(filter).feeds.push((image, feed));
        feed
    }

    fn take_seat(&mut self, slot: Slot, id: FeedId) {
        let feed = &mut self.feeds[id.0 as usize];
        let member = feed.join(slot);
        let conn = self.connections.at_mut(slot);
        conn.seats.push(Seat { feed: id, member });
        let alone = conn.seats.len() == 1;
        let slow = !alone || conn.outbox_waits() || conn.packet_bytes_max != u32::MAX;
        feed.member_mut(member).set(slow, conn.blocked);
        if !alone {
            // All feeds of this connection are read through it from now on.
            for index in 0..conn.seats.len() {
                let seat = conn.seats.at(index).expect("counted");
                self.feeds[seat.feed.0 as usize].member_mut(seat.member).set(true, conn.blocked);
            }
        }
    }

    fn leave_seat(&mut self, id: SessionId, feed_id: FeedId) {
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

    fn join_group(&mut self, session: SessionId, index: usize, name: &str, key: u64) {
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

    fn leave_group(&mut self, id: SessionId, filter: FilterId, key: u64, index: u32, fx: &mut Effects) {
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

    fn find_subscription(&self, id: SessionId, filter: &str, group: Option<&str>) -> Option<usize> {
        let filter_id = self.filters.get(filter)?;
        let key = group.map(|name| self.group_key(name, filter));
        let wanted = |subscription: &Subscription| match subscription.route {
            Route::Shared(of, _) => key == Some(of),
            _ => key.is_none(),
        };
        self.sessions.at(id).subscriptions.iter().position(|s| s.filter == filter_id && wanted(s))
    }

    fn begin_fetch(&mut self, connection: ConnectionId, session: SessionId, add: &Add) {
        let options = Options::new(add.options.qos, add.options.no_local, add.options.retain_as_published);
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
        });
        self.fetching.entry(connection.slot).or_default().push_back(key);
        self.connections.at_mut(connection.slot).fetching = true;
    }

    /// The publish of an owner that this shard's subscribers have heard of last.
    fn routed_by(&self, owner: ShardId) -> u64 {
        if owner == self.id { self.book.routed } else { self.inboxes[usize::from(owner.0)].routed }
    }

    fn end_fetch(&mut self, slot: Slot, key: usize) {
        self.fetches.remove(key);
        let keys: &mut VecDeque<usize> = self.fetching.get_mut(&slot).expect("it was fetching");
        keys.retain(|other| *other != key);
        if keys.is_empty() {
            self.fetching.remove(&slot);
            self.connections.at_mut(slot).fetching = false;
        }
    }

    fn cancel_fetches(&mut self, id: SessionId, filter: FilterId) {
        let Some(connection) = self.sessions.at(id).connection else { return };
        let Some(keys) = self.fetching.get(&connection.slot) else { return };
        let filter = self.filters.filter(filter);
        for key in keys {
            let fetch = &mut self.fetches[*key];
            fetch.cancelled |= *fetch.filter == *filter;
        }
    }

    /// A slice of retained messages that this shard owns itself.
    fn fetch_here(&mut self, key: usize, fx: &mut Effects) -> Walk {
        let fetch = &mut self.fetches[key];
        let (session, options, identifier) = (fetch.session, fetch.options, fetch.identifier);
        let filter = fetch.filter.clone();
        let until = fetch.until[usize::from(self.id.0)];
        let mut cursor = Cursor::from_text(&std::mem::take(&mut fetch.cursor));
        let mut slice: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        let walk = self.retained.walk(&filter, &mut cursor, self.now, 1024, |_, retained| {
            if frames::read(retained.frame()).header.number > until {
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
