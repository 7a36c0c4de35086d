//! Who published a retained message, and by which right. It stays when its publisher has gone, and that right may go later
//! (mosquitto's CVE-2018-12546): so its frame says whose it is, and it is judged again when it is delivered.
//!
//! ```text
//!   0         2       3             5      │             │             │          │         │
//!   ├─────────┼───────┼─────────────┼──────┼─────────────┼─────────────┼──────────┼─────────┼──────────┐
//!   │ length  │ flags │ user's      │ user │ client id's │ client id   │ claims'  │ claims, │ listener │
//!   │ of all  │       │ length      │      │ length, 2 B │             │ length   │ as JSON │          │
//! ```
//! Claims and their length are there where a flag says so; the listener where it has rules or users of its own.
//!
//! What the rules of the files allowed is judged by these again, with the claims that they name. What was allowed by rules
//! that its client brought, or by a service, or to a superuser, cannot be: those have gone with the client. It is
//! delivered as long as its publisher is not banned.

use serde_json::{Map, Value};
use wire::frame::Frame;
use wire::mqtt::QoS;

use super::identity::{Identity, Origin, Particulars};
use super::rules::{Actions, judge_topic};
use crate::frames;
use crate::planted::{Fault, planted};
use crate::session::SessionId;
use crate::switch::Switch;

/// Bytes of what is written at most. Who is called longer than that is taken for an anonymous client, which may no more
/// than anybody.
const BYTES_MAX: usize = 1024;

/// A user is named.
const NAMED: u8 = 1;
/// No rule of the files allowed it.
const APART: u8 = 1 << 1;
/// There are claims.
const CLAIMS: u8 = 1 << 2;
/// Its client brought rules: what none matches is denied.
const OWN_RULES: u8 = 1 << 3;

/// Whose a message is.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// No rule of the files allowed it.
    pub apart: bool,
    /// Claims that matter to rules.
    pub claims: &'a [Box<str>],
}

impl Source<'_> {
    /// Writes it behind its length.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let claims = self.claims.iter().filter_map(|name| Some((&**name, self.identity.claim(name)?)));
        let claims: Map<String, Value> = claims.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let claims = (!claims.is_empty() && !self.apart).then(|| Value::Object(claims).to_string());
        let user = self.identity.user.as_deref();
        let listener = self.identity.origin.listener.as_deref().unwrap_or_default();
        put(out, (user, &self.identity.client_id, listener), claims.as_deref(), self.flags());
        if out.len() - begin > BYTES_MAX {
            out.truncate(begin);
            put(out, (None, "", ""), None, 0);
        }
    }

    /// The same in a box.
    pub fn boxed(&self) -> Box<[u8]> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes.into_boxed_slice()
    }

    fn flags(&self) -> u8 {
        let flag = |set, bit| if set { bit } else { 0 };
        flag(self.apart, APART) | flag(self.identity.own_rules, OWN_RULES)
    }
}

