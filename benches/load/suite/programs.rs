//! Which programs there are, and which versions.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::args::Suite;
use super::broker::{BROKERS, Broker};
use super::document::Program;
use super::launch;

/// Where the brokers' programs are.
pub struct Programs {
    found: Vec<(Broker, PathBuf)>,
    /// The folder of `benches/peers/install`.
    pub peers: PathBuf,
}

impl Programs {
    /// Looks for all of them.
    ///
    /// # Errors
    /// A program named by a flag or RINGMAIN_BIN does not exist.
    pub fn find(args: &Suite) -> Result<Programs, Box<dyn Error>> {
        let own = std::env::current_exe()?;
        let peers = match &args.peers {
            // A broker runs in a directory of its own, where a relative path leads nowhere.
            Some(folder) => std::path::absolute(folder)?,
            // Beside the profile's folder, which is where cargo put this program.
            None => own.ancestors().nth(2).unwrap_or(Path::new("target")).join("peers"),
        };
        let floor = named("floor", args.floor.as_deref())?;
        let ringmain = ringmain(&args.ringmain)?;
        let path = |broker: Broker| match broker.program() {
            "floor" => floor.clone(),
            "ringmain" => ringmain.clone(),
            "rabbitmq-server" => rabbitmq(&peers),
            name => in_path(name, &peers),
        };
        let found = BROKERS.into_iter().filter_map(|broker| Some((broker, path(broker)?))).collect();
        Ok(Programs { found, peers })
    }

    /// The program of a broker.
    pub fn path(&self, broker: Broker) -> Option<&Path> {
        self.found.iter().find(|(other, _)| *other == broker).map(|(_, path)| path.as_path())
    }

    /// All that were found, with versions and configurations.
    pub fn describe(&self, wanted: impl Fn(Broker) -> bool) -> Vec<Program> {
        let describe = |(broker, path): &(Broker, PathBuf)| Program {
            name: broker.title().to_owned(),
            version: version(*broker, path),
            configuration: launch::configuration(*broker),
        };
        self.found.iter().filter(|(broker, _)| wanted(*broker)).map(describe).collect()
    }

    /// Names of programs that were not found, and how to get them.
    pub fn missing(&self, wanted: impl Fn(Broker) -> bool) -> Vec<(String, String)> {
        let mut missing: Vec<(String, String)> = Vec::new();
        for broker in BROKERS.into_iter().filter(|broker| wanted(*broker) && self.path(*broker).is_none()) {
            let remedy = match broker.program() {
                "floor" => "`cargo build --release -p ringmain-benches`, or --floor PATH",
                "ringmain" => "`cargo build --release -p ringmain`, or --ringmain PATH",
                _ => "`make peers`",
            };
            if missing.last().is_none_or(|(name, _)| name != broker.program()) {
                missing.push((broker.program().to_owned(), remedy.to_owned()));
            }
        }
        missing
    }
}

/// The `ringmain` program: the one that the flag names, or RINGMAIN_BIN, or the one beside this program if it is there.
///
/// # Errors
/// One that was named does not exist.
pub fn ringmain(flag: &Option<PathBuf>) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let variable = std::env::var_os("RINGMAIN_BIN").map(PathBuf::from);
    named("ringmain", flag.clone().or(variable).as_deref())
}

/// The same where nothing can be done without it.
///
/// # Errors
/// There is none.
pub fn needed_ringmain(flag: &Option<PathBuf>) -> Result<PathBuf, Box<dyn Error>> {
    let found = ringmain(flag)?;
    found.ok_or_else(|| "ringmain is not installed: `cargo build --release -p ringmain`, or --ringmain PATH".into())
}

fn named(name: &str, path: Option<&Path>) -> Result<Option<PathBuf>, Box<dyn Error>> {
    match path {
        Some(path) if path.exists() => Ok(Some(std::path::absolute(path)?)),
        Some(path) => Err(format!("{name}: {} does not exist", path.display()).into()),
        None => Ok(Some(std::env::current_exe()?.with_file_name(name)).filter(|path| path.exists())),
    }
}

/// A program of the peers' folder, or else of PATH.
fn in_path(name: &str, peers: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![peers.join("bin")];
    folders.extend(std::env::split_paths(&path));
    // Debian keeps daemons where users do not look.
    folders.push("/usr/sbin".into());
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The start script below Debian's library folder: the one in /usr/sbin wants to be root and changes its user.
fn rabbitmq(peers: &Path) -> Option<PathBuf> {
    let libraries = [peers.join("root/usr/lib/rabbitmq/lib"), "/usr/lib/rabbitmq/lib".into()];
    let versions = libraries.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    versions.map(|entry| entry.path().join("sbin/rabbitmq-server")).find(|path| path.is_file())
}

/// What a program says of its version.
fn version(broker: Broker, path: &Path) -> String {
    let said = |flag: &str| {
        let output = Command::new(path).arg(flag).stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
    };
    let version = match broker.program() {
        "floor" => Some(format!("floor {}", env!("CARGO_PKG_VERSION"))),
        "mosquitto" => said("-h"),
        "rabbitmq-server" => {
            let folder = path.ancestors().nth(2).and_then(Path::file_name).map(|name| name.to_string_lossy());
            folder.map(|name| name.replace("rabbitmq_server-", "rabbitmq-server "))
        }
        _ => said("--version"),
    };
    version.unwrap_or_else(|| "unknown".to_owned())
}
