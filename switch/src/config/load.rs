//! File, environment and flags, in that order, become settings that can be trusted.

mod check;
mod own;

use std::collections::BTreeMap;
use std::path::Path;

use shard::listen::Endpoint;

use super::error::{ConfigError, ConfigErrors, Origin};
use super::field::{Field, Kind, Raw, Refused};
use super::keys::{LISTENER_KEYS, LISTENERS_MAX};
use super::settings::{Listener, Settings, Transport};
use super::source::{self, Entry, Source, Table};

/// A configuration file is at most so long, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the command line says about the configuration, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--bind`: instead of all configured listeners.
    pub bind: Vec<String>,
    /// `--port`: the port of each listener.
    pub port: Option<String>,
    /// `--shards`.
    pub shards: Option<String>,
    /// `--cores`.
    pub cores: Option<String>,
    /// `--service-cores`.
    pub service_cores: Option<String>,
    /// `--profile`.
    pub profile: Option<String>,
    /// `--log`.
    pub log: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// `--no-persistence`: whether there is a journal.
    pub journal: Option<String>,
}

/// Settings, and where each of them was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The checked settings.
    pub settings: Settings,
    origins: BTreeMap<(Table, &'static str), Origin>,
}

impl Configuration {
    /// Reads the file (if any), the environment and the flags, later ones over earlier ones.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Configuration, ConfigErrors> {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            // What is not text cannot be a name of ours; a value that is not will be refused by its key.
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        let file = match file {
            Some(path) => source::from_file(&path.display().to_string(), &read(path)?),
            None => Source::default(),
        };
        Configuration::merge(file, source::from_environment(environment), flags)
    }

    /// The same from text, for tests and for callers that have their own sources.
    pub fn merge(file: Source, environment: Source, flags: &Flags) -> Result<Configuration, ConfigErrors> {
        let mut builder = Builder::new(&file, &environment);
        for entry in file.entries.into_iter().chain(environment.entries).chain(flag_entries(flags)) {
            builder.apply(entry);
        }
        builder.apply_bind(&flags.bind);
        builder.apply_port(flags.port.as_deref());
        let mut errors = file.errors;
        errors.extend(environment.errors);
        errors.append(&mut builder.errors);
        // Relations between values that cannot be read would only confuse.
        if errors.is_empty() {
            builder.check();
            errors = builder.errors;
        }
        errors.sort_by_key(|error| error.origin.position());
        match errors.is_empty() {
            true => Ok(Configuration { settings: builder.settings, origins: builder.origins }),
            false => Err(ConfigErrors(errors)),
        }
    }

    /// Where the value of a key was written.
    pub fn origin(&self, table: Table, key: &'static str) -> Origin {
        self.origins.get(&(table, key)).cloned().unwrap_or(Origin::Default)
    }
}

/// Reads a configuration file.
fn read(path: &Path) -> Result<String, ConfigErrors> {
    let refuse = |what: String, remedy: &str| ConfigError {
        origin: Origin::Flag("--config"),
        key: path.display().to_string(),
        value: None,
        what,
        remedy: remedy.to_owned(),
    };
    let metadata = std::fs::metadata(path)
        .map_err(|error| refuse(format!("cannot be read: {error}"), "name a file that exists and may be read"))?;
    if metadata.is_dir() {
        return Err(refuse("is a directory".into(), "name the file in it").into());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(refuse(format!("is {} bytes long", metadata.len()), "at most 1 MiB is read").into());
    }
    std::fs::read_to_string(path)
        .map_err(|error| refuse(format!("cannot be read: {error}"), "name a text file that may be read").into())
}

/// The flags that stand for one key each.
fn flag_entries(flags: &Flags) -> Vec<Entry> {
    let single = [
        ("node", "shards", "--shards", &flags.shards),
        ("node", "cores", "--cores", &flags.cores),
        ("node", "service_cores", "--service-cores", &flags.service_cores),
        ("node", "profile", "--profile", &flags.profile),
        ("log", "level", "--log", &flags.log),
        ("journal", "data_dir", "--data-dir", &flags.data_dir),
        ("journal", "enabled", "--no-persistence", &flags.journal),
    ];
    let entry = |(section, key, flag, text): (&str, _, _, &Option<String>)| {
        let (table, written) = (Table::named(section), text.clone()?);
        Some(Entry { table, key, raw: Raw::Bare(written.clone()), written, origin: Origin::Flag(flag) })
    };
    single.into_iter().filter_map(entry).collect()
}

