//! Where the journal lies on this machine, and how much of the disk each shard may take.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::source::Table;
use crate::config::value::show_bytes;
use crate::config::{ConfigError, ConfigErrors, Configuration, data_dir};
use crate::limits::SEGMENTS_MIN;

/// Where the journal lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The data directory, absolute.
    pub data_dir: PathBuf,
    /// The directory in tmpfs of what is not synced yet, absolute.
    pub staging_dir: PathBuf,
    /// Bytes that the segments of one shard may take; absent: no bound.
    pub shard_bytes_max: Option<u64>,
}

impl Storage {
    /// For this process, with so many shards; `None` where there is no journal.
    pub fn new(configuration: &Configuration, shards: u16) -> Result<Option<Storage>, ConfigErrors> {
        Storage::of(configuration, shards, |name| std::env::var_os(name), |path| std::path::absolute(path))
    }

    /// The same with these environment variables and this way to make a path absolute.
    fn of(
        configuration: &Configuration,
        shards: u16,
        variable: impl Fn(&str) -> Option<OsString>,
        absolute: impl Fn(&Path) -> io::Result<PathBuf>,
    ) -> Result<Option<Storage>, ConfigErrors> {
        let journal = &configuration.settings.journal;
        if !journal.enabled {
            return Ok(None);
        }
        let refuse = |key: &'static str, value: Option<String>, what: String, remedy: &str| {
            let table = Table::named("journal");
            let origin = configuration.origin(table, key);
            ConfigErrors::from(ConfigError { origin, key: table.path(key), value, what, remedy: remedy.to_owned() })
        };
        let by_default = || data_dir::default(variable("XDG_STATE_HOME").as_deref(), variable("HOME").as_deref());
        let chosen = journal.data_dir.clone().or_else(by_default).ok_or_else(|| {
            let what = "there is no default: neither XDG_STATE_HOME nor HOME is the absolute path of a directory";
            refuse(
                "data_dir",
                None,
                what.to_owned(),
                "write --data-dir DIR, or --no-persistence to do without a journal",
            )
        })?;
        let absolute = |key: &'static str, path: &Path| {
            absolute(path).map_err(|error| {
                let what = format!("the working directory is not known: {error}");
                refuse(key, Some(format!("\"{}\"", path.display())), what, "write an absolute path")
            })
        };
        let share = journal.max_size / u64::from(shards.max(1));
        let least = SEGMENTS_MIN * journal.segment_size;
        if journal.max_size > 0 && share < least {
            let what = format!(
                "the share of each of {shards} shards cannot hold {SEGMENTS_MIN} segments of journal.segment_size = \"{}\"",
                show_bytes(journal.segment_size)
            );
            let enough = show_bytes(least.saturating_mul(u64::from(shards)));
            let remedy = format!("write at least \"{enough}\", lower segment_size, or write \"0B\" for no bound");
            return Err(refuse("max_size", Some(format!("\"{}\"", show_bytes(journal.max_size))), what, &remedy));
        }
        Ok(Some(Storage {
            data_dir: absolute("data_dir", &chosen)?,
            staging_dir: absolute("staging_dir", &journal.staging_dir)?,
            shard_bytes_max: (journal.max_size > 0).then_some(share),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;
    use crate::config::source::{self, Source};

    fn storage(file: &str, variables: &[(&str, &str)]) -> Result<Option<Storage>, String> {
        let file = source::from_file("f.toml", file);
        let configuration = Configuration::merge(file, Source::default(), &Flags::default()).expect("a good file");
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(found.1))
        };
        Storage::of(&configuration, 2, variable, |path| Ok(Path::new("/cwd").join(path)))
            .map_err(|error| error.to_string())
    }

    /// A written directory begins at the working directory, the default one at the user's; without either there is an
    /// error that says what to write.
    #[test]
    fn the_directory_is_written_or_the_users() {
        let home = [("HOME", "/h")];
        let written =
            storage("[journal]\ndata_dir = \"d\"\nstaging_dir = \"s\"", &home).expect("good").expect("a journal");
        assert_eq!((written.data_dir, written.staging_dir), ("/cwd/d".into(), "/cwd/s".into()));
        let default = storage("", &home).expect("good").expect("a journal");
        assert_eq!((default.data_dir, default.shard_bytes_max), ("/h/.local/state/ringmain".into(), None));
        let refused = storage("", &[]).expect_err("no home");
        assert!(refused.starts_with("default: journal.data_dir: there is no default"), "{refused}");
        assert!(refused.contains("--data-dir DIR") && refused.contains("--no-persistence"), "{refused}");
        assert_eq!(storage("[journal]\nenabled = false", &[]), Ok(None));
    }

    /// A bound is shared among the shards, and one that could not hold a log at work is refused.
    #[test]
    fn a_bound_holds_a_log_at_work() {
        let of = |bound: &str| storage(&format!("[journal]\nmax_size = \"{bound}\""), &[("HOME", "/h")]);
        let bounded = of("128MiB").expect("good").expect("a journal");
        assert_eq!(bounded.shard_bytes_max, Some(64 << 20));
        let refused = of("127MiB").expect_err("too small");
        assert!(
            refused.starts_with("f.toml:2:1: journal.max_size = \"127MiB\": the share of each of 2 shards"),
            "{refused}"
        );
        assert!(refused.contains("write at least \"128MiB\""), "{refused}");
    }
}
