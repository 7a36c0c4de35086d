//! What clients do of their own accord.

use std::time::Duration;

use crate::model::{
    Client, ClientId, Conn, ConnId, Message, Outstanding, PAYLOAD_MIN, Request, Stage, Sub, Unheard, payload,
};
use crate::packet::{self, Connect, Publish, Version, Will};
use crate::topics::{FILTERS, PUBLISH_TOPICS, SHARED, TOPICS, filter_text};
use crate::trace::trace;
use crate::world::{Check, World};

/// Publishes of QoS 1 and 2 that a client has under way at most, whatever the switch would take.
const OUTSTANDING_MAX: usize = 12;
/// Subscriptions of a client at most.
const SUBS_MAX: usize = 6;

impl World {
    /// Somebody does something.
    pub(crate) fn act(&mut self) -> Check {
        let weights = self.swarm.manners.weights;
        let all = [
            weights.publish,
            weights.connect,
            weights.subscribe,
            weights.unsubscribe,
            weights.ping,
            weights.disconnect,
            weights.vanish,
            weights.hostile,
            weights.pause,
            weights.rest,
            weights.time,
        ];
        let mut pick = self.rng.u32(..all.iter().sum::<u32>());
        let mut action = 0;
        while pick >= all[action] {
            pick -= all[action];
            action += 1;
        }
        let client = self.rng.usize(..self.clients.len());
        if action == 1 {
            self.connect(client);
            return Ok(());
        }
        match (action, self.open_conn(client)) {
            (7, _) => self.be_hostile(),
            (9, _) => return self.look(),
            (10, _) => {
                let seconds = [0.05, 0.3, 1.0, 4.0, 12.0, 40.0][self.rng.usize(..6)];
                trace!(self, "{seconds} s pass");
                self.rest()?;
                self.pass(Duration::from_secs_f64(seconds))?;
                return self.look();
            }
            (_, None) => {}
            (0, Some(conn)) => self.publish_some(client, conn),
            (2, Some(conn)) => self.subscribe(client, conn),
            (3, Some(conn)) => self.unsubscribe(client, conn),
            (4, Some(conn)) => self.ping(conn),
            (5, Some(conn)) => self.disconnect(client, conn),
            (6, Some(conn)) => self.vanish(client, conn),
            (_, Some(conn)) => {
                self.conns[conn].paused = !self.conns[conn].paused;
                self.conns[conn].was_paused = true;
                self.release_owing(conn);
            }
        }
        Ok(())
    }

    /// A client connects: when it has no connection, or although it has one.
    pub(crate) fn connect(&mut self, client: ClientId) {
        let rivals = self.clients[client].conns.clone();
        let leaving = rivals.iter().any(|rival| self.conns[*rival].stage == Stage::Leaving);
        if leaving || (!rivals.is_empty() && self.rng.u8(..) >= self.swarm.manners.races) {
            return;
        }
        let durable = self.rng.u8(..) < self.swarm.manners.durable;
        let version = self.clients[client].version;
        let clean = if version == Version::V311 { !durable } else { self.rng.u8(..) < 60 };
        let expiry = match version {
            Version::V311 if durable => 24 * 3600,
            Version::V5 if durable => [3, 20, 3600][self.rng.usize(..3)],
            _ => 0,
        };
        let with_will = self.rng.u8(..) < self.swarm.manners.wills;
        let keep_alive = [0, 0, 0, 6, 30][self.rng.usize(..5)];
        self.connect_as(client, clean, expiry, keep_alive, with_will);
    }

