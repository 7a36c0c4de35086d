//! What lives, as entries.

use wire::entry::{self, Entry, Identifiers, Owner};
use wire::mqtt::QoS;

use crate::delivery::Subscribers;
use crate::session::outgoing::{InFlight, Owed, Stage};
use crate::session::{Route, Session, Subscription};
use crate::topic::tree::FilterTree;

/// What its journal knows a durable session by.
#[derive(Debug)]
pub struct Kept {
    /// Its number.
    pub uid: u64,
    /// How many connections it has had.
    pub connections: u32,
    /// When its connection has gone, in milliseconds since 1970; 0: one serves it.
    pub left_ms: u64,
    /// When it ends, while no connection serves it.
    pub ends: shard::Instant,
    /// What packet identifiers of QoS 2 messages from its client were used for, where they were: how often they were
    /// released, and whether the last one was refused.
    pub counts: hashbrown::HashMap<u16, u32, ahash::RandomState>,
}

impl Kept {
    /// What is known of a session that begins.
    pub fn new(uid: u64) -> Kept {
        Kept { uid, connections: 0, left_ms: 0, ends: shard::Instant::NEVER, counts: hashbrown::HashMap::default() }
    }

    /// The count of a packet identifier: sessions begin at different ones, so that the marks of a session are not those
    /// of the one before.
    pub fn count(&self, packet_id: u16) -> u32 {
        self.counts.get(&packet_id).copied().unwrap_or_else(|| first_count(self.uid))
    }

    /// A packet identifier was released. Its new count.
    pub fn release(&mut self, packet_id: u16) -> u32 {
        let count = self.next_count(packet_id, 0);
        self.counts.insert(packet_id, count);
        count
    }

    /// The count that a packet identifier has once its client is told that its message was refused.
    pub fn count_refused(&self, packet_id: u16) -> u32 {
        self.next_count(packet_id, REFUSED)
    }

    /// Whether the last message under a packet identifier was refused, and its client told, or about to be.
    pub fn is_refused(&self, packet_id: u16) -> bool {
        self.uses(packet_id) & REFUSED != 0
    }

    fn next_count(&self, packet_id: u16, refused: u32) -> u32 {
        let uses = self.uses(packet_id).wrapping_add(1) & !REFUSED | refused;
        first_count(self.uid).wrapping_add(uses)
    }

    fn uses(&self, packet_id: u16) -> u32 {
        self.count(packet_id).wrapping_sub(first_count(self.uid))
    }
}

/// In how often an identifier was released: what was released last had been refused.
const REFUSED: u32 = 1 << 31;

/// Multiplied by an odd number that spreads neighbours (the golden ratio of 64 bits).
pub(crate) fn first_count(uid: u64) -> u32 {
    (uid.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// The count that marks the will of a session's connection: no other session of the client has had it.
pub(crate) fn will_count(uid: u64, connection: u32) -> u32 {
    first_count(uid).wrapping_add(connection)
}

/// The entry of a durable session.
pub fn session(session: &Session) -> Option<Entry<'_>> {
    let kept = session.kept.as_ref()?;
    Some(Entry::Session(entry::Session {
        uid: kept.uid,
        client_id: &session.client_id,
        expiry: session.expiry,
        connections: kept.connections,
        left_ms: kept.left_ms,
    }))
}

/// How far a message in flight has come, as entries have it.
pub fn stage_of(flight: &InFlight) -> entry::Stage {
    match flight.stage {
        Stage::Puback | Stage::Pubrec => entry::Stage::Sent,
        Stage::Pubcomp => entry::Stage::Received,
    }
}

/// The owner of a message; `identifiers` is scratch space.
pub fn owner<'a>(uid: u64, owed: &Owed, identifiers: &'a mut Vec<u8>) -> Owner<'a> {
    identifiers.clear();
    owed.identifiers.iter().flatten().for_each(|identifier| Identifiers::push(identifiers, *identifier));
    Owner {
        uid,
        group: owed.group.unwrap_or(0),
        qos: owed.qos,
        retain: owed.retain,
        identifiers: Identifiers::new(identifiers),
    }
}

/// The owner of a message of which only the PUBREL is left.
pub fn released_owner(uid: u64) -> Owner<'static> {
    Owner { uid, group: 0, qos: QoS::ExactlyOnce, retain: false, identifiers: Identifiers::default() }
}

/// The entry of a subscription of a durable session.
pub fn subscription<'a>(filters: &'a FilterTree<Subscribers>, uid: u64, subscription: &Subscription) -> Entry<'a> {
    let group = match subscription.route {
        Route::Shared(key, _) => {
            let groups = &filters.value(subscription.filter).groups;
            groups.iter().find(|group| group.key == key).map_or("", |group| &group.name)
        }
        _ => "",
    };
    Entry::Subscribed(entry::Subscription {
        uid,
        filter: filters.filter(subscription.filter),
        group,
        qos: subscription.options.qos(),
        no_local: subscription.options.no_local(),
        retain_as_published: subscription.options.retain_as_published(),
        told: subscription.options.told(),
        identifier: subscription.identifier,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts go up by one, each identifier for itself, from a beginning that differs between sessions.
    #[test]
    fn counts_tell_uses_apart() {
        let mut a = Kept::new(1);
        let b = Kept::new(2);
        let first = a.count(7);
        assert_ne!(first, b.count(7));
        assert_eq!(a.release(7), first.wrapping_add(1));
        assert_eq!((a.count(7), a.count(8)), (first.wrapping_add(1), first));
        let refused = a.count_refused(7);
        assert!(![first, a.count(7)].contains(&refused) && !a.is_refused(7));
        a.counts.insert(7, refused);
        assert!(a.is_refused(7) && a.count_refused(7) != refused && !a.is_refused(8));
        assert_eq!(a.release(7), first.wrapping_add(3));
        assert!(!a.is_refused(7));
    }
}
