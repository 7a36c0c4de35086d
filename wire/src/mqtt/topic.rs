//! Topic names and topic filters: grammar, matching, overlap.
//!
//! [`TopicName`] and [`TopicFilter`] cannot exist invalid. [`matches()`] and [`overlap`] are the reference: plain,
//! without recursion, linear in the shorter string. Faster structures are tested against them.

use core::fmt;

use super::reason::ReasonCode;
use crate::limits::STRING_BYTES_MAX;

/// What is wrong with a topic name or a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicError {
    /// It has no character \[MQTT-4.7.3-1\].
    Empty,
    /// It has U+0000 \[MQTT-4.7.3-2\].
    Null,
    /// It is longer than 65,535 bytes \[MQTT-4.7.3-3\].
    TooLong,
    /// A topic name has `+` or `#` \[MQTT-4.7.0-1\].
    WildcardInName,
    /// `#` shares its level, or is not last \[MQTT-4.7.1-1\].
    MultiLevelWildcard,
    /// `+` shares its level \[MQTT-4.7.1-2\].
    SingleLevelWildcard,
    /// It has more levels than the caller allows.
    TooManyLevels,
    /// `$share/` is followed by an empty name, or one with `+` or `#` \[MQTT-4.8.2-1\], \[MQTT-4.8.2-2\].
    ShareName,
    /// `$share/NAME` is not followed by `/` and a filter \[MQTT-4.8.2-2\].
    ShareWithoutFilter,
}

impl TopicError {
    /// The reason code to answer with where a topic filter has this error; a topic name's is always Topic Name invalid.
    pub const fn reason(self) -> ReasonCode {
        match self {
            TopicError::WildcardInName => ReasonCode::TopicNameInvalid,
            _ => ReasonCode::TopicFilterInvalid,
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TopicError::Empty => "it has no character [MQTT-4.7.3-1]",
            TopicError::Null => "it has a null character [MQTT-4.7.3-2]",
            TopicError::TooLong => "it is longer than 65535 bytes [MQTT-4.7.3-3]",
            TopicError::WildcardInName => "a topic name has a wildcard [MQTT-4.7.0-1]",
            TopicError::MultiLevelWildcard => "'#' is not alone in the last level [MQTT-4.7.1-1]",
            TopicError::SingleLevelWildcard => "'+' is not alone in its level [MQTT-4.7.1-2]",
            TopicError::TooManyLevels => "it has too many levels",
            TopicError::ShareName => "the share name is empty or has a wildcard [MQTT-4.8.2-1]",
            TopicError::ShareWithoutFilter => "no topic filter follows the share name [MQTT-4.8.2-2]",
        })
    }
}

impl core::error::Error for TopicError {}

/// A topic name: what a message is published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a topic name. Names that begin with `$` are names like others.
    pub fn parse(name: &'a str) -> Result<TopicName<'a>, TopicError> {
        check_characters(name)?;
        if name.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Err(TopicError::WildcardInName);
        }
        Ok(TopicName(name))
    }

    /// The name.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Its levels, empty ones included.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }
}

/// A topic filter, with the share name of a shared subscription where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    whole: &'a str,
    group: Option<&'a str>,
    filter: &'a str,
    wildcard: bool,
}

impl<'a> TopicFilter<'a> {
    /// Checks a filter as SUBSCRIBE carries it, `$share/NAME/` included. The part that topic names are matched against
    /// may have at most `levels_max` levels.
    pub fn parse(whole: &'a str, levels_max: usize) -> Result<TopicFilter<'a>, TopicError> {
        check_characters(whole)?;
        let (group, filter) = match whole.strip_prefix("$share/") {
            Some(shared) => {
                let (name, filter) = split_share(shared)?;
                (Some(name), filter)
            }
            None => (None, whole),
        };
        let mut wildcard = false;
        let mut levels = filter.split('/').enumerate().peekable();
        while let Some((index, level)) = levels.next() {
            if index >= levels_max {
                return Err(TopicError::TooManyLevels);
            }
            if level == "#" && levels.peek().is_none() || level == "+" {
                wildcard = true;
            } else if level.contains('#') {
                return Err(TopicError::MultiLevelWildcard);
            } else if level.contains('+') {
                return Err(TopicError::SingleLevelWildcard);
            }
        }
        Ok(TopicFilter { whole, group, filter, wildcard })
    }

    /// The filter as it was sent.
    pub const fn as_str(&self) -> &'a str {
        self.whole
    }

