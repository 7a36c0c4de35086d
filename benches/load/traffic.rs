//! A plan in motion: publishing by window or by schedule, and the account of what arrives.
//!
//! - **Closed loop** (`Pace::Window`): at most W messages of a stream are under way; the next is published when the
//!   oldest has reached all its receivers.
//! - **Open loop** (`Pace::Rate`): messages are due by the clock, whatever the broker does, and their latency counts
//!   from when they were due, so that a stall is charged to every message that it delayed.

use std::io;
use std::time::Duration;

use crate::histogram::Latencies;
use crate::packet::Publish;
use crate::payload::{self, Payload, Stamp};
use crate::plan::{Plan, StreamPlan};
use crate::schedule::Schedule;
use crate::swarm::{Sink, Swarm};
use crate::tally::{Arrival, Faults, Sequence};

/// How messages are paced.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// That many messages of each stream under way.
    Window(u32),
    /// That many messages in a second, over all streams, as their weights say.
    Rate(f64),
}

/// Sleeping is not exact to less than this (timer slack): what is due sooner is waited for awake.
const SLEEP_MIN: Duration = Duration::from_micros(100);
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// When a stretch of a run ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// At this time of the swarm's clock.
    Time(u64),
    /// When so many have been published in all, at the latest at that time.
    Published(u64, u64),
    /// When every stream has published its limit, at the latest at that time.
    Exhausted(u64),
    /// When all clients that were to connect are ready, at the latest at that time.
    Connected(u64),
}

/// Why a stretch ended early.
#[derive(Debug)]
pub enum Stopped {
    /// The user wants to stop.
    Interrupted,
    /// The run can go no further, and why. It is invalid.
    Broken(String),
    /// The system failed us.
    Io(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Io(error)
    }
}

struct Stream {
    plan: StreamPlan,
    /// The sequence number of the next message.
    next: u64,
    /// It may publish below this number: the window's end, or what is due.
    allowed: u64,
    /// All below this have reached all receivers (window only).
    oldest: u64,
    /// Receivers that a message is still on its way to, by sequence number modulo the window (window only).
    outstanding: Vec<u32>,
    /// Is in the list of those that may be able to publish.
    listed: bool,
}

/// What one client is to receive, and has.
struct Receiver {
    common: u32,
    own: (u32, u32),
    excused: bool,
    sequences: Vec<Sequence>,
}

impl Receiver {
    /// Where the sequence of a stream is, if this client gets it.
    fn place(&self, stream: u32) -> Option<usize> {
        if stream < self.common {
            return Some(stream as usize);
        }
        let offset = stream.checked_sub(self.own.0).filter(|offset| *offset < self.own.1)?;
        Some((self.common + offset) as usize)
    }
}

/// Counts since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub published: u64,
    /// First deliveries to receivers that are not excused.
    pub delivered: u64,
    /// First deliveries to excused receivers.
    pub excused: u64,
}

/// A plan in motion.
pub struct Traffic {
    pub faults: Faults,
    pub counts: Counts,
    pub latencies: Latencies,
    /// How much later than due messages were published: the generator's own part of their latencies (rate only).
    pub lateness: Latencies,
    streams: Vec<Stream>,
    receivers: Vec<Receiver>,
    /// The streams that each client publishes.
    publishes: Vec<Vec<u32>>,
    listed: Vec<u32>,
    payload: Payload,
    pace: Pace,
    /// Messages of each stream, at most.
    each_max: u64,
    /// Rate only.
    schedule: Option<Schedule>,
    /// Deliveries that published messages will have caused when all is well.
    expected: u64,
    broken: Option<String>,
    patience: Duration,
    stop: Box<dyn Fn() -> bool>,
}

/// What a traffic needs besides its plan.
pub struct Terms {
    pub pace: Pace,
    /// Payload bytes.
    pub size: usize,
    /// Messages of each stream, at most.
    pub each_max: u64,
    /// With messages under way and none arriving for so long, the run is broken.
    pub patience: Duration,
    /// Whether the user wants to stop.
    pub stop: Box<dyn Fn() -> bool>,
}

