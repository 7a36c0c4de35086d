//! The budgets, and whether they are met. Absolute times drift on shared machines, so nearly all are ratios, taken within
//! each round; the median of the rounds' ratios counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::broker::{BROKERS, Broker};
use super::document::{Document, Figure, Outcome};
use super::statistics::{Series, Spread, ratios, values, widths};

/// What a figure may be at most.
struct Budget {
    what: &'static str,
    measure: &'static str,
    /// Whose figure it is.
    broker: Broker,
    figure: Figure,
    against: Against,
    limit: f64,
}

/// What the figure is divided by.
enum Against {
    /// The same figure of another broker.
    Other(Broker),
    /// The same figure of the peer whose median is the lowest.
    BestPeer,
    /// The same figure in another measure.
    Measure(&'static str),
    /// The lowest of the figures of these measures, by which the highest is divided.
    Flat(&'static [&'static str]),
    /// Nothing.
    Absolute,
}

const fn cpu(what: &'static str, measure: &'static str, against: Against, limit: f64) -> Budget {
    Budget { what, measure, broker: Broker::Ringmain, figure: Figure::Cpu, against, limit }
}

/// The numbers of subscribers over which the cost of a delivery is to be flat.
const ROOMS: &[&str] =
    &["subscribers-10", "subscribers-100", "subscribers-1000", "subscribers-10000", "subscribers-18000"];

const FLOOR: Against = Against::Other(Broker::Floor);
const MOSQUITTO: Against = Against::Other(Broker::Mosquitto);

const BUDGETS: &[Budget] = &[
    cpu("CPU a delivery, 1 to 1000, 1 in flight", "fanout-1", FLOOR, 1.15),
    cpu("CPU a delivery, 1 to 1000, 1 in flight", "fanout-1", MOSQUITTO, 0.49),
    cpu("CPU a delivery, 1 to 1000, 64 in flight", "fanout-64", FLOOR, 1.3),
    cpu("CPU a delivery, 1 to 1000, 64 in flight", "fanout-64", MOSQUITTO, 0.0127),
    cpu("CPU a delivery, QoS 1, 16 in flight", "qos1", MOSQUITTO, 0.049),
    cpu("CPU a message, fan-in 1000 to 1", "fanin", FLOOR, 1.1),
    cpu("CPU a message, 500 pairs", "pairs", MOSQUITTO, 0.5),
    Budget {
        what: "memory of an idle connection, bytes",
        measure: "idle",
        broker: Broker::Ringmain,
        figure: Figure::Memory,
        against: Against::Absolute,
        limit: 512.0,
    },
    Budget {
        what: "p99 of paced fan-out at half load",
        measure: "paced",
        broker: Broker::Ringmain,
        figure: Figure::P99,
        against: Against::BestPeer,
        limit: 0.75,
    },
    Budget {
        what: "p99 of ping-pong, spinning",
        measure: "ping-pong",
        broker: Broker::RingmainSpinning,
        figure: Figure::P99,
        against: Against::BestPeer,
        limit: 0.6,
    },
    cpu("CPU a delivery, 10 to 18,000 subscribers, 64 in flight", "subscribers-*", Against::Flat(ROOMS), 1.15),
    cpu(
        "CPU a delivery beside 1,000,000 other subscriptions",
        "others-1000000",
        Against::Measure("subscribers-1000"),
        1.15,
    ),
];

/// A budget's outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub what: String,
    pub measure: String,
    /// What it is divided by, in words.
    pub against: String,
    pub limit: f64,
    /// Of the rounds; nothing where there was no valid one.
    pub measured: Option<Spread>,
    pub met: Option<bool>,
    pub note: String,
}

/// What the runs say of all budgets. `instructions` is the file of instruction counts, which need not exist.
pub fn verdicts(document: &Document, instructions: &Path) -> Vec<Verdict> {
    let mut verdicts: Vec<_> = BUDGETS.iter().map(|budget| budget.verdict(document)).collect();
    verdicts.push(second_shard(instructions));
    verdicts
}

