//! The topics and filters of all runs, and which match: by the plainest matcher there is.

/// Topics that clients publish to. Those below `w/` are for wills.
pub const TOPICS: [&str; 12] = ["a", "a/b", "a/b/c", "a/c", "b", "b/c", "$x/y", "r/1", "r/2", "r/2/3", "w/1", "w/2"];

/// How many of [`TOPICS`] are for publishes; the others are for wills.
pub const PUBLISH_TOPICS: usize = 10;

/// Filters that clients subscribe to.
pub const FILTERS: [&str; 14] =
    ["#", "+", "a/#", "a/+", "+/b", "a/b", "+/+/c", "b/#", "$x/#", "r/+", "r/#", "w/#", "w/1", "r/1"];

/// Shared subscriptions: text, and the filter in it.
pub const SHARED: [(&str, &str); 4] =
    [("$share/g/a/#", "a/#"), ("$share/h/a/#", "a/#"), ("$share/g/r/+", "r/+"), ("$share/g/#", "#")];

/// Which filters match which topics.
pub struct Matches {
    plain: [u64; FILTERS.len()],
    shared: [u64; SHARED.len()],
}

impl Matches {
    /// All pairs.
    pub fn new() -> Matches {
        let set = |filter: &str| {
            let topics = TOPICS.iter().enumerate().filter(|(_, topic)| matches(filter, topic));
            topics.fold(0, |set, (index, _)| set | 1 << index)
        };
        Matches { plain: FILTERS.map(set), shared: SHARED.map(|(_, filter)| set(filter)) }
    }

    /// Whether a filter (an index of [`FILTERS`], or behind those of [`SHARED`]) matches a topic.
    pub fn of(&self, filter: usize, topic: usize) -> bool {
        let set = self.plain.get(filter).copied().unwrap_or_else(|| self.shared[filter - FILTERS.len()]);
        set >> topic & 1 == 1
    }
}

impl Default for Matches {
    fn default() -> Matches {
        Matches::new()
    }
}

/// The text of a filter, by index as in [`Matches::of`].
pub fn filter_text(filter: usize) -> &'static str {
    FILTERS.get(filter).copied().unwrap_or_else(|| SHARED[filter - FILTERS.len()].0)
}

/// Section 4.7 of the standard, word by word.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('#') || filter.starts_with('+')) {
        return false;
    }
    let (filter, topic): (Vec<&str>, Vec<&str>) = (filter.split('/').collect(), topic.split('/').collect());
    for (index, level) in filter.iter().enumerate() {
        match (*level, topic.get(index)) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == *name => {}
            _ => return false,
        }
    }
    filter.len() == topic.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of section 4.7.
    #[test]
    fn examples_of_the_standard() {
        for (filter, topic, expected) in [
            ("a/#", "a", true),
            ("a/+", "a", false),
            ("+", "/x", false),
            ("+/+", "/x", true),
            ("#", "$x/y", false),
            ("+/y", "$x/y", false),
            ("$x/#", "$x/y", true),
            ("a/b", "a/b/c", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
