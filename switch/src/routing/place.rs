//! Placement: which shard owns a topic, and which is the home of a client.
//!
//! Both follow from one documented hash, so that shards, and later nodes, agree without asking each other, across
//! builds, processors and restarts:
//!
//! ```text
//! hash(bytes) = SipHash-1-3 of the bytes, as a 64-bit number, under the 128-bit seed
//! shard       = hash × shards / 2^64                      (the high half of the product)
//! ```
//!
//! A topic is hashed by its *placement key*: its whole name, or the first levels of it if a partition rule says so. A
//! client id is hashed whole, under the seed with every bit of its second half inverted, so that topics and clients
//! named alike are placed independently. The seed is secret: who knows it can crowd one shard.

use std::fmt;

use shard::mesh::ShardId;
use siphasher::sip::SipHasher13;

/// The most partition rules that a placement takes: every publish is compared with them.
pub const RULES_MAX: usize = 64;

/// Who owns topics and clients.
#[derive(Clone)]
pub struct Placement {
    topics: SipHasher13,
    clients: SipHasher13,
    shards: u16,
    rules: Box<[Rule]>,
}

/// Which shards own the topics that a filter matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// All of them have this owner.
    One(ShardId),
    /// Any shard may own some.
    Every,
}

/// Why a partition rule is refused. Each names the rule by its index in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// There are more than [`RULES_MAX`].
    TooMany,
    /// It does not end in `/#`: there are no topics below it to keep together.
    NoRest(usize),
    /// A wildcard does not stand alone in its level, `#` is not the last, or a character is NUL: it is no topic filter.
    NotAFilter(usize),
    /// It begins with `$share/`: a group is no part of a topic.
    Shared(usize),
}

/// A partition rule: topics at and below such a prefix are placed by it alone.
#[derive(Clone, Debug)]
struct Rule {
    prefix: Box<[Level]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// `+`
    Any,
    Named(Box<str>),
}

/// How the topics that match a filter relate to a rule.
enum Relation<'f> {
    /// None of them matches the rule.
    Disjoint,
    /// All of them match it, with this key.
    Within(&'f str),
    /// Their keys differ, or only some of them match.
    Mixed,
}

impl Placement {
    /// A placement over `shards` shards, at least one.
    ///
    /// A rule is a topic filter that ends in `/#`; what stands before is the key. `room/+/#` keeps all topics of a room
    /// together. The first rule that matches a topic is used.
    pub fn new(shards: u16, seed: [u8; 16], rules: &[String]) -> Result<Placement, RuleError> {
        assert!(shards > 0, "a placement needs a shard");
        if rules.len() > RULES_MAX {
            return Err(RuleError::TooMany);
        }
        let mut clients = seed;
        clients[8..].iter_mut().for_each(|byte| *byte = !*byte);
        Ok(Placement {
            topics: SipHasher13::new_with_key(&seed),
            clients: SipHasher13::new_with_key(&clients),
            shards,
            rules: rules.iter().enumerate().map(|(at, rule)| Rule::parse(at, rule)).collect::<Result<_, _>>()?,
        })
    }

    /// The hash of a topic name's placement key. Topics with one key have one hash; all have one where there is one
    /// shard, as nothing depends on it then.
    pub fn topic_hash(&self, topic: &str) -> u64 {
        if self.shards == 1 {
            return 0;
        }
        self.topics.hash(self.key(topic).as_bytes())
    }

    /// The owner of the topics with this [`Placement::topic_hash`].
    pub fn owner(&self, topic_hash: u64) -> ShardId {
        self.shard(topic_hash)
    }

    /// Who owns the topics that match a filter (without `$share/GROUP/`).
    ///
    /// It is one shard if the filter is literal through its key, and where it cannot be told cheaply it is every shard.
    pub fn owner_of_filter(&self, filter: &str) -> Owner {
        if self.shards == 1 {
            return Owner::One(ShardId(0));
        }
        if !filter.contains(['+', '#']) {
            return Owner::One(self.owner(self.topic_hash(filter)));
        }
        for rule in &self.rules {
            match rule.relation(filter) {
                Relation::Disjoint => {}
                Relation::Within(key) => return Owner::One(self.owner(self.topics.hash(key.as_bytes()))),
                Relation::Mixed => return Owner::Every,
            }
        }
        Owner::Every
    }

