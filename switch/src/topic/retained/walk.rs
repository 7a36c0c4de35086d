//! A walk over the retained messages that a filter matches, in slices.

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use shard::Instant;

use super::{Retained, RetainedStore, topic_of};

/// How many keys a walk passes over one by one before it seeks through the tree instead.
const NEAR: u32 = 8;

/// Where a walk goes on. The default is its beginning.
///
/// It is a place in the order of topics, not in the store, so it may be kept over any change of the store, and be sent as
/// text to where it is kept. What is set or cleared meanwhile is seen if it lies ahead.
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
    /// Shows the retained messages whose topics match a filter to `take`, in the order of their levels, from `cursor` on,
    /// which is moved along. `take` gets the topic too.
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
        while let Some(left) = steps.checked_sub(1) {
            *steps = left;
            let Some((key, &id)) = keys.next() else { return Ok(Walk::Done) };
            if **key < *cursor.seek {
                passed += 1;
                if passed == NEAR {
                    keys = from(&cursor.seek);
                    passed = 0;
                }
                continue;
            }
            passed = 0;
            match judge(filter, key, cursor) {
                Verdict::Match => {}
                Verdict::Skip => continue,
                Verdict::End => return Ok(Walk::Done),
            }
            let retained = &self.entries[id as usize].retained;
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
        Ok(Walk::More)
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
