//! Sets of cores, in the two forms in which the kernel writes them: lists (`0,2-5`) and masks (`0000003d`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest number of a core that is believed; the kernel's own bound on x86 is 8,192.
const CORE_MAX: u32 = 65_535;

/// A set of cores, written as the kernel writes lists of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cores(BTreeSet<u32>);

impl Cores {
    /// No core.
    pub fn none() -> Cores {
        Cores::default()
    }

    /// The cores of a mask in hexadecimal, in groups of 32 bits, the highest first: `00000001,80000000`.
    pub fn from_mask(mask: &str) -> Result<Cores, String> {
        let mut cores = BTreeSet::new();
        for (group, digits) in mask.trim().rsplit(',').enumerate() {
            let bits = u32::from_str_radix(digits, 16).map_err(|_| format!("`{mask}` is no mask of cores"))?;
            cores.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| group as u32 * 32 + bit));
        }
        Ok(Cores(cores))
    }

    /// The mask of these cores, as the kernel takes it.
    pub fn mask(&self) -> String {
        let groups = self.last().map_or(1, |last| last / 32 + 1);
        let group =
            |at: u32| (0..32).filter(|bit| self.contains(at * 32 + bit)).fold(0_u32, |bits, bit| bits | 1 << bit);
        let first = format!("{:x}", group(groups - 1));
        (0..groups - 1).rev().fold(first, |text, at| format!("{text},{:08x}", group(at)))
    }

    /// Whether a core is among them.
    pub fn contains(&self, core: u32) -> bool {
        self.0.contains(&core)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one with the lowest number.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// The one with the highest number.
    pub fn last(&self) -> Option<u32> {
        self.0.last().copied()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// Those that are in both.
    pub fn and(&self, other: &Cores) -> Cores {
        Cores(self.0.intersection(&other.0).copied().collect())
    }

    /// Those that are in either.
    pub fn or(&self, other: &Cores) -> Cores {
        Cores(self.0.union(&other.0).copied().collect())
    }

    /// Those that are not in the other.
    pub fn without(&self, other: &Cores) -> Cores {
        Cores(self.0.difference(&other.0).copied().collect())
    }
}

impl FromIterator<u32> for Cores {
    fn from_iter<I: IntoIterator<Item = u32>>(cores: I) -> Cores {
        Cores(cores.into_iter().collect())
    }
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Cores, String> {
        let wrong = || format!("`{text}` is no list of cores");
        let mut cores = BTreeSet::new();
        // An empty file is an empty list; nohz_full of a kernel without it says (null).
        for range in text.trim().split(',').filter(|range| !range.is_empty() && *range != "(null)") {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let first: u32 = first.trim().parse().map_err(|_| wrong())?;
            let last: u32 = last.trim().parse().map_err(|_| wrong())?;
            if first > last || last > CORE_MAX {
                return Err(wrong());
            }
            cores.extend(first..=last);
        }
        Ok(Cores(cores))
    }
}

impl TryFrom<String> for Cores {
    type Error = String;

    fn try_from(text: String) -> Result<Cores, String> {
        text.parse()
    }
}

impl From<Cores> for String {
    fn from(cores: Cores) -> String {
        cores.to_string()
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            match first == last {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists and masks of the kernel are read and written as it does.
    #[test]
    fn lists_and_masks() {
        for (list, mask) in [("0,2-5", "3d"), ("", "0"), ("63", "80000000,00000000"), ("0-1,32", "1,00000003")] {
            let cores: Cores = list.parse().expect("a list");
            assert_eq!(cores.to_string(), list);
            assert_eq!(cores.mask(), mask);
            assert_eq!(Cores::from_mask(mask), Ok(cores));
        }
        assert_eq!(Cores::from_mask("00000000,00000003").map(|cores| cores.to_string()).as_deref(), Ok("0-1"));
        assert_eq!("(null)\n".parse(), Ok(Cores::none()));
        for wrong in ["x", "3-1", "1-", "0-99999999"] {
            assert!(wrong.parse::<Cores>().is_err(), "{wrong}");
        }
    }
}
