//! What a client publishes at QoS 1 and 2: publishes that owners have not resolved, and QoS 2 identifiers.

use std::collections::VecDeque;

use persistence::Position;
use wire::mqtt::{PacketId, QoS, ReasonCode};

use crate::connection::ConnectionId;

/// Publishes of one session that wait for acknowledgement, in order, and the QoS 2 identifiers that are taken.
#[derive(Default)]
pub struct Incoming {
    pending: VecDeque<Pending>,
    /// Number of the publish at the front of `pending`.
    first: u32,
    /// Identifiers of QoS 2 messages from PUBLISH to PUBREL ([MQTT-4.3.3-10]).
    received: Vec<PacketId>,
    /// How many of `pending` are QoS 1 and came on the present connection.
    pending_qos1: u32,
    /// How many of `pending`, from the front, came on earlier connections.
    earlier_pending: usize,
    /// How many of `received`, from the front, came on earlier connections.
    earlier_received: usize,
    /// How many of `pending` are repeats that wait for the outcome of what they repeat.
    following: usize,
}

/// One publish that owners have not resolved, or whose turn has not come.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// Its packet identifier.
    pub packet_id: PacketId,
    /// 1 or 2.
    pub qos: QoS,
    /// The connection that the acknowledgement goes to.
    pub connection: ConnectionId,
    /// What became of it.
    pub outcome: Option<ReasonCode>,
    /// It is a QoS 2 PUBLISH that came before.
    pub repeat: bool,
    /// What must hold before it is acknowledged; `None`: that is not written yet.
    pub ticket: Option<Position>,
}

impl Pending {
    /// Whether its acknowledgement frees its identifier: it is a QoS 2 message that was refused ([MQTT-4.3.3-9]).
    pub fn frees_identifier(&self) -> bool {
        self.qos == QoS::ExactlyOnce && !self.repeat && self.outcome.is_some_and(ReasonCode::is_error)
    }
}

impl Incoming {
    /// A new connection: Receive Maximum counts what comes on it alone (section 4.9).
    pub fn begin_again(&mut self) {
        (self.earlier_pending, self.earlier_received) = (self.pending.len(), self.received.len());
        self.pending_qos1 = 0;
    }

    /// Publishes of the present connection that are not acknowledged, and its QoS 2 messages that are not released:
    /// what Receive Maximum bounds.
    pub fn unacknowledged(&self) -> usize {
        // A QoS 2 message that waits for PUBREC is in both lists.
        self.received.len() - self.earlier_received + self.pending_qos1 as usize
    }

    /// Publishes that owners have not resolved, or whose turn has not come.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The number that the next publish will have.
    pub fn next_number(&self) -> u32 {
        self.first.wrapping_add(self.pending.len() as u32)
    }

    /// Notes a publish that is on its way to its owner. Returns its number.
    pub fn begin(&mut self, packet_id: PacketId, qos: QoS, connection: ConnectionId) -> u32 {
        self.begin_kept(packet_id, qos, connection, false)
    }

    /// The same; `kept`: a journal is to know a QoS 2 message before it is acknowledged.
    pub fn begin_kept(&mut self, packet_id: PacketId, qos: QoS, connection: ConnectionId, kept: bool) -> u32 {
        let number = self.next_number();
        if qos == QoS::ExactlyOnce {
            self.received.push(packet_id);
        } else {
            self.pending_qos1 += 1;
        }
        let ticket = (!kept || qos != QoS::ExactlyOnce).then_some(Position(0));
        self.pending.push_back(Pending { packet_id, qos, connection, outcome: None, repeat: false, ticket });
        number
    }

    /// Notes what became of a publish.
    pub fn resolve(&mut self, number: u32, reason: ReasonCode) {
        if let Some(pending) = self.pending.get_mut(number.wrapping_sub(self.first) as usize) {
            pending.outcome = Some(reason);
        }
    }

    /// The publish at the front, if its outcome is known.
    pub fn front(&self) -> Option<&Pending> {
        self.pending.front().filter(|pending| pending.outcome.is_some())
    }

