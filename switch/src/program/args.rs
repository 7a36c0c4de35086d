//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::tune::Tune;
use crate::config::Flags;

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Serve until told to stop.
    Serve(Options),
    /// Only say whether the configuration can be used.
    Test(Options),
    /// Print the configuration in effect and the memory that it bounds.
    Check(Options),
    /// Look at a data directory, copy or mend it.
    Journal(Journal),
    /// Change a password file.
    Passwd(Passwd),
    /// Look at the machine, plan for it, change it, or take that back.
    Tune(Tune),
    /// Ask a running node to read its files again.
    Reload(Place),
    /// Print a text that is generated from the definitions.
    Reference(Reference),
}

/// Reads the process's arguments; prints help, version or a usage error and exits (0, 0, 2) where that is the answer.
pub fn parse() -> Request {
    Cli::parse().request()
}

const AFTER_HELP: &str = "\
Without a file it serves MQTT on 127.0.0.1:1883 and [::1]:1883, with one shard for each core that it may use.
Every key of the file can be set in the environment too: RINGMAIN__LIMITS__MAX_INFLIGHT=64,
RINGMAIN__LISTENER__0__BIND=127.0.0.1:1884. File < environment < flags.
Exit codes: 0 stopped, 2 wrong usage or configuration, 1 any other failure.";

/// An MQTT 3.1.1 and 5.0 message switch: each core owns its sockets and a part of the topics, over io_uring.
#[derive(Debug, Parser)]
#[command(name = "ringmain", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop (this is what happens without a command, too).
    Serve(ServeOptions),
    /// Print the configuration in effect, where each value comes from, and the memory that it bounds.
    Check(Options),
    /// Look at the journal in a data directory, copy it, or mend it.
    Journal {
        /// What to do.
        #[command(subcommand)]
        journal: Journal,
    },
    /// Change a password file: add a user, change a password, or remove a user
    Passwd(Passwd),
    /// Look at this machine, plan for it, apply the plan, or take it back.
    Tune {
        /// What to do.
        #[command(subcommand)]
        tune: Tune,
    },
    /// Ask a running node to read its configuration and files again, and say what came of it
    #[command(after_help = RELOAD_HELP)]
    Reload(Place),
    /// Print the configuration reference, or the annotated file.
    #[command(hide = true)]
    Reference {
        /// Which of the generated texts.
        what: Reference,
    },
}

const RELOAD_HELP: &str = "\
Certificates, password files, rules and bans are read again as at SIGHUP: all, or none if one of them cannot be used.
Changed keys of TLS are applied; any other takes a restart: it is named, and nothing is changed.
The node is found by its data directory, as the program finds that: --data-dir, else the environment, the file, and the
user's own; or by node.control_socket.
Exit codes: 0 everything was read again, 1 nothing was changed or no node was reached, 2 wrong usage or configuration.";

const PASSWD_HELP: &str = "\
The password is asked for on the terminal, or read from standard input where that is none. A running node reads
the file again at SIGHUP.";

/// What is done with a password file. The letters are those of mosquitto_passwd.
#[derive(Debug, Args)]
#[command(after_help = PASSWD_HELP)]
pub struct Passwd {
    /// Make a new file; one that is there is replaced
    #[arg(short = 'c', long, conflicts_with = "delete")]
    pub create: bool,
    /// Remove the user
    #[arg(short = 'D', long, conflicts_with = "batch")]
    pub delete: bool,
    /// Take the password from the command line, where other users of this machine can read it
    #[arg(short = 'b', long, requires = "password")]
    pub batch: bool,
    /// How the password is hashed; scram-sha-256 serves clients that authenticate by that method, too
    #[arg(short = 'H', long, value_name = "HASH", default_value = "argon2id")]
    pub hash: HashKind,
    /// The password file
    pub file: PathBuf,
    /// The user
    pub user: String,
    /// The password, with -b
    #[arg(requires = "batch")]
    pub password: Option<String>,
}

/// How a password is hashed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum HashKind {
    /// Argon2id, 19 MiB.
    Argon2id,
    /// `$7$`, which mosquitto 1.6 and later read.
    #[value(name = "sha512-pbkdf2")]
    Pbkdf2,
    /// SCRAM-SHA-256.
    #[value(name = "scram-sha-256")]
    Scram,
}

const JOURNAL_HELP: &str = "\
The data directory is found as the program finds it: --data-dir, else the environment, the file, and the user's own.
Exit codes: 0 all is well, 1 damage was found, 2 wrong usage.";

/// What is done with a data directory.
#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Read everything and say what is there, by kind, and what is damaged; the node may be running
    #[command(after_help = JOURNAL_HELP)]
    Verify {
        /// Which directory.
        #[command(flatten)]
        place: Place,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print a line for each record, shard by shard, the oldest first; the node may be running
    #[command(after_help = JOURNAL_HELP)]
    Dump {
        /// Which directory.
        #[command(flatten)]
        place: Place,
        /// Print a JSON object for each record
        #[arg(long)]
        json: bool,
    },
    /// Give up what cannot be read, and keep it beside; the node must be stopped
    #[command(after_help = JOURNAL_HELP)]
    Repair {
        /// Which directory.
        #[command(flatten)]
        place: Place,
    },
    /// Copy everything that is on disk; the node may be running
    #[command(after_help = JOURNAL_HELP)]
    Backup {
        /// Where to: a directory that is missing or empty
        #[arg(value_name = "DIR")]
        to: PathBuf,
        /// Which directory.
        #[command(flatten)]
        place: Place,
    },
    /// Make a data directory of a backup
    #[command(after_help = JOURNAL_HELP)]
    Restore {
        /// The backup
        #[arg(value_name = "DIR")]
        from: PathBuf,
        /// Which directory.
        #[command(flatten)]
        place: Place,
    },
}

