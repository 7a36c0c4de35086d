//! Packets as text, as the cases write them.
//!
//! | written | bytes |
//! |---|---|
//! | `3F`, `003C0A` | hexadecimal digits, two a byte |
//! | `"text"` | a UTF-8 Encoded String: the length in two bytes, then the text; escapes `\"`, `\\`, `\u{..}` |
//! | `'text'` | the text alone; escapes `\'`, `\\`, `\u{..}` |
//! | `( ... )` | the length of the content as a Variable Byte Integer, then the content |
//! | `{ ... }` | Binary Data: the length of the content in two bytes, then the content |
//! | `[ ... ]*N` | the content, N times |
//! | `$name` | a define of the file, else bytes that were captured |
//! | `<i:u16>` | the number of a `repeat` in two bytes; `<i>` inside a text is its decimal digits |
//! | `??` | any one byte, in expectations |
//! | `<name:N>` | any N bytes, in expectations, captured as `$name` |
//!
//! Blanks and line ends separate; `#` begins a comment that ends with its line.

use std::collections::BTreeMap;
use std::iter::{self, Peekable};
use std::str::Chars;

/// Text macros of a case file, by name.
pub type Defines = BTreeMap<String, String>;

/// The name of the number of a `repeat`.
const NUMBER: &str = "i";

/// How deep defines and brackets may lie in each other: a define that names itself ends here.
const DEPTH_MAX: u32 = 32;

/// The most bytes that one step may make.
const BYTES_MAX: usize = 1 << 22;

/// What a step's bytes may refer to while it runs.
#[derive(Default)]
pub struct Scope {
    /// Captured bytes, by name.
    pub captured: BTreeMap<String, Vec<u8>>,
    /// The number of the `repeat` around the step.
    pub number: Option<u32>,
}

/// One byte of an expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// This byte.
    Exactly(u8),
    /// Any byte.
    Any,
    /// Any byte, which belongs to the bytes captured under this name.
    Capture(String),
}

/// A sequence of bytes as written, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notation(Vec<Item>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Byte(u8),
    Any,
    Capture(String, usize),
    Captured(String),
    Number,
    /// A text; with its length in front, or bare.
    Text(String, bool),
    VariableLength(Vec<Item>),
    Binary(Vec<Item>),
    Repeated(Vec<Item>, usize),
}

impl Notation {
    /// Reads a text; what is wrong with it otherwise.
    pub fn read(text: &str, defines: &Defines) -> Result<Self, String> {
        Reader { chars: text.chars().peekable(), defines, depth: 0 }.items(None).map(Self)
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, each of which must be known: a packet to send.
    pub fn bytes(&self, scope: &Scope) -> Result<Vec<u8>, String> {
        let known = |slot| match slot {
            Slot::Exactly(byte) => Ok(byte),
            Slot::Any | Slot::Capture(_) => Err("`??` and `<name:N>` stand in expectations only".to_owned()),
        };
        self.slots(scope)?.into_iter().map(known).collect()
    }

    /// What is expected, byte by byte.
    pub fn slots(&self, scope: &Scope) -> Result<Vec<Slot>, String> {
        let mut slots = Vec::new();
        lower(&self.0, scope, &mut slots)?;
        Ok(slots)
    }
}

impl Slot {
    /// Whether this byte may stand here.
    pub fn admits(&self, byte: u8) -> bool {
        !matches!(self, Slot::Exactly(exactly) if *exactly != byte)
    }
}

/// Whether every bracket that the text opens is closed: a step goes on in the next line otherwise.
pub fn is_whole(text: &str) -> bool {
    let depth: i32 = structure(text)
        .map(|(_, char)| match char {
            '(' | '{' | '[' => 1,
            ')' | '}' | ']' => -1,
            _ => 0,
        })
        .sum();
    depth <= 0
}

/// Splits at each `|` outside of texts and comments.
pub fn alternatives(text: &str) -> Vec<&str> {
    let bars = structure(text).filter(|(_, char)| *char == '|').map(|(at, _)| at);
    let begins = iter::once(0).chain(bars.clone().map(|at| at + 1));
    begins.zip(bars.chain([text.len()])).map(|(begin, end)| &text[begin..end]).collect()
}

/// The characters outside of texts and comments, with their places.
fn structure(text: &str) -> impl Iterator<Item = (usize, char)> + Clone + '_ {
    let mut chars = text.char_indices();
    iter::from_fn(move || {
        loop {
            match chars.next()? {
                (_, '#') => {
                    chars.find(|(_, char)| *char == '\n')?;
                }
                (_, quote @ ('"' | '\'')) => loop {
                    match chars.next()?.1 {
                        '\\' => _ = chars.next()?,
                        char if char == quote => break,
                        _ => {}
                    }
                },
                outside => return Some(outside),
            }
        }
    })
}

