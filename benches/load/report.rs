//! What a run came to, as a table for people and as JSON for programs.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::broker::Memory;
use crate::histogram::{Latencies, Percentiles};
use crate::tally::Faults;

/// One run.
#[derive(Default, Serialize)]
pub struct Report {
    pub scenario: &'static str,
    /// Nothing went wrong; otherwise the figures mean nothing.
    pub valid: bool,
    pub interrupted: bool,
    /// What went wrong, in words.
    pub problems: Vec<String>,
    pub clients: usize,
    /// Publisher, topic and QoS: so many combinations.
    pub streams: usize,
    pub size: usize,
    pub version: u8,
    pub pace: String,
    pub rooms: Option<Rooms>,
    pub others: Option<Others>,
    pub connect: Option<Connecting>,
    pub traffic: Option<Measured>,
    pub slow: Option<Slow>,
    pub storm: Option<Storm>,
    pub faults: Faults,
    /// The latencies behind the percentiles, by name.
    #[serde(skip)]
    pub histograms: Vec<(&'static str, Latencies)>,
}

/// How subscribers gather in rooms of several sizes.
#[derive(Serialize)]
pub struct Rooms {
    pub rooms: usize,
    pub largest: u32,
    pub median: f64,
    pub smallest: u32,
}

/// Unrelated subscriptions, made before anything else.
#[derive(Serialize)]
pub struct Others {
    pub subscriptions: u32,
    pub connections: usize,
    pub seconds: f64,
    pub per_second: f64,
    /// CPU time and growth of anonymous memory of the broker.
    pub cpu_ns_per_subscription: Option<f64>,
    pub anonymous_per_subscription: Option<f64>,
}

/// How connecting went.
#[derive(Serialize)]
pub struct Connecting {
    pub connections: usize,
    pub seconds: f64,
    pub per_second: f64,
    /// From connect(2) to CONNACK, or to SUBACK where there is a subscription, in µs.
    pub latency_us: Percentiles,
    pub broker: Option<ConnectCost>,
}

/// What connections cost the broker.
#[derive(Serialize)]
pub struct ConnectCost {
    pub cpu_ns_per_connection: f64,
    pub memory_before: Memory,
    pub memory_after: Memory,
    /// Growth of resident memory, in bytes.
    pub rss_per_connection: f64,
    /// Growth of anonymous memory (user space's own), in bytes.
    pub anonymous_per_connection: f64,
}

/// How messages went, while it was measured.
#[derive(Serialize)]
pub struct Measured {
    pub seconds: f64,
    pub published: u64,
    pub delivered: u64,
    pub published_per_second: f64,
    pub delivered_per_second: f64,
    /// From when a message was to be sent until it was received, in µs.
    pub latency_us: Percentiles,
    /// The generator's own part of it.
    pub own: Own,
    pub broker: Option<TrafficCost>,
}

/// What the load generator may have added to the latencies that it reports.
#[derive(Serialize)]
pub struct Own {
    /// How long after it was due a message was published, in µs; part of the latency (open loop only).
    pub late_us: Option<Percentiles>,
    /// How long a socket waited to be read after epoll_wait(2) had told that it could be, in µs.
    pub read_us: Percentiles,
}

/// What messages cost the broker.
#[derive(Serialize)]
pub struct TrafficCost {
    pub cpu_ns_per_delivery: f64,
    pub cpu_ns_per_publish: f64,
    /// CPU time by wall time: 1 is a whole core.
    pub cpu_share: f64,
    pub memory_after: Memory,
}

/// What a subscriber that reads nothing did to the others.
#[derive(Serialize)]
pub struct Slow {
    pub windows: Vec<Window>,
    /// Of all windows in which everybody read, in µs.
    pub quiet_us: Percentiles,
    /// Of all windows in which one did not.
    pub stalled_us: Percentiles,
    /// Median p99 of the stalled windows by that of the quiet ones: a window that something else disturbed weighs
    /// little.
    pub p99_ratio: f64,
    /// What the slow subscriber did not get.
    pub missed: u64,
    /// Whether the broker closed its connection.
    pub disconnected: bool,
}

/// One window of `slow`.
#[derive(Serialize)]
pub struct Window {
    pub stalled: bool,
    pub delivered: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub memory: Option<Memory>,
}

/// What many connections did to those already connected.
#[derive(Serialize)]
pub struct Storm {
    pub windows: Vec<StormWindow>,
    /// Of all quiet windows, in µs.
    pub quiet_us: Percentiles,
    /// Of all stormy ones.
    pub stormy_us: Percentiles,
    /// Median p99 of the stormy windows by that of the quiet ones.
    pub p99_ratio: f64,
    /// Median of the stormy windows.
    pub connections_per_second: f64,
    /// From connect(2) to SUBACK, in µs, in all storms.
    pub connect_us: Percentiles,
    /// CPU time of the broker beyond what the room cost it in the quiet window before; median.
    pub cpu_ns_per_connection: Option<f64>,
}

/// One window of `storm`.
#[derive(Serialize)]
pub struct StormWindow {
    pub stormy: bool,
    pub seconds: f64,
    pub delivered: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub own: Own,
    pub connections_per_second: Option<f64>,
    pub cpu_ns_per_connection: Option<f64>,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} clients, {} streams, {} B, MQTT {}, {}",
            self.scenario, self.clients, self.streams, self.size, self.version, self.pace
        )?;
        if let Some(Rooms { rooms, largest, median, smallest }) = &self.rooms {
            writeln!(f, "  rooms     {rooms}: largest {largest}, median {median:.0}, smallest {smallest} subscribers")?;
        }
        if let Some(others) = &self.others {
            others.fmt(f)?;
        }
        if let Some(connect) = &self.connect {
            connect.fmt(f)?;
        }
        if let Some(traffic) = &self.traffic {
            traffic.fmt(f)?;
        }
        if let Some(slow) = &self.slow {
            slow.fmt(f)?;
        }
        if let Some(storm) = &self.storm {
            storm.fmt(f)?;
        }
        let Faults { lost, repeated, reordered, corrupted, misrouted, refused, closed } = self.faults;
        writeln!(
            f,
            "  faults    lost {lost}, repeated {repeated}, reordered {reordered}, corrupted {corrupted}, misrouted \
             {misrouted}, refused {refused}, closed {closed}"
        )?;
        for problem in &self.problems {
            writeln!(f, "  problem   {problem}")?;
        }
        if self.interrupted {
            writeln!(f, "INTERRUPTED: the figures are of a part of the run")
        } else if !self.valid {
            writeln!(f, "INVALID")
        } else {
            Ok(())
        }
    }
}