/// Which data directory.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// The configuration file (TOML) that names it; none is read without this
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl Place {
    /// The flags that stand above file and environment.
    pub fn flags(&self) -> Flags {
        // Whether the program would use it makes no difference here.
        Flags { data_dir: self.data_dir.clone(), journal: Some("true".to_owned()), ..Flags::default() }
    }
}

/// A text that is generated from the definitions of the keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Reference {
    /// docs/configuration.md.
    Markdown,
    /// ringmain.toml.
    Toml,
}

#[derive(Debug, Args)]
struct ServeOptions {
    #[command(flatten)]
    options: Options,
    /// Only test the configuration: exit with 0 if it can be used, with 2 if not
    #[arg(short = 't', long)]
    test_config: bool,
}

/// What serving and checking have in common.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// The configuration file (TOML); none is read without this
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen on this address instead of the configured ones; may be repeated
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "port")]
    bind: Vec<String>,
    /// Listen on this port on each configured address of plain MQTT; 0 lets the kernel choose
    #[arg(short, long, value_name = "N")]
    port: Option<String>,
    /// How many shards
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Cores for the shards, `0,2-5` for example
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// Cores for the service threads
    #[arg(long, value_name = "LIST")]
    service_cores: Option<String>,
    /// The directory of the journal; it is made where it is missing
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Keep everything in memory: what is acknowledged does not survive the process
    #[arg(long)]
    no_persistence: bool,
    /// Measure what shards spend their time with, and print it when they stop
    #[arg(long)]
    profile: bool,
    /// The least important lines to print: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", conflicts_with = "verbose")]
    log: Option<String>,
    /// Print everything: the same as --log debug
    #[arg(short, long)]
    verbose: bool,
}

impl Options {
    /// The flags that stand above file and environment.
    pub fn flags(&self) -> Flags {
        Flags {
            bind: self.bind.clone(),
            port: self.port.clone(),
            shards: self.shards.clone(),
            cores: self.cores.clone(),
            service_cores: self.service_cores.clone(),
            profile: self.profile.then(|| "true".to_owned()),
            data_dir: self.data_dir.clone(),
            journal: self.no_persistence.then(|| "false".to_owned()),
            log: if self.verbose { Some("debug".to_owned()) } else { self.log.clone() },
        }
    }
}

impl Cli {
    fn request(self) -> Request {
        match self.command {
            Some(Command::Check(options)) => Request::Check(options),
            Some(Command::Journal { journal }) => Request::Journal(journal),
            Some(Command::Passwd(passwd)) => Request::Passwd(passwd),
            Some(Command::Tune { tune }) => Request::Tune(tune),
            Some(Command::Reload(place)) => Request::Reload(place),
            Some(Command::Reference { what }) => Request::Reference(what),
            Some(Command::Serve(serve)) => serve.request(),
            None => self.serve.request(),
        }
    }
}

impl ServeOptions {
    fn request(self) -> Request {
        if self.test_config { Request::Test(self.options) } else { Request::Serve(self.options) }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The definitions are free of contradictions.
    #[test]
    fn definitions_hold() {
        Cli::command().debug_assert();
    }

    /// Flags mean the same with and without the word `serve`.
    #[test]
    fn serve_is_the_default() {
        let of = |arguments: &[&str]| Cli::try_parse_from([&["ringmain"], arguments].concat()).map(Cli::request);
        for arguments in [&["--bind", "127.0.0.1:0", "-v"][..], &["serve", "--bind", "127.0.0.1:0", "-v"]] {
            let Ok(Request::Serve(options)) = of(arguments) else { panic!("{arguments:?}") };
            let flags = options.flags();
            assert_eq!((flags.bind.as_slice(), flags.log.as_deref()), (&["127.0.0.1:0".to_owned()][..], Some("debug")));
        }
        assert!(matches!(of(&["-t", "-c", "f"]), Ok(Request::Test(_))));
        assert!(matches!(of(&["check", "-p", "1884"]), Ok(Request::Check(_))));
        assert!(of(&["--bind", "[::1]:1", "-p", "2"]).is_err());
        assert!(of(&["chekc"]).is_err());
    }

    /// `journal` takes the place of the directory after each of its commands.
    #[test]
    fn journal_has_commands() {
        let of =
            |arguments: &[&str]| Cli::try_parse_from([&["ringmain", "journal"], arguments].concat()).map(Cli::request);
        let Ok(Request::Journal(Journal::Verify { place, json: true })) = of(&["verify", "--json", "--data-dir", "d"])
        else {
            panic!("verify");
        };
        assert_eq!(place.flags().data_dir.as_deref(), Some("d"));
        assert!(matches!(of(&["backup", "to", "-c", "f"]), Ok(Request::Journal(Journal::Backup { .. }))));
        assert!(matches!(of(&["restore", "from"]), Ok(Request::Journal(Journal::Restore { .. }))));
        for wrong in [&[][..], &["backup"], &["repair", "--json"], &["verify", "--bind", "x"]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
