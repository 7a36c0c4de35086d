//! The command line: names as emqtt-bench has them where they fit.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bundle::args::{Diff, Keep, Report, Rerun};
use crate::journal::args::Journal;
use crate::layers::Transport;
use crate::packet::Version;
use crate::payload::STAMP_BYTES;
use crate::prove::args::Prove;
use crate::suite::args::Suite;
use crate::traffic::Pace;

/// Loads an MQTT broker, and counts exactly what became of each message.
///
/// Exit status: 0 all is well, 1 the run could not be made, 2 usage, 3 INVALID (messages were lost, repeated,
/// reordered, corrupted or misrouted, or a connection was closed), 130 interrupted.
#[derive(Parser)]
#[command(name = "ringload", version, disable_help_flag = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Print help.
    #[arg(long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Subcommand, Clone)]
pub enum Command {
    /// A few publishers, one topic, many subscribers (-c, 1000).
    Fanout(Run),
    /// Many publishers (-c, 1000), one topic, a few subscribers.
    Fanin(Run),
    /// Publishers and subscribers in pairs (-c, 500), a topic for each.
    Pairs(Run),
    /// Many topics (--rooms), each with its publishers and its subscribers (-c, 100 a room; --zipf: of all rooms
    /// together).
    Rooms(Run),
    /// Clients (-c, 1) that publish to themselves: the time of a round through the broker.
    PingPong(Run),
    /// Clients (-c, 10000), each with its own topic and all with one common one, at QoS 1 and 2: is every message
    /// there, once, in order and whole?
    Common(Run),
    /// A room (-c, 100) of which one more subscriber stops reading in every other window: do the others notice?
    Slow(Run),
    /// A room (-c, 100) while, in every other window, many more (--storm) connect and subscribe elsewhere: how fast are
    /// they served, and does the room notice?
    Storm(Run),
    /// Connections (-c, 1000) as fast as they are answered, or at -R a second.
    Connect(Run),
    /// Connections (-c, 18000) that subscribe to one topic and wait: what does each cost in memory?
    Idle(Run),
    /// What the journal costs and gives, beside what the disk gives.
    Journal(Journal),
    /// Floor, ringmain and other brokers in interleaved rounds, and a report of it.
    Suite(Suite),
    /// Is one configuration better than another? Pairs of runs on fresh nodes, and intervals.
    ///
    /// Exit status: 0 B is better at something and worse at nothing, 4 it is not, 1 it cannot be said.
    Prove(Prove),
    /// What differs between two kept runs (--keep): facts by name, and figures with intervals.
    Diff(Diff),
    /// Makes a kept run once more, and compares.
    Rerun(Rerun),
    /// Draws kept runs as one HTML page.
    Report(Report),
}

/// Where to, who, what, how fast and how long.
#[derive(Args, Clone)]
pub struct Run {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub keep: Keep,
    /// Clients: publishers, subscribers or pairs; the scenario says which, and how many there are by default.
    #[arg(short = 'c', long)]
    pub count: Option<u32>,
    /// Publishers of each topic (fanout, rooms, common, slow, storm).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub publishers: Option<u32>,
    /// Subscribers (fanin).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub subscribers: u32,
    /// Topics (rooms).
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rooms: u32,
    /// Sizes of rooms fall with their rank to this power, 1 being Zipf's law; in an open loop a room publishes in
    /// proportion to the square root of its size (rooms).
    #[arg(long, value_parser = exponent)]
    pub zipf: Option<f64>,
    /// Unrelated subscriptions that the broker holds meanwhile, 1000 a connection, each tenth with a wildcard (not slow,
    /// storm, connect).
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub others: u32,
    /// Topic name; %i is the number of the room, pair or client.
    #[arg(short = 't', long, value_parser = topic_name)]
    pub topic: Option<String>,
    /// QoS of publishes and subscriptions; `common` runs 1 and 2 where it is not given.
    #[arg(short = 'q', long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: Option<u8>,
    /// Payload in bytes, 28 or more.
    #[arg(short = 's', long, default_value_t = 100, value_parser = payload_size)]
    pub size: usize,
    /// Closed loop: messages of each publisher under way (1 where neither --rate nor -I is given).
    #[arg(long, conflicts_with_all = ["rate", "interval_of_msg"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub inflight: Option<u32>,
    /// Open loop: messages in a second, over all publishers.
    #[arg(long, conflicts_with = "interval_of_msg", value_parser = positive)]
    pub rate: Option<f64>,
    /// Open loop: milliseconds between two messages of one publisher.
    #[arg(short = 'I', long = "interval_of_msg", id = "interval_of_msg", value_parser = positive)]
    pub interval_of_msg: Option<f64>,
    /// Seconds measured (slow: of one window; storm: of one quiet window).
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub seconds: f64,
    /// Seconds before, not measured.
    #[arg(long, default_value_t = 0.5)]
    pub warmup: f64,
    /// Messages in all, instead of --seconds and without a warm-up; an hour at most.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// Messages of each publisher, topic and QoS (common: 5 where absent), instead of --seconds and without a warm-up.
    #[arg(long, conflicts_with = "messages", value_parser = clap::value_parser!(u64).range(1..))]
    pub each: Option<u64>,
    /// Windows of each kind (slow, storm).
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub windows: u32,
    /// Clients that connect in a stormy window, 64 of them at a time (storm).
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub storm: u32,
    /// Seconds to let memory settle (idle).
    #[arg(long, default_value_t = 2.0)]
    pub settle: f64,
}

