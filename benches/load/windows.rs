//! Scenarios in windows, a disturbance in every other one: what does it do to a room?

use std::error::Error;
use std::time::Duration;

use crate::args::Run;
use crate::broker::Process;
use crate::client::Phase;
use crate::histogram::{Latencies, median};
use crate::plan::{ClientPlan, Plan};
use crate::report::{Report, Slow, Storm, StormWindow, Window};
use crate::scenario::{Stop, begin, connected, dial, finish, forget, ns, own, terms};
use crate::swarm::Swarm;
use crate::traffic::{Stopped, Traffic, Until};

/// What all clients of a storm subscribe to: the room that they come back to.
const STORM_TOPIC: &str = "ringload/storm/room";

/// A room in which one more subscriber reads in every other window only.
///
/// # Errors
/// As [`crate::scenario::run`].
pub fn slow(args: &Run, stop: &Stop) -> Result<Report, Box<dyn Error>> {
    let count = args.count(100);
    let topic = args.topic("ringload/slow");
    let mut plan = Plan::one_topic(args.publishers(1), count, topic, args.qos(0));
    let excused = ClientPlan { excused: true, ..plan.clients[plan.clients.len() - 1].clone() };
    let sluggard = plan.clients.len() as u32;
    plan.clients.push(excused);

    let pace = args.pace(plan.streams.len(), Some(10_000.0));
    let mut report = begin("slow", args, &plan, &pace);
    let mut swarm = dial(args, &plan, 0)?;
    report.connect = Some(connected(&mut swarm, args, plan.take_subscriptions(), None, stop)?);
    let mut traffic = Traffic::new(&plan, terms(args, pace, stop), swarm.now());
    let (mut quiet, mut stalled) = (Latencies::new(), Latencies::new());
    let mut windows = Vec::new();
    let mut ended = Ok(());
    for index in 0..2 * args.windows {
        let is_stalled = index % 2 == 1;
        swarm.pause(sluggard, is_stalled, &mut traffic);
        ended = window(args, &mut traffic, &mut swarm);
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
    report.histograms.extend([("quiet", quiet), ("stalled", stalled)]);
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

/// A room with traffic while, in every other window, many clients connect and subscribe to another one.
///
/// A stormy window lasts from the first connect(2) to the last SUBACK, so that its figures are of nothing but the storm.
///
/// # Errors
/// As [`crate::scenario::run`].
pub fn storm(args: &Run, stop: &Stop) -> Result<Report, Box<dyn Error>> {
    let mut plan = Plan::one_topic(args.publishers(1), args.count(100), args.topic("ringload/storm"), args.qos(0));
    let pace = args.pace(plan.streams.len(), Some(1000.0));
    let mut report = begin("storm", args, &plan, &pace);
    let mut swarm = dial(args, &plan, args.storm as usize)?;
    report.connect = Some(connected(&mut swarm, args, plan.take_subscriptions(), None, stop)?);
    let traffic = Traffic::new(&plan, terms(args, pace, stop), swarm.now());
    swarm.connect_times.clear();
    let latencies = [Latencies::new(), Latencies::new()];
    let mut storms = Storms { args, traffic, swarm, windows: Vec::new(), latencies };
    let ended = (0..args.windows).try_for_each(|_| storms.quiet().and_then(|cpu| storms.stormy(cpu)));
    let ended = ended.and_then(|()| storms.traffic.drain(&mut storms.swarm));
    report.storm = Some(storms.report());
    let [quiet, stormy] = storms.latencies;
    report.histograms.extend([("quiet", quiet), ("stormy", stormy)]);
    finish(report, &storms.traffic, storms.swarm, ended)
}

struct Storms<'a> {
    args: &'a Run,
    traffic: Traffic,
    swarm: Swarm,
    windows: Vec<StormWindow>,
    /// Of quiet and of stormy windows.
    latencies: [Latencies; 2],
}

impl Storms<'_> {
    /// Measures a quiet window; returns the share of a core that the broker needed.
    fn quiet(&mut self) -> Result<Option<f64>, Stopped> {
        let end = self.swarm.now() + ns(self.args.warmup);
        self.traffic.run(&mut self.swarm, Until::Time(end))?;
        self.window(None)
    }

    /// Measures a storm; `calm` is the share of a core that the room alone takes.
    fn stormy(&mut self, calm: Option<f64>) -> Result<(), Stopped> {
        let settled = self.swarm.clients.len();
        self.swarm.enlist(vec![vec![(STORM_TOPIC.to_owned(), self.args.qos(0))]; self.args.storm as usize]);
        self.window(Some(calm))?;
        if self.swarm.connecting() {
            let ready = self.swarm.clients[settled..].iter().filter(|client| client.phase == Phase::Ready).count();
            return Err(Stopped::Broken(format!(
                "{ready} of {} clients of a storm were connected in {} s; --stall says how long to wait",
                self.args.storm, self.args.target.stall
            )));
        }
        self.swarm.leave(settled);
        Ok(())
    }

    fn window(&mut self, storm: Option<Option<f64>>) -> Result<Option<f64>, Stopped> {
        let cpu = || self.args.broker().map(Process::cpu_ns).transpose();
        forget(&mut self.traffic, &mut self.swarm);
        let (begun, cpu_before) = (self.swarm.now(), cpu()?);
        let until = match storm {
            None => Until::Time(begun + ns(self.args.seconds)),
            Some(_) => Until::Connected(begun + self.args.patience().as_nanos() as u64),
        };
        self.traffic.run(&mut self.swarm, until)?;
        let seconds = (self.swarm.now() - begun) as f64 / 1e9;
        let share = cpu()?.zip(cpu_before).map(|(after, before)| (after - before) as f64 / 1e9 / seconds);
        let count = f64::from(self.args.storm);
        let beyond = |calm: f64| share.map(|share| (share - calm) * seconds * 1e9 / count);
        let got = self.traffic.latencies.percentiles();
        self.windows.push(StormWindow {
            stormy: storm.is_some(),
            seconds,
            delivered: got.count,
            p50_us: got.p50,
            p99_us: got.p99,
            own: own(&self.traffic, &self.swarm),
            connections_per_second: storm.map(|_| count / seconds),
            cpu_ns_per_connection: storm.flatten().and_then(beyond),
        });
        self.latencies[usize::from(storm.is_some())].add(&self.traffic.latencies);
        Ok(share)
    }

    fn report(&mut self) -> Storm {
        let windows = std::mem::take(&mut self.windows);
        let of = |value: fn(&StormWindow) -> Option<f64>| median(windows.iter().filter_map(value).collect());
        let quiet = of(|window| (!window.stormy).then_some(window.p99_us));
        let stormy = of(|window| window.stormy.then_some(window.p99_us));
        Storm {
            quiet_us: self.latencies[0].percentiles(),
            stormy_us: self.latencies[1].percentiles(),
            p99_ratio: stormy.zip(quiet).map_or(0.0, |(stormy, quiet)| stormy / quiet),
            connections_per_second: of(|window| window.connections_per_second).unwrap_or(0.0),
            connect_us: self.swarm.connect_times.percentiles(),
            cpu_ns_per_connection: of(|window| window.cpu_ns_per_connection),
            windows,
        }
    }
}

/// Warms up, and measures one window.
fn window(args: &Run, traffic: &mut Traffic, swarm: &mut Swarm) -> Result<(), Stopped> {
    let start = swarm.now();
    traffic.run(swarm, Until::Time(start + ns(args.warmup)))?;
    forget(traffic, swarm);
    traffic.run(swarm, Until::Time(start + ns(args.warmup) + ns(args.seconds)))
}