    /// The hash of a client id. It identifies a publisher for No Local, and places its session.
    pub fn client_hash(&self, client_id: &str) -> u64 {
        self.clients.hash(client_id.as_bytes())
    }

    /// The hash of anything else that clients are told apart by.
    pub fn number(&self, bytes: &[u8]) -> u64 {
        self.clients.hash(bytes)
    }

    /// The session home of a client id.
    pub fn home(&self, client_id: &str) -> ShardId {
        self.shard(self.client_hash(client_id))
    }

    /// A client id whose session home is `shard`: `auto-` and 16 hexadecimal digits.
    ///
    /// `random` decides it, and should be unpredictable: who can guess the id of another client can ask to be it. Ids
    /// given out for different shards never collide. It takes as many attempts as there are shards, on average.
    pub fn assigned_client_id(&self, shard: ShardId, random: u64) -> String {
        assert!(shard.0 < self.shards, "an id is assigned for a shard that exists");
        let mut number = random;
        loop {
            let id = format!("auto-{number:016x}");
            if self.home(&id) == shard {
                return id;
            }
            // An odd step visits every number; this one spreads them (2^64 over the golden ratio).
            number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// What of a topic's name decides its owner.
    fn key<'t>(&self, topic: &'t str) -> &'t str {
        self.rules.iter().find_map(|rule| rule.key(topic)).unwrap_or(topic)
    }

    /// Multiply-shift range reduction: no division, and no bias worth naming below 2^16 shards.
    fn shard(&self, hash: u64) -> ShardId {
        ShardId(((u128::from(hash) * u128::from(self.shards)) >> 64) as u16)
    }
}

impl Rule {
    fn parse(at: usize, rule: &str) -> Result<Rule, RuleError> {
        if rule.starts_with("$share/") {
            return Err(RuleError::Shared(at));
        }
        let prefix = rule.strip_suffix("/#").ok_or(RuleError::NoRest(at))?;
        if prefix.contains(['#', '\0']) {
            return Err(RuleError::NotAFilter(at));
        }
        let level = |name: &str| match name {
            "+" => Ok(Level::Any),
            _ if name.contains('+') => Err(RuleError::NotAFilter(at)),
            _ => Ok(Level::Named(name.into())),
        };
        Ok(Rule { prefix: prefix.split('/').map(level).collect::<Result<_, _>>()? })
    }

    /// The key of a topic that matches.
    fn key<'t>(&self, topic: &'t str) -> Option<&'t str> {
        if self.prefix[0] == Level::Any && topic.starts_with('$') {
            return None; // [MQTT-4.7.2-1]
        }
        let mut rest = Some(topic);
        for level in &self.prefix {
            let (name, after) = split_level(rest?);
            if matches!(level, Level::Named(wanted) if **wanted != *name) {
                return None;
            }
            rest = after;
        }
        Some(before(topic, rest))
    }

    /// How a filter with wildcards relates to this rule.
    fn relation<'f>(&self, filter: &'f str) -> Relation<'f> {
        let mut rest = Some(filter);
        let mut literal = true;
        for (depth, level) in self.prefix.iter().enumerate() {
            // A filter with fewer levels matches topics with fewer levels only.
            let Some(levels) = rest else { return Relation::Disjoint };
            let (name, after) = split_level(levels);
            match (name, level) {
                ("#", _) => return Relation::Mixed,
                // A wildcard in the first level does not match `$` [MQTT-4.7.2-1].
                ("+", Level::Named(wanted)) if depth == 0 && wanted.starts_with('$') => return Relation::Disjoint,
                ("+", _) => literal = false,
                (_, Level::Named(wanted)) if **wanted != *name => return Relation::Disjoint,
                (_, Level::Any) if depth == 0 && name.starts_with('$') => return Relation::Disjoint,
                _ => {}
            }
            rest = after;
        }
        if literal { Relation::Within(before(filter, rest)) } else { Relation::Mixed }
    }
}