impl Budget {
    fn verdict(&self, document: &Document) -> Verdict {
        let of = |measure: &str, broker| document.series(measure, broker, self.figure);
        let own = of(self.measure, self.broker);
        let mut notes = Vec::new();
        let (against, samples) = match self.against {
            Against::Other(broker) => (broker.title().to_owned(), ratios(&own, &of(self.measure, broker))),
            Against::BestPeer => match best_peer(document, self) {
                Some((peer, series)) => (format!("the best peer, {}", peer.title()), ratios(&own, &series)),
                None => ("the best peer".to_owned(), Vec::new()),
            },
            Against::Measure(other) => (format!("`{other}`"), ratios(&own, &of(other, self.broker))),
            Against::Flat(measures) => {
                let width = |broker| widths(&measures.iter().map(|measure| of(measure, broker)).collect::<Vec<_>>());
                if let Some(floor) = Spread::of(&width(Broker::Floor)) {
                    notes.push(format!("the floor itself: {:.2} ({:.2}–{:.2})", floor.median, floor.min, floor.max));
                }
                ("the lowest of them".to_owned(), width(self.broker))
            }
            Against::Absolute => ("nothing".to_owned(), values(&own)),
        };
        notes.extend(unusable(document, self));
        let measured = Spread::of(&samples);
        Verdict {
            what: self.what.to_owned(),
            measure: self.measure.to_owned(),
            against,
            limit: self.limit,
            measured,
            met: measured.map(|measured| measured.median <= self.limit),
            note: notes.join("; "),
        }
    }
}

/// The peer with the lowest median, among those whose runs are valid.
fn best_peer(document: &Document, budget: &Budget) -> Option<(Broker, Series)> {
    let peers = BROKERS.into_iter().filter(|broker| broker.is_peer());
    let with_median = peers.filter_map(|peer| {
        let series = document.series(budget.measure, peer, budget.figure);
        Spread::of(&values(&series)).map(|spread| (spread.median, peer, series))
    });
    let best = with_median.min_by(|(one, ..), (other, ..)| one.total_cmp(other));
    best.map(|(_, peer, series)| (peer, series))
}

/// Says so where runs of the one who has the budget are missing from the figure.
fn unusable(document: &Document, budget: &Budget) -> Option<String> {
    let measures = match budget.against {
        Against::Flat(measures) => measures,
        _ => &[budget.measure],
    };
    let runs = measures.iter().flat_map(|measure| document.runs(measure, budget.broker));
    let (valid, other): (Vec<_>, Vec<_>) = runs.partition(|run| run.outcome == Outcome::Valid);
    let all = valid.len() + other.len();
    (!other.is_empty()).then(|| format!("{} of {all} runs invalid or failed: {}", other.len(), other[0].why))
}