    /// The share name (ShareName) of a shared subscription.
    pub const fn group(&self) -> Option<&'a str> {
        self.group
    }

    /// What topic names are matched against: the filter without `$share/NAME/`.
    pub const fn filter(&self) -> &'a str {
        self.filter
    }

    /// Whether `+` or `#` occurs; without, the filter matches the one topic name that it spells.
    pub const fn has_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The levels of [`filter`](Self::filter), empty ones included.
    pub fn levels(&self) -> impl Iterator<Item = &'a str> {
        self.filter.split('/')
    }
}

/// How many levels a topic name or filter has: one more than it has slashes.
pub fn level_count(topic: &str) -> usize {
    topic.bytes().filter(|&byte| byte == b'/').count() + 1
}

/// Whether a topic filter (valid, without `$share/NAME/`) matches a topic name. A filter whose first level is a
/// wildcard matches no name that begins with `$` \[MQTT-4.7.2-1\]; `a/#` matches `a` too.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut filter_levels = filter.split('/');
    let mut topic_levels = topic.split('/');
    loop {
        match (filter_levels.next(), topic_levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// Whether some topic name matches both topic filters (valid, without `$share/NAME/`).
pub fn overlap(a: &str, b: &str) -> bool {
    // One level for both, and an empty one: no topic name is.
    if matches!((a, b), ("+", "/#") | ("/#", "+")) {
        return false;
    }
    let excluded = |wild: &str, other: &str| wild.starts_with(['+', '#']) && other.starts_with('$');
    if excluded(a, b) || excluded(b, a) {
        return false;
    }
    let mut a_levels = a.split('/');
    let mut b_levels = b.split('/');
    loop {
        match (a_levels.next(), b_levels.next()) {
            // Whatever the other one still asks for, `#` takes it, nothing included.
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

fn check_characters(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        Err(TopicError::Empty)
    } else if topic.len() > STRING_BYTES_MAX {
        Err(TopicError::TooLong)
    } else if topic.bytes().any(|byte| byte == 0) {
        Err(TopicError::Null)
    } else {
        Ok(())
    }
}

/// Splits `NAME/FILTER`, what follows `$share/`.
fn split_share(shared: &str) -> Result<(&str, &str), TopicError> {
    let (name, filter) = shared.split_once('/').unwrap_or((shared, ""));
    if name.is_empty() || name.contains(['+', '#']) {
        Err(TopicError::ShareName)
    } else if filter.is_empty() {
        Err(TopicError::ShareWithoutFilter)
    } else {
        Ok((name, filter))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    fn parse(filter: &str) -> Result<TopicFilter<'_>, TopicError> {
        TopicFilter::parse(filter, 200)
    }

    /// Wildcards are whole levels, and `#` is the last.
    #[test]
    fn grammar_of_filters() {
        for filter in
            ["#", "+", "+/+", "/", "//", "a/#", "/#", "+/#", "a//b", "$SYS/#", "$share", "$shared/a", " ", "é/+"]
        {
            assert_eq!(parse(filter).map(|f| (f.as_str(), f.filter(), f.group())), Ok((filter, filter, None)));
        }
        for filter in ["a#", "#a", "a/#/b", "#/a", "##", "a/b#", "#/", "+#"] {
            assert_eq!(parse(filter), Err(TopicError::MultiLevelWildcard), "{filter}");
        }
        for filter in ["a+", "+a", "++", "a/+b/c", "+a/b"] {
            assert_eq!(parse(filter), Err(TopicError::SingleLevelWildcard), "{filter}");
        }
        assert_eq!(parse(""), Err(TopicError::Empty));
        assert_eq!(parse("a\0"), Err(TopicError::Null));
        assert!(parse("a/+").is_ok_and(|f| f.has_wildcard()));
        assert!(parse("a/b").is_ok_and(|f| !f.has_wildcard()));
        assert_eq!(parse("a//b").map(|f| f.levels().collect()), Ok(Vec::from(["a", "", "b"])));
    }

    /// A shared subscription has a name and a filter, or is refused.
    #[test]
    fn grammar_of_shared_filters() {
        let shared = parse("$share/group/a/+/#").unwrap();
        assert_eq!((shared.group(), shared.filter()), (Some("group"), "a/+/#"));
        assert!(shared.has_wildcard());
        assert_eq!(shared.levels().count(), 3);
        assert_eq!(parse("$share/g//a").map(|f| f.filter()), Ok("/a"));
        assert_eq!(parse("$share/g/$SYS/a").map(|f| f.filter()), Ok("$SYS/a"));
        for (filter, error) in [
            ("$share/", TopicError::ShareName),
            ("$share//x", TopicError::ShareName),
            ("$share/+/x", TopicError::ShareName),
            ("$share/a#/x", TopicError::ShareName),
            ("$share/#", TopicError::ShareName),
            ("$share/g", TopicError::ShareWithoutFilter),
            ("$share/g/", TopicError::ShareWithoutFilter),
            ("$share/g/a#", TopicError::MultiLevelWildcard),
        ] {
            assert_eq!(parse(filter), Err(error), "{filter}");
            assert_eq!(error.reason(), ReasonCode::TopicFilterInvalid);
        }
    }

    /// Levels are counted without recursion and capped, in the part that is matched.
    #[test]
    fn levels_are_capped() {
        assert!(TopicFilter::parse("a/b", 2).is_ok());
        assert_eq!(TopicFilter::parse("a/b/c", 2), Err(TopicError::TooManyLevels));
        assert!(TopicFilter::parse("$share/g/a/b", 2).is_ok());
        let slashes: String = core::iter::repeat_n('/', 65_535).collect();
        assert_eq!(TopicFilter::parse(&slashes, 200), Err(TopicError::TooManyLevels));
        assert!(TopicFilter::parse(&slashes, usize::MAX).is_ok());
        assert_eq!(level_count(&slashes), 65_536);
        assert!(matches(&slashes, &slashes) && overlap(&slashes, "#"));
        let too_long: String = core::iter::repeat_n('a', 65_536).collect();
        assert_eq!(parse(&too_long), Err(TopicError::TooLong));
    }

    /// Names take every character but the wildcards and U+0000, and names of the host language are names like others.
    #[test]
    fn grammar_of_names() {
        for name in ["a", "/", "a//b", "$", "$SYS/x", "$share/g/x", " ", "\u{feff}a", "__proto__", "constructor"] {
            assert_eq!(TopicName::parse(name).map(TopicName::as_str), Ok(name));
        }
        assert_eq!(TopicName::parse(""), Err(TopicError::Empty));
        assert_eq!(TopicName::parse("a\0"), Err(TopicError::Null));
        for name in ["+", "a/#", "a+b"] {
            assert_eq!(TopicName::parse(name), Err(TopicError::WildcardInName));
            assert_eq!(TopicError::WildcardInName.reason(), ReasonCode::TopicNameInvalid);
        }
        assert_eq!(TopicName::parse("a//b").map(|n| n.levels().count()), Ok(3));
    }

    /// Matching follows the OASIS examples, the `$` rule and the parent level.
    #[test]
    fn matching() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("#", "/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("sport/+", "sport/"),
            ("+/monitor/+", "a/monitor/b"),
            ("$SYS/#", "$SYS/monitor/Clients"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("a/+", "a/$b"),
            ("a/#", "a/"),
            ("a//+", "a//b"),
            ("+", "a"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/+", "sport"),
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("+", "/finance"),
            ("#", "$SYS/a"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("+", "$"),
            ("a/b", "A/b"),
            ("a/b", "a/b/"),
            ("a/b/", "a/b"),
            ("a/b/#", "a"),
            ("/a", "a"),
            ("a", "\u{feff}a"),
            ("\u{e9}", "e\u{301}"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    /// Two filters overlap exactly where a short name over a small alphabet matches both.
    #[test]
    fn overlap_agrees_with_matching() {
        let names = enumerate(&["", "a", "$", "b"]);
        let filters: Vec<String> =
            enumerate(&["", "a", "$", "+", "#"]).into_iter().filter(|f| parse(f).is_ok()).collect();
        assert!(filters.len() > 60);
        for a in &filters {
            for b in &filters {
                let witnessed = names.iter().any(|name| matches(a, name) && matches(b, name));
                assert_eq!(overlap(a, b), witnessed, "{a} {b}");
            }
        }
    }

    /// All strings of one to three levels out of these.
    fn enumerate(levels: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = levels.iter().map(|&level| level.into()).collect();
        let mut longest = all.clone();
        for _ in 0..2 {
            longest = longest.iter().flat_map(|s| levels.iter().map(move |l| alloc::format!("{s}/{l}"))).collect();
            all.extend_from_slice(&longest);
        }
        all.retain(|s| !s.is_empty());
        all
    }
}
