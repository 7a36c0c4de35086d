//! A walk over the retained messages that a filter matches, in slices.

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use shard::Instant;

use super::{Retained, RetainedStore, topic_of};

/// How many keys a walk passes over one by one before it seeks through the tree instead. With six names below each that
/// a `+` takes this saves a third.
const NEAR: u32 = 8;

/// Where a walk goes on. The default is its beginning.
///
/// It is a place in the order of topics, not in the store, so it may be kept over any change of the store, and be sent
/// as text to where it is kept. What is set or cleared meanwhile is seen if it lies ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The least key not yet looked at, as far as is known.
    seek: String,
}

/// How a slice of a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Nothing is left that matches.
    Done,
    /// There may be more: go on with the cursor.
    More,
}

/// What a key means to a walk.
enum Verdict {
    /// Its topic matches.
    Match,
    /// It does not, and nothing does before the place that was written to the cursor.
    Skip,
    /// Neither it nor any after it does.
    End,
}

impl Cursor {
    /// The cursor as text: at most two bytes longer than the longest topic or filter.
    pub fn as_str(&self) -> &str {
        &self.seek
    }

    /// The cursor that [`Cursor::as_str`] told. Any text is a valid place.
    pub fn from_text(text: &str) -> Cursor {
        Cursor { seek: text.to_owned() }
    }

    fn set(&mut self, parts: [&str; 2]) {
        self.seek.clear();
        self.seek.extend(parts);
    }
}

impl RetainedStore {
    /// Shows the retained messages whose topics match a filter to `take`, in the order of their levels, from `cursor`
    /// on, which is moved along. `take` gets the topic too.
    ///
    /// `take` ends the slice with [`ControlFlow::Break`]; the message that it was shown is the first of the next slice
    /// then. The slice also ends after `steps` looks at topics, whether they match or not: a `+` may be answered by a
    /// million names of which none has the level that follows. Matches are found by seeking, so there are at most about
    /// two looks for each name that a `+` takes and two for each match. Messages that have expired are not shown but
    /// removed.
    ///
    /// A filter that begins with a wildcard does not match a topic that begins with `$` \[MQTT-4.7.2-1\].
    pub fn walk(
        &mut self,
        filter: &str,
        cursor: &mut Cursor,
        now: Instant,
        steps: u32,
        mut take: impl FnMut(&str, &Retained) -> ControlFlow<()>,
    ) -> Walk {
        if !filter.contains(['+', '#']) {
            let taken = self.get(filter, now).map_or(ControlFlow::Continue(()), |retained| take(filter, retained));
            return if taken.is_break() { Walk::More } else { Walk::Done };
        }
        if cursor.seek.is_empty() {
            push_literal(filter, &mut cursor.seek);
        }
        let mut steps = steps;
        loop {
            match self.walk_to_expired(filter, cursor, now, &mut steps, &mut take) {
                Ok(end) => return end,
                Err(expired) => self.remove(expired),
            }
        }
    }

    /// The walk as far as the first expired message, which is returned as the error.
    fn walk_to_expired(
        &mut self,
        filter: &str,
        cursor: &mut Cursor,
        now: Instant,
        steps: &mut u32,
        take: &mut impl FnMut(&str, &Retained) -> ControlFlow<()>,
    ) -> Result<Walk, u32> {
        let from = |seek: &str| self.by_level.range::<str, _>((Bound::Included(seek), Bound::Unbounded));
        let mut keys = from(&cursor.seek);
        let mut passed = 0;
        while let Some((key, &id)) = keys.next() {
            if **key < *cursor.seek {
                passed += 1;
                if passed == NEAR {
                    keys = from(&cursor.seek);
                    passed = 0;
                }
                continue;
            }
            passed = 0;
            let Some(left) = steps.checked_sub(1) else { return Ok(Walk::More) };
            *steps = left;
            match judge(filter, key, cursor) {
                Verdict::Match => {}
                Verdict::Skip => continue,
                Verdict::End => return Ok(Walk::Done),
            }
            let retained = &self.entries[id].retained;
            if retained.is_expired(now) {
                return Err(id);
            }
            topic_of(key, &mut self.topic);
            if take(&self.topic, retained).is_break() {
                cursor.set([key, ""]);
                return Ok(Walk::More);
            }
            cursor.set([key, "\0"]); // The least key after this one.
        }
        Ok(Walk::Done)
    }
}