/// Settings in the making.
struct Builder {
    settings: Settings,
    origins: BTreeMap<(Table, &'static str), Origin>,
    /// Where each listener begins.
    listeners: Vec<Origin>,
    errors: Vec<ConfigError>,
}

impl Builder {
    fn new(file: &Source, environment: &Source) -> Builder {
        let mut listeners = file.listeners.clone();
        listeners.extend(environment.listeners.iter().skip(listeners.len()).cloned());
        let mut settings = Settings::default();
        if listeners.is_empty() {
            listeners = vec![Origin::Default; settings.listeners.len()];
        } else {
            settings.listeners = vec![Listener::default(); listeners.len()];
        }
        Builder { settings, origins: BTreeMap::new(), listeners, errors: Vec::new() }
    }

    fn apply(&mut self, entry: Entry) {
        let found = match entry.table {
            Table::Listener(index) => {
                let key = LISTENER_KEYS.iter().find(|key| key.name == entry.key);
                key.zip(self.settings.listeners.get_mut(index)).map(|(key, place)| (&key.kind, (key.at)(place)))
            }
            Table::Section(_) => {
                let keys = entry.table.section().map_or(&[][..], |section| section.keys);
                let key = keys.iter().find(|key| key.name == entry.key);
                key.map(|key| (&key.kind, (key.at)(&mut self.settings)))
            }
        };
        // Sources bring only keys that their table has.
        let Some((kind, place)) = found else { return };
        if let Err(refused) = place.read(kind, &entry.raw) {
            self.errors.push(refusal(&entry, kind, refused));
        }
        self.origins.insert((entry.table, entry.key), entry.origin);
    }

    /// `--bind` replaces the listeners; one that the file or environment has at the same address keeps its other keys.
    fn apply_bind(&mut self, binds: &[String]) {
        if binds.is_empty() {
            return;
        }
        let configured = std::mem::take(&mut self.settings.listeners);
        let origins = std::mem::take(&mut self.origins);
        self.listeners = vec![Origin::Flag("--bind"); binds.len()];
        for (index, text) in binds.iter().enumerate() {
            let (table, written) = (Table::Listener(index), text.clone());
            let raw = Raw::Bare(text.clone());
            let entry = Entry { table, key: "bind", raw: raw.clone(), written, origin: Origin::Flag("--bind") };
            let mut bind = None;
            if let Err(refused) = Field::Endpoint(&mut bind).read(&Kind::Endpoint, &raw) {
                self.errors.push(refusal(&entry, &Kind::Endpoint, refused));
            }
            let known = configured.iter().position(|listener| bind.is_some() && listener.bind == bind);
            let listener = known.map_or_else(|| Listener { bind, ..Listener::default() }, |at| configured[at].clone());
            self.settings.listeners.push(Listener { optional: false, ..listener });
            for key in LISTENER_KEYS {
                let written = known.and_then(|at| origins.get(&(Table::Listener(at), key.name)));
                self.origins.extend(written.map(|origin| ((table, key.name), origin.clone())));
            }
            self.origins.insert((table, "bind"), Origin::Flag("--bind"));
        }
        let sections = origins.into_iter().filter(|((table, _), _)| matches!(table, Table::Section(_)));
        self.origins.extend(sections);
        if binds.len() > LISTENERS_MAX {
            self.error(
                Origin::Flag("--bind"),
                "listener",
                None,
                "too many listeners",
                "write --bind fewer times".into(),
            );
        }
    }

    /// `--port` changes the port of each listener of plain MQTT.
    fn apply_port(&mut self, port: Option<&str>) {
        let Some(text) = port else { return };
        let Ok(port) = text.parse::<u16>() else {
            let remedy = "write a whole number from 0 to 65535".to_owned();
            return self.error(Origin::Flag("--port"), "listener[0].bind", Some(text), "not a port", remedy);
        };
        for (index, listener) in self.settings.listeners.iter_mut().enumerate() {
            if let (Some(Endpoint::Tcp(bind)), Transport::Tcp) = (&mut listener.bind, listener.transport) {
                bind.set_port(port);
                self.origins.insert((Table::Listener(index), "bind"), Origin::Flag("--port"));
            }
        }
    }

