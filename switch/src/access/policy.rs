//! What identities may do: all rules of a node, compiled once and shared by its shards.

use std::collections::{HashMap, HashSet};

use wire::mqtt::QoS;

use super::bans::Bans;
use super::identity::Identity;
use super::mosquitto;
use super::native::{self, Entry};
use super::rules::{Actions, Extent, Rule, Ways, judge_filter, judge_topic};
use super::users::read_text;
use crate::config::access::{Access, DenyAction, NoMatch};
use crate::config::{Listener, Settings};
use crate::planted::{Fault, planted};

/// Rules, in the order in which they are asked: an identity's own, mosquitto's for its user, mosquitto's patterns, ours.
#[derive(Default)]
pub struct Policy {
    /// Mosquitto's, by user.
    pub users: HashMap<Box<str>, Vec<Rule>>,
    /// Mosquitto's for clients without a user name.
    pub anonymous: Vec<Rule>,
    /// Mosquitto's patterns.
    pub patterns: Vec<Rule>,
    /// Those of the native form.
    pub entries: Vec<Entry>,
    /// What no rule matches is allowed, but to those about whom a service is asked first.
    pub otherwise: bool,
    /// That is for them, too: it was written.
    pub open: bool,
    /// Users that may look below `$SYS`.
    pub operators: HashSet<Box<str>>,
    /// What a denial does.
    pub deny_action: DenyAction,
    /// Who is not let in.
    pub bans: Bans,
    /// Claims that rules name, those of listeners too.
    pub claims: Box<[Box<str>]>,
    /// Those of listeners that have rules of their own, by what the listener is called.
    pub listeners: HashMap<Box<str>, Policy>,
}

/// What was judged about a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How much of its filter may be received.
    pub extent: Extent,
    /// The highest QoS.
    pub qos: QoS,
}

impl Policy {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub fn load(settings: &Settings) -> Result<Policy, String> {
        let asks = settings.access.acl_http.url.is_some();
        let mut policy = Policy::read(&settings.access, asks || settings.listeners.iter().any(Listener::public))?;
        for listener in settings.listeners.iter().filter(|listener| listener.has_rules()) {
            let (acl_file, rules_file) = (listener.acl_file.clone(), listener.rules_file.clone());
            let own = Access { acl_file, rules_file, ban_file: None, ..settings.access.clone() };
            policy.listeners.insert(listener.called().into(), Policy::read(&own, listener.public())?);
        }
        let entries = policy.listeners.values().chain([&policy]).flat_map(|policy| &policy.entries);
        let mut claims: Vec<Box<str>> = entries.flat_map(|entry| entry.rule.filter.claims().map(Box::from)).collect();
        claims.sort_unstable();
        claims.dedup();
        policy.claims = claims.into();
        Ok(policy)
    }

