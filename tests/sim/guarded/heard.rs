//! What clients hear, held against the rules that may have been in force.

use super::{FILTERS, Guarded, Message, SYS, TOPICS, VERSION};
use crate::model::{MessageId, number_of};
use crate::packet::{self, Packet};
use crate::trace::trace;
use crate::world::{Check, Violation, fail};

impl Guarded {
    pub(super) fn read_all(&mut self) -> Check<bool> {
        let mut any = false;
        for client in 0..self.clients.len() {
            any |= self.read(client)?;
        }
        Ok(any)
    }

    fn read(&mut self, client: usize) -> Check<bool> {
        let Some(socket) = self.clients[client].socket else { return Ok(false) };
        let waiting = self.machine.kernel().socket(socket).to_client.len();
        let ended = self.machine.kernel().socket(socket).ended();
        if waiting == 0 && !ended {
            return Ok(false);
        }
        let mut input = std::mem::take(&mut self.clients[client].input);
        let before = input.len();
        self.machine.kernel_mut().client_reads(socket, waiting, &mut input);
        self.trace.fold(client as u64, &input[before..]);
        let mut at = 0;
        while let Some((packet, len)) = packet::parse(&input[at..], VERSION).map_err(Violation)? {
            self.heard(client, &packet)?;
            at += len;
        }
        input.drain(..at);
        self.clients[client].input = input;
        self.send(client);
        if self.clients[client].socket.is_some() && self.machine.kernel().socket(socket).ended() {
            if self.clients[client].open {
                fail!("{} was disconnected", self.clients[client].name);
            }
            self.gone(client);
        }
        Ok(true)
    }

    fn heard(&mut self, client: usize, packet: &Packet<'_>) -> Check {
        let name = self.clients[client].name.clone();
        trace!(self, "{name} < {packet:?}");
        match packet {
            Packet::Connack { code, .. } => return self.connected(client, *code),
            Packet::Suback { id, codes } => {
                let state = &mut self.clients[client];
                let Some(index) = state.requests.iter().position(|request| request.0 == *id) else {
                    fail!("{name}: an answer to SUBSCRIBE {id}, which was not sent");
                };
                let (_, filter, shared) = state.requests.remove(index);
                let granted = codes[0] < 3;
                if !granted && codes[0] != 0x87 {
                    fail!("{name}: {:#04x} for {}", codes[0], FILTERS[filter]);
                }
                if filter == SYS && granted != (state.user == 0) {
                    fail!("{name} of user {}: {:#04x} for $SYS", state.user, codes[0]);
                }
                if granted && !shared && !state.subs.contains(&filter) {
                    state.subs.push(filter);
                }
            }
            Packet::Publish(delivery) => {
                if delivery.qos > 0 {
                    packet::ack(&mut self.out, 4, delivery.id);
                }
                let Some(number) = number_of(delivery.payload) else { fail!("{name} got what nobody published") };
                if TOPICS[self.messages[number as usize].topic].as_bytes() != delivery.topic {
                    fail!("{name} got m{number} on another topic");
                }
                // What is sent again was under way before.
                return self.delivered(client, number, delivery.retain && !delivery.dup);
            }
            Packet::Ack { id, code, .. } => {
                let state = &mut self.clients[client];
                let Some(index) = state.outstanding.iter().position(|out| out.0 == *id) else {
                    fail!("{name}: an answer to PUBLISH {id}, which was not sent");
                };
                let number = state.outstanding.remove(index).1;
                let (user, sent, topic) =
                    (state.user, self.messages[number as usize].sent, self.messages[number as usize].topic);
                let denied = *code == 0x87;
                if denied && self.all_allow_since(sent, user, "write", topic) {
                    fail!("{name} was denied m{number} on {}, which it may publish", TOPICS[topic]);
                }
                if !denied && !self.allowed_since(sent, user, "write", topic) {
                    fail!("{name} was told {code:#04x} for m{number} on {}, which it may not publish", TOPICS[topic]);
                }
                self.messages[number as usize].taken = !denied;
            }
            _ => fail!("{name} got {packet:?}"),
        }
        Ok(())
    }

    fn connected(&mut self, client: usize, code: u8) -> Check {
        let state = &mut self.clients[client];
        let (name, user, asked) = (state.name.clone(), state.user, state.asked);
        state.open = code == 0;
        let will = state.will.map(|will| self.messages[will as usize].topic);
        match (code, will) {
            (0, None) => {}
            (0, Some(topic)) if self.allowed_since(asked, user, "write", topic) => {}
            (0x87, Some(topic)) if !self.all_allow_since(asked, user, "write", topic) => {}
            (_, will) => fail!("{name}: CONNACK {code:#04x} with a will on {:?}", will.map(|topic| TOPICS[topic])),
        }
        if code != 0 {
            if let Some(socket) = self.clients[client].socket {
                self.machine.kernel_mut().client_closes(socket);
            }
            self.gone(client);
        }
        Ok(())
    }

    fn delivered(&mut self, client: usize, number: MessageId, retained: bool) -> Check {
        self.deliveries += 1;
        let Message { topic, client: publisher, sent, .. } = self.messages[number as usize];
        let (user, writer) = (self.clients[client].user, self.clients[publisher].user);
        let (name, topic_name) = (&self.clients[client].name, TOPICS[topic]);
        // A retained message comes to who has asked for it since the last rest.
        let asked = if retained { self.clients[client].fetches.unwrap_or(sent) } else { sent };
        if !self.allowed_since(asked.max(sent), user, "read", topic) {
            fail!("{name} got m{number} on {topic_name}, which it may not read");
        }
        if !self.allowed_since(asked.max(sent), writer, "write", topic) {
            fail!("{name} got m{number} on {topic_name}, which {} may not publish", self.clients[publisher].name);
        }
        self.clients[client].got.insert(number);
        Ok(())
    }
}