    /// A client connects in this way.
    pub(crate) fn connect_as(&mut self, client: ClientId, clean: bool, expiry: u32, keep_alive: u16, with_will: bool) {
        let rivals = self.clients[client].conns.clone();
        // Two CONNECTs under way: nobody can know which wins.
        let raced = rivals.iter().any(|rival| self.conns[*rival].stage == Stage::Asked);
        for rival in &rivals {
            self.conns[*rival].raced |= raced;
            if !raced || self.conns[*rival].stage == Stage::Open {
                self.abandon(*rival);
            }
        }
        let shard = self.rng.u16(..self.machine.shards());
        let socket = self.machine.kernel_mut().connect(shard);
        let id: ConnId = self.conns.len();
        let (now, tick) = (self.now(), self.tick());
        let will = with_will.then(|| self.new_will(client, id, expiry));
        let Client { name, version, .. } = &self.clients[client];
        let version = *version;
        let receive_maximum = if version == Version::V5 { [0, 1, 2, 7][self.rng.usize(..4)] } else { 0 };
        let alias_maximum = if version == Version::V5 { [0, 0, 1, 5][self.rng.usize(..4)] } else { 0 };
        let mut bytes = Vec::new();
        let (message, delay) = will.map_or((None, 0), |(message, delay)| (Some(message), delay));
        let body = message.map(|message| payload(message, self.messages[message as usize].bytes));
        packet::connect(
            &mut bytes,
            &Connect {
                version,
                client_id: name,
                clean,
                keep_alive,
                expiry: if version == Version::V5 { expiry } else { 0 },
                receive_maximum,
                alias_maximum,
                will: message.map(|message| {
                    let Message { topic, qos, retain, .. } = self.messages[message as usize];
                    let payload = body.as_deref().unwrap_or_default();
                    Will { topic: TOPICS[topic], payload, qos, retain, delay }
                }),
            },
        );
        trace!(self, "c{client} #{id} CONNECT shard {shard} clean {clean} expiry {expiry} will {will:?} tick {tick}");
        self.conns.push(Conn {
            clean,
            expiry,
            keep_alive,
            silent: keep_alive > 0 && self.rng.u8(..4) == 0,
            receive_maximum: if receive_maximum == 0 { u16::MAX } else { receive_maximum },
            alias_maximum,
            raced,
            will: message,
            will_delay: delay,
            ..Conn::new(Some(client), version, socket, now)
        });
        self.clients[client].conns.push(id);
        self.live.push(id);
        self.out = bytes;
        self.send_ahead(client, id);
        self.send(id);
    }

    /// What some clients send behind CONNECT, without waiting for CONNACK.
    fn send_ahead(&mut self, client: ClientId, conn: ConnId) {
        if self.ending || self.rng.u8(..3) > 0 {
            return;
        }
        let topic = favourite(client);
        for _ in 0..self.rng.usize(..6) {
            self.publish(client, conn, topic, 0);
        }
        self.conns[conn].pings += 1;
        packet::pingreq(&mut self.out);
    }

    fn new_will(&mut self, client: ClientId, conn: ConnId, expiry: u32) -> (u32, u32) {
        let qos = self.rng.u8(..=self.swarm.manners.qos_max);
        let topic = PUBLISH_TOPICS + self.rng.usize(..TOPICS.len() - PUBLISH_TOPICS);
        let retain = self.rng.u8(..) < self.swarm.manners.retained;
        let v5 = self.clients[client].version == Version::V5;
        let delay = if v5 && expiry > 0 && self.rng.bool() { [1, 5, 60][self.rng.usize(..3)] } else { 0 };
        let bytes = PAYLOAD_MIN + self.rng.usize(..20);
        let message = self.new_message(Message {
            topic,
            qos,
            retain,
            bytes,
            expiry: 0,
            client,
            conn,
            sent: self.tick,
            at: self.now(),
            dropped: self.dropped_by_class(),
            accepted: None,
            sends: 1,
            repeats: 0,
            resent: false,
            refused: false,
            cancelled: false,
            will: true,
        });
        (message, delay)
    }

    fn new_message(&mut self, message: Message) -> u32 {
        if message.retain {
            self.retained[message.topic].push(self.messages.len() as u32);
        }
        self.messages.push(message);
        (self.messages.len() - 1) as u32
    }

    /// A client publishes one message or a few.
    fn publish_some(&mut self, client: ClientId, conn: ConnId) {
        let count = if self.rng.u8(..8) == 0 { self.rng.usize(1..20) } else { 1 };
        let topic = if self.rng.bool() { favourite(client) } else { self.rng.usize(..PUBLISH_TOPICS) };
        for _ in 0..count {
            let topic = if self.rng.u8(..4) == 0 { self.rng.usize(..PUBLISH_TOPICS) } else { topic };
            self.publish(client, conn, topic, self.swarm.manners.qos_max);
        }
        if !self.out.is_empty() {
            self.send(conn);
        }
    }

