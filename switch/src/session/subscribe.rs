//! SUBSCRIBE and UNSUBSCRIBE: asking owners, activation, retained messages, and how a subscription is served.

use persistence::{Position, Refused};
use shard::{Effects, Slot};
use wire::entry::{self, Entry};
use wire::mqtt::topic::TopicFilter;
use wire::mqtt::{PacketId, ReasonCode, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe};

use super::{Options, Route, SessionId, Subscription};
use crate::access::live::refusal;
use crate::access::rules::Extent;
use crate::config::access::DenyAction;
use crate::connection::inbound::Flow;
use crate::connection::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::journal::restore::RECOVERY;
use crate::journal::wait::Waiter;
use crate::limits::REQUESTS_PER_CONNECTION;
use crate::packets;
use crate::planted::{Fault, planted};
use crate::switch::Switch;
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
    /// An earlier request of the session is not in force.
    behind: bool,
    /// The session's next request.
    next: Option<usize>,
}

/// A SUBSCRIBE that is in force; SUBACK and retained messages wait for the journal.
pub struct Granted {
    request: Request,
    fetches: Vec<usize>,
}

impl Granted {
    /// The connection that waits for SUBACK.
    pub fn connection(&self) -> ConnectionId {
        self.request.connection
    }
}

/// One filter of a SUBSCRIBE, to be active when all owners know it.
pub(super) struct Add {
    pub(super) filter: Box<str>,
    /// The group's name and key.
    group: Option<(Box<str>, u64)>,
    pub(super) options: SubscribeOptions,
    pub(super) identifier: u32,
    /// A service granted it.
    pub(super) told: bool,
}

impl Add {
    fn is(&self, filter: &str, group: Option<&str>) -> bool {
        *self.filter == *filter && self.group.as_ref().map(|(name, _)| &**name) == group
    }
}

impl Switch {
    /// Handles a SUBSCRIBE.
    pub fn subscribe(&mut self, slot: Slot, packet: &Subscribe<'_>, fx: &mut Effects) -> Flow {
        let conn = self.connections.at(slot);
        if u32::from(conn.requests) >= REQUESTS_PER_CONNECTION {
            return Flow::Wait;
        }
        let kept = conn.session.is_some_and(|session| self.sessions.at(session).kept.is_some());
        let entries: usize = packet.filters().map(|(filter, _)| filter.len() + 64).sum();
        if kept && !self.journal.takes(entries) && !self.journal.is_fenced() {
            let connection = self.connections.id(slot);
            self.wait_for_room(connection);
            return Flow::Wait;
        }
        if !self.asked_about_filters(slot, packet) {
            return Flow::Wait;
        }
        let conn = self.connections.at(slot);
        let (session, v5, bridge) = (conn.session.expect("an open connection has one"), conn.v5(), conn.bridge);
        let mut request = Request {
            connection: self.connections.id(slot),
            session,
            packet_id: packet.packet_id,
            waits: 0,
            codes: Vec::new(),
            adds: Vec::new(),
            new: 0,
            behind: false,
            next: None,
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
            let (grant, told) = self.judge_asked(session, &filter, options.qos);
            if grant.extent == Extent::None {
                if self.deny_action() == DenyAction::Disconnect {
                    return Flow::Close(ReasonCode::NotAuthorized);
                }
                request.codes.push(refusal(v5));
                continue;
            }
            let known = self.find_subscription(session, filter.filter(), filter.group()).is_some()
                || request.adds.iter().any(|add| add.is(filter.filter(), filter.group()));
            if !known && have + request.new >= self.limits.max_subscriptions as usize {
                request.codes.push(if v5 { ReasonCode::QuotaExceeded } else { ReasonCode::UnspecifiedError });
                continue;
            }
            request.new += usize::from(!known);
            options.no_local |= bridge && filter.group().is_none();
            options.qos = options.qos.min(self.qos_max()).min(grant.qos);
            request.codes.push(packets::granted(options.qos));
            let group = filter.group().map(|name| (name.into(), self.group_key(name, filter.filter())));
            let identifier = packet.subscription_identifier.unwrap_or(0);
            request.adds.push(Add { filter: filter.filter().into(), group, options, identifier, told });
        }
        self.filters_judged(session);
        if !self.takes(slot, packets::suback_len(&request.codes)) {
            return Flow::Close(ReasonCode::PacketTooLarge);
        }
        self.ask(request, fx);
        Flow::Next
    }

