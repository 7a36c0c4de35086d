//! What a configuration that is read again says otherwise than the one in effect.

use std::fmt;

use super::error::Origin;
use super::keys::{Key, LISTENER, LISTENER_KEYS, SECTIONS};
use super::load::Configuration;
use super::settings::Listener;
use super::source::Table;

/// One key that has another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where the new value was written.
    pub origin: Origin,
    /// Which key, with its section: `limits.max_inflight`.
    pub key: String,
    /// The value in effect, as it would be written; absent: none.
    pub in_effect: Option<String>,
    /// The value that was read.
    pub read: Option<String>,
}

/// Every key whose value in `read` is another one than that `in_effect`, in the order of the reference. Listeners are
/// told apart by their place.
pub fn differences(in_effect: &Configuration, read: &Configuration) -> Vec<Difference> {
    let mut found = Vec::new();
    let (mut old, mut new) = (in_effect.settings.clone(), read.settings.clone());
    let (were, are) = (old.listeners.len(), new.listeners.len());
    if were != are {
        let (key, origin) = (format!("[[{LISTENER}]]"), Origin::Default);
        let count = |count: usize| Some(format!("{count} of them"));
        found.push(Difference { origin, key, in_effect: count(were), read: count(are) });
    }
    let pairs = old.listeners.iter_mut().zip(&mut new.listeners).enumerate();
    for (index, (old, new)) in pairs {
        of_keys::<Listener>(&mut found, read, Table::Listener(index), LISTENER_KEYS, (old, new));
    }
    for (index, section) in SECTIONS.iter().enumerate() {
        of_keys(&mut found, read, Table::Section(index), section.keys, (&mut old, &mut new));
    }
    found
}

fn of_keys<T>(
    found: &mut Vec<Difference>,
    read: &Configuration,
    table: Table,
    keys: &[Key<T>],
    (old, new): (&mut T, &mut T),
) {
    for key in keys {
        let [in_effect, now] = [&mut *old, &mut *new].map(|values| (key.at)(values).show(&key.kind));
        if in_effect != now {
            let (origin, key) = (read.origin(table, key.name), table.path(key.name));
            found.push(Difference { origin, key, in_effect, read: now });
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let (old, new) = (show(&self.in_effect), show(&self.read));
        match &self.origin {
            Origin::Default => write!(f, "{} is {old} in effect, {new} now", self.key),
            origin => write!(f, "{origin}: {} is {old} in effect, {new} now", self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, source};

    fn of(text: &str) -> Configuration {
        let file = source::from_file("f.toml", text);
        Configuration::merge(file, source::Source::default(), &Flags::default()).expect("a good file")
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        differences(&of(old), &of(new)).iter().map(ToString::to_string).collect()
    }

    /// What is written otherwise and means the same is no difference; each that is one is told with its place.
    #[test]
    fn values_are_compared_and_not_their_text() {
        assert!(told("", "[limits]\nmax_inflight = 32").is_empty() == (of("").settings.limits.max_inflight == 32));
        assert!(told("[limits]\nmax_packet_size = 1024", "[limits]\nmax_packet_size = \"1KiB\"").is_empty());
        assert_eq!(
            told(
                "[limits]\nmax_inflight = 5\n[log]\nlevel = \"warn\"",
                "\n[limits]\nmax_inflight = 6\n[node]\nshards = 3"
            ),
            [
                "f.toml:4:1: node.shards is nothing in effect, 3 now",
                "f.toml:3:1: limits.max_inflight is 5 in effect, 6 now",
                "log.level is \"warn\" in effect, \"info\" now"
            ]
        );
    }

    /// Listeners are compared in their order, and their number is told.
    #[test]
    fn listeners_are_compared_by_place() {
        let one = "[[listener]]\nbind = \"127.0.0.1:1\"\n";
        let other = "[[listener]]\nbind = \"127.0.0.1:2\"\npath = \"/mqtt\"\n";
        assert_eq!(
            told(one, other),
            ["f.toml:2:1: listener[0].bind is \"127.0.0.1:1\" in effect, \"127.0.0.1:2\" now"]
        );
        assert_eq!(told(one, &format!("{one}{other}")), ["[[listener]] is 1 of them in effect, 2 of them now"]);
    }
}