    fn read(access: &Access, public: bool) -> Result<Policy, String> {
        let mut policy = Policy::default();
        if let Some(path) = &access.acl_file {
            let text = read_text(path)?;
            mosquitto::parse(&text, &mut policy)
                .map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))?;
        }
        if let Some(path) = &access.rules_file {
            let text = read_text(path)?;
            policy.entries =
                native::parse(&text).map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))?;
        }
        if let Some(path) = &access.ban_file {
            let text = read_text(path)?;
            policy.bans = Bans::parse(&text).map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))?;
        }
        let ruled = access.acl_file.is_some() || access.rules_file.is_some();
        policy.open = access.no_match == NoMatch::Allow;
        policy.otherwise = match access.no_match {
            NoMatch::Allow => true,
            NoMatch::Deny => false,
            NoMatch::Auto => !ruled && !public,
        };
        policy.operators = access.operators.iter().map(|user| user.as_str().into()).collect();
        policy.deny_action = access.deny_action;
        Ok(policy)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        let of_users: usize = self.users.values().map(Vec::len).sum();
        let of_listeners: usize = self.listeners.values().map(Policy::len).sum();
        of_users + of_listeners + self.anonymous.len() + self.patterns.len() + self.entries.len()
    }

    /// The rules for whom came in where this one did.
    fn of(&self, who: &Identity) -> &Policy {
        who.origin.listener.as_ref().and_then(|listener| self.listeners.get(listener)).unwrap_or(self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In which ways an identity may do something to a topic.
    pub fn topic(&self, who: &Identity, action: Actions, topic: &str) -> Ways {
        if who.superuser {
            return Ways::ALL;
        }
        let policy = self.of(who);
        judge_topic(policy.rules(who), who, action, topic, policy.otherwise(who, topic))
    }

    /// What becomes of a subscription to a filter. A shared one, which has no list of its own for each member, is
    /// granted as a whole or not at all.
    pub fn subscription(&self, who: &Identity, filter: &str, shared: bool) -> Grant {
        if who.superuser {
            return Grant { extent: Extent::Whole, qos: QoS::ExactlyOnce };
        }
        let policy = self.of(who);
        let judge = |action| judge_filter(policy.rules(who), who, action, filter, policy.otherwise(who, filter));
        let (asked, qos) = judge(Actions::SUBSCRIBE);
        let (received, qos_received) = judge(Actions::RECEIVE);
        let extent = match (asked, received) {
            (Extent::None, _) | (_, Extent::None) => Extent::None,
            (_, Extent::Part) if shared && !planted(Fault::SharedInPart) => Extent::None,
            (_, received) => received,
        };
        Grant { extent, qos: qos.min(qos_received) }
    }

    fn rules<'a>(&'a self, who: &'a Identity) -> impl Iterator<Item = &'a Rule> {
        let of_user = match &who.user {
            Some(user) => self.users.get(user).map_or(&[][..], Vec::as_slice),
            None => &self.anonymous,
        };
        let entries = self.entries.iter().filter(move |entry| entry.is_for(who)).map(|entry| &entry.rule);
        who.rules.iter().chain(of_user).chain(&self.patterns).chain(entries)
    }

    /// Whether what no rule matches is allowed. What the switch says of itself is for operators.
    fn otherwise(&self, who: &Identity, topic: &str) -> bool {
        if topic == "$SYS" || topic.starts_with("$SYS/") {
            let named = who.user.as_ref().is_some_and(|user| self.operators.contains(user));
            return named && who.origin.users.is_none();
        }
        self.otherwise && !who.own_rules && (self.open || !who.origin.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Origin, Particulars};
    use super::*;

    fn policy(acl: &str, rules: &str) -> Policy {
        let mut policy = Policy { operators: ["root".into()].into(), ..Policy::default() };
        mosquitto::parse(acl, &mut policy).expect("a good file");
        policy.entries = native::parse(rules).expect("a good file");
        policy
    }

    fn user(name: &str) -> Identity {
        Identity::new(Some(name), "c", &Origin::default(), Particulars::default()).expect("no rules")
    }

    /// Mosquitto's file: its own user, patterns for all, nothing where no line matches; an empty file denies.
    #[test]
    fn lists_are_asked_in_order() {
        let acl = "topic read news/#\nuser alice\ntopic deny room/secret\ntopic room/#\npattern write dev/%u/%c\n";
        let policy = policy(acl, "");
        let may = |who: &Identity, action, topic| policy.topic(who, action, topic) != Ways::NONE;
        let (alice, nobody) = (user("alice"), Identity::anonymous("c", &Origin::default()));
        assert!(may(&alice, Actions::PUBLISH, "room/7") && may(&alice, Actions::RECEIVE, "room/7"));
        assert!(!may(&alice, Actions::PUBLISH, "room/secret") && !may(&alice, Actions::RECEIVE, "news/1"));
        assert!(may(&alice, Actions::PUBLISH, "dev/alice/c") && !may(&alice, Actions::RECEIVE, "dev/alice/c"));
        assert!(may(&nobody, Actions::RECEIVE, "news/1") && !may(&nobody, Actions::PUBLISH, "news/1"));
        assert!(!may(&user("bob"), Actions::RECEIVE, "room/7"));
        assert!(!may(&alice, Actions::PUBLISH, "dev/alice/other"));
        let empty = Policy::default();
        assert_eq!(empty.topic(&alice, Actions::PUBLISH, "a"), Ways::NONE);
    }

    /// `$SYS` is for operators, also where everything else is allowed, and for whom a rule names.
    #[test]
    fn sys_is_for_operators() {
        let open = Policy { otherwise: true, ..policy("user eve\ntopic read $SYS/broker/version\n", "") };
        for (name, filter, extent) in [
            ("root", "$SYS/#", Extent::Whole),
            ("alice", "$SYS/#", Extent::None),
            ("alice", "$SYS/broker/+", Extent::None),
            ("alice", "#", Extent::Whole),
            ("eve", "$SYS/broker/version", Extent::Whole),
            ("eve", "$SYS/#", Extent::Part),
        ] {
            assert_eq!(open.subscription(&user(name), filter, false).extent, extent, "{name} {filter}");
        }
        assert_eq!(open.topic(&user("alice"), Actions::RECEIVE, "$SYS/broker/version"), Ways::NONE);
    }

    /// A shared subscription is judged as its filter, and granted as a whole or not at all.
    #[test]
    fn shared_subscriptions_are_whole() {
        let policy = policy("user alice\ntopic read a/#\n", "");
        let of = |filter, shared| policy.subscription(&user("alice"), filter, shared).extent;
        assert_eq!((of("a/+", true), of("#", true), of("#", false)), (Extent::Whole, Extent::None, Extent::Part));
    }

    /// A token's own rules go before the files, and what they leave open is denied.
    #[test]
    fn own_rules_go_first() {
        let open = Policy { otherwise: true, ..policy("", "") };
        let rules = Some(serde_json::json!([{ "permission": "allow", "action": "publish", "topic": "t/${clientid}" }]));
        let particulars = Particulars { rules, ..Particulars::default() };
        let who = Identity::new(Some("u"), "c", &Origin::default(), particulars).expect("good");
        assert_eq!(open.topic(&who, Actions::PUBLISH, "t/c"), Ways::ALL);
        assert_eq!(open.topic(&who, Actions::PUBLISH, "t/d"), Ways::NONE);
        assert_eq!(open.subscription(&who, "t/c", false).extent, Extent::None);
    }

    /// A listener's own rules stand in place of those for all; what it does not know of is for all.
    #[test]
    fn listeners_have_rules() {
        let mut all = policy("user u\ntopic readwrite a/#\n", "");
        all.listeners.insert("inner".into(), policy("user u\ntopic read b/#\n", ""));
        let from = |listener: Option<&str>| {
            let origin = Origin { listener: listener.map(Box::from), ..Origin::default() };
            Identity::new(Some("u"), "c", &origin, Particulars::default()).expect("no rules")
        };
        let may = |who: &Identity, action, topic| all.topic(who, action, topic) != Ways::NONE;
        for outer in [from(None), from(Some("gone"))] {
            assert!(may(&outer, Actions::PUBLISH, "a/1") && !may(&outer, Actions::RECEIVE, "b/1"));
        }
        let inner = from(Some("inner"));
        assert!(may(&inner, Actions::RECEIVE, "b/1") && !may(&inner, Actions::RECEIVE, "a/1"));
        assert_eq!(all.subscription(&inner, "a/#", false).extent, Extent::None);
        assert_eq!(all.subscription(&inner, "b/#", false).extent, Extent::Whole);
    }

    /// Receiving can be denied within what may be subscribed to.
    #[test]
    fn receiving_is_judged_apart() {
        let rules = "[[rule]]\npermit = \"deny\"\nactions = [\"receive\"]\ntopics = [\"a/secret\"]\n\
                     [[rule]]\npermit = \"allow\"\nactions = [\"subscribe\"]\ntopics = [\"a/#\"]\n";
        let policy = policy("", rules);
        assert_eq!(policy.subscription(&user("u"), "a/#", false).extent, Extent::Part);
        assert_eq!(policy.topic(&user("u"), Actions::RECEIVE, "a/b"), Ways::ALL);
        assert_eq!(policy.topic(&user("u"), Actions::RECEIVE, "a/secret"), Ways::NONE);
        assert_eq!(policy.topic(&user("u"), Actions::PUBLISH, "a/b"), Ways::NONE);
    }
}
