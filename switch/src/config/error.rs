//! What can be wrong with a configuration: where, which key, which value, and what to write instead.

use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In a file; line and column count from 1, columns in characters.
    File {
        /// The path as the user named it.
        path: Arc<str>,
        /// Line.
        line: u32,
        /// Column.
        column: u32,
    },
    /// In this environment variable.
    Environment(String),
    /// In this command line flag, `--bind` for example.
    Flag(&'static str),
}

impl Origin {
    /// What sorts messages as people read: the file from its top (the parser gives tables by name), then the rest.
    pub fn position(&self) -> (u32, u32) {
        match self {
            Origin::File { line, column, .. } => (*line, *column),
            _ => (u32::MAX, 0),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// Which key, with its section: `limits.max_packet_size`. Empty where the text is not even TOML.
    pub key: String,
    /// The value as written, where there is one.
    pub value: Option<String>,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {}", shortened(value))?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}\n  remedy: {}", self.what, self.remedy)
    }
}

/// All that is wrong, in the order of the sources. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// How many are shown: one wrong bracket can make hundreds.
    const SHOWN_MAX: usize = 20;
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> ConfigErrors {
        ConfigErrors(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().take(ConfigErrors::SHOWN_MAX).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        match self.0.len().saturating_sub(ConfigErrors::SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n... and {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// A value on one line of bearable length.
fn shortened(value: &str) -> String {
    const CHARS_MAX: usize = 60;
    let line = value.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
