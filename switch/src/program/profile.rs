//! The stage profile of each shard, as a table for people.

use std::fmt::Write;

use shard::counters::{Counter as _, CounterReader};
use shard::mesh::ShardId;
use shard::profile::{Reading, Stage};

use crate::counters::Counter;

/// One table for each shard; `counters` are those of all shards.
pub fn tables(profiles: &[(ShardId, Reading)], counters: &[CounterReader<Counter>]) -> String {
    let mut out = String::new();
    for (shard, reading) in profiles {
        let counters = &counters[usize::from(shard.0)];
        let (publishes, deliveries) =
            (counters.read(Counter::PublishReceived), counters.read(Counter::MessagesDelivered));
        table(&mut out, *shard, reading, publishes, deliveries);
    }
    out
}

/// Shares of all the time, and of the time awake; nanoseconds for each of several units.
fn table(out: &mut String, ShardId(shard): ShardId, reading: &Reading, publishes: u64, deliveries: u64) {
    let turns = reading.turns;
    let (total, asleep) = (reading.total(), reading.nanos(Stage::Asleep));
    let awake = total - asleep;
    let (seconds, waking) = (total as f64 / 1e9, awake as f64 / 1e9);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "profile of shard {shard}: {seconds:.3} s, {waking:.3} s of it awake: {turns} turns, {publishes} publishes, \
         {deliveries} deliveries"
    );
    let _ = writeln!(
        out,
        "{:<12}{:>9}{:>9}{:>12}{:>13}{:>13}{:>13}",
        "stage", "share %", "awake %", "ns/turn", "ns/publish", "ns/delivery", "count"
    );
    let mut row = |name: &str, nanos: u64, awake: Option<u64>, count: Option<u64>| {
        let share = |of: u64| format!("{:.2}", nanos as f64 * 100.0 / of.max(1) as f64);
        let (all, awake) = (share(total), awake.map_or_else(|| "-".to_owned(), share));
        let count = count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let [turn, publish, delivery] = [turns, publishes, deliveries].map(|units| per(nanos, units));
        let _ = writeln!(out, "{name:<12}{all:>9}{awake:>9}{turn:>12}{publish:>13}{delivery:>13}{count:>13}");
    };
    for stage in Stage::ALL {
        let of = (*stage != Stage::Asleep).then_some(awake);
        row(stage.label(), reading.nanos(*stage), of, Some(reading.count(*stage)));
    }
    row("all", total, None, None);
}

/// Nanoseconds for each unit.
fn per(nanos: u64, units: u64) -> String {
    if units == 0 { "-".to_owned() } else { format!("{:.1}", nanos as f64 / units as f64) }
}
