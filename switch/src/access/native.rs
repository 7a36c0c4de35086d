//! Rules in our own form, a TOML file. The first that matches decides.
//!
//! ```toml
//! [[rule]]
//! permit = "allow"                      # or "deny"
//! actions = ["publish", "subscribe"]    # or "receive", "all"; without the key: all
//! topics = ["room/${claim.room}/#"]     # ${username}, ${clientid}, ${claim.NAME}
//! users = ["alice"]                     # without users, clients and anonymous: for all
//! clients = ["c1"]
//! anonymous = true                      # clients without a user name
//! qos = [0, 1]                          # publishing, and the QoS that a subscription is granted
//! retain = false                        # publishing alone
//! ```

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wire::mqtt::QoS;

use super::identity::Identity;
use super::rules::{Actions, Rule, Ways};
use super::template::{Syntax, Template};

/// A rule, and for whom it is.
pub struct Entry {
    /// The rule.
    pub rule: Rule,
    users: Vec<Box<str>>,
    clients: Vec<Box<str>>,
    anonymous: Option<bool>,
}

impl Entry {
    /// Whether it is for this identity.
    pub fn is_for(&self, who: &Identity) -> bool {
        let among = |list: &[Box<str>], name: &str| list.iter().any(|known| **known == *name);
        let user = match &who.user {
            Some(user) => self.users.is_empty() || among(&self.users, user),
            None => self.users.is_empty(),
        };
        user && (self.clients.is_empty() || among(&self.clients, &who.client_id))
            && self.anonymous.is_none_or(|anonymous| anonymous == who.user.is_none())
    }
}

/// Reads a file. The line and what is wrong with it otherwise.
pub fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let line_of = |byte: usize| text.get(..byte).unwrap_or(text).matches('\n').count() + 1;
    let root = DeTable::parse(text)
        .map_err(|error| (line_of(error.span().unwrap_or(0..0).start), format!("not TOML: {}", error.message())))?;
    let mut entries = Vec::new();
    for (name, value) in root.get_ref() {
        let wrong = |what: &str| (line_of(name.span().start), what.to_owned());
        let DeValue::Array(tables) = value.get_ref() else { return Err(wrong("write [[rule]] tables")) };
        if name.get_ref() != "rule" {
            return Err(wrong("write [[rule]] tables"));
        }
        for table in tables {
            let at = line_of(table.span().start);
            let DeValue::Table(keys) = table.get_ref() else { return Err(wrong("write [[rule]] tables")) };
            let mut draft = Draft::default();
            for (key, value) in keys {
                draft.take(key.get_ref(), value).map_err(|what| (line_of(key.span().start), what))?;
            }
            draft.finish(&mut entries).map_err(|what| (at, what))?;
        }
    }
    Ok(entries)
}

#[derive(Default)]
struct Draft {
    allow: Option<bool>,
    actions: Option<Actions>,
    topics: Vec<Template>,
    users: Vec<Box<str>>,
    clients: Vec<Box<str>>,
    anonymous: Option<bool>,
    qos: Vec<QoS>,
    retain: Option<bool>,
}

impl Draft {
    fn take(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        let value = value.get_ref();
        match key {
            "permit" => match value.as_str() {
                Some("allow") => self.allow = Some(true),
                Some("deny") => self.allow = Some(false),
                _ => return Err("permit is \"allow\" or \"deny\"".to_owned()),
            },
            "actions" => {
                let mut actions = Actions(0);
                for word in words(value)? {
                    actions = actions.and(action(&word)?);
                }
                self.actions = Some(actions).filter(|actions| actions.0 != 0);
                self.actions.ok_or("actions lists nothing: leave the key out for all")?;
            }
            "topics" => {
                for word in words(value)? {
                    let filter = Template::parse(&word, Syntax::Native);
                    self.topics.push(filter.map_err(|error| format!("{word:?} is not a topic filter: {error}"))?);
                }
            }
            "users" => self.users = names(value)?,
            "clients" => self.clients = names(value)?,
            "anonymous" => self.anonymous = Some(value.as_bool().ok_or("anonymous is true or false")?),
            "retain" => self.retain = Some(value.as_bool().ok_or("retain is true or false")?),
            "qos" => {
                let list = value.as_array().ok_or("qos is a list such as [0, 1]")?;
                for number in list {
                    let level = number.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
                    self.qos.push(level.and_then(QoS::from_bits).ok_or("a QoS is 0, 1 or 2")?);
                }
                if self.qos.is_empty() {
                    return Err("qos lists nothing: leave the key out for all".to_owned());
                }
            }
            _ => {
                let known = "permit, actions, topics, users, clients, anonymous, qos, retain";
                return Err(format!("unknown key `{key}`; a rule has {known}"));
            }
        }
        Ok(())
    }

