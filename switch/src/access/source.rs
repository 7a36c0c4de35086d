//! Who published a retained message. It stays when its publisher has gone, and its rights may go later (mosquitto's
//! CVE-2018-12546): so its frame says whose it is, and it is judged again when it is delivered.
//!
//! ```text
//!   0         2      3             5      │             │             │
//!   ├─────────┼──────┼─────────────┼──────┼─────────────┼─────────────┼──────────────┤
//!   │ length  │ user │ user's      │ user │ client id's │ client id   │ listener, if │
//!   │ of all  │ named│ length      │      │ length, 2 B │             │ it has rules │
//! ```

use wire::frame::Frame;

use super::identity::{Identity, Origin, Particulars};
use super::rules::Actions;
use crate::frames;
use crate::session::SessionId;
use crate::switch::Switch;

/// Bytes of what is written at most. Who is called longer than that is taken for an anonymous client, which may no more
/// than anybody.
const BYTES_MAX: usize = 512;
/// What is written besides the names.
const FIXED_BYTES: usize = 5;

/// Writes what a publisher is called behind its length.
pub fn write(identity: &Identity, out: &mut Vec<u8>) {
    let user = identity.user.as_deref();
    let listener = identity.origin.listener.as_deref().unwrap_or_default();
    let mut parts = (user, &*identity.client_id, listener);
    let len = |(user, client_id, listener): (Option<&str>, &str, &str)| {
        FIXED_BYTES + user.map_or(0, str::len) + client_id.len() + listener.len()
    };
    if len(parts) > BYTES_MAX {
        parts = (None, "", "");
    }
    let (user, client_id, listener) = parts;
    let mut put = |number: usize| out.extend_from_slice(&(number as u16).to_le_bytes());
    put(len(parts));
    out.push(u8::from(user.is_some()));
    for name in [user.unwrap_or_default(), client_id] {
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(listener.as_bytes());
}

/// Who that is, without its length; `None`: it cannot be read.
fn read(source: &[u8]) -> Option<Identity> {
    let (named, mut rest) = source.split_first()?;
    let mut name = || {
        let (len, behind) = rest.split_first_chunk()?;
        let (name, behind) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
        rest = behind;
        std::str::from_utf8(name).ok()
    };
    let (user, client_id) = (name()?, name()?);
    let listener = std::str::from_utf8(rest).ok()?;
    let listener = (!listener.is_empty()).then(|| listener.into());
    let origin = Origin { listener, ..Origin::default() };
    Identity::new((*named == 1).then_some(user), client_id, &origin, Particulars::default()).ok()
}

impl Switch {
    /// Whose a retained message of a session is, where that is judged later: by names alone, which is all that stays.
    pub(crate) fn source(&self, id: SessionId) -> Option<&Identity> {
        self.gate.as_ref().filter(|gate| gate.desk.access.check_retain_source)?;
        let access = self.sessions.at(id).access.as_ref().filter(|access| access.asked.is_none())?;
        let identity = &*access.identity;
        (!identity.superuser && !identity.own_rules && identity.claims.is_empty()).then_some(identity)
    }

    /// Whether the publisher of a retained message might still publish it.
    pub(crate) fn may_still_publish(&self, source: &[u8], frame: &Frame<'_>) -> bool {
        let Some(gate) = self.gate.as_ref().filter(|gate| gate.desk.access.check_retain_source) else { return true };
        let judge =
            |who: Identity| gate.policy.topic(&who, Actions::PUBLISH, frame.topic).has(frames::qos(frame), true);
        read(source).is_some_and(judge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(user: Option<&str>, client_id: &str, listener: Option<&str>) -> (Option<String>, String, Option<String>) {
        let origin = Origin { listener: listener.map(Box::from), ..Origin::default() };
        let made = Identity::new(user, client_id, &origin, Particulars::default()).expect("no rules");
        let mut bytes = Vec::new();
        write(&made, &mut bytes);
        let (len, source) = bytes.split_first_chunk().expect("a length");
        assert_eq!(usize::from(u16::from_le_bytes(*len)), source.len());
        assert!((0..source.len()).all(|cut| cut > 5 || read(&source[..cut]).is_none() || source.len() == 5));
        let again = read(source).expect("it was written");
        let text = |name: &Option<Box<str>>| name.as_deref().map(str::to_owned);
        (text(&again.user), again.client_id.to_string(), text(&again.origin.listener))
    }

    /// Who published is read as it was written; no name at all is not an empty one, and who is called too long is nobody.
    #[test]
    fn sources_read_back() {
        let own = |text: &str| text.to_owned();
        assert_eq!(told(Some("alice"), "c", Some("inner")), (Some(own("alice")), own("c"), Some(own("inner"))));
        assert_eq!(told(None, "c", None), (None, own("c"), None));
        assert_eq!(told(Some(""), "", None), (Some(own("")), own(""), None));
        assert_eq!(told(Some("alice"), &"x".repeat(600), Some("inner")), (None, own(""), None));
        assert!(read(b"").is_none() && read(&[1, 9, 0, b'a']).is_none());
    }
}
