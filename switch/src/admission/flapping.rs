//! Clients that come and go too often: two devices with one client identifier, or one in a loop, that throw each other out
//! without end. Each is known to the home of its client identifier alone.

use std::time::Duration;

use hashbrown::HashMap;
use shard::Instant;

use crate::limits::Limits;

/// Clients that a shard remembers.
const CLIENTS_MAX: usize = 16_384;
/// Clients of which the one that came longest ago is forgotten for a new one.
const LOOKS: usize = 8;

/// What a shard remembers of clients whose home it is.
pub struct Flapping {
    clients: HashMap<u64, Visits, ahash::RandomState>,
    most: u32,
    window: Duration,
    ban: Duration,
}

/// How often one has come.
struct Visits {
    since: Instant,
    count: u32,
    /// It is refused until then.
    until: Instant,
}

impl Flapping {
    /// As these limits have it; none where nothing is bounded.
    pub fn new(limits: &Limits, hasher: ahash::RandomState) -> Option<Box<Flapping>> {
        let clients = HashMap::with_hasher(hasher);
        let (most, window, ban) = (limits.max_reconnects, limits.reconnect_window, limits.reconnect_ban);
        (most > 0).then(|| Box::new(Flapping { clients, most, window, ban }))
    }

    /// A client comes. False: it is to be refused.
    pub fn visit(&mut self, client: u64, now: Instant) -> bool {
        if self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(&client) {
            let oldest = self.clients.iter().take(LOOKS).min_by_key(|(_, visits)| visits.until.max(visits.since));
            if let Some(oldest) = oldest.map(|(client, _)| *client) {
                self.clients.remove(&oldest);
            }
        }
        let visits = self.clients.entry(client).or_insert(Visits { since: now, count: 0, until: now });
        if visits.until > now {
            return false;
        }
        if now.since(visits.since) > self.window {
            (visits.since, visits.count) = (now, 0);
        }
        visits.count += 1;
        if visits.count > self.most {
            *visits = Visits { since: now, count: 0, until: now.after(self.ban) };
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flapping() -> Box<Flapping> {
        let limits = Limits {
            max_reconnects: 3,
            reconnect_window: Duration::from_secs(10),
            reconnect_ban: Duration::from_secs(60),
            ..Limits::default()
        };
        Flapping::new(&limits, ahash::RandomState::with_seeds(1, 2, 3, 4)).expect("there is a bound")
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// Who comes too often is refused for a while, and begins anew behind it; others, and who takes its time, are let in.
    #[test]
    fn who_flaps_rests() {
        assert!(Flapping::new(&Limits::default(), ahash::RandomState::with_seeds(1, 2, 3, 4)).is_none());
        let mut flapping = flapping();
        assert_eq!([100, 101, 102, 103, 104].map(|now| flapping.visit(1, at(now))), [true, true, true, false, false]);
        assert!(flapping.visit(2, at(104)));
        assert_eq!([162, 163, 164].map(|now| flapping.visit(1, at(now))), [false, true, true]);
        assert!((0..20).all(|count| flapping.visit(3, at(200 + count * 5))));
    }

    /// The table does not grow without bound.
    #[test]
    fn the_table_is_bounded() {
        let mut flapping = flapping();
        for client in 0..CLIENTS_MAX as u64 + 100 {
            assert!(flapping.visit(client, at(1)));
        }
        assert_eq!(flapping.clients.len(), CLIENTS_MAX);
    }
}
