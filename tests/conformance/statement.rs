//! The normative statements of both versions, by number.

use std::fs;
use std::sync::OnceLock;

use ringmain_tests::program::root;

/// A version of the protocol. The same numbers mean other things in the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// One statement.
pub struct Statement {
    /// Its number, such as `MQTT-3.1.0-2`.
    pub id: String,
    /// Whom it binds: `client`, `server` or `both`.
    pub binds: String,
    /// What it says, in other words.
    pub paraphrase: String,
}

impl Standard {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::V311, Self::V5];

    /// What cases write before a number.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::V311 => "v3.1.1",
            Self::V5 => "v5",
        }
    }

    /// The name as the standard has it.
    pub fn title(self) -> &'static str {
        match self {
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5.0",
        }
    }

    /// The folder of its cases, and the first part of the names of their trials.
    pub fn folder(self) -> &'static str {
        match self {
            Self::V311 => "v311",
            Self::V5 => "v5",
        }
    }

    /// Its statements, in the order of the standard.
    pub fn statements(self) -> &'static [Statement] {
        static TABLES: [OnceLock<Vec<Statement>>; 2] = [const { OnceLock::new() }; 2];
        TABLES[self as usize].get_or_init(|| {
            let file = match self {
                Self::V311 => "mqtt311.tsv",
                Self::V5 => "mqtt5.tsv",
            };
            read(file)
        })
    }

    /// The number in `v3.1.1 MQTT-3.1.0-2`, if this standard has it; what is wrong otherwise.
    pub fn statement(self, written: &str) -> Result<&str, String> {
        let id = written.strip_prefix(self.prefix()).and_then(|rest| rest.strip_prefix(' '));
        let known = id.filter(|id| self.statements().iter().any(|statement| statement.id == *id));
        known.ok_or_else(|| format!("`{written}` is no statement of {}: `{} MQTT-...`", self.title(), self.prefix()))
    }
}

fn read(file: &str) -> Vec<Statement> {
    let path = root().join("tests/conformance/statements").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows = text.lines().skip(1).map(|line| {
        let [id, binds, paraphrase] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{}: three columns are expected in {line:?}", path.display());
        };
        Statement { id: id.to_owned(), binds: binds.to_owned(), paraphrase: paraphrase.to_owned() }
    });
    rows.collect()
}