    /// Handles an UNSUBSCRIBE.
    pub fn unsubscribe(&mut self, slot: Slot, packet: &Unsubscribe<'_>, fx: &mut Effects) -> Flow {
        let session = self.connections.at(slot).session.expect("an open connection has one");
        if self.last_request(session).is_some() && !planted(Fault::UnsubscribeOvertakes) {
            // A SUBSCRIBE before it has not come into force.
            return Flow::Wait;
        }
        if self.sessions.at(session).kept.is_some() && !self.journal.notes_fit() {
            let connection = self.connections.id(slot);
            self.wait_for_room(connection);
            return Flow::Wait;
        }
        // What it finds gone may be so in memory alone, since a moment ago.
        let kept = self.sessions.at(session).kept.is_some();
        let mut ticket = if kept { self.journal.tail() } else { Position(0) };
        let mut codes = vec![ReasonCode::NoSubscriptionExisted; packet.filters().count()];
        if !self.takes(slot, packets::unsuback_len(&codes)) {
            return Flow::Close(ReasonCode::PacketTooLarge);
        }
        for (text, code) in packet.filters().zip(&mut codes) {
            let Ok(filter) = TopicFilter::parse(text, usize::from(u16::MAX)) else { continue };
            let (name, group) = (filter.filter(), filter.group());
            let Some(index) = self.find_subscription(session, name, group) else { continue };
            self.remove_subscription(session, index, fx);
            *code = ReasonCode::Success;
            if let Some(kept) = &self.sessions.at(session).kept {
                let entry = Entry::Unsubscribed { uid: kept.uid, filter: name, group: group.unwrap_or("") };
                match self.journal.note_awaited(&entry) {
                    Some(written) => ticket = written,
                    None => return Flow::Close(ReasonCode::ImplementationSpecificError),
                }
            }
        }
        let version = self.connections.at(slot).version;
        if self.journal.holds(ticket) {
            self.write(slot, |out| packets::unsuback(version, packet.packet_id, &codes, out));
        } else {
            let unsubscribed = (self.connections.id(slot), packet.packet_id, codes);
            self.journal.wait(ticket, Waiter::Unsubscribed(Box::new(unsubscribed)));
        }
        Flow::Next
    }

