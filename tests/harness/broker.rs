//! A broker of its own: configured, with a data directory of its own, started by the event that it listens, stopped
//! within a deadline.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::DEADLINE;
use crate::data::DataDirectory;
use crate::options::Options;
use crate::packet::Version;
use crate::process::Process;
use crate::program::{Program, scratch};
use crate::stream::Transport;

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many shards; ours alone has them.
    pub shards: u32,
    /// The port, 0 for a free one.
    pub port: u16,
    /// Tables of `ringmain.toml`.
    pub tables: String,
    /// Listeners besides the first one: the keys of each.
    pub listeners: Vec<String>,
    /// Lines of `mosquitto.conf` that mean the same.
    pub mosquitto: String,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Where it keeps what survives it.
    pub data: Data,
    /// A program and its arguments that become the broker, such as `prlimit --nofile=64`.
    pub under: Vec<String>,
}

/// Where a broker keeps what survives it.
#[derive(Clone, Debug)]
pub enum Data {
    /// In a directory of its own, made when it starts and removed when it is dropped.
    Fresh,
    /// In a directory that another broker may have used.
    Kept(DataDirectory),
    /// Nowhere: `--no-persistence`.
    Nowhere,
}

/// A running broker; killed when dropped.
pub struct Broker {
    process: Process,
    address: SocketAddr,
    _directory: Directory,
    data: Option<DataDirectory>,
}

impl Setup {
    /// Defaults, with this many shards.
    pub fn shards(shards: u32) -> Self {
        let (tables, mosquitto, environment) = (String::new(), String::new(), Vec::new());
        Self {
            shards,
            port: 0,
            tables,
            listeners: Vec::new(),
            mosquitto,
            environment,
            data: Data::Fresh,
            under: Vec::new(),
        }
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

    /// Adds a listener with these keys.
    pub fn listener(mut self, keys: &str) -> Self {
        self.listeners.push(keys.to_owned());
        self
    }

    /// Adds a listener for WebSocket with these keys besides.
    pub fn ws(self, keys: &str) -> Self {
        self.listener(&format!("bind = \"127.0.0.1:0\"\ntransport = \"ws\"\n{keys}"))
    }

    /// Adds a listener for TLS, `tls` or `wss`, that shows this run's identity, with these keys besides.
    pub fn encrypted(self, transport: Transport, keys: &str) -> Self {
        let (word, identity) = (transport.word(), transport.keys());
        self.listener(&format!("bind = \"127.0.0.1:0\"\ntransport = \"{word}\"\n{identity}{keys}"))
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

    /// Uses this data directory.
    pub fn on(mut self, data: &DataDirectory) -> Self {
        self.data = Data::Kept(data.clone());
        self
    }

    /// Keeps everything in memory.
    pub fn no_persistence(mut self) -> Self {
        self.data = Data::Nowhere;
        self
    }

    /// Starts it through a program that becomes the broker: its name and its arguments.
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|&word| word.to_owned()).collect();
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
        let (broker, ready) = self.spawn();
        let line = broker.process.wait_for(ready, DEADLINE)?;
        let port = if broker.address.port() == 0 { leading_number(&line) } else { broker.address.port() };
        Ok(Broker { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ..broker })
    }

    /// Starts the tested broker and sees it end by itself: its exit code and what it printed.
    pub fn refused(&self) -> (Option<i32>, String) {
        let (mut broker, _) = self.spawn();
        let status = broker.process.exit(DEADLINE);
        (status.unwrap_or_else(|| panic!("it was to end:\n{}", broker.log())).code(), broker.log())
    }

    /// Starts it; what it will print when it listens. The port is 0 as long as only the broker knows it.
    fn spawn(&self) -> (Broker, &'static str) {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let directory = scratch(&STARTED.fetch_add(1, Ordering::Relaxed).to_string());
        let launch = Program::tested().launch(self, &directory);
        let data = match &self.data {
            Data::Fresh => Some(DataDirectory::new()),
            Data::Kept(data) => Some(data.clone()),
            Data::Nowhere => None,
        };
        // What the test says comes last, and so goes before.
        let mut environment = data.as_ref().map(DataDirectory::environment).unwrap_or_default();
        environment.extend(self.environment.iter().cloned());
        let words: Vec<String> = self.under.iter().chain([&launch.program]).chain(&launch.args).cloned().collect();
        let process = Process::start(&words[0], &words[1..], &environment);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, launch.port.unwrap_or(0)));
        (Broker { process, address, _directory: Directory(directory), data }, launch.ready)
    }
}

impl Broker {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the listener is that the banner shows with this transport, or this transport and name: `ws`, `tcp, proxied`.
    pub fn listening(&self, kind: &str) -> SocketAddr {
        let shown = format!(" ({kind})\n");
        let line = format!(" ({kind})");
        self.process.wait_for(&line, DEADLINE).unwrap_or_else(|printed| panic!("no {kind} in:\n{printed}"));
        let log = self.log();
        let (before, _) = log.split_once(&shown).expect("it was just seen");
        let (_, address) = before.rsplit_once("listening on ").expect("the banner has lines");
        address.parse().expect("an address")
    }

    /// Where it listens for plain MQTT over TCP, whatever this run's transport is.
    pub fn tcp(&self) -> SocketAddr {
        if Transport::tested() == Transport::Tcp { self.address } else { self.listening("tcp") }
    }

    /// Waits until it has printed this.
    #[track_caller]
    pub fn process_log(&self, text: &str) {
        self.process.wait_for(text, DEADLINE).unwrap_or_else(|printed| panic!("no {text:?} in:\n{printed}"));
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

    /// Its data directory: held, it can be used by a second broker after this one.
    pub fn data(&self) -> DataDirectory {
        self.data.clone().expect("this broker keeps nothing")
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

/// A scratch directory, removed with its value.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // A leftover in the target directory does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn leading_number(line: &str) -> u16 {
    let digits: String = line.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no port at the start of {line:?}"))
}
