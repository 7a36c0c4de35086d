//! What users may do, and when.

use std::fmt::Write as _;

use super::{Guarded, TOPICS, USERS};
use crate::model::Tick;
use crate::topics::matches;

/// What each user may do.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// By user: what is done (`read`, `write`, `readwrite`, `deny`), and the filter.
    pub(super) lines: [Vec<(&'static str, &'static str)>; USERS.len()],
    /// Until when they may have been in force.
    pub(super) until: Option<Tick>,
}

impl Rules {
    pub(super) fn allow(&self, user: usize, action: &str, topic: &str) -> bool {
        let matching = || self.lines[user].iter().filter(|(_, filter)| matches(filter, topic));
        matching().all(|(word, _)| *word != "deny") && matching().any(|(word, _)| word.contains(action))
    }

    /// As mosquitto's file has them.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (user, lines) in USERS.iter().zip(&self.lines) {
            let _ = writeln!(text, "user {user}");
            lines.iter().for_each(|(word, filter)| _ = writeln!(text, "topic {word} {filter}"));
        }
        text
    }
}

impl Guarded {
    /// The rules in force, if there are no others.
    pub(super) fn sole_rules(&self) -> Option<&Rules> {
        let (last, before) = self.rules.split_last()?;
        before.iter().all(|rules| rules.until.is_some()).then_some(last)
    }

    /// Whether some rules, of those that may have been in force since then, allow this.
    pub(super) fn allowed_since(&self, since: Tick, user: usize, action: &str, topic: usize) -> bool {
        let in_force = |rules: &&Rules| rules.until.is_none_or(|until| until >= since);
        self.rules.iter().filter(in_force).any(|rules| rules.allow(user, action, TOPICS[topic]))
    }

    /// Whether all of them do.
    pub(super) fn all_allow_since(&self, since: Tick, user: usize, action: &str, topic: usize) -> bool {
        let in_force = |rules: &&Rules| rules.until.is_none_or(|until| until >= since);
        self.rules.iter().filter(in_force).all(|rules| rules.allow(user, action, TOPICS[topic]))
    }
}
