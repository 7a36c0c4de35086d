//! What must hold of each PUBLISH that a client gets: it was published, it matches, it is in order, it is not a copy
//! too many, and it keeps to the limits that the client told.

use switch::limits::WILL_TRIES;

use crate::model::{ClientId, ConnId, GroupOwed, Inflight, Message, MessageId, Owed, Stage, Sub, number_of};
use crate::packet::{Delivery, Version};
use crate::topics::{FILTERS, SHARED, TOPICS};
use crate::trace::trace;
use crate::world::{Check, World, fail};

/// The topic of hostile clients: what is published there is nobody's.
const HOSTILE: &[u8] = b"hostile";

impl World {
    /// A client got a PUBLISH.
    pub(crate) fn delivered(&mut self, client: ClientId, conn: ConnId, delivery: &Delivery<'_>) -> Check {
        self.deliveries += 1;
        let topic = self.topic_of(client, conn, delivery)?;
        let number = match number_of(delivery.payload) {
            Some(number) if (number as usize) < self.messages.len() => Some(number),
            None if delivery.payload.is_empty() || topic.is_none() => None,
            _ => fail!("c{client} #{conn} got a payload that nobody sent: {delivery:02x?}"),
        };
        let known = !self.crashed || self.clients[client].session.certain;
        if known
            && delivery.retain
            && delivery.payload.is_empty()
            && !self.clients[client].subs.iter().any(|sub| sub.retain_as_published)
        {
            fail!("c{client} #{conn}: a retained message without payload");
        }
        if let (Some(number), Some(topic)) = (number, topic) {
            self.is_as_published(client, conn, number, topic, delivery)?;
        }
        let first = delivery.qos == 0 || self.enters_flight(client, conn, number, delivery)?;
        if let (Some(number), true) = (number, first) {
            self.is_no_copy_too_many(client, conn, number, delivery)?;
            self.is_in_order(client, conn, number, delivery)?;
        }
        match delivery.qos {
            0 => {}
            1 => self.answer(client, conn, 4, delivery.id),
            _ => self.answer(client, conn, 5, delivery.id),
        }
        Ok(())
    }

    /// The topic, by name or by alias; `None`: that of hostile clients.
    fn topic_of(&mut self, client: ClientId, conn: ConnId, delivery: &Delivery<'_>) -> Check<Option<usize>> {
        let state = &mut self.conns[conn];
        if delivery.topic.is_empty() {
            return match state.aliases.get(&delivery.alias) {
                Some(topic) => Ok(*topic),
                None => fail!("c{client} #{conn}: alias {} was not set up", delivery.alias),
            };
        }
        let topic = TOPICS.iter().position(|topic| topic.as_bytes() == delivery.topic);
        if topic.is_none() && delivery.topic != HOSTILE {
            fail!("c{client} #{conn}: topic {:?}", String::from_utf8_lossy(delivery.topic));
        }
        if delivery.alias > 0 {
            if delivery.alias > state.alias_maximum {
                fail!("c{client} #{conn}: alias {} over {}", delivery.alias, state.alias_maximum);
            }
            state.aliases.insert(delivery.alias, topic);
        }
        Ok(topic)
    }

    /// The subscriptions of a client by which a message may come.
    fn bringing<'a>(&'a self, client: ClientId, message: &'a Message) -> impl Iterator<Item = &'a Sub> + Clone {
        let certain = self.clients[client].session.certain;
        self.clients[client].subs.iter().filter(move |sub| {
            self.matches.of(sub.filter, message.topic)
                && (!certain || sub.may_bring(message.sent))
                && !(sub.no_local && message.client == client)
        })
    }

