//! What a switch holds at an instant, for whoever checks that nothing is left behind: once all clients have gone, all
//! sessions have ended and interest has lingered out, everything here is zero but what is retained.

use std::collections::VecDeque;

use crate::connection::Phase;
use crate::switch::Switch;

/// How many of each thing a switch holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Connections in any phase but the wait for one.
    pub connections: usize,
    /// Connections that wait until something can be passed on.
    pub parked: usize,
    /// Connections whose socket is being handed over, or of which the session home is to be told that they left.
    pub departing: usize,
    /// Sessions.
    pub sessions: usize,
    /// Clients that this shard is the home of.
    pub clients: usize,
    /// Filters of this shard's subscribers.
    pub filters: usize,
    /// Filters that this shard knows of as an owner.
    pub interest: usize,
    /// SUBSCRIBE and UNSUBSCRIBE packets that wait for owners.
    pub requests: usize,
    /// Fetches of retained messages.
    pub fetches: usize,
    /// Feeds.
    pub feeds: usize,
    /// Chunks that feeds hold.
    pub chunks: usize,
    /// Messages stored for sessions.
    pub stored: usize,
    /// Publishes that wait: for their owner, for subscribers' shards, or half-way through routing.
    pub publishes: usize,
    /// Control parcels that wait for room.
    pub parcels: usize,
    /// Credits for publishes that are out.
    pub credits: usize,
    /// What waits for the journal: for tickets, for room, or for clients that are not accepted yet.
    pub journal_waits: usize,
    /// Publishes of the switch itself that the journal keeps until they are resolved.
    pub journal_own: usize,
    /// Parcels of owners that wait for tickets.
    pub held: usize,
}

impl Switch {
    /// What this switch holds now.
    pub fn holdings(&self) -> Holdings {
        let resting = |phase| matches!(phase, Phase::Empty | Phase::Accepting);
        let connections = self.connections.slots().filter(|slot| !resting(self.connections.at(*slot).phase)).count();
        let parked = self.unparked.len() + self.parked.iter().map(VecDeque::len).sum::<usize>();
        let credits = self.credits.iter().map(|left| (self.limits.publish_credits - left) as usize).sum();
        let own: usize = self.own.iter().map(VecDeque::len).sum();
        let heads = self.heads.iter().filter(|head| head.begun()).count();
        Holdings {
            connections,
            parked,
            departing: self.moving.len() + self.leaving.len(),
            sessions: self.sessions.len(),
            clients: self.home.len(),
            filters: self.filters.len(),
            interest: self.interest.len(),
            requests: self.requests.len(),
            fetches: self.fetches.len() + self.fetching.len(),
            feeds: self.feeds.len(),
            chunks: self.arena.in_use(),
            stored: self.store.len(),
            publishes: own + heads + self.book.len() + self.queued_to_self as usize,
            parcels: self.courier.len(),
            credits,
            journal_waits: self.journal.waiting()
                + self.journal.notes_waiting()
                + self.journal.blocked.len()
                + self.journal.admitting.len(),
            journal_own: self.journal.own.len() + self.journal.own_refused.len(),
            held: self.inboxes.iter().map(|inbox| inbox.held.len()).sum(),
        }
    }
}