/// Where the broker is, and who connects.
#[derive(Args, Clone)]
pub struct Target {
    /// Addresses of the broker, used in turn.
    #[arg(short = 'h', long, value_delimiter = ',', default_value = "127.0.0.1")]
    pub host: Vec<String>,
    /// Port of the broker.
    #[arg(short = 'p', long, default_value_t = 1883)]
    pub port: u16,
    /// What MQTT travels in.
    #[arg(long, value_enum, default_value = "tcp")]
    pub transport: Transport,
    /// Who issued the broker's certificate, which names the first host (tls, wss).
    #[arg(long)]
    pub cafile: Option<PathBuf>,
    /// MQTT version: 4 (3.1.1) or 5.
    #[arg(short = 'V', long = "protocol", default_value = "4")]
    pub version: Protocol,
    /// Keep alive in seconds; 0 turns it off.
    #[arg(short = 'k', long, default_value_t = 300)]
    pub keepalive: u16,
    /// Client ids are this and a number.
    #[arg(long, default_value = "ringload-")]
    pub prefix: String,
    /// User name of every client.
    #[arg(short = 'u', long)]
    pub username: Option<String>,
    /// Password of every client.
    #[arg(short = 'P', long)]
    pub password: Option<String>,
    /// Connections begun in a second; as fast as they are answered where absent.
    #[arg(short = 'R', long, value_parser = positive)]
    pub connrate: Option<f64>,
    /// Milliseconds between two connections: the same, said otherwise.
    #[arg(short = 'i', long, conflicts_with = "connrate", value_parser = positive)]
    pub interval: Option<f64>,
    /// Source addresses from 127.0.0.2 up, when the broker is on loopback; one for 10,000 connections where absent.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub sources: Option<u8>,
    /// The core to run on.
    #[arg(long)]
    pub core: Option<usize>,
    /// The broker's process: its CPU time and memory are reported.
    #[arg(long)]
    pub broker_pid: Option<u32>,
    /// Seconds without progress after which a run is broken.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub stall: u64,
    /// Never sleep while waiting for messages.
    #[arg(long)]
    pub spin: bool,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// MQTT version, as it may be written.
#[derive(Clone, Copy, ValueEnum)]
pub enum Protocol {
    #[value(name = "4", aliases = ["311", "3.1.1", "mqttv311"])]
    V311,
    #[value(name = "5", aliases = ["5.0", "mqttv5"])]
    V5,
}

impl Command {
    /// The run that it makes, if it makes one.
    pub fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Command::Fanout(run)
            | Command::Fanin(run)
            | Command::Pairs(run)
            | Command::Rooms(run)
            | Command::PingPong(run)
            | Command::Common(run)
            | Command::Slow(run)
            | Command::Storm(run)
            | Command::Connect(run)
            | Command::Idle(run) => Some(run),
            _ => None,
        }
    }
}

impl Target {
    /// The addresses of the broker.
    ///
    /// # Errors
    /// A host has no address.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let resolve = |host: &String| {
            let mut found =
                (host.as_str(), self.port).to_socket_addrs().map_err(|error| format!("-h {host}: {error}"))?;
            found.next().ok_or_else(|| format!("-h {host}: no address"))
        };
        self.host.iter().map(resolve).collect()
    }

    /// Connections begun in a second.
    pub fn connect_rate(&self) -> Option<f64> {
        self.connrate.or(self.interval.map(|ms| 1000.0 / ms))
    }

    /// The protocol level.
    pub fn version(&self) -> Version {
        match self.version {
            Protocol::V311 => Version::V311,
            Protocol::V5 => Version::V5,
        }
    }
}

impl Run {
    /// How messages are paced; `rate` is the scenario's default, a window of 1 where it has none.
    pub fn pace(&self, streams: usize, rate: Option<f64>) -> Pace {
        let interval = self.interval_of_msg.map(|ms| streams as f64 * 1000.0 / ms);
        match (self.inflight, self.rate.or(interval)) {
            (Some(window), _) => Pace::Window(window),
            (None, Some(rate)) => Pace::Rate(rate),
            (None, None) => rate.map_or(Pace::Window(1), Pace::Rate),
        }
    }
}

/// A number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if number.is_finite() && number > 0.0 && number <= 1e9 { Ok(number) } else { Err("wanted: above 0".to_owned()) }
}

fn exponent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.0..=10.0).contains(&number) { Ok(number) } else { Err("wanted: 0 (all alike) to 10".to_owned()) }
}

fn topic_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 1024 || text.contains(['+', '#', '\0']) {
        return Err("wanted: a topic name of 1 to 1024 bytes without wildcards".to_owned());
    }
    Ok(text.to_owned())
}

fn payload_size(text: &str) -> Result<usize, String> {
    let size = text.parse::<usize>().map_err(|error| error.to_string())?;
    if (STAMP_BYTES..=16 << 20).contains(&size) {
        Ok(size)
    } else {
        Err(format!("wanted: {STAMP_BYTES} (number, time and checksum) to 16777216"))
    }
}
