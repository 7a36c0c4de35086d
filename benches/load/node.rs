//! A `ringmain` that ringload starts itself, with a configuration that it knows: what can be repeated elsewhere.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::args::Run;
use crate::suite::{launch, programs};

/// How a configuration's keys are set from outside.
const PREFIX: &str = "RINGMAIN__";

/// What a node starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The text of its configuration file; empty: its defaults.
    #[serde(skip)]
    pub text: String,
    /// What messages call it.
    #[serde(skip)]
    pub name: String,
    /// Keys that the environment sets.
    pub environment: BTreeMap<String, String>,
}

impl Configuration {
    /// That of a file, where one is named, with what the environment sets now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(flag: &str, path: Option<&Path>) -> Result<Configuration, Box<dyn Error>> {
        let text = path.map(|path| {
            fs::read_to_string(path).map_err(|error| format!("{flag} {}: {error}; name a TOML file", path.display()))
        });
        let name = path.map_or("the configuration".to_owned(), |path| path.display().to_string());
        Ok(Configuration { text: text.transpose()?.unwrap_or_default(), name, environment: set_outside().collect() })
    }
}

/// Keys that the environment sets now.
fn set_outside() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with(PREFIX))
}

/// How nodes are started.
pub struct Starter {
    program: PathBuf,
    /// The cores that this program was given, before it took one of them.
    cores: String,
}

/// A node that runs; it ends with its value.
pub struct Node {
    child: Child,
    port: u16,
    /// Its configuration, and its journal if it has one.
    _directory: TempDir,
}

impl Starter {
    /// For the program that the flag names, RINGMAIN_BIN, or the one beside this program.
    ///
    /// # Errors
    /// There is none.
    pub fn new(flag: &Option<PathBuf>) -> Result<Starter, Box<dyn Error>> {
        let program = programs::needed_ringmain(flag)?;
        let status = fs::read_to_string("/proc/self/status")?;
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Ok(Starter { program, cores: cores.unwrap_or("0").trim().to_owned() })
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a node on a free port of the loopback interface, with a journal of its own where it has one, and waits until
    /// it listens.
    ///
    /// # Errors
    /// It does not; the error quotes what it said.
    pub fn start(&self, configuration: &Configuration) -> Result<Node, Box<dyn Error>> {
        let directory = tempfile::Builder::new().prefix("ringload-node-").tempdir()?;
        let file = directory.path().join("ringmain.toml");
        fs::write(&file, &configuration.text)?;
        let mut command = launch::on_core(&self.cores, &self.program);
        for (name, _) in set_outside() {
            command.env_remove(name);
        }
        command.envs(&configuration.environment);
        command.arg("-c").arg(&file).args(["--bind", "127.0.0.1:0", "--data-dir"]).arg(directory.path().join("data"));
        // Its user knows it by another name, or it came out of an archive.
        let named = |error: Box<dyn Error>| error.to_string().replace(&file.display().to_string(), &configuration.name);
        let (child, port) = launch::listening(command).map_err(named)?;
        Ok(Node { child, port, _directory: directory })
    }
}

impl Node {
    /// The same load, at this node.
    pub fn target(&self, run: &Run) -> Run {
        let mut run = run.clone();
        (run.target.host, run.target.port) = (vec!["127.0.0.1".to_owned()], self.port);
        run.target.broker_pid = Some(self.child.id());
        run
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        launch::end(&mut self.child, Signal::TERM);
    }
}
