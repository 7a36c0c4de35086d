//! Filters of rules, with places for what only the client knows: `room/${claim.room}/+`, mosquitto's `%u` and `%c`.
//!
//! What a client calls itself is never a wildcard and never more than one level: a value with `+`, `#` or `/` makes a
//! rule that allows match nothing, and a rule that denies match everything from that level on. Nor does a value or a
//! wildcard stand for a name that begins with `$`: only a rule that says so itself opens such a topic.

use wire::mqtt::topic::{TopicError, TopicFilter};

use super::identity::Identity;

/// Levels of the filter of a rule, at most.
const LEVELS_MAX: usize = 200;

/// The filter of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    levels: Box<[Level]>,
    /// It names a topic that begins with `$` itself.
    dollar: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Any,
    Rest,
    Text(Box<str>),
    Pieces(Box<[Piece]>),
}

/// A part of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    User,
    Client,
    Claim(Box<str>),
}

/// Which placeholders a text may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// None.
    Plain,
    /// `%u` and `%c`.
    Mosquitto,
    /// `${username}`, `${clientid}`, `${claim.NAME}`.
    Native,
}

/// Why a text is no filter of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It is no topic filter.
    Filter(TopicError),
    /// There is no such placeholder.
    Placeholder(String),
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TemplateError::Filter(error) => error.fmt(f),
            TemplateError::Placeholder(name) => {
                write!(f, "there is no ${{{name}}}; there are ${{username}}, ${{clientid}} and ${{claim.NAME}}")
            }
        }
    }
}

/// What stands for a placeholder.
enum Value<'a> {
    /// This level, or part of it.
    Good(&'a str),
    /// Nothing: the client has no such thing.
    None,
    /// Something that could be more than a level.
    Hostile,
}

impl Template {
    /// Reads one.
    pub fn parse(text: &str, syntax: Syntax) -> Result<Template, TemplateError> {
        // `$share` is no topic: rules are about the filter behind the group.
        let parsed = TopicFilter::parse(text, LEVELS_MAX).map_err(TemplateError::Filter)?;
        if parsed.group().is_some() {
            return Err(TemplateError::Filter(TopicError::ShareName));
        }
        let levels = text.split('/').map(|level| match level {
            "+" => Ok(Level::Any),
            "#" => Ok(Level::Rest),
            _ => pieces(level, syntax),
        });
        let levels = levels.collect::<Result<Box<[Level]>, _>>()?;
        let dollar = matches!(levels.first(), Some(Level::Text(text)) if text.starts_with('$'));
        Ok(Template { levels, dollar })
    }

    /// The claims that it names.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let pieces = self.levels.iter().flat_map(|level| match level {
            Level::Pieces(pieces) => &pieces[..],
            _ => &[],
        });
        pieces.filter_map(|piece| match piece {
            Piece::Claim(name) => Some(&**name),
            _ => None,
        })
    }

    /// Whether it matches a topic name. `allow`: for a rule that allows.
    pub fn matches(&self, topic: &str, who: &Identity, allow: bool) -> bool {
        if topic.starts_with('$') && !self.dollar {
            return false;
        }
        let mut names = topic.split('/');
        for level in &self.levels {
            let name = match level {
                // Its parent level, too.
                Level::Rest => return true,
                _ => match names.next() {
                    Some(name) => name,
                    None => return false,
                },
            };
            let same = match level {
                Level::Text(text) => **text == *name,
                Level::Pieces(pieces) => match level_matches(pieces, name, who) {
                    Some(same) => same,
                    None => return !allow,
                },
                _ => true,
            };
            if !same {
                return false;
            }
        }
        names.next().is_none()
    }

    /// As a topic filter for this client. `None`: it matches nothing.
    pub fn filter(&self, who: &Identity, allow: bool) -> Option<String> {
        let mut filter = String::new();
        for (index, level) in self.levels.iter().enumerate() {
            if index > 0 {
                filter.push('/');
            }
            match level {
                Level::Any => filter.push('+'),
                Level::Rest => filter.push('#'),
                Level::Text(text) => filter.push_str(text),
                Level::Pieces(pieces) => {
                    for piece in pieces {
                        match piece.value(who) {
                            Value::Good(value) => filter.push_str(value),
                            Value::None => return None,
                            Value::Hostile if allow => return None,
                            Value::Hostile => {
                                let end = filter.rfind('/').map_or(0, |at| at + 1);
                                filter.truncate(end);
                                filter.push('#');
                                return Some(filter);
                            }
                        }
                    }
                }
            }
        }
        (!filter.starts_with('$') || self.dollar).then_some(filter)
    }
}