    /// Topic, QoS, RETAIN, expiry and identifiers are those of the message and of subscriptions that match it.
    fn is_as_published(
        &self,
        client: ClientId,
        conn: ConnId,
        number: MessageId,
        topic: usize,
        delivery: &Delivery<'_>,
    ) -> Check {
        let message = &self.messages[number as usize];
        let who = format_args!("c{client} #{conn}: m{number}");
        if message.topic != topic || message.bytes != delivery.payload.len() {
            fail!("{who} came to {} with {} bytes: {message:?}", TOPICS[topic], delivery.payload.len());
        }
        if message.cancelled {
            fail!("{who} is a will that must not be published");
        }
        if self.crashed && !self.clients[client].session.certain {
            // A session that had ended may be back.
            return Ok(());
        }
        let subs = self.bringing(client, message);
        let Some(qos_max) = subs.clone().map(|sub| sub.qos).max() else {
            fail!("{who} on {} matches no subscription: {:?}", TOPICS[topic], self.clients[client].subs);
        };
        let qos_min = subs.clone().map(|sub| sub.qos).min().unwrap_or(0);
        if delivery.qos > qos_max.min(message.qos) || delivery.qos < qos_min.min(message.qos) {
            fail!("{who} of QoS {} came with {}, subscribed {qos_min} to {qos_max}", message.qos, delivery.qos);
        }
        let mut as_published = subs.clone().map(|sub| sub.retain_as_published);
        let (any, all) = (as_published.clone().any(|yes| yes), as_published.all(|yes| yes));
        if delivery.retain && !message.retain {
            fail!("{who} came with RETAIN, and was not published so");
        }
        if !delivery.retain && message.retain && all {
            fail!("{who} lost its RETAIN flag, and was to come as published");
        }
        if delivery.retain && !any {
            self.is_fresh(client, conn, number, delivery)?;
        }
        let v5 = self.conns[conn].version == Version::V5;
        let expiry_fits = match delivery.expiry {
            None => message.expiry == 0 || !v5,
            // What was sent before it expired may be sent again.
            Some(left) => (u32::from(!delivery.dup)..=message.expiry).contains(&left),
        };
        if !expiry_fits {
            fail!("{who} of expiry {} came with {:?}", message.expiry, delivery.expiry);
        }
        let age = self.conns[conn].opened_at.since(message.at).as_secs_f64();
        // A publisher that reads nothing is not read from: its message may have come late.
        let prompt = !self.conns[message.conn].was_paused;
        if message.expiry > 0 && prompt && !delivery.dup && age > f64::from(message.expiry) + 1.5 {
            fail!("{who} expired after {} s, {age} s before this connection began", message.expiry);
        }
        if delivery.identifiers.iter().any(|id| !subs.clone().any(|sub| sub.identifier == *id)) {
            fail!("{who} came with identifiers {:?} of other subscriptions", delivery.identifiers);
        }
        if delivery.identifiers.is_empty() && subs.clone().all(|sub| sub.identifier != 0) {
            fail!("{who} came without a Subscription Identifier");
        }
        Ok(())
    }

    /// A retained message is the newest that the topic's owner surely had when it was asked for.
    fn is_fresh(&self, client: ClientId, conn: ConnId, number: MessageId, delivery: &Delivery<'_>) -> Check {
        let message = &self.messages[number as usize];
        let wanting = self.bringing(client, message).filter(|sub| sub.wants_retained);
        // It may have come by the one that was asked for first.
        let Some(asked) = wanting.map(|sub| sub.asked).min() else {
            fail!("c{client} #{conn}: retained m{number}, and nobody asked for retained messages");
        };
        for &newer in self.retained[message.topic].iter().rev().take_while(|newer| **newer > number) {
            let newer_known = self.messages[newer as usize].accepted.is_some_and(|accepted| accepted < asked);
            if newer_known && self.follows(newer, number) {
                fail!("c{client} #{conn}: retained m{number} was replaced by m{newer} before it was asked for");
            }
        }
        let key = (message.client, message.topic, delivery.qos);
        let session = &self.clients[client].session;
        if let Some(newest) = session.newest_kept.get(&key)
            && session.certain
            && !delivery.dup
            && !message.resent
            && !self.conns[message.conn].raced
            && *newest > number
        {
            fail!("c{client} #{conn}: retained m{number} came behind the newer m{newest}");
        }
        Ok(())
    }

    /// Whether one retained message surely replaced another.
    pub(crate) fn follows(&self, newer: MessageId, older: MessageId) -> bool {
        let (newer, older) = (&self.messages[newer as usize], &self.messages[older as usize]);
        let raced = self.conns[newer.conn].raced || self.conns[older.conn].raced;
        let same_stream = newer.client == older.client && !newer.will && !older.will && !older.resent && !raced;
        (same_stream && newer.sent > older.sent) || older.accepted.is_some_and(|accepted| accepted < newer.sent)
    }

