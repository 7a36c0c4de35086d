//! Where the data directory is where nobody says: below the user's home, as the XDG base directories have it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The directory below the user's state directory.
const NAME: &str = "ringmain";

/// The default data directory, from the values of `XDG_STATE_HOME` and `HOME`. As the standard wants it, a value that is
/// no absolute path counts as none.
pub fn default(state_home: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let absolute = |value: Option<&OsStr>| value.map(Path::new).filter(|path| path.is_absolute()).map(Path::to_owned);
    let state = absolute(state_home).or_else(|| Some(absolute(home)?.join(".local/state")));
    Some(state?.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state directory goes before the home directory, and a relative or empty one is passed over.
    #[test]
    fn state_home_then_home() {
        let of = |state: Option<&str>, home: Option<&str>| default(state.map(OsStr::new), home.map(OsStr::new));
        for (state, home, expected) in [
            (Some("/s"), Some("/h"), Some("/s/ringmain")),
            (None, Some("/h"), Some("/h/.local/state/ringmain")),
            (Some(""), Some("/h"), Some("/h/.local/state/ringmain")),
            (Some("s"), Some("h"), None),
            (None, None, None),
        ] {
            assert_eq!(of(state, home), expected.map(PathBuf::from), "{state:?}, {home:?}");
        }
    }
}
