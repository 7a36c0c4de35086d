//! Where values come from: the file and the environment, as lists of entries that nobody has judged yet.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::field::Raw;
use super::keys::{LISTENER, LISTENER_KEYS, LISTENERS_MAX, SECTIONS, Section};

/// What environment variables of the configuration begin with; `__` separates levels.
pub const ENVIRONMENT_PREFIX: &str = "RINGMAIN__";

/// Which table an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// The listener with this number, from 0.
    Listener(usize),
    /// The section with this number in [`SECTIONS`].
    Section(usize),
}

impl Table {
    /// The section of this name, which must be one of [`SECTIONS`].
    pub fn named(name: &str) -> Table {
        let index = SECTIONS.iter().position(|section| section.name == name);
        Table::Section(index.expect("a section of the table of keys"))
    }

    /// The section's definition; `None` for a listener.
    pub fn section(self) -> Option<&'static Section> {
        match self {
            Table::Listener(_) => None,
            Table::Section(index) => SECTIONS.get(index),
        }
    }

    /// The table and a key in it, as error messages name them: `limits.max_inflight`, `listener[0].bind`.
    pub fn path(self, key: &str) -> String {
        match self {
            Table::Listener(index) => format!("{LISTENER}[{index}].{key}"),
            Table::Section(index) => format!("{}.{key}", SECTIONS[index].name),
        }
    }

    fn key_names(self) -> Vec<&'static str> {
        match self.section() {
            None => LISTENER_KEYS.iter().map(|key| key.name).collect(),
            Some(section) => section.keys.iter().map(|key| key.name).collect(),
        }
    }

    /// The definition's own spelling of `key`.
    fn known(self, key: &str) -> Option<&'static str> {
        self.key_names().into_iter().find(|name| *name == key)
    }
}

/// One value that somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its table.
    pub table: Table,
    /// Its key, one that the table has.
    pub key: &'static str,
    /// The value.
    pub raw: Raw,
    /// The value as written, for messages.
    pub written: String,
    /// Where.
    pub origin: Origin,
}

/// What a source brought.
#[derive(Debug, Default)]
pub struct Source {
    /// Its values, in order.
    pub entries: Vec<Entry>,
    /// Where each listener that it names begins.
    pub listeners: Vec<Origin>,
    /// What is wrong with it.
    pub errors: Vec<ConfigError>,
}

/// Reads the text of a file; `path` is for messages.
pub fn from_file(path: &str, text: &str) -> Source {
    let mut reader = FileReader { path: path.into(), text, source: Source::default() };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = reader.origin(error.span().unwrap_or(0..0).start);
        reader.error(
            origin,
            "",
            None,
            format!("not TOML: {}", error.message()),
            "correct the syntax (https://toml.io)",
        );
    }
    if reader.source.errors.is_empty() {
        for (name, value) in root.get_ref() {
            reader.top(name.get_ref(), name.span().start, value);
        }
    }
    reader.source
}

struct FileReader<'a> {
    path: Arc<str>,
    text: &'a str,
    source: Source,
}

impl FileReader<'_> {
    /// One entry of the top level, which should be a section.
    fn top(&mut self, name: &str, start: usize, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(start);
        let section = SECTIONS.iter().position(|section| section.name == name);
        match (value.get_ref(), section) {
            (DeValue::Table(table), Some(index)) => self.table(Table::Section(index), table),
            (DeValue::Array(tables), None) if name == LISTENER => {
                for (index, element) in tables.iter().enumerate() {
                    let origin = self.origin(element.span().start);
                    let DeValue::Table(table) = element.get_ref() else {
                        return self.error(origin, LISTENER, None, "not a table".into(), "write [[listener]] tables");
                    };
                    if index == LISTENERS_MAX {
                        let what = format!("more than {LISTENERS_MAX} listeners");
                        return self.error(origin, LISTENER, None, what, "remove some");
                    }
                    self.source.listeners.push(origin);
                    self.table(Table::Listener(index), table);
                }
            }
            (DeValue::Table(_), None) if name == LISTENER => {
                self.error(origin, LISTENER, None, "a single table".into(), "write [[listener]] with two brackets");
            }
            (DeValue::Table(_) | DeValue::Array(_), None) => {
                let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).chain([LISTENER]).collect();
                let remedy = match nearest(name, &names) {
                    Some(near) => format!("did you mean [{near}]?"),
                    None => format!("the sections are {}", names.join(", ")),
                };
                self.error(origin, name, None, "unknown section".into(), remedy);
            }
            (_, Some(_)) => self.error(origin, name, None, "a section, not a value".into(), format!("write [{name}]")),
            (_, None) => {
                let written = self.written(value);
                let remedy = elsewhere(name).unwrap_or_else(|| "write keys below the [section] they belong to".into());
                self.error(origin, name, Some(written), "a key outside of any section".into(), remedy);
            }
        }
    }

    fn table(&mut self, table: Table, values: &DeTable<'_>) {
        for (name, value) in values {
            let (origin, written) = (self.origin(name.span().start), self.written(value));
            match table.known(name.get_ref()) {
                Some(key) => self.source.entries.push(Entry { table, key, raw: raw(value.get_ref()), written, origin }),
                None => self.source.errors.push(unknown_key(table, name.get_ref(), written, origin)),
            }
        }
    }

    fn error(&mut self, origin: Origin, key: &str, value: Option<String>, what: String, remedy: impl Into<String>) {
        self.source.errors.push(ConfigError { origin, key: key.into(), value, what, remedy: remedy.into() });
    }

    /// Line and column of a byte of the text.
    fn origin(&self, byte: usize) -> Origin {
        // The parser's spans begin at characters.
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Origin::File { path: self.path.clone(), line: line as u32, column: column as u32 }
    }

    fn written(&self, value: &Spanned<DeValue<'_>>) -> String {
        self.text.get(value.span()).unwrap_or_default().to_owned()
    }
}