    /// The identifier of a publish that was taken and that the journal does not know.
    pub fn unwritten(&self, number: u32) -> Option<PacketId> {
        let pending = self.pending.get(number.wrapping_sub(self.first) as usize)?;
        let taken = pending.outcome.is_some_and(|reason| !reason.is_error());
        (taken && pending.ticket.is_none()).then_some(pending.packet_id)
    }

    /// The number of the publish at the front.
    pub fn first_number(&self) -> u32 {
        self.first
    }

    /// The journal has it at this ticket.
    pub fn written(&mut self, number: u32, ticket: Position) {
        if let Some(pending) = self.pending.get_mut(number.wrapping_sub(self.first) as usize) {
            pending.ticket = Some(ticket);
        }
    }

    /// What the journal cannot promise any more is refused: those whose tickets do not hold.
    pub fn refuse(&mut self, holds: impl Fn(Position) -> bool) {
        for pending in &mut self.pending {
            if pending.outcome.is_some() && !pending.ticket.is_some_and(&holds) {
                (pending.ticket, pending.outcome) = (None, Some(ReasonCode::QuotaExceeded));
            }
        }
    }

    /// An identifier that was taken on an earlier start.
    pub fn restore(&mut self, packet_id: PacketId) {
        self.received.push(packet_id);
        self.earlier_received += 1;
    }

    /// How many identifiers of QoS 2 messages are taken.
    pub fn taken(&self) -> usize {
        self.received.len()
    }

    /// The last of the first so many identifiers that are taken, if the journal has it as such, and how many come before
    /// it. Of one whose message was refused it has the release already, for which PUBREC waits.
    pub fn last_of(&self, first: usize) -> Option<(usize, Option<PacketId>)> {
        let before = first.min(self.received.len()).checked_sub(1)?;
        let id = self.received[before];
        let its = |p: &&Pending| p.packet_id == id && !p.repeat && p.qos == QoS::ExactlyOnce;
        let open = |p: &Pending| p.ticket.is_none() || p.frees_identifier();
        Some((before, (!self.pending.iter().filter(its).any(open)).then_some(id)))
    }

    /// The next acknowledgement whose turn has come: acknowledgements leave in the order of the publishes
    /// ([MQTT-4.6.0-2]).
    pub fn acknowledge(&mut self) -> Option<(Pending, ReasonCode)> {
        let pending = *self.pending.front()?;
        let reason = pending.outcome?;
        self.pending.pop_front();
        self.first = self.first.wrapping_add(1);
        let earlier = self.earlier_pending > 0;
        self.earlier_pending -= usize::from(earlier);
        if pending.qos == QoS::AtLeastOnce {
            self.pending_qos1 -= u32::from(!earlier);
        } else {
            if pending.frees_identifier() {
                self.release(pending.packet_id);
            }
            self.pass_on(&pending, reason);
        }
        Some((pending, reason))
    }

    /// A repeat that waits for the outcome of this QoS 2 message gets it.
    fn pass_on(&mut self, resolved: &Pending, reason: ReasonCode) {
        if self.following == 0 {
            return;
        }
        let follows = |pending: &&mut Pending| {
            pending.repeat && pending.packet_id == resolved.packet_id && pending.outcome.is_none()
        };
        if let Some(repeat) = self.pending.iter_mut().find(follows) {
            repeat.outcome = Some(reason);
            self.following -= 1;
        }
    }

    /// A QoS 2 PUBLISH with this identifier came before and is not released.
    pub fn repeats(&self, packet_id: PacketId) -> bool {
        self.received.contains(&packet_id)
    }

    /// Notes a repeat of a QoS 2 PUBLISH, which has a PUBREC of its own, in its turn ([MQTT-4.6.0-3]). Where what came
    /// on an earlier connection is not resolved, the outcome of that is the outcome of the repeat. False where this
    /// connection waits for a PUBREC already: only that tells whether the message was taken.
    #[must_use]
    pub fn repeat(&mut self, packet_id: PacketId, connection: ConnectionId) -> bool {
        let mut waiting = self.pending.iter().filter(|p| p.qos == QoS::ExactlyOnce && p.packet_id == packet_id);
        if waiting.clone().any(|pending| pending.connection == connection) {
            return false;
        }
        let outcome = waiting.next().is_none().then_some(ReasonCode::Success);
        self.following += usize::from(outcome.is_none());
        let (qos, ticket) = (QoS::ExactlyOnce, Some(Position(0)));
        self.pending.push_back(Pending { packet_id, qos, connection, outcome, repeat: true, ticket });
        true
    }

