//! A broker of its own: configured, started by the event that it listens, stopped within a deadline.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::DEADLINE;
use crate::client::Options;
use crate::packet::Version;
use crate::process::Process;
use crate::program::{Program, scratch};

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many shards; ours alone has them.
    pub shards: u32,
    /// The port, 0 for a free one.
    pub port: u16,
    /// Tables of `ringmain.toml`.
    pub tables: String,
    /// Lines of `mosquitto.conf` that mean the same.
    pub mosquitto: String,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

/// A running broker; killed when dropped.
pub struct Broker {
    process: Process,
    address: SocketAddr,
    directory: PathBuf,
}

impl Setup {
    /// Defaults, with this many shards.
    pub fn shards(shards: u32) -> Self {
        Self { shards, port: 0, tables: String::new(), mosquitto: String::new(), environment: Vec::new() }
    }

    /// Adds tables of `ringmain.toml`.
    pub fn toml(mut self, tables: &str) -> Self {
        self.tables.push_str(tables);
        self.tables.push('\n');
        self
    }

    /// Adds lines of `mosquitto.conf`.
    pub fn mosquitto(mut self, lines: &str) -> Self {
        self.mosquitto.push_str(lines);
        self.mosquitto.push('\n');
        self
    }

    /// Listens on this port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the tested broker; panics with its output when it does not come to listen.
    pub fn start(&self) -> Broker {
        for attempt in 1..=3 {
            match self.try_start() {
                Ok(broker) => return broker,
                Err(printed) if attempt < 3 && printed.contains("in use") && self.port == 0 => {}
                Err(printed) => panic!("the broker does not listen; it printed:\n{printed}"),
            }
        }
        unreachable!("the third attempt returns or panics")
    }

    /// Starts the tested broker; what it printed when it does not come to listen.
    pub fn try_start(&self) -> Result<Broker, String> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let directory = scratch(&STARTED.fetch_add(1, Ordering::Relaxed).to_string());
        let launch = Program::tested().launch(self, &directory);
        let process = Process::start(&launch.program, &launch.args, &self.environment);
        let line = process.wait_for(launch.ready, DEADLINE)?;
        let port = launch.port.unwrap_or_else(|| leading_number(&line));
        Ok(Broker { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), directory })
    }
}

impl Broker {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A clean connection to be made with this client identifier.
    pub fn client(&self, version: Version, client_id: &str) -> Options {
        Options::new(self.address, version, client_id)
    }

    /// Asks it to stop by SIGTERM and waits for its end, which must come within `deadline`.
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.process.signal("TERM");
        self.process
            .exit(deadline)
            .unwrap_or_else(|| panic!("still running {deadline:?} after SIGTERM:\n{}", self.log()))
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything that it has printed.
    pub fn log(&self) -> String {
        self.process.printed()
    }

    /// The memory of its own in bytes, from `smaps_rollup`.
    pub fn anonymous_bytes(&self) -> u64 {
        let file = format!("/proc/{}/smaps_rollup", self.process.id());
        let text = std::fs::read_to_string(file).expect("a process of our own can be read");
        let line =
            text.lines().find(|line| line.starts_with("Anonymous:")).expect("the kernel counts anonymous memory");
        let kib = line.split_ascii_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        kib.expect("a number of KiB") * 1024
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A leftover in the target directory does no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn leading_number(line: &str) -> u16 {
    let digits: String = line.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no port at the start of {line:?}"))
}
