//! The scenarios: a plan, a pace, and what is measured about it.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::args::{Command, Run};
use crate::broker::Process;
use crate::histogram::median;
use crate::layers::Carriage;
use crate::plan::{ClientPlan, Plan};
use crate::report::{ConnectCost, Connecting, Measured, Others, Own, Report, Rooms, TrafficCost};
use crate::socket::{self, Sources};
use crate::swarm::{Dial, Swarm};
use crate::traffic::{Counts, Pace, Stopped, Terms, Traffic, Until};
use crate::windows;

/// No run takes longer.
const RUN_NS_MAX: u64 = 3_600_000_000_000;

/// Names of histograms: of messages, from when they were due, and of connections, until they were served.
const LATENCY: &str = "latency";
const CONNECT: &str = "connect";

/// Set by Ctrl-C.
pub type Stop = Arc<AtomicBool>;

/// Runs a scenario.
///
/// # Errors
/// The run could not be made. One that went wrong has a report.
pub fn run(command: &Command, stop: &Stop) -> Result<Report, Box<dyn Error>> {
    match command {
        Command::Fanout(args) => {
            let plan =
                Plan::one_topic(args.publishers(1), args.count(1000), args.topic("ringload/fanout"), args.qos(0));
            traffic("fanout", args, plan, stop)
        }
        Command::Fanin(args) => {
            let plan = Plan::one_topic(args.count(1000), args.subscribers, args.topic("ringload/fanin"), args.qos(0));
            traffic("fanin", args, plan, stop)
        }
        Command::Pairs(args) => {
            let plan = Plan::rooms(args.count(500), 1, 1, args.topic("ringload/pair/%i"), args.qos(0));
            traffic("pairs", args, plan, stop)
        }
        Command::Rooms(args) => {
            let (topic, publishers, qos) = (args.topic("ringload/room/%i"), args.publishers(1), args.qos(0));
            let plan = match args.zipf {
                Some(exponent) => {
                    let subscribers = args.count(100 * args.rooms);
                    Plan::zipf(args.rooms, exponent, publishers, subscribers, topic, qos)?
                }
                None => Plan::rooms(args.rooms, publishers, args.count(100), topic, qos),
            };
            traffic("rooms", args, plan, stop)
        }
        Command::PingPong(args) => {
            let plan = Plan::echo(args.count(1), args.topic("ringload/ping/%i"), args.qos(0));
            traffic("ping-pong", args, plan, stop)
        }
        Command::Common(args) => {
            let levels = args.qos.map_or(vec![1, 2], |qos| vec![qos]);
            let count = args.count(10_000);
            let plan = Plan::common(count, args.publishers(4).min(count), args.topic("ringload/common"), &levels);
            traffic("common", &Run { each: args.each.or(Some(5)), ..args.clone() }, plan, stop)
        }
        Command::Slow(args) => windows::slow(args, stop),
        Command::Storm(args) => windows::storm(args, stop),
        Command::Connect(args) => connect(args, stop),
        Command::Idle(args) => {
            let plan = Plan::one_topic(1, args.count(18_000), args.topic("ringload/idle"), args.qos(0));
            // One message at the end tells whether every connection lives.
            traffic("idle", &Run { each: Some(1), ..args.clone() }, plan, stop)
        }
        _ => unreachable!("the others make no single run"),
    }
}

impl Run {
    pub fn count(&self, default: u32) -> u32 {
        self.count.unwrap_or(default).max(1)
    }

    pub fn publishers(&self, default: u32) -> u32 {
        self.publishers.unwrap_or(default)
    }

    pub fn topic<'a>(&'a self, default: &'a str) -> &'a str {
        self.topic.as_deref().unwrap_or(default)
    }

    pub fn qos(&self, default: u8) -> u8 {
        self.qos.unwrap_or(default)
    }

    pub fn broker(&self) -> Option<Process> {
        self.target.broker_pid.map(Process)
    }

    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.target.stall)
    }
}

/// Connects, lets messages run, measures, and waits for what is under way.
fn traffic(name: &'static str, args: &Run, plan: Plan, stop: &Stop) -> Result<Report, Box<dyn Error>> {
    let mut plan = plan.beside(args.others);
    let pace = args.pace(plan.streams.len(), None);
    let mut report = begin(name, args, &plan, &pace);
    report.rooms = args.zipf.and_then(|_| rooms(&plan));
    let settle = (name == "idle").then(|| Duration::from_secs_f64(args.settle));
    let mut swarm = dial(args, &plan, 0)?;
    let mut subscriptions = plan.take_subscriptions();
    let rest = subscriptions.split_off(plan.others);
    if args.others > 0 {
        report.others = Some(others(&mut swarm, args, subscriptions, stop)?);
    }
    report.connect = Some(connected(&mut swarm, args, rest, settle, stop)?);
    let mut traffic = Traffic::new(&plan, terms(args, pace, stop), swarm.now());
    let mut meter = Meter::new(args, &traffic, &swarm)?;
    let mut ended = Ok(());
    if args.messages.is_none() && args.each.is_none() {
        let start = swarm.now();
        ended = traffic.run(&mut swarm, Until::Time(start + ns(args.warmup)));
        forget(&mut traffic, &mut swarm);
        meter = Meter::new(args, &traffic, &swarm)?;
        ended = ended.and_then(|()| traffic.run(&mut swarm, Until::Time(start + ns(args.warmup) + ns(args.seconds))));
        report.traffic = measured(&meter, &traffic, &swarm, &ended)?;
        report.histograms.push((LATENCY, traffic.latencies.clone()));
        ended = ended.and_then(|()| traffic.drain(&mut swarm));
    } else {
        let end = swarm.now() + RUN_NS_MAX;
        let until = args.messages.map_or(Until::Exhausted(end), |count| Until::Published(count, end));
        ended = ended.and_then(|()| traffic.run(&mut swarm, until));
        ended = ended.and_then(|()| traffic.drain(&mut swarm));
        report.traffic = measured(&meter, &traffic, &swarm, &ended)?;
        report.histograms.push((LATENCY, traffic.latencies.clone()));
    }
    finish(report, &traffic, swarm, ended)
}

