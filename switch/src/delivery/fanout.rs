//! What a fan-out works with: the subscribers of the frame at hand, and its packets as they are alike for many.

use wire::mqtt::QoS;

use super::DirectSubscriber;
use super::store::MessageId;
use crate::session::{Matched, Options, SessionId};
use crate::topic::tree::FilterId;

/// Scratch space of a fan-out, kept so that none allocates.
#[derive(Default)]
pub struct Fanout {
    pub(super) filters: Vec<FilterId>,
    pub(super) matches: Vec<Match>,
    /// Subscription Identifiers of matches that have more than one.
    pub(super) identifiers: Vec<(u32, u32)>,
    pub(super) templates: [Template; 16],
    pub(super) tick: u64,
    pub(super) stored: Option<MessageId>,
    /// Groups matched.
    pub(super) groups: usize,
    /// The number of the message in the journal; 0: it is not there.
    pub(super) number: u64,
    /// The journal did not take it: durable sessions cannot be owed it.
    pub(super) unkept: bool,
}

/// One subscriber of the frame at hand, with all its subscriptions that match.
#[derive(Clone, Copy)]
pub(super) struct Match {
    pub(super) session: SessionId,
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    pub(super) identifier: u32,
    pub(super) group: Option<u64>,
}

/// A PUBLISH as all subscribers of one kind get it, but for the packet identifier.
#[derive(Default)]
pub(super) struct Template {
    pub(super) tick: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) packet_id_at: usize,
}

impl Fanout {
    pub(super) fn begin(&mut self, tick: u64) {
        self.filters.clear();
        self.matches.clear();
        self.identifiers.clear();
        self.groups = 0;
        (self.number, self.unkept) = (0, false);
        self.tick = tick;
    }

    /// Adds a subscription to its session's match, which carries all identifiers and the highest QoS
    /// ([MQTT-3.3.4-2], [MQTT-3.3.4-4]).
    pub(super) fn collect(&mut self, subscriber: &DirectSubscriber, matched: &mut Matched) {
        if matched.tick != self.tick {
            *matched = Matched { tick: self.tick, index: self.matches.len() as u32 };
            self.matches.push(Match::of(subscriber, None));
            return;
        }
        let found = &mut self.matches[matched.index as usize];
        found.qos = found.qos.max(subscriber.options.qos());
        found.retain_as_published |= subscriber.options.retain_as_published();
        if found.identifier == 0 {
            found.identifier = subscriber.identifier;
        } else if subscriber.identifier != 0 {
            self.identifiers.push((matched.index, subscriber.identifier));
        }
    }

    /// Takes away the matches of sessions that had the message before.
    pub(super) fn leave_out(&mut self, took: impl Fn(SessionId) -> bool) {
        // Identifiers go by the places of their matches, which change.
        let (mut places, mut left) = (Vec::with_capacity(self.matches.len()), 0);
        self.matches.retain(|found| {
            let stays = !took(found.session);
            places.push(stays.then_some(left));
            left += u32::from(stays);
            stays
        });
        self.identifiers.retain_mut(|(of, _)| match places[*of as usize] {
            Some(place) => {
                *of = place;
                true
            }
            None => false,
        });
    }

    /// All Subscription Identifiers of a match.
    pub(super) fn identifiers_of(&self, index: u32, first: u32) -> Identifiers {
        if first == 0 {
            return Identifiers::None;
        }
        if !self.identifiers.iter().any(|(of, _)| *of == index) {
            return Identifiers::One([first]);
        }
        let more = self.identifiers.iter().filter(|(of, _)| *of == index).map(|(_, identifier)| *identifier);
        Identifiers::Many(std::iter::once(first).chain(more).collect())
    }
}

/// Subscription Identifiers of one delivery.
pub(super) enum Identifiers {
    None,
    One([u32; 1]),
    Many(Vec<u32>),
}

impl std::ops::Deref for Identifiers {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Identifiers::None => &[],
            Identifiers::One(one) => one,
            Identifiers::Many(many) => many,
        }
    }
}

impl Match {
    pub(super) fn of(subscriber: &DirectSubscriber, group: Option<u64>) -> Match {
        let options: Options = subscriber.options;
        Match {
            session: subscriber.session,
            qos: options.qos(),
            retain_as_published: options.retain_as_published(),
            identifier: subscriber.identifier,
            group,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    /// Goal: who had a message before is left out, and all others have their own Subscription Identifiers.
    ///
    /// After a start with other shards a message may be known to some sessions of a shard and not to others. Their
    /// matches were taken away, and the identifiers of the first of them went to who came next.
    #[test]
    fn identifiers_stay_with_their_matches() {
        let session = |index: u32| SessionId { index, generation: NonZeroU32::MIN };
        let found = |index, identifier| Match {
            session: session(index),
            qos: QoS::AtLeastOnce,
            retain_as_published: false,
            identifier,
            group: None,
        };
        let mut fanout = Fanout {
            matches: vec![found(0, 10), found(1, 20), found(2, 30), found(3, 0)],
            identifiers: vec![(0, 11), (2, 31), (0, 12), (2, 32)],
            ..Fanout::default()
        };
        fanout.leave_out(|id| id == session(0) || id == session(3));
        assert_eq!(fanout.matches.iter().map(|found| found.session.index).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(fanout.identifiers_of(0, 20).to_vec(), [20]);
        assert_eq!(fanout.identifiers_of(1, 30).to_vec(), [30, 31, 32]);
    }
}
