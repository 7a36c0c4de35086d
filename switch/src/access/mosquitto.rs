//! The ACL file of mosquitto, as it is (mosquitto.conf(5), `acl_file`).
//!
//! ```text
//!   topic [read|write|readwrite|deny] FILTER     for clients without a user name, or for the user named above
//!   user NAME                                    the lines below are for this user
//!   pattern [read|write|readwrite|deny] FILTER   for all; %u and %c are user name and client identifier
//! ```
//! As there: what is denied to a user goes before what is allowed, and both before the patterns. Other than there: a
//! SUBSCRIBE is refused where none of its filter could be received.

use super::policy::Policy;
use super::rules::{Actions, Rule, Ways};
use super::template::{Syntax, Template};

/// Rules of one file at most.
const RULES_MAX: usize = 1_000_000;

/// Reads a file into a policy. The line and what is wrong with it otherwise.
pub fn parse(text: &str, policy: &mut Policy) -> Result<(), (usize, String)> {
    let mut user: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let wrong = |what: String| (index + 1, what);
        // As mosquitto: a comment is a whole line, as `#` is a wildcard.
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if index > RULES_MAX {
            return Err(wrong("there are too many lines".to_owned()));
        }
        let (word, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim()));
        let refused = || wrong("write `topic`, `user` or `pattern`, and what belongs to it".to_owned());
        if rest.is_empty() {
            return Err(refused());
        }
        match word {
            "user" => {
                user = Some(rest);
                policy.users.entry(rest.into()).or_default();
            }
            "topic" => {
                let rule = rule(rest, Syntax::Plain).map_err(wrong)?;
                let list = match user {
                    Some(user) => policy.users.entry(user.into()).or_default(),
                    None => &mut policy.anonymous,
                };
                insert(list, rule);
            }
            "pattern" => insert(&mut policy.patterns, rule(rest, Syntax::Mosquitto).map_err(wrong)?),
            _ => return Err(refused()),
        }
    }
    Ok(())
}

/// What denies goes before what allows.
fn insert(list: &mut Vec<Rule>, rule: Rule) {
    let at = if rule.allow { list.len() } else { list.iter().take_while(|known| !known.allow).count() };
    list.insert(at, rule);
}

fn rule(text: &str, syntax: Syntax) -> Result<Rule, String> {
    let reading = Actions::SUBSCRIBE.and(Actions::RECEIVE);
    let (word, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()));
    // A topic may have a blank, and may be called `read`.
    let (actions, filter) = match word {
        _ if rest.is_empty() => (Some(Actions::ALL), text),
        "read" => (Some(reading), rest),
        "write" => (Some(Actions::PUBLISH), rest),
        "readwrite" => (Some(Actions::ALL), rest),
        "deny" => (None, rest),
        _ => (Some(Actions::ALL), text),
    };
    let filter = Template::parse(filter, syntax).map_err(|error| format!("not a topic filter: {error}"))?;
    Ok(Rule { allow: actions.is_some(), actions: actions.unwrap_or(Actions::ALL), ways: Ways::ALL, filter })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as people write them.
    #[test]
    fn files_are_read_as_they_are() {
        let text = "# whoever has no name\ntopic read $SYS/#\n\n# only roger\nuser roger\n\
                    topic foo/bar\n\ttopic deny foo/secret room\n# everybody\n\
                    pattern write $SYS/broker/connection/%c/state\nuser  two words \ntopic readwrite #\ntopic read\n";
        let mut policy = Policy::default();
        parse(text, &mut policy).expect("a good file");
        assert_eq!((policy.anonymous.len(), policy.patterns.len(), policy.users.len()), (1, 1, 2));
        let roger = &policy.users["roger"];
        assert_eq!((roger[0].allow, roger[1].allow), (false, true), "what denies goes first");
        assert_eq!(policy.users["two words"].len(), 2);
    }

    /// What is wrong is named by its line; a file that is half good is no file.
    #[test]
    fn wrong_lines_are_named() {
        for (text, line) in [
            ("topic\n", 1),
            ("user\n", 1),
            ("\ntopics read a\n", 2),
            ("topic read a/#/b\n", 1),
            ("topic a\npattern read a+\n", 2),
            ("topic read $share/g/a\n", 1),
        ] {
            let mut policy = Policy::default();
            assert_eq!(parse(text, &mut policy).expect_err(text).0, line);
        }
    }
}