impl Display for Others {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  others    {} subscriptions of {} connections in {:.2} s, {:.0}/s",
            self.subscriptions, self.connections, self.seconds, self.per_second
        )?;
        match (self.cpu_ns_per_subscription, self.anonymous_per_subscription) {
            (Some(cpu), Some(bytes)) => writeln!(f, "; broker {cpu:.0} ns CPU, {bytes:.0} B anonymous each"),
            _ => writeln!(f),
        }
    }
}

impl Display for Connecting {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "  connect   {} in {:.2} s, {:.0}/s", self.connections, self.seconds, self.per_second)?;
        writeln!(f, "            {}", self.latency_us)?;
        let Some(cost) = &self.broker else { return Ok(()) };
        writeln!(
            f,
            "  broker    {:.0} ns CPU, {:.0} B anonymous and {:.0} B resident a connection (anonymous {} to {} KiB)",
            cost.cpu_ns_per_connection,
            cost.anonymous_per_connection,
            cost.rss_per_connection,
            cost.memory_before.anonymous / 1024,
            cost.memory_after.anonymous / 1024
        )
    }
}

impl Display for Measured {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  messages  {} published ({:.0}/s), {} delivered ({:.0}/s) in {:.2} s",
            self.published, self.published_per_second, self.delivered, self.delivered_per_second, self.seconds
        )?;
        writeln!(f, "  latency   {}", self.latency_us)?;
        writeln!(f, "            of which the generator's own, at p99: {}", self.own)?;
        let Some(cost) = &self.broker else { return Ok(()) };
        writeln!(
            f,
            "  broker    {:.1} ns CPU a delivery, {:.0} a publish; {:.0} % of a core; {} KiB anonymous",
            cost.cpu_ns_per_delivery,
            cost.cpu_ns_per_publish,
            cost.cpu_share * 100.0,
            cost.memory_after.anonymous / 1024
        )
    }
}

impl Display for Own {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(late) = &self.late_us {
            write!(f, "published {:.1} µs late, ", late.p99)?;
        }
        write!(f, "read {:.1} µs after the wait", self.read_us.p99)
    }
}

impl Display for Slow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for window in &self.windows {
            let kind = if window.stalled { "stalled" } else { "quiet" };
            write!(
                f,
                "  {kind:<9} {} delivered, p50 {:.0} p99 {:.0} µs",
                window.delivered, window.p50_us, window.p99_us
            )?;
            match window.memory {
                Some(memory) => writeln!(f, ", broker {} KiB anonymous", memory.anonymous / 1024)?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "  quiet     {}", self.quiet_us)?;
        writeln!(f, "  stalled   {}", self.stalled_us)?;
        let end = if self.disconnected { "; the broker closed its connection" } else { "" };
        writeln!(f, "  ratio     p99 {:.2}; the slow subscriber missed {}{end}", self.p99_ratio, self.missed)
    }
}

impl Display for Storm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for window in &self.windows {
            write!(
                f,
                "  {:<9} {} delivered in {:.2} s, p50 {:.0} p99 {:.0} µs (own: {})",
                if window.stormy { "stormy" } else { "quiet" },
                window.delivered,
                window.seconds,
                window.p50_us,
                window.p99_us,
                window.own
            )?;
            match window.connections_per_second {
                Some(rate) => writeln!(f, ", {rate:.0} connections/s")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "  quiet     {}", self.quiet_us)?;
        writeln!(f, "  stormy    {}", self.stormy_us)?;
        writeln!(f, "  connect   {}", self.connect_us)?;
        write!(f, "  ratio     p99 {:.2}; {:.0} connections/s", self.p99_ratio, self.connections_per_second)?;
        match self.cpu_ns_per_connection {
            Some(cpu) => writeln!(f, ", {cpu:.0} ns of the broker's CPU each"),
            None => writeln!(f),
        }
    }
}

impl Display for Percentiles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  p99.99 {:.1}  max {:.1} µs",
            self.p50, self.p90, self.p99, self.p999, self.p9999, self.max
        )
    }
}