    /// An owner knows the filter of a request. The requests of a session come into force in the order in which they came,
    /// whichever is confirmed first: the later of two replaces what the earlier one made ([MQTT-3.8.4-3]).
    pub fn confirmed(&mut self, request: u64, fx: &mut Effects) {
        if request == RECOVERY {
            return self.recovery_confirmed(fx);
        }
        let key = request as usize - 1;
        let waiting = &mut self.requests[key];
        waiting.waits -= 1;
        let mut ready = (waiting.waits == 0 && !waiting.behind).then_some(key);
        while let Some(key) = ready {
            let request = self.requests.remove(key);
            ready = request.next.filter(|next| {
                let next = &mut self.requests[*next];
                next.behind = false;
                next.waits == 0
            });
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

    /// Whether an answer of v5 of this size fits the client's Maximum Packet Size. One that does not is never sent
    /// ([MQTT-3.1.2-24]), and who waits for it would wait for ever: the connection ends before the request takes effect.
    fn takes(&self, slot: Slot, bytes: usize) -> bool {
        bytes <= self.connections.at(slot).packet_bytes_max as usize
    }

    /// The number of a group, the same on every shard: a hash of its name and filter.
    pub(crate) fn group_key(&self, name: &str, filter: &str) -> u64 {
        self.placement.client_hash(&format!("{name}\0{filter}")).max(1)
    }

    /// The request of a session that came last, if one is not in force.
    fn last_request(&self, session: SessionId) -> Option<usize> {
        self.requests
            .iter()
            .find(|(_, request)| request.session == session && request.next.is_none())
            .map(|(key, _)| key)
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
        if planted(Fault::SubackEarly) {
            self.write_suback(&request);
        }
        let before = self.last_request(request.session);
        request.behind = before.is_some();
        if waits == 0 && !request.behind {
            return self.activate(request, fx);
        }
        if let Some(before) = before {
            self.requests[before].next = Some(key);
        }
        if let Some(conn) = self.connections.find(request.connection) {
            conn.requests += 1;
        }
        assert_eq!(self.requests.insert(request), key);
    }

    /// All owners know the filters: the subscriptions are in force.
    fn activate(&mut self, mut request: Request, fx: &mut Effects) {
        let ticket = self.write_subscriptions(&request);
        if ticket.is_err() {
            self.refuse_subscriptions(&mut request, fx);
        }
        let Request { connection, session, ref adds, .. } = request;
        let alive = self.connections.find(connection).is_some_and(|conn| conn.phase == Phase::Open);
        if self.sessions.find(session).is_none() {
            // Its subscriptions ended with it; owners that just learned of a filter forget it again.
            for add in adds.iter().filter(|add| add.group.is_none()) {
                let id = self.answered_filter(&add.filter);
                self.subscriber_gone(id);
            }
            return;
        }
        let ticket = ticket.unwrap_or(Position(0));
        let holds = self.journal.holds(ticket) || planted(Fault::SubackBeforeWritten);
        if alive && holds && !planted(Fault::SubackEarly) {
            self.write_suback(&request);
        }
        let mut fetches = Vec::new();
        for add in adds {
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
                let fetch = self.begin_fetch(connection, session, add, holds);
                if !holds {
                    fetches.push(fetch);
                }
            }
        }
        if alive && holds {
            self.fetch_more(connection.slot, fx);
        } else if alive {
            self.journal.wait(ticket, Waiter::Granted(Box::new(Granted { request, fetches })));
        }
        // The client may have come back meanwhile: an UNSUBSCRIBE of its new connection waits, too.
        if let Some(connection) = self.sessions.find(session).and_then(|session| session.connection) {
            self.unpark_soon(connection.slot);
        }
    }

    /// Writes the subscriptions of a durable session that come into force.
    fn write_subscriptions(&mut self, request: &Request) -> Result<Position, Refused> {
        let mut ticket = Position(0);
        let Some(uid) = self.sessions.find(request.session).and_then(|session| session.kept.as_ref()).map(|k| k.uid)
        else {
            return Ok(ticket);
        };
        for add in &request.adds {
            if self.has_subscription(request.session, add) {
                // Many clients ask again for what they have, each time that they connect. What they asked for a moment ago
                // may not be durable.
                ticket = ticket.max(self.journal.tail());
                continue;
            }
            let entry = Entry::Subscribed(entry::Subscription {
                uid,
                filter: &add.filter,
                group: add.group.as_ref().map_or("", |(name, _)| name),
                qos: add.options.qos,
                no_local: add.options.no_local,
                retain_as_published: add.options.retain_as_published,
                told: add.told,
                identifier: add.identifier,
            });
            ticket = self.journal.commit(&entry)?;
        }
        Ok(ticket)
    }

    /// Whether each message of a subscription to be is judged.
    fn is_judged(&self, session: SessionId, add: &Add) -> bool {
        !add.told && self.judge_subscription(session, &add.filter, false).extent != Extent::Whole
    }

    /// Whether a session has just this subscription in force. A member of a group joins before it is written.
    fn has_subscription(&self, session: SessionId, add: &Add) -> bool {
        let wanted = Options::new(add.options.qos, add.options.no_local, add.options.retain_as_published)
            .with_wildcard(add.filter.contains(['+', '#']))
            .with_told(add.told)
            .with_judged(self.is_judged(session, add));
        add.group.is_none()
            && self.find_subscription(session, &add.filter, None).is_some_and(|index| {
                let known = &self.sessions.at(session).subscriptions[index];
                known.options == wanted && known.identifier == add.identifier
            })
    }

    /// The journal does not take the subscriptions of a request: none of them comes into force.
    fn refuse_subscriptions(&mut self, request: &mut Request, fx: &mut Effects) {
        self.counters.add(Counter::JournalRefused, 1);
        let v5 = self.connections.get(request.connection).is_some_and(|conn| conn.v5());
        let refused = if v5 { ReasonCode::QuotaExceeded } else { ReasonCode::UnspecifiedError };
        request.codes.iter_mut().filter(|code| !code.is_error()).for_each(|code| *code = refused);
        let uid = self.sessions.find(request.session).and_then(|session| session.kept.as_ref()).map(|kept| kept.uid);
        for add in std::mem::take(&mut request.adds) {
            let group = add.group.as_ref().map(|(name, _)| &**name);
            let had = self.find_subscription(request.session, &add.filter, group).is_some();
            if let Some(uid) = uid.filter(|_| !had) {
                // Those before the one that was refused were written.
                let group = add.group.as_ref().map_or("", |(name, _)| name);
                self.journal.note(&Entry::Unsubscribed { uid, filter: &add.filter, group });
            }
            match &add.group {
                None => {
                    let id = self.answered_filter(&add.filter);
                    self.subscriber_gone(id);
                }
                Some((name, _)) => {
                    if let Some(index) = self.find_subscription(request.session, &add.filter, Some(name)) {
                        self.remove_subscription(request.session, index, fx);
                    }
                }
            }
        }
    }

    /// The journal knows the subscriptions of a request: SUBACK, and retained messages.
    pub(crate) fn granted(&mut self, granted: Granted, fx: &mut Effects) {
        let Granted { request, fetches } = granted;
        if self.connections.get(request.connection).is_none_or(|conn| conn.phase != Phase::Open) {
            return;
        }
        self.write_suback(&request);
        self.release_fetches(&fetches);
        self.fetch_more(request.connection.slot, fx);
    }

    fn write_suback(&mut self, request: &Request) {
        let slot = request.connection.slot;
        let version = self.connections.at(slot).version;
        self.write(slot, |out| packets::suback(version, request.packet_id, &request.codes, out));
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
            .with_wildcard(wildcard)
            .with_told(add.told)
            .with_judged(self.is_judged(session, add));
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

    fn find_subscription(&self, id: SessionId, filter: &str, group: Option<&str>) -> Option<usize> {
        let filter_id = self.filters.get(filter)?;
        let key = group.map(|name| self.group_key(name, filter));
        self.sessions.at(id).subscriptions.iter().position(|s| s.filter == filter_id && s.route.group() == key)
    }
}