/// Compares a key with a filter, level by level, and says where to seek next if it does not match.
fn judge(filter: &str, key: &str, cursor: &mut Cursor) -> Verdict {
    if filter.starts_with(['+', '#']) && key.starts_with('$') {
        cursor.set(["%", ""]); // The character after `$`.
        return Verdict::Skip;
    }
    // The end of the last level that a `+` took: what comes after may match with another name there.
    let mut varied = None;
    let mut at = 0;
    let mut levels = Some(filter);
    loop {
        let below = at <= key.len();
        match levels {
            Some("#") => return Verdict::Match,
            None if below => return seek_past(key, varied, cursor),
            None => return Verdict::Match,
            // The key is a parent of what is wanted.
            Some(levels) if !below => {
                cursor.set([key, "\0"]);
                push_literal(levels, &mut cursor.seek);
                return Verdict::Skip;
            }
            Some(wanted) => {
                let (name, after) = wanted.split_once('/').map_or((wanted, None), |(name, after)| (name, Some(after)));
                let end = key[at..].find('\0').map_or(key.len(), |len| at + len);
                match key[at..end].cmp(name) {
                    _ if name == "+" => varied = Some(end),
                    Ordering::Equal => {}
                    Ordering::Greater => return seek_past(key, varied, cursor),
                    Ordering::Less => {
                        cursor.set([&key[..at], ""]);
                        push_literal(wanted, &mut cursor.seek);
                        return Verdict::Skip;
                    }
                }
                at = end + 1;
                levels = after;
            }
        }
    }
}

/// Seeks the next name in the level that ends at `varied`, behind all that lies below the present one.
fn seek_past(key: &str, varied: Option<usize>, cursor: &mut Cursor) -> Verdict {
    match varied {
        Some(end) => {
            cursor.set([&key[..end], "\u{1}"]);
            Verdict::Skip
        }
        None => Verdict::End,
    }
}