/// Whether the pieces of a level make up this name. `None`: what would stand there is hostile.
fn level_matches(pieces: &[Piece], name: &str, who: &Identity) -> Option<bool> {
    let mut rest = Some(name);
    for piece in pieces {
        match piece.value(who) {
            Value::Good(value) => rest = rest.and_then(|rest| rest.strip_prefix(value)),
            Value::None => rest = None,
            Value::Hostile => return None,
        }
    }
    Some(rest == Some(""))
}

impl Piece {
    fn value<'a>(&'a self, who: &'a Identity) -> Value<'a> {
        let value = match self {
            Piece::Text(text) => return Value::Good(text),
            Piece::User => who.user.as_deref(),
            Piece::Client => Some(&*who.client_id),
            Piece::Claim(name) => who.claim(name),
        };
        match value {
            None => Value::None,
            Some(value) if value.is_empty() || value.contains(['+', '#', '/', '\0']) => Value::Hostile,
            Some(value) => Value::Good(value),
        }
    }
}

fn pieces(level: &str, syntax: Syntax) -> Result<Level, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = level;
    let text = |until: &str| {
        if !until.is_empty() { Some(Piece::Text(until.into())) } else { None }
    };
    loop {
        let found = match syntax {
            Syntax::Plain => None,
            Syntax::Mosquitto => {
                let at = [rest.find("%u"), rest.find("%c")].into_iter().flatten().min();
                at.map(|at| (at, at + 2, if rest[at..].starts_with("%u") { Piece::User } else { Piece::Client }))
            }
            Syntax::Native => match rest.find("${") {
                None => None,
                Some(at) => {
                    let name = rest[at + 2..].split('}').next().unwrap_or_default();
                    let end = at + 2 + name.len() + 1;
                    let piece = match name {
                        "username" => Piece::User,
                        "clientid" => Piece::Client,
                        _ => match name.strip_prefix("claim.").filter(|claim| !claim.is_empty()) {
                            Some(claim) if end <= rest.len() => Piece::Claim(claim.into()),
                            _ => return Err(TemplateError::Placeholder(name.to_owned())),
                        },
                    };
                    if end > rest.len() {
                        return Err(TemplateError::Placeholder(name.to_owned()));
                    }
                    Some((at, end, piece))
                }
            },
        };
        match found {
            None if pieces.is_empty() => return Ok(Level::Text(rest.into())),
            None => {
                pieces.extend(text(rest));
                return Ok(Level::Pieces(pieces.into()));
            }
            Some((at, end, piece)) => {
                pieces.extend(text(&rest[..at]));
                pieces.push(piece);
                rest = &rest[end..];
            }
        }
    }
}