    /// A QoS 1 or 2 message takes its place in flight. Whether it is a first copy.
    fn enters_flight(
        &mut self,
        client: ClientId,
        conn: ConnId,
        message: Option<MessageId>,
        delivery: &Delivery<'_>,
    ) -> Check<bool> {
        self.order += 1;
        let order = self.order;
        let resumed = self.conns[conn].resumed;
        let session = &mut self.clients[client].session;
        let (id, qos, dup) = (delivery.id, delivery.qos, delivery.dup);
        let known = session.inflight.iter_mut().find(|inflight| inflight.id == id);
        let first = match known {
            Some(inflight) if session.certain => {
                let again = dup && inflight.message == message && inflight.qos == qos && inflight.conn != conn;
                let behind = inflight.order > 0 && inflight.order < self.conns[conn].resent;
                if !again || inflight.released || behind {
                    fail!("c{client} #{conn}: {id} is in use by {inflight:?}, and came with {message:?}, DUP {dup}");
                }
                self.conns[conn].resent = inflight.order.max(self.conns[conn].resent);
                inflight.conn = conn;
                false
            }
            known => {
                if dup && session.certain && !resumed {
                    fail!("c{client} #{conn}: {id}, m{message:?} is no copy, and came with DUP");
                }
                // Where in the order a copy of a lost one belongs nobody knows.
                let order = if dup { 0 } else { order };
                let place = Inflight { id, message, qos, received: false, released: false, conn, order };
                match known {
                    Some(inflight) => *inflight = place,
                    None => session.inflight.push(place),
                }
                // With DUP it is a copy of one that was lost on its way, or whose acknowledgement was.
                let copies = message.and_then(|message| session.copies.get(&message));
                let seen = copies.is_some_and(|copies| copies[1] > 0);
                // At QoS 2 no acknowledgement is lost: it is a copy.
                let settled = message
                    .is_some_and(|message| session.settled.contains(&message) && !session.fresh.contains(&message));
                qos == 2 || settled || !(dup && seen)
            }
        };
        let window = session.inflight.iter().filter(|inflight| inflight.conn == conn).count();
        if window > usize::from(self.conns[conn].receive_maximum) && session.certain {
            fail!("c{client} #{conn}: {window} in flight, Receive Maximum {}", self.conns[conn].receive_maximum);
        }
        Ok(first)
    }

    /// No more copies than there are ways for them to come.
    fn is_no_copy_too_many(
        &mut self,
        client: ClientId,
        conn: ConnId,
        number: MessageId,
        delivery: &Delivery<'_>,
    ) -> Check {
        let message = &self.messages[number as usize];
        let (mut ways, mut shared) = (0, 0);
        let (mut only_shared, mut groups) = (None, 0);
        for sub in self.bringing(client, message) {
            if sub.filter >= FILTERS.len() {
                shared += 1;
                only_shared = Some(sub.filter);
                groups |= 1u64 << sub.filter;
            } else {
                ways += 1;
            }
        }
        let wanted = message.retain
            && self.clients[client].subs.iter().any(|s| s.wants_retained && self.matches.of(s.filter, message.topic));
        let asked = |sub: &&Sub| sub.wants_retained && self.matches.of(sub.filter, message.topic);
        let retained = if wanted { self.clients[client].subs.iter().filter(asked).count() } else { 0 };
        // Subscriptions of QoS 1 and 2 that overlap bring one copy, of QoS 0 each its own.
        let live = if delivery.qos > 0 { ways.min(1) } else { ways };
        // Each subscription brings it live or retained, never both.
        let either = self.clients[client].subs.iter().filter(|sub| self.matches.of(sub.filter, message.topic));
        let tried = self.will_is_tried_again();
        let again = if delivery.qos == 0 { message.repeats } else { 0 };
        // A will that is refused somewhere is published again, so many times after each start.
        let tries = if message.will && tried { WILL_TRIES * (1 + message.repeats) } else { again };
        let sends = message.sends + tries;
        let either: u32 = either.map(|sub| if sub.may_bring(message.sent) { sends } else { 1 }).sum();
        // One that is passed on again behind a crash is another one to who got it as a retained message.
        let either = either + if message.retain { message.repeats } else { 0 };
        let limit = ((live + shared) as u32 * sends + retained as u32).min(either);
        let qos = message.qos;
        let session = &mut self.clients[client].session;
        let copies = session.copies.entry(number).or_default();
        let class = usize::from(delivery.qos > 0);
        copies[class] += 1;
        if delivery.qos == 1 {
            session.fresh.push(number);
        }
        // What a group hands on is published again where it is refused.
        if session.certain && copies[class] > limit && !(tried && shared > 0) {
            fail!("c{client} #{conn}: copy {} of m{number} at QoS {}, at most {limit}", copies[class], delivery.qos);
        }
        while groups != 0 {
            self.group_came.insert((groups.trailing_zeros() as usize, number));
            groups &= groups - 1;
        }
        if let (Some(filter), 1) = (only_shared, shared) {
            let copies = self.group_copies.entry((filter, number)).or_default();
            // To a session that is not sure of its subscriptions it may have come by another one.
            *copies += u32::from(session.certain);
            // A member that goes hands on what it did not acknowledge: only QoS 0 surely comes once.
            if *copies > sends && qos == 0 && session.certain {
                fail!("c{client} #{conn}: m{number} came to {copies} members of a group, QoS {}", delivery.qos);
            }
        }
        Ok(())
    }

