//! JSON for programs that read reports: a writer for what is printed here, and nothing to read it with.

use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Json>),
    /// Values by name, in this order.
    Object(Vec<(&'static str, Json)>),
    /// Values by names that are data.
    Map(Vec<(String, Json)>),
}

impl Json {
    /// Text.
    pub fn text(text: impl fmt::Display) -> Json {
        Json::Text(text.to_string())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(on) => write!(f, "{on}"),
            Json::Number(number) => write!(f, "{number}"),
            Json::Text(text) => quoted(f, text),
            Json::List(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Json::Object(fields) => object(f, fields.iter().map(|(name, value)| (*name, value))),
            Json::Map(fields) => object(f, fields.iter().map(|(name, value)| (name.as_str(), value))),
        }
    }
}

fn object<'a>(f: &mut fmt::Formatter<'_>, fields: impl Iterator<Item = (&'a str, &'a Json)>) -> fmt::Result {
    f.write_str("{")?;
    for (i, (name, value)) in fields.enumerate() {
        f.write_str(if i > 0 { "," } else { "" })?;
        quoted(f, name)?;
        write!(f, ":{value}")?;
    }
    f.write_str("}")
}

/// Text in quotes; what JSON cannot have in them is escaped (RFC 8259, section 7).
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values are written as the standard has them, and text cannot break out of its quotes.
    #[test]
    fn values_are_written() {
        let value = Json::Object(vec![
            ("list", Json::List(vec![Json::Number(u64::MAX), Json::Null, Json::Bool(true)])),
            ("text", Json::text("a\"b\\c\nd\u{7f}é")),
            ("map", Json::Map(vec![("k\"".to_owned(), Json::List(Vec::new()))])),
        ]);
        let expected = r#"{"list":[18446744073709551615,null,true],"text":"a\"b\\c\u000ad\u007fé","map":{"k\"":[]}}"#;
        assert_eq!(value.to_string(), expected);
    }
}