/// Connects, and that is all.
fn connect(args: &Run, stop: &Stop) -> Result<Report, Box<dyn Error>> {
    let subscriptions = args.topic.iter().map(|topic| (topic.clone(), args.qos(0))).collect();
    let client = ClientPlan { subscriptions, ..ClientPlan::default() };
    let mut plan = Plan { clients: vec![client; args.count(1000) as usize], ..Plan::default() };
    let pace = Pace::Window(1);
    let mut report = begin("connect", args, &plan, &pace);
    let mut swarm = dial(args, &plan, 0)?;
    report.connect = Some(connected(&mut swarm, args, plan.take_subscriptions(), None, stop)?);
    let traffic = Traffic::new(&plan, terms(args, pace, stop), swarm.now());
    finish(report, &traffic, swarm, Ok(()))
}

/// A report in which nothing has been measured.
pub fn begin(scenario: &'static str, args: &Run, plan: &Plan, pace: &Pace) -> Report {
    Report {
        scenario,
        clients: plan.clients.len(),
        streams: plan.streams.len(),
        size: args.size,
        version: args.target.version() as u8,
        pace: match pace {
            _ if plan.streams.is_empty() => "no messages".to_owned(),
            Pace::Window(window) => format!("{window} in flight a stream"),
            Pace::Rate(rate) => format!("{rate} messages/s"),
        },
        ..Report::default()
    }
}

/// A swarm for the clients of a plan, and `more` connections that come and go in each of the windows.
pub fn dial(args: &Run, plan: &Plan, more: usize) -> Result<Swarm, Box<dyn Error>> {
    let target = &args.target;
    socket::make_room(plan.clients.len() + more)?;
    let targets = target.addresses()?;
    // Ports of those that have gone are not free at once.
    let connections = plan.clients.len() + more * args.windows as usize;
    let dial = Dial {
        sources: Sources::new(target.sources, connections, &targets),
        targets,
        carriage: Carriage::new(target.transport, target.cafile.as_deref(), &target.host[0])?,
        version: target.version(),
        keep_alive: target.keepalive,
        prefix: target.prefix.clone(),
        user_name: target.username.clone(),
        password: target.password.clone(),
        rate: target.connect_rate(),
        spin: target.spin,
    };
    let topic_bytes_max = plan.streams.iter().map(|stream| stream.topic.len()).max().unwrap_or(0);
    Ok(Swarm::new(dial, args.size + topic_bytes_max + 64)?)
}

/// Makes the unrelated subscriptions.
fn others(
    swarm: &mut Swarm,
    args: &Run,
    subscriptions: Vec<Vec<(String, u8)>>,
    stop: &Stop,
) -> Result<Others, Box<dyn Error>> {
    let connect = connected(swarm, args, subscriptions, None, stop)?;
    // Those that are measured have figures of their own.
    swarm.connect_times.clear();
    let (count, connections) = (f64::from(args.others), connect.connections);
    let each = |per_connection: f64| per_connection * connections as f64 / count;
    Ok(Others {
        subscriptions: args.others,
        connections,
        seconds: connect.seconds,
        per_second: count / connect.seconds,
        cpu_ns_per_subscription: connect.broker.as_ref().map(|cost| each(cost.cpu_ns_per_connection)),
        anonymous_per_subscription: connect.broker.as_ref().map(|cost| each(cost.anonymous_per_connection)),
    })
}

