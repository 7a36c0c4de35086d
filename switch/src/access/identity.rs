//! Who a client is, what it says to prove that, and what comes of it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};
use wire::mqtt::ReasonCode;
use zeroize::Zeroizing;

use super::json;
use super::rules::Rule;

/// Claims of one identity that are kept, at most.
const CLAIMS_MAX: usize = 32;
/// Bytes of one claim that is kept, at most: rules name them as levels of topics.
const CLAIM_BYTES_MAX: usize = 256;
/// Bytes of an identity in the journal, at most.
const STORED_BYTES_MAX: usize = 32 << 10;

/// What a client says of itself. It is shown to back ends and forgotten with the verdict.
pub struct Credentials {
    /// The user name.
    pub user: Option<Box<str>>,
    /// The password; one that is missing is not an empty one.
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// The client identifier, that which the switch gave it where it brought none.
    pub client_id: Box<str>,
    /// Where it comes from.
    pub peer: IpAddr,
    /// Where it came in.
    pub listener: u16,
    /// Whence it comes.
    pub origin: Origin,
    /// Its listener lets clients in that name nobody.
    pub anonymous: bool,
}

/// Whence a client comes, as far as that matters later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The subject of its certificate.
    pub subject: Option<Box<str>>,
    /// What its listener is called, where that has anything of its own.
    pub listener: Option<Box<str>>,
    /// What the users of its listener are called after, where they are not those of all: another one of this name is
    /// somebody else.
    pub users: Option<Box<str>>,
    /// A service is asked about what it does (`access_acl_http`).
    pub asked: bool,
}

/// Secrets are not for logs, whoever prints this.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Who a client is, as a back end has it. Never changed: an authentication makes a new one.
pub struct Identity {
    /// The user name; absent: anonymous.
    pub user: Option<Box<str>>,
    /// The client identifier.
    pub client_id: Box<str>,
    /// What a token or a service says of it, by name.
    pub claims: Box<[(Box<str>, Box<str>)]>,
    /// Whence it comes.
    pub origin: Origin,
    /// Rules of its own, before all others.
    pub rules: Box<[Rule]>,
    /// It brought rules, be it none: what they do not allow is denied.
    pub own_rules: bool,
    /// No rule applies to it.
    pub superuser: bool,
    /// When its proof expires, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// Of which line of the password file it is, where that let it in.
    pub proof: Option<u64>,
    /// What the journal keeps of it.
    stored: Box<str>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// What a back end tells of a user, beside who it is.
#[derive(Clone, Debug, Default)]
pub struct Particulars {
    /// Claims.
    pub claims: Vec<(String, String)>,
    /// Rules, as JSON.
    pub rules: Option<Value>,
    /// No rule applies.
    pub superuser: bool,
    /// When the proof expires, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// What comes of an authentication.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The client is this one.
    Accepted(Arc<Identity>),
    /// It is not let in.
    Refused(ReasonCode),
}

/// An identity cannot be made of what a back end told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable(pub &'static str);

impl Identity {
    /// One that a back end has proved, or an anonymous one.
    ///
    /// # Errors
    /// Its rules are none, or it is too large to be kept.
    pub fn new(
        user: Option<&str>,
        client_id: &str,
        origin: &Origin,
        particulars: Particulars,
    ) -> Result<Identity, Unusable> {
        let Particulars { mut claims, rules, superuser, expires_ms } = particulars;
        claims.retain(|(_, value)| value.len() <= CLAIM_BYTES_MAX);
        claims.truncate(CLAIMS_MAX);
        let stored = stored(user, origin, &claims, rules.as_ref(), superuser, expires_ms);
        if stored.len() > STORED_BYTES_MAX {
            return Err(Unusable("claims and rules are too large"));
        }
        let compiled = rules.as_ref().map(json::rules).transpose()?;
        Ok(Identity {
            user: user.map(Box::from),
            client_id: client_id.into(),
            claims: claims.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            origin: origin.clone(),
            own_rules: compiled.is_some(),
            rules: compiled.unwrap_or_default().into(),
            superuser,
            expires_ms,
            proof: None,
            stored: stored.into(),
        })
    }