    /// Whether a will of a session that lasts may be refused somewhere: a node with journals publishes it again, later.
    pub(crate) fn will_is_tried_again(&self) -> bool {
        self.swarm.plan.disk.is_some() && (self.has_small_queues() || self.journal_refuses())
    }

    /// Whether some shard may have no room for a will: then it comes there at QoS 0 neither, and is counted once.
    pub(crate) fn will_may_be_refused(&self, will: MessageId) -> bool {
        self.messages[will as usize].qos > 0 && (self.has_small_queues() || self.journal_refuses())
    }

    fn has_small_queues(&self) -> bool {
        self.swarm.plan.settings.limits.queue_memory < 1 << 20
    }

    /// What one client publishes on one topic comes in order, by QoS.
    fn is_in_order(&mut self, client: ClientId, conn: ConnId, number: MessageId, delivery: &Delivery<'_>) -> Check {
        let message = &self.messages[number as usize];
        // Connections that race are no one stream.
        let stream = !message.will && !message.resent && !self.conns[message.conn].raced;
        if !stream || self.clients[client].worker || delivery.retain {
            return Ok(());
        }
        let key = (message.client, message.topic, delivery.qos);
        let retain = message.retain;
        let session = &mut self.clients[client].session;
        let newest = session.newest.entry(key).or_insert(number);
        if number < *newest && session.certain && !delivery.dup {
            fail!("c{client} #{conn}: m{number} came behind the newer m{newest} on {}", TOPICS[key.1]);
        }
        *newest = number.max(*newest);
        if retain {
            let kept = session.newest_kept.entry(key).or_insert(number);
            *kept = number.max(*kept);
        }
        Ok(())
    }

    /// 0x10 says that nobody subscribes: so nobody may who surely does.
    pub(crate) fn nobody_subscribes(&self, number: MessageId) -> Check {
        for client in 0..self.clients.len() {
            // One that does not read has not heard that it was closed, perhaps so long ago that its session has ended.
            let deaf = self.open_conn(client).is_some_and(|conn| self.conns[conn].paused);
            if !deaf && self.certain_qos(client, number).is_some() {
                fail!("m{number} is acknowledged with 0x10, and c{client} subscribes: {:?}", self.clients[client].subs);
            }
        }
        Ok(())
    }

    /// 0x00 says that somebody subscribes: so somebody must who may.
    pub(crate) fn somebody_may_subscribe(&self, number: MessageId) -> Check {
        let message = &self.messages[number as usize];
        let may = |client: usize| {
            let name = &self.clients[client];
            let subs = name.subs.iter().filter(|sub| self.matches.of(sub.filter, message.topic));
            !name.session.certain || name.conns.len() > 1 || subs.clone().any(|sub| sub.may_bring(message.sent))
        };
        // What a group's last member left behind looks for another one.
        let mut groups = FILTERS.len()..FILTERS.len() + SHARED.len();
        let group = groups.any(|filter| self.ever_asked >> filter & 1 == 1 && self.matches.of(filter, message.topic));
        let forgotten = group || self.forgotten > message.sent;
        if !message.resent && !forgotten && !(0..self.clients.len()).any(may) {
            fail!("m{number} is acknowledged with 0x00, and nobody subscribes to {}", TOPICS[message.topic]);
        }
        Ok(())
    }

