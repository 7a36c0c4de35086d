//! `$SYS`: what the node says of itself, in the topics that users of mosquitto know, and shard by shard.

use shard::counters::Counter as _;
use shard::profile::{self, Stage};
use shard::{Effects, Instant};
use wire::frame::Frame;

use crate::counters::{Counter, DROPPED};
use crate::frames;
use crate::switch::Switch;

/// What one publication of `$SYS` remembers for the next.
#[derive(Default)]
pub struct Sys {
    due: Instant,
    started: Instant,
    /// Totals a minute ago and so on are not kept: loads are of the last interval.
    before: [u64; 4],
    before_at: Instant,
}

/// A topic of the node: the counters whose sum over all shards it shows.
const TOTALS: [(&str, &[Counter]); 16] = [
    ("clients/connected", &[Counter::ClientsConnected]),
    ("clients/active", &[Counter::ClientsConnected]),
    ("clients/disconnected", &[Counter::ClientsDisconnected]),
    ("clients/inactive", &[Counter::ClientsDisconnected]),
    ("clients/expired", &[Counter::ClientsExpired]),
    ("clients/total", &[Counter::ClientsConnected, Counter::ClientsDisconnected]),
    ("clients/maximum", &[Counter::ClientsMaximum]),
    ("bytes/received", &[Counter::BytesReceived]),
    ("bytes/sent", &[Counter::BytesSent]),
    ("messages/received", &[Counter::PacketsReceived]),
    ("publish/messages/received", &[Counter::PublishReceived]),
    ("publish/messages/sent", &[Counter::MessagesDelivered]),
    ("publish/messages/dropped", &DROPPED),
    ("messages/sent", &[Counter::MessagesDelivered]),
    ("messages/stored", &[Counter::MessagesStored]),
    ("subscriptions/count", &[Counter::Subscriptions]),
];

impl Switch {
    /// The first publication follows at once, so that `$SYS` is there when clients come.
    pub(crate) fn start_sys(&mut self) {
        self.sys = Sys { due: self.now, started: self.now, before: [0; 4], before_at: self.now };
    }

    /// Publishes `$SYS`, if it is time. The first shard does it for the node; each shard does it for itself.
    pub(crate) fn publish_sys(&mut self, fx: &mut Effects) {
        let interval = self.node.settings.sys.interval;
        if interval.is_zero() || self.now < self.sys.due {
            return;
        }
        self.sys.due = self.now.after(interval);
        if self.own.iter().any(|own| !own.is_empty()) {
            // Owners do not keep up with what was said before.
            return;
        }
        let shard = self.id.0;
        for counter in <Counter as shard::counters::Counter>::ALL {
            let value = self.counters.read(*counter);
            let topic = format!("$SYS/broker/shards/{shard}/{}", topic_of(*counter));
            self.publish_number(&topic, value, fx);
        }
        self.publish_profile(fx);
        if shard == 0 {
            self.publish_node(fx);
        }
    }

    /// What the shard has spent its time with since the start, where it measures that.
    fn publish_profile(&mut self, fx: &mut Effects) {
        let Some(reading) = profile::read() else { return };
        let below = format!("$SYS/broker/shards/{}/profile", self.id.0);
        self.publish_number(&format!("{below}/turns"), reading.turns, fx);
        for stage in Stage::ALL {
            let name = stage.label();
            self.publish_number(&format!("{below}/{name}/ns"), reading.nanos(*stage), fx);
            self.publish_number(&format!("{below}/{name}/count"), reading.count(*stage), fx);
        }
    }

    fn publish_node(&mut self, fx: &mut Effects) {
        self.publish_text("$SYS/broker/version", concat!("ringmain version ", env!("CARGO_PKG_VERSION")), fx);
        let uptime = format!("{} seconds", self.now.since(self.sys.started).as_secs());
        self.publish_text("$SYS/broker/uptime", &uptime, fx);
        for (name, counters) in TOTALS {
            let total = self.total(counters);
            self.publish_number(&format!("$SYS/broker/{name}"), total, fx);
        }
        for counter in DROPPED {
            let total = self.total(&[counter]);
            let name = counter.label().trim_start_matches("dropped_");
            self.publish_number(&format!("$SYS/broker/publish/messages/dropped/{name}"), total, fx);
        }
        let retained = self.total(&[Counter::RetainedMessages]);
        self.publish_number("$SYS/broker/retained messages/count", retained, fx);
        let bytes = self.total(&[Counter::BytesStored]);
        self.publish_number("$SYS/broker/store/messages/bytes", bytes, fx);
        let stored = self.total(&[Counter::MessagesStored]);
        self.publish_number("$SYS/broker/store/messages/count", stored, fx);
        self.publish_loads(fx);
    }

    /// Rates a minute, over the last interval.
    fn publish_loads(&mut self, fx: &mut Effects) {
        const LOADS: [(&str, Counter); 4] = [
            ("messages/received", Counter::PacketsReceived),
            ("publish/received", Counter::PublishReceived),
            ("bytes/received", Counter::BytesReceived),
            ("bytes/sent", Counter::BytesSent),
        ];
        let seconds = self.now.since(self.sys.before_at).as_secs_f64();
        for (index, (name, counter)) in LOADS.into_iter().enumerate() {
            let total = self.total(&[counter]);
            let grown = total - self.sys.before[index];
            self.sys.before[index] = total;
            let rate = if seconds > 0.0 { grown as f64 * 60.0 / seconds } else { 0.0 };
            self.publish_text(&format!("$SYS/broker/load/{name}/1min"), &format!("{rate:.2}"), fx);
        }
        self.sys.before_at = self.now;
    }

    fn total(&self, counters: &[Counter]) -> u64 {
        let shards = self.node.counters.iter();
        shards.map(|shard| counters.iter().map(|counter| shard.read(*counter)).sum::<u64>()).sum()
    }

    fn publish_number(&mut self, topic: &str, value: u64, fx: &mut Effects) {
        self.publish_text(topic, &value.to_string(), fx);
    }

    fn publish_text(&mut self, topic: &str, text: &str, fx: &mut Effects) {
        let mut header = frames::header(topic, 0, text.as_bytes());
        header.arrived = self.now.as_nanos();
        header.topic_hash = self.placement.topic_hash(topic);
        header.flags = frames::RETAIN | frames::OWN;
        let frame = Frame { header, topic, properties: &[], payload: text.as_bytes() };
        self.publish_own(frames::to_vec(&frame), fx);
    }
}

/// Where a shard's counter stands below `$SYS/broker/shards/N/`.
fn topic_of(counter: Counter) -> String {
    match counter.label().strip_prefix("dropped_") {
        Some(reason) => format!("publish/messages/dropped/{reason}"),
        None => match counter.label().split_once('_') {
            Some((noun, rest)) => format!("{noun}/{rest}"),
            None => counter.label().to_owned(),
        },
    }
}