impl Traffic {
    /// A traffic that publishes from `now` on.
    pub fn new(plan: &Plan, terms: Terms, now: u64) -> Traffic {
        let window = if let Pace::Window(window) = terms.pace { window } else { 0 };
        let weights = plan.streams.iter().map(|stream| stream.weight);
        let schedule = if let Pace::Rate(rate) = terms.pace { Some(Schedule::new(rate, weights, now)) } else { None };
        let stream = |plan: &StreamPlan| Stream {
            plan: plan.clone(),
            next: 0,
            allowed: u64::from(window),
            oldest: 0,
            outstanding: vec![0; window as usize],
            listed: true,
        };
        let receivers = plan.clients.iter().map(|client| {
            let common = if client.common { plan.common } else { 0 };
            let sequences = (0..common + client.own.1).map(|_| Sequence::default()).collect();
            Receiver { common, own: client.own, excused: client.excused, sequences }
        });
        let mut publishes = vec![Vec::new(); plan.clients.len()];
        for (index, stream) in (0..).zip(&plan.streams) {
            publishes[stream.client as usize].push(index);
        }
        Traffic {
            faults: Faults::default(),
            counts: Counts::default(),
            latencies: Latencies::new(),
            lateness: Latencies::new(),
            streams: plan.streams.iter().map(stream).collect(),
            receivers: receivers.collect(),
            publishes,
            listed: (0..plan.streams.len() as u32).collect(),
            payload: Payload::new(terms.size),
            pace: terms.pace,
            each_max: terms.each_max,
            schedule,
            expected: 0,
            broken: None,
            patience: terms.patience,
            stop: terms.stop,
        }
    }

    /// Whether messages are due by the clock.
    pub fn paced(&self) -> bool {
        self.schedule.is_some()
    }

    /// Publishes and receives until then.
    ///
    /// # Errors
    /// The run ended before.
    pub fn run(&mut self, swarm: &mut Swarm, until: Until) -> Result<(), Stopped> {
        let mut progress = (swarm.now(), self.progress());
        swarm.paced = self.paced();
        loop {
            let now = swarm.now();
            let over = match until {
                Until::Time(end) => now >= end,
                Until::Published(count, end) => self.counts.published >= count || now >= end,
                Until::Exhausted(end) => self.exhausted() || now >= end,
                Until::Connected(end) => !swarm.connecting() || now >= end,
            };
            if over {
                return Ok(());
            }
            let limit = if let Until::Published(count, _) = until { count } else { u64::MAX };
            let sleep = self.publish(swarm, now, limit);
            swarm.flush(self);
            swarm.poll(sleep, self)?;
            self.check(swarm, &mut progress)?;
        }
    }

    /// Publishes nothing more, and receives until all has arrived and is acknowledged, and then once around every
    /// connection: a message that comes twice comes second after all had seemed well.
    ///
    /// # Errors
    /// The run ended before; what did not arrive in time is counted as lost.
    pub fn drain(&mut self, swarm: &mut Swarm) -> Result<(), Stopped> {
        let mut result = self.receive(swarm);
        if result.is_ok() {
            swarm.ping();
            result = self.receive(swarm);
        }
        self.faults.lost = self.expected.saturating_sub(self.counts.delivered);
        result
    }

    /// Receives until all has arrived and is acknowledged or answered.
    fn receive(&mut self, swarm: &mut Swarm) -> Result<(), Stopped> {
        let mut progress = (swarm.now(), self.progress());
        while self.counts.delivered < self.expected || !swarm.settled() {
            swarm.flush(self);
            swarm.poll(SLEEP_MAX, self)?;
            self.check(swarm, &mut progress)?;
        }
        Ok(())
    }