    /// Somebody who names nobody.
    pub fn anonymous(client_id: &str, origin: &Origin) -> Identity {
        Identity::new(None, client_id, origin, Particulars::default()).expect("it has neither claims nor rules")
    }

    /// The one that the journal keeps of a session. What cannot be read is anonymous, which may no more than anybody.
    pub fn restored(client_id: &str, stored: &str) -> Identity {
        let read = || {
            let value: Value = serde_json::from_str(stored).ok()?;
            let text = |key: &str| value.get(key).and_then(Value::as_str);
            let claims = value.get("claims").and_then(Value::as_object).into_iter().flatten();
            let claims = claims.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            let particulars = Particulars {
                claims: claims.collect(),
                rules: value.get("rules").cloned(),
                superuser: value.get("superuser").and_then(Value::as_bool).unwrap_or(false),
                expires_ms: value.get("expires_ms").and_then(Value::as_u64),
            };
            let own = |key| text(key).map(Box::from);
            let is = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
            let listener: Option<Box<str>> = own("listener");
            // Before listeners could share their users these were called after the listener alone.
            let users = own("users").or_else(|| listener.clone().filter(|_| is("own_users")));
            let origin = Origin { subject: own("subject"), listener, users, asked: is("asked") };
            Identity::new(text("user"), client_id, &origin, particulars).ok()
        };
        read().unwrap_or_else(|| Identity::anonymous(client_id, &Origin::default()))
    }

    /// What the journal keeps of it: one JSON object.
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// The value of a claim.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}

fn stored(
    user: Option<&str>,
    origin: &Origin,
    claims: &[(String, String)],
    rules: Option<&Value>,
    superuser: bool,
    expires_ms: Option<u64>,
) -> String {
    let mut object = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), value);
        }
    };
    put("user", user.map(Value::from));
    put("subject", origin.subject.as_deref().map(Value::from));
    put("listener", origin.listener.as_deref().map(Value::from));
    put("users", origin.users.as_deref().map(Value::from));
    put("asked", origin.asked.then_some(Value::Bool(true)));
    let claims: Map<String, Value> = claims.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    put("claims", (!claims.is_empty()).then_some(Value::Object(claims)));
    put("rules", rules.cloned());
    put("superuser", superuser.then_some(Value::Bool(true)));
    put("expires_ms", expires_ms.map(Value::from));
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An identity reads back from the journal as it was.
    #[test]
    fn identities_are_restored() {
        let particulars = Particulars {
            claims: vec![("room".into(), "7".into()), ("long".into(), "x".repeat(300))],
            rules: Some(serde_json::json!([{ "permission": "allow", "action": "all", "topic": "a/#" }])),
            superuser: false,
            expires_ms: Some(5000),
        };
        let (listener, users) = (Some("inner".into()), Some("outer".into()));
        let origin = Origin { subject: Some("CN=x".into()), listener, users, asked: true };
        let made = Identity::new(Some("al:ice"), "c", &origin, particulars).expect("good rules");
        let again = Identity::restored("c", made.stored());
        assert_eq!((again.user.as_deref(), again.claim("room")), (Some("al:ice"), Some("7")));
        assert_eq!((again.claim("long"), again.rules.len(), again.own_rules), (None, 1, true));
        assert_eq!((&again.origin, again.expires_ms), (&origin, Some(5000)));
        assert!(Identity::restored("c", "no JSON").user.is_none());
        let before = Identity::restored("c", r#"{"user":"u","listener":"inner","own_users":true}"#);
        assert_eq!(before.origin.users.as_deref(), Some("inner"));
    }

    /// Nobody who prints credentials prints a secret.
    #[test]
    fn credentials_print_nothing() {
        let credentials = Credentials {
            user: Some("alice".into()),
            password: Some(Zeroizing::new(b"secret".to_vec())),
            client_id: "client".into(),
            peer: IpAddr::from([127, 0, 0, 1]),
            listener: 0,
            origin: Origin::default(),
            anonymous: false,
        };
        let printed = format!("{credentials:?} {:?}", Identity::anonymous("client", &credentials.origin));
        assert!(!printed.contains("alice") && !printed.contains("secret") && !printed.contains("client"), "{printed}");
    }
}
