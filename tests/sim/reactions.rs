//! How clients answer what the switch sends, and what they learn from it.

use crate::model::{ClientId, ConnId, Outstanding, Stage, Unheard, payload};
use crate::packet::{self, Packet, Publish, Version};
use crate::topics::TOPICS;
use crate::trace::trace;
use crate::world::{Check, World, fail};

impl World {
    /// The client of a connection reads what has come, or a part of it, and answers. Whether anything had come.
    pub(crate) fn read(&mut self, conn: ConnId, partly: bool) -> Check<bool> {
        let socket = self.conns[conn].socket;
        let waiting = self.machine.kernel().socket(socket).to_client.len();
        let ended = waiting == 0 && self.machine.kernel().socket(socket).ended();
        if waiting == 0 && !ended {
            return Ok(false);
        }
        let most = if partly && waiting > 0 && self.rng.bool() { self.rng.usize(1..=waiting) } else { waiting };
        let mut input = std::mem::take(&mut self.conns[conn].input);
        let before = input.len();
        self.machine.kernel_mut().client_reads(socket, most, &mut input);
        self.trace.fold(conn as u64, &input[before..]);
        let mut at = 0;
        let version = self.conns[conn].version;
        while self.conns[conn].stage != Stage::Over {
            match packet::parse(&input[at..], version) {
                Ok(None) => break,
                Ok(Some((packet, len))) => {
                    self.heard(conn, packet)?;
                    at += len;
                }
                Err(why) => fail!("#{conn} got {why}"),
            }
        }
        input.drain(..at);
        self.conns[conn].input = input;
        if !self.out.is_empty() {
            self.send(conn);
        }
        if self.conns[conn].stage != Stage::Over && self.machine.kernel().socket(socket).ended() {
            self.closed(conn)?;
        }
        Ok(true)
    }

    fn heard(&mut self, conn: ConnId, packet: Packet<'_>) -> Check {
        let state = &self.conns[conn];
        let client = state.client;
        trace!(self, "#{conn} < {packet:?}");
        self.heard |= 1 << kind_of(&packet);
        if let Some(goodbye) = state.goodbye {
            fail!("#{conn} got {packet:?} behind DISCONNECT {goodbye:#04x}");
        }
        match (packet, client) {
            (Packet::Connack { session_present, code, receive_maximum }, _) => {
                if state.stage != Stage::Asked || state.opened != 0 {
                    fail!("#{conn} got a second CONNACK");
                }
                self.conns[conn].quota = receive_maximum;
                match (code, client) {
                    (0, Some(client)) => self.accepted(client, conn, session_present),
                    (0, None) if session_present => fail!("#{conn}: a session that never was"),
                    (0, None) => {
                        self.conns[conn].stage = Stage::Open;
                        Ok(())
                    }
                    (_, Some(_)) if !self.scarce && !self.conns[conn].raced && !self.journal_refuses() => {
                        fail!("#{conn} was refused with {code:#04x}")
                    }
                    _ => Ok(()),
                }
            }
            (packet, _) if state.stage == Stage::Asked => fail!("#{conn} got {packet:?} before CONNACK"),
            (Packet::Disconnect { code }, _) => {
                self.conns[conn].goodbye = Some(code);
                Ok(())
            }
            (Packet::Pingresp, Some(_)) => {
                let Some(left) = state.pings.checked_sub(1) else { fail!("#{conn} got PINGRESP for nothing") };
                self.conns[conn].pings = left;
                Ok(())
            }
            (Packet::Publish(delivery), Some(client)) => self.delivered(client, conn, &delivery),
            (Packet::Ack { kind: 6, id, .. }, Some(client)) => self.released(client, conn, id),
            (Packet::Ack { kind, id, code }, Some(client)) => self.acknowledged(client, conn, kind, id, code),
            (Packet::Suback { id, codes }, Some(client)) => self.answered(client, conn, id, codes, true),
            (Packet::Unsuback { id, codes }, Some(client)) => self.answered(client, conn, id, codes, false),
            (Packet::Ack { kind: 5, .. }, None) => Ok(()),
            (packet, None) => fail!("hostile #{conn} got {packet:?}"),
        }
    }

