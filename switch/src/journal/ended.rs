//! Sessions whose end is written and not durable yet: until it is, a crash brings them back.
//!
//! Nobody waits for the end of a session as such. But a CONNACK that tells the client of one that there is no session must
//! hold (Session Present 0, [MQTT-3.2.2-3]), and so waits for that end.

use std::collections::VecDeque;

use hashbrown::HashMap;
use persistence::Position;

/// The ticket of what found no room in the journal so far.
pub const UNWRITTEN: Position = Position(u64::MAX);

/// The clients of such sessions, by the hashes of their identifiers.
#[derive(Default)]
pub struct Ended {
    /// In the order in which they become durable.
    order: VecDeque<(Position, u64)>,
    last: HashMap<u64, Position, ahash::RandomState>,
}

impl Ended {
    /// The end of a session of this client is durable with `ticket`.
    pub fn push(&mut self, client_hash: u64, ticket: Position) {
        self.order.push_back((ticket, client_hash));
        self.last.insert(client_hash, ticket);
    }

    /// What found no room is written, and holds with `ticket`.
    pub fn written(&mut self, ticket: Position) {
        for (of, client_hash) in self.order.iter_mut().rev().take_while(|(of, _)| *of == UNWRITTEN) {
            *of = ticket;
            self.last.insert(*client_hash, ticket);
        }
    }

    /// Forgets those that hold.
    pub fn settle(&mut self, holds: impl Fn(Position) -> bool) {
        while let Some((ticket, client_hash)) = self.order.front().copied().filter(|(ticket, _)| holds(*ticket)) {
            self.order.pop_front();
            if self.last.get(&client_hash) == Some(&ticket) {
                self.last.remove(&client_hash);
            }
        }
    }

    /// Whether there is one of this client.
    pub fn contains(&self, client_hash: u64) -> bool {
        self.last.contains_key(&client_hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is known until it holds; one that ends twice until the second end holds.
    #[test]
    fn ends_hold_in_their_order() {
        let mut ended = Ended::default();
        for (client, ticket) in [(1, 10), (2, 20), (1, 30)] {
            ended.push(client, Position(ticket));
        }
        ended.settle(|ticket| ticket <= Position(20));
        assert!(ended.contains(1) && !ended.contains(2));
        ended.settle(|ticket| ticket <= Position(30));
        assert!(!ended.contains(1) && ended.order.is_empty());
        ended.push(3, UNWRITTEN);
        ended.settle(|ticket| ticket <= Position(40));
        assert!(ended.contains(3));
        ended.written(Position(50));
        ended.settle(|ticket| ticket <= Position(50));
        assert!(!ended.contains(3));
    }
}