    /// Publishes what window or schedule allow, `limit` messages of the run at most; returns how long there is nothing
    /// to do but receive.
    fn publish(&mut self, swarm: &mut Swarm, now: u64, limit: u64) -> Duration {
        let mut sleep = SLEEP_MAX;
        if let Some(schedule) = &mut self.schedule {
            while let Some(stream) = schedule.take(now) {
                let at = &mut self.streams[stream as usize];
                at.allowed += 1;
                if !at.listed {
                    at.listed = true;
                    self.listed.push(stream);
                }
            }
            let next = schedule.next().map_or(SLEEP_MAX, |due| Duration::from_nanos(due - now));
            sleep = if next < SLEEP_MIN { Duration::ZERO } else { (next - SLEEP_MIN / 2).min(SLEEP_MAX) };
        }
        let mut listed = std::mem::take(&mut self.listed);
        for index in listed.drain(..) {
            self.streams[index as usize].listed = false;
            self.publish_stream(swarm, index, now, limit);
        }
        // Publishing lists nothing; what was listed meanwhile would be lost here.
        debug_assert!(self.listed.is_empty());
        self.listed = listed;
        sleep
    }

    fn publish_stream(&mut self, swarm: &mut Swarm, index: u32, now: u64, limit: u64) {
        let stream = &mut self.streams[index as usize];
        let end = stream.allowed.min(self.each_max);
        while stream.next < end && self.counts.published < limit {
            if !swarm.clients[stream.plan.client as usize].has_room(stream.plan.qos) {
                // `acknowledged` or `writable` lists it again.
                return;
            }
            let sequence = stream.next;
            stream.next += 1;
            if let Pace::Window(window) = self.pace {
                stream.outstanding[(sequence % u64::from(window)) as usize] = stream.plan.receivers;
            }
            let intended = self.schedule.as_ref().map_or(now, |schedule| schedule.due(index, sequence));
            self.lateness.record(now - intended);
            let topic = stream.plan.topic.as_bytes();
            let payload = self.payload.stamp(topic, Stamp { stream: index, sequence, intended });
            swarm.publish(stream.plan.client, stream.plan.qos, false, topic, payload);
            self.counts.published += 1;
            self.expected += u64::from(stream.plan.receivers);
        }
    }

    /// A message of `stream` has reached one more receiver.
    fn arrived(&mut self, stream: u32, sequence: u64) {
        let Pace::Window(window) = self.pace else { return };
        let at = &mut self.streams[stream as usize];
        at.outstanding[(sequence % u64::from(window)) as usize] -= 1;
        while at.oldest < at.next && at.outstanding[(at.oldest % u64::from(window)) as usize] == 0 {
            at.oldest += 1;
        }
        let allowed = at.oldest + u64::from(window);
        if allowed > at.allowed {
            at.allowed = allowed;
            self.list(stream);
        }
    }

    fn list(&mut self, stream: u32) {
        let at = &mut self.streams[stream as usize];
        if !at.listed {
            at.listed = true;
            self.listed.push(stream);
        }
    }

    fn exhausted(&self) -> bool {
        self.streams.iter().all(|stream| stream.next >= self.each_max)
    }

    fn progress(&self) -> u64 {
        self.counts.published + self.counts.delivered + self.counts.excused
    }

    fn check(&mut self, swarm: &Swarm, progress: &mut (u64, u64)) -> Result<(), Stopped> {
        if let Some(why) = self.broken.take() {
            return Err(Stopped::Broken(why));
        }
        if (self.stop)() {
            return Err(Stopped::Interrupted);
        }
        let (now, made) = (swarm.now(), self.progress());
        let idle = self.counts.delivered >= self.expected && swarm.settled();
        if made != progress.1 || idle {
            *progress = (now, made);
        } else if now - progress.0 > self.patience.as_nanos() as u64 {
            return Err(Stopped::Broken(format!(
                "nothing arrived for {} s with {} deliveries outstanding",
                self.patience.as_secs(),
                self.expected - self.counts.delivered
            )));
        }
        Ok(())
    }
}

