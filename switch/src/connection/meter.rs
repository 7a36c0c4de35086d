//! How much a client may publish: what comes faster waits in its socket, where TCP holds the client back, until it may
//! go on. Only one that never pauses is disconnected, where that is wanted.

use std::time::Duration;

use shard::{Effects, Instant, Slot};
use wire::mqtt::ReasonCode;

use super::ConnectionId;
use super::inbound::Flow;
use crate::counters::Counter;
use crate::limits::Limits;
use crate::listener::ListenerPolicy;
use crate::switch::{Switch, TimerKind, timer_word};

/// So much of what it may publish may come at once.
const BURST: Duration = Duration::from_secs(1);
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What clients have published lately, by slot; only where that is bounded for some listener, or where one has a bound
/// of its own on packets.
pub struct Meters {
    rows: Vec<Meter>,
    /// By listener.
    rates: Box<[Rates]>,
    /// How long a client may be held back without a pause; zero: for ever.
    patience: Duration,
}

/// What each client of a listener may publish in a second; 0: no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Messages.
    pub messages: u32,
    /// Bytes of their packets.
    pub bytes: u32,
}

/// One connection's: when all that it has published would be done, at the pace that it may have (the generic cell rate
/// algorithm).
#[derive(Clone, Copy)]
struct Meter {
    connection: ConnectionId,
    messages_done: Instant,
    bytes_done: Instant,
    /// When it was held back first since it has paused.
    held_since: Option<Instant>,
    /// A timer is set for it.
    waits: bool,
}

impl Meters {
    /// As limits and listeners have it; none where nothing is bounded.
    pub fn new(limits: &Limits, listeners: &[ListenerPolicy]) -> Option<Box<Meters>> {
        let rates: Box<[Rates]> = listeners.iter().map(|listener| listener.rates(limits)).collect();
        let sized = |listener: &ListenerPolicy| listener.packet_bytes_max.is_some();
        let bounded = rates.iter().any(|rates| rates.messages > 0 || rates.bytes > 0) || listeners.iter().any(sized);
        bounded.then(|| Box::new(Meters { rows: Vec::new(), rates, patience: limits.max_held_back }))
    }

    fn row(&mut self, connection: ConnectionId) -> &mut Meter {
        let index = connection.slot.0 as usize;
        let start = Instant::ZERO;
        let fresh = Meter { connection, messages_done: start, bytes_done: start, held_since: None, waits: false };
        if self.rows.len() <= index {
            self.rows.resize(index + 1, fresh);
        }
        let row = &mut self.rows[index];
        if row.connection != connection {
            *row = fresh;
        }
        row
    }

    /// When a connection may publish again; `None`: now.
    fn due(&mut self, connection: ConnectionId, now: Instant) -> Option<Instant> {
        let row = self.row(connection);
        let ahead = row.messages_done.max(row.bytes_done).since(now);
        (ahead >= BURST).then(|| now.after(ahead - BURST + Duration::from_nanos(1)))
    }

    /// A connection is held back. False: it has been for too long.
    fn hold(&mut self, connection: ConnectionId, now: Instant) -> bool {
        let patience = self.patience;
        let since = *self.row(connection).held_since.get_or_insert(now);
        patience.is_zero() || now.since(since) < patience
    }

    /// A connection of a listener has published a packet.
    #[cold]
    fn charge(&mut self, connection: ConnectionId, listener: u16, bytes: usize, now: Instant) {
        let Rates { messages, bytes: bytes_rate } = self.rates[usize::from(listener)];
        let cost = |units: usize, per_second: u32| {
            let nanos = (units as u64).saturating_mul(NANOS_PER_SECOND).checked_div(per_second.into());
            Duration::from_nanos(nanos.unwrap_or(0))
        };
        let row = self.row(connection);
        if row.messages_done.max(row.bytes_done).since(now) < BURST / 2 {
            row.held_since = None;
        }
        row.messages_done = row.messages_done.max(now).after(cost(1, messages));
        row.bytes_done = row.bytes_done.max(now).after(cost(bytes, bytes_rate));
    }
}

impl Switch {
    /// A client publishes: whether it must wait, or has done so too long, where that is bounded.
    #[inline]
    pub(super) fn held_back(&mut self, slot: Slot, fx: &mut Effects) -> Option<Flow> {
        if self.meters.is_none() { None } else { self.hold_back(slot, fx) }
    }