    /// A client writes one PUBLISH; it is sent with what follows.
    fn publish(&mut self, client: ClientId, conn: ConnId, topic: usize, qos_max: u8) {
        let manners = &self.swarm.manners;
        let window = OUTSTANDING_MAX.min(self.conns[conn].quota.into());
        let full = self.clients[client].session.outstanding.len() >= window;
        let qos = if full { 0 } else { self.rng.u8(..=qos_max) };
        let retain = self.rng.u8(..) < manners.retained;
        let large = self.rng.u8(..) < manners.large;
        let v5 = self.conns[conn].version == Version::V5;
        let expiry = if v5 && self.rng.u8(..) < manners.expiring { [1, 3, 100][self.rng.usize(..3)] } else { 0 };
        let bytes = match (large, retain) {
            (true, _) if self.rng.bool() => 4200 + self.rng.usize(..1000),
            (true, _) => 1000 + self.rng.usize(..2500),
            (_, true) if self.rng.u8(..4) == 0 => 0,
            _ => PAYLOAD_MIN + self.rng.usize(..40),
        };
        let (sent, at) = (self.tick(), self.now());
        let dropped = self.dropped_by_class();
        let number = self.new_message(Message {
            topic,
            qos,
            retain,
            bytes,
            expiry,
            client,
            conn,
            sent,
            at,
            dropped,
            accepted: None,
            sends: 1,
            repeats: 0,
            resent: false,
            refused: false,
            cancelled: false,
            will: false,
        });
        let id = if qos == 0 { 0 } else { self.next_packet_id(client, conn) };
        match qos {
            0 => self.conns[conn].loose.push(number),
            _ => self.clients[client].session.outstanding.push_back(Outstanding {
                id,
                message: number,
                conn,
                qos,
                released: false,
                released_at: None,
                unheard: Unheard::No,
            }),
        }
        trace!(
            self,
            "c{client} #{conn} PUBLISH m{number} {} qos {qos} id {id} {bytes} B retain {retain}", TOPICS[topic]
        );
        let payload = payload(number, bytes);
        let publish = Publish { dup: false, qos, retain, topic: TOPICS[topic], id, expiry, payload: &payload };
        packet::publish(&mut self.out, self.conns[conn].version, &publish);
    }

    fn next_packet_id(&mut self, client: ClientId, conn: ConnId) -> u16 {
        let state = &mut self.clients[client];
        if self.swarm.crashes.low_ids && state.session.certain {
            let taken = |id: u16| {
                state.session.outstanding.iter().any(|out| out.id == id)
                    || self.conns[conn].requests.iter().any(|request| request.id == id)
            };
            return (1..).find(|id| !taken(*id)).expect("few are taken");
        }
        if self.swarm.crashes.low_ids {
            // Where connections race an old acknowledgement is not to be taken for one of these.
            state.packet_id = state.packet_id.max(1000);
        }
        loop {
            state.packet_id = state.packet_id.wrapping_add(1).max(1);
            let id = state.packet_id;
            if !state.session.outstanding.iter().any(|out| out.id == id)
                && !self.conns[conn].requests.iter().any(|request| request.id == id)
            {
                return id;
            }
        }
    }

    /// A client asks for one filter or two.
    fn subscribe(&mut self, client: ClientId, conn: ConnId) {
        let state = &self.clients[client];
        let held = state.subs.iter().filter(|sub| sub.gone.is_none()).count();
        if held >= if state.worker { 1 } else { SUBS_MAX } {
            return;
        }
        let (version, epoch, worker) = (state.version, state.session.epoch, state.worker);
        let count = if worker { 1 } else { self.rng.usize(1..3) };
        let identifier = if version == Version::V5 && self.rng.bool() { self.rng.u32(1..300) } else { 0 };
        let mut filters: Vec<(usize, u8)> = Vec::new();
        let asked = self.tick();
        for _ in 0..count {
            let filter =
                if worker { FILTERS.len() + self.rng.usize(..SHARED.len()) } else { self.rng.usize(..FILTERS.len()) };
            if filters.iter().any(|(other, _)| *other == filter) {
                continue;
            }
            let qos = self.rng.u8(..=self.swarm.manners.qos_max);
            let v5 = version == Version::V5;
            let no_local = v5 && !worker && self.rng.u8(..4) == 0;
            let retain_as_published = v5 && self.rng.u8(..4) == 0;
            let handling = if v5 && !worker { [0, 0, 0, 2][self.rng.usize(..4)] } else { 0 };
            let options = qos | u8::from(no_local) << 2 | u8::from(retain_as_published) << 3 | handling << 4;
            filters.push((filter, options));
            self.ever_asked |= 1 << filter;
            if worker && qos == 0 {
                self.weak_groups |= 1 << filter;
            }
            for old in &mut self.clients[client].subs {
                if old.filter == filter && old.gone.is_none() {
                    old.leaving.get_or_insert(asked);
                }
            }
            self.clients[client].subs.push(Sub {
                filter,
                qos,
                no_local,
                retain_as_published,
                wants_retained: handling != 2 && !worker,
                identifier,
                asked,
                held: None,
                leaving: None,
                gone: None,
                epoch,
            });
        }
        if filters.is_empty() {
            return;
        }
        let id = self.next_packet_id(client, conn);
        let texts: Vec<(&str, u8)> = filters.iter().map(|(filter, options)| (filter_text(*filter), *options)).collect();
        trace!(self, "c{client} #{conn} SUBSCRIBE id {id} {texts:?}");
        packet::subscribe(&mut self.out, version, id, identifier, &texts);
        let filters = filters.into_iter().map(|(filter, _)| filter).collect();
        self.conns[conn].requests.push(Request { id, filters, asked, subscribe: true, expected: None });
        self.send(conn);
    }

