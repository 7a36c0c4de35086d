//! What became of each message: in order, lost, repeated, reordered or corrupted, counted exactly.

use serde::Serialize;

/// How many gaps one receiver remembers of one stream. Beyond that the oldest gap is given up: what fills it later
/// counts as repeated, which makes the run no less invalid.
const GAPS_MAX: usize = 1024;

/// What a receiver has of one stream.
#[derive(Default)]
pub struct Sequence {
    next: u64,
    /// Ranges below `next` that have not come, in order.
    gaps: Vec<(u64, u64)>,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or one after a gap.
    Forward,
    /// One that a later one has overtaken.
    Late,
    /// One that had come before.
    Repeated,
}

impl Sequence {
    /// Takes note of the message with this running number.
    pub fn take(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.next {
            if sequence > self.next {
                if self.gaps.len() == GAPS_MAX {
                    self.gaps.remove(0);
                }
                self.gaps.push((self.next, sequence));
            }
            self.next = sequence + 1;
            return Arrival::Forward;
        }
        let Some(at) = self.gaps.iter().position(|(from, to)| (*from..*to).contains(&sequence)) else {
            return Arrival::Repeated;
        };
        let (from, to) = self.gaps.remove(at);
        if sequence + 1 < to {
            self.gaps.insert(at, (sequence + 1, to));
        }
        if from < sequence {
            self.gaps.insert(at, (from, sequence));
        }
        Arrival::Late
    }
}

/// What went wrong in a run. All zero, or the run is invalid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Published, and not delivered to a receiver that subscribed before.
    pub lost: u64,
    /// Delivered to a receiver that had it already.
    pub repeated: u64,
    /// Delivered after a later one of its publisher, topic and QoS.
    pub reordered: u64,
    /// Payload or topic are not what was sent, or the QoS is another.
    pub corrupted: u64,
    /// Delivered to a client that did not subscribe to it.
    pub misrouted: u64,
    /// Publishes that the broker acknowledged with a failure (reason code 0x80 or above).
    pub refused: u64,
    /// Connections that the broker closed.
    pub closed: u64,
}

impl Faults {
    /// Whether nothing went wrong.
    pub fn none(&self) -> bool {
        *self == Faults::default()
    }
}

#[cfg(test)]
mod tests {
    use super::Arrival::{Forward, Late, Repeated};
    use super::*;

    /// Gaps are filled by late ones, once each, in any order.
    #[test]
    fn late_is_not_repeated() {
        let mut sequence = Sequence::default();
        let came: Vec<_> = [0, 1, 5, 3, 3, 2, 4, 4, 6, 1].map(|n| sequence.take(n)).to_vec();
        assert_eq!(came, [Forward, Forward, Forward, Late, Repeated, Late, Late, Repeated, Forward, Repeated]);
        assert!(sequence.gaps.is_empty());
    }

    /// Memory is bounded however many messages are missing.
    #[test]
    fn gaps_are_bounded() {
        let mut sequence = Sequence::default();
        for n in 0..10 * GAPS_MAX as u64 {
            sequence.take(2 * n + 1);
        }
        assert_eq!(sequence.gaps.len(), GAPS_MAX);
    }
}
