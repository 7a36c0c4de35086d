//! Random topics and filters for the property tests: few names and few levels, so that they meet often.

use proptest::prelude::*;
use proptest::sample::select;

/// Topic names, with empty levels, names that begin with `$`, and names that sort near a separator.
pub(crate) fn topic() -> impl Strategy<Value = String> {
    let level = select(vec!["", "a", "a", "b", "aa", "a\u{1}", "$s", "é"]);
    prop::collection::vec(level, 1..5).prop_map(|levels| not_empty(levels.join("/")))
}

/// Topic filters over the same names, half of them with wildcards.
pub(crate) fn filter() -> impl Strategy<Value = String> {
    let level = select(vec!["", "a", "a", "b", "aa", "a\u{1}", "$s", "é", "+", "+"]);
    (prop::collection::vec(level, 0..5), any::<bool>()).prop_map(|(mut levels, rest)| {
        levels.extend(rest.then_some("#"));
        not_empty(levels.join("/"))
    })
}

fn not_empty(name: String) -> String {
    if name.is_empty() { "/".to_owned() } else { name }
}