impl Sink for Traffic {
    fn message(&mut self, client: u32, message: &Publish<'_>, now: u64) {
        let Some(stamp) = payload::read(message.topic, message.payload) else {
            self.faults.corrupted += 1;
            return;
        };
        // A client beyond the plan expects nothing.
        let receiver = self.receivers.get_mut(client as usize);
        let Some((receiver, place)) = receiver.and_then(|it| it.place(stamp.stream).map(|place| (it, place))) else {
            self.faults.misrouted += 1;
            return;
        };
        let stream = &self.streams[stamp.stream as usize];
        if stamp.sequence >= stream.next {
            // Somebody else's: another run on the same topic.
            self.faults.misrouted += 1;
            return;
        }
        if message.qos != stream.plan.qos {
            self.faults.corrupted += 1;
        }
        match receiver.sequences[place].take(stamp.sequence) {
            Arrival::Forward => {}
            Arrival::Late => self.faults.reordered += 1,
            Arrival::Repeated => {
                self.faults.repeated += 1;
                return;
            }
        }
        if receiver.excused {
            self.counts.excused += 1;
            return;
        }
        self.counts.delivered += 1;
        self.latencies.record(now.saturating_sub(stamp.intended));
        self.arrived(stamp.stream, stamp.sequence);
    }

    fn acknowledged(&mut self, client: u32, reason: u8) {
        if reason >= 0x80 {
            self.faults.refused += 1;
        }
        self.writable(client);
    }

    fn writable(&mut self, client: u32) {
        let Some(streams) = self.publishes.get_mut(client as usize).map(std::mem::take) else { return };
        for stream in &streams {
            self.list(*stream);
        }
        self.publishes[client as usize] = streams;
    }

    fn closed(&mut self, client: u32, why: &str) {
        if !self.receivers.get(client as usize).is_some_and(|receiver| receiver.excused) {
            self.faults.closed += 1;
            self.broken.get_or_insert_with(|| format!("the connection of client {client} ended: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(pace: Pace, published: u64) -> Traffic {
        let plan = Plan::one_topic(1, 2, "t", 0);
        let terms =
            Terms { pace, size: 40, each_max: u64::MAX, patience: Duration::from_secs(1), stop: Box::new(|| false) };
        let mut traffic = Traffic::new(&plan, terms, 0);
        traffic.listed.clear();
        let stream = &mut traffic.streams[0];
        (stream.next, stream.listed) = (published, false);
        stream.outstanding.fill(stream.plan.receivers);
        traffic
    }

    fn deliver(traffic: &mut Traffic, client: u32, sequence: u64, edit: impl FnOnce(&mut Vec<u8>)) {
        let stamp = Stamp { stream: 0, sequence, intended: 0 };
        let mut payload = Payload::new(40).stamp(b"t", stamp).to_vec();
        edit(&mut payload);
        traffic.message(client, &Publish { qos: 0, retain: false, topic: b"t", id: 0, payload: &payload }, 1);
    }

    /// Each fault is counted as what it is, once.
    #[test]
    fn faults_are_told_apart() {
        let mut traffic = traffic(Pace::Rate(1.0), 10);
        for sequence in [0, 2, 1, 2] {
            deliver(&mut traffic, 1, sequence, |_| {});
        }
        deliver(&mut traffic, 1, 3, |payload| payload[39] ^= 1);
        deliver(&mut traffic, 1, 10, |_| {});
        deliver(&mut traffic, 0, 3, |_| {});
        let Faults { lost, repeated, reordered, corrupted, misrouted, refused, closed } = traffic.faults;
        assert_eq!((repeated, reordered, corrupted, misrouted), (1, 1, 1, 2));
        assert_eq!((lost, refused, closed, traffic.counts.delivered), (0, 0, 0, 3));
    }

    /// The window moves when the oldest message has reached every receiver, and not before.
    #[test]
    fn window_waits_for_the_oldest() {
        let mut traffic = traffic(Pace::Window(2), 2);
        for (client, sequence) in [(1, 0), (1, 1), (2, 1)] {
            deliver(&mut traffic, client, sequence, |_| {});
            assert_eq!(traffic.streams[0].allowed, 2);
        }
        assert!(traffic.listed.is_empty());
        deliver(&mut traffic, 2, 0, |_| {});
        assert_eq!((traffic.streams[0].allowed, traffic.listed.as_slice()), (4, &[0][..]));
    }
}