/// Whether every topic that `filter` matches is one that `rule` matches, too. Says no where it is not sure.
pub fn covers(rule: &str, filter: &str) -> bool {
    if filter.starts_with('$') && rule.starts_with(['+', '#']) {
        return false;
    }
    let (mut rules, mut levels) = (rule.split('/'), filter.split('/'));
    loop {
        match (rules.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(rule), Some(level)) if rule == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Origin, Particulars};
    use super::*;
    use wire::mqtt::topic::matches;

    fn who(user: Option<&str>, client: &str) -> Identity {
        let claims = vec![("room".to_owned(), "7".to_owned())];
        Identity::new(user, client, &Origin::default(), Particulars { claims, ..Particulars::default() })
            .expect("no rules")
    }

    /// A placeholder stands for its value, in a level and in a part of one.
    #[test]
    fn placeholders_are_filled_in() {
        let alice = who(Some("alice"), "c1");
        for (text, syntax, topic) in [
            ("home/%u/+", Syntax::Mosquitto, "home/alice/x"),
            ("dev/%c-%u", Syntax::Mosquitto, "dev/c1-alice"),
            ("${username}/${clientid}/#", Syntax::Native, "alice/c1"),
            ("room/${claim.room}/chat", Syntax::Native, "room/7/chat"),
            ("a/%u", Syntax::Plain, "a/%u"),
        ] {
            let template = Template::parse(text, syntax).expect("a good text");
            assert!(template.matches(topic, &alice, true), "{text}");
            let filter = template.filter(&alice, true).expect("it matches something");
            assert!(matches(&filter, topic), "{filter}");
            assert!(!template.matches("home/bob/x", &alice, true), "{text}");
        }
        let template = Template::parse("home/%u", Syntax::Mosquitto).expect("a good text");
        assert!(!template.matches("home/", &who(None, "c"), true), "nobody has no name");
        for wrong in ["${user}", "a/${claim.}", "${username", "${claim.x"] {
            assert!(Template::parse(wrong, Syntax::Native).is_err(), "{wrong}");
        }
    }

    /// What a client calls itself is no wildcard, no second level and no `$`: rules that allow match nothing, and those
    /// that deny match at least what they would (mosquitto's CVE-2017-7650).
    #[test]
    fn names_are_not_wildcards() {
        let template = Template::parse("home/%u/x", Syntax::Mosquitto).expect("a good text");
        for hostile in ["#", "+", "a/b", "alice/#", ""] {
            let who = who(Some(hostile), "c");
            for topic in ["home/alice/x", "home/#/x", "home/+/x", "home/a/b/x", "home//x"] {
                assert!(!template.matches(topic, &who, true), "{hostile} {topic}");
                assert!(template.matches(topic, &who, false), "{hostile} {topic}");
            }
            assert_eq!(template.filter(&who, true), None);
            assert_eq!(template.filter(&who, false).as_deref(), Some("home/#"));
        }
        let first = Template::parse("%u/#", Syntax::Mosquitto).expect("a good text");
        let sys = who(Some("$SYS"), "c");
        assert!(!first.matches("$SYS/broker/version", &sys, true));
        assert_eq!(first.filter(&sys, true), None);
    }

    /// Covering agrees with matching on every pair of small filters: it never says yes where a topic would slip through.
    #[test]
    fn covering_is_never_too_generous() {
        let levels = ["", "a", "$", "+", "#"];
        let mut texts: Vec<String> = levels.iter().map(|&level| level.to_owned()).collect();
        for _ in 0..2 {
            texts = texts
                .iter()
                .flat_map(|t| levels.iter().map(move |l| format!("{t}/{l}")))
                .chain(texts.clone())
                .collect();
        }
        texts.sort();
        texts.dedup();
        let names: Vec<String> = texts.iter().filter(|t| !t.contains(['+', '#']) && !t.is_empty()).cloned().collect();
        let filters: Vec<&String> = texts.iter().filter(|text| TopicFilter::parse(text, 9).is_ok()).collect();
        let mut covered = 0;
        for rule in &filters {
            for filter in &filters {
                if covers(rule, filter) {
                    covered += 1;
                    let slips = names.iter().find(|name| matches(filter, name) && !matches(rule, name));
                    assert_eq!(slips, None, "{rule} does not cover {filter}");
                }
            }
        }
        assert!(covered > filters.len());
        for (rule, filter) in [("#", "#"), ("#", "a/+"), ("a/#", "a"), ("a/+/#", "a/b/#"), ("+/+", "a/+")] {
            assert!(covers(rule, filter), "{rule} covers {filter}");
        }
    }
}
