//! How one value is read into its place and written out again.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shard::listen::Endpoint;

use super::network::Network;
use super::settings::KeyPair;
use super::value::{self, CoreList};

/// How the value of a key is written, and what it may be.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A whole number.
    Count(RangeInclusive<u64>),
    /// A number of bytes: `"64KiB"`, `"1MB"` or a bare number.
    Bytes(RangeInclusive<u64>),
    /// A time in milliseconds at the finest: `"500ms"`, `"5s"`, `"2m"`, `"1h"`, `"7d"`. The range is in milliseconds.
    Duration(RangeInclusive<u64>),
    /// A number in each second: `"1000/s"`.
    Rate(RangeInclusive<u64>),
    /// `true` or `false`.
    Switch,
    /// One word of these; the second list is known but not in this version.
    Choice(&'static [&'static str], &'static [&'static str]),
    /// `"ADDRESS:PORT"`, or the path of a Unix socket.
    Endpoint,
    /// Any text without control characters.
    Text,
    /// A list of ranges of addresses; at most so many.
    Networks(usize),
    /// A list of cores such as `"0,2-5"`.
    Cores,
    /// A list of words; at most so many.
    Words(usize),
    /// A directory.
    Path,
    /// A file that is read.
    File,
    /// Certificates, each with its key; at most so many.
    KeyPairs(usize),
    /// The address of a service, for HTTP.
    Url,
}

impl Kind {
    /// What to write, as a noun phrase for error messages and the reference.
    pub fn wanted(&self) -> String {
        match self {
            Kind::Count(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Kind::Bytes(range) => format!(
                "a size such as \"64KiB\" or \"1MB\", from {} to {}",
                value::show_bytes(*range.start()),
                value::show_bytes(*range.end())
            ),
            Kind::Duration(range) => {
                let show = |millis: &u64| value::show_duration(Duration::from_millis(*millis));
                let (from, to) = (show(range.start()), show(range.end()));
                format!("a duration such as \"500ms\", \"5s\" or \"1h\", from {from} to {to}")
            }
            Kind::Rate(range) => format!("a rate such as \"1000/s\", from {}/s to {}/s", range.start(), range.end()),
            Kind::Switch => "true or false".to_owned(),
            Kind::Choice(words, _) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(" or ")
            }
            Kind::Endpoint => "an address and a port such as \"127.0.0.1:1883\" or \"[::1]:1883\"".to_owned(),
            Kind::Text => "a text in quotes".to_owned(),
            Kind::Networks(_) => "a list of addresses or ranges such as [\"10.0.0.0/8\", \"::1\"]".to_owned(),
            Kind::Cores => "a list of cores such as \"0,2-5\"".to_owned(),
            Kind::Words(_) => "a list of strings such as [\"room/+/#\"]".to_owned(),
            Kind::File => "a file such as \"/etc/ringmain/passwords\"".to_owned(),
            Kind::KeyPairs(_) => "a list such as [{ certificate = \"a.crt\", key = \"a.key\" }]".to_owned(),
            Kind::Url => "a URL such as \"https://auth.example/check\"".to_owned(),
            Kind::Path => "a directory such as \"/var/lib/ringmain\"".to_owned(),
        }
    }
}

/// A value as it was written, before anybody knows what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A TOML integer.
    Integer(i128),
    /// A TOML string.
    Text(String),
    /// A TOML boolean.
    Switch(bool),
    /// A TOML array of strings.
    Words(Vec<String>),
    /// A TOML array of tables whose values are strings.
    Tables(Vec<Vec<(String, String)>>),
    /// Text without a type, from the environment or a flag; what it is depends on the key.
    Bare(String),
    /// Something else, by the name of its type.
    Other(&'static str),
}

impl Raw {
    fn text(&self) -> Option<&str> {
        match self {
            Raw::Text(text) | Raw::Bare(text) => Some(text),
            _ => None,
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Raw::Integer(_) => "an integer",
            Raw::Text(_) | Raw::Bare(_) => "a string",
            Raw::Switch(_) => "a boolean",
            Raw::Words(_) | Raw::Tables(_) => "an array",
            Raw::Other(name) => name,
        }
    }
}

/// A word out of a closed list.
pub trait Choice {
    /// Takes one of the words of the key's [`Kind::Choice`]; they are already known to be right.
    fn choose(&mut self, word: &str);
    /// The word for the present value.
    fn word(&self) -> &'static str;
}

/// Declares a choice of words: the enumeration, its words, and both directions.
macro_rules! choice_of_words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[$what:meta])+ $variant:ident => $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $($(#[$what])+ $variant,)+
        }

        impl $name {
            /// The words.
            pub const WORDS: &[&str] = &[$($word),+];
        }

        impl $crate::config::field::Choice for $name {
            fn choose(&mut self, word: &str) {
                *self = match word {
                    $($word => $name::$variant,)+
                    _ => *self,
                };
            }

            fn word(&self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }
    };
}