fn lower(items: &[Item], scope: &Scope, slots: &mut Vec<Slot>) -> Result<(), String> {
    let exactly = |slots: &mut Vec<Slot>, bytes: &[u8]| slots.extend(bytes.iter().copied().map(Slot::Exactly));
    for item in items {
        match item {
            Item::Byte(byte) => slots.push(Slot::Exactly(*byte)),
            Item::Any => slots.push(Slot::Any),
            Item::Capture(name, len) => slots.extend(iter::repeat_n(Slot::Capture(name.clone()), *len)),
            Item::Captured(name) => {
                let bytes =
                    scope.captured.get(name).ok_or(format!("${name} is neither defined nor captured before"))?;
                exactly(slots, bytes);
            }
            Item::Number => {
                let number = scope.number.ok_or("<i:u16> stands outside of a repeat")?;
                let number = u16::try_from(number).map_err(|_| format!("{number} does not fit <i:u16>"))?;
                exactly(slots, &number.to_be_bytes());
            }
            Item::Text(text, prefixed) => {
                let text = match scope.number {
                    Some(number) => text.replace("<i>", &number.to_string()),
                    None => text.clone(),
                };
                if *prefixed {
                    exactly(slots, &two_bytes(text.len())?);
                }
                exactly(slots, text.as_bytes());
            }
            Item::VariableLength(content) => {
                let mut inner = Vec::new();
                lower(content, scope, &mut inner)?;
                exactly(slots, &variable_byte_integer(inner.len()));
                slots.append(&mut inner);
            }
            Item::Binary(content) => {
                let mut inner = Vec::new();
                lower(content, scope, &mut inner)?;
                exactly(slots, &two_bytes(inner.len())?);
                slots.append(&mut inner);
            }
            Item::Repeated(content, times) => {
                let mut inner = Vec::new();
                lower(content, scope, &mut inner)?;
                if inner.len().saturating_mul(*times) > BYTES_MAX {
                    return Err(format!("more than {BYTES_MAX} bytes"));
                }
                slots.extend(iter::repeat_n(inner, *times).flatten());
            }
        }
    }
    Ok(())
}

fn two_bytes(len: usize) -> Result<[u8; 2], String> {
    u16::try_from(len).map(u16::to_be_bytes).map_err(|_| format!("a length of {len} does not fit two bytes"))
}

fn variable_byte_integer(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = if value >= 0x80 { 0x80 } else { 0 };
        bytes.push((value & 0x7f) as u8 | more);
        value >>= 7;
        if value == 0 {
            return bytes;
        }
    }
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    defines: &'a Defines,
    depth: u32,
}