    /// CONNACK with success.
    fn accepted(&mut self, client: ClientId, conn: ConnId, session_present: bool) -> Check {
        let (tick, now, fenced) = (self.tick(), self.now(), self.machine.is_fenced());
        let refuses = self.journal_refuses();
        let state = &mut self.conns[conn];
        (state.stage, state.opened, state.resumed) = (Stage::Open, tick, session_present);
        let (clean, expiry, raced, asked_at) = (state.clean, state.expiry, state.raced, state.opened_at);
        let name = &mut self.clients[client];
        let session = &mut name.session;
        if session_present && clean {
            fail!("c{client} #{conn}: Session Present after Clean Start");
        }
        if session.none && session_present && !raced {
            fail!("c{client} #{conn}: a session is present of which it was said before that there is none");
        }
        if session.certain && !raced && !clean {
            // What the switch noticed late it counts from then on.
            let left_last = name.left_at.max(name.left.latest.map(|(at, _)| at));
            let away = left_last.map_or(0.0, |left| asked_at.since(left).as_secs_f64());
            // A clock that was set back between makes what was later the longer ago.
            let left_first = name.left_at.map(|left| name.left.latest.map_or(left, |(at, _)| left.min(at)));
            let longest = left_first.map_or(0.0, |left| now.since(left).as_secs_f64());
            let kept = f64::from(session.expiry);
            if session_present && (session.expiry == 0 || away > kept + 3.0) {
                fail!("c{client} #{conn}: a session of {kept} s is present after {away} s");
            }
            if !session_present && session.expiry > 0 && longest < kept - 0.5 {
                fail!("c{client} #{conn}: a session of {kept} s is not present after {longest} s");
            }
        }
        if session_present && refuses {
            // Where there is no room that a session goes on is not waited for.
            name.changed = tick;
        }
        session.expiry = expiry;
        session.none = expiry == 0 && !session_present && !raced && !fenced;
        if let Some(will) = session.will.take()
            && session_present
            && session.certain
            && !raced
            && now.since(will.1).as_secs_f64() < f64::from(will.2) - 0.5
        {
            // Back within the Will Delay Interval.
            self.messages[will.0 as usize].cancelled = true;
            self.cancelled.push(will.0);
        }
        (name.left_at, name.left.latest) = (None, None);
        if session_present {
            let another = raced || std::mem::take(&mut session.renewed);
            session.certain &= !raced;
            for outstanding in &mut session.outstanding {
                outstanding.conn = conn;
                let lost = outstanding.unheard == Unheard::Yes && !another;
                outstanding.unheard = if lost { Unheard::SentAgain } else { Unheard::No };
            }
            let again: Vec<Outstanding> = session.outstanding.iter().cloned().collect();
            for outstanding in &again {
                // Another session may have begun between the CONNACKs of a race, or with a CONNECT that had no answer:
                // the message is new to it.
                self.messages[outstanding.message as usize].sends += u32::from(another && outstanding.qos == 2);
                self.send_again(conn, outstanding);
            }
            return Ok(());
        }
        if fenced {
            // The end of the one before may not be written.
            name.changed = tick;
        }
        session.begin(!raced);
        for sub in &mut name.subs {
            sub.leaving.get_or_insert(tick);
            sub.gone.get_or_insert(tick);
        }
        if !raced {
            name.subs.clear();
            self.forgotten = tick;
        }
        Ok(())
    }

