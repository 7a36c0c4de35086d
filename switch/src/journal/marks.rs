//! QoS 2 messages that a shard has taken, by what tells their repeats.
//!
//! A publisher's home writes down that a message came only after every shard that owes it has it. If the node ends in
//! between, the publisher sends it again, and its home passes it on again, with the same mark; likewise where one shard
//! took a message and another refused it. A mark is needed until its publisher's home has written it down, so as many
//! as a publisher may have unacknowledged are enough for each.

use std::collections::VecDeque;

use hashbrown::HashMap;
use wire::entry::Mark;

/// The marks of a shard.
pub struct Marks {
    publishers: HashMap<u64, Marked, ahash::RandomState>,
    /// All marks, oldest first: those of publishers that are heard of no more go when there are too many.
    order: VecDeque<Mark>,
    /// How many have gone from the front of `order`.
    gone: u64,
    max: usize,
    /// Sessions that had taken a message when others that came to this shard with them had not.
    partly: HashMap<Mark, Vec<u64>, ahash::RandomState>,
}

/// The marks of one publisher: for each packet identifier the newest, and all of its wills.
#[derive(Default)]
struct Marked {
    counts: HashMap<Place, u32, ahash::RandomState>,
}

/// What a later mark of the same publisher replaces: a packet identifier is used again when its message is through.
/// Several wills of one client may be on their way at a time, of connections that followed each other fast.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Packet(u16),
    Will(u32),
}

impl Place {
    fn of(mark: &Mark) -> Place {
        if mark.packet_id == 0 { Place::Will(mark.count) } else { Place::Packet(mark.packet_id) }
    }
}

impl Marks {
    /// Room for `max` marks.
    pub fn new(max: usize) -> Marks {
        Marks { publishers: HashMap::default(), order: VecDeque::new(), gone: 0, max, partly: HashMap::default() }
    }

    /// Whether a message with this mark was taken.
    pub fn contains(&self, mark: &Mark) -> bool {
        self.publishers
            .get(&mark.publisher)
            .is_some_and(|marked| marked.counts.get(&Place::of(mark)) == Some(&mark.count))
    }

    /// Only these sessions have taken a message with this mark.
    pub fn take(&mut self, mark: Mark, uids: Vec<u64>) {
        self.partly.insert(mark, uids);
    }

    /// The sessions that had taken a message with this mark when others had not; empty: there are none such.
    pub fn taken_by(&mut self, mark: &Mark) -> Vec<u64> {
        if self.partly.is_empty() { Vec::new() } else { self.partly.remove(mark).unwrap_or_default() }
    }

    /// All messages that only some sessions have taken.
    pub fn partly(&self) -> impl Iterator<Item = (&Mark, &Vec<u64>)> {
        self.partly.iter()
    }

    /// Notes that a message with this mark was taken.
    pub fn insert(&mut self, mark: Mark) {
        let marked = self.publishers.entry(mark.publisher).or_default();
        if marked.counts.insert(Place::of(&mark), mark.count) == Some(mark.count) {
            return;
        }
        self.order.push_back(mark);
        while self.order.len() > self.max {
            let oldest = self.order.pop_front().expect("there are more than none");
            self.gone += 1;
            self.forget(&oldest);
        }
    }

    /// How many are known, those that a newer one has replaced included.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The first mark at or behind the `number`th that was ever noted, with its number.
    pub fn next(&self, number: u64) -> Option<(u64, Mark)> {
        let number = number.max(self.gone);
        let mark = self.order.get((number - self.gone) as usize)?;
        Some((number, *mark))
    }

    fn forget(&mut self, mark: &Mark) {
        let Some(marked) = self.publishers.get_mut(&mark.publisher) else { return };
        if marked.counts.get(&Place::of(mark)) == Some(&mark.count) {
            marked.counts.remove(&Place::of(mark));
        }
        if marked.counts.is_empty() {
            self.publishers.remove(&mark.publisher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(publisher: u64, packet_id: u16, count: u32) -> Mark {
        Mark { publisher, packet_id, count }
    }

    /// A message is known until its identifier is used again; the oldest ones make room.
    #[test]
    fn the_newest_of_an_identifier_counts() {
        let mut marks = Marks::new(3);
        marks.insert(mark(1, 1, 0));
        assert!(marks.contains(&mark(1, 1, 0)) && !marks.contains(&mark(1, 1, 1)) && !marks.contains(&mark(2, 1, 0)));
        marks.insert(mark(1, 1, 1));
        assert!(!marks.contains(&mark(1, 1, 0)));
        marks.insert(mark(1, 2, 0));
        marks.insert(mark(2, 1, 0));
        assert_eq!(marks.len(), 3);
        assert!(marks.contains(&mark(1, 1, 1)));
        marks.insert(mark(2, 2, 0));
        assert!(!marks.contains(&mark(1, 1, 1)) && marks.contains(&mark(1, 2, 0)));
        assert_eq!(marks.next(0), Some((2, mark(1, 2, 0))));
        assert_eq!(marks.next(4), Some((4, mark(2, 2, 0))));
        assert_eq!(marks.next(5), None);
    }

    /// Two wills of a client were on their way when the node ended, as it had come back between them. After the start
    /// the mark of the first was taken for that of the second, which then came twice.
    #[test]
    fn wills_do_not_replace_each_other() {
        let mut marks = Marks::new(3);
        marks.insert(mark(1, 0, 7));
        marks.insert(mark(1, 0, 8));
        marks.insert(mark(1, 0, 7));
        assert!(marks.contains(&mark(1, 0, 7)) && marks.contains(&mark(1, 0, 8)) && marks.len() == 2);
        marks.insert(mark(2, 1, 0));
        marks.insert(mark(2, 2, 0));
        assert!(!marks.contains(&mark(1, 0, 7)) && marks.contains(&mark(1, 0, 8)));
    }
}