pub(super) use choice_of_words;

/// The place of a value in the settings.
pub enum Field<'a> {
    /// A number.
    U8(&'a mut u8),
    /// A number.
    U16(&'a mut u16),
    /// A number.
    U32(&'a mut u32),
    /// A number.
    U64(&'a mut u64),
    /// A number that may be absent: the program decides then.
    MaybeU16(&'a mut Option<u16>),
    /// A yes or no.
    Switch(&'a mut bool),
    /// A yes or no that may be absent.
    MaybeSwitch(&'a mut Option<bool>),
    /// A time.
    Duration(&'a mut Duration),
    /// A time in whole seconds.
    Seconds(&'a mut u16),
    /// Where a listener is; may be absent.
    Endpoint(&'a mut Option<Endpoint>),
    /// A text.
    Text(&'a mut String),
    /// A text that may be absent.
    MaybeText(&'a mut Option<String>),
    /// A number that may be absent.
    MaybeU32(&'a mut Option<u32>),
    /// Ranges of addresses.
    Networks(&'a mut Vec<Network>),
    /// Cores that may be absent: all allowed ones then.
    Cores(&'a mut Option<CoreList>),
    /// Words.
    Words(&'a mut Vec<String>),
    /// A directory.
    Path(&'a mut PathBuf),
    /// A directory that may be absent.
    MaybePath(&'a mut Option<PathBuf>),
    /// Certificates with their keys.
    KeyPairs(&'a mut Vec<KeyPair>),
    /// A word out of a closed list.
    Choice(&'a mut dyn Choice),
}

/// Why a value cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub what: String,
    /// What to write instead, where that is more than the kind's own phrase.
    pub remedy: Option<String>,
}

impl Refused {
    fn because(what: impl Into<String>) -> Refused {
        Refused { what: what.into(), remedy: None }
    }
}

impl Field<'_> {
    /// Reads `raw` as `kind` into this place.
    pub fn read(self, kind: &Kind, raw: &Raw) -> Result<(), Refused> {
        match (kind, self) {
            (Kind::Count(range), field) => field.store(within(range, count(raw)?)?),
            (Kind::Bytes(range), field) => field.store(within(range, size(raw)?)?),
            (Kind::Rate(range), field) => field.store(within(range, rate(raw)?)?),
            (Kind::Duration(range), Field::Duration(place)) => {
                let duration = duration(raw)?;
                *place = duration;
                let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                within(range, millis).map(drop)
            }
            (Kind::Duration(range), Field::Seconds(place)) => {
                let duration = duration(raw)?;
                within(range, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))?;
                if duration.subsec_nanos() != 0 {
                    return Err(Refused::because("whole seconds are wanted here"));
                }
                *place = u16::try_from(duration.as_secs()).map_err(|_| Refused::because("out of range"))?;
                Ok(())
            }
            (Kind::Switch, Field::Switch(place)) => switch(raw).map(|on| *place = on),
            (Kind::Switch, Field::MaybeSwitch(place)) => switch(raw).map(|on| *place = Some(on)),
            (Kind::Choice(words, later), Field::Choice(place)) => {
                choice(words, later, raw).map(|word| place.choose(word))
            }
            (Kind::Endpoint, Field::Endpoint(place)) => endpoint(raw).map(|endpoint| *place = Some(endpoint)),
            (Kind::Text, Field::Text(place)) => text(raw).map(|text| *place = text),
            (Kind::Text | Kind::Url, Field::MaybeText(place)) => text(raw).map(|text| *place = Some(text)),
            (Kind::Networks(count_max), Field::Networks(place)) => networks(raw, *count_max).map(|list| *place = list),
            (Kind::Cores, Field::Cores(place)) => cores(raw).map(|list| *place = Some(list)),
            (Kind::Words(count_max), Field::Words(place)) => words(raw, *count_max).map(|list| *place = list),
            (Kind::Path, Field::Path(place)) => path(raw).map(|path| *place = path),
            (Kind::Path | Kind::File, Field::MaybePath(place)) => path(raw).map(|path| *place = Some(path)),
            (Kind::KeyPairs(count_max), Field::KeyPairs(place)) => {
                key_pairs(raw, *count_max).map(|pairs| *place = pairs)
            }
            (kind, _) => unreachable!("the table of keys gives a place of another type to {kind:?}"),
        }
    }

    /// The value as it would be written in the file; `None` where it is absent.
    pub fn show(self, kind: &Kind) -> Option<String> {
        let quoted = |text: String| Some(format!("\"{text}\""));
        match (kind, self) {
            (Kind::Bytes(_), field) => quoted(value::show_bytes(field.load()?)),
            (Kind::Rate(_), field) => quoted(value::show_rate(field.load()?)),
            (_, Field::Duration(place)) => quoted(value::show_duration(*place)),
            (_, Field::Seconds(place)) => quoted(value::show_duration(Duration::from_secs(u64::from(*place)))),
            (_, Field::Switch(place)) => Some(place.to_string()),
            (_, Field::MaybeSwitch(place)) => place.map(|on| on.to_string()),
            (_, Field::Endpoint(place)) => place.as_ref().map(|endpoint| quoted_text(&endpoint.to_string())),
            (_, Field::Text(place)) => Some(quoted_text(place)),
            (_, Field::MaybeText(place)) => place.as_deref().map(quoted_text),
            (_, Field::Networks(place)) => {
                let words: Vec<String> = place.iter().map(|network| format!("\"{network}\"")).collect();
                Some(format!("[{}]", words.join(", ")))
            }
            (_, Field::Cores(place)) => quoted(place.as_ref()?.to_string()),
            (_, Field::Choice(place)) => quoted(place.word().to_owned()),
            (_, Field::Path(place)) => Some(quoted_path(place)),
            (_, Field::MaybePath(place)) => place.as_deref().map(quoted_path),
            (_, Field::KeyPairs(place)) => {
                let show = |pair: &KeyPair| {
                    let (certificate, key) = (quoted_path(&pair.certificate), quoted_path(&pair.key));
                    format!("{{ certificate = {certificate}, key = {key} }}")
                };
                Some(format!("[{}]", place.iter().map(show).collect::<Vec<_>>().join(", ")))
            }
            (_, Field::Words(place)) => {
                let words: Vec<String> = place.iter().map(|word| format!("{word:?}")).collect();
                Some(format!("[{}]", words.join(", ")))
            }
            (_, field) => field.load().map(|number| number.to_string()),
        }
    }

    /// Stores a number that is within the key's range.
    fn store(self, number: u64) -> Result<(), Refused> {
        let too_large = |_| Refused::because("out of range");
        match self {
            Field::U8(place) => *place = u8::try_from(number).map_err(too_large)?,
            Field::U16(place) => *place = u16::try_from(number).map_err(too_large)?,
            Field::U32(place) => *place = u32::try_from(number).map_err(too_large)?,
            Field::U64(place) => *place = number,
            Field::MaybeU16(place) => *place = Some(u16::try_from(number).map_err(too_large)?),
            Field::MaybeU32(place) => *place = Some(u32::try_from(number).map_err(too_large)?),
            _ => unreachable!("the table of keys gives a place that holds no number"),
        }
        Ok(())
    }

    /// The number in this place.
    fn load(self) -> Option<u64> {
        match self {
            Field::U8(place) => Some(u64::from(*place)),
            Field::U16(place) => Some(u64::from(*place)),
            Field::U32(place) => Some(u64::from(*place)),
            Field::U64(place) => Some(*place),
            Field::MaybeU16(place) => place.map(u64::from),
            Field::MaybeU32(place) => place.map(u64::from),
            _ => None,
        }
    }
}

fn within(range: &RangeInclusive<u64>, number: u64) -> Result<u64, Refused> {
    if range.contains(&number) { Ok(number) } else { Err(Refused::because("out of range")) }
}

fn wrong_type(raw: &Raw) -> Refused {
    Refused::because(format!("{} does not fit here", raw.type_name()))
}

fn count(raw: &Raw) -> Result<u64, Refused> {
    match raw {
        Raw::Integer(number) => u64::try_from(*number).map_err(|_| Refused::because("out of range")),
        Raw::Bare(text) => text.replace('_', "").parse().map_err(|_| Refused::because("not a whole number")),
        Raw::Text(text) if text.parse::<u64>().is_ok() => {
            Err(Refused { what: "a number in quotes is a string".to_owned(), remedy: Some(format!("write {text}")) })
        }
        other => Err(wrong_type(other)),
    }
}

fn size(raw: &Raw) -> Result<u64, Refused> {
    match raw {
        Raw::Integer(number) => u64::try_from(*number).map_err(|_| Refused::because("out of range")),
        Raw::Text(text) | Raw::Bare(text) => value::bytes(text).ok_or_else(|| Refused::because("not a size")),
        other => Err(wrong_type(other)),
    }
}

fn rate(raw: &Raw) -> Result<u64, Refused> {
    let text = raw.text().ok_or_else(|| wrong_type(raw))?;
    value::rate(text).ok_or_else(|| Refused::because("not a rate"))
}

fn duration(raw: &Raw) -> Result<Duration, Refused> {
    match raw {
        Raw::Integer(number) => Err(Refused {
            what: "a duration needs a unit".to_owned(),
            remedy: Some(format!("write \"{number}s\" for seconds or \"{number}ms\" for milliseconds")),
        }),
        _ => {
            let text = raw.text().ok_or_else(|| wrong_type(raw))?;
            value::duration(text).ok_or_else(|| Refused::because("not a duration"))
        }
    }
}

fn switch(raw: &Raw) -> Result<bool, Refused> {
    match raw {
        Raw::Switch(on) => Ok(*on),
        Raw::Bare(text) if text == "true" => Ok(true),
        Raw::Bare(text) if text == "false" => Ok(false),
        Raw::Bare(_) => Err(Refused::because("neither true nor false")),
        other => Err(wrong_type(other)),
    }
}

fn choice(words: &[&'static str], later: &[&str], raw: &Raw) -> Result<&'static str, Refused> {
    let text = raw.text().ok_or_else(|| wrong_type(raw))?;
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
    }
    Err(Refused::because(if later.contains(&text) { "not in this version" } else { "not a known word" }))
}

fn endpoint(raw: &Raw) -> Result<Endpoint, Refused> {
    let text = raw.text().ok_or_else(|| wrong_type(raw))?;
    let why = match text.parse::<SocketAddr>() {
        Ok(address) => return Ok(Endpoint::Tcp(address)),
        Err(_) if text.chars().any(char::is_control) => "a control character in a path",
        Err(_) if text.starts_with('/') || text.starts_with("./") => return Ok(Endpoint::Unix(PathBuf::from(text))),
        Err(_) if text.parse::<std::net::IpAddr>().is_ok() => "the port is missing",
        Err(_) if text.starts_with("localhost") || text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            "names are not resolved; an address is wanted"
        }
        Err(_) => "not an address with a port",
    };
    Err(Refused::because(why))
}

fn cores(raw: &Raw) -> Result<CoreList, Refused> {
    let parsed = match raw {
        Raw::Integer(number) => number.to_string().parse(),
        _ => raw.text().ok_or_else(|| wrong_type(raw))?.parse(),
    };
    parsed.map_err(|error: value::CoreListError| Refused::because(error.to_string()))
}

fn words(raw: &Raw, count_max: usize) -> Result<Vec<String>, Refused> {
    let list: Vec<String> = match raw {
        Raw::Words(words) => words.clone(),
        Raw::Bare(text) if text.is_empty() => Vec::new(),
        Raw::Bare(text) => text.split(',').map(|word| word.trim().to_owned()).collect(),
        other => return Err(wrong_type(other)),
    };
    if list.len() > count_max {
        return Err(Refused::because(format!("{} entries, but at most {count_max} are allowed", list.len())));
    }
    Ok(list)
}

fn text(raw: &Raw) -> Result<String, Refused> {
    match raw.text().ok_or_else(|| wrong_type(raw))? {
        "" => Err(Refused::because("nothing stands between the quotes")),
        text if text.chars().any(char::is_control) => Err(Refused::because("a control character in a text")),
        text => Ok(text.to_owned()),
    }
}

fn networks(raw: &Raw, count_max: usize) -> Result<Vec<Network>, Refused> {
    let parse = |word: &String| {
        word.parse().map_err(|_| Refused::because(format!("{word:?} is neither an address nor a range of them")))
    };
    words(raw, count_max)?.iter().map(parse).collect()
}

fn path(raw: &Raw) -> Result<PathBuf, Refused> {
    match raw.text().ok_or_else(|| wrong_type(raw))? {
        "" => Err(Refused::because("no file has an empty name")),
        text if text.chars().any(char::is_control) => Err(Refused::because("a control character in a name")),
        text => Ok(PathBuf::from(text)),
    }
}

fn key_pairs(raw: &Raw, count_max: usize) -> Result<Vec<KeyPair>, Refused> {
    let tables = match raw {
        Raw::Tables(tables) => tables,
        Raw::Words(words) if words.is_empty() => return Ok(Vec::new()),
        other => return Err(wrong_type(other)),
    };
    if tables.len() > count_max {
        return Err(Refused::because(format!("{} entries, but at most {count_max} are allowed", tables.len())));
    }
    let pair = |table: &Vec<(String, String)>| {
        let of = |name| {
            let value = table.iter().find(|(key, _)| key == name).map(|(_, value)| Raw::Text(value.clone()));
            path(&value.ok_or_else(|| Refused::because(format!("an entry has no {name}")))?)
        };
        if let Some((other, _)) = table.iter().find(|(key, _)| key != "certificate" && key != "key") {
            return Err(Refused::because(format!("an entry has a key `{other}`; there are certificate and key")));
        }
        Ok(KeyPair { certificate: of("certificate")?, key: of("key")? })
    };
    tables.iter().map(pair).collect()
}

/// A path as a TOML string. It was text when it was read, and has no control characters.
fn quoted_path(path: &Path) -> String {
    quoted_text(&path.display().to_string())
}

/// A text without control characters as a TOML string.
fn quoted_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
