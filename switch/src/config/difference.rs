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
    /// Whether a reload applies it.
    pub live: bool,
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
        found.push(Difference { origin, key, in_effect: count(were), read: count(are), live: false });
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
            let (origin, path) = (read.origin(table, key.name), table.path(key.name));
            found.push(Difference { origin, key: path, in_effect, read: now, live: key.live });
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let (old, new) = (show(&self.in_effect), show(&self.read));
        match &self.origin {
            Origin::Default => write!(f, "{} was {old}, is {new} now", self.key),
            origin => write!(f, "{origin}: {} was {old}, is {new} now", self.key),
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
        assert!(told("[limits]\nmax_packet_size = 1024", "[limits]\nmax_packet_size = \"1KiB\"").is_empty());
        assert_eq!(
            told(
                "[limits]\nmax_inflight = 5\n[log]\nlevel = \"warn\"",
                "\n[limits]\nmax_inflight = 6\n[node]\nshards = 3"
            ),
            [
                "f.toml:5:1: node.shards was nothing, is 3 now",
                "f.toml:3:1: limits.max_inflight was 5, is 6 now",
                "log.level was \"warn\", is \"info\" now"
            ]
        );
    }

    /// What a listener shows and asks for by TLS is applied by a reload, and nothing else.
    #[test]
    fn some_keys_are_live() {
        let listener = |keys: &str| {
            let text = format!("[[listener]]\nbind = \"127.0.0.1:1\"\ntransport = \"tls\"\nkey = \"k\"\n{keys}");
            of(&text)
        };
        let old = listener("certificate = \"a\"");
        let new = listener("certificate = \"b\"\nmin_tls_version = \"1.3\"\nmax_connections = 5");
        let found: Vec<_> = differences(&old, &new).into_iter().map(|found| (found.key, found.live)).collect();
        let expected = [("max_connections", false), ("certificate", true), ("min_tls_version", true)];
        assert_eq!(found, expected.map(|(key, live)| (format!("listener[0].{key}"), live)));
    }

    /// Listeners are compared in their order, and their number is told.
    #[test]
    fn listeners_are_compared_by_place() {
        let one = "[[listener]]\nbind = \"127.0.0.1:1\"\n";
        let other = "[[listener]]\nbind = \"127.0.0.1:2\"\npath = \"/mqtt\"\n";
        assert_eq!(told(one, other), ["f.toml:2:1: listener[0].bind was \"127.0.0.1:1\", is \"127.0.0.1:2\" now"]);
        assert_eq!(told(one, &format!("{one}{other}")), ["[[listener]] was 1 of them, is 2 of them now"]);
    }
}