    fn error(&mut self, origin: Origin, key: &str, value: Option<&str>, what: &str, remedy: String) {
        let (key, value, what) = (key.to_owned(), value.map(str::to_owned), what.to_owned());
        self.errors.push(ConfigError { origin, key, value, what, remedy });
    }
}

fn refusal(entry: &Entry, kind: &Kind, refused: Refused) -> ConfigError {
    ConfigError {
        origin: entry.origin.clone(),
        key: entry.table.path(entry.key),
        value: Some(entry.written.clone()),
        what: refused.what,
        remedy: refused.remedy.unwrap_or_else(|| format!("write {}", kind.wanted())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::log::Level;

    fn merged(file: &str, environment: &[(&str, &str)], flags: Flags) -> Result<Configuration, ConfigErrors> {
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let file = if file.is_empty() { Source::default() } else { source::from_file("f.toml", file) };
        Configuration::merge(file, source::from_environment(environment), &flags)
    }

    fn only_error(file: &str, environment: &[(&str, &str)], flags: Flags) -> String {
        let errors = merged(file, environment, flags).expect_err("refused").0;
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].to_string()
    }

    fn binds(configuration: &Configuration) -> Vec<String> {
        let bind = |listener: &Listener| listener.bind.as_ref().map(Endpoint::to_string).unwrap_or_default();
        configuration.settings.listeners.iter().map(bind).collect()
    }

    fn flag_bind(addresses: &[&str]) -> Flags {
        Flags { bind: addresses.iter().map(|address| address.to_string()).collect(), ..Flags::default() }
    }

    /// Nothing written: loopback on the MQTT port, each address only where the machine has it.
    #[test]
    fn the_default_is_loopback() {
        let configuration = merged("", &[], Flags::default()).expect("the default");
        assert_eq!(binds(&configuration), ["127.0.0.1:1883", "[::1]:1883"]);
        assert!(configuration.settings.listeners.iter().all(|listener| listener.optional));
    }

    /// The environment goes before the file, a flag before both, and each value knows where it comes from.
    #[test]
    fn file_then_environment_then_flags() {
        let file = "[log]\nlevel = \"error\"\n[node]\nshards = 1\n[limits]\nmax_inflight = 1\n";
        let environment = [("RINGMAIN__LOG__LEVEL", "warn"), ("RINGMAIN__NODE__SHARDS", "2")];
        let flags = Flags { log: Some("debug".into()), ..Flags::default() };
        let configuration = merged(file, &environment, flags).expect("a good configuration");
        let Settings { log, node, limits, .. } = &configuration.settings;
        assert_eq!((log.level, node.shards, limits.max_inflight), (Level::Debug, Some(2), 1));
        assert_eq!(configuration.origin(Table::named("log"), "level"), Origin::Flag("--log"));
        assert_eq!(configuration.origin(Table::named("limits"), "max_inflight").to_string(), "f.toml:6:1");
        assert_eq!(configuration.origin(Table::named("sys"), "interval"), Origin::Default);
    }

    /// The environment changes a listener of the file, and adds the next one.
    #[test]
    fn the_environment_changes_and_adds_listeners() {
        let file = "[[listener]]\nbind = \"127.0.0.1:1\"\n";
        let environment = [("RINGMAIN__LISTENER__0__BIND", "127.0.0.1:2"), ("RINGMAIN__LISTENER__1__BIND", "[::1]:3")];
        assert_eq!(binds(&merged(file, &environment, Flags::default()).expect("good")), ["127.0.0.1:2", "[::1]:3"]);
        let gap = [("RINGMAIN__LISTENER__1__BIND", "[::1]:3")];
        assert!(only_error("", &gap, Flags::default()).contains("listener[0].bind: missing"));
    }

    /// An address that others can reach needs a written word, and `--bind` takes that word only from a listener at the
    /// very same address.
    #[test]
    fn reachable_addresses_need_a_word() {
        let refused = only_error("", &[], flag_bind(&["0.0.0.0:1883"]));
        assert!(refused.contains("without authentication") && refused.contains("allow_anonymous = true"), "{refused}");
        let elsewhere = "[[listener]]\nbind = \"127.0.0.1:1883\"\nallow_anonymous = true\n";
        assert!(merged(elsewhere, &[], flag_bind(&["0.0.0.0:1883"])).is_err());
        let here = "[[listener]]\nbind = \"0.0.0.0:1883\"\nallow_anonymous = true\n";
        assert_eq!(binds(&merged(here, &[], flag_bind(&["0.0.0.0:1883"])).expect("written")), ["0.0.0.0:1883"]);
        let false_word = "[[listener]]\nbind = \"127.0.0.1:1\"\nallow_anonymous = false\n";
        assert!(only_error(false_word, &[], Flags::default()).contains("nobody could connect"));
    }

    /// `--bind` stands instead of all listeners; `--port` changes their ports and may make two the same.
    #[test]
    fn flags_for_addresses() {
        let both = flag_bind(&["127.0.0.1:0", "127.0.0.1:0"]);
        assert_eq!(binds(&merged("", &[], both).expect("port 0 is free to choose twice")), ["127.0.0.1:0"; 2]);
        let port = |port: &str| Flags { port: Some(port.into()), ..Flags::default() };
        assert_eq!(binds(&merged("", &[], port("7")).expect("good")), ["127.0.0.1:7", "[::1]:7"]);
        let file = "[[listener]]\nbind = \"[::1]:1\"\n[[listener]]\nbind = \"[::1]:2\"\n";
        assert!(
            only_error(file, &[], port("7")).starts_with("--port: listener[1].bind = \"[::1]:7\": listener[0] has")
        );
        assert!(only_error("", &[], port("65536")).contains("not a port"));
    }

    /// Sizes of the journal are whole pages, and only a journal that is used is held against the limits.
    #[test]
    fn sizes_of_the_journal() {
        let file = "[limits]\nmax_packet_size = \"8MiB\"\n[journal]\nsegment_size = \"1MB\"\n";
        let flags = Flags { journal: Some("false".into()), data_dir: Some("d".into()), ..Flags::default() };
        let journal = merged(file, &[], flags).expect("a good configuration").settings.journal;
        assert_eq!((journal.segment_size, journal.durability()), (1_003_520, super::super::Durability::Memory));
        assert_eq!(journal.data_dir.as_deref(), Some(Path::new("d")));
        assert!(merged(file, &[], Flags::default()).is_err());
    }

    /// Relations between values, and between values and the kernel's rules, are checked with a place and a remedy.
    #[test]
    fn relations_are_checked() {
        for (file, expected) in [
            (
                "[limits]\nmax_queued_bytes = \"2KB\"",
                "f.toml:2:1: limits.max_queued_bytes = \"2KB\": less than max_packet_size",
            ),
            (
                "[[listener]]\nbind = \"[::1]:1\"\ntransport = \"quic\"",
                "f.toml:3:1: listener[0].transport = \"quic\": not a known word",
            ),
            (
                "[[listener]]\nbind = \"[::1]:1\"\npath = \"/x\"",
                "f.toml:3:1: listener[0].path: means nothing with transport = \"tcp\"",
            ),
            (
                "[[listener]]\nbind = \"[::1]:1\"\ntransport = \"ws\"\npath = \"mqtt\"",
                "f.toml:4:1: listener[0].path: not the path of a URL",
            ),
            (
                "[[listener]]\nbind = \"/run/x.sock\"",
                "f.toml:2:1: listener[0].bind = \"/run/x.sock\": a path is the address of no TCP",
            ),
            (
                "[[listener]]\nbind = \"[::1]:1\"\ntransport = \"unix\"",
                "f.toml:2:1: listener[0].bind = \"[::1]:1\": no path of a Unix socket",
            ),
            (
                "[[listener]]\nbind = \"[::1]:1\"\nproxy_protocol = true",
                "f.toml:3:1: listener[0].proxy_protocol = true: no proxy is trusted",
            ),
            (
                "[[listener]]\nbind = \"[::1]:1\"\nproxy_trusted = [\"::1\"]",
                "f.toml:3:1: listener[0].proxy_trusted: nothing is asked",
            ),
            (
                "[[listener]]\nbind = \"[::1]:1\"\nproxy_trusted = [\"::x\"]",
                "f.toml:3:1: listener[0].proxy_trusted = [\"::x\"]: \"::x\" is neither an address",
            ),
            (
                "[[listener]]\nbind = \"[::1]:1\"\nname = \"a\"\n[[listener]]\nbind = \"[::1]:2\"\nname = \"a\"",
                "f.toml:6:1: listener[1].name = \"a\": listener[0] has this name",
            ),
            ("[kernel]\nsq_entries = 1000", "f.toml:2:1: kernel.sq_entries = 1000: out of range"),
            ("[placement]\nrules = [\"a/b\"]", "f.toml:2:1: placement.rules = [\"a/b\"]: partition rule 1"),
            ("[node]\ndurability = \"fsync\"", "f.toml:2:1: node.durability = \"fsync\": unknown key"),
            (
                "[limits]\nmax_packet_size = \"4MiB\"\n[journal]\nsegment_size = \"1MB\"\nstaging_size = \"64MiB\"",
                "f.toml:4:1: journal.segment_size = \"980KiB\": it cannot hold a message of limits.max_packet_size",
            ),
            (
                "[limits]\nmax_connect_size = \"2MiB\"",
                "f.toml:2:1: journal.staging_size = \"8MiB\": a quarter of it cannot hold a message of \
                 limits.max_connect_size = \"2MiB\"\n  remedy: write at least \"9MiB\", or lower",
            ),
            ("[access_http]\nurl = \"auth.example\"", "f.toml:2:1: access_http.url = \"auth.example\": names no host"),
            ("[journal]\ndata_dir = \"\"", "f.toml:2:1: journal.data_dir = \"\": no file has an empty name"),
        ] {
            let error = only_error(file, &[], Flags::default());
            assert!(error.starts_with(expected) && error.contains("\n  remedy: "), "{error}");
        }
    }
}