fn put(out: &mut Vec<u8>, (user, client_id, listener): (Option<&str>, &str, &str), claims: Option<&str>, flags: u8) {
    let begin = out.len();
    out.extend_from_slice(&[0, 0]);
    let flag = |set, bit| if set { bit } else { 0 };
    out.push(flags | flag(user.is_some(), NAMED) | flag(claims.is_some(), CLAIMS));
    for text in [Some(user.unwrap_or_default()), Some(client_id), claims].into_iter().flatten() {
        // What is longer is more than may be written anyway.
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(listener.as_bytes());
    let len = (out.len() - begin - 2) as u16;
    out[begin..begin + 2].copy_from_slice(&len.to_le_bytes());
}

/// Who that is, without its length, and whether no rule of the files allowed it. `None`: it cannot be read.
fn read(source: &[u8]) -> Option<(Identity, bool)> {
    let (flags, mut rest) = source.split_first()?;
    let mut text = || {
        let (len, behind) = rest.split_first_chunk()?;
        let (text, behind) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
        rest = behind;
        std::str::from_utf8(text).ok()
    };
    let (user, client_id) = (text()?, text()?);
    let claims = if flags & CLAIMS == 0 { "{}" } else { text()? };
    let claims: Map<String, Value> = serde_json::from_str(claims).ok()?;
    let claims = claims.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
    let rules = (flags & OWN_RULES != 0).then(|| Value::Array(Vec::new()));
    let particulars = Particulars { claims: claims.collect(), rules, ..Particulars::default() };
    let listener = std::str::from_utf8(rest).ok()?;
    let origin = Origin { listener: (!listener.is_empty()).then(|| listener.into()), ..Origin::default() };
    let identity = Identity::new((flags & NAMED != 0).then_some(user), client_id, &origin, particulars).ok()?;
    Some((identity, flags & APART != 0))
}

impl Switch {
    /// Whose a retained message of a session is, where that is judged later.
    pub(crate) fn source(&self, id: SessionId, topic: &str, qos: QoS) -> Option<Source<'_>> {
        let access = self.sessions.at(id).access.as_ref()?;
        let told = access.asked.as_ref().is_some_and(|asked| asked.allowed);
        self.source_of(&access.identity, topic, qos, told)
    }

    /// Writes whose a retained message of a session is, where that is judged later. Whether it is.
    #[inline(never)]
    pub(crate) fn write_source(&self, id: SessionId, topic: &str, qos: QoS, out: &mut Vec<u8>) -> bool {
        let source = self.source(id, topic, qos);
        if let Some(source) = &source {
            out.clear();
            source.write(out);
        }
        source.is_some()
    }

    /// Whose a retained message of a client is; `told`: a service allowed it.
    pub(crate) fn source_of<'a>(
        &'a self,
        identity: &'a Identity,
        topic: &str,
        qos: QoS,
        told: bool,
    ) -> Option<Source<'a>> {
        let gate = self.gate.as_ref().filter(|gate| gate.desk.access.check_retain_source)?;
        let brought = || judge_topic(identity.rules.iter(), identity, Actions::PUBLISH, topic, false).has(qos, true);
        let apart = told || identity.superuser || (!identity.rules.is_empty() && brought());
        Some(Source { identity, apart, claims: &gate.policy.claims })
    }

    /// Whether the publisher of a retained message might still publish it.
    pub(crate) fn may_still_publish(&self, source: &[u8], frame: &Frame<'_>) -> bool {
        let Some(gate) = self.gate.as_ref().filter(|gate| gate.desk.access.check_retain_source) else { return true };
        let Some((who, apart)) = read(source) else { return false };
        let bans = &gate.policy.bans;
        if planted(Fault::SourceNotJudged) {
            return true;
        }
        if bans.has_user(who.user.as_deref()) || bans.has_client(&who.client_id) {
            return false;
        }
        apart || gate.policy.topic(&who, Actions::PUBLISH, frame.topic).has(frames::qos(frame), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(user: Option<&str>, client_id: &str, listener: Option<&str>) -> (Option<String>, String, Option<String>) {
        let origin = Origin { listener: listener.map(Box::from), ..Origin::default() };
        let made = Identity::new(user, client_id, &origin, Particulars::default()).expect("no rules");
        let (again, apart) = again(&Source { identity: &made, apart: false, claims: &[] });
        assert!(!apart);
        let text = |name: &Option<Box<str>>| name.as_deref().map(str::to_owned);
        (text(&again.user), again.client_id.to_string(), text(&again.origin.listener))
    }

    fn again(source: &Source<'_>) -> (Identity, bool) {
        let mut bytes = b"before".to_vec();
        source.write(&mut bytes);
        let (len, source) = bytes[6..].split_first_chunk().expect("a length");
        assert_eq!(usize::from(u16::from_le_bytes(*len)), source.len());
        assert!((0..source.len()).all(|cut| cut > 5 || read(&source[..cut]).is_none() || source.len() == 5));
        read(source).expect("it was written")
    }

    /// Who published is read as it was written; no name at all is not an empty one, and who is called too long is nobody.
    #[test]
    fn sources_read_back() {
        let own = |text: &str| text.to_owned();
        assert_eq!(told(Some("alice"), "c", Some("inner")), (Some(own("alice")), own("c"), Some(own("inner"))));
        assert_eq!(told(None, "c", None), (None, own("c"), None));
        assert_eq!(told(Some(""), "", None), (Some(own("")), own(""), None));
        assert_eq!(told(Some("alice"), &"x".repeat(1100), Some("inner")), (None, own(""), None));
        assert_eq!(told(Some("alice"), &"x".repeat(65_535), None), (None, own(""), None));
        assert!(read(b"").is_none() && read(&[1, 9, 0, b'a']).is_none());
    }

    /// Claims that rules name go along, and that its client brought rules; what no file allowed needs neither.
    #[test]
    fn rights_read_back() {
        let claims = [("room", "7"), ("secret", "x")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let rules = Some(serde_json::json!([{ "permission": "allow", "action": "all", "topic": "a" }]));
        let particulars = Particulars { claims: claims.into(), rules, ..Particulars::default() };
        let who = Identity::new(Some("alice"), "c", &Origin::default(), particulars).expect("good");
        let named = ["room".into(), "other".into()];
        let (read, apart) = again(&Source { identity: &who, apart: false, claims: &named });
        assert_eq!((read.claim("room"), read.claim("secret"), read.own_rules, apart), (Some("7"), None, true, false));
        let (read, apart) = again(&Source { identity: &who, apart: true, claims: &named });
        assert_eq!((read.claim("room"), read.user.as_deref(), apart), (None, Some("alice"), true));
    }
}