/// The first level, and what follows its separator.
fn split_level(levels: &str) -> (&str, Option<&str>) {
    match levels.split_once('/') {
        Some((name, after)) => (name, Some(after)),
        None => (levels, None),
    }
}

/// What stands before `rest` and its separator.
fn before<'s>(whole: &'s str, rest: Option<&str>) -> &'s str {
    rest.map_or(whole, |rest| &whole[..whole.len() - rest.len() - 1])
}

impl fmt::Debug for Placement {
    /// Leaves the seed out: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement").field("shards", &self.shards).field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleError::TooMany => write!(f, "more than {RULES_MAX} partition rules"),
            RuleError::NoRest(at) => {
                write!(f, "partition rule {}: must end in '/#', as 'room/+/#' does", at + 1)
            }
            RuleError::NotAFilter(at) => {
                write!(
                    f,
                    "partition rule {}: not a topic filter: '+' stands alone in its level, '#' is the last",
                    at + 1
                )
            }
            RuleError::Shared(at) => write!(f, "partition rule {}: leave out '$share/GROUP/'", at + 1),
        }
    }
}

impl std::error::Error for RuleError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::mqtt::topic;

    use super::*;
    use crate::topic::strategy;

    const SEED: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn placement(shards: u16, rules: &[&str]) -> Placement {
        let rules: Vec<_> = rules.iter().map(|&rule| rule.to_owned()).collect();
        Placement::new(shards, SEED, &rules).unwrap()
    }

    /// The hash never changes: data directories and other nodes depend on it. The numbers come from another
    /// implementation of SipHash-1-3, written from its paper.
    #[test]
    fn hashes_are_golden() {
        let golden = [
            ("room/7", 0xb582_1861_a153_457e, 45),
            ("room/7/chat", 0xe2fb_d998_82a5_e13a, 56),
            ("sensors/étage/1", 0x5fdf_6e3b_4c9f_c8f0, 23),
            ("a", 0x1c26_97ab_786a_6237, 7),
        ];
        let place = placement(64, &[]);
        for (topic, hash, shard) in golden {
            assert_eq!(place.topic_hash(topic), hash, "{topic}");
            assert_eq!(place.owner(hash), ShardId(shard), "{topic}");
        }
        for (client_id, hash, shard) in [("", 0xfa91_602f_7b66_8beb, 62), ("alice", 0xc3db_d1c6_5d5b_1dc1, 48)] {
            assert_eq!(place.client_hash(client_id), hash, "{client_id}");
            assert_eq!(place.home(client_id), ShardId(shard), "{client_id}");
        }
    }

    /// Topics spread evenly over any number of shards.
    #[test]
    fn placement_is_even() {
        let place = placement(7, &[]);
        let mut counts = [0; 7];
        for n in 0..70_000 {
            counts[usize::from(place.owner(place.topic_hash(&format!("room/{n}/chat"))).0)] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    /// A rule keeps the topics of a room together, the room itself included, and touches nothing else.
    #[test]
    fn rules_keep_rooms_together() {
        let place = placement(64, &["room/vip/+/#", "room/+/#"]);
        assert_eq!(place.key("room/7/chat/en"), "room/7");
        assert_eq!(place.key("room/7"), "room/7");
        assert_eq!(place.key("room/7/"), "room/7");
        assert_eq!(place.key("room/vip/1/chat"), "room/vip/1");
        assert_eq!(place.key("room/vip"), "room/vip");
        assert_eq!(place.key("room"), "room");
        assert_eq!(place.key("rooms/7/chat"), "rooms/7/chat");
        assert_eq!(placement(64, &["+/#"]).key("$SYS/broker"), "$SYS/broker");
    }

    /// A filter has one owner exactly where it is literal through its key.
    #[test]
    fn filters_literal_through_their_key_have_one_owner() {
        let place = placement(64, &["room/vip/+/#", "room/+/#", "$data/+/#"]);
        let one = |topic: &str| Owner::One(place.owner(place.topic_hash(topic)));
        assert_eq!(place.owner_of_filter("room/7/#"), one("room/7"));
        assert_eq!(place.owner_of_filter("room/7/+/x"), one("room/7"));
        assert_eq!(place.owner_of_filter("room/vip/1/#"), one("room/vip/1"));
        assert_eq!(place.owner_of_filter("$data/1/#"), one("$data/1"));
        assert_eq!(place.owner_of_filter("any/literal"), one("any/literal"));
        for every in ["room/+/chat", "room/#", "room/vip/#", "room/+", "#", "+/7/#", "other/#", "$data/#"] {
            assert_eq!(place.owner_of_filter(every), Owner::Every, "{every}");
        }
        // A rule that begins with a wildcard says nothing of `$` names.
        let place = placement(64, &["+/#"]);
        assert_eq!(place.owner_of_filter("a/#"), one("a"));
        assert_eq!(place.owner_of_filter("$SYS/#"), Owner::Every);
        assert_eq!(placement(64, &["$SYS/#"]).owner_of_filter("+/x/+"), Owner::Every);
        assert_eq!(placement(1, &[]).owner_of_filter("#"), Owner::One(ShardId(0)));
    }

    /// An assigned client id is at home where it was asked for, and is the same for the same number.
    #[test]
    fn assigned_ids_hash_to_their_shard() {
        let place = placement(3, &[]);
        let ids: Vec<_> = (0..3).map(|shard| place.assigned_client_id(ShardId(shard), 42)).collect();
        assert_eq!(ids, ["auto-000000000000002a", "auto-9e3779b97f4a7c3f", "auto-daa66d2c7ddf7469"]);
        for (shard, id) in ids.iter().enumerate() {
            assert_eq!(usize::from(place.home(id).0), shard);
        }
    }

    /// Each way in which a rule is wrong is told, with its place in the list.
    #[test]
    fn wrong_rules_are_refused() {
        let refused = |rules: &[&str]| {
            let rules: Vec<_> = rules.iter().map(|&rule| rule.to_owned()).collect();
            Placement::new(2, SEED, &rules).unwrap_err()
        };
        assert_eq!(refused(&["a/#", "room/+"]), RuleError::NoRest(1));
        assert_eq!(refused(&["#"]), RuleError::NoRest(0));
        assert_eq!(refused(&["a+/#"]), RuleError::NotAFilter(0));
        assert_eq!(refused(&["a/#/#"]), RuleError::NotAFilter(0));
        assert_eq!(refused(&["a\0/#"]), RuleError::NotAFilter(0));
        assert_eq!(refused(&["$share/g/a/#"]), RuleError::Shared(0));
        assert_eq!(refused(&["a/#"; RULES_MAX + 1]), RuleError::TooMany);
        assert_eq!(refused(&["room/+"]).to_string(), "partition rule 1: must end in '/#', as 'room/+/#' does");
    }

    /// Random rules: the prefixes of random filters.
    fn rules() -> impl Strategy<Value = Vec<String>> {
        let rule =
            strategy::filter().prop_map(|filter| format!("{}/#", filter.trim_end_matches("#").trim_end_matches('/')));
        prop::collection::vec(rule, 0..4)
    }

    proptest! {
        /// Where a filter has one owner, that shard owns every topic that the filter matches.
        #[test]
        fn one_owner_owns_all_that_matches(
            rules in rules(),
            filter in strategy::filter(),
            topics in prop::collection::vec(strategy::topic(), 32),
        ) {
            let place = Placement::new(u16::MAX, SEED, &rules).unwrap();
            if let Owner::One(owner) = place.owner_of_filter(&filter) {
                for topic in topics.iter().filter(|topic| topic::matches(&filter, topic)) {
                    prop_assert_eq!(place.owner(place.topic_hash(topic)), owner, "{}", topic);
                }
            }
        }

        /// A topic is placed by a prefix exactly if a rule matches it, as filters match.
        #[test]
        fn rules_match_as_filters_do(rules in rules(), topic in strategy::topic()) {
            let place = Placement::new(2, SEED, &rules).unwrap();
            let first = rules.iter().find(|rule| topic::matches(rule, &topic));
            let levels = first.map_or(usize::MAX, |rule| rule.split('/').count() - 1);
            let key = topic.split('/').take(levels).collect::<Vec<_>>().join("/");
            prop_assert_eq!(place.key(&topic), key);
        }
    }
}