    #[cold]
    fn hold_back(&mut self, slot: Slot, fx: &mut Effects) -> Option<Flow> {
        let connection = self.connections.id(slot);
        let meters = self.meters.as_mut()?;
        let due = meters.due(connection, self.now)?;
        if !meters.hold(connection, self.now) {
            return Some(Flow::Close(ReasonCode::MessageRateTooHigh));
        }
        if !std::mem::replace(&mut meters.row(connection).waits, true) {
            self.counters.add(Counter::HeldBack, 1);
            fx.timers.set(due, timer_word(TimerKind::Meter, slot.0, connection.generation));
        }
        Some(Flow::Wait)
    }

    /// A client has published a packet of so many bytes. What could not be passed on comes again.
    #[inline]
    pub(super) fn charge(&mut self, slot: Slot, bytes: usize, flow: &Flow) {
        if let (Some(meters), Flow::Next) = (&mut self.meters, flow) {
            meters.charge(self.connections.id(slot), self.connections.at(slot).listener, bytes, self.now);
        }
    }

    /// A connection that published too fast may go on.
    pub(crate) fn meter_timer(&mut self, connection: ConnectionId) {
        let Some(meters) = &mut self.meters else { return };
        if self.connections.find(connection).is_none() {
            return;
        }
        meters.row(connection).waits = false;
        // One that waits for an owner goes on with others that do.
        if self.connections.at(connection.slot).waits_for.is_none() {
            self.unpark_soon(connection.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listener;

    fn connection(slot: u32, generation: u32) -> ConnectionId {
        ConnectionId { slot: Slot(slot), generation }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn meters(limits: &Limits, listener: Listener) -> Option<Box<Meters>> {
        Meters::new(limits, &[ListenerPolicy::new(&listener, 1)])
    }

    /// A second's worth may come at once, then one after the other; a large packet is let through and paid for, and who
    /// comes next begins anew.
    #[test]
    fn a_pace_is_kept() {
        let limits = Limits { max_publish_rate: 4, max_publish_bytes_rate: 1000, ..Limits::default() };
        let mut meters = meters(&limits, Listener::default()).expect("there is a bound");
        let (one, next) = (connection(3, 1), connection(3, 2));
        for _ in 0..4 {
            assert_eq!(meters.due(one, at(5000)), None);
            meters.charge(one, 0, 10, at(5000));
        }
        let due = meters.due(one, at(5000)).expect("it is too fast");
        assert!(due > at(5000) && due < at(5001), "{due:?}");
        assert_eq!(meters.due(one, due), None);
        meters.charge(one, 0, 3000, due);
        let due = meters.due(one, at(6000)).expect("3000 bytes take three seconds, of which one is free");
        assert!(due > at(7000) && due < at(7100), "{due:?}");
        assert_eq!(meters.due(next, at(6000)), None);
    }

    /// A listener's own rates count instead of those of all; without any there is nothing to look at.
    #[test]
    fn listeners_have_rates() {
        let (none, some) = (Limits::default(), Limits { max_publish_rate: 9, ..Limits::default() });
        let own = || Listener { max_publish_rate: Some(2), ..Listener::default() };
        let free = || Listener { max_publish_rate: Some(0), ..Listener::default() };
        assert!(meters(&none, Listener::default()).is_none() && meters(&some, free()).is_none());
        assert_eq!(meters(&some, Listener::default()).expect("a bound").rates[0], Rates { messages: 9, bytes: 0 });
        assert_eq!(meters(&none, own()).expect("a bound").rates[0], Rates { messages: 2, bytes: 0 });
    }

    /// Patience begins with the first packet that is held back, and anew after a pause.
    #[test]
    fn patience_ends() {
        let limits = Limits { max_publish_rate: 10, max_held_back: Duration::from_secs(2), ..Limits::default() };
        let mut meters = meters(&limits, Listener::default()).expect("there is a bound");
        let one = connection(0, 1);
        let publish_all = |meters: &mut Meters, now| {
            while meters.due(one, now).is_none() {
                meters.charge(one, 0, 10, now);
            }
            meters.hold(one, now)
        };
        assert!([1000, 1500, 2900].iter().all(|now| publish_all(&mut meters, at(*now))));
        // It has paused for most of its burst.
        assert!([4000, 5000, 5999].iter().all(|now| publish_all(&mut meters, at(*now))));
        // And now it does not.
        assert!((6100..7900).step_by(100).all(|now| publish_all(&mut meters, at(now))));
        assert!(!publish_all(&mut meters, at(8000)));
    }
}