/// A TOML value without its type's subtleties.
fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::Integer(integer) => {
            // The parser leaves only digits and a sign.
            let parsed = i128::from_str_radix(integer.as_str(), integer.radix());
            parsed.map_or(Raw::Other("a number of this size"), Raw::Integer)
        }
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Boolean(on) => Raw::Switch(*on),
        DeValue::Array(values) => {
            let words = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
            let tables = || values.iter().map(|value| strings_of(value.get_ref())).collect::<Option<Vec<_>>>();
            let words = words.collect::<Option<Vec<_>>>().map(Raw::Words).or_else(|| tables().map(Raw::Tables));
            words.unwrap_or(Raw::Other("an array of something else than strings"))
        }
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// The entries of a table that has strings alone.
fn strings_of(value: &DeValue<'_>) -> Option<Vec<(String, String)>> {
    let DeValue::Table(table) = value else { return None };
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        Some((key.to_string(), value.get_ref().as_str()?.to_owned()))
    };
    table.iter().map(entry).collect()
}

/// Reads environment variables, in the order of their names; others than those of the configuration are passed over.
pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Source {
    let mut variables: Vec<(String, String)> =
        variables.into_iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    variables.sort();
    let mut source = Source::default();
    for (name, value) in variables {
        match environment_entry(&name, value) {
            Ok(entry) => {
                if let Table::Listener(index) = entry.table {
                    let count = source.listeners.len().max(index + 1);
                    source.listeners.resize(count, entry.origin.clone());
                }
                source.entries.push(entry);
            }
            Err(error) => source.errors.push(*error),
        }
    }
    source
}

fn environment_entry(name: &str, value: String) -> Result<Entry, Box<ConfigError>> {
    let origin = Origin::Environment(name.to_owned());
    let levels: Vec<String> = name[ENVIRONMENT_PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
    let refuse = |what: &str, remedy: String| {
        let (origin, key, value) = (origin.clone(), levels.join("."), Some(value.clone()));
        Box::new(ConfigError { origin, key, value, what: what.into(), remedy })
    };
    let (table, key) = match levels.as_slice() {
        [section, index, key] if section == LISTENER => match index.parse::<usize>() {
            Ok(index) if index < LISTENERS_MAX => (Table::Listener(index), key),
            _ => {
                let remedy = format!("listeners are numbered from 0 to {}", LISTENERS_MAX - 1);
                return Err(refuse("no such listener number", remedy));
            }
        },
        [section, _] if section == LISTENER => {
            return Err(refuse("no listener number", format!("write {ENVIRONMENT_PREFIX}LISTENER__0__BIND")));
        }
        [section, key] => match SECTIONS.iter().position(|known| known.name == section) {
            Some(index) => (Table::Section(index), key),
            None => {
                let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).chain([LISTENER]).collect();
                let near = nearest(section, &names).map_or_else(
                    || format!("the sections are {}", names.join(", ")),
                    |near| format!("did you mean {ENVIRONMENT_PREFIX}{}__?", near.to_ascii_uppercase()),
                );
                return Err(refuse("unknown section", near));
            }
        },
        _ => {
            let remedy = format!("write {ENVIRONMENT_PREFIX}SECTION__KEY or {ENVIRONMENT_PREFIX}LISTENER__0__KEY");
            return Err(refuse("not a key of the configuration", remedy));
        }
    };
    match table.known(key) {
        Some(key) => Ok(Entry { table, key, raw: Raw::Bare(value.clone()), written: value, origin }),
        None => Err(Box::new(unknown_key(table, key, value, origin))),
    }
}

