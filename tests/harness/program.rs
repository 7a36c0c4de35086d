//! Which broker is tested, where its program is, and its configuration in its own words.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs, net};

use crate::DEADLINE;
use crate::broker::{Data, Setup};
use crate::process::Process;
use crate::stream::Transport;

/// The brokers that the tests can run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Ours.
    Ringmain,
    /// Debian's mosquitto, to test the tests: `RINGMAIN_TEST_BROKER=mosquitto`.
    Mosquitto,
}

/// How to start a broker: the program, its arguments, and the words in its log that come before its address or say
/// that it runs.
pub struct Launch {
    /// The path or name of the program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What its log says when it accepts connections.
    pub ready: &'static str,
    /// The port, where it is chosen before the start.
    pub port: Option<u16>,
}

impl Program {
    /// The broker that this run tests.
    pub fn tested() -> Self {
        match env::var("RINGMAIN_TEST_BROKER").as_deref() {
            Err(_) | Ok("" | "ringmain") => Self::Ringmain,
            Ok("mosquitto") => Self::Mosquitto,
            Ok(other) => panic!("RINGMAIN_TEST_BROKER is {other}; it may be ringmain or mosquitto"),
        }
    }

    /// Writes the configuration and says how to start.
    pub fn launch(self, setup: &Setup, directory: &Path) -> Launch {
        match self {
            Self::Ringmain => launch_ringmain(setup, directory),
            Self::Mosquitto => launch_mosquitto(setup, directory),
        }
    }
}

fn launch_ringmain(setup: &Setup, directory: &Path) -> Launch {
    let bind = format!("127.0.0.1:{}", setup.port);
    let mut args = vec!["--shards".to_owned(), setup.shards.to_string()];
    // Keys of the top level come before any table.
    let mut file_text = setup.tables.clone();
    if setup.listeners.is_empty() && Transport::tested() == Transport::Tcp {
        args.extend(["--bind".to_owned(), bind]);
    } else {
        let word = Transport::tested().word();
        let keys = Transport::tested().keys();
        file_text.push_str(&format!("\n[[listener]]\nbind = \"{bind}\"\ntransport = \"{word}\"\n{keys}"));
        if Transport::tested() != Transport::Tcp {
            file_text.push_str("[[listener]]\nbind = \"127.0.0.1:0\"\n");
        }
        for keys in &setup.listeners {
            file_text.push_str(&format!("[[listener]]\n{keys}\n"));
        }
    }
    if matches!(setup.data, Data::Nowhere) {
        args.push("--no-persistence".to_owned());
    }
    if !file_text.is_empty() {
        let file = directory.join("ringmain.toml");
        fs::write(&file, &file_text).expect("the scratch directory can be written");
        args.extend(["--config".to_owned(), file.display().to_string()]);
    }
    Launch { program: ringmain().display().to_string(), args, ready: "listening on 127.0.0.1:", port: None }
}

fn launch_mosquitto(setup: &Setup, directory: &Path) -> Launch {
    // Mosquitto takes no port 0. Between closing this one and its start somebody else may take it: then the start
    // fails and is tried again.
    let port = match setup.port {
        0 => net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port(),
        port => port,
    };
    let file = directory.join("mosquitto.conf");
    let always = "allow_anonymous true\npersistence false\nsys_interval 1\nset_tcp_nodelay true\nlog_dest stderr";
    let conf = format!("listener {port} 127.0.0.1\n{always}\n{}", setup.mosquitto);
    fs::write(&file, conf).expect("the scratch directory can be written");
    let args = vec!["-c".to_owned(), file.display().to_string()];
    Launch { program: "/usr/sbin/mosquitto".to_owned(), args, ready: "running", port: Some(port) }
}

/// The program `ringmain`: `RINGMAIN_BIN`, else the one of this build's profile, built when it is missing or old.
pub fn ringmain() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            env::var_os("RINGMAIN_BIN").map_or_else(|| build("ringmain", "ringmain"), |path| root().join(path))
        })
        .clone()
}

/// Runs our program with environment variables and arguments to its end: exit code and all that it printed.
pub fn run(environment: &[(String, String)], args: &[&str]) -> (Option<i32>, String) {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let mut process = Process::start(&ringmain().display().to_string(), &args, environment);
    let status = process.exit(DEADLINE).unwrap_or_else(|| panic!("{args:?} runs on: {}", process.printed()));
    (status.code(), process.printed())
}

/// The load generator `ringload`: where it lies beside `RINGMAIN_BIN` that one, else the one of this build's profile.
pub fn ringload() -> PathBuf {
    let beside = env::var_os("RINGMAIN_BIN").map(|path| root().join(path).with_file_name("ringload"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| build("ringmain-benches", "ringload"))
}

/// Builds a program of a package in this build's profile.
fn build(package: &str, program: &str) -> PathBuf {
    let profile = profile_directory();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--quiet", "--package", package, "--bin", program, "--target-dir"]);
    cargo.arg(profile.parent().expect("a profile lies in a target directory"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "{cargo:?} failed; RINGMAIN_BIN may name a program that exists");
    profile.join(program)
}

/// Where files of this run go: inside the target directory.
pub fn scratch(name: &str) -> PathBuf {
    let target = profile_directory().parent().expect("a profile lies in a target directory").to_owned();
    let directory = target.join("tmp").join(format!("{}-{name}", std::process::id()));
    fs::create_dir_all(&directory).expect("the target directory can be written");
    directory
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().expect("the tests lie in the workspace").to_owned()
}

/// `target/debug` or `target/release`: two above the test's own executable.
fn profile_directory() -> PathBuf {
    let executable = env::current_exe().expect("a path of our own");
    executable.ancestors().nth(2).expect("tests lie in deps of the profile").to_owned()
}