    /// The highest QoS with which a client has surely subscribed to a message since before it was sent.
    fn certain_qos(&self, client: ClientId, number: MessageId) -> Option<u8> {
        let message = &self.messages[number as usize];
        let name = &self.clients[client];
        if !name.session.certain {
            return None;
        }
        let served = match self.open_conn(client) {
            Some(conn) if self.conns[conn].silent => false,
            // A session that lasts is owed what comes, whether its connection is closed meanwhile or not.
            Some(conn) if self.may_be_refused(conn) && !(self.journal_refuses() && self.conns[conn].expiry > 0) => {
                false
            }
            Some(conn) => self.conns[conn].opened < message.sent || self.conns[conn].resumed,
            None => name.conns.is_empty() && name.session.expiry > 0 && self.cannot_have_expired(client),
        };
        let stable = name.subs.iter().filter(|sub| {
            self.matches.of(sub.filter, message.topic)
                && sub.stable_since(message.sent)
                && !(sub.no_local && message.client == client)
        });
        served.then(|| stable.map(|sub| sub.qos).max()).flatten()
    }

    fn cannot_have_expired(&self, client: ClientId) -> bool {
        let name = &self.clients[client];
        name.left_at.is_some_and(|left| self.now().since(left).as_secs_f64() < f64::from(name.session.expiry) - 0.5)
    }

    /// A message is accepted: all that surely subscribe are owed it.
    pub(crate) fn owe(&mut self, number: MessageId) {
        let message = self.messages[number as usize].clone();
        if self.crashed && message.qos == 2 && !self.clients[message.client].session.certain {
            // It may have been taken for a repeat of one that was lost.
            self.messages[number as usize].accepted = None;
            return;
        }
        if message.bytes == 0 || message.refused {
            return;
        }
        let mut members: Vec<(usize, ConnId, u8)> = Vec::new();
        for client in 0..self.clients.len() {
            let Some(qos) = self.certain_qos(client, number).map(|qos| qos.min(message.qos)) else { continue };
            let open = self.open_conn(client).filter(|conn| self.conns[*conn].opened < message.sent);
            if self.clients[client].worker {
                if let (Some(conn), Some(sub)) = (open, self.bringing(client, &message).next()) {
                    members.push((sub.filter, conn, qos));
                }
                continue;
            }
            let lasting = self.clients[client].session.expiry > 0 && qos > 0;
            let epoch = self.clients[client].session.epoch;
            // With a subscription that is only asked for it may come at another QoS.
            let sure = self.bringing(client, &message).all(|sub| sub.stable_since(message.sent));
            let class = if sure { usize::from(qos > 0) } else { 2 };
            match (lasting, open) {
                (true, _) => self.clients[client].owed.push(Owed { message: number, epoch, class, conn: None }),
                (false, Some(conn)) => {
                    self.clients[client].owed.push(Owed { message: number, epoch, class, conn: Some(conn) });
                }
                (false, None) => {}
            }
        }
        while let Some(&(filter, ..)) = members.first() {
            let of_group: Vec<_> = members.extract_if(.., |(of, ..)| *of == filter).collect();
            let lasting = message.qos == 1 && self.weak_groups >> filter & 1 == 0;
            let all = self.clients.iter().filter(|name| {
                name.worker && name.subs.iter().any(|sub| sub.filter == filter && sub.may_bring(message.sent))
            });
            // One that went since the last rest may have been picked before the switch noticed.
            let stirred = self.member_gone > self.rested || message.sent < self.rested;
            // A session that had ended may be back, with a place in the group that its client does not know of.
            let ghosts = self.crashed && self.clients.iter().any(|name| name.worker && !name.session.certain);
            if !lasting && (stirred || ghosts || all.count() > of_group.len()) {
                // A member that has gone, or of which nothing is certain, may have got it and lost it.
                continue;
            }
            // What a member that has gone was sent at QoS 0 is lost.
            let conns = if lasting { Vec::new() } else { of_group.iter().map(|(_, conn, _)| *conn).collect() };
            trace!(self, "m{number} is owed to a member of group {filter}, until one of {conns:?} ends");
            self.group_owed.push(GroupOwed { filter, message: number, lasting, conns });
        }
    }

    /// Whether a client reads and answers all that comes.
    pub(crate) fn is_prompt(&self, conn: ConnId) -> bool {
        let state = &self.conns[conn];
        state.stage == Stage::Open && !state.paused && state.owing.is_empty()
    }
}
