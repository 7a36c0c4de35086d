//! The watchdog of a service manager (`WatchdogSec=` of systemd): it is told that the switch lives only as long as every
//! shard turns. A shard that hangs, in its code or in the kernel, lets the time run out, and the service is started again.
//!
//! A shard that has nothing to do sleeps and does not turn. So each look rings all doorbells, and the next one sees who
//! has turned since.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread;

use shard::config::CorePlan;
use shard::ring::Doorbell;
use shard::stall::Stalls;

use super::log::{Level, Log};
use super::plan::move_to_service_cores;
use super::stop::StopFlag;
use super::supervisor;

/// Looks within the time that the service manager allows: one that comes late must not be the last.
const LOOKS: u32 = 4;

/// What shards have turned, in their order; each enters itself before its first turn.
pub type Pulses = Arc<[OnceLock<Arc<Stalls>>]>;

/// For so many shards.
pub fn pulses(shards: u16) -> Pulses {
    (0..shards).map(|_| OnceLock::new()).collect()
}

/// Starts the thread that looks, where the service manager wants it.
pub fn start(pulses: Pulses, bells: Vec<Doorbell>, stop: StopFlag, cores: &CorePlan, log: Log) -> std::io::Result<()> {
    let Some(limit) = supervisor::watchdog() else { return Ok(()) };
    let cores = cores.clone();
    let watch = move || {
        move_to_service_cores(&cores);
        let mut watch = Watch { seen: vec![0; pulses.len()], stuck: Vec::new() };
        while !stop.requested() {
            bells.iter().for_each(Doorbell::ring);
            thread::sleep(limit / LOOKS);
            let turns = pulses.iter().map(|pulse| pulse.get().map_or(0, |stalls| stalls.turns()));
            let told = watch.look(turns);
            if watch.stuck.is_empty() {
                supervisor::alive();
            }
            if let Some(told) = told {
                let level = if watch.stuck.is_empty() { Level::Info } else { Level::Error };
                log.print(level, &told);
            }
        }
    };
    thread::Builder::new().name("ringmain-watch".into()).spawn(watch).map(|_| ())
}

/// What the last look has found.
struct Watch {
    seen: Vec<u64>,
    /// Shards that had not turned.
    stuck: Vec<usize>,
}

impl Watch {
    /// Compares with the last look. Says something where other shards are stuck than before.
    fn look(&mut self, turns: impl Iterator<Item = u64>) -> Option<Told> {
        let mut stuck = Vec::new();
        for (shard, (seen, turns)) in self.seen.iter_mut().zip(turns).enumerate() {
            if *seen == turns {
                stuck.push(shard);
            }
            *seen = turns;
        }
        let news = (stuck != self.stuck).then(|| Told(stuck.clone()));
        self.stuck = stuck;
        news
    }
}

/// Which shards are stuck, in words.
struct Told(Vec<usize>);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("watchdog: every shard turns again"),
            stuck => {
                let list: Vec<String> = stuck.iter().map(usize::to_string).collect();
                write!(
                    f,
                    "watchdog: no turn since it was woken: shard {}; the service manager is not told",
                    list.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard that does not turn from one look to the next is stuck, and is told of once, until it turns again.
    #[test]
    fn only_shards_that_turn_live() {
        let mut watch = Watch { seen: vec![0; 2], stuck: Vec::new() };
        let mut look = |turns: [u64; 2]| {
            let told = watch.look(turns.into_iter()).map(|told| told.to_string());
            (watch.stuck.clone(), told)
        };
        assert_eq!(look([1, 7]), (vec![], None));
        assert_eq!(look([2, 8]), (vec![], None));
        let (stuck, told) = look([3, 8]);
        assert_eq!(stuck, [1]);
        assert!(told.expect("news").contains("shard 1;"));
        assert_eq!(look([4, 8]), (vec![1], None));
        assert_eq!(look([5, 9]), (vec![], Some("watchdog: every shard turns again".to_owned())));
    }
}
