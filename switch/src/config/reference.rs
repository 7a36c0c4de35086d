//! The keys in writing: docs/configuration.md, the annotated `ringmain.toml`, and what `ringmain check` prints.

use std::fmt::Write;

use super::error::Origin;
use super::field::Kind;
use super::keys::{Key, LISTENER_DOC, LISTENER_KEYS, SECTIONS};
use super::load::Configuration;
use super::settings::{Listener, Settings};
use super::source::Table;

/// Columns of generated comments.
const WIDTH: usize = 100;

/// The configuration reference, docs/configuration.md.
pub fn markdown() -> String {
    let mut out = String::from(MARKDOWN_HEAD);
    let mut listener = Listener::default();
    markdown_section(&mut out, "`[[listener]]`", LISTENER_DOC, LISTENER_KEYS, &mut listener);
    let mut settings = Settings::default();
    for section in SECTIONS {
        markdown_section(&mut out, &format!("`[{}]`", section.name), section.doc, section.keys, &mut settings);
    }
    out
}

const MARKDOWN_HEAD: &str = "\
# Configuration

<!-- Generated from switch/src/config/keys.rs by `make docs`; a test checks that it is current. -->

Ringmain needs no configuration to serve MQTT on loopback. It reads, later ones over earlier ones:

1. the defaults below;
2. the TOML file named by `-c FILE`;
3. environment variables: `RINGMAIN__SECTION__KEY`, for listeners `RINGMAIN__LISTENER__0__BIND`, lists separated by commas;
4. command line flags.

`ringmain check -c FILE` prints the configuration in effect, where each value comes from, and the memory that it bounds.
Unknown keys are refused, with the nearest known one. A change takes effect at the next start, or
where it says so by `ringmain reload`, which also reads again the files that keys name.

| value | written |
|---|---|
| size | `\"64KiB\"`, `\"1MB\"` (B, KB, MB, GB by 1000; KiB, MiB, GiB by 1024), or a number of bytes |
| duration | `\"50us\"`, `\"500ms\"`, `\"5s\"`, `\"2m\"`, `\"1h\"`, `\"7d\"`; the unit is required |
| rate | `\"1000/s\"` |
| cores | `\"0,2-5\"`, the kernel's numbers |
";

fn markdown_section<T>(out: &mut String, title: &str, doc: &str, keys: &[Key<T>], defaults: &mut T) {
    let _ = write!(out, "\n## {title}\n\n{doc}\n\n| key | default | range | what it does |\n|---|---|---|---|\n");
    for key in keys {
        let default = match (key.at)(defaults).show(&key.kind) {
            Some(value) => format!("`{value}`"),
            None => key.absent.unwrap_or_default().to_owned(),
        };
        let _ = writeln!(out, "| `{}` | {default} | {} | {} |", key.name, range(&key.kind), prose(key));
    }
}

/// What a key does, and when another value takes effect.
fn prose<T>(key: &Key<T>) -> String {
    if key.live { format!("{} Applied by a reload.", key.doc) } else { key.doc.to_owned() }
}

/// The values that a key takes, in few words.
fn range(kind: &Kind) -> String {
    let show = |bounds: &std::ops::RangeInclusive<u64>, show: &dyn Fn(u64) -> String| {
        format!("{} to {}", show(*bounds.start()), show(*bounds.end()))
    };
    match kind {
        Kind::Count(bounds) => show(bounds, &|count| count.to_string()),
        Kind::Bytes(bounds) => show(bounds, &super::value::show_bytes),
        Kind::Duration(bounds) => {
            show(bounds, &|millis| super::value::show_duration(std::time::Duration::from_millis(millis)))
        }
        Kind::Rate(bounds) => show(bounds, &super::value::show_rate),
        Kind::Switch => "true, false".to_owned(),
        Kind::Choice(words, _) => words.join(", "),
        Kind::Endpoint => "address:port".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Networks(count_max) => format!("at most {count_max} ranges"),
        Kind::Cores => "cores".to_owned(),
        Kind::Words(count_max) => format!("at most {count_max} strings"),
        Kind::Path => "directory".to_owned(),
        Kind::File => "file".to_owned(),
        Kind::KeyPairs(count_max) => format!("at most {count_max} pairs of files"),
        Kind::Url => "URL".to_owned(),
    }
}

/// The annotated file: every key with its documentation, all values commented out as they are the defaults.
pub fn annotated_toml() -> String {
    let mut out = String::from(TOML_HEAD);
    for (i, listener) in Listener::loopback().iter_mut().enumerate() {
        let _ = writeln!(out, "\n{}[[listener]]", if i == 0 { comment(LISTENER_DOC) } else { String::new() });
        toml_keys(&mut out, LISTENER_KEYS, listener, i == 0);
    }
    let mut settings = Settings::default();
    for section in SECTIONS {
        let _ = writeln!(out, "\n{}[{}]", comment(section.doc), section.name);
        toml_keys(&mut out, section.keys, &mut settings, true);
    }
    out
}