    /// PUBREL: the identifier is free. False where it was not taken.
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        match self.received.iter().position(|id| *id == packet_id) {
            Some(index) => {
                self.received.remove(index);
                self.earlier_received -= usize::from(index < self.earlier_received);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: ConnectionId = ConnectionId { slot: shard::Slot(0), generation: 1 };

    fn id(n: u16) -> PacketId {
        PacketId::new(n).expect("not zero")
    }

    /// Compaction came between the release of a refused message's identifier and its PUBREC, and wrote it as taken: after
    /// a crash the next message with that identifier was dropped as a repeat.
    #[test]
    fn an_identifier_that_is_being_freed_is_not_taken() {
        let mut incoming = Incoming::default();
        let (taken, refused) = (incoming.begin_kept(id(1), QoS::ExactlyOnce, C, true), id(2));
        assert_eq!(incoming.last_of(9), Some((0, None)));
        incoming.resolve(taken, ReasonCode::Success);
        incoming.written(taken, Position(5));
        let number = incoming.begin_kept(refused, QoS::ExactlyOnce, C, true);
        incoming.resolve(number, ReasonCode::QuotaExceeded);
        incoming.written(number, Position(9));
        assert_eq!(incoming.last_of(9), Some((1, None)));
        assert_eq!(incoming.last_of(1), Some((0, Some(id(1)))));
        assert_eq!(incoming.last_of(0), None);
    }

    /// Owners resolve in any order; acknowledgements keep the order of the publishes.
    #[test]
    fn acknowledgements_keep_the_order() {
        let mut incoming = Incoming::default();
        let a = incoming.begin(id(7), QoS::AtLeastOnce, C);
        let b = incoming.begin(id(8), QoS::ExactlyOnce, C);
        incoming.resolve(b, ReasonCode::Success);
        assert!(incoming.acknowledge().is_none());
        incoming.resolve(a, ReasonCode::Success);
        assert_eq!(incoming.acknowledge().map(|(p, _)| p.packet_id), Some(id(7)));
        assert_eq!(incoming.acknowledge().map(|(p, _)| p.packet_id), Some(id(8)));
        assert!(incoming.repeats(id(8)));
        assert!(incoming.release(id(8)));
        assert!(!incoming.release(id(8)));
    }

    /// The PUBREC of a repeat waits for the acknowledgements before it, and the next repeat for that PUBREC.
    #[test]
    fn repeats_keep_the_order() {
        let mut incoming = Incoming::default();
        let a = incoming.begin(id(1), QoS::ExactlyOnce, C);
        incoming.resolve(a, ReasonCode::Success);
        assert!(incoming.acknowledge().is_some());
        let b = incoming.begin(id(2), QoS::ExactlyOnce, C);
        assert!(incoming.repeat(id(1), C));
        assert!(!incoming.repeat(id(1), C));
        let c = incoming.begin(id(3), QoS::ExactlyOnce, C);
        incoming.resolve(c, ReasonCode::Success);
        assert!(incoming.acknowledge().is_none());
        incoming.resolve(b, ReasonCode::Success);
        let order: Vec<u16> = std::iter::from_fn(|| incoming.acknowledge()).map(|(p, _)| p.packet_id.get()).collect();
        assert_eq!(order, [2, 1, 3]);
        assert_eq!(incoming.unacknowledged(), 3);
        assert!(incoming.repeat(id(1), C));
    }

    /// Repeats on another connection keep their own order, whatever was resolved when they came.
    #[test]
    fn repeats_follow_what_they_repeat() {
        const D: ConnectionId = ConnectionId { slot: shard::Slot(1), generation: 1 };
        let mut incoming = Incoming::default();
        let a = incoming.begin(id(1), QoS::ExactlyOnce, C);
        let b = incoming.begin(id(2), QoS::ExactlyOnce, C);
        incoming.resolve(a, ReasonCode::Success);
        assert!(incoming.acknowledge().is_some());
        assert!(incoming.repeat(id(1), D) && incoming.repeat(id(2), D));
        assert!(incoming.acknowledge().is_none());
        incoming.resolve(b, ReasonCode::Success);
        let order: Vec<_> = std::iter::from_fn(|| incoming.acknowledge()).map(|(p, _)| p.packet_id.get()).collect();
        assert_eq!(order, [2, 1, 2]);
    }

    /// A repeat of a refused message has no say in a new message under the same identifier: that took its outcome, and
    /// another repeat waited for ever (found by the simulator).
    #[test]
    fn a_new_message_is_no_repeat() {
        const D: ConnectionId = ConnectionId { slot: shard::Slot(1), generation: 1 };
        const E: ConnectionId = ConnectionId { slot: shard::Slot(2), generation: 1 };
        let mut incoming = Incoming::default();
        let refused = incoming.begin(id(1), QoS::ExactlyOnce, C);
        let holds = incoming.begin(id(9), QoS::AtLeastOnce, C);
        assert!(incoming.repeat(id(1), D));
        let other = incoming.begin(id(3), QoS::ExactlyOnce, D);
        assert!(incoming.repeat(id(3), E));
        incoming.resolve(refused, ReasonCode::QuotaExceeded);
        assert!(incoming.acknowledge().is_some());
        assert!(!incoming.repeats(id(1)));
        let new = incoming.begin(id(1), QoS::ExactlyOnce, E);
        let outcomes = |incoming: &mut Incoming| {
            let all = std::iter::from_fn(|| incoming.acknowledge());
            all.map(|(pending, reason)| (pending.packet_id.get(), reason)).collect::<Vec<_>>()
        };
        incoming.resolve(holds, ReasonCode::Success);
        assert_eq!(outcomes(&mut incoming), [(9, ReasonCode::Success), (1, ReasonCode::QuotaExceeded)]);
        incoming.resolve(other, ReasonCode::Success);
        incoming.resolve(new, ReasonCode::Success);
        assert_eq!(outcomes(&mut incoming), [3, 3, 1].map(|id| (id, ReasonCode::Success)));
    }

    /// What came on an earlier connection takes nothing of the present one's Receive Maximum, whenever it ends.
    #[test]
    fn receive_maximum_begins_anew() {
        let mut incoming = Incoming::default();
        let pending = incoming.begin(id(1), QoS::AtLeastOnce, C);
        let refused = incoming.begin(id(2), QoS::ExactlyOnce, C);
        incoming.begin(id(3), QoS::ExactlyOnce, C);
        assert_eq!(incoming.unacknowledged(), 3);
        incoming.begin_again();
        assert_eq!(incoming.unacknowledged(), 0);
        let present = incoming.begin(id(1), QoS::AtLeastOnce, C);
        incoming.begin(id(4), QoS::ExactlyOnce, C);
        assert_eq!(incoming.unacknowledged(), 2);
        incoming.resolve(pending, ReasonCode::Success);
        incoming.resolve(refused, ReasonCode::QuotaExceeded);
        while incoming.acknowledge().is_some() {}
        assert!(incoming.release(id(3)));
        assert_eq!(incoming.unacknowledged(), 2);
        assert!(incoming.release(id(4)));
        incoming.resolve(refused + 1, ReasonCode::Success);
        incoming.resolve(present, ReasonCode::Success);
        while incoming.acknowledge().is_some() {}
        assert_eq!(incoming.unacknowledged(), 0);
    }

    /// A QoS 2 message that was refused frees its identifier ([MQTT-4.3.3-9]).
    #[test]
    fn a_refused_identifier_is_free() {
        let mut incoming = Incoming::default();
        let number = incoming.begin(id(3), QoS::ExactlyOnce, C);
        incoming.resolve(number, ReasonCode::QuotaExceeded);
        assert!(incoming.acknowledge().is_some());
        assert!(!incoming.repeats(id(3)));
        assert_eq!(incoming.unacknowledged(), 0);
    }
}
