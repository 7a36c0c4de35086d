//! Rules, and what a list of them says of a topic or a filter. The first rule that matches decides.

use wire::mqtt::QoS;
use wire::mqtt::topic::overlap;

use super::identity::Identity;
use super::template::{Template, covers};

/// What is done to a topic; a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions(pub u8);

impl Actions {
    /// Publish to it, a will too.
    pub const PUBLISH: Actions = Actions(1);
    /// Subscribe to a filter.
    pub const SUBSCRIBE: Actions = Actions(2);
    /// Receive messages of it.
    pub const RECEIVE: Actions = Actions(4);
    /// Everything.
    pub const ALL: Actions = Actions(7);

    /// Both.
    pub const fn and(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }

    fn has(self, one: Actions) -> bool {
        self.0 & one.0 != 0
    }
}

/// A set of ways to publish: a bit for each QoS, without RETAIN and with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways(pub u8);

impl Ways {
    /// None.
    pub const NONE: Ways = Ways(0);
    /// All.
    pub const ALL: Ways = Ways(0b11_1111);

    /// Those of some QoS, and of RETAIN as said; absent: either.
    pub fn of(qos: &[QoS], retain: Option<bool>) -> Ways {
        let bits = if qos.is_empty() { 0b111 } else { qos.iter().fold(0, |bits, qos| bits | 1 << *qos as u8) };
        match retain {
            None => Ways(bits | bits << 3),
            Some(false) => Ways(bits),
            Some(true) => Ways(bits << 3),
        }
    }

    /// Whether a publish of this QoS and RETAIN is among them.
    pub fn has(self, qos: QoS, retain: bool) -> bool {
        self.0 >> (qos as u8 + 3 * u8::from(retain)) & 1 != 0
    }

    /// The highest QoS among them.
    fn qos_max(self) -> QoS {
        let bits = (self.0 | self.0 >> 3) & 0b111;
        match bits {
            0b100.. => QoS::ExactlyOnce,
            0b10.. => QoS::AtLeastOnce,
            _ => QoS::AtMostOnce,
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// It allows; else it denies.
    pub allow: bool,
    /// What.
    pub actions: Actions,
    /// In which ways.
    pub ways: Ways,
    /// Where.
    pub filter: Template,
}

/// How much of a filter may be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    None,
    /// Some of it: each message is judged.
    Part,
    /// All of it.
    Whole,
}

/// What a list of rules says of a topic: in which ways `action` may be done. `otherwise`: where no rule matches.
pub fn judge_topic<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    who: &Identity,
    action: Actions,
    topic: &str,
    otherwise: bool,
) -> Ways {
    let (mut open, mut granted) = (Ways::ALL.0, 0);
    for rule in rules {
        if !rule.actions.has(action) || open & rule.ways.0 == 0 || !rule.filter.matches(topic, who, rule.allow) {
            continue;
        }
        if rule.allow {
            granted |= open & rule.ways.0;
        }
        open &= !rule.ways.0;
        if open == 0 {
            break;
        }
    }
    Ways(if otherwise { granted | open } else { granted })
}

