//! The scenarios: a plan, a pace, and what is measured about it.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::args::{Command, Run};
use crate::broker::Process;
use crate::client::Phase;
use crate::histogram::{Latencies, median};
use crate::plan::{ClientPlan, Plan};
use crate::report::{ConnectCost, Connecting, Measured, Report, Slow, TrafficCost, Window};
use crate::socket::{self, Sources};
use crate::swarm::{Dial, Swarm};
use crate::traffic::{Counts, Pace, Stopped, Terms, Traffic, Until};

/// No run takes longer.
const RUN_NS_MAX: u64 = 3_600_000_000_000;

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
            traffic("fanout", args, &plan, stop)
        }
        Command::Fanin(args) => {
            let plan = Plan::one_topic(args.count(1000), args.subscribers, args.topic("ringload/fanin"), args.qos(0));
            traffic("fanin", args, &plan, stop)
        }
        Command::Pairs(args) => {
            let plan = Plan::rooms(args.count(500), 1, 1, args.topic("ringload/pair/%i"), args.qos(0));
            traffic("pairs", args, &plan, stop)
        }
        Command::Rooms(args) => {
            let topic = args.topic("ringload/room/%i");
            let plan = Plan::rooms(args.rooms, args.publishers(1), args.count(100), topic, args.qos(0));
            traffic("rooms", args, &plan, stop)
        }
        Command::PingPong(args) => {
            let plan = Plan::echo(args.count(1), args.topic("ringload/ping/%i"), args.qos(0));
            traffic("ping-pong", args, &plan, stop)
        }
        Command::Common(args) => {
            let levels = args.qos.map_or(vec![1, 2], |qos| vec![qos]);
            let count = args.count(10_000);
            let plan = Plan::common(count, args.publishers(4).min(count), args.topic("ringload/common"), &levels);
            traffic("common", &Run { each: args.each.or(Some(5)), ..args.clone() }, &plan, stop)
        }
        Command::Slow(args) => slow(args, stop),
        Command::Connect(args) => connect(args, stop),
        Command::Idle(args) => {
            let plan = Plan::one_topic(1, args.count(18_000), args.topic("ringload/idle"), args.qos(0));
            // One message at the end tells whether every connection lives.
            traffic("idle", &Run { each: Some(1), ..args.clone() }, &plan, stop)
        }
        Command::Compare(_) => unreachable!("compare runs ringload, not a scenario"),
    }
}

impl Run {
    fn count(&self, default: u32) -> u32 {
        self.count.unwrap_or(default).max(1)
    }

    fn publishers(&self, default: u32) -> u32 {
        self.publishers.unwrap_or(default)
    }

    fn topic<'a>(&'a self, default: &'a str) -> &'a str {
        self.topic.as_deref().unwrap_or(default)
    }

    fn qos(&self, default: u8) -> u8 {
        self.qos.unwrap_or(default)
    }

    fn broker(&self) -> Option<Process> {
        self.target.broker_pid.map(Process)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.target.stall)
    }
}

/// Connects, lets messages run, measures, and waits for what is under way.
fn traffic(name: &'static str, args: &Run, plan: &Plan, stop: &Stop) -> Result<Report, Box<dyn Error>> {
    let pace = args.pace(plan.streams.len(), None);
    let mut report = begin(name, args, plan, &pace);
    let settle = (name == "idle").then(|| Duration::from_secs_f64(args.settle));
    let mut swarm = dial(args, plan)?;
    report.connect = Some(connected(&mut swarm, args, plan, settle, stop)?);
    let mut traffic = Traffic::new(plan, terms(args, pace, stop), swarm.now());
    let mut meter = Meter::new(args, &traffic, &swarm)?;
    let mut ended = Ok(());
    if args.messages.is_none() && args.each.is_none() {
        let start = swarm.now();
        ended = traffic.run(&mut swarm, Until::Time(start + ns(args.warmup)));
        traffic.latencies.clear();
        meter = Meter::new(args, &traffic, &swarm)?;
        ended = ended.and_then(|()| traffic.run(&mut swarm, Until::Time(start + ns(args.warmup) + ns(args.seconds))));
        report.traffic = measured(&meter, &traffic, &swarm, &ended)?;
        ended = ended.and_then(|()| traffic.drain(&mut swarm));
    } else {
        let end = swarm.now() + RUN_NS_MAX;
        let until = args.messages.map_or(Until::Exhausted(end), |count| Until::Published(count, end));
        ended = ended.and_then(|()| traffic.run(&mut swarm, until));
        ended = ended.and_then(|()| traffic.drain(&mut swarm));
        report.traffic = measured(&meter, &traffic, &swarm, &ended)?;
    }
    finish(report, &traffic, swarm, ended)
}