    fn finish(self, entries: &mut Vec<Entry>) -> Result<(), String> {
        let allow = self.allow.ok_or("permit is missing")?;
        let actions = self.actions.unwrap_or(Actions::ALL);
        if self.topics.is_empty() {
            return Err("topics is missing; \"#\" matches all but those that begin with $".to_owned());
        }
        if self.retain.is_some() && actions != Actions::PUBLISH {
            return Err("retain is about publishing: write actions = [\"publish\"] beside it".to_owned());
        }
        let ways = Ways::of(&self.qos, self.retain);
        for filter in self.topics {
            let (users, clients) = (self.users.clone(), self.clients.clone());
            let rule = Rule { allow, actions, ways, filter };
            entries.push(Entry { rule, users, clients, anonymous: self.anonymous });
        }
        Ok(())
    }
}

/// The action of a word. Who may subscribe may receive.
fn action(word: &str) -> Result<Actions, String> {
    match word {
        "publish" => Ok(Actions::PUBLISH),
        "subscribe" => Ok(Actions::SUBSCRIBE.and(Actions::RECEIVE)),
        "receive" => Ok(Actions::RECEIVE),
        "all" => Ok(Actions::ALL),
        _ => Err("an action is \"publish\", \"subscribe\", \"receive\" or \"all\"".to_owned()),
    }
}

fn words(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let words = match value {
        DeValue::String(word) => Some(vec![word.to_string()]),
        DeValue::Array(list) => list.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    words.ok_or_else(|| "a list of strings is wanted here".to_owned())
}

/// A list that is empty would be for nobody to some and for everybody to others.
fn names(value: &DeValue<'_>) -> Result<Vec<Box<str>>, String> {
    let names: Vec<Box<str>> = words(value)?.into_iter().map(String::into_boxed_str).collect();
    if names.is_empty() { Err("the list is empty: leave the key out for all".to_owned()) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Origin, Particulars};
    use super::*;

    /// A file with every key.
    #[test]
    fn rules_are_read() {
        let text = "[[rule]]\npermit = \"allow\"\nactions = [\"publish\"]\ntopics = [\"a/${clientid}\", \"b\"]\n\
                    users = [\"alice\"]\nqos = [0, 1]\nretain = false\n[[rule]]\npermit = \"deny\"\ntopics = \"#\"\n\
                    anonymous = true\n";
        let entries = parse(text).expect("a good file");
        assert_eq!(entries.len(), 3);
        let alice = Identity::new(Some("alice"), "c", &Origin::default(), Particulars::default()).expect("no rules");
        let nobody = Identity::anonymous("c", &Origin::default());
        assert!(entries[0].is_for(&alice) && !entries[0].is_for(&nobody));
        assert!(!entries[2].is_for(&alice) && entries[2].is_for(&nobody));
        assert_eq!(entries[0].rule.ways, Ways::of(&[QoS::AtMostOnce, QoS::AtLeastOnce], Some(false)));
        assert!(parse("").expect("an empty file").is_empty());
    }

    /// What is wrong has a line and a remedy.
    #[test]
    fn wrong_files_are_refused() {
        for (text, line) in [
            ("rule = 1\n", 1),
            ("[[rules]]\npermit = \"allow\"\n", 1),
            ("[[rule]]\ntopics = [\"a\"]\n", 1),
            ("[[rule]]\npermit = \"allow\"\n", 1),
            ("[[rule]]\npermit = \"maybe\"\n", 2),
            ("[[rule]]\npermit = \"allow\"\ntopics = [\"a/#/b\"]\n", 3),
            ("[[rule]]\npermit = \"allow\"\ntopics = [\"${user}\"]\n", 3),
            ("[[rule]]\npermit = \"allow\"\ntopics = [\"a\"]\nusers = []\n", 4),
            ("[[rule]]\npermit = \"allow\"\ntopics = [\"a\"]\nqos = [3]\n", 4),
            ("[[rule]]\npermit = \"allow\"\ntopics = [\"a\"]\nretain = true\n", 1),
            ("[[rule]]\npermit = \"allow\"\ntopic = [\"a\"]\n", 3),
            ("[[rule]\n", 1),
        ] {
            let (at, what) = parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(at, line, "{text}: {what}");
        }
    }
}
