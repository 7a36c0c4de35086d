//! A node with a journal.

use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::args::Journal;
use crate::broker::Process;
use crate::suite::{launch, programs};

/// Queues that hold what these measures put into them.
const LIMITS: [(&str, &str); 4] = [
    ("RINGMAIN__LIMITS__MAX_QUEUED_MESSAGES", "100000000"),
    ("RINGMAIN__LIMITS__MAX_QUEUED_BYTES", "64GiB"),
    ("RINGMAIN__LIMITS__QUEUE_MEMORY", "64GiB"),
    ("RINGMAIN__LIMITS__MAX_INFLIGHT", "65535"),
];

/// Where a node lives, and with what it starts.
pub struct Home {
    program: PathBuf,
    /// The cores of all of it, and that of its shard.
    cores: String,
    core: String,
    /// Absent: it has no journal.
    data: Option<TempDir>,
    environment: Vec<(&'static str, String)>,
}

/// A node that runs; it ends with its value.
pub struct Node {
    child: Child,
    port: u16,
}

impl Home {
    /// An empty one.
    ///
    /// # Errors
    /// The program is not there, or the directory cannot be written.
    pub fn new(args: &Journal, with_journal: bool) -> Result<Home, Box<dyn Error>> {
        let program = programs::needed_ringmain(&args.ringmain)?;
        let directory = || tempfile::Builder::new().prefix("journal-").tempdir_in(&args.directory);
        let data = with_journal.then(directory).transpose()?;
        let core = args.broker_core.to_string();
        let keeper = args.keeper_core.map(|keeper| keeper.to_string());
        let cores = keeper.as_ref().map_or_else(|| core.clone(), |keeper| format!("{core},{keeper}"));
        let environment = keeper.map(|keeper| ("RINGMAIN__NODE__SERVICE_CORES", keeper)).into_iter().collect();
        Ok(Home { program, cores, core, data, environment })
    }

    /// With all cores of this machine for what is neither shard nor keeper: the start.
    ///
    /// # Errors
    /// The kernel does not say which there are.
    pub fn on_all_cores(mut self) -> io::Result<Home> {
        self.cores = fs::read_to_string("/sys/devices/system/cpu/online")?.trim().to_owned();
        Ok(self)
    }

    /// With this key of the configuration.
    pub fn with(mut self, variable: &'static str, value: impl Into<String>) -> Home {
        self.environment.push((variable, value.into()));
        self
    }

    /// Starts a node here, and waits until it listens.
    ///
    /// # Errors
    /// It does not; the error quotes what it said.
    pub fn start(&self) -> Result<Node, Box<dyn Error>> {
        let mut command = launch::on_core(&self.cores, &self.program);
        command.args(["--bind", "127.0.0.1:0", "--shards", "1", "--cores", &self.core]);
        match &self.data {
            Some(data) => command.arg("--data-dir").arg(data.path()),
            None => command.arg("--no-persistence"),
        };
        command.envs(LIMITS).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let (child, port) = launch::listening(command)?;
        Ok(Node { child, port })
    }

    /// Bytes of the records in the journal, and how many there are, as `ringmain journal verify` tells them.
    ///
    /// # Errors
    /// It finds damage.
    pub fn records(&self) -> Result<(u64, u64), Box<dyn Error>> {
        let mut command = Command::new(&self.program);
        command.args(["journal", "verify", "--json", "--data-dir"]).arg(self.data()).stderr(Stdio::inherit());
        let output = command.output()?;
        let said: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("`ringmain journal verify --json` said no JSON: {error}"))?;
        let shards = said["shards"].as_array().ok_or("`ringmain journal verify --json` names no shards")?;
        let sum = |name: &str| shards.iter().filter_map(|shard| shard[name].as_u64()).sum();
        Ok((sum("bytes"), sum("records")))
    }

    /// The files of the journal; not the control socket.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut folders = vec![self.data().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
        }
        Ok(files)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        self.data.as_ref().expect("it has a journal").path()
    }
}

impl Node {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        launch::end(&mut self.child, Signal::KILL);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        launch::end(&mut self.child, Signal::KILL);
    }
}
