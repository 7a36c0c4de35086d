//! A shard's side of looking at clients' certificates again, after a reload.

use std::sync::Arc;

use shard::{Effects, Slot};
use wire::mqtt::ReasonCode;

use super::close::Cause;
use super::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::switch::Switch;
use crate::tls::recheck::{Check, Recheck};

/// Slots that are looked at in one turn.
const SLOTS_PER_TURN: usize = 256;

/// How far a shard has come.
pub struct Rechecking {
    shared: Arc<Recheck>,
    /// The reload that is known.
    epoch: u32,
    /// The slot that is looked at next.
    next: Option<u32>,
    /// Connections that have shown no certificate yet, or have come from another shard: those of one second at most.
    later: Vec<ConnectionId>,
}

impl Rechecking {
    /// Nothing was reloaded yet.
    pub fn new(shared: Arc<Recheck>) -> Rechecking {
        Rechecking { shared, epoch: 0, next: None, later: Vec::new() }
    }
}

impl Switch {
    /// Ends connections whose certificates hold no more, and has others looked at. Whether some are left that need no
    /// event.
    pub(crate) fn recheck_certificates(&mut self, fx: &mut Effects) -> bool {
        while let Some((connection, failure)) =
            self.recheck.as_ref().and_then(|recheck| recheck.shared.verdict(self.id))
        {
            let Some(phase) = self.connections.find(connection).map(|conn| conn.phase) else { continue };
            if matches!(phase, Phase::Lingering | Phase::Closing) {
                continue;
            }
            self.counters.add(Counter::TlsEndedCertificate, 1);
            let cause = match phase {
                Phase::Open => Cause::Reason(ReasonCode::NotAuthorized),
                // There is no CONNECT to answer.
                Phase::Handshake => Cause::Tls(failure),
                _ => Cause::Refused(ReasonCode::NotAuthorized),
            };
            self.close(connection.slot, cause, fx);
        }
        let Some(recheck) = &mut self.recheck else { return false };
        let epoch = recheck.shared.epoch();
        if recheck.epoch != epoch {
            (recheck.epoch, recheck.next) = (epoch, Some(0));
        }
        let Some(next) = recheck.next else { return false };
        let mut slots = self.connections.slots().skip(next as usize);
        for slot in slots.by_ref().take(SLOTS_PER_TURN) {
            if !self.recheck(slot) {
                // The thread that looks wakes this shard when it has room.
                self.recheck.as_mut().expect("it is there").next = Some(slot.0);
                return false;
            }
        }
        let next = slots.next().map(|slot| slot.0);
        self.recheck.as_mut().expect("it is there").next = next;
        next.is_some()
    }

    /// Looks at those that could not be looked at before. Once a second.
    pub(crate) fn recheck_later(&mut self) {
        let Some(recheck) = &mut self.recheck else { return };
        for connection in std::mem::take(&mut recheck.later) {
            if self.connections.find(connection).is_some() && !self.recheck(connection.slot) {
                self.recheck_soon(connection);
            }
        }
    }

    /// A connection has come from another shard, which may not have looked at it.
    pub(crate) fn recheck_soon(&mut self, connection: ConnectionId) {
        if let Some(recheck) = self.recheck.as_mut().filter(|recheck| recheck.shared.epoch() > 0) {
            recheck.later.push(connection);
        }
    }

    /// Has the certificate of a connection looked at, if it has shown one. False: there is no room for that now.
    fn recheck(&mut self, slot: Slot) -> bool {
        let connection = self.connections.id(slot);
        let conn = self.connections.at(slot);
        if !conn.encrypted || matches!(conn.phase, Phase::Empty | Phase::Lingering | Phase::Closing) {
            return true;
        }
        let Some(channel) = self.stacks.get(slot).and_then(|stack| stack.channel.as_ref()) else { return true };
        let Some(recheck) = &mut self.recheck else { return true };
        if channel.is_handshaking() {
            recheck.later.push(connection);
            return true;
        }
        let chain = channel.client_certificates().to_vec();
        chain.is_empty() || recheck.shared.ask(Check { shard: self.id, connection, listener: conn.listener, chain })
    }
}
