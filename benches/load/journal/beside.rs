//! A room at QoS 0 while the journal works: its p99 in windows with and without.

use std::error::Error;
use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use super::Figure;
use super::args::Journal;
use super::node::{Home, Node};
use super::publishers::{Publishers, leave_session};
use crate::args::{Cli, Command, Run};
use crate::broker::{Schedstat, schedstat};
use crate::plan::Plan;
use crate::scenario::{Stop, connected, dial, forget, ns, terms};
use crate::swarm::Swarm;
use crate::traffic::{Pace, Stopped, Traffic, Until};
use clap::Parser;

/// Subscribers of the room, and its messages in a second.
const SUBSCRIBERS: u32 = 100;
const RATE: f64 = 500.0;
/// Seconds of a quiet window.
const WINDOW: f64 = 2.0;
/// How often it is looked whether a compaction is over: it is when nothing was written between two looks.
const LOOK: f64 = 0.3;
/// Time for the disk to come to rest after publishes, and what it writes in half of that if the log is compacted.
const CALM: Duration = Duration::from_millis(300);
const COMPACTION_BYTES: u64 = 4 << 20;
/// Messages, and the bytes of each, that are live while the log is compacted: it takes seconds.
const LIVE: u64 = 200_000;
const SIZE: usize = 1000;

/// Measures both.
pub fn measure(args: &Journal, stop: &Stop) -> Result<Vec<Figure>, Box<dyn Error>> {
    let mut figures = compacting(args, stop)?;
    figures.extend(slow_disk(args, stop)?);
    Ok(figures)
}

/// The log is compacted each time that it is twice what is live.
fn compacting(args: &Journal, stop: &Stop) -> Result<Vec<Figure>, Box<dyn Error>> {
    let home = Home::new(args, true)?.with("RINGMAIN__JOURNAL__COMPACT_RATIO", "2");
    let node = home.start()?;
    leave_session(node.address())?;
    let mut load = Publishers::connect(node.address(), 64, 32, SIZE, stop)?;
    load.run(|count, _| count >= LIVE)?;
    drop(load);
    let mut load = Publishers::connect(node.address(), 64, 32, SIZE, stop)?.retained();
    let mut room = Room::open(&node, stop)?;
    let (mut quiets, mut seconds, mut ratios, mut waits) =
        (Vec::new(), Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..args.rounds {
        settle(&node)?;
        let before = Waits::of(&node)?;
        let quiet = room.window(WINDOW)?;
        waits[0].push(Waits::of(&node)?.each_since(&before));
        let begun = load.acknowledged();
        loop {
            load.run(|count, _| count >= 10_000)?;
            // What the publishers caused, and the next segment, are written by then.
            thread::sleep(CALM);
            let before = written(&node)?;
            thread::sleep(CALM / 2);
            if written(&node)? > before + COMPACTION_BYTES {
                break;
            }
            if load.acknowledged() - begun > 8 * LIVE {
                return Err(format!("no compaction after {} messages more", 8 * LIVE).into());
            }
        }
        let before = Waits::of(&node)?;
        let (p99, length) = room.while_writing(&node)?;
        waits[1].push(Waits::of(&node)?.each_since(&before));
        quiets.push(quiet);
        seconds.push(length);
        ratios.push(p99 / quiet);
    }
    let name = "a room at QoS 0, p99 while the log is compacted ÷ quiet";
    let [quiet_waits, busy_waits] = waits;
    Ok(vec![
        Figure::new(name, "", ratios).within(1.2),
        Figure::new("p99 of the quiet windows", "µs", quiets),
        Figure::new("seconds that each compaction was watched for", "s", seconds),
        Figure::new("the shard waits for its core, each time that it wakes: quiet", "µs", quiet_waits),
        Figure::new("the same while the log is compacted", "µs", busy_waits),
    ])
}

/// Each sync takes half a second, and publishers wait for it.
fn slow_disk(args: &Journal, stop: &Stop) -> Result<Vec<Figure>, Box<dyn Error>> {
    let home = Home::new(args, true)?.with("RINGMAIN__JOURNAL__SYNC_DELAY", "500ms");
    let node = home.start()?;
    leave_session(node.address())?;
    let mut room = Room::open(&node, stop)?;
    let mut ratios = Vec::new();
    for _ in 0..args.rounds {
        let quiet = room.window(WINDOW)?;
        let busy = thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut load = Publishers::connect(node.address(), 64, 1, SIZE, stop).map_err(|e| e.to_string())?;
                load.run(|_, time| time.as_secs_f64() > WINDOW + 0.5).map_err(|error| error.to_string())
            });
            let busy = room.window(WINDOW);
            load.join().expect("publishers do not panic")?;
            busy
        })?;
        ratios.push(busy / quiet);
    }
    Ok(vec![Figure::new("a room at QoS 0, p99 while syncs take 500 ms ÷ quiet", "", ratios).within(1.2)])
}

