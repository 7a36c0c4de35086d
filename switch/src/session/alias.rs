//! Topic aliases of one connection, both ways ([MQTT-3.3.2-7]: they end with it).

use hashbrown::HashMap;

/// Topic aliases of one connection.
pub struct Aliases {
    /// What the client's aliases stand for; alias n at n - 1.
    from_client: Vec<Option<Box<str>>>,
    /// The aliases that we gave, by topic.
    to_client: HashMap<Box<str>, u16, ahash::RandomState>,
}

/// How a topic is written to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// By name.
    Name,
    /// By name, setting up an alias.
    Introduce(u16),
    /// By an alias that was set up, the name left empty.
    Known(u16),
}

impl Aliases {
    /// No aliases.
    pub fn new(hasher: ahash::RandomState) -> Aliases {
        Aliases { from_client: Vec::new(), to_client: HashMap::with_hasher(hasher) }
    }

    /// What the client's alias stands for.
    pub fn resolve(&self, alias: u16) -> Option<&str> {
        self.from_client.get(usize::from(alias).checked_sub(1)?)?.as_deref()
    }

    /// The client gives `alias`, which is within the announced maximum, to `topic`.
    pub fn set(&mut self, alias: u16, topic: &str) {
        let index = usize::from(alias) - 1;
        if self.from_client.len() <= index {
            self.from_client.resize(index + 1, None);
        }
        if self.from_client[index].as_deref() != Some(topic) {
            self.from_client[index] = Some(topic.into());
        }
    }

    /// How to write `topic` to a client that takes aliases up to `max` ([MQTT-3.3.2-11]). The first topics get them.
    pub fn give(&mut self, topic: &str, max: u16) -> Alias {
        if let Some(alias) = self.to_client.get(topic) {
            return Alias::Known(*alias);
        }
        let given = self.to_client.len() as u16;
        if given >= max {
            return Alias::Name;
        }
        self.to_client.insert(topic.into(), given + 1);
        Alias::Introduce(given + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aliases given stay within the client's maximum; those of the client are its own.
    #[test]
    fn aliases_both_ways() {
        let mut aliases = Aliases::new(ahash::RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!(aliases.give("a", 1), Alias::Introduce(1));
        assert_eq!(aliases.give("a", 1), Alias::Known(1));
        assert_eq!(aliases.give("b", 1), Alias::Name);
        assert_eq!(aliases.resolve(1), None);
        aliases.set(2, "x/y");
        assert_eq!((aliases.resolve(2), aliases.resolve(1), aliases.resolve(0)), (Some("x/y"), None, None));
    }
}