/// What a second shard adds to the instructions of a delivery; counted elsewhere, since it is exact and takes no rounds.
fn second_shard(instructions: &Path) -> Verdict {
    let counted = fs::read_to_string(instructions).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let counted: BTreeMap<String, f64> = counted
        .and_then(|all| serde_json::from_value(all.get("second_shard_percent")?.clone()).ok())
        .unwrap_or_default();
    let of_fanout: Vec<_> = counted.values().map(|percent| 1.0 + percent / 100.0).collect();
    let measured = Spread::of(&of_fanout).map(|spread| Spread { median: spread.max, ..spread });
    let list = counted.iter().map(|(name, percent)| format!("{name} {percent:+.1} %"));
    let list = list.collect::<Vec<_>>().join(", ");
    let missing = format!("no {} with `second_shard_percent`", instructions.display());
    Verdict {
        what: "user-space instructions a delivery on two shards, the worst workload".to_owned(),
        measure: "ringcost".to_owned(),
        against: "one shard".to_owned(),
        limit: 1.05,
        measured,
        met: measured.map(|measured| measured.median <= 1.05),
        note: if counted.is_empty() { missing } else { list },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::document::Run;
    use crate::suite::document::tests::{document, run};

    fn verdict(document: &Document, what: &str, against: &str) -> Verdict {
        let all = verdicts(document, Path::new("/nonexistent"));
        let found = all.into_iter().find(|verdict| verdict.what.contains(what) && verdict.against.contains(against));
        found.expect("a budget of this name")
    }

    /// The median of the rounds' ratios decides, not the ratio of medians, and at the limit a budget is met.
    #[test]
    fn medians_of_ratios() {
        let own = [100.0, 230.0, 115.0];
        let floor = [100.0, 200.0, 100.0];
        let runs = (0..3).flat_map(|round| {
            let at = round as usize;
            [run("fanout-1", Broker::Ringmain, round, own[at]), run("fanout-1", Broker::Floor, round, floor[at])]
        });
        let verdict = verdict(&document(runs.collect()), "1 to 1000, 1 in flight", "floor");
        assert_eq!(verdict.met, Some(true), "{verdict:?}");
        let measured = verdict.measured.unwrap();
        assert_eq!((measured.median, measured.min, measured.count), (1.15, 1.0, 3));
    }

    /// Nothing measured is neither met nor missed, and invalid runs are told and not used.
    #[test]
    fn invalid_runs_do_not_count() {
        assert_eq!(verdict(&document(vec![]), "QoS 1", "mosquitto").met, None);
        let lost = Run { outcome: Outcome::Invalid, why: "lost 5".to_owned(), ..run("idle", Broker::Ringmain, 0, 1.0) };
        let verdict = verdict(&document(vec![lost, run("idle", Broker::Ringmain, 1, 600.0)]), "idle", "");
        assert_eq!(verdict.met, Some(false));
        assert!(verdict.note.contains("1 of 2") && verdict.note.contains("lost 5"), "{verdict:?}");
    }

    /// The best peer is the one with the lowest median of valid runs.
    #[test]
    fn best_peer_is_named() {
        let broken = Run { outcome: Outcome::Failed, ..run("paced", Broker::Rumqttd, 0, 1.0) };
        let verdict = verdict(
            &document(vec![
                run("paced", Broker::Ringmain, 0, 70.0),
                run("paced", Broker::Mosquitto, 0, 100.0),
                run("paced", Broker::NatsServer, 0, 150.0),
                broken,
            ]),
            "paced",
            "best peer",
        );
        assert!(verdict.against.ends_with("mosquitto"), "{verdict:?}");
        assert_eq!((verdict.met, verdict.measured.map(|measured| measured.median)), (Some(true), Some(0.7)));
    }

    /// Flatness is the highest by the lowest over all numbers of subscribers.
    #[test]
    fn flat_over_subscribers() {
        let runs = |broker, last| {
            let points = ROOMS.iter().zip([100.0, 102.0, 104.0, 108.0, last]);
            points.map(move |(measure, cpu)| run(measure, broker, 0, cpu)).collect::<Vec<_>>()
        };
        let flat = |last| {
            let runs = [runs(Broker::Ringmain, last), runs(Broker::Floor, 150.0)].concat();
            verdict(&document(runs), "18,000 subscribers", "lowest")
        };
        assert_eq!(flat(114.0).met, Some(true));
        assert_eq!(flat(116.0).met, Some(false));
        assert!(flat(116.0).note.contains("1.50"));
    }

    /// The worst of the instruction counts decides; without the file nothing is said.
    #[test]
    fn instructions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("instructions.json");
        assert_eq!(second_shard(&path).met, None);
        fs::write(&path, r#"{"second_shard_percent": {"a": 1.5, "b": 7.25}}"#).unwrap();
        let verdict = second_shard(&path);
        assert_eq!((verdict.met, verdict.measured.map(|measured| measured.median)), (Some(false), Some(1.0725)));
        assert!(verdict.note.contains("b +7.2 %") || verdict.note.contains("b +7.3 %"), "{}", verdict.note);
    }
}