/// What a list of rules says of a filter: how much of it `action` may be done to, and the highest QoS at which.
pub fn judge_filter<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    who: &Identity,
    action: Actions,
    filter: &str,
    otherwise: bool,
) -> (Extent, QoS) {
    let (mut some, mut hole, mut qos) = (false, false, QoS::ExactlyOnce);
    for rule in rules.filter(|rule| rule.actions.has(action)) {
        let Some(of_rule) = rule.filter.filter(who, rule.allow) else { continue };
        if !overlap(&of_rule, filter) {
            continue;
        }
        let whole = covers(&of_rule, filter);
        if rule.allow {
            qos = qos.min(rule.ways.qos_max());
            some = true;
            if whole {
                return (if hole { Extent::Part } else { Extent::Whole }, qos);
            }
        } else {
            hole = true;
            // One that denies in some ways only leaves the others to the next.
            if whole && rule.ways == Ways::ALL {
                return (if some { Extent::Part } else { Extent::None }, qos);
            }
        }
    }
    match (otherwise, some, hole) {
        (true, _, false) => (Extent::Whole, qos),
        (true, _, true) | (false, true, _) => (Extent::Part, qos),
        (false, false, _) => (Extent::None, qos),
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Origin;
    use super::super::template::Syntax;
    use super::*;

    fn rule(allow: bool, actions: Actions, ways: Ways, filter: &str) -> Rule {
        Rule { allow, actions, ways, filter: Template::parse(filter, Syntax::Native).expect("a filter") }
    }

    fn allow(filter: &str) -> Rule {
        rule(true, Actions::ALL, Ways::ALL, filter)
    }

    fn deny(filter: &str) -> Rule {
        rule(false, Actions::ALL, Ways::ALL, filter)
    }

    /// The first rule that matches decides; conditions leave what they do not speak of to the next.
    #[test]
    fn the_first_match_decides() {
        let who = Identity::anonymous("c", &Origin::default());
        let once = Ways::of(&[QoS::AtMostOnce], Some(false));
        let rules = [deny("a/secret"), rule(true, Actions::PUBLISH, once, "a/#"), deny("a/b"), allow("a/+")];
        let ways = |topic| judge_topic(rules.iter(), &who, Actions::PUBLISH, topic, false);
        assert_eq!(ways("a/secret"), Ways::NONE);
        assert_eq!(ways("a/b"), once);
        assert_eq!(ways("a/c"), Ways::ALL);
        assert_eq!(ways("b"), Ways::NONE);
        assert!(once.has(QoS::AtMostOnce, false) && !once.has(QoS::AtMostOnce, true));
        assert!(!once.has(QoS::AtLeastOnce, false));
        assert_eq!(judge_topic(rules.iter(), &who, Actions::PUBLISH, "b", true), Ways::ALL);
    }

    /// How much of a filter may be received, by what rules before and behind say.
    #[test]
    fn extents_of_filters() {
        let who = Identity::anonymous("c", &Origin::default());
        let of =
            |rules: &[Rule], filter, otherwise| judge_filter(rules.iter(), &who, Actions::RECEIVE, filter, otherwise).0;
        for (rules, filter, otherwise, extent) in [
            (&[allow("a/#")][..], "a/+", false, Extent::Whole),
            (&[allow("a/#")], "#", false, Extent::Part),
            (&[allow("a/#")], "b/#", false, Extent::None),
            (&[allow("#")], "#", false, Extent::Whole),
            (&[allow("#")], "$SYS/#", false, Extent::None),
            (&[deny("a/x"), allow("a/#")], "a/#", false, Extent::Part),
            (&[deny("a/x"), allow("a/#")], "a/y", false, Extent::Whole),
            (&[deny("a/x"), allow("a/#")], "a/x", false, Extent::None),
            (&[allow("a/#"), deny("a/x")], "a/#", false, Extent::Whole),
            (&[allow("a/b"), deny("a/#")], "a/#", true, Extent::Part),
            (&[deny("a/#")], "a/+", true, Extent::None),
            (&[deny("a/b")], "#", true, Extent::Part),
            (&[], "#", true, Extent::Whole),
            (&[], "a", false, Extent::None),
        ] {
            assert_eq!(of(rules, filter, otherwise), extent, "{filter} {rules:?}");
        }
    }

    /// What is judged whole lets no topic through that would be denied alone: random lists, all small filters.
    #[test]
    fn whole_means_every_topic() {
        let who = Identity::anonymous("c", &Origin::default());
        let filters = ["#", "+", "a", "a/#", "a/+", "a/b", "+/b", "+/#", "a/b/#", "b", "b/#"];
        let topics = ["a", "b", "c", "a/b", "a/c", "b/b", "a/b/c", "c/c/c"];
        for seed in 0..20_000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = |below: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % below as u64) as usize
            };
            let rules: Vec<Rule> = (0..next(4))
                .map(|_| {
                    let ways = if next(4) == 0 { Ways::of(&[QoS::AtMostOnce], None) } else { Ways::ALL };
                    rule(next(2) == 0, Actions::ALL, ways, filters[next(filters.len())])
                })
                .collect();
            let (filter, otherwise) = (filters[next(filters.len())], next(2) == 0);
            let (extent, _) = judge_filter(rules.iter(), &who, Actions::RECEIVE, filter, otherwise);
            for topic in topics.iter().filter(|topic| wire::mqtt::topic::matches(filter, topic)) {
                let ways = judge_topic(rules.iter(), &who, Actions::RECEIVE, topic, otherwise);
                let full = rules.iter().all(|rule| rule.ways == Ways::ALL);
                assert!(extent != Extent::None || ways == Ways::NONE, "{filter} {topic} {rules:?}");
                assert!(extent != Extent::Whole || !full || ways == Ways::ALL, "{filter} {topic} {rules:?}");
            }
        }
    }
}