impl Reader<'_> {
    /// Everything up to the bracket that closes this content, or to the end of the text.
    fn items(&mut self, closing: Option<char>) -> Result<Vec<Item>, String> {
        if self.depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} brackets or defines in each other"));
        }
        let mut items = Vec::new();
        while let Some(char) = self.chars.next() {
            match char {
                ' ' | '\t' | '\n' | '\r' => {}
                '#' => while self.chars.next_if(|char| *char != '\n').is_some() {},
                '"' | '\'' => items.push(Item::Text(self.text(char)?, char == '"')),
                '(' => items.push(Item::VariableLength(self.inner(')')?)),
                '{' => items.push(Item::Binary(self.inner('}')?)),
                '[' => {
                    let content = self.inner(']')?;
                    items.push(Item::Repeated(content, self.times()?));
                }
                '?' if self.chars.next() == Some('?') => items.push(Item::Any),
                '<' => items.push(self.angle()?),
                '$' => self.named(&mut items)?,
                _ if char.is_ascii_hexdigit() => items.push(Item::Byte(self.hex(char)?)),
                _ if Some(char) == closing => return Ok(items),
                _ => return Err(format!("`{char}` means nothing here")),
            }
        }
        closing.map_or(Ok(items), |closing| Err(format!("`{closing}` is missing")))
    }

    fn inner(&mut self, closing: char) -> Result<Vec<Item>, String> {
        self.depth += 1;
        let items = self.items(Some(closing));
        self.depth -= 1;
        items
    }

    fn hex(&mut self, first: char) -> Result<u8, String> {
        let second = self.chars.next().filter(char::is_ascii_hexdigit);
        let second = second.ok_or(format!("an odd number of hexadecimal digits at `{first}`"))?;
        Ok(u8::from_str_radix(&format!("{first}{second}"), 16).expect("two hexadecimal digits"))
    }

    fn text(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.chars.next().ok_or(format!("the text has no closing {quote}"))? {
                char if char == quote => return Ok(text),
                '\\' => text.push(self.escape()?),
                char => text.push(char),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        match self.chars.next() {
            Some(char @ ('"' | '\'' | '\\')) => Ok(char),
            Some('u') => {
                let braced: String = self.chars.by_ref().take_while(|char| *char != '}').collect();
                let digits = braced.strip_prefix('{').and_then(|digits| u32::from_str_radix(digits, 16).ok());
                digits.and_then(char::from_u32).ok_or(format!("\\u{braced}}} is no character"))
            }
            other => Err(format!("unknown escape \\{}", other.unwrap_or(' '))),
        }
    }

    fn times(&mut self) -> Result<usize, String> {
        self.chars.next_if_eq(&'*').ok_or("`]` needs `*N` behind it")?;
        let digits = self.word(|char| char.is_ascii_digit());
        digits.parse().map_err(|_| format!("`]*{digits}`: no number"))
    }

    /// `<name:N>` or `<i:u16>`, behind its bracket.
    fn angle(&mut self) -> Result<Item, String> {
        let inside: String = self.chars.by_ref().take_while(|char| *char != '>').collect();
        match inside.split_once(':') {
            Some((NUMBER, "u16")) => Ok(Item::Number),
            Some((name, len)) if is_name(name) && name != NUMBER => {
                let len = len.parse().map_err(|_| format!("<{inside}>: no number of bytes"))?;
                Ok(Item::Capture(name.to_owned(), len))
            }
            _ => Err(format!("<{inside}> is neither <name:N> nor <i:u16>")),
        }
    }

    fn named(&mut self, items: &mut Vec<Item>) -> Result<(), String> {
        let name = self.word(|char| char.is_ascii_alphanumeric() || char == '_');
        if !is_name(&name) {
            return Err(format!("`${name}` is no name"));
        }
        match self.defines.get(&name) {
            Some(text) => {
                let mut reader =
                    Reader { chars: text.chars().peekable(), defines: self.defines, depth: self.depth + 1 };
                items.extend(reader.items(None).map_err(|error| format!("in ${name}: {error}"))?);
            }
            None => items.push(Item::Captured(name)),
        }
        Ok(())
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> String {
        iter::from_fn(|| self.chars.next_if(|char| belongs(*char))).collect()
    }
}

/// Whether this can name a define, a connection or captured bytes.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
}

/// Goal: each form of the notation makes the bytes that the table above says, and nothing else is taken.
pub fn laws() {
    let defines = [("hello", "10 ( 'ab' )"), ("loop", "$loop")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let defines = Defines::from(defines);
    let scope = Scope { captured: BTreeMap::from([("id".to_owned(), vec![0, 7])]), number: Some(300) };
    let read = |text| Notation::read(text, &defines).and_then(|read| read.bytes(&scope));
    let right: [(&str, &[u8]); 12] = [
        ("3F 003c0A # comment", &[0x3f, 0, 0x3c, 0x0a]),
        (r#""a\"\u{e9}" 'b\''"#, &[0, 4, b'a', b'"', 0xc3, 0xa9, b'b', b'\'']),
        ("( 01 ( 02 ) )", &[3, 1, 1, 2]),
        ("{ 01 02 }", &[0, 2, 1, 2]),
        ("{}", &[0, 0]),
        ("[ 01 [02]*2 ]*2", &[1, 2, 2, 1, 2, 2]),
        ("$hello", &[0x10, 2, b'a', b'b']),
        ("$id", &[0, 7]),
        ("<i:u16>", &[1, 44]),
        ("'t<i>'", b"t300"),
        ("'#|('", b"#|("),
        ("01 # one\n02", &[1, 2]),
    ];
    for (text, bytes) in right {
        assert_eq!(read(text).as_deref(), Ok(bytes), "{text}");
    }
    assert_eq!(read("( [00]*128 )").map(|bytes| (bytes[0], bytes[1], bytes.len())), Ok((0x80, 0x01, 130)));
    for text in
        ["3", "( 01", "01 )", "\"a", "[01]", "[01]*", "<x>", "<i:2>", "$loop", "g", "?", "'\\n'", "$unknown", "??"]
    {
        assert!(read(text).is_err(), "{text} was taken");
    }
    assert!(["(", "01 ( '(' ", "[ \")\" "].iter().all(|text| !is_whole(text)));
    assert!(["", "( '(' )", "01 # (", r#""\"(""#].iter().all(|text| is_whole(text)));
    assert_eq!(alternatives(r#"01 | '|' | "\"|" # |"#), ["01 ", " '|' ", r#" "\"|" # |"#]);
}
