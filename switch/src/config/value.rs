//! How sizes, durations, rates and lists of cores are written, both ways.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use shard::config::CoreId;

/// Units of size, largest first within each family. A size without a unit is in bytes.
const SIZES: [(&str, u64); 9] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

/// Units of time in milliseconds, largest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a size such as `64KiB` or `1MB`, in bytes.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// Writes a size with the unit that makes the smallest whole number.
pub fn show_bytes(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes.is_multiple_of(*factor);
    let shortest = SIZES.iter().filter(fits).min_by_key(|(_, factor)| bytes / factor);
    shortest.filter(|_| bytes > 0).map_or_else(|| "0B".to_owned(), |(name, factor)| format!("{}{name}", bytes / factor))
}

/// Writes a size for a reader: three digits at most and a binary unit.
pub fn about_bytes(bytes: u64) -> String {
    let (factor, unit) = match bytes {
        0x4000_0000.. => (1u64 << 30, "GiB"),
        0x10_0000.. => (1 << 20, "MiB"),
        0x400.. => (1 << 10, "KiB"),
        _ => return format!("{bytes} B"),
    };
    let value = bytes as f64 / factor as f64;
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Reads a duration such as `500ms`, `5s`, `2m`, `1h` or `7d`. A unit is required; only 0 goes without one.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    if unit == "us" {
        return Some(Duration::from_micros(number));
    }
    if unit.is_empty() && number == 0 {
        return Some(Duration::ZERO);
    }
    let (_, factor) = TIMES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor).map(Duration::from_millis)
}

/// Writes a duration with the largest unit that divides it; what is finer than a microsecond is not shown.
pub fn show_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 {
        return "0s".to_owned();
    }
    if !micros.is_multiple_of(1_000) {
        return format!("{micros}us");
    }
    let millis = micros / 1_000;
    let fits = |(_, factor): &&(&str, u64)| millis.is_multiple_of(*factor);
    TIMES.iter().find(fits).map_or_else(|| format!("{millis}ms"), |(name, factor)| format!("{}{name}", millis / factor))
}

/// Reads a rate such as `1000/s`, as a number in each second.
pub fn rate(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    (unit == "/s").then_some(number)
}

/// Writes a rate.
pub fn show_rate(per_second: u64) -> String {
    format!("{per_second}/s")
}

/// A number and what follows it. Digits may be grouped by `_`, as in TOML.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let digits: String = text[..end].chars().filter(|c| *c != '_').collect();
    Some((digits.parse().ok()?, text[end..].trim_start()))
}

/// Processor cores by the kernel's numbers, ascending and without repeats; written `0,2-5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(Vec<CoreId>);

impl CoreList {
    /// The greatest core number that is accepted: more than any machine has, so that `0-99999999` costs nothing.
    pub const CORE_MAX: usize = 4095;

    /// The cores, ascending.
    pub fn cores(&self) -> &[CoreId] {
        &self.0
    }
}

impl FromIterator<CoreId> for CoreList {
    fn from_iter<I: IntoIterator<Item = CoreId>>(cores: I) -> CoreList {
        let mut cores: Vec<CoreId> = cores.into_iter().collect();
        cores.sort_unstable();
        cores.dedup();
        CoreList(cores)
    }
}

/// Why a text is not a list of cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreListError {
    /// This part is neither a number nor a range of two numbers.
    NotANumber(String),
    /// This range ends before it begins.
    Backwards(String),
    /// This core number is above [`CoreList::CORE_MAX`].
    TooLarge(usize),
    /// There is no core in it.
    Empty,
}

impl fmt::Display for CoreListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreListError::NotANumber(part) => write!(f, "`{part}` is neither a core number nor a range such as `2-5`"),
            CoreListError::Backwards(part) => write!(f, "the range `{part}` ends before it begins"),
            CoreListError::TooLarge(core) => write!(f, "core {core} is above {}", CoreList::CORE_MAX),
            CoreListError::Empty => f.write_str("the list names no core"),
        }
    }
}

impl std::error::Error for CoreListError {}

impl FromStr for CoreList {
    type Err = CoreListError;

    fn from_str(text: &str) -> Result<CoreList, CoreListError> {
        let number = |part: &str, whole: &str| -> Result<usize, CoreListError> {
            let core = part.trim().parse().map_err(|_| CoreListError::NotANumber(whole.trim().to_owned()))?;
            if core > CoreList::CORE_MAX { Err(CoreListError::TooLarge(core)) } else { Ok(core) }
        };
        if text.trim().is_empty() {
            return Err(CoreListError::Empty);
        }
        let mut cores = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => cores.push(CoreId(number(part, part)?)),
                Some((first, last)) => {
                    let (first, last) = (number(first, part)?, number(last, part)?);
                    if last < first {
                        return Err(CoreListError::Backwards(part.trim().to_owned()));
                    }
                    cores.extend((first..=last).map(CoreId));
                }
            }
            if cores.len() > 2 * (CoreList::CORE_MAX + 1) {
                cores.sort_unstable();
                cores.dedup();
            }
        }
        Ok(cores.into_iter().collect())
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|a, b| a.0 + 1 == b.0);
        for (i, run) in runs.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match run {
                [one] => write!(f, "{comma}{one}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes take decimal and binary units, and what is written is read back as the same number.
    #[test]
    fn sizes() {
        assert_eq!(bytes("64KiB"), Some(65_536));
        assert_eq!(bytes("1MB"), Some(1_000_000));
        assert_eq!(bytes("1_000 B"), Some(1_000));
        assert_eq!(bytes("17"), Some(17));
        for wrong in ["", "KiB", "1XB", "-1", "1.5MB", "99999999999GiB", "1 2"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        for size in [0, 1, 1023, 1024, 16_000_000, 1 << 20, 3 << 30, u64::MAX] {
            assert_eq!(bytes(&show_bytes(size)), Some(size));
        }
        assert_eq!(show_bytes(16_000_000), "16MB");
        assert_eq!(about_bytes(1_610_612_736), "1.5 GiB");
    }

    /// Durations need a unit, because a bare number is seconds to some and milliseconds to others.
    #[test]
    fn durations() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("20us"), Some(Duration::from_micros(20)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for wrong in ["5", "s", "5 weeks", "18446744073709551615d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        for millis in [0, 1, 999, 1000, 90_000, 3_600_000, 7 * 86_400_000] {
            let duration_of = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(duration_of)), Some(duration_of));
        }
        assert_eq!(rate("1000/s"), Some(1000));
        assert_eq!(rate("1000"), None);
    }

    /// Lists of cores take numbers and ranges, come out sorted and short, and absurd ones cost nothing.
    #[test]
    fn core_lists() {
        let list: CoreList = "5,0,2-4,3".parse().expect("a list");
        assert_eq!(list.cores(), [0, 2, 3, 4, 5].map(CoreId));
        assert_eq!(list.to_string(), "0,2-5");
        assert_eq!("3-1".parse::<CoreList>(), Err(CoreListError::Backwards("3-1".into())));
        assert_eq!("0-99999999".parse::<CoreList>(), Err(CoreListError::TooLarge(99_999_999)));
        assert_eq!("".parse::<CoreList>(), Err(CoreListError::Empty));
        assert_eq!("1,,2".parse::<CoreList>(), Err(CoreListError::NotANumber(String::new())));
    }
}
