//! What was decided about the topics that a session used last: a client uses few of them, over and over.

use super::rules::{Actions, Ways};

/// Topics that are remembered for one session; a power of two.
const PLACES: usize = 8;
/// Bytes of a topic that is remembered.
const TOPIC_BYTES_MAX: usize = 256;

/// A small cache. The topic itself is compared, so no other can pass for it.
#[derive(Default)]
pub struct Decisions {
    places: [Place; PLACES],
}

#[derive(Default)]
struct Place {
    topic: String,
    action: u8,
    ways: u8,
}

impl Decisions {
    /// What was decided, if that is known.
    pub fn find(&self, action: Actions, topic: &str) -> Option<Ways> {
        let place = &self.places[place_of(topic)];
        (place.action == action.0 && place.topic == topic).then_some(Ways(place.ways))
    }

    /// Remembers a decision instead of one about another topic.
    pub fn put(&mut self, action: Actions, topic: &str, ways: Ways) {
        if topic.len() > TOPIC_BYTES_MAX {
            return;
        }
        let place = &mut self.places[place_of(topic)];
        (place.action, place.ways) = (action.0, ways.0);
        place.topic.clear();
        place.topic.push_str(topic);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.places.iter_mut().for_each(|place| place.action = 0);
    }
}

/// Topics of one client mostly differ near their end.
fn place_of(topic: &str) -> usize {
    let bytes = topic.as_bytes();
    let tail = &bytes[bytes.len().saturating_sub(4)..];
    let sum = tail.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    (sum ^ sum >> 3) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decision is found for its own topic and action, until another takes its place or all are forgotten.
    #[test]
    fn decisions_are_found() {
        let mut decisions = Decisions::default();
        assert_eq!(decisions.find(Actions::PUBLISH, ""), None);
        decisions.put(Actions::PUBLISH, "room/1", Ways::ALL);
        assert_eq!(decisions.find(Actions::PUBLISH, "room/1"), Some(Ways::ALL));
        assert_eq!(decisions.find(Actions::RECEIVE, "room/1"), None);
        assert_eq!(decisions.find(Actions::PUBLISH, "room/2"), None);
        for number in 0..100 {
            decisions.put(Actions::PUBLISH, &format!("room/{number}"), Ways::NONE);
            assert_eq!(decisions.find(Actions::PUBLISH, &format!("room/{number}")), Some(Ways::NONE));
        }
        decisions.put(Actions::PUBLISH, &"x".repeat(300), Ways::ALL);
        assert_eq!(decisions.find(Actions::PUBLISH, &"x".repeat(300)), None);
        decisions.clear();
        assert!((0..100).all(|n| decisions.find(Actions::PUBLISH, &format!("room/{n}")).is_none()));
    }
}
