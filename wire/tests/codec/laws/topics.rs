//! Topic names and filters against models of section 4.7, level by level and by recursion.

use wire::mqtt::topic::{self, TopicFilter, TopicName};

const LEVELS_MAX: usize = 64;

/// Names and filters are taken as [`is_name`] and [`is_filter`] say, and matched as [`matching`] and [`meeting`] do.
pub fn topics(one: &str, other: &str) {
    for text in [one, other] {
        assert_eq!(TopicName::parse(text).is_ok(), is_name(text), "{text:?}");
        assert_eq!(TopicFilter::parse(text, LEVELS_MAX).is_ok(), is_filter(text), "{text:?}");
    }
    let (Ok(filter), Ok(second)) = (TopicFilter::parse(one, LEVELS_MAX), TopicFilter::parse(other, LEVELS_MAX)) else {
        return;
    };
    assert_eq!(filter.levels().count(), topic::level_count(filter.filter()));
    assert_eq!(filter.has_wildcard(), filter.filter().contains(['+', '#']));
    let share = filter.group().map(|group| format!("$share/{group}/{}", filter.filter()));
    assert_eq!(share.as_deref().unwrap_or(filter.filter()), one);
    assert_eq!(filter.as_str(), one);

    let (a, b) = (filter.filter(), second.filter());
    overlaps(a, b);
    if let Ok(name) = TopicName::parse(b) {
        let model = matching(&levels(a), &levels(name.as_str())) && !hidden(a, b);
        assert_eq!(topic::matches(a, name.as_str()), model, "{a:?} {b:?}");
        // A name is a filter that matches itself alone.
        assert_eq!(topic::matches(a, b), topic::overlap(a, b), "{a:?} {b:?}");
    }
}

/// Filters overlap in both orders or in neither, and where they do there is a name to show for it.
fn overlaps(a: &str, b: &str) {
    let name = meeting(&levels(a), &levels(b)).map(|name| name.join("/"));
    let found = name.filter(|name| !name.is_empty() && !hidden(a, name) && !hidden(b, name));
    assert_eq!(topic::overlap(a, b), found.is_some(), "{a:?} {b:?}: {found:?}");
    assert_eq!(topic::overlap(b, a), found.is_some(), "{a:?} {b:?}: {found:?}");
    if let Some(name) = found {
        assert!(topic::matches(a, &name) && topic::matches(b, &name), "{a:?} {b:?}: {name:?}");
    }
}

fn levels(text: &str) -> Vec<&str> {
    text.split('/').collect()
}

/// Whether a filter's first level is a wildcard, which does not see this name `[MQTT-4.7.2-1]`.
fn hidden(filter: &str, name: &str) -> bool {
    name.starts_with('$') && filter.starts_with(['+', '#'])
}

fn matching(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matching(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) => wanted == level && matching(filter, topic),
        _ => false,
    }
}

/// The levels of a name that matches both filters, a long one where there is a choice.
fn meeting<'a>(a: &[&'a str], b: &[&'a str]) -> Option<Vec<&'a str>> {
    // What `+` and `#` stand for where the other filter does not care.
    const ANY: &str = "any";
    let (level, a, b) = match (a, b) {
        ([], [] | ["#"]) | (["#"], []) => return Some(Vec::new()),
        (["#"], ["#"]) => return Some(vec![ANY]),
        ([one, rest @ ..], ["#"]) => (*one, rest, b),
        (["#"], [other, rest @ ..]) => (*other, a, rest),
        (["+", a @ ..], [level, b @ ..]) | ([level, a @ ..], ["+", b @ ..]) => (*level, a, b),
        ([one, a @ ..], [other, b @ ..]) if one == other => (*one, a, b),
        _ => return None,
    };
    let mut name = meeting(a, b)?;
    name.insert(0, if level == "+" { ANY } else { level });
    Some(name)
}

/// A string that may be a topic name: some characters, none of them special `[MQTT-4.7.0-1]` `[MQTT-4.7.3-1]`
/// `[MQTT-4.7.3-2]` `[MQTT-4.7.3-3]`.
fn is_name(text: &str) -> bool {
    (1..=65_535).contains(&text.len()) && !text.contains(['\0', '+', '#'])
}

/// A filter has its wildcards alone in their levels, `#` in the last one; a shared one has a name before it
/// `[MQTT-4.7.1-1]` `[MQTT-4.7.1-2]` `[MQTT-4.8.2-1]` `[MQTT-4.8.2-2]`. The limit on levels is ours.
fn is_filter(text: &str) -> bool {
    let mut levels = levels(text);
    if text.starts_with("$share/") {
        let name_and_filter = levels.len() > 3 || levels.len() == 3 && !levels[2].is_empty();
        if !name_and_filter || levels[1].is_empty() || levels[1].contains(['+', '#']) {
            return false;
        }
        levels.drain(..2);
    }
    let last = levels.len() - 1;
    let alone = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at == last,
        level => !level.contains(['+', '#']),
    };
    (1..=65_535).contains(&text.len())
        && !text.contains('\0')
        && levels.iter().enumerate().all(alone)
        && levels.len() <= LEVELS_MAX
}