/// The error for a key that its table does not have, with the nearest one that there is.
fn unknown_key(table: Table, key: &str, written: String, origin: Origin) -> ConfigError {
    let names = table.key_names();
    let remedy = match (elsewhere(key), nearest(key, &names)) {
        (Some(place), _) => place,
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => format!("the keys here are {}", names.join(", ")),
    };
    ConfigError { origin, key: table.path(key), value: Some(written), what: "unknown key".into(), remedy }
}

/// Where a key belongs, if some table has it.
fn elsewhere(key: &str) -> Option<String> {
    if LISTENER_KEYS.iter().any(|known| known.name == key) {
        return Some(format!("`{key}` belongs in [[{LISTENER}]]"));
    }
    let section = SECTIONS.iter().find(|section| section.keys.iter().any(|known| known.name == key))?;
    Some(format!("`{key}` belongs in [{}]", section.name))
}

/// The known name that somebody probably meant: a third of its letters may be wrong.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(name, candidate);
    let near = known.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(near) <= near.len().div_ceil(3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_error(text: &str) -> String {
        let source = from_file("f.toml", text);
        assert_eq!(source.errors.len(), 1, "{:?}", source.errors);
        source.errors[0].to_string()
    }

    /// A misspelt key is refused at its place, with the one that was meant.
    #[test]
    fn misspelt_keys_get_a_suggestion() {
        assert_eq!(
            only_error("[limits]\n  max_packet_sise = \"1MB\"\n"),
            "f.toml:2:3: limits.max_packet_sise = \"1MB\": unknown key\n  remedy: did you mean `max_packet_size`?"
        );
        assert!(only_error("[limit]\nx = 1\n").ends_with("unknown section\n  remedy: did you mean [limits]?"));
        assert!(only_error("[node]\nmax_inflight = 1\n").ends_with("remedy: `max_inflight` belongs in [limits]"));
        assert!(only_error("[log]\nzzzzzz = 1\n").ends_with("remedy: the keys here are level, max_rate"));
    }

    /// Mistakes in the shape of the file say what to write.
    #[test]
    fn wrong_shapes_get_a_remedy() {
        assert!(only_error("[listener]\nbind = \"[::1]:1\"\n").ends_with("write [[listener]] with two brackets"));
        assert!(only_error("log = 1").ends_with("write [log]"));
        assert!(only_error("max_keepalive = 1").ends_with("`max_keepalive` belongs in [limits]"));
        assert!(only_error("[log\nlevel = 1").starts_with("f.toml:1:"));
        assert!(only_error("[log]\nlevel = 1\nlevel = 2\n").contains("f.toml:3:1: not TOML: duplicate key"));
    }

    /// Variables name tables and keys with `__` between the levels, and listeners by number.
    #[test]
    fn environment_names() {
        let of = |name: &str| from_environment([(name.to_owned(), "v".to_owned()), ("HOME".into(), "/".into())]);
        let good = of("RINGMAIN__LISTENER__1__BIND");
        assert_eq!((good.entries[0].table, good.entries[0].key), (Table::Listener(1), "bind"));
        assert_eq!(good.listeners.len(), 2);
        assert_eq!(of("RINGMAIN__LIMITS__MAX_INFLIGHT").entries[0].key, "max_inflight");
        for (wrong, remedy) in [
            ("RINGMAIN__LIMITS__MAX_INFLIHGT", "did you mean `max_inflight`?"),
            ("RINGMAIN__LIMIT__MAX_INFLIGHT", "did you mean RINGMAIN__LIMITS__?"),
            ("RINGMAIN__LISTENER__BIND", "write RINGMAIN__LISTENER__0__BIND"),
            ("RINGMAIN__LISTENER__64__BIND", "listeners are numbered from 0 to 63"),
            ("RINGMAIN__BIND", "write RINGMAIN__SECTION__KEY or RINGMAIN__LISTENER__0__KEY"),
        ] {
            assert_eq!(of(wrong).errors[0].remedy, remedy);
        }
    }
}