const TOML_HEAD: &str = "\
# The configuration of Ringmain, with every key at its default. Generated from the definitions by `make docs`.
# Lines that begin with `#key` show a default; remove the `#` to change it. `ringmain check -c FILE` tells what is in
# effect. Environment variables (RINGMAIN__SECTION__KEY) and flags go before the file.
";

fn toml_keys<T>(out: &mut String, keys: &[Key<T>], values: &mut T, annotate: bool) {
    for key in keys {
        if annotate {
            let _ = write!(out, "\n{}", comment(&prose(key)));
        }
        let absent = key.absent.unwrap_or_default();
        let _ = match (key.at)(values).show(&key.kind) {
            // A listener is nothing without its address.
            Some(value) if key.absent == Some("required") => writeln!(out, "{} = {value}", key.name),
            Some(value) => writeln!(out, "#{} = {value}", key.name),
            None if annotate => writeln!(out, "#{} = {}  # default: {absent}", key.name, example(&key.kind)),
            None => Ok(()),
        };
    }
}

/// A value for a key that has none by default.
fn example(kind: &Kind) -> &'static str {
    match kind {
        Kind::Switch => "true",
        Kind::Cores => "\"0,2-5\"",
        Kind::Endpoint => "\"127.0.0.1:1883\"",
        Kind::Text => "\"apps\"",
        Kind::Path => "\"/var/lib/ringmain\"",
        Kind::File => "\"/etc/ringmain/FILE\"",
        Kind::Url => "\"https://auth.example/check\"",
        _ => "2",
    }
}

/// Prose as comment lines.
fn comment(prose: &str) -> String {
    let mut out = String::new();
    let mut line = String::from("#");
    for word in prose.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = String::from("#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(out, "{line}");
    out
}

/// The configuration in effect, as a file that would bring it about, with the place where each value was written.
pub fn effective(configuration: &Configuration) -> String {
    let mut settings = configuration.settings.clone();
    let mut lines: Vec<(String, String)> = Vec::new();
    for (index, listener) in settings.listeners.iter_mut().enumerate() {
        lines.push(("[[listener]]".into(), String::new()));
        effective_keys(&mut lines, configuration, Table::Listener(index), LISTENER_KEYS, listener);
    }
    for (index, section) in SECTIONS.iter().enumerate() {
        lines.push((format!("[{}]", section.name), String::new()));
        effective_keys(&mut lines, configuration, Table::Section(index), section.keys, &mut settings);
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(60);
    let mut out = String::new();
    for (line, note) in lines {
        let blank = if note.is_empty() && !out.is_empty() { "\n" } else { "" };
        let _ = match note.as_str() {
            "" => writeln!(out, "{blank}{line}"),
            note => writeln!(out, "{line:<width$}  # {note}"),
        };
    }
    out
}

fn effective_keys<T>(
    lines: &mut Vec<(String, String)>,
    configuration: &Configuration,
    table: Table,
    keys: &[Key<T>],
    values: &mut T,
) {
    for key in keys {
        let note = match configuration.origin(table, key.name) {
            Origin::Default => "default".to_owned(),
            Origin::File { path, line, .. } => format!("{path}:{line}"),
            other => other.to_string(),
        };
        lines.push(match (key.at)(values).show(&key.kind) {
            Some(value) => (format!("{} = {value}", key.name), note),
            None => (format!("# {}", key.name), format!("default: {}", key.absent.unwrap_or_default())),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, source};

    /// The annotated file is the default configuration, and stays so when every default is made explicit.
    #[test]
    fn annotated_file_is_the_default() {
        let read = |text: &str| {
            let file = source::from_file("ringmain.toml", text);
            let merged = Configuration::merge(file, source::Source::default(), &Flags::default());
            let mut settings = merged.unwrap_or_else(|errors| panic!("{errors}")).settings;
            settings.listeners.iter_mut().for_each(|listener| listener.optional = true);
            settings
        };
        let annotated = annotated_toml();
        assert_eq!(read(&annotated), Settings::default());
        let explicit: String = annotated
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) && !rest.contains("# default:") => {
                    rest
                }
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(read(&explicit), Settings::default());
    }

    /// What `ringmain check` prints is a file that brings about the same settings.
    #[test]
    fn effective_configuration_reads_back() {
        let text = "[[listener]]\nbind = \"0.0.0.0:1884\"\nallow_anonymous = true\n[node]\ncores = \"0,2-5\"\n\
                    [limits]\nmax_keepalive = \"90s\"\n[placement]\nrules = [\"room/+/#\"]\n[sys]\ninterval = \"0s\"\n";
        let load = |text: &str| {
            let file = source::from_file("a.toml", text);
            Configuration::merge(file, source::Source::default(), &Flags::default()).expect("a good file")
        };
        let first = load(text);
        assert_eq!(load(&effective(&first)).settings, first.settings);
    }

    /// The generated files in the tree are those that the definitions give; `make docs` writes them.
    #[test]
    fn generated_files_are_current() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        for (path, text) in [("docs/configuration.md", markdown()), ("ringmain.toml", annotated_toml())] {
            let found = std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_default();
            assert!(found == text, "{path} is not current: run `make docs`");
        }
    }
}