    /// A publish that was under way when the connection before ended.
    fn send_again(&mut self, conn: ConnId, outstanding: &Outstanding) {
        if outstanding.released {
            return packet::ack(&mut self.out, 6, outstanding.id);
        }
        let now = self.now();
        let refused = self.swarm.plan.settings.limits.queue_memory < 1 << 20 || self.journal_refuses();
        let message = &mut self.messages[outstanding.message as usize];
        (message.at, message.resent) = (now, true);
        // At QoS 2 a shard that had room knows what another one has refused.
        message.sends += u32::from(outstanding.qos == 1);
        // Who subscribed meanwhile got it as a retained message, and gets it again.
        message.repeats += u32::from(refused);
        let payload = payload(outstanding.message, message.bytes);
        let publish = Publish {
            dup: true,
            qos: outstanding.qos,
            retain: message.retain,
            topic: TOPICS[message.topic],
            id: outstanding.id,
            expiry: message.expiry,
            payload: &payload,
        };
        packet::publish(&mut self.out, self.conns[conn].version, &publish);
    }

    /// PUBREL.
    fn released(&mut self, client: ClientId, conn: ConnId, id: u16) -> Check {
        let session = &mut self.clients[client].session;
        match session.inflight.iter_mut().find(|inflight| inflight.id == id) {
            Some(inflight) => {
                if session.certain && !inflight.received {
                    fail!("c{client} #{conn}: PUBREL {id} before PUBREC");
                }
                inflight.released = true;
            }
            // PUBCOMP was lost with the connection before.
            None if session.certain && !self.conns[conn].resumed => fail!("c{client} #{conn}: PUBREL {id} for nothing"),
            None => {}
        }
        self.answer(client, conn, 7, id);
        Ok(())
    }

    /// The client owes an acknowledgement; it sends it now, or keeps it back.
    pub(crate) fn answer(&mut self, client: ClientId, conn: ConnId, kind: u8, id: u16) {
        let withheld = !self.conns[conn].owing.is_empty() || self.rng.u8(..) < self.swarm.manners.withheld;
        if withheld && self.conns[conn].stage == Stage::Open {
            self.conns[conn].owing.push((kind, id));
        } else {
            self.acknowledge(client, kind, id);
        }
    }

    fn acknowledge(&mut self, client: ClientId, kind: u8, id: u16) {
        packet::ack(&mut self.out, kind, id);
        let inflight = &mut self.clients[client].session.inflight;
        match kind {
            5 => inflight.iter_mut().filter(|inflight| inflight.id == id).for_each(|inflight| inflight.received = true),
            _ => inflight.retain(|inflight| inflight.id != id),
        }
    }

    /// The client sends the acknowledgements that it kept back.
    pub(crate) fn release_owing(&mut self, conn: ConnId) {
        let Some(client) = self.conns[conn].client else { return };
        let owing = std::mem::take(&mut self.conns[conn].owing);
        if owing.is_empty() || self.conns[conn].stage != Stage::Open {
            return;
        }
        for (kind, id) in owing {
            self.acknowledge(client, kind, id);
        }
        self.send(conn);
    }

