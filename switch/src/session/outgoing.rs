//! What a session is owed: messages in flight toward its client, and those that wait for the window to open.

use std::collections::VecDeque;

use persistence::Position;
use wire::mqtt::{PacketId, QoS};

use crate::delivery::store::MessageId;
use crate::planted::{Fault, planted};

/// QoS 1 and 2 messages of a session, in order.
#[derive(Default)]
pub struct Outgoing {
    in_flight: VecDeque<InFlight>,
    /// How many of those were sent on the present connection; the others wait to be sent again.
    sent: usize,
    waiting: VecDeque<Owed>,
    waiting_bytes: u64,
    /// The packet identifier given last.
    packet_id: u16,
}

/// A message that a session is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The stored message.
    pub message: MessageId,
    /// Bytes of its frame.
    pub bytes: u32,
    /// QoS of the delivery: 1 or 2.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// The shared-subscription group that it was taken from.
    pub group: Option<u64>,
    /// Subscription Identifiers of all subscriptions that matched.
    pub identifiers: Option<Box<[u32]>>,
}

/// What the client answers next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// PUBLISH of QoS 1 was sent.
    Puback,
    /// PUBLISH of QoS 2 was sent.
    Pubrec,
    /// PUBREL was sent.
    Pubcomp,
}

impl Stage {
    /// What the client answers to a PUBLISH of this QoS.
    fn of(qos: QoS) -> Stage {
        if qos == QoS::ExactlyOnce { Stage::Pubrec } else { Stage::Puback }
    }
}

/// A message between its first sending and its last acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Its packet identifier.
    pub packet_id: PacketId,
    /// What the client answers next.
    pub stage: Stage,
    /// The message, where it may be sent again: in durable sessions, and for groups. Gone once PUBREC has come.
    pub owed: Option<Owed>,
    /// The number of the message in the journal; 0: none.
    pub message: u64,
    /// What must hold before it, or its PUBREL, is sent.
    pub ticket: Position,
    /// It was never sent on any connection.
    pub fresh: bool,
}

impl Outgoing {
    /// Messages sent and not wholly acknowledged.
    pub fn in_flight(&self) -> &VecDeque<InFlight> {
        &self.in_flight
    }

    /// Messages that wait for the window.
    pub fn waiting(&self) -> &VecDeque<Owed> {
        &self.waiting
    }

    /// Bytes of the frames that wait for the window.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Adds a message behind all others.
    pub fn wait(&mut self, owed: Owed) {
        self.waiting_bytes += u64::from(owed.bytes);
        self.waiting.push_back(owed);
    }

    /// The message that goes next.
    pub fn take_next(&mut self) -> Option<Owed> {
        let owed = self.waiting.pop_front()?;
        self.waiting_bytes -= u64::from(owed.bytes);
        Some(owed)
    }

    /// Takes those that wait and for which `which` says so.
    pub fn take_waiting(&mut self, mut which: impl FnMut(&Owed) -> bool) -> Vec<Owed> {
        let mut taken = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some(owed) = self.take_next() else { break };
            if which(&owed) {
                taken.push(owed);
            } else {
                self.wait(owed);
            }
        }
        taken
    }

    /// Puts the message that was taken last back to the front.
    pub fn put_back(&mut self, owed: Owed) {
        self.waiting_bytes += u64::from(owed.bytes);
        self.waiting.push_front(owed);
    }

    /// Puts a message in flight under an identifier that no other message in flight has ([MQTT-2.2.1-4]). The window is
    /// smaller than the identifiers, so one is always free.
    pub fn launch(&mut self, qos: QoS, owed: Option<Owed>) -> PacketId {
        assert!(self.all_sent(), "what was in flight before goes first");
        let packet_id = self.next_packet_id();
        let (stage, ticket) = (Stage::of(qos), Position(0));
        self.in_flight.push_back(InFlight { packet_id, stage, owed, message: 0, ticket, fresh: false });
        self.sent += 1;
        packet_id
    }

    /// Puts a message in flight that is sent once its ticket holds, after those before it.
    pub fn prepare(&mut self, packet_id: PacketId, owed: Owed, message: u64, ticket: Position) {
        let stage = Stage::of(owed.qos);
        self.in_flight.push_back(InFlight { packet_id, stage, owed: Some(owed), message, ticket, fresh: true });
    }

    /// Puts in flight what was so when the program ended.
    pub fn restore(&mut self, flight: InFlight) {
        self.packet_id = flight.packet_id.get();
        self.in_flight.push_back(flight);
    }

    /// An identifier that nothing in flight has.
    pub fn next_packet_id(&mut self) -> PacketId {
        loop {
            self.packet_id = self.packet_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.packet_id)
                && (planted(Fault::PacketIdReused) || !self.in_flight.iter().any(|flight| flight.packet_id == id))
            {
                return id;
            }
        }
    }

    /// A new connection: all that is in flight is sent again, in order ([MQTT-4.4.0-1]).
    pub fn begin_again(&mut self) {
        self.sent = 0;
        if planted(Fault::PacketIdReused) {
            self.packet_id = 0;
        }
        if planted(Fault::ResentInReverse) {
            self.in_flight.make_contiguous().reverse();
        }
    }

    /// Whether all that is in flight was sent on the present connection.
    pub fn all_sent(&self) -> bool {
        self.sent == self.in_flight.len()
    }

    /// How many were sent on the present connection: what the client's Receive Maximum bounds.
    pub fn window(&self) -> usize {
        self.sent
    }

    /// The ticket of the next one that was not sent on the present connection.
    pub fn next_ticket(&self) -> Option<Position> {
        self.in_flight.get(self.sent).map(|flight| flight.ticket)
    }

    /// The next one to send on the present connection, which is noted as sent.
    pub fn send_next(&mut self) -> Option<InFlight> {
        let flight = self.in_flight.get_mut(self.sent)?;
        self.sent += 1;
        let sent = flight.clone();
        flight.fresh = false;
        Some(sent)
    }

    /// The message in flight under `packet_id`. Clients answer in order, so it is mostly the first.
    pub fn find(&mut self, packet_id: PacketId) -> Option<&mut InFlight> {
        self.in_flight.iter_mut().find(|flight| flight.packet_id == packet_id)
    }

    /// Ends a message in flight.
    pub fn land(&mut self, packet_id: PacketId) -> Option<InFlight> {
        let index = self.in_flight.iter().position(|flight| flight.packet_id == packet_id)?;
        self.sent -= usize::from(index < self.sent);
        self.in_flight.remove(index)
    }

    /// Takes everything that is owed, in order: in flight first. Only messages that are stored.
    pub fn drain(&mut self) -> impl Iterator<Item = (Option<Stage>, Option<Owed>)> {
        (self.waiting_bytes, self.sent) = (0, 0);
        let flying = self.in_flight.drain(..).map(|flight| (Some(flight.stage), flight.owed));
        flying.chain(self.waiting.drain(..).map(|owed| (None, Some(owed))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identifiers go up from 1 and skip those in flight, also after 65,535.
    #[test]
    fn identifiers_are_unused_ones() {
        let mut outgoing = Outgoing::default();
        let first = outgoing.launch(QoS::AtLeastOnce, None);
        assert_eq!(first.get(), 1);
        for expected in (2..=65_535).chain(2..10) {
            let id = outgoing.launch(QoS::AtLeastOnce, None);
            assert_eq!(id.get(), expected);
            assert!(outgoing.land(id).is_some());
        }
        assert!(outgoing.land(first).is_some());
        assert!(outgoing.land(first).is_none());
    }
}
