//! When the messages of an open loop are due: each stream at even intervals, as its share says, streams out of step
//! with each other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The messages of all streams in the order in which they are due.
pub struct Schedule {
    begun: u64,
    beats: Vec<Beat>,
    /// When the next message of each stream is due.
    next: BinaryHeap<Reverse<(u64, u32)>>,
}

struct Beat {
    /// Nanoseconds between two messages.
    interval: f64,
    /// When the first is due, in intervals.
    phase: f64,
    /// The number of the message that is next.
    sequence: u64,
}

impl Schedule {
    /// `rate` messages a second over all streams, divided as `weights` say, from `begun` on.
    pub fn new(rate: f64, weights: impl ExactSizeIterator<Item = f64> + Clone, begun: u64) -> Schedule {
        let count = weights.len() as f64;
        let sum: f64 = weights.clone().sum();
        let beat = |(index, weight): (u32, f64)| {
            let (interval, phase) = (1e9 / rate * sum / weight, f64::from(index) / count);
            Beat { interval, phase, sequence: 0 }
        };
        let beats = (0..).zip(weights).map(beat).collect();
        let mut schedule = Schedule { begun, beats, next: BinaryHeap::new() };
        schedule.next =
            (0..schedule.beats.len() as u32).map(|index| Reverse((schedule.due(index, 0), index))).collect();
        schedule
    }

    /// When the message of this stream with this number is due.
    pub fn due(&self, stream: u32, sequence: u64) -> u64 {
        let beat = &self.beats[stream as usize];
        self.begun + ((sequence as f64 + beat.phase) * beat.interval) as u64
    }

    /// When the next message of all is due; none without streams.
    pub fn next(&self) -> Option<u64> {
        self.next.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes the next message that is due by now, and tells whose it is.
    pub fn take(&mut self, now: u64) -> Option<u32> {
        let Reverse((_, stream)) = *self.next.peek().filter(|Reverse((due, _))| *due <= now)?;
        self.beats[stream as usize].sequence += 1;
        let due = self.due(stream, self.beats[stream as usize].sequence);
        *self.next.peek_mut()? = Reverse((due, stream));
        Some(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal streams take turns at even intervals.
    #[test]
    fn equal_streams_in_turn() {
        let mut schedule = Schedule::new(1e6, [1.0; 4].into_iter(), 500);
        for message in 0..12_u64 {
            let due = 500 + message * 1000;
            assert_eq!(schedule.next(), Some(due));
            assert_eq!(schedule.take(due - 1), None);
            assert_eq!(schedule.take(due), Some((message % 4) as u32));
            assert_eq!(schedule.due((message % 4) as u32, message / 4), due);
        }
        assert_eq!(Schedule::new(1.0, [].into_iter(), 0).take(u64::MAX), None);
    }

    /// A stream with three times the weight has three times the messages, and in all there are as many as asked for.
    #[test]
    fn weights_are_shares() {
        let mut schedule = Schedule::new(1000.0, [3.0, 1.0].into_iter(), 0);
        let mut counts = [0; 2];
        while let Some(stream) = schedule.take(3_999_999_999) {
            counts[stream as usize] += 1;
        }
        assert_eq!(counts, [3000, 1000]);
    }
}