    /// SUBACK or UNSUBACK.
    fn answered(&mut self, client: ClientId, conn: ConnId, id: u16, codes: &[u8], subscribe: bool) -> Check {
        let tick = self.tick();
        let requests = &mut self.conns[conn].requests;
        let Some(index) = requests.iter().position(|request| request.id == id && request.subscribe == subscribe) else {
            fail!("c{client} #{conn}: an answer to request {id}, which was not asked");
        };
        let request = requests.remove(index);
        let v5 = self.conns[conn].version == Version::V5;
        let refuses = self.journal_refuses();
        if (subscribe || v5) && codes.len() != request.filters.len() {
            fail!("c{client} #{conn}: {} codes for {} filters", codes.len(), request.filters.len());
        }
        let state = &mut self.clients[client];
        let certain = state.session.certain;
        for (index, filter) in request.filters.iter().enumerate() {
            if subscribe {
                let mut asked = state.subs.iter_mut().filter(|sub| sub.filter == *filter && sub.asked == request.asked);
                // Where connections race, another session may have begun since.
                let Some(sub) = asked.next() else { continue };
                if refuses && codes[index] == if v5 { 0x97 } else { 0x80 } {
                    // Whatever was there before may be there.
                    sub.gone = Some(tick);
                    continue;
                }
                if codes[index] != sub.qos {
                    fail!("c{client} #{conn}: QoS {} was asked for, {:#04x} granted", sub.qos, codes[index]);
                }
                sub.held = Some(tick);
            } else if v5
                && certain
                && let Some(expected) = request.expected
                && codes[index] != expected
            {
                fail!("c{client} #{conn}: UNSUBACK {:#04x}, not {expected:#04x}", codes[index]);
            }
            for sub in &mut state.subs {
                if sub.filter == *filter && sub.gone.is_none() && sub.asked < request.asked {
                    sub.leaving.get_or_insert(tick);
                    sub.gone = Some(tick);
                }
            }
        }
        Ok(())
    }

    /// PUBACK, PUBREC or PUBCOMP.
    fn acknowledged(&mut self, client: ClientId, conn: ConnId, kind: u8, id: u16, code: u8) -> Check {
        let tick = self.tick();
        let session = &mut self.clients[client].session;
        let qos = if kind == 4 { 1 } else { 2 };
        let found = session.outstanding.iter().position(|out| out.id == id && out.qos == qos);
        let Some(index) = found else {
            if !session.certain {
                return Ok(());
            }
            fail!("c{client} #{conn}: an acknowledgement ({kind}) of {id} for nothing");
        };
        let Outstanding { message, released, unheard, .. } = session.outstanding[index];
        if kind == 7 {
            if !released {
                fail!("c{client} #{conn}: PUBCOMP {id} before PUBREL");
            }
            if code != 0 && session.certain && unheard == Unheard::SentAgain {
                fail!("c{client} #{conn}: PUBCOMP {id} with {code:#04x}, and PUBREC had come");
            }
            session.outstanding.remove(index);
            return Ok(());
        }
        if released && session.certain {
            fail!("c{client} #{conn}: a second PUBREC {id}");
        }
        let waits = |out: &Outstanding| out.qos == qos && !out.released && out.conn == conn;
        if let Some(earlier) = session.outstanding.iter().take(index).find(|out| waits(out)) {
            // [MQTT-4.6.0-2], [MQTT-4.6.0-3].
            fail!("c{client} #{conn}: {id} is acknowledged before {}", earlier.id);
        }
        let v5 = self.conns[conn].version == Version::V5;
        match code {
            0 if v5 => self.somebody_may_subscribe(message)?,
            0 => {}
            0x10 if v5 => self.nobody_subscribes(message)?,
            0x97 if v5 && (self.swarm.plan.settings.limits.queue_memory < 1 << 20 || self.journal_refuses()) => {}
            _ => fail!("c{client} #{conn}: {id} is acknowledged with {code:#04x}"),
        }
        let session = &mut self.clients[client].session;
        if code >= 0x80 {
            self.messages[message as usize].refused = true;
            session.outstanding.remove(index);
            return Ok(());
        }
        if kind == 4 {
            session.outstanding.remove(index);
        } else {
            session.outstanding[index].released = true;
            session.outstanding[index].released_at = Some(self.machine.turns);
            packet::ack(&mut self.out, 6, id);
        }
        self.messages[message as usize].accepted = Some(tick);
        self.owe(message);
        Ok(())
    }
}

/// What may be awaited of a packet: its type; 0: nothing.
fn kind_of(packet: &Packet<'_>) -> u8 {
    match packet {
        Packet::Connack { code: 0, .. } => 2,
        Packet::Publish(delivery) if delivery.qos == 2 => 3,
        Packet::Ack { kind, .. } => *kind,
        Packet::Suback { .. } => 9,
        _ => 0,
    }
}