/// Connects, and that is all.
fn connect(args: &Run, stop: &Stop) -> Result<Report, Box<dyn Error>> {
    let subscriptions = args.topic.iter().map(|topic| (topic.clone(), args.qos(0))).collect();
    let client = ClientPlan { subscriptions, ..ClientPlan::default() };
    let plan = Plan { clients: vec![client; args.count(1000) as usize], ..Plan::default() };
    let pace = Pace::Window(1);
    let mut report = begin("connect", args, &plan, &pace);
    let mut swarm = dial(args, &plan)?;
    report.connect = Some(connected(&mut swarm, args, &plan, None, stop)?);
    let traffic = Traffic::new(&plan, terms(args, pace, stop), swarm.now());
    finish(report, &traffic, swarm, Ok(()))
}

/// A room in which one more subscriber reads in every other window only.
fn slow(args: &Run, stop: &Stop) -> Result<Report, Box<dyn Error>> {
    let count = args.count(100);
    let topic = args.topic("ringload/slow");
    let mut plan = Plan::one_topic(args.publishers(1), count, topic, args.qos(0));
    let excused = ClientPlan { excused: true, ..plan.clients[plan.clients.len() - 1].clone() };
    let sluggard = plan.clients.len() as u32;
    plan.clients.push(excused);

    let pace = args.pace(plan.streams.len(), Some(10_000.0));
    let mut report = begin("slow", args, &plan, &pace);
    let mut swarm = dial(args, &plan)?;
    report.connect = Some(connected(&mut swarm, args, &plan, None, stop)?);
    let mut traffic = Traffic::new(&plan, terms(args, pace, stop), swarm.now());
    let (mut quiet, mut stalled) = (Latencies::new(), Latencies::new());
    let mut windows = Vec::new();
    let mut ended = Ok(());
    for index in 0..2 * args.windows {
        let is_stalled = index % 2 == 1;
        swarm.pause(sluggard, is_stalled, &mut traffic);
        let start = swarm.now();
        ended = traffic.run(&mut swarm, Until::Time(start + ns(args.warmup)));
        traffic.latencies.clear();
        ended = ended.and_then(|()| traffic.run(&mut swarm, Until::Time(start + ns(args.warmup) + ns(args.seconds))));
        if ended.is_err() {
            break;
        }
        let memory = args.broker().map(Process::memory).transpose()?;
        let percentiles = traffic.latencies.percentiles();
        let (p50_us, p99_us) = (percentiles.p50, percentiles.p99);
        windows.push(Window { stalled: is_stalled, delivered: percentiles.count, p50_us, p99_us, memory });
        if is_stalled { &mut stalled } else { &mut quiet }.add(&traffic.latencies);
    }
    swarm.pause(sluggard, false, &mut traffic);
    let published = traffic.counts.published;
    ended = ended.and_then(|()| traffic.drain(&mut swarm));
    // The sluggard reads what is still on its way to it.
    let end = swarm.now() + ns(1.0);
    while swarm.now() < end {
        swarm.poll(Duration::from_millis(50), &mut traffic)?;
    }
    let (quiet_us, stalled_us) = (quiet.percentiles(), stalled.percentiles());
    let p99 = |stalled| median(windows.iter().filter(|window| window.stalled == stalled).map(|w| w.p99_us).collect());
    let p99_ratio = p99(true).zip(p99(false)).map_or(0.0, |(stalled, quiet)| stalled / quiet);
    report.slow = Some(Slow {
        windows,
        quiet_us,
        stalled_us,
        p99_ratio,
        missed: published.saturating_sub(traffic.counts.excused),
        disconnected: swarm.clients[sluggard as usize].phase == Phase::Closed,
    });
    finish(report, &traffic, swarm, ended)
}

fn begin(scenario: &'static str, args: &Run, plan: &Plan, pace: &Pace) -> Report {
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

fn dial(args: &Run, plan: &Plan) -> Result<Swarm, Box<dyn Error>> {
    let target = &args.target;
    socket::make_room(plan.clients.len())?;
    let targets = target.addresses()?;
    let dial = Dial {
        sources: Sources::new(target.sources, plan.clients.len(), &targets),
        targets,
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

/// Connects all clients of the plan; `settle` is how long memory may take to come to rest.
fn connected(
    swarm: &mut Swarm,
    args: &Run,
    plan: &Plan,
    settle: Option<Duration>,
    stop: &Stop,
) -> Result<Connecting, Box<dyn Error>> {
    let broker = args.broker();
    let before = broker.map(|broker| Ok::<_, std::io::Error>((broker.cpu_ns()?, broker.memory()?))).transpose()?;
    let begun = swarm.now();
    swarm.connect(plan.subscriptions(), args.patience(), &|| stop.load(Ordering::Relaxed))?;
    let seconds = (swarm.now() - begun) as f64 / 1e9;
    let connections = plan.clients.len();
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

fn terms(args: &Run, pace: Pace, stop: &Stop) -> Terms {
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
fn finish(
    mut report: Report,
    traffic: &Traffic,
    mut swarm: Swarm,
    ended: Result<(), Stopped>,
) -> Result<Report, Box<dyn Error>> {
    swarm.disconnect();
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

fn ns(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}