/// Appends the key of the least topic that the filter's levels match, as far as they are literal.
fn push_literal(levels: &str, seek: &mut String) {
    for (at, level) in levels.split('/').enumerate() {
        if level == "#" {
            break; // It matches its parent level too [MQTT-4.7.1-2].
        }
        if at > 0 {
            seek.push('\0');
        }
        if level == "+" {
            break;
        }
        seek.push_str(level);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::mqtt::topic;

    use super::super::tests::{at, put};
    use super::super::{Bounds, RetainedStore};
    use super::*;
    use crate::topic::strategy;

    fn store<T: AsRef<str>>(topics: impl IntoIterator<Item = T>) -> RetainedStore {
        let mut store = RetainedStore::new(Bounds { messages_max: u32::MAX, bytes_max: u64::MAX });
        for topic in topics {
            put(&mut store, topic.as_ref(), topic.as_ref().as_bytes(), Instant::NEVER).unwrap();
        }
        store
    }

    /// Walks in slices of `steps` and returns the topics, after a check that each came with its own message.
    fn walk(store: &mut RetainedStore, filter: &str, steps: u32) -> Vec<String> {
        let (mut cursor, mut topics) = (Cursor::default(), Vec::new());
        loop {
            let slice = store.walk(filter, &mut cursor, at(1), steps, |topic, retained| {
                assert_eq!(topic.as_bytes(), retained.frame());
                topics.push(topic.to_owned());
                ControlFlow::Continue(())
            });
            if slice == Walk::Done {
                return topics;
            }
            cursor = Cursor::from_text(cursor.as_str());
        }
    }

    /// How many looks a whole walk takes.
    fn steps(store: &mut RetainedStore, filter: &str) -> u32 {
        let mut cursor = Cursor::default();
        let slice = |_: &u32| store.walk(filter, &mut cursor, at(1), 1, |_, _| ControlFlow::Continue(())) == Walk::More;
        (1..).take_while(slice).count() as u32
    }

    /// `#` takes its parent level, empty levels are levels, and no first wildcard takes a `$`.
    #[test]
    fn wildcards_match_as_the_standard_says() {
        let mut store = store(["a", "a/", "a/b", "a\u{1}", "a/b/c", "/", "$SYS", "$SYS/x", "%", "ab"]);
        assert_eq!(walk(&mut store, "a/#", 99), ["a", "a/", "a/b", "a/b/c"]);
        assert_eq!(walk(&mut store, "a/+", 99), ["a/", "a/b"]);
        assert_eq!(walk(&mut store, "+", 99), ["%", "a", "a\u{1}", "ab"]);
        assert_eq!(walk(&mut store, "#", 99), ["/", "%", "a", "a/", "a/b", "a/b/c", "a\u{1}", "ab"]);
        assert_eq!(walk(&mut store, "$SYS/#", 99), ["$SYS", "$SYS/x"]);
        assert_eq!(walk(&mut store, "a/b", 99), ["a/b"]);
        assert_eq!(walk(&mut store, "b", 99), Vec::<String>::new());
    }

    /// A walk looks at what matches and at little else, however much is stored beside it.
    #[test]
    fn walking_cost_is_bounded_by_matches() {
        let mut store = store((0..1_000).flat_map(|room| {
            (0..100).map(move |user| format!("room/{room}/user/{user}/seen")).chain([format!("room/{room}/title")])
        }));
        assert_eq!(walk(&mut store, "room/+/title", 999).len(), 1_000);
        // A look at each title, and one beyond it or at what comes before it in the next room.
        assert!(steps(&mut store, "room/+/title") <= 3 * 1_000);
        assert!(steps(&mut store, "room/500/#") <= 101 + 2);
        assert!(steps(&mut store, "room/7/user/+/seen") <= 2 * 100 + 2);
        assert!(steps(&mut store, "rooms/#") <= 2);
        assert!(steps(&mut store, "$SYS/#") <= 2);
    }

    /// A message that was not taken is the first of the next slice.
    #[test]
    fn a_break_shows_the_message_again() {
        let mut store = store(["a/1", "a/2", "b"]);
        for filter in ["a/+", "a/2"] {
            let (mut cursor, mut shown) = (Cursor::default(), Vec::new());
            for _ in 0..2 {
                let slice = store.walk(filter, &mut cursor, at(1), 99, |topic, _| {
                    shown.push(topic.to_owned());
                    if topic == "a/2" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                assert_eq!(slice, Walk::More);
            }
            assert!(shown.ends_with(&["a/2".into(), "a/2".into()]), "{shown:?}");
            assert!(shown.len() <= 3);
        }
    }

    /// An expired message is not shown and is gone afterwards.
    #[test]
    fn expired_messages_are_removed_on_the_way() {
        let mut store = store(["a/1", "a/2", "a/4", "a/5"]);
        for topic in ["a/2", "a/3", "a/4"] {
            put(&mut store, topic, topic.as_bytes(), at(1)).unwrap();
        }
        assert_eq!(walk(&mut store, "a/#", 2), ["a/1", "a/5"]);
        assert_eq!(store.len(), 2);
    }

    proptest! {
        /// Slices of any size show exactly what the reference says, in order; and of topics that come and go between
        /// slices, only what was there all along is promised, and nothing is shown twice.
        #[test]
        fn walks_like_the_reference(
            steady in prop::collection::btree_set(strategy::topic(), 0..30),
            passing in prop::collection::vec(strategy::topic(), 0..30),
            filter in strategy::filter(),
            steps in 1..6_u32,
        ) {
            let mut store = store(&steady);
            let expected: Vec<_> = steady.iter().filter(|topic| topic::matches(&filter, topic)).cloned().collect();
            let mut shown = walk(&mut store, &filter, steps);
            shown.sort();
            prop_assert_eq!(&shown, &expected);

            let (mut cursor, mut shown) = (Cursor::default(), Vec::new());
            let mut changes = passing.iter().filter(|topic| !steady.contains(*topic)).cycle().take(200);
            while store.walk(&filter, &mut cursor, at(1), steps, |topic, _| {
                shown.push(topic.replace('/', "\0"));
                ControlFlow::Continue(())
            }) == Walk::More {
                for topic in changes.by_ref().take(3) {
                    if !store.clear(topic) {
                        put(&mut store, topic, topic.as_bytes(), Instant::NEVER).unwrap();
                    }
                }
            }
            prop_assert!(shown.is_sorted_by(|a, b| a < b), "{:?}", shown);
            shown.retain(|key| steady.contains(&key.replace('\0', "/")));
            let mut seen: Vec<_> = shown.iter().map(|key| key.replace('\0', "/")).collect();
            seen.sort();
            prop_assert_eq!(seen, expected);
        }
    }
}
