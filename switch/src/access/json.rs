//! Rules in JSON, as tokens and services bring them.
//!
//! ```text
//!   [{"permission": "allow", "action": "publish", "topic": "t/${clientid}", "qos": [0, 1], "retain": false}, ..]
//!   {"pub": ["t/1"], "sub": ["t/#"], "all": ["u/#"]}       what is listed is allowed
//! ```
//! `action` is publish, subscribe, receive or all; `topics`, a list, may stand for `topic`.

use serde_json::Value;
use wire::mqtt::QoS;

use super::identity::Unusable;
use super::rules::{Actions, Rule, Ways};
use super::template::{Syntax, Template};

/// Rules of one identity at most.
const RULES_MAX: usize = 256;

const WRONG: Unusable = Unusable("its rules are not in a form that this version knows");

/// Reads rules.
///
/// # Errors
/// They are in no known form: what cannot be understood allows nothing.
pub fn rules(value: &Value) -> Result<Vec<Rule>, Unusable> {
    let mut rules = Vec::new();
    match value {
        Value::Array(list) => list.iter().try_for_each(|rule| one(rule, &mut rules))?,
        Value::Object(lists) => {
            for (word, topics) in lists {
                let actions = match word.as_str() {
                    "pub" => Actions::PUBLISH,
                    "sub" => Actions::SUBSCRIBE.and(Actions::RECEIVE),
                    "all" => Actions::ALL,
                    _ => return Err(WRONG),
                };
                for filter in templates(topics)? {
                    rules.push(Rule { allow: true, actions, ways: Ways::ALL, filter });
                }
            }
        }
        _ => return Err(WRONG),
    }
    if rules.len() > RULES_MAX { Err(Unusable("it has too many rules")) } else { Ok(rules) }
}

fn one(value: &Value, rules: &mut Vec<Rule>) -> Result<(), Unusable> {
    let object = value.as_object().ok_or(WRONG)?;
    let (mut allow, mut actions, mut filters) = (None, None, Vec::new());
    let (mut qos, mut retain) = (Vec::new(), None);
    for (key, value) in object {
        match key.as_str() {
            "permission" => {
                allow = match value.as_str() {
                    Some("allow") => Some(true),
                    Some("deny") => Some(false),
                    _ => return Err(WRONG),
                }
            }
            "action" => {
                actions = match value.as_str() {
                    Some("publish") => Some(Actions::PUBLISH),
                    Some("subscribe") => Some(Actions::SUBSCRIBE.and(Actions::RECEIVE)),
                    Some("receive") => Some(Actions::RECEIVE),
                    Some("all") => Some(Actions::ALL),
                    _ => return Err(WRONG),
                }
            }
            "topic" | "topics" => filters = templates(value)?,
            "qos" => {
                let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                let level = |level: &Value| level.as_u64().and_then(|level| QoS::from_bits(u8::try_from(level).ok()?));
                qos = list.iter().map(level).collect::<Option<Vec<_>>>().filter(|qos| !qos.is_empty()).ok_or(WRONG)?;
            }
            "retain" => {
                retain = match value {
                    Value::Bool(retain) => Some(*retain),
                    Value::String(all) if all == "all" => None,
                    _ => return Err(WRONG),
                }
            }
            _ => return Err(WRONG),
        }
    }
    let (allow, actions) = (allow.ok_or(WRONG)?, actions.ok_or(WRONG)?);
    if filters.is_empty() || (retain.is_some() && actions != Actions::PUBLISH) {
        return Err(WRONG);
    }
    let ways = Ways::of(&qos, retain);
    rules.extend(filters.into_iter().map(|filter| Rule { allow, actions, ways, filter }));
    Ok(())
}

fn templates(value: &Value) -> Result<Vec<Template>, Unusable> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let template = |text: &Value| Template::parse(text.as_str().ok_or(WRONG)?, Syntax::Native).map_err(|_| WRONG);
    list.iter().map(template).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Both forms are read; whatever is not understood is refused as a whole.
    #[test]
    fn both_forms_are_read() {
        let listed = json!([
            { "permission": "deny", "action": "all", "topics": ["a", "b/#"] },
            { "permission": "allow", "action": "publish", "topic": "t/${clientid}", "qos": [0, 1], "retain": false },
        ]);
        assert_eq!(rules(&listed).expect("good").len(), 3);
        assert_eq!(rules(&json!({ "pub": ["a"], "sub": ["b", "c"], "all": "d" })).expect("good").len(), 4);
        assert!(rules(&json!([])).expect("nothing is allowed").is_empty());
        for wrong in [
            json!("allow"),
            json!({ "publish": ["a"] }),
            json!([{ "permission": "allow", "action": "all" }]),
            json!([{ "permission": "allow", "action": "all", "topic": "a/#/b" }]),
            json!([{ "permission": "allow", "action": "all", "topic": "a", "clients": ["x"] }]),
            json!([{ "permission": "allow", "action": "all", "topic": "a", "retain": true }]),
            json!([{ "action": "all", "topic": "a" }]),
        ] {
            assert_eq!(rules(&wrong), Err(WRONG), "{wrong}");
        }
    }
}