/// Connects a client for each item; `settle` is how long memory may take to come to rest.
pub fn connected(
    swarm: &mut Swarm,
    args: &Run,
    subscriptions: Vec<Vec<(String, u8)>>,
    settle: Option<Duration>,
    stop: &Stop,
) -> Result<Connecting, Box<dyn Error>> {
    let broker = args.broker();
    let before = broker.map(|broker| Ok::<_, std::io::Error>((broker.cpu_ns()?, broker.memory()?))).transpose()?;
    let begun = swarm.now();
    let connections = subscriptions.len();
    swarm.connect(subscriptions, args.patience(), &|| stop.load(Ordering::Relaxed))?;
    let seconds = (swarm.now() - begun) as f64 / 1e9;
    let mut cost = None;
    if let (Some(broker), Some((cpu, memory_before))) = (broker, before) {
        let cpu = broker.cpu_ns()? - cpu;
        std::thread::sleep(settle.unwrap_or_default());
        let memory_after = broker.memory()?;
        let growth = |before: u64, after: u64| (after as f64 - before as f64) / connections as f64;
        cost = Some(ConnectCost {
            cpu_ns_per_connection: cpu as f64 / connections as f64,
            memory_before,
            memory_after,
            rss_per_connection: growth(memory_before.rss, memory_after.rss),
            anonymous_per_connection: growth(memory_before.anonymous, memory_after.anonymous),
        });
    }
    let latency_us = swarm.connect_times.percentiles();
    Ok(Connecting { connections, seconds, per_second: connections as f64 / seconds, latency_us, broker: cost })
}

/// How subscribers gather in the rooms of a plan.
fn rooms(plan: &Plan) -> Option<Rooms> {
    let mut seen = plan.streams.iter().map(|stream| (&stream.topic, stream.receivers)).collect::<Vec<_>>();
    seen.dedup();
    let sizes = seen.iter().map(|(_, size)| *size);
    Some(Rooms {
        rooms: seen.len(),
        largest: sizes.clone().max()?,
        median: median(sizes.clone().map(f64::from).collect())?,
        smallest: sizes.min()?,
    })
}

/// Forgets all latencies so far, the generator's own too.
pub fn forget(traffic: &mut Traffic, swarm: &mut Swarm) {
    for latencies in [&mut traffic.latencies, &mut traffic.lateness, &mut swarm.read_lags] {
        latencies.clear();
    }
}

/// What the generator itself may have added since.
pub fn own(traffic: &Traffic, swarm: &Swarm) -> Own {
    let late_us = traffic.paced().then(|| traffic.lateness.percentiles());
    Own { late_us, read_us: swarm.read_lags.percentiles() }
}

/// The terms that the command line asks for.
pub fn terms(args: &Run, pace: Pace, stop: &Stop) -> Terms {
    let stop = Arc::clone(stop);
    Terms {
        pace,
        size: args.size,
        each_max: args.each.unwrap_or(u64::MAX),
        patience: args.patience(),
        stop: Box::new(move || stop.load(Ordering::Relaxed)),
    }
}

/// The state of clock, counters and broker at one moment, against which a later one is read.
struct Meter {
    broker: Option<Process>,
    begun: u64,
    counts: Counts,
    cpu: u64,
}

impl Meter {
    fn new(args: &Run, traffic: &Traffic, swarm: &Swarm) -> std::io::Result<Meter> {
        let broker = args.broker();
        let cpu = broker.map_or(Ok(0), Process::cpu_ns)?;
        Ok(Meter { broker, begun: swarm.now(), counts: traffic.counts, cpu })
    }

    fn read(&self, traffic: &Traffic, swarm: &Swarm) -> std::io::Result<Measured> {
        let seconds = (swarm.now() - self.begun) as f64 / 1e9;
        let published = traffic.counts.published - self.counts.published;
        let delivered = traffic.counts.delivered - self.counts.delivered;
        let cost = |broker: Process| {
            let cpu = (broker.cpu_ns()? - self.cpu) as f64;
            Ok::<_, std::io::Error>(TrafficCost {
                cpu_ns_per_delivery: cpu / delivered.max(1) as f64,
                cpu_ns_per_publish: cpu / published.max(1) as f64,
                cpu_share: cpu / 1e9 / seconds,
                memory_after: broker.memory()?,
            })
        };
        Ok(Measured {
            seconds,
            published,
            delivered,
            published_per_second: published as f64 / seconds,
            delivered_per_second: delivered as f64 / seconds,
            latency_us: traffic.latencies.percentiles(),
            own: own(traffic, swarm),
            broker: self.broker.map(cost).transpose()?,
        })
    }
}

/// What the meter says; nothing where the run broke because the broker is gone.
fn measured(
    meter: &Meter,
    traffic: &Traffic,
    swarm: &Swarm,
    ended: &Result<(), Stopped>,
) -> std::io::Result<Option<Measured>> {
    match meter.read(traffic, swarm) {
        Err(_) if ended.is_err() => Ok(None),
        other => other.map(Some),
    }
}

/// Judges the run.
pub fn finish(
    mut report: Report,
    traffic: &Traffic,
    mut swarm: Swarm,
    ended: Result<(), Stopped>,
) -> Result<Report, Box<dyn Error>> {
    swarm.disconnect();
    report.histograms.push((CONNECT, swarm.connect_times.clone()));
    report.faults = traffic.faults;
    match ended {
        Ok(()) => {}
        Err(Stopped::Interrupted) => report.interrupted = true,
        Err(Stopped::Broken(why)) => report.problems.push(why),
        Err(Stopped::Io(error)) => return Err(error.into()),
    }
    report.valid = report.faults.none() && report.problems.is_empty() && !report.interrupted;
    Ok(report)
}

/// Nanoseconds.
pub fn ns(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}
