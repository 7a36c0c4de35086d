//! Who comes in: accepts are armed as far as there is room, and each client that comes takes a place.

use std::net::SocketAddr;

use shard::{Effects, Errno, ListenerId, Op, Slot};

use super::stack::Stack;
use super::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::journal::restore::Recovery;
use crate::limits::ACCEPTS_ARMED;
use crate::program::log::Level;
use crate::stopping::Stopping;
use crate::switch::Switch;

impl Switch {
    /// Arms accepts on every listener, as far as slots are free and the node takes connections.
    pub(crate) fn arm_accepts(&mut self, fx: &mut Effects) {
        if self.stopping != Stopping::No || self.recovery != Recovery::Done {
            return;
        }
        let open: u64 = self.node.counters.iter().map(|counters| counters.read(Counter::ConnectionsOpen)).sum();
        if open >= u64::from(self.limits.max_connections) {
            return;
        }
        for listener in 0..self.accepts.len() {
            let policy = &self.listeners[listener];
            let (room, due) = policy.pace.as_ref().map_or((u32::MAX, None), |pace| pace.room(self.now));
            let most = ACCEPTS_ARMED.min(policy.room()).min(room);
            if let Some(due) = due {
                self.accept_later(due, fx);
            }
            while self.accepts[listener] < most {
                let Some(ConnectionId { slot, generation }) = self.connections.take(Phase::Accepting) else { return };
                self.accepts[listener] += 1;
                fx.ops.push(Op::Accept { listener: ListenerId(listener as u16), slot, generation });
            }
        }
    }

    /// A client has come in.
    pub(crate) fn accepted(&mut self, listener: ListenerId, id: ConnectionId, peer: SocketAddr, fx: &mut Effects) {
        self.accepts[usize::from(listener.0)] -= 1;
        self.counters.add(Counter::ConnectionsAccepted, 1);
        self.counters.add(Counter::ConnectionsOpen, 1);
        let conn = self.connections.at_mut(id.slot);
        conn.phase = Phase::Handshake;
        conn.peer = peer.into();
        conn.listener = listener.0;
        let policy = &self.listeners[usize::from(listener.0)];
        policy.opened(self.id);
        if let Some(pace) = &policy.pace {
            pace.count(self.now);
        }
        // Whom a proxy serves it says later.
        let proxied = policy.proxies.as_ref().is_some_and(|proxies| proxies.include(peer.ip()));
        if self.stopping != Stopping::No || policy.is_over() {
            self.begin_closing(id.slot, fx);
            return;
        }
        if !proxied && self.count_address(id.slot).is_some() {
            return self.begin_closing(id.slot, fx);
        }
        let channel = self.new_channel(listener.0);
        let conn = self.connections.at_mut(id.slot);
        conn.receiving = true;
        conn.encrypted = channel.is_some();
        if let Some(stack) = Stack::new(&self.listeners[usize::from(listener.0)], peer, channel) {
            conn.wrapped = true;
            self.stacks.put(id.slot, Box::new(stack));
        }
        fx.ops.push(Op::Recv { slot: id.slot, generation: id.generation, multishot: false });
        self.set_connection_timer(id.slot, self.now.after(self.limits.connect_timeout), fx);
        self.arm_accepts(fx);
    }

    /// Tells that a client could not be accepted because of an error of the kernel.
    pub(crate) fn accept_failed(&mut self, listener: ListenerId, slot: Slot, errno: Errno) {
        self.accepts[usize::from(listener.0)] -= 1;
        self.connections.free(slot);
        self.log.event(self.now, Level::Warn, &format!("accept failed: {errno}"));
        // Armed again with the next connection that closes, or in the next second: an error that lasts must not spin.
    }
}
