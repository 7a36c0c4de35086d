//! One thing that was looked at: what it is, or why that is not known.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A fact, or the reason for which it is not known. Written as the value itself, or as `{"unknown": "why"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact<T> {
    /// It could not be read: it is not there, or there is no right to read it, or it is not understood.
    Unknown {
        /// Why, naming the place that was looked at.
        unknown: String,
    },
    /// It was read.
    Known(T),
}

impl<T> Fact<T> {
    /// A fact that is not known.
    pub fn unknown(why: impl Into<String>) -> Fact<T> {
        Fact::Unknown { unknown: why.into() }
    }

    /// The value, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::Unknown { .. } => None,
        }
    }

    /// Why it is not known, where it is not.
    pub fn why(&self) -> Option<&str> {
        match self {
            Fact::Known(_) => None,
            Fact::Unknown { unknown } => Some(unknown),
        }
    }

    /// What follows from it.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Fact<U> {
        self.then(|value| Fact::Known(of(value)))
    }

    /// What follows from it, where that need not be known either.
    pub fn then<U>(self, of: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Fact::Known(value) => of(value),
            Fact::Unknown { unknown } => Fact::Unknown { unknown },
        }
    }

    /// This fact, or where it is not known what another place says. If neither does, both reasons are kept.
    pub fn or_else(self, other: impl FnOnce() -> Fact<T>) -> Fact<T> {
        let Fact::Unknown { unknown: first } = self else { return self };
        match other() {
            Fact::Unknown { unknown } => Fact::unknown(format!("{first}; {unknown}")),
            known => known,
        }
    }
}

/// By way of JSON: what `derive` makes of an untagged enum whose values have more of them inside takes half a minute to
/// compile.
impl<'de, T: DeserializeOwned> Deserialize<'de> for Fact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fact<T>, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match value.as_object().filter(|map| map.len() == 1).and_then(|map| map.get("unknown")?.as_str()) {
            Some(why) => Ok(Fact::unknown(why)),
            None => T::deserialize(value).map(Fact::Known).map_err(D::Error::custom),
        }
    }
}

impl<T: Default + Clone> Fact<T> {
    /// The value, or the default of its type where it is not known. Only where doing nothing is right then.
    pub fn or_default(&self) -> T {
        self.known().cloned().unwrap_or_default()
    }
}

impl<T: std::fmt::Display> std::fmt::Display for Fact<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fact::Known(value) => value.fmt(f),
            Fact::Unknown { unknown } => write!(f, "unknown: {unknown}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known facts are written as they are and unknown ones say why; both come back.
    #[test]
    fn facts_are_written_as_they_are() {
        for (fact, text) in
            [(Fact::Known(7_u64), "7"), (Fact::unknown("proc/x is not there"), r#"{"unknown":"proc/x is not there"}"#)]
        {
            assert_eq!(serde_json::to_string(&fact).expect("text"), text);
            assert_eq!(serde_json::from_str::<Fact<u64>>(text).expect("a fact"), fact);
        }
    }

    /// Where two places know nothing, both are named.
    #[test]
    fn both_reasons_are_kept() {
        let fact = Fact::<u64>::unknown("a").or_else(|| Fact::unknown("b"));
        assert_eq!(fact.why(), Some("a; b"));
        assert_eq!(Fact::<u64>::unknown("a").or_else(|| Fact::Known(1)).known(), Some(&1));
    }
}