/// Waits until nothing is written.
fn settle(node: &Node) -> io::Result<()> {
    let mut before = written(node)?;
    loop {
        thread::sleep(Duration::from_secs_f64(LOOK));
        let now = written(node)?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
}

/// Bytes that the process has had written to disk (`/proc/PID/io`).
fn written(node: &Node) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/io", node.process().0))?;
    let field = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    field.ok_or_else(|| io::Error::other("/proc/PID/io has no write_bytes"))
}

/// How long the shard's thread has waited for its core so far. What other machines on the host take away does not count.
struct Waits(Schedstat);

impl Waits {
    fn of(node: &Node) -> io::Result<Waits> {
        for task in fs::read_dir(format!("/proc/{}/task", node.process().0))? {
            let task = task?.path();
            if fs::read_to_string(task.join("comm"))?.trim() == "ringmain-0"
                && let Some(stat) = schedstat(&task)
            {
                return Ok(Waits(stat));
            }
        }
        Err(io::Error::other("the node has no thread ringmain-0"))
    }

    /// Microseconds of each wait since then.
    fn each_since(&self, before: &Waits) -> f64 {
        (self.0.waited_ns - before.0.waited_ns) as f64 / 1e3 / (self.0.runs - before.0.runs).max(1) as f64
    }
}

/// A room with an open loop.
struct Room {
    args: Run,
    swarm: Swarm,
    traffic: Traffic,
}

impl Room {
    fn open(node: &Node, stop: &Stop) -> Result<Room, Box<dyn Error>> {
        let port = node.address().port().to_string();
        let pid = node.process().0.to_string();
        let line = ["ringload", "fanout", "--port", &port, "--broker-pid", &pid, "--stall", "30"];
        let Command::Fanout(run) = Cli::try_parse_from(line)?.command else { unreachable!("as the line says") };
        let mut plan = Plan::one_topic(1, SUBSCRIBERS, "room", 0);
        let run = Run { count: Some(SUBSCRIBERS), rate: Some(RATE), ..run };
        let mut swarm = dial(&run, &plan, 0)?;
        connected(&mut swarm, &run, plan.take_subscriptions(), None, stop)?;
        let traffic = Traffic::new(&plan, terms(&run, Pace::Rate(RATE), stop), swarm.now());
        Ok(Room { args: run, swarm, traffic })
    }

    /// The p99 of so many seconds, in microseconds.
    fn window(&mut self, seconds: f64) -> Result<f64, Box<dyn Error>> {
        self.go_on(self.args.warmup)?;
        forget(&mut self.traffic, &mut self.swarm);
        self.go_on(seconds)?;
        Ok(self.traffic.latencies.percentiles().p99)
    }

    /// The p99 while the node writes, and for how long that was watched.
    fn while_writing(&mut self, node: &Node) -> Result<(f64, f64), Box<dyn Error>> {
        // What was due while others ran has arrived by then.
        self.go_on(2.0 * self.args.warmup)?;
        let begun = self.swarm.now();
        forget(&mut self.traffic, &mut self.swarm);
        let mut before = written(node)?;
        loop {
            self.go_on(LOOK)?;
            let now = written(node)?;
            if now == before {
                let p99 = self.traffic.latencies.percentiles().p99;
                return Ok((p99, (self.swarm.now() - begun) as f64 / 1e9));
            }
            before = now;
        }
    }

    fn go_on(&mut self, seconds: f64) -> Result<(), Box<dyn Error>> {
        let end = self.swarm.now() + ns(seconds);
        self.traffic.run(&mut self.swarm, Until::Time(end)).map_err(|stopped| match stopped {
            Stopped::Interrupted => "interrupted".into(),
            Stopped::Broken(why) => why.into(),
            Stopped::Io(error) => error.into(),
        })
    }
}