    fn unsubscribe(&mut self, client: ClientId, conn: ConnId) {
        let candidates: Vec<usize> =
            self.clients[client].subs.iter().filter(|sub| sub.gone.is_none()).map(|sub| sub.filter).collect();
        let filter = match candidates.len() {
            0 => self.rng.usize(..FILTERS.len()),
            count => candidates[self.rng.usize(..count)],
        };
        let tick = self.tick();
        // One that was asked for, or asked to end, on a connection that was lost may be there or not.
        let (mut expected, refuses) = (Some(0x11), self.journal_refuses());
        let asked = self.conns[conn].requests.iter().filter(|request| request.filters.contains(&filter));
        let pending: Vec<u64> = asked.map(|request| request.asked).collect();
        for sub in &mut self.clients[client].subs {
            if sub.filter == filter && sub.gone.is_none() {
                // What is asked on this connection comes into force in order.
                let here = pending.contains(&sub.asked) && !refuses;
                let sure = (sub.held.is_some() || here) && sub.leaving.is_none() && expected.is_some();
                expected = sure.then_some(0);
                sub.leaving.get_or_insert(tick);
            }
        }
        let id = self.next_packet_id(client, conn);
        trace!(self, "c{client} #{conn} UNSUBSCRIBE id {id} {}", filter_text(filter));
        packet::unsubscribe(&mut self.out, self.conns[conn].version, id, &[filter_text(filter)]);
        self.conns[conn].requests.push(Request { id, filters: vec![filter], asked: tick, subscribe: false, expected });
        self.send(conn);
    }

    pub(crate) fn ping(&mut self, conn: ConnId) {
        trace!(self, "#{conn} PINGREQ");
        self.conns[conn].pings += 1;
        packet::pingreq(&mut self.out);
        self.send(conn);
    }

    /// DISCONNECT: with or without the will, and in v5 perhaps with another expiry.
    pub(crate) fn disconnect(&mut self, client: ClientId, conn: ConnId) {
        let v5 = self.conns[conn].version == Version::V5;
        let reason = if v5 && self.rng.u8(..4) == 0 { 4 } else { 0 };
        let expiry = (v5 && self.conns[conn].expiry > 0 && self.rng.u8(..4) == 0).then(|| [0, 5][self.rng.usize(..2)]);
        self.disconnect_as(client, conn, reason, expiry);
    }

    pub(crate) fn disconnect_as(&mut self, client: ClientId, conn: ConnId, reason: u8, expiry: Option<u32>) {
        self.release_owing(conn);
        trace!(self, "c{client} #{conn} DISCONNECT reason {reason} expiry {expiry:?}");
        packet::disconnect(&mut self.out, self.conns[conn].version, reason, expiry);
        self.send(conn);
        let state = &mut self.conns[conn];
        (state.stage, state.paused) = (Stage::Leaving, false);
        let changes = expiry.is_some_and(|expiry| expiry != state.expiry);
        state.expiry = expiry.unwrap_or(state.expiry);
        if reason != 0 {
            // The will is published: nothing is certain about when.
            state.will_delay = u32::MAX;
        }
        if changes {
            self.clients[client].changed = self.tick();
        }
    }

    /// A client is gone: its network has failed, or it closes without DISCONNECT.
    fn vanish(&mut self, client: ClientId, conn: ConnId) {
        let socket = self.conns[conn].socket;
        let reset = self.rng.bool();
        if !reset && self.rng.bool() {
            // The last words on one connection, and perhaps the first on the next.
            for _ in 0..self.rng.usize(1..10) {
                self.publish(client, conn, favourite(client), 0);
            }
            self.send(conn);
        }
        trace!(self, "c{client} #{conn} {}", if reset { "RST" } else { "FIN" });
        if reset {
            self.machine.kernel_mut().client_resets(socket);
        } else {
            self.machine.kernel_mut().client_closes(socket);
        }
        self.abandon(conn);
        if self.rng.bool() {
            self.connect(client);
        }
    }
}

/// The topic that a client publishes to most.
fn favourite(client: ClientId) -> usize {
    client % PUBLISH_TOPICS
}
