//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Print the configuration reference, or the annotated file.
    #[command(hide = true)]
    Reference {
        /// Which of the generated texts.
        what: Reference,
    },
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
    /// Listen on this port on each configured address; 0 lets the kernel choose
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
}
