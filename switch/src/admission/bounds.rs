//! Where shards ask for the bounds on who comes.

use std::net::{IpAddr, SocketAddr};

use shard::{Effects, Slot};

use super::census::{Census, Entry};
use crate::access::attempts::network;
use crate::connection::close::Cause;
use crate::counters::Counter;
use crate::routing::home::Claim;
use crate::switch::{Switch, TimerKind, timer_word};

impl Switch {
    /// The address of a connection is known now: counts it, and why it must end, if so.
    pub(crate) fn count_address(&mut self, slot: Slot) -> Option<Cause> {
        let counts = &self.node.counts;
        if counts.addresses.is_none() && counts.paces.is_none() {
            return None;
        }
        let who = self.address_number(slot)?;
        let entry = counts.addresses.as_ref().map(|addresses| addresses.enter(who));
        if entry == Some(Entry::Full) {
            self.counters.add(Counter::ConnectionsOverAddress, 1);
            return Some(Cause::Crowded);
        }
        let hasty = counts.paces.as_ref().is_some_and(|paces| !paces.enter(who, self.now));
        let conn = self.connections.at_mut(slot);
        (conn.counted, conn.hasty) = (entry == Some(Entry::Counted), hasty);
        if hasty {
            self.counters.add(Counter::ConnectionsTooFast, 1);
        }
        // One that speaks TLS could be told only after a handshake, which is what costs.
        let listener = self.connections.at(slot).listener;
        (hasty && self.listeners[usize::from(listener)].tls.is_some()).then_some(Cause::Hasty)
    }

    /// A connection that was counted is not there any more.
    pub(crate) fn uncount_address(&mut self, slot: Slot) {
        if !std::mem::take(&mut self.connections.at_mut(slot).counted) {
            return;
        }
        if let (Some(addresses), Some(who)) = (&self.node.counts.addresses, self.address_number(slot)) {
            addresses.leave(who);
        }
    }

    /// Sets a timer for the listener that takes connections again in `due`.
    pub(crate) fn accept_later(&mut self, due: std::time::Duration, fx: &mut Effects) {
        if !std::mem::replace(&mut self.accepts_later, true) {
            self.counters.add(Counter::AcceptsPaused, 1);
            fx.timers.set(self.now.after(due), timer_word(TimerKind::Accept, 0, 0));
        }
    }

    /// Home: whether a client comes back too often.
    pub(crate) fn is_flapping(&mut self, client_id: &str, claim: &Claim) -> bool {
        let Some(flapping) = &mut self.flapping else { return false };
        // Who is not its user cannot get it refused.
        let client = self.placement.client_hash(client_id) ^ claim.owner.rotate_left(32);
        let flaps = !flapping.visit(client, self.now);
        if flaps {
            self.counters.add(Counter::ClientsFlapping, 1);
        }
        flaps
    }

    /// Home: counts a client to its user. False: that one has as many as it may have.
    pub(crate) fn count_user(&mut self, owner: u64) -> bool {
        let full = self.counted_user(owner).is_some_and(|users| users.enter(owner) == Entry::Full);
        if full {
            self.counters.add(Counter::ClientsOverUser, 1);
        }
        !full
    }

    /// Home: a client that was counted is not there any more.
    pub(crate) fn uncount_user(&self, owner: u64) {
        if let Some(users) = self.counted_user(owner) {
            users.leave(owner);
        }
    }

    /// Where an owner is counted: those that name nobody are nobody's.
    fn counted_user(&self, owner: u64) -> Option<&Census> {
        let users = self.node.counts.users.as_ref()?;
        (owner != 0 && owner != self.nobody()).then_some(users)
    }

    /// A number that stands for an address, or for a network of one person; none for a Unix socket.
    fn address_number(&self, slot: Slot) -> Option<u64> {
        let address = SocketAddr::from(self.connections.at(slot).peer).ip();
        if address.is_unspecified() {
            return None;
        }
        let octets = match network(address) {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Some(self.placement.number(&octets))
    }
}
